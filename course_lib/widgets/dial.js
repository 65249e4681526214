// The dial: pictures over one setting (see dial.py), and what was measured of it, under one slider. No kernel, no network.
import { after, clamp, clearCanvas, drag, keepKeys, make, pointerOn, stage, tip } from "./page.js";
import { picturePanels } from "./panels.js";

/** @typedef {[name: string, values: (number | null)[]]} Curve */
/** @typedef {{ low: number, high: number, curves: Curve[] }} Chart */
/**
 * @typedef {object} Film
 * @property {string} name
 * @property {number[]} values
 * @property {number} batch
 * @property {import("./panels.js").Sheet[]} panels
 * @property {Chart[]} charts
 */

const DASHES = [[], [14, 8], [3, 7]]; // curves differ by more than their colour
const INSET = 8; // half the slider's thumb: the curves above it lie on the same scale

/**
 * @param {HTMLElement} root
 * @param {Film} film
 */
export async function mount(root, film) {
  const last = film.values.length - 1;
  let now = 0; // the value that is shown
  /** @type {number | null} */
  let chosen = null; // the one picture that is shown large, or null for all
  const pictures = await picturePanels(film); // the still strip stays until this is done

  // ---------------------------------------------------------------- the page
  const canvases = film.panels.map(({ title }) => make("canvas", { role: "img", "aria-label": title }));
  const figures = film.panels.map(({ title }, k) => make("figure", {}, make("figcaption", {}, title), canvases[k]));
  const status = make("output");
  const legends = film.charts.map(({ curves }) => curves.map(([name], k) => make("output", { class: `key key${k}` }, name)));
  const charts = film.charts.map(({ curves }) =>
    make("canvas", { class: "chart", role: "img", "aria-label": curves.map(([name]) => name).join(", ") }),
  );
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: 0, "aria-label": film.name });
  root.querySelector(".strip").replaceWith(
    make("div", { class: "panels", style: `--panels: ${Math.min(4, figures.length)}` }, ...figures),
    ...charts.flatMap((chart, c) => [make("div", { class: "legend" }, ...(c ? [] : [status]), ...legends[c]), chart]),
    slider,
    tip(
      `Drag the slider, the curves or a panel. Click a picture (or press Enter) to see it large, again for all. Curves run from
        ${film.charts.map(({ low, high }) => `${low} to ${high}`).join(", those below from ")}; dots mark the chosen ${film.name}.`,
      reset,
    ),
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Dial of ${film.name}`);

  // ---------------------------------------------------------------- drawing
  const position = (/** @type {number} */ i) => i / last; // 0 to 1, along the slider: the values are evenly spread
  const figure = (/** @type {number | null} */ value) => (value === null ? "not measured" : value.toFixed(2));
  const describe = (/** @type {number} */ i) => `${film.name} = ${film.values[i]}`;

  function draw(/** @type {import("./page.js").Colours} */ colours) {
    canvases.forEach((canvas, k) => pictures.draw(clearCanvas(canvas, colours, pictures.ratio(k)), k, now, chosen));
    charts.forEach((chart, c) => drawChart(clearCanvas(chart, colours), film.charts[c]));
    status.textContent = describe(now);
    film.charts.forEach(({ curves }, c) =>
      curves.forEach(([name, values], k) => (legends[c][k].textContent = `${name} ${figure(values[now])}`)),
    );
    slider.valueAsNumber = now;
    slider.setAttribute("aria-valuetext", [describe(now), ...legends.flat().map((key) => key.textContent)].join(", "));
    root.dataset.at = String(now);
  }

  function drawChart(/** @type {import("./page.js").Context} */ ctx, /** @type {Chart} */ { low, high, curves }) {
    const { width, height, pixelRatio: unit, ink, blue, orange } = ctx;
    /** @type {(i: number, value: number) => [number, number]} */
    const at = (i, value) => [
      (INSET + position(i) * (width / unit - 2 * INSET)) * unit,
      height - 12 * unit - ((value - low) / (high - low)) * (height - 24 * unit),
    ];
    for (const value of [low, (low + high) / 2, high]) {
      const [, y] = at(0, value);
      Object.assign(ctx, { globalAlpha: 0.25, lineWidth: unit, strokeStyle: ink }).stroke(new Path2D(`M 0 ${y} H ${width}`));
    }
    ctx.globalAlpha = 1;
    Object.assign(ctx, { lineWidth: 2 * unit }).stroke(new Path2D(`M ${at(now, low)[0]} 0 V ${height}`));
    curves.forEach(([, values], k) => {
      const colour = [blue, orange, ink][k];
      const path = new Path2D();
      values.forEach((value, i) => value !== null && path.lineTo(...at(i, value)));
      ctx.setLineDash(DASHES[k].map((length) => length * unit));
      Object.assign(ctx, { lineWidth: 4 * unit, strokeStyle: colour, lineJoin: "round" }).stroke(path);
      ctx.setLineDash([]);
      if (values[now] === null) return;
      ctx.beginPath();
      ctx.arc(...at(now, values[now]), 8 * unit, 0, 7);
      Object.assign(ctx, { fillStyle: colour, lineWidth: 2 * unit, strokeStyle: ink }).fill();
      ctx.stroke();
    });
  }

  // ---------------------------------------------------------------- turning it
  function seek(/** @type {number} */ i) {
    now = clamp(Math.round(i), 0, last);
    view.redraw();
  }

  function reset() {
    chosen = null;
    seek(0);
  }

  let start = 0;
  canvases.forEach((canvas, k) => {
    canvas.addEventListener("pointerdown", () => (start = now));
    /** @type {Parameters<typeof drag>[1]} */
    const move = (event, down) => seek(start + (pointerOn(canvas, event)[0] - pointerOn(canvas, down)[0]) * last);
    drag(canvas, move, (event) => {
      const [x, y] = pointerOn(canvas, event);
      chosen = chosen === null ? pictures.hit(k, now, x * canvas.width, y * canvas.height, canvas) : null;
      view.draw();
    });
  });
  const toValue = (/** @type {HTMLElement} */ chart) => (/** @type {PointerEvent} */ event) => {
    const width = chart.clientWidth;
    const where = (pointerOn(chart, event)[0] * width - INSET) / (width - 2 * INSET);
    const distances = film.values.map((_, i) => Math.abs(position(i) - where));
    seek(distances.indexOf(Math.min(...distances)));
  };
  charts.forEach((chart) => drag(chart, toValue(chart), toValue(chart)));
  for (const canvas of [...canvases, ...charts]) // whose keys are the slider's
    canvas.addEventListener("click", () => slider.focus({ preventScroll: true }));
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" && (event.key !== "Enter" || event.target !== slider)) return;
    chosen = event.key === "Enter" ? after(chosen, film.batch) : null;
    view.draw();
  });
  keepKeys(root);

  const view = stage(root, draw);
  Object.assign(root, { dial: { seek, draw: view.draw, frames: last + 1 } }); // for the console, and for tests
}
