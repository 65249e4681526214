"""Latent diffusion: the loss of an autoencoder, and the scale of its latents. Rombach et al. 2022.

Process, network and sampler are the same for latents as for pictures; `decode` comes last:

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
    """KL(N(mean, variance) || N(0, 1)) in nats, per component of the latent, (): mean and log_variance are (B, ...).

    Kingma and Welling 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def autoencoder_loss(net: Autoencoder, x: Tensor, weight: float, rng: torch.Generator | None = None) -> Tensor:
    """The mean absolute error of the reconstruction of pictures x (B, 3, H, W), plus `weight` times the KL term: ().

    Rombach et al. 2022, appendix G, without their perceptual and adversarial losses.
    """
    mean, log_variance = net.gaussian(x)
    z = mean + (log_variance / 2).exp() * randn_like(mean, rng)
    return (net.paint(z) - x).abs().mean() + weight * kl_term(mean, log_variance)


def unit_scale(z: Tensor) -> Tensor:
    """The factor () that gives latents z (B, C, h, w) unit variance. Rombach et al. 2022, appendix G, 'rescaling'.

    Without it the signal-to-noise ratio of the process would be another.
    """
    validate.batch("z", z)
    return 1 / z.std()


def psnr(x: Tensor, y: Tensor) -> float:
    """The peak signal-to-noise ratio of pictures x and y (B, C, H, W) in [-1, 1], in decibels: 10 log10(4 / MSE)."""
    validate.same_shape("x", x, "y", y)
    return float(10 * torch.log10(4 / (x - y).square().mean()))
