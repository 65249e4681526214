"""The sketch's page: a mouse, the keys and the buttons change the drawing, and the text box beside it is told."""

from importlib.util import find_spec

import nbformat
import pytest
from lab import lab
from nbformat.v4 import new_code_cell, new_notebook

from course_lib.teaching.publish import execute
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
    return page.eval_on_selector(f"{ROOT}[data-drawing]", "root => root.dataset.drawing").split()


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
        window.sent = [];
        for (const type of ["input", "change"]) box.addEventListener(type, (e) => window.sent.push(e.target.value));
        document.body.prepend(box);
    }}"""
    )
    stroke(page, (0, 4), (0, 4))
    drawing(page)
    assert page.evaluate("window.sent") == ["..... ..... ..#.. ..... #...."] * 2


CELL = """from course_lib.widgets.sketch import sketch

pad = sketch("..... ..... ..#.. ..... .....")
pad"""


@pytest.mark.skipif(find_spec("jupyterlab") is None, reason="JupyterLab is not installed")
def test_what_is_drawn_in_jupyterlab_reaches_the_kernel(browser, tmp_path):
    cells = [new_code_cell(CELL), new_code_cell('print("drawn", pad.drawing.sum(1).tolist())')]
    nbformat.write(new_notebook(cells=cells, metadata=execute.METADATA), tmp_path / "one.ipynb")
    with lab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{address}/lab/tree/one.ipynb", timeout=120_000)
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=120_000)
        page.get_by_text("(ipykernel) | Idle").wait_for(timeout=120_000)
        for cell in (0, 1):
            page.locator(".jp-CodeCell .cm-content").nth(cell).click()
            page.keyboard.press("Control+Enter")
            if cell == 0:
                page.locator(".jp-OutputArea .course-sketch input").wait_for(timeout=120_000)
                stroke(page, (0, 0), (4, 0))
                drawing(page)
        page.get_by_text("drawn [5.0, 0.0, 1.0, 0.0, 0.0]").wait_for(timeout=60_000)
        page.close()
