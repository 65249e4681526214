"""Lesson 13: Imagen's text encoder and its dynamic thresholding."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib import guidance
from course_lib.datasets import captions
from course_lib.nets import language
from course_lib.nets.language import MASK
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, after, on

TOKENS = captions.tokens(["a small red circle above a blue star", "three green squares", "a disc that is pink at the top left"])
SEVEN = [0, 0, 0, 1, 2, 2, 2], [2, 4, 7, 3, 1, 2, 5]
CHOSEN = torch.zeros_like(TOKENS, dtype=torch.bool)
CHOSEN[SEVEN] = True
LOT = torch.rand(TOKENS.shape, generator=seeded(1))
LOT[SEVEN] = torch.tensor([0.1, 0.85, 0.95, 0.5, 0.82, 0.3, 0.93])
OTHERS = (TOKENS + 5) % len(captions.WORDS)
LOGITS = torch.randn(*TOKENS.shape, len(captions.WORDS), generator=seeded(2))


# hidden_words


def _hidden_words(tokens, chosen, lot, others):
    """Of the chosen words 80 % become MASK, 10 % another word, and 10 % stay (Devlin et al. 2019, section 3.1)."""
    new = torch.where(lot < 0.8, MASK, torch.where(lot < 0.9, others, tokens))
    return torch.where(chosen, new, tokens)


def _in_place(tokens, chosen, lot, others):
    changed = _hidden_words(tokens, chosen, lot, others)
    return tokens.copy_(changed)


hidden_words = Check(
    "hidden_words",
    _hidden_words,
    cases=[
        Case("a lot under 0.8: MASK", on(TOKENS, CHOSEN, 0 * LOT + 0.75, OTHERS)),
        Case("a lot from 0.8 to 0.9: another word", on(TOKENS, CHOSEN, 0 * LOT + 0.85, OTHERS)),
        Case("a lot from 0.9 on: the word stays", on(TOKENS, CHOSEN, 0 * LOT + 0.95, OTHERS)),
        Case("each word by its own lot", on(TOKENS, CHOSEN, LOT, OTHERS)),
        Case("where nothing is chosen, nothing is masked", on(TOKENS, CHOSEN & False, LOT, OTHERS)),
        Case("the tokens are left as they were", after(TOKENS, CHOSEN, LOT, OTHERS)),
    ],
    mistakes={
        "all that is chosen becomes MASK; one in ten becomes another word, one in ten stays": {"lot < 0.8": "lot < 1"},
        "every word is replaced by its lot: only the chosen ones may change": {"(chosen,": "(chosen | True,"},
        "no word stays as it is: the last tenth becomes another word, too": {"lot < 0.9": "lot < 1"},
        "no word becomes another: the second last tenth stays as it is": {"lot < 0.9": "lot < 0.8"},
        "words that were not chosen change, and the chosen ones stay": {"(chosen,": "(~chosen,"},
        "MASK and the other words are swapped: 80 % should be masked, 10 % replaced": {
            "MASK,": "others,",
            "others, tokens": "MASK, tokens",
        },
        "the shares are swapped: 20 % are masked": {"0.8": "0.2", "0.9": "0.3"},
        "the lots are read from the other end: MASK is for those under 0.8, and from 0.9 on the word stays": {
            "lot < 0.8": "lot >= 0.2",
            "lot < 0.9": "lot >= 0.1",
        },
        "another word overwrites MASK: lots under 0.8 are under 0.9, too": {"lot < 0.8": "lot < 0"},
        "MASK is drawn for each word, chosen or not; only chosen words may be masked": {
            "return torch.where(chosen, new, tokens)": "return torch.where(chosen | (lot < 0.8), new, tokens)"
        },
        "`tokens` itself is written into, and the loss needs it as it was: make a copy": _in_place,
        "the chosen words alone are returned; the whole text is asked for": {"torch.where(chosen, new, tokens)": "new[chosen]"},
        "the padding stands where MASK belongs: no word attends to padding": {"MASK": "captions.PAD"},
    },
    hint="new = torch.where(lot < 0.8, MASK, torch.where(lot < 0.9, others, tokens)); torch.where(chosen, new, tokens).",
    shown=(language.mask_words,),
)


# masked_loss


def _masked_loss(logits, tokens, chosen):
    """The cross-entropy of the chosen words, their mean. Devlin et al. 2019, section 3.1."""
    return torch.nn.functional.cross_entropy(logits[chosen], tokens[chosen])


masked_loss = Check(
    "masked_loss",
    _masked_loss,
    cases=[
        Case("seven words of three captions", on(LOGITS, TOKENS, CHOSEN)),
        Case("one word", on(LOGITS, TOKENS, CHOSEN & (torch.arange(20) == 4))),
        Case("confident and right predictions: a small loss", on(5 * torch.eye(len(captions.WORDS))[TOKENS], TOKENS, CHOSEN)),
        Case("all words equally likely: the logarithm of the number of words", on(0 * LOGITS, TOKENS, CHOSEN)),
        Case("the predictions of the other words do not matter", on(LOGITS * CHOSEN[..., None], TOKENS, CHOSEN)),
    ],
    mistakes={
        "all places count, padding too; only the chosen words may": {"return": "chosen = chosen | True; return"},
        "all words count, chosen or not; only the chosen ones may": {"return": "chosen = tokens != captions.PAD; return"},
        "words not chosen count; only the chosen ones may": {"return": "chosen = (tokens > captions.PAD) & ~chosen; return"},
        "the sum is divided by all places, not by the number of chosen words": {"return": "return chosen.float().mean() *"},
        "the words are summed; the mean over the chosen ones is asked for": {"return": "return chosen.sum() *"},
        "the sum is divided by the number of captions, not by the number of chosen words": {
            "return": "return chosen.sum() / len(chosen) *"
        },
        "each chosen word has a loss of its own; their mean is asked for": {
            "tokens[chosen])": "tokens[chosen], reduction='none')"
        },
        "each caption counts the same, however many of its words are masked": {
            "return torch.nn.functional.cross_entropy(logits[chosen], tokens[chosen])": (
                "rows = zip(logits, tokens, chosen)\n"
                "    return torch.stack([torch.nn.functional.cross_entropy(l[c], t[c]) for l, t, c in rows]).mean()"
            )
        },
        "logits that were not chosen are set to 0, and still count": {
            "logits[chosen], tokens[chosen]": "(logits * chosen[..., None]).flatten(0, 1), tokens.flatten()"
        },
        "the sign is turned: the loss is -log p": {"return ": "return -"},
        "the logarithm is missing: the loss of a word is -log p, not -p": {
            "tokens[chosen])": "tokens[chosen], reduction='none').neg().exp().mean().neg()"
        },
        "the loss of a word is 1 - p; -log p is asked for": {
            "tokens[chosen])": "tokens[chosen], reduction='none').neg().expm1().mean().neg()"
        },
        "the logarithm is taken of the mean probability; the mean of the logarithms is asked for": {
            "tokens[chosen])": "tokens[chosen], reduction='none').neg().exp().mean().log().neg()"
        },
        "the softmax is taken twice: cross_entropy takes the logits themselves": {
            "logits[chosen]": "logits[chosen].softmax(-1)"
        },
        "the softmax is taken over the places of a caption; take it over the words": {
            "return torch.nn.functional.cross_entropy(logits[chosen], tokens[chosen])": (
                "return -logits.log_softmax(1).gather(2, tokens[..., None])[..., 0][chosen].mean()"
            )
        },
        "the next word is predicted, one place further on; a masked word is predicted in its own place": {
            "logits[chosen], tokens[chosen]": "logits[:, :-1][chosen[:, 1:]], tokens[:, 1:][chosen[:, 1:]]"
        },
        "it is a squared distance; the cross-entropy, - log p of the right word, is asked for": {
            "tokens[chosen])": "tokens[chosen], reduction='none').neg().expm1().square().mean()"
        },
    },
    hint="logits[chosen] are the rows of the chosen words, (n, words); cross_entropy(logits[chosen], tokens[chosen]).",
)


# dynamic_threshold


def _in_steps(x0: Tensor) -> Tensor:
    """x0 with the sizes of each picture's 90 numbers in steps of five equal ones, so that quantiles of any kind agree."""
    size, order = x0.abs().flatten(1).sort(1)
    steps = size[:, ((torch.arange(size.shape[1]) + 2) // 5 * 5).clamp(max=size.shape[1] - 1)]
    return torch.empty_like(size).scatter(1, order, steps).view_as(x0) * x0.sign()


X0 = torch.randn(4, 3, 6, 5, generator=seeded(3)) * torch.tensor([0.2, 1.0, 2.0, 6.0]).view(4, 1, 1, 1)
X0, DARK = _in_steps(X0), _in_steps(X0 - 3)


def _dynamic_threshold(x0, p):
    """x0 clipped to [-s, s] and divided by s, the larger of 1 and the p-quantile of |x0| (Saharia et al. 2022, section 2.3)."""
    s = x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1).view(-1, 1, 1, 1)
    return x0.clamp(-s, s) / s


dynamic_threshold = Check(
    "dynamic_threshold",
    _dynamic_threshold,
    cases=[
        Case("pictures within [-1, 1] are left as they are", on(0.9 * X0 / X0.abs().amax(), 0.995)),
        Case("each picture has its own s, at p = 0.9", on(X0, 0.9)),
        Case("pictures that are too dark, at p = 0.995", on(DARK, 0.995)),
        Case("p = 1: nothing is clipped, only scaled", on(X0, 1.0)),
        Case("all that is returned lies in [-1, 1]", lambda fn: torch.as_tensor(on(9 * X0, 0.8)(fn)).abs().amax((1, 2, 3))),
        Case("x0 is left as it was", after(X0, 0.9)),
    ],
    mistakes={
        "it is static: clipped to [-1, 1], where the rest of the picture is not scaled": {"clamp(min=1)": "clamp(1, 1)"},
        "all pictures share one s; each has its own": {"flatten(1)": "flatten().expand(len(x0), -1)"},
        "s may fall under 1: a picture that was in range is scaled up": {".clamp(min=1)": ""},
        "s is cut from above, at 1, where it should be cut from below": {"min=1": "max=1"},
        "it is clipped at s, and not divided by it": {" / s": ""},
        "it is divided by s, and not clipped before": {".clamp(-s, s)": ""},
        "it is clipped to [-1, 1], and then divided by s; clip to [-s, s]": {".clamp(-s, s)": ".clamp(-1, 1)"},
        "the quantile is that of x0, not of |x0|: values that are too dark do not count": {".abs()": ""},
        "the largest value is taken for s, whatever p; the p-quantile leaves the few largest out": {
            "quantile(p,": "quantile(1,"
        },
        "the quantile is taken at 1 - p": {"quantile(p,": "quantile(1 - p,"},
        "each channel has its own s, which changes colours; a picture has one": {
            "x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1).view(-1, 1, 1, 1)": (
                "x0.abs().flatten(2).quantile(p, dim=2).clamp(min=1)[..., None, None]"
            )
        },
        "each place has its own s, over the batch; a picture has one, over all of its places": {
            "x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1).view(-1, 1, 1, 1)": "x0.abs().quantile(p, dim=0).clamp(min=1)"
        },
    },
    hint="s = x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1), shaped (B, 1, 1, 1); x0.clamp(-s, s) / s.",
    shown=(guidance.DynamicThreshold,),
)
