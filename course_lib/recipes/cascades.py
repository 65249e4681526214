"""Recipes for lesson 06: a base that is stopped early, an upsampler, and the classifier that judges at 32 x 32."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import metrics
from course_lib.cascades import augmented, upsampler_loss
from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.nets.classifier import Classifier
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM
from course_lib.recipes.digits import classifier, digits_figures, digits_network, train_classifier, train_digits
from course_lib.recipes.recipe import Recipe, device_of, shipped_net
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, Progress, train

EARLY = 4


def train_judge32(net: Classifier, seconds: float | None = None, seed: int = 0, steps: int = 700) -> Iterator[Progress]:
    """`train_classifier` on digits of 32 x 32."""
    return train_classifier(net, seconds, seed, steps, size=32)


@torch.no_grad()
def judge32_figures(net: Classifier) -> dict[str, float]:
    """Its accuracy on the 1,000 digits that it never saw, and whether it sees that pictures were merely enlarged."""
    x, label = digits.load("held_out", 32)
    x = x.to(device_of(net))
    half, other = x[:500], x[500:]
    blurred = interpolate(avg_pool2d(half, 2), scale_factor=2, mode="bilinear", align_corners=False)
    features = [net.features(pictures).cpu() for pictures in (half, blurred, other)]
    return {
        "held-out accuracy": metrics.accuracy(net(x).cpu(), label),
        "Frechet distance of real digits, halved and enlarged": metrics.frechet_distance(features[1], features[2]),
        "the same, real against real": metrics.frechet_distance(features[0], features[2]),
    }


def train_base(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 150) -> Iterator[Progress]:
    """The first quarter of `train_digits` over four times as many steps or seconds: stopped early, on purpose."""
    for progress in train_digits(network, seconds and EARLY * seconds, seed, EARLY * steps):
        yield replace(progress, done=min(1.0, EARLY * progress.done))
        if EARLY * progress.done >= 1:
            return


def upsampler_network(seed: int = 0) -> Network:
    """An untrained denoiser for digits (B, 1, 32, 32), given their halves (B, 1, 16, 16) and the level of noise in those."""
    torch.manual_seed(seed)
    return Network(Upsampler(size=32, factor=2).to(memory_format=torch.channels_last), DDPM(cosine_beta(1000)), "v")


def train_upsampler(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 1000, most: int = 600
) -> Iterator[Progress]:
    """Trains on 4,000 digits, whose halves get noise of a random time up to `most`. Ho et al. 2022, section 4."""
    x, _ = digits.load("train", 32)
    learner = Network(copy.deepcopy(network.net).train().requires_grad_(), network.process, network.view)
    rng = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        return upsampler_loss(learner, x[torch.randint(len(x), (32,), generator=rng)].to(device_of(learner)), rng, most)

    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


@torch.no_grad()
def upsampler_figures(network: Network, n: int = 500, judge: Classifier | None = None) -> dict[str, float]:
    """What it makes of n real halves that it never saw, in 20 DDIM steps, without and with noise of time 200 in them."""
    judge = (judge or shipped_net(Classifier(), "judge32")).eval()
    x, rng, device = digits.load("held_out", 32)[0], torch.Generator().manual_seed(1), device_of(network)
    low, real = avg_pool2d(x[-n:], 2).to(device), judge.features(x[:n])
    noise = torch.randn(n, 1, 32, 32, generator=rng).to(device)

    def distance(s: int) -> float:
        given = network.given(augmented(network.process, low, s, rng))
        return metrics.frechet_distance(judge.features(result(ddim(given, noise, network.process.times(20))).cpu()), real)

    return {
        "Frechet distance, of real halves": distance(0),
        "the same, with noise of time 200 in them": distance(200),
        "the same, real against real": metrics.frechet_distance(judge.features(x[-n:]), real),
    }


JUDGE32 = Recipe("the judge of digits at 32 x 32", classifier, train_judge32, judge32_figures)
BASE = Recipe(
    "class-conditional digits, 16 x 16, stopped early", digits_network, train_base, digits_figures, (1, 16, 16), 10, bits=16
)
UPSAMPLER = Recipe("digits from 16 x 16 to 32 x 32", upsampler_network, train_upsampler, upsampler_figures, bits=16)
