"""A check: the reference function, the properties that the student's must share with it, and the mistakes known by name."""

from __future__ import annotations

import dis
import html
import inspect
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from torch import Tensor

from course_lib.process import seeded
from course_lib.teaching.progress import in_notebook, note


@dataclass(frozen=True)
class Case:
    """One property that must hold: `run(fn)`, an array or a number, must equal its value for the reference.

    `says` is the property in words. `tolerance` is a share of the largest value; wider for what is measured on samples.
    `run` passes fixed data, a new copy each time, as `on` does: a student's function may write into it.
    """

    says: str
    run: Callable[[Callable], Tensor]
    tolerance: float = 1e-4


def on(*args) -> Callable[[Callable], Tensor]:
    """A case's `run`: what the function returns for copies of these arguments."""
    return lambda fn: fn(*map(_copy, args))


def minus(run: Callable, other: Callable) -> Callable[[Callable], Tensor]:
    """A case's `run`: what `run` gives less what `other` gives, such as the share of one argument."""
    return lambda fn: run(fn) - other(fn)


def after(*args) -> Callable[[Callable], Tensor]:
    """A case's `run`: the values of the tensors among these arguments after the call, and whether each requires a gradient."""

    def run(fn):
        copies = [_copy(a) for a in args]
        fn(*copies)
        tensors = [a for a in copies if isinstance(a, Tensor)]
        return torch.cat([torch.cat([a.detach().double().flatten(), torch.tensor([a.requires_grad])]) for a in tensors])

    return run


def _copy(value):
    """A copy of a tensor, a generator at its seed; anything else as it is."""
    if isinstance(value, torch.Generator):
        return seeded(value.initial_seed())
    return value.clone() if isinstance(value, Tensor) else value


def edited(fn: Callable, edits: dict[str, str]) -> Callable:
    """`fn`, compiled from its own source with each old text, a key of `edits`, replaced by the new one.

    Raises ValueError unless each old text stands exactly once in the source, its docstring left out.
    """
    exec(compile(_edited_source(fn, edits), f"<edited {fn.__name__}>", "exec"), fn.__globals__, made := {})
    return made[fn.__name__]


def _edited_source(fn: Callable, edits: dict[str, str]) -> str:
    source = textwrap.dedent(inspect.getsource(fn)).replace(fn.__doc__ or "\0", "")  # a formula in the docstring is no code
    for old, new in edits.items():
        if (found := source.count(old)) != 1:
            raise ValueError(f"stale edit of {fn.__name__}: {old!r} must stand exactly once in its source, found {found} times")
        source = source.replace(old, new)
    return source


@dataclass(frozen=True)
class Verdict:
    """What a check found: `state` is "right", "wrong" or "not started"; it shows itself, in words and in colour."""

    name: str
    state: str
    diagnosis: str = ""
    findings: list[tuple[bool, str]] = field(default_factory=list)
    hint: str = ""

    @property
    def right(self) -> bool:
        return self.state == "right"

    @property
    def headline(self) -> str:
        held = (
            f": {sum(ok for ok, _ in self.findings)} of {len(self.findings)} properties hold" if len(self.findings) > 1 else ""
        )
        return {
            "right": f"✓ {self.name} is right.",
            "wrong": f"✗ {self.name} is not right yet{held}.",
            "not started": f"○ {self.name} is not started yet. Write it above and run the cell again; until then, read on.",
        }[self.state]

    @property
    def lines(self) -> list[str]:
        """All that is to say after the headline, in order."""
        findings = [f"{'✓' if ok else '✗'} {text}" for ok, text in self.findings]
        return [*([self.diagnosis] if self.diagnosis else []), *findings, *([f"Hint: {self.hint}"] if self.hint else [])]

    def __repr__(self):
        return "\n  ".join([self.headline, *self.lines])

    def _repr_html_(self):
        colour = {"right": "#009E73", "wrong": "#D55E00", "not started": "#0072B2"}[self.state]
        lines = "".join(f"<br>{html.escape(line)}" for line in self.lines)
        return (
            f'<div role="status" style="border-left:.4em solid {colour};padding:.3em .8em;font-size:1.1em">'
            f"<b>{html.escape(self.headline)}</b>{lines}</div>"
        )


@dataclass(frozen=True, repr=False)
class Check:
    """Compares a student's function with `reference` over all `cases`; `check(fn)` gives a Verdict and never raises.

    In a notebook, it notes what passed (see progress.py).

    `mistakes` are known wrong answers by their diagnosis: edits {old text: new text} of the reference's source, or a function
    where no edit makes the mistake. A student's function that agrees with one of them in every case gets its diagnosis.
    `shown` is the library's own version, which `solution` shows after the reference. Raises ValueError for an edit whose old
    text does not stand exactly once in the source.
    """

    name: str
    reference: Callable
    cases: list[Case]
    mistakes: dict[str, dict[str, str] | Callable]
    hint: str
    shown: tuple[Callable, ...] = ()

    def __post_init__(self):
        for mistake in self.mistakes.values():
            if isinstance(mistake, dict):
                _edited_source(self.reference, mistake)

    def __repr__(self):
        return f"check.{self.name}(your_function): compares {len(self.cases)} properties with the library's own"

    def __call__(self, fn: Callable, strict: bool = False) -> Verdict:
        """The verdict on `fn`. With `strict`, raises AssertionError unless it is right."""
        verdict = self._judge(fn)
        if verdict.right and in_notebook():
            note(self.name)
        if strict and not verdict.right:
            raise AssertionError(str(verdict))
        return verdict

    def _judge(self, fn: Callable) -> Verdict:
        if not callable(fn):
            started = fn is not None and fn is not ...
            return Verdict(self.name, *(("wrong", f"A function is needed, got {fn!r}.") if started else ("not started",)))
        got = [outcome(case, fn) for case in self.cases]
        if any(map(_is_blank, got)):
            return Verdict(self.name, "not started")
        want = [outcome(case, self.reference) for case in self.cases]
        wrong = [difference(g, w, case.tolerance, fn) for g, w, case in zip(got, want, self.cases)]
        if not any(wrong):
            return Verdict(self.name, "right", findings=[(True, case.says) for case in self.cases])
        if len(set(wrong)) == 1:  # the same error, whatever it is given
            return Verdict(self.name, "wrong", findings=[(False, wrong[0])], hint=self.hint)
        findings = [(not off, f"{case.says}: {off}" if off else case.says) for off, case in zip(wrong, self.cases)]
        return Verdict(self.name, "wrong", self._name_the_mistake(got), findings, self.hint)

    def _name_the_mistake(self, got: list[Tensor | Exception]) -> str:
        for says in self.mistakes:
            mistaken = self.mistaken(says)
            if all(_alike(g, outcome(case, mistaken), case.tolerance) for g, case in zip(got, self.cases)):
                return f"It looks as if {says}."
        return ""

    def mistaken(self, says: str) -> Callable:
        """The function that makes the mistake with this diagnosis."""
        mistake = self.mistakes[says]
        return edited(self.reference, mistake) if isinstance(mistake, dict) else mistake

    @property
    def solution(self) -> Source:
        """The reference's source, and the library's own version where there is one worth showing."""
        return Source(self.name, "\n\n".join(textwrap.dedent(inspect.getsource(f)) for f in (self.reference, *self.shown)))


@dataclass(frozen=True)
class Source:
    """Python source that shows itself highlighted, folded until it is clicked."""

    name: str
    text: str

    def __repr__(self):
        return self.text

    def _repr_html_(self):
        paper = "color:#000;background:#f8f8f8;padding:.5em 1em;overflow-x:auto"
        code = highlight(self.text, PythonLexer(), HtmlFormatter(noclasses=True, cssstyles=paper))
        return f"<details><summary><b>The library's own {html.escape(self.name)}</b> (click to see)</summary>{code}</details>"


def outcome(case: Case, fn: Callable) -> Tensor | Exception:
    """What `fn` gives in this case, as float64 on the CPU, or what it raised."""

    def answering(*args, **kwargs):
        value = fn(*args, **kwargs)
        if value is ... or value is None and _does_nothing(fn):
            raise NotImplementedError
        if value is None:
            raise ValueError("it returns nothing; is a `return` missing?")
        return value

    try:
        return torch.as_tensor(case.run(answering)).detach().double().cpu()
    except Exception as error:  # whatever a student's code may raise
        return error


def difference(got: Tensor | Exception, want: Tensor, tolerance: float, fn: Callable) -> str:
    """How `got` differs from `want`, in one line; nothing where it does not."""
    if isinstance(got, Exception):
        return _raised(got, fn)
    if got.shape != want.shape:
        return f"its shape is {tuple(got.shape)}, which should be {tuple(want.shape)}"
    if not got.isfinite().all():
        return "it holds NaN or infinity"
    off, size = (got - want).abs(), _size(want)
    if not off.numel() or off.max() <= tolerance * size:
        return ""
    at = int(off.argmax())
    worst = f"{got.flatten()[at]:.4g} where {want.flatten()[at]:.4g} is right"
    factor = float((got * want).sum() / (want * want).sum().clamp(min=1e-30))
    if want.numel() > 1 and factor and (got - factor * want).abs().max() <= tolerance * size:
        return f"{'the sign is turned' if abs(factor + 1) < tolerance else f'it is {factor:.3g} times too large'} ({worst})"
    return f"{worst}, off by {float(off.max()) / size:.2g} times the largest value"


def _size(want: Tensor) -> float:
    """The largest of what is finite, to measure errors by; 1 where there is none, or all is 0."""
    finite = want[want.isfinite()]
    return float(finite.abs().max()) or 1.0 if finite.numel() else 1.0


def _alike(a: Tensor | Exception, b: Tensor | Exception, tolerance: float) -> bool:
    """Two outcomes are the same, where any error is like any other."""
    if isinstance(a, Exception) or isinstance(b, Exception):
        return isinstance(a, Exception) and isinstance(b, Exception)
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=0, atol=tolerance * _size(b), equal_nan=True))


def _does_nothing(fn: Callable) -> bool:
    """The function's body is a constant at most: `...`, `pass`, a docstring."""
    nothing = {"RESUME", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "NOP"}
    return hasattr(fn, "__code__") and {i.opname for i in dis.get_instructions(fn)} <= nothing


def _is_blank(got: Tensor | Exception) -> bool:
    """It was left to be written: NotImplementedError (but not torch's own), or a calculation with `...`."""
    if isinstance(got, NotImplementedError):
        return "not implemented for" not in str(got)
    return isinstance(got, Exception) and "ellipsis" in str(got)


def _raised(error: Exception, fn: Callable) -> str:
    """The error in one line, with the line of the student's code where it arose."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    file = getattr(getattr(fn, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file and frame.line]
    return f"it raised {said}" + (f" (at line {lines[-1].lineno}: `{lines[-1].line}`)" if lines else "")
