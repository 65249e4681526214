"""The dial: pictures over one setting, with what was measured of it, under one slider. `dial.js` is its other half.

The player shows one sampling step by step; the dial shows the result of many, one for each value of a setting, such as the time
an edit starts from or the guidance weight. All of it is computed beforehand: the page needs no kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from course_lib import validate
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment

MAX_CURVES = 3  # curves that the page can tell apart by dashes


def dial(
    name: str, values: Sequence[float], panels: dict[str, Sequence[Tensor]], curves: dict[str, Sequence[float]]
) -> Fragment:
    """Pictures for each of n rising `values` of the setting `name`, in panels by their titles, and curves by their names.

    A panel is n batches of pictures (B, 1 or 3, H, W) in [-1, 1], of the same B everywhere. A curve is n figures in 0..1, of
    which are None where nothing was measured. Raises ValueError where lengths or shapes differ, values do not rise, or there
    are more than three curves.
    """
    n = len(values)
    if n < 2 or not (np.diff(values) > 0).all():
        raise ValueError(f"values must be two or more that rise, got {list(values)}")
    if not panels or not 1 <= len(curves) <= MAX_CURVES:
        raise ValueError(f"there must be a panel and 1 to {MAX_CURVES} curves, got {len(panels)} and {len(curves)}")
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
    measured = [[title, [v if v is None else round(float(v), 3) for v in row]] for title, row in curves.items()]
    data = {"name": name, "values": [float(v) for v in values], "batch": batch, "curves": measured}
    data["panels"] = [pixels.panel(title, frames.reshape(-1, *frames.shape[2:])) for title, frames in films.items()]
    columns = {
        f"{name} = {values[i]:g}": {title: pixels.frame(frames[i]) for title, frames in films.items()}
        for i in pixels.moments(n)
    }
    return fragment("dial", data, pixels.strip(columns))
