"""Text that looks like HTML is shown as text, wherever it comes from: no page is broken by it, and nothing in it runs."""

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

from course_lib.plots import show
from course_lib.samplers import ddim
from course_lib.teaching import progress
from course_lib.teaching.checks import add_noise, spy
from course_lib.teaching.claims import Claim
from course_lib.teaching.environment import Report
from course_lib.teaching.publish import site
from course_lib.teaching.publish.address import to_text
from course_lib.widgets.dial import dial
from course_lib.widgets.page import PAGE
from course_lib.widgets.player import play
from course_lib.widgets.tradeoff import Curve, TradeOff

RUN = "<img src=x onerror=\"document.body.dataset.ran = 'img'\">"
HOSTILE = {
    "comment": f"<!--<script>{RUN}",
    "end": f"</script></title></style></text>{RUN}<script>document.body.dataset.ran = 'script'</script>",
    "attribute": "\" onmouseover=\"document.body.dataset.ran = 'mouse'\" x='",
    "entity": "&lt;b&gt; \\u003c/script> $x$ `b` {0} \u2028",
}
every_text = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
PICTURES = torch.linspace(-1, 1, 3 * 2 * 64).view(3, 2, 1, 8, 8)


def assert_it_is_only_text(page, text, times=1):
    assert page.errors == [] and page.evaluate("document.body.dataset.ran") is None
    assert page.locator("img[src=x]").count() == 0 and page.locator("[onmouseover]").count() == 0
    shown = page.evaluate(
        "document.body.innerText + [...document.querySelectorAll('*')].map((e) => [e.ariaLabel, e.alt]).join()"
    )
    words = " ".join(text.split())
    assert " ".join(shown.split()).count(words) >= times, shown


@every_text
@pytest.mark.parametrize("script", [True, False])
def test_a_dial_says_its_names(text, script, open_page, tmp_path):
    made = dial(text, [0, 1, 2], {text: list(PICTURES), "b": list(PICTURES)}, {text: [0.1, 0.5, 0.9]})
    page = open_page(made.save(tmp_path / "dial.html", title=text), java_script_enabled=script)
    if script:
        page.wait_for_selector(".course-dial[data-at]")
        page.get_by_role("slider").press("End")
        page.wait_for_selector('.course-dial[data-at="2"]')
        assert " ".join(page.title().split()) == " ".join(text.split())
        assert_it_is_only_text(page, text, 3)
    else:  # what stands where no script runs
        assert page.locator("img[src=x]").count() == 0 and page.locator("[onmouseover]").count() == 0
        assert page.locator("body").inner_text().count(" ".join(text.split())) == 4


@every_text
def test_a_player_says_its_titles(text, open_page, tmp_path):
    steps = list(ddim(spy.DENOISER, spy.PICTURES, spy.PROCESS.times(3)))
    made = play(steps, draw=lambda step: {text: step.x[:, :1], "b": step.x[:, 1:]})
    page = open_page(made.save(tmp_path / "player.html"))
    page.wait_for_selector(".course-player[data-ready]")
    page.wait_for_function("document.querySelector('.course-player canvas')?.width > 0")
    assert_it_is_only_text(page, text)


@every_text
def test_what_a_cell_shows_says_its_words(text, open_page, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "exercises", lambda: {"01": [text]})
    figure, _ = plt.subplots(figsize=(2, 1))

    def failing(*args):
        raise ValueError(text)

    curve = Curve((0.0, 1.0), (0.9, 0.5), (0.5, 0.9))
    parts = [
        Claim("a", text, text, "yes", no_null="exact")._repr_mimebundle_()["text/html"],
        progress.CourseProgress({text: text})._repr_html_(),
        Report(((text, text, text, True), ("b", "", None, False)))._repr_html_().replace("<details>", "<details open>"),
        add_noise(failing)._repr_html_(),
        show(figure, text)._repr_mimebundle_()[0]["text/html"],
        TradeOff({text: curve}).svg(text, 1),
    ]
    (tmp_path / "cell.html").write_text(PAGE.format(title="", html="\n".join(parts)), encoding="utf-8")
    page = open_page(tmp_path / "cell.html")
    assert_it_is_only_text(page, text, 2 + 1 + 3 + 1 + 1 + 1)
    assert page.evaluate("document.querySelector('caption ~ tbody span').title") == text


@every_text
def test_a_site_says_what_its_lessons_say(text, open_page, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "playground", lambda: "")
    (tmp_path / "notebooks").mkdir()
    markdown = "".join(f"\\{c}" if c in "\\`*_<>&$[](){}#+-.!|~\"'" else c for c in " ".join(text.split()))
    notebook = nbformat.v4.new_notebook()
    code = nbformat.v4.new_code_cell("1", id="a")
    shown = Claim("a", text, text, "yes", no_null="exact")._repr_mimebundle_()
    code.outputs = [nbformat.v4.new_output("display_data", shown)]
    notebook.cells = [
        nbformat.v4.new_markdown_cell(f"# 01 {markdown}\n\n**You will be able to** {markdown}\n\n", id="b"),
        nbformat.v4.new_markdown_cell(f"## Needle {markdown}\n\n{markdown}", id="c"),
        code,
    ]
    name = f"01_{text.replace('/', '')}.ipynb"
    (tmp_path / "notebooks" / name).write_text(to_text(notebook), encoding="utf-8")
    index = site.site(tmp_path / "site", tmp_path / "notebooks")
    page = open_page(index)
    assert page.locator("a.card").count() == 1
    page.get_by_label("Search all lessons").fill("needle")
    page.keyboard.press("Enter")
    page.locator("#found a").first.click()
    page.wait_for_selector("h2:target, :target")
    assert_it_is_only_text(page, text, 4)
    page.get_by_role("link", name="all lessons").click()
    page.locator("a.card").click()
    assert_it_is_only_text(page, text, 4)
    page = open_page(tmp_path / "site/claims.html")
    assert_it_is_only_text(page, text, 2)
    assert page.locator("tbody tr").count() == 1 and page.locator("tbody td").count() == 7
