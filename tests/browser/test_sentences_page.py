"""The player of words as a reader meets it: a page from disk, the network off."""

import pytest
import torch

from course_lib.methods.masked import WordStep
from course_lib.widgets.sentences import sentences

PLAYER = ".course-sentences"
WORDS = ("a", "blue", "disc", "star", "<b>")
STATES = [[[5] * 14, [5] * 14], [[0, 5, 3, 4] + [5] * 10, [5, 1] + [5] * 12], [[0, 1, 3, 4] + [2] * 10, [0] * 14]]
STEPS = [WordStep(1 - k / 2, torch.tensor(z), (torch.tensor(z) < 5) * 0.5) for k, z in enumerate(STATES)]
PICTURES = torch.linspace(-1, 1, 2 * 3 * 64).view(2, 3, 8, 8)


@pytest.fixture
def made(open_page, tmp_path):
    def made(**options):
        fragment = sentences({"one": STEPS, "two": STEPS[::-1]}, WORDS, 5, PICTURES)
        page = open_page(fragment.save(tmp_path / "sentences.html"), **options)
        if options.get("java_script_enabled", True):
            page.wait_for_selector(f"{PLAYER}[data-at]")
        return page

    return made


def at(page) -> int:
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return int(page.locator(PLAYER).get_attribute("data-at"))


def test_the_slider_changes_words_marks_and_probabilities(made):
    page = made()
    slider = page.get_by_role("slider", name="Step")
    assert page.locator(f"{PLAYER} figure").first.locator(".chip.hidden").count() == 28
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert at(page) == 1 and page.locator(f"{PLAYER} figure").first.locator(".chip.new").count() == 4
    assert page.locator(f"{PLAYER} .chip").first.inner_text().split() == ["a", "50"]
    assert slider.get_attribute("aria-valuetext").startswith("step 1 of 2, 24 masked. one: a ▢ star <b>")
    page.keyboard.press("End")
    assert at(page) == 2 and page.locator(f"{PLAYER} figure").first.locator(".chip.hidden").count() == 0
    page.get_by_role("button", name="Reset").click()
    assert at(page) == 0 and page.errors == []


def test_keys_stay_inside(made):
    page = made()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (event) => leaked.push(event.key)) }")
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    assert at(page) == 1 and page.evaluate("leaked") == []


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_page_in_light_and_dark_and_axe_finds_nothing(made, axe, width, scheme):
    page = made(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.get_by_role("slider").press("ArrowRight")
    assert at(page) == 1 and page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert ("dark" in page.locator(PLAYER).get_attribute("class")) == (scheme == "dark")
    assert axe(page, PLAYER) == [] and page.errors == []


def test_a_page_without_scripts_shows_the_still(made):
    page = made(java_script_enabled=False)
    assert page.locator(f"{PLAYER} .strip img").count() == 1
