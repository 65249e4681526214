// Draw points, train the small network on them, drop a point and follow it back to the drawing: all in the page (see draw.py).
import { drawDots, drawPath, position, REACH } from "./board.js";
import { drawChart } from "./charts.js";
import { DRAWINGS } from "./drawings.js";
import { floor, PARTS } from "./floor.js";
import { network, parameters } from "./mlp_training.js";
import { clamp, clearCanvas, keepKeys, make, pointerOn, stage, tip } from "./page.js";
import { MOST, mean, practice, STEPS } from "./practice.js";
import { trainee } from "./trainer.js";

/** @typedef {import("./drawings.js").Point} Point */

const NEAR = 0.04; // between points of a stroke
const HELP = `Draw with the mouse or a finger, then train. "follow" drops a point (the ring): orange is its way back with the trained
  network, dashed with the exact denoiser, and blue dots are samples. In the charts, dashed: the least loss that any network can
  have. On the board, arrow keys move the pen or the ring, and space draws a point.`;

/** What the worker does. */
export function serve() {
  const obey = trainee((answer) => self.postMessage(answer), 120);
  self.onmessage = ({ data }) => obey(data);
}

/**
 * @param {HTMLElement} root
 * @param {import("./practice.js").Data} data
 * @param {() => any} modules
 */
export function mount(root, data, modules) {
  const model = practice(data, modules, () => view.redraw());
  const { state } = model;
  let share = 1; // of the path that is shown

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
  const [status, said] = [make("output", { "aria-live": "off" }), make("p", { role: "status", class: "said" })];
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
  /** @type {(key: import("./practice.js").Choice, values: string[]) => HTMLButtonElement[]} */
  const choices = (key, values) =>
    values.map((v) =>
      button(
        v,
        () => model.choose(key, v),
        () => state[key] === v,
      ),
    );
  const train = button("Train", () => model.setTraining(!state.training));
  const play = button("▶ Play", () => (view.playing() ? view.stop() : playPath()));
  const undo = button("Undo", model.undo);
  const ready = Object.entries(DRAWINGS).map(([name, drawing]) => button(name, () => model.change(drawing())));
  root.querySelector(".strip")?.remove();
  root.append(
    make(
      "div",
      { class: "bar" },
      group(
        "drawing",
        ...ready,
        undo,
        button("Clear", () => model.change([])),
      ),
      train,
      group("pen", ...choices("tool", ["draw", "follow"])),
    ),
    make("div", { class: "sides" }, board, make("div", { class: "charts" }, overSteps, overTimes, said)),
    make("div", { class: "bar" }, play, slider),
    make(
      "div",
      { class: "bar" },
      group("sampler", ...choices("sampler", Object.keys(data.rules))),
      group("steps", ...choices("steps", Object.keys(data.rules.DDIM))),
      button("other noise", () => model.moveTo(state.cursor, state.seed + 1)),
    ),
    status,
    tip(HELP, reset),
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Draw, train, follow");

  function reset() {
    view.stop();
    share = 1;
    model.reset();
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
  function draw(/** @type {import("./page.js").Colours} */ colours) {
    const ctx = clearCanvas(board, colours, 1),
      { points, progress, cloud, tool } = state,
      moves = model.rule().t.length,
      now = Math.round(share * moves);
    Object.assign(ctx, { fillStyle: ctx.ink, globalAlpha: progress ? 0.55 : 0.9, lineJoin: "round" });
    drawDots(ctx, points, progress ? 2.5 : 4);
    if (cloud?.length === moves + 1) {
      Object.assign(ctx, { fillStyle: ctx.blue, globalAlpha: 0.7 });
      drawDots(ctx, model.shown(cloud[now], now), 4);
    }
    ctx.globalAlpha = 1;
    if (progress && tool === "follow") {
      const { learned, exact } = model.paths();
      const corners = (/** @type {Float64Array[]} */ path) => path.slice(0, now + 1).flatMap(model.shown);
      Object.assign(ctx, { strokeStyle: ctx.ink, fillStyle: ctx.ink });
      drawPath(ctx, corners(exact), true);
      Object.assign(ctx, { strokeStyle: ctx.orange, fillStyle: ctx.orange });
      drawPath(ctx, corners(learned), false);
    }
    const [x, y] = position(ctx, ...state.cursor);
    ctx.beginPath();
    ctx.arc(x, y, 11 * ctx.pixelRatio, 0, 7);
    Object.assign(ctx, { strokeStyle: ctx.orange, lineWidth: 4 * ctx.pixelRatio });
    if (tool === "follow" || document.activeElement === board) ctx.stroke();
    drawCharts(colours);
    write(now, moves);
  }

  function drawCharts(/** @type {import("./page.js").Colours} */ colours) {
    const { floor, history, progress } = state,
      { steps, losses, parts } = history,
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
        ...(floor ? [least([0, 1], [mean(floor), mean(floor)])] : []),
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
      lines: [...(floor ? [least(middle, floor)] : []), ...(steps.length ? [ours(middle, parts)] : [])],
    });
    const words = progress ? model.summary() : "not trained yet";
    overSteps.setAttribute("aria-label", `Loss while training beside its exact floor: ${words}`);
    overTimes.setAttribute("aria-label", `Loss at each time t beside its exact floor: ${words}`);
  }

  function write(/** @type {number} */ now, /** @type {number} */ moves) {
    const { points, progress, training, tool, cursor } = state;
    train.textContent = training ? "❚❚ Pause" : progress ? "Train on" : "Train";
    undo.disabled = !model.canUndo();
    board.dataset.tool = tool;
    if (said.textContent !== state.said) said.textContent = state.said; // which is read out
    for (const [element, isPressed] of pressed) element.setAttribute("aria-pressed", String(isPressed()));
    slider.valueAsNumber = Math.round(100 * share);
    const t = now < moves ? model.rule().t[now] : 0,
      at = `(${cursor.map((v) => v.toFixed(2)).join(", ")})`.replaceAll("-", "−");
    status.textContent = progress
      ? `${training ? `${model.summary()} ` : ""}Step ${now} of ${moves}, t = ${t}. Start ${at}.`
      : `${points.length} points drawn, ${MOST} at most.`;
    slider.setAttribute("aria-valuetext", `step ${now} of ${moves}, t = ${t}`);
    const keys = tool === "draw" ? "arrow keys move the pen, space draws a point" : "arrow keys move the start of the path";
    board.setAttribute("aria-label", `Board with ${points.length} points: ${keys}`);
    Object.assign(root.dataset, {
      points: points.length,
      steps: progress?.steps ?? 0,
      cloud: state.cloud?.length ?? 0,
    });
  }

  // ---------------------------------------------------------------- moving
  const place = (/** @type {PointerEvent} */ event) => {
    const [across, down] = pointerOn(board, event);
    return /** @type {Point} */ ([(2 * across - 1) * REACH, (1 - 2 * down) * REACH]);
  };
  /** @type {(from: Point, to: Point) => Point[]} */
  function stroke([x0, y0], [x, y]) {
    const n = Math.max(1, Math.floor(Math.hypot(x - x0, y - y0) / NEAR));
    return Array.from({ length: n }, (_, i) => [x0 + ((x - x0) * (i + 1)) / n, y0 + ((y - y0) * (i + 1)) / n]);
  }
  board.addEventListener("pointerdown", (event) => {
    board.setPointerCapture(event.pointerId);
    let last = place(event);
    model.moveTo(last);
    if (state.tool === "draw") model.change([...state.points, last]);
    board.onpointermove = (moved) => {
      const to = place(moved);
      if (state.tool === "draw") {
        if (Math.hypot(to[0] - last[0], to[1] - last[1]) < NEAR) return;
        model.setPoints([...state.points, ...stroke(last, to)]);
      }
      model.moveTo((last = to));
    };
  });
  for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, () => (board.onpointermove = null));
  board.addEventListener("keydown", (event) => {
    if (event.altKey) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") return undo.click();
    if (event.ctrlKey || event.metaKey) return;
    const by = event.shiftKey ? 0.25 : 0.05;
    const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] }[event.key] ?? [];
    const { cursor, points, tool } = state;
    if (dx !== undefined) model.moveTo([cursor[0] + dx, cursor[1] + dy]);
    else if (event.key === " " && tool === "draw") model.change([...points, cursor]);
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

  const view = stage(root, draw, model.end);
  Object.assign(root, { draw: { ...model, draw: view.draw, network, parameters, floor } }); // for the console, and for tests
}
