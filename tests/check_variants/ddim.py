"""Lesson 14. Most answers are a loop over one of the moves below."""

from functools import wraps
from itertools import pairwise

import numpy as np
import torch

from course_lib.process import randn_like
from course_lib.samplers import ddim


def looped(move):
    """The sampler that makes this move, given noise z, between each two of the times."""

    @wraps(move)
    def sampler(denoiser, x, times, eta, rng):
        for t, s in pairwise(times):
            x = torch.as_tensor(move(denoiser, x, t, s, eta, randn_like(x, rng))).to(x)
        return x

    return sampler


def upwards(move):
    """The inversion that makes this move from each of the times to the one before."""

    @wraps(move)
    def inversion(denoiser, x, times):
        for i in range(len(times) - 1, 0, -1):
            x = torch.as_tensor(move(denoiser, x, times[i], times[i - 1])).to(x)
        return x

    return inversion


def by_library(denoiser, x, times, eta, rng):
    """The library's own sampler."""
    *_, last = ddim(denoiser, x, torch.tensor(times), eta, rng)
    return last.x


def noise_where_it_is_needed(denoiser, x, times, eta, rng):
    """No noise is drawn for eta = 0 or at the end; all of it is drawn before the loop."""
    bar = [float(denoiser.process.alpha_bar(t)) for t in times]
    n = len(times) - 1
    z = [torch.randn(x.shape, generator=rng) if eta and times[i + 1] else None for i in range(n)]
    for i in range(n):
        x0, eps = (pred := denoiser(x, times[i])).x0, pred.eps
        variance = eta**2 * (1 - bar[i + 1]) / (1 - bar[i]) * (1 - bar[i] / bar[i + 1])
        x = bar[i + 1] ** 0.5 * x0 + (1 - bar[i + 1] - variance) ** 0.5 * eps
        if z[i] is not None:
            x = x + variance**0.5 * z[i]
    return x


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


def by_numpy(denoiser, x_t, t, s, eta, z):
    pred, process = denoiser(x_t, t), denoiser.process
    bar_t, bar_s = float(process.alpha_bar(t)), float(process.alpha_bar(s))
    sigma = eta * np.sqrt((1 - bar_s) / (1 - bar_t)) * np.sqrt(1 - bar_t / bar_s)
    x0, eps = pred.x0.double().numpy(), pred.eps.double().numpy()
    return np.sqrt(bar_s) * x0 + np.sqrt(1 - bar_s - sigma**2) * eps + sigma * z.numpy()


def each_by_itself(denoiser, x_t, t, s, eta, z):
    """With a batch of times, and from the signal and the noise."""
    process, n = denoiser.process, len(x_t)
    pred = denoiser(x_t, torch.full((n,), t))
    a_t, b_t, a_s, b_s = (
        f(i).view(-1, *[1] * (x_t.ndim - 1)) for i in map(torch.tensor, ([t], [s])) for f in (process.signal, process.noise)
    )
    sigma = eta * b_s / b_t * (1 - (a_t / a_s) ** 2).sqrt()
    return (a_s * pred.x0 + (b_s**2 - sigma**2).sqrt() * pred.eps + sigma * z).to(x_t)


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


def lost_bar(denoiser, x_t, t, s, eta, z):
    pred, alpha_t, alpha_s = denoiser(x_t, t), denoiser.process.alpha(t), denoiser.process.alpha(s)
    sigma = _sigma(alpha_t, alpha_s, eta)
    return alpha_s**0.5 * pred.x0 + (1 - alpha_s - sigma**2) ** 0.5 * pred.eps + sigma * z


def no_roots(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    sigma = _sigma(bar_t, bar_s, eta)
    return bar_s * pred.x0 + (1 - bar_s - sigma**2) * pred.eps + sigma * z


def eta_on_z(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    return bar_s**0.5 * pred.x0 + (1 - bar_s - _sigma(bar_t, bar_s, eta) ** 2) ** 0.5 * pred.eps + eta * z


def variance_of_z(denoiser, x_t, t, s, eta, z):
    """As if sigma were the variance."""
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    variance = eta**2 * (1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)
    return bar_s.sqrt() * pred.x0 + (1 - bar_s - variance).sqrt() * pred.eps + variance * z


def sigma_not_squared(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    sigma = _sigma(bar_t, bar_s, eta)
    return bar_s**0.5 * pred.x0 + torch.sqrt(1 - bar_s - sigma) * pred.eps + sigma * z


def of_a_forward_step(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    sigma = eta * (1 - bar_t / bar_s).sqrt()
    return bar_s.sqrt() * pred.x0 + (1 - bar_s - sigma**2).clamp(min=0).sqrt() * pred.eps + sigma * z


def swapped(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    sigma = _sigma(bar_t, bar_s, eta)
    return bar_s**0.5 * pred.eps + (1 - bar_s - sigma**2) ** 0.5 * pred.x0 + sigma * z


def as_diffusers(denoiser, x_t, t, s, eta, z):
    """diffusers' default has clip_sample."""
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    x0 = ((x_t - (1 - bar_t).sqrt() * pred.eps) / bar_t.sqrt()).clamp(-1, 1)
    sigma = _sigma(bar_t, bar_s, eta)
    return bar_s.sqrt() * x0 + (1 - bar_s - sigma**2).sqrt() * pred.eps + sigma * z


def one_step(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, t - 1)
    sigma = _sigma(bar_t, bar_s, eta)
    return bar_s**0.5 * pred.x0 + (1 - bar_s - sigma**2) ** 0.5 * pred.eps + sigma * z


def counted_from_zero(denoiser, x_t, t, s, eta, z):
    """With alphas_cumprod[t] for a table that begins with the first step."""
    pred, bar = denoiser(x_t, t), torch.cumprod(1 - denoiser.process.betas, 0)
    sigma = _sigma(bar[t], bar[s], eta)
    return bar[s] ** 0.5 * pred.x0 + (1 - bar[s] - sigma**2) ** 0.5 * pred.eps + sigma * z


def from_x_t(denoiser, x_t, t, s, eta, z):
    pred, bar_t, bar_s = _mixed(denoiser, x_t, t, s)
    sigma = _sigma(bar_t, bar_s, eta)
    return bar_s**0.5 * x_t + (1 - bar_s - sigma**2) ** 0.5 * pred.eps + sigma * z


def own_noise(denoiser, x_t, t, s, eta, z):
    return by_coefficients(denoiser, x_t, t, s, eta, torch.randn(z.shape, generator=torch.Generator().manual_seed(0)))


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


def up_in_a_batch(denoiser, x_s, s, t):
    s, t = (torch.full((len(x_s),), time) for time in (s, t))
    (a_s, b_s), (a_t, b_t) = denoiser.process.coefficients(s, x_s), denoiser.process.coefficients(t, x_s)
    eps = denoiser(x_s, s).eps
    return (x_s - b_s * eps) * (a_t / a_s) + b_t * eps


def up_by_numpy(denoiser, x_s, s, t):
    pred, process = denoiser(x_s, s), denoiser.process
    bar = float(process.alpha_bar(t))
    return np.sqrt(bar) * pred.x0.double().numpy() + np.sqrt(1 - bar) * pred.eps.double().numpy()


def up_from_v(denoiser, x_s, s, t):
    """By the angle between signal and noise, in view v."""
    angle = torch.atan2(denoiser.process.noise(t), denoiser.process.signal(t))
    was = torch.atan2(denoiser.process.noise(s), denoiser.process.signal(s))
    return torch.cos(angle - was) * x_s + torch.sin(angle - was) * denoiser(x_s, s).v


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


def predicted_above(denoiser, x_s, s, t):
    pred = denoiser(x_s, t)
    return denoiser.process.add_noise(pred.x0, t, pred.eps)


def bars_exchanged(denoiser, x_s, s, t):
    eps = denoiser(x_s, s).eps
    bar_t, bar_s = denoiser.process.alpha_bar(torch.tensor([s, t]))
    return bar_t**0.5 * (x_s - (1 - bar_s) ** 0.5 * eps) / bar_s**0.5 + (1 - bar_t) ** 0.5 * eps


def roots_lost(denoiser, x_s, s, t):
    pred, bar = denoiser(x_s, s), denoiser.process.alpha_bar(t)
    return bar * pred.x0 + (1 - bar) * pred.eps


def bar_lost(denoiser, x_s, s, t):
    alpha_s, alpha_t, eps = denoiser.process.alpha(s), denoiser.process.alpha(t), denoiser(x_s, s).eps
    x0 = (x_s - torch.sqrt(1 - alpha_s) * eps) / torch.sqrt(alpha_s)
    return torch.sqrt(alpha_t) * x0 + torch.sqrt(1 - alpha_t) * eps


def forward_chain(denoiser, x_s, s, t):
    share = denoiser.process.alpha_bar(t) / denoiser.process.alpha_bar(s)
    return share.sqrt() * x_s + (1 - share).sqrt() * denoiser(x_s, s).eps


def not_faded(denoiser, x_s, s, t):
    more = denoiser.process.noise(t) - denoiser.process.noise(s)
    return x_s + more * denoiser(x_s, s).eps


def old_size_of_noise(denoiser, x_s, s, t):
    pred, process = denoiser(x_s, s), denoiser.process
    return process.signal(t) * pred.x0 + process.noise(s) * pred.eps


def clipped(denoiser, x_s, s, t):
    pred = denoiser(x_s, s)
    return denoiser.process.add_noise(pred.x0.clip(-1, 1), t, pred.eps)


def up_from_zero(denoiser, x_s, s, t):
    bar, eps = torch.cumprod(1 - denoiser.process.betas, 0), denoiser(x_s, s).eps
    bar_s, bar_t = bar[s - 2] if s > 1 else bar.new_tensor(1.0), bar[t - 2]
    return bar_t.sqrt() * (x_s - (1 - bar_s).sqrt() * eps) / bar_s.sqrt() + (1 - bar_t).sqrt() * eps


def fresh_noise(denoiser, x_s, s, t):
    z = torch.randn(x_s.shape, generator=torch.Generator().manual_seed(0))
    return denoiser.process.add_noise(denoiser(x_s, s).x0, t, z)


def all_times(denoiser, x, times, eta, rng):
    return looped(by_coefficients)(denoiser, x, list(range(times[0], -1, -1)), eta, rng)


def not_to_the_end(denoiser, x, times, eta, rng):
    return looped(by_coefficients)(denoiser, x, times[:-1], eta, rng)


def one_noise(denoiser, x, times, eta, rng):
    z = torch.randn(x.shape, generator=rng)
    for t, s in zip(times, times[1:]):
        x = by_coefficients(denoiser, x, t, s, eta, z)
    return x


def torch_randn_like(denoiser, x, times, eta, rng):
    for t, s in zip(times, times[1:]):
        x = by_coefficients(denoiser, x, t, s, eta, torch.randn_like(x))
    return x


def up_all_at_once(denoiser, x, times):
    """With the coefficients of all moves before the loop."""
    a, b = ([float(f(t)) for t in reversed(times)] for f in (denoiser.process.signal, denoiser.process.noise))
    for i, s in enumerate(times[:0:-1]):
        eps = denoiser(x, s).eps
        x = a[i + 1] * (x - b[i] * eps) / a[i] + b[i + 1] * eps
    return x


def always_from_the_picture(denoiser, x, times):
    for i in range(len(times) - 1, 0, -1):
        end = up_by_coefficients(denoiser, x, times[i], times[i - 1])
    return end


def sampler_itself(denoiser, x, times):
    return looped(by_coefficients)(denoiser, x, times, 0.0, None)


def not_up_to_T(denoiser, x, times):
    return upwards(up_by_coefficients)(denoiser, x, times[1:]) if len(times) > 2 else x


def noised(denoiser, x, times):
    """The forward process itself."""
    return denoiser.process.add_noise(x, times[0], torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))


RIGHT = {
    "ddim_sampler": [
        by_library,
        noise_where_it_is_needed,
        *map(looped, (by_coefficients, by_posterior, by_numpy, each_by_itself)),
    ],
    "ddim_inversion": [
        up_all_at_once,
        *map(upwards, (up_by_add_noise, up_by_coefficients, up_by_ratio, up_in_a_batch, up_by_numpy, up_from_v)),
    ],
}
WRONG = {
    "ddim_sampler": [
        ("the noise is put back at its old size", looped(old_noise)),
        ("sigma^2 is missing under its root", looped(no_room)),
        ("eta is forgotten", looped(always_noisy)),
        ("no noise is ever added", looped(silent)),
        ("all times from T down", all_times),
    ],
    "ddim_inversion": [
        ("the noise is predicted at t", upwards(asked_above)),
        ("the moves go nowhere", upwards(nowhere)),
        ("x itself is mixed", upwards(from_x_s)),
        ("this is the forward chain", upwards(forward_chain)),
    ],
}
TRIED = {
    "ddim_sampler": [
        *WRONG["ddim_sampler"],
        ("the picture is put back at its old size", looped(old_picture)),
        ("our alpha_bar", looped(lost_bar)),
        ("the square roots are missing", looped(no_roots)),
        ("eta itself multiplies z", looped(eta_on_z)),
        ("", looped(variance_of_z)),
        ("sigma stands under the root", looped(sigma_not_squared)),
        ("of a forward step", looped(of_a_forward_step)),
        ("swapped", looped(swapped)),
        ("is clipped", looped(as_diffusers)),
        ("to t - 1, whatever s", looped(one_step)),
        ("", looped(counted_from_zero)),
        ("x_t stands where", looped(from_x_t)),
        ("the last move", not_to_the_end),
        ("all moves have the same noise", one_noise),
        ("not drawn from rng", torch_randn_like),
        ("", looped(own_noise)),
    ],
    "ddim_inversion": [
        *WRONG["ddim_inversion"],
        ("its sign is turned", upwards(turned)),
        ("", upwards(predicted_above)),
        ("the moves go down", sampler_itself),
        ("have changed places", upwards(bars_exchanged)),
        ("the square roots are missing", upwards(roots_lost)),
        ("the bar is lost", upwards(bar_lost)),
        ("", upwards(not_faded)),
        ("the noise keeps its old size", upwards(old_size_of_noise)),
        ("is clipped", upwards(clipped)),
        ("counted from 0", upwards(up_from_zero)),
        ("each move starts from the picture", always_from_the_picture),
        ("up to T, is missing", not_up_to_T),
        ("this is the forward process", upwards(fresh_noise)),
        ("", noised),
    ],
}
