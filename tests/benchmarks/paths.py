"""The time of one frame while x_T is dragged, computation included, in headless Chromium.

    python tests/benchmarks/paths.py

500 points under three samplers, 30, 30 and 80 moves, on the ring of eight; then with the learned network's path on top.
Required: 60 frames a second, 16.7 ms. Prints the median and the 90th percentile.
"""

import argparse

from pages import chromium, open_page

from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.widgets.paths import paths
from course_lib.zoo import models

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
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    network = models.load("ring")
    with chromium() as browser:
        page = open_page(browser, paths(ExactDenoiser(ring(), network.process), network), ".course-paths[data-share]")
        print("| a frame, ms | median | 90th percentile |\n|---|---|---|")
        for name, learned in (("500 points, exact", False), ("and the learned path", True)):
            print(f"| {name} | {' | '.join(f'{value:.1f}' for value in page.evaluate(FRAMES, learned))} |")


if __name__ == "__main__":
    main()
