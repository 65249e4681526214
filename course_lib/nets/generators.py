"""The networks of a GAN (generator and discriminator) and of a VAE (decoder and encoder)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from course_lib import validate
from course_lib.denoisers import runs_on_its_device
from course_lib.nets.unet import norm
from course_lib.process import randn, seeded


class ConvDecoder(nn.Module):
    """Latents z (B, latent) to pictures (B, 1, 16, 16) in [-1, 1]: 4 x 4 maps, upsampled twice (Radford et al. 2016)."""

    def __init__(self, latent: int = 32, widths: tuple[int, int, int] = (128, 32, 16), hidden: int = 64):
        super().__init__()
        validate.sizes(latent=latent, hidden=hidden)
        first, second, third = _three(widths)
        self.inward = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, first * 16))
        self.norms = nn.ModuleList(norm(width) for width in widths)
        up = [nn.ConvTranspose2d(*pair, 4, 2, padding=1) for pair in ((first, second), (second, third))]
        self.convs = nn.ModuleList([*up, nn.Conv2d(third, 1, 3, padding=1)])

    def forward(self, z: Tensor) -> Tensor:
        h = self.inward(z).view(len(z), -1, 4, 4)
        for normalise, conv in zip(self.norms, self.convs):
            h = conv(silu(normalise(h)))
        return h.tanh()


def _three(widths: tuple[int, int, int]) -> tuple[int, int, int]:
    """`widths` if they are three whole numbers of 1 or more; raises TypeError or ValueError otherwise."""
    if len(validate.filled("widths", widths)) != 3:
        raise ValueError(f"widths must be three, one for each resolution, got {len(widths)}")
    for width in widths:
        validate.at_least("widths", width, 1)
    return widths


class ConvEncoder(nn.Module):
    """Pictures x (B, 1, 16, 16) to outputs (B, out): convolutions of stride two to 4 x 4 maps, then linear layers."""

    def __init__(self, out: int, widths: tuple[int, int, int] = (16, 32, 128), hidden: int = 64):
        super().__init__()
        validate.sizes(out=out, hidden=hidden)
        first, second, third = _three(widths)
        sizes = [(1, first, 3, 1), (first, second, 4, 2), (second, third, 4, 2)]
        convs = [layer for size in sizes for layer in (nn.Conv2d(*size, padding=1), nn.LeakyReLU(0.2))]
        self.body = nn.Sequential(
            *convs, nn.Flatten(), nn.Linear(third * 16, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, out)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def layers(*sizes: int) -> nn.Sequential:
    """Linear layers with LeakyReLU between them, for points: (B, sizes[0]) to (B, sizes[-1]).

    Raises TypeError or ValueError unless there are two or more sizes, whole numbers of 1 or more.
    """
    for size in sizes:
        validate.at_least("sizes", size, 1)
    if len(sizes) < 2:
        raise ValueError(f"sizes must be two or more, got {sizes}")
    body = [layer for pair in zip(sizes, sizes[1:]) for layer in (nn.Linear(*pair), nn.LeakyReLU(0.2))]
    return nn.Sequential(*body[:-1])


class FourierFeatures(nn.Module):
    """x (B, dim), sin(W x) and cos(W x), (B, dim + 2 n), with fixed random frequencies W: so that a network of points resolves
    what is small. Tancik et al. 2020."""

    frequencies: Tensor

    def __init__(self, dim: int = 2, n: int = 16, scale: float = 6.0):
        super().__init__()
        validate.sizes(dim=dim, n=n)
        self.register_buffer("frequencies", validate.positive("scale", scale) * randn(dim, n, rng=seeded(0)))

    def forward(self, x: Tensor) -> Tensor:
        angle = x @ self.frequencies.to(x)
        return torch.cat([x, angle.sin(), angle.cos()], 1)


class _OfLatents(nn.Module):
    """A generative model with latents z (B, latent) from N(0, 1), which `draw` maps to data."""

    latent: int

    def latents(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """n random latents z (n, latent), on the network's device."""
        like = next(self.parameters())
        return randn(validate.at_least("n", n, 1), self.latent, rng=rng).to(like)

    def draw(self, z: Tensor) -> Tensor:
        """Data (B, ...) from latents z (B, latent)."""
        raise NotImplementedError

    def sample(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """n samples (n, ...), in one batch."""
        return self.draw(self.latents(n, rng))


class GAN(_OfLatents):
    """A generator G, from latents to data, and a discriminator, whose output is `logits`.

    Goodfellow et al. 2014, whose D is the sigmoid of the logits.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, latent: int):
        super().__init__()
        validate.sizes(latent=latent)
        validate.instance("generator", generator, nn.Module)
        validate.instance("discriminator", discriminator, nn.Module)
        self.generator, self.discriminator, self.latent = generator, discriminator, latent

    @runs_on_its_device
    def draw(self, z: Tensor) -> Tensor:
        """G(z), (B, ...), for latents z (B, latent)."""
        return self.generator(z)

    @runs_on_its_device
    def logits(self, x: Tensor) -> Tensor:
        """The discriminator's logits log(D / (1 - D)) that x (B, ...) is real, (B,)."""
        return self.discriminator(x).squeeze(1)


class VAE(_OfLatents):
    """A decoder p(x | z) = N(decode(z), std^2) and an encoder q(z | x), the approximate posterior. Kingma and Welling 2014.

    `std`, one number for all of x, is learned (Rybkin et al. 2021). A sample is the mean of p(x | z), as usual.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent: int):
        super().__init__()
        validate.sizes(latent=latent)
        validate.instance("encoder", encoder, nn.Module)
        validate.instance("decoder", decoder, nn.Module)
        self.encoder, self.decoder, self.latent = encoder, decoder, latent
        self.log_std = nn.Parameter(torch.tensor(-1.0))

    @property
    def std(self) -> Tensor:
        """The learned standard deviation of p(x | z), ()."""
        return self.log_std.exp()

    @runs_on_its_device
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the logarithm of the variance of q(z | x), each (B, latent), for x (B, ...)."""
        return self.encoder(x).chunk(2, 1)

    @runs_on_its_device
    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x | z), (B, ...), for z (B, latent)."""
        return self.decoder(z)

    def draw(self, z: Tensor) -> Tensor:
        """The mean of p(x | z), (B, ...), without noise."""
        return self.decode(z)
