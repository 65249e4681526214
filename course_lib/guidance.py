"""Guidance: each class makes one denoiser from others.

The convention is the lecture's: uncond + w (cond - uncond). w = 0 ignores the condition, w = 1 is the conditional model, and
w > 1 extrapolates. Our w is 1 + w in Ho and Salimans 2022, w in Imagen and Stable Diffusion, s in Dhariwal and Nichol 2021.

A classifier is any function from (x_t, t) to logits or log-probabilities (B, C) that autograd can differentiate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.denoisers import NULL, Denoiser, Network, both, part_of, relative_time, run_on_device_of, takes_guidance
from course_lib.prediction import FROM_X0_EPS, Prediction
from course_lib.process import Process, Time, expand_like


@dataclass(frozen=True, eq=False)
class _OfDenoisers:
    """A denoiser made from others, its fields: it has the process of the first."""

    def _denoisers(self) -> dict[str, Denoiser]:
        each = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in each if isinstance(value, Denoiser)}

    @property
    def process(self) -> Process:
        return next(iter(self._denoisers().values())).process

    def part(self, index: slice) -> Self:
        """The same for those members of a batch."""
        return replace(self, **{name: part_of(denoiser, index) for name, denoiser in self._denoisers().items()})


@dataclass(frozen=True, eq=False)
class ClassifierFree(_OfDenoisers):
    """Classifier-free guidance: uncond + w (cond - uncond). Ho and Salimans 2022, eq. 6, with our w = their 1 + w.

    The sum is taken in the network's own view. For one x_t all views are affine in each other, so that every view gives the
    same result, except where signal or noise is 0. Raises ValueError if w is not finite.
    """

    cond: Denoiser
    uncond: Denoiser
    w: float = 1.0

    def __post_init__(self):
        validate.instance("cond", self.cond, Denoiser)
        validate.instance("uncond", self.uncond, Denoiser)
        validate.finite("w", self.w)

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        if self.w == 1:
            return self.cond(x_t, t)  # the same result at half the cost
        if self.w == 0:
            return self.uncond(x_t, t)
        uncond, cond = both(self.uncond, self.cond, x_t, t)
        return uncond.lerp(cond, self.w)


def classifier_free(network: Network, cond: Any, w: float) -> Denoiser:
    """The network given `cond`, with classifier-free guidance of weight w. Ho and Salimans 2022, eq. 6.

    A network that takes w as an input is given it instead, at half the cost (Meng et al. 2023; Luo et al. 2023). A net may
    define `null_for(cond)`, the null condition that keeps a part of cond, such as SDXL's size and crop. Raises ValueError if w
    is not finite, and what `Network.given` raises.
    """
    if takes_guidance(validate.instance("network", network, Network).net):
        return network.given(cond).at(validate.finite("w", w))
    null_for = getattr(network.net, "null_for", None)
    return ClassifierFree(network.given(cond), network.given(null_for(cond) if null_for else NULL), w)


@dataclass(frozen=True, eq=False)
class AutoGuidance(_OfDenoisers):
    """Autoguidance: worse + w (denoiser - worse), where `worse` is a less trained or smaller version of the same model.

    Karras et al. 2024 (Guiding a Diffusion Model with a Bad Version of Itself), with our w = theirs: 1 is the model alone. Both
    have the same condition. The sum is taken in the view of `worse`. Raises ValueError if w is not finite.
    """

    denoiser: Denoiser
    worse: Denoiser
    w: float = 2.0

    def __post_init__(self):
        validate.instance("denoiser", self.denoiser, Denoiser)
        validate.instance("worse", self.worse, Denoiser)
        validate.finite("w", self.w)

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        return ClassifierFree(self.denoiser, self.worse, self.w)(x_t, t)


@dataclass(frozen=True, eq=False)
class Interval(_OfDenoisers):
    """Guidance in an interval of noise levels: `guided` where low < noise / signal <= high, `plain` elsewhere.

    Kynkaanniemi et al. 2024; their noise level sigma is noise(t) / signal(t). `plain` is the conditional model, which
    takes one evaluation where `guided` takes two. Raises ValueError unless 0 <= low < high.
    """

    guided: Denoiser
    plain: Denoiser
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self):
        validate.instance("guided", self.guided, Denoiser)
        validate.instance("plain", self.plain, Denoiser)
        validate.finite("low", self.low, 0)
        endless = isinstance(self.high, float) and self.high == math.inf
        if not endless and validate.finite("high", self.high) <= self.low:
            raise ValueError(f"high must be more than low = {self.low:g}, got {self.high:g}")

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        a, b = self.process.coefficients(t, x_t)
        inside = (b / a > self.low) & (b / a <= self.high)
        if inside.all():
            return self.guided(x_t, t)
        if not inside.any():
            return self.plain(x_t, t)
        return self.plain(x_t, t).lerp(self.guided(x_t, t), inside.to(x_t.dtype))  # a batch of times on both sides


@dataclass(frozen=True, eq=False)
class Rescaled(ClassifierFree):
    """Classifier-free guidance whose prediction gets the standard deviation of the conditional one, in the share `phi`.

    Lin et al. 2023, section 3.4, in the network's own view (theirs is v). Each member has its own standard deviation, over all
    of its numbers. With phi = 0 it is `ClassifierFree`. Raises ValueError if w is not finite or phi is not in [0, 1].
    """

    phi: float = 0.7

    def __post_init__(self):
        super().__post_init__()
        validate.finite("phi", self.phi, 0, 1)

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        uncond, cond = both(self.uncond, self.cond, x_t, t)
        guided = uncond.lerp(cond, self.w)
        std = lambda v: v.flatten(1).std(1).view(-1, *[1] * (v.ndim - 1))
        ratio = std(cond.as_view(guided.view)) / std(guided.value).clamp(min=1e-12)
        return guided.replace(**{guided.view: guided.value * (self.phi * ratio + 1 - self.phi)})


@dataclass(frozen=True, eq=False)
class ClassifierGuided:
    """Classifier guidance: `denoiser` with the score moved by w grad log P(label | x_t) of `classifier`.

    Dhariwal and Nichol 2021, Algorithm 2, eps - s sqrt(1 - alpha_bar_t) grad log p, with our w = their s. Their Algorithm 1
    moves the mean of a DDPM step by s sigma_t^2 grad log p instead, which is the same in the limit of small steps.
    `label` is a class, or a class for each member of the batch (B,). Raises ValueError if w is not finite or the classifier has
    no such class, TypeError if a label is not a whole number.
    """

    denoiser: Denoiser
    classifier: Callable[[Tensor, Time], Tensor]
    label: int | Sequence[int] | Tensor
    w: float = 1.0

    def __post_init__(self):
        validate.instance("denoiser", self.denoiser, Denoiser)
        validate.function("classifier", self.classifier)
        validate.finite("w", self.w)
        label = validate.tensor("label", self.label, "a whole number or a row of them").cpu()
        if label.is_floating_point() or label.is_complex() or label.dtype == torch.bool or label.ndim > 1:
            raise TypeError(f"label must be a whole number or a row of them, got {self.label!r}")
        if label.numel() == 0 or label.min() < 0:
            raise ValueError(f"label must be 0 or more, got {self.label!r}")
        object.__setattr__(self, "label", label.long())

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def log_likelihood(self, x_t: Tensor, t: Time) -> Tensor:
        """log P(label | x_t) (B,)."""
        log_p, label = self.classifier(x_t, t).log_softmax(1), cast(Tensor, self.label)
        if label.min() < 0 or label.max() >= log_p.shape[1]:
            raise ValueError(f"label must lie in 0..{log_p.shape[1] - 1}, got {label.tolist()}")
        if label.numel() not in (1, len(x_t)):
            raise ValueError(f"label must be one or one for each of the batch of {len(x_t)}, got {label.numel()}")
        return log_p.gather(1, label.to(x_t.device).expand(len(x_t))[:, None])[:, 0]

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        if self.w == 0:
            return pred
        return shift_score(pred, self.w * grad_log_p(lambda x: self.log_likelihood(x, t), x_t))


@dataclass(frozen=True, eq=False)
class StaticThreshold(_OfDenoisers):
    """Static thresholding: `denoiser` with the predicted x_0 clipped to [-1, 1]. Saharia et al. 2022 (Imagen), section 2.3."""

    denoiser: Denoiser

    def __post_init__(self):
        validate.instance("denoiser", self.denoiser, Denoiser)

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        return pred.replace(x0=pred.x0.clamp(-1, 1))


@dataclass(frozen=True, eq=False)
class DynamicThreshold(_OfDenoisers):
    """Dynamic thresholding: `denoiser` with the predicted x_0 clipped to [-s, s] and divided by s.

    s is the `percentile` of each picture's |x_0|, but at least 1. Saharia et al. 2022 (Imagen), section 2.3. Raises ValueError
    unless percentile is in (0, 1].
    """

    denoiser: Denoiser
    percentile: float = 0.995

    def __post_init__(self):
        validate.instance("denoiser", self.denoiser, Denoiser)
        if not 0 < validate.finite("percentile", self.percentile) <= 1:
            raise ValueError(f"percentile must lie in (0, 1], got {self.percentile}")

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        size = pred.x0.abs().flatten(1).float().cpu()  # quantile needs float64, which Apple's GPUs have not
        s = expand_like(x_t, size.quantile(self.percentile, dim=1).clamp(min=1))
        return pred.replace(x0=pred.x0.clamp(-s, s) / s)


def grad_log_p(log_p: Callable[[Tensor], Tensor], x_t: Tensor) -> Tensor:
    """The gradient (B, ...) at x_t of log_p, a function from (B, ...) to (B,)."""
    validate.function("log_p", log_p)
    validate.floating("x_t", x_t)
    # samplers run without gradients, so they are enabled here
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_p(x).sum(), x)
    return gradient


def shift_score(pred: Prediction, by: Tensor) -> Prediction:
    """`pred` with `by` (B, ...) added to its score, which adds -b `by` to eps and b^2 / a `by` to x_0.

    The sum is taken in the network's own view, as in `Prediction.lerp`. Where the signal is 0, nothing is added.
    """
    validate.same_shape("by", by, "pred's", validate.instance("pred", pred, Prediction).x)
    a, b = pred.a, pred.b
    mask = a > 0
    eps = -b * by * mask
    x0 = b**2 * by * mask / a.clamp(min=1e-30)
    return pred.replace(**{pred.view: pred.value + FROM_X0_EPS[pred.view](a, b, x0, eps)})


# The classifiers


@dataclass(frozen=True, eq=False)
class NoisyClassifier:
    """A classifier of noisy pictures made from an nn.Module `net(x_t, time)`: the net's logits (B, C) times the signal a(t).

    The factor holds for a Gaussian mixture, where log P(c | x_t) depends on x_t through a x_t only. Without it guidance, which
    adds b^2 / a times the gradient to x_0, would diverge as the signal goes to 0.
    """

    net: nn.Module
    process: Process

    def __post_init__(self):
        validate.function("net", self.net)
        validate.instance("process", self.process, Process)

    def __repr__(self):
        size = sum(p.numel() for p in self.net.parameters()) if isinstance(self.net, nn.Module) else 0
        return f"NoisyClassifier({type(self.net).__name__} of {size:,} parameters, {self.process})"

    def __call__(self, x_t: Tensor, t: Time) -> Tensor:
        a, _ = self.process.coefficients(t, x_t)
        return a.reshape(-1, 1) * run_on_device_of(self.net, self.net, x_t, relative_time(t, self.process, x_t))


@dataclass(frozen=True, eq=False)
class ExactClassifier:
    """The optimal classifier for data from a Gaussian mixture: log P(c | x_t) (B, C), classes in ascending order."""

    mixture: Any
    process: Process

    def __post_init__(self):
        validate.has("mixture", self.mixture, "class_log_probabilities")
        validate.instance("process", self.process, Process)

    def __call__(self, x_t: Tensor, t: Time) -> Tensor:
        return self.mixture.class_log_probabilities(x_t, *self.process.coefficients(t, x_t))
