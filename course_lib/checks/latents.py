"""Lesson 12: latent diffusion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import latents
from course_lib.checks.check import Case, Check, on


def _some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# kl_term

MEAN, LOG_VARIANCE = _some(6, 2, 3, 4), 0.7 * _some(6, 2, 3, 4, seed=1) - 1
FLAT, ONE = torch.zeros(5, 8), torch.ones(5, 8)


def _kl_with(
    mean=lambda mean: mean.square(),
    variance=lambda log_variance: log_variance.exp(),
    log=lambda log_variance: log_variance,
    one=1.0,
    half=0.5,
    over=lambda kl: kl.mean(),
) -> Callable:
    """kl_term with another part of its formula, or another sum."""
    return lambda m, s: over(half * (mean(m) + variance(s) - one - log(s)))


def _mean_after(fn: Callable) -> Tensor:
    mean, log_variance = MEAN.clone(), LOG_VARIANCE.clone()
    fn(mean, log_variance)
    return torch.cat([mean, log_variance])


kl_term = Check(
    "kl_term",
    latents.kl_term,
    cases=[
        Case("N(0, 1) itself costs nothing", lambda fn: 1 + torch.as_tensor(fn(FLAT.clone(), FLAT.clone()))),
        Case("a mean of 1 costs half a nat for each number", on(ONE, FLAT)),
        Case("a mean of -1 costs the same", on(-ONE, FLAT)),
        Case("e^2 times the variance: (e^2 - 1 - 2) / 2 nats", on(FLAT, 2 * ONE)),
        Case("a variance near 0 costs more and more: 4 nats at e^-9", on(FLAT, -9 * ONE)),
        Case("the mean over all numbers of latents (B, C, h, w)", on(MEAN, LOG_VARIANCE)),
        Case("mean and log_variance are left as they were", _mean_after),
    ],
    mistakes=[
        ("the 1/2 in front is missing", _kl_with(half=1.0)),
        ("the mean is not squared", _kl_with(mean=lambda m: m)),
        ("log_variance is taken for the variance itself: the variance is its exp", _kl_with(variance=lambda s: s)),
        (
            "log_variance is taken for the logarithm of the standard deviation: its exp is the variance already",
            _kl_with(variance=lambda s: (2 * s).exp()),
        ),
        ("the logarithm is missing: nothing keeps the variance from 0", _kl_with(log=lambda s: 0.0)),
        ("the 1 is missing: N(0, 1) should cost nothing", _kl_with(one=0.0)),
        ("the sum is taken where the mean over all numbers belongs", _kl_with(over=lambda kl: kl.sum())),
        ("the sign is turned: this falls as the latents leave N(0, 1)", _kl_with(over=lambda kl: -kl.mean())),
    ],
    hint="0.5 * (mean**2 + variance - 1 - log_variance), with variance = log_variance.exp(), and the mean over everything.",
)


# latent_scale

Z = 3 * _some(50, 4, 6, 6, seed=2) * torch.tensor([0.5, 1.0, 1.0, 2.0]).view(1, 4, 1, 1) + 0.8
WIDE = 20 * _some(40, 2, 8, 8, seed=3)


def _z_after(fn: Callable) -> Tensor:
    z = Z.clone()
    fn(z)
    return z


latent_scale = Check(
    "latent_scale",
    latents.unit_scale,
    cases=[
        Case("one number, the standard deviation's inverse", on(Z), 1e-3),
        Case("latents of unit variance stay as they are", lambda fn: fn(Z.clone() / Z.std()) * torch.ones(()), 1e-3),
        Case("twice the latents, half the number", lambda fn: fn(2 * Z) / fn(Z.clone()) * torch.ones(()), 1e-3),
        Case("where the mean is not 0, it does not count", lambda fn: fn(Z + 5) / fn(Z.clone()) * torch.ones(()), 1e-3),
        Case("wide latents, two channels", on(WIDE), 1e-3),
        Case("z is left as it was", _z_after),
    ],
    mistakes=[
        ("this is the standard deviation: what to multiply by is its inverse", lambda z: z.std()),
        ("it divides by the variance: the standard deviation is its root", lambda z: 1 / z.var()),
        (
            "each channel has a number of its own; one number for all keeps the channels as they lie to each other",
            lambda z: 1 / z.std(dim=(0, 2, 3)),
        ),
        ("each latent has a number of its own, which could not be undone", lambda z: 1 / z.flatten(1).std(1)),
        ("the root mean square is taken, in which the mean counts", lambda z: 1 / z.square().mean().sqrt()),
        ("the largest value is taken: unit variance is asked for, not a range", lambda z: 1 / z.abs().max()),
    ],
    hint="One number: 1 / z.std(), over the whole batch, all channels and places.",
)
