"""The speed of the training data of shapes: scenes, pictures, captions, tokens and detected pictures per second.

    python tests/benchmarks/shapes.py [--seconds 5] [--train text2shape]

With --train, the time of one step of that recipe, on the cores that torch uses.
"""

import argparse
import time

import torch

from course_lib.datasets import captions, scenes, shapes
from course_lib.process import seeded
from course_lib.zoo import models
from course_lib.zoo.recipes import RECIPES


def rate(what, seconds: float, batch: int) -> float:
    """The rate per second of `what`, which makes `batch` per call, after one call to warm up."""
    what()
    begun, calls = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        what()
        calls += 1
    return calls * batch / (time.perf_counter() - begun)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--train", help="a recipe's name")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}")
    if args.train:
        recipe = RECIPES[args.train]
        training = iter(recipe.train(recipe.build()))
        print(f"{args.train}: {1 / rate(lambda: next(training), args.seconds, 1):.3f} s a step")
        return
    rng, n = seeded(0), 512
    scene = scenes.sample(n, rng)
    prompts, _ = captions.tell(scene, rng)
    x, detector = shapes.draw(scene, rng), models.load("reader")
    for name, what in {
        "scenes": lambda: scenes.sample(n, rng),
        "pictures of given scenes": lambda: shapes.draw(scene, rng),
        "scenes with their pictures": lambda: shapes.draw(scenes.sample(n, rng), rng),
        "captions": lambda: captions.tell(scene, rng),
        "captions as tokens": lambda: captions.tokens(prompts),
        "pictures scored": lambda: detector.detect(x),
    }.items():
        print(f"{name:28} {rate(what, args.seconds, n):>10,.0f} a second")


if __name__ == "__main__":
    main()
