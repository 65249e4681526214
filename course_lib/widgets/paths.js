// Drag x_T, and see its path under several samplers at once (see paths.py). Each sampler is its row of numbers: a move is
//   x <- keep x + eps eps(x, t) + z noise,
// with the exact eps of a mixture (mixture.js) for all points, and a learned one (mlp.js) for the dragged point alone.
import { addNoise, exactEps, logDensity } from "./mixture.js";
import { mlp } from "./mlp.js";
import { clamp, clearCanvas, drag, keepKeys, make, pointerOn, stage, tip } from "./page.js";
import { normalGenerator } from "./random.js";
import { decodeFloat16, linear } from "./tensors.js";

/** @typedef {(x: number, y: number, out: Float64Array) => void} Eps writes the predicted noise at (x, y) into out[0], out[1] */
/** @typedef {(move: number) => Eps} EpsAt */
/**
 * @typedef {object} Rule a sampler's numbers for each move, with the signal a and the noise b there
 * @property {string} name
 * @property {number} T
 * @property {number[]} t
 * @property {number[]} keep
 * @property {number[]} eps
 * @property {number[]} z
 * @property {number[]} a
 * @property {number[]} b
 */
/**
 * @typedef {object} Data
 * @property {import("./mixture.js").Mixture} mixture
 * @property {Rule[]} samplers
 * @property {import("./mlp.js").Size & { weights: Record<string, string> } | null} network
 * @property {[number, number]} start
 * @property {number} reach
 * @property {number} particles
 */

const GRID = 12; // arrows in a row
const DASHED = " Orange, dashed: the path with the learned network.";
const RING = 32; // pixels around x_T from which a finger drags it
const VIEW = 110; // pixels in a row of the picture of the density

/**
 * @param {number} count
 * @param {number} seed
 */
const normals = (count, seed) => new Float32Array(count).map(normalGenerator(seed * 2654435761));

/**
 * The trajectories (moves + 1, points, 2), in one row, of the points in `start`; at(i) is the prediction of eps at move i.
 * @param {Pick<Rule, "keep" | "eps" | "z">} rule
 * @param {EpsAt} at
 * @param {ArrayLike<number>} start
 * @param {Float32Array} noise
 */
function trajectories({ keep, eps, z }, at, start, noise) {
  const size = start.length,
    moves = keep.length,
    out = new Float64Array(2);
  const x = new Float32Array((moves + 1) * size);
  x.set(start);
  for (let i = 0; i < moves; i++) {
    const predict = at(i),
      [k, e, s] = [keep[i], eps[i], z[i]];
    for (let j = i * size; j < (i + 1) * size; j += 2) {
      predict(x[j], x[j + 1], out);
      x[j + size] = k * x[j] + e * out[0] + s * noise[j];
      x[j + size + 1] = k * x[j + 1] + e * out[1] + s * noise[j + 1];
    }
  }
  return x;
}

/**
 * The network's prediction at one time in [0, 1]; what depends on time alone is computed once.
 * @param {Data["network"]} network
 * @returns {(time: number) => Eps}
 */
function pointwise({ weights, ...size }) {
  const w = Object.fromEntries(Object.entries(weights).map(([name, text]) => [name, decodeFloat16(text)]));
  const net = mlp(size, w, (name, x) => linear(w[`${name}.weight`], w[`${name}.bias`], x));
  return (time) => {
    const predict = net([time]);
    return (x, y, out) => out.set(predict(Float64Array.of(x, y)).y);
  };
}

/**
 * @param {HTMLElement} root
 * @param {Data} data
 */
export async function mount(root, data) {
  const { mixture, reach } = data;
  const P = data.particles + 1; // the first is the dragged one itself
  let start = data.start;
  let share = 1; // of the path that is shown
  let [seed, stale] = [1, true];
  const learned = data.network && pointwise(data.network);
  const offsets = normals(2 * P, 7).fill(0, 0, 2);
  const samplers = data.samplers.map((rule) => {
    const levels = rule.a.map((a, i) => addNoise(mixture, a, rule.b[i]));
    /** @type {EpsAt} */
    const exact = (i) => (x, y, out) => exactEps(levels[i], x, y, out);
    /** @type {Record<number, Eps>} */
    const times = {};
    /** @type {EpsAt | null} */
    const net = learned && ((i) => (times[rule.t[i]] ??= learned(rule.t[i] / rule.T)));
    const label = `${rule.name}: drag x_T, or move it with the arrow keys`;
    const [canvas, words] = [make("canvas", { tabindex: 0, role: "application", "aria-label": label }), make("span")];
    const figure = make("figure", {}, make("figcaption", {}, make("b", {}, rule.name), words), canvas);
    return {
      ...rule,
      moves: rule.t.length,
      exact,
      net,
      canvas,
      words,
      figure,
      ends: { some: 0, max: 0 },
      seed: 0,
      noise: new Float32Array(0),
      x: new Float32Array(0),
      path: /** @type {Float32Array | null} */ (null),
      fields: /** @type {Float32Array[]} */ ([]),
      learnedFields: /** @type {Float32Array[]} */ ([]),
    };
  });
  /** @typedef {(typeof samplers)[number]} Sampler */

  // ---------------------------------------------------------------- the page
  const slider = make("input", { type: "range", min: 0, max: 60, value: 60, "aria-label": "How far along the path" });
  const spread = make("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.05,
    value: 0.1,
    "aria-label": "Spread of the 500 around x_T",
  });
  const button = make("button", { type: "button" }, "▶ Play");
  const again = make("button", { type: "button" }, "Other noise");
  const checkbox = (/** @type {string} */ words) => {
    const input = make("input", { type: "checkbox" });
    input.addEventListener("change", () => view.redraw());
    return { input, label: make("label", {}, input, words) };
  };
  const arrows = checkbox("arrows");
  const withNetwork = checkbox("learned network");
  const status = make("output");
  const boxes = learned ? [arrows.label, withNetwork.label] : [arrows.label];
  root.querySelector(".strip").replaceWith(
    make("div", { class: "panels" }, ...samplers.map(({ figure }) => figure)),
    slider,
    make("div", { class: "controls" }, button, again, ...boxes, make("label", {}, "spread ", spread)),
    status,
    tip(
      `Drag the orange circle in any panel (or use the arrow keys): it is x_T for all. Line: its path. Dots: ${data.particles} that
        start around it (spread: their standard deviation). Arrows: the score.${learned ? DASHED : ""}`,
      reset,
    ),
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Paths from noise to data");

  // ---------------------------------------------------------------- computing
  function compute() {
    const from = new Float32Array(2 * P);
    for (let j = 0; j < 2 * P; j++) from[j] = start[j % 2] + spread.valueAsNumber * offsets[j];
    samplers.forEach((sampler, k) => {
      if (sampler.seed !== seed) sampler.noise = normals(2 * P * sampler.moves, 10 * seed + k);
      sampler.seed = seed;
      sampler.x = trajectories(sampler, sampler.exact, from, sampler.noise);
      sampler.path = null; // the network's, computed when it is needed
      count(sampler);
    });
    stale = false;
  }

  function count(/** @type {Sampler} */ sampler) {
    // the end points near each mean of the mixture
    /** @type {number[]} */
    const found = new Array(mixture.means.length).fill(0);
    for (let j = 2 * P * sampler.moves + 2; j < sampler.x.length; j += 2) {
      const distances = mixture.means.map(([x, y]) => (x - sampler.x[j]) ** 2 + (y - sampler.x[j + 1]) ** 2);
      found[distances.indexOf(Math.min(...distances))]++;
    }
    const some = found.filter((n) => n >= 0.005 * data.particles).length;
    sampler.ends = { some, max: Math.max(...found) / data.particles };
  }

  function learnedPath(/** @type {Sampler} */ sampler) {
    // of the dragged point, with the same noise
    const noise = new Float32Array(2 * sampler.moves);
    for (let i = 0; i < sampler.moves; i++) noise.set(sampler.noise.subarray(2 * P * i, 2 * P * i + 2), 2 * i);
    return (sampler.path ??= trajectories(sampler, sampler.net, start, noise));
  }

  // ---------------------------------------------------------------- drawing
  /** @type {(ctx: import("./page.js").Context, x: number, y: number) => [number, number]} */
  const position = (ctx, x, y) => [((1 + x / reach) / 2) * ctx.width, ((1 - y / reach) / 2) * ctx.height];
  /** @type {Record<string, HTMLCanvasElement>} */
  const densities = {};

  function density(/** @type {string} */ blue) {
    // of the data, as a small picture
    if (densities[blue]) return densities[blue];
    const canvas = make("canvas", { width: VIEW, height: VIEW });
    const ctx = canvas.getContext("2d");
    const clean = addNoise(mixture, 1, 0);
    const at = (/** @type {number} */ i) => ((2 * (i + 0.5)) / VIEW - 1) * reach;
    const logs = Float64Array.from({ length: VIEW * VIEW }, (_, i) =>
      logDensity(clean, at(i % VIEW), -at(Math.floor(i / VIEW))),
    );
    const max = logs.reduce((a, b) => Math.max(a, b));
    const image = ctx.createImageData(VIEW, VIEW);
    const colour = [1, 3, 5].map((i) => parseInt(blue.slice(i, i + 2), 16));
    logs.forEach((value, i) => image.data.set([...colour, 215 * Math.exp(value - max)], 4 * i));
    ctx.putImageData(image, 0, 0);
    return (densities[blue] = canvas);
  }

  /** @type {(ctx: import("./page.js").Context, x: Float32Array, size: number, until: number) => void} */
  function line(ctx, x, size, until) {
    ctx.beginPath();
    for (let i = 0; i <= until; i++) ctx.lineTo(...position(ctx, x[i * size], x[i * size + 1]));
    ctx.stroke();
  }

  /** @type {(ctx: import("./page.js").Context, x: number, y: number, radius: number) => void} */
  function dot(ctx, x, y, radius) {
    ctx.moveTo(x + radius, y);
    ctx.arc(x, y, radius, 0, 7);
  }

  /** @type {(ctx: import("./page.js").Context, eps: Float32Array, width: number) => void} */
  function field(ctx, eps, width) {
    // minus eps: along the score
    const longest = (0.9 * ctx.width) / GRID;
    ctx.lineWidth = width * ctx.pixelRatio;
    ctx.beginPath();
    for (let i = 0; i < GRID * GRID; i++) {
      const [x, y] = gridPoint(i);
      const [px, py] = position(ctx, x, y);
      const length = Math.hypot(eps[2 * i], eps[2 * i + 1]);
      const size = (longest * Math.tanh(length / 1.5)) / (2 * length);
      const [dx, dy] = [-eps[2 * i] * size, eps[2 * i + 1] * size]; // half of the arrow
      ctx.moveTo(px - dx, py - dy);
      ctx.lineTo(px + dx, py + dy);
      ctx.lineTo(px + 0.4 * dx - 0.3 * dy, py + 0.4 * dy + 0.3 * dx);
      ctx.moveTo(px + dx, py + dy);
      ctx.lineTo(px + 0.4 * dx + 0.3 * dy, py + 0.4 * dy - 0.3 * dx);
    }
    ctx.stroke();
  }

  const gridPoint = (/** @type {number} */ i) =>
    [i % GRID, Math.floor(i / GRID)].map((v) => ((2 * (v + 0.5)) / GRID - 1) * reach);

  function onGrid(/** @type {Eps} */ predict) {
    // eps where the arrows stand
    const out = new Float64Array(2),
      found = new Float32Array(2 * GRID * GRID);
    for (let i = 0; i < GRID * GRID; i++) {
      const [x, y] = gridPoint(i);
      predict(x, y, out);
      found.set(out, 2 * i);
    }
    return found;
  }

  /** @type {(sampler: Sampler, colours: import("./page.js").Colours) => void} */
  function drawPanel(sampler, colours) {
    const ctx = clearCanvas(sampler.canvas, colours, 1);
    const { moves, x } = sampler;
    const now = Math.round(share * moves),
      move = Math.min(now, moves - 1);
    const withNet = learned && withNetwork.input.checked;
    ctx.imageSmoothingEnabled = true;
    ctx.drawImage(density(ctx.blue), 0, 0, ctx.width, ctx.height);
    if (arrows.input.checked) {
      Object.assign(ctx, { strokeStyle: ctx.ink, globalAlpha: withNet ? 0.4 : 0.6 });
      field(ctx, (sampler.fields[move] ??= onGrid(sampler.exact(move))), withNet ? 5 : 2);
      Object.assign(ctx, { strokeStyle: ctx.orange, globalAlpha: 1 });
      if (withNet) field(ctx, (sampler.learnedFields[move] ??= onGrid(sampler.net(move))), 2);
    }
    ctx.beginPath();
    for (let j = 2 * P * now + 2; j < 2 * P * (now + 1); j += 2) dot(ctx, ...position(ctx, x[j], x[j + 1]), 3 * ctx.pixelRatio);
    Object.assign(ctx, { fillStyle: ctx.blue, globalAlpha: 0.75 }).fill();
    Object.assign(ctx, { globalAlpha: 1, strokeStyle: ctx.ink, lineWidth: 3 * ctx.pixelRatio, lineJoin: "round" });
    line(ctx, x, 2 * P, now);
    const [ex, ey] = [x[2 * P * now], x[2 * P * now + 1]];
    ctx.beginPath();
    dot(ctx, ...position(ctx, ex, ey), 6 * ctx.pixelRatio);
    Object.assign(ctx, { fillStyle: ctx.ink }).fill();
    if (withNet) {
      const path = learnedPath(sampler);
      Object.assign(ctx, { strokeStyle: ctx.orange, fillStyle: ctx.orange, lineWidth: 3 * ctx.pixelRatio });
      ctx.setLineDash([7 * ctx.pixelRatio, 4 * ctx.pixelRatio]);
      line(ctx, path, 2, now);
      ctx.setLineDash([]);
      ctx.beginPath();
      dot(ctx, ...position(ctx, path[2 * now], path[2 * now + 1]), 6 * ctx.pixelRatio);
      ctx.fill();
    }
    ctx.beginPath();
    dot(ctx, ...position(ctx, start[0], start[1]), 11 * ctx.pixelRatio);
    Object.assign(ctx, { strokeStyle: ctx.orange, lineWidth: 5 * ctx.pixelRatio }).stroke();
    const { some, max } = sampler.ends;
    const modes = `${some} of ${mixture.means.length} modes, ${Math.round(100 * max)} % in one`;
    sampler.words.textContent = `t = ${now < moves ? sampler.t[now] : 0} · ends in ${modes}`;
  }

  function draw(/** @type {import("./page.js").Colours} */ colours) {
    if (stale) compute();
    for (const sampler of samplers) drawPanel(sampler, colours);
    slider.valueAsNumber = Math.round(60 * share);
    const label = `x_T = (${start.map((v) => v.toFixed(2)).join(", ")})`.replaceAll("-", "−");
    status.textContent = `${label}, ${Math.round(100 * share)} % of the path, spread ${spread.valueAsNumber}`;
    slider.setAttribute("aria-valuetext", status.textContent);
    Object.assign(root.dataset, { x: start[0].toFixed(3), y: start[1].toFixed(3), share: share.toFixed(2) });
  }

  // ---------------------------------------------------------------- moving
  function move(/** @type {number} */ x, /** @type {number} */ y) {
    start = [clamp(x, -reach, reach), clamp(y, -reach, reach)];
    stale = true;
    view.redraw();
  }

  function play() {
    const begun = performance.now();
    view.animate(
      (time) => {
        share = clamp((time - begun) / 5000, 0, 1);
        view.draw();
        return share < 1;
      },
      () => (button.textContent = "▶ Play"),
    );
    button.textContent = "❚❚ Pause";
  }

  function reset() {
    view.stop();
    [share, seed, spread.valueAsNumber] = [1, 1, 0.1];
    arrows.input.checked = withNetwork.input.checked = false;
    move(...data.start);
  }

  for (const { canvas } of samplers) {
    const to = (/** @type {PointerEvent} */ event) => {
      const [across, down] = pointerOn(canvas, event);
      move((2 * across - 1) * reach, (1 - 2 * down) * reach);
    };
    drag(canvas, to, to, ({ clientX, clientY }) => {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [clientX - box.left, clientY - box.top];
      return Math.hypot(x - ((1 + start[0] / reach) / 2) * box.width, y - ((1 - start[1] / reach) / 2) * box.height) < RING;
    });
    canvas.addEventListener("keydown", (event) => {
      const by = (event.shiftKey ? 5 : 1) * 0.05;
      const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] }[event.key] ?? [];
      if (dx === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move(start[0] + dx, start[1] + dy);
    });
  }
  slider.addEventListener("input", () => {
    view.stop();
    share = slider.valueAsNumber / 60;
    view.redraw();
  });
  spread.addEventListener("input", () => move(start[0], start[1]));
  again.addEventListener("click", () => {
    seed++;
    move(start[0], start[1]);
  });
  button.addEventListener("click", () => (view.playing() ? view.stop() : play()));
  keepKeys(root);

  const view = stage(root, draw);
  Object.assign(root, { paths: { move, draw: view.draw, samplers, trajectories } }); // for the console, and for tests
}
