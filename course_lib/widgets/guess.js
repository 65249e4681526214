// Guess first (see guess.py): a question that keeps the reader's guess in the page, and a table of guesses. What was measured is
// in the claims' own outputs (see ../teaching/answer.js).
import { answerInWords, compare, isLost, keep, listen, lookUp, say, unlisten } from "../teaching/answer.js";
import { clamp, keepKeys, make, stage } from "./page.js";

/** @typedef {import("../teaching/answer.js").Question} Question */

/**
 * @param {HTMLElement} root
 * @param {{ id: string, question: Question } | { ids: string[] }} data
 */
export function mount(root, data) {
  const onSlides = document.documentElement.classList.contains("slides");
  const show = "ids" in data ? table(root, data.ids) : ask(root, data.id, data.question, onSlides);
  root.setAttribute("role", "group");
  keepKeys(root);
  stage(
    root,
    () => {
      listen(show); // again, where a notebook puts its cell back
      show();
    },
    () => unlisten(show),
  );
}

// ---------------------------------------------------------------- the question

/**
 * Asks, and returns the function that shows what the page knows by now.
 * @param {HTMLElement} root
 * @param {string} id
 * @param {Question} question
 * @param {boolean} onSlides
 */
function ask(root, id, question, onSlides) {
  const input = question.choices ? buttons(question) : slider(question, onSlides);
  const commit = make("button", { type: "button", class: "commit" }, onSlides ? "This is our guess" : "This is my guess");
  const form = make("div", { class: "form" }, input.element, commit);
  const own = make("b");
  const rest = make("span");
  const scale = make("div", { class: "scale", "aria-hidden": "true" });
  const follow = make("button", { type: "button" }, "go to the answer");
  const change = make("button", { type: "button" }, "change my mind");
  const status = make("p", { role: "status" }); // it stands in the page before it is filled, so that it is read out
  const result = make("div", { class: "result" }, status, scale, make("div", { class: "row" }, follow, change));
  root.append(form, result);
  root.setAttribute("aria-label", `Guess first: ${question.question}`);
  if (onSlides) root.querySelector(".first").textContent = "Hands up";
  keep(`course-question:${id}`, question);

  const answered = () => {
    const claim = id.split(".")[0];
    return [...document.querySelectorAll("course-answer")].find((e) => /** @type {HTMLElement} */ (e).dataset.claim === claim);
  };

  function show() {
    const { guess, figure } = lookUp(id);
    const shown = guess?.seen && figure;
    root.dataset.state = !guess ? "open" : shown ? "answered" : "guessed";
    form.hidden = Boolean(guess);
    result.hidden = !guess;
    commit.disabled = input.value() === null;
    if (!guess) return status.replaceChildren();
    const lost = isLost(`course-guess:${id}`) && !onSlides;
    own.textContent = `${onSlides ? "Our" : "Your"} guess: ${say(question, guess.value)}.`;
    rest.textContent = ` ${shown ? answerInWords(id) : "The measured figure stands below, where it is measured."}${
      lost ? " This page may store nothing: it forgets the guess when it is closed." : ""
    }`;
    if (!status.contains(own)) status.replaceChildren(own, rest);
    const marks = [place(question, guess.value, "guess", "your guess")];
    if (shown) marks.push(place(question, figure.value, "measured", "measured"));
    scale.replaceChildren(...marks.flat());
    follow.hidden = onSlides || !answered();
    change.hidden = Boolean(shown);
  }

  function decide() {
    if (input.value() === null) return;
    keep(`course-guess:${id}`, { value: input.value(), seen: false });
    if (onSlides)
      /** @type {HTMLElement} */ (document.activeElement)?.blur(); // the next key turns the slide
    else change.focus({ preventScroll: true });
  }
  commit.addEventListener("click", decide);
  input.element.addEventListener("input", show);
  input.element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // which would press the button that has the focus next
    decide();
  });
  change.addEventListener("click", () => {
    keep(`course-guess:${id}`, null);
    input.focus();
  });
  follow.addEventListener("click", () => answered().scrollIntoView({ block: "center" }));
  return show;
}

/**
 * A slider with its value in large type. Until it is moved it has no thumb and no value: a value to begin with would be a hint.
 * @param {Question} question
 * @param {boolean} onSlides
 */
function slider(question, onSlides) {
  const { low, high, step, decimals, stops } = question;
  const range = make("input", { type: "range", min: 0, max: stops, step: 1, value: 0, class: "untouched" });
  range.setAttribute("aria-label", question.question);
  const touched = () => !range.classList.contains("untouched");
  const at = () => clamp(Number((step * Math.floor(low / step + range.valueAsNumber + 1e-6)).toFixed(decimals)), low, high);
  const [output, hands] = [make("output"), make("p", { class: "hands" })];
  const write = () => {
    output.textContent = touched() ? say(question, at()) : "?";
    range.setAttribute("aria-valuetext", touched() ? output.textContent : "no guess yet");
    hands.textContent = touched() ? `Who says more than ${output.textContent}? Who says less?` : "Move the slider.";
  };
  const touch = () => range.dispatchEvent(new Event("input", { bubbles: true }));
  range.addEventListener("input", () => {
    range.classList.remove("untouched");
    write();
  });
  range.addEventListener("click", touch); // where the lowest value is meant, nothing changes
  range.addEventListener("keydown", ({ key }) => {
    if (["Home", "ArrowLeft", "ArrowDown", "PageDown"].includes(key)) touch();
  });
  write();
  const ends = make(
    "div",
    { class: "ends", "aria-hidden": "true" },
    ...[low, high].map((end) => make("span", {}, say(question, end))),
  );
  const element = make("div", {}, output, ...(onSlides ? [hands] : []), range, ends);
  return { element, value: () => (touched() ? at() : null), focus: () => range.focus({ preventScroll: true }) };
}

/**
 * A button for each choice, of which one is pressed.
 * @param {Question} question
 */
function buttons({ question, choices }) {
  // A name of its own in each copy of the widget: buttons of one name exclude each other in the whole page.
  const name = `course-guess-${document.querySelectorAll(".course-guess input[type=radio]").length}`;
  const radios = choices.map((value) => make("input", { type: "radio", name, value }));
  const labels = radios.map((radio, k) => make("label", {}, radio, make("span", {}, choices[k])));
  const chosen = () => radios.findIndex((radio) => radio.checked);
  return {
    element: make("div", { class: "choices", role: "radiogroup", "aria-label": question }, ...labels),
    value: () => choices[chosen()] ?? null,
    focus: () => radios[Math.max(0, chosen())].focus({ preventScroll: true }),
  };
}

/**
 * A mark on the scale with its name, or nothing where the value is no number.
 * @param {Question} question
 * @param {number | string | undefined} value
 * @param {string} kind
 * @param {string} name
 */
function place({ low, high }, value, kind, name) {
  if (typeof value !== "number" || low === undefined) return [];
  const share = clamp((value - low) / (high - low), 0, 1);
  return [make("span", { class: `mark ${kind}`, style: `--at: ${share}` }, name)];
}

// ---------------------------------------------------------------- the table

const HEADS = ["question", "your guess", "measured", "off by"];

/**
 * Makes the table, and returns the function that fills it.
 * @param {HTMLElement} root
 * @param {string[]} ids
 */
function table(root, ids) {
  const body = make("tbody");
  const head = make("thead", {}, make("tr", {}, ...HEADS.map((words) => make("th", { scope: "col" }, words))));
  const rows = make("div", { class: "rows" }, make("table", {}, head, body));
  const status = make("p", { role: "status" });
  const forget = make("button", { type: "button" }, "forget these guesses");
  root.append(rows, status, make("div", { class: "row" }, forget));
  root.setAttribute("aria-label", "Your guesses");
  forget.addEventListener("click", () => {
    for (const id of ids) keep(`course-guess:${id}`, null);
  });

  return () => {
    /** @type {number[]} */
    const shares = [];
    /** @type {boolean[]} */
    const right = [];
    let made = 0;
    const lines = ids.map((id) => {
      const { question, guess, figure } = lookUp(id);
      const cells = ["no guess", "", ""];
      if (guess) {
        made++;
        cells[0] = say(question, guess.value);
        cells[1] = figure?.text ?? "not measured yet";
        const found = figure && compare(question, guess, figure);
        if (found?.share != null) shares.push(found.share);
        if (found?.right != null) right.push(found.right);
        cells[2] = found?.off ?? { true: "✓ right", false: "✗ not right" }[String(found?.right)] ?? "";
      }
      const title = make("th", { scope: "row" }, question?.question ?? id);
      return make("tr", guess ? {} : { class: "none" }, title, ...cells.map((words) => make("td", {}, words)));
    });
    body.replaceChildren(...lines);
    rows.hidden = forget.hidden = !made;
    root.dataset.state = made ? "filled" : "empty";
    const mean = (100 * shares.reduce((a, b) => a + b, 0)) / shares.length;
    const sentences = [
      made ? "" : "You have not guessed yet. Guess before an experiment: a figure that surprises you is one that you remember.",
      shares.length ? `Your sliders were ${mean.toFixed(0)} % of their range off on average.` : "",
      right.length
        ? `${right.filter(Boolean).length} of ${right.length} choices ${right.length === 1 ? "was" : "were"} right.`
        : "",
    ];
    status.textContent = sentences.filter(Boolean).join(" ");
  };
}
