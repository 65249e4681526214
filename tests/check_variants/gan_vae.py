"""Lesson 05."""

import math

import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import gaussian_nll_loss, logsigmoid, softplus


def by_distributions(vae, x, eps):
    mean, log_var = vae.encode(x)
    std = (log_var / 2).exp()
    q, prior = Normal(mean, std), Normal(torch.zeros_like(mean), torch.ones_like(mean))
    p = Independent(Normal(vae.decode(mean + std * eps), vae.std), x.ndim - 1)
    return p.log_prob(x) - kl_divergence(q, prior).sum(1)


def by_loops(vae, x, eps):
    bounds = []
    for one, e in zip(x, eps):
        mean, log_var = (v[0] for v in vae.encode(one[None]))
        drawn = vae.decode((mean + log_var.exp().sqrt() * e)[None])[0]
        log_p = -((one - drawn) ** 2).sum() / (2 * vae.std**2) - one.numel() * torch.log(vae.std * math.sqrt(2 * math.pi))
        bounds.append(log_p + 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum())
    return torch.stack(bounds)


def by_nll(vae, x, eps):
    mean, log_var = vae.encode(x)
    drawn = vae.decode(torch.addcmul(mean, log_var.mul(0.5).exp(), eps))
    nll = gaussian_nll_loss(drawn, x, (vae.std**2).expand(x.shape), full=True, reduction="none", eps=1e-12)
    kl = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(dim=-1)
    return -nll.reshape(len(x), -1).sum(-1) - kl


def _elbo(vae, x, eps, log_p=1.0, kl=1.0, spread=lambda log_var: (log_var / 2).exp(), reduce="sum", hold=False):
    mean, log_var = vae.encode(x)
    z = mean + spread(log_var) * eps
    each = Normal(vae.decode(z.detach() if hold else z), vae.std).log_prob(x).flatten(1)
    divergence = (mean**2 + log_var.exp() - 1 - log_var).sum(1) / 2
    return log_p * getattr(each, reduce)(1) - kl * divergence


def wrong_elbo(**changed):
    return lambda vae, x, eps: _elbo(vae, x, eps, **changed)


def value_by_cross_entropy(gan, x, fake):
    of_real, of_fake = gan.logits(x), gan.logits(fake)
    return -cross_entropy(of_real, torch.ones_like(of_real)) - cross_entropy(of_fake, torch.zeros_like(of_fake))


def value_by_softplus(gan, x, fake):
    return -softplus(-gan.logits(x)).mean() - softplus(gan.logits(fake)).mean()


def value_at_once(gan, x, fake):
    odds = gan.logits(torch.cat([x, fake]))
    return logsigmoid(odds[: len(x)]).mean() + logsigmoid(-odds[len(x) :]).mean()


def loss_by_cross_entropy(gan, fake):
    odds = gan.logits(fake)
    return cross_entropy(odds, torch.ones_like(odds))


RIGHT = {
    "elbo": [by_distributions, by_loops, by_nll],
    "adversarial_value": [value_by_cross_entropy, value_by_softplus, value_at_once],
    "non_saturating_loss": [
        loss_by_cross_entropy,
        lambda gan, fake: softplus(-gan.logits(fake)).mean(),
        lambda gan, fake: (1 + (-gan.logits(fake).double()).exp()).log().mean(),
    ],
}
WRONG = {
    "elbo": [
        ("the divergence is added", wrong_elbo(kl=-1.0)),
        ("the sign is turned", wrong_elbo(log_p=-1.0, kl=-1.0)),
        ("the divergence is missing", wrong_elbo(kl=0.0)),
        ("lost its factor 1/2", wrong_elbo(kl=2.0)),
        ("the variance stands where the standard deviation belongs", wrong_elbo(spread=torch.exp)),
        ("log_var is used as if it were the standard deviation", wrong_elbo(spread=lambda log_var: log_var)),
        ("z is the mean alone", wrong_elbo(spread=torch.zeros_like)),
        ("averaged, not summed", wrong_elbo(reduce="mean")),
        ("✗ the gradient reaches the weights of the encoder", wrong_elbo(hold=True)),
        ("one number for each x", lambda vae, x, eps: _elbo(vae, x, eps).mean()),
    ],
    "adversarial_value": [
        ("real and generated are exchanged", lambda gan, x, fake: value_by_softplus(gan, fake, x)),
        ("the sign is turned", lambda gan, x, fake: -value_by_softplus(gan, x, fake)),
        ("averaged, not added", lambda gan, x, fake: value_by_softplus(gan, x, fake) / 2),
        ("is missing", lambda gan, x, fake: logsigmoid(gan.logits(x)).mean()),
        (
            "rounded",
            lambda gan, x, fake: sum(p.log().mean() for p in (gan.logits(x).sigmoid(), 1 - gan.logits(fake).sigmoid())),
        ),
        (
            "its slope for generated pictures",
            lambda gan, x, fake: value_by_softplus(gan, x, fake.detach().requires_grad_() * 1.0 + 0 * fake),
        ),
    ],
    "non_saturating_loss": [
        ("flat where the generator is bad", lambda gan, fake: -softplus(gan.logits(fake)).mean()),
        ("the sign is turned", lambda gan, fake: logsigmoid(gan.logits(fake)).mean()),
        ("rewards being rejected", lambda gan, fake: softplus(gan.logits(fake)).mean()),
        ("rounded", lambda gan, fake: -gan.logits(fake).sigmoid().log().mean()),
        ("no logarithm of D", lambda gan, fake: -gan.logits(fake).mean()),
    ],
}
