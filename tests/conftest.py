"""What tests share: one thread for each process, markers, and a headless Chromium."""

import os
import shutil
from pathlib import Path

import pytest

# A worker of pytest-xdist per core is faster than two threads per network this small. Kernels that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

BROWSER = Path(__file__).parent / "browser"
SLOW = {
    "test_anywhere.py",
    "test_benchmarks.py",
    "test_device_types.py",
    "test_devices.py",
    "test_guidance_widget.py",
    "test_imagen.py",
    "test_notebooks.py",
    "test_samplers_flow.py::test_it_recovers_the_weights_and_the_means_of_three_modes",
    "test_text.py::test_the_detector_finds_everything",
    "test_types.py",
    "test_checkpoints.py::test_killed_at_a_hundred_random_moments_the_file_always_loads",
    "test_checks.py::test_each_known_mistake_is_called_by_its_own_name",
    "test_checks.py::test_the_likeliest_wrong_answers_are_rejected_and_most_are_named",
    "test_classroom.py::test_right_answers_of_all_lessons_are_right_on_fresh_data",
    "test_distillation.py::test_a_student_of_an_exact_teacher_draws_the_mixture_in_one_step",
    "test_guidance.py::test_guidance_samples_the_tilted_density_at_w_0_and_1_alone",
    "test_guidance.py::test_the_distance_is_that_of_a_histogram",
    "test_models.py::test_killed_at_a_hundred_random_moments_a_training_leaves_only_files_that_load",
    "test_models.py::test_training_writes_its_record_and_an_interrupt_keeps_what_was_learned",
    "test_parallel.py",
    "test_places.py",
    "test_remake.py::test_all_can_be_made_in_their_order_from_nothing_but_themselves",
    "test_remake.py::test_it_goes_on_where_it_was_stopped_and_compares",
    "test_remake.py::test_the_shipped_models_and_those_of_other_seeds_are_left_alone",
}
"""Tests as `file::name`, with all their cases, of more than 5 s on an idle core (`pytest --durations=0`), and files of many
such."""


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than 5 s (see SLOW in tests/conftest.py)")
    config.addinivalue_line("markers", "browser: needs Chromium")
    config.addinivalue_line("markers", "thorough: left out of `make test`; `make device-check` runs it")


def pytest_collection_modifyitems(items):
    for item in items:
        if BROWSER in item.path.parents:
            item.add_marker("browser")
        if SLOW & {item.path.name, f"{item.path.name}::{item.name.partition('[')[0]}"}:
            item.add_marker("slow")


# A browser

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


@pytest.fixture(scope="module")
def axe():
    """axe(page, within=None): what axe-core holds against a page, or a part of it, as one line for each rule."""
    package = pytest.importorskip("axe_playwright_python", reason="tests of accessibility need axe-playwright-python")
    script = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")

    def axe(page, within: str | None = None, rules: list[str] | None = None) -> list[str]:
        if not page.evaluate("'axe' in window"):
            page.evaluate(script)
        only = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
        found = page.evaluate("([within, only]) => axe.run(within ?? document, only)", [within, only])["violations"]
        return [f"{v['id']}: {len(v['nodes'])}, {v['nodes'][0]['html'][:200]}" for v in found]

    return axe
