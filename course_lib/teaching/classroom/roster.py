"""Who handed in what: a folder of submissions, and the list of a class."""

from __future__ import annotations

import csv
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

COLUMNS = {
    "id": ("id", "student id", "id number", "idnumber"),
    "name": ("name", "student", "full name", "fullname"),
    "first": ("first name", "firstname"),
    "last": ("last name", "lastname", "surname"),
    "canvas": ("canvas id",),
    "sis": ("sis", "sis user id"),
    "login": ("login", "sis login id", "username"),
    "email": ("email", "email address"),
    "section": ("section",),
}
"""The columns of a roster, each with the headings that it may have, such as those of an export from Canvas or Moodle."""

IGNORED = {".ipynb_checkpoints", ".git", "__MACOSX"}
"""Folders that programs leave behind."""
SHORTEST = 3
"""The fewest letters of an id or a name that may stand within a longer file name."""


@dataclass(frozen=True)
class Student:
    """One student of a class, as the roster has them; `key` is the name of what they handed in, '' where that is nothing.

    `id` is the school's number, and `canvas` that by which Canvas knows the student.
    """

    id: str = ""
    name: str = ""
    canvas: str = ""
    sis: str = ""
    login: str = ""
    email: str = ""
    section: str = ""
    key: str = ""


def handed_in(folder: Path) -> dict[str, list[Path]]:
    """The notebooks of each folder, and each file, in a folder of submissions, by its name. Links are not followed.

    Raises ValueError where it is no folder, or nothing is in it.
    """
    if not folder.is_dir():
        raise ValueError(f"FOLDER must be a folder of submissions, got {folder}")
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.name not in IGNORED):
        if path.is_dir() and not path.is_symlink():
            found[path.name] = sorted(each for each in path.rglob("*") if _is_notebook(each.relative_to(folder)))
        elif _is_notebook(Path(path.name)):
            found[path.stem] = [*found.get(path.stem, []), path]
    if not found:
        raise ValueError(f"FOLDER must hold a folder or a notebook of each student, got {folder}, which holds none")
    return found


def _is_notebook(path: Path) -> bool:
    return path.suffix.lower() == ".ipynb" and not IGNORED & set(path.parts)


def read(path: Path) -> list[Student]:
    """The students of a roster, a CSV file with a column "id" or a name at least, such as an export of grades.

    The "ID" of an export from Canvas is Canvas's own. Raises ValueError for a roster with neither.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    headings = {(heading or "").strip().lower(): heading for heading in (rows[0] if rows else ())}
    where = {name: next((headings[h] for h in known if h in headings), None) for name, known in COLUMNS.items()}
    if "sis login id" in headings:
        where |= {"canvas": where["id"]}
    if not where["id"] and not where["name"] and not where["last"]:
        raise ValueError(
            f"--roster must have a column id or name, got {path} with {', '.join(filter(None, headings)) or 'none'}"
        )
    students = [_student({name: (row[h] or "").strip() if h else "" for name, h in where.items()}) for row in rows]
    return [s for s in students if (s.id or s.name) and not s.name.lower().startswith(("points possible", "student, test"))]


def _student(said: dict[str, str]) -> Student:
    """The student of a row, whose first and last name may stand apart."""
    first, last = said.pop("first"), said.pop("last")
    return Student(**said | {"name": said["name"] or f"{first} {last}".strip()})


def matched(submitted: dict[str, list[Path]], students: list[Student]) -> tuple[dict[str, list[Path]], list[Student]]:
    """The notebooks by students' keys, and the students: those of the roster in its order, then who is not in it.

    A submission is a student's whose id, login or name is its own name or stands in it as a whole. Where it may be that of two
    students it is nobody's: it comes last, under its own name.
    """
    notebooks: dict[str, list[Path]] = {}
    taken: dict[int, str] = {}
    strangers = []
    for key, paths in submitted.items():
        owners = [k for k, student in enumerate(students) if _is_of(key, student)]
        owner = owners[0] if len(owners) == 1 else None
        home = taken.setdefault(owner, key) if owner is not None else key
        notebooks[home] = [*notebooks.get(home, []), *paths]
        strangers += [Student(name=key, key=key)] if owner is None else []
    known = [Student(**{**vars(student), "key": taken.get(k, "")}) for k, student in enumerate(students)]
    return notebooks, known + strangers


def _is_of(key: str, student: Student) -> bool:
    words = _words(key)
    ours = (student.id, student.sis, student.login, student.email.partition("@")[0], student.name)
    said = [_words(each) for each in ours]
    turned = _words(" ".join(reversed(student.name.split(","))))
    squeezed = ["".join(name) for name in (said[-1], turned)]
    whole = [one for one in (*said, turned) if len("".join(one)) >= SHORTEST and _within(one, words)]
    return bool(whole) or words in said or bool(words) and words[0] in filter(None, squeezed)


def _within(part: list[str], whole: list[str]) -> bool:
    return any(whole[k : k + len(part)] == part for k in range(len(whole) - len(part) + 1))


def _words(text: str) -> list[str]:
    """Letters and digits, without accents and capitals."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c)))
