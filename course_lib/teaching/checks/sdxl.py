"""Lesson 15: SDXL's micro-conditioning, and the loss of its refiner."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from course_lib.denoisers import Network
from course_lib.methods import sdxl
from course_lib.nets.embeddings import sinusoidal
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import PROCESS, Record, Spy, normal

# micro_embedding
MICRO = torch.tensor([[32, 0, 0], [8, 5, 0], [12, 0, 5], [16, 7, 12]])


def _micro_embedding(micro, dim):
    """The sines and cosines of side, top and left, side by side. Podell et al. 2023, section 2.2."""
    side, top, left = micro.unbind(1)
    return torch.cat([sinusoidal(side, dim), sinusoidal(top, dim), sinusoidal(left, dim)], 1)


micro_embedding = Check(
    "micro_embedding",
    _micro_embedding,
    cases=[
        Case("four pictures, 8 numbers for each of side, top and left", on(MICRO, 8)),
        Case("one picture, 32 numbers for each", on(MICRO[1:2], 32)),
        Case("top and left are told apart", on(MICRO[1:2, [0, 2, 1]], 8)),
        Case("for any dim, the size is (B, 3 dim)", lambda fn: torch.tensor(on(MICRO, 16)(fn).shape)),
        Case("nothing cut off: cosines are 1, sines are 0", on(0 * MICRO, 8)),
        Case("micro is left as it was", after(MICRO, 8)),
    ],
    mistakes={
        "the three are added, which mixes top and left up: put them side by side": {"torch.cat([": "sum([", "], 1)": "])"},
        "the three numbers are added before they are embedded": {"micro.unbind(1)": "[micro.sum(1)] * 3"},
        "the three are averaged, which mixes top and left up: put them side by side": {
            "torch.cat([": "sum([",
            "], 1)": "]) / 3",
        },
        "only the side is embedded": {"sinusoidal(top, dim), sinusoidal(left, dim)": ""},
        "the side is not embedded, only top and left": {"sinusoidal(side, dim), ": ""},
        "the top is embedded twice, and the left not at all": {"sinusoidal(left": "sinusoidal(top"},
        "top and left have changed places: side, top, left is asked for": {"side, top, left =": "side, left, top ="},
        "the order is reversed: side, top, left is asked for": {"micro.unbind": "micro.flip(1).unbind"},
        "the bare numbers are given; sinusoidal(number, dim) embeds each": {"return": "return micro.float()\n    return"},
        "the numbers are shares of 32; sinusoidal takes them in pixels": {"micro.unbind(1)": "(micro / 32).unbind(1)"},
        "the three are interleaved; put them side by side": {"torch.cat([": "torch.stack([", "], 1)": "], 2).flatten(1)"},
        "the three are stacked in a dimension of their own, (B, 3, dim); put them side by side, (B, 3 dim)": {
            "torch.cat([": "torch.stack([",
        },
        "the embeddings of the batch stand below one another, (3 B, dim); put the three side by side, (B, 3 dim)": {
            "], 1)": "], 0)"
        },
        "numbers of different pictures stand in one row: each row is one picture's side, top and left": {
            "micro.unbind(1)": "micro.T.reshape(-1, 3).unbind(1)"
        },
        "dim is divided among the three; each has dim numbers of its own": {
            "(side, dim)": "(side, dim // 3)",
            "(top, dim)": "(top, dim // 3)",
            "(left, dim)": "(left, dim // 3)",
        },
        "cosines stand before sines; in lesson 04's embedding the sines are first": {
            "return torch.cat(": "return torch.roll(torch.cat(",
            "], 1)": "], 1).unflatten(1, (3, dim)), dim // 2, 2).flatten(1)",
        },
        "the three stand in each other's place: all sines first, then all cosines": {
            "], 1)": "], 1).unflatten(1, (3, 2, dim // 2)).transpose(1, 2).flatten(1)",
        },
    },
    hint="torch.cat([sinusoidal(number.float(), dim) for number in micro.unbind(1)], 1).",
)

# refiner_loss. As with denoising_loss, the network records its input.
LATENTS, LAST = normal(6000, 1, 3, 3, seed=3), 12


def _record(loss: Callable) -> Record:
    return Record(loss, LATENTS, LAST, view="v")


def _counts(loss: Callable) -> Tensor:
    return torch.bincount(_record(loss).t, minlength=51) * LAST / len(LATENTS)


def _by_rng(loss: Callable) -> Tensor:
    """Whether the same seed draws the same times, and the same noise: 1, 1."""
    first, again = _record(loss), _record(loss)
    return torch.tensor([torch.equal(first.t, again.t), torch.allclose(first.eps, again.eps, atol=1e-3)])


def _drawn_anew(loss: Callable) -> Tensor:
    """Whether a second call with one generator has another value: 1."""
    network, rng = Network(Spy(), deepcopy(PROCESS), "v"), seeded(7)
    first, second = (torch.as_tensor(loss(network, LATENTS[:50].clone(), LAST, rng)).detach() for _ in range(2))
    return first != second


def _refiner_loss(denoiser, x0, last, rng):
    """The mean squared error in the network's view, at times 1..last only. Podell et al. 2023, section 2.5."""
    t = torch.randint(1, last + 1, (len(x0),), generator=rng)
    eps = torch.randn(x0.shape, generator=rng).to(x0)
    x_t = denoiser.process.add_noise(x0, t, eps)
    return (denoiser(x_t, t).value - denoiser.target(x0, t, eps)).square().mean()


refiner_loss = Check(
    "refiner_loss",
    _refiner_loss,
    cases=[
        Case("t is uniform on 1..last, each picture has its own", _counts, tolerance=0.35),
        Case("it is the mean squared error of the network's output, in its own view", lambda loss: _record(loss).ratio),
        Case("the noise is Gaussian, of mean 0 and standard deviation 1", lambda loss: _record(loss).noise, tolerance=0.05),
        Case("all random numbers come from rng: the same seed draws the same times and noise", _by_rng),
        Case("each call draws other numbers", _drawn_anew),
        Case("it has the gradient of the mean squared error", lambda loss: _record(loss).slope, tolerance=1e-3),
    ],
    mistakes={
        "t is any time from 1 to T, as for the base; the refiner has 1..last only": {"last + 1": "denoiser.process.T + 1"},
        "t lies above last: those times are the base's": {"(1, last + 1": "(last + 1, denoiser.process.T + 1"},
        "t is always last": {"randint(1,": "randint(last,"},
        "last itself is never drawn: randint leaves its upper end out": {"last + 1": "last"},
        "t is counted from 0: at t = 0 there is no noise to predict, and last is never drawn": {"(1, last + 1": "(0, last"},
        "t begins at 0, where there is no noise to predict": {"(1,": "(0,"},
        "one t is drawn for the whole batch; draw one for each picture": {
            "(len(x0),), generator=rng)": "(1,), generator=rng).expand(len(x0))"
        },
        "one noise is drawn for the whole batch; draw one for each picture": {
            "randn(x0.shape, generator=rng)": "randn(x0[:1].shape, generator=rng).expand(x0.shape)"
        },
        "times and noise come from torch's own generator; draw both from rng": {
            "(len(x0),), generator=rng)": "(len(x0),))",
            "(x0.shape, generator=rng)": "(x0.shape)",
        },
        "the noise comes from torch's own generator; draw it from rng": {"(x0.shape, generator=rng)": "(x0.shape)"},
        "the times come from torch's own generator; draw them from rng": {"(len(x0),), generator=rng)": "(len(x0),))"},
        "the random numbers are seeded anew at each call: all batches have the same times and noise": {
            "t = torch.randint": "rng.manual_seed(0); t = torch.randint"
        },
        "the noise is uniform on 0..1 (rand); it should be Gaussian (randn)": {"randn(": "rand("},
        "the output is compared with the noise; the network's own view is asked for": {"denoiser.target(x0, t, eps)": "eps"},
        "the output is compared with x_0; the network's own view is asked for": {"denoiser.target(x0, t, eps)": "x0"},
        "the predicted noise is compared with the noise; the network's own view is asked for": {
            "value - denoiser.target(x0, t, eps)": "eps - eps"
        },
        "the predicted x_0 is compared with x_0; the network's own view is asked for": {
            "value - denoiser.target(x0, t, eps)": "x0 - x0"
        },
        "the errors are summed, where their mean belongs": {".mean()": ".sum()"},
        "the errors are not squared": {".square()": ".abs()"},
        "no noise is added": {"torch.randn(x0.shape, generator=rng)": "torch.zeros(x0.shape)"},
        "nothing can be learned from it: the prediction has no gradient": {".value -": ".value.detach() -"},
    },
    hint="t = torch.randint(1, last + 1, (len(x0),), generator=rng); then as in lesson 02: add_noise(x0, t, eps), and "
    "(denoiser(x_t, t).value - denoiser.target(x0, t, eps)).square().mean().",
    shown=(sdxl.refiner_loss,),
)
