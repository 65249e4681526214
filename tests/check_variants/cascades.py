"""Lesson 06."""

import torch
from torch.nn.functional import avg_pool2d, interpolate

from course_lib.process import randn_like
from course_lib.training import denoising_loss


def by_reshape(process, x0, s, eps):
    B, C, H, W = x0.shape
    low = x0.reshape(B, C, H // 2, 2, W // 2, 2).mean((3, 5))
    a, b = process.signal(s).float().view(-1, 1, 1, 1), process.noise(s).float().view(-1, 1, 1, 1)
    return a * low + b * eps, s.double() / process.T


def by_interpolation(process, x0, s, eps):
    low = interpolate(x0, scale_factor=0.5, mode="bilinear", align_corners=False)
    return process.add_noise(low, s, eps), s / process.T


def by_alpha_bar(process, x0, s, eps):
    bar = process.alpha_bar(s).view(-1, 1, 1, 1).float()
    low = (x0[:, :, ::2, ::2] + x0[:, :, 1::2, ::2] + x0[:, :, ::2, 1::2] + x0[:, :, 1::2, 1::2]) / 4
    return bar.sqrt() * low + (1 - bar).sqrt() * eps, torch.tensor([float(v) / process.T for v in s])


def _augmented(process, x0, s, eps, halve=lambda x: avg_pool2d(x, 2), told=None, noise=1.0):
    low = halve(x0)
    return process.add_noise(low, s, noise * eps), s / process.T if told is None else told(s)


def wrong(**changed):
    return lambda *args: _augmented(*args, **changed)


def loss_by_hand(network, x0, rng, max_s):
    """All in one, with the noises drawn in another order."""
    process = network.process
    eps, t = randn_like(x0, rng), process.sample_t(len(x0), rng)
    low = avg_pool2d(x0, 2)
    z, s = randn_like(low, rng), (torch.rand(len(x0), generator=rng) * (max_s + 1)).long()
    given = network.given((process.add_noise(low, s, z), s / process.T))
    return ((given(process.add_noise(x0, t, eps), t).value - network.target(x0, t, eps)) ** 2).mean()


def loss_by_view(network, x0, rng, max_s):
    """Through the view by its name."""
    s = torch.randint(0, max_s + 1, (len(x0),), generator=rng)
    low = interpolate(x0, scale_factor=0.5, mode="area")
    given = network.given((network.process.add_noise(low, s, randn_like(low, rng)), s / network.process.T))
    t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
    a, b = network.process.coefficients(t, x0)
    return (given(network.process.add_noise(x0, t, eps), t).v - (a * eps - b * x0)).square().mean()


def loss_by_library(network, x0, rng, max_s):
    s = torch.randint(max_s + 1, (len(x0),), generator=rng)
    low = avg_pool2d(x0, 2)
    return denoising_loss(
        network.given((network.process.add_noise(low, s, randn_like(low, rng)), s / network.process.T)), x0, rng
    )


def _loss(network, x0, rng, max_s, s=None, told=lambda s: s, noise=1.0, times=1.0, halve=lambda x: avg_pool2d(x, 2)):
    s = torch.randint(max_s + 1, (len(x0),), generator=rng) if s is None else s(x0, rng, max_s)
    low = halve(x0)
    noisy = network.process.add_noise(low, s, noise * randn_like(low, rng))
    return times * denoising_loss(network.given((noisy, told(s) / network.process.T)), x0, rng)


def wrong_loss(**changed):
    return lambda *args: _loss(*args, **changed)


RIGHT = {
    "augmented": [by_reshape, by_interpolation, by_alpha_bar],
    "upsampler_loss": [loss_by_hand, loss_by_view, loss_by_library],
}
WRONG = {
    "augmented": [
        ("every second pixel is taken", wrong(halve=lambda x: x[..., ::2, ::2])),
        ("no noise is added", lambda process, x0, s, eps: (avg_pool2d(x0, 2), s / process.T)),
        ("given in steps", wrong(told=lambda s: s)),
        ("always 0", wrong(told=torch.zeros_like)),
        ("✗ only the noise", wrong(noise=2.0)),
        ("must return a pair", lambda process, x0, s, eps: process.add_noise(avg_pool2d(x0, 2), s, eps)),
        (
            "its signal is missing",
            lambda p, x0, s, eps: (avg_pool2d(x0, 2) + p.noise(s).view(-1, 1, 1, 1).float() * eps, s / p.T),
        ),
    ],
    "upsampler_loss": [
        ("the level is not given", wrong_loss(told=lambda s: 0 * s)),
        ("s is always 0", wrong_loss(s=lambda x0, rng, max_s: torch.zeros(len(x0), dtype=torch.long))),
        ("s is always `max_s`", wrong_loss(s=lambda x0, rng, max_s: torch.full((len(x0),), max_s))),
        ("✗ s is given", wrong_loss(s=lambda x0, rng, max_s: torch.randint(max_s + 1, (1,), generator=rng).expand(len(x0)))),
        ("✗ the small pictures contain as much noise", wrong_loss(noise=0.5)),
        ("✗ it is the mean squared error", wrong_loss(times=16.0)),
        ("✗ without augmentation", wrong_loss(halve=lambda x: x[..., ::2, ::2])),
    ],
}
