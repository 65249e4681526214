"""Lesson 16: Stable Diffusion 3."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from course_lib import samplers, training
from course_lib.nets import mmdit
from course_lib.process import RectifiedFlow, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.epsilon import _Optimizer as Optimizer
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import Spy, affine

# flow_training. A right answer may draw the times anywhere and clear the gradient anywhere. So what is compared is what the
# network is given, and the gradient with which each step of the optimizer begins.
STEPS, CLOUD, SHEETS = 3, (8000, 2), (2000, 1, 2, 3)


class _Step:
    """What the network was given before one step of the optimizer, and the gradient there."""

    def __init__(self, spy: Spy, x0: Tensor, eps: Tensor):
        if spy.input is None:
            raise Refused("the network is never called: its prediction is net(x_t, t)")
        x_t, t, *rest = spy.input
        if rest or x_t.shape != x0.shape or t.shape != x0.shape[:1]:
            raise Refused(f"net takes x_t {tuple(x0.shape)} and t {tuple(x0.shape[:1])}, got {_shapes(spy.input)}")
        self.x0, self.eps, self.t, self.x_t = x0, eps, t.double(), x_t
        weight = spy.weight.detach().clone().requires_grad_()
        self.error = (affine(weight, x_t, t) - (eps - x0)).square().mean()
        found = torch.zeros(()) if spy.weight.grad is None else spy.weight.grad
        self.gradient = found.clone() / torch.autograd.grad(self.error, weight, retain_graph=True)[0]

    @property
    def logit(self) -> Tensor:
        return (self.t.clamp(1e-6, 1 - 1e-6) / (1 - self.t.clamp(1e-6, 1 - 1e-6))).log()

    @property
    def mixed(self) -> Tensor:
        """1, plus the largest error of x_t as the point of the straight path."""
        s = self.t.view(-1, *[1] * (self.x0.ndim - 1))
        return 1 + (self.x_t - (1 - s) * self.x0 - s * self.eps).abs().max()


def _shapes(tensors) -> str:
    return " and ".join(str(tuple(x.shape)) for x in tensors)


class _Training:
    """A training of a network of one weight: the `losses` that are returned, and the `steps` of the optimizer."""

    def __init__(self, loop: Callable, *shape: int, n: int = STEPS):
        self.steps: list[_Step] = []
        spy, drawn = Spy(), []
        optimizer = Optimizer(spy.parameters(), lr=0.05)

        def draw(rng: torch.Generator) -> tuple[Tensor, Tensor]:
            drawn.append((torch.randn(shape, generator=rng) + 0.5, torch.randn(shape, generator=rng)))
            return drawn[-1][0].clone(), drawn[-1][1].clone()

        def watch():
            if not drawn:
                raise Refused("no pairs are drawn: x0, eps = draw(rng)")
            self.steps.append(_Step(spy, *drawn[-1]))

        optimizer.watch = watch
        self.losses = torch.as_tensor(loop(spy, draw, optimizer, n, seeded(7)))
        if not self.steps:
            raise Refused("the weights never move: optimizer.step() is never called")

    def of_each(self, figure: str) -> Tensor:
        return torch.stack([getattr(step, figure).detach() for step in self.steps])

    @property
    def ratios(self) -> Tensor:
        """Each loss that is returned, over the right one: 1."""
        right = self.of_each("error")
        return self.losses / right if self.losses.shape == right.shape else self.losses

    @property
    def times(self) -> Tensor:
        """Mean and standard deviation of logit(t), the mean over all steps: 0 and 1."""
        logits = self.of_each("logit")
        return torch.stack([logits.mean(), logits.std(1).mean()])

    @property
    def fresh(self) -> Tensor:
        """Whether the pairs and the times of a step differ from those of the step before: two."""
        pairs = list(zip(self.steps, self.steps[1:]))
        new = lambda name: not any(torch.equal(getattr(a, name), getattr(b, name)) for a, b in pairs)
        return torch.tensor([new("x0"), new("t")])


def _flow_training(net, draw, optimizer, steps, rng):
    """The loss at each step (steps,). Liu et al. 2023, Algorithm 1, with the times of Esser et al. 2024, section 3.1."""
    losses = []
    for _ in range(steps):
        x0, eps = draw(rng)
        t = torch.sigmoid(torch.randn(len(x0), generator=rng))
        s = t.view(-1, *[1] * (x0.ndim - 1))
        x_t = (1 - s) * x0 + s * eps
        loss = (net(x_t, t) - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


_MIX, _TIME, _ERROR = "(1 - s) * x0 + s * eps", "torch.sigmoid(torch.randn(len(x0), generator=rng))", "(eps - x0)"
_UPDATE = "loss.backward()\n        optimizer.step()"

flow_training = Check(
    "flow_training",
    _flow_training,
    cases=[
        Case("there are as many steps of the optimizer as `steps` says", lambda f: float(len(_Training(f, 50, 2, n=3).steps))),
        Case("the network is given the point of the straight path", lambda f: _Training(f, *CLOUD).of_each("mixed"), 1e-4),
        Case("the same for pictures (B, C, H, W)", lambda f: _Training(f, *SHEETS).of_each("mixed"), 1e-4),
        Case("t is logit-normal, and each pair of the batch has its own", lambda f: _Training(f, *CLOUD).times, 0.05),
        Case(
            "the optimizer steps along the gradient of the mean squared error of the velocity, of this step alone",
            lambda f: _Training(f, *CLOUD).of_each("gradient"),
            0.02,
        ),
        Case("the loss of each step is returned", lambda f: _Training(f, *CLOUD).ratios, 0.02),
        Case("each step draws new pairs and new times", lambda f: _Training(f, *CLOUD).fresh),
        Case(
            "the same rng gives the same training",
            lambda f: torch.equal(*(_Training(f, *CLOUD).steps[-1].t for _ in range(2))),
        ),
    ],
    mistakes={
        "the velocity's sign is turned: from data, at t = 0, to noise it is eps - x_0": {_ERROR: "(x0 - eps)"},
        "the target is the noise: a flow predicts the velocity, eps - x_0": {_ERROR: "eps"},
        "the target is the picture: a flow predicts the velocity, eps - x_0": {_ERROR: "x0"},
        "time runs the other way, or the net is given 1 - t: data is at t = 0, where x_t = x_0": [
            {_MIX: "s * x0 + (1 - s) * eps"},
            {"(x_t, t)": "(x_t, 1 - t)"},
        ],
        "x_t lies on an arc, sqrt(1 - t) x_0 + sqrt(t) eps: the path here is straight": {
            _MIX: "(1 - s).sqrt() * x0 + s.sqrt() * eps"
        },
        "x_t lies on an arc, cos(pi t / 2) x_0 + sin(pi t / 2) eps: the path here is straight": {
            _MIX: "(torch.pi / 2 * s).cos() * x0 + (torch.pi / 2 * s).sin() * eps"
        },
        "x_t keeps all of the picture: 1 - t should multiply it": {"(1 - s) * x0": "x0"},
        "the net is given the clean picture; x_t is what it should be given": {"(x_t, t)": "(x0, t)"},
        "t is uniform (torch.rand); a logit-normal t is the sigmoid of a normal number": {
            _TIME: "torch.rand(len(x0), generator=rng)"
        },
        "the sigmoid is taken of uniform numbers (torch.rand); it should be of normal ones (torch.randn)": {
            _TIME: "torch.sigmoid(torch.rand(len(x0), generator=rng))"
        },
        "one t is drawn for the whole batch; draw one for each pair": {
            _TIME: "torch.sigmoid(torch.randn(1, generator=rng)).expand(len(x0))"
        },
        "all steps have the same times: draw them anew in each": {
            _TIME: "torch.sigmoid(torch.randn(len(x0), generator=seeded(0)))"
        },
        "the times are not drawn from rng: pass generator=rng": {_TIME: "torch.sigmoid(torch.randn(len(x0)))"},
        "all steps train on one batch: draw(rng) belongs inside the loop": {"draw(rng)": "draw(seeded(5))"},
        "the noise of the pair is not used: eps comes from draw(rng), together with x0": {
            "x0, eps = draw(rng)": "x0 = draw(rng)[0]; eps = torch.randn(x0.shape, generator=rng)"
        },
        "the gradients of all steps add up: optimizer.zero_grad() is missing": {"optimizer.zero_grad()": "pass"},
        "optimizer.step() finds no gradient: loss.backward() must come just before it, on a loss that is not cut off from the "
        "network (.detach(), .item() or no_grad)": [
            {_UPDATE: "optimizer.step()\n        loss.backward()"},
            {_UPDATE: "loss.backward()\n        optimizer.zero_grad()\n        optimizer.step()"},
            {"loss.backward()": "loss.detach().requires_grad_().backward()"},
        ],
        "the loss of the last step is returned, not the losses of all steps": {"tensor(losses)": "tensor(losses[-1])"},
        "the errors are summed, where their mean belongs": {"mean()": "sum()"},
        "the errors of each picture are summed, and the mean is over the batch alone": {"mean()": "flatten(1).sum(1).mean()"},
        "the errors are not squared": {"square()": "abs()"},
        "the root of the mean squared error is taken; the mean squared error itself is asked for": {"mean()": "mean().sqrt()"},
    },
    hint="In each step: x0, eps = draw(rng); t = torch.sigmoid(torch.randn(len(x0), generator=rng)), shaped (B, 1, ...) for "
    "x_t = (1 - t) x0 + t eps; the mean of (net(x_t, t) - (eps - x0))**2; zero_grad(), backward(), step(); keep loss.item().",
    shown=(training.train, training.denoising_loss, RectifiedFlow),
)


# flow_sampler

NOISE, PICTURE_NOISE = torch.randn(5, 2, generator=seeded(1)), torch.randn(3, 1, 2, 4, generator=seeded(4))
LADDER, UNEVEN = [1.0, 0.75, 0.5, 0.25, 0.0], [1.0, 0.9, 0.3, 0.0]
NET = partial(affine, 0.7)


def _flow_sampler(net, x, times):
    """x_0 (B, ...) from noise x = x_1, by Euler steps of the velocity net(x, t). Liu et al. 2023, section 2.1."""
    for t, s in pairwise(times):
        x = x + (s - t) * net(x, torch.full((len(x),), t))
    return x


def _where_called(fn: Callable) -> Tensor:
    """The times at which the net is called, in turn."""
    seen = []

    def net(x, t):
        seen.append(t.double().mean())
        return NET(x, t)

    fn(net, NOISE.clone(), list(UNEVEN))
    if not seen:
        raise Refused("the network is never called: its prediction is net(x, t)")
    return torch.stack(seen)


flow_sampler = Check(
    "flow_sampler",
    _flow_sampler,
    cases=[
        Case("even times", on(NET, NOISE, LADDER)),
        Case("uneven times", on(NET, NOISE, UNEVEN)),
        Case("one step is exact where the velocity is constant", on(lambda x, t: torch.ones_like(x), NOISE, [1.0, 0.0])),
        Case("one evaluation a step, at its start", _where_called),
        Case("pictures (B, C, H, W), as well as points", on(NET, PICTURE_NOISE, UNEVEN)),
        Case("x is left as it was", after(NET, NOISE, LADDER)),
    ],
    mistakes={
        "the sign of the step is turned: s - t is negative, and eps - x_0 leads to the noise": {"(s - t)": "(t - s)"},
        "the net is given the time at the end of the step, s; Euler's method uses the start, t": {", t))": ", s))"},
        "the net is given 1 - t": {", t))": ", 1 - t))"},
        "each step has the length of the whole path: multiply the velocity by s - t": {"(s - t) *": "-1 *"},
        "all steps are taken to be equally long: multiply the velocity by s - t, of each pair of times": {
            "(s - t)": "(-1 / (len(times) - 1))"
        },
        "each step goes all the way to t = 0, x - t v: its length is s - t": {"(s - t)": "(-t)"},
        "the step is multiplied by s, where its length, s - t, belongs": {"(s - t)": "(-s)"},
        "the last step is missing": {"pairwise(times)": "pairwise(times[:-1])"},
        "the prediction of x_0 is returned after the first step: x - t v is exact only for straight paths": {
            "pairwise(times)": "[(times[0], times[-1])]"
        },
        "the net's output is taken for the noise: this is DDIM's step for eps, and the net gives the velocity": {
            "x + (s - t) * net(x, torch.full((len(x),), t))": "(1 - s) * (x - t * (e := net(x, torch.full((len(x),), t)))) "
            "/ max(1 - t, 1e-3) + s * e"
        },
        "the times are taken from 0 to 1: noise is at t = 1, and the sampler goes down": {
            "pairwise(times)": "pairwise(times[::-1])"
        },
    },
    hint="For each pair t, s of neighbours: x = x + (s - t) * net(x, t), where net takes t as (B,): torch.full((len(x),), t).",
    shown=(samplers.rectified_flow,),
)


# joint_attention

PICTURE = torch.randn(3, 2, 2, 5, 4, generator=seeded(2))  # queries, keys and values
TEXT = torch.randn(3, 2, 2, 3, 4, generator=seeded(3))
MASK = torch.tensor([[True, True, True], [True, True, False]])
LOUD = torch.where(MASK[:, None, :, None], TEXT, 6.0)


def _joint_attention(picture, text, mask):
    """The attended values of the patches and of the words, each attending to all of both. Esser et al. 2024, figure 2b."""
    q, k, v = (torch.cat(both, 2) for both in zip(picture, text))
    P, L = picture[0].shape[2], mask.shape[1]
    visible = torch.cat([mask.new_ones(len(mask), P), mask], 1)[:, None, None]
    scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~visible, -torch.inf)
    attended = scores.softmax(-1) @ v
    return attended.split([P, L], 2)


def _attended(picture: Tensor, text: Tensor, mask: Tensor, streams: slice = slice(2)) -> Callable:
    """A case's `run`: the attended values of these streams, of two, behind one another.

    Those of padding are multiplied by 0: they may be any finite numbers.
    """
    counts = torch.ones_like(mask[:, :1]).expand(-1, picture.shape[-2]), mask

    def run(fn):
        both = fn(tuple(picture.clone()), tuple(text.clone()), mask.clone())
        return torch.cat(
            [torch.as_tensor(h) * c[:, None, :, None] for h, c in list(zip(both, counts, strict=True))[streams]], 2
        )

    return run


def _of_triples(fn: Callable) -> Callable:
    """`fn` of queries, keys and values in one tensor each, whose parts share its memory."""
    return lambda picture, text, mask: fn(tuple(picture), tuple(text), mask)


joint_attention = Check(
    "joint_attention",
    _joint_attention,
    cases=[
        Case("the attended values of the picture's patches", _attended(PICTURE, TEXT, MASK | True, slice(1))),
        Case("the attended values of the words", _attended(PICTURE, TEXT, MASK | True, slice(1, 2))),
        Case("padding is not attended to", _attended(PICTURE, TEXT, MASK)),
        Case("large values in the padding change no patch", _attended(PICTURE, LOUD, MASK, slice(1))),
        Case("one word only", _attended(PICTURE, TEXT[..., :1, :], MASK[:, :1])),
        Case("as many words as patches", _attended(TEXT, TEXT, MASK | True)),
        Case("picture, text and mask are left as they were", lambda fn: after(PICTURE, TEXT, MASK)(_of_triples(fn))),
    ],
    mistakes={
        "each stream attends to itself alone: keys and values of both must be joined": {
            "attended = scores": "scores[..., :P, P:] = scores[..., P:, :P] = -torch.inf; attended = scores"
        },
        "this is cross-attention, both ways: each stream attends to the other, but not to itself": {
            "attended = scores": "scores[..., :P, :P] = scores[..., P:, P:] = -torch.inf; attended = scores"
        },
        "the picture attends to all, the words only to words: in joint attention they attend to the picture, too": {
            "attended = scores": "scores[..., P:, :P] = -torch.inf; attended = scores"
        },
        "the words attend to all, the picture only to patches: in joint attention it attends to the words, too": {
            "attended = scores": "scores[..., :P, P:] = -torch.inf; attended = scores"
        },
        "all attend to the words alone: keys and values of both streams must be joined": {
            "attended = scores": "scores[..., :P] = -torch.inf; attended = scores"
        },
        "the scale is missing: divide q k^T by sqrt(d)": {" / q.shape[-1] ** 0.5": ""},
        "q k^T is divided by d; by its square root, sqrt(d), is right": {" ** 0.5": ""},
        "q k^T is divided by the root of the whole width, heads times d; each head has d numbers": {
            "q.shape[-1] **": "(q.shape[1] * q.shape[-1]) **"
        },
        "q k^T is divided by the root of the number of tokens; by sqrt(d) is right": {"q.shape[-1] **": "q.shape[-2] **"},
        "the softmax is taken over the queries; the weights of one query, over all keys, sum to 1": {
            "softmax(-1)": "softmax(-2)"
        },
        "the softmax is missing: scores are not weights": {
            ".masked_fill(~visible, -torch.inf)": " * visible",
            ".softmax(-1)": "",
        },
        "the mask is turned: True is a word, False is padding": {
            "~visible": "torch.cat([mask.new_zeros(len(mask), P), mask], 1)[:, None, None]"
        },
        "masked_fill hides where its mask is True, and it is given where tokens are visible: give it ~visible": {
            "masked_fill(~visible": "masked_fill(visible"
        },
        "the weights of padding are set to 0 after the softmax, and those that are left do not sum to 1": {
            ".masked_fill(~visible, -torch.inf)": "",
            "scores.softmax(-1)": "(scores.softmax(-1) * visible)",
        },
        "the mask is added to the scores, where it is 1 for words: add -inf for padding": {
            ".masked_fill(~visible, -torch.inf)": " + visible"
        },
        "the words stand before the patches in the joined sequence, and it is parted as if they stood behind": {
            "zip(picture, text)": "zip(text, picture)",
            "mask.new_ones(len(mask), P), mask": "mask, mask.new_ones(len(mask), P)",
        },
        "keys take the place of the values": {"scores.softmax(-1) @ v": "scores.softmax(-1) @ k"},
        "what padding itself outputs is not finite: its row of scores is -inf alone. Mask the keys, for every query": {
            "scores.softmax(-1)": "scores.masked_fill(~visible.transpose(-1, -2), -torch.inf).softmax(-1)"
        },
        "padding is attended to: `mask` is not used": {".masked_fill(~visible, -torch.inf)": ""},
        "scores of padding are set to 0 before the softmax, where e^0 = 1 still counts: set them to -inf": {"-torch.inf": "0"},
        "the streams come back the wrong way round: the picture's is first": {"], 2)": "], 2)[::-1]"},
    },
    hint="Join q, k and v of both along dim 2, the patches first; patches may always be attended to, words where `mask`; one "
    "softmax(q k^T / sqrt(d)) v; then part the result after the patches.",
    shown=(mmdit.joint_attention, mmdit.JointBlock),
)
