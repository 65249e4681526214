"""Lesson 20: ethics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import metrics, provenance
from course_lib.checks.check import Case, Check, on

KNOWN = torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
SAMPLES = torch.cat([KNOWN[:3] + 0.02, torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(2))])
POINTS = torch.randn(30, 2, generator=torch.Generator().manual_seed(3))


# memorisation_score


def _score_with(
    distances=lambda x, known: torch.cdist(x.flatten(1), known.flatten(1)),
    near=lambda d, n: d.topk(n, dim=1, largest=False).values,
    ratio=lambda nearest: nearest[:, 0] / nearest.mean(1),
) -> Callable:
    """memorisation_score with another distance, other neighbours, or another ratio."""

    def memorisation_score(x, known, n):
        return ratio(near(distances(x, known), n))

    return memorisation_score


def _reference_score(x: Tensor, known: Tensor, n: int) -> Tensor:
    """The distance to the nearest over the mean distance to the n nearest (Carlini et al. 2023, section 5.1)."""
    return _score_with()(x, known, n)


memorisation_score = Check(
    "memorisation_score",
    _reference_score,
    cases=[
        Case("three copies among seven samples, n = 10", on(SAMPLES, KNOWN, 10)),
        Case("more neighbours, n = 30", on(SAMPLES, KNOWN, 30)),
        Case("known pictures among the samples", on(torch.cat([KNOWN[:2], SAMPLES]), KNOWN, 10), tolerance=2e-3),
        Case("twice as large pictures have the same score", lambda fn: fn(2 * SAMPLES, 2 * KNOWN, 10)),
        Case("points (B, 2), as well as pictures", on(POINTS[:5], POINTS[5:], 8)),
    ],
    mistakes=[
        (
            "the distances are squared",
            _score_with(distances=lambda x, known: torch.cdist(x.flatten(1), known.flatten(1)).square()),
        ),
        (
            "distances are counted along the axes (L1); Euclid's are meant",
            _score_with(distances=lambda x, known: torch.cdist(x.flatten(1), known.flatten(1), p=1)),
        ),
        ("the mean is taken over all that is known, not over the n nearest", _score_with(near=lambda d, n: d.sort(1).values)),
        (
            "the n farthest are taken; the nearest are meant",
            _score_with(near=lambda d, n: torch.cat([d.min(1, keepdim=True).values, d.topk(n - 1, dim=1).values], 1)),
        ),
        ("the ratio is turned over", _score_with(ratio=lambda nearest: nearest.mean(1) / nearest[:, 0])),
        (
            "the nearest is compared with the n-th alone, not with the mean of n",
            _score_with(ratio=lambda nearest: nearest[:, 0] / nearest[:, -1]),
        ),
        ("it is the distance to the nearest alone; what is near depends on the picture", _score_with(ratio=lambda v: v[:, 0])),
    ],
    hint="torch.cdist(x.flatten(1), known.flatten(1)).topk(n, dim=1, largest=False).values are the n nearest, in order.",
    shown=(metrics.memorisation,),
)


# detection_limit


def _reference_limit(scores: Tensor, rate: float) -> Tensor:
    """The score that a share `rate` of these passes."""
    return scores.quantile(1 - rate)


SCORES = torch.randn(400, generator=torch.Generator().manual_seed(4)).exp() - 1

detection_limit = Check(
    "detection_limit",
    _reference_limit,
    cases=[
        Case("one in a hundred passes", on(SCORES, 0.01)),
        Case("one in ten passes", on(SCORES, 0.1)),
        Case("how many pass it, of 400: 20 at a rate of 0.05", lambda fn: (SCORES > fn(SCORES.clone(), 0.05)).sum()),
        Case("the order of the scores plays no part", on(SCORES.flip(0), 0.1)),
    ],
    mistakes=[
        ("the limit is at the wrong end: nearly all unmarked pictures pass it", lambda scores, rate: scores.quantile(rate)),
        ("it is the largest score, whatever the rate", lambda scores, rate: scores.max()),
        (
            "the scores are taken for a Gaussian's: mean and spread do not tell how long their tail is",
            lambda scores, rate: (
                scores.mean() + scores.std() * torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - rate))
            ),
        ),
        (
            "a share of the largest score is taken; a share of the *pictures* is meant",
            lambda scores, rate: (1 - rate) * scores.max(),
        ),
        ("the rate is halved, as if there were two ends to fear", lambda scores, rate: scores.quantile(1 - rate / 2)),
    ],
    hint="scores.quantile(1 - rate): what a share 1 - rate of them does not pass.",
)


# mark_noise

NOISE = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(5))
KEY = provenance.draw_key(8, 1, 2.5, seed=1).value
PLAIN_KEY = torch.zeros(8, 8, dtype=torch.complex64)
PLAIN_KEY[0, 1] = PLAIN_KEY[0, 7] = 1.0


def _mark_with(
    there=lambda f, value: torch.where(value != 0, value.to(f.dtype), f),
    norm: str = "ortho",
) -> Callable:
    """mark_noise with something else at the marked frequencies, or in other units."""

    def mark_noise(noise, value):
        return torch.fft.ifft2(there(torch.fft.fft2(noise, norm=norm), value), norm=norm).real

    return mark_noise


def _reference_mark(noise: Tensor, value: Tensor) -> Tensor:
    """Noise whose frequencies are `value` wherever that is not 0 (Wen et al. 2023, section 3)."""
    return _mark_with()(noise, value)


mark_noise = Check(
    "mark_noise",
    _reference_mark,
    cases=[
        Case("a ring of frequencies, in noise (3, 2, 8, 8)", on(NOISE, KEY)),
        Case("one wave, in noise that is all 0", on(0 * NOISE, PLAIN_KEY)),
        Case(
            "at the key's frequencies stands the key",
            lambda fn: torch.view_as_real(torch.fft.fft2(fn(NOISE.clone(), KEY.clone()), norm="ortho")[..., KEY != 0]),
        ),
        Case(
            "the other frequencies stay as they were",
            lambda fn: torch.view_as_real(torch.fft.fft2(fn(NOISE.clone(), KEY.clone()), norm="ortho")[..., KEY == 0]),
        ),
        Case("no key, no change", on(NOISE, 0 * KEY)),
    ],
    mistakes=[
        ("the key is added to the noise's frequencies; it must take their place", _mark_with(there=lambda f, value: f + value)),
        (
            'the key has no strength: without norm="ortho" a frequency of noise is as large as the side of the picture',
            _mark_with(norm="backward"),
        ),
        (
            "all other frequencies are lost",
            _mark_with(there=lambda f, value: value.to(f.dtype).expand_as(f)),
        ),
        (
            "the key multiplies the noise's frequencies; it must take their place",
            _mark_with(there=lambda f, value: torch.where(value != 0, value * f, f)),
        ),
        (
            "the key is put into the noise itself, not into its frequencies",
            lambda noise, value: torch.where(value != 0, value.real, noise),
        ),
    ],
    hint='f = torch.fft.fft2(noise, norm="ortho"); torch.where(value != 0, value.to(f.dtype), f); ifft2, same norm, .real.',
    shown=(provenance.marked,),
)
