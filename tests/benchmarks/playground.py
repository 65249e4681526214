"""The time of the playground's ten digits: the guided student of lesson 18 in headless Chromium, without a kernel.

    python tests/benchmarks/playground.py [--pictures 40] [--store] [--beside OLD.html]

Needs playwright and Chromium, and a machine without other work. Measured is the time from a new w to the picture on the canvas,
after five pictures in which the page is compiled. Required: a median under 60 ms and a 95th percentile under 100 ms for one
step, on two cores. `--beside` compares with a page that an earlier version saved, in turns, each in a browser of its own: time,
bytes of the file, and what its renderers have for themselves beyond an empty page's, before and after garbage collection
(Linux).
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from pages import PATIENCE, chromium, open_page
from playwright.sync_api import Browser, Page
from rows import store

from course_lib.widgets.student import MOVES, student
from course_lib.zoo import models

DRAW = """async ([moves, w]) => { const { state, draw } = document.querySelector(".course-student").student;
    Object.assign(state, { moves, w });
    const begun = performance.now();
    await draw();
    return performance.now() - begun }"""


EMPTY, ROUNDS = "<!doctype html><title>-</title>", 5


def drawn(page: Page, moves: int, pictures: int) -> list[float]:
    """Milliseconds of each picture, sorted."""
    took = [page.evaluate(DRAW, [moves, i * 37 % 80 / 10]) for i in range(pictures + 5)]
    return sorted(took[5:])


def percentile(took: list[float], share: float) -> float:
    return took[int(share * (len(took) - 1))]


def private_bytes(browser: Browser) -> int:
    """What the renderers of a browser share with no other process."""
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    maps = [Path(f"/proc/{process['id']}/smaps_rollup").read_text() for process in found if process["type"] == "renderer"]
    return sum(1024 * int(line.split()[1]) for text in maps for line in text.splitlines() if line.startswith("Private_"))


def weighed(path: Path, pictures: int) -> dict[str, float]:
    """Time and memory of a saved page with the student; memory alone of a page without it."""
    made: dict[str, float] = {"bytes": path.stat().st_size}
    with chromium("--js-flags=--expose-gc") as browser:
        page = browser.new_context(offline=True).new_page()
        page.goto(path.as_uri(), timeout=PATIENCE)
        if "course-student" in path.read_text(encoding="utf-8"):
            page.wait_for_selector(".course-student[data-drawn]", timeout=PATIENCE)
            took = drawn(page, 1, pictures)
            made |= {"p50": statistics.median(took), "p95": percentile(took, 0.95)}
        made["memory"] = private_bytes(browser)
        for place in (page, *page.workers):
            place.evaluate("gc()")
        page.wait_for_timeout(500)
        made["memory after collection"] = private_bytes(browser)
    return made


def beside(old: Path, pictures: int) -> str:
    """Markdown: the new page relative to the old one, the mean of the rounds and its standard error."""
    with tempfile.TemporaryDirectory() as folder:
        empty, new = Path(folder) / "empty.html", student(models.load("guided")).save(Path(folder) / "new.html")
        empty.write_text(EMPTY, encoding="utf-8")
        rounds = [[weighed(path.resolve(), pictures) for path in (empty, old, new)] for _ in range(ROUNDS)]
    lines = ["| | relative to the page before |", "|---|---|"]
    for what in rounds[0][1]:
        base = lambda empty, what=what: empty[what] if what.startswith("memory") else 0
        ratios = [(new[what] - base(empty)) / (old[what] - base(empty)) for empty, old, new in rounds]
        error = statistics.stdev(ratios) / ROUNDS**0.5
        lines.append(f"| {what} | {statistics.mean(ratios):.3f} ± {error:.3f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--store", action="store_true", help="put the table into tests/benchmarks/README.md")
    parser.add_argument("--beside", type=Path, metavar="OLD.html", help="compare with this saved page, and do nothing else")
    args = parser.parse_args()
    if args.beside:
        print(beside(args.beside, args.pictures))
        return
    lines = ["| ten digits | p50, ms | p95, ms |", "|---|---|---|"]
    with chromium() as browser:
        page = open_page(browser, student(models.load("guided")), ".course-student[data-drawn]")
        for moves in MOVES:
            took = drawn(page, moves, args.pictures)
            half, most = statistics.median(took), percentile(took, 0.95)
            lines.append(f"| {moves} step{'s' * (moves > 1)} | {half:.0f} | {most:.0f} |")
    print("\n".join(lines))
    if args.store:
        store("playground", "\n".join(lines))


if __name__ == "__main__":
    main()
