"""One headless Chromium for all browser tests; without one they are skipped, with a plain word."""

import os
import shutil

import pytest

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update"]


def find_chromium() -> str | None:
    """$CHROMIUM, or the first Chromium or Chrome on the path."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")  # not the session: its event loop must be gone before nbval starts its own
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright")
    path = find_chromium()
    if path is None:
        pytest.skip("browser tests need Chromium: put it on the path, or its place in $CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield running
        running.close()


@pytest.fixture
def open_page(browser):
    """open_page(path, **options): a file opened from disk with the network off, as a page with `.errors`, a list."""
    contexts = []

    def open_page(path, **options):
        contexts.append(browser.new_context(**{"offline": True, "viewport": {"width": 1200, "height": 900}} | options))
        page = contexts[-1].new_page()
        page.errors = []
        page.on("console", lambda message: page.errors.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("requestfailed", lambda request: page.errors.append(f"asked for {request.url}"))
        page.goto(path.resolve().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def page(browser):
    """An empty page with the network on, for what a local server shows."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture
def console_errors(page):
    """The errors of `page`, as they come."""
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors
