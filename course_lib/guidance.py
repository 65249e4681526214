"""Guidance: denoisers in, one denoiser out.

One convention everywhere, the lecture's: uncond + w (cond - uncond). So w = 0 ignores the condition, w = 1 is the plain
conditional model, w > 1 extrapolates. Ho and Salimans 2022 write 1 + w for our w; Imagen and Stable Diffusion write ours;
Dhariwal and Nichol 2021 write s.

A classifier, here, is anything that turns (x_t, t) into log-odds or log-probabilities (B, C), which autograd can follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.denoisers import Denoiser, share_of_T
from course_lib.prediction import FROM_X0_EPS, Prediction
from course_lib.process import Process, Time


@dataclass(frozen=True, eq=False)
class ClassifierFree:
    """Steers away from `uncond`, towards `cond`, w times as far as the condition alone would.

    Ho and Salimans 2022, eq. 6, with our w = their 1 + w. Mixed in the network's own view; for one x_t all views are
    linear in each other, so that it does not matter which, except where signal or noise is 0.
    Raises ValueError where w is not finite.
    """

    cond: Denoiser
    uncond: Denoiser
    w: float = 1.0

    def __post_init__(self):
        validate.finite("w", self.w)

    @property
    def process(self) -> Process:
        return self.cond.process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        if self.w == 1:
            return self.cond(x_t, t)  # half the cost, the same answer
        if self.w == 0:
            return self.uncond(x_t, t)
        return self.uncond(x_t, t).lerp(self.cond(x_t, t), self.w)


@dataclass(frozen=True, eq=False)
class ClassifierGuided:
    """Steers `denoiser` to where `classifier` sees `label`: score + w grad log P(label | x_t).

    Dhariwal and Nichol 2021, Algorithm 2, eps - s sqrt(1 - alpha_bar_t) grad log p, with our w = their s. Their Algorithm 1
    moves the mean of a DDPM step by s sigma_t^2 grad log p instead, which is the same in the limit of small steps.
    `label` is a class or one for each of the batch (B,). Raises ValueError where w is not finite or the classifier does not
    know the label, TypeError where a label is no whole number.
    """

    denoiser: Denoiser
    classifier: Callable[[Tensor, Time], Tensor]
    label: int | Sequence[int] | Tensor
    w: float = 1.0

    def __post_init__(self):
        validate.finite("w", self.w)
        label = torch.as_tensor(self.label)
        if label.is_floating_point() or label.dtype == torch.bool or label.ndim > 1:
            raise TypeError(f"label must be a whole number or a row of them, got {self.label!r}")
        object.__setattr__(self, "label", label.long())

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def log_likelihood(self, x_t: Tensor, t: Time) -> Tensor:
        """log P(label | x_t) (B,)."""
        log_p = self.classifier(x_t, t).log_softmax(1)
        if self.label.min() < 0 or self.label.max() >= log_p.shape[1]:
            raise ValueError(f"label must lie in 0..{log_p.shape[1] - 1}, got {self.label.tolist()}")
        if self.label.numel() not in (1, len(x_t)):
            raise ValueError(f"label must be one or one for each of the batch of {len(x_t)}, got {self.label.numel()}")
        return log_p.gather(1, self.label.to(x_t.device).expand(len(x_t))[:, None])[:, 0]

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        if self.w == 0:
            return pred
        return steered(pred, self.w * uphill(lambda x: self.log_likelihood(x, t), x_t))


@dataclass(frozen=True, eq=False)
class StaticThreshold:
    """Keeps the predicted picture in [-1, 1] by clipping it. Saharia et al. 2022 (Imagen), section 2.3."""

    denoiser: Denoiser

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        return pred.but(x0=pred.x0.clamp(-1, 1))


@dataclass(frozen=True, eq=False)
class DynamicThreshold:
    """Keeps the predicted picture in [-1, 1]: clips each at the `percentile` of its own |x_0|, where that is above 1, and
    divides by it. Saharia et al. 2022 (Imagen), section 2.3. Raises ValueError unless percentile is in (0, 1]."""

    denoiser: Denoiser
    percentile: float = 0.995

    def __post_init__(self):
        if not 0 < validate.finite("percentile", self.percentile) <= 1:
            raise ValueError(f"percentile must lie in (0, 1], got {self.percentile}")

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        s = pred.x0.abs().flatten(1).quantile(self.percentile, dim=1).clamp(min=1).view(-1, *[1] * (x_t.ndim - 1))
        return pred.but(x0=pred.x0.clamp(-s, s) / s)


def uphill(log_p: Callable[[Tensor], Tensor], x_t: Tensor) -> Tensor:
    """The gradient at x_t (B, ...) of log_p, which gives one number for each of the batch (B,). Samplers run without
    gradients, so that they are switched on here, and here alone."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_p(x).sum(), x)
    return gradient


def steered(pred: Prediction, by: Tensor) -> Prediction:
    """`pred` with its score moved by `by` (B, ...), which moves eps by -b `by` and x_0 by b^2 / a `by`.

    Moved in the network's own view, as in `Prediction.lerp`. Where there is no signal, nothing can be told, and nothing moves.
    """
    a, b = pred.a, pred.b
    there = a > 0
    eps = -b * by * there
    x0 = b**2 * by * there / a.clamp(min=1e-30)
    return pred.but(**{pred.view: pred.value + FROM_X0_EPS[pred.view](a, b, x0, eps)})


# The classifiers


@dataclass(frozen=True, eq=False)
class NoiseAware:
    """A classifier of noisy pictures made of an nn.Module `net(x_t, time)`, which gives log-odds (B, C).

    They are multiplied by the signal a(t), since pure noise tells nothing. That is what they do in a Gaussian mixture, where
    log P(c | x_t) depends on x_t by way of a x_t alone; without it the gradient, which moves x_0 by b^2 / a times itself, would
    burst where the signal ends.
    """

    net: nn.Module
    process: Process

    def __repr__(self):
        size = sum(p.numel() for p in self.net.parameters())
        return f"NoiseAware({type(self.net).__name__} of {size:,} parameters, {self.process})"

    def __call__(self, x_t: Tensor, t: Time) -> Tensor:
        a, _ = self.process.coefficients(t, x_t)
        return a.reshape(-1, 1) * self.net(x_t, share_of_T(t, self.process, x_t))


@dataclass(frozen=True, eq=False)
class ExactClassifier:
    """The best of all classifiers, where the data are a Gaussian mixture: log P(c | x_t) (B, C), classes in ascending order."""

    mixture: Any
    process: Process

    def __call__(self, x_t: Tensor, t: Time) -> Tensor:
        return self.mixture.class_log_probabilities(x_t, *self.process.coefficients(t, x_t))
