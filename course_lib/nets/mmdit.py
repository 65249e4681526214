"""The MM-DiT of Stable Diffusion 3, two streams with joint attention, and a DiT with cross-attention for comparison."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention, silu

from course_lib import validate
from course_lib.datasets import captions, words
from course_lib.nets.attention import cross_attention, sincos_2d
from course_lib.nets.dit import Heads, Stream, modulate
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.text import TextEncoder
from course_lib.nets.unet import zero


def joint_attention(picture: Heads, text: Heads, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The attended values of the patches (B, heads, P, d) and of the words (B, heads, L, d), each attending to all of both.

    Esser et al. 2024, figure 2b: queries, keys and values of the two streams are concatenated for one attention. `mask` (B, L)
    is False for padding.
    """
    q, k, v = (torch.cat(both, 2) for both in zip(picture, text))
    P = picture[0].shape[2]
    visible = torch.cat([mask.new_ones(len(mask), P), mask], 1)
    attended = scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None, None, :])
    return attended[:, :, :P], attended[:, :, P:]


class JointBlock(nn.Module):
    """One block of an MM-DiT: two streams, each with its own weights, and joint attention. Esser et al. 2024, figure 2b."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.picture, self.text = Stream(width, heads), Stream(width, heads)

    def weights(self, h: Tensor, c: Tensor, emb: Tensor, mask: Tensor) -> Tensor:
        """The attention weights of all tokens (B, heads, P + L, P + L), the picture's P first; each row sums to 1."""
        picture = self.picture.queries_keys_values(h, self.picture.modulation(emb)[0])
        text = self.text.queries_keys_values(c, self.text.modulation(emb)[0])
        q, k = (torch.cat(both, 2) for both in zip(picture[:2], text[:2]))
        visible = torch.cat([mask.new_ones(h.shape[:2]), mask], 1)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return scores.masked_fill(~visible[:, None, None, :], -torch.inf).softmax(-1)

    def forward(self, h: Tensor, c: Tensor, emb: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        (h_attn, h_mlp), (c_attn, c_mlp) = self.picture.modulation(emb), self.text.modulation(emb)
        attended_h, attended_c = joint_attention(
            self.picture.queries_keys_values(h, h_attn), self.text.queries_keys_values(c, c_attn), mask
        )
        h = self.picture.add_mlp(self.picture.add_attention(h, attended_h, h_attn), h_mlp)
        return h, self.text.add_mlp(self.text.add_attention(c, attended_c, c_attn), c_mlp)


class CrossBlock(nn.Module):
    """One block of a DiT with self-attention of the picture and cross-attention to the words, which it does not change."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.picture, self.heads = Stream(width, heads), heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = zero(nn.Linear(width, width))

    def forward(self, h: Tensor, c: Tensor, emb: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        attn, mlp = self.picture.modulation(emb)
        attended = scaled_dot_product_attention(*self.picture.queries_keys_values(h, attn))
        h = self.picture.add_attention(h, attended, attn)
        split = lambda x: x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(c).chunk(2, 2)
        q = self.query(nn.functional.layer_norm(h, h.shape[-1:]))
        h = h + self.out(cross_attention(split(q), split(k), split(v), mask).transpose(1, 2).flatten(2))
        return self.picture.add_mlp(h, mlp), c


class DiT(nn.Module):
    """net(z, time, tokens) for latents z (B, channels, size, size), time (B,), tokens (B, LENGTH) from `as_condition`.

    Each patch of the latent and each word or letter of the prompt is a token (width,) with a learned position. A text encoder
    embeds the words; letters have embeddings of their own. The encoder's vector of the sentence is added to the embedding of
    time. With `joint` the blocks are those of an MM-DiT (Esser et al. 2024), without it CrossBlocks.
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
        validate.sizes(channels=channels, depth=depth)
        validate.multiple("width", width, 4)
        validate.divides("patch", patch, "size", validate.at_least("size", size, 1))
        self.shape, self.patch = (channels, size, size), patch
        self.time = TimeEmbedding(width)
        self.text = TextEncoder()
        dim = self.text.width
        self.letter = nn.Embedding(len(words.LETTERS), dim)
        self.letter_position = nn.Parameter(0.5 * torch.randn(captions.LENGTH, dim))
        self.sentence, self.word = nn.Linear(dim, width), nn.Linear(dim, width)
        self.inward = nn.Linear(channels * patch**2, width)
        self.position = nn.Parameter(sincos_2d(width, size // patch).flatten(1).T.contiguous().to(torch.empty(0)))
        self.blocks = nn.ModuleList([(JointBlock if joint else CrossBlock)(width, heads) for _ in range(depth)])
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.outward = zero(nn.Linear(width, channels * patch**2))

    @staticmethod
    def as_condition(cond: Any) -> Tensor:
        """Tokens (B, LENGTH) of a prompt, a list of prompts, tokens or NULL: see `captions.as_tokens`."""
        return captions.as_tokens("prompts", cond, words.tokens)

    def embed(self, tokens: Tensor) -> Tensor:
        """A vector for each word or letter (B, LENGTH, 64) of tokens (B, LENGTH)."""
        letter = tokens - len(captions.WORDS)
        of_letters = self.letter(letter.clamp(min=0)) + self.letter_position[: tokens.shape[1]]
        of_words, _ = self.text(tokens.masked_fill(letter >= 0, captions.PAD))
        return torch.where((letter >= 0)[..., None], of_letters, of_words)

    def forward(self, z: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        validate.shape("z", z, *self.shape)
        mask = cond != captions.PAD
        longest = int(mask.sum(1).max())  # padding beyond the longest prompt has no effect and takes time
        text, mask = self.embed(cond[:, :longest]), mask[:, :longest]
        emb, c = silu(self.time(time) + self.sentence(text[:, 0])), self.word(text)
        z = pixel_unshuffle(z, self.patch)
        h = self.inward(z.flatten(2).transpose(1, 2)) + self.position
        for block in self.blocks:
            h, c = block(h, c, emb, mask)
        h = self.outward(modulate(h, *self.modulation(emb).chunk(2, 1)))
        return pixel_shuffle(h.transpose(1, 2).unflatten(2, z.shape[2:]), self.patch)
