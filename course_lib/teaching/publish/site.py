"""The course as a static site: a page for each lesson, an index, a search, a playground, words, papers, claims, the library.

No kernel, no server, nothing fetched: a folder of files that opens from disk.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Mapping
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert.filters.markdown_mistune import MarkdownWithMath

from course_lib.files import NOTEBOOKS, WORK, write_atomically
from course_lib.teaching.course_map import LESSONS, course_map
from course_lib.teaching.publish import address, api, claim_table, glossary, notes, papers, search
from course_lib.teaching.publish.equations import Renderer
from course_lib.teaching.publish.export import page
from course_lib.teaching.publish.first_page import SCRIPT, first_page
from course_lib.teaching.publish.lessons import Lesson, lesson_of
from course_lib.teaching.publish.links import Linker, Target
from course_lib.teaching.publish.playground import playground
from course_lib.teaching.publish.reading import for_readers
from course_lib.teaching.publish.text import DIFFICULTY, plain
from course_lib.widgets.page import script_json

HERE = Path(__file__).parent / "page"
MAX_BYTES = 15_000_000
"""The largest page in bytes: a phone must be able to open it."""
HEADING = re.compile(r'<h([23]) id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)
EQUATION = re.compile(r'<svg aria-label="([^"]*)".*?</svg>', re.DOTALL)


def site(folder: Path = WORK / "build/site", notebooks: Path = NOTEBOOKS) -> Path:
    """The path of the index of the site, written into `folder`. Raises ValueError for a page of more than MAX_BYTES."""
    paths = sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))
    place = address.read()
    lessons = [lesson_of(path, for_readers(nbformat.read(path, as_version=4), place.published)) for path in paths]
    linker = Linker(
        {lesson.number: Target(lesson.href, lesson.line) for lesson in lessons},
        tuple(papers.papers({lesson.number: lesson.notebook.cells[0].source for lesson in lessons})),
        api.index(),
    )
    claims = {made.id: made for made in claim_table.gather(paths)}
    cells = {claim: at for lesson in lessons for claim, at in lesson.claims}
    of_claim = lambda claim: f"[{claim.lesson[:2]}]({cells[claim.id]})"
    pages = {"claims.html": _plain_page("The claims", _markdown(claim_table.page(paths, of_claim)))}
    pages["playground.html"] = _plain_page("Playground", playground())
    pages |= {lesson.file: _lesson_page(lesson, lessons, linker, place) for lesson in lessons}
    terms = [term for lesson in lessons for term in glossary.terms(lesson.notebook, lesson.name)]
    pages["words.html"] = _plain_page("Words", _markdown(_words(terms, linker)))
    pages["papers.html"] = _plain_page("Papers", _markdown(_papers(linker, lessons, pages)))
    pages |= api.pages(_file("page.css") + _file("site.css"), _file("site.js"))
    found = search.entries(lessons, terms, claims.values(), cells, linker)
    said = [(lesson, own.filled(claims)) for lesson in lessons if (own := notes.stored(lesson.number, notebooks))]
    pages |= {f"notes_{own.number}.html": _notes_page(lesson, own, linker) for lesson, own in said}
    if (study_paths := notebooks / "PATHS.md").exists():
        text = study_paths.read_text(encoding="utf-8")
        pages["paths.html"] = _plain_page("Study paths", _markdown(linker.markdown(text, "")))
    search_form = _render("search.html.j2", entries=script_json(found), script=_file("search.js"))
    pages["search.html"] = _plain_page("Search", search_form)
    first, pages[SCRIPT] = first_page(lessons[0].href)
    pages["index.html"] = _render(
        "all_lessons.html.j2",
        first=first,
        lessons=lessons,
        parts=LESSONS,
        notes=[(own.number, lesson.title) for lesson, own in said],
        paths="paths.html" in pages,
        address=place if place.published else None,
        title="Diffusion models by hand",
        description="A course. Every lesson is a page, with pictures that move under your hand and figures that were measured.",
        picture=_preview(lessons[0], place) if lessons else None,
    )
    files: dict[str, bytes] = {name: html.encode() for name, html in _with_links_to_pages(pages, lessons).items()}
    if place.published:
        files |= {f"previews/{lesson.number}.png": base64.b64decode(lesson.picture) for lesson in lessons if lesson.picture}
    return _write(files, folder) / "index.html"


def _write(files: Mapping[str, bytes], folder: Path) -> Path:
    """The folder with these files in it. Raises ValueError, before any is written, where one has more than MAX_BYTES."""
    for name, data in files.items():
        if len(data) > MAX_BYTES:
            raise ValueError(f"a page must be at most {MAX_BYTES / 1e6:g} MB, got {len(data) / 1e6:.1f} MB of {name}")
    for name, data in files.items():
        write_atomically(folder / name, data)
    return folder


def _with_links_to_pages(pages: Mapping[str, str], lessons: list[Lesson]) -> dict[str, str]:
    """The pages with their links to notebooks and tables replaced by links to their pages."""
    links = {f"{lesson.name}.ipynb": lesson.href for lesson in lessons}
    links |= {"CLAIMS.md": "claims.html", "GLOSSARY.md": "words.html", "PATHS.md": "paths.html"}
    link = lambda found: f'href="{links.get(found[1], found[1])}'
    return {name: re.sub(r'href="(?:\./)?([0-9]{2}_\w+\.ipynb|[A-Z]+\.md)', link, html) for name, html in pages.items()}


# Lessons


def _lesson_page(lesson: Lesson, lessons: list[Lesson], linker: Linker, place: address.Address) -> str:
    notebook = copy.deepcopy(lesson.notebook)
    opening = notebook.cells[0].source
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linker.markdown(cell.source, opening)
    html = linker.code(page(notebook))
    k = lessons.index(lesson)
    values = {
        "before": lessons[k - 1] if k else None,
        "after": lessons[k + 1] if k + 1 < len(lessons) else None,
        "contents": [
            (rank == "3", id, DIFFICULTY.sub("", _without_tags(heading))) for rank, id, heading in HEADING.findall(html)
        ],
        "map": course_map(lesson.number)._repr_html_(),
    }
    head = _render(
        "head.html.j2", title=f"{lesson.number} {lesson.title}", description=lesson.about, picture=_preview(lesson, place)
    )
    html = html.replace("</head>", f"{head}\n</head>", 1).replace("<main>", _render("top.html.j2", **values), 1)
    begin, _, end = html.rpartition("</main>")
    return begin + _render("bottom.html.j2", **values) + end


def _without_tags(html: str) -> str:
    """A heading's text; an equation in it is its LaTeX, as plain as that goes."""
    return unescape(re.sub(r"<[^>]+>", "", EQUATION.sub(lambda found: escape(plain(unescape(found[1]))), html))).strip()


def _preview(lesson: Lesson, place: address.Address) -> str | None:
    """The address of a lesson's picture for who shows a preview of its page; None until the course has an address."""
    return f"{place.pages}/previews/{lesson.number}.png" if place.published and lesson.picture else None


# Other pages


def _words(terms: list[glossary.Term], linker: Linker) -> str:
    rows = [
        f'- <b id="{search.word_id(term)}">{term.name}</b> ([{term.lesson[:2]}]({quote(term.lesson)}.html)): '
        + linker.markdown(term.definition, "")
        for term in sorted(terms, key=lambda term: term.name.lower())
    ]
    return "\n".join(["# Words", "", "Each term of the course, with the lesson that introduces it.", "", *rows])


def _papers(linker: Linker, lessons: list[Lesson], pages: Mapping[str, str]) -> str:
    rows = []
    for paper in linker.papers:
        citing = [f"[{n.number}]({n.href})" for n in lessons if f'"papers.html#{paper.id}"' in pages[n.file]]
        where = f" Lesson{'s' * (len(citing) > 1)} {', '.join(citing)}." if citing else ""
        rows.append(f'- <span id="{paper.id}">{paper.authors}</span>: [*{paper.title}*]({paper.search}) ({paper.year}).{where}')
    return "\n".join(["# Papers", "", "Each paper that a lesson names. A title leads to a search for it.", "", *rows])


def _notes_page(lesson: Lesson, own: notes.Notes, linker: Linker) -> str:
    """The page of a lesson's notes for instructors; the headings of its plan and its widgets are links into the lesson."""
    anchors = {DIFFICULTY.sub("", entry["title"]): entry["at"] for entry in search.sections(lesson)}
    link = lambda of: f'<a href="{escape(anchors[plain(of)])}">{of}</a>' if plain(of) in anchors else of
    text = own.text
    for _, _, where in own.plan():
        for heading in where:
            text = re.sub(rf"(?<=[|;] ){re.escape(heading)}(?= ?[|;(])", lambda _, of=heading: link(of), text, count=1)
    text = re.sub(r"(?<=` in )\*([^*]+)\*", lambda found: link(found[1]), text)
    rest = text.partition("\n")[2]
    about = (
        f"For the instructor of lesson {own.number}. The figures are those of its claims. "
        "What a class is expected to say was not measured."
    )
    title = f"Notes: {own.title}"
    return _plain_page(title, _markdown(linker.markdown(f"# {title}\n\n{about}\n{rest}", "")))


def _plain_page(title: str, content: str) -> str:
    description = f"{title}, of the course Diffusion models by hand."
    return _render("plain.html.j2", title=title, content=content, description=description)


def _markdown(text: str) -> str:
    return MarkdownWithMath(renderer=Renderer(escape=False)).render(text)


def _file(name: str) -> str:
    """The text of a file of page/."""
    return (HERE / name).read_text(encoding="utf-8")


def _render(name: str, **values) -> str:
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    own = {"css": _file("page.css"), "site_css": _file("site.css"), "script": _file("site.js")}
    return environment.get_template(name).render(**own | values)
