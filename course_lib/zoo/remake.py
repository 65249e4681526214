"""All shipped models made anew, in a folder of their own, each compared with the record of the shipped one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from course_lib import parallel, validate
from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import RECIPES

SECONDS = "processor seconds"


@dataclass(frozen=True)
class Row:
    """One figure of one model: the shipped one (None where there is none), and that of the model made anew.

    `tolerance` is that of the newly measured `Figure`: (absolute, relative), or None where nothing is asked.
    """

    model: str
    figure: str
    shipped: float | None
    remade: float
    tolerance: tuple[float, float] | None

    @property
    def bound(self) -> float | None:
        """How far the two may lie apart; None where nothing is asked."""
        if self.tolerance is None or self.shipped is None:
            return None
        absolute, relative = self.tolerance
        return absolute + relative * abs(self.shipped)

    @property
    def apart(self) -> float:
        """How far the two lie apart, as a share of the bound; 0 where nothing is asked."""
        return 0.0 if self.bound is None else abs(self.remade - self.shipped) / self.bound

    @property
    def within(self) -> bool:
        return self.apart <= 1  # which NaN is not


def remake(folder: Path, seed: int = 0, device: str = "auto", seconds: float | None = None) -> Iterator[Row]:
    """Makes every model of RECIPES in `folder`, in their order, and yields their rows. A finished model is not made again.

    Teachers and evaluators are those of that folder. Raises ValueError where `folder` is the shipped one, or holds a model of
    another seed or limit of seconds.
    """
    folder = Path(validate.instance("folder", folder, Path, str))
    if folder.resolve() == checkpoints.FOLDER.resolve():
        raise ValueError(f"out must be a folder of its own, not that of the shipped models, got {folder}")
    shipped = models.records()
    for name in RECIPES:
        record = _finished(folder, name, seed, seconds) or models.make(
            name, seed, device, seconds, checkpoints.shipped(name, folder), folder=folder
        )
        parallel.wait()  # for the first process to write what all will read
        if parallel.rank() == 0:
            yield from compared(name, shipped[name], record)


def _finished(folder: Path, name: str, seed: int, seconds: float | None) -> dict | None:
    """The record of a finished model; None where there is none. Raises ValueError where it was made otherwise."""
    path = checkpoints.shipped(name, folder)
    if not path.is_file():
        return None
    record = checkpoints.read(path)[1]
    if (record["seed"], record.get("limit")) != (seed, seconds):
        made = f"seed {record['seed']}, {_limited(record.get('limit'))}"
        raise ValueError(f"out must hold models of seed {seed}, {_limited(seconds)}, got {path}, of {made}")
    if "tolerances" not in record:
        raise ValueError(
            f"out must hold models with the tolerances of their figures, got {path}, of an older version: remove it"
        )
    return record


def _limited(seconds: float | None) -> str:
    return "without limit" if seconds is None else f"at most {seconds:g} s"


def compared(name: str, shipped: dict | None, remade: dict) -> list[Row]:
    """The processor seconds and figures of two records of one model, row by row."""
    time = lambda record: {SECONDS: models.on_one_clock(record)["processor_seconds"]}
    old, new = (time(r) | r["figures"] if r else {} for r in (shipped, remade))
    tolerances = {SECONDS: None, **remade["tolerances"]}
    number = lambda value: math.nan if value is None else value  # what could not be measured is not within its bound
    return [Row(name, figure, old.get(figure), number(value), tolerances[figure]) for figure, value in new.items()]


def summary(rows: list[Row]) -> str:
    """A Markdown table with one line for each model: how many figures lie within their bounds, and the worst of them."""
    lines = ["| model | figures within | worst off | shipped | remade | of its bound |", "|---|---|---|---|---|---|"]
    for model, its in groupby(rows, key=lambda row: row.model):
        wanted = [row for row in its if row.bound is not None]
        if wanted:
            worst = max(wanted, key=lambda row: math.inf if math.isnan(row.apart) else row.apart)
            cells = (worst.figure, f"{worst.shipped:.4g}", f"{worst.remade:.4g}", f"{worst.apart:.0%}")
            lines.append(f"| {model} | {sum(row.within for row in wanted)} of {len(wanted)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, with the processor seconds of all models at its end."""
    lines = ["| model | figure | shipped | remade | at most apart | within |", "|---|---|---|---|---|---|"]
    number = lambda v: "" if v is None else f"{v:.4g}"
    for row in rows:
        verdict = "" if row.bound is None else "yes" if row.within else "**no**"
        cells = (row.model, row.figure, number(row.shipped), number(row.remade), number(row.bound), verdict)
        lines.append(f"| {' | '.join(cells)} |")
    spent = [row for row in rows if row.figure == SECONDS]
    was, now = sum(row.shipped or 0 for row in spent), sum(row.remade for row in spent)
    return "\n".join([*lines, f"| {len(spent)} models | {SECONDS} | {was:.0f} | {now:.0f} | | |"])
