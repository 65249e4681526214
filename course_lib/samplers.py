"""Samplers: one generator function for each algorithm, in its own paper's letters.

Each takes a denoiser, the starting noise x (B, ...) and a falling grid of times (n + 1,) as `process.times(n)` gives it, and
yields a Step before each of its n moves and one at the end. Nothing is kept: a list of the steps is the whole film,
`result(steps)` only its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.prediction import Prediction
from course_lib.process import Time, randn_like


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of sampling: the time, x_t (B, ...) and what the denoiser believed there (None at the end)."""

    t: int | float
    x: Tensor
    pred: Prediction | None = None

    @property
    def x0(self) -> Tensor:
        """The running guess of the clean picture; at the end, the picture."""
        return self.x if self.pred is None else self.pred.x0


def moves(x: Tensor, times: Tensor) -> list[tuple]:
    """The pairs (t, s) of neighbouring times, from t down to s. Raises ValueError unless x is a batch and times fall."""
    validate.batch("x", x)
    times = torch.as_tensor(times)
    if times.ndim != 1 or len(times) < 2 or not (times.diff() < 0).all():
        raise ValueError(f"times must be one falling row of two or more, got {times.tolist()}")
    return list(pairwise(times.tolist()))


def along(value: Callable[[Tensor], Tensor], times: Tensor) -> tuple[Tensor, Tensor]:
    """What `value` is at the time that each move comes from, and at the time that it goes to: (n,) and (n,)."""
    all_of_them = value(torch.as_tensor(times))
    return all_of_them[:-1], all_of_them[1:]


def result(steps: Iterable[Step]) -> Tensor:
    """The last x of a sampler, without keeping the steps before it."""
    last = deque(steps, maxlen=1)
    if not last:
        raise ValueError("steps must hold at least one Step, got none")
    return last[0].x


@torch.no_grad()
def ddpm(denoiser: Denoiser, x: Tensor, times: Tensor, rng: torch.Generator | None = None) -> Iterator[Step]:
    """Ho et al. 2020, Algorithm 2, with sigma_t^2 the variance of q(x_{t-1} | x_t, x_0) (their eq. 7).

    Over all T times alpha is the paper's alpha_t. Over fewer, it is that of the chain with the other steps left out,
    alpha_bar(t) / alpha_bar(s) (Nichol and Dhariwal 2021, section 4). At s = 0 sigma is 0: no noise at the last step.
    """
    pairs = moves(x, times)
    alpha_bar, before = along(denoiser.process.alpha_bar, times)
    alpha = alpha_bar / before
    sigma = ((1 - before) / (1 - alpha_bar) * (1 - alpha)).sqrt()
    for (t, _), alpha_t, alpha_bar_t, sigma_t in zip(pairs, alpha.tolist(), alpha_bar.tolist(), sigma.tolist()):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        z = randn_like(x, rng)
        x = 1 / alpha_t**0.5 * (x - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * pred.eps) + sigma_t * z
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def ddim(denoiser: Denoiser, x: Tensor, times: Tensor, eta: float = 0.0, rng: torch.Generator | None = None) -> Iterator[Step]:
    """Song et al. 2021, eq. 12, with sigma from eq. 16 (their alpha is our alpha_bar).

    eta = 0 adds no noise: x_T decides the picture. eta = 1 is `ddpm`. Raises ValueError where eta is negative or not finite.
    """
    if validate.finite("eta", eta) < 0:
        raise ValueError(f"eta must be 0 or more, got {eta}")
    pairs = moves(x, times)
    alpha_bar, before = along(denoiser.process.alpha_bar, times)
    sigma = eta * ((1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)).sqrt()
    direction = (1 - before - sigma**2).clamp(min=0).sqrt()
    for (t, _), signal_s, direction_t, sigma_t in zip(pairs, *(v.to(x.dtype) for v in (before.sqrt(), direction, sigma))):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = signal_s * pred.x0 + direction_t * pred.eps
        if eta > 0:
            x = x + sigma_t * randn_like(x, rng)
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def rectified_flow(denoiser: Denoiser, x: Tensor, times: Tensor) -> Iterator[Step]:
    """Liu et al. 2023, section 2: Euler steps along the velocity. Their time runs from noise to data, ours from data to noise.

    Where the signal is 1 - t and the noise t, it is DDIM at eta = 0.
    """
    pairs = moves(x, times)
    for (t, _), dt in zip(pairs, torch.as_tensor(times).diff().tolist()):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = torch.add(x, pred.flow, alpha=dt)  # x + dt flow
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def heun(denoiser: Denoiser, x: Tensor, times: Tensor) -> Iterator[Step]:
    """Karras et al. 2022, Algorithm 1: an Euler step, then the whole move again with the mean of the beliefs at both ends.

    Their dx = eps dsigma holds where the signal stays 1. Where it moves, too, dx = x_0 da + eps db; on a rectified flow that
    is Heun's rule for its velocity. Two evaluations a move, one for the last, which ends where there is no noise to believe in.
    """
    pairs = moves(x, times)
    da, db = (torch.as_tensor(value(times)).diff().to(x.dtype) for value in (denoiser.process.signal, denoiser.process.noise))
    for (t, s), da_t, db_t in zip(pairs, da, db):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        d = da_t * pred.x0 + db_t * pred.eps
        if s > 0:
            end = denoiser(x + d, s)
            d = torch.lerp(d, da_t * end.x0 + db_t * end.eps, 0.5)
        x = x + d
    yield Step(s, x)


@torch.no_grad()
def consistency(denoiser: Denoiser, x: Tensor, times: Tensor, rng: torch.Generator | None = None) -> Iterator[Step]:
    """Song et al. 2023, Algorithm 1, multistep consistency sampling: jump to the picture, noise it afresh, jump again.

    Their f(x, t) is pred.x0. It is DDIM at eta = 0 with fresh noise in place of the believed one; one move is one jump.
    """
    for t, s in moves(x, times):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = denoiser.process.add_noise(pred.x0, s, randn_like(x, rng))
    yield Step(s, x)


@torch.no_grad()
def probability_flow(denoiser: Denoiser, x: Tensor, times: Tensor) -> Iterator[Step]:
    """Song et al. 2021 (score-based modelling by SDEs), eq. 13, for the variance-preserving process, by their rule of
    appendix C: x_i = (2 - sqrt(1 - beta_{i+1})) x_{i+1} + beta_{i+1} / 2 score.

    Over fewer than T times beta is that of the chain with the other steps left out, as in `ddpm`.
    """
    pairs = moves(x, times)
    alpha_bar, before = along(denoiser.process.alpha_bar, times)
    for (t, _), beta_t in zip(pairs, (1 - alpha_bar / before).tolist()):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = (2 - (1 - beta_t) ** 0.5) * x + beta_t / 2 * pred.score
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def langevin(
    denoiser: Denoiser, x: Tensor, t: Time, n: int, epsilon: float, rng: torch.Generator | None = None
) -> Iterator[Step]:
    """n steps of plain Langevin dynamics at the one noise level t. Song and Ermon 2019, eq. 4; epsilon is the step size.

    Raises ValueError where n is not positive, or epsilon is not positive and finite.
    """
    validate.batch("x", x)
    validate.at_least("n", n, 1)
    if validate.finite("epsilon", epsilon) <= 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}")
    for _ in range(n):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = x + epsilon / 2 * pred.score + epsilon**0.5 * randn_like(x, rng)
    yield Step(t, x)


@torch.no_grad()
def annealed_langevin(
    denoiser: Denoiser, x: Tensor, times: Tensor, n: int = 100, epsilon: float = 2e-5, rng: torch.Generator | None = None
) -> Iterator[Step]:
    """Song and Ermon 2019, Algorithm 1: n steps of Langevin dynamics at each noise level, from the largest down.

    The levels are those of `times` but its last, where there is no noise left; sigma_i is noise(times[i]), and the step size
    there is their alpha_i = epsilon sigma_i^2 / sigma_L^2. Raises what `langevin` raises.
    """
    sigma = {t: float(denoiser.process.noise(t)) for t, _ in moves(x, times)}
    smallest = min(sigma.values())
    for t, sigma_i in sigma.items():
        *steps, last = langevin(denoiser, x, t, n, epsilon * sigma_i**2 / smallest**2, rng)
        yield from steps
        x = last.x
    yield last


@torch.no_grad()
def invert(denoiser: Denoiser, x0: Tensor, times: Tensor) -> Iterator[Step]:
    """DDIM backwards, from pictures x0 (B, ...) to the noise that `ddim` makes them from: Song et al. 2021, section 4.3.

    `times` falls, as for every sampler, and is walked from its end. Each move from s up to t takes the noise that is
    believed at s, or at t where s has none. Exact only in the limit of small moves.
    """
    process, x = denoiser.process, x0
    for t, s in reversed(moves(x0, times)):
        a, b = process.coefficients(s, x)
        pred = denoiser(x, s if process.noise(s) > 0 else t)
        yield Step(s, x, pred)
        x = process.add_noise((x - b * pred.eps) / a, t, pred.eps)
    yield Step(t, x)
