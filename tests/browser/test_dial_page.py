"""The dial as a reader meets it: a page from disk, the network off."""

import pytest
import torch

from course_lib.widgets.dial import dial

DIAL = ".course-dial"
VALUES = [0, 100, 200, 500, 1000]
PICTURES = [torch.linspace(-1, 1, 16 * 64).view(16, 1, 8, 8).roll(i, -1) * (1 - i / 8) for i in range(5)]
CURVES = {"realism": [0.1, 0.4, 0.6, 0.8, 0.9], "faithfulness": [1.0, 0.8, None, 0.3, 0.0]}


@pytest.fixture
def made(open_page, tmp_path):
    """made(**options): the page of a dial, once it has drawn."""

    def made(**options):
        fragment = dial("t₀", VALUES, {"guide": PICTURES, "edit": PICTURES[::-1]}, CURVES)
        page = open_page(fragment.save(tmp_path / "dial.html"), **options)
        page.wait_for_selector(f"{DIAL}[data-at]")
        return page

    return made


def at(page) -> int:
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return int(page.locator(DIAL).get_attribute("data-at"))


def pixels(page, k) -> str:
    return page.locator(f"{DIAL} canvas").nth(k).evaluate("canvas => canvas.toDataURL()")


def test_the_slider_changes_every_panel_and_the_words(made):
    page = made()
    before = [pixels(page, k) for k in range(3)]
    slider = page.get_by_role("slider", name="t₀")
    slider.focus()
    page.keyboard.press("End")
    assert at(page) == 4 and all(pixels(page, k) != before[k] for k in range(3))
    assert slider.get_attribute("aria-valuetext") == "t₀ = 1000, realism 0.90, faithfulness 0.00"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert at(page) == 2 and "faithfulness not measured" in page.locator(DIAL).inner_text()
    assert page.errors == []


def test_the_chart_and_a_panel_are_dragged_too(made):
    page = made()
    for k, end in ((2, 0.99), (0, 0.2)):
        box = page.locator(f"{DIAL} canvas").nth(k).bounding_box()
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 0.5 * box["width"], y)
        page.mouse.down()
        page.mouse.move(box["x"] + end * box["width"], y, steps=6)
        page.mouse.up()
        assert at(page) == (4 if k == 2 else 3)
    assert page.errors == []


def test_a_click_shows_one_picture_large_and_another_all(made):
    page = made()
    whole, canvas = pixels(page, 0), page.locator(f"{DIAL} canvas").first
    canvas.click(position={"x": 20, "y": 20})
    at(page)
    assert pixels(page, 0) != whole
    large = pixels(page, 0)
    page.keyboard.press("Escape")
    at(page)
    assert pixels(page, 0) == whole
    page.keyboard.press("Enter")  # the first picture by key, as by click
    at(page)
    assert pixels(page, 0) == large
    page.keyboard.press("Escape")


def test_keys_stay_inside(made):
    page = made()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (event) => leaked.push(event.key)) }")
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    assert at(page) == 1 and page.evaluate("leaked") == []


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_page_in_light_and_dark(made, width, scheme):
    page = made(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert ("dark" in page.locator(DIAL).get_attribute("class")) == (scheme == "dark")
    assert page.errors == []


def test_a_page_without_scripts_shows_the_strip(made, open_page, tmp_path):
    fragment = dial("t₀", VALUES, {"guide": PICTURES}, CURVES)
    page = open_page(fragment.save(tmp_path / "still.html"), java_script_enabled=False)
    assert page.locator(f"{DIAL} .strip img").count() == 5


def test_many_panels_stand_in_rows_of_four(open_page, tmp_path):
    panels = {f"method {k}": PICTURES for k in range(8)}
    page = open_page(dial("t₀", VALUES, panels, CURVES).save(tmp_path / "many.html"))
    page.wait_for_selector(f"{DIAL}[data-at]")
    boxes = [page.locator(f"{DIAL} figure").nth(k).bounding_box() for k in range(8)]
    assert len({box["y"] for box in boxes[:4]}) == 1 and len({box["x"] for box in boxes}) == 4
    assert boxes[4]["y"] > boxes[0]["y"] and all(box["width"] > 100 for box in boxes)
