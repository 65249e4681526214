"""A widget of the course is one piece of HTML that carries its own style, data and script, and asks nobody for more."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

# The script is inside a function, so that two widgets share no names; it takes every container of its kind that no run of it
# has taken yet, so that the same cell may run twice and the same widget stand twice on a page.
WIDGET = """<div class="course-widget course-{kind}" data-widget="{key}">
<style>{style}</style>
{fallback}
</div>
<script>
(() => {{
{script}
const data = {data};
for (const root of document.querySelectorAll('[data-widget="{key}"]:not([data-ready])')) {{
  root.dataset.ready = "";
  mount(root, data);
}}
}})();
</script>
"""

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

    def save(self, path: str | Path, title: str = "Diffusion models by hand") -> Path:
        """Writes a page that opens from disk with no server and no network, and returns its path."""
        path = Path(path)
        path.write_text(PAGE.format(title=title, html=self.html), encoding="utf-8")
        return path


def fragment(kind: str, data: dict, fallback: str, *parts: str) -> Fragment:
    """`kind`.css and `kind`.js of this folder, which defines mount(root, data), and the data, as one Fragment.

    page.js and `parts`, the names of other scripts, come before it. `fallback` is the HTML that stands where no script runs.
    The key is a hash of it all: the same data give the same bytes.
    """
    style = (HERE / f"{kind}.css").read_text(encoding="utf-8")
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("page.js", *parts, f"{kind}.js"))
    data = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")  # no </script> in a string
    key = hashlib.sha256("\0".join([kind, style, script, data, fallback]).encode()).hexdigest()[:12]
    return Fragment(kind, WIDGET.format(kind=kind, key=key, style=style, script=script, data=data, fallback=fallback))
