"""Points in the plane and on the line: Gaussian mixtures, whose density is known exactly."""

from __future__ import annotations

import math

import torch

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
    """Two Gaussians on the line, with different weights."""
    means = torch.tensor([[-apart / 2], [apart / 2]], dtype=torch.float64)
    return GaussianMixture(torch.tensor(weights), means, torch.full((2,), std))


def triangle(std: float = 0.45) -> GaussianMixture:
    """Three Gaussians, each a class of its own, that overlap, so that no point's class is certain."""
    return GaussianMixture(torch.ones(3), torch.tensor([[0.0, 0.9], [-0.8, -0.45], [0.8, -0.45]]), torch.full((3,), std))
