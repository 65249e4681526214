"""Pictures on their way into a page: few shades, since noise does not compress, and one PNG for many pictures."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image
from torch import Tensor

LEVELS = 32
"""The shades of a channel."""

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


def sheet(pictures: np.ndarray, gap: int = 0) -> tuple[np.ndarray, int]:
    """Pictures (N, H, W, ...) laid out in reading order as one square, whose sides no canvas refuses, and its columns."""
    columns = math.isqrt(len(pictures) - 1) + 1
    rest = ((0, 0),) * (pictures.ndim - 3)
    padded = np.pad(pictures, ((0, -len(pictures) % columns), (0, gap), (0, gap), *rest), constant_values=LEVELS // 2)
    rows = padded.reshape(-1, columns, *padded.shape[1:]).swapaxes(1, 2)
    return rows.reshape(rows.shape[0] * rows.shape[1], rows.shape[2] * rows.shape[3], *rows.shape[4:]), columns


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
