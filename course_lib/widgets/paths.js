// Drag x_T, and see its path under several samplers at once (see paths.py). Each sampler is its row of numbers: a move is
//   x <- keep x + eps eps(x, t) + z noise,
// with the exact eps of a mixture (mixture.js) for all points, and a learned one (mlp.js) for the dragged point alone.

const SPOT = 12; // arrows in a row
const VIEW = 110; // pixels in a row of the picture of the density

// Standard normal numbers from a seed: mulberry32, then Box and Muller 1958.
function normals(count, seed) {
  let state = seed * 2654435761;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let v = Math.imul(state ^ (state >>> 15), 1 | state);
    v = (v + Math.imul(v ^ (v >>> 7), 61 | v)) ^ v;
    return ((v ^ (v >>> 14)) >>> 0) / 4294967296;
  };
  const out = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    out[i] = radius * Math.cos(angle);
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}

// All of a walk, (moves + 1, points, 2) in one row, from the points in `start`; `at(i)` is eps(x, y, out) at move i.
function walk({ keep, eps, z }, at, start, noise) {
  const size = start.length, moves = keep.length, out = new Float64Array(2);
  const x = new Float32Array((moves + 1) * size);
  x.set(start);
  for (let i = 0; i < moves; i++) {
    const belief = at(i), [k, e, s] = [keep[i], eps[i], z[i]];
    for (let j = i * size; j < (i + 1) * size; j += 2) {
      belief(x[j], x[j + 1], out);
      x[j + size] = k * x[j] + e * out[0] + s * noise[j];
      x[j + size + 1] = k * x[j + 1] + e * out[1] + s * noise[j + 1];
    }
  }
  return x;
}

async function mount(root, data) {
  const { mixture, reach } = data;
  const P = data.particles + 1; // the first is the dragged one itself
  let start = data.start;
  let share = 1; // of the way that is shown
  let [seed, playing, waiting, stale] = [1, 0, 0, true];
  const learned = data.network && network(data.network);
  const offsets = normals(2 * P, 7).fill(0, 0, 2);
  const samplers = data.samplers.map((rule) => {
    const levels = rule.a.map((a, i) => noised(mixture, a, rule.b[i]));
    const exact = (i) => (x, y, out) => exactEps(levels[i], x, y, out);
    const times = {};
    const net = learned && ((i) => (times[rule.t[i]] ??= learned.at(rule.t[i] / rule.T)));
    return { ...rule, moves: rule.t.length, exact, net, fields: [], learnedFields: [] };
  });

  // ---------------------------------------------------------------- the page
  for (const sampler of samplers) {
    const label = `${sampler.name}: drag x_T, or move it with the arrow keys`;
    sampler.canvas = make("canvas", { tabindex: 0, role: "application", "aria-label": label });
    sampler.words = make("span");
    sampler.figure = make("figure", {}, make("figcaption", {}, make("b", {}, sampler.name), sampler.words), sampler.canvas);
  }
  const slider = make("input", { type: "range", min: 0, max: 60, value: 60, "aria-label": "How far along the way" });
  const spread = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0.1, "aria-label": "Spread of the 500 around x_T" });
  const button = make("button", { type: "button" }, "▶ Play");
  const again = make("button", { type: "button" }, "Other noise");
  const box = (words, on) => {
    const input = make("input", { type: "checkbox" });
    input.checked = on;
    input.addEventListener("change", later);
    return { input, label: make("label", {}, input, words) };
  };
  const arrows = box("arrows", false);
  const network_ = box("learned network", false);
  const output = make("output");
  const boxes = learned ? [arrows.label, network_.label] : [arrows.label];
  root.querySelector(".strip").replaceWith(
    make("div", { class: "panels" }, ...samplers.map(({ figure }) => figure)),
    slider,
    make("div", { class: "controls" }, button, again, ...boxes, make("label", {}, "spread ", spread)),
    output,
    make("p", {}, `Drag the ring in any panel: it is x_T for all of them. Line: its path. Dots: ${data.particles} others that start around it.${learned ? " Orange, dashed: the path that the learned network takes." : ""}`),
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
      sampler.x = walk(sampler, sampler.exact, from, sampler.noise);
      sampler.path = null; // the network's, made when it is asked for
      count(sampler);
    });
    stale = false;
  }

  function count(sampler) { // in which spot does each end?
    const found = new Array(mixture.means.length).fill(0);
    for (let j = 2 * P * sampler.moves + 2; j < sampler.x.length; j += 2) {
      const apart = mixture.means.map(([x, y]) => (x - sampler.x[j]) ** 2 + (y - sampler.x[j + 1]) ** 2);
      found[apart.indexOf(Math.min(...apart))]++;
    }
    const some = found.filter((n) => n >= 0.005 * data.particles).length;
    sampler.ends = { some, most: Math.max(...found) / data.particles };
  }

  function learnedPath(sampler) { // of the dragged point, with the same noise
    const noise = new Float32Array(2 * sampler.moves);
    for (let i = 0; i < sampler.moves; i++) noise.set(sampler.noise.subarray(2 * P * i, 2 * P * i + 2), 2 * i);
    return (sampler.path ??= walk(sampler, sampler.net, start, noise));
  }

  // ---------------------------------------------------------------- drawing
  const place = (pen, x, y) => [((1 + x / reach) / 2) * pen.width, ((1 - y / reach) / 2) * pen.height];
  const views = {};

  function density(blue) { // of the data, as a small picture
    if (views[blue]) return views[blue];
    const canvas = make("canvas", { width: VIEW, height: VIEW });
    const pen = canvas.getContext("2d");
    const clean = noised(mixture, 1, 0);
    const at = (i) => ((2 * (i + 0.5)) / VIEW - 1) * reach;
    const logs = Float64Array.from({ length: VIEW * VIEW }, (_, i) => logDensity(clean, at(i % VIEW), -at(Math.floor(i / VIEW))));
    const most = logs.reduce((a, b) => Math.max(a, b));
    const image = pen.createImageData(VIEW, VIEW);
    const colour = [1, 3, 5].map((i) => parseInt(blue.slice(i, i + 2), 16));
    logs.forEach((value, i) => image.data.set([...colour, 215 * Math.exp(value - most)], 4 * i));
    pen.putImageData(image, 0, 0);
    return (views[blue] = canvas);
  }

  function line(pen, x, size, until) {
    pen.beginPath();
    for (let i = 0; i <= until; i++) pen.lineTo(...place(pen, x[i * size], x[i * size + 1]));
    pen.stroke();
  }

  function dot(pen, x, y, radius) {
    pen.moveTo(x + radius, y);
    pen.arc(x, y, radius, 0, 7);
  }

  function field(pen, eps, width) { // minus eps: along the score
    const longest = (0.9 * pen.width) / SPOT;
    pen.lineWidth = width * pen.unit;
    pen.beginPath();
    for (let i = 0; i < SPOT * SPOT; i++) {
      const [px, py] = place(pen, ...spot(i));
      const length = Math.hypot(eps[2 * i], eps[2 * i + 1]);
      const size = (longest * Math.tanh(length / 1.5)) / (2 * length);
      const [dx, dy] = [-eps[2 * i] * size, eps[2 * i + 1] * size]; // half of the arrow
      pen.moveTo(px - dx, py - dy);
      pen.lineTo(px + dx, py + dy);
      pen.lineTo(px + 0.4 * dx - 0.3 * dy, py + 0.4 * dy + 0.3 * dx);
      pen.moveTo(px + dx, py + dy);
      pen.lineTo(px + 0.4 * dx + 0.3 * dy, py + 0.4 * dy - 0.3 * dx);
    }
    pen.stroke();
  }

  const spot = (i) => [i % SPOT, Math.floor(i / SPOT)].map((v) => ((2 * (v + 0.5)) / SPOT - 1) * reach);

  function onGrid(belief) { // eps where the arrows stand
    const out = new Float64Array(2), found = new Float32Array(2 * SPOT * SPOT);
    for (let i = 0; i < SPOT * SPOT; i++) {
      belief(...spot(i), out);
      found.set(out, 2 * i);
    }
    return found;
  }

  function drawPanel(sampler, colours) {
    const pen = wipe(sampler.canvas, colours, 1);
    const { moves, x } = sampler;
    const now = Math.round(share * moves), move = Math.min(now, moves - 1);
    const withNet = learned && network_.input.checked;
    pen.imageSmoothingEnabled = true;
    pen.drawImage(density(pen.blue), 0, 0, pen.width, pen.height);
    if (arrows.input.checked) {
      Object.assign(pen, { strokeStyle: pen.ink, globalAlpha: withNet ? 0.4 : 0.6 });
      field(pen, (sampler.fields[move] ??= onGrid(sampler.exact(move))), withNet ? 5 : 2);
      Object.assign(pen, { strokeStyle: pen.orange, globalAlpha: 1 });
      if (withNet) field(pen, (sampler.learnedFields[move] ??= onGrid(sampler.net(move))), 2);
    }
    pen.beginPath();
    for (let j = 2 * P * now + 2; j < 2 * P * (now + 1); j += 2) dot(pen, ...place(pen, x[j], x[j + 1]), 3 * pen.unit);
    Object.assign(pen, { fillStyle: pen.blue, globalAlpha: 0.75 }).fill();
    Object.assign(pen, { globalAlpha: 1, strokeStyle: pen.ink, lineWidth: 3 * pen.unit, lineJoin: "round" });
    line(pen, x, 2 * P, now);
    let end = [x[2 * P * now], x[2 * P * now + 1]];
    pen.beginPath();
    dot(pen, ...place(pen, ...end), 6 * pen.unit);
    Object.assign(pen, { fillStyle: pen.ink }).fill();
    if (withNet) {
      const path = learnedPath(sampler);
      Object.assign(pen, { strokeStyle: pen.orange, fillStyle: pen.orange, lineWidth: 3 * pen.unit });
      pen.setLineDash([7 * pen.unit, 4 * pen.unit]);
      line(pen, path, 2, now);
      pen.setLineDash([]);
      pen.beginPath();
      dot(pen, ...place(pen, path[2 * now], path[2 * now + 1]), 6 * pen.unit);
      pen.fill();
    }
    const [hx, hy] = place(pen, ...start);
    pen.beginPath();
    dot(pen, hx, hy, 11 * pen.unit);
    Object.assign(pen, { strokeStyle: pen.orange, lineWidth: 5 * pen.unit }).stroke();
    const { some, most } = sampler.ends;
    sampler.words.textContent = `t = ${now < moves ? sampler.t[now] : 0} · ends in ${some} of ${mixture.means.length} spots, ${Math.round(100 * most)} % in one`;
  }

  function draw() {
    cancelAnimationFrame(waiting);
    waiting = 0;
    if (stale) compute();
    const colours = theme(root);
    for (const sampler of samplers) drawPanel(sampler, colours);
    slider.value = Math.round(60 * share);
    const where = `x_T = (${start.map((v) => v.toFixed(2)).join(", ")})`.replaceAll("-", "−");
    output.textContent = `${where}, ${Math.round(100 * share)} % of the way, spread ${spread.valueAsNumber}`;
    slider.setAttribute("aria-valuetext", output.textContent);
    Object.assign(root.dataset, { x: start[0].toFixed(3), y: start[1].toFixed(3), share: share.toFixed(2) });
  }

  // ---------------------------------------------------------------- moving
  function later() {
    waiting ||= requestAnimationFrame(draw); // several moves between two frames of the screen are drawn once
  }

  function move(x, y) {
    start = [x, y].map((v) => clamp(v, -reach, reach));
    stale = true;
    later();
  }

  function pause() {
    cancelAnimationFrame(playing);
    playing = 0;
    button.textContent = "▶ Play";
  }

  function play() {
    const begun = performance.now();
    const tick = (time) => {
      share = clamp((time - begun) / 5000, 0, 1);
      draw();
      if (share < 1 && root.isConnected) playing = requestAnimationFrame(tick);
      else pause();
    };
    button.textContent = "❚❚ Pause";
    playing = requestAnimationFrame(tick);
  }

  for (const { canvas } of samplers) {
    const to = ({ offsetX, offsetY }) => {
      move(((2 * offsetX) / canvas.clientWidth - 1) * reach, (1 - (2 * offsetY) / canvas.clientHeight) * reach);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      canvas.onpointermove = to;
      to(event);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (canvas.onpointermove = null));
    canvas.addEventListener("keydown", (event) => {
      const by = (event.shiftKey ? 5 : 1) * 0.05;
      const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] }[event.key] ?? [];
      if (dx === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move(start[0] + dx, start[1] + dy);
    });
  }
  slider.addEventListener("input", () => {
    pause();
    share = slider.valueAsNumber / 60;
    later();
  });
  spread.addEventListener("input", () => move(...start));
  again.addEventListener("click", () => {
    seed++;
    move(...start);
  });
  button.addEventListener("click", () => (playing ? pause() : play()));
  root.addEventListener("keydown", (event) => event.stopPropagation()); // or the notebook takes the key as well

  // for the console, and for tests
  root.paths = { move, draw, samplers, walk };
  new ResizeObserver(draw).observe(root); // draws now, and whenever the width changes
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
