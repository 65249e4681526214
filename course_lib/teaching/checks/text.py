"""Lesson 09: text and cross-attention."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.denoisers import Network
from course_lib.nets import attention
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import normal

# cross_attention
PICTURE, TEXT = normal(2, 7, 6), normal(2, 5, 6, seed=1)
WEIGHTS = tuple(normal(6, 4, seed=seed) for seed in (2, 3, 4))
ALL, MASK = torch.ones(2, 5, dtype=torch.bool), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def _cross_attention(picture: Tensor, text: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """The values of the words, averaged for each place of the picture. Rombach et al. 2022, section 3.3."""
    q, k, v = picture @ query, text @ key, text @ value
    scores = q @ k.transpose(-1, -2) / k.shape[-1] ** 0.5
    scores = scores.masked_fill(~mask[:, None], -torch.inf)
    return scores.softmax(-1) @ v


cross_attention = Check(
    "cross_attention",
    _cross_attention,
    cases=[
        Case("a row for each place of the picture, averaged over the words", on(PICTURE, TEXT, *WEIGHTS, ALL)),
        Case("words that are masked have no weight", on(PICTURE, TEXT, *WEIGHTS, MASK)),
        Case("the embeddings of padding change nothing", on(PICTURE, TEXT + 5.0 * ~MASK[..., None], *WEIGHTS, MASK)),
        Case("of one word, each place takes the value of that word", on(PICTURE, TEXT[:, :1], *WEIGHTS, ALL[:, :1])),
        Case("the order of the words does not matter", on(PICTURE, TEXT.flip(1), *WEIGHTS, MASK.flip(1))),
        Case("more places and longer vectors", on(normal(2, 9, 8), TEXT, normal(8, 4, seed=6), *WEIGHTS[1:], ALL)),
    ],
    mistakes={
        "queries come from the words, keys and values from the picture: exchange them, for one output for each place": {
            "picture @ query, text @ key, text @ value": "text @ query, picture @ key, picture @ value",
            ".masked_fill(~mask[:, None], -torch.inf)": "",
        },
        "the scale is missing: divide q k^T by sqrt(d)": {" / k.shape[-1] ** 0.5": ""},
        "d divides where sqrt(d) belongs": {" ** 0.5": ""},
        "the length of the picture's vectors stands where that of queries and keys belongs: divide by sqrt(query.shape[1])": {
            "k.shape[-1]": "picture.shape[-1]"
        },
        "the number of words stands where d belongs": {"k.shape[-1]": "k.shape[-2]"},
        "sqrt(d) multiplies where it must divide": {"/ k": "* k"},
        "keys and values have changed places": {"text @ key, text @ value": "text @ value, text @ key"},
        "the mask comes after the softmax, so that the weights of the words do not sum to 1": {
            ".masked_fill(~mask[:, None], -torch.inf)": "",
            "scores.softmax(-1)": "(scores.softmax(-1) * mask[:, None])",
        },
        "the picture is added: the residual path is no part of the formula": {"(-1) @ v": "(-1) @ v + q"},
        "the weights are returned; they must still multiply the values": {"(-1) @ v": "(-1)"},
        "padding has weight: `mask` is not used": {".masked_fill(~mask[:, None], -torch.inf)": ""},
        "the mask is turned round: only padding has weight": [
            {"~mask": "mask"},
            {"~mask": "mask", "softmax(-1)": "softmax(-1).nan_to_num()"},
        ],
        "scores of padding are set to 0 or nearly so, where e^0 = 1 still counts: set them to minus infinity": [
            {"masked_fill(~mask[:, None], -torch.inf)": "mul(mask[:, None])"},
            {"-torch.inf": "-1.0"},
        ],
        "the softmax runs over the places; the weights of the words must sum to 1": [
            {"softmax(-1)": "softmax(-2)"},
            {"softmax(-1)": "softmax(-2).nan_to_num()"},
        ],
        "the softmax is missing": {"masked_fill(~mask[:, None], -torch.inf)": "mul(mask[:, None])", ".softmax(-1)": ""},
    },
    hint="q = picture @ query; k, v = text @ key, text @ value; scores = q @ k.transpose(-1, -2) / sqrt(d), minus infinity "
    "where `mask` is False; scores.softmax(-1) @ v.",
    shown=(attention.cross_attention, attention.CrossAttention),
)

# text_dropout
TOKENS, EMPTY = torch.randint(2, 40, (400, 6), generator=seeded(7)), torch.tensor([41, 1, 1, 1, 1, 1])
U = torch.rand(400, generator=seeded(8))


def _text_dropout(tokens: Tensor, empty: Tensor, u: Tensor, p: float) -> Tensor:
    """The captions, each replaced by the empty one with probability p. Ho and Salimans 2022, Algorithm 1."""
    drop = (u < p)[:, None]
    return torch.where(drop, empty, tokens)


text_dropout = Check(
    "text_dropout",
    _text_dropout,
    cases=[
        Case("p = 0 drops none", on(TOKENS, EMPTY, U, 0.0)),
        Case("p = 1 drops all: each row is the empty caption", on(TOKENS, EMPTY, U, 1.0)),
        Case("p = 0.1 drops the captions whose u lies below 0.1, whole", on(TOKENS, EMPTY, U, 0.1)),
        Case("p = 0.1, the fraction of all captions", lambda f: (on(TOKENS, EMPTY, U, 0.1)(f) == EMPTY).all(1).double().mean()),
        Case("a batch of one", on(TOKENS[:1], EMPTY, torch.tensor([0.05]), 0.1)),
        Case("tokens are left as they were", after(TOKENS, EMPTY, U, 0.5)),
    ],
    mistakes={
        "the fraction p is kept, where it should be dropped": [{"u < p": "u >= p"}, {"u < p": "u < 1 - p"}],
        "dropped captions are filled with zeros; they must be the empty caption": {"(drop, empty": "(drop, 0 * empty"},
        "one random number decides for the whole batch; each caption needs its own": {"(u < p)[:, None]": "u[0] < p"},
        "the first captions of a batch are always the dropped ones: u is not used": [
            {"u <": "torch.arange(len(u)) < len(u) *"},
            {"u < p": "torch.arange(len(u)) < int(len(u) * p)"},
        ],
        "nothing is ever dropped": {"torch.where(drop, empty, tokens)": "tokens"},
        "all tokens become the first token of the empty caption": {"(drop, empty": "(drop, empty[0]"},
        "the first token alone is replaced; the whole caption should be": {
            "return": "drop = drop & (torch.arange(len(empty)) == 0)\n    return"
        },
        "dropped captions are left out of the batch; the empty one must stand in their places": {
            "torch.where(drop, empty, tokens)": "tokens[u >= p]"
        },
        "the tokens are written into, and are lost for the next epoch": {"return": "tokens[u < p] = empty\n    return"},
        "tokens are dropped one by one; a caption is dropped whole": {
            "(u < p)[:, None]": "torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < p"
        },
        "the mask is returned, not the captions": {"torch.where(drop, empty, tokens)": "u < p"},
        "a caption is blended with the empty one; it must be the one or the other": {
            "return": "return (1 - p) * tokens + p * empty\n    return"
        },
    },
    hint="torch.where(drop, empty, tokens), with drop = u < p in a shape (B, 1) that broadcasts over all words of a caption.",
    shown=(Network.drop_condition,),
)
