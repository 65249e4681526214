// Ready-made drawings, for who does not draw by hand.

/** @typedef {[x: number, y: number]} Point */

/**
 * Points evenly along strokes.
 * @param {Point[][]} strokes corners of each
 * @param {number} apart
 * @returns {Point[]}
 */
function along(strokes, apart) {
  return strokes.flatMap((corners) =>
    corners.slice(1).flatMap(([x, y], i) => {
      const [x0, y0] = corners[i],
        n = Math.max(1, Math.round(Math.hypot(x - x0, y - y0) / apart));
      return Array.from({ length: n }, (_, j) => /** @type {Point} */ ([x0 + ((x - x0) * j) / n, y0 + ((y - y0) * j) / n]));
    }),
  );
}

/** @type {(n: number, at: (share: number) => Point) => Point[]} */
const curve = (n, at) => Array.from({ length: n }, (_, i) => at((i + 0.5) / n));

/** @type {Record<string, () => Point[]>} */
export const DRAWINGS = {
  moons: () => [
    ...curve(120, (s) => [1.15 * Math.cos(Math.PI * s) - 0.55, 1.15 * Math.sin(Math.PI * s) - 0.35]),
    ...curve(120, (s) => [0.55 - 1.15 * Math.cos(Math.PI * s), 0.35 - 1.15 * Math.sin(Math.PI * s)]),
  ],
  spiral: () =>
    curve(240, (s) => {
      const r = Math.sqrt(0.03 + 0.97 * s);
      return [1.6 * r * Math.cos(10 * r), 1.6 * r * Math.sin(10 * r)];
    }),
  "letter A": () =>
    along(
      [
        [
          [-1.2, -1.5],
          [0, 1.5],
          [1.2, -1.5],
        ],
        [
          [-0.72, -0.3],
          [0.72, -0.3],
        ],
      ],
      0.033,
    ),
};
