"""Lesson 06: cascades."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import cascades
from course_lib.checks.check import Case, Check
from course_lib.denoisers import Network
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, randn_like
from course_lib.schedules import cosine_beta

PROCESS = DDPM(cosine_beta(50))
PICTURES = torch.randn(3, 2, 6, 8, generator=torch.Generator().manual_seed(1))
EPS = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(2))
S = torch.tensor([0, 10, 40])


# augmented: the small picture, and the level that is told


def _augmented_with(
    halve=lambda x0: avg_pool2d(x0, 2),
    add=lambda process, low, s, eps: process.add_noise(low, s, eps),
    level=lambda process, s: s / process.T,
) -> Callable:
    """augmented with another way to halve, another noise, or another level."""
    return lambda process, x0, s, eps: (add(process, halve(x0), s, eps), level(process, s))


def _reference_augmented(process: DDPM, x0: Tensor, s: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """The halves of x0 with noise eps of times s, and s as a fraction of T."""
    return _augmented_with()(process, x0, s, eps)


def _of(part: int, x0: Tensor, s: Tensor, eps: Tensor) -> Callable[[Callable], Tensor]:
    """A case's run: the picture (part 0) or the level (part 1) of what the function gives."""

    def run(augmented):
        both = augmented(PROCESS, x0.clone(), s.clone(), eps.clone())
        if not isinstance(both, tuple) or len(both) != 2:
            raise TypeError("it must return a pair: the small noisy picture, and its level")
        return both[part]

    return run


def _scaled(a: Callable, b: Callable) -> Callable:
    """add_noise with other factors, made of signal and noise (B, 1, 1, 1)."""

    def add(process, low, s, eps):
        signal, noise = process.coefficients(s, low)
        return a(signal) * low + b(noise) * eps

    return add


augmented = Check(
    "augmented",
    _reference_augmented,
    cases=[
        Case("s = 0: the halves themselves", _of(0, PICTURES, 0 * S, EPS)),
        Case("each picture with its own s", _of(0, PICTURES, S, EPS)),
        Case("only the noise: black pictures", _of(0, 0 * PICTURES, S, EPS)),
        Case("s = T: noise, and next to nothing else", _of(0, 0 * PICTURES + 9, 0 * S + 50, EPS)),
        Case("the level that is told: s as a fraction of T", _of(1, PICTURES, S, EPS)),
    ],
    mistakes=[
        (
            "every second pixel is taken; the mean of each 2 x 2 loses no stroke",
            _augmented_with(halve=lambda x0: x0[:, :, ::2, ::2]),
        ),
        (
            "the noise is laid over a picture of full strength: its signal is missing",
            _augmented_with(add=_scaled(torch.ones_like, lambda b: b)),
        ),
        ("no noise is added", _augmented_with(add=lambda process, low, s, eps: low)),
        (
            "the variance of the noise multiplies it; it should be the standard deviation",
            _augmented_with(add=_scaled(lambda a: a, torch.square)),
        ),
        (
            "all get the noise of the first one's s",
            _augmented_with(add=lambda process, low, s, eps: process.add_noise(low, s[0], eps)),
        ),
        (
            "the level is told in steps; a network's times are fractions of T",
            _augmented_with(level=lambda process, s: s.float()),
        ),
        ("the level that is told is always 0", _augmented_with(level=lambda process, s: 0.0 * s)),
        (
            "the standard deviation is told where the time is asked for",
            _augmented_with(level=lambda process, s: process.noise(s)),
        ),
    ],
    hint="low = avg_pool2d(x0, 2); return process.add_noise(low, s, eps), s / process.T.",
    shown=(cascades.augmented,),
)


# upsampler_loss. As with denoising_loss, the network tells what it was shown.

SHOWN = torch.randn(4000, 1, 4, 4, generator=torch.Generator().manual_seed(3))
MOST = 30


class _Answer(nn.Module):
    """A network that remembers x (B, ...), time (B,) and cond, and what it said."""

    as_condition = Upsampler.as_condition
    low = (1, 2, 2)

    def __init__(self):
        super().__init__()
        self.weight, self.shown = nn.Parameter(torch.tensor(1.5)), None

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        said = self.weight * x + time.view(-1, 1, 1, 1) - interpolate(cond[:, :1], scale_factor=2)
        self.shown = x.detach(), time, cond, said
        return said


class _Heard:
    """What a student's loss came out as, and all that its network was shown."""

    def __init__(self, loss: Callable, most: int = MOST):
        net = _Answer()
        network = Network(net, PROCESS, "v")
        self.value = torch.as_tensor(loss(network, SHOWN.clone(), torch.Generator().manual_seed(7), most))
        if net.shown is None:
            raise ValueError("the network is never asked: denoising_loss(network.given(...), x0, rng) does so")
        x_t, time, cond, said = net.shown
        if len(x_t) != len(SHOWN):
            raise ValueError(f"the network must see all {len(SHOWN)} pictures, it saw {len(x_t)}")
        self.t, self.s = (time * PROCESS.T).round().long(), (cond[:, -1, 0, 0] * PROCESS.T).round().long()
        a, b = PROCESS.coefficients(self.t, x_t)
        self.eps, self.low = (x_t - a * SHOWN) / b, cond[:, :1]
        self.mean_square = (said - (a * self.eps - b * SHOWN)).square().mean()

    def noise(self) -> Tensor:
        """What is in the small pictures beside their signal, as a share of the noise that their level says."""
        a, b = PROCESS.coefficients(self.s, self.low)
        noisy = self.s > 0
        return ((self.low - a * avg_pool2d(SHOWN, 2)) / b.clamp(min=1e-9))[noisy]


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    return 1 + torch.corrcoef(torch.stack([x.flatten().float(), y.flatten().float()]))[0, 1].nan_to_num(0)


def _counts(loss: Callable) -> Tensor:
    return torch.bincount(_Heard(loss).s, minlength=MOST + 1)[: MOST + 1] * (MOST + 1) / len(SHOWN)


def _noise(loss: Callable) -> Tensor:
    noise = _Heard(loss).noise()
    return torch.stack([1 + noise.mean(), noise.std()]) if noise.numel() else torch.zeros(2)


def _clean(loss: Callable) -> Tensor:
    """How much noise is in the small pictures that are said to hold none, more than 1."""
    heard = _Heard(loss)
    off = (heard.low - avg_pool2d(SHOWN, 2))[heard.s == 0]
    return 1 + off.square().sum() / max(off.numel(), 1)


def _with_the_other(loss: Callable) -> Tensor:
    heard = _Heard(loss)
    a, _ = PROCESS.coefficients(heard.s, heard.low)
    return _correlation(heard.low - a * avg_pool2d(SHOWN, 2), avg_pool2d(heard.eps, 2))


def _loss_with(
    draw_s=lambda x0, rng, most, t: torch.randint(most + 1, (len(x0),), generator=rng),
    give=lambda network, low, s, rng, eps: cascades.augmented(network.process, low, s, rng),
    compare=lambda network, x0, t, eps, said: said - network.truth(x0, t, eps),
) -> Callable:
    """upsampler_loss with another s, another condition, or another comparison."""

    def upsampler_loss(network, x0, rng, most):
        t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
        s = draw_s(x0, rng, most, t)
        given = network.given(give(network, avg_pool2d(x0, 2), s, rng, eps))
        said = given(network.process.add_noise(x0, t, eps), t).value
        return compare(network, x0, t, eps, said).square().mean()

    return upsampler_loss


def _untold(network, low, s, rng, eps):
    return cascades.augmented(network.process, low, s, rng)[0]


def _told_only(network, low, s, rng, eps):
    return low, s / network.process.T


def _same_noise(network, low, s, rng, eps):
    return network.process.add_noise(low, s, 2 * avg_pool2d(eps, 2)), s / network.process.T


upsampler_loss = Check(
    "upsampler_loss",
    cascades.upsampler_loss,
    cases=[
        Case("without augmentation (most = 0) the network is given the halves", lambda loss: _Heard(loss, 0).low),
        Case(
            "it is the mean square of what the network's answer is off by",
            lambda loss: (h := _Heard(loss)).value / h.mean_square,
        ),
        Case("s is told, and is uniform on 0..most", _counts, tolerance=0.4),
        Case("the small pictures hold as much noise as they are said to", _noise, tolerance=0.05),
        Case("and none where s = 0 is told", _clean, tolerance=0.2),
        Case("s has nothing to do with t", lambda loss: _correlation((h := _Heard(loss)).s, h.t), tolerance=0.1),
        Case("the noise in the small picture is not that of the large one", _with_the_other, tolerance=0.1),
        Case(
            "the large picture's noise is Gaussian, and t in 1..T",
            lambda loss: torch.stack([(h := _Heard(loss)).eps.std(), (h.t >= 1).float().mean()]),
            tolerance=0.05,
        ),
    ],
    mistakes=[
        ("the level is not told: `given` takes the pair that `augmented` returns", _loss_with(give=_untold)),
        ("the small pictures are clean, though a level is told", _loss_with(give=_told_only)),
        (
            "there is no augmentation: s is always 0",
            _loss_with(draw_s=lambda x0, rng, most, t: torch.zeros(len(x0), dtype=torch.long)),
        ),
        (
            "all pictures get the most noise: s is always `most`",
            _loss_with(draw_s=lambda x0, rng, most, t: torch.full((len(x0),), most)),
        ),
        ("s is t: the small picture gets the same time as the large one", _loss_with(draw_s=lambda x0, rng, most, t: t)),
        ("the small picture gets the noise of the large one, halved", _loss_with(give=_same_noise)),
        (
            "the answer is compared with the noise; the network's own view is asked for",
            _loss_with(compare=lambda network, x0, t, eps, said: said - eps),
        ),
    ],
    hint="low = avg_pool2d(x0, 2); s = torch.randint(most + 1, (len(x0),), generator=rng); "
    "denoising_loss(network.given(augmented(network.process, low, s, rng)), x0, rng).",
)
