"""Lesson 01: the forward process."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.checks.check import Case, Check
from course_lib.process import DDPM, Process
from course_lib.schedules import linear_beta

PROCESS = DDPM(linear_beta(50))
ZEROS = torch.zeros(3, 2, 5, 4)
T_EACH = torch.tensor([1, 20, 50])


def pictures(seed: int, batch: int = 3) -> Tensor:
    """A batch of small pictures (B, 2, 5, 4), no two of whose sizes are alike, so that none can be taken for another."""
    return torch.randn(batch, 2, 5, 4, generator=torch.Generator().manual_seed(seed))


def _x0_after(add_noise) -> Tensor:
    x0 = pictures(0)
    add_noise(PROCESS, x0, T_EACH, pictures(1))
    return x0


def _signal(process, t, x: Tensor) -> Tensor:
    return process.coefficients(t, x)[0]


def _noise(process, t, x: Tensor) -> Tensor:
    return process.coefficients(t, x)[1]


def _unbroadcast(process, x0, t, eps):
    return process.signal(t) * x0 + process.noise(t) * eps


def _single_step(process, x0, t, eps):
    alpha = torch.as_tensor(process.alpha(t)).view(-1, 1, 1, 1)
    return alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps


def _in_place(process, x0, t, eps):
    a, b = process.coefficients(t, x0)
    x0 *= a
    x0 += b * eps
    return x0


add_noise = Check(
    "add_noise",
    Process.add_noise,
    cases=[
        Case("at t = 0 the picture comes back untouched", lambda f: f(PROCESS, pictures(0, 1), 0, pictures(1, 1))),
        Case("one t for all the pictures", lambda f: f(PROCESS, pictures(0), 20, pictures(1))),
        Case("a t for each of the pictures", lambda f: f(PROCESS, pictures(0), T_EACH, pictures(1))),
        Case("without noise, what is left of the picture", lambda f: f(PROCESS, pictures(0), T_EACH, ZEROS)),
        Case(
            "without a picture, the noise that was given, and no other",
            lambda f: f(PROCESS, ZEROS, T_EACH, pictures(1)),
        ),
        Case("x0 is left as it was", _x0_after),
    ],
    mistakes=[
        (
            "sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs, and the other way round",
            lambda p, x0, t, eps: _noise(p, t, x0) * x0 + _signal(p, t, x0) * eps,
        ),
        (
            "sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs: both terms have the same factor",
            lambda p, x0, t, eps: _signal(p, t, x0) * (x0 + eps),
        ),
        (
            "the square roots are missing: alpha_bar and 1 - alpha_bar are variances, the factors are their roots",
            lambda p, x0, t, eps: _signal(p, t, x0) ** 2 * x0 + _noise(p, t, x0) ** 2 * eps,
        ),
        (
            "the square root of 1 - alpha_bar is missing",
            lambda p, x0, t, eps: _signal(p, t, x0) * x0 + _noise(p, t, x0) ** 2 * eps,
        ),
        (
            "1 - sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs",
            lambda p, x0, t, eps: _signal(p, t, x0) * x0 + (1 - _signal(p, t, x0)) * eps,
        ),
        ("alpha_t stands where alpha_bar_t belongs: that is a single step, not all of them", _single_step),
        ("the picture is not scaled: sqrt(alpha_bar) is missing before x0", lambda p, x0, t, eps: x0 + _noise(p, t, x0) * eps),
        ("the noise is taken away, not added", lambda p, x0, t, eps: _signal(p, t, x0) * x0 - _noise(p, t, x0) * eps),
        ("t of shape (B,) was not broadcast over (B, C, H, W): it works for one t, not for a t each", _unbroadcast),
        (
            "the same t is used for the whole batch: it works for one picture, not for a batch",
            lambda p, x0, t, eps: p.add_noise(x0, int(torch.as_tensor(t).flatten()[0]), eps),
        ),
        ("the result is written into x0 itself; make a new tensor (no `*=`, no `+=`)", _in_place),
    ],
    hint="x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. A t of shape (B,) gives factors of shape (B,); "
    ".view(-1, 1, 1, 1) makes them multiply pictures (B, C, H, W).",
    shown=(Process.add_noise, Process.coefficients),
)
