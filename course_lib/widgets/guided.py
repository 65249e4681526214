"""Guidance in the plane: two scores, their difference, where guided points go, and the tilted density.

All of it is exact, and computed in the page itself: `guided.js` is its other half, and needs no kernel.
"""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import torch

from course_lib import plots, validate
from course_lib.methods import tilted_density
from course_lib.mixtures import GaussianMixture
from course_lib.process import Process, randn, seeded
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment

POINTS, REACH, SHOWN_NOISE = 300, 2.6, 0.7  # samples; a panel shows -REACH .. REACH; the noise level that is shown at first
COARSE = (
    tilted_density.Plane(4.5, 45),
    tilted_density.Plane(3.5, 91),
)  # grids coarse enough for a page that must respond at once


def guided_plane(
    mixture: GaussianMixture, process: Process, steps: int = 60, w: float = 3.0, label: int | None = None
) -> Fragment:
    """Sliders for w and for the noise at which the scores are shown, buttons for the class; all panels follow at once.

    `mixture` is of points (B, 2), `label` one of its classes, the first by default; `steps` are DDIM's (Song et al. 2021). The
    distance is the total variation between guided samples and p(x) P(c | x)^w (see tilted_density.py). Raises ValueError for a
    mixture that is not of the plane, or a label that it does not have.
    """
    validate.finite("w", w)
    validate.moves("steps", steps, validate.instance("process", process, Process))
    if validate.instance("mixture", mixture, GaussianMixture).dim != 2:
        raise ValueError(f"mixture must be of points in the plane (B, 2), got {mixture}")
    classes = mixture.labels.unique().tolist()
    label = validate.choice("label", classes[0] if label is None else label, classes)
    times = process.times(steps)
    levels = torch.stack([process.signal(times), process.noise(times)], 1)
    z = randn(POINTS, 2, rng=seeded(0))
    noise, plane = ({"reach": grid.reach, "side": grid.side} for grid in COARSE)
    data = {
        "mixture": {
            "weights": mixture.weights.tolist(),
            "means": mixture.means.tolist(),
            "stds": mixture.stds.tolist(),
            "labels": [classes.index(c) for c in mixture.labels.tolist()],
        },
        "classes": [str(c) for c in classes],
        "levels": levels.tolist(),
        "t": [round(t, 4) for t in times.tolist()],
        "z": [[round(v, 4) for v in row] for row in z.tolist()],
        "level": int((levels[:, 1] - SHOWN_NOISE).abs().argmin()),
        "reach": REACH,
        "noise": noise,
        "plane": plane,
        "w": float(w),
        "label": classes.index(label),
    }
    return fragment("guided", data, _strip(mixture, process, times, z.double(), w, label))


def _strip(mixture: GaussianMixture, process: Process, times: torch.Tensor, z: torch.Tensor, w: float, label: int) -> str:
    """The HTML that stands where no script runs: guided points, and the tilted density."""
    x, _ = tilted_density.guided_points(mixture, label, w, process, times, z)
    grid = tilted_density.Plane(REACH, 101)
    density = tilted_density.tilted_log_density(mixture, label, w, grid.places).exp().view(101, 101).T
    far = tilted_density.distance(mixture, label, w, process, times, *COARSE)
    with plt.rc_context():
        plots.style()
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.8))
        plots.points(x, None, f"guided by w = {w:g}", left, reach=REACH)
        right.imshow(density.numpy(), origin="lower", extent=[-REACH, REACH] * 2, cmap="Oranges")
        right.set(title=f"p(x) P(c | x)^{w:g}: distance {far:.2f}", xlabel="$x_1$")
        png = plots.png(figure)
    alt = f"Guided points at w = {w:g} beside the tilted density; the distance between the two is {far:.2f}"
    return f'<div class="strip"><img alt="{html.escape(alt)}" src="data:image/png;base64,{pixels.text(png)}"></div>'
