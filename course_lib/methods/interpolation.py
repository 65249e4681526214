"""Interpolation between two noises."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib import validate


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical linear interpolation from a (share 0) to b (share 1), both (B, ...), of each member. Shoemake 1985.

    Linear interpolation of two independent Gaussian noises has a smaller norm in between; on the arc the norm is kept. Raises
    ValueError for noises in opposite directions.
    """
    validate.like("b", b, "a", validate.batch("a", a))
    validate.finite("share", share)
    angle = torch.arccos(torch.cosine_similarity(a.flatten(1), b.flatten(1)).clamp(-1, 1))
    if (angle > math.pi - 1e-3).any():
        raise ValueError("b must not be opposite to a, since no arc between them is the shortest, got such a pair")
    angle = angle.clamp(min=1e-4).view(-1, *[1] * (a.ndim - 1))  # for parallel noises the arc is a line
    return ((1 - share) * angle).sin() / angle.sin() * a + (share * angle).sin() / angle.sin() * b
