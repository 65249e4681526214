// Ten digits by a guided student, computed again for every w, in the page. tests/browser/test_student_page.py compares them
// with the library's.
import { clamp, decodeBase64, make, stage, tip } from "./page.js";
import { normalGenerator } from "./random.js";
import { unet } from "./unet.js";
import { startWorker } from "./worker.js";

/** @typedef {[time: string, a: number, b: number]} Level the embedding of its time, as 32-bit floats in base64, signal and noise */
/** @typedef {{ net: import("./unet.js").UNetData, levels: Record<string, Level[]> }} Model */
/** @typedef {[noise: Float32Array, label: number, seed: number]} Job */
/** @typedef {{ jobs: Job[], moves: number, w: number }} Batch */
/** @typedef {(batch: Batch) => Float32Array[]} Sampler */

/**
 * The picture of multistep consistency sampling (Song et al. 2023, Algorithm 1): jump to the picture, add fresh noise, jump
 * again.
 * @param {import("./unet.js").UNet} net which predicts v
 * @param {Level[]} levels of each jump
 * @param {Float32Array} noise
 * @param {number} label
 * @param {number} w
 * @param {() => number} normal a new standard normal number
 */
function consistencySample(net, levels, noise, label, w, normal) {
  let x = noise,
    x0 = noise;
  levels.forEach(([time, a, b], i) => {
    if (i) x = x0.map((v) => a * v + b * normal());
    const v = net.run(x, net.modulate(new Float32Array(decodeBase64(time).buffer), label, w));
    x0 = x.map((value, k) => a * value - b * v[k]);
  });
  return x0;
}

/**
 * A function that returns a picture for each job of a batch, in so many moves.
 * @param {Model} model
 * @returns {Sampler}
 */
function makeSampler({ net, levels }) {
  const built = unet(net);
  return ({ jobs, moves, w }) =>
    jobs.map(([x, label, seed]) => consistencySample(built, levels[moves], x, label, w, normalGenerator(seed)));
}

/** What a worker does: the first message is its Model, each further one a Batch, which it answers with pictures. */
export function serve() {
  /** @type {Sampler} */
  let sampler;
  self.onmessage = ({ data }) => {
    if (sampler) self.postMessage(sampler(data));
    else sampler = makeSampler(data);
  };
}

/**
 * A worker with a sampler of its own. `sample` answers its batches one after another; `end` ends it, and rejects what is
 * unanswered.
 * @param {() => any} modules all of the widget's program (see page.py)
 * @param {Model} model
 */
function spawnWorker(modules, { net, levels }) {
  const { worker, end } = startWorker(modules);
  /** @type {(reason: unknown) => void} */
  let fail;
  const failed = new Promise((_, reject) => (worker.onerror = fail = reject));
  failed.catch(() => {}); // or a worker that fails while it has no batch would be an unhandled error
  worker.postMessage({ net, levels });
  /** @type {Promise<any>} */
  let last = Promise.resolve();
  const answer = (/** @type {Batch} */ batch) =>
    new Promise((resolve) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.postMessage(batch);
    });
  return {
    /** @type {(batch: Batch) => Promise<Float32Array[]>} */
    sample: (batch) => (last = last.then(() => Promise.race([failed, answer(batch)]))),
    end() {
      end();
      fail(new Error("the worker was ended"));
    },
  };
}

/**
 * Samples by a worker for each core, five at most, so that the page stays responsive. They are spawned when they are needed,
 * and `end` ends them. Where a page can have no worker, it samples by itself.
 * @param {() => any} modules
 * @param {Model} model
 */
function workerPool(modules, model) {
  /** @type {ReturnType<typeof spawnWorker>[] | null} */
  let workers = null;
  /** @type {Sampler} */
  let local;

  function spawn() {
    try {
      return Array.from({ length: Math.min(5, navigator.hardwareConcurrency || 1) }, () => spawnWorker(modules, model));
    } catch {
      return [];
    }
  }

  /**
   * The batch's pictures, or null where the pool was ended meanwhile.
   * @param {Batch} batch
   */
  async function sample({ jobs, ...rest }) {
    const pool = (workers ??= spawn());
    const share = Math.ceil(jobs.length / pool.length);
    try {
      const parts = pool.map((worker, i) => worker.sample({ jobs: jobs.slice(i * share, (i + 1) * share), ...rest }));
      if (parts.length) return (await Promise.all(parts)).flat();
    } catch {
      if (!workers) return null;
      if (workers === pool) end();
      workers ??= [];
    }
    return (local ??= makeSampler(model))({ jobs, ...rest });
  }

  function end() {
    for (const worker of workers ?? []) worker.end();
    workers = null;
  }
  return { sample, end, size: () => workers?.length ?? 0 };
}

/**
 * @param {HTMLElement} root
 * @param {Model & { noise: string, w: number, mostW: number }} data
 * @param {() => any} modules
 */
export function mount(root, data, modules) {
  const pool = workerPool(modules, data),
    { side } = data.net,
    COUNT = 10,
    COLUMNS = 5;
  const floats = new Float32Array(decodeBase64(data.noise).buffer);
  const firstNoise = Array.from({ length: COUNT }, (_, k) => floats.slice(k * side * side, (k + 1) * side * side));
  const first = { w: data.w, moves: 1, label: /** @type {number | null} */ (null), seed: 0 };
  const state = { ...first };
  let noise = firstNoise;

  // ---------------------------------------------------------------- the page
  const canvas = make("canvas", {
    width: COLUMNS * side,
    height: (COUNT / COLUMNS) * side,
    role: "img",
    "aria-label": "ten digits",
  });
  const slider = make("input", {
    type: "range",
    min: 0,
    max: data.mostW,
    step: 0.1,
    value: data.w,
    "aria-label": "guidance w",
  });
  const status = make("output", { "aria-live": "off" });
  /** @type {[HTMLButtonElement, Partial<typeof state>][]} */
  const buttons = [];
  /** @type {(name: string, options: [string, Partial<typeof state>][]) => HTMLElement} */
  const choices = (name, options) =>
    make(
      "div",
      { class: "choices", role: "group", "aria-label": name },
      make("span", {}, name),
      ...options.map(([text, change]) => {
        const button = make("button", { type: "button" }, text);
        button.onclick = () => update(change);
        buttons.push([button, change]);
        return button;
      }),
    );
  const presets = choices(
    "w",
    [0, 1, 3, 8].map((w) => [`${w}`, { w }]),
  );
  const moves = choices(
    "steps",
    Object.keys(data.levels).map((n) => [n, { moves: +n }]),
  );
  const labels = choices("digit", [
    ["all", { label: null }],
    ...noise.map((_, k) => /** @type {[string, Partial<typeof state>]} */ ([`${k}`, { label: k }])),
  ]);
  const again = make("button", { type: "button" }, "other noise");
  again.onclick = () => {
    state.seed += 1;
    const normal = normalGenerator(state.seed);
    noise = noise.map((x) => x.map(normal));
    update({});
  };
  root.replaceChildren(
    root.querySelector("style"),
    canvas,
    make("div", { class: "controls" }, slider, status),
    make("div", { class: "controls" }, presets, moves, again),
    labels,
    tip("Drag w, the guidance weight: 0 is without guidance. The noise stays the same. ms: milliseconds for all ten.", () => {
      noise = firstNoise;
      update(first);
    }),
  );

  // ---------------------------------------------------------------- sampling and drawing
  function digits() {
    // the fresh noise of later jumps is the same at every w, too
    const jobs = noise.map((x, k) => /** @type {Job} */ ([x, state.label ?? k, 1000 * state.seed + k + 1]));
    return pool.sample({ jobs, moves: state.moves, w: state.w });
  }

  function paint(/** @type {Float32Array[]} */ pictures) {
    const ctx = canvas.getContext("2d"),
      shades = ctx.createImageData(canvas.width, canvas.height);
    pictures.forEach((x, k) =>
      x.forEach((v, i) => {
        const [row, column] = [((k / COLUMNS) | 0) * side + ((i / side) | 0), (k % COLUMNS) * side + (i % side)];
        shades.data.set([0, 0, 0].fill(clamp(Math.round((v + 1) * 127.5), 0, 255)), 4 * (row * canvas.width + column));
        shades.data[4 * (row * canvas.width + column) + 3] = 255;
      }),
    );
    ctx.putImageData(shades, 0, 0);
  }

  async function draw() {
    const { w, moves } = state,
      begun = performance.now(),
      made = await digits(),
      took = performance.now() - begun;
    if (!made) return false;
    paint(made);
    slider.valueAsNumber = state.w;
    status.textContent = `w = ${w.toFixed(1)}, ${took.toFixed(0)} ms`;
    canvas.setAttribute("aria-label", `ten digits in ${moves} steps at w = ${w.toFixed(1)}`);
    for (const [button, change] of buttons)
      button.setAttribute(
        "aria-pressed",
        String(Object.entries(change).every(([key, value]) => state[/** @type {keyof typeof state} */ (key)] === value)),
      );
    Object.assign(root.dataset, { drawn: w, took, workers: pool.size() });
    return true;
  }

  let [drawing, stale] = [false, true]; // one drawing at a time, and the last is of the newest state
  async function drawLatest() {
    if (drawing) return;
    drawing = true;
    while (stale && root.isConnected) {
      stale = false;
      if (!(await draw())) stale = true;
    }
    drawing = false;
  }
  function update(/** @type {Partial<typeof state>} */ change) {
    Object.assign(state, change);
    stale = true;
    drawLatest();
  }
  slider.oninput = () => update({ w: slider.valueAsNumber });
  /** @type {(moves: number, noise: Float32Array, label: number, w: number, normal: () => number) => Float32Array} */
  const jump = (moves, ...rest) => consistencySample(unet(data.net), data.levels[moves], ...rest);
  Object.assign(root, { student: { state, update, draw, digits, paint, jump, noise: () => noise } }); // for the first page, and for tests
  stage(root, drawLatest, pool.end);
}
