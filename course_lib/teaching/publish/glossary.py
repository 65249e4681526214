"""The words of the course: each term with the lesson that introduces it, from the section "Words" of every lesson."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from course_lib.teaching.publish.text import below

TERM = re.compile(r"^- \*\*([^*]+)\*\*: (.+(?:\n  .+)*)$", re.MULTILINE)


@dataclass(frozen=True)
class Term:
    """A term, its definition in one line, and the file name of the lesson that introduces it, without its ending."""

    name: str
    definition: str
    lesson: str


def section(notebook: NotebookNode, heading: str) -> str:
    """The Markdown below a heading of the second level, up to the next one; empty where a lesson has no such heading."""
    return below("\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"), heading)


def terms(notebook: NotebookNode, lesson: str) -> list[Term]:
    """The terms of a lesson's section "Words", in order: its lines `- **term**: definition`."""
    return [Term(name, " ".join(text.split()), lesson) for name, text in TERM.findall(section(notebook, "Words"))]


def page(sources: Sequence[Path]) -> str:
    """The text of notebooks/GLOSSARY.md: the terms of these sources, in alphabetical order. Raises ValueError for one twice."""
    from course_lib.teaching.publish.build import read

    found: dict[str, Term] = {}
    for source in sources:
        for term in terms(read(source), source.stem):
            if (key := term.name.lower()) in found:
                raise ValueError(
                    f"term must be defined once, got {term.name!r} in {found[key].lesson[:2]} and in {term.lesson[:2]}"
                )
            found[key] = term
    rows = [f"- **{t.name}** ([{t.lesson[:2]}]({t.lesson}.ipynb)): {t.definition}" for _, t in sorted(found.items())]
    return "\n".join(
        [
            "# Words",
            "",
            "Each term of the course, with the lesson that introduces it. `course build` writes this page.",
            "",
            *rows,
            "",
        ]
    )
