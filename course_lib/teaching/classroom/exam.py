"""Questions about several lessons as an exam on paper: versions that differ, and the keys apart."""

from __future__ import annotations

from itertools import chain, zip_longest
from pathlib import Path

from course_lib import validate
from course_lib.files import write_atomically
from course_lib.teaching.classroom.exercises import lessons
from course_lib.teaching.publish import quiz_page
from course_lib.teaching.quiz import Question, quiz

MOST_VERSIONS, TRIES = 26, 20


def exam(wanted: str | None, versions: int, folder: Path, n: int = 10, seed: int = 0) -> list[Path]:
    """The PDFs of an exam of n questions, exam_A.pdf with key_A.pdf and so on, one page each.

    Each lesson is asked about in turn; each version is drawn by a seed of its own. Raises ValueError for lessons that are none
    or have too few questions, for more versions than letters, and where n questions do not fit on a page.
    """
    validate.at_least("--versions", versions, 1, MOST_VERSIONS)
    validate.at_least("--n", n, 1)
    validate.at_least("--seed", seed, 0)
    numbers, done = [path.name[:2] for path in lessons(wanted)], []
    for k in range(versions):
        letter = chr(ord("A") + k)
        title = f"Exam, lessons {numbers[0]} to {numbers[-1]}, version {letter} ({seed})"
        pages = _fitting(numbers, n, seed * MOST_VERSIONS + k, title)
        for name, page in zip(("exam", "key"), pages):
            done.append(write_atomically(folder / f"{name}_{letter}.pdf", page))
    return done


def _fitting(numbers: list[str], n: int, seed: int, title: str) -> list[bytes]:
    """The two pages of a draw whose questions fit on one."""
    for draw in range(TRIES):
        questions = _drawn(numbers, n, seed + draw * 1_000_000)
        try:
            return [quiz_page.pdf(questions, title, [part]) for part in ("questions", "answers")]
        except ValueError:
            continue
    raise ValueError(f"--n must be fewer questions than {n}, which do not fit on a page")


def _drawn(numbers: list[str], n: int, seed: int) -> list[Question]:
    """n questions, of each lesson in turn: one about each source, and more only where these are too few."""
    each = [found for number in numbers if (found := _about(number, seed))]
    questions = list(filter(None, chain.from_iterable(zip_longest(*each))))
    first = list({question.source: question for question in reversed(questions)}.values())[::-1]
    questions = first + [question for question in questions if question not in first]
    if len(questions) < n:
        raise ValueError(f"--lessons must have {n} questions, got {len(questions)}")
    return questions[:n]


def _about(number: str, seed: int) -> list[Question]:
    try:
        return quiz(number, seed)
    except ValueError:  # a lesson without claims
        return []
