"""Lesson 14: DDIM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor

from course_lib import samplers
from course_lib.denoisers import Denoiser
from course_lib.process import randn_like, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.epsilon import SHEET, Moves
from course_lib.teaching.checks.spy import CLOUD, DENOISER, PICTURES, POINTS

# ddim_sampler. With eta = 0 the points are compared; with noise, which may be drawn in any order, the moves (see Moves).
LONG, SKIPPING, ALL = [50, 30, 10, 0], [5, 3, 1, 0], [5, 4, 3, 2, 1, 0]


def _run(x: Tensor, times: list[int]) -> Callable[[Callable], Tensor]:
    """A case's `run`: the points at eta = 0."""
    return lambda f: f(deepcopy(DENOISER), x.clone(), [*times], 0.0, seeded(3))


def _moves(f: Callable, times: list[int], eta: float, x: Tensor = CLOUD[:8000]) -> Moves:
    """The moves of the sampler between these times of the recorder's chain."""
    return Moves(lambda denoiser, x, rng: f(denoiser, x, [*times], eta, rng), x)


def _ddim_sampler(denoiser: Denoiser, x: Tensor, times: Sequence[int], eta: float, rng: torch.Generator) -> Tensor:
    """x_0 from noise x = x_T, by moves between the times: Song et al. 2021, eq. 12 and 16, whose alpha is our alpha_bar."""
    alpha_bar = denoiser.process.alpha_bar
    for t, s in pairwise(times):
        bar_t, bar_s = alpha_bar(t), alpha_bar(s)
        sigma = eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)).sqrt()
        direction = (1 - bar_s - sigma**2).sqrt()
        pred = denoiser(x, t)
        x = bar_s.sqrt() * pred.x0 + direction * pred.eps + sigma * randn_like(x, rng)
    return x


_Z, _LINE = "randn_like(x, rng)", "bar_s.sqrt() * pred.x0 + direction * pred.eps + sigma * randn_like(x, rng)"

ddim_sampler = Check(
    "ddim_sampler",
    _ddim_sampler,
    cases=[
        Case("one prediction at each of the times but the last, in their order", lambda f: _moves(f, SKIPPING, 0.5).t),
        Case("eta = 0, three long moves", _run(PICTURES, LONG)),
        Case("eta = 0, one long move, from t = 40 to 20", _run(PICTURES, [40, 20])),
        Case("eta = 0, from t = 40 to s = 0: the predicted picture itself", _run(PICTURES, [40, 0])),
        Case("eta = 0, points (B, 2)", _run(POINTS, LONG)),
        Case("eta = 1: x_t is multiplied by its factor", lambda f: _moves(f, SKIPPING, 1.0).a, 0.03),
        Case("eta = 1: the direction makes room for the new noise", lambda f: _moves(f, SKIPPING, 1.0).b, 0.03),
        Case("eta = 1: the new noise has standard deviation sigma, 0 at s = 0", lambda f: _moves(f, SKIPPING, 1.0).c, 0.03),
        Case("eta = 1/2: sigma is half of that", lambda f: _moves(f, SKIPPING, 0.5).c, 0.03),
        Case("eta = 1 over all times: the noise of Ho et al.", lambda f: _moves(f, ALL, 1.0).c, 0.03),
        Case("eta = 1, pictures (B, C, H, W)", lambda f: _moves(f, SKIPPING, 1.0, SHEET).c, 0.05),
        Case("each move has noise of its own", lambda f: _moves(f, ALL, 1.0).fresh),
        Case("the same rng gives the same x_0", lambda f: torch.equal(*(_moves(f, ALL, 1.0).end for _ in range(2)))),
        Case("x is left as it was", lambda f: _moves(f, SKIPPING, 0.5).x[:5]),
    ],
    mistakes={
        "alpha_t stands for alpha_bar_t: the paper's alpha is our alpha_bar": {"process.alpha_bar": "process.alpha"},
        "the noise is put back at its old size: alpha_bar_t stands for alpha_bar_s": {"bar_s - sigma**2": "bar_t"},
        "the direction does not make room for the new noise: sigma^2 is missing under its root": {" - sigma**2": ""},
        "sigma stands under the root of the direction; its square, the variance, belongs there": [
            {"sigma**2)": "sigma)"},
            {"sigma**2)": "sigma).clamp(min=0)"},
        ],
        "the picture is put back at its old size: alpha_bar_t stands for alpha_bar_s": {
            "bar_s.sqrt() * pred": "bar_t.sqrt() * pred"
        },
        "the square roots are missing": {"bar_s.sqrt()": "bar_s", "- sigma**2).sqrt()": "- sigma**2)"},
        "eta is forgotten: the noise is always that of eta = 1": {"eta * (": "1 * ("},
        "eta is squared: it multiplies sigma, not its square": {"eta * (": "eta**2 * ("},
        "no noise is ever added": {"sigma * randn": "0 * randn"},
        "the variance sigma^2 multiplies z; it should be sigma": {"sigma * randn": "sigma**2 * randn"},
        "eta itself multiplies z; sigma should": {"sigma * randn": "eta * randn"},
        "x_0 and the noise are swapped": {"pred.x0 + direction * pred.eps": "pred.eps + direction * pred.x0"},
        "x_t stands where the predicted x_0 belongs": {"* pred.x0": "* x"},
        "the predicted x_0 is clipped to [-1, 1], which eq. 12 does not do": {"pred.x0": "pred.x0.clamp(-1, 1)"},
        "the move goes to t - 1, whatever s": {"alpha_bar(s)": "alpha_bar(t - 1)"},
        "all times from T down to 1 are visited, not those that are given": {
            "pairwise(times)": "pairwise(range(times[0], -1, -1))"
        },
        "the last move, to s = 0, is missing": {"pairwise(times)": "pairwise(times[:-1])"},
        "the times run upwards": {"pairwise(times)": "pairwise(sorted(times))"},
        "the prediction is made at s; x is at t": {"denoiser(x, t)": "denoiser(x, max(s, 1))"},
        "times are counted from 0: alpha_bar(t) is that of t steps, and alpha_bar(0) is 1": {
            "alpha_bar(t)": "alpha_bar(max(t - 1, 0))",
            "alpha_bar(s)": "alpha_bar(max(s - 1, 0))",
            "(1 - bar_t) *": "(1 - bar_t).clamp(min=1e-9) *",
        },
        "sigma is that of a forward step: the factor (1 - alpha_bar_s) / (1 - alpha_bar_t) is missing": {
            "(1 - bar_s) / (1 - bar_t) * ": "",
            "sigma**2)": "sigma**2).clamp(min=0)",
        },
        "the fraction in sigma is turned over: (1 - alpha_bar_s) / (1 - alpha_bar_t) is asked for": {
            "(1 - bar_s) / (1 - bar_t)": "(1 - bar_t) / (1 - bar_s)"
        },
        "the root of sigma is missing: that is the variance": {"bar_s)).sqrt()": "bar_s))"},
        "the predicted noise is replaced by new noise": {_LINE: f"bar_s.sqrt() * pred.x0 + (1 - bar_s).sqrt() * {_Z}"},
        "all moves have the same noise: draw a new z in each": {"(x, rng)": "(x, seeded(5))"},
        "all of the batch gets the same noise": {_Z: "randn_like(x[:1], rng).expand_as(x)"},
        "the noise is uniform (torch.rand), not normal (randn)": {_Z: "torch.rand(x.shape, generator=rng)"},
        "the noise is not drawn from rng: pass generator=rng": {_Z: "torch.randn_like(x)"},
    },
    hint="For each pair t, s of neighbours: pred = denoiser(x, t); "
    "sigma = eta sqrt((1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s)); "
    "x = sqrt(abar_s) pred.x0 + sqrt(1 - abar_s - sigma^2) pred.eps + sigma z, with a new z.",
    shown=(samplers.ddim,),
)


def _ddim_inversion(denoiser: Denoiser, x: Tensor, times: Sequence[int]) -> Tensor:
    """The noise of pictures x, taken for x_s at the last of the falling times: Song et al. 2021, section 4.3."""
    alpha_bar = denoiser.process.alpha_bar
    for s, t in pairwise(times[::-1]):
        bar_s, bar_t = alpha_bar(s), alpha_bar(t)
        eps = denoiser(x, s).eps
        x0 = (x - (1 - bar_s).sqrt() * eps) / bar_s.sqrt()
        x = bar_t.sqrt() * x0 + (1 - bar_t).sqrt() * eps
    return x


def _asked(f: Callable) -> Tensor:
    """The times at which an inversion asks for a prediction."""
    return Moves(lambda denoiser, x, rng: f(denoiser, x, [5, 3, 2, 1])).t


_EXCHANGED = "alpha_bar(s), alpha_bar(t)"

ddim_inversion = Check(
    "ddim_inversion",
    _ddim_inversion,
    cases=[
        Case("one prediction at each of the times but the first, from the last one up", _asked),
        Case("one move, from s = 20 up to t = 40", on(DENOISER, PICTURES, [40, 20])),
        Case("one short move, from s = 1 to t = 2", on(DENOISER, PICTURES, [2, 1])),
        Case("three moves, from s = 1 to t = T", on(DENOISER, PICTURES, [50, 30, 10, 1])),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS, [40, 20, 1])),
        Case("x is left as it was", after(DENOISER, PICTURES, [40, 20, 1])),
    ],
    mistakes={
        "the noise is predicted at t; the picture is at s, and there it must be predicted": {"(x, s)": "(x, t)"},
        "the moves go nowhere: predict x_0 with alpha_bar_s, and noise it with alpha_bar_t": {"alpha_bar(t)": "alpha_bar(s)"},
        "the moves go down: this is the sampler, not its inversion": {"pairwise(times[::-1])": "pairwise(times)"},
        "alpha_bar_s and alpha_bar_t have changed places": {_EXCHANGED: "alpha_bar(t), alpha_bar(s)"},
        "x itself is mixed with the noise, not the predicted x_0": {"* x0": "* x"},
        "the picture keeps its old size: sqrt(alpha_bar_t) should multiply the predicted x_0": {
            "bar_t.sqrt() * x0": "bar_s.sqrt() * x0"
        },
        "the noise keeps its old size: sqrt(1 - alpha_bar_t) should multiply it": {"(1 - bar_t).sqrt()": "(1 - bar_s).sqrt()"},
        "this is the forward chain, with the predicted noise as if it were new: x contains that noise already": {
            "bar_t.sqrt() * x0 + (1 - bar_t).sqrt() * eps": "(bar_t / bar_s).sqrt() * x + (1 - bar_t / bar_s).sqrt() * eps"
        },
        "this is the forward process: new noise is added to the picture; the predicted noise belongs there": {
            "(1 - bar_t).sqrt() * eps": "(1 - bar_t).sqrt() * randn_like(x, seeded(0))"
        },
        "the predicted x_0 is clipped to [-1, 1]: it no longer fits the noise, and the way down ends elsewhere": {
            "bar_t.sqrt() * x0": "bar_t.sqrt() * x0.clamp(-1, 1)"
        },
        "times are counted from 0: alpha_bar(t) is that of t steps, and alpha_bar(0) is 1": {
            "alpha_bar(s)": "alpha_bar(s - 1)",
            "alpha_bar(t)": "alpha_bar(t - 1)",
        },
        "all times are visited, not those that are given": {
            "pairwise(times[::-1])": "pairwise(range(times[-1], times[0] + 1))"
        },
        "each move starts from the picture, not from where the last one ended": {
            "denoiser(x, s)": "denoiser(start, s)",
            "(x - (1": "(start - (1",
            "alpha_bar = denoiser.process.alpha_bar": "alpha_bar, start = denoiser.process.alpha_bar, x",
        },
        "the last move, up to T, is missing": {"times[::-1]": "times[:0:-1]"},
        "the noise is taken away once more: its sign is turned": {"x0 + (1": "x0 - (1"},
        "the square roots are missing": {"bar_t.sqrt() * x0 + (1 - bar_t).sqrt()": "bar_t * x0 + (1 - bar_t)"},
        "the bar is lost: alpha stands where alpha_bar belongs": {"process.alpha_bar": "process.alpha"},
    },
    hint="For each pair s, t of neighbours from the last time up: eps = denoiser(x, s).eps; "
    "x_0 = (x - sqrt(1 - abar_s) eps) / sqrt(abar_s); x = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.",
    shown=(samplers.invert,),
)
