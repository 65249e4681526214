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


def _flow_loss(net, x0, t, eps):
    """The mean squared error of net(x_t, t) as the straight path's velocity: Liu et al. 2023, eq. 1, with data at t = 0."""
    s = t.view(-1, *[1] * (x0.ndim - 1))
    x_t = (1 - s) * x0 + s * eps
    return (net(x_t, t) - (eps - x0)).square().mean()


def _slope(loss: Callable) -> Tensor:
    """The loss's gradient in the weight of its net."""
    weight = torch.tensor(0.7, requires_grad=True)
    return torch.autograd.grad(on(X0, T, EPS)(partial(loss, partial(affine, weight))), weight)[0]


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
        Case("its gradient reaches the net", _slope),
        Case("x0, t and eps are left as they were", after(NET, X0, T, EPS)),
    ],
    mistakes={
        "the velocity's sign is turned: from data, at t = 0, to noise it is eps - x_0": {"eps - x0": "x0 - eps"},
        "the target is the noise: a flow predicts the velocity, eps - x_0": {"eps - x0": "eps"},
        "the target is the picture: a flow predicts the velocity, eps - x_0": {"eps - x0": "x0"},
        "time runs the other way: data is at t = 0, where x_t = x_0": {"(1 - s) * x0 + s * eps": "s * x0 + (1 - s) * eps"},
        "x_t lies on an arc, sqrt(1 - t) x_0 + sqrt(t) eps: the path here is straight": {
            "(1 - s) * x0 + s * eps": "(1 - s).sqrt() * x0 + s.sqrt() * eps"
        },
        "x_t lies on an arc, cos(pi t / 2) x_0 + sin(pi t / 2) eps: the path here is straight": {
            "(1 - s) * x0 + s * eps": "(torch.pi / 2 * s).cos() * x0 + (torch.pi / 2 * s).sin() * eps"
        },
        "x_t keeps all of the picture: 1 - t should multiply it": {"(1 - s) * x0": "x0"},
        "the net is given the clean picture; x_t is what it should be given": {"(x_t, t)": "(x0, t)"},
        "the net is given 1 - t": {"(x_t, t)": "(x_t, 1 - t)"},
        "the net is given 1,000 t, as for a process of 1,000 steps; times here are 0 to 1": {"(x_t, t)": "(x_t, 1000 * t)"},
        "all of the batch have the first one's time; each has its own": {
            "s = t.view(": "t = t[:1].expand(len(t)); s = t.view("
        },
        "the errors are summed, where their mean belongs": {"mean()": "sum()"},
        "the errors of each picture are summed, and the mean is over the batch alone": {"mean()": "flatten(1).sum(1).mean()"},
        "the errors are not squared": {"square()": "abs()"},
        "the root of the mean squared error is taken; the mean squared error itself is asked for": {"mean()": "mean().sqrt()"},
        "each error is weighted by t^2, as if it were that of the picture; here all times weigh the same": {
            "(net(x_t, t) - (eps - x0))": "(s * (net(x_t, t) - (eps - x0)))"
        },
        "nothing can be learned from it: the output of the net has no gradient": {"net(x_t, t)": "net(x_t, t).detach()"},
    },
    hint="x_t = (1 - t) x0 + t eps, with t in a shape (B, 1, ...); then the mean of (net(x_t, t) - (eps - x0))**2.",
    shown=(training.denoising_loss, RectifiedFlow),
)


# joint_attention

PICTURE = torch.randn(3, 2, 2, 5, 4, generator=seeded(2))  # queries, keys and values
TEXT = torch.randn(3, 2, 2, 3, 4, generator=seeded(3))
MASK = torch.tensor([[True, True, True], [True, True, False]])
LOUD = torch.where(MASK[:, None, :, None], TEXT, 6.0)


def _joint_attention(picture, text, mask):
    """The attended values of the places and of the words, each attending to all of both. Esser et al. 2024, figure 2b."""
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
        Case("the attended values of the picture's places", _attended(PICTURE, TEXT, MASK | True, slice(1))),
        Case("the attended values of the words", _attended(PICTURE, TEXT, MASK | True, slice(1, 2))),
        Case("padding is not attended to", _attended(PICTURE, TEXT, MASK)),
        Case("large values in the padding change no place", _attended(PICTURE, LOUD, MASK, slice(1))),
        Case("one word only", _attended(PICTURE, TEXT[..., :1, :], MASK[:, :1])),
        Case("as many words as places", _attended(TEXT, TEXT, MASK | True)),
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
        "the words attend to all, the picture only to places: in joint attention it attends to the words, too": {
            "attended = scores": "scores[..., :P, P:] = -torch.inf; attended = scores"
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
        "the weights of padding are set to 0 after the softmax, and those that are left do not sum to 1": {
            ".masked_fill(~visible, -torch.inf)": "",
            "scores.softmax(-1)": "(scores.softmax(-1) * visible)",
        },
        "the mask is added to the scores, where it is 1 for words: add -inf for padding": {
            ".masked_fill(~visible, -torch.inf)": " + visible"
        },
        "the words stand before the places in the joined sequence, and it is parted as if they stood behind": {
            "zip(picture, text)": "zip(text, picture)",
            "mask.new_ones(len(mask), P), mask": "mask, mask.new_ones(len(mask), P)",
        },
        "keys take the place of the values": {"scores.softmax(-1) @ v": "scores.softmax(-1) @ k"},
        "padding is attended to: `mask` is not used": {".masked_fill(~visible, -torch.inf)": ""},
        "scores of padding are set to 0 before the softmax, where e^0 = 1 still counts: set them to -inf": {"-torch.inf": "0"},
        "the streams come back the wrong way round: the picture's is first": {"], 2)": "], 2)[::-1]"},
    },
    hint="Join q, k and v of both along dim 2, the places first; places may always be attended to, words where `mask`; one "
    "softmax(q k^T / sqrt(d)) v; then part the result after the places.",
    shown=(mmdit.joint_attention, mmdit.JointBlock),
)
