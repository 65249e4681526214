"""The static site: every page opens from disk with the network off, every link of it leads somewhere, what moves moves."""

import re
from html import escape

import pytest

from course_lib.teaching.course_map import LESSONS, written
from course_lib.teaching.publish import site as module
from course_lib.teaching.publish.site import MAX_BYTES, site

# A few code blocks and equations stand for all: axe-core takes its time for each word of them.
FEW = """for (const kind of [".highlight", "svg.equation"])
    [...document.querySelectorAll(kind)].slice(5).forEach((element) => element.remove())"""
READ = ("00_start_here", "03_score_and_langevin", "04_unet", "09_text_and_cross_attention", "14_ddim")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return site(tmp_path_factory.mktemp("site")).parent


def test_the_index_shows_every_lesson_and_finds_words(folder, open_page):
    page = open_page(folder / "index.html")
    assert page.locator("a.card").count() == len(written())
    assert page.locator(".card").count() == sum(map(len, LESSONS.values()))
    for card in page.locator("a.card").all():
        assert len(card.inner_text()) > 60 and card.locator("img").count() == 1
    page.get_by_label("Search all lessons").fill("Langevin WEIGHTS")
    first = page.locator("#found a").first
    assert first.inner_text() == "Does Langevin dynamics find the weights?"
    first.click()
    top = "document.getElementById(decodeURIComponent(location.hash.slice(1)))?.getBoundingClientRect().top"
    page.wait_for_function(f"Math.abs({top}) < 400")  # the browser scrolls once it has laid all out
    assert page.title().startswith("03 The score and Langevin")
    page.go_back()
    page.get_by_label("Search all lessons").fill("zebra")
    assert "Nothing found" in page.locator("#found").inner_text() and not page.errors


def test_every_link_leads_to_a_page_of_the_site_or_is_plainly_outside(folder):
    pages = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert {"index.html", "playground.html", "claims.html"} <= pages.keys() and len(pages) == len(written()) + 4  # and a script
    for name, html in pages.items():
        assert len(html.encode()) < MAX_BYTES
        for link in re.findall(r'href="([^"]*)"', re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)):
            file, _, place = link.partition("#")
            inside = not re.match(r"https?:|data:|mailto:", link)
            assert not inside or (file or name) in pages, f"{name} leads to {link}"
            assert not inside or not place or f'id="{place}"' in pages[file or name], f"{name} leads to {link}"
    found = re.findall(r'"at":"([^"]+)"', pages["index.html"])
    assert len(found) > 100
    for at in found:
        file, _, place = at.partition("#")
        assert not place or f'id="{escape(place, quote=False)}"' in pages[file], at


def test_the_playground_answers_without_a_kernel(folder, open_page):
    page = open_page(folder / "playground.html", viewport={"width": 390, "height": 800})
    page.wait_for_selector(".course-draw[data-points]")
    page.wait_for_selector(".course-student[data-drawn]")
    page.locator(".course-student input[type=range]").fill("7")
    page.wait_for_selector('.course-student[data-drawn="7"]')
    page.wait_for_selector(".course-guided[data-distance]")
    assert page.locator(".course-paths canvas").count() >= 3
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and not page.errors


NOISE = "document.querySelector('.first canvas').toDataURL()"


def test_the_first_page_goes_from_noise_to_digits_once(folder, open_page):
    page = open_page(folder / "index.html")
    page.wait_for_selector(".first [data-intro=noise]")
    noise = page.evaluate(NOISE)
    page.wait_for_selector(".first [data-intro=digits][data-drawn]")
    digits = page.evaluate(NOISE)
    assert digits != noise
    page.get_by_label("guidance w").fill("7")
    page.wait_for_selector('.first [data-drawn="7"]')
    assert page.evaluate(NOISE) != digits and not page.errors
    assert [a.get_attribute("href") for a in page.locator(".doors a").all()] == ["playground.html", "00_start_here.html"]
    assert "make lab" in page.locator(".doors").inner_text()
    calm = open_page(folder / "index.html", reduced_motion="reduce")
    calm.wait_for_selector(".first [data-intro=none][data-drawn]")
    assert calm.evaluate(NOISE) == digits


def test_the_first_page_is_small_and_has_a_picture_without_scripts(folder, open_page):
    html = re.sub(r"<script.*?</script>", "", (folder / "index.html").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(html.encode()) < 500_000
    page = open_page(folder / "index.html", java_script_enabled=False)
    assert page.locator(".first img").evaluate("(img) => img.complete && img.naturalWidth") > 300


def test_a_page_that_is_too_large_is_not_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="a page must be at most 0.001 MB, got .* of claims.html"):
        site(tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["index", "playground", "claims", *READ])
def test_axe_finds_nothing_by_day_or_by_night(name, folder, open_page, axe):
    page = open_page(folder / f"{name}.html")
    for widget in page.locator(".course-widget:not(.course-guess)").all():
        widget.locator("canvas, select").first.wait_for()
    page.evaluate(FEW)
    found = axe(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)  # widgets draw their theme in the next frame
    assert [*found, *axe(page, rules=["color-contrast"])] == [] and not page.errors
