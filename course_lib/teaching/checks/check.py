"""A check: the reference function, the properties that the student's must share with it, and the mistakes known by name."""

from __future__ import annotations

import ast
import html
import inspect
import reprlib
import textwrap
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, wraps

import numpy as np
import torch
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from torch import Tensor

from course_lib import samplers
from course_lib.process import own_defaults
from course_lib.teaching.checks.outcome import Failure, one_line, outcome
from course_lib.teaching.progress import in_notebook, note


@dataclass(frozen=True)
class Case:
    """One property that must hold: `run(fn)`, an array or a number, must equal its value for the reference.

    `says` is the property in words. `tolerance` is a share of the largest value; wider for what is measured on samples.
    `run` passes deep copies, new ones each time, as `on` does: a student's function may write into all that it is given.
    """

    says: str
    run: Callable[[Callable], Tensor]
    tolerance: float = 1e-4


def on(*args) -> Callable[[Callable], Tensor]:
    """A case's `run`: what the function returns for copies of these arguments."""
    return lambda fn: fn(*deepcopy(args))


def minus(run: Callable, other: Callable) -> Callable[[Callable], Tensor]:
    """A case's `run`: what `run` gives less what `other` gives, such as the share of one argument."""
    return lambda fn: torch.as_tensor(run(fn)) - torch.as_tensor(other(fn))


def after(*args) -> Callable[[Callable], Tensor]:
    """A case's `run`: the values of the tensors among these arguments after the call, and whether each requires a gradient."""

    def run(fn):
        copies = deepcopy(args)
        fn(*copies)
        tensors = [a for a in copies if isinstance(a, Tensor)]
        return torch.cat([torch.cat([a.detach().double().flatten(), torch.tensor([a.requires_grad])]) for a in tensors])

    return run


def edited(fn: Callable, edits: dict[str, str]) -> Callable:
    """`fn`, compiled from its own source with each old text, a key of `edits`, replaced by the new one.

    Raises ValueError unless each old text stands exactly once in the source, its docstring left out.
    """
    return _edited(fn, tuple(edits.items()))


@cache
def _edited(fn: Callable, edits: tuple[tuple[str, str], ...]) -> Callable:
    exec(compile(_edited_source(fn, dict(edits)), f"<edited {fn.__name__}>", "exec"), fn.__globals__, made := {})
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
    """What a check found: `state` is "right", "wrong" or "not started"; it shows itself, in words and in colour.

    A lesson goes on with `function`, which gives tensors: the student's once it is right, and until then `Check.answer`.
    """

    name: str
    state: str
    diagnosis: str = ""
    findings: list[tuple[bool, str]] = field(default_factory=list)
    hint: str = ""
    function: Callable | None = field(default=None, repr=False, compare=False)

    @property
    def right(self) -> bool:
        return self.state == "right"

    @property
    def headline(self) -> str:
        n = sum(ok for ok, _ in self.findings)
        held = f": {n} of {len(self.findings)} properties {'holds' if n == 1 else 'hold'}" if len(self.findings) > 1 else ""
        return {
            "right": f"✓ {self.name} is right.",
            "wrong": f"✗ {self.name} is not right yet{held}.",
            "not started": f"○ {self.name} is not started yet. Write it above and run the cell again; until then, read on.",
        }[self.state]

    @property
    def lines(self) -> list[str]:
        """The lines after the headline, in order."""
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


Mistake = dict[str, str] | Callable


@dataclass(frozen=True, repr=False)
class Check:
    """Compares a student's function with `reference` over all `cases`; `check(fn)` gives a Verdict.

    It never raises, whatever `fn` is or does; only KeyboardInterrupt stops it. A function that fails is wrong; a blank one is
    not started. In a notebook, it notes what passed (see progress.py).

    `mistakes` are known wrong answers by their diagnosis: edits {old text: new text} of the reference's source, a function
    where no edit makes the mistake, or a list of these where there are several ways to make it. A student's function that
    agrees with one of them in every case gets its diagnosis.
    `shown` are the functions of the library that do the same, whose names `solution` shows below the answer. Raises
    ValueError for an edit whose old text does not stand exactly once in the source.

    The reference has the arguments of the exercise, and serves all that its lesson does with the answer: other shapes,
    dtypes and devices than those of the cases, and training.
    """

    name: str
    reference: Callable
    cases: list[Case]
    mistakes: dict[str, Mistake | list[Mistake]]
    hint: str
    shown: tuple[Callable, ...] = ()

    def __post_init__(self):
        for mistake in sum(map(_ways, self.mistakes.values()), []):
            if isinstance(mistake, dict):
                _edited_source(self.reference, mistake)

    def __repr__(self):
        return f"check.{self.name}(your_function): compares {len(self.cases)} properties with those of a right answer"

    def __call__(self, fn: Callable, strict: bool = False) -> Verdict:
        """The verdict on `fn`. With `strict`, raises AssertionError unless it is right."""
        with own_defaults():
            verdict = self._judge(fn)
        verdict = replace(verdict, function=in_tensors(fn) if verdict.right else self.answer)
        if verdict.right and in_notebook():
            note(self.name)
        if strict and not verdict.right:
            raise AssertionError(str(verdict))
        return verdict

    def _judge(self, fn: Callable) -> Verdict:
        if not callable(fn):
            if fn is None or fn is ...:
                return Verdict(self.name, "not started")
            return Verdict(self.name, "wrong", f"A function is needed, got {one_line(reprlib.repr(fn))}.")
        return self.judge([outcome(case.run, fn) for case in self.cases])

    def judge(self, got: list[Tensor | Failure], measure: Callable | None = None) -> Verdict:
        """The verdict on what a function gave in each case, wherever it ran.

        `measure(run, fn)` gives what the reference and the known mistakes give; by default they run here, by `outcome`.
        """
        measure = measure or outcome
        if any(isinstance(g, Failure) and g.blank for g in got):
            return Verdict(self.name, "not started")
        want = [measure(case.run, self.reference) for case in self.cases]
        wrong = [self._difference(*found) for found in zip(got, want, self.cases)]
        if not any(wrong):
            return Verdict(self.name, "right", findings=[(True, case.says) for case in self.cases])
        if len(set(wrong)) == 1:  # the same error, whatever it is given
            findings = [(False, wrong[0])]
        else:
            findings = [(not off, f"{case.says}: {off}" if off else case.says) for off, case in zip(wrong, self.cases)]
        at_fault_first = sorted(zip(got, want, self.cases, wrong), key=lambda found: not found[3])
        diagnosis = self._name_the_mistake([found[:3] for found in at_fault_first], measure)
        return Verdict(self.name, "wrong", diagnosis, findings, self.hint)

    def _difference(self, got: Tensor | Failure, want: Tensor | Failure, case: Case) -> str:
        """What is wrong in this case, in one line; nothing where it is right."""
        if isinstance(got, Failure):
            return got.says
        if isinstance(want, Failure):  # something that all share was replaced, such as a function of torch
            return f"the library's own answer fails as well; restart the kernel ({want.says})"
        return difference(got, want, case.tolerance)

    def _name_the_mistake(self, found: list[tuple[Tensor | Failure, Tensor | Failure, Case]], measure: Callable) -> str:
        if not any(isinstance(got, Tensor) for got, *_ in found):
            return ""
        rounding = [1e-6 * (1 if isinstance(want, Failure) else _size(want.double())) for _, want, _ in found]
        for says in self.mistakes:
            for mistaken in self.mistaken(says):
                tries = zip(found, rounding)
                if all(_alike(got, measure(case.run, mistaken), case.tolerance, margin) for (got, _, case), margin in tries):
                    return f"It looks as if {says}."
        return ""

    def mistaken(self, says: str) -> list[Callable]:
        """The functions that make the mistake with this diagnosis."""
        return [edited(self.reference, m) if isinstance(m, dict) else m for m in _ways(self.mistakes[says])]

    @property
    def solution(self) -> Source:
        """The source of an answer, as it would stand in the exercise's cell, and the names of `shown`."""
        names = [f"{f.__module__.removeprefix('course_lib.')}.{f.__qualname__}" for f in self.shown]
        library = f"\n\n# In the library: {', '.join(names)}" if names else ""
        return Source(self.name, as_set(self.reference, f"my_{self.name}") + library)

    @property
    def answer(self) -> Callable:
        """The function that `solution` shows."""
        exec(compile(self.solution.text, f"<solution of {self.name}>", "exec"), self.reference.__globals__, made := {})
        return made[f"my_{self.name}"]


def _ways(mistake: Mistake | list[Mistake]) -> list[Mistake]:
    return mistake if isinstance(mistake, list) else [mistake]


def in_tensors(fn: Callable) -> Callable:
    """`fn`, whose answers are tensors where they are numbers, arrays or lists of numbers, and the end of steps that it yields.

    A check takes all of these; a lesson computes with the answer.
    """

    def tensor(value):
        if isinstance(value, Iterator):
            return samplers.result(value)
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value)  # a lesson may take its root
        return torch.as_tensor(value) if isinstance(value, (np.ndarray, np.generic, float, list)) else value

    @wraps(fn)
    def function(*args, **kwargs):
        value = fn(*args, **kwargs)
        several = isinstance(value, tuple) or isinstance(value, list) and any(isinstance(v, Tensor) and v.ndim for v in value)
        return tuple(map(tensor, value)) if several else tensor(value)

    return function


def as_set(fn: Callable, name: str) -> str:
    """The source of `fn` as a function `name`, without annotations of its arguments and without checks of them."""
    source = without_argument_checks(textwrap.dedent(inspect.getsource(fn)))
    lines, node = source.splitlines(), ast.parse(source).body[0]
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return "\n".join([f"def {name}({ast.unparse(node.args)}):", *lines[node.body[0].lineno - 1 :]])


def without_argument_checks(source: str) -> str:
    """Python source without the lines that only call a function of `validate`."""
    lines = source.splitlines(keepends=True)
    for block in [node.body for node in ast.walk(ast.parse(source)) if isinstance(getattr(node, "body", None), list)]:
        checks = [line for line in block if isinstance(line, ast.Expr) and ast.unparse(line).startswith("validate.")]
        for line in checks if len(checks) < len(block) else ():  # a block may not be left empty
            lines[line.lineno - 1 : line.end_lineno] = [""] * (line.end_lineno - line.lineno + 1)
    return "".join(lines)


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
        return f"<details><summary>An answer to <b>{html.escape(self.name)}</b> (click to see)</summary>{code}</details>"


def difference(got: Tensor, want: Tensor, tolerance: float) -> str:
    """How `got` differs from `want`, in one line; nothing where it does not."""
    if got.shape != want.shape:
        return f"its shape is {tuple(got.shape)}, but it should be {tuple(want.shape)}"
    if not got.isfinite().all():
        return "it contains NaN or infinity"
    holds = want.dtype == torch.bool
    got, want = got.double(), want.double()
    if holds:
        return "" if torch.equal(got, want) else "this does not hold"
    off, size = (got - want).abs(), _size(want)
    if not off.numel() or off.max() <= tolerance * size:
        return ""
    at = int(off.argmax())
    worst = f"{got.flatten()[at]:.4g} where {want.flatten()[at]:.4g} is right"
    factor = float((got * want).sum() / (want * want).sum().clamp(min=1e-30))
    if want.numel() > 1 and (got - factor * want).abs().max() <= tolerance * size:
        if abs(factor + 1) < tolerance:
            return f"the sign is turned ({worst})"
        if 0.001 <= abs(factor) and abs(factor - 1) >= 0.01:
            return f"it is {factor:.3g} times the right value ({worst})"
    return worst


def _size(want: Tensor) -> float:
    """The largest of what is finite, to measure errors by; 1 where there is none, or all is 0."""
    finite = want[want.isfinite()]
    return float(finite.abs().max()) or 1.0 if finite.numel() else 1.0


def _alike(a: Tensor | Failure, b: Tensor | Failure, tolerance: float, margin: float) -> bool:
    """Two outcomes are the same to a share of the second, or to `margin`, where any failure is like any other."""
    if isinstance(a, Failure) or isinstance(b, Failure):
        return isinstance(a, Failure) and isinstance(b, Failure)
    a, b = a.double(), b.double()
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=0, atol=max(tolerance * _size(b), margin), equal_nan=True))
