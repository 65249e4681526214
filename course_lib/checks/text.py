"""Lesson 09: text and cross-attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import Network
from course_lib.nets import attention


def _some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# cross_attention

PICTURE, TEXT = _some(2, 7, 6), _some(2, 5, 6, seed=1)
QUERY, KEY, VALUE = (_some(6, 4, seed=seed) for seed in (2, 3, 4))
THERE = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def _attention_with(
    asks=lambda picture, text: picture,
    answers=lambda picture, text: text,
    scale=lambda q: q.shape[-1] ** 0.5,
    hide=lambda looks, there: looks.masked_fill(~there, -torch.inf),
    weights=lambda looks: looks.softmax(-1),
) -> Callable:
    """cross_attention with other sides that ask and answer, another scale, mask or softmax."""

    def cross_attention(picture, text, query, key, value, there):
        q, k, v = asks(picture, text) @ query, answers(picture, text) @ key, answers(picture, text) @ value
        there = there[:, None] if k.shape[1] == there.shape[1] else torch.ones(1, dtype=torch.bool)
        return weights(hide(q @ k.transpose(-1, -2) / scale(q), there)).nan_to_num() @ v

    return cross_attention


def _reference_attention(picture: Tensor, text: Tensor, query: Tensor, key: Tensor, value: Tensor, there: Tensor) -> Tensor:
    """Each place of the picture gathers from the words that are there: Rombach et al. 2022, section 3.3."""
    q, k, v = picture @ query, text @ key, text @ value
    return attention.cross_attention(q[:, None], k[:, None], v[:, None], there)[:, 0]


def _padding_says_nothing(fn: Callable) -> Tensor:
    shouted = torch.where(THERE[..., None], TEXT, 5.0)
    return fn(PICTURE.clone(), shouted, QUERY.clone(), KEY.clone(), VALUE.clone(), THERE.clone())


ALL = torch.ones(2, 5, dtype=torch.bool)

cross_attention = Check(
    "cross_attention",
    _reference_attention,
    cases=[
        Case("a row for each place of the picture, gathered from the words", on(PICTURE, TEXT, QUERY, KEY, VALUE, ALL)),
        Case("words that are not there are not looked at", on(PICTURE, TEXT, QUERY, KEY, VALUE, THERE)),
        Case("what stands in the padding, however loud, changes nothing", _padding_says_nothing),
        Case("of one word, each place takes the value of that word", on(PICTURE, TEXT[:, :1], QUERY, KEY, VALUE, ALL[:, :1])),
        Case("the order of the words does not matter", on(PICTURE, TEXT.flip(1), QUERY, KEY, VALUE, THERE.flip(1))),
        Case("more places and longer vectors", on(_some(2, 9, 8, seed=5), TEXT, _some(8, 4, seed=6), KEY, VALUE, ALL)),
    ],
    mistakes=[
        (
            "the words ask and the picture answers: Q must come from the picture, K and V from the text, "
            "so that each place of the picture gets an answer",
            _attention_with(asks=lambda picture, text: text, answers=lambda picture, text: picture),
        ),
        ("the scale is missing: divide q k^T by sqrt(d)", _attention_with(scale=lambda q: 1)),
        ("d divides where sqrt(d) belongs", _attention_with(scale=lambda q: q.shape[-1])),
        ("padding is looked at: `there` is not used", _attention_with(hide=lambda looks, there: looks)),
        (
            "the mask is turned round: only padding is looked at",
            _attention_with(hide=lambda s, there: s.masked_fill(there, -torch.inf)),
        ),
        (
            "looks at padding are set to 0 before the softmax, where e^0 = 1 still counts: set them to minus infinity",
            _attention_with(hide=lambda looks, there: looks * there),
        ),
        (
            "the softmax runs over the places, not over the words: each place's weights must sum to 1",
            _attention_with(weights=lambda looks: looks.softmax(-2)),
        ),
        ("the softmax is missing", _attention_with(hide=lambda looks, there: looks * there, weights=lambda looks: looks)),
    ],
    hint="q = picture @ query; k, v = text @ key, text @ value; looks = q @ k.transpose(-1, -2) / sqrt(d), minus infinity "
    "where `there` is False; looks.softmax(-1) @ v.",
    shown=(attention.cross_attention, attention.CrossAttention),
)


# text_dropout

TOKENS = torch.randint(2, 40, (400, 6), generator=torch.Generator().manual_seed(7))
EMPTY = torch.tensor([0, 1, 1, 1, 1, 1])
U = torch.rand(400, generator=torch.Generator().manual_seed(8))


def _reference_dropout(tokens: Tensor, empty: Tensor, u: Tensor, p: float) -> Tensor:
    """Each caption is made the empty one with probability p (Ho and Salimans 2022, Algorithm 1)."""
    return torch.where((u < p)[:, None], empty, tokens)


def _tokens_after(fn: Callable) -> Tensor:
    tokens = TOKENS.clone()
    fn(tokens, EMPTY.clone(), U.clone(), 0.5)
    return tokens


text_dropout = Check(
    "text_dropout",
    _reference_dropout,
    cases=[
        Case("p = 0 drops none", on(TOKENS, EMPTY, U, 0.0)),
        Case("p = 1 drops all: each row is the empty caption", on(TOKENS, EMPTY, U, 1.0)),
        Case("p = 0.1 drops the captions whose u lies below 0.1, whole", on(TOKENS, EMPTY, U, 0.1)),
        Case(
            "p = 0.1, of all captions that share",
            lambda fn: (fn(TOKENS.clone(), EMPTY.clone(), U.clone(), 0.1) == EMPTY).all(1).double().mean(),
        ),
        Case("a batch of one", on(TOKENS[:1], EMPTY, torch.tensor([0.05]), 0.1)),
        Case("tokens are left as they were", _tokens_after),
    ],
    mistakes=[
        (
            "the share p is kept, where it should be dropped",
            lambda tokens, empty, u, p: torch.where((u >= p)[:, None], empty, tokens),
        ),
        (
            "dropped captions are filled with zeros; they must be the empty caption, start and padding",
            lambda tokens, empty, u, p: tokens * (u >= p)[:, None],
        ),
        (
            "one draw decides for the whole batch; each caption needs its own",
            lambda tokens, empty, u, p: torch.where(u[0] < p, empty, tokens),
        ),
        (
            "the first captions of a batch are always the ones that go: u is not used",
            lambda tokens, empty, u, p: torch.where((torch.arange(len(tokens)) < p * len(tokens))[:, None], empty, tokens),
        ),
        ("nothing is ever dropped", lambda tokens, empty, u, p: tokens),
        (
            "a caption is blended with the empty one; it must be the one or the other",
            lambda tokens, empty, u, p: (1 - p) * tokens + p * empty,
        ),
    ],
    hint="torch.where(drop, empty, tokens), with drop = u < p in a shape (B, 1) that reaches all words of a caption.",
    shown=(Network.dropped,),
)
