"""Text: an encoder that makes a vector of each word in its sentence, and a U-Net that listens to it by cross-attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from course_lib.datasets import captions
from course_lib.denoisers import NULL
from course_lib.nets.attention import CrossAttention
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.unet import UNet, zero


class TextEncoder(nn.Module):
    """Tokens (B, L) to a vector for each, (B, L, width), and which of them are real, (B, L), True but for padding.

    An embedding of the word and one of its position, then a transformer (Vaswani et al. 2017, the norm before each layer).
    The vector of the start token may stand for the sentence.
    """

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.width = width
        self.word = nn.Embedding(len(captions.WORDS), width)
        self.position = nn.Parameter(0.1 * torch.randn(captions.LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)

    @staticmethod
    def as_condition(cond: Any) -> Tensor:
        """A caption, a row of captions, or tokens (B, LENGTH), as tokens; NULL is the empty caption.

        Raises TypeError for what is no text, ValueError for unknown words, which names the nearest that are known.
        """
        if cond is NULL:
            return captions.tokens("")
        if isinstance(cond, Tensor) and not cond.is_floating_point() and cond.shape[1:] == (captions.LENGTH,):
            return cond
        if isinstance(cond, str) or (isinstance(cond, (list, tuple)) and cond and all(isinstance(c, str) for c in cond)):
            return captions.tokens(cond)
        shape = f" of shape {tuple(cond.shape)}" if isinstance(cond, Tensor) else f", {cond!r}"
        raise TypeError(
            f"captions must be text, a list of texts or tokens (B, {captions.LENGTH}), got {type(cond).__name__}{shape}"
        )

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        there = tokens != captions.PAD
        h = self.word(tokens) + self.position[: tokens.shape[1]]
        return self.layers(h, src_key_padding_mask=~there), there


class Paraphraser(nn.Module):
    """Tokens of a caption (B, LENGTH) to the log-odds of every word of its plain form, (B, LENGTH, words): text in, text out.

    Raffel et al. 2020 (T5) in miniature: an encoder that hears the caption, and a decoder that asks it for the word at each
    place. All places at once, since a plain caption is decided by what it says. Its encoder knows what words mean to each other
    before it sees any picture.
    """

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.encoder = TextEncoder(width, depth, heads)
        self.places = nn.Parameter(0.1 * torch.randn(captions.LENGTH, width))
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, 1, nn.LayerNorm(width))
        self.word = nn.Linear(width, len(captions.WORDS))

    def forward(self, tokens: Tensor) -> Tensor:
        words, there = self.encoder(tokens)
        places = self.places.expand(len(tokens), -1, -1)
        return self.word(self.layers(places, words, memory_key_padding_mask=~there))


class TextUNet(UNet):
    """net(x, time, tokens) for pictures x (B, channels, size, size): a U-Net whose every block asks the words.

    The first word, which stands for the sentence as a whole, is added to the embedding of time as well (Nichol et al. 2022,
    GLIDE, section 2.3). `text` may be another module that makes words (B, L, width) and which of them are real, (B, L), of its
    condition, such as an encoder that was trained before (Saharia et al. 2022, Imagen). For latents, `channels` and `size` are
    theirs and `patch` is 1. With `guided` it takes guidance w (B,) as one more input, as a UNet does.
    """

    def __init__(
        self,
        size: int = 32,
        widths: tuple[int, ...] = (32, 64, 128),
        dim: int = 128,
        words: int = 64,
        text: nn.Module | None = None,
        channels: int = 3,
        patch: int = 2,
        guided: bool = False,
    ):
        super().__init__(size, channels, widths, depth=1, classes=0, patch=patch, attn=2, dim=dim)
        self.text = TextEncoder(words) if text is None else text
        words = self.text.width
        self.as_condition = self.text.as_condition
        self.sentence = nn.Linear(words, dim)
        if guided:
            self.guidance = TimeEmbedding(dim)
            zero(self.guidance.mlp[-1])
        sides = {"encoder": self.encoder, "decoder": self.decoder}
        blocks = {
            f"{side}_{name}": block for side, layers in sides.items() for name, block in layers.items() if "block" in name
        }
        shapes = {name: (block.conv2.out_channels, int(name.split("x")[1].split("_")[0])) for name, block in blocks.items()}
        self.cross = nn.ModuleDict(
            {name: CrossAttention(width, words, max(1, width // 32), side) for name, (width, side) in shapes.items()}
        )

    def forward(self, x: Tensor, time: Tensor, cond: Tensor, w: Tensor | None = None) -> Tensor:
        words, there = self.text(cond)
        emb = self.time(time) + self.sentence(words[:, 0])
        if self.guidance is not None:
            emb = emb + self.guidance(w / 100)
        return self.run(x, silu(emb), lambda name, h: self.cross[name](h, words, there))
