"""Pages that a notebook becomes: they open from disk with the network off, and what moves on them moves."""

import json
import re
from html import escape

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_notebooks import lesson

from course_lib.files import NOTEBOOKS
from course_lib.teaching.publish import export


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_a_phone_and_its_equations_are_drawn_in_the_ink_of_the_page(scheme, open_page, tmp_path):
    (tmp_path / "page.html").write_text(export.page(lesson()), encoding="utf-8")
    page = open_page(tmp_path / "page.html", color_scheme=scheme, viewport={"width": 360, "height": 640})
    assert page.title() == "Title!" and not page.errors
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("svg.equation").first.bounding_box()["width"] > 5
    colour = page.evaluate("getComputedStyle(document.querySelector('svg.equation path')).fill")
    assert (int(re.findall(r"\d+", colour)[0]) > 128) == (scheme == "dark")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Every stored notebook as a page."""
    folder = tmp_path_factory.mktemp("pages")
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        page = export.page(nbformat.read(path, as_version=4))
        (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", [path.stem for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))])
def test_every_lesson_opens_from_disk_without_a_network(name, stored, open_page):
    page = open_page(stored / f"{name}.html")
    assert page.locator("h1").count() == 1 and page.locator("code.latex-source").count() == 0
    for image in page.locator("img").all():
        assert image.get_attribute("src").startswith("data:") and len(image.get_attribute("alt")) > 5
    for player in page.locator(".course-player").all():
        player.locator("canvas").first.wait_for()
    assert not page.errors


def shown(canvas) -> str:
    return canvas.evaluate("canvas => canvas.toDataURL()")


def test_on_the_first_lessons_page_the_player_is_dragged_and_the_slider_moved(stored, open_page):
    page = open_page(stored / "00_start_here.html")
    player = page.locator(".course-player").first
    panel = player.locator(".panels canvas").first
    panel.scroll_into_view_if_needed()
    before, box = shown(panel), panel.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 50, steps=8)
    page.mouse.up()
    page.wait_for_function(
        "before => document.querySelector('.course-player .panels canvas').toDataURL() !== before", arg=before
    )
    assert int(player.get_attribute("data-frame")) > 5

    guidance = page.locator(".course-guidance").first
    canvas, slider = guidance.locator("canvas"), guidance.locator("input[type=range]")
    before = shown(canvas)
    slider.focus()
    page.keyboard.press("End")
    assert "w = 8" in guidance.locator("p").first.inner_text() and shown(canvas) != before
    assert not page.errors


# What scrolls, what wraps, what prints

WIDE, COLUMNS = "x = " + " + ".join(["1"] * 30), "model     w   right\n" + "guided    3   " + "9" * 90


@pytest.fixture
def page_of(tmp_path, open_page):
    """page_of(source, printed, **options): the page of a lesson with one cell and what it prints."""

    def page_of(source, printed, **options):
        cell = new_code_cell(source, outputs=[new_output("stream", text=printed)])
        path = tmp_path / "page.html"
        notebook = new_notebook(cells=[new_markdown_cell("# Code\n\nWords."), cell])
        path.write_text(export.page(notebook), encoding="utf-8")
        return open_page(path, **options)

    return page_of


def test_on_a_phone_printed_columns_scroll_and_sentences_wrap(page_of):
    page = page_of(WIDE, COLUMNS, viewport={"width": 390, "height": 800})
    page.wait_for_selector(".highlight pre[tabindex='0']")
    page.wait_for_selector(".columns pre[tabindex='0']")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and not page.errors
    page = page_of("x = 1", "A sentence. " * 20, viewport={"width": 390, "height": 800})
    assert page.locator("[tabindex='0']").count() == 0 and page.locator(".columns").count() == 0


def test_wide_code_takes_what_is_idle_of_the_window_and_nothing_more(page_of):
    page = page_of(WIDE, COLUMNS, viewport={"width": 1500, "height": 800})
    code, text = page.locator(".highlight").bounding_box(), page.locator("h1").bounding_box()
    assert code["x"] == text["x"] and text["width"] + 100 < code["width"] < 1500 - code["x"]
    assert page.locator("pre[tabindex]").count() == 0 and page.evaluate("document.documentElement.scrollWidth") <= 1500


def test_in_print_code_wraps_and_a_long_cell_breaks(page_of):
    page = page_of("\n".join([WIDE] * 100), COLUMNS)
    page.emulate_media(media="print")
    fits = "all => all.every((e) => e.scrollWidth <= e.clientWidth)"
    page.set_viewport_size({"width": 680, "height": 900})
    assert page.locator("pre").evaluate_all(fits)
    assert page.pdf(format="A4").count(b"/Type /Page\n") == 4


def test_a_long_equation_and_a_long_alt_text_stay_on_a_printed_page(tmp_path, open_page):
    alt = "A plot of " + "many words " * 60 + "w" * 300
    picture = new_output("display_data", {"text/html": f'<img alt="{alt}" src="data:image/png;base64,AAAA">'})
    equation = "$$" + " + ".join([r"\frac{a}{b}"] * 40) + "$$"
    cells = [new_markdown_cell("# Print"), new_markdown_cell(equation), new_code_cell(f'alt = "{alt}"', outputs=[picture])]
    path = tmp_path / "page.html"
    path.write_text(export.page(new_notebook(cells=cells)), encoding="utf-8")
    page = open_page(path, viewport={"width": 680, "height": 900})
    page.emulate_media(media="print")
    right = "all => Math.max(...all.filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect().right))"
    assert page.locator("main *").evaluate_all(right) <= 681


# Hosts that cannot be run here: VS Code and Colab show each output in a frame, without the origin of the page

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
FRAME = """<!doctype html><title>A host</title><link rel=icon href="data:,">
<iframe sandbox="allow-scripts" width=1000 height=800 srcdoc="{}"></iframe>"""


def test_each_kind_of_stored_widget_works_in_a_sandboxed_frame_under_a_strict_policy(open_page, tmp_path):
    kinds = {}
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        outputs = [
            output for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] for output in cell.get("outputs", ())
        ]
        for text in ("".join(output.get("data", {}).get("text/html", "")) for output in outputs):
            for kind in re.findall(r'class="course-widget course-(\w+)" data-widget', text):
                kinds.setdefault(kind, text)
    assert {"player", "guidance", "paths", "explorer", "guided", "prompt", "dial", "attention", "guess"} <= kinds.keys()
    html = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' + "".join(kinds.values())
    (tmp_path / "host.html").write_text(FRAME.format(escape(html)), encoding="utf-8")
    page = open_page(tmp_path / "host.html")
    frame = page.frame_locator("iframe")
    for kind in kinds:
        widget = frame.locator(f".course-{kind}").first
        widget.locator("canvas, input, select, button").first.wait_for(state="attached")
        assert widget.locator(".unrun").count() == 0, kind
    assert page.errors == []
