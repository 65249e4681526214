// The denoising player: shows one frame of a film (see player.py), and lets a reader move through it.
// It needs no kernel and no network: all frames are in `film`. How a frame is drawn is in panels.js.
import { after, clamp, clearCanvas, drag, drawText, make, pointerOn, stage, tip } from "./page.js";
import { picturePanels, pointPanels } from "./panels.js";

/** @typedef {import("./panels.js").Sheet & { noise: boolean }} Panel */
/**
 * @typedef {object} Details
 * @property {string} kind "pictures" or "points"
 * @property {Panel[]} panels
 * @property {number[]} t
 * @property {number} T
 * @property {number[] | null} share the signal's share of the variance
 * @property {string} shareName
 * @property {number[]} step
 * @property {number} moves
 * @property {string} note
 * @property {number[]} predicted 1 where there is a prediction
 */
/** @typedef {Details & import("./panels.js").PointFrames} Film */

/** @type {Record<string, number>} */
const SPEEDS = { "¼ speed": 0.25, "½ speed": 0.5, "speed 1": 1, "speed 2": 2, "speed 4": 4 };
const INSET = 8; // half the slider's thumb: the curve above it lies on the same scale

/**
 * @param {HTMLElement} root
 * @param {Film} film
 */
export async function mount(root, film) {
  const last = film.t.length - 1;
  let now = 0; // the frame that is shown
  /** @type {number | null} */
  let chosen = null; // the one picture that is shown large, or point that is followed, or null for all
  const content = film.kind === "pictures" ? await picturePanels(film) : pointPanels(film); // the still strip stays until then

  // ---------------------------------------------------------------- the page
  const canvases = film.panels.map(({ title }) => make("canvas", { role: "img", "aria-label": title }));
  const figures = film.panels.map(({ title }, k) => make("figure", {}, make("figcaption", {}, title), canvases[k]));
  const panels = make("div", { class: "panels", style: `--panels: ${figures.length}` }, ...figures);
  const timeline = make("canvas", { class: "timeline", role: "img", "aria-label": `${film.shareName} at each step` });
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: 0, "aria-label": "Step of the sampler" });
  const button = make("button", { type: "button" }, "▶ Play");
  const speed = make("select", { "aria-label": "Speed" }, ...Object.keys(SPEEDS).map((name) => make("option", {}, name)));
  speed.value = "speed 1";
  const status = make("output");
  const target =
    film.kind === "pictures" ? "a picture (or press Enter) to see it large" : "a point (or press Enter) to follow it";
  const handles = film.share ? "any panel, the curve or the slider" : "any panel or the slider";
  const lines = `Lines: paths${film.overTime ? " over time, from left to right" : ". Arrows: the score"}.`;
  const marks = film.kind === "pictures" ? "Noise: blue is below 0, orange above." : lines;
  const help = `${film.note} Drag ${handles}. Click ${target}, again for all. ${marks}`.trim();
  root
    .querySelector(".strip")
    .replaceWith(panels, timeline, slider, make("div", { class: "controls" }, button, speed, status), tip(help, reset));
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Denoising player");
  timeline.hidden = !film.share;

  // ---------------------------------------------------------------- drawing
  function describe(/** @type {number} */ i) {
    const number = (/** @type {number} */ value) => (Number.isInteger(value) ? `${value}` : value.toPrecision(3));
    const share = film.share ? `${film.shareName} = ${film.share[i].toFixed(2)}, ` : "";
    return `t = ${number(film.t[i])} of ${number(film.T)}, ${share}step ${film.step[i]} of ${film.moves}`;
  }

  function draw(/** @type {import("./page.js").Colours} */ colours) {
    canvases.forEach((canvas, k) => {
      const ctx = clearCanvas(canvas, colours, content.ratio(k));
      const empty = film.panels[k].noise && !film.predicted[now]; // sampling is at its end
      if (empty) drawText(ctx, "nothing left to predict", ctx.width / 2, ctx.height / 2, "center");
      else content.draw(ctx, k, now, chosen);
    });
    if (film.share) drawTimeline(clearCanvas(timeline, colours));
    slider.valueAsNumber = now;
    slider.setAttribute("aria-valuetext", describe(now));
    status.textContent = describe(now).replace(/([^,]) /g, "$1\u00a0"); // a line may break after a comma only
    root.dataset.frame = String(now);
  }

  // Where frame i lies between the first time, 0, and the last, 1; by its number, if all times are the same.
  const span = film.t[last] - film.t[0];
  const position = (/** @type {number} */ i) => (span ? (film.t[i] - film.t[0]) / span : i / Math.max(last, 1));

  function drawTimeline(/** @type {import("./page.js").Context} */ ctx) {
    const { width, height, pixelRatio: unit, ink, blue, orange } = ctx;
    /** @type {(i: number) => [number, number]} */
    const point = (i) => [
      (INSET + position(i) * (width / unit - 2 * INSET)) * unit,
      height - 8 * unit - film.share[i] * (height - 16 * unit),
    ];
    const curve = new Path2D();
    curve.moveTo(0, point(0)[1]);
    film.t.forEach((_, i) => curve.lineTo(...point(i)));
    curve.lineTo(width, point(last)[1]);
    Object.assign(ctx, { lineWidth: 3 * unit, strokeStyle: blue, lineJoin: "round" }).stroke(curve);
    curve.lineTo(width, height);
    curve.lineTo(0, height);
    Object.assign(ctx, { globalAlpha: 0.22, fillStyle: blue }).fill(curve);
    ctx.globalAlpha = 1;
    const [x, y] = point(now);
    Object.assign(ctx, { lineWidth: 2 * unit, strokeStyle: ink, fillStyle: orange });
    ctx.stroke(new Path2D(`M ${x} 0 V ${height}`));
    ctx.beginPath();
    ctx.arc(x, y, 8 * unit, 0, 7);
    ctx.fill();
    ctx.stroke();
    const forward = film.share[0] > film.share.at(-1); // the film runs from data to noise
    const [left, right] = [20 * unit, width - 20 * unit];
    drawText(ctx, "noise", forward ? right : left, 26 * unit, forward ? "right" : "left");
    drawText(ctx, `signal ${film.shareName}`, forward ? left : right, height - 14 * unit, forward ? "left" : "right");
  }

  // ---------------------------------------------------------------- moving through it
  function seek(/** @type {number} */ i) {
    now = clamp(Math.round(i), 0, last);
    view.redraw();
  }

  function pauseAt(/** @type {number} */ i) {
    // a reader who moves the film wants it to stay there
    view.stop();
    seek(i);
  }

  function play() {
    let frame = now === last ? 0 : now;
    /** @type {number | null} */
    let before = null;
    const rate = Math.max(4, last / 8); // frames a second: a long film takes 8 seconds at speed 1
    view.animate(
      (time) => {
        frame += ((time - (before ?? time)) / 1000) * rate * SPEEDS[speed.value];
        before = time;
        now = Math.min(Math.floor(frame), last);
        view.draw();
        return now < last;
      },
      () => (button.textContent = "▶ Play"),
    );
    button.textContent = "❚❚ Pause";
  }

  function reset() {
    [chosen, speed.value] = [null, "speed 1"];
    pauseAt(0);
  }

  let start = 0;
  canvases.forEach((canvas, k) => {
    canvas.addEventListener("pointerdown", () => (start = now));
    /** @type {Parameters<typeof drag>[1]} */
    const move = (event, down) => pauseAt(start + (pointerOn(canvas, event)[0] - pointerOn(canvas, down)[0]) * last);
    drag(canvas, move, (event) => {
      const [x, y] = pointerOn(canvas, event);
      chosen = chosen === null ? content.hit(k, now, x * canvas.width, y * canvas.height, canvas) : null;
      view.draw();
    });
  });
  const toTime = (/** @type {PointerEvent} */ event) => {
    const width = timeline.clientWidth;
    const where = (pointerOn(timeline, event)[0] * width - INSET) / (width - 2 * INSET);
    const distances = film.t.map((_, i) => Math.abs(position(i) - where));
    pauseAt(distances.indexOf(Math.min(...distances)));
  };
  drag(timeline, toTime, toTime);
  for (const canvas of [...canvases, timeline]) // whose keys are the slider's
    canvas.addEventListener("click", () => slider.focus({ preventScroll: true }));
  slider.addEventListener("input", () => pauseAt(slider.valueAsNumber));
  button.addEventListener("click", () => (view.playing() ? view.stop() : play()));

  root.addEventListener("keydown", (event) => {
    if (event.target === speed || event.ctrlKey || event.metaKey || event.altKey) return;
    const leap = Math.max(1, Math.round(last / 10));
    const to = {
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      ArrowRight: now + 1,
      ArrowUp: now + 1,
      PageUp: now + leap,
      PageDown: now - leap,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined && ![" ", "Escape", "Enter"].includes(event.key)) return;
    event.stopPropagation(); // or the notebook would use the key as well
    if ([" ", "Enter"].includes(event.key) && event.target instanceof HTMLButtonElement) return; // which clicks itself
    event.preventDefault();
    if (to !== undefined) pauseAt(to);
    else if (event.key === "Escape" || event.key === "Enter") {
      chosen = event.key === "Enter" ? after(chosen, film.batch) : null;
      view.draw();
    } else if (view.playing()) view.stop();
    else play();
  });

  const view = stage(root, draw);
  Object.assign(root, { player: { seek, draw: view.draw, chosen: () => chosen, frames: last + 1 } }); // for the console, and for tests
}
