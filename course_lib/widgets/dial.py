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
    validate.instance("name", name, str)
    n = len(values := [validate.finite("values", value) for value in validate.instance("values", values, Sequence, np.ndarray)])
    if n < 2 or not (np.diff(values) > 0).all():
        raise ValueError(f"values must be two or more that rise, got {values}")
    if not 1 <= len(validate.instance("curves", curves, dict)) <= MAX_CURVES:
        raise ValueError(f"curves must be 1 to {MAX_CURVES}, got {len(curves)}")
    if not validate.instance("panels", panels, dict):
        raise ValueError("panels must hold at least one, got none")
    for title, measured in curves.items():
        if len(measured) != n:
            raise ValueError(f"curves[{title!r}] must hold {n} figures in 0..1, got {len(measured)}")
        for v in measured:
            validate.finite(f"curves[{title!r}]", 0 if v is None else v, 0, 1)
    batch, films = None, {}
    for title, pictures in panels.items():
        if len(pictures) != n:
            raise ValueError(f"panels[{title!r}] must hold a batch for each of {n} values, got {len(pictures)}")
        for x in pictures:
            batch = len(validate.batch(f"panels[{title!r}]", x)) if batch is None else batch
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
