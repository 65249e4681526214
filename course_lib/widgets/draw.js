// Draw points, train the small network on them, drop a point and follow it back to the drawing: all in the page (see draw.py).
import { drawDots, drawPath, position, REACH } from "./board.js";
import { drawChart } from "./charts.js";
import { DRAWINGS } from "./drawings.js";
import { employ } from "./employ.js";
import { floor, PARTS } from "./floor.js";
import { network, parameters } from "./mlp_training.js";
import { clamp, clearCanvas, keepKeys, make, stage } from "./page.js";
import { normalGenerator } from "./random.js";
import { exactEpsOf, follow, learnedEps, trainee } from "./trainer.js";

/** @typedef {import("./drawings.js").Point} Point */
/** @typedef {import("./trainer.js").Rule} Rule */
/** @typedef {Float64Array} Floats */
/**
 * @typedef {object} Data
 * @property {import("./trainer.js").Size} size
 * @property {number[]} alphaBar
 * @property {Record<string, Record<string, Rule>>} rules by sampler and number of steps
 * @property {number} scale a drawing is enlarged so much, against noise of standard deviation 1
 */

const MOST = 400, // points in a drawing
  STEPS = 3000, // of a training
  NEAR = 0.04; // between points of a stroke
const STARTS = "Draw here, or take a ready-made drawing. Then train.";

/** What the worker does. */
export function serve() {
  const obey = trainee((answer) => self.postMessage(answer), 120);
  self.onmessage = ({ data }) => obey(data);
}

/**
 * @param {HTMLElement} root
 * @param {Data} data
 * @param {() => any} modules
 */
export function mount(root, data, modules) {
  const { size, scale } = data,
    alphaBar = Float64Array.from(data.alphaBar);
  const state = { tool: "draw", sampler: "DDIM", steps: "20", training: false };
  /** @type {Point[]} */
  let points = [];
  /** @type {Point[][]} */
  const before = []; // earlier drawings, for Undo
  /** @type {ReturnType<typeof employ> | null} */
  let employed = null;
  /** @type {{ floor: Floats | null, progress: import("./trainer.js").Progress | null, cloud: Floats[] | null }} */
  let got = { floor: null, progress: null, cloud: null };
  /** @type {{ steps: number[], losses: number[], parts: Floats }} */
  let history = { steps: [], losses: [], parts: new Float64Array(PARTS) };
  /** @type {Point} */
  let cursor = [0.9, 0.55];
  let [share, seed] = [1, 1];
  let [asked, due] = [0, 0]; // when points were last asked for, and when next, so that most of the time goes into training
  /** @type {Record<"learned" | "exact", Floats[]> | null} */
  let paths = null;
  /** @type {{ rule: Rule, points: Point[], predict: import("./trainer.js").EpsAt } | null} */
  let exact = null; // as long as neither the drawing nor the sampler changes

  // ---------------------------------------------------------------- the page
  const board = make("canvas", { class: "board", tabindex: 0, role: "application" });
  const [overSteps, overTimes] = [0, 1].map(() => make("canvas", { class: "chart", role: "img" }));
  const slider = make("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    value: 100,
    "aria-label": "How far back along the path",
  });
  const [status, said] = [make("output", { "aria-live": "off" }), make("p", { role: "status", class: "said" }, STARTS)];
  /** @type {[HTMLButtonElement, () => boolean][]} */
  const pressed = [];
  /** @type {(words: string, act: () => void, isPressed?: () => boolean) => HTMLButtonElement} */
  function button(words, act, isPressed) {
    const element = make("button", { type: "button" }, words);
    element.addEventListener("click", act);
    if (isPressed) pressed.push([element, isPressed]);
    return element;
  }
  /** @type {(name: string, ...buttons: HTMLElement[]) => HTMLElement} */
  const group = (name, ...buttons) =>
    make(
      "div",
      { class: "group", role: "group", "aria-label": name },
      make("span", { "aria-hidden": "true" }, name),
      ...buttons,
    );
  /** @type {(key: "tool" | "sampler" | "steps", values: string[]) => HTMLButtonElement[]} */
  const choices = (key, values) =>
    values.map((v) =>
      button(
        v,
        () => choose(key, v),
        () => state[key] === v,
      ),
    );
  const train = button("Train", () => setTraining(!state.training));
  const play = button("▶ Play", () => (view.playing() ? view.stop() : playPath()));
  const undo = button("Undo", () => before.length && setPoints(before.pop()));
  const ready = Object.entries(DRAWINGS).map(([name, drawing]) => button(name, () => change(drawing())));
  root.querySelector(".strip")?.remove();
  root.append(
    make(
      "div",
      { class: "bar" },
      group(
        "drawing",
        ...ready,
        undo,
        button("Clear", () => change([])),
      ),
    ),
    make("div", { class: "bar" }, train, group("pen", ...choices("tool", ["draw", "follow"]))),
    make("div", { class: "sides" }, board, make("div", { class: "charts" }, overSteps, overTimes, said)),
    make("div", { class: "bar" }, play, slider),
    make(
      "div",
      { class: "bar" },
      group("sampler", ...choices("sampler", Object.keys(data.rules))),
      group("steps", ...choices("steps", Object.keys(data.rules.DDIM))),
      button("other noise", () => moveTo(cursor, ++seed)),
    ),
    status,
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Draw, train, follow");
  const rule = () => data.rules[state.sampler][state.steps];

  // ---------------------------------------------------------------- the drawing
  function forget() {
    // what was trained on another drawing
    employed?.end();
    employed = paths = null;
    got = { floor: null, progress: null, cloud: null };
    history = { steps: [], losses: [], parts: new Float64Array(PARTS) };
    due = 0;
  }
  function setPoints(/** @type {Point[]} */ drawing) {
    points = drawing;
    forget();
    Object.assign(state, { training: false, tool: "draw" });
    said.textContent = points.length >= MOST ? `${MOST} points are enough. Now train.` : STARTS;
    view.redraw();
  }
  function change(/** @type {Point[]} */ drawing) {
    before.push(points);
    setPoints(drawing);
  }
  /** @type {(from: Point, to: Point) => Point[]} */
  function stroke([x0, y0], [x, y]) {
    const n = Math.max(1, Math.floor(Math.hypot(x - x0, y - y0) / NEAR));
    return Array.from({ length: n }, (_, i) => [x0 + ((x - x0) * (i + 1)) / n, y0 + ((y - y0) * (i + 1)) / n]);
  }

  // ---------------------------------------------------------------- training
  const enlarged = () => Float64Array.from(points.flat(), (v) => scale * v);
  function setTraining(/** @type {boolean} */ training) {
    if (training && points.length < 2) {
      said.textContent = "Draw at least two points first.";
      return;
    }
    if (!employed) {
      forget();
      employed = employ(modules, receive);
      employed.order({ task: { size, alphaBar, points: enlarged(), seed: 1 } });
    }
    state.training = training;
    if (training) state.tool = "follow";
    employed.order({ training });
    if (training) said.textContent = "Training. Drop a point anywhere, and follow it back.";
    else if (got.progress) said.textContent = summary();
    view.redraw();
  }
  function sample() {
    if (!employed) return;
    asked = performance.now();
    due = Number.POSITIVE_INFINITY;
    employed.order({ sample: rule() });
  }
  function receive(/** @type {import("./trainer.js").Answer} */ answer) {
    Object.assign(got, answer);
    if (answer.cloud) due = performance.now() + Math.max(400, 5 * (performance.now() - asked));
    if (answer.progress) {
      const { steps, losses } = answer.progress;
      paths = null;
      history.parts = history.parts.map((v, i) => (history.steps.length ? 0.85 * v + 0.15 * losses[i] : losses[i]));
      history.steps.push(steps);
      history.losses.push(mean(history.parts));
      if (steps >= STEPS * Math.ceil(history.steps.at(-2) / STEPS || 1) && state.training) setTraining(false);
      if (performance.now() > due || !state.training) sample();
    }
    view.redraw();
  }
  const mean = (/** @type {Floats} */ values) => values.reduce((a, b) => a + b, 0) / values.length;
  const summary = () =>
    `${got.progress.steps.toLocaleString("en")} steps: loss ${history.losses.at(-1).toFixed(3)}${
      got.floor ? `, exact floor ${mean(got.floor).toFixed(3)}` : ""
    }.`;

  // ---------------------------------------------------------------- following
  function choose(/** @type {"tool" | "sampler" | "steps"} */ key, /** @type {string} */ value) {
    state[key] = value;
    paths = null;
    if (key !== "tool") {
      got.cloud = null;
      sample();
    }
    view.redraw();
  }
  function moveTo(/** @type {Point} */ [x, y], _seed = seed) {
    cursor = [clamp(x, -REACH, REACH), clamp(y, -REACH, REACH)];
    paths = null;
    view.redraw();
  }
  /** Noisy data have this standard deviation, for data of standard deviation `scale`: what is shown is divided by it. */
  function spread(/** @type {number} */ step) {
    const { a, b } = rule();
    return step < a.length ? Math.hypot(scale * a[step], b[step]) : scale;
  }
  function computePaths() {
    const start = Float64Array.from(cursor, (v) => v * spread(0)),
      path = (/** @type {import("./trainer.js").EpsAt} */ predict) => follow(rule(), predict, start, normalGenerator(seed));
    if (exact?.rule !== rule() || exact.points !== points)
      exact = { rule: rule(), points, predict: exactEpsOf(enlarged(), rule()) };
    return { learned: path(learnedEps({ size, weights: got.progress.weights }, rule())), exact: path(exact.predict) };
  }
  function playPath() {
    const begun = performance.now();
    view.animate(
      (time) => {
        share = clamp((time - begun) / 4000, 0, 1);
        view.draw();
        return share < 1;
      },
      () => (play.textContent = "▶ Play"),
    );
    play.textContent = "❚❚ Pause";
  }

  // ---------------------------------------------------------------- drawing
  /** @type {(x: Floats, step: number) => Point[]} */
  const shown = (x, step) =>
    Array.from({ length: x.length / 2 }, (_, j) => [x[2 * j] / spread(step), x[2 * j + 1] / spread(step)]);

  function draw(/** @type {import("./page.js").Colours} */ colours) {
    const ctx = clearCanvas(board, colours, 1),
      moves = rule().t.length,
      now = Math.round(share * moves);
    const trained = got.progress !== null;
    Object.assign(ctx, { fillStyle: ctx.ink, globalAlpha: trained ? 0.55 : 0.9, lineJoin: "round" });
    drawDots(ctx, points, trained ? 2.5 : 4);
    if (got.cloud?.length === moves + 1) {
      Object.assign(ctx, { fillStyle: ctx.blue, globalAlpha: 0.7 });
      drawDots(ctx, shown(got.cloud[now], now), 4);
    }
    ctx.globalAlpha = 1;
    if (trained && state.tool === "follow") {
      paths ??= computePaths();
      const corners = (/** @type {Floats[]} */ path) => path.slice(0, now + 1).flatMap(shown);
      Object.assign(ctx, { strokeStyle: ctx.ink, fillStyle: ctx.ink });
      drawPath(ctx, corners(paths.exact), true);
      Object.assign(ctx, { strokeStyle: ctx.orange, fillStyle: ctx.orange });
      drawPath(ctx, corners(paths.learned), false);
    }
    const [x, y] = position(ctx, ...cursor);
    ctx.beginPath();
    ctx.arc(x, y, 11 * ctx.pixelRatio, 0, 7);
    Object.assign(ctx, { strokeStyle: ctx.orange, lineWidth: 4 * ctx.pixelRatio });
    if (state.tool === "follow" || document.activeElement === board) ctx.stroke();
    drawCharts(colours);
    write(now, moves);
  }

  function drawCharts(/** @type {import("./page.js").Colours} */ colours) {
    const { steps, losses, parts } = history,
      last = Math.max(STEPS, steps.at(-1) ?? 0),
      middle = Array.from({ length: PARTS }, (_, i) => (i + 0.5) / PARTS);
    /** @type {(at: number[], values: ArrayLike<number>) => import("./charts.js").Line} */
    const least = (at, values) => ({ at, values, colour: "ink", dashed: true });
    /** @type {(at: number[], values: ArrayLike<number>) => import("./charts.js").Line} */
    const ours = (at, values) => ({ at, values, colour: "blue" });
    drawChart(overSteps, colours, {
      title: "loss while training",
      across: `step, up to ${last.toLocaleString("en")}`,
      top: 1,
      lines: [
        ...(got.floor ? [least([0, 1], [mean(got.floor), mean(got.floor)])] : []),
        ours(
          steps.map((n) => n / last),
          losses,
        ),
      ],
    });
    drawChart(overTimes, colours, {
      title: "loss at each time t",
      across: "t, from 0 to T",
      top: 1,
      lines: [...(got.floor ? [least(middle, got.floor)] : []), ...(steps.length ? [ours(middle, parts)] : [])],
    });
    const words = got.progress ? summary() : "not trained yet";
    overSteps.setAttribute("aria-label", `Loss while training beside its exact floor: ${words}`);
    overTimes.setAttribute("aria-label", `Loss at each time t beside its exact floor: ${words}`);
  }

  function write(/** @type {number} */ now, /** @type {number} */ moves) {
    train.textContent = state.training ? "❚❚ Pause" : got.progress ? "Train on" : "Train";
    undo.disabled = !before.length;
    board.dataset.tool = state.tool;
    for (const [element, isPressed] of pressed) element.setAttribute("aria-pressed", String(isPressed()));
    slider.valueAsNumber = Math.round(100 * share);
    const t = now < moves ? rule().t[now] : 0,
      at = `(${cursor.map((v) => v.toFixed(2)).join(", ")})`.replaceAll("-", "−");
    status.textContent = got.progress
      ? `${state.training ? `${summary()} ` : ""}Step ${now} of ${moves}, t = ${t}. Start ${at}.`
      : `${points.length} points drawn, ${MOST} at most.`;
    slider.setAttribute("aria-valuetext", `step ${now} of ${moves}, t = ${t}`);
    const keys =
      state.tool === "draw" ? "arrow keys move the pen, space draws a point" : "arrow keys move the start of the path";
    board.setAttribute("aria-label", `Board with ${points.length} points: ${keys}`);
    Object.assign(root.dataset, {
      points: points.length,
      steps: got.progress?.steps ?? 0,
      cloud: got.cloud?.length ?? 0,
    });
  }

  // ---------------------------------------------------------------- moving
  const place = (/** @type {PointerEvent} */ { offsetX, offsetY }) =>
    /** @type {Point} */ ([((2 * offsetX) / board.clientWidth - 1) * REACH, (1 - (2 * offsetY) / board.clientHeight) * REACH]);
  const add = (/** @type {Point[]} */ more) => setPoints([...points, ...more].slice(0, MOST));
  board.addEventListener("pointerdown", (event) => {
    board.setPointerCapture(event.pointerId);
    let last = place(event);
    cursor = last;
    if (state.tool === "draw") change([...points, last].slice(0, MOST));
    else moveTo(last);
    board.onpointermove = (moved) => {
      const to = place(moved);
      if (state.tool === "follow") return moveTo(to);
      if (Math.hypot(to[0] - last[0], to[1] - last[1]) < NEAR) return;
      add(stroke(last, to));
      cursor = last = to;
    };
  });
  for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, () => (board.onpointermove = null));
  board.addEventListener("keydown", (event) => {
    if (event.altKey) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") return undo.click();
    if (event.ctrlKey || event.metaKey) return;
    const by = event.shiftKey ? 0.25 : 0.05;
    const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] }[event.key] ?? [];
    if (dx !== undefined) moveTo([cursor[0] + dx, cursor[1] + dy]);
    else if (event.key === " " && state.tool === "draw") change([...points, cursor].slice(0, MOST));
    else return;
    event.preventDefault();
  });
  for (const type of ["focus", "blur"]) board.addEventListener(type, () => view.redraw());
  slider.addEventListener("input", () => {
    view.stop();
    share = slider.valueAsNumber / 100;
    view.redraw();
  });
  keepKeys(root);

  const view = stage(root, draw, () => {
    employed?.end();
    employed = null;
    state.training = false;
  });
  const tested = { network, parameters, floor };
  Object.assign(root, {
    draw: { state, setPoints, moveTo, draw: view.draw, got: () => got, paths: () => paths, points: () => points, ...tested },
  });
}
