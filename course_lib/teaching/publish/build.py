"""From sources to notebooks: notebooks/src/NN_name.py, in percent cells, becomes notebooks/NN_name.ipynb, executed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from course_lib.files import NOTEBOOKS, WORK, write_atomically
from course_lib.teaching import dictionary
from course_lib.teaching.course_map import course_map
from course_lib.teaching.publish import address
from course_lib.teaching.publish.execute import Client, tidy

MAP = re.compile(r'^course_map\("([0-9]{2})"\)\Z', re.MULTILINE)
"""The end of a cell that shows the map of the course, with the number of its lesson."""


def sources(numbers: Sequence[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """The sources of the lessons of these numbers, or of all lessons. Raises ValueError for a number without a source."""
    every = sorted((folder / "src").glob("[0-9][0-9]_*.py"))
    for number in numbers if isinstance(numbers, list | tuple) else [numbers]:
        if not isinstance(number, str) or not any(path.name.startswith(number) for path in every):
            known = ", ".join(path.stem[:2] for path in every) or "none yet"
            raise ValueError(f"numbers must be those of lessons, {known}, got {number!r}")
    return [path for path in every if not numbers or path.name.startswith(tuple(numbers))]


ASK = re.compile(r"\s*<!-- Ask: (.+?) -->", re.DOTALL)
"""A speaker's question in a source, at the end of the text before the widget that it is about. Notebooks are without it."""


def read(source: Path) -> NotebookNode:
    """The notebook of a source, not executed, with links, its rows of the dictionary, the setup cell and constant cell ids."""
    notebook = _read(source)
    for cell in notebook.cells:
        cell.source = ASK.sub("", cell.source)
    return notebook


def questions(source: Path) -> dict[str, str]:
    """The questions for a speaker to ask, by the ids of the cells whose widgets they are about."""
    cells = _read(source).cells
    return {after.id: found[1] for cell, after in pairwise(cells) if (found := ASK.search(cell.source))}


def _read(source: Path) -> NotebookNode:
    notebook = address.add_links_and_setup(jupytext.read(source, fmt="py:percent"), source.stem, address.read())
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and dictionary.PLACE in cell.source:
            cell.source = cell.source.replace(dictionary.PLACE, dictionary.in_lesson(source.stem[:2]))
        if cell.id != "setup":
            cell.id = f"{source.stem[:2]}-{i:03d}"
    notebook.nbformat_minor = 5
    return notebook


def build(source: Path, folder: Path | None = None) -> Path:
    """The path of a source's notebook, executed and stored in notebooks/ or in `folder`; each cell's time goes to stderr.

    Figures in its prose are those of its claims. Raises RuntimeError where a cell raises, and ValueError where the prose names
    a figure that is none; the stored notebook then stays as it was.
    """
    notebook, path = read(source), (folder or source.parents[1]) / f"{source.stem}.ipynb"
    Client(notebook, CellTimes(notebook, source.stem), source.parents[1]).run()
    return write_atomically(path, address.to_text(tidy(fill(notebook, source))))


def fill(notebook: NotebookNode, source: Path) -> NotebookNode:
    """The same executed notebook of a source, with the figures of its claims, and of those of other lessons, in its prose.

    Raises ValueError where the prose names a figure that is none, or another lesson has a claim of the same id.
    """
    from course_lib.teaching.publish import claim_table  # imports torch, which a process that only builds does not need before

    others = list(claim_table.gather(path for path in _stored(source.parents[1]) if path.stem != source.stem))
    for made in claim_table.of_cells(notebook.cells):
        if where := [other.lesson for other in others if other.id == made.id]:
            raise ValueError(f"id must be unique, got {made.id!r}, which {where[0]} has, too")
    return claim_table.fill_notebook(notebook, others)


def _stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def refill(folder: Path = NOTEBOOKS) -> None:
    """Writes the figures of the stored claims into the prose of all stored notebooks, and today's map of the course.

    Their code and other outputs stay.
    """
    from course_lib.teaching.publish import claim_table

    claims = list(claim_table.gather(_stored(folder)))
    filled = [(source, claim_table.fill_notebook(read(source), claims)) for source in sources(folder=folder)]
    for source, made in filled:
        path, fresh = folder / f"{source.stem}.ipynb", {cell.id: cell.source for cell in made.cells}
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown" and cell.id in fresh:
                cell.source = fresh[cell.id]
            elif here := MAP.search(cell.source):
                cell.outputs[-1].data = shown(course_map(here[1]))
        if (text := address.to_text(notebook)) != path.read_text(encoding="utf-8"):
            write_atomically(path, text)


def shown(course_map) -> dict[str, str]:
    """The data of the output that a map of the course makes."""
    return {"text/html": course_map._repr_html_(), "text/plain": repr(course_map)}


def rebuilt(numbers: Sequence[str] = ()) -> Iterator[Path]:
    """The notebooks of these lessons, or of all, each executed into build/; the stored ones stay as they are."""
    for source in sources(numbers):
        yield build(source, WORK / "build")


class CellTimes:
    """One line on stderr for each code cell: its number, its seconds and its first line."""

    def __init__(self, notebook: NotebookNode, name: str):
        print(name, file=sys.stderr, flush=True)
        self.count = sum(cell.cell_type == "code" for cell in notebook.cells)
        self.done, self.cell_begun, self.begun = 0, time.perf_counter(), time.perf_counter()

    def start(self, cell: NotebookNode) -> None:
        self.cell_begun = time.perf_counter()

    def text(self, line: str) -> None:
        pass

    def end(self, cell: NotebookNode) -> None:
        self.done, now = self.done + 1, time.perf_counter()
        first_line = cell.source.strip().splitlines()[0][:90]
        print(f"  {self.done:3d}/{self.count} {now - self.cell_begun:6.1f} s  {first_line}", file=sys.stderr, flush=True)
        if self.done == self.count:
            print(f"  in all  {now - self.begun:6.1f} s", file=sys.stderr, flush=True)
