"""The pages of the library, from its docstrings: pdoc in the look of the site, without a script and without a network."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from functools import cache
from pathlib import Path

import pdoc.doc
import pdoc.render

import course_lib
from course_lib.teaching.publish.execute import without_paths
from course_lib.teaching.publish.links import Target

TEMPLATES = Path(__file__).parent / "page/api"
FOLDER = "api"
LEFT_OUT = ("course_lib.__main__", "course_lib.teaching.checks", "course_lib.teaching.publish", "course_lib.zoo.recipes")
"""The command, and what only the course itself calls."""

OF_TORCH = '<span class="n">_C</span><span class="o">.</span>'
"""The module in which torch keeps its `torch.Generator`."""

TO_PRIVATE = re.compile(r'<a href="[^"#]*#(?:[^"]*\.)?_[^"]*">(.*?)</a>')
"""A link to a name that begins with an underscore, which no page has."""


@cache
def modules() -> dict[str, pdoc.doc.Module]:
    """The library's modules by name, in alphabetical order."""
    names = ["course_lib", *sorted(found.name for found in pkgutil.walk_packages(course_lib.__path__, "course_lib."))]
    kept = [name for name in names if not any(name == out or name.startswith(f"{out}.") for out in LEFT_OUT)]
    return {name: pdoc.doc.Module(importlib.import_module(name)) for name in kept}


@cache
def pages(css: str, script: str) -> dict[str, str]:
    """File name in the site to HTML, one page a module, with this style and this script."""
    pdoc.render.configure(docformat="markdown", search=False, template_directory=TEMPLATES)
    pdoc.render.env.globals.update(css=css, script=script, first_line=first_line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an annotation that pdoc cannot follow is shown as it is written
        made = {file(name): pdoc.render.html_module(module, modules()) for name, module in modules().items()}
    return {name: TO_PRIVATE.sub(r"\1", without_paths(html.replace(OF_TORCH, ""))) for name, html in made.items()}


@cache
def index() -> dict[str, Target]:
    """Each public module, class, function, method and constant with a docstring, by its dotted name: address and first line."""
    names = {}
    for name, module in modules().items():
        names[name] = Target(file(name), first_line(module.docstring))
        for member in module.flattened_own_members:
            if member.docstring and not re.search(r"(^|\.)_", member.qualname):
                names[member.fullname] = Target(f"{file(name)}#{member.qualname}", first_line(member.docstring))
    return names


def file(module: str) -> str:
    """The page of a module, as pdoc's own links between pages have it."""
    return f"{FOLDER}/{module.replace('.', '/')}.html"


def first_line(docstring: str) -> str:
    """The first sentence of a docstring, or what of it stands in its first paragraph."""
    paragraph = " ".join(inspect.cleandoc(docstring).partition("\n\n")[0].split())
    return re.match(r".*?(?:\.(?= )|\Z)", paragraph)[0].replace("`", "")
