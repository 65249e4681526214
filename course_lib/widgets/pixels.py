"""Pictures on their way into a page: few shades, since noise does not compress, and one PNG for many pictures."""

from __future__ import annotations

import base64
import html
import io

import numpy as np
from PIL import Image
from torch import Tensor

from course_lib import plots

LEVELS = 32
"""The shades of a channel."""
MOMENTS = 6
"""Frames in the strip of pictures that stands where no script runs."""

# Shades 0..31 are grey, -1 to 1. Shades 32..63 are for what has a sign, -3 to 3: blue, white (nothing), orange.
_SIGNED = [(0, 31, 66), (0, 114, 178), (250, 250, 250), (213, 94, 0), (84, 32, 0)]
_RAMP = np.linspace(-3, 3, LEVELS)
PALETTE = np.concatenate(
    [
        np.linspace(0, 255, LEVELS)[:, None].repeat(3, 1),
        np.stack([np.interp(_RAMP, [-3, -1.5, 0, 1.5, 3], channel) for channel in zip(*_SIGNED)], 1),
    ]
).round()


def shades(x: Tensor, signed: bool) -> np.ndarray:
    """Pictures (B, C, H, W) as shades of PALETTE (B, H, W), or where C = 3 as colours (B, H, W, 3), uint8."""
    unit = (x.detach().float().cpu() / (3 if signed else 1)).clamp(-1, 1).numpy() / 2 + 0.5
    level = np.rint(unit * (LEVELS - 1))
    if x.shape[1] == 3:
        return np.rint(level * 255 / (LEVELS - 1)).astype(np.uint8).transpose(0, 2, 3, 1)
    return (level[:, 0] + LEVELS * signed).astype(np.uint8)


def panel(title: str, shown: np.ndarray) -> dict:
    """What `shades` gives, for all frames of a panel, as one PNG: a square sheet, whose sides no canvas refuses (panels.js)."""
    sheet, (height, width) = plots.tile(shown, background=LEVELS // 2), shown.shape[1:3]
    return {"title": title, "columns": sheet.shape[1] // width, "height": height, "width": width, "png": text(png(sheet))}


def moments(n: int) -> list[int]:
    """The indices of MOMENTS of n frames, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, n - 1, MOMENTS).round().astype(int)).tolist()


def frame(shown: np.ndarray) -> bytes:
    """What `shades` gives, for one frame, as a PNG with a pixel between two pictures."""
    return png(plots.tile(shown, gap=1, background=LEVELS // 2))


def strip(frames: dict[str, dict[str, bytes]]) -> str:
    """PNGs by their titles under each other, for each caption side by side: the HTML that stands where no script runs."""
    figures = []
    for caption, images in frames.items():
        img = '<img src="data:image/png;base64,{}" width="128" alt="{}"><br>'
        column = "".join(img.format(text(data), html.escape(f"{title}, at {caption}")) for title, data in images.items())
        style = "display:inline-block;margin:4px"
        figures.append(f'<figure style="{style}">{column}<figcaption>{html.escape(caption)}</figcaption></figure>')
    titles = list(next(iter(frames.values())))
    order = "From top to bottom: " if len(titles) > 1 else ""
    return f'<div class="strip">{"".join(figures)}<p>{order}{html.escape("; ".join(titles))}.</p></div>'


def png(pixels: np.ndarray | Image.Image) -> bytes:
    """Shades (H, W) or colours (H, W, 3) as a PNG, packed in whichever of two ways is smaller."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    if image.mode == "L":
        image.putpalette(PALETTE.astype(np.uint8).tobytes())
    files = []
    for strategy in (0, 2):  # zlib's default, and Huffman codes alone, which is better and faster for noise
        files.append(io.BytesIO())
        image.save(files[-1], "png", compress_type=strategy)
    return min((file.getvalue() for file in files), key=len)


def text(data: bytes) -> str:
    """Bytes as base64, for a page."""
    return base64.b64encode(data).decode()
