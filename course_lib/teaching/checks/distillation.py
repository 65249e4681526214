"""Lesson 17: progressive distillation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import DENOISER, PICTURES, POINTS, PROCESS

# student_target


def _landing(target: Callable) -> Tensor:
    """The end of one DDIM step from 40 to 20, where the student predicts the target."""
    x0 = torch.as_tensor(on(DENOISER, PICTURES, 40, 30, 20)(target))
    (a, b), (a_s, b_s) = PROCESS.coefficients(40, PICTURES), PROCESS.coefficients(20, PICTURES)
    return a_s * x0 + b_s * (PICTURES - a * x0) / b


def _student_target(teacher, x_t, t, between, s):
    """The x_0 whose one step from t to s lands where the teacher's two do. Salimans and Ho 2022, Algorithm 2."""
    process = teacher.process
    first = teacher(x_t, t)
    x_between = process.add_noise(first.x0, between, first.eps)
    second = teacher(x_between, between)
    x_s = process.add_noise(second.x0, s, second.eps)
    (a, b), (a_s, b_s) = process.coefficients(t, x_t), process.coefficients(s, x_t)
    return (x_s - b_s / b * x_t) / (a_s - b_s / b * a)


student_target = Check(
    "student_target",
    _student_target,
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
        "the target is the point between the two steps; it should be the x_0 that leads to x_s": {
            "return": "return x_between\n    return"
        },
        "the target is the teacher's x_0 at x_t, as if the second step started there, too; it starts at the point between": {
            "teacher(x_between, between)": "first"
        },
        "the target is the mean of the teacher's two x_0; it should be the x_0 that leads to x_s": {
            "return": "return (first.x0 + second.x0) / 2\n    return"
        },
        "the second step is given time t; it starts at the time between": {
            "teacher(x_between, between)": "teacher(x_between, t)"
        },
        "the second step starts at x_t with the time between; it starts at the point between": {
            "teacher(x_between, between)": "teacher(x_t, between)"
        },
        "the first step goes all the way to s": {"(first.x0, between,": "(first.x0, s,"},
        "the noise of the first step is used for the second step, too": {"second.eps)": "first.eps)"},
        "b_t / b_s stands where b_s / b_t belongs": {"return": "b, b_s = b_s.clamp(min=1e-9), b\n    return"},
        "b_s alone stands where b_s / b_t belongs": {"return": "b = 1\n    return"},
        "what is taken from x_s contains x_0, too: the denominator is not a_s alone": {" - b_s / b * a)": ")"},
        "the denominator's sign is turned: it is a_s - b_s / b_t a_t": {"(a_s - b_s": "(a_s + b_s"},
        "the numerator's sign is turned: it is x_s - b_s / b_t x_t": {"(x_s - b_s": "(x_s + b_s"},
        "the square roots are missing: signal and noise are sqrt(alpha_bar) and sqrt(1 - alpha_bar)": {
            "return": "a, b, a_s, b_s = a**2, b**2, a_s**2, b_s**2\n    return"
        },
        "the coefficients of the time between stand where those of s belong": {"coefficients(s,": "coefficients(between,"},
        "the target is clipped to [-1, 1]: one step with it ends elsewhere": {
            "return (": "return torch.clamp((",
            "b * a)": "b * a), -1, 1)",
        },
        "the noise predicted at the first step is taken out; the student's own is (x_t - a_t x_0) / b_t": {
            "return": "return (x_s - b_s * first.eps) / a_s\n    return"
        },
    },
    hint="x_m = process.add_noise(first.x0, between, first.eps), and again from there to x_s; then solve "
    "x_s = a_s x0 + b_s (x_t - a_t x0) / b_t for x0.",
)

# truncated_snr
A = torch.tensor([0.99, 0.9, 0.75, 0.6, 0.2, 0.0])
B, T = (1 - A**2).sqrt(), torch.tensor([0.1, 0.3, 0.6, 1.0])


def _truncated_snr(a, b):
    """The signal-to-noise ratio a^2 / b^2, but at least 1. Salimans and Ho 2022, section 4."""
    return (a / b).square().clamp(min=1)


truncated_snr = Check(
    "truncated_snr",
    _truncated_snr,
    cases=[
        Case("where the signal is the stronger: the signal-to-noise ratio", on(A[:3], B[:3])),
        Case("where the noise is the stronger: 1", on(A[3:], B[3:])),
        Case("where no signal is left the weight is not 0", on(torch.zeros(2), torch.ones(2))),
        Case("for any signal and noise, as a flow's, 1 - t and t", on(1 - T, T)),
        Case("in the shape that multiplies pictures, (B, 1, 1, 1)", on(A.view(-1, 1, 1, 1), B.view(-1, 1, 1, 1))),
    ],
    mistakes={
        "it is not truncated: without signal the weight is 0, and the last student learns nothing": {".clamp(min=1)": ""},
        "it is cut from above; it should be cut from below": {"min=1": "max=1"},
        "it is cut from above, at 5 (the min-SNR weight of Hang et al. 2023); here it is cut from below, at 1": {
            "min=1": "max=5"
        },
        "the squares are missing: that is a / b": {".square()": ""},
        "only the signal is squared: the noise's square, its variance, divides": {"(a / b).square()": "(a.square() / b)"},
        "signal and noise are swapped": {"a / b": "b / a"},
        "signal and noise are swapped, and it is not truncated": {"a / b": "b / a", ".clamp(min=1)": ""},
        "the weight is turned over: 1 / max(SNR, 1)": {"return": "return 1 /"},
        "that is the logarithm of the ratio; the ratio itself is asked for": {".clamp(min=1)": ".log()"},
        "that is the logarithm of the truncated ratio; the ratio itself is asked for": {"min=1)": "min=1).log()"},
        "that is SNR + 1, the paper's other choice": {".clamp(min=1)": " + 1"},
        "that is 1 / b^2, which is SNR + 1, the paper's other choice, where a^2 + b^2 = 1": {
            "(a / b).square().clamp(min=1)": "1 / b.square()"
        },
        "all errors in x_0 weigh the same": {"(a / b).square().clamp(min=1)": "torch.ones_like(a)"},
        "that is the signal alone, not its ratio to the noise": {"(a / b).square().clamp(min=1)": "a.square()"},
        "the noise is not used: 1 - a^2 is its square only where a^2 + b^2 = 1": {
            "(a / b).square()": "(a.square() / (1 - a.square()))"
        },
        "one weight is returned for all, their mean; each time has its own": {"min=1)": "min=1).mean()"},
    },
    hint="The signal-to-noise ratio is a^2 / b^2; .clamp(min=1) keeps it from falling below 1.",
)
