"""Samplers: one generator function for each algorithm, in its own paper's letters.

Each takes a denoiser, the starting noise x (B, ...) and a falling grid of times (n + 1,) as `process.times(n)` gives it, and
yields a Step before each of its n moves and one at the end. Nothing is kept: a list of the steps is the whole film,
`result(steps)` only its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.prediction import Prediction
from course_lib.process import randn_like


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
    alpha_bar = denoiser.process.alpha_bar
    for t, s in moves(x, times):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        alpha = alpha_bar(t) / alpha_bar(s)
        sigma = ((1 - alpha_bar(s)) / (1 - alpha_bar(t)) * (1 - alpha)).sqrt()
        z = randn_like(x, rng)
        x = 1 / alpha.sqrt() * (x - (1 - alpha) / (1 - alpha_bar(t)).sqrt() * pred.eps) + sigma * z
    yield Step(s, x)


@torch.no_grad()
def ddim(denoiser: Denoiser, x: Tensor, times: Tensor, eta: float = 0.0, rng: torch.Generator | None = None) -> Iterator[Step]:
    """Song et al. 2021, eq. 12, with sigma from eq. 16 (their alpha is our alpha_bar).

    eta = 0 adds no noise: x_T decides the picture. eta = 1 is `ddpm`. Raises ValueError where eta is negative or not finite.
    """
    if validate.finite("eta", eta) < 0:
        raise ValueError(f"eta must be 0 or more, got {eta}")
    alpha_bar = denoiser.process.alpha_bar
    for t, s in moves(x, times):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        sigma = eta * ((1 - alpha_bar(s)) / (1 - alpha_bar(t)) * (1 - alpha_bar(t) / alpha_bar(s))).sqrt()
        x = alpha_bar(s).sqrt() * pred.x0 + (1 - alpha_bar(s) - sigma**2).clamp(min=0).sqrt() * pred.eps
        if eta > 0:
            x = x + sigma * randn_like(x, rng)
    yield Step(s, x)
