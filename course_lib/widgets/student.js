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

function mount(root, data) {
  const net = unet(data.net), { side } = data.net, COUNT = 10, COLUMNS = 5;
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
    return noise.map((x, k) => jumped(net, data.levels[state.moves], x, state.label ?? k, state.w, normals(1000 * state.seed + k + 1)));
  }

  function draw() {
    const begun = performance.now(), made = digits(), took = performance.now() - begun;
    const pen = canvas.getContext("2d"), shade = pen.createImageData(canvas.width, canvas.height);
    made.forEach((x, k) => x.forEach((v, i) => {
      const [row, column] = [((k / COLUMNS) | 0) * side + ((i / side) | 0), (k % COLUMNS) * side + (i % side)];
      shade.data.set([0, 0, 0].fill(clamp(Math.round((v + 1) * 127.5), 0, 255)), 4 * (row * canvas.width + column));
      shade.data[4 * (row * canvas.width + column) + 3] = 255;
    }));
    pen.putImageData(shade, 0, 0);
    theme(root);
    slider.value = state.w;
    said.textContent = `w = ${state.w.toFixed(1)}, ${took.toFixed(0)} ms`;
    canvas.setAttribute("aria-label", `ten digits in ${state.moves} steps at w = ${state.w.toFixed(1)}`);
    for (const button of root.querySelectorAll(".choices button")) {
      const [[key, value]] = Object.entries(button.change);
      button.setAttribute("aria-pressed", state[key] === value);
    }
    root.dataset.drawn = state.w;
    root.dataset.took = took;
  }

  let waiting = false; // one picture a frame at most, of the newest wish
  function ask(change) {
    Object.assign(state, change);
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }
  slider.oninput = () => ask({ w: +slider.value });
  const jump = (moves, x, label, w, fresh) => jumped(net, data.levels[moves], x, label, w, fresh);
  root.student = { state, ask, draw, digits, jump, noise: () => noise };
  draw();
}
