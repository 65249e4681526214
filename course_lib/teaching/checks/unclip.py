"""Lesson 11: unCLIP."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.methods import interpolation
from course_lib.process import Process, Time
from course_lib.teaching.checks.check import Case, Check, on
from course_lib.teaching.checks.spy import PROCESS, normal

# prior_loss
EMBEDDING, EPS, CAPTION, MATRIX = normal(5, 6), normal(5, 6, seed=1), normal(5, 3, seed=2), normal(10, 6, seed=3)
TIMES = torch.tensor([1, 12, 25, 38, 50])


def _prior(z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A small prior, a function of the noisy embedding, of the time and of the caption."""
    return torch.tanh(torch.cat([z_t, y, (t[:, None] / 50).to(z_t.dtype)], 1) @ MATRIX) + 0.5 * z_t


def _prior_loss(prior: Callable, process: Process, z: Tensor, y: Tensor, t: Time, eps: Tensor) -> Tensor:
    """The squared length of the error of the predicted embedding, mean over the batch. Ramesh et al. 2022, eq. 2."""
    a, b = process.coefficients(t, z)
    z_t = a * z + b * eps
    return (prior(z_t, t, y) - z).square().sum(1).mean()


prior_loss = Check(
    "prior_loss",
    _prior_loss,
    cases=[
        Case("five embeddings, each at a time of its own", on(_prior, PROCESS, EMBEDDING, CAPTION, TIMES, EPS)),
        Case("little noise", on(_prior, PROCESS, EMBEDDING, CAPTION, 0 * TIMES + 1, EPS)),
        Case("much noise", on(_prior, PROCESS, EMBEDDING, CAPTION, 0 * TIMES + 49, EPS)),
        Case("a batch of two", on(_prior, PROCESS, EMBEDDING[:2], CAPTION[:2], TIMES[1:3], EPS[:2])),
        Case("0 where the prediction is right", on(lambda *_: EMBEDDING.clone(), PROCESS, EMBEDDING, CAPTION, TIMES, EPS)),
        Case("other captions, another loss", on(_prior, PROCESS, EMBEDDING, CAPTION.flip(0), TIMES, EPS)),
    ],
    mistakes={
        "the prediction is compared with the noise; the prior predicts the clean vector": {" - z)": " - eps)"},
        "the prior is given the clean vector, which it needs only to copy": {"a * z + b * eps": "z"},
        "the vector is noised without its signal being scaled: z_t = a z + b eps": {"a * z +": "z +"},
        "signal and noise have changed places: z_t = a z + b eps": {"a * z + b * eps": "b * z + a * eps"},
        "the mean over components is taken; the squared length is their sum": {".sum(1)": ""},
        "the batch is summed; its mean is asked for": {".sum(1).mean()": ".sum()"},
        "the length is not squared": {".sum(1)": ".sum(1).sqrt()"},
        "the caption does not reach the prior": {", y)": ", 0 * y)"},
    },
    hint="z_t = process.add_noise(z, t, eps); then (prior(z_t, t, y) - z).square().sum(1).mean().",
)

# slerp
A, B = normal(4, 6, seed=4), 3 * normal(4, 6, seed=5)

slerp = Check(
    "slerp",
    interpolation.slerp,
    cases=[
        Case("share 0 is a", on(A, B, 0.0)),
        Case("share 1 is b", on(A, B, 1.0)),
        Case("half way", on(A, B, 0.5)),
        Case("a third of the way", on(A, B, 1 / 3)),
        Case("between two of one length it keeps the length", lambda fn: on(A, A.flip(1), 0.3)(fn).norm(dim=1)),
        Case("one pair alone: each has its own angle", on(A[:1], B[:1], 0.25)),
        Case("where both are nearly one, it is neither NaN nor far", on(A, A + 1e-6 * B, 0.5), tolerance=1e-3),
    ],
    mistakes={
        "it goes straight: (1 - s) a + s b leaves the arc": {"return": "return a.lerp(b, share)\n    return"},
        "it starts at b and ends at a": {"angle = torch": "share, angle = 1 - share, torch"},
        "all pairs share one angle; each has its own": {
            "a.flatten(1), b.flatten(1)).clamp(-1, 1)": "a.flatten(), b.flatten(), dim=0)",
            ".clamp(min=1e-4)": "",
        },
        "the product of the vectors is taken for the cosine; divide by their lengths": {
            "torch.cosine_similarity(a.flatten(1), b.flatten(1)).clamp(-1, 1)": "(a * b).sum(1).clamp(-0.999, 0.999)"
        },
        "the weights are not divided by sin(angle)": {"return": "a, b = a * angle.sin(), b * angle.sin()\n    return"},
        "the cosine is taken for the angle; arccos is missing": {"torch.arccos(": "(", ".clamp(min=1e-4)": ""},
    },
    hint="angle = arccos(cosine_similarity(a, b)), one a pair; (sin((1 - s) angle) a + sin(s angle) b) / sin(angle); "
    "keep the angle from 0.",
)
