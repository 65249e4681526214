"""Zero-shot uses of a denoiser: editing, inpainting, and linear inverse problems.

    steps = sdedit(denoiser, guide, times[times <= 400], rng)              # a realistic version of a rough guide
    steps = repaint(denoiser, picture, keep, noise, times, 10, rng)        # inpainting where keep is 0
    steps = ddim(Consistent(denoiser, shrunk(4), y), noise, times)         # super-resolution of y
    steps = dps(denoiser, blurred(1.5).A, y, noise, times, 1.0, rng)       # deblurring of a noisy y

`keep`, 1 for known pixels and 0 for others, has the pictures' shape or broadcasts to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.prediction import Prediction
from course_lib.process import DDPM, Process, Time, randn_like
from course_lib.samplers import Step, ddpm, moves

# Editing and inpainting


@torch.no_grad()
def sdedit(denoiser: Denoiser, guide: Tensor, times: Tensor, rng: torch.Generator | None = None) -> Iterator[Step]:
    """Yields the steps of Meng et al. 2022 (SDEdit), Algorithm 1: DDPM from the guide (B, ...) with noise of time times[0].

    Their t_0 is times[0]: the larger it is, the more realistic and the less faithful to the guide is the result.
    """
    (t, _), *_ = moves("sdedit", denoiser, validate.batch("guide", guide), times, DDPM)
    x = denoiser.process.add_noise(guide, t, randn_like(guide, rng))
    yield from ddpm(denoiser, x, times, rng)


@torch.no_grad()
def repaint(
    denoiser: Denoiser,
    known: Tensor,
    keep: Tensor,
    x: Tensor,
    times: Tensor,
    resample: int = 1,
    rng: torch.Generator | None = None,
    jump: int = 1,
) -> Iterator[Step]:
    """Yields the steps of Lugmayr et al. 2022 (RePaint), Algorithm 1: each move overwrites the known pixels.

    known (B, ...) is used only where `keep` is 1. The moves are made in groups of `jump` (their j), each group `resample` times
    (their U): in between, the forward chain adds the noise of the group's moves again. As in Algorithm 1, the last group, which
    ends at the clean picture, is made once. Raises ValueError if keep is not 0 or 1.
    """
    pairs = moves("repaint", denoiser, x, times, DDPM)
    process = cast(DDPM, denoiser.process)
    keep = _checked(keep, validate.batch("known", known))
    validate.at_least("resample", resample, 1)
    validate.generator("rng", rng)
    validate.like("x", x, "known", known)
    validate.at_least("jump", jump, 1)
    for group in (pairs[i : i + jump] for i in range(0, len(pairs), jump)):
        rounds = resample if group[-1][1] > 0 else 1
        for u in range(rounds):
            for t, s in group:
                step, after = ddpm(denoiser, x, torch.tensor([t, s], dtype=torch.long, device="cpu"), rng)
                yield step
                x = torch.where(keep, process.add_noise(known, s, randn_like(x, rng)), after.x)  # their eq. 8
            if u < rounds - 1:
                x = noised_further(process, x, s, group[0][0], randn_like(x, rng))
    yield Step(s, x)


def noised_further(process: DDPM, x: Tensor, s: int, t: int, eps: Tensor) -> Tensor:
    """x_t (B, ...) from x_s (B, ...) and fresh noise eps (B, ...), by the forward chain's steps s + 1 .. t, where t > s."""
    validate.like("eps", eps, "x", validate.batch("x", x))
    validate.at_least("s", s, 0, validate.at_least("t", t, 1, validate.instance("process", process, DDPM).T) - 1)
    alpha = process.alpha_bar(t) / process.alpha_bar(s)
    return alpha.sqrt().to(x.dtype) * x + (1 - alpha).sqrt().to(x.dtype) * eps


def _checked(keep: Tensor, known: Tensor) -> Tensor:
    """`keep` as booleans in the shape of `known`. Raises ValueError if it is not 0 or 1, or does not broadcast."""
    try:
        return _mask(keep).bool().to(known.device).expand_as(known)
    except RuntimeError:
        raise ValueError(f"keep must spread to the shape of known, {tuple(known.shape)}, got {tuple(keep.shape)}") from None


def _mask(keep: Tensor) -> Tensor:
    """`keep` if it is a tensor of 0 and 1; raises TypeError or ValueError otherwise."""
    if not ((validate.instance("keep", keep, Tensor) == 0) | (keep == 1)).all():
        raise ValueError("keep must be 1 where a pixel is known and 0 where it is not, got other numbers")
    return keep


# Linear inverse problems


@dataclass(frozen=True, eq=False)
class Measurement:
    """A linear measurement y = A x and its pseudo-inverse `back`, A^+, as functions of a batch (B, ...)."""

    A: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]

    def __post_init__(self):
        validate.function("A", self.A)
        validate.function("back", self.back)


def shrunk(k: int) -> Measurement:
    """Downsampling of pictures (B, C, H, W) by the means of k x k squares; the pseudo-inverse repeats each mean."""
    validate.at_least("k", k, 1)
    return Measurement(lambda x: avg_pool2d(x, k), lambda y: interpolate(y, scale_factor=k, mode="nearest"))


def blurred(std: float, min_gain: float = 0.03) -> Measurement:
    """A Gaussian blur of pictures (B, C, H, W) with `std` in pixels and periodic borders; its inverse divides by the gain.

    Frequencies with a gain below `min_gain` are set to 0 by both. Raises ValueError if std is negative or min_gain not in
    (0, 1].
    """
    validate.finite("std", std, 0)
    validate.finite("min_gain", validate.positive("min_gain", min_gain), 0, 1)

    def filtered(x: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        fy, fx = (torch.fft.fftfreq(n, device="cpu", dtype=torch.float64) for n in x.shape[-2:])
        blur = torch.exp(-2 * (math.pi * std) ** 2 * (fy[:, None] ** 2 + fx**2))
        return torch.fft.ifft2(torch.fft.fft2(x) * gain(blur).to(x.device, x.dtype)).real

    return Measurement(
        lambda x: filtered(x, lambda blur: blur * (blur >= min_gain)),
        lambda y: filtered(y, lambda blur: (blur >= min_gain) / blur.clamp(min=min_gain)),
    )


def kept(keep: Tensor) -> Measurement:
    """Masking: pixels are 0 except where `keep` is 1. It is its own pseudo-inverse."""
    keep = _mask(keep)
    masked = lambda x: keep.to(x.device) * x
    return Measurement(masked, masked)


@dataclass(frozen=True, eq=False)
class Consistent:
    """`denoiser` with each predicted x_0 corrected to x_0 - A^+ (A x_0 - y), whose measurement is y.

    Wang et al. 2023 (DDNM), eq. 13, for a y without noise: the range-space part is that of y, the null-space part that of
    `denoiser`. Samples are consistent with y exactly, since the last predicted x_0 is the sample.
    """

    denoiser: Denoiser
    measurement: Measurement
    y: Tensor

    def __post_init__(self):
        validate.instance("denoiser", self.denoiser, Denoiser)
        validate.instance("measurement", self.measurement, Measurement)
        validate.instance("y", self.y, Tensor)

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        measured = self.measurement.A(pred.x0)
        residual = measured - validate.same_shape("y", self.y.to(x_t), "A x_0", measured)
        return pred.replace(x0=pred.x0 - self.measurement.back(residual))


def dps(
    denoiser: Denoiser,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    x: Tensor,
    times: Tensor,
    zeta: float = 1.0,
    rng: torch.Generator | None = None,
) -> Iterator[Step]:
    """Yields the steps of Chung et al. 2023 (diffusion posterior sampling), Algorithm 1, for y = A(x_0) + noise.

    A is any differentiable measurement of a batch (B, ...). After each DDPM move x is moved against the gradient of the norm
    of y - A(predicted x_0), taken through the denoiser, by the constant step `zeta`. That is the paper's rule: a step of
    zeta' / norm along the gradient of the squared norm, where zeta = 2 zeta'. Each move costs one evaluation and one backward
    pass. Raises ValueError unless zeta is 0 or more.
    """
    pairs = moves("dps", denoiser, x, times, DDPM)
    validate.function("A", A)
    validate.instance("y", y, Tensor)
    validate.generator("rng", rng)
    validate.finite("zeta", zeta, 0)
    for t, s in pairs:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            pred = denoiser(x, t)
            measured = A(pred.x0)
            residual = validate.same_shape("y", y.to(x), "A x_0", measured) - measured
            (gradient,) = torch.autograd.grad(residual.flatten(1).norm(dim=1).sum(), x)
        x, pred = x.detach(), Prediction(x.detach(), pred.a, pred.b, pred.view, pred.value.detach())
        yield Step(t, x, pred)
        x = ddpm_move(cast(DDPM, denoiser.process), pred, t, s, randn_like(x, rng)) - zeta * gradient
    yield Step(s, x)


def ddpm_move(process: DDPM, pred: Prediction, t: int, s: int, z: Tensor) -> Tensor:
    """x_s (B, ...) after `ddpm`'s move from t to an earlier s, from the prediction at x_t and fresh noise z (B, ...).

    Song et al. 2021 (DDIM), eq. 12 with eta = 1, which is the posterior of Ho et al. 2020, eq. 7.
    """
    bar_t, bar_s = process.alpha_bar(t), process.alpha_bar(s)
    sigma = ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)).sqrt()
    return bar_s.sqrt() * pred.x0 + (1 - bar_s - sigma**2).clamp(min=0).sqrt() * pred.eps + sigma * z
