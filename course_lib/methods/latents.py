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
    validate.same_shape("log_variance", validate.floats("log_variance", log_variance), "mean", validate.floats("mean", mean))
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def autoencoder_loss(net: Autoencoder, x: Tensor, weight: float, rng: torch.Generator | None = None) -> Tensor:
    """The mean absolute error of the reconstruction of pictures x (B, 3, H, W), plus `weight` times the KL term: ().

    Rombach et al. 2022, appendix G, without their perceptual and adversarial losses.
    """
    validate.finite("weight", weight, 0)
    mean, log_variance = validate.instance("net", net, Autoencoder).gaussian(validate.batch("x", x))
    validate.generator("rng", rng)
    z = mean + (log_variance / 2).exp() * randn_like(mean, rng)
    return (net.paint(z) - x).abs().mean() + weight * kl_term(mean, log_variance)


def unit_scale(z: Tensor) -> Tensor:
    """The factor () that gives latents z (B, C, h, w) unit variance. Rombach et al. 2022, appendix G, 'rescaling'.

    Without it the signal-to-noise ratio of the process would be another. Raises ValueError if all latents are equal.
    """
    if validate.batch("z", z).max() == z.min():
        raise ValueError("z must vary, to be given unit variance, got one value everywhere")
    return 1 / z.std()


def quantize(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest vectors of a codebook (K, C) to latents z (B, C, h, w), and the error () by which both are trained.

    The gradient with respect to the vectors is passed on to z (straight-through). Van den Oord et al. 2017, section 3.2 and
    eq. 3, with beta = 0.25.
    """
    cells = validate.floats("z", z, "C", "h", "w").movedim(1, -1)
    validate.floats("codebook", codebook, z.shape[1])
    nearest = torch.cdist(cells.detach().flatten(0, 2), codebook.detach()).argmin(1)
    code = codebook[nearest].view(cells.shape).movedim(-1, 1)
    error = (code - z.detach()).square().mean() + 0.25 * (z - code.detach()).square().mean()
    return z + (code - z).detach(), error


def psnr(x: Tensor, y: Tensor) -> float:
    """The peak signal-to-noise ratio of pictures x and y (B, C, H, W) in [-1, 1], in decibels: 10 log10(4 / MSE).

    It is infinite for equal pictures.
    """
    validate.like("x", x, "y", validate.batch("y", y))
    return float(10 * torch.log10(4 / (x - y).square().mean()))
