// What all widgets of the course share: elements, canvases, colours and dragging.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// The page's own ink and two colours (Okabe and Ito) that stand out on its paper. Light ink means a dark host, whatever that
// host calls its theme; asked anew for each drawing, since a reader may switch.
function theme(root) {
  const ink = getComputedStyle(root).color;
  const [r, g, b] = ink.match(/[\d.]+/g).map(Number);
  const dark = r + g + b > 384;
  root.classList.toggle("dark", dark);
  root.style.colorScheme = dark ? "dark" : "light";
  return dark ? { ink, blue: "#56B4E9", orange: "#E69F00" } : { ink, blue: "#0072B2", orange: "#D55E00" };
}

// Makes a canvas as sharp as the screen and empty, and gives its pen, which knows the size in pixels of the screen, `unit`,
// how many of them make one of the page, and the theme. `ratio` is height over width; without it the style decides.
function wipe(canvas, colours, ratio) {
  const unit = devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * unit));
  canvas.height = Math.round(ratio ? canvas.width * ratio : canvas.clientHeight * unit);
  return Object.assign(canvas.getContext("2d"), { width: canvas.width, height: canvas.height, unit, ...colours });
}

function write(pen, text, x, y, textAlign = "left") {
  pen.font = `600 ${17 * pen.unit}px system-ui, sans-serif`;
  Object.assign(pen, { textAlign, fillStyle: pen.ink }).fillText(text, x, y, pen.width * 0.9);
}

// Calls move(event, down) while `element` is dragged, and tap(event) where it was only clicked.
function drag(element, move, tap = () => {}) {
  element.addEventListener("pointerdown", (down) => {
    let moved = false;
    element.setPointerCapture(down.pointerId);
    element.onpointermove = (event) => {
      moved ||= Math.abs(event.clientX - down.clientX) > 4;
      if (moved) move(event, down);
    };
    element.onpointerup = element.onpointercancel = (event) => {
      element.onpointermove = element.onpointerup = element.onpointercancel = null;
      if (!moved && event.type === "pointerup") tap(event);
    };
  });
}
