"""Lesson 11: unCLIP."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import PROCESS, normal

# prior_loss
EMBEDDING, EPS, CAPTION, MATRIX = normal(5, 6), normal(5, 6, seed=1), normal(5, 3, seed=2), normal(10, 6, seed=3)
TIMES = torch.tensor([1, 12, 25, 38, 50])


def _prior(z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A small prior, a function of the noisy embedding, of the time and of the caption."""
    return torch.tanh(torch.cat([z_t, y, (t[:, None] / 50).to(z_t.dtype)], 1) @ MATRIX) + 0.5 * z_t


def _prior_loss(prior, process, z, y, t, eps):
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
        Case(
            "6 where each of six components is off by 1", on(lambda *_: EMBEDDING + 1, PROCESS, EMBEDDING, CAPTION, TIMES, EPS)
        ),
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
        "absolute errors are summed (L1); the squared length is asked for": {"square()": "abs()"},
        "the square roots are missing: z_t = sqrt(alpha_bar) z + sqrt(1 - alpha_bar) eps": {
            "a * z + b * eps": "a**2 * z + b**2 * eps"
        },
        "the prediction is compared with v; the prior predicts the clean vector": {" - z)": " - (a * eps - b * z))"},
        "the prior is given t / T, where t itself is asked for": {"(z_t, t,": "(z_t, t / process.T,"},
        "the vector is noised one step too little, to t - 1": {"coefficients(t,": "coefficients(t - 1,"},
        "the cosine of both vectors is compared; the squared length of the error is asked for": {
            "return": "return (1 - torch.cosine_similarity(prior(z_t, t, y), z)).mean()\n    return"
        },
        "the caption does not reach the prior": {", y)": ", 0 * y)"},
    },
    hint="z_t = process.add_noise(z, t, eps); then (prior(z_t, t, y) - z).square().sum(1).mean().",
)

# slerp
A, B = normal(4, 6, seed=4), 3 * normal(4, 6, seed=5)

NEARLY = torch.eye(6)[:4]


def _slerp(a, b, share):
    """From a to b along the arc between them, each pair by its own angle. Shoemake 1985."""
    cosine = torch.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    angle = torch.arccos(cosine).clamp(min=1e-4)[:, None]
    of_a, of_b = torch.sin((1 - share) * angle), torch.sin(share * angle)
    return (of_a * a + of_b * b) / torch.sin(angle)


slerp = Check(
    "slerp",
    _slerp,
    cases=[
        Case("share 0 is a", on(A, B, 0.0)),
        Case("share 1 is b", on(A, B, 1.0)),
        Case("half way", on(A, B, 0.5)),
        Case("a third of the way", on(A, B, 1 / 3)),
        Case(
            "between two of one length it keeps the length", lambda fn: torch.as_tensor(on(A, A.flip(1), 0.3)(fn)).norm(dim=1)
        ),
        Case("one pair alone: each has its own angle", on(A[:1], B[:1], 0.25)),
        Case("where both are nearly one, it is neither NaN nor far", on(NEARLY, NEARLY + 1e-6 * B, 0.5), tolerance=1e-3),
        Case("a and b are left as they were", after(A, B, 0.5)),
    ],
    mistakes={
        "it goes straight: (1 - s) a + s b leaves the arc": {"return": "return a.lerp(b, share)\n    return"},
        "it starts at b and ends at a": {"cosine =": "share = 1 - share\n    cosine ="},
        "all pairs share one angle; each has its own": {
            "(a, b, dim=1)": "(a.flatten(), b.flatten(), dim=0)",
            ".clamp(min=1e-4)[:, None]": "",
        },
        "each component has an angle of its own; each pair of vectors, a row, has one": {"dim=1": "dim=0", "[:, None]": ""},
        "the product of the vectors is taken for the cosine; divide by their lengths": {
            "torch.cosine_similarity(a, b, dim=1).clamp(-1, 1)": "(a * b).sum(1)"
        },
        "the product of the vectors, cut off at 1, is taken for the cosine; divide by their lengths": {
            "torch.cosine_similarity(a, b, dim=1)": "(a * b).sum(1)"
        },
        "the weights are not divided by sin(angle)": {" / torch.sin(angle)": ""},
        "the cosine is taken for the angle; arccos is missing": {"torch.arccos(cosine).clamp(min=1e-4)": "cosine"},
        "both are divided by their lengths first: the result then starts at a / |a|, not at a": {
            "of_a * a + of_b * b": "of_a * a / a.norm(dim=1)[:, None] + of_b * b / b.norm(dim=1)[:, None]"
        },
        "where a and b are nearly one, 0 is divided by 0: keep the angle from 0": {".clamp(min=1e-4)": ""},
        "the weights are cos and sin of the angle, which is right only for vectors at a right angle": {
            "return": "return torch.cos(share * angle) * a + torch.sin(share * angle) * b\n    return"
        },
        "the weights are sqrt(1 - s) and sqrt(s), which is right only for vectors at a right angle": {
            "return": "return (1 - share) ** 0.5 * a + share**0.5 * b\n    return"
        },
        "the straight line is stretched to the length in between; on the arc equal shares are equal angles": {
            "return": "x = a.lerp(b, share)\n    length = a.norm(dim=1).lerp(b.norm(dim=1), share)\n"
            "    return x / x.norm(dim=1)[:, None] * length[:, None]\n    return"
        },
    },
    hint="angle = arccos(cosine_similarity(a, b)), one a pair; (sin((1 - s) angle) a + sin(s angle) b) / sin(angle); "
    "keep the angle from 0.",
)
