// What networks in the page share: weights of 8 and 16 bits, a linear layer, an activation, and the embedding of time.
import { decodeBase64 } from "./page.js";

/** @typedef {(name: string, x: Float64Array, act?: (v: number) => number) => Float64Array} Layer a linear layer, by its name */

/**
 * 16-bit floats, little end first, as 32-bit ones.
 * @param {string} base64
 */
export function decodeFloat16(base64) {
  const packed = new Uint16Array(decodeBase64(base64).buffer);
  return Float32Array.from(packed, (h) => {
    const [sign, exponent, fraction] = [h & 0x8000 ? -1 : 1, (h >> 10) & 31, h & 1023];
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  });
}

/**
 * 64-bit floats, in which a page computes, of weights as checkpoints.quantize stores them in 8 bits: a matrix in whole numbers
 * of 8 bits beside the scales of its rows in 32 bits, all else in 16 bits.
 * @param {Record<string, string>} stored
 * @returns {Record<string, Float64Array>}
 */
export function dequantize(stored) {
  const SCALE = ".scale of rows",
    names = Object.keys(stored).filter((name) => !name.endsWith(SCALE));
  return Object.fromEntries(
    names.map((name) => {
      if (!(name + SCALE in stored)) return [name, Float64Array.from(decodeFloat16(stored[name]))];
      const [whole, scale] = [
        new Int8Array(decodeBase64(stored[name]).buffer),
        new Float32Array(decodeBase64(stored[name + SCALE]).buffer),
      ];
      return [name, Float64Array.from(whole, (v, i) => v * scale[Math.floor((i * scale.length) / whole.length)])];
    }),
  );
}

/**
 * The activation v sigmoid(v).
 * @param {number} v
 */
export function silu(v) {
  return v / (1 + Math.exp(-v));
}

/**
 * The output of a linear layer, act(W x + b).
 * @param {Float64Array | Float32Array} weight row by row
 * @param {Float64Array | Float32Array} bias
 * @param {Float64Array} x
 * @param {(v: number) => number} [act]
 */
export function linear(weight, bias, x, act) {
  const out = new Float64Array(bias.length),
    n = x.length;
  for (let i = 0, at = 0; i < out.length; i++) {
    let sum = bias[i];
    for (let j = 0; j < n; j++) sum += weight[at++] * x[j];
    out[i] = sum;
  }
  return act ? out.map(act) : out;
}

/** @type {(time: number, dim: number) => Float64Array} `sinusoidal` of nets/embeddings.py, at 1000 time */
export function waves(time, dim) {
  const angle = (/** @type {number} */ i) => 1000 * time * Math.exp((-Math.log(10000) * i) / (dim / 2));
  return Float64Array.from({ length: dim }, (_, i) => (i < dim / 2 ? Math.sin(angle(i)) : Math.cos(angle(i - dim / 2))));
}

/**
 * The output of TimeEmbedding in nets/embeddings.py, `dim` numbers.
 * @param {Layer} layer
 * @param {string} name
 * @param {number} time as a fraction of T
 * @param {number} dim
 */
export function timeEmbedding(layer, name, time, dim) {
  return layer(`${name}.mlp.2`, layer(`${name}.mlp.0`, waves(time, dim), silu));
}
