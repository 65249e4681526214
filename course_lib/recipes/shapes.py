"""Recipes for pictures of shapes: the reader that judges them, and the network that draws what a caption says."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, pad

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import Scene
from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.reader import Reader, reading_loss
from course_lib.nets.text import Paraphraser, TextEncoder, TextUNet
from course_lib.process import DDPM
from course_lib.recipes.recipe import Recipe, device_of, learner_of, shipped_net
from course_lib.samplers import Step, ddim, result
from course_lib.schedules import linear_beta
from course_lib.training import EMA, Progress, denoising_loss, train

LISTENING = 600
"""Steps at the start of training in which a network hears captions, and sees next to nothing."""
NOISE, BLUR = 0.1, 0.6
"""The limits within which the reader is held to its word: standard deviations, of noise (white is 1, black -1) and of a blur,
in pixels. It is trained on twice the noise and a little more blur."""
MANY_PAIRS = (*scenes.KINDS, "pair", "pair")
"""The kinds of scenes that painters learn from: three in five are pairs, the hardest to draw."""

# The reader that judges the shapes


def reader(seed: int = 0) -> Reader:
    """An untrained reader of shapes."""
    torch.manual_seed(seed)
    return Reader()


def worn(x: Tensor, noise: float, blur: float, rng: torch.Generator | None = None) -> Tensor:
    """Pictures (B, 3, H, W), blurred by `blur` pixels and then noised by `noise`, both standard deviations."""
    line = torch.exp(-(torch.arange(-2, 3.0) ** 2) / (2 * max(blur, 0.05) ** 2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    blurred = conv2d(pad(x, (2, 2, 2, 2), mode="replicate"), kernel.expand(3, 1, 5, 5), groups=3)
    return blurred + noise * torch.randn(x.shape, generator=rng)


def train_reader(net: Reader, seconds: float | None = None, seed: int = 0, steps: int = 2000) -> Iterator[Progress]:
    """Trains on fresh scenes of all kinds, held-out ones too, half of each batch noised and blurred."""
    learner, rng = copy.deepcopy(net).train().requires_grad_(), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        scene = scenes.join([scenes.sample(48, rng), scenes.sample(16, rng, split="new objects")])
        where = shapes.layout(scene, rng)
        x = shapes.paint(scene, where)
        noise, blur = torch.rand(2, generator=rng).tolist()
        x[::2] = worn(x[::2], 2 * NOISE * noise, 1.2 * BLUR * blur, rng)
        return reading_loss(learner(x.to(device_of(learner))), scene, where)

    return train(loss, learner, steps, lr=3e-3, seconds=seconds, ema=EMA(learner, 0.998, into=net), weight_decay=0.01)


def reader_figures(net: Reader, n: int = 10_000) -> dict[str, float]:
    """The share of n fresh pictures of which it reads everything right, of each split, and at the limits of noise and blur."""
    rng, found = torch.Generator().manual_seed(1), {}

    def judged(scene: Scene, noise: float = 0.0, blur: float = 0.0) -> float:
        x = worn(shapes.draw(scene, rng), noise, blur, rng)
        return scenes.agreement(net.read(x.to(device_of(net))), scene)["all"]

    for split in scenes.SPLITS:
        kinds = ("pair",) if split == "new pairs" else scenes.KINDS
        found[f"all read right, {split}"] = judged(scenes.sample(n, rng, kinds, split))
    found[f"all read right, noise of {NOISE:g}"] = judged(scenes.sample(n, rng), noise=NOISE)
    found[f"all read right, blur of {BLUR:g} pixels"] = judged(scenes.sample(n, rng), blur=BLUR)
    return found


# Text to text


def paraphraser(seed: int = 0) -> Paraphraser:
    """An untrained paraphraser of captions."""
    torch.manual_seed(seed)
    return Paraphraser()


def train_paraphraser(net: Paraphraser, seconds: float | None = None, seed: int = 0, steps: int = 1200) -> Iterator[Progress]:
    """Trains on fresh captions and their plain forms: text alone, no pictures."""
    learner, rng = copy.deepcopy(net).train().requires_grad_(), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        said, told = captions.tell(scenes.sample(128, rng), rng)
        said, plain = (captions.tokens(text).to(device_of(learner)) for text in (said, captions.describe(told)))
        return cross_entropy(learner(said).flatten(0, 1), plain.flatten())

    return train(loss, learner, steps, lr=2e-3, seconds=seconds, ema=EMA(learner, 0.998, into=net), weight_decay=0.01)


@torch.no_grad()
def paraphraser_figures(net: Paraphraser, n: int = 2000) -> dict[str, float]:
    """The share of n captions of each split whose plain form it writes without one wrong word."""
    rng, found = torch.Generator().manual_seed(1), {}
    for split in scenes.SPLITS:
        said, told = captions.tell(scenes.sample(n, rng, ("pair",) if split == "new pairs" else scenes.KINDS, split), rng)
        said, plain = (captions.tokens(text).to(device_of(net)) for text in (said, captions.describe(told)))
        found[f"plain form right, {split}"] = float((net(said).argmax(2) == plain).all(1).double().mean())
    return found


def taught(encoder: TextEncoder, name: str = "paraphraser") -> None:
    """Gives a text encoder the weights of a shipped paraphraser's, of the same size, which knows the language."""
    layers = encoder.layers.layers
    net = Paraphraser(encoder.width, len(layers), layers[0].self_attn.num_heads)
    encoder.load_state_dict(shipped_net(net, name).encoder.state_dict())


# From text to shapes


def text2shape_network(seed: int = 0) -> Network:
    """An untrained text-conditional denoiser for pictures (B, 3, 32, 32): a U-Net with cross-attention that predicts x_0.

    Over the linear schedule, since what lies where is settled in much noise, where the cosine schedule spends little time. It
    predicts the picture itself: where 2 x 2 pixels of three colours go into 32 channels, noise does not fit through.
    """
    torch.manual_seed(seed)
    net = TextUNet(size=32, widths=(32, 64, 128)).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "x0")


def train_text2shape(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 11_000) -> Iterator[Progress]:
    """Trains on fresh captioned pictures, one caption in ten made empty: Ho and Salimans 2022, Algorithm 1, with text.

    The text encoder starts as the shipped paraphraser's, and goes on learning.
    """
    taught(network.net.text)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    times = listening_then_shaping(network.process, steps, rng)

    def loss() -> Tensor:
        scene = scenes.sample(32, rng, MANY_PAIRS)
        said, _ = captions.tell(scene, rng)
        x0 = shapes.draw(scene, rng).to(device_of(learner), memory_format=torch.channels_last)
        t = times(len(x0))
        return denoising_loss(learner.given(said).dropped(0.1, rng), x0, rng, t)

    return train(loss, learner.net, steps, lr=1.5e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def listening_then_shaping(process: DDPM, steps: int, rng: torch.Generator) -> Callable[[int], Tensor]:
    """A function that draws a batch of training times (B,), for the next of all `steps` each time that it is called.

    The first LISTENING steps see much noise only, t of 0.7 T and more, where nothing but the condition says what lies where:
    else a network learns to look before it learns to listen, and takes a caption for a bag of words. After a quarter of the
    steps half of each batch lies at a quarter to three quarters of T, where an object's outline is decided.
    """
    count = itertools.count(1)

    def times(n: int) -> Tensor:
        step, t = next(count), process.sample_t(n, rng)
        if step <= LISTENING:
            return process.T - (0.3 * t).long()
        if step > steps // 4:
            t[::2] = process.T // 4 + t[::2] // 2
        return t

    return times


def asked(n: int, split: str, seed: int = 1) -> tuple[list[str], Scene]:
    """n captions of pairs, all that is said in them, for judging by: both objects, colours, shapes, sizes and the relation."""
    rng = torch.Generator().manual_seed(seed)
    return captions.tell(scenes.sample(n, rng, ("pair",), split), rng)


@torch.no_grad()
def walked(
    ask: Callable[[Any], Denoiser],
    network: Network,
    given: list[str] | Tensor,
    steps: int,
    seed: int,
    sampler: Callable[[Denoiser, Tensor, Tensor], Iterator[Step]] = ddim,
) -> Tensor:
    """What `ask(part)`, a denoiser of the network, draws of all that is given, N captions or small pictures, a hundred at a
    time: (N, *network.net.shape). The noise depends on the seed alone."""
    noise = torch.randn(len(given), *network.net.shape, generator=torch.Generator().manual_seed(seed))
    made = []
    for i in range(0, len(given), 100):
        start = noise[i : i + 100].to(device_of(network))
        made.append(result(sampler(ask(given[i : i + 100]), start, network.process.times(steps))).cpu())
    return torch.cat(made)


def drawn(
    network: Network, said: list[str], w: float, steps: int = 25, seed: int = 1, sampler: Callable[..., Iterator[Step]] = ddim
) -> Tensor:
    """Pictures, or latents to decode, of the captions, (N, *network.net.shape), by guidance w; see `walked`."""
    ask = lambda part: ClassifierFree(network.given(part), network.given(NULL), w)
    return walked(ask, network, said, steps, seed, sampler)


def shipped_reader() -> Reader:
    """The reader that ships: what all figures of shapes are read by."""
    return shipped_net(Reader(), "reader")


def pair_figures(draw: Callable[[list[str], float], Tensor], n: int) -> dict[str, float]:
    """What the shipped reader finds in n pictures (n, 3, 32, 32) of pairs of each split, `draw(captions, w)`."""
    judge, found = shipped_reader(), {}
    for split, w in (("train", 3.0), ("new pairs", 3.0), ("new objects", 3.0), ("train", 1.0)):
        said, scene = asked(n, split)
        right = scenes.agreement(judge.read(draw(said, w)), scene)
        found |= {f"{name}, {split} (w = {w:g})": right[name] for name in ("binding", "all")}
    return found


def text2shape_figures(network: Network, n: int = 200) -> dict[str, float]:
    """What the shipped reader finds in n pictures of pairs of each split, 25 DDIM steps."""
    return pair_figures(lambda said, w: drawn(network, said, w), n)


READER = Recipe("the judge of shapes", reader, train_reader, reader_figures)
PARAPHRASER = Recipe("the plain form of a caption", paraphraser, train_paraphraser, paraphraser_figures, bits=16)
TEXT2SHAPE = Recipe("shapes from captions, 32 x 32", text2shape_network, train_text2shape, text2shape_figures, bits=8)
