"""What guidance does to text: which attributes of a caption are right, over w, on captions seen and unseen.

    python tests/benchmarks/text_guidance.py [--n 100] [--seeds 0 1 2] [--out data/figures/text_guidance.json]

The shipped text2shape, 20 DDIM steps, pairs of objects, judged by the shipped reader. Lesson 09 shows the results. Rows that
are in the file already are not made again, so that it may be stopped at any time.
"""

from rows import measure

from course_lib import models
from course_lib.datasets import scenes
from course_lib.recipes.shapes import asked, drawn

WS = (0.0, 1.0, 2.0, 3.0, 5.0)


def jobs(seeds):
    return [{"seed": seed, "split": split, "w": w} for seed in seeds for split in scenes.SPLITS for w in WS]


def row(n: int, seed: int, split: str, w: float) -> dict:
    """n captions of a split, the share of pictures in which each attribute is right."""
    said, scene = asked(n, split, seed)
    x = drawn(models.load("text2shape"), said, w, steps=20, seed=seed)
    right = scenes.agreement(models.load("reader").read(x), scene)
    right.pop("place")  # which a pair has not
    return {"right": {name: round(share, 4) for name, share in right.items()}}


if __name__ == "__main__":
    measure(__doc__, "text_guidance", 100, jobs, row)
