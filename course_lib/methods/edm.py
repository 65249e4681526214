"""EDM: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models"."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser, Network, run_on_device_of
from course_lib.prediction import Prediction
from course_lib.process import DDPM, Noise, Process, Time, expand_like, randn, randn_like
from course_lib.samplers import Step, moves


def karras_sigmas(n: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Tensor:
    """n + 1 noise levels (n + 1,), float64, from `high` down to `low`, and then 0. Karras et al. 2022, eq. 5.

    The steps are equal in sigma^(1 / rho). Raises ValueError unless n is 2 or more and 0 < low < high.
    """
    validate.at_least("n", n, 2)
    validate.positive("rho", rho)
    if not 0 < validate.finite("low", low) < validate.finite("high", high):
        raise ValueError(f"low and high must satisfy 0 < low < high, got {low} and {high}")
    ends = torch.linspace(high ** (1 / rho), low ** (1 / rho), n, dtype=torch.float64, device="cpu")
    return torch.cat([(ends**rho).clamp(low, high), torch.zeros(1, dtype=torch.float64, device="cpu")])


def nearest_times(process: DDPM, sigmas: Tensor) -> Tensor:
    """The whole times (N,) of a chain whose noise levels b / a are nearest, in the logarithm, to `sigmas`, which fall to 0.

    The first is T, since sampling starts from noise alone, and the last is 0; a time that is nearest to two levels stands once.
    As `round_sigma` in the code of Karras et al. 2022. Raises ValueError unless sigmas fall to 0.
    """
    validate.instance("process", process, DDPM)
    sigmas = validate.row("sigmas", sigmas).cpu().double()
    if len(sigmas) < 2 or not (sigmas.diff() < 0).all() or sigmas[-1] != 0:
        raise ValueError(f"sigmas must be two or more that fall to 0, got {sigmas.tolist()}")
    t = torch.arange(1, process.T + 1, dtype=torch.long, device="cpu")
    levels = (process.noise(t) / process.signal(t)).log()
    nearest = 1 + (levels - sigmas[1:-1, None].log()).abs().argmin(1)
    return torch.cat([torch.tensor([0, process.T], dtype=torch.long, device="cpu"), nearest]).unique().flip(0)


@dataclass(frozen=True)
class EDM(Process):
    """The process x_t = x_0 + t eps with t in [0, high]: time is the noise's standard deviation sigma. Karras et al. 2022.

    `times` are Karras' (eq. 5). A training time is log-normal: ln sigma is N(mean, std^2) (their Table 1).
    """

    low: float = 0.002
    high: float = 80.0
    rho: float = 7.0
    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self):
        karras_sigmas(2, self.low, self.high, self.rho)
        validate.finite("mean", self.mean)
        validate.positive("std", self.std)

    @property
    def T(self) -> float:
        return float(self.high)

    def signal(self, t: Time) -> Tensor:
        return torch.ones_like(self.noise(t))

    def noise(self, t: Time) -> Tensor:
        validate.time("t", t, 0, self.T)
        at = t.detach().cpu().double() if isinstance(t, Tensor) else torch.tensor(float(t), dtype=torch.float64, device="cpu")
        return at.clone()

    def times(self, n: int) -> Tensor:
        return karras_sigmas(n, self.low, self.high, self.rho)

    def sample_t(self, batch: int, rng: torch.Generator | None = None) -> Tensor:
        return (self.mean + self.std * randn(validate.at_least("batch", batch, 1), rng=rng).double()).exp().clamp(max=self.T)


@dataclass(frozen=True, eq=False)
class Preconditioned(Network):
    """A Network whose net sees unit variance: x_0 = c_skip x + c_out net(c_in x, c_noise). Karras et al. 2022, eq. 7.

    x is x_t / a and sigma is b / a, for any process. `sigma_data` is the standard deviation of the data per coordinate.
    """

    sigma_data: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        validate.positive("sigma_data", self.sigma_data)

    def factors(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in and c_noise at sigma, each of its shape. Karras et al. 2022, Table 1."""
        total = (sigma**2 + self.sigma_data**2).sqrt()
        return (self.sigma_data / total) ** 2, sigma * self.sigma_data / total, 1 / total, sigma.log() / 4

    def weight(self, sigma: Tensor) -> Tensor:
        """1 / c_out^2, the weight of the squared error of x_0 with which the net's own loss has weight 1. Table 1."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        a, b = self.process.coefficients(t, validate.floating("x_t", x_t))
        c_skip, c_out, c_in, c_noise = self.factors(b / a)
        time = c_noise.flatten().expand(len(x_t))
        out = run_on_device_of(self.net, self.net, c_in * x_t / a, time, *self._cond_for(x_t))
        return Prediction(x_t, a, b, "x0", c_skip * x_t / a + c_out * out)


def edm_loss(denoiser: Preconditioned, x0: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """The weighted squared error of the predicted x_0, (), for data x0 (B, ...). Karras et al. 2022, eq. 2 and 8."""
    validate.instance("denoiser", denoiser, Preconditioned)
    t = denoiser.process.sample_t(len(validate.batch("x0", x0)), rng)
    pred = denoiser(denoiser.process.add_noise(x0, t, randn_like(x0, rng)), t)
    weight = expand_like(x0, denoiser.weight(denoiser.process.noise(t) / denoiser.process.signal(t)))
    return (weight * (pred.x0 - x0).square()).mean()


@torch.no_grad()
def churn(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    amount: float = 40.0,
    between: tuple[float, float] = (0.05, 50.0),
    scale: float = 1.003,
    order: int = 2,
    rng: Noise = None,
) -> Iterator[Step]:
    """Yields the steps of Karras et al. 2022, Algorithm 2, from x (B, ...), for an EDM process: Heun's method after new noise.

    `amount`, `between` and `scale` are their S_churn, (S_tmin, S_tmax) and S_noise, by default those of their code for
    ImageNet-64. With amount = 0 it is `heun`; with order = 1 the moves are Euler's. Step.t is the time after the new noise.
    Raises ValueError for another order, or if amount or scale is negative.
    """
    pairs = moves("churn", denoiser, x, times, EDM)
    validate.choice("order", order, (1, 2))
    validate.finite("amount", amount, 0)
    validate.finite("scale", scale, 0)
    low, high = _pair("between", between)
    gamma = min(amount / len(pairs), math.sqrt(2) - 1)
    for t, s in pairs:
        t_hat = min(t * (1 + gamma), denoiser.process.T) if low <= t <= high else t
        if t_hat > t:
            x = x + (t_hat**2 - t**2) ** 0.5 * scale * randn_like(x, rng)
        pred = denoiser(x, t_hat)
        yield Step(t_hat, x, pred)
        d = pred.eps
        if order == 2 and s > 0:
            d = (d + denoiser(x + (s - t_hat) * d, s).eps) / 2
        x = x + (s - t_hat) * d
    yield Step(s, x)


def _pair(name: str, values: tuple[float, float]) -> tuple[float, float]:
    """Two numbers. Raises TypeError or ValueError for anything else."""
    if not isinstance(values, tuple | list) or len(values) != 2:
        raise TypeError(f"{name} must be a pair of numbers, got {values!r}")
    return validate.finite(name, values[0], 0), validate.finite(name, values[1], 0)
