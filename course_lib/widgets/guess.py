"""Guess first: a question before an experiment, and at a lesson's end how far off the guesses were.

The reader commits to a guess; the page keeps it, and the claim that measures the figure sets it beside what was measured (see
teaching/answer.py). `guess.js` is the other half. It needs no kernel, and on slides it is a poll by show of hands.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from course_lib import validate
from course_lib.teaching.answer import ID, VERDICT, VERDICTS
from course_lib.widgets.page import Fragment, fragment

MIME = "application/vnd.course.guess+json"
STOPS = 100  # of a slider, about
MIN_CHOICES, MAX_CHOICES = 2, 6


@dataclass(frozen=True, repr=False)
class Guessing(Fragment):
    """A question or a table of guesses, which prints as `text`; `about` is what it asks, for programs that read notebooks."""

    text: str
    about: dict

    def __repr__(self):
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        return {"text/plain": self.text, "text/html": self.html, MIME: self.about}, {}


def predict(
    id: str,
    question: str,
    *,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    choices: Sequence[str] | None = None,
) -> Guessing:
    """The question of which the claim's figure is the answer, as a slider from `low` to `high`, or with `choices` as buttons.

    `id` is "CLAIM.FIGURE": the id of a claim and the name of one of its figures, or `verdict`, whose choices are of
    answer.VERDICTS. A slider has about 100 stops. Choices are two to six different texts; the right one is what the claim
    prints. Raises TypeError or ValueError where an argument is none of these, or where it is not exactly one of the two forms.
    """
    figure = _id("id", id)["figure"]
    if not _text("question", question).strip():
        raise ValueError("question must be text, got none")
    if choices is None:
        about = {"question": question} | _slider(low, high, _text("unit", unit))
        ends = [f"{about[end]:g} {unit}".strip() for end in ("low", "high")]
        still = f'<p class="still">{html.escape(ends[0])} ├────┼────┼────┼────┤ {html.escape(ends[1])}</p>'
        words = " to ".join(ends)
    else:
        for name, value in (("low", low), ("high", high), ("unit", unit or None)):
            if value is not None:
                raise ValueError(f"{name} must be left out where there are choices, got {value!r}")
        about = {"question": question, "choices": _choices(choices, figure)}
        still = f'<ul class="still">{"".join(f"<li>{html.escape(choice)}</li>" for choice in choices)}</ul>'
        words = " / ".join(choices)
    fallback = f'<p class="first">Guess first</p>\n<p class="question">{html.escape(question)}</p>\n{still}'
    made = fragment("guess", {"id": id, "question": about}, fallback, "Run this cell to answer.")
    return Guessing(made.kind, made.html, f"Guess first: {question} [{words}]", {"id": id, **about})


def guesses(*ids: str) -> Guessing:
    """The table for a lesson's end: for each of these questions, the reader's guess, what was measured, and how far off it was.

    The page fills it from its own storage. Raises TypeError or ValueError where an id is none, or where there is none.
    """
    if not ids:
        raise ValueError("ids must hold at least one id, got none")
    for i, id in enumerate(ids):
        _id(f"ids[{i}]", id)
    fallback = '<p class="absent">Where scripts run, a table stands here: your guesses, and how far off they were.</p>'
    made = fragment("guess", {"ids": list(ids)}, fallback, "Run this cell to see it.")
    return Guessing(made.kind, made.html, f"Your guesses: {', '.join(ids)}", {"ids": list(ids)})


def _slider(low: float | None, high: float | None, unit: str) -> dict:
    """A slider's ends, its step (1, 2 or 5 times a power of ten, so that there are about STOPS), decimals, number of stops."""
    if low is None and high is None:
        raise ValueError("choices must be given where low and high are not, got None")
    start, end = float(validate.finite("low", low)), float(validate.finite("high", high))
    if not end - start > 1e-9 * max(abs(start), abs(end)):
        raise ValueError(f"high must be above low, {low}, got {high}")
    power = math.floor(math.log10((end - start) / STOPS))
    neat = [float(f"{digit}e{power}") for digit in (1, 2, 5, 10)]
    step = min(neat, key=lambda step: abs(math.log(step * STOPS / (end - start))))
    decimals = max(0, -power - (step == neat[-1]))
    stops = math.ceil((end - start) / step - 1e-6)
    return {"low": start, "high": end, "step": step, "decimals": decimals, "stops": stops, "unit": unit}


def _choices(choices: Sequence[str], figure: str) -> list[str]:
    if not MIN_CHOICES <= len(validate.filled("choices", choices, str)) <= MAX_CHOICES:
        raise ValueError(f"choices must be {MIN_CHOICES} to {MAX_CHOICES}, got {len(choices)}")
    if len(set(choices)) < len(choices) or not all(choice.strip() for choice in choices):
        raise ValueError(f"choices must be different texts, got {list(choices)}")
    if figure == VERDICT:
        for choice in choices:
            validate.choice("choices", choice, VERDICTS)
    return list(choices)


def _id(name: str, id: str) -> re.Match:
    found = ID.fullmatch(id) if isinstance(id, str) else None
    if not found:
        raise ValueError(f'{name} must be the id of a claim, a dot and a figure, such as "cfg-tradeoff.recall", got {id!r}')
    return found


def _text(name: str, text: str) -> str:
    return validate.instance(name, text, str)
