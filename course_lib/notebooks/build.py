"""Sources to notebooks: notebooks/src/NN_name.py, percent cells, becomes notebooks/NN_name.ipynb, executed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jupytext
from nbformat import NotebookNode

from course_lib.notebooks import FOLDER, ROOT, address
from course_lib.notebooks.execute import Client, tidy


def sources(numbers: Sequence[str] = (), folder: Path = FOLDER) -> list[Path]:
    """The sources whose names begin with one of `numbers`; all of them without any. Raises ValueError where one has none."""
    every = sorted((folder / "src").glob("[0-9][0-9]_*.py"))
    for number in numbers:
        if not any(path.name.startswith(number) for path in every):
            known = ", ".join(path.stem for path in every) or "none yet"
            raise ValueError(f"no lesson begins with {number!r}; there are: {known}")
    return [path for path in every if not numbers or path.name.startswith(tuple(numbers))]


def read(source: Path) -> NotebookNode:
    """The notebook of a source, not executed, with badges, setup cell and ids that stay the same."""
    notebook = address.dress(jupytext.read(source, fmt="py:percent"), source.stem, address.read())
    for i, cell in enumerate(notebook.cells):
        if cell.id != "setup":
            cell.id = f"{source.stem[:2]}-{i:03d}"
    notebook.nbformat_minor = 5
    return notebook


def build(source: Path, folder: Path | None = None) -> Path:
    """Executes a source's notebook and stores it, in notebooks/ or in `folder`; says on stderr what each cell took.

    Raises RuntimeError where a cell raises, and then leaves all as it was.
    """
    notebook, path = read(source), (folder or source.parents[1]) / f"{source.stem}.ipynb"
    Client(notebook, Lines(notebook, source.stem), source.parents[1]).run()
    path.parent.mkdir(parents=True, exist_ok=True)
    address.write(path, address.to_text(tidy(notebook)))
    return path


def fresh(numbers: Sequence[str] = ()) -> Iterator[Path]:
    """The lessons of those numbers, or all, each executed anew into build/, which leaves the stored ones alone."""
    for source in sources(numbers):
        yield build(source, ROOT / "build")


class Lines:
    """One line on stderr for each code cell: its place, its seconds, how it begins."""

    def __init__(self, notebook: NotebookNode, name: str):
        print(name, file=sys.stderr, flush=True)
        self.of = sum(cell.cell_type == "code" for cell in notebook.cells)
        self.at, self.begun, self.first = 0, time.perf_counter(), time.perf_counter()

    def start(self, cell: NotebookNode) -> None:
        self.at, self.begun = self.at + 1, time.perf_counter()

    def text(self, words: str) -> None:
        pass

    def end(self, cell: NotebookNode) -> None:
        now = time.perf_counter()
        begins = cell.source.strip().splitlines()[0][:90]
        print(f"  {self.at:3d}/{self.of} {now - self.begun:6.1f} s  {begins}", file=sys.stderr, flush=True)
        if self.at == self.of:
            print(f"  in all  {now - self.first:6.1f} s", file=sys.stderr, flush=True)
