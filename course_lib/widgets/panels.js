// What the panels of a widget show: two kinds of frames, pictures and points.
import { clamp, decodeBase64 } from "./page.js";

/** @typedef {import("./page.js").Context} Context */
/**
 * @typedef {object} Panels
 * @property {(k: number) => number} ratio height over width of panel k
 * @property {(ctx: Context, k: number, i: number, chosen: number | null) => void} draw frame i of panel k
 * @property {(k: number, i: number, x: number, y: number, canvas: HTMLCanvasElement) => number | null} hit the member at (x, y)
 */
/** @typedef {{ title?: string, png: string, width: number, height: number, columns: number }} Sheet all pictures of a panel */
/**
 * @typedef {object} PointFrames
 * @property {number} batch
 * @property {number} grid arrows in a frame
 * @property {boolean} overTime
 * @property {string} x
 * @property {string} x0
 * @property {string} at
 * @property {string} arrows
 */

const COLOURS = ["#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#0072B2"]; // Okabe and Ito, for followed points

/**
 * Panels of pictures, `batch` in a frame, which lie on each panel's sheet in reading order.
 * @param {{ batch: number, panels: Sheet[] }} film
 * @returns {Promise<Panels>}
 */
export async function picturePanels(film) {
  const { batch } = film;
  const columns = Math.ceil(Math.sqrt(batch));
  const rows = Math.ceil(batch / columns);
  /** @param {Sheet} sheet */
  const decode = ({ png }) => createImageBitmap(new Blob([decodeBase64(png)], { type: "image/png" }));
  const sheets = await Promise.all(film.panels.map(decode));
  /** @type {Panels["ratio"]} */
  const ratio = (k) => (rows * film.panels[k].height) / (columns * film.panels[k].width);

  /** @type {Panels["draw"]} */
  function draw(ctx, k, i, chosen) {
    const { width, height, columns: across } = film.panels[k];
    const [wide, high] = chosen === null ? [ctx.width / columns, ctx.height / rows] : [ctx.width, ctx.height];
    const fit = Math.min((wide - 2 * ctx.pixelRatio) / width, (high - 2 * ctx.pixelRatio) / height);
    const scale = fit > 2 ? Math.floor(fit) : fit; // whole screen pixels for each pixel: all are equally large
    ctx.imageSmoothingEnabled = false;
    for (let b = 0; b < batch; b++) {
      if (chosen !== null && b !== chosen) continue;
      const [column, row] = chosen === null ? [b % columns, Math.floor(b / columns)] : [0, 0];
      const at = i * batch + b; // pictures lie on the sheet in reading order
      ctx.drawImage(
        sheets[k],
        (at % across) * width,
        Math.floor(at / across) * height,
        width,
        height,
        Math.round((column + 0.5) * wide - (scale * width) / 2),
        Math.round((row + 0.5) * high - (scale * height) / 2),
        scale * width,
        scale * height,
      );
    }
  }

  /** @type {Panels["hit"]} */
  function hit(_k, _i, x, y, canvas) {
    const b = Math.floor((y / canvas.height) * rows) * columns + Math.floor((x / canvas.width) * columns);
    return b < batch ? b : null;
  }
  return { ratio, draw, hit };
}

/**
 * Panels of points in the plane: where they are, the predicted x_0, and a field of arrows.
 * @param {PointFrames} film
 * @returns {Panels}
 */
export function pointPanels(film) {
  const { batch, grid } = film;
  /** @param {string} text */
  const array = (text) => new Uint16Array(decodeBase64(text).buffer);
  const [x, x0, at, arrows] = [film.x, film.x0, film.at, film.arrows].map(array);
  const fixed = at.length === 2 * grid; // one grid for all frames
  const all = Array.from({ length: batch }, (_, b) => b);
  // Those whose paths are drawn lie evenly from the lowest to the highest at the end, so that no part of the data is left out.
  const byHeight = [...all].sort((b, c) => x.at(-2 * batch + 2 * b + 1) - x.at(-2 * batch + 2 * c + 1));
  const few = COLOURS.map((_, j) => byHeight[Math.floor(((j + 0.5) * batch) / COLOURS.length)]);
  /** @param {number} value */
  const unpack = (value) => (value / 65535) * 4 - 2; // -1 to 1 is what is shown
  // The position of member b of frame i of an array, in pixels; y points upwards.
  /** @typedef {{ width: number, height: number }} Size */
  /** @type {(size: Size, from: Uint16Array, i: number, b: number, of?: number) => [number, number]} */
  const position = (ctx, from, i, b, of = batch) => {
    const start = 2 * (i * of + b);
    return [((1 + unpack(from[start])) / 2) * ctx.width, ((1 - unpack(from[start + 1])) / 2) * ctx.height];
  };

  /** @type {(ctx: Context, from: Uint16Array, i: number, members: number[], radius: number, colour: string) => void} */
  function dots(ctx, from, i, members, radius, colour) {
    ctx.beginPath();
    for (const b of members) {
      const [px, py] = position(ctx, from, i, b);
      ctx.moveTo(px + radius, py);
      ctx.arc(px, py, radius, 0, 7);
    }
    Object.assign(ctx, { fillStyle: colour }).fill();
  }

  /** @type {(ctx: Context, from: Uint16Array, i: number, members: number[]) => void} */
  function paths(ctx, from, i, members) {
    const stride = Math.max(1, Math.ceil(i / 60)); // a long path needs no more corners than this
    ctx.beginPath();
    for (const b of members) {
      ctx.moveTo(...position(ctx, from, 0, b));
      for (let j = stride; j < i; j += stride) ctx.lineTo(...position(ctx, from, j, b));
      ctx.lineTo(...position(ctx, from, i, b));
    }
    ctx.stroke();
  }

  /** @type {(ctx: Context, i: number) => void} */
  function field(ctx, i) {
    const longest = ctx.width / (fixed ? Math.sqrt(grid) : 12);
    for (let b = 0; b < grid; b++) {
      const start = 2 * (i * grid + b);
      const [dx, dy] = [unpack(arrows[start]), -unpack(arrows[start + 1])]; // 1 is two standard deviations of noise
      const length = Math.hypot(dx, dy);
      if (length < 0.02) continue;
      const size = (longest * Math.tanh(length)) / length; // long ones end at the next arrow, weak ones fade
      const [px, py] = position(ctx, at, fixed ? 0 : i, b, grid);
      const [tx, ty] = [px + dx * size, py + dy * size];
      const [hx, hy] = [(tx - px) * 0.35, (ty - py) * 0.35];
      ctx.globalAlpha = 0.15 + 0.85 * Math.tanh(length);
      ctx.beginPath();
      ctx.moveTo(px, py);
      ctx.lineTo(tx, ty);
      ctx.moveTo(tx - hx - hy * 0.6, ty - hy + hx * 0.6);
      ctx.lineTo(tx, ty);
      ctx.lineTo(tx - hx + hy * 0.6, ty - hy - hx * 0.6);
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
  }

  /** @type {Panels["draw"]} */
  function draw(ctx, k, i, chosen) {
    const unit = clamp(ctx.width / 340, 0.5 * ctx.pixelRatio, ctx.pixelRatio); // small panels have small points
    const followed = chosen === null ? few : [chosen];
    const shown = k === 1 ? x0 : x;
    Object.assign(ctx, { lineJoin: "round", lineCap: "round", strokeStyle: ctx.ink, lineWidth: unit });
    const traced = k === 0 || film.overTime;
    if (traced) {
      ctx.globalAlpha = 0.15;
      paths(ctx, shown, i, all.slice(0, 150));
    }
    ctx.globalAlpha = k === 2 ? 0.4 : 0.65;
    dots(ctx, shown, i, all, (k === 2 ? 2 : 3) * unit, k === 2 ? ctx.ink : ctx.blue);
    ctx.globalAlpha = 1;
    if (k === 2) {
      Object.assign(ctx, { strokeStyle: ctx.blue, lineWidth: 2 * unit });
      return field(ctx, i);
    }
    followed.forEach((b, j) => {
      Object.assign(ctx, { strokeStyle: COLOURS[j], lineWidth: 3.5 * unit });
      if (traced) paths(ctx, shown, i, [b]);
      else {
        // the denoiser's prediction for this point: a line from x_t to x_0
        ctx.beginPath();
        ctx.moveTo(...position(ctx, x, i, b));
        ctx.lineTo(...position(ctx, x0, i, b));
        ctx.stroke();
      }
      dots(ctx, shown, i, [b], 8 * unit, ctx.ink);
      dots(ctx, shown, i, [b], 6 * unit, COLOURS[j]);
    });
  }

  /** @type {Panels["hit"]} */
  function hit(k, i, px, py, canvas) {
    /** @param {number} b */
    const distance = (b) =>
      Math.hypot(...position(canvas, k === 1 ? x0 : x, i, b).map((value, axis) => value - [px, py][axis]));
    return all.reduce((best, b) => (distance(b) < distance(best) ? b : best));
  }
  return { ratio: () => 1, draw, hit };
}
