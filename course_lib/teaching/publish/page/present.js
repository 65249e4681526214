// A lesson as slides: keys that turn them, stops for their sliders, and the time they take.
import { openNotes, showNotes } from "./notes.js";
import { fit, makeSlides, titleOf } from "./pages.js";

const KEYS = {
  "Page Down, Page Up": "the next slide, the one before: a clicker's keys, also while a widget has the focus",
  "→ ←": "the same, while no widget has the focus",
  "Home, End": "the first slide, the last one",
  "↓ ↑": "down a slide that is longer than the screen, as with its code, and up",
  ". ,": "the slide's slider to its next stop, to the one before",
  c: "shows the code, hides it",
  n: "speaker notes, in a second window",
  f: "fills the screen",
  "?": "shows these keys, hides them",
};

/** Makes slides of the page's `main`. All pictures must be there. */
export function present() {
  const main = document.querySelector("main");
  document.body.classList.add("no-code");
  const slides = makeSlides(main);
  const minutes = slides.map(minutesOf);
  const planned = (/** @type {number} */ end) => minutes.slice(0, end).reduce((a, b) => a + b, 0);
  const begun = Date.now();
  let now = 0;

  // ---------------------------------------------------------------- the page
  /** @type {(text: string, label: string, onclick: () => void) => HTMLButtonElement} */
  const button = (text, label, onclick) => {
    const made = Object.assign(document.createElement("button"), { textContent: text, onclick });
    made.setAttribute("aria-label", label);
    return made;
  };
  const foot = Object.assign(document.createElement("footer"), { id: "foot" });
  const [position, clock] = [document.createElement("span"), document.createElement("span")];
  const keys = Object.assign(document.createElement("dialog"), { id: "keys" });
  const list = document.createElement("dl");
  for (const [key, what] of Object.entries(KEYS))
    list.append(
      Object.assign(document.createElement("dt"), { textContent: key }),
      Object.assign(document.createElement("dd"), { textContent: what }),
    );
  keys.append(list);
  keys.setAttribute("aria-label", "Keys");
  const toggleKeys = () => (keys.open ? keys.close() : keys.showModal());
  foot.append(
    button("◀", "back", () => goTo(now - 1)),
    position,
    button("code", "show the code", toggleCode),
    button("notes", "speaker notes in a second window", () => openNotes(onKey)),
    button("?", "the keys", toggleKeys),
    clock,
    button("▶", "on", () => goTo(now + 1)),
  );
  document.body.append(foot, keys);
  main.prepend(Object.assign(document.createElement("h1"), { className: "unseen", textContent: document.title }));

  function goTo(/** @type {number} */ to) {
    now = Math.min(Math.max(to, 0), slides.length - 1);
    slides.forEach((slide, k) => slide.classList.toggle("now", k === now));
    /** @type {HTMLElement} */ (document.activeElement)?.blur(); // the next slide's keys are not the last one's
    history.replaceState(null, "", `#${now + 1}`);
    observer.disconnect();
    for (const cell of slides[now].children) observer.observe(cell); // what draws itself grows only now
    showTime();
  }
  const observer = new ResizeObserver(() => fit(slides[now]));

  function toggleCode() {
    document.body.classList.toggle("no-code");
    fit(slides[now]);
  }

  function showTime() {
    const [passed, due] = [(Date.now() - begun) / 60000, planned(now + 1)];
    const own = minutes[now] ? `, about ${Math.max(1, Math.round(minutes[now]))} min` : "";
    position.textContent = `${now + 1} of ${slides.length}${own}`;
    clock.textContent = `${Math.floor(passed)} min gone, ${Math.round(due)} planned up to here, ${Math.round(planned(Infinity))} in all`;
    clock.classList.toggle("late", passed > due + 1);
    showNotes(slides[now], slides[now + 1], [position.textContent, clock.textContent], slider());
  }

  // ---------------------------------------------------------------- the slide's slider, and its stops: the ends, and the quarters between
  function slider() {
    const input = /** @type {HTMLInputElement | null} */ (slides[now].querySelector('input[type="range"]:not([hidden])'));
    if (!input) return null;
    const [low, high] = [+input.min || 0, input.max === "" ? 100 : +input.max];
    const step = +input.step || (input.step === "any" ? (high - low) / 100 : 1);
    const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => +(low + Math.round((share * (high - low)) / step) * step).toFixed(6));
    return { input, stops, step };
  }

  function moveSlider(/** @type {number} */ direction) {
    const { input, stops, step } = slider() ?? {};
    const beyond = (/** @type {number} */ stop) => direction * (stop - +input.value) > step / 4;
    const next = direction > 0 ? stops?.find(beyond) : stops?.findLast(beyond);
    if (next === undefined) return;
    input.valueAsNumber = next;
    for (const kind of ["input", "change"]) input.dispatchEvent(new Event(kind, { bubbles: true }));
  }

  // ---------------------------------------------------------------- keys, which come here before any widget has them
  /** @type {(event: KeyboardEvent) => void} */
  function onKey(event) {
    const { key, target, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey) return;
    const types = /** @type {Element} */ (target).closest?.('textarea, select, input:not([type="range"])');
    const busy = types || /** @type {Element} */ (target).closest?.("input, button, summary, canvas, [role=application]");
    /** @type {Record<string, () => void>} */
    const always = { PageDown: () => goTo(now + 1), PageUp: () => goTo(now - 1) };
    /** @type {Record<string, () => void>} */
    const besideTyping = {
      ".": () => moveSlider(1),
      ",": () => moveSlider(-1),
      c: toggleCode,
      n: () => openNotes(onKey),
      f: () => document.documentElement.requestFullscreen?.(),
      "?": toggleKeys,
    };
    /** @type {Record<string, () => void>} */
    const free = {
      ArrowRight: () => goTo(now + 1),
      ArrowLeft: () => goTo(now - 1),
      ArrowDown: () => slides[now].scrollBy(0, 120),
      ArrowUp: () => slides[now].scrollBy(0, -120),
      Home: () => goTo(0),
      End: () => goTo(Infinity),
    };
    const act = always[key] ?? (types ? undefined : besideTyping[key]) ?? (busy ? undefined : free[key]);
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
    showTime();
  }
  addEventListener("keydown", onKey, true);
  main.addEventListener("input", () => setTimeout(showTime)); // where the slider is, once the widget has said it

  // ---------------------------------------------------------------- the size of the window
  const resize = () =>
    document.documentElement.style.setProperty("--screen", String(Math.min(innerWidth / 1280, innerHeight / 720)));
  addEventListener("resize", resize);
  setInterval(showTime, 10000);
  resize();
  goTo((+location.hash.slice(1) || 1) - 1);
}

/**
 * What an exercise says that it takes, two minutes for a widget, and two for every 130 words, which are spoken beside the text.
 * @param {HTMLElement} slide
 */
function minutesOf(slide) {
  const title = titleOf(slide);
  const stated = /(\d+) minutes\)/.exec(title?.textContent ?? "");
  if (stated) return title.tagName === "H3" ? +stated[1] : 0;
  const texts = [...slide.querySelectorAll(".jp-MarkdownOutput")].map((text) => text.textContent.split(/\s+/).length);
  return Math.max(slide.querySelector(".course-widget") ? 2 : 0.5, (2 * texts.reduce((a, b) => a + b, 0)) / 130);
}
