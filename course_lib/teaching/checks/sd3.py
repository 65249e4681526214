"""Lesson 16: Stable Diffusion 3."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from course_lib import training
from course_lib.nets import mmdit
from course_lib.process import RectifiedFlow, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import affine

# flow_loss

X0, EPS = torch.randn(2, 4, 2, 3, 3, generator=seeded(0))
T = torch.tensor([0.0, 0.2, 0.7, 1.0])
NET = partial(affine, 0.7)


def _flow_loss(net: Callable, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The mean squared error of net(x_t, t) as the straight path's velocity: Liu et al. 2023, eq. 1, with data at t = 0."""
    s = t.view(-1, *[1] * (x0.ndim - 1))
    x_t = (1 - s) * x0 + s * eps
    return (net(x_t, t) - (eps - x0)).square().mean()


flow_loss = Check(
    "flow_loss",
    _flow_loss,
    cases=[
        Case("a batch, each member with its own time", on(NET, X0, T, EPS)),
        Case("at t = 0 x_t is the picture", on(lambda x, t: x, X0, 0 * T, EPS)),
        Case("at t = 1 x_t is the noise", on(lambda x, t: x, X0, 0 * T + 1, EPS)),
        Case("the net is given t itself", on(partial(affine, 0.0), X0, T, EPS)),
        Case("a net that predicts eps - x_0 has loss 0", on(lambda x, t: EPS - X0, X0, T, EPS)),
        Case("points (B, 2), as well as pictures", on(NET, X0[..., 0, 0], T, EPS[..., 0, 0])),
        Case("x0 and eps are left as they were", after(NET, X0, T, EPS)),
    ],
    mistakes={
        "the velocity's sign is turned: from data, at t = 0, to noise it is eps - x_0": {"eps - x0": "x0 - eps"},
        "the target is the noise: a flow predicts the velocity, eps - x_0": {"eps - x0": "eps"},
        "the target is the picture: a flow predicts the velocity, eps - x_0": {"eps - x0": "x0"},
        "time runs the other way: data is at t = 0, where x_t = x_0": {"(1 - s) * x0 + s * eps": "s * x0 + (1 - s) * eps"},
        "x_t lies on an arc, sqrt(1 - t) x_0 + sqrt(t) eps: the path here is straight": {
            "(1 - s) * x0 + s * eps": "(1 - s).sqrt() * x0 + s.sqrt() * eps"
        },
        "the net is given 1 - t": {"(x_t, t)": "(x_t, 1 - t)"},
        "the errors are summed, where their mean belongs": {"mean()": "sum()"},
        "the errors are not squared": {"square()": "abs()"},
    },
    hint="x_t = (1 - t) x0 + t eps, with t in a shape (B, 1, ...); then the mean of (net(x_t, t) - (eps - x0))**2.",
    shown=(training.denoising_loss, RectifiedFlow),
)


# joint_attention

PICTURE = torch.randn(3, 2, 2, 5, 4, generator=seeded(2))  # queries, keys and values
TEXT = torch.randn(3, 2, 2, 3, 4, generator=seeded(3))
MASK = torch.tensor([[True, True, True], [True, True, False]])
LOUD = torch.where(MASK[:, None, :, None], TEXT, 6.0)


def _joint_attention(picture: mmdit.Heads, text: mmdit.Heads, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The attended values of the places and of the words, each attending to all of both. Esser et al. 2024, figure 2b."""
    q, k, v = (torch.cat(both, 2) for both in zip(picture, text))
    P = picture[0].shape[2]
    visible = torch.cat([mask.new_ones(len(mask), P), mask], 1)[:, None, None]
    scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~visible, -torch.inf)
    attended = scores.softmax(-1) @ v
    return attended.split([P, mask.shape[1]], 2)


def _attended(picture: Tensor, text: Tensor, mask: Tensor, streams: slice = slice(2)) -> Callable:
    """A case's `run`: the attended values of these streams, of two, behind one another."""
    return lambda fn: torch.cat(list(fn(tuple(picture.clone()), tuple(text.clone()), mask.clone()))[streams], 2)


joint_attention = Check(
    "joint_attention",
    _joint_attention,
    cases=[
        Case("the attended values of the picture's places", _attended(PICTURE, TEXT, MASK | True, slice(1))),
        Case("the attended values of the words", _attended(PICTURE, TEXT, MASK | True, slice(1, 2))),
        Case("padding is not attended to", _attended(PICTURE, TEXT, MASK)),
        Case("large values in the padding change no place", _attended(PICTURE, LOUD, MASK, slice(1))),
        Case("one word only", _attended(PICTURE, TEXT[..., :1, :], MASK[:, :1])),
        Case("as many words as places", _attended(TEXT, TEXT, MASK | True)),
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
        "the scale is missing: divide q k^T by sqrt(d)": {" / q.shape[-1] ** 0.5": ""},
        "padding is attended to: `mask` is not used": {".masked_fill(~visible, -torch.inf)": ""},
        "scores of padding are set to 0 before the softmax, where e^0 = 1 still counts: set them to -inf": {"-torch.inf": "0"},
        "the streams come back the wrong way round: the picture's is first": {"], 2)": "], 2)[::-1]"},
    },
    hint="Join q, k and v of both along dim 2, the places first; places may always be attended to, words where `mask`; one "
    "softmax(q k^T / sqrt(d)) v; then part the result after the places.",
    shown=(mmdit.joint_attention, mmdit.JointBlock),
)
