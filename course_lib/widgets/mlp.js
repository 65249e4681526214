// The network of nets/mlp.py, MLP, for one point at a time, in the page. A test compares the two.
import { decodeFloat16, linear, silu, timeEmbedding } from "./tensors.js";

/** @param {Float64Array} h */
function layerNorm(h) {
  // without weights
  let mean = 0,
    square = 0;
  for (const v of h) mean += v / h.length;
  for (const v of h) square += (v - mean) ** 2 / h.length;
  const scale = 1 / Math.sqrt(square + 1e-5);
  return h.map((v) => (v - mean) * scale);
}

/** @typedef {(x: number, y: number, out: Float64Array) => void} Eps writes the predicted noise at (x, y) into out[0], out[1] */

/**
 * The network: at(time) returns its prediction at one time in [0, 1]. What depends on time alone is computed once.
 * @param {{ depth: number, width: number, weights: Record<string, string> }} data
 */
export function mlp({ depth, width, weights }) {
  const w = Object.fromEntries(Object.entries(weights).map(([name, text]) => [name, decodeFloat16(text)]));
  /** @type {import("./tensors.js").Layer} */
  const layer = (name, x, act) => linear(w[`${name}.weight`], w[`${name}.bias`], x, act);

  /**
   * @param {number} time
   * @returns {Eps}
   */
  function at(time) {
    const emb = timeEmbedding(layer, "time", time, width).map(silu);
    const modulation = Array.from({ length: depth }, (_, i) => layer(`blocks.${i}.modulate`, emb));
    return (x, y, out) => {
      let h = layer("inward", Float64Array.of(x, y));
      for (let i = 0; i < depth; i++) {
        const modulated = layerNorm(h).map((v, j) => v * (1 + modulation[i][width + j]) + modulation[i][j]);
        const added = layer(`blocks.${i}.mlp.2`, layer(`blocks.${i}.mlp.0`, modulated, silu));
        h = h.map((v, j) => v + added[j]);
      }
      const [scale, shift] = [w["outward.0.weight"], w["outward.0.bias"]];
      out.set(
        layer(
          "outward.1",
          layerNorm(h).map((v, j) => v * scale[j] + shift[j]),
        ),
      );
    };
  }
  return { at };
}
