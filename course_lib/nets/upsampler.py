"""A super-resolution U-Net, which is conditioned on a low-resolution picture."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from course_lib import validate
from course_lib.denoisers import NULL
from course_lib.nets.embeddings import LabelEmbedding, TimeEmbedding
from course_lib.nets.unet import UNet


class Upsampler(nn.Module):
    """net(x, time, cond) for pictures x (B, C, size, size), cond a picture of size / factor from `as_condition`: x's shape.

    The low-resolution picture is upsampled and concatenated to x as further channels (Ho et al. 2022, Cascaded Diffusion
    Models; Saharia et al. 2022, SR3). The level of its noise has an embedding, which is added to that of time, and so has the
    label where there are `classes`. `unet`, another net(x, time, level) for pictures of 2 C channels, may replace the usual
    one, without classes.
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
        classes: int = 0,
    ):
        super().__init__()
        validate.sizes(channels=channels, patch=patch)
        validate.at_least("classes", classes, 0, 0 if unet is not None else None)
        validate.divides("factor", factor, "size", validate.at_least("size", size, 1))
        self.channels, self.factor, self.shape = channels, factor, (channels, size, size)
        self.low = (channels, size // factor, size // factor)
        self.unet = UNet(size, 2 * channels, widths, classes=0, patch=patch, dim=dim) if unet is None else unet
        validate.instance("unet", self.unet, nn.Module)
        if unet is None:
            self.unet.label = TimeEmbedding(dim)  # of the noise level of the low-resolution picture
        self.label = LabelEmbedding(classes, dim) if classes else None

    def as_condition(self, cond: Any) -> Tensor:
        """One tensor (B, C + 1, h, w) of `low`, of (low, level) or of (low, level, label); with classes (B, C + 2, h, w).

        low (B, C, h, w) is the low-resolution picture. The level, a number or (B,), is the time of its noise as a fraction of
        T, 0 by default. The label is one, a row of labels (B,), or NULL, the default. Level and label fill a channel each.
        Raises TypeError or ValueError for pictures of another size, levels outside [0, 1], and labels that are not known.
        """
        given = cond if isinstance(cond, tuple) else (cond,)
        if not 1 <= len(given) <= 3:
            raise ValueError(f"cond must be a picture, (picture, level) or (picture, level, label), got {len(given)} parts")
        low, level, label = (*given, *(None, 0.0, NULL)[len(given) :])
        if validate.batch("cond", low).shape[1:] != self.low:
            raise ValueError(f"cond must be (B, {', '.join(map(str, self.low))}), got shape {tuple(low.shape)}")
        if not isinstance(level, Tensor):
            level = torch.tensor(validate.finite("level", level), device="cpu", dtype=torch.float64)
        if not ((level >= 0) & (level <= 1)).all():
            raise ValueError(f"level must lie in [0, 1], got {float(level.min()):g} to {float(level.max()):g}")
        channels = [low, _channel("level", level, low)]
        if self.label is not None:
            channels.append(_channel("label", self.label.as_condition(label), low))
        elif label is not NULL:
            raise TypeError(f"cond must have no label, since this upsampler has no classes, got {label!r}")
        return torch.cat(channels, 1)

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        low, (level, *label) = cond[:, : self.channels], cond[:, self.channels :, 0, 0].unbind(1)
        enlarged = interpolate(low.to(x.dtype), scale_factor=self.factor, mode="bilinear", align_corners=False)
        both = torch.cat([x, enlarged], 1)
        if self.label is None:
            return self.unet(both, time, level)[:, : self.channels]
        unet = cast(UNet, self.unet)
        emb = unet.time(time) + unet.label(level) + self.label(label[0].long())
        return unet.run(both, silu(emb))[:, : self.channels]


def _channel(name: str, values: Tensor, low: Tensor) -> Tensor:
    """One more channel (B, 1, h, w) for pictures low (B, C, h, w): values, one () or (1,), or one for each picture (B,)."""
    if values.shape not in ((), (1,), low.shape[:1]):
        raise ValueError(f"{name} must be one or one for each of {len(low)} pictures, got shape {tuple(values.shape)}")
    return values.to(low.dtype).to(low.device).view(-1, 1, 1, 1).expand(len(low), 1, *low.shape[2:])
