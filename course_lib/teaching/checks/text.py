"""Lesson 09: text and cross-attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.nets import attention, hooks
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import normal

# cross_attention


def _layer(inward: int, seed: int) -> nn.Linear:
    """A linear layer with 8 outputs, the same one at each call."""
    layer = nn.Linear(inward, 8, device="cpu", dtype=torch.float32).requires_grad_(False)
    layer.weight.copy_(0.7 * normal(8, inward, seed=seed))
    layer.bias.copy_(0.3 * normal(8, seed=seed + 10))
    return layer


PICTURE, TEXT = normal(2, 7, 8), normal(2, 5, 8, seed=1)
LAYERS, NARROW = tuple(_layer(8, seed) for seed in (2, 3, 4)), tuple(_layer(6, seed) for seed in (5, 6))
ALL, MASK = torch.ones(2, 5, dtype=torch.bool), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def _cross_attention(
    picture: Tensor, text: Tensor, mask: Tensor, query: Callable, key: Callable, value: Callable, heads: int
) -> Tensor:
    """The values of the words, averaged for each place and each head. Rombach et al. 2022, section 3.3."""

    def split(x):  # (B, n, C) to (B, heads, n, C / heads)
        return x.unflatten(2, (heads, -1)).transpose(1, 2)

    q, k, v = split(query(picture)), split(key(text)), split(value(text))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
    attended = scores.softmax(-1) @ v
    return attended.transpose(1, 2).flatten(2)


cross_attention = Check(
    "cross_attention",
    _cross_attention,
    cases=[
        Case("one head: a row for each place, averaged over the words", on(PICTURE, TEXT, ALL, *LAYERS, 1)),
        Case("two heads, each with its own weights", on(PICTURE, TEXT, ALL, *LAYERS, 2)),
        Case("words that are masked have no weight", on(PICTURE, TEXT, MASK, *LAYERS, 2)),
        Case("the embeddings of padding change nothing", on(PICTURE, TEXT + 5.0 * ~MASK[..., None], MASK, *LAYERS, 2)),
        Case("of one word, each place takes the value of that word", on(PICTURE, TEXT[:, :1], ALL[:, :1], *LAYERS, 4)),
        Case("the order of the words does not matter", on(PICTURE, TEXT.flip(1), MASK.flip(1), *LAYERS, 4)),
        Case("more places, shorter text vectors", on(normal(2, 9, 8), TEXT[..., :6], MASK, LAYERS[0], *NARROW, 2)),
    ],
    mistakes={
        "queries come from the words, keys and values from the picture: exchange them, for one output for each place": {
            "query(picture)": "query(text)",
            "key(text)": "key(picture)",
            "value(text)": "value(picture)",
            ".masked_fill(~mask[:, None, None], -torch.inf)": "",
        },
        "the scale is missing: divide q k^T by sqrt(d)": {" / q.shape[-1] ** 0.5": ""},
        "d divides where sqrt(d) belongs": {" ** 0.5": ""},
        "the scale is that of all channels: d is the length of one head's vectors": {"/ q.shape[-1]": "/ picture.shape[-1]"},
        "the number of words stands where d belongs": {"/ q.shape[-1]": "/ k.shape[-2]"},
        "sqrt(d) multiplies where it must divide": {"/ q.shape": "* q.shape"},
        "keys and values have changed places": {"split(key(text)), split(value(text))": "split(value(text)), split(key(text))"},
        "the mask comes after the softmax, so that the weights of the words do not sum to 1": {
            ".masked_fill(~mask[:, None, None], -torch.inf)": "",
            "scores.softmax(-1)": "(scores.softmax(-1) * mask[:, None, None])",
        },
        "the picture is added: the residual path is no part of the formula": {"flatten(2)": "flatten(2) + picture"},
        "padding has weight: `mask` is not used": {".masked_fill(~mask[:, None, None], -torch.inf)": ""},
        "the mask is turned round: only padding has weight": [
            {"~mask": "mask"},
            {"~mask": "mask", "softmax(-1)": "softmax(-1).nan_to_num()"},
        ],
        "scores of padding are set to 0 or nearly so, where e^0 = 1 still counts: set them to minus infinity": [
            {"masked_fill(~mask[:, None, None], -torch.inf)": "mul(mask[:, None, None])"},
            {"-torch.inf": "-1.0"},
        ],
        "the softmax runs over the places; the weights of the words must sum to 1": [
            {"softmax(-1)": "softmax(-2)"},
            {"softmax(-1)": "softmax(-2).nan_to_num()"},
        ],
        "the softmax runs over the heads; the weights of the words must sum to 1": [
            {"softmax(-1)": "softmax(1)"},
            {"softmax(-1)": "softmax(1).nan_to_num()"},
        ],
        "the softmax is missing": {
            "masked_fill(~mask[:, None, None], -torch.inf)": "mul(mask[:, None, None])",
            ".softmax(-1)": "",
        },
        "there is one head only: split the channels into `heads` parts first": {"(heads, -1)": "(1, -1)"},
        "the channels of a head are not adjacent: the first C / heads channels are the first head": {
            "x.unflatten(2, (heads, -1)).transpose(1, 2)": "x.unflatten(2, (-1, heads)).permute(0, 3, 1, 2)"
        },
        "the heads are cut out of the places: after the split, exchange the axes of places and heads": {
            "x.unflatten(2, (heads, -1)).transpose(1, 2)": "x.reshape(len(x), heads, x.shape[1], -1)"
        },
        "the heads are joined before their axis is moved back": {
            "attended.transpose(1, 2).flatten(2)": "attended.reshape(len(picture), picture.shape[1], -1)"
        },
        "the heads are averaged; they stand side by side": {"attended.transpose(1, 2).flatten(2)": "attended.mean(1)"},
        "the last axes of the output are exchanged: places first, channels last": {"flatten(2)": "flatten(2).mT"},
    },
    hint="split(x) = x.unflatten(2, (heads, -1)).transpose(1, 2) for q, k and v; scores = q @ k.transpose(-1, -2) / sqrt(d), "
    "minus infinity where `mask` is False; scores.softmax(-1) @ v; join the heads by .transpose(1, 2).flatten(2).",
    shown=(attention.cross_attention, attention.CrossAttention),
)

# attention_share
LOOKS = normal(3, 6, 4, 5, seed=7).flatten(2).softmax(1).unflatten(2, (4, 5))  # over the words, as the network's own are
WORDS, OBJECT = torch.tensor([[1, 2], [3, 5], [4, 1]]), normal(3, 4, 5, seed=8).sigmoid()


def _attention_share(weights: Tensor, words: Tensor, cover: Tensor) -> Tensor:
    """Of the attention to each of these words, the part that lies on an object: (B, n)."""
    rows = torch.arange(len(weights), device=weights.device)[:, None]
    maps = weights[rows, words]
    return (maps * cover[:, None]).sum((2, 3)) / maps.sum((2, 3))


attention_share = Check(
    "attention_share",
    _attention_share,
    cases=[
        Case("a share for each picture and each of its words", on(LOOKS, WORDS, OBJECT)),
        Case("an object that covers the whole picture has all of it", on(LOOKS, WORDS, torch.ones(3, 4, 5))),
        Case("an object that covers nothing has none", on(LOOKS, WORDS, torch.zeros(3, 4, 5))),
        Case("of uniform attention, the object's share of the area", on(torch.full((3, 6, 4, 5), 1 / 6), WORDS, OBJECT)),
        Case("the share does not depend on how much attention a word has", on(LOOKS * 0.2, WORDS, OBJECT)),
        Case("one word, one picture", on(LOOKS[:1], WORDS[:1, :1], OBJECT[:1])),
        Case("the weights are left as they were", after(LOOKS, WORDS, OBJECT)),
    ],
    mistakes={
        "the sum is not divided by all attention to the word: a share is asked for": {" / maps.sum((2, 3))": ""},
        "the attention on the object is divided by that outside it": {
            "/ maps.sum((2, 3))": "/ (maps * (1 - cover[:, None])).sum((2, 3))"
        },
        "it is divided by the area of the picture, not by all attention to the word": {
            "maps.sum((2, 3))": "(maps.shape[2] * maps.shape[3])"
        },
        "it is divided by the area of the object, not by all attention to the word": {
            "/ maps.sum((2, 3))": "/ cover[:, None].sum((2, 3))"
        },
        "it is the attention outside the object": {"maps * cover[:, None]": "maps * (1 - cover[:, None])"},
        "it is divided by the attention of all words: take the sum of this word's own map": {
            "maps.sum((2, 3))": "weights.sum((1, 2, 3))[:, None]"
        },
        "it is the share of the words, place by place: take sums over the picture": {
            "/ maps.sum((2, 3))": "/ (weights.sum(1)[:, None] * cover[:, None]).sum((2, 3))"
        },
        "the words of the first picture are taken for all": {"weights[rows, words]": "weights[:, words[0]]"},
        "the words are counted from 1: the start token has number 0": {"weights[rows, words]": "weights[rows, words - 1]"},
        "the object of the first picture is taken for all": {"cover[:, None]": "cover[:1, None]"},
        "the mean of all pictures is returned, not a share for each": {" / maps.sum((2, 3))": " / maps.sum((2, 3)).mean(0)"},
        "the shares are averaged over the words: one for each is asked for": {
            "/ maps.sum((2, 3))": "/ maps.sum((2, 3)).mean(1, keepdim=True)"
        },
    },
    hint="maps = weights[torch.arange(B)[:, None], words] are the maps of the words (B, n, H, W); sum maps * cover[:, None] "
    "over the picture, and divide by the sum of maps.",
    shown=(hooks.cross_attention_maps,),
)
