"""Figures for a lecture hall: large type, colours for every kind of colour vision, and alt text."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from course_lib import validate

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito's eight colours (2008), distinguishable with any kind of colour vision."""

WIDEST = 12
"""The maximal width in inches: a wider figure is shrunk to fit the page, and its type becomes too small to read."""

MARKERS = "osD^vP*X"
"""A marker for each colour, so that classes differ in shape as well as in colour."""


def style() -> None:
    """Sets large type, thick lines, COLOURS and a white background for all later figures, and matplotlib's defaults beside."""
    plt.rcdefaults()  # the reader's matplotlibrc may turn pictures upside down, or want LaTeX
    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 17,
            "axes.labelsize": 15,
            "figure.facecolor": "white",
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.size": 14,
            "image.cmap": "viridis",
            "legend.frameon": False,
            "lines.linewidth": 2.5,
            "savefig.facecolor": "white",
        }
    )


class Shown:
    """A figure as a PNG with its alt text, as a notebook displays it."""

    def __init__(self, png: bytes, alt: str, width: int):
        self.png, self.alt, self.width = png, alt, width

    def __repr__(self):
        return f"[picture: {self.alt}]"

    def _repr_mimebundle_(self, include=None, exclude=None):
        """As HTML, which carries the alt text, and as image/png for what shows no HTML, such as LaTeX."""
        data = base64.b64encode(self.png).decode()
        alt = html.escape(self.alt, quote=True)
        img = f'<img style="max-width:100%;width:{self.width}px" alt="{alt}" src="data:image/png;base64,{data}">'
        about = {"width": self.width, "alt": self.alt}
        return {"text/plain": repr(self), "text/html": img, "image/png": data}, {"image/png": about}


def png(fig: Figure, dpi: int = 100) -> bytes:
    """The figure as PNG bytes, with a palette of 256 colours, which takes a third of the size. Closes the figure."""
    full, out = io.BytesIO(), io.BytesIO()
    fig.savefig(full, format="png", dpi=dpi)
    plt.close(fig)
    image = Image.open(full).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(out, format="png", optimize=True)
    return out.getvalue()


def show(fig: Figure, alt: str) -> Shown:
    """The figure with its alt text, for the end of a notebook cell.

    Raises ValueError if `alt` is empty or the figure is wider than WIDEST.
    """
    validate.instance("fig", fig, Figure)
    if not validate.instance("alt", alt, str).strip():
        raise ValueError("alt must say what the figure shows, got nothing")
    if fig.get_figwidth() > WIDEST:
        raise ValueError(f"fig must be at most {WIDEST} inches wide, got {fig.get_figwidth():g}: its type would be too small")
    return Shown(png(fig), alt, int(fig.get_figwidth() * 100))


def tile(
    pictures: np.ndarray, columns: int | None = None, gap: int | tuple[int, int] = 0, background: float | Sequence[int] = 0
) -> np.ndarray:
    """Pictures (N, H, W, ...) in reading order as one (height, width, ...), with `background` in the gaps and where none is
    left.

    `gap` is in pixels, or (between rows, between columns). Without `columns` there are as many as rows, or one more.
    """
    if not isinstance(pictures, np.ndarray) or pictures.ndim < 3 or not len(pictures):
        raise ValueError(f"pictures must be an array (N, H, W, ...), got {getattr(pictures, 'shape', type(pictures).__name__)}")
    N, H, W, *rest = pictures.shape
    down, across = gap if isinstance(gap, tuple) and len(gap) == 2 else (gap, gap)
    for side in (down, across):
        validate.at_least("gap", side, 0)
    columns = math.isqrt(N - 1) + 1 if columns is None else validate.at_least("columns", columns, 1)
    rows = -(-N // columns)
    cells = np.full((rows * columns, H + down, W + across, *rest), background, pictures.dtype)
    cells[:N, :H, :W] = pictures
    lines = cells.reshape(rows, columns, H + down, W + across, *rest).swapaxes(1, 2)
    whole = lines.reshape(rows * (H + down), columns * (W + across), *rest)
    return whole[: len(whole) - down, : whole.shape[1] - across]


def grid(x: Tensor, columns: int | None = None, gap: int = 1) -> np.ndarray:
    """Pictures x (N, C, H, W) in [-1, 1] as one array (rows, columns, 3) in [0, 1], row by row."""
    if validate.batch("x", x).ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"x must be pictures (N, 1 or 3, H, W), got shape {tuple(x.shape)}")
    unit = (x.detach().cpu().float().clamp(-1, 1) + 1) / 2
    return tile(unit.double().permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy(), columns, gap, 0.35)


def pictures(
    x: Tensor,
    columns: int | list[str] | tuple[str, ...] | None = None,
    title: str = "",
    ax=None,
    scale: float = 0.06,
    rows: Sequence[str | int] = (),
):
    """The figure with pictures x (N, C, H, W) in [-1, 1] drawn as a grid on `ax`, or on new axes.

    `columns` is their number, or a name for each, written above them; `rows` are names of the rows, written on the left.
    Raises ValueError if their number is not that of the rows.
    """
    number, names = (len(columns), columns) if isinstance(columns, list | tuple) else (columns, ())
    sheet = grid(x, number)
    validate.positive("scale", scale)
    validate.instance("rows", rows, list, tuple, dict, type({}.keys()))
    if ax is None:
        above = 0.6 * bool(title) + 0.3 * bool(names)
        _, ax = plt.subplots(figsize=(max(3.0, sheet.shape[1] * scale), sheet.shape[0] * scale + above))
    ax.imshow(sheet, interpolation="nearest", origin="upper", aspect="equal")
    ax.set_title(title)
    if not rows and not names:
        ax.axis("off")
        return ax.figure
    down, across = (side + 1 for side in x.shape[-2:])  # a picture and the gap after it
    if rows and len(rows) * down - 1 != len(sheet):
        raise ValueError(f"rows must name each of {(len(sheet) + 1) // down} rows, got {len(rows)} names")
    ax.set(yticks=[down * (i + 0.5) - 1 for i in range(len(rows))], yticklabels=rows)
    ax.set(xticks=[across * (i + 0.5) - 1 for i in range(len(names))], xticklabels=names)
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    return ax.figure


def sketch(
    curve: Tensor, bars: Tensor, low: float, high: float, marks: Tensor | None = None, size: tuple[int, int] = (110, 180)
) -> Tensor:
    """A small picture (1, 3, H, W) in [-1, 1] for a player or a dial: a blue curve over grey bars, from `low` to `high`.

    `curve` (N,) and `bars` (M,) are spread evenly over the width; bars begin at `low`. `marks` (K,), in 0..1 of the width, are
    ticks below. What lies outside is not drawn. `size` is (H, W), 16 or more each.
    """
    validate.row("curve", curve)
    validate.row("bars", bars)
    if not validate.finite("low", low) < validate.finite("high", high):
        raise ValueError(f"high must be above low, {low:g}, got {high:g}")
    H, W = (validate.at_least("size", side, 16) for side in size)
    ground, down = H - 9, torch.arange(H, device="cpu", dtype=torch.int64)[:, None]
    row = lambda v: ((high - v.detach().cpu().double()) / (high - low) * (ground - 1)).clamp(-9, H + 9).round().long()
    spread = lambda v, n: v[torch.arange(n, device="cpu", dtype=torch.int64) * len(v) // n]
    picture = torch.ones(3, H, W, device="cpu", dtype=torch.float32)
    picture[:, (down >= row(spread(bars, W))) & (down < ground)] = 0.8
    blue, red = (torch.tensor(to_rgb(COLOURS[k]), device="cpu", dtype=torch.float32)[:, None] for k in (0, 3))
    at, across = row(spread(curve, 8 * W)), torch.arange(8 * W, device="cpu", dtype=torch.int64) // 8
    for shift in (-1, 0, 1):
        seen = (at + shift >= 0) & (at + shift < ground)
        picture[:, (at + shift)[seen], across[seen]] = blue
    picture[:, ground] = 0
    for mark in [] if marks is None else validate.row("marks", marks).tolist():
        if 0 <= mark < 1:
            picture[:, ground + 2 :, int(mark * W)] = red
    return picture[None] * 2 - 1


def points(x: Tensor, label: Tensor | None = None, title: str = "", ax=None, reach: float = 1.6, size: float = 14):
    """The figure with points x (N, 2) drawn on `ax`, or on new axes, with a colour and a marker for each label (N,)."""
    validate.batch("x", x, 2)
    validate.positive("reach", reach)
    validate.positive("size", size)
    if label is not None:
        validate.one_each("label", label, "x", x)
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 5))
    xy = x.detach().cpu().double().numpy()  # NumPy has no bfloat16
    if label is None:
        ax.scatter(*xy.T, s=size, alpha=0.6, linewidths=0)
    else:
        for i, c in enumerate(sorted(set(label.tolist()))):
            members = xy[(label == c).cpu().numpy()]
            ax.scatter(*members.T, s=size, marker=MARKERS[i % 8], color=COLOURS[i % 8], alpha=0.7, linewidths=0, label=f"{c}")
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title, xlabel="$x_1$", ylabel="$x_2$")
    return ax.figure
