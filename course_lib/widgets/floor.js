// The least loss that any network can reach on a finite set of points.

/** @typedef {Float64Array} Floats */

/** Parts of the times 1..T: each batch has a time in each, so that its loss varies less. */
export const PARTS = 20;

const SHARES = [1, 2, 3].map((n) => 1.2207440846057596 ** -n); // of the sequence in three dimensions

/**
 * The variance of x_0 given x_t, summed over both axes: the points' posterior probabilities are in closed form.
 * @type {(points: Floats, a: number, b: number, x: number, y: number, scratch: Floats) => number}
 */
function posteriorVariance(points, a, b, x, y, scratch) {
  const K = points.length / 2,
    half = 0.5 / (b * b);
  let max = -Infinity;
  for (let k = 0; k < K; k++) {
    const [dx, dy] = [x - a * points[2 * k], y - a * points[2 * k + 1]];
    scratch[k] = -(dx * dx + dy * dy) * half;
    if (scratch[k] > max) max = scratch[k];
  }
  let [sum, mx, my, squares] = [0, 0, 0, 0];
  for (let k = 0; k < K; k++) {
    if (scratch[k] - max < -30) continue; // less than 1e-13 of the sum
    const [p, px, py] = [Math.exp(scratch[k] - max), points[2 * k], points[2 * k + 1]];
    sum += p;
    mx += p * px;
    my += p * py;
    squares += p * (px * px + py * py);
  }
  return Math.max(0, squares / sum - (mx * mx + my * my) / (sum * sum));
}

/**
 * The loss of the exact denoiser in each part of 1..T, E |eps - E[eps | x_t]|^2 / 2 = (a / b)^2 E Var[x_0 | x_t] / 2. The outer
 * expectation is a mean over evenly spread times, drawn points and noises (Roberts's R sequence), with each noise's opposite.
 * @param {{ alphaBar: Floats, points: Floats }} task
 * @param {number} count of noises in each part
 */
export function floor({ alphaBar, points }, count = 1200) {
  const T = alphaBar.length - 1,
    K = points.length / 2,
    TIMES = 10,
    n = count / TIMES / 2,
    scratch = new Float64Array(K);
  return Float64Array.from({ length: PARTS }, (_, part) => {
    let sum = 0;
    for (let i = 0; i < TIMES * n; i++) {
      const spread = SHARES.map((share) => (0.5 + share * i) % 1);
      const t = Math.ceil((T * (part + ((i % TIMES) + 0.5) / TIMES)) / PARTS),
        [a, b] = [Math.sqrt(alphaBar[t]), Math.sqrt(1 - alphaBar[t])];
      const k = 2 * Math.floor(spread[0] * K),
        [radius, angle] = [Math.sqrt(-2 * Math.log(1 - spread[1])), 2 * Math.PI * spread[2]];
      for (const sign of [-b, b]) {
        const [x, y] = [a * points[k] + sign * radius * Math.cos(angle), a * points[k + 1] + sign * radius * Math.sin(angle)];
        sum += ((a / b) ** 2 * posteriorVariance(points, a, b, x, y, scratch)) / 2;
      }
    }
    return sum / (2 * n * TIMES);
  });
}
