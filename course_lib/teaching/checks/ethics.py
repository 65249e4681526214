"""Lesson 20: ethics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.methods import watermark
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, on

# memorisation_score

KNOWN = torch.randn(40, 1, 4, 4, generator=seeded(1))
SAMPLES = torch.cat([KNOWN[:3] + 0.02, torch.randn(4, 1, 4, 4, generator=seeded(2))])
POINTS = torch.randn(30, 2, generator=seeded(3))


def _memorisation_score(x: Tensor, known: Tensor, n: int) -> Tensor:
    """The distance to the nearest over the mean distance to the n nearest (Carlini et al. 2023, section 5.1)."""
    distance = torch.cdist(x.flatten(1), known.flatten(1)).sort(dim=1).values
    return distance[:, 0] / distance[:, :n].mean(1)


memorisation_score = Check(
    "memorisation_score",
    _memorisation_score,
    cases=[
        Case("three copies among seven samples, n = 10", on(SAMPLES, KNOWN, 10)),
        Case("more neighbours, n = 30", on(SAMPLES, KNOWN, 30)),
        Case("known pictures among the samples", on(torch.cat([KNOWN[:2], SAMPLES]), KNOWN, 10), 2e-3),
        Case("twice as large pictures have the same score", on(2 * SAMPLES, 2 * KNOWN, 10)),
        Case("points (B, 2), as well as pictures", on(POINTS[:5], POINTS[5:], 8)),
    ],
    mistakes={
        "the distances are squared": {".sort(": ".square().sort("},
        "distances are summed along the axes (L1); Euclidean ones are meant": {"known.flatten(1)": "known.flatten(1), p=1"},
        "the mean is taken over all that is known, not over the n nearest": {"[:, :n]": ""},
        "the n farthest are taken; the nearest are meant": {":n": "[0, *range(1 - n, 0)]"},
        "the ratio is turned over": {"return ": "return 1 / (", ".mean(1)": ".mean(1))"},
        "the nearest is compared with the n-th alone, not with the mean of n": {":n].mean(1)": "n - 1]"},
        "it is the distance to the nearest alone; what is near depends on the picture": {" / distance[:, :n].mean(1)": ""},
    },
    hint="torch.cdist(x.flatten(1), known.flatten(1)).topk(n, dim=1, largest=False).values are the n nearest, in order.",
    shown=(metrics.memorisation,),
)


# detection_limit

SCORES = torch.randn(400, generator=seeded(4)).exp() - 1


def _detection_limit(scores: Tensor, rate: float) -> Tensor:
    """The threshold that a share `rate` of these scores passes."""
    return scores.quantile(1 - rate)


detection_limit = Check(
    "detection_limit",
    _detection_limit,
    cases=[
        Case("one in a hundred passes", on(SCORES, 0.01)),
        Case("one in ten passes", on(SCORES, 0.1)),
        Case("how many pass it, of 400: 20 at a rate of 0.05", lambda fn: (SCORES > fn(SCORES.clone(), 0.05)).sum()),
        Case("the order of the scores plays no part", on(SCORES.flip(0), 0.1)),
    ],
    mistakes={
        "the threshold is at the wrong end: nearly all unmarked pictures pass it": {"1 - rate": "rate"},
        "it is the largest score, whatever the rate": {"quantile(1 - rate)": "max()"},
        "the scores are taken for a Gaussian's: mean and spread do not determine how long their tail is": {
            "quantile(1 - rate)": "mean() + scores.std() * torch.special.ndtri(torch.tensor(1 - rate))"
        },
        "a share of the largest score is taken; a share of the *pictures* is meant": {"quantile(": "max() * ("},
        "the rate is halved, as in a two-sided test": {"- rate": "- rate / 2"},
    },
    hint="scores.quantile(1 - rate): what a share 1 - rate of them does not pass.",
)


# mark_noise

NOISE = torch.randn(3, 2, 8, 8, generator=seeded(5))
KEY = watermark.draw_key(8, 1, 2.5, seed=1).value
TWO_WAVES = watermark.draw_key(8, 1, 1.1, seed=2).value


def _mark_noise(noise: Tensor, value: Tensor) -> Tensor:
    """Noise whose frequencies are `value` wherever that is not 0 (Wen et al. 2023, section 3)."""
    f = torch.fft.fft2(noise, norm="ortho")
    f = torch.where(value != 0, value.to(f.dtype), f)
    return torch.fft.ifft2(f, norm="ortho").real


def _frequencies(mask: Tensor) -> Callable:
    """A case's `run`: the real and imaginary parts of the marked noise at these frequencies."""
    return lambda fn: torch.view_as_real(torch.fft.fft2(on(NOISE, KEY)(fn), norm="ortho")[..., mask])


mark_noise = Check(
    "mark_noise",
    _mark_noise,
    cases=[
        Case("a ring of frequencies, in noise (3, 2, 8, 8)", on(NOISE, KEY)),
        Case("two waves, in noise that is all 0", on(0 * NOISE, TWO_WAVES)),
        Case("at the key's frequencies stands the key", _frequencies(KEY != 0)),
        Case("the other frequencies stay as they were", _frequencies(KEY == 0)),
        Case("no key, no change", on(NOISE, 0 * KEY)),
    ],
    mistakes={
        "the key is added to the noise's frequencies; it must take their place": {"value.to(f.dtype), f": "f + value, f"},
        'the key has no strength: without norm="ortho" a frequency of noise is as large as the side of the picture': {
            'noise, norm="ortho"': "noise",
            'f, norm="ortho"': "f",
        },
        "all other frequencies are lost": {"value.to(f.dtype), f": "value, 0 * f"},
        "the key multiplies the noise's frequencies; it must take their place": {"value.to(f.dtype), f": "value * f, f"},
        "the key is put into the noise itself, not its frequencies": lambda noise, value: noise.where(value == 0, value.real),
    },
    hint='f = torch.fft.fft2(noise, norm="ortho"); torch.where(value != 0, value.to(f.dtype), f); ifft2, same norm, .real.',
    shown=(watermark.add_mark,),
)
