"""Lesson 01."""

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


RIGHT = {"add_noise": [by_loop, in_float64, in_numpy, by_einsum]}

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
    ]
}
