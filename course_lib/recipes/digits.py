"""Recipes for handwritten digits, and for the classifier that judges them."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import NULL, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.classifier import Classifier, jitter
from course_lib.nets.unet import UNet
from course_lib.process import DDPM
from course_lib.recipes.recipe import Recipe, device_of, learner_of, shipped_net
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, Progress, denoising_loss, train

# The classifier that judges the digits


def classifier(seed: int = 0) -> Classifier:
    """An untrained classifier of digits."""
    torch.manual_seed(seed)
    return Classifier()


def train_classifier(
    net: Classifier, seconds: float | None = None, seed: int = 0, steps: int = 1500, size: int = 16
) -> Iterator[Progress]:
    """Trains on 4,000 digits of size x size, each by another hand in every batch (see `jitter`), with smoothed labels."""
    x, label = digits.load("train", size)
    learner, rng = copy.deepcopy(net).train().requires_grad_(), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        i = torch.randint(len(x), (128,), generator=rng)
        log_odds = learner(jitter(x[i], rng).to(device_of(learner)))
        return cross_entropy(log_odds, label[i].to(log_odds.device), label_smoothing=0.05)

    ema = EMA(learner, 0.998, into=net)
    return train(loss, learner, steps, lr=3e-3, seconds=seconds, ema=ema, weight_decay=0.05)


@torch.no_grad()
def classifier_figures(net: Classifier) -> dict[str, float]:
    """Its accuracy on the 1,000 digits that it never saw."""
    x, label = digits.load("held_out")
    return {"held-out accuracy": metrics.accuracy(net(x.to(device_of(net))).cpu(), label)}


# The digits


def digits_network(seed: int = 0) -> Network:
    """An untrained class-conditional denoiser for digits (B, 1, 16, 16): a U-Net that predicts v, over the cosine schedule."""
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=10).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_digits(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 24_000, dropped: float = 0.1
) -> Iterator[Progress]:
    """Trains on 4,000 digits, a share `dropped` of labels made null. Ho and Salimans 2022, Algorithm 1, in the network's view.

    What was tried of networks, views, schedules, batches and rates is in tests/benchmarks/README.md.
    """
    x, label = digits.load("train")
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        return denoising_loss(learner.given(label[i]).dropped(dropped, rng), x[i].to(device_of(learner)), rng)

    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


def digits_figures(network: Network, n: int = 1000, judge: Classifier | None = None) -> dict[str, float]:
    """What the shipped classifier, or another `judge`, says of n samples of 25 DDIM steps, guided (w = 2) and plain (w = 1)."""
    judge = (judge or shipped_net(Classifier(), "classifier")).eval()
    label, rng = torch.arange(n) % 10, torch.Generator().manual_seed(1)
    noise = torch.randn(n, 1, 16, 16, generator=rng).to(device_of(network))

    @torch.no_grad()
    def draw(w: float) -> Tensor:
        guided = ClassifierFree(network.given(label), network.given(NULL), w)
        return result(ddim(guided, noise, network.process.times(25))).cpu()

    with torch.no_grad():
        plain, guided = draw(1.0), draw(2.0)
        held_out, train = judge.features(digits.load("held_out")[0][:n]), judge.features(digits.load("train")[0][:n])
        made = judge.features(plain)
        precision, recall = metrics.precision_recall(held_out, made)
        return {
            "class accuracy, guided (w = 2)": metrics.accuracy(judge(guided), label),
            "class accuracy, plain (w = 1)": metrics.accuracy(judge(plain), label),
            "Frechet distance, plain (w = 1)": metrics.frechet_distance(made, held_out),
            "the same, real against real": metrics.frechet_distance(train, held_out),
            "precision, plain (w = 1)": precision,
            "recall, plain (w = 1)": recall,
        }


CLASSIFIER = Recipe("the judge of digits", classifier, train_classifier, classifier_figures)
DIGITS = Recipe("class-conditional digits, 16 x 16", digits_network, train_digits, digits_figures, (1, 16, 16), 10)
