"""Recipes for the three generators of lesson 05: of like size, on the same digits, and on the same 25 Gaussians.

The three `train_...` read alike on purpose: what differs between them is what differs between diffusion, VAE and GAN.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.datasets.points import grid
from course_lib.denoisers import Network
from course_lib.nets.classifier import Classifier
from course_lib.nets.generators import GAN, VAE, Drawer, Reader, layers
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randn_like
from course_lib.recipes.recipe import Recipe, device_of, learner_of, shipped_net
from course_lib.rivals import adversarial_value, elbo, non_saturating_loss
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, Progress, denoising_loss, in_turn, train

Data = Callable[[torch.Generator], Tensor]


@cache
def _pictures() -> Tensor:
    return digits.load("train")[0]


def some_digits(rng: torch.Generator) -> Tensor:
    """A batch to train on, (32, 1, 16, 16)."""
    x = _pictures()
    return x[torch.randint(len(x), (32,), generator=rng)]


def some_points(rng: torch.Generator) -> Tensor:
    """A fresh batch of the 25 Gaussians, (256, 2)."""
    return grid().sample(256, rng)[0]


# The networks: two of each, for digits and for points


def diffusion(seed: int = 0) -> Network:
    """An untrained denoiser for digits, without classes: the U-Net of `digits_network`, 412,017 parameters."""
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=0).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def vae(seed: int = 0, latent: int = 16) -> VAE:
    """An untrained VAE for digits."""
    torch.manual_seed(seed)
    return VAE(Reader(2 * latent), Drawer(latent), latent).to(memory_format=torch.channels_last)


def gan(seed: int = 0, latent: int = 32) -> GAN:
    """An untrained GAN for digits."""
    torch.manual_seed(seed)
    return GAN(Drawer(latent), Reader(1), latent).to(memory_format=torch.channels_last)


def diffusion_of_points(seed: int = 0) -> Network:
    """An untrained denoiser for points (B, 2)."""
    torch.manual_seed(seed)
    return Network(MLP(dim=2, width=64, depth=3), DDPM(cosine_beta(1000)), "v")


def vae_of_points(seed: int = 0, latent: int = 2) -> VAE:
    """An untrained VAE for points (B, 2)."""
    torch.manual_seed(seed)
    return VAE(layers(2, 128, 128, 128, 2 * latent), layers(latent, 128, 128, 128, 2), latent)


def gan_of_points(seed: int = 0, latent: int = 2) -> GAN:
    """An untrained GAN for points (B, 2)."""
    torch.manual_seed(seed)
    return GAN(layers(latent, 128, 128, 128, 2), layers(2, 128, 128, 128, 1), latent)


# The three trainings. Their budget is a time, the same for all: that is what is compared


def train_diffusion(
    network: Network, seconds: float | None = 60, seed: int = 0, steps: int = 10**6, data: Data = some_digits
) -> Iterator[Progress]:
    """One network, one loss. Ho et al. 2020, Algorithm 1."""
    rng, learner = torch.Generator().manual_seed(seed), learner_of(network)

    def loss() -> Tensor:
        x = data(rng).to(device_of(learner))
        return denoising_loss(learner, x, rng)

    return train(loss, learner.net, steps, 3e-3, seconds, EMA(learner.net, 0.995, into=network.net))


def train_vae(
    vae: VAE, seconds: float | None = 60, seed: int = 0, steps: int = 10**6, data: Data = some_digits
) -> Iterator[Progress]:
    """Two networks, one loss. Kingma and Welling 2014, Algorithm 1."""
    rng, learner = torch.Generator().manual_seed(seed), copy.deepcopy(vae).train().requires_grad_()

    def loss() -> Tensor:
        x = data(rng).to(device_of(learner))
        return -elbo(learner, x, eps=learner.latents(len(x), rng)).mean()

    return train(loss, learner, steps, 2e-3, seconds, EMA(learner, 0.995, into=vae))


def train_gan(
    gan: GAN, seconds: float | None = 60, seed: int = 0, steps: int = 10**6, data: Data = some_digits, momentum: float = 0.0
) -> Iterator[Progress]:
    """Two networks, two losses, a step each in turn. Goodfellow et al. 2014, Algorithm 1, with the non-saturating loss.

    `momentum` is Adam's first beta; none is best in a game whose other player moves, too (Karras et al. 2018).
    """
    rng, learner = torch.Generator().manual_seed(seed), copy.deepcopy(gan).train().requires_grad_()
    batch = len(data(rng))

    def discriminator_loss() -> Tensor:
        x = data(rng).to(device_of(learner))
        return -adversarial_value(learner, x, fake=learner.sample(batch, rng).detach())

    def generator_loss() -> Tensor:
        return non_saturating_loss(learner, fake=learner.sample(batch, rng))

    judge, drawer, betas = learner.discriminator, learner.generator, (momentum, 0.99)
    return in_turn(
        train(discriminator_loss, judge, steps, 2e-3, seconds, EMA(judge, 0.995, into=gan.discriminator), betas=betas),
        train(generator_loss, drawer, steps, 2e-3, seconds, EMA(drawer, 0.995, into=gan.generator), betas=betas),
    )


# Their figures


@torch.no_grad()
def drawn(model: Network | GAN | VAE, n: int, rng: torch.Generator | None = None) -> Tensor:
    """n samples, on the CPU: in one pass of a GAN or a VAE, in 25 DDIM steps of a denoiser of digits, 50 of one of points."""
    if isinstance(model, Network):
        shape, steps = getattr(model.net, "shape", (2,)), 25 if hasattr(model.net, "shape") else 50
        noise = randn_like(torch.empty(n, *shape, device=device_of(model)), rng)
        return result(ddim(model, noise, model.process.times(steps))).cpu()
    return model.eval().sample(n, rng).cpu()


@torch.no_grad()
def rival_figures(model: Network | GAN | VAE, n: int = 1000, judge: Classifier | None = None) -> dict[str, float]:
    """What the shipped classifier, or another `judge`, says of n samples beside n held-out digits, and how fast they came."""
    judge = (judge or shipped_net(Classifier(), "classifier")).eval()
    begun = time.perf_counter()
    x = drawn(model, n, torch.Generator().manual_seed(1))
    seconds = time.perf_counter() - begun
    held_out, train_, made = (judge.features(y) for y in (digits.load("held_out")[0][:n], digits.load("train")[0][:n], x))
    precision, recall = metrics.precision_recall(held_out, made)
    return {
        "Frechet distance": metrics.frechet_distance(made, held_out),
        "the same, real against real": metrics.frechet_distance(train_, held_out),
        "precision": precision,
        "recall": recall,
        "samples a second": n / seconds,
    }


@torch.no_grad()
def rival_points_figures(model: Network | GAN | VAE, n: int = 5000) -> dict[str, float]:
    """Of n samples: how many of the 25 Gaussians they cover, and the share that lies in none (see `metrics.modes`)."""
    covered, outside = metrics.modes(drawn(model, n, torch.Generator().manual_seed(1)), grid())
    return {"modes covered, of 25": covered, "share out of any mode": outside}


GAN_RECIPE = Recipe("a GAN of digits, 16 x 16", gan, train_gan, rival_figures, (1, 16, 16), bits=8)
VAE_RECIPE = Recipe("a VAE of digits, 16 x 16", vae, train_vae, rival_figures, (1, 16, 16), bits=8)
DIFFUSION = Recipe("digits without classes, 16 x 16", diffusion, train_diffusion, rival_figures, (1, 16, 16), bits=8)
