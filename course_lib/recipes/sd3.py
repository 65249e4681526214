"""Recipes for lesson 16: a miniature of Stable Diffusion 3, which draws shapes and writes words."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes, words
from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.mmdit import DiT
from course_lib.process import Process, RectifiedFlow
from course_lib.recipes.latents import listening_first, shipped_autoencoder
from course_lib.recipes.recipe import Recipe, device_of, learner_of
from course_lib.recipes.shapes import asked, shipped_reader, taught
from course_lib.samplers import ddim, rectified_flow, result
from course_lib.training import EMA, Progress, denoising_loss, train

PROCESS = RectifiedFlow(logit_normal=(0.0, 1.0))


def sd3_network(seed: int = 0, process: Process = PROCESS, view: str = "flow", joint: bool = True) -> Network:
    """An untrained denoiser for latents (B, 4, 8, 8) from prompts: an MM-DiT on a rectified flow with logit-normal times.

    Without `joint` it is the transformer with cross-attention of about the same size, two blocks deeper.
    """
    torch.manual_seed(seed)
    return Network(DiT(joint=joint, depth=4 if joint else 6), process, view)


def prompted(n: int, rng: torch.Generator) -> tuple[Tensor, list[str]]:
    """n fresh pictures (n, 3, 32, 32) with their prompts: one half words, the other scenes of shapes."""
    spelling, scene = words.sample(n // 2, rng), scenes.sample(n - n // 2, rng)
    x = torch.cat([words.draw(spelling, rng), shapes.draw(scene, rng)])
    return x, words.tell(spelling) + captions.tell(scene, rng)[0]


def train_sd3(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 2400) -> Iterator[Progress]:
    """Trains on the latents of fresh pictures, one prompt in ten made empty. Esser et al. 2024, sections 2 and 3.1.

    The text encoder starts as the shipped paraphraser's, and the network listens before it looks, as in lesson 09.
    """
    taught(network.net.text)
    device = device_of(network)
    through = shipped_autoencoder().to(device)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    times = listening_first(network.process, steps, rng)

    def loss() -> Tensor:
        x, said = prompted(64, rng)
        z = through.encode(x.to(device, memory_format=torch.channels_last), rng)
        return denoising_loss(learner.given(said).dropped(0.1, rng), z, rng, times(64))

    return train(loss, learner.net, steps, lr=1.5e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def prompt_guided(network: Network, said: list[str], w: float) -> Denoiser:
    """The network asked for these prompts at guidance w."""
    return ClassifierFree(network.given(said), network.given(NULL), w)


@torch.no_grad()
def latents_of(network: Network, said: list[str], w: float, steps: int = 25, seed: int = 1) -> Tensor:
    """Latents (N, 4, 8, 8) of the prompts, from noise that depends on the seed alone, by Euler steps on a flow, or by DDIM."""
    sampler = rectified_flow if isinstance(network.process, RectifiedFlow) else ddim
    noise = torch.randn(len(said), *network.net.shape, generator=torch.Generator().manual_seed(seed)).to(device_of(network))
    times, made = network.process.times(steps), []
    for i in range(0, len(said), 100):
        made.append(result(sampler(prompt_guided(network, said[i : i + 100], w), noise[i : i + 100], times)))
    return torch.cat(made)


def spelling_asked(n: int, new: bool, seed: int = 1) -> tuple[list[str], words.Spelling]:
    """n prompts for words, known from training or `new`, and the words."""
    spelling = words.sample(n, torch.Generator().manual_seed(seed), new)
    return words.tell(spelling), spelling


def sd3_figures(network: Network, n: int = 200) -> dict[str, float]:
    """How many words are spelt right, and what the reader of shapes finds, in n decoded pictures each, in 25 steps."""
    through, judge, found = shipped_autoencoder().to(device_of(network)), shipped_reader(), {}
    draw = lambda said, w: through.decode(latents_of(network, said, w)).cpu()
    for new, w in ((False, 3.0), (True, 3.0), (True, 1.0)):
        said, spelling = spelling_asked(n, new)
        right = words.agreement(words.read(draw(said, w)), spelling)
        found |= {f"{name}, {'new' if new else 'known'} words (w = {w:g})": right[name] for name in ("letters", "spelt")}
    for split, w in (("train", 3.0), ("new pairs", 3.0), ("new objects", 3.0), ("train", 1.0)):
        said, scene = asked(n, split)
        right = scenes.agreement(judge.read(draw(said, w)), scene)
        found |= {f"{name}, {split} (w = {w:g})": right[name] for name in ("binding", "all")}
    return found


SD3 = Recipe("shapes and short words from prompts: flow, MM-DiT, latents", sd3_network, train_sd3, sd3_figures, bits=16)
