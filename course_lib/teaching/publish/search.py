"""The index of the site's search: sections of lessons, words, claims, papers, and the names of the library."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import unescape

from nbconvert.filters.markdown_mistune import MarkdownWithMath

from course_lib.teaching.claims import Claim
from course_lib.teaching.publish.equations import Renderer
from course_lib.teaching.publish.glossary import Term
from course_lib.teaching.publish.lessons import Lesson
from course_lib.teaching.publish.links import Linker
from course_lib.teaching.publish.text import plain


def entries(
    lessons: Iterable[Lesson], terms: Iterable[Term], claims: Iterable[Claim], cells: Mapping[str, str], linker: Linker
) -> list[dict[str, str]]:
    """All entries: what each is called, its address, of what kind it is, and its text. `cells` are the claims' addresses."""
    found = [
        _entry(term.name, f"words.html#{word_id(term)}", f"word, lesson {term.lesson[:2]}", term.definition) for term in terms
    ]
    found += [entry for lesson in lessons for entry in sections(lesson)]
    found += [_entry(c.statement, cells[c.id], f"claim, lesson {c.lesson[:2]}: {c.verdict}", c.measured) for c in claims]
    found += [
        _entry(paper.title, f"papers.html#{paper.id}", "paper", f"{paper.authors} ({paper.year})") for paper in linker.papers
    ]
    for name, target in linker.library.items():
        found.append(_entry(name.removeprefix("course_lib."), target.href, "library", target.line))
    return found


def sections(lesson: Lesson) -> Iterator[dict[str, str]]:
    """An entry for each section of a lesson: its heading, and its text."""
    kind = f"lesson {lesson.number}, {lesson.title}"
    title, at, text = lesson.title, lesson.href, ""
    for cell in lesson.notebook.cells:
        for block in re.split(r"^(?=#{2,3} )", cell.source if cell.cell_type == "markdown" else "", flags=re.MULTILINE):
            if heading := re.match(r"#{2,3} (.*)\n?", block):
                yield _entry(title, at, kind, text)
                title, at, text = plain(heading[1]), f"{lesson.href}#{_anchor(heading[1])}", block[heading.end() :]
            else:
                text += "\n\n" + block
    yield _entry(title, at, kind, text)


def _entry(title: str, at: str, kind: str, text: str) -> dict[str, str]:
    return {"title": title, "at": at, "kind": kind, "text": plain(text)}


def word_id(term: Term) -> str:
    """The anchor of a term on the page of words."""
    return "word-" + re.sub(r"\W+", "-", term.name.lower())


def _anchor(heading: str) -> str:
    """The id that nbconvert gives a heading."""
    found = re.search(r'id="([^"]+)"', MarkdownWithMath(renderer=Renderer(escape=False)).render(f"## {heading}"))
    return unescape(found[1]) if found else ""
