"""Lesson 24."""

import torch
from torch.func import jvp

from course_lib.methods import one_step


def _wide(v, x):
    return v.reshape(-1, *[1] * (x.ndim - 1))


# meanflow_target


def by_autograd(u, z, r, t, v):
    """The older function of torch, by two backward passes."""
    _, slope = torch.autograd.functional.jvp(lambda z, t: u(z, r, t), (z, t), (v, torch.ones_like(t)))
    return (v - _wide(t - r, z) * slope).detach()


def by_line(u, z, r, t, v):
    """The derivative along the line z + h v, t + h, at h = 0."""
    h = torch.zeros(())
    along = lambda h: u(z + h * v, r, t + h)
    with torch.no_grad():
        _, slope = jvp(along, (h,), (torch.ones(()),))
    return v - torch.einsum("b,b...->b...", t - r, slope)


def by_dual_numbers(u, z, r, t, v):
    import torch.autograd.forward_ad as ad

    with torch.no_grad(), ad.dual_level():
        out = u(ad.make_dual(z, v), r, ad.make_dual(t, torch.ones_like(t)))
        slope = ad.unpack_dual(out).tangent.clone()
    return v - _wide(t - r, z) * slope


def by_differences(u, z, r, t, v, h=1e-4):
    z, r, t, v = (x.double() for x in (z, r, t, v))
    with torch.no_grad():
        slope = (u(z + h * v, r, t + h) - u(z - h * v, r, t - h)) / (2 * h)
    return (v - _wide(t - r, z) * slope).float()


def of_parts(slopes, end=lambda v, apart, slope, u: v - apart * slope, inputs=lambda z, r, t: (z, r, t)):
    def meanflow_target(u, z, r, t, v):
        out, slope = jvp(u, inputs(z, r, t), slopes(v, torch.zeros_like(r), torch.ones_like(t)))
        return end(v, _wide(t - r, z), slope, out).detach()

    return meanflow_target


still = of_parts(lambda v, o, i: (v, o, o))
moving_r = of_parts(lambda v, o, i: (v, i, i))
swapped_tangents = of_parts(lambda v, o, i: (v, i, o))
without_z = of_parts(lambda v, o, i: (0 * v, o, i))
RIGHT_SLOPES = lambda v, o, i: (v, o, i)
added = of_parts(RIGHT_SLOPES, lambda v, apart, slope, u: v + apart * slope)
without_factor = of_parts(RIGHT_SLOPES, lambda v, apart, slope, u: v - slope)
of_prediction = of_parts(RIGHT_SLOPES, lambda v, apart, slope, u: u - apart * slope)
first_output = of_parts(RIGHT_SLOPES, lambda v, apart, slope, u: v - apart * u)
alone = of_parts(RIGHT_SLOPES, lambda v, apart, slope, u: slope)
turned = of_parts(RIGHT_SLOPES, inputs=lambda z, r, t: (z, t, r))
velocity_alone = of_parts(RIGHT_SLOPES, lambda v, apart, slope, u: v)


def with_graph(u, z, r, t, v):
    _, slope = jvp(u, (z, r, t), (v, torch.zeros_like(r), torch.ones_like(t)))
    return v - _wide(t - r, z) * slope


def factor_t(u, z, r, t, v):
    return v - _wide(t, z) * (v - one_step.meanflow_target(u, z, r, t, v)) / _wide(t - r, z).clamp(min=1e-9)


# dmd_gradient


def by_norm(x, x_t, t, real, fake):
    with torch.no_grad():
        goal, own = real(x_t, t), fake(x_t, t)
        size = torch.linalg.vector_norm((x - goal).flatten(1), ord=1, dim=1) / x[0].numel()
        return torch.einsum("b...,b->b...", own - goal, 1 / size)


def by_detaching(x, x_t, t, real, fake):
    goal, own = real(x_t, t).detach(), fake(x_t, t).detach()
    p_real, p_fake = x.detach() - goal, x.detach() - own
    return (p_real - p_fake) / p_real.abs().mean(dim=tuple(range(1, x.ndim)), keepdim=True)


def by_rows(x, x_t, t, real, fake):
    rows = []
    for i in range(len(x)):
        one = slice(i, i + 1)
        goal = real(x_t[one], t[one])
        rows.append((fake(x_t[one], t[one]) - goal) / (x[one] - goal).abs().mean())
    return torch.cat(rows).detach()


def by_scores(x, x_t, t, real, fake):
    """s = (a mu - x_t) / b^2 with a = 1 - t, b = t."""
    a, b = 1 - _wide(t, x), _wide(t, x)
    with torch.no_grad():
        goal, own = real(x_t, t), fake(x_t, t)
        scores = [(a * mu - x_t) / b**2 for mu in (goal, own)]
        size = (x - goal).abs().reshape(len(x), -1).mean(1)
        return (scores[1] - scores[0]) * b**2 / a / _wide(size, x)


@torch.inference_mode(False)
@torch.no_grad()
def by_decorator(x, x_t, t, real, fake):
    goal = real(x_t, t)
    return torch.div(fake(x_t, t) - goal, _wide((x - goal).abs().flatten(1).sum(1) / x[0].numel(), x))


def _gradient(top, size=lambda x, x_t, goal, own: (x - goal).abs().flatten(1).mean(1), at=lambda x, x_t: x_t):
    @torch.no_grad()
    def dmd_gradient(x, x_t, t, real, fake):
        goal, own = real(at(x, x_t), t), fake(at(x, x_t), t)
        return top(x, goal, own) / _wide(size(x, x_t, goal, own), x)

    return dmd_gradient


OURS = lambda x, goal, own: own - goal
upwards = _gradient(lambda x, goal, own: goal - own)
unweighted = _gradient(OURS, lambda x, x_t, goal, own: torch.ones(len(x)))
of_fake = _gradient(OURS, lambda x, x_t, goal, own: (x - own).abs().flatten(1).mean(1))
of_noisy = _gradient(OURS, lambda x, x_t, goal, own: (x_t - goal).abs().flatten(1).mean(1))
of_batch = _gradient(OURS, lambda x, x_t, goal, own: (x - goal).abs().mean().expand(len(x)))
summed = _gradient(OURS, lambda x, x_t, goal, own: (x - goal).abs().flatten(1).sum(1))
squared = _gradient(OURS, lambda x, x_t, goal, own: (x - goal).square().flatten(1).mean(1))
at_clean = _gradient(OURS, at=lambda x, x_t: x)
without_fake = _gradient(lambda x, goal, own: x - goal)
without_real = _gradient(lambda x, goal, own: own - x)


def graph(x, x_t, t, real, fake):
    goal = real(x_t, t)
    return (fake(x_t, t) - goal) / _wide((x - goal).abs().flatten(1).mean(1), x)


# distribution_matching


def _training(surrogate, clear=True, order="generator", both=True, target=lambda x, eta: x, keep=True, own=True):
    def distribution_matching(generator, fake, real, gradient, draw, optimizers, steps):
        for _ in range(steps):
            z, t, eps, s, eta = draw()
            x = generator(z)
            x_t = (1 - t[:, None]) * x.detach() + t[:, None] * eps
            if both:
                optimizers[0].zero_grad()
                surrogate(x, gradient(x.detach(), x_t, t, real, fake))
                optimizers[0].step()
            if clear:
                optimizers[1].zero_grad(set_to_none=False)
            samples = (x if keep else generator(z)).detach()
            x_s = (1 - s[:, None]) * samples + s[:, None] * eta
            error = fake(x_s, s) - target(samples, eta) if own else fake(x_t, t) - samples
            torch.mean(error**2).backward()
            optimizers[1].step()
        return generator

    return distribution_matching


by_backward = _training(lambda x, g: x.backward(g / x.numel()))
by_square = _training(lambda x, g: (0.5 * (x - (x - g).detach()).square().mean()).backward())
by_inner = _training(lambda x, g: (torch.einsum("bi,bi->", x, g.detach()) / x.numel()).backward())
uncleared = _training(lambda x, g: (x * g).mean().backward(), clear=False)
never = _training(None, both=False)
up = _training(lambda x, g: (-x * g).mean().backward())
of_sum = _training(lambda x, g: (x * g).sum().backward())
of_noise = _training(lambda x, g: (x * g).mean().backward(), target=lambda x, eta: eta)
anew = _training(lambda x, g: (x * g).mean().backward(), keep=False)
same_noise = _training(lambda x, g: (x * g).mean().backward(), own=False)
double = _training(lambda x, g: ((x - (x - g).detach()).square().mean()).backward())


def by_autograd_grad(generator, fake, real, gradient, draw, optimizers, steps):
    for _ in range(steps):
        z, t, eps, s, eta = draw()
        x = generator(z)
        fixed = x.detach()
        g = gradient(fixed, fixed + t[:, None] * (eps - fixed), t, real, fake)
        weights = list(generator.parameters())
        for w, slope in zip(weights, torch.autograd.grad(x, weights, g / x.numel())):
            w.grad = slope
        optimizers[0].step()
        loss = torch.nn.functional.mse_loss(fake(fixed + s[:, None] * (eta - fixed), s), fixed)
        weights = list(fake.parameters())
        for w, slope in zip(weights, torch.autograd.grad(loss, weights)):
            w.grad = slope
        optimizers[1].step()
    return generator


def by_parts(generator, fake, real, gradient, draw, optimizers, steps):
    """One function a network, and a loop."""

    def noisy(x, t, eps):
        return torch.lerp(x, eps, t.unsqueeze(1))

    def train_generator(z, t, eps):
        x = generator(z)
        with torch.no_grad():
            g = gradient(x.clone(), noisy(x, t, eps), t, real, fake)
        (x * g).mean().backward()
        optimizers[0].step()
        optimizers[0].zero_grad()
        return x.detach()

    def train_fake(x, s, eta):
        ((fake(noisy(x, s, eta), s) - x) ** 2).mean().backward()
        optimizers[1].step()
        optimizers[1].zero_grad()

    k = 0
    while k < steps:
        z, t, eps, s, eta = draw()
        train_fake(train_generator(z, t, eps), s, eta)
        k += 1
    return generator


def one_only(generator, fake, real, gradient, draw, optimizers, steps):
    return by_backward(generator, fake, real, gradient, draw, optimizers, 1)


def fake_first(generator, fake, real, gradient, draw, optimizers, steps):
    for _ in range(steps):
        z, t, eps, s, eta = draw()
        x = generator(z)
        optimizers[1].zero_grad()
        torch.nn.functional.mse_loss(fake(torch.lerp(x.detach(), eta, s[:, None]), s), x.detach()).backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        (x * gradient(x.detach(), torch.lerp(x.detach(), eps, t[:, None]), t, real, fake)).mean().backward()
        optimizers[0].step()
    return generator


RIGHT = {
    "meanflow_target": [one_step.meanflow_target, by_autograd, by_line, by_dual_numbers, by_differences],
    "dmd_gradient": [by_norm, by_detaching, by_rows, by_scores, by_decorator],
    "distribution_matching": [by_backward, by_square, by_inner, by_autograd_grad, by_parts],
}
WRONG = {
    "meanflow_target": [
        ("the tangent of t is 0", still),
        ("the tangent of r is 1", moving_r),
        ("the tangent of z is 0", without_z),
        ("the derivative is added", added),
        ("the factor t - r is left out", without_factor),
        ("carries a gradient", with_graph),
    ],
    "dmd_gradient": [
        ("the sign is turned", upwards),
        ("the weight is left out", unweighted),
        ("over the whole batch", of_batch),
        ("the clean samples x, not x_t", at_clean),
        ("the fake one is left out", without_fake),
    ],
    "distribution_matching": [
        ("the generator is never trained", never),
        ("the sign of the generator's loss", up),
        ("never cleared", uncleared),
        ("made anew", anew),
        ("to predict the noise", of_noise),
    ],
}
TRIED = {
    "meanflow_target": [
        *WRONG["meanflow_target"],
        ("change places", swapped_tangents),
        ("the prediction u", of_prediction),
        ("the first output of jvp", first_output),
        ("the derivative alone", alone),
        ("in the other order", turned),
        ("", velocity_alone),
        ("", factor_t),
    ],
    "dmd_gradient": [
        *WRONG["dmd_gradient"],
        ("|x - mu_fake|", of_fake),
        ("of the clean samples x", of_noisy),
        ("is a sum", summed),
        ("the mean square", squared),
        ("the real one is left out", without_real),
        ("carries a graph", graph),
    ],
    "distribution_matching": [
        *WRONG["distribution_matching"],
        ("summed over the batch", of_sum),
        ("gives it its own", same_noise),
        ("in the place of all", one_only),
        ("", double),
        ("", fake_first),
    ],
}
