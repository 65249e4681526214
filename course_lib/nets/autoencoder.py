"""The autoencoder: pictures to a small map of numbers, the latent, and back. Diffusion then works on the small map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

from course_lib.nets.unet import norm, zero
from course_lib.process import randn_like


class _Residual(nn.Module):
    """h + two convolutions of h (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = norm(channels), zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(h))))))


class Autoencoder(nn.Module):
    """Pictures x (B, 3, H, W) in [-1, 1] to latents z (B, channels, H / f, W / f) and back. Rombach et al. 2022, section 3.1.

    The encoder gives a Gaussian for each number of the latent, held near N(0, 1) by a small KL term: `gaussian`. What
    diffusion sees is `encode`, multiplied by `scale` so that it has unit variance; `decode` undoes both.
    `factor` f is 2 or 4. Raises ValueError for another.
    """

    def __init__(self, factor: int = 4, channels: int = 4, width: int = 32):
        super().__init__()
        if factor not in (2, 4):
            raise ValueError(f"factor must be 2 or 4, got {factor}")
        self.factor, self.channels, deep = factor, channels, 2 * width if factor == 4 else width
        down, up = [nn.Conv2d(12, width, 3, padding=1), _Residual(width)], []
        if factor == 4:
            down += [nn.Conv2d(width, deep, 2, 2), _Residual(deep)]
            up += [nn.ConvTranspose2d(deep, width, 2, 2)]
        self.encoder = nn.Sequential(*down, norm(deep), nn.SiLU(), nn.Conv2d(deep, 2 * channels, 3, padding=1))
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, deep, 3, padding=1),
            *(_Residual(deep) for _ in range(factor // 2)),
            *up,
            *(_Residual(width) for _ in range(2)),
            norm(width),
            nn.SiLU(),
            nn.Conv2d(width, 12, 3, padding=1),
        )
        self.register_buffer("scale", torch.ones(()))

    def gaussian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of q(z | x), each (B, channels, H / f, W / f), before any scaling."""
        mean, log_variance = self.encoder(pixel_unshuffle(x, 2)).chunk(2, 1)
        return mean, log_variance.clamp(-20, 10)

    def paint(self, z: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) of latents z as `gaussian` gives them, before any scaling."""
        return pixel_shuffle(self.decoder(z), 2)

    @torch.no_grad()
    def encode(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Latents (B, channels, H / f, W / f) of unit variance, drawn from q(z | x), of pictures x (B, 3, H, W) in [-1, 1]."""
        mean, log_variance = self.gaussian(x)
        return self.scale * (mean + (log_variance / 2).exp() * randn_like(mean, rng))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] of latents z (B, channels, H / f, W / f) of unit variance."""
        return self.paint(z / self.scale).clamp(-1, 1)
