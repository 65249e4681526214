"""A lesson for readers: what only a notebook can do is left out."""

from __future__ import annotations

import copy
import re

from nbformat import NotebookNode

from course_lib.teaching.publish.address import LINKS_LINE

ONLY_IN_NOTEBOOKS = re.compile(r"<!-- notebook -->.*?<!-- /notebook -->\n?", re.DOTALL)
"""Sentences for who has a kernel, such as "run the cell again", between these marks."""
OF_A_KERNEL = re.compile(r'^(environment\(\)|course_map\("[0-9]{2}"\))\Z', re.MULTILINE)
"""The last line of a cell that shows the machine, or the map, which a page of the site has at its end."""
SOLUTION = re.compile(r'check\.solution\("\w+"\)')
UNTOUCHED = "○"
"""How the verdict on an exercise begins that was not started."""


def for_readers(notebook: NotebookNode, links: bool = True) -> NotebookNode:
    """The notebook without what needs a kernel; its links to Colab and Binder stay where they lead somewhere (`links`)."""
    made = copy.deepcopy(notebook)
    made.cells = [cell for cell in made.cells if cell.cell_type != "code" or not OF_A_KERNEL.search(cell.source)]
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = ONLY_IN_NOTEBOOKS.sub("", cell.source).strip()
            continue
        if SOLUTION.fullmatch(cell.source):
            cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "hide-input"]
        cell.outputs = [o for o in cell.outputs if not o.get("data", {}).get("text/plain", "").startswith(UNTOUCHED)]
    if not links:
        made.cells[0].source = LINKS_LINE.sub("", made.cells[0].source)
    return made
