"""Uses of a denoiser that was trained for none of them: editing a picture, filling a hole, undoing a measurement.

    steps = sdedit(painter, guide, times[times <= 400], rng)              # a rough guide becomes a picture
    steps = repaint(painter, picture, keep, noise, times, 10, rng)        # what is not kept is painted anew
    steps = ddim(Consistent(painter, shrunk(4), y), noise, times)         # a picture that, shrunk, is y

None of them trains anything. `keep` (1 where a pixel is known, 0 where not) has the pictures' shape, or one that spreads to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.prediction import Prediction
from course_lib.process import Process, Time, randn_like
from course_lib.samplers import Step, ddpm, moves

# Editing and inpainting


@torch.no_grad()
def sdedit(denoiser: Denoiser, guide: Tensor, times: Tensor, rng: torch.Generator | None = None) -> Iterator[Step]:
    """Meng et al. 2022 (SDEdit), Algorithm 1, on a chain: noise the guide (B, ...) to the first of `times`, sample from there.

    Their t_0 is times[0]: the later it lies, the more of the guide is forgotten, and the more real is what comes out.
    """
    x = denoiser.process.add_noise(guide, torch.as_tensor(times)[0].item(), randn_like(guide, rng))
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
) -> Iterator[Step]:
    """Lugmayr et al. 2022 (RePaint), Algorithm 1: after each step what is known, as noisy as the rest, is put in its place.

    known (B, ...) is looked at only where `keep` is 1. Each move is made `resample` times (their U), with the noise of one step
    put back in between, so that the new part hears of the known one. Raises ValueError where keep is not 0 or 1.
    """
    process, keep = denoiser.process, _checked(keep, known)
    validate.at_least("resample", resample, 1)
    for t, s in moves(x, times):
        for u in range(resample):
            step, after = ddpm(denoiser, x, torch.tensor([t, s]), rng)
            yield step
            x = torch.where(keep, process.add_noise(known, s, randn_like(x, rng)), after.x)  # their eq. 8
            if u < resample - 1:
                x = noised_further(process, x, s, t, randn_like(x, rng))
    yield Step(s, x)


def noised_further(process: Process, x: Tensor, s: Time, t: Time, eps: Tensor) -> Tensor:
    """From x_s (B, ...) up to x_t, by fresh noise eps (B, ...): the forward chain's steps s + 1 .. t in one."""
    alpha = process.alpha_bar(t) / process.alpha_bar(s)
    return alpha.sqrt().to(x.dtype) * x + (1 - alpha).sqrt().to(x.dtype) * eps


def _checked(keep: Tensor, known: Tensor) -> Tensor:
    """`keep` as booleans in the shape of `known`."""
    if not ((keep == 0) | (keep == 1)).all():
        raise ValueError("keep must be 1 where a pixel is known and 0 where it is not, got something between")
    try:
        return keep.bool().to(known.device).expand_as(known)
    except RuntimeError:
        raise ValueError(f"keep must spread to the shape of known, {tuple(known.shape)}, got {tuple(keep.shape)}") from None


# Measurements, and how to undo them


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear measurement y = A x, and its pseudo-inverse `back`, A^+: functions of a batch (B, ...)."""

    A: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


def shrunk(k: int) -> Linear:
    """Pictures (B, C, H, W) to the means of their k x k squares (B, C, H / k, W / k). Back: each becomes a square again."""
    validate.at_least("k", k, 1)
    return Linear(lambda x: avg_pool2d(x, k), lambda y: interpolate(y, scale_factor=k, mode="nearest"))


def blurred(std: float, least: float = 0.03) -> Linear:
    """Pictures (B, C, H, W) blurred by a Gaussian of `std` pixels, around the borders. Back: each frequency is made as strong
    as it was, except those of which less than the share `least` is left: these are lost.
    """

    def filtered(x: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in x.shape[-2:])
        left = torch.exp(-2 * (math.pi * std) ** 2 * (fy[:, None] ** 2 + fx**2))
        return torch.fft.ifft2(torch.fft.fft2(x) * gain(left).to(x.device, x.dtype)).real

    return Linear(
        lambda x: filtered(x, lambda left: left * (left >= least)),
        lambda y: filtered(y, lambda left: (left >= least) / left.clamp(min=least)),
    )


def kept(keep: Tensor) -> Linear:
    """Pictures of which only the pixels are known where `keep` is 1; the others are 0. Back: the same."""
    return Linear(lambda x: keep * x, lambda y: keep * y)


@dataclass(frozen=True, eq=False)
class Consistent:
    """Corrects each predicted picture until its measurement is y: x_0 - A^+ (A x_0 - y).

    Wang et al. 2023 (DDNM), eq. 11: what A sees is taken from y, the rest, which A does not see, from `denoiser`. For a y
    without noise. Its samples measure y exactly, since the last predicted picture is the sample.
    """

    denoiser: Denoiser
    measurement: Linear
    y: Tensor

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        missed = self.measurement.A(pred.x0) - validate.same_shape("y", self.y, "A x_0", self.measurement.A(pred.x0))
        return pred.but(x0=pred.x0 - self.measurement.back(missed))
