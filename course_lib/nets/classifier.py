"""Classifiers of digits: one of clean pictures, for evaluation, and one of noisy pictures with a time input, for guidance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, silu

from course_lib import validate
from course_lib.denoisers import runs_on_its_device
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.unet import Block, check_widths, heads_of, norm
from course_lib.process import rand


class Classifier(nn.Module):
    """Digits x (B, 1, 16, 16) in [-1, 1] to logits (B, 10).

    The evaluator of generated digits: its logits give accuracy, its `features` (B, 64) distances between sets of samples.
    """

    def __init__(self, width: int = 32, features: int = 64, classes: int = 10):
        super().__init__()
        validate.sizes(width=width, features=features, classes=classes)

        def layer(inward: int, outward: int, stride: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(inward, outward, 3, stride, padding=1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(outward), nn.ReLU())

        self.body = nn.Sequential(
            layer(1, width),
            layer(width, width),
            layer(width, 2 * width, 2),
            layer(2 * width, 2 * width),
            layer(2 * width, features, 2),
            layer(features, features),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(features, classes)

    @runs_on_its_device
    def features(self, x: Tensor) -> Tensor:
        """The input of the last layer (B, 64), in which sets of pictures are compared."""
        return self.body(validate.shape("x", x, 1, "H", "W"))

    @runs_on_its_device
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class TimedClassifier(nn.Module):
    """Noisy pictures x (B, channels, H, W) and time (B,) in [0, 1] to logits (B, classes): the encoder of a U-Net.

    `widths` are the channels at each resolution, from fine to coarse; the coarsest has self-attention. Dhariwal and Nichol
    2021, section 4: their classifier is the downsampling trunk of their U-Net. Ours ends in a mean over places.
    """

    def __init__(self, channels: int = 1, widths: tuple[int, ...] = (16, 32, 64), classes: int = 10, dim: int = 64):
        super().__init__()
        validate.sizes(channels=channels, classes=classes)
        check_widths(widths)
        self.channels, self.time = channels, TimeEmbedding(dim)
        self.inward = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(i, o, 3, 2, padding=1) for i, o in zip(widths, widths[1:]))
        self.blocks = nn.ModuleList(Block(w, w, dim) for w in widths[:-1])
        self.blocks.append(Block(widths[-1], widths[-1], dim, heads_of(widths[-1])))
        self.head = nn.Sequential(
            norm(widths[-1]), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        emb = silu(self.time(time))
        h = self.blocks[0](self.inward(validate.shape("x", x, self.channels, "H", "W")), emb)
        for down, block in zip(self.downs, self.blocks[1:]):
            h = block(down(h), emb)
        return self.head(h)


def jitter(x: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Pictures (B, C, H, W) in [-1, 1], each with a random rotation, scaling, shear and shift: data augmentation.

    Uniform, up to 15 degrees, 15 %, 15 % and 1.5 of 16 pixels. The padding is background, -1.
    """
    u = 2 * rand(6, len(validate.batch("x", x, "C", "H", "W")), rng=rng).to(x.device) - 1
    angle, slant = u[0] * math.radians(15), 0.15 * u[1]
    wide, high = 1 + 0.15 * u[2], 1 + 0.15 * u[3]
    shift = u[4:] * 1.5 / 8
    rows = [
        torch.stack([wide * angle.cos(), slant - angle.sin(), shift[0]], 1),
        torch.stack([angle.sin(), high * angle.cos(), shift[1]], 1),
    ]
    grid = affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return grid_sample(x + 1, grid, align_corners=False) - 1
