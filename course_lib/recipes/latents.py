"""Recipes for latent diffusion: the autoencoder, and the network that draws in its latents what a caption says."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes, words
from course_lib.denoisers import Network
from course_lib.distillation import guided_consistency_loss
from course_lib.latents import autoencoder_loss, psnr, unit_scale
from course_lib.nets.autoencoder import Autoencoder
from course_lib.nets.text import TextUNet
from course_lib.process import DDPM
from course_lib.recipes.distillation import older_weights, taught_by
from course_lib.recipes.recipe import Recipe, device_of, learner_of, shipped_net
from course_lib.recipes.shapes import asked, drawn, pair_figures, shipped_reader, taught
from course_lib.samplers import consistency, result
from course_lib.schedules import linear_beta
from course_lib.training import EMA, Progress, denoising_loss, train

# The autoencoder


def autoencoder(seed: int = 0) -> Autoencoder:
    """An untrained autoencoder of pictures (B, 3, 32, 32) with latents (B, 4, 8, 8)."""
    torch.manual_seed(seed)
    return Autoencoder(factor=4, channels=4).to(memory_format=torch.channels_last)


def some_pictures(n: int, rng: torch.Generator) -> Tensor:
    """n fresh pictures (n, 3, 32, 32) without captions, a quarter of them of words."""
    x = [shapes.draw(scenes.sample(n - n // 4, rng), rng), words.draw(words.sample(n // 4, rng), rng)]
    return torch.cat(x).to(memory_format=torch.channels_last)


def train_autoencoder(net: Autoencoder, seconds: float | None = None, seed: int = 0, steps: int = 3600) -> Iterator[Progress]:
    """Trains on fresh pictures of shapes and of words, and at the end measures the scale of the latents."""
    learner, rng = copy.deepcopy(net).train().requires_grad_(), torch.Generator().manual_seed(seed)
    loss = lambda: autoencoder_loss(learner, some_pictures(32, rng).to(device_of(learner)), 5e-4, rng)
    yield from train(loss, learner, steps, lr=3e-3, seconds=seconds, ema=EMA(learner, 0.995, into=net))
    net.scale.copy_(unit_scale(net.encode(some_pictures(2000, rng).to(device_of(net)), rng)))


@torch.no_grad()
def autoencoder_figures(net: Autoencoder, n: int = 1000) -> dict[str, float]:
    """How well n fresh pictures of each kind come back, by PSNR and by what is read in them, and the spread of the latents."""
    rng, found = torch.Generator().manual_seed(1), {}

    def back(x: Tensor) -> Tensor:
        return net.decode(net.encode(x.to(device_of(net)), rng)).cpu()

    for split in ("train", "new objects"):
        scene = scenes.sample(n, rng, split=split)
        x = shapes.draw(scene, rng)
        found[f"PSNR in decibels, shapes, {split}"] = psnr(back(x), x)
        found[f"all read right, {split}"] = scenes.agreement(shipped_reader().read(back(x)), scene)["all"]
    spelling = words.sample(n, rng, new=True)
    x = words.draw(spelling, rng)
    found["PSNR in decibels, words"] = psnr(back(x), x)
    found["words read right"] = words.agreement(words.read(back(x)), spelling)["all"]
    found["standard deviation of the latents, unscaled"] = 1 / float(net.scale)
    return found


def shipped_autoencoder() -> Autoencoder:
    """The autoencoder that ships: whose latents lessons 12 and 16 draw in."""
    return shipped_net(autoencoder(), "autoencoder")


# From text to latents of shapes


def latent2shape_network(
    seed: int = 0,
    size: int = 8,
    widths: tuple[int, ...] = (48, 96),
    channels: int = 4,
    patch: int = 1,
    guided: bool = False,
) -> Network:
    """An untrained text-conditional denoiser for latents (B, channels, size, size): lesson 09's U-Net, process and view."""
    torch.manual_seed(seed)
    net = TextUNet(size, widths, channels=channels, patch=patch, guided=guided).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "v")


def listening_first(process: DDPM, steps: int, rng: torch.Generator, outlining: bool = False) -> Callable[[int], Tensor]:
    """A function that draws a batch of training times (B,): in the first fifth of all `steps` 0.7 T and more, then as ever.

    In much noise nothing but the words says what lies where: see `listening_then_shaping`. `outlining`: after that fifth every
    other time lies at 0.3 T and less.
    """
    step = itertools.count()

    def times(n: int) -> Tensor:
        t = process.sample_t(n, rng)
        if next(step) < steps // 5:
            return process.T - (0.3 * t).long()
        if outlining:
            t[::2] = (0.3 * t[::2]).ceil().long()
        return t

    return times


def train_latent2shape(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 2600,
    through: Autoencoder | None = None,
    batch: int = 64,
) -> Iterator[Progress]:
    """Trains on the latents of fresh captioned pictures, one caption in ten made empty.

    `through` is the autoencoder, the shipped one by default. Rombach et al. 2022, section 3.3, eq. 3, in the network's view.
    The text encoder starts as the shipped paraphraser's, and the network listens before it looks, as in lesson 09.
    """
    taught(network.net.text)
    device = device_of(network)
    through = (through or shipped_autoencoder()).to(device)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    times = listening_first(network.process, steps, rng)

    def loss() -> Tensor:
        scene = scenes.sample(batch, rng)
        said, _ = captions.tell(scene, rng)
        z = through.encode(shapes.draw(scene, rng).to(device, memory_format=torch.channels_last), rng)
        return denoising_loss(learner.given(said).dropped(0.1, rng), z, rng, times(batch))

    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def latent2shape_figures(network: Network, n: int = 200) -> dict[str, float]:
    """What the shipped reader finds in n decoded pictures of pairs of each split, 25 DDIM steps."""
    through, device = shipped_autoencoder().to(device_of(network)), device_of(network)
    return pair_figures(lambda said, w: through.decode(drawn(network, said, w).to(device)).cpu(), n)


# Latent consistency


def latent_student_network(seed: int = 0) -> Network:
    """The network of latents of shapes with guidance w as one more input."""
    return latent2shape_network(seed, guided=True)


def train_latent_student(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 9600
) -> Iterator[Progress]:
    """Distils the latent model at every guidance w of 1..5. Luo et al. 2023 (LCM), Algorithm 1.

    Skips k = 40 of 1,000 steps, twice their 20: over fewer links of the chain from noise to picture fewer errors add up.
    """
    device = device_of(network)
    teacher, through = taught_by("latent2shape", network, latent2shape_network), shipped_autoencoder().to(device)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    older = older_weights(learner, 0.95)

    def loss() -> Tensor:
        scene = scenes.sample(32, rng)
        said, _ = captions.tell(scene, rng)
        z = through.encode(shapes.draw(scene, rng).to(device, memory_format=torch.channels_last), rng)
        return guided_consistency_loss(learner, older(), teacher, z, said, n=25, most=5.0, least=1.0, rng=rng)

    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


@torch.no_grad()
def latents_jumped(network: Network, said: list[str], w: float, steps: int, seed: int = 1) -> Tensor:
    """Latents (N, *shape) of the captions in a few jumps of the student, told w; noise depends on the seed alone."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(said), *network.net.shape, generator=rng).to(device_of(network))
    return result(consistency(network.given(said).at(w), noise, network.process.times(steps), rng))


def latent_student_figures(network: Network, n: int = 200) -> dict[str, float]:
    """What the shipped reader finds in n decoded pictures of pairs in 1, 2 and 4 steps, told w = 3."""
    judge, through, found = shipped_reader(), shipped_autoencoder().to(device_of(network)), {}
    said, scene = asked(n, "train")
    for k in (1, 2, 4):
        right = scenes.agreement(judge.read(through.decode(latents_jumped(network, said, 3.0, k)).cpu()), scene)
        found |= {f"{name}, {k} step{'s' * (k > 1)} (w = 3)": right[name] for name in ("binding", "all")}
    return found


AUTOENCODER = Recipe("pictures to latents and back, f = 4", autoencoder, train_autoencoder, autoencoder_figures, bits=16)
LATENT2SHAPE = Recipe(
    "latents of shapes from captions, 8 x 8", latent2shape_network, train_latent2shape, latent2shape_figures, bits=8
)
LATENT_STUDENT = Recipe(
    "latents of shapes in few steps, w an input", latent_student_network, train_latent_student, latent_student_figures, bits=8
)
