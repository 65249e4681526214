"""What a question, its answer and the table of guesses hold. How they meet in a page is in tests/browser."""

import json
import re
from html import unescape

import pytest

from course_lib.files import ROOT
from course_lib.teaching.answer import SCRIPT, answer
from course_lib.widgets.guess import MIME, guesses, predict

WHICH = "Which share of points will be in the light mode?"


def data_of(made) -> dict:
    return json.loads(re.search(r"^const data = (.*);$", made.html, re.MULTILINE)[1])


def test_a_question_is_one_piece_of_html_and_prints_as_text():
    one, two = (predict("score-plain.share", WHICH, low=0, high=1, unit="s") for _ in range(2))
    assert one.html == two.html and "https://" not in one.html and repr(one) == f"Guess first: {WHICH} [0 s to 1 s]"
    assert repr(predict("a.verdict", "So?", choices=["yes", "no"])) == "Guess first: So? [yes / no]"
    shown, _ = one._repr_mimebundle_()
    assert shown["text/plain"] == repr(one) and shown["text/html"] == one.html
    assert shown[MIME] | {"id": ""} == {"id": "", **data_of(one)["question"]} and shown[MIME]["id"] == data_of(one)["id"]


@pytest.mark.parametrize(
    "low, high, step, decimals, stops",
    [
        (0, 1, 0.01, 2, 100),
        (0, 100, 1, 0, 100),
        (0, 7, 0.05, 2, 140),
        (-5, 5, 0.1, 1, 100),
        (0.013, 0.57, 0.005, 3, 112),
        (1, 1000, 10, 0, 100),
        (0, 1e-5, 1e-7, 7, 100),
        (0, 9, 0.1, 1, 90),
    ],
)
def test_a_slider_has_about_a_hundred_stops_at_round_numbers(low, high, step, decimals, stops):
    got = data_of(predict("a.b", "?", low=low, high=high))["question"]
    assert (got["step"], got["decimals"], got["stops"]) == (step, decimals, stops)
    assert got["step"] == float(f"{step:.{decimals}f}") and (stops - 1) * step < high - low


def test_choices_are_kept_as_they_are():
    made = predict("a.b", "How many?", choices=("4", "8", "about 20"))
    assert data_of(made) == {"id": "a.b", "question": {"question": "How many?", "choices": ["4", "8", "about 20"]}}
    assert made.html.count("<li>") == 3


def test_a_table_knows_its_questions():
    made = guesses("a.b", "a-b.one step")
    assert data_of(made) == {"ids": ["a.b", "a-b.one step"]} == made.about and "a-b.one step" in repr(made)
    with pytest.raises(ValueError, match="ids must hold at least one id, got none"):
        guesses()


def test_an_answer_carries_what_is_printed_and_what_it_is_worth():
    made = answer("a-b", {"share": ("0.49 ± 0.01", 0.4873), "colour": 'a "red" one'}, "no")
    figures = json.loads(unescape(re.search('data-figures="([^"]*)"', made)[1]))
    want = {"share": {"text": "0.49 ± 0.01", "value": 0.4873}, "colour": {"text": 'a "red" one'}, "verdict": {"text": "no"}}
    assert figures == want and 'data-claim="a-b"' in made and made.isascii()


def test_every_claim_carries_the_script_so_it_is_short():
    source = (ROOT / "course_lib/teaching/answer.js").read_text(encoding="utf-8")
    code = [
        line.strip().removeprefix("export ") for line in re.sub(r"/\*\*\n.*?\*/\n", "", source, flags=re.DOTALL).splitlines()
    ]
    left = [line for line in code if line and not line.startswith(("//", "/** "))]
    assert len(left) > 100 and [line for line in SCRIPT.splitlines() if line] == left
    assert len(SCRIPT) < 4500 and "/**\n" not in SCRIPT and "export" not in SCRIPT and "</" not in SCRIPT


def test_one_form_and_not_both():
    with pytest.raises(ValueError, match="choices must be given where low and high are not, got None"):
        predict("a.b", "?")
    with pytest.raises(ValueError, match="high must be left out where there are choices, got 1"):
        predict("a.b", "?", high=1, choices=["a", "b"])
