"""Lesson 17: progressive distillation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import distillation
from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import Denoiser, Network
from course_lib.process import DDPM
from course_lib.schedules import linear_beta

PROCESS = DDPM(linear_beta(50, end=0.02))
PICTURES = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1))
POINTS = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))
TEACHER = Network(lambda x, time: 0.6 * x.tanh() + time.view(-1, *[1] * (x.ndim - 1)) - 0.3, PROCESS)


# student_target


def _target_with(
    to=lambda between, s: between,
    asked=lambda x_t, middle, t, between: (middle, between),
    goal=lambda x_s, second, first, x_t, a, b, a_s, b_s: (x_s - b_s / b * x_t) / (a_s - b_s / b * a),
) -> Callable:
    """student_target whose first step goes elsewhere, whose second asks elsewhere, or which makes another target of it all."""

    def student_target(teacher, x_t, t, between, s):
        process = teacher.process
        first = teacher(x_t, t)
        second = teacher(*asked(x_t, process.add_noise(first.x0, to(between, s), first.eps), t, between))
        x_s = process.add_noise(second.x0, s, second.eps)
        return goal(x_s, second, first, x_t, *process.coefficients(t, x_t), *process.coefficients(s, x_t))

    return student_target


def _reference_target(teacher: Denoiser, x_t: Tensor, t: int, between: int, s: int) -> Tensor:
    """The x_0 whose one step from t to s lands where the teacher's two do."""
    return distillation.two_steps(teacher, x_t, t, between, s)


def _landing(target: Callable) -> Tensor:
    """Where the student that believes the target lands, by one DDIM step from 40 to 20."""
    x0 = target(TEACHER, PICTURES.clone(), 40, 30, 20)
    (a, b), (a_s, b_s) = PROCESS.coefficients(40, PICTURES), PROCESS.coefficients(20, PICTURES)
    return a_s * x0 + b_s * (PICTURES - a * x0) / b


def _x_t_after(target: Callable) -> Tensor:
    x_t = PICTURES.clone()
    target(TEACHER, x_t, 40, 30, 20)
    return x_t


student_target = Check(
    "student_target",
    _reference_target,
    cases=[
        Case("two steps from t = 40 by 30 to 20", on(TEACHER, PICTURES, 40, 30, 20)),
        Case("one step with this target lands where the teacher's two do", _landing),
        Case("to the end, s = 0: the picture that the second step predicts", on(TEACHER, PICTURES, 20, 10, 0)),
        Case("the last student of all, from t = T to 0", on(TEACHER, PICTURES, 50, 25, 0)),
        Case("unequal steps, from t = 45 by 44 to 5", on(TEACHER, PICTURES, 45, 44, 5)),
        Case("points (B, 2), as well as pictures", on(TEACHER, POINTS, 40, 30, 20)),
        Case("x_t is left as it was", _x_t_after),
    ],
    mistakes=[
        (
            "the target is what the teacher believes after its first step; one step from t with it lands elsewhere",
            _target_with(goal=lambda x_s, second, *rest: second.x0),
        ),
        ("the target is x_s itself; it should be the x_0 that leads there", _target_with(goal=lambda x_s, *rest: x_s)),
        (
            "the teacher is asked a second time at x_t, not at the point between",
            _target_with(asked=lambda x_t, middle, t, between: (x_t, t)),
        ),
        (
            "the second step is told time t; it starts at the time between",
            _target_with(asked=lambda x, middle, t, m: (middle, t)),
        ),
        ("the first step goes all the way to s", _target_with(to=lambda between, s: s)),
        (
            "b_t / b_s stands where b_s / b_t belongs",
            _target_with(
                goal=lambda x_s, second, first, x_t, a, b, a_s, b_s: (
                    (x_s - b / b_s.clamp(min=1e-9) * x_t) / (a_s - b / b_s.clamp(min=1e-9) * a)
                )
            ),
        ),
        (
            "the noise is taken from x_s, but what of the picture goes with it is forgotten: the denominator is not a_s alone",
            _target_with(goal=lambda x_s, second, first, x_t, a, b, a_s, b_s: (x_s - b_s / b * x_t) / a_s),
        ),
        (
            "the noise believed at the second step is taken out; the student's own is (x_t - a_t x_0) / b_t",
            _target_with(goal=lambda x_s, second, first, x_t, a, b, a_s, b_s: (x_s - b_s * first.eps) / a_s),
        ),
    ],
    hint="x_m = process.add_noise(first.x0, between, first.eps), and again from there to x_s; then solve "
    "x_s = a_s x0 + b_s (x_t - a_t x0) / b_t for x0.",
    shown=(distillation.two_steps,),
)


# truncated_snr

A = torch.tensor([0.99, 0.9, 0.75, 0.6, 0.2, 0.0])
B = (1 - A**2).sqrt()


def _reference_weight(a: Tensor, b: Tensor) -> Tensor:
    """max(a^2 / b^2, 1)."""
    return distillation.truncated_snr(a, b)


truncated_snr = Check(
    "truncated_snr",
    _reference_weight,
    cases=[
        Case("where the signal is the stronger: the signal-to-noise ratio", on(A[:3], B[:3])),
        Case("where the noise is the stronger: 1", on(A[3:], B[3:])),
        Case("where no signal is left the weight is not 0", on(torch.zeros(2), torch.ones(2))),
        Case("in the shape that multiplies pictures, (B, 1, 1, 1)", on(A.view(-1, 1, 1, 1), B.view(-1, 1, 1, 1))),
    ],
    mistakes=[
        ("it is not truncated: without signal the weight is 0, and the last student learns nothing", lambda a, b: a**2 / b**2),
        ("it is cut from above; it should be cut from below", lambda a, b: (a**2 / b**2).clamp(max=1)),
        ("the squares are missing: that is a / b", lambda a, b: (a / b).clamp(min=1)),
        ("signal and noise are swapped", lambda a, b: (b**2 / a**2).clamp(min=1)),
        ("that is SNR + 1, the paper's other choice", lambda a, b: a**2 / b**2 + 1),
    ],
    hint="The signal-to-noise ratio is a^2 / b^2; .clamp(min=1) keeps it from falling below 1.",
    shown=(distillation.truncated_snr,),
)
