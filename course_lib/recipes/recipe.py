"""What a recipe is, and the two steps that all of them share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from course_lib.denoisers import Network
from course_lib.training import Progress


@dataclass(frozen=True)
class Recipe:
    """What `course train` follows: `build(seed)`, `train(model, seconds, seed)`, `figures(model)`, and what the model draws.

    `shape` is one sample's, () for a model that draws nothing; `classes` is how many it can be asked for, 0 for none.
    `half`: its weights are rounded to 16 bits before they are measured, and kept so.
    """

    about: str
    build: Callable[..., Any]
    train: Callable[..., Iterator[Progress]]
    figures: Callable[..., dict[str, float]]
    shape: tuple[int, ...] = ()
    classes: int = 0
    half: bool = False


def learner_of(network: Network) -> Network:
    """A copy to train, while `network` holds its average."""
    return Network(copy.deepcopy(network.net).train().requires_grad_(), network.process, network.view)


def device_of(model: Network | nn.Module) -> torch.device:
    """Where the model's weights lie."""
    return next(getattr(model, "net", model).parameters()).device
