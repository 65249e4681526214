// The dial: pictures over one setting (see dial.py), and what was measured of it, under one slider. No kernel, no network.

const DASHES = [[], [14, 8], [3, 7]]; // a curve is told by more than its colour
const INSET = 8; // half the slider's thumb: the curves above it lie on the same scale

async function mount(root, film) {
  const last = film.values.length - 1;
  let now = 0; // the value that is shown
  let chosen = null; // the one picture that is looked at, or null for all
  let drawing = 0; // the request to draw, if one is waiting
  const painter = await pictures(film); // the still strip stays until this is done

  // ---------------------------------------------------------------- the page
  const canvases = film.panels.map(({ title }) => make("canvas", { role: "img", "aria-label": title }));
  const figures = film.panels.map(({ title }, k) => make("figure", {}, make("figcaption", {}, title), canvases[k]));
  const words = make("output");
  const told = film.curves.map(([name], k) => make("output", { class: `key key${k}` }, name));
  const chart = make("canvas", { class: "chart", role: "img", "aria-label": film.curves.map(([name]) => name).join(", ") });
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: 0, "aria-label": film.name });
  root.querySelector(".strip").replaceWith(
    make("div", { class: "panels", style: `--panels: ${figures.length}` }, ...figures),
    make("div", { class: "told" }, words, ...told), chart, slider,
    make("p", {}, "Drag the slider, the curves or a panel. Click a picture to see it large, again for all."),
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Dial of ${film.name}`);

  // ---------------------------------------------------------------- drawing
  const place = (i) => i / last; // 0 to 1, along the slider: the values are evenly spread, whatever lies between them
  const figure = (value) => (value === null ? "not measured" : value.toFixed(2));
  const say = (i) => `${film.name} = ${film.values[i]}`;

  function draw() {
    cancelAnimationFrame(drawing);
    drawing = 0;
    const colours = theme(root);
    canvases.forEach((canvas, k) => painter.draw(wipe(canvas, colours, painter.ratio(k)), k, now, chosen));
    drawChart(wipe(chart, colours));
    words.textContent = say(now);
    film.curves.forEach(([name, values], k) => (told[k].textContent = `${name} ${figure(values[now])}`));
    slider.value = now;
    slider.setAttribute("aria-valuetext", [say(now), ...told.map((key) => key.textContent)].join(", "));
    root.dataset.at = now;
  }

  function drawChart(pen) {
    const { width, height, unit, ink, blue, orange } = pen;
    const at = (i, value) => [(INSET + place(i) * (width / unit - 2 * INSET)) * unit, height - 12 * unit - value * (height - 24 * unit)];
    for (const value of [0, 0.5, 1]) {
      const [, y] = at(0, value);
      Object.assign(pen, { globalAlpha: 0.25, lineWidth: unit, strokeStyle: ink }).stroke(new Path2D(`M 0 ${y} H ${width}`));
    }
    pen.globalAlpha = 1;
    Object.assign(pen, { lineWidth: 2 * unit }).stroke(new Path2D(`M ${at(now, 0)[0]} 0 V ${height}`));
    film.curves.forEach(([, values], k) => {
      const colour = [blue, orange, ink][k];
      const path = new Path2D();
      values.forEach((value, i) => value !== null && path.lineTo(...at(i, value)));
      pen.setLineDash(DASHES[k].map((length) => length * unit));
      Object.assign(pen, { lineWidth: 4 * unit, strokeStyle: colour, lineJoin: "round" }).stroke(path);
      pen.setLineDash([]);
      if (values[now] === null) return;
      pen.beginPath();
      pen.arc(...at(now, values[now]), 8 * unit, 0, 7);
      Object.assign(pen, { fillStyle: colour, lineWidth: 2 * unit, strokeStyle: ink }).fill();
      pen.stroke();
    });
  }

  // ---------------------------------------------------------------- turning it
  function seek(i) {
    now = clamp(Math.round(i), 0, last);
    drawing ||= requestAnimationFrame(draw); // several moves between two frames of the screen are drawn once
  }

  let start = 0;
  canvases.forEach((canvas, k) => {
    canvas.addEventListener("pointerdown", () => (start = now));
    const move = (event, down) => seek(start + ((event.clientX - down.clientX) / canvas.clientWidth) * last);
    drag(canvas, move, ({ offsetX, offsetY }) => {
      const scale = canvas.width / canvas.clientWidth;
      chosen = chosen === null ? painter.hit(k, now, offsetX * scale, offsetY * scale, canvas) : null;
      draw();
    });
  });
  const toValue = ({ clientX }) => {
    const box = chart.getBoundingClientRect();
    const where = (clientX - box.left - INSET) / (box.width - 2 * INSET);
    const apart = film.values.map((_, i) => Math.abs(place(i) - where));
    seek(apart.indexOf(Math.min(...apart)));
  };
  drag(chart, toValue, toValue);
  for (const canvas of [...canvases, chart]) // whose keys are the slider's
    canvas.addEventListener("click", () => slider.focus({ preventScroll: true }));
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") draw((chosen = null));
    event.stopPropagation(); // or the notebook takes the key as well
  });

  root.dial = { seek, draw, frames: last + 1 }; // for the console, and for tests
  new ResizeObserver(draw).observe(root); // draws now, and whenever the width changes
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
