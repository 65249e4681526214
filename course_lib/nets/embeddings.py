"""Embeddings of time and class."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.denoisers import NULL


def sinusoidal(time: Tensor, dim: int, longest: float = 10_000.0) -> Tensor:
    """Sines and cosines (B, dim) of time (B,), in steps, at dim / 2 frequencies from 1 down to 1 / longest.

    Vaswani et al. 2017, section 3.5, for a position; Ho et al. 2020 for t in 0..1,000.
    """
    validate.multiple("dim", dim, 2)
    validate.positive("longest", longest)
    validate.shape("time", time)
    frequency = torch.exp(-math.log(longest) * torch.arange(dim // 2, device=time.device, dtype=torch.float32) / (dim // 2))
    angle = time[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


def fourier(time: Tensor, frequency: Tensor) -> Tensor:
    """Sines and cosines (B, dim) of 2 pi time (B,) at random frequencies (dim / 2,). Tancik et al. 2020, eq. 5."""
    angle = 2 * math.pi * validate.shape("time", time)[:, None] * validate.shape("frequency", frequency)
    return torch.cat([angle.sin(), angle.cos()], 1)


KINDS = ("sinusoidal", "fourier")


class TimeEmbedding(nn.Module):
    """Time as a fraction of T (B,) to a vector (B, dim): sines and cosines, then two linear layers.

    `kind` is 'sinusoidal' (Ho et al. 2020, appendix B) or 'fourier', with fixed random frequencies from N(0, 16^2) (Song et al.
    2021, SDE, appendix H.2; theirs are of the logarithm of the noise, which is nearly linear in our time).
    """

    frequency: Tensor | None

    def __init__(self, dim: int, kind: str = "sinusoidal"):
        super().__init__()
        validate.choice("kind", kind, KINDS)
        self.dim = validate.multiple("dim", dim, 2)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.register_buffer("frequency", 16 * torch.randn(dim // 2) if kind == "fourier" else None)

    def forward(self, time: Tensor) -> Tensor:
        validate.shape("time", time)
        waves = sinusoidal(1000 * time, self.dim) if self.frequency is None else fourier(time, self.frequency)
        return self.mlp(waves.to(cast(nn.Linear, self.mlp[0]).weight.dtype))  # 1,000 times differ in the waves, not in bfloat16


class TwoTimes(nn.Module):
    """The sum (B, dim) of the embeddings of two times (B, 2), with slower waves than TimeEmbedding's, by the factor `scale`.

    What is differentiated with respect to time needs slow waves: of a TimeEmbedding the fastest turn by 1,000 radians. Of one
    time (B,) the second is 0: a network of t and t - r is then one of the velocity, r = t.
    """

    def __init__(self, dim: int, scale: float = 0.02):
        super().__init__()
        self.scale = validate.positive("scale", scale)
        self.first, self.second = TimeEmbedding(dim), TimeEmbedding(dim)

    def forward(self, times: Tensor) -> Tensor:
        if times.ndim == 1:
            times = torch.stack([times, torch.zeros_like(times)], 1)
        first, second = (self.scale * validate.shape("times", times, 2)).unbind(1)
        return self.first(first) + self.second(second)


class LabelEmbedding(nn.Embedding):
    """A learned vector for each of `classes` labels, and one for the null condition (Ho and Salimans 2022)."""

    def __init__(self, classes: int, dim: int):
        validate.sizes(classes=classes, dim=dim)
        super().__init__(classes + 1, dim)
        self.null = classes

    def forward(self, cond: Tensor) -> Tensor:
        return super().forward(validate.indices("cond", cond))

    def as_condition(self, cond: Any) -> Tensor:
        """Indices (1,) or (B,) of a label, a row of labels, or NULL. Raises TypeError or ValueError for an unknown label."""
        if cond is NULL:
            return torch.tensor([self.null], device="cpu", dtype=torch.long)
        label = validate.tensor("label", cond, "a whole number or a row of them")
        if label.is_floating_point() or label.dtype == torch.bool or label.ndim > 1:
            raise TypeError(f"label must be a whole number or a row of them, got {cond!r}")
        if label.numel() == 0 or label.min() < 0 or label.max() >= self.null:
            raise ValueError(f"label must lie in 0..{self.null - 1} (or be NULL), got {cond!r}")
        return label.long().reshape(-1)
