"""The page of `course quiz`: answers are folded on the screen, and stand on the second of two printed pages."""

import re

import pytest

from course_lib.teaching.publish import quiz_page
from course_lib.teaching.quiz import quiz


@pytest.fixture(scope="module")
def made():
    return quiz("03")


@pytest.fixture
def opened(made, open_page, tmp_path):
    """open_page, of a quiz's page."""

    def opened(**options):
        (tmp_path / "quiz.html").write_text(quiz_page.page(made, "A quiz"), encoding="utf-8")
        return open_page(tmp_path / "quiz.html", **options)

    return opened


def test_answers_are_folded_until_they_are_asked_for(opened, made):
    page = opened()
    assert page.get_by_text(made[0].text).first.is_visible() and not page.get_by_text(made[0].why).first.is_visible()
    page.get_by_text("Answers", exact=True).focus()
    page.keyboard.press("Enter")
    assert page.get_by_text(made[0].why).first.is_visible() and not page.errors


def test_it_fits_a_phone(opened):
    page = opened(viewport={"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scripts", [True, False])
def test_it_prints_two_pages_whether_scripts_run_or_not(scripts, opened):
    printed = opened(java_script_enabled=scripts).pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2


def test_answers_are_printed_where_they_were_folded(opened, made):
    page = opened(java_script_enabled=False)
    page.emulate_media(media="print")
    assert page.get_by_text(made[0].why).first.is_visible()


@pytest.mark.parametrize("lesson", ["01", "13", "17", "20"])
def test_the_longest_quizzes_print_on_two_pages(lesson, open_page, tmp_path):
    for seed in range(2):
        path = tmp_path / f"{seed}.html"
        path.write_text(quiz_page.page(quiz(lesson, seed), quiz_page.title(lesson, seed)), encoding="utf-8")
        assert len(re.findall(rb"/Type\s*/Page\b", open_page(path).pdf(prefer_css_page_size=True))) == 2
