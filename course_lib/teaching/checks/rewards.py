"""Lesson 28: guidance in an interval, particles with a reward, Diffusion-DPO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from course_lib import guidance
from course_lib.methods import rewards
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import normal

# interval_guidance

X, PICTURES = normal(6, 2, seed=1), normal(3, 2, 4, 5, seed=2)


def main(x: Tensor, t: float) -> Tensor:
    """A model's predicted x_0."""
    return 0.8 * x + t


def other(x: Tensor, t: float) -> Tensor:
    """The predicted x_0 of what guides it."""
    return 0.3 * x - 0.5 * t + 0.1


class _Calls:
    """What the function returns for two models, and how often it calls each."""

    def __init__(self, fn: Callable, *args):
        self.n = [0, 0]
        x, *more = args
        self.value = torch.as_tensor(fn(self._counted(0, main), self._counted(1, other), x.clone(), *more))

    def _counted(self, which: int, model: Callable) -> Callable:
        def called(x, t):
            self.n[which] += 1
            return model(x, t)

        return called


def _calls(*args) -> Callable[[Callable], Tensor]:
    return lambda f: torch.tensor(_Calls(f, *args).n)


def _interval_guidance(main, guide, x, t, sigma, w, low, high):
    """The predicted x_0 (B, ...): guided where low < sigma <= high, else that of main. Kynkaanniemi et al. 2024."""
    x0 = main(x, t)
    if low < sigma <= high:
        weak = guide(x, t)
        x0 = weak + w * (x0 - weak)
    return x0


_INSIDE, _MIX = "low < sigma <= high", "weak + w * (x0 - weak)"

interval_guidance = Check(
    "interval_guidance",
    _interval_guidance,
    cases=[
        Case("guided inside of the interval", on(main, other, X, 0.4, 1.0, 3.0, 0.5, 2.0)),
        Case("main alone below it", on(main, other, X, 0.4, 0.3, 3.0, 0.5, 2.0)),
        Case("main alone above it", on(main, other, X, 0.4, 5.0, 3.0, 0.5, 2.0)),
        Case("its lower end is outside", on(main, other, X, 0.4, 0.5, 3.0, 0.5, 2.0)),
        Case("its upper end is inside", on(main, other, X, 0.4, 2.0, 3.0, 0.5, 2.0)),
        Case("pictures (B, C, H, W), as well as points", on(main, other, PICTURES, 0.7, 1.0, 2.0, 0.5, 2.0)),
        Case("w = 1 gives main", on(main, other, X, 0.4, 1.0, 1.0, 0.5, 2.0)),
        Case("outside, the guide is not evaluated", _calls(X, 0.4, 0.3, 3.0, 0.5, 2.0)),
        Case("inside, each model is evaluated once", _calls(X, 0.4, 1.0, 3.0, 0.5, 2.0)),
        Case("x is left as it was", after(main, other, X, 0.4, 1.0, 3.0, 0.5, 2.0)),
    ],
    mistakes={
        "guidance is everywhere: outside of (low, high] the result is that of main": {_INSIDE: "True"},
        "guidance is outside of the interval: it belongs inside": {_INSIDE: "not low < sigma <= high"},
        "only the upper end limits guidance: small noise levels are guided too": {_INSIDE: "sigma <= high"},
        "only the lower end limits guidance: large noise levels are guided too": {_INSIDE: "low < sigma"},
        "the interval is compared with t, not with the noise level sigma": {_INSIDE: "low < t <= high"},
        "main and guide change places in the mix: it starts from the guide": {_MIX: "x0 + w * (weak - x0)"},
        "the sum is main + w (main - guide), where w = 1 would not give main: it starts from the guide": {
            _MIX: "x0 + w * (x0 - weak)"
        },
        "w is left out of the mix": {_MIX: "weak + (x0 - weak)"},
        "outside of the interval the guide is returned, where main belongs": {
            "    return x0": "    return x0 if low < sigma <= high else guide(x, t)"
        },
        "the two predictions are averaged by w: it extrapolates from the guide through main": {
            _MIX: "(x0 + w * weak) / (1 + w)"
        },
        "the guide is evaluated outside of the interval too: evaluate it only where it is used": {
            "    x0 = main(x, t)": "    x0, weak = main(x, t), guide(x, t)",
            "weak = guide(x, t)": "pass",
        },
    },
    hint="x0 = main(x, t). Only if low < sigma <= high: weak = guide(x, t), and the result is weak + w (x0 - weak).",
    shown=(guidance.Interval, guidance.AutoGuidance, guidance.ClassifierFree),
)


# particle_sampler

START, GRAIN = normal(6, 2, seed=3), normal(4, 1, 2, 3, seed=4)
TIMES, BETA = [3, 2, 1, 0], 0.7


def first(x: Tensor) -> Tensor:
    """A reward (B,): the mean of each member's numbers."""
    return x.flatten(1).mean(1)


class _Run:
    """What a sampler passes to `resample` and `move`, and what it returns."""

    def __init__(self, fn: Callable, x: Tensor = START, times=TIMES, beta: float = BETA):
        self.weights: list[Tensor] = []
        self.moved: list[tuple[Tensor, Tensor, float, float]] = []
        order = torch.arange(len(x)).roll(1).clone()
        order[-1] = 0  # one is taken twice, one never

        def denoiser(x, t):
            if not isinstance(x, Tensor):
                raise Refused("denoiser takes x (B, ...) and a time")
            return 0.6 * x + 0.1 * float(t)

        def move(x, x0, t, s):
            self.moved.append((x.clone(), x0.clone(), float(t), float(s)))
            return 0.5 * x + 0.4 * x0 + 0.05 * float(s)

        def resample(weights):
            weights = torch.as_tensor(weights)
            if weights.shape != (len(x),):
                raise Refused(f"resample takes one weight for each particle ({len(x)},), got shape {tuple(weights.shape)}")
            self.weights.append(weights.double() / weights.double().sum())
            return order.clone()

        self.value = torch.as_tensor(fn(denoiser, x.clone(), list(times), first, beta, move, resample))

    @property
    def shares(self) -> Tensor:
        """The weights of each resampling over their sum."""
        if not self.weights:
            raise Refused("nothing is resampled: call resample(weights)")
        return torch.stack(self.weights)

    def passed(self, which: int) -> Tensor:
        """What `move` is given: x, x_0, t or s of each move."""
        if not self.moved:
            raise Refused("nothing moves: call move(x, x0, t, s)")
        return torch.stack([torch.as_tensor(each[which]) for each in self.moved])


def _particle_sampler(denoiser, x, times, reward, beta, move, resample):
    """Samples (B, ...) of p exp(r / beta), for many particles. Singhal et al. 2025, with the difference potential."""
    last = torch.zeros(len(x))
    for t, s in zip(times[:-1], times[1:]):
        x0 = denoiser(x, t)
        value = reward(x0)
        i = resample(((value - last) / beta).exp())
        x, x0, last = x[i], x0[i], value[i]
        x = move(x, x0, t, s)
    value = reward(x)
    return x[resample(((value - last) / beta).exp())]


_WEIGHT, _TAKE = "i = resample(((value - last) / beta).exp())", "x, x0, last = x[i], x0[i], value[i]"
_LAST = "return x[resample(((value - last) / beta).exp())]"

particle_sampler = Check(
    "particle_sampler",
    _particle_sampler,
    cases=[
        Case("the weights of the first resampling are exp(r / beta)", lambda f: _Run(f).shares[0]),
        Case("the weights of all resamplings, before each move and at the end", lambda f: _Run(f).shares),
        Case("the particles that move are those that were drawn", lambda f: _Run(f).passed(0)),
        Case("each moves towards its own predicted x_0", lambda f: _Run(f).passed(1)),
        Case("the moves go from each time to the next", lambda f: torch.stack([_Run(f).passed(k) for k in (2, 3)])),
        Case("the samples are returned", lambda f: _Run(f).value),
        Case("pictures (B, C, H, W), as well as points", lambda f: _Run(f, GRAIN).value),
        Case("another beta", lambda f: _Run(f, beta=2.0).shares),
        Case("one move", lambda f: _Run(f, times=[1, 0]).shares),
    ],
    mistakes={
        "the weights are exp(r / beta) at each step: the reward of the step before is counted again and again": [
            {_WEIGHT: "i = resample((value / beta).exp())"},
            {_WEIGHT: "i = resample((value / beta).exp())", _LAST: "return x[resample((value / beta).exp())]"},
        ],
        "the particles are drawn, but their rewards stay where they were: a particle takes its own reward with it": {
            _TAKE: "x, x0, last = x[i], x0[i], value"
        },
        "the predicted x_0 stay where they were: a particle takes its own prediction with it": {
            _TAKE: "x, last = x[i], value[i]"
        },
        "the particles stay where they were: x[i] are those that were drawn": {_TAKE: "x0, last = x0[i], value[i]"},
        "the reward is that of the noisy x_t: it belongs to the predicted x_0": {"value = reward(x0)": "value = reward(x)"},
        "the last resampling, by the reward of the sample itself, is missing": {_LAST: "return x"},
        "the last resampling has the weights exp(r / beta): that of the step before was counted already": {
            _LAST: "return x[resample((value / beta).exp())]"
        },
        "the reward is multiplied by beta, where it is divided": {
            _WEIGHT: "i = resample(((value - last) * beta).exp())",
            _LAST: "return x[resample(((value - last) * beta).exp())]",
        },
        "the weights are not exponentials": {
            _WEIGHT: "i = resample((value - last) / beta)",
            _LAST: "return x[resample((value - last) / beta)]",
        },
        "the sign of the reward is turned: low rewards are drawn": {
            _WEIGHT: "i = resample(((last - value) / beta).exp())",
            _LAST: "return x[resample(((last - value) / beta).exp())]",
        },
        "nothing is resampled before the moves: only at the end": {
            _WEIGHT: "i = torch.arange(len(x))",
            _TAKE: "",
        },
        "the best particle of the last step is returned alone": {_LAST: "return x[value.argmax()][None]"},
    },
    hint="last = zeros. Before each move: x0 = denoiser(x, t); weights exp((reward(x0) - last) / beta); take the drawn x, x0 "
    "and rewards (they are the next `last`); move. At the end resample once more by exp((reward(x) - last) / beta).",
    shown=(rewards.particles, rewards.resample),
)


# dpo_loss

WINNER, LOSER, EPS = normal(5, 2, seed=5) + 0.4, normal(5, 2, seed=6) - 0.3, normal(5, 2, seed=7)
T_EACH = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
SHEETS = tuple(normal(3, 1, 2, 4, seed=seed) for seed in (8, 9, 10))


def straight(x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_t of some process."""
    t = t.view(-1, *[1] * (x0.ndim - 1))
    return (1 - t) * x0 + t * eps


def linear(weight: Tensor | float, x: Tensor, t: Tensor) -> Tensor:
    """A model's predicted noise."""
    return weight * x + t.view(-1, *[1] * (x.ndim - 1)) - 0.3


MODEL, REFERENCE = partial(linear, 0.9), partial(linear, 0.5)


def _gradients(fn: Callable) -> Tensor:
    """The gradient of the loss in the model's weight, and whether the reference's weight has one."""
    weight, fixed = (torch.tensor(v, requires_grad=True) for v in (0.9, 0.5))
    loss = fn(partial(linear, weight), partial(linear, fixed), WINNER, LOSER, T_EACH, EPS, straight, 2.0)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise Refused("the loss has no gradient in the model's weights")
    mine, other = torch.autograd.grad(loss, (weight, fixed), allow_unused=True)
    return torch.stack([mine, torch.tensor(float(other is not None))])


def _dpo_loss(model, reference, winner, loser, t, eps, add_noise, c):
    """The loss () of Diffusion-DPO on pairs, each (B, ...); c is beta T omega. Wallace et al. 2023, eq. 14."""

    def gain(x0):
        x_t = add_noise(x0, t, eps)
        with torch.no_grad():
            before = (reference(x_t, t) - eps).square().flatten(1).sum(1)
        return (model(x_t, t) - eps).square().flatten(1).sum(1) - before

    return -logsigmoid(-c * (gain(winner) - gain(loser))).mean()


_END = "-logsigmoid(-c * (gain(winner) - gain(loser))).mean()"
_OF = (MODEL, REFERENCE, WINNER, LOSER, T_EACH, EPS, straight)

dpo_loss = Check(
    "dpo_loss",
    _dpo_loss,
    cases=[
        Case("the loss of five pairs", on(*_OF, 2.0)),
        Case("a model that is the reference: log 2", on(REFERENCE, *_OF[1:], 2.0)),
        Case("another c", on(*_OF, 0.3)),
        Case(
            "pictures (B, C, H, W), as well as points", on(MODEL, REFERENCE, *SHEETS[:2], T_EACH[:3], SHEETS[2], straight, 1.0)
        ),
        Case("one pair", on(MODEL, REFERENCE, WINNER[:1], LOSER[:1], T_EACH[:1], EPS[:1], straight, 2.0)),
        Case("a very large c gives no infinity", on(*_OF, 1e5)),
        Case("the gradient in the model's weight, and none in the reference's", _gradients, 1e-3),
        Case("the pairs are left as they were", after(*_OF, 2.0)),
    ],
    mistakes={
        "winner and loser change places, or the sign inside of the sigmoid is turned: the loss makes the loser likelier": {
            "logsigmoid(-c": "logsigmoid(c"
        },
        "the reference is left out: only the change from it counts": {".sum(1) - before": ".sum(1)"},
        "only the winner counts; the loser's change belongs to it": {"gain(winner) - gain(loser)": "gain(winner)"},
        "the sigmoid's logarithm is missing": {_END: "-torch.sigmoid(-c * (gain(winner) - gain(loser))).mean()"},
        "the minus before the logarithm is missing": {"-logsigmoid(-c": "logsigmoid(-c"},
        "the mean is taken inside of the sigmoid: each pair has a sigmoid of its own": {
            _END: "-logsigmoid(-c * (gain(winner) - gain(loser)).mean())"
        },
        "c is left out": {"-c * (gain": "-(gain"},
        "the losses of the pairs are summed, where their mean belongs": {_END: _END.replace("mean()", "sum()")},
        "the mean is taken over a picture's numbers, where their sum belongs": {
            "(reference(x_t, t) - eps).square().flatten(1).sum(1)": "(reference(x_t, t) - eps).square().flatten(1).mean(1)",
            "(model(x_t, t) - eps).square().flatten(1).sum(1)": "(model(x_t, t) - eps).square().flatten(1).mean(1)",
        },
        "the models are given x_0, not x_t": {"x_t = add_noise(x0, t, eps)": "x_t = x0"},
        "gradients reach the reference: its errors are computed under torch.no_grad()": {
            "torch.no_grad()": "torch.enable_grad()"
        },
        "log(sigmoid(...)) is minus infinity for large differences: use logsigmoid": {
            _END: "-torch.sigmoid(-c * (gain(winner) - gain(loser))).log().mean()"
        },
    },
    hint="For x0 = winner and loser: x_t = add_noise(x0, t, eps); gain = |model(x_t, t) - eps|^2 - the same of the reference, "
    "summed over a member's numbers. The loss is the mean of -logsigmoid(-c (gain of winner - gain of loser)).",
    shown=(rewards.dpo_loss,),
)
