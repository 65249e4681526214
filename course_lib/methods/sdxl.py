"""SDXL in miniature: training pictures of low resolution or cropped, and a refiner for the last steps.

Podell et al. 2023, SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from course_lib import validate
from course_lib.datasets import shapes
from course_lib.datasets.scenes import Scene
from course_lib.datasets.shapes import SIDE
from course_lib.denoisers import Denoiser, Network, part_of
from course_lib.prediction import Prediction
from course_lib.process import Process, Time, rand, randint
from course_lib.training import denoising_loss

SIDES = (8, 16)
"""The sides in pixels of low-resolution training pictures."""
MAX_CUT = 12
"""The maximal crop in pixels, at the top and at the left."""


def crop_and_shrink(
    scene: Scene, rng: torch.Generator | None = None, small: float = 0.5, cut: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, 32, 32) of scenes with random low resolution and crops, and their micro-conditions, micro (B, 3).

    A fraction `small` of them has a side from SIDES and is upsampled; a fraction `cut` is cropped at the top and at the left.
    Micro is the original side and the pixels cropped at the top and at the left.
    """
    validate.finite("small", small, 0, 1)
    validate.finite("cut", cut, 0, 1)
    B, where = len(validate.instance("scene", scene, Scene)), shapes.layout(scene, rng)
    u, v = rand(2, B, rng=rng)
    side = torch.where(u < small, torch.tensor(SIDES, device="cpu", dtype=torch.long)[randint(0, len(SIDES), B, rng=rng)], SIDE)
    crop = randint(1, MAX_CUT + 1, B, 2, rng=rng) * (v < cut)[:, None]
    x = shapes.paint(scene, replace(where, x=where.x - crop[:, 1:], y=where.y - crop[:, :1]))
    for s in SIDES:
        x[side == s] = downscale(x[side == s], s)
    return x, torch.cat([side[:, None], crop], 1)


def as_found(x: Tensor, rng: torch.Generator | None = None, small: float = 0.5, cut: float = 0.5) -> tuple[Tensor, Tensor]:
    """Square pictures x (B, C, S, S) in [-1, 1] with random low resolution and crops, (B, C, S, S), and micro (B, 3).

    A fraction `small` has a side of S / 4 or S / 2 before it is upsampled; a fraction `cut` loses 1 to 3 S / 8 pixels at the
    top and as many or others at the left, and black moves in from below and from the right. Micro is the side before
    upsampling and the pixels cropped at the top and at the left, in pixels of x. S is a multiple of 8.
    """
    validate.finite("small", small, 0, 1)
    validate.finite("cut", cut, 0, 1)
    validate.sides("x", validate.batch("x", x), 8)
    B, S = len(x), x.shape[-1]
    if x.shape[-2] != S:
        raise ValueError(f"x must be square pictures, got shape {tuple(x.shape)}")
    u, v = rand(2, B, rng=rng)
    side = torch.where(u < small, torch.tensor((S // 4, S // 2), device="cpu", dtype=torch.long)[randint(0, 2, B, rng=rng)], S)
    crop = randint(1, 3 * S // 8 + 1, B, 2, rng=rng) * (v < cut)[:, None]
    x = crop_pictures(x, crop[:, 0], crop[:, 1])
    for s in (S // 4, S // 2):
        x[side == s] = downscale(x[side == s], s)
    return x, torch.cat([side[:, None], crop], 1)


def crop_pictures(x: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Pictures x (B, C, H, W) in [-1, 1] without `top` (B,) rows and `left` (B,) columns, of the same size: black moves in.

    `top` and `left` are whole numbers from 0 to H and to W. Podell et al. 2023, Algorithm 1.
    """
    B, C, H, W = validate.batch("x", x, "C", "H", "W").shape
    for name, value, most in (("top", top, H), ("left", left, W)):
        if validate.shape(name, value).is_floating_point() or len(value) != B or (value < 0).any() or (value > most).any():
            raise ValueError(f"{name} must be {B} whole numbers from 0 to {most}, got {value.tolist()}")
    rows, columns = (
        start.to(x.device)[:, None] + torch.arange(size, device=x.device, dtype=torch.long)
        for start, size in ((top, H), (left, W))
    )
    every = torch.arange(B, device=x.device, dtype=torch.long)[:, None, None]
    return pad(x, (0, W, 0, H), value=-1.0).movedim(1, -1)[every, rows[:, :, None], columns[:, None]].movedim(-1, 1)


def downscale(x: Tensor, side: int) -> Tensor:
    """Pictures x (B, C, H, W), downsampled to side x side and upsampled again, both by nearest neighbours.

    Smooth upsampling would not do: an autoencoder trained on sharp pictures sharpens blurred ones.
    """
    validate.sizes(side=side)
    validate.shape("x", x, "C", "H", "W")
    return interpolate(interpolate(x, size=(side, side), mode="nearest-exact"), size=x.shape[2:], mode="nearest-exact")


@dataclass(frozen=True, eq=False)
class ExpertSwitch:
    """The denoiser `first` at times above `at`, and `last` below: a refiner, an expert for low noise levels.

    Podell et al. 2023, section 2.5; Balaji et al. 2022 (eDiff-I). Times are numbers. Raises ValueError for two processes with
    different times.
    """

    first: Denoiser
    last: Denoiser
    at: float = 200

    def __post_init__(self):
        validate.finite("at", self.at)
        T, last = validate.instance("first", self.first, Denoiser).process.T, validate.instance("last", self.last, Denoiser)
        if last.process.T != T:
            raise ValueError(f"last must have the process of first, with T = {T}, got T = {last.process.T}")

    @property
    def process(self) -> Process:
        return self.first.process

    def part(self, index: slice) -> ExpertSwitch:
        """The same switch for some of a batch."""
        return replace(self, first=part_of(self.first, index), last=part_of(self.last, index))

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        return self.first(x_t, t) if t > self.at else self.last(x_t, t)


def refiner_loss(denoiser: Network, x0: Tensor, last: int = 200, rng: torch.Generator | None = None) -> Tensor:
    """The denoising loss () of pictures or latents x0 (B, ...) at times 1..last only. Podell et al. 2023, section 2.5."""
    validate.at_least("last", last, 1, int(validate.instance("denoiser", denoiser, Denoiser).process.T))
    validate.batch("x0", x0)
    return denoising_loss(denoiser, x0, rng, randint(1, last + 1, len(x0), rng=rng))


def border(x: Tensor) -> Tensor:
    """Which pictures (B, 3, H, W) have an object at the border (B,): a border pixel that is more than half covered."""
    bright = validate.batch("x", x, "C", "H", "W").amax(1)
    edge = torch.stack([part.amax(1) for part in (bright[:, 0], bright[:, -1], bright[:, :, 0], bright[:, :, -1])])
    return edge.amax(0) > 0


def high_frequency_detail(x: Tensor) -> Tensor:
    """The root mean square (B,) of the detail of pictures (B, 3, H, W) within 2 x 2 pixels: 0 for upsampled pictures.

    Raises ValueError for an odd side.
    """
    validate.sides("x", validate.batch("x", x), 2)
    return (x - interpolate(avg_pool2d(x, 2), scale_factor=2.0, mode="nearest")).square().mean((1, 2, 3)).sqrt()
