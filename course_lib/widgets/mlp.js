// The network of nets/mlp.py, MLP, for one point at a time, in the page. A test holds the two together.

function halves(base64) { // 16-bit floats, little end first
  const packed = new Uint16Array(bytes(base64).buffer);
  return Float32Array.from(packed, (h) => {
    const [sign, exponent, fraction] = [h & 0x8000 ? -1 : 1, (h >> 10) & 31, h & 1023];
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  });
}

const silu = (v) => v / (1 + Math.exp(-v));

function linear(weight, bias, x, act) {
  const out = new Float64Array(bias.length), n = x.length;
  for (let i = 0, at = 0; i < out.length; i++) {
    let sum = bias[i];
    for (let j = 0; j < n; j++) sum += weight[at++] * x[j];
    out[i] = sum;
  }
  return act ? out.map(act) : out;
}

function normalised(h) { // LayerNorm without weights
  let mean = 0, square = 0;
  for (const v of h) mean += v / h.length;
  for (const v of h) square += (v - mean) ** 2 / h.length;
  const scale = 1 / Math.sqrt(square + 1e-5);
  return h.map((v) => (v - mean) * scale);
}

// at(time) gives eps(x, y, out) for time in [0, 1]; what depends on time alone is done once.
function network({ depth, width, weights }) {
  const w = Object.fromEntries(Object.entries(weights).map(([name, text]) => [name, halves(text)]));
  const layer = (name, x, act) => linear(w[`${name}.weight`], w[`${name}.bias`], x, act);

  function at(time) {
    const angles = Float64Array.from({ length: width / 2 }, (_, i) => 1000 * time * Math.exp((-Math.log(10000) * i) / (width / 2)));
    const waves = Float64Array.from({ length: width }, (_, i) => (i < width / 2 ? Math.sin(angles[i]) : Math.cos(angles[i - width / 2])));
    const emb = layer("time.mlp.2", layer("time.mlp.0", waves, silu), silu);
    const said = Array.from({ length: depth }, (_, i) => layer(`blocks.${i}.modulate`, emb));
    return (x, y, out) => {
      let h = layer("inward", Float64Array.of(x, y));
      for (let i = 0; i < depth; i++) {
        const steered = normalised(h).map((v, j) => v * (1 + said[i][width + j]) + said[i][j]);
        const added = layer(`blocks.${i}.mlp.2`, layer(`blocks.${i}.mlp.0`, steered, silu));
        h = h.map((v, j) => v + added[j]);
      }
      const [scale, shift] = [w["outward.0.weight"], w["outward.0.bias"]];
      out.set(layer("outward.1", normalised(h).map((v, j) => v * scale[j] + shift[j])));
    };
  }
  return { at };
}
