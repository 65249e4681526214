"""A quiz as text, as a web page and as a PDF: the questions on the first page, the answers on the second."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

import matplotlib
from jinja2 import Environment, FileSystemLoader
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font

from course_lib import validate
from course_lib.teaching.course_map import LESSONS
from course_lib.teaching.quiz import Question

HERE = Path(__file__).parent / "page"
WIDTH, HEIGHT, MARGIN = 595.3, 841.9, 36.0
"""A page of A4 and its margin, in points."""
SIZES = tuple(size / 4 for size in range(40, 25, -1))
"""The sizes of type that are tried, in points: the largest is taken that fits, from 10 down to 6.5."""
LEADING, CODE, INDENT = 1.3, 0.88, 2.1
"""A line's height, the size of code, and the indent of a question's text, in units of the size of type."""
FONTS = {"plain": "DejaVuSans", "bold": "DejaVuSans-Bold", "code": "DejaVuSansMono"}
"""The fonts of the PDF, which Matplotlib ships."""


def title(lesson: str, seed: int) -> str:
    """The heading of a quiz, which says how to make it again."""
    name = next(lessons[lesson] for lessons in LESSONS.values() if lesson in lessons)
    return f"Lesson {lesson}, {name}: quiz {seed}"


def text(questions: Sequence[Question], answers: bool = False) -> str:
    """The questions for a terminal, and after them the answers where these are asked for."""
    lines = []
    for k, question in enumerate(_some(questions), 1):
        lines += [f"{k}. {question.text}".replace("\n", "\n   "), *(f"      {line}" for line in question.code.splitlines())]
        lines += [f"   {letter}  {choice}" for letter, choice in question.lettered] + [""]
    lines += ["Answers", ""] if answers else []
    lines += (
        [f"{k}. {q.letters}  {q.solution}".rstrip() + f"\n   {q.why}" for k, q in enumerate(questions, 1)] if answers else []
    )
    return "\n".join(lines).rstrip()


def page(questions: Sequence[Question], title: str) -> str:
    """One self-contained page of HTML, which prints as two pages of A4; on the screen the answers are folded.

    Raises ValueError where the questions do not fit on a page.
    """
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    size, of_answers = (_fitted(make, _some(questions), title)[0] for make in (_questions, _answers))
    return environment.get_template("quiz.html.j2").render(
        questions=questions, title=title, size=size, of_answers=of_answers, leading=LEADING, code=CODE, margin=MARGIN
    )


def pdf(questions: Sequence[Question], title: str, parts: Sequence[str] = ("questions", "answers")) -> bytes:
    """A PDF of a page of A4 for each of the parts. Raises ValueError where the questions do not fit on a page."""
    makers = {"questions": _questions, "answers": _answers}
    pages = [_fitted(makers[part], _some(questions), title)[1] for part in parts]
    out = io.BytesIO()
    fonts = {name: FontProperties(fname=_font_file(name)) for name in FONTS}
    with matplotlib.rc_context({"pdf.fonttype": 42}), PdfPages(out, metadata={"Title": title, "CreationDate": None}) as file:
        for lines in pages:
            figure, y = Figure((WIDTH / 72, HEIGHT / 72)), MARGIN
            for line in lines:
                y += line.height
                for run in line.runs:
                    place = ((MARGIN + run.x) / WIDTH, 1 - y / HEIGHT)
                    figure.text(*place, run.text, fontproperties=fonts[run.font], fontsize=run.size, parse_math=False)
            file.savefig(figure)
    return out.getvalue()


def _some(questions: Sequence[Question]) -> Sequence[Question]:
    return validate.filled("questions", questions, Question)


# The two pages, set in lines


@dataclass(frozen=True)
class Run:
    """Text in one font, at a distance x from the left margin; x and size in points."""

    x: float
    text: str
    font: str
    size: float


@dataclass(frozen=True)
class Line:
    """The runs on one base line, which is `height` points below the last one."""

    height: float
    runs: tuple[Run, ...] = ()


def _fitted(make: Callable[..., Iterator[Line]], questions: Sequence[Question], title: str) -> tuple[float, list[Line]]:
    """The largest size of type in which the lines fit on a page, and the lines."""
    for size in SIZES:
        lines = list(make(questions, title, size))
        if sum(line.height for line in lines) <= HEIGHT - 2 * MARGIN:
            return size, lines
    raise ValueError(f"questions must fit on one page, got {len(questions)} that do not: ask for fewer")


def _questions(questions: Sequence[Question], title: str, size: float) -> Iterator[Line]:
    yield from _heading(title, size)
    for k, question in enumerate(questions, 1):
        yield from _numbered(k, question.text, size)
        for line in question.code.splitlines():
            yield from _set(line, size * CODE, "code", INDENT * size)
        if question.short:
            row = (f"{letter} {choice}".replace(" ", "\N{NO-BREAK SPACE}") for letter, choice in question.lettered)
            yield from _set((5 * "\N{NO-BREAK SPACE}" + " ").join(row), size, x=INDENT * size)
        else:
            for letter, choice in question.lettered:
                yield from _hanging(letter, choice, size, INDENT * size, "plain")


def _answers(questions: Sequence[Question], title: str, size: float) -> Iterator[Line]:
    yield from _heading(f"{title}, answers", size)
    for k, question in enumerate(questions, 1):
        yield from _numbered(k, f"{question.letters}\N{NO-BREAK SPACE} {question.solution}".strip(), size)
        yield from _set(question.why, size, x=INDENT * size)


def _heading(title: str, size: float) -> Iterator[Line]:
    yield from _set(title, 1.4 * size, "bold")


def _numbered(k: int, text: str, size: float) -> Iterator[Line]:
    yield Line(0.6 * size)
    yield from _hanging(f"{k}.", text, size, 0, "bold")


def _hanging(mark: str, text: str, size: float, x: float, font: str) -> Iterator[Line]:
    """The text, to the right of its mark."""
    lines = list(_set(text, size, x=x + INDENT * size)) or [Line(LEADING * size)]
    yield Line(lines[0].height, (Run(x, mark, font, size), *lines[0].runs))
    yield from lines[1:]


def _set(text: str, size: float, font: str = "plain", x: float = 0) -> Iterator[Line]:
    """The text in lines of the page's width, broken at spaces, or within a word that is longer than a line."""
    room, known = (WIDTH - 2 * MARGIN - x) / size, get_font(_font_file(font)).get_charmap()
    put = lambda line: Line(LEADING * size, (Run(x, line.rstrip(), font, size),))
    for paragraph in text.splitlines():
        paragraph = "".join(letter if ord(letter) in known else "\N{REPLACEMENT CHARACTER}" for letter in paragraph)
        line = ""
        for word in re.split(r"(?<=[^ ] )(?<!± )(?=[^ %±])", paragraph):
            if line and _width(line, font) + _width(word.rstrip(), font) > room:
                yield put(line)
                line = ""
            while _width(word.rstrip(), font) > room:
                fits = max(1, bisect_right([*accumulate(_advance(letter, font) for letter in word)], room))
                yield put(word[:fits])
                word = word[fits:]
            line += word
        yield put(line)


def _width(text: str, font: str) -> float:
    """The width of a text in units of the size of type."""
    return sum(_advance(letter, font) for letter in text)


@cache
def _advance(letter: str, font: str) -> float:
    face = get_font(_font_file(font))
    face.set_size(100, 72)
    return face.load_char(ord(letter)).linearHoriAdvance / 65536 / 100


@cache
def _font_file(name: str) -> str:
    return str(Path(matplotlib.get_data_path()) / f"fonts/ttf/{FONTS[name]}.ttf")
