"""The figures of an entry's pictures, and what shows that it had more than it may have.

Nothing of this is loaded before all entries have given their pictures: a process of theirs is a copy of the one that asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from course_lib import metrics, validate
from course_lib.datasets import digits
from course_lib.nets.classifier import Classifier
from course_lib.process import randn_like, seeded
from course_lib.training import show_progress
from course_lib.zoo import models
from course_lib.zoo.recipes.digits import train_classifier

NEAREST = 0.8
"""The least mean distance to the nearest training digit, relative to that of held-out digits: below it they are copies."""

HELD_OUT = 0.6
"""The largest share of pictures that may be nearer to the 1,000 held-out digits than to as many training digits.

It is a half for pictures that depend on neither, with an error of 0.016 for 1,000 that differ, and more where they are alike:
one step of a sampler, whose digits of a class hardly differ, had 0.56. Held-out digits under noise have 1.
"""

SECOND = 5.0
"""The largest ratio of the distance by the second judge to that by the first, each over that of the noised digits.

Set between what was seen with a second judge of 300 steps: at most 2.4 of two samplings of the shipped model, of training
digits and of blurred ones; at least 11.6 of two sets of pictures that were fitted to the first judge's features.
"""


@dataclass(frozen=True)
class Judge:
    """A classifier in whose features sets of digits are compared, and its distances of three sets from the held-out digits.

    `floor` is that of as many training digits; `noised` that of these with noise of standard deviation 0.3, a unit in which two
    judges can be compared.
    """

    net: Classifier
    held_out: Tensor
    floor: float
    noised: float

    def distance(self, x: Tensor) -> float:
        """The Frechet distance between pictures x (1000, 1, 16, 16) and the held-out digits."""
        return metrics.frechet_distance(_features(self.net, x), self.held_out)


@torch.no_grad()
def _features(net: Classifier, x: Tensor) -> Tensor:
    return net.features(x)


@cache
def real() -> tuple[Tensor, Tensor]:
    """The 1,000 held-out digits and the 4,000 training digits, as rows of pixels: (1000, 256) and (4000, 256)."""
    held_out, train = (digits.load(part)[0].flatten(1) for part in ("held_out", "train"))
    return held_out, train


def judge(net: Classifier) -> Judge:
    """A judge made from a trained classifier of digits."""
    held_out, train = (x.reshape(-1, 1, 16, 16) for x in real())
    train = train[: len(held_out)]
    noised = (train + 0.3 * randn_like(train, seeded(0))).clamp(-1, 1)
    there = _features(net.eval(), held_out)
    distances = (metrics.frechet_distance(_features(net, x), there) for x in (train, noised))
    return Judge(net, there, *distances)


def first_judge() -> Judge:
    """The judge by which entries are ranked: the shipped classifier, which is frozen."""
    return judge(models.load("classifier"))


def second_judge(seed: int, steps: int = 600) -> Judge:
    """A judge for verification, trained when all pictures are there already, from a seed that no entry can have foreseen.

    It has another width and another number of features than the first.
    """
    torch.manual_seed(seed)
    net = Classifier(width=24, features=48)
    show_progress(train_classifier(net, seed=seed, steps=steps), "second judge")
    return judge(net)


@dataclass(frozen=True)
class Row:
    """The figures of a training at one number of evaluations; `faults` says what is against it, in lines.

    `distance`, `accuracy`, `precision` and `recall` are by the first judge; `second` is the ratio that SECOND limits, `nearest`
    the one of NEAREST, `held_out` the share of HELD_OUT; `milliseconds` a picture; `drift` the
    change of the machine's pace during the training, as a share; `share` what the training had of its core (machine.OWN_CORE)
    and `uneven` how far the pace is from those of both halves of the workload (machine.UNEVEN), None where not measured.
    """

    entry: str
    seed: int
    evaluations: int
    distance: float
    accuracy: float
    precision: float
    recall: float
    second: float
    nearest: float
    held_out: float
    milliseconds: float
    counted: float
    faults: list[str] = field(default_factory=list)
    drift: float = 0.0
    share: float | None = None
    uneven: float | None = None


def nearest(x: Tensor) -> float:
    """The mean distance of pictures x (n, ...) to their nearest training digits, over that of the held-out digits."""
    held_out, train = real()
    mine, theirs = (torch.cdist(y.flatten(1), train).min(1).values.mean() for y in (x, held_out))
    return float(mine / theirs)


def nearer_to_held_out(x: Tensor) -> float:
    """The share of pictures x (n, ...) nearer to the held-out digits than to as many training digits, mean over four sets."""
    held_out, train = real()
    mine = torch.cdist(x.flatten(1), held_out).min(1).values
    sets = torch.cdist(x.flatten(1), train).reshape(len(x), -1, len(held_out)).min(2).values  # each has all classes alike
    return float((mine[:, None] < sets).double().mean())


def score(
    entry: str, seed: int, evaluations: int, x: Tensor, label: Tensor, spent: tuple[float, float], first: Judge, second: Judge
) -> Row:
    """The row of pictures x (1000, 1, 16, 16) for the labels (1000,); `spent` is (milliseconds, evaluations counted).

    Raises ValueError for another number of pictures than of held-out digits, whose distances could not be compared.
    """
    held_out, _ = real()
    if len(validate.shape("x", x, 1, 16, 16)) != len(held_out):
        raise ValueError(f"x must have {len(held_out):,} pictures, as the held-out digits, got {len(x)}")
    precision, recall = metrics.precision_recall(first.held_out, _features(first.net, x))
    with torch.no_grad():
        accuracy = metrics.accuracy(first.net(x), label)
    distance = first.distance(x)
    ratio = (second.distance(x) / second.noised) / (max(distance, 1e-6) / first.noised)
    found = {
        "second": ratio,
        "nearest": nearest(x),
        "held_out": nearer_to_held_out(x),
        "milliseconds": spent[0],
        "counted": spent[1],
    }
    rounded = {name: round(value, 4) for name, value in found.items()}
    faults = _faults(evaluations, **found)
    return Row(
        entry, seed, evaluations, *(round(v, 4) for v in (distance, accuracy, precision, recall)), **rounded, faults=faults
    )


def _faults(evaluations: int, second: float, nearest: float, held_out: float, milliseconds: float, counted: float) -> list[str]:
    lines = []
    if counted > evaluations:
        lines.append(f"{counted:g} evaluations a picture were counted, not {evaluations}")
    if nearest < NEAREST:
        lines.append(f"its pictures are copies of training digits: their distance is {nearest:.2f} of that of held-out digits")
    if held_out > HELD_OUT:
        lines.append(f"it had the held-out digits: {held_out:.0%} of its pictures are nearer to these than to training digits")
    if second > SECOND:
        lines.append(f"it was fitted to the first judge: the second one's distance is {second:.1f} times as large, relatively")
    return lines
