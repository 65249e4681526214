"""A denoiser is anything with a `.process` that turns (x_t, t) into a Prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.prediction import FROM_X0_EPS, VIEWS, Prediction
from course_lib.process import Process, Time, unwritten


class _Null:
    def __repr__(self):
        return "NULL"


NULL = _Null()
"""The null condition: 'drawn from all of the data'. It is a condition like any other, which a network learns by dropout
(Ho and Salimans 2022); `None`, in contrast, means that no condition was given at all."""


class Denoiser(Protocol):
    """What samplers, guidance and plots ask for. x_t (B, ...), t a number or (B,)."""

    process: Process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction: ...


def share_of_T(t: Time, process: Process, x_t: Tensor) -> Tensor:
    """What a network is told of time: t, a number or (B,), as a fraction of T, one for each of the batch x_t, (B,) float32."""
    if isinstance(t, Tensor):
        return (t / process.T).to(x_t.device, torch.float32).expand(len(x_t))
    row = _row(t / process.T, len(x_t), x_t.device)
    return row if unwritten(row) else row.clone().fill_(t / process.T)


@lru_cache(maxsize=4096)
@torch.inference_mode(False)
def _row(value: float, length: int, device: torch.device) -> Tensor:
    return torch.full((length,), value, device=device)


def takes_guidance(net: nn.Module) -> bool:
    """Whether w is an input of the net, as it is of a guided student."""
    return getattr(net, "guidance", None) is not None


@dataclass(frozen=True, eq=False)
class Network:
    """A denoiser made of an nn.Module `net(x_t, time, cond)`, whose output is read in `view`.

    `time` (B,) is t as a fraction of T, so that one network serves discrete and continuous processes; `cond` is what
    `net.as_condition` makes of what `.given` was given, (1, ...) or (B, ...), or None for a network without a condition.
    `w`, (1,) or (B,), is the guidance that `.at` set, for a network that takes it as an input.
    """

    net: nn.Module
    process: Process
    view: str = "eps"
    cond: Any = None
    w: Tensor | None = None

    def __post_init__(self):
        validate.choice("view", self.view, VIEWS)

    def __repr__(self):
        size = sum(p.numel() for p in self.net.parameters())
        cond = "" if self.cond is None else ", given a condition"
        return f"Network({type(self.net).__name__} of {size:,} parameters, {self.process}, {self.view}{cond})"

    def given(self, cond: Any) -> Network:
        """The same network with its condition fixed: a label, a batch of them (B,), NULL, whatever the net knows.

        Raises TypeError where the net takes no condition, ValueError where it does not know this one.
        """
        if not hasattr(self.net, "as_condition"):
            raise TypeError(f"{type(self.net).__name__} takes no condition, got {cond!r}")
        return replace(self, cond=self.net.as_condition(cond))

    def at(self, w: float | Tensor) -> Network:
        """The same network at guidance w, a number or (B,), which a guided student takes as an input (Luo et al. 2023).

        Raises TypeError where the net takes none, ValueError where w is not finite.
        """
        if not takes_guidance(self.net):
            raise TypeError(f"{type(self.net).__name__} takes no guidance as an input, got w = {w!r}: use ClassifierFree")
        w = torch.as_tensor(w, dtype=torch.float32).reshape(-1)
        if not w.isfinite().all():
            raise ValueError(f"w must be finite, got {w.tolist()}")
        return replace(self, w=w)

    def part(self, first: int, every: int) -> Network:
        """The same network with every `every`-th member of its condition and its w, from `first` on; one for all stays."""
        some = lambda v: v if v is None or len(v) == 1 else v[first::every]
        return replace(self, cond=some(self.cond), w=some(self.w))

    def dropped(self, p: float, rng: torch.Generator | None = None) -> Network:
        """The same, each member of the batch's condition made null with probability p: how a network learns both
        (Ho and Salimans 2022, Algorithm 1). Raises ValueError unless p is in [0, 1] and a condition is given."""
        if not 0 <= p <= 1:
            raise ValueError(f"p must lie in [0, 1], got {p}")
        if self.cond is None:
            raise ValueError("there is no condition to drop: call .given(labels) first")
        drop = torch.rand(len(self.cond), generator=rng, device=rng.device if rng else "cpu").to(self.cond.device) < p
        null = self.net.as_condition(NULL).to(self.cond.device)
        return replace(self, cond=torch.where(drop.view(-1, *[1] * (self.cond.ndim - 1)), null, self.cond))

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        a, b = self.process.coefficients(t, x_t)
        return Prediction(x_t, a, b, self.view, self.net(x_t, share_of_T(t, self.process, x_t), *self._cond_for(x_t)))

    def _cond_for(self, x_t: Tensor) -> tuple[Tensor, ...]:
        """The condition for each of the batch, and w where the net takes it, as its further arguments; nothing for a net
        without."""
        if self.cond is None:
            if hasattr(self.net, "as_condition"):
                raise ValueError("this network needs a condition: call .given(label), or .given(NULL) for none in particular")
            return ()
        if len(self.cond) not in (1, len(x_t)):
            raise ValueError(f"cond must be one or one for each of the batch of {len(x_t)}, got {len(self.cond)}")
        return (self.cond.to(x_t.device).expand(len(x_t), *self.cond.shape[1:]), *self._w_for(x_t))

    def _w_for(self, x_t: Tensor) -> tuple[Tensor, ...]:
        if not takes_guidance(self.net):
            return ()
        if self.w is None:
            raise ValueError("this network takes guidance as an input: call .at(w), with w = 1 for the plain conditional model")
        if len(self.w) not in (1, len(x_t)):
            raise ValueError(f"w must be one or one for each of the batch of {len(x_t)}, got {len(self.w)}")
        return (self.w.to(x_t.device).expand(len(x_t)),)

    def truth(self, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
        """What the network should have said: x0 and eps (B, ...) in this network's view."""
        return FROM_X0_EPS[self.view](*self.process.coefficients(t, x0), x0, eps)


@dataclass(frozen=True, eq=False)
class OnPath:
    """What a denoiser on a rectified flow believes about the points of another `process`, with no training.

    x_t = a x_0 + b eps is, divided by a + b, a point of the straight line at time b / (a + b): the same picture with the same
    noise (Karras et al. 2022, section 4: all Gaussian processes are one, but for scale and time).
    """

    denoiser: Denoiser
    process: Process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        a, b = self.process.coefficients(t, x_t)
        straight = (b / (a + b)).flatten().double()
        pred = self.denoiser(x_t / (a + b), straight if isinstance(t, Tensor) and t.ndim else float(straight))
        return Prediction(x_t, a, b, "x0", pred.x0)


@dataclass(frozen=True, eq=False)
class ExactDenoiser:
    """The best of all denoisers, where the data are a Gaussian mixture: E[x_0 | x_t], in closed form."""

    mixture: Any
    process: Process

    def given(self, label: int | _Null) -> ExactDenoiser:
        """The denoiser of one class of the mixture; NULL is all of it."""
        return self if label is NULL else replace(self, mixture=self.mixture.given(label))

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        a, b = self.process.coefficients(t, x_t)
        return Prediction(x_t, a, b, "x0", self.mixture.posterior_mean(x_t, a, b))
