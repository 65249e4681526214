"""Noise schedules: numbers only. Each function returns the T steps of one, as float64, for a process to use."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib import validate


def linear_beta(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """beta_1 .. beta_T, equally spaced (T,). Ho et al. 2020, section 4, whose T is 1,000.

    A shorter chain gets steps as much larger as it is shorter, so that x_T is as noisy as theirs.
    Raises ValueError where that would make a beta of 1 or more.
    """
    validate.at_least("T", T, 2)
    scale = 1000 / T
    if not 0 < scale * start <= scale * end < 1:
        raise ValueError(f"start and end must satisfy 0 < start <= end < {1 / scale:g} at T = {T}, got {start}, {end}")
    return torch.linspace(scale * start, scale * end, T, dtype=torch.float64)


def cosine_beta(T: int = 1000, s: float = 0.008, most: float = 0.999) -> Tensor:
    """beta_1 .. beta_T (T,) for which alpha_bar falls as a squared cosine. Nichol and Dhariwal 2021, eq. 17.

    `s` keeps the first steps from being too small to see; betas are cut at `most`, as in the paper.
    """
    validate.at_least("T", T, 2)
    t = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=most)


def geometric_sigma(T: int = 100, least: float = 0.01, most: float = 10.0) -> Tensor:
    """sigma_1 .. sigma_T (T,), each a fixed multiple of the one before. Song and Ermon 2019, section 4.2.

    They count from the largest down; here, as for every process of the course, noise grows with t.
    """
    validate.at_least("T", T, 2)
    if not 0 < least < most:
        raise ValueError(f"least and most must satisfy 0 < least < most, got {least}, {most}")
    return torch.logspace(math.log10(least), math.log10(most), T, dtype=torch.float64)
