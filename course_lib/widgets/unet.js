// The U-Net of nets/unet.py, for pictures of one channel and blocks with adaptive norm, in the page: one picture at a time, maps
// as rows of channels. A test holds the two together.

function normed(x, channels, scale, shift, act) { // GroupNorm in groups of 8 channels; scale and shift by channel, if any
  const out = new Float32Array(x.length), groups = Math.max(1, channels >> 3), n = x.length / groups, places = x.length / channels;
  for (let g = 0, at = 0; g < groups; g++) {
    let [sum, square] = [0, 0];
    for (let i = g * n; i < (g + 1) * n; i++) sum += x[i];
    const mean = sum / n;
    for (let i = g * n; i < (g + 1) * n; i++) square += (x[i] - mean) * (x[i] - mean);
    const by = 1 / Math.sqrt(square / n + 1e-5);
    for (let c = (g * channels) / groups; c < ((g + 1) * channels) / groups; c++) {
      const [m, b] = scale ? [scale[c] * by, shift[c] - scale[c] * by * mean] : [by, -by * mean];
      for (let i = 0; i < places; i++, at++) {
        const v = x[at] * m + b;
        out[at] = act ? v / (1 + Math.exp(-v)) : v;
      }
    }
  }
  return out;
}

// Every row of `weight` (rows of `depth` numbers) times every column of `columns` (one after another), plus bias: a map for each
// row. All that takes time in this network is this. Four rows and two columns at a time, so that each number, once read, serves
// several, and the sums stay in registers; in 64 bits, since a page would first widen 32.
function product(weight, bias, columns, depth) {
  const rows = bias.length, places = columns.length / depth, out = new Float32Array(rows * places);
  for (let r = 0; r < rows; r += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => Math.min(r + k, rows - 1) * depth); // the last row stands in for those beyond
    for (let p = 0; p < places; p += 2) {
      const u = p * depth, v = u + depth;
      let au = 0, av = 0, bu = 0, bv = 0, cu = 0, cv = 0, du = 0, dv = 0;
      for (let k = 0; k < depth; k++) {
        const x = columns[u + k], y = columns[v + k];
        const e = weight[a + k], f = weight[b + k], g = weight[c + k], h = weight[d + k];
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
      for (let k = 0; k < 8 && r + (k >> 1) < rows; k++) out[(r + (k >> 1)) * places + p + (k & 1)] = sums[k] + bias[r + (k >> 1)];
    }
  }
  return out;
}

function conv3(x, side, weight, bias, stride = 1) { // 3 x 3, over a map with a border of zeros
  const inward = x.length / (side * side), depth = 9 * inward, columns = new Float64Array(depth * (side / stride) ** 2);
  for (let y = 0, at = 0; y < side; y += stride) for (let column = 0; column < side; column += stride) {
    for (let c = 0; c < inward; c++) for (let dy = -1; dy < 2; dy++) for (let dx = -1; dx < 2; dx++, at++) {
      const i = y + dy, j = column + dx;
      if (i >= 0 && i < side && j >= 0 && j < side) columns[at] = x[(c * side + i) * side + j];
    }
  }
  return product(weight, bias, columns, depth);
}

function turned(x, places) { // maps (channels, places) as columns, a place after another
  const channels = x.length / places, out = new Float64Array(x.length);
  for (let c = 0; c < channels; c++) for (let i = 0; i < places; i++) out[i * channels + c] = x[c * places + i];
  return out;
}

function conv1(x, places, weight, bias) {
  return product(weight, bias, turned(x, places), x.length / places);
}

function doubled(x, side, weight, bias) { // a transposed convolution, 2 x 2 with stride 2: four maps, put between each other
  const places = side * side, outward = bias.length, out = new Float32Array(outward * places * 4);
  const biases = Float64Array.from({ length: outward * 4 }, (_, i) => bias[i >> 2]);
  const maps = product(turned(weight, outward * 4), biases, turned(x, places), x.length / places);
  for (let i = 0; i < out.length; i++) {
    const [o, y, column] = [(i / (4 * places)) | 0, ((i / (2 * side)) | 0) % (2 * side), i % (2 * side)];
    out[i] = maps[(o * 4 + (y % 2) * 2 + (column % 2)) * places + (y >> 1) * side + (column >> 1)];
  }
  return out;
}

function attended(qkv, places, heads) { // softmax(q k^T / sqrt(d)) v, for all places at once
  const channels = qkv.length / 3 / places, d = channels / heads;
  const out = new Float32Array(channels * places), looks = new Float64Array(places);
  for (let h = 0; h < heads; h++) for (let i = 0; i < places; i++) {
    looks.fill(0);
    for (let c = h * d; c < (h + 1) * d; c++) {
      for (let j = 0; j < places; j++) looks[j] += qkv[c * places + i] * qkv[(channels + c) * places + j];
    }
    let [top, all] = [-Infinity, 0];
    for (let j = 0; j < places; j++) top = Math.max(top, looks[j]);
    for (let j = 0; j < places; j++) all += looks[j] = Math.exp((looks[j] - top) / Math.sqrt(d));
    for (let c = h * d; c < (h + 1) * d; c++) {
      let sum = 0;
      for (let j = 0; j < places; j++) sum += looks[j] * qkv[(2 * channels + c) * places + j];
      out[c * places + i] = sum / all;
    }
  }
  return out;
}

function joined(a, b) {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

// { side, dim, encoder, decoder, weights }: layers in their order, as [name, heads of attention]. Gives
// asked(time, label, w), what depends on these alone, and run(x, asked), the network's output for one picture.
function unet({ side, dim, encoder, decoder, weights }) {
  const w = unpacked(weights);
  const of = (name) => [w[`${name}.weight`], w[`${name}.bias`]];
  const layer = (name, x, act) => linear(...of(name), x, act);
  const blocks = [...encoder.map(([name]) => `encoder.${name}`), ...decoder.map(([name]) => `decoder.${name}`)].filter((n) => /block/.test(n));

  function asked(time, label, guidance) {
    const [t, g] = [embedded(layer, "time", time, dim), embedded(layer, "guidance", guidance / 100, dim)];
    const emb = t.map((v, i) => silu(v + g[i] + w["label.weight"][label * dim + i]));
    return Object.fromEntries(blocks.map((name) => [name, layer(`${name}.modulate`, emb)]));
  }

  function block(name, heads, x, at, modulation) {
    const places = at * at, [, bias] = of(`${name}.conv1`), width = bias.length;
    let h = normed(x, x.length / places, ...of(`${name}.norm1`), true);
    h = conv3(h, at, ...of(`${name}.conv1`));
    h = normed(h, width, modulation.slice(width).map((v) => 1 + v), modulation.slice(0, width), true);
    h = conv3(h, at, ...of(`${name}.conv2`));
    const straight = w[`${name}.skip.weight`] ? conv1(x, places, ...of(`${name}.skip`)) : x;
    for (let i = 0; i < h.length; i++) h[i] += straight[i];
    if (!heads) return h;
    const qkv = conv1(normed(h, width, ...of(`${name}.attention.norm`)), places, ...of(`${name}.attention.qkv`));
    const said = conv1(attended(qkv, places, heads), places, ...of(`${name}.attention.out`));
    for (let i = 0; i < h.length; i++) h[i] += said[i];
    return h;
  }

  function run(x, modulations) {
    let [h, at] = [conv3(x, side, ...of("inward")), side];
    const skips = [];
    for (const [name, heads] of encoder) {
      if (/down/.test(name)) [h, at] = [conv3(h, at, ...of(`encoder.${name}`), 2), at / 2];
      else skips.push((h = block(`encoder.${name}`, heads, h, at, modulations[`encoder.${name}`])));
    }
    for (const [name, heads] of decoder) {
      if (/up/.test(name)) [h, at] = [doubled(h, at, ...of(`decoder.${name}`)), 2 * at];
      else h = block(`decoder.${name}`, heads, joined(h, skips.pop()), at, modulations[`decoder.${name}`]);
    }
    return conv3(normed(h, h.length / (side * side), ...of("outward.0"), true), side, ...of("outward.2"));
  }
  return { asked, run };
}
