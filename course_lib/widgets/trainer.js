// Trains the network of mlp_training.js on drawn points, and samples with it: in a worker, or in the page where it can have none.
import { floor, PARTS } from "./floor.js";
import { addNoise, exactEps } from "./mixture.js";
import { adam, initialise, network, parameters } from "./mlp_training.js";
import { normalGenerator, uniformGenerator } from "./random.js";

/** @typedef {import("./mlp.js").Floats} Floats */
/** @typedef {import("./mlp.js").Size} Size */
/**
 * @typedef {object} Task
 * @property {Size} size of the network
 * @property {Floats} alphaBar the signal's square at the times 0..T
 * @property {Floats} points x and y of each drawn point
 * @property {number} seed
 */
/**
 * @typedef {object} Rule a sampler's numbers for each of its steps (paths.py)
 * @property {number[]} t
 * @property {number[]} keep
 * @property {number[]} eps
 * @property {number[]} z
 * @property {number[]} a
 * @property {number[]} b
 * @property {number} T
 */
/** @typedef {{ steps: number, losses: Floats, weights: Floats }} Progress steps so far, the loss in each part of 1..T, the average weights */

const CLOUD = 300; // points that are sampled
const EACH = 8; // points at each of these times
const RATE = 8e-3; // of Adam; it falls as training goes on

/** @param {Task} task */
export function trainer({ size, alphaBar, points, seed }) {
  const T = alphaBar.length - 1,
    uniform = uniformGenerator(seed),
    normal = normalGenerator(seed + 1);
  const weights = initialise(size, uniform),
    net = network(size, parameters(size, weights).named),
    optimiser = adam(weights);
  let steps = 0;

  function step() {
    const times = new Float64Array(PARTS),
      [x, eps] = [0, 0].map(() => new Float64Array(2 * PARTS * EACH)),
      g = parameters(size);
    for (let i = 0, at = 0; i < PARTS; i++) {
      const t = Math.ceil((T * (i + 1 - uniform())) / PARTS),
        [a, b] = [Math.sqrt(alphaBar[t]), Math.sqrt(1 - alphaBar[t])];
      times[i] = t / T;
      for (let j = 0; j < EACH; j++) {
        const k = 2 * Math.floor((uniform() * points.length) / 2);
        for (const axis of [0, 1]) {
          eps[at] = normal();
          x[at] = a * points[k + axis] + b * eps[at++];
        }
      }
    }
    const losses = net.loss({ times, x }, eps, g.named);
    optimiser.step(g.flat, RATE / (1 + steps++ / 400));
    return losses;
  }

  /**
   * Trains for so many milliseconds, at least one step.
   * @param {number} duration
   * @returns {Progress}
   */
  function train(duration) {
    const until = performance.now() + duration,
      losses = new Float64Array(PARTS);
    let n = 0;
    do {
      step().forEach((v, i) => (losses[i] += v));
      n++;
    } while (performance.now() < until);
    return { steps, losses: losses.map((v) => v / n), weights: optimiser.average.slice() };
  }
  return { train, predict: (/** @type {Rule} */ rule) => learnedEps({ size, weights: optimiser.average }, rule) };
}

/** @typedef {(x: Floats, i: number) => Floats} EpsAt the predicted noise in all points x at step i of a sampler */

/**
 * The network's prediction for the steps of a sampler.
 * @param {{ size: Size, weights: Floats }} weights
 * @param {Rule} rule
 * @returns {EpsAt}
 */
export function learnedEps({ size, weights }, { t, T }) {
  const net = network(size, parameters(size, weights).named);
  return (x, i) => net.predict({ times: [t[i] / T], x });
}

/**
 * The exact prediction for the drawn points, which are a mixture of components without width.
 * @param {Floats} points
 * @param {Rule} rule
 * @returns {EpsAt}
 */
export function exactEpsOf(points, { a, b }) {
  const K = points.length / 2,
    each = (/** @type {(k: number) => any} */ value) => Array.from({ length: K }, (_, k) => value(k));
  const mixture = { weights: each(() => 1 / K), means: each((k) => [points[2 * k], points[2 * k + 1]]), stds: each(() => 0) };
  const levels = a.map((signal, i) => addNoise(mixture, signal, b[i])),
    one = new Float64Array(2);
  return (x, i) => {
    const out = new Float64Array(x.length);
    for (let j = 0; j < x.length; j += 2) {
      exactEps(levels[i], x[j], x[j + 1], one);
      out.set(one, j);
    }
    return out;
  };
}

/**
 * The points before each step and after the last.
 * @param {Rule} rule
 * @param {EpsAt} predict
 * @param {Floats} start
 * @param {() => number} normal
 */
export function follow({ t, keep, eps, z }, predict, start, normal) {
  const all = [start];
  for (let i = 0; i < t.length; i++) {
    const e = predict(all[i], i);
    all.push(all[i].map((v, j) => keep[i] * v + eps[i] * e[j] + z[i] * normal()));
  }
  return all;
}

/** @typedef {{ floor?: Floats, progress?: Progress, cloud?: Floats[] }} Answer */
/** @typedef {{ task?: Task, training?: boolean, sample?: Rule }} Order */

/**
 * A function that takes orders: a task first, which is answered with its floor; to train, which is answered with its progress
 * every `slice` milliseconds until it is told to stop; to sample, which is answered with CLOUD points at each step.
 * @param {(answer: Answer) => void} answer
 * @param {number} slice
 */
export function trainee(answer, slice) {
  /** @type {ReturnType<typeof trainer>} */
  let made;
  let [training, waiting] = [false, false];
  function loop() {
    waiting = false;
    if (!training) return;
    answer({ progress: made.train(slice) });
    waiting = true;
    setTimeout(loop); // so that further orders are heard in between
  }
  return (/** @type {Order} */ order) => {
    if (order.task) {
      made = trainer(order.task);
      answer({ floor: floor(order.task) });
    }
    if (order.sample) {
      const normal = normalGenerator(5);
      const start = new Float64Array(2 * CLOUD).map(normal);
      answer({ cloud: follow(order.sample, made.predict(order.sample), start, normal) });
    }
    training = order.training ?? training;
    if (training && !waiting) loop();
  };
}
