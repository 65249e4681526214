"""Lesson 27: fine-tuning and adapters."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from course_lib.denoisers import Network
from course_lib.methods import adapters
from course_lib.process import randn_like, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.epsilon import losses_of
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import PROCESS, normal

# low_rank


def _convolution(inward: int, out: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(inward, out, kernel, stride, padding=kernel // 2, bias=bias)
    for i, weight in enumerate(layer.parameters()):
        weight.data = normal(*weight.shape, seed=20 + i) / 3
    return layer.requires_grad_(False)


LAYER, POINTWISE, STRIDED = _convolution(3, 5, 3), _convolution(3, 5, 1, bias=False), _convolution(3, 4, 3, stride=2)
MAP = normal(2, 3, 6, 4, seed=1)
DOWN, UP = normal(2, 3, 3, 3, seed=2), normal(5, 2, seed=3)
SMALL, UP_4 = normal(1, 3, 1, 1, seed=4), normal(4, 2, seed=5)


def _low_rank(x, layer, down, up, strength):
    """The output of a LoRA layer, and the weight that gives it alone. Hu et al. 2022, eq. 3, for a convolution."""
    low = conv2d(x, down, stride=layer.stride, padding=layer.padding)
    y = layer(x) + strength * conv2d(low, up[:, :, None, None])
    weight = layer.weight + strength * (up @ down.flatten(1)).view_as(layer.weight)
    return y, weight


def _part(fn: Callable, which: int, *args) -> Tensor:
    """The output or the merged weight that the function returns for copies of these arguments."""
    found = fn(*deepcopy(args))
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise Refused("it must return two tensors: the output y and the merged weight")
    return torch.as_tensor(found[which])


def _trained(fn: Callable) -> Tensor:
    """Whether layer, down and up get a gradient from the output."""
    layer, down, up = deepcopy(LAYER), DOWN.clone().requires_grad_(), UP.clone().requires_grad_()
    y, _ = fn(MAP.clone(), layer, down, up, 1.0)
    y.square().sum().backward()
    return torch.tensor([w.grad is not None for w in (layer.weight, down, up)])


_Y, _W = "strength * conv2d(low, up[:, :, None, None])", "strength * (up @ down.flatten(1)).view_as(layer.weight)"

low_rank = Check(
    "low_rank",
    _low_rank,
    cases=[
        Case("the output at strength 1", lambda f: _part(f, 0, MAP, LAYER, DOWN, UP, 1.0)),
        Case("the output at strength 0.3", lambda f: _part(f, 0, MAP, LAYER, DOWN, UP, 0.3)),
        Case("with `up` = 0 the layer's own output", lambda f: _part(f, 0, MAP, LAYER, DOWN, 0 * UP, 1.0)),
        Case("a kernel of 1 x 1, rank 1, without a bias", lambda f: _part(f, 0, MAP, POINTWISE, SMALL, UP[:, :1], 1.0)),
        Case("a layer with stride 2", lambda f: _part(f, 0, MAP, STRIDED, DOWN, UP_4, 1.0)),
        Case("the merged weight", lambda f: _part(f, 1, MAP, LAYER, DOWN, UP, 1.0)),
        Case("the merged weight at strength 0.3", lambda f: _part(f, 1, MAP, LAYER, DOWN, UP, 0.3)),
        Case("down and up can be trained, the layer stays as it is", _trained),
        Case("no argument is changed", after(MAP, LAYER, DOWN, UP, 0.7)),
        Case("the layer's weight is left as it was", lambda f: _weight_after(f)),
    ],
    mistakes={
        "the layer's own output is missing": {"layer(x) + strength": "strength"},
        "the strength is missing": {_Y: _Y.removeprefix("strength * "), _W: _W.removeprefix("strength * ")},
        "the strength is missing in the output": {_Y: _Y.removeprefix("strength * ")},
        "the strength is missing in the merged weight": {_W: _W.removeprefix("strength * ")},
        "the merged weight is the update alone: add it to the layer's weight": {"layer.weight + strength": "strength"},
        "the merged weight is the layer's own": {f" + {_W}": ""},
        "the padding is forgotten: `down` runs over the map as the layer does": {", padding=layer.padding": ", padding=0"},
        "the stride is forgotten: `down` runs over the map as the layer does": {"stride=layer.stride, ": ""},
        "the update is added twice": {_Y: f"2 * {_Y}"},
        "the update is subtracted": {f"+ {_Y}": f"- {_Y}"},
        "the strength is squared: it belongs to the product, once": {
            "low = conv2d(x, down,": "low = conv2d(x, strength * down,",
            "(up @ down": "(strength * up @ down",
        },
        "the layer's bias is left out of the output": {"layer(x) +": "conv2d(x, layer.weight, None, layer.stride, 'same') +"},
    },
    hint="low = conv2d(x, down, stride=layer.stride, padding=layer.padding); up as a kernel of 1 x 1 is up[:, :, None, None]; "
    "the update of the weight is up @ down.flatten(1), in the weight's shape.",
    shown=(adapters.LoRA.forward, adapters.merge),
)


def _weight_after(fn: Callable) -> Tensor:
    """The layer's weight after a call."""
    layer = deepcopy(LAYER)
    fn(MAP.clone(), layer, DOWN.clone(), UP.clone(), 0.5)
    return layer.weight.detach()


# preserved_training. New pictures have the caption 1, prior ones 0; a call of the network may have either or both.
NUMBER, MANY = 3, (10_000, 2)


class _Recorder(nn.Module):
    """A network of one weight, given labels (B,), that keeps all its inputs since they were last taken."""

    def __init__(self):
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.tensor(1.5)), []

    @staticmethod
    def as_condition(label) -> Tensor:
        if not isinstance(label, Tensor):
            raise Refused("the network is given captions as they were drawn: network.given(captions)")
        return label.reshape(-1)

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        self.calls.append((x.detach().clone(), time.clone(), label.clone()))
        return self.rule(self.weight, x, time, label)

    @staticmethod
    def rule(weight: Tensor, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        wide = lambda v: v.view(-1, *[1] * (x.ndim - 1))
        return weight * x * (1 + 0.5 * wide(label)) + wide(time) - 0.3


class _Half:
    """The new (label 1) or the prior (0) pictures of one step, as the network was given them."""

    def __init__(self, calls: list, label: int, x0: Tensor, weight: Tensor):
        x, time, labels = (torch.cat(parts) for parts in zip(*calls))
        mine = labels == label
        self.x, self.time, self.x0, self.size = x[mine], time[mine].double(), x0, int(mine.sum())
        if self.size != len(x0):
            kind = "new" if label else "prior"
            raise Refused(f"the network must be given all {len(x0)} {kind} pictures of a step, it was given {self.size}")
        self.t = (self.time * PROCESS.T).round().long()
        a, b = PROCESS.coefficients(self.t.clamp(min=1), self.x)
        self.eps = (self.x - a * x0) / b
        out = _Recorder.rule(weight, self.x, self.time.float(), torch.full((self.size,), label))
        self.error = (out - x0).square().mean()


class _Preserved:
    """A training with prior preservation: the `losses` that are returned, and new and prior pictures of each step."""

    def __init__(self, loop: Callable, shape: tuple[int, ...] = MANY, weight: float = 0.7, n: int = NUMBER, prior: int = 2):
        self.halves: list[tuple[_Half, _Half]] = []
        self.found, self.right = [], []
        net, drawn = _Recorder(), {}
        network = Network(net, deepcopy(PROCESS), "x0")

        def draw_of(label: int, n: int, shift: float) -> Callable:
            def draw(rng: torch.Generator) -> tuple[Tensor, Tensor]:
                drawn[label] = torch.randn((n, *shape[1:]), generator=rng) + shift
                return torch.full((n,), label), drawn[label].clone()

            return draw

        def watch():
            if drawn.keys() != {0, 1}:
                raise Refused("new and prior pictures are drawn in each step: captions, x0 = new(rng), and the same of prior")
            if not net.calls:
                raise Refused("the network is never called: its prediction is network.given(captions)(x_t, t)")
            copy = net.weight.detach().clone().requires_grad_()
            halves = tuple(_Half(net.calls, label, drawn[label], copy) for label in (1, 0))
            right = halves[0].error + weight * halves[1].error
            self.right.append(right.detach())
            gradient = torch.zeros(()) if net.weight.grad is None else net.weight.grad.clone()
            self.found.append(gradient / torch.autograd.grad(right, copy)[0])
            self.halves.append(halves)
            net.calls.clear()
            drawn.clear()

        draws = draw_of(1, shape[0], 0.5), draw_of(0, shape[0] // prior, -0.5)
        run = lambda optimizer: loop(network, *draws, optimizer, n, weight, seeded(7))
        self.losses = losses_of(run, net.parameters(), watch)

    @property
    def gradients(self) -> Tensor:
        return torch.stack(self.found)

    @property
    def ratios(self) -> Tensor:
        right = torch.stack(self.right)
        return self.losses.detach() / right if self.losses.shape == right.shape else self.losses

    @property
    def noise(self) -> Tensor:
        """Mean, standard deviation, and covariance with x_0 of the noise of new and of prior pictures: 0, 1, 0 twice."""
        each = []
        for half in self.halves[0]:
            each += [half.eps.mean(), half.eps.std(), (half.eps * (half.x0 - half.x0.mean(0))).mean()]
        return torch.stack(each)

    @property
    def times(self) -> Tensor:
        """Mean and standard deviation of t / T of new and of prior pictures."""
        return torch.stack([f for half in self.halves[0] for f in (half.time.mean(), half.time.std())])

    @property
    def fresh(self) -> Tensor:
        """Whether times and noise are not those of the step before, nor those of prior pictures those of new ones."""
        pairs = [pair for one, other in zip(self.halves, self.halves[1:]) for pair in zip(one, other)]
        same = lambda a, b: torch.allclose(a[: len(b)], b[: len(a)], atol=1e-4)
        return torch.tensor([not same(a.time, b.time) and not same(a.eps, b.eps) for a, b in (*pairs, *self.halves)])


def _preserved_training(network, new, prior, optimizer, steps, weight, rng):
    """The loss at each of the steps (steps,). Ruiz et al. 2023, eq. 2, with every weight w_t = 1."""
    process, losses = network.process, []
    for _ in range(steps):
        loss = 0.0
        for draw, factor in ((new, 1.0), (prior, weight)):
            captions, x0 = draw(rng)
            t = process.sample_t(len(x0), rng)
            eps = randn_like(x0, rng)
            x_t = process.add_noise(x0, t, eps)
            error = network.given(captions)(x_t, t).x0 - x0
            loss = loss + factor * error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


_EACH, _UPDATE = "((new, 1.0), (prior, weight))", "loss.backward()\n        optimizer.step()"
_TIMES = {"process.sample_t(len(x0), rng)": "process.sample_t(len(x0), rng) if draw is new else t[: len(x0)]"}
_NOISE = {"randn_like(x0, rng)": "randn_like(x0, rng) if draw is new else eps[: len(x0)]"}

preserved_training = Check(
    "preserved_training",
    _preserved_training,
    cases=[
        Case("there are as many steps of the optimizer as `steps` says", lambda f: float(len(_Preserved(f, (50, 2)).halves))),
        Case(
            "the optimizer steps along the gradient of this step's loss: new + weight times prior",
            lambda f: _Preserved(f).gradients,
            0.02,
        ),
        Case("the same at weight = 3", lambda f: _Preserved(f, weight=3.0).gradients, 0.02),
        Case("the same for pictures (B, C, H, W)", lambda f: _Preserved(f, (3000, 1, 3, 2)).gradients, 0.02),
        Case("new and prior batches of the same size", lambda f: _Preserved(f, prior=1).gradients, 0.02),
        Case("the loss of each step is returned", lambda f: _Preserved(f).ratios, 0.02),
        Case("x_t is signal(t) x_0 + noise(t) eps, with eps standard normal", lambda f: _Preserved(f).noise, 0.06),
        Case("each picture has its own t, and every t is equally likely", lambda f: _Preserved(f).times, 0.05),
        Case("each step draws new times and noise, for new and for prior pictures separately", lambda f: _Preserved(f).fresh),
        Case(
            "the same rng gives the same training",
            lambda f: torch.equal(*(_Preserved(f, (50, 2)).halves[-1][0].t for _ in range(2))),
        ),
    ],
    mistakes={
        "the prior pictures are left out: their loss is added": {_EACH: "((new, 1.0), (prior, 0 * weight))"},
        "the prior loss has the weight 1: multiply it by `weight`": {_EACH: "((new, 1.0), (prior, 1.0))"},
        "the weight multiplies the new pictures' loss: it belongs to the prior's": {_EACH: "((new, weight), (prior, 1.0))"},
        "the weight multiplies both losses: it belongs to the prior's": {_EACH: "((new, weight), (prior, weight))"},
        "the two losses are averaged: they are added": {"loss = loss + factor": "loss = loss + 0.5 * factor"},
        "the prior loss is subtracted": {_EACH: "((new, 1.0), (prior, -weight))"},
        "the target is the noise: this network predicts x_0": {"- x0\n": "- eps\n"},
        "the network is given the clean picture; x_t is what it should be given": {"(x_t, t)": "(x0, t)"},
        "the errors are summed, where their mean belongs": {"square().mean()": "square().sum()"},
        "the errors are not squared": {"square()": "abs()"},
        "the gradients of all steps add up: clear them": {"optimizer.zero_grad()": "pass"},
        "the gradient is cleared before the step is made": {
            _UPDATE: "loss.backward()\n        optimizer.zero_grad()\n        optimizer.step()"
        },
        "only the last loss is returned": {"return torch.tensor(losses)": "return torch.tensor(losses[-1:])"},
        "one t is drawn for the whole batch; draw one for each picture": {
            "process.sample_t(len(x0), rng)": "process.sample_t(1, rng).expand(len(x0))"
        },
        "only one step is made": {"range(steps)": "range(1)"},
        "new and prior pictures share their times or their noise: draw both for each batch": [_TIMES, _NOISE, _TIMES | _NOISE],
    },
    hint="In each step, for new and for prior: captions, x0 = draw(rng); t, eps, x_t as in lesson 02; the mean squared error "
    "of network.given(captions)(x_t, t).x0. Add new + weight * prior, then zero_grad, backward, step.",
    shown=(adapters.prior_preservation_loss,),
)


# zero_convolution
TRUNK, TWIN = _convolution(3, 4, 3), _convolution(3, 4, 1)
ENTER, LEAVE = _convolution(3, 3, 1), _convolution(4, 4, 1)
CONDITION = normal(2, 3, 6, 4, seed=9)


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with all weights 0."""
    layer = deepcopy(layer)
    for weight in layer.parameters():
        weight.data.zero_()
    return layer


def _zero_convolution(x, c, block, copy, enter, leave):
    """The output of a block with its ControlNet branch. Zhang et al. 2023, eq. 2."""
    return block(x) + leave(copy(x + enter(c)))


zero_convolution = Check(
    "zero_convolution",
    _zero_convolution,
    cases=[
        Case("the output", on(MAP, CONDITION, TRUNK, TWIN, ENTER, LEAVE)),
        Case(
            "with both zero convolutions 0, the block's own output",
            on(MAP, CONDITION, TRUNK, TWIN, *map(_silent, (ENTER, LEAVE))),
        ),
        Case("with the first alone 0, the condition has no effect", on(MAP, CONDITION, TRUNK, TWIN, _silent(ENTER), LEAVE)),
        Case("x and c are left as they were", after(MAP, CONDITION, TRUNK, TWIN, ENTER, LEAVE)),
    ],
    mistakes={
        "the block's own output is missing": {"block(x) + leave": "leave"},
        "the fixed block is given the condition, too; only the copy is": {"block(x)": "block(x + enter(c))"},
        "the copy is not given x: its input is x + enter(c)": {"copy(x + enter(c))": "copy(enter(c))"},
        "the condition is added without its zero convolution": {"x + enter(c)": "x + c"},
        "the copy's output is added without its zero convolution": {"leave(copy(x + enter(c)))": "copy(x + enter(c))"},
        "the fixed block is used twice; the branch is the trained copy": {"leave(copy(": "leave(block("},
        "the branch is added to the copy, not to the fixed block": {"block(x) +": "copy(x) +"},
        "the branch is subtracted": {"block(x) + leave": "block(x) - leave"},
    },
    hint="The fixed block is given x alone. The copy is given x + enter(c); its output goes through leave and is added.",
    shown=(adapters.ControlNet,),
)
