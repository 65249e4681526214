"""Lesson 19: applications."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.methods import editing
from course_lib.process import DDPM, seeded
from course_lib.schedules import linear_beta
from course_lib.teaching.checks.check import Case, Check, after, on

PROCESS = DDPM(linear_beta(50, end=0.02))
X, KNOWN, EPS = torch.randn(3, 3, 2, 4, 4, generator=seeded(1))
KEEP = (torch.rand(1, 2, 4, 4, generator=seeded(2)) > 0.5).float()
POINTS = torch.randn(3, 6, 2, generator=seeded(3))


# inpaint_step


def _inpaint_step(process, x_s, known, keep, s, eps):
    """x_s with the known pixels, as noisy as x_s is, in their place (Lugmayr et al. 2022, eq. 8)."""
    return keep * process.add_noise(known, s, eps) + (1 - keep) * x_s


inpaint_step = Check(
    "inpaint_step",
    _inpaint_step,
    cases=[
        Case("in the middle, s = 20, half of the pixels known", on(PROCESS, X, KNOWN, KEEP, 20, EPS)),
        Case("at the end, s = 0: the known pixels stand there themselves", on(PROCESS, X, KNOWN, KEEP, 0, EPS)),
        Case("one `keep` (C, H, W) for all pictures", on(PROCESS, X, KNOWN, KEEP[0], 30, EPS)),
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
        "the known picture fades, but has no noise": {"(known, s, eps)": "(known, s, 0 * eps)"},
        "the noise of the known picture has its full size: noise of time s has the standard deviation b_s": {
            "process.add_noise(known, s, eps)": "(process.signal(s).float() * known + eps)"
        },
        "the square roots are missing: signal and noise are sqrt(alpha_bar) and sqrt(1 - alpha_bar)": {
            "process.add_noise(known, s, eps)": "(process.signal(s) ** 2 * known + process.noise(s) ** 2 * eps)"
        },
        "the bar is lost: alpha_s stands where alpha_bar_s belongs": {
            "process.add_noise(known, s, eps)": "(process.alpha(s).sqrt() * known + process.beta(s).sqrt() * eps)"
        },
        "the new part is noised, too; x_s is as noisy as it should be": {"* x_s": "* process.add_noise(x_s, s, eps)"},
        "the known picture is added to x_s, where it should take its place": {"(1 - keep) * x_s": "x_s"},
        "the new part is lost: where `keep` is 0, x_s should stay": {" + (1 - keep) * x_s": ""},
        "noise is added where nothing is known, too: `keep` should multiply the noise as well": {
            "keep * process.add_noise(known, s, eps)": "process.add_noise(keep * known, s, eps)"
        },
        "signal and noise have changed places": {
            "process.add_noise(known, s, eps)": "(process.noise(s) * known + process.signal(s) * eps)"
        },
        "the known part is noised one step too much, to s + 1": {"(known, s,": "(known, s + 1,"},
        "the known part is noised one step too little, to s - 1": {"(known, s,": "(known, s - 1,"},
        "the known and the new picture are mixed half and half; the known one should take x_s's place": {
            "(1 - keep) * x_s": "(1 - keep / 2) * x_s",
            "return keep": "return keep / 2",
        },
    },
    hint="keep * process.add_noise(known, s, eps) + (1 - keep) * x_s.",
    shown=(editing.repaint,),
)


# noised_further


def _noised_further(process, x_s, s, t, eps):
    """x_t by all steps of the forward chain from s to t in one jump, whose alpha is alpha_bar_t / alpha_bar_s."""
    alpha = process.alpha_bar(t) / process.alpha_bar(s)
    return alpha.sqrt() * x_s + (1 - alpha).sqrt() * eps


def _in_two_moves(fn: Callable) -> Tensor:
    """The factors of x, and of eps, from 10 to 20 and on to 40."""
    one, none = torch.ones(1, 2), torch.zeros(1, 2)
    of_x = on(PROCESS, torch.as_tensor(on(PROCESS, one, 10, 20, none)(fn)), 20, 40, none)(fn)
    return torch.cat([torch.as_tensor(of_x), torch.as_tensor(on(PROCESS, none, 10, 20, one)(fn))])


noised_further = Check(
    "noised_further",
    _noised_further,
    cases=[
        Case("from s = 20 to t = 40", on(PROCESS, X, 20, 40, EPS)),
        Case("one step of the chain, from 20 to 21", on(PROCESS, X, 20, 21, EPS)),
        Case("from a clean picture, s = 0: the jump of lesson 01", on(PROCESS, X, 0, 30, EPS)),
        Case("two short moves are one long move", _in_two_moves),
        Case("points (B, 2)", on(PROCESS, POINTS[0], 5, 50, POINTS[1])),
        Case("x_s and eps are left as they were", after(PROCESS, X, 20, 40, EPS)),
    ],
    mistakes={
        "x_s is treated as a clean picture: alpha_bar_t is not divided by alpha_bar_s": {" / process.alpha_bar(s)": ""},
        "alpha_bar of t - s steps is taken: the chain's first steps are not those from s to t": {
            "process.alpha_bar(t) / process.alpha_bar(s)": "process.alpha_bar(t - s)"
        },
        "x_s does not fade: it must be multiplied by sqrt(alpha_bar_t / alpha_bar_s)": {"alpha.sqrt() * x_s": "x_s"},
        "the square roots are missing": {"alpha.sqrt()": "alpha", "(1 - alpha).sqrt()": "(1 - alpha)"},
        "the square root over the noise's factor is missing": {"(1 - alpha).sqrt()": "(1 - alpha)"},
        "the noise is that of all t steps; s of them are in x_s already": {"(1 - alpha)": "(1 - process.alpha_bar(t))"},
        "the noise is the difference of both standard deviations: variances add up, standard deviations do not": {
            "(1 - alpha).sqrt()": "(process.noise(t) - alpha.sqrt() * process.noise(s))"
        },
        "the noise is b_t - b_s: variances add up, standard deviations do not, and x_s fades on the way": {
            "(1 - alpha).sqrt()": "(process.noise(t) - process.noise(s))"
        },
        "the noise has the variance alpha_bar_s - alpha_bar_t, as if the noise in x_s did not fade": {
            "(1 - alpha)": "(process.alpha_bar(s) - process.alpha_bar(t))"
        },
        "only one step's alpha_t is taken; there are t - s of them": {"alpha_bar(t) / process.alpha_bar(s)": "alpha(t)"},
        "the fraction is turned over: alpha_bar_t / alpha_bar_s is asked for": {
            "alpha_bar(t) / process.alpha_bar(s)": "alpha_bar(s) / process.alpha_bar(t)"
        },
        "one step too many is taken: step s is in x_s already": {"alpha_bar(s)": "alpha_bar(max(s - 1, 0))"},
        "one step too few is taken: step t belongs to the jump": {"alpha_bar(t)": "alpha_bar(t - 1)"},
        "signal and noise have changed places": {
            "alpha.sqrt() * x_s + (1 - alpha).sqrt() * eps": "(1 - alpha).sqrt() * x_s + alpha.sqrt() * eps"
        },
    },
    hint="alpha = alpha_bar(t) / alpha_bar(s); sqrt(alpha) x_s + sqrt(1 - alpha) eps.",
    shown=(editing.noised_further,),
)


# consistent

HALF, SOFT = editing.shrunk(2), editing.blurred(1.0)
HALVED = on(X, torch.randn(3, 2, 2, 2, generator=seeded(4)), HALF.A, HALF.back)


def _consistent(x0, y, A, back):
    """x_0 with its measurement replaced by y (Wang et al. 2023, eq. 11)."""
    return back(y) + x0 - back(A(x0))


consistent = Check(
    "consistent",
    _consistent,
    cases=[
        Case("a picture, and what it should be when halved", HALVED),
        Case("its measurement is y", lambda fn: HALF.A(HALVED(fn))),
        Case("what A does not measure is left as it was", lambda fn: (new := HALVED(fn)) - HALF.back(HALF.A(new))),
        Case("a picture that measures y already is left alone", on(X, HALF.A(X), HALF.A, HALF.back)),
        Case("a blur", on(X, SOFT.A(KNOWN), SOFT.A, SOFT.back)),
        Case("x0 and y are left as they were", after(X, HALF.A(KNOWN), HALF.A, HALF.back)),
    ],
    mistakes={
        "the correction has the wrong sign: it leads away from y": {"back(y) + x0 - back(A(x0))": "x0 - back(y) + back(A(x0))"},
        "only A^+ y is left: what A does not measure is lost": {" + x0 - back(A(x0))": ""},
        "A^+ y is added to all of x_0: what A measures of x_0 must be removed first": {" - back(A(x0))": ""},
        "what A measures is removed, but y is not put in its place": {"back(y) + ": ""},
        "y itself is added; A^+ y, of x_0's own size, belongs there": {"back(y)": "y"},
        "A x_0 itself is subtracted; A^+ A x_0, of x_0's own size, belongs there": {"back(A(x0))": "A(x0)"},
        "the correction alone is returned; it should be added to x_0": {"+ x0 ": ""},
        "what A measures of x_0 is kept, and the rest is lost: it should be the other way round": {
            "x0 - back(A(x0))": "back(A(x0))"
        },
        "x_0 is left as it is: y is not used": {"back(y) + x0 - back(A(x0))": "x0"},
        "the correction is made by half": {"back(y) + x0 - back(A(x0))": "x0 + (back(y) - back(A(x0))) / 2"},
        "the correction is made twice": {"back(y) + x0 - back(A(x0))": "x0 + 2 * (back(y) - back(A(x0)))"},
        "A is applied where A^+ belongs": {"back(y)": "A(y)", "back(A(x0))": "A(A(x0))"},
        "the result is clipped to [-1, 1], and no longer measures y": {
            "back(y) + x0 - back(A(x0))": "(back(y) + x0 - back(A(x0))).clamp(-1, 1)"
        },
        "the mean of x_0 and of A^+ y is taken": {"back(y) + x0 - back(A(x0))": "(back(y) + x0) / 2"},
    },
    hint="x0 - back(A(x0) - y).",
    shown=(editing.Consistent,),
)
