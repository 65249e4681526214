"""A lesson as slides for a lecture hall: each fits the screen, with large type, live widgets, stops for sliders, and notes."""

from __future__ import annotations

import copy
import json
import re
from html import escape
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from course_lib.files import WORK, write_atomically
from course_lib.teaching.publish import claim_table, notes
from course_lib.teaching.publish.build import questions
from course_lib.teaching.publish.export import page
from course_lib.widgets.page import bundle

HERE = Path(__file__).parent / "page"
MARK = '<script>document.documentElement.classList.add("slides")</script>'
"""What tells widgets, before they start, that they stand on slides."""
SCRIPT = """<script>
addEventListener("load", () => (() => {{
{modules}
}})().present());
</script>"""
"""Slides are made once all pictures are there, since they are measured."""


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


def without_status(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what the checks of exercises say: a hall has none done."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if '<div role="status"' not in o.get("data", {}).get("text/html", "")[:20]]
    return notebook


def speaker_notes(source: Path, slides: NotebookNode) -> dict[str, list[tuple[str, str]]]:
    """What the lesson's notes for instructors say, by the ids of the slides' cells; empty where it has no notes."""
    found = notes.stored(source.stem[:2], source.parents[1])
    every = claim_table.gather(sorted(source.parents[1].glob("[0-9][0-9]_*.ipynb"))) if found else ()
    return notes.of_cells(found, slides, {made.id: made for made in every}) if found else {}


def present(source: Path, folder: Path = WORK / "build") -> Path:
    """The path of the slides of a source's stored notebook: one self-contained page, whose key `?` shows its keys."""
    notebook = nbformat.read(source.parents[1] / f"{source.stem}.ipynb", as_version=4)
    style = (HERE / "present.css").read_text(encoding="utf-8")
    slides = without_status(split_at_headings(notebook))
    html = page(slides)
    asked = questions(source) if source.is_file() else {}
    said = {cell: json.dumps(pairs) for cell, pairs in speaker_notes(source, slides).items()}
    for name, texts in (("ask", asked), ("notes", said)):
        for cell, text in texts.items():
            html = html.replace(f'id="cell-id={cell}"', f'id="cell-id={cell}" data-{name}="{escape(text)}"', 1)
    html = html.replace("</head>", f"<style>{style}</style>\n{MARK}\n</head>", 1)
    head, _, tail = html.rpartition("</body>")
    script = SCRIPT.format(modules=bundle("present", HERE))
    return write_atomically(folder / f"{source.stem}_slides.html", f"{head}{script}\n</body>{tail}")
