"""Recipes for lesson 16: a miniature of Stable Diffusion 3, which draws shapes and writes words."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes, words
from course_lib.denoisers import Network
from course_lib.nets.autoencoder import Autoencoder
from course_lib.nets.mmdit import DiT
from course_lib.process import RectifiedFlow
from course_lib.recipes.latents import shipped_autoencoder
from course_lib.recipes.recipe import Recipe, device_of, learner_of
from course_lib.recipes.shapes import drawn, pair_figures, taught
from course_lib.samplers import rectified_flow
from course_lib.training import EMA, Progress, denoising_loss, in_cycles, train

PROCESS = RectifiedFlow(logit_normal=(0.7, 1.0))
"""Most times at much noise, where the prompt is worth most: letters are learned sooner than with a mean of 0."""
MIDDLE = RectifiedFlow(logit_normal=(0.0, 1.0))
"""The paper's own times, for scenes: their colours are still lost from t = 0.6 on, the more so the stronger the guidance."""
GRID = 2
"""Dots from one place where a word may begin to the next: those of a latent's place, so that each letter has one code there."""


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

    Words and scenes go through the network apart, since a word has half as many tokens; the scenes' times are `of_scenes`.
    """
    x, said = prompted(32, rng)
    z = through.encode(x.to(device_of(learner), memory_format=torch.channels_last), rng)
    half = lambda z, said, of: denoising_loss(learner.given(said).dropped(0.1, rng), z, rng, of.sample_t(16, rng))
    return (half(z[:16], said[:16], PROCESS) + half(z[16:], said[16:], of_scenes)) / 2


def train_sd3(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 12_000, cycles: int = 2
) -> Iterator[Progress]:
    """Trains on the latents of fresh pictures with their prompts, in cycles of the rate, each from the last one's average.

    From the second on, when the prompt is heard already, scenes are trained at the times of MIDDLE. The text encoder is the
    shipped paraphraser's and stays as it is, like the three of the paper; letters are learned.
    """
    taught(network.net.text)
    through = shipped_autoencoder().to(device_of(network))

    def cycle(k: int) -> Iterator[Progress]:
        learner, rng = learner_of(network), torch.Generator().manual_seed(seed + k)
        learner.net.text.requires_grad_(False)
        ema = EMA(learner.net, 0.998, into=network.net)
        loss = lambda: prompted_loss(learner, through, rng, MIDDLE if k else PROCESS)
        return train(loss, learner.net, steps // cycles, lr=3e-3, seconds=seconds and seconds / cycles, ema=ema)

    return in_cycles(cycle, cycles)


def latents_of(network: Network, said: list[str], w: float, steps: int = 25, seed: int = 1) -> Tensor:
    """Latents (N, 4, 8, 8) of the prompts, by Euler steps from noise that depends on the seed alone."""
    return drawn(network, said, w, steps, seed, rectified_flow)


def spelling_asked(n: int, new: bool, seed: int = 1) -> tuple[list[str], words.Spelling]:
    """n prompts for words, known from training or `new`, and the words."""
    spelling = words.sample(n, torch.Generator().manual_seed(seed), new)
    return words.tell(spelling), spelling


def sd3_figures(network: Network, n: int = 200) -> dict[str, float]:
    """How many words are spelt right, and what the reader of shapes finds, in n decoded pictures each, in 25 steps."""
    device, found = device_of(network), {}
    through = shipped_autoencoder().to(device)
    draw = lambda said, w: through.decode(latents_of(network, said, w).to(device)).cpu()
    for new, w in ((False, 3.0), (True, 3.0), (True, 1.0)):
        said, spelling = spelling_asked(n, new)
        right = words.agreement(words.read(draw(said, w)), spelling)
        found |= {f"{name}, {'new' if new else 'known'} words (w = {w:g})": right[name] for name in ("letters", "spelt")}
    return found | pair_figures(draw, n)


SD3 = Recipe("shapes and short words from prompts: flow, MM-DiT, latents", sd3_network, train_sd3, sd3_figures, bits=8)
