"""The efficient U-Net of Imagen's upsamplers: most of its numbers, and none of its blocks, where the maps are large."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu

from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.unet import Block, norm, zero


class EfficientUNet(nn.Module):
    """net(x, time, level) for pictures x (B, C, size, size), time and level (B,) in [0, 1]: x's shape.

    Saharia et al. 2022 (Imagen), appendix B.1: `depths` puts more blocks where the maps are small; each level halves the map
    *before* its convolutions, and doubles it *after* them; what skips is scaled by 1 / sqrt 2. With `early` False the order
    is the usual one, with as many numbers: convolve, then halve; double, then convolve.
    """

    def __init__(
        self,
        size: int = 32,
        channels: int = 6,
        widths: tuple[int, ...] = (16, 32, 64),
        depths: tuple[int, ...] = (1, 1, 2),
        dim: int = 96,
        early: bool = True,
    ):
        super().__init__()
        if len(widths) != len(depths):
            raise ValueError(f"depths must be as many as widths, {len(widths)}, got {depths}")
        if size % (1 << len(widths)):
            raise ValueError(f"size must be a multiple of {1 << len(widths)}, got {size}")
        self.early, self.shape = early, (channels, size, size)
        self.time, self.label = TimeEmbedding(dim), TimeEmbedding(dim)
        self.inward = nn.Conv2d(channels, widths[0], 3, padding=1)
        inner = (widths[0], *widths[:-1])
        self.encoder = nn.ModuleList(_blocks(a, b, n, dim) for a, b, n in zip(inner, widths, depths))
        self.decoder = nn.ModuleList(_blocks(2 * b, a, n, dim) for a, b, n in reversed(list(zip(inner, widths, depths))))
        self.outward = nn.Sequential(norm(widths[0]), nn.SiLU(), zero(nn.Conv2d(widths[0], channels, 3, padding=1)))

    def forward(self, x: Tensor, time: Tensor, level: Tensor) -> Tensor:
        if x.shape[1:] != self.shape:
            raise ValueError(f"x must be (B, {', '.join(map(str, self.shape))}), got shape {tuple(x.shape)}")
        emb = silu(self.time(time) + self.label(level))
        h, skips = self.inward(x), []
        for blocks in self.encoder:
            h = avg_pool2d(h, 2) if self.early else h
            for block in blocks:
                h = block(h, emb)
            skips.append(h)
            h = h if self.early else avg_pool2d(h, 2)
        for blocks in self.decoder:
            h = h if self.early else interpolate(h, scale_factor=2)
            h = torch.cat([h, skips.pop() / 2**0.5], 1)
            for block in blocks:
                h = block(h, emb)
            h = interpolate(h, scale_factor=2) if self.early else h
        return self.outward(h)


def _blocks(inward: int, outward: int, depth: int, dim: int) -> nn.ModuleList:
    """`depth` residual blocks in a row, the first of which changes the width."""
    return nn.ModuleList(Block(outward if i else inward, outward, dim) for i in range(depth))
