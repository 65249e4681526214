"""Lesson 05: GAN and VAE."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from course_lib.methods import gan_vae
from course_lib.nets.generators import GAN, VAE
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, on
from course_lib.teaching.checks.spy import normal


def _filled(net: nn.Module, seed: int) -> nn.Module:
    """The same network with weights that are fixed."""
    rng = seeded(seed)
    for p in net.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=rng)
    return net


# elbo
POINTS, PICTURES, EPS = normal(5, 3, seed=1), normal(5, 1, 2, 3, seed=2), normal(5, 2, seed=3)
OF_POINTS = _filled(VAE(nn.Linear(3, 4), nn.Sequential(nn.Linear(2, 3), nn.Tanh()), 2), 4)
OF_PICTURES = _filled(
    VAE(nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (1, 2, 3))), 2), 5
)


class _Line(nn.Module):
    """A VAE of numbers x = 2 z + std noise, std = 0.5, whose q(z | x) is the exact posterior, so that log p(x) is known."""

    latent = 1

    def __init__(self):
        super().__init__()
        self.std = torch.tensor(0.5)
        self.log_std = self.std.log()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x / 4.25, torch.full_like(x, math.log(0.25 / 4.25))

    def decode(self, z: Tensor) -> Tensor:
        return 2 * z


def _of_line(bound: Callable) -> Tensor:
    """The mean over eps = 1 and -1, which have the mean and variance of a Gaussian: exact, as all is of degree two."""
    x = torch.tensor([[-3.0], [0.2], [1.0]])
    return sum(torch.as_tensor(bound(_Line(), x, sign * torch.ones(3, 1))) for sign in (1, -1)) / 2


def _slope_of_the_encoder(bound: Callable) -> Tensor:
    vae, x, eps = deepcopy((OF_POINTS, POINTS, EPS))
    return torch.autograd.grad(torch.as_tensor(bound(vae, x, eps)).sum(), vae.encoder.weight)[0]


def _elbo(vae: VAE, x: Tensor, eps: Tensor) -> Tensor:
    """The evidence lower bound of each x (B, ...), in nats. Kingma and Welling 2014, eq. 10."""
    mean, log_var = vae.encode(x)
    z = mean + (log_var / 2).exp() * eps
    error = (x - vae.decode(z)) / vae.std
    constant = torch.log(torch.tensor(2 * torch.pi)) / 2
    log_p = -(error.square() / 2 + vae.log_std + constant).flatten(1).sum(1)
    kl = (mean.square() + log_var.exp() - 1 - log_var).sum(1) / 2
    return log_p - kl


elbo = Check(
    "elbo",
    _elbo,
    cases=[
        Case("points (B, 3): one number for each", on(OF_POINTS, POINTS, EPS)),
        Case("pictures (B, 1, 2, 3): the sum over all pixels", on(OF_PICTURES, PICTURES, EPS)),
        Case("eps = 0: z is the mean", on(OF_POINTS, POINTS, 0 * EPS)),
        Case("far from 0 the likelihood falls as the square", on(OF_POINTS, 10 * POINTS, EPS)),
        Case("where q(z | x) is the exact posterior, the bound is log p(x) itself", _of_line),
        Case("the gradient reaches the weights of the encoder through z", _slope_of_the_encoder),
    ],
    mistakes={
        "the divergence is added; the bound is log p(x | z) less KL": {"log_p - kl": "log_p + kl"},
        "this is the loss, minus the bound: the sign is turned": {"log_p - kl": "kl - log_p"},
        "the divergence is missing: this is an autoencoder": {" - kl": ""},
        "the variance stands where the standard deviation belongs: z = mean + exp(log_var / 2) eps": {"_var / 2)": "_var)"},
        "log_var is used as if it were the standard deviation": {"(log_var / 2).exp()": "log_var"},
        "z is the mean alone: the noise is missing": {" + (log_var / 2).exp() * eps": ""},
        "the factor 1/2 of the divergence is missing": {"log_var).sum(1) / 2": "log_var).sum(1)"},
        "the factor 1/2 of the squared error is missing": {"error.square() / 2": "error.square()"},
        "the divergence is averaged over the latents, not summed": {"log_var).sum(1) / 2": "log_var).mean(1) / 2"},
        "the divergence has the sign of log_var turned": {"- 1 - log_var": "- 1 + log_var"},
        "exp(log_var) is missing from the divergence": {" + log_var.exp()": ""},
        "log std is missing from the likelihood": {" + vae.log_std": ""},
        "log_var is halved in the divergence too": {"log_var.exp() - 1 - log_var": "(log_var / 2).exp() - 1 - log_var / 2"},
        "z is detached, so that no gradient reaches the encoder through it": {"decode(z)": "decode(z.detach())"},
        "the pixels are averaged, not summed: the divergence weighs too much": {"flatten(1).sum(1)": "flatten(1).mean(1)"},
        "the likelihood is without its constant, log std + log(2 pi) / 2": {" + vae.log_std + constant": ""},
        "log(2 pi) / 2 is missing from the likelihood": {" + constant": ""},
        "std is taken to be 1: the error is not divided by it": {" / vae.std": "", " + vae.log_std": ""},
        "the batch is averaged: one number for each x is asked for": {"log_p - kl": "(log_p - kl).mean()"},
    },
    hint="z = mean + (log_var / 2).exp() eps; log p(x | z) is that of a Gaussian around vae.decode(z), summed over all numbers "
    "of x; KL = sum (mean^2 + exp(log_var) - 1 - log_var) / 2; the bound is log p - KL.",
    shown=(gan_vae.elbo,),
)

# The two losses of a GAN
REAL, FAKE = normal(6, 3, seed=6), normal(4, 3, seed=4)
TRAINED = _filled(GAN(nn.Identity(), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), 3), 6)
UNDECIDED = GAN(nn.Identity(), nn.Sequential(nn.Linear(3, 1)), 3)
for _p in UNDECIDED.parameters():
    nn.init.zeros_(_p)
SURE = _filled(GAN(nn.Identity(), nn.Linear(3, 1, bias=False), 3), 7)
SURE.discriminator.weight.data = torch.tensor([[300.0, 0, 0]])
HIGH, LOW = torch.tensor([[1.0, 0, 0], [0.5, 1, 1]]), torch.tensor([[-1.0, 0, 0], [-0.5, 1, 1]])


def _slope_for(*args) -> Callable:
    """A case's `run`: the gradient with respect to generated pictures that the discriminator rejects, the last argument."""

    def run(loss):
        fake = LOW.clone().requires_grad_()
        return torch.autograd.grad(torch.as_tensor(loss(*deepcopy(args), fake)), fake)[0]

    return run


def _adversarial_value(gan: GAN, x: Tensor, fake: Tensor) -> Tensor:
    """E log D(x) + E log(1 - D(G(z))). Goodfellow et al. 2014, eq. 1."""
    log_d_x = nn.functional.logsigmoid(gan.logits(x))
    log_not_d_fake = nn.functional.logsigmoid(-gan.logits(fake))
    return log_d_x.mean() + log_not_d_fake.mean()


_LOG_D_X, _LOG_NOT_D_FAKE = "nn.functional.logsigmoid(gan.logits(x))", "nn.functional.logsigmoid(-gan.logits(fake))"

_SMALL = (1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5)

adversarial_value = Check(
    "adversarial_value",
    _adversarial_value,
    cases=[
        Case("a trained discriminator", on(TRAINED, REAL, FAKE)),
        Case("one that always outputs one half: -log 4", on(UNDECIDED, REAL, FAKE)),
        Case("one that is right, with large logits: 0", on(SURE, HIGH, LOW)),
        Case("one that is wrong, with large logits: far below 0, but finite", on(SURE, LOW, HIGH)),
        Case("its gradient for generated pictures", _slope_for(TRAINED, REAL)),
    ],
    mistakes={
        "real and generated are exchanged": {"logits(x)": "logits(fake)", "-gan.logits(fake)": "-gan.logits(x)"},
        "log D(G(z)) stands where log(1 - D(G(z))) belongs": {"-gan": "gan"},
        "log D(G(z)) is subtracted; log(1 - D(G(z))) is something else": {
            "mean() + log": "mean() - log",
            "-gan": "gan",
        },
        "this is a loss, minus the value: the sign is turned": {"return ": "return -", "() + log": "() - log"},
        "the two terms are averaged, not added": {"return": "return 0.5 *", "() + log": "() + 0.5 * log"},
        "the terms are summed over the batch, not averaged": {
            "log_d_x.mean() + log_not_d_fake.mean()": "log_d_x.sum() + log_not_d_fake.sum()"
        },
        "the sigmoid is taken twice: logsigmoid takes the logits as they are": {
            _LOG_D_X: "nn.functional.logsigmoid(gan.logits(x).sigmoid())",
            _LOG_NOT_D_FAKE: "nn.functional.logsigmoid(-gan.logits(fake).sigmoid())",
        },
        "the generated pictures are detached: the generator's gradient goes through them": {
            "logits(fake)": "logits(fake.detach())"
        },
        "the term of the real pictures is missing": {"log_d_x.mean() + ": ""},
        "the logits themselves are averaged, as in a Wasserstein GAN": {
            _LOG_D_X: "gan.logits(x)",
            _LOG_NOT_D_FAKE: "-gan.logits(fake)",
        },
        "the term of the generated pictures is missing": {" + log_not_d_fake.mean()": ""},
        "a small number is added to D before its logarithm is taken, which flattens the gradient; use logsigmoid": [
            {
                _LOG_D_X: f"(gan.logits(x).sigmoid() + {small}).log()",
                _LOG_NOT_D_FAKE: f"(1 - gan.logits(fake).sigmoid() + {small}).log()",
            }
            for small in _SMALL
        ],
        "the logarithms are missing: D itself is averaged": {
            _LOG_D_X: "gan.logits(x).sigmoid()",
            _LOG_NOT_D_FAKE: "(-gan.logits(fake)).sigmoid()",
        },
        "D is rounded to 0 or 1 before its logarithm is taken: use logsigmoid": {
            _LOG_D_X: "gan.logits(x).sigmoid().log()",
            _LOG_NOT_D_FAKE: "(1 - gan.logits(fake).sigmoid()).log()",
        },
    },
    hint="with o = gan.logits(x): log D = logsigmoid(o) and log(1 - D) = logsigmoid(-o). Means of each, added.",
    shown=(gan_vae.adversarial_value,),
)


def _non_saturating_loss(gan: GAN, fake: Tensor) -> Tensor:
    """-E log D(G(z)). Goodfellow et al. 2014, section 3."""
    return -nn.functional.logsigmoid(gan.logits(fake)).mean()


_LOG_D = "nn.functional.logsigmoid(gan.logits(fake))"

non_saturating_loss = Check(
    "non_saturating_loss",
    _non_saturating_loss,
    cases=[
        Case("a trained discriminator", on(TRAINED, FAKE)),
        Case("one that always outputs one half: log 2", on(UNDECIDED, FAKE)),
        Case("one that rejects all, with large logits: large, but finite", on(SURE, LOW)),
        Case("one that accepts all: 0", on(SURE, HIGH)),
        Case("its gradient where all is rejected: as large as can be", _slope_for(SURE)),
        Case("its gradient for a trained discriminator", _slope_for(TRAINED)),
    ],
    mistakes={
        "this is the minimax game's term, log(1 - D(G(z))), whose gradient vanishes where D rejects the pictures": [
            {"-nn.functional.logsigmoid(": "nn.functional.logsigmoid(-"},
            {f"-{_LOG_D}": "(1 - gan.logits(fake).sigmoid()).log()"},
        ],
        "the sign is turned: a generator that minimises it makes D(G(z)) small": {"-nn": "nn"},
        "it is small where D rejects the pictures: -log(1 - D(G(z))) is a loss of the discriminator": {
            "(gan.logits": "(-gan.logits"
        },
        "the logarithm is missing: the gradient of -D(G(z)) vanishes as the minimax term's does": {
            _LOG_D: "gan.logits(fake).sigmoid()"
        },
        "D is rounded to 0 before its logarithm is taken: use logsigmoid": {_LOG_D: "gan.logits(fake).sigmoid().log()"},
        "the logits themselves are averaged, with no logarithm of D": {_LOG_D: "gan.logits(fake)"},
        "a small number is added to D before its logarithm is taken, which flattens the gradient; use logsigmoid": [
            {_LOG_D: f"(gan.logits(fake).sigmoid() + {small}).log()"} for small in _SMALL
        ],
        "the loss is one number for each of the batch; its mean is asked for": {".mean()": ""},
        "this is the hinge loss, which has no logarithm of D": {f"-{_LOG_D}": "nn.functional.relu(1 - gan.logits(fake))"},
        "this is the least-squares loss, (D - 1)^2": [
            {f"-{_LOG_D}": "(gan.logits(fake) - 1).square()"},
            {f"-{_LOG_D}": "(gan.logits(fake).sigmoid() - 1).square()"},
        ],
        "the loss is summed over the batch, not averaged": {".mean()": ".sum()"},
        "the sigmoid is taken twice: logsigmoid takes the logits as they are": {"logits(fake)": "logits(fake).sigmoid()"},
        "the generated pictures are detached: the generator's gradient goes through them": {
            "logits(fake)": "logits(fake.detach())"
        },
        "the loss is halved": {".mean()": ".mean() / 2"},
        "D(G(z)) is averaged before its logarithm is taken": {f"{_LOG_D}.mean()": "gan.logits(fake).sigmoid().mean().log()"},
    },
    hint="-logsigmoid(gan.logits(fake)).mean(): raise log D(G(z)), do not lower log(1 - D(G(z))).",
    shown=(gan_vae.non_saturating_loss,),
)
