"""What SDXL adds to a U-Net that listens to text: it is told how the picture came about, and hears the text twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.datasets import captions
from course_lib.datasets.shapes import SIDE
from course_lib.denoisers import NULL
from course_lib.nets.embeddings import sinusoidal
from course_lib.nets.text import TextEncoder, TextUNet

WHOLE = (SIDE, 0, 0)
"""What is asked for in sampling: a picture that was large from the start, of which nothing was cut off."""


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
    """A `TextUNet` that is told more of the picture than its caption: cond is (captions, micro), see `as_condition`."""

    def __init__(self, size: int = SIDE, widths: tuple[int, ...] = (32, 64), dim: int = 128, patch: int = 4, text=None):
        super().__init__(size, widths, dim, patch=patch, text=text)
        self.as_condition = self.with_micro
        self.micro = nn.Sequential(nn.Linear(3 * 32, dim), nn.SiLU(), nn.Linear(dim, dim))

    def with_micro(self, cond: Any) -> Tensor:
        """Captions, or a pair of them and micro, (3,) or (B, 3): tokens and micro as one tensor (B, LENGTH + 3).

        Micro is the side in pixels that the picture had before it was made larger, and how many pixels were cut off at its top
        and at its left; WHOLE where it is left out. NULL is the empty caption of a WHOLE picture. Raises ValueError for other
        numbers, and what `TextEncoder.as_condition` raises.
        """
        said, micro = cond if isinstance(cond, tuple) and len(cond) == 2 and not isinstance(cond[1], str) else (cond, WHOLE)
        tokens, micro = self.text.as_condition(NULL if said is NULL else said), torch.as_tensor(micro)
        if micro.shape not in ((3,), (len(tokens), 3)) or micro.is_floating_point() or (micro < 0).any():
            raise ValueError(f"micro must be three whole numbers for each caption, side, top and left, got {micro.tolist()}")
        return torch.cat([tokens, micro.to(tokens.device).expand(len(tokens), 3)], 1)

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        tokens, micro = cond.split((captions.LENGTH, 3), 1)
        return super().forward(x, time, tokens, self.micro(micro_embedding(micro, 32)))
