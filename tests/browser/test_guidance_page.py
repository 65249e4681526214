"""The guidance explorer where no kernel is: a page from disk, the network off."""

import pytest

from course_lib.samplers import Step
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided_models import WS
from course_lib.widgets.tradeoff import Curve, TradeOff

ROOT = ".course-guidance"
CURVE = TradeOff({"it": Curve((0, 1, 8), (0.9, 0.8, 0.2), (0.7, 0.8, 0.95))})


def model(labels, w, noise, steps, sampler):
    """Pictures that fade as w grows."""
    yield Step(0, (noise / (1 + w)).clamp(-1, 1))


@pytest.fixture
def explorer(open_page, tmp_path):
    """explorer(**options): the page, once it has drawn."""

    def explorer(curve=CURVE, **options):
        page = open_page(guidance_explorer({"it": model}, curve=curve).page.save(tmp_path / "page.html"), **options)
        page.wait_for_selector(f"{ROOT} canvas")
        return page

    return explorer


def picture(page) -> str:
    return page.locator(f"{ROOT} canvas").evaluate("canvas => canvas.toDataURL()")


def mark(page) -> tuple[float, float]:
    circle = page.locator(f"{ROOT} .mark")
    return float(circle.get_attribute("cx")), float(circle.get_attribute("cy"))


def test_the_slider_shows_each_w_and_moves_the_mark(explorer):
    page = explorer()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (event) => leaked.push(event.key)) }")
    slider = page.get_by_role("slider", name="Guidance w")
    slider.focus()
    page.keyboard.press("Home")
    seen, marks = [picture(page)], [mark(page)]
    for w in WS[1:]:
        page.keyboard.press("ArrowRight")
        assert f"w = {w:g}, it, 20 steps" in page.locator(f"{ROOT} p").first.inner_text()
        assert slider.get_attribute("aria-valuetext") == f"w = {w:g}"
        seen.append(picture(page))
        marks.append(mark(page))
    assert len(set(seen)) == len(set(marks)) == len(WS)
    assert marks == [CURVE.mark("it", w) for w in WS]
    page.get_by_role("button", name="w = 1", exact=True).click()
    assert picture(page) == seen[WS.index(1)] and page.evaluate("leaked") == [] and page.errors == []


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_is_readable(explorer, width, theme):
    page = explorer(viewport={"width": width, "height": 800}, color_scheme=theme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(f"{ROOT} canvas").bounding_box()["width"] > 250
    assert page.locator(f"{ROOT} svg").bounding_box()["width"] > 250
    assert page.locator(ROOT).evaluate("root => root.classList.contains('dark')") == (theme == "dark")


def test_without_a_curve_and_without_scripts(explorer, open_page, tmp_path):
    page = explorer(curve=None)
    assert page.locator(f"{ROOT} svg").count() == 0 and page.errors == []
    still = open_page(tmp_path / "page.html", java_script_enabled=False)
    image = still.locator(f"{ROOT} img")
    assert image.is_visible() and "at w = 0, 0.5, 1, 1.5, 2, 3, 5, 8" in image.get_attribute("alt")


def test_on_a_narrow_page_a_row_of_pictures_takes_two_and_each_keeps_its_name(explorer):
    shape = lambda page: page.locator(f"{ROOT} canvas").evaluate("canvas => [canvas.width, canvas.height]")
    (wide, low), (narrow, high) = (shape(explorer(viewport={"width": w, "height": 800})) for w in (1200, 390))
    assert wide == 2 * narrow and high == 2 * low


NOTEBOOK = """<div class="jp-NotebookPanel"><i class="jp-Notebook-ExecutionIndicator" data-status="idle"></i>
<div class="jp-OutputArea"><div class="jupyter-widgets live-{key}">live</div>{html}</div></div>"""


@pytest.mark.parametrize("status", ["disconnected", "dead", "terminating", "starting", "restarting", "autorestarting"])
def test_the_page_takes_over_from_sliders_whose_kernel_is_gone_however_it_ended(open_page, tmp_path, status):
    """As JupyterLab and Notebook 7 say it: `disconnected` where it was ended over REST, `starting` where it was begun anew."""
    live = guidance_explorer({"it": model})
    html = NOTEBOOK.format(key=live.key, html=live._repr_mimebundle_()[0]["text/html"])
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><title>A notebook</title><link rel=icon href=data:,>{html * 2}", encoding="utf-8")
    page = open_page(path)
    first, second = page.locator(".jp-NotebookPanel").all()
    say = lambda words: first.locator("i").evaluate("(e, status) => e.dataset.status = status", words)
    pages = lambda: [panel.locator(ROOT).is_visible() for panel in (first, second)]
    say("busy")
    assert pages() == [False, False]
    say(status)
    say("idle")  # the next kernel does not have the widget, either
    first.locator(ROOT).wait_for()
    assert pages() == [True, False] and first.get_by_text("live").is_hidden() and page.errors == []


def test_in_the_classic_notebook_one_of_the_two_is_seen_as_well(open_page, tmp_path):
    live = guidance_explorer({"it": model})
    html = live._repr_mimebundle_()[0]["text/html"]
    path = tmp_path / "page.html"
    words = f'<div class="output"><div class="jupyter-widgets live-{live.key}">live</div>{html}</div>'
    path.write_text(f"<!doctype html><title>A notebook</title><link rel=icon href=data:,>{words}", encoding="utf-8")
    page = open_page(path)
    seen = lambda: (page.get_by_text("live", exact=True).is_visible(), page.locator(ROOT).is_visible())
    assert seen() == (True, False)
    page.get_by_text("live", exact=True).evaluate("e => e.classList.add('jupyter-widgets-disconnected')")  # as ipywidgets does
    assert seen() == (False, True) and page.errors == []
