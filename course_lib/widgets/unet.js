// The U-Net of nets/unet.py, for pictures of one channel and blocks with adaptive norm, in the page: one picture at a time, maps
// as rows of channels. A test holds the two together.

function normed(x, channels, scale, shift) { // GroupNorm in groups of 8 channels; scale and shift by channel, where there are any
  const out = new Float32Array(x.length), groups = Math.max(1, channels >> 3), n = x.length / groups, places = x.length / channels;
  for (let g = 0; g < groups; g++) {
    let [mean, square] = [0, 0];
    for (let i = g * n; i < (g + 1) * n; i++) mean += x[i] / n;
    for (let i = g * n; i < (g + 1) * n; i++) square += (x[i] - mean) ** 2 / n;
    const by = 1 / Math.sqrt(square + 1e-5);
    for (let i = g * n; i < (g + 1) * n; i++) out[i] = (x[i] - mean) * by;
  }
  if (scale) for (let i = 0; i < out.length; i++) out[i] = out[i] * scale[(i / places) | 0] + shift[(i / places) | 0];
  return out;
}

function conv3(x, side, weight, bias) { // 3 x 3, over a map with a border of zeros, whose rows are walked as one
  const wide = side + 2, area = wide * wide, inward = x.length / (side * side), run = wide * side - 2;
  const padded = new Float64Array(inward * area), out = new Float32Array(bias.length * side * side), sum = new Float64Array(run);
  for (let c = 0; c < inward; c++) for (let y = 0; y < side; y++) {
    padded.set(x.subarray((c * side + y) * side, (c * side + y + 1) * side), c * area + (y + 1) * wide + 1);
  }
  for (let o = 0, at = 0; o < bias.length; o++) {
    sum.fill(bias[o]);
    for (let c = 0; c < inward; c++) for (let row = 0; row < 3; row++, at += 3) { // three taps at once
      const a = weight[at], b = weight[at + 1], d = weight[at + 2];
      for (let i = 0, j = c * area + row * wide; i < run; i++, j++) sum[i] += a * padded[j] + b * padded[j + 1] + d * padded[j + 2];
    }
    for (let y = 0; y < side; y++) out.set(sum.subarray(y * wide, y * wide + side), (o * side + y) * side);
  }
  return out;
}

function conv1(x, places, weight, bias) {
  const inward = x.length / places, out = new Float32Array(bias.length * places);
  for (let o = 0; o < bias.length; o++) {
    const row = out.subarray(o * places, (o + 1) * places).fill(bias[o]);
    for (let c = 0; c < inward; c++) {
      const w = weight[o * inward + c], from = c * places;
      for (let i = 0; i < places; i++) row[i] += w * x[from + i];
    }
  }
  return out;
}

function halved(x, side) { // every other place of a map: what a stride of 2 keeps
  const half = side / 2, out = new Float32Array(x.length / 4);
  for (let i = 0; i < out.length; i++) {
    const [c, y, column] = [(i / (half * half)) | 0, ((i / half) | 0) % half, i % half];
    out[i] = x[(c * side + 2 * y) * side + 2 * column];
  }
  return out;
}

function doubled(x, side, weight, bias) { // a transposed convolution, 2 x 2 with stride 2
  const places = side * side, inward = x.length / places, out = new Float32Array(bias.length * places * 4);
  for (let o = 0; o < bias.length; o++) for (let y = 0; y < 2 * side; y++) for (let column = 0; column < 2 * side; column++) {
    let sum = bias[o];
    const from = (y >> 1) * side + (column >> 1), tap = (y % 2) * 2 + (column % 2);
    for (let c = 0; c < inward; c++) sum += x[c * places + from] * weight[(c * bias.length + o) * 4 + tap];
    out[(o * 2 * side + y) * 2 * side + column] = sum;
  }
  return out;
}

function attended(qkv, places, heads) { // softmax(q k^T / sqrt(d)) v, for all places at once
  const channels = qkv.length / 3 / places, d = channels / heads, out = new Float32Array(channels * places);
  for (let h = 0; h < heads; h++) for (let i = 0; i < places; i++) {
    const looks = new Float64Array(places);
    for (let j = 0; j < places; j++) {
      for (let c = h * d; c < (h + 1) * d; c++) looks[j] += qkv[c * places + i] * qkv[(channels + c) * places + j];
      looks[j] /= Math.sqrt(d);
    }
    const top = Math.max(...looks), weights = looks.map((v) => Math.exp(v - top)), all = weights.reduce((a, b) => a + b, 0);
    for (let c = h * d; c < (h + 1) * d; c++) {
      let sum = 0;
      for (let j = 0; j < places; j++) sum += weights[j] * qkv[(2 * channels + c) * places + j];
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
  const w = Object.fromEntries(Object.entries(weights).map(([name, text]) => [name, halves(text)]));
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
    let h = normed(x, x.length / places, ...of(`${name}.norm1`)).map(silu);
    h = conv3(h, at, ...of(`${name}.conv1`));
    h = normed(h, width, modulation.slice(width).map((v) => 1 + v), modulation.slice(0, width)).map(silu);
    h = conv3(h, at, ...of(`${name}.conv2`));
    const straight = w[`${name}.skip.weight`] ? conv1(x, places, ...of(`${name}.skip`)) : x;
    for (let i = 0; i < h.length; i++) h[i] += straight[i];
    if (!heads) return h;
    const qkv = conv1(normed(h, width, ...of(`${name}.attention.norm`)), places, ...of(`${name}.attention.qkv`));
    const said = conv1(attended(qkv, places, heads), places, ...of(`${name}.attention.out`));
    return h.map((v, i) => v + said[i]);
  }

  function run(x, modulations) {
    let [h, at] = [conv3(x, side, ...of("inward")), side];
    const skips = [];
    for (const [name, heads] of encoder) {
      if (/down/.test(name)) [h, at] = [halved(conv3(h, at, ...of(`encoder.${name}`)), at), at / 2];
      else skips.push((h = block(`encoder.${name}`, heads, h, at, modulations[`encoder.${name}`])));
    }
    for (const [name, heads] of decoder) {
      if (/up/.test(name)) [h, at] = [doubled(h, at, ...of(`decoder.${name}`)), 2 * at];
      else h = block(`decoder.${name}`, heads, joined(h, skips.pop()), at, modulations[`decoder.${name}`]);
    }
    return conv3(normed(h, h.length / (side * side), ...of("outward.0")).map(silu), side, ...of("outward.2"));
  }
  return { asked, run };
}
