"""A lesson as slides: each of them on one screen, keys that turn them, widgets that move, a clock, and the speaker's notes."""

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.samplers import Step
from course_lib.teaching.publish.build import sources
from course_lib.teaching.publish.present import present
from course_lib.widgets.player import play


@pytest.fixture(scope="module")
def lesson_14(tmp_path_factory):
    return present(sources(["14"])[0], tmp_path_factory.mktemp("slides"))


@pytest.fixture
def slides(open_page, lesson_14):
    page = open_page(lesson_14, viewport={"width": 1920, "height": 1080})
    page.wait_for_selector(".slide.now")
    return page


def turn_to(page, selector: str):
    """The first slide with such an element."""
    while not page.locator(f".slide.now {selector}").count():
        page.keyboard.press("PageDown")
    return page.locator(f".slide.now {selector}").first


def position(page) -> str:
    return page.locator("#foot span").first.inner_text()


def test_every_cell_is_on_one_slide_and_keys_turn_them(slides):
    count = slides.locator(".slide").count()
    assert count > 25 and slides.locator("main > .jp-Cell").count() == 0
    assert slides.locator(".slide.now h1").inner_text().startswith("14 DDIM")
    slides.keyboard.press("PageDown")
    slides.keyboard.press("ArrowRight")
    assert position(slides).startswith(f"3 of {count}, about ")
    slides.keyboard.press("PageUp")
    assert slides.evaluate("location.hash") == "#2" and not slides.errors
    slides.keyboard.press("End")
    assert position(slides).startswith(f"{count} of {count}")
    slides.keyboard.press("Home")
    assert position(slides).startswith(f"1 of {count}")


OUTSIDE = """() => { // what of the slide is not on the screen, in pixels, and what is hidden in a part of it
    const slide = document.querySelector(".slide.now"), foot = document.querySelector("#foot").getBoundingClientRect().top;
    const boxes = [...slide.querySelectorAll("*")].filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect());
    const parts = [slide, ...slide.querySelectorAll(".jp-OutputArea-output, pre")].filter((e) => e.checkVisibility());
    return [Math.max(...boxes.map((b) => Math.max(b.bottom - foot, b.right - innerWidth))),
        Math.max(...parts.map((e) => Math.max(e.scrollWidth - e.clientWidth, e.scrollHeight - e.clientHeight)))] }"""
TYPE = """() => { const text = document.querySelector(".slide.now .jp-MarkdownOutput :is(p, li)");
    return text ? parseFloat(getComputedStyle(text).fontSize) * text.currentCSSZoom / innerHeight : 1 }"""


def test_each_slide_is_on_one_screen_in_large_type(open_page, tmp_path):
    """Of lesson 08, which has the most kinds of widgets: all lessons take minutes."""
    page = open_page(present(sources(["08"])[0], tmp_path), viewport={"width": 1920, "height": 1080})
    page.wait_for_selector(".slide.now")
    for width, height in ((1920, 1080), (1280, 720)):
        page.set_viewport_size({"width": width, "height": height})
        page.keyboard.press("Home")
        for k in range(page.locator(".slide").count()):
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            below, hidden = page.evaluate(OUTSIDE)
            assert below <= 1 and hidden <= 3, f"slide {k + 1} at {width} x {height}"
            assert page.evaluate(TYPE) >= 20 / 720, f"slide {k + 1} at {width} x {height}"
            page.keyboard.press("PageDown")
    assert page.errors == []


def test_axe_finds_nothing_on_dark_slides_and_long_code_stays_large_and_scrolls(open_page, lesson_14, axe):
    page = open_page(lesson_14, viewport={"width": 1280, "height": 720}, color_scheme="dark")
    page.wait_for_selector(".slide.now")
    found = axe(page)
    for kind in (".course-paths", ".course-guess", "table"):
        turn_to(page, kind)
        found += axe(page, ".slide.now")
    page.keyboard.press("Home")
    page.keyboard.press("c")
    while page.locator(".slide.now").evaluate("slide => slide.scrollHeight - slide.clientHeight") < 150:
        page.keyboard.press("PageDown")
    assert (
        page.locator(".slide.now pre").first.evaluate("e => parseFloat(getComputedStyle(e).fontSize) * e.currentCSSZoom") > 13.9
    )
    found += axe(page, ".slide.now")
    page.keyboard.press("ArrowDown")
    assert page.locator(".slide.now").evaluate("slide => slide.scrollTop") > 50
    assert found == [] and page.errors == []


def test_code_is_hidden_until_it_is_asked_for_and_exercises_have_no_status(slides):
    assert "is not started yet" not in slides.locator("main").text_content()
    turn_to(slides, ".jp-CodeCell")
    cell = slides.locator(".slide.now .jp-CodeCell .jp-Cell-inputWrapper").first
    assert not cell.is_visible()
    slides.keyboard.press("c")
    assert cell.is_visible()


def test_a_player_moves_its_slider_has_stops_and_a_clicker_turns_the_slide_after_it(slides):
    player = turn_to(slides, ".course-player")
    assert player.locator("canvas").first.bounding_box()["width"] > 200
    slider = player.locator("input[type=range]")
    last, places = int(slider.get_attribute("max")), []
    for _ in range(5):
        slides.keyboard.press(",")
    for _ in range(5):
        places.append(int(slider.input_value()))
        slides.keyboard.press(".")
    assert places[0] == 0 and places[-1] == last and places == sorted(set(places))
    slides.wait_for_selector(f'.slide.now .course-player[data-frame="{last}"]')
    slider.click()
    slides.keyboard.press("ArrowLeft")  # the slider's, where it has the focus
    before = position(slides)
    slides.keyboard.press("PageDown")
    assert position(slides) != before and not player.is_visible()
    slides.keyboard.press("ArrowLeft")  # the slide's again
    assert position(slides) == before and player.is_visible() and not slides.errors


def test_the_picture_under_the_pointer_is_taken_though_slides_are_enlarged(open_page, tmp_path):
    film = play([Step(t, torch.rand(16, 1, 8, 8)) for t in range(4, -1, -1)])
    cell = new_code_cell("play(steps)", outputs=[new_output("display_data", {"text/html": film.html})])
    (tmp_path / "notebooks/src").mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A film"), cell]), tmp_path / "notebooks/14_film.ipynb")
    slides = present(tmp_path / "notebooks/src/14_film.py", tmp_path)
    page = open_page(slides, viewport={"width": 1920, "height": 1080})
    page.wait_for_selector(".course-player[data-frame]")
    player = page.locator(".course-player")
    canvas = player.locator("canvas").first
    box = canvas.bounding_box()
    assert canvas.evaluate("c => c.width") == pytest.approx(box["width"], abs=2)  # as sharp as the screen
    canvas.click(position={"x": box["width"] * 3.5 / 4, "y": box["height"] * 1.5 / 4})
    assert player.evaluate("root => root.player.chosen()") == 7
    page.mouse.move(box["x"] + 1, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + 1 + box["width"] / 2, box["y"] + 9, steps=4)
    page.mouse.up()
    page.wait_for_selector(".course-player[data-frame='2']")  # of 4
    assert page.errors == []


def test_a_question_mark_shows_the_keys(slides):
    keys = slides.get_by_role("dialog", name="Keys")
    assert not keys.is_visible()
    slides.keyboard.press("?")
    assert keys.is_visible() and "Page Down" in keys.inner_text() and "speaker notes" in keys.inner_text()
    slides.keyboard.press("?")
    assert not keys.is_visible() and not slides.errors


def test_the_notes_are_in_a_second_window(slides):
    turn_to(slides, ".course-player")
    with slides.expect_popup() as opened:
        slides.keyboard.press("n")
    notes = opened.value
    words = lambda: notes.locator("body").inner_text()
    assert "Side by side, from one noise" in words() and "about 2 min" in words() and "in all" in words()
    assert "Step of the sampler" in words() and "t = 1000 of 1000" in words() and "Stops" in words() and "Next" in words()
    notes.keyboard.press(".")
    notes.get_by_text("step 6 of 25").wait_for()
    while not slides.locator(".slide.now .course-paths").count():
        notes.keyboard.press("PageDown")
    assert "under which sampler does the end move smoothly?" in words()
    while not slides.locator(".slide.now .question").count():
        notes.keyboard.press("PageDown")
    assert "10 steps of DDIM: for which share of noises" in words() and not slides.errors


def test_the_second_window_has_the_instructors_notes_of_the_slide_and_the_hall_does_not_see_them(slides):
    turn_to(slides, ".course-player")
    with slides.expect_popup() as opened:
        slides.keyboard.press("n")
    words = lambda: opened.value.locator("body").inner_text()
    assert "At the slider" in words() and "t = 600 and t = 400: under DDIM" in words()
    while "Plan, " not in words():
        slides.keyboard.press("PageUp")
    assert "Plan, 6 min" in words() and "the circle that can be dragged" in words()
    while "Misunderstanding" not in words():
        slides.keyboard.press("PageDown")
    assert "At the slider" not in slides.locator("main").inner_text() and not slides.errors
