"""Lesson 03: the score, and Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import samplers
from course_lib.checks.check import Case, Check, on
from course_lib.checks.epsilon import DENOISER, PICTURES, POINTS, PROCESS, T_EACH, Z
from course_lib.denoisers import Denoiser
from course_lib.prediction import Prediction
from course_lib.process import Process, Time, VarianceExploding, randn_like

# score_from_eps


def _reference_score(process: Process, eps: Tensor, t: Time) -> Tensor:
    """The score that belongs to a noise eps (B, ...) at t, a number or (B,): -eps / noise(t), the library's own view of it."""
    a, b = process.coefficients(t, eps)
    return Prediction(eps, a, b, "eps", eps).score  # x_t has no say in this view: anything of its shape will do


def _divided(by: Callable) -> Callable:
    """score_from_eps with -eps divided by something else, made of the process and t, and shaped as it should be."""

    def score_from_eps(process, eps, t):
        return -eps / torch.as_tensor(by(process, t)).view(-1, *[1] * (eps.ndim - 1)).to(eps.dtype)

    return score_from_eps


def _eps_after(score_from_eps: Callable) -> Tensor:
    eps = PICTURES.clone()
    score_from_eps(PROCESS, eps, 20)
    return eps


def _in_place(process: Process, eps: Tensor, t: Time) -> Tensor:
    return eps.div_(-process.coefficients(t, eps)[1])


score_from_eps = Check(
    "score_from_eps",
    _reference_score,
    cases=[
        Case("amid the chain", on(PROCESS, PICTURES, 20)),
        Case("at t = 1, where the score is far larger than the noise", on(PROCESS, PICTURES, 1)),
        Case("a t for each of the pictures", on(PROCESS, PICTURES, T_EACH)),
        Case("points (B, 2), as well as pictures", on(PROCESS, POINTS[:3], T_EACH)),
        Case("eps is left as it was", _eps_after),
    ],
    mistakes=[
        (
            "the sign is missing: noise leads away from the data, the score leads to it",
            lambda process, eps, t: -_reference_score(process, eps, t),
        ),
        ("the factor is missing, as on the slide: noise and score are not of one size", lambda process, eps, t: -eps),
        (
            "the square root is missing: 1 - alpha_bar_t is the variance of the noise, the score needs its root",
            _divided(lambda process, t: process.noise(t) ** 2),
        ),
        (
            "it is multiplied where it must be divided: eps = -sqrt(1 - alpha_bar_t) score, and the score is asked for",
            _divided(lambda process, t: 1 / process.noise(t)),
        ),
        ("sqrt(alpha_bar_t) stands where sqrt(1 - alpha_bar_t) belongs", _divided(lambda process, t: process.signal(t))),
        (
            "1 - sqrt(alpha_bar_t) stands where sqrt(1 - alpha_bar_t) belongs",
            _divided(lambda process, t: 1 - process.signal(t)),
        ),
        (
            "the bar is lost: 1 - alpha_t is the noise of one step, 1 - alpha_bar_t that of all of them",
            _divided(lambda process, t: process.beta(t).sqrt()),
        ),
        (
            "t of shape (B,) was not broadcast over (B, C, H, W): it works for one t, not for a t each",
            lambda process, eps, t: -eps / process.noise(t),
        ),
        (
            "it works for a t each, not for one t for all: .view(-1, 1, 1, 1) serves both",
            lambda process, eps, t: -eps / process.noise(t)[:, None, None, None],
        ),
        ("the result is written into eps itself; make a new tensor", _in_place),
    ],
    hint="score = -eps / sqrt(1 - alpha_bar_t), and sqrt(1 - alpha_bar_t) is process.noise(t). "
    "process.coefficients(t, eps)[1] is the same, in a shape that divides eps.",
)


# langevin_step


def _reference_step(denoiser: Denoiser, x: Tensor, t: Time, epsilon: float, z: Tensor) -> Tensor:
    """One step of Langevin dynamics. Song and Ermon 2019, eq. 4."""
    return x + epsilon / 2 * denoiser(x, t).score + epsilon**0.5 * z


def _step_with(
    drift=lambda epsilon: epsilon / 2, width=lambda epsilon: epsilon**0.5, view="score", before=lambda x, noise: x
) -> Callable:
    """langevin_step with another factor before the score or the noise, another view, or the score read elsewhere."""

    def langevin_step(denoiser, x, t, epsilon, z):
        noise = width(epsilon) * z
        return x + drift(epsilon) * denoiser(before(x, noise), t).seen_as(view) + noise

    return langevin_step


def _share_of_z(epsilon: float) -> Callable:
    def run(step):
        return on(DENOISER, PICTURES, 25, epsilon, Z)(step) - on(DENOISER, PICTURES, 25, epsilon, 0 * Z)(step)

    return run


def _share_of_the_score(step: Callable) -> Tensor:
    return on(DENOISER, PICTURES, 25, 0.04, 0 * Z)(step) - PICTURES


def _x_after(step: Callable) -> Tensor:
    x = PICTURES.clone()
    step(DENOISER, x, 25, 0.04, Z.clone())
    return x


langevin_step = Check(
    "langevin_step",
    _reference_step,
    cases=[
        Case("without noise (z = 0), it moves by epsilon / 2 times the score", _share_of_the_score),
        Case("what z adds is sqrt(epsilon) z", _share_of_z(0.04)),
        Case("the same for a larger epsilon", _share_of_z(4.0)),
        Case("all together", on(DENOISER, PICTURES, 25, 0.5, Z)),
        Case("at another noise level", on(DENOISER, PICTURES, 1, 0.04, Z)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS[:5], 25, 0.04, POINTS[5:10])),
        Case("x is left as it was", _x_after),
    ],
    mistakes=[
        (
            "the square root is forgotten: the noise is sqrt(epsilon) z, not epsilon z",
            _step_with(width=lambda epsilon: epsilon),
        ),
        ("the half is missing: the score is multiplied by epsilon / 2", _step_with(drift=lambda epsilon: epsilon)),
        ("the sign is turned: it walks away from the data, not uphill", _step_with(drift=lambda epsilon: -epsilon / 2)),
        ("the noise z is forgotten: that is gradient ascent, which ends on the peaks", _step_with(width=lambda epsilon: 0)),
        ("the noise z is not scaled: sqrt(epsilon) belongs before it", _step_with(width=lambda epsilon: 1)),
        (
            "the noise has the score's factor: it is sqrt(epsilon) z, not epsilon / 2 z",
            _step_with(width=lambda epsilon: epsilon / 2),
        ),
        (
            "sqrt(epsilon / 2) stands where sqrt(epsilon) belongs before z",
            _step_with(width=lambda epsilon: (epsilon / 2) ** 0.5),
        ),
        (
            "sqrt(2 epsilon) stands before z: that belongs to the convention in which the score is multiplied by epsilon",
            _step_with(width=lambda epsilon: (2 * epsilon) ** 0.5),
        ),
        (
            "this is the convention x + epsilon score + sqrt(2 epsilon) z; it is right with an epsilon half as large",
            _step_with(lambda epsilon: epsilon, lambda epsilon: (2 * epsilon) ** 0.5),
        ),
        ("the predicted noise stands where the score belongs: .score is what you want", _step_with(view="eps")),
        (
            "the predicted noise stands where minus the score belongs: both point the same way, but are not of one size",
            _step_with(drift=lambda epsilon: -epsilon / 2, view="eps"),
        ),
        (
            "the score is taken after the noise was added; it is that of the old x",
            _step_with(before=lambda x, noise: x + noise),
        ),
    ],
    hint="x + epsilon / 2 * denoiser(x, t).score + epsilon**0.5 * z",
    shown=(samplers.langevin,),
)


# annealed_langevin. A right answer may draw its noise in any order, so that not the points are compared but their moves: the
# denoiser writes down where it is asked. Its score is the same everywhere, so that the mean move over the batch is the
# score's doing, and what varies within the batch is the noise's.

LEVELS = VarianceExploding(torch.tensor([0.1, 0.3, 0.6]))
MOVES, EPSILON, PULL = 3, 0.01, 20.0  # moves a level; the size of the last; the score, large enough to be seen in a mean
CLOUD = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, -0.5])
SHEET = torch.randn(3000, 1, 2, 2, generator=torch.Generator().manual_seed(1))


class _Diary:
    """A denoiser that writes down where it is asked: the times and the points, once each. Its score is PULL everywhere."""

    def __init__(self):
        self.process, self.t, self.x = LEVELS, [], []

    def __call__(self, x: Tensor, t: Time) -> Prediction:
        if not (self.x and self.t[-1] == int(torch.as_tensor(t).flatten()[0]) and torch.equal(x, self.x[-1])):
            self.t.append(int(torch.as_tensor(t).flatten()[0]))
            self.x.append(x.clone())
        return Prediction(x, *LEVELS.coefficients(t, x), "score", torch.full_like(x, PULL))


class _Walk:
    """What a sampler did with x: the times `t` of its moves, the points where it began, the moves (N, B, ...), and its end.

    A sampler may give the end, or yield its steps as the library's does.
    """

    def __init__(self, sampler: Callable, x: Tensor = CLOUD):
        diary, self.x = _Diary(), x.clone()
        end = sampler(diary, self.x, LEVELS.times(LEVELS.T), MOVES, EPSILON, torch.Generator().manual_seed(3))
        self.end = end if isinstance(end, Tensor) else samplers.result(end)
        if not diary.x:
            raise ValueError("the denoiser is never asked: denoiser(x, t).score is its answer")
        self.t, self.begin = torch.tensor(diary.t), diary.x[0]
        self.moves = torch.stack([*diary.x, self.end]).diff(dim=0)


def _reference_annealed(denoiser: Denoiser, x: Tensor, times: Tensor, n: int, epsilon: float, rng: torch.Generator) -> Tensor:
    """Where n steps of Langevin dynamics at each noise level end. Song and Ermon 2019, Algorithm 1."""
    return samplers.result(samplers.annealed_langevin(denoiser, x, times, n, epsilon, rng))


def _drifts(x: Tensor) -> Callable:
    """Each move's mean, in units of what epsilon / 2 PULL would make of it."""
    return lambda sampler: _Walk(sampler, x).moves.flatten(1).mean(1) / (EPSILON / 2 * PULL)


def _spreads(x: Tensor) -> Callable:
    """Each move's standard deviation in the batch, in units of sqrt(epsilon)."""
    return lambda sampler: _Walk(sampler, x).moves.std(1).flatten(1).mean(1) / EPSILON**0.5


def _fresh(sampler: Callable) -> Tensor:
    """Whether the noise of a move tells nothing of the noise of the next."""
    moves = _Walk(sampler).moves
    noise = (moves - moves.mean(1, keepdim=True)).flatten(1)
    return (torch.cosine_similarity(noise[1:], noise[:-1], dim=1).abs() < 0.1).all()


def _annealed_with(
    size=lambda epsilon, sigma_i, smallest, largest: epsilon * sigma_i**2 / smallest**2,
    step=_reference_step,
    order=lambda levels: levels,
    repeat=lambda n: n,
    draw=lambda x, rng, i: randn_like(x, rng),
    begin=lambda x, start: x,
    finish=lambda denoiser, x, t: x,
) -> Callable:
    """annealed_langevin with another step size, step, order of levels, number of steps, noise, begin of a level, or end."""

    def annealed_langevin(denoiser, x, times, n, epsilon, rng):
        start, levels, i = x, times[:-1].tolist(), 0
        sigma = {t: float(denoiser.process.noise(t)) for t in levels}
        for t in order(levels):
            x = begin(x, start)
            for _ in range(repeat(n)):
                alpha = size(epsilon, sigma[t], sigma[levels[-1]], sigma[levels[0]])
                x, i = step(denoiser, x, t, alpha, draw(x, rng, i)), i + 1
        return finish(denoiser, x, t)

    return annealed_langevin


def _with_t_0(denoiser, x, times, n, epsilon, rng):
    """The level of t = 0, which has no noise, taken like the others."""
    longer = torch.cat([times, times[-1:] - 1])  # whose last is left out
    sigma = {t: float(denoiser.process.noise(t)) for t in times.tolist()}
    for t in longer[:-1].tolist():
        for _ in range(n):
            alpha = epsilon * sigma[t] ** 2 / sigma[times[-2].item()] ** 2
            x = _reference_step(denoiser, x, t, alpha, randn_like(x, rng))
    return x


annealed_langevin = Check(
    "annealed_langevin",
    _reference_annealed,
    cases=[
        Case("n moves at each level, from the largest down, none at t = 0", lambda f: _Walk(f).t),
        Case("the first move begins at x", lambda f: _Walk(f).begin[:5]),
        Case("the score moves x by alpha_i / 2 times itself, alpha_i = epsilon sigma_i^2 / sigma_L^2", _drifts(CLOUD), 0.01),
        Case("each level's noise is sqrt(alpha_i) wide", _spreads(CLOUD), 0.04),
        Case("the same for pictures (B, C, H, W)", _spreads(SHEET), 0.04),
        Case("each move has noise of its own", _fresh),
        Case("the same rng gives the same end", lambda f: torch.equal(_Walk(f).end, _Walk(f).end)),
        Case("x is left as it was", lambda f: _Walk(f).x[:5]),
    ],
    mistakes=[
        (
            "all levels have one step size: line 3 of Algorithm 1 scales epsilon by sigma_i^2 / sigma_L^2",
            _annealed_with(size=lambda epsilon, s, smallest, largest: epsilon),
        ),
        (
            "the step size is scaled by sigma_i / sigma_L; both are squared",
            _annealed_with(size=lambda epsilon, s, smallest, largest: epsilon * s / smallest),
        ),
        (
            "the step size is upside down: it is sigma_i^2 above and sigma_L^2 below",
            _annealed_with(size=lambda epsilon, s, smallest, largest: epsilon * smallest**2 / s**2),
        ),
        (
            "the step size is divided by the square of the largest sigma; sigma_L is the smallest",
            _annealed_with(size=lambda epsilon, s, smallest, largest: epsilon * s**2 / largest**2),
        ),
        (
            "the step size is epsilon sigma_i^2: it is not divided by sigma_L^2",
            _annealed_with(size=lambda epsilon, s, smallest, largest: epsilon * s**2),
        ),
        (
            "the square root is forgotten: the noise is sqrt(alpha_i) z, not alpha_i z",
            _annealed_with(step=_step_with(width=lambda alpha: alpha)),
        ),
        ("the half is missing: the score is multiplied by alpha_i / 2", _annealed_with(step=_step_with(lambda alpha: alpha))),
        (
            "the sign is turned: it walks away from the data, not uphill",
            _annealed_with(step=_step_with(lambda alpha: -alpha / 2)),
        ),
        ("the noise is forgotten", _annealed_with(step=_step_with(width=lambda alpha: 0))),
        (
            "the predicted noise stands where the score belongs: .score is what you want",
            _annealed_with(step=_step_with(view="eps")),
        ),
        (
            "the levels run from the smallest up; `times` falls, and so must the noise",
            _annealed_with(order=lambda levels: levels[::-1]),
        ),
        ("there is one move at each level, not n", _annealed_with(repeat=lambda n: 1)),
        (
            "each level begins anew from the starting x; it should go on from where the last one ended",
            _annealed_with(begin=lambda x, start: start),
        ),
        (
            "moves are made at t = 0, too, where there is no noise and no level: times[:-1] leaves it out",
            _with_t_0,
        ),
        (
            "all moves have the same noise: draw a new z in each",
            _annealed_with(draw=lambda x, rng, i: randn_like(x, torch.Generator().manual_seed(1))),
        ),
        (
            "all of the batch gets the same noise",
            _annealed_with(draw=lambda x, rng, i: randn_like(x[:1], rng).expand_as(x)),
        ),
        (
            "the noise is uniform (torch.rand), not normal (torch.randn)",
            _annealed_with(draw=lambda x, rng, i: torch.rand(x.shape, generator=rng)),
        ),
        ("the noise is not drawn from rng: pass generator=rng", _annealed_with(draw=lambda x, rng, i: torch.randn_like(x))),
        (
            "the last guess of x_0 comes back, not x; a fine last touch, but not line 9 of Algorithm 1",
            _annealed_with(finish=lambda denoiser, x, t: denoiser(x, t).x0),
        ),
    ],
    hint="For each t of times[:-1]: alpha = epsilon * sigma(t)^2 / sigma(times[-2])^2, where sigma(t) is "
    "denoiser.process.noise(t); then n times a Langevin step of size alpha, each with new noise from rng.",
    shown=(samplers.annealed_langevin, samplers.langevin),
)
