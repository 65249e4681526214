"""Lesson 03."""

import math

import numpy as np
import torch

from course_lib.prediction import FROM_X0_EPS
from course_lib.process import randn_like
from course_lib.samplers import annealed_langevin as library_annealed


def coefficients(process, eps, t):
    return -eps / process.coefficients(t, eps)[1]


def letters(process, eps, t):
    alpha_bar = torch.as_tensor(process.alpha_bar(t))
    return -eps / torch.sqrt(1 - alpha_bar).reshape([-1] + [1] * (eps.dim() - 1))


def by_the_table(process, eps, t):
    a, b = process.coefficients(t, eps)
    return FROM_X0_EPS["score"](a, b, None, eps)


def in_numpy(process, eps, t):
    alpha_bar = np.append(1, np.cumprod(1 - process.betas.numpy()))[np.asarray(t)]
    return (-eps.numpy().T / np.sqrt(1 - alpha_bar)).T


def through_autograd(process, eps, t):
    """The gradient of log q(x_t | x_0) by x_t, at x_0 = 0, where x_t is all noise."""
    _, b = process.coefficients(t, eps)
    x_t = (b * eps).requires_grad_()
    return torch.autograd.grad((-((x_t / b) ** 2) / 2).sum(), x_t)[0]


def divided(by):
    return lambda process, eps, t: -eps / torch.as_tensor(by(process, t)).reshape(-1, *[1] * (eps.ndim - 1))


def overwritten(process, eps, t):
    eps *= -1 / process.coefficients(t, eps)[1]
    return eps


def eq_4(denoiser, x, t, eta, z):
    return x + eta / 2 * denoiser(x, t).score + math.sqrt(eta) * z


def line(drift=lambda e: e / 2, width=lambda e: e**0.5, view="score"):
    return lambda denoiser, x, t, e, z: x + drift(e) * getattr(denoiser(x, t), view) + width(e) * z


def algorithm_1(denoiser, x, times, n, eta, rng):
    sigma = [float(denoiser.process.noise(t)) for t in times[:-1]]
    for t, sigma_i in zip(times[:-1], sigma):
        alpha = eta * sigma_i**2 / sigma[-1] ** 2
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * torch.randn(x.shape, generator=rng)
    return x


def yielding(denoiser, x, times, n, eta, rng):
    """As the library does it: a Step at a time."""
    yield from library_annealed(denoiser, x, times, n, eta, rng)


def noise_first(denoiser, x, times, n, eta, rng):
    """All noise drawn at the start, the step size from a table, the time as a batch."""
    z = torch.randn(len(times) - 1, n, *x.shape, generator=rng)
    sigma = denoiser.process.noise(times[:-1])
    alpha = (eta * (sigma / sigma.min()) ** 2).tolist()
    for i, t in enumerate(times[:-1].tolist()):
        for k in range(n):
            score = -denoiser(x, torch.full((len(x),), t)).eps / sigma[i]
            x = x + alpha[i] / 2 * score.float() + alpha[i] ** 0.5 * z[i, k]
    return x


def asked_twice(denoiser, x, times, n, eta, rng):
    """Looks at the guess of x_0 on the way, for a film that it does not keep."""
    for t in times[:-1].tolist():
        ratio = denoiser.process.noise(t) / denoiser.process.noise(times[-2].item())
        for _ in range(n):
            denoiser(x, t).x0  # noqa: B018
            x = eq_4(denoiser, x, t, eta * float(ratio) ** 2, randn_like(x, rng))
    return x


def levels(size, step=eq_4, times=lambda times: times[:-1], each=lambda n: n, draw=randn_like):
    """Algorithm 1 with its parts changed. `size` makes alpha of eta, sigma_i, the smallest and the largest sigma."""

    def annealed(denoiser, x, falling, n, eta, rng):
        noise = denoiser.process.noise(falling[:-1])
        for t in times(falling).tolist():
            alpha = float(size(eta, denoiser.process.noise(t), noise[-1], noise[0]))
            for _ in range(each(n)):
                x = step(denoiser, x, t, alpha, draw(x, rng))
        return x

    return annealed


def right_size(eta, sigma, smallest, largest):
    return eta * (sigma / smallest) ** 2


def restarted(denoiser, x, times, n, eta, rng):
    for t in times[:-1].tolist():
        y = algorithm_1(denoiser, x, torch.tensor([t, 0]), n, eta * (denoiser.process.noise(t).item() / 0.1) ** 2, rng)
    return y


def elsewhere(denoiser, x, times, n, eta, rng):
    return algorithm_1(denoiser, randn_like(x, rng), times, n, eta, rng)


def one_noise(denoiser, x, times, n, eta, rng):
    z = randn_like(x, rng)
    return levels(right_size, draw=lambda x, rng: z)(denoiser, x, times, n, eta, rng)


def denoised(denoiser, x, times, n, eta, rng):
    return denoiser(algorithm_1(denoiser, x, times, n, eta, rng), int(times[-2])).x0


def written_over(denoiser, x, times, n, eta, rng):
    return x.copy_(algorithm_1(denoiser, x, times, n, eta, rng))


RIGHT = {
    "score_from_eps": [coefficients, letters, by_the_table, in_numpy, through_autograd],
    "annealed_langevin": [algorithm_1, yielding, noise_first, asked_twice, library_annealed],
}

WRONG = {
    "score_from_eps": [
        ("the sign is missing", lambda process, eps, t: eps / process.coefficients(t, eps)[1]),
        ("factor is missing", lambda process, eps, t: -1 * eps),
        ("square root is missing", divided(lambda process, t: 1 - process.alpha_bar(t))),
        ("multiplied where it must be divided", lambda process, eps, t: -eps * process.coefficients(t, eps)[1]),
        ("sqrt(alpha_bar_t) stands", divided(lambda process, t: process.alpha_bar(t) ** 0.5)),
        ("1 - sqrt(alpha_bar_t) stands", divided(lambda process, t: 1 - process.alpha_bar(t) ** 0.5)),
        ("the bar is lost", divided(lambda process, t: (1 - process.alpha(t)) ** 0.5)),
        ("not broadcast", lambda process, eps, t: -eps / (1 - process.alpha_bar(t)) ** 0.5),
        ("not for one number t", lambda process, eps, t: -eps / process.noise(t).view(len(eps), *[1] * (eps.ndim - 1))),
        ("written into eps itself", overwritten),
    ],
    "annealed_langevin": [
        ("all levels have one step size", levels(lambda e, s, smallest, largest: e)),
        ("both are squared", levels(lambda e, s, smallest, largest: e * s / smallest)),
        ("upside down", levels(lambda e, s, smallest, largest: e * (smallest / s) ** 2)),
        ("sigma_L is the smallest", levels(lambda e, s, smallest, largest: e * (s / largest) ** 2)),
        ("not divided by sigma_L^2", levels(lambda e, s, smallest, largest: e * s**2)),
        ("square root is forgotten", levels(right_size, line(width=lambda e: e))),
        ("the half is missing", levels(right_size, line(lambda e: e))),
        ("the sign is turned", levels(right_size, line(lambda e: -e / 2))),
        ("the noise is forgotten", levels(right_size, line(width=lambda e: 0))),
        (".score is what you want", levels(right_size, line(view="eps"))),
        ("from the smallest up", levels(right_size, times=lambda times: times[:-1].flip(0))),
        ("one move at each level", levels(right_size, each=lambda n: 1)),
        ("begins anew", restarted),
        ("moves are made at t = 0", levels(right_size, times=lambda times: times)),
        ("all moves have the same noise", one_noise),
        ("all of the batch gets the same noise", levels(right_size, draw=lambda x, rng: randn_like(x[0], rng).expand_as(x))),
        ("uniform (torch.rand)", levels(right_size, draw=lambda x, rng: torch.rand(x.shape, generator=rng))),
        ("not drawn from rng", levels(right_size, draw=lambda x, rng: torch.randn_like(x))),
        ("last prediction of x_0", denoised),
        ("✗ the first move begins at x", elsewhere),
        ("✗ x is left as it was", written_over),
        ("the denoiser is never called", lambda denoiser, x, times, n, eta, rng: x),
    ],
}


# What was tried: whole functions, as they would stand in the cell


def without_minus(process, eps, t):
    bar = process.alpha_bar(t).view(-1, *[1] * (eps.ndim - 1))
    return eps / torch.sqrt(1 - bar)


def minus_the_noise(process, eps, t):
    """As the slide has it."""
    return -eps


def over_the_variance(process, eps, t):
    bar = process.alpha_bar(t).view(-1, *[1] * (eps.ndim - 1))
    return -eps / (1 - bar)


def times_the_width(process, eps, t):
    bar = process.alpha_bar(t).view(-1, *[1] * (eps.ndim - 1))
    return -torch.sqrt(1 - bar) * eps


def over_the_signal(process, eps, t):
    bar = process.alpha_bar(t).view(-1, *[1] * (eps.ndim - 1))
    return -eps / torch.sqrt(bar)


def over_one_steps_width(process, eps, t):
    beta = process.beta(t).view(-1, *[1] * (eps.ndim - 1))
    return -eps / torch.sqrt(beta)


def straight_over_noise(process, eps, t):
    return -eps / process.noise(t)


def for_pictures_alone(process, eps, t):
    return -eps / process.noise(t).view(-1, 1, 1, 1)


def of_batches_alone(process, eps, t):
    return -eps / process.noise(t)[:, None, None, None]


def noise_of_the_step_before(process, eps, t):
    return -eps / process.noise(t - 1).view(-1, *[1] * (eps.ndim - 1))


def one_minus_signal(process, eps, t):
    a, _ = process.coefficients(t, eps)
    return -eps / (1 - a)


def signal_and_noise(process, eps, t):
    a, b = process.coefficients(t, eps)
    return -eps / (a * b)


def into_eps(process, eps, t):
    eps /= -process.coefficients(t, eps)[1]
    return eps


def one_size(denoiser, x, times, n, eta, rng):
    for t in times[:-1]:
        for _ in range(n):
            x = x + eta / 2 * denoiser(x, t).score + eta**0.5 * randn_like(x, rng)
    return x


def ratio_not_squared(denoiser, x, times, n, eta, rng):
    sigmas = [float(denoiser.process.noise(t)) for t in times[:-1]]
    for t, sigma in zip(times[:-1], sigmas):
        alpha = eta * sigma / sigmas[-1]
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * randn_like(x, rng)
    return x


def over_the_largest(denoiser, x, times, n, eta, rng):
    sigmas = [float(denoiser.process.noise(t)) for t in times[:-1]]
    for t, sigma in zip(times[:-1], sigmas):
        alpha = eta * sigma**2 / sigmas[0] ** 2
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * randn_like(x, rng)
    return x


def divided_by_nothing(denoiser, x, times, n, eta, rng):
    for t in times[:-1]:
        alpha = eta * float(denoiser.process.noise(t)) ** 2
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * randn_like(x, rng)
    return x


def all_of_times(denoiser, x, times, n, eta, rng):
    smallest = float(denoiser.process.noise(times[-2]))
    for t in times:
        alpha = eta * float(denoiser.process.noise(t)) ** 2 / smallest**2
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * randn_like(x, rng)
    return x


def smallest_is_zero(denoiser, x, times, n, eta, rng):
    """times[-1] is 0, where there is no noise to divide by."""
    smallest = float(denoiser.process.noise(times[-1]))
    for t in times[:-1]:
        alpha = eta * float(denoiser.process.noise(t)) ** 2 / smallest**2
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * randn_like(x, rng)
    return x


def twice_the_noise(denoiser, x, times, n, eta, rng):
    smallest = float(denoiser.process.noise(times[-2]))
    for t in times[:-1]:
        alpha = eta * (float(denoiser.process.noise(t)) / smallest) ** 2
        for _ in range(n):
            x = x + alpha * denoiser(x, t).score + (2 * alpha) ** 0.5 * randn_like(x, rng)
    return x


def alpha_z(denoiser, x, times, n, eta, rng):
    smallest = float(denoiser.process.noise(times[-2]))
    for t in times[:-1]:
        alpha = eta * (float(denoiser.process.noise(t)) / smallest) ** 2
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha * randn_like(x, rng)
    return x


def one_z_for_all_moves(denoiser, x, times, n, eta, rng):
    z = randn_like(x, rng)
    smallest = float(denoiser.process.noise(times[-2]))
    for t in times[:-1]:
        alpha = eta * (float(denoiser.process.noise(t)) / smallest) ** 2
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * z
    return x


def one_score_a_level(denoiser, x, times, n, eta, rng):
    smallest = float(denoiser.process.noise(times[-2]))
    for t in times[:-1]:
        alpha = eta * (float(denoiser.process.noise(t)) / smallest) ** 2
        score = denoiser(x, t).score
        for _ in range(n):
            x = x + alpha / 2 * score + alpha**0.5 * randn_like(x, rng)
    return x


def from_torchs_generator(denoiser, x, times, n, eta, rng):
    smallest = float(denoiser.process.noise(times[-2]))
    for t in times[:-1]:
        alpha = eta * (float(denoiser.process.noise(t)) / smallest) ** 2
        for _ in range(n):
            x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * torch.randn_like(x)
    return x


def with_its_noise(denoiser, x, times, n, eta, rng):
    smallest = float(denoiser.process.noise(times[-2]))
    for t in times[:-1]:
        alpha = eta * (float(denoiser.process.noise(t)) / smallest) ** 2
        for _ in range(n):
            x = x - alpha / 2 * denoiser(x, t).eps + alpha**0.5 * randn_like(x, rng)
    return x


def one_move_each(denoiser, x, times, n, eta, rng):
    smallest = float(denoiser.process.noise(times[-2]))
    for t in times[:-1]:
        alpha = eta * (float(denoiser.process.noise(t)) / smallest) ** 2
        x = x + alpha / 2 * denoiser(x, t).score + alpha**0.5 * randn_like(x, rng)
    return x


TRIED = {
    "score_from_eps": [
        ("the sign is missing", without_minus),
        ("the factor is missing", minus_the_noise),
        ("the square root is missing", over_the_variance),
        ("multiplied where it must be divided", times_the_width),
        ("sqrt(alpha_bar_t) stands", over_the_signal),
        ("the bar is lost", over_one_steps_width),
        ("not broadcast", straight_over_noise),
        ("not for points", for_pictures_alone),
        ("not for one number t", of_batches_alone),
        ("one step too early", noise_of_the_step_before),
        ("1 - sqrt(alpha_bar_t) stands", one_minus_signal),
        ("own scale", signal_and_noise),
        ("written into eps", into_eps),
    ],
    "annealed_langevin": [
        ("one step size", one_size),
        ("both are squared", ratio_not_squared),
        ("the largest sigma", over_the_largest),
        ("not divided by sigma_L^2", divided_by_nothing),
        ("at t = 0, too", all_of_times),
        ("", smallest_is_zero),
        ("right with half the alpha_i", twice_the_noise),
        ("the square root is forgotten", alpha_z),
        ("the same noise", one_z_for_all_moves),
        ("once at each level", one_score_a_level),
        ("not drawn from rng", from_torchs_generator),
        ("minus the score", with_its_noise),
        ("one move at each level", one_move_each),
    ],
}


def through_x0(process, eps, t):
    """(a x_0 - x_t) / b^2, for the x_0 that this eps leads away from, at x_t = 0."""
    a, b = process.coefficients(t, eps)
    x0 = -b * eps / a
    return a * x0 / b**2


def by_einsum(process, eps, t):
    width = torch.as_tensor(process.noise(t)).to(eps.dtype).expand(len(eps))
    return torch.einsum("b...,b->b...", eps, -1 / width)


def by_multiplication(process, eps, t):
    return torch.mul(eps.transpose(0, -1), -((1 - process.alpha_bar(t)) ** -0.5)).transpose(0, -1)


def by_langevin_step(denoiser, x, times, n, eta, rng):
    sigma = denoiser.process.noise(times)
    for i in range(len(times) - 1):
        for _ in range(n):
            step = eta * float(sigma[i] ** 2 / sigma[-2] ** 2)
            x = eq_4(denoiser, x, times[i].item(), step, torch.randn(x.shape, generator=rng, dtype=x.dtype))
    return x


def with_a_while(denoiser, x, times, n, eta, rng):
    x, i = x.clone(), 0
    scales = (denoiser.process.noise(times[:-1]) / denoiser.process.noise(times[-2])).square() * eta
    while i < n * len(scales):
        alpha = scales[i // n].to(x.dtype)
        x += alpha / 2 * denoiser(x.clone(), times[i // n]).score
        x += alpha.sqrt() * torch.empty_like(x).normal_(generator=rng)
        i += 1
    return x


@torch.no_grad()
def with_a_batch_of_times(denoiser, x, times, n, eta, rng):
    smallest = min(float(denoiser.process.noise(t)) for t in times[:-1])
    for t in [s for s in times if s > 0]:
        each = t.expand(len(x))
        alpha = eta * (denoiser.process.noise(each)[0].item() / smallest) ** 2
        for _ in range(n):
            z = torch.normal(0.0, 1.0, x.shape, generator=rng)
            x = x - alpha / 2 * denoiser(x, each).eps / denoiser.process.coefficients(each, x)[1] + math.sqrt(alpha) * z
    return x


RIGHT["score_from_eps"] += [through_x0, by_einsum, by_multiplication]
RIGHT["annealed_langevin"] += [by_langevin_step, with_a_while, with_a_batch_of_times]
