"""The code cells of every lesson, in order, on a pretended device (see pretend.py): `make device-check` runs them.

What takes time is cut (see few.py); with the variable COURSE_FEW=0 it is not, for a real device.
"""

import ast
import linecache

import jupytext
import pytest
from few import cut
from pretend import DEVICE, KINDS, rules

from course_lib import plots
from course_lib.files import NOTEBOOKS
from course_lib.teaching import claims, dictionary, evidence
from course_lib.teaching.publish import build

pytestmark = pytest.mark.thorough


@pytest.fixture
def few(monkeypatch):
    """What is cut changes the figures, so that claims may fail, and that a group of pictures may be empty."""
    whole, numbers = claims.claim, evidence._numbers

    def may_fail(*args, **kwargs):
        try:
            return whole(*args, **kwargs)
        except AssertionError as error:
            return str(error)

    if cut(monkeypatch):
        monkeypatch.setattr(claims, "claim", may_fail)
        monkeypatch.setattr(evidence, "_numbers", lambda name, values: numbers(name, values if len(values) else [0.0]))
        monkeypatch.setattr(dictionary, "LIMIT", float("inf"))  # our samplers make fewer steps than diffusers' then


def show(value):
    """What a notebook does with the value of a cell's last line; an error in a widget's callback stands in its text."""
    name = next(name for name in ("_repr_mimebundle_", "_repr_html_", "__repr__") if hasattr(value, name))
    text = f"{getattr(value, name)()}{getattr(getattr(value, 'screen', None), 'value', '')}"
    assert 'class="error"' not in text, text[text.index('class="error"') :][:300]


def run(source):
    """Runs all code cells of a lesson."""
    variables = {"__name__": "__main__"}
    for i, cell in enumerate(cell for cell in jupytext.read(source, fmt="py:percent").cells if cell.cell_type == "code"):
        body, name = ast.parse(cell.source).body, f"{source.stem}, code cell {i + 1}"
        linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(keepends=True), name)  # for tracebacks
        last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), name, "exec"), variables)
        if last is not None:
            show(eval(compile(last, name, "eval"), variables))
        plots.plt.close("all")


@pytest.mark.parametrize("source", build.sources(), ids=lambda source: source.stem)
def test_every_cell_runs(source, few, monkeypatch):
    monkeypatch.chdir(NOTEBOOKS)
    monkeypatch.setenv("COURSE_DEVICE", str(DEVICE))
    with rules(KINDS[-1]):
        run(source)
