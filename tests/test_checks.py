"""Every check takes what is right however it is written, and names what is wrong."""

import importlib
import pkgutil

import check_variants
import pytest

from course_lib.teaching import checks as check
from course_lib.teaching.checks.check import Check, without_argument_checks

LESSONS = [importlib.import_module(f"check_variants.{found.name}") for found in pkgutil.iter_modules(check_variants.__path__)]
RIGHT = {name: variants for lesson in LESSONS for name, variants in lesson.RIGHT.items()}
WRONG = {name: variants for lesson in LESSONS for name, variants in lesson.WRONG.items()}
CHECKS = {c.name: c for c in vars(check).values() if isinstance(c, Check)}
each_check = pytest.mark.parametrize("name", sorted(CHECKS))


def by_name(variants):
    return [pytest.param(name, variant, id=f"{name}-{i}") for name in variants for i, variant in enumerate(variants[name])]


@pytest.mark.parametrize("name, fn", by_name(RIGHT))
def test_other_ways_to_be_right(name, fn):
    verdict = CHECKS[name](fn, strict=True)
    assert verdict.right and f"✓ {name} is right." in str(verdict) and len(verdict.lines) == len(CHECKS[name].cases)


@pytest.mark.parametrize("name, wrong", by_name(WRONG))
def test_mistakes_are_named(name, wrong):
    word, fn = wrong
    verdict = CHECKS[name](fn)
    assert verdict.state == "wrong" and word in str(verdict) and "Hint: " in str(verdict)
    with pytest.raises(AssertionError, match="is not right yet"):
        CHECKS[name](fn, strict=True)


@each_check
def test_each_check_has_its_variants(name):
    assert len(RIGHT[name]) >= 3 and len(WRONG[name]) >= 4


@each_check
def test_the_library_is_right_and_shows_itself(name):
    assert CHECKS[name](CHECKS[name].reference, strict=True).right
    assert "def " in str(check.solution(name)) and "<details>" in check.solution(name)._repr_html_()


@each_check
def test_each_known_mistake_is_called_by_its_own_name(name):
    for says in CHECKS[name].mistakes:
        assert CHECKS[name](CHECKS[name].mistaken(says)).diagnosis == f"It looks as if {says}."


def thrice(x):
    return x + x + x


@pytest.mark.parametrize("old, found", [("y + x", 0), ("x + ", 2)])
def test_a_stale_edit_fails_when_the_check_is_built(old, found):
    with pytest.raises(
        ValueError, match=f"stale edit of thrice: .* must stand exactly once in its source, found {found} times"
    ):
        Check("thrice", thrice, [], {"a term is missing": {old: ""}}, "add three times")
    assert Check("thrice", thrice, [], {"a term is lost": {"return x +": "return"}}, "").mistaken("a term is lost")(2) == 4


def blank(*args, **kwargs):
    """Only its docstring is there."""
    ...


def half_blank(*args, **kwargs):
    share = ...
    return 1 - share


def stub(*args, **kwargs):
    raise NotImplementedError("write me")


@each_check
@pytest.mark.parametrize(
    "fn",
    [blank, half_blank, stub, lambda *a, **k: ..., None, ...],
    ids=["blank", "half blank", "stub", "lambda", "None", "..."],
)
def test_a_blank_exercise_is_not_started(name, fn):
    verdict = CHECKS[name](fn)
    assert verdict.state == "not started" and "not started yet" in verdict._repr_html_()
    with pytest.raises(AssertionError, match="not started"):
        CHECKS[name](fn, strict=True)


def raising(*args, **kwargs):
    return {}["<missing>"]


def forgetful(*args, **kwargs):
    sum(range(3))


@each_check
def test_what_goes_wrong_in_the_students_code_is_said_in_one_line(name):
    prompts = str(CHECKS[name](raising))
    assert "it raised KeyError: '<missing>' (at line " in prompts and '`return {}["<missing>"]`' in prompts
    assert "<missing>" not in CHECKS[name](raising)._repr_html_()
    assert "is a `return` missing?" in str(CHECKS[name](forgetful))
    assert "A function is needed, got 3." in str(CHECKS[name](3))


def test_a_solution_leaves_out_what_only_checks_arguments():
    source = """def f(x):
    \"\"\"validate.it is a sentence here.\"\"\"
    validate.batch("x", x)
    y = validate.floating("x", x)
    validate.same_shape(
        "y", y, "x", x
    )
    if y:
        validate.batch("y", y)
    return y
"""
    kept = [line for i, line in enumerate(source.splitlines(keepends=True)) if i not in (2, 4, 5, 6)]
    assert without_argument_checks(source) == "".join(kept)


def test_only_an_exercise_has_a_solution():
    with pytest.raises(ValueError, match="name must be that of an exercise, such as .*, got 'magic'"):
        check.solution("magic")
