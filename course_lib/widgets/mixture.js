// A Gaussian mixture in the plane under noise: the exact prediction of the noise in x_t = a x_0 + b eps, for many points. The
// same formulas as in mixtures.py; a test compares the two.

/** @typedef {{ weights: number[], means: number[][], stds: number[] }} Mixture */
/** @typedef {ReturnType<typeof addNoise>} Level a mixture at one noise level */

/**
 * All that depends on the noise level alone: each component's mean, 1 / (2 variance) and log(weight / variance).
 * @param {Mixture} mixture
 * @param {number} a the signal
 * @param {number} b the standard deviation of the noise
 */
export function addNoise({ weights, means, stds }, a, b) {
  const K = weights.length;
  const [mx, my, half, log, l] = Array.from({ length: 5 }, () => new Float64Array(K)); // l is scratch memory
  const level = { b, K, mx, my, half, log, l };
  weights.forEach((weight, k) => {
    const variance = a * a * stds[k] * stds[k] + b * b;
    level.mx[k] = a * means[k][0];
    level.my[k] = a * means[k][1];
    level.half[k] = 0.5 / variance;
    level.log[k] = Math.log(weight / variance);
  });
  return level;
}

/**
 * Writes E[eps | x_t] = -b score into out[0], out[1]: each component's term, weighted by its posterior probability.
 * @param {Level} level
 * @param {number} x
 * @param {number} y
 * @param {Float64Array} out
 */
export function exactEps({ b, K, mx, my, half, log, l }, x, y, out) {
  let max = -Infinity;
  for (let k = 0; k < K; k++) {
    const dx = x - mx[k],
      dy = y - my[k];
    const value = log[k] - (dx * dx + dy * dy) * half[k];
    l[k] = value;
    if (value > max) max = value;
  }
  let sum = 0,
    sx = 0,
    sy = 0;
  for (let k = 0; k < K; k++) {
    const relative = l[k] - max;
    if (relative < -30) continue; // less than 1e-13 of the sum
    const w = Math.exp(relative),
      gradient = 2 * w * half[k];
    sum += w;
    sx += gradient * (x - mx[k]);
    sy += gradient * (y - my[k]);
  }
  out[0] = (b * sx) / sum;
  out[1] = (b * sy) / sum;
}

/**
 * The log density at x_t, less a constant.
 * @param {Level} level
 * @param {number} x
 * @param {number} y
 */
export function logDensity({ K, mx, my, half, log }, x, y) {
  let sum = 0;
  for (let k = 0; k < K; k++) sum += Math.exp(log[k] - ((x - mx[k]) ** 2 + (y - my[k]) ** 2) * half[k]);
  return Math.log(sum);
}
