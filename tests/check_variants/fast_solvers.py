"""Lesson 22."""

import math
from itertools import pairwise

import numpy as np
import torch

from course_lib.methods.edm import karras_sigmas
from course_lib.methods.solvers import dpm_solver
from course_lib.samplers import result

# precondition


def factors(sigma, sigma_data):
    total = (sigma**2 + sigma_data**2) ** 0.5
    return (sigma_data / total) ** 2, sigma * sigma_data / total, 1 / total, torch.log(sigma) / 4


def by_factors(net, x, sigma, sigma_data):
    c_skip, c_out, c_in, c_noise = factors(sigma, sigma_data)
    return c_skip * x + c_out * net(c_in * x, c_noise[:, 0])


def by_hypot(net, x, sigma, sigma_data):
    total = torch.hypot(sigma, torch.full_like(sigma, sigma_data))
    out = net(x / total, 0.25 * sigma.log().squeeze(1))
    return x * (sigma_data / total).square() + out * sigma * sigma_data / total


def by_angle(net, x, sigma, sigma_data):
    """c_skip = cos^2, c_out = sigma_data sin, c_in = sin / sigma."""
    angle = torch.atan2(sigma, torch.full_like(sigma, sigma_data))
    return angle.cos() ** 2 * x + sigma_data * angle.sin() * net(angle.cos() / sigma_data * x, (sigma**0.25).log().flatten())


def one_at_a_time(net, x, sigma, sigma_data):
    return torch.cat([by_factors(net, x[i : i + 1], sigma[i : i + 1], sigma_data) for i in range(len(x))])


def from_the_skip(net, x, sigma, sigma_data):
    """x_0 = x less a share of it, and the net."""
    share = sigma**2 / (sigma**2 + sigma_data**2)
    c_out = sigma_data * share.sqrt()
    return x - share * x + c_out * net(x / (sigma**2 + sigma_data**2).sqrt(), sigma.log().view(-1) / 4)


def with_factors(change):
    """The right answer with its four factors and x changed: change(c_skip, c_out, c_in, c_noise, sigma, d) gives them."""

    def wrong(net, x, sigma, sigma_data):
        c_skip, c_out, c_in, c_noise = change(*factors(sigma, sigma_data), sigma, sigma_data)
        return c_skip * x + c_out * net(c_in * x, c_noise.flatten())

    return wrong


skip_of_sigma = with_factors(lambda k, o, i, n, s, d: (1 - k, o, i, n))
unscaled_input = with_factors(lambda k, o, i, n, s, d: (k, o, torch.ones_like(i), n))
variance_input = with_factors(lambda k, o, i, n, s, d: (k, o, i**2, n))
out_sigma = with_factors(lambda k, o, i, n, s, d: (k, s, i, n))
out_no_root = with_factors(lambda k, o, i, n, s, d: (k, s * d * i**2, i, n))
skip_root = with_factors(lambda k, o, i, n, s, d: (k.sqrt(), o, i, n))
no_skip = with_factors(lambda k, o, i, n, s, d: (0 * k, o, i, n))
sigma_itself = with_factors(lambda k, o, i, n, s, d: (k, o, i, s))
not_over_four = with_factors(lambda k, o, i, n, s, d: (k, o, i, 4 * n))
unit_data = with_factors(lambda k, o, i, n, s, d: factors(s, 1.0))
turned_sign = with_factors(lambda k, o, i, n, s, d: (k, -o, i, n))
eps_prediction = with_factors(lambda k, o, i, n, s, d: (torch.ones_like(k), -s, i, n))
x0_prediction = with_factors(lambda k, o, i, n, s, d: (0 * k, torch.ones_like(o), i, n))


# karras_times


def by_library(n, low, high, rho):
    return karras_sigmas(n, low, high, rho)


def by_linspace(n, low, high, rho):
    return torch.cat([torch.linspace(high ** (1 / rho), low ** (1 / rho), n) ** rho, torch.zeros(1)])


def by_numpy(n, low, high, rho):
    return np.append(np.linspace(high ** (1 / rho), low ** (1 / rho), n) ** rho, 0.0)


def by_list(n, low, high, rho):
    a, b = high ** (1 / rho), low ** (1 / rho)
    return [(a + i / (n - 1) * (b - a)) ** rho for i in range(n)] + [0.0]


def by_flip(n, low, high, rho):
    rising = (low ** (1 / rho) + torch.linspace(0, 1, n) * (high ** (1 / rho) - low ** (1 / rho))) ** rho
    return torch.nn.functional.pad(rising.flip(0), (0, 1))


def rising(n, low, high, rho):
    return torch.cat([torch.linspace(low ** (1 / rho), high ** (1 / rho), n) ** rho, torch.zeros(1)])


def without_zero(n, low, high, rho):
    return torch.linspace(high ** (1 / rho), low ** (1 / rho), n) ** rho


def inverse_power(n, low, high, rho):
    return torch.cat([torch.linspace(high**rho, low**rho, n, dtype=torch.float64) ** (1 / rho), torch.zeros(1)])


def over_n(n, low, high, rho):
    i = torch.arange(n) / n
    return torch.cat([(high ** (1 / rho) + i * (low ** (1 / rho) - high ** (1 / rho))) ** rho, torch.zeros(1)])


def no_power(n, low, high, rho):
    return torch.cat([torch.linspace(high ** (1 / rho), low ** (1 / rho), n), torch.zeros(1)])


def equal_steps(n, low, high, rho):
    return torch.cat([torch.linspace(high, low, n), torch.zeros(1)])


def geometric(n, low, high, rho):
    return torch.cat([torch.linspace(math.log(high), math.log(low), n).exp(), torch.zeros(1)])


def one_more(n, low, high, rho):
    return torch.linspace(high ** (1 / rho), low ** (1 / rho), n + 1) ** rho


def all_to_zero(n, low, high, rho):
    return torch.linspace(high ** (1 / rho), 0, n + 1) ** rho


def zero_first(n, low, high, rho):
    return torch.cat([torch.zeros(1), torch.linspace(low ** (1 / rho), high ** (1 / rho), n) ** rho])


# dpm_multistep


def dpm(change="", denoiser=None, x=None, times=None):
    """DPM-Solver++(2M) with floats, or with one thing changed."""
    a, b = ([float(f(t)) for t in times] for f in (denoiser.process.signal, denoiser.process.noise))
    lam = [math.log(a_t / b_t) if b_t else math.inf for a_t, b_t in zip(a, b)]
    if change == "log a":
        lam = [math.log(a_t) for a_t in a]
    old = None
    for i, t in enumerate(times[:-1]):
        x0 = denoiser(x, t).x0
        h = lam[i + 1] - lam[i]
        h = -h if change == "sign of h" else h
        D = x0
        if old is not None and (math.isfinite(h) or change == "order 2 to the end"):
            before, h_before = old
            share = {
                "turned over": h_before / (2 * h),
                "equal": 0.5,
                "no half": h / h_before,
                "backwards": -h / (2 * h_before),
                "first order": 0.0,
            }.get(change, h / (2 * h_before))
            D = x0 + share * (x0 - before)
        factor = a[i + 1] / a[i] if change == "signal" else b[i + 1] / b[i]
        own = (a[i] if change == "a_t" else a[i + 1]) * (-1 if change == "plus" else 1)
        x = factor * x - own * math.expm1(-h) * D
        if change != "kept" or old is None:
            old = x0, h
    return x


def wrong(change):
    def sampler(denoiser, x, times):
        return dpm(change, denoiser, x, times)

    return sampler


def by_dpm_solver(denoiser, x, times):
    return result(dpm_solver(denoiser, x, torch.tensor(times)))


def by_slope(denoiser, x, times):
    """With a slope in lambda, and the midpoint of each move."""
    a, b = (f(torch.tensor(times)).tolist() for f in (denoiser.process.signal, denoiser.process.noise))
    x0, lam = [], [math.log(p / q) if q else math.inf for p, q in zip(a, b)]
    for i, t in enumerate(times[:-1]):
        x0.append(denoiser(x, t).x0)
        middle = x0[i]
        if i and b[i + 1]:
            middle = middle + (x0[i] - x0[i - 1]) / (lam[i] - lam[i - 1]) * (lam[i + 1] - lam[i]) / 2
        x = b[i + 1] / b[i] * (x - a[i] * middle) + a[i + 1] * middle
    return x


def by_paper(denoiser, x, times):
    """With r = h_before / h, as in Algorithm 2."""
    process, known = denoiser.process, []
    lam = lambda t: torch.log(process.signal(t)) - torch.log(process.noise(t))
    for i, (t, s) in enumerate(pairwise(times)):
        known.append(denoiser(x, t).x0)
        h, D = lam(s) - lam(t), known[-1]
        if i > 0 and i < len(times) - 2 + (process.noise(times[-1]) > 0):
            r = (lam(t) - lam(times[i - 1])) / h
            D = (1 + 1 / (2 * r)) * known[-1] - 1 / (2 * r) * known[-2]
        x = process.noise(s) / process.noise(t) * x - process.signal(s) * (torch.exp(-h) - 1) * D
    return x


def by_add_noise(denoiser, x, times):
    """DDIM's move from the extrapolated x_0, with the noise that goes with it."""
    process, old = denoiser.process, None
    for t, s in pairwise(times):
        x0, (a, b) = denoiser(x, t).x0, process.coefficients(t, x)
        D, h = x0, float((process.signal(s) / process.noise(s)).log() - (process.signal(t) / process.noise(t)).log())
        if old and h < math.inf:
            D = x0 + h / old[1] / 2 * (x0 - old[0])
        x, old = process.add_noise(D, s, (x - a * D) / b), (x0, h)
    return x


def in_place(denoiser, x, times):
    return dpm("", denoiser, x.clone(), times)


def reversed_times(denoiser, x, times):
    return dpm("", denoiser, x, sorted(times)) if denoiser.process.noise(times[-1]) > 0 else x * math.nan


def no_end(denoiser, x, times):
    return dpm("", denoiser, x, times[:-1])


RIGHT = {
    "precondition": [by_factors, by_hypot, by_angle, one_at_a_time, from_the_skip],
    "karras_times": [by_library, by_linspace, by_numpy, by_list, by_flip],
    "dpm_multistep": [by_dpm_solver, by_slope, by_paper, by_add_noise, in_place],
}
WRONG = {
    "precondition": [
        ("c_skip is sigma^2", skip_of_sigma),
        ("the net's input is not scaled", unscaled_input),
        ("c_out is sigma alone", out_sigma),
        ("the skip is missing", no_skip),
        ("sigma_data is forgotten", unit_data),
        ("that is v", turned_sign),
    ],
    "karras_times": [("the levels rise", rising), ("0, is missing", without_zero), ("equal in sigma^rho", inverse_power)],
    "dpm_multistep": [
        ("that is DDIM", wrong("first order")),
        ("turned over", wrong("turned over")),
        ("equally long", wrong("equal")),
        ("that is for eps", wrong("signal")),
        ("half is missing", wrong("no half")),
    ],
}
TRIED = {
    "precondition": [
        *WRONG["precondition"],
        ("divided by the variance", variance_input),
        ("has no root", out_no_root),
        ("a root too many", skip_root),
        ("given sigma", sigma_itself),
        ("not divided by 4", not_over_four),
        ("", eps_prediction),
        ("", x0_prediction),
    ],
    "karras_times": [
        *WRONG["karras_times"],
        ("divide by n - 1", over_n),
        ("the power of rho", no_power),
        ("", equal_steps),
        ("", geometric),
        ("", one_more),
        ("levels go to 0 by rho", all_to_zero),
        ("0 stands first", zero_first),
    ],
    "dpm_multistep": [
        *WRONG["dpm_multistep"],
        ("backwards", wrong("backwards")),
        ("a_t", wrong("a_t")),
        ("the opposite sign", wrong("plus")),
        ("", wrong("sign of h")),
        ("never replaced", wrong("kept")),
        ("", wrong("log a")),
        ("", no_end),
        ("", reversed_times),
    ],
}
