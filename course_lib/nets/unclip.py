"""unCLIP's networks: a prior over CLIP's image embeddings, and a projection of such an embedding to tokens for a U-Net."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.denoisers import NULL
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.text import TextEncoder


class Prior(nn.Module):
    """net(z_t, time, tokens) for noisy embeddings z_t (B, dim): a causal transformer that predicts the clean ones, (B, dim).

    Its sequence is the encoded words, the time, the noisy embedding and a learned vector, at whose position the prediction is
    made. Ramesh et al. 2022, section 2.2; theirs also has CLIP's text embedding.
    """

    def __init__(self, dim: int = 64, width: int = 96, depth: int = 3, heads: int = 4, words: int = 64):
        super().__init__()
        validate.sizes(dim=dim, depth=depth)
        validate.divides("heads", heads, "width", validate.multiple("width", width, 2))
        self.text = TextEncoder(validate.multiple("words", words, 4))
        self.as_condition = self.text.as_condition
        self.words, self.time, self.vector = nn.Linear(words, width), TimeEmbedding(width), nn.Linear(dim, width)
        self.ask = nn.Parameter(0.1 * torch.randn(1, 1, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.answer = nn.Linear(width, dim)

    def forward(self, z_t: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        words, mask = self.text(cond)
        rest = torch.stack([self.time(time), self.vector(z_t), self.ask.expand(len(z_t), 1, -1)[:, 0]], 1)
        sequence = torch.cat([self.words(words), rest], 1)
        padding = torch.cat([~mask, mask.new_zeros(len(z_t), 3)], 1)
        causal = torch.ones(sequence.shape[1], sequence.shape[1], dtype=torch.bool, device=z_t.device).triu(1)
        return self.answer(self.layers(sequence, mask=causal, src_key_padding_mask=padding)[:, -1])


class EmbeddingTokens(nn.Module):
    """CLIP's image embeddings (B, dim) to 1 + `count` tokens (B, 1 + count, width) for cross-attention, and a mask, all True.

    Ramesh et al. 2022, section 2.1: extra tokens (four in the paper), and a projection that is added to the embedding of time,
    here the first token. The null condition is the zero vector, which is no picture's embedding.
    """

    def __init__(self, dim: int = 64, count: int = 8, width: int = 64):
        super().__init__()
        validate.sizes(dim=dim, width=width)
        validate.at_least("count", count, 0)
        self.dim, self.width = dim, width
        deep = 4 * width
        inner = (nn.Linear(dim, deep), nn.SiLU(), nn.Linear(deep, deep), nn.SiLU())
        self.project = nn.Sequential(*inner, nn.Linear(deep, (1 + count) * width), nn.Unflatten(1, (1 + count, width)))
        self.norm = nn.LayerNorm(width)

    def as_condition(self, cond: Any) -> Tensor:
        """Embeddings (B, dim) as they are; for NULL, zeros (1, dim). Raises TypeError for anything else."""
        if cond is NULL:
            return torch.zeros(1, self.dim, device="cpu", dtype=torch.float32)
        if isinstance(cond, Tensor) and cond.is_floating_point() and cond.shape[1:] == (self.dim,):
            return validate.batch("z", cond)
        shape = f" of shape {tuple(cond.shape)}" if isinstance(cond, Tensor) else ""
        raise TypeError(f"z must be CLIP's vectors (B, {self.dim}), got {type(cond).__name__}{shape}")

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        words = self.norm(self.project(z.to(self.norm.weight.dtype)))
        return words, torch.ones(words.shape[:2], dtype=torch.bool, device=z.device)
