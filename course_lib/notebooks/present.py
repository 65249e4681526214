"""A lesson as slides for a lecture hall: one a section, large type, widgets that move, a clock, and stops for the sliders."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from course_lib.notebooks import ROOT
from course_lib.notebooks.address import write
from course_lib.notebooks.export import page

HERE = Path(__file__).parent / "page"


def split(notebook: NotebookNode) -> NotebookNode:
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


def present(source: Path, folder: Path = ROOT / "build") -> Path:
    """Writes the stored notebook of a source as slides, one self-contained page, and returns its path.

    Keys: PageUp and PageDown, or the arrows where no widget has the focus, turn; `.` and `,` move the slide's slider to its
    next and last stop; `c` shows and hides the code; `f` fills the screen. The foot says the slide, its minutes, and the time.
    """
    notebook = nbformat.read(source.parents[1] / f"{source.stem}.ipynb", as_version=4)
    look, script = ((HERE / f"present.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    html = page(split(notebook)).replace("</head>", f"<style>{look}</style>\n</head>", 1)
    head, _, tail = html.rpartition("</body>")
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{source.stem}_slides.html", f"{head}<script>{script}</script>\n</body>{tail}")
    return folder / f"{source.stem}_slides.html"
