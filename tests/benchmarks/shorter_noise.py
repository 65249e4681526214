"""Guidance beside shorter initial noise: two ways to trade diversity for fidelity with the digits' model.

    python tests/benchmarks/shorter_noise.py [--n 500] [--seeds 0 1 2]

The shipped network, 25 steps of DDIM, classifier-free guidance of weight w, and initial noise times `length`. A seed is a set
of noises, other ones than in guidance_sweep.py. Evaluated by the shipped classifier. Lesson 08 shows the results; it takes
about four minutes of one core.
"""

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores

from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.zoo import models

ARMS = [*((w, 1) for w in (1, 1.5, 2, 3)), *((1, length) for length in (0.95, 0.9, 0.8, 0.7))]


def scored(n: int, seed: int, w: float, length: float) -> dict:
    """The scores of n samples that begin at noise times `length`."""
    network, label = models.load("digits"), torch.arange(n) % 10
    noise = length * network.draw_noise(n, seeded(200 + seed))
    return {"figures": digit_scores(sample(classifier_free(network, label, w), noise, 25, batch=n), label)}


def jobs(seeds):
    return [{"seed": seed, "w": w, "length": length} for seed in seeds for w, length in ARMS]


BENCH = Benchmark("shorter_noise", [Part(jobs=jobs, row=scored)], amounts={"n": 500})

if __name__ == "__main__":
    measure(__doc__, BENCH)
