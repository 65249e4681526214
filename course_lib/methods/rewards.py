"""Rewards: search at sampling time, training on preferences and on the reward itself, beside the optimum, which is known.

A reward is a function from clean samples x0 (B, ...) to numbers (B,). For a model p and a strength beta > 0 the density that
maximises the mean reward less beta times the KL divergence from p is p(x) exp(r(x) / beta) / Z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, Time, rand, randn_like
from course_lib.samplers import Step, at_both_ends, ddpm, moves

Reward = Callable[[Tensor], Tensor]


def tilted(mixture: GaussianMixture, slope: Tensor, beta: float) -> GaussianMixture:
    """p(x) exp(slope . x / beta), normalised, for a mixture p in D dimensions: the optimum for a linear reward. slope is (D,).

    It is a mixture again: a component with weight w, mean m and standard deviation s becomes one with mean m + s^2 slope / beta
    and weight w exp(slope . m / beta + s^2 |slope|^2 / (2 beta^2)).
    """
    validate.instance("mixture", mixture, GaussianMixture)
    validate.positive("beta", beta)
    u = validate.row("slope", validate.tensor("slope", slope)).cpu().double() / beta
    if len(u) != mixture.dim:
        raise ValueError(f"slope must be ({mixture.dim},), got shape {tuple(u.shape)}")
    log_weight = mixture.weights.log() + mixture.means @ u + mixture.stds**2 * u.square().sum() / 2
    means = mixture.means + mixture.stds[:, None] ** 2 * u
    return GaussianMixture(log_weight.softmax(0), means, mixture.stds, mixture.labels)


def accepted(x: Tensor, reward: Reward, beta: float, most: float = 0.0, rng: torch.Generator | None = None) -> Tensor:
    """Samples (A, ...) of the optimum p exp(r / beta) / Z, of samples x (B, ...) of p: rejection sampling. von Neumann 1951.

    Each is kept with probability exp((r - most) / beta), where `most` is what the reward is at most. They are exact for every
    reward, but A may be 0. Raises ValueError where a reward is larger than `most`.
    """
    value = _rewards(reward, validate.batch("x", x))
    if value.max() > validate.finite("most", most):
        raise ValueError(f"most must be the largest reward or more, got {most:g} beside a reward of {value.max():g}")
    chance = ((value - most) / validate.positive("beta", beta)).exp()
    return x[(rand(len(x), rng=rng) < chance.cpu()).to(x.device)]


def best_of(x: Tensor, reward: Reward, n: int) -> Tensor:
    """Best-of-n: of each n neighbouring members of x (B n, ...) the one with the highest reward, (B, ...).

    Raises ValueError unless the batch is a multiple of n.
    """
    value = _rewards(reward, validate.batch("x", x))
    best = _grouped("n", value, n).argmax(1).to(x.device)
    return x[best + n * torch.arange(len(best), device=x.device, dtype=torch.long)]


def best_of_kl(n: int) -> float:
    """log n - (n - 1) / n: what the KL divergence of best-of-n from the model is at most (Beirami et al. 2024).

    It is reached where no two samples have the same reward.
    """
    return math.log(validate.at_least("n", n, 1)) - (n - 1) / n


@torch.no_grad()
def particles(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    reward: Reward,
    beta: float,
    size: int | None = None,
    rng: torch.Generator | None = None,
) -> Iterator[Step]:
    """Yields the steps of `ddpm` with particles that are resampled before each move: Feynman-Kac steering.

    Singhal et al. 2025, with their difference potential and lambda = 1 / beta: a particle's weight is exp((r - r') / beta),
    where r is the reward of its predicted x_0 and r' that of its ancestor at the step before, 0 at first. At the end the
    weights use the reward of the sample itself, so that their product is exp(r(x_0) / beta). Resampling is
    systematic, within groups of `size` neighbouring members of x (B, ...), by default within the whole batch.
    Raises ValueError unless the batch is a multiple of `size`.
    """
    pairs = moves("particles", denoiser, x, times, DDPM)
    size = len(x) if size is None else size
    validate.positive("beta", beta)
    alpha_bar, before = at_both_ends(denoiser.process.alpha_bar, times)
    sigma = ((1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)).sqrt()
    direction = (1 - before - sigma**2).clamp(min=0).sqrt()
    last = x.new_zeros(len(x))
    for (t, _), signal_s, direction_t, sigma_t in zip(pairs, *(v.to(x.dtype) for v in (before.sqrt(), direction, sigma))):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        value = _rewards(reward, pred.x0)
        i = resample((value - last) / beta, size, rng)
        last = value[i]
        x = signal_s * pred.x0[i] + direction_t * pred.eps[i] + sigma_t * randn_like(x, rng)
    yield Step(pairs[-1][1], x[resample((_rewards(reward, x) - last) / beta, size, rng)])


def resample(log_weight: Tensor, size: int, rng: torch.Generator | None = None) -> Tensor:
    """Indices (B,) of particles drawn by weight within groups of `size` neighbours: systematic resampling. Kitagawa 1996.

    `log_weight` (B,) need not be normalised. In each group a particle of normalised weight W is drawn size W times, rounded up
    or down: one random number for each group shifts an even grid over the cumulated weights.
    """
    groups = _grouped("size", validate.row("log_weight", validate.floating("log_weight", log_weight)).cpu().double(), size)
    grid = (torch.arange(size, device="cpu", dtype=torch.float64) + rand(len(groups), rng=rng).double()[:, None]) / size
    cumulated = groups.softmax(1).cumsum(1)
    chosen = torch.searchsorted(cumulated, grid).clamp(max=size - 1)
    start = size * torch.arange(len(groups), device="cpu", dtype=torch.long)[:, None]
    return (chosen + start).flatten().to(log_weight.device)


def dpo_loss(
    denoiser: Denoiser,
    reference: Denoiser,
    winner: Tensor,
    loser: Tensor,
    t: Time,
    eps: Tensor,
    beta: float,
    weight: float = 1.0,
) -> Tensor:
    """The loss () of Diffusion-DPO on pairs: `winner` (B, ...) was preferred to `loser` (B, ...). Wallace et al. 2023, eq. 14.

    -log sigmoid(-beta weight d), where d compares squared errors of the noise, summed over a picture: how much lower than the
    reference's they are for the loser, less the same for the winner. Their T omega(lambda_t) is `weight`. Winner and loser get
    the same noise eps (B, ...) and time t, a number or (B,). `reference` is the model before training, without gradients.
    """
    validate.instance("denoiser", denoiser, Denoiser)
    validate.instance("reference", reference, Denoiser)
    validate.like("loser", loser, "winner", validate.batch("winner", winner))
    validate.like("eps", eps, "winner", winner)
    validate.positive("beta", beta)

    def gain(x0: Tensor) -> Tensor:
        """How much larger the denoiser's squared error is than the reference's (B,)."""
        x_t = denoiser.process.add_noise(x0, t, eps)
        error = lambda model: (model(x_t, t).eps - eps).square().flatten(1).sum(1)
        with torch.no_grad():
            before = error(reference)
        return error(denoiser) - before

    return -logsigmoid(-beta * validate.positive("weight", weight) * (gain(winner) - gain(loser))).mean()


@dataclass(frozen=True, eq=False)
class Moves:
    """Moves of DDPM from x (N, ...) at times t (N,) to `to` (N, ...) at s (N,): each a Gaussian, with variance above 0.

    `log_prob` (N,) is the logarithm of their density under the model that made them, and `advantage` (N,) says how good they
    were, 0 on average.
    """

    x: Tensor
    t: Tensor
    to: Tensor
    s: Tensor
    log_prob: Tensor
    advantage: Tensor

    def part(self, index: Tensor | slice) -> Moves:
        """Those of the moves."""
        return Moves(*(getattr(self, field.name)[index] for field in fields(self)))


@torch.no_grad()
def rollout(
    denoiser: Denoiser,
    reference: Denoiser,
    x: Tensor,
    times: Tensor,
    reward: Reward,
    beta: float = 0.0,
    rng: torch.Generator | None = None,
) -> Moves:
    """DDPM from noise x (B, ...) over n times that end at 0, as (n - 1) B moves with advantages: what DDPO trains on.

    With beta = 0, Black et al. 2023: the advantage of each move is the reward of its sample, normalised. With beta > 0 the
    return of a move is the reward less beta times log p_theta / p_reference of this move and all later ones. Its mean gradient
    is that of the mean reward less beta times the sum of the moves' KL divergences, the objective of Fan et al. 2023. The
    last move adds no noise, so it has no density, and is left out. Raises ValueError for fewer than two moves.
    """
    validate.instance("reference", reference, Denoiser)
    steps = list(ddpm(denoiser, x, times, rng))
    n, value = len(steps) - 2, _rewards(reward, steps[-1].x)
    validate.at_least("the number of moves", n + 1, 2)
    validate.finite("beta", beta, 0)
    at = torch.tensor([step.t for step in steps[:-1]], device="cpu", dtype=torch.long)[:, None].expand(-1, len(x))
    states = torch.stack([step.x for step in steps[:-1]])  # (n + 1, B, ...)
    x, t, to, s = (v.flatten(0, 1) for v in (states[:-1], at[:-1], states[1:], at[1:]))
    log_prob = log_density_of_moves(denoiser, x, t, to, s)
    change = (log_prob - log_density_of_moves(reference, x, t, to, s)).view(n, -1)
    returns = value - beta * change.flip(0).cumsum(0).flip(0)  # (n, B)
    advantage = (returns - returns.mean(1, keepdim=True)) / returns.std().clamp(min=1e-8)
    return Moves(x, t, to, s, log_prob, advantage.flatten())


def ddpo_loss(denoiser: Denoiser, moves: Moves, clip: float = 0.2) -> Tensor:
    """The loss () of DDPO with importance sampling, for moves of an earlier state of the denoiser. Black et al. 2023.

    -min(ratio A, clipped ratio A), where A is the advantage, ratio the move's density over what it was, and clipped to
    1 - clip .. 1 + clip. Where the denoiser has not changed yet, the gradient is that of the score function, A grad log p.
    """
    validate.instance("moves", moves, Moves)
    validate.positive("clip", clip)
    ratio = (log_density_of_moves(denoiser, moves.x, moves.t, moves.to, moves.s) - moves.log_prob).exp()
    return -torch.minimum(ratio * moves.advantage, ratio.clamp(1 - clip, 1 + clip) * moves.advantage).mean()


def log_density_of_moves(denoiser: Denoiser, x: Tensor, t: Time, to: Tensor, s: Time) -> Tensor:
    """log p(x_s = to | x_t = x) (B,) of the moves of `ddpm`: x and to (B, ...), t > s > 0 numbers or (B,)."""
    validate.instance("denoiser", denoiser, Denoiser)
    validate.like("to", to, "x", validate.batch("x", x))
    pred = denoiser(x, t)
    (a_t, b_t), (a_s, b_s) = (denoiser.process.coefficients(u, x) for u in (t, s))
    sigma = b_s / b_t * (1 - (a_t / a_s).square()).sqrt()
    mean = a_s * pred.x0 + (b_s.square() - sigma.square()).sqrt() * pred.eps
    each = -((to - mean) / sigma).square() / 2 - sigma.log() - math.log(2 * math.pi) / 2
    return each.flatten(1).sum(1)


def _rewards(reward: Reward, x: Tensor) -> Tensor:
    """reward(x) (B,). Raises TypeError or ValueError for anything else."""
    value = validate.floating("reward(x)", validate.function("reward", reward)(x))
    if value.shape != x.shape[:1]:
        raise ValueError(f"reward must return one number for each of the batch of {len(x)}, got shape {tuple(value.shape)}")
    return value


def _grouped(name: str, values: Tensor, size: int) -> Tensor:
    """Values (B,) in groups of `size` neighbours (B / size, size)."""
    validate.divides(name, validate.at_least(name, size, 1), "the batch", len(values))
    return values.view(-1, size)
