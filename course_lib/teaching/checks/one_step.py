"""Lesson 24: one step, six ways."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.methods import distribution_matching as library
from course_lib.methods import one_step
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import normal

# meanflow_target

Z, V = normal(6, 2, seed=1), normal(6, 2, seed=2)
R, T = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.5, 0.6]), torch.tensor([1.0, 0.4, 0.9, 0.35, 0.8, 0.7])
PICTURES, SPEEDS = normal(3, 2, 4, 5, seed=3), normal(3, 2, 4, 5, seed=4)


def _u(weight: Tensor | float, z: Tensor, r: Tensor, t: Tensor) -> Tensor:
    """An average velocity that changes with all of its inputs."""
    r, t = (time.view(-1, *[1] * (z.ndim - 1)) for time in (r, t))
    return weight * torch.sin(z) * (1 + t.square()) - 0.7 * r * z + 0.4 * t * r.square()


NET = partial(_u, 0.8)


def _with_weight(fn: Callable) -> Tensor:
    """Whether the target carries a gradient of the network's weight."""
    weight = torch.tensor(0.8, requires_grad=True)
    return torch.tensor(torch.as_tensor(fn(partial(_u, weight), Z.clone(), R.clone(), T.clone(), V.clone())).requires_grad)


def _meanflow_target(u, z, r, t, v):
    """v - (t - r) du/dt (B, ...), without a gradient. Geng et al. 2025, eq. 10 and 11."""
    tangents = (v, torch.zeros_like(r), torch.ones_like(t))
    _, du_dt = torch.func.jvp(u, (z, r, t), tangents)
    apart = (t - r).view(-1, *[1] * (z.ndim - 1))
    return (v - apart * du_dt).detach()


_TANGENTS = "(v, torch.zeros_like(r), torch.ones_like(t))"

meanflow_target = Check(
    "meanflow_target",
    _meanflow_target,
    cases=[
        Case("the target of points (B, 2)", on(NET, Z, R, T, V)),
        Case("the target of pictures (B, C, H, W)", on(NET, PICTURES, R[:3], T[:3], SPEEDS)),
        Case("where r = t it is the velocity", on(NET, Z, T, T, V)),
        Case("one member of a batch", on(NET, Z[:1], R[:1], T[:1], V[:1])),
        Case("the target carries no gradient", _with_weight),
        Case("what is given is left as it was", after(NET, Z, R, T, V)),
    ],
    mistakes={
        "the tangent of t is 0: along the path t moves, too": {_TANGENTS: "(v, torch.zeros_like(r), torch.zeros_like(t))"},
        "the tangent of r is 1: r stays where it is": {_TANGENTS: "(v, torch.ones_like(r), torch.ones_like(t))"},
        "the tangents of r and t change places": {_TANGENTS: "(v, torch.ones_like(r), torch.zeros_like(t))"},
        "the tangent of z is 0: along the path z moves by v": {
            _TANGENTS: "(torch.zeros_like(v), torch.zeros_like(r), torch.ones_like(t))"
        },
        "the tangent of z is u, where the velocity v belongs": {
            _TANGENTS: "(u(z, r, t), torch.zeros_like(r), torch.ones_like(t))"
        },
        "the derivative is added: it is taken away": {"v - apart": "v + apart"},
        "the factor t - r is left out": {"v - apart * du_dt": "v - du_dt"},
        "the factor is t, not t - r": {"(t - r)": "t"},
        "the prediction u stands in the place of the velocity v": {"(v - apart * du_dt)": "(u(z, r, t) - apart * du_dt)"},
        "the first output of jvp is used, which is u itself; the derivative is the second": {"_, du_dt": "du_dt, _"},
        "the derivative alone is returned": {"(v - apart * du_dt)": "du_dt"},
        "u is given t and r in the other order: it is u(z, r, t)": {"jvp(u, (z, r, t)": "jvp(u, (z, t, r)"},
        "the target carries a gradient: detach it": {".detach()": ""},
    },
    hint="_, du_dt = torch.func.jvp(u, (z, r, t), (v, zeros like r, ones like t)); then v - (t - r) du_dt with t - r shaped "
    "(B, 1, ...), detached.",
    shown=(one_step.meanflow_target,),
)


# dmd_gradient

X, X_T = normal(5, 2, seed=5), normal(5, 2, seed=6)
SHEETS, NOISY = normal(3, 1, 4, 2, seed=7), normal(3, 1, 4, 2, seed=8)
LEVELS = torch.tensor([0.3, 0.9, 0.15, 0.6, 0.75])
REAL, FAKE = partial(_u, 0.3), partial(_u, -0.9)


def _x0(rule: Callable, x_t: Tensor, t: Tensor) -> Tensor:
    return rule(x_t, 0 * t, t)


REAL_X0, FAKE_X0 = partial(_x0, REAL), partial(_x0, FAKE)


def _dmd_gradient(x, x_t, t, real, fake):
    """(mu_fake - mu_real) / mean |x - mu_real| (B, ...), without a gradient. Yin et al. 2024, eq. 7 and 8."""
    with torch.no_grad():
        mu_real, mu_fake = real(x_t, t), fake(x_t, t)
        size = (x - mu_real).abs().flatten(1).mean(1)
        return (mu_fake - mu_real) / size.view(-1, *[1] * (x.ndim - 1))


def _graph(fn: Callable) -> Tensor:
    """Whether the gradient carries a graph to the samples or to the fake network."""
    x, weight = X.clone().requires_grad_(), torch.tensor(-0.9, requires_grad=True)
    fake = partial(_x0, partial(_u, weight))
    return torch.tensor(torch.as_tensor(fn(x, X_T.clone(), LEVELS.clone(), REAL_X0, fake)).requires_grad)


dmd_gradient = Check(
    "dmd_gradient",
    _dmd_gradient,
    cases=[
        Case("the gradient of points (B, 2)", on(X, X_T, LEVELS, REAL_X0, FAKE_X0)),
        Case("the gradient of pictures (B, C, H, W)", on(SHEETS, NOISY, LEVELS[:3], REAL_X0, FAKE_X0)),
        Case("where both predict the same it is 0", on(X, X_T, LEVELS, REAL_X0, REAL_X0)),
        Case("each sample has its own weight", on(X[:1], X_T[:1], LEVELS[:1], REAL_X0, FAKE_X0)),
        Case("it carries no graph", _graph),
        Case("what is given is left as it was", after(X, X_T, LEVELS, REAL_X0, FAKE_X0)),
    ],
    mistakes={
        "the sign is turned: descent would lead away from the data": {"(mu_fake - mu_real) /": "(mu_real - mu_fake) /"},
        "the weight is left out": {"(mu_fake - mu_real) / size.view(-1, *[1] * (x.ndim - 1))": "mu_fake - mu_real"},
        "the weight measures |x - mu_fake|: it is |x - mu_real|": {"(x - mu_real)": "(x - mu_fake)"},
        "the weight measures |x_t - mu_real|: it is of the clean samples x": {"(x - mu_real)": "(x_t - mu_real)"},
        "the weight is a mean over the whole batch: each sample has its own": {".flatten(1).mean(1)": ".mean().expand(len(x))"},
        "the weight is a sum over the numbers of a sample, where their mean belongs": {".mean(1)": ".sum(1)"},
        "the weight is the mean square, where the mean absolute value belongs": {".abs()": ".square()"},
        "the networks are given the clean samples x, not x_t": {"real(x_t, t), fake(x_t, t)": "real(x, t), fake(x, t)"},
        "the weight multiplies; it divides": {") / size": ") * size"},
        "the real one is left out: (mu_fake - x) spreads the samples only": {"(mu_fake - mu_real) /": "(mu_fake - x) /"},
        "the fake one is left out: (x - mu_real) contracts every sample to its nearest mode": {
            "(mu_fake - mu_real) /": "(x - mu_real) /"
        },
        "it carries a graph: compute it under torch.no_grad()": {"torch.no_grad()": "torch.enable_grad()"},
    },
    hint="Under no_grad: mu_real = real(x_t, t), mu_fake = fake(x_t, t); size (B,) = the mean of |x - mu_real| over all but "
    "the first dimension; (mu_fake - mu_real) / size, shaped (B, 1, ...).",
    shown=(library.dmd_gradient,),
)


# distribution_matching


class _Map(nn.Module):
    """A linear map of points, with a rule for the time."""

    def __init__(self, seed: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(normal(2, 2, seed=seed)), nn.Parameter(normal(2, seed=seed + 1))

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        return x @ self.weight + self.bias * (1 if t is None else 1 + t[:, None])


class _Training:
    """Both networks' weights after `steps` steps of an answer, and how often it drew a batch."""

    def __init__(self, fn: Callable, steps: int, size: int = 6, gradient: Callable = _dmd_gradient):
        self.generator, self.fake, self.calls = _Map(11), _Map(13), 0
        self.size, real = size, _Map(15).requires_grad_(False)
        optimizers = [torch.optim.SGD(net.parameters(), lr=rate) for net, rate in ((self.generator, 0.3), (self.fake, 0.2))]
        self.trained = fn(self.generator, self.fake, real, gradient, self.draw, tuple(optimizers), steps)
        if not isinstance(self.trained, nn.Module):
            raise Refused("it must return the generator")

    def draw(self) -> tuple[Tensor, ...]:
        self.calls += 1
        if self.calls > 50:
            raise Refused("draw() is called without end: once a step is enough")
        z, eps, eta = (normal(self.size, 2, seed=100 * self.calls + k) for k in range(3))
        t, s = (torch.rand(self.size, generator=torch.Generator().manual_seed(self.calls + k)) for k in (500, 600))
        return z, t, eps, s, eta

    def moved(self, net: nn.Module) -> Tensor:
        """The weights of one network, and how often a batch was drawn."""
        return torch.cat([w.detach().flatten() for w in net.parameters()] + [torch.tensor([float(self.calls)])])


def _other_gradient(x: Tensor, x_t: Tensor, t: Tensor, real: Callable, fake: Callable) -> Tensor:
    return (fake(x_t, t) - 2 * real(x_t, t)).detach() + 0.1 * x.detach()


def _distribution_matching(generator, fake, real, gradient, draw, optimizers, steps):
    """The generator, after `steps` steps of both networks. Yin et al. 2024, Algorithm 1, without the regression term."""
    of_generator, of_fake = optimizers
    for _ in range(steps):
        z, t, eps, s, eta = draw()
        x = generator(z)
        fixed = x.detach()
        x_t = torch.lerp(fixed, eps, t[:, None])
        loss = (x * gradient(fixed, x_t, t, real, fake)).mean()
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()
        x_s = torch.lerp(fixed, eta, s[:, None])
        loss = (fake(x_s, s) - fixed).square().mean()
        of_fake.zero_grad()
        loss.backward()
        of_fake.step()
    return generator


_OF_GENERATOR = "(x * gradient(fixed, x_t, t, real, fake)).mean()"

distribution_matching = Check(
    "distribution_matching",
    _distribution_matching,
    cases=[
        Case("the generator's weights after one step", lambda f: (run := _Training(f, 1)).moved(run.generator)),
        Case("the fake network's weights after one step", lambda f: (run := _Training(f, 1)).moved(run.fake)),
        Case("the generator's weights after three steps", lambda f: (run := _Training(f, 3)).moved(run.generator)),
        Case("the fake network's weights after three steps", lambda f: (run := _Training(f, 3)).moved(run.fake)),
        Case(
            "the gradient that is given is used",
            lambda f: (run := _Training(f, 2, gradient=deepcopy(_other_gradient))).moved(run.generator),
        ),
        Case("another size of the batch", lambda f: (run := _Training(f, 2, 3)).moved(run.fake)),
    ],
    mistakes={
        "the fake network is never trained": {"        of_fake.step()": "        pass"},
        "the generator is never trained": {"of_generator.step()": "pass"},
        "the sign of the generator's loss is turned": {_OF_GENERATOR: f"-{_OF_GENERATOR}"},
        "the gradient is summed over the batch, where its mean belongs": {_OF_GENERATOR: _OF_GENERATOR.replace("mean", "sum")},
        "the squared gradient is made small: multiply it by the samples, which carry the graph": {
            _OF_GENERATOR: "(x - fixed + gradient(fixed, x_t, t, real, fake)).square().mean()"
        },
        "the gradient is given the noisy samples in the place of the clean ones": {"gradient(fixed, x_t": "gradient(x_t, x_t"},
        "real and fake change places in the gradient": {"t, real, fake)": "t, fake, real)"},
        "data and noise change places in x_t: at t = 0 it is x": {
            "lerp(fixed, eps, t[:, None])": "lerp(eps, fixed, t[:, None])"
        },
        "data and noise change places in the fake network's input": {
            "lerp(fixed, eta, s[:, None])": "lerp(eta, fixed, s[:, None])"
        },
        "the fake network is trained to predict the noise: it predicts x": {"- fixed).square()": "- eta).square()"},
        "the fake network is trained on the generator's time and noise; draw() gives it its own": {
            "torch.lerp(fixed, eta, s[:, None])": "x_t",
            "fake(x_s, s)": "fake(x_s, t)",
        },
        "the fake network's gradients are never cleared": {"        of_fake.zero_grad()\n": ""},
        "the generator's gradients are never cleared": {"        of_generator.zero_grad()\n": ""},
        "the fake network is trained on samples that are made anew after the generator's step": {
            "x_s = torch": "fixed = generator(z).detach()\n        x_s = torch"
        },
        "one step is made in the place of all": {"range(steps)": "range(1)"},
    },
    hint="In each step: z, t, eps, s, eta = draw(); x = generator(z); the generator's loss is the mean of x times the gradient "
    "of x.detach(); then the fake network's loss is the mean of (fake(x_s, s) - x.detach())**2. Return the generator.",
    shown=(library.dmd_loss,),
)
