"""The recipe for the classifier that guides: it knows digits in any amount of noise."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.guidance import NoiseAware
from course_lib.nets.classifier import TimedClassifier, jitter
from course_lib.process import DDPM, randn_like
from course_lib.recipes.recipe import Recipe, device_of
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, Progress, classifier_loss, train


def noisy_classifier(seed: int = 0) -> NoiseAware:
    """An untrained classifier of noisy digits (B, 1, 16, 16), over the schedule of the digits' denoiser."""
    torch.manual_seed(seed)
    return NoiseAware(TimedClassifier(), DDPM(cosine_beta(1000)))


def train_noisy_classifier(
    model: NoiseAware, seconds: float | None = None, seed: int = 0, steps: int = 3000
) -> Iterator[Progress]:
    """Trains on 4,000 digits, each by another hand (`jitter`) and in another noise in every batch of 128."""
    x, label = digits.load("train")
    learner = replace(model, net=copy.deepcopy(model.net).train().requires_grad_())
    rng = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        i = torch.randint(len(x), (128,), generator=rng)
        return classifier_loss(learner, jitter(x[i], rng).to(device_of(learner)), label[i], rng)

    ema = EMA(learner.net, 0.998, into=model.net)
    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=ema, weight_decay=0.05)


@torch.no_grad()
def noisy_classifier_figures(model: NoiseAware) -> dict[str, float]:
    """Its accuracy on the 1,000 digits that it never saw, at four amounts of noise."""
    x, label = digits.load("held_out")
    eps = randn_like(x, torch.Generator().manual_seed(1))
    noisy = lambda t: model.process.add_noise(x, t, eps).to(device_of(model))
    return {f"held-out accuracy at t = {t}": metrics.accuracy(model(noisy(t), t).cpu(), label) for t in (0, 250, 500, 750)}


NOISY_CLASSIFIER = Recipe(
    "the classifier that guides, which knows noise", noisy_classifier, train_noisy_classifier, noisy_classifier_figures
)
