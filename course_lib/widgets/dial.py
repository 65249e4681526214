"""The dial: pictures over one setting, with what was measured of it, under one slider. `dial.js` is its other half.

The player shows one sampling step by step; the dial shows the result of many, one for each value of a setting, such as the time
an edit starts from or the guidance weight. All of it is computed beforehand: the page needs no kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from course_lib import validate
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment

MAX_CURVES = 3  # curves that the page can tell apart by dashes


@dataclass(frozen=True)
class Chart:
    """Curves by their names over the dial's n values, on a scale from `low` to `high`: each n figures, or None for no figure.

    Raises ValueError for none or more than three curves, and for figures outside of the scale.
    """

    curves: Mapping[str, Sequence[float | None]]
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if not 1 <= len(validate.instance("curves", self.curves, Mapping)) <= MAX_CURVES:
            raise ValueError(f"curves must be 1 to {MAX_CURVES}, got {len(self.curves)}")
        if validate.finite("low", self.low) >= validate.finite("high", self.high):
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        for title, figures in self.curves.items():
            for v in figures:
                validate.finite(f"curves[{title!r}]", self.low if v is None else v, self.low, self.high)

    def of(self, n: int) -> dict:
        """What the page draws. Raises ValueError unless each curve has n figures."""
        for title, figures in self.curves.items():
            if len(figures) != n:
                raise ValueError(f"curves[{title!r}] must hold {n} figures in {self.low:g}..{self.high:g}, got {len(figures)}")
        rounded = [[title, [v if v is None else round(float(v), 3) for v in row]] for title, row in self.curves.items()]
        return {"low": self.low, "high": self.high, "curves": rounded}


def dial(
    name: str,
    values: Sequence[float],
    panels: dict[str, Sequence[Tensor]],
    curves: dict[str, Sequence[float | None]] | Sequence[Chart],
) -> Fragment:
    """Pictures for each of n rising `values` of the setting `name`, in panels by their titles, and curves by their names.

    A panel is n batches of pictures (B, 1 or 3, H, W) in [-1, 1], of the same B everywhere. `curves` are those of one chart
    from 0 to 1, or charts, one under another. Raises ValueError where lengths or shapes differ or values do not rise.
    """
    validate.instance("name", name, str)
    n = len(values := [validate.finite("values", value) for value in validate.instance("values", values, Sequence, np.ndarray)])
    if n < 2 or not (np.diff(values) > 0).all():
        raise ValueError(f"values must be two or more that rise, got {values}")
    charts = [Chart(curves)] if isinstance(curves, dict) else validate.filled("curves", curves, Chart)
    if not validate.instance("panels", panels, dict):
        raise ValueError("panels must hold at least one, got none")
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
    data = {"name": name, "values": [float(v) for v in values], "batch": batch, "charts": [chart.of(n) for chart in charts]}
    data["panels"] = [pixels.panel(title, frames.reshape(-1, *frames.shape[2:])) for title, frames in films.items()]
    columns = {
        f"{name} = {values[i]:g}": {title: pixels.frame(frames[i]) for title, frames in films.items()}
        for i in pixels.moments(n)
    }
    return fragment("dial", data, pixels.strip(columns))
