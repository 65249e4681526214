"""Claims are gathered from executed notebooks, and a false one stops its notebook."""

import re
from html import unescape

import nbformat
import pytest
from nbconvert.filters.markdown_mistune import MarkdownWithMath

from course_lib.teaching.claims import MIME, Claim, claim, gather, in_readme, table
from course_lib.teaching.course_map import LESSONS, course_map, written
from course_lib.teaching.environment import PYPROJECT, environment
from course_lib.teaching.publish.equations import Renderer


def notebook(path, *claims):
    cells = []
    for made in claims:
        data = made._repr_mimebundle_()
        cells.append(nbformat.v4.new_code_cell("claim(...)", outputs=[nbformat.v4.new_output("display_data", data)]))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_gathered_in_order_with_their_lesson(tmp_path):
    one = claim("first-claim", "One is less than two.", measured="1 < 2", holds=True)
    two = claim("second-claim", "Two is less than one.", measured="2 > 1", holds=False, expected=False)
    found = list(gather([notebook(tmp_path / "07_a.ipynb", one), notebook(tmp_path / "08_b.ipynb", two)]))
    assert [(c.id, c.lesson, c.holds) for c in found] == [("first-claim", "07_a", True), ("second-claim", "08_b", False)]
    assert "| Two is less than one. | 08 | 2 > 1 | no |" in table(found)
    assert MIME in one._repr_mimebundle_() and "does not hold" in two._repr_mimebundle_()["text/html"]


def test_a_bar_in_a_claim_stays_in_its_cell():
    row = table([Claim("a", "q(x | y) is known.", "|x| = 1", True, "08_small")]).splitlines()[-1]
    assert row == "| q(x \\| y) is known. | 08 | \\|x\\| = 1 | yes |"


def test_a_claim_is_one_row_and_its_words_are_no_markup():
    said = "a\n\nb\u2028c `d` *e* __f__ x_t [g](h) [g][h] $i$ <!-- /claims --> &lt; \\| "
    (row,) = table([Claim("a", said, said, True, "08_small")]).splitlines()[2:]
    cell = r"a  b c \`d\` \*e\* \_\_f_\_ x_t [g]\(h) [g]\[h] \$i\$ \<!-- /claims --> \&lt; \\\| "
    assert row == f"| {cell} | 08 | {cell} | yes |"
    rendered = MarkdownWithMath(renderer=Renderer(escape=False)).render(table([Claim("a", said, "08", True, "08_small")]))
    words = re.findall("<td>(.*)</td>", rendered)
    assert [unescape(word) for word in words] == [" ".join(said.splitlines()).strip(), "08", "08", "yes"]


def test_the_readme_shows_the_chosen_and_says_which_is_missing(tmp_path, monkeypatch):
    made = claim("a", "One is | one.", measured="1", holds=True)
    path = notebook(tmp_path / "07_a.ipynb", made, claim("b", "Two is two.", measured="2", holds=True))
    monkeypatch.setattr("course_lib.teaching.claims.CHOSEN", ("a",))
    text = in_readme("Before\n<!-- claims -->\nstale\n<!-- /claims -->\nafter", [path])
    assert "| One is \\| one. | [07](notebooks/07_a.ipynb) | 1 | yes |\n<!-- /claims -->\nafter" in text
    assert text.startswith("Before\n<!-- claims -->\n| statement |") and "Two is two" not in text and "stale" not in text
    with pytest.raises(ValueError, match="readme must hold one place"):
        in_readme("Before", [path])
    monkeypatch.setattr("course_lib.teaching.claims.CHOSEN", ("a", "c"))
    with pytest.raises(ValueError, match="got 'c', which no notebook makes"):
        in_readme(text, [path])


def test_a_claim_that_fails_raises_and_so_does_one_that_holds_after_all():
    with pytest.raises(AssertionError, match="DOES NOT HOLD: One is two. Measured: 1"):
        claim("a", "One is two.", measured="1", holds=False)
    with pytest.raises(AssertionError, match="holds after all"):
        claim("a", "One is one.", measured="1", holds=True, expected=False)


def test_ids_are_plain_and_their_own(tmp_path):
    with pytest.raises(ValueError, match="lower-case words"):
        claim("Bad Id", "x", measured="1", holds=True)
    made = claim("same", "x", measured="1", holds=True)
    with pytest.raises(ValueError, match="twice"):
        list(gather([notebook(tmp_path / "01_a.ipynb", made, made)]))


def test_a_statement_cannot_smuggle_html():
    assert "<script>" not in claim("a", "<script>", measured="<b>", holds=True)._repr_mimebundle_()["text/html"]


def test_the_map_marks_one_lesson_and_lists_every_one():
    numbers = [n for lessons in LESSONS.values() for n in lessons]
    assert numbers == [f"{n:02}" for n in range(len(numbers))] and set(written()) <= set(numbers)
    shown = course_map("02")._repr_html_()
    assert shown.count("◀ here</span>") == 1 and "02 The epsilon loss ◀" in shown
    with pytest.raises(ValueError, match=f'here must be a lesson from "00" to "{numbers[-1]}", got \'99\''):
        course_map("99")


def test_the_readme_lists_every_lesson_that_is_written():
    titles = {number: title for lessons in LESSONS.values() for number, title in lessons.items()}
    readme = (PYPROJECT.parent / "README.md").read_text(encoding="utf-8")
    for number, name in written().items():
        assert f"| [{number}](notebooks/{name}) | {titles[number]} |" in readme


def test_the_environment_is_ready_here_and_says_what_is_missing(monkeypatch):
    from importlib import metadata

    assert environment().ready and "All is ready" in str(environment())
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "numpy" else real(name))
    assert not environment().ready and "NO  numpy" in str(environment())
