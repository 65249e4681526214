"""DrawBench in miniature: 200 captions in five categories, whose pictures are scored exactly. Saharia et al. 2022, section 3.

    pictures = draw(drawbench.CAPTIONS)                       # (200, 3, 32, 32), by whatever system
    drawbench.score(reader.read(pictures))                    # {"colour": 0.95, "count": 0.6, ...}

The paper asked people which of two systems' pictures they preferred; here the reader decides, by what it sees.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.datasets import captions, scenes
from course_lib.datasets.scenes import NONE, Scene

EACH = 40
CATEGORIES = ("colour", "count", "position", "binding", "unusual")
"""One object, whose size is said and not counted; two to four that are alike; one at a place, and two in a relation; two, where
only it counts which colour goes with which shape; and two, with an object or a meeting that no system saw in training."""


def _some(n: int, rng: torch.Generator, kind: str, split: str = "train", size: bool = False, place: bool = False) -> Scene:
    """n scenes that are told in different words."""
    scene = scenes.sample(20 * n, rng, (kind,), split)
    unsaid = lambda value, said: value if said else torch.full_like(value, NONE)
    scene = Scene(scene.shape, scene.colour, unsaid(scene.size, size), unsaid(scene.place, place), scene.relation)
    first = {caption: i for i, caption in reversed(list(enumerate(captions.describe(scene))))}
    return scene[sorted(first.values())[:n]]


def _bench(rng: torch.Generator) -> tuple[list[str], Scene]:
    """All captions, and what of each counts, category by category."""
    half = EACH // 2
    parts = [
        _some(EACH, rng, "one", size=True),
        _some(EACH, rng, "alike"),
        _some(half, rng, "one", place=True),
        _some(half, rng, "pair"),
        _some(EACH, rng, "pair"),
        _some(half, rng, "pair", "new objects"),
        _some(half, rng, "pair", "new pairs"),
    ]
    told = scenes.join(parts)
    size, relation = torch.full_like(told.size, NONE), told.relation.clone()
    relation[3 * EACH : 4 * EACH] = NONE
    return captions.describe(told), Scene(told.shape, told.colour, size, told.place, relation)


CAPTIONS, ASKED = _bench(torch.Generator().manual_seed(200))


def right(seen: Scene) -> Tensor:
    """In which of the 200 pictures everything asked for is right (200,)."""
    return scenes.matches(seen, ASKED)["all"][0]


def score(seen: Scene) -> dict[str, float]:
    """The share of each category that is right, and of all."""
    each = right(seen).double()
    by_category = dict(zip(CATEGORIES, each.view(len(CATEGORIES), EACH).mean(1).tolist()))
    return by_category | {"all": float(each.mean())}


def points(seen: Scene) -> Tensor:
    """How much of what each caption asks for its picture shows, (200,) in [0, 1]: the mean over the attributes asked for."""
    found = scenes.matches(seen, ASKED)
    right, asked = (torch.stack([pair[i] for pair in found.values()]).double() for i in (0, 1))
    return (right * asked).sum(0) / asked.sum(0)


def preferred(first: Scene, second: Scene) -> tuple[float, float]:
    """In which share of the captions the first picture shows more of what was asked, and in which the second does.

    Raises ValueError unless there are as many scenes as captions.
    """
    mine, other = points(first), points(second)
    return float((mine > other + 1e-9).double().mean()), float((other > mine + 1e-9).double().mean())
