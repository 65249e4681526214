"""Cross-attention: how words enter a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from course_lib.nets.unet import norm, zero


def cross_attention(q: Tensor, k: Tensor, v: Tensor, there: Tensor) -> Tensor:
    """What each query gathers from the values whose keys answer it: softmax(q k^T / sqrt(d)) v. Vaswani et al. 2017, eq. 1.

    q (B, heads, P, d), k and v (B, heads, L, d), there (B, L), False for keys that must not be looked at: (B, heads, P, d).
    """
    return scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None, :])


def waves_of_places(channels: int, side: int) -> Tensor:
    """(channels, side, side): each place of a map as sines and cosines of its column and of its row, at ever shorter waves.

    The longest is twice the map's side, so that left and right, above and below are far apart. Vaswani et al. 2017, section
    3.5, in two dimensions.
    """
    line = (torch.arange(side) + 0.5) / side - 0.5
    angle = torch.pi * torch.arange(1, channels // 4 + 1)[:, None] * line  # (channels / 4, side)
    along = torch.cat([angle.sin(), angle.cos()])
    column, row = along[:, None, :].expand(-1, side, -1), along[:, :, None].expand(-1, -1, side)
    return torch.cat([column, row])


class CrossAttention(nn.Module):
    """h + what each place of a map h (B, C, H, W) gathers from the words (B, L, dim) of which `there` (B, L) are real.

    The queries come from the picture, keys and values from the text. Rombach et al. 2022, section 3.3. A vector for each of the
    side x side places lets a query say where it stands: "left of" means nothing to a convolution.
    """

    def __init__(self, channels: int, dim: int, heads: int, side: int):
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        self.position = nn.Parameter(waves_of_places(channels, side))
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Linear(dim, 2 * channels)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def queries_keys_values(self, h: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each place asks (B, heads, H * W, C / heads), and what each word offers and says (B, heads, L, C / heads)."""
        (B, C, *_), L = h.shape, words.shape[1]
        q = self.query(self.norm(h) + self.position).view(B, self.heads, C // self.heads, -1).transpose(-1, -2)
        k, v = self.key_value(words).view(B, L, 2, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def weights(self, h: Tensor, words: Tensor, there: Tensor) -> Tensor:
        """How much each place takes from each word, (B, heads, H * W, L), rows summing to 1."""
        q, k, _ = self.queries_keys_values(h, words)
        looks = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return looks.masked_fill(~there[:, None, None, :], -torch.inf).softmax(-1)

    def forward(self, h: Tensor, words: Tensor, there: Tensor) -> Tensor:
        gathered = cross_attention(*self.queries_keys_values(h, words), there)
        return h + self.out(gathered.transpose(-1, -2).reshape(h.shape))
