"""How a widget finds out that no control is moving, without threads and without timers, which do not work in Colab.

Python sends the page a number, and the page sends it back (a jslink). Changes that the reader made meanwhile arrive before it.
So long work is done in short turns, one for each round trip, and a newer change is handled between two of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import ipywidgets as widgets

LOST = 2.0
"""Seconds after which a round trip that has not come back counts as lost."""


class RoundTrip:
    """Calls `turn()` when the page has had its turn. `box` must be on the page; core ipywidgets, 7.7 and 8.

    `alive` is True where a page sends back: not before the first round trip is complete, not in plain Python, and not where one
    was lost. Without such a page, all of the work must be done at once.
    """

    def __init__(self, turn: Callable[[], None]):
        self.turn, self.sent, self.returned = turn, None, False
        self.ping, self.pong = widgets.IntText(0), widgets.IntText(0)
        self.link = widgets.jslink((self.ping, "value"), (self.pong, "value"))
        self.box = widgets.HBox([self.ping, self.pong], layout={"display": "none"})
        self.pong.observe(self._returned, "value")

    @property
    def alive(self) -> bool:
        return self.returned and (self.sent is None or time.monotonic() - self.sent < LOST)

    def send(self) -> None:
        """Starts a round trip, unless one is under way."""
        if self.sent is None or time.monotonic() - self.sent >= LOST:
            self.sent = time.monotonic()
            self.ping.value += 1

    def _returned(self, change) -> None:
        if change["new"] == self.ping.value:  # and not an older one, which counted as lost
            self.sent, self.returned = None, True
            self.turn()
