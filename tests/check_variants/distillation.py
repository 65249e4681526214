"""Lesson 17."""

import torch

from course_lib.samplers import ddim, result


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


def by_clamp(a, b):
    return (a * a / (b * b)).clamp(min=1)


def by_maximum(a, b):
    return torch.maximum((a / b) ** 2, torch.ones_like(a))


def by_where(a, b):
    return torch.where(a > b, a.square() / b.square(), 1.0)


RIGHT = {
    "student_target": [by_the_sampler, by_both_beliefs, by_steps],
    "truncated_snr": [by_clamp, by_maximum, by_where],
}
WRONG = {
    "student_target": [
        ("the second step's x_0", later_belief),
        ("the target is x_s itself", landing),
        ("a second time at x_t", asked_twice_at_the_start),
        ("is given time t", told_the_wrong_time),
        ("the denominator is not a_s alone", forgotten_share),
    ],
    "truncated_snr": [
        ("it is not truncated", lambda a, b: (a / b) ** 2),
        ("cut from above", lambda a, b: torch.minimum((a / b) ** 2, torch.ones_like(a))),
        ("the squares are missing", lambda a, b: torch.maximum(a / b, torch.ones_like(a))),
        ("swapped", lambda a, b: torch.maximum((b / a) ** 2, torch.ones_like(a))),
        ("SNR + 1", lambda a, b: 1 / b**2),
    ],
}
"""For each check, other ways to be right, and typical mistakes with a word that the verdict must contain."""
