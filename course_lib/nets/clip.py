"""CLIP: pictures and captions in one space, where those that belong together lie together."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, silu

from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.text import TextEncoder
from course_lib.nets.unet import Block, norm


def contrastive_loss(pictures: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """The symmetric loss of CLIP for N pairs, pictures and texts (N, D), of length 1: Radford et al. 2021, figure 3.

    Each picture must find its own text among all N, and each text its own picture; `scale` is one over the temperature.
    """
    likeness = scale * pictures @ texts.T  # (N, N)
    own = torch.arange(len(pictures), device=pictures.device)
    return (cross_entropy(likeness, own) + cross_entropy(likeness.T, own)) / 2


class CLIP(nn.Module):
    """Two encoders, of pictures x (B, 3, 32, 32), which may be noisy, and of captions, into one space (B, dim), length 1.

    The picture's encoder is told how noisy its picture is (Nichol et al. 2022, GLIDE, section 2.4); a CLIP that knows clean
    pictures only is told time 0.
    """

    def __init__(self, dim: int = 64, width: int = 32, words: int = 64):
        super().__init__()
        self.text = TextEncoder(words)
        self.as_condition = self.text.as_condition
        self.of_text = nn.Linear(words, dim)
        self.time = TimeEmbedding(64)
        wide = (width, 2 * width, 4 * width)  # at 16 x 16, 8 x 8 and 4 x 4
        self.inward = nn.Conv2d(3, width, 4, 2, padding=1)
        self.blocks = nn.ModuleList(Block(a, b, 64) for a, b in zip((width, *wide), wide))
        self.down = nn.ModuleList(nn.Conv2d(w, w, 3, 2, padding=1) for w in wide[:2])
        self.of_picture = nn.Sequential(norm(wide[-1]), nn.SiLU(), nn.Flatten(), nn.Linear(16 * wide[-1], dim))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Tensor:
        """One over the temperature, learned, at most 100 (Radford et al. 2021, section 2.5)."""
        return self.log_scale.exp().clamp(max=100)

    def caption(self, tokens: Tensor) -> Tensor:
        """Tokens (B, LENGTH), from `as_condition`, to vectors of length 1, (B, dim): what the start token has heard."""
        words, _ = self.text(tokens)
        return normalize(self.of_text(words[:, 0]), dim=1)

    def picture(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Pictures x (B, 3, 32, 32), as noisy as they are at time (B,) in [0, 1], 0 by default, to vectors of length 1."""
        emb = silu(self.time(x.new_zeros(len(x)) if time is None else time))
        h = self.blocks[0](self.inward(x), emb)
        for down, block in zip(self.down, self.blocks[1:]):
            h = block(down(h), emb)
        return normalize(self.of_picture(h), dim=1)
