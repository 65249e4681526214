"""Noise schedules. Each function returns the T values of one schedule (T,), in float64, from which a process is made."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib import validate


def linear_beta(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """beta_1 .. beta_T, equally spaced (T,). Ho et al. 2020, section 4, whose T is 1,000.

    For another T all betas are multiplied by 1000 / T, so that x_T is about as noisy as theirs.
    Raises ValueError if a beta would be 1 or more.
    """
    validate.at_least("T", T, 2)
    scale = 1000 / T
    if not 0 < scale * validate.finite("start", start) <= scale * validate.finite("end", end) < 1:
        raise ValueError(f"start and end must satisfy 0 < start <= end < {1 / scale:g} at T = {T}, got {start}, {end}")
    return torch.linspace(scale * start, scale * end, T, device="cpu", dtype=torch.float64)


def cosine_beta(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Tensor:
    """beta_1 .. beta_T (T,) for which alpha_bar falls as a squared cosine. Nichol and Dhariwal 2021, eq. 17.

    `s` keeps the first betas from being too small; betas are clipped at `max_beta`, as in the paper.
    Raises ValueError if s is negative, or max_beta not in [0, 1].
    """
    validate.at_least("T", T, 2)
    validate.finite("s", s, 0)
    validate.finite("max_beta", max_beta, 0, 1)
    t = torch.arange(T + 1, device="cpu", dtype=torch.float64) / T
    f = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=max_beta)


def geometric_sigma(T: int = 100, min_sigma: float = 0.01, max_sigma: float = 10.0) -> Tensor:
    """sigma_1 .. sigma_T (T,), a geometric sequence. Song and Ermon 2019, section 4.2.

    Their index runs from the largest sigma to the smallest; here noise grows with t, as in every process of the course.
    """
    validate.at_least("T", T, 2)
    if not 0 < validate.finite("min_sigma", min_sigma) < validate.finite("max_sigma", max_sigma):
        raise ValueError(f"min_sigma and max_sigma must satisfy 0 < min_sigma < max_sigma, got {min_sigma}, {max_sigma}")
    return torch.logspace(math.log10(min_sigma), math.log10(max_sigma), T, device="cpu", dtype=torch.float64)
