"""Guessing as a reader does it: on a lesson's page, by keys, mouse and touch, on slides, in print, and in JupyterLab."""

import re

import nbformat
import pytest
from lab import lab
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_hostile_text import assert_it_is_only_text, every_text

from course_lib.teaching.answer import answer
from course_lib.teaching.publish import execute, export
from course_lib.teaching.publish.present import present
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.page import PAGE

SHARE, VERDICT = "score-plain.share", "score-plain.verdict"
SLIDER = predict(SHARE, "Which share of points will be in the light mode?", low=0, high=1)
CHOICE = predict(VERDICT, "Does it get the weights right?", choices=["yes", "no", "cannot be told apart"])
TABLE = guesses(SHARE, VERDICT)
ANSWER = f"<p>The claim.</p>{answer('score-plain', {'share': ('0.49 ± 0.01', 0.4873)}, 'no')}"
FILLER = "\n\n".join(["Words that stand between a question and its answer."] * 40)


def shown(made) -> nbformat.NotebookNode:
    """A code cell with this output: a widget, or HTML."""
    data = {"text/html": made, "text/plain": ""} if isinstance(made, str) else made._repr_mimebundle_()[0]
    cell = new_code_cell("1", execution_count=1)
    cell.outputs = [new_output("execute_result", data, execution_count=1)]
    return cell


def lesson(*cells) -> nbformat.NotebookNode:
    made = new_notebook(cells=[new_markdown_cell("# 03 Score\n\n**You will be able to** guess."), *cells])
    for i, cell in enumerate(made.cells):
        cell.id = f"c{i}"
    return made


def whole() -> nbformat.NotebookNode:
    text = new_markdown_cell(f"## Measured\n\n{FILLER}")
    return lesson(shown(SLIDER), shown(CHOICE), text, shown(ANSWER), new_markdown_cell(FILLER), shown(TABLE))


@pytest.fixture
def opened(open_page, tmp_path):
    """opened(**options): the lesson's page."""
    (tmp_path / "lesson.html").write_text(export.page(whole()), encoding="utf-8")

    def opened(**options):
        page = open_page(tmp_path / "lesson.html", **options)
        page.wait_for_selector(".course-guess[data-state]")
        return page

    return opened


def widget(page, k: int, state: str):
    """The k-th widget of the page, once it is in this state; it says what it has to say."""
    page.wait_for_function(
        "([k, state]) => document.querySelectorAll('.course-guess')[k].dataset.state === state", arg=[k, state]
    )
    return page.locator(".course-guess").nth(k)


def guess(page, presses: int = 20) -> None:
    """A hundredth more for each press, by keys alone."""
    page.get_by_role("slider").focus()
    for _ in range(presses):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")


def test_by_keys_the_guess_is_kept_and_the_answer_stands_beside_it(opened):
    page = opened()
    slider = page.get_by_role("slider", name="Which share of points")
    assert slider.get_attribute("aria-valuetext") == "no guess yet" and page.locator("course-answer").inner_text() == ""
    guess(page)
    asked = widget(page, 0, "guessed")
    assert asked.get_by_role("status").inner_text() == (
        "Your guess: 0.20. The measured figure stands below, where it is measured."
    )
    assert page.evaluate("document.activeElement.textContent") == "change my mind"
    asked.get_by_role("button", name="go to the answer").press("Enter")
    line = page.locator("course-answer p")
    assert line.inner_text() == "You guessed 0.20. Measured: 0.49 ± 0.01, off by 0.29. The claim does not hold here."
    asked = widget(page, 0, "answered")
    assert asked.get_by_role("status").inner_text() == (
        "Your guess: 0.20. Measured: 0.49 ± 0.01, off by 0.29. The claim does not hold here."
    )
    assert not asked.get_by_role("button", name="change my mind").is_visible()
    at = [mark.evaluate("e => e.style.getPropertyValue('--at')") for mark in asked.locator(".mark").all()]
    assert [float(share) for share in at] == [0.2, 0.4873] and page.errors == []


def test_a_reload_keeps_the_guess_and_until_the_answer_was_seen_it_can_be_changed(opened):
    page = opened()
    guess(page)
    page.reload()
    asked = widget(page, 0, "guessed")
    assert "Your guess: 0.20." in asked.inner_text()
    asked.get_by_role("button", name="change my mind").click()
    widget(page, 0, "open")
    assert page.evaluate("document.activeElement.type") == "range"
    guess(page, 40)
    assert "Your guess: 0.40." in widget(page, 0, "guessed").inner_text()
    page.locator("course-answer").scroll_into_view_if_needed()
    widget(page, 0, "answered")
    page.reload()
    assert "off by 0.09" in widget(page, 0, "answered").inner_text() and page.errors == []


def test_by_touch_a_choice_is_made(opened):
    page = opened(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    asked = widget(page, 1, "open")
    commit = asked.get_by_role("button", name="This is my guess")
    assert commit.is_disabled()
    for target in [*asked.locator("label").all(), commit, page.get_by_role("slider")]:
        assert target.bounding_box()["height"] >= 44
    asked.locator(".choices").get_by_text("yes").tap()
    assert page.get_by_role("radio", name="yes").is_checked()
    commit.tap()
    widget(page, 1, "guessed")
    assert page.locator("course-answer p").inner_text() == "You guessed yes. The verdict: no, not as you guessed."
    page.get_by_role("slider").tap()
    widget(page, 0, "open").get_by_role("button", name="This is my guess").tap()
    assert "Your guess: 0.50." in widget(page, 0, "guessed").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and page.errors == []


def test_the_table_says_how_far_off_the_guesses_were(opened):
    page = opened()
    table = widget(page, 2, "empty")
    assert "You have not guessed yet" in table.inner_text() and not table.locator("table").is_visible()
    guess(page)
    table = widget(page, 2, "filled")
    rows = lambda: [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]
    first = ["Which share of points will be in the light mode?", "0.20", "0.49 ± 0.01", "0.29"]
    assert rows() == [first, ["Does it get the weights right?", "no guess", "", ""]]
    assert table.get_by_role("status").inner_text() == "Your sliders were 29 % of their range off on average."
    page.get_by_role("radio", name="no", exact=True).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    assert rows()[1][1:] == ["no", "no", "✓ right"]
    assert table.get_by_role("status").inner_text().endswith("1 of 1 choices was right.")
    table.get_by_role("button", name="forget these guesses").click()
    for k, state in enumerate(("open", "open", "empty")):
        widget(page, k, state)
    assert page.locator("course-answer").inner_text() == "" and page.errors == []


def test_keys_stay_inside(opened):
    page = opened()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (event) => leaked.push(event.key)) }")
    guess(page, 1)
    widget(page, 0, "guessed")
    assert page.evaluate("leaked") == []


def test_an_answer_that_comes_later_and_one_that_leaves(opened):
    """As in a notebook, where the claim's cell is run after the guess, and run again."""
    page = opened()
    guess(page)
    page.locator("course-answer").evaluate("e => e.remove()")
    other = answer("score-plain", {"share": ("0.30", 0.3)}, "yes")
    page.evaluate("html => document.body.append(document.createRange().createContextualFragment(html))", other)
    page.locator("course-answer").scroll_into_view_if_needed()
    assert "Measured: 0.30, off by 0.10. The claim holds." in widget(page, 0, "answered").inner_text()
    last = answer("score-plain", {"share": ("about a fifth", 0.2004)}, "cannot be told apart")
    page.locator("course-answer").evaluate(
        "(e, html) => e.replaceWith(document.createRange().createContextualFragment(html))", last
    )
    words = "Measured: about a fifth, off by less than 0.01. The claim is undecided: the two cannot be told apart."
    assert page.locator("course-answer p").inner_text() == f"You guessed 0.20. {words}"
    assert words in widget(page, 0, "answered").inner_text() and page.errors == []


@pytest.fixture
def served(browser):
    """served(pages, frame): a page made of frames of one address, as it comes over http."""
    contexts = []

    def served(pages: dict[str, str], frame: str):
        contexts.append(browser.new_context(viewport={"width": 1200, "height": 900}))
        page = contexts[-1].new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        frames = "".join(frame.format(name) for name in pages)
        pages |= {"": f"<!doctype html><meta charset=utf-8><body>{frames}"}
        contexts[-1].route(
            "**/*", lambda route: route.fulfill(body=pages[route.request.url.rsplit("/", 1)[1]], content_type="text/html")
        )
        page.goto("http://lesson.test/")
        return page

    yield served
    for context in contexts:
        context.close()


def page_of(*parts: str) -> str:
    return PAGE.format(title="", html="\n".join(parts))


def test_each_output_in_a_frame_of_its_own(served):
    """As in Colab, whose frames share an address, and with it the storage."""
    page = served(
        {"a": page_of(SLIDER.html), "b": page_of(ANSWER), "c": page_of(TABLE.html)},
        "<p><iframe src={} width=900 height=400></iframe>",
    )
    asked, answered, table = page.frames[1:]
    asked.get_by_role("slider").press("Home")
    asked.get_by_role("slider").press("Enter")
    answered.get_by_text("You guessed 0.00. Measured: 0.49 ± 0.01, off by 0.49.").wait_for()
    asked.get_by_text("Your guess: 0.00. Measured: 0.49 ± 0.01, off by 0.49.").wait_for()
    assert not asked.get_by_role("button", name="go to the answer").is_visible()
    table.get_by_text("49 % of their range").wait_for()
    assert page.errors == []


def test_where_storage_is_forbidden_it_says_so_and_goes_on(served):
    page = served(
        {"a": page_of(SLIDER.html, ANSWER, TABLE.html)}, "<iframe sandbox=allow-scripts src={} width=900 height=800></iframe>"
    )
    frame = page.frames[1]
    with pytest.raises(Exception, match="sandboxed"):
        frame.evaluate("localStorage")
    frame.get_by_role("slider").press("Enter")  # nothing is chosen yet
    assert frame.locator(".course-guess").first.get_attribute("data-state") == "open"
    frame.get_by_role("slider").press("End")
    frame.get_by_role("slider").press("Enter")
    frame.locator("course-answer", has_text="You guessed 1.00. Measured: 0.49 ± 0.01, off by 0.51.").wait_for()
    assert "it forgets the guess when it is closed" in frame.locator(".course-guess").first.inner_text()
    frame.get_by_text("Your sliders were 51 % of their range off").wait_for()
    assert page.errors == []


def test_what_another_page_left_in_the_storage_breaks_nothing(opened):
    page = opened()
    for left in ("{", '{"value": {}}', '"x"', '{"value": "0.3", "seen": 1}', "[]", "7"):
        page.evaluate("([id, left]) => localStorage.setItem(`course-guess:${id}`, left)", [SHARE, left])
        page.reload()
        widget(page, 0, "open")
    assert page.errors == []


@every_text
@pytest.mark.parametrize("script", [True, False])
def test_hostile_words_are_words(text, script, open_page, tmp_path):
    asked = [predict("a.one", text, low=0, high=1, unit=text), predict("a.two", text, choices=[text, "b"])]
    parts = [
        *(made.html for made in asked),
        answer("a", {"one": (text, 0.4), "two": text}, "no"),
        guesses("a.one", "a.two").html,
    ]
    (tmp_path / "page.html").write_text(page_of(*parts), encoding="utf-8")
    page = open_page(tmp_path / "page.html", java_script_enabled=script)
    if not script:
        assert page.locator("img[src=x]").count() == 0 and page.locator("[onmouseover]").count() == 0
        assert page.locator("body").inner_text().count(" ".join(text.split())) == 2 + 2 + 1
        return
    guess(page)
    page.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.locator("course-answer").scroll_into_view_if_needed()
    widget(page, 1, "answered")
    assert page.locator("course-answer p").count() == 2
    assert_it_is_only_text(page, text, 10)


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_page_in_light_and_dark(opened, width, scheme):
    page = opened(viewport={"width": width, "height": 800}, color_scheme=scheme)
    guess(page)
    page.locator("course-answer").scroll_into_view_if_needed()
    asked = widget(page, 0, "answered")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert ("dark" in asked.get_attribute("class")) == (scheme == "dark")
    box = asked.bounding_box()
    for mark in asked.locator(".mark").all():
        inside = mark.bounding_box()
        assert box["x"] <= inside["x"] and inside["x"] + inside["width"] <= box["x"] + box["width"]
    assert page.errors == []


def test_without_scripts_the_question_stands_with_its_scale(opened, open_page, tmp_path):
    (tmp_path / "still.html").write_text(export.page(whole()), encoding="utf-8")
    page = open_page(tmp_path / "still.html", java_script_enabled=False)
    words = page.locator(".course-guess").all_inner_texts()
    assert words[0].split("\n\n")[-2:] == ["0 ├────┼────┼────┼────┤ 1", "Run this cell to answer."]
    assert (
        "Which share of points" in words[0]
        and "yes\nno\ncannot be told apart" in words[1]
        and "a table stands here" in words[2]
    )


LINK = """(element, id) => {
  element.id = id;
  element.closest(".jp-Cell").append(Object.assign(document.createElement("a"), { href: `#${id}`, textContent: "." }));
}"""


@pytest.mark.parametrize("guessed", [False, True])
def test_a_print_has_the_question_and_its_answer_on_different_pages(guessed, open_page, tmp_path):
    """And what was guessed, but not the answer beside it."""
    cells = [shown(SLIDER), shown(ANSWER), shown(CHOICE), new_markdown_cell("## The end")]
    (tmp_path / "print.html").write_text(export.page(lesson(*cells)), encoding="utf-8")
    page = open_page(tmp_path / "print.html")
    if guessed:
        guess(page)
        widget(page, 0, "answered")
    # The print keeps each target of a link with the page that it stands on.
    places = {"asked": ".course-guess .question", "told": "course-answer", "choice": ".course-guess ul.still", "end": "h2"}
    for name, selector in places.items():
        page.locator(selector).first.evaluate(LINK, name)
    page.emulate_media(media="print")
    asked = page.locator(".course-guess").first
    assert asked.get_by_text("├────┼────┼────┼────┤").is_visible() and not page.get_by_role("slider").is_visible()
    assert ("Your guess: 0.20." in asked.inner_text()) == guessed and "0.49" not in asked.inner_text()
    pdf = page.pdf(format="A4")
    kids = re.search(rb"/Type /Pages.*?/Kids \[(.*?)\]", pdf, re.DOTALL) or re.search(rb"/Kids \[(.*?)\]", pdf, re.DOTALL)
    pages = re.findall(rb"(\d+) 0 R", kids[1])
    on = {name: pages.index(re.search(rb"/%s \[(\d+) 0 R /XYZ" % name.encode(), pdf)[1]) for name in places}
    assert on == {"asked": 0, "told": 1, "choice": 1, "end": 2}


def test_on_slides_it_is_a_poll_whose_answer_is_on_a_later_slide(open_page, tmp_path):
    (tmp_path / "notebooks/src").mkdir(parents=True)
    nbformat.write(whole(), tmp_path / "notebooks/03_score.ipynb")
    slides = present(tmp_path / "notebooks/src/03_score.py", tmp_path)
    page = open_page(slides)
    now = page.locator(".slide.now")
    page.keyboard.press("PageDown")
    assert "Hands up" in now.inner_text() and "Move the slider." in now.inner_text()
    assert float(now.locator(".question").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")) >= 36
    page.keyboard.press(".")
    assert now.locator("output").inner_text() == "0.25" and "Who says more than 0.25? Who says less?" in now.inner_text()
    now.get_by_role("button", name="This is our guess").click()
    assert "Our guess: 0.25." in now.inner_text() and "0.49" not in now.inner_text()
    page.keyboard.press("PageDown")
    assert "Does it get the weights right?" in now.inner_text() and "Which share" not in now.inner_text()
    assert now.get_by_role("radio").count() == 3
    while not now.locator("course-answer").count():
        page.keyboard.press("PageDown")
    now.get_by_text("You guessed 0.25. Measured: 0.49 ± 0.01, off by 0.24.").wait_for()
    now.locator("course-answer").scroll_into_view_if_needed()
    widget(page, 0, "answered")
    page.goto(slides.as_uri())
    page.reload()
    widget(page, 0, "open")  # each class guesses anew
    assert page.evaluate("localStorage.length") == 0 and page.errors == []


CELLS = [
    'from course_lib.widgets.guess import guesses, predict\npredict("a-b.share", "Which share?", low=0, high=1)',
    "from IPython.display import HTML\nfrom course_lib.teaching.answer import answer\n"
    'HTML(answer("a-b", {"share": ("0.49 ± 0.01", 0.4873)}, "yes"))',
    'guesses("a-b.share")',
]


def test_in_jupyterlab(browser, tmp_path):
    nbformat.write(
        new_notebook(cells=[new_code_cell(cell) for cell in CELLS], metadata=execute.METADATA), tmp_path / "one.ipynb"
    )
    with lab(tmp_path) as address:
        context = browser.new_context(viewport={"width": 1400, "height": 1600})
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/lab/tree/one.ipynb")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        page.get_by_text("(ipykernel) | Idle").wait_for(timeout=60_000)

        def run(cell: int):
            page.locator(".jp-CodeCell .cm-content").nth(cell).click()
            page.keyboard.press("Control+Enter")

        run(0)
        page.get_by_role("slider", name="Which share?").wait_for(timeout=60_000)
        guess(page)
        assert "Your guess: 0.20. The measured figure stands below" in widget(page, 0, "guessed").inner_text()
        assert page.locator(".jp-CodeCell").count() == 3  # no key reached the notebook
        run(1)
        page.locator("course-answer", has_text="You guessed 0.20. Measured: 0.49 ± 0.01, off by 0.29.").wait_for()
        assert "off by 0.29" in widget(page, 0, "answered").inner_text()
        run(2)
        page.get_by_text("Your sliders were 29 % of their range off on average.").wait_for()
        run(0)  # again
        widget(page, 0, "answered")
        assert page.locator(".course-guess").count() == 2 and errors == []
        context.close()
