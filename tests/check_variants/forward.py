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


# What was tried: whole functions, as they would stand in the cell


def mirrored(process, x0, t, eps):
    alpha_bar = process.alpha_bar(t).reshape(-1, 1, 1, 1)
    return (1 - alpha_bar).sqrt() * x0 + alpha_bar.sqrt() * eps


def variances(process, x0, t, eps):
    ab = process.alpha_bar(t).view(-1, 1, 1, 1)
    return ab * x0 + (1 - ab) * eps


def one_root(process, x0, t, eps):
    ab = process.alpha_bar(t).view(-1, 1, 1, 1)
    return torch.sqrt(ab) * x0 + (1 - ab) * eps


def one_step(process, x0, t, eps):
    beta_t = process.beta(t).view(-1, 1, 1, 1)
    return torch.sqrt(1 - beta_t) * x0 + torch.sqrt(beta_t) * eps


def indexed_by_none(process, x0, t, eps):
    ab = process.alpha_bar(t)[:, None, None, None]
    return ab.sqrt() * x0 + (1 - ab).sqrt() * eps


def as_it_stands(process, x0, t, eps):
    ab = process.alpha_bar(t)
    return torch.sqrt(ab) * x0 + torch.sqrt(1 - ab) * eps


def from_a_table_that_starts_at_0(process, x0, t, eps):
    """As diffusers has it: alphas_cumprod[timesteps]."""
    alphas_cumprod = torch.cumprod(1.0 - process.betas, dim=0)
    sqrt_alpha_prod = alphas_cumprod[t] ** 0.5
    sqrt_one_minus_alpha_prod = (1 - alphas_cumprod[t]) ** 0.5
    return sqrt_alpha_prod.view(-1, 1, 1, 1) * x0 + sqrt_one_minus_alpha_prod.view(-1, 1, 1, 1) * eps


def a_step_early(process, x0, t, eps):
    ab = process.alpha_bar(t - 1).view(-1, 1, 1, 1)
    return ab.sqrt() * x0 + (1 - ab).sqrt() * eps


def clamped(process, x0, t, eps):
    ab = process.alpha_bar(t).view(-1, 1, 1, 1)
    return torch.clamp(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, -1, 1)


def unscaled(process, x0, t, eps):
    return x0 + (1 - process.alpha_bar(t)).sqrt().view(-1, 1, 1, 1) * eps


def with_global_noise(process, x0, t, eps):
    eps = torch.randn_like(x0)
    ab = process.alpha_bar(t).view(-1, 1, 1, 1)
    return ab.sqrt() * x0 + (1 - ab).sqrt() * eps


def squared_twice(process, x0, t, eps):
    signal = process.alpha_bar(t).view(-1, 1, 1, 1)
    return signal * x0 + (1 - signal**2).sqrt() * eps


def returns_both(process, x0, t, eps):
    ab = process.alpha_bar(t).view(-1, 1, 1, 1)
    return ab.sqrt() * x0 + (1 - ab).sqrt() * eps, eps


def annotated_diffusion(T=1000):
    """As in a tutorial that is much copied."""
    x = torch.linspace(0, T, T + 1)
    alphas_cumprod = torch.cos(((x / T) + 0.008) / 1.008 * torch.pi * 0.5) ** 2
    alphas_cumprod = alphas_cumprod / alphas_cumprod[0]
    return torch.clip(1 - alphas_cumprod[1:] / alphas_cumprod[:-1], 0.0001, 0.9999)


def alpha_bars(T=1000):
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return f[1:] / f[0]


def T_times(T=1000):
    t = torch.arange(T, dtype=torch.float64) / T
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return torch.clamp(1 - f[1:] / f[:-1], max=0.999)


def T_times_to_the_end(T=1000):
    t = torch.linspace(0, 1, T, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return torch.clamp(1 - f[1:] / f[:-1], max=0.999)


def with_a_zero(T=1000):
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return torch.cat([torch.zeros(1), (1 - f[1:] / f[:-1]).clamp(max=0.999)])


def uncut(T=1000):
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return 1 - f[1:] / f[:-1]


def plain_cosine(T=1000):
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2)
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def without_offset(T=1000):
    f = torch.cos(torch.linspace(0, 1, T + 1, dtype=torch.float64) * torch.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def brackets_lost(T=1000):
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + 0.008 / 1.008) * torch.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def ratio_turned(T=1000):
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (1 - f[:-1] / f[1:]).clamp(max=0.999)


def alphas(T=1000):
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return f[1:] / f[:-1]


def the_linear_one(T=1000):
    return torch.linspace(0.0001, 0.02, T)


def ones_less_alpha_bar(T=1000):
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (1 - f / f[0])[1:]


def _bars(process, t):
    return process.alpha_bar(t).reshape(-1, 1, 1, 1), process.alpha_bar(t - 1).reshape(-1, 1, 1, 1)


def forward_variance(process, x_t, x0, t):
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar_prev.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x_t
    return mean, beta


def standard_deviation(process, x_t, x0, t):
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar_prev.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x_t
    return mean, torch.sqrt(beta * (1 - bar_prev) / (1 - bar))


def log_variance(process, x_t, x0, t):
    """As OpenAI's code has it, for numerical stability."""
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar_prev.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x_t
    return mean, (beta * (1 - bar_prev) / (1 - bar)).clamp(min=1e-20).log()


def bar_of_t(process, x_t, x0, t):
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x_t
    return mean, beta * (1 - bar_prev) / (1 - bar)


def bar_before_x_t(process, x_t, x0, t):
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar_prev.sqrt() * beta / (1 - bar) * x0 + bar.sqrt() * (1 - bar_prev) / (1 - bar) * x_t
    return mean, beta * (1 - bar_prev) / (1 - bar)


def beta_lost(process, x_t, x0, t):
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar_prev.sqrt() / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x_t
    return mean, beta * (1 - bar_prev) / (1 - bar)


def exchanged(process, x_t, x0, t):
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar_prev.sqrt() * beta / (1 - bar) * x_t + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x0
    return mean, beta * (1 - bar_prev) / (1 - bar)


def a_time_early(process, x_t, x0, t):
    t = t - 1  # counted from 0
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar_prev.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x_t
    return mean, beta * (1 - bar_prev) / (1 - bar)


def only_the_mean(process, x_t, x0, t):
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    return bar_prev.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x_t


def by_index(process, x_t, x0, t):
    beta, bar, bar_prev = process.beta(t), process.alpha_bar(t), process.alpha_bar(t - 1)
    c0, ct = bar_prev.sqrt() * beta / (1 - bar), (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar)
    mean = c0[:, None, None, None] * x0 + ct[:, None, None, None] * x_t
    return mean, (beta * (1 - bar_prev) / (1 - bar))[:, None, None, None]


def not_reshaped(process, x_t, x0, t):
    beta, bar, bar_prev = process.beta(t), process.alpha_bar(t), process.alpha_bar(t - 1)
    mean = (torch.sqrt(bar_prev) * beta * x0 + torch.sqrt(1 - beta) * (1 - bar_prev) * x_t) / (1 - bar)
    return mean, beta * (1 - bar_prev) / (1 - bar)


def a_sample(process, x_t, x0, t):
    beta, (bar, bar_prev) = process.beta(t).reshape(-1, 1, 1, 1), _bars(process, t)
    mean = bar_prev.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_prev) / (1 - bar) * x_t
    variance = beta * (1 - bar_prev) / (1 - bar)
    return mean + variance.sqrt() * torch.randn_like(mean), variance


TRIED = {
    "add_noise": [
        ("the other way round", mirrored),
        ("the square roots are missing", variances),
        ("the square root of 1 - alpha_bar is missing", one_root),
        ("a single step", one_step),
        ("not for one number t", indexed_by_none),
        ("not broadcast", as_it_stands),
        ("counted from 0", from_a_table_that_starts_at_0),
        ("one step too early", a_step_early),
        ("clamped", clamped),
        ("the picture is not scaled", unscaled),
        ("", with_global_noise),
        ("as if it were its root", squared_twice),
        ("", returns_both),
    ],
    "cosine_beta": [
        ("0.0001 to 0.9999", annotated_diffusion),
        ("alpha_bar itself is returned", alpha_bars),
        ("f is needed at T + 1 times", T_times),
        ("f is needed at T + 1 times", T_times_to_the_end),
        ("there are T + 1 betas", with_a_zero),
        ("not cut at 0.999", uncut),
        ("not squared", plain_cosine),
        ("the offset s is missing", without_offset),
        ("brackets", brackets_lost),
        ("upside down", ratio_turned),
        ("which is alpha", alphas),
        ("the linear schedule", the_linear_one),
        ("1 - alpha_bar stands", ones_less_alpha_bar),
    ],
    "posterior": [
        ("the variance is beta_t", forward_variance),
        ("the standard deviation is returned", standard_deviation),
        ("the logarithm", log_variance),
        ("belongs before x_0", bar_of_t),
        ("belongs before x_t", bar_before_x_t),
        ("beta_t is missing", beta_lost),
        ("have changed places", exchanged),
        ("one step too early", a_time_early),
        ("only the mean", only_the_mean),
        ("not for one number t", by_index),
        ("not broadcast", not_reshaped),
        ("", a_sample),
    ],
}


def by_addcmul(process, x0, t, eps):
    a = process.alpha_bar(t).sqrt().reshape(-1, 1, 1, 1).to(x0.dtype)
    return torch.addcmul(a * x0, (1 - a.square()).sqrt(), eps)


def on_its_own_copy(process, x0, t, eps):
    x_t, bar = x0.clone(), torch.as_tensor(process.alpha_bar(t)).view(-1, 1, 1, 1)
    x_t *= bar.sqrt()
    x_t += (1 - bar).sqrt() * eps
    return x_t


def step_by_step(process, x0, t, eps):
    """The signal and the variance of t single steps, as the derivation has it."""
    t = torch.as_tensor(t).expand(len(x0))
    signal, variance = torch.ones(len(x0)), torch.zeros(len(x0))
    for s in range(1, int(t.max()) + 1):
        alpha = torch.where(s <= t, process.alpha(s), 1.0)
        signal, variance = signal * alpha.sqrt(), variance * alpha + 1 - alpha
    return signal.view(-1, 1, 1, 1) * x0 + variance.sqrt().view(-1, 1, 1, 1) * eps


def from_the_last_dimension(process, x0, t, eps):
    bar = process.alpha_bar(t)
    return (bar.sqrt() * x0.movedim(0, -1) + (1 - bar).sqrt() * eps.movedim(0, -1)).movedim(-1, 0)


def diffusers_with_its_loop(T=1000):
    betas = []
    for i in range(T):
        t1, t2 = i / T, (i + 1) / T
        alpha_bar = lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        betas.append(min(1 - alpha_bar(t2) / alpha_bar(t1), 0.999))
    return torch.tensor(betas, dtype=torch.float32)


def in_a_row(T=1000):
    """In numbers of torch from 0 to T, through logarithms."""
    t = torch.arange(0, T + 1).double()
    log_f = 2 * torch.cos((t / T + 0.008) / 1.008 * torch.pi / 2).abs().clamp(min=1e-300).log()
    return torch.minimum(-torch.expm1(log_f.diff()), torch.tensor(0.999))


def by_tangent(T=1000):
    """1 - cos^2(b) / cos^2(a) by a sum of angles."""
    u = (np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2
    a, b = u[:-1], u[1:]
    return torch.from_numpy(np.clip(np.sin(b - a) * np.sin(b + a) / np.cos(a) ** 2, None, 0.999))


def through_eps(process, x_t, x0, t):
    """The mean by the noise that leads from x_0 to x_t: Algorithm 2's line."""
    beta, bar, before = (v.view(-1, 1, 1, 1) for v in (process.beta(t), process.alpha_bar(t), process.alpha_bar(t - 1)))
    eps = (x_t - bar.sqrt() * x0) / (1 - bar).sqrt()
    return (x_t - beta / (1 - bar).sqrt() * eps) / (1 - beta).sqrt(), beta * (1 - before) / (1 - bar)


def in_any_shape(process, x_t, x0, t):
    view = lambda v: torch.as_tensor(v).reshape(-1, *[1] * (x_t.dim() - 1)).to(x_t)
    beta, bar, before = view(process.beta(t)), view(process.alpha_bar(t)), view(process.alpha_bar(t - 1))
    mean = torch.sqrt(before) * beta / (1 - bar) * x0 + torch.sqrt(1 - beta) * (1 - before) / (1 - bar) * x_t
    return [mean, torch.clamp(beta * (1 - before) / (1 - bar), min=1e-20)]


def one_after_the_other(process, x_t, x0, t):
    each = [int(s) for s in torch.as_tensor(t).expand(len(x_t))]
    means, variances = zip(*(process.posterior(x[None], y[None], s) for x, y, s in zip(x_t, x0, each)))
    return torch.cat(means), torch.cat(variances)


RIGHT["add_noise"] += [by_addcmul, on_its_own_copy, step_by_step, from_the_last_dimension]
RIGHT["cosine_beta"] += [diffusers_with_its_loop, in_a_row, by_tangent]
RIGHT["posterior"] += [through_eps, in_any_shape, one_after_the_other]


# reverse_chain


def in_a_list(process, x0, rng):
    chain = [torch.randn(x0.shape, generator=rng)]
    for t in reversed(range(1, process.T + 1)):
        mean, variance = process.posterior(chain[-1], x0, t)
        chain += [mean + variance**0.5 * torch.randn(mean.shape, generator=rng)]
    return torch.stack(chain)


def into_a_tensor(process, x0, rng):
    """All noise drawn at once."""
    z = torch.randn(process.T + 1, *x0.shape, generator=rng)
    chain = torch.empty(process.T + 1, *x0.shape)
    chain[0] = z[-1]
    for i in range(process.T):
        mean, variance = process.posterior(chain[i], x0, process.T - i)
        chain[i + 1] = mean + variance.sqrt() * z[i]
    return chain


def without_noise_at_the_end(process, x0, rng):
    x, made = torch.randn(x0.shape, generator=rng), []
    for t in range(process.T, 0, -1):
        made.append(x)
        mean, variance = process.posterior(x, x0, t)
        x = mean + (variance.sqrt() * torch.randn(x0.shape, generator=rng) if t > 1 else 0)
    return torch.stack([*made, x])


def by_the_formula(process, x0, rng):
    x = torch.randn(x0.shape, generator=rng)
    chain = x[None]
    for t in range(process.T, 0, -1):
        bar, before, beta = float(process.alpha_bar(t)), float(process.alpha_bar(t - 1)), float(process.beta(t))
        mean = before**0.5 * beta / (1 - bar) * x0 + (1 - beta) ** 0.5 * (1 - before) / (1 - bar) * x
        x = mean + ((1 - before) / (1 - bar) * beta) ** 0.5 * torch.normal(0.0, 1.0, x0.shape, generator=rng)
        chain = torch.cat([chain, x[None]])
    return chain


def with_a_batch_of_t(process, x0, rng):
    x = torch.randn(x0.shape, generator=rng)
    chain = [x]
    for t in range(process.T, 0, -1):
        mean, variance = process.posterior(x, x0, torch.full((len(x0),), t))
        x = (mean + variance.sqrt() * torch.randn(x0.shape, generator=rng)).double().float()
        chain.append(x)
    return torch.stack(chain, 0)


def for_pictures_alone(process, x0, rng):
    """With a posterior whose factors are (B, 1, 1, 1), as exercise 3 asks."""
    chain = [torch.randn(x0.shape, generator=rng)]
    for t in range(process.T, 0, -1):
        factors = process.alpha_bar(t), process.alpha_bar(t - 1), process.beta(t)
        bar, before, beta = (v.view(-1, 1, 1, 1).to(x0) for v in factors)
        mean = (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * chain[-1]) / (1 - bar)
        chain.append(mean + ((1 - before) / (1 - bar) * beta).sqrt() * torch.randn(x0.shape, generator=rng))
    return torch.stack(chain)


def _reverse(step=lambda p, x, x0, t, m, v, z: m + v.sqrt() * z, start=lambda p, x0, n: n, times=None, keep=torch.stack):
    """A chain of other steps, from another start, over other times, or put together in another way."""

    def chain(process, x0, rng):
        x = start(process, x0, torch.randn(x0.shape, generator=rng))
        made = [x]
        for t in range(process.T, 0, -1) if times is None else times(process.T):
            mean, variance = process.posterior(x, x0, t)
            x = step(process, x, x0, t, mean, variance, torch.randn(x0.shape, generator=rng)).float()
            made.append(x)
        return keep(made)

    return chain


def always_from_the_start(process, x0, rng):
    x_t = torch.randn(x0.shape, generator=rng)
    chain = [x_t]
    for t in range(process.T, 0, -1):
        mean, variance = process.posterior(x_t, x0, t)
        chain.append(mean + variance.sqrt() * torch.randn(x0.shape, generator=rng))
    return torch.stack(chain)


def one_noise(process, x0, rng):
    x = z = torch.randn(x0.shape, generator=rng)
    chain = [x]
    for t in range(process.T, 0, -1):
        mean, variance = process.posterior(x, x0, t)
        x = mean + variance.sqrt() * z
        chain.append(x)
    return torch.stack(chain)


def own_noise(process, x0, rng):
    x = torch.randn(x0.shape, generator=rng)
    chain = [x]
    for t in range(process.T, 0, -1):
        mean, variance = process.posterior(x, x0, t)
        x = mean + variance.sqrt() * torch.randn_like(x)
        chain.append(x)
    return torch.stack(chain)


RIGHT["reverse_chain"] = [
    in_a_list,
    into_a_tensor,
    without_noise_at_the_end,
    by_the_formula,
    with_a_batch_of_t,
    for_pictures_alone,
]
WRONG["reverse_chain"] = [
    ("no noise is added", _reverse(step=lambda p, x, x0, t, m, v, z: m)),
    ("in the order x_0 to x_T", _reverse(keep=lambda made: torch.stack(made[::-1]))),
    ("x_0 is missing", _reverse(times=lambda T: range(T, 1, -1))),
]
TRIED["reverse_chain"] = [
    ("no noise is added", _reverse(step=lambda p, x, x0, t, m, v, z: m)),
    ("multiplied by the variance", _reverse(step=lambda p, x, x0, t, m, v, z: m + v * z)),
    ("in the order x_0 to x_T", _reverse(keep=lambda made: torch.stack(made[::-1]))),
    ("only the last", _reverse(keep=lambda made: made[-1])),
    ("x_T, is missing", _reverse(keep=lambda made: torch.stack(made[1:]))),
    ("x_0 is missing", _reverse(times=lambda T: range(T, 1, -1))),
    ("runs forward", _reverse(times=lambda T: range(1, T + 1))),
    ("never uses the x_t", always_from_the_start),
    ("starts from x_0", _reverse(start=lambda p, x0, n: x0)),
    ("q(x_T | x_0)", _reverse(start=lambda p, x0, n: p.add_noise(x0, p.T, n))),
    ("the same noise", one_noise),
    ("without x_t", _reverse(step=lambda p, x, x0, t, m, v, z: p.add_noise(x0, t - 1, z))),
    ("variance beta_t", _reverse(step=lambda p, x, x0, t, m, v, z: m + p.beta(t).sqrt() * z)),
    ("not drawn from rng", own_noise),
    ("", _reverse(step=lambda p, x, x0, t, m, v, z: m + v.sqrt() * z if t > 10 else m)),
]
