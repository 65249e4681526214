"""How fast this machine is at the work of a training, its pace, and how much of a core the training had.

By the pace the minute is made longer or shorter.
"""

from __future__ import annotations

import resource
import time

import torch
from torch import nn

from course_lib import validate
from course_lib.process import randn, seeded

REFERENCE = 1.5
"""Processor seconds of a round of the workload on a machine of the pace 1."""

OWN_CORE = 0.9
"""The least share of a core of a training that had the core to itself."""


def workload(steps: int = 60) -> float:
    """The processor seconds of so many training steps of two fixed networks, one after the other, on one thread.

    The first has convolutions and group norms of the sizes that the course's U-Net of digits has, the second layers of 512
    numbers for 256 rows; each takes about half of the time. Forward and backward, and AdamW. On a processor without AVX-512
    convolutions lose more than matrix products do, and the U-Net's recipe lies between.
    """
    validate.at_least("steps", steps, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolutions = nn.Sequential(*_layer(1, 16), *_layer(16, 32, 2), *_layer(32, 32), *_layer(32, 64, 2), *_layer(64, 64))
        convolutions.append(nn.Flatten()).append(nn.Linear(64 * 4 * 4, 256))
        layers = [nn.Linear(256, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU()]
        products = nn.Sequential(*layers, nn.Linear(512, 256))
    begun = time.process_time()
    for net, x in ((convolutions, randn(64, 1, 16, 16, rng=seeded(0))), (products, randn(256, 256, rng=seeded(0)))):
        optimizer = torch.optim.AdamW(net.parameters(), fused=True)
        for _ in range(steps):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    return time.process_time() - begun


def _layer(inward: int, outward: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inward, outward, 3, stride, padding=1), nn.GroupNorm(8, outward), nn.SiLU()]


def pace(rounds: int = 5) -> float:
    """Seconds here for one second of the machine of the pace 1. The least of several rounds counts: other work only slows."""
    validate.at_least("rounds", rounds, 1)
    workload(3)
    return min(workload() for _ in range(rounds)) / REFERENCE


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
