"""Lesson 12."""

import torch
from torch.distributions import Normal, kl_divergence


def by_torch(mean, log_variance):
    return kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean()


def by_parts(mean, log_variance):
    variance = torch.exp(log_variance)
    each = -0.5 * (1 + log_variance - mean.pow(2) - variance)
    return each.flatten(1).sum(1).mean() / each[0].numel()


def by_std(mean, log_variance):
    std = log_variance.exp().sqrt()
    return (mean**2 / 2 + std**2 / 2 - 0.5 - std.log()).mean().item()


def no_half(mean, log_variance):
    return (mean**2 + log_variance.exp() - 1 - log_variance).mean()


def of_std(mean, log_std):
    return 0.5 * (mean**2 + torch.exp(log_std) ** 2 - 1 - log_std).mean()


def not_exp(mean, log_variance):
    return 0.5 * (mean**2 - 1).mean()


def lazy_mean(mean, log_variance):
    return 0.5 * (mean + log_variance.exp() - 1 - log_variance).mean()


def summed(mean, log_variance):
    return by_parts(mean, log_variance) * mean.numel()


def as_elbo(mean, log_variance):
    return 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).mean()


def scale_by_var(z):
    return z.var() ** -0.5


def scale_by_hand(z):
    away = z - z.mean()
    return float(1 / (away * away).mean().sqrt())


def scale_flat(z):
    return torch.std(z.reshape(-1)).reciprocal()


def not_inverse(z):
    return torch.std(z)


def by_variance(z):
    return 1 / ((z - z.mean()) ** 2).mean()


def by_channel(z):
    return 1 / z.transpose(0, 1).flatten(1).std(1)


def by_picture(z):
    return 1 / z.std(dim=(1, 2, 3))


def rms(z):
    return (z**2).mean() ** -0.5


RIGHT = {
    "kl_term": [by_torch, by_parts, by_std],
    "latent_scale": [scale_by_var, scale_by_hand, scale_flat],
}
WRONG = {
    "kl_term": [
        ("the 1/2 in front is missing", no_half),
        ("its exp is the variance", of_std),
        ("log_variance is taken for the variance itself", not_exp),
        ("the mean is not squared", lazy_mean),
        ("the sum is taken", summed),
        ("the sign is turned", as_elbo),
    ],
    "latent_scale": [
        ("this is the standard deviation", not_inverse),
        ("it divides by the variance", by_variance),
        ("each channel has a number of its own", by_channel),
        ("each latent has a number of its own", by_picture),
        ("in which the mean counts", rms),
    ],
}
