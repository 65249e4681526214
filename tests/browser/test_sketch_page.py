"""The sketch's page: a mouse, the keys and the buttons change the drawing, and the text box beside it is told."""

import pytest

from course_lib.widgets.sketch import sketch

ROOT = ".course-sketch"
ROWS = "..... ..... ..#.. ..... ....."


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return sketch(ROWS).page.save(tmp_path_factory.mktemp("sketch") / "sketch.html")


@pytest.fixture
def page(open_page, path):
    page = open_page(path)
    page.wait_for_selector(f"{ROOT}[data-drawing]")
    return page


def drawing(page):
    page.wait_for_timeout(50)  # a frame
    return page.eval_on_selector(ROOT, "root => root.dataset.drawing").split()


def centre(page, column, row):
    box = page.locator(f"{ROOT} canvas").bounding_box()
    return box["x"] + box["width"] * (column + 0.5) / 5, box["y"] + box["height"] * (row + 0.5) / 5


def stroke(page, *squares):
    page.mouse.move(*centre(page, *squares[0]))
    page.mouse.down()
    for square in squares[1:]:
        page.mouse.move(*centre(page, *square))
    page.mouse.up()


def test_a_stroke_skips_no_square_and_one_from_a_drawn_square_erases(page):
    assert drawing(page) == ROWS.split()
    stroke(page, (0, 0), (4, 0))
    assert drawing(page)[0] == "#####"
    stroke(page, (4, 0), (1, 0))
    assert drawing(page) == ["#....", ".....", "..#..", ".....", "....."]
    assert page.locator(f"{ROOT} output").inner_text() == "2 of 25 squares drawn"


def test_keys_move_the_pen_and_draw(page):
    page.locator(f"{ROOT} canvas").focus()
    for key in ("ArrowDown", "Space", "ArrowRight", "Space", "ArrowRight", "ArrowRight", "ArrowRight", "Space", "Space"):
        page.keyboard.press(key)
    assert drawing(page)[3] == "..##."


def test_clear_and_reset(page):
    page.get_by_role("button", name="Clear").click()
    assert drawing(page) == ["....."] * 5
    page.get_by_role("button", name="Reset").click()
    assert drawing(page) == ROWS.split()


def test_the_text_box_of_the_live_widget_is_told_as_if_by_typing(page):
    page.evaluate(
        f"""() => {{
        const key = document.querySelector("{ROOT}").dataset.widget, box = document.createElement("div");
        box.className = `live-${{key}}`;
        box.append(document.createElement("input"));
        window.heard = [];
        for (const type of ["input", "change"]) box.addEventListener(type, (e) => window.heard.push(e.target.value));
        document.body.prepend(box);
    }}"""
    )
    stroke(page, (0, 4), (0, 4))
    drawing(page)
    assert page.evaluate("window.heard") == ["..... ..... ..#.. ..... #...."] * 2
