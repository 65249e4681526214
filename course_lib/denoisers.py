"""A denoiser is any object with a `.process` whose call returns a Prediction for (x_t, t)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from course_lib import parallel, validate
from course_lib.prediction import FROM_X0_EPS, VIEWS, Prediction
from course_lib.process import Noise, Process, Time, rand, randn


class _Null:
    """The class of NULL, of which there is one object, also after a copy, a pickle or a reload of this module."""

    def __repr__(self):
        return "NULL"

    def __reduce__(self):
        return "NULL"


NULL: _Null = globals().get("NULL") or _Null()
"""The null condition: no class or caption in particular. A network is trained on it by dropping the condition at random
(Ho and Salimans 2022). It differs from `None`, which means that no condition was given."""


@runtime_checkable
class Denoiser(Protocol):
    """What samplers and guidance take: `process`, and a call with x_t (B, ...) and t, a number or (B,)."""

    @property
    def process(self) -> Process: ...

    def __call__(self, x_t: Tensor, t: Time) -> Prediction: ...


@runtime_checkable
class Batched(Denoiser, Protocol):
    """A denoiser with a condition for each member of the batch, such as a row of labels."""

    def part(self, index: slice) -> Denoiser: ...


def part_of(denoiser: Denoiser, index: slice) -> Denoiser:
    """The denoiser for those members of a batch: its own `part`, or the denoiser itself if it is not Batched."""
    return denoiser.part(index) if isinstance(denoiser, Batched) else denoiser


def relative_time(t: Time, process: Process, x_t: Tensor) -> Tensor:
    """t / T, a network's time input, for each member of the batch x_t: (B,), float64, on the CPU. t is a number or (B,)."""
    if isinstance(t, Tensor):
        return (t.cpu().double() / process.T).expand(len(x_t))
    return torch.full((len(x_t),), t / process.T, dtype=torch.float64, device="cpu")


def device_of(model: Any, default: torch.device | str = "cpu") -> torch.device:
    """The device of the parameters of an nn.Module, or of a denoiser made from one; `default` if there are none."""
    if isinstance(model, nn.Module):
        return next((p.device for p in model.parameters()), torch.device(default))
    for name in ("net", "denoiser", "cond", "first"):  # what a Network and the wrappers of denoisers call it
        if hasattr(model, name):
            return device_of(getattr(model, name), default)
    return torch.device(default)


def run_on_device_of(net: Any, call: Callable[..., Any], x: Tensor, *inputs: Any) -> Any:
    """call(x, *inputs), a method of `net` or `net` itself, where the net's weights are; the result is moved back to x.

    Pictures, points and embeddings get the device and dtype of the weights; numbers for each member (B,), such as a time, keep
    at least the precision of float32, in which 1,000 times differ. Results have the device and, if they are floats, the dtype
    of x. In a training on several processes each computes its part of the batch (see parallel.py).
    """
    if not isinstance(x, Tensor):
        return call(x, *inputs)  # which says what is wrong with it
    weights = next((p for p in net.parameters() if p.is_floating_point()), x) if isinstance(net, nn.Module) else x
    precise = torch.promote_types(weights.dtype, torch.float32)

    def inward(v: Any) -> Any:
        if not isinstance(v, Tensor):
            return v
        if v.is_floating_point():
            v = v.to(precise if v.ndim == 1 else weights.dtype)  # before the move: Apple's GPUs have no float64
        v = v.to(weights.device)
        if v.is_inference() and torch.is_grad_enabled():
            v = v.clone()  # what was made in inference mode cannot take part in a gradient
        return parallel.split(v) if shared and v.ndim and len(v) == len(x) else v

    def outward(v: Any) -> Any:
        if not isinstance(v, Tensor):
            return v
        v = (parallel.gather(v) if shared else v).to(x.device)
        return v.to(x.dtype) if v.is_floating_point() and x.is_floating_point() else v

    if not (shared := parallel.is_sharing()):
        out = call(*map(inward, (x, *inputs)))
    else:
        with parallel.sharing(False):  # a net inside of a net gets its part already
            out = call(*map(inward, (x, *inputs)))
    return outward(out) if isinstance(out, Tensor) else tree_map(outward, out)


def runs_on_its_device(method: Callable) -> Callable:
    """A method of an nn.Module that is called by `run_on_device_of`, so that its tensors may be on any device."""
    signature = inspect.signature(method)

    @wraps(method)
    def called(self: nn.Module, *inputs: Any, **more: Any) -> Any:
        inputs = signature.bind(self, *inputs, **more).args[1:] if more else inputs
        return run_on_device_of(self, partial(method, self), *inputs)

    return called


def takes_guidance(net: nn.Module) -> bool:
    """Whether the guidance weight w is an input of the net, as in guided distillation."""
    return getattr(net, "guidance", None) is not None


@dataclass(frozen=True, eq=False)
class Network:
    """A denoiser made from an nn.Module `net(x_t, time, cond)`, whose output is a prediction in `view`.

    `time` (B,) is t / T, so that a network works with discrete and continuous processes. `cond` is `net.as_condition` of the
    argument of `.given`, (1, ...) or (B, ...), or None for an unconditional network. `w`, (1,) or (B,), is the guidance weight
    set by `.at`, for a network that takes it as an input.

    The network may have another device and dtype than x_t: its input is moved there, and its output back to those of x_t.
    """

    net: nn.Module
    process: Process
    view: str = "eps"
    cond: Any = None
    w: Tensor | None = None

    def __post_init__(self):
        validate.function("net", self.net)
        validate.instance("process", self.process, Process)
        validate.choice("view", self.view, VIEWS)

    def __repr__(self):
        size = sum(p.numel() for p in self.net.parameters()) if isinstance(self.net, nn.Module) else 0
        cond = "" if self.cond is None else ", given a condition"
        return f"Network({type(self.net).__name__} of {size:,} parameters, {self.process}, {self.view}{cond})"

    def given(self, cond: Any) -> Network:
        """The same network with its condition fixed: a label, a batch of labels (B,), captions, NULL, as the net defines it.

        Raises TypeError if the net takes no condition, ValueError if this one is not valid for it.
        """
        as_condition = getattr(self.net, "as_condition", None)
        if as_condition is None:
            raise TypeError(f"{type(self.net).__name__} takes no condition, got {cond!r}")
        return replace(self, cond=as_condition(cond))

    def at(self, w: float | Tensor) -> Network:
        """The same network with the guidance weight w, a number or (B,), as an input (Meng et al. 2023; Luo et al. 2023).

        Raises TypeError if the net does not take w, ValueError if w is not finite.
        """
        if not takes_guidance(self.net):
            raise TypeError(f"{type(self.net).__name__} takes no guidance as an input, got w = {w!r}: use ClassifierFree")
        if not isinstance(w, Tensor):
            w = torch.tensor(float(validate.finite("w", w)), dtype=torch.float32, device="cpu")
        return replace(self, w=validate.row("w", w.float().reshape(-1)))

    def draw_noise(self, n: int, rng: Noise = None) -> Tensor:
        """Standard normal noise to start a sampler from, (n, *net.shape), float32, on the CPU."""
        return randn(validate.at_least("n", n, 1), *cast(tuple[int, ...], self.net.shape), rng=rng)

    def part(self, index: slice) -> Network:
        """The same network with those members of its condition and its w; a single one for the whole batch stays."""
        select = lambda v: v if v is None or len(v) == 1 else v[index]
        return replace(self, cond=select(self.cond), w=select(self.w))

    def drop_condition(self, p: float, rng: torch.Generator | None = None) -> Network:
        """The same network, with each member's condition replaced by the null condition with probability p.

        Ho and Salimans 2022, Algorithm 1. Raises ValueError unless p is in [0, 1] and a condition is given.
        """
        validate.finite("p", p, 0, 1)
        if self.cond is None:
            raise ValueError("there is no condition to drop: call .given(labels) first")
        drop = rand(len(self.cond), rng=rng).to(self.cond.device) < p
        null = self.given(NULL).cond.to(self.cond.device)
        return replace(self, cond=torch.where(drop.view(-1, *[1] * (self.cond.ndim - 1)), null, self.cond))

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        a, b = self.process.coefficients(t, validate.floating("x_t", x_t))
        inputs = relative_time(t, self.process, x_t), *self._cond_for(x_t)
        return Prediction(x_t, a, b, self.view, run_on_device_of(self.net, self.net, x_t, *inputs))

    def _cond_for(self, x_t: Tensor) -> tuple[Tensor, ...]:
        """The net's further arguments: the condition (B, ...) and, if the net takes it, w (B,); none if it is unconditional."""
        if self.cond is None:
            if hasattr(self.net, "as_condition"):
                raise ValueError("this network needs a condition: call .given(label), or .given(NULL) for none in particular")
            return ()
        if len(self.cond) not in (1, len(x_t)):
            raise ValueError(f"cond must be one or one for each of the batch of {len(x_t)}, got {len(self.cond)}")
        return (self.cond.expand(len(x_t), *self.cond.shape[1:]), *self._w_for(x_t))

    def _w_for(self, x_t: Tensor) -> tuple[Tensor, ...]:
        if not takes_guidance(self.net):
            return ()
        if self.w is None:
            raise ValueError("this network takes guidance as an input: call .at(w), with w = 1 for the plain conditional model")
        if len(self.w) not in (1, len(x_t)):
            raise ValueError(f"w must be one or one for each of the batch of {len(x_t)}, got {len(self.w)}")
        return (self.w.expand(len(x_t)),)

    def target(self, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
        """The training target: x0 and eps (B, ...) converted to this network's view (B, ...)."""
        return FROM_X0_EPS[self.view](*self.process.coefficients(t, x0), x0, eps)


def both(first: Denoiser, second: Denoiser, x_t: Tensor, t: Time) -> tuple[Prediction, Prediction]:
    """The predictions of two denoisers at x_t (B, ...) and t, a number or (B,).

    One network that differs only in its condition is called once, with a batch of 2 B, where its net has `in_one_batch`.
    """
    if not (isinstance(first, Network) and isinstance(second, Network) and _differ_in_condition(first, second)):
        return first(x_t, t), second(x_t, t)
    joint = replace(first, cond=torch.cat([network._cond_for(x_t)[0] for network in (first, second)]))
    pred = joint(torch.cat([x_t, x_t]), torch.cat([t, t]) if isinstance(t, Tensor) and t.ndim else t)
    a, b = pred.a[: len(x_t)], pred.b[: len(x_t)]
    one, other = pred.value.chunk(2)
    return Prediction(x_t, a, b, first.view, one), Prediction(x_t, a, b, first.view, other)


def _differ_in_condition(first: Network, second: Network) -> bool:
    """Whether two conditions may be given to one net in one batch: all else is the same, and w is not an input."""
    same = first.net is second.net and first.process is second.process and first.view == second.view
    return same and first.w is None and second.w is None and getattr(first.net, "in_one_batch", False)


@dataclass(frozen=True, eq=False)
class OnPath:
    """A denoiser for another `process`, made from one that was trained on a rectified flow, without further training.

    x_t = a x_0 + b eps, divided by a + b, is the point of the straight path from x_0 to eps at time b / (a + b). All Gaussian
    processes are equal up to a change of scale and time (Karras et al. 2022, section 4).
    """

    denoiser: Denoiser
    process: Process

    def __post_init__(self):
        validate.instance("denoiser", self.denoiser, Denoiser)
        validate.instance("process", self.process, Process)

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        a, b = self.process.coefficients(t, x_t)
        straight = (b / (a + b)).flatten().cpu().double()  # Apple's GPUs have no float64
        pred = self.denoiser(x_t / (a + b), straight if isinstance(t, Tensor) and t.ndim else float(straight))
        return Prediction(x_t, a, b, "x0", pred.x0)


@dataclass(frozen=True, eq=False)
class ExactDenoiser:
    """The optimal denoiser for data from a Gaussian mixture: E[x_0 | x_t], in closed form."""

    mixture: Any
    process: Process

    def __post_init__(self):
        validate.has("mixture", self.mixture, "posterior_mean")
        validate.instance("process", self.process, Process)

    def given(self, label: int | _Null) -> ExactDenoiser:
        """The denoiser of one class of the mixture; for NULL, of the whole mixture."""
        return self if label is NULL else replace(self, mixture=self.mixture.given(label))

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        a, b = self.process.coefficients(t, validate.floating("x_t", x_t))
        return Prediction(x_t, a, b, "x0", self.mixture.posterior_mean(x_t, a, b))
