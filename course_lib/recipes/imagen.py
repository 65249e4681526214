"""Recipes for lesson 13: text encoders that never saw a picture, a base that listens to one of them, and an upsampler."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import metrics
from course_lib.cascades import augmented, upsampler_loss
from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import Scene
from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.guidance import ClassifierFree, StaticThreshold
from course_lib.latents import psnr
from course_lib.nets.efficient import EfficientUNet
from course_lib.nets.language import MASK, LanguageModel, hidden, masked_loss
from course_lib.nets.reader import Reader
from course_lib.nets.text import Paraphraser, TextEncoder, TextUNet
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, randn_like
from course_lib.recipes.latents import listening_first
from course_lib.recipes.recipe import Recipe, device_of, learner_of, shipped_net
from course_lib.recipes.shapes import asked, paraphraser_figures, shipped_reader, taught, train_paraphraser, walked
from course_lib.schedules import linear_beta
from course_lib.training import EMA, Progress, denoising_loss, train

SIDE = 16
"""Pixels of a side of what the base draws."""
SMALL_TEXT, LARGE_TEXT = (16, 1, 2), (64, 2, 4)
"""Width, depth and heads of the two text encoders, those of a paraphraser and of a smaller one."""
SMALL_UNET, LARGE_UNET = (16, 32, 64), (24, 48, 96)
"""Channels of the two U-Nets, on maps of 16 x 16, 8 x 8 and 4 x 4. Pixels are not folded: at 16 x 16 a star is a handful of
them, and a base whose finest map was 8 x 8 never learned to draw one."""

# Text encoders, trained on text alone


def language_model(seed: int = 0) -> LanguageModel:
    """An untrained language model of captions."""
    torch.manual_seed(seed)
    return LanguageModel()


def train_language(net: LanguageModel, seconds: float | None = None, seed: int = 0, steps: int = 1500) -> Iterator[Progress]:
    """Trains on fresh captions, of no picture, to guess hidden words: Devlin et al. 2019."""
    learner, rng = copy.deepcopy(net).train().requires_grad_(), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        said, _ = captions.tell(scenes.sample(128, rng), rng)
        tokens = captions.tokens(said).to(device_of(learner))
        shown, chosen = hidden(tokens, rng)
        return masked_loss(learner(shown), tokens, chosen)

    return train(loss, learner, steps, lr=2e-3, seconds=seconds, ema=EMA(learner, 0.998, into=net), weight_decay=0.01)


@torch.no_grad()
def language_figures(net: LanguageModel, n: int = 2000) -> dict[str, float]:
    """How many words it hesitates between, on n fresh captions, and what is read from its nouns, see `read_from_nouns`. It was
    never told that colours belong to nouns."""
    rng = torch.Generator().manual_seed(1)
    tokens = captions.tokens(captions.tell(scenes.sample(n, rng), rng)[0]).to(device_of(net))
    _, chosen = hidden(tokens, rng)
    loss = masked_loss(net(torch.where(chosen, MASK, tokens)), tokens, chosen)
    return {"perplexity of hidden words": float(loss.exp()), **read_from_nouns(net.text, n)}


NOUNS = torch.tensor([captions.TOKEN[noun] for nouns in captions.NOUNS.values() for noun in nouns])
SHAPES = torch.tensor([scenes.SHAPES.index(shape) for shape, nouns in captions.NOUNS.items() for _ in nouns])
COLOURS = torch.tensor([captions.TOKEN[colour] for colour in scenes.COLOURS])


@torch.no_grad()
def read_from_nouns(text: TextEncoder, n: int = 2000, seed: int = 2) -> dict[str, float]:
    """From what share of the nouns in n captions of pairs a linear map reads their object's colour (chance is one in six), and
    which of the two it is, the left or upper one or the other (chance is a half).

    The map is a ridge regression on n other captions.
    """
    rng = torch.Generator().manual_seed(seed)
    said, told = captions.tell(scenes.sample(2 * n, rng, ("pair",)), rng)
    tokens = captions.tokens(said)
    row, place = torch.isin(tokens, NOUNS).nonzero(as_tuple=True)
    before, after = tokens[row, place - 1], tokens[row, (place + 3).clamp(max=captions.LENGTH - 1)]
    colour = torch.where(torch.isin(before, COLOURS), before, after)  # "a red circle", "a circle that is red"
    shape = SHAPES[(tokens[row, place][:, None] == NOUNS).int().argmax(1)]
    first = (shape == told.shape[row, 0]) & (colour == COLOURS[told.colour[row, 0]])
    vectors, old = text(tokens.to(device_of(text)))[0].cpu()[row, place], row < n
    x = torch.cat([vectors, torch.ones(len(vectors), 1)], 1)

    def read(truth: Tensor) -> float:
        weights = torch.linalg.solve(x[old].T @ x[old] + 0.1 * torch.eye(x.shape[1]), x[old].T @ truth[old].float())
        return float(((x[~old] @ weights).argmax(1) == truth[~old].int().argmax(1)).double().mean())

    return {
        "colour read from its noun": read(colour[:, None] == COLOURS),
        "which of two read from its noun": read(torch.stack([first, ~first], 1)),
    }


LANGUAGE = Recipe("a language model of captions", language_model, train_language, language_figures, bits=16)


def small_paraphraser(seed: int = 0) -> Paraphraser:
    """An untrained paraphraser with a small encoder."""
    torch.manual_seed(seed)
    return Paraphraser(*SMALL_TEXT)


PARAPHRASER_SMALL = Recipe(
    "the plain form of a caption, by a small encoder", small_paraphraser, train_paraphraser, paraphraser_figures, bits=16
)

# The base


def imagen_network(seed: int = 0, text: tuple[int, int, int] = LARGE_TEXT, widths: tuple[int, ...] = LARGE_UNET) -> Network:
    """An untrained denoiser for small pictures (B, 3, 16, 16), with room for a text encoder of that size."""
    torch.manual_seed(seed)
    net = TextUNet(SIDE, widths, text=TextEncoder(*text), patch=1).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "v")


def train_imagen(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 4000,
    text: str = "paraphraser",
    outlining: bool = True,
) -> Iterator[Progress]:
    """Trains on fresh captioned pictures of half the size, with a paraphraser's encoder that stays as it is: Saharia et al.
    2022, section 2.1. One caption in ten is made empty; the network listens before it looks, as in lesson 09.

    `outlining`: after that fifth of the steps half of each batch lies at 0.3 T and less. So small an outline is a handful of
    pixels, and is kept or lost there.
    """
    taught(network.net.text, text)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    learner.net.text.requires_grad_(False)
    times = listening_first(network.process, steps, rng, outlining)

    def loss() -> Tensor:
        scene = scenes.sample(64, rng)
        said, _ = captions.tell(scene, rng)
        x0 = shapes.draw(scene, rng, SIDE).to(device_of(learner), memory_format=torch.channels_last)
        return denoising_loss(learner.given(said).dropped(0.1, rng), x0, rng, times(len(x0)))

    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def small_drawn(
    base: Network,
    said: list[str],
    w: float,
    within: Callable[[Denoiser], Denoiser] = StaticThreshold,
    steps: int = 20,
    seed: int = 1,
) -> Tensor:
    """Small pictures (N, 3, 16, 16) of the captions: guided by w, kept `within` range, by DDIM, from the seed's noise."""
    ask = lambda part: within(ClassifierFree(base.given(part), base.given(NULL), w))
    return walked(ask, base, said, steps, seed)


def small_read(reader: Reader, x: Tensor) -> Scene:
    """What small pictures (N, 3, 16, 16) show: the reader reads them enlarged, without loss where they are real."""
    return reader.read(smooth(x))


def smooth(x: Tensor) -> Tensor:
    """Pictures (N, C, h, w) enlarged to (N, C, 2 h, 2 w) without a network, by bilinear interpolation."""
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def placed(seen: Scene, asked: Scene) -> Tensor:
    """In which pictures of two objects (B,) both colours are where they should be, whatever their shapes."""
    return (seen.colour == asked.colour).all(1) & (seen.relation == asked.relation)


@torch.no_grad()
def heard(network: Network, n: int = 400, t: int = 900) -> dict[str, float]:
    """What a base makes of captions where the picture tells it next to nothing, at time t, on n fresh pictures of two objects.

    By how much the right caption lowers the error of the predicted picture, as a share of that without one; and in how many
    pictures it lowers it more than the same caption with its two colours exchanged (of two choices, so that half is chance).
    """
    rng = torch.Generator().manual_seed(4)
    scene = scenes.sample(3 * n, rng, ("pair",))
    scene = scene[scene.colour[:, 0] != scene.colour[:, 1]][:n]
    turned = Scene(scene.shape, scene.colour[:, [1, 0, 2, 3]], scene.size, scene.place, scene.relation)
    x0 = shapes.draw(scene, rng, SIDE).to(device_of(network))
    x_t = network.process.add_noise(x0, t, randn_like(x0, rng))

    def error(said: list[str]) -> Tensor:
        return (network.given(said)(x_t, t).x0 - x0).square().mean((1, 2, 3))

    right, wrong, none = error(captions.describe(scene)), error(captions.describe(turned)), error([""] * len(scene))
    return {
        "error saved by the caption": float(1 - right.mean() / none.mean()),
        "binding": float((right < wrong).double().mean()),
    }


def imagen_figures(network: Network, n: int = 200) -> dict[str, float]:
    """What it hears of captions, and what the reader finds in n small pictures of pairs of each split."""
    judge, found = shipped_reader(), heard(network, 1000)
    for split, w in (("train", 2.0), ("new pairs", 2.0), ("new objects", 2.0), ("train", 1.0)):
        said, scene = asked(n, split)
        seen = small_read(judge, small_drawn(network, said, w))
        found[f"colours in place, {split} (w = {w:g})"] = float(placed(seen, scene).double().mean())
        found[f"all, {split} (w = {w:g})"] = scenes.agreement(seen, scene)["all"]
    return found


IMAGEN = Recipe("small shapes from captions, by a frozen text encoder", imagen_network, train_imagen, imagen_figures, bits=8)

# The upsampler

NOISE = 30
"""The time of the noise in which the upsampler is shown the base's pictures, so that it mends what the base left in them."""


def imagen_upsampler_network(seed: int = 0) -> Network:
    """An untrained denoiser for pictures (B, 3, 32, 32), given their halves (B, 3, 16, 16) and the level of noise in those.

    It predicts the picture itself, to which the half, enlarged, is near: what it has to learn is edges.
    """
    torch.manual_seed(seed)
    net = Upsampler(channels=3, unet=EfficientUNet()).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "x0")


def train_imagen_upsampler(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 3500, most: int = 200
) -> Iterator[Progress]:
    """Trains on fresh pictures, whose halves get noise of a random time up to `most`: Saharia et al. 2022, section 2.4.

    It hears no words, as theirs do: what the caption says is decided at 16 x 16.
    """
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        x0 = shapes.draw(scenes.sample(32, rng), rng).to(device_of(learner), memory_format=torch.channels_last)
        return upsampler_loss(learner, x0, rng, most)

    return train(loss, learner.net, steps, lr=2e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def upsampled(upsampler: Network, low: Tensor, s: int = NOISE, steps: int = 20, seed: int = 1) -> Tensor:
    """Pictures (N, 3, 32, 32) of small ones (N, 3, 16, 16), shown in noise of time s; by DDIM, from the seed's noise."""
    rng = torch.Generator().manual_seed(seed + 1)  # else both noises would be the same numbers
    return walked(lambda part: upsampler.given(augmented(upsampler.process, part, s, rng)), upsampler, low, steps, seed)


def imagen_upsampler_figures(network: Network, n: int = 200) -> dict[str, float]:
    """What it makes of n real halves, and of what the shipped base draws, beside plain interpolation: how near it comes, by
    PSNR, how far the crowd is from real pictures, by the reader's features, and what the reader finds."""
    judge, device, rng = shipped_reader(), device_of(network), torch.Generator().manual_seed(1)
    base = imagen_network()
    shipped_net(base.net, "imagen").to(device)
    said, scene = asked(n, "train")
    x, other = shapes.draw(scene, rng), shapes.draw(scenes.sample(500, rng, ("pair",)), rng)
    features = lambda pictures: judge.features(pictures.clamp(-1, 1))
    distance = lambda pictures: metrics.frechet_distance(features(pictures), features(other))
    low = {"real": avg_pool2d(x, 2), "the base's": small_drawn(base, said, 2.0).cpu()}
    found = {"Frechet distance, real against real": distance(x)}
    for whose, small in low.items():
        for how, large in (("", upsampled(network, small.to(device))), (", interpolated", smooth(small))):
            if whose == "real":
                found[f"PSNR in decibels, real{how}"] = psnr(large.clamp(-1, 1), x)
            found[f"Frechet distance, {whose}{how}"] = distance(large)
            found[f"all, {whose}{how}"] = scenes.agreement(judge.read(large), scene)["all"]
    return found


IMAGEN_UPSAMPLER = Recipe(
    "shapes from 16 x 16 to 32 x 32, by an efficient U-Net",
    imagen_upsampler_network,
    train_imagen_upsampler,
    imagen_upsampler_figures,
    bits=8,
)
