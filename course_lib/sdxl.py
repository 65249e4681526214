"""SDXL in miniature: pictures as they are found, small or cut off, and a second network for the last steps.

Podell et al. 2023, SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib.datasets import shapes
from course_lib.datasets.scenes import Scene
from course_lib.datasets.shapes import SIDE
from course_lib.denoisers import Denoiser, Network
from course_lib.prediction import Prediction
from course_lib.process import Process, Time
from course_lib.training import denoising_loss

SIDES = (8, 16)
"""The sides of the pictures that are too small."""
MOST_CUT = 12
"""Pixels that are cut off at most, at the top and at the left."""


def found(scene: Scene, rng: torch.Generator | None = None, small: float = 0.5, cut: float = 0.5) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, 32, 32) of scenes as a collection from everywhere has them, and how each came about, micro (B, 3).

    A share of them was `small`, of one of SIDES, and has been enlarged; of a share the top and the left are `cut` off. Micro is
    the side that it had, and the pixels cut off at the top and at the left.
    """
    B, where = len(scene), shapes.layout(scene, rng)
    u, v = torch.rand(2, B, generator=rng)
    side = torch.where(u < small, torch.tensor(SIDES)[torch.randint(len(SIDES), (B,), generator=rng)], SIDE)
    off = torch.randint(1, MOST_CUT + 1, (B, 2), generator=rng) * (v < cut)[:, None]
    x = shapes.paint(scene, replace(where, x=where.x - off[:, 1:], y=where.y - off[:, :1]))
    for s in SIDES:
        x[side == s] = once_small(x[side == s], s)
    return x, torch.cat([side[:, None], off], 1)


def once_small(x: Tensor, side: int) -> Tensor:
    """What is left of pictures x (B, C, H, W) that were kept at side x side and then enlarged, each pixel to a block.

    Blocks, since an autoencoder that never saw a blurred picture sharpens it; blocks come back as blocks.
    """
    return interpolate(interpolate(x, size=(side, side), mode="nearest-exact"), size=x.shape[2:], mode="nearest-exact")


@dataclass(frozen=True, eq=False)
class Relay:
    """`first` down to time `at`, and `last` from there on: a refiner, an expert for little noise. Podell et al. 2023, section
    2.5; Balaji et al. 2022 (eDiff-I). Both must have the same process. Times are numbers, as samplers have them."""

    first: Denoiser
    last: Denoiser
    at: int = 200

    @property
    def process(self) -> Process:
        return self.first.process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        return self.first(x_t, t) if t > self.at else self.last(x_t, t)


def refiner_loss(denoiser: Network, x0: Tensor, last: int = 200, rng: torch.Generator | None = None) -> Tensor:
    """The denoising loss of pictures or latents x0 (B, ...) at times 1..last alone. Podell et al. 2023, section 2.5."""
    return denoising_loss(denoiser, x0, rng, torch.randint(1, last + 1, (len(x0),), generator=rng))


def border(x: Tensor) -> Tensor:
    """In which pictures (B, 3, H, W) something touches the border (B,): a pixel of the edge is more than half covered."""
    bright = x.amax(1)
    edge = torch.stack([part.amax(1) for part in (bright[:, 0], bright[:, -1], bright[:, :, 0], bright[:, :, -1])])
    return edge.amax(0) > 0


def detail(x: Tensor) -> Tensor:
    """What pictures (B, 3, H, W) hold that blocks of 2 x 2 pixels could not (B,), a root mean square: 0 for what was small."""
    return (x - interpolate(avg_pool2d(x, 2), scale_factor=2.0, mode="nearest")).square().mean((1, 2, 3)).sqrt()
