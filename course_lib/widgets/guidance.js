// The guidance explorer where no kernel is: shows one panel of the sheet (see guidance.py), the one whose w the slider names,
// and moves the mark on the trade-off curve, where there is one.
import { serveLive } from "./live.js";
import { keepKeys, make, stage, tip } from "./page.js";

const NARROW = 560; // pixels of the widget's width under which a row of pictures takes two

/**
 * @typedef {object} Samples
 * @property {number[]} ws
 * @property {number} start index of the first w that is shown
 * @property {string} caption
 * @property {string} alt
 * @property {number[]} presets
 * @property {[x: number, y: number][] | null} marks
 * @property {number} title height of a panel's title, which the caption says as well
 * @property {number} row height of a row of its pictures, with their names
 */

/**
 * @param {HTMLElement} root
 * @param {Samples} data
 */
export async function mount(root, { ws, start, caption, alt, presets, marks, title, row }) {
  const sheet = root.querySelector("img");
  const mark = root.querySelector(".mark");
  await sheet.decode();
  const [width, height] = [sheet.naturalWidth / 2, sheet.naturalHeight / Math.ceil(ws.length / 2)];
  const rows = Math.floor((height - title) / row);
  const canvas = make("canvas", { role: "img" });
  const slider = make("input", { type: "range", min: 0, max: ws.length - 1, value: start, "aria-label": "Guidance w" });
  const status = make("p", { class: "caption", role: "status" });
  const buttons = presets.map((w) => make("button", { type: "button" }, `w = ${w}`));

  function draw() {
    const i = slider.valueAsNumber;
    const parts = root.clientWidth < NARROW ? 2 : 1; // of a row, which stand under each other
    const wide = width / parts;
    Object.assign(canvas, { width: wide, height: rows * parts * row });
    for (let k = 0; k < rows * parts; k++) {
      const [x, y] = [(i % 2) * width + (k % parts) * wide, Math.floor(i / 2) * height + title + Math.floor(k / parts) * row];
      canvas.getContext("2d").drawImage(sheet, x, y, wide, row, 0, k * row, wide, row);
    }
    canvas.setAttribute("aria-label", `${alt}, at w = ${ws[i]}`);
    slider.setAttribute("aria-valuetext", `w = ${ws[i]}`);
    status.textContent = `w = ${ws[i]}, ${caption}`;
    if (mark) ["cx", "cy"].forEach((axis, k) => mark.setAttribute(axis, String(marks[i][k])));
  }

  sheet.replaceWith(make("div", { class: "stage" }, status, canvas, slider, make("div", { class: "buttons" }, ...buttons)));
  const help = "Drag w, the guidance weight: 0 is without guidance. The noise stays the same.";
  root.append(
    tip(
      `${help}${mark ? " Ring: this w on the curve." : ""} In a notebook, run this cell to move the steps and the seed, too.`,
      () => {
        slider.valueAsNumber = start;
        draw();
      },
    ),
  );
  slider.addEventListener("input", draw);
  buttons.forEach((button, k) =>
    button.addEventListener("click", () => {
      slider.valueAsNumber = ws.indexOf(presets[k]);
      draw();
    }),
  );
  keepKeys(root);
  serveLive(root);
  draw();
  stage(root, draw);
}
