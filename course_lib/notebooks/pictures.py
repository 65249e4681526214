"""The README's pictures, drawn by the shipped models: digits out of noise, shapes out of words, and what few steps can do."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib import models, plots
from course_lib.checkpoints import write_atomically
from course_lib.notebooks import ROOT
from course_lib.recipes.latents import shipped_autoencoder
from course_lib.recipes.shapes import drawn
from course_lib.samplers import consistency, ddim, result
from course_lib.widgets import pixels

FOLDER = ROOT / ".github/pictures"
MOST = 60_000
"""Bytes of a picture: it is the first thing that a visitor loads."""
SAID = (
    "a small blue square above a large pink star",
    "a large yellow triangle left of a small white circle",
    "a large green circle below a small red triangle",
    "a small pink star right of a large blue square",
)
ZOOM, MARGIN = 3, 78
SHADES = np.linspace(0, 255, pixels.LEVELS // 2).round().astype(np.uint8)


def draw(folder: Path = FOLDER) -> list[Path]:
    """Writes all pictures into `folder` and returns their paths. Raises ValueError for one of more than MOST bytes."""
    made = {"guidance.webp": guidance(), "captions.png": captions(), "steps.webp": steps()}
    for name, data in made.items():
        if len(data) > MOST:
            raise ValueError(f"a picture must be at most {MOST:,} bytes, got {len(data):,} of {name}")
        write_atomically(folder / name, data)
    return [folder / name for name in made]


def noise(n: int = 10, seed: int = 0) -> Tensor:
    return torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def guidance(ws: tuple[float, ...] = (0.0, 3.0)) -> bytes:
    """Ten digits coming out of one noise, a row for each guidance w, every step a frame: an animated WebP."""
    network, label = models.load("digits"), torch.arange(10)
    rows = [list(ddim(models.guided(network, label, w), noise(), network.process.times(16))) for w in ws]
    frames = [sheet([row[k].x for row in rows], [f"w = {w:g}" for w in ws]) for k in range(len(rows[0]))]
    return webp(frames)


def steps() -> bytes:
    """Ten digits of one noise in one step and in a few, by the network and by its students."""
    network, student, label = models.load("digits"), models.load("consistency"), torch.arange(10)
    by_ddim = lambda n: result(ddim(network.given(label), noise(), network.process.times(n)))
    jumped = result(consistency(student.given(label), noise(), student.process.times(1)))
    return webp([sheet([by_ddim(64), by_ddim(4), by_ddim(1), jumped], ["64 steps", "4 steps", "1 step", "student, 1"])])


def captions(seed: int = 1) -> bytes:
    """A picture for each of SAID, by the latent model."""
    made = shipped_autoencoder().decode(drawn(models.load("latent2shape"), list(SAID), 3.0, seed=seed))
    with plots.plt.rc_context():
        plots.style()
        fig, axes = plots.plt.subplots(1, len(SAID), figsize=(10, 3.35))
        for ax, said, x in zip(axes, SAID, made):
            plots.pictures(x[None], ax=ax)
            ax.set_anchor("S")
            ax.set_title(textwrap.fill(said, 23), fontsize=15)
        return plots.png(fig)


def sheet(rows: list[Tensor], names: list[str]) -> Image.Image:
    """Rows of pictures (n, 1, H, W) under each other, each with its name before it."""
    columns = len(rows[0])
    grey = np.concatenate([SHADES[pixels.shades(x, signed=False) // 2] for x in rows])
    array = np.full((len(rows) * 17 - 1, columns * 17 - 1), 255, np.uint8)
    for k, picture in enumerate(grey):
        r, c = divmod(k, columns)
        array[17 * r : 17 * r + 16, 17 * c : 17 * c + 16] = picture
    digits = Image.fromarray(array).resize((ZOOM * array.shape[1], ZOOM * array.shape[0]), Image.Resampling.NEAREST)
    whole = Image.new("L", (MARGIN + digits.width, digits.height), 255)
    whole.paste(digits, (MARGIN, 0))
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    for r, name in enumerate(names):
        pen.text((MARGIN - 8, ZOOM * (17 * r + 8)), name, 0, font, anchor="rm")
    return whole.convert("RGB")


def webp(frames: list[Image.Image], ms: int = 90, rest: int = 2500) -> bytes:
    """One picture, or a film that rests at its end and begins again; no pixel is lost."""
    out = io.BytesIO()
    film = {"save_all": True, "append_images": frames[1:], "duration": [ms] * (len(frames) - 1) + [rest], "loop": 0}
    frames[0].save(out, format="webp", lossless=True, quality=100, method=6, **film if len(frames) > 1 else {})
    return out.getvalue()
