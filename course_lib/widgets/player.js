// The denoising player: shows one frame of a film (see player.py), and lets a reader move through it.
// Nothing is asked of a kernel or of the network: all frames are in `film`. What a frame looks like is in painters.js.

const SPEEDS = { "¼ speed": 0.25, "½ speed": 0.5, "speed 1": 1, "speed 2": 2, "speed 4": 4 };
const INSET = 8; // half the slider's thumb: the curve above it lies on the same scale

async function mount(root, film) {
  const last = film.t.length - 1;
  let now = 0; // the frame that is shown
  let chosen = null; // the one picture or point that is looked at, or null for all
  let drawing = 0; // the request to draw, if one is waiting
  let playing = 0; // the request for the next frame, while it plays
  const painter = film.kind === "pictures" ? await pictures(film) : points(film); // the still strip stays until this is done

  // ---------------------------------------------------------------- the page
  const canvases = film.panels.map(({ title }) => make("canvas", { role: "img", "aria-label": title }));
  const figures = film.panels.map(({ title }, k) => make("figure", {}, make("figcaption", {}, title), canvases[k]));
  const panels = make("div", { class: "panels", style: `--panels: ${figures.length}` }, ...figures);
  const timeline = make("canvas", { class: "timeline", role: "img", "aria-label": `${film.shareName} at each step` });
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: 0, "aria-label": "Step of the sampler" });
  const button = make("button", { type: "button" }, "▶ Play");
  const speed = make("select", { "aria-label": "Speed" }, ...Object.keys(SPEEDS).map((name) => make("option", {}, name)));
  speed.value = "speed 1";
  const words = make("output");
  const looking = film.kind === "pictures" ? "a picture to see it large" : "a point to follow it";
  const help = `${film.note} Drag any panel, the curve or the slider. Click ${looking}, again for all.`;
  root.querySelector(".strip").replaceWith(
    panels, timeline, slider, make("div", { class: "controls" }, button, speed, words), make("p", {}, help),
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Denoising player");
  timeline.hidden = !film.share;

  // ---------------------------------------------------------------- drawing
  function say(i) {
    const number = (value) => (Number.isInteger(value) ? `${value}` : value.toPrecision(3));
    const share = film.share ? `${film.shareName} = ${film.share[i].toFixed(2)}, ` : "";
    return `t = ${number(film.t[i])} of ${number(film.T)}, ${share}step ${film.step[i]} of ${film.moves}`;
  }

  function draw() {
    cancelAnimationFrame(drawing);
    drawing = 0;
    const colours = theme(root);
    canvases.forEach((canvas, k) => {
      const pen = wipe(canvas, colours, painter.ratio(k));
      const nothing = film.panels[k].noise && !film.predicted[now]; // sampling is at its end
      if (nothing) write(pen, "nothing left to predict", pen.width / 2, pen.height / 2, "center");
      else painter.draw(pen, k, now, chosen);
    });
    if (film.share) drawTimeline(wipe(timeline, colours));
    slider.value = now;
    slider.setAttribute("aria-valuetext", say(now));
    words.textContent = say(now).replace(/([^,]) /g, "$1\u00a0"); // a line may break after a comma only
    root.dataset.frame = now;
  }

  // Where frame i lies between the first time, 0, and the last, 1; or, where time stands still, by its number.
  const span = film.t[last] - film.t[0];
  const place = (i) => (span ? (film.t[i] - film.t[0]) / span : i / Math.max(last, 1));

  function drawTimeline(pen) {
    const { width, height, unit, ink, blue, orange } = pen;
    const point = (i) => [(INSET + place(i) * (width / unit - 2 * INSET)) * unit, height - 8 * unit - film.share[i] * (height - 16 * unit)];
    const curve = new Path2D();
    curve.moveTo(0, point(0)[1]);
    film.t.forEach((_, i) => curve.lineTo(...point(i)));
    curve.lineTo(width, point(last)[1]);
    Object.assign(pen, { lineWidth: 3 * unit, strokeStyle: blue, lineJoin: "round" }).stroke(curve);
    curve.lineTo(width, height);
    curve.lineTo(0, height);
    Object.assign(pen, { globalAlpha: 0.22, fillStyle: blue }).fill(curve);
    pen.globalAlpha = 1;
    const [x, y] = point(now);
    Object.assign(pen, { lineWidth: 2 * unit, strokeStyle: ink, fillStyle: orange });
    pen.stroke(new Path2D(`M ${x} 0 V ${height}`));
    pen.beginPath();
    pen.arc(x, y, 8 * unit, 0, 7);
    pen.fill();
    pen.stroke();
    const forward = film.share[0] > film.share.at(-1); // the film runs from data to noise
    const [left, right] = [20 * unit, width - 20 * unit];
    write(pen, "noise", forward ? right : left, 26 * unit, forward ? "right" : "left");
    write(pen, `signal ${film.shareName}`, forward ? left : right, height - 14 * unit, forward ? "left" : "right");
  }

  // ---------------------------------------------------------------- moving through it
  function seek(i) {
    now = clamp(Math.round(i), 0, last);
    drawing ||= requestAnimationFrame(draw); // several moves between two frames of the screen are drawn once
  }

  function takeOver(i) { // a reader who moves the film wants it to stay there
    pause();
    seek(i);
  }

  function pause() {
    cancelAnimationFrame(playing);
    playing = 0;
    button.textContent = "▶ Play";
  }

  function play() {
    let position = now === last ? 0 : now;
    let before = null;
    const rate = Math.max(4, last / 8); // frames a second: a long film takes 8 seconds at speed 1
    const tick = (time) => {
      position += ((time - (before ?? time)) / 1000) * rate * SPEEDS[speed.value];
      before = time;
      now = Math.min(Math.floor(position), last);
      draw();
      if (now < last && root.isConnected) playing = requestAnimationFrame(tick);
      else pause();
    };
    button.textContent = "❚❚ Pause";
    playing = requestAnimationFrame(tick);
  }

  let start = 0;
  canvases.forEach((canvas, k) => {
    canvas.addEventListener("pointerdown", () => (start = now));
    const move = (event, down) => takeOver(start + ((event.clientX - down.clientX) / canvas.clientWidth) * last);
    drag(canvas, move, ({ offsetX, offsetY }) => {
      const scale = canvas.width / canvas.clientWidth;
      chosen = chosen === null ? painter.hit(k, now, offsetX * scale, offsetY * scale, canvas) : null;
      draw();
    });
  });
  const toTime = ({ clientX }) => {
    const box = timeline.getBoundingClientRect();
    const where = (clientX - box.left - INSET) / (box.width - 2 * INSET);
    const apart = film.t.map((_, i) => Math.abs(place(i) - where));
    takeOver(apart.indexOf(Math.min(...apart)));
  };
  drag(timeline, toTime, toTime);
  for (const canvas of [...canvases, timeline]) // whose keys are the slider's
    canvas.addEventListener("click", () => slider.focus({ preventScroll: true }));
  slider.addEventListener("input", () => takeOver(slider.valueAsNumber));
  button.addEventListener("click", () => (playing ? pause() : play()));

  root.addEventListener("keydown", (event) => {
    if (event.target === speed || event.ctrlKey || event.metaKey || event.altKey) return;
    const leap = Math.max(1, Math.round(last / 10));
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
      PageUp: now + leap, PageDown: now - leap, Home: 0, End: last }[event.key];
    if (to === undefined && event.key !== " " && event.key !== "Escape") return;
    event.stopPropagation(); // or the notebook takes the key as well
    if (event.key === " " && event.target === button) return; // which clicks itself
    event.preventDefault();
    if (to !== undefined) takeOver(to);
    else if (event.key === "Escape") draw((chosen = null));
    else if (playing) pause();
    else play();
  });

  root.player = { seek, draw, frames: last + 1 }; // for the console, and for tests
  new ResizeObserver(draw).observe(root); // draws now, and whenever the width changes
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
