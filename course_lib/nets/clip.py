"""CLIP: an image encoder and a text encoder with a shared embedding space."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, silu

from course_lib import validate
from course_lib.datasets import captions
from course_lib.denoisers import runs_on_its_device
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.text import TextEncoder
from course_lib.nets.unet import Block, norm


def contrastive_loss(pictures: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """CLIP's symmetric loss () of N pairs of embeddings, pictures and texts (N, D), of length 1: Radford et al. 2021, figure 3.

    It is the cross-entropy of classifying, among all N, the text of each picture and the picture of each text. `scale` is the
    inverse temperature.
    """
    validate.same_shape("texts", validate.floats("texts", texts), "pictures", validate.floats("pictures", pictures, "D"))
    scale = scale.to(pictures) if isinstance(scale, Tensor) else validate.positive("scale", scale)
    logits = scale * pictures @ texts.T  # (N, N)
    target = torch.arange(len(pictures), dtype=torch.long, device=pictures.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


class CLIP(nn.Module):
    """Encoders of pictures x (B, 3, 32, 32), clean or noisy, and of captions, into one space: embeddings (B, dim) of length 1.

    The image encoder is conditioned on the time of the noise (Nichol et al. 2022, GLIDE, section 2.4); a CLIP trained on clean
    pictures only is given time 0.
    """

    def __init__(self, dim: int = 64, width: int = 32, words: int = 64):
        super().__init__()
        validate.sizes(dim=dim)
        validate.multiple("width", width, 8)
        self.text = TextEncoder(validate.multiple("words", words, 4))
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
        """The learned inverse temperature (), at most 100 (Radford et al. 2021, section 2.5)."""
        return self.log_scale.exp().clamp(max=100)

    @runs_on_its_device
    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeddings of length 1, (B, dim), of tokens (B, LENGTH) from `as_condition`: the start token's, projected."""
        words, _ = self.text(validate.indices("tokens", tokens, captions.LENGTH))
        return normalize(self.of_text(words[:, 0]), dim=1).float()  # as those of pictures of float32, in any network's type

    @runs_on_its_device
    def encode_image(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Embeddings of length 1, (B, dim), of pictures x (B, 3, 32, 32) with noise of time (B,) in [0, 1], 0 by default."""
        validate.shape("x", x, 3, 32, 32)
        emb = silu(self.time(x.new_zeros(len(x)) if time is None else time))
        h = self.blocks[0](self.inward(x), emb)
        for down, block in zip(self.down, self.blocks[1:]):
            h = block(down(h), emb)
        return normalize(self.of_picture(h), dim=1)
