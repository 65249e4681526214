"""Lesson 02."""

import torch
from torch import nn
from torch.nn.functional import l1_loss, mse_loss, smooth_l1_loss

from course_lib.prediction import Prediction
from course_lib.process import randn_like
from course_lib.samplers import ddpm as library_ddpm
from course_lib.samplers import result


def loop_of(loss):
    """A training loop on loss(network, x0, rng)."""

    def training_loop(network, draw, optimizer, steps, rng):
        losses = []
        for _ in range(steps):
            value = loss(network, draw(rng), rng)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
        return losses

    training_loop.__name__ = loss.__name__
    return training_loop


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


def global_rng(denoiser, x0, rng):
    t = torch.randint(1, denoiser.process.T + 1, (len(x0),))
    eps = torch.randn_like(x0)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def doubled(denoiser, x0, rng):
    return 2 * by_hand(denoiser, x0, rng)


def unasked(denoiser, x0, rng):
    return torch.randn(x0.shape, generator=rng).square().mean()


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


def noise_of_one_step(denoiser, x0, rng):
    process = denoiser.process
    t = process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    alpha = process.alpha(t).float().view(-1, *[1] * (x0.ndim - 1))
    return mse_loss(denoiser(alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps, t).eps, eps)


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


# The training loop


def with_the_gradient_cleared_last(network, draw, optimizer, steps, rng):
    """Cleared after each step, for the next one; the losses in a tensor."""
    losses, T = torch.zeros(steps), network.process.T
    optimizer.zero_grad()
    for i in range(steps):
        x0 = draw(rng)
        eps = torch.randn(x0.shape, generator=rng)
        t = torch.randint(1, T + 1, (x0.shape[0],), generator=rng)
        a, b = network.process.coefficients(t, x0)
        loss = mse_loss(network(a * x0 + b * eps, t).eps, eps)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses[i] = loss.detach()
    return losses


def with_a_while_and_its_own_gradient(network, draw, optimizer, steps, rng):
    """The gradient by autograd.grad; the losses as numpy has them."""
    losses, weights = [], list(network.net.parameters())
    while len(losses) < steps:
        x0 = draw(rng)
        t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
        miss = network(network.process.add_noise(x0, t, eps), t).value - eps
        loss = miss.pow(2).mean()
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights)):
            weight.grad = gradient
        optimizer.step()
        losses += [loss.item()]
    return torch.tensor(losses).numpy()


def in_train_mode(network, draw, optimizer, steps, rng):
    """As a script has it, with set_to_none=False and torch's own names."""
    network.net.train()
    history = []
    for _ in range(steps):
        batch = draw(rng)
        timesteps = (1 + network.process.T * torch.rand(len(batch), generator=rng)).long().clamp(max=network.process.T)
        noise = torch.empty_like(batch).normal_(generator=rng)
        noisy = network.process.add_noise(batch, timesteps, noise)
        loss = nn.MSELoss()(noise, network(noisy, timesteps).eps)
        for p in network.net.parameters():
            p.grad = None
        loss.backward()
        optimizer.step()
        history.append(loss.detach())
    return torch.stack(history)


def _steps(network, draw, rng, steps):
    """The batches of a training and their losses, one at a time."""
    for _ in range(steps):
        x0 = draw(rng)
        t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
        yield mse_loss(network(network.process.add_noise(x0, t, eps), t).eps, eps)


def never_cleared(network, draw, optimizer, steps, rng):
    losses = []
    for loss in _steps(network, draw, rng, steps):
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def cleared_once(network, draw, optimizer, steps, rng):
    optimizer.zero_grad()
    return never_cleared(network, draw, optimizer, steps, rng)


def step_first(network, draw, optimizer, steps, rng):
    losses = []
    for loss in _steps(network, draw, rng, steps):
        optimizer.zero_grad()
        optimizer.step()
        loss.backward()
        losses.append(loss.item())
    return losses


def cleared_between(network, draw, optimizer, steps, rng):
    losses = []
    for loss in _steps(network, draw, rng, steps):
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        losses.append(loss.item())
    return losses


def no_step(network, draw, optimizer, steps, rng):
    losses = []
    for loss in _steps(network, draw, rng, steps):
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
    return losses


def one_batch(network, draw, optimizer, steps, rng):
    x0, losses = draw(rng), []
    for _ in range(steps):
        t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
        loss = mse_loss(network(network.process.add_noise(x0, t, eps), t).eps, eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def last_loss(network, draw, optimizer, steps, rng):
    return loop_of(by_hand)(network, draw, optimizer, steps, rng)[-1]


def mean_loss(network, draw, optimizer, steps, rng):
    return sum(loop_of(by_hand)(network, draw, optimizer, steps, rng)) / steps


def one_step_too_many(network, draw, optimizer, steps, rng):
    return loop_of(by_hand)(network, draw, optimizer, steps + 1, rng)


def one_noise(network, draw, optimizer, steps, rng):
    losses, eps = [], None
    for _ in range(steps):
        x0 = draw(rng)
        eps = randn_like(x0, rng) if eps is None else eps
        t = network.process.sample_t(len(x0), rng)
        loss = mse_loss(network(network.process.add_noise(x0, t, eps), t).eps, eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def detached(network, draw, optimizer, steps, rng):
    losses = []
    for _ in range(steps):
        x0 = draw(rng)
        t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
        loss = mse_loss(network(network.process.add_noise(x0, t, eps), t).eps.detach(), eps).requires_grad_()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# The sampling loop


def _variance(p, t):
    return p.beta(t) * (1 - p.alpha_bar(t - 1)) / (1 - p.alpha_bar(t))


def letters(denoiser, x, rng):
    """The lines of Algorithm 2, with z = 0 at t = 1 although sigma is 0 there."""
    p = denoiser.process
    for t in reversed(range(1, p.T + 1)):
        z = randn_like(x, rng) if t > 1 else torch.zeros_like(x)
        alpha, alpha_bar = 1 - p.beta(t), p.alpha_bar(t)
        x = (x - (1 - alpha) / (1 - alpha_bar) ** 0.5 * denoiser(x, t).eps) / alpha**0.5 + _variance(p, t) ** 0.5 * z
    return x


def through_ddim(denoiser, x, rng):
    """Song et al. 2021, eq. 12 with eta = 1."""
    p = denoiser.process
    for t in range(p.T, 0, -1):
        pred, variance = denoiser(x, t), _variance(p, t)
        direction = (1 - p.alpha_bar(t - 1) - variance).clamp(min=0).sqrt()
        x = p.signal(t - 1) * pred.x0 + direction * pred.eps + variance.sqrt() * torch.randn(x.shape, generator=rng)
    return x


def through_the_score(denoiser, x, rng):
    p, t = denoiser.process, denoiser.process.T
    while t > 0:
        x = (x + p.beta(t) * denoiser(x, t).score) / p.alpha(t).sqrt()
        x = x + _variance(p, t).sqrt() * randn_like(x, rng)
        t -= 1
    return x


def by_the_posterior(denoiser, x, rng):
    for t in denoiser.process.times(denoiser.process.T)[:-1].tolist():
        mean, variance = denoiser.process.posterior(x, denoiser(x, t).x0, t)
        x = (mean + (0.5 * variance.clamp(min=1e-20).log()).exp() * randn_like(x, rng)).to(x.dtype)
    return x


def by_the_sampler(denoiser, x, rng):
    return result(library_ddpm(denoiser, x, denoiser.process.times(denoiser.process.T), rng))


def as_steps(denoiser, x, rng):
    """The library's sampler yields its steps; so may a student's."""
    return library_ddpm(denoiser, x, denoiser.process.times(denoiser.process.T), rng)


@torch.no_grad()
def on_a_batch_of_times(denoiser, x, rng):
    p = denoiser.process
    view = lambda v: v.float().view(-1, *[1] * (x.ndim - 1))
    for t in range(p.T, 0, -1):
        each = torch.full((len(x),), t)
        alpha, bar, variance = (view(v) for v in (p.alpha(each), p.alpha_bar(each), _variance(p, each)))
        x = (x - (1 - alpha) / (1 - bar).sqrt() * denoiser(x, each).eps) / alpha.sqrt()
        x = x + variance.sqrt() * torch.empty_like(x).normal_(generator=rng)
    return x


def _line(change, first=0, last=1):
    """Algorithm 2, line 4 in a loop, with its parts changed by name; t from T - first down to `last`."""

    def loop(denoiser, x, rng):
        p = denoiser.process
        for t in range(p.T - first, last - 1, -1):
            parts = dict(outside=p.alpha(t) ** -0.5, top=p.beta(t), below=(1 - p.alpha_bar(t)) ** 0.5)
            parts |= dict(sigma=_variance(p, t) ** 0.5) | change(p, t)
            drift = parts["top"] / parts["below"] * denoiser(x, t).eps
            x = parts["outside"] * (x - drift) + parts["sigma"] * randn_like(x, rng)
        return x

    return loop


def x0_for_eps(denoiser, x, rng):
    p = denoiser.process
    for t in range(p.T, 0, -1):
        x = (x - p.beta(t) / p.noise(t) * denoiser(x, t).x0) / p.alpha(t).sqrt() + _variance(p, t).sqrt() * randn_like(x, rng)
    return x


def one_z(denoiser, x, rng):
    p, z = denoiser.process, randn_like(x, rng)
    for t in range(p.T, 0, -1):
        x = (x - p.beta(t) / p.noise(t) * denoiser(x, t).eps) / p.alpha(t).sqrt() + _variance(p, t).sqrt() * z
    return x


def in_place(denoiser, x, rng):
    return x.copy_(letters(denoiser, x, rng))


def with_beta_as_variance(denoiser, x, rng):
    """The other choice of Ho et al., with z = 0 at the end."""
    p = denoiser.process
    for t in range(p.T, 0, -1):
        z = torch.randn(x.shape, generator=rng) if t > 1 else 0
        x = (x - p.beta(t) / p.noise(t) * denoiser(x, t).eps) / p.alpha(t).sqrt() + p.beta(t).sqrt() * z
    return x


def with_beta_always(denoiser, x, rng):
    p = denoiser.process
    for t in range(p.T, 0, -1):
        z = torch.randn(x.shape, generator=rng)
        x = (x - p.beta(t) / p.noise(t) * denoiser(x, t).eps) / p.alpha(t).sqrt() + p.beta(t).sqrt() * z
    return x


def slide_without_bar(denoiser, x, rng):
    p = denoiser.process
    for t in range(p.T, 0, -1):
        alpha = p.alpha(t)
        z = torch.randn(x.shape, generator=rng) if t > 1 else 0
        x = (x - (1 - alpha) / (1 - alpha).sqrt() * denoiser(x, t).eps) / alpha.sqrt() + _variance(p, t).sqrt() * z
    return x


def clipped_as_in_diffusers(denoiser, x, rng):
    for t in range(denoiser.process.T, 0, -1):
        mean, variance = denoiser.process.posterior(x, denoiser(x, t).x0.clamp(-1, 1), t)
        x = (mean + variance.sqrt() * randn_like(x, rng)).float()
    return x


def variance_for_sigma(denoiser, x, rng):
    for t in range(denoiser.process.T, 0, -1):
        mean, variance = denoiser.process.posterior(x, denoiser(x, t).x0, t)
        x = (mean + variance * randn_like(x, rng)).float()
    return x


def only_the_mean(denoiser, x, rng):
    for t in range(denoiser.process.T, 0, -1):
        x = denoiser.process.posterior(x, denoiser(x, t).x0, t)[0].float()
    return x


def by_ddim(denoiser, x, rng):
    for t in range(denoiser.process.T, 0, -1):
        pred = denoiser(x, t)
        x = denoiser.process.add_noise(pred.x0, t - 1, pred.eps)
    return x


def noised_again(denoiser, x, rng):
    for t in range(denoiser.process.T, 0, -1):
        x = denoiser.process.add_noise(denoiser(x, t).x0, t - 1, randn_like(x, rng))
    return x


def ends_with_x0(denoiser, x, rng):
    """Stops at t = 1 and returns the predicted picture there: with this variance that is the last step."""
    x = _line(lambda p, t: {}, last=2)(denoiser, x, rng)
    return 0.9 * denoiser(x, 1).x0


def bracket_too_wide(denoiser, x, rng):
    p = denoiser.process
    for t in range(p.T, 0, -1):
        z = torch.randn(x.shape, generator=rng)
        x = (x - p.beta(t) / p.noise(t) * denoiser(x, t).eps + _variance(p, t).sqrt() * z) / p.alpha(t).sqrt()
    return x


def upwards(denoiser, x, rng):
    p = denoiser.process
    for t in range(1, p.T + 1):
        x = (x - p.beta(t) / p.noise(t) * denoiser(x, t).eps) / p.alpha(t).sqrt() + _variance(p, t).sqrt() * randn_like(x, rng)
    return x


def torchs_own_noise(denoiser, x, rng):
    p = denoiser.process
    for t in range(p.T, 0, -1):
        x = (x - p.beta(t) / p.noise(t) * denoiser(x, t).eps) / p.alpha(t).sqrt() + _variance(p, t).sqrt() * torch.randn_like(x)
    return x


# v


def by_solving(x_t, v, a, b):
    """Two equations in two unknowns, for any a and b."""
    determinant = a * a + b * b
    return (a * x_t - b * v) / determinant, (b * x_t + a * v) / determinant


def by_rotation(x_t, v, a, b):
    """x_0 and eps are x_t and v, turned back by the angle whose cosine is a."""
    angle = torch.atan2(b, a)
    return x_t * angle.cos() - v * angle.sin(), x_t * angle.sin() + v * angle.cos()


def by_the_library(x_t, v, a, b):
    pred = Prediction(x_t, a, b, "v", v)
    return pred.x0, pred.eps


def through_x0(x_t, v, a, b):
    """eps from x_t and x_0 where there is noise, else from v."""
    x0 = a * x_t - b * v
    return x0, torch.where(b > 0.5, (x_t - a * x0) / b.clamp(min=0.5), (v + b * x0) / a.clamp(min=1e-9))


def in_a_list(x_t, v, a, b):
    x0 = torch.sub(a * x_t, v * b)
    return [x0, torch.add(b * x_t, v * a)]


def in_complex_numbers(x_t, v, a, b):
    turned = torch.complex(x_t, v) * torch.complex(a, b)
    return turned.real, turned.imag


def eps_first(x_t, v, a, b):
    return b * x_t + a * v, a * x_t - b * v


def plus_in_x0(x_t, v, a, b):
    return a * x_t + b * v, b * x_t + a * v


def minus_in_eps(x_t, v, a, b):
    return a * x_t - b * v, b * x_t - a * v


def other_sign_of_v(x_t, v, a, b):
    return a * x_t + b * v, b * x_t - a * v


def signal_and_noise_exchanged(x_t, v, a, b):
    return b * x_t - a * v, a * x_t + b * v


def as_if_eps(x_t, v, a, b):
    return (x_t - b * v) / a, v


def as_if_x0(x_t, v, a, b):
    return v, (x_t - a * v) / b


def as_if_flow(x_t, v, a, b):
    x0 = (x_t - b * v) / (a + b)
    return x0, x0 + v


def bare_x_t(x_t, v, a, b):
    return x_t - b * v, x_t + a * v


def bare_x_t_in_x0(x_t, v, a, b):
    return x_t - b * v, b * x_t + a * v


def squared(x_t, v, a, b):
    return a**2 * x_t - b**2 * v, b**2 * x_t + a**2 * v


def x0_alone(x_t, v, a, b):
    return a * x_t - b * v


def with_v(x_t, v, a, b):
    return a * x_t - b * v, v


def written_into_x_t(x_t, v, a, b):
    x0 = a * x_t - b * v
    return x0, x_t.mul_(b).add_(a * v)


RIGHT = {
    "training_loop": [
        with_the_gradient_cleared_last,
        with_a_while_and_its_own_gradient,
        in_train_mode,
        *map(loop_of, (noise_first, by_hand, by_norms, through_v)),
        *map(loop_of, (with_times_as_fractions, through_the_score_of_both, by_dot_products)),
    ],
    "sampling_loop": [
        letters,
        through_ddim,
        through_the_score,
        by_the_posterior,
        by_the_sampler,
        as_steps,
        on_a_batch_of_times,
    ],
    "from_v": [by_solving, by_rotation, by_the_library, through_x0, in_a_list, in_complex_numbers],
}

WRONG = {
    "training_loop": [
        ("one t is drawn for the whole batch", loop_of(one_time)),
        ("drawn from 0 .. T - 1", loop_of(counted_from_0)),
        ("summed, not averaged", loop_of(summed)),
        ("summed over each picture", loop_of(norm)),
        ("absolute values", loop_of(absolute)),
        ("the predicted x_0 is compared with x_0", loop_of(of_pictures)),
        ("compared with the clean picture", loop_of(against_the_picture)),
        ("compared with the noisy picture", loop_of(against_x_t)),
        ("drawn anew", loop_of(other_noise)),
        ("given the clean picture", loop_of(clean)),
        ("uniform (torch.rand)", loop_of(uniform)),
        ("same noise", loop_of(shared_noise)),
        ("not drawn from rng", loop_of(global_rng)),
        ("2 where 1 is right", loop_of(doubled)),
        ("it raised RuntimeError", loop_of(unasked)),
        ("the weights never move", no_step),
        ("✗ there are as many steps", one_step_too_many),
        ("it should be (3,)", mean_loss),
    ],
    "sampling_loop": [
        ("the bar is lost", _line(lambda p, t: dict(below=(1 - p.alpha(t)) ** 0.5))),
        ("square root is missing below", _line(lambda p, t: dict(below=1 - p.alpha_bar(t)))),
        ("a bar too many: 1 - alpha_bar_t stands", _line(lambda p, t: dict(top=1 - p.alpha_bar(t)))),
        ("a bar too many: 1 / sqrt(alpha_bar_t)", _line(lambda p, t: dict(outside=p.alpha_bar(t) ** -0.5))),
        ("1 / sqrt(alpha_t) is missing", _line(lambda p, t: dict(outside=1))),
        ("must divide", _line(lambda p, t: dict(outside=p.alpha(t) ** 0.5))),
        ("noise is added, not subtracted", _line(lambda p, t: dict(top=-p.beta(t)))),
        ("at the last step too, with sigma_t^2 = beta_t", _line(lambda p, t: dict(sigma=p.beta(t) ** 0.5))),
        ("at the last step, t = 1", _line(lambda p, t: {} if t > 1 else dict(sigma=p.beta(t) ** 0.5))),
        ("sigma_t^2 is beta_t", _line(lambda p, t: dict(sigma=p.beta(t) ** 0.5 if t > 1 else 0))),
        ("variance sigma_t^2 multiplies z", _line(lambda p, t: dict(sigma=_variance(p, t)))),
        ("z is forgotten", _line(lambda p, t: dict(sigma=0))),
        ("the loop stops at t = 2", _line(lambda p, t: {}, last=2)),
        ("from T - 1 down to 0", _line(lambda p, t: {}, first=1)),
        ("predicted x_0 is subtracted", x0_for_eps),
        ("✗ x is left as it was", in_place),
        ("the denoiser is never called", lambda denoiser, x, rng: x),
    ],
    "from_v": [
        ("changed places: x_0 comes first", eps_first),
        ("the sign of v in x_0", plus_in_x0),
        ("the sign of v in eps", minus_in_eps),
        ("it must return a pair", x0_alone),
        ("✗ x_t, v, a and b are left as they were", written_into_x_t),
    ],
}

TRIED = {
    "training_loop": [
        ("drawn from 0 .. T - 1", loop_of(times_from_0)),
        ("", loop_of(as_in_diffusers)),
        ("one t is drawn for the whole batch", loop_of(a_time_for_all)),
        ("summed, not averaged", loop_of(sum_of_squares)),
        ("compared with x_0", loop_of(of_x0)),
        ("compared with the noisy picture", loop_of(of_pictures_as_on_the_slide)),
        ("Huber", loop_of(huber)),
        ("drawn anew", loop_of(other_noises)),
        ("", loop_of(fraction_of_T)),
        ("not scaled", loop_of(signal_lost)),
        ("alpha_t stands", loop_of(noise_of_one_step)),
        ("zero_grad() is missing", never_cleared),
        ("zero_grad() is missing", cleared_once),
        ("finds no gradient", step_first),
        ("finds no gradient", cleared_between),
        ("finds no gradient", detached),
        ("one batch", one_batch),
        ("have the same noise", one_noise),
        ("not the losses of all steps", last_loss),
        ("", no_step),
    ],
    "sampling_loop": [
        ("sigma_t^2 is beta_t", with_beta_as_variance),
        ("at the last step too", with_beta_always),
        ("the bar is lost", slide_without_bar),
        ("clamped", clipped_as_in_diffusers),
        ("the variance sigma_t^2 multiplies z", variance_for_sigma),
        ("z is forgotten", only_the_mean),
        ("DDIM", by_ddim),
        ("made noisy again", noised_again),
        ("", ends_with_x0),
        ("inside the bracket", bracket_too_wide),
        ("t runs upwards", upwards),
        ("all moves have the same noise", one_z),
        ("not drawn from rng", torchs_own_noise),
    ],
    "from_v": [
        ("changed places: x_0 comes first", eps_first),
        ("the sign of v in x_0", plus_in_x0),
        ("the sign of v in eps", minus_in_eps),
        ("both signs", other_sign_of_v),
        ("a and b have changed places", signal_and_noise_exchanged),
        ("v is taken for eps", as_if_eps),
        ("v is taken for x_0", as_if_x0),
        ("straight path", as_if_flow),
        ("missing in both", bare_x_t),
        ("missing in x_0", bare_x_t_in_x0),
        ("squared", squared),
        ("the predicted v", with_v),
    ],
}
