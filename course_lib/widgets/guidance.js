// The guidance slider where no kernel is: shows one panel of the sheet (see guidance.py), the one whose w the slider names.

async function mount(root, { ws, start, caption, alt }) {
  const sheet = root.querySelector("img");
  await sheet.decode();
  const [width, height] = [sheet.naturalWidth / 2, sheet.naturalHeight / Math.ceil(ws.length / 2)];
  const canvas = make("canvas", { role: "img", width, height });
  const slider = make("input", { type: "range", min: 0, max: ws.length - 1, value: start, "aria-label": "Guidance w" });
  const words = make("p", { class: "caption", role: "status" });

  function draw() {
    const i = slider.valueAsNumber;
    canvas.getContext("2d").drawImage(sheet, (i % 2) * width, Math.floor(i / 2) * height, width, height, 0, 0, width, height);
    canvas.setAttribute("aria-label", `${alt}, at w = ${ws[i]}`);
    slider.setAttribute("aria-valuetext", `w = ${ws[i]}`);
    words.textContent = `w = ${ws[i]}, ${caption}`;
    theme(root);
  }

  sheet.replaceWith(words, canvas, slider);
  slider.addEventListener("input", draw);
  slider.addEventListener("keydown", (event) => event.stopPropagation()); // or the notebook takes the key as well
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}
