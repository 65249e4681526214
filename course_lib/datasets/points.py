"""Points in the plane and on the line: Gaussian mixtures, whose density is known exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib import validate
from course_lib.mixtures import GaussianMixture
from course_lib.process import rand, randn


def ring(k: int = 8, radius: float = 1.0, std: float = 0.1) -> GaussianMixture:
    """k Gaussians on a circle, each a class of its own."""
    angle = torch.arange(validate.at_least("k", k, 1), device="cpu", dtype=torch.float64) * (2 * math.pi / k)
    means = validate.finite("radius", radius, 0) * torch.stack([angle.cos(), angle.sin()], 1)
    return _equal(means, std)


def circle(n: int, radius: float = 1.0, std: float = 0.1, rng: torch.Generator | None = None) -> Tensor:
    """n points (n, 2) of even density along a circle, with the radius and the width of `ring`, but without its Gaussians.

    It is the null model of claims about the ring: a metric that takes it for the ring does not see modes.
    """
    angle = 2 * math.pi * rand(validate.at_least("n", n, 1), rng=rng)
    distance = validate.finite("radius", radius, 0) + _float32("std", std) * randn(n, rng=rng)
    return torch.stack([distance * angle.cos(), distance * angle.sin()], 1)


def grid(k: int = 5, side: float = 2.0, std: float = 0.05) -> GaussianMixture:
    """k x k Gaussians on a square of the given side, around the origin."""
    half = validate.finite("side", side, 0) / 2
    line = torch.linspace(-half, half, validate.at_least("k", k, 1), device="cpu", dtype=torch.float64)
    return _equal(torch.cartesian_prod(line, line), std)


def pair(apart: float = 2.0, std: float = 0.2, weights: tuple[float, float] = (0.3, 0.7)) -> GaussianMixture:
    """Two Gaussians on the line, with different weights."""
    half = validate.finite("apart", apart) / 2
    means = torch.tensor([[-half], [half]], device="cpu", dtype=torch.float64)
    if len(validate.filled("weights", weights)) != 2:
        raise ValueError(f"weights must be two, got {len(weights)}")
    return GaussianMixture(torch.stack([_float32("weights", w) for w in weights]), means, _float32("std", std))


def triangle(std: float = 0.45) -> GaussianMixture:
    """Three Gaussians, each a class of its own, that overlap, so that no point's class is certain."""
    return _equal(torch.tensor([[0.0, 0.9], [-0.8, -0.45], [0.8, -0.45]], device="cpu", dtype=torch.float32), std)


def _equal(means: Tensor, std: float) -> GaussianMixture:
    """Gaussians at these means, of equal weight and standard deviation."""
    return GaussianMixture(1.0, means, _float32("std", std))


def _float32(name: str, value: float) -> Tensor:
    """A positive number as a tensor (), in the type in which all models of points were trained."""
    return torch.tensor(validate.positive(name, value), device="cpu", dtype=torch.float32)
