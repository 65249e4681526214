"""Recipes for unCLIP: the prior from a caption to a CLIP image embedding, and the decoder from that embedding to a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import Network, device_of
from course_lib.methods.unclip import UnCLIP, image_embedding
from course_lib.nets.clip import CLIP
from course_lib.nets.text import TextUNet
from course_lib.nets.unclip import EmbeddingTokens, Prior
from course_lib.process import DDPM, seeded
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.training import EMA, TrainingState, denoising_loss, train
from course_lib.zoo.checkpoints import FOLDER, read, shipped
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net
from course_lib.zoo.recipes.shapes import (
    HIGH_NOISE_STEPS,
    MANY_PAIRS,
    half_middle,
    high_noise_first,
    load_text_encoder,
    shipped_detector,
)


def shipped_clip(folder: Path = FOLDER) -> CLIP:
    """The shipped CLIP of clean pictures, whose image embeddings the prior and the decoder use."""
    return shipped_net(CLIP(), "clip", folder)


def prior_network(seed: int = 0) -> Network:
    """An untrained prior: a denoiser of CLIP image embeddings (B, 64), conditioned on a caption, which predicts x_0."""
    torch.manual_seed(seed)
    return Network(Prior(), DDPM(cosine_beta(1000)), "x0")


def train_prior(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 1500, folder: Path = FOLDER
) -> Iterator[TrainingState]:
    """Trains on the CLIP image embeddings of fresh captioned pictures; one caption in ten is made empty.

    In the view x0 the simple loss is that of Ramesh et al. 2022, eq. 2. The text encoder starts from the paraphraser's weights.
    """
    load_text_encoder(network.net.text, folder=folder)
    learner, rng = learner_of(network), seeded(seed)
    clip = shipped_clip(folder).to(device_of(learner))

    def loss() -> Tensor:
        scene = scenes.sample(128, rng)
        prompts, _ = captions.tell(scene, rng)
        with torch.no_grad():
            z = image_embedding(clip, shapes.draw(scene, rng).to(device_of(learner)))
        return denoising_loss(learner.given(prompts).drop_condition(0.1, rng), z, rng)

    return train(loss, learner.net, steps, lr=2e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def decoder_network(seed: int = 0) -> Network:
    """An untrained decoder: lesson 09's text-conditional network, conditioned on a CLIP image embedding (B, 64) instead."""
    torch.manual_seed(seed)
    net = TextUNet(size=32, widths=(32, 64, 128), text=EmbeddingTokens()).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "x0")


def train_decoder(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 10_000, folder: Path = FOLDER
) -> Iterator[TrainingState]:
    """Trains on fresh pictures and their CLIP image embeddings, one in ten made null.

    All but the layers of the embedding start from the weights of `text2shape`. The times are those of its training, too.
    """
    weights, _ = read(shipped("text2shape", folder))
    known = {name: w.float() for name, w in weights.items() if not name.startswith("text.")}
    network.net.load_state_dict(network.net.state_dict() | known)
    learner, rng = learner_of(network), seeded(seed)
    clip = shipped_clip(folder).to(device_of(learner))
    times = high_noise_first(network.process, rng, HIGH_NOISE_STEPS, half_middle, steps // 4)

    def loss() -> Tensor:
        scene = scenes.sample(32, rng, MANY_PAIRS)
        x0 = shapes.draw(scene, rng).to(device_of(learner), memory_format=torch.channels_last)
        with torch.no_grad():
            z = image_embedding(clip, x0)
        t = times(len(x0))
        return denoising_loss(learner.given(z).drop_condition(0.1, rng), x0, rng, t)

    return train(loss, learner.net, steps, lr=1.5e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def prior_figures(network: Network, n: int = 1000, folder: Path = FOLDER) -> dict[str, Figure]:
    """The cosine similarity of n CLIP image embeddings with those of the prior, of the captions, and of other such pictures."""
    clip, rng = shipped_clip(folder), seeded(1)
    scene = scenes.sample(n, rng, ("pair",))
    prompts, _ = captions.tell(scene, rng)
    method = UnCLIP(clip, network, decoder_network())
    z = method.embed_images(shapes.draw(scene, rng))
    others = {
        "cosine of imagined and true": method.sample_prior(prompts, rng=rng),
        "cosine of the caption's and true": method.embed_captions(prompts),
        "cosine of two pictures of one caption": method.embed_images(shapes.draw(scene, rng)),
    }
    return {name: Figure.share(torch.cosine_similarity(other, z).mean()) for name, other in others.items()}


def decoder_figures(network: Network, n: int = 200, folder: Path = FOLDER) -> dict[str, Figure]:
    """The shares of n pictures that match the real pictures of pairs whose embeddings they are decoded from, w = 2."""
    evaluator, method, figures = shipped_detector(folder), UnCLIP(shipped_clip(folder), prior_network(), network), {}
    rng = seeded(1)
    for split in scenes.SPLITS:
        scene = scenes.sample(n, rng, ("pair",), split)
        x = method.sample(method.embed_images(shapes.draw(scene, rng)), rng=rng)
        right = scenes.agreement(evaluator.detect(x), scene)
        figures |= {f"{name}, {split}": Figure.share(right[name]) for name in ("colour", "shape", "binding", "relation")}
    return figures


PRIOR = Recipe("prior: from a caption to a CLIP image embedding", prior_network, train_prior, prior_figures, bits=16)
DECODER = Recipe("decoder: from a CLIP image embedding to a picture", decoder_network, train_decoder, decoder_figures, bits=8)
