"""Lesson 01."""

import math

import numpy as np
import torch


def by_loop(process, x0, t, eps):
    t = torch.as_tensor(t).expand(len(x0))
    each = [x * process.alpha_bar(int(s)).sqrt() + e * (1 - process.alpha_bar(int(s))).sqrt() for x, s, e in zip(x0, t, eps)]
    return torch.stack(each).float()


def in_float64(process, x0, t, eps):
    alpha_bar = torch.as_tensor(process.alpha_bar(t)).reshape(-1, 1, 1, 1)
    return torch.lerp(torch.zeros_like(x0).double(), x0.double(), alpha_bar.sqrt()) + eps.double() * (1 - alpha_bar) ** 0.5


def in_numpy(process, x0, t, eps):
    alpha_bar = np.cumprod(np.append(1, 1 - process.betas.numpy()))[np.asarray(t)].reshape(-1, 1, 1, 1)
    return np.sqrt(alpha_bar) * x0.numpy() + np.sqrt(1 - alpha_bar) * eps.numpy()


def by_einsum(process, x0, t, eps):
    t = torch.as_tensor(t).expand(len(x0))
    a, b = process.signal(t).float(), process.noise(t).float()
    return torch.einsum("b,b...->b...", a, x0) + torch.einsum("b,b...->b...", b, eps)


def swapped(process, x0, t, eps):
    return process.add_noise(eps, t, x0)


def rootless(process, x0, t, eps):
    alpha_bar = process.alpha_bar(t).view(-1, 1, 1, 1)
    return alpha_bar * x0 + (1 - alpha_bar) * eps


def unbarred(process, x0, t, eps):
    alpha = 1 - process.beta(t).view(-1, 1, 1, 1)
    return alpha**0.5 * x0 + (1 - alpha) ** 0.5 * eps


def unbroadcast(process, x0, t, eps):
    return process.alpha_bar(t).sqrt() * x0 + (1 - process.alpha_bar(t)).sqrt() * eps


def one_time(process, x0, t, eps):
    return process.add_noise(x0, torch.as_tensor(t).reshape(-1)[0].item(), eps)


def root_inside_out(process, x0, t, eps):
    a = process.signal(t).view(-1, 1, 1, 1)
    return a * x0 + (1 - a) * eps


def in_place(process, x0, t, eps):
    a, b = process.coefficients(t, x0)
    return x0.mul_(a).add_(b * eps)


def own_noise(process, x0, t, eps):
    return process.add_noise(x0, t, torch.randn_like(x0))


def sign(process, x0, t, eps):
    return -process.add_noise(x0, t, eps)


def misspelt(process, x0, t, eps):
    return process.add_nois(x0, t, eps)


def flattened(process, x0, t, eps):
    return process.add_noise(x0, t, eps).flatten(1)


def in_floats(T=1000):
    """A list of numbers, as diffusers has it."""
    bar = lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return [min(1 - bar((t + 1) / T) / bar(t / T), 0.999) for t in range(T)]


def in_numpy_with_alpha_bar(T=1000):
    f = np.cos((np.linspace(0, 1, T + 1) + 0.008) / 1.008 * np.pi / 2) ** 2
    alpha_bar = f / f[0]
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


def in_float32(T=1000):
    f = torch.cos((torch.arange(T + 1) / T + 0.008) / 1.008 * torch.pi / 2).square()
    return torch.clip(1 - f[1:] / f[:-1], 0, 0.999)


def by_twice_the_angle(T=1000):
    """cos^2 u = (1 + cos 2u) / 2, and beta = (f(t - 1) - f(t)) / f(t - 1)."""
    f = 1 + torch.cos((torch.linspace(0, 1, T + 1, dtype=torch.float64) + 0.008) / 1.008 * torch.pi)
    return (-f.diff() / f[:-1]).clamp(max=0.999)


def cosine(f=lambda u: np.cos(u * np.pi / 2) ** 2, s=0.008, max_beta=0.999, beta=lambda f: 1 - f[1:] / f[:-1]):
    return lambda T=1000: np.minimum(beta(f((np.arange(T + 1) / T + s) / (1 + s))), max_beta)


def linear(T=1000):
    return np.linspace(1e-4, 0.02, T)


def letters(process, x_t, x0, t):
    """Ho et al. 2020, eq. 7."""
    alpha, bar, before = (v.reshape(-1, 1, 1, 1) for v in (process.alpha(t), process.alpha_bar(t), process.alpha_bar(t - 1)))
    mean = (before**0.5 * (1 - alpha) * x0 + alpha**0.5 * (1 - before) * x_t) / (1 - bar)
    return mean, (1 - before) / (1 - bar) * (1 - alpha)


def by_precisions(process, x_t, x0, t):
    """Bayes' rule for two Gaussians: precisions add, and the mean is the weighted one. At t = 1 the prior is certain."""
    alpha, beta, before = (v.view(-1, 1, 1, 1) for v in (process.alpha(t), process.beta(t), process.alpha_bar(t - 1)))
    prior, step = 1 / (1 - before).clamp(min=1e-12), alpha / beta
    return (prior * before.sqrt() * x0 + step * x_t / alpha.sqrt()) / (prior + step), 1 / (prior + step)


def by_conditioning(process, x_t, x0, t):
    """The joint Gaussian of (x_{t-1}, x_t) given x_0, and its regression of the first on the second; variance per pixel."""
    a, s = process.alpha(t).view(-1, 1, 1, 1), process.alpha_bar(t - 1).view(-1, 1, 1, 1)
    covariance, variance = a.sqrt() * (1 - s), 1 - process.alpha_bar(t).view(-1, 1, 1, 1)
    mean = s.sqrt() * x0 + covariance / variance * (x_t - (a * s).sqrt() * x0)
    return mean, ((1 - s) - covariance**2 / variance).expand_as(x0)


def with_variances_in_a_row(process, x_t, x0, t):
    mean, variance = process.posterior(x_t, x0, t)
    return mean.numpy(), variance.flatten()


def changed(change):
    """Eq. 7 with its parts changed by name."""

    def posterior(process, x_t, x0, t):
        known = alpha, bar, before = [
            torch.as_tensor(v).view(-1, 1, 1, 1) for v in (process.alpha(t), process.alpha_bar(t), process.alpha_bar(t - 1))
        ]
        parts = dict(x0=before.sqrt() * (1 - alpha) / (1 - bar), x_t=alpha.sqrt() * (1 - before) / (1 - bar))
        parts |= dict(variance=(1 - alpha) * (1 - before) / (1 - bar)) | change(*known)
        return parts["x0"] * x0 + parts["x_t"] * x_t, parts["variance"]

    return posterior


def posterior_unbroadcast(process, x_t, x0, t):
    beta, bar, before = process.beta(t), process.alpha_bar(t), process.alpha_bar(t - 1)
    mean = (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * x_t) / (1 - bar)
    return mean, beta * (1 - before) / (1 - bar)


def posterior_one_time(process, x_t, x0, t):
    return process.posterior(x_t, x0, int(torch.as_tensor(t).flatten()[0]))


def posterior_sampled(process, x_t, x0, t):
    mean, variance = process.posterior(x_t, x0, t)
    return mean + variance.sqrt() * torch.randn_like(mean)


RIGHT = {
    "add_noise": [by_loop, in_float64, in_numpy, by_einsum],
    "cosine_beta": [in_floats, in_numpy_with_alpha_bar, in_float32, by_twice_the_angle],
    "posterior": [letters, by_precisions, by_conditioning, with_variances_in_a_row],
}

WRONG = {
    "add_noise": [
        ("other way round", swapped),
        ("square roots are missing", rootless),
        ("single step", unbarred),
        ("not broadcast", unbroadcast),
        ("not for a batch", one_time),
        ("1 - sqrt(alpha_bar) stands", root_inside_out),
        ("written into x0", in_place),
        ("✗ without a picture, the noise that was given", own_noise),
        ("sign is turned", sign),
        ("AttributeError: 'DDPM' object has no attribute 'add_nois'", misspelt),
        ("its shape is (3, 40)", flattened),
    ],
    "cosine_beta": [
        ("alpha_bar itself is returned", cosine(beta=lambda f: (f / f[0])[1:], max_beta=1)),
        ("not divided by f(0)", cosine(beta=lambda f: f[1:], max_beta=1)),
        ("1 - alpha_bar stands", cosine(beta=lambda f: 1 - f[1:] / f[0])),
        ("which is alpha", cosine(beta=lambda f: f[1:] / f[:-1])),
        ("not squared", cosine(f=lambda u: np.cos(u * np.pi / 2))),
        ("the half is missing", cosine(f=lambda u: np.cos(u * np.pi) ** 2)),
        ("a sine stands", cosine(f=lambda u: 1 - np.cos(u * np.pi / 2) ** 2)),
        ("offset s is missing", cosine(s=0)),
        ("not cut at 0.999", cosine(max_beta=1)),
        ("T + 1 betas", lambda T: [0, *in_floats(T)]),
        ("T - 1 betas", lambda T: in_floats(T)[1:]),
        ("T is fixed", lambda T: in_floats(1000)),
        ("✗ alpha_bar, their running product", linear),
    ],
    "posterior": [
        ("the variance is beta_t", changed(lambda alpha, bar, before: dict(variance=1 - alpha))),
        ("standard deviation", changed(lambda a, bar, s: dict(variance=((1 - a) * (1 - s) / (1 - bar)) ** 0.5))),
        ("upside down", changed(lambda alpha, bar, before: dict(variance=(1 - alpha) * (1 - bar) / (1 - before)))),
        ("that of q(x_(t-1) | x_0), without x_t", changed(lambda alpha, bar, before: dict(variance=1 - before))),
        ("belongs before x_0", changed(lambda alpha, bar, before: dict(x0=bar**0.5 * (1 - alpha) / (1 - bar)))),
        ("belongs before x_t", changed(lambda alpha, bar, before: dict(x_t=bar**0.5 * (1 - before) / (1 - bar)))),
        ("below the line", changed(lambda a, bar, s: dict(x0=s**0.5, x_t=a**0.5 * (1 - s) / (1 - a)))),
        ("square roots", changed(lambda a, bar, s: dict(x0=s * (1 - a) / (1 - bar), x_t=a * (1 - s) / (1 - bar)))),
        ("x_t and x_0 have changed places", lambda process, x_t, x0, t: letters(process, x0, x_t, t)),
        ("mean and variance have changed places", lambda *given: tuple(reversed(letters(*given)))),
        ("only the mean comes back", lambda *given: letters(*given)[0]),
        ("not broadcast", posterior_unbroadcast),
        ("✗ the mean, a t for each", posterior_one_time),
        ("✗ the share of x_t in the mean", posterior_sampled),
    ],
}
