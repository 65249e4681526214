"""Lesson 13: Imagen's text encoder and its dynamic thresholding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from course_lib import guidance
from course_lib.checks.check import Case, Check, on
from course_lib.datasets import captions
from course_lib.denoisers import Network
from course_lib.guidance import DynamicThreshold
from course_lib.nets import language
from course_lib.nets.language import MASK
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta

TOKENS = captions.tokens(["a small red circle above a blue star", "three green squares", "a disc that is pink at the top left"])
CHOSEN = torch.zeros_like(TOKENS, dtype=torch.bool)
CHOSEN[[0, 0, 0, 1, 2, 2, 2], [2, 4, 7, 3, 1, 2, 5]] = True
LOT = torch.rand(TOKENS.shape, generator=torch.Generator().manual_seed(1))
LOT[[0, 0, 0, 1, 2, 2, 2], [2, 4, 7, 3, 1, 2, 5]] = torch.tensor([0.1, 0.85, 0.95, 0.5, 0.82, 0.3, 0.93])
OTHERS = (TOKENS + 5) % len(captions.WORDS)
LOG_ODDS = torch.randn(*TOKENS.shape, len(captions.WORDS), generator=torch.Generator().manual_seed(2))


# hidden_words


def _hidden_with(bound: float = 0.8, swap: float = 0.9, where=lambda tokens, chosen: chosen, mask: int = MASK) -> Callable:
    """hidden_words with other shares, other places, or another mask."""

    def hidden_words(tokens, chosen, lot, others):
        there = where(tokens, chosen)
        shown = torch.where(there & (lot < bound), mask, tokens)
        return torch.where(there & (lot >= bound) & (lot < swap), others, shown)

    return hidden_words


def _reference_hidden(tokens: Tensor, chosen: Tensor, lot: Tensor, others: Tensor) -> Tensor:
    """Of the chosen words 80 % become MASK, 10 % another word, and 10 % stay (Devlin et al. 2019, section 3.1)."""
    shown = torch.where(chosen & (lot < 0.8), MASK, tokens)
    return torch.where(chosen & (lot >= 0.8) & (lot < 0.9), others, shown)


def _tokens_after(hidden_words: Callable) -> Tensor:
    tokens = TOKENS.clone()
    hidden_words(tokens, CHOSEN.clone(), LOT.clone(), OTHERS.clone())
    return tokens


hidden_words = Check(
    "hidden_words",
    _reference_hidden,
    cases=[
        Case("a lot under 0.8: MASK", on(TOKENS, CHOSEN, 0 * LOT + 0.75, OTHERS)),
        Case("a lot from 0.8 to 0.9: another word", on(TOKENS, CHOSEN, 0 * LOT + 0.85, OTHERS)),
        Case("a lot from 0.9 on: the word stays", on(TOKENS, CHOSEN, 0 * LOT + 0.95, OTHERS)),
        Case("each word by its own lot", on(TOKENS, CHOSEN, LOT, OTHERS)),
        Case("where nothing is chosen, nothing is hidden", on(TOKENS, CHOSEN & False, LOT, OTHERS)),
        Case("the tokens are left as they were", _tokens_after),
    ],
    mistakes=[
        ("all that is chosen becomes MASK; one in ten becomes another word, one in ten stays", _hidden_with(2.0, 2.0)),
        (
            "every word has its lot drawn, chosen or not: only the chosen ones may change",
            _hidden_with(where=lambda tokens, chosen: torch.ones_like(chosen)),
        ),
        ("no word stays as it is: the last tenth becomes another word, too", _hidden_with(swap=2.0)),
        ("no word becomes another: the second last tenth stays as it is", _hidden_with(swap=0.8)),
        ("the shares are turned round: 20 % are hidden", _hidden_with(0.2, 0.3)),
        ("the padding stands where MASK belongs: what is padding is not looked at", _hidden_with(mask=captions.PAD)),
    ],
    hint="shown = torch.where(chosen & (lot < 0.8), MASK, tokens); then the same with others, where 0.8 <= lot < 0.9.",
    shown=(language.hidden,),
)


# masked_loss


def _by_rows(log_odds: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
    each = cross_entropy(log_odds.transpose(1, 2), tokens, reduction="none") * chosen
    return (each.sum(1) / chosen.sum(1).clamp(min=1)).mean()


def _over_all(log_odds: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
    return cross_entropy(log_odds.transpose(1, 2), tokens)


def _over_the_length(log_odds: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
    return (cross_entropy(log_odds.transpose(1, 2), tokens, reduction="none") * chosen).mean()


def _over_the_rest(log_odds: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
    there = (tokens > captions.PAD) & ~chosen
    return cross_entropy(log_odds[there], tokens[there])


def _summed(log_odds: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
    return cross_entropy(log_odds[chosen], tokens[chosen], reduction="sum")


def _squared(log_odds: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
    return (1 - log_odds[chosen].softmax(1).gather(1, tokens[chosen][:, None])).square().mean()


masked_loss = Check(
    "masked_loss",
    language.masked_loss,
    cases=[
        Case("seven words of three captions", on(LOG_ODDS, TOKENS, CHOSEN)),
        Case("one word", on(LOG_ODDS, TOKENS, CHOSEN & (torch.arange(20) == 4))),
        Case(
            "a model that is sure and right: next to nothing", on(30 * torch.eye(len(captions.WORDS))[TOKENS], TOKENS, CHOSEN)
        ),
        Case("a model that knows nothing: the logarithm of the number of words", on(0 * LOG_ODDS, TOKENS, CHOSEN)),
        Case("what it says of the other words does not matter", on(LOG_ODDS * CHOSEN[..., None], TOKENS, CHOSEN)),
    ],
    mistakes=[
        ("all places count, padding too; only the chosen words may", _over_all),
        ("the other words count, those that it was shown; only the chosen ones may", _over_the_rest),
        ("the sum is divided by all places, not by the number of chosen words", _over_the_length),
        ("the words are summed; the mean over the chosen ones is asked for", _summed),
        ("each caption counts the same, however many of its words are hidden", _by_rows),
        ("it is a squared distance; the cross-entropy, - log p of the right word, is asked for", _squared),
    ],
    hint="log_odds[chosen] are the rows of the chosen words, (n, words); cross_entropy(log_odds[chosen], tokens[chosen]).",
)


# dynamic_threshold

X0 = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.2, 1.0, 2.0, 6.0]).view(4, 1, 1, 1)
DARK = X0 - 3.0
QUIET = 0.9 * X0 / X0.abs().amax()


def _threshold_with(
    of=lambda x0: x0.abs().flatten(1),
    floor: float = 1.0,
    clip=lambda x0, s: x0.clamp(-s, s),
    divide=lambda x0, s: x0 / s,
    share=lambda p: p,
) -> Callable:
    """dynamic_threshold with another quantile, another floor, no clipping or no division."""

    def dynamic_threshold(x0, p):
        s = of(x0).quantile(share(p), dim=-1).clamp(min=floor)
        s = s.reshape(*s.shape, *[1] * (x0.ndim - s.ndim))
        return divide(clip(x0, s), s)

    return dynamic_threshold


class _Says:
    """A denoiser that always believes in the same picture."""

    def __init__(self, x0: Tensor):
        self.process, self.x0 = DDPM(cosine_beta(50)), x0

    def __call__(self, x_t: Tensor, t: int):
        return Network(lambda x, time: self.x0, self.process, "x0")(x_t, t)


def _reference_threshold(x0: Tensor, p: float) -> Tensor:
    """Clipped to [-s, s] and divided by s, the larger of 1 and the p-quantile of |x0| (Saharia et al. 2022, section 2.3)."""
    return DynamicThreshold(_Says(x0), p)(torch.zeros_like(x0), 25).x0


def _x0_after(dynamic_threshold: Callable) -> Tensor:
    x0 = X0.clone()
    dynamic_threshold(x0, 0.9)
    return x0


dynamic_threshold = Check(
    "dynamic_threshold",
    _reference_threshold,
    cases=[
        Case("pictures within [-1, 1] are left as they are", on(QUIET, 0.995)),
        Case("each picture has its own s, at p = 0.9", on(X0, 0.9)),
        Case("pictures that are too dark, at p = 0.995", on(DARK, 0.995)),
        Case("p = 1: nothing is clipped, only scaled", on(X0, 1.0)),
        Case("whatever comes in, all that comes out lies in [-1, 1]", lambda fn: on(9 * X0, 0.8)(fn).abs().amax((1, 2, 3))),
        Case("x0 is left as it was", _x0_after),
    ],
    mistakes=[
        (
            "it is static: clipped to [-1, 1], where the rest of the picture is not scaled",
            _threshold_with(of=lambda x0: 0 * x0.flatten(1)),
        ),
        (
            "all pictures share one s; each has its own",
            _threshold_with(of=lambda x0: x0.abs().flatten().expand(len(x0), -1)),
        ),
        ("s may fall under 1: a picture that was in range is blown up", _threshold_with(floor=1e-6)),
        ("it is clipped at s, and not divided by it", _threshold_with(divide=lambda x0, s: x0)),
        ("it is divided by s, and not clipped before", _threshold_with(clip=lambda x0, s: x0)),
        ("the quantile is that of x0, not of |x0|: what is too dark is not seen", _threshold_with(of=lambda x0: x0.flatten(1))),
        (
            "each channel has its own s, which changes colours; a picture has one",
            _threshold_with(of=lambda x0: x0.abs().flatten(2)),
        ),
    ],
    hint="s = x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1), shaped (B, 1, 1, 1); x0.clamp(-s, s) / s.",
    shown=(guidance.DynamicThreshold,),
)
