"""Recipes for the three generators of lesson 05: of similar size, on the same digits, and on the same 25 Gaussians.

The three `train_...` read alike on purpose: they differ only where diffusion, VAE and GAN differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import metrics, validate
from course_lib.datasets import digits
from course_lib.datasets.points import grid
from course_lib.denoisers import Network, device_of
from course_lib.methods.gan_vae import adversarial_value, elbo, gradient_penalty, non_saturating_loss, sample_generator
from course_lib.nets.classifier import Classifier
from course_lib.nets.generators import GAN, VAE, ConvDecoder, ConvEncoder, FourierFeatures, layers
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randint, seeded
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, TrainingState, alternate, denoising_loss, min_snr_times, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net

Data = Callable[[torch.Generator], Tensor]


STEPS = {"GAN": 1445, "VAE": 2600, "diffusion": 557}
"""Steps on the digits that cost the same processor time, a minute of one core (tests/benchmarks/three_generators.py)."""


@cache
def _pictures() -> Tensor:
    return digits.load("train")[0]


def some_digits(rng: torch.Generator, batch: int = 32) -> Tensor:
    """A batch to train on, (batch, 1, 16, 16)."""
    x = _pictures()
    return x[randint(0, len(x), batch, rng=rng)]


def more_digits(rng: torch.Generator) -> Tensor:
    """A batch of twice as many, as `train_digits` has it."""
    return some_digits(rng, 64)


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
    validate.sizes(latent=latent)
    torch.manual_seed(seed)
    return VAE(ConvEncoder(2 * latent), ConvDecoder(latent), latent).to(memory_format=torch.channels_last)


def gan(seed: int = 0, latent: int = 32) -> GAN:
    """An untrained GAN for digits."""
    validate.sizes(latent=latent)
    torch.manual_seed(seed)
    return GAN(ConvDecoder(latent), ConvEncoder(1), latent).to(memory_format=torch.channels_last)


def points_diffusion(seed: int = 0) -> Network:
    """An untrained denoiser for points (B, 2), which it sees with their Fourier features, as the GAN's discriminator does."""
    torch.manual_seed(seed)
    net = MLP(dim=2, width=64, depth=3)
    net.inward = nn.Sequential(FourierFeatures(), nn.Linear(34, 64))
    return Network(net, DDPM(cosine_beta(1000)), "v")


def points_vae(seed: int = 0, latent: int = 2) -> VAE:
    """An untrained VAE for points (B, 2)."""
    validate.sizes(latent=latent)
    torch.manual_seed(seed)
    return VAE(layers(2, 128, 128, 128, 2 * latent), layers(latent, 128, 128, 128, 2), latent)


def points_gan(seed: int = 0, latent: int = 2) -> GAN:
    """An untrained GAN for points (B, 2)."""
    validate.sizes(latent=latent)
    torch.manual_seed(seed)
    discriminator = nn.Sequential(FourierFeatures(), layers(34, 128, 128, 128, 1))
    return GAN(layers(latent, 128, 128, 128, 2), discriminator, latent)


# The three trainings


def train_diffusion(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = STEPS["diffusion"],
    data: Data = more_digits,
    uniform: bool = False,
) -> Iterator[TrainingState]:
    """One network, one loss. Ho et al. 2020, Algorithm 1; as in `train_digits` but for the classes, or with `uniform` times."""
    rng, learner = seeded(seed), learner_of(network)

    def loss() -> Tensor:
        x = data(rng).to(device_of(learner))
        t = None if uniform else min_snr_times(learner.process, len(x), rng)
        return denoising_loss(learner, x, rng, t)

    return train(loss, learner.net, steps, 3e-3, seconds, EMA(learner.net, 0.995, into=network.net), muon=0.02)


def train_vae(
    vae: VAE, seconds: float | None = None, seed: int = 0, steps: int = STEPS["VAE"], data: Data = some_digits
) -> Iterator[TrainingState]:
    """Two networks, one loss. Kingma and Welling 2014, Algorithm 1."""
    rng, learner = seeded(seed), learner_of(vae)

    def loss() -> Tensor:
        x = data(rng).to(device_of(learner))
        return -elbo(learner, x, eps=learner.latents(len(x), rng)).mean()

    return train(loss, learner, steps, 2e-3, seconds, EMA(learner, 0.995, into=vae))


def train_gan(
    gan: GAN,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = STEPS["GAN"],
    data: Data = some_digits,
    lr: float = 2e-3,
    momentum: float = 0.0,
    generator_loss: Callable[[GAN, Tensor], Tensor] = non_saturating_loss,
    r1: float = 0.0,
) -> Iterator[TrainingState]:
    """Two networks, two losses, alternate steps. Goodfellow et al. 2014, Algorithm 1, with the non-saturating loss.

    `momentum` is Adam's first beta (0 in Karras et al. 2018), `r1` the weight gamma of the gradient penalty R1.
    """
    rng, learner = seeded(seed), learner_of(gan)
    batch = len(data(rng))

    def loss_of_discriminator() -> Tensor:
        x = data(rng).to(device_of(learner))
        loss = -adversarial_value(learner, x, fake=learner.sample(batch, rng).detach())
        return loss + r1 / 2 * gradient_penalty(learner, x) if r1 else loss

    def loss_of_generator() -> Tensor:
        return generator_loss(learner, learner.sample(batch, rng))

    D, G, betas = learner.discriminator, learner.generator, (momentum, 0.99)
    return alternate(
        train(loss_of_discriminator, D, steps, lr, seconds, EMA(D, 0.995, into=gan.discriminator), betas=betas),
        train(loss_of_generator, G, steps, lr, seconds, EMA(G, 0.995, into=gan.generator), betas=betas),
    )


# Their figures


@torch.no_grad()
def generator_figures(
    model: Network | GAN | VAE, n: int = 1000, evaluator: Classifier | None = None, folder: Path = FOLDER
) -> dict[str, Figure]:
    """The metrics of n samples against n held-out digits, by the shipped classifier or `evaluator`."""
    evaluator = (evaluator or shipped_net(Classifier(), "classifier", folder)).eval()
    x = sample_generator(model, n, seeded(1))
    held_out, train_, made = (evaluator.features(y) for y in (digits.load("held_out")[0][:n], digits.load("train")[0][:n], x))
    precision, recall = metrics.precision_recall(held_out, made)
    return {
        "Frechet distance": Figure.error(metrics.frechet_distance(made, held_out)),
        "the same, real against real": Figure.error(metrics.frechet_distance(train_, held_out)),
        "precision": Figure.share(precision),
        "recall": Figure.share(recall),
    }


@torch.no_grad()
def generator_points_figures(model: Network | GAN | VAE, n: int = 5000) -> dict[str, float]:
    """How many of the 25 Gaussians n samples cover, and the share of samples outside all of them (see `metrics.modes`)."""
    covered, outside = metrics.modes(sample_generator(model, n, seeded(1)), grid())
    return {"modes covered, of 25": covered, "share out of any mode": outside}


GAN_RECIPE = Recipe("a GAN of digits, 16 x 16", gan, train_gan, generator_figures, (1, 16, 16), bits=8)
VAE_RECIPE = Recipe("a VAE of digits, 16 x 16", vae, train_vae, generator_figures, (1, 16, 16), bits=8)
DIFFUSION = Recipe("digits without classes, 16 x 16", diffusion, train_diffusion, generator_figures, (1, 16, 16), bits=8)
