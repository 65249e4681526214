"""Lesson 02: the epsilon loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import samplers, training
from course_lib.denoisers import Denoiser, Network
from course_lib.prediction import Prediction
from course_lib.process import DDPM, Time, randn_like, seeded
from course_lib.samplers import ddpm
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import CLOUD, PROCESS, Record, Spy, normal

# training_loop. A right answer may draw t and the noise in any order, and clear the gradient anywhere. So what is compared is
# what the network is given, and the gradient with which each step of the optimizer begins.
STEPS = 3


class _Optimizer(torch.optim.SGD):
    """An optimizer that shows itself to `watch` before each step."""

    watch: Callable[[], None]

    def step(self, *args, **kwargs):
        self.watch()
        return super().step(*args, **kwargs)


def losses_of(loop: Callable[[_Optimizer], Any], weights: Iterable[nn.Parameter], watch: Callable[[], None]) -> Tensor:
    """What a training loop returns; `watch` is called before each step of the optimizer that it is given."""
    optimizer, steps = _Optimizer(weights, lr=0.05), []
    optimizer.watch = lambda: (watch(), steps.append(True))
    losses = torch.as_tensor(loop(optimizer))
    if not steps:
        raise Refused("the weights never move: optimizer.step() is never called")
    return losses


class _Step(Record):
    """What a training loop did up to one step of its optimizer; `slope` compares the gradients."""

    def __init__(self, spy: Spy, network: Network, x0: Tensor):
        self._read(spy, network, x0)
        self.input, self.rule = spy.input, spy.rule
        self.weight = spy.weight.detach().clone().requires_grad_()
        self.found = torch.zeros(()) if spy.weight.grad is None else spy.weight.grad.clone()

    @cached_property
    def error(self) -> Tensor:
        """The right loss for what the network was given."""
        return (self.rule(self.weight, *self.input) - self.eps).square().mean()

    @property
    def gradient(self) -> Tensor:
        """The gradient that the step begins with, over that of the right loss: 1."""
        return self.found / torch.autograd.grad(self.error, self.weight, retain_graph=True)[0]

    call = "its prediction is network(x_t, t)"


class _Training:
    """A training of a network of one weight: the `losses` that are returned, and the `steps` of the optimizer."""

    def __init__(self, loop: Callable, *shape: int, n: int = STEPS):
        self.steps: list[_Step] = []
        spy, drawn = Spy(), []
        network = Network(spy, deepcopy(PROCESS))

        def draw(rng: torch.Generator) -> Tensor:
            drawn.append(torch.randn(shape, generator=rng) + 0.5)
            return drawn[-1].clone()

        def watch():
            if not drawn:
                raise Refused("no pictures are drawn: draw(rng) gives a batch")
            self.steps.append(_Step(spy, network, drawn[-1]))

        self.losses = losses_of(lambda optimizer: loop(network, draw, optimizer, n, seeded(7)), spy.parameters(), watch)

    @property
    def gradients(self) -> Tensor:
        """The gradient with which each step begins, over that of the right loss: 1."""
        return torch.stack([step.gradient for step in self.steps])

    @property
    def ratios(self) -> Tensor:
        """Each loss that is returned, over the right one: 1."""
        right = torch.stack([step.error for step in self.steps])
        return self.losses / right if self.losses.shape == right.shape else self.losses

    @property
    def noise(self) -> Tensor:
        """Mean, standard deviation and covariance with x_0 of the noise, the mean over all steps: 0, 1, 0."""
        return torch.stack([step.noise for step in self.steps]).mean(0)

    @property
    def counts(self) -> Tensor:
        """How often each t is drawn in a step, over how often it should be, from the rarest on, the mean over all steps: 1."""
        return torch.stack([step.counts(PROCESS.T) for step in self.steps]).mean(0)

    @property
    def out_of_range(self) -> Tensor:
        """Whether any t lies outside 1 .. T."""
        return torch.stack([step.out_of_range(PROCESS.T) for step in self.steps]).any()

    @property
    def fresh(self) -> Tensor:
        """Whether the pictures, the times and the noise of a step are independent of those of the step before: three."""
        same = []
        for one, other in zip(self.steps, self.steps[1:]):
            like = [
                torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)
                for a, b in ((one.x0 - 0.5, other.x0 - 0.5), (one.eps, other.eps))
            ]
            same.append(torch.stack([like[0], (one.t == other.t).double().mean(), like[1]]).abs() > 0.1)
        return ~torch.stack(same).any(0)


def _training_loop(
    network: Network, draw: Callable, optimizer: torch.optim.Optimizer, steps: int, rng: torch.Generator
) -> Tensor:
    """The loss at each of the steps (steps,). Ho et al. 2020, Algorithm 1."""
    process, losses = network.process, []
    for _ in range(steps):
        x0 = draw(rng)
        t = process.sample_t(len(x0), rng)
        eps = randn_like(x0, rng)
        x_t = process.add_noise(x0, t, eps)
        loss = (network(x_t, t).eps - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


_X_T, _CLOUD, _SHEETS = "process.add_noise(x0, t, eps)", (10_000, 2), (3000, 1, 3, 2)
_UPDATE = "loss.backward()\n        optimizer.step()"

OF_ANY_LOOP = {
    "the gradients of all steps add up: optimizer.zero_grad() is missing": {"optimizer.zero_grad()": "pass"},
    "optimizer.step() finds no gradient: loss.backward() must come just before it, on a loss that is not cut off from the "
    "network (.detach(), .item() or no_grad)": [
        {_UPDATE: "optimizer.step()\n        loss.backward()"},
        {_UPDATE: "loss.backward()\n        optimizer.zero_grad()\n        optimizer.step()"},
        {"loss.backward()": "loss.detach().requires_grad_().backward()"},
    ],
    "all steps train on one batch: draw(rng) belongs inside the loop": {"draw(rng)": "draw(seeded(5))"},
    "all steps have the same noise: draw it anew in each": {"randn_like(x0, rng)": "randn_like(x0, seeded(5))"},
    "the loss of the last step is returned, not the losses of all steps": {"tensor(losses)": "tensor(losses[-1])"},
    "one t is drawn for the whole batch; draw one for each picture": {"_t(len(x0), rng)": "_t(1, rng).expand(len(x0))"},
    "t is drawn from 0 .. T - 1; here data is at t = 0, and noise at 1 .. T": {"len(x0), rng)": "len(x0), rng) - 1"},
    "the squares are summed, not averaged: the loss grows with the batch": {".mean()": ".sum()"},
    "the predicted x_0 is compared with x_0; Algorithm 1 compares noises": {".eps - eps": ".x0 - x0"},
    "the predicted noise is compared with the clean picture x_0, not with the noise": {".eps - eps": ".eps - x0"},
    "the predicted noise is compared with the noisy picture x_t, not with the noise": {".eps - eps": ".eps - x_t"},
    "the noise is drawn anew for the comparison; it must be the noise in x_t": {".eps - eps": ".eps - randn_like(x0, rng)"},
    "the network is given the clean picture x_0, not x_t": {_X_T: "x0"},
    "the noise is uniform (torch.rand), not normal (randn)": {"randn_like(x0, rng)": "torch.rand(x0.shape, generator=rng)"},
    "the noise is not drawn from rng: pass generator=rng": {"randn_like(x0, rng)": "torch.randn_like(x0)"},
}
"""The mistakes of a training loop whatever the network is given besides x_t and t, as edits of one of its steps."""

training_loop = Check(
    "training_loop",
    _training_loop,
    cases=[
        Case("there are as many steps of the optimizer as `steps` says", lambda f: float(len(_Training(f, 50, 2, n=3).steps))),
        Case(
            "the optimizer steps along the gradient of the mean squared error of the noise, of this step alone",
            lambda f: _Training(f, *_CLOUD).gradients,
            0.06,
        ),
        Case("the same for pictures (B, C, H, W)", lambda f: _Training(f, *_SHEETS).gradients, 0.1),
        Case("the loss of each step is returned", lambda f: _Training(f, *_CLOUD).ratios, 0.06),
        Case("each t lies in 1 .. T", lambda f: _Training(f, *_CLOUD).out_of_range),
        Case("each of the batch has its own t, and every t is equally likely", lambda f: _Training(f, *_CLOUD).counts, 0.25),
        Case("x_t is signal(t) x_0 + noise(t) eps, with eps standard normal", lambda f: _Training(f, *_CLOUD).noise, 0.05),
        Case("each step draws new pictures, new times and new noise", lambda f: _Training(f, *_CLOUD).fresh),
        Case(
            "the same rng gives the same training",
            lambda f: torch.equal(*(_Training(f, *_CLOUD).steps[-1].eps for _ in range(2))),
        ),
    ],
    mistakes=OF_ANY_LOOP
    | {
        "all steps have the same times: draw them anew in each": {"_t(len(x0), rng)": "_t(len(x0), seeded(5))"},
        "the squares are summed over each picture, as the norm of Algorithm 1 says; right, but take the mean, so that "
        "losses of pictures of any size can be compared": {".square().mean()": ".square().flatten(1).sum(1).mean()"},
        "the root of the mean square is taken": {".mean()": ".mean().sqrt()"},
        "absolute values are averaged, not squares": {".square()": ".abs()"},
        "this is a Huber loss, which is linear where the error is large; Algorithm 1 has the square": {
            "(network(x_t, t).eps - eps).square().mean()": "torch.nn.functional.smooth_l1_loss(network(x_t, t).eps, eps)"
        },
        "half of the mean square is taken": {".mean()": ".mean() / 2"},
        "the difference is averaged, not its square": {".square()": ""},
        "x_0 is not scaled by sqrt(alpha_bar) in x_t": {_X_T: "x0 + process.coefficients(t, x0)[1] * eps"},
        "sqrt(alpha_bar) and sqrt(1 - alpha_bar) have changed places in x_t": {_X_T: "process.add_noise(eps, t, x0)"},
        "the network is given t - 1, as if t were counted from 0": {"network(x_t, t)": "network(x_t, t - 1)"},
        "the square roots are missing: alpha_bar and 1 - alpha_bar are variances": {
            _X_T: "a**2 * x0 + b**2 * eps",
            "x_t =": "a, b = process.coefficients(t, x0)\n        x_t =",
        },
        "alpha_t stands where alpha_bar_t belongs: x_t has the noise of a single step": {
            _X_T: "a * x0 + (1 - a**2).sqrt() * eps",
            "x_t =": "a = process.coefficients(t, x0)[0] / process.coefficients(t - 1, x0)[0]\n        x_t =",
        },
        "all of the batch gets the same noise": {"randn_like(x0, rng)": "randn_like(x0[:1], rng).expand_as(x0)"},
    },
    hint="In each step: x0 = draw(rng); t = process.sample_t(len(x0), rng) and eps, standard normal, of x0's shape; their x_t; "
    "the mean of (network(x_t, t).eps - eps) squared; then zero_grad(), backward(), step(); and keep loss.item().",
    shown=(training.train, training.denoising_loss),
)


# sampling_loop. A right answer may draw its noise in any order. So the points are not compared, but their moves: the denoiser
# records where it is called. Its noise is the same everywhere, so that each move is a x + b + c z, with numbers a, b and c.
CHAIN = DDPM(torch.linspace(0.1, 0.5, 5, dtype=torch.float64))
EPS, SHEET = 2.0, normal(3000, 1, 2, 2, seed=1)


class _Recorder:
    """A denoiser that records where it is called: the times and the points, once each. Its noise is EPS everywhere."""

    def __init__(self):
        self.process, self.t, self.x = deepcopy(CHAIN), [], []

    def __call__(self, x: Tensor, t: Time) -> Prediction:
        now = int(torch.as_tensor(t).flatten()[0])
        if not (self.x and self.t[-1] == now and torch.equal(x, self.x[-1])):
            self.t, self.x = [*self.t, now], [*self.x, x.detach().clone()]
        return Prediction(x, *CHAIN.coefficients(t, x), "eps", torch.full_like(x, EPS))


class Moves:
    """What a sampler did with x: the times `t` of its moves, all its `points`, and of each move the numbers a, b and c."""

    def __init__(self, sampler: Callable, x: Tensor = CLOUD[:8000]):
        recorder, self.x = _Recorder(), x.clone()
        end = sampler(recorder, self.x, seeded(3))
        self.end = end if isinstance(end, Tensor) else samplers.result(end)
        if not recorder.x:
            raise Refused("the denoiser is never called: denoiser(x, t).eps is its prediction")
        self.t, self.begin = torch.tensor(recorder.t), recorder.x[0]
        points = torch.stack([*recorder.x, self.end])
        if points.is_complex():
            raise Refused(f"x_0 must be real numbers, got {points.dtype}")
        self.points = points = points.double()
        before, then = points[:-1].flatten(1), points[1:].flatten(1)
        means = before.mean(1, keepdim=True), then.mean(1, keepdim=True)
        self.a = ((before - means[0]) * (then - means[1])).mean(1) / (before - means[0]).square().mean(1)
        self.b = then.mean(1) - self.a * before.mean(1)
        self.noise = then - self.a[:, None] * before - self.b[:, None]
        self.c = self.noise.view(points[1:].shape).std(1).flatten(1).mean(1)

    @property
    def fresh(self) -> Tensor:
        """Whether the noise of a move is uncorrelated with the noise of the next. The last one has none."""
        return (torch.cosine_similarity(self.noise[1:-1], self.noise[:-2], dim=1).abs() < 0.1).all()


def _sampling_loop(denoiser: Denoiser, x: Tensor, rng: torch.Generator) -> Tensor:
    """x_0 from noise x = x_T: Algorithm 2 of Ho et al. 2020, with the variance of the posterior (their eq. 7)."""
    process = denoiser.process
    for t in range(process.T, 0, -1):
        alpha, bar, before = process.alpha(t), process.alpha_bar(t), process.alpha_bar(t - 1)
        shrink, beta = (1 - before) / (1 - bar), process.beta(t)
        sigma = (shrink * beta).sqrt()
        z = randn_like(x, rng)
        x = 1 / alpha.sqrt() * (x - (1 - alpha) / (1 - bar).sqrt() * denoiser(x, t).eps) + sigma * z
    return x


_LINE = "1 / alpha.sqrt() * (x - (1 - alpha) / (1 - bar).sqrt() * denoiser(x, t).eps) + sigma * z"
_CLAMPED = "(x - bar.sqrt() * denoiser(x, t).x0.clamp(-1, 1)) / (1 - bar).sqrt()"

sampling_loop = Check(
    "sampling_loop",
    _sampling_loop,
    cases=[
        Case("one move at each t, from T down to 1", lambda f: Moves(f).t),
        Case("the first move begins at x", lambda f: Moves(f).begin[:5]),
        Case("x_t is multiplied by 1 / sqrt(alpha_t)", lambda f: Moves(f).a, 0.03),
        Case("the predicted noise is subtracted with its factor", lambda f: Moves(f).b, 0.03),
        Case("each move adds noise of standard deviation sigma_t, and the last one, t = 1, none", lambda f: Moves(f).c, 0.03),
        Case("the same for pictures (B, C, H, W)", lambda f: Moves(f, SHEET).c, 0.05),
        Case("each move has noise of its own", lambda f: Moves(f).fresh),
        Case("the same rng gives the same x_0", lambda f: torch.equal(Moves(f).end, Moves(f).end)),
        Case("x is left as it was", lambda f: Moves(f).x[:5]),
    ],
    mistakes={
        "the bar is lost: sqrt(1 - alpha_t) stands where sqrt(1 - alpha_bar_t) belongs": {
            "(1 - bar).sqrt()": "(1 - alpha).sqrt()"
        },
        "a square root is missing below: 1 - alpha_bar_t stands where sqrt(1 - alpha_bar_t) belongs": {"bar).sqrt()": "bar)"},
        "there is a bar too many: 1 - alpha_bar_t stands where 1 - alpha_t belongs": {"- alpha) /": "- bar) /"},
        "sqrt(1 - alpha_t) stands where 1 - alpha_t belongs": {"(1 - alpha) /": "(1 - alpha).sqrt() /"},
        "alpha_t stands where 1 - alpha_t belongs before the noise": {"(1 - alpha) /": "alpha /"},
        "the factor 1 / sqrt(alpha_t) is missing": {"1 / alpha.sqrt() *": "1 *"},
        "1 / alpha_t stands where 1 / sqrt(alpha_t) belongs": {"1 / alpha.sqrt()": "1 / alpha"},
        "sqrt(alpha_t) multiplies where it must divide": {"1 / alpha.sqrt()": "alpha.sqrt()"},
        "there is a bar too many: 1 / sqrt(alpha_bar_t) stands where 1 / sqrt(alpha_t) belongs": {"alpha.sqrt()": "bar.sqrt()"},
        "the predicted noise is added, not subtracted": {"x - (1": "x + (1"},
        "the predicted x_0 is subtracted, not the predicted noise: .eps is what you want": {".eps": ".x0"},
        "noise is added at the last step too, with sigma_t^2 = beta_t: Algorithm 2 has z = 0 at t = 1": {"shrink * ": ""},
        "noise is added at the last step, t = 1: Algorithm 2 has z = 0 there": {"shrink *": "(shrink if t > 1 else 1) *"},
        "sigma_t^2 is beta_t; Ho et al. allow it, but this exercise asks for the posterior's variance (eq. 7)": {
            "shrink *": "(t > 1) *"
        },
        "the variance sigma_t^2 multiplies z; it should be sigma_t, its root": {"beta).sqrt()": "beta)"},
        "the noise z is forgotten": {" + sigma * z": ""},
        "the root is taken twice: sigma_t is the root of the variance": {"beta).sqrt()": "beta) ** 0.25"},
        "the last prediction of x_0 is returned, not x: line 6 returns the x of the last move": {
            "return x": "return denoiser(x, 1).x0"
        },
        "this is DDIM, which adds no noise": {
            _LINE: "before.sqrt() * denoiser(x, t).x0 + (1 - before).sqrt() * denoiser(x, t).eps"
        },
        "the predicted x_0 is clamped to -1 .. 1; Algorithm 2 has no bounds": {"denoiser(x, t).eps": _CLAMPED},
        "the predicted x_0 is made noisy again, to t - 1, with z: that is a draw from q(x_(t-1) | x_0), without x_t": {
            _LINE: "before.sqrt() * denoiser(x, t).x0 + (1 - before).sqrt() * z"
        },
        "z stands inside the bracket, so that 1 / sqrt(alpha_t) multiplies it too": {"eps) + sigma * z": "eps + sigma * z)"},
        "the loop stops at t = 2: the move from x_1 to x_0 is missing": {"T, 0, -1": "T, 1, -1"},
        "t runs upwards, from 1 to T": {"range(process.T, 0, -1)": "range(1, process.T + 1)"},
        "t is counted from T - 1 down to 0; here noise is at T .. 1, and data at 0": [
            {"(process.T, 0, -1)": "(process.T - 1, 0, -1)"},
            {"T, 0, -1": "T - 1, -1, -1", "process.alpha_bar(t - 1)": "process.alpha_bar(max(t - 1, 0))"},
        ],
        "all moves have the same noise: draw a new z in each": {"(x, rng)": "(x, seeded(5))"},
        "all of the batch gets the same noise": {"randn_like(x, rng)": "randn_like(x[:1], rng).expand_as(x)"},
        "the noise is uniform (torch.rand), not normal (randn)": {"randn_like(x, rng)": "torch.rand(x.shape, generator=rng)"},
        "the noise is not drawn from rng: pass generator=rng": {"randn_like(x, rng)": "torch.randn_like(x)"},
    },
    hint="For t = T .. 1: z, standard normal, of x's shape, from rng; x = (x - (1 - alpha_t) / sqrt(1 - alpha_bar_t) eps) / "
    "sqrt(alpha_t) + sigma_t z, with eps = denoiser(x, t).eps and sigma_t the root of the posterior's variance, 0 at t = 1.",
    shown=(ddpm,),
)


# from_v

_ANGLE = torch.tensor([0.1, 0.7, 1.5]).view(-1, 1, 1, 1)
AT = normal(3, 2, 5, 4, seed=1), normal(3, 2, 5, 4, seed=2), _ANGLE.cos(), _ANGLE.sin()
FLAT = normal(3, 2, seed=3), normal(3, 2, seed=4), torch.tensor(0.6), torch.tensor(0.8)


def _from_v(x_t: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """x_0 and eps, from v = a eps - b x_0 at x_t = a x_0 + b eps, where a^2 + b^2 = 1. Salimans and Ho 2022, appendix D."""
    x0 = a * x_t - b * v
    eps = b * x_t + a * v
    return x0, eps


def _part(i: int, *args) -> Callable:
    """A case's run: x_0 (part 0) or eps (part 1) of what the function gives."""

    def run(from_v):
        both = on(*args)(from_v)
        if not isinstance(both, (tuple, list)) or len(both) != 2:
            raise Refused("it must return a pair: x0 and eps")
        return both[i]

    return run


from_v = Check(
    "from_v",
    _from_v,
    cases=[
        Case("x_0, for pictures with a time each", _part(0, *AT)),
        Case("eps, for pictures with a time each", _part(1, *AT)),
        Case("x_0, for points (B, 2) at one time", _part(0, *FLAT)),
        Case("eps, for points (B, 2) at one time", _part(1, *FLAT)),
        Case("no noise (a = 1, b = 0): x_0 is x_t", _part(0, *FLAT[:2], torch.ones(()), torch.zeros(()))),
        Case("no signal (a = 0, b = 1): eps is x_t", _part(1, *FLAT[:2], torch.zeros(()), torch.ones(()))),
        Case("x_t, v, a and b are left as they were", after(*AT)),
    ],
    mistakes={
        "eps and x_0 have changed places: x_0 comes first": {"return x0, eps": "return eps, x0"},
        "the sign of v in x_0 is turned: x_0 = a x_t - b v": {"- b * v": "+ b * v"},
        "the sign of v in eps is turned: eps = b x_t + a v": {"+ a * v": "- a * v"},
        "both signs are turned, as if v were b x_0 - a eps": {"- b * v": "+ b * v", "+ a * v": "- a * v"},
        "a and b have changed places in both": {"a * x_t - b * v": "b * x_t - a * v", "b * x_t + a * v": "a * x_t + b * v"},
        "v is taken for eps: x_0 = (x_t - b eps) / a": {"a * x_t - b * v": "(x_t - b * v) / a", "b * x_t + a * v": "v"},
        "v is taken for x_0": {"a * x_t - b * v": "v", "b * x_t + a * v": "(x_t - a * v) / b"},
        "v is taken for the velocity of a straight path, eps - x_0": {
            "a * x_t - b * v": "(x_t - b * v) / (a + b)",
            "b * x_t + a * v": "(x_t + a * v) / (a + b)",
        },
        "the factor of x_t is missing in x_0": {"a * x_t": "x_t"},
        "the factor of x_t is missing in eps": {"b * x_t": "x_t"},
        "the factors of x_t are missing in both": {"a * x_t": "x_t", "b * x_t": "x_t"},
        "a and b are squared": {"a * x_t - b * v": "a**2 * x_t - b**2 * v", "b * x_t + a * v": "b**2 * x_t + a**2 * v"},
        "the predicted x_0 and the predicted v are returned": {"return x0, eps": "return x0, v"},
        "the roots are taken once more: a and b are the factors themselves, not their squares": {
            "a * x_t - b * v": "a.sqrt() * x_t - b.sqrt() * v",
            "b * x_t + a * v": "b.sqrt() * x_t + a.sqrt() * v",
        },
    },
    hint="Solve x_t = a x_0 + b eps and v = a eps - b x_0 for x_0 and eps. Multiply the first by a and the second by b, and "
    "subtract; a^2 + b^2 = 1.",
    shown=(Prediction,),
)
