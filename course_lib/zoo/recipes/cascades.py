"""Recipes for lesson 06: an undertrained base, an upsampler, and the classifier that evaluates at 32 x 32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import metrics, validate
from course_lib.datasets import digits
from course_lib.denoisers import Network, device_of
from course_lib.methods.cascades import augmented, upsampler_loss
from course_lib.nets.classifier import Classifier
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, rand, randint, randn, seeded
from course_lib.samplers import sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, TrainingState, min_snr_times, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.digits import classifier, digits_figures, digits_network, train_classifier, train_digits
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net

EARLY = 4
"""The base stops after this fraction, 1 / EARLY, of a training."""


def train_classifier32(
    net: Classifier, seconds: float | None = None, seed: int = 0, steps: int = 700
) -> Iterator[TrainingState]:
    """`train_classifier` on digits of 32 x 32."""
    return train_classifier(net, seconds, seed, steps, size=32)


@torch.no_grad()
def classifier32_figures(net: Classifier) -> dict[str, Figure]:
    """The accuracy on the 1,000 held-out digits, and how far its features tell enlarged digits from real ones."""
    x, label = digits.load("held_out", 32)
    x = x.to(device_of(net))
    half, other = x[:500], x[500:]
    blurred = interpolate(avg_pool2d(half, 2), scale_factor=2, mode="bilinear", align_corners=False)
    features = [net.features(pictures).cpu() for pictures in (half, blurred, other)]
    return {
        "held-out accuracy": Figure.share(metrics.accuracy(net(x).cpu(), label)),
        "Frechet distance of real digits, halved and enlarged": Figure.error(metrics.frechet_distance(*features[1:])),
        "the same, real against real": Figure.error(metrics.frechet_distance(features[0], features[2])),
    }


def train_base(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 100) -> Iterator[TrainingState]:
    """The first quarter of `train_digits` over four times as many steps or seconds: undertrained, on purpose."""
    limit = None if seconds is None else EARLY * validate.positive("seconds", seconds)
    for progress in train_digits(network, limit, seed, EARLY * steps):
        yield replace(progress, done=min(1.0, EARLY * progress.done))
        if EARLY * progress.done >= 1:
            return


def upsampler_network(seed: int = 0) -> Network:
    """An untrained denoiser for digits (B, 1, 32, 32), given their halves (B, 1, 16, 16), the noise level of those, a class."""
    torch.manual_seed(seed)
    net = Upsampler(size=32, factor=2, classes=10).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_upsampler(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 700, max_s: int = 600
) -> Iterator[TrainingState]:
    """Trains on 4,000 digits, whose halves get noise of a random time up to `max_s`. Ho et al. 2022, section 3.

    A tenth of the batches is without labels. Times and optimizers are those of `train_digits`.
    """
    x, label = digits.load("train", 32)
    learner, rng = learner_of(network), seeded(seed)

    def loss() -> Tensor:
        i = randint(0, len(x), 32, rng=rng)
        labels = label[i] if float(rand(1, rng=rng)) >= 0.1 else None
        t = min_snr_times(network.process, len(i), rng)
        return upsampler_loss(learner, x[i].to(device_of(learner)), rng, max_s, labels, t)

    ema = EMA(learner.net, 0.995, into=network.net)
    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=ema, muon=0.02)


@torch.no_grad()
def upsampler_figures(
    network: Network, n: int = 500, evaluator: Classifier | None = None, folder: Path = FOLDER
) -> dict[str, Figure]:
    """The Frechet distances of n upsampled held-out halves, 20 DDIM steps: with a class, with noise too, without a class."""
    evaluator = (evaluator or shipped_net(Classifier(), "judge32", folder)).eval()
    (x, label), rng, device = digits.load("held_out", 32), seeded(1), device_of(network)
    low, real = avg_pool2d(x[-n:], 2).to(device), evaluator.features(x[:n])
    noise = randn(n, 1, 32, 32, rng=rng).to(device)

    def distance(s: int, *label: Tensor) -> Figure:
        made = sample(network.given((*augmented(network.process, low, s, rng), *label)), noise, 20, batch=n)
        return Figure.error(metrics.frechet_distance(evaluator.features(made.cpu()), real))

    return {
        "Frechet distance, of real halves": distance(0, label[-n:]),
        "the same, with noise of time 200 in them": distance(200, label[-n:]),
        "the same, with that noise and without a class": distance(200),
        "the same, real against real": Figure.error(metrics.frechet_distance(evaluator.features(x[-n:]), real)),
    }


CLASSIFIER32 = Recipe("classifier of digits, 32 x 32, used as evaluator", classifier, train_classifier32, classifier32_figures)
BASE = Recipe(
    "class-conditional digits, 16 x 16, undertrained", digits_network, train_base, digits_figures, (1, 16, 16), 10, bits=16
)
UPSAMPLER = Recipe("digits from 16 x 16 to 32 x 32", upsampler_network, train_upsampler, upsampler_figures, bits=16)
