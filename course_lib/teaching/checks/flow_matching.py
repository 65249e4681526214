"""Lesson 23: flow matching."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from course_lib.methods import flow_matching
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import affine, normal

# velocity_loss

X0, EPS, TIMES = normal(6, 2, seed=1) + 0.5, normal(6, 2, seed=2), torch.tensor([0.05, 0.3, 0.45, 0.6, 0.8, 0.95])
PICTURES, GRAIN = normal(3, 2, 4, 5, seed=3) - 0.4, normal(3, 2, 4, 5, seed=4)
NET = partial(affine, 0.7)


def line(t: Tensor) -> tuple[Tensor, ...]:
    """a, b and their derivatives on the straight path, each (B,)."""
    return 1 - t, t, -torch.ones_like(t), torch.ones_like(t)


def curve(t: Tensor) -> tuple[Tensor, ...]:
    """a, b and their derivatives on a path with a = 1 - t^2 and b = t."""
    return 1 - t**2, t, -2 * t, torch.ones_like(t)


def _slope(fn: Callable) -> Tensor:
    """The gradient of the loss in the network's weight."""
    loss = fn(partial(affine, weight := torch.tensor(0.7, requires_grad=True)), X0, EPS, TIMES, curve)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise Refused("the loss has no gradient in the network's weights")
    return torch.autograd.grad(loss, weight)[0]


def _velocity_loss(net, x0, eps, t, path):
    """The conditional flow matching loss () of pairs x0 and eps (B, ...) at times t (B,). Lipman et al. 2023."""
    a, b, da, db = (v.view(-1, *[1] * (x0.ndim - 1)) for v in path(t))
    x_t = a * x0 + b * eps
    target = da * x0 + db * eps
    return (net(x_t, t) - target).square().mean()


velocity_loss = Check(
    "velocity_loss",
    _velocity_loss,
    cases=[
        Case("the loss on the straight path", on(NET, X0, EPS, TIMES, line)),
        Case("the loss on a path that is not straight", on(NET, X0, EPS, TIMES, curve)),
        Case("pictures (B, C, H, W), as well as points", on(NET, PICTURES, GRAIN, TIMES[:3], curve)),
        Case("one pair", on(NET, X0[:1], EPS[:1], TIMES[:1], curve)),
        Case("its gradient in the network's weight", _slope),
        Case("the pairs and the times are left as they were", after(NET, X0, EPS, TIMES, line)),
    ],
    mistakes={
        "the target is eps - x_0 on every path: it is da x_0 + db eps": {"da * x0 + db * eps": "eps - x0"},
        "the target has a and b in the place of their derivatives": {"da * x0 + db * eps": "a * x0 + b * eps"},
        "x_t has the derivatives in the place of a and b": {"x_t = a * x0 + b * eps": "x_t = da * x0 + db * eps"},
        "x_t is the straight path's point on every path: it is a x_0 + b eps": {
            "x_t = a * x0 + b * eps": "x_t = torch.lerp(x0, eps, t.view(-1, *[1] * (x0.ndim - 1)))"
        },
        "a and b change places: a belongs to x_0, b to eps": {"a, b, da, db =": "b, a, db, da ="},
        "the velocity's sign is turned": {"- target": "+ target"},
        "the target is the noise": {"da * x0 + db * eps": "eps"},
        "the network is given x_0, not x_t": {"net(x_t, t)": "net(x0, t)"},
        "the network is given 1 - t": {"net(x_t, t)": "net(x_t, 1 - t)"},
        "the errors are summed, where their mean belongs": {"mean()": "sum()"},
        "the errors of each member are summed, and the mean is over the batch alone": {"mean()": "flatten(1).sum(1).mean()"},
        "the errors are not squared": {"square()": "abs()"},
        "the root of the mean squared error is taken": {"mean()": "mean().sqrt()"},
    },
    hint="a, b, da, db = path(t), each shaped (B, 1, ...); x_t = a x0 + b eps; mean of (net(x_t, t) - (da x0 + db eps))**2.",
    shown=(flow_matching.flow_matching_loss,),
)


# coupling

DATA, NOISES = normal(12, 2, seed=5), normal(12, 2, seed=6)
SHEETS, GRAINS = normal(6, 1, 2, 3, seed=7), normal(6, 1, 2, 3, seed=8)


def _coupling(x0, eps, size):
    """The rows of eps (B, ...) coupled with x0 (B, ...) by optimal transport in groups of `size`. Tong et al. 2024, eq. 17."""
    from scipy.optimize import linear_sum_assignment

    order = []
    for start in range(0, len(x0), size):
        a, b = x0[start : start + size].flatten(1), eps[start : start + size].flatten(1)
        cost = (a[:, None] - b).square().sum(2)
        order.append(start + torch.from_numpy(linear_sum_assignment(cost.numpy())[1]))
    return eps[torch.cat(order)]


_ASSIGNED, _COST = "linear_sum_assignment(cost.numpy())[1]", "(a[:, None] - b).square().sum(2)"


def _greedy(x0, eps, size):
    """Each of x0 in turn takes the nearest noise that is left."""
    order = []
    for start in range(0, len(x0), size):
        a, b = x0[start : start + size].flatten(1), eps[start : start + size].flatten(1)
        cost, mine = (a[:, None] - b).square().sum(2), []
        for row in cost:
            row[mine] = torch.inf
            mine.append(int(row.argmin()))
        order.append(start + torch.tensor(mine))
    return eps[torch.cat(order)]


coupling = Check(
    "coupling",
    _coupling,
    cases=[
        Case("all pairs of a batch at once", on(DATA, NOISES, 12)),
        Case("groups of four", on(DATA, NOISES, 4)),
        Case("groups of one: the coupling stays as it is", on(DATA, NOISES, 1)),
        Case("a last group that is smaller", on(DATA, NOISES, 5)),
        Case("pictures (B, C, H, W), as well as points", on(SHEETS, GRAINS, 6)),
        Case("x0 and eps are left as they were", after(DATA, NOISES, 4)),
    ],
    mistakes={
        "each of x_0 takes its nearest noise, so that some noises are used twice and some never": [
            {_ASSIGNED: "cost.argmin(1).numpy()"},
        ],
        "each of x_0 in turn takes the nearest noise that is left: that is greedy, and not the least sum": _greedy,
        "the sum of the distances is made least, not that of their squares": {_COST: f"{_COST}.sqrt()"},
        "the rows of x_0 are assigned to those of eps: the order must be that of eps, row by row of x_0": {
            "(a[:, None] - b)": "(b[:, None] - a)"
        },
        "the largest sum of squares is found, not the least": {"cost.numpy()": "-cost.numpy()"},
        "the groups are ignored: the whole batch is coupled at once": {
            "for start in range(0, len(x0), size):": "for start in [0]:\n        size = len(x0)",
        },
        "the start of the group is not added: all groups take their noises from the first": {"start + torch": "torch"},
        "the order is returned, not the noises in it": {"return eps[torch.cat(order)]": "return torch.cat(order)"},
        "the coupled x_0 are returned; the noises, in their new order, are asked for": [
            {"return eps[torch.cat(order)]": "return x0[torch.cat(order)]"},
            {"(a[:, None] - b)": "(b[:, None] - a)", "return eps[torch.cat(order)]": "return x0[torch.cat(order)]"},
        ],
        "only one batch dimension is measured: flatten the pictures first": {".square().sum(2)": "[..., :1].square().sum(2)"},
    },
    hint="For each group of rows: cost[i, j] = the squared distance of x0[i] and eps[j]; linear_sum_assignment(cost) gives "
    "rows and columns; the noises of the group are eps[start + columns].",
    shown=(flow_matching.optimal_transport,),
)


# reflow

ROUNDS, NUMBER = 2, 4


class _Reflow:
    """What `fit` was given in each round, and the flows that are returned, at the noises and t = 0.5."""

    def __init__(self, fn: Callable, rounds: int = ROUNDS, steps: int = NUMBER):
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self.fitted: list[Tensor] = []
        self.enabled: list[bool] = []
        weight = torch.tensor(0.7, requires_grad=True)

        def fit(flow, x0, eps):
            if not callable(flow) or not isinstance(x0, Tensor) or not isinstance(eps, Tensor):
                raise Refused("fit takes a flow, the samples x0 (B, ...) and their noises eps (B, ...)")
            self.pairs.append((x0.clone(), eps.clone()))
            self.fitted.append(self.at(flow))
            self.enabled.append(torch.is_grad_enabled())
            return partial(affine, 0.4 - 0.3 * len(self.pairs))

        self.flows = fn(partial(affine, weight), fit, EPS.clone(), steps, rounds)

    def at(self, flow: Callable) -> Tensor:
        return flow(EPS.clone(), torch.full((len(EPS),), 0.5)).detach()

    def of_pairs(self, which: int) -> Tensor:
        if not self.pairs:
            raise Refused("no flow is trained: call fit(flow, x0, eps) in each round")
        return torch.stack([pair[which].detach() for pair in self.pairs])

    @property
    def returned(self) -> Tensor:
        if not isinstance(self.flows, list | tuple) or not all(map(callable, self.flows)):
            raise Refused("it must return a list of flows, the first and one for each round")
        return torch.stack([self.at(flow) for flow in self.flows])


def _reflow(flow, fit, eps, steps, rounds):
    """The flows after 0, 1, .. rounds of reflow, a list. Liu et al. 2023, Algorithm 1."""
    flows = [flow]
    for _ in range(rounds):
        x = eps
        with torch.no_grad():
            for k in range(steps, 0, -1):
                t = torch.full((len(x),), k / steps)
                x = x - flows[-1](x, t) / steps
        flows.append(fit(flows[-1], x, eps))
    return flows


reflow = Check(
    "reflow",
    _reflow,
    cases=[
        Case("the samples of one round", lambda f: _Reflow(f, 1).of_pairs(0)),
        Case("the samples of both rounds", lambda f: _Reflow(f).of_pairs(0)),
        Case("each sample is paired with the noise that it came from", lambda f: _Reflow(f).of_pairs(1)),
        Case("each round trains the flow of the round before on", lambda f: torch.stack(_Reflow(f).fitted)),
        Case("the first flow and one for each round are returned", lambda f: _Reflow(f).returned),
        Case("another number of steps", lambda f: _Reflow(f, 1, 3).of_pairs(0)),
        Case("the samples carry no gradient", lambda f: torch.tensor([x.requires_grad for x, _ in _Reflow(f).pairs])),
        Case("gradients are enabled where fit is called", lambda f: torch.tensor(_Reflow(f).enabled)),
    ],
    mistakes={
        "all rounds take their samples from the first flow; each round takes those of the flow before it": {
            "x - flows[-1](x, t)": "x - flow(x, t)"
        },
        "each round trains the first flow anew; it trains the flow of the round before on": {"fit(flows[-1], x": "fit(flow, x"},
        "noise and sample change places: fit takes the samples first": {"x, eps))": "eps, x))"},
        "a sample is paired with itself: keep the noise that it came from": {"x, eps))": "x, x))"},
        "the noises and the samples are paired in another order": [
            {"x, eps))": "x, eps.flip(0)))"},
            {"x, eps))": "x.flip(0), eps))"},
        ],
        "a round starts from the samples of the round before; each starts from the noises": {
            "x = eps": "x = eps if len(flows) == 1 else x"
        },
        "the sign of the step is turned: t falls, and the velocity leads to the noise": {"x - flows": "x + flows"},
        "the times rise; noise is at t = 1": {"range(steps, 0, -1)": "range(1, steps + 1)"},
        "the flow is given the time at the end of the step; Euler's method uses its start": {"k / steps": "(k - 1) / steps"},
        "each step has the length of the whole path: divide the velocity by the number of steps": {"(x, t) / steps": "(x, t)"},
        "one step is taken in the place of all": {"range(steps, 0, -1)": "[steps]", "(x, t) / steps": "(x, t)"},
        "the last flow alone is returned; all are asked for": {"return flows": "return flows[-1:]"},
        "the first flow is missing in the list": {"return flows": "return flows[1:]"},
        "only one round is made": {"range(rounds)": "range(1)"},
        "fit is called under torch.no_grad(): it trains, and needs gradients": {
            "        flows.append": "            flows.append"
        },
        "the samples carry a gradient: sample under torch.no_grad()": {"torch.no_grad()": "torch.enable_grad()"},
    },
    hint="In each round: x = eps; under no_grad, for t = 1, .. 1 / steps: x = x - flows[-1](x, t) / steps; then append "
    "fit(flows[-1], x, eps). The list begins with the flow that is given.",
    shown=(flow_matching.reflow,),
)
