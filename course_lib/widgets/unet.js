// The U-Net of nets/unet.py, for pictures of one channel and blocks with adaptive norm, in the page: one picture at a time,
// maps as rows of channels. A test compares the two.
import { products } from "./matmul.js";
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

// The weight (in, out, 2, 2) and bias of a transposed convolution as those of a layer with four rows for each map.
/** @type {(weight: Floats, bias: Floats) => [Floats, Floats]} */
function asFourMaps(weight, bias) {
  const rows = 4 * bias.length,
    depth = weight.length / rows;
  return [
    weight.map((_, i) => weight[(i % depth) * rows + Math.floor(i / depth)]),
    weight.slice(0, rows).map((_, i) => bias[i >> 2]),
  ];
}

// The convolutions among the weights of a network, as layers of `products`, and the numbers of the largest matrix of theirs.
/** @type {(w: Record<string, Float64Array>, side: number) => { names: string[], layers: [Floats, Floats][], columns: number }} */
function convolutions(w, side) {
  const names = Object.keys(w)
    .filter((name) => /^(inward|outward\.2|.*\.(conv[12]|skip|qkv|out)|.*_(down|up))\.weight$/.test(name))
    .map((name) => name.slice(0, -".weight".length));
  const layers = names.map((name) => {
    const [weight, bias] = [w[`${name}.weight`], w[`${name}.bias`]];
    return /_up$/.test(name) ? asFourMaps(weight, bias) : /** @type {[Floats, Floats]} */ ([weight, bias]);
  });
  const sizes = layers.map(([weight, { length }], i) => {
    const positions = Number(/(\d+)x/.exec(names[i])?.[1] ?? side) ** 2; // of "encoder.16x16_block0.conv1"
    return positions * Math.max(weight.length / length, length, 4);
  });
  return { names, layers, columns: Math.max(...sizes) };
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
 * @param {boolean} [plain] without WebAssembly
 */
export function unet({ side, dim, encoder, decoder, weights }, plain) {
  const w = dequantize(weights);
  /** @type {(name: string) => [Float64Array, Float64Array]} */
  const of = (name) => [w[`${name}.weight`], w[`${name}.bias`]];
  /** @type {import("./tensors.js").Layer} */
  const layer = (name, x, act) => linear(...of(name), x, act);
  const blocks = [...encoder.map(([name]) => `encoder.${name}`), ...decoder.map(([name]) => `decoder.${name}`)].filter((n) =>
    /block/.test(n),
  );

  // ---------------------------------------------------------------- convolutions, as products
  const { names, layers, columns } = convolutions(w, side);
  const index = new Map(names.map((name, i) => [name, i]));
  const { multiply, simd } = products(layers, columns, plain);
  for (const name of names) delete w[`${name}.weight`]; // it has a copy

  /** @type {(name: string, x: Floats, at: number, stride?: number) => Float32Array} */
  const conv3 = (name, x, at, stride = 1) =>
    multiply(index.get(name), (at / stride) ** 2, (into) => neighbours(into, x, at, stride)).slice();

  /** @type {(name: string, x: Floats, positions: number) => Float32Array} */
  const conv1 = (name, x, positions) => multiply(index.get(name), positions, (into) => into.set(x)).slice();

  // A transposed convolution, 2 x 2 with stride 2: four maps, interleaved.
  /** @type {(name: string, x: Floats, at: number) => Float32Array} */
  function transposedConv2(name, x, at) {
    const maps = multiply(index.get(name), at * at, (into) => into.set(x)),
      out = new Float32Array(maps.length);
    for (let i = 0, from = 0; from < maps.length; i += 4 * at * at)
      for (let k = 0; k < 4; k++)
        for (let y = 0; y < at; y++)
          for (let column = 0; column < at; column++)
            out[i + (2 * y + (k >> 1)) * 2 * at + 2 * column + (k & 1)] = maps[from++];
    return out;
  }

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
    h = conv3(`${name}.conv1`, h, at);
    h = groupNorm(
      h,
      width,
      modulation.slice(width).map((v) => 1 + v),
      modulation.slice(0, width),
      true,
    );
    h = conv3(`${name}.conv2`, h, at);
    const skip = index.has(`${name}.skip`) ? conv1(`${name}.skip`, x, positions) : x;
    for (let i = 0; i < h.length; i++) h[i] += skip[i];
    if (!heads) return h;
    const qkv = conv1(`${name}.attention.qkv`, groupNorm(h, width, ...of(`${name}.attention.norm`)), positions);
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
    return conv3("outward.2", groupNorm(h, h.length / (side * side), ...of("outward.0"), true), side);
  }
  return { modulate, run, simd };
}
