"""DrawBench in miniature: 200 captions in five categories, whose pictures are scored exactly. Saharia et al. 2022, section 3.

    pictures = draw(drawbench.captions())                       # (200, 3, 32, 32), by any system
    drawbench.score(detector.detect(pictures))                  # {"colour": 0.95, "count": 0.6, ...}

In the paper people chose between the pictures of two systems. Here a detector does, by what it finds in them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from course_lib import validate
from course_lib.datasets import scenes
from course_lib.datasets.captions import describe
from course_lib.datasets.scenes import COLOURS, NONE, Scene
from course_lib.process import seeded

EACH = 40
CATEGORIES = ("colour", "count", "position", "binding", "unusual")
"""What is asked for, and what is scored. One object: the colours that are seen. Two to four of one kind: their number. One at a
place, or two in a relation: the place or the relation, of objects told apart by their colours or by their shapes. Two: whether
both colours are seen, none with the other's shape. Two, with an object or a pair that is held out of all training data: all
that the caption says."""


def captions() -> list[str]:
    """The 200 captions, category by category, EACH of each."""
    return list(_bench()[0])


def wanted() -> Scene:
    """The scenes that the captions describe, with NONE for what is not scored."""
    return _bench()[1]


@cache
def _bench() -> tuple[tuple[str, ...], Scene]:
    """The captions and the scenes, which are sampled once, when they are first needed."""
    rng, half = seeded(200), EACH // 2
    described = scenes.join(
        [
            _distinct(EACH, rng, "one", size=True),
            _distinct(EACH, rng, "alike"),
            _distinct(half, rng, "one", place=True),
            _distinct(half, rng, "pair"),
            _distinct(EACH, rng, "pair"),
            _distinct(half, rng, "pair", "new objects"),
            _distinct(half, rng, "pair", "new pairs"),
        ]
    )
    size, relation = torch.full_like(described.size, NONE), described.relation.clone()
    relation[3 * EACH : 4 * EACH] = NONE
    scored = Scene(described.shape, described.colour, size, described.place, relation)
    return tuple(describe(described)), scored


def _distinct(n: int, rng: torch.Generator, kind: str, split: str = "train", size: bool = False, place: bool = False) -> Scene:
    """n scenes with different captions, which state size and place only where asked to."""
    scene = scenes.sample(20 * n, rng, (kind,), split)
    only_if = lambda stated, value: value if stated else torch.full_like(value, NONE)
    scene = Scene(scene.shape, scene.colour, only_if(size, scene.size), only_if(place, scene.place), scene.relation)
    first = {caption: i for i, caption in reversed(list(enumerate(describe(scene))))}
    return scene[sorted(first.values())[:n]]


def _matches(name: str, detected: Scene) -> dict[str, tuple[Tensor, Tensor]]:
    """What `scenes.matches` returns; raises TypeError or ValueError, with the argument's name, unless there are 200 scenes."""
    if len(validate.instance(name, detected, Scene)) != len(wanted()):
        raise ValueError(f"{name} must be {len(wanted())} scenes, one for each caption, got {len(detected)}")
    return scenes.matches(detected, wanted())


def right(detected: Scene) -> Tensor:
    """Whether each of the 200 pictures shows everything that its caption asks for (200,)."""
    return _matches("detected", detected)["all"][0]


def right_in_category(detected: Scene) -> Tensor:
    """Whether each of the 200 pictures has what its category is about (200,): see CATEGORIES."""
    seen, asked = _matches("detected", detected), wanted()
    shown = torch.stack([(detected.colour == c).any(1) for c in range(len(COLOURS))])
    colour = (shown == torch.stack([(asked.colour == c).any(1) for c in range(len(COLOURS))])).all(0)
    in_place = lambda seen, asked: (seen == asked)[:, :2].any(1) & (asked[:, 0] != asked[:, 1])
    either = in_place(detected.colour, asked.colour) | in_place(detected.shape, asked.shape)
    place = (detected.place == asked.place) & (detected.relation == asked.relation) & (either | (asked.relation < 0))
    each = colour, seen["count"][0], place, _bound(detected, asked), seen["all"][0]  # in the order of CATEGORIES
    return torch.cat([hits.view(len(CATEGORIES), EACH)[i] for i, hits in enumerate(each)])


def _bound(detected: Scene, asked: Scene) -> Tensor:
    """Whether both colours of two objects are seen, none with the shape of the other object (B,)."""
    of = lambda scene: scene.object[:, None, :2]
    crossed = of(replace(asked, colour=asked.colour[:, [1, 0, 2, 3]]))
    wrong = (detected.object[:, :, None] == crossed) & (crossed != of(asked)) & (crossed != of(asked).flip(2))
    colours = (detected.colour[:, :, None] == asked.colour[:, None, :2]).any(1).all(1)
    return colours & ~wrong.flatten(1).any(1)


def score(detected: Scene) -> dict[str, float]:
    """The share of pictures that are right in what their category is about, and the share that is right in everything."""
    by_category = right_in_category(detected).double().view(len(CATEGORIES), EACH).mean(1).tolist()
    return dict(zip(CATEGORIES, by_category)) | {"all": float(right(detected).double().mean())}


def points(detected: Scene, name: str = "detected") -> Tensor:
    """The share of what each caption asks for that its picture shows, (200,) in [0, 1]: a mean over the attributes.

    An error calls the argument `name`.
    """
    matches = _matches(name, detected)
    right, asked = (torch.stack([pair[i] for pair in matches.values()]).double() for i in (0, 1))
    return (right * asked).sum(0) / asked.sum(0)


def preferred(first: Scene, second: Scene) -> tuple[float, float]:
    """The shares of captions for which the first picture has more points than the second, and the reverse.

    Raises ValueError unless there are as many scenes as captions.
    """
    mine, other = points(first, "first"), points(second, "second")
    return float((mine > other + 1e-9).double().mean()), float((other > mine + 1e-9).double().mean())
