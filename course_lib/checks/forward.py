"""Lesson 01: the forward process."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.check import Case, Check, on
from course_lib.process import DDPM, Process, beside
from course_lib.schedules import cosine_beta as library_cosine_beta
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


def _cosine_with(
    f=lambda u: torch.cos(u * math.pi / 2) ** 2, beta=lambda f: 1 - f[1:] / f[:-1], most=0.999, offset=0.008
) -> Callable:
    """cosine_beta with another f(u), u in [0, 1], with another beta made of f(0) .. f(T), cut elsewhere, or moved elsewhere."""

    def cosine_beta(T=1000):
        t = torch.arange(T + 1, dtype=torch.float64) / T
        return beta(f((t + offset) / (1 + offset))).clamp(max=most)

    return cosine_beta


def _alpha_bar(betas) -> Tensor:
    return (1 - torch.as_tensor(betas)).cumprod(0)


cosine_beta = Check(
    "cosine_beta",
    library_cosine_beta,
    cases=[
        Case("T numbers, one for each step", lambda f: len(f(T=1000))),
        Case("the betas", on(1000), tolerance=1e-3),  # wide enough for float32
        Case("alpha_bar, their running product, falls as the squared cosine", lambda f: _alpha_bar(f(1000))),
        Case("the first beta, which s keeps from being too small", lambda f: f(1000)[0], tolerance=1e-2),
        Case("no beta above 0.999, so that something is left to divide by", lambda f: max(f(1000))),
        Case("any other T", on(10)),
    ],
    mistakes=[
        ("alpha_bar itself is returned, not the betas", _cosine_with(beta=lambda f: (f / f[0])[1:], most=1)),
        ("alpha_bar itself is returned, not the betas, and not divided by f(0)", _cosine_with(beta=lambda f: f[1:], most=1)),
        (
            "1 - alpha_bar stands where 1 - alpha_bar_t / alpha_bar_(t-1) belongs",
            _cosine_with(beta=lambda f: 1 - (f / f[0])[1:]),
        ),
        (
            "the ratio alpha_bar_t / alpha_bar_(t-1) is returned, which is alpha; beta is 1 - alpha",
            _cosine_with(beta=lambda f: f[1:] / f[:-1]),
        ),
        ("the cosine is not squared", _cosine_with(f=lambda u: torch.cos(u * math.pi / 2))),
        (
            "the half is missing from pi / 2: the cosine runs through half a turn, not a quarter",
            _cosine_with(f=lambda u: torch.cos(u * math.pi) ** 2),
        ),
        ("a sine stands where the cosine belongs", _cosine_with(f=lambda u: torch.sin(u * math.pi / 2) ** 2)),
        ("the offset s is missing", _cosine_with(offset=0.0)),
        ("the betas are not cut at 0.999", _cosine_with(most=1.0)),
        (
            "there are T + 1 betas, a first one for t = 0 among them",
            lambda T: torch.cat([torch.zeros(1), library_cosine_beta(T)]),
        ),
        ("there are T - 1 betas: f is needed at T + 1 times, 0 among them", lambda T: library_cosine_beta(T)[1:]),
        ("T is fixed at 1,000", lambda T: library_cosine_beta(1000)),
    ],
    hint="f(t) = cos^2(((t / T + s) / (1 + s)) pi / 2) at t = 0, 1, .. T; then beta_t = 1 - f(t) / f(t - 1), at most 0.999.",
)


def _of_x0(alpha, bar, before):
    return before.sqrt() * (1 - alpha) / (1 - bar)


def _of_x_t(alpha, bar, before):
    return alpha.sqrt() * (1 - before) / (1 - bar)


def _variance(alpha, bar, before):
    return (1 - alpha) * (1 - before) / (1 - bar)


def _posterior_with(of_x0=_of_x0, of_x_t=_of_x_t, variance=_variance, shaped=beside) -> Callable:
    """posterior with other factors, each a function of alpha_t, alpha_bar_t and alpha_bar_(t-1), or with t in another shape."""

    def posterior(process, x_t, x0, t):
        known = [shaped(x_t, v) for v in (process.alpha(t), process.alpha_bar(t), process.alpha_bar(t - 1))]
        return of_x0(*known) * x0 + of_x_t(*known) * x_t, variance(*known)

    return posterior


def _part(i: int, x_t, x0, t) -> Callable:
    """Mean (0) or variance (1), one number for each pixel: a student may give it in any shape that stands for that."""
    run = on(PROCESS, x_t, x0, t)

    def each_pixel(fn):
        part = torch.as_tensor(run(lambda *given: fn(*given)[i]))
        return (part if part.ndim > 1 else part.reshape(-1, 1, 1, 1)).expand_as(X0)

    return each_pixel


posterior = Check(
    "posterior",
    DDPM.posterior,
    cases=[
        Case("two things come back, mean and variance", lambda f: len(on(PROCESS, EPS, X0, 20)(f))),
        Case("the mean, one t for all the pictures", _part(0, EPS, X0, 20)),
        Case("the mean, a t for each of the pictures", _part(0, EPS, X0, T_EACH)),
        Case("the share of x_0 in the mean", _part(0, 0 * EPS, X0, 20)),
        Case("the share of x_t in the mean", _part(0, EPS, 0 * X0, 20)),
        Case("the variance, one t for all the pictures", _part(1, EPS, X0, 20)),
        Case("the variance, a t for each of the pictures", _part(1, EPS, X0, T_EACH)),
        Case("at t = 1 the mean is x_0", _part(0, EPS, X0, 1)),
        Case("at t = 1 the variance is 0", _part(1, EPS, X0, 1)),
    ],
    mistakes=[
        (
            "the variance is beta_t: it is that of q(x_t | x_(t-1)), the step forward; "
            "eq. 7 has beta_t (1 - alpha_bar_(t-1)) / (1 - alpha_bar_t)",
            _posterior_with(variance=lambda alpha, bar, before: 1 - alpha),
        ),
        (
            "the standard deviation is returned, not the variance",
            _posterior_with(variance=lambda *known: _variance(*known).sqrt()),
        ),
        (
            "the variance is upside down: 1 - alpha_bar_(t-1) belongs above, 1 - alpha_bar_t below",
            _posterior_with(variance=lambda alpha, bar, before: (1 - alpha) * (1 - bar) / (1 - before)),
        ),
        (
            "the variance is 1 - alpha_bar_(t-1), that of q(x_(t-1) | x_0): it leaves out what x_t tells",
            _posterior_with(variance=lambda alpha, bar, before: 1 - before),
        ),
        (
            "sqrt(alpha_bar_t) stands where sqrt(alpha_bar_(t-1)) belongs before x_0",
            _posterior_with(of_x0=lambda alpha, bar, before: _of_x0(alpha, bar, bar)),
        ),
        (
            "sqrt(alpha_bar_t) stands where sqrt(alpha_t) belongs before x_t",
            _posterior_with(of_x_t=lambda alpha, bar, before: bar.sqrt() * (1 - before) / (1 - bar)),
        ),
        (
            "alpha_t stands where alpha_bar_t belongs below the line of the mean",
            _posterior_with(lambda a, bar, before: _of_x0(a, a, before), lambda a, bar, before: _of_x_t(a, a, before)),
        ),
        (
            "the square roots are missing from the mean",
            _posterior_with(lambda a, bar, before: _of_x0(a, bar, before**2), lambda a, bar, s: a * (1 - s) / (1 - bar)),
        ),
        ("x_t and x_0 have changed places", lambda p, x_t, x0, t: p.posterior(x0, x_t, t)),
        ("mean and variance have changed places", lambda p, x_t, x0, t: p.posterior(x_t, x0, t)[::-1]),
        ("only the mean comes back", lambda p, x_t, x0, t: p.posterior(x_t, x0, t)[0]),
        (
            "it works for a t each, not for one t for all: .view(-1, 1, 1, 1) serves both",
            _posterior_with(shaped=lambda x, v: v[:, None, None, None]),
        ),
        (
            "t of shape (B,) was not broadcast over (B, C, H, W): it works for one t, not for a t each",
            _posterior_with(shaped=lambda x, v: v),
        ),
    ],
    hint="With beta = 1 - alpha and s = t - 1: mean = sqrt(alpha_bar_s) beta_t / (1 - alpha_bar_t) x_0 "
    "+ sqrt(alpha_t) (1 - alpha_bar_s) / (1 - alpha_bar_t) x_t; variance = beta_t (1 - alpha_bar_s) / (1 - alpha_bar_t).",
    shown=(DDPM.posterior, beside),
)
