"""The instructor's notes of a lesson, notebooks/notes/NN.md: with the figures of the claims, and each part at its slide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from course_lib.files import NOTEBOOKS
from course_lib.teaching.claims import Claim
from course_lib.teaching.publish.claim_table import PLACE, fill
from course_lib.teaching.publish.text import DIFFICULTY, below, plain

SECTIONS = (
    "Plan",
    "At the sliders",
    "Ask before moving",
    "Misunderstandings",
    "In class",
    "Think about it",
    "Exam questions",
)
ROW = re.compile(r"^\| *(\d+) *\| *(.+?) *\| *(.+?) *\|$", re.MULTILINE)
ITEM = re.compile(r"^(?:-|\d+\.) (.+(?:\n(?:[ \t].*|(?=\n[ \t]+\S)))*)", re.MULTILINE)
PICTURE = re.compile(r'Picture:\s+"([^"]+)"')
SLIDER = re.compile(r"`(\w+)[^`]*`(?: in \*([^*]+)\*)?")


@dataclass(frozen=True)
class Notes:
    """The Markdown of a lesson's notes: a title, and SECTIONS. Figures of claims stand in it as {{id.figure}}."""

    number: str
    text: str

    @property
    def title(self) -> str:
        return self.text.partition("\n")[0].removeprefix("# ")

    def plan(self) -> list[tuple[int, str, list[str]]]:
        """Minutes, what is done, and the headings where it stands in the lesson, for each row of the plan."""
        rows = ROW.findall(below(self.text, "Plan"))
        return [(int(minutes), what, [DIFFICULTY.sub("", each) for each in where.split("; ")]) for minutes, what, where in rows]

    def items(self, section: str) -> list[str]:
        """The points of a list in a section, each on one line."""
        return [" ".join(item.split()) for item in ITEM.findall(below(self.text, section))]

    def sliders(self) -> list[tuple[str, str, str]]:
        """A widget's name, the heading that it stands under, and what is seen, for each point of "At the sliders".

        A point that names no heading is about the widget of the point before.
        """
        points: list[tuple[str, str, str]] = []
        for item in self.items("At the sliders"):
            name, heading = found.groups() if (found := SLIDER.match(item)) else ("", None)
            points.append((name, DIFFICULTY.sub("", heading) if heading else points[-1][1] if points else "", item))
        return points

    def filled(self, claims: Mapping[str, Claim]) -> Notes:
        """The same notes with the claims' figures. Raises ValueError for a figure that is none."""
        return Notes(self.number, fill(self.text, dict(claims)))


def stored(number: str, folder: Path = NOTEBOOKS) -> Notes | None:
    """The notes of the lesson of this number as they are written, without figures; None where it has none."""
    path = folder / f"notes/{number}.md"
    return Notes(number, path.read_text(encoding="utf-8")) if path.exists() else None


def of_cells(notes: Notes, notebook: NotebookNode, claims: Mapping[str, Claim]) -> dict[str, list[tuple[str, str]]]:
    """For a speaker: by the id of a cell, what the notes say of it, as pairs of a title and a text without marks."""
    found: dict[str, list[tuple[str, str]]] = {}
    sliders = [(widget(notebook, name, heading), "At the slider", said) for name, heading, said in notes.sliders()]
    for cell, title, text in [*((find(notebook, place), *said) for place, *said in _parts(notes)), *sliders]:
        if cell:
            found.setdefault(cell.id, []).append((title, plain(fill(text, dict(claims)))))
    return found


def _parts(notes: Notes) -> Iterator[tuple[str, str, str]]:
    """The parts of the notes: what is found in the lesson where each belongs, its title and its text."""
    for minutes, what, where in notes.plan():
        yield f"# {where[0]}", f"Plan, {minutes} min", what
    for item in notes.items("Ask before moving"):
        yield from ((claim, "Ask", item) for claim, _ in PLACE.findall(item)[:1])
    for item in notes.items("Misunderstandings"):
        yield from ((title, "Misunderstanding", item) for title in PICTURE.findall(item)[:1])


def find(notebook: NotebookNode, place: str) -> NotebookNode | None:
    """The first cell of a lesson with this heading (after "# "), or with this text in its code, its prose or a picture."""
    if place.startswith("# "):
        return next((cell for cell in notebook.cells if place[2:] in headings(cell)), None)
    shown = lambda cell: " ".join(re.sub(r'"\s+f?"', "", text) for text in _texts(cell))
    return next((cell for cell in notebook.cells if place in " ".join(shown(cell).split())), None)


def widget(notebook: NotebookNode, name: str, heading: str) -> NotebookNode | None:
    """The first cell under a heading whose code calls the widget of this name."""
    here = ""
    for cell in notebook.cells:
        here = [here, *headings(cell)][-1]
        if here == heading and cell.cell_type == "code" and re.search(rf"\b{name}\(", cell.source):
            return cell
    return None


def headings(cell: NotebookNode) -> list[str]:
    """The headings of a cell of text, without the difficulty of an exercise."""
    found = re.findall(r"^##+ (.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
    return [DIFFICULTY.sub("", heading) for heading in found]


def _texts(cell: NotebookNode) -> Iterator[str]:
    """What a cell says: its source, and the text of the pictures that it shows."""
    yield cell.source
    for output in cell.get("outputs", ()):
        yield from re.findall(r'alt="([^"]*)"', output.get("data", {}).get("text/html", ""))
