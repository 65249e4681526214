"""Lesson 16: Stable Diffusion 3."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import training
from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import Network
from course_lib.nets import mmdit
from course_lib.process import RectifiedFlow


def _some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# flow_loss

X0, EPS = _some(4, 2, 3, 3), _some(4, 2, 3, 3, seed=1)
T = torch.tensor([0.0, 0.2, 0.7, 1.0])


def _net(x_t: Tensor, t: Tensor) -> Tensor:
    return 0.7 * x_t + torch.as_tensor(t).view(-1, *[1] * (x_t.ndim - 1)) - 0.2


def _flow_with(
    mix=lambda x0, t, eps: (1 - t) * x0 + t * eps,
    target=lambda x0, eps: eps - x0,
    tell=lambda t: t,
    over=lambda error: error.square().mean(),
) -> Callable:
    """flow_loss with another mixture, target, time or mean."""

    def flow_loss(net, x0, t, eps):
        x_t = mix(x0, t.view(-1, *[1] * (x0.ndim - 1)), eps)
        return over(net(x_t, tell(t)) - target(x0, eps))

    return flow_loss


def _reference_flow(net: Callable, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """How far net(x_t, t) is from the straight path's velocity: Liu et al. 2023, eq. 1, with data at t = 0."""
    process = RectifiedFlow()
    network = Network(torch.nn.Identity(), process, "flow")
    return (net(process.add_noise(x0, t, eps), t) - network.truth(x0, t, eps)).square().mean()


def _x0_after(fn: Callable) -> Tensor:
    x0, eps = X0.clone(), EPS.clone()
    fn(_net, x0, T.clone(), eps)
    return torch.cat([x0, eps])


flow_loss = Check(
    "flow_loss",
    _reference_flow,
    cases=[
        Case("a batch, each member with its own time", on(_net, X0, T, EPS)),
        Case("at t = 0 x_t is the picture", on(lambda x, t: x, X0, 0 * T, EPS)),
        Case("at t = 1 x_t is the noise", on(lambda x, t: x, X0, 0 * T + 1, EPS)),
        Case("the net is told t itself", on(lambda x, t: 0 * x + t.view(-1, 1, 1, 1), X0, T, EPS)),
        Case(
            "a net that says eps - x_0 loses nothing",
            lambda fn: 1 + torch.as_tensor(fn(lambda x, t: EPS - X0, X0.clone(), T.clone(), EPS.clone())),
        ),
        Case("points (B, 2), as well as pictures", on(_net, _some(4, 2, seed=2), T, _some(4, 2, seed=3))),
        Case("x0 and eps are left as they were", _x0_after),
    ],
    mistakes=[
        ("the velocity's sign is turned: from data, at t = 0, to noise it is eps - x_0", _flow_with(target=lambda x, e: x - e)),
        ("the target is the noise: a flow predicts the velocity, eps - x_0", _flow_with(target=lambda x, e: e)),
        ("the target is the picture: a flow predicts the velocity, eps - x_0", _flow_with(target=lambda x, e: x)),
        ("time runs the other way: data is at t = 0, where x_t = x_0", _flow_with(mix=lambda x, t, e: t * x + (1 - t) * e)),
        (
            "x_t lies on an arc, sqrt(1 - t) x_0 + sqrt(t) eps: the path here is straight",
            _flow_with(mix=lambda x, t, e: (1 - t).sqrt() * x + t.sqrt() * e),
        ),
        ("the net is told 1 - t", _flow_with(tell=lambda t: 1 - t)),
        ("the errors are summed, where their mean belongs", _flow_with(over=lambda error: error.square().sum())),
        ("the errors are not squared", _flow_with(over=lambda error: error.abs().mean())),
    ],
    hint="x_t = (1 - t) x0 + t eps, with t in a shape (B, 1, ...); then the mean of (net(x_t, t) - (eps - x0))**2.",
    shown=(training.denoising_loss, RectifiedFlow),
)


# joint_attention

PICTURE = tuple(_some(2, 2, 5, 4, seed=seed) for seed in (4, 5, 6))
TEXT = tuple(_some(2, 2, 3, 4, seed=seed) for seed in (7, 8, 9))
THERE = torch.tensor([[True, True, True], [True, True, False]])
ALL = torch.ones(2, 3, dtype=torch.bool)


def _joint_with(
    keys=lambda picture, text: (torch.cat([picture, text], 2),) * 2,
    scale=lambda q: q.shape[-1] ** 0.5,
    hide=lambda looks, seen: looks.masked_fill(~seen, -torch.inf),
    part=lambda of_picture, of_text: (of_picture, of_text),
) -> Callable:
    """joint_attention in which each stream looks at other keys, by another scale or mask."""

    def joint_attention(picture, text, there):
        P = picture[0].shape[2]
        everything = torch.cat([there.new_ones(len(there), P), there], 1)
        gathered = []
        for stream, i in ((picture, 0), (text, 1)):
            k, v = keys(picture[1], text[1])[i], keys(picture[2], text[2])[i]
            seen = {P: everything[:, :P], P + there.shape[1]: everything}.get(k.shape[2], there)
            looks = hide(stream[0] @ k.transpose(-1, -2) / scale(stream[0]), seen[:, None, None])
            gathered.append(looks.softmax(-1) @ v)
        return part(*gathered)

    return joint_attention


def _both(picture: tuple, text: tuple, there: Tensor) -> Callable[[Callable], Tensor]:
    """A case's run: what both streams gather, behind one another."""
    copies = lambda heads: tuple(part.clone() for part in heads)
    return lambda fn: torch.cat(list(fn(copies(picture), copies(text), there.clone())), 2)


def _one_of_both(i: int) -> Callable[[Callable], Tensor]:
    def run(fn: Callable) -> Tensor:
        gathered = fn(tuple(part.clone() for part in PICTURE), tuple(part.clone() for part in TEXT), ALL.clone())
        return gathered[i]

    return run


LOUD = tuple(torch.where(THERE[:, None, :, None], part, torch.tensor(6.0)) for part in TEXT)
ONE_WORD = tuple(part[:, :, :1] for part in TEXT)

joint_attention = Check(
    "joint_attention",
    mmdit.joint_attention,
    cases=[
        Case("what the picture's places gather, from places and words", _one_of_both(0)),
        Case("what the words gather, from places and words", _one_of_both(1)),
        Case("words that are not there are not looked at", _both(PICTURE, TEXT, THERE)),
        Case("what stands in the padding, however loud, moves no place", lambda fn: _both(PICTURE, LOUD, THERE)(fn)[:, :, :5]),
        Case("one word only", _both(PICTURE, ONE_WORD, ALL[:, :1])),
        Case("as many words as places", _both(TEXT, TEXT, ALL)),
    ],
    mistakes=[
        (
            "each stream attends to itself alone: keys and values of both must be joined",
            _joint_with(keys=lambda picture, text: (picture, text)),
        ),
        (
            "this is cross-attention, both ways: each stream sees the other, but not itself",
            _joint_with(keys=lambda picture, text: (text, picture)),
        ),
        (
            "the picture sees all, the words see only words: in joint attention they look at the picture, too",
            _joint_with(keys=lambda picture, text: (torch.cat([picture, text], 2), text)),
        ),
        ("the scale is missing: divide q k^T by sqrt(d)", _joint_with(scale=lambda q: 1)),
        ("padding is looked at: `there` is not used", _joint_with(hide=lambda looks, seen: looks)),
        (
            "looks at padding are set to 0 before the softmax, where e^0 = 1 still counts: set them to minus infinity",
            _joint_with(hide=lambda looks, seen: looks * seen),
        ),
        (
            "the streams come back the wrong way round: the picture's is first",
            _joint_with(part=lambda p, t: (t, p)),
        ),
    ],
    hint="Join q, k and v of both along dim 2, the places first; places may always be looked at, words where `there`; one "
    "softmax(q k^T / sqrt(d)) v; then part the result after the places.",
    shown=(mmdit.joint_attention, mmdit.JointBlock),
)
