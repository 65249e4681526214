"""The claims of executed notebooks: gathered, as tables, and written into the prose that speaks of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from nbformat import NotebookNode

from course_lib.teaching.answer import CLAIM
from course_lib.teaching.claims import MIME, VERDICTS, Claim

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
    "bias-plane",
)
"""The ids of the claims in the README: surprising ones, some that hold and some that do not."""
COLUMNS = ("statement", "lesson", "measured", "error", "runs", "null model", "holds")
MARKUP = re.compile(r"[\\`*<&$~|]|(?<![^\W_])_|(?<=\])\(|(?<=\])\[")
PLACE = re.compile(rf"\{{\{{({CLAIM})\.([\w.]+)\}}\}}")
ALMOST = re.compile(r"\{\{\s*[a-z0-9-]+\s*\.[^{}]*\}\}")
README_BLOCK = re.compile(r"(<!-- claims -->\n).*?(<!-- /claims -->)", re.DOTALL)


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
        for made in of_cells(cells, Path(path).stem):
            if made.id in seen:
                raise ValueError(f"id must be unique, got {made.id!r} twice (again in {path.name})")
            seen.add(made.id)
            yield made


def of_cells(cells: Iterable, lesson: str = "") -> Iterator[Claim]:
    """The claims in the outputs of a notebook's cells, in order."""
    for cell in cells:
        for output in cell.get("outputs", []):
            if found := output.get("data", {}).get(MIME):
                yield Claim(**{**found, "lesson": lesson})


# Figures in the prose


def fill(text: str, claims: dict[str, Claim]) -> str:
    """The text with each {{id.figure}} replaced by that figure of that claim, as the claim prints it.

    `{{id.verdict}}` is its verdict. Raises ValueError where there is no such claim or figure.
    """

    def figure(place: re.Match) -> str:
        id, name = place.groups()
        known = {**claims[id].figures, "verdict": claims[id].verdict} if id in claims else {}
        if name not in known:
            among = f"one of {', '.join(known)}" if known else "of a claim that a notebook makes"
            raise ValueError(f"{{{{{id}.{name}}}}} must name a figure, {among}")
        return known[name]

    filled = PLACE.sub(figure, text)
    if almost := ALMOST.search(filled):
        raise ValueError(f"{almost[0]} must be {{{{id.figure}}}}, without blanks")
    return filled


def fill_notebook(notebook: NotebookNode, others: Iterable[Claim] = ()) -> NotebookNode:
    """The same notebook, each {{id.figure}} in its Markdown replaced: of its own claims, or else of `others`."""
    claims = {made.id: made for made in [*others, *of_cells(notebook.cells)]}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = fill(cell.source, claims)
    return notebook


def copied(text: str, claims: Iterable[Claim]) -> Iterator[tuple[str, str]]:
    """What a text says in figures that are a claim's own, without a place: pairs (id.figure, the figure).

    Only figures of two digits or more count; formulas and code are left out.
    """
    prose = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", " ", text, flags=re.DOTALL)
    for made in claims:
        for name, shown in made.figures.items():
            number = shown.split(" ± ")[0]
            if len(re.sub(r"\D", "", number).lstrip("0")) >= 2 and stands_in(number, prose):
                yield f"{made.id}.{name}", number


def stands_in(number: str, text: str) -> bool:
    """Whether a printed number stands in a text, and not as a part of a longer one."""
    return bool(re.search(rf"(?<![\d.,]){re.escape(number)}(?!\d|[.,]\d)", text))


# Tables


def number(claim: Claim) -> str:
    """The number of a claim's lesson."""
    return claim.lesson[:2]


def table(claims: Iterable[Claim], lesson: Callable[[Claim], str] = number) -> str:
    """The claims as a Markdown table of COLUMNS; each is one row, its words as they are.

    `lesson` makes the Markdown of a claim's second cell.
    """
    rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for c in claims:
        statement, *rest = map(_as_cell, (c.statement, c.measured, c.error, c.runs, c.null))
        rows.append(f"| {' | '.join((statement, lesson(c), *rest, c.verdict))} |")
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
    link = lambda claim: f"[{number(claim)}](notebooks/{quote(claim.lesson)}.ipynb)"
    chosen = table((found[id] for id in CHOSEN), link)
    readme, places = README_BLOCK.subn(lambda block: f"{block[1]}{chosen}\n{block[2]}", readme)
    if places != 1:
        raise ValueError(f"readme must hold one place <!-- claims --> ... <!-- /claims -->, got {places}")
    return readme


def page(notebooks: Iterable[Path], lesson: Callable[[Claim], str] = number) -> str:
    """The text of notebooks/CLAIMS.md: every claim of these stored notebooks, and how many do not hold.

    `lesson` makes the Markdown of a claim's second cell.
    """
    found = list(gather(notebooks))
    yes, no, apart = (sum(c.verdict == verdict for c in found) for verdict in VERDICTS.values())
    return f"""# What the course claims, and what was measured

{len(found)} statements, most of them the lecture's, each tested in the lesson that makes it. {yes} hold, {no} do not
hold in miniature, and {apart} cannot be told apart from chance; the lesson says why. `course build` writes this page;
`course claims` measures all of it anew.

A **null model** lacks what is claimed, such as a network before its training. The same condition is applied to it, and must
not pass: a claim that noise passes says nothing.

An **error** is a standard error, over the runs that are named. Where none is given, the figure is exact, or its chance has
not been measured. A verdict needs three runs and two standard errors; of few runs more (Student's t: 4.3 of three runs, 2.8
of five), so that equal arms are told apart in 5 of 100 comparisons.

{table(found, lesson)}
"""
