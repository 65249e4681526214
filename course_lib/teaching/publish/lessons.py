"""A lesson as the site has it: its notebook, and what stands on its card."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nbformat import NotebookNode
from PIL import Image

from course_lib.teaching.claims import MIME
from course_lib.teaching.course_map import LESSONS
from course_lib.teaching.publish.text import plain

THUMBNAIL = (360, 200)


@dataclass(frozen=True)
class Lesson:
    """A stored notebook and its card on the index: number, title, part, first sentence, picture (PNG in base64)."""

    name: str
    notebook: NotebookNode
    title: str
    part: str
    about: str
    picture: str

    @property
    def number(self) -> str:
        return self.name[:2]

    @property
    def file(self) -> str:
        return f"{self.name}.html"

    @property
    def href(self) -> str:
        """The address of its page, as a link has it."""
        return quote(self.file)

    @property
    def line(self) -> str:
        """What stands on the card of a link to it: its title, and the first of its goals."""
        return f"{self.number} {self.title}: {re.split(r'[;.](?: |$)', self.about)[0]}."

    @property
    def claims(self) -> list[tuple[str, str]]:
        """The id of each of its claims, and the address of the cell that measures it."""
        outputs = ((cell, output) for cell in self.notebook.cells for output in cell.get("outputs", ()))
        found = ((cell.id, output.get("data", {}).get(MIME)) for cell, output in outputs)
        return [(claim["id"], f"{self.href}#cell-id={cell}") for cell, claim in found if claim]


def lesson_of(path: Path, notebook: NotebookNode) -> Lesson:
    """The lesson of a stored notebook; `notebook` is what of it its page shows."""
    part = next(part for part, lessons in LESSONS.items() if path.stem[:2] in lessons)
    opening = notebook.cells[0].source
    goals = re.search(r"\*\*You will be able to\*\* (.*?)(?:\n\n|\Z)", opening, re.DOTALL)
    about = plain(goals[1]) if goals else plain(opening.split("\n\n")[-1])
    title = LESSONS[part][path.stem[:2]]
    return Lesson(path.stem, notebook, title, part, about[:1].upper() + about[1:], _thumbnail(notebook))


def _thumbnail(notebook: NotebookNode) -> str:
    """The lesson's widest landscape picture, as a small PNG in base64; '' where it has no picture."""
    pictures = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            encoded = [data["image/png"]] if "image/png" in data else []
            encoded += re.findall(r'src="data:image/png;base64,([^"]+)"', data.get("text/html", "") or "")
            pictures += [Image.open(io.BytesIO(base64.b64decode(text))) for text in encoded]
    if not pictures:
        return ""
    landscape = lambda p: p.width * p.height > 60_000 and 1.2 * p.height < p.width < 2.6 * p.height
    picture = max(pictures, key=lambda p: (landscape(p), p.width)).convert("RGB")
    picture.thumbnail(THUMBNAIL)
    out = io.BytesIO()
    picture.quantize(64).save(out, format="png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
