"""The U-Net: an encoder that downsamples, a decoder that upsamples, and skip connections between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention, silu

from course_lib import validate
from course_lib.nets.embeddings import KINDS, LabelEmbedding, TimeEmbedding, TwoTimes

Layer = TypeVar("Layer", bound=nn.Module)


def norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """A group normalisation layer with groups of 8 channels (Wu and He 2018)."""
    groups = max(1, validate.at_least("channels", channels, 1) // 8)
    return nn.GroupNorm(groups, validate.multiple("channels", channels, groups), affine=affine)


def heads_of(channels: int) -> int:
    """The number of attention heads for a map of so many channels: of 32 each, or the next larger size that divides them.

    It is at least one, so that narrow networks, too, have the attention that they are asked for.
    """
    return next(heads for heads in range(max(1, channels // 32), 0, -1) if channels % heads == 0)


class Attention(nn.Module):
    """h + multi-head self-attention over the places of a map h (B, C, H, W). Vaswani et al. 2017, eq. 1."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = validate.divides("heads", heads, "channels", validate.at_least("channels", channels, 1))
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def queries_keys_values(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of all places, each (B, heads, H * W, C / heads)."""
        B, C, H, W = h.shape
        q, k, v = self.qkv(self.norm(h)).view(B, 3, self.heads, C // self.heads, H * W).transpose(-1, -2).unbind(1)
        return q, k, v

    def weights(self, h: Tensor) -> Tensor:
        """The attention weights (B, heads, H * W, H * W), the softmax of eq. 1; each row sums to 1."""
        q, k, _ = self.queries_keys_values(h)
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)

    def forward(self, h: Tensor) -> Tensor:
        attended = scaled_dot_product_attention(*self.queries_keys_values(h))  # (B, heads, H * W, C / heads)
        return h + self.out(attended.transpose(-1, -2).reshape(h.shape))


def zero(layer: Layer) -> Layer:
    """`layer` with all parameters 0, so that a residual branch that ends in it initially adds 0 (Goyal et al. 2017)."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class Block(nn.Module):
    """A residual block (B, C_in, H, W) to (B, C_out, H, W), followed by self-attention if `heads` is not 0.

    The embedding of time and class enters by `modulation`: with 'norm' it shifts and scales the output of the second norm
    (adaptive group normalisation, Dhariwal and Nichol 2021, eq. 3), with 'add' it is added after the first convolution (Ho et
    al. 2020).
    """

    def __init__(self, inward: int, outward: int, emb: int, heads: int = 0, modulation: str = "norm"):
        super().__init__()
        validate.sizes(inward=inward, outward=outward, emb=emb)
        validate.at_least("heads", heads, 0)
        self.adaptive = validate.choice("modulation", modulation, ("norm", "add")) == "norm"
        self.norm1, self.conv1 = norm(inward), nn.Conv2d(inward, outward, 3, padding=1)
        self.modulate = nn.Linear(emb, outward * (1 + self.adaptive))
        self.norm2, self.conv2 = norm(outward, affine=not self.adaptive), zero(nn.Conv2d(outward, outward, 3, padding=1))
        self.skip = nn.Identity() if inward == outward else nn.Conv2d(inward, outward, 1)
        self.attention = Attention(outward, heads) if heads else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        modulation = self.modulate(emb)[:, :, None, None]
        if self.adaptive:
            shift, scale = modulation.chunk(2, 1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + modulation)
        return self.attention(self.skip(x) + self.conv2(silu(h)))


def check_widths(widths: Sequence[int]) -> None:
    """Raises TypeError or ValueError unless `widths` are one or more multiples of 8, the channels at each resolution."""
    for width in validate.filled("widths", widths):
        validate.multiple("widths", width, 8)


class UNet(nn.Module):
    """net(x, time, cond) for pictures x (B, C, size, size), time (B,) in [0, 1], cond (B,) from `as_condition`: x's shape.

    `widths` are the channels at each resolution: the first is size / patch, and each next is half the one before. Each has
    `depth` blocks; the `attn` coarsest have self-attention (`heads_of` their channels). `time` is the `kind` of TimeEmbedding,
    `modulation` that of Block. Ho et al. 2020, appendix B, with the blocks of Dhariwal and Nichol 2021. Blocks are named by
    resolution, `net.encoder["8x8_block0"]`, so that a hook can address them. With `classes` = 0 it is unconditional. With
    `guided` it takes the guidance weight w (B,) as a further input, embedded as time is and initialised to have no effect (Meng
    et al. 2023).
    """

    def __init__(
        self,
        size: int = 16,
        channels: int = 1,
        widths: tuple[int, ...] = (16, 32, 64),
        depth: int = 1,
        classes: int = 10,
        patch: int = 1,
        attn: int = 1,
        dim: int = 128,
        time: str = "sinusoidal",
        modulation: str = "norm",
        guided: bool = False,
    ):
        super().__init__()
        validate.sizes(channels=channels, depth=depth, patch=patch)
        validate.at_least("classes", classes, 0)
        validate.at_least("attn", attn, 0)
        check_widths(widths)
        validate.multiple("size", size, patch << len(widths) - 1)
        if guided and not classes:
            raise ValueError("guided must be False where classes is 0: there is nothing to guide towards")
        validate.choice("time", time, KINDS)
        self.patch, self.shape = patch, (channels, size, size)
        self.time: TimeEmbedding | TwoTimes = TimeEmbedding(dim, time)
        self.guidance = TimeEmbedding(dim, time) if guided else None
        if self.guidance is not None:
            zero(self.guidance.mlp[-1])
        if classes:
            self.label = LabelEmbedding(classes, dim)
            self.as_condition = self.label.as_condition
        size, now = size // patch, widths[0]
        self.inward = nn.Conv2d(channels * patch**2, now, 3, padding=1)
        self.encoder, self.decoder, skips = nn.ModuleDict(), nn.ModuleDict(), []
        for level, width in enumerate(widths):
            at = f"{size >> level}x{size >> level}"
            heads = heads_of(width) if level >= len(widths) - attn else 0
            if level:
                self.encoder[f"{at}_down"] = nn.Conv2d(now, width, 3, 2, padding=1)
                now = width
            for i in range(depth):
                self.encoder[f"{at}_block{i}"] = Block(now, width, dim, heads, modulation)
                now = width
                skips.append(width)
        for level, width in reversed(list(enumerate(widths))):
            at = f"{size >> level}x{size >> level}"
            heads = heads_of(width) if level >= len(widths) - attn else 0
            for i in range(depth):
                self.decoder[f"{at}_block{i}"] = Block(now + skips.pop(), width, dim, heads, modulation)
                now = width
            if level:
                self.decoder[f"{at}_up"] = nn.ConvTranspose2d(width, widths[level - 1], 2, 2)
                now = widths[level - 1]
        self.outward = nn.Sequential(norm(now), nn.SiLU(), zero(nn.Conv2d(now, channels * patch**2, 3, padding=1)))

    def forward(self, x: Tensor, time: Tensor, cond: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        validate.shape("x", x, *self.shape)
        emb = self.time(time)
        if hasattr(self, "label"):
            emb = emb + self.label(validate.shape("cond", cast(Tensor, cond)))
        return self.run(x, silu(self.add_guidance(emb, w)))

    def add_guidance(self, emb: Tensor, w: Tensor | None) -> Tensor:
        """emb (B, dim) plus the embedding of the guidance weight w (B,), if the net takes it. Raises ValueError without w."""
        if self.guidance is None:
            return emb
        if w is None:
            raise ValueError("w must be given to a network that takes guidance as an input, got None")
        return emb + self.guidance(w / 100)

    def run(
        self,
        x: Tensor,
        emb: Tensor,
        after: Callable[[str, Tensor], Tensor] = lambda name, h: h,
        skip: Callable[[str, Tensor], Tensor] = lambda name, h: h,
    ) -> Tensor:
        """The output for x, given the embedding of time and condition (B, dim).

        `after(name, h)` maps each block's output; `skip(name, h)` maps what the encoder's block passes to the decoder's.
        """
        h, skips = self.inward(pixel_unshuffle(x, self.patch)), []
        for name, layer in self.encoder.items():
            if isinstance(layer, Block):
                h = after(f"encoder_{name}", layer(h, emb))
                skips.append(skip(name, h))
            else:
                h = layer(h)
        for name, layer in self.decoder.items():
            if isinstance(layer, Block):
                h = after(f"decoder_{name}", layer(torch.cat([h, skips.pop()], 1), emb))
            else:
                h = layer(h)
        return pixel_shuffle(self.outward(h), self.patch)
