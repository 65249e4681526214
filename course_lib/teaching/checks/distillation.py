"""Lesson 17: progressive distillation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.methods import distillation
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import DENOISER, PICTURES, POINTS, PROCESS

# student_target


def _landing(target: Callable) -> Tensor:
    """The end of one DDIM step from 40 to 20, where the student predicts the target."""
    x0 = on(DENOISER, PICTURES, 40, 30, 20)(target)
    (a, b), (a_s, b_s) = PROCESS.coefficients(40, PICTURES), PROCESS.coefficients(20, PICTURES)
    return a_s * x0 + b_s * (PICTURES - a * x0) / b


student_target = Check(
    "student_target",
    distillation.two_steps,
    cases=[
        Case("two steps from t = 40 by 30 to 20", on(DENOISER, PICTURES, 40, 30, 20)),
        Case("one step with this target lands where the teacher's two do", _landing),
        Case("to the end, s = 0: the picture that the second step predicts", on(DENOISER, PICTURES, 20, 10, 0)),
        Case("the last student of all, from t = T to 0", on(DENOISER, PICTURES, 50, 25, 0)),
        Case("unequal steps, from t = 45 by 44 to 5", on(DENOISER, PICTURES, 45, 44, 5)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS, 40, 30, 20)),
        Case("x_t is left as it was", after(DENOISER, PICTURES, 40, 30, 20)),
    ],
    mistakes={
        "the target is the second step's x_0; one step with it ends elsewhere": {"return": "return second.x0\n    return"},
        "the target is x_s itself; it should be the x_0 that leads there": {"return": "return x_s\n    return"},
        "the teacher is called a second time at x_t, not at the point between": {"x_s =": "second = first\n    x_s ="},
        "the second step is given time t; it starts at the time between": {"first.eps), between)": "first.eps), t)"},
        "the first step goes all the way to s": {"(first.x0, between,": "(first.x0, s,"},
        "b_t / b_s stands where b_s / b_t belongs": {"return": "b, b_s = b_s.clamp(min=1e-9), b\n    return"},
        "what is taken from x_s contains x_0, too: the denominator is not a_s alone": {" - b_s / b * a)": ")"},
        "the noise predicted at the first step is taken out; the student's own is (x_t - a_t x_0) / b_t": {
            "return": "return (x_s - b_s * first.eps) / a_s\n    return"
        },
    },
    hint="x_m = process.add_noise(first.x0, between, first.eps), and again from there to x_s; then solve "
    "x_s = a_s x0 + b_s (x_t - a_t x0) / b_t for x0.",
)

# truncated_snr
A = torch.tensor([0.99, 0.9, 0.75, 0.6, 0.2, 0.0])
B = (1 - A**2).sqrt()

truncated_snr = Check(
    "truncated_snr",
    distillation.truncated_snr,
    cases=[
        Case("where the signal is the stronger: the signal-to-noise ratio", on(A[:3], B[:3])),
        Case("where the noise is the stronger: 1", on(A[3:], B[3:])),
        Case("where no signal is left the weight is not 0", on(torch.zeros(2), torch.ones(2))),
        Case("in the shape that multiplies pictures, (B, 1, 1, 1)", on(A.view(-1, 1, 1, 1), B.view(-1, 1, 1, 1))),
    ],
    mistakes={
        "it is not truncated: without signal the weight is 0, and the last student learns nothing": {".clamp(min=1)": ""},
        "it is cut from above; it should be cut from below": {"min=1": "max=1"},
        "the squares are missing: that is a / b": {".square()": ""},
        "signal and noise are swapped": {"a / b": "b / a"},
        "that is SNR + 1, the paper's other choice": {".clamp(min=1)": " + 1"},
    },
    hint="The signal-to-noise ratio is a^2 / b^2; .clamp(min=1) keeps it from falling below 1.",
)
