// Cross-attention by word: the picture at one step, and the attention weight that each position of it gives to the chosen word
// of the caption. All of it is in `film` (see attention.py).
import { clamp, clearCanvas, make, stage, tip } from "./page.js";
import { picturePanels } from "./panels.js";

/** @typedef {import("./panels.js").Sheet} Sheet */

/**
 * @param {HTMLElement} root
 * @param {{ t: number[], words: string[], ends: Sheet[], weights: Sheet }} film
 */
export async function mount(root, film) {
  const last = film.t.length - 1;
  const first = { now: Math.round(0.4 * last), chosen: film.words.length - 1 }; // at a step where much is decided
  let { now, chosen } = first;
  const ends = await picturePanels({ batch: 1, panels: film.ends });
  const weights = await picturePanels({ batch: film.words.length, panels: [film.weights] });

  // ---------------------------------------------------------------- the page
  const canvas = (/** @type {string} */ label) => make("canvas", { role: "img", "aria-label": label });
  const figure = (/** @type {HTMLElement} */ picture, /** @type {Node | string} */ title) =>
    make("figure", {}, make("figcaption", {}, title), picture);
  const [noisy, guess, large] = film.ends.map(({ title }) => canvas(title)).concat(canvas("attention"));
  const title = make("span");
  const buttons = film.words.map((word, k) => {
    const small = make("canvas", { "aria-hidden": "true" });
    const button = make("button", { type: "button" }, small, word);
    button.addEventListener("click", () => choose(k));
    return { button, small };
  });
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: now, "aria-label": "Step of the sampler" });
  const output = make("output");
  const help = tip(
    "Choose a word; move the slider through the steps. White: the word's largest attention weight, black: 0.",
    () => {
      ({ now, chosen } = first);
      view.redraw();
    },
  );
  root
    .querySelector(".strip")
    .replaceWith(
      make(
        "div",
        { class: "panels" },
        figure(noisy, film.ends[0].title),
        figure(guess, film.ends[1].title),
        figure(large, title),
      ),
      make("div", { class: "words", role: "group", "aria-label": "Words" }, ...buttons.map(({ button }) => button)),
      slider,
      output,
      help,
    );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Attention by word");

  // ---------------------------------------------------------------- drawing
  function draw(/** @type {import("./page.js").Colours} */ colours) {
    [noisy, guess].forEach((picture, k) => ends.draw(clearCanvas(picture, colours, 1), k, now, null));
    const ctx = clearCanvas(large, colours, 1);
    weights.draw(ctx, 0, now, chosen);
    ctx.globalAlpha = 0.35; // the guess shines through, to show which object it is
    ends.draw(ctx, 1, now, null);
    ctx.globalAlpha = 1;
    large.setAttribute("aria-label", `Attention to the word ${film.words[chosen]}`);
    title.textContent = `attention to “${film.words[chosen]}”`;
    buttons.forEach(({ button, small }, k) => {
      button.setAttribute("aria-pressed", String(k === chosen));
      weights.draw(clearCanvas(small, colours, 1), 0, now, k);
    });
    const t = film.t[now];
    output.textContent = `t = ${Number.isInteger(t) ? t : t.toPrecision(3)}, step ${now} of ${last + 1}`;
    slider.valueAsNumber = now;
    slider.setAttribute("aria-valuetext", output.textContent);
    Object.assign(root.dataset, { frame: now, word: chosen });
  }

  // ---------------------------------------------------------------- moving through it
  function choose(/** @type {number} */ k) {
    chosen = k;
    view.redraw();
  }
  function seek(/** @type {number} */ i) {
    now = clamp(Math.round(i), 0, last);
    view.redraw();
  }
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.stopPropagation(); // or the notebook would use the key as well
    event.preventDefault();
    seek(now + (event.key === "ArrowRight" ? 1 : -1));
  });

  const view = stage(root, draw);
  Object.assign(root, { attention: { seek, choose, draw: view.draw, frames: last + 1 } }); // for the console, and for tests
}
