"""Cascades: a base model draws small, an upsampler draws large what was drawn small.

Ho et al. 2022, Cascaded Diffusion Models for High Fidelity Image Generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib.denoisers import Denoiser, Network
from course_lib.process import Process, Time, randn_like
from course_lib.samplers import Step, ddim
from course_lib.training import denoising_loss


def augmented(process: Process, low: Tensor, s: Time, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Small pictures low (B, C, h, w) with noise of time s, a number or (B,), and its level s / T (B,).

    What an `Upsampler` is given: conditioning augmentation with Gaussian noise (Ho et al. 2022, section 4). s = 0 adds none.
    """
    s = torch.as_tensor(s).expand(len(low))
    return process.add_noise(low, s, randn_like(low, rng)), s / process.T


def upsampler_loss(network: Network, x0: Tensor, rng: torch.Generator | None = None, most: int = 600) -> Tensor:
    """The denoising loss of pictures x0 (B, C, H, W), given their halves with noise of a random time s, uniform on 0..most.

    Ho et al. 2022, section 4: one network for all levels of augmentation, each of which it is told. most = 0: no augmentation.
    """
    s = torch.randint(most + 1, (len(x0),), generator=rng)
    return denoising_loss(network.given(augmented(network.process, avg_pool2d(x0, 2), s, rng)), x0, rng)


def cascade(
    base: Denoiser,
    upsampler: Network,
    noises: tuple[Tensor, Tensor],
    times: Tensor,
    s: int = 0,
    truncated: bool = False,
    rng: torch.Generator | None = None,
) -> Iterator[Step]:
    """The steps of the base from the first noise (B, C, h, w), then those of the upsampler from the second (B, C, H, W).

    The upsampler is given the base's picture with noise of time s: added to the finished picture, or, `truncated`, that which
    is still in it when the base stops at s (Ho et al. 2022, sections 4.1 and 4.2). Both are sampled by DDIM over `times`.
    """
    process = base.process
    if truncated and s:
        above = times[times > s]
        low = yield from _last(ddim(base, noises[0], torch.cat([above, above.new_tensor([s])])))
        given = low, s / process.T
    else:
        low = yield from _last(ddim(base, noises[0], times))
        given = augmented(process, low, s, rng)
    yield from ddim(upsampler.given(given), noises[1], times)


def _last(steps: Iterable[Step]) -> Iterator[Step]:
    """All of the steps; returns the last one's picture."""
    for step in steps:
        yield step
    return step.x


def film(steps: Iterable[Step], T: int) -> list[Step]:
    """The steps of a cascade for `play`: all at full size, with times that fall from 2 T to T in the base, and on to 0."""
    steps = list(steps)
    size = steps[-1].x.shape[-1]
    small = [step for step in steps if step.x.shape[-1] < size and step.pred]
    large = [step for step in steps if step.x.shape[-1] == size]
    return [replace(step, t=step.t + T, x=enlarged(step.x, size)) for step in small] + large


def enlarged(x: Tensor, size: int) -> Tensor:
    """Pictures (B, C, h, w) as (B, C, size, size), each pixel a square."""
    return interpolate(x, size=(size, size), mode="nearest")
