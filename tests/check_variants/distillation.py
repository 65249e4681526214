"""Lesson 17."""

import numpy as np
import torch

from course_lib.methods import distillation
from course_lib.samplers import ddim, result
from course_lib.teaching.checks.spy import PROCESS


def by_the_sampler(teacher, x_t, t, between, s):
    """The library's own sampler for the two steps, and DDIM's step solved for x_0."""
    x_s = result(ddim(teacher, x_t, torch.tensor([t, between, s])))
    (a, b), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    return (b * x_s - b_s * x_t) / (a_s * b - b_s * a)


def by_both_beliefs(teacher, x_t, t, between, s):
    """Without x_s: the target as a weighted mean of the two pictures that the teacher believed in."""
    (a, b), (a_m, b_m), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, between, s))
    first = teacher(x_t, t)
    second = teacher(a_m * first.x0 + b_m * first.eps, between)
    of_second = a_s - b_s / b_m * a_m
    of_first = b_s / b_m * a_m - b_s / b * a
    return (of_second * second.x0 + of_first * first.x0) / (a_s - b_s / b * a)


def by_steps(teacher, x_t, t, between, s):
    x = x_t.clone()
    for now, then in ((t, between), (between, s)):
        pred = teacher(x, now)
        a, b = teacher.process.coefficients(then, x)
        x = a * pred.x0 + b * pred.eps
    b = teacher.process.noise(t).float()
    ratio = teacher.process.noise(s).float() / b
    return (x - ratio * x_t) / (teacher.process.signal(s).float() - ratio * teacher.process.signal(t).float())


def by_score(teacher, x_t, t, between, s):
    """The two steps through the signal-to-noise ratio: x / a moves by eps times the change of b / a."""
    signal, noise = (lambda time, f=f: f(time).item() for f in (teacher.process.signal, teacher.process.noise))
    x = x_t
    for now, then in ((t, between), (between, s)):
        change = noise(then) / signal(then) - noise(now) / signal(now)
        x = signal(then) * (x / signal(now) + change * teacher(x, now).eps)
    ratio = noise(s) / noise(t)
    return (x - ratio * x_t) / (signal(s) - ratio * signal(t))


def by_numpy(teacher, x_t, t, between, s):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, between, s]))).double().numpy()
    (a, b), (a_s, b_s) = ([float(f(at)) for f in (teacher.process.signal, teacher.process.noise)] for at in (t, s))
    return (b * x_s - b_s * x_t.double().numpy()) / (a_s * b - b_s * a)


def in_a_batch(teacher, x_t, t, between, s):
    t, between, s = (torch.full((len(x_t),), time) for time in (t, between, s))
    return distillation.two_steps(teacher, x_t, t, between, s)


def in_a_chain(teacher, x_t, t, between, s):
    """Through pairs of times, each of the batch its own."""
    x = x_t
    for now, then in ((t, between), (between, s)):
        pred = teacher(x, now)
        x = teacher.process.add_noise(pred.x0, then, pred.eps)
    (a, b), (c, d) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    return (b * x - d * x_t) / (c * b - d * a)


def _two(teacher, x_t, t, between, s):
    first = teacher(x_t, t)
    second = teacher(teacher.process.add_noise(first.x0, between, first.eps), between)
    return first, second, teacher.process.add_noise(second.x0, s, second.eps)


def later_belief(teacher, x_t, t, between, s):
    return _two(teacher, x_t, t, between, s)[1].x0


def landing(teacher, x_t, t, between, s):
    return _two(teacher, x_t, t, between, s)[2]


def asked_twice_at_the_start(teacher, x_t, t, between, s):
    pred = teacher(x_t, t)
    x_s = teacher.process.add_noise(pred.x0, s, pred.eps)
    (a, b), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    return (b * x_s - b_s * x_t) / (a_s * b - b_s * a)


def told_the_wrong_time(teacher, x_t, t, between, s):
    first = teacher(x_t, t)
    second = teacher(teacher.process.add_noise(first.x0, between, first.eps), t)
    x_s = teacher.process.add_noise(second.x0, s, second.eps)
    (a, b), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    return (b * x_s - b_s * x_t) / (a_s * b - b_s * a)


def forgotten_share(teacher, x_t, t, between, s):
    x_s = landing(teacher, x_t, t, between, s)
    (_, b), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    return (x_s - b_s / b * x_t) / a_s


def _solved(teacher, x_t, x_s, t, s):
    (a, b), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    return (x_s - b_s / b * x_t) / (a_s - b_s / b * a)


def called_once(teacher, x_t, t, between, s):
    return teacher(x_t, t).x0


def second_noise(teacher, x_t, t, between, s):
    _, second, x_s = _two(teacher, x_t, t, between, s)
    a_s, b_s = teacher.process.coefficients(s, x_t)
    return (x_s - b_s * second.eps) / a_s


def first_noise(teacher, x_t, t, between, s):
    first, _, x_s = _two(teacher, x_t, t, between, s)
    a_s, b_s = teacher.process.coefficients(s, x_t)
    return (x_s - b_s * first.eps) / a_s


def mean_of_both(teacher, x_t, t, between, s):
    first, second, _ = _two(teacher, x_t, t, between, s)
    return 0.5 * first.x0 + 0.5 * second.x0


def half_way(teacher, x_t, t, between, s):
    pred = teacher(x_t, t)
    a, b = teacher.process.coefficients(between, x_t)
    return a * pred.x0 + b * pred.eps


def ratio_turned_over(teacher, x_t, t, between, s):
    x_s = _two(teacher, x_t, t, between, s)[2]
    (a, b), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    ratio = b / b_s.clamp(min=1e-9)
    return (x_s - ratio * x_t) / (a_s - ratio * a)


def undivided(teacher, x_t, t, between, s):
    x_s = _two(teacher, x_t, t, between, s)[2]
    (a, _), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    return (x_s - b_s * x_t) / (a_s - b_s * a)


def plus(teacher, x_t, t, between, s):
    x_s = _two(teacher, x_t, t, between, s)[2]
    (a, b), (a_s, b_s) = (teacher.process.coefficients(at, x_t) for at in (t, s))
    return (x_s - b_s / b * x_t) / (a_s + b_s / b * a)


def without_roots(teacher, x_t, t, between, s):
    x_s = _two(teacher, x_t, t, between, s)[2]
    bar_t, bar_s = teacher.process.alpha_bar(t).float(), teacher.process.alpha_bar(s).float()
    ratio = (1 - bar_s) / (1 - bar_t)
    return (x_s - ratio * x_t) / (bar_s - ratio * bar_t)


def clipped(teacher, x_t, t, between, s):
    return _solved(teacher, x_t, _two(teacher, x_t, t, between, s)[2], t, s).clamp(-1, 1)


def first_step_too_long(teacher, x_t, t, between, s):
    pred = teacher(x_t, t)
    pred = teacher(teacher.process.add_noise(pred.x0, s, pred.eps), between)
    return _solved(teacher, x_t, teacher.process.add_noise(pred.x0, s, pred.eps), t, s)


def straight_from_x_t(teacher, x_t, t, between, s):
    pred = teacher(x_t, between)
    return _solved(teacher, x_t, teacher.process.add_noise(pred.x0, s, pred.eps), t, s)


def swapped_times(teacher, x_t, t, between, s):
    return by_steps(teacher, x_t, between, t, s)


def by_clamp(a, b):
    return (a * a / (b * b)).clamp(min=1)


def by_maximum(a, b):
    return torch.maximum((a / b) ** 2, torch.ones_like(a))


def by_where(a, b):
    return torch.where(a > b, a.square() / b.square(), 1.0)


def by_python(a, b):
    return torch.tensor([max((x / y) ** 2, 1.0) for x, y in zip(a.flatten().tolist(), b.flatten().tolist())]).view(a.shape)


def by_the_logarithm(a, b):
    return torch.exp(2 * (a.double().log() - b.double().log()).clamp_min(0))


def in_numpy(a, b):
    return np.maximum(np.square(a.numpy() / b.numpy()), 1)


def _loop(step):
    """A halving that makes its loss of `step(student, teacher, x0, times, n, rng)`, whose gradient belongs to the student."""

    def halving(student, teacher, draw, n, optimizer, steps, rng):
        losses, times = [], student.process.times(2 * n)
        for _ in range(steps):
            value = step(student, teacher, draw(rng), times, n, rng)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
        return losses

    halving.__name__ = step.__name__
    return halving


def _noisy(x0, times, n, rng):
    """x_t and its three times."""
    i = 2 * torch.randint(0, n, (len(x0),), generator=rng)
    return PROCESS.add_noise(x0, times[i], torch.randn(x0.shape, generator=rng)), times[i], times[i + 1], times[i + 2]


def by_the_library(student, teacher, x0, times, n, rng):
    return distillation.progressive_loss(student, teacher, x0, n, rng)


def noise_before_times(student, teacher, x0, times, n, rng):
    """The target is detached, without no_grad; the teacher is called by hand."""
    eps = torch.randn(x0.shape, generator=rng)
    i = torch.randint(0, n, (len(x0),), generator=rng)
    t, m, s = times[::2][i], times[1::2][i], times[2::2][i]
    x_t = PROCESS.add_noise(x0, t, eps)
    pred = student(x_t, t)
    (a, b), (c, d) = PROCESS.coefficients(t, x0), PROCESS.coefficients(s, x0)
    first = teacher(x_t, t)
    second = teacher(PROCESS.add_noise(first.x0, m, first.eps), m)
    goal = ((c * second.x0 + d * second.eps - d / b * x_t) / (c - d / b * a)).detach()
    return (torch.maximum(a**2 / b**2, torch.ones_like(a)) * (goal - pred.x0) ** 2).mean()


def larger_of_two_errors(student, teacher, x0, times, n, rng):
    """As in the authors' code: for each, the larger of the mean squared errors in x_0 and in the noise."""
    x_t, *at = _noisy(x0, times, n, rng)
    with torch.no_grad():
        goal = distillation.two_steps(teacher, x_t, *at)
    pred = student(x_t, at[0])
    mse = lambda y, z: (y - z).square().flatten(1).mean(1)
    return torch.maximum(mse(pred.x0, goal), mse(pred.eps, (x_t - pred.a * goal) / pred.b)).mean()


def counted_from_one(student, teacher, x0, times, n, rng):
    """The paper's i in 1 .. N, and the square roots of the weight inside the square."""
    i = 2 * (n - torch.randint(1, n + 1, (len(x0),), generator=rng))
    x_t = PROCESS.add_noise(x0, times[i], torch.randn(x0.shape, generator=rng))
    with torch.no_grad():
        goal = in_a_chain(teacher, x_t, times[i], times[i + 1], times[i + 2])
    pred = student(x_t, times[i])
    return ((pred.a / pred.b).clamp(min=1) * (pred.x0 - goal)).square().mean()


def by_mse_loss(student, teacher, x0, times, n, rng):
    x_t, *at = _noisy(x0, times, n, rng)
    with torch.no_grad():
        goal = distillation.two_steps(teacher, x_t, *at)
    pred = student(x_t, at[0])
    weight = distillation.truncated_snr(pred.a, pred.b).sqrt()
    return torch.nn.functional.mse_loss(weight * pred.x0, weight * goal)


def _halved(change=None, weight=distillation.truncated_snr, of="x0"):
    """A loop with a changed goal, weight or view; `change(student, teacher, x0, x_t, t, between, s)` is its target."""

    def step(student, teacher, x0, times, n, rng):
        x_t, *at = _noisy(x0, times, n, rng)
        with torch.no_grad():
            goal = (change or (lambda s, teacher, x0, x_t, *at: distillation.two_steps(teacher, x_t, *at)))(
                student, teacher, x0, x_t, *at
            )
        pred = student(x_t, at[0])
        return (weight(pred.a, pred.b) * (getattr(pred, of) - goal).square()).mean()

    return _loop(step)


@_loop
def exchanged(student, teacher, x0, times, n, rng):
    x_t, *at = _noisy(x0, times, n, rng)
    with torch.no_grad():
        goal = distillation.two_steps(student, x_t, *at)
    pred = teacher(x_t, at[0])
    return (distillation.truncated_snr(pred.a, pred.b) * (pred.x0 - goal).square()).mean()


@_loop
def stopped_on_the_wrong_side(student, teacher, x0, times, n, rng):
    x_t, *at = _noisy(x0, times, n, rng)
    goal = distillation.two_steps(teacher, x_t, *at)
    with torch.no_grad():
        pred = student(x_t, at[0])
    return (distillation.truncated_snr(pred.a, pred.b) * (pred.x0 - goal).square()).mean()


@_loop
def never_stopped(student, teacher, x0, times, n, rng):
    x_t, *at = _noisy(x0, times, n, rng)
    pred, goal = student(x_t, at[0]), distillation.two_steps(teacher, x_t, *at)
    return (distillation.truncated_snr(pred.a, pred.b) * (pred.x0 - goal).square()).mean()


@_loop
def teachers_grid(student, teacher, x0, times, n, rng):
    i = torch.randint(0, 2 * n - 1, (len(x0),), generator=rng)
    x_t = PROCESS.add_noise(x0, times[i], torch.randn(x0.shape, generator=rng))
    with torch.no_grad():
        goal = distillation.two_steps(teacher, x_t, times[i], times[i + 1], times[i + 2])
    pred = student(x_t, times[i])
    return (distillation.truncated_snr(pred.a, pred.b) * (pred.x0 - goal).square()).mean()


@_loop
def without_the_factor_two(student, teacher, x0, times, n, rng):
    i = torch.randint(0, n, (len(x0),), generator=rng)
    x_t = PROCESS.add_noise(x0, times[i], torch.randn(x0.shape, generator=rng))
    with torch.no_grad():
        goal = distillation.two_steps(teacher, x_t, times[i], times[i + 1], times[i + 2])
    pred = student(x_t, times[i])
    return (distillation.truncated_snr(pred.a, pred.b) * (pred.x0 - goal).square()).mean()


@_loop
def one_time_for_all(student, teacher, x0, times, n, rng):
    i = 2 * int(torch.randint(0, n, (1,), generator=rng))
    x_t = PROCESS.add_noise(x0, times[i], torch.randn(x0.shape, generator=rng))
    at = [times[i + k].expand(len(x0)) for k in range(3)]
    with torch.no_grad():
        goal = distillation.two_steps(teacher, x_t, *at)
    pred = student(x_t, at[0])
    return (distillation.truncated_snr(pred.a, pred.b) * (pred.x0 - goal).square()).mean()


@_loop
def told_where_it_ends(student, teacher, x0, times, n, rng):
    x_t, *at = _noisy(x0, times, n, rng)
    with torch.no_grad():
        goal = distillation.two_steps(teacher, x_t, *at)
    pred = student(x_t, at[2])
    a, b = PROCESS.coefficients(at[0], x_t)
    return (distillation.truncated_snr(a, b) * (pred.x0 - goal).square()).mean()


def gathered_gradients(student, teacher, draw, n, optimizer, steps, rng):
    losses = []
    for _ in range(steps):
        value = distillation.progressive_loss(student, teacher, draw(rng), n, rng)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return torch.tensor(losses)


def last_loss_alone(student, teacher, draw, n, optimizer, steps, rng):
    return _loop(by_the_library)(student, teacher, draw, n, optimizer, steps, rng)[-1]


RIGHT = {
    "halving": [
        *map(_loop, (by_the_library, noise_before_times, larger_of_two_errors, counted_from_one, by_mse_loss)),
        _halved(),
    ],
    "student_target": [
        distillation.two_steps,
        by_the_sampler,
        by_both_beliefs,
        by_steps,
        by_score,
        by_numpy,
        in_a_batch,
    ],
    "truncated_snr": [
        distillation.truncated_snr,
        by_clamp,
        by_maximum,
        by_where,
        by_python,
        by_the_logarithm,
        in_numpy,
    ],
}
WRONG = {
    "halving": [
        ("have changed places", exchanged),
        ("on the wrong side", stopped_on_the_wrong_side),
        ("a stop-gradient is missing", never_stopped),
        ("counts the teacher's steps", teachers_grid),
        ("the factor 2 is missing", without_the_factor_two),
        ("the weight is missing", _halved(weight=lambda a, b: 1)),
        ("compared with the data", _halved(lambda student, teacher, x0, *rest: x0)),
    ],
    "student_target": [
        ("the second step's x_0", later_belief),
        ("the target is x_s itself", landing),
        ("as if the second step started there", asked_twice_at_the_start),
        ("is given time t", told_the_wrong_time),
        ("the denominator is not a_s alone", forgotten_share),
    ],
    "truncated_snr": [
        ("it is not truncated", lambda a, b: (a / b) ** 2),
        ("cut from above", lambda a, b: torch.minimum((a / b) ** 2, torch.ones_like(a))),
        ("the squares are missing", lambda a, b: torch.maximum(a / b, torch.ones_like(a))),
        ("swapped", lambda a, b: torch.maximum((b / a) ** 2, torch.ones_like(a))),
        ("SNR + 1", lambda a, b: (a**2 + b**2) / b**2),
    ],
}
"""For each check, other ways to be right, and typical mistakes with a word that the verdict must contain."""
TRIED = {
    "halving": [
        *WRONG["halving"],
        ("student's own two steps", _halved(lambda student, teacher, x0, x_t, *at: distillation.two_steps(student, x_t, *at))),
        ("without signal it is 0", _halved(weight=lambda a, b: (a / b) ** 2)),
        ("which is an x_0", _halved(of="v")),
        ("one t is drawn", one_time_for_all),
        ("", told_where_it_ends),
        ("zero_grad() is missing", gathered_gradients),
        ("the loss of the last step", last_loss_alone),
        ("", _halved(lambda student, teacher, x0, x_t, *at: teacher(x_t, at[0]).x0)),
    ],
    "student_target": [
        *WRONG["student_target"],
        ("the teacher's x_0 at x_t", called_once),
        ("the second step's x_0", second_noise),
        ("the noise predicted at the first step", first_noise),
        ("the mean of the teacher's two", mean_of_both),
        ("the point between the two steps", half_way),
        ("b_t / b_s stands", ratio_turned_over),
        ("b_s alone stands", undivided),
        ("the denominator's sign", plus),
        ("the square roots are missing", without_roots),
        ("clipped", clipped),
        ("all the way to s", first_step_too_long),
        ("starts at x_t with the time between", straight_from_x_t),
        ("", swapped_times),
    ],
    "truncated_snr": [
        *WRONG["truncated_snr"],
        ("it is not truncated", lambda a, b: torch.clamp(a**2 / b**2, min=0)),
        ("the squares are missing", lambda a, b: (a / b).clamp(min=1)),
        ("only the signal is squared", lambda a, b: torch.clamp(a**2 / b, min=1)),
        ("min-SNR", lambda a, b: ((a / b) ** 2).clamp(max=5)),
        ("turned over", lambda a, b: torch.minimum(b**2 / a**2, torch.ones_like(a))),
        ("that is the logarithm of the ratio", lambda a, b: 2 * torch.log(a / b)),
        ("the truncated ratio", lambda a, b: torch.log((a / b) ** 2).clamp(min=0)),
        ("all errors in x_0 weigh the same", lambda a, b: torch.ones(a.shape)),
        ("the signal alone", lambda a, b: a * a),
        ("that is 1 / b^2", lambda a, b: b**-2),
        ("the noise is not used", lambda a, b: torch.clamp(a**2 / (1 - a**2), min=1.0)),
        ("one weight is returned", lambda a, b: by_clamp(a, b).mean()),
        ("and it is not truncated", lambda a, b: (b / a) ** 2),
        ("", lambda a, b: max(((a / b) ** 2).max(), torch.tensor(1.0))),
    ],
}
