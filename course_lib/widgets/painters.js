// What the player's panels show: two kinds of film, pictures and points.
// Each gives ratio(k), the shape of panel k; draw(pen, k, i, chosen), frame i in it; hit(k, i, x, y, canvas), what lies there.

const COLOURS = ["#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#0072B2"]; // Okabe and Ito, for followed points

async function pictures(film) {
  const { batch } = film;
  const columns = Math.ceil(Math.sqrt(batch));
  const rows = Math.ceil(batch / columns);
  const decode = ({ png }) => createImageBitmap(new Blob([bytes(png)], { type: "image/png" }));
  const sheets = await Promise.all(film.panels.map(decode));
  const ratio = (k) => (rows * film.panels[k].height) / (columns * film.panels[k].width);

  function draw(pen, k, i, chosen) {
    const { width, height, columns: across } = film.panels[k];
    const [wide, high] = chosen === null ? [pen.width / columns, pen.height / rows] : [pen.width, pen.height];
    const fit = Math.min((wide - 2 * pen.unit) / width, (high - 2 * pen.unit) / height);
    const scale = fit > 2 ? Math.floor(fit) : fit; // whole screen pixels for each pixel: all are equally large
    pen.imageSmoothingEnabled = false;
    for (let b = 0; b < batch; b++) {
      if (chosen !== null && b !== chosen) continue;
      const [column, row] = chosen === null ? [b % columns, Math.floor(b / columns)] : [0, 0];
      const at = i * batch + b; // pictures lie on the sheet in reading order
      pen.drawImage(
        sheets[k], (at % across) * width, Math.floor(at / across) * height, width, height,
        Math.round((column + 0.5) * wide - (scale * width) / 2), Math.round((row + 0.5) * high - (scale * height) / 2),
        scale * width, scale * height,
      );
    }
  }

  function hit(k, i, x, y, canvas) {
    const b = Math.floor((y / canvas.height) * rows) * columns + Math.floor((x / canvas.width) * columns);
    return b < batch ? b : null;
  }
  return { ratio, draw, hit };
}

function points(film) {
  const { batch, grid } = film;
  const array = (text) => new Uint16Array(bytes(text).buffer);
  const [x, x0, at, arrows] = [film.x, film.x0, film.at, film.arrows].map(array);
  const fixed = at.length === 2 * grid; // one grid for all frames
  const everyone = Array.from({ length: batch }, (_, b) => b);
  // The few that are followed lie evenly from the lowest to the highest at the end, so that no part of the data is left out.
  const byHeight = [...everyone].sort((b, c) => x.at(-2 * batch + 2 * b + 1) - x.at(-2 * batch + 2 * c + 1));
  const few = COLOURS.map((_, j) => byHeight[Math.floor(((j + 0.5) * batch) / COLOURS.length)]);
  const unpack = (value) => (value / 65535) * 4 - 2; // -1 to 1 is what is shown
  // The place of member b of frame i of an array, in pixels; y points upwards.
  const spot = (pen, from, i, b, of = batch) => {
    const start = 2 * (i * of + b);
    return [((1 + unpack(from[start])) / 2) * pen.width, ((1 - unpack(from[start + 1])) / 2) * pen.height];
  };

  function dots(pen, from, i, members, radius, colour) {
    pen.beginPath();
    for (const b of members) {
      const [px, py] = spot(pen, from, i, b);
      pen.moveTo(px + radius, py);
      pen.arc(px, py, radius, 0, 7);
    }
    Object.assign(pen, { fillStyle: colour }).fill();
  }

  function paths(pen, from, i, members) {
    const stride = Math.max(1, Math.ceil(i / 60)); // a long path needs no more corners than this
    pen.beginPath();
    for (const b of members) {
      pen.moveTo(...spot(pen, from, 0, b));
      for (let j = stride; j < i; j += stride) pen.lineTo(...spot(pen, from, j, b));
      pen.lineTo(...spot(pen, from, i, b));
    }
    pen.stroke();
  }

  function field(pen, i) {
    const longest = pen.width / (fixed ? Math.sqrt(grid) : 12);
    for (let b = 0; b < grid; b++) {
      const start = 2 * (i * grid + b);
      const [dx, dy] = [unpack(arrows[start]), -unpack(arrows[start + 1])]; // 1 is two standard deviations of noise
      const length = Math.hypot(dx, dy);
      if (length < 0.02) continue;
      const size = (longest * Math.tanh(length)) / length; // long ones end at the next arrow, weak ones fade
      const [px, py] = spot(pen, at, fixed ? 0 : i, b, grid);
      const [tx, ty] = [px + dx * size, py + dy * size];
      const [hx, hy] = [(tx - px) * 0.35, (ty - py) * 0.35];
      pen.globalAlpha = 0.15 + 0.85 * Math.tanh(length);
      pen.beginPath();
      pen.moveTo(px, py);
      pen.lineTo(tx, ty);
      pen.moveTo(tx - hx - hy * 0.6, ty - hy + hx * 0.6);
      pen.lineTo(tx, ty);
      pen.lineTo(tx - hx + hy * 0.6, ty - hy - hx * 0.6);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  function draw(pen, k, i, chosen) {
    const unit = clamp(pen.width / 340, 0.5 * pen.unit, pen.unit); // small panels have small points
    const followed = chosen === null ? few : [chosen];
    const shown = k === 1 ? x0 : x;
    Object.assign(pen, { lineJoin: "round", lineCap: "round", strokeStyle: pen.ink, lineWidth: unit });
    const traced = k === 0 || film.overTime;
    if (traced) {
      pen.globalAlpha = 0.15;
      paths(pen, shown, i, everyone.slice(0, 150));
    }
    pen.globalAlpha = k === 2 ? 0.4 : 0.65;
    dots(pen, shown, i, everyone, (k === 2 ? 2 : 3) * unit, k === 2 ? pen.ink : pen.blue);
    pen.globalAlpha = 1;
    if (k === 2) {
      Object.assign(pen, { strokeStyle: pen.blue, lineWidth: 2 * unit });
      return field(pen, i);
    }
    followed.forEach((b, j) => {
      Object.assign(pen, { strokeStyle: COLOURS[j], lineWidth: 3.5 * unit });
      if (traced) paths(pen, shown, i, [b]);
      else { // what the denoiser believes of this point: a line from where it is to where it is thought to come from
        pen.beginPath();
        pen.moveTo(...spot(pen, x, i, b));
        pen.lineTo(...spot(pen, x0, i, b));
        pen.stroke();
      }
      dots(pen, shown, i, [b], 8 * unit, pen.ink);
      dots(pen, shown, i, [b], 6 * unit, COLOURS[j]);
    });
  }

  function hit(k, i, px, py, canvas) {
    const apart = (b) => Math.hypot(...spot(canvas, k === 1 ? x0 : x, i, b).map((value, axis) => value - [px, py][axis]));
    return everyone.reduce((best, b) => (apart(b) < apart(best) ? b : best));
  }
  return { ratio: () => 1, draw, hit };
}
