"""Samplers: one generator function for each algorithm, in its own paper's letters.

Each takes a denoiser, the initial noise x (B, ...) and n + 1 descending times, such as `process.times(n)`. It yields a Step
before each of its n moves and one at the end. A list of the steps is the whole trajectory; `result(steps)` is its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser, device_of, part_of
from course_lib.prediction import Prediction
from course_lib.process import DDPM, Noise, Process, RectifiedFlow, randn_like


@dataclass(frozen=True, eq=False)
class Step:
    """One point of a trajectory: the time, x_t (B, ...) and the denoiser's prediction there (None at the end)."""

    t: int | float
    x: Tensor
    pred: Prediction | None = None

    @property
    def x0(self) -> Tensor:
        """The predicted x_0 (B, ...); at the end, the sample."""
        return self.x if self.pred is None else self.pred.x0


def as_times(times: Tensor | Sequence[float]) -> Tensor:
    """A row of times on the CPU: whole numbers, or float64. Raises TypeError if it is no row of numbers."""
    row = validate.tensor("times", times, "a row of numbers").cpu()
    return row.double() if row.is_floating_point() else row


def time_pairs(x: Tensor, times: Tensor) -> list[tuple]:
    """The pairs (t, s) of neighbouring times, t > s. Raises ValueError unless x is a batch and times descend."""
    validate.batch("x", x)
    times = as_times(times)
    if times.ndim != 1 or len(times) < 2 or not (times.diff() < 0).all():
        raise ValueError(f"times must be one falling row of two or more, got {times.tolist()}")
    return list(pairwise(times.tolist()))


def at_both_ends(value: Callable[[Tensor], Tensor], times: Tensor) -> tuple[Tensor, Tensor]:
    """`value` at the start and at the end of each move: (n,) and (n,)."""
    values = value(as_times(times))
    return values[:-1], values[1:]


def moves(sampler: str, denoiser: Denoiser, x: Tensor, times: Tensor, kind: type[Process] = Process) -> list[tuple]:
    """The pairs (t, s) of a sampler's moves: what `time_pairs` gives for times of the denoiser's process.

    Raises TypeError unless that is a process of the kind that this sampler, by its name, is made for; ValueError for times
    outside of it, and what `time_pairs` raises.
    """
    process = validate.instance("denoiser", denoiser, Denoiser).process
    if not isinstance(process, kind):
        raise TypeError(f"denoiser must be one of a {kind.__name__} process for {sampler}, got one of {process!r}")
    validate.time("times", as_times(times), 0, process.T)
    return time_pairs(x, times)


def result(steps: Iterable[Step]) -> Tensor:
    """The last x of a sampler (B, ...), without keeping the steps before it. Raises ValueError if there is no step."""
    if not isinstance(steps, Iterable):
        raise TypeError(f"steps must be the steps of a sampler, got {type(steps).__name__}")
    last = deque(steps, maxlen=1)
    if not last:
        raise ValueError("steps must hold at least one Step, got none")
    return validate.instance("steps", last[0], Step).x


@torch.no_grad()
def sample(
    denoiser: Denoiser, noise: Tensor, n: int, sampler: Callable[..., Iterator[Step]] | None = None, batch: int = 100, **options
) -> Tensor:
    """Samples (N, ...) from the noise (N, ...), by n moves of `sampler` (DDIM by default), `batch` members at a time.

    The noise may be on any device; sampling runs on that of the network. `options` are the sampler's own, such as `eta` or
    `rng`, a generator or one for each member. A denoiser with a condition for each member needs a method `part(slice)` if
    N > `batch` (see `Batched`).
    """
    validate.instance("denoiser", denoiser, Denoiser)
    validate.batch("noise", noise)
    validate.at_least("batch", batch, 1)
    if sampler is not None:
        validate.function("sampler", sampler)
    times, device = denoiser.process.times(n), device_of(denoiser, noise.device)
    draw = lambda part, x, **its: result((sampler or ddim)(part, x.to(device), times, **its)).to(noise.device)
    if len(noise) <= batch:
        return draw(denoiser, noise, **options)
    made = []
    for index in (slice(i, i + batch) for i in range(0, len(noise), batch)):
        each = {"rng": options["rng"][index]} if isinstance(options.get("rng"), Sequence) else {}
        made.append(draw(part_of(denoiser, index), noise[index], **options | each))
    return torch.cat(made)


@torch.no_grad()
def ddpm(denoiser: Denoiser, x: Tensor, times: Tensor, rng: Noise = None) -> Iterator[Step]:
    """Yields the steps of Ho et al. 2020, Algorithm 2, with sigma_t^2 the variance of q(x_{t-1} | x_t, x_0) (their eq. 7).

    Over all T times alpha is the paper's alpha_t. Over fewer times it is alpha_bar(t) / alpha_bar(s), alpha of the chain
    without the skipped steps (Nichol and Dhariwal 2021, section 4). At s = 0 sigma is 0: the last step adds no noise.
    """
    pairs = moves("ddpm", denoiser, x, times, DDPM)
    alpha_bar, before = at_both_ends(denoiser.process.alpha_bar, times)
    alpha = alpha_bar / before
    sigma = ((1 - before) / (1 - alpha_bar) * (1 - alpha)).sqrt()
    for (t, _), alpha_t, alpha_bar_t, sigma_t in zip(pairs, alpha.tolist(), alpha_bar.tolist(), sigma.tolist()):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        z = randn_like(x, rng)
        x = 1 / alpha_t**0.5 * (x - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * pred.eps) + sigma_t * z
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def ddim(denoiser: Denoiser, x: Tensor, times: Tensor, eta: float = 0.0, rng: Noise = None) -> Iterator[Step]:
    """Yields the steps of Song et al. 2021 (DDIM), eq. 12, with sigma from eq. 16 (their alpha is our alpha_bar).

    With eta = 0 the sampler is deterministic, with eta = 1 it is `ddpm`. Raises ValueError if eta is negative or not finite.
    """
    if validate.finite("eta", eta) < 0:
        raise ValueError(f"eta must be 0 or more, got {eta}")
    pairs = moves("ddim", denoiser, x, times, DDPM)
    alpha_bar, before = at_both_ends(denoiser.process.alpha_bar, times)
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
    """Yields Euler steps along the velocity, Liu et al. 2023, section 2 (their time runs from noise to data).

    On a rectified flow it is DDIM with eta = 0.
    """
    pairs = moves("rectified_flow", denoiser, x, times, RectifiedFlow)
    for (t, _), dt in zip(pairs, as_times(times).diff().tolist()):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = torch.add(x, pred.flow, alpha=dt)  # x + dt flow
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def heun(denoiser: Denoiser, x: Tensor, times: Tensor) -> Iterator[Step]:
    """Yields the steps of Karras et al. 2022, Algorithm 1: an Euler step, repeated with the mean of the slopes at both ends.

    Their dx = eps dsigma is for a constant signal; in general dx = x_0 da + eps db. On a rectified flow this is Heun's method
    for its velocity. A move takes two function evaluations. The last takes one, since eps is undefined without noise.
    """
    pairs = moves("heun", denoiser, x, times)
    da, db = (value(as_times(times)).diff().to(x.dtype) for value in (denoiser.process.signal, denoiser.process.noise))
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
def consistency(denoiser: Denoiser, x: Tensor, times: Tensor, rng: Noise = None) -> Iterator[Step]:
    """Yields the steps of Song et al. 2023, Algorithm 1, multistep consistency sampling: predict x_0, add fresh noise, repeat.

    Their f(x, t) is pred.x0. It is DDIM at eta = 0 with fresh noise instead of the predicted noise; one move is 1 NFE.
    """
    for t, s in moves("consistency", denoiser, x, times):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = denoiser.process.add_noise(pred.x0, s, randn_like(x, rng))
    yield Step(s, x)


@torch.no_grad()
def probability_flow(denoiser: Denoiser, x: Tensor, times: Tensor) -> Iterator[Step]:
    """Yields steps of the probability-flow ODE, Song et al. 2021 (score-based modelling by SDEs), eq. 13, for a DDPM process.

    By their rule of appendix D.3, eq. 44: x_i = (2 - sqrt(1 - beta_{i+1})) x_{i+1} + beta_{i+1} / 2 score. Over fewer than T
    times beta is that of the chain without the skipped steps, as in `ddpm`.
    """
    pairs = moves("probability_flow", denoiser, x, times, DDPM)
    alpha_bar, before = at_both_ends(denoiser.process.alpha_bar, times)
    for (t, _), beta_t in zip(pairs, (1 - alpha_bar / before).tolist()):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = (2 - (1 - beta_t) ** 0.5) * x + beta_t / 2 * pred.score
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def langevin(denoiser: Denoiser, x: Tensor, t: int | float, n: int, eta: float, rng: Noise = None) -> Iterator[Step]:
    """Yields n steps of Langevin dynamics at the noise level of time t. Song and Ermon 2019, eq. 4.

    eta is the step size, their epsilon. Raises ValueError if n is not positive, or eta is not positive and finite.
    """
    validate.instance("denoiser", denoiser, Denoiser)
    validate.batch("x", x)
    validate.at_least("n", n, 1)
    validate.positive("eta", eta)
    for _ in range(n):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = x + eta / 2 * pred.score + eta**0.5 * randn_like(x, rng)
    yield Step(t, x)


@torch.no_grad()
def annealed_langevin(
    denoiser: Denoiser, x: Tensor, times: Tensor, n: int = 100, eta: float = 2e-5, rng: Noise = None
) -> Iterator[Step]:
    """Yields the steps of Song and Ermon 2019, Algorithm 1: n steps of Langevin dynamics at each noise level, largest first.

    The levels are sigma_i = noise(times[i]) for all `times` except the last, which has no noise. The step size is their
    alpha_i = eta sigma_i^2 / sigma_L^2, with eta for their epsilon. Raises what `langevin` raises.
    """
    pairs = moves("annealed_langevin", denoiser, x, times)
    validate.positive("eta", eta)
    sigma = {t: float(denoiser.process.noise(t)) for t, _ in pairs}
    smallest = min(sigma.values())
    for t, sigma_i in sigma.items():
        *steps, last = langevin(denoiser, x, t, n, eta * sigma_i**2 / smallest**2, rng)
        yield from steps
        x = last.x
    yield last


@torch.no_grad()
def invert(denoiser: Denoiser, x0: Tensor, times: Tensor) -> Iterator[Step]:
    """Yields the steps of DDIM inversion, from pictures x0 (B, ...) to their noise: Song et al. 2021 (DDIM), section 4.3.

    `times` descends, as for every sampler, and is used in reverse. A move from s up to t takes eps predicted at time s, or at
    time t if s has no noise. Exact only in the limit of small moves.
    """
    pairs = moves("invert", denoiser, x0, times)
    process, x = denoiser.process, x0
    for t, s in reversed(pairs):
        a, b = process.coefficients(s, x)
        pred = denoiser(x, s if process.noise(s) > 0 else t)
        yield Step(s, x, pred)
        x = process.add_noise((x - b * pred.eps) / a, t, pred.eps)
    yield Step(t, x)
