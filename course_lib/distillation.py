"""Distillation: a student that takes in one move what its teacher takes many for. Losses are functions; `train` does the rest.

Every loss draws its own times and noise, as `denoising_loss` does, and returns one number to descend on. Teacher and target
learn nothing from it. Where the pictures are latents, nothing here changes: an autoencoder only decodes them while drawing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.prediction import Prediction
from course_lib.process import Time, beside, randn_like

Teacher = Callable[[Tensor, Time], Prediction]
"""What a loss asks of a teacher: its belief about x_t (B, ...) at times t (B,). Any Denoiser is one."""


# Progressive distillation


def two_steps(teacher: Denoiser, x_t: Tensor, t: Time, between: Time, s: Time) -> Tensor:
    """The x_0 (B, ...) whose one DDIM step from t to s lands where the teacher's two do, by way of `between`.

    Salimans and Ho 2022, Algorithm 2: their z_t'' is our x_s, their x-tilde the result. Times are numbers or (B,), t > between
    > s; s may be 0, where the target is the teacher's own picture.
    """
    process = teacher.process
    first = teacher(x_t, t)
    second = teacher(process.add_noise(first.x0, between, first.eps), between)
    x_s = process.add_noise(second.x0, s, second.eps)
    (a, b), (a_s, b_s) = process.coefficients(t, x_t), process.coefficients(s, x_t)
    return (x_s - b_s / b * x_t) / (a_s - b_s / b * a)


def truncated_snr(a: Tensor, b: Tensor) -> Tensor:
    """max(a^2 / b^2, 1), a weight of errors in x_0 that is not 0 where no signal is left. Salimans and Ho 2022, section 4."""
    return (a / b).square().clamp(min=1)


def snr_plus_one(a: Tensor, b: Tensor) -> Tensor:
    """1 + a^2 / b^2: with it an error in x_0 is an error in v. Salimans and Ho 2022, section 4."""
    return 1 + (a / b).square()


def progressive_loss(
    student: Network,
    teacher: Denoiser,
    x0: Tensor,
    n: int,
    rng: torch.Generator | None = None,
    weight: Callable[[Tensor, Tensor], Tensor] = truncated_snr,
) -> Tensor:
    """What a student of n steps is off its teacher of 2 n, on pictures x0 (B, ...): Salimans and Ho 2022, Algorithm 2.

    `weight(a, b)` multiplies the squared error in x_0. Raises ValueError where the process has fewer than 2 n steps.
    """
    times = student.process.times(2 * validate.at_least("n", n, 1))
    i = 2 * torch.randint(n, (len(x0),), generator=rng, device=rng.device if rng else "cpu").cpu()
    x_t = student.process.add_noise(x0, times[i], randn_like(x0, rng))
    with torch.no_grad():
        target = two_steps(teacher, x_t, times[i], times[i + 1], times[i + 2])
    pred = student(x_t, times[i])
    return (weight(pred.a, pred.b) * (pred.x0 - target).square()).mean()


# Consistency


def pseudo_huber(x: Tensor, y: Tensor) -> Tensor:
    """sqrt(|x - y|^2 + c^2) - c (B,) with c = 0.00054 sqrt(D), for x and y (B, ...) of D numbers each: near 0 a square, far
    away a distance, so that no single picture rules the gradient. Song and Dhariwal 2023, section 3.3."""
    c = 0.00054 * x[0].numel() ** 0.5
    return ((x - y).flatten(1).square().sum(1) + c**2).sqrt() - c


def consistency_loss(
    student: Network, target: Denoiser, x0: Tensor, n: int, teacher: Teacher | None = None, rng: torch.Generator | None = None
) -> Tensor:
    """How far the student's picture at t is from the target's at the next of n + 1 times: Song et al. 2023.

    The consistency function is f(x_t, t) = pred.x0. Where the network speaks v that is a x_t - b v, which is their
    c_skip(t) x + c_out(t) F(x, t) (appendix C) with sigma_data = 1 and their noise b / a over their x = x_t / a, and with data
    at t = 0, where a = 1 and b = 0: f(x, 0) = x, whatever the network says. In view 'x0' nothing holds it there.

    With a `teacher`, x_s is its DDIM step from x_t: consistency distillation, Algorithm 2. Without, x_s is the same picture
    with the same noise: consistency training, Algorithm 3. `target` is the student with older weights, or itself (Song and
    Dhariwal 2023, section 3.2); their pseudo-Huber distance stands for LPIPS. Raises ValueError in view 'x0' or 'score'.
    """
    validate.choice("student.view", student.view, ("v", "flow", "eps"))
    process, times = student.process, student.process.times(n)
    i = torch.randint(n, (len(x0),), generator=rng, device=rng.device if rng else "cpu").cpu()
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
    most: float = 8.0,
    rng: torch.Generator | None = None,
    least: float = 0.0,
) -> Tensor:
    """Consistency distillation of a guided teacher, the student being told w. Luo et al. 2023 (LCM), Algorithm 1.

    Each of x0 (B, ...) with its label (B,), or caption, gets its own w, uniform on `least`..`most` (our w is their 1 + w).
    Their x0 is a latent; their skipping of k steps is a coarse grid here, n = T / k. Raises what `consistency_loss` raises.
    """
    w = least + (most - least) * torch.rand(len(x0), generator=rng, device=rng.device if rng else "cpu")
    cond, uncond = teacher.given(label), teacher.given(NULL)
    guided = lambda x_t, t: uncond(x_t, t).lerp(cond(x_t, t), beside(x_t, w))
    return consistency_loss(student.given(label).at(w), target.given(label).at(w), x0, n, guided, rng)
