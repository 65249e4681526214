"""Points in the plane (and on the line): mixtures whose truth is known, and shapes that have no closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib import validate
from course_lib.mixtures import GaussianMixture


def ring(k: int = 8, radius: float = 1.0, std: float = 0.1) -> GaussianMixture:
    """k Gaussians on a circle, each a class of its own."""
    angle = torch.arange(validate.at_least("k", k, 1), dtype=torch.float64) * (2 * math.pi / k)
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixture(torch.ones(k), means, torch.full((k,), std))


def grid(k: int = 5, side: float = 2.0, std: float = 0.05) -> GaussianMixture:
    """k x k Gaussians on a square of the given side, around the origin."""
    line = torch.linspace(-side / 2, side / 2, validate.at_least("k", k, 1), dtype=torch.float64)
    return GaussianMixture(torch.ones(k * k), torch.cartesian_prod(line, line), torch.full((k * k,), std))


def pair(apart: float = 2.0, std: float = 0.2, weights: tuple[float, float] = (0.3, 0.7)) -> GaussianMixture:
    """Two Gaussians on the line, one heavier than the other."""
    means = torch.tensor([[-apart / 2], [apart / 2]], dtype=torch.float64)
    return GaussianMixture(torch.tensor(weights), means, torch.full((2,), std))


def triangle(std: float = 0.45) -> GaussianMixture:
    """Three Gaussians, each a class of its own, that reach into each other: no point is sure of its class."""
    return GaussianMixture(torch.ones(3), torch.tensor([[0.0, 0.9], [-0.8, -0.45], [0.8, -0.45]]), torch.full((3,), std))


def moons(n: int, std: float = 0.07, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """n points on two half circles that reach into each other (n, 2), and which of the two each is on (n,)."""
    label = torch.randint(2, (validate.at_least("n", n, 1),), generator=rng)
    angle = math.pi * torch.rand(n, generator=rng)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    x = torch.where(label[:, None] == 0, upper, -upper) / 1.25
    return x + std * torch.randn(n, 2, generator=rng), label


def spiral(n: int, turns: float = 1.75, std: float = 0.03, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """n points on two arms of a spiral (n, 2), and the arm of each (n,)."""
    label = torch.randint(2, (validate.at_least("n", n, 1),), generator=rng)
    r = torch.rand(n, generator=rng).sqrt()
    angle = 2 * math.pi * turns / 2 * r + math.pi * label
    x = 1.2 * r[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return x + std * torch.randn(n, 2, generator=rng), label


def outline(picture: Tensor, n: int, rng: torch.Generator | None = None) -> Tensor:
    """n points spread over the dark part of a picture (H, W) in [-1, 1], the brighter the denser: (n, 2) in [-1.2, 1.2]."""
    H, W = picture.shape
    ink = (picture.double() + 1).clamp(min=0).flatten()
    if not ink.sum() > 0:
        raise ValueError("picture must have some pixel above -1, got none")
    at = torch.multinomial(ink, validate.at_least("n", n, 1), replacement=True, generator=rng)
    row, col = at // W + torch.rand(n, generator=rng), at % W + torch.rand(n, generator=rng)
    return 1.2 * torch.stack([2 * col / W - 1, 1 - 2 * row / H], 1)
