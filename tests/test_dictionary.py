"""The dictionary of lesson 29: every row is run, a wrong one is found, and what is missing is named in one line."""

import re
import sys
from dataclasses import replace

import jupytext
import nbformat
import pytest
import torch

from course_lib.files import NOTEBOOKS
from course_lib.teaching import dictionary
from course_lib.teaching.publish import glossary
from course_lib.teaching.publish.build import read, sources

ROWS = [pytest.param(row, id=f"{group}-{i}") for group, rows in dictionary.GROUPS.items() for i, row in enumerate(rows)]


@pytest.fixture(scope="module")
def known():
    pytest.importorskip("transformers")
    from course_lib.teaching.dictionary_names import names

    return names()


@pytest.mark.parametrize("row", ROWS)
def test_both_expressions_of_a_row_have_one_value(row, known):
    assert dictionary.difference(row, known) < 1e-5


@pytest.mark.parametrize("row", ROWS)
def test_a_value_is_not_trivial(row, known):
    """Neither all zeros nor NaN, so that equality says something."""
    value = torch.as_tensor(eval(row.theirs, dict(known))).double()
    assert value.isfinite().all() and (value != 0).any()


def test_there_are_forty_rows_and_each_thing_stands_once():
    rows = [row for group in dictionary.GROUPS.values() for row in group]
    assert len(rows) >= 40 and len({row.thing for row in rows}) == len(rows)
    assert all(row.elsewhere.count(";") in (0, 1) for row in rows)


SOURCES = [source for source in sources() if "01" <= source.stem[:2] <= "28"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_lesson_takes_its_names_from_the_dictionary(source):
    """Or says that the dictionary has no row for it; what it writes by hand besides is not in its rows."""
    number, practice = source.stem[:2], glossary.section(jupytext.read(source, fmt="py:percent"), "In practice")
    rows = [row for group in dictionary.GROUPS.values() for row in group if number in row.lessons.split()]
    assert practice.count(dictionary.PLACE) == bool(rows)
    assert rows or "has no row" in practice, f"name {number} in a row, or say that the dictionary has no row for it"
    if rows:
        table = dictionary.in_lesson(number)
        assert table.count("\n|") == len(rows) + 2 and all(f"`{row.theirs}`" in table for row in rows)
        stored = nbformat.read(NOTEBOOKS / f"{source.stem}.ipynb", as_version=4)
        assert table in glossary.section(stored, "In practice"), "run: course build"
    by_hand = {code for line in practice.splitlines() if line.startswith("|") for code in re.findall(r"`([^`]+)`", line)}
    assert not by_hand & {code for row in rows for code in (row.ours, row.theirs)}


def test_rows_name_lessons_before_29_or_none():
    """A row that no lesson names is lesson 29's alone. Expressions fit into a Markdown table."""
    rows = [row for group in dictionary.GROUPS.values() for row in group]
    assert all("01" <= number <= "28" for row in rows for number in row.lessons.split())
    assert not [row for row in rows if re.search(r"[|`]", row.ours + row.theirs + row.elsewhere)]
    with pytest.raises(ValueError, match="^number must be that of a lesson with a row in the dictionary, got '99'$"):
        dictionary.in_lesson("99")


def test_names_of_the_rows_are_what_the_line_below_a_table_says(known):
    """Those whose text is an expression have its value; each stands in a row; a keyword of the same name is none."""
    from course_lib.zoo.diffusers import scheduler_times

    for name in ("flow_times", "t_even", "a, b", "out", "patch_layer", "kernel", "z3"):
        of = known | {"scheduler_times": scheduler_times, "linspace": torch.linspace}
        with torch.no_grad():
            got, want = eval(dictionary.NAMES[name].strip("`"), of), eval(name, dict(known))
        if name == "patch_layer":
            assert got is want
        else:
            for one, other in zip(got, want):
                assert torch.as_tensor(one).shape == torch.as_tensor(other).shape
                assert name == "z3" or torch.allclose(torch.as_tensor(one).double(), torch.as_tensor(other).double())
    rows = tuple(row for group in dictionary.GROUPS.values() for row in group)
    assert all(f"`{name}`: " in dictionary.named_in(rows) for name in dictionary.NAMES)
    beta = dictionary.TIME[1]
    assert not dictionary.named_in((beta,)) and not dictionary.named_in((replace(beta, ours="f(q=1)"),))


def test_a_table_shows_its_rows_and_differences(known):
    table = dictionary.compare("time", known)
    page = table._repr_html_()
    assert page.count("<tr>") == len(table.rows) + 1 and "<code>scheduler.betas[t - 1]</code>" in page
    assert "; SGM Uniform</td>" in page and "squared signal: process.alpha_bar(t) = " in repr(table)


def test_a_wrong_row_is_found(known):
    late = replace(dictionary.TIME[0], ours="t")
    with pytest.raises(AssertionError, match="^time: .* apart$"):
        dictionary.difference(late, known)
    with pytest.raises(AssertionError, match=r"^time: \(2,\) here, \(\) there$"):
        dictionary.difference(replace(late, ours="arange(2)"), known)
    with pytest.raises(ValueError, match="^group must be one of time"):
        dictionary.compare("prompts", known)


def test_the_lesson_says_in_one_line_what_to_install(monkeypatch):
    """Where a package is missing, its first cell of code stops with that line; before, it needs none of them."""
    (source,) = (source for source in sources() if source.stem == "29_diffusers")
    cells = [cell.source for cell in read(source).cells if cell.cell_type == "code" and "names()" in cell.source]
    for missing in ("transformers", "diffusers"):
        with monkeypatch.context() as patch:
            for module in [name for name in sys.modules if name.partition(".")[0] == missing]:
                patch.delitem(sys.modules, module)
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(ImportError) as caught:
                exec(compile(cells[0], "lesson", "exec"), {"__name__": "lesson"})
        assert re.fullmatch(r'\w+ is not installed: pip install "diffusion-course\[real\]"', str(caught.value))
