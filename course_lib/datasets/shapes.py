"""Pictures of shapes, drawn as they are needed: one to four objects on black, with smooth edges, and nothing by chance but
where each lies and how large it is within its class.

    scene = scenes.sample(64, rng)
    pictures = shapes.draw(scene, rng)       # (64, 3, 32, 32)
    captions, asked = captions.tell(scene, rng)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate
from course_lib.datasets.scenes import COLOURS, MOST, PLACES, SHAPES, Scene

SIDE = 32
"""Pixels of a picture, the unit of every length here."""
RGB = {"red": "D55E00", "yellow": "F0E442", "green": "009E73", "blue": "0072B2", "pink": "CC79A7", "white": "FFFFFF"}
"""Okabe and Ito's colours (2008), told apart by people with any kind of colour vision, and white."""
RADIUS = ((3.2, 3.8), (5.2, 5.8))
"""Of small and of large objects, in pixels: from, to."""
REACH = 1.25
"""How far an object's corners lie from its centre, in radii."""
MARGIN = 0.3
"""Pixels that an object keeps from the border and from what is not its own half or quarter of the picture."""
PAINT = torch.tensor([[int(RGB[name][i : i + 2], 16) / 127.5 - 1 for i in (0, 2, 4)] for name in COLOURS])
QUARTERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])  # in the order of PLACES


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the objects lie: centres x (to the right) and y (down) from the picture's middle, and radii; each (B, MOST), in
    pixels of a picture of SIDE. To crop or to shift a picture, move its layout."""

    x: Tensor
    y: Tensor
    radius: Tensor


def layout(scene: Scene, rng: torch.Generator | None = None) -> Layout:
    """A random place for each object that makes the scene true: each of a pair in its own half, each of many in its own
    quarter, one alone in a quarter or within two pixels of the middle, in both directions."""
    B = len(scene)
    u, v, w = torch.rand(3, B, MOST, generator=rng)
    low, high = torch.tensor(RADIUS).unbind(1)
    size = scene.size.clamp(min=0)
    radius = low[size] + (high - low)[size] * w
    near, far = REACH * radius + MARGIN, SIDE / 2 - REACH * radius - MARGIN  # of the centre from the middle
    away, off = near + (far - near) * u, near + (far - near) * v
    quarter = torch.rand(B, MOST, generator=rng).argsort(1)
    alone = scene.place[:, None]
    quarter = torch.where((alone >= 0) & (alone < 4), alone, quarter)
    x, y = QUARTERS[quarter].unbind(2)
    x, y = x * away, y * off
    middle = alone == PLACES.index("middle")
    x, y = torch.where(middle, 4 * u - 2, x), torch.where(middle, 4 * v - 2, y)
    along, across = away * torch.tensor([-1.0, 1.0, 1.0, 1.0]), 7 * v - 3.5
    beside, above = scene.relation[:, None] == 0, scene.relation[:, None] == 1
    x, y = torch.where(beside, along, x), torch.where(beside, across, y)
    return Layout(torch.where(above, across, x), torch.where(above, along, y), radius)


def draw(scene: Scene, rng: torch.Generator | None = None, side: int = SIDE) -> Tensor:
    """Pictures (B, 3, side, side) in [-1, 1] of the scenes, each with a layout of its own."""
    return paint(scene, layout(scene, rng), side)


def paint(scene: Scene, where: Layout, side: int = SIDE) -> Tensor:
    """Pictures (B, 3, side, side) in [-1, 1] of the scenes in this layout, the same at any `side` but for their pixels."""
    pixels = torch.full((len(scene), 3, side, side), -1.0)
    for of, cover in masks(scene, where, validate.at_least("side", side, 1)):
        pixels[of[0]] += cover[:, None] * (PAINT[scene.colour[of]] + 1)[:, :, None, None]
    return pixels.clamp_(-1, 1)


def masks(scene: Scene, where: Layout, side: int = SIDE) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Yields ((b, k), cover) for some n objects at a time: that of number k in scene b, (n,) each, and how much of each pixel
    it covers, (n, side, side) in [0, 1]: the distance of the pixel's middle to the edge, cut off half a pixel to either side.
    """
    at = (torch.arange(side) + 0.5) * SIDE / side - SIDE / 2
    for i in range(len(SHAPES)):
        for k in range(MOST):  # one object of a scene at a time, so that each scene is in a batch once
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
    """How far a point lies beyond each of n lines around the centre, `depth` radii from it, the first below it."""
    normals = [(math.sin(2 * math.pi * k / n), math.cos(2 * math.pi * k / n)) for k in range(n)]
    return lambda x, y, r: [torch.addcmul(b * y - depth * r, x, torch.tensor(a)) for a, b in normals]


_three, _five = _half_planes(3, REACH / 2), _half_planes(5, REACH * math.cos(math.radians(72)))


def _triangle(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """Inside of all three lines."""
    a, b, c = _three(x, y, r)
    return torch.maximum(torch.maximum(a, b), c)


def _star(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """Inside of at least four of five lines: the second largest distance counts."""
    first, *rest = _five(x, y, r)
    second = torch.full_like(first, -math.inf)
    for line in rest:
        second = torch.maximum(second, torch.minimum(first, line))
        first = torch.maximum(first, line)
    return second


OUTSIDE = (_circle, _square, _triangle, _star)
"""For each of SHAPES, how far outside of its edge a point lies, negative inside: (x, y, radius) from the centre, in pixels."""
