"""Lesson 01: the forward process."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import schedules
from course_lib.process import DDPM, Process, Time, expand_like
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import PICTURES, PROCESS, T_EACH, Z


def _add_noise(process: DDPM, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. Ho et al. 2020, eq. 4."""
    bar = process.alpha_bar(t).view(-1, 1, 1, 1)
    a, b = bar.sqrt(), (1 - bar).sqrt()
    return a * x0 + b * eps


add_noise = Check(
    "add_noise",
    _add_noise,
    cases=[
        Case("at t = 0 the picture comes back untouched", on(PROCESS, PICTURES[:1], 0, Z[:1])),
        Case("one t for all the pictures", on(PROCESS, PICTURES, 20, Z)),
        Case("a t for each of the pictures", on(PROCESS, PICTURES, T_EACH, Z)),
        Case("without noise, what is left of the picture", on(PROCESS, PICTURES, T_EACH, 0 * Z)),
        Case("without a picture, the noise that was given, and no other", on(PROCESS, 0 * PICTURES, T_EACH, Z)),
        Case("x0 is left as it was", after(PROCESS, PICTURES, T_EACH, Z)),
    ],
    mistakes={
        "sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs, and the other way round": {"a, b": "b, a"},
        "sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs, so that both factors are alike": {"b * eps": "a * eps"},
        "the square roots are missing: alpha_bar and 1 - alpha_bar are variances": {"a * x0 + b": "a**2 * x0 + b**2"},
        "the square root of 1 - alpha_bar is missing": {"(1 - bar).sqrt()": "1 - bar"},
        "the square root of alpha_bar is missing": {"bar.sqrt()": "bar"},
        "1 - sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs": {"(1 - bar).sqrt()": "1 - bar.sqrt()"},
        "the picture is not scaled: sqrt(alpha_bar) is missing before x0": {"a * x0": "x0"},
        "the noise is taken away, not added": {"+ b * eps": "- b * eps"},
        "alpha_t stands where alpha_bar_t belongs: that is a single step, not all of them": {"alpha_bar(t)": "alpha(t)"},
        "it works for a t each, not for one t for all: .view(-1, 1, 1, 1) serves both": {"(-1, 1, 1, 1)": "(3, 1, 1, 1)"},
        "t of shape (B,) was not broadcast over (B, C, H, W): it works for one t, not for a t each": {".view(-1, 1, 1, 1)": ""},
        "the same t is used for the whole batch: it works for one picture, not for a batch": {"1, 1)": "1, 1)[:1]"},
        "the result is written into x0; make a new tensor (no `*=`, no `+=`)": {"a * x0 + b * eps": "x0.mul_(a).add_(b * eps)"},
    },
    hint="x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. A t of shape (B,) gives factors of shape (B,); "
    ".view(-1, 1, 1, 1) makes them multiply pictures (B, C, H, W).",
    shown=(Process.add_noise, Process.coefficients),
)


# cosine_beta


def _alpha_bar(betas) -> Tensor:
    return (1 - torch.as_tensor(betas)).cumprod(0)


_BETA = "1 - f[1:] / f[:-1]"

cosine_beta = Check(
    "cosine_beta",
    schedules.cosine_beta,
    cases=[
        Case("T numbers, one for each step", lambda f: len(f(T=1000))),
        Case("the betas", on(1000), tolerance=1e-3),  # wide enough for float32
        Case("alpha_bar, their running product, falls as the squared cosine", lambda f: _alpha_bar(f(1000))),
        Case("the first beta, which s keeps from being too small", lambda f: f(1000)[0], tolerance=1e-2),
        Case("no beta above 0.999, so that alpha_bar stays above 0", lambda f: max(f(1000))),
        Case("any other T", on(10)),
    ],
    mistakes={
        "alpha_bar itself is returned, not the betas": {_BETA: "(f / f[0])[1:]", ".clamp(max=max_beta)": ""},
        "alpha_bar itself is returned, not the betas, and not divided by f(0)": {_BETA: "f[1:]", ".clamp(max=max_beta)": ""},
        "1 - alpha_bar stands where 1 - alpha_bar_t / alpha_bar_(t-1) belongs": {_BETA: "1 - (f / f[0])[1:]"},
        "the ratio alpha_bar_t / alpha_bar_(t-1) is returned, which is alpha; beta is 1 - alpha": {_BETA: "f[1:] / f[:-1]"},
        "the cosine is not squared": {" ** 2": ""},
        "the half is missing from pi / 2: the cosine runs through half a turn, not a quarter": {"math.pi / 2": "math.pi"},
        "a sine stands where the cosine belongs": {"torch.cos": "torch.sin"},
        "the offset s is missing": {"f =": "s = 0\n    f ="},
        "the betas are not cut at 0.999": {".clamp(max=max_beta)": ""},
        "there are T + 1 betas, a first one for t = 0 among them": {"return": "f = torch.cat([f[:1], f])\n    return"},
        "there are T - 1 betas: f is needed at T + 1 times, 0 among them": {"max_beta)": "max_beta)[1:]"},
        "T is fixed at 1,000": {"t = torch": "T = 1000\n    t = torch"},
    },
    hint="f(t) = cos^2(((t / T + s) / (1 + s)) pi / 2) at t = 0, 1, .. T; then beta_t = 1 - f(t) / f(t - 1), at most 0.999.",
)


def _posterior(process: DDPM, x_t: Tensor, x0: Tensor, t: Time) -> tuple[Tensor, Tensor]:
    """Mean (B, ...) and variance of q(x_(t-1) | x_t, x_0). Ho et al. 2020, eq. 7."""
    alpha, bar, before = (v.view(-1, 1, 1, 1) for v in (process.alpha(t), process.alpha_bar(t), process.alpha_bar(t - 1)))
    of_x0, of_x_t = before.sqrt() * (1 - alpha), alpha.sqrt() * (1 - before)
    mean = (of_x0 * x0 + of_x_t * x_t) / (1 - bar)
    shrink, beta = (1 - before) / (1 - bar), 1 - alpha
    return mean, shrink * beta


def _part(i: int, x_t, x0, t) -> Callable:
    """Mean (0) or variance (1), one number for each pixel: a student may give it in any shape that stands for that."""
    run = on(PROCESS, x_t, x0, t)

    def each_pixel(fn):
        part = torch.as_tensor(run(lambda *given: fn(*given)[i]))
        return (part if part.ndim > 1 else part.reshape(-1, 1, 1, 1)).expand_as(PICTURES)

    return each_pixel


posterior = Check(
    "posterior",
    _posterior,
    cases=[
        Case("two things come back, mean and variance", lambda f: len(on(PROCESS, Z, PICTURES, 20)(f))),
        Case("the mean, one t for all the pictures", _part(0, Z, PICTURES, 20)),
        Case("the mean, a t for each of the pictures", _part(0, Z, PICTURES, T_EACH)),
        Case("the share of x_0 in the mean", _part(0, 0 * Z, PICTURES, 20)),
        Case("the share of x_t in the mean", _part(0, Z, 0 * PICTURES, 20)),
        Case("the variance, one t for all the pictures", _part(1, Z, PICTURES, 20)),
        Case("the variance, a t for each of the pictures", _part(1, Z, PICTURES, T_EACH)),
        Case("at t = 1 the mean is x_0", _part(0, Z, PICTURES, 1)),
        Case("at t = 1 the variance is 0", _part(1, Z, PICTURES, 1)),
    ],
    mistakes={
        "the variance is beta_t: it is that of q(x_t | x_(t-1)), the step forward; "
        "eq. 7 has beta_t (1 - alpha_bar_(t-1)) / (1 - alpha_bar_t)": {"shrink * beta": "beta"},
        "the standard deviation is returned, not the variance": {"shrink * beta": "(shrink * beta).sqrt()"},
        "the variance is upside down: 1 - alpha_bar_(t-1) belongs above, 1 - alpha_bar_t below": {"shrink *": "1 / shrink *"},
        "the variance is 1 - alpha_bar_(t-1), that of q(x_(t-1) | x_0), without x_t": {"shrink * beta": "1 - before"},
        "sqrt(alpha_bar_t) stands where sqrt(alpha_bar_(t-1)) belongs before x_0": {"before.sqrt()": "bar.sqrt()"},
        "sqrt(alpha_bar_t) stands where sqrt(alpha_t) belongs before x_t": {"alpha.sqrt()": "bar.sqrt()"},
        "alpha_t stands where alpha_bar_t belongs below the line of the mean": {"x_t) / (1 - bar)": "x_t) / (1 - alpha)"},
        "the square roots are missing from the mean": {"before.sqrt()": "before", "alpha.sqrt()": "alpha"},
        "x_t and x_0 have changed places": {"of_x0 * x0 + of_x_t * x_t": "of_x0 * x_t + of_x_t * x0"},
        "mean and variance have changed places": {"mean, shrink * beta": "shrink * beta, mean"},
        "only the mean comes back": {", shrink * beta": ""},
        "it works for a t each, not for one t for all: .view(-1, 1, 1, 1) serves both": {"view(-1": "view(3"},
        "t of shape (B,) was not broadcast over (B, C, H, W): it works for one t, not for a t each": {".view(-1, 1, 1, 1)": ""},
    },
    hint="With beta = 1 - alpha and s = t - 1: mean = sqrt(alpha_bar_s) beta_t / (1 - alpha_bar_t) x_0 "
    "+ sqrt(alpha_t) (1 - alpha_bar_s) / (1 - alpha_bar_t) x_t; variance = beta_t (1 - alpha_bar_s) / (1 - alpha_bar_t).",
    shown=(DDPM.posterior, expand_like),
)
