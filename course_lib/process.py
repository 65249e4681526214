"""The forward side, q(x_t | x_0): x_t = signal(t) x_0 + noise(t) eps. Data is always at t = 0."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import torch
from torch import Tensor

from course_lib import validate

Time = int | float | Tensor
Noise = torch.Generator | Sequence[torch.Generator] | None
"""The source of a batch's noise: a generator for all of it, one for each member (`seeded_each`), or torch's own for None."""


@contextmanager
def own_defaults() -> Iterator[None]:
    """A context in which torch makes tensors in float32, on the CPU and outside of inference, whatever else is set."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def seeded(seed: int) -> torch.Generator:
    """A random generator on the CPU with this seed, so that a model on any device gets the same numbers.

    Raises TypeError or ValueError unless the seed is a whole number from 0 to 2^63 - 1.
    """
    if validate.at_least("seed", seed, 0) >= 2**63:
        raise ValueError(f"seed must be less than 2^63, got {seed}")
    return torch.Generator(device="cpu").manual_seed(int(seed))


def seeded_each(seed: int, n: int) -> list[torch.Generator]:
    """n generators, one for each member of a batch: the noise of the first four is the same in a batch of 4 and of 16."""
    return [
        seeded(each) for each in torch.randint(2**62, (n,), generator=seeded(seed), dtype=torch.int64, device="cpu").tolist()
    ]


def _where(rng: torch.Generator | None) -> torch.device:
    validate.generator("rng", rng)
    return torch.device("cpu") if rng is None else rng.device


def rand(*shape: int, rng: torch.Generator | None = None) -> Tensor:
    """Uniform numbers in [0, 1) of this shape, float32, on the CPU, so that every device is given the same."""
    return torch.rand(shape, generator=rng, device=_where(rng), dtype=torch.float32).cpu()


def randint(low: int, high: int, *shape: int, rng: torch.Generator | None = None) -> Tensor:
    """Whole numbers from low to high - 1 of this shape, int64, on the CPU."""
    return torch.randint(low, high, shape, generator=rng, device=_where(rng), dtype=torch.int64).cpu()


def randn(*shape: int, rng: Noise = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal noise of this shape, (B, ...), on the CPU.

    Raises ValueError if there are several generators, but not one for each member of the batch.
    """
    if not isinstance(rng, Sequence):
        return torch.randn(shape, generator=rng, device=_where(rng), dtype=dtype).cpu()
    if len(rng) != shape[0]:
        raise ValueError(f"rng must be one generator or one for each of the batch of {shape[0]}, got {len(rng)}")
    return torch.stack([randn(*shape[1:], rng=each, dtype=dtype) for each in rng])


def randn_like(x: Tensor, rng: Noise = None) -> Tensor:
    """Standard normal noise of x's shape, dtype and device, drawn as `randn` does, so that every device is given the same."""
    validate.floating("x", x)
    return randn(*x.shape, rng=rng, dtype=x.dtype).to(x.device)


def expand_like(x: Tensor, value: Tensor) -> Tensor:
    """`value`, () or (B,), in x's dtype, on x's device, in a shape that broadcasts against x (B, ...).

    Raises ValueError if its length is not B.
    """
    if value.ndim and value.shape != x.shape[:1]:
        raise ValueError(f"t must be one number or one for each of the batch of {len(x)}, got shape {tuple(value.shape)}")
    return value.to(x.dtype).to(x.device).view(-1, *[1] * (x.ndim - 1))


class Process:
    """A Gaussian forward process. A subclass defines `T`, `signal`, `noise`, `times` and `sample_t`."""

    @property
    def T(self) -> int | float:
        """The largest time."""
        raise NotImplementedError

    def signal(self, t: Time) -> Tensor:
        """The factor of x_0 at time t: a in x_t = a x_0 + b eps. Shape of t, float64, on the CPU."""
        raise NotImplementedError

    def noise(self, t: Time) -> Tensor:
        """The standard deviation of the noise at time t: b in x_t = a x_0 + b eps. Shape of t, float64, on the CPU."""
        raise NotImplementedError

    def alpha_bar(self, t: Time) -> Tensor:
        """signal(t)^2 of a variance-preserving chain, alpha_bar_t of Ho et al. 2020. Raises TypeError for other processes."""
        raise TypeError(f"process must be a DDPM, which has alpha_bar, got {type(self).__name__}")

    def times(self, n: int) -> Tensor:
        """The n + 1 times (n + 1,), from T down to 0, of a sampler with n steps."""
        raise NotImplementedError

    def sample_t(self, batch: int, rng: torch.Generator | None = None) -> Tensor:
        """Random training times (B,), from the distribution of this process's paper."""
        raise NotImplementedError

    def coefficients(self, t: Time, x: Tensor) -> tuple[Tensor, Tensor]:
        """(signal(t), noise(t)) in x's dtype, on x's device, in a shape that broadcasts against a batch x (B, ...).

        t is a number or (B,). Raises ValueError if t is out of range or its length is not B.
        """
        return expand_like(x, self.signal(t)), expand_like(x, self.noise(t))

    def add_noise(self, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
        """x_t = signal(t) x_0 + noise(t) eps: x0, eps and the result (B, ...), t a number or (B,)."""
        validate.batch("x0", x0)
        validate.like("eps", eps, "x0", x0)
        a, b = self.coefficients(t, x0)
        return a * x0 + b * eps


def _look_up(table: Tensor, t: Time) -> Tensor:
    """table[t] for a whole number t or a batch of them; a copy, so that in-place operators do not change the table."""
    if isinstance(t, Tensor):
        if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
            raise TypeError(f"t must be whole numbers for a process of discrete steps, got {t.dtype}")
        t = t.cpu()
        low, high = (int(t.min()), int(t.max())) if t.numel() else (0, 0)
    else:
        if isinstance(t, bool) or not isinstance(t, Real) or not math.isfinite(t) or t != int(t):
            raise TypeError(f"t must be a whole number for a process of discrete steps, got {t!r}")
        low = high = t = int(t)
    if low < 0 or high >= len(table):
        raise ValueError(f"t must lie in 0..{len(table) - 1}, got {low if low < 0 else high}")
    return table[t].clone()


def _steps(T: int, n: int) -> Tensor:
    """n + 1 whole times (n + 1,) from T down to 0, equally spaced up to rounding."""
    validate.at_least("n", n, 1)
    if n > T:
        raise ValueError(f"n must be at most T = {T} moves, got {n}")
    return torch.linspace(T, 0, n + 1, dtype=torch.float64, device="cpu").round().long()


@dataclass(frozen=True, eq=False, repr=False)
class DDPM(Process):
    """The variance-preserving chain x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps, t = 1..T. Ho et al. 2020, eq. 2 and 4.

    `betas` (T,) in (0, 1). Tables have T + 1 entries with alpha_bar(0) = 1, so that t = 0 is not a special case.
    """

    betas: Tensor

    def __post_init__(self):
        betas = validate.row("betas", self.betas)
        if not ((betas > 0) & (betas < 1)).all():
            raise ValueError(f"betas must lie between 0 and 1, both excluded, got {betas.min():g} to {betas.max():g}")

    def __repr__(self):
        return f"DDPM(T={self.T}, alpha_bar(T)={self.alpha_bar(self.T):.2g})"

    @property
    def T(self) -> int:
        return len(self.betas)

    @cached_property
    def _beta(self) -> Tensor:
        return torch.cat([torch.zeros(1, dtype=torch.float64, device="cpu"), self.betas.cpu().double()])

    @cached_property
    def _alpha_bar(self) -> Tensor:
        return (1 - self._beta).cumprod(0)

    def beta(self, t: Time) -> Tensor:
        """The variance added by step t; beta(0) = 0."""
        return _look_up(self._beta, t)

    def alpha(self, t: Time) -> Tensor:
        """1 - beta(t)."""
        return 1 - self.beta(t)

    def alpha_bar(self, t: Time) -> Tensor:
        """The product of alpha(1) .. alpha(t), signal(t)^2; alpha_bar(0) = 1."""
        return _look_up(self._alpha_bar, t)

    @cached_property
    def _signal(self) -> Tensor:
        return self._alpha_bar.sqrt()

    @cached_property
    def _noise(self) -> Tensor:
        return (1 - self._alpha_bar).sqrt()

    def signal(self, t: Time) -> Tensor:
        return _look_up(self._signal, t)

    def noise(self, t: Time) -> Tensor:
        return _look_up(self._noise, t)

    def posterior(self, x_t: Tensor, x0: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, ...) and variance of q(x_{t-1} | x_t, x_0), a Gaussian. Ho et al. 2020, eq. 6 and 7.

        x_t and x0 are (B, ...), t is in 1..T, a number or (B,); the variance broadcasts against x_t.
        Raises ValueError if t is 0, which has no previous step.
        """
        validate.like("x0", x0, "x_t", validate.batch("x_t", x_t))
        validate.time("t", t, 1, self.T)
        alpha, beta, alpha_bar, before = self.alpha(t), self.beta(t), self.alpha_bar(t), self.alpha_bar(t - 1)
        of_x0 = before.sqrt() * beta / (1 - alpha_bar)
        of_x_t = alpha.sqrt() * (1 - before) / (1 - alpha_bar)
        variance = (1 - before) / (1 - alpha_bar) * beta
        return expand_like(x_t, of_x0) * x0 + expand_like(x_t, of_x_t) * x_t, expand_like(x_t, variance)

    def times(self, n: int) -> Tensor:
        return _steps(self.T, n)

    def sample_t(self, batch: int, rng: torch.Generator | None = None) -> Tensor:
        """Uniform on 1..T, as in Algorithm 1 of Ho et al. 2020."""
        return randint(1, self.T + 1, validate.at_least("batch", batch, 1), rng=rng)


@dataclass(frozen=True, eq=False, repr=False)
class VarianceExploding(Process):
    """The variance-exploding process x_t = x_0 + sigma_t eps, t = 1..T. Song and Ermon 2019.

    `sigmas` (T,) is ascending; sigma at t = 0 is 0.
    """

    sigmas: Tensor

    def __post_init__(self):
        sigmas = validate.row("sigmas", self.sigmas)
        if not (sigmas > 0).all() or not (sigmas.diff() > 0).all():
            raise ValueError(f"sigmas must be positive and ascend, got {sigmas.min():g} to {sigmas.max():g}")

    def __repr__(self):
        return f"VarianceExploding(T={self.T}, sigma={self.sigmas[0]:.2g}..{self.sigmas[-1]:.2g})"

    @property
    def T(self) -> int:
        return len(self.sigmas)

    @cached_property
    def _sigma(self) -> Tensor:
        return torch.cat([torch.zeros(1, dtype=torch.float64, device="cpu"), self.sigmas.cpu().double()])

    def signal(self, t: Time) -> Tensor:
        return torch.ones_like(self.noise(t))

    def noise(self, t: Time) -> Tensor:
        return _look_up(self._sigma, t)

    def times(self, n: int) -> Tensor:
        return _steps(self.T, n)

    def sample_t(self, batch: int, rng: torch.Generator | None = None) -> Tensor:
        return randint(1, self.T + 1, validate.at_least("batch", batch, 1), rng=rng)


@dataclass(frozen=True)
class RectifiedFlow(Process):
    """The rectified flow x_t = (1 - t) x_0 + t eps, t in [0, 1]: straight lines from data to noise. Liu et al. 2023, eq. 1.

    Their time runs from noise to data; ours has the data at t = 0. With `logit_normal` = (m, s) the logit of a training time is
    N(m, s^2), so that most times lie in the middle (Esser et al. 2024, section 3.1); with None training times are uniform.
    """

    logit_normal: tuple[float, float] | None = None

    def __post_init__(self):
        if self.logit_normal is not None:
            if not isinstance(self.logit_normal, tuple) or len(self.logit_normal) != 2:
                raise TypeError(f"logit_normal must be None or a pair (m, s), got {self.logit_normal!r}")
            validate.finite("logit_normal's m", self.logit_normal[0])
            validate.positive("logit_normal's s", self.logit_normal[1])

    @property
    def T(self) -> float:
        return 1.0

    def signal(self, t: Time) -> Tensor:
        return 1 - self.noise(t)

    def noise(self, t: Time) -> Tensor:
        if not isinstance(t, Tensor) and (isinstance(t, bool) or not isinstance(t, Real)):
            raise TypeError(f"t must be a number or a tensor of them, got {t!r}")
        t = t.detach().cpu().double() if isinstance(t, Tensor) else torch.tensor(float(t), dtype=torch.float64, device="cpu")
        if t.numel() and not (t.min() >= 0 and t.max() <= 1):  # a NaN fails it too
            raise ValueError(f"t must lie in [0, 1], got {t.min() if not t.min() >= 0 else t.max():g}")
        return t

    def times(self, n: int) -> Tensor:
        return torch.linspace(1, 0, validate.at_least("n", n, 1) + 1, dtype=torch.float64, device="cpu")

    def sample_t(self, batch: int, rng: torch.Generator | None = None) -> Tensor:
        """Uniform on [0, 1], as in Liu et al. 2023, or logit-normal, as in Esser et al. 2024, section 3.1."""
        draw = torch.rand if self.logit_normal is None else torch.randn
        u = draw(validate.at_least("batch", batch, 1), generator=rng, device=_where(rng), dtype=torch.float64).cpu()
        if self.logit_normal is None:
            return u
        m, s = self.logit_normal
        return torch.sigmoid(m + s * u)
