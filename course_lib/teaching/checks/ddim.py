"""Lesson 14: DDIM."""

from __future__ import annotations

from torch import Tensor

from course_lib import samplers
from course_lib.denoisers import Denoiser
from course_lib.teaching.checks.check import Case, Check, after, minus, on
from course_lib.teaching.checks.spy import DENOISER, PICTURES, POINTS, Z


def _ddim_step(denoiser: Denoiser, x_t: Tensor, t: int, s: int, eta: float, z: Tensor) -> Tensor:
    """From t down to s: predict x_0, then step. Song et al. 2021, eq. 12 and 16, whose alpha is our alpha_bar."""
    process, pred = denoiser.process, denoiser(x_t, t)
    bar_t, bar_s = map(process.alpha_bar, (t, s))
    sigma = eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)).sqrt()
    a, b = bar_s.sqrt(), (1 - bar_s - sigma**2).sqrt()
    return a * pred.x0 + b * pred.eps + sigma * z


ddim_step = Check(
    "ddim_step",
    _ddim_step,
    cases=[
        Case("eta = 0, one long move, from t = 40 to 20", on(DENOISER, PICTURES, 40, 20, 0.0, Z)),
        Case("eta = 0, to the end, s = 0: the predicted picture itself", on(DENOISER, PICTURES, 40, 0, 0.0, Z)),
        Case("eta = 1 without noise (z = 0): the direction makes room for it", on(DENOISER, PICTURES, 40, 20, 1.0, 0 * Z)),
        Case("what z adds is sigma z, at eta = 0.5", minus(*(on(DENOISER, PICTURES, 40, 20, 0.5, z) for z in (Z, 0 * Z)))),
        Case("eta = 1, from t to t - 1: Ho et al.'s step", on(DENOISER, PICTURES, 25, 24, 1.0, Z)),
        Case("the last step adds no noise, at any eta", on(DENOISER, PICTURES, 1, 0, 1.0, Z)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS, 50, 10, 0.0, POINTS)),
        Case("x_t is left as it was", after(DENOISER, PICTURES, 40, 20, 0.5, Z)),
    ],
    mistakes={
        "alpha_t stands for alpha_bar_t: the paper's alpha is our alpha_bar": {"process.alpha_bar,": "process.alpha,"},
        "the noise is put back at its old size: alpha_bar_t stands for alpha_bar_s": {"bar_s - sigma**2": "bar_t"},
        "the direction does not make room for the fresh noise: sigma^2 is missing under its root": {" - sigma**2": ""},
        "the picture is put back at its old size: alpha_bar_t stands for alpha_bar_s": {"bar_s.sqrt()": "bar_t.sqrt()"},
        "eta is forgotten: the noise is always that of eta = 1": {"eta * (": "1 * ("},
        "no noise is ever added": {" + sigma * z": ""},
        "the variance sigma^2 multiplies z; it should be sigma": {"sigma * z": "sigma**2 * z"},
        "x_0 and the noise are swapped": {"a * pred.x0 + b * pred.eps": "a * pred.eps + b * pred.x0"},
        "sigma is that of a forward step: the factor (1 - alpha_bar_s) / (1 - alpha_bar_t) is missing": {
            "(1 - bar_s) / (1 - bar_t) * ": "",
            "sigma**2)": "sigma**2).clamp(min=0)",
        },
    },
    hint="pred = denoiser(x_t, t); sigma = eta sqrt((1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s)); "
    "sqrt(abar_s) pred.x0 + sqrt(1 - abar_s - sigma^2) pred.eps + sigma z.",
    shown=(samplers.ddim,),
)


def _inversion_step(denoiser: Denoiser, x_s: Tensor, s: int, t: int) -> Tensor:
    """From s up to t, with the noise predicted at s. Song et al. 2021, section 4.3."""
    bar_s, bar_t = denoiser.process.alpha_bar(s), denoiser.process.alpha_bar(t)
    eps = denoiser(x_s, s).eps
    x0 = (x_s - (1 - bar_s).sqrt() * eps) / bar_s.sqrt()
    return bar_t.sqrt() * x0 + (1 - bar_t).sqrt() * eps


inversion_step = Check(
    "inversion_step",
    _inversion_step,
    cases=[
        Case("one long move up, from s = 20 to t = 40", on(DENOISER, PICTURES, 20, 40)),
        Case("one short move, from s = 1 to t = 2", on(DENOISER, PICTURES, 1, 2)),
        Case("to the top, from s = 10 to t = T", on(DENOISER, PICTURES, 10, 50)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS, 20, 40)),
    ],
    mistakes={
        "the noise is predicted at t; the picture is at s, and there it must be predicted": {"(x_s, s)": "(x_s, t)"},
        "the move goes nowhere: alpha_bar_s stands where alpha_bar_t belongs": {"alpha_bar(t)": "alpha_bar(s)"},
        "x_s itself is mixed with the noise, not the predicted x_0": {"bar_t.sqrt() * x0": "bar_t.sqrt() * x_s"},
        "the noise is taken away once more: its sign is turned": {"x0 + (1": "x0 - (1"},
        "the square roots are missing": {"bar_t.sqrt() * x0 + (1 - bar_t).sqrt()": "bar_t * x0 + (1 - bar_t)"},
        "the bar is lost: alpha stands where alpha_bar belongs": {"alpha_bar(s)": "alpha(s)", "alpha_bar(t)": "alpha(t)"},
    },
    hint="eps = denoiser(x_s, s).eps; x_0 = (x_s - sqrt(1 - abar_s) eps) / sqrt(abar_s); "
    "then sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.",
    shown=(samplers.invert,),
)
