// Ten digits by a guided student, anew for every w, in the page. tests/browser/test_student_page.py holds it to the library.

// Multistep consistency sampling (Song et al. 2023, Algorithm 1): jump to the picture, noise it afresh, jump again. `levels`
// are [time as a share of T, signal, noise] of each jump, `fresh` gives a new standard normal number. v is what the network says.
function jumped(net, levels, noise, label, w, fresh) {
  let x = noise, x0;
  levels.forEach(([time, a, b], i) => {
    if (i) x = x0.map((v) => a * v + b * fresh());
    const v = net.run(x, net.asked(time, label, w));
    x0 = x.map((value, k) => a * value - b * v[k]);
  });
  return x0;
}

// Standard normal numbers that are the same for the same seed: Marsaglia's polar method on a generator of 32 bits (mulberry32).
function normals(seed) {
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => {
    for (;;) {
      const [u, v] = [2 * uniform() - 1, 2 * uniform() - 1], s = u * u + v * v;
      if (s > 0 && s < 1) return u * Math.sqrt((-2 * Math.log(s)) / s);
    }
  };
}

// What draws: draw({ jobs, moves, w }) gives a picture for each job [noise, label, seed], as `jumped` makes it in so many moves.
function drawer({ net, levels }) {
  const built = unet(net);
  return ({ jobs, moves, w }) => jobs.map(([x, label, seed]) => jumped(built, levels[moves], x, label, w, normals(seed)));
}

const NEEDED = [bytes, halves, unpacked, silu, linear, embedded, normed, product, conv3, turned, conv1, doubled, attended, joined,
  unet, jumped, normals, drawer];

// A worker with a drawer of its own: ask(wish) gives a promise of its pictures. Wishes wait for each other.
function hired({ net, levels }) {
  const script = `${NEEDED.join("\n")}
    let draw;
    onmessage = ({ data }) => (draw ? postMessage(draw(data)) : (draw = drawer(data)));`;
  const worker = new Worker(URL.createObjectURL(new Blob([script])));
  const broken = new Promise((_, failed) => (worker.onerror = failed));
  worker.postMessage({ net, levels });
  let last = Promise.resolve();
  const asked = (wish) => new Promise((done) => {
    worker.onmessage = ({ data }) => done(data);
    worker.postMessage(wish);
  });
  return (wish) => (last = last.then(() => Promise.race([broken, asked(wish)])));
}

// Draws by a worker for each core, five at most, so that the page stays free; where a page may have none, it draws by itself.
function crew(data) {
  let workers = [], here;
  try {
    workers = Array.from({ length: Math.min(5, navigator.hardwareConcurrency || 1) }, () => hired(data));
  } catch {}
  async function drawn({ jobs, ...rest }) {
    const share = Math.ceil(jobs.length / workers.length);
    try {
      const parts = workers.map((ask, i) => ask({ jobs: jobs.slice(i * share, (i + 1) * share), ...rest }));
      if (parts.length) return (await Promise.all(parts)).flat();
    } catch {
      workers = [];
    }
    return (here ??= drawer(data))({ jobs, ...rest });
  }
  return { drawn, size: () => workers.length };
}

function mount(root, data) {
  const { drawn, size } = crew(data), { side } = data.net, COUNT = 10, COLUMNS = 5;
  const floats = new Float32Array(bytes(data.noise).buffer);
  let noise = Array.from({ length: COUNT }, (_, k) => floats.slice(k * side * side, (k + 1) * side * side));
  const state = { w: data.w, moves: 1, label: null, seed: 0 };

  const canvas = make("canvas", { width: COLUMNS * side, height: (COUNT / COLUMNS) * side, role: "img" });
  const slider = make("input", { type: "range", min: 0, max: data.mostW, step: 0.1, value: data.w, "aria-label": "guidance w" });
  const said = make("output", { "aria-live": "off" });
  const choices = (name, options) => make("div", { class: "choices", role: "group", "aria-label": name }, make("span", {}, name),
    ...options.map(([text, change]) => {
      const button = make("button", { type: "button" }, text);
      button.change = change;
      button.onclick = () => ask(change);
      return button;
    }));
  const presets = choices("w", [0, 1, 3, 8].map((w) => [`${w}`, { w }]));
  const moves = choices("steps", Object.keys(data.levels).map((n) => [n, { moves: +n }]));
  const labels = choices("digit", [["all", { label: null }], ...Array.from({ length: COUNT }, (_, k) => [`${k}`, { label: k }])]);
  const again = make("button", { type: "button" }, "other noise");
  again.onclick = () => {
    state.seed += 1;
    const fresh = normals(state.seed);
    noise = noise.map((x) => x.map(fresh));
    ask({});
  };
  root.replaceChildren(root.querySelector("style"), canvas,
    make("div", { class: "controls" }, slider, said), make("div", { class: "controls" }, presets, moves, again), labels);

  function digits() { // the fresh noise of later jumps is the same at every w, too
    const jobs = noise.map((x, k) => [x, state.label ?? k, 1000 * state.seed + k + 1]);
    return drawn({ jobs, moves: state.moves, w: state.w });
  }

  async function draw() {
    const { w, moves } = state, begun = performance.now(), made = await digits(), took = performance.now() - begun;
    const pen = canvas.getContext("2d"), shade = pen.createImageData(canvas.width, canvas.height);
    made.forEach((x, k) => x.forEach((v, i) => {
      const [row, column] = [((k / COLUMNS) | 0) * side + ((i / side) | 0), (k % COLUMNS) * side + (i % side)];
      shade.data.set([0, 0, 0].fill(clamp(Math.round((v + 1) * 127.5), 0, 255)), 4 * (row * canvas.width + column));
      shade.data[4 * (row * canvas.width + column) + 3] = 255;
    }));
    pen.putImageData(shade, 0, 0);
    theme(root);
    slider.value = state.w;
    said.textContent = `w = ${w.toFixed(1)}, ${took.toFixed(0)} ms`;
    canvas.setAttribute("aria-label", `ten digits in ${moves} steps at w = ${w.toFixed(1)}`);
    for (const button of root.querySelectorAll(".choices button")) {
      const [[key, value]] = Object.entries(button.change);
      button.setAttribute("aria-pressed", state[key] === value);
    }
    Object.assign(root.dataset, { drawn: w, took, workers: size() });
  }

  let drawing = false, stale = false; // one picture at a time, and the last of the newest wish
  async function ask(change) {
    Object.assign(state, change);
    stale = true;
    if (drawing) return;
    drawing = true;
    while (stale) {
      stale = false;
      await draw();
    }
    drawing = false;
  }
  slider.oninput = () => ask({ w: +slider.value });
  const jump = (moves, ...rest) => jumped(unet(data.net), data.levels[moves], ...rest);
  root.student = { state, ask, draw, digits, jump, noise: () => noise };
  ask({});
}
