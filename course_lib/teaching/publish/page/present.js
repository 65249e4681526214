// Cells between two headings of the first or second rank become a slide; a heading of the third begins one where an exercise
// stands. A question to guess at is a slide of its own: its answer is on a later one. Minutes: what an exercise says, and two for every 130 words of text, which are spoken beside it.
(() => {
  const main = document.querySelector("main");
  /** @type {HTMLElement[]} */
  const slides = [];
  for (const cell of [...main.children]) {
    const heading = cell.querySelector("h1, h2, h3");
    const begins =
      heading && !cell.classList.contains("jp-CodeCell") && (heading.tagName !== "H3" || /^Exercise/.test(heading.textContent));
    const asks = cell.querySelector(".course-guess .question");
    if (begins || asks || slides.at(-1)?.querySelector(".course-guess .question") || !slides.length) {
      slides.push(Object.assign(document.createElement("section"), { className: "slide" }));
      main.append(slides.at(-1));
    }
    slides.at(-1).append(cell);
  }
  const minutes = slides.map((slide) => {
    const stated = /(\d+) minutes\)/.exec(slide.querySelector("h3")?.textContent ?? "");
    const texts = /** @type {NodeListOf<HTMLElement>} */ (slide.querySelectorAll(".jp-MarkdownCell"));
    const words = [...texts].map((cell) => cell.innerText.split(/\s+/).length).reduce((a, b) => a + b, 0);
    return stated ? +stated[1] : Math.max(1, Math.round((2 * words) / 130));
  });

  const foot = Object.assign(document.createElement("div"), { id: "foot" });
  /** @type {(text: string, label: string, onclick: () => void) => HTMLButtonElement} */
  const button = (text, label, onclick) => {
    const made = Object.assign(document.createElement("button"), { textContent: text, onclick });
    made.setAttribute("aria-label", label);
    return made;
  };
  const [position, clock] = [document.createElement("span"), document.createElement("span")];
  foot.append(
    button("◀", "back", () => goTo(now - 1)),
    position,
    button("code", "show the code", toggleCode),
    clock,
    button("▶", "on", () => goTo(now + 1)),
  );
  document.body.append(foot);

  let now = 0;
  const begun = Date.now();
  function goTo(/** @type {number} */ to) {
    now = Math.min(Math.max(to, 0), slides.length - 1);
    slides.forEach((slide, k) => slide.classList.toggle("now", k === now));
    history.replaceState(null, "", `#${now + 1}`);
    scrollTo(0, 0);
    dispatchEvent(new Event("resize")); // what was drawn while it was hidden had no size
    updateFoot();
  }
  function updateFoot() {
    const [passed, planned] = [(Date.now() - begun) / 60000, minutes.slice(0, now + 1).reduce((a, b) => a + b, 0)];
    position.textContent = `${now + 1} of ${slides.length}, about ${minutes[now]} min`;
    const total = minutes.reduce((a, b) => a + b, 0);
    clock.textContent = `${Math.floor(passed)} min gone, ${planned} planned up to here, ${total} in all`;
    clock.classList.toggle("late", passed > planned + 1);
  }
  function toggleCode() {
    document.body.classList.toggle("no-code");
  }

  // The stops of a slider: its ends, and the quarters between.
  function moveSlider(/** @type {number} */ direction) {
    const slider = /** @type {HTMLInputElement | null} */ (slides[now].querySelector('input[type="range"]:not([hidden])'));
    if (!slider) return;
    const [low, high] = [+slider.min || 0, slider.max === "" ? 100 : +slider.max];
    const step = +slider.step || (slider.step === "any" ? (high - low) / 100 : 1);
    const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => low + Math.round((share * (high - low)) / step) * step);
    const at = +slider.value,
      near = step / 4;
    const next = direction > 0 ? stops.find((s) => s > at + near) : stops.findLast((s) => s < at - near);
    if (next === undefined) return;
    slider.valueAsNumber = next;
    for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind, { bubbles: true }));
  }

  addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const busy = target.closest("input, textarea, select, button, canvas, [tabindex]") && target !== document.body;
    const turn = { PageDown: 1, PageUp: -1 }[event.key] ?? (busy ? 0 : ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0));
    if (turn) goTo(now + turn);
    else if (event.key === "." || event.key === ",") moveSlider(event.key === "." ? 1 : -1);
    else if (event.key === "c" && !busy) toggleCode();
    else if (event.key === "f" && !busy) document.documentElement.requestFullscreen?.();
    else return;
    event.preventDefault();
  });
  toggleCode();
  setInterval(updateFoot, 10000);
  goTo((+location.hash.slice(1) || 1) - 1);
})();
