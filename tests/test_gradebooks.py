"""Points on their way to Canvas and Moodle: read as these read them, by what their documentation and sources say."""

import csv
import io
import re

import pytest

from course_lib.teaching.classroom import grades, roster
from course_lib.teaching.classroom.collect import Mark, Row
from course_lib.teaching.classroom.exercises import Exercise

EXERCISES = [Exercise("01", "add_noise", "`add_noise`", 1, 5), Exercise("14", "ddim_sampler", "the DDIM sampler", 2, 10)]
JANE = Row("", [Mark(EXERCISES[0], "right"), Mark(EXERCISES[1], "wrong", "alpha; its root, too")])
ANN = Row("", [Mark(EXERCISES[0], "not started"), Mark(EXERCISES[1], "right")])

CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,01 add_noise (4711),Current Score
    Points Possible,,,,,1.00,(read only)
"Doe, Jane",903,s17,jdoe@uni.example,Section A,,
"Lee, Ann",904,s18,alee@uni.example,Section A,,
"Student, Test",905,,,Section A,,
"""
MOODLE = """First name,Last name,ID number,Institution,Department,Email address,Course total (Real)
Jane,Doe,17,,,jdoe@uni.example,-
Ann,Lee,,,,alee@uni.example,-
"""


def canvas_reads(text, students, assignments):
    """Points by student and assignment, and the points possible, as Canvas imports a gradebook.

    canvas-lms, lib/gradebook_importer.rb: the header's first columns, then assignments by "title (id)" or title; a row of
    points; a student by ID, then SIS user ID, then SIS login ID, then name, each within the course.
    """
    head, *lines = csv.reader(io.StringIO(text))
    assert len(head) > 3 and "Student" in head[0] and "ID" in head[1]
    assert re.search(r"SIS\s+User\s+ID", head[2]) and re.search(r"SIS\s+Login\s+ID", head[3]) and "Section" in head[4]
    titles = [(m := re.fullmatch(r"(.*)\s\((\d+)\)", t)) and assignments[int(m[2])] or t for t in head[5:]]
    possible, found = {}, {}
    for line in lines:
        if "Points Possible" in line[0]:
            possible = dict(zip(titles, map(float, line[5:])))
            continue
        by = []
        for field, value in (("id", line[1]), ("sis", line[2]), ("login", line[3]), ("name", line[0])):
            by = by or [student for student in students if value and student[field] == value]
        assert by, f"Canvas asks who {line[0]} is"
        found[by[0]["name"]] = dict(zip(titles, map(float, line[5:])))
    return found, possible


def moodle_reads(text, users, identify):
    """Grades and feedback by user and column, as Moodle imports them, mapped from the column `identify`.

    docs.moodle.org, Grade import, "CSV import"; moodle, grade/import/csv/classes/load_data.php: an unknown user ends the
    import, and a row without one is given to the user of the row before.
    """
    head, *lines = csv.reader(io.StringIO(text))
    found, user = {}, None
    for line in lines:
        if (value := line[head.index(identify)].strip()) != "":
            user = next(u for u in users if value in (u["idnumber"], u["email"]))
        for title, cell in zip(head, line):
            if title in [exercise.label for exercise in EXERCISES]:
                assert float(cell) <= 100
                found.setdefault(user["email"], {})[title] = float(cell)
            elif title.endswith(" (feedback)"):
                found[user["email"]][title] = cell
    return found


def students(tmp_path, text, *names):
    (tmp_path / "roster.csv").write_text(text)
    listed = roster.read(tmp_path / "roster.csv")
    return roster.matched({name: [] for name in names}, listed)[1][: len(listed)]


def test_canvas_takes_the_table_for_its_own_roster(tmp_path):
    listed = students(tmp_path, CANVAS, "doejane_903_77_14_ddim", "leeann_LATE_904_78_14_ddim")
    assert [s.canvas for s in listed] == ["903", "904"] and all(s.key for s in listed)
    text = grades.table(listed, {listed[0].key: JANE, listed[1].key: ANN}, EXERCISES, "canvas")
    known = [
        {"id": "904", "sis": "s18", "login": "alee@uni.example", "name": "Lee, Ann"},
        {"id": "903", "sis": "s17", "login": "jdoe@uni.example", "name": "Doe, Jane"},
    ]
    found, possible = canvas_reads(text, known, {})
    assert possible == {"01 add_noise": 1, "14 ddim_sampler": 2}
    assert found["Doe, Jane"] == {"01 add_noise": 1, "14 ddim_sampler": 0}
    assert found["Lee, Ann"] == {"01 add_noise": 0, "14 ddim_sampler": 2}


def test_the_number_of_a_school_is_not_taken_for_that_of_canvas(tmp_path):
    """Canvas's own 903 is another student than the school's."""
    (jane,) = students(tmp_path, "id,name\n903,Jane Doe\n", "903")
    text = grades.table([jane], {"903": JANE}, EXERCISES, "canvas")
    known = [
        {"id": "903", "sis": "5", "login": "x", "name": "Somebody Else"},
        {"id": "6", "sis": "903", "login": "y", "name": "Jane M. Doe"},
    ]
    assert list(canvas_reads(text, known, {})[0]) == ["Jane M. Doe"]


def test_moodle_takes_the_table_for_its_own_roster(tmp_path):
    listed = students(tmp_path, MOODLE, "Jane Doe_2201_assignsubmission_file", "Ann Lee_2202_assignsubmission_file")
    assert [s.name for s in listed] == ["Jane Doe", "Ann Lee"] and all(s.key for s in listed)
    text = grades.table(listed, {listed[0].key: JANE, listed[1].key: ANN}, EXERCISES, "moodle")
    users = [{"idnumber": "17", "email": "jdoe@uni.example"}, {"idnumber": "", "email": "alee@uni.example"}]
    found = moodle_reads(text, users, "Email address")
    assert found["jdoe@uni.example"]["01 add_noise"] == 1 and found["alee@uni.example"]["14 ddim_sampler"] == 2
    assert found["jdoe@uni.example"]["14 ddim_sampler (feedback)"] == "wrong: alpha; its root, too"
    assert "ID number" not in text.splitlines()[0], "Ann has none, and her marks would be Jane's"


def test_a_table_for_moodle_says_which_column_is_missing(tmp_path):
    listed = students(tmp_path, "name\nJane Doe\n", "Jane Doe")
    with pytest.raises(ValueError, match="--roster must have one of ID number, Email address, Username for each student"):
        grades.table(listed, {}, EXERCISES, "moodle")
