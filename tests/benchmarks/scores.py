"""Scores of generated pictures by the shipped evaluators, rounded for the figures' files."""

import base64
from functools import cache

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import digits, scenes
from course_lib.datasets.scenes import Scene
from course_lib.zoo import models


def rounded(figures: dict[str, float], digits: int = 4) -> dict[str, float]:
    """The same figures to `digits` decimal places."""
    return {name: round(float(value), digits) for name, value in figures.items()}


def parameters(net: torch.nn.Module) -> int:
    """The number of parameters of a network."""
    return sum(p.numel() for p in net.parameters())


@torch.no_grad()
def digit_scores(x: Tensor, label: Tensor, real: Tensor | None = None, classifier: str = "classifier") -> dict[str, float]:
    """Distance, class accuracy, precision and recall of digits x (n, 1, H, W) for the labels (n,), by a shipped classifier.

    They are compared with the features `real`, by default those of n held-out digits of their size.
    """
    evaluator = models.load(classifier)
    if real is None:
        real = evaluator.features(digits.load("held_out", x.shape[-1])[0][: len(x)])
    features = evaluator.features(x)
    precision, recall = metrics.precision_recall(real, features)
    figures = {"Frechet distance": metrics.frechet_distance(features, real)}
    figures |= {"class accuracy": metrics.accuracy(evaluator(x), label), "precision": precision, "recall": recall}
    return rounded(figures)


@torch.no_grad()
def digits_floor(n: int) -> float:
    """The Frechet distance between n digits of the training set and n held-out ones: no model can be expected to score less."""
    evaluator = models.load("classifier")
    train, held_out = (evaluator.features(digits.load(split)[0][:n]) for split in ("train", "held_out"))
    return round(metrics.frechet_distance(train, held_out), 4)


@cache
def detector():
    """The detector of shapes that ships."""
    return models.load("reader")


def right(x: Tensor, scene: Scene, parts: tuple[str, ...] = ()) -> dict[str, float]:
    """The share of pictures x (n, 3, 32, 32) in which the detector finds each attribute that the scene has; all, or `parts`."""
    found = scenes.agreement(detector().detect(x), scene)
    return rounded({part: found[part] for part in parts or found})


def as_base64(x: Tensor) -> str:
    """Pictures in [-1, 1] as bytes in base64."""
    return base64.b64encode(((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy().tobytes()).decode()
