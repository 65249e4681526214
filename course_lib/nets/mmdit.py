"""The transformer of Stable Diffusion 3, with two streams that meet in joint attention, and the one that it is held against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention, silu

from course_lib.datasets import captions, words
from course_lib.denoisers import NULL
from course_lib.nets.attention import cross_attention, waves_of_places
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.text import TextEncoder
from course_lib.nets.unet import zero

Heads = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values, each (B, heads, N, d)."""


def joint_attention(picture: Heads, text: Heads, there: Tensor) -> tuple[Tensor, Tensor]:
    """What the places (B, heads, P, d) and the words (B, heads, L, d) gather, all of them looking at all of them.

    Esser et al. 2024, figure 2b: the streams' queries, keys and values are joined, each made by its own weights, for one
    attention, and parted after it. `there` (B, L) is False for words that must not be looked at.
    """
    q, k, v = (torch.cat(both, 2) for both in zip(picture, text))
    P = picture[0].shape[2]
    seen = torch.cat([there.new_ones(len(there), P), there], 1)
    gathered = scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
    return gathered[:, :, :P], gathered[:, :, P:]


def modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """h (B, N, width), normalised, then shifted and scaled, a (B, width) each: adaLN of Peebles and Xie 2023, section 3.2."""
    return nn.functional.layer_norm(h, h.shape[-1:]) * (1 + scale[:, None]) + shift[:, None]


class Stream(nn.Module):
    """One modality's weights in a block: what tokens h (B, N, width) ask, offer and say, and what becomes of the answer.

    The embedding of time and prompt gives (shift, scale, gate) before and after attention, and before and after the MLP. The
    gates are 0 at first, so that a block does nothing (Peebles and Xie 2023). Queries and keys are normalised (Esser et al.
    2024, section 5.3.2).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.modulation = zero(nn.Linear(width, 6 * width))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def queries_keys_values(self, h: Tensor, shift: Tensor, scale: Tensor) -> Heads:
        """Each (B, heads, N, width / heads), of tokens h (B, N, width)."""
        B, N, width = h.shape
        qkv = self.qkv(modulated(h, shift, scale)).view(B, N, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return self.query_norm(q), self.key_norm(k), v

    def add(self, h: Tensor, gathered: Tensor, gate: Tensor) -> Tensor:
        """h (B, N, width) + what it gathered (B, heads, N, d), gated."""
        return h + gate[:, None] * self.out(gathered.transpose(1, 2).flatten(2))

    def think(self, h: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        """h (B, N, width) + its MLP, gated."""
        return h + gate[:, None] * self.mlp(modulated(h, shift, scale))


class JointBlock(nn.Module):
    """Two streams, each with its own weights, that meet in one attention. Esser et al. 2024, figure 2b."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.picture, self.text = Stream(width, heads), Stream(width, heads)

    def heads_of(self, h: Tensor, c: Tensor, emb: Tensor) -> tuple[tuple[Heads, Heads], tuple[tuple[Tensor, ...], ...]]:
        """What places and words ask, offer and say, and the (shift, scale, gate, shift, scale, gate) of either."""
        said = tuple(stream.modulation(emb).chunk(6, 1) for stream in (self.picture, self.text))
        from_h = self.picture.queries_keys_values(h, *said[0][:2])
        return (from_h, self.text.queries_keys_values(c, *said[1][:2])), said

    def weights(self, h: Tensor, c: Tensor, emb: Tensor, there: Tensor) -> Tensor:
        """How much each token takes from each, (B, heads, P + L, P + L), the picture's P first; rows sum to 1."""
        (from_h, from_c), _ = self.heads_of(h, c, emb)
        q, k = (torch.cat(both, 2) for both in zip(from_h[:2], from_c[:2]))
        seen = torch.cat([there.new_ones(h.shape[:2]), there], 1)
        looks = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return looks.masked_fill(~seen[:, None, None, :], -torch.inf).softmax(-1)

    def forward(self, h: Tensor, c: Tensor, emb: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        (from_h, from_c), (of_picture, of_text) = self.heads_of(h, c, emb)
        to_h, to_c = joint_attention(from_h, from_c, there)
        h = self.picture.think(self.picture.add(h, to_h, of_picture[2]), *of_picture[3:])
        return h, self.text.think(self.text.add(c, to_c, of_text[2]), *of_text[3:])


class CrossBlock(nn.Module):
    """One stream: places look at places, then, by cross-attention, at words that stay as they are. The rival."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.picture, self.heads = Stream(width, heads), heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = zero(nn.Linear(width, width))

    def forward(self, h: Tensor, c: Tensor, emb: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        said = self.picture.modulation(emb).chunk(6, 1)
        h = self.picture.add(h, scaled_dot_product_attention(*self.picture.queries_keys_values(h, *said[:2])), said[2])
        split = lambda x: x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(c).chunk(2, 2)
        q = self.query(nn.functional.layer_norm(h, h.shape[-1:]))
        h = h + self.out(cross_attention(split(q), split(k), split(v), there).transpose(1, 2).flatten(2))
        return self.picture.think(h, *said[3:]), c


class DiT(nn.Module):
    """net(z, time, tokens) for latents z (B, channels, size, size), time (B,), tokens (B, LENGTH) from `as_condition`.

    Each patch x patch places of the latent and each word or letter of the prompt is a token of `width` numbers, with a learned
    position. Words are read by a text encoder, letters have vectors of their own, and the encoder's vector of the sentence is
    added to the embedding of time. With `joint` the blocks are those of an MM-DiT (Esser et al. 2024); without, the words stay
    as they were read, and are looked at by cross-attention.
    """

    def __init__(
        self,
        size: int = 8,
        channels: int = 4,
        patch: int = 2,
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        joint: bool = True,
    ):
        super().__init__()
        self.shape, self.patch = (channels, size, size), patch
        self.time = TimeEmbedding(width)
        self.text = TextEncoder()
        said = self.text.position.shape[1]
        self.letter = nn.Embedding(len(words.LETTERS), said)
        self.letter_position = nn.Parameter(0.5 * torch.randn(captions.LENGTH, said))
        self.sentence, self.word = nn.Linear(said, width), nn.Linear(said, width)
        self.inward = nn.Linear(channels * patch**2, width)
        self.position = nn.Parameter(waves_of_places(width, size // patch).flatten(1).T.contiguous())
        self.blocks = nn.ModuleList([(JointBlock if joint else CrossBlock)(width, heads) for _ in range(depth)])
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.outward = zero(nn.Linear(width, channels * patch**2))

    @staticmethod
    def as_condition(cond: Any) -> Tensor:
        """A prompt, a row of prompts, or tokens (B, LENGTH), as tokens; NULL is the empty prompt.

        Raises TypeError for what is no text, ValueError for words or letters that are not known.
        """
        if isinstance(cond, Tensor) and not cond.is_floating_point() and cond.shape[1:] == (captions.LENGTH,):
            return cond
        if cond is NULL or isinstance(cond, str):
            return words.tokens("" if cond is NULL else cond)
        if isinstance(cond, (list, tuple)) and cond and all(isinstance(c, str) for c in cond):
            return words.tokens(cond)
        raise TypeError(f"prompts must be text, a list of texts or tokens (B, {captions.LENGTH}), got {type(cond).__name__}")

    def read(self, tokens: Tensor) -> Tensor:
        """A vector for each word or letter (B, LENGTH, 64) of tokens (B, LENGTH)."""
        letter = tokens - len(captions.WORDS)
        spelt = self.letter(letter.clamp(min=0)) + self.letter_position[: tokens.shape[1]]
        said, _ = self.text(tokens.masked_fill(letter >= 0, captions.PAD))
        return torch.where((letter >= 0)[..., None], spelt, said)

    def forward(self, z: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        if z.shape[1:] != self.shape:
            raise ValueError(f"z must be (B, {', '.join(map(str, self.shape))}), got shape {tuple(z.shape)}")
        there = cond != captions.PAD
        longest = int(there.sum(1).max())  # no padding but what the longest prompt needs
        said, there = self.read(cond[:, :longest]), there[:, :longest]
        emb, c = silu(self.time(time) + self.sentence(said[:, 0])), self.word(said)
        z = pixel_unshuffle(z, self.patch)
        h = self.inward(z.flatten(2).transpose(1, 2)) + self.position
        for block in self.blocks:
            h, c = block(h, c, emb, there)
        h = self.outward(modulated(h, *self.modulation(emb).chunk(2, 1)))
        return pixel_shuffle(h.transpose(1, 2).unflatten(2, z.shape[2:]), self.patch)
