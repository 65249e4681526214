"""The Efficient U-Net of Imagen's super-resolution models, which has few blocks at high resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from course_lib import validate
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.unet import Block, norm, zero


class EfficientUNet(nn.Module):
    """net(x, time, level) for pictures x (B, C, size, size), time and level (B,) in [0, 1]: x's shape.

    Saharia et al. 2022 (Imagen), appendix B.1: `depths`, the blocks at each resolution, grow as the maps shrink. Each level
    downsamples *before* its convolutions and upsamples *after* them. Skip connections are scaled by 1 / sqrt 2. With `early`
    False the order is the usual one, with the same parameters: convolve, downsample; upsample, convolve.
    """

    def __init__(
        self,
        size: int = 32,
        channels: int = 6,
        width: int = 32,
        depths: tuple[int, ...] = (1, 1, 2),
        dim: int = 96,
        early: bool = True,
    ):
        super().__init__()
        validate.sizes(channels=channels)
        validate.multiple("width", width, 8)
        for depth in validate.filled("depths", depths):
            validate.at_least("depths", depth, 1)
        validate.multiple("size", size, 1 << len(depths))
        self.early, self.shape = early, (channels, size, size)
        self.time, self.label = TimeEmbedding(dim), TimeEmbedding(dim)
        self.inward = nn.Conv2d(channels, width, 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(width, width, n, dim) for n in depths)
        self.decoder = nn.ModuleList(_blocks(2 * width, width, n, dim) for n in reversed(depths))
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, 2, padding=1) for _ in depths)
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, 2) for _ in depths)
        self.outward = nn.Sequential(norm(width), nn.SiLU(), zero(nn.Conv2d(width, channels, 3, padding=1)))
        self.past = zero(nn.Conv2d(width, channels, 3, padding=1))  # a skip connection at full resolution

    def forward(self, x: Tensor, time: Tensor, level: Tensor) -> Tensor:
        validate.shape("x", x, *self.shape)
        emb = silu(self.time(time) + self.label(level))
        h = first = self.inward(x)
        skips: list[Tensor] = []
        for blocks, down in zip(self.encoder, self.down):
            h = down(h) if self.early else h
            for block in blocks:
                h = block(h, emb)
            skips.append(h)
            h = h if self.early else down(h)
        for blocks, up in zip(self.decoder, self.up):
            h = torch.cat([h if self.early else up(h), skips.pop() / 2**0.5], 1)
            for block in blocks:
                h = block(h, emb)
            h = up(h) if self.early else h
        return self.outward(h) + self.past(first / 2**0.5)


def _blocks(inward: int, outward: int, depth: int, dim: int) -> nn.ModuleList:
    """`depth` residual blocks, the first of which changes the width."""
    return nn.ModuleList(Block(outward if i else inward, outward, dim) for i in range(depth))
