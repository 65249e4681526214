"""All shipped models made anew, in a folder of their own, each held against the record of the one that ships."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from course_lib import checkpoints, models, parallel
from course_lib.recipes import RECIPES

BOUNDS = (
    (r"a second|^seconds$", None),
    (r"decibels", lambda shipped: 1.0),
    (r"distance|real against real|noise of time|error of|over its floor|perplexity|deviation", lambda s: 0.02 + 0.2 * abs(s)),
    (r"", lambda shipped: 0.08),
)
"""How far a figure may lie from the shipped one, by the first pattern that its name holds: seconds and speed are the machine's;
a decibel; a fifth of a distance or an error, and 0.02, which is what seeds of sampling make of a small one; else it is a share,
of 200 pictures in some recipes, whose own standard error is 0.035: 0.08."""


@dataclass(frozen=True)
class Row:
    """One figure of one model: as it ships (None where nothing does), and made anew."""

    model: str
    figure: str
    shipped: float | None
    remade: float

    @property
    def bound(self) -> float | None:
        """How far the two may lie apart; None where nothing is asked."""
        allowed = next(allowed for pattern, allowed in BOUNDS if re.search(pattern, self.figure))
        return None if allowed is None or self.shipped is None else allowed(self.shipped)

    @property
    def apart(self) -> float:
        """How far the two lie apart, as a share of the bound; 0 where nothing is asked."""
        return 0.0 if self.bound is None else abs(self.remade - self.shipped) / self.bound

    @property
    def within(self) -> bool:
        return self.apart <= 1  # which NaN is not


def remake(folder: Path, seed: int = 0, device: str = "auto", seconds: float | None = None) -> Iterator[Row]:
    """Makes every model of RECIPES into `folder`, in their order, and yields their rows. What is finished stays as it is.

    Students learn from the teachers of that folder, and its judges judge. Raises ValueError where `folder` is the shipped
    one, or holds a model of another seed or limit of seconds.
    """
    folder = Path(folder)
    if folder.resolve() == checkpoints.FOLDER.resolve():
        raise ValueError(f"out must be a folder of its own, not that of the shipped models, got {folder}")
    shipped = models.records()
    for name in RECIPES:
        with checkpoints.shipped_in(folder):
            record = _found(name, seed, seconds) or models.make(name, seed, device, seconds)
            parallel.wait()  # for the first process to write what all will read
        if parallel.rank() == 0:
            yield from compared(name, shipped[name], record)


def _found(name: str, seed: int, seconds: float | None) -> dict | None:
    """The record of a model that is finished; None where there is none. Raises ValueError where it was made otherwise."""
    path = checkpoints.shipped(name)
    if not path.is_file():
        return None
    record = checkpoints.read(path)[1]
    if (record["seed"], record.get("limit")) != (seed, seconds):
        made = f"seed {record['seed']}, {_limited(record.get('limit'))}"
        raise ValueError(f"out must hold models of seed {seed}, {_limited(seconds)}, got {path}, of {made}")
    return record


def _limited(seconds: float | None) -> str:
    return "without limit" if seconds is None else f"at most {seconds:g} s"


def compared(name: str, shipped: dict | None, remade: dict) -> list[Row]:
    """The seconds and figures of two records of one model, row by row."""
    old, new = ({"seconds": r["seconds"], **r["figures"]} if r else {} for r in (shipped, remade))
    return [Row(name, figure, old.get(figure), value) for figure, value in new.items()]


def summary(rows: list[Row]) -> str:
    """One line a model, as a Markdown table: how many figures lie within their bounds, and the one that is worst off."""
    lines = ["| model | figures within | worst off | shipped | remade | of its bound |", "|---|---|---|---|---|---|"]
    for model, its in groupby(rows, key=lambda row: row.model):
        asked = [row for row in its if row.bound is not None]
        if asked:
            worst = max(asked, key=lambda row: math.inf if math.isnan(row.apart) else row.apart)
            cells = (worst.figure, f"{worst.shipped:.4g}", f"{worst.remade:.4g}", f"{worst.apart:.0%}")
            lines.append(f"| {model} | {sum(row.within for row in asked)} of {len(asked)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, with the seconds of all models at its end."""
    lines = ["| model | figure | shipped | remade | at most apart | within |", "|---|---|---|---|---|---|"]
    number = lambda v: "" if v is None else f"{v:.4g}"
    for row in rows:
        verdict = "" if row.bound is None else "yes" if row.within else "**no**"
        cells = (row.model, row.figure, number(row.shipped), number(row.remade), number(row.bound), verdict)
        lines.append(f"| {' | '.join(cells)} |")
    spent = [row for row in rows if row.figure == "seconds"]
    was, now = sum(row.shipped or 0 for row in spent), sum(row.remade for row in spent)
    return "\n".join([*lines, f"| {len(spent)} models | seconds | {was:.0f} | {now:.0f} | | |"])
