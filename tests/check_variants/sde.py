"""Lesson 21."""

from itertools import pairwise

import torch

from course_lib.methods import sde
from course_lib.process import randn_like


def by_library(denoiser, x, times, lam, rng):
    return torch.stack([step.x for step in sde.reverse_sde(denoiser, x, torch.tensor(times), lam, rng)])


def by_dt(denoiser, x, times, lam, rng):
    """With a positive step, and noise only where it is needed."""
    made = x.new_empty(len(times), *x.shape)
    made[0] = x
    for i, t in enumerate(times[:-1]):
        dt = t - times[i + 1]
        f, g2 = sde.drift_diffusion(denoiser.process, t)
        ode = f.to(x) * x - 0.5 * g2.to(x) * denoiser(x, t).score
        extra = 0.5 * lam**2 * g2.to(x) * denoiser(x, t).score
        x = x - dt * (ode - extra)
        if lam:
            x = x + lam * (g2.to(x) * dt).sqrt() * torch.randn(x.shape, generator=rng)
        made[i + 1] = x
    return made


def _walk(move):
    """The sampler whose move is move(f, g2, x, pred, dt, lam, z)."""

    def sampler(denoiser, x, times, lam, rng):
        points = [x]
        for t, s in pairwise(times):
            f, g2 = (float(v) for v in sde.drift_diffusion(denoiser.process, t))
            x = move(f, g2, x, denoiser(x, t), s - t, lam, randn_like(x, rng))
            points.append(x)
        return torch.stack(points)

    return sampler


ode_drift = _walk(lambda f, g2, x, p, dt, lam, z: x + (f * x - g2 / 2 * p.score) * dt + lam * (g2 * -dt) ** 0.5 * z)
sde_drift = _walk(lambda f, g2, x, p, dt, lam, z: x + (f * x - g2 * p.score) * dt + lam * (g2 * -dt) ** 0.5 * z)
no_noise = _walk(lambda f, g2, x, p, dt, lam, z: x + (f * x - (1 + lam**2) / 2 * g2 * p.score) * dt)
no_root = _walk(lambda f, g2, x, p, dt, lam, z: x + (f * x - (1 + lam**2) / 2 * g2 * p.score) * dt + lam * g2 * -dt * z)
upwards = _walk(
    lambda f, g2, x, p, dt, lam, z: x - (f * x - (1 + lam**2) / 2 * g2 * p.score) * dt + lam * (-g2 * dt) ** 0.5 * z
)
by_eps = _walk(lambda f, g2, x, p, dt, lam, z: x + (f * x - (1 + lam**2) / 2 * g2 * p.eps) * dt + lam * (-g2 * dt) ** 0.5 * z)
bare_lam = _walk(lambda f, g2, x, p, dt, lam, z: x + (f * x - (1 + lam) / 2 * g2 * p.score) * dt + lam * (-g2 * dt) ** 0.5 * z)


turned_score = _walk(
    lambda f, g2, x, p, dt, lam, z: x + (f * x + (1 + lam**2) / 2 * g2 * p.score) * dt + lam * (-g2 * dt) ** 0.5 * z
)
no_f = _walk(lambda f, g2, x, p, dt, lam, z: x - (1 + lam**2) / 2 * g2 * p.score * dt + lam * (-g2 * dt) ** 0.5 * z)


def one_noise(denoiser, x, times, lam, rng):
    points, z = [x], randn_like(x, rng)
    for t, s in pairwise(times):
        f, g2 = (float(v) for v in sde.drift_diffusion(denoiser.process, t))
        x = x + (f * x - (1 + lam**2) / 2 * g2 * denoiser(x, t).score) * (s - t) + lam * (g2 * (t - s)) ** 0.5 * z
        points.append(x)
    return torch.stack(points)


def only_the_end(denoiser, x, times, lam, rng):
    return by_library(denoiser, x, times, lam, rng)[-1]


def by_dot_products(field, x, probes):
    """Each probe by itself, with sums over the flat numbers."""
    found = []
    for e in probes:
        with torch.enable_grad():
            y = x.detach().clone().requires_grad_()
            field(y).backward(e)
        found.append((y.grad.flatten(1) * e.flatten(1)).sum(1))
    return torch.stack(found).mean(0)


def by_jvp(field, x, probes):
    """Forward products J e in the place of e^T J."""
    with torch.enable_grad():
        products = [torch.autograd.functional.jvp(field, x.detach(), e.to(x).contiguous())[1] for e in probes]
    return sum((p * e).flatten(1).sum(1) for p, e in zip(products, probes)).detach() / len(probes)


def no_second_e(field, x, probes):
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        value = field(y)
        rows = [torch.autograd.grad((value * e).sum(), y, retain_graph=True)[0].flatten(1).sum(1) for e in probes]
    return sum(rows).detach() / len(probes)


def summed_probes(field, x, probes):
    return by_dot_products(field, x, probes) * len(probes)


def last_probe(field, x, probes):
    return by_dot_products(field, x, probes[-1:])


def over_the_batch(field, x, probes):
    return by_dot_products(field, x, probes).sum().expand(len(x))


def mean_of_numbers(field, x, probes):
    return by_dot_products(field, x, probes) / x[0].numel()


def no_first_e(field, x, probes):
    return sum((_grad(field, x, torch.ones_like(e)) * e).flatten(1).sum(1) for e in probes) / len(probes)


def squared(field, x, probes):
    return sum(_grad(field, x, e).square().flatten(1).sum(1) for e in probes) / len(probes)


def first_only(field, x, probes):
    return sum((_grad(field, x, e) * e).flatten(1)[:, 0] for e in probes) / len(probes)


def no_e_at_all(field, x, probes):
    return _grad(field, x, torch.ones_like(x)).flatten(1).sum(1)


def _grad(field, x, e):
    with torch.enable_grad():
        y = x.detach().clone().requires_grad_()
        return torch.autograd.grad((field(y) * e).sum(), y)[0]


def with_lists(velocity, log_prior, x, times):
    """The increments in lists."""
    changes = []
    for i in range(1, len(times)):
        s, t = times[i - 1], times[i]
        first, second = velocity(x, s), None
        second = velocity(x + (t - s) * first[0], t)
        changes.append(0.5 * (t - s) * (first[1] + second[1]))
        x = x + 0.5 * (t - s) * (first[0] + second[0])
    return torch.stack(changes).sum(0) + log_prior(x)


def euler_both(velocity, log_prior, x, times):
    change = 0
    for s, t in pairwise(times):
        v, div = velocity(x, s)
        velocity(x + (t - s) * v, t)
        x, change = x + (t - s) * v, change + (t - s) * div
    return log_prior(x) + change


def _heun(end):
    """The loop, whose answer is end(log_prior, x_T, change, x)."""

    def loop(velocity, log_prior, x, times):
        start, change = x, 0
        for s, t in pairwise(times):
            (v, div), h = velocity(x, s), t - s
            v_end, div_end = velocity(x + h * v, t)
            x, change = x + h / 2 * (v + v_end), change + h / 2 * (div + div_end)
        return end(log_prior, x, change, start)

    return loop


def _loop(move):
    """The loop whose moves are (dx, d) = move(velocity, x, s, t)."""

    def loop(velocity, log_prior, x, times):
        change = 0
        for s, t in pairwise(times):
            dx, d = move(velocity, x, s, t)
            x, change = x + dx, change + d
        return log_prior(x) + change

    return loop


def _ends(velocity, x, s, t):
    v, div = velocity(x, s)
    return v, div, *velocity(x + (t - s) * v, t)


def div_by_euler(velocity, x, s, t):
    v, div, v_end, _ = _ends(velocity, x, s, t)
    return (t - s) / 2 * (v + v_end), (t - s) * div


def x_by_euler(velocity, x, s, t):
    v, div, _, div_end = _ends(velocity, x, s, t)
    return (t - s) * v, (t - s) / 2 * (div + div_end)


def no_half(velocity, x, s, t):
    v, div, v_end, div_end = _ends(velocity, x, s, t)
    return (t - s) * (v + v_end), (t - s) * (div + div_end)


def no_length(velocity, x, s, t):
    v, div, v_end, div_end = _ends(velocity, x, s, t)
    return (v + v_end) / 2, (div + div_end) / 2


def at_the_start(velocity, log_prior, x, times):
    change = 0
    for s, t in pairwise(times):
        v, div = velocity(x, s)
        v_end, div_end = velocity(x, t)
        x, change = x + (t - s) / 2 * (v + v_end), change + (t - s) / 2 * (div + div_end)
    return log_prior(x) + change


def as_recursion(denoiser, x, times, lam, rng):
    if len(times) == 1:
        return x[None]
    f, g2 = (float(v) for v in sde.drift_diffusion(denoiser.process, times[0]))
    dt = times[1] - times[0]
    y = x + dt * (f * x - (1 + lam**2) / 2 * g2 * denoiser(x, times[0]).score) + lam * (-g2 * dt) ** 0.5 * randn_like(x, rng)
    return torch.cat([x[None], as_recursion(denoiser, y, times[1:], lam, rng)])


def by_jacobian(field, x, probes):
    """The whole Jacobian of each member."""
    found = []
    for i in range(len(x)):
        J = torch.autograd.functional.jacobian(lambda v: field(v[None])[0], x[i].detach()).view(x[0].numel(), -1)
        e = probes[:, i].flatten(1).to(x)
        found.append(torch.einsum("ki,ij,kj->k", e, J, e).mean())
    return torch.stack(found)


def in_one_batch(field, x, probes):
    """All probes as one large batch."""
    K = len(probes)
    product = _grad(field, x.repeat(K, *[1] * (x.ndim - 1)), probes.flatten(0, 1).to(x)) * probes.flatten(0, 1)
    return product.flatten(1).sum(1).view(K, -1).mean(0)


def by_einsum(field, x, probes):
    return sum(torch.einsum("bi,bi->b", _grad(field, x, e).flatten(1), e.flatten(1)) for e in probes) / len(probes)


def augmented(velocity, log_prior, x, times):
    """x and log p as one vector."""
    y = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)

    def slope(y, t):
        v, div = velocity(y[:, :-1].view_as(x), t)
        return torch.cat([v.flatten(1), div[:, None]], 1)

    for s, t in pairwise(times):
        first = slope(y, s)
        y = y + (t - s) * (first + slope(y + (t - s) * first, t)) / 2
    return log_prior(y[:, :-1].view_as(x)) + y[:, -1]


def by_library_moves(velocity, log_prior, x, times):
    y = x, x.new_zeros(len(x))
    for s, t in pairwise(times):
        y = sde.heun_move(lambda y, at, h=t - s: tuple(h * v for v in velocity(y[0], at)), y, s, t)
    return log_prior(y[0]) + y[1]


def as_recursion_up(velocity, log_prior, x, times):
    if len(times) == 1:
        return log_prior(x)
    v, div, v_end, div_end = _ends(velocity, x, *times[:2])
    h = (times[1] - times[0]) / 2
    return h * (div + div_end) + as_recursion_up(velocity, log_prior, x + h * (v + v_end), times[1:])


RIGHT = {
    "reverse_sde": [
        by_library,
        by_dt,
        as_recursion,
        _walk(
            lambda f, g2, x, p, h, lam, z: (1 + f * h) * x - h * g2 / 2 * (1 + lam**2) * p.score + lam * (g2 * -h) ** 0.5 * z
        ),
        _walk(
            lambda f, g2, x, p, h, lam, z: x + h * f * x + h * g2 * (1 + lam**2) / 2 * p.eps / p.b + lam * (-g2 * h) ** 0.5 * z
        ),
    ],
    "divergence": [by_dot_products, by_jvp, by_jacobian, in_one_batch, by_einsum],
    "ode_likelihood": [
        with_lists,
        augmented,
        by_library_moves,
        as_recursion_up,
        _heun(lambda log_prior, x, change, start: log_prior(x) + change),
    ],
}
WRONG = {
    "reverse_sde": [
        ("the score is not doubled", ode_drift),
        ("always that of the reverse SDE", sde_drift),
        ("the noise is forgotten", no_noise),
        ("the drift has the wrong sign", upwards),
    ],
    "divergence": [
        ("not multiplied by e again", no_second_e),
        ("the sum over probes", summed_probes),
        ("summed over the batch", over_the_batch),
    ],
    "ode_likelihood": [
        ("the divergence is subtracted", _heun(lambda log_prior, x, change, start: log_prior(x) - change)),
        ("the divergence is left out", _heun(lambda log_prior, x, change, start: log_prior(x))),
        ("Euler's method for both", euler_both),
    ],
}
TRIED = {
    "reverse_sde": [
        *WRONG["reverse_sde"],
        ("lacks its root", no_root),
        ("the predicted noise stands where", by_eps),
        ("lam is not squared", bare_lam),
        ("only the last points", only_the_end),
        ("the sign of the score", turned_score),
        ("f is left out", no_f),
        ("the same noise", one_noise),
    ],
    "divergence": [
        *WRONG["divergence"],
        ("only the last probe", last_probe),
        ("averaged over the numbers", mean_of_numbers),
        ("e is left out", no_first_e),
        ("the squares of the gradient", squared),
        ("only the first coordinate", first_only),
        ("", no_e_at_all),
        ("", lambda field, x, probes: field(x).flatten(1).sum(1).detach()),
    ],
    "ode_likelihood": [
        *WRONG["ode_likelihood"],
        ("the prior is left out", _heun(lambda log_prior, x, change, start: change)),
        ("the prior is taken at the data", _heun(lambda log_prior, x, change, start: log_prior(start) + change)),
        ("the second velocity is taken at x", at_the_start),
        ("the divergence is Euler's", _loop(div_by_euler)),
        ("the velocity is Euler's", _loop(x_by_euler)),
        ("the half is missing", _loop(no_half)),
        ("a length of 1", _loop(no_length)),
    ],
}
