// A board of a few squares to draw one shape on (see sketch.py). The drawing goes as text to the text box of the live widget
// beside it, from which the kernel reads it.
import { clamp, clearCanvas, keepKeys, make, pointerOn, stage, tip } from "./page.js";

/**
 * @param {HTMLElement} root
 * @param {{ drawing: string }} data rows of `#`, which is drawn, and `.`, with a space between
 */
export function mount(root, { drawing }) {
  const side = drawing.indexOf(" ");
  /** @type {boolean[][]} */
  let squares = [];
  let [column, row] = [side >> 1, side >> 1]; // where the pen is
  const board = make("canvas", { class: "board", tabindex: 0, role: "application" });
  const status = make("output");
  const clear = make("button", { type: "button" }, "Clear");
  const help = tip(
    "Draw with the mouse or a finger; begin on a drawn square to erase. Arrow keys move the pen, and space draws or erases.",
    () => set(drawing),
  );
  help.append(" ", clear);
  root.querySelector(".strip").replaceWith(board, status, help);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Draw a shape");

  const text = () => squares.map((line) => line.map((drawn) => ".#"[Number(drawn)]).join("")).join(" ");

  function set(/** @type {string} */ rows) {
    squares = rows.split(" ").map((line) => [...line].map((letter) => letter === "#"));
    send();
  }

  // The text box is on the page where a kernel is. Its events are those of typing.
  function send() {
    const scope = root.closest(".jp-OutputArea") ?? document.body;
    const box = /** @type {HTMLInputElement | null} */ (scope.querySelector(`.live-${root.dataset.widget} input`));
    if (box && box.value !== text()) {
      box.value = text();
      for (const type of ["input", "change"]) box.dispatchEvent(new Event(type, { bubbles: true }));
    }
    view.redraw();
  }

  function draw(/** @type {import("./page.js").Colours} */ colours) {
    const ctx = clearCanvas(board, colours, 1);
    const size = ctx.width / side;
    squares.forEach((line, j) =>
      line.forEach((drawn, i) => {
        Object.assign(ctx, { fillStyle: drawn ? ctx.blue : ctx.ink, globalAlpha: drawn ? 1 : 0.08 });
        ctx.fillRect(i * size + 1, j * size + 1, size - 2, size - 2);
      }),
    );
    Object.assign(ctx, { globalAlpha: 1, strokeStyle: ctx.orange, lineWidth: 4 * ctx.pixelRatio });
    if (document.activeElement === board) ctx.strokeRect(column * size + 2, row * size + 2, size - 4, size - 4);
    const count = squares.flat().filter(Boolean).length;
    status.textContent = `${count} of ${side * side} squares drawn`;
    board.setAttribute("aria-label", `Board: ${status.textContent}; pen at column ${column + 1}, row ${row + 1}`);
    root.dataset.drawing = text();
  }

  const move = (/** @type {number} */ i, /** @type {number} */ j) =>
    ([column, row] = [clamp(i, 0, side - 1), clamp(j, 0, side - 1)]);
  function moveUnder(/** @type {PointerEvent} */ event) {
    const [across, down] = pointerOn(board, event);
    move(Math.floor(across * side), Math.floor(down * side));
  }

  board.addEventListener("pointerdown", (event) => {
    board.setPointerCapture(event.pointerId);
    moveUnder(event);
    const ink = !squares[row][column];
    squares[row][column] = ink;
    board.onpointermove = (moved) => {
      const [i, j] = [column, row];
      moveUnder(moved);
      const n = Math.max(1, Math.abs(column - i), Math.abs(row - j)); // a fast stroke skips no square
      for (let k = 1; k <= n; k++) squares[Math.round(j + ((row - j) * k) / n)][Math.round(i + ((column - i) * k) / n)] = ink;
      send();
    };
    send();
  });
  for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, () => (board.onpointermove = null));
  board.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const [i, j] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === " ") squares[row][column] = !squares[row][column];
    else if (!i && !j) return;
    move(column + i, row + j);
    event.preventDefault();
    send();
  });
  for (const type of ["focus", "blur"]) board.addEventListener(type, () => view.redraw());
  clear.addEventListener("click", () => set(Array(side).fill(".".repeat(side)).join(" ")));
  keepKeys(root);

  const view = stage(root, draw);
  set(drawing);
  view.draw();
}
