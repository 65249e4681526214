// The board of draw.js: points and paths in the square -REACH..REACH.

/** @typedef {import("./page.js").Context} Context */
/** @typedef {import("./drawings.js").Point} Point */

/** The board ends so far from its centre. */
export const REACH = 2.2;

/** @type {(ctx: Context, x: number, y: number) => Point} */
export function position(ctx, x, y) {
  return [((1 + x / REACH) / 2) * ctx.width, ((1 - y / REACH) / 2) * ctx.height];
}

/** @type {(ctx: Context, points: Iterable<Point>, radius: number) => void} */
export function drawDots(ctx, points, radius) {
  ctx.beginPath();
  for (const [x, y] of points) {
    const [px, py] = position(ctx, x, y);
    ctx.moveTo(px + radius * ctx.pixelRatio, py);
    ctx.arc(px, py, radius * ctx.pixelRatio, 0, 7);
  }
  ctx.fill();
}

/**
 * A path with a dot at its end; one that is not dashed has a small dot at each corner, too.
 * @type {(ctx: Context, corners: Point[], dashed: boolean) => void}
 */
export function drawPath(ctx, corners, dashed) {
  ctx.lineWidth = (dashed ? 3 : 4) * ctx.pixelRatio;
  ctx.setLineDash(dashed ? [7 * ctx.pixelRatio, 5 * ctx.pixelRatio] : []);
  ctx.beginPath();
  for (const [x, y] of corners) ctx.lineTo(...position(ctx, x, y));
  ctx.stroke();
  ctx.setLineDash([]);
  if (!dashed) drawDots(ctx, corners, 4);
  drawDots(ctx, corners.slice(-1), dashed ? 6 : 8);
}
