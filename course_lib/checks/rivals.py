"""Lesson 05: GAN and VAE."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from course_lib import rivals
from course_lib.checks.check import Case, Check, on
from course_lib.nets.generators import GAN, VAE


def _filled(net: nn.Module, seed: int) -> nn.Module:
    """The same network with weights that are fixed."""
    rng = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=rng)
    return net


# elbo

POINTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
PICTURES = torch.randn(4, 1, 2, 3, generator=torch.Generator().manual_seed(2))
EPS = torch.randn(5, 2, generator=torch.Generator().manual_seed(3))
OF_POINTS = _filled(VAE(nn.Linear(3, 4), nn.Sequential(nn.Linear(2, 3), nn.Tanh()), 2), 4)
OF_PICTURES = _filled(
    VAE(nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (1, 2, 3))), 2), 5
)


class _Line(nn.Module):
    """A VAE of numbers x = 2 z + std noise, std = 0.5, whose q(z | x) is the exact posterior, so that log p(x) is known."""

    latent, std = 1, torch.tensor(0.5)
    log_std = std.log()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x / 4.25, torch.full_like(x, math.log(0.25 / 4.25))

    def decode(self, z: Tensor) -> Tensor:
        return 2 * z


def _of_line(bound: Callable) -> Tensor:
    """Over eps = 1 and -1, whose mean and variance are those of a Gaussian: all that counts, where all is of degree two."""
    x = torch.tensor([[-3.0], [0.2], [1.0]])
    return sum(torch.as_tensor(bound(_Line(), x, sign * torch.ones(3, 1))) for sign in (1, -1)) / 2


def _slope_of_the_encoder(bound: Callable) -> Tensor:
    weight = OF_POINTS.encoder.weight
    return torch.autograd.grad(torch.as_tensor(bound(OF_POINTS, POINTS.clone(), EPS.clone())).sum(), weight)[0]


def _kl(mean: Tensor, log_var: Tensor) -> Tensor:
    return (mean.square() + log_var.exp() - 1 - log_var).sum(1) / 2


def _log_p(x: Tensor, mean: Tensor, vae: VAE) -> Tensor:
    off = (x - mean) / vae.std
    return -(off.square() / 2 + vae.log_std + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def _elbo_with(
    sample=lambda mean, log_var, eps: mean + (log_var / 2).exp() * eps,
    log_p=_log_p,
    kl=_kl,
    bound=lambda log_p, kl: log_p - kl,
) -> Callable:
    """elbo with another z, another likelihood, another divergence, or another sum of the two."""

    def elbo(vae, x, eps):
        mean, log_var = vae.encode(x)
        return bound(log_p(x, vae.decode(sample(mean, log_var, eps)), vae), kl(mean, log_var))

    return elbo


elbo = Check(
    "elbo",
    rivals.elbo,
    cases=[
        Case("points (B, 3): one number for each", on(OF_POINTS, POINTS, EPS)),
        Case("pictures (B, 1, 2, 3): the sum over all pixels", on(OF_PICTURES, PICTURES, EPS[:4])),
        Case("eps = 0: z is the mean", on(OF_POINTS, POINTS, 0 * EPS)),
        Case("far from 0 the likelihood falls as the square", on(OF_POINTS, 10 * POINTS, EPS)),
        Case("where q(z | x) is the exact posterior, the bound is log p(x) itself", _of_line),
        Case("the encoder learns through z: the slope of its weights", _slope_of_the_encoder),
    ],
    mistakes=[
        ("the divergence is added; the bound is log p(x | z) less KL", _elbo_with(bound=lambda log_p, kl: log_p + kl)),
        (
            "this is the loss, minus the bound: the sign is turned",
            _elbo_with(bound=lambda log_p, kl: kl - log_p),
        ),
        ("the divergence is missing: this is an autoencoder", _elbo_with(bound=lambda log_p, kl: log_p)),
        (
            "the variance stands where the standard deviation belongs: z = mean + exp(log_var / 2) eps",
            _elbo_with(sample=lambda mean, log_var, eps: mean + log_var.exp() * eps),
        ),
        (
            "log_var is used as if it were the standard deviation",
            _elbo_with(sample=lambda mean, log_var, eps: mean + log_var * eps),
        ),
        ("z is the mean alone: the noise is missing", _elbo_with(sample=lambda mean, log_var, eps: mean)),
        ("the divergence lost its factor 1/2", _elbo_with(kl=lambda mean, log_var: 2 * _kl(mean, log_var))),
        (
            "the pixels are averaged, not summed: the divergence weighs too much",
            _elbo_with(log_p=lambda x, mean, vae: _log_p(x, mean, vae) / x[0].numel()),
        ),
        (
            "the likelihood is without its constant, log std + log(2 pi) / 2 for each number",
            _elbo_with(log_p=lambda x, mean, vae: -(((x - mean) / vae.std).square() / 2).flatten(1).sum(1)),
        ),
        (
            "std is taken to be 1: the error is not divided by it",
            _elbo_with(log_p=lambda x, mean, vae: -((x - mean).square() / 2 + math.log(2 * math.pi) / 2).flatten(1).sum(1)),
        ),
        (
            "the batch is averaged: one number for each x is asked for",
            _elbo_with(bound=lambda log_p, kl: (log_p - kl).mean()),
        ),
    ],
    hint="z = mean + (log_var / 2).exp() eps; log p(x | z) is that of a Gaussian around vae.decode(z), summed over all numbers "
    "of x; KL = sum (mean^2 + exp(log_var) - 1 - log_var) / 2; the bound is log p - KL.",
)


# The two losses of a GAN

REAL, FAKE = (torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) for n in (6, 4))
JUDGED = _filled(GAN(nn.Identity(), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), 3), 6)
UNDECIDED = GAN(nn.Identity(), nn.Sequential(nn.Linear(3, 1)), 3)
for _p in UNDECIDED.parameters():
    nn.init.zeros_(_p)
SURE = _filled(GAN(nn.Identity(), nn.Linear(3, 1, bias=False), 3), 7)
SURE.discriminator.weight.data = torch.tensor([[300.0, 0, 0]])
HIGH, LOW = torch.tensor([[1.0, 0, 0], [0.5, 1, 1]]), torch.tensor([[-1.0, 0, 0], [-0.5, 1, 1]])


def _slope(loss: Callable) -> Tensor:
    """How the loss of pictures that are seen through moves with them: what the generator learns from."""
    fake = LOW.clone().requires_grad_()
    return torch.autograd.grad(torch.as_tensor(loss(fake)), fake)[0]


def _naive(log_odds: Tensor) -> Tensor:
    return log_odds.sigmoid().log()


def _value_with(
    of_real=lambda log_odds: logsigmoid(log_odds), of_fake=lambda log_odds: logsigmoid(-log_odds), total=lambda a, b: a + b
) -> Callable:
    """adversarial_value with another term for the real ones, for the drawn ones, or another sum."""

    def adversarial_value(gan, x, fake):
        return total(of_real(gan.log_odds(x)).mean(), of_fake(gan.log_odds(fake)).mean())

    return adversarial_value


adversarial_value = Check(
    "adversarial_value",
    rivals.adversarial_value,
    cases=[
        Case("a discriminator that has learned something", on(JUDGED, REAL, FAKE)),
        Case("one that always answers one half: -log 4", on(UNDECIDED, REAL, FAKE)),
        Case("one that is right and sure of it: 0", lambda value: 1 + torch.as_tensor(value(SURE, HIGH.clone(), LOW.clone()))),
        Case("one that is wrong and sure of it: far below 0, but finite", on(SURE, LOW, HIGH)),
        Case(
            "its slope for what is drawn, which the generator goes down", lambda v: _slope(lambda f: v(JUDGED, REAL.clone(), f))
        ),
    ],
    mistakes=[
        ("real and drawn are exchanged", lambda gan, x, fake: rivals.adversarial_value(gan, fake, x)),
        (
            "log D(G(z)) stands where log(1 - D(G(z))) belongs",
            _value_with(of_fake=logsigmoid),
        ),
        ("log D(G(z)) is subtracted; log(1 - D(G(z))) is something else", _value_with(of_fake=lambda o: -logsigmoid(o))),
        ("this is a loss, minus the value: the sign is turned", _value_with(total=lambda a, b: -a - b)),
        ("the two terms are averaged, not added", _value_with(total=lambda a, b: (a + b) / 2)),
        ("the term of the drawn pictures is missing", _value_with(total=lambda a, b: a)),
        (
            "the logarithms are missing: D itself is averaged",
            _value_with(of_real=torch.sigmoid, of_fake=lambda log_odds: torch.sigmoid(-log_odds)),
        ),
        (
            "D has rounded to 0 or 1 before its logarithm is taken: use logsigmoid",
            _value_with(of_real=_naive, of_fake=lambda log_odds: (1 - log_odds.sigmoid()).log()),
        ),
    ],
    hint="with o = gan.log_odds(x): log D = logsigmoid(o) and log(1 - D) = logsigmoid(-o). Means of each, added.",
)


def _loss_with(of_fake: Callable) -> Callable:
    return lambda gan, fake: of_fake(gan.log_odds(fake)).mean()


non_saturating_loss = Check(
    "non_saturating_loss",
    rivals.non_saturating_loss,
    cases=[
        Case("a discriminator that has learned something", on(JUDGED, FAKE)),
        Case("one that always answers one half: log 2", on(UNDECIDED, FAKE)),
        Case("one that sees through it, and is sure: large, but finite", on(SURE, LOW)),
        Case("one that is taken in: 0", lambda loss: 1 + torch.as_tensor(loss(SURE, HIGH.clone()))),
        Case("its slope where it is seen through: as steep as can be", lambda loss: _slope(lambda fake: loss(SURE, fake))),
        Case("its slope in the middle", lambda loss: _slope(lambda fake: loss(JUDGED, fake))),
    ],
    mistakes=[
        (
            "this is the minimax game's term, log(1 - D(G(z))), which is flat where the generator is bad",
            _loss_with(lambda log_odds: logsigmoid(-log_odds)),
        ),
        ("the sign is turned: this is raised by what it should lower", _loss_with(logsigmoid)),
        (
            "it rewards being seen through: -log(1 - D(G(z))) is the discriminator's aim",
            _loss_with(lambda log_odds: -logsigmoid(-log_odds)),
        ),
        ("the logarithm is missing: -D(G(z)) is as flat as the minimax term", _loss_with(lambda log_odds: -log_odds.sigmoid())),
        (
            "D has rounded to 0 before its logarithm is taken: use logsigmoid",
            _loss_with(lambda log_odds: -_naive(log_odds)),
        ),
        (
            "the log-odds themselves are lowered, with no logarithm of D",
            _loss_with(lambda log_odds: -log_odds),
        ),
    ],
    hint="-logsigmoid(gan.log_odds(fake)).mean(): raise log D(G(z)), do not lower log(1 - D(G(z))).",
)
