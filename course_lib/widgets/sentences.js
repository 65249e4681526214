// The player of words (see sentences.py): the sentence after each step of a decoder, as text. No kernel, no network.
import { clamp, keepKeys, make, stage, tip } from "./page.js";

/** @typedef {{ title: string, z: number[][][], p: number[][][] }} Run words and percentages by step, sentence and position */
/**
 * @typedef {object} Film
 * @property {string[]} words
 * @property {number} masked the number of the masked word, -1 where there is none
 * @property {Run[]} runs
 * @property {string[]} pictures
 */

/**
 * @param {HTMLElement} root
 * @param {Film} film
 */
export function mount(root, film) {
  const last = film.runs[0].z.length - 1;
  let now = 0; // the step that is shown

  // ---------------------------------------------------------------- the page
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: 0, "aria-label": "Step" });
  const status = make("output");
  const panels = film.runs.map(({ title, z }) => {
    const rows = z[0].map((sentence, b) => {
      const chips = sentence.map(() => make("span", { class: "chip" }, make("b"), make("i")));
      const row = make("div", { class: "row" });
      if (film.pictures.length) {
        const alt = `Picture ${b + 1}`;
        row.append(make("img", { alt, src: `data:image/png;base64,${film.pictures[b]}` }));
      }
      row.append(make("div", { class: "words" }, ...chips));
      return { row, chips };
    });
    const panel = make("figure", {}, make("figcaption", {}, title), ...rows.map(({ row }) => row));
    return { panel, rows };
  });
  root.querySelector(".strip").replaceWith(
    make("div", { class: "panels" }, ...panels.map(({ panel }) => panel)),
    status,
    slider,
    tip(
      `Drag the slider over the steps, or use the arrow keys. An empty box is a masked word, a dot is padding. Framed words are
        new in this step. The number is the probability, in percent, with which the word was drawn.`,
      () => seek(0),
    ),
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Player of words");

  // ---------------------------------------------------------------- drawing
  function draw() {
    let masked = 0;
    film.runs.forEach(({ z, p }, k) => {
      panels[k].rows.forEach(({ chips }, b) => {
        chips.forEach((chip, i) => {
          const word = z[now][b][i];
          const hidden = word === film.masked;
          const before = z[Math.max(now - 1, 0)][b][i];
          masked += k === 0 && hidden ? 1 : 0;
          chip.className = `chip${hidden ? " hidden" : ""}${word !== before ? " new" : ""}`;
          chip.children[0].textContent = film.words[word];
          chip.children[1].textContent = hidden ? "\u00a0" : String(p[now][b][i]);
        });
      });
    });
    status.textContent = `Step ${now} of ${last}`;
    slider.valueAsNumber = now;
    const first = film.runs.map(({ title, z }) => `${title}: ${z[now][0].map((i) => film.words[i]).join(" ")}`);
    slider.setAttribute("aria-valuetext", [`step ${now} of ${last}, ${masked} masked`, ...first].join(". "));
    root.dataset.at = String(now);
  }

  function seek(/** @type {number} */ step) {
    now = clamp(Math.round(step), 0, last);
    view.redraw();
  }

  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  keepKeys(root);

  const view = stage(root, draw);
  Object.assign(root, { sentences: { seek, draw: view.draw, frames: last + 1 } }); // for the console, and for tests
}
