"""Claims: a statement, the figure measured for it, and whether it holds. Notebooks make them; `course claims` lists them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

MIME = "application/vnd.course.claim+json"
CHOSEN = (
    "eps-loss-floor",
    "score-plain-langevin",
    "three-fidelity",
    "cfg-tradeoff",
    "cfg-not-tilted",
    "text-order-of-words",
    "latent-equal-time",
    "drawbench-imagen-before-unclip",
    "ddim-same-noise",
    "consistency-guided",
    "copy-duplicates",
    "bias-digits-near",
)
"""The ids of the claims in the README: surprising ones, some that hold and some that do not."""
MARKUP = re.compile(r"[\\`*<&$~|]|(?<![^\W_])_|(?<=\])\(|(?<=\])\[")
README_BLOCK = re.compile(r"(<!-- claims -->\n).*?(<!-- /claims -->)", re.DOTALL)


@dataclass(frozen=True)
class Claim:
    """One row of the table: `id` is unique, `statement` a sentence, `measured` the figure, `holds` the verdict."""

    id: str
    statement: str
    measured: str
    holds: bool
    lesson: str = ""

    def __str__(self):
        return f"{'holds' if self.holds else 'DOES NOT HOLD'}: {self.statement} Measured: {self.measured} [{self.id}]"

    def _repr_mimebundle_(self, include=None, exclude=None):
        verdict = "✓ holds" if self.holds else "✗ does not hold here"
        rich = (
            f'<div role="note" style="border-left:.4em solid {"#009E73" if self.holds else "#D55E00"};padding:.3em .8em;'
            f'font-size:1.1em"><b>{verdict}.</b> {html.escape(self.statement)}<br>Measured: {html.escape(self.measured)}</div>'
        )
        return {"text/plain": str(self), "text/html": rich, MIME: asdict(self)}


def claim(id: str, statement: str, *, measured: str, holds: bool, expected: bool = True) -> Claim:
    """The claim, for the end of a notebook cell. Raises AssertionError where the verdict is not the expected one.

    `measured` is the figure, rounded so that every machine gives the same. `expected=False` is for a statement that does not
    hold at this size: it is shown as such, and raises if it holds one day.
    Raises ValueError where the id is not lower-case words joined by hyphens.
    """
    for name, text in (("id", id), ("statement", statement), ("measured", measured)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} must be text, got {text!r}")
    if holds is None or isinstance(holds, str):
        raise TypeError(f"holds must be True or False, got {holds!r}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id):
        raise ValueError(f"id must be lower-case words joined by hyphens, got {id!r}")
    made = Claim(id, statement, measured, bool(holds))
    if made.holds != expected:
        raise AssertionError(str(made) if expected else f"holds after all, rewrite the lesson: {made}")
    return made


def gather(notebooks: Iterable[Path]) -> Iterator[Claim]:
    """The claims in the outputs of executed notebooks, in order. Raises ValueError where two share an id."""
    if isinstance(notebooks, str) or not isinstance(notebooks, Iterable):
        raise TypeError(f"notebooks must be paths of notebooks, got {notebooks!r}")
    seen = set()
    for path in notebooks:
        try:
            cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"notebooks must be paths of notebooks, got {path}: {error}") from None
        for cell in cells:
            for output in cell.get("outputs", []):
                if found := output.get("data", {}).get(MIME):
                    made = Claim(**{**found, "lesson": Path(path).stem})
                    if made.id in seen:
                        raise ValueError(f"id must be unique, got {made.id!r} twice (again in {path.name})")
                    seen.add(made.id)
                    yield made


def table(claims: Iterable[Claim], lesson: Callable[[str], str] = lambda lesson: lesson[:2]) -> str:
    """The claims as a Markdown table: statement, lesson, measured, holds; each is one row, its words as they are.

    `lesson` makes the Markdown of the second cell from a notebook's name.
    """
    rows = ["| statement | lesson | measured | holds |", "|---|---|---|---|"]
    for c in claims:
        verdict = "yes" if c.holds else "no"
        rows.append(f"| {_as_cell(c.statement)} | {lesson(c.lesson)} | {_as_cell(c.measured)} | {verdict} |")
    return "\n".join(rows)


def _as_cell(text: str) -> str:
    """The text on one line, with a backslash before all that Markdown, HTML or mathematics would begin with."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.splitlines()))


def in_readme(readme: str, notebooks: Iterable[Path]) -> str:
    """The README with the CHOSEN claims of these notebooks between its claims marks, each with a link to its lesson.

    Raises ValueError where no notebook makes one of them, or where the README does not have the marks exactly once.
    """
    found = {c.id: c for c in gather(notebooks)}
    if missing := [id for id in CHOSEN if id not in found]:
        raise ValueError(f"CHOSEN must be ids of claims, got {missing[0]!r}, which no notebook makes")
    link = lambda lesson: f"[{lesson[:2]}](notebooks/{quote(lesson)}.ipynb)"
    chosen = table((found[id] for id in CHOSEN), link)
    readme, places = README_BLOCK.subn(lambda block: f"{block[1]}{chosen}\n{block[2]}", readme)
    if places != 1:
        raise ValueError(f"readme must hold one place <!-- claims --> ... <!-- /claims -->, got {places}")
    return readme


def page(notebooks: Iterable[Path]) -> str:
    """The text of notebooks/CLAIMS.md: every claim of these stored notebooks, and how many do not hold."""
    found = list(gather(notebooks))
    failed = sum(not c.holds for c in found)
    return (
        "# What the course claims, and what was measured\n\n"
        f"{len(found)} statements, most of them the lecture's, each tested in the lesson that makes it. {failed} do not hold\n"
        "in miniature; the lesson says why. `course build` writes this page; `course claims` measures\n"
        f"all of it anew.\n\n{table(found)}\n"
    )
