"""The denoising player: every step of a sampler, to scrub through in the page itself. `player.js` is its other half.

Frames travel once, as binary: pictures as one PNG sheet a panel, in few shades (see pixels.py), points as 16-bit numbers.
A film that would be too large is thinned to fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.samplers import Step
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment

X_T, X0, EPS, SCORE = "xₜ: noisy", "x̂₀: predicted x₀", "ε̂: predicted noise", "−ε̂: along the score"


def play(
    steps: Iterable[Step],
    field: Denoiser | None = None,
    draw: Callable[[Step], Tensor | dict[str, Tensor]] | None = None,
    max_mb: float = 1.5,
) -> Fragment:
    """The steps of a sampler as a film to scrub: x_t, the predicted x_0 and the predicted noise side by side.

    Each `step.x` is pictures (B, 1 or 3, H, W), shown from -1 to 1, or points (B, 2), or (B, 1), which are drawn over time.
    `field`, for points (B, 2), is the denoiser whose arrows fill the third panel; without it each point has its own.
    `draw(step)`, for all that is not yet a picture, makes pictures (B, 1 or 3, H, W) of a step, or several by their titles:
    `draw=lambda step: decode(step.x0)`. Steps are left out, evenly, until all of it is at most `max_mb` megabytes.

    Raises TypeError or ValueError for what is no list of like Steps, has no picture, or does not fit with two steps.
    """
    steps = checked(steps)
    if field is not None:
        validate.instance("field", field, Denoiser)
    if draw is not None:
        validate.function("draw", draw)
    if validate.finite("max_mb", max_mb) <= 0:
        raise ValueError(f"max_mb must be positive, got {max_mb}")
    encode, moment = _points(steps, field) if draw is None and steps[0].x.ndim == 2 else _pictures(steps, draw)
    ts, shares = [step.t for step in steps], _shares(steps)
    preserving = all(step.pred is None or abs(_variance(step) - 1) < 1e-3 for step in steps)
    name = "ᾱ" if preserving else "a²/(a²+b²)"

    def describe(i: int) -> str:
        return f"t = {int(ts[i]) if float(ts[i]).is_integer() else f'{ts[i]:.3g}'}"

    def film(keep: np.ndarray, strip: str) -> Fragment:
        thinned = f"{len(keep)} of {len(steps)} frames are kept, to stay under {max_mb:g} MB."
        share = shares and [round(shares[i], 5) for i in keep]
        data = {"t": [ts[i] for i in keep], "T": max(ts), "share": share, "shareName": name}
        data |= {"step": keep.tolist(), "moves": len(steps) - 1, "note": thinned if len(keep) < len(steps) else ""}
        data |= {"predicted": [int(steps[i].pred is not None) for i in keep]}
        return fragment("player", data | encode(keep), strip)

    strip = pixels.strip({describe(i): moment(i) for i in pixels.moments(len(steps))})
    return _fit(film, len(steps), strip, max_mb * 1e6)


def _fit(film: Callable, n: int, strip: str, limit: float) -> Fragment:
    """The film with the most of its n frames, evenly spread, first and last among them, that takes at most `limit` bytes."""
    count = n
    while True:
        made = film(np.unique(np.linspace(0, n - 1, count).round().astype(int)), strip)
        size = len(made.html.encode())
        if size <= limit:
            return made
        if count <= 2:
            raise ValueError(f"max_mb must be at least {size / 1e6:.2f} for two frames of these steps, got {limit / 1e6:g}")
        count = max(2, min(count - 1, int(count * limit / size)))


def checked(steps: Iterable[Step]) -> list[Step]:
    """The steps as a list. Raises TypeError or ValueError, with the step's index, unless all are Steps of like batches."""
    if isinstance(steps, Step) or not isinstance(steps, Iterable):
        raise TypeError(f"steps must be a list of Step, got {type(steps).__name__}")
    steps = list(steps)
    if not steps:
        raise ValueError("steps must hold at least one Step, got none")
    for i, step in enumerate(steps):
        if not isinstance(step, Step):
            raise TypeError(f"steps[{i}] must be a Step, got {type(step).__name__}")
        validate.same_shape(f"steps[{i}].x", validate.batch(f"steps[{i}].x", step.x), "steps[0].x", steps[0].x)
    return steps


def _variance(step: Step) -> float:
    return float((step.pred.a**2 + step.pred.b**2).flatten()[0])


def _shares(steps: list[Step]) -> list[float] | None:
    """The signal's share of the variance, a^2 / (a^2 + b^2), at each step; None where a step before the end has no
    prediction."""
    if any(step.pred is None and step.t != 0 for step in steps):
        return None
    return [1.0 if step.pred is None else float((step.pred.a**2).flatten()[0]) / _variance(step) for step in steps]


def _views(step: Step) -> dict[str, Tensor]:
    return {X_T: step.x, X0: step.x0, EPS: torch.zeros_like(step.x) if step.pred is None else step.pred.eps}


def _pictures(steps: list[Step], draw: Callable | None) -> tuple[Callable, Callable]:
    """How to encode chosen frames, and how to draw one moment of them, for pictures."""
    views = [(draw or _views)(step) for step in steps]
    views = [view if isinstance(view, dict) else {X0: view} for view in views]
    films = {}
    for title, x in views[0].items():
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] not in (1, 3) or len(x) != len(steps[0].x):
            shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            what = "what draw returns" if draw else "steps"
            raise ValueError(f"{what} must be pictures (B, 1 or 3, H, W), or points (B, 1 or 2) without draw, got {shape}")
        films[title] = np.stack([pixels.shades(view[title], signed=title == EPS) for view in views])

    def encode(keep: np.ndarray) -> dict:
        panels = []
        for title, frames in films.items():
            panels.append(pixels.panel(title, frames[keep].reshape(-1, *frames.shape[2:])) | {"noise": title == EPS})
        return {"kind": "pictures", "batch": len(steps[0].x), "panels": panels}

    def moment(i: int) -> dict[str, bytes]:
        return {title: pixels.frame(frames[i]) for title, frames in films.items()}

    return encode, moment


def _points(steps: list[Step], field: Denoiser | None) -> tuple[Callable, Callable]:
    """How to encode chosen frames, and how to draw one moment of them, for points."""
    B, dim = steps[0].x.shape
    if dim not in (1, 2):
        raise ValueError(f"steps must be pictures (B, 1 or 3, H, W) or points (B, 1 or 2), got {(B, dim)}; or give draw=")
    x = torch.stack([step.x for step in steps])
    x0 = torch.stack([step.x0 for step in steps])
    size = x.abs().cpu().to(torch.promote_types(x.dtype, torch.float32))  # NumPy has no bfloat16
    half = 1.1 * max(np.quantile(size, 0.985), float(x[-1].abs().max()))  # of the square that is shown
    line = torch.linspace(-half, half, 17, dtype=x.dtype, device=x.device)[1:-1]
    at = torch.cartesian_prod(line, line)[None] if field and dim == 2 else x
    with torch.no_grad():
        predictions = [field(at[0], step.t) if field and dim == 2 and step.pred else step.pred for step in steps]
    arrows = torch.stack([torch.zeros_like(at[0]) if pred is None else -pred.eps for pred in predictions])
    if dim == 1:  # drawn over time, which runs from left to right
        time = torch.linspace(-1, 1, len(steps), dtype=x.dtype, device=x.device).view(-1, 1, 1).expand_as(x)
        x, x0 = torch.cat([0.95 * half * time, x], 2), torch.cat([0.95 * half * time, x0], 2)

    def encode(keep: np.ndarray) -> dict:
        points = {"x": _sixteen_bits(x[keep], half), "x0": _sixteen_bits(x0[keep], half)}
        points |= {"at": _sixteen_bits(at if len(at) == 1 else at[keep], half), "arrows": _sixteen_bits(arrows[keep], 2)}
        titles = [X_T, X0, SCORE][: dim + 1]
        panels = [{"title": title, "noise": title == SCORE} for title in titles]
        return {"kind": "points", "batch": B, "overTime": dim == 1, "grid": len(at[0]), "panels": panels} | points

    def moment(i: int) -> dict[str, bytes]:
        return {title: pixels.png(_scatter(points[i] / half)) for title, points in ((X_T, x), (X0, x0))}

    return encode, moment


def _sixteen_bits(values: Tensor, half: float) -> str:
    """-2 half .. 2 half as 0..65535, little end first: twice what is shown, so that what lies outside stays outside."""
    unit = (values.detach().cpu().double() / (2 * half)).clamp(-1, 1).numpy() / 2 + 0.5
    return pixels.text(np.rint(unit * 65535).astype("<u2").tobytes())


def _scatter(points: Tensor, size: int = 160) -> Image.Image:
    image = Image.new("P", (size, size), pixels.LEVELS - 1)
    image.putpalette(pixels.PALETTE.astype(np.uint8).tobytes())
    pen = ImageDraw.Draw(image)
    for x, y in ((points.cpu().double() * torch.tensor([1, -1], device="cpu", dtype=torch.float64) + 1) / 2 * size).tolist():
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=pixels.LEVELS + pixels.LEVELS // 4)
    return image
