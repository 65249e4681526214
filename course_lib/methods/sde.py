"""Diffusion in continuous time: the SDE of a process, its reverse, the ODE with the same marginals, and log p along it.

Every Gaussian process of the course is dx = f(t) x dt + g(t) dw, with f = d log a / dt and g^2 = d(b^2) / dt - 2 f b^2 for
x_t = a x_0 + b eps. Song et al. 2021 is *Score-Based Generative Modeling through Stochastic Differential Equations*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.process import DDPM, Noise, Process, RectifiedFlow, Time, VarianceExploding, rand, randn_like
from course_lib.samplers import Step, moves, time_pairs

# The processes


@dataclass(frozen=True)
class Continuous(Process):
    """A DDPM or VarianceExploding chain at all real times t in [0, T]; one unit of time is one step of the chain.

    At whole times it is the chain. Between them log alpha_bar(t), or sigma(t)^2, is linear. Its SDE (`drift_diffusion`) leads
    from x_{t-1} to the x_t of the chain exactly, with no limit of small steps.
    """

    chain: DDPM | VarianceExploding

    def __post_init__(self):
        validate.instance("chain", self.chain, DDPM, VarianceExploding)

    @property
    def T(self) -> int:
        return self.chain.T

    @property
    def _table(self) -> Tensor:
        """What is linear between whole times: log alpha_bar or sigma^2, (T + 1,)."""
        whole = torch.arange(self.T + 1, device="cpu", dtype=torch.int64)
        return self.chain.alpha_bar(whole).log() if isinstance(self.chain, DDPM) else self.chain.noise(whole) ** 2

    def _at(self, t: Time) -> tuple[Tensor, Tensor]:
        """The table's value at real times t, and its slope in the interval that ends at t, float64."""
        t = validate.tensor("t", t, "a number or a tensor of them", torch.float64).cpu().double()
        validate.time("t", t, 0, self.T)
        i, table = t.ceil().long().clamp(min=1), self._table
        slope = table[i] - table[i - 1]
        return table[i] - (i - t) * slope, slope

    def signal(self, t: Time) -> Tensor:
        value, _ = self._at(t)
        return (value / 2).exp() if isinstance(self.chain, DDPM) else torch.ones_like(value)

    def noise(self, t: Time) -> Tensor:
        value, _ = self._at(t)
        return (-torch.expm1(value) if isinstance(self.chain, DDPM) else value).clamp(min=0).sqrt()

    def times(self, n: int) -> Tensor:
        """Equally spaced real times, n + 1 of them."""
        return torch.linspace(self.T, 0, validate.at_least("n", n, 1) + 1, dtype=torch.float64, device="cpu")

    def sample_t(self, batch: int, rng: torch.Generator | None = None) -> Tensor:
        """Uniform on [0, T]."""
        return self.T * rand(validate.at_least("batch", batch, 1), rng=rng).double()


def drift_diffusion(process: Process, t: Time) -> tuple[Tensor, Tensor]:
    """f(t) and g(t)^2 of the forward SDE dx = f x dt + g dw, Song et al. 2021, eq. 5: in the shape of t, float64, on the CPU.

    Of a DDPM: -beta / 2 and beta with beta = -log(1 - beta_i) for t in (i - 1, i], which is beta_i for small beta_i (their VP
    SDE). Of VarianceExploding: 0 and sigma_i^2 - sigma_{i-1}^2 (their VE SDE). Of a rectified flow: -1 / (1 - t) and 2 t /
    (1 - t), infinite at t = 1. Raises TypeError for another process.
    """
    validate.instance("process", process, Continuous, DDPM, VarianceExploding, RectifiedFlow)
    if isinstance(process, RectifiedFlow):
        t = process.noise(t)
        return -1 / (1 - t), 2 * t / (1 - t)
    continuous = process if isinstance(process, Continuous) else Continuous(cast(DDPM, process))
    _, slope = continuous._at(t)
    return (slope / 2, -slope) if isinstance(continuous.chain, DDPM) else (torch.zeros_like(slope), slope)


# Samplers


@torch.no_grad()
def forward_sde(process: Process, x: Tensor, times: Tensor, rng: Noise = None) -> Iterator[Step]:
    """Yields steps of the forward SDE by the Euler-Maruyama method, from data x (B, ...) at the last of the falling `times`.

    A move from s up to t is x + f(s) x (t - s) + g(s) sqrt(t - s) z. The steps have no predictions.
    """
    pairs = time_pairs(x, times)
    for t, s in reversed(pairs):
        yield Step(s, x)
        f, g2 = (float(v) for v in drift_diffusion(process, s))
        x = x + f * (t - s) * x + (g2 * (t - s)) ** 0.5 * randn_like(x, rng)
    yield Step(pairs[0][0], x)


@torch.no_grad()
def reverse_sde(denoiser: Denoiser, x: Tensor, times: Tensor, lam: float = 1.0, rng: Noise = None) -> Iterator[Step]:
    """Yields Euler-Maruyama steps of the reverse SDE, Song et al. 2021, eq. 6; at lam = 0 of the probability-flow ODE, eq. 13.

    The marginals are the same for every lam: dx = (f x - (1 + lam^2) / 2 g^2 score) dt + lam g dw. A move from t down to s
    takes f, g and the score at t. Raises ValueError if lam is negative, or at t = 1 of a rectified flow, where g is infinite.
    """
    validate.finite("lam", lam, 0)
    pairs = moves("reverse_sde", denoiser, x, times)
    if not drift_diffusion(denoiser.process, pairs[0][0])[1].isfinite():
        raise ValueError(f"times must begin below {denoiser.process.T:g}, where g is infinite, got {pairs[0][0]:g}")
    for t, s in pairs:
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        f, g2 = (float(v) for v in drift_diffusion(denoiser.process, t))
        x = x + (f * x - (1 + lam**2) / 2 * g2 * pred.score) * (s - t)
        if lam > 0:
            x = x + lam * (g2 * (t - s)) ** 0.5 * randn_like(x, rng)
    yield Step(pairs[-1][1], x)


# The likelihood

State = tuple[Tensor, Tensor]
"""x (B, ...) and what has been added to log p so far (B,)."""
Slope = Callable[[State, float], State]
"""The increment of a State over the whole of a move, as it is found at a state and a time."""


def euler_move(slope: Slope, y: State, t: float, s: float) -> State:
    """The state after a move from t to s, by the increment at its start: Euler's method, of first order."""
    (x, log_p), (dx, d) = y, slope(y, t)
    return x + dx, log_p + d


def heun_move(slope: Slope, y: State, t: float, s: float) -> State:
    """The state after a move from t to s, by the mean of the increments at both ends: Heun's method, of second order."""
    (x, log_p), (dx, d) = y, slope(y, t)
    dx_end, d_end = slope((x + dx, log_p + d), s)
    return x + (dx + dx_end) / 2, log_p + (d + d_end) / 2


def divergence(field: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """field(x) (B, ...) and its divergence (B,), the trace of its Jacobian J, at x (B, ...). Members of the batch must not mix.

    Without `probes` it is exact, and takes one derivative for each of the D numbers of a member. With random `probes` (K, B,
    ...) of mean 0 and covariance I it is the mean of e^T J e over the K: Hutchinson's estimator (Song et al. 2021, appendix
    D.2). Raises ValueError if the probes have another shape.
    """
    validate.batch("x", x)
    if probes is not None and validate.batch("probes", probes).shape[1:] != x.shape:
        raise ValueError(f"probes must be (K, {', '.join(map(str, x.shape))}), got shape {tuple(probes.shape)}")
    if probes is None:
        probes = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).view(-1, 1, *x.shape[1:])  # (D, 1, ...)
        count = 1
    else:
        count = len(probes)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = validate.function("field", field)(x)
        products = [torch.autograd.grad((value * e).sum(), x, retain_graph=True)[0] * e for e in probes]  # J^T e times e
    return value.detach(), sum(product.flatten(1).sum(1) for product in products) / count


def log_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    probes: int = 0,
    rng: torch.Generator | None = None,
    solver: Callable[[Slope, State, float, float], State] = heun_move,
) -> tuple[Tensor, Tensor]:
    """log p(x) (B,) in nats of x (B, ...) at the last of the falling `times`, and the noise x_T (B, ...) that the ODE finds.

    Along the probability-flow ODE, dx = x_0 da + eps db, log p falls by the divergence (Song et al. 2021, eq. 39 of appendix
    D.2). At the first time the density is taken for that of N(0, noise^2 I). `probes` is the number of Rademacher probes, kept
    along a path (see `divergence`); with 0 the trace is exact. `solver` is `heun_move`, `euler_move`, or a function like
    these. Raises ValueError if the last time has no noise, since eps is undefined there.
    """
    pairs = moves("log_likelihood", denoiser, x, times)
    process, D = denoiser.process, x[0].numel()
    if not process.noise(pairs[-1][1]) > 0:
        raise ValueError(f"times must end where there is noise, got {pairs[-1][1]:g}")
    validate.function("solver", solver)
    signs = None
    if validate.at_least("probes", probes, 0):
        signs = (rand(probes, *x.shape, rng=rng) < 0.5).to(x) * 2 - 1
    y = x, x.new_zeros(len(x))
    for t, s in reversed(pairs):
        da, db = (float(value(t) - value(s)) for value in (process.signal, process.noise))

        def slope(y: State, at: float, da=da, db=db) -> State:
            return divergence(lambda x: da * (pred := denoiser(x, at)).x0 + db * pred.eps, y[0], signs)

        y = solver(slope, y, s, t)
    x_T, change = y
    variance = float(process.noise(pairs[0][0])) ** 2
    log_prior = -x_T.square().flatten(1).sum(1) / (2 * variance) - D / 2 * math.log(2 * math.pi * variance)
    return log_prior + change, x_T


def dequantize(x: Tensor, width: float, rng: torch.Generator | None = None) -> Tensor:
    """x (B, ...), whose values are `width` apart, plus uniform noise in -width / 2 .. width / 2, so that it has a density."""
    validate.positive("width", width)
    return x + width * (rand(*validate.batch("x", x).shape, rng=rng).to(x) - 0.5)


def bits_per_dimension(log_p: Tensor, dim: int, width: float) -> Tensor:
    """-log2(p width^dim) / dim (B,), for the log density log_p (B,) in nats of dequantised data of `dim` numbers.

    `width` is the distance between two levels of the data. The mean over the uniform noise is an upper bound on -log2 P / dim
    for the probability P of the levels that the model assigns, by Jensen's inequality (Theis et al. 2016, section 3.1).
    """
    validate.row("log_p", log_p)
    validate.at_least("dim", dim, 1)
    return -log_p / (dim * math.log(2)) - math.log2(validate.positive("width", width))
