"""The data that the checks share, and networks that record their input.

With these a training loss can be checked in whatever order it draws its random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from course_lib.denoisers import Network
from course_lib.process import DDPM, seeded
from course_lib.schedules import linear_beta
from course_lib.teaching.checks.outcome import Refused

PROCESS = DDPM(linear_beta(50, end=0.005))  # a gentle chain: x_T still contains a good part of x_0


def affine(weight: Tensor | float, x: Tensor, time: Tensor) -> Tensor:
    """The output of a simple network: weight x + time - 0.3, of x's shape."""
    return weight * x + time.view(-1, *[1] * (x.ndim - 1)) - 0.3


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers of this shape, the same ones at each call."""
    return torch.randn(shape, generator=seeded(seed))


PICTURES, Z = normal(3, 2, 5, 4, seed=1), normal(3, 2, 5, 4, seed=2)  # no two sizes of a picture are alike
POINTS, CLOUD = normal(3, 2, seed=3), normal(20_000, 2) + torch.tensor([1.0, -0.5])
T_EACH = torch.tensor([1, 20, 50])


class Spy(nn.Module):
    """A network with one weight, output `rule(weight, x, time, *cond)`, that keeps copies of its last `input` and `output`."""

    def __init__(self, rule: Callable = affine):
        super().__init__()
        self.weight, self.rule, self.input = nn.Parameter(torch.tensor(1.5)), rule, None

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        self.output = self.rule(self.weight, x, *rest)
        self.input = x.detach().clone(), *(more.clone() for more in rest)
        return self.output.clone()


DENOISER = Network(Spy().requires_grad_(False), PROCESS)


class Record:
    """One call loss(network, x0, *args, rng): its `value`, and what it passed to its network.

    `t` (B,), `eps`, the noise in x_t (B, ...), `cond`, all further inputs, and `error`, the right loss for this input.
    """

    def __init__(self, loss: Callable, x0: Tensor, *args, spy: Spy | None = None, process: DDPM = PROCESS, view: str = "eps"):
        spy = spy or Spy()
        network = Network(spy, deepcopy(process), view)
        self.value = torch.as_tensor(loss(network, x0.clone(), *args, seeded(7)))
        self._read(spy, network, x0)
        self.error = (spy.output - network.target(x0, self.t.clamp(min=1), self.eps)).square().mean()

    def _read(self, spy: Spy, model, x0: Tensor):
        """Reads from the spy what the loss passed to `model`; what x_t = a x_0 + b eps holds beside x_0 is the noise."""
        if spy.input is None:
            raise Refused(f"the network is never called: {self.call}")
        x_t, time, *self.cond = spy.input
        if len(x_t) != len(x0):
            raise Refused(f"the network must be given all {len(x0)} of the batch, it was given {len(x_t)}")
        self.weight, self.x0, self.t = spy.weight, x0, (time * model.process.T).round().long()
        a, b = model.process.coefficients(self.t.clamp(min=1), x_t)  # at t = 0 there is no noise to measure
        self.eps = (x_t - a * x0) / b

    call = "its prediction is denoiser(x_t, t)"

    @property
    def ratio(self) -> Tensor:
        """The loss over the right one: 1."""
        return self.value / self.error

    @property
    def slope(self) -> Tensor:
        """The gradient of the loss over that of the right one: 1."""
        mine, right = (torch.autograd.grad(v, self.weight, retain_graph=True)[0] for v in (self.value, self.error))
        return mine / right

    @property
    def noise(self) -> Tensor:
        """Mean, standard deviation over the batch, and covariance with x_0 of what should be standard normal noise: 0, 1, 0."""
        return torch.stack([self.eps.mean(), self.eps.std(0).mean(), (self.eps * (self.x0 - self.x0.mean(0))).mean()])

    def counts(self, last: int) -> Tensor:
        """How often each t of 1 .. last is drawn, over how often it should be, from the rarest on: about 1."""
        return torch.bincount(self.t, minlength=last + 1)[1:].sort().values * last / len(self.t)

    def out_of_range(self, last: int) -> Tensor:
        """Whether any t lies outside 1 .. last."""
        return ((self.t < 1) | (self.t > last)).any()
