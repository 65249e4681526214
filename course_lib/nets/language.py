"""A language model: it reads captions without ever seeing a picture, and learns to guess the words that are hidden from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from course_lib.datasets import captions
from course_lib.nets.text import TextEncoder

MASK = captions.START
"""What stands for a hidden word: the start token, at a place where no caption starts."""


class LanguageModel(nn.Module):
    """Tokens (B, L), some of them hidden, to log-odds of each place's word, (B, L, words): Devlin et al. 2019.

    `text` is the encoder, whose vectors a diffusion model could be given.
    """

    def __init__(self, width: int = 64, depth: int = 3, heads: int = 4):
        super().__init__()
        self.text = TextEncoder(width, depth, heads)
        self.word = nn.Linear(width, len(captions.WORDS))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.word(self.text(tokens)[0])


def hidden(tokens: Tensor, rng: torch.Generator | None = None, share: float = 0.15) -> tuple[Tensor, Tensor]:
    """Tokens (B, L) as a language model is shown them, and which words it must guess, (B, L).

    A word is chosen with probability `share`. Of those chosen, 80 % are hidden by MASK, 10 % become a random word, and 10 %
    stay as they are, so that the model must doubt what it sees, and keep what it believes (Devlin et al. 2019, section 3.1).
    """
    u, lot = torch.rand(2, *tokens.shape, generator=rng).to(tokens.device)
    chosen = (u < share) & (tokens > captions.PAD)
    others = torch.randint(captions.PAD + 1, len(captions.WORDS), tokens.shape, generator=rng).to(tokens.device)
    shown = torch.where(chosen & (lot < 0.8), MASK, tokens)
    return torch.where(chosen & (lot >= 0.8) & (lot < 0.9), others, shown), chosen


def masked_loss(log_odds: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
    """Cross-entropy of the `chosen` words (B, L) alone: log-odds (B, L, words) against the tokens (B, L) as they were."""
    return cross_entropy(log_odds[chosen], tokens[chosen])
