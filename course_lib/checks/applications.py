"""Lesson 19: applications."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import editing
from course_lib.checks.check import Case, Check, on
from course_lib.process import DDPM, Process
from course_lib.schedules import linear_beta

PROCESS = DDPM(linear_beta(50, end=0.02))
X, KNOWN, EPS = torch.randn(3, 3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
KEEP = (torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(2)) > 0.5).float()
POINTS = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(3))


# inpaint_step


def _put_in(
    inside=lambda process, known, s, eps: process.add_noise(known, s, eps),
    outside=lambda process, x, s, eps: x,
    mask=lambda keep: keep,
) -> Callable:
    """inpaint_step with something else where the picture is known, where it is not, or with another mask."""

    def inpaint_step(process, x_s, known, keep, s, eps):
        keep = mask(keep)
        return keep * inside(process, known, s, eps) + (1 - keep) * outside(process, x_s, s, eps)

    return inpaint_step


def _reference_step(process: Process, x_s: Tensor, known: Tensor, keep: Tensor, s: int, eps: Tensor) -> Tensor:
    """What is known, as noisy as x_s is, in its place (Lugmayr et al. 2022, eq. 8)."""
    return keep * process.add_noise(known, s, eps) + (1 - keep) * x_s


def _known_after(step: Callable) -> Tensor:
    known = KNOWN.clone()
    step(PROCESS, X.clone(), known, KEEP, 20, EPS)
    return known


inpaint_step = Check(
    "inpaint_step",
    _reference_step,
    cases=[
        Case("in the middle, s = 20, half of the pixels known", on(PROCESS, X, KNOWN, KEEP, 20, EPS)),
        Case("at the end, s = 0: what is known stands there itself", on(PROCESS, X, KNOWN, KEEP, 0, EPS)),
        Case("nothing known: x_s stays", on(PROCESS, X, KNOWN, 0 * KEEP, 20, EPS)),
        Case("all known: x_s plays no part", on(PROCESS, X, KNOWN, 0 * KEEP + 1, 20, EPS)),
        Case(
            "points (B, 2), of which one coordinate is known", on(PROCESS, *POINTS[:2], torch.tensor([[1.0, 0]]), 35, POINTS[2])
        ),
        Case("the known picture is left as it was", _known_after),
    ],
    mistakes=[
        (
            "the known picture goes in clean; it should be as noisy as the rest, as the network knows pictures at s",
            _put_in(inside=lambda process, known, s, eps: known),
        ),
        (
            "the mask is turned: what should be kept is painted, and what should be painted is kept",
            _put_in(mask=lambda k: 1 - k),
        ),
        (
            "noise is added, but the known picture does not fade: it must be multiplied by the signal",
            _put_in(inside=lambda process, known, s, eps: known + process.noise(s).float() * eps),
        ),
        (
            "the known picture fades, but has no noise",
            _put_in(inside=lambda process, known, s, eps: process.signal(s).float() * known),
        ),
        (
            "the new part is noised, too; x_s is as noisy as it should be",
            _put_in(outside=lambda process, x, s, eps: process.add_noise(x, s, eps)),
        ),
    ],
    hint="keep * process.add_noise(known, s, eps) + (1 - keep) * x_s.",
    shown=(editing.repaint,),
)


# noised_further


def _further(
    alpha=lambda process, s, t: process.alpha_bar(t) / process.alpha_bar(s),
    signal=lambda alpha: alpha.sqrt(),
    noise=lambda alpha: (1 - alpha).sqrt(),
) -> Callable:
    """noised_further with another alpha, another signal, or another noise."""

    def noised_further(process, x_s, s, t, eps):
        a = alpha(process, s, t)
        return signal(a) * x_s + noise(a) * eps

    return noised_further


def _reference_further(process: Process, x_s: Tensor, s: int, t: int, eps: Tensor) -> Tensor:
    """The forward chain's steps s + 1 .. t in one."""
    return _further()(process, x_s, s, t, eps)


def _and_on(fn: Callable) -> Tensor:
    """The mean and the variance, by parts: what becomes of x, and of eps, from 10 to 20 and on to 40."""
    one, none = torch.ones(1, 2), torch.zeros(1, 2)
    of_x = fn(PROCESS, fn(PROCESS, one, 10, 20, none), 20, 40, none)
    of_eps = fn(PROCESS, none, 10, 20, one)
    return torch.cat([of_x, of_eps])


noised_further = Check(
    "noised_further",
    _reference_further,
    cases=[
        Case("from s = 20 to t = 40", on(PROCESS, X, 20, 40, EPS)),
        Case("one step of the chain, from 20 to 21", on(PROCESS, X, 20, 21, EPS)),
        Case("from a clean picture, s = 0: the jump of lesson 01", on(PROCESS, X, 0, 30, EPS)),
        Case("two short ways are one long way", _and_on),
        Case("points (B, 2)", on(PROCESS, POINTS[0], 5, 50, POINTS[1])),
    ],
    mistakes=[
        (
            "x_s is treated as a clean picture: alpha_bar_t stands where alpha_bar_t / alpha_bar_s belongs",
            _further(alpha=lambda process, s, t: process.alpha_bar(t)),
        ),
        ("x_s does not fade: it must be multiplied by sqrt(alpha_bar_t / alpha_bar_s)", _further(signal=lambda a: 1.0)),
        ("the square roots are missing", _further(signal=lambda a: a, noise=lambda a: 1 - a)),
        (
            "the noise is that of all t steps; s of them are in x_s already",
            lambda process, x, s, t, eps: (
                (process.alpha_bar(t) / process.alpha_bar(s)).sqrt() * x + (1 - process.alpha_bar(t)).sqrt() * eps
            ),
        ),
        (
            "only one step's alpha_t is taken; there are t - s of them",
            _further(alpha=lambda process, s, t: process.alpha(t)),
        ),
    ],
    hint="alpha = alpha_bar(t) / alpha_bar(s); sqrt(alpha) x_s + sqrt(1 - alpha) eps.",
    shown=(editing.noised_further,),
)


# consistent


def _corrected(new=lambda x0, y, A, back: x0 - back(A(x0) - y)) -> Callable:
    def consistent(x0, y, A, back):
        return new(x0, y, A, back)

    return consistent


def _reference_consistent(x0: Tensor, y: Tensor, A: Callable, back: Callable) -> Tensor:
    """x_0, of which what A sees is taken from y (Wang et al. 2023, eq. 11)."""
    return x0 - back(A(x0) - y)


HALF = editing.shrunk(2)
SMALL = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(4))
SOFT = editing.blurred(1.0)

consistent = Check(
    "consistent",
    _reference_consistent,
    cases=[
        Case("a picture, and what it should be when halved", on(X, SMALL, HALF.A, HALF.back)),
        Case("its measurement is y", lambda fn: HALF.A(fn(X.clone(), SMALL.clone(), HALF.A, HALF.back))),
        Case(
            "what A does not see is left as it was",
            lambda fn: (lambda new: new - HALF.back(HALF.A(new)))(fn(X.clone(), SMALL.clone(), HALF.A, HALF.back)),
        ),
        Case("a picture that measures y already is left alone", on(X, HALF.A(X), HALF.A, HALF.back)),
        Case("a blur", on(X, SOFT.A(KNOWN), SOFT.A, SOFT.back)),
    ],
    mistakes=[
        ("the correction has the wrong sign: it leads away from y", _corrected(lambda x0, y, A, back: x0 + back(A(x0) - y))),
        ("only A^+ y is left: what A does not see is lost", _corrected(lambda x0, y, A, back: back(y))),
        (
            "A^+ y is added to all of x_0: what A sees of x_0 must go first",
            _corrected(lambda x0, y, A, back: x0 + back(y)),
        ),
        (
            "what A sees is taken away, but y is not put in its place",
            _corrected(lambda x0, y, A, back: x0 - back(A(x0))),
        ),
        ("the correction is made by half", _corrected(lambda x0, y, A, back: x0 - back(A(x0) - y) / 2)),
    ],
    hint="x0 - back(A(x0) - y).",
    shown=(editing.Consistent,),
)
