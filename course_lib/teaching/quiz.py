"""Questions about a lesson, made from what it measured and from its exercises: a search or a chatbot has not seen the figures.

Each question has one answer, which the records give: a claim of the stored notebooks, a check, or a file of data/figures.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from random import Random

import numpy as np

from course_lib import validate
from course_lib.files import NOTEBOOKS
from course_lib.teaching import checks
from course_lib.teaching.checks.check import Check
from course_lib.teaching.claims import SAID, Claim
from course_lib.teaching.evidence import compare, estimate
from course_lib.teaching.orders import ORDERS
from course_lib.teaching.progress import exercises
from course_lib.teaching.publish import claim_table

KINDS = ("figure", "verdict", "bug", "control", "order")
LETTERS = "ABCD"
ASKED, HIDDEN = "▢", "…"
"""What stands in a measured text for the figure in question, and for its other figures."""
LONGEST = {"lines": 14, "columns": 116}
"""The most lines and characters a line of a question's code, so that ten questions fit on a page."""
MOST = {"bug": 3, "control": 2}
"""The most questions of a kind in a quiz: code is long, and one null model gives away another."""
NUMBER = re.compile(r"(?<![\w.,])([-+]?)(\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]\d+)?)((?: ± <?[\d.]+)?(?: ?%| dB| ms)?)(?!\w|[.,]\d)")
CONDITION = re.compile(r"(=|\b(at|above|under|over|below|than|near|blur|noise|JPEG|luck|chance|rate of)) ?$")
"""What stands before a number that is no result, such as "t = "."""
CONDITION_AFTER = re.compile(r" (or more|in training|times that|would be)")


@dataclass(frozen=True)
class Question:
    """One question: its `kind` of KINDS, its text, lines of code or '', the choices, and which is right.

    `answer` is the index of the right choice; of the kind "order" the indices of all choices in the right order. `why` is a
    sentence, and `source` the id of the claim, the name of the exercise, or the file of figures that it is from.
    """

    kind: str
    text: str
    code: str
    choices: tuple[str, ...]
    answer: int | tuple[int, ...]
    why: str
    source: str

    @property
    def letters(self) -> str:
        """The answer as a reader writes it down: "B", or "C A D B" for an order."""
        places = self.answer if isinstance(self.answer, tuple) else (self.answer,)
        return " ".join(LETTERS[k] for k in places)

    @property
    def lettered(self) -> list[tuple[str, str]]:
        """Each choice after its letter."""
        return list(zip(LETTERS, self.choices))

    @property
    def short(self) -> bool:
        """Whether the choices stand side by side on one line."""
        return sum(map(len, self.choices)) <= 72

    @property
    def solution(self) -> str:
        """The answer in words; '' for an order, where the letters and `why` say it."""
        return self.choices[self.answer] if isinstance(self.answer, int) else ""


def quiz(lesson: str, seed: int = 0, n: int | None = None) -> list[Question]:
    """`n` questions about a lesson, such as "07", of all kinds that it has records for; another seed gives others.

    By default there are ten, or all where there are fewer. A claim, an exercise or a file's figure is asked about once; where a
    lesson has too few, several figures of a claim are. No question shows what another asks for. Raises TypeError or ValueError
    for a lesson without claims, a negative seed, or an n of more questions than there are.
    """
    found = _claims()
    validate.choice("lesson", lesson, sorted({claim.lesson[:2] for claim in found}))
    validate.at_least("seed", seed, 0)
    if n is not None:
        validate.at_least("n", n, 1)
    rng = Random(f"{lesson} {seed}")
    mine = [claim for claim in found if claim.lesson[:2] == lesson and not claim.statement.startswith("And ")]
    made = list(islice(_questions(lesson, mine, [claim for claim in found if claim not in mine], rng), n or 10))
    if n is not None:
        validate.at_least("n", n, 1, len(made))
    return rng.sample(made, n or len(made))


def _claims() -> list[Claim]:
    """The claims of all stored notebooks."""
    return list(claim_table.gather(sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))))


def _questions(lesson: str, mine: list[Claim], others: list[Claim], rng: Random) -> Iterator[Question]:
    """All questions about a lesson that one quiz may hold: of each kind in turn, and the most varied first."""
    mine = rng.sample(mine, len(mine))
    rarer = sorted(mine, key=lambda claim: rng.random() * (1 if claim.verdict == "yes" else 0.4))
    about: dict[str, str] = {}  # the claims asked about, and as what: a claim's figures would show its verdict
    told = set()  # the figures asked for: two claims may share one

    def figures_of(claim):
        for question in _figures(claim, rng):
            if question.solution not in told:
                told.add(question.solution)
                yield question

    def of_claims(kind, claims, make):
        for claim in claims:
            if claim.id not in about and (question := make(claim)):
                about[claim.id] = kind
                yield question

    asked = {claim.id: figures_of(claim) for claim in mine}
    kinds = {
        "figure": of_claims("figure", mine, lambda claim: next(asked[claim.id], None)),
        "verdict": of_claims("verdict", rarer, _verdict),
        "bug": _bugs(lesson, rng),
        "control": filter(None, (_control(claim, mine, others, rng) for claim in mine)),
        "order": _orders(lesson, rng),
    }
    turns = zip_longest(*(islice(kinds[kind], MOST.get(kind)) for kind in rng.sample(KINDS, len(KINDS))))
    yield from filter(None, chain.from_iterable(turns))
    for kind in ("figure", "verdict"):  # where that is too few: more figures, all hidden, first of what was asked for one
        more = (asked[claim.id] for claim in mine if about.get(claim.id) == kind)
        yield from filter(None, chain.from_iterable(zip_longest(*more)))


def _choose(rng: Random, right: str, wrong: list[str]) -> tuple[tuple[str, ...], int]:
    """The right choice among the wrong ones, at any place, and that place."""
    choices = rng.sample([right, *wrong], 1 + len(wrong))
    return tuple(choices), choices.index(right)


# Claims


def _verdict(claim: Claim) -> Question:
    choices = tuple(said[2:] for said in SAID.values())
    why = "Measured: " + claim.measured + (f" ({claim.runs})" if claim.runs else "")
    if claim.error.startswith("difference"):  # other errors stand beside the figures
        why += f"; {claim.error}"
    return Question(
        kind="verdict",
        text=f"“{claim.statement}” Does this hold, by what the lesson measured?",
        code="",
        choices=choices,
        answer=list(SAID).index(claim.verdict),
        why=f"{why}.",
        source=claim.id,
    )


def _control(claim: Claim, mine: list[Claim], others: list[Claim], rng: Random) -> Question | None:
    """Which null model the claim is tested on. The others are those of claims that share none with it, its lesson's first."""
    if not claim.nulls:
        return None
    wrong: dict[str, None] = {}  # in order
    for claims in (mine, others):
        names = sorted({name for c in claims if not set(c.nulls) & set(claim.nulls) for name in c.nulls})
        wrong |= dict.fromkeys(rng.sample(names, len(names)))
    if len(wrong) < 3:
        return None
    right = rng.choice(sorted(claim.nulls))
    choices, answer = _choose(rng, right, list(wrong)[:3])
    return Question(
        kind="control",
        text=f"“{claim.statement}” Which null model, a model that lacks what is claimed, did the lesson set beside it?",
        code="",
        choices=choices,
        answer=answer,
        why=f"It does not pass: {claim.nulls[right]}.",
        source=claim.id,
    )


def _figures(claim: Claim, rng: Random) -> Iterator[Question]:
    """A question for each figure of a claim that can be asked for, in any order."""
    spans = _spans(claim)
    for span in rng.sample(spans, len(spans)):
        if question := _figure(claim, span, spans, rng):
            yield question


def _figure(claim: Claim, span: tuple[int, int], spans: list[tuple[int, int]], rng: Random) -> Question | None:
    """What stands at this place of the measured text, whose other figures are hidden. None where it is shown elsewhere."""
    texts = [claim.measured[a:b] for a, b in spans]
    right = texts[spans.index(span)]
    between = _between(claim.measured, spans)
    masked = between[0] + "".join((ASKED if each == span else HIDDEN) + text for each, text in zip(spans, between[1:]))
    number = NUMBER.fullmatch(right)
    if not number or claim_table.stands_in(number[2], f"{claim.statement} {masked}"):
        return None
    pattern = "(.+?)".join(map(re.escape, between))
    scored = [found[1 + spans.index(span)] for text in claim.nulls.values() if (found := re.fullmatch(pattern, text))]
    alike = [text for text in texts + scored if (other := NUMBER.fullmatch(text)) and _unit(other) == _unit(number)]
    wrong, made = sorted(set(alike)), list(_off_by_a_factor(number, rng))
    choices = [right]
    for text in [*rng.sample(wrong, min(2, len(wrong))), *made]:
        if len(choices) < 4 and all(_well_apart(text, other) for other in choices):
            choices.append(text)
    if len(choices) < 4:
        return None
    choices, answer = _choose(rng, right, choices[1:])
    return Question(
        kind="figure",
        text=f"“{claim.statement}” Which figure stands at {ASKED}?\nMeasured: {masked}",
        code="",
        choices=choices,
        answer=answer,
        why=f"Measured: {claim.measured}.",
        source=claim.id,
    )


def _value(number: re.Match) -> float:
    return float((number[1] + number[2]).replace(",", ""))


def _unit(number: re.Match) -> tuple[str, bool, int]:
    """What two figures must share to be mistaken for each other: the unit, an error or none, and the decimals."""
    return number[3].split()[-1] if number[3] else "", "±" in number[3], len(number[2].partition(".")[2])


def _whole(number: re.Match) -> float:
    """1 or 100 for what may be a share, and so is at most that; else infinite."""
    whole = 100 if "%" in number[3] else 1 if "." in number[2] and "e" not in number[2] else math.inf
    return whole if 0 <= _value(number) <= whole else math.inf


def _well_apart(*texts: str) -> bool:
    """Whether two figures differ by what a reader can know: a tenth, three points of a share above one half, two errors."""
    a, b = (NUMBER.fullmatch(text) for text in texts)
    most, whole = max(abs(_value(a)), abs(_value(b))), min(_whole(a), _whole(b))
    error = max([float(found[1]) for number in (a, b) if (found := re.search(r"± <?([\d.]+)", number[3]))], default=0)
    return abs(_value(a) - _value(b)) > max(0.03 * whole if most > whole / 2 else 0.1 * most, 2 * error)


def _between(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """What is left of a text without these parts of it, in their order."""
    return [text[a:b] for a, b in zip([0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)])]


def _spans(claim: Claim) -> list[tuple[int, int]]:
    """Where the results stand in the measured text: the named figures that it holds once, or else what looks like one."""
    if not claim.figures:
        return [found.span() for found in NUMBER.finditer(claim.measured) if _is_result(found)]
    parts = {text for name, text in claim.figures.items() if f"{name}.a" not in claim.figures}  # of a comparison its arms
    taken: list[tuple[int, int]] = []
    once = []
    for text in sorted(parts, key=lambda text: (-len(text), text)):
        places = [found.span() for found in re.finditer(rf"(?<![\w.,]){re.escape(text)}(?: %)?(?!\w|[.,]\d)", claim.measured)]
        places = [(a, b) for a, b in places if all(b <= c or d <= a for c, d in taken)]
        taken += places
        once += places if len(places) == 1 else []
    return sorted(once)


def _is_result(number: re.Match) -> bool:
    """Whether a number in a measured text is a result, not a condition or a count."""
    before, after = number.string[: number.start()], number.string[number.end() :]
    return not (re.fullmatch(r"\d[\d,]*", number[0]) or CONDITION.search(before) or CONDITION_AFTER.match(after))


def _off_by_a_factor(number: re.Match, rng: Random) -> Iterator[str]:
    """Wrong values in the same format: of a share, its odds are multiplied, so that none is above the whole."""
    _, digits, rest = number.groups()
    value, whole, decimals = _value(number), _whole(number), len(digits.partition(".")[2].partition("e")[0])
    spec = f"{'+' if number[1] == '+' else ''}{',' if ',' in digits else ''}.{decimals}{'e' if 'e' in digits else 'f'}"
    factors = (1 / 4, 1 / 2.5, 1 / 1.6, 1.6, 2.5, 4)
    if whole < math.inf:
        least = 10.0**-decimals / 2 / whole
        p = min(max(value / whole, least), 1 - least)
        odds = [p / (1 - p) * factor for factor in (*factors, 1 / 200, 1 / 40, 1 / 10, 10)]
        wrong = [whole * each / (1 + each) for each in odds]
    else:
        wrong = [value * factor for factor in factors]
    for each in rng.sample(wrong, len(wrong)):
        yield f"{each:{spec}}{rest}"


# Exercises


def _bugs(lesson: str, rng: Random) -> Iterator[Question]:
    """One known mistake of each exercise, in code; the choices are diagnoses of the same check."""
    names = exercises()[lesson]
    return filter(None, (_bug(getattr(checks, name), rng) for name in rng.sample(names, len(names))))


def _bug(check: Check, rng: Random) -> Question | None:
    right = without_docstring(check.solution.text.partition("\n\n# In the library")[0])
    mistaken = {says: code for says, edits in check.mistakes.items() if (code := _edited(right, edits))}
    if not mistaken or len(check.mistakes) < 4:
        return None
    says = rng.choice(sorted(mistaken))
    choices, answer = _choose(rng, says, rng.sample(sorted(set(check.mistakes) - {says}), 3))
    lines = [line.strip() for line in right.splitlines() if line not in mistaken[says].splitlines()]
    return Question(
        kind="bug",
        text="This function has one mistake. Which?",
        code=mistaken[says],
        choices=choices,
        answer=answer,
        why=f"Right is: {' / '.join(lines)}" if lines else check.hint,
        source=check.name,
    )


def _edited(code: str, edits: object) -> str:
    """The code with a known mistake; '' where it cannot be made by these edits, or is too long for a page."""
    if not isinstance(edits, dict) or any(code.count(old) != 1 for old in edits):
        return ""
    for old, new in edits.items():
        code = code.replace(old, new)
    lines = _until_return(code)
    return "\n".join(lines) if len(lines) <= LONGEST["lines"] and max(map(len, lines)) <= LONGEST["columns"] else ""


def _until_return(code: str) -> list[str]:
    """The lines of one function up to its first `return` outside a block: an edit may have put one before the right one."""
    (function,) = ast.parse(code).body
    ends = [statement.end_lineno for statement in function.body if isinstance(statement, ast.Return)]
    return code.splitlines()[: min(ends, default=None)]


def without_docstring(source: str) -> str:
    """The source of one function without its docstring."""
    lines, (function,) = source.splitlines(), ast.parse(source).body
    says = function.body[0]
    if ast.get_docstring(function) is not None and len(function.body) > 1:
        del lines[says.lineno - 1 : says.end_lineno]
    return "\n".join(lines).strip()


# Figures of data/figures


def _orders(lesson: str, rng: Random) -> Iterator[Question]:
    """Each order of a lesson, of three or four arms."""
    orders = [order for order in ORDERS if order.lesson == lesson]
    for order in rng.sample(orders, len(orders)):
        values = order.values()
        shuffled = (rng.sample(sorted(values), len(values)) for _ in range(10))
        chosen = max((_told_apart(names, values) for names in shuffled), key=len)
        if len(chosen) < 3:
            continue
        ranked = sorted(chosen, key=lambda name: values[name].mean())
        yield Question(
            kind="order",
            text=f"Order these by {order.by}, the smallest first.",
            code="",
            choices=tuple(chosen),
            answer=tuple(chosen.index(name) for name in ranked),
            why=f"{'; '.join(f'{name} {_short(values[name])}' for name in ranked)}.",
            source=order.file,
        )


def _told_apart(names: list[str], values: dict[str, np.ndarray]) -> list[str]:
    """The first four of these arms that can all be told apart, two by two (`compare`)."""
    chosen: list[str] = []
    for name in names:
        paired = [(values[name], values[other]) for other in chosen]
        if len(chosen) < 4 and all(compare(a, b, paired=len(a) == len(b)).higher is not None for a, b in paired):
            chosen.append(name)
    return chosen


def _short(values: np.ndarray) -> str:
    """The mean and its standard error, to the digits that matter."""
    found = estimate(values)
    return f"{found:{'.0f' if abs(found.mean) >= 100 else '.3f'}}"
