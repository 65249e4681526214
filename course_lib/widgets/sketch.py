"""The sketch: a board of a few squares on which the reader draws one shape, for the kernel to use. `sketch.js` is its page.

The drawing goes from the page to the kernel as one line of text, in a text box of core ipywidgets (7.7 and 8). Where no kernel
is, the board can still be drawn on, and where no script runs, the first drawing stands as a picture.
"""

from __future__ import annotations

import ipywidgets as widgets
from torch import Tensor

from course_lib.widgets import pixels
from course_lib.widgets.live import Live
from course_lib.widgets.page import fragment
from course_lib.zoo import crosses


class Sketch(Live):
    """The widget: `text` is its text box, `drawing` what is drawn on the board; see `sketch`."""

    def __init__(self, start: str):
        shown = crosses.drawing(start)
        style, layout = {"description_width": "5em"}, {"width": "98%"}
        self.text = widgets.Text(" ".join(start.split()), description="drawing", style=style, layout=layout)
        picture = pixels.frame(pixels.shades(2 * shown[None, None] - 1, signed=False))
        fallback = pixels.strip({"the first drawing": {f"a board of {len(shown)} by {len(shown)} squares": picture}})
        page = fragment("sketch", {"drawing": self.text.value}, fallback, "Run this cell to draw.")
        super().__init__(widgets.VBox([self.text]), page)

    @property
    def drawing(self) -> Tensor:
        """The drawing (n, n) of 0 and 1. Raises ValueError where nothing is drawn, or where the text was changed by hand."""
        return crosses.drawing(self.text.value)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        """The page, which stands beside the text box and not in its place."""
        return self.page._repr_mimebundle_()

    def __repr__(self):
        return f"Sketch({int(self.drawing.sum())} squares)"


def sketch(start: str) -> Sketch:
    """A board to draw one shape on, at first with the drawing `start`: n rows of n characters, `#` where a square is drawn.

    Raises ValueError where `start` is no such drawing.
    """
    return Sketch(start)
