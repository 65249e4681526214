// The U-Net of nets/unet.py, for pictures of one channel and blocks with adaptive norm, in the page: one picture at a time,
// maps as rows of channels. A test compares the two.
import { dequantize, linear, silu, timeEmbedding } from "./tensors.js";

/** @typedef {Float32Array | Float64Array} Floats */
/** @typedef {[name: string, heads: number][]} Layers in their order; the heads are those of self-attention, 0 without it */

// GroupNorm in groups of 8 channels, with a scale and a shift for each channel, if any, and SiLU if `act`.
/** @type {(x: Floats, channels: number, scale?: Floats, shift?: Floats, act?: boolean) => Float32Array} */
function groupNorm(x, channels, scale, shift, act) {
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
      const [m, b] = scale ? [scale[c] * by, shift[c] - scale[c] * by * mean] : [by, -by * mean];
      for (let i = 0; i < positions; i++, at++) {
        const v = x[at] * m + b;
        out[at] = act ? v / (1 + Math.exp(-v)) : v;
      }
    }
  }
  return out;
}

// Every row of `weight` (rows of `depth` numbers) times every column of `columns` (one after another), plus bias: a map for
// each row. Nearly all of the network's time is spent here. Four rows and two columns at a time, so that each number, once
// read, serves several, and the sums stay in registers; in 64 bits, since a browser would first convert 32.
/** @type {(weight: Floats, bias: Floats, columns: Float64Array, depth: number) => Float32Array} */
function matmul(weight, bias, columns, depth) {
  const rows = bias.length,
    positions = columns.length / depth,
    out = new Float32Array(rows * positions);
  for (let r = 0; r < rows; r += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => Math.min(r + k, rows - 1) * depth); // the last row stands in for those beyond
    for (let p = 0; p < positions; p += 2) {
      const u = p * depth,
        v = u + depth;
      let au = 0,
        av = 0,
        bu = 0,
        bv = 0,
        cu = 0,
        cv = 0,
        du = 0,
        dv = 0;
      for (let k = 0; k < depth; k++) {
        const x = columns[u + k],
          y = columns[v + k];
        const e = weight[a + k],
          f = weight[b + k],
          g = weight[c + k],
          h = weight[d + k];
        au += e * x;
        av += e * y;
        bu += f * x;
        bv += f * y;
        cu += g * x;
        cv += g * y;
        du += h * x;
        dv += h * y;
      }
      const sums = [au, av, bu, bv, cu, cv, du, dv];
      for (let k = 0; k < 8 && r + (k >> 1) < rows; k++)
        out[(r + (k >> 1)) * positions + p + (k & 1)] = sums[k] + bias[r + (k >> 1)];
    }
  }
  return out;
}

// A convolution of 3 x 3, over a map with a border of zeros.
/** @type {(x: Floats, side: number, weight: Floats, bias: Floats, stride?: number) => Float32Array} */
function conv3(x, side, weight, bias, stride = 1) {
  const inward = x.length / (side * side),
    depth = 9 * inward,
    columns = new Float64Array(depth * (side / stride) ** 2);
  for (let y = 0, at = 0; y < side; y += stride)
    for (let column = 0; column < side; column += stride) {
      for (let c = 0; c < inward; c++)
        for (let dy = -1; dy < 2; dy++)
          for (let dx = -1; dx < 2; dx++, at++) {
            const i = y + dy,
              j = column + dx;
            if (i >= 0 && i < side && j >= 0 && j < side) columns[at] = x[(c * side + i) * side + j];
          }
    }
  return matmul(weight, bias, columns, depth);
}

// Maps (channels, positions) as columns, one position after another.
/** @type {(x: Floats, positions: number) => Float64Array} */
function transpose(x, positions) {
  const channels = x.length / positions,
    out = new Float64Array(x.length);
  for (let c = 0; c < channels; c++) for (let i = 0; i < positions; i++) out[i * channels + c] = x[c * positions + i];
  return out;
}

/** @type {(x: Floats, positions: number, weight: Floats, bias: Floats) => Float32Array} */
function conv1(x, positions, weight, bias) {
  return matmul(weight, bias, transpose(x, positions), x.length / positions);
}

// A transposed convolution, 2 x 2 with stride 2: four maps, interleaved.
/** @type {(x: Floats, side: number, weight: Floats, bias: Floats) => Float32Array} */
function transposedConv2(x, side, weight, bias) {
  const positions = side * side,
    outward = bias.length,
    out = new Float32Array(outward * positions * 4);
  const biases = Float64Array.from({ length: outward * 4 }, (_, i) => bias[i >> 2]);
  const maps = matmul(transpose(weight, outward * 4), biases, transpose(x, positions), x.length / positions);
  for (let i = 0; i < out.length; i++) {
    const [o, y, column] = [(i / (4 * positions)) | 0, ((i / (2 * side)) | 0) % (2 * side), i % (2 * side)];
    out[i] = maps[(o * 4 + (y % 2) * 2 + (column % 2)) * positions + (y >> 1) * side + (column >> 1)];
  }
  return out;
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

/** @typedef {{ side: number, dim: number, encoder: Layers, decoder: Layers, weights: Record<string, string> }} UNetData */
/** @typedef {ReturnType<typeof unet>} UNet */

/**
 * The network: modulate(time, label, w) returns what depends on these alone, and run(x, modulation) the output for one picture.
 * @param {UNetData} data
 */
export function unet({ side, dim, encoder, decoder, weights }) {
  const w = dequantize(weights);
  /** @type {(name: string) => [Float64Array, Float64Array]} */
  const of = (name) => [w[`${name}.weight`], w[`${name}.bias`]];
  /** @type {import("./tensors.js").Layer} */
  const layer = (name, x, act) => linear(...of(name), x, act);
  const blocks = [...encoder.map(([name]) => `encoder.${name}`), ...decoder.map(([name]) => `decoder.${name}`)].filter((n) =>
    /block/.test(n),
  );

  /** @type {(time: number, label: number, guidance: number) => Record<string, Float64Array>} */
  function modulate(time, label, guidance) {
    const [t, g] = [timeEmbedding(layer, "time", time, dim), timeEmbedding(layer, "guidance", guidance / 100, dim)];
    const emb = t.map((v, i) => silu(v + g[i] + w["label.weight"][label * dim + i]));
    return Object.fromEntries(blocks.map((name) => [name, layer(`${name}.modulate`, emb)]));
  }

  /** @type {(name: string, heads: number, x: Float32Array, at: number, modulation: Float64Array) => Float32Array} */
  function block(name, heads, x, at, modulation) {
    const positions = at * at,
      [, bias] = of(`${name}.conv1`),
      width = bias.length;
    let h = groupNorm(x, x.length / positions, ...of(`${name}.norm1`), true);
    h = conv3(h, at, ...of(`${name}.conv1`));
    h = groupNorm(
      h,
      width,
      modulation.slice(width).map((v) => 1 + v),
      modulation.slice(0, width),
      true,
    );
    h = conv3(h, at, ...of(`${name}.conv2`));
    const skip = w[`${name}.skip.weight`] ? conv1(x, positions, ...of(`${name}.skip`)) : x;
    for (let i = 0; i < h.length; i++) h[i] += skip[i];
    if (!heads) return h;
    const qkv = conv1(groupNorm(h, width, ...of(`${name}.attention.norm`)), positions, ...of(`${name}.attention.qkv`));
    const values = conv1(selfAttention(qkv, positions, heads), positions, ...of(`${name}.attention.out`));
    for (let i = 0; i < h.length; i++) h[i] += values[i];
    return h;
  }

  /** @type {(x: Floats, modulations: Record<string, Float64Array>) => Float32Array} */
  function run(x, modulations) {
    let [h, at] = [conv3(x, side, ...of("inward")), side];
    const skips = [];
    for (const [name, heads] of encoder) {
      if (/down/.test(name)) [h, at] = [conv3(h, at, ...of(`encoder.${name}`), 2), at / 2];
      else skips.push((h = block(`encoder.${name}`, heads, h, at, modulations[`encoder.${name}`])));
    }
    for (const [name, heads] of decoder) {
      if (/up/.test(name)) [h, at] = [transposedConv2(h, at, ...of(`decoder.${name}`)), 2 * at];
      else h = block(`decoder.${name}`, heads, concatenate(h, skips.pop()), at, modulations[`decoder.${name}`]);
    }
    return conv3(groupNorm(h, h.length / (side * side), ...of("outward.0"), true), side, ...of("outward.2"));
  }
  return { modulate, run };
}
