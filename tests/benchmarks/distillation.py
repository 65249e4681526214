"""Quality over the number of steps of every student and its teacher: Frechet distance and class accuracy.

    python tests/benchmarks/distillation.py samples [--n 1000] [--seeds 0 1 2]
    python tests/benchmarks/distillation.py from-nothing     # both consistency models, trained but not from the digits' weights
    python tests/benchmarks/distillation.py latents          # the latent student and its teacher, 200 decoded pictures each
    python tests/benchmarks/distillation.py latency          # milliseconds to a picture, on a quiet machine

The seed decides the noise that sampling starts from and, for the consistency samplers, the fresh noise: three seeds show how
much a figure varies with the noise. They do not cover other trainings, since each model ships once. Lessons 17 and 18 show the
results.
"""

import io
import os
import time
from functools import cache

import numpy as np
import torch
from PIL import Image
from rows import Benchmark, Part, measure
from scores import digit_scores, digits_floor, right

from course_lib import plots
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import consistency, ddim, sample
from course_lib.training import show_progress
from course_lib.zoo import models
from course_lib.zoo.recipes import RECIPES
from course_lib.zoo.recipes.shapes import pair_prompts

SAMPLERS = {"ddim": ddim, "consistency": consistency}
KINDS = (
    *(("digits", "ddim", k, 1.0) for k in (1, 2, 4, 8, 16, 32, 64)),
    *((f"progressive{k}", "ddim", k, 1.0) for k in (1, 2, 4, 8, 16, 32)),
    *((name, "consistency", k, 1.0) for name in ("consistency", "consistency_trained") for k in (1, 2, 4)),
    *(("guided", "consistency", k, w) for w in (1.0, 2.0, 4.0) for k in (1, 2, 4)),
    *(("digits", "ddim", 16, w) for w in (2.0, 4.0)),
)
"""Model, sampler, steps and guidance of each row."""
FROM_NOTHING = tuple(kind for kind in KINDS if kind[0] in ("consistency", "consistency_trained"))
LATENTS = (
    *(("latent_student", k, w) for k in (1, 2, 4) for w in (1.0, 3.0, 5.0)),
    *(("latent2shape", k, 3.0) for k in (1, 2, 4, 8, 25)),
    *(("latent2shape", 25, w) for w in (1.0, 5.0)),
)
"""Model, steps and guidance of each row."""


def jobs_of(kinds, *keys):
    return lambda seeds: [{"seed": seed} | dict(zip(keys, kind)) for seed in seeds for kind in kinds]


def scored(network: Network, n: int, seed: int, sampler: str, steps: int, w: float) -> dict:
    """The scores of n digits in `steps` steps, and the seconds that sampling took."""
    label, rng = torch.arange(n) % 10, seeded(seed)
    noise = network.draw_noise(n, rng)
    begun = time.perf_counter()
    made = sample(classifier_free(network, label, w), noise, steps, SAMPLERS[sampler], batch=n, rng=rng)
    return {"seconds": round(time.perf_counter() - begun, 1), "figures": digit_scores(made, label)}


@cache
def trained_from_nothing(name: str) -> Network:
    """A consistency model trained by its recipe, but from random weights."""
    network = RECIPES[name].build(0)
    show_progress(RECIPES[name].train(network, warm_start=False), name)
    return network


def latents_row(n: int, seed: int, model: str, steps: int, w: float) -> dict:
    """The detector's scores of 200 pictures of pairs, generated as latents and decoded."""
    network, (prompts, scene), rng = models.load(model), pair_prompts(200, "train"), seeded(seed)
    noise = network.draw_noise(len(prompts), rng)
    options = {"sampler": consistency, "batch": len(prompts), "rng": rng} if model == "latent_student" else {}
    x = models.load("autoencoder").decode(sample(classifier_free(network, prompts, w), noise, steps, **options))
    return {"figures": right(x, scene, ("colour", "shape", "relation", "binding", "all"))}


def png(x: torch.Tensor) -> bytes:
    """Pictures x (N, C, H, W) as an explorer sends them: a grid, pixel for pixel, which the page enlarges."""
    out = io.BytesIO()
    Image.fromarray((plots.grid(x) * 255).round().astype(np.uint8)).save(out, format="png", compress_level=1)
    return out.getvalue()


@torch.no_grad()
def latency(n: int) -> dict:
    """Milliseconds from noise to the PNG of one picture or 16, the median and the 95th percentile of 100, while w changes."""
    rows, autoencoder = [], models.load("autoencoder")
    for name, sampler, steps, pictures, repeats in (
        *(("guided", consistency, steps, n, 100) for steps in (1, 2, 4) for n in (1, 16)),
        ("digits", ddim, 20, 16, 10),
        *(("latent_student", consistency, steps, 16, 100) for steps in (1, 2, 4)),
    ):
        network, of_latents, taken = models.load(name), name == "latent_student", []
        cond = pair_prompts(pictures, "train")[0] if of_latents else torch.arange(pictures) % 10
        noise, decode = network.draw_noise(pictures, seeded(0)), autoencoder.decode if of_latents else lambda z: z
        for i in range(10 + repeats):
            begun = time.perf_counter()
            png(decode(sample(classifier_free(network, cond, 1.5 + i % 45 / 10), noise, steps, sampler)))
            taken.append(1000 * (time.perf_counter() - begun))
        half, most = np.quantile(taken[10:], [0.5, 0.95])
        row = {"model": name, "steps": steps, "pictures": pictures}
        rows.append(row | {"median, ms": round(half, 1), "p95, ms": round(most, 1)})
    return {"threads": torch.get_num_threads(), "load of the machine besides": round(os.getloadavg()[0] - 1, 1), "rows": rows}


KEYS = ("model", "sampler", "steps", "w")
BENCH = Benchmark(
    "distillation",
    [
        Part(
            "samples",
            jobs_of(KINDS, *KEYS),
            lambda n, model, **job: scored(models.load(model), n, **job),
            once={"the same, real against real": digits_floor},
        ),
        Part(
            "from-nothing",
            jobs_of(FROM_NOTHING, *KEYS),
            lambda n, model, **job: scored(trained_from_nothing(model), n, **job),
            into="from nothing",
        ),
        Part("latents", jobs_of(LATENTS, "model", "steps", "w"), latents_row, into="latents"),
        Part("latency", once={"latency": latency}),
    ],
    amounts={"n": 1000},
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
