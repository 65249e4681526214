"""The autoencoder of latent diffusion: pictures to latents, on which the diffusion model is trained, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

from course_lib import validate
from course_lib.denoisers import runs_on_its_device
from course_lib.nets.unet import norm, zero
from course_lib.process import randn_like


class _Residual(nn.Module):
    """A residual block: h + two convolutions of h (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = norm(channels), zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(h))))))


class Autoencoder(nn.Module):
    """Pictures x (B, 3, H, W) in [-1, 1] to latents z (B, channels, H / f, W / f) and back. Rombach et al. 2022, section 3.1.

    The encoder outputs the mean and variance of q(z | x), which a small KL term keeps close to the prior N(0, 1): `gaussian`.
    The diffusion model is trained on `encode`, samples of q(z | x) times `scale`, which have unit variance; `decode` inverts
    it. `factor` f is 2 or 4. Raises ValueError for another, and for pictures with a side that is no multiple of f.
    """

    scale: Tensor

    def __init__(self, factor: int = 4, channels: int = 4, width: int = 32):
        super().__init__()
        validate.choice("factor", factor, (2, 4))
        validate.sizes(channels=channels, width=width)
        self.factor, self.channels, deep = factor, channels, 2 * width if factor == 4 else width
        down: list[nn.Module] = [nn.Conv2d(12, width, 3, padding=1), _Residual(width)]
        up: list[nn.Module] = []
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

    @runs_on_its_device
    def gaussian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the logarithm of the variance of q(z | x), each (B, channels, H / f, W / f), before scaling."""
        validate.sides("x", validate.shape("x", x, 3, "H", "W"), self.factor)
        mean, log_variance = self.encoder(pixel_unshuffle(x, 2)).chunk(2, 1)
        return mean, log_variance.clamp(-20, 10)

    @runs_on_its_device
    def paint(self, z: Tensor) -> Tensor:
        """The reconstruction (B, 3, H, W) from latents z (B, channels, H / f, W / f) before scaling."""
        return pixel_shuffle(self.decoder(validate.shape("z", z, self.channels, "H / f", "W / f")), 2)

    @torch.no_grad()
    def encode(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Latents (B, channels, H / f, W / f) of unit variance, from q(z | x), of pictures x (B, 3, H, W) in [-1, 1]."""
        mean, log_variance = self.gaussian(x)
        validate.generator("rng", rng)
        return self.scale.to(mean) * (mean + (log_variance / 2).exp() * randn_like(mean, rng))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] from latents z (B, channels, H / f, W / f) of unit variance."""
        z = validate.instance("z", z, Tensor)
        return self.paint(z / self.scale.to(z)).clamp(-1, 1)
