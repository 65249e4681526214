"""Diffusion's two rivals: what a GAN and a VAE minimise. As with `denoising_loss`, each is a function of a batch."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from course_lib import validate
from course_lib.nets.generators import GAN, VAE


def adversarial_value(gan: GAN, x: Tensor, fake: Tensor) -> Tensor:
    """V(D, G) = E log D(x) + E log(1 - D(G(z))), for real x and drawn `fake`, both (B, ...): (). Goodfellow et al. 2014, eq. 1.

    The discriminator raises it. The generator of the minimax game lowers it, by its second term.
    """
    return logsigmoid(gan.log_odds(x)).mean() + logsigmoid(-gan.log_odds(fake)).mean()


def non_saturating_loss(gan: GAN, fake: Tensor) -> Tensor:
    """-E log D(G(z)), for drawn `fake` (B, ...): (). Goodfellow et al. 2014, section 3: the same aim, with a steeper slope."""
    return -logsigmoid(gan.log_odds(fake)).mean()


def elbo(vae: VAE, x: Tensor, eps: Tensor) -> Tensor:
    """The lower bound on log p(x), in nats, of each x (B, ...): (B,). Kingma and Welling 2014, eq. 10, with eps (B, latent).

    E log p(x | z) by one z = mean + std eps of q(z | x), less KL(q(z | x), N(0, 1)) in closed form (their appendix B).
    """
    mean, log_var = vae.encode(validate.batch("x", x))
    z = mean + (log_var / 2).exp() * eps
    off = (x - vae.decode(z)) / vae.std
    log_p = -(off.square() / 2 + vae.log_std + math.log(2 * math.pi) / 2).flatten(1).sum(1)
    kl = (mean.square() + log_var.exp() - 1 - log_var).sum(1) / 2
    return log_p - kl
