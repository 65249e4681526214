"""Every check takes what is right however it is written, names what is wrong, and gives a function to go on with.

`pytest tests/test_checks.py -s -k table` prints how many wrong answers were tried, rejected and named.
"""

import ast
import importlib
import inspect
import pkgutil
from functools import cache
from pathlib import Path

import check_variants
import numpy as np
import pytest
import torch

from course_lib import metrics
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, VarianceExploding, seeded
from course_lib.samplers import Step
from course_lib.schedules import geometric_sigma, linear_beta
from course_lib.teaching import checks as check
from course_lib.teaching.checks import check as module
from course_lib.teaching.checks.check import Case, Check, Verdict, as_set, difference, in_tensors, on, without_argument_checks

LESSONS = [importlib.import_module(f"check_variants.{found.name}") for found in pkgutil.iter_modules(check_variants.__path__)]
RIGHT = {name: variants for lesson in LESSONS for name, variants in lesson.RIGHT.items()}
WRONG = {name: variants for lesson in LESSONS for name, variants in lesson.WRONG.items()}
TRIED = {name: variants for lesson in LESSONS for name, variants in getattr(lesson, "TRIED", {}).items()}
CHECKS = {c.name: c for c in vars(check).values() if isinstance(c, Check)}
each_check = pytest.mark.parametrize("name", sorted(CHECKS))


@pytest.fixture(autouse=True)
def packages(request):
    """The check of a whole pipeline needs tokenizers and text encoders."""
    if "pipeline_by_hand" in request.node.name:
        pytest.importorskip("transformers")


def by_name(variants):
    return [pytest.param(name, variant, id=f"{name}-{i}") for name in variants for i, variant in enumerate(variants[name])]


@pytest.fixture(autouse=True, scope="module")
def known():
    """What references and known mistakes give is the same each time; for the tests of this file it is computed once."""
    make, measure, made, found = Check.mistaken, module.outcome, {}, {}

    def mistaken(self, says):
        return made[self.name, says] if (self.name, says) in made else made.setdefault((self.name, says), make(self, says))

    def outcome(run, fn):
        if not any(fn is one for one in (*made.values(), *references)):
            return measure(run, fn)
        return found[run, fn] if (run, fn) in found else found.setdefault((run, fn), measure(run, fn))

    references = [one.reference for one in CHECKS.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Check, "mistaken", mistaken)
        patch.setattr(module, "outcome", outcome)
        yield


@cache
def verdict_on(name, fn):
    return CHECKS[name](fn)


@pytest.mark.parametrize("name, fn", by_name(RIGHT))
def test_other_ways_to_be_right(name, fn):
    verdict = verdict_on(name, fn)
    assert verdict.right and f"✓ {name} is right." in str(verdict) and len(verdict.lines) == len(CHECKS[name].cases)


@pytest.mark.parametrize("name, wrong", by_name(WRONG))
def test_mistakes_are_named(name, wrong):
    word, fn = wrong
    verdict = verdict_on(name, fn)
    assert verdict.state == "wrong" and word in str(verdict) and "Hint: " in str(verdict)


def test_each_check_has_its_variants():
    assert RIGHT.keys() == WRONG.keys() == TRIED.keys() == CHECKS.keys()
    assert min(map(len, RIGHT.values())) >= 5 and min(map(len, TRIED.values())) >= 10


@pytest.mark.parametrize("name", sorted(TRIED))
def test_the_likeliest_wrong_answers_are_rejected_and_most_are_named(name):
    """TRIED holds whole functions, as a student or an assistant may write them, each with words of its diagnosis, if any."""
    named = 0
    for word, fn in TRIED[name]:
        verdict = verdict_on(name, fn)
        assert verdict.state == "wrong", f"{fn.__name__} is taken"
        assert word in verdict.diagnosis, f"{fn.__name__}, {word!r}: {verdict}"
        named += bool(verdict.diagnosis)
    assert len(TRIED[name]) >= 10 and named >= 0.7 * len(TRIED[name]), f"{named} of {len(TRIED[name])} are named"


@pytest.mark.thorough
def test_table_of_what_was_tried():
    rows = []
    for name in TRIED:
        found = [verdict_on(name, fn) for _, fn in TRIED[name]]
        right = [verdict_on(name, fn).right for fn in RIGHT[name]]
        rows.append(
            [len(found), sum(v.state == "wrong" for v in found), sum(bool(v.diagnosis) for v in found), len(right), sum(right)]
        )
    rows.append([sum(column) for column in zip(*rows, [0] * 5)])
    print("\n| exercise | wrong answers tried | rejected | named | right answers tried | accepted |\n|---|---|---|---|---|---|")
    for name, row in zip([*TRIED, "all"], rows):
        print(f"| {name} | {' | '.join(map(str, row))} |")
    tried, rejected, named, right, accepted = rows[-1]
    assert rejected == tried and accepted == right and named >= 0.7 * tried


@each_check
def test_each_known_mistake_is_called_by_its_own_name(name):
    for says in CHECKS[name].mistakes:
        for mistaken in CHECKS[name].mistaken(says):
            assert CHECKS[name](mistaken).diagnosis == f"It looks as if {says}."


def test_what_cannot_be_measured_is_named():
    assert "it returns a tuple of 2, not what is asked for (ValueError: " in str(check.add_noise(lambda *args: args[1::2]))
    assert "it returns an object, which cannot be measured (" in str(check.add_noise(lambda *args: object()))
    assert "it returns a dict, which cannot be measured (" in str(check.add_noise(lambda *args: {}))


def thrice(x):
    return x + x + x


@pytest.mark.parametrize("old, found", [("y + x", 0), ("x + ", 2)])
def test_a_stale_edit_fails_when_the_check_is_built(old, found):
    with pytest.raises(
        ValueError, match=f"stale edit of thrice: .* must stand exactly once in its source, found {found} times"
    ):
        Check("thrice", thrice, [], {"a term is missing": {old: ""}}, "add three times")
    ways = [{"return x +": "return"}, abs]
    (lost, other) = Check("thrice", thrice, [], {"a term is lost": ways}, "").mistaken("a term is lost")
    assert lost(2) == 4 and other is abs


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
    with pytest.raises(AssertionError, match="is not right yet"):
        CHECKS[name](raising, strict=True)


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


# The answer, and the function to go on with


def exercises():
    """Each exercise of the lessons: its name, the function in its cell, and the lesson's imports and exercises before it."""
    for file in sorted((Path(__file__).parents[1] / "notebooks/src").glob("*.py")):
        lesson = compile(
            file.read_text(encoding="utf-8"), file.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        imports, before = [], []
        for node in lesson.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports.append(node)
            if (
                isinstance(node, ast.FunctionDef)
                and isinstance(node.body[-1], ast.Expr)
                and "..." in ast.unparse(node.body[-1])
            ):
                name = node.name.removeprefix("my_")
                yield pytest.param(name, node, list(imports), list(before), id=node.name)
                before.append(name)


@pytest.mark.parametrize("name, cell, imports, before", [*exercises()])
def test_a_solution_is_an_answer_to_the_exercise_as_it_was_set(name, cell, imports, before):
    text = check.solution(name).text
    (answer,) = ast.parse(text).body
    assert ast.unparse(answer.args) == ast.unparse(cell.args) and answer.name == f"my_{name}"
    exec(compile(ast.Module(imports, []), "imports", "exec"), lesson := {f"my_{name}": CHECKS[name].answer for name in before})
    assert "torch" in lesson, "a student's answer may need it"
    exec(text, lesson)
    assert CHECKS[name](lesson[f"my_{name}"], strict=True).right


def test_every_exercise_stands_in_a_lesson():
    assert {each.values[0] for each in exercises()} == set(CHECKS)


@each_check
def test_the_reference_is_right_and_shows_itself(name):
    assert CHECKS[name](CHECKS[name].reference, strict=True).right
    shown = check.solution(name)
    assert str(shown).startswith(f"def my_{name}(") and f"An answer to <b>{name}</b>" in shown._repr_html_()


@each_check
def test_a_lesson_goes_on_with_a_right_function(name):
    right = RIGHT[name][0]
    assert CHECKS[name](right).function.__wrapped__ is right
    for not_right in (blank, None, 3, raising):
        function = CHECKS[name](not_right).function
        assert function.__name__ == f"my_{name}" and inspect.getdoc(function) == inspect.getdoc(CHECKS[name].reference)
        assert CHECKS[name](function, strict=True).function.__wrapped__ is function


def test_a_lesson_goes_on_with_a_whole_number():
    one = Check("one", lambda: 1.0, [Case("it is 1", on())], {}, "")
    assert one(lambda: 1, strict=True).function().sqrt() == 1


@pytest.mark.parametrize("value", [np.ones(3), [1.0, 1.0, 1.0], torch.ones(3)], ids=["array", "list", "tensor"])
def test_a_lesson_goes_on_with_tensors(value):
    assert torch.equal(in_tensors(lambda: value)().float(), torch.ones(3))
    for pair in ((value, 2.0), [torch.ones(3), 2.0]):
        first, second = in_tensors(lambda pair: pair)(pair)
        assert torch.equal(first.float(), torch.ones(3)) and torch.equal(second, torch.tensor(2.0))


def test_a_lesson_goes_on_with_the_end_of_steps_that_are_yielded():
    assert in_tensors(lambda: iter([Step(1, torch.zeros(2)), Step(0, torch.ones(2))]))().sum() == 2
    assert in_tensors(lambda: None)() is None


def _typed(x: list[int], *more: float, n: int = 2) -> list[int]:
    """Numbers."""
    y: list = x  # kept
    return y * n


def test_an_answer_has_no_types_and_the_name_of_its_exercise():
    kept = ['    """Numbers."""', "    y: list = x  # kept", "    return y * n"]
    assert as_set(_typed, "my_typed").splitlines() == ["def my_typed(x, *more, n=2):", *kept]


def test_an_answer_names_what_the_library_has():
    each = Check("thrice", thrice, [], {}, "", shown=(linear_beta, DDPM.posterior))
    assert str(each.solution).endswith("\n\n# In the library: schedules.linear_beta, process.DDPM.posterior")
    assert each.answer(2) == 6


def test_what_is_shown_is_neither_equal_nor_printed_with_its_function():
    assert Verdict("a", "right", function=len) == Verdict("a", "right") and "len" not in repr(
        Verdict("a", "right", function=len)
    )


# What lessons 01 to 03 do with the answers: in each, what is given is none of the check's own data


CHAIN = DDPM(linear_beta(1000))
SPOTS = ExactDenoiser(ring(), CHAIN)


def draw_schedule(add_noise):
    digits = torch.rand(6, 1, 16, 16)
    return add_noise(CHAIN, digits, torch.linspace(1, 1000, 6).long(), torch.randn_like(digits)), digits.shape


def make_process(cosine_beta):
    process = DDPM(cosine_beta(1000))
    return process.add_noise(torch.ones(2, 2), 1000, torch.ones(2, 2)), (2, 2)


def walk_back(posterior):
    x0, x = torch.rand(2, 4, 1, 8, 8)
    for t in range(12, 0, -1):
        mean, variance = posterior(CHAIN, x, x0, t)
        x = mean + variance.sqrt() * torch.randn(x.shape)
    assert torch.allclose(x.float(), x0, atol=1e-3)
    return x, x0.shape


def train_on_points(training_loop):
    net, rng = MLP(2, width=8), seeded(1)
    before = [p.clone() for p in net.parameters()]
    draw = lambda rng: ring().sample(32, rng)[0]
    losses = training_loop(Network(net, CHAIN), draw, torch.optim.AdamW(net.parameters()), 3, rng)
    assert not any(torch.equal(one, other) for one, other in zip(before, net.parameters()))
    return losses, (3,)


def sample_points(sampling_loop):
    chain = DDPM(linear_beta(60))
    x = sampling_loop(ExactDenoiser(ring(), chain), torch.randn(16, 2, generator=seeded(0)), seeded(0))
    assert metrics.modes(x, ring())[1] < 0.2
    return x, (16, 2)


def draw_predictions(from_v):
    digits, v = torch.rand(2, 6, 1, 16, 16, generator=seeded(0))
    x0, eps = from_v(digits, v, *CHAIN.coefficients(300, digits))
    assert torch.allclose(CHAIN.add_noise(x0, 300, eps), digits, atol=1e-5)
    return x0, digits.shape


def compare_scores(score_from_eps):
    for dtype in (torch.float32, torch.float64):
        x = ring().sample(9, seeded(0))[0].to(dtype)
        score = score_from_eps(CHAIN, SPOTS(x, 200).eps, 200)
        assert torch.allclose(score.double(), SPOTS(x, 200).score.double(), rtol=1e-4)
    return score, x.shape


def walk_down(annealed_langevin):
    levels = VarianceExploding(geometric_sigma(6, 0.1, 3.0))
    x = annealed_langevin(ExactDenoiser(ring(), levels), torch.randn(16, 2), levels.times(6), 3, 0.001, seeded(0))
    return x.mean(0), (2,)


USES = {
    "add_noise": draw_schedule,
    "cosine_beta": make_process,
    "posterior": walk_back,
    "training_loop": train_on_points,
    "sampling_loop": sample_points,
    "from_v": draw_predictions,
    "score_from_eps": compare_scores,
    "annealed_langevin": walk_down,
}


@pytest.mark.parametrize("name", USES)
def test_the_lesson_runs_on_with_every_right_answer(name):
    for fn in (blank, *RIGHT[name]):
        result, shape = USES[name](verdict_on(name, fn).function)
        assert isinstance(result, torch.Tensor) and result.shape == shape and result.isfinite().all(), fn.__name__


@pytest.mark.parametrize("shape", [(3, 2), (3, 1, 4, 4)], ids=["points", "pictures"])
@pytest.mark.parametrize("t", [400, torch.tensor([1, 30, 1000])], ids=["one t", "each its t"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_answers_of_lesson_01_take_points_and_pictures(shape, t, dtype):
    x0, x_t = torch.rand(2, *shape, generator=seeded(0)).to(dtype)
    noised = check.add_noise(blank).function(CHAIN, x0, t, x_t)
    assert noised.dtype == dtype and torch.allclose(noised, CHAIN.add_noise(x0, t, x_t))
    for got, want in zip(check.posterior(blank).function(CHAIN, x_t, x0, t), CHAIN.posterior(x_t, x0, t)):
        assert got.dtype == dtype and torch.allclose(got, want.to(dtype))


# What is said


@pytest.mark.parametrize(
    "got, want, says",
    [
        ([1.0, 2.0], [1.0, 2.0], ""),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "its shape is (2,), but it should be (3,)"),
        ([float("nan"), 2.0], [1.0, 2.0], "it contains NaN or infinity"),
        ([0.002, 0.004], [1.0, 2.0], "it is 0.002 times the right value (0.004 where 2 is right)"),
        ([-1.0, -2.0], [1.0, 2.0], "the sign is turned (-2 where 2 is right)"),
        ([2.0, 3.0], [1.0, 2.0], "2 where 1 is right"),
        ([1.004, 2.008], [1.0, 2.0], "2.008 where 2 is right"),
        ([0.0, 0.0], [1.0, 2.0], "0 where 2 is right"),
        ([1e-5, 2e-5], [1.0, 2.0], "2e-05 where 2 is right"),
        ([1.0, 2.0], [0.0, 0.0], "2 where 0 is right"),
        (3.0, 1.0, "3 where 1 is right"),
        (False, True, "this does not hold"),
        ([True, False], [1.0, 2.0], "0 where 2 is right"),
        ([True, False], [True, True], "this does not hold"),
        (0.5, True, "this does not hold"),
    ],
)
def test_a_difference_is_said_in_one_line(got, want, says):
    assert difference(torch.as_tensor(got), torch.as_tensor(want), 1e-4) == says


def test_a_property_that_is_true_or_false_is_said_without_numbers():
    cases = [Case("it is positive", lambda fn: torch.tensor(fn(1) > 0)), Case("three", lambda fn: fn(1))]
    lines = Check("same", thrice, cases, {}, "")(lambda x: -x).lines
    assert lines[:2] == ["✗ it is positive: this does not hold", "✗ three: -1 where 3 is right"]


def test_the_headline_counts_in_plain_english():
    cases = [Case("one", on(1)), Case("two", on(2)), Case("three", on(3))]
    each = Check("same", thrice, cases, {}, "")
    assert "1 of 3 properties holds." in str(each(lambda x: 3))
    assert "0 of 3 properties hold." in str(each(lambda x: x**2 + 1)) and "2 of 3 properties hold." in str(
        each(lambda x: min(3 * x, 6))
    )
