// Guidance in the plane, where all of it is known: two scores, their difference, where guided points go, and the tilted density
// that they are said to go to. It needs no kernel. The mathematics comes first and is that of mixtures.py and
// tilted_density.py; tests/browser/test_guided_page.py compares them.
import { clearCanvas, drawText, keepKeys, make, stage, tip } from "./page.js";

// ---------------------------------------------------------------- the mathematics
/** @typedef {{ weights: number[], means: [number, number][], stds: number[], labels: number[] }} Mixture with class indices */
/** @typedef {[a: number, b: number][]} Levels signal and noise, from noise to data */
/** @typedef {{ reach: number, side: number }} Plane side x side points of -reach .. reach */

/**
 * At (x, y) of a x_0 + b eps: the scores of all (uncond) and of one class (cond), the derivatives of each along x, between x
 * and y, and along y, log q(x_t) and log P(class | x_t). Plain loops and numbers: a move of the slider calls it 200,000 times.
 * @param {Mixture} mixture
 * @param {number} label
 * @param {number} x
 * @param {number} y
 * @param {number} a
 * @param {number} b
 */
function scores({ weights, means, stds, labels }, label, x, y, a, b) {
  const K = weights.length;
  let [top, within] = [-Infinity, -Infinity]; // a class can be far away: it is scaled by its own nearest component
  const log = new Float64Array(K);
  for (let k = 0; k < K; k++) {
    const v = a * a * stds[k] * stds[k] + b * b;
    const [dx, dy] = [x - a * means[k][0], y - a * means[k][1]];
    log[k] = Math.log(weights[k] / (2 * Math.PI * v)) - (dx * dx + dy * dy) / (2 * v);
    if (log[k] > top) top = log[k];
    if (labels[k] === label && log[k] > within) within = log[k];
  }
  const sum = (/** @type {number | null} */ of, /** @type {number} */ max) => {
    // over the components of a class, or of all
    let [n, sx, sy, xx, xy, yy] = [0, 0, 0, 0, 0, 0];
    for (let k = 0; k < K; k++) {
      if (of !== null && labels[k] !== of) continue;
      const v = a * a * stds[k] * stds[k] + b * b;
      const [px, py, share] = [(a * means[k][0] - x) / v, (a * means[k][1] - y) / v, Math.exp(log[k] - max)];
      n += share;
      sx += share * px;
      sy += share * py;
      xx += share * (px * px - 1 / v);
      xy += share * px * py;
      yy += share * (py * py - 1 / v);
    }
    const [gx, gy] = [sx / n, sy / n];
    return { x: gx, y: gy, xx: xx / n - gx * gx, xy: xy / n - gx * gy, yy: yy / n - gy * gy, log: max + Math.log(n) };
  };
  const [uncond, cond] = [sum(null, top), sum(label, within)];
  return { uncond, cond, logQ: uncond.log, logP: cond.log - uncond.log };
}

/**
 * Where DDIM, guided by w, takes the noise (x, y), and the logarithm of the determinant of that map there.
 * @param {Mixture} mixture
 * @param {number} label
 * @param {number} w
 * @param {Levels} levels
 * @param {number} x
 * @param {number} y
 * @param {(x: number, y: number) => void} [visit] called at each level
 * @returns {[x: number, y: number, logDet: number]}
 */
function guidedPoint(mixture, label, w, levels, x, y, visit) {
  let logDet = 0;
  for (let i = 0; i + 1 < levels.length; i++) {
    const [a, b] = levels[i];
    const [nextA, nextB] = levels[i + 1];
    visit?.(x, y);
    const { uncond, cond } = scores(mixture, label, x, y, a, b);
    const [ofX, ofScore] = [nextA / a, (nextA * b * b) / a - nextB * b];
    const [xx, xy, yy] = [
      uncond.xx + w * (cond.xx - uncond.xx),
      uncond.xy + w * (cond.xy - uncond.xy),
      uncond.yy + w * (cond.yy - uncond.yy),
    ];
    x = ofX * x + ofScore * (uncond.x + w * (cond.x - uncond.x));
    y = ofX * y + ofScore * (uncond.y + w * (cond.y - uncond.y));
    logDet += Math.log(Math.abs((ofX + ofScore * xx) * (ofX + ofScore * yy) - (ofScore * xy) ** 2));
  }
  visit?.(x, y);
  return [x, y, logDet];
}

const coordinates = (/** @type {Plane} */ { reach, side }) =>
  Array.from({ length: side }, (_, i) => -reach + (2 * reach * i) / (side - 1));

/**
 * log p(x) p(class | x)^w over a plane, row by row (y slowest), its maximum, and the logarithm of its sum times the area.
 * @param {Mixture} mixture
 * @param {number} label
 * @param {number} w
 * @param {Plane} plane
 */
function tiltedDensity(mixture, label, w, plane) {
  const line = coordinates(plane);
  const log = new Float64Array(plane.side ** 2);
  let top = -Infinity;
  line.forEach((y, i) =>
    line.forEach((x, j) => {
      const { logQ, logP } = scores(mixture, label, x, y, 1, 0);
      log[i * plane.side + j] = logQ + w * logP;
      top = Math.max(top, log[i * plane.side + j]);
    }),
  );
  const sum = log.reduce((total, value) => total + Math.exp(value - top), 0);
  return { log, top, logTotal: top + Math.log(sum * ((2 * plane.reach) / (plane.side - 1)) ** 2) };
}

/**
 * The total variation between guided points and the tilted density: `distance` of tilted_density.py.
 * @param {Mixture} mixture
 * @param {number} label
 * @param {number} w
 * @param {Levels} levels
 * @param {Plane} noise
 * @param {number} logTotal
 */
function distance(mixture, label, w, levels, noise, logTotal) {
  const line = coordinates(noise);
  let sum = 0;
  for (const zy of line)
    for (const zx of line) {
      const logNoise = -(zx * zx + zy * zy) / 2 - Math.log(2 * Math.PI);
      const [x, y, logDet] = guidedPoint(mixture, label, w, levels, zx, zy);
      const { logQ, logP } = scores(mixture, label, x, y, 1, 0);
      sum += Math.exp(logNoise) * Math.max(0, 1 - Math.exp(logQ + w * logP - logTotal - logNoise + logDet));
    }
  return sum * ((2 * noise.reach) / (noise.side - 1)) ** 2;
}

// ---------------------------------------------------------------- the page
/** @typedef {import("./page.js").Context} Context */

const PRESETS = [0, 1, 3, 8];
const WS = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8]; // where the distance's curve has a point

/**
 * @typedef {object} Data
 * @property {Mixture} mixture
 * @property {string[]} classes
 * @property {Levels} levels
 * @property {number[]} t
 * @property {[number, number][]} z
 * @property {number} level
 * @property {number} reach
 * @property {Plane} noise
 * @property {Plane} plane
 * @property {number} w
 * @property {number} label
 */

/**
 * @param {HTMLElement} root
 * @param {Data} data
 */
export function mount(root, data) {
  const { mixture, classes, levels, t, z, reach, noise, plane } = data;
  const green = "#009E73";
  let { w, label, level } = data;
  let extended = 0; // when the curve had its last new point
  /** @type {ReturnType<typeof compute> | undefined} */
  let computed;
  const curves = classes.map(() => /** @type {number[]} */ ([])); // the distances at WS that are computed so far

  const panel = (/** @type {string} */ title) => {
    const canvas = make("canvas", { role: "img", "aria-label": title });
    return { canvas, figure: make("figure", {}, make("figcaption", {}, title), canvas) };
  };
  const arrows = ["all: ∇ log q(xₜ)", "class: ∇ log q(xₜ|c)", "difference: ∇ log P(c|xₜ)"].map(panel);
  const ends = ["where guided points go", "p(x) P(c|x)ʷ, tilted"].map(panel);
  const chart = make("canvas", { class: "chart", role: "img", "aria-label": "Distance between the two over w" });
  /** @type {(name: string, max: number, step: number, value: number) => HTMLInputElement} */
  const range = (name, max, step, value) => make("input", { type: "range", min: 0, max, step, value, "aria-label": name });
  const sliders = {
    w: range("Guidance w", 8, 0.1, w),
    level: range("Noise at which the scores are shown", t.length - 2, 1, level),
  };
  const status = { w: make("output"), level: make("output") };
  const button = (/** @type {string} */ text, /** @type {() => void} */ act) => {
    const made = make("button", { type: "button" }, text);
    made.addEventListener("click", act);
    return made;
  };
  const kinds = classes.map((name, k) => button(`class ${name}`, () => update({ label: k })));
  const presets = PRESETS.map((value) => button(`w = ${value}`, () => update({ w: value })));
  root.querySelector(".strip").replaceWith(
    make("div", { class: "panels three" }, ...arrows.map(({ figure }) => figure)),
    make("div", { class: "controls" }, status.level, sliders.level),
    make(
      "div",
      { class: "panels" },
      ...ends.map(({ figure }) => figure),
      make("figure", {}, make("figcaption", {}, "distance over w"), chart),
    ),
    make("div", { class: "controls" }, status.w, sliders.w, ...presets, ...kinds),
    tip(
      "Move w or the time t; choose a class. Filled dots: the means of its components; rings: the others. Distance: total variation, from 0 (the same) to 1.",
      () => update({ w: data.w, label: data.label, level: data.level }),
    ),
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Guidance in the plane");

  // ---------------------------------------------------------------- drawing
  /** @type {(ctx: Context, x: number, y: number) => [number, number]} */
  const position = (ctx, x, y) => [((1 + x / reach) / 2) * ctx.width, ((1 - y / reach) / 2) * ctx.height];

  // A heat map of value(i, j) in 0..1, row i from below.
  /** @type {(ctx: Context, value: (i: number, j: number) => number, side: number, colour: string) => void} */
  function heatmap(ctx, value, side, colour) {
    const image = new ImageData(side, side);
    const [r, g, b] = colour.match(/\w\w/g).map((two) => parseInt(two, 16));
    for (let i = 0; i < side; i++)
      for (let j = 0; j < side; j++) image.data.set([r, g, b, 225 * value(i, j)], 4 * ((side - 1 - i) * side + j));
    const small = make("canvas", { width: side, height: side });
    small.getContext("2d").putImageData(image, 0, 0);
    const [x, y] = position(ctx, -plane.reach, plane.reach);
    const half = (ctx.width / (2 * side)) * (plane.reach / reach); // a point is the middle of its pixel
    ctx.drawImage(small, x - half, y - half, ctx.width - 2 * x + 2 * half, ctx.height - 2 * y + 2 * half);
  }

  /** @type {(ctx: Context, x: number, y: number, dx: number, dy: number, cell: number) => void} */
  function arrow(ctx, x, y, dx, dy, cell) {
    const length = Math.hypot(dx, dy);
    if (length < 0.03) return;
    const size = (cell * Math.tanh(length)) / length;
    const [px, py] = position(ctx, x, y);
    const [tx, ty] = [px + dx * size, py - dy * size];
    const [hx, hy] = [(tx - px) * 0.35, (ty - py) * 0.35];
    ctx.stroke(
      new Path2D(
        `M ${px} ${py} L ${tx} ${ty} M ${tx - hx - hy * 0.6} ${ty - hy + hx * 0.6} L ${tx} ${ty}` +
          `L ${tx - hx + hy * 0.6} ${ty - hy - hx * 0.6}`,
      ),
    );
  }

  function drawMeans(/** @type {Context} */ ctx) {
    // those of the class filled
    mixture.means.forEach(([x, y], k) => {
      const [px, py] = position(ctx, x, y);
      ctx.beginPath();
      ctx.arc(px, py, 6 * ctx.pixelRatio, 0, 7);
      Object.assign(ctx, { lineWidth: 2.5 * ctx.pixelRatio, strokeStyle: ctx.ink, fillStyle: ctx.ink });
      if (mixture.labels[k] === label) ctx.fill();
      ctx.stroke();
    });
  }

  function drawScores(/** @type {import("./page.js").Colours} */ colours) {
    const [a, b] = levels[level];
    const line = coordinates({ reach: 0.92 * reach, side: 11 });
    arrows.forEach(({ canvas }, k) => {
      const ctx = clearCanvas(canvas, colours, 1);
      Object.assign(ctx, { lineWidth: 2 * ctx.pixelRatio, lineCap: "round", strokeStyle: [ctx.blue, ctx.orange, green][k] });
      for (const y of line)
        for (const x of line) {
          const { uncond, cond } = scores(mixture, label, x, y, a, b);
          const [dx, dy] = [
            [uncond.x, uncond.y],
            [cond.x, cond.y],
            [cond.x - uncond.x, cond.y - uncond.y],
          ][k];
          arrow(ctx, x, y, 0.7 * b * dx, 0.7 * b * dy, (2 * ctx.width) / 24);
        }
      drawMeans(ctx);
    });
  }

  function compute() {
    const density = tiltedDensity(mixture, label, w, plane);
    /** @type {[number, number][][]} */
    const paths = [];
    const points = z.map(([x, y], i) => {
      /** @type {[number, number][]} */
      const path = [];
      const end = guidedPoint(mixture, label, w, levels, x, y, i < 60 ? (px, py) => path.push([px, py]) : undefined);
      if (i < 60) paths.push(path);
      return end;
    });
    return { w, label, density, points, paths, distance: distance(mixture, label, w, levels, noise, density.logTotal) };
  }

  function extendCurve(/** @type {number} */ time) {
    // point by point, so that no reader has to wait for it
    const curve = curves[label];
    if (curve.length === WS.length) return false;
    if (time - extended < 40) return true;
    const next = WS[curve.length];
    curve.push(distance(mixture, label, next, levels, noise, tiltedDensity(mixture, label, next, plane).logTotal));
    extended = performance.now();
    view.redraw();
    return true;
  }

  function drawEnds(
    /** @type {import("./page.js").Colours} */ colours,
    /** @type {ReturnType<typeof compute>} */ { paths, points, density },
  ) {
    const [left, right] = ends.map(({ canvas }) => clearCanvas(canvas, colours, 1));
    Object.assign(left, { strokeStyle: left.ink, lineWidth: left.pixelRatio, globalAlpha: 0.22 });
    for (const path of paths) {
      left.beginPath();
      path.forEach(([x, y], i) => left[i ? "lineTo" : "moveTo"](...position(left, x, y)));
      left.stroke();
    }
    Object.assign(left, { globalAlpha: 0.75, fillStyle: left.orange });
    for (const [x, y] of points) {
      left.beginPath();
      left.arc(...position(left, x, y), 3 * left.pixelRatio, 0, 7);
      left.fill();
    }
    left.globalAlpha = 1;
    const { log, top } = density;
    heatmap(right, (i, j) => Math.exp(log[i * plane.side + j] - top), plane.side, right.orange);
    drawMeans(left);
    drawMeans(right);
  }

  function drawChart(/** @type {import("./page.js").Colours} */ colours, /** @type {number} */ distance) {
    const ctx = clearCanvas(chart, colours, 1);
    const { pixelRatio: unit } = ctx;
    /** @type {(x: number, y: number) => [number, number]} */
    const at = (x, y) => [
      (46 + (x / 8) * (ctx.width / unit - 66)) * unit,
      ctx.height - (44 + y * (ctx.height / unit - 70)) * unit,
    ];
    Object.assign(ctx, { lineWidth: unit, strokeStyle: ctx.ink, globalAlpha: 0.5 });
    for (const y of [0, 0.5, 1]) ctx.stroke(new Path2D(`M ${at(0, y).join(" ")} L ${at(8, y).join(" ")}`));
    ctx.globalAlpha = 1;
    for (const y of [0, 0.5, 1]) drawText(ctx, `${y}`, at(0, 0)[0] - 8 * unit, at(0, y)[1] + 6 * unit, "right");
    for (const x of PRESETS)
      drawText(ctx, x === 8 ? "w = 8" : `${x}`, at(x, 0)[0], ctx.height - 16 * unit, x === 8 ? "right" : "center");
    ctx.beginPath();
    curves[label].forEach((y, i) => ctx[i ? "lineTo" : "moveTo"](...at(WS[i], y)));
    Object.assign(ctx, { lineWidth: 3 * unit, strokeStyle: ctx.blue, lineJoin: "round" }).stroke();
    ctx.beginPath();
    ctx.arc(...at(w, distance), 9 * unit, 0, 7);
    Object.assign(ctx, { fillStyle: ctx.orange, strokeStyle: ctx.ink, lineWidth: 2 * unit }).fill();
    ctx.stroke();
  }

  function draw(/** @type {import("./page.js").Colours} */ colours) {
    if (computed?.w !== w || computed.label !== label) computed = compute();
    if (curves[label].length < WS.length && !view.playing()) view.animate(extendCurve);
    drawScores(colours);
    drawEnds(colours, computed);
    drawChart(colours, computed.distance);
    sliders.w.valueAsNumber = w;
    status.w.textContent = `w = ${w.toFixed(1)}: distance ${computed.distance.toFixed(2)}`;
    status.level.textContent = `scores at t = ${t[level]}`;
    sliders.w.setAttribute("aria-valuetext", `${status.w.textContent}, of 1`);
    sliders.level.valueAsNumber = t.length - 2 - level;
    sliders.level.setAttribute("aria-valuetext", status.level.textContent);
    kinds.forEach((one, k) => one.setAttribute("aria-pressed", String(k === label)));
    Object.assign(root.dataset, { w, label, level, distance: computed.distance });
  }

  function update(/** @type {{ w?: number, label?: number, level?: number }} */ change) {
    [w, label, level] = [change.w ?? w, change.label ?? label, change.level ?? level];
    view.redraw();
  }

  sliders.w.addEventListener("input", () => update({ w: sliders.w.valueAsNumber }));
  sliders.level.addEventListener("input", () => update({ level: t.length - 2 - sliders.level.valueAsNumber }));
  keepKeys(root);
  const view = stage(root, draw);
  Object.assign(root, { guided: { update, draw: view.draw, scores, guidedPoint, data } }); // for the console, and for tests
}
