"""Lesson 15: SDXL's micro-conditioning, and the loss of its refiner."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib import sdxl
from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import Network
from course_lib.nets.embeddings import sinusoidal
from course_lib.nets.sdxl import micro_embedding as by_library
from course_lib.process import DDPM, randn_like
from course_lib.schedules import linear_beta

MICRO = torch.tensor([[32, 0, 0], [8, 5, 0], [12, 0, 5], [16, 7, 12]])


# micro_embedding


def _wave(numbers: Tensor, dim: int) -> Tensor:
    return sinusoidal(numbers.float(), dim)


def _last_first(micro: Tensor, dim: int) -> Tensor:
    return by_library(micro.flip(1), dim)


micro_embedding = Check(
    "micro_embedding",
    by_library,
    cases=[
        Case("four pictures, 8 numbers for each of side, top and left", on(MICRO, 8)),
        Case("one picture, 32 numbers for each", on(MICRO[1:2], 32)),
        Case("top and left are told apart", lambda fn: fn(MICRO[1:2].clone(), 8) - fn(MICRO[1:2, [0, 2, 1]].clone(), 8)),
        Case("whatever the number is, the size is (B, 3 dim)", lambda fn: torch.tensor(fn(MICRO.clone(), 16).shape)),
        Case("nothing cut off: cosines are 1, sines are 0", on(0 * MICRO, 8)),
    ],
    mistakes=[
        (
            "the three are added, so that nobody can tell top from left: put them side by side",
            lambda micro, dim: sum(_wave(number, dim) for number in micro.unbind(1)),
        ),
        (
            "the three numbers are added before they are embedded",
            lambda micro, dim: _wave(micro.sum(1), dim).repeat(1, 3),
        ),
        ("only the side is told", lambda micro, dim: _wave(micro[:, 0], dim)),
        ("the order is turned round: side, top, left is asked for", _last_first),
        ("the bare numbers are given; sinusoidal(number, dim) makes waves of each", lambda micro, dim: micro.float()),
        (
            "the numbers are shares of 32; sinusoidal's waves want pixels",
            lambda micro, dim: torch.cat([_wave(number / 32, dim) for number in micro.unbind(1)], 1),
        ),
        (
            "the numbers of the three are interleaved; put each embedding whole beside the next",
            lambda micro, dim: torch.stack([_wave(number, dim) for number in micro.unbind(1)], 2).flatten(1),
        ),
    ],
    hint="torch.cat([sinusoidal(number.float(), dim) for number in micro.unbind(1)], 1).",
)


# refiner_loss. As with denoising_loss, the network tells what it was shown.

PROCESS = DDPM(linear_beta(50, end=0.02))
SHOWN = torch.randn(6000, 1, 3, 3, generator=torch.Generator().manual_seed(3))
LAST = 12


class _Answer(nn.Module):
    """A network that remembers x (B, ...) and time (B,), and what it said."""

    def __init__(self):
        super().__init__()
        self.weight, self.shown = nn.Parameter(torch.tensor(1.5)), None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        said = self.weight * x + time.view(-1, 1, 1, 1)
        self.shown = x.detach(), time, said
        return said


class _Heard:
    """What a student's loss came out as, and all that its network was shown."""

    def __init__(self, loss: Callable):
        net = _Answer()
        self.value = torch.as_tensor(loss(Network(net, PROCESS, "v"), SHOWN.clone(), LAST, torch.Generator().manual_seed(7)))
        if net.shown is None:
            raise ValueError("the network is never asked: denoiser(x_t, t) does so")
        x_t, time, said = net.shown
        if len(x_t) != len(SHOWN):
            raise ValueError(f"the network must see all {len(SHOWN)} pictures, it saw {len(x_t)}")
        self.t = (time * PROCESS.T).round().long()
        a, b = PROCESS.coefficients(self.t, x_t)
        self.eps = (x_t - a * SHOWN) / b.clamp(min=1e-6)
        self.mean_square = (said - (a * self.eps - b * SHOWN)).square().mean()


def _counts(loss: Callable) -> Tensor:
    return torch.bincount(_Heard(loss).t, minlength=PROCESS.T + 1)[: PROCESS.T + 1] * LAST / len(SHOWN)


def _noise(loss: Callable) -> Tensor:
    heard = _Heard(loss)
    return torch.stack([1 + heard.eps.mean(), heard.eps.std()])


def _refiner_with(
    times=lambda n, last, T, rng: torch.randint(1, last + 1, (n,), generator=rng),
    compare=lambda network, x0, t, eps, said: said - network.truth(x0, t, eps),
    noise=1.0,
) -> Callable:
    """refiner_loss with other times, another comparison, or other noise."""

    def refiner_loss(network, x0, last, rng):
        t, eps = times(len(x0), last, network.process.T, rng), noise * randn_like(x0, rng)
        said = network(network.process.add_noise(x0, t, eps), t).value
        return compare(network, x0, t, eps, said).square().mean()

    return refiner_loss


refiner_loss = Check(
    "refiner_loss",
    sdxl.refiner_loss,
    cases=[
        Case("t is uniform on 1..last, each picture has its own", _counts, tolerance=0.25),
        Case(
            "it is the mean square of what the network's answer is off by, in its own view",
            lambda loss: (h := _Heard(loss)).value / h.mean_square,
        ),
        Case("the noise is Gaussian, of mean 0 and deviation 1", _noise, tolerance=0.05),
    ],
    mistakes=[
        (
            "t is any time from 1 to T, as the base has it; the refiner works at 1..last alone",
            _refiner_with(times=lambda n, last, T, rng: torch.randint(1, T + 1, (n,), generator=rng)),
        ),
        (
            "t lies above last: that is where the base works",
            _refiner_with(times=lambda n, last, T, rng: torch.randint(last + 1, T + 1, (n,), generator=rng)),
        ),
        ("t is always last", _refiner_with(times=lambda n, last, T, rng: torch.full((n,), last))),
        (
            "all pictures share one t",
            _refiner_with(times=lambda n, last, T, rng: torch.randint(1, last + 1, (1,), generator=rng).expand(n)),
        ),
        (
            "the answer is compared with the noise; the network's own view is asked for",
            _refiner_with(compare=lambda network, x0, t, eps, said: said - eps),
        ),
        ("no noise is added", _refiner_with(noise=0.0)),
    ],
    hint="t = torch.randint(1, last + 1, (len(x0),), generator=rng); then as in lesson 02: add_noise(x0, t, eps), and "
    "(denoiser(x_t, t).value - denoiser.truth(x0, t, eps)).square().mean().",
)
