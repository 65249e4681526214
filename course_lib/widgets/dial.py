"""The dial: pictures over one setting, with what was measured of it, under one slider. `dial.js` is its other half.

Where the player shows one sampling from step to step, the dial shows its end, again and again, for another value of one knob:
the time an edit starts from, the weight of a guidance. All is made beforehand; the page asks nobody.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from course_lib import validate
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment

MOMENTS = 6  # in the strip of pictures that stands where no script runs
MOST = 3  # curves, each with a look of its own


def dial(
    name: str, values: Sequence[float], panels: dict[str, Sequence[Tensor]], curves: dict[str, Sequence[float]]
) -> Fragment:
    """Pictures for each of n rising `values` of the setting `name`, in panels by their titles, and curves by their names.

    A panel is n batches of pictures (B, 1 or 3, H, W) in [-1, 1], of the same B everywhere. A curve is n figures in 0..1, of
    which None stands where nothing was measured. Raises ValueError where lengths or shapes differ, values do not rise, or there
    are more than three curves.
    """
    n = len(values)
    if n < 2 or not (np.diff(values) > 0).all():
        raise ValueError(f"values must be two or more that rise, got {list(values)}")
    if not panels or not 1 <= len(curves) <= MOST:
        raise ValueError(f"there must be a panel and 1 to {MOST} curves, got {len(panels)} and {len(curves)}")
    for title, measured in curves.items():
        if len(measured) != n or not all(v is None or 0 <= v <= 1 for v in measured):
            raise ValueError(f"curves[{title!r}] must hold {n} figures in 0..1, got {list(measured)}")
    batch, films = len(next(iter(panels.values()))[0]), {}
    for title, pictures in panels.items():
        if len(pictures) != n:
            raise ValueError(f"panels[{title!r}] must hold a batch for each of {n} values, got {len(pictures)}")
        for x in pictures:
            validate.batch(f"panels[{title!r}]", x)
            if x.ndim != 4 or x.shape[1] not in (1, 3) or x.shape != pictures[0].shape or len(x) != batch:
                raise ValueError(f"panels[{title!r}] must be {batch} pictures (1 or 3, H, W) each, got shape {tuple(x.shape)}")
        films[title] = np.stack([pixels.shades(x, signed=False) for x in pictures])
    data = {"name": name, "values": [float(v) for v in values], "batch": batch, "panels": []}
    data["curves"] = [[title, [v if v is None else round(float(v), 3) for v in measured]] for title, measured in curves.items()]
    for title, frames in films.items():
        sheet, columns = pixels.sheet(frames.reshape(-1, *frames.shape[2:]))
        panel = {"title": title, "columns": columns, "png": pixels.text(pixels.png(sheet))}
        data["panels"].append(panel | dict(zip(("height", "width"), frames.shape[2:4])))
    return fragment("dial", data, _strip(name, values, films), "painters.js")


def _strip(name: str, values: Sequence[float], films: dict[str, np.ndarray]) -> str:
    """MOMENTS of the values as plain pictures, each with its words."""
    figures = []
    for i in np.unique(np.linspace(0, len(values) - 1, MOMENTS).round().astype(int)).tolist():
        at = html.escape(f"{name} = {values[i]:g}")
        images = ""
        for title, frames in films.items():
            png = pixels.text(pixels.png(pixels.sheet(frames[i], gap=1)[0]))
            images += f'<img src="data:image/png;base64,{png}" width="128" alt="{html.escape(title)}, at {at}"><br>'
        figures.append(f'<figure style="display:inline-block;margin:4px">{images}<figcaption>{at}</figcaption></figure>')
    return f'<div class="strip">{"".join(figures)}<p>From top to bottom: {html.escape("; ".join(films))}.</p></div>'
