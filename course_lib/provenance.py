"""A mark in the initial noise: a part of its Fourier transform, which whoever knows it finds again in the picture.

    noise = marked(noise, key)                                    # before sampling
    found = result(invert(painter, picture, times))               # DDIM, backwards
    match(found, key)                                             # near 1: marked; near 0: not, or no more

Wen et al. 2023, Tree-Ring Watermarks. Nothing is added to the picture: the mark decides which picture is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate


@dataclass(frozen=True, eq=False)
class Key:
    """For each frequency (H, W), as `torch.fft.fft2` orders them, the noise's value there, complex, or 0 where it is free."""

    value: Tensor

    @property
    def mask(self) -> Tensor:
        """The frequencies that carry the mark (H, W), bool."""
        return self.value != 0


def draw_key(size: int, inner: float = 1, outer: float = 5, seed: int = 0) -> Key:
    """A key for noise (B, C, size, size): the frequencies from `inner` to `outer` waves a picture, as another noise, of that
    seed, has them. Low ones, as by default, decide what is drawn; high ones are soon lost.

    It is the variant "Rand" of Wen et al. 2023, section 3.3. In their "Rings" all frequencies of one ring have one value, so
    that the mark bears being turned; in pictures as small as ours all its waves then meet in one corner, and there it shows.
    Raises ValueError unless 1 <= inner < outer, and some frequency lies between.
    """
    f = torch.fft.fftfreq(validate.at_least("size", size, 2)) * size
    at = (f[:, None] ** 2 + f**2).sqrt()
    mask = (at >= validate.finite("inner", inner)) & (at <= validate.finite("outer", outer))
    if not 1 <= inner < outer or not mask.any():
        raise ValueError(
            f"inner and outer must hold frequencies from 1 to {float(at.max()):.1f} between them, got {inner}, {outer}"
        )
    other = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    return Key(torch.fft.fft2(other, norm="ortho") * mask)


def marked(noise: Tensor, key: Key) -> Tensor:
    """Noise (B, C, H, W) with the key's values at the key's frequencies; the others stay as they were."""
    frequencies = torch.fft.fft2(noise, norm="ortho")
    return torch.fft.ifft2(torch.where(key.mask, key.value.to(frequencies.dtype), frequencies), norm="ortho").real


def match(noise: Tensor, key: Key) -> Tensor:
    """How well noise (B, C, H, W) fits the key, (B,): the correlation of its marked frequencies with the key, in -1..1.

    Wen et al. take the mean distance instead; ours does not mind noise that comes back too weak, as it does where a picture
    is plain black.
    """
    found = torch.fft.fft2(noise, norm="ortho")[..., key.mask].flatten(1)
    value = key.value[key.mask].repeat(noise.shape[1])
    return (found * value.conj()).real.sum(1) / (found.abs().square().sum(1).sqrt() * value.abs().norm()).clamp(min=1e-12)
