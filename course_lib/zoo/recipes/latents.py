"""Recipes for latent diffusion: the autoencoder, and the network that generates its latents from captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes, words
from course_lib.denoisers import Network, device_of
from course_lib.guidance import classifier_free
from course_lib.methods.distillation import guided_consistency_loss
from course_lib.methods.latents import autoencoder_loss, psnr, unit_scale
from course_lib.nets.autoencoder import Autoencoder
from course_lib.nets.text import TextUNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import consistency, sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, TrainingState, denoising_loss, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.distillation import load_teacher, older_weights
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net
from course_lib.zoo.recipes.shapes import high_noise_first, load_text_encoder, pair_figures, pair_prompts, shipped_detector

# The autoencoder


def autoencoder(seed: int = 0) -> Autoencoder:
    """An untrained autoencoder of pictures (B, 3, 32, 32) with latents (B, 4, 8, 8)."""
    torch.manual_seed(seed)
    return Autoencoder(factor=4, channels=4).to(memory_format=torch.channels_last)


def some_pictures(n: int, rng: torch.Generator) -> Tensor:
    """n fresh pictures (n, 3, 32, 32) without captions, a quarter of them of words."""
    x = [shapes.draw(scenes.sample(n - n // 4, rng), rng), words.draw(words.sample(n // 4, rng), rng)]
    return torch.cat(x).to(memory_format=torch.channels_last)


def train_autoencoder(
    net: Autoencoder, seconds: float | None = None, seed: int = 0, steps: int = 3600
) -> Iterator[TrainingState]:
    """Trains on fresh pictures of shapes and of words. At the end it measures the scale of the latents."""
    learner, rng = learner_of(net), seeded(seed)
    loss = lambda: autoencoder_loss(learner, some_pictures(32, rng).to(device_of(learner)), 5e-4, rng)
    yield from train(loss, learner, steps, lr=3e-3, seconds=seconds, ema=EMA(learner, 0.995, into=net))
    net.scale.copy_(unit_scale(net.encode(some_pictures(2000, rng).to(device_of(net)), rng)))


@torch.no_grad()
def autoencoder_figures(net: Autoencoder, n: int = 1000, folder: Path = FOLDER) -> dict[str, Figure]:
    """The reconstruction of n fresh pictures of each kind, by PSNR and by detector, and the spread of the latents."""
    rng, figures = seeded(1), {}

    def reconstruct(x: Tensor) -> Tensor:
        return net.decode(net.encode(x.to(device_of(net)), rng)).cpu()

    for split in ("train", "new objects"):
        scene = scenes.sample(n, rng, split=split)
        x = shapes.draw(scene, rng)
        figures[f"PSNR in decibels, shapes, {split}"] = Figure.decibels(psnr(reconstruct(x), x))
        right = scenes.agreement(shipped_detector(folder).detect(reconstruct(x)), scene)
        figures[f"all read right, {split}"] = Figure.share(right["all"])
    spelling = words.sample(n, rng, new=True)
    x = words.draw(spelling, rng)
    figures["PSNR in decibels, words"] = Figure.decibels(psnr(reconstruct(x), x))
    figures["words read right"] = Figure.share(words.agreement(words.read(reconstruct(x)), spelling)["all"])
    figures["standard deviation of the latents, unscaled"] = Figure.error(1 / float(net.scale))
    return figures


def shipped_autoencoder(folder: Path = FOLDER) -> Autoencoder:
    """The shipped autoencoder, whose latents the networks of lessons 12, 15 and 16 generate."""
    return shipped_net(autoencoder(), "autoencoder", folder)


# From text to latents of shapes


def latent2shape_network(
    seed: int = 0,
    size: int = 8,
    widths: tuple[int, ...] = (48, 96),
    channels: int = 4,
    patch: int = 1,
    guided: bool = False,
) -> Network:
    """An untrained text-conditional denoiser for latents (B, channels, size, size): lesson 09's kind of U-Net, for v."""
    torch.manual_seed(seed)
    net = TextUNet(size, widths, channels=channels, patch=patch, guided=guided).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "v")


def train_latent2shape(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 2600,
    through: Autoencoder | None = None,
    batch: int = 64,
    folder: Path = FOLDER,
) -> Iterator[TrainingState]:
    """Trains on the latents of fresh captioned pictures, one caption in ten made empty.

    `through` is the autoencoder, the shipped one by default. Rombach et al. 2022, section 3.3, eq. 3, in the network's view.
    The text encoder starts from the paraphraser's weights. The first fifth of the steps has high noise, see `high_noise_first`.
    """
    load_text_encoder(network.net.text, folder=folder)
    device = device_of(network)
    through = (through or shipped_autoencoder(folder)).to(device)
    learner, rng = learner_of(network), seeded(seed)
    times = high_noise_first(network.process, rng, steps // 5)

    def loss() -> Tensor:
        scene = scenes.sample(batch, rng)
        prompts, _ = captions.tell(scene, rng)
        z = through.encode(shapes.draw(scene, rng).to(device, memory_format=torch.channels_last), rng)
        return denoising_loss(learner.given(prompts).drop_condition(0.1, rng), z, rng, times(batch))

    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def latent2shape_figures(network: Network, n: int = 200, folder: Path = FOLDER) -> dict[str, Figure]:
    """The shares of n decoded pictures of pairs of each split that match their captions, 25 DDIM steps."""
    noise, through = network.draw_noise(n, seeded(1)), shipped_autoencoder(folder)
    draw = lambda prompts, w: through.decode(sample(classifier_free(network, prompts, w), noise, 25))
    return pair_figures(draw, n, folder)


# Latent consistency


def latent_student_network(seed: int = 0) -> Network:
    """The network of latents of shapes with guidance w as one more input."""
    return latent2shape_network(seed, guided=True)


def train_latent_student(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 9600, folder: Path = FOLDER
) -> Iterator[TrainingState]:
    """Distils the latent model at every guidance w in 1..5. Luo et al. 2023 (LCM), Algorithm 1.

    Skips k = 40 of 1,000 steps, twice their 20: over a shorter chain from noise to picture fewer errors add up.
    """
    device = device_of(network)
    teacher = load_teacher("latent2shape", network, latent2shape_network, folder=folder)
    through = shipped_autoencoder(folder).to(device)
    learner, rng = learner_of(network), seeded(seed)
    older = older_weights(learner, 0.95)

    def loss() -> Tensor:
        scene = scenes.sample(32, rng)
        prompts, _ = captions.tell(scene, rng)
        z = through.encode(shapes.draw(scene, rng).to(device, memory_format=torch.channels_last), rng)
        return guided_consistency_loss(learner, older(), teacher, z, prompts, n=25, max_w=5.0, min_w=1.0, rng=rng)

    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


def latent_student_figures(network: Network, n: int = 200, folder: Path = FOLDER) -> dict[str, Figure]:
    """The shares of n decoded pictures of pairs that match their captions, in 1, 2 and 4 steps at w = 3."""
    evaluator, through, figures = shipped_detector(folder), shipped_autoencoder(folder), {}
    prompts, scene = pair_prompts(n, "train")
    for k in (1, 2, 4):
        rng = seeded(1)
        noise = network.draw_noise(n, rng)
        z = sample(classifier_free(network, prompts, 3.0), noise, k, consistency, batch=n, rng=rng)
        right = scenes.agreement(evaluator.detect(through.decode(z)), scene)
        figures |= {f"{name}, {k} step{'s' * (k > 1)} (w = 3)": Figure.share(right[name]) for name in ("binding", "all")}
    return figures


AUTOENCODER = Recipe("pictures to latents and back, f = 4", autoencoder, train_autoencoder, autoencoder_figures, bits=16)
LATENT2SHAPE = Recipe(
    "latents of shapes from captions, 8 x 8",
    latent2shape_network,
    train_latent2shape,
    latent2shape_figures,
    (3, 32, 32),
    captions=True,
    decoder="autoencoder",
    bits=8,
)
LATENT_STUDENT = Recipe(
    "latents of shapes in few steps, w an input",
    latent_student_network,
    train_latent_student,
    latent_student_figures,
    (3, 32, 32),
    captions=True,
    steps=4,
    sampler="consistency",
    decoder="autoencoder",
    bits=8,
)
