"""The questions of `course quiz`: each is solved anew from the records, none gives away another, and all fit on two pages."""

import json
import os
import re
import statistics
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from functools import cache, reduce
from itertools import combinations, permutations

import pytest
from matplotlib.font_manager import get_font

from course_lib.__main__ import main
from course_lib.files import DATA, NOTEBOOKS, ROOT
from course_lib.teaching import checks, course_map, orders
from course_lib.teaching import quiz as machinery
from course_lib.teaching.checks.check import Check
from course_lib.teaching.progress import exercises
from course_lib.teaching.publish import claim_table, quiz_page
from course_lib.teaching.quiz import KINDS, Question

LESSONS = [number for number in course_map.written() if number != "00"]
SEEDS = range(2)
quiz = cache(machinery.quiz)
CLAIMS = {claim.id: claim for claim in claim_table.gather(sorted(NOTEBOOKS.glob("[0-9]*.ipynb")))}


EXERCISES = exercises()


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """The notebooks are read once, not for each quiz."""
    monkeypatch.setattr(machinery, "_claims", lambda: list(CLAIMS.values()))
    monkeypatch.setattr(machinery, "exercises", lambda: EXERCISES)


# Solvers, which know the records and nothing of how a question was made


def solve(question: Question):
    """The answer, from the records alone."""
    right = SOLVERS[question.kind](question)
    assert len(right) == 1, f"{len(right)} choices are right: {question}"
    return right[0]


def from_the_figure(question):
    """The choices with which the text is the claim's own, whatever stands in its hidden places."""
    masked = question.text.partition("Measured: ")[2]
    pattern = re.escape(masked).replace(re.escape("…"), ".+?")
    filled = [pattern.replace(re.escape("▢"), re.escape(choice)) for choice in question.choices]
    return [k for k, each in enumerate(filled) if re.fullmatch(each, CLAIMS[question.source].measured)]


def from_the_verdict(question):
    said = {"yes": "holds", "no": "does not hold here", "cannot be told apart": "cannot be told apart"}
    return [k for k, choice in enumerate(question.choices) if choice == said[CLAIMS[question.source].verdict]]


def from_the_check(question):
    """What the check itself says of the code."""
    check = getattr(checks, question.source)
    exec(question.code, made := dict(check.reference.__globals__))
    verdict = check(made[f"my_{question.source}"])
    assert verdict.state == "wrong"
    return [k for k, choice in enumerate(question.choices) if verdict.diagnosis == f"It looks as if {choice}."]


def from_the_nulls(question):
    nulls = CLAIMS[question.source].nulls
    return [k for k, choice in enumerate(question.choices) if choice in nulls]


def from_the_figures(question):
    """The order of the means in the file, whose differences all exceed two standard errors."""
    text = "Order these by {}, the smallest first.".format
    order = next(o for o in orders.ORDERS if text(o.by) == question.text and set(question.choices) <= set(o.arms))
    runs = [runs_of(order, order.arms[name]) for name in question.choices]
    for a, b in combinations(runs, 2):
        assert len(a) == len(b) >= 3
        differences = [x - y for x, y in zip(a, b)]
        assert abs(statistics.mean(differences)) > 2 * statistics.stdev(differences) / len(differences) ** 0.5
    return [tuple(sorted(range(len(runs)), key=lambda k: statistics.mean(runs[k])))]


def runs_of(order, keys):
    """The figure of the rows with these keys, from the file itself."""
    found = json.loads((DATA / f"figures/{order.file}.json").read_text(encoding="utf-8"))
    if order.file == "drawbench":
        return [row[order.figure] for row in found["scores"][keys["system"]]]
    rows_of = lambda keys: [row for row in found[order.table] if all(row.get(key) == value for key, value in keys.items())]
    shared = set.intersection(*({row.get("seed") for row in rows_of(other)} for other in order.arms.values()))
    rows = [row for row in rows_of(keys) if row.get("seed") in shared]
    return [reduce(lambda found, key: found[key], order.figure.split(": "), row.get("figures", row)) for row in rows]


SOLVERS = {
    "figure": from_the_figure,
    "verdict": from_the_verdict,
    "bug": from_the_check,
    "control": from_the_nulls,
    "order": from_the_figures,
}


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_question_is_solved_from_the_records(lesson):
    for question in (question for seed in SEEDS for question in quiz(lesson, seed)):
        assert solve(question) == question.answer, question
        assert len(set(question.choices)) == len(question.choices) >= 3 and question.why and question.text


def test_the_solvers_find_a_wrong_answer():
    for kind in KINDS:
        question = next(q for lesson in ("03", "14") for seed in SEEDS for q in quiz(lesson, seed) if q.kind == kind)
        wrong = question.answer[::-1] if kind == "order" else (question.answer + 1) % len(question.choices)
        assert solve(replace(question, answer=wrong)) != wrong


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_lesson_has_ten_questions_of_three_kinds_and_none_twice(lesson):
    for seed in SEEDS:
        made = quiz(lesson, seed)
        assert len(made) == 10 and len({question.kind for question in made}) >= 3
        assert len({(q.kind, q.source, q.text) for q in made}) == 10
        asked = [q.solution for q in made if q.kind == "figure"]
        assert len(set(asked)) == len(asked)
        for kind in ("verdict", "bug", "control"):
            assert max(Counter(q.source for q in made if q.kind == kind).values(), default=1) == 1


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_question_shows_what_another_of_its_claim_asks_for(lesson):
    for seed in SEEDS:
        made = quiz(lesson, seed)
        for question in (question for question in made if question.kind == "figure"):
            number = re.match(r"[-+]?([\d,.]+)", question.solution)[1].rstrip(".,")
            for other in (other for other in made if other.source == question.source):
                assert not re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)", other.text), (question, other)


@pytest.mark.parametrize("order", orders.ORDERS, ids=lambda order: f"{order.lesson}, {order.by}")
def test_each_order_has_arms_that_can_be_told_apart(order):
    values = order.values()
    assert max(len(machinery._told_apart(names, values)) for names in permutations(list(values)[:7], min(4, len(values)))) >= 3


def test_lessons_with_figures_are_asked_to_order_them():
    lessons = {order.lesson for order in orders.ORDERS}
    assert lessons >= {"13", "14", "17", "18"}
    for lesson in lessons:
        assert any(q.kind == "order" for q in quiz(lesson, 1)), lesson


@pytest.mark.parametrize("lesson", ["14"])
def test_where_a_lesson_has_claims_enough_each_is_asked_about_once(lesson):
    for seed in SEEDS:
        about = [q.source for q in quiz(lesson, seed) if q.kind in ("figure", "verdict")]
        assert len(set(about)) == len(about) >= 5


def test_null_models_are_asked_for_where_claims_have_them():
    lessons = {claim.lesson[:2] for claim in CLAIMS.values() if claim.nulls} - {"00"}  # its one claim is too little for ten
    assert lessons >= {"01", "02", "03"}
    for lesson in lessons:
        assert any(q.kind == "control" for q in quiz(lesson)), lesson


# Variety


def test_answers_stand_at_every_place_and_seeds_differ():
    made = [quiz(lesson, seed) for lesson in ("02", "05", "14", "20") for seed in SEEDS]
    places = Counter((q.kind, q.answer) for questions in made for q in questions if q.kind in ("figure", "bug"))
    assert {place for place in places} == {(kind, k) for kind in ("figure", "bug") for k in range(4)}
    assert max(places.values()) < 0.5 * sum(places.values())
    assert any(q.choices != tuple(sorted(q.choices)) for questions in made for q in questions if q.kind == "bug")
    assert len({question for questions in made for question in questions}) > 0.8 * 10 * len(made)


def test_the_right_figure_is_not_told_by_its_rank():
    """Neither the middle nor an end: a reader who knows nothing must not win by a rule."""
    ranks = Counter()
    for question in (q for lesson in LESSONS for seed in SEEDS for q in quiz(lesson, seed) if q.kind == "figure"):
        number = lambda text: float(re.match(r"[-+]?[\d,.]+(e-\d+)?", text)[0].replace(",", ""))
        ranks[sorted(question.choices, key=number).index(question.solution)] += 1
    lengths = [next(machinery._figures(claim("3.7 pixels"), machinery.Random(seed))) for seed in range(100)]
    assert len({sorted(each.choices, key=float).index("3.7") for each in lengths}) == 4
    assert sorted(ranks) == [0, 1, 2, 3] and max(ranks.values()) < 0.45 * sum(ranks.values()), ranks


def test_a_seed_gives_the_same_quiz_in_any_process(capsys):
    assert main(["quiz", "03", "--seed", "5", "--answers"]) == 0
    here = capsys.readouterr().out
    run = subprocess.run(
        [sys.executable, "-m", "course_lib", "quiz", "03", "--seed", "5", "--answers"],
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert run.returncode == 0 and run.stdout == here and "Answers" in here


# Claims as they may be written


def claim(measured, **more):
    plain = {"statement": "A sentence.", "measured": measured, "figures": {}, "nulls": {}}
    return replace(next(iter(CLAIMS.values())), **plain | more)


def asked(made):
    return {q.solution: q for q in machinery._figures(made, machinery.Random(0))}


def test_conditions_and_counts_are_not_asked_for():
    left = "at w = 1.5, 12 of 40 and below 0.05 at 0.2, noise 0.1, 95 % or more; by chance 10 %, 9 % would be fair"
    found = asked(claim(f"0.31 {left}, 88 %"))
    assert set(found) == {"0.31", "88 %"} and found["88 %"].text.endswith(f"Measured: … {left}, ▢")


def test_all_and_none_are_asked_for_and_no_share_is_above_the_whole():
    for measured in ("100 % of them", "0.0 % of them", "0.98 of them", "81 ± 2 % of them"):
        (question,) = asked(claim(measured, figures={"share": "81 ± 2"} if "±" in measured else {})).values()
        whole = 100 if "%" in measured else 1
        assert all(0 <= float(choice.split()[0]) <= whole for choice in question.choices)


def test_of_a_comparison_each_arm_is_asked_for():
    arms = {"x.a": "0.43 ± 0.01", "x.b": "0.36 ± 0.02", "x.difference": "0.07 ± 0.02"}
    made = claim("0.43 ± 0.01 beside 0.36 ± 0.02 nats", figures={"x": "0.43 ± 0.01 beside 0.36 ± 0.02"} | arms)
    assert set(asked(made)) == {arms["x.a"], arms["x.b"]}


def test_what_the_statement_tells_is_not_asked_for():
    assert not asked(claim("0.31 of all", statement="It is 0.31."))
    assert set(asked(claim("0.31 of all", statement="It is 0.315."))) == {"0.31"}


def test_a_figure_by_name_is_asked_for_with_its_error_and_a_null_models_beside_it():
    made = claim(
        "a share of 0.49 ± 0.01, 5 of 8 spots",
        figures={"share": "0.49 ± 0.01", "share.mean": "0.49", "spots": "5"},
        nulls={"noise": "a share of 0.13 ± 0.01, 2 of 8 spots"},
    )
    found = asked(made)
    assert set(found) == {"0.49 ± 0.01", "5"} and found["5"].text.endswith("a share of …, ▢ of 8 spots")
    assert "0.13 ± 0.01" in found["0.49 ± 0.01"].choices and "2" in found["5"].choices


def test_figures_that_no_reader_can_tell_apart_are_not_beside_each_other():
    for question in asked(claim("99.7 % and 98.9 %, 0.04 ± 0.12 and 0.85 ± 0.02")).values():
        assert question.solution != "0.04 ± 0.12"
        numbers = sorted(float(re.match(r"[\d.]+", choice)[0]) for choice in question.choices)
        assert all(b - a > 0.02 for a, b in zip(numbers, numbers[1:])) and "%" not in question.solution or numbers[-2] < 97


# Bad input


@pytest.mark.parametrize(
    "argv, says",
    [
        (["99"], r"lesson must be one of 00, .*, \d\d, got '99'"),
        (["7"], "lesson must be one of .*, got '7'"),
        (["03", "--n", "0"], "n must be at least 1, got 0"),
        (["03", "--n", "500"], r"n must be at most \d+, got 500"),
        (["03", "--seed", "-1"], "seed must be at least 0, got -1"),
        (["05", "--n", "33", "--pdf", "unused.pdf"], "questions must fit on one page, got 33 that do not: ask for fewer"),
        (["03", "--pdf", "{folder}"], "path must be a file in a folder that can be written, got .*"),
        (["03", "--html", "{folder}/a/file/b.html"], "path must be a file in a folder that can be written, got .*"),
    ],
)
def test_an_error_is_one_line(argv, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").touch()
    assert main(["quiz", *(each.format(folder=tmp_path) for each in argv)]) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(f"course: {says}\n", shown.err) and shown.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


# Text, page and PDF

HOSTILE = "</script><b onclick='x'>&amp; {{ title }} $x_$ \\ \u202eεᾱ≤± " + 300 * "W"


def hostile():
    choices = tuple(f"{k}{HOSTILE}" for k in range(4))
    return [Question("bug", HOSTILE, f"def f(x):\n    return {HOSTILE}", choices, 1, HOSTILE, "f") for _ in range(2)]


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_the_command_prints_questions_without_answers_and_writes_files(tmp_path, capsys):
    assert main(["quiz", "07", "--n", "4"]) == 0
    shown, made = capsys.readouterr().out.replace("\n   Measured", "\nMeasured"), quiz("07", n=4)
    assert all(question.text in shown for question in made) and not any(question.why in shown for question in made)
    assert shown.startswith("Lesson 07, Classifier guidance: quiz 0\n") and "Answers" not in shown
    page, pdf = tmp_path / "new/quiz.html", tmp_path / "quiz.pdf"
    assert main(["quiz", "07", "--html", str(page), "--pdf", str(pdf)]) == 0
    assert capsys.readouterr().out == f"10 questions in {page}\n10 questions in {pdf}\n"
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>") and pages_of(pdf.read_bytes()) == 2


def test_answers_come_last():
    made = quiz("18")
    shown = quiz_page.text(made, answers=True).replace("\n   Measured", "\nMeasured")
    questions, _, answers = shown.partition("\nAnswers\n")
    assert all(question.text in questions and question.why not in questions for question in made)
    assert all(f"{k}. {question.letters}" in answers and question.why in answers for k, question in enumerate(made, 1))
    page = quiz_page.page(made, "A title")
    questions, _, answers = page.partition("<details>")
    assert all(question.why not in questions for question in made) and answers.count("<li>") == 10


def test_hostile_text_stays_text():
    page = quiz_page.page(hostile(), HOSTILE)
    assert page.count("<script>") == 1 and "<b onclick" not in page and "{{ title }}" in page
    assert page.count("&lt;/script&gt;&lt;b onclick=&#39;x&#39;&gt;&amp;amp; {{ title }} $x_$ \\") == 19
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pages_of(quiz_page.pdf(hostile(), HOSTILE)) == 2


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_quiz_fits_on_its_pages_and_every_letter_can_be_shown(lesson):
    for seed in SEEDS:
        made, title = quiz(lesson, seed), quiz_page.title(lesson, seed)
        for make in (quiz_page._questions, quiz_page._answers):
            size, lines = quiz_page._fitted(make, made, title)
            assert size >= 6.5 and sum(line.height for line in lines) <= quiz_page.HEIGHT - 2 * quiz_page.MARGIN
            for run in (run for line in lines for run in line.runs):
                assert run.x + run.size * quiz_page._width(run.text, run.font) <= quiz_page.WIDTH - 2 * quiz_page.MARGIN + 1e-6
                assert {ord(letter) for letter in run.text} <= get_font(quiz_page._font_file(run.font)).get_charmap().keys()


def test_all_words_of_a_quiz_stand_on_its_pages():
    made = quiz("02")
    (_, questions), (_, answers) = (
        quiz_page._fitted(make, made, "A title") for make in (quiz_page._questions, quiz_page._answers)
    )
    words = lambda lines: " ".join(run.text for line in lines for run in line.runs).split()
    said = " ".join(f"{k}. {q.text} {q.code} " + " ".join(map(" ".join, q.lettered)) for k, q in enumerate(made, 1))
    assert words(questions) == ["A", "title", *said.split()]
    said = " ".join(f"{k}. {q.letters} {q.solution} {q.why}" for k, q in enumerate(made, 1))
    assert words(answers) == ["A", "title,", "answers", *said.split()]


def test_a_word_longer_than_a_line_goes_on_in_the_next():
    word = "".join(map(str, range(200)))
    lines = list(quiz_page._set(f"a {word} b", 10.0))
    assert len(lines) > 4 and "".join(line.runs[0].text for line in lines).replace(" ", "") == f"a{word}b"


def test_a_pdf_is_the_same_each_time():
    assert quiz_page.pdf(quiz("01"), "A title") == quiz_page.pdf(quiz("01"), "A title")


def test_code_ends_with_its_first_return():
    right = "def f(x):\n    if x:\n        return 1\n    return 2"
    assert machinery._edited(right, {"return 2": "return 3\n    return 2"}) == right.replace("return 2", "return 3")
    assert machinery._edited(right, {"return": "raise"}) == ""  # it stands there twice


def test_no_question_shows_the_librarys_own_checks_of_arguments():
    shown = [q.code for lesson in LESSONS for seed in SEEDS for q in quiz(lesson, seed) if q.kind == "bug"]
    assert shown and not any("validate." in code or '"""' in code for code in shown)
    assert all(isinstance(getattr(checks, name), Check) for names in EXERCISES.values() for name in names)
