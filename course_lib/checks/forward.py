"""Lesson 01: the forward process."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.check import Case, Check, on
from course_lib.process import DDPM, Process
from course_lib.schedules import linear_beta

PROCESS = DDPM(linear_beta(50))
X0, EPS = torch.randn(2, 3, 2, 5, 4, generator=torch.Generator().manual_seed(0))  # no two sizes of a picture are alike
T_EACH = torch.tensor([1, 20, 50])


def _x0_after(add_noise) -> Tensor:
    x0 = X0.clone()
    add_noise(PROCESS, x0, T_EACH.clone(), EPS.clone())
    return x0


def _with(factors) -> Callable:
    """add_noise with other factors: (a, b), the right ones, become factors(a, b)."""

    def add_noise(process, x0, t, eps):
        of_x0, of_eps = factors(*process.coefficients(t, x0))
        return of_x0 * x0 + of_eps * eps

    return add_noise


def _unbroadcast(process, x0, t, eps):
    return process.signal(t) * x0 + process.noise(t) * eps


def _only_for_a_batch_of_t(process, x0, t, eps):
    alpha_bar = process.alpha_bar(t)[:, None, None, None]
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


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
        Case("at t = 0 the picture comes back untouched", on(PROCESS, X0[:1], 0, EPS[:1])),
        Case("one t for all the pictures", on(PROCESS, X0, 20, EPS)),
        Case("a t for each of the pictures", on(PROCESS, X0, T_EACH, EPS)),
        Case("without noise, what is left of the picture", on(PROCESS, X0, T_EACH, 0 * EPS)),
        Case("without a picture, the noise that was given, and no other", on(PROCESS, 0 * X0, T_EACH, EPS)),
        Case("x0 is left as it was", _x0_after),
    ],
    mistakes=[
        ("sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs, and the other way round", _with(lambda a, b: (b, a))),
        (
            "sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs, so that both factors are alike",
            _with(lambda a, b: (a, a)),
        ),
        ("the square roots are missing: alpha_bar and 1 - alpha_bar are variances", _with(lambda a, b: (a**2, b**2))),
        ("the square root of 1 - alpha_bar is missing", _with(lambda a, b: (a, b**2))),
        ("the square root of alpha_bar is missing", _with(lambda a, b: (a**2, b))),
        ("1 - sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs", _with(lambda a, b: (a, 1 - a))),
        ("the picture is not scaled: sqrt(alpha_bar) is missing before x0", _with(lambda a, b: (1, b))),
        ("the noise is taken away, not added", _with(lambda a, b: (a, -b))),
        ("alpha_t stands where alpha_bar_t belongs: that is a single step, not all of them", _single_step),
        ("it works for a t each, not for one t for all: .view(-1, 1, 1, 1) serves both", _only_for_a_batch_of_t),
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
