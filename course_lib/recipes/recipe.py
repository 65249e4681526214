"""What a recipe is, and the two steps that all of them share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from course_lib.checkpoints import load_into, shipped
from course_lib.denoisers import Network
from course_lib.training import Progress


@dataclass(frozen=True)
class Recipe:
    """What `course train` follows: `build(seed)`, `train(model, seconds, seed)`, `figures(model)`, and what the model draws.

    `shape` is one sample's, () for a model that draws nothing; `classes` is how many it can be asked for, 0 for none; it draws
    in `steps` by the sampler of that name unless told otherwise. `bits` is how a weight is kept (see checkpoints.packed).
    """

    about: str
    build: Callable[..., Any]
    train: Callable[..., Iterator[Progress]]
    figures: Callable[..., dict[str, float]]
    shape: tuple[int, ...] = ()
    classes: int = 0
    steps: int = 25
    sampler: str = "ddim"
    bits: int = 32


def learner_of(network: Network) -> Network:
    """A copy to train, while `network` holds its average."""
    return Network(copy.deepcopy(network.net).train().requires_grad_(), network.process, network.view)


def shipped_net(net: nn.Module, name: str) -> nn.Module:
    """`net`, untrained, with the weights of the shipped model of that name: to judge or to teach by, and not to be trained."""
    load_into(net, shipped(name))
    return net.eval().requires_grad_(False)


def device_of(model: Network | nn.Module) -> torch.device:
    """Where the model's weights lie."""
    return next(getattr(model, "net", model).parameters()).device
