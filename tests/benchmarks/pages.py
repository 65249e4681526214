"""Pages in headless Chromium, for the benchmarks of widgets."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from course_lib.files import ROOT

sys.path += [str(ROOT / "tests"), str(ROOT / "tests/browser")]
from conftest import QUIET, find_chromium

PATIENCE = 300_000
"""Milliseconds to wait for a page at most."""


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """A headless Chromium without a GPU, with further options of its command line."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=[*QUIET, *options])
        yield browser
        browser.close()


def open_page(browser: Browser, widget, ready: str) -> Page:
    """A page that shows the widget alone, without a network, once the selector `ready` is found."""
    page = browser.new_context(offline=True, viewport={"width": 1200, "height": 1000}).new_page()
    with tempfile.TemporaryDirectory() as folder:
        page.goto(widget.save(Path(folder) / "widget.html").as_uri(), timeout=PATIENCE)
        page.wait_for_selector(ready, timeout=PATIENCE)
    return page
