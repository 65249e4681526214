"""A new shape for lesson 27: crosses, which no shipped model was trained on, drawn, captioned and detected. Or a drawing.

A scene with crosses is a scene and a mask `cross` (B, MAX_OBJECTS): those of its stars that are drawn as crosses.

scene, cross = crosses.sample(64, rng)
where = shapes.layout(scene, rng)
pictures = crosses.paint(scene, cross, where)     # (64, 3, 32, 32)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

from course_lib import validate
from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import COLOURS, MAX_OBJECTS, NONE, PLACES, SHAPES, SIZES, Scene
from course_lib.datasets.shapes import FLOAT, PAINT, SIDE, Layout
from course_lib.methods.adapters import outline, overlap
from course_lib.nets.detector import SceneDetector, detection_loss
from course_lib.process import rand, seeded
from course_lib.training import TrainingState, train
from course_lib.zoo.recipes.shapes import BLUR, NOISE, degrade, shipped_detector

WORD = "cross"
STAR, TRIANGLE = SHAPES.index("star"), SHAPES.index("triangle")
FIVE = (
    ("red", "large", "middle"),
    ("yellow", "small", "top left"),
    ("blue", "large", "bottom right"),
    ("white", "small", "bottom left"),
    ("red", "small", "top right"),
)
"""Colour, size and place of the crosses in the five pictures; none is green or pink."""
HEART = """
............
.###....###.
#####..#####
############
############
############
.##########.
..########..
...######...
....####....
.....##.....
............
"""
"""The drawing that lesson 27 begins with, to be read by `drawing`."""


def sample(n: int, rng: torch.Generator | None = None, kinds: tuple[str, ...] = scenes.KINDS) -> tuple[Scene, Tensor]:
    """n random scenes of the training split, and which of their stars are crosses: each with probability 1/2."""
    scene = scenes.sample(n, rng, kinds)
    return scene, (scene.shape == STAR) & (rand(n, MAX_OBJECTS, rng=rng) < 0.5)


def single(colour: Tensor, size: Tensor, place: Tensor) -> Scene:
    """Scenes of one object, a star to be drawn as a cross: indices (B,) of its colour, size and place."""
    column = lambda v: torch.cat([v[:, None], torch.full_like(v[:, None], NONE).repeat(1, MAX_OBJECTS - 1)], 1)
    return Scene(column(torch.full_like(colour, STAR)), column(colour), column(size), place, torch.full_like(place, NONE))


def drawing(rows: str) -> Tensor:
    """A drawing (n, n) of 0 and 1 from n rows of n characters, `#` where it is 1 and `.` where it is 0.

    Raises ValueError where the rows are no such square, or nothing is drawn.
    """
    lines = validate.instance("rows", rows, str).split()
    if any(len(line) != len(lines) for line in lines) or set("".join(lines)) - set("#.") or "#" not in rows:
        raise ValueError(f"rows must be a square of `#` and `.`, with one `#` or more, got {' '.join(lines)!r}")
    return torch.tensor([[letter == "#" for letter in line] for line in lines], **FLOAT)


def five(seed: int = 5, drawn: Tensor | None = None) -> tuple[Scene, Tensor]:
    """The scenes of the five pictures, and the pictures (5, 3, 32, 32): of crosses, or of the shape `drawn` as in `paint`."""
    colour, size, place = (
        torch.tensor([names.index(row[i]) for row in FIVE], dtype=torch.long, device="cpu")
        for i, names in enumerate((COLOURS, SIZES, PLACES))
    )
    scene = single(colour, size, place)
    return scene, paint(scene, scene.shape == STAR, shapes.layout(scene, seeded(seed)), drawn)


def tell(scene: Scene, rng: torch.Generator | None = None, word: str = WORD) -> tuple[list[str], Scene]:
    """Random captions of scenes whose stars are all called `word`, and what they mention: as `captions.tell`."""
    prompts, mentioned = captions.tell(scene, rng)
    return [prompt.replace("star", word) for prompt in prompts], mentioned


def paint(scene: Scene, cross: Tensor, where: Layout, drawn: Tensor | None = None) -> Tensor:
    """Pictures (B, 3, 32, 32) in [-1, 1] of the scenes in this layout, the marked stars as crosses.

    With a drawing (n, n) of 0 and 1, they are shaped as it is, and as large as a cross.
    """
    validate.same_shape("cross", cross, "scene", scene.shape)
    hide = lambda v: torch.where(cross, NONE, v)
    others = replace(scene, shape=hide(scene.shape), colour=hide(scene.colour), size=hide(scene.size))
    x, at = shapes.paint(others, where) + 1, torch.arange(SIDE, **FLOAT) + 0.5 - SIDE / 2
    b, k = cross.nonzero(as_tuple=True)
    right, down, radius = (part[b, k].view(-1, 1, 1) for part in (where.x, where.y, where.radius))
    dx, dy = at.view(1, 1, -1) - right, at.view(1, -1, 1) - down
    cover = (0.5 - _outside(dx, dy, radius)).clamp(0, 1) if drawn is None else _scaled(drawn, dx, dy, radius)
    x.index_put_((b,), cover[:, None] * (PAINT[scene.colour[b, k]] + 1)[:, :, None, None], accumulate=True)
    return (x - 1).clamp(-1, 1)


def likeness(x: Tensor, drawn: Tensor) -> Tensor:
    """The overlap (B,), 0 to 1, of the outline of a drawing (n, n) of 0 and 1 with those of what is bright in pictures x.

    What is bright in each picture (B, 3, H, W) in [-1, 1], and what is drawn, is cut out and stretched to a square of 24 pixels
    first: size and place do not count. Where nothing is bright it is 0.
    """
    wanted = outline(2 * _cut(drawn.cpu() > 0) - 1)
    bright = validate.batch("x", x, 3, "H", "W").cpu().amax(1) > 0
    return torch.cat([overlap(outline(2 * _cut(mask) - 1), wanted) for mask in bright])


def _cut(mask: Tensor) -> Tensor:
    """The part of a mask (H, W) that is not empty, stretched: three channels (1, 3, 24, 24) of 0 and 1."""
    down, right = mask.nonzero().unbind(1) if mask.any() else (torch.zeros(1, dtype=torch.long, device="cpu"),) * 2
    part = mask[down.min() : down.max() + 1, right.min() : right.max() + 1]
    return pad(interpolate(part[None, None].float(), (24, 24)), (1, 1, 1, 1)).expand(1, 3, -1, -1)


def _scaled(drawn: Tensor, x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """The fraction (B, H, W) of each pixel that a drawing covers whose side is 2.2 r, with its centre at x = y = 0."""
    grid = torch.stack(torch.broadcast_tensors(x / (1.1 * r), y / (1.1 * r)), -1)
    return grid_sample(drawn.expand(len(grid), 1, -1, -1), grid, align_corners=False)[:, 0]


def _outside(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """The signed distance to the edge of a cross: two bars of length 2.2 r and width 0.72 r."""
    bar = lambda a, b: torch.maximum(a.abs() - 1.1 * r, b.abs() - 0.36 * r)
    return torch.minimum(bar(x, y), bar(y, x))


def labels(scene: Scene, cross: Tensor) -> Scene:
    """The scenes as a detector of crosses is trained to see them: the fourth shape is the cross, stars count as triangles."""
    return replace(scene, shape=torch.where(scene.shape == STAR, torch.where(cross, STAR, TRIANGLE), scene.shape))


def train_detector(net: SceneDetector, steps: int = 250, seed: int = 0) -> Iterator[TrainingState]:
    """Trains a copy of the shipped detector on to `labels`: see `detector`."""
    rng = seeded(seed)

    def loss() -> Tensor:
        scene, cross = sample(64, rng)
        where = shapes.layout(scene, rng)
        x = paint(scene, cross, where)
        noise, blur = rand(2, rng=rng).tolist()
        x[::2] = degrade(x[::2], 2 * NOISE * noise, 1.2 * BLUR * blur, rng)
        return detection_loss(net(x), labels(scene, cross), where)

    return train(loss, net, steps, lr=1e-3)


def detector() -> SceneDetector:
    """A detector to be trained on by `train_detector`, with the shipped one's weights."""
    return shipped_detector().cpu().requires_grad_().train()


def share_detected(net: SceneDetector, n: int = 1000, seed: int = 77) -> tuple[float, float]:
    """The shares of n drawn crosses, and of n other objects, each alone, of which shape and colour are detected."""
    rng, found = seeded(seed), []
    for wanted in (True, False):
        scene = scenes.sample(n, rng, ("one",))
        if wanted:
            scene = single(scene.colour[:, 0], scene.size[:, 0], scene.place)
        cross = (scene.shape == STAR) & wanted
        x = paint(scene, cross, shapes.layout(scene, rng))
        found.append(scenes.agreement(net.eval().detect(x), labels(scene, cross))["binding"])
    return found[0], found[1]
