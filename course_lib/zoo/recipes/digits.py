"""Recipes for handwritten digits, and for the classifier that evaluates them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import Network, device_of
from course_lib.guidance import classifier_free
from course_lib.nets.classifier import Classifier, jitter
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randint, randn, seeded
from course_lib.samplers import ddim, sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, TrainingState, denoising_loss, min_snr_times, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net

# The evaluator


def classifier(seed: int = 0) -> Classifier:
    """An untrained classifier of digits."""
    torch.manual_seed(seed)
    return Classifier()


def train_classifier(
    net: Classifier, seconds: float | None = None, seed: int = 0, steps: int = 1500, size: int = 16
) -> Iterator[TrainingState]:
    """Trains on 4,000 digits of size x size, augmented anew in every batch (see `jitter`), with smoothed labels."""
    x, label = digits.load("train", size)
    learner, rng = learner_of(net), seeded(seed)

    def loss() -> Tensor:
        i = randint(0, len(x), 128, rng=rng)
        logits = learner(jitter(x[i], rng).to(device_of(learner)))
        return cross_entropy(logits, label[i].to(logits.device), label_smoothing=0.05)

    ema = EMA(learner, 0.998, into=net)
    return train(loss, learner, steps, lr=3e-3, seconds=seconds, ema=ema, weight_decay=0.05)


@torch.no_grad()
def classifier_figures(net: Classifier) -> dict[str, Figure]:
    """The accuracy on the 1,000 held-out digits."""
    x, label = digits.load("held_out")
    return {"held-out accuracy": Figure.share(metrics.accuracy(net(x.to(device_of(net))).cpu(), label))}


# The digits


def digits_network(seed: int = 0, attn: int = 1) -> Network:
    """An untrained class-conditional denoiser for digits (B, 1, 16, 16): a U-Net that predicts v, over the cosine schedule.

    With `attn` = 0 it has no self-attention. A step is then a tenth cheaper, and after a minute no loss by that was seen
    (tests/benchmarks/digits_search.py).
    """
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=10, attn=attn).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_digits(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 24_000,
    dropped: float = 0.1,
    plain: bool = False,
) -> Iterator[TrainingState]:
    """Trains on 4,000 digits, a share `dropped` of labels made null. Ho and Salimans 2022, Algorithm 1, in the network's view.

    Most times are those at which an error of v harms the picture most (`min_snr_times`), and the convolutions are trained by
    Muon: in a minute that more than halves the Frechet distance (tests/benchmarks/digits_search.py). With `plain` all times are
    equally likely, and AdamW trains all weights.
    """
    x, label = digits.load("train")
    learner, rng = learner_of(network), seeded(seed)

    def loss() -> Tensor:
        i = randint(0, len(x), 64, rng=rng)
        denoiser = learner.given(label[i]).drop_condition(dropped, rng)
        t = None if plain else min_snr_times(network.process, 64, rng)
        return denoising_loss(denoiser, x[i].to(device_of(learner)), rng, t)

    ema = EMA(learner.net, 0.995, into=network.net)
    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=ema, muon=0.0 if plain else 0.02)


@torch.no_grad()
def digits_figures(
    network: Network, n: int = 1000, evaluator: Classifier | None = None, folder: Path = FOLDER, sampler: Callable = ddim
) -> dict[str, Figure]:
    """The metrics of n samples of 25 steps, guided (w = 2) and plain (w = 1), by the shipped classifier or `evaluator`."""
    evaluator = (evaluator or shipped_net(Classifier(), "classifier", folder)).eval()
    label = torch.arange(n, device="cpu", dtype=torch.long) % 10
    noise = randn(n, 1, 16, 16, rng=seeded(1)).to(device_of(network))
    plain, guided = (sample(classifier_free(network, label, w), noise, 25, sampler, batch=n).cpu() for w in (1.0, 2.0))
    held_out, train = (evaluator.features(digits.load(part)[0][:n]) for part in ("held_out", "train"))
    made = evaluator.features(plain)
    precision, recall = metrics.precision_recall(held_out, made)
    return {
        "class accuracy, guided (w = 2)": Figure.share(metrics.accuracy(evaluator(guided), label)),
        "class accuracy, plain (w = 1)": Figure.share(metrics.accuracy(evaluator(plain), label)),
        "Frechet distance, plain (w = 1)": Figure.error(metrics.frechet_distance(made, held_out)),
        "the same, real against real": Figure.error(metrics.frechet_distance(train, held_out)),
        "precision, plain (w = 1)": Figure.share(precision),
        "recall, plain (w = 1)": Figure.share(recall),
    }


CLASSIFIER = Recipe("classifier of digits, used as evaluator", classifier, train_classifier, classifier_figures)
DIGITS = Recipe(  # plain, as the shipped model was trained whose students ship too
    "class-conditional digits, 16 x 16", digits_network, partial(train_digits, plain=True), digits_figures, (1, 16, 16), 10
)
