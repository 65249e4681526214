"""The time of the playground's ten digits: the guided student of lesson 18 in headless Chromium, without a kernel.

    python tests/benchmarks/playground.py [--pictures 40] [--store]

Needs playwright and Chromium, and a machine without other work. Measured is the time from a new w to the picture on the canvas,
after five pictures in which the page is compiled. Required: a 95th percentile under 200 ms for one step, on two cores.
"""

import argparse
import statistics

from pages import chromium, open_page
from rows import store

from course_lib.widgets.student import MOVES, student
from course_lib.zoo import models

DRAW = """async ([moves, w]) => { const { state, draw } = document.querySelector(".course-student").student;
    Object.assign(state, { moves, w });
    const begun = performance.now();
    await draw();
    return performance.now() - begun }"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--store", action="store_true", help="put the table into tests/benchmarks/README.md")
    args = parser.parse_args()
    lines = ["| ten digits | p50, ms | p95, ms |", "|---|---|---|"]
    with chromium() as browser:
        page = open_page(browser, student(models.load("guided")), ".course-student[data-drawn]")
        for moves in MOVES:
            took = [page.evaluate(DRAW, [moves, i * 37 % 80 / 10]) for i in range(args.pictures + 5)]
            took = sorted(took[5:])
            half, most = statistics.median(took), took[int(0.95 * (len(took) - 1))]
            lines.append(f"| {moves} step{'s' * (moves > 1)} | {half:.0f} | {most:.0f} |")
    print("\n".join(lines))
    if args.store:
        store("playground", "\n".join(lines))


if __name__ == "__main__":
    main()
