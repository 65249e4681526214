// A Gaussian mixture in the plane, as seen through noise: the exact belief about the noise in x_t = a x_0 + b eps, for many
// points at once. The same formulas as in mixtures.py; a test holds the two together.

// All that depends on the noise level alone: each component's place, 1 / (2 variance) and log(weight / variance).
function noised({ weights, means, stds }, a, b) {
  const K = weights.length;
  const level = { b, K, mx: new Float64Array(K), my: new Float64Array(K), half: new Float64Array(K), log: new Float64Array(K), l: new Float64Array(K) };
  weights.forEach((weight, k) => {
    const variance = a * a * stds[k] * stds[k] + b * b;
    level.mx[k] = a * means[k][0];
    level.my[k] = a * means[k][1];
    level.half[k] = 0.5 / variance;
    level.log[k] = Math.log(weight / variance);
  });
  return level;
}

// E[eps | x_t] = -b score: each component's pull, weighted by how likely it made x. Writes into out[0], out[1].
function exactEps({ b, K, mx, my, half, log, l }, x, y, out) {
  let most = -Infinity;
  for (let k = 0; k < K; k++) {
    const dx = x - mx[k], dy = y - my[k];
    const value = log[k] - (dx * dx + dy * dy) * half[k];
    l[k] = value;
    if (value > most) most = value;
  }
  let sum = 0, sx = 0, sy = 0;
  for (let k = 0; k < K; k++) {
    const away = l[k] - most;
    if (away < -30) continue; // less than 1e-13 of the sum
    const w = Math.exp(away), pull = 2 * w * half[k];
    sum += w;
    sx += pull * (x - mx[k]);
    sy += pull * (y - my[k]);
  }
  out[0] = (b * sx) / sum;
  out[1] = (b * sy) / sum;
}

// log of the density at x_t, less a constant that is the same everywhere.
function logDensity({ K, mx, my, half, log }, x, y) {
  let sum = 0;
  for (let k = 0; k < K; k++) sum += Math.exp(log[k] - ((x - mx[k]) ** 2 + (y - my[k]) ** 2) * half[k]);
  return Math.log(sum);
}
