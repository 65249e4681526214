// The network explorer: a map of the network's blocks; the chosen one's feature maps large, at the chosen step of sampling.
// All of it is in `film` (see explorer.py).
import { clamp, clearCanvas, make, pointerOn, stage, tip } from "./page.js";
import { picturePanels } from "./panels.js";

const MORE_HEADS =
  "Click another position (or use the arrow keys), or the marked one (Enter) for the next head; Escape for the maps.";
const MORE_WEIGHTS = " Click the picture, or press Enter on it, to see the attention weights of a position.";

/** @typedef {import("./panels.js").Sheet} Sheet */
/** @typedef {Sheet & { name: string, side: string, block: string, shape: number[] }} Node a block, with its feature maps */
/** @typedef {Sheet & { heads: number, positions: number }} Weights a block's attention, a map for each head and position */

/**
 * @param {HTMLElement} root
 * @param {{ t: number[], nodes: Node[], maps: number, ends: Sheet[], attention: Record<string, Weights> }} film
 */
export async function mount(root, film) {
  const last = film.t.length - 1;
  const first = { now: Math.round(last / 2), chosen: film.nodes.length - 1 };
  let { now, chosen } = first;
  /** @type {[head: number, position: number] | null} */
  let query = null; // whose attention weights are shown, or null: feature maps are shown
  const maps = await picturePanels({ batch: film.maps, panels: film.nodes });
  const ends = await picturePanels({ batch: 1, panels: film.ends });
  /** @type {Record<string, import("./panels.js").Panels>} */
  const weights = {};
  for (const [name, panel] of Object.entries(film.attention))
    weights[name] = await picturePanels({ batch: panel.heads * panel.positions, panels: [panel] });

  // ---------------------------------------------------------------- the page
  const sizes = [...new Set(film.nodes.map(({ shape }) => shape[1]))].sort((a, b) => b - a);
  const times = (/** @type {number[]} */ shape) => shape.join(" × ");
  const boxes = film.nodes.map(({ side, block, shape, name }, k) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const words = `${film.attention[name] ? "◉ " : ""}${times(shape)}`;
    const box = make(
      "button",
      { type: "button", class: `node ${side}`, "aria-label": `${side} ${block}, ${times(shape)}` },
      canvas,
      words,
    );
    box.style.gridRow = String(sizes.indexOf(shape[1]) + 2);
    box.addEventListener("click", () => choose(k));
    return { box, canvas };
  });
  const end = film.ends.map(({ title }) => make("canvas", { role: "img", "aria-label": title }));
  const caption = (/** @type {number} */ k) =>
    make("figure", { class: k ? "decoder" : "encoder" }, end[k], make("figcaption", {}, film.ends[k].title));
  const [input, output] = [caption(0), caption(1)];
  const columns = { encoder: make("div", { class: "side" }, input), decoder: make("div", { class: "side" }, output) };
  film.nodes.forEach(({ side }, k) => (side === "decoder" ? output.after(boxes[k].box) : columns.encoder.append(boxes[k].box)));
  const title = make("p", { class: "title" });
  const large = make("canvas");
  const hint = make("p", { role: "status" });
  const detail = make("div", { class: "detail" }, title, large, hint);
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: now, "aria-label": "Step of the sampler" });
  const status = make("output");
  const isUNet = film.nodes.some(({ side }) => side === "decoder");
  const order = isUNet
    ? "Down on the left, up on the right; a skip connection leads from each block on the left straight across."
    : "The blocks follow each other from the top down. A position is a patch.";
  const help = tip(
    `Choose a block; move the slider through the steps. ${order} Numbers: channels × height × width. ◉ has self-attention.`,
    () => {
      ({ now, chosen } = first);
      choose(chosen);
    },
  );
  root
    .querySelector(".strip")
    .replaceWith(make("div", { class: "net" }, columns.encoder, detail, columns.decoder), slider, status, help);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `${isUNet ? "U-Net" : "Transformer"} explorer`);

  // ---------------------------------------------------------------- drawing
  function draw(/** @type {import("./page.js").Colours} */ colours) {
    end.forEach((canvas, k) => ends.draw(clearCanvas(canvas, colours, ends.ratio(k)), k, now, null));
    boxes.forEach(({ box, canvas }, k) => {
      box.setAttribute("aria-pressed", String(k === chosen));
      maps.draw(clearCanvas(canvas, colours, maps.ratio(k)), k, now, null);
    });
    const { name, side, block, shape } = film.nodes[chosen];
    const attention = film.attention[name];
    title.textContent = `${side} ${block}: ${times(shape)}`;
    large.setAttribute("role", attention ? "application" : "img");
    large.tabIndex = attention ? 0 : -1;
    const ctx = clearCanvas(large, colours, 1);
    if (query && attention) {
      const [head, position] = query;
      large.setAttribute("aria-label", `Attention weights of position ${position} of ${block}, head ${head + 1}`);
      weights[name].draw(ctx, 0, now, head * attention.positions + position);
      mark(ctx, attention, position);
      hint.textContent = `Head ${head + 1} of ${attention.heads}: the marked position's weights, the largest white. ${MORE_HEADS}`;
    } else {
      large.setAttribute("aria-label", `Feature maps of ${block}`);
      maps.draw(ctx, chosen, now, null);
      const count = shape[0] > film.maps ? `The ${film.maps} of ${shape[0]} maps that vary most.` : `All ${shape[0]} maps.`;
      hint.textContent = `${count} Blue is below 0, orange above.${attention ? MORE_WEIGHTS : ""}`;
    }
    const t = film.t[now];
    status.textContent = `t = ${Number.isInteger(t) ? t : t.toPrecision(3)}, step ${now} of ${last}`;
    slider.valueAsNumber = now;
    slider.setAttribute("aria-valuetext", status.textContent);
    Object.assign(root.dataset, { frame: now, node: name, query: query ?? "" });
  }

  /** @type {(ctx: import("./page.js").Context, attention: Weights, position: number) => void} */
  function mark(ctx, attention, position) {
    const side = Math.sqrt(attention.positions);
    const [cell, unit] = [ctx.width / side, ctx.pixelRatio];
    const [x, y] = [(position % side) * cell, Math.floor(position / side) * cell];
    Object.assign(ctx, { strokeStyle: ctx.orange, lineWidth: 5 * unit });
    ctx.strokeRect(x + 3 * unit, y + 3 * unit, cell - 6 * unit, cell - 6 * unit);
  }

  // ---------------------------------------------------------------- moving through it
  function choose(/** @type {number} */ k) {
    [chosen, query] = [k, null];
    view.redraw();
  }
  function seek(/** @type {number} */ i) {
    now = clamp(Math.round(i), 0, last);
    view.redraw();
  }
  const attentionHere = () => film.attention[film.nodes[chosen].name];
  // Shows the weights of a position; of the next head, where its own are shown.
  function ask(/** @type {number} */ at) {
    query = [query && query[1] === at ? (query[0] + 1) % attentionHere().heads : (query?.[0] ?? 0), at];
    view.redraw();
  }
  large.addEventListener("click", (event) => {
    if (!attentionHere()) return;
    const side = Math.sqrt(attentionHere().positions);
    const [column, row] = pointerOn(large, event).map((share) => clamp(Math.floor(share * side), 0, side - 1));
    ask(row * side + column);
  });
  // What a key does to the positions on the large picture; false where it does nothing.
  function keyOnPicture(/** @type {string} */ key) {
    if (!attentionHere()) return false;
    const side = Math.sqrt(attentionHere().positions);
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key] ?? [];
    if (key === "Enter" || key === " ") ask(query?.[1] ?? 0);
    else if (!query || down === undefined) return false;
    else {
      const [row, column] = [Math.floor(query[1] / side) + down, (query[1] % side) + right];
      query = [query[0], clamp(row, 0, side - 1) * side + clamp(column, 0, side - 1)];
    }
    return true;
  }
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === large && keyOnPicture(event.key)) view.redraw();
    else if (event.key === "Escape") query = null;
    else if (event.target !== slider && ["ArrowLeft", "ArrowRight"].includes(event.key))
      seek(now + (event.key === "ArrowRight" ? 1 : -1));
    else return;
    event.stopPropagation(); // or the notebook would use the key as well
    event.preventDefault();
    view.redraw();
  });

  const view = stage(root, draw);
  Object.assign(root, { explorer: { seek, choose, draw: view.draw, frames: last + 1 } }); // for the console, and for tests
}
