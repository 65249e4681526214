// Two lines and a floor beneath them: what a chart of losses shows.
import { clearCanvas, drawText } from "./page.js";

/** @typedef {{ at: number[], values: ArrayLike<number>, colour: "blue" | "ink", dashed?: boolean }} Line places in 0..1 and values */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("./page.js").Colours} colours
 * @param {{ title: string, across: string, top: number, lines: Line[] }} chart `top` is the greatest value that is shown
 */
export function drawChart(canvas, colours, { title, across, top, lines }) {
  const ctx = clearCanvas(canvas, colours),
    unit = ctx.pixelRatio;
  const [left, right, high, low] = [44 * unit, ctx.width - 8 * unit, 30 * unit, ctx.height - 26 * unit];
  const y = (/** @type {number} */ v) => low - (low - high) * Math.min(1, v / top);
  drawText(ctx, title, 6 * unit, 19 * unit);
  ctx.font = `${15 * unit}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  Object.assign(ctx, { strokeStyle: ctx.ink, lineWidth: unit, globalAlpha: 0.35 });
  for (const v of [0, top / 2, top]) {
    ctx.beginPath();
    ctx.moveTo(left, y(v));
    ctx.lineTo(right, y(v));
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
  for (const v of [0, top / 2, top]) ctx.fillText(`${v}`, left - 6 * unit, y(v) + 5 * unit);
  ctx.fillText(across, right, ctx.height - 6 * unit);
  for (const { at, values, colour, dashed } of lines) {
    Object.assign(ctx, { strokeStyle: ctx[colour], lineWidth: 3 * unit, lineJoin: "round" });
    ctx.setLineDash(dashed ? [7 * unit, 5 * unit] : []);
    ctx.beginPath();
    at.forEach((share, i) => ctx.lineTo(left + (right - left) * share, y(values[i])));
    ctx.stroke();
  }
  ctx.setLineDash([]);
}
