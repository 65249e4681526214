"""Lesson 01: the forward process."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from course_lib import schedules
from course_lib.process import DDPM, Process, Time, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import PICTURES, PROCESS, T_EACH, Z


def _add_noise(process: DDPM, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. Ho et al. 2020, eq. 4."""
    bar = process.alpha_bar(t).view(-1, *[1] * (x0.ndim - 1))  # (B, 1, 1, 1) for pictures
    a, b = bar.sqrt().to(x0), (1 - bar).sqrt().to(x0)
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
        "the square root of 1 - alpha_bar is missing": {"(1 - bar).sqrt()": "(1 - bar)"},
        "the square root of alpha_bar is missing": {"bar.sqrt()": "bar"},
        "1 - sqrt(alpha_bar) stands where sqrt(1 - alpha_bar) belongs": {"(1 - bar).sqrt()": "(1 - bar.sqrt())"},
        "the picture is not scaled: sqrt(alpha_bar) is missing before x0": {"a * x0": "x0"},
        "the noise is subtracted, not added": {"+ b * eps": "- b * eps"},
        "alpha_t stands where alpha_bar_t belongs: that is a single step, not all of them": {"alpha_bar(t)": "alpha(t)"},
        "it works for a batch of times, not for one number t: .view(-1, 1, 1, 1) serves both": {"(-1, *": "(3, *"},
        "t of shape (B,) was not broadcast over (B, C, H, W): it works for one t, not for a batch of them": {
            ".view(-1, *[1] * (x0.ndim - 1))": ""
        },
        "the same t is used for the whole batch: it works for one picture, not for a batch": {"- 1))": "- 1))[:1]"},
        "alpha_bar is read one step too early: alpha_bar(t) is that of x_t": {"alpha_bar(t)": "alpha_bar(t - 1)"},
        "the products of 1 - beta are counted from 0: the first of them is that of t = 1; process.alpha_bar(t) is right": {
            "process.alpha_bar(t)": "(1 - process.betas).cumprod(0)[t]"
        },
        "alpha_bar is used as if it were its root: x_0 has the factor sqrt(alpha_bar)": {
            "bar.sqrt().to": "bar.to",
            "(1 - bar).sqrt()": "(1 - bar**2).sqrt()",
        },
        "the result is clamped to -1 .. 1: noise has no bounds": {"a * x0 + b * eps": "(a * x0 + b * eps).clamp(-1, 1)"},
        "the result is written into x0; make a new tensor (no `*=`, no `+=`)": {"a * x0 + b * eps": "x0.mul_(a).add_(b * eps)"},
    },
    hint="x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. A t of shape (B,) gives factors of shape (B,); "
    ".view(-1, 1, 1, 1) makes them multiply pictures (B, C, H, W).",
    shown=(Process.add_noise,),
)


# cosine_beta


def _alpha_bar(betas) -> Tensor:
    return (1 - torch.as_tensor(betas)).cumprod(0)


def _cosine_beta(T: int = 1000) -> Tensor:
    """beta_1 .. beta_T, for which alpha_bar falls as a squared cosine. Nichol and Dhariwal 2021, eq. 17."""
    s = 0.008
    t = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


_BETA, _CUT = "1 - f[1:] / f[:-1]", ".clamp(max=0.999)"

cosine_beta = Check(
    "cosine_beta",
    _cosine_beta,
    cases=[
        Case("T numbers, one for each step", lambda f: len(f(T=1000))),
        Case("the betas", on(1000), tolerance=1e-3),  # wide enough for float32
        Case("alpha_bar, their running product, falls as the squared cosine", lambda f: _alpha_bar(f(1000))),
        Case("the first beta, which s keeps from being too small", lambda f: f(1000)[0], tolerance=1e-2),
        Case("no beta above 0.999, so that alpha_bar stays above 0", lambda f: max(f(1000))),
        Case("any other T", on(int(torch.randint(7, 40, (1,), generator=seeded(20))))),
    ],
    mistakes={
        "alpha_bar itself is returned, not the betas": {_BETA: "(f / f[0])[1:]", _CUT: ""},
        "alpha_bar itself is returned, not the betas, and not divided by f(0)": {_BETA: "f[1:]", _CUT: ""},
        "1 - alpha_bar stands where 1 - alpha_bar_t / alpha_bar_(t-1) belongs": [
            {_BETA: "1 - (f / f[0])[1:]"},
            {_BETA: "1 - (f / f[0])[1:]", _CUT: ""},
        ],
        "the ratio alpha_bar_t / alpha_bar_(t-1) is returned, which is alpha; beta is 1 - alpha": [
            {_BETA: "f[1:] / f[:-1]"},
            {_BETA: "f[1:] / f[:-1]", _CUT: ""},
        ],
        "the ratio is upside down: alpha_bar_t belongs above, alpha_bar_(t-1) below": {_BETA: "1 - f[:-1] / f[1:]"},
        "the brackets are lost: 1 + s divides t / T as well as s": {"(t + s) / (1 + s)": "(t + s / (1 + s))"},
        "these are the betas of the linear schedule": {_BETA: "torch.linspace(1e-4, 0.02, T)"},
        "the betas are clipped to 0.0001 to 0.9999, as in a tutorial; the paper's only limit is 0.999": {
            _CUT: ".clamp(1e-4, 0.9999)"
        },
        "the cosine is not squared": {" ** 2": ""},
        "the half is missing from pi / 2: the cosine runs through half a turn, not a quarter": {"math.pi / 2": "math.pi"},
        "a sine stands where the cosine belongs": {"torch.cos": "torch.sin"},
        "the offset s is missing": {"s = 0.008": "s = 0"},
        "the betas are not cut at 0.999": {_CUT: ""},
        "there are T + 1 betas, a first one for t = 0 among them": {"return": "f = torch.cat([f[:1], f])\n    return"},
        "there are T - 1 betas: f is needed at T + 1 times, 0 among them": [
            {_CUT: ".clamp(max=0.999)[1:]"},
            {"arange(T + 1": "arange(T"},
            {"torch.arange(T + 1, dtype=torch.float64) / T": "torch.linspace(0, 1, T, dtype=torch.float64)"},
        ],
        "T is fixed at 1,000": {"t = torch": "T = 1000\n    t = torch"},
    },
    hint="f(t) = cos^2(((t / T + s) / (1 + s)) pi / 2) at t = 0, 1, .. T; then beta_t = 1 - f(t) / f(t - 1), at most 0.999.",
    shown=(schedules.cosine_beta,),
)


def _posterior(process: DDPM, x_t: Tensor, x0: Tensor, t: Time) -> tuple[Tensor, Tensor]:
    """Mean (B, ...) and variance of q(x_(t-1) | x_t, x_0). Ho et al. 2020, eq. 7."""
    alpha, beta, bar, before = process.alpha(t), process.beta(t), process.alpha_bar(t), process.alpha_bar(t - 1)
    of_x0 = before.sqrt() * beta / (1 - bar)
    of_x_t = alpha.sqrt() * (1 - before) / (1 - bar)
    variance = (1 - before) / (1 - bar) * beta
    shape = (-1, *[1] * (x_t.ndim - 1))  # (B, 1, 1, 1) for pictures
    of_x0, of_x_t, variance = (v.view(shape).to(x_t) for v in (of_x0, of_x_t, variance))
    return of_x0 * x0 + of_x_t * x_t, variance


def _part(i: int, x_t, x0, t) -> Callable:
    """Mean (0) or variance (1), one number for each pixel: a student may give it in any shape that stands for that."""
    run = on(PROCESS, x_t, x0, t)

    def each_pixel(fn):
        part = torch.as_tensor(run(lambda *given: fn(*given)[i]))
        return (part if part.ndim > 1 else part.reshape(-1, 1, 1, 1)).expand_as(PICTURES)

    return each_pixel


_VARIANCE = "(1 - before) / (1 - bar) * beta"

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
        "eq. 7 has beta_t (1 - alpha_bar_(t-1)) / (1 - alpha_bar_t)": {_VARIANCE: "beta"},
        "the standard deviation is returned, not the variance": {_VARIANCE: f"({_VARIANCE}).sqrt()"},
        "the logarithm of the variance is returned, not the variance": [
            {_VARIANCE: f"({_VARIANCE}).log()"},
            {_VARIANCE: f"({_VARIANCE}).clamp(min=1e-20).log()"},
        ],
        "beta_t is missing before x_0": {"before.sqrt() * beta": "before.sqrt()"},
        "all is taken one step too early, as if t were counted from 0": {"alpha, beta": "t = t - 1\n    alpha, beta"},
        "the variance is upside down: 1 - alpha_bar_(t-1) belongs above, 1 - alpha_bar_t below": {
            _VARIANCE: "(1 - bar) / (1 - before) * beta"
        },
        "the variance is 1 - alpha_bar_(t-1), that of q(x_(t-1) | x_0), without x_t": {_VARIANCE: "1 - before"},
        "sqrt(alpha_bar_t) stands where sqrt(alpha_bar_(t-1)) belongs before x_0": {"before.sqrt()": "bar.sqrt()"},
        "sqrt(alpha_bar_t) stands where sqrt(alpha_t) belongs before x_t": {"alpha.sqrt()": "bar.sqrt()"},
        "alpha_t stands where alpha_bar_t belongs below the line of the mean": {
            "beta / (1 - bar)": "beta / (1 - alpha)",
            "- before) / (1 - bar)\n": "- before) / (1 - alpha)\n",
        },
        "the square roots are missing from the mean": {"before.sqrt()": "before", "alpha.sqrt()": "alpha"},
        "x_t and x_0 have changed places": {"of_x0 * x0 + of_x_t * x_t": "of_x0 * x_t + of_x_t * x0"},
        "mean and variance have changed places": {"return": "return variance,", " * x_t, variance": " * x_t"},
        "only the mean comes back": {" * x_t, variance": " * x_t"},
        "it works for a batch of times, not for one number t: .view(-1, 1, 1, 1) serves both": {"(-1, *": "(3, *"},
        "t of shape (B,) was not broadcast over (B, C, H, W): it works for one t, not for a batch of them": {
            ".view(shape)": ""
        },
    },
    hint="With beta = 1 - alpha and s = t - 1: mean = sqrt(alpha_bar_s) beta_t / (1 - alpha_bar_t) x_0 "
    "+ sqrt(alpha_t) (1 - alpha_bar_s) / (1 - alpha_bar_t) x_t; variance = beta_t (1 - alpha_bar_s) / (1 - alpha_bar_t).",
    shown=(DDPM.posterior,),
)


# reverse_chain: pictures of one x_0, so that each time has a mean and a variance; a `my_posterior` may serve pictures alone
ONE_X0 = (torch.tensor([2.0, -2.0]) + torch.rand(2, generator=seeded(21)) / 2).repeat(4000, 1, 1, 1)
SOME_T = (30, 5)


def _reverse_chain(process: DDPM, x0: Tensor, rng: torch.Generator) -> Tensor:
    """x_T, x_(T-1), .., x_0 (T + 1, B, C, H, W): from noise to x0, each from the posterior. Ho et al. 2020, eq. 6 and 7."""
    x_t = torch.randn(x0.shape, generator=rng)
    chain = [x_t]
    for t in range(process.T, 0, -1):
        mean, variance = process.posterior(x_t, x0, t)
        z = torch.randn(x0.shape, generator=rng)
        x_t = mean + variance.sqrt() * z
        chain.append(x_t)
    return torch.stack(chain)


def _chain(reverse_chain: Callable, x0: Tensor = ONE_X0) -> Tensor:
    """What the function gives: (T + 1, B, C, H, W)."""
    return torch.as_tensor(reverse_chain(deepcopy(PROCESS), x0.clone(), seeded(3)))


def _residual(chain: Tensor) -> Tensor:
    """What the steps from SOME_T add to the posterior's mean, in its standard deviations: (B, 4)."""
    found = []
    for t in SOME_T:
        mean, variance = PROCESS.posterior(chain[PROCESS.T - t].float(), ONE_X0, t)
        found.append(((chain[PROCESS.T - t + 1] - mean) / variance.sqrt()).flatten(1))
    return torch.cat(found, 1)


def _moments(values: Tensor) -> Tensor:
    """2 + mean, and standard deviation, of each column."""
    return torch.cat([2 + values.mean(0), values.std(0)])


def _with_x_t(chain: Tensor) -> Tensor:
    """1 + the correlation of a step's noise with the x_t before it."""
    pair = torch.stack([_residual(chain)[:, 0], chain[PROCESS.T - SOME_T[0]].flatten(1)[:, 0]])
    return 1 + torch.corrcoef(pair)[0, 1].nan_to_num(0)


reverse_chain = Check(
    "reverse_chain",
    _reverse_chain,
    cases=[
        Case("T + 1 rows, from x_T to x_0", lambda f: len(_chain(f))),
        Case("each row has the shape of x0", lambda f: torch.tensor(_chain(f, PICTURES).shape)),
        Case("x_T is standard normal noise", lambda f: _moments(_chain(f)[0]), tolerance=0.05),
        Case("the last is x_0 itself", lambda f: _chain(f)[-1]),
        Case("a step's noise has the posterior's standard deviation", lambda f: _moments(_residual(_chain(f))), tolerance=0.05),
        Case("a step's noise does not depend on x_t", lambda f: _with_x_t(_chain(f)), tolerance=0.1),
        Case("the same rng gives the same chain", lambda f: torch.equal(_chain(f), _chain(f))),
    ],
    mistakes={
        "no noise is added to the mean": {"mean + variance.sqrt() * z": "mean"},
        "the noise is multiplied by the variance; its square root belongs there": {"variance.sqrt() * z": "variance * z"},
        "the chain is in the order x_0 to x_T": {"torch.stack(chain)": "torch.stack(chain[::-1])"},
        "only the last is returned": {"torch.stack(chain)": "x_t"},
        "the first, x_T, is missing": {"chain = [x_t]": "chain = []"},
        "the loop ends before t = 1, so that x_0 is missing": {"process.T, 0, -1": "process.T, 1, -1"},
        "the loop runs forward, from t = 1 to T": {"range(process.T, 0, -1)": "range(1, process.T + 1)"},
        "the loop never uses the x_t that the step before made": {
            "        x_t = mean": "        x = mean",
            "append(x_t)": "append(x)",
        },
        "the chain starts from x_0, not from noise": {
            "x_t = torch.randn(x0.shape, generator=rng)\n    chain": "x_t = x0\n    chain"
        },
        "the chain starts from q(x_T | x_0), which still contains x_0; start from noise alone": {
            "x_t = torch.randn(x0.shape, generator=rng)\n    chain": "x_t = process.add_noise(x0, process.T, torch.randn("
            "x0.shape, generator=rng))\n    chain"
        },
        "all steps add the same noise: draw z anew in each": {
            "        z = torch.randn(x0.shape, generator=rng)\n": "        z = chain[0]\n"
        },
        "each step is drawn from q(x_t | x_0), without x_t": {
            "x_t = mean + variance.sqrt() * z": "x_t = process.add_noise(x0, t - 1, z)"
        },
        "a step's noise has the variance beta_t, that of a step forward": {
            "variance.sqrt() * z": "process.beta(t).sqrt().float() * z"
        },
        "the noise is not drawn from rng: pass generator=rng": [
            {"        z = torch.randn(x0.shape, generator=rng)": "        z = torch.randn(x0.shape)"},
            {
                "        z = torch.randn(x0.shape, generator=rng)": "        z = torch.randn(x0.shape)",
                "x_t = torch.randn(x0.shape, generator=rng)\n    chain": "x_t = torch.randn(x0.shape)\n    chain",
            },
        ],
    },
    hint="x_t = noise; for t in range(process.T, 0, -1): mean, variance = my_posterior(process, x_t, x0, t); "
    "x_t = mean + variance.sqrt() * (fresh noise). Keep all of them, x_T too, and torch.stack them.",
    shown=(DDPM.posterior,),
)
