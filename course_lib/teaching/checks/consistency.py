"""Lesson 18: consistency models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor

from course_lib import samplers
from course_lib.denoisers import Denoiser, Network
from course_lib.methods import distillation
from course_lib.methods.distillation import pseudo_huber
from course_lib.process import randn_like, seeded
from course_lib.teaching.checks import epsilon
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.epsilon import SHEET, Moves
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import PICTURES, POINTS, PROCESS, Spy, Z, affine

# consistency_function


def _consistency_function(F, x_t, a, b, sigma_data):
    """c_skip x_t / a + c_out F, at the noise b / a. Song et al. 2023, eq. 5 and appendix C, with epsilon = 0."""
    sigma = b / a
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma**2 + sigma_data**2) ** 0.5
    return c_skip * x_t / a + c_out * F


def _at(*ts: int) -> tuple[Tensor, Tensor]:
    return PROCESS.coefficients(torch.tensor(ts), PICTURES)


ZERO, ONE = torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1, 1)

consistency_function = Check(
    "consistency_function",
    _consistency_function,
    cases=[
        Case("f(x, 0) = x, whatever the network outputs", on(5 * Z, PICTURES, ONE, ZERO, 1.0)),
        Case("f(x, 0) = x, for data of any width", on(5 * Z, PICTURES, ONE, ZERO, 0.5)),
        Case("sigma_data = 1: the network's share", on(Z, 0 * PICTURES, *_at(10, 25, 50), 1.0)),
        Case("sigma_data = 1: what is kept of x_t", on(0 * Z, PICTURES, *_at(10, 25, 50), 1.0)),
        Case("sigma_data = 0.5: the network's share", on(Z, 0 * PICTURES, *_at(10, 25, 50), 0.5)),
        Case("sigma_data = 0.5: what is kept of x_t", on(0 * Z, PICTURES, *_at(10, 25, 50), 0.5)),
        Case("points (B, 2), as well as pictures", on(POINTS + 1, POINTS, *PROCESS.coefficients(30, POINTS), 0.8)),
        Case("F and x_t are left as they were", after(Z, PICTURES, *_at(10, 25, 50), 0.5)),
    ],
    mistakes={
        "x_t is taken as it is: their x has no signal before it, and is our x_t / a": {"x_t / a": "x_t"},
        "the noise is our b: theirs, beside data of full size, is b / a": {"sigma = b / a": "sigma = b", "x_t / a": "x_t"},
        "that is v with its own sign: F is minus v here": {"+ c_out": "- c_out"},
        "nothing is kept of x_t, so nothing holds f(x, 0) at x": {"c_skip * x_t / a + c_out * F": "F"},
        "sigma_data is forgotten: it stands as 1": {"sigma = b": "sigma_data = 1\n    sigma = b"},
        "that is v-prediction: F is minus v here, and sigma_data may be any number": {
            "c_skip * x_t / a + c_out * F": "a * x_t - b * F"
        },
        "F is read as the noise, (x_t - b F) / a": {"c_skip * x_t / a + c_out * F": "(x_t - b * F) / a"},
        "c_out lacks its root": {" ** 0.5": ""},
        "c_out lacks sigma_data, which multiplies sigma": {"sigma * sigma_data /": "sigma /"},
        "c_skip and c_out have changed places": {"c_skip * x_t": "c_out * x_t", "c_out * F": "c_skip * F"},
        "the squares are missing in c_skip": {
            "sigma_data**2 / (sigma**2 + sigma_data**2)\n": "sigma_data / (sigma + sigma_data)\n"
        },
        "c_skip has sigma in its numerator; sigma_data belongs there": {"c_skip = sigma_data**2": "c_skip = sigma**2"},
        "F is divided by a, too; only x_t is": {"c_skip * x_t / a + c_out * F": "(c_skip * x_t + c_out * F) / a"},
        "a / b stands where the noise b / a belongs": {"b / a\n": "a / b\n"},
        "sigma is replaced by sigma - 0.002, their smallest noise; ours is 0": {
            "c_skip = sigma_data**2 / (sigma**2 +": "c_skip = sigma_data**2 / ((sigma - 0.002) ** 2 +",
            "c_out = sigma * sigma_data": "c_out = (sigma - 0.002) * sigma_data",
        },
    },
    hint="sigma = b / a; c_skip = sigma_data^2 / (sigma^2 + sigma_data^2); "
    "c_out = sigma sigma_data / sqrt(sigma^2 + sigma_data^2); c_skip x_t / a + c_out F.",
)


# consistency_distillation. As in lesson 02, a right answer may draw its random numbers in any order. So what is compared is
# what student and target are given, the gradients with which each step of the optimizer begins, and the target's new weight.
TIMES, CLOUD, SHEETS, SMALL = [50, 40, 25, 10, 0], (10_000, 2), (3000, 1, 3, 2), (1000, 2)
FIRST, MU = (0.9, 0.7), 0.8
"""The first weights of student and target, and the decay of the target's average."""


def _rule(weight: Tensor | float, x: Tensor, time: Tensor) -> Tensor:
    return affine(weight, x.tanh(), time)


def _spy(weight: float) -> Spy:
    spy = Spy(_rule)
    spy.weight.data.fill_(weight)
    return spy


class _Recorded:
    """A consistency distillation of networks of one weight: what each step did, for `teacher` or, if None, for data alone."""

    def __init__(self, loop: Callable, *shape: int, n: int = 3, teach: bool = True, mu: float = MU):
        self.spies, self.teach, self.mu = tuple(map(_spy, FIRST)), teach, mu
        student, target, teacher = (Network(net, deepcopy(PROCESS), "v") for net in (*self.spies, _spy(0.6)))
        optimizer = epsilon._Optimizer(self.spies[0].parameters(), lr=0.05)
        self.drawn: list[Tensor] = []
        self.steps: list[dict] = []

        def draw(rng: torch.Generator) -> Tensor:
            self.drawn.append(torch.randn(shape, generator=rng) + 0.5)
            return self.drawn[-1].clone()

        optimizer.watch = self._watch
        given = student, target, teacher if teach else None, draw, optimizer, n, torch.tensor(TIMES), mu, seeded(7)
        self.losses = torch.as_tensor(loop(*given))
        if not self.steps:
            raise Refused("the weights never move: optimizer.step() is never called")
        self.weights = [step["weights"] for step in self.steps[1:]] + [self._weights()]  # after each step

    def _weights(self) -> Tensor:
        return torch.stack([spy.weight.detach().clone() for spy in self.spies])

    def _watch(self) -> None:
        """Records a step just before the optimizer moves the weights."""
        if not self.drawn:
            raise Refused("no batch is drawn: draw(rng) gives one")
        step: dict = {"x0": self.drawn[-1], "weights": self._weights()}
        for name, spy in zip(("student", "target"), self.spies):
            if spy.input is None:
                lag = " (its weights lag behind the student's)" if name == "target" else ""
                raise Refused(f"the {name}{lag} is never called: its picture is {name}(x, time).x0")
            x, time = spy.input
            if len(x) != len(self.drawn[-1]):
                raise Refused(f"the {name} must be given all {len(self.drawn[-1])} of the batch, it was given {len(x)}")
            grad = torch.zeros(()) if spy.weight.grad is None else spy.weight.grad.clone()
            step[name] = x, (time * PROCESS.T).round().long(), grad
        self.steps.append(step)

    def _each(self, read: Callable[[dict], Tensor]) -> Tensor:
        return torch.stack([torch.as_tensor(read(step)) for step in self.steps])

    @staticmethod
    def _noise(step: dict) -> Tensor:
        """The noise in x_t: what it holds beside x_0."""
        x_t, t, _ = step["student"]
        a, b = PROCESS.coefficients(t.clamp(min=1), x_t)
        return (x_t - a * step["x0"]) / b

    def _loss(self, step: dict) -> tuple[Tensor, Tensor]:
        """The right loss for what student and target were given, and its slope in the student's weight."""
        (x_t, t, _), (x_s, s, _) = step["student"], step["target"]
        weight = step["weights"][0].clone().requires_grad_()
        picture = lambda weight, x, t: Network(lambda x, time: _rule(weight, x, time), PROCESS, "v")(x, t).x0
        value = pseudo_huber(picture(weight, x_t, t), picture(step["weights"][1], x_s, s)).mean()
        return value.detach(), torch.autograd.grad(value, weight)[0]

    @property
    def counts(self) -> Tensor:
        """How often each of the times but the last is drawn, over how often it should be: about 1; then others: 0."""

        def count(step: dict) -> Tensor:
            found = torch.bincount(step["student"][1], minlength=PROCESS.T + 1)
            at = found[TIMES[:-1]]
            return torch.cat([at, found.sum(0, keepdim=True) - at.sum()]) * (len(TIMES) - 1) / len(step["x0"])

        return self._each(count).mean(0)

    @property
    def noise(self) -> Tensor:
        """Mean, standard deviation over the batch, and covariance with x_0 of the noise in x_t: 0, 1, 0."""

        def of(step: dict) -> Tensor:
            eps, x0 = self._noise(step), step["x0"]
            return torch.stack([eps.mean(), eps.std(0).mean(), (eps * (x0 - x0.mean(0))).mean()])

        return self._each(of).mean(0)

    @property
    def neighbours(self) -> Tensor:
        """Whether the target's time is the next one after the student's, for all of the batch."""
        after = {t: s for t, s in pairwise(TIMES)}
        pairs = lambda step: zip(step["student"][1].tolist(), step["target"][1].tolist())
        return self._each(lambda step: torch.tensor(all(after.get(t) == s for t, s in pairs(step)))).all()

    @property
    def missed(self) -> Tensor:
        """The largest distance of the target's point from where one DDIM step from x_t ends: 0.

        The step is the teacher's, or, without one, that of the true x_0 and noise.
        """

        def of(step: dict) -> Tensor:
            (x_t, t, _), (x_s, s, _) = step["student"], step["target"]
            x0, eps = step["x0"], self._noise(step)
            if self.teach:
                pred = Network(_spy(0.6), PROCESS, "v")(x_t, t)
                x0, eps = pred.x0.detach(), pred.eps.detach()
            return (PROCESS.add_noise(x0, s, eps) - x_s).abs().max()

        return self._each(of).max().round(decimals=4)  # without rounding errors

    @property
    def gradients(self) -> Tensor:
        """The gradient with which each step begins, over that of the right loss: 1."""
        return self._each(lambda step: step["student"][2] / self._loss(step)[1])

    @property
    def of_target(self) -> Tensor:
        """The gradient that the target's weight has: 0, since nothing flows through it."""
        return self._each(lambda step: step["target"][2]).abs().max()

    @property
    def average(self) -> Tensor:
        """The target's weight after each step less mu times the old one and 1 - mu times the student's: 0."""
        before = [torch.tensor(FIRST), *self.weights]
        pairs = zip(before, self.weights)
        return (
            torch.stack([new[1] - self.mu * old[1] - (1 - self.mu) * new[0] for old, new in pairs])
            .abs()
            .max()
            .round(decimals=4)
        )

    @property
    def ratios(self) -> Tensor:
        """Each loss that is returned, over the right one: 1."""
        right = self._each(lambda step: self._loss(step)[0])
        return self.losses / right if self.losses.shape == right.shape else self.losses

    @property
    def fresh(self) -> Tensor:
        """Whether the batch, the times and the noise of a step are independent of those of the step before: three."""
        same = []
        for one, other in pairwise(self.steps):
            pairs = (one["x0"] - 0.5, other["x0"] - 0.5), (self._noise(one), self._noise(other))
            like = [torch.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in pairs]
            times = (one["student"][1] == other["student"][1]).double().mean()
            same.append(torch.stack([like[0].abs() < 0.1, times < 0.5, like[1].abs() < 0.1]))
        return torch.stack(same).all(0)


def _consistency_distillation(student, target, teacher, draw, optimizer, steps, times, mu, rng):
    """The loss at each of the steps (steps,). Song et al. 2023, Algorithm 2; without a teacher (None), Algorithm 3."""
    process, losses = student.process, []
    for _ in range(steps):
        x0 = draw(rng)
        i = torch.randint(len(times) - 1, (len(x0),), generator=rng)
        t, s, eps = times[i], times[i + 1], randn_like(x0, rng)
        x_t = process.add_noise(x0, t, eps)
        with torch.no_grad():
            if teacher is not None:
                pred = teacher(x_t, t)
                x0, eps = pred.x0, pred.eps
            goal = target(process.add_noise(x0, s, eps), s).x0
        loss = pseudo_huber(student(x_t, t).x0, goal).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(target.net.parameters(), student.net.parameters()):
                slow.lerp_(fast, 1 - mu)
        losses.append(loss.item())
    return torch.tensor(losses)


_BLOCK, _GOAL, _MINE = (
    "with torch.no_grad():\n            if",
    "target(process.add_noise(x0, s, eps), s).x0",
    "student(x_t, t).x0",
)
_I, _T_EACH = (
    "torch.randint(len(times) - 1, (len(x0),), generator=rng)",
    "t, s, eps = times[i], times[i + 1], randn_like(x0, rng)",
)
_AVERAGE = "slow.lerp_(fast, 1 - mu)"

consistency_distillation = Check(
    "consistency_distillation",
    _consistency_distillation,
    cases=[
        Case("there are as many steps of the optimizer as `steps` says", lambda f: float(len(_Recorded(f, 50, 2).steps))),
        Case("each of the batch has its own t, any of the times but the last", lambda f: _Recorded(f, *CLOUD).counts, 0.2),
        Case("x_t is signal(t) x_0 + noise(t) eps, with eps standard normal", lambda f: _Recorded(f, *CLOUD).noise, 0.05),
        Case("the target is called at the next of the times", lambda f: _Recorded(f, *SMALL).neighbours),
        Case("x_s is where the teacher's DDIM step from x_t ends", lambda f: _Recorded(f, *SMALL).missed),
        Case("without a teacher x_s has the true x_0 and eps of x_t", lambda f: _Recorded(f, *SMALL, teach=False).missed),
        Case("the optimizer steps along the student's gradient of the mean distance", lambda f: _Recorded(f, *SMALL).gradients),
        Case("the same for pictures (B, C, H, W)", lambda f: _Recorded(f, *SHEETS).gradients),
        Case("the target has no gradient: stop-gradient", lambda f: _Recorded(f, *SMALL).of_target),
        Case("after each step the target is mu target + (1 - mu) student", lambda f: _Recorded(f, *SMALL).average),
        Case("mu = 0: the target is the student of the step before", lambda f: _Recorded(f, *SMALL, mu=0.0).average),
        Case("the loss of each step is returned", lambda f: _Recorded(f, *SMALL).ratios),
        Case("each step draws a new batch, new times and new noise", lambda f: _Recorded(f, *SMALL).fresh),
        Case("the same rng gives the same training", lambda f: torch.equal(*(_Recorded(f, *SMALL).losses for _ in range(2)))),
    ],
    mistakes={
        "stop-gradient is missing: the target has a gradient too": {_BLOCK: _BLOCK.replace("no_grad", "enable_grad")},
        "stop-gradient is on the wrong side: the student's picture has no gradient, the target's has": {
            _BLOCK: _BLOCK.replace("no_grad", "enable_grad"),
            _MINE: "student(x_t, t).x0.detach()",
        },
        "student and target are swapped: the target is called at t and has the gradient": {
            "goal = target(": "goal = student(",
            _MINE: "target(x_t, t).x0",
        },
        "the target is called at x_t: no step to s was made": {_GOAL: "target(x_t, t).x0"},
        "the target is given time t; its point lies at s": {"eps), s).x0": "eps), t).x0"},
        "the student is called at x_s, as the target is; it should be called at x_t": {
            _MINE: "student(process.add_noise(x0, s, eps), s).x0"
        },
        "the teacher is called with time s; x_t lies at t": {"teacher(x_t, t)": "teacher(x_t, s)"},
        "the teacher is not used: x_s has the true x_0 and eps": {"x0, eps = pred.x0, pred.eps": "pass"},
        "x_s has the true x_0; the teacher's step uses the x_0 that it predicts as well": {
            "x0, eps = pred.x0, pred.eps": "eps = pred.eps"
        },
        "x_s is the predicted x_0, without noise; it should be noised to s": {"process.add_noise(x0, s, eps), s": "x0, s"},
        "x_s has new noise; the step keeps the noise that is predicted": {
            "process.add_noise(x0, s, eps), s": "process.add_noise(x0, s, randn_like(x0, rng)), s"
        },
        "the step to s is the student's own prediction; the teacher should make it": {"teacher(x_t, t)": "student(x_t, t)"},
        "the predicted noise is compared, not the predicted x_0": {
            "eps), s).x0": "eps), s).eps",
            _MINE: "student(x_t, t).eps",
        },
        "the target never moves: its weights must follow the student's": {_AVERAGE: "pass"},
        "mu and 1 - mu have changed places": {_AVERAGE: "slow.lerp_(fast, mu)"},
        "the target becomes a copy of the student: mu is not used": {_AVERAGE: "slow.copy_(fast)"},
        "the average runs the wrong way: the student's weights are pulled to the target's": {
            _AVERAGE: "fast.lerp_(slow, 1 - mu)"
        },
        "the target is averaged before the optimizer steps; it should follow the new weights": {
            "        optimizer.step()\n": "",
            "        losses.append": "        optimizer.step()\n        losses.append",
        },
        "one t is drawn for the whole batch; draw one for each": {
            _I: "torch.randint(len(times) - 1, (1,), generator=rng).expand(len(x0))"
        },
        "t is any time from 1 to T; draw one of `times`": {
            "t, s, eps = times[i], times[i + 1],": "t = process.sample_t(len(x0), rng)\n        s, eps = times[i + 1],"
        },
        "t is the earlier and s the later of two neighbours": {"times[i], times[i + 1]": "times[i + 1], times[i]"},
        "s is two times further, not the next": {
            _I: "torch.randint(len(times) - 2, (len(x0),), generator=rng)",
            "times[i + 1]": "times[i + 2]",
        },
        "the gradients of all steps add up: optimizer.zero_grad() is missing": {"optimizer.zero_grad()": "pass"},
        "all steps train on one batch: draw(rng) belongs inside the loop": {"draw(rng)": "draw(seeded(5))"},
        "all steps have the same noise: draw it anew in each": {
            "times[i + 1], randn_like(x0, rng)": "times[i + 1], randn_like(x0, seeded(5))"
        },
        "the noise is not drawn from rng: pass generator=rng": {
            "times[i + 1], randn_like(x0, rng)": "times[i + 1], torch.randn_like(x0)"
        },
        "the loss of the last step is returned, not the losses of all steps": {"tensor(losses)": "tensor(losses[-1])"},
        "the distances are summed; their mean is asked for": {", goal).mean()": ", goal).sum()"},
        "the distance is divided by the number of values of a picture; pseudo_huber is not": {
            ", goal).mean()": ", goal).mean() / x0[0].numel()"
        },
        "the mean squared error is taken; use pseudo_huber": {
            "pseudo_huber(student(x_t, t).x0, goal).mean()": "(student(x_t, t).x0 - goal).square().mean()"
        },
    },
    hint="In each step: x0 = draw(rng); i = torch.randint(len(times) - 1, (len(x0),), generator=rng); t, s = times[i], "
    "times[i + 1]; x_t. Under torch.no_grad(): the teacher's x_0 and eps, with them x_s, and goal = target(x_s, s).x0. Then "
    "pseudo_huber(student(x_t, t).x0, goal).mean(), zero_grad(), backward(), step(); slow.lerp_(fast, 1 - mu) for each pair of "
    "parameters; and keep loss.item().",
    shown=(distillation.consistency_loss,),
)


# consistency_sampling. The noise may be drawn in any order, or not at all where it is multiplied by 0: see Moves.
def _moves(f: Callable, times: list[int], x: Tensor = epsilon.CLOUD[:8000]) -> Moves:
    """The moves of the sampler between these times of the recorder's chain."""
    return Moves(lambda denoiser, x, rng: f(denoiser, x, [*times], rng), x)


def _end(f: Callable, x: Tensor, times: list[int]) -> Tensor:
    """The end of a single jump, which has no noise."""
    return f(Network(_spy(0.9).requires_grad_(False), deepcopy(PROCESS), "v"), x.clone(), [*times], seeded(3))


SKIPPING, ALL = [5, 3, 1, 0], [5, 4, 3, 2, 1, 0]


def _consistency_sampling(f: Denoiser, x: Tensor, times: Sequence[int], rng: torch.Generator) -> Tensor:
    """x_0 (B, ...) from the noise x at times[0]. Song et al. 2023, Algorithm 1."""
    for t, s in pairwise(times):
        x0 = f(x, t).x0
        x = f.process.add_noise(x0, s, randn_like(x, rng))
    return x


_Z, _MOVE = "randn_like(x, rng)", "f.process.add_noise(x0, s, randn_like(x, rng))"

consistency_sampling = Check(
    "consistency_sampling",
    _consistency_sampling,
    cases=[
        Case("one jump from each of the times but the last, in their order", lambda f: _moves(f, SKIPPING).t),
        Case("a single jump, to s = 0: the predicted x_0", lambda f: _end(f, PICTURES, [40, 0])),
        Case("the same for points (B, 2)", lambda f: _end(f, POINTS, [50, 0])),
        Case("the predicted x_0 is multiplied by signal(s)", lambda f: _moves(f, SKIPPING).a, 0.03),
        Case("nothing is left of the predicted noise", lambda f: _moves(f, SKIPPING).b, 0.03),
        Case("the new noise has the standard deviation noise(s), 0 at s = 0", lambda f: _moves(f, SKIPPING).c, 0.03),
        Case("over all times, too", lambda f: _moves(f, ALL).c, 0.03),
        Case("the same for pictures (B, C, H, W)", lambda f: _moves(f, SKIPPING, SHEET).c, 0.05),
        Case("each jump has noise of its own", lambda f: _moves(f, ALL).fresh),
        Case("the same rng gives the same x_0", lambda f: torch.equal(*(_moves(f, ALL).end for _ in range(2)))),
        Case("x is left as it was", lambda f: _moves(f, SKIPPING).x[:5]),
    ],
    mistakes={
        "the predicted noise is put back: that is DDIM; here the noise is new": {
            _MOVE: "f.process.add_noise(x0, s, f(x, t).eps)"
        },
        "x_t is noised again, not the predicted x_0": {"add_noise(x0": "add_noise(x"},
        "it is noised back to t, where it came from; s is where it should go": {"add_noise(x0, s": "add_noise(x0, t"},
        "no noise is added": {_MOVE: "f.process.coefficients(s, x)[0] * x0"},
        "the predicted x_0 is handed on as it is; noise it to s": {_MOVE: "x0"},
        "the square roots are missing": {_MOVE: f"f.process.alpha_bar(s) * x0 + (1 - f.process.alpha_bar(s)) * {_Z}"},
        "the predicted x_0 keeps its full size; it is multiplied by signal(s)": {
            _MOVE: f"x0 + f.process.coefficients(s, x)[1] * {_Z}"
        },
        "the noise keeps its full size; it is multiplied by noise(s)": {_MOVE: f"f.process.coefficients(s, x)[0] * x0 + {_Z}"},
        "x_0 is predicted as if x lay at s; it lies at t": {"f(x, t)": "f(x, max(s, 1))"},
        "it goes to t - 1, whatever s": {"add_noise(x0, s": "add_noise(x0, t - 1"},
        "signal and noise have changed places": {_MOVE: f"f.process.add_noise({_Z}, s, x0)"},
        "all jumps have the same noise: draw a new z in each": {"(x, rng)": "(x, seeded(5))"},
        "all of the batch gets the same noise": {_Z: "randn_like(x[:1], rng).expand_as(x)"},
        "the noise is not drawn from rng: pass generator=rng": {_Z: "torch.randn_like(x)"},
        "the predicted x_0 is clipped to [-1, 1]": {"f(x, t).x0": "f(x, t).x0.clamp(-1, 1)"},
        "the last jump, to s = 0, is missing": {"pairwise(times)": "pairwise(times[:-1])"},
        "each jump starts from the first noise: x is not carried on": {
            "for t": "start = x\n    for t",
            "f(x, t)": "f(start, t)",
        },
        "the times run upwards": {"pairwise(times)": "pairwise(sorted(times))"},
    },
    hint="For each pair t, s of neighbours: x0 = f(x, t).x0; x = f.process.add_noise(x0, s, z) with a new z.",
    shown=(samplers.consistency,),
)
