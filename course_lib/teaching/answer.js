// A claim's answer to the reader's guess (see answer.py), and what it shares with the question (see widgets/guess.js): where
// guesses are kept, and the words that set a guess beside what was measured.

/**
 * @typedef {object} Question a slider has all of these but `choices`
 * @property {string} question
 * @property {string[]} [choices]
 * @property {number} [low]
 * @property {number} [high]
 * @property {number} [step]
 * @property {number} [decimals]
 * @property {number} [stops]
 * @property {string} [unit]
 */
/** @typedef {{ value: number | string, seen: boolean }} Guess `seen`: the answer was on the screen, and the guess is final */
/** @typedef {{ text: string, value?: number }} Figure what is printed, and where it is a number, its value */
/** @typedef {Record<string, Figure>} Answer the figures of a claim by their names, and its verdict */

const CHANGED = "course-guess"; // the event that tells this window's other outputs; "storage" tells other windows

/** @type {Record<string, string>} */
const VERDICTS = {
  yes: "The claim holds.",
  no: "The claim does not hold here.",
  "cannot be told apart": "The claim is undecided: the two cannot be told apart.",
};

/** @type {Window & { courseGuesses?: Map<string, string> }} */
const here = window;
const memory = (here.courseGuesses ??= new Map()); // of all outputs of this window

// The page's storage: null where it is forbidden, as in a sandboxed frame, and on slides, where every class guesses anew.
function storage() {
  try {
    return document.documentElement.classList.contains("slides") ? null : localStorage;
  } catch {
    return null;
  }
}

/**
 * What is kept under `key`, or null.
 * @param {string} key
 */
function recall(key) {
  try {
    return JSON.parse(memory.get(key) ?? storage()?.getItem(key) ?? "null");
  } catch {
    return null; // another page of this address wrote something else
  }
}

/**
 * Keeps a value in the page's storage, or where that is forbidden or full, until the page is closed; null is forgotten.
 * @param {string} key
 * @param {object | null} value
 */
export function keep(key, value) {
  const [text, before] = [JSON.stringify(value), JSON.stringify(recall(key))];
  memory.delete(key);
  try {
    storage().setItem(key, text);
  } catch {
    memory.set(key, text);
  }
  if (text !== before) dispatchEvent(new Event(CHANGED));
}

/**
 * Whether what was kept under `key` is lost when the page is closed.
 * @param {string} key
 */
export const isLost = (key) => memory.has(key);

/**
 * Calls `show` whenever something is kept, here or in another window; the same function twice counts once.
 * @param {() => void} show
 */
export function listen(show) {
  for (const type of [CHANGED, "storage"]) addEventListener(type, show);
}

/**
 * Ends what `listen` began.
 * @param {() => void} show
 */
export function unlisten(show) {
  for (const type of [CHANGED, "storage"]) removeEventListener(type, show);
}

/**
 * The question, the guess and the measured figure of "CLAIM.FIGURE", each null where there is none.
 * @param {string} id
 * @returns {{ question: Question | null, guess: Guess | null, figure: Figure | null }}
 */
export function lookUp(id) {
  const [claim, name] = id.split(".");
  const [question, guess, answer] = [`question:${id}`, `guess:${id}`, `answer:${claim}`].map((key) => recall(`course-${key}`));
  const fits = question?.choices ? question.choices.includes(guess?.value) : Number.isFinite(guess?.value);
  return {
    question,
    guess: question && fits ? guess : null,
    figure: Object.entries(answer ?? {}).find(([n]) => n === name)?.[1] ?? null,
  };
}

/**
 * A value as the question's reader reads it: "0.30 s", or the text of a choice.
 * @param {Question} question
 * @param {number | string} value
 */
export function say({ decimals, unit }, value) {
  if (typeof value === "string") return value;
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return value.toLocaleString("en-US", digits) + (unit && ` ${unit}`);
}

/**
 * How far off a guess is: for a number in words, and as a share of the slider's range; for a choice, whether it is right. All
 * are null where the measured figure is of another kind.
 * @param {Question} question
 * @param {Guess} guess
 * @param {Figure} figure
 * @returns {{ off: string | null, share: number | null, right: boolean | null }}
 */
export function compare(question, guess, figure) {
  if (question.choices)
    return { off: null, share: null, right: question.choices.includes(figure.text) ? figure.text === guess.value : null };
  if (!Number.isFinite(figure.value)) return { off: null, share: null, right: null };
  const off = Math.abs(/** @type {number} */ (guess.value) - figure.value);
  const { low, high, step } = question;
  const words = off < step / 2 ? `less than ${say(question, step)}` : say(question, off);
  return { off: words, share: off / (high - low), right: null };
}

/**
 * The measured figure beside a guess, in words: "Measured: 0.49 ± 0.01, off by 0.29. The claim holds."
 * @param {string} id
 */
export function answerInWords(id) {
  const { question, guess, figure } = lookUp(id);
  const { off, right } = compare(question, guess, figure);
  const far = off ? `, off by ${off}` : right === null ? "" : right ? ": as you guessed" : ": not as you guessed";
  if (id.endsWith(".verdict")) return `The verdict: ${figure.text}${right ? ", as" : ", not as"} you guessed.`;
  const verdict = lookUp(`${id.split(".")[0]}.verdict`).figure?.text;
  return `Measured: ${figure.text}${far}. ${VERDICTS[verdict] ?? ""}`.trim();
}

/** Defines the element that shows, at a claim, each guess of its figures; in each window once. */
export function define() {
  if (customElements.get("course-answer")) return;
  customElements.define(
    "course-answer",
    class extends HTMLElement {
      connectedCallback() {
        this.style.display = "block";
        this.observer = new IntersectionObserver((entries) => {
          if (entries.some((entry) => entry.isIntersecting)) for (const id of this.guessed()) this.see(id);
        });
        this.show = () => this.draw();
        keep(`course-answer:${this.dataset.claim}`, JSON.parse(this.dataset.figures));
        listen(this.show);
        this.draw();
      }
      disconnectedCallback() {
        unlisten(this.show);
        this.observer.disconnect();
      }
      // The ids of those figures of which there is a guess.
      guessed() {
        const ids = Object.keys(JSON.parse(this.dataset.figures)).map((name) => `${this.dataset.claim}.${name}`);
        return ids.filter((id) => lookUp(id).guess);
      }
      see(/** @type {string} */ id) {
        keep(`course-guess:${id}`, { ...lookUp(id).guess, seen: true });
      }
      draw() {
        this.observer.disconnect();
        this.replaceChildren(
          ...this.guessed().map((id) => {
            const { question, guess } = lookUp(id);
            const line = document.createElement("p");
            line.style.cssText = "margin:.4em 0 0;padding:.2em .7em;border-left:.4em double;font-size:1.1em";
            const own = document.createElement("b");
            own.textContent = `You guessed ${say(question, guess.value)}.`;
            line.append(own, ` ${answerInWords(id)}`);
            return line;
          }),
        );
        if (this.guessed().some((id) => !lookUp(id).guess.seen)) this.observer.observe(this);
      }
    },
  );
}
