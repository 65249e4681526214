"""The course as a static site: every lesson a page, an index with the map, thumbnails and a search, a playground, the claims.

No kernel, no server, nothing fetched: a folder of files that opens from disk.
"""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert.filters.markdown_mistune import MarkdownWithMath
from nbformat import NotebookNode
from PIL import Image

from course_lib import claims
from course_lib.course_map import LESSONS
from course_lib.notebooks import FOLDER, ROOT
from course_lib.notebooks.address import write
from course_lib.notebooks.equations import Renderer
from course_lib.notebooks.export import page
from course_lib.notebooks.playground import playground

HERE = Path(__file__).parent / "page"
THUMBNAIL = (360, 200)
MOST = 15_000_000
"""Bytes of a page at most: what a phone can be asked to open."""


@dataclass(frozen=True)
class Lesson:
    """One card of the index: where the page is, its title, the part of the course, the first sentence, a picture of it."""

    number: str
    file: str
    title: str
    part: str
    about: str
    picture: str


def site(folder: Path = ROOT / "build/site", notebooks: Path = FOLDER) -> Path:
    """Writes the site of the stored notebooks into `folder` and returns its index. Raises ValueError for a page over MOST."""
    stored = [(path, nbformat.read(path, as_version=4)) for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))]
    lessons = [_lesson(path, notebook) for path, notebook in stored]
    pages = {"claims.html": _around("The claims", _markdown(claims.page(path for path, _ in stored)))}
    pages["playground.html"] = _around("Playground", playground())
    for lesson, (_, notebook) in zip(lessons, stored):
        pages[lesson.file] = page(notebook).replace("<main>", f"<main>\n{_way(lesson, lessons)}", 1)
    links = {path.name: lesson.file for (path, _), lesson in zip(stored, lessons)}
    pages = {name: _within(html, links) for name, html in pages.items()}
    found = [entry for lesson, (_, notebook) in zip(lessons, stored) for entry in sections(lesson, notebook)]
    found = json.dumps(found, ensure_ascii=False).replace("</", "<\\/")  # no </script> in a string
    pages["index.html"] = _render("all_lessons.html.j2", lessons=lessons, parts=LESSONS, found=found)
    for name, html in pages.items():
        if len(html.encode()) > MOST:
            raise ValueError(f"a page must be at most {MOST / 1e6:g} MB, got {len(html.encode()) / 1e6:.1f} MB of {name}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, html in pages.items():
        write(folder / name, html)
    return folder / "index.html"


def _within(html: str, links: dict[str, str]) -> str:
    """A page whose links to other notebooks lead to their pages."""
    return re.sub(r'href="(?:\./)?([0-9]{2}_\w+\.ipynb)', lambda found: f'href="{links[found[1]]}', html)


def sections(lesson: Lesson, notebook: NotebookNode) -> list[dict[str, str]]:
    """What the search knows: each section of a lesson, its heading, the place in the page, and its words in lower case."""
    found = [{"title": lesson.title, "at": lesson.file, "lesson": lesson.number, "words": lesson.title.lower()}]
    for cell in notebook.cells:
        text = cell.source if cell.cell_type == "markdown" else ""
        for block in re.split(r"^(?=#{2,3} )", text, flags=re.MULTILINE):
            heading = re.match(r"#{2,3} (.*)", block)
            if heading:
                title = _plain(heading[1])
                at = f"{lesson.file}#{_anchor(heading[1])}"
                found.append({"title": title, "at": at, "lesson": lesson.number, "words": ""})
            found[-1]["words"] += " " + _plain(block).lower()
    return found


def _plain(text: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+", " ", re.sub(r"[*_`#$\\{}]", "", text)).strip()


def _anchor(heading: str) -> str:
    """The id that nbconvert gives a heading."""
    found = re.search(r'id="([^"]+)"', MarkdownWithMath(renderer=Renderer(escape=False)).render(f"## {heading}"))
    return found[1] if found else ""


def _lesson(path: Path, notebook: NotebookNode) -> Lesson:
    number = path.stem[:2]
    part = next(part for part, lessons in LESSONS.items() if number in lessons)
    opening = notebook.cells[0].source
    able = re.search(r"\*\*You will be able to\*\* (.*?)(?:\n\n|\Z)", opening, re.DOTALL)
    about = _plain(able[1]) if able else _plain(opening.split("\n\n")[-1])
    return Lesson(number, f"{path.stem}.html", LESSONS[part][number], part, about[:1].upper() + about[1:], _thumbnail(notebook))


def _thumbnail(notebook: NotebookNode) -> str:
    """The largest of a lesson's own pictures that fits a card, as a small PNG in base64; '' where there is none."""
    pictures = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            encoded = [data["image/png"]] if "image/png" in data else []
            encoded += re.findall(r'src="data:image/png;base64,([^"]+)"', data.get("text/html", "") or "")
            pictures += [Image.open(io.BytesIO(base64.b64decode(text))) for text in encoded]
    if not pictures:
        return ""
    broad = lambda p: p.width * p.height > 60_000 and 1.2 * p.height < p.width < 2.6 * p.height
    picture = max(pictures, key=lambda p: (broad(p), p.width)).convert("RGB")
    picture.thumbnail(THUMBNAIL)
    out = io.BytesIO()
    picture.quantize(64).save(out, format="png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def _way(here: Lesson, lessons: list[Lesson]) -> str:
    """The strip at a page's head: back, all lessons, on."""
    k = lessons.index(here)
    return _render("way.html.j2", before=lessons[k - 1] if k else None, after=lessons[k + 1] if k + 1 < len(lessons) else None)


def _around(title: str, content: str) -> str:
    return _render("plain.html.j2", title=title, content=content, way=_render("way.html.j2", before=None, after=None))


def _markdown(text: str) -> str:
    return MarkdownWithMath(renderer=Renderer(escape=False)).render(text)


def _render(name: str, **what) -> str:
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(name).render(css=(HERE / "page.css").read_text(encoding="utf-8"), **what)
