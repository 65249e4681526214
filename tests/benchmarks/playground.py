"""How long the playground's ten digits take: the guided student of lesson 18 in headless Chromium, with no kernel.

    python tests/benchmarks/playground.py [--pictures 40]

Needs playwright and Chromium, and a machine that does nothing else. From a new w to the picture on the canvas, after five that
let the page compile. Asked: one step under 200 ms, 95 of 100 times, on two cores.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/browser")]

from conftest import QUIET, find_chromium  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from rows import store  # noqa: E402

from course_lib import models  # noqa: E402
from course_lib.widgets.student import MOVES, student  # noqa: E402

DRAW = """async ([moves, w]) => { const { state, draw } = document.querySelector(".course-student").student;
    Object.assign(state, { moves, w });
    const begun = performance.now();
    await draw();
    return performance.now() - begun }"""
ENOUGH = 300_000  # ms to wait for a page at most


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--store", action="store_true", help="put the table into tests/benchmarks/README.md")
    args = parser.parse_args()
    lines = ["| ten digits | p50, ms | p95, ms |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = student(models.load("guided")).save(Path(folder) / "student.html")
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        page = browser.new_context(offline=True).new_page()
        page.goto(path.as_uri(), timeout=ENOUGH)
        page.wait_for_selector(".course-student[data-drawn]", timeout=ENOUGH)
        for moves in MOVES:
            took = [page.evaluate(DRAW, [moves, i * 37 % 80 / 10]) for i in range(args.pictures + 5)]
            took = sorted(took[5:])
            half, most = statistics.median(took), took[int(0.95 * (len(took) - 1))]
            lines.append(f"| {moves} step{'s' * (moves > 1)} | {half:.0f} | {most:.0f} |")
        browser.close()
    print("\n".join(lines))
    if args.store:
        store("playground", "\n".join(lines))


if __name__ == "__main__":
    main()
