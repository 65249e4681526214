"""Marks as files: a table for Canvas, for Moodle or for reading, and one page a student."""

from __future__ import annotations

import csv
import html
import io
import re
from pathlib import Path

from course_lib import validate
from course_lib.files import write_atomically
from course_lib.teaching.classroom.collect import Mark, Row
from course_lib.teaching.classroom.exercises import Exercise
from course_lib.teaching.classroom.roster import Student

FORMATS = ("plain", "canvas", "moodle")
CANVAS = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
"""The columns that Canvas wants first and in this order; then each assignment, and a row with its points."""
MOODLE = {"ID number": "id", "Email address": "email", "Username": "login"}
"""The columns of which Moodle maps one to a user; each exercise has one of grades and one of feedback, which it takes, too."""
MARKS = {"right": "✓", "wrong": "✗", "not started": "○", "not handed in": "○"}


def table(students: list[Student], rows: dict[str, Row], exercises: list[Exercise], format: str = "plain") -> str:
    """The marks as CSV of one of FORMATS; `rows` by the students' keys.

    Raises ValueError for another format, and for Moodle where no column says for each student who that is.
    """
    validate.choice("format", format, FORMATS)
    of = [rows.get(student.key, Row("", [Mark(e, "not handed in") for e in exercises])) for student in students]
    made = {"plain": _plain, "canvas": _canvas, "moodle": _moodle}[format](list(zip(students, of)), exercises)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[_harmless(cell) for cell in line] for line in made])
    return out.getvalue()


def _canvas(students: list[tuple[Student, Row]], exercises: list[Exercise]) -> list[list]:
    points = ["    Points Possible", "", "", "", "", *(e.points for e in exercises)]
    body = [
        [s.name, s.canvas, s.sis or ("" if s.canvas else s.id), s.login, s.section, *(m.points for m in row.marks)]
        for s, row in students
    ]
    return [[*CANVAS, *(e.label for e in exercises)], points, *body]


def _moodle(students: list[tuple[Student, Row]], exercises: list[Exercise]) -> list[list]:
    """Moodle gives the marks of a row without its user to the user of the row before: such a column is left out."""
    whole = [column for column, name in MOODLE.items() if all(getattr(s, name) for s, _ in students)]
    if not whole:
        raise ValueError(f"--roster must have one of {', '.join(MOODLE)} for each student, by which Moodle finds them")
    each = [column for e in exercises for column in (e.label, f"{e.label} (feedback)")]
    body = [
        [*(getattr(s, MOODLE[column]) for column in whole), s.name, *(c for m in row.marks for c in (m.points, feedback(m)))]
        for s, row in students
    ]
    return [[*whole, "Full name", *each], *body]


def _plain(students: list[tuple[Student, Row]], exercises: list[Exercise]) -> list[list]:
    head = ["name", "id", "points", "of", *(e.label for e in exercises), "feedback", "uses the library", "notes"]
    body = []
    for s, row in students:
        said = "; ".join(f"{m.exercise.name}: {feedback(m)}" for m in row.marks if m.state == "wrong")
        uses = "; ".join(f"{m.exercise.name}: {', '.join(m.uses)}" for m in row.marks if m.uses)
        notes = "; ".join(row.notes) if s.key else "not handed in"
        body.append(
            [s.name, s.id, row.points, sum(e.points for e in exercises), *(m.points for m in row.marks), said, uses, notes]
        )
    return [head, *body]


def feedback(mark: Mark) -> str:
    """What a student reads about one exercise: right, or the mistake by its name."""
    return mark.state + (f": {mark.says}" if mark.says else "")


def _harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula, and that has no line breaks."""
    if not isinstance(cell, str):
        return cell
    text = re.sub(r"[\x00-\x1f\x7f]", " ", cell).encode(errors="replace").decode()
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") and text.strip() else text


def pages(students: list[Student], rows: dict[str, Row], folder: Path) -> list[Path]:
    """The files of one page for each student who handed something in; nothing on it is fetched from elsewhere."""
    made: list[Path] = []
    for student in (student for student in students if student.key):
        name = re.sub(r"[^A-Za-z0-9]+", "_", student.id or student.name or student.key).strip("_")[:60] or "student"
        path = next(p for p in _names(folder, name) if p not in made)
        made.append(write_atomically(path, _page(student, rows[student.key])))
    return made


def _names(folder: Path, name: str):
    yield folder / f"{name}.html"
    yield from (folder / f"{name}_{k}.html" for k in range(2, 100_000))


def _page(student: Student, row: Row) -> str:
    title = html.escape(student.name or student.key)
    of = sum(mark.exercise.points for mark in row.marks)
    lines = "".join(
        f"<tr><td>{m.exercise.lesson}</td><td>{html.escape(re.sub('`', '', m.exercise.title))}</td><td>{m.points} of "
        f"{m.exercise.points}</td><td>{MARKS[m.state]} {html.escape(feedback(m))}</td></tr>"
        for m in row.marks
    )
    notes = "".join(f"<li>{html.escape(_harmless(note))}</li>" for note in row.notes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<style>body{font:1em/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}td,th{padding:.3em .8em;"
        "text-align:left;vertical-align:top;border-bottom:1px solid #ccc}table{border-collapse:collapse}</style>"
        f"<h1>{title}</h1><p>{row.points} of {of} points</p><table><tr><th>Lesson<th>Exercise<th>Points<th>Feedback</tr>{lines}"
        f"</table>{f'<h2>About the files</h2><ul>{notes}</ul>' if notes else ''}</html>\n"
    )
