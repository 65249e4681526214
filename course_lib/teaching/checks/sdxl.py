"""Lesson 15: SDXL's micro-conditioning, and the loss of its refiner."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.denoisers import Network
from course_lib.methods import sdxl
from course_lib.nets import sdxl as nets
from course_lib.process import randn_like
from course_lib.teaching.checks.check import Case, Check, minus, on
from course_lib.teaching.checks.spy import Record, normal

# micro_embedding
MICRO = torch.tensor([[32, 0, 0], [8, 5, 0], [12, 0, 5], [16, 7, 12]])

micro_embedding = Check(
    "micro_embedding",
    nets.micro_embedding,
    cases=[
        Case("four pictures, 8 numbers for each of side, top and left", on(MICRO, 8)),
        Case("one picture, 32 numbers for each", on(MICRO[1:2], 32)),
        Case("top and left are told apart", minus(on(MICRO[1:2], 8), on(MICRO[1:2, [0, 2, 1]], 8))),
        Case("for any dim, the size is (B, 3 dim)", lambda fn: torch.tensor(on(MICRO, 16)(fn).shape)),
        Case("nothing cut off: cosines are 1, sines are 0", on(0 * MICRO, 8)),
    ],
    mistakes={
        "the three are added, which mixes top and left up: put them side by side": {"torch.cat([": "sum(", "], 1)": ")"},
        "the three numbers are added before they are embedded": {"micro.unbind(1)": "[micro.sum(1)] * 3"},
        "only the side is embedded": {"unbind(1)": "unbind(1)[:1]"},
        "the order is reversed: side, top, left is asked for": {"micro.unbind": "micro.flip(1).unbind"},
        "the bare numbers are given; sinusoidal(number, dim) embeds each": {"return": "return micro.float()\n    return"},
        "the numbers are shares of 32; sinusoidal's waves want pixels": {"number.float()": "number / 32"},
        "the three are interleaved; put them side by side": {"torch.cat(": "torch.stack(", "], 1)": "], 2).flatten(1)"},
    },
    hint="torch.cat([sinusoidal(number.float(), dim) for number in micro.unbind(1)], 1).",
)

# refiner_loss. As with denoising_loss, the network records its input.
LATENTS, LAST = normal(6000, 1, 3, 3, seed=3), 12


def _record(loss: Callable) -> Record:
    return Record(loss, LATENTS, LAST, view="v")


def _counts(loss: Callable) -> Tensor:
    return torch.bincount(_record(loss).t, minlength=51) * LAST / len(LATENTS)


def _refiner_loss(network: Network, x0: Tensor, last: int, rng: torch.Generator) -> Tensor:
    """The mean squared error in the network's view, at times 1..last only. Podell et al. 2023, section 2.5."""
    t = torch.randint(1, last + 1, (len(x0),), generator=rng)
    eps = randn_like(x0, rng)
    x_t = network.process.add_noise(x0, t, eps)
    return (network(x_t, t).value - network.target(x0, t, eps)).square().mean()


refiner_loss = Check(
    "refiner_loss",
    _refiner_loss,
    cases=[
        Case("t is uniform on 1..last, each picture has its own", _counts, tolerance=0.25),
        Case("it is the mean squared error of the network's output, in its own view", lambda loss: _record(loss).ratio),
        Case("the noise is Gaussian, of mean 0 and standard deviation 1", lambda loss: _record(loss).noise, tolerance=0.05),
    ],
    mistakes={
        "t is any time from 1 to T, as for the base; the refiner has 1..last only": {"last + 1": "network.process.T + 1"},
        "t lies above last: those times are the base's": {"(1, last + 1": "(last + 1, network.process.T + 1"},
        "t is always last": {"randint(1,": "randint(last,"},
        "one t is drawn for the whole batch; draw one for each picture": {
            "(len(x0),), generator=rng)": "(1,), generator=rng).expand(len(x0))"
        },
        "the output is compared with the noise; the network's own view is asked for": {"network.target(x0, t, eps)": "eps"},
        "no noise is added": {"randn_like(x0, rng)": "0 * x0"},
    },
    hint="t = torch.randint(1, last + 1, (len(x0),), generator=rng); then as in lesson 02: add_noise(x0, t, eps), and "
    "(denoiser(x_t, t).value - denoiser.target(x0, t, eps)).square().mean().",
    shown=(sdxl.refiner_loss,),
)
