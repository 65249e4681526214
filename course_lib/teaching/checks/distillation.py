"""Lesson 17: progressive distillation."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from course_lib.denoisers import Denoiser, Network
from course_lib.methods import distillation
from course_lib.methods.distillation import two_steps
from course_lib.process import randint, randn_like, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import DENOISER, PICTURES, POINTS, PROCESS, Spy

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
LESS = torch.rand(6, generator=seeded(20)) / 20
A = torch.tensor([0.99, 0.9, 0.77, 0.6, 0.2, 0.0]) * (1 - LESS)
B, T = (1 - A**2).sqrt(), torch.tensor([0.1, 0.3, 0.6, 1.0]) * (1 - LESS[:4])


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

# halving. A right answer may draw times and noise in any order. So what is compared is what the student is given, and the
# gradient with which each step of the optimizer begins.
STEPS = 3
my_student_target, my_truncated_snr = _student_target, _truncated_snr  # as they are called in the lesson


class _Halved:
    """A halving of a teacher of 2 n steps, both networks of one weight: the `losses` that are returned, and what it did."""

    def __init__(self, loop: Callable, *shape: int, n: int = 4, steps: int = STEPS):
        self.n, self.times, self.drawn, self.given, self.slopes = n, PROCESS.times(2 * n), [], [], []
        student, teacher = Spy(), Spy()
        teacher.weight.data.fill_(0.4)
        process = deepcopy(PROCESS)  # a student's function may write into all that it is given
        self.student, self.teacher = Network(student, process, "v"), Network(teacher, process, "v")
        optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
        optimizer.register_step_pre_hook(lambda *_: self._watch(student))

        def draw(rng: torch.Generator) -> Tensor:
            self.drawn.append(torch.randn(shape, generator=rng) + 0.5)
            return self.drawn[-1].clone()

        self.losses = torch.as_tensor(loop(self.student, self.teacher, draw, n, optimizer, steps, seeded(7)))
        if not self.given:
            raise Refused("the weights never move: optimizer.step() is never called")
        self.weights = torch.stack([teacher.weight.detach(), student.weight.detach()])
        self.spared = teacher.weight.grad is None

    def _watch(self, spy: Spy) -> None:
        """Notes what the student was given before a step of the optimizer, and the gradient that it begins with."""
        if not self.drawn or spy.input is None:
            raise Refused(
                "the student is never called: its prediction is student(x_t, t)" if self.drawn else "draw(rng) is unused"
            )
        x_t, time = spy.input
        if len(x_t) != len(self.drawn[-1]):
            raise Refused(f"the student must be given all {len(self.drawn[-1])} of the batch, it was given {len(x_t)}")
        t = (time * PROCESS.T).round().long()
        self.given.append((self.drawn[-1], x_t, t))
        found = torch.zeros(()) if spy.weight.grad is None else spy.weight.grad.clone()
        weight = spy.weight.detach().clone().requires_grad_()
        loss = self._right_loss(x_t, t, spy.rule(weight, x_t, time))
        self.slopes.append((found / torch.autograd.grad(loss, weight)[0], loss.detach()))

    def _right_loss(self, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """The right loss for what the student was given and its output; NaN where no step of it begins at one of the times."""
        begins = t[:, None] == self.times[None, : 2 * self.n : 2]
        if not begins.any(1).all():
            return v.sum() * float("nan")
        i = 2 * begins.long().argmax(1)
        with torch.no_grad():
            target = two_steps(self.teacher, x_t, *(self.times[i + k] for k in range(3)))
        a, b = PROCESS.coefficients(t, x_t)
        return (distillation.truncated_snr(a, b) * (a * x_t - b * v - target).square()).mean()

    @property
    def gradients(self) -> Tensor:
        """The gradient with which each step begins, over that of the right loss: 1."""
        return torch.stack([slope for slope, _ in self.slopes])

    @property
    def ratios(self) -> Tensor:
        """Each loss that is returned, over the right one: 1."""
        right = torch.stack([loss for _, loss in self.slopes])
        return self.losses / right if self.losses.shape == right.shape else self.losses

    @property
    def begins(self) -> Tensor:
        """Whether every t is one at which a step of the student begins."""
        return torch.stack([torch.isin(t, self.times[: 2 * self.n : 2]).all() for *_, t in self.given]).all()

    @property
    def counts(self) -> Tensor:
        """How often each beginning is drawn in a step, over how often it should be, from the rarest on, the mean of all: 1."""
        of = lambda t: (t[None] == self.times[: 2 * self.n : 2, None]).double().mean(1).sort().values * self.n
        return torch.stack([of(t) for *_, t in self.given]).mean(0)

    @property
    def noise(self) -> Tensor:
        """Mean, standard deviation over the batch and covariance with x_0 of the noise, the mean over all steps: 0, 1, 0."""
        found = []
        for x0, x_t, t in self.given:
            a, b = PROCESS.coefficients(t.clamp(min=1), x_t)
            eps = (x_t - a * x0) / b
            found.append(torch.stack([eps.mean(), eps.std(0).mean(), (eps * (x0 - x0.mean(0))).mean()]))
        return torch.stack(found).mean(0)

    @property
    def fresh(self) -> Tensor:
        """Whether data, times and noise of a step differ from those of the step before: three."""
        same = lambda one, other: torch.cosine_similarity(one.flatten(), other.flatten(), dim=0).abs() > 0.1
        found = []
        for one, other in zip(self.given, self.given[1:]):
            eps = [(x_t - a * x0) / b for x0, x_t, t in (one, other) for a, b in [PROCESS.coefficients(t.clamp(min=1), x_t)]]
            times = (one[2] == other[2]).double().mean() > 2 / self.n
            found.append(torch.stack([same(one[0] - 0.5, other[0] - 0.5), times, same(*eps)]))
        return ~torch.stack(found).any(0)


def _halving(
    student: Network, teacher: Denoiser, draw: Callable, n: int, optimizer: torch.optim.Optimizer, steps: int, rng
) -> Tensor:
    """The loss of each step of training (steps,). Salimans and Ho 2022, Algorithm 2, inner loop."""
    process, losses = student.process, []
    times = process.times(2 * n)
    for _ in range(steps):
        x0 = draw(rng)
        i = 2 * randint(0, n, len(x0), rng=rng)
        t, between, s = times[i], times[i + 1], times[i + 2]
        x_t = process.add_noise(x0, t, randn_like(x0, rng))
        with torch.no_grad():
            target = my_student_target(teacher, x_t, t, between, s)
        pred = student(x_t, t)
        loss = (my_truncated_snr(pred.a, pred.b) * (pred.x0 - target).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


_CLOUD, _SHEETS, _UPDATE = (4000, 2), (500, 1, 3, 2), "loss.backward()\n        optimizer.step()"
_OF_TEACHER, _TIMES = "my_student_target(teacher", "t, between, s = times[i], times[i + 1], times[i + 2]"
_FREE, _CUT = {"torch.no_grad()": "torch.enable_grad()"}, {"pred.x0 - target": "pred.x0.detach() - target"}

halving = Check(
    "halving",
    _halving,
    cases=[
        Case("there are as many steps of the optimizer as `steps` says", lambda f: float(len(_Halved(f, 50, 2).given))),
        Case(
            "the optimizer steps along the gradient of the weighted squared error, of this step alone",
            lambda f: _Halved(f, *_CLOUD).gradients,
            1e-3,
        ),
        Case("the same for pictures (B, C, H, W) and n = 5", lambda f: _Halved(f, *_SHEETS, n=5).gradients, 1e-3),
        Case("the same for the last student, n = 1", lambda f: _Halved(f, *_CLOUD, n=1).gradients, 1e-3),
        Case("the loss of each step is returned", lambda f: _Halved(f, *_CLOUD).ratios, 1e-3),
        Case("each t is one of the n times at which a step of the student begins", lambda f: _Halved(f, *_CLOUD).begins),
        Case("each of the batch has its own t, and the n times are equally likely", lambda f: _Halved(f, *_CLOUD).counts, 0.15),
        Case("x_t is signal(t) x_0 + noise(t) eps, with eps standard normal", lambda f: _Halved(f, *_CLOUD).noise, 0.05),
        Case("each step draws new data, new times and new noise", lambda f: _Halved(f, *_CLOUD).fresh),
        Case("the student moves, the teacher does not", lambda f: _Halved(f, *_CLOUD, steps=1).weights, 0.02),
        Case("no gradient reaches the teacher", lambda f: _Halved(f, *_CLOUD).spared),
        Case("the same rng gives the same training", lambda f: torch.equal(*(_Halved(f, *_CLOUD).losses for _ in range(2)))),
    ],
    mistakes={
        "student and teacher have changed places: the teacher is trained to do in one step what the student does in two": [
            {_OF_TEACHER: "my_student_target(student", "pred = student(": "pred = teacher("},
            _FREE | {_OF_TEACHER: "my_student_target(student", "pred = student(": "pred = teacher("},
        ],
        "the target is made of the student's own two steps; it should be the teacher's": [
            {_OF_TEACHER: "my_student_target(student"},
            _FREE | {_OF_TEACHER: "my_student_target(student"},
        ],
        "the stop-gradient is on the wrong side: the prediction is cut off, the target is not": _FREE | _CUT,
        "a stop-gradient is missing: the gradient reaches the teacher (torch.no_grad(), or target.detach())": _FREE,
        "t is drawn from all of 1 .. T; Algorithm 2 draws one of the n times at which a step of the student begins": {
            _TIMES: "t = process.sample_t(len(x0), rng)\n        s = (t - process.T // n).clamp(min=0)\n        "
            "between = (t + s) // 2"
        },
        "i counts the teacher's steps: a step of the student begins at every second time only": {
            "2 * randint(0, n,": "randint(0, 2 * n - 1,"
        },
        "the factor 2 is missing: i counts the student's steps, and `times` the teacher's": {
            "2 * randint(0, n,": "randint(0, n,"
        },
        "the step from t = T is never drawn: i begins with 0": {"randint(0, n,": "randint(min(1, n - 1), n,"},
        "the student is given the time s, where its step ends; it begins at t": {"student(x_t, t)": "student(x_t, s)"},
        "the student is given the time between; its step begins at t": {"student(x_t, t)": "student(x_t, between)"},
        "one t is drawn for the whole batch; draw one for each": {"len(x0), rng=rng)": "1, rng=rng).expand(len(x0))"},
        "the weight is missing: multiply each squared error by max(SNR, 1)": {"my_truncated_snr(pred.a, pred.b) * ": ""},
        "the weight is SNR, not max(SNR, 1): without signal it is 0": {
            "my_truncated_snr(pred.a, pred.b)": "(pred.a / pred.b).square()"
        },
        "the weight is squared with the error": {
            "(my_truncated_snr(pred.a, pred.b) * (pred.x0 - target).square())": "(my_truncated_snr(pred.a, pred.b) * "
            "(pred.x0 - target)).square()"
        },
        "the prediction is compared with the data x_0: that is ordinary training, without a teacher": {"- target)": "- x0)"},
        "the predicted v is compared with the target, which is an x_0": {"pred.x0 -": "pred.v -"},
        "the predicted noise is compared with the target, which is an x_0": {"pred.x0 -": "pred.eps -"},
        "the squares are summed, not averaged: the loss grows with the batch": {".mean()": ".sum()"},
        "absolute values are averaged, not squares": {".square()": ".abs()"},
        "teacher and student start from different noisy data: both start from x_t": {
            _OF_TEACHER + ", x_t": _OF_TEACHER + ", process.add_noise(x0, t, randn_like(x0, rng))"
        },
        "the student is given the clean data x_0, not x_t": {"student(x_t, t)": "student(x0, t)"},
        "the gradients of all steps add up: optimizer.zero_grad() is missing": {"optimizer.zero_grad()": "pass"},
        "optimizer.step() finds no gradient of this step: loss.backward() must come just before it": [
            {_UPDATE: "optimizer.step()\n        loss.backward()"},
            {_UPDATE: "loss.backward()\n        optimizer.zero_grad()\n        optimizer.step()"},
        ],
        "all steps train on one batch: draw(rng) belongs inside the loop": {"draw(rng)": "draw(seeded(5))"},
        "all steps have the same times: draw them anew in each": {"len(x0), rng=rng)": "len(x0), rng=seeded(5))"},
        "all steps have the same noise: draw it anew in each": {"randn_like(x0, rng)": "randn_like(x0, seeded(5))"},
        "the noise is uniform (torch.rand), not normal (randn)": {"randn_like(x0, rng)": "torch.rand(x0.shape, generator=rng)"},
        "the noise is not drawn from rng: pass generator=rng": {"randn_like(x0, rng)": "torch.randn_like(x0)"},
        "the loss of the last step is returned, not the losses of all steps": {"tensor(losses)": "tensor(losses[-1])"},
    },
    hint="times = student.process.times(2 * n). Each step: x0 = draw(rng); i = 2 * randint(0, n, len(x0), rng=rng); x_t at "
    "times[i]; under torch.no_grad() the teacher's target for times[i], times[i + 1], times[i + 2]; pred = student(x_t, "
    "times[i]); the mean of weight times squared error; then zero_grad(), backward(), step(); and keep loss.item().",
    shown=(distillation.progressive_loss,),
)
