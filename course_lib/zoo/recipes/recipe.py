"""What a recipe is, what it measures, and the two steps that all of them share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from course_lib.training import TrainingState
from course_lib.zoo.checkpoints import FOLDER, load_into, shipped

Model = TypeVar("Model", bound=Any)


class Figure(float):
    """A measured number, which carries how far that of a model made anew may lie from it.

    `tolerance` is (absolute, relative): the two may differ by absolute + relative * |the shipped number|. It is None where
    nothing is asked.
    """

    tolerance: tuple[float, float] | None

    def __new__(cls, value: float, tolerance: tuple[float, float] | None = None):
        figure = super().__new__(cls, value)
        figure.tolerance = tolerance
        return figure

    @classmethod
    def share(cls, value: float) -> Figure:
        """A share in [0, 1]. Some recipes measure it on 200 pictures, where its own standard error is up to 0.035."""
        return cls(value, (0.08, 0.0))

    @classmethod
    def error(cls, value: float) -> Figure:
        """A distance, an error or a deviation: a fifth of it, and 0.02, by which a small one varies with the sampling seed."""
        return cls(value, (0.02, 0.2))

    @classmethod
    def decibels(cls, value: float) -> Figure:
        """A signal-to-noise ratio in decibels."""
        return cls(value, (1.0, 0.0))


@dataclass(frozen=True)
class Recipe:
    """What `course train` follows: `build(seed)`, `train(model, seconds, seed)`, `figures(model)`, and how the model samples.

    `train` and `figures` take a keyword `folder` where they need another shipped model. `shape` is that of one sample, () for a
    model without samples; `classes` is the number of classes, 0 for none; with `captions` it draws from text. `steps` and
    `sampler` are the defaults of sampling, and `decoder` is the name of the autoencoder that decodes samples. `bits` is how a
    weight is stored (see `checkpoints.quantize`).
    """

    about: str
    build: Callable[..., Any]
    train: Callable[..., Iterator[TrainingState]]
    figures: Callable[..., dict[str, Figure]]
    shape: tuple[int, ...] = ()
    classes: int = 0
    captions: bool = False
    steps: int = 25
    sampler: str = "ddim"
    decoder: str = ""
    bits: int = 32


def learner_of(model: Model) -> Model:
    """A copy to train, while `model` holds its average: an nn.Module, or a Network or NoisyClassifier made from one."""
    if not isinstance(model, nn.Module):
        return replace(model, net=learner_of(model.net))
    with torch.inference_mode(False):  # a copy made in inference mode could not be trained
        return copy.deepcopy(model).train().requires_grad_()


def shipped_net(net: nn.Module, name: str, folder: Path = FOLDER) -> nn.Module:
    """`net` with the weights of the model of that name in `folder`: an evaluator or a teacher, which is not trained."""
    load_into(net, shipped(name, folder))
    return net.eval().requires_grad_(False)
