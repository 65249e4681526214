// Random numbers from a seed, the same in every browser.

/**
 * A source of numbers, evenly distributed in 0..1: mulberry32, on a state of 32 bits.
 * @param {number} seed
 */
export function uniformGenerator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * A source of standard normal numbers: Marsaglia's polar method.
 * @param {number} seed
 */
export function normalGenerator(seed) {
  const uniform = uniformGenerator(seed);
  return () => {
    for (;;) {
      const [u, v] = [2 * uniform() - 1, 2 * uniform() - 1],
        s = u * u + v * v;
      if (s > 0 && s < 1) return u * Math.sqrt((-2 * Math.log(s)) / s);
    }
  };
}
