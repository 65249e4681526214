"""The player with 1,000 frames of 16 digits: its bytes, its speed in headless Chromium, and matplotlib's to_jshtml beside it.

    python tests/benchmarks/player.py

Required: under 8 MB, 60 frames a second; under 1.5 MB stored in a notebook.
"""

import argparse
import time

import matplotlib.animation
import matplotlib.pyplot as plt
import torch
from pages import chromium, open_page

from course_lib import plots
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import ddpm
from course_lib.widgets.player import play
from course_lib.zoo import models

DRAW = """async () => {
  const { player } = document.querySelector(".course-player"), times = [];
  for (let i = 0; i < 300; i++) {
    const begun = performance.now();
    player.seek((37 * i) % player.frames);
    player.draw(); // at once, not with the next frame of the screen
    document.querySelector(".course-player canvas").getContext("2d").getImageData(0, 0, 1, 1); // until it is drawn
    times.push(performance.now() - begun);
  }
  return times.sort((a, b) => a - b)[270]; // nine in ten are faster
}"""
READY = ".course-player[data-frame]"
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
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    network, rng = models.load("digits"), seeded(0)
    noise = network.draw_noise(16, rng)
    guided = classifier_free(network, torch.arange(16) % 10, 2.0)
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

    with chromium() as browser:
        kept = open_page(browser, stored, READY).evaluate(FRAMES)
        page = open_page(browser, long, READY)
        frames, spent, rate = (page.evaluate(question) for question in (FRAMES, DRAW, SCRUB))

    megabytes = lambda text: len(text.encode()) / 1e6
    ours, per_frame = megabytes(long.html) / frames, megabytes(theirs) / 50
    rows = [
        ("figure", "measured", "required"),
        ("---", "---", "---"),
        ("1,000 frames of 16 digits, three panels", f"{megabytes(long.html):.2f} MB, {frames} frames", "under 8 MB"),
        ("drawing a frame chosen at random, nine in ten", f"{spent:.1f} ms", "under 16.7 ms"),
        ("scrubbing, one frame for each that the screen shows", f"{rate:.0f} a second", "60 a second"),
        ("what a notebook stores of the same film", f"{megabytes(stored.html):.2f} MB, {kept} frames", "under 1.5 MB"),
        ("making both", f"{seconds:.1f} s", ""),
        ("to_jshtml, 50 frames, one panel", f"{megabytes(theirs):.2f} MB in {their_seconds:.1f} s", ""),
        ("bytes a frame: to_jshtml's one panel over the player's three", f"{per_frame / ours:.0f}", ""),
    ]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()
