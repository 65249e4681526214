"""Lesson 15."""

import math

import torch

from course_lib.nets.embeddings import sinusoidal
from course_lib.process import randn_like


def embedded_by_flattening(micro, dim):
    return sinusoidal(micro.flatten().float(), dim).view(len(micro), 3 * dim)


def embedded_by_hand(micro, dim):
    frequency = torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2))
    angle = micro[:, :, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 2).flatten(1)


def embedded_by_columns(micro, dim):
    side, top, left = micro.double().T
    return torch.hstack([sinusoidal(side, dim), sinusoidal(top, dim), sinusoidal(left, dim)])


def loss_by_view(denoiser, x0, last, rng):
    process = denoiser.process
    eps, t = randn_like(x0, rng), torch.randint(1, last + 1, (len(x0),), generator=rng)
    a, b = process.coefficients(t, x0)
    return ((denoiser(a * x0 + b * eps, t).v - (a * eps - b * x0)) ** 2).mean()


def loss_by_rand(denoiser, x0, last, rng):
    t = 1 + (torch.rand(len(x0), generator=rng) * last).long()
    eps = torch.randn(x0.shape, generator=rng)
    prompts = denoiser(denoiser.process.add_noise(x0, t, eps), t).value
    return torch.nn.functional.mse_loss(prompts, denoiser.target(x0, t, eps))


def loss_by_rows(denoiser, x0, last, rng):
    t = torch.arange(len(x0)).remainder(last)[torch.randperm(len(x0), generator=rng)] + 1
    eps = randn_like(x0, rng)
    off = denoiser(denoiser.process.add_noise(x0, t, eps), t).value - denoiser.target(x0, t, eps)
    return off.square().flatten(1).mean(1).mean()


def loss(denoiser, x0, last, rng, low=1, high=None, share=False, scale=1.0):
    n = 1 if share else len(x0)
    t = torch.randint(low, (last if high is None else high) + 1, (n,), generator=rng).expand(len(x0))
    eps = randn_like(x0, rng)
    off = denoiser(denoiser.process.add_noise(x0, t, eps), t).value - denoiser.target(x0, t, eps)
    return scale * off.square().mean()


RIGHT = {
    "micro_embedding": [embedded_by_flattening, embedded_by_hand, embedded_by_columns],
    "refiner_loss": [loss_by_view, loss_by_rand, loss_by_rows],
}
WRONG = {
    "micro_embedding": [
        ("put them side by side", lambda micro, dim: sinusoidal(micro.flatten().float(), dim).view(len(micro), 3, dim).sum(1)),
        ("only the side is embedded", lambda micro, dim: sinusoidal(micro[:, 0].float(), dim)),
        ("the order is reversed", lambda micro, dim: embedded_by_hand(micro[:, [2, 1, 0]], dim)),
        ("the bare numbers are given", lambda micro, dim: micro.double()),
        ("shares of 32", lambda micro, dim: embedded_by_hand(micro / 32, dim)),
        ("✗ top and left are told apart", lambda micro, dim: embedded_by_hand(micro[:, [0, 1, 1]], dim)),
    ],
    "refiner_loss": [
        ("as for the base", lambda d, x0, last, rng: loss(d, x0, last, rng, high=d.process.T)),
        ("those times are the base's", lambda d, x0, last, rng: loss(d, x0, last, rng, low=last + 1, high=d.process.T)),
        ("t is always last", lambda d, x0, last, rng: loss(d, x0, last, rng, low=last)),
        ("one t is drawn for the whole batch", lambda d, x0, last, rng: loss(d, x0, last, rng, share=True)),
        ("✗ it is the mean squared error", lambda d, x0, last, rng: loss(d, x0, last, rng, scale=9.0)),
    ],
}
