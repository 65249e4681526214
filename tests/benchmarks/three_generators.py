"""A GAN, a VAE and a diffusion model of similar size, on the same data, with equal training time. Lesson 05 shows the results.

    python tests/benchmarks/three_generators.py [--seeds 0 1 2] [--only data=points]

60 s each on the digits, 10 s each on the 25 Gaussians, where the GAN is also trained with Adam's usual momentum. One thread, on
a core without other work. The networks of the digits are kept in build/three_generators; those of seed 0 are also shipped.
"""

import shutil
from functools import partial

from rows import BUILD, Benchmark, Part, measure
from scores import parameters

from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import gan_vae

SECONDS = {"digits": 60, "points": 10}
DIGITS = {"GAN": "gan", "VAE": "vae", "diffusion": "diffusion"}
POINTS = {
    "GAN": (gan_vae.points_gan, gan_vae.train_gan),
    "GAN with momentum": (gan_vae.points_gan, partial(gan_vae.train_gan, momentum=0.5)),
    "VAE": (gan_vae.points_vae, gan_vae.train_vae),
    "diffusion": (gan_vae.points_diffusion, gan_vae.train_diffusion),
}


def jobs(seeds):
    kinds = {"points": POINTS, "digits": DIGITS}
    return [{"data": data, "model": name, "seed": seed} for data in kinds for seed in seeds for name in kinds[data]]


def row(data: str, model: str, seed: int) -> dict:
    return (on_points if data == "points" else on_digits)(model, seed)


def on_digits(name: str, seed: int) -> dict:
    path = BUILD / f"three_generators/{DIGITS[name]}-{seed}.safetensors"
    record = models.make(DIGITS[name], seed=seed, device="cpu", seconds=SECONDS["digits"], out=path)
    if seed == 0:
        shutil.copy(path, checkpoints.shipped(DIGITS[name]))
    return {key: record[key] for key in ("parameters", "steps", "figures")}


def on_points(name: str, seed: int) -> dict:
    build, training = POINTS[name]
    model = build(seed)
    *_, end = training(model, seconds=SECONDS["points"], seed=seed, data=gan_vae.some_points)
    figures = gan_vae.generator_points_figures(model)
    return {"parameters": parameters(getattr(model, "net", model)), "steps": end.step, "figures": figures}


BENCH = Benchmark("three_generators", [Part(jobs=jobs, row=row)], header={"seconds": SECONDS}, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
