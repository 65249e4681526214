"""The papers of the course, which lessons list in their first cells and page/papers.md lists, and where a text cites one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

OTHERS = (Path(__file__).parent / "page/papers.md").read_text(encoding="utf-8")
LISTED = re.compile(r"\*\*Papers?\*\*\s(.*?)(?=\n\n|\Z)", re.DOTALL)
PAPER = re.compile(r"(?:^(?:- )?|;\s)([^:;*\n]+(?:\n[^:;*\n]+)*):\s\*([^*]+)\*\s\((\d{4})\)", re.MULTILINE)
NAME = r"[A-Z\u00c0-\u017d][\w-]+"
OTHER_AUTHORS = rf"(?:(?:,\s+{NAME})*\s+and\s+(?:{NAME}|others)|\s+et\s+al\.)"


@dataclass(frozen=True)
class Paper:
    """One paper, and the number of the lesson that lists it ("" for page/papers.md)."""

    authors: str
    title: str
    year: str
    lesson: str = ""

    @property
    def surnames(self) -> list[str]:
        """Those of the authors that are named, without "et al." and "and others"."""
        return [author.split()[-1] for author in re.sub(r" (et al\.|and others)$", "", self.authors).split(", ")]

    @property
    def two(self) -> bool:
        """Whether it has exactly two authors."""
        return len(self.surnames) == 2 and not self.authors.endswith(("et al.", "and others"))

    @property
    def id(self) -> str:
        """The anchor of its entry on the page of papers."""
        plain = unicodedata.normalize("NFKD", f"{self.surnames[0]}-{self.year}-{' '.join(self.title.split()[:4])}")
        return re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode().lower()).strip("-")

    @property
    def as_listed(self) -> str:
        """A pattern of its title where a lesson lists it; the first group is the title."""
        return r"\*(" + r"\s+".join(map(re.escape, self.title.split())) + r")\*(?=\s\(" + self.year + r"\))"

    @property
    def line(self) -> str:
        """What stands on the card of a link to it."""
        return f"{self.authors}: {self.title} ({self.year})"

    @property
    def search(self) -> str:
        """The address of a search for it; the course stores no addresses of papers."""
        words = f'"{self.title}" {self.surnames[0]}'
        return f"https://scholar.google.com/scholar?q={quote_plus(words)}"


def listed(text: str, lesson: str = "") -> list[Paper]:
    """The papers that a text lists, each as `Authors: *Title* (Year)`."""
    return [Paper(*(" ".join(part.split()) for part in found), lesson) for found in PAPER.findall(text)]


def papers(openings: dict[str, str]) -> list[Paper]:
    """All papers, each once, by first author and year. `openings` are the first cells of the lessons, by their numbers."""
    every = [paper for number, text in openings.items() for block in LISTED.findall(text) for paper in listed(block, number)]
    once: dict[tuple[str, str], Paper] = {}
    for paper in [*every, *listed(OTHERS)]:
        once.setdefault((paper.title, paper.year), paper)
    return sorted(once.values(), key=lambda paper: (paper.surnames[0], paper.year, not paper.lesson))


def citations(known: Iterable[Paper]) -> re.Pattern:
    """Where a text may cite one of these papers: its authors, mostly with a blank or an opening bracket and the year."""
    first = "|".join(sorted({re.escape(paper.surnames[0]) for paper in known}, key=len, reverse=True))
    return re.compile(rf"\b(?P<first>{first})(?P<others>{OTHER_AUTHORS})?(?:'s?)?(?:,?\s+(?P<bracket>\(?)(?P<year>\d{{4}})\b)?")


def cited(found: re.Match, known: Iterable[Paper], here: Iterable[Paper] = ()) -> Paper | None:
    """The paper that a citation means: the likeliest of several with this author and year; None where none fits.

    `here` are the papers that the lesson lists; only these are cited without a year, and by two names or "et al.".
    """
    second = re.fullmatch(rf"\s+and\s+({NAME})", found["others"] or "")
    likely = known if found["year"] else [p for p in here if found["others"] and p.two == bool(second)]
    fit = [p for p in likely if p.surnames[0] == found["first"] and found["year"] in (p.year, None)]
    fit = [p for p in fit if not second or p.surnames[1:2] == [second[1]]]
    after = " ".join(found.string[found.end() : found.end() + 200].split()).lower()
    before = [word.lstrip("(") for word in found.string[: found.start()].split()[-1:]]
    signs = lambda paper: (
        " ".join(paper.title.partition(":")[0].split()[:3]).lower() in after,
        paper.two == bool(second),
        paper.authors.split()[:1] == before,
        paper in here,
    )
    return max(fit, key=signs, default=None)
