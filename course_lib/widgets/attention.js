// Who looks at which word: the picture at one step, and how strongly each place of it looks at the chosen word of its caption.
// All of it is in `film` (see attention.py). Sheets of pictures are drawn by painters.js.

async function mount(root, film) {
  const last = film.t.length - 1;
  let now = Math.round(0.4 * last); // where much is decided
  let chosen = film.words.length - 1;
  let drawing = 0;
  const ends = await pictures({ batch: 1, panels: film.ends });
  const looks = await pictures({ batch: film.words.length, panels: [film.looks] });

  // ---------------------------------------------------------------- the page
  const canvas = (label) => make("canvas", { role: "img", "aria-label": label });
  const figure = (picture, title) => make("figure", {}, make("figcaption", {}, title), picture);
  const [noisy, guess, large] = film.ends.map(({ title }) => canvas(title)).concat(canvas("looks"));
  const title = make("span");
  const buttons = film.words.map((word, k) => {
    const small = make("canvas", { "aria-hidden": "true" });
    const button = make("button", { type: "button" }, small, word);
    button.addEventListener("click", () => choose(k));
    return { button, small };
  });
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: now, "aria-label": "Step of the sampler" });
  const output = make("output");
  const help = make("p", {}, "White: here the picture looks at this word most. Click a word; move the slider.");
  root.querySelector(".strip").replaceWith(
    make("div", { class: "panels" }, figure(noisy, film.ends[0].title), figure(guess, film.ends[1].title), figure(large, title)),
    make("div", { class: "words", role: "group", "aria-label": "Words" }, ...buttons.map(({ button }) => button)),
    slider, output, help,
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Attention by word");

  // ---------------------------------------------------------------- drawing
  function draw() {
    cancelAnimationFrame(drawing);
    drawing = 0;
    const colours = theme(root);
    [noisy, guess].forEach((picture, k) => ends.draw(wipe(picture, colours, 1), k, now, null));
    const pen = wipe(large, colours, 1);
    looks.draw(pen, 0, now, chosen);
    pen.globalAlpha = 0.35; // the guess shines through, so that one sees which object it is
    ends.draw(pen, 1, now, null);
    pen.globalAlpha = 1;
    large.setAttribute("aria-label", `Where the picture looks at the word ${film.words[chosen]}`);
    title.textContent = `looks at “${film.words[chosen]}”`;
    buttons.forEach(({ button, small }, k) => {
      button.setAttribute("aria-pressed", k === chosen);
      looks.draw(wipe(small, colours, 1), 0, now, k);
    });
    const t = film.t[now];
    output.textContent = `t = ${Number.isInteger(t) ? t : t.toPrecision(3)}, step ${now} of ${last + 1}`;
    slider.value = now;
    slider.setAttribute("aria-valuetext", output.textContent);
    Object.assign(root.dataset, { frame: now, word: chosen });
  }

  // ---------------------------------------------------------------- moving through it
  const later = () => (drawing ||= requestAnimationFrame(draw));
  function choose(k) {
    chosen = k;
    later();
  }
  function seek(i) {
    now = clamp(Math.round(i), 0, last);
    later();
  }
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.stopPropagation(); // or the notebook takes the key as well
    event.preventDefault();
    seek(now + (event.key === "ArrowRight" ? 1 : -1));
  });

  root.attention = { seek, choose, draw, frames: last + 1 }; // for the console, and for tests
  new ResizeObserver(draw).observe(root); // draws now, and whenever the width changes
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
