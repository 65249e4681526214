"""Distillation: losses for a student that needs fewer sampling steps than its teacher.

Each loss draws its own times and noise, as `denoising_loss` does, and is (). It has no gradient with respect to teacher and
target (stop-gradient). x0 may be pictures or latents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.prediction import Prediction
from course_lib.process import Time, expand_like, rand, randint, randn_like

Teacher = Callable[[Tensor, Time], Prediction]
"""A function from x_t (B, ...) and times t (B,) to a Prediction, such as any Denoiser."""


def _same_process(student: Denoiser, **others: Any) -> None:
    """Raises TypeError or ValueError unless the others, by name, are denoisers with the student's schedule.

    A teacher or target would otherwise be called at another noise level than its input has.
    """
    mine = validate.instance("student", student, Denoiser).process
    for name, other in others.items():
        theirs = validate.instance(name, other, Denoiser).process
        if type(theirs) is not type(mine) or theirs.T != mine.T or theirs.noise(mine.T) != mine.noise(mine.T):
            raise ValueError(f"{name} must have the student's process, {mine}, got {theirs}")


# Progressive distillation


def two_steps(teacher: Denoiser, x_t: Tensor, t: Time, between: Time, s: Time) -> Tensor:
    """The x_0 (B, ...) with which one DDIM step from t to s ends at the result of the teacher's two steps, by way of `between`.

    Salimans and Ho 2022, Algorithm 2: their z_t'' is our x_s, their x-tilde the result. Times are numbers or (B,), t > between
    > s. For s = 0 the target is the teacher's x_0.
    """
    process = validate.instance("teacher", teacher, Denoiser).process
    validate.batch("x_t", x_t)
    for name, time in dict(t=t, between=between, s=s).items():
        validate.time(name, time, 0, process.T)
    first = teacher(x_t, t)
    second = teacher(process.add_noise(first.x0, between, first.eps), between)
    x_s = process.add_noise(second.x0, s, second.eps)
    (a, b), (a_s, b_s) = process.coefficients(t, x_t), process.coefficients(s, x_t)
    return (x_s - b_s / b * x_t) / (a_s - b_s / b * a)


def truncated_snr(a: Tensor, b: Tensor) -> Tensor:
    """max(a^2 / b^2, 1), a loss weight for x_0 that is not 0 where the signal is 0. Salimans and Ho 2022, section 4."""
    validate.instance("a", a, Tensor)
    validate.instance("b", b, Tensor)
    return (a / b).square().clamp(min=1)


def progressive_loss(
    student: Network,
    teacher: Denoiser,
    x0: Tensor,
    n: int,
    rng: torch.Generator | None = None,
    weight: Callable[[Tensor, Tensor], Tensor] = truncated_snr,
) -> Tensor:
    """The loss of a student of n steps against its teacher of 2 n steps, on pictures x0 (B, ...).

    Salimans and Ho 2022, Algorithm 2. `weight(a, b)` multiplies the squared error in x_0. Raises ValueError if the process has
    fewer than 2 n steps.
    """
    validate.instance("student", student, Denoiser)
    validate.function("weight", weight)
    validate.at_least("n", n, 1)
    validate.batch("x0", x0)
    times = student.process.times(2 * n)
    _same_process(student, teacher=teacher)
    i = 2 * randint(0, n, len(x0), rng=rng)
    x_t = student.process.add_noise(x0, times[i], randn_like(x0, rng))
    with torch.no_grad():
        target = two_steps(teacher, x_t, times[i], times[i + 1], times[i + 2])
    pred = student(x_t, times[i])
    return (weight(pred.a, pred.b) * (pred.x0 - target).square()).mean()


# Consistency


def pseudo_huber(x: Tensor, y: Tensor) -> Tensor:
    """sqrt(|x - y|^2 + c^2) - c (B,) with c = 0.00054 sqrt(D), for x and y (B, ...) of D numbers each.

    It is quadratic near 0 and linear far from it, so that outliers do not dominate the gradient. Song and Dhariwal 2023,
    section 3.3.
    """
    validate.same_shape("y", validate.floats("y", y), "x", validate.floats("x", x))
    c = 0.00054 * x[0].numel() ** 0.5
    return ((x - y).flatten(1).square().sum(1) + c**2).sqrt() - c


def consistency_loss(
    student: Network, target: Denoiser, x0: Tensor, n: int, teacher: Teacher | None = None, rng: torch.Generator | None = None
) -> Tensor:
    """The distance between the student's x_0 at time t and the target's at the next of n + 1 times: Song et al. 2023.

    The consistency function is f(x_t, t) = pred.x0. In view 'v' it is a x_t - b v, their c_skip(t) x + c_out(t) F(x, t)
    (appendix C) with sigma_data = 1, noise b / a and x = x_t / a. The boundary condition f(x, 0) = x then holds for every
    network, since a = 1 and b = 0 at t = 0. In view 'x0' it does not.

    With a `teacher`, x_s is its DDIM step from x_t: consistency distillation, Algorithm 2. Without, x_s has the same x_0 and
    the same noise: consistency training, Algorithm 3. `target` is an EMA of the student, or the student (Song and Dhariwal
    2023, section 3.2). The distance is their pseudo-Huber distance, not LPIPS. Raises ValueError in view 'x0' or 'score'.
    """
    _same_process(student, target=target, teacher=teacher if isinstance(teacher, Denoiser) else target)
    validate.function("teacher", teacher or target)
    validate.choice("student.view", validate.instance("student", student, Network).view, ("v", "flow", "eps"))
    validate.batch("x0", x0)
    process, times = student.process, student.process.times(n)
    i = randint(0, n, len(x0), rng=rng)
    t, s, eps = times[i], times[i + 1], randn_like(x0, rng)
    x_t = process.add_noise(x0, t, eps)
    with torch.no_grad():
        if teacher is not None:
            pred = teacher(x_t, t)
            x0, eps = pred.x0, pred.eps
        goal = target(process.add_noise(x0, s, eps), s).x0
    return pseudo_huber(student(x_t, t).x0, goal).mean()


def guided_consistency_loss(
    student: Network,
    target: Network,
    teacher: Network,
    x0: Tensor,
    label: Any,
    n: int,
    max_w: float = 8.0,
    rng: torch.Generator | None = None,
    min_w: float = 0.0,
) -> Tensor:
    """The loss of consistency distillation of a guided teacher, with w an input of the student. Luo et al. 2023, Algorithm 1.

    Each of x0 (B, ...), with its label (B,) or caption, gets a random w, uniform on `min_w`..`max_w` (our w is their 1 + w).
    Their skipping of k steps is n = T / k here. Raises what `consistency_loss` raises.
    """
    _same_process(student, target=target, teacher=teacher)
    validate.instance("student", student, Network)
    validate.finite("min_w", min_w, most=validate.finite("max_w", max_w))
    validate.batch("x0", x0)
    w = min_w + (max_w - min_w) * rand(len(x0), rng=rng)
    cond, uncond = teacher.given(label), teacher.given(NULL)
    guided = lambda x_t, t: uncond(x_t, t).lerp(cond(x_t, t), expand_like(x_t, w))
    return consistency_loss(student.given(label).at(w), target.given(label).at(w), x0, n, guided, rng)
