"""The U-Net of SDXL: size and crop as further conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from course_lib import validate
from course_lib.datasets import captions
from course_lib.datasets.shapes import SIDE
from course_lib.denoisers import NULL
from course_lib.nets.embeddings import sinusoidal
from course_lib.nets.text import TextUNet
from course_lib.nets.unet import UNet, zero

WHOLE = (SIDE, 0, 0)
"""The size and crop that are given in sampling: a picture of full size, uncropped."""
MICRO = "three whole numbers for each caption, side, top and left"
WAVES = 32
"""The number of sines and cosines for each number of micro."""


def micro_embedding(micro: Tensor, dim: int) -> Tensor:
    """Sines and cosines (B, 3 dim) of micro (B, 3), the original side and the pixels cropped at the top and at the left.

    Podell et al. 2023, section 2.2 and Algorithm 1.
    """
    validate.shape("micro", micro, 3)
    return torch.cat([sinusoidal(number.float(), dim) for number in micro.unbind(1)], 1)


class SDXLUNet(TextUNet):
    """A `TextUNet` that is conditioned on size and crop as well: cond is (captions, micro), see `with_micro`.

    The embedding of micro is added to that of time (Podell et al. 2023, section 2.2). It is initialised to add 0.
    """

    def __init__(self, size: int = 8, widths: tuple[int, ...] = (48, 96), dim: int = 128, text: nn.Module | None = None):
        super().__init__(size, widths, dim, text=text, channels=4, patch=1)
        self.as_condition = self.with_micro
        self.micro = nn.Sequential(nn.Linear(3 * WAVES, dim), nn.SiLU(), zero(nn.Linear(dim, dim)))

    def with_micro(self, cond: Any) -> Tensor:
        """Tokens and micro as one tensor (B, LENGTH + 3), of captions, or of a pair of captions and micro, (3,) or (B, 3).

        Micro is the picture's side in pixels before upsampling, and the pixels cropped at its top and at its left; WHOLE by
        default. NULL is the empty caption of a WHOLE picture. Raises ValueError for other numbers, and what
        `captions.as_tokens` raises.
        """
        prompts, micro = self._captions_and_micro(cond)
        tokens, micro = self.text.as_condition(prompts), validate.tensor("micro", micro, MICRO)
        if micro.shape not in ((3,), (len(tokens), 3)) or micro.is_floating_point() or (micro < 0).any():
            raise ValueError(f"micro must be {MICRO}, got {micro.tolist()}")
        return torch.cat([tokens, micro.to(tokens.device).expand(len(tokens), 3)], 1)

    @staticmethod
    def _captions_and_micro(cond: Any) -> tuple[Any, Any]:
        return cond if isinstance(cond, tuple) and len(cond) == 2 and not isinstance(cond[1], str) else (cond, WHOLE)

    def null_for(self, cond: Any) -> tuple[Any, Any]:
        """The null condition beside `cond`: no caption, and the same micro."""
        micro = validate.tensor("micro", self._captions_and_micro(cond)[1], MICRO)
        return (NULL if micro.ndim == 1 else [""] * len(micro)), micro

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        validate.shape("x", x, *self.shape)
        tokens, micro = cond.split((captions.LENGTH, 3), 1)
        words, mask = self.text(tokens)
        emb = self.time(time) + self.sentence(words[:, 0]) + self.micro(micro_embedding(micro, WAVES).to(words.dtype))
        return self.run(x, silu(emb), lambda name, h: self.cross[name](h, words, mask))


class MicroUNet(UNet):
    """A class-conditional `UNet` for pictures x (B, 1, size, size), conditioned on size and crop: cond is (label, micro).

    The embedding of micro, `embed(micro, WAVES)`, goes through a small network and is added to that of time and class (Podell
    et al. 2023, section 2.2). `embed` is `micro_embedding` by default.
    """

    def __init__(
        self,
        size: int = 16,
        widths: tuple[int, ...] = (16, 32, 64),
        classes: int = 10,
        dim: int = 128,
        embed: Callable[[Tensor, int], Tensor] = micro_embedding,
    ):
        super().__init__(size, 1, widths, classes=validate.at_least("classes", classes, 1), dim=dim)
        self.whole, self.embed = (size, 0, 0), validate.function("embed", embed)
        self.micro = nn.Sequential(nn.Linear(3 * WAVES, dim), nn.SiLU(), zero(nn.Linear(dim, dim)))
        self.as_condition = self.with_micro

    def with_micro(self, cond: Any) -> Tensor:
        """Label and micro as one tensor (B, 4), of a label, a row of them (B,) or NULL, or of a pair of these and micro.

        In a row of labels, the number of classes is NULL. Micro, (3,) or (B, 3), is the picture's side in pixels before
        upsampling and the pixels cropped at its top and at its left; by default that of a picture of full size, uncropped.
        Raises TypeError or ValueError for other labels, ValueError for other numbers.
        """
        label, micro = cond if isinstance(cond, tuple) and len(cond) == 2 else (cond, self.whole)
        if isinstance(label, Tensor) and not label.is_floating_point() and label.numel():
            null = label.reshape(-1) == self.label.null
            label = torch.where(null, self.label.null, self.label.as_condition(torch.where(null, 0, label.reshape(-1))))
        else:
            label = self.label.as_condition(label)
        micro = validate.tensor("micro", micro, MICRO)
        if micro.shape not in ((3,), (len(label), 3)) and not (len(label) == 1 and micro.shape[1:] == (3,)):
            raise ValueError(f"micro must be {MICRO}, got {micro.tolist()}")
        if micro.is_floating_point() or micro.dtype == torch.bool or (micro < 0).any():
            raise ValueError(f"micro must be {MICRO}, got {micro.tolist()}")
        micro = micro.to(label).reshape(-1, 3)
        B = max(len(label), len(micro))
        return torch.cat([label[:, None].expand(B, 1), micro.expand(B, 3)], 1)

    def null_for(self, cond: Any) -> tuple[Any, Any]:
        """The null condition beside `cond`: no class, and the same micro."""
        return NULL, cond[1] if isinstance(cond, tuple) and len(cond) == 2 else self.whole

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        validate.shape("x", x, *self.shape)
        label, micro = cond.split((1, 3), 1)
        emb = self.time(time)
        waves = self.embed(micro, WAVES).to(emb.dtype)
        return self.run(x, silu(emb + self.label(label[:, 0]) + self.micro(waves)))
