"""Cascades: a base model generates a low-resolution picture, an upsampler a high-resolution one conditioned on it.

Ho et al. 2022, Cascaded Diffusion Models for High Fidelity Image Generation.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import validate
from course_lib.denoisers import Denoiser, Network
from course_lib.process import Process, Time, randint, randn_like
from course_lib.samplers import Step, ddim
from course_lib.training import denoising_loss


def augmented(process: Process, low: Tensor, s: Time, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Low-resolution pictures low (B, C, h, w) with noise of time s, a number or (B,), and the noise level s / T (B,).

    It is the condition of an `Upsampler` with Gaussian conditioning augmentation (Ho et al. 2022, section 3). s = 0 adds no
    noise.
    """
    validate.instance("process", process, Process)
    validate.generator("rng", rng)
    validate.time("s", s, 0, process.T)
    t = s.cpu().double() if isinstance(s, Tensor) else torch.tensor(s, device="cpu", dtype=torch.float64)
    noisy = process.add_noise(low, s, randn_like(validate.batch("low", low), rng))
    return noisy, (t / process.T).float().expand(len(low))


def upsampler_loss(
    network: Network,
    x0: Tensor,
    rng: torch.Generator | None = None,
    max_s: int = 600,
    label: Any = None,
    t: Tensor | None = None,
) -> Tensor:
    """The denoising loss () of pictures x0 (B, C, H, W), given their half-resolution versions with noise of a random time s.

    s is uniform on 0..max_s; max_s = 0 is no augmentation. Ho et al. 2022, section 3: one network for all levels of
    augmentation, conditioned on the level. An upsampler with classes may be given the label too, one or (B,). The times t (B,)
    of the pictures themselves come from `process.sample_t` unless given.
    """
    validate.at_least("max_s", max_s, 0, int(validate.instance("network", network, Network).process.T))
    validate.sides("x0", validate.batch("x0", x0), 2)
    s = randint(0, max_s + 1, len(x0), rng=rng)
    low, level = augmented(network.process, avg_pool2d(x0, 2), s, rng)
    return denoising_loss(network.given((low, level) if label is None else (low, level, label)), x0, rng, t)


def cascade(
    base: Denoiser,
    upsampler: Network,
    noises: tuple[Tensor, Tensor],
    times: Tensor,
    s: int = 0,
    truncated: bool = False,
    rng: torch.Generator | None = None,
    label: Any = None,
) -> Iterator[Step]:
    """Yields the steps of the base from the first noise (B, C, h, w), then those of the upsampler from the second (B, C, H, W).

    The upsampler is conditioned on the base's sample with noise of time s, and on the label, one or (B,), where it has classes
    and one is given. The noise is added to the finished sample or, if `truncated`, the base stops at time s (Ho et al. 2022,
    sections 3.2 and 3.3). Both are sampled by DDIM over `times`.
    """
    process, (first, second) = validate.instance("base", base, Denoiser).process, _pair(noises)
    validate.instance("upsampler", upsampler, Network)
    validate.at_least("s", s, 0, int(process.T))
    if truncated and s:
        above = times[times > s]
        low = yield from _last(ddim(base, first, torch.cat([above, above.new_tensor([s])])))
        level: float | Tensor = s / process.T
    else:
        low = yield from _last(ddim(base, first, times))
        low, level = augmented(process, low, s, rng)
    yield from ddim(upsampler.given((low, level) if label is None else (low, level, label)), second, times)


def _pair(noises: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """`noises` if they are two batches; raises TypeError or ValueError otherwise."""
    if len(validate.instance("noises", noises, tuple, list)) != 2:
        raise ValueError(f"noises must be two, for the base and for the upsampler, got {len(noises)}")
    first, second = (validate.batch("noises", noise) for noise in noises)
    return first, second


def _last(steps: Iterable[Step]) -> Generator[Step, None, Tensor]:
    """Yields all of the steps and returns the last x (B, ...)."""
    for step in steps:
        yield step
    return step.x


def film(steps: Iterable[Step], T: int) -> list[Step]:
    """The steps of a cascade for `play`, at full size, with times from 2 T to T in the base, then from T to 0."""
    validate.positive("T", T)
    steps = validate.filled("steps", list(validate.instance("steps", steps, Iterable)), Step)
    size = steps[-1].x.shape[-1]
    small = [step for step in steps if step.x.shape[-1] < size and step.pred]
    large = [step for step in steps if step.x.shape[-1] == size]
    return [replace(step, t=step.t + T, x=enlarged(step.x, size)) for step in small] + large


def enlarged(x: Tensor, size: int) -> Tensor:
    """Pictures (B, C, h, w) upsampled to (B, C, size, size) by nearest neighbours."""
    validate.sizes(size=size)
    validate.batch("x", x, "C", "h", "w")
    return interpolate(x, size=(size, size), mode="nearest")
