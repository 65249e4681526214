"""Claims: a statement, what was measured, what a null model scores, and the verdict. Notebooks make them."""

from __future__ import annotations

import html
import inspect
import math
import re
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from course_lib import validate
from course_lib.teaching import answer
from course_lib.teaching.evidence import Comparison, Estimate, Ratio, all_of

MIME = "application/vnd.course.claim+json"
VERDICTS = dict(zip((True, False, None), answer.VERDICTS))
SAID = {"yes": "✓ holds", "no": "✗ does not hold here", "cannot be told apart": "≈ cannot be told apart"}
COLOURS = {"yes": "#009E73", "no": "#D55E00", "cannot be told apart": "#0072B2"}


@dataclass(frozen=True)
class Claim:
    """One row of the table; all of it is text, rounded so that every machine gives the same.

    `id` is unique, `statement` a sentence, `measured` what was found, `verdict` one of VERDICTS. `figures` holds what was
    measured by its names. `error` and `runs` are the standard error and the number of runs of what decides. `nulls` holds
    what each null model scores, by its name; `no_null` says why there is none. `controls` holds the same of where a statement
    that does not hold here is true.
    """

    id: str
    statement: str
    measured: str
    verdict: str
    figures: dict[str, str] = field(default_factory=dict)
    error: str = ""
    runs: str = ""
    nulls: dict[str, str] = field(default_factory=dict)
    no_null: str = ""
    controls: dict[str, str] = field(default_factory=dict)
    lesson: str = ""

    @property
    def null(self) -> str:
        """The null models and what they score, or why there is none."""
        nulls = [f"{name}: {scored}" for name, scored in self.nulls.items()] or [self.no_null]
        return "; ".join([*nulls, *(f"true of {name}: {scored}" for name, scored in self.controls.items())])

    def __str__(self):
        runs = f" ({self.runs})" if self.runs else ""
        return f"{SAID[self.verdict][2:]}: {self.statement} Measured: {self.measured}{runs}. Null: {self.null} [{self.id}]"

    def _repr_mimebundle_(self, include=None, exclude=None):
        runs = f" ({self.runs})" if self.runs else ""
        lines = [f"<b>{SAID[self.verdict]}.</b> {html.escape(self.statement)}", html.escape(f"Measured: {self.measured}{runs}")]
        for name, scored in self.nulls.items():
            lines.append(html.escape(f"Null model, {name}: {scored}. It does not pass."))
        for name, scored in self.controls.items():
            lines.append(html.escape(f"Control, {name}: {scored}. There it holds."))
        rich = (
            f'<div role="note" style="border-left:.4em solid {COLOURS[self.verdict]};padding:.3em .8em;font-size:1.1em">'
            f"{'<br>'.join(lines)}</div>"
        )
        if self.figures:
            rich += answer.answer(self.id, dict(self._answers()), self.verdict)
        return {"text/plain": str(self), "text/html": rich, MIME: asdict(self)}

    def _answers(self) -> Iterator[tuple[str, str | tuple[str, float]]]:
        """The figures that a reader can guess: as they are printed, and with their value where that begins with a number."""
        for name, text in self.figures.items():
            number = re.match(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?", text)
            if "." not in name:  # with one it is a part of another figure
                yield name, (text, float(number[0].replace(",", ""))) if number else text


def claim(
    id: str,
    statement: str,
    *,
    measured: str,
    holds: Callable[..., bool | None],
    figures: Mapping[str, Any],
    null: Mapping[str, Mapping[str, Any]] | str,
    control: Mapping[str, Mapping[str, Any]] | None = None,
    expected: bool | None = True,
) -> Claim:
    """The claim, for the end of a notebook cell: what is said, what was measured, and the verdict that follows.

    `figures` are numbers, texts, estimates and comparisons by name, and `measured` a format string over them, such as
    "{error:.1%} on the ring". `holds` is the condition: a function of figures, by their names, that returns True, False, or
    None where they cannot be told apart. `null` gives for each null model, by its name, the figures that differ for it: of
    them the same condition must not be True. Where no null model makes sense, `null` is a text that says why. For a
    statement that does not hold, `control` gives in the same form where it does: of these the condition must be True.
    `expected` is the verdict that the lesson speaks of.

    Raises AssertionError where the verdict is another one, a null model passes, or a control does not; TypeError or ValueError
    where the id is not lower-case words joined by hyphens, where `measured`, `holds`, `null` or `control` names what is not
    among the figures, where the condition returns no verdict, or where a null model has too few runs to pass.
    """
    for name, text in (("id", id), ("statement", statement), ("measured", measured)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} must be text, got {text!r}")
    if not re.fullmatch(answer.CLAIM, id):
        raise ValueError(f"id must be lower-case words joined by hyphens, got {id!r}")
    figures = dict(validate.instance("figures", figures, Mapping))
    names = _arguments(holds, figures)
    verdict = lambda figures: all_of(holds(**{name: figures[name] for name in names}))
    if not null or not isinstance(null, str | Mapping):
        raise ValueError(f"null must name a null model, or say why there is none, got {null!r}")

    def scored(kind: str, models: Mapping[str, Mapping[str, Any]], passes: bool, says: str) -> dict[str, str]:
        """What is measured of each of these models, by its name, of which the condition must be True, or must not."""
        texts = {}
        for name, of in models.items():
            if not set(names) & set(of) or not set(of) <= set(figures):
                raise ValueError(f"{kind} must give some of {', '.join(names)} for {name!r}, got {', '.join(of) or 'nothing'}")
            for figure in of.values():
                if _undecidable(figure):
                    raise ValueError(f"{kind} must be able to pass, got {figure} for {name!r}")
            texts[name] = _text(measured, figures | of)
            if bool(verdict(figures | of)) != passes:
                raise AssertionError(f"{says}: {name}: {texts[name]} [{id}]")
        return texts

    made = Claim(
        id=id,
        statement=statement,
        measured=_text(measured, figures),
        verdict=VERDICTS[verdict(figures)],
        figures=dict(shown for name, spec in _fields(measured) for shown in _shown(name, _value(name, figures), spec)),
        error=_errors(measured, figures, names),
        runs="; ".join(dict.fromkeys(figures[name].counted for name in names if hasattr(figures[name], "counted"))),
        nulls={} if isinstance(null, str) else scored("null", null, False, "the null model passes"),
        no_null=null if isinstance(null, str) else "",
        controls=scored("control", control or {}, True, "the control does not pass"),
    )
    if made.verdict != VERDICTS[expected]:
        raise AssertionError(f"the lesson expects the verdict {VERDICTS[expected]!r}, got {made.verdict!r}: {made}")
    return made


def _undecidable(figure: Any) -> bool:
    """Whether no condition could be True of a figure, because it has too few runs or is no number."""
    decides = figure.difference if isinstance(figure, Comparison) else figure
    if isinstance(decides, Estimate | Ratio):
        return decides.margin == math.inf
    return isinstance(decides, float) and math.isnan(decides)


def _arguments(holds: Any, figures: Mapping[str, Any]) -> list[str]:
    """The names of the figures that the condition is about."""
    names = list(inspect.signature(validate.function("holds", holds)).parameters)
    if not names or not set(names) <= set(figures):
        raise ValueError(
            f"holds must be a function of some of {', '.join(figures) or 'no figures'}, got one of {', '.join(names)}"
        )
    return names


def _fields(template: str) -> Iterator[tuple[str, str]]:
    """The name and the format of each figure in a format string."""
    return ((name, spec or "") for _, name, spec, _ in string.Formatter().parse(template) if name is not None)


def _value(name: str, figures: Mapping[str, Any]) -> Any:
    try:
        return string.Formatter().get_field(name, (), figures)[0]
    except (KeyError, AttributeError, IndexError, ValueError):
        raise ValueError(f"measured must be a format string over {', '.join(figures)}, got the name {name!r} in it") from None


def _text(template: str, figures: Mapping[str, Any]) -> str:
    for name, _ in _fields(template):
        _value(name, figures)
    return _spaced(template.format(**figures))


def _spaced(text: str) -> str:
    """With a space before each per cent sign."""
    return re.sub(r"(?<=\d)%", " %", text)


def _shown(name: str, value: Any, spec: str) -> Iterator[tuple[str, str]]:
    """A figure by its name as it is printed, and the parts of an estimate or a comparison by theirs."""
    yield name, _spaced(format(value, spec))
    if isinstance(value, Estimate):
        yield f"{name}.mean", _spaced(format(value.mean, spec))
    if isinstance(value, Ratio):
        for part in ("mean", "low", "high"):
            yield f"{name}.{part}", format(getattr(value, part), spec)
    if isinstance(value, Comparison):
        for part in ("a", "b", "difference"):
            yield from _shown(f"{name}.{part}", getattr(value, part), spec)


def _errors(template: str, figures: Mapping[str, Any], names: list[str]) -> str:
    """The standard errors of what decides, each in the format in which it is measured."""
    specs, errors = {name.partition(".")[0]: spec for name, spec in _fields(template)}, []
    for name in names:
        value, spec = figures[name], specs.get(name, ".2g")
        if isinstance(value, Comparison):
            errors.append(_spaced(f"difference {value.difference:{spec}}"))
        elif isinstance(value, Ratio):
            errors.append(f"{value:{spec}}")
        elif isinstance(value, Estimate) and value.error is not None:
            errors.append("±" + _spaced(format(value, spec)).partition(" ±")[2])
    return "; ".join(errors)
