"""Links in a lesson's text: every lesson and paper that it names, and every name that its code imports from the library."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from course_lib.teaching.publish.papers import Paper, citations, cited, listed

# What stays as it is in Markdown: code, mathematics, headings, links, pictures, tags and comments.
KEPT = re.compile(
    r"```.*?```|``.*?``|`[^`]*`|\$\$.*?\$\$|\$[^$]+\$|^\#+ [^\n]*|!?\[[^\]]*\]\([^)]*\)|<!--.*?-->|<a\b.*?</a>|<[^>]+>",
    re.DOTALL | re.MULTILINE,
)
MARK = "\ue000{}\ue001"
MARKED = re.compile("\ue000(\\d+)\ue001")
TO_LESSON = re.compile(r"\[([^\]]*)\]\((?:\./)?([0-9]{2})_\w+\.ipynb\)")
NUMBERS = re.compile(
    r"\b([Ll]esson\s+[0-9]{2})\b"
    r"|\b[Ll]essons\s+[0-9]{2}\b(?:(?:'s)?(?:\s+\([^()]*\))?(?:,\s+|,?\s+(?:and|or|to)\s+)[0-9]{2}\b)+"
)
ONE = re.compile(r"\([^()]*\)|[0-9]{2}")
IMPORT = re.compile(r'<span class="nn">(course_lib[\w.]*)</span>.*?(?=\n\S|\n\n|</pre>)', re.DOTALL)
IMPORTED = re.compile(r'<span class="n">(\w+)</span>')
CODE = re.compile(r"<code>([\w.]+)(\(\))?</code>(?!</a>)")


@dataclass(frozen=True)
class Target:
    """Where a link leads, and what stands on its card."""

    href: str
    line: str

    def link(self, content: str, kind: str) -> str:
        """The link around HTML or Markdown."""
        line = escape(self.line).replace("$", "&#36;").replace("|", "&#124;")  # no equation, and no cell of a table
        return f'<a class="{kind}" href="{escape(self.href)}" data-card="{line}">{content}</a>'


@dataclass(frozen=True)
class Linker:
    """Puts links into the Markdown and the pages of lessons: `lessons` by number, `papers`, `library` by dotted name."""

    lessons: Mapping[str, Target]
    papers: tuple[Paper, ...]
    library: Mapping[str, Target]

    def markdown(self, text: str, opening: str) -> str:
        """A cell of a lesson with its links; `opening` is the lesson's first cell, which lists its papers."""
        kept: list[str] = []

        def keep(part: str) -> str:
            kept.append(part)
            return MARK.format(len(kept) - 1)

        if lists_papers := text == opening:
            for paper in self.papers:
                link = keep(self._paper(paper, f"<em>{paper.title}</em>"))
                text = re.sub(paper.as_listed, link, text)
        text = TO_LESSON.sub(lambda found: keep(self._lesson(found[2], found[1])), text)
        text = KEPT.sub(lambda found: keep(found[0]), text)
        text = NUMBERS.sub(lambda found: self._lessons(found, keep), text)
        if not lists_papers:
            here = [paper for paper in self.papers if paper.title in {each.title for each in listed(opening)}]
            text = citations(self.papers).sub(lambda found: self._citation(found, here, keep), text)
        while MARKED.search(text):
            text = MARKED.sub(lambda found: kept[int(found[1])], text)
        return text

    def code(self, page: str) -> str:
        """The page with links on what its code imports from the library, and on those names in its text."""
        names: dict[str, Target] = {}

        def name(module: str, found: re.Match) -> str:
            if (target := self.library.get(f"{module}.{found[1]}")) is None:
                return found[0]
            inside = f"{module}.{found[1]}."
            names.update(
                {found[1]: target}, **{k[len(module) + 1 :]: t for k, t in self.library.items() if k.startswith(inside)}
            )
            return target.link(found[0], "library")

        def imported(found: re.Match) -> str:
            whole, line = self.library.get(found[1]), IMPORTED.sub(lambda each: name(found[1], each), found[0])
            return line.replace(found[1], whole.link(found[1], "library"), 1) if whole else line

        page = IMPORT.sub(imported, page)
        return CODE.sub(lambda found: names[found[1]].link(found[0], "library") if found[1] in names else found[0], page)

    def _citation(self, found: re.Match, here: list[Paper], keep: Callable[[str], str]) -> str:
        paper = cited(found, self.papers, here)
        if paper is None:
            return found[0]
        names = found[0][: found.start("bracket") - found.start() if found["bracket"] else None].rstrip()
        return keep(self._paper(paper, names)) + found[0][len(names) :]

    def _lessons(self, found: re.Match, keep: Callable[[str], str]) -> str:
        if found[1]:
            return keep(self._lesson(found[1][-2:], found[1]))
        return ONE.sub(lambda each: each[0] if each[0][0] == "(" else keep(self._lesson(each[0], each[0])), found[0])

    def _lesson(self, number: str, content: str) -> str:
        return self.lessons[number].link(content, "lesson") if number in self.lessons else content

    @staticmethod
    def _paper(paper: Paper, content: str) -> str:
        return Target(f"papers.html#{paper.id}", paper.line).link(content, "paper")
