"""Scenes of shapes: what a picture shows, as whole numbers, so that it can be drawn, told, read back and compared."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from course_lib import validate

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = ("red", "yellow", "green", "blue", "pink", "white")
SIZES = ("small", "large")
PLACES = ("top left", "top right", "bottom left", "bottom right", "middle")
RELATIONS = ("left of", "above")
MOST = 4
"""Objects in a picture at most."""
NONE = -1
"""No such object, or no such attribute; in what is asked for: not said."""

KINDS = ("one", "pair", "alike")
"""One object at a place; two that differ, the first left of or above the second; two to four small ones that are alike."""
SPLITS = ("train", "new pairs", "new objects")
HELD_OUT = (("blue", "circle"), ("yellow", "square"), ("pink", "triangle"), ("green", "star"))
"""Colours and shapes that never come together in training: the 'new objects'."""


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """A batch of scenes. All are whole numbers, indices into the lists above, or NONE.

    shape, colour, size (B, MOST), an object a column; place (B,), of the only object; relation (B,), of the first to the second
    of two: the first of a pair is always the left or the upper one.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    place: Tensor
    relation: Tensor

    def __post_init__(self):
        B = len(self.shape)
        for field in fields(self):
            value, want = getattr(self, field.name), (B,) if field.name in ("place", "relation") else (B, MOST)
            if value.shape != want:
                raise ValueError(f"{field.name} must be {want}, got {tuple(value.shape)}")

    def __repr__(self):
        return f"Scene({len(self)} of {', '.join(map(str, self.count.unique().tolist()))} objects)"

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, index) -> Scene:
        """Some of the batch: by a slice, indices or a mask."""
        return Scene(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def count(self) -> Tensor:
        """How many objects there are (B,)."""
        return (self.shape >= 0).sum(1)

    @property
    def object(self) -> Tensor:
        """Colour and shape of each object as one number (B, MOST), or NONE."""
        return torch.where(self.shape >= 0, len(COLOURS) * self.shape + self.colour, NONE)


def join(scenes: list[Scene]) -> Scene:
    """Several batches as one."""
    return Scene(*(torch.cat([getattr(scene, field.name) for scene in scenes]) for field in fields(Scene)))


def new_objects(scene: Scene) -> Tensor:
    """Which scenes (B,) show an object whose colour and shape are HELD_OUT."""
    held = torch.tensor([len(COLOURS) * SHAPES.index(shape) + COLOURS.index(colour) for colour, shape in HELD_OUT])
    return torch.isin(scene.object, held).any(1)


def new_pairs(scene: Scene) -> Tensor:
    """Which scenes (B,) show two objects that never meet in training: one meeting in eight, spread evenly over all objects."""
    return (scene.relation >= 0) & (scene.object[:, :2].sum(1) % 8 == 3)


def sample(
    n: int, rng: torch.Generator | None = None, kinds: tuple[str, ...] = ("one", "pair", "pair", "alike"), split: str = "train"
) -> Scene:
    """n random scenes, of `kinds` with equal chances (one named twice has twice the chance).

    `split` is 'train', which has neither new pairs nor new objects; 'new pairs', of objects that training knows apart only; or
    'new objects', at least one in each scene. Raises ValueError for another kind or split.
    """
    validate.at_least("n", n, 1)
    validate.choice("split", split, SPLITS)
    for kind in kinds:
        validate.choice("kinds", kind, KINDS)
    if split == "new pairs" and "pair" not in kinds:
        raise ValueError(f"kinds must have 'pair' in it for new pairs, got {kinds}")
    found: list[Scene] = []
    while sum(map(len, found)) < n:
        scene = _any(2 * n + 16, rng, kinds)
        objects, pairs = new_objects(scene), new_pairs(scene)
        keep = {"train": ~objects & ~pairs, "new pairs": ~objects & pairs, "new objects": objects}[split]
        twins = (scene.relation >= 0) & (scene.object[:, 0] == scene.object[:, 1])
        found.append(scene[keep & ~twins])
    return join(found)[:n]


def _any(n: int, rng: torch.Generator | None, kinds: tuple[str, ...]) -> Scene:
    draw = lambda high, *shape: torch.randint(high, shape, generator=rng)
    kind = torch.tensor([KINDS.index(kind) for kind in kinds])[draw(len(kinds), n)]
    one, pair, alike = (kind == i for i in range(3))
    count = torch.where(one, 1, torch.where(pair, 2, 2 + draw(MOST - 1, n)))
    there = torch.arange(MOST) < count[:, None]
    same = alike[:, None]

    def of_objects(high: int) -> Tensor:
        each = draw(high, n, MOST)
        return torch.where(there, torch.where(same, each[:, :1], each), NONE)

    shape, colour, size = of_objects(len(SHAPES)), of_objects(len(COLOURS)), of_objects(len(SIZES))
    size = torch.where(same & there, 0, size)
    place = torch.where(one, draw(len(PLACES), n), NONE)
    return Scene(shape, colour, size, place, torch.where(pair, draw(len(RELATIONS), n), NONE))


def matches(seen: Scene, asked: Scene) -> dict[str, tuple[Tensor, Tensor]]:
    """By attribute, in which scenes it is right (B,), and in which it is asked (B,): what is NONE in `asked` is not asked.

    - 'count': as many objects; 'shape', 'colour': the right ones, whichever goes with which
    - 'binding': each colour with its own shape
    - 'relation', 'size', 'place': asked only where the binding is right, since only there is it clear which object is which
    - 'all': everything that is said
    """
    if len(seen) != len(asked):
        raise ValueError(f"seen and asked must be as many scenes, got {len(seen)} and {len(asked)}")
    equal = lambda a, b: (a.sort(1).values == b.sort(1).values).all(1)
    everywhere = torch.ones(len(asked), dtype=torch.bool, device=asked.shape.device)
    binding = equal(seen.object, asked.object)
    here, there = (scene.size.gather(1, scene.object.argsort(dim=1, stable=True)) for scene in (seen, asked))
    size = ((here == there) | (there < 0)).all(1)
    relation = (seen.relation == asked.relation) & (seen.object == asked.object).all(1)
    place = seen.place == asked.place
    found = {
        "count": (seen.count == asked.count, everywhere),
        "shape": (equal(seen.shape, asked.shape), everywhere),
        "colour": (equal(seen.colour, asked.colour), everywhere),
        "binding": (binding, everywhere),
        "relation": (relation, binding & (asked.relation >= 0)),
        "size": (size, binding & (asked.size >= 0).any(1)),
        "place": (place, binding & (asked.place >= 0)),
    }
    right = binding & size & (relation | (asked.relation < 0)) & (place | (asked.place < 0))
    return found | {"all": (right, everywhere)}


def agreement(seen: Scene, asked: Scene) -> dict[str, float]:
    """The share of scenes in which each attribute is right, among those in which it is asked; see `matches`. NaN for none."""
    return {name: float(right[where].double().mean()) for name, (right, where) in matches(seen, asked).items()}
