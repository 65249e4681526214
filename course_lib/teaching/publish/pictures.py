"""The README's pictures, sampled from the shipped models: digits from noise, shapes from captions, few steps and many."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib import plots
from course_lib.files import ROOT, write_atomically
from course_lib.guidance import classifier_free
from course_lib.process import randn, seeded
from course_lib.samplers import consistency, ddim, result, sample
from course_lib.widgets import pixels
from course_lib.zoo import models
from course_lib.zoo.recipes.latents import shipped_autoencoder

FOLDER = ROOT / ".github/pictures"
MAX_BYTES = 60_000
"""The largest picture in bytes: the README must load quickly."""
CAPTIONS = (
    "a small blue square above a large pink star",
    "a large yellow triangle left of a small white circle",
    "a large green circle below a small red triangle",
    "a small pink star right of a large blue square",
)
ZOOM, MARGIN = 3, 78
SHADES = np.linspace(0, 255, pixels.LEVELS // 2).round().astype(np.uint8)


def draw(folder: Path = FOLDER) -> list[Path]:
    """The paths of all pictures, written into `folder`. Raises ValueError for one of more than MAX_BYTES."""
    made = {"guidance.webp": guidance(), "captions.png": captions(), "steps.webp": steps()}
    for name, data in made.items():
        if len(data) > MAX_BYTES:
            raise ValueError(f"a picture must be at most {MAX_BYTES:,} bytes, got {len(data):,} of {name}")
        write_atomically(folder / name, data)
    return [folder / name for name in made]


def noise(n: int = 10, seed: int = 0) -> Tensor:
    """Standard normal noise (n, 1, 16, 16)."""
    return randn(n, 1, 16, 16, rng=seeded(seed))


def guidance(ws: tuple[float, ...] = (0.0, 3.0)) -> bytes:
    """Ten digits sampled from the same noise, a row for each guidance weight w, a frame for each step: an animated WebP."""
    network, label = models.load("digits"), list(range(10))
    rows = [list(ddim(classifier_free(network, label, w), noise(), network.process.times(16))) for w in ws]
    frames = [sheet([row[k].x for row in rows], [f"w = {w:g}" for w in ws]) for k in range(len(rows[0]))]
    return webp(frames)


def steps() -> bytes:
    """Ten digits sampled from the same noise in 64, 4 and 1 steps by the network, and in 1 step by its student: a WebP."""
    network, student, label = models.load("digits"), models.load("consistency"), list(range(10))
    by_ddim = lambda n: result(ddim(network.given(label), noise(), network.process.times(n)))
    one_step = result(consistency(student.given(label), noise(), student.process.times(1)))
    return webp([sheet([by_ddim(64), by_ddim(4), by_ddim(1), one_step], ["64 steps", "4 steps", "1 step", "student, 1"])])


def captions(seed: int = 1) -> bytes:
    """A picture for each of CAPTIONS, sampled from the latent diffusion model: a PNG."""
    network, prompts = models.load("latent2shape"), list(CAPTIONS)
    latents = sample(classifier_free(network, prompts, 3.0), network.draw_noise(len(prompts), seeded(seed)), 25)
    made = shipped_autoencoder().decode(latents)
    with plots.plt.rc_context():
        plots.style()
        fig, axes = plots.plt.subplots(1, len(CAPTIONS), figsize=(10, 3.35))
        for ax, caption, x in zip(axes, CAPTIONS, made):
            plots.pictures(x[None], ax=ax)
            ax.set_anchor("S")
            ax.set_title(textwrap.fill(caption, 23), fontsize=15)
        return plots.png(fig)


def sheet(rows: list[Tensor], names: list[str]) -> Image.Image:
    """One picture of rows of digits (n, 1, 16, 16) in [-1, 1], each row with its name on the left."""
    grey = np.concatenate([SHADES[pixels.shades(x, signed=False) // 2] for x in rows])
    array = plots.tile(grey, len(rows[0]), 1, 255)
    digits = Image.fromarray(array).resize((ZOOM * array.shape[1], ZOOM * array.shape[0]), Image.Resampling.NEAREST)
    whole = Image.new("L", (MARGIN + digits.width, digits.height), 255)
    whole.paste(digits, (MARGIN, 0))
    canvas, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    for r, name in enumerate(names):
        canvas.text((MARGIN - 8, ZOOM * (17 * r + 8)), name, 0, font, anchor="rm")
    return whole.convert("RGB")


def webp(frames: list[Image.Image], ms: int = 90, rest: int = 2500) -> bytes:
    """A lossless WebP: one picture, or a looping animation with `ms` milliseconds a frame and `rest` at its end."""
    out = io.BytesIO()
    animation = {"save_all": True, "append_images": frames[1:], "duration": [ms] * (len(frames) - 1) + [rest], "loop": 0}
    frames[0].save(out, format="webp", lossless=True, quality=100, method=6, **animation if len(frames) > 1 else {})
    return out.getvalue()
