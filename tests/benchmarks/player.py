"""The player with 1,000 frames of 16 digits: its bytes, its speed in headless Chromium, and matplotlib's to_jshtml beside it.

    python tests/benchmarks/player.py

Asked: under 8 MB, 60 frames a second; under 1.5 MB for what a notebook stores.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.animation
import matplotlib.pyplot as plt
import torch
from playwright.sync_api import sync_playwright

from course_lib import models, plots
from course_lib.denoisers import NULL
from course_lib.guidance import ClassifierFree
from course_lib.samplers import ddpm
from course_lib.widgets.player import play

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "browser"))
from conftest import QUIET, find_chromium

DRAW = """async () => {
  const { player } = document.querySelector(".course-player"), times = [];
  for (let i = 0; i < 300; i++) {
    const begun = performance.now();
    player.seek((37 * i) % player.frames);
    player.draw(); // now, not when the screen next asks
    document.querySelector(".course-player canvas").getContext("2d").getImageData(0, 0, 1, 1); // until it is drawn
    times.push(performance.now() - begun);
  }
  return times.sort((a, b) => a - b)[270]; // nine in ten are faster
}"""
FRAMES = "document.querySelector('.course-player').player.frames"
SCRUB = """async () => {
  const { player } = document.querySelector(".course-player");
  let shown = 0;
  const begun = performance.now();
  while (performance.now() - begun < 5000) {
    await new Promise(requestAnimationFrame);
    player.seek((7 * shown++) % player.frames);
  }
  return shown / 5;
}"""


def main():
    network, label = models.load("digits"), torch.arange(16) % 10
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(16, 1, 16, 16, generator=rng)
    guided = ClassifierFree(network.given(label), network.given(NULL), 2.0)
    steps = list(ddpm(guided, noise, network.process.times(999), rng))  # with fresh noise in each step: the hardest to pack
    begun = time.perf_counter()
    long, stored = play(steps, max_mb=8), play(steps)
    seconds = time.perf_counter() - begun

    plt.rcParams["animation.embed_limit"] = 1000
    figure, axis = plt.subplots(figsize=(3, 3))
    image = axis.imshow(plots.grid(noise))
    begun = time.perf_counter()
    draw = lambda step: [image.set_data(plots.grid(step.x))]
    theirs = matplotlib.animation.FuncAnimation(figure, draw, frames=steps[::20], cache_frame_data=False).to_jshtml()
    their_seconds = time.perf_counter() - begun

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        page = browser.new_page(viewport={"width": 1200, "height": 900})

        def ask(film, *questions):
            page.goto(film.save(Path(folder) / "player.html").as_uri())
            page.wait_for_selector(".course-player[data-frame]")
            return [page.evaluate(question) for question in questions]

        (kept,) = ask(stored, FRAMES)
        frames, draw, rate = ask(long, FRAMES, DRAW, SCRUB)
        browser.close()

    megabytes = lambda text: len(text.encode()) / 1e6
    ours, per_frame = megabytes(long.html) / frames, megabytes(theirs) / 50
    out = io.StringIO()
    print("| figure | measured | asked |\n|---|---|---|", file=out)
    print(
        f"| 1,000 frames of 16 digits, three panels | {megabytes(long.html):.2f} MB, {frames} frames | under 8 MB |", file=out
    )
    print(f"| drawing a frame chosen at random, nine in ten | {draw:.1f} ms | under 16.7 ms |", file=out)
    print(f"| scrubbing, one frame for each that the screen shows | {rate:.0f} a second | 60 a second |", file=out)
    print(
        f"| what a notebook stores of the same film | {megabytes(stored.html):.2f} MB, {kept} frames | under 1.5 MB |", file=out
    )
    print(f"| making both | {seconds:.1f} s | |", file=out)
    print(f"| to_jshtml, 50 frames, one panel | {megabytes(theirs):.2f} MB in {their_seconds:.1f} s | |", file=out)
    print(f"| bytes a frame: to_jshtml's one panel over the player's three | {per_frame / ours:.0f} | |", file=out)
    print(out.getvalue())


if __name__ == "__main__":
    main()
