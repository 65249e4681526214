"""The instructor's notes and the study paths: what they name stands in the lessons, and what they count is right."""

import re

import nbformat
import pytest

from course_lib.files import NOTEBOOKS
from course_lib.teaching.course_map import written
from course_lib.teaching.publish import claim_table, notes
from course_lib.teaching.publish.present import present
from course_lib.teaching.publish.text import below

CLAIMS = {made.id: made for made in claim_table.gather(sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")))}
each_lesson = pytest.mark.parametrize("number", written())


def lesson(number):
    return nbformat.read(NOTEBOOKS / written()[number], as_version=4)


def faults(found: notes.Notes, notebook) -> list[str]:
    """What is wrong with the notes of a lesson."""
    wrong = []
    opening = notebook.cells[0].source
    if not opening.startswith(f"# {found.title}") or found.title[:2] != found.number:
        wrong.append(f"title: {found.title}")
    if tuple(re.findall(r"^## (.*)$", found.text, re.MULTILINE)) != notes.SECTIONS:
        wrong.append(f"sections: {re.findall(r'^## (.*)$', found.text, re.MULTILINE)}")
    minutes = sum(row[0] for row in found.plan())
    if not (45 <= minutes <= 60 or (found.number == "00" and 15 <= minutes <= 30)):
        wrong.append(f"plan: {minutes} minutes")
    wrong += [f"heading: {h}" for _, _, where in found.plan() for h in where if not notes.find(notebook, f"# {h}")]
    for name, heading, item in found.sliders():
        if not name or not notes.widget(notebook, name, heading):
            wrong.append(f"widget: {item[:40]}")
    for section, least, most in (
        ("At the sliders", 1, 12),
        ("Ask before moving", 2, 3),
        ("Misunderstandings", 3, 3),
        ("Think about it", 2, 2),
        ("Exam questions", 2, 2),
    ):
        if not least <= len(found.items(section)) <= most:
            wrong.append(f"{section}: {len(found.items(section))}")
    for item in found.items("Misunderstandings"):
        title = notes.PICTURE.search(item)
        if not item.startswith('"') or not title or not notes.find(notebook, title[1]):
            wrong.append(f"picture: {item[:60]}")
    if not claim_table.PLACE.search(below(found.text, "Ask before moving")):
        wrong.append("ask: no figure of a claim")
    for item in found.items("Exam questions"):
        if not re.match(r"\(\d+ points\) ", item) or "**Answer**" not in item:
            wrong.append(f"exam: {item[:40]}")
    return wrong


def test_every_lesson_has_notes():
    assert sorted(path.name for path in (NOTEBOOKS / "notes").iterdir()) == [f"{number}.md" for number in written()]


@each_lesson
def test_what_the_notes_name_stands_in_the_lesson(number):
    assert faults(notes.stored(number), lesson(number)) == []


@each_lesson
def test_figures_are_those_of_claims(number):
    found = notes.stored(number)
    claim_table.fill(found.text, CLAIMS)
    own = [made for made in CLAIMS.values() if made.lesson[:2] == number]
    assert not list(claim_table.copied(found.text, own))
    assert 400 <= len(found.text.split()) <= 1000


@each_lesson
def test_each_part_of_the_notes_has_its_slide(number):
    found, notebook = notes.stored(number), lesson(number)
    said = [title for pairs in notes.of_cells(found, notebook, CLAIMS).values() for title, _ in pairs]
    assert said.count("Misunderstanding") == 3 and sum(title.startswith("Plan") for title in said) == len(found.plan())


GOOD = """# 02 The epsilon loss

## Plan

| minutes | what | where |
|---|---|---|
| 50 | all | The data: a ring with known density |

## At the sliders

- `play` in *Watch the loop*, t = 1000: a cloud.
- `play`, t = 0: eight spots.

## Ask before moving

1. What? {{eps-loss-floor.at_floor}}
2. And then?

## Misunderstandings

1. "A." Picture: "The loss of your training loop". No.
2. "B." Picture: "The loss of your training loop". No.
3. "C." Picture: "Think about it". No.

## In class

Exercise 1.

## Think about it

1. So.
2. So.

## Exam questions

1. (2 points) Why? **Answer** Because.
2. (2 points) How?

   **Answer** So.
"""


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("", "", ""),
        ("# 02 The epsilon", "# 02 The delta", "title"),
        ("## In class", "## At home", "sections"),
        ("| 50 |", "| 44 |", "plan"),
        ("The data: a ring with known density", "The data", "heading"),
        ("`play`", "`piano`", "widget"),
        ("*Watch the loop*", "*Watch*", "widget"),
        ("2. And then?\n", "", "Ask before moving"),
        ('3. "C." Picture: "Think about it". No.\n', "", "Misunderstandings"),
        ("The loss of your training loop", "A loss", "picture"),
        ("{{eps-loss-floor.at_floor}}", "", "ask"),
        ("(2 points) Why?", "Why?", "exam"),
        ("1. (2 points) Why?", "(2 points) Why?", "Exam questions"),
    ],
)
def test_faulty_notes_are_found(old, new, says):
    found = faults(notes.Notes("02", GOOD.replace(old, new)), lesson("02"))
    assert found == [] if not says else found and all(each.startswith(says) for each in found), found


def test_a_figure_that_is_none_is_refused():
    with pytest.raises(ValueError, match="must name a figure"):
        notes.Notes("02", "{{eps-loss-floor.none}}").filled(CLAIMS)


def test_the_slides_have_the_notes_of_their_cells(tmp_path):
    html = present(NOTEBOOKS / "src" / f"{written()['00'][:-6]}.py", tmp_path).read_text(encoding="utf-8")
    (cell,) = re.findall(r'<div [^>]*data-notes="([^"]*Steer|[^"]*Move w, with the noise fixed[^"]*)"', html)
    assert "Plan, 4 min" in cell
    assert html.count("data-notes=") >= 8 and "&quot;Misunderstanding&quot;" in html and "between sets of 500" in html


# Study paths

TEXT = (NOTEBOOKS / "PATHS.md").read_text(encoding="utf-8")
PATHS = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
LINK = re.compile(r"\[(\d\d)\]\((\w+\.ipynb)\)")


def opening(number):
    return lesson(number).cells[0].source


def needs(text: str) -> set[str]:
    """The numbers of the lessons that a lesson's opening box says it needs."""
    said = re.search(r"\*\*Needs\*\*(.*?)(?:\*\*Paper|\n\n|\Z)", text, re.DOTALL)[1]
    for first, last in re.findall(r"\b(\d\d) to (\d\d)\b", said):
        said += "".join(f" {k:02}" for k in range(int(first), int(last) + 1))
    return set(re.findall(r"\b\d\d\b", re.sub(r"\$[^$]*\$", "", said)))


def weeks(text: str) -> list[tuple[list[str], int]]:
    """Of a path, the lessons of each week and the minutes that stand beside them."""
    rows = re.findall(r"^\| \d+ \| (.*?) \| .*? \| (\d+) \|$", text, re.MULTILINE)
    return [([number for number, _ in LINK.findall(row)], int(minutes)) for row, minutes in rows]


def missing(text: str) -> list[tuple[str, str]]:
    """Pairs of a lesson of a path and one that it needs, which is neither before it nor among those left out for it."""
    given: dict[str, set[str]] = {}
    for line in re.findall(r"^- \[(\d\d)\]\(\w+\.ipynb\), for ([\d, ]+):", text, re.MULTILINE):
        given[line[0]] = set(line[1].split(", "))
    order = [number for week, _ in weeks(text) for number in week]
    lacks = lambda k, need: need not in order[:k] and order[k] not in given.get(need, ())
    return [(number, need) for k, number in enumerate(order) for need in sorted(needs(opening(number))) if lacks(k, need)]


def test_needs_are_read_from_the_opening():
    assert needs("**Needs** lessons 00 to 02 and 07 ($x_{10}$). **Papers** of 2020, section 11") == {"00", "01", "02", "07"}
    assert needs(opening("14")) == {"01", "02", "03", "08", "11"} and needs(opening("00")) == set()


@pytest.mark.parametrize("path", PATHS)
def test_a_path_counts_right_and_has_what_its_lessons_need(path):
    text, stated = below(TEXT, path), lambda number: int(re.search(r"\*\*Time\*\* (\d+) minutes", opening(number))[1])
    table = weeks(text)
    assert len(table) == {"Half a term": 6, "A term": 13}[path.split(",")[0]]
    for week, minutes in table:
        assert minutes == sum(map(stated, week)) <= 120
    total = sum(minutes for _, minutes in table)
    assert f"In all {total:,} minutes of lessons, {total / 60:.1f} hours." in " ".join(text.split())
    assert missing(text) == []
    assert sorted(number for number, _ in LINK.findall(text)) == sorted(written()), "each lesson once, in the path or left out"


def test_a_lesson_before_what_it_needs_is_found():
    text = below(TEXT, PATHS[0])
    assert ("14", "11") in missing(re.sub(r"^- \[11\].*$", "", text, flags=re.MULTILINE))
    first, second = (row for row in text.splitlines() if row.startswith(("| 2 |", "| 3 |")))
    assert ("07", "02") in missing(text.replace(first, "").replace(second, f"{second}\n{first}"))


def test_links_of_the_paths_lead_to_lessons():
    assert all(written()[number] == file for number, file in LINK.findall(TEXT)) and len(PATHS) == 4
