// Guidance in the plane, where all of it is known: two scores, their difference, where guided points go, and the tilted density
// that they are said to go to. No kernel is asked. The mathematics comes first and touches no page; it is that of
// mixtures.py and tilted.py, to which tests/browser/test_guided_page.py holds it.

// ---------------------------------------------------------------- the mathematics
// mixture: { weights, means: [[x, y], ..], stds, labels: class of each, as an index }. a, b: signal and noise.

// At (x, y) of a x_0 + b eps: the scores of all (free) and of one class (told), how each changes along x, between x and y, and
// along y (their slope), log q(x_t) and log P(class | x_t). Plain loops and numbers: a move of the slider asks for it 200,000 times.
function scores({ weights, means, stds, labels }, label, x, y, a, b) {
  const K = weights.length;
  let [top, within] = [-Infinity, -Infinity]; // a class may be far away: it is measured by its own nearest component
  const log = new Float64Array(K);
  for (let k = 0; k < K; k++) {
    const v = a * a * stds[k] * stds[k] + b * b;
    const [dx, dy] = [x - a * means[k][0], y - a * means[k][1]];
    log[k] = Math.log(weights[k] / (2 * Math.PI * v)) - (dx * dx + dy * dy) / (2 * v);
    if (log[k] > top) top = log[k];
    if (labels[k] === label && log[k] > within) within = log[k];
  }
  const sum = (of, most) => { // over the components of a class, or of all
    let [n, sx, sy, xx, xy, yy] = [0, 0, 0, 0, 0, 0];
    for (let k = 0; k < K; k++) {
      if (of !== null && labels[k] !== of) continue;
      const v = a * a * stds[k] * stds[k] + b * b;
      const [px, py, share] = [(a * means[k][0] - x) / v, (a * means[k][1] - y) / v, Math.exp(log[k] - most)];
      n += share;
      sx += share * px;
      sy += share * py;
      xx += share * (px * px - 1 / v);
      xy += share * px * py;
      yy += share * (py * py - 1 / v);
    }
    const [gx, gy] = [sx / n, sy / n];
    return { x: gx, y: gy, xx: xx / n - gx * gx, xy: xy / n - gx * gy, yy: yy / n - gy * gy, log: most + Math.log(n) };
  };
  const [free, told] = [sum(null, top), sum(label, within)];
  return { free, told, logQ: free.log, logP: told.log - free.log };
}

// Where DDIM, guided by w, takes the noise (x, y) over `levels`, [[a, b], ..] from noise to data: [x, y, log |slope|].
// With `visit`, which is called at each level.
function land(mixture, label, w, levels, x, y, visit) {
  let logDet = 0;
  for (let i = 0; i + 1 < levels.length; i++) {
    const [a, b] = levels[i];
    const [after, left] = levels[i + 1];
    visit?.(x, y);
    const { free, told } = scores(mixture, label, x, y, a, b);
    const [ofX, ofScore] = [after / a, (after * b * b) / a - left * b];
    const [xx, xy, yy] = [free.xx + w * (told.xx - free.xx), free.xy + w * (told.xy - free.xy), free.yy + w * (told.yy - free.yy)];
    x = ofX * x + ofScore * (free.x + w * (told.x - free.x));
    y = ofX * y + ofScore * (free.y + w * (told.y - free.y));
    logDet += Math.log(Math.abs((ofX + ofScore * xx) * (ofX + ofScore * yy) - (ofScore * xy) ** 2));
  }
  visit?.(x, y);
  return [x, y, logDet];
}

const places = ({ reach, side }) => Array.from({ length: side }, (_, i) => -reach + (2 * reach * i) / (side - 1));

// log p(x) p(class | x)^w over a plane { reach, side }, row by row (y slowest), and the logarithm of its sum times the area.
function tilted(mixture, label, w, plane) {
  const line = places(plane);
  const log = new Float64Array(plane.side ** 2);
  let top = -Infinity;
  line.forEach((y, i) => line.forEach((x, j) => {
    const { logQ, logP } = scores(mixture, label, x, y, 1, 0);
    log[i * plane.side + j] = logQ + w * logP;
    top = Math.max(top, log[i * plane.side + j]);
  }));
  const sum = log.reduce((total, value) => total + Math.exp(value - top), 0);
  return { log, top, logTotal: top + Math.log(sum * (2 * plane.reach / (plane.side - 1)) ** 2) };
}

// The share of guided points that would have to move to be spread as the tilted density is: tilted.py's `distance`.
function distance(mixture, label, w, levels, noise, logTotal) {
  const line = places(noise);
  let apart = 0;
  for (const zy of line) for (const zx of line) {
    const logNoise = -(zx * zx + zy * zy) / 2 - Math.log(2 * Math.PI);
    const [x, y, logDet] = land(mixture, label, w, levels, zx, zy);
    const { logQ, logP } = scores(mixture, label, x, y, 1, 0);
    apart += Math.exp(logNoise) * Math.max(0, 1 - Math.exp(logQ + w * logP - logTotal - logNoise + logDet));
  }
  return apart * (2 * noise.reach / (noise.side - 1)) ** 2;
}

// ---------------------------------------------------------------- the page
const PRESETS = [0, 1, 3, 8];
const WS = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8]; // where the distance's curve has a point

function mount(root, data) {
  const { mixture, classes, levels, t, z, reach, noise, plane } = data;
  const green = "#009E73";
  let [w, label, level, drawing, seen] = [data.w, data.label, data.level, 0, ""];
  let found = { apart: 0, points: [], paths: [], density: null };
  const curves = classes.map(() => []); // the distances at WS, as far as they are known yet

  const panel = (title) => {
    const canvas = make("canvas", { role: "img", "aria-label": title });
    return { canvas, figure: make("figure", {}, make("figcaption", {}, title), canvas) };
  };
  const arrows = ["all: ∇ log q(xₜ)", "class: ∇ log q(xₜ|c)", "difference: ∇ log P(c|xₜ)"].map(panel);
  const ends = ["where guided points go", "p(x) P(c|x)ʷ, tilted"].map(panel);
  const chart = make("canvas", { class: "chart", role: "img", "aria-label": "Distance between the two over w" });
  const range = (name, max, step, value) =>
    make("input", { type: "range", min: 0, max, step, value, "aria-label": name });
  const sliders = { w: range("Guidance w", 8, 0.1, w), level: range("Noise at which the scores are shown", t.length - 2, 1, level) };
  const words = { w: make("output"), level: make("output") };
  const button = (text, act) => {
    const made = make("button", { type: "button" }, text);
    made.addEventListener("click", act);
    return made;
  };
  const kinds = classes.map((name, k) => button(`class ${name}`, () => ask({ label: k })));
  const presets = PRESETS.map((value) => button(`w = ${value}`, () => ask({ w: value })));
  root.querySelector(".strip").replaceWith(
    make("div", { class: "panels three" }, ...arrows.map(({ figure }) => figure)),
    make("div", { class: "controls" }, words.level, sliders.level),
    make("div", { class: "panels" }, ...ends.map(({ figure }) => figure), make("figure", {}, make("figcaption", {}, "distance over w"), chart)),
    make("div", { class: "controls" }, words.w, sliders.w, ...presets, ...kinds),
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Guidance in the plane");

  // ---------------------------------------------------------------- drawing
  const spot = (pen, x, y) => [((1 + x / reach) / 2) * pen.width, ((1 - y / reach) / 2) * pen.height];

  function heat(pen, value, side, colour) { // value(i, j) in 0..1, row i from below
    const image = new ImageData(side, side);
    const [r, g, b] = colour.match(/\w\w/g).map((two) => parseInt(two, 16));
    for (let i = 0; i < side; i++) for (let j = 0; j < side; j++)
      image.data.set([r, g, b, 225 * value(i, j)], 4 * ((side - 1 - i) * side + j));
    const small = make("canvas", { width: side, height: side });
    small.getContext("2d").putImageData(image, 0, 0);
    const [x, y] = spot(pen, -plane.reach, plane.reach);
    const half = pen.width / (2 * side) * (plane.reach / reach); // a place is the middle of its pixel
    pen.drawImage(small, x - half, y - half, pen.width - 2 * x + 2 * half, pen.height - 2 * y + 2 * half);
  }

  function arrow(pen, x, y, dx, dy, cell) {
    const length = Math.hypot(dx, dy);
    if (length < 0.03) return;
    const size = (cell * Math.tanh(length)) / length;
    const [px, py] = spot(pen, x, y);
    const [tx, ty] = [px + dx * size, py - dy * size];
    const [hx, hy] = [(tx - px) * 0.35, (ty - py) * 0.35];
    pen.stroke(new Path2D(`M ${px} ${py} L ${tx} ${ty} M ${tx - hx - hy * 0.6} ${ty - hy + hx * 0.6} L ${tx} ${ty} L ${tx - hx + hy * 0.6} ${ty - hy - hx * 0.6}`));
  }

  function crosses(pen) { // the means, those of the class filled
    mixture.means.forEach(([x, y], k) => {
      const [px, py] = spot(pen, x, y);
      pen.beginPath();
      pen.arc(px, py, 6 * pen.unit, 0, 7);
      Object.assign(pen, { lineWidth: 2.5 * pen.unit, strokeStyle: pen.ink, fillStyle: pen.ink });
      if (mixture.labels[k] === label) pen.fill();
      pen.stroke();
    });
  }

  function drawScores(colours) {
    const [a, b] = levels[level];
    const line = places({ reach: 0.92 * reach, side: 11 });
    arrows.forEach(({ canvas }, k) => {
      const pen = wipe(canvas, colours, 1);
      Object.assign(pen, { lineWidth: 2 * pen.unit, lineCap: "round", strokeStyle: [pen.blue, pen.orange, green][k] });
      for (const y of line) for (const x of line) {
        const { free, told } = scores(mixture, label, x, y, a, b);
        const [dx, dy] = [[free.x, free.y], [told.x, told.y], [told.x - free.x, told.y - free.y]][k];
        arrow(pen, x, y, 0.7 * b * dx, 0.7 * b * dy, (2 * pen.width) / 24);
      }
      crosses(pen);
    });
  }

  function compute() {
    const density = tilted(mixture, label, w, plane);
    const paths = [];
    const points = z.map(([x, y], i) => {
      const path = [];
      const end = land(mixture, label, w, levels, x, y, i < 60 ? (px, py) => path.push([px, py]) : undefined);
      if (i < 60) paths.push(path);
      return end;
    });
    found = { density, points, paths, apart: distance(mixture, label, w, levels, noise, density.logTotal) };
  }

  function drawOn() { // the curve, point by point, so that no hand has to wait for it
    const curve = curves[label];
    if (curve.length === WS.length || !root.isConnected) return;
    const next = WS[curve.length];
    curve.push(distance(mixture, label, next, levels, noise, tilted(mixture, label, next, plane).logTotal));
    ask({});
    setTimeout(drawOn, 40);
  }

  function drawEnds(colours) {
    const [left, right] = ends.map(({ canvas }) => wipe(canvas, colours, 1));
    Object.assign(left, { strokeStyle: left.ink, lineWidth: left.unit, globalAlpha: 0.22 });
    for (const path of found.paths) {
      left.beginPath();
      path.forEach(([x, y], i) => left[i ? "lineTo" : "moveTo"](...spot(left, x, y)));
      left.stroke();
    }
    Object.assign(left, { globalAlpha: 0.75, fillStyle: left.orange });
    for (const [x, y] of found.points) {
      left.beginPath();
      left.arc(...spot(left, x, y), 3 * left.unit, 0, 7);
      left.fill();
    }
    left.globalAlpha = 1;
    const { log, top } = found.density;
    heat(right, (i, j) => Math.exp(log[i * plane.side + j] - top), plane.side, right.orange);
    crosses(left);
    crosses(right);
  }

  function drawChart(colours) {
    const pen = wipe(chart, colours, 1);
    const { unit } = pen;
    const at = (x, y) => [(46 + (x / 8) * (pen.width / unit - 66)) * unit, pen.height - (44 + y * (pen.height / unit - 70)) * unit];
    Object.assign(pen, { lineWidth: unit, strokeStyle: pen.ink, globalAlpha: 0.5 });
    for (const y of [0, 0.5, 1]) pen.stroke(new Path2D(`M ${at(0, y).join(" ")} L ${at(8, y).join(" ")}`));
    pen.globalAlpha = 1;
    for (const y of [0, 0.5, 1]) write(pen, `${y}`, at(0, 0)[0] - 8 * unit, at(0, y)[1] + 6 * unit, "right");
    for (const x of PRESETS) write(pen, x === 8 ? "w = 8" : `${x}`, at(x, 0)[0], pen.height - 16 * unit, x === 8 ? "right" : "center");
    pen.beginPath();
    curves[label].forEach((y, i) => pen[i ? "lineTo" : "moveTo"](...at(WS[i], y)));
    Object.assign(pen, { lineWidth: 3 * unit, strokeStyle: pen.blue, lineJoin: "round" }).stroke();
    pen.beginPath();
    pen.arc(...at(w, found.apart), 9 * unit, 0, 7);
    Object.assign(pen, { fillStyle: pen.orange, strokeStyle: pen.ink, lineWidth: 2 * unit }).fill();
    pen.stroke();
  }

  function draw() {
    drawing = 0;
    const colours = theme(root);
    const state = `${w} ${label}`;
    if (state !== seen) compute();
    if (state.split(" ")[1] !== seen.split(" ")[1]) setTimeout(drawOn, 40);
    seen = state;
    drawScores(colours);
    drawEnds(colours);
    drawChart(colours);
    sliders.w.value = w;
    words.w.textContent = `w = ${w.toFixed(1)}: distance ${found.apart.toFixed(2)}`;
    words.level.textContent = `scores at t = ${t[level]}`;
    sliders.w.setAttribute("aria-valuetext", `${words.w.textContent}, of 1`);
    sliders.level.setAttribute("aria-valuetext", words.level.textContent);
    kinds.forEach((one, k) => one.setAttribute("aria-pressed", k === label));
    Object.assign(root.dataset, { w, label, level, distance: found.apart });
  }

  function ask(change) {
    ({ w, label, level } = { w, label, level, ...change });
    drawing ||= requestAnimationFrame(draw); // several moves between two frames of the screen are drawn once
  }

  sliders.w.addEventListener("input", () => ask({ w: sliders.w.valueAsNumber }));
  sliders.level.addEventListener("input", () => ask({ level: t.length - 2 - sliders.level.valueAsNumber }));
  sliders.level.value = t.length - 2 - level;
  root.addEventListener("keydown", (event) => event.stopPropagation()); // or the notebook takes the key as well
  root.guided = { ask, draw, scores, land, tilted, distance, data }; // for the console, and for tests
  new ResizeObserver(draw).observe(root); // draws now, and whenever the width changes
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
