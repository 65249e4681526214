"""A lesson as slides: every cell on one of them, keys that turn them, widgets that move, a clock."""

import pytest

from course_lib.teaching.publish.build import sources
from course_lib.teaching.publish.present import present


@pytest.fixture
def slides(open_page, tmp_path):
    page = open_page(present(sources(["14"])[0], tmp_path))
    page.wait_for_selector(".slide.now")
    return page


def test_every_cell_is_on_one_slide_and_keys_turn_them(slides):
    count = slides.locator(".slide").count()
    assert count > 10 and slides.locator("main > .jp-Cell").count() == 0
    assert slides.locator(".slide.now h1").inner_text().startswith("14 DDIM")
    slides.keyboard.press("PageDown")
    slides.keyboard.press("ArrowRight")
    assert slides.locator("#foot span").first.inner_text().startswith(f"3 of {count}, about ")
    slides.keyboard.press("PageUp")
    assert slides.evaluate("location.hash") == "#2" and not slides.errors
    for _ in range(count + 3):
        slides.keyboard.press("PageDown")
    assert slides.locator("#foot span").first.inner_text().startswith(f"{count} of {count}")


def test_code_is_hidden_until_it_is_asked_for(slides):
    while not slides.locator(".slide.now .jp-CodeCell").count():
        slides.keyboard.press("PageDown")
    cell = slides.locator(".slide.now .jp-CodeCell .jp-Cell-inputWrapper").first
    assert not cell.is_visible()
    slides.keyboard.press("c")
    assert cell.is_visible()


def test_a_player_moves_and_its_slider_has_stops(slides):
    while not slides.locator(".slide.now .course-player").count():
        slides.keyboard.press("PageDown")
    player = slides.locator(".slide.now .course-player").first
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
    assert not slides.errors
