"""Lesson 14: DDIM."""

from __future__ import annotations

from course_lib import samplers
from course_lib.teaching.checks.check import Case, Check, after, minus, on
from course_lib.teaching.checks.spy import DENOISER, PICTURES, POINTS, Z


def _ddim_step(denoiser, x_t, t, s, eta, z):
    """From t down to s: predict x_0, then step. Song et al. 2021, eq. 12 and 16, whose alpha is our alpha_bar."""
    pred = denoiser(x_t, t)
    bar_t, bar_s = denoiser.process.alpha_bar(t), denoiser.process.alpha_bar(s)
    sigma = eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)).sqrt()
    direction = (1 - bar_s - sigma**2).sqrt()
    return bar_s.sqrt() * pred.x0 + direction * pred.eps + sigma * z


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
        "alpha_t stands for alpha_bar_t: the paper's alpha is our alpha_bar": {
            "alpha_bar(t)": "alpha(t)",
            "alpha_bar(s)": "alpha(s)",
        },
        "the noise is put back at its old size: alpha_bar_t stands for alpha_bar_s": {"bar_s - sigma**2": "bar_t"},
        "the direction does not make room for the fresh noise: sigma^2 is missing under its root": {" - sigma**2": ""},
        "sigma stands under the root of the direction; its square, the variance, belongs there": {"sigma**2": "sigma"},
        "the picture is put back at its old size: alpha_bar_t stands for alpha_bar_s": {"bar_s.sqrt() *": "bar_t.sqrt() *"},
        "the square roots are missing": {"bar_s.sqrt()": "bar_s", "- sigma**2).sqrt()": "- sigma**2)"},
        "eta is forgotten: the noise is always that of eta = 1": {"eta * (": "1 * ("},
        "eta is squared: it multiplies sigma, not its square": {"eta * (": "eta**2 * ("},
        "no noise is ever added": {" + sigma * z": ""},
        "the variance sigma^2 multiplies z; it should be sigma": {"sigma * z": "sigma**2 * z"},
        "eta itself multiplies z; sigma should": {"sigma * z": "eta * z"},
        "x_0 and the noise are swapped": {"* pred.x0 + direction * pred.eps": "* pred.eps + direction * pred.x0"},
        "x_t stands where the predicted x_0 belongs": {"pred.x0": "x_t"},
        "the predicted x_0 is clipped to [-1, 1], which eq. 12 does not do": {"pred.x0": "pred.x0.clamp(-1, 1)"},
        "the step goes to t - 1, whatever s": {"(s)": "(t - 1)"},
        "times are counted from 0: alpha_bar(t) is that of t steps, and alpha_bar(0) is 1": {
            "alpha_bar(t)": "alpha_bar(t + 1)",
            "alpha_bar(s)": "alpha_bar(s + 1)",
        },
        "sigma is that of a forward step: the factor (1 - alpha_bar_s) / (1 - alpha_bar_t) is missing": {
            "(1 - bar_s) / (1 - bar_t) * ": "",
            "sigma**2)": "sigma**2).clamp(min=0)",
        },
        "the fraction in sigma is turned over: (1 - alpha_bar_s) / (1 - alpha_bar_t) is asked for": {
            "(1 - bar_s) / (1 - bar_t)": "(1 - bar_t) / (1 - bar_s)"
        },
    },
    hint="pred = denoiser(x_t, t); sigma = eta sqrt((1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s)); "
    "sqrt(abar_s) pred.x0 + sqrt(1 - abar_s - sigma^2) pred.eps + sigma z.",
    shown=(samplers.ddim,),
)


def _inversion_step(denoiser, x_s, s, t):
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
        Case("x_s is left as it was", after(DENOISER, PICTURES, 20, 40)),
    ],
    mistakes={
        "the noise is predicted at t; the picture is at s, and there it must be predicted": {"(x_s, s)": "(x_s, t)"},
        "the move goes nowhere: predict x_0 with alpha_bar_s, and noise it with alpha_bar_t": {"alpha_bar(t)": "alpha_bar(s)"},
        "the move goes down: s and t have changed places": {
            "alpha_bar(s), denoiser.process.alpha_bar(t)": "alpha_bar(t), denoiser.process.alpha_bar(s)",
            "(x_s, s)": "(x_s, t)",
        },
        "alpha_bar_s and alpha_bar_t have changed places": {
            "alpha_bar(s), denoiser.process.alpha_bar(t)": "alpha_bar(t), denoiser.process.alpha_bar(s)"
        },
        "x_s itself is mixed with the noise, not the predicted x_0": {"bar_t.sqrt() * x0": "bar_t.sqrt() * x_s"},
        "the picture keeps its old size: sqrt(alpha_bar_t) should multiply the predicted x_0": {
            "bar_t.sqrt() *": "bar_s.sqrt() *"
        },
        "the noise keeps its old size: sqrt(1 - alpha_bar_t) should multiply it": {"(1 - bar_t).sqrt()": "(1 - bar_s).sqrt()"},
        "this is the forward chain, with the predicted noise as if it were fresh: x_s contains that noise already": {
            "return": "return (bar_t / bar_s).sqrt() * x_s + (1 - bar_t / bar_s).sqrt() * eps\n    return"
        },
        "the predicted x_0 is clipped to [-1, 1]: it no longer fits the noise, and the way down ends elsewhere": {
            "bar_t.sqrt() * x0": "bar_t.sqrt() * x0.clamp(-1, 1)"
        },
        "times are counted from 0: alpha_bar(t) is that of t steps, and alpha_bar(0) is 1": {
            "alpha_bar(s)": "alpha_bar(s - 1)",
            "alpha_bar(t)": "alpha_bar(t - 1)",
        },
        "the noise is taken away once more: its sign is turned": {"x0 + (1": "x0 - (1"},
        "the square roots are missing": {"bar_t.sqrt() * x0 + (1 - bar_t).sqrt()": "bar_t * x0 + (1 - bar_t)"},
        "the bar is lost: alpha stands where alpha_bar belongs": {"alpha_bar(s)": "alpha(s)", "alpha_bar(t)": "alpha(t)"},
    },
    hint="eps = denoiser(x_s, s).eps; x_0 = (x_s - sqrt(1 - abar_s) eps) / sqrt(abar_s); "
    "then sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.",
    shown=(samplers.invert,),
)
