"""How fast the page follows a dragged x_T: the time of one frame, computing included, in headless Chromium.

    python tests/benchmarks/paths.py

500 points under three samplers, 30, 30 and 80 moves, on the ring of eight; then with the learned network's path on top.
Asked: 60 frames a second, 16.7 ms. Prints the median frame and the one that nine in ten do not exceed.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "browser"))
from conftest import QUIET, find_chromium

from course_lib import models
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.widgets.paths import paths

FRAMES = """(learned) => {
  const root = document.querySelector(".course-paths");
  if (learned) root.querySelectorAll("input[type=checkbox]")[1].click();
  const taken = [];
  for (let i = 0; i < 240; i++) {
    root.paths.move(Math.cos(i / 20), Math.sin(i / 20));
    const begun = performance.now();
    root.paths.draw();
    if (i >= 40) taken.push(performance.now() - begun);
  }
  taken.sort((a, b) => a - b);
  return [taken[100], taken[180]];
}"""


def main():
    network = models.load("ring")
    made = paths(ExactDenoiser(ring(), network.process), network)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(made.save(Path(folder) / "paths.html").as_uri())
        page.wait_for_selector(".course-paths[data-share]")
        print("| a frame, ms | median | nine in ten |\n|---|---|---|")
        for name, learned in (("500 points, exact", False), ("and the learned path", True)):
            print(f"| {name} | {' | '.join(f'{value:.1f}' for value in page.evaluate(FRAMES, learned))} |")
        browser.close()


if __name__ == "__main__":
    main()
