"""What every lesson says of words: terms are introduced before they are used, its last sections, and the time that it takes."""

import math
import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from course_lib.files import NOTEBOOKS
from course_lib.teaching.course_map import written
from course_lib.teaching.dictionary import in_lesson
from course_lib.teaching.publish import glossary
from course_lib.teaching.publish.build import read, sources

SOURCES = sources()
CLOSE = ["What you saw", "At full size", "Think about it", "Words", "In practice", "Next"]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def each_lesson(test):
    return pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)(test)


def markdown(source):
    return [cell.source for cell in read(source).cells if cell.cell_type == "markdown" and cell.id != "badges"]


def prose(text):
    """The text without code, formulas, headings and HTML."""
    for left_out in (r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]*\$", r"<[^>]*>", r"(?m)^#+ [^\n]*$"):
        text = re.sub(left_out, " ", text, flags=re.DOTALL)
    return text


def uses(term, text):
    """Where a term stands in a text, in the singular or the plural."""
    words = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]+", term)))
    return re.finditer(rf"(?<![\w-]){words}(?:e?s)?(?![\w])", text, re.IGNORECASE)


def introduced():
    return [term for source in SOURCES for term in glossary.terms(read(source), source.stem)]


def test_the_glossary_is_that_of_the_lessons():
    assert (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8") == glossary.page(SOURCES), "run: course build"


def test_a_term_is_defined_once(tmp_path):
    for name in ("01_a.py", "02_b.py"):
        (tmp_path / name).write_text(
            "# %% [markdown]\n# # 01 A\n#\n# ## Words\n#\n# - **Score**: a gradient.\n", encoding="utf-8"
        )
    with pytest.raises(ValueError, match="^term must be defined once, got 'Score' in 01 and in 02$"):
        glossary.page(sorted(tmp_path.glob("*.py")))
    assert "- **Score** ([01](01_a.ipynb)): a gradient.\n" in glossary.page([tmp_path / "01_a.py"])


@each_lesson
def test_a_term_is_in_bold_where_it_is_first_used(source):
    terms = glossary.terms(read(source), source.stem)
    assert terms
    body = prose("\n\n".join(cell for cell in markdown(source)[1:]).split("## Words\n")[0])
    for term in terms:
        first = next(uses(term.name, body), None)
        assert first, f"{term.name}: stands in Words only"
        assert body[: first.start()].count("**") % 2, f"{term.name}: ...{body[max(0, first.start() - 60) : first.end() + 20]!r}"


@each_lesson
def test_no_term_is_used_before_the_lesson_that_introduces_it(source):
    later = [term for term in introduced() if term.lesson[:2] > source.stem[:2]]
    for paragraph in re.split(r"\n\s*\n|\n- ", "\n\n".join(markdown(source))):
        text = prose(paragraph)
        for term in later:
            if next(uses(term.name, text), None):
                assert term.lesson[:2] in re.findall(r"\b\d\d\b", text), f"{term.name} ({term.lesson}): {text!r}"


@each_lesson
def test_words_used_again_are_of_the_lessons_that_introduce_them(source):
    by_name = {term.name.lower(): term.lesson[:2] for term in introduced()}
    again = re.search(r"Used again: (.*?)\.\s*$", glossary.section(read(source), "Words"), re.DOTALL)
    for name, lesson in re.findall(r"(?:^|, )([^,(]+) \(lesson (\d\d)\)", " ".join(again[1].split()) if again else ""):
        assert by_name.get(name.lower()) == lesson < source.stem[:2], name


@each_lesson
def test_a_lesson_ends_with_the_same_sections(source):
    notebook = read(source)
    headings = re.findall(r"^## (.*)$", "\n".join(markdown(source)), re.MULTILINE)
    assert headings[-len(CLOSE) :] == CLOSE
    think = glossary.section(notebook, "Think about it")
    assert think.count("<details><summary>Answer</summary>") == think.count("</details>") == 2
    link = re.search(r"\[[^]]*\]\((\d\d_\w+\.ipynb|CLAIMS\.md)\)", glossary.section(notebook, "Next"))
    assert link[1] == written().get(f"{int(source.stem[:2]) + 1:02}", "CLAIMS.md"), "the last lesson leads to all claims"


@each_lesson
def test_headings_are_plain_text(source):
    """A table of contents and a link show the source of mathematics, not the mathematics."""
    assert not [line for line in re.findall(r"^#+ .*$", "\n".join(markdown(source)), re.MULTILINE) if "$" in line]


@each_lesson
def test_what_diffusers_calls_it_runs(source):
    """The section "In practice" is code that nobody runs in the notebook, and that has to work all the same."""
    practice = glossary.section(read(source), "In practice")
    (block,) = BLOCK.findall(practice)
    assert 3 <= len(block.strip().splitlines()) <= 14 and "diffusers" in block
    assert re.search(r"^\|.*\|\n\|[-:| ]+\|\n\|", practice, re.MULTILINE), "a table of names"
    exec(compile(block, source.stem, "exec"), {"__name__": source.stem})


LOOKED_UP = re.compile(r"^\[Lesson 29\].* evaluates both sides\..*\n\n(?:\|.*\n)+(?:\n`.*\n)?", re.MULTILINE)
"""The dictionary's rows "In practice": to be looked up, not read."""


def minutes(cells):
    """Reading at 180 words a minute, 45 characters of code as ten words and a formula as twenty; exercises; one for running."""
    text, code = ("\n".join(cell.source for cell in cells if cell.cell_type == kind) for kind in ("markdown", "code"))
    text = LOOKED_UP.sub("", text)
    words = len(re.findall(r"[^\W\d_][\w'’-]*", prose(text))) + 20 * (text.count("$$") // 2)
    words += 10 * len(re.sub(r"\s", "", code)) / 45  # however its lines are wrapped
    exercises = sum(map(int, re.findall(r"^###+ Exercise.*\(difficulty \d, (\d+) minutes?\)$", text, re.MULTILINE)))
    return words / 180 + exercises + 1


def test_minutes_count_words_formulas_code_and_exercises():
    text = (
        "word " * 120 + "`code` $x_t$\n\n$$\nx\n$$\n\n### Exercise 1: `add` (difficulty 2, 7 minutes)\n\n```python\ncode\n```\n"
    )
    assert minutes([new_markdown_cell(text), new_code_cell("x = \n\n" * 90)]) == 1 + 7 + 1
    names = f"{in_lesson('25')}\n\n## Next\n\n{text}"
    assert minutes([new_markdown_cell(names), new_code_cell("x = \n\n" * 90)]) == pytest.approx(1 + 7 + 1, abs=0.01)


@each_lesson
def test_a_lesson_says_how_long_it_takes(source):
    cells = [cell for cell in read(source).cells if cell.id != "setup"]
    stated = int(re.search(r"\*\*Time\*\* (\d+) minutes", cells[0].source)[1])
    measured = 5 * math.ceil(minutes(cells) / 5)
    assert abs(stated - measured) <= 5 and stated <= 60, f"{stated} minutes stated, {minutes(cells):.0f} by the words"
