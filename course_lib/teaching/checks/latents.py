"""Lesson 12: latent diffusion."""

from __future__ import annotations

import torch

from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import normal

# kl_term
MEAN, LOG_VARIANCE = normal(6, 2, 3, 4), 0.7 * normal(6, 2, 3, 4, seed=1) - 1
FLAT, ONE = torch.zeros(5, 8), torch.ones(5, 8)


def _kl_term(mean, log_variance):
    """KL(N(mean, variance) || N(0, 1)) in nats, its mean over all numbers. Kingma and Welling 2014, appendix B."""
    variance = log_variance.exp()
    return 0.5 * (mean.square() + variance - 1 - log_variance).mean()


kl_term = Check(
    "kl_term",
    _kl_term,
    cases=[
        Case("N(0, 1) itself costs nothing", on(FLAT, FLAT)),
        Case("a mean of 1 costs half a nat for each number", on(ONE, FLAT)),
        Case("a mean of -1 costs the same", on(-ONE, FLAT)),
        Case("e^2 times the variance: (e^2 - 1 - 2) / 2 nats", on(FLAT, 2 * ONE)),
        Case("a variance near 0 costs more and more: 4 nats at e^-9", on(FLAT, -9 * ONE)),
        Case("the mean over all numbers of latents (B, C, h, w)", on(MEAN, LOG_VARIANCE)),
        Case("mean and log_variance are left as they were", after(MEAN, LOG_VARIANCE)),
    ],
    mistakes={
        "the 1/2 in front is missing": {"0.5 * ": ""},
        "the mean is not squared": {"mean.square()": "mean"},
        "log_variance is taken for the variance itself: the variance is its exp": {".exp()": ""},
        "log_variance is taken for the log of the standard deviation: its exp is the variance": {".exp()": ".mul(2).exp()"},
        "log_variance is taken for the log of the standard deviation throughout: log sigma^2 is given, not log sigma": {
            ".exp()": ".mul(2).exp()",
            "- log_variance)": "- 2 * log_variance)",
        },
        "the standard deviation stands where its square, the variance, belongs": {".exp()": ".div(2).exp()"},
        "the logarithm is missing: nothing keeps the variance from 0": {"1 - log_variance": "1"},
        "the logarithm is added, where it should be subtracted": {"1 - log_variance": "1 + log_variance"},
        "the 1 is missing: N(0, 1) should cost nothing": {" - 1": ""},
        "the sum is taken where the mean over all numbers belongs": {".mean()": ".sum()"},
        "the numbers of each latent are summed, and the mean is over the batch alone: it should be over all numbers": {
            ").mean()": ").flatten(1).sum(1).mean()"
        },
        "each latent has a KL of its own: the mean over the batch is missing": {").mean()": ").flatten(1).mean(1)"},
        "the sign is turned: this falls as the latents leave N(0, 1)": {"return": "return -"},
        "the KL runs the other way, from N(0, 1) to N(mean, variance)": {
            "mean.square() + variance - 1 - log_variance": "(1 + mean.square()) / variance - 1 + log_variance"
        },
    },
    hint="0.5 * (mean**2 + variance - 1 - log_variance), with variance = log_variance.exp(), and the mean over everything.",
)

# latent_scale
Z = 3 * normal(50, 4, 6, 6, seed=2) * torch.tensor([0.5, 1.0, 1.0, 2.0]).view(1, 4, 1, 1) + 0.8
WIDE = 20 * normal(40, 2, 8, 8, seed=3)


def _latent_scale(z):
    """What latents z (B, C, h, w) must be multiplied by to have unit variance. Rombach et al. 2022, appendix G."""
    return 1 / z.std()


latent_scale = Check(
    "latent_scale",
    _latent_scale,
    cases=[
        Case("one number, the standard deviation's inverse", on(Z), 1e-3),
        Case("latents of unit variance stay as they are", on(Z / Z.std()), 1e-3),
        Case("twice the latents, half the number", on(2 * Z), 1e-3),
        Case("where the mean is not 0, it does not count", on(Z + 5), 1e-3),
        Case("wide latents, two channels", on(WIDE), 1e-3),
        Case("z is left as it was", after(Z)),
    ],
    mistakes={
        "this is the standard deviation: what to multiply by is its inverse": {"1 / z": "z"},
        "it divides by the variance: the standard deviation is its root": {".std()": ".var()"},
        "each channel has a number of its own; one number for all keeps their ratios": {".std()": ".std(dim=(0, 2, 3))"},
        "each latent has a number of its own, which could not be undone": {".std()": ".flatten(1).std(1)"},
        "the root mean square is taken, in which the mean counts": {".std()": ".square().mean().sqrt()"},
        "each place has a number of its own; one number for all keeps their ratios": {".std()": ".std(0)"},
        "the mean of the channels' standard deviations is taken; the spread between channels counts, too": {
            ".std()": ".std((0, 2, 3)).mean()"
        },
        "the mean of the latents' standard deviations is taken; the spread between latents counts, too": {
            ".std()": ".flatten(1).std(1).mean()"
        },
        "the largest value is taken: unit variance is asked for, not a range": {".std()": ".abs().max()"},
        "the range from the smallest to the largest value is taken: unit variance is asked for": {
            "1 / z.std()": "2 / (z.max() - z.min())"
        },
        "the mean absolute value is taken, which is not the standard deviation": {".std()": ".abs().mean()"},
        "the number is Stable Diffusion's, 0.18215, which was measured on its own latents": {
            "1 / z.std()": "torch.tensor(0.18215)"
        },
        "the scaled latents are returned; the number itself is asked for": {"1 / z": "z / z"},
        "the mean is subtracted and the latents are returned; the one number to multiply by is asked for": {
            "1 / z": "(z - z.mean()) / z"
        },
    },
    hint="One number: 1 / z.std(), over the whole batch, all channels and places.",
)
