"""One notebook, run in a terminal: which section, how long, the training's own bar, and a page at the end."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from nbformat import NotebookNode

from course_lib.notebooks.build import read, sources
from course_lib.notebooks.execute import Client
from course_lib.notebooks.export import export


def run(source: Path) -> Path:
    """Executes a source's notebook, shows how it goes, writes its page into build/ and prints what its summary cells print.

    A summary cell is one with the tag 'summary'. The stored notebook stays as it is. Raises what the notebook raises.
    """
    notebook = read(source)
    with Bar(notebook) as bar:
        Client(notebook, bar, source.parents[1]).run()
    page = export(source, notebook)
    print(*summary(notebook), f"\nThe page, which opens from disk: {page}", sep="\n")
    return page


def demo() -> Path:
    """The course's first lesson, run from its first cell to its last."""
    return run(*sources(["00"]))


def summary(notebook: NotebookNode) -> list[str]:
    """What the cells with the tag 'summary' printed."""
    cells = [cell for cell in notebook.cells if "summary" in cell.metadata.get("tags", ())]
    return [o.text.strip() for cell in cells for o in cell.outputs if o.output_type == "stream" and o.name == "stdout"]


class Bar:
    """A line for each section: the cells done, its seconds, its heading, which gives way to a training's bar.

    In a terminal the line is drawn anew five times a second; elsewhere it is printed once, when the section is over.
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
        self.done, self.heading, self.words, self.begun = 0, "", "", time.perf_counter()
        self.lock, self.over = threading.Lock(), threading.Event()
        self.drawing = threading.Thread(target=self.draw_often, daemon=True)

    def __enter__(self):
        if self.live:
            self.drawing.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        if self.live:
            self.drawing.join()
        self.close_section()

    def start(self, cell: NotebookNode) -> None:
        if self.heading_of[cell.id] != self.heading:
            self.close_section()
            self.heading, self.begun = self.heading_of[cell.id], time.perf_counter()

    def text(self, words: str) -> None:
        self.words = words

    def end(self, cell: NotebookNode) -> None:
        self.done, self.words = self.done + 1, ""

    def line(self) -> str:
        return f"{self.done:3d}/{len(self.heading_of)} {time.perf_counter() - self.begun:6.1f} s  "

    def close_section(self) -> None:
        if self.heading:
            with self.lock:
                print(("\r\033[K" if self.live else "") + self.line() + self.heading, file=self.out, flush=True)
            self.heading = ""

    def draw_often(self) -> None:
        while not self.over.wait(0.2):
            with self.lock:
                if self.heading:
                    line = f"{self.line()}{self.words or self.heading}"[: shutil.get_terminal_size().columns - 1]
                    print(f"\r\033[K{line}", end="", file=self.out, flush=True)
