"""How fast this machine is at the work of a training, its pace, and how much of a core the training had.

By the pace the minute is made longer or shorter.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.process import randn, seeded

REFERENCE = {"convolutions": 0.71, "products": 0.79}
"""Processor seconds of a round of each half of the workload on a machine of the pace 1."""

UNEVEN = 0.05
"""How far the pace of a machine may be from that of each half of the workload, as a share."""

OWN_CORE = 0.9
"""The least share of a core of a training that had the core to itself."""


@dataclass(frozen=True)
class Pace:
    """Seconds here for one second of the machine of the pace 1: for training convolutions, and for training matrix products."""

    convolutions: float
    products: float

    def __post_init__(self):
        validate.positive("convolutions", self.convolutions)
        validate.positive("products", self.products)

    @property
    def mean(self) -> float:
        """The pace by which the minute is made longer or shorter."""
        return (self.convolutions + self.products) / 2

    @property
    def uneven(self) -> float:
        """How far that pace is from those of both halves, as a share of it.

        A training with one of them alone gets a minute that is wrong by about as much.
        """
        return abs(self.convolutions - self.products) / 2 / self.mean


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    """The two fixed networks of the workload, each with what it is given.

    `convolutions` has convolutions and group norms of the sizes that the course's U-Net of digits has, `products` layers of 512
    numbers for 256 rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolutions = nn.Sequential(*_layer(1, 16), *_layer(16, 32, 2), *_layer(32, 32), *_layer(32, 64, 2), *_layer(64, 64))
        convolutions.append(nn.Flatten()).append(nn.Linear(64 * 4 * 4, 256))
        layers = [nn.Linear(256, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU()]
        products = nn.Sequential(*layers, nn.Linear(512, 256))
    pictures, rows = randn(64, 1, 16, 16, rng=seeded(0)), randn(256, 256, rng=seeded(0))
    return {"convolutions": (convolutions, pictures), "products": (products, rows)}


def workload(steps: int = 60) -> dict[str, float]:
    """The processor seconds of so many training steps of each of the `networks`, on one thread.

    Forward and backward, and AdamW. On a processor without AVX-512 convolutions lose more than matrix products do, and the
    recipe of the course's digits lies between.
    """
    validate.at_least("steps", steps, 1)
    return {name: _seconds(*each, steps) for name, each in networks().items()}


def _seconds(net: nn.Module, x: Tensor, steps: int) -> float:
    begun, optimizer = time.process_time(), torch.optim.AdamW(net.parameters(), fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    return time.process_time() - begun


def _layer(inward: int, outward: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inward, outward, 3, stride, padding=1), nn.GroupNorm(8, outward), nn.SiLU()]


def pace(rounds: int = 5) -> Pace:
    """The pace of this machine. The least of several rounds counts: other work only slows."""
    validate.at_least("rounds", rounds, 1)
    workload(3)
    found = [workload() for _ in range(rounds)]
    return Pace(**{name: min(each[name] for each in found) / seconds for name, seconds in REFERENCE.items()})


def processor_seconds() -> float:
    """Processor seconds of all processes that this one has started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def clocks() -> tuple[float, float]:
    """The processor seconds of `processor_seconds`, and seconds on the clock.

    Two calls, around a training, give its share, with the start and the end of its process, which take a tenth of a second.
    """
    return processor_seconds(), time.monotonic()


def share(before: tuple[float, float], after: tuple[float, float]) -> float:
    """The share of a core, processor seconds over seconds on the clock, between two calls of `clocks`: 1 is a core of its own.

    Taken outside of the process of a training, which could change its own clocks. Raises ValueError where no time has passed.
    """
    processor, clock = (b - a for a, b in zip(before, after))
    return processor / validate.positive("the seconds on the clock", clock)
