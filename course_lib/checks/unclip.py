"""Lesson 11: unCLIP."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import interpolation
from course_lib.checks.check import Case, Check, on
from course_lib.process import DDPM, Process, Time
from course_lib.schedules import cosine_beta


def _some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# prior_loss

PROCESS = DDPM(cosine_beta(50))
Z, NOISE, WORDS, TIMES = _some(5, 6), _some(5, 6, seed=1), _some(5, 3, seed=2), torch.tensor([1, 12, 25, 38, 50])
MIX = _some(10, 6, seed=3)


def _prior(z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A small prior: something of the noisy vector, of the time and of the caption."""
    return torch.tanh(torch.cat([z_t, y, t[:, None] / 50], 1) @ MIX) + 0.5 * z_t


def _column(of_times: Tensor) -> Tensor:
    return of_times.float()[:, None]


def _loss_with(
    noised=lambda process, z, t, eps: process.add_noise(z, t, eps),
    target=lambda z, eps: z,
    cost=lambda error: error.square().sum(1).mean(),
    told=lambda y: y,
) -> Callable:
    """prior_loss with another noise, target or cost, or another caption."""

    def prior_loss(prior: Callable, process: Process, z: Tensor, y: Tensor, t: Time, eps: Tensor) -> Tensor:
        return cost(prior(noised(process, z, t, eps), t, told(y)) - target(z, eps))

    return prior_loss


def _reference_loss(prior: Callable, process: Process, z: Tensor, y: Tensor, t: Time, eps: Tensor) -> Tensor:
    """The mean over the batch of how far, squared, the vector that the prior says is from the true one.

    Ramesh et al. 2022, eq. 2. In the view x0 it is `training.denoising_loss`, but that this takes the mean over components.
    """
    z_t = process.add_noise(z, t, eps)
    return (prior(z_t, t, y) - z).square().sum(1).mean()


prior_loss = Check(
    "prior_loss",
    _reference_loss,
    cases=[
        Case("five vectors, each at a time of its own", on(_prior, PROCESS, Z, WORDS, TIMES, NOISE)),
        Case("little noise", on(_prior, PROCESS, Z, WORDS, torch.ones(5, dtype=torch.long), NOISE)),
        Case("much noise", on(_prior, PROCESS, Z, WORDS, torch.full((5,), 49), NOISE)),
        Case("a batch of two", on(_prior, PROCESS, Z[:2], WORDS[:2], TIMES[1:3], NOISE[:2])),
        Case("a prior that knows the answer has none", lambda fn: 1 + fn(lambda *_: Z, PROCESS, Z, WORDS, TIMES, NOISE)),
        Case("other captions, another loss", on(_prior, PROCESS, Z, WORDS.flip(0), TIMES, NOISE)),
    ],
    mistakes=[
        ("it is told to predict the noise; the prior predicts the clean vector", _loss_with(target=lambda z, eps: eps)),
        ("the prior is shown the clean vector, which it need only copy", _loss_with(noised=lambda process, z, t, eps: z)),
        (
            "the vector is noised without its signal being scaled: z_t = a z + b eps",
            _loss_with(noised=lambda process, z, t, eps: z + _column(process.noise(t)) * eps),
        ),
        (
            "signal and noise have changed places: z_t = a z + b eps",
            _loss_with(noised=lambda p, z, t, eps: _column(p.noise(t)) * z + _column(p.signal(t)) * eps),
        ),
        ("the mean over components is taken; the squared length is their sum", _loss_with(cost=lambda e: e.square().mean())),
        ("the batch is summed; its mean is meant", _loss_with(cost=lambda e: e.square().sum())),
        ("the length is not squared", _loss_with(cost=lambda e: e.norm(dim=1).mean())),
        ("the caption does not reach the prior", _loss_with(told=torch.zeros_like)),
    ],
    hint="z_t = process.add_noise(z, t, eps); then (prior(z_t, t, y) - z).square().sum(1).mean().",
)


# slerp

A, B = _some(4, 6, seed=4), 3 * _some(4, 6, seed=5)
LIKE = A + 1e-6 * B


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.cosine_similarity(a, b, dim=1)[:, None]


def _slerp_with(
    angle=lambda a, b: torch.arccos(_cosine(a, b).clamp(-1, 1)).clamp(min=1e-4),
    at=lambda share: share,
    weights=lambda angle, s: (((1 - s) * angle).sin() / angle.sin(), (s * angle).sin() / angle.sin()),
) -> Callable:
    """slerp with another angle, share or weights."""

    def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
        first, second = weights(angle(a, b), at(share))
        return first * a + second * b

    return slerp


def _all_as_one(a: Tensor, b: Tensor) -> Tensor:
    return torch.arccos(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)).expand(len(a), 1)


slerp = Check(
    "slerp",
    interpolation.slerp,
    cases=[
        Case("share 0 is a", on(A, B, 0.0)),
        Case("share 1 is b", on(A, B, 1.0)),
        Case("half way", on(A, B, 0.5)),
        Case("a third of the way", on(A, B, 1 / 3)),
        Case("between two of one length it keeps the length", lambda fn: fn(A, A.flip(1), 0.3).norm(dim=1)),
        Case("one pair alone: each has its own angle", on(A[:1], B[:1], 0.25)),
        Case("where both are nearly one, it is neither NaN nor far", on(A, LIKE, 0.5), tolerance=1e-3),
    ],
    mistakes=[
        ("it goes straight: (1 - s) a + s b leaves the arc", _slerp_with(weights=lambda angle, s: (1 - s, s))),
        ("it starts at b and ends at a", _slerp_with(at=lambda share: 1 - share)),
        ("all pairs share one angle; each has its own", _slerp_with(angle=_all_as_one)),
        (
            "the product of the vectors is taken for the cosine; divide by their lengths",
            _slerp_with(angle=lambda a, b: torch.arccos((a * b).sum(1, keepdim=True).clamp(-0.999, 0.999))),
        ),
        (
            "the weights are not divided by sin(angle)",
            _slerp_with(weights=lambda angle, s: (((1 - s) * angle).sin(), (s * angle).sin())),
        ),
        ("the cosine is taken for the angle; arccos is missing", _slerp_with(angle=lambda a, b: _cosine(a, b))),
    ],
    hint="angle = arccos(cosine_similarity(a, b)), one a pair; (sin((1 - s) angle) a + sin(s angle) b) / sin(angle); "
    "keep the angle from 0.",
)
