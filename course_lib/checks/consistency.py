"""Lesson 18: consistency models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import distillation, samplers
from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import Denoiser, Network
from course_lib.process import DDPM
from course_lib.schedules import linear_beta

PROCESS = DDPM(linear_beta(50, end=0.02))
PICTURES = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1))
POINTS = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))
Z = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(3))


def _network(scale: float, view: str = "v") -> Network:
    return Network(lambda x, time: scale * x.tanh() + time.view(-1, *[1] * (x.ndim - 1)) - 0.3, PROCESS, view)


TEACHER, STUDENT = _network(0.6), _network(0.9)


# consistency_function


def _function_with(
    skip=lambda a, b, s: a * s**2 / (b**2 + a**2 * s**2),
    out=lambda a, b, s: b * s / (b**2 + a**2 * s**2) ** 0.5,
) -> Callable:
    """consistency_function with other coefficients."""

    def consistency_function(F, x_t, a, b, sigma_data):
        return skip(a, b, sigma_data) * x_t + out(a, b, sigma_data) * F

    return consistency_function


def _reference_function(F: Tensor, x_t: Tensor, a: Tensor, b: Tensor, sigma_data: float) -> Tensor:
    """f(x_t, t) = c_skip x_t / a + c_out F, at the noise b / a (Song et al. 2023, eq. 5 and appendix C, with epsilon = 0)."""
    sigma = b / a
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma**2 + sigma_data**2) ** 0.5
    return c_skip * x_t / a + c_out * F


def _at(*ts: int) -> tuple[Tensor, Tensor]:
    return PROCESS.coefficients(torch.tensor(ts), PICTURES)


ZERO, ONE = torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1, 1)

consistency_function = Check(
    "consistency_function",
    _reference_function,
    cases=[
        Case("f(x, 0) = x, whatever the network says", on(5 * Z, PICTURES, ONE, ZERO, 1.0)),
        Case("f(x, 0) = x, for data of any width", on(5 * Z, PICTURES, ONE, ZERO, 0.5)),
        Case("sigma_data = 1: the network's share", on(Z, 0 * PICTURES, *_at(10, 25, 50), 1.0)),
        Case("sigma_data = 1: what is kept of x_t", on(0 * Z, PICTURES, *_at(10, 25, 50), 1.0)),
        Case("sigma_data = 0.5: the network's share", on(Z, 0 * PICTURES, *_at(10, 25, 50), 0.5)),
        Case("sigma_data = 0.5: what is kept of x_t", on(0 * Z, PICTURES, *_at(10, 25, 50), 0.5)),
    ],
    mistakes=[
        (
            "x_t is taken as it is: their x has no signal before it, and is our x_t / a",
            _function_with(skip=lambda a, b, s: s**2 / ((b / a) ** 2 + s**2)),
        ),
        (
            "the noise is our b: theirs, beside data of full size, is b / a",
            _function_with(skip=lambda a, b, s: s**2 / (b**2 + s**2), out=lambda a, b, s: b * s / (b**2 + s**2) ** 0.5),
        ),
        (
            "that is v with its own sign: F is minus v here",
            _function_with(out=lambda a, b, s: -b * s / (b**2 + a**2 * s**2) ** 0.5),
        ),
        (
            "nothing is kept of x_t, so nothing holds f(x, 0) at x",
            _function_with(skip=lambda a, b, s: 0, out=lambda a, b, s: 1),
        ),
        ("sigma_data is forgotten: it stands as 1", _function_with(skip=lambda a, b, s: a, out=lambda a, b, s: b)),
        (
            "c_out lacks its root",
            _function_with(out=lambda a, b, s: a * b * s / (b**2 + a**2 * s**2)),
        ),
    ],
    hint="sigma = b / a; c_skip = sigma_data^2 / (sigma^2 + sigma_data^2); "
    "c_out = sigma sigma_data / sqrt(sigma^2 + sigma_data^2); c_skip x_t / a + c_out F.",
)


# consistency_loss


def _square(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).flatten(1).square().sum(1)


def _loss_with(
    to=lambda pred, process, s, x_t: process.add_noise(pred.x0, s, pred.eps),
    said=lambda student, x, t: student(x, t).x0,
    goal=lambda target, student, x_s, x_t, t, s: target(x_s, s).x0.detach(),
    reduce=lambda d: d.mean(),
    knows=lambda teacher, student, x_t, t: teacher(x_t, t),
) -> Callable:
    """consistency_loss with another x_s, another goal, or another mean."""

    def consistency_loss(student, target, teacher, x_t, t, s, distance):
        x_s = to(knows(teacher, student, x_t, t), student.process, s, x_t)
        return reduce(distance(said(student, x_t, t), goal(target, student, x_s, x_t, t, s)))

    return consistency_loss


def _reference_loss(student: Denoiser, target: Denoiser, teacher: Denoiser, x_t, t: int, s: int, distance) -> Tensor:
    """How far the student's picture at t is from the target's at s, one DDIM step of the teacher earlier."""
    return _loss_with()(student, target, teacher, x_t, t, s, distance)


def _slopes(loss: Callable) -> Tensor:
    """What student and target would learn: the loss's slope in the scale of each."""
    scales = [torch.tensor(s, requires_grad=True) for s in (0.9, 0.7)]
    value = loss(*map(_network, scales), TEACHER, PICTURES.clone(), 40, 30, distillation.pseudo_huber)
    slopes = torch.autograd.grad(value, scales, allow_unused=True)
    return torch.stack([torch.zeros(()) if slope is None else slope for slope in slopes])


consistency_loss = Check(
    "consistency_loss",
    _reference_loss,
    cases=[
        Case("from t = 40 to 30, squared distance", on(STUDENT, _network(0.7), TEACHER, PICTURES, 40, 30, _square)),
        Case(
            "any distance: the pseudo-Huber", on(STUDENT, _network(0.7), TEACHER, PICTURES, 40, 30, distillation.pseudo_huber)
        ),
        Case(
            "the last step, s = 0: the teacher's own picture is the goal",
            on(STUDENT, STUDENT, TEACHER, PICTURES, 10, 0, _square),
        ),
        Case("from t = T, where a guess is worth most", on(STUDENT, STUDENT, TEACHER, PICTURES, 50, 45, _square)),
        Case("the student learns from it, the target does not", _slopes),
        Case("points (B, 2), as well as pictures", on(STUDENT, _network(0.7), TEACHER, POINTS, 40, 30, _square)),
    ],
    mistakes=[
        (
            "the target learns, too: without torch.no_grad() both ends run to meet, and may meet anywhere",
            _loss_with(goal=lambda target, student, x_s, x_t, t, s: target(x_s, s).x0),
        ),
        (
            "the student's own belief makes the step to s; the teacher's should",
            _loss_with(knows=lambda teacher, student, x_t, t: student(x_t, t)),
        ),
        (
            "the target is asked at x_t again: nothing was stepped",
            _loss_with(goal=lambda target, student, x_s, x_t, t, s: target(x_t, t).x0.detach()),
        ),
        (
            "the target is told time t; its point lies at s",
            _loss_with(goal=lambda target, student, x_s, x_t, t, s: target(x_s, t).x0.detach()),
        ),
        (
            "the student is held against x_s itself; it should be against the picture that the target sees there",
            _loss_with(goal=lambda target, student, x_s, x_t, t, s: x_s.detach()),
        ),
        (
            "the student plays the target, too: the older weights are not used",
            _loss_with(goal=lambda target, student, x_s, x_t, t, s: student(x_s, s).x0.detach()),
        ),
        ("the distances are summed; their mean is asked for", _loss_with(reduce=lambda d: d.sum())),
    ],
    hint="Inside torch.no_grad(): pred = teacher(x_t, t); x_s = add_noise(pred.x0, s, pred.eps); goal = target(x_s, s).x0. "
    "Then distance(student(x_t, t).x0, goal).mean().",
    shown=(distillation.consistency_loss,),
)


# consistency_step


def _step_with(
    clean=lambda pred, x_t: pred.x0,
    noise=lambda pred, z: z,
    at=lambda t, s: s,
    mix=lambda process, x0, t, z: process.add_noise(x0, t, z),
) -> Callable:
    def consistency_step(f, x_t, t, s, z):
        pred = f(x_t, t)
        return mix(f.process, clean(pred, x_t), at(t, s), noise(pred, z))

    return consistency_step


def _reference_step(f: Denoiser, x_t: Tensor, t: int, s: int, z: Tensor) -> Tensor:
    """Jump to the picture, and noise it afresh to time s (Song et al. 2023, Algorithm 1)."""
    return _step_with()(f, x_t, t, s, z)


def _unsquared(process: DDPM, x0: Tensor, t: int, z: Tensor) -> Tensor:
    a, b = process.coefficients(t, x0)
    return a**2 * x0 + b**2 * z


def _forgot_signal(process: DDPM, x0: Tensor, t: int, z: Tensor) -> Tensor:
    return x0 + process.coefficients(t, x0)[1] * z


consistency_step = Check(
    "consistency_step",
    _reference_step,
    cases=[
        Case("from t = 50 to 25", on(STUDENT, PICTURES, 50, 25, Z)),
        Case("from t = 40 to 10", on(STUDENT, PICTURES, 40, 10, Z)),
        Case("without noise (z = 0): the picture at its new size", on(STUDENT, PICTURES, 40, 10, 0 * Z)),
        Case("to the end, s = 0: the picture, and no noise", on(STUDENT, PICTURES, 25, 0, Z)),
        Case("points (B, 2), as well as pictures", on(STUDENT, POINTS, 50, 25, POINTS)),
    ],
    mistakes=[
        ("the believed noise is put back: that is DDIM; here the noise is fresh", _step_with(noise=lambda pred, z: pred.eps)),
        ("x_t is noised again, not the picture that it was taken for", _step_with(clean=lambda pred, x_t: x_t)),
        ("it is noised back to t, where it came from; s is where it should go", _step_with(at=lambda t, s: t)),
        ("no noise is added", _step_with(noise=lambda pred, z: 0 * z)),
        ("the square roots are missing", _step_with(mix=_unsquared)),
        ("the picture keeps its full size: our process shrinks it by a_s", _step_with(mix=_forgot_signal)),
    ],
    hint="f.process.add_noise(f(x_t, t).x0, s, z).",
    shown=(samplers.consistency,),
)
