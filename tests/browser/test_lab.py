"""The first lesson as a student runs it: in JupyterLab, with a kernel."""

import re

import pytest
from lab import lab

from course_lib.files import NOTEBOOKS

FIRST = "00_start_here"


@pytest.fixture
def opened(browser, tmp_path):
    """JupyterLab with the first lesson open, not yet run, its training cut short so that the test is: to a number of steps,
    since what a busy machine learns in a few seconds may be nothing, and then w changes nothing."""
    stored = (NOTEBOOKS / f"{FIRST}.ipynb").read_text(encoding="utf-8")
    text, shortened = re.subn(r"seconds=\d+", "steps=100", stored)
    assert shortened == 1
    (tmp_path / f"{FIRST}.ipynb").write_text(text, encoding="utf-8")
    with lab(tmp_path) as address:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(f"{address}/lab/tree/{FIRST}.ipynb")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        page.get_by_text("(ipykernel) | Idle").wait_for(timeout=60_000)  # a cell that is run before asks which kernel to take
        yield page
        context.close()


def test_the_first_lesson_runs_and_what_moves_moves(opened):
    page = opened
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    slider = page.locator(".jp-OutputArea .course-guidance.widget-vbox, .jp-OutputArea .course-guidance.jupyter-widgets")
    slider.wait_for(timeout=240_000)
    waiting = "[...document.querySelectorAll('.jp-InputPrompt')].some((prompt) => prompt.textContent.includes('*'))"
    page.wait_for_function(f"!{waiting}", timeout=240_000)  # the cells below have run, too: the kernel answers the slider
    assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0  # no error, and no bar of a training

    # the player, whose frames are in the page
    player = page.locator(".course-player")
    panel = player.locator(".panels canvas").first
    panel.scroll_into_view_if_needed()
    picture = lambda: panel.evaluate("canvas => canvas.toDataURL()")
    before, box = picture(), panel.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 50, steps=10)
    page.mouse.up()
    frame = int(player.get_attribute("data-frame"))
    assert frame > 10 and picture() != before
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("n => document.querySelector('.course-player').dataset.frame == n", arg=f"{frame - 1}")

    # the guidance slider, which samples in the kernel: by keyboard, by mouse, by a button
    samples = slider.locator("img")
    samples.scroll_into_view_if_needed()
    seen = [samples.get_attribute("src")]

    def wait_for(words):
        slider.locator("p", has_text=words).wait_for(timeout=30_000)
        seen.append(samples.get_attribute("src"))

    handle = slider.locator(".noUi-handle").first
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    wait_for("w = 3.5")
    box, track = handle.bounding_box(), slider.locator(".noUi-target").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] + 40, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    wait_for("w = 8.0")
    slider.get_by_role("button", name="w = 1", exact=True).click()
    wait_for("w = 1.0")
    assert len(set(seen)) == 4 and not page.errors
