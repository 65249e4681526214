"""Lesson 18: consistency models."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from course_lib import samplers
from course_lib.denoisers import Network
from course_lib.methods import distillation
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import PICTURES, POINTS, PROCESS, Spy, Z, affine


def _network(scale: float | Tensor) -> Network:
    return Network(Spy(lambda _, x, time: affine(scale, x.tanh(), time)), deepcopy(PROCESS), "v")


TEACHER, TARGET, STUDENT = map(_network, (0.6, 0.7, 0.9))


def _consistency_function(F, x_t, a, b, sigma_data):
    """c_skip x_t / a + c_out F, at the noise b / a. Song et al. 2023, eq. 5 and appendix C, with epsilon = 0."""
    sigma = b / a
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma**2 + sigma_data**2) ** 0.5
    return c_skip * x_t / a + c_out * F


def _at(*ts: int) -> tuple[Tensor, Tensor]:
    return PROCESS.coefficients(torch.tensor(ts), PICTURES)


ZERO, ONE = torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1, 1)

consistency_function = Check(
    "consistency_function",
    _consistency_function,
    cases=[
        Case("f(x, 0) = x, whatever the network outputs", on(5 * Z, PICTURES, ONE, ZERO, 1.0)),
        Case("f(x, 0) = x, for data of any width", on(5 * Z, PICTURES, ONE, ZERO, 0.5)),
        Case("sigma_data = 1: the network's share", on(Z, 0 * PICTURES, *_at(10, 25, 50), 1.0)),
        Case("sigma_data = 1: what is kept of x_t", on(0 * Z, PICTURES, *_at(10, 25, 50), 1.0)),
        Case("sigma_data = 0.5: the network's share", on(Z, 0 * PICTURES, *_at(10, 25, 50), 0.5)),
        Case("sigma_data = 0.5: what is kept of x_t", on(0 * Z, PICTURES, *_at(10, 25, 50), 0.5)),
        Case("points (B, 2), as well as pictures", on(POINTS + 1, POINTS, *PROCESS.coefficients(30, POINTS), 0.8)),
        Case("F and x_t are left as they were", after(Z, PICTURES, *_at(10, 25, 50), 0.5)),
    ],
    mistakes={
        "x_t is taken as it is: their x has no signal before it, and is our x_t / a": {"x_t / a": "x_t"},
        "the noise is our b: theirs, beside data of full size, is b / a": {"sigma = b / a": "sigma = b", "x_t / a": "x_t"},
        "that is v with its own sign: F is minus v here": {"+ c_out": "- c_out"},
        "nothing is kept of x_t, so nothing holds f(x, 0) at x": {"c_skip * x_t / a + c_out * F": "F"},
        "sigma_data is forgotten: it stands as 1": {"sigma = b": "sigma_data = 1\n    sigma = b"},
        "that is v-prediction: F is minus v here, and sigma_data may be any number": {
            "c_skip * x_t / a + c_out * F": "a * x_t - b * F"
        },
        "F is read as the noise, (x_t - b F) / a": {"c_skip * x_t / a + c_out * F": "(x_t - b * F) / a"},
        "c_out lacks its root": {" ** 0.5": ""},
        "c_out lacks sigma_data, which multiplies sigma": {"sigma * sigma_data /": "sigma /"},
        "c_skip and c_out have changed places": {"c_skip * x_t": "c_out * x_t", "c_out * F": "c_skip * F"},
        "the squares are missing in c_skip": {
            "sigma_data**2 / (sigma**2 + sigma_data**2)\n": "sigma_data / (sigma + sigma_data)\n"
        },
        "c_skip has sigma in its numerator; sigma_data belongs there": {"c_skip = sigma_data**2": "c_skip = sigma**2"},
        "F is divided by a, too; only x_t is": {"c_skip * x_t / a + c_out * F": "(c_skip * x_t + c_out * F) / a"},
        "a / b stands where the noise b / a belongs": {"b / a\n": "a / b\n"},
        "sigma is replaced by sigma - 0.002, their smallest noise; ours is 0": {
            "c_skip = sigma_data**2 / (sigma**2 +": "c_skip = sigma_data**2 / ((sigma - 0.002) ** 2 +",
            "c_out = sigma * sigma_data": "c_out = (sigma - 0.002) * sigma_data",
        },
    },
    hint="sigma = b / a; c_skip = sigma_data^2 / (sigma^2 + sigma_data^2); "
    "c_out = sigma sigma_data / sqrt(sigma^2 + sigma_data^2); c_skip x_t / a + c_out F.",
)


# consistency_loss


def _square(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).flatten(1).square().sum(1)


def _consistency_loss(student, target, teacher, x_t, t, s, distance):
    """The mean distance of the student's x_0 at t from the target's at s, one DDIM step of the teacher earlier."""
    with torch.no_grad():
        pred = teacher(x_t, t)
        x_s = teacher.process.add_noise(pred.x0, s, pred.eps)
        goal = target(x_s, s).x0
    return distance(student(x_t, t).x0, goal).mean()


def _slopes(loss: Callable) -> Tensor:
    """The loss's slope in the scale of the student and of the target."""
    scales = [torch.tensor(s, requires_grad=True) for s in (0.9, 0.7)]
    value = loss(*map(_network, scales), deepcopy(TEACHER), PICTURES.clone(), 40, 30, distillation.pseudo_huber)
    return torch.stack(torch.autograd.grad(value, scales, materialize_grads=True))


consistency_loss = Check(
    "consistency_loss",
    _consistency_loss,
    cases=[
        Case("from t = 40 to 30, squared distance", on(STUDENT, TARGET, TEACHER, PICTURES, 40, 30, _square)),
        Case("any other distance", on(STUDENT, TARGET, TEACHER, PICTURES, 40, 30, distillation.pseudo_huber)),
        Case("the last step, s = 0: the goal is the teacher's x_0", on(STUDENT, STUDENT, TEACHER, PICTURES, 10, 0, _square)),
        Case("from t = T", on(STUDENT, STUDENT, TEACHER, PICTURES, 50, 45, _square)),
        Case("it has a gradient for the student, none for the target", _slopes),
        Case("points (B, 2), as well as pictures", on(STUDENT, TARGET, TEACHER, POINTS, 40, 30, _square)),
        Case("x_t is left as it was", after(STUDENT, TARGET, TEACHER, PICTURES, 40, 30, _square)),
    ],
    mistakes={
        "the target learns, too: without torch.no_grad() student and target may agree on anything": {"no_grad": "enable_grad"},
        "the student's own prediction makes the step to s; the teacher's should": {"teacher(x_t, t)": "student(x_t, t)"},
        "the student learns nothing: its prediction has no gradient": {
            "student(x_t, t).x0, goal": "student(x_t, t).x0.detach(), goal"
        },
        "student and target have changed roles: the target learns, and the student is its goal": {
            "target(x_s, s)": "student(x_s, s)",
            "student(x_t, t)": "target(x_t, t)",
        },
        "the target is called at x_t again: no step was made": {"target(x_s, s)": "target(x_t, t)"},
        "the student is called at x_s, as the target is: it should be called at x_t": {"student(x_t, t)": "student(x_s, s)"},
        "the target's own prediction makes the step to s; the teacher's should": {"teacher(x_t, t)": "target(x_t, t)"},
        "the step ends where it began, at x_t: the teacher is called with time t, and its x_0 is noised to s": {
            "teacher(x_t, t)": "teacher(x_t, s)"
        },
        "x_s is the teacher's x_0, without noise; it should be noised to s": {
            "add_noise(pred.x0, s, pred.eps)": "add_noise(pred.x0, 0, pred.eps)"
        },
        "the predicted noise is compared, not the predicted x_0": {
            "student(x_t, t).x0": "student(x_t, t).eps",
            "target(x_s, s).x0": "target(x_s, s).eps",
        },
        "the student is compared with the teacher's x_0, as in plain distillation: the target is not used": {
            "target(x_s, s).x0": "pred.x0"
        },
        "the target is given time t; its point lies at s": {"target(x_s, s)": "target(x_s, t)"},
        "the student is compared with x_s itself; compare it with the target's prediction of x_0": {"target(x_s, s).x0": "x_s"},
        "the student is its own target: the older weights are not used": {"target(x_s, s)": "student(x_s, s)"},
        "the distances are summed; their mean is asked for": {".mean()": ".sum()"},
        "each picture has a distance of its own; their mean is asked for": {".mean()": ""},
    },
    hint="Inside torch.no_grad(): pred = teacher(x_t, t); x_s = add_noise(pred.x0, s, pred.eps); goal = target(x_s, s).x0. "
    "Then distance(student(x_t, t).x0, goal).mean().",
    shown=(distillation.consistency_loss,),
)


def _consistency_step(f, x_t, t, s, z):
    """The predicted picture, with fresh noise z of time s. Song et al. 2023, Algorithm 1."""
    a, b = f.process.coefficients(s, x_t)
    return a * f(x_t, t).x0 + b * z


consistency_step = Check(
    "consistency_step",
    _consistency_step,
    cases=[
        Case("from t = 50 to 25", on(STUDENT, PICTURES, 50, 25, Z)),
        Case("from t = 40 to 10", on(STUDENT, PICTURES, 40, 10, Z)),
        Case("without noise (z = 0): the picture at its new size", on(STUDENT, PICTURES, 40, 10, 0 * Z)),
        Case("to the end, s = 0: the picture, and no noise", on(STUDENT, PICTURES, 25, 0, Z)),
        Case("points (B, 2), as well as pictures", on(STUDENT, POINTS, 50, 25, POINTS)),
        Case("x_t and z are left as they were", after(STUDENT, PICTURES, 40, 10, Z)),
    ],
    mistakes={
        "the predicted noise is put back: that is DDIM; here the noise is fresh": {"b * z": "b * f(x_t, t).eps"},
        "x_t is noised again, not the picture that was predicted": {"f(x_t, t).x0": "x_t"},
        "it is noised back to t, where it came from; s is where it should go": {"coefficients(s": "coefficients(t"},
        "no noise is added": {" + b * z": ""},
        "the predicted picture is returned as it is; noise it to s": {"a * f(x_t, t).x0 + b * z": "f(x_t, t).x0"},
        "the square roots are missing": {"a * f": "a**2 * f", "b * z": "b**2 * z"},
        "the picture keeps its full size: our process shrinks it by a_s": {"a * f": "f"},
        "the noise keeps its full size: noise of time s has the standard deviation b_s": {"b * z": "z"},
        "the picture is predicted as if x_t lay at s; it lies at t": {"f(x_t, t)": "f(x_t, s)"},
        "the bar is lost: alpha_s stands where alpha_bar_s belongs": {
            "f.process.coefficients(s, x_t)": "f.process.alpha(s).sqrt(), (1 - f.process.alpha(s)).sqrt()"
        },
        "it goes to t - 1, whatever s": {"coefficients(s": "coefficients(t - 1"},
        "signal and noise have changed places": {"a, b =": "b, a ="},
        "x_t is noised further, by the forward chain; predict the picture first": {
            "a, b = f.process.coefficients(s, x_t)": "share = f.process.alpha_bar(t) / f.process.alpha_bar(s)",
            "a * f(x_t, t).x0 + b * z": "share.sqrt() * x_t + (1 - share).sqrt() * z",
        },
        "the predicted picture is clipped to [-1, 1]": {".x0": ".x0.clamp(-1, 1)"},
    },
    hint="f.process.add_noise(f(x_t, t).x0, s, z).",
    shown=(samplers.consistency,),
)
