"""The exercises of the lessons, with their titles, difficulties and minutes, as the stored notebooks have them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from course_lib.files import NOTEBOOKS

HEADING = re.compile(
    r"^#+ Exercise \d+: (?P<title>.+) \(difficulty (?P<difficulty>\d), (?P<minutes>\d+) minutes\)", re.MULTILINE
)
CHECKED = re.compile(r"\bcheck\.(\w+)\(my_\1\)")
SOLUTION = re.compile(r'check\.solution\("(\w+)"\)')
"""The whole cell that shows an answer."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: a lesson's number, the name of its check, and what stands in its heading. It is worth its difficulty."""

    lesson: str
    name: str
    title: str
    difficulty: int
    minutes: int

    @property
    def points(self) -> int:
        return self.difficulty

    @property
    def label(self) -> str:
        return f"{self.lesson} {self.name}"


def lessons(wanted: str | None = None, folder: Path = NOTEBOOKS) -> list[Path]:
    """The stored notebooks of the lessons in a text such as "00-08,14", or of all. Raises ValueError for one that is none."""
    stored = {path.name[:2]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    numbers: list[str] = []
    for each in wanted.split(",") if wanted is not None else stored:
        first, last = re.fullmatch(r"(\d\d)(?:-(\d\d))?", each.strip()).groups() if _is_range(each) else ("", None)
        between = [number for number in stored if first <= number <= (last or first)]
        if first not in stored or (last or first) not in stored or not between:
            raise ValueError(f"--lessons must be numbers from {min(stored)} to {max(stored)}, such as 00-08,14, got {wanted!r}")
        numbers += between
    return [stored[number] for number in dict.fromkeys(numbers)]


def _is_range(text: str) -> bool:
    return re.fullmatch(r"\d\d(-\d\d)?", text.strip()) is not None


def exercises(wanted: str | None = None, folder: Path = NOTEBOOKS) -> list[Exercise]:
    """The exercises of these lessons, in their order. Raises ValueError for a lesson that is none."""
    return [each for path in lessons(wanted, folder) for each in in_notebook(path)]


def in_notebook(path: Path) -> list[Exercise]:
    """The exercises of one stored notebook: each check's name, with the last heading before it."""
    found, heading = {}, None
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = next(HEADING.finditer(source), heading)
        elif (checked := CHECKED.search(source)) and heading and checked[1] not in found:
            found[checked[1]] = Exercise(
                path.name[:2], checked[1], heading["title"], int(heading["difficulty"]), int(heading["minutes"])
            )
    return list(found.values())
