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


RIGHT = {
    "elbo": [by_distributions, by_loops, by_nll],
    "adversarial_value": [value_by_cross_entropy, value_by_softplus, value_at_once],
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


def constants_once(vae, x, eps):
    mean, log_var = vae.encode(x)
    z = mean + torch.exp(0.5 * log_var) * eps
    squares = (((x - vae.decode(z)) / vae.std) ** 2).flatten(1).sum(1)
    log_p = -0.5 * squares - torch.log(vae.std) - 0.5 * math.log(2 * math.pi)
    return log_p + 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1)


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
        ("subtracted once for each x", constants_once),
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


# train_gan: loops that draw their noise and batches in other orders


def in_the_style_of_tutorials(gan, data, steps, lr, momentum, rng):
    """One fake batch a step, losses by binary cross-entropy, real and fake halves backwards one by one."""
    criterion = torch.nn.BCEWithLogitsLoss()
    optimizer_d = torch.optim.Adam(gan.discriminator.parameters(), lr=lr, betas=(momentum, 0.99))
    optimizer_g = torch.optim.Adam(gan.generator.parameters(), lr=lr, betas=(momentum, 0.99))
    for _ in range(steps):
        optimizer_d.zero_grad()
        real = data(rng)
        fake = gan.sample(len(real), rng)
        output = gan.logits(real)
        criterion(output, torch.ones_like(output)).backward()
        output = gan.logits(fake.detach())
        criterion(output, torch.zeros_like(output)).backward()
        optimizer_d.step()
        optimizer_g.zero_grad()
        output = gan.logits(fake)
        criterion(output, torch.ones_like(output)).backward()
        optimizer_g.step()
    return gan


def noise_first(gan, data, steps, lr, momentum, rng):
    """The noise is drawn before the data; the fake batch is made without a graph."""
    players = gan.discriminator, gan.generator
    d, g = (torch.optim.Adam(p.parameters(), lr, (momentum, 0.99)) for p in players)
    for _ in range(steps):
        z = gan.latents(6, rng)
        with torch.no_grad():
            fake = gan.draw(z)
        d.zero_grad(set_to_none=False)
        (softplus(-gan.logits(data(rng))).mean() + softplus(gan.logits(fake)).mean()).backward()
        d.step()
        g.zero_grad(set_to_none=False)
        softplus(-gan.logits(gan.draw(gan.latents(6, rng)))).mean().backward()
        g.step()
    return gan


def by_gradients(gan, data, steps, lr, momentum, rng):
    """Each loss is differentiated with respect to its own network alone."""
    batch = len(data(rng))
    nets = [list(gan.discriminator.parameters()), list(gan.generator.parameters())]
    optimizers = [torch.optim.Adam(weights, lr, (momentum, 0.99)) for weights in nets]
    losses = (
        lambda: -logsigmoid(gan.logits(data(rng))).mean() - logsigmoid(-gan.logits(gan.sample(batch, rng))).mean(),
        lambda: -logsigmoid(gan.logits(gan.sample(batch, rng))).mean(),
    )
    for _ in range(steps):
        for weights, optimizer, loss in zip(nets, optimizers, losses):
            for w, grad in zip(weights, torch.autograd.grad(loss(), weights)):
                w.grad = grad
            optimizer.step()
    return gan


def frozen_in_turn(gan, data, steps, lr, momentum, rng):
    d = torch.optim.AdamW(gan.discriminator.parameters(), lr, (momentum, 0.99), weight_decay=0)
    g = torch.optim.AdamW(gan.generator.parameters(), lr, (momentum, 0.99), weight_decay=0)
    step = 0
    while step < steps:
        gan.zero_grad()
        x = data(rng)
        loss = -value_by_softplus(gan, x, gan.sample(x.shape[0], rng).detach())
        loss.backward()
        d.step()
        gan.zero_grad()
        gan.discriminator.requires_grad_(False)
        loss_by_softplus(gan, gan.sample(x.shape[0], rng)).backward()
        g.step()
        gan.discriminator.requires_grad_(True)
        step += 1
    return gan


def loss_by_softplus(gan, fake):
    return softplus(-gan.logits(fake)).mean()


def adam_by_hand(gan, data, steps, lr, momentum, rng):
    """Adam, written out (Kingma and Ba 2015, Algorithm 1)."""
    state = {p: [torch.zeros_like(p), torch.zeros_like(p)] for p in gan.parameters()}

    def step(net, loss, n):
        for p, grad in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters()))):
            m, v = state[p]
            m.mul_(momentum).add_(grad, alpha=1 - momentum)
            v.mul_(0.99).addcmul_(grad, grad, value=0.01)
            with torch.no_grad():
                p -= lr * m / (1 - momentum**n) / ((v / (1 - 0.99**n)).sqrt() + 1e-8)

    for n in range(1, steps + 1):
        x = data(rng)
        step(gan.discriminator, -value_at_once(gan, x, gan.sample(len(x), rng).detach()), n)
        step(gan.generator, loss_by_softplus(gan, gan.sample(len(x), rng)), n)
    return gan


RIGHT["train_gan"] = [in_the_style_of_tutorials, noise_first, by_gradients, frozen_in_turn, adam_by_hand]


def loop(
    gan, data, steps, lr, momentum, rng, of_d=lambda gan, x, fake: -value_by_softplus(gan, x, fake), of_g=loss_by_softplus,
    betas=None, zero=("d", "g"), together=False, joint=False, sgd=False, once="", order="dg",
):  # fmt: skip
    """A loop that can make many mistakes."""
    betas = betas or (momentum, 0.99)
    weights = [gan.parameters(), gan.parameters()] if joint else [gan.discriminator.parameters(), gan.generator.parameters()]
    d, g = [torch.optim.SGD(w, lr) for w in weights] if sgd else [torch.optim.Adam(w, lr, betas) for w in weights]
    fixed_x, fixed_z = data(rng) if once == "x" else None, gan.latents(6, rng) if once == "z" else None
    for _ in range(steps):
        x = data(rng) if fixed_x is None else fixed_x
        make = lambda: gan.draw(gan.latents(6, rng) if fixed_z is None else fixed_z)
        for player in order:
            if player == "d":
                if "d" in zero:
                    d.zero_grad()
                of_d(gan, x, make().detach()).backward()
                if not together:
                    d.step()
            else:
                if together:
                    grads = [p.grad.clone() for p in gan.discriminator.parameters()]
                if "g" in zero:
                    g.zero_grad()
                of_g(gan, make()).backward()
                if together:
                    for p, grad in zip(gan.discriminator.parameters(), grads):
                        p.grad = grad
                    d.step()
                g.step()
    return gan


def wrong_loop(**changed):
    return lambda gan, data, steps, lr, momentum, rng: loop(gan, data, steps, lr, momentum, rng, **changed)


def returns_early(gan, data, steps, lr, momentum, rng):
    for _ in range(steps):
        return loop(gan, data, 1, lr, momentum, rng)


def one_optimizer(gan, data, steps, lr, momentum, rng):
    optimizer = torch.optim.Adam(gan.parameters(), lr, (momentum, 0.99))
    for _ in range(steps):
        x = data(rng)
        optimizer.zero_grad()
        (-value_by_softplus(gan, x, gan.sample(len(x), rng))).backward()
        optimizer.step()
        optimizer.zero_grad()
        loss_by_softplus(gan, gan.sample(len(x), rng)).backward()
        optimizer.step()
    return gan


def detached_generator(gan, data, steps, lr, momentum, rng):
    return loop(gan, data, steps, lr, momentum, rng, of_g=lambda gan, fake: loss_by_softplus(gan, fake.detach()))


TRIED["train_gan"] = [
    ("the discriminator minimises V", wrong_loop(of_d=lambda gan, x, fake: value_by_softplus(gan, x, fake))),
    ("the minimax term", wrong_loop(of_g=lambda gan, fake: -softplus(gan.logits(fake)).mean())),
    ("the sign turned", wrong_loop(of_g=lambda gan, fake: -loss_by_softplus(gan, fake))),
    ("the discriminator's still holds", wrong_loop(zero="g")),
    ("the discriminator's still holds", wrong_loop(zero="")),
    ("the generator's gradient is not", wrong_loop(zero="d")),
    ("before either network is changed", wrong_loop(together=True)),
    ("first beta is its default", wrong_loop(betas=(0.9, 0.99))),
    ("first beta is its default", wrong_loop(betas=(0.9, 0.999))),
    (
        "second beta",
        lambda gan, data, steps, lr, momentum, rng: loop(gan, data, steps, lr, momentum, rng, betas=(momentum, 0.999)),
    ),
    ("both networks", wrong_loop(joint=True)),
    ("", one_optimizer),
    ("the discriminator is never", wrong_loop(order="g")),
    ("the generator is never", wrong_loop(order="d")),
    ("only one step", returns_early),
    ("plain gradient descent", wrong_loop(sgd=True)),
    ("the data are drawn once", wrong_loop(once="x")),
    ("the noise is drawn once", wrong_loop(once="z")),
    ("", wrong_loop(order="gd")),
    ("the generator is never", detached_generator),
]
WRONG["train_gan"] = [
    ("the minimax term", wrong_loop(of_g=lambda gan, fake: -softplus(gan.logits(fake)).mean())),
    ("the generator is never", detached_generator),
    ("the generator is never", wrong_loop(order="d")),
    ("✗ a new batch of data in every step", wrong_loop(once="x")),
    ("returns a dict", lambda gan, *rest: {"gan": gan}),
]
