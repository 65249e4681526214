"""One notebook, executed in a terminal: a line for each section, the training's own progress bar, and a page at the end."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

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
    print(*summary(notebook), f"\nThe page, which opens from disk: {page}", sep="\n")
    return page


def summary(notebook: NotebookNode) -> list[str]:
    """The printed text of each cell with the tag 'summary'."""
    cells = [cell for cell in notebook.cells if "summary" in cell.metadata.get("tags", ())]
    return [o.text.strip() for cell in cells for o in cell.outputs if o.output_type == "stream" and o.name == "stdout"]


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
