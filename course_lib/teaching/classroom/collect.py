"""What a class handed in, judged: each function runs shut in, and what it gives is compared here with a right answer's."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import torch

from course_lib.process import own_defaults
from course_lib.teaching.checks.check import Check
from course_lib.teaching.checks.outcome import Failure, one_line, outcome
from course_lib.teaching.classroom import submission
from course_lib.teaching.classroom.channel import decode, encode
from course_lib.teaching.classroom.exercises import Exercise
from course_lib.teaching.classroom.fresh import fresh
from course_lib.teaching.classroom.sandbox import Limits, Stopped, confined

LARGEST, MOST_FILES = 20 << 20, 50
"""Bytes of a notebook, and notebooks of a student."""


@dataclass(frozen=True)
class Mark:
    """What one exercise is worth: `state` is "right", "wrong", "not started" or "not handed in"; `says` the mistake, in a line.

    `uses` names what an answer has no need of, for a person to judge.
    """

    exercise: Exercise
    state: str
    says: str = ""
    uses: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        return self.exercise.points if self.state == "right" else 0


@dataclass(frozen=True)
class Row:
    """One student: the name of the folder or file, the marks in the order of the exercises, and lines about the files."""

    key: str
    marks: list[Mark] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        return sum(mark.points for mark in self.marks)


def collect(
    handed_in: dict[str, list[Path]], exercises: list[Exercise], seed: int, limits: Limits, folder: Path
) -> Iterator[Row]:
    """A row for each student, given their notebooks by name, in that order.

    The checks' data are drawn with `seed`. No submission can see the files of `folder`.
    """
    torch.set_num_threads(1)
    judges = {name: Judge(check) for name, check in fresh(seed).items()}
    for exercise in exercises:  # once, before the work is shared out
        judges[exercise.name].get_ready()
    work = partial(_row, exercises, judges, limits, folder)
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork"), _WORK.append, (work,)) as pool:
        yield from pool.map(_do, handed_in.items())


_WORK: list = []
"""In a process of the pool, a copy of the one that collects: what it does for each student."""


def _do(student: tuple[str, list[Path]]) -> Row:
    return _WORK[0](student)


class Judge:
    """A check that computes what its own functions give only once, in this process, which runs nobody else's."""

    def __init__(self, check: Check):
        self.check, self.measure = check, cache(outcome)

    def get_ready(self) -> None:
        with own_defaults():
            for case in self.check.cases:
                self.measure(case.run, self.check.reference)

    def mark(self, said: bytes) -> tuple[str, str]:
        """State and mistake, by the outcomes that were sent back. Raises ValueError where these are none."""
        with own_defaults():
            verdict = self.check.judge(decode(said, len(self.check.cases)), self.measure)
        faults = [line[2:] for line in verdict.lines if line.startswith("✗")]
        return verdict.state, verdict.diagnosis or (faults[0] if faults else "")


def _row(
    exercises: list[Exercise], judges: dict[str, Judge], limits: Limits, folder: Path, student: tuple[str, list[Path]]
) -> Row:
    """One student's row, whatever is wrong with the notebooks."""
    key, paths = student
    homes: dict[str, tuple[Path, tuple[str, ...]]] = {}
    shown = {name: {fn.__name__ for fn in judge.check.shown} for name, judge in judges.items()}
    notes = [f"more than {MOST_FILES} notebooks"] if len(paths) > MOST_FILES else [] if paths else ["there is no notebook"]
    budget = Budget(limits)
    for path in sorted(paths, key=_age)[:MOST_FILES]:
        try:
            with budget.spending():
                found, unread = survey(path, exercises, shown, limits, folder)
            said = [f"the {name} of {homes[name][0].name}, which is older, does not count" for name in found if name in homes]
            said += unread if found or unread else ["no function of these exercises is in it"]
            notes += [f"{path.name}: {line}" for line in said]
            homes |= {name: (path, used) for name, used in found.items()}
        except (Stopped, ValueError, OSError) as error:
            notes.append(f"{path.name}: {one_line(str(error))}")
    marks = []
    for exercise in exercises:
        path, used = homes.get(exercise.name, (None, ()))
        state, says = _judged(judges[exercise.name], path, limits, folder, budget) if path else ("not handed in", "")
        marks.append(Mark(exercise, state, one_line(says), used))
    return Row(key, marks, tuple(map(one_line, notes)))


def _age(path: Path) -> tuple[float, str]:
    return path.lstat().st_mtime, path.name


class Budget:
    """What the notebooks of one student may take altogether, so that one who makes a class wait does so for minutes only."""

    def __init__(self, limits: Limits):
        self.limits, self.spent = limits, 0.0

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Raises Stopped where nothing is left."""
        if self.spent > self.limits.whole:
            raise Stopped(f"it was not run: what stands before it took more than {self.limits.whole:g} s altogether")
        begun = _processor_seconds()
        try:
            yield
        except Stopped:
            self.spent += self.limits.wait
            raise
        finally:
            self.spent += _processor_seconds() - begun


def _processor_seconds() -> float:
    """Of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _judged(judge: Judge, path: Path, limits: Limits, folder: Path, budget: Budget) -> tuple[str, str]:
    try:
        with budget.spending():
            said = confined(partial(outcomes, judge.check), path, limits, hidden=[folder])
        return judge.mark(said)
    except Stopped as stopped:
        return "wrong", str(stopped)
    except ValueError:
        return "wrong", "its results cannot be read"


def survey(path: Path, exercises: list[Exercise], shown: dict, limits: Limits, folder: Path) -> tuple[dict, list[str]]:
    """The exercises that a notebook has a function for, each with what it uses, and a line about each cell that is no Python.

    Raises ValueError for what is no notebook, and Stopped where reading takes too long.
    """
    if not path.is_file() or path.is_symlink():
        raise ValueError("it is no file of its own")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MB")
    found = json.loads(confined(partial(_surveyed, [e.name for e in exercises], shown), path, limits, hidden=[folder]))
    if "error" in found:
        raise ValueError(found["error"])
    return {name: tuple(map(one_line, used)) for name, used in found["uses"].items()}, found["unread"][:3]


def _surveyed(names: Iterable[str], shown: dict[str, set[str]], content: bytes) -> bytes:
    """In the process that is shut in, which runs nothing of the notebook."""
    try:
        found, unread = submission.statements(content)
        parts = {name: submission.part(found, f"my_{name}") for name in names}
        used = {name: submission.uses(each, shown[name]) for name, each in parts.items() if each}
        return json.dumps({"uses": used, "unread": unread}).encode()
    except (ValueError, RecursionError, MemoryError) as error:
        return json.dumps({"error": str(error) or type(error).__name__}).encode()


def outcomes(check: Check, content: bytes) -> bytes:
    """In the process that is shut in: what the notebook's own function gives in each case of the check."""
    try:
        fn = submission.load(content, f"my_{check.name}")
    except BaseException as error:
        failed = Failure(one_line(f"its part of the notebook raised {type(error).__name__}: {error}"))
        return encode([failed] * len(check.cases))
    with own_defaults():
        return encode([outcome(case.run, fn) for case in check.cases])
