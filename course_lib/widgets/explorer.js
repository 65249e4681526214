// The U-Net explorer: a map of the network's blocks; the chosen one's feature maps large, at the chosen step of sampling.
// All of it is in `film` (see explorer.py). Sheets of pictures are drawn by painters.js.

async function mount(root, film) {
  const last = film.t.length - 1;
  let now = Math.round(last / 2);
  let chosen = film.nodes.length - 1;
  let place = null; // [head, place] that looks, or null: feature maps are shown
  let drawing = 0;
  const maps = await pictures({ batch: film.maps, panels: film.nodes });
  const ends = await pictures({ batch: 1, panels: film.ends });
  const looks = {};
  for (const [name, panel] of Object.entries(film.looks))
    looks[name] = await pictures({ batch: panel.heads * panel.places, panels: [panel] });

  // ---------------------------------------------------------------- the page
  const sizes = [...new Set(film.nodes.map(({ shape }) => shape[1]))].sort((a, b) => b - a);
  const times = (shape) => shape.join(" × ");
  const boxes = film.nodes.map(({ side, block, shape, name }, k) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const words = `${film.looks[name] ? "◉ " : ""}${times(shape)}`;
    const box = make("button", { type: "button", class: `node ${side}`, "aria-label": `${side} ${block}, ${times(shape)}` }, canvas, words);
    box.style.gridRow = sizes.indexOf(shape[1]) + 2;
    box.addEventListener("click", () => choose(k));
    return { box, canvas };
  });
  const end = film.ends.map(({ title }) => make("canvas", { role: "img", "aria-label": title }));
  const caption = (k) => make("figure", { class: k ? "decoder" : "encoder" }, end[k], make("figcaption", {}, film.ends[k].title));
  const columns = { encoder: make("div", { class: "side" }, caption(0)), decoder: make("div", { class: "side" }, caption(1)) };
  film.nodes.forEach(({ side }, k) => (side === "decoder" ? columns.decoder.firstChild.after(boxes[k].box) : columns.encoder.append(boxes[k].box)));
  const title = make("h4");
  const large = make("canvas", { role: "img" });
  const hint = make("p");
  const detail = make("div", { class: "detail" }, title, large, hint);
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: now, "aria-label": "Step of the sampler" });
  const output = make("output");
  const skip = make("p", { class: "skip" }, "Down on the left, up on the right; from each block on the left a skip connection goes straight across. ◉ has self-attention.");
  root.querySelector(".strip").replaceWith(
    make("div", { class: "net" }, columns.encoder, detail, columns.decoder), slider, output, skip,
  );
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "U-Net explorer");

  // ---------------------------------------------------------------- drawing
  function draw() {
    cancelAnimationFrame(drawing);
    drawing = 0;
    const colours = theme(root);
    end.forEach((canvas, k) => ends.draw(wipe(canvas, colours, ends.ratio(k)), k, now, null));
    boxes.forEach(({ box, canvas }, k) => {
      box.setAttribute("aria-pressed", k === chosen);
      maps.draw(wipe(canvas, colours, maps.ratio(k)), k, now, null);
    });
    const { name, side, block, shape } = film.nodes[chosen];
    const look = film.looks[name];
    title.textContent = `${side} ${block}: ${times(shape)}`;
    const pen = wipe(large, colours, 1);
    if (place && look) {
      large.setAttribute("aria-label", `Where place ${place[1]} of ${block} looks, head ${place[0] + 1}`);
      looks[name].draw(pen, 0, now, place[0] * look.places + place[1]);
      mark(pen, look, place[1]);
      hint.textContent = `Head ${place[0] + 1} of ${look.heads}: how the marked place looks at all places, white most. Click another, or its own place for the next head; Escape for the maps.`;
    } else {
      large.setAttribute("aria-label", `Feature maps of ${block}`);
      maps.draw(pen, chosen, now, null);
      const count = shape[0] > film.maps ? `The ${film.maps} of ${shape[0]} maps that vary most.` : `All ${shape[0]} maps.`;
      hint.textContent = `${count} Blue is below 0, orange above.${look ? " Click the picture to see where a place looks." : ""}`;
    }
    const t = film.t[now];
    output.textContent = `t = ${Number.isInteger(t) ? t : t.toPrecision(3)}, step ${now} of ${last}`;
    slider.value = now;
    slider.setAttribute("aria-valuetext", output.textContent);
    Object.assign(root.dataset, { frame: now, node: name, place: place ?? "" });
  }

  function mark(pen, look, at) {
    const side = Math.sqrt(look.places);
    const cell = pen.width / side;
    Object.assign(pen, { strokeStyle: pen.orange, lineWidth: 5 * pen.unit });
    pen.strokeRect((at % side) * cell + 3 * pen.unit, Math.floor(at / side) * cell + 3 * pen.unit, cell - 6 * pen.unit, cell - 6 * pen.unit);
  }

  // ---------------------------------------------------------------- moving through it
  const later = () => (drawing ||= requestAnimationFrame(draw));
  function choose(k) {
    [chosen, place] = [k, null];
    later();
  }
  function seek(i) {
    now = clamp(Math.round(i), 0, last);
    later();
  }
  large.addEventListener("click", ({ offsetX, offsetY }) => {
    const look = film.looks[film.nodes[chosen].name];
    if (!look) return;
    const side = Math.sqrt(look.places);
    const cell = (offset, length) => clamp(Math.floor((offset / length) * side), 0, side - 1);
    const at = cell(offsetY, large.clientHeight) * side + cell(offsetX, large.clientWidth);
    place = [place && place[1] === at ? (place[0] + 1) % look.heads : (place?.[0] ?? 0), at];
    later();
  });
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const look = film.looks[film.nodes[chosen].name];
    if (event.key === "Escape") place = null;
    else if (event.key === "a" && look) place = place ? [place[0], (place[1] + 1) % look.places] : [0, 0];
    else if (event.target !== slider) {
      if (["ArrowLeft", "ArrowRight"].includes(event.key)) seek(now + (event.key === "ArrowRight" ? 1 : -1));
      else return;
    } else return;
    event.stopPropagation(); // or the notebook takes the key as well
    event.preventDefault();
    later();
  });

  root.explorer = { seek, choose, draw, frames: last + 1 }; // for the console, and for tests
  new ResizeObserver(draw).observe(root); // draws now, and whenever the width changes
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
