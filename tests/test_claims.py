"""Claims are gathered from executed notebooks; one that is false, or that a null model passes, stops its notebook."""

import ast
import re
from html import unescape

import nbformat
import pytest
from nbconvert.filters.markdown_mistune import MarkdownWithMath

from course_lib.files import NOTEBOOKS
from course_lib.teaching.claims import MIME, VERDICTS, Claim, claim
from course_lib.teaching.course_map import LESSONS, course_map, written
from course_lib.teaching.environment import PYPROJECT, environment
from course_lib.teaching.evidence import Estimate, compare, ratio, share
from course_lib.teaching.publish.build import read, sources
from course_lib.teaching.publish.claim_table import copied, fill, fill_notebook, gather, in_readme, page, table
from course_lib.teaching.publish.equations import Renderer
from course_lib.widgets.guess import MIME as GUESS

STORED = list(gather(sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))))


def notebook(path, *claims):
    cells = []
    for made in claims:
        data = made._repr_mimebundle_()
        cells.append(nbformat.v4.new_code_cell("claim(...)", outputs=[nbformat.v4.new_output("display_data", data)]))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def exact(id, statement, measured, verdict="yes", lesson=""):
    """A claim that needs no null model."""
    return Claim(id, statement, measured, verdict, no_null="exact", lesson=lesson)


def leading(printed):
    """The number with which a figure begins."""
    return float(re.match(r"[-+]?[\d,.]+", printed)[0].replace(",", ""))


HALF, FIFTH = Estimate(0.49, 0.007, 5000, "points"), Estimate(0.205, 0.006, 5000, "points")


def light_mode(made=HALF, null=None, expected=True, **more):
    """The claim that plain Langevin dynamics puts more than the right fifth into the light mode."""
    null = null or {"points of the mixture itself": dict(share=FIFTH)}
    return claim(
        "plain-langevin",
        "It puts too many points there.",
        figures=dict(share=made, right=0.2),
        measured="a share of {share:.2f} where {right:.2f} is right",
        holds=lambda share, right: share.above(right),
        null=null,
        expected=expected,
        **more,
    )


# One claim


def test_a_claim_holds_what_decides_it():
    made = light_mode()
    assert made.measured == "a share of 0.49 ± 0.01 where 0.20 is right" and made.verdict == "yes"
    assert made.figures == {"share": "0.49 ± 0.01", "share.mean": "0.49", "right": "0.20"}
    assert (made.error, made.runs) == ("± 0.01", "5,000 points")
    assert made.null == "points of the mixture itself: a share of 0.20 ± 0.01 where 0.20 is right"
    assert str(made).startswith("holds: It puts too many points there. Measured: a share of 0.49 ± 0.01 where")
    shown = made._repr_mimebundle_()
    assert (
        "Null model, points of the mixture itself: a share of 0.20" in shown["text/html"]
        and "5,000 points" in shown["text/html"]
    )
    assert Claim(**shown[MIME]) == made


def test_a_claim_that_a_null_model_passes_raises():
    with pytest.raises(AssertionError, match="the null model passes: uniform noise: a share of 0.50 .* is right"):
        light_mode(null={"uniform noise": dict(share=share([True, False] * 500))})
    cannot_tell = {"few points of the mixture": dict(share=share([True] + [False] * 4))}
    assert "few points" in light_mode(null=cannot_tell).null, "what cannot be told apart does not pass"


def test_three_verdicts_and_the_one_that_the_lesson_expects():
    assert light_mode(Estimate(0.1, 0.01, 9, "points"), expected=False).verdict == "no"
    assert light_mode(Estimate(0.21, 0.01, 9, "points"), expected=None).verdict == "cannot be told apart"
    with pytest.raises(AssertionError, match="expects the verdict 'yes', got 'cannot be told apart': cannot be told apart: It"):
        light_mode(Estimate(0.21, 0.01, 9, "points"))
    with pytest.raises(AssertionError, match="expects the verdict 'no', got 'yes'"):
        light_mode(expected=False)


def test_a_comparison_shows_both_arms_and_its_difference():
    made = claim(
        "two-arms",
        "The first is nearer.",
        figures=dict(distance=compare([0.040, 0.042, 0.041], [0.060, 0.063, 0.060])),
        measured="{distance:.3f}",
        holds=lambda distance: distance.lower,
        null={"the first arm beside itself": dict(distance=compare([0.040, 0.042, 0.041], [0.041, 0.040, 0.042]))},
    )
    assert made.measured == "0.041 ± 0.001 beside 0.061 ± 0.001" and made.runs == "three trainings"
    assert made.error == "difference -0.020 ± 0.001" and made.figures["distance.a.mean"] == "0.041"


def test_a_ratio_shows_its_interval():
    times = ratio([2.0, 2.2, 2.1], [1.0, 1.0, 1.0])
    made = claim(
        "made-larger",
        "It is larger.",
        measured="{times:.1f} as large",
        holds=lambda times: times.above(1),
        figures=dict(times=times),
        null={"the same again": dict(times=ratio([1.0, 1.1, 0.9], [1.0, 1.0, 1.0]))},
    )
    assert made.measured == "2.1 times (1.9 to 2.4) as large" and made.error == "2.1 times (1.9 to 2.4)"
    assert (made.figures["times.mean"], made.figures["times.low"], made.runs) == ("2.1", "1.9", "three trainings")


def test_what_does_not_hold_has_a_control_of_which_it_is_true():
    good = dict(figures=dict(x=0.5), measured="{x}", holds=lambda x: x > 1, null={"noise": dict(x=0.1)}, expected=False)
    made = claim("a", "b", **good, control={"the exact one": dict(x=2)})
    assert made.controls == {"the exact one": "2"} and made.null == "noise: 0.1; true of the exact one: 2"
    assert "Control, the exact one: 2. There it holds." in made._repr_mimebundle_()["text/html"]
    with pytest.raises(AssertionError, match="the control does not pass: the exact one: 0.9"):
        claim("a", "b", **good, control={"the exact one": dict(x=0.9)})
    with pytest.raises(ValueError, match="control must give some of x for 'the exact one', got y"):
        claim("a", "b", **good, control={"the exact one": dict(y=2)})


@pytest.mark.parametrize("scored", [share([True, True]), Estimate(0.9, None, 1), float("nan"), compare([1.0], [0.0])])
def test_a_null_model_of_which_nothing_could_be_said_is_none(scored):
    with pytest.raises(ValueError, match="null must be able to pass, got .* for 'noise'"):
        claim("a", "b", figures=dict(x=HALF), measured="{x}", holds=lambda x: x.above(0), null={"noise": dict(x=scored)})


@pytest.mark.parametrize("holds", [lambda x: x, lambda x: x.below, lambda x: "yes", lambda x: 1])
def test_a_condition_returns_a_verdict(holds):
    with pytest.raises(TypeError, match="verdicts must be of type bool"):
        claim("a", "b", figures=dict(x=HALF), measured="{x}", holds=holds, null={"noise": dict(x=FIFTH)})


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.stem)
def test_no_condition_takes_undecided_for_yes_or_no(source):
    """`not None` is True, and `None and x` is None whatever x is: verdicts are combined by `all_of`."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    conditions = [k.value for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords if k.arg == "holds"]
    parts = [part for holds in conditions if isinstance(holds, ast.Lambda) for part in ast.walk(holds)]
    assert not [ast.unparse(part) for part in parts if isinstance(part, ast.BoolOp | ast.Not | ast.IfExp)]


def test_where_no_null_model_makes_sense_it_says_why():
    made = light_mode(null="the statement is about all models")
    assert made.null == made.no_null == "the statement is about all models" and not made.nulls
    for missing in ("", {}):
        with pytest.raises(ValueError, match="null must name a null model, or say why there is none"):
            claim("a", "b", figures=dict(x=1), measured="{x}", holds=lambda x: x > 0, null=missing)


@pytest.mark.parametrize(
    "more, says",
    [
        (dict(measured="{mean:.2f}"), r"measured must be a format string over x, n, got the name 'mean'"),
        (dict(holds=lambda y: True), "holds must be a function of some of x, n, got one of y"),
        (dict(holds=lambda: True), "holds must be a function of some of x, n, got one of "),
        (dict(null={"noise": dict(y=1)}), "null must give some of x for 'noise', got y"),
        (dict(null={"noise": dict(n=1)}), "null must give some of x for 'noise', got n"),
        (dict(null={"noise": {}}), "null must give some of x for 'noise', got nothing"),
    ],
)
def test_every_name_is_that_of_a_figure(more, says):
    good = dict(figures=dict(x=2, n=3), measured="{x} of {n}", holds=lambda x: x > 1, null={"noise": dict(x=0)})
    assert claim("a", "b", **good).null == "noise: 0 of 3"
    with pytest.raises(ValueError, match=says):
        claim("a", "b", **(good | more))


# The stored claims


def test_every_stored_claim_has_a_null_model_or_says_why_not():
    assert not [c.id for c in STORED if not c.nulls and not c.no_null]
    assert {c.verdict for c in STORED} <= set(VERDICTS.values())
    assert not [c.id for c in STORED if c.nulls and c.verdict == "no" and not c.controls], "a null model fails there, too"


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.stem)
def test_prose_takes_its_figures_from_the_claims(source):
    own = [c for c in STORED if c.lesson == source.stem]
    prose = "\n\n".join(cell.source for cell in read(source).cells if cell.cell_type == "markdown")
    assert not list(copied(prose, own)), "write {{id.figure}} for these figures"


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.stem)
def test_what_is_guessed_is_measured_in_the_same_lesson(source):
    own = {c.id: c.figures | {"verdict": c.verdict} for c in STORED if c.lesson == source.stem}
    cells = nbformat.read(NOTEBOOKS / f"{source.stem}.ipynb", as_version=4).cells
    guesses = [o.data[GUESS] for cell in cells for o in cell.get("outputs", []) if GUESS in o.get("data", {})]
    asked = [guess["id"] for guess in guesses if "id" in guess]
    for guess in guesses[: len(asked)]:
        claim, figure = guess["id"].split(".")
        printed = own[claim][figure]
        assert printed in guess["choices"] if "choices" in guess else guess["low"] <= leading(printed) <= guess["high"]
    if any(c.nulls for c in STORED if c.lesson == source.stem):
        fewest = 1 if source.stem == "00_start_here" else 3  # it has one claim alone
        assert fewest <= len(asked) <= 5 and [guess["ids"] for guess in guesses[len(asked) :]] == [asked]


def test_a_copied_figure_is_found_and_others_are_not():
    own = [
        light_mode(),
        claim("b", "c", figures=dict(x=0.026, n=5), measured="{x:.1%} of {n}", holds=lambda x: x > 0, null="why"),
    ]
    assert list(copied("it puts 0.49 of them there", own)) == [
        ("plain-langevin.share", "0.49"),
        ("plain-langevin.share.mean", "0.49"),
    ]
    assert ("b.x", "2.6 %") in list(copied("at 2.6 % it stops", own))
    assert not list(copied("0.4, 1.49, 0.491, $0.49$, `0.49`, {{plain-langevin.share}}, 12.6 %, 5 of them", own))


def test_a_figure_in_the_prose_is_the_claims_own():
    known = {"plain-langevin": light_mode()}
    said = (
        "It puts {{plain-langevin.share}} ({{plain-langevin.share.mean}}) there: {{plain-langevin.verdict}}. $\\frac{{a}}{{b}}$"
    )
    assert fill(said, known) == "It puts 0.49 ± 0.01 (0.49) there: yes. $\\frac{{a}}{{b}}$"
    with pytest.raises(
        ValueError, match=r"\{\{plain-langevin.n\}\} must name a figure, one of share, share.mean, right, verdict"
    ):
        fill("{{plain-langevin.n}}", known)
    for blank in ("{{ plain-langevin.share }}", "{{plain-langevin.two shares}}"):
        with pytest.raises(ValueError, match="must be {{id.figure}}, without blanks"):
            fill(blank, known)
    with pytest.raises(ValueError, match="must name a figure, of a claim that a notebook makes"):
        fill("{{no-claim.n}}", known)


def test_prose_follows_the_claims_of_its_own_notebook_first():
    old, new = light_mode(Estimate(0.4, 0.01, 99)), light_mode(Estimate(0.6, 0.01, 99))
    code = nbformat.v4.new_code_cell("{{plain-langevin.share.mean}}")
    code.outputs = [nbformat.v4.new_output("execute_result", new._repr_mimebundle_())]
    cells = [nbformat.v4.new_markdown_cell("{{plain-langevin.share.mean}}"), code]
    made = fill_notebook(nbformat.v4.new_notebook(cells=cells), [old])
    assert [cell.source for cell in made.cells] == ["0.60", "{{plain-langevin.share.mean}}"]


# Tables


def test_gathered_in_order_with_their_lesson(tmp_path):
    one = exact("first-claim", "One is less than two.", "1 < 2")
    two = exact("second-claim", "Two is less than one.", "2 > 1", "no")
    found = list(gather([notebook(tmp_path / "07_a.ipynb", one, light_mode()), notebook(tmp_path / "08_b.ipynb", two)]))
    assert [(c.id, c.lesson, c.verdict) for c in found] == [
        ("first-claim", "07_a", "yes"),
        ("plain-langevin", "07_a", "yes"),
        ("second-claim", "08_b", "no"),
    ]
    assert "| Two is less than one. | 08 | 2 > 1 |  |  | exact | no |" in table(found)
    null = "points of the mixture itself: a share of 0.20 ± 0.01 where 0.20 is right"
    assert f"| a share of 0.49 ± 0.01 where 0.20 is right | ± 0.01 | 5,000 points | {null} | yes |" in table(found)
    assert "does not hold" in two._repr_mimebundle_()["text/html"]


def test_the_page_counts_verdicts(tmp_path):
    old = [exact(f"old-{i}", "c", "1", "yes" if i < 3 else "no") for i in range(5)]
    undecided = light_mode(Estimate(0.21, 0.01, 9, "points"), null="the statement is about all models", expected=None)
    text = page([notebook(tmp_path / "07_a.ipynb", undecided, *old)])
    assert "6 statements" in text and "3 hold, 2 do not" in text and "and 1 cannot be told apart" in text


def test_a_bar_in_a_claim_stays_in_its_cell():
    row = table([exact("a", "q(x | y) is known.", "|x| = 1", lesson="08_small")]).splitlines()[-1]
    assert row == "| q(x \\| y) is known. | 08 | \\|x\\| = 1 |  |  | exact | yes |"


def test_a_claim_is_one_row_and_its_words_are_no_markup():
    said = "a\n\nb\u2028c `d` *e* __f__ x_t [g](h) [g][h] $i$ <!-- /claims --> &lt; \\| "
    (row,) = table([exact("a", said, said, lesson="08_small")]).splitlines()[2:]
    cell = r"a  b c \`d\` \*e\* \_\_f_\_ x_t [g]\(h) [g]\[h] \$i\$ \<!-- /claims --> \&lt; \\\| "
    assert row == f"| {cell} | 08 | {cell} |  |  | exact | yes |"
    claims = [exact("a", said, "08", lesson="08_small")]
    rendered = MarkdownWithMath(renderer=Renderer(escape=False)).render(table(claims))
    words = re.findall("<td>(.*?)</td>", rendered)
    assert [unescape(word) for word in words] == [" ".join(said.splitlines()).strip(), "08", "08", "", "", "exact", "yes"]


def test_the_readme_shows_the_chosen_and_says_which_is_missing(tmp_path, monkeypatch):
    path = notebook(tmp_path / "07_a.ipynb", exact("a", "One is | one.", "1"), exact("b", "Two is two.", "2"))
    monkeypatch.setattr("course_lib.teaching.publish.claim_table.CHOSEN", ("a",))
    text = in_readme("Before\n<!-- claims -->\nstale\n<!-- /claims -->\nafter", [path])
    assert "| One is \\| one. | [07](notebooks/07_a.ipynb) | 1 |  |  | exact | yes |\n<!-- /claims -->\nafter" in text
    assert text.startswith("Before\n<!-- claims -->\n| statement |") and "Two is two" not in text and "stale" not in text
    with pytest.raises(ValueError, match="readme must hold one place"):
        in_readme("Before", [path])
    monkeypatch.setattr("course_lib.teaching.publish.claim_table.CHOSEN", ("a", "c"))
    with pytest.raises(ValueError, match="got 'c', which no notebook makes"):
        in_readme(text, [path])


def test_ids_are_plain_and_their_own(tmp_path):
    with pytest.raises(ValueError, match="lower-case words"):
        claim("Bad Id", "x", measured="{n}", holds=lambda n: True, figures=dict(n=1), null="exact")
    made = exact("same", "x", "1")
    with pytest.raises(ValueError, match="twice"):
        list(gather([notebook(tmp_path / "01_a.ipynb", made, made)]))


def test_a_statement_cannot_smuggle_html():
    assert "<script>" not in exact("a", "<script>", "<b>")._repr_mimebundle_()["text/html"]


def test_the_map_marks_one_lesson_and_lists_every_one():
    numbers = [n for lessons in LESSONS.values() for n in lessons]
    assert numbers == [f"{n:02}" for n in range(len(numbers))] and set(written()) <= set(numbers)
    shown = course_map("02")._repr_html_()
    assert shown.count("◀ here</span>") == 1 and "02 The epsilon loss ◀" in shown
    with pytest.raises(ValueError, match=f'here must be a lesson from "00" to "{numbers[-1]}", got \'99\''):
        course_map("99")


def test_the_readme_lists_every_lesson_that_is_written():
    titles = {number: title for lessons in LESSONS.values() for number, title in lessons.items()}
    readme = (PYPROJECT.parent / "README.md").read_text(encoding="utf-8")
    for number, name in written().items():
        assert f"| [{number}](notebooks/{name}) | {titles[number]} |" in readme


def test_the_environment_is_ready_here_and_says_what_is_missing(monkeypatch):
    from importlib import metadata

    assert environment().ready and "All is ready" in str(environment())
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "numpy" else real(name))
    assert not environment().ready and "NO  numpy" in str(environment())
