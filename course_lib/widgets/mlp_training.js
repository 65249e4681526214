// The training of the network of mlp.js in the page, on batches of points: the gradient of the loss, written out by hand, and
// Adam. A test compares loss and gradients with torch's.
import { mlp } from "./mlp.js";

/** @typedef {import("./mlp.js").Floats} Floats */
/** @typedef {import("./mlp.js").Size} Size */
/** @typedef {Record<string, Floats>} Parameters by their names in the network's state_dict */
/** @typedef {{ times: ArrayLike<number>, x: Floats }} Batch times as fractions of T, and as many points (x, y) for each of them */

/**
 * The rows and columns of all parameters.
 * @param {Size} size
 * @returns {[name: string, rows: number, columns: number][]}
 */
function shapes({ width, depth }) {
  /** @type {(name: string, rows: number, columns: number) => [string, number, number][]} */
  const layer = (name, rows, columns) => [
    [`${name}.weight`, rows, columns],
    [`${name}.bias`, rows, 1],
  ];
  const square = (/** @type {string} */ name) => layer(name, width, width);
  const blocks = Array.from({ length: depth }, (_, i) => `blocks.${i}`);
  return [
    ...layer("inward", width, 2),
    ...["time.mlp.0", "time.mlp.2"].flatMap(square),
    ...blocks.flatMap((b) => [...layer(`${b}.modulate`, 2 * width, width), ...square(`${b}.mlp.0`), ...square(`${b}.mlp.2`)]),
    ...layer("outward.0", width, 1),
    ...layer("outward.1", 2, width),
  ];
}

/**
 * All parameters as parts of one array.
 * @param {Size} size
 * @param {Floats} [flat] by default zeros
 */
export function parameters(size, flat) {
  const all = shapes(size);
  flat ??= new Float64Array(all.reduce((sum, [, rows, columns]) => sum + rows * columns, 0));
  let at = 0;
  /** @type {Parameters} */
  const named = {};
  for (const [name, rows, columns] of all) named[name] = flat.subarray(at, (at += rows * columns));
  return { flat, named };
}

/**
 * New weights, distributed as torch's linear layers draw theirs: evenly within 1 / sqrt(inputs).
 * @param {Size} size
 * @param {() => number} random evenly in 0..1
 */
export function initialise(size, random) {
  const { flat, named } = parameters(size);
  for (const [name, , columns] of shapes(size)) {
    const inputs = name.endsWith("weight") ? columns : named[name.replace("bias", "weight")].length / named[name].length;
    named[name].forEach((_, i) => (named[name][i] = (2 * random() - 1) / Math.sqrt(inputs)));
  }
  named["outward.0.weight"].fill(1);
  named["outward.0.bias"].fill(0);
  return flat;
}

/**
 * C (n, m) += A (n, k) B (k, m), two rows of A by four of B at a time: each number that is loaded then serves several products.
 * @type {(A: Floats, B: Floats, C: Floats, n: number, k: number, m: number) => Floats}
 */
function addProduct(A, B, C, n, k, m) {
  for (let i = 0; i < n; i += 2) {
    const two = i + 1 < n ? 1 : 0; // a last row without another is multiplied beside zeros
    const to = i * m,
      next = to + two * m;
    let j = 0;
    for (; j + 3 < k; j += 4) {
      const at = i * k + j,
        below = at + two * k,
        b0 = j * m,
        b1 = b0 + m,
        b2 = b1 + m,
        b3 = b2 + m;
      const a0 = A[at],
        a1 = A[at + 1],
        a2 = A[at + 2],
        a3 = A[at + 3];
      const c0 = two * A[below],
        c1 = two * A[below + 1],
        c2 = two * A[below + 2],
        c3 = two * A[below + 3];
      for (let l = 0; l < m; l++) {
        const v0 = B[b0 + l],
          v1 = B[b1 + l],
          v2 = B[b2 + l],
          v3 = B[b3 + l];
        C[to + l] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3;
        C[next + l] += c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3;
      }
    }
    for (; j < k; j++)
      for (let row = i; row <= i + two; row++) for (let l = 0; l < m; l++) C[row * m + l] += A[row * k + j] * B[j * m + l];
  }
  return C;
}

/** @type {(A: Floats, columns: number) => Floats} */
function transpose(A, columns) {
  const rows = A.length / columns,
    out = new Float64Array(A.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = A[i * columns + j];
  return out;
}

/** @type {(v: number) => number} */
function siluSlope(v) {
  const s = 1 / (1 + Math.exp(-v));
  return s * (1 + v * (1 - s));
}

/** @type {(dOut: Floats, Z: Floats) => Floats} */
const throughSilu = (dOut, Z) => dOut.map((v, i) => v * siluSlope(Z[i]));

/**
 * @param {Size} size
 * @param {Parameters} p
 */
export function network({ width, depth }, p) {
  /** @type {(name: string, X: Floats) => Floats} */
  function linear(name, X) {
    const [W, bias] = [p[`${name}.weight`], p[`${name}.bias`]];
    const out = bias.length,
      inputs = W.length / out,
      n = X.length / inputs;
    const Y = new Float64Array(n * out);
    for (let i = 0; i < n; i++) Y.set(bias, i * out);
    return addProduct(X, transpose(W, inputs), Y, n, inputs, out);
  }

  /**
   * Adds a linear layer's gradients to `g`, and returns that of its input X.
   * @type {(g: Parameters, name: string, X: Floats, dY: Floats) => Floats}
   */
  function linearBack(g, name, X, dY) {
    const [W, dBias] = [p[`${name}.weight`], g[`${name}.bias`]];
    const out = dBias.length,
      inputs = W.length / out,
      n = X.length / inputs;
    addProduct(transpose(dY, out), X, g[`${name}.weight`], out, n, inputs);
    for (let i = 0; i < dY.length; i++) dBias[i % out] += dY[i];
    return addProduct(dY, W, new Float64Array(X.length), n, out, inputs);
  }

  /**
   * Adds to dH the gradient of a norm's input.
   * @type {(norm: ReturnType<typeof forward>["norm"], dN: Floats, dH: Floats) => void}
   */
  function layerNormBack({ N, scale }, dN, dH) {
    for (let i = 0; i < scale.length; i++) {
      let [mean, along] = [0, 0];
      for (let j = i * width; j < (i + 1) * width; j++) {
        mean += dN[j] / width;
        along += (dN[j] * N[j]) / width;
      }
      for (let j = i * width; j < (i + 1) * width; j++) dH[j] += scale[i] * (dN[j] - mean - N[j] * along);
    }
  }

  const at = mlp({ width, depth }, p, linear);
  const forward = (/** @type {Batch} */ { times, x }) => at(times)(x);

  /**
   * The gradients of all parameters for that of the prediction, dY.
   * @type {(tape: ReturnType<typeof forward>, dY: Floats, g: Parameters) => void}
   */
  function backward({ x, each, W, z, hidden, e, emb, blocks, norm, U }, dY, g) {
    const dU = linearBack(g, "outward.1", U, dY),
      scale = p["outward.0.weight"],
      dH = new Float64Array(dU.length);
    for (let i = 0; i < dU.length; i++) {
      g["outward.0.weight"][i % width] += dU[i] * norm.N[i];
      g["outward.0.bias"][i % width] += dU[i];
    }
    layerNormBack(
      norm,
      dU.map((v, i) => v * scale[i % width]),
      dH,
    );
    const dEmb = new Float64Array(emb.length);
    for (let i = depth - 1; i >= 0; i--) {
      const { M, norm, U, Z, S } = blocks[i];
      const dZ = throughSilu(linearBack(g, `blocks.${i}.mlp.2`, S, dH), Z);
      const dU = linearBack(g, `blocks.${i}.mlp.0`, U, dZ),
        dM = new Float64Array(M.length);
      for (let r = 0, at = 0; at < dU.length; r++) {
        const m = 2 * width * Math.floor(r / each);
        for (let j = 0; j < width; j++, at++) {
          dM[m + j] += dU[at];
          dM[m + width + j] += dU[at] * norm.N[at];
          dU[at] *= 1 + M[m + width + j];
        }
      }
      layerNormBack(norm, dU, dH);
      const part = linearBack(g, `blocks.${i}.modulate`, emb, dM);
      for (let j = 0; j < part.length; j++) dEmb[j] += part[j];
    }
    linearBack(g, "inward", x, dH);
    const dHidden = linearBack(g, "time.mlp.2", hidden, throughSilu(dEmb, e));
    linearBack(g, "time.mlp.0", W, throughSilu(dHidden, z));
  }

  /**
   * The mean squared error of each time's predictions of `eps`; adds the gradients of their mean to `g`.
   * @type {(batch: Batch, eps: Floats, g: Parameters) => Floats}
   */
  function loss(batch, eps, g) {
    const tape = forward(batch),
      { y, each } = tape,
      losses = new Float64Array(batch.times.length);
    for (let i = 0; i < y.length; i++) losses[Math.floor(i / (2 * each))] += (y[i] - eps[i]) ** 2 / (2 * each);
    backward(
      tape,
      y.map((v, i) => (2 * (v - eps[i])) / y.length),
      g,
    );
    return losses;
  }
  return { predict: (/** @type {Batch} */ batch) => forward(batch).y, loss };
}

/**
 * Adam (Kingma and Ba 2015, Algorithm 1) on all parameters at once, and their exponential moving average.
 * @param {Floats} weights changed by each step
 */
export function adam(weights, [b1, b2, tiny] = [0.9, 0.999, 1e-8]) {
  const [m, v] = [weights, weights].map((w) => new Float64Array(w.length)),
    average = weights.slice();
  let t = 0;
  /** @type {(g: Floats, rate: number) => void} */
  function step(g, rate) {
    t++;
    const [c1, c2, keep] = [1 - b1 ** t, 1 - b2 ** t, Math.min(0.995, (1 + t) / (10 + t))];
    for (let i = 0; i < g.length; i++) {
      m[i] += (1 - b1) * (g[i] - m[i]);
      v[i] += (1 - b2) * (g[i] * g[i] - v[i]);
      weights[i] -= (rate * m[i]) / c1 / (Math.sqrt(v[i] / c2) + tiny);
      average[i] += (1 - keep) * (weights[i] - average[i]);
    }
  }
  return { step, average };
}
