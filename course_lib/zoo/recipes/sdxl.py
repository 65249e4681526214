"""Recipes for lesson 15: networks with and without conditioning on size and crop, and a refiner for the last steps.

Latents of captioned shapes (the model that ships), and digits from a collection in which good pictures are scarce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from course_lib.datasets import captions, digits, scenes
from course_lib.denoisers import NULL, Network, device_of
from course_lib.guidance import classifier_free
from course_lib.methods.sdxl import as_found, border, crop_and_shrink, high_frequency_detail, refiner_loss
from course_lib.nets.embeddings import LabelEmbedding
from course_lib.nets.sdxl import WHOLE, MicroUNet, SDXLUNet, micro_embedding
from course_lib.process import DDPM, rand, randint, seeded
from course_lib.samplers import sample
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.training import EMA, TrainingState, denoising_loss, min_snr_times, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.latents import latent2shape_network, shipped_autoencoder
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net
from course_lib.zoo.recipes.shapes import pair_prompts, shipped_detector

COLLECTION = 4000
"""The number of pictures in the data set; about a quarter of them are large and whole."""
BATCH = 48


def collection(n: int = COLLECTION, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """n pictures (n, 3, 32, 32), some small or cropped, their captions' tokens (n, LENGTH), and size and crop (n, 3)."""
    rng = seeded(seed)
    scene = scenes.sample(n, rng)
    prompts, _ = captions.tell(scene, rng)
    x, micro = crop_and_shrink(scene, rng)
    return x, captions.tokens(prompts), micro


def encoded(n: int = COLLECTION, seed: int = 0, folder: Path = FOLDER) -> tuple[Tensor, Tensor, Tensor]:
    """The same, with the latents (n, 4, 8, 8) of the pictures, encoded once."""
    (x, tokens, micro), through = collection(n, seed), shipped_autoencoder(folder)
    rng = seeded(seed)
    return torch.cat([through.encode(part, rng) for part in x.split(200)]), tokens, micro


def sdxl_network(seed: int = 0) -> Network:
    """An untrained denoiser for latents (B, 4, 8, 8), conditioned on captions, size and crop; all else is lesson 12's."""
    torch.manual_seed(seed)
    net = SDXLUNet().to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "v")


def init_from_latent2shape(net: SDXLUNet, folder: Path = FOLDER) -> None:
    """Loads the weights of lesson 12's network, so that at first both have the same output: size and crop add zero.

    SDXL, too, was trained in stages, each from the one before.
    """
    known = shipped_net(latent2shape_network().net, "latent2shape", folder).state_dict()
    net.load_state_dict(net.state_dict() | known)


def train_sdxl(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 600,
    folder: Path = FOLDER,
) -> Iterator[TrainingState]:
    """Trains on the latents of the collection, from lesson 12's weights; one caption in ten is made empty.

    The text encoder is frozen (Podell et al. 2023, section 2.1).
    """
    init_from_latent2shape(network.net, folder)
    z, tokens, micro = encoded(folder=folder)
    learner, empty, rng = learner_of(network), captions.tokens(""), seeded(seed)
    learner.net.text.requires_grad_(False)

    def loss() -> Tensor:
        i = randint(0, len(z), BATCH, rng=rng)
        prompts = torch.where(rand(BATCH, 1, rng=rng) < 0.1, empty, tokens[i])
        return denoising_loss(learner.given((prompts, micro[i])), z[i].to(device_of(learner)), rng)

    ema = EMA(learner.net, 0.998, into=network.net)
    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=ema)


def sdxl_figures(network: Network, n: int = 100, folder: Path = FOLDER) -> dict[str, Figure]:
    """The shares of n pictures of pairs that match their captions and that touch the border, and their detail, 20 DDIM steps.

    The condition is that of large and whole pictures.
    """
    evaluator, through, figures = shipped_detector(folder), shipped_autoencoder(folder), {}
    for split in scenes.SPLITS:
        prompts, scene = pair_prompts(n, split)
        x = through.decode(sample(classifier_free(network, (prompts, WHOLE), 3.0), network.draw_noise(n, seeded(1)), 20))
        right = scenes.agreement(evaluator.detect(x), scene)
        figures |= {f"{name}, {split} (w = 3)": right[name] for name in ("binding", "all")}
        if split == "train":
            figures |= {"touch the border": float(border(x).double().mean()), "detail": float(high_frequency_detail(x).mean())}
    return {name: Figure.share(value) for name, value in figures.items()}


SDXL = Recipe(
    "latents of shapes from captions, size and crop",
    sdxl_network,
    train_sdxl,
    sdxl_figures,
    (3, 32, 32),
    captions=True,
    decoder="autoencoder",
    bits=8,
)


# Digits, of which few are large and whole


def digit_collection(n: int = 400, seed: int = 0, small: float = 0.5, cut: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """n training digits (n, 1, 16, 16), n / 10 of each class, some small or cropped; labels (n,); size and crop (n, 3).

    The seed decides which digits of the 4,000 these are, and what happened to them (`as_found`).
    """
    rng = seeded(seed)
    x, label = digits.load("train")
    i = (
        10 * torch.randperm(len(x) // 10, generator=rng, device="cpu", dtype=torch.long)[: n // 10, None]
        + torch.arange(10, device="cpu", dtype=torch.long)
    ).flatten()
    x, micro = as_found(x[i], rng, small, cut)
    return x, label[i], micro


def micro_network(
    seed: int = 0,
    widths: tuple[int, ...] = (16, 32, 64),
    embed: Callable[[Tensor, int], Tensor] = micro_embedding,
) -> Network:
    """An untrained denoiser of digits (B, 1, 16, 16) conditioned on class, size and crop, for v, over the cosine schedule."""
    torch.manual_seed(seed)
    net = MicroUNet(widths=widths, embed=embed).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_micro(
    network: Network,
    x: Tensor,
    label: Tensor,
    micro: Tensor,
    steps: int = 500,
    seed: int = 0,
    lr: float = 3e-3,
    batch: int = 32,
    last: int | None = None,
    muon: float = 0.02,
    weighted: bool = False,
    seconds: float | None = None,
) -> Iterator[TrainingState]:
    """Trains on pictures x (n, 1, S, S) with their labels (n,) and micro-conditions (n, 3), in batches of `batch`.

    One label in ten is made null; size and crop stay. `last` restricts the times to 1..last, as for a refiner. They are then
    uniform, or, if `weighted`, drawn by the weights that all other times have (`min_snr_times`).
    """
    learner, rng = learner_of(network), seeded(seed)
    null = LabelEmbedding.as_condition(learner.net.label, NULL)

    def loss() -> Tensor:
        i = randint(0, len(x), batch, rng=rng)
        cond = torch.cat([torch.where(rand(batch, rng=rng) < 0.1, null, label[i])[:, None], micro[i]], 1)
        given, x0 = replace(learner, cond=cond), x[i].to(device_of(learner))
        if last is None:
            return denoising_loss(given, x0, rng, min_snr_times(network.process, batch, rng))
        if not weighted:
            return refiner_loss(given, x0, last, rng)
        t = min_snr_times(network.process, 64 * batch, rng)
        t = t[t <= last]
        return denoising_loss(given, x0, rng, t[torch.randperm(len(t), generator=rng, device="cpu")[:batch]])

    ema = EMA(learner.net, 0.99, into=network.net)
    return train(loss, learner.net, steps, lr=lr, seconds=seconds, ema=ema, muon=muon)
