"""The course as a static site: a page for each lesson, an index with thumbnails and a search, a playground, the claims.

No kernel, no server, nothing fetched: a folder of files that opens from disk.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import quote

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert.filters.markdown_mistune import MarkdownWithMath
from nbformat import NotebookNode
from PIL import Image

from course_lib.files import NOTEBOOKS, WORK, write_atomically
from course_lib.teaching.course_map import LESSONS
from course_lib.teaching.publish import claim_table
from course_lib.teaching.publish.equations import Renderer
from course_lib.teaching.publish.export import page
from course_lib.teaching.publish.first_page import SCRIPT, first_page
from course_lib.teaching.publish.playground import playground
from course_lib.widgets.page import script_json

HERE = Path(__file__).parent / "page"
THUMBNAIL = (360, 200)
MAX_BYTES = 15_000_000
"""The largest page in bytes: a phone must be able to open it."""


@dataclass(frozen=True)
class Lesson:
    """One card of the index: number, file of the page, title, part of the course, first sentence, picture (PNG in base64)."""

    number: str
    file: str
    title: str
    part: str
    about: str
    picture: str

    @property
    def href(self) -> str:
        """The address of its page, as a link has it."""
        return quote(self.file)


def site(folder: Path = WORK / "build/site", notebooks: Path = NOTEBOOKS) -> Path:
    """The path of the index of the site, written into `folder`. Raises ValueError for a page of more than MAX_BYTES."""
    stored = [(path, nbformat.read(path, as_version=4)) for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))]
    lessons = [_lesson(path, notebook) for path, notebook in stored]
    pages = {"claims.html": _plain_page("The claims", _markdown(claim_table.page(path for path, _ in stored)))}
    pages["playground.html"] = _plain_page("Playground", playground())
    for lesson, (_, notebook) in zip(lessons, stored):
        pages[lesson.file] = page(notebook).replace("<main>", f"<main>\n{_navigation(lesson, lessons)}", 1)
    links = {path.name: lesson.href for (path, _), lesson in zip(stored, lessons)} | {"CLAIMS.md": "claims.html"}
    pages = {name: _with_links_to_pages(html, links) for name, html in pages.items()}
    found = [entry for lesson, (_, notebook) in zip(lessons, stored) for entry in sections(lesson, notebook)]
    first, pages[SCRIPT] = first_page(lessons[0].href)
    pages["index.html"] = _render("all_lessons.html.j2", first=first, lessons=lessons, parts=LESSONS, found=script_json(found))
    for name, html in pages.items():
        if len(html.encode()) > MAX_BYTES:
            raise ValueError(f"a page must be at most {MAX_BYTES / 1e6:g} MB, got {len(html.encode()) / 1e6:.1f} MB of {name}")
    for name, html in pages.items():
        write_atomically(folder / name, html)
    return folder / "index.html"


def _with_links_to_pages(html: str, links: dict[str, str]) -> str:
    """The page with its links to notebooks and to the claims replaced by links to their pages."""
    return re.sub(r'href="(?:\./)?([0-9]{2}_\w+\.ipynb|CLAIMS\.md)', lambda found: f'href="{links[found[1]]}', html)


def sections(lesson: Lesson, notebook: NotebookNode) -> list[dict[str, str]]:
    """The search's entries: each section's heading, its address in the page, its lesson, and its text in lower case."""
    found = [{"title": lesson.title, "at": lesson.href, "lesson": lesson.number, "words": lesson.title.lower()}]
    for cell in notebook.cells:
        text = cell.source if cell.cell_type == "markdown" else ""
        for block in re.split(r"^(?=#{2,3} )", text, flags=re.MULTILINE):
            heading = re.match(r"#{2,3} (.*)", block)
            if heading:
                title = _plain(heading[1])
                at = f"{lesson.href}#{_anchor(heading[1])}"
                found.append({"title": title, "at": at, "lesson": lesson.number, "words": ""})
            found[-1]["words"] += " " + _plain(block).lower()
    return found


def _plain(text: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+", " ", re.sub(r"[*_`#$\\{}]", "", text)).strip()


def _anchor(heading: str) -> str:
    """The id that nbconvert gives a heading."""
    found = re.search(r'id="([^"]+)"', MarkdownWithMath(renderer=Renderer(escape=False)).render(f"## {heading}"))
    return unescape(found[1]) if found else ""


def _lesson(path: Path, notebook: NotebookNode) -> Lesson:
    number = path.stem[:2]
    part = next(part for part, lessons in LESSONS.items() if number in lessons)
    opening = notebook.cells[0].source
    goals = re.search(r"\*\*You will be able to\*\* (.*?)(?:\n\n|\Z)", opening, re.DOTALL)
    about = _plain(goals[1]) if goals else _plain(opening.split("\n\n")[-1])
    return Lesson(number, f"{path.stem}.html", LESSONS[part][number], part, about[:1].upper() + about[1:], _thumbnail(notebook))


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


def _navigation(lesson: Lesson, lessons: list[Lesson]) -> str:
    """The navigation at a page's top: the lesson before, all lessons, the lesson after."""
    k = lessons.index(lesson)
    before, after = lessons[k - 1] if k else None, lessons[k + 1] if k + 1 < len(lessons) else None
    return _render("navigation.html.j2", before=before, after=after)


def _plain_page(title: str, content: str) -> str:
    return _render(
        "plain.html.j2", title=title, content=content, navigation=_render("navigation.html.j2", before=None, after=None)
    )


def _markdown(text: str) -> str:
    return MarkdownWithMath(renderer=Renderer(escape=False)).render(text)


def _render(name: str, **values) -> str:
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(name).render(css=(HERE / "page.css").read_text(encoding="utf-8"), **values)
