"""Lesson 03: the score, and Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from course_lib import samplers
from course_lib.denoisers import Denoiser
from course_lib.prediction import Prediction
from course_lib.process import Process, Time, VarianceExploding, randn_like, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import CLOUD, PICTURES, POINTS, PROCESS, T_EACH, normal


def _score_from_eps(process: Process, eps: Tensor, t: Time) -> Tensor:
    """The score -eps / noise(t) that belongs to a noise eps (B, ...) at t, a number or (B,)."""
    b = process.noise(t).to(eps)
    shape = (-1, *[1] * (eps.ndim - 1))  # (B, 1, 1, 1) for pictures
    return -eps / b.view(shape)


score_from_eps = Check(
    "score_from_eps",
    _score_from_eps,
    cases=[
        Case("in the middle of the chain", on(PROCESS, PICTURES, 20)),
        Case("at t = 1, where the score is far larger than the noise", on(PROCESS, PICTURES, 1)),
        Case("a t for each of the pictures", on(PROCESS, PICTURES, T_EACH)),
        Case("points (B, 2), as well as pictures", on(PROCESS, POINTS, T_EACH)),
        Case("numbers in float64", on(PROCESS, POINTS.double(), T_EACH)),
        Case("eps is left as it was", after(PROCESS, PICTURES, 20)),
    ],
    mistakes={
        "the sign is missing: noise leads away from the data, the score leads to it": {"-eps": "eps"},
        "the factor is missing: noise and score differ in size": {" / b.view(shape)": ""},
        "the square root is missing: 1 - alpha_bar_t is the variance, the score needs its root": {"b.view": "(b**2).view"},
        "it is multiplied where it must be divided: eps = -sqrt(1 - alpha_bar_t) score": {"/ b": "* b"},
        "sqrt(alpha_bar_t) stands where sqrt(1 - alpha_bar_t) belongs": {"process.noise(t)": "process.signal(t)"},
        "1 - sqrt(alpha_bar_t) stands where sqrt(1 - alpha_bar_t) belongs": {"process.noise(t)": "(1 - process.signal(t))"},
        "the bar is lost: 1 - alpha_t stands where 1 - alpha_bar_t belongs": {"process.noise(t)": "process.beta(t).sqrt()"},
        "t of shape (B,) was not broadcast over (B, C, H, W): it works for one t, not for a batch of them": {
            ".view(shape)": ""
        },
        "it works for a batch of times, not for one number t: .view(-1, 1, 1, 1) serves both": [
            {"(shape)": "(3, 1, 1, 1)"},
            {"(shape)": "(3, *shape[1:])"},
        ],
        "it works for pictures (B, C, H, W), not for points (B, 2)": [
            {"(shape)": "(-1, 1, 1, 1)"},
            {"(shape)": "(-1, 1, 1, 1)[: b.numel()]"},
        ],
        "the score is divided by sqrt(alpha_bar_t) sqrt(1 - alpha_bar_t): x_t's own scale has no part in it": {
            "process.noise(t)": "(process.noise(t) * process.signal(t))"
        },
        "the noise is read one step too early: process.noise(t) is that of x_t": {"process.noise(t)": "process.noise(t - 1)"},
        "alpha_bar_t stands where sqrt(1 - alpha_bar_t) belongs": {"process.noise(t)": "process.alpha_bar(t)"},
        "the result is written into eps itself; make a new tensor": {"-eps / b.view(shape)": "eps.div_(-b.view(shape))"},
    },
    hint="score = -eps / sqrt(1 - alpha_bar_t), and sqrt(1 - alpha_bar_t) is process.noise(t). "
    "process.coefficients(t, eps)[1] is the same, in a shape that divides eps.",
)


# annealed_langevin. A right answer may draw its noise in any order. So the points are not compared, but their moves: the
# denoiser records where it is called. Its score is the same everywhere, so that the mean move over the batch comes from the
# score, and what varies within the batch comes from the noise.
LEVELS = VarianceExploding(torch.tensor([0.1, 0.3, 0.6]))
MOVES, ETA, PULL = 3, 0.01, 20.0  # moves a level; the size of the last; the score, large enough to be seen in a mean
WALKERS, SHEET = CLOUD[:2500], normal(1500, 1, 2, 2, seed=1)


class _Recorder:
    """A denoiser that records where it is called: the times and the points, once each. Its score is PULL everywhere."""

    def __init__(self):
        self.process, self.t, self.x = deepcopy(LEVELS), [], []

    def __call__(self, x: Tensor, t: Time) -> Prediction:
        now = int(torch.as_tensor(t).flatten()[0])
        if not (self.x and self.t[-1] == now and torch.equal(x, self.x[-1])):
            self.t, self.x = [*self.t, now], [*self.x, x.clone()]
        return Prediction(x, *LEVELS.coefficients(t, x), "score", torch.full_like(x, PULL))


class _Walk:
    """What a sampler did with x: the times `t` of its moves, the points where it began, the moves (N, B, ...), and its end.

    A sampler may return the end, or yield its steps as the library's does.
    """

    def __init__(self, sampler: Callable, x: Tensor = WALKERS):
        recorder, self.x = _Recorder(), x.clone()
        end = sampler(recorder, self.x, LEVELS.times(LEVELS.T), MOVES, ETA, seeded(3))
        self.end = end if isinstance(end, Tensor) else samplers.result(end)
        if not recorder.x:
            raise Refused("the denoiser is never called: denoiser(x, t).score is its prediction")
        self.t, self.begin = torch.tensor(recorder.t), recorder.x[0]
        self.moves = torch.stack([*recorder.x, self.end]).diff(dim=0)


def _annealed_langevin(denoiser: Denoiser, x: Tensor, times: Tensor, n: int, eta: float, rng: torch.Generator) -> Tensor:
    """The end of n steps of Langevin dynamics at each noise level. Song and Ermon 2019, Algorithm 1."""
    levels = times[:-1].tolist()
    sigma = denoiser.process.noise
    for t in levels:
        ratio = float(sigma(t) / sigma(levels[-1]))
        alpha = eta * ratio**2
        for _ in range(n):
            z = randn_like(x, rng)
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * z
    return x


def _drifts(x: Tensor) -> Callable:
    """Each move's mean, in units of eta / 2 PULL."""
    return lambda sampler: _Walk(sampler, x).moves.flatten(1).mean(1) / (ETA / 2 * PULL)


def _spreads(x: Tensor) -> Callable:
    """Each move's standard deviation in the batch, in units of sqrt(eta)."""
    return lambda sampler: _Walk(sampler, x).moves.std(1).flatten(1).mean(1) / ETA**0.5


def _fresh(sampler: Callable) -> Tensor:
    """Whether the noise of a move is uncorrelated with the noise of the next."""
    moves = _Walk(sampler).moves
    noise = (moves - moves.mean(1, keepdim=True)).flatten(1)
    return (torch.cosine_similarity(noise[1:], noise[:-1], dim=1).abs() < 0.1).all()


annealed_langevin = Check(
    "annealed_langevin",
    _annealed_langevin,
    cases=[
        Case("n moves at each level, from the largest down, none at t = 0", lambda f: _Walk(f).t),
        Case("the first move begins at x", lambda f: _Walk(f).begin[:5]),
        Case("the mean move is alpha_i / 2 times the score, alpha_i = eta sigma_i^2 / sigma_L^2", _drifts(WALKERS), 0.02),
        Case("each level's noise has standard deviation sqrt(alpha_i)", _spreads(WALKERS), 0.04),
        Case("the same for pictures (B, C, H, W)", _spreads(SHEET), 0.04),
        Case("each move has noise of its own", _fresh),
        Case("the same rng gives the same end", lambda f: torch.equal(_Walk(f).end, _Walk(f).end)),
        Case("x is left as it was", lambda f: _Walk(f).x[:5]),
    ],
    mistakes={
        "all levels have one step size: line 3 of Algorithm 1 scales eta by sigma_i^2 / sigma_L^2": {" * ratio**2": ""},
        "the step size is scaled by sigma_i / sigma_L; both are squared": {"ratio**2": "ratio"},
        "the step size is upside down: it is sigma_i^2 above and sigma_L^2 below": {"ratio**2": "ratio**-2"},
        "the step size is divided by the square of the largest sigma; sigma_L is the smallest": {"levels[-1]": "levels[0]"},
        "the step size is eta sigma_i^2: it is not divided by sigma_L^2": {" / sigma(levels[-1])": ""},
        "the square root is forgotten: the noise is sqrt(alpha_i) z, not alpha_i z": {"alpha**0.5": "alpha"},
        "the half is missing: the score is multiplied by alpha_i / 2": {"alpha / 2": "alpha"},
        "the sign is turned: x moves away from the data, not towards it": {"x + alpha": "x - alpha"},
        "the noise is forgotten": {" + alpha**0.5 * z": ""},
        "the noise is not scaled: sqrt(alpha_i) belongs before it": {"alpha**0.5 * z": "z"},
        "sqrt(2 alpha_i) stands before z: that belongs to x + alpha_i score": {"alpha**0.5": "(2 * alpha) ** 0.5"},
        "this is x + alpha_i score + sqrt(2 alpha_i) z, right with half the alpha_i": {
            "alpha / 2": "alpha",
            "alpha**0.5": "(2 * alpha) ** 0.5",
        },
        "t stands where sigma_i belongs: sigma_i is denoiser.process.noise(t)": {"denoiser.process.noise": "float"},
        "the predicted noise stands where minus the score belongs, which has another size": {
            "x + alpha": "x - alpha",
            ".score": ".eps",
        },
        "the last level is left out: times[:-1] leaves out t = 0 and nothing else": {"times[:-1]": "times[:-2]"},
        "the score is taken once at each level, not at each move": {
            "denoiser(x, t).score": "score",
            "for _": "score = denoiser(x, t).score\n        for _",
        },
        "the predicted noise stands where the score belongs: .score is what you want": {".score": ".eps"},
        "the levels run from the smallest up; `times` falls, and so must the noise": {"in levels": "in levels[::-1]"},
        "there is one move at each level, not n": {"range(n)": "range(1)"},
        "each level begins anew from the starting x; it should start from the end of the last one": {
            "for t": "start = x\n    for t",
            "for _": "x = start\n        for _",
        },
        "moves are made at t = 0, too, where there is no noise: times[:-1] leaves it out": {"in levels": "in times.tolist()"},
        "all moves have the same noise: draw a new z in each": {"(x, rng)": "(x, seeded(5))"},
        "all of the batch gets the same noise": {"(x, rng)": "(x[:1], rng).expand_as(x)"},
        "the noise is uniform (torch.rand), not normal (randn)": {"randn_like(x, rng)": "torch.rand(x.shape, generator=rng)"},
        "the noise is not drawn from rng: pass generator=rng": {"randn_like(x, rng)": "torch.randn_like(x)"},
        "the last prediction of x_0 is returned, not x; line 9 of Algorithm 1 is x": {"return x": "return denoiser(x, t).x0"},
    },
    hint="For each t of times[:-1]: alpha = eta * sigma(t)^2 / sigma(times[-2])^2, where sigma(t) is "
    "denoiser.process.noise(t); then n times a Langevin step of size alpha, each with new noise from rng.",
    shown=(samplers.annealed_langevin,),
)
