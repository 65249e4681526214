"""Lesson 18."""

import torch

from course_lib.samplers import ddim, result


def by_ours(F, x_t, a, b, sigma_data):
    """Multiplied out: no division by a."""
    width = b**2 + a**2 * sigma_data**2
    return (a * sigma_data**2 * x_t + b * sigma_data * width.sqrt() * F) / width


def by_shares(F, x_t, a, b, sigma_data):
    """As the mean of x_0 given x_t, and the rest that is left to say."""
    gain = a * sigma_data**2 / (b**2 + a**2 * sigma_data**2)
    rest = sigma_data * (1 - a * gain).clamp(min=0).sqrt()
    return gain * x_t + rest * F


def by_names(F, x_t, a, b, sigma_data):
    sigma, x = b / a, x_t / a
    return sigma_data**2 / (sigma_data**2 + sigma**2) * x + sigma_data * sigma / torch.sqrt(sigma_data**2 + sigma**2) * F


def not_divided(F, x_t, a, b, sigma_data):
    return by_names(F, x_t * a, a, b, sigma_data)


def by_b(F, x_t, a, b, sigma_data):
    return by_names(F, x_t, torch.ones_like(a), b, sigma_data)


def turned(F, x_t, a, b, sigma_data):
    return by_ours(-F, x_t, a, b, sigma_data)


def free(F, x_t, a, b, sigma_data):
    return F


def of_width_one(F, x_t, a, b, sigma_data):
    return by_ours(F, x_t, a, b, 1.0)


def loss_by_no_grad(student, target, teacher, x_t, t, s, distance):
    with torch.no_grad():
        pred = teacher(x_t, t)
        goal = target(teacher.process.add_noise(pred.x0, s, pred.eps), s).x0
    return distance(student(x_t, t).x0, goal).mean()


def loss_by_the_sampler(student, target, teacher, x_t, t, s, distance):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, s])))
    return sum(distance(student(x_t, t).x0, target(x_s, s).x0.detach())) / len(x_t)


def loss_by_hand(student, target, teacher, x_t, t, s, distance):
    a, b = student.process.coefficients(s, x_t)
    belief = teacher(x_t, t)
    here = student(x_t, t)
    mask = target(a * belief.x0 + b * belief.eps, s)
    return torch.mean(distance(here.x0, mask.x0.detach()))


def both_learn(student, target, teacher, x_t, t, s, distance):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, s])))
    return distance(student(x_t, t).x0, target(x_s, s).x0).mean()


def taught_by_itself(student, target, teacher, x_t, t, s, distance):
    return loss_by_no_grad(student, target, student, x_t, t, s, distance)


def not_stepped(student, target, teacher, x_t, t, s, distance):
    return distance(student(x_t, t).x0, target(x_t, t).x0.detach()).mean()


def wrong_time(student, target, teacher, x_t, t, s, distance):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, s])))
    return distance(student(x_t, t).x0, target(x_s, t).x0.detach()).mean()


def own_target(student, target, teacher, x_t, t, s, distance):
    return loss_by_no_grad(student, student, teacher, x_t, t, s, distance)


def step_by_coefficients(f, x_t, t, s, z):
    a, b = f.process.coefficients(s, x_t)
    return a * f(x_t, t).x0 + b * z


def step_by_alpha_bar(f, x_t, t, s, z):
    bar = float(f.process.alpha_bar(s))
    return bar**0.5 * f(x_t, t).x0 + (1 - bar) ** 0.5 * z


def step_by_add_noise(f, x_t, t, s, z):
    return f.process.add_noise(f(x_t, t).x0, s, z)


RIGHT = {
    "consistency_function": [by_ours, by_shares, by_names],
    "consistency_loss": [loss_by_no_grad, loss_by_the_sampler, loss_by_hand],
    "consistency_step": [step_by_coefficients, step_by_alpha_bar, step_by_add_noise],
}
WRONG = {
    "consistency_function": [
        ("x_t is taken as it is", not_divided),
        ("the noise is our b", by_b),
        ("v with its own sign", turned),
        ("nothing is kept of x_t", free),
        ("sigma_data is forgotten", of_width_one),
    ],
    "consistency_loss": [
        ("the target learns, too", both_learn),
        ("the student's own prediction", taught_by_itself),
        ("no step was made", not_stepped),
        ("is given time t", wrong_time),
        ("older weights are not used", own_target),
    ],
    "consistency_step": [
        ("that is DDIM", lambda f, x, t, s, z: f.process.add_noise(f(x, t).x0, s, f(x, t).eps)),
        ("x_t is noised again", lambda f, x, t, s, z: f.process.add_noise(x, s, z)),
        ("noised back to t", lambda f, x, t, s, z: f.process.add_noise(f(x, t).x0, t, z)),
        ("no noise is added", lambda f, x, t, s, z: f.process.signal(s).float() * f(x, t).x0),
        ("its full size", lambda f, x, t, s, z: f(x, t).x0 + f.process.noise(s).float() * z),
    ],
}
"""For each check, other ways to be right, and typical mistakes with a word that the verdict must contain."""
