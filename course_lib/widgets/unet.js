// The U-Net of nets/unet.py, for pictures of one channel and blocks with adaptive norm, in the page: one picture at a time,
// maps as rows of channels. A test compares the two.
import { products } from "./matmul.js";
import { asFourMaps, decodeMatrix } from "./quantized.js";
import { decodeFloat16, silu, timeEmbedding } from "./tensors.js";

/** @typedef {Float32Array | Float64Array} Floats */
/** @typedef {[name: string, heads: number][]} Layers in their order; the heads are those of self-attention, 0 without it */

// GroupNorm in groups of 8 channels, with a scale and a shift for each channel, and SiLU if `act`.
/** @type {(x: Floats, channels: number, by: Floats[], act: boolean) => Float32Array} */
function groupNorm(x, channels, [scale, shift], act) {
  const out = new Float32Array(x.length),
    groups = Math.max(1, channels >> 3),
    n = x.length / groups,
    positions = x.length / channels;
  for (let g = 0, at = 0; g < groups; g++) {
    let [sum, square] = [0, 0];
    for (let i = g * n; i < (g + 1) * n; i++) sum += x[i];
    const mean = sum / n;
    for (let i = g * n; i < (g + 1) * n; i++) square += (x[i] - mean) * (x[i] - mean);
    const by = 1 / Math.sqrt(square / n + 1e-5);
    for (let c = (g * channels) / groups; c < ((g + 1) * channels) / groups; c++) {
      const [m, b] = [scale[c] * by, shift[c] - scale[c] * by * mean];
      for (let i = 0; i < positions; i++, at++) {
        const v = x[at] * m + b;
        out[at] = act ? v / (1 + Math.exp(-v)) : v;
      }
    }
  }
  return out;
}

// The pixels around each position of maps x (channels, side, side) with a border of zeros, as a matrix (9 channels, positions):
// a convolution of 3 x 3 is a product with it.
/** @type {(into: Floats, x: Floats, side: number, stride: number) => void} */
function neighbours(into, x, side, stride) {
  for (let c = 0, at = 0; c < x.length; c += side * side)
    for (let dy = -1; dy < 2; dy++)
      for (let dx = -1; dx < 2; dx++)
        for (let y = dy; y < side + dy; y += stride) {
          const inside = y >= 0 && y < side,
            row = c + y * side;
          for (let column = dx; column < side + dx; column += stride)
            into[at++] = inside && column >= 0 && column < side ? x[row + column] : 0;
        }
}

// softmax(q k^T / sqrt(d)) v for all positions: the selfAttention values of each head.
/** @type {(qkv: Floats, positions: number, heads: number) => Float32Array} */
function selfAttention(qkv, positions, heads) {
  const channels = qkv.length / 3 / positions,
    d = channels / heads;
  const out = new Float32Array(channels * positions),
    weights = new Float64Array(positions);
  for (let h = 0; h < heads; h++)
    for (let i = 0; i < positions; i++) {
      weights.fill(0);
      for (let c = h * d; c < (h + 1) * d; c++) {
        for (let j = 0; j < positions; j++) weights[j] += qkv[c * positions + i] * qkv[(channels + c) * positions + j];
      }
      let [top, all] = [-Infinity, 0];
      for (let j = 0; j < positions; j++) top = Math.max(top, weights[j]);
      for (let j = 0; j < positions; j++) all += weights[j] = Math.exp((weights[j] - top) / Math.sqrt(d));
      for (let c = h * d; c < (h + 1) * d; c++) {
        let sum = 0;
        for (let j = 0; j < positions; j++) sum += weights[j] * qkv[(2 * channels + c) * positions + j];
        out[c * positions + i] = sum / all;
      }
    }
  return out;
}

/** @type {(a: Float32Array, b: Float32Array) => Float32Array} */
function concatenate(a, b) {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

/** @typedef {{ side: number, dim: number, encoder: Layers, decoder: Layers, weights: Record<string, string[]> }} UNetData */
/** @typedef {ReturnType<typeof unet>} UNet */

/**
 * The network: modulate(time, digit, w) returns what depends on these alone, the embedding of time, the digit and w, and
 * run(x, modulation) the output for one picture.
 * @param {UNetData} data
 * @param {boolean} [plain] without WebAssembly
 */
export function unet({ side, dim, encoder, decoder, weights }, plain) {
  const blocks = [...encoder.map(([name]) => `encoder.${name}`), ...decoder.map(([name]) => `decoder.${name}`)].filter((n) =>
    /block/.test(n),
  );
  const label = decodeMatrix(weights.label);
  /** @type {Record<string, Float32Array[]>} */
  const norms = {};
  /** @type {Record<string, Float32Array>} */
  const scales = {};
  /** @type {Record<string, import("./quantized.js").Matrix>} */
  const matrices = {};
  for (const [name, stored] of Object.entries(weights)) {
    if (/norm|outward.0/.test(name)) norms[name] = stored.map(decodeFloat16);
    else if (name !== "label") {
      const at = /modulate|mlp/.test(name) ? 8 : Number(/(\d+)x/.exec(name)?.[1] ?? side) ** 2; // of "encoder.16x16_block0.conv1"
      const matrix = decodeMatrix(stored, at);
      if (/_up$/.test(name)) scales[name] = matrix.scales;
      matrices[name] = /_up$/.test(name) ? asFourMaps(matrix) : matrix;
    }
  }
  const { multiply, simd } = products(matrices, plain);

  /** @type {(name: string, x: Floats, at: number, stride?: number) => Float32Array} */
  const conv3 = (name, x, at, stride = 1) =>
    multiply(name, (at / stride) ** 2, (into) => neighbours(into, x, at, stride)).slice();

  /** @type {(name: string, x: Floats, positions: number) => Float32Array} */
  const conv1 = (name, x, positions) => multiply(name, positions, (into) => into.set(x)).slice();

  // A transposed convolution, 2 x 2 with stride 2: four maps, interleaved.
  /** @type {(name: string, x: Floats, at: number) => Float32Array} */
  function transposedConv2(name, x, at) {
    const maps = multiply(name, at * at, (into) => into.set(x.map((v, i) => v * scales[name][Math.floor(i / at / at)]))),
      out = new Float32Array(maps.length);
    for (let i = 0, from = 0; from < maps.length; i += 4 * at * at)
      for (let k = 0; k < 4; k++)
        for (let y = 0; y < at; y++)
          for (let column = 0; column < at; column++)
            out[i + (2 * y + (k >> 1)) * 2 * at + 2 * column + (k & 1)] = maps[from++];
    return out;
  }

  // A linear layer, whose input is the first of the eight columns of a product.
  /** @type {import("./tensors.js").Layer} */
  function layer(name, x, act = (/** @type {number} */ v) => v) {
    const out = multiply(name, 8, (into) => x.forEach((v, i) => (into[8 * i] = v)));
    return Float64Array.from({ length: out.length / 8 }, (_, i) => act(out[8 * i]));
  }

  /** @type {(time: Floats, digit: number, guidance: number) => Record<string, Float64Array>} */
  function modulate(time, digit, guidance) {
    const g = timeEmbedding(layer, "guidance", guidance / 100, dim);
    const emb = g.map((v, i) => silu(v + time[i] + label.scales[digit] * label.whole[digit * dim + i]));
    return Object.fromEntries(blocks.map((name) => [name, layer(`${name}.modulate`, emb)]));
  }

  /** @type {(name: string, heads: number, x: Float32Array, at: number, modulation: Float64Array) => Float32Array} */
  function block(name, heads, x, at, modulation) {
    const positions = at * at,
      width = modulation.length / 2;
    let h = groupNorm(x, x.length / positions, norms[`${name}.norm1`], true);
    h = conv3(`${name}.conv1`, h, at);
    h = groupNorm(h, width, [modulation.slice(width).map((v) => 1 + v), modulation.slice(0, width)], true);
    h = conv3(`${name}.conv2`, h, at);
    const skip = x.length === h.length ? x : conv1(`${name}.skip`, x, positions);
    for (let i = 0; i < h.length; i++) h[i] += skip[i];
    if (!heads) return h;
    const qkv = conv1(`${name}.attention.qkv`, groupNorm(h, width, norms[`${name}.attention.norm`], false), positions);
    const values = conv1(`${name}.attention.out`, selfAttention(qkv, positions, heads), positions);
    for (let i = 0; i < h.length; i++) h[i] += values[i];
    return h;
  }

  /** @type {(x: Floats, modulations: Record<string, Float64Array>) => Float32Array} */
  function run(x, modulations) {
    let [h, at] = [conv3("inward", x, side), side];
    const skips = [];
    for (const [name, heads] of encoder) {
      if (/down/.test(name)) [h, at] = [conv3(`encoder.${name}`, h, at, 2), at / 2];
      else skips.push((h = block(`encoder.${name}`, heads, h, at, modulations[`encoder.${name}`])));
    }
    for (const [name, heads] of decoder) {
      if (/up/.test(name)) [h, at] = [transposedConv2(`decoder.${name}`, h, at), 2 * at];
      else h = block(`decoder.${name}`, heads, concatenate(h, skips.pop()), at, modulations[`decoder.${name}`]);
    }
    return conv3("outward.2", groupNorm(h, h.length / (side * side), norms["outward.0"], true), side);
  }
  return { modulate, run, simd };
}
