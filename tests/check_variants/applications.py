"""Lesson 19."""

from itertools import pairwise

import torch

from course_lib.methods import editing
from course_lib.process import randn_like
from course_lib.samplers import ddim, ddpm, result

# repaint_sampler


def by_library(denoiser, known, keep, x, times, U, rng):
    return result(editing.repaint(denoiser, known, keep, x, torch.tensor(times), U, rng))


def looped(mix=None, up=None, rounds=lambda U, s: U if s > 0 else 1):
    """The sampler that mixes and goes back up by these functions."""

    def right_mix(process, x, known, keep, t, s, rng, u, last):
        return torch.where(keep.bool(), process.add_noise(known, s, randn_like(x, rng)), x)

    def right_up(denoiser, x, t, s, rng, begin):
        kept = (denoiser.process.signal(t) / denoiser.process.signal(s)).to(x)
        return kept * x + (1 - kept**2).sqrt() * randn_like(x, rng)

    def sampler(denoiser, known, keep, x, times, U, rng):
        for t, s in pairwise(times):
            many = rounds(U, s)
            for u in range(many):
                begin = x
                x = result(ddpm(denoiser, x, torch.tensor([t, s]), rng))
                x = (mix or right_mix)(denoiser.process, x, known, keep, t, s, rng, u, u == many - 1)
                if u < many - 1:
                    x = (up or right_up)(denoiser, x, t, s, rng, begin)
        return x

    return sampler


def by_arithmetic(process, x, known, keep, t, s, rng, u, last):
    a, b = process.coefficients(s, known)
    return x + keep * (a * known + b * torch.randn(x.shape, generator=rng) - x)


def step_by_step(denoiser, x, t, s, rng, begin):
    """Up by the single steps of the chain."""
    for step in range(s + 1, t + 1):
        alpha = float(denoiser.process.alpha(step))
        x = alpha**0.5 * x + (1 - alpha) ** 0.5 * randn_like(x, rng)
    return x


def up_first(denoiser, known, keep, x, times, U, rng):
    """The way up stands before the move, the noise is that of eta = 1, and the mask is an index."""
    process = denoiser.process
    for t, s in zip(times, times[1:]):
        for u in range(U):
            if u and not s:
                break
            if u:
                alpha = float(process.alpha_bar(t)) / float(process.alpha_bar(s))
                x = alpha**0.5 * x + (1 - alpha) ** 0.5 * torch.randn(x.shape, generator=rng)
            x = result(ddim(denoiser, x, torch.tensor([t, s]), 1.0, rng)).clone()
            a, b = process.coefficients(s, x)
            where = (keep == 1).expand_as(x)
            x[where] = (a * known + b * torch.randn(x.shape, generator=rng))[where]
    return x


def mixing(noisy):
    """The sampler that puts this in where keep is 1."""
    return looped(
        lambda process, x, known, keep, t, s, rng, u, last: torch.where(
            keep.bool(), noisy(process, known, t, s, randn_like(x, rng)), x
        )
    )


def inverted_mask(process, x, known, keep, t, s, rng, u, last):
    return torch.where(keep.bool(), x, process.add_noise(known, s, randn_like(x, rng)))


def put_in_at_the_end(process, x, known, keep, t, s, rng, u, last):
    return x if s else torch.where(keep.bool(), known, x)


def put_in_last(process, x, known, keep, t, s, rng, u, last):
    return torch.where(keep.bool(), process.add_noise(known, s, randn_like(x, rng)), x) if last else x


def added(process, x, known, keep, t, s, rng, u, last):
    return x + keep * process.add_noise(known, s, randn_like(x, rng))


def hole_lost(process, x, known, keep, t, s, rng, u, last):
    return keep * process.add_noise(known, s, randn_like(x, rng))


def going_up(factors):
    """The sampler that goes up by kept * x + new * noise, of the process, t and s."""

    def up(denoiser, x, t, s, rng, begin):
        kept, new = factors(denoiser.process, t, s)
        return kept * x + new * randn_like(x, rng)

    return looped(up=up)


def share(process, t, s):
    return float(process.alpha_bar(t) / process.alpha_bar(s))


def inversion(denoiser, x, t, s, rng, begin):
    pred = denoiser(x, s)
    return denoiser.process.add_noise(pred.x0, t, pred.eps)


# consistent


def by_parts(x0, y, A, back):
    """The null space of x_0, and the range of y."""
    return back(y) + (x0 - back(A(x0)))


def by_residual(x0, y, A, back):
    missing = y - A(x0)
    return x0 + back(missing)


def in_two_steps(x0, y, A, back):
    blind = x0 - back(A(x0))
    return blind - back(A(blind)) + back(y)


def one_by_one(x0, y, A, back):
    return torch.cat([x0[i : i + 1] - back(A(x0[i : i + 1]) - y[i : i + 1]) for i in range(len(x0))])


def in_float64(x0, y, A, back):
    x0 = x0.double()
    return back(y.double()).add(x0).sub(back(A(x0)))


def by_projection(x0, y, A, back):
    project = lambda x: back(A(x))
    return project(back(y)) + x0 - project(x0)


def away(x0, y, A, back):
    return x0 - back(y - A(x0))


def only_y(x0, y, A, back):
    return back(y)


def twice_seen(x0, y, A, back):
    return back(y) + x0


def without_y(x0, y, A, back):
    return x0 - back(A(x0))


def by_half(x0, y, A, back):
    return (x0 + by_parts(x0, y, A, back)) / 2


def correction_alone(x0, y, A, back):
    return back(y - A(x0))


def y_itself(x0, y, A, back):
    return x0 - back(A(x0)) + y


def A_of_x0_itself(x0, y, A, back):
    return x0 - A(x0) + back(y)


def range_kept(x0, y, A, back):
    return back(y) + back(A(x0))


def untouched(x0, y, A, back):
    return x0


def corrected_twice(x0, y, A, back):
    correction = back(y - A(x0))
    return x0 + correction + correction


def clipped(x0, y, A, back):
    return by_residual(x0, y, A, back).clamp(-1, 1)


def A_for_back(x0, y, A, back):
    return x0 - A(A(x0) - y)


def mean_of_both(x0, y, A, back):
    return 0.5 * x0 + 0.5 * back(y)


# dps_sampler


def guided(distance=None, shift=None, to=None):
    """The sampler with this distance (of residuals) and this shift of the move (of x, the gradient, zeta and s)."""

    def sampler(denoiser, A, y, x, times, zeta, rng):
        for t, s in pairwise(times):
            x = x.detach().requires_grad_()
            pred = denoiser(x, t)
            found = (distance or per_picture)(y - A(pred.x0))
            gradient = torch.autograd.grad(found, x)[0]
            moved = editing.ddpm_move(denoiser.process, pred, t, s, randn_like(x, rng))
            x = (shift or (lambda x, g, zeta, s: x - zeta * g))(moved, gradient, zeta, s)
        return x.detach()

    return sampler


def per_picture(residual):
    return residual.square().flatten(1).sum(1).sqrt().sum()


def dps_by_library(denoiser, A, y, x, times, zeta, rng):
    return result(editing.dps(denoiser, A, y, x, torch.tensor(times), zeta, rng))


def as_in_the_paper(denoiser, A, y, x, times, zeta, rng):
    """The gradient of the squared norm, with the step zeta / (2 norm)."""
    for t, s in pairwise(times):
        x = x.clone().detach().requires_grad_(True)
        pred = denoiser(x, t)
        square = (y - A(pred.x0)).flatten(1).square().sum(1)
        gradient = torch.autograd.grad(square.sum(), x)[0]
        step = (zeta / (2 * square.detach().sqrt())).view(-1, *[1] * (x.ndim - 1))
        with torch.no_grad():
            x = editing.ddpm_move(denoiser.process, pred, t, s, randn_like(x, rng)) - step * gradient
    return x


def by_backward(denoiser, A, y, x, times, zeta, rng):
    for t, s in pairwise(times):
        x = x.detach().clone().requires_grad_()
        pred = denoiser(x, t)
        torch.linalg.vector_norm(A(pred.x0) - y, dim=tuple(range(1, y.ndim))).sum().backward(retain_graph=True)
        x = editing.ddpm_move(denoiser.process, pred, t, s, randn_like(x, rng)).detach() - zeta * x.grad
    return x


def shift_before_noise(denoiser, A, y, x, times, zeta, rng):
    """The move in its parts: the mean, the shift, the noise."""
    process = denoiser.process
    for t, s in pairwise(times):
        x = x.detach().requires_grad_()
        pred = denoiser(x, t)
        gradient = torch.autograd.grad((y - A(pred.x0)).flatten(1).norm(dim=1).sum(), x)[0]
        mean = editing.ddpm_move(process, pred, t, s, torch.zeros_like(x))
        sigma = ((1 - process.alpha_bar(s)) / (1 - process.alpha_bar(t)) * (1 - share(process, t, s))) ** 0.5
        x = mean - zeta * gradient + sigma * randn_like(x, rng)
    return x.detach()


def to_x0(denoiser, A, y, x, times, zeta, rng):
    for t, s in pairwise(times):
        pred = denoiser(x, t)
        x0 = pred.x0.detach().requires_grad_()
        gradient = torch.autograd.grad((y - A(x0)).flatten(1).norm(dim=1).sum(), x0)[0]
        x = editing.ddpm_move(denoiser.process, pred, t, s, randn_like(x, rng)) - zeta * gradient
    return x.detach()


def at_x_t(denoiser, A, y, x, times, zeta, rng):
    for t, s in pairwise(times):
        x = x.detach().requires_grad_()
        gradient = torch.autograd.grad((y - A(x)).flatten(1).norm(dim=1).sum(), x)[0]
        x = editing.ddpm_move(denoiser.process, denoiser(x, t), t, s, randn_like(x, rng)) - zeta * gradient
    return x.detach()


def with_graph(denoiser, A, y, x, times, zeta, rng):
    for t, s in pairwise(times):
        x = x.detach().requires_grad_()
        pred = denoiser(x, t)
        gradient = torch.autograd.grad(per_picture(y - A(pred.x0)), x)[0]
        x = editing.ddpm_move(denoiser.process, pred, t, s, randn_like(x, rng)) - zeta * gradient
    return x


def by_own_norm(x, gradient, zeta, s):
    return x - zeta * gradient / gradient.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))


RIGHT = {
    "repaint_sampler": [by_library, looped(), looped(up=step_by_step), up_first, looped(by_arithmetic)],
    "consistent": [by_parts, by_residual, in_two_steps, one_by_one, in_float64, by_projection],
    "dps_sampler": [dps_by_library, guided(), as_in_the_paper, by_backward, shift_before_noise],
}
WRONG = {
    "repaint_sampler": [
        ("the mask is inverted", looped(inverted_mask)),
        ("goes in clean", mixing(lambda process, known, t, s, eps: known)),
        ("the last move is repeated", looped(rounds=lambda U, s: U)),
        ("there is no resampling", looped(rounds=lambda U, s: 1)),
        (
            "treated as a clean picture on the way up",
            looped(up=lambda d, x, t, s, r, b: d.process.add_noise(x, t, randn_like(x, r))),
        ),
        ("an inversion", looped(up=inversion)),
    ],
    "consistent": [
        ("has the wrong sign", away),
        ("only A^+ y is left", only_y),
        ("A^+ y is added to all of x_0", twice_seen),
        ("y is not put in its place", without_y),
        ("is made by half", by_half),
    ],
    "dps_sampler": [
        ("the sign is wrong", guided(shift=lambda x, g, zeta, s: x + zeta * g)),
        ("that of the squared norm", guided(lambda residual: residual.square().sum())),
        ("with respect to the predicted x_0", to_x0),
        ("A is applied to x_t", at_x_t),
    ],
}
TRIED = {
    "repaint_sampler": [
        *WRONG["repaint_sampler"],
        ("the noise of time t", mixing(lambda process, known, t, s, eps: process.add_noise(known, t, eps))),
        ("but has no noise", mixing(lambda process, known, t, s, eps: process.add_noise(known, s, 0 * eps))),
        ("but does not fade", mixing(lambda process, known, t, s, eps: known + float(process.noise(s)) * eps)),
        (
            "as in the published algorithm",
            mixing(lambda p, known, t, s, eps: float(p.signal(s)) * known + float(1 - p.alpha_bar(s)) * eps),
        ),
        ("at the end alone", looped(put_in_at_the_end)),
        ("after the last of the rounds", looped(put_in_last)),
        ("is added to x", looped(added)),
        ("the generated part is lost", looped(hole_lost)),
        ("one round too many", looped(rounds=lambda U, s: U + 1 if s else 1)),
        ("there is no resampling", looped(up=lambda denoiser, x, t, s, rng, begin: begin)),
        ("x_s is taken for x_t", looped(up=lambda denoiser, x, t, s, rng, begin: x)),
        ("one step's alpha_t", going_up(lambda p, t, s: (float(p.alpha(t)) ** 0.5, float(p.beta(t)) ** 0.5))),
        ("does not fade on the way up", going_up(lambda p, t, s: (1, (1 - share(p, t, s)) ** 0.5))),
        ("no noise is added on the way up", going_up(lambda p, t, s: (share(p, t, s) ** 0.5, 0))),
        ("square roots are missing", going_up(lambda p, t, s: (share(p, t, s), 1 - share(p, t, s)))),
        ("root of 1 - alpha", going_up(lambda p, t, s: (share(p, t, s) ** 0.5, 1 - share(p, t, s)))),
        ("of all t steps", going_up(lambda p, t, s: (share(p, t, s) ** 0.5, float(p.noise(t))))),
    ],
    "consistent": [
        *WRONG["consistent"],
        ("the correction alone", correction_alone),
        ("y itself is added", y_itself),
        ("A x_0 itself", A_of_x0_itself),
        ("the rest is lost", range_kept),
        ("y is not used", untouched),
        ("twice", corrected_twice),
        ("clipped", clipped),
        ("A is applied where", A_for_back),
        ("the mean of x_0", mean_of_both),
    ],
    "dps_sampler": [
        *WRONG["dps_sampler"],
        ("is twice that of the norm", guided(shift=lambda x, g, zeta, s: x - 2 * zeta * g)),
        ("half the gradient", guided(shift=lambda x, g, zeta, s: x - 0.5 * zeta * g)),
        ("still has a graph", with_graph),
        ("over the whole batch", guided(lambda residual: residual.norm())),
        ("averaged over the batch", guided(lambda residual: residual.flatten(1).norm(dim=1).mean())),
        ("absolute values", guided(lambda residual: residual.abs().sum())),
        ("by its own norm", guided(shift=by_own_norm)),
        ("zeta is forgotten", guided(shift=lambda x, g, zeta, s: x - g)),
        ("the gradient is not used", guided(shift=lambda x, g, zeta, s: x)),
        ("the last move is left out", guided(shift=lambda x, g, zeta, s: x - zeta * g if s else x)),
    ],
}
