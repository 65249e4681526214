"""Recipes for unCLIP: the prior from a caption to CLIP's vector of a picture, and the decoder from that vector to a picture."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib.checkpoints import read, shipped
from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import Network
from course_lib.nets.clip import CLIP
from course_lib.nets.text import TextUNet
from course_lib.nets.unclip import Prior, VectorAsWords
from course_lib.process import DDPM
from course_lib.recipes.recipe import Recipe, device_of, learner_of, shipped_net
from course_lib.recipes.shapes import MANY_PAIRS, listening_then_shaping, shipped_reader, taught
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.training import EMA, Progress, denoising_loss, train
from course_lib.unclip import UnCLIP, seen


def shipped_clip() -> CLIP:
    """The CLIP of clean pictures that ships: whose vectors are imagined and drawn."""
    return shipped_net(CLIP(), "clip")


def prior_network(seed: int = 0) -> Network:
    """An untrained prior: a denoiser of CLIP's vectors (B, 64), which takes a caption and predicts the clean vector."""
    torch.manual_seed(seed)
    return Network(Prior(), DDPM(cosine_beta(1000)), "x0")


def train_prior(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 1500) -> Iterator[Progress]:
    """Trains on fresh captioned pictures, whose vectors the shipped CLIP gives; one caption in ten is made empty.

    In the view x0 the simple loss is that of Ramesh et al. 2022, eq. 2. The text encoder starts as the paraphraser's.
    """
    taught(network.net.text)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    clip = shipped_clip().to(device_of(learner))

    def loss() -> Tensor:
        scene = scenes.sample(128, rng)
        said, _ = captions.tell(scene, rng)
        with torch.no_grad():
            z = seen(clip, shapes.draw(scene, rng).to(device_of(learner)))
        return denoising_loss(learner.given(said).dropped(0.1, rng), z, rng)

    return train(loss, learner.net, steps, lr=2e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def decoder_network(seed: int = 0) -> Network:
    """An untrained decoder: the network that draws captions, but that a vector of CLIP (B, 64) stands for the words."""
    torch.manual_seed(seed)
    net = TextUNet(size=32, widths=(32, 64, 128), text=VectorAsWords()).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "x0")


def train_decoder(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 10_000) -> Iterator[Progress]:
    """Trains on fresh pictures and the vectors that the shipped CLIP gives of them, one in ten made null.

    All but what reads the vector starts from the network that draws captions, which knows how pictures look. It listens first
    and shapes later, as that one did.
    """
    weights, _ = read(shipped("text2shape"))
    known = {name: w.float() for name, w in weights.items() if not name.startswith("text.")}
    network.net.load_state_dict(network.net.state_dict() | known)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    clip, times = shipped_clip().to(device_of(learner)), listening_then_shaping(network.process, steps, rng)

    def loss() -> Tensor:
        scene = scenes.sample(32, rng, MANY_PAIRS)
        x0 = shapes.draw(scene, rng).to(device_of(learner), memory_format=torch.channels_last)
        with torch.no_grad():
            z = seen(clip, x0)
        t = times(len(x0))
        return denoising_loss(learner.given(z).dropped(0.1, rng), x0, rng, t)

    return train(loss, learner.net, steps, lr=1.5e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def prior_figures(network: Network, n: int = 1000) -> dict[str, float]:
    """How alike the vector that the prior imagines and that of a picture of the caption are, beside the caption's own."""
    clip, rng = shipped_clip(), torch.Generator().manual_seed(1)
    scene = scenes.sample(n, rng, ("pair",))
    said, _ = captions.tell(scene, rng)
    method = UnCLIP(clip, network, decoder_network())
    true, imagined, read_ = method.seen(shapes.draw(scene, rng)), method.imagined(said, rng=rng), method.read(said)
    alike = lambda z: float(torch.cosine_similarity(z, true).mean())
    again = method.seen(shapes.draw(scene, rng))
    return {
        "cosine of imagined and true": alike(imagined),
        "cosine of the caption's and true": alike(read_),
        "cosine of two pictures of one caption": alike(again),
    }


def decoder_figures(network: Network, n: int = 200) -> dict[str, float]:
    """What the shipped reader finds in pictures drawn of the vectors of n real pictures of pairs, at w = 2, of each split."""
    judge, method, found = shipped_reader(), UnCLIP(shipped_clip(), prior_network(), network), {}
    rng = torch.Generator().manual_seed(1)
    for split in scenes.SPLITS:
        scene = scenes.sample(n, rng, ("pair",), split)
        x = method.drawn(method.seen(shapes.draw(scene, rng)), rng=rng)
        right = scenes.agreement(judge.read(x), scene)
        found |= {f"{name}, {split}": right[name] for name in ("colour", "shape", "binding", "relation")}
    return found


PRIOR = Recipe("from a caption to CLIP's vector of a picture", prior_network, train_prior, prior_figures, bits=16)
DECODER = Recipe("from CLIP's vector to a picture", decoder_network, train_decoder, decoder_figures, bits=8)
