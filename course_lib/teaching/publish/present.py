"""A lesson as slides for a lecture hall: one for each section, large type, live widgets, a clock, and stops for the sliders."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from course_lib.files import WORK, write_atomically
from course_lib.teaching.publish.export import page

HERE = Path(__file__).parent / "page"
MARK = '<script>document.documentElement.classList.add("slides")</script>'
"""What tells widgets, before they start, that they stand on slides."""


def split_at_headings(notebook: NotebookNode) -> NotebookNode:
    """The notebook with every heading at the start of a cell of its own, so that slides can begin there."""
    made = copy.deepcopy(notebook)
    made.cells = []
    for cell in notebook.cells:
        parts = re.split(r"^(?=#{2,3} )", cell.source, flags=re.MULTILINE) if cell.cell_type == "markdown" else [cell.source]
        parts = [part for part in parts if part.strip()]
        if len(parts) <= 1:
            made.cells.append(copy.deepcopy(cell))
        else:
            made.cells += [new_markdown_cell(part.strip(), id=f"{cell.id}-{k}") for k, part in enumerate(parts)]
    return made


def present(source: Path, folder: Path = WORK / "build") -> Path:
    """The path of the slides of a source's stored notebook: one self-contained page.

    Keys: PageUp and PageDown, or the arrows where no widget has the focus, turn; `.` and `,` move the slide's slider to its
    next and last stop; `c` shows and hides the code; `f` fills the screen. The footer shows slide, minutes and time.
    """
    notebook = nbformat.read(source.parents[1] / f"{source.stem}.ipynb", as_version=4)
    css, script = ((HERE / f"present.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    html = page(split_at_headings(notebook)).replace("</head>", f"<style>{css}</style>\n{MARK}\n</head>", 1)
    head, _, tail = html.rpartition("</body>")
    return write_atomically(folder / f"{source.stem}_slides.html", f"{head}<script>{script}</script>\n</body>{tail}")
