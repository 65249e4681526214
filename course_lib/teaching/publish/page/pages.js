// A lesson in slides. Cells between two headings of the first or second rank belong together; a heading of the third begins
// anew where an exercise stands. A widget has a slide of its own, and so has a question to guess at, whose answer is on a later
// one. What a slide has no room for goes on, on the next one, under the same title.

const WIDGET = ".course-widget:not(.course-guess)";
const QUESTION = ".course-guess .question";
const DIVISIBLE = [
  ".jp-Cell, .jp-Cell-outputWrapper, .jp-OutputArea",
  ".jp-MarkdownCell :is(.jp-Cell-inputWrapper, .jp-InputArea, .jp-MarkdownOutput, .jp-MarkdownOutput > ul, .jp-MarkdownOutput > ol)",
].join();
const [ALMOST, LEAST] = [0.85, 0.7]; // of the size of type: before a slide is divided, and where it cannot be

/**
 * Moves all cells of `main` to sections, each of them a slide, and returns these. They are measured as they are made: pictures
 * must be there.
 * @param {HTMLElement} main
 */
export function makeSlides(main) {
  let title = "";
  const slides = groups([...main.children]).flatMap((cells) => {
    const slide = newSlide(main, cells.some(titleOf) || cells.some((cell) => cell.querySelector(QUESTION)) ? "" : title);
    slide.append(...cells);
    title = titleOf(slide)?.firstChild?.textContent ?? title;
    return divide(slide);
  });
  for (const slide of slides) {
    slide.classList.remove("now");
    slide.querySelector("h3")?.setAttribute("aria-level", "2"); // right under the lesson's title
  }
  return slides;
}

/**
 * Makes the type smaller, not below `least`, until all of the slide is on the screen. Returns whether it is: one that is not,
 * such as long code, can be scrolled by keys.
 * @param {HTMLElement} slide
 */
export function fit(slide, least = LEAST) {
  for (let size = 1; ; size = Math.max(least, size - 0.05)) {
    slide.style.setProperty("--size", String(size));
    const whole = [slide, ...slide.querySelectorAll(".jp-OutputArea-output, .display-equation, table, pre")].every(isWhole);
    slide.tabIndex = isWhole(slide) ? -1 : 0;
    if (whole || size === least) return whole;
  }
}

/** @param {Element} e */
const isWhole = (e) => !e.checkVisibility() || (e.scrollHeight <= e.clientHeight + 2 && e.scrollWidth <= e.clientWidth + 2);

/**
 * The title of a slide.
 * @param {Element} slide
 * @returns {HTMLElement | null}
 */
export const titleOf = (slide) => slide.querySelector("h1, h2, h3, .title");

/**
 * The cells that belong together.
 * @param {Element[]} cells
 */
function groups(cells) {
  /** @type {Element[][]} */
  const made = [];
  let begins = true;
  for (const cell of cells) {
    const heading = cell.querySelector(".jp-MarkdownOutput :is(h1, h2, h3)");
    const asks = cell.querySelector(QUESTION) !== null;
    begins ||= asks || (heading && (heading.tagName !== "H3" || /^Exercise/.test(heading.textContent)));
    if (begins) made.push([]);
    made.at(-1).push(cell);
    begins = asks;
  }
  return made;
}

/**
 * A slide at the end of main, under a title where one is given.
 * @param {HTMLElement} main
 * @param {string} title
 */
function newSlide(main, title) {
  const slide = Object.assign(document.createElement("section"), { className: "slide now" });
  if (title) slide.append(Object.assign(document.createElement("p"), { className: "title", textContent: title }));
  main.append(slide);
  return slide;
}

/**
 * The slide, and those on which it goes on.
 * @param {HTMLElement} slide
 * @returns {HTMLElement[]}
 */
function divide(slide) {
  const rest = document.createDocumentFragment();
  const cells = [...slide.children];
  const widget = cells.findIndex((cell) => cell.querySelector(WIDGET));
  const says = (/** @type {Element} */ cell) => [...leaves(cell)].some((e) => !isTitle(e) && e.getBoundingClientRect().height);
  if (widget >= 0) rest.append(...cells.slice(widget + Number(!cells.slice(0, widget).some(says))));
  if (widget !== 0 && !slide.querySelector(WIDGET) && !fit(slide, ALMOST)) {
    fit(slide, 1);
    const { bottom } = slide.getBoundingClientRect();
    const first = [...leaves(slide)].find((e) => !isTitle(e) && e.getBoundingClientRect().height);
    moveBelow(slide, rest, bottom - parseFloat(getComputedStyle(slide).paddingBottom), first);
  }
  if (!rest.childElementCount) return [slide];
  const next = newSlide(slide.parentElement, titleOf(slide)?.firstChild?.textContent ?? "");
  next.append(rest);
  return [slide, ...divide(next)];
}

const isTitle = (/** @type {Element} */ e) => /^H[1-6]$/.test(e.tagName) || e.classList.contains("title");

/**
 * What cannot be divided, in its order.
 * @param {Element} element
 * @returns {Generator<Element>}
 */
function* leaves(element) {
  for (const child of element.children) {
    if (child.matches(DIVISIBLE)) yield* leaves(child);
    else yield child;
  }
}

/**
 * Moves what reaches below `limit` to the front of `to`, with the headings right above it, and not `first` or what is before.
 * @param {Element} from
 * @param {Element | DocumentFragment} to
 * @param {number} limit
 * @param {Element | undefined} first
 */
function moveBelow(from, to, limit, first) {
  for (const child of [...from.children].reverse()) {
    const { top, bottom, height } = child.getBoundingClientRect();
    const last = [...leaves(child), child].findLast((e) => !e.matches(DIVISIBLE));
    if (height && bottom <= limit && !(last && isTitle(last))) return;
    if (child.matches(DIVISIBLE) && (top < limit || child.contains(first))) {
      const end = /** @type {Element} */ (child.cloneNode(false));
      end.removeAttribute("id");
      moveBelow(child, end, limit, first);
      if (end.childElementCount) to.prepend(end);
      if (child instanceof HTMLOListElement)
        /** @type {HTMLOListElement} */ (end).start = child.start + child.childElementCount;
      if (child.getBoundingClientRect().height) return;
    } else if (child === first || first?.compareDocumentPosition(child) & Node.DOCUMENT_POSITION_PRECEDING) return;
    else if (height) to.prepend(child);
  }
}
