"""One notebook, executed in a terminal: a line for each section, the training's own progress bar, and a page at the end."""

from __future__ import annotations

import math
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

import nbformat
from nbformat import NotebookNode

from course_lib.teaching.publish.build import fill, read
from course_lib.teaching.publish.execute import Client
from course_lib.teaching.publish.export import export


def run(source: Path) -> Path:
    """The path of the page in build/ of a source's notebook, executed with its progress and its summary printed.

    The stored notebook stays as it is. Raises RuntimeError where a cell raises.
    """
    notebook = read(source)
    with SectionProgress(notebook) as progress:
        Client(notebook, progress, source.parents[1]).run()
    page = export(source, fill(notebook, source))
    stored = source.parents[1] / f"{source.stem}.ipynb"
    figures = beside(notebook, nbformat.read(stored, as_version=4) if stored.exists() else None, source.stem[:2])
    print(*figures, f"\nThe page, which opens from disk: {page}", sep="\n")
    return page


def summary(notebook: NotebookNode) -> list[str]:
    """The lines that cells with the tag 'summary' print."""
    return [line for cell in notebook.cells if "summary" in cell.metadata.get("tags", ()) for line in printed(cell)]


def printed(cell: NotebookNode) -> list[str]:
    """The lines that a cell prints."""
    texts = [o.text for o in cell.get("outputs", ()) if o.output_type == "stream" and o.name == "stdout"]
    return "".join(texts).splitlines()


def trainings(notebook: NotebookNode) -> dict[str, int]:
    """The steps of each training of the notebook, by its name, as `show_progress` prints them."""
    found = (re.match(r"(.+): .*after ([\d,]+) steps? in ", line) for cell in notebook.cells for line in printed(cell))
    return {line[1]: int(line[2].replace(",", "")) for line in found if line}


def beside(notebook: NotebookNode, stored: NotebookNode | None, number: str = "00") -> list[str]:
    """The summary, each figure beside that of the stored notebook, and how many steps each training made beside it.

    A training has a time, so that a slower machine makes fewer steps. If these are far fewer, the lines say what helps.
    """
    if stored is None:
        return summary(notebook)
    from course_lib.training import ENOUGH  # imports torch, which this process does not need before

    steps, theirs = trainings(stored), dict(line.split(": ", 1) for line in summary(stored) if ": " in line)
    made = {name: n for name, n in trainings(notebook).items() if name in steps}
    lines = [f"{name}: {n:,} steps; in the notebook as it ships {steps[name]:,}" for name, n in made.items()]
    if (share := min((n / steps[name] for name, n in made.items()), default=1)) < ENOUGH:
        lines.append(f"These are {100 * share:.0f} % of the steps, so that the figures below are worse than they could be.")
        lines.append(f"More time: `course run {number} --time {math.ceil(1 / share)}`. As it ships: `course export {number}`.")
    for line in summary(notebook):
        name = line.partition(": ")[0]
        lines.append(f"{line}; in the notebook as it ships {theirs[name]}" if name in theirs else line)
    return lines


class SectionProgress:
    """A line for each section: cells done, seconds, and the heading or, during training, the newest line of its progress bar.

    In a terminal the line is refreshed five times a second; elsewhere it is printed once, when the section is over.
    """

    def __init__(self, notebook: NotebookNode, out: TextIO | None = None):
        self.heading_of, heading = {}, ""
        for cell in notebook.cells:
            if cell.cell_type == "markdown" and (found := re.findall(r"^#{1,2} +(.+)$", cell.source, re.MULTILINE)):
                heading = found[-1]
            elif cell.cell_type == "code":
                self.heading_of[cell.id] = heading
        self.out = out or sys.stdout
        self.live = self.out.isatty()
        self.done, self.heading, self.newest, self.begun = 0, "", "", time.perf_counter()
        self.lock, self.over = threading.Lock(), threading.Event()
        self.refreshing = threading.Thread(target=self.refresh, daemon=True)

    def __enter__(self):
        if self.live:
            self.refreshing.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        if self.live:
            self.refreshing.join()
        self.close_section()

    def start(self, cell: NotebookNode) -> None:
        if self.heading_of[cell.id] != self.heading:
            self.close_section()
            self.heading, self.begun = self.heading_of[cell.id], time.perf_counter()

    def text(self, line: str) -> None:
        self.newest = line

    def end(self, cell: NotebookNode) -> None:
        self.done, self.newest = self.done + 1, ""

    def times(self) -> str:
        return f"{self.done:3d}/{len(self.heading_of)} {time.perf_counter() - self.begun:6.1f} s  "

    def close_section(self) -> None:
        if self.heading:
            with self.lock:
                print(("\r\033[K" if self.live else "") + self.times() + self.heading, file=self.out, flush=True)
            self.heading = ""

    def refresh(self) -> None:
        while not self.over.wait(0.2):
            with self.lock:
                if self.heading:
                    line = f"{self.times()}{self.newest or self.heading}"[: shutil.get_terminal_size().columns - 1]
                    print(f"\r\033[K{line}", end="", file=self.out, flush=True)
