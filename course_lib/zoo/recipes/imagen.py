"""Recipes for lesson 13: text encoders trained on text alone, a base conditioned on one of them, and an upsampler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import metrics
from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import Scene
from course_lib.denoisers import Network, device_of
from course_lib.guidance import StaticThreshold, classifier_free
from course_lib.methods.cascades import augmented, upsampler_loss
from course_lib.methods.latents import psnr
from course_lib.nets.detector import SceneDetector
from course_lib.nets.efficient_unet import EfficientUNet
from course_lib.nets.language import MASK, LanguageModel, mask_words, masked_loss
from course_lib.nets.text import Paraphraser, TextEncoder, TextUNet
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, randn_like, seeded
from course_lib.samplers import sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, TrainingState, denoising_loss, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net
from course_lib.zoo.recipes.shapes import (
    high_noise_first,
    load_text_encoder,
    pair_prompts,
    paraphraser_figures,
    shipped_detector,
    train_paraphraser,
)

SIDE = 16
"""The side of the base's pictures, in pixels."""
SMALL_TEXT, LARGE_TEXT = (16, 1, 2), (64, 2, 4)
"""Width, depth and heads of two text encoders: a smaller one, and that of the paraphraser."""
WIDTHS = (24, 48, 96)
"""Channels of the U-Net, on maps of 16 x 16, 8 x 8 and 4 x 4. The finest map has every pixel: at 16 x 16 a star is only a few
of them, and a base whose finest map was 8 x 8 did not learn to generate stars."""

# Text encoders, trained on text alone


def language_model(seed: int = 0) -> LanguageModel:
    """An untrained language model of captions."""
    torch.manual_seed(seed)
    return LanguageModel()


def train_language(
    net: LanguageModel, seconds: float | None = None, seed: int = 0, steps: int = 1500
) -> Iterator[TrainingState]:
    """Trains on fresh captions, without pictures, by masked language modelling: Devlin et al. 2019."""
    learner, rng = learner_of(net), seeded(seed)

    def loss() -> Tensor:
        prompts, _ = captions.tell(scenes.sample(128, rng), rng)
        tokens = captions.tokens(prompts).to(device_of(learner))
        shown, chosen = mask_words(tokens, rng)
        return masked_loss(learner(shown), tokens, chosen)

    return train(loss, learner, steps, lr=2e-3, seconds=seconds, ema=EMA(learner, 0.998, into=net), weight_decay=0.01)


@torch.no_grad()
def language_figures(net: LanguageModel, n: int = 2000) -> dict[str, Figure]:
    """The perplexity of masked words in n fresh captions, and what a linear probe reads from nouns, see `read_from_nouns`. In
    training nothing states that a colour belongs to a noun."""
    rng = seeded(1)
    tokens = captions.tokens(captions.tell(scenes.sample(n, rng), rng)[0]).to(device_of(net))
    _, chosen = mask_words(tokens, rng)
    loss = masked_loss(net(torch.where(chosen, MASK, tokens)), tokens, chosen)
    shares = read_from_nouns(net.text, n)
    return {"perplexity of hidden words": Figure.error(loss.exp())} | {k: Figure.share(v) for k, v in shares.items()}


WHOLE = {"device": "cpu", "dtype": torch.long}
NOUNS = torch.tensor([captions.TOKEN[noun] for nouns in captions.NOUNS.values() for noun in nouns], **WHOLE)
SHAPES = torch.tensor([scenes.SHAPES.index(shape) for shape, nouns in captions.NOUNS.items() for _ in nouns], **WHOLE)
COLOURS = torch.tensor([captions.TOKEN[colour] for colour in scenes.COLOURS], **WHOLE)


@torch.no_grad()
def read_from_nouns(text: TextEncoder, n: int = 2000, seed: int = 2) -> dict[str, float]:
    """The accuracy of linear probes of the nouns' vectors in n captions of pairs: for the object's colour (chance is about
    one in five, since each shape lacks one colour), and for which of the two it is, the left or upper one (chance is a half).

    A probe is a ridge regression on n other captions (Alain and Bengio 2017).
    """
    rng = seeded(seed)
    prompts, described = captions.tell(scenes.sample(2 * n, rng, ("pair",)), rng)
    tokens = captions.tokens(prompts)
    row, place = torch.isin(tokens, NOUNS).nonzero(as_tuple=True)
    before, after = tokens[row, place - 1], tokens[row, (place + 3).clamp(max=captions.LENGTH - 1)]
    colour = torch.where(torch.isin(before, COLOURS), before, after)  # "a red circle", "a circle that is red"
    shape = SHAPES[(tokens[row, place][:, None] == NOUNS).int().argmax(1)]
    first = (shape == described.shape[row, 0]) & (colour == COLOURS[described.colour[row, 0]])
    vectors, known = text(tokens.to(device_of(text)))[0].cpu().float()[row, place], row < n
    x = torch.cat([vectors, vectors.new_ones(len(vectors), 1)], 1)

    def probe(target: Tensor) -> float:
        ridge = 0.1 * torch.eye(x.shape[1], device=x.device, dtype=x.dtype)
        weights = torch.linalg.solve(x[known].T @ x[known] + ridge, x[known].T @ target[known].to(x.dtype))
        return float(((x[~known] @ weights).argmax(1) == target[~known].int().argmax(1)).double().mean())

    return {
        "colour read from its noun": probe(colour[:, None] == COLOURS),
        "which of two read from its noun": probe(torch.stack([first, ~first], 1)),
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


def imagen_network(seed: int = 0, text: tuple[int, int, int] = LARGE_TEXT, widths: tuple[int, ...] = WIDTHS) -> Network:
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
    low_noise_half: bool = True,
    folder: Path = FOLDER,
) -> Iterator[TrainingState]:
    """Trains on fresh captioned pictures of half the size, with a paraphraser's frozen encoder.

    Saharia et al. 2022, section 2.1. One caption in ten is made empty. The first fifth of the steps has high noise, see
    `high_noise_first`. `low_noise_half`: after it, half of each batch lies at 0.3 T and less, where an outline of a few pixels
    is decided.
    """
    load_text_encoder(network.net.text, text, folder)
    learner, rng = learner_of(network), seeded(seed)
    learner.net.text.requires_grad_(False)
    times = high_noise_first(network.process, rng, steps // 5, half_low if low_noise_half else None)

    def loss() -> Tensor:
        scene = scenes.sample(64, rng)
        prompts, _ = captions.tell(scene, rng)
        x0 = shapes.draw(scene, rng, SIDE).to(device_of(learner), memory_format=torch.channels_last)
        return denoising_loss(learner.given(prompts).drop_condition(0.1, rng), x0, rng, times(len(x0)))

    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def half_low(t: Tensor, T: int) -> Tensor:
    """Times with every other one moved to 1..0.3 T."""
    t[::2] = (0.3 * t[::2]).ceil().long()
    return t


def detect_small(detector: SceneDetector, x: Tensor) -> Scene:
    """The scenes of small pictures (N, 3, 16, 16): the detector is given them enlarged, without loss where they are real."""
    return detector.detect(upsample_bilinear(x))


def upsample_bilinear(x: Tensor) -> Tensor:
    """Pictures (N, C, h, w) enlarged to (N, C, 2 h, 2 w) without a network, by bilinear interpolation."""
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def colours_in_place(detected: Scene, wanted: Scene) -> Tensor:
    """Whether both colours are where they should be (B,), in pictures of two objects, whatever their shapes."""
    return (detected.colour == wanted.colour).all(1) & (detected.relation == wanted.relation)


@torch.no_grad()
def caption_sensitivity(network: Network, n: int = 400, t: int = 900) -> dict[str, float]:
    """The influence of captions on a base at high noise, at time t, on n fresh pictures of two objects.

    "error saved": by how much the right caption lowers the error of the predicted picture, as a share of the error without a
    caption. "binding": the share of pictures where it lowers it more than with the two colours exchanged. A tie counts a half,
    so that a base which ignores the caption has a half, too.
    """
    rng = seeded(4)
    scene = scenes.sample(3 * n, rng, ("pair",))
    scene = scene[scene.colour[:, 0] != scene.colour[:, 1]][:n]
    swapped = replace(scene, colour=scene.colour[:, [1, 0, 2, 3]])
    x0 = shapes.draw(scene, rng, SIDE).to(device_of(network))
    x_t = network.process.add_noise(x0, t, randn_like(x0, rng))

    def error(prompts: list[str]) -> Tensor:
        return (network.given(prompts)(x_t, t).x0 - x0).square().mean((1, 2, 3))

    right, wrong, none = (
        error(told).cpu() for told in (captions.describe(scene), captions.describe(swapped), [""] * len(scene))
    )
    return {
        "error saved by the caption": float(1 - right.mean() / none.mean()),
        "binding": float(((right < wrong) + 0.5 * (right == wrong)).double().mean()),
    }


def imagen_figures(network: Network, n: int = 200, folder: Path = FOLDER) -> dict[str, Figure]:
    """The influence of captions, and the shares of n small pictures of pairs of each split that match their captions."""
    evaluator, figures, noise = shipped_detector(folder), caption_sensitivity(network, 1000), network.draw_noise(n, seeded(1))
    for split, w in (("train", 2.0), ("new pairs", 2.0), ("new objects", 2.0), ("train", 1.0)):
        prompts, scene = pair_prompts(n, split)
        x = sample(StaticThreshold(classifier_free(network, prompts, w)), noise, 20)
        detected = detect_small(evaluator, x)
        figures[f"colours in place, {split} (w = {w:g})"] = float(colours_in_place(detected, scene).double().mean())
        figures[f"all, {split} (w = {w:g})"] = scenes.agreement(detected, scene)["all"]
    return {name: Figure.share(value) for name, value in figures.items()}


IMAGEN = Recipe(
    "small shapes from captions, by a frozen text encoder",
    imagen_network,
    train_imagen,
    imagen_figures,
    (3, SIDE, SIDE),
    captions=True,
    bits=8,
)

# The upsampler

NOISE = 30
"""The time of the noise that is added to the base's pictures before upsampling, so that the upsampler corrects their errors."""


def imagen_upsampler_network(seed: int = 0) -> Network:
    """An untrained denoiser for pictures (B, 3, 32, 32), given their halves (B, 3, 16, 16) and the noise level of those.

    It predicts x_0, which the enlarged half approximates well: only the edges are left to learn.
    """
    torch.manual_seed(seed)
    net = Upsampler(channels=3, unet=EfficientUNet()).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "x0")


def train_imagen_upsampler(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 3500, max_s: int = 200
) -> Iterator[TrainingState]:
    """Trains on fresh pictures, whose halves get noise of a random time up to `max_s`: Saharia et al. 2022, section 2.4.

    Theirs is conditioned on text, too. Ours is not: the content is decided at 16 x 16.
    """
    learner, rng = learner_of(network), seeded(seed)

    def loss() -> Tensor:
        x0 = shapes.draw(scenes.sample(32, rng), rng).to(device_of(learner), memory_format=torch.channels_last)
        return upsampler_loss(learner, x0, rng, max_s)

    return train(loss, learner.net, steps, lr=2e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def imagen_upsampler_figures(network: Network, n: int = 200, folder: Path = FOLDER) -> dict[str, Figure]:
    """The quality of n upsampled real halves, and of n upsampled samples of the base, beside plain interpolation.

    PSNR against the real pictures, the Frechet distance in the detector's features, and the share that matches the captions.
    """
    evaluator, base, rng = shipped_detector(folder), imagen_network(), seeded(1)
    shipped_net(base.net, "imagen", folder).to(device_of(network))
    prompts, scene = pair_prompts(n, "train")
    x, other = (shapes.draw(each, rng) for each in (scenes.complete(scene, rng), scenes.sample(500, rng, ("pair",))))
    features = lambda pictures: evaluator.features(pictures.clamp(-1, 1))
    distance = lambda pictures: Figure.error(metrics.frechet_distance(features(pictures), features(other)))
    made = sample(StaticThreshold(classifier_free(base, prompts, 2.0)), base.draw_noise(n, seeded(1)), 20)
    figures = {"Frechet distance, real against real": distance(x)}
    for of, small in {"real": avg_pool2d(x, 2), "the base's": made}.items():
        given = augmented(network.process, small, NOISE, seeded(2))
        upsampled = sample(network.given(given), network.draw_noise(n, seeded(1)), 20)
        for how, large in (("", upsampled), (", interpolated", upsample_bilinear(small))):
            if of == "real":
                figures[f"PSNR in decibels, real{how}"] = Figure.decibels(psnr(large.clamp(-1, 1), x))
            figures[f"Frechet distance, {of}{how}"] = distance(large)
            figures[f"all, {of}{how}"] = Figure.share(scenes.agreement(evaluator.detect(large), scene)["all"])
    return figures


IMAGEN_UPSAMPLER = Recipe(
    "shapes from 16 x 16 to 32 x 32, by an efficient U-Net",
    imagen_upsampler_network,
    train_imagen_upsampler,
    imagen_upsampler_figures,
    bits=8,
)
