"""A text encoder, and a U-Net that is conditioned on its output by cross-attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from course_lib import validate
from course_lib.datasets import captions
from course_lib.denoisers import runs_on_its_device
from course_lib.nets.attention import CrossAttention
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.unet import Block, UNet, heads_of, zero


class TextEncoder(nn.Module):
    """Tokens (B, L) to a vector for each, (B, L, width), and a mask (B, L), False for padding.

    Embeddings of word and position are summed and go through a transformer (Vaswani et al. 2017, with the norm before each
    layer). The start token's vector can represent the sentence.
    """

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        validate.sizes(width=width, depth=depth)
        validate.divides("heads", heads, "width", width)
        self.width = width
        self.word = nn.Embedding(len(captions.WORDS), width)
        self.position = nn.Parameter(0.1 * torch.randn(captions.LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)

    @staticmethod
    def as_condition(cond: Any) -> Tensor:
        """Tokens (B, LENGTH) of a caption, a list of captions, tokens or NULL: see `captions.as_tokens`."""
        return captions.as_tokens("captions", cond, captions.tokens)

    @runs_on_its_device
    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        mask = tokens != captions.PAD
        h = self.word(tokens) + self.position[: tokens.shape[1]]
        return self.layers(h, src_key_padding_mask=~mask), mask


class Paraphraser(nn.Module):
    """Tokens of a caption (B, LENGTH) to logits of the words of its plain form, (B, LENGTH, words): text to text.

    An encoder of the caption, and a decoder with cross-attention to it, as in T5 (Raffel et al. 2020); but its training is
    supervised by the grammar's plain forms, where T5's is span corruption. All words are predicted at once, not
    autoregressively, since the caption determines its plain form. The encoder is trained without pictures.
    """

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.encoder = TextEncoder(width, depth, heads)
        self.places = nn.Parameter(0.1 * torch.randn(captions.LENGTH, width))
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, 1, nn.LayerNorm(width))
        self.word = nn.Linear(width, len(captions.WORDS))

    @runs_on_its_device
    def forward(self, tokens: Tensor) -> Tensor:
        words, mask = self.encoder(tokens)
        places = self.places.expand(len(tokens), -1, -1)
        return self.word(self.layers(places, words, memory_key_padding_mask=~mask))


class TextUNet(UNet):
    """net(x, time, tokens) for pictures x (B, channels, size, size): a U-Net with cross-attention to the words in every block.

    The start token's vector, for the sentence as a whole, is also added to the embedding of time (Nichol et al. 2022, GLIDE,
    section 4.1). `text` may be another module from a condition to words (B, L, width) and a mask (B, L), such as a pretrained
    encoder (Saharia et al. 2022, Imagen). For latents, `channels` and `size` are theirs and `patch` is 1. With `guided` it
    takes the guidance weight w (B,) as a further input, as a UNet does.
    """

    def __init__(
        self,
        size: int = 32,
        widths: tuple[int, ...] = (32, 64, 128),
        dim: int = 128,
        words: int = 64,
        text: Any = None,
        channels: int = 3,
        patch: int = 2,
        guided: bool = False,
    ):
        super().__init__(size, channels, widths, depth=1, classes=0, patch=patch, attn=2, dim=dim)
        validate.multiple("words", words, 4)
        self.text = TextEncoder(words) if text is None else validate.has("text", text, "as_condition")
        words = self.text.width
        self.as_condition = self.text.as_condition
        self.sentence = nn.Linear(words, dim)
        if guided:
            self.guidance = TimeEmbedding(dim)
            zero(self.guidance.mlp[-1])
        sides = {"encoder": self.encoder, "decoder": self.decoder}
        blocks = {
            f"{side}_{name}": block
            for side, layers in sides.items()
            for name, block in layers.items()
            if isinstance(block, Block)
        }
        shapes = {name: (block.conv2.out_channels, int(name.split("x")[1].split("_")[0])) for name, block in blocks.items()}
        self.cross = nn.ModuleDict(
            {name: CrossAttention(width, words, heads_of(width), side) for name, (width, side) in shapes.items()}
        )

    def forward(self, x: Tensor, time: Tensor, cond: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        validate.shape("x", x, *self.shape)
        words, mask = self.text(cond)
        emb = self.add_guidance(self.time(time) + self.sentence(words[:, 0]), w)
        return self.run(x, silu(emb), lambda name, h: self.cross[name](h, words, mask))
