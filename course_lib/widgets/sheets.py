"""Samples as one picture, with the name of each above it: for the guidance explorer's screen, its page, and its frozen rows."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib import plots
from course_lib.widgets import pixels

COLUMNS = 8
"""Pictures in a row: sixteen stand on a small screen together with their slider."""
WIDTH, TITLE = 840, 44
"""Pixels: the width of a panel, and the height of its title's band."""
BACKGROUND, INK = (38, 38, 38), "white"
"""A dark panel is readable on a dark page and on a light one."""


@cache
def _layout(n: int, H: int, W: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The size of a sheet of n pictures H x W, and their corners: COLUMNS in a row, a name's band above each."""
    gap, band = _gap(W), _band(W)
    width = max(WIDTH // _zoom(W), COLUMNS * (W + gap) + gap)
    left = (width - COLUMNS * (W + gap) + gap) // 2
    corners = [(left + i % COLUMNS * (W + gap), band + i // COLUMNS * (band + H)) for i in range(n)]
    return (width, -(-n // COLUMNS) * (band + H) + gap), corners


def _zoom(W: int) -> int:
    """How many pixels of a panel a pixel of a sheet is wide."""
    return max(1, WIDTH // (COLUMNS * (W + _gap(W))))


def _gap(W: int) -> int:
    """Pixels of a sheet between two pictures in a row."""
    return max(1, W // 16)


def _band(W: int) -> int:
    """Pixels of a sheet above a picture, for its name."""
    return max(1, W // 4)


def sheet(x: Tensor) -> Image.Image:
    """Pictures x (N, 1 or 3, H, W) in [-1, 1], pixel for pixel, without their names: what changes while a slider moves.

    Raises ValueError where x contains NaN.
    """
    N, C, H, W = x.shape
    size, corners = _layout(N, H, W)
    whole = Image.new("RGB", size, BACKGROUND)
    whole.paste(Image.fromarray(plots.tile(_pixels(x), COLUMNS, (_band(W), _gap(W)), BACKGROUND)), corners[0])
    return whole.convert("L") if C == 1 else whole


def row_height(H: int, W: int) -> int:
    """Pixels of a panel from a row of pictures H x W to the next one."""
    return _zoom(W) * (_band(W) + H)


def panel(x: Tensor, names: Sequence[str], title: str) -> Image.Image:
    """The sheet of x, enlarged, with the name above each picture and all under the title."""
    H, W = x.shape[2:]
    small, zoom = sheet(x), _zoom(W)
    whole = Image.new(small.mode, (zoom * small.width, TITLE + zoom * small.height), BACKGROUND[: len(small.getbands())])
    whole.paste(small.resize((zoom * small.width, zoom * small.height), Image.Resampling.NEAREST), (0, TITLE))
    pen = ImageDraw.Draw(whole)
    pen.text((whole.width // 2, TITLE // 2 + 4), title, INK, _font(36), "mm")
    size = _font_size(names, W)
    for name, (left, below) in zip(names, _layout(len(names), H, W)[1]):
        pen.text((zoom * (left + W / 2), TITLE + zoom * (below - W / 8)), name, INK, _font(int(zoom * size)), "mm")
    return whole


@lru_cache(2)
def labels(names: tuple[str, ...], H: int, W: int) -> str:
    """The names as an SVG that lies over a sheet of pictures H x W, at whatever size it is shown."""
    (width, height), corners = _layout(len(names), H, W)
    size = _font_size(names, W)
    texts = (
        f'<text x="{left + W / 2:g}" y="{below - W / 8:g}" textLength="{size * _length(name):.2f}">{html.escape(name)}</text>'
        for name, (left, below) in zip(names, corners)
    )
    return f'<svg viewBox="0 0 {width} {height}" font-size="{size:.2f}" aria-hidden="true">{"".join(texts)}</svg>'


def _font_size(names: Iterable[str], W: int) -> float:
    """The font size at which the longest name is no wider than its picture, and none higher than its band."""
    return min(0.2 * W, W / max(1, *map(_length, names)))


def _length(name: str) -> float:
    """The width of the name at font size 1."""
    return _font(100).getlength(name) / 100


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def frozen(x: Tensor, zoom: int = 3) -> Image.Image:
    """Pictures x (N, 1 or 3, H, W) in [-1, 1] without names, enlarged. Raises ValueError where x contains NaN."""
    large = _pixels(x).repeat(zoom, 1).repeat(zoom, 2)
    return Image.fromarray(plots.tile(large, min(len(x), COLUMNS), 4, BACKGROUND))


def _pixels(x: Tensor) -> np.ndarray:
    """x (N, 1 or 3, H, W) in [-1, 1] as colours (N, H, W, 3), uint8. Raises ValueError where x contains NaN."""
    if x.isnan().any():
        raise ValueError("x must be finite to be drawn, got NaN in it: a smaller w or more steps may help")
    levels = ((x.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    return levels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def png(image: Image.Image, effort: int = 1) -> bytes:
    """The picture as a PNG; `effort` is 1 for what is shown once, up to 9 for what is stored and should be small."""
    out = io.BytesIO()
    image.save(out, "png", compress_level=effort)
    return out.getvalue()


def img(data: bytes, alt: str) -> str:
    """A PNG as HTML, decoded at once: it would flicker otherwise while a slider moves."""
    return f'<img decoding="sync" alt="{html.escape(alt)}" src="data:image/png;base64,{pixels.text(data)}">'
