"""Recipes for lesson 16: Stable Diffusion 3 in miniature, for pictures of shapes and of words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from course_lib import validate
from course_lib.datasets import captions, scenes, shapes, words
from course_lib.denoisers import Network, device_of
from course_lib.guidance import classifier_free
from course_lib.nets.autoencoder import Autoencoder
from course_lib.nets.mmdit import DiT
from course_lib.process import RectifiedFlow, seeded
from course_lib.samplers import rectified_flow, sample
from course_lib.training import EMA, TrainingState, denoising_loss, train, warm_restarts
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.latents import shipped_autoencoder
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of
from course_lib.zoo.recipes.shapes import load_text_encoder, pair_figures

PROCESS = RectifiedFlow(logit_normal=(0.7, 1.0))
"""Most times at high noise, where the prompt lowers the loss most: letters are learned sooner than with a mean of 0."""
MIDDLE = RectifiedFlow(logit_normal=(0.0, 1.0))
"""The times of the paper, for scenes. With PROCESS alone, colours are lost from t = 0.6 on, more so at stronger guidance."""
GRID = 2
"""Words start at every second pixel of their font, the size of a latent's cell there, so that each letter has one code."""


def sd3_network(seed: int = 0, joint: bool = True) -> Network:
    """An untrained denoiser for latents (B, 4, 8, 8) from prompts: an MM-DiT on a rectified flow with logit-normal times.

    Without `joint` it is the transformer with cross-attention of about the same size, two blocks deeper.
    """
    torch.manual_seed(seed)
    return Network(DiT(joint=joint, depth=4 if joint else 6), PROCESS, "flow")


def prompted(n: int, rng: torch.Generator) -> tuple[Tensor, list[str]]:
    """n fresh pictures (n, 3, 32, 32) with their prompts: one half words, the other scenes of shapes."""
    spelling, scene = words.sample(n // 2, rng), scenes.sample(n - n // 2, rng)
    x = torch.cat([words.draw(spelling, rng, GRID), shapes.draw(scene, rng)])
    return x, words.tell(spelling) + captions.tell(scene, rng)[0]


def prompted_loss(learner: Network, through: Autoencoder, rng: torch.Generator, of_scenes: RectifiedFlow = PROCESS) -> Tensor:
    """The loss on the latents of 32 fresh pictures, one prompt in ten made empty: Esser et al. 2024, sections 2 and 3.1.

    Words and scenes are separate batches, since a word has half as many tokens. The times of scenes are those of `of_scenes`.
    """
    x, prompts = prompted(32, rng)
    z = through.encode(x.to(device_of(learner), memory_format=torch.channels_last), rng)
    half = lambda z, prompts, of: denoising_loss(learner.given(prompts).drop_condition(0.1, rng), z, rng, of.sample_t(16, rng))
    return (half(z[:16], prompts[:16], PROCESS) + half(z[16:], prompts[16:], of_scenes)) / 2


def train_sd3(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 12_000, cycles: int = 2, folder: Path = FOLDER
) -> Iterator[TrainingState]:
    """Trains on the latents of fresh pictures with their prompts, in cycles of the rate, each from the last one's average.

    From the second cycle on, scenes are trained at the times of MIDDLE: by then the network uses the prompt. The text encoder
    is the paraphraser's, frozen as the three of the paper are. The embeddings of letters are learned.
    """
    limit = None if seconds is None else validate.positive("seconds", seconds) / cycles
    load_text_encoder(network.net.text, folder=folder)
    through = shipped_autoencoder(folder).to(device_of(network))

    def cycle(k: int) -> Iterator[TrainingState]:
        learner, rng = learner_of(network), seeded(seed + k)
        learner.net.text.requires_grad_(False)
        ema = EMA(learner.net, 0.998, into=network.net)
        loss = lambda: prompted_loss(learner, through, rng, MIDDLE if k else PROCESS)
        return train(loss, learner.net, steps // cycles, lr=3e-3, seconds=limit, ema=ema)

    return warm_restarts(cycle, cycles)


def spelling_prompts(n: int, new: bool, seed: int = 1) -> tuple[list[str], words.Spelling]:
    """n prompts for words, of the training set or `new`, and the words."""
    spelling = words.sample(n, seeded(seed), new)
    return words.tell(spelling), spelling


def sd3_figures(network: Network, n: int = 200, folder: Path = FOLDER) -> dict[str, Figure]:
    """The shares of n decoded words that are spelt right, and of n scenes that match their captions, in 25 Euler steps."""
    noise, through, figures = network.draw_noise(n, seeded(1)), shipped_autoencoder(folder), {}
    draw = lambda prompts, w: through.decode(sample(classifier_free(network, prompts, w), noise, 25, rectified_flow))
    for new, w in ((False, 3.0), (True, 3.0), (True, 1.0)):
        prompts, spelling = spelling_prompts(n, new)
        right, which = words.agreement(words.read(draw(prompts, w)), spelling), "new" if new else "known"
        figures |= {f"{name}, {which} words (w = {w:g})": Figure.share(right[name]) for name in ("letters", "spelt")}
    return figures | pair_figures(draw, n, folder)


SD3 = Recipe(
    "shapes and short words from prompts: flow, MM-DiT, latents",
    sd3_network,
    train_sd3,
    sd3_figures,
    (3, 32, 32),
    captions=True,
    sampler="rectified_flow",
    decoder="autoencoder",
    bits=8,
)
