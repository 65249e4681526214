"""Scenes of shapes: the ground truth of a picture, as whole numbers, from which it is drawn, captioned and evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from course_lib import validate
from course_lib.process import randint

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = ("red", "yellow", "green", "blue", "pink", "white")
SIZES = ("small", "large")
PLACES = ("top left", "top right", "bottom left", "bottom right", "middle")
RELATIONS = ("left of", "above")
MAX_OBJECTS = 4
"""The maximal number of objects in a picture."""
NONE = -1
"""No such object or attribute; in the scene of a caption: not mentioned."""

KINDS = ("one", "pair", "alike")
"""One object at a place; two different ones, the first left of or above the second; two to four equal small ones."""
SPLITS = ("train", "new pairs", "new objects")
HELD_OUT = (("blue", "circle"), ("yellow", "square"), ("pink", "triangle"), ("green", "star"))
"""The combinations of colour and shape that are not in the training data: the 'new objects'."""


def check_indices(name: str, value: Tensor, kinds: Sequence[str], *shape: int) -> None:
    """Raises TypeError or ValueError unless `value` (B, *shape) holds indices into `kinds`, or NONE."""
    if validate.indices(name, value, *shape).numel() and not NONE <= value.min() <= value.max() < len(kinds):
        raise ValueError(f"{name} must lie in {NONE}..{len(kinds) - 1}, got {int(value.min())} to {int(value.max())}")


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """A batch of scenes, as indices into the tuples above, or NONE.

    shape, colour, size (B, MAX_OBJECTS), one column per object; place (B,), of a single object; relation (B,), of the first of
    two objects to the second. The first is the left or the upper one.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    place: Tensor
    relation: Tensor

    def __post_init__(self):
        for (name, value), kinds in zip(vars(self).items(), (SHAPES, COLOURS, SIZES, PLACES, RELATIONS)):
            check_indices(name, value, kinds, *() if name in ("place", "relation") else (MAX_OBJECTS,))
            if len(value) != len(self):
                raise ValueError(f"shape and {name} must be of as many scenes, got {len(self)} and {len(value)}")

    def __repr__(self):
        return f"Scene({len(self)} of {', '.join(map(str, self.count.unique().tolist()))} objects)"

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, index) -> Scene:
        """The scenes at these indices of the batch: a slice, a tensor of indices or a mask."""
        return Scene(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def count(self) -> Tensor:
        """The number of objects (B,)."""
        return (self.shape >= 0).sum(1)

    @property
    def object(self) -> Tensor:
        """Colour and shape of each object as one number (B, MAX_OBJECTS), or NONE."""
        return torch.where(self.shape >= 0, len(COLOURS) * self.shape + self.colour, NONE)


def join(scenes: list[Scene]) -> Scene:
    """The batches, concatenated."""
    validate.filled("scenes", scenes, Scene)
    return Scene(*(torch.cat([getattr(scene, field.name) for scene in scenes]) for field in fields(Scene)))


def new_objects(scene: Scene) -> Tensor:
    """Which scenes (B,) have an object whose colour and shape are HELD_OUT."""
    held_out = [len(COLOURS) * SHAPES.index(shape) + COLOURS.index(colour) for colour, shape in HELD_OUT]
    objects = validate.instance("scene", scene, Scene).object
    return torch.isin(objects, torch.tensor(held_out, device=objects.device, dtype=torch.long)).any(1)


def new_pairs(scene: Scene) -> Tensor:
    """Which scenes (B,) have a pair of objects that is not in the training data: one pair in eight, for every object."""
    return (validate.instance("scene", scene, Scene).relation >= 0) & (scene.object[:, :2].sum(1) % 8 == 3)


def sample(
    n: int, rng: torch.Generator | None = None, kinds: tuple[str, ...] = ("one", "pair", "pair", "alike"), split: str = "train"
) -> Scene:
    """n random scenes; all `kinds` have the same probability, and one named twice has twice that.

    `split` is 'train', without new pairs and new objects; 'new pairs', each of objects that are in the training data; or 'new
    objects', with at least one in each scene. Raises ValueError for another kind or split.
    """
    validate.at_least("n", n, 1)
    validate.choice("split", split, SPLITS)
    for kind in validate.filled("kinds", kinds):
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


def complete(scene: Scene, rng: torch.Generator | None = None) -> Scene:
    """The scenes with a random size of each object of one or two, and a random place of a single object, where it is NONE.

    So a scene of which a caption leaves something unsaid can be drawn. Objects that are alike are small, as in `sample`.
    """
    B = len(validate.instance("scene", scene, Scene))
    size, place = randint(0, len(SIZES), B, MAX_OBJECTS, rng=rng), randint(0, len(PLACES), B, rng=rng)
    alike, single = (scene.count > 1) & (scene.relation < 0), (scene.count == 1) & (scene.relation < 0)
    size = torch.where((scene.shape >= 0) & (scene.size < 0), torch.where(alike[:, None], 0, size), scene.size)
    return Scene(scene.shape, scene.colour, size, torch.where(single & (scene.place < 0), place, scene.place), scene.relation)


def _any(n: int, rng: torch.Generator | None, kinds: tuple[str, ...]) -> Scene:
    """n random scenes of `kinds`, of any split."""
    draw = lambda high, *shape: randint(0, high, *shape, rng=rng)
    kind = torch.tensor([KINDS.index(kind) for kind in kinds], device="cpu", dtype=torch.long)[draw(len(kinds), n)]
    one, pair, alike = (kind == i for i in range(3))
    count = torch.where(one, 1, torch.where(pair, 2, 2 + draw(MAX_OBJECTS - 1, n)))
    mask = torch.arange(MAX_OBJECTS, device="cpu", dtype=torch.long) < count[:, None]
    same = alike[:, None]

    def of_objects(high: int) -> Tensor:
        each = draw(high, n, MAX_OBJECTS)
        return torch.where(mask, torch.where(same, each[:, :1], each), NONE)

    shape, colour, size = of_objects(len(SHAPES)), of_objects(len(COLOURS)), of_objects(len(SIZES))
    size = torch.where(same & mask, 0, size)
    place = torch.where(one, draw(len(PLACES), n), NONE)
    return Scene(shape, colour, size, place, torch.where(pair, draw(len(RELATIONS), n), NONE))


def matches(seen: Scene, wanted: Scene) -> dict[str, tuple[Tensor, Tensor]]:
    """By attribute, in which scenes `seen` is right (B,), and in which it is evaluated (B,): not where `wanted` is NONE.

    - 'count': the number of objects; 'shape', 'colour': the same shapes or colours, in any combination
    - 'binding': each colour with its shape
    - 'relation', 'size', 'place': evaluated only if the binding is right, since the objects can then be matched
    - 'all': all attributes in `wanted`
    """
    if len(validate.instance("seen", seen, Scene)) != len(validate.instance("wanted", wanted, Scene)):
        raise ValueError(f"seen and wanted must be as many scenes, got {len(seen)} and {len(wanted)}")
    equal = lambda a, b: (a.sort(1).values == b.sort(1).values).all(1)
    everywhere = torch.ones(len(wanted), dtype=torch.bool, device=wanted.shape.device)
    binding = equal(seen.object, wanted.object)
    size_seen, size_wanted = (scene.size.gather(1, scene.object.argsort(dim=1, stable=True)) for scene in (seen, wanted))
    size = ((size_seen == size_wanted) | (size_wanted < 0)).all(1)
    relation = (seen.relation == wanted.relation) & (seen.object == wanted.object).all(1)
    place = seen.place == wanted.place
    found = {
        "count": (seen.count == wanted.count, everywhere),
        "shape": (equal(seen.shape, wanted.shape), everywhere),
        "colour": (equal(seen.colour, wanted.colour), everywhere),
        "binding": (binding, everywhere),
        "relation": (relation, binding & (wanted.relation >= 0)),
        "size": (size, binding & (wanted.size >= 0).any(1)),
        "place": (place, binding & (wanted.place >= 0)),
    }
    right = binding & size & (relation | (wanted.relation < 0)) & (place | (wanted.place < 0))
    return found | {"all": (right, everywhere)}


def agreement(seen: Scene, wanted: Scene) -> dict[str, float]:
    """The fraction of scenes in which each attribute is right, of those in which it is evaluated (`matches`). NaN for none."""
    return {name: float(right[where].double().mean()) for name, (right, where) in matches(seen, wanted).items()}
