// Products of matrices in 8 bits, in which nearly all of a network's time is spent in the page: by WebAssembly with SIMD
// (matmul.wat), in 32 bits, or, where a page may not have it, in plain JavaScript, in 64 bits, since a browser would first
// convert 32.
import { PROGRAM } from "./matmul_bytes.js";
import { decodeBase64 } from "./page.js";

/** @typedef {import("./quantized.js").Matrix} Matrix */
/** @typedef {{ at: number, used: number, rows: number, depth: number, positions: number }} Place where a matrix begins, its rows, and those with rows of zeros to a multiple of 4 */

/**
 * The program, with a memory of its own of so many bytes, or null where there is none.
 * @param {number} bytes
 */
function assembled(bytes) {
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
    const program = new WebAssembly.Module(decodeBase64(PROGRAM));
    const { matmul } = new WebAssembly.Instance(program, { page: { memory } }).exports;
    return { buffer: memory.buffer, matmul: /** @type {(...at: number[]) => void} */ (matmul) };
  } catch {
    return null;
  }
}

// The same in JavaScript, four rows of the matrix and two columns of x at a time. The scratch holds x with one column after
// another, which a browser reads faster, and four rows of the weight.
/** @type {(buffer: ArrayBuffer, place: Place, x: Float32Array, out: Float32Array, positions: number, scratch: Float64Array[]) => void} */
function matmul(buffer, { at, rows, depth }, x, out, positions, [columns, weight]) {
  for (let k = 0, i = 0; k < depth; k++) for (let p = 0; p < positions; p++) columns[p * depth + k] = x[i++];
  for (let r = 0; r < rows; r += 4, at += 32 + 4 * depth) {
    const [scales, biases] = [new Float32Array(buffer, at, 4), new Float32Array(buffer, at + 16, 4)];
    const whole = new Int8Array(buffer, at + 32, 4 * depth);
    for (let i = 0; i < whole.length; i++) weight[i] = whole[i] * scales[i & 3];
    const [a, b, c, d] = biases;
    for (let p = 0; p < positions; p += 2) {
      let [au, bu, cu, du] = [a, b, c, d];
      let [av, bv, cv, dv] = [a, b, c, d];
      for (let k = 0, u = p * depth, v = u + depth; k < 4 * depth; k += 4) {
        const s = columns[u++],
          t = columns[v++];
        const e = weight[k],
          f = weight[k + 1],
          g = weight[k + 2],
          h = weight[k + 3];
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

// Copies a matrix to its place: for each four rows their scales, their biases, and their whole numbers, four of one k together.
/** @type {(buffer: ArrayBuffer, place: Place, matrix: Matrix) => void} */
function put(buffer, { at, rows, depth }, { whole, scales, bias }) {
  for (let r = 0; r < rows; r += 4, at += 32 + 4 * depth) {
    new Float32Array(buffer, at).set(scales.subarray(r, r + 4));
    new Float32Array(buffer, at + 16).set(bias.subarray(r, r + 4));
    const four = new Int8Array(buffer, at + 32, 4 * depth); // what is beyond the last row is undefined, which is stored as 0
    for (let i = 0; i < 4 * depth; i++) four[i] = whole[(r + (i & 3)) * depth + (i >> 2)];
  }
}

/**
 * Products of the matrices, which are copied into one memory in 8 bits, as the only copy that the page keeps.
 * `multiply(name, positions, fill)` is the product of the matrix of this name with what `fill` writes into a matrix (depth,
 * positions), row by row, plus its bias; the result (rows, positions) holds until the next product. Positions must be a
 * multiple of 8, and at most the matrix's own.
 * @param {Record<string, Matrix>} matrices
 * @param {boolean} [plain] in JavaScript
 */
export function products(matrices, plain = false) {
  const places = new Map(
    Object.entries(matrices).map(([name, { whole, scales, positions }]) => {
      const [used, depth] = [scales.length, whole.length / scales.length];
      return [name, { at: 0, used, rows: 4 * Math.ceil(used / 4), depth, positions }];
    }),
  );
  const most = (/** @type {(place: Place) => number} */ size) => Math.max(...[...places.values()].map(size));
  let bytes = 16 * most(({ depth }) => depth);
  for (const place of places.values()) {
    place.at = bytes;
    bytes += place.rows * (8 + place.depth);
  }
  const xAt = 16 * Math.ceil(bytes / 16); // which SIMD reads faster
  const outAt = xAt + 4 * most(({ depth, positions }) => depth * positions);
  const end = outAt + 4 * most(({ rows, positions }) => rows * positions);
  const program = plain ? null : assembled(end);
  const buffer = program?.buffer ?? new ArrayBuffer(end);
  const [x, out] = [new Float32Array(buffer, xAt, (outAt - xAt) / 4), new Float32Array(buffer, outAt)];
  for (const [name, place] of places) put(buffer, place, matrices[name]);
  const scratch = program ? [] : [new Float64Array(x.length), new Float64Array(4 * most(({ depth }) => depth))];

  /** @type {(name: string, positions: number, fill: (x: Float32Array) => void) => Float32Array} */
  function multiply(name, positions, fill) {
    const place = places.get(name);
    fill(x);
    if (program) program.matmul(place.at, xAt, outAt, place.rows, positions, place.depth);
    else matmul(buffer, place, x, out, positions, scratch);
    return out.subarray(0, place.used * positions);
  }
  return { multiply, simd: !!program };
}
