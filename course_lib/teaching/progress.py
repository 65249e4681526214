"""A student's progress: which exercises passed their checks, stored in one small file that no update changes."""

from __future__ import annotations

import html
import json
import re
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from filelock import FileLock

from course_lib.files import MY, NOTEBOOKS, write_atomically
from course_lib.teaching.course_map import LESSONS, link, written

FILE = MY / "progress.json"
LINK = re.compile(r'(\]\(|href=\\")([0-9]{2}_\w+\.ipynb|[A-Z]+\.md)')
"""A link from one file of notebooks/ to another, in Markdown or HTML, as a notebook's JSON has it."""


def passed(file: Path = FILE) -> dict[str, str]:
    """The exercises that passed, each with its first day (ISO 8601); none, with a line on stderr, where the file is damaged."""
    found = _read(file)
    if found is None:
        print(f"{file.name} could not be read", file=sys.stderr)
    return found or {}


def note(name: str, file: Path = FILE) -> None:
    """Stores that an exercise passed, the first time that it does; a failure to write is only reported on stderr.

    Any number of threads and processes may note at once. A damaged file is renamed, never deleted.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock"), timeout=10):
            before = _read(file)
            if before is None:
                before, aside = {}, _unused(file.with_suffix(".damaged.json"))
                file.replace(aside)
                print(f"{file.name} could not be read; it is kept as {aside.name}, and a new one begins", file=sys.stderr)
            if name not in before:
                write_atomically(file, json.dumps({"passed": before | {name: date.today().isoformat()}}, indent=1) + "\n")
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        print(f"progress is not kept: {error}", file=sys.stderr)


def _read(file: Path) -> dict[str, str] | None:
    """What `passed` answers; None where the file is damaged. Editors may have put a byte-order mark before it."""
    try:
        found = json.loads(file.read_bytes())["passed"]
        return {str(name): str(day) for name, day in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _unused(path: Path) -> Path:
    """The path, with a number before its suffix where there is such a file already."""
    names = (path, *(path.with_stem(f"{path.stem}{k}") for k in range(2, 1000)))
    return next(name for name in names if not name.exists())


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel, as opposed to a test or a script."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def exercises(notebooks: Path = NOTEBOOKS) -> dict[str, list[str]]:
    """The exercises of each stored lesson in their order: each NAME of a cell's `check.NAME(my_NAME)`."""
    found = {}
    for number, name in written().items():
        cells = json.loads((notebooks / name).read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        found[number] = list(dict.fromkeys(re.findall(r"\bcheck\.(\w+)\(my_\1\)", code)))
    return found


@dataclass(frozen=True)
class CourseProgress:
    """Shows as a table: each lesson, its exercises, and which have passed."""

    passed: dict[str, str]

    def rows(self) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """Number and title of each lesson, and each exercise with the day on which it passed, '' where it has not."""
        titles = {number: title for lessons in LESSONS.values() for number, title in lessons.items()}
        return [(n, titles[n], [(e, self.passed.get(e, "")) for e in names]) for n, names in exercises().items() if names]

    def __str__(self):
        lines = []
        for number, title, each in self.rows():
            done = sum(bool(day) for _, day in each)
            lines.append(
                f"{number} {title:28} {done} of {len(each)}   " + "  ".join(f"[{'x' if d else ' '}] {e}" for e, d in each)
            )
        done, of = (sum(f(day) for _, _, each in self.rows() for _, day in each) for f in (bool, lambda day: 1))
        return "\n".join([*lines, f"{done} of {of} exercises passed. Kept in {FILE.parent.name}/{FILE.name}."])

    __repr__ = __str__

    def _repr_html_(self):
        body = ""
        for number, title, each in self.rows():
            marks = " &nbsp; ".join(
                f'<span style="color:{"#009E73" if day else "inherit"}" title="{html.escape(day or "not yet")}">'
                f"{'✓' if day else '○'} {html.escape(name)}</span>"
                for name, day in each
            )
            left = 'style="text-align:left;padding:.2em .8em"'
            body += f"<tr><td {left}><b>{number} {html.escape(title)}</b></td><td {left}>{marks}</td></tr>"
        return f'<table style="font-size:1.1em;border-collapse:collapse"><caption>Exercises passed</caption>{body}</table>'


def progress(file: Path = FILE) -> CourseProgress:
    """The exercises of each lesson, and which of them have passed."""
    return CourseProgress(passed(file))


def start(number: str, folder: Path = MY) -> Path:
    """The path of the student's own copy of lesson `number`, such as "07", which no update overwrites.

    Its links lead to the copies in `folder`, and to notebooks/ for what has none there. An existing copy stays as it is.
    Raises ValueError for a lesson without a notebook.
    """
    files = written()
    if not isinstance(number, str) or number not in files:
        raise ValueError(f"number must be one of {', '.join(files)}, got {number!r}")
    copy = folder / files[number]
    if not copy.exists():
        text = (NOTEBOOKS / files[number]).read_text(encoding="utf-8")
        write_atomically(copy, LINK.sub(lambda found: found[1] + link(found[2], folder), text))
    return copy
