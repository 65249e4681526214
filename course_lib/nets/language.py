"""A masked language model of captions, which is trained on text alone (BERT)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from course_lib import validate
from course_lib.datasets import captions
from course_lib.denoisers import runs_on_its_device
from course_lib.nets.text import TextEncoder
from course_lib.process import rand, randint

MASK = captions.START
"""The mask token: the start token, at a position where no caption starts."""


class LanguageModel(nn.Module):
    """Tokens (B, L), some of them masked, to logits of the word at each position, (B, L, words): Devlin et al. 2019.

    `text` is the encoder, whose outputs can condition a diffusion model.
    """

    def __init__(self, width: int = 64, depth: int = 3, heads: int = 4):
        super().__init__()
        self.text = TextEncoder(width, depth, heads)
        self.word = nn.Linear(width, len(captions.WORDS))

    @runs_on_its_device
    def forward(self, tokens: Tensor) -> Tensor:
        return self.word(self.text(tokens)[0])


def mask_words(tokens: Tensor, rng: torch.Generator | None = None, share: float = 0.15) -> tuple[Tensor, Tensor]:
    """Masked tokens (B, L), the input of a language model, and which words it is to predict, (B, L).

    A word is chosen with probability `share`. Of the chosen words 80 % are replaced by MASK, 10 % by a random word, and 10 %
    stay unchanged, so that no input word can be taken for correct (Devlin et al. 2019, section 3.1).
    """
    validate.finite("share", share, 0, 1)
    u, v = rand(2, *validate.indices("tokens", tokens, "L").shape, rng=rng).to(tokens.device)
    chosen = (u < share) & (tokens > captions.PAD)
    random = randint(captions.PAD + 1, len(captions.WORDS), *tokens.shape, rng=rng).to(tokens.device)
    masked = torch.where(chosen & (v < 0.8), MASK, tokens)
    return torch.where(chosen & (v >= 0.8) & (v < 0.9), random, masked), chosen


def masked_loss(logits: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
    """The cross-entropy () of the `chosen` words (B, L): logits (B, L, words) against the original tokens (B, L).

    Raises ValueError if no word is chosen, and if shapes differ.
    """
    validate.floats("logits", logits, *validate.indices("tokens", tokens, "L").shape[1:], "words")
    if validate.same_shape("chosen", chosen, "tokens", tokens).dtype != torch.bool or not chosen.any():
        raise ValueError(f"chosen must be True for at least one word, got {chosen.dtype} without")
    return cross_entropy(logits[chosen], tokens[chosen])


class Captioner(nn.Module):
    """Words z (B, L) and a picture to logits of the word at each position, (B, L, words): a transformer over both.

    `picture` (B, 4 channels), the features of a picture's quarters (`SceneDetector.features`), stands before the words as four
    tokens. None, or a row of zeros, is the null condition. There is no input of time: the masks of z show it. With `causal`,
    for an autoregressive model, the logits at a position depend on the picture and on the words before it alone. Tokens are of
    `captions.WORDS`, without the start token, whose number is MASK; so L is at most LENGTH - 1.
    """

    def __init__(self, width: int = 64, depth: int = 3, heads: int = 4, causal: bool = False, channels: int = 48):
        super().__init__()
        validate.sizes(width=width, depth=depth, channels=channels)
        validate.divides("heads", heads, "width", width)
        self.channels, self.causal = channels, causal
        self.word = nn.Embedding(len(captions.WORDS), width)
        self.position = nn.Parameter(0.1 * torch.randn(4 + captions.LENGTH, width))
        self.picture = nn.Linear(channels, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.logits = nn.Linear(width, len(captions.WORDS))

    @runs_on_its_device
    def forward(self, z: Tensor, picture: Tensor | None = None) -> Tensor:
        B, L = validate.indices("z", z, "L").shape
        if L >= captions.LENGTH:
            raise ValueError(f"z must have at most {captions.LENGTH - 1} words, got {L}")
        picture = self.picture.weight.new_zeros(B, 4 * self.channels) if picture is None else picture
        quarters = validate.shape("picture", picture, 4 * self.channels).unflatten(1, (self.channels, 4)).transpose(1, 2)
        if self.causal:  # the word before each position; before the first, the start token, which has MASK's number
            z = torch.cat([torch.full_like(z[:, :1], MASK), z[:, :-1]], 1)
        h = torch.cat([self.picture(quarters), self.word(z)], 1) + self.position[: 4 + L]
        later = torch.ones(4 + L, 4 + L, dtype=torch.bool, device=h.device).triu(1) if self.causal else None
        return self.logits(self.layers(h, mask=later)[:, 4:])
