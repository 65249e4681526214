"""How a widget knows that a hand is at rest, without threads and without timers, which Colab would not hear of.

Python sends the page a number, the page sends it back (a jslink), and whatever the reader did meanwhile comes before it. So
long work is done in short turns, one a bounce, and a newer wish is heard between two of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import ipywidgets as widgets

LOST = 2.0
"""Seconds after which a bounce that did not come back is given up."""


class Bounce:
    """Calls `turn()` when the page has had its turn. `box` must be on the page; core ipywidgets, 7.7 and 8.

    `alive` says whether there is a page that sends back: not before the first bounce came home, not in a plain Python, and not
    where one was lost. Whoever sees that it is not must do all of the work at once.
    """

    def __init__(self, turn: Callable[[], None]):
        self.turn, self.sent, self.returned = turn, None, False
        self.there, self.back = widgets.IntText(0), widgets.IntText(0)
        self.link = widgets.jslink((self.there, "value"), (self.back, "value"))
        self.box = widgets.HBox([self.there, self.back], layout={"display": "none"})
        self.back.observe(self._home, "value")

    @property
    def alive(self) -> bool:
        return self.returned and (self.sent is None or time.monotonic() - self.sent < LOST)

    def send(self) -> None:
        """Sends one off, unless one is under way."""
        if self.sent is None or time.monotonic() - self.sent >= LOST:
            self.sent = time.monotonic()
            self.there.value += 1

    def _home(self, change) -> None:
        if change["new"] == self.there.value:  # an older one was given up
            self.sent, self.returned = None, True
            self.turn()
