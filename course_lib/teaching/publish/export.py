"""Notebooks as web pages that open from disk: scripts and equations inside, nothing fetched."""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import MarkdownWithMath
from nbformat import NotebookNode

from course_lib.files import WORK, write_atomically
from course_lib.teaching.publish.equations import Renderer
from course_lib.teaching.publish.execute import tidy


class Page(HTMLExporter):
    """nbconvert's HTML in the course's own template, with its equations as SVG."""

    template_name = "page"
    extra_template_basedirs = [str(Path(__file__).parent)]

    @pass_context
    def markdown2html(self, context, source):
        attachments = context.get("cell", {}).get("attachments", {})
        return MarkdownWithMath(renderer=Renderer(escape=False, attachments=attachments)).render(source)


def page(notebook: NotebookNode) -> str:
    """The notebook with its stored outputs as one HTML page, without the setup cell, which no page needs."""
    title = notebook.cells[0].source.partition("\n")[0].lstrip("# ")
    shown = tidy(copy.deepcopy(notebook))
    shown.cells = [cell for cell in shown.cells if cell.get("id") != "setup"]
    return Page().from_notebook_node(shown, {"metadata": {"name": title}})[0]


def export(source: Path, notebook: NotebookNode | None = None, folder: Path = WORK / "build") -> Path:
    """The path of the written page: that of `notebook`, by default the one stored for the source."""
    notebook = notebook or nbformat.read(source.parents[1] / f"{source.stem}.ipynb", as_version=4)
    return write_atomically(folder / f"{source.stem}.html", page(notebook))
