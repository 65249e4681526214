// What all widgets of the course share: elements, canvases, colours, dragging, and a stage that draws while a widget is on the
// page.

/** @typedef {{ ink: string, blue: string, orange: string }} Colours the page's text colour, and two that stand out beside it */
/** @typedef {CanvasRenderingContext2D & Colours & { width: number, height: number, pixelRatio: number }} Context */
/** @typedef {HTMLElement & { dataset: DOMStringMap }} Root the container of a widget */

/**
 * `value`, or the nearest end of low..high.
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * The member of a batch that comes after `chosen`: from all (null) to the first, and from the last to all.
 * @param {number | null} chosen
 * @param {number} batch
 */
export const after = (chosen, batch) => (chosen === batch - 1 ? null : (chosen ?? -1) + 1);

/**
 * A new element with its attributes and children.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * The bytes that a string of base64 encodes.
 * @param {string} text
 */
export function decodeBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * The page's own text colour and two colours of Okabe and Ito that stand out on its background. A light text colour means a
 * dark page, whatever the page calls its theme. Computed anew for each drawing, since a reader can switch.
 * @param {HTMLElement} root
 * @returns {Colours}
 */
function theme(root) {
  const ink = getComputedStyle(root).color;
  const [r, g, b] = ink.match(/[\d.]+/g).map(Number);
  const dark = r + g + b > 384;
  root.classList.toggle("dark", dark);
  root.style.colorScheme = dark ? "dark" : "light";
  return dark ? { ink, blue: "#56B4E9", orange: "#E69F00" } : { ink, blue: "#0072B2", orange: "#D55E00" };
}

/**
 * Makes a canvas empty and as sharp as the screen, and returns its context, with its size in pixels of the screen, how many of
 * them make one pixel of the page, and the theme.
 * @param {HTMLCanvasElement} canvas
 * @param {Colours} colours
 * @param {number} [ratio] height over width; without it the style decides
 * @returns {Context}
 */
export function clearCanvas(canvas, colours, ratio) {
  const pixelRatio = (devicePixelRatio || 1) * (canvas.currentCSSZoom || 1); // slides enlarge all of themselves
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * pixelRatio));
  canvas.height = Math.round(ratio ? canvas.width * ratio : canvas.clientHeight * pixelRatio);
  return Object.assign(canvas.getContext("2d"), { width: canvas.width, height: canvas.height, pixelRatio, ...colours });
}

/**
 * Writes text with its baseline at (x, y).
 * @param {Context} ctx
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {CanvasTextAlign} textAlign
 */
export function drawText(ctx, text, x, y, textAlign = "left") {
  ctx.font = `600 ${17 * ctx.pixelRatio}px system-ui, sans-serif`;
  Object.assign(ctx, { textAlign, fillStyle: ctx.ink }).fillText(text, x, y, ctx.width * 0.9);
}

/**
 * Where on the element the pointer is, 0 to 1 across and down: pixels would be others where slides enlarge it.
 * @param {Element} element
 * @param {MouseEvent} event
 * @returns {[across: number, down: number]}
 */
export function pointerOn(element, { clientX, clientY }) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return [(clientX - left) / width, (clientY - top) / height];
}

/**
 * Calls move(event, down) while `element` is dragged, and tap(event) where it was only clicked. A finger that swipes across it
 * scrolls the page (shared.css), except where grabs(touch) is true: from there it drags in both directions.
 * @param {HTMLElement} element
 * @param {(event: PointerEvent, down: PointerEvent) => void} move
 * @param {(event: PointerEvent) => void} tap
 * @param {(touch: { clientX: number, clientY: number }) => boolean} [grabs]
 */
export function drag(element, move, tap = () => {}, grabs = undefined) {
  if (grabs)
    element.addEventListener("touchstart", (event) => grabs(event.touches[0]) && event.preventDefault(), { passive: false });
  element.addEventListener("pointerdown", (down) => {
    let moved = false;
    const scrolls = grabs && down.pointerType === "touch" && !grabs(down);
    element.setPointerCapture(down.pointerId);
    element.onpointermove = (event) => {
      moved ||= Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) > 4;
      if (scrolls) return;
      if (moved) move(event, down);
    };
    element.onpointerup = element.onpointercancel = (event) => {
      element.onpointermove = element.onpointerup = element.onpointercancel = null;
      if (!moved && event.type === "pointerup") tap(event);
    };
  });
}

// An element that has an event when it enters and when it leaves the document, which no other element has.
const PRESENCE = "course-presence";

/**
 * Calls `enter` now and `leave` when root leaves the document, by itself or with its container; and again, where a notebook
 * takes a cell out of the page while it is out of sight, and puts it back.
 * @param {HTMLElement} root
 * @param {() => void} enter
 * @param {() => void} leave
 */
export function watchPresence(root, enter, leave) {
  if (!customElements.get(PRESENCE))
    customElements.define(
      PRESENCE,
      class extends HTMLElement {
        connectedCallback() {
          this.dispatchEvent(new Event("enter"));
        }
        disconnectedCallback() {
          this.dispatchEvent(new Event("leave"));
        }
      },
    );
  const presence = document.createElement(PRESENCE);
  presence.hidden = true;
  presence.addEventListener("enter", enter);
  presence.addEventListener("leave", leave);
  root.append(presence);
}

/**
 * Draws `root` now, and whenever its size or the reader's theme changes, as long as it is in the document. When it leaves,
 * frames stop, and listeners and observers of anything outside root are removed; when it comes back, they are there again.
 * @param {HTMLElement} root
 * @param {(colours: Colours) => void} draw
 * @param {() => void} ended called when root leaves: what the widget itself must end, such as workers
 */
export function stage(root, draw, ended = () => {}) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const observer = new ResizeObserver(drawNow);
  let waiting = 0; // the request to draw, if one is waiting
  let playing = 0; // the request for the next frame of an animation
  let stopped = () => {};

  function drawNow() {
    cancelAnimationFrame(waiting);
    waiting = 0;
    if (root.isConnected) draw(theme(root));
  }

  // Draws in the screen's next frame: several changes between two frames are drawn once.
  function redraw() {
    if (root.isConnected) waiting ||= requestAnimationFrame(drawNow);
  }

  /**
   * Calls frame(time) at each frame of the screen until it returns false or `stop` is called, and then done().
   * @param {(time: number) => boolean} frame
   * @param {() => void} done
   */
  function animate(frame, done = () => {}) {
    stop();
    stopped = done;
    const tick = (/** @type {number} */ time) => {
      playing = requestAnimationFrame(tick);
      if (!frame(time)) stop();
    };
    playing = requestAnimationFrame(tick);
  }

  function stop() {
    if (!playing) return;
    cancelAnimationFrame(playing);
    playing = 0;
    stopped();
  }

  watchPresence(
    root,
    () => {
      observer.observe(root); // which draws
      dark.addEventListener("change", drawNow);
    },
    () => {
      observer.disconnect();
      dark.removeEventListener("change", drawNow);
      cancelAnimationFrame(waiting);
      waiting = 0;
      stop();
      ended();
    },
  );
  return { draw: drawNow, redraw, animate, stop, playing: () => playing > 0 };
}

/**
 * The line under a widget: what to drag, what marks and units mean, and a button that puts all back.
 * @param {string} words
 * @param {() => void} [reset]
 */
export function tip(words, reset) {
  const line = make("p", { class: "tip" }, words);
  if (!reset) return line;
  const button = make("button", { type: "button" }, "Reset");
  button.addEventListener("click", reset);
  line.append(" ", button);
  return line;
}

/**
 * Keeps the keys that are pressed inside root from the notebook, which has shortcuts of its own.
 * @param {HTMLElement} root
 */
export function keepKeys(root) {
  root.addEventListener("keydown", (event) => event.stopPropagation());
}
