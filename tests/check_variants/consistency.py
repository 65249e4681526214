"""Lesson 18."""

import copy

import numpy as np
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


def by_numpy(F, x_t, a, b, sigma_data):
    F, x, a, b = (v.double().numpy() for v in (F, x_t, a, b))
    variance = np.square(b / a) + sigma_data**2
    return sigma_data**2 / variance * x / a + b / a * sigma_data / np.sqrt(variance) * F


def by_angle(F, x_t, a, b, sigma_data):
    """c_skip and c_out / sigma_data are cos^2 and sin of one angle."""
    angle = torch.atan2(b, a * sigma_data)
    return angle.cos() ** 2 * x_t / a + sigma_data * angle.sin() * F


def one_by_one(F, x_t, a, b, sigma_data):
    a, b = (v.expand(len(x_t), *v.shape[1:]) for v in (a, b))
    return torch.stack([by_ours(*row, sigma_data) for row in zip(F, x_t, a, b)])


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


def _shares(x_t, a, b, sigma_data):
    sigma = b / a
    total = sigma**2 + sigma_data**2
    return sigma, sigma_data**2 / total, sigma * sigma_data / total.sqrt()


def as_v(F, x_t, a, b, sigma_data):
    return a * x_t - b * F


def as_noise(F, x_t, a, b, sigma_data):
    return (x_t - b * F) / a


def no_root(F, x_t, a, b, sigma_data):
    sigma = b / a
    return sigma_data**2 / (sigma**2 + sigma_data**2) * x_t / a + sigma * sigma_data / (sigma**2 + sigma_data**2) * F


def no_sigma_data(F, x_t, a, b, sigma_data):
    sigma, skip, out = _shares(x_t, a, b, sigma_data)
    return skip * (x_t / a) + sigma / torch.sqrt(sigma**2 + sigma_data**2) * F


def swapped(F, x_t, a, b, sigma_data):
    _, skip, out = _shares(x_t, a, b, sigma_data)
    return out * (x_t / a) + skip * F


def not_squared(F, x_t, a, b, sigma_data):
    sigma, _, out = _shares(x_t, a, b, sigma_data)
    return sigma_data / (sigma_data + sigma) * (x_t / a) + out * F


def all_divided(F, x_t, a, b, sigma_data):
    return by_names(F / a, x_t, a, b, sigma_data)


def upside_down(F, x_t, a, b, sigma_data):
    sigma = a / b
    skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    out = sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()
    return skip * x_t / a + out * F


def as_published(F, x_t, a, b, sigma_data, epsilon=0.002):
    """With the boundary at their smallest noise, as in their code and in diffusers'."""
    sigma = b / a
    skip = sigma_data**2 / ((sigma - epsilon) ** 2 + sigma_data**2)
    out = sigma_data * (sigma - epsilon) / torch.sqrt(sigma_data**2 + sigma**2)
    return skip * x_t / a + out * F


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


def loss_turned(student, target, teacher, x_t, t, s, distance):
    """A distance has no direction; and every network is called in its own way."""
    pred = teacher(x_t.clone(), t)
    x_s = student.process.add_noise(pred.x0.detach(), s, pred.eps.detach())
    return distance(target(x_s, s).x0.detach(), student(x_t, t).x0).mean()


def loss_in_a_batch(student, target, teacher, x_t, t, s, distance):
    t, s = torch.full((len(x_t),), t), torch.full((len(x_t),), s)
    return loss_by_no_grad(student, target, teacher, x_t, t, s, distance)


def loss_of_a_frozen_copy(student, target, teacher, x_t, t, s, distance):
    frozen = copy.deepcopy(target.net).requires_grad_(False)
    x_s = result(ddim(teacher, x_t, [t, s]))
    goal = type(target)(frozen, target.process, target.view)(x_s, s).x0.detach()
    return distance(student(x_t, t).x0, goal).sum() / x_t.shape[0]


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


@torch.no_grad()
def nothing_learns(student, target, teacher, x_t, t, s, distance):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, s])))
    return distance(student(x_t, t).x0, target(x_s, s).x0).mean()


def roles_exchanged(student, target, teacher, x_t, t, s, distance):
    return loss_by_no_grad(target, student, teacher, x_t, t, s, distance)


def student_at_s(student, target, teacher, x_t, t, s, distance):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, s])))
    return distance(student(x_s, s).x0, target(x_s, s).x0.detach()).mean()


def taught_by_the_target(student, target, teacher, x_t, t, s, distance):
    return loss_by_no_grad(student, target, target, x_t, t, s, distance)


def teacher_at_s(student, target, teacher, x_t, t, s, distance):
    with torch.no_grad():
        pred = teacher(x_t, s)
        goal = target(teacher.process.add_noise(pred.x0, s, pred.eps), s).x0
    return distance(student(x_t, t).x0, goal).mean()


def clean_at_s(student, target, teacher, x_t, t, s, distance):
    with torch.no_grad():
        goal = target(teacher(x_t, t).x0, s).x0
    return distance(student(x_t, t).x0, goal).mean()


def of_noise(student, target, teacher, x_t, t, s, distance):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, s])))
    return distance(student(x_t, t).eps, target(x_s, s).eps.detach()).mean()


def plain_distillation(student, target, teacher, x_t, t, s, distance):
    return distance(student(x_t, t).x0, teacher(x_t, t).x0.detach()).mean()


def against_x_s(student, target, teacher, x_t, t, s, distance):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, s])))
    return distance(student(x_t, t).x0, x_s).mean()


def summed(student, target, teacher, x_t, t, s, distance):
    return len(x_t) * loss_by_hand(student, target, teacher, x_t, t, s, distance)


def each(student, target, teacher, x_t, t, s, distance):
    x_s = result(ddim(teacher, x_t, torch.tensor([t, s])))
    return distance(student(x_t, t).x0, target(x_s, s).x0.detach())


def own_noise(student, target, teacher, x_t, t, s, distance):
    with torch.no_grad():
        eps = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(0))
        goal = target(teacher.process.add_noise(teacher(x_t, t).x0, s, eps), s).x0
    return distance(student(x_t, t).x0, goal).mean()


def step_by_coefficients(f, x_t, t, s, z):
    a, b = f.process.coefficients(s, x_t)
    return a * f(x_t, t).x0 + b * z


def step_by_alpha_bar(f, x_t, t, s, z):
    bar = float(f.process.alpha_bar(s))
    return bar**0.5 * f(x_t, t).x0 + (1 - bar) ** 0.5 * z


def step_by_add_noise(f, x_t, t, s, z):
    return f.process.add_noise(f(x_t, t).x0, s, z)


def step_by_numpy(f, x_t, t, s, z):
    angle = np.arctan2(float(f.process.noise(s)), float(f.process.signal(s)))
    return np.cos(angle) * f(x_t, t).x0.detach().double().numpy() + np.sin(angle) * z.numpy()


def step_in_a_batch(f, x_t, t, s, z):
    t, s = torch.full((len(x_t),), t), torch.full((len(x_t),), s)
    return f.process.add_noise(f(x_t, t).x0, s, z)


def step_from_ddim(f, x_t, t, s, z):
    """DDIM's step, whose noise is exchanged afterwards."""
    pred, b = f(x_t, t), f.process.noise(s)
    return result(ddim(f, x_t, torch.tensor([t, s]))) + b * (z - pred.eps)


def _ab(f, s):
    bar = f.process.alpha_bar(s).float()
    return bar.sqrt(), (1 - bar).sqrt()


def step_without_roots(f, x_t, t, s, z):
    bar = f.process.alpha_bar(s)
    return bar * f(x_t, t).x0 + (1 - bar) * z


def step_of_alpha(f, x_t, t, s, z):
    alpha = f.process.alpha(s)
    return alpha**0.5 * f(x_t, t).x0 + (1 - alpha) ** 0.5 * z


def step_of_full_noise(f, x_t, t, s, z):
    return _ab(f, s)[0] * f(x_t, t).x0 + z


def step_at_s(f, x_t, t, s, z):
    a, b = _ab(f, s)
    return a * f(x_t, s).x0 + b * z


def step_of_one(f, x_t, t, s, z):
    return f.process.add_noise(f(x_t, t).x0, t - 1, z)


def step_exchanged(f, x_t, t, s, z):
    a, b = _ab(f, s)
    return b * f(x_t, t).x0 + a * z


def step_of_the_chain(f, x_t, t, s, z):
    share = f.process.alpha_bar(t) / f.process.alpha_bar(s)
    return share**0.5 * x_t + (1 - share) ** 0.5 * z


def step_clipped(f, x_t, t, s, z):
    return f.process.add_noise(f(x_t, t).x0.clip(-1, 1), s, z)


def step_own_noise(f, x_t, t, s, z):
    return f.process.add_noise(f(x_t, t).x0, s, torch.randn(z.shape, generator=torch.Generator().manual_seed(0)))


RIGHT = {
    "consistency_function": [by_ours, by_shares, by_names, by_numpy, by_angle, one_by_one],
    "consistency_loss": [
        loss_by_no_grad,
        loss_by_the_sampler,
        loss_by_hand,
        loss_turned,
        loss_in_a_batch,
        loss_of_a_frozen_copy,
    ],
    "consistency_step": [
        step_by_coefficients,
        step_by_alpha_bar,
        step_by_add_noise,
        step_by_numpy,
        step_in_a_batch,
        step_from_ddim,
    ],
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
TRIED = {
    "consistency_function": [
        *WRONG["consistency_function"],
        ("that is v-prediction", as_v),
        ("read as the noise", as_noise),
        ("c_out lacks its root", no_root),
        ("c_out lacks sigma_data", no_sigma_data),
        ("have changed places", swapped),
        ("the squares are missing", not_squared),
        ("F is divided by a, too", all_divided),
        ("a / b stands", upside_down),
        ("sigma - 0.002", as_published),
    ],
    "consistency_loss": [
        *WRONG["consistency_loss"],
        ("the student learns nothing", nothing_learns),
        ("have changed roles", roles_exchanged),
        ("is called at x_s, as the target", student_at_s),
        ("the target's own prediction", taught_by_the_target),
        ("ends where it began", teacher_at_s),
        ("without noise", clean_at_s),
        ("the predicted noise is compared", of_noise),
        ("as in plain distillation", plain_distillation),
        ("compared with x_s itself", against_x_s),
        ("the distances are summed", summed),
        ("a distance of its own", each),
        ("", own_noise),
    ],
    "consistency_step": [
        *WRONG["consistency_step"],
        ("the square roots are missing", step_without_roots),
        ("the bar is lost", step_of_alpha),
        ("the noise keeps its full size", step_of_full_noise),
        ("as if x_t lay at s", step_at_s),
        ("to t - 1, whatever s", step_of_one),
        ("have changed places", step_exchanged),
        ("by the forward chain", step_of_the_chain),
        ("is clipped", step_clipped),
        ("returned as it is", lambda f, x, t, s, z: f(x, t).x0),
        ("", step_own_noise),
    ],
}
