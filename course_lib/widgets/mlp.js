// The network of nets/mlp.py, MLP, for one point at a time, in the page. A test holds the two together.

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
    const emb = embedded(layer, "time", time, width).map(silu);
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
