"""The recipe for the classifier that guides: a classifier of digits at any noise level."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import device_of
from course_lib.guidance import NoisyClassifier
from course_lib.nets.classifier import TimedClassifier, jitter
from course_lib.process import DDPM, randint, randn_like, seeded
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, TrainingState, classifier_loss, train
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of


def noisy_classifier(seed: int = 0) -> NoisyClassifier:
    """An untrained classifier of noisy digits (B, 1, 16, 16), over the schedule of the digits' denoiser."""
    torch.manual_seed(seed)
    return NoisyClassifier(TimedClassifier(), DDPM(cosine_beta(1000)))


def train_noisy_classifier(
    model: NoisyClassifier, seconds: float | None = None, seed: int = 0, steps: int = 3000
) -> Iterator[TrainingState]:
    """Trains on 4,000 digits, augmented (`jitter`) and noised anew in every batch of 128."""
    x, label = digits.load("train")
    learner = learner_of(model)
    rng = seeded(seed)

    def loss() -> Tensor:
        i = randint(0, len(x), 128, rng=rng)
        return classifier_loss(learner, jitter(x[i], rng).to(device_of(learner)), label[i], rng)

    ema = EMA(learner.net, 0.998, into=model.net)
    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=ema, weight_decay=0.05)


@torch.no_grad()
def noisy_classifier_figures(model: NoisyClassifier) -> dict[str, Figure]:
    """The accuracy on the 1,000 held-out digits, at four noise levels."""
    x, label = digits.load("held_out")
    eps = randn_like(x, seeded(1))
    noisy = lambda t: model.process.add_noise(x, t, eps).to(device_of(model))
    accuracy = lambda t: Figure.share(metrics.accuracy(model(noisy(t), t).cpu(), label))
    return {f"held-out accuracy at t = {t}": accuracy(t) for t in (0, 250, 500, 750)}


NOISY_CLASSIFIER = Recipe(
    "classifier of noisy digits, used for guidance", noisy_classifier, train_noisy_classifier, noisy_classifier_figures
)
