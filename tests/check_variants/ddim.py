"""Lesson 14."""

import torch

from course_lib.samplers import ddim


def by_library(denoiser, x_t, t, s, eta, z):
    """The library's own sampler, for one move, with its noise replaced."""
    without = [step.x for step in ddim(denoiser, x_t, torch.tensor([t, s]), 0.0)][-1]
    if eta == 0:
        return without
    pred, process = denoiser(x_t, t), denoiser.process
    _, variance = (float(v) for v in (0, (1 - process.alpha_bar(s)) / (1 - process.alpha_bar(t))))
    sigma = eta * (variance * (1 - float(process.alpha_bar(t) / process.alpha_bar(s)))) ** 0.5
    rest = float(1 - process.alpha_bar(s))
    return without + ((max(rest - sigma**2, 0)) ** 0.5 - rest**0.5) * pred.eps + sigma * z


def by_coefficients(denoiser, x_t, t, s, eta, z):
    (a, b), (c, d) = denoiser.process.coefficients(t, x_t), denoiser.process.coefficients(s, x_t)
    eps = denoiser(x_t, t).eps
    sigma = eta * d / b * (1 - a**2 / c**2) ** 0.5
    return c * (x_t - b * eps) / a + (d**2 - sigma**2) ** 0.5 * eps + sigma * z


def by_posterior(denoiser, x_t, t, s, eta, z):
    """Through the variance of the chain with the steps between left out."""
    bar_t, bar_s = denoiser.process.alpha_bar(torch.tensor([t, s])).tolist()
    variance = eta**2 * (1 - bar_s) * (bar_s - bar_t) / (bar_s * (1 - bar_t))
    pred = denoiser(x_t, t)
    return bar_s**0.5 * pred.x0 + (1 - bar_s - variance) ** 0.5 * pred.eps + variance**0.5 * z


def _mixed(denoiser, x_t, t, s):
    return denoiser(x_t, t), *denoiser.process.alpha_bar(torch.tensor([t, s]))


def _sigma(bar_t, bar_s, eta):
    return eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)) ** 0.5


def old_noise(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    return bar_s**0.5 * pred.x0 + (1 - bar_t) ** 0.5 * pred.eps + _sigma(bar_t, bar_s, eta) * z


def no_room(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    return bar_s**0.5 * pred.x0 + (1 - bar_s) ** 0.5 * pred.eps + _sigma(bar_t, bar_s, eta) * z


def always_noisy(denoiser, x_t, t, s, eta, z):
    return by_posterior(denoiser, x_t, t, s, 1.0, z)


def silent(denoiser, x_t, t, s, eta, z):
    return by_posterior(denoiser, x_t, t, s, eta, 0 * z)


def old_picture(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    sigma = _sigma(bar_t, bar_s, eta)
    return bar_t**0.5 * pred.x0 + (1 - bar_s - sigma**2) ** 0.5 * pred.eps + sigma * z


def up_by_add_noise(denoiser, x_s, s, t):
    pred = denoiser(x_s, s)
    return denoiser.process.add_noise(pred.x0, t, pred.eps)


def up_by_coefficients(denoiser, x_s, s, t):
    (a, b), (c, d) = denoiser.process.coefficients(s, x_s), denoiser.process.coefficients(t, x_s)
    eps = denoiser(x_s, s).eps
    return c / a * x_s + (d - c * b / a) * eps


def up_by_ratio(denoiser, x_s, s, t):
    """Song et al. 2021, eq. 13 and 14: x / sqrt(abar) moves by eps times the change of sqrt((1 - abar) / abar)."""
    bar = denoiser.process.alpha_bar(torch.tensor([s, t]))
    ratio = ((1 - bar) / bar).sqrt()
    return bar[1].sqrt() * (x_s / bar[0].sqrt() + (ratio[1] - ratio[0]) * denoiser(x_s, s).eps)


def asked_above(denoiser, x_s, s, t):
    a, b = denoiser.process.coefficients(s, x_s)
    eps = denoiser(x_s, t).eps
    return denoiser.process.add_noise((x_s - b * eps) / a, t, eps)


def nowhere(denoiser, x_s, s, t):
    pred = denoiser(x_s, s)
    return denoiser.process.add_noise(pred.x0, s, pred.eps)


def from_x_s(denoiser, x_s, s, t):
    return denoiser.process.add_noise(x_s, t, denoiser(x_s, s).eps)


def turned(denoiser, x_s, s, t):
    pred = denoiser(x_s, s)
    return denoiser.process.add_noise(pred.x0, t, -pred.eps)


RIGHT = {
    "ddim_step": [by_library, by_coefficients, by_posterior],
    "inversion_step": [up_by_add_noise, up_by_coefficients, up_by_ratio],
}
WRONG = {
    "ddim_step": [
        ("the noise is put back at its old size", old_noise),
        ("sigma^2 is missing under its root", no_room),
        ("eta is forgotten", always_noisy),
        ("no noise is ever added", silent),
        ("the picture is put back at its old size", old_picture),
    ],
    "inversion_step": [
        ("the noise is predicted at t", asked_above),
        ("the move goes nowhere", nowhere),
        ("x_s itself is mixed", from_x_s),
        ("its sign is turned", turned),
    ],
}
