// Matrix products, in which nearly all of a network's time is spent in the page: by WebAssembly with SIMD (matmul.wat), in 32
// bits, or, where a page may not have it, in plain JavaScript, in 64 bits, since a browser would first convert 32.
import { PROGRAM } from "./matmul_bytes.js";
import { decodeBase64 } from "./page.js";

/** @typedef {Float32Array | Float64Array} Floats */
/** @typedef {{ rows: number, depth: number, weight: Floats, bias: Floats }} Matrix a layer's weight, row by row, and bias */

/**
 * The program, with a memory of its own of so many floats, or null where there is none.
 * @param {number} floats
 */
function assembled(floats) {
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(floats / 16384) });
    const program = new WebAssembly.Module(decodeBase64(PROGRAM));
    const { matmul } = new WebAssembly.Instance(program, { page: { memory } }).exports;
    return { memory, matmul: /** @type {(...at: number[]) => void} */ (matmul) };
  } catch {
    return null;
  }
}

// The same in JavaScript, four rows of `weight` and two columns of `x` at a time; `columns` holds x with one column after
// another, which a browser reads faster.
/** @type {(matrix: Matrix, x: Floats, columns: Floats, out: Float32Array, positions: number) => void} */
function matmul({ rows, depth, weight, bias }, x, columns, out, positions) {
  for (let k = 0, at = 0; k < depth; k++) for (let p = 0; p < positions; p++) columns[p * depth + k] = x[at++];
  for (let r = 0; r < rows; r += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => (r + i) * depth);
    for (let p = 0; p < positions; p += 2) {
      const u = p * depth,
        v = u + depth;
      let [au, bu, cu, du] = [bias[r], bias[r + 1], bias[r + 2], bias[r + 3]];
      let [av, bv, cv, dv] = [au, bu, cu, du];
      for (let k = 0; k < depth; k++) {
        const s = columns[u + k],
          t = columns[v + k];
        const e = weight[a + k],
          f = weight[b + k],
          g = weight[c + k],
          h = weight[d + k];
        au += e * s;
        av += e * t;
        bu += f * s;
        bv += f * t;
        cu += g * s;
        cv += g * t;
        du += h * s;
        dv += h * t;
      }
      [au, av, bu, bv, cu, cv, du, dv].forEach((sum, i) => (out[(r + (i >> 1)) * positions + p + (i & 1)] = sum));
    }
  }
}

/**
 * Products of the layers [weight, bias], which are copied into one memory, with matrices of at most `columns` numbers.
 * `multiply(i, positions, fill)` is layer i's product with what `fill` writes into a matrix (depth, positions), row by row; its
 * result (rows, positions) holds until the next product. Positions must be a multiple of 8.
 * @param {[weight: Floats, bias: Floats][]} layers
 * @param {number} columns
 * @param {boolean} [plain] in JavaScript
 */
export function products(layers, columns, plain = false) {
  const padded = layers.map(([, bias]) => 4 * Math.ceil(bias.length / 4));
  const depths = layers.map(([weight, bias]) => weight.length / bias.length);
  const wanted = padded.reduce((sum, rows, i) => sum + rows * (depths[i] + 1), columns);
  const program = plain ? null : assembled(wanted + columns);
  let at = 0;
  const place = (/** @type {number} */ n) => {
    const floats = program ? new Float32Array(program.memory.buffer, 4 * at, n) : new Float64Array(n);
    at += n;
    return floats;
  };
  const matrices = layers.map(([weight, bias], i) => {
    const [rows, depth] = [padded[i], depths[i]];
    const matrix = { rows, depth, weight: place(rows * depth), bias: place(rows), used: bias.length };
    matrix.weight.set(weight); // rows beyond the last stay 0
    matrix.bias.set(bias);
    return matrix;
  });
  const x = place(columns),
    turned = new Float64Array(program ? 0 : columns),
    out = program ? new Float32Array(program.memory.buffer, 4 * at, columns) : new Float32Array(columns);
  const starts = (/** @type {Floats[]} */ ...arrays) => arrays.map((array) => array.byteOffset);

  /** @type {(i: number, positions: number, fill: (x: Floats) => void) => Float32Array} */
  function multiply(i, positions, fill) {
    const { rows, depth, weight, bias, used } = matrices[i];
    fill(x);
    if (program) program.matmul(...starts(weight, bias, x, out), rows, positions, depth);
    else matmul(matrices[i], x, turned, out, positions);
    return out.subarray(0, used * positions);
  }
  return { multiply, simd: !!program };
}
