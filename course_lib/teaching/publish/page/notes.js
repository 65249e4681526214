// Speaker notes, in a second window: for the instructor's own screen, while the hall sees the slides.
import { titleOf } from "./pages.js";

/** @type {Window | null} */
let opened = null;

/**
 * Opens the window, or brings it to the front. Keys that are pressed in it go to `onKey`: a clicker works in both windows.
 * @param {(event: KeyboardEvent) => void} onKey
 */
export function openNotes(onKey) {
  if (!opened || opened.closed) {
    opened = open("", "", "popup,width=760,height=620");
    if (!opened) return; // the browser forbids it
    const { document: page } = opened;
    page.title = "Speaker notes";
    page.documentElement.lang = "en";
    page.body.style.cssText =
      "font: 24px/1.4 system-ui, sans-serif; margin: 1.2em; color-scheme: light dark; color: CanvasText; background: Canvas";
    opened.addEventListener("keydown", onKey, true);
    addEventListener("pagehide", () => opened.close());
  }
  opened.focus();
}

/**
 * Shows what the speaker needs of a slide: its title and its minutes, where its slider stands and stops, the question to ask,
 * what the instructor's notes say of its cells, and the title of the next slide.
 * @param {Element} slide
 * @param {Element | undefined} next
 * @param {string[]} times
 * @param {{ input: HTMLInputElement, stops: number[] } | null} slider
 */
export function showNotes(slide, next, times, slider) {
  if (!opened || opened.closed) return;
  const name = (/** @type {Element | undefined} */ of) =>
    of ? (titleOf(of)?.firstChild?.textContent ?? "(no title)") : "the end";
  const asked = /** @type {HTMLElement | null} */ (slide.querySelector("[data-ask]"))?.dataset.ask;
  const question = asked ?? slide.querySelector(".course-guess .question")?.textContent;
  /** @type {[title: string, text: string][]} */
  const parts = [["", times.join(" · ")]];
  if (question) parts.push(["Ask", question]);
  for (const cell of slide.querySelectorAll("[data-notes]"))
    parts.push(...JSON.parse(/** @type {HTMLElement} */ (cell).dataset.notes));
  if (slider) {
    const { input, stops } = slider;
    parts.push([
      `Slider: ${input.getAttribute("aria-label")}`,
      `${input.getAttribute("aria-valuetext") ?? input.value}. Stops, by . and , : ${stops.join(", ")}`,
    ]);
  }
  parts.push(["Next", name(next)]);
  const { document: page } = opened;
  /** @type {(tag: string, text: string) => HTMLElement} */
  const make = (tag, textContent) => Object.assign(page.createElement(tag), { textContent });
  const elements = parts.flatMap(([title, text]) => [...(title ? [make("h2", title)] : []), make("p", text)]);
  const main = page.createElement("main");
  main.append(make("h1", name(slide)), ...elements);
  page.body.replaceChildren(main);
  for (const heading of page.body.querySelectorAll("h2"))
    heading.style.cssText = "font-size: .8em; margin: 1em 0 0; opacity: .75";
  for (const text of page.body.querySelectorAll("p")) text.style.margin = "0";
}
