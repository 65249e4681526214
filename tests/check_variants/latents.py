"""Lesson 12."""

import numpy as np
import torch
from torch.distributions import Normal, kl_divergence

from course_lib.methods import latents


def by_torch(mean, log_variance):
    return kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean()


def by_parts(mean, log_variance):
    variance = torch.exp(log_variance)
    each = -0.5 * (1 + log_variance - mean.pow(2) - variance)
    return each.flatten(1).sum(1).mean() / each[0].numel()


def by_std(mean, log_variance):
    std = log_variance.exp().sqrt()
    return (mean**2 / 2 + std**2 / 2 - 0.5 - std.log()).mean().item()


def by_numpy(mean, log_variance):
    m, v = mean.double().numpy(), log_variance.double().numpy()
    return np.mean(m**2 + np.exp(v) - 1 - v) / 2


def one_number_at_a_time(mean, log_variance):
    pairs = zip(mean.flatten().tolist(), log_variance.flatten().tolist())
    return sum(0.5 * (m * m + np.exp(v) - 1 - v) for m, v in pairs) / mean.numel()


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


def of_log_std(mean, log_std):
    std = torch.exp(log_std)
    return 0.5 * (mean.pow(2) + std.pow(2) - 1 - 2 * torch.log(std)).mean()


def std_not_squared(mean, log_variance):
    return (0.5 * (mean**2 + (0.5 * log_variance).exp() - 1 - log_variance)).mean()


def no_logarithm(mean, log_variance):
    return (mean**2 + torch.exp(log_variance) - 1).mean() / 2


def logarithm_added(mean, log_variance):
    return 0.5 * torch.mean(mean**2 + torch.exp(log_variance) + log_variance - 1)


def no_one(mean, log_variance):
    return 0.5 * torch.mean(mean**2 + log_variance.exp() - log_variance)


def as_diffusers(mean, log_variance):
    """As in diffusers' DiagonalGaussianDistribution.kl, and in most VAEs: a sum over each latent."""
    dims = list(range(1, mean.ndim))
    return 0.5 * torch.sum(torch.pow(mean, 2) + torch.exp(log_variance) - 1.0 - log_variance, dim=dims).mean()


def not_over_the_batch(mean, log_variance):
    return kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).flatten(1).mean(1)


def reverse(mean, log_variance):
    return kl_divergence(Normal(0.0, 1.0), Normal(mean, (log_variance / 2).exp())).mean()


def scale_by_var(z):
    return z.var() ** -0.5


def scale_by_hand(z):
    away = z - z.mean()
    return float(1 / (away * away).mean().sqrt())


def scale_flat(z):
    return torch.std(z.reshape(-1)).reciprocal()


def scale_by_numpy(z):
    return 1 / np.std(z.numpy())


def scale_of_float64(z):
    mean = z.double().mean()
    return torch.rsqrt((z.double() ** 2).mean() - mean**2).reshape(())


def scale_by_item(z):
    return 1.0 / torch.std(z, unbiased=False).item()


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


def largest(z):
    return 1 / z.abs().max()


def by_range(z):
    return 2 / (z.max() - z.min())


def absolute(z):
    return 1 / torch.mean(torch.abs(z))


def famous(z):
    return 0.18215


def scaled(z):
    return z / torch.std(z)


def standardised(z):
    return (z - z.mean()) / z.std()


def mean_of_channels(z):
    return 1 / torch.stack([z[:, c].std() for c in range(z.shape[1])]).mean()


def mean_of_latents(z):
    return 1 / z.std(dim=(1, 2, 3)).mean()


def by_place(z):
    return 1 / z.std(dim=0)


RIGHT = {
    "kl_term": [latents.kl_term, by_torch, by_parts, by_std, by_numpy, one_number_at_a_time],
    "latent_scale": [
        latents.unit_scale,
        scale_by_var,
        scale_by_hand,
        scale_flat,
        scale_by_numpy,
        scale_of_float64,
        scale_by_item,
    ],
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
TRIED = {
    "kl_term": [
        *WRONG["kl_term"],
        ("throughout", of_log_std),
        ("where its square, the variance", std_not_squared),
        ("the logarithm is missing", no_logarithm),
        ("the logarithm is added", logarithm_added),
        ("the 1 is missing", no_one),
        ("the mean is over the batch alone", as_diffusers),
        ("the mean over the batch is missing", not_over_the_batch),
        ("the KL runs the other way", reverse),
    ],
    "latent_scale": [
        *WRONG["latent_scale"],
        ("the largest value", largest),
        ("the range from the smallest", by_range),
        ("the mean absolute value", absolute),
        ("Stable Diffusion's", famous),
        ("the scaled latents are returned", scaled),
        ("the mean is subtracted", standardised),
        ("the channels' standard deviations", mean_of_channels),
        ("the latents' standard deviations", mean_of_latents),
        ("each place has a number", by_place),
    ],
}
