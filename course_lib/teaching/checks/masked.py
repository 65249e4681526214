"""Lesson 26: masked diffusion of words."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from course_lib.methods import masked
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import normal

MASK = 4  # after the words 0, 1, 2, 3


def words(*shape: int, seed: int = 1) -> Tensor:
    """Random words of this shape, the same ones at each call."""
    return torch.randint(4, shape, generator=seeded(seed))


# masking

LONG, SHARES, SHORT = words(3, 20_000), torch.tensor([0.2, 0.5, 0.9]), words(6000, 8)


def _masking(x0, t, mask, rng):
    """Words x0 (B, L), each masked with probability t (B,) of its sentence. Sahoo et al. 2024 (MDLM)."""
    u = torch.rand(x0.shape, generator=rng)
    return torch.where(u < t[:, None], mask, x0)


def _spread(fn: Callable) -> Tensor:
    """The variance over sentences of how many of 8 words are masked, at t = 0.5: 2 where each is masked on its own."""
    z = fn(SHORT.clone(), torch.full((6000,), 0.5), MASK, seeded(4))
    return (z == MASK).sum(1).double().var()


def _kept(fn: Callable) -> Tensor:
    """Whether all words that are not masked are those that were given."""
    z = fn(LONG.clone(), SHARES.clone(), MASK, seeded(3))
    return ((z == LONG) | (z == MASK)).all()


def _again(fn: Callable) -> Tensor:
    """Whether the same generator gives the same masks, and another one other masks."""
    a, b, c = (torch.as_tensor(fn(LONG.clone(), SHARES.clone(), MASK, seeded(seed))) for seed in (5, 5, 6))
    return torch.tensor([bool((a == b).all()), bool((a != c).any())])


masking = Check(
    "masking",
    _masking,
    cases=[
        Case(
            "the share of masked words is t, in each sentence",
            lambda f: (f(LONG.clone(), SHARES.clone(), MASK, seeded(2)) == MASK).double().mean(1),
            0.03,
        ),
        Case("words that are not masked stay as they are", _kept),
        Case("each word is masked on its own", _spread, 0.1),
        Case("at t = 0 no word is masked, at t = 1 all", on(LONG[:2, :9], torch.tensor([0.0, 1.0]), MASK, seeded(2))),
        Case("another number of the mask", lambda f: f(LONG[:1, :9].clone(), torch.ones(1), 7, seeded(2))),
        Case("the random numbers come from rng", _again),
        Case("x0 and t are left as they were", lambda f: after(LONG, SHARES, MASK, seeded(2))(f)),
    ],
    mistakes={
        "a word is masked with probability 1 - t, the signal's share": {"u < t": "u >= t"},
        "all words of a sentence are masked together: draw a number for each word": {"x0.shape, gen": "(len(x0), 1), gen"},
        "all sentences have the same masks: draw a number for each word": {"x0.shape, gen": "(1, x0.shape[1]), gen"},
        "all sentences are masked with the probability of the first": {"[:, None]": "[:1, None]"},
        "masked words become 0, which is a word": {"mask, x0)": "0, x0)"},
        "masked words become random words": {"mask, x0)": "torch.randint(4, x0.shape, generator=rng), x0)"},
        "the share of masked words is t squared": {"u < t": "u < t.square()"},
    },
    hint="Draw uniform numbers u (B, L) with rng; where u < t of the sentence, the word becomes mask.",
    shown=(masked.mask_tokens,),
)


# word_loss

TABLE, PLACES = normal(5, 4, seed=6), normal(6, 4, seed=7)
X0, T = words(5, 6, seed=8), torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0])
Z = torch.where(torch.rand(5, 6, generator=seeded(9)) < T[:, None], MASK, X0)


def scores(z: Tensor) -> Tensor:
    """Logits (B, L, 4) that depend on the position, and on all words of the sentence."""
    return 2 * PLACES[: z.shape[1]] + TABLE[z] + TABLE[z].cumsum(1) - 0.5 * TABLE[z].sum(1, keepdim=True)


def _word_loss(net, x0, z, t, mask):
    """The bound on -log p in nats per sentence, (): the cross-entropy of masked words over t. Sahoo et al. 2024 (MDLM)."""
    log_p = net(z).log_softmax(2).gather(2, x0[..., None])[..., 0]
    hidden = z == mask
    return -(torch.where(hidden, log_p, 0) / t[:, None]).sum(1).mean()


word_loss = Check(
    "word_loss",
    _word_loss,
    cases=[
        Case("the loss of a batch", on(scores, X0, Z, T, MASK)),
        Case("one sentence, all of it masked", on(scores, X0[4:], Z[4:], T[4:], MASK)),
        Case("one masked word, at t = 0.1", on(scores, X0[:1], X0[:1].index_fill(1, torch.tensor([2]), MASK), T[:1], MASK)),
        Case("no masked word: 0", lambda f: torch.as_tensor(f(scores, X0.clone(), X0.clone(), T.clone(), MASK)) + 1),
        Case("sentences of another length", on(scores, X0[:, :3], Z[:, :3], T, MASK)),
        Case("the words and the times are left as they were", after(scores, X0, Z, T, MASK)),
    ],
    mistakes={
        "the weight 1 / t is missing": {" / t[:, None]": ""},
        "the weight is 1 - t, where 1 / t belongs": {" / t[:, None]": " * (1 - t[:, None])"},
        "the weight is t, where 1 / t belongs": {" / t[:, None]": " * t[:, None]"},
        "all words are predicted; only masked words count": {"torch.where(hidden, log_p, 0)": "log_p"},
        "the words that are not masked count; the masked ones should": {"hidden, log_p, 0": "hidden, 0, log_p"},
        "the sum over the words of a sentence became a mean": {"sum(1).mean()": "mean(1).mean()"},
        "the mean over sentences became a sum": {"sum(1).mean()": "sum()"},
        "the mean is over the masked words": {"sum(1).mean()": "sum() / hidden.sum()"},
        "the sign is turned": {"-(torch.where": "(torch.where"},
        "the network is given x_0, without masks": {"net(z)": "net(x0)"},
        "the logits are not normalised: take log_softmax over the words": {".log_softmax(2)": ""},
        "the softmax is over the positions, not over the words": {"log_softmax(2)": "log_softmax(1)"},
        "probabilities are summed, not their logarithms": {"log_softmax(2)": "softmax(2)"},
    },
    hint="log_p = net(z).log_softmax(2) at the words x0; keep the masked positions; divide by t of the sentence; minus the sum "
    "over words, mean over sentences.",
    shown=(masked.masked_diffusion_loss,),
)


# confidence_decoding

RIGHT = words(3, 8, seed=10)
START = torch.full((3, 8), MASK)
START[1, 2:5], START[2, 0] = RIGHT[1, 2:5], (RIGHT[2, 0] + 1) % 4  # some words are given, one of them not the likely one


class Sure:
    """A network that gives one word of each position nearly all the probability, how nearly differs; it keeps its inputs."""

    def __init__(self):
        self.seen: list[Tensor] = []

    def __call__(self, z: Tensor) -> Tensor:
        if not isinstance(z, Tensor) or z.shape[1:] != RIGHT.shape[1:]:
            raise Refused("net is given words z (B, L), with masks")
        self.seen.append(z.detach().clone())
        rank = (7 * torch.arange(8) + 3 * (z == MASK).sum(1, keepdim=True) + torch.arange(len(z))[:, None]) % 8
        miss = 1e-6 * (1 + rank.double())
        return (math.log(3) + (1 - miss).log() - miss.log()).float()[..., None] * torch.nn.functional.one_hot(
            RIGHT[: len(z)], 4
        )


def _inputs(n: int) -> Callable[[Callable], Tensor]:
    """A case's `run`: what the network was given at each of its calls."""

    def run(fn):
        net = Sure()
        fn(net, START.clone(), n, MASK, seeded(1))
        if not net.seen:
            raise Refused("the network is never called: in each step net(z) gives logits")
        return torch.stack(net.seen)

    return run


def _written(n: int) -> Callable[[Callable], Tensor]:
    return lambda fn: fn(Sure(), START.clone(), n, MASK, seeded(1))


def loose(z: Tensor) -> Tensor:
    """Logits of two positions: words with probabilities .9, .1 at the first, .6, .4 at the second, whatever z is."""
    return torch.tensor([[0.9, 0.1], [0.6, 0.4]]).log().expand(len(z), -1, -1)


def _shares(fn: Callable) -> Tensor:
    """How often the first word is written at each of two positions, in one step."""
    z = fn(loose, torch.full((20_000, 2), 2), 1, 2, seeded(5))
    return (torch.as_tensor(z) == 0).double().mean(0)


def _first_kept(fn: Callable) -> Tensor:
    """Of two steps, how often the first position is still masked in the second one."""
    seen = []

    def net(z):
        seen.append(z.clone())
        return loose(z)

    fn(net, torch.full((20_000, 2), 2), 2, 2, seeded(6))
    if len(seen) != 2:
        raise Refused(f"the network is called once in each step, 2 times here; it was called {len(seen)} times")
    return 1 + (seen[1][:, 0] == 2).double().mean()


def _confidence_decoding(net, z, n, mask, rng):
    """Words (B, L), written in n steps, the most confident first. Chang et al. 2022 (MaskGIT), with an even schedule."""
    total = (z == mask).sum(1, keepdim=True)
    for k in range(1, n + 1):
        hidden = z == mask
        p = net(z).softmax(2)
        drawn = torch.multinomial(p.flatten(0, 1), 1, generator=rng).view(z.shape)
        sure = p.gather(2, drawn[..., None])[..., 0]
        sure = torch.where(hidden, sure, -1.0)
        rank = sure.argsort(1, descending=True).argsort(1)
        left = total * (n - k) // n
        keep = hidden & (rank < hidden.sum(1, keepdim=True) - left)
        z = torch.where(keep, drawn, z)
    return z


confidence_decoding = Check(
    "confidence_decoding",
    _confidence_decoding,
    cases=[
        Case("what the network is given, step by step, of 4", _inputs(4)),
        Case("what the network is given, step by step, of 3", _inputs(3)),
        Case("one word at a time", _inputs(8)),
        Case("what is written in 4 steps; given words stay", _written(4)),
        Case("one step: all words at once", _written(1)),
        Case("words are drawn by their probabilities", _shares, 0.03),
        Case("the order is by the probability of the word that was drawn", _first_kept, 0.03),
        Case(
            "the words that are given are left as they were",
            lambda f: (lambda z: (f(Sure(), z, 4, MASK, seeded(1)), z)[1])(deepcopy(START)),
        ),
    ],
    mistakes={
        "the least confident words are kept": {"descending=True": "descending=False", "sure, -1.0": "sure, 2.0"},
        "the most probable word is taken, where a word is drawn": [
            {"torch.multinomial(p.flatten(0, 1), 1, generator=rng).view(z.shape)": "p.argmax(2)"}
        ],
        "the order is by the most probable word of each position, not by the word that was drawn": {
            "p.gather(2, drawn[..., None])[..., 0]": "p.amax(2)"
        },
        "the order is from left to right, not by confidence": {
            "p.gather(2, drawn[..., None])[..., 0]": "-torch.arange(z.shape[1]).expand(z.shape) / z.shape[1]"
        },
        "the number of masked words after step k is that of step k - 1: the last words stay masked": {
            "(n - k) // n": "(n - k + 1) // n"
        },
        "given words are written over: only masked words are replaced": [
            {"keep = hidden & (rank": "keep = (rank", "torch.where(hidden, sure, -1.0)": "sure"},
            {"total = (z": "z = torch.full_like(z, mask)\n    total = (z"},
        ],
        "the number of words that stay masked is rounded up: round M (n - k) / n down": {
            "total * (n - k) // n": "-(-total * (n - k) // n)"
        },
        "the given words are counted among the confident ones: order the masked words alone": {
            "torch.where(hidden, sure, -1.0)": "sure"
        },
        "the share that stays masked is of all words; it is of those masked at the start": {
            "(z == mask).sum(1, keepdim=True)\n    for": "torch.full((len(z), 1), z.shape[1])\n    for"
        },
        "as many words are kept in each step as sentences have, over n, rounded down: some stay masked": {
            "hidden.sum(1, keepdim=True) - left": "total // n"
        },
        "all masked words are filled in the first step: those that are not kept must stay masked": [
            {"torch.where(keep, drawn, z)": "torch.where(hidden, drawn, z)"},
            {"total * (n - k) // n": "0 * total"},
        ],
        "the positions are ranked once; argsort twice gives the rank of each": {".argsort(1)\n        left": "\n        left"},
    },
    hint="M = masked words at the start, of each sentence. In step k: p = net(z).softmax(2); draw a word at each position; its "
    "probability is the confidence; keep the most confident of the masked ones so that M (n - k) // n stay masked.",
    shown=(masked.parallel_decoding,),
)
