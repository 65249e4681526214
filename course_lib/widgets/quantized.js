// Weights as checkpoints.quantize stores them in 8 bits, which stay so in the page.
import { decodeBase64 } from "./page.js";
import { decodeFloat16 } from "./tensors.js";

/** @typedef {{ whole: Int8Array, scales: Float32Array, bias: Float32Array, positions: number }} Matrix whole numbers row by row, and for each row a scale and a bias; the positions are the most with which it is multiplied */

/**
 * A matrix in whole numbers of 8 bits, the scales of its rows in 32 bits and its bias, if any, in 16 bits.
 * @param {string[]} stored
 * @param {number} positions
 * @returns {Matrix}
 */
export function decodeMatrix([whole, scales, bias = ""], positions = 0) {
  return {
    whole: new Int8Array(decodeBase64(whole).buffer),
    scales: new Float32Array(decodeBase64(scales).buffer),
    bias: decodeFloat16(bias),
    positions,
  };
}

/**
 * The matrix (in, out, 2, 2) of a transposed convolution as one with four rows for each map of the output. Its scales are those
 * of the columns now, by which the input must be multiplied.
 * @param {Matrix} matrix
 * @returns {Matrix}
 */
export function asFourMaps({ whole, bias, scales, positions }) {
  const rows = 4 * bias.length,
    depth = scales.length;
  return {
    whole: whole.map((_, i) => whole[(i % depth) * rows + Math.floor(i / depth)]),
    scales: new Float32Array(rows).fill(1),
    bias: new Float32Array(rows).map((_, i) => bias[i >> 2]),
    positions,
  };
}
