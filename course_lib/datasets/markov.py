"""A language that is small enough to be enumerated: words follow each other with known probabilities.

With 4 words and sentences of 6 there are 4^6 = 4096 sentences, and every probability of a masked word is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib import validate
from course_lib.process import rand

FLOAT = {"dtype": torch.float64, "device": "cpu"}
"""Probabilities are in float64, on the CPU."""


class MarkovLanguage:
    """Sentences x (B, length) of the words 0 .. V - 1: a first word, and words that follow the one before.

    `first` (V,) are the probabilities of the first word, and `follow` (V, V), in row v, those of the word after v. `mask`, the
    number V, stands for a masked word. The language is itself the exact denoiser: `language(z)` (B, length, V) are the
    logarithms of the probabilities of the word at each position, given the words of z (B, length) that are not masked; where
    those contradict each other, all words are equally probable. Raises ValueError unless all are probabilities.
    """

    def __init__(self, first: Tensor, follow: Tensor, length: int = 6):
        V = len(validate.row("first", first))
        self.first, self.follow, self.mask = first.double().cpu(), validate.batch("follow", follow, V).double().cpu(), V
        self.length = validate.at_least("length", length, 1)
        if len(follow) != V:
            raise ValueError(f"follow must have a row for each of {V} words, got {len(follow)}")
        for name, p in (("first", self.first), ("follow", self.follow)):
            if p.min() < 0 or (p.sum(-1) - 1).abs().max() > 1e-6:
                raise ValueError(
                    f"{name} must be probabilities that sum to 1 in each row, got sums to {float(p.sum(-1).max()):g}"
                )

    def __repr__(self):
        return f"MarkovLanguage({self.mask} words, sentences of {self.length})"

    def __call__(self, z: Tensor) -> Tensor:
        z = self._sentences("z", z, self.mask)
        allowed = torch.cat([torch.eye(self.mask, **FLOAT), torch.ones(1, self.mask, **FLOAT)])[z]  # (B, length, V)
        before, after = [self.first.expand(len(z), -1)], [torch.ones(len(z), self.mask, **FLOAT)]
        for i in range(self.length - 1):
            before.append(_normal(before[-1] * allowed[:, i]) @ self.follow)
            after.append(_normal((after[-1] * allowed[:, -1 - i]) @ self.follow.T))
        return _normal(torch.stack(before, 1) * torch.stack(after[::-1], 1) * allowed).log()

    def log_prob(self, x: Tensor) -> Tensor:
        """The logarithms of the probabilities of sentences x (B, length), (B,); minus infinity for those that cannot occur."""
        x = self._sentences("x", x, self.mask - 1)
        return self.first[x[:, 0]].log() + self.follow[x[:, :-1], x[:, 1:]].log().sum(1)

    def sample(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """n random sentences (n, length)."""
        u = rand(validate.at_least("n", n, 1), self.length, rng=rng).double()
        draw = lambda p, u: (u[:, None] > p.cumsum(-1)[..., :-1]).sum(-1)
        x = [draw(self.first, u[:, 0])]
        for i in range(1, self.length):
            x.append(draw(self.follow[x[-1]], u[:, i]))
        return torch.stack(x, 1)

    def independent(self) -> Tensor:
        """The probabilities (length, V) of the word at each position, whatever the others are."""
        return self(torch.full((1, self.length), self.mask, dtype=torch.long, device="cpu"))[0].exp()

    def _sentences(self, name: str, x: Tensor, most: int) -> Tensor:
        x = validate.indices(name, x, self.length).cpu()
        if len(x) and not 0 <= x.min() <= x.max() <= most:
            raise ValueError(f"{name} must lie in 0..{most}, got {int(x.min())} to {int(x.max())}")
        return x


def _normal(p: Tensor) -> Tensor:
    """Rows that sum to 1; rows of zeros, of what cannot occur, become even."""
    total = p.sum(-1, keepdim=True)
    return torch.where(total > 0, p / total.clamp(min=1e-300), 1 / p.shape[-1])


def random_language(rng: torch.Generator | None = None, words: int = 4, length: int = 6) -> MarkovLanguage:
    """A language in which each word can be followed by all but one of the words; its first words are as frequent as others.

    A row of `follow` is the cubes of uniform numbers, the smallest set to 0, over their sum.
    """
    p = rand(validate.at_least("words", words, 3), words, rng=rng).double() ** 3
    p = torch.where(p == p.min(1, keepdim=True).values, 0, p)
    follow = p / p.sum(1, keepdim=True)
    return MarkovLanguage(torch.linalg.matrix_power(follow, 1000)[0], follow, length)
