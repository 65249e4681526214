"""Quality against the number of steps, DDIM and DDPM: the miniature of Song et al. 2021, Table 1.

    python tests/benchmarks/ddim_steps.py [--n 500] [--seeds 0 1 2]

The shipped digit model without guidance (w = 1), from the same noise for every row of a seed. Lesson 14 shows the results.
"""

import time

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores, digits_floor

from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.zoo import models

STEPS, ETAS = (5, 10, 20, 50, 100, 1000), (0.0, 1.0)


def jobs(seeds):
    return [{"seed": seed, "steps": steps, "eta": eta} for seed in seeds for steps in STEPS for eta in ETAS]


def row(n: int, seed: int, steps: int, eta: float) -> dict:
    """The scores of n samples in `steps` steps, and the seconds that sampling took."""
    network, label, rng = models.load("digits"), torch.arange(n) % 10, seeded(seed)
    noise = network.draw_noise(n, rng)
    begun = time.perf_counter()
    made = sample(network.given(label), noise, steps, batch=n, eta=eta, rng=rng)
    return {"seconds": round(time.perf_counter() - begun, 1), "figures": digit_scores(made, label)}


BENCH = Benchmark(
    "ddim_steps", [Part(jobs=jobs, row=row, once={"the same, real against real": digits_floor})], amounts={"n": 500}
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
