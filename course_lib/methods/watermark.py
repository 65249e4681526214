"""A watermark in the Fourier transform of the initial noise, which the holder of the key can detect in the picture.

    noise = add_mark(noise, key)                                  # before sampling
    recovered = result(invert(denoiser, picture, times))          # DDIM inversion
    match(recovered, key)                                         # near 1: marked; near 0: unmarked, or the mark was removed

Wen et al. 2023, Tree-Ring Watermarks. Nothing is added to the picture itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate
from course_lib.process import randn, seeded


@dataclass(frozen=True, eq=False)
class Key:
    """The complex value of the noise at each marked frequency, and 0 at the others: (H, W) in the order of `torch.fft.fft2`."""

    value: Tensor

    def __post_init__(self):
        validate.instance("value", self.value, Tensor)

    @property
    def mask(self) -> Tensor:
        """The frequencies that carry the mark (H, W), bool."""
        return self.value != 0


PATTERNS = ("rings", "rand")


def draw_key(size: int, inner: float = 1, outer: float = 5, seed: int = 0, pattern: str = "rings") -> Key:
    """A random key for noise (B, C, size, size), at the frequencies from `inner` to `outer` waves per picture.

    Two of the three patterns of Wen et al. 2023 (their code, `get_watermarking_pattern`). "rings": all frequencies whose
    radius rounds to the same number have one value, drawn from a standard normal distribution. It is real, with the phase of
    a wave about the centre of the picture, so that the key of a picture that is mirrored or turned by 90 degrees is the same
    key; rings end below size / 2. "rand": the values are those of another noise. High frequencies are less robust than low
    ones. Raises ValueError unless 1 <= inner < outer, with a frequency between, and for another pattern.
    """
    validate.choice("pattern", pattern, PATTERNS)
    f = torch.fft.fftfreq(validate.at_least("size", size, 2), device="cpu", dtype=torch.float32) * size
    radius = (f[:, None] ** 2 + f**2).sqrt()
    mask = (radius >= validate.finite("inner", inner)) & (radius <= validate.finite("outer", outer))
    if not 1 <= inner < outer or not mask.any():
        raise ValueError(
            f"inner and outer must hold frequencies from 1 to {float(radius.max()):.1f} between them, got {inner}, {outer}"
        )
    if pattern == "rand":
        return Key(torch.fft.fft2(randn(size, size, rng=seeded(seed)), norm="ortho") * mask)
    of_ring = randn(size, rng=seeded(seed))
    centre = torch.exp(-1j * torch.pi * (size - 1) / size * (f[:, None] + f))
    return Key(of_ring[radius.round().long()] * centre * (mask & (radius < size / 2)))


def _fits(noise: Tensor, key: Key) -> Tensor:
    """`noise` if it is a batch (B, C, H, W) of the key's size; raises TypeError or ValueError otherwise."""
    return validate.batch("noise", noise, "C", *validate.instance("key", key, Key).value.shape)


def add_mark(noise: Tensor, key: Key) -> Tensor:
    """Noise (B, C, H, W) with the key's values at the marked frequencies and its own values at the others."""
    frequencies = torch.fft.fft2(_fits(noise, key), norm="ortho")
    return torch.fft.ifft2(
        torch.where(key.mask.to(noise.device), key.value.to(noise.device, frequencies.dtype), frequencies), norm="ortho"
    ).real


def match(noise: Tensor, key: Key) -> Tensor:
    """The correlation (B,), in -1..1, of noise (B, C, H, W) with the key at the marked frequencies.

    Wen et al. use the mean distance instead. The correlation does not depend on the amplitude, which inversion underestimates
    in black regions.
    """
    found = torch.fft.fft2(_fits(noise, key), norm="ortho")[..., key.mask.to(noise.device)].flatten(1)
    value = key.value[key.mask].repeat(noise.shape[1]).to(noise.device)
    return (found * value.conj()).real.sum(1) / (found.abs().square().sum(1).sqrt() * value.abs().norm()).clamp(min=1e-12)
