"""Stable Diffusion 3's choices one at a time: the straight path and DDIM's, the MM-DiT and cross-attention.

    python tests/benchmarks/sd3.py                          # all of the following, and the milliseconds of a training step
    python tests/benchmarks/sd3.py --only name=shipped      # the shipped model
    python tests/benchmarks/sd3.py --only name=ddim         # the same network, sampled by DDIM along lesson 09's process
    python tests/benchmarks/sd3.py --only name=joint        # the MM-DiT after its first cycle: trained, then evaluated
    python tests/benchmarks/sd3.py --only name=cross        # cross-attention in place of joint attention, in equal time

The last two have the same pictures, prompts and training time, half that of the shipped model, where they still differ. The
number of steps follows from the measured cost. Scores: the spelling of words that were not in training, and all right in
pictures of two objects, w = 3, from the same noise; for the first two over the number of steps. Lesson 16 shows the results.
"""

import inspect
from functools import cache

import torch
from rows import Benchmark, Part, load, measure
from scores import detector, parameters
from timing import min_milliseconds

from course_lib.datasets import scenes, words
from course_lib.denoisers import Denoiser, OnPath
from course_lib.guidance import classifier_free
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim, rectified_flow, sample
from course_lib.schedules import linear_beta
from course_lib.zoo import models
from course_lib.zoo.recipes.recipe import learner_of
from course_lib.zoo.recipes.sd3 import prompted_loss, sd3_network, spelling_prompts, train_sd3
from course_lib.zoo.recipes.shapes import pair_prompts

COST = "milliseconds of a training step, one thread"
RUNS = ("shipped", "ddim", "joint", "cross")
STEPS, SEEDS = (1, 2, 4, 8, 16, 32), (1, 2, 3)


def cost(n: int) -> dict[str, float]:
    """Milliseconds of processor time for a training step, the minimum of twenty, in turns."""

    def step_of(joint: bool):
        network, rng = learner_of(sd3_network(joint=joint)), seeded(0)
        network.net.text.requires_grad_(False)
        optimizer, autoencoder = torch.optim.AdamW(network.net.parameters(), fused=True), models.load("autoencoder")

        def step():
            prompted_loss(network, autoencoder, rng).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    found = min_milliseconds({name: step_of(name == "joint") for name in ("joint", "cross")}, 20)
    return {name: round(spent, 1) for name, spent in found.items()}


def denoiser_of(network, prompts: list[str], w: float, arc: bool) -> Denoiser:
    """The network conditioned on these prompts, on its own straight path or along the arc of lesson 09's process."""
    guided = classifier_free(network, prompts, w)
    return OnPath(guided, DDPM(linear_beta(1000))) if arc else guided


def straightness(network, prompts: list[str], w: float, arc: bool) -> float:
    """The mean length of the latents' paths from noise to data, in 64 steps, as a multiple of the straight distance."""
    denoiser, sampler = denoiser_of(network, prompts, w, arc), ddim if arc else rectified_flow
    steps = sampler(denoiser, network.draw_noise(len(prompts), seeded(1)), denoiser.process.times(64))
    path = torch.stack([step.x for step in steps])
    length = path.diff(dim=0).flatten(2).norm(dim=2).sum(0)
    return round(float((length / (path[-1] - path[0]).flatten(1).norm(dim=1)).mean()), 3)


@cache
def autoencoder():
    return models.load("autoencoder")


@torch.no_grad()
def scored(network, each: int, counts: tuple[int, ...], arc: bool = False) -> list[dict]:
    """For each number of steps, mean and standard deviation over three seeds: the share of `each` new words that are spelt
    right, and of what is right in `each` pictures of two objects."""

    def generate(prompts: list[str], steps: int, seed: int):
        noise = network.draw_noise(len(prompts), seeded(seed))
        sampler = ddim if arc else rectified_flow
        return autoencoder().decode(sample(denoiser_of(network, prompts, 3.0, arc), noise, steps, sampler, batch=len(prompts)))

    rows = []
    for steps in counts:
        found = {"letters": [], "spelt": [], "binding": [], "all": []}
        for seed in SEEDS:
            prompts, spelling = spelling_prompts(each, new=True, seed=seed)
            spelt = words.agreement(words.read(generate(prompts, steps, seed)), spelling)
            prompts, scene = pair_prompts(each, "train", seed)
            shown = scenes.agreement(detector().detect(generate(prompts, steps, seed)), scene)
            for name, values in found.items():
                values.append((spelt if name in ("letters", "spelt") else shown)[name])
        stats = {name: [round(float(f(torch.tensor(v))), 4) for f in (torch.mean, torch.std)] for name, v in found.items()}
        rows.append({"steps": steps, **stats})
    return rows


def row(n: int, name: str) -> dict:
    """The scores of the shipped network along the straight path or the arc, or of one of the two that are trained here."""
    if name in ("shipped", "ddim"):
        network, arc = models.load("sd3"), name == "ddim"
        prompts = spelling_prompts(16, new=True)[0] + pair_prompts(16, "train")[0]
        bend = {f"w = {w:g}": straightness(network, prompts, w, arc) for w in (1.0, 3.0)}
        return {"rows": scored(network, n, STEPS, arc), "path over straight way": bend}
    network, cycle = sd3_network(joint=name == "joint"), inspect.signature(train_sd3).parameters["steps"].default // 2
    ms = load("sd3")[COST]
    *_, end = train_sd3(network, steps=round(cycle * ms["joint"] / ms[name]), cycles=1)
    network.net.eval()
    found = {"steps": end.step, "parameters": parameters(network.net), "loss": round(end.loss, 4)}
    return found | {"rows": scored(network, 2 * n, STEPS[-1:])}


PART = Part(jobs=lambda seeds: [{"name": name} for name in RUNS], row=row, by="name", once={COST: cost})
BENCH = Benchmark("sd3", [PART], amounts={"n": 50}, seeds=(), threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
