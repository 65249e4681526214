"""Lesson 02."""

import numpy as np
import torch
from torch.nn.functional import l1_loss, mse_loss, smooth_l1_loss

from course_lib.process import randn_like, seeded
from course_lib.samplers import ddpm as library_ddpm


def noise_first(denoiser, x0, rng):
    eps = torch.randn(x0.shape, generator=rng)
    t = torch.randint(1, denoiser.process.T + 1, (len(x0),), generator=rng)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def by_hand(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    alpha_bar = denoiser.process.alpha_bar(t).reshape(-1, *[1] * (x0.ndim - 1)).float()
    eps = torch.randn(x0.shape, generator=rng)
    miss = eps - denoiser(alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps, t).value
    return (miss * miss).flatten(1).mean(1).mean()


def by_norms(denoiser, x0, rng):
    """The norm of Algorithm 1, squared, over the number of pixels."""
    t, eps = 1 + (denoiser.process.T * torch.rand(len(x0), generator=rng)).long(), torch.empty_like(x0).normal_(generator=rng)
    a, b = denoiser.process.coefficients(t, x0)
    miss = (eps - denoiser(a * x0 + b * eps, t).eps).flatten(1)
    return (torch.linalg.vector_norm(miss, dim=1) ** 2 / miss.shape[1]).mean()


def through_v(denoiser, x0, rng):
    """|eps - eps'|^2 = a^2 |x0 - x0'|^2 / b^2: a loss of pictures, weighted, is the same loss."""
    t, eps = denoiser.process.sample_t(len(x0), rng), torch.randn(x0.shape, generator=rng)
    pred = denoiser(denoiser.process.add_noise(x0, t, eps), t)
    return (pred.a / pred.b * (pred.x0 - x0)).square().mean()


def _asked(denoiser, x0, rng):
    eps = torch.randn(x0.shape, generator=rng)
    t = denoiser.process.sample_t(len(x0), rng)
    return denoiser(denoiser.process.add_noise(x0, t, eps), t), eps


def one_time(denoiser, x0, rng):
    eps, t = torch.randn(x0.shape, generator=rng), int(torch.randint(1, denoiser.process.T + 1, (1,), generator=rng))
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def counted_from_0(denoiser, x0, rng):
    eps, t = torch.randn(x0.shape, generator=rng), torch.randint(denoiser.process.T, (len(x0),), generator=rng)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def summed(denoiser, x0, rng):
    pred, eps = _asked(denoiser, x0, rng)
    return mse_loss(pred.eps, eps, reduction="sum")


def norm(denoiser, x0, rng):
    pred, eps = _asked(denoiser, x0, rng)
    return (pred.eps - eps).flatten(1).norm(dim=1).square().mean()


def absolute(denoiser, x0, rng):
    pred, eps = _asked(denoiser, x0, rng)
    return l1_loss(pred.eps, eps)


def of_pictures(denoiser, x0, rng):
    return mse_loss(_asked(denoiser, x0, rng)[0].x0, x0)


def against_the_picture(denoiser, x0, rng):
    return mse_loss(_asked(denoiser, x0, rng)[0].eps, x0)


def against_x_t(denoiser, x0, rng):
    pred, _ = _asked(denoiser, x0, rng)
    return mse_loss(pred.eps, pred.x)


def other_noise(denoiser, x0, rng):
    return mse_loss(_asked(denoiser, x0, rng)[0].eps, torch.randn(x0.shape, generator=rng))


def clean(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    return mse_loss(denoiser(x0, t).eps, torch.randn(x0.shape, generator=rng))


def uniform(denoiser, x0, rng):
    eps, t = torch.rand(x0.shape, generator=rng), denoiser.process.sample_t(len(x0), rng)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def shared_noise(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    eps = torch.randn(x0.shape[1:], generator=rng).expand_as(x0)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


@torch.no_grad()
def cut_off(denoiser, x0, rng):
    return by_hand(denoiser, x0, rng)


def global_rng(denoiser, x0, rng):
    t = torch.randint(1, denoiser.process.T + 1, (len(x0),))
    eps = torch.randn_like(x0)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def doubled(denoiser, x0, rng):
    return 2 * by_hand(denoiser, x0, rng)


def unasked(denoiser, x0, rng):
    return torch.randn(x0.shape, generator=rng).square().mean()


def letters(denoiser, x_t, t, z):
    """The line of Algorithm 2, with z = 0 at t = 1 although sigma is 0 there."""
    p, eps = denoiser.process, denoiser(x_t, t).eps
    alpha, alpha_bar = 1 - p.beta(t), p.alpha_bar(t)
    sigma = (p.beta(t) * (1 - p.alpha_bar(t - 1)) / (1 - alpha_bar)) ** 0.5
    return (x_t - (1 - alpha) / (1 - alpha_bar) ** 0.5 * eps) / alpha**0.5 + sigma * (z if t > 1 else 0)


def through_ddim(denoiser, x_t, t, z):
    """Song et al. 2021, eq. 12 with eta = 1."""
    p, pred = denoiser.process, denoiser(x_t, t)
    variance = p.beta(t) * (1 - p.alpha_bar(t - 1)) / (1 - p.alpha_bar(t))
    return p.signal(t - 1) * pred.x0 + (1 - p.alpha_bar(t - 1) - variance).sqrt() * pred.eps + variance.sqrt() * z


def through_the_score(denoiser, x_t, t, z):
    p = denoiser.process
    variance = p.beta(t) * (1 - p.alpha_bar(t - 1)) / (1 - p.alpha_bar(t))
    return (x_t + p.beta(t) * denoiser(x_t, t).score) / p.alpha(t).sqrt() + variance.sqrt() * z


def in_numpy(denoiser, x_t, t, z):
    beta = denoiser.process.betas.numpy()
    alpha_bar = np.append(1, np.cumprod(1 - beta))
    b, now, before = beta[t - 1], alpha_bar[t], alpha_bar[t - 1]
    mean = (x_t.numpy() - b / np.sqrt(1 - now) * denoiser(x_t, t).eps.numpy()) / np.sqrt(1 - b)
    return mean + np.sqrt(b * (1 - before) / (1 - now)) * z.numpy()


def by_the_sampler(denoiser, x_t, t, z):
    """The library's own sampler, whose noise is taken out and replaced by z."""
    step = lambda rng: list(library_ddpm(denoiser, x_t, torch.tensor([t, t - 1]), rng))[-1].x
    drawn = torch.randn(x_t.shape, generator=seeded(4))
    p = denoiser.process
    sigma = (p.beta(t) * (1 - p.alpha_bar(t - 1)) / (1 - p.alpha_bar(t))).sqrt()
    return step(seeded(4)) + sigma * (z - drawn)


def _line(change):
    """Algorithm 2, line 4, with its parts changed by name."""

    def step(denoiser, x_t, t, z):
        p = denoiser.process
        tilde = p.beta(t) * (1 - p.alpha_bar(t - 1)) / (1 - p.alpha_bar(t))
        parts = dict(outside=p.alpha(t) ** -0.5, top=p.beta(t), below=(1 - p.alpha_bar(t)) ** 0.5, sigma=tilde**0.5)
        parts |= change(p, t)
        return parts["outside"] * (x_t - parts["top"] / parts["below"] * denoiser(x_t, t).eps) + parts["sigma"] * z

    return step


def x0_for_eps(denoiser, x_t, t, z):
    p, pred = denoiser.process, denoiser(x_t, t)
    sigma = (p.beta(t) * (1 - p.alpha_bar(t - 1)) / (1 - p.alpha_bar(t))).sqrt()
    return (x_t - p.beta(t) / p.noise(t) * pred.x0) / p.alpha(t).sqrt() + sigma * z


def own_z(denoiser, x_t, t, z):
    return letters(denoiser, x_t, t, torch.randn(x_t.shape, generator=seeded(9)))


def in_place(denoiser, x_t, t, z):
    return x_t.copy_(letters(denoiser, x_t, t, z))


def eq_7(process, t):
    return process.beta(t) * (1 - process.alpha_bar(t - 1)) / (1 - process.alpha_bar(t))


def by_precisions(process, t):
    """1 / variance = alpha / beta + 1 / (1 - alpha_bar_(t-1)): the precisions of Bayes' rule add."""
    return 1 / (process.alpha(t) / process.beta(t) + 1 / (1 - process.alpha_bar(t - 1)))


def tabled(process, t):
    alpha_bar = np.append(1, np.cumprod(1 - process.betas.numpy()))
    return np.append(0, process.betas.numpy() * (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:]))[np.asarray(t)]


def by_the_library(process, t):
    x = torch.zeros(torch.as_tensor(t).numel(), 1)
    variance = process.posterior(x, x, t)[1]
    return variance.flatten() if isinstance(t, torch.Tensor) else variance.squeeze()


def in_floats(process, t):
    if np.ndim(t):
        return torch.stack([torch.tensor(in_floats(process, int(s))) for s in t])
    return float(eq_7(process, t))


def doubly_late(process, t):
    return process.beta(t) * (1 - process.alpha_bar(t)) / (1 - process.alpha_bar(t))


RIGHT = {
    "denoising_loss": [noise_first, by_hand, by_norms, through_v],
    "ddpm_step": [letters, through_ddim, through_the_score, in_numpy, by_the_sampler],
    "posterior_variance": [eq_7, by_precisions, tabled, by_the_library, in_floats],
}

WRONG = {
    "denoising_loss": [
        ("one t is drawn for the whole batch", one_time),
        ("drawn from 0 .. T - 1", counted_from_0),
        ("summed, not averaged", summed),
        ("summed over each picture", norm),
        ("absolute values", absolute),
        ("the predicted x_0 is compared with x_0", of_pictures),
        ("compared with the clean picture", against_the_picture),
        ("compared with the noisy picture", against_x_t),
        ("drawn anew", other_noise),
        ("given the clean picture", clean),
        ("uniform (torch.rand)", uniform),
        ("same noise", shared_noise),
        ("cut off from the network", cut_off),
        ("not drawn from rng", global_rng),
        ("✗ the gradient of the loss reaches the network", doubled),
        ("the network is never called", unasked),
    ],
    "ddpm_step": [
        ("the bar is lost", _line(lambda p, t: dict(below=(1 - p.alpha(t)) ** 0.5))),
        ("square root is missing below", _line(lambda p, t: dict(below=1 - p.alpha_bar(t)))),
        ("a bar too many: 1 - alpha_bar_t stands", _line(lambda p, t: dict(top=1 - p.alpha_bar(t)))),
        ("a bar too many: 1 / sqrt(alpha_bar_t)", _line(lambda p, t: dict(outside=p.alpha_bar(t) ** -0.5))),
        ("1 / sqrt(alpha_t) is missing", _line(lambda p, t: dict(outside=1))),
        ("must divide", _line(lambda p, t: dict(outside=p.alpha(t) ** 0.5))),
        ("noise is added, not subtracted", _line(lambda p, t: dict(top=-p.beta(t)))),
        ("at the last step too, with sigma_t^2 = beta_t", _line(lambda p, t: dict(sigma=p.beta(t) ** 0.5))),
        ("sigma_t^2 is beta_t", _line(lambda p, t: dict(sigma=p.beta(t) ** 0.5 if t > 1 else 0))),
        ("variance sigma_t^2 multiplies z", _line(lambda p, t: dict(sigma=eq_7(p, t)))),
        ("z is forgotten", _line(lambda p, t: dict(sigma=0))),
        ("predicted x_0 is subtracted", x0_for_eps),
        ("✗ what z adds is sigma_t z", own_z),
        ("✗ x_t is left as it was", in_place),
    ],
    "posterior_variance": [
        ("it is beta_t", lambda process, t: 1 - process.alpha(t)),
        ("it is beta_t", doubly_late),
        ("standard deviation", lambda process, t: eq_7(process, t) ** 0.5),
        ("logarithm", lambda process, t: torch.log(eq_7(process, t))),
        ("beta_t is missing", lambda process, t: eq_7(process, t) / process.beta(t)),
        ("upside down", lambda process, t: process.beta(t) ** 2 / eq_7(process, t)),
        ("square roots", lambda process, t: process.beta(t) * process.noise(t - 1) / process.noise(t)),
        ("bars are lost", lambda process, t: process.beta(t - 1)),
        ("line below is missing", lambda process, t: eq_7(process, t) * (1 - process.alpha_bar(t))),
        (
            "not for a batch",
            lambda process, t: process.beta(t) * (1 - process.alpha_bar(int(t) - 1)) / (1 - process.alpha_bar(t)),
        ),
    ],
}


# What was tried: whole functions, as they would stand in the cell


def as_in_diffusers(denoiser, x0, rng):
    """randint(0, T), and torch's own generator."""
    process = denoiser.process
    noise = torch.randn_like(x0)
    timesteps = torch.randint(0, process.T, (x0.shape[0],)).long()
    return mse_loss(denoiser(process.add_noise(x0, timesteps, noise), timesteps).eps, noise)


def times_from_0(denoiser, x0, rng):
    process = denoiser.process
    t = torch.randint(0, process.T, (x0.shape[0],), generator=rng)
    eps = torch.randn(x0.shape, generator=rng)
    x_t = process.add_noise(x0, t, eps)
    return ((eps - denoiser(x_t, t).eps) ** 2).mean()


def a_time_for_all(denoiser, x0, rng):
    t = denoiser.process.sample_t(1, rng)
    eps = randn_like(x0, rng)
    x_t = denoiser.process.add_noise(x0, t.expand(len(x0)), eps)
    return mse_loss(denoiser(x_t, t.expand(len(x0))).eps, eps)


def sum_of_squares(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    return ((eps - denoiser(denoiser.process.add_noise(x0, t, eps), t).eps) ** 2).sum()


def one_loss_each(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    squares = (eps - denoiser(denoiser.process.add_noise(x0, t, eps), t).eps) ** 2
    return squares.mean(dim=tuple(range(1, x0.ndim)))


def of_x0(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    prediction = denoiser(denoiser.process.add_noise(x0, t, eps), t)
    return ((x0 - prediction.x0) ** 2).mean()


def of_pictures_as_on_the_slide(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    x_t = denoiser.process.add_noise(x0, t, eps)
    return mse_loss(denoiser(x_t, t).eps, x_t)


def huber(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    return smooth_l1_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def other_noises(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    x_t = denoiser.process.add_noise(x0, t, randn_like(x0, rng))
    return mse_loss(denoiser(x_t, t).eps, randn_like(x0, rng))


def fraction_of_T(denoiser, x0, rng):
    process = denoiser.process
    t = process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    return mse_loss(denoiser(process.add_noise(x0, t, eps), t / process.T).eps, eps)


def signal_lost(denoiser, x0, rng):
    process = denoiser.process
    t = process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    x_t = x0 + process.noise(t).float().view(-1, *[1] * (x0.ndim - 1)) * eps
    return mse_loss(denoiser(x_t, t).eps, eps)


def as_a_number(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps).item()


def detached(denoiser, x0, rng):
    t = denoiser.process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps.detach(), eps)


def noise_of_one_step(denoiser, x0, rng):
    process = denoiser.process
    t = process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    alpha = process.alpha(t).float().view(-1, *[1] * (x0.ndim - 1))
    return mse_loss(denoiser(alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps, t).eps, eps)


def _parts(denoiser, x_t, t):
    p = denoiser.process
    return denoiser(x_t, t), p.beta(t), p.alpha(t), p.alpha_bar(t), p.alpha_bar(t - 1)


def with_beta_as_variance(denoiser, x_t, t, z):
    """The other choice of Ho et al., with z = 0 at the end."""
    pred, beta, alpha, bar, _ = _parts(denoiser, x_t, t)
    mean = (x_t - beta / (1 - bar).sqrt() * pred.eps) / alpha.sqrt()
    return mean + beta.sqrt() * z if t > 1 else mean


def with_beta_always(denoiser, x_t, t, z):
    pred, beta, alpha, bar, _ = _parts(denoiser, x_t, t)
    return (x_t - beta / (1 - bar).sqrt() * pred.eps) / alpha.sqrt() + beta.sqrt() * z


def slide_without_bar(denoiser, x_t, t, z):
    pred, beta, alpha, bar, before = _parts(denoiser, x_t, t)
    mean = 1 / torch.sqrt(alpha) * (x_t - (1 - alpha) / torch.sqrt(1 - alpha) * pred.eps)
    return mean + torch.sqrt((1 - before) / (1 - bar) * beta) * z


def clipped_as_in_diffusers(denoiser, x_t, t, z):
    pred, beta, alpha, bar, before = _parts(denoiser, x_t, t)
    x0 = ((x_t - (1 - bar).sqrt() * pred.eps) / bar.sqrt()).clamp(-1, 1)
    mean = before.sqrt() * beta / (1 - bar) * x0 + alpha.sqrt() * (1 - before) / (1 - bar) * x_t
    return mean + ((1 - before) / (1 - bar) * beta).sqrt() * z


def variance_for_sigma(denoiser, x_t, t, z):
    pred, beta, alpha, bar, before = _parts(denoiser, x_t, t)
    return (x_t - beta / (1 - bar).sqrt() * pred.eps) / alpha.sqrt() + (1 - before) / (1 - bar) * beta * z


def only_the_mean(denoiser, x_t, t, z):
    pred, beta, alpha, bar, _ = _parts(denoiser, x_t, t)
    return (x_t - beta / (1 - bar).sqrt() * pred.eps) / alpha.sqrt()


def by_ddim(denoiser, x_t, t, z):
    pred, _, _, _, before = _parts(denoiser, x_t, t)
    return before.sqrt() * pred.x0 + (1 - before).sqrt() * pred.eps


def straight_to_x0(denoiser, x_t, t, z):
    pred, _, _, bar, _ = _parts(denoiser, x_t, t)
    return (x_t - (1 - bar).sqrt() * pred.eps) / bar.sqrt()


def noised_again(denoiser, x_t, t, z):
    pred, _, _, _, before = _parts(denoiser, x_t, t)
    return before.sqrt() * pred.x0 + (1 - before).sqrt() * z


def never_rescaled(denoiser, x_t, t, z):
    pred, beta, _, bar, before = _parts(denoiser, x_t, t)
    return x_t - beta / (1 - bar).sqrt() * pred.eps + ((1 - before) / (1 - bar) * beta).sqrt() * z


def fresh_noise(denoiser, x_t, t, z):
    pred, beta, alpha, bar, before = _parts(denoiser, x_t, t)
    mean = (x_t - beta / (1 - bar).sqrt() * pred.eps) / alpha.sqrt()
    return mean + ((1 - before) / (1 - bar) * beta).sqrt() * torch.randn_like(x_t)


def bracket_too_wide(denoiser, x_t, t, z):
    pred, beta, alpha, bar, before = _parts(denoiser, x_t, t)
    return (x_t - beta / (1 - bar).sqrt() * pred.eps + ((1 - before) / (1 - bar) * beta).sqrt() * z) / alpha.sqrt()


def counted_from_zero(denoiser, x_t, t, z):
    p, pred = denoiser.process, denoiser(x_t, t)
    beta, bar = p.beta(t), p.alpha_bar(t - 1)
    variance = beta * (1 - p.alpha_bar(t - 1)) / (1 - p.alpha_bar(t))
    return (x_t - (1 - p.alpha(t - 1)) / (1 - bar).sqrt() * pred.eps) / p.alpha(t - 1).sqrt() + variance.sqrt() * z


def its_beta(process, t):
    return process.beta(t)


def its_root(process, t):
    return ((1 - process.alpha_bar(t - 1)) / (1 - process.alpha_bar(t)) * process.beta(t)).sqrt()


def its_logarithm(process, t):
    """As in OpenAI's code, clipped."""
    variance = process.beta(t) * (1.0 - process.alpha_bar(t - 1)) / (1.0 - process.alpha_bar(t))
    return torch.log(variance.clamp(min=1e-20))


def other_way_up(process, t):
    return (1 - process.alpha_bar(t)) / (1 - process.alpha_bar(t - 1)) * process.beta(t)


def no_beta(process, t):
    return (1 - process.alpha_bar(t - 1)) / (1 - process.alpha_bar(t))


def no_bars(process, t):
    return (1 - process.alpha(t - 1)) / (1 - process.alpha(t)) * process.beta(t)


def bars_alone(process, t):
    return process.alpha_bar(t - 1) / process.alpha_bar(t) * process.beta(t)


def ratio_of_roots(process, t):
    return (1 - process.alpha_bar(t - 1)).sqrt() / (1 - process.alpha_bar(t)).sqrt() * process.beta(t)


def one_early(process, t):
    t = t - 1
    return (1 - process.alpha_bar(t - 1)) / (1 - process.alpha_bar(t)) * process.beta(t)


def never_zero(process, t):
    """The first one is replaced by the second, so that its logarithm is finite."""
    t = torch.as_tensor(t).clamp(min=2)
    return (1 - process.alpha_bar(t - 1)) / (1 - process.alpha_bar(t)) * process.beta(t)


def of_a_number_alone(process, t):
    before = process.alpha_bar(t - 1) if t > 1 else torch.tensor(1.0)
    return (1 - before) / (1 - process.alpha_bar(t)) * process.beta(t)


def earlier_beta(process, t):
    return (1 - process.alpha_bar(t - 1)) / (1 - process.alpha_bar(t)) * process.beta(t - 1)


TRIED = {
    "denoising_loss": [
        ("", as_in_diffusers),
        ("drawn from 0 .. T - 1", times_from_0),
        ("one t is drawn for the whole batch", a_time_for_all),
        ("summed, not averaged", sum_of_squares),
        ("one number for each of the batch", one_loss_each),
        ("compared with x_0", of_x0),
        ("compared with the noisy picture", of_pictures_as_on_the_slide),
        ("Huber", huber),
        ("drawn anew", other_noises),
        ("", fraction_of_T),
        ("not scaled", signal_lost),
        ("cut off from the network", as_a_number),
        ("cut off from the network", detached),
        ("alpha_t stands", noise_of_one_step),
    ],
    "ddpm_step": [
        ("sigma_t^2 is beta_t", with_beta_as_variance),
        ("at the last step too", with_beta_always),
        ("the bar is lost", slide_without_bar),
        ("clamped", clipped_as_in_diffusers),
        ("the variance sigma_t^2 multiplies z", variance_for_sigma),
        ("z is forgotten", only_the_mean),
        ("DDIM", by_ddim),
        ("the predicted x_0 is returned", straight_to_x0),
        ("made noisy again", noised_again),
        ("the factor 1 / sqrt(alpha_t) is missing", never_rescaled),
        ("", fresh_noise),
        ("inside the bracket", bracket_too_wide),
        ("one step too early", counted_from_zero),
    ],
    "posterior_variance": [
        ("it is beta_t", its_beta),
        ("the standard deviation is returned", its_root),
        ("the logarithm", its_logarithm),
        ("upside down", other_way_up),
        ("beta_t is missing", no_beta),
        ("the bars are lost", no_bars),
        ("alpha_bar stands where 1 - alpha_bar", bars_alone),
        ("there are square roots", ratio_of_roots),
        ("one step too early", one_early),
        ("that of t = 2", never_zero),
        ("not for a batch", of_a_number_alone),
        ("beta_(t-1) stands", earlier_beta),
    ],
}


def with_times_as_fractions(denoiser, x0, rng):
    """t by the ceiling of a uniform number, x_t by what is written in the paper, the mean in float64."""
    T = denoiser.process.T
    t = (torch.rand(x0.shape[0], generator=rng) * T).ceil().long().clamp(1, T)
    eps = torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
    bar = denoiser.process.alpha_bar(t).to(x0.dtype)[(...,) + (None,) * (x0.ndim - 1)]
    return (eps - denoiser(bar.sqrt() * x0 + (1 - bar).sqrt() * eps, t).eps).double().pow(2).mean()


def through_the_score_of_both(denoiser, x0, rng):
    """Denoising score matching, weighted by the variance."""
    t, eps = denoiser.process.sample_t(len(x0), rng), randn_like(x0, rng)
    pred = denoiser(denoiser.process.add_noise(x0, t, eps), t)
    return ((pred.score + eps / pred.b) * pred.b).square().mean()


def by_dot_products(denoiser, x0, rng):
    t, eps = denoiser.process.sample_t(len(x0), rng), randn_like(x0, rng)
    miss = (denoiser(denoiser.process.add_noise(x0, t, eps), t).eps - eps).flatten()
    return torch.dot(miss, miss) / x0.numel()


def in_double(denoiser, x_t, t, z):
    p = denoiser.process
    x, eps = x_t.double(), denoiser(x_t, t).eps.double()
    variance = p.beta(t) * (1 - p.alpha_bar(t - 1)) / (1 - p.alpha_bar(t))
    return (x - p.beta(t) / (1 - p.alpha_bar(t)).sqrt() * eps) / p.alpha(t).sqrt() + variance.sqrt() * z.double()


def by_the_posterior(denoiser, x_t, t, z):
    mean, variance = denoiser.process.posterior(x_t, denoiser(x_t, t).x0, t)
    return mean + (0.5 * variance.clamp(min=1e-20).log()).exp() * z


def on_a_batch_of_times(denoiser, x_t, t, z):
    p, each = denoiser.process, torch.full((len(x_t),), t)
    view = lambda v: v.float().view(-1, *[1] * (x_t.ndim - 1))
    alpha, bar, before = (view(v) for v in (p.alpha(each), p.alpha_bar(each), p.alpha_bar(each - 1)))
    mean = (x_t - (1 - alpha) / (1 - bar).sqrt() * denoiser(x_t, each).eps) / alpha.sqrt()
    return mean if t == 1 else mean + ((1 - before) / (1 - bar) * (1 - alpha)).sqrt() * z


def from_signal_to_noise(process, t):
    """beta_tilde = (1 / SNR(t - 1)) / (1 / SNR(t)) beta alpha_bar(t - 1) / alpha_bar(t), with 1 / SNR = 1 / alpha_bar - 1."""
    inverse = lambda s: 1 / process.alpha_bar(s) - 1
    return inverse(t - 1) / inverse(t) * process.beta(t) / process.alpha(t)


def through_noises(process, t):
    return (process.noise(t - 1) / process.noise(t)) ** 2 * (1 - process.alpha(t))


def a_batch_of_one(process, t):
    value = (1 - process.alpha_bar(t - 1)) / (1 - process.alpha_bar(t)) * process.beta(t)
    return torch.as_tensor(value).to(torch.float32)


RIGHT["denoising_loss"] += [with_times_as_fractions, through_the_score_of_both, by_dot_products]
RIGHT["ddpm_step"] += [in_double, by_the_posterior, on_a_batch_of_times]
RIGHT["posterior_variance"] += [from_signal_to_noise, through_noises, a_batch_of_one]
