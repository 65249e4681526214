"""Latents: how an autoencoder is trained, and how its latents are made fit for diffusion. Rombach et al. 2022.

Nothing else is needed. A process, a network and a sampler work on latents as on pictures, and `decode` comes last:

    steps = ddim(network.given("a red circle"), noise, network.process.times(25))    # noise (B, 4, 8, 8)
    play(list(steps), draw=lambda step: autoencoder.decode(step.x0))
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib import validate
from course_lib.nets.autoencoder import Autoencoder
from course_lib.process import randn_like


def kl_term(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats, its mean over all numbers of the latents, both (B, ...): one number.

    Kingma and Welling 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def autoencoder_loss(net: Autoencoder, x: Tensor, weight: float, rng: torch.Generator | None = None) -> Tensor:
    """How far pictures x (B, 3, H, W) are from what comes back, a latent being drawn, + `weight` times the KL term.

    Rombach et al. 2022, appendix G, with the mean absolute error for their perceptual and adversarial losses.
    """
    mean, log_variance = net.gaussian(x)
    z = mean + (log_variance / 2).exp() * randn_like(mean, rng)
    return (net.paint(z) - x).abs().mean() + weight * kl_term(mean, log_variance)


def unit_scale(z: Tensor) -> Tensor:
    """What latents z (B, C, h, w) must be multiplied by to have unit variance: one number for all of them.

    Rombach et al. 2022, appendix G, 'rescaling'. Without it the same process adds another share of noise.
    """
    validate.batch("z", z)
    return 1 / z.std()


def psnr(x: Tensor, y: Tensor) -> float:
    """The peak signal-to-noise ratio of pictures x and y (B, C, H, W) in [-1, 1], in decibels: 10 log10(4 / mean square)."""
    validate.same_shape("x", x, "y", y)
    return float(10 * torch.log10(4 / (x - y).square().mean()))
