"""Cross-attention, by which a caption conditions a U-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from course_lib import validate
from course_lib.nets.unet import norm, zero


def cross_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The attended values, softmax(q k^T / sqrt(d)) v: (B, heads, P, d). Vaswani et al. 2017, eq. 1.

    q (B, heads, P, d), k and v (B, heads, L, d); mask (B, L) is False for keys that are left out.
    """
    return scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])


def sincos_2d(channels: int, side: int) -> Tensor:
    """Positional encodings of a map (channels, side, side): sines and cosines of the column and of the row.

    The longest wavelength is twice the side, so that opposite sides differ most. Vaswani et al. 2017, section 3.5, in two
    dimensions.
    """
    validate.sizes(side=side)
    validate.multiple("channels", channels, 4)
    line = (torch.arange(side, device="cpu", dtype=torch.float32) + 0.5) / side - 0.5
    wave = torch.arange(1, channels // 4 + 1, device="cpu", dtype=torch.float32)
    angle = torch.pi * wave[:, None] * line  # (channels / 4, side)
    encoding = torch.cat([angle.sin(), angle.cos()])
    column, row = encoding[:, None, :].expand(-1, side, -1), encoding[:, :, None].expand(-1, -1, side)
    return torch.cat([column, row])


class CrossAttention(nn.Module):
    """h + cross-attention from a map h (B, C, H, W) to words (B, L, dim); `mask` (B, L) is False for padding.

    Queries come from the map, keys and values from the text. Rombach et al. 2022, section 3.3. A learned vector for each of the
    side x side places is added to the queries, since "left of" depends on position and a convolution does not.
    """

    def __init__(self, channels: int, dim: int, heads: int, side: int):
        super().__init__()
        validate.sizes(dim=dim)
        self.heads = validate.divides("heads", heads, "channels", validate.at_least("channels", channels, 1))
        self.norm = norm(channels)
        self.position = nn.Parameter(sincos_2d(channels, side).to(torch.empty(0)))  # of torch's default type, as all parameters
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Linear(dim, 2 * channels)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def queries_keys_values(self, h: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the places (B, heads, H * W, C / heads), keys and values of the words (B, heads, L, C / heads)."""
        (B, C, *_), L = h.shape, words.shape[1]
        q = self.query(self.norm(h) + self.position).view(B, self.heads, C // self.heads, -1).transpose(-1, -2)
        k, v = self.key_value(words).view(B, L, 2, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def weights(self, h: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """The attention weights (B, heads, H * W, L); each row sums to 1."""
        q, k, _ = self.queries_keys_values(h, words)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1)

    def forward(self, h: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        attended = cross_attention(*self.queries_keys_values(h, words), mask)
        return h + self.out(attended.transpose(-1, -2).reshape(h.shape))
