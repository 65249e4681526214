"""A mark in the initial noise: rings in its Fourier transform, which whoever knows them finds again in the picture.

    noise = marked(noise, rings)                                  # before sampling
    found = result(invert(painter, picture, times))               # DDIM, backwards
    match(found, rings)                                           # near 1: marked; near 0: not, or no more

Wen et al. 2023, Tree-Ring Watermarks. Nothing is added to the picture: the mark decides which picture is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate


@dataclass(frozen=True, eq=False)
class Rings:
    """A key: for each frequency (H, W), as `torch.fft.fft2` orders them, the noise's value there, or 0 where it is free.

    Frequencies of one ring, of equal distance from 0, share one value: so it stays where a picture is turned or mirrored.
    """

    value: Tensor

    @property
    def mask(self) -> Tensor:
        """The frequencies that carry the mark (H, W), bool."""
        return self.value != 0


def rings(size: int, radius: int = 5, seed: int = 0) -> Rings:
    """A key for noise (B, C, size, size): rings of radius 1 .. `radius`, each +1 or -1 by the seed.

    1 is how large a Gaussian noise's frequency is, in root mean square: so that marked noise is as strong as any.
    Raises ValueError unless radius is in 1 .. size / 2 - 1.
    """
    if not 1 <= validate.at_least("radius", radius, 1) < size / 2:
        raise ValueError(f"radius must lie in 1..{(size - 1) // 2}, got {radius}")
    rng = torch.Generator().manual_seed(seed)
    sign = torch.randint(2, (radius + 1,), generator=rng) * 2.0 - 1
    f = torch.fft.fftfreq(size) * size
    at = (f[:, None] ** 2 + f**2).sqrt().round().long()
    return Rings(torch.where((at >= 1) & (at <= radius), sign[at.clamp(max=radius)], 0.0))


def marked(noise: Tensor, key: Rings) -> Tensor:
    """Noise (B, C, H, W) with the key's values at the key's frequencies; the others stay as they were."""
    frequencies = torch.fft.fft2(noise, norm="ortho")
    return torch.fft.ifft2(torch.where(key.mask, key.value.to(frequencies.dtype), frequencies), norm="ortho").real


def match(noise: Tensor, key: Rings) -> Tensor:
    """How well noise (B, C, H, W) fits the key, (B,): the correlation of its marked frequencies with the key, in -1..1.

    Wen et al. take the mean distance instead (their eq. 4); ours does not mind noise that comes back too weak, as it does
    where a picture is plain black.
    """
    frequencies = torch.fft.fft2(noise, norm="ortho")[..., key.mask].flatten(1)
    value = key.value[key.mask].repeat(noise.shape[1])
    return (frequencies.real * value).sum(1) / (frequencies.abs().square().sum(1).sqrt() * value.norm()).clamp(min=1e-12)
