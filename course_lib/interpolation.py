"""Between two noises."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib import validate


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """From a (share 0) to b (share 1), both (B, ...), along the arc; each member by its own angle. Shoemake 1985.

    A straight line between two Gaussian noises runs through noises that are too short; on the arc each keeps its length.
    """
    validate.same_shape("b", validate.batch("b", b), "a", validate.batch("a", a))
    angle = torch.arccos(torch.cosine_similarity(a.flatten(1), b.flatten(1)).clamp(-1, 1))
    angle = angle.clamp(min=1e-4).view(-1, *[1] * (a.ndim - 1))  # where both point the same way, the arc is the line
    return ((1 - share) * angle).sin() / angle.sin() * a + (share * angle).sin() / angle.sin() * b
