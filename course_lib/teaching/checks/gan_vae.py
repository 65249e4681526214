"""Lesson 05: VAE and GAN."""

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
        "log std and log(2 pi) / 2 are subtracted once for each x; each pixel has them": {
            "(error.square() / 2 + vae.log_std + constant).flatten(1).sum(1)": "(error.square() / 2).flatten(1).sum(1)"
            " - vae.log_std - constant"
        },
        "std is taken to be 1: the error is not divided by it": {" / vae.std": "", " + vae.log_std": ""},
        "the batch is averaged: one number for each x is asked for": {"log_p - kl": "(log_p - kl).mean()"},
    },
    hint="z = mean + (log_var / 2).exp() eps; log p(x | z) is that of a Gaussian around vae.decode(z), summed over all numbers "
    "of x; KL = sum (mean^2 + exp(log_var) - 1 - log_var) / 2; the bound is log p - KL.",
    shown=(gan_vae.elbo,),
)

# adversarial_value
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


# train_gan


class _Table(nn.Module):
    """A generator whose samples are its parameters (6, 2), whatever z is, so that the order of random draws does not matter.

    `seen` holds each z that it was given.
    """

    def __init__(self):
        super().__init__()
        self.points, self.seen = nn.Parameter(normal(6, 2, seed=8)), []

    def forward(self, z: Tensor) -> Tensor:
        self.seen.append(z.detach().clone())
        return self.points + 0 * z.sum()


def _trained(steps: int, momentum: float, part: str) -> Callable:
    """A case's `run`: all parameters of a part of the GAN after so many steps."""

    def run(train: Callable) -> Tensor:
        gan = train(_small_gan(), _Batches(), steps, 0.05, momentum, seeded(0))
        return torch.cat([p.flatten() for p in getattr(gan, part).parameters()])

    return run


class _Batches:
    """Data for `train_gan`: the same batch (6, 2) each time, and how often it was asked for."""

    def __init__(self):
        self.calls = 0

    def __call__(self, rng: torch.Generator | None = None) -> Tensor:
        self.calls += 1
        return normal(6, 2, seed=9) + 1


def _small_gan() -> GAN:
    return GAN(_Table(), _filled(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), 10), 2)


def _new_batches(train: Callable) -> Tensor:
    train(_small_gan(), data := _Batches(), 4, 0.05, 0.0, seeded(0))
    return torch.tensor(data.calls >= 4)


def _new_noise(train: Callable) -> Tensor:
    gan = train(_small_gan(), _Batches(), 4, 0.05, 0.0, seeded(0))
    return torch.tensor(len({tuple(z.flatten().tolist()) for z in gan.generator.seen}) >= 4)


def _train_gan(gan: GAN, data: Callable, steps: int, lr: float, momentum: float, rng: torch.Generator) -> GAN:
    """The GAN after `steps` alternate steps of both networks. Goodfellow et al. 2014, Algorithm 1."""
    betas = momentum, 0.99
    D = torch.optim.Adam(gan.discriminator.parameters(), lr, betas)
    G = torch.optim.Adam(gan.generator.parameters(), lr, betas)
    for _ in range(steps):
        x = data(rng)
        fake = gan.sample(len(x), rng).detach()
        value = nn.functional.logsigmoid(gan.logits(x)).mean() + nn.functional.logsigmoid(-gan.logits(fake)).mean()
        D.zero_grad()
        (-value).backward()
        D.step()

        fake = gan.sample(len(x), rng)
        loss_of_G = -nn.functional.logsigmoid(gan.logits(fake)).mean()
        G.zero_grad()
        loss_of_G.backward()
        G.step()
    return gan


_D_STEP = "D.zero_grad()\n        (-value).backward()\n        D.step()\n"
_G_STEP = "G.zero_grad()\n        loss_of_G.backward()\n        G.step()\n"
_LOSS_OF_G = "-nn.functional.logsigmoid(gan.logits(fake)).mean()"

train_gan = Check(
    "train_gan",
    _train_gan,
    cases=[
        Case("the discriminator after one step", _trained(1, 0.0, "discriminator")),
        Case("the generator after one step", _trained(1, 0.0, "generator")),
        Case("the discriminator after four steps", _trained(4, 0.0, "discriminator")),
        Case("the generator after four steps", _trained(4, 0.0, "generator")),
        Case("the discriminator after four steps with momentum", _trained(4, 0.9, "discriminator")),
        Case("the generator after four steps with momentum", _trained(4, 0.9, "generator")),
        Case("a new batch of data in every step", _new_batches),
        Case("new noise in every step", _new_noise),
    ],
    mistakes={
        "the discriminator minimises V; it has to maximise it": {"(-value).": "value."},
        "the generator minimises log(1 - D(G(z))), the minimax term, which is flat where D rejects its samples": {
            _LOSS_OF_G: "nn.functional.logsigmoid(-gan.logits(fake)).mean()"
        },
        "the generator's loss has the sign turned: it makes D(G(z)) small": {"= -nn": "= nn"},
        "the generator minimises the discriminator's loss": {_LOSS_OF_G: "-nn.functional.logsigmoid(-gan.logits(fake)).mean()"},
        "the gradients are not set to zero: the discriminator's still holds what the generator's loss left there": [
            {"D.zero_grad()\n": "\n"},
            {"D.zero_grad()\n": "\n", "G.zero_grad()\n": "\n"},
        ],
        "the generator's gradient is not set to zero: it adds up over the steps": {"G.zero_grad()\n": "\n"},
        "both losses are computed before either network is changed; the generator's step follows the discriminator's": {
            _D_STEP: "\n",
            _G_STEP: "G.zero_grad()\n        loss_of_G.backward()\n        D.zero_grad()\n        (-value).backward()\n"
            "        D.step()\n        G.step()\n",
        },
        "Adam's first beta is its default, 0.9, whatever `momentum` is": [
            {"momentum, 0.99": "0.9, 0.99"},
            {"momentum, 0.99": "0.9, 0.999"},
        ],
        "Adam's second beta is its default, 0.999": {"0.99\n": "0.999\n"},
        "the discriminator is never trained": {_D_STEP: "\n"},
        "the generator is never trained": {_G_STEP: "\n"},
        "one optimizer has the parameters of both networks: each loss changes both": [
            {"gan.generator.parameters()": "gan.parameters()"},
            {"gan.discriminator.parameters()": "gan.parameters()", "gan.generator.parameters()": "gan.parameters()"},
        ],
        "only one step is taken: the loop is missing, or `return` stands inside it": {"range(steps)": "range(1)"},
        "the optimizers are those of plain gradient descent, not Adam": {
            "Adam(gan.discriminator.parameters(), lr, betas)": "SGD(gan.discriminator.parameters(), lr)",
            "Adam(gan.generator.parameters(), lr, betas)": "SGD(gan.generator.parameters(), lr)",
        },
        "lr is not passed to the optimizers": {
            "discriminator.parameters(), lr, betas": "discriminator.parameters(), betas=betas",
            "generator.parameters(), lr, betas": "generator.parameters(), betas=betas",
        },
        "the data are drawn once, before the loop: each step needs a new batch": {
            "for _ in": "x = data(rng)\n    for _ in",
            "        x = data(rng)\n": "\n",
        },
        "the noise is drawn once, before the loop: each step needs new noise": {
            "for _ in": "z = gan.latents(6, rng)\n    for _ in",
            "gan.sample(len(x), rng).detach()": "gan.draw(z).detach()",
            "fake = gan.sample(len(x), rng)\n": "fake = gan.draw(z)\n",
        },
    },
    hint="in each step: x and fake, zero_grad, backward of -V(x, fake.detach()), step of the discriminator's Adam; then a new "
    "fake, zero_grad, backward of -log D(fake), step of the generator's Adam.",
)
