// What is drawn on the board of draw.js, the network that is trained on it, and the paths that it is asked for.
import { REACH } from "./board.js";
import { employ } from "./employ.js";
import { PARTS } from "./floor.js";
import { clamp } from "./page.js";
import { normalGenerator } from "./random.js";
import { exactEpsOf, follow, learnedEps } from "./trainer.js";

/** @typedef {Float64Array} Floats */
/** @typedef {import("./drawings.js").Point} Point */
/** @typedef {import("./trainer.js").Rule} Rule */
/**
 * @typedef {object} Data
 * @property {import("./trainer.js").Size} size
 * @property {number[]} alphaBar
 * @property {Record<string, Record<string, Rule>>} rules by sampler and number of steps
 * @property {number} scale a drawing is enlarged so much, against noise of standard deviation 1
 */
/** @typedef {"tool" | "sampler" | "steps"} Choice */

/** Points in a drawing, at most. */
export const MOST = 400;
/** Steps of a training. */
export const STEPS = 3000;
const STARTS = "Draw here, or take a ready-made drawing. Then train.";
const FIRST = { sampler: "DDIM", steps: "20", seed: 1, cursor: /** @type {Point} */ ([0.9, 0.55]) };
const noHistory = () => ({
  steps: /** @type {number[]} */ ([]),
  losses: /** @type {number[]} */ ([]),
  parts: new Float64Array(PARTS),
});

/** The mean of all values. */
export const mean = (/** @type {Floats} */ values) => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * @param {Data} data
 * @param {() => any} modules
 * @param {() => void} changed called whenever there is something new to show
 */
export function practice({ size, scale, rules, ...data }, modules, changed) {
  const alphaBar = Float64Array.from(data.alphaBar);
  const state = {
    ...FIRST,
    ...{ tool: "draw", training: false, said: STARTS },
    points: /** @type {Point[]} */ ([]),
    floor: /** @type {Floats | null} */ (null),
    progress: /** @type {import("./trainer.js").Progress | null} */ (null),
    cloud: /** @type {Floats[] | null} */ (null),
    history: noHistory(),
  };
  /** @type {Point[][]} */
  const before = []; // earlier drawings, for undo
  /** @type {ReturnType<typeof employ> | null} */
  let employed = null;
  let [asked, due] = [0, 0]; // when points were last asked for, and when next, so that most of the time goes into training
  /** @type {Record<"learned" | "exact", Floats[]> | null} */
  let found = null;
  /** @type {{ rule: Rule, points: Point[], predict: import("./trainer.js").EpsAt } | null} */
  let exact = null; // as long as neither the drawing nor the sampler changes
  const rule = () => rules[state.sampler][state.steps];
  const enlarged = () => Float64Array.from(state.points.flat(), (v) => scale * v);

  // ---------------------------------------------------------------- the drawing
  function end() {
    employed?.end();
    employed = null;
    state.training = false;
  }
  function forget() {
    // what was trained on another drawing
    end();
    found = null;
    Object.assign(state, { floor: null, progress: null, cloud: null, history: noHistory() });
    due = 0;
  }
  function setPoints(/** @type {Point[]} */ points) {
    forget();
    const said = points.length >= MOST ? `${MOST} points are enough. Now train.` : STARTS;
    Object.assign(state, { points: points.slice(0, MOST), tool: "draw", said });
    changed();
  }
  function change(/** @type {Point[]} */ points) {
    before.push(state.points);
    setPoints(points);
  }

  // ---------------------------------------------------------------- training
  function setTraining(/** @type {boolean} */ training) {
    if (training && state.points.length < 2) state.said = "Draw at least two points first.";
    else {
      if (!employed) {
        forget();
        employed = employ(modules, receive);
        employed.order({ task: { size, alphaBar, points: enlarged(), seed: 1 } });
      }
      state.training = training;
      employed.order({ training });
      if (training) Object.assign(state, { tool: "follow", said: "Training. Drop a point anywhere, and follow it back." });
      else if (state.progress) state.said = summary();
    }
    changed();
  }
  function sample() {
    if (!employed) return;
    asked = performance.now();
    due = Number.POSITIVE_INFINITY;
    employed.order({ sample: rule() });
  }
  function receive(/** @type {import("./trainer.js").Answer} */ answer) {
    Object.assign(state, answer);
    if (answer.cloud) due = performance.now() + Math.max(400, 5 * (performance.now() - asked));
    if (answer.progress) {
      const { steps, losses } = answer.progress,
        { history } = state;
      found = null;
      history.parts = history.parts.map((v, i) => (history.steps.length ? 0.85 * v + 0.15 * losses[i] : losses[i]));
      history.steps.push(steps);
      history.losses.push(mean(history.parts));
      if (steps >= STEPS * Math.ceil(history.steps.at(-2) / STEPS || 1) && state.training) setTraining(false);
      if (performance.now() > due || !state.training) sample();
    }
    changed();
  }
  const summary = () =>
    `${state.progress.steps.toLocaleString("en")} steps: loss ${state.history.losses.at(-1).toFixed(3)}${
      state.floor ? `, exact floor ${mean(state.floor).toFixed(3)}` : ""
    }.`;

  // ---------------------------------------------------------------- following
  function choose(/** @type {Choice} */ key, /** @type {string} */ value) {
    state[key] = value;
    found = null;
    if (key !== "tool") {
      state.cloud = null;
      sample();
    }
    changed();
  }
  function moveTo(/** @type {Point} */ [x, y], seed = state.seed) {
    Object.assign(state, { cursor: [clamp(x, -REACH, REACH), clamp(y, -REACH, REACH)], seed });
    found = null;
    changed();
  }
  /** Noisy data have this standard deviation, for data of standard deviation `scale`: what is shown is divided by it. */
  function spread(/** @type {number} */ step) {
    const { a, b } = rule();
    return step < a.length ? Math.hypot(scale * a[step], b[step]) : scale;
  }
  function paths() {
    if (found) return found;
    const start = Float64Array.from(state.cursor, (v) => v * spread(0)),
      path = (/** @type {import("./trainer.js").EpsAt} */ predict) =>
        follow(rule(), predict, start, normalGenerator(state.seed));
    if (exact?.rule !== rule() || exact.points !== state.points)
      exact = { rule: rule(), points: state.points, predict: exactEpsOf(enlarged(), rule()) };
    const learned = learnedEps({ size, weights: state.progress.weights }, rule());
    return (found = { learned: path(learned), exact: path(exact.predict) });
  }
  /** @type {(x: Floats, step: number) => Point[]} */
  const shown = (x, step) =>
    Array.from({ length: x.length / 2 }, (_, j) => [x[2 * j] / spread(step), x[2 * j + 1] / spread(step)]);

  return {
    ...{ state, rule, setPoints, change, setTraining, choose, moveTo, paths, shown, summary, end },
    undo: () => before.length && setPoints(before.pop()),
    canUndo: () => before.length > 0,
    /** An empty board, with all choices as at first; Undo brings the drawing back. */
    reset() {
      Object.assign(state, FIRST);
      change([]);
    },
  };
}
