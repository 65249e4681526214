"""What the site makes of a lesson's text: links to lessons, papers and the library, without what only a notebook can do."""

import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.teaching.publish.export import page
from course_lib.teaching.publish.links import Linker, Target
from course_lib.teaching.publish.papers import papers
from course_lib.teaching.publish.reading import for_readers
from course_lib.teaching.publish.text import plain

OPENING = """# 08 Guidance

[Open in Colab](https://colab.example/b) · [Open in Binder](https://binder.example/b)

**Needs** lesson 02. **Papers** Jonathan Ho, Tim
Salimans: *Classifier-Free Diffusion
Guidance* (2022); Yang Song, Prafulla Dhariwal, Mark Chen: *Consistency Models* (2023); Yang Song, Prafulla Dhariwal:
*Improved Techniques* (2023).

More text."""
LESSONS = {f"{k:02}": Target(f"{k:02}_a.html", f'{k:02} with "$" and |') for k in range(13)}
LIBRARY = {
    "course_lib.plots": Target("api/course_lib/plots.html", "Figures."),
    "course_lib.plots.show": Target("p#show", "Shows."),
}
LINKER = Linker(LESSONS, tuple(papers({"08": OPENING})), LIBRARY)


def html(markdown: str, code: str = "") -> str:
    """The page of a notebook of one cell of text, or two cells."""
    return page(new_notebook(cells=[new_markdown_cell(f"# A\n\n{markdown}"), *([new_code_cell(code)] if code else [])]))


def links(text: str, opening: str = OPENING) -> list[tuple[str, str]]:
    """The links that a text is given: what each stands on, and what its card says or else its address."""
    found = re.findall(
        r'<a class="(\w+)" href="([^"]*)" data-card="([^"]*)">(.*?)</a>', LINKER.markdown(text, opening), re.DOTALL
    )
    return [(content, card if kind == "paper" else href) for kind, href, card, content in found]


@pytest.mark.parametrize(
    "text, found",
    [
        ("as in lesson 02.", ["lesson 02"]),
        ("Lesson\n02's floor", ["Lesson\n02"]),
        ("lessons 04 (the $v$ of `t`), 07 and 12, 50 steps", ["04", "07", "12"]),
        ("lessons 00 to 02", ["00", "02"]),
        ("[Lesson 03](03_score.ipynb) reads", ["Lesson 03"]),
        ("lesson 99, `lesson 02`, $lesson 02$ and <b title='lesson 02'>", []),
        ("## Lesson 02\n\ntext", []),
    ],
)
def test_every_lesson_that_is_named_is_a_link(text, found):
    assert [content for content, _ in links(text)] == found


@pytest.mark.parametrize(
    "text, found",
    [
        ("(Ho and Salimans 2022, Algorithm 1)", [("Ho and Salimans 2022", "Classifier-Free")]),
        ("Ho and\nSalimans (2022) report", [("Ho and\nSalimans", "Classifier-Free")]),
        ("Ho and Salimans report", [("Ho and Salimans", "Classifier-Free")]),
        ("Song et al. build it", [("Song et al.", "Consistency Models")]),
        ("Song and Dhariwal (2023)", [("Song and Dhariwal", "Improved Techniques")]),
        ("Yang Song et al. (2021) give", [("Song et al.", "Score-Based")]),
        ("Yin et al. (2024, *Improved Distribution Matching\nDistillation*)", [("Yin et al.", "Improved Distribution")]),
        ("Yin et al. 2024", [("Yin et al. 2024", "One-step")]),
        ("Ho and others, and Nobody et al. 2022", []),
    ],
)
def test_every_paper_that_is_cited_is_a_link(text, found):
    made = links(text)
    assert [content for content, _ in made] == [content for content, _ in found]
    assert all(title in card for (_, card), (_, title) in zip(made, found))


def test_the_box_of_a_lesson_links_what_it_lists():
    titles = ["<em>Classifier-Free Diffusion Guidance</em>", "<em>Consistency Models</em>", "<em>Improved Techniques</em>"]
    assert [content for content, _ in links(OPENING)] == ["lesson 02", *titles]


def test_a_card_is_text_in_a_table_and_beside_equations():
    made = html(f"| a | b |\n|---|---|\n| {LINKER.markdown('lesson 02', '')} | $x$ |")
    assert made.count("<td>") == 2 and re.search(r'data-card=(?:"02 with &quot;\$&quot; and \|"|\'02 with "\$" and \|\')', made)


def test_what_code_imports_from_the_library_is_a_link_there_and_in_the_text():
    code = "import torch\nfrom course_lib import plots\nfrom course_lib.plots import (\n    show,\n)\n\nother = show"
    made = LINKER.code(html("`show`, `plots.show` and `other`", code))
    assert made.count('href="p#show"') == 3  # in the import, and twice in the text
    assert made.count('href="api/course_lib/plots.html"') == 2


def test_readers_are_spared_what_needs_a_kernel():
    def code(source, *texts):
        return new_code_cell(source, outputs=[new_output("display_data", {"text/plain": text}) for text in texts])

    cells = [
        new_markdown_cell(OPENING),
        code("from course_lib import environment\n\nenvironment()", "2 CPU cores"),
        code('course_map("08")', "You are at"),
        new_markdown_cell("Drag. <!-- notebook -->Run the\ncell again.<!-- /notebook --> Look."),
        code("verdict", "○ f is not started yet"),
        code('check.solution("f")', "An answer"),
    ]
    made = page(for_readers(new_notebook(cells=cells), links=False))
    assert all(text in made for text in ("Drag.", "Look.", "verdict", "An answer", "More text"))
    for text in ("CPU cores", "You are at", "cell again", "not started", "solution", "Colab"):
        assert text not in made
    assert "Colab" in page(for_readers(new_notebook(cells=cells)))


def test_text_without_marks():
    text = r"**Keep** `score_from_eps`, $\epsilon_t \le P(c \mid x)$ and [a link](b.html) <details>of</details>"
    assert plain(text) == "Keep score_from_eps, ε_t ≤ P(c ∣ x) and a link of"
