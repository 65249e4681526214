"""Cascades: a base model generates a low-resolution picture, an upsampler a high-resolution one conditioned on it.

Ho et al. 2022, Cascaded Diffusion Models for High Fidelity Image Generation.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib.denoisers import Denoiser, Network
from course_lib.process import Process, Time, randn_like
from course_lib.samplers import Step, ddim
from course_lib.training import denoising_loss


def augmented(process: Process, low: Tensor, s: Time, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Low-resolution pictures low (B, C, h, w) with noise of time s, a number or (B,), and the noise level s / T (B,).

    It is the condition of an `Upsampler` with Gaussian conditioning augmentation (Ho et al. 2022, section 4). s = 0 adds no
    noise.
    """
    s = torch.as_tensor(s).expand(len(low))
    return process.add_noise(low, s, randn_like(low, rng)), s / process.T


def upsampler_loss(network: Network, x0: Tensor, rng: torch.Generator | None = None, max_s: int = 600) -> Tensor:
    """The denoising loss () of pictures x0 (B, C, H, W), given their half-resolution versions with noise of a random time s.

    s is uniform on 0..max_s; max_s = 0 is no augmentation. Ho et al. 2022, section 4: one network for all levels of
    augmentation, conditioned on the level.
    """
    s = torch.randint(max_s + 1, (len(x0),), generator=rng)
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
    """Yields the steps of the base from the first noise (B, C, h, w), then those of the upsampler from the second (B, C, H, W).

    The upsampler is conditioned on the base's sample with noise of time s. The noise is added to the finished sample or, if
    `truncated`, the base stops at time s (Ho et al. 2022, sections 4.1 and 4.2). Both are sampled by DDIM over `times`.
    """
    process = base.process
    if truncated and s:
        above = times[times > s]
        low = yield from _last(ddim(base, noises[0], torch.cat([above, above.new_tensor([s])])))
        upsampler = upsampler.given((low, s / process.T))
    else:
        low = yield from _last(ddim(base, noises[0], times))
        upsampler = upsampler.given(augmented(process, low, s, rng))
    yield from ddim(upsampler, noises[1], times)


def _last(steps: Iterable[Step]) -> Generator[Step, None, Tensor]:
    """Yields all of the steps and returns the last x (B, ...)."""
    for step in steps:
        yield step
    return step.x


def film(steps: Iterable[Step], T: int) -> list[Step]:
    """The steps of a cascade for `play`, at full size, with times from 2 T to T in the base, then from T to 0."""
    steps = list(steps)
    size = steps[-1].x.shape[-1]
    small = [step for step in steps if step.x.shape[-1] < size and step.pred]
    large = [step for step in steps if step.x.shape[-1] == size]
    return [replace(step, t=step.t + T, x=enlarged(step.x, size)) for step in small] + large


def enlarged(x: Tensor, size: int) -> Tensor:
    """Pictures (B, C, h, w) upsampled to (B, C, size, size) by nearest neighbours."""
    return interpolate(x, size=(size, size), mode="nearest")
