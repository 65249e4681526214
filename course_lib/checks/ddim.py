"""Lesson 14: DDIM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import samplers
from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import Denoiser, Network
from course_lib.process import DDPM
from course_lib.schedules import linear_beta

PROCESS = DDPM(linear_beta(50, end=0.02))
PICTURES = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1))
POINTS = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))
Z = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(3))
DENOISER = Network(lambda x, time: 0.6 * x + time.view(-1, *[1] * (x.ndim - 1)) - 0.3, PROCESS)


# ddim_step


def _sigma(bar_t: Tensor, bar_s: Tensor, eta: float) -> Tensor:
    """Song et al. 2021, eq. 16."""
    return eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)).sqrt()


def _step_with(
    signal=lambda bar_t, bar_s: bar_s.sqrt(),
    direction=lambda bar_t, bar_s, sigma: (1 - bar_s - sigma**2).sqrt(),
    sigma=_sigma,
    clean=lambda pred: pred.x0,
    noise=lambda pred: pred.eps,
    share=lambda sigma: sigma,
    table=lambda process: process.alpha_bar,
) -> Callable:
    """ddim_step with another factor, another sigma, another view, or another table."""

    def ddim_step(denoiser, x_t, t, s, eta, z):
        bar_t, bar_s = table(denoiser.process)(t), table(denoiser.process)(s)
        pred, width = denoiser(x_t, t), sigma(bar_t, bar_s, eta)
        mean = signal(bar_t, bar_s) * clean(pred) + direction(bar_t, bar_s, width) * noise(pred)
        return mean + share(width) * z

    return ddim_step


def _reference_step(denoiser: Denoiser, x_t: Tensor, t: int, s: int, eta: float, z: Tensor) -> Tensor:
    """From t down to s: predict x_0, then step (Song et al. 2021, eq. 12 and 16)."""
    return _step_with()(denoiser, x_t, t, s, eta, z)


def _of_z(step: Callable) -> Tensor:
    return on(DENOISER, PICTURES, 40, 20, 0.5, Z)(step) - on(DENOISER, PICTURES, 40, 20, 0.5, 0 * Z)(step)


def _x_t_after(step: Callable) -> Tensor:
    x_t = PICTURES.clone()
    step(DENOISER, x_t, 40, 20, 0.5, Z.clone())
    return x_t


ddim_step = Check(
    "ddim_step",
    _reference_step,
    cases=[
        Case("eta = 0, one long move, from t = 40 to 20", on(DENOISER, PICTURES, 40, 20, 0.0, Z)),
        Case("eta = 0, to the end, s = 0: the predicted picture itself", on(DENOISER, PICTURES, 40, 0, 0.0, Z)),
        Case("eta = 1 without noise (z = 0): the direction makes room for it", on(DENOISER, PICTURES, 40, 20, 1.0, 0 * Z)),
        Case("what z adds is sigma z, at eta = 0.5", _of_z),
        Case("eta = 1, from t to t - 1: Ho et al.'s step", on(DENOISER, PICTURES, 25, 24, 1.0, Z)),
        Case("the last step adds no noise, at any eta", on(DENOISER, PICTURES, 1, 0, 1.0, Z)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS, 50, 10, 0.0, POINTS)),
        Case("x_t is left as it was", _x_t_after),
    ],
    mistakes=[
        (
            "alpha_t stands where alpha_bar_t belongs: the paper's alpha is our alpha_bar",
            _step_with(table=lambda process: lambda t: process.alpha(t) if t else torch.ones((), dtype=torch.float64)),
        ),
        (
            "the noise is put back at its old size: sqrt(1 - alpha_bar_t) stands where that of s belongs",
            _step_with(direction=lambda bar_t, bar_s, sigma: (1 - bar_t).sqrt()),
        ),
        (
            "the direction does not make room for the fresh noise: sigma^2 is missing under its root",
            _step_with(direction=lambda bar_t, bar_s, sigma: (1 - bar_s).sqrt()),
        ),
        (
            "the picture is put back at its old size: sqrt(alpha_bar_t) stands where that of s belongs",
            _step_with(signal=lambda bar_t, bar_s: bar_t.sqrt()),
        ),
        ("eta is forgotten: the noise is always that of eta = 1", _step_with(sigma=lambda t, s, eta: _sigma(t, s, 1.0))),
        ("no noise is ever added", _step_with(share=lambda sigma: 0)),
        ("the variance sigma^2 multiplies z; it should be sigma", _step_with(share=lambda sigma: sigma**2)),
        (
            "x_0 and the noise are swapped",
            _step_with(clean=lambda pred: pred.eps, noise=lambda pred: pred.x0),
        ),
        (
            "sigma is that of a forward step: the factor (1 - alpha_bar_s) / (1 - alpha_bar_t) is missing",
            _step_with(
                sigma=lambda t, s, eta: eta * (1 - t / s).sqrt(),
                direction=lambda t, s, sigma: (1 - s - sigma**2).clamp(min=0).sqrt(),
            ),
        ),
    ],
    hint="pred = denoiser(x_t, t); sigma = eta sqrt((1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s)); "
    "sqrt(abar_s) pred.x0 + sqrt(1 - abar_s - sigma^2) pred.eps + sigma z.",
    shown=(samplers.ddim,),
)


# inversion_step


def _back_with(
    believed=lambda denoiser, x, s, t: denoiser(x, s).eps,
    clean=lambda x, bar_s, eps: (x - (1 - bar_s).sqrt() * eps) / bar_s.sqrt(),
    to=lambda process, s, t: process.alpha_bar(t),
    after=lambda x0, eps, bar: bar.sqrt() * x0 + (1 - bar).sqrt() * eps,
    table=lambda process, s: process.alpha_bar(s),
) -> Callable:
    """inversion_step with another belief, another x_0, another end, or another mixture."""

    def inversion_step(denoiser, x_s, s, t):
        eps = believed(denoiser, x_s, s, t)
        return after(clean(x_s, table(denoiser.process, s), eps), eps, to(denoiser.process, s, t))

    return inversion_step


def _reference_back(denoiser: Denoiser, x_s: Tensor, s: int, t: int) -> Tensor:
    """From s up to t, with the noise that is believed at s."""
    return _back_with()(denoiser, x_s, s, t)


inversion_step = Check(
    "inversion_step",
    _reference_back,
    cases=[
        Case("one long move up, from s = 20 to t = 40", on(DENOISER, PICTURES, 20, 40)),
        Case("one short move, from s = 1 to t = 2", on(DENOISER, PICTURES, 1, 2)),
        Case("to the top, from s = 10 to t = T", on(DENOISER, PICTURES, 10, 50)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS, 20, 40)),
    ],
    mistakes=[
        (
            "the noise is asked for at t; the picture is at s, and there it must be asked",
            _back_with(believed=lambda denoiser, x, s, t: denoiser(x, t).eps),
        ),
        (
            "the move goes nowhere: alpha_bar_s stands where alpha_bar_t belongs",
            _back_with(to=lambda process, s, t: process.alpha_bar(s)),
        ),
        (
            "x_s itself is mixed with the noise, not the x_0 that is believed",
            _back_with(clean=lambda x, bar_s, eps: x),
        ),
        (
            "the noise is taken away once more: its sign is turned",
            _back_with(after=lambda x0, eps, bar: bar.sqrt() * x0 - (1 - bar).sqrt() * eps),
        ),
        (
            "the square roots are missing",
            _back_with(after=lambda x0, eps, bar: bar * x0 + (1 - bar) * eps),
        ),
        (
            "the bar is lost: alpha stands where alpha_bar belongs",
            _back_with(to=lambda process, s, t: process.alpha(t), table=lambda process, s: process.alpha(s)),
        ),
    ],
    hint="eps = denoiser(x_s, s).eps; x_0 = (x_s - sqrt(1 - abar_s) eps) / sqrt(abar_s); "
    "then sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.",
    shown=(samplers.invert,),
)
