// The network of nets/mlp.py, MLP, in the page: its one forward pass, for drawing (paths.js) and for training (mlp_training.js).
// Tests compare it with torch.
import { silu, waves } from "./tensors.js";

/** @typedef {Float64Array} Floats a matrix row by row */
/** @typedef {Record<string, ArrayLike<number>>} Weights by their names in the network's state_dict */
/** @typedef {{ width: number, depth: number }} Size */
/** @typedef {(name: string, X: Floats) => Floats} Linear the outputs of the linear layer `name` for all rows of X */

/** Rows less their mean, over their standard deviation, whose inverse is returned as well. */
function layerNorm(/** @type {Floats} */ H, /** @type {number} */ width) {
  const N = new Float64Array(H.length),
    scale = new Float64Array(H.length / width);
  for (let i = 0; i < scale.length; i++) {
    let [mean, square] = [0, 0];
    for (let j = 0; j < width; j++) mean += H[i * width + j] / width;
    for (let j = 0; j < width; j++) square += (H[i * width + j] - mean) ** 2 / width;
    scale[i] = 1 / Math.sqrt(square + 1e-5);
    for (let j = 0; j < width; j++) N[i * width + j] = (H[i * width + j] - mean) * scale[i];
  }
  return { N, scale };
}

/**
 * The network, as a function of times in [0, 1], which returns the prediction `y` for as many points (x, y) at each of them,
 * with all that the gradient needs.
 * @param {Size} size
 * @param {Weights} p
 * @param {Linear} linear
 */
export function mlp({ width, depth }, p, linear) {
  return (/** @type {ArrayLike<number>} */ times) => {
    const W = new Float64Array(times.length * width);
    for (let i = 0; i < times.length; i++) W.set(waves(times[i], width), i * width);
    const z = linear("time.mlp.0", W),
      hidden = z.map(silu),
      e = linear("time.mlp.2", hidden),
      emb = e.map(silu);
    const modulation = Array.from({ length: depth }, (_, i) => linear(`blocks.${i}.modulate`, emb));
    return (/** @type {Floats} */ x) => {
      const each = x.length / 2 / times.length; // points at one time
      let H = linear("inward", x);
      const blocks = modulation.map((M, i) => {
        const norm = layerNorm(H, width),
          U = new Float64Array(H.length);
        for (let r = 0, at = 0; at < U.length; r++) {
          const m = 2 * width * Math.floor(r / each);
          for (let j = 0; j < width; j++, at++) U[at] = norm.N[at] * (1 + M[m + width + j]) + M[m + j];
        }
        const Z = linear(`blocks.${i}.mlp.0`, U),
          S = Z.map(silu),
          added = linear(`blocks.${i}.mlp.2`, S);
        H = H.map((v, j) => v + added[j]);
        return { M, norm, U, Z, S };
      });
      const norm = layerNorm(H, width),
        [scale, shift] = [p["outward.0.weight"], p["outward.0.bias"]],
        U = norm.N.map((v, i) => v * scale[i % width] + shift[i % width]);
      return { y: linear("outward.1", U), x, each, W, z, hidden, e, emb, blocks, norm, U };
    };
  };
}
