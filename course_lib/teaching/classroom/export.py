"""Lessons as assignments of other graders: nbgrader's source notebooks, and otter-grader's notebooks with their tests."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from types import ModuleType

from course_lib import validate
from course_lib.files import NOTEBOOKS, write_atomically
from course_lib.teaching import checks
from course_lib.teaching.checks.check import Check
from course_lib.teaching.classroom.edition import become_text, code_cell
from course_lib.teaching.classroom.exercises import CHECKED, SOLUTION, Exercise, in_notebook, lessons

KINDS = ("nbgrader", "otter")
SHOWN = re.compile(r"^verdict\Z", re.MULTILINE)
"""The end of an exercise's cell, which shows its verdict."""
GOES_ON = {"tags": ["raises-exception"]}
"""The metadata of a cell after whose error a notebook's other cells still run."""


def export(kind: str, out: str | Path, wanted: str | None = None, folder: Path = NOTEBOOKS) -> list[Path]:
    """The files of these lessons for "nbgrader", out/source/LESSON/LESSON.ipynb, or for "otter", out/LESSON with its tests.

    Raises ValueError for another kind or lessons that are none, and where a file is there already and differs.
    """
    validate.choice("--to", kind, KINDS)
    files: dict[Path, str] = {}
    for path in lessons(wanted, folder):
        notebook, each = json.loads(path.read_text(encoding="utf-8")), {e.name: e for e in in_notebook(path)}
        home = Path(out, "source", path.stem) if kind == "nbgrader" else Path(out, path.stem)
        cells = [made for cell in notebook["cells"] for made in _cells(cell, each, notebook["cells"], kind)]
        if kind == "otter":
            start = code_cell("otter", "import otter\n\ngrader = otter.Notebook()")
            cells = [cells[0], start, *cells[1:]]
            files |= {home / "tests" / f"{name}.py": otter_test(exercise) for name, exercise in each.items()}
        files[home / path.name] = json.dumps(notebook | {"cells": cells}, indent=1, ensure_ascii=False) + "\n"
    if edited := [path for path, text in files.items() if path.exists() and path.read_bytes() != text.encode()]:
        raise ValueError(f"DIR must hold no other file of the same name, got {', '.join(map(str, edited[:3]))}")
    return [write_atomically(path, text) for path, text in files.items()]


def _cells(cell: dict, exercises: dict[str, Exercise], lesson: list[dict], kind: str) -> list[dict]:
    """What a cell of a lesson becomes: that of an exercise two or three, one to write in and one that checks."""
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        return [cell]
    cell |= {"outputs": [], "execution_count": None}
    if SOLUTION.fullmatch(source.strip()):
        become_text(cell, "*An answer will be given after this assignment.*")
        return [cell]
    checked = CHECKED.search(source)
    if not checked or checked[1] not in exercises:
        return [cell]
    exercise = exercises[checked[1]]
    begin = source.rindex("\n", 0, checked.start()) + 1
    written, after = source[:begin].rstrip(), source[begin:].rstrip()
    return (_nbgrader if kind == "nbgrader" else _otter)(cell, exercise, written, after, lesson)


def _nbgrader(cell: dict, exercise: Exercise, written: str, after: str, lesson: list[dict]) -> list[dict]:
    answer = cell | {"source": with_answer(written, exercise.name, lesson)}
    answer["metadata"] = {"nbgrader": _metadata(f"my_{exercise.name}", solution=True)}
    test = code_cell(
        f"{exercise.name.replace('_', '-')}-check",
        f"{SHOWN.sub('display(verdict)', after)}\nassert verdict.right, str(verdict)",
    )
    test["metadata"] = GOES_ON | {"nbgrader": _metadata(f"check_{exercise.name}", points=exercise.points)}
    return [answer, test]


def _metadata(grade_id: str, solution: bool = False, points: int | None = None) -> dict:
    """nbgrader's metadata, in its third schema, of a cell to write in or of a locked one with points."""
    made = {"grade": not solution, "grade_id": grade_id, "locked": not solution, "schema_version": 3, "solution": solution}
    return made | {"task": False, "cell_type": "code"} | ({} if points is None else {"points": points})


def with_answer(source: str, name: str, lesson: list[dict]) -> str:
    """A cell's source with an answer in the place of the body of my_NAME, between the marks that nbgrader removes it by."""
    node = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == f"my_{name}"][-1]
    first = node.body[1 if ast.get_docstring(node) is not None and len(node.body) > 1 else 0]
    answer = ast.parse(checks_by_name()[name].solution.text).body[0]
    lines = checks_by_name()[name].solution.text.splitlines()
    body = lines[answer.body[ast.get_docstring(answer) is not None].lineno - 1 : answer.end_lineno]
    said = "\n".join("".join(cell["source"]) for cell in lesson if cell["cell_type"] == "code")
    imports = [f"    {line}" for line in _imports(checks_by_name()[name], said)]
    lines = source.splitlines()
    region = ["    ### BEGIN SOLUTION", *imports, *body, "    ### END SOLUTION"]
    return "\n".join([*lines[: first.lineno - 1], *region, *lines[node.end_lineno :]])


def _imports(check: Check, lesson: str) -> list[str]:
    """The imports of what the answer takes from the check's module and the lesson does not import by itself."""
    named = {node.id for node in ast.walk(ast.parse(check.solution.text)) if isinstance(node, ast.Name)}
    names = named & check.reference.__globals__.keys()
    found = []
    for name in sorted(names - {check.reference.__name__}):
        value = check.reference.__globals__[name]
        if re.search(rf"import .*\b{name}\b", lesson):
            continue
        if isinstance(value, ModuleType):
            found.append(f"import {value.__name__} as {name}")
        else:
            own = inspect.isroutine(value) or inspect.isclass(value)
            home = value.__module__ if own and value.__name__ == name else check.reference.__module__
            found.append(f"from {home} import {name}")
    return found


def _otter(cell: dict, exercise: Exercise, written: str, after: str, lesson: list[dict]) -> list[dict]:
    name = exercise.name.replace("_", "-")
    test = code_cell(f"{name}-otter", f'grader.check("{exercise.name}")')
    return [cell | {"source": written}, test, code_cell(f"{name}-after", after)]


def otter_test(exercise: Exercise) -> str:
    """The file of otter's test of an exercise: what the lesson goes on with, the library's function, gets no points."""
    code = (
        ">>> from inspect import unwrap\n>>> from course_lib.teaching import checks as check\n"
        f">>> assert not unwrap(my_{exercise.name}).__code__.co_filename.startswith('<solution of')\n"
        f">>> verdict = check.{exercise.name}(my_{exercise.name})\n>>> assert verdict.right, str(verdict)"
    )
    suite = {"cases": [{"code": code, "hidden": False, "locked": False}], "scored": True, "setup": "", "teardown": ""}
    test = {"name": exercise.name, "points": exercise.points, "suites": [suite | {"type": "doctest"}]}
    return f"OK_FORMAT = True\n\ntest = {test!r}\n"


def checks_by_name() -> dict[str, Check]:
    """The checks by the names of their exercises."""
    return {check.name: check for check in vars(checks).values() if isinstance(check, Check)}
