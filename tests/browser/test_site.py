"""The static site: every page opens from disk with the network off, every link of it leads somewhere, what moves moves."""

import json
import re
import shutil
from html import escape, unescape
from pathlib import PurePosixPath

import pytest

from course_lib.files import NOTEBOOKS, ROOT
from course_lib.teaching.course_map import LESSONS, written
from course_lib.teaching.publish import api
from course_lib.teaching.publish import site as module
from course_lib.teaching.publish.address import Address
from course_lib.teaching.publish.site import MAX_BYTES, site

# A few code blocks and equations stand for all: axe-core takes its time for each word of them.
FEW = """for (const kind of [".highlight", "svg.equation"])
    [...document.querySelectorAll(kind)].slice(5).forEach((element) => element.remove())"""
READ = ("00_start_here", "03_score_and_langevin", "04_unet", "09_text_and_cross_attention", "14_ddim")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return site(tmp_path_factory.mktemp("site")).parent


def lesson(folder, number):
    return folder / written()[number].replace(".ipynb", ".html")


def test_the_index_shows_every_lesson_and_leads_to_the_search(folder, open_page):
    page = open_page(folder / "index.html")
    assert page.locator("a.card").count() == len(written())
    assert page.locator(".card").count() == sum(map(len, LESSONS.values()))
    for card in page.locator("a.card").all():
        assert len(card.inner_text()) > 60 and card.locator("img").count() == 1
    assert page.get_by_text("Colab").count() == 0  # not before the course has an address
    page.get_by_label("Search all lessons").fill("Langevin WEIGHTS")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=Langevin+WEIGHTS")
    assert not page.errors


def test_the_search_finds_sections_words_claims_papers_and_the_library(folder, open_page):
    page = open_page(folder / "search.html")
    box, first = page.locator("#search"), page.locator("#found li").first
    box.fill("Langevin WEIGHTS")
    item = page.locator("#found li").filter(has_text="Does Langevin dynamics find the weights?")
    assert item.locator("small").inner_text() == "lesson 03, Score and Langevin"
    assert len(item.locator("p").inner_text()) > 60 and item.locator("mark").count() >= 2
    box.fill("score_from_eps")
    assert "score_from_eps" in first.inner_text() and "lesson 03" in first.inner_text()
    box.fill("Classifier-free guidance")
    assert first.locator("small").inner_text() == "word, lesson 08"
    assert "both scores from one network" in first.locator("p").inner_text()
    for query, kind in (
        ("ddim_like_no_other", ""),
        ("samplers.ddim", "library"),
        ("Ho Salimans", "paper"),
        ("floor spots", "claim"),
    ):
        box.fill(query)
        assert kind in " ".join(page.locator("#found small").all_inner_texts())
    box.fill("zebra")
    assert "Nothing found" in page.locator("#count").inner_text() and not page.errors


def test_a_query_stands_in_the_address_and_enter_opens_what_comes_first(folder, open_page):
    page = open_page(folder / "search.html")
    page.locator("#search").fill("does langevin dynamics find the weights?")
    assert page.evaluate("new URLSearchParams(location.search).get('q')") == "does langevin dynamics find the weights?"
    page.reload()
    assert page.locator("#found li").first.locator("a").inner_text() == "Does Langevin dynamics find the weights?"
    page.keyboard.press("Enter")  # the box has the focus
    top = "document.getElementById(decodeURIComponent(location.hash.slice(1)))?.getBoundingClientRect().top"
    page.wait_for_function(f"Math.abs({top}) < 400")  # the browser scrolls once it has laid all out
    assert page.title().startswith("03 The score and Langevin") and not page.errors


def test_every_link_leads_to_a_page_of_the_site_or_is_plainly_outside(folder):
    pages = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    others = {"index.html", "playground.html", "claims.html", "words.html", "papers.html", "paths.html", "search.html"}
    others |= {f"notes_{path.stem}.html" for path in (NOTEBOOKS / "notes").glob("*.md")}
    lessons = {name.replace(".ipynb", ".html") for name in written().values()}
    assert pages.keys() == others | lessons | set(api.pages("", ""))
    for name, html in pages.items():
        assert len(html.encode()) < MAX_BYTES and str(ROOT) not in html and str(folder) not in html, name
        html = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
        for link in set(re.findall(r'(?:href|action)="([^"]*)"', html)):
            if re.match(r"https?:|data:|mailto:", link):
                continue
            file, _, place = link.partition("#")
            to = name if not file else _resolved(PurePosixPath(name).parent / file)
            assert to in pages, f"{name} leads to {link}"
            assert not place or f'id="{escape(unescape(place), quote=False)}"' in pages[to], f"{name} leads to {link}"
    found = json.loads(re.search(r'id="entries">(.*?)</script>', pages["search.html"])[1])
    assert len(found) > 1000 and len({entry["at"] for entry in found}) > 1000
    for entry in found:
        file, _, place = entry["at"].partition("#")
        assert not place or f'id="{escape(place, quote=False)}"' in pages[file], entry


def _resolved(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def test_a_lesson_has_contents_a_skip_link_cards_and_a_way_on(folder, open_page):
    page = open_page(lesson(folder, "08"), viewport={"width": 1400, "height": 800})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the text"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    contents = page.locator(".contents a")
    assert contents.count() >= page.locator("main h2").count() > 5
    contents.get_by_text("In practice").click()
    page.wait_for_function("document.querySelector('.contents [aria-current]').innerText == 'In practice'")
    assert contents.get_by_text("In practice").is_visible() and page.locator(".contents").bounding_box()["y"] == 0
    paper = page.locator("a.paper", has_text="Ho and Salimans 2022").first
    paper.scroll_into_view_if_needed()
    paper.hover()
    page.wait_for_selector(".card-of-link:visible")
    assert page.locator(".card-of-link").inner_text() == "Jonathan Ho, Tim Salimans: Classifier-Free Diffusion Guidance (2022)"
    page.locator("a.lesson", has_text="Lesson 07").first.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.locator(".card-of-link").inner_text().startswith("07 Classifier guidance: ")
    page.keyboard.press("Escape")
    assert not page.locator(".card-of-link").is_visible()
    before, after = page.locator(".ahead a").all()
    assert before.inner_text().endswith("07 Classifier guidance")
    assert page.get_by_role("navigation", name="You are at").count() == 1
    after.click()
    page.wait_for_url("**/09_*.html")
    assert not page.errors
    narrow = open_page(lesson(folder, "08"), viewport={"width": 390, "height": 800})
    assert narrow.locator(".contents a").first.is_hidden() and narrow.evaluate("document.documentElement.scrollWidth") <= 390
    narrow.get_by_text("Contents").click()
    narrow.locator(".contents a").get_by_text("In practice").click()
    assert narrow.locator(".contents a").first.is_hidden() and not narrow.errors


def test_what_a_lesson_names_is_a_link(folder):
    for number in written():
        html = lesson(folder, number).read_text(encoding="utf-8")
        assert re.search(r'<meta name="description" content="[^"]{40}', html) and 'property="og:title"' in html
        assert "OWNER" not in html and "is not started yet" not in html and "environment()" not in html
        text = re.sub(r"<(script|style|pre|svg|h[1-4]|a)\b.*?</\1>", "", html[: html.rindex('class="ahead"')], flags=re.DOTALL)
        prose = " ".join(re.findall(r"<(?:p|li|td)>(.*?)</(?:p|li|td)>", text, re.DOTALL))
        assert not re.findall(r"\blessons?\s+[0-9]{2}\b", prose), number
        assert not re.findall(r"\b[A-Z]\w+ (?:and [A-Z]\w+|et al\.),? \(?20[0-2][0-9]", prose) or int(number) > 20, number
    html = lesson(folder, "08").read_text(encoding="utf-8")
    assert 'href="api/course_lib/process.html#randn_like"' in html


def test_a_claim_leads_to_its_cell(folder, open_page):
    page = open_page(folder / "claims.html")
    row = page.locator("tr", has_text="With fewer pictures the Frechet distance is larger")
    row.locator("a").click()
    page.wait_for_url("**/00_*.html#cell-id=*")
    assert "With fewer pictures the Frechet distance is larger" in page.locator(":target").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_library_has_pages_in_the_look_of_the_site(folder, scheme, open_page):
    page = open_page(folder / "api/course_lib/samplers.html", color_scheme=scheme)
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.attr')).color]"
    background, ink = (int(re.findall(r"\d+", colour)[0]) for colour in page.evaluate(colours))
    assert (background > ink) == (scheme == "light")
    assert page.locator("#ddim + .attr").inner_text().startswith("@torch.no_grad()\ndef ddim(")
    assert "rng: torch.Generator" in page.locator("#ddim + .attr").inner_text()
    page.get_by_role("link", name="course_lib.prediction.Prediction").first.click()
    page.wait_for_url("**/api/course_lib/prediction.html#Prediction")
    assert page.locator("h1").inner_text() == "course_lib.prediction" and not page.errors
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_once_published_the_index_leads_to_notebooks_and_pages_have_a_preview(tmp_path, monkeypatch):
    monkeypatch.setattr(module.address, "read", lambda: Address("Ada", "course"))
    monkeypatch.setattr(module, "playground", lambda: "")
    for number in ("00", "01"):
        shutil.copy(NOTEBOOKS / written()[number], tmp_path)
    index = site(tmp_path / "site", tmp_path)
    html = index.read_text(encoding="utf-8")
    name = written()["01"]
    assert f'href="https://github.com/Ada/course/blob/main/notebooks/{name}"' in html
    assert f'href="https://colab.research.google.com/github/Ada/course/blob/main/notebooks/{name}"' in html
    assert f'href="https://mybinder.org/v2/gh/Ada/course/main?labpath=notebooks/{name}"' in html
    html = (index.parent / name).with_suffix(".html").read_text(encoding="utf-8")
    assert '<meta property="og:image" content="https://ada.github.io/course/previews/01.png">' in html
    assert (index.parent / "previews/01.png").read_bytes().startswith(b"\x89PNG")


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


def test_a_page_that_is_too_large_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="a page must be at most 0.001 MB, got 0.0 MB of large.html"):
        module._write({"small.html": b"", "large.html": b" " * 1001}, tmp_path)
    assert not any(tmp_path.iterdir())


def test_by_keyboard_the_first_page_leads_past_its_widget_to_search_and_lessons(folder, open_page):
    page = open_page(folder / "index.html")
    for key in ("Tab", "Enter", "Tab"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "card" and not page.errors


def test_the_index_leads_to_the_notes_whose_plan_leads_into_the_lesson(folder, open_page):
    page = open_page(folder / "index.html")
    assert page.locator(".notes a").count() == len(written()) and page.locator('a[href="paths.html"]').count() == 1
    page.locator(".notes a").get_by_text("02 The epsilon loss").click()
    page.wait_for_url("**/notes_02.html")
    text = page.locator("main").inner_text()
    assert text.startswith("Notes: 02 The epsilon loss") and "{{" not in text and "0.177" in text
    plan = page.locator("table").first
    assert plan.locator("tr").count() == 9 and plan.locator("tr:not(:first-child) td:last-child:not(:has(a))").count() == 0
    plan.get_by_text("How low can the loss go?").click()
    page.wait_for_url("**/02_epsilon_loss.html#How-low-can-the-loss-go*")
    assert not page.errors


@pytest.mark.parametrize("width", [683, 320])  # a small laptop at 200 %, and what WCAG asks for at 400 %
def test_enlarged_pages_need_no_sideways_scrolling(width, folder, open_page):
    for name in ("index", "14_ddim", "18_consistency", "20_ethics", "notes_02", "paths"):
        page = open_page(folder / f"{name}.html", viewport={"width": width, "height": 384}, device_scale_factor=2)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


@pytest.mark.parametrize("name", ["index", "playground", "claims", "paths", "notes_00", "notes_02", *READ])
def test_axe_finds_nothing_by_day_or_by_night(name, folder, open_page, axe):
    page = open_page(folder / f"{name}.html")
    for widget in page.locator(".course-widget:not(.course-guess)").all():
        widget.locator("canvas, select").first.wait_for()
    page.evaluate(FEW)
    found = axe(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)  # widgets draw their theme in the next frame
    assert [*found, *axe(page, rules=["color-contrast"])] == [] and not page.errors
