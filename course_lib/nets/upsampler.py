"""A super-resolution U-Net, which is conditioned on a low-resolution picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from course_lib import validate
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.unet import UNet


class Upsampler(nn.Module):
    """net(x, time, cond) for pictures x (B, C, size, size), cond a picture of size / factor from `as_condition`: x's shape.

    The low-resolution picture is upsampled and concatenated to x as further channels (Ho et al. 2022, Cascaded Diffusion
    Models; Saharia et al. 2022, SR3). The level of its noise has an embedding, which is added to that of time. `unet`, another
    net(x, time, level) for pictures of 2 C channels, may replace the usual one.
    """

    def __init__(
        self,
        size: int = 32,
        factor: int = 2,
        channels: int = 1,
        widths=(16, 32, 64),
        patch: int = 2,
        dim: int = 96,
        unet: nn.Module | None = None,
    ):
        super().__init__()
        validate.sizes(channels=channels, patch=patch)
        validate.divides("factor", factor, "size", validate.at_least("size", size, 1))
        self.channels, self.factor, self.shape = channels, factor, (channels, size, size)
        self.low = (channels, size // factor, size // factor)
        self.unet = UNet(size, 2 * channels, widths, classes=0, patch=patch, dim=dim) if unet is None else unet
        validate.instance("unet", self.unet, nn.Module)
        if unet is None:
            self.unet.label = TimeEmbedding(dim)  # of the noise level of the low-resolution picture

    def as_condition(self, cond: Tensor | tuple[Tensor, Tensor | float]) -> Tensor:
        """One tensor (B, C + 1, h, w) of the low-resolution picture (B, C, h, w), or of a pair of it and its noise level.

        The level, a number or (B,), is the time of the noise as a fraction of T, 0 by default; it fills the last channel.
        Raises TypeError or ValueError for pictures of another size or levels outside [0, 1].
        """
        low, level = cond if isinstance(cond, tuple) else (cond, 0.0)
        if validate.batch("cond", low).shape[1:] != self.low:
            raise ValueError(f"cond must be (B, {', '.join(map(str, self.low))}), got shape {tuple(low.shape)}")
        if not isinstance(level, Tensor):
            level = torch.tensor(validate.finite("level", level), device="cpu", dtype=torch.float64)
        level = level.to(low.dtype).to(low.device)
        if not ((level >= 0) & (level <= 1)).all():
            raise ValueError(f"level must lie in [0, 1], got {float(level.min()):g} to {float(level.max()):g}")
        if level.shape not in ((), (1,), low.shape[:1]):
            raise ValueError(f"level must be one or one for each of {len(low)} pictures, got shape {tuple(level.shape)}")
        return torch.cat([low, level.view(-1, 1, 1, 1).expand(len(low), 1, *low.shape[2:])], 1)

    def forward(self, x: Tensor, time: Tensor, cond: Any) -> Tensor:
        low, level = cond.split((self.channels, 1), 1)
        enlarged = interpolate(low.to(x.dtype), scale_factor=self.factor, mode="bilinear", align_corners=False)
        return self.unet(torch.cat([x, enlarged], 1), time, level[:, 0, 0, 0])[:, : self.channels]
