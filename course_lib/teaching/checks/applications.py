"""Lesson 19: applications."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.methods import editing
from course_lib.process import DDPM, Process, seeded
from course_lib.schedules import linear_beta
from course_lib.teaching.checks.check import Case, Check, after, on

PROCESS = DDPM(linear_beta(50, end=0.02))
X, KNOWN, EPS = torch.randn(3, 3, 2, 4, 4, generator=seeded(1))
KEEP = (torch.rand(1, 2, 4, 4, generator=seeded(2)) > 0.5).float()
POINTS = torch.randn(3, 6, 2, generator=seeded(3))


# inpaint_step


def _inpaint_step(process: Process, x_s: Tensor, known: Tensor, keep: Tensor, s: int, eps: Tensor) -> Tensor:
    """x_s with the known pixels, as noisy as x_s is, in their place (Lugmayr et al. 2022, eq. 8)."""
    return keep * process.add_noise(known, s, eps) + (1 - keep) * x_s


inpaint_step = Check(
    "inpaint_step",
    _inpaint_step,
    cases=[
        Case("in the middle, s = 20, half of the pixels known", on(PROCESS, X, KNOWN, KEEP, 20, EPS)),
        Case("at the end, s = 0: the known pixels stand there themselves", on(PROCESS, X, KNOWN, KEEP, 0, EPS)),
        Case("nothing known: x_s stays", on(PROCESS, X, KNOWN, 0 * KEEP, 20, EPS)),
        Case("all known: x_s plays no part", on(PROCESS, X, KNOWN, 0 * KEEP + 1, 20, EPS)),
        Case("points (B, 2), one coordinate known", on(PROCESS, *POINTS[:2], torch.tensor([[1.0, 0]]), 35, POINTS[2])),
        Case("the arguments are left as they were", after(PROCESS, X, KNOWN, KEEP, 20, EPS)),
    ],
    mistakes={
        "the known picture goes in clean; it should be as noisy as the pictures that the network was trained on at s": {
            "process.add_noise(known, s, eps)": "known"
        },
        "the mask is turned: what should be kept is painted, and the rest is kept": {"return": "keep = 1 - keep; return"},
        "noise is added, but the known picture does not fade: it must be multiplied by the signal": {
            "process.add_noise(known, s, eps)": "(known + process.noise(s).float() * eps)"
        },
        "the known picture fades, but has no noise": {", eps)": ", 0 * eps)"},
        "the new part is noised, too; x_s is as noisy as it should be": {"* x_s": "* process.add_noise(x_s, s, eps)"},
    },
    hint="keep * process.add_noise(known, s, eps) + (1 - keep) * x_s.",
    shown=(editing.repaint,),
)


# noised_further


def _in_two_moves(fn: Callable) -> Tensor:
    """The factors of x, and of eps, from 10 to 20 and on to 40."""
    one, none = torch.ones(1, 2), torch.zeros(1, 2)
    of_x = on(PROCESS, on(PROCESS, one, 10, 20, none)(fn), 20, 40, none)(fn)
    return torch.cat([of_x, on(PROCESS, none, 10, 20, one)(fn)])


noised_further = Check(
    "noised_further",
    editing.noised_further,
    cases=[
        Case("from s = 20 to t = 40", on(PROCESS, X, 20, 40, EPS)),
        Case("one step of the chain, from 20 to 21", on(PROCESS, X, 20, 21, EPS)),
        Case("from a clean picture, s = 0: the jump of lesson 01", on(PROCESS, X, 0, 30, EPS)),
        Case("two short moves are one long move", _in_two_moves),
        Case("points (B, 2)", on(PROCESS, POINTS[0], 5, 50, POINTS[1])),
    ],
    mistakes={
        "x_s is treated as a clean picture: alpha_bar_t is not divided by alpha_bar_s": {" / process.alpha_bar(s)": ""},
        "x_s does not fade: it must be multiplied by sqrt(alpha_bar_t / alpha_bar_s)": {"alpha.sqrt().to(x.dtype) * x": "x"},
        "the square roots are missing": {"alpha.sqrt()": "alpha", "(1 - alpha).sqrt()": "(1 - alpha)"},
        "the noise is that of all t steps; s of them are in x_s already": {"(1 - alpha)": "(1 - process.alpha_bar(t))"},
        "only one step's alpha_t is taken; there are t - s of them": {"alpha_bar(t) / process.alpha_bar(s)": "alpha(t)"},
    },
    hint="alpha = alpha_bar(t) / alpha_bar(s); sqrt(alpha) x_s + sqrt(1 - alpha) eps.",
)


# consistent

HALF, SOFT = editing.shrunk(2), editing.blurred(1.0)
HALVED = on(X, torch.randn(3, 2, 2, 2, generator=seeded(4)), HALF.A, HALF.back)


def _consistent(x0: Tensor, y: Tensor, A: Callable, back: Callable) -> Tensor:
    """x_0 with its measurement replaced by y (Wang et al. 2023, eq. 11)."""
    return x0 - back(A(x0) - y)


consistent = Check(
    "consistent",
    _consistent,
    cases=[
        Case("a picture, and what it should be when halved", HALVED),
        Case("its measurement is y", lambda fn: HALF.A(HALVED(fn))),
        Case("what A does not measure is left as it was", lambda fn: (new := HALVED(fn)) - HALF.back(HALF.A(new))),
        Case("a picture that measures y already is left alone", on(X, HALF.A(X), HALF.A, HALF.back)),
        Case("a blur", on(X, SOFT.A(KNOWN), SOFT.A, SOFT.back)),
    ],
    mistakes={
        "the correction has the wrong sign: it leads away from y": {"x0 -": "x0 +"},
        "only A^+ y is left: what A does not measure is lost": {"x0 - back(A(x0) - y)": "back(y)"},
        "A^+ y is added to all of x_0: what A measures of x_0 must be removed first": {"- back(A(x0) - y)": "+ back(y)"},
        "what A measures is removed, but y is not put in its place": {" - y": ""},
        "the correction is made by half": {"- y)": "- y) / 2"},
    },
    hint="x0 - back(A(x0) - y).",
    shown=(editing.Consistent,),
)
