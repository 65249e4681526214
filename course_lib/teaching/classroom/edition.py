"""Two editions of the lessons for a class: the students' without answers, and the instructor's with them."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

from course_lib import validate
from course_lib.files import NOTEBOOKS, write_atomically
from course_lib.teaching import checks
from course_lib.teaching.classroom.exercises import CHECKED, SOLUTION, Exercise, in_notebook, lessons
from course_lib.teaching.publish import claim_table, notes

OUTPUTS = ("keep", "clear")
ANSWERS = "from your instructor, after the due date"


def edition(
    out: Path,
    wanted: str | None = None,
    due: str | None = None,
    outputs: str = "clear",
    answers: str = ANSWERS,
    folder: Path = NOTEBOOKS,
) -> list[tuple[Path, str]]:
    """The files written into out/students and out/instructor, each with "wrote", "unchanged" or "kept (it was edited)".

    An existing notebook that is not as it would be written is left as it is. Raises ValueError for lessons that are none, texts
    of more than one line, or outputs that are not one of OUTPUTS, before anything is written.
    """
    validate.choice("outputs", outputs, OUTPUTS)
    for name, text in (("--due", due), ("--answers", answers)):
        if text is not None and (not text.strip() or not text.isprintable()):
            raise ValueError(f"{name} must be a line of text, got {text!r}")
    paths = lessons(wanted, folder)
    done = [_write(out / "students" / page.name, page.read_text(encoding="utf-8")) for page in sorted(folder.glob("*.md"))]
    claims = {made.id: made for made in claim_table.gather(lessons(None, folder))}
    for path in paths:
        said = notes.stored(path.name[:2], folder)
        if said:
            done.append(_write(out / "instructor" / _notes_file(path.name), said.filled(claims).text))
        notebook, each = json.loads(path.read_text(encoding="utf-8")), in_notebook(path)
        for kind, made in (
            ("students", for_students(notebook, each, due, outputs, answers)),
            ("instructor", for_instructor(notebook, each, _notes_file(path.name) if said else None)),
        ):
            done.append(_write(out / kind / path.name, json.dumps(made, indent=1, ensure_ascii=False) + "\n"))
    return done


def _notes_file(name: str) -> str:
    """Where the notes of the notebook of this name are, in the instructor's edition."""
    return f"notes/{name[:2]}.md"


def _write(path: Path, text: str) -> tuple[Path, str]:
    if path.exists():
        same = path.read_bytes() == text.encode()
        return path, "unchanged" if same else "kept (it was edited)"
    return write_atomically(path, text), "wrote"


def for_students(notebook: dict, exercises: list[Exercise], due: str | None, outputs: str, answers: str) -> dict:
    """A copy of a stored notebook for a class: no answer is in it, and its first cell of code asks for the name.

    It runs to its end: a lesson goes on with the library's function until the student's is right.
    """
    made = deepcopy(notebook)
    for cell in made["cells"]:
        source = "".join(cell["source"])
        if SOLUTION.fullmatch(source.strip()):
            become_text(cell, f"*The class's answer to this exercise: {answers}.*")
        elif cell["cell_type"] == "code" and (outputs == "clear" or CHECKED.search(source)):
            cell["outputs"], cell["execution_count"] = [], None
    first = next(k for k, cell in enumerate(made["cells"]) if cell["cell_type"] == "code")
    made["cells"].insert(first, code_cell("class", _first_cell(exercises, due)))
    return made


def _first_cell(exercises: list[Exercise], due: str | None) -> str:
    worth = ", ".join(f"{e.name} {e.points}" for e in exercises) or "no exercise here"
    lines = [
        "# Write your name between the quotation marks, run all cells, and hand in this file.",
        *([f"# Due: {due}"] if due else []),
        f"# Points: {worth}. Keep the names of the functions: they are found by them.",
        'STUDENT = ""',
    ]
    return "\n".join(lines)


def for_instructor(notebook: dict, exercises: list[Exercise], said: str | None = None) -> dict:
    """A copy of a stored notebook, outputs kept, with the answer's source, points and minutes under each exercise.

    Where `said` is the address of the lesson's notes, a link to them stands under the title.
    """
    made, known = deepcopy(notebook), {exercise.name: exercise for exercise in exercises}
    for cell in made["cells"]:
        found = SOLUTION.fullmatch("".join(cell["source"]).strip())
        if found and found[1] in known:
            exercise = known[found[1]]
            head = f"**Answer to `{exercise.name}`** ({exercise.points} points, {exercise.minutes} minutes)"
            mistakes = "".join(f"\n- {says}" for says in _check(exercise.name).mistakes)
            text = f"{head}\n\n```python\n{checks.solution(exercise.name).text}\n```\n\nMistakes known by name:\n{mistakes}"
            become_text(cell, text)
    if said:
        link = f"**For the instructor**: [notes on this lesson]({said}), with a plan and exam questions."
        made["cells"].insert(1, {"cell_type": "markdown", "id": "notes", "metadata": {}, "source": link})
    return made


def _check(name: str) -> checks.Check:
    return next(c for c in vars(checks).values() if isinstance(c, checks.Check) and c.name == name)


def become_text(cell: dict, text: str) -> None:
    """Turns a cell of code into one of text, in its place and with its id."""
    for name in ("outputs", "execution_count"):
        cell.pop(name, None)
    cell["cell_type"], cell["source"], cell["metadata"] = "markdown", text, {}


def code_cell(name: str, source: str) -> dict:
    """A cell of code that has not been run, with this id."""
    return {"cell_type": "code", "execution_count": None, "id": name, "metadata": {}, "outputs": [], "source": source}
