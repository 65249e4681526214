"""A widget of the course is one piece of HTML with its own style, data and script: it needs no kernel and no network."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

from course_lib.files import write_atomically
from course_lib.widgets.still import still

HERE = Path(__file__).parent

# The script is inside a function, so that two widgets share no names. It takes every container of its kind that no earlier run
# has taken, so that a cell can run twice and the same widget can stand twice on a page. `modules` is given to each widget as
# well, which can start a worker from it: its text is the widget's whole program.
WIDGET = """<div class="course-widget course-{kind}" data-widget="{key}">
<style>{style}</style>
{fallback}
<small class="unrun">{unrun}</small>
</div>
<script>
(() => {{
const modules = () => {{
{script}
}};
const data = {data};
for (const root of document.querySelectorAll('[data-widget="{key}"]:not([data-ready])')) {{
  root.dataset.ready = "";
  root.querySelector(".unrun").remove();
  modules().mount(root, data, modules);
}}
}})();
</script>
"""

IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "(\.\.?(?:/\w+)*/(\w+)\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
# Lines of comment, which a notebook does not store.
COMMENT = re.compile(r"^ *(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)

# `color-scheme` alone makes a browser's own colours follow the reader's choice of dark or light.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font-family: system-ui, sans-serif; max-width: 72rem; margin: 1rem auto; padding: 0 1rem }}
</style>
{html}
</html>
"""


@dataclass(frozen=True, repr=False)
class Fragment:
    """What a notebook shows as the last line of a cell: self-contained HTML, which `save` writes as a page of its own."""

    kind: str
    html: str

    def __repr__(self):
        return f"{self.kind}, {len(self.html.encode()) / 1e6:.2f} MB of HTML"

    def _repr_html_(self) -> str:
        return self.html

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        """As HTML, and as a still picture for what shows none, such as LaTeX."""
        data: dict = {"text/plain": repr(self), "text/html": self.html}
        if (picture := still(self.html)) is None:
            return data, {}
        return data | {"image/png": picture.text}, {"image/png": {"width": picture.width, "alt": picture.alt}}

    def save(self, path: str | Path, title: str = "Diffusion models by hand") -> Path:
        """Writes a page that opens from disk with no server and no network, and returns its path."""
        return write_atomically(Path(path), PAGE.format(title=html.escape(title), html=self.html))


def fragment(kind: str, data: dict, fallback: str, unrun: str = "Run this cell to move it.") -> Fragment:
    """shared.css, `kind`.css and `kind`.js of this folder, which exports mount(root, data, modules), and the data, as one.

    `fallback` is the HTML that stands where no script runs, and `unrun` what it says there. The key is a hash of all parts: the
    same data give the same bytes.
    Raises what `bundle` raises.
    """
    style = stylesheet(kind)
    script = bundle(kind)
    values = script_json(data)
    key = hashlib.sha256("\0".join([kind, style, script, values, fallback]).encode()).hexdigest()[:12]
    parts = {"style": style, "script": script, "data": values, "fallback": fallback, "unrun": unrun}
    return Fragment(kind, WIDGET.format(kind=kind, key=key, **parts))


def stylesheet(kind: str) -> str:
    """shared.css and `kind`.css."""
    return "".join((HERE / f"{name}.css").read_text(encoding="utf-8") for name in ("shared", kind))


def script_json(value) -> str:
    """The value as JSON for the inside of a script, without `<`: `</script` would end it, and `<!--<script` would not let it
    end. Raises ValueError for NaN and infinity."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def bundle(entry: str, folder: Path = HERE) -> str:
    """The body of a function that returns what the ES module `entry`.js of `folder` exports, with all that it imports inside,
    and without comments.

    Each module becomes a function of its own, so that names of two modules never clash, and stands once, after those that it
    imports. A module may write `import { a, b } from "./name.js";` on one line, also from another folder ("../folder/name.js"),
    and `export` before a function, a const or a class. No two may have the same name. Raises ValueError for any other import or
    export, an import of what is not exported, and a circle of imports.
    """
    exports: dict[str, list[str]] = {}
    parts: list[str] = []

    def add(path: Path, importers: tuple[str, ...]) -> None:
        name = path.stem
        if name in importers:
            raise ValueError(f"imports must not form a circle, got {' -> '.join([*importers, name])}")
        if name in exports:
            return
        if not path.is_file():
            raise ValueError(
                f"{importers[-1] if importers else 'a widget'} must import a module of {folder.name}, got {name}.js"
            )
        source = path.read_text(encoding="utf-8")
        for names, place, module in IMPORT.findall(source):
            add(path.parent / place, (*importers, name))
            if missing := set(names.split(", ")) - set(exports[module]):
                raise ValueError(f"{name}.js must import what {module}.js exports, got {', '.join(sorted(missing))}")
        body = COMMENT.sub("", EXPORT.sub("", IMPORT.sub(r"const { \1 } = $\3;", source)))
        if left := re.search(r"^(?:import|export)\b.*", body, re.MULTILINE):
            raise ValueError(f"{name}.js must import and export as `bundle` says, got {left[0]}")
        exports[name] = EXPORT.findall(source)
        parts.append(f"const ${name} = (() => {{\n{body.strip()}\nreturn {{ {', '.join(exports[name])} }};\n}})();")

    add(folder / f"{entry}.js", ())
    return "\n".join([*parts, f"return ${entry};"])
