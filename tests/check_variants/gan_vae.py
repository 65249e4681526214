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
        ("factor 1/2 of the divergence is missing", wrong_elbo(kl=2.0)),
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
            "its gradient for generated pictures",
            lambda gan, x, fake: value_by_softplus(gan, x, fake.detach().requires_grad_() * 1.0 + 0 * fake),
        ),
    ],
    "non_saturating_loss": [
        ("whose gradient vanishes", lambda gan, fake: -softplus(gan.logits(fake)).mean()),
        ("the sign is turned", lambda gan, fake: logsigmoid(gan.logits(fake)).mean()),
        ("small where D rejects", lambda gan, fake: softplus(gan.logits(fake)).mean()),
        ("rounded", lambda gan, fake: -gan.logits(fake).sigmoid().log().mean()),
        ("no logarithm of D", lambda gan, fake: -gan.logits(fake).mean()),
    ],
}


# What was tried: whole functions, as they would stand in the cell


def added_divergence(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    log_p = Normal(vae.decode(z), vae.std).log_prob(x).flatten(1).sum(1)
    return log_p + 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def negative_elbo(vae, x, eps):
    """The loss, as most programs return it."""
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    log_p = Normal(vae.decode(z), vae.std).log_prob(x).flatten(1).sum(1)
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1) - log_p


def of_the_batch(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    log_p = Normal(vae.decode(z), vae.std).log_prob(x).flatten(1).sum(1)
    return (log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)).mean()


def mean_squared_error(vae, x, eps):
    """-MSE / (2 sigma^2), without what does not depend on the networks."""
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    error = ((x - vae.decode(z)) / vae.std) ** 2
    return -0.5 * error.flatten(1).sum(1) - vae.log_std * x[0].numel() - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def averaged_pixels(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    log_p = Normal(vae.decode(z), vae.std).log_prob(x).flatten(1).mean(1)
    return log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def variance_times_eps(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(log_var) * eps
    log_p = Normal(vae.decode(z), vae.std).log_prob(x).flatten(1).sum(1)
    return log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def log_var_times_eps(vae, x, eps):
    mean, log_var = vae.encode(x)
    log_p = Normal(vae.decode(mean + log_var * eps), vae.std).log_prob(x).flatten(1).sum(1)
    return log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def whole_divergence(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    log_p = Normal(vae.decode(z), vae.std).log_prob(x).flatten(1).sum(1)
    return log_p - (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def averaged_latents(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    log_p = Normal(vae.decode(z), vae.std).log_prob(x).flatten(1).sum(1)
    return log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).mean(1)


def of_the_mean(vae, x, eps):
    mean, log_var = vae.encode(x)
    log_p = Normal(vae.decode(mean), vae.std).log_prob(x).flatten(1).sum(1)
    return log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def of_width_one(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    log_p = Normal(vae.decode(z), 1.0).log_prob(x).flatten(1).sum(1)
    return log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def without_log_std(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    log_p = (-(((x - vae.decode(z)) / vae.std) ** 2) / 2 - math.log(2 * math.pi) / 2).flatten(1).sum(1)
    return log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def with_its_own_eps(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    log_p = Normal(vae.decode(z), vae.std).log_prob(x).flatten(1).sum(1)
    return log_p - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def binary_cross_entropy_loss(gan, x, fake):
    """What a discriminator minimises, as in most programs."""
    real, false = gan.logits(x), gan.logits(fake)
    return cross_entropy(real, torch.ones_like(real)) + cross_entropy(false, torch.zeros_like(false))


def halved_loss(gan, x, fake):
    real, false = gan.logits(x), gan.logits(fake)
    return -(cross_entropy(real, torch.ones_like(real)) + cross_entropy(false, torch.zeros_like(false))) / 2


def log_d_of_fake(gan, x, fake):
    return logsigmoid(gan.logits(x)).mean() + logsigmoid(gan.logits(fake)).mean()


def log_d_subtracted(gan, x, fake):
    return logsigmoid(gan.logits(x)).mean() - logsigmoid(gan.logits(fake)).mean()


def with_rounded_sigmoid(gan, x, fake):
    return torch.log(torch.sigmoid(gan.logits(x))).mean() + torch.log(1 - torch.sigmoid(gan.logits(fake))).mean()


def with_a_small_number(gan, x, fake):
    d_real, d_fake = torch.sigmoid(gan.logits(x)), torch.sigmoid(gan.logits(fake))
    return torch.log(d_real + 1e-8).mean() + torch.log(1 - d_fake + 1e-8).mean()


def without_logarithms(gan, x, fake):
    return gan.logits(x).sigmoid().mean() + (1 - gan.logits(fake).sigmoid()).mean()


def real_for_fake(gan, x, fake):
    return logsigmoid(gan.logits(fake)).mean() + logsigmoid(-gan.logits(x)).mean()


def summed_value(gan, x, fake):
    return logsigmoid(gan.logits(x)).sum() + logsigmoid(-gan.logits(fake)).sum()


def of_fakes_alone(gan, x, fake):
    return logsigmoid(-gan.logits(fake)).mean()


def of_reals_alone(gan, x, fake):
    return logsigmoid(gan.logits(x)).mean()


def detached_fakes(gan, x, fake):
    """As a discriminator's step has it."""
    return logsigmoid(gan.logits(x)).mean() + logsigmoid(-gan.logits(fake.detach())).mean()


def wasserstein(gan, x, fake):
    return gan.logits(x).mean() - gan.logits(fake).mean()


def minimax_term(gan, fake):
    return torch.log(1 - torch.sigmoid(gan.logits(fake))).mean()


def stable_minimax_term(gan, fake):
    return logsigmoid(-gan.logits(fake)).mean()


def raised_for_lowered(gan, fake):
    return logsigmoid(gan.logits(fake)).mean()


def labelled_fake(gan, fake):
    odds = gan.logits(fake)
    return cross_entropy(odds, torch.zeros_like(odds))


def log_of_sigmoid(gan, fake):
    return -torch.log(torch.sigmoid(gan.logits(fake))).mean()


def with_eps(gan, fake):
    return -torch.log(torch.sigmoid(gan.logits(fake)) + 1e-8).mean()


def probability(gan, fake):
    return -torch.sigmoid(gan.logits(fake)).mean()


def critic(gan, fake):
    return -gan.logits(fake).mean()


def hinge(gan, fake):
    return torch.relu(1 - gan.logits(fake)).mean()


def least_squares(gan, fake):
    return ((gan.logits(fake) - 1) ** 2).mean()


def summed_loss(gan, fake):
    return -logsigmoid(gan.logits(fake)).sum()


def twice_a_sigmoid(gan, fake):
    return -logsigmoid(torch.sigmoid(gan.logits(fake))).mean()


def each_loss(gan, fake):
    return -logsigmoid(gan.logits(fake))


TRIED = {
    "elbo": [
        ("the divergence is added", added_divergence),
        ("this is the loss", negative_elbo),
        ("the batch is averaged", of_the_batch),
        ("log(2 pi) / 2 is missing", mean_squared_error),
        ("the pixels are averaged", averaged_pixels),
        ("the variance stands where", variance_times_eps),
        ("log_var is used as if", log_var_times_eps),
        ("factor 1/2 of the divergence", whole_divergence),
        ("averaged over the latents", averaged_latents),
        ("z is the mean alone", of_the_mean),
        ("std is taken to be 1", of_width_one),
        ("log std is missing", without_log_std),
        ("", with_its_own_eps),
    ],
    "adversarial_value": [
        ("this is a loss", binary_cross_entropy_loss),
        ("averaged, not added", halved_loss),
        ("log D(G(z)) stands where", log_d_of_fake),
        ("log D(G(z)) is subtracted", log_d_subtracted),
        ("rounded", with_rounded_sigmoid),
        ("small number", with_a_small_number),
        ("the logarithms are missing", without_logarithms),
        ("real and generated are exchanged", real_for_fake),
        ("summed over the batch", summed_value),
        ("the term of the real pictures is missing", of_fakes_alone),
        ("the term of the generated pictures is missing", of_reals_alone),
        ("detached", detached_fakes),
        ("Wasserstein", wasserstein),
    ],
    "non_saturating_loss": [
        ("minimax", minimax_term),
        ("minimax", stable_minimax_term),
        ("the sign is turned", raised_for_lowered),
        ("small where D rejects", labelled_fake),
        ("rounded to 0", log_of_sigmoid),
        ("small number", with_eps),
        ("the logarithm is missing", probability),
        ("no logarithm of D", critic),
        ("hinge", hinge),
        ("least-squares", least_squares),
        ("summed over the batch", summed_loss),
        ("sigmoid is taken twice", twice_a_sigmoid),
        ("one number for each", each_loss),
    ],
}


def by_log_density(vae, x, eps):
    """log p(x, z) - log q(z | x) would be another estimate; the closed form is asked for, written as Kingma and Welling do."""
    mean, log_var = vae.encode(x)
    sigma = torch.sqrt(torch.exp(log_var))
    prior = 0.5 * torch.sum(1 + torch.log(sigma**2) - mean**2 - sigma**2, dim=1)
    error = torch.flatten(x - vae.decode(mean + sigma * eps), 1)
    d = error.shape[1]
    log_p = -0.5 * torch.sum(error**2, dim=1) / vae.std**2 - d * (vae.log_std + 0.5 * math.log(2 * math.pi))
    return prior + log_p


def in_double(vae, x, eps):
    mean, log_var = vae.encode(x)
    drawn = vae.decode(mean + (0.5 * log_var).exp() * eps)
    log_p = Normal(drawn.double(), vae.std.double()).log_prob(x.double()).reshape(len(x), -1).sum(-1)
    return log_p - 0.5 * (mean.double().square() + log_var.double().exp() - 1 - log_var.double()).sum(-1)


def by_einsum(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = torch.addcmul(mean, (log_var / 2).exp(), eps)
    error = ((x - vae.decode(z)) / vae.std).flatten(1)
    log_p = -torch.einsum("bi,bi->b", error, error) / 2 - error.shape[1] * (vae.log_std + math.log(2 * math.pi) / 2)
    return log_p - (torch.einsum("bi,bi->b", mean, mean) + (log_var.exp() - 1 - log_var).sum(1)) / 2


def value_in_double(gan, x, fake):
    return -torch.log1p(torch.exp(-gan.logits(x).double())).mean() - torch.log1p(torch.exp(gan.logits(fake).double())).mean()


def value_by_logaddexp(gan, x, fake):
    of_real, of_fake = gan.logits(x), gan.logits(fake)
    return -(torch.logaddexp(-of_real, torch.zeros_like(of_real)).mean() + torch.logaddexp(of_fake, 0 * of_fake).mean())


def value_by_sums(gan, x, fake):
    return logsigmoid(gan.logits(x)).sum() / len(x) + (logsigmoid(gan.logits(fake)) - gan.logits(fake)).sum() / len(fake)


RIGHT["elbo"] += [by_log_density, in_double, by_einsum]
RIGHT["adversarial_value"] += [value_in_double, value_by_logaddexp, value_by_sums]
RIGHT["non_saturating_loss"] += [
    lambda gan, fake: -logsigmoid(gan.logits(fake)).sum() / len(fake),
    lambda gan, fake: torch.logaddexp(-gan.logits(fake), torch.zeros(len(fake))).mean(),
    lambda gan, fake: (softplus(gan.logits(fake)) - gan.logits(fake)).mean(),
]
