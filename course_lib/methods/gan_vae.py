"""The losses of a GAN and of a VAE, functions of a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from course_lib import validate
from course_lib.denoisers import Network
from course_lib.nets.generators import GAN, VAE
from course_lib.samplers import sample


def adversarial_value(gan: GAN, x: Tensor, fake: Tensor) -> Tensor:
    """V(D, G) = E log D(x) + E log(1 - D(G(z))), for real x and generated `fake`, both (B, ...): ().

    Goodfellow et al. 2014, eq. 1. The discriminator maximises it; the generator of the minimax game minimises its second term.
    """
    validate.floats("fake", fake, *validate.batch("x", x).shape[1:])
    validate.has("gan", gan, "logits")
    return logsigmoid(gan.logits(x)).mean() + logsigmoid(-gan.logits(fake)).mean()


def non_saturating_loss(gan: GAN, fake: Tensor) -> Tensor:
    """-E log D(G(z)), for generated `fake` (B, ...): (). Goodfellow et al. 2014, section 3, for larger gradients."""
    validate.has("gan", gan, "logits")
    validate.floats("fake", fake)
    return -logsigmoid(gan.logits(fake)).mean()


def gradient_penalty(gan: GAN, x: Tensor) -> Tensor:
    """E |gradient of the logits at x|^2, for real x (B, ...): (). Mescheder et al. 2018, eq. 9, whose R1 is gamma / 2 of it."""
    validate.has("gan", gan, "logits")
    with torch.enable_grad():
        x = validate.batch("x", x).detach().requires_grad_()
        gradient = torch.autograd.grad(gan.logits(x).sum(), x, create_graph=True)[0]
    return gradient.flatten(1).square().sum(1).mean()


def elbo(vae: VAE, x: Tensor, eps: Tensor) -> Tensor:
    """The evidence lower bound on log p(x), in nats, of each x (B, ...): (B,). Kingma and Welling 2014, eq. 10.

    E log p(x | z) is estimated by one z = mean + std eps of q(z | x), eps (B, latent); KL(q(z | x) || N(0, 1)) has a closed
    form (their appendix B).
    """
    validate.has("vae", vae, "encode", "decode")
    x, eps = (v.to(vae.log_std.device) for v in (validate.batch("x", x), validate.floating("eps", eps)))
    mean, log_var = vae.encode(x)
    validate.like("eps", eps, "the latents", mean)
    z = mean + (log_var / 2).exp() * eps
    error = (x - vae.decode(z)) / vae.std
    log_p = -(error.square() / 2 + vae.log_std + math.log(2 * math.pi) / 2).flatten(1).sum(1)
    kl = (mean.square() + log_var.exp() - 1 - log_var).sum(1) / 2
    return log_p - kl


@torch.no_grad()
def sample_generator(model: Network | GAN | VAE, n: int, rng: torch.Generator | None = None) -> Tensor:
    """n samples (n, ...), on the CPU: in one pass of a GAN or a VAE, in 25 DDIM steps of a denoiser of digits, 50 of points."""
    validate.at_least("n", n, 1)
    validate.instance("model", model, Network, GAN, VAE)
    if isinstance(model, Network):
        noise = model.draw_noise(n, rng)
        return sample(model, noise, 25 if noise.ndim == 4 else 50, batch=n)
    return model.eval().sample(n, rng).cpu()
