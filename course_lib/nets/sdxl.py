"""What SDXL adds to a U-Net that listens to text: it is told how the picture came about, and hears the text twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from course_lib.datasets import captions
from course_lib.datasets.shapes import SIDE
from course_lib.nets.attention import CrossAttention
from course_lib.nets.embeddings import sinusoidal
from course_lib.nets.text import TextEncoder, TextUNet
from course_lib.nets.unet import Attention, zero

WHOLE = (SIDE, 0, 0)
"""What is asked for in sampling: a picture that was large from the start, of which nothing was cut off."""
WAVES = 32
"""Sines and cosines for each number of micro."""


class TwoEncoders(nn.Module):
    """Two text encoders side by side: a word's vector is the vectors that both give it, one after the other.

    Podell et al. 2023 (SDXL), section 2.1.
    """

    def __init__(self, first: TextEncoder, second: TextEncoder):
        super().__init__()
        self.first, self.second, self.width = first, second, first.width + second.width
        self.as_condition = first.as_condition

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        (one, there), (two, _) = self.first(tokens), self.second(tokens)
        return torch.cat([one, two], 2), there


def micro_embedding(micro: Tensor, dim: int) -> Tensor:
    """Sines and cosines of each of the numbers micro (B, 3), the original side, and the pixels cut off at the top and at the
    left: (B, 3 dim). Podell et al. 2023, section 2.2 and Algorithm 1."""
    return torch.cat([sinusoidal(number.float(), dim) for number in micro.unbind(1)], 1)


class SDXLUNet(TextUNet):
    """A `TextUNet` that is told more of the picture than its caption: cond is (captions, micro), see `with_micro`.

    What micro says is added to the embedding of time (Podell et al. 2023, section 2.2). At its coarsest maps, where most of
    SDXL's attention is, each block has `more` pairs of self- and cross-attention (section 2.1). Both add nothing at first.
    """

    def __init__(
        self, size: int = 8, widths: tuple[int, ...] = (48, 96), dim: int = 128, text: nn.Module | None = None, more: int = 0
    ):
        super().__init__(size, widths, dim, text=text, channels=4, patch=1)
        self.as_condition = self.with_micro
        self.micro = nn.Sequential(nn.Linear(3 * WAVES, dim), nn.SiLU(), zero(nn.Linear(dim, dim)))
        heads, coarsest = max(1, widths[-1] // 32), size >> len(widths) - 1
        pair = lambda: nn.ModuleList(
            (Attention(widths[-1], heads), CrossAttention(widths[-1], self.text.width, heads, coarsest))
        )
        self.more = nn.ModuleDict(
            {name: nn.ModuleList(pair() for _ in range(more)) for name in self.cross if f"_{coarsest}x" in name}
        )

    def with_micro(self, cond: Any) -> Tensor:
        """Captions, or a pair of them and micro, (3,) or (B, 3): tokens and micro as one tensor (B, LENGTH + 3).

        Micro is the side in pixels that the picture had before it was made larger, and how many pixels were cut off at its top
        and at its left; WHOLE where it is left out. NULL is the empty caption of a WHOLE picture. Raises ValueError for other
        numbers, and what `TextEncoder.as_condition` raises.
        """
        said, micro = cond if isinstance(cond, tuple) and len(cond) == 2 and not isinstance(cond[1], str) else (cond, WHOLE)
        tokens, micro = self.text.as_condition(said), torch.as_tensor(micro)
        if micro.shape not in ((3,), (len(tokens), 3)) or micro.is_floating_point() or (micro < 0).any():
            raise ValueError(f"micro must be three whole numbers for each caption, side, top and left, got {micro.tolist()}")
        return torch.cat([tokens, micro.to(tokens.device).expand(len(tokens), 3)], 1)

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        tokens, micro = cond.split((captions.LENGTH, 3), 1)
        words, there = self.text(tokens)
        emb = self.time(time) + self.sentence(words[:, 0]) + self.micro(micro_embedding(micro, WAVES))

        def after(name: str, h: Tensor) -> Tensor:
            h = self.cross[name](h, words, there)
            for attention, cross in self.more[name] if name in self.more else ():
                h = cross(attention(h), words, there)
            return h

        return self.run(x, silu(emb), after)
