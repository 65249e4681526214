// What networks in the page share: weights in 16 bits, a linear layer, an activation, and how they are told the time.

function halves(base64) { // 16-bit floats, little end first
  const packed = new Uint16Array(bytes(base64).buffer);
  return Float32Array.from(packed, (h) => {
    const [sign, exponent, fraction] = [h & 0x8000 ? -1 : 1, (h >> 10) & 31, h & 1023];
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  });
}

// Weights as checkpoints.packed keeps them in 8 bits: a matrix in whole numbers of 8 bits beside the scales of its rows in 32, all
// else as halves. 64-bit floats, which a page reckons with.
function unpacked(kept) {
  const SCALE = ".scale of rows", names = Object.keys(kept).filter((name) => !name.endsWith(SCALE));
  return Object.fromEntries(names.map((name) => {
    if (!(name + SCALE in kept)) return [name, Float64Array.from(halves(kept[name]))];
    const [whole, scale] = [new Int8Array(bytes(kept[name]).buffer), new Float32Array(bytes(kept[name + SCALE]).buffer)];
    return [name, Float64Array.from(whole, (v, i) => v * scale[Math.floor((i * scale.length) / whole.length)])];
  }));
}

function silu(v) {
  return v / (1 + Math.exp(-v));
}

function linear(weight, bias, x, act) {
  const out = new Float64Array(bias.length), n = x.length;
  for (let i = 0, at = 0; i < out.length; i++) {
    let sum = bias[i];
    for (let j = 0; j < n; j++) sum += weight[at++] * x[j];
    out[i] = sum;
  }
  return act ? out.map(act) : out;
}

// nets/embeddings.py, TimeEmbedding: `layer(name, x, act)` applies a linear layer of the network.
function embedded(layer, name, time, dim) {
  const angles = Float64Array.from({ length: dim / 2 }, (_, i) => 1000 * time * Math.exp((-Math.log(10000) * i) / (dim / 2)));
  const waves = Float64Array.from({ length: dim }, (_, i) => (i < dim / 2 ? Math.sin(angles[i]) : Math.cos(angles[i - dim / 2])));
  return layer(`${name}.mlp.2`, layer(`${name}.mlp.0`, waves, silu));
}
