"""Guidance by text: the attributes of a caption that are right, over w, for captions seen and not seen in training.

    python tests/benchmarks/text_guidance.py [--n 100] [--seeds 0 1 2]

The shipped text2shape, 20 DDIM steps, pairs of objects, scored by the shipped detector. Lesson 09 shows the results.
"""

from rows import Benchmark, Part, measure
from scores import right

from course_lib.datasets import scenes
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.zoo import models
from course_lib.zoo.recipes.shapes import pair_prompts

WS = (0.0, 1.0, 2.0, 3.0, 5.0)


def jobs(seeds):
    return [{"seed": seed, "split": split, "w": w} for seed in seeds for split in scenes.SPLITS for w in WS]


def row(n: int, seed: int, split: str, w: float) -> dict:
    """The share of n captions of a split for which each attribute is right."""
    network, (prompts, scene) = models.load("text2shape"), pair_prompts(n, split, seed)
    found = right(sample(classifier_free(network, prompts, w), network.draw_noise(n, seeded(seed)), 20), scene)
    found.pop("place")  # which a pair does not have
    return {"right": found}


BENCH = Benchmark("text_guidance", [Part(jobs=jobs, row=row)], amounts={"n": 100})

if __name__ == "__main__":
    measure(__doc__, BENCH)
