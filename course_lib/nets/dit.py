"""The diffusion transformer (DiT): patches as tokens, blocks of self-attention and MLP, modulated by time and class.

Peebles and Xie 2023. `mmdit` has the same streams for pictures and text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from course_lib import validate
from course_lib.nets.attention import sincos_2d
from course_lib.nets.embeddings import LabelEmbedding, TimeEmbedding
from course_lib.nets.unet import zero

Heads = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values, each (B, heads, N, d)."""


def patchify(x: Tensor, patch: int) -> Tensor:
    """The patches of pictures x (B, C, H, W), row by row, as tokens (B, H W / patch^2, patch^2 C).

    A token is the pixels of a patch row by row, and of a pixel its channels. Peebles and Xie 2023, section 3.2. Raises
    ValueError where `patch` does not divide the sides.
    """
    B, C, H, W = validate.sides("x", x, validate.at_least("patch", patch, 1)).shape
    x = x.reshape(B, C, H // patch, patch, W // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, patch * patch * C)


def unpatchify(tokens: Tensor, patch: int, rows: int) -> Tensor:
    """The pictures (B, C, H, W) of tokens (B, N, patch^2 C), with `rows` rows of patches: the inverse of `patchify`.

    Raises ValueError where the N tokens are not so many equal rows, or their numbers are not those of pixels.
    """
    B, N, numbers = validate.shape("tokens", tokens, "N", "patch^2 C").shape
    validate.divides("rows", rows, "the number of tokens", N)
    validate.divides("patch^2", validate.at_least("patch", patch, 1) ** 2, "a token's length", numbers)
    x = tokens.reshape(B, rows, N // rows, patch, patch, numbers // patch**2)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(B, -1, rows * patch, N // rows * patch)


def modulate(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """The layer norm of h (B, N, width), scaled and shifted, (B, width) each: adaLN of Peebles and Xie 2023, section 3.2."""
    return nn.functional.layer_norm(h, h.shape[-1:]) * (1 + scale[:, None]) + shift[:, None]


class Modulation(NamedTuple):
    """The shift and scale of the input of attention or of an MLP, and the gate of its output, each (B, width)."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class ModulationLayer(nn.Linear):
    """An embedding (B, width) to the modulations of attention and of the MLP: adaLN-Zero of Peebles and Xie 2023.

    Its parameters are initialised to 0. All gates are then 0, and a block is the identity.
    """

    def __init__(self, width: int):
        super().__init__(validate.at_least("width", width, 1), 6 * width)
        zero(self)

    def forward(self, emb: Tensor) -> tuple[Modulation, Modulation]:
        parts = super().forward(emb).chunk(6, 1)
        return Modulation(*parts[:3]), Modulation(*parts[3:])


class Stream(nn.Module):
    """The layers of one modality in a block, for tokens h (B, N, width). Queries and keys are normalised.

    Esser et al. 2024, figure 2b and section 5.3.2.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = validate.divides("heads", heads, "width", validate.at_least("width", width, 1))
        self.modulation = ModulationLayer(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def queries_keys_values(self, h: Tensor, mod: Modulation) -> Heads:
        """Queries, keys and values of tokens h (B, N, width), each (B, heads, N, width / heads)."""
        return self.split(modulate(h, mod.shift, mod.scale))

    def split(self, h: Tensor) -> Heads:
        """Queries, keys and values of tokens h (B, N, width) as they are, each (B, heads, N, width / heads)."""
        B, N, width = h.shape
        q, k, v = self.qkv(h).view(B, N, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.query_norm(q), self.key_norm(k), v

    def add_attention(self, h: Tensor, attended: Tensor, mod: Modulation) -> Tensor:
        """h (B, N, width) + the projection of the attended values (B, heads, N, d), gated."""
        return h + mod.gate[:, None] * self.out(attended.transpose(1, 2).flatten(2))

    def add_mlp(self, h: Tensor, mod: Modulation) -> Tensor:
        """h (B, N, width) + the MLP of h, gated."""
        return h + mod.gate[:, None] * self.mlp(modulate(h, mod.shift, mod.scale))


class DiTBlock(Stream):
    """One block of a DiT with adaLN-Zero: h (B, N, width) and an embedding (B, width) to (B, N, width).

    Peebles and Xie 2023, figure 3 and section 3.2; the normalised queries and keys are those of Stream.
    """

    def weights(self, h: Tensor, emb: Tensor) -> Tensor:
        """The attention weights (B, heads, N, N) of all tokens; each row sums to 1."""
        q, k, _ = self.queries_keys_values(h, self.modulation(emb)[0])
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)

    def attention(self, h: Tensor) -> Tensor:
        """Multi-head self-attention of tokens h (B, N, width), projected: (B, N, width)."""
        return self.out(scaled_dot_product_attention(*self.split(h)).transpose(1, 2).flatten(2))

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        attn, mlp = self.modulation(emb)
        h = h + attn.gate[:, None] * self.attention(modulate(h, attn.shift, attn.scale))
        return self.add_mlp(h, mlp)


class DiT(nn.Module):
    """net(x, time, cond) for pictures x (B, channels, size, size), time (B,) in [0, 1], cond (B,) of `as_condition`: x's shape.

    Each patch is a token (width,), to which the sines and cosines of its place are added. `depth` blocks follow, then a
    modulated layer norm and a linear layer. Time and class are embedded and added; each block has its modulation of them.
    Peebles and Xie 2023, section 3.2.
    """

    position: Tensor

    def __init__(
        self,
        size: int = 16,
        channels: int = 1,
        patch: int = 2,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        classes: int = 10,
    ):
        super().__init__()
        validate.sizes(channels=channels, depth=depth)
        validate.multiple("width", width, 4)
        validate.divides("patch", patch, "size", validate.at_least("size", size, 1))
        self.shape, self.patch, self.rows = (channels, size, size), patch, size // patch
        self.time, self.label = TimeEmbedding(width), LabelEmbedding(classes, width)
        self.as_condition = self.label.as_condition
        self.inward = nn.Linear(channels * patch**2, width)
        position = sincos_2d(width, self.rows).flatten(1).T.contiguous().to(torch.empty(0))
        self.register_buffer("position", position, persistent=False)
        self.blocks = nn.ModuleList([DiTBlock(width, heads) for _ in range(depth)])
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.outward = zero(nn.Linear(width, channels * patch**2))

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        validate.shape("x", x, *self.shape)
        return self.run(x, silu(self.time(time) + self.label(validate.shape("cond", cond))))

    def run(self, x: Tensor, emb: Tensor, after: Callable[[int, Tensor], Tensor] = lambda block, h: h) -> Tensor:
        """The output for x, given the embedding of time and class (B, width). `after(block, h)` maps each block's output."""
        h = self.inward(patchify(x, self.patch)) + self.position
        for i, block in enumerate(self.blocks):
            h = after(i, block(h, emb))
        h = self.outward(modulate(h, *self.modulation(emb).chunk(2, 1)))
        return unpatchify(h, self.patch, self.rows)
