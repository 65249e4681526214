"""A widget that a kernel moves, beside the page that stands in its place where that kernel is gone."""

from __future__ import annotations

import re

import ipywidgets as widgets
from IPython.display import display

from course_lib.widgets.page import Fragment

VIEW = "application/vnd.jupyter.widget-view+json"

# Of the two outputs the reader sees one: the page is hidden while the widget has its kernel, and what Jupyter shows in place of
# a widget whose kernel is gone is hidden where the page is. In JupyterLab and Notebook 7 each cell for itself.
SWAP = """<style>
:is(.jp-OutputArea, body:not(:has(.jp-OutputArea))):has(.live-{key}:not(.jupyter-widgets-disconnected)) [data-widget="{key}"],
:is(.jp-OutputArea, body:not(:has(.jp-OutputArea))):has([data-widget="{key}"]) .live-{key}.jupyter-widgets-disconnected,
.jp-OutputArea:has([data-widget="{key}"]) .jp-OutputArea-output.jupyter-widgets:not(:has(*)) {{ display: none }}
</style>
"""


class Live:
    """What a notebook shows as two outputs: `box`, which needs its kernel, and `page`, which stays when the kernel is gone."""

    def __init__(self, box: widgets.Box, page: Fragment):
        self.box, self.page = box, page
        self.key = re.findall('data-widget="(\\w+)"', page.html)[0]
        for name in ("course-widget", f"course-{page.kind}", f"live-{self.key}"):
            box.add_class(name)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        """The page alone, as for any host without widgets."""
        data, about = self.page._repr_mimebundle_()
        return data | {"text/plain": repr(self), "text/html": SWAP.format(key=self.key) + data["text/html"]}, about

    def _ipython_display_(self) -> None:
        display({VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}}, raw=True)
        data, about = self._repr_mimebundle_()
        display(data, metadata=about, raw=True)
