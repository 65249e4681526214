"""Synthetic pictures of scenes: one to four objects on black, with antialiased edges and random positions and radii.

scene = scenes.sample(64, rng)
pictures = shapes.draw(scene, rng)       # (64, 3, 32, 32)
prompts, wanted = captions.tell(scene, rng)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib import validate
from course_lib.datasets.scenes import COLOURS, MAX_OBJECTS, PLACES, SHAPES, Scene
from course_lib.process import rand

SIDE = 32
"""The side of a picture in pixels, the unit of all lengths here."""
RGB = {"red": "D55E00", "yellow": "F0E442", "green": "009E73", "blue": "0072B2", "pink": "CC79A7", "white": "FFFFFF"}
"""Okabe and Ito's colours (2008), distinguishable with any colour vision, and white."""
RADIUS = ((3.2, 3.8), (5.2, 5.8))
"""The ranges of the radius of small and of large objects, in pixels."""
REACH = 1.25
"""The distance of an object's corners from its centre, in radii."""
MARGIN = 0.3
"""The smallest distance, in pixels, of an object from the border and from the edge of its half or quarter of the picture."""
FLOAT: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}
"""Where pictures are drawn, and their type, whatever torch's defaults are."""
PAINT = torch.tensor([[int(RGB[name][i : i + 2], 16) / 127.5 - 1 for i in (0, 2, 4)] for name in COLOURS], **FLOAT)
QUARTERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]], **FLOAT)  # in the order of PLACES


@dataclass(frozen=True, eq=False)
class Layout:
    """The objects' centres x (to the right) and y (down) from the middle, and radii, each (B, MAX_OBJECTS), in pixels.

    To crop or to shift a picture, shift its layout.
    """

    x: Tensor
    y: Tensor
    radius: Tensor

    def __post_init__(self):
        for name, value in vars(self).items():
            validate.same_shape(name, validate.shape(name, value, MAX_OBJECTS), "x", self.x)


def layout(scene: Scene, rng: torch.Generator | None = None) -> Layout:
    """A random layout that agrees with the scene.

    Each object of a pair is in its half, each of several in its quarter. A single one is in a quarter, or at most two pixels
    from the middle in each coordinate. Raises ValueError where an object has no size, or a single one no place: those of what
    a caption says are drawn at random by `scenes.complete`.
    """
    B = len(validate.instance("scene", scene, Scene))
    _must_be_drawn("size", (scene.shape >= 0) & (scene.size < 0))
    _must_be_drawn("place", (scene.count == 1) & (scene.relation < 0) & (scene.place < 0))
    u, v, w = rand(3, B, MAX_OBJECTS, rng=rng)
    low, high = torch.tensor(RADIUS, **FLOAT).unbind(1)
    size = scene.size.clamp(min=0)  # of no object, where it is NONE
    radius = low[size] + (high - low)[size] * w
    near, far = REACH * radius + MARGIN, SIDE / 2 - REACH * radius - MARGIN  # of the centre from the middle
    from_x, from_y = near + (far - near) * u, near + (far - near) * v
    quarter = rand(B, MAX_OBJECTS, rng=rng).argsort(1)
    place = scene.place[:, None]
    quarter = torch.where((place >= 0) & (place < 4), place, quarter)
    x, y = QUARTERS[quarter].unbind(2)
    x, y = x * from_x, y * from_y
    middle = place == PLACES.index("middle")
    x, y = torch.where(middle, 4 * u - 2, x), torch.where(middle, 4 * v - 2, y)
    along, across = from_x * torch.tensor([-1.0, 1.0, 1.0, 1.0], **FLOAT), 7 * v - 3.5
    left_of, above = scene.relation[:, None] == 0, scene.relation[:, None] == 1
    x, y = torch.where(left_of, along, x), torch.where(left_of, across, y)
    return Layout(torch.where(above, across, x), torch.where(above, along, y), radius)


def _must_be_drawn(name: str, missing: Tensor) -> None:
    if missing.any():
        raise ValueError(
            f"scene must have the {name} of each object that is drawn, got NONE for {int(missing.sum())}: see complete"
        )


def draw(scene: Scene, rng: torch.Generator | None = None, side: int = SIDE) -> Tensor:
    """Pictures (B, 3, side, side) in [-1, 1] of the scenes, each with a random layout; raises ValueError as `layout` does."""
    return paint(scene, layout(scene, rng), side)


def paint(scene: Scene, where: Layout, side: int = SIDE) -> Tensor:
    """Pictures (B, 3, side, side) in [-1, 1] of the scenes in this layout; `side` is only the resolution."""
    validate.sizes(side=side)
    _must_be_drawn("colour", (validate.instance("scene", scene, Scene).shape >= 0) & (scene.colour < 0))
    pixels = torch.full((len(scene), 3, side, side), -1.0, **FLOAT)
    for index, cover in masks(scene, where, side):
        pixels[index[0]] += cover[:, None] * (PAINT[scene.colour[index]] + 1)[:, :, None, None]
    return pixels.clamp_(-1, 1)


def masks(scene: Scene, where: Layout, side: int = SIDE) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Yields ((b, k), cover) for n objects at a time: their scenes b and their columns k (n,), and their masks (n, side, side).

    A mask is the fraction in [0, 1] of each pixel that the object covers, from the signed distance of the pixel's centre.
    """
    validate.same_shape(
        "where", validate.instance("where", where, Layout).x, "scene", validate.instance("scene", scene, Scene).shape
    )
    at = (torch.arange(validate.at_least("side", side, 1), **FLOAT) + 0.5) * SIDE / side - SIDE / 2
    for i in range(len(SHAPES)):
        for k in range(MAX_OBJECTS):  # one object of a scene at a time, since `paint` adds each scene of a batch once
            b = (scene.shape[:, k] == i).nonzero().flatten()
            if len(b):
                x, y, radius = (part[b, k].view(-1, 1, 1) for part in (where.x, where.y, where.radius))
                distance = OUTSIDE[i](at.view(1, 1, -1) - x, at.view(1, -1, 1) - y, radius)
                yield (b, torch.full_like(b, k)), (0.5 - distance * (side / SIDE)).clamp_(0, 1)


def _circle(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    return (x.square() + y.square()).sqrt() - r


def _square(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - REACH / math.sqrt(2) * r


def _half_planes(n: int, depth: float) -> Callable[..., list[Tensor]]:
    """The signed distances of a point to n lines around the centre, `depth` radii from it; the first line is below it."""
    normals = [(math.sin(2 * math.pi * k / n), math.cos(2 * math.pi * k / n)) for k in range(n)]
    return lambda x, y, r: [torch.addcmul(b * y - depth * r, x, torch.tensor(a, **FLOAT)) for a, b in normals]


_three, _five = _half_planes(3, REACH / 2), _half_planes(5, REACH * math.cos(math.radians(72)))


def _triangle(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """The largest signed distance: a point is inside if it is inside all three lines."""
    a, b, c = _three(x, y, r)
    return torch.maximum(torch.maximum(a, b), c)


def _star(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """The second largest signed distance: a point is inside if it is inside at least four of five lines."""
    first, *rest = _five(x, y, r)
    second = torch.full_like(first, -math.inf)
    for line in rest:
        second = torch.maximum(second, torch.minimum(first, line))
        first = torch.maximum(first, line)
    return second


OUTSIDE = (_circle, _square, _triangle, _star)
"""For each of SHAPES, the signed distance of a point (x, y) to its edge, in pixels, negative inside; x, y from the centre."""
