"""Notebooks as web pages that open from disk: scripts and equations inside, nothing fetched."""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import MarkdownWithMath
from nbformat import NotebookNode

from course_lib.notebooks import ROOT
from course_lib.notebooks.address import write
from course_lib.notebooks.equations import Renderer
from course_lib.notebooks.execute import tidy


class Page(HTMLExporter):
    """nbconvert's HTML with our page around it and the equations drawn."""

    template_name = "page"
    extra_template_basedirs = [str(Path(__file__).parent)]

    @pass_context
    def markdown2html(self, context, source):
        attachments = context.get("cell", {}).get("attachments", {})
        return MarkdownWithMath(renderer=Renderer(escape=False, attachments=attachments)).render(source)


def page(notebook: NotebookNode) -> str:
    """The notebook with the outputs that it holds, less the setup cell, which a page has no use for, as one HTML page."""
    title = notebook.cells[0].source.partition("\n")[0].lstrip("# ")
    shown = tidy(copy.deepcopy(notebook))
    shown.cells = [cell for cell in shown.cells if cell.get("id") != "setup"]
    return Page().from_notebook_node(shown, {"metadata": {"name": title}})[0]


def export(source: Path, notebook: NotebookNode | None = None, folder: Path = ROOT / "build") -> Path:
    """Writes the page of `notebook`, or of the one that is stored for the source, and returns the page's path."""
    notebook = notebook or nbformat.read(source.parents[1] / f"{source.stem}.ipynb", as_version=4)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{source.stem}.html", page(notebook))
    return folder / f"{source.stem}.html"
