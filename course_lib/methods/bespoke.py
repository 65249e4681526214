"""Solvers whose weights are fitted to one denoiser: bespoke non-stationary solvers (Shaul et al. 2024).

Every deterministic solver that takes one evaluation a move makes each x a weighted sum of the noise and of all predictions
of x_0 before it. `weights_of` reads these weights off a solver; fitted ones lead nearer to the end of the denoiser's own ODE
in as few evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser, part_of
from course_lib.prediction import Prediction
from course_lib.process import Process, Time
from course_lib.samplers import Step, as_times, moves, result


@dataclass(frozen=True, eq=False)
class KnownStart:
    """A denoiser whose prediction of x_0 at t = T is known, so that the first move of a sampler needs no evaluation.

    x_T holds next to no signal, so that the best prediction is the mean of x_0 under the condition: `mean`, (1, ...) or
    (B, ...).
    """

    denoiser: Denoiser
    mean: Tensor

    def __post_init__(self):
        validate.instance("denoiser", self.denoiser, Denoiser)
        validate.batch("mean", self.mean)

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def part(self, index: slice) -> KnownStart:
        """The same with those members of the batch."""
        mean = self.mean if len(self.mean) == 1 else self.mean[index]
        return replace(self, denoiser=part_of(self.denoiser, index), mean=mean)

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        if isinstance(t, Tensor) or t != self.process.T:
            return self.denoiser(x_t, t)
        return Prediction(x_t, *self.process.coefficients(t, x_t), "x0", self.mean.to(x_t.dtype).to(x_t.device).expand_as(x_t))


@torch.no_grad()
def mean_at_start(denoiser: Denoiser, noise: Tensor) -> Tensor:
    """The mean (1, ...) of what a denoiser predicts of x_0 at t = T for the noise (N, ...), for `KnownStart`."""
    validate.instance("denoiser", denoiser, Denoiser)
    return denoiser(validate.batch("noise", noise), denoiser.process.T).x0.mean(0, keepdim=True)


@dataclass(frozen=True, eq=False)
class _Symbols:
    """A denoiser whose n-th prediction is the n-th unit vector, so that the x it is given are a solver's weights."""

    process: Process
    units: Tensor
    given: list[Tensor]

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        self.given.append(x_t)
        if len(self.given) == len(self.units):
            raise ValueError("solver must be one of one evaluation a move, got one of more")
        return Prediction(x_t, *self.process.coefficients(t, x_t), "x0", self.units[len(self.given)][None])


def weights_of(solver: Callable[..., Iterator[Step]], process: Process, times: Tensor) -> Tensor:
    """The weights (n, n + 1) of a solver's n moves over `times` (n + 1,), float64, on the CPU; row i is for `times[i + 1]`.

    Column 0 is for the noise, column j + 1 for the prediction of x_0 at `times[j]`; what is not known yet has weight 0. The
    last row is the picture, the others are what the denoiser is given next. Raises ValueError for a solver with more than one
    evaluation a move, such as Heun's, or with noise of its own.
    """
    validate.function("solver", solver)
    validate.instance("process", process, Process)
    symbols = _Symbols(process, torch.eye(len(validate.row("times", as_times(times))), dtype=torch.float64, device="cpu"), [])
    end = result(solver(symbols, symbols.units[:1], times))
    weights = torch.cat([*symbols.given[1:], end])
    if weights.triu(2).any():
        raise ValueError("solver must be deterministic, got one that adds noise")
    return weights


def _solved(denoiser: Denoiser, x: Tensor, times: Tensor, weights: Tensor) -> Iterator[Step]:
    pairs = moves("bespoke", denoiser, x, times)
    size = len(pairs), len(pairs) + 1
    if tuple(validate.floating("weights", weights).shape) != size:
        raise ValueError(f"weights must be {size}, for {len(pairs)} moves, got shape {tuple(weights.shape)}")
    noise, predictions = x, []
    for (t, _), row in zip(pairs, weights.to(x.dtype).to(x.device)):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        predictions.append(pred.x0)
        x = row[0] * noise
        for weight, x0 in zip(row[1:], predictions):
            x = torch.addcmul(x, weight, x0)
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def bespoke(denoiser: Denoiser, x: Tensor, times: Tensor, weights: Tensor) -> Iterator[Step]:
    """Yields the steps of a non-stationary solver from the noise x (B, ...). Shaul et al. 2024 (BNS), section 3.

    `weights` (n, n + 1) are in the form of `weights_of`: x at `times[i + 1]` is the sum of the noise and of the predictions of
    x_0 at `times[0]` .. `times[i]`, weighted by row i. Raises ValueError for weights of another shape.
    """
    yield from _solved(denoiser, x, times, weights)


def bespoke_loss(denoiser: Denoiser, noise: Tensor, target: Tensor, times: Tensor, weights: Tensor) -> Tensor:
    """The mean logarithm of a picture's squared error, (), with a gradient for `weights` (n, n + 1). Shaul et al. 2024.

    `target` (B, ...) are the ends of the denoiser's own ODE from `noise` (B, ...), by a solver of many steps. That is the
    negative peak signal-to-noise ratio, up to a factor and a constant.
    """
    validate.like("target", target, "noise", validate.batch("noise", noise))
    made = result(_solved(denoiser, noise, times, weights))
    return (made - target).square().flatten(1).mean(1).log().mean()
