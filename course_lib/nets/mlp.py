"""A residual MLP for points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.nets.embeddings import LabelEmbedding, TimeEmbedding


class Block(nn.Module):
    """h + MLP(norm(h)) (B, width), with the norm's output shifted and scaled by the embedding of time and class (B, width)."""

    def __init__(self, width: int):
        super().__init__()
        validate.sizes(width=width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        shift, scale = self.modulate(emb).chunk(2, 1)
        return h + self.mlp(self.norm(h) * (1 + scale) + shift)


class MLP(nn.Module):
    """net(x, time, cond) for points x (B, dim), time (B,) in [0, 1], cond (B,) from `as_condition`: (B, dim).

    With `classes` = 0 the network is unconditional and takes no cond.
    """

    def __init__(self, dim: int = 2, width: int = 128, depth: int = 3, classes: int = 0):
        super().__init__()
        validate.sizes(dim=dim, depth=depth)
        validate.multiple("width", width, 2)
        validate.at_least("classes", classes, 0)
        self.shape, self.inward = (dim,), nn.Linear(dim, width)
        self.time = TimeEmbedding(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))
        if classes:
            self.label = LabelEmbedding(classes, width)
            self.as_condition = self.label.as_condition

    def forward(self, x: Tensor, time: Tensor, cond: Any = None) -> Tensor:
        validate.shape("x", x, *self.shape)
        emb = self.time(time)
        if hasattr(self, "label"):
            emb = emb + self.label(cond)
        h, emb = self.inward(x), torch.nn.functional.silu(emb)
        for block in self.blocks:
            h = block(h, emb)
        return self.outward(h)
