"""Stable Diffusion 3's choices one at a time: the flow against DDIM, and the MM-DiT against cross-attention.

    python tests/benchmarks/sd3.py cost            # first: milliseconds a training step, in turns
    python tests/benchmarks/sd3.py judge shipped   # the model that ships
    python tests/benchmarks/sd3.py judge ddim      # the same network, walked by DDIM along lesson 09's process: see OnPath
    python tests/benchmarks/sd3.py judge joint     # the MM-DiT after its first cycle: trained, then judged
    python tests/benchmarks/sd3.py judge cross     # cross-attention in place of joint attention, as long: trained, then judged

The last two have the same pictures, prompts and training time, half that of the shipped model, where they still differ: as many
steps as fit into it at the measured cost. What is judged: spelling of words that training never showed, and everything right
in pictures of two objects, w = 3, from the same noise; the first two over the number of steps. Results: data/figures/sd3.json.
Rows that are there already are kept.
"""

import argparse
import inspect
import json
import os
import time
from pathlib import Path

import torch

from course_lib import models
from course_lib.datasets import scenes, words
from course_lib.denoisers import Denoiser, OnPath
from course_lib.process import DDPM
from course_lib.recipes.latents import shipped_autoencoder
from course_lib.recipes.recipe import learner_of
from course_lib.recipes.sd3 import prompted_loss, sd3_network, spelling_asked, train_sd3
from course_lib.recipes.shapes import asked, shipped_reader
from course_lib.samplers import Step, ddim, rectified_flow
from course_lib.schedules import linear_beta

OUT = Path(__file__).parents[2] / "data/figures/sd3.json"
RUNS = ("shipped", "ddim", "joint", "cross")
STEPS, SEEDS = (1, 2, 4, 8, 16, 32), (1, 2, 3)


def cost() -> dict[str, float]:
    """Milliseconds of the processor's time for a training step, the least of twenty, in turns."""
    turns, found, through = {}, {}, shipped_autoencoder()
    for name in ("joint", "cross"):
        network = learner_of(sd3_network(joint=name == "joint"))
        network.net.text.requires_grad_(False)
        turns[name] = network, torch.optim.AdamW(network.net.parameters(), fused=True), torch.Generator().manual_seed(0)
    for _ in range(20):
        for name, (network, optimizer, rng) in turns.items():
            begun = time.process_time()
            prompted_loss(network, through, rng).backward()
            optimizer.step()
            optimizer.zero_grad()
            found[name] = round(min(1000 * (time.process_time() - begun), found.get(name, 1e9)), 1)
    return found


def guided(network, said: list[str], w: float, arc: bool) -> Denoiser:
    """The network asked for these prompts, on its own straight path or along the arc of lesson 09's process."""
    asked_for = models.guided(network, said, w)
    return OnPath(asked_for, DDPM(linear_beta(1000))) if arc else asked_for


def walked(network, said: list[str], w: float, steps: int, seed: int, arc: bool) -> list[Step]:
    """All the steps from noise to latents, by Euler's rule along the straight path or by DDIM along the arc."""
    denoiser = guided(network, said, w, arc)
    noise = torch.randn(len(said), *network.net.shape, generator=torch.Generator().manual_seed(seed))
    return list((ddim if arc else rectified_flow)(denoiser, noise, denoiser.process.times(steps)))


def straightness(network, said: list[str], w: float, arc: bool) -> float:
    """How long the path of each latent is from noise to data, in 64 steps, as a multiple of the straight way; the mean."""
    path = torch.stack([step.x for step in walked(network, said, w, 64, 1, arc)])
    length = path.diff(dim=0).flatten(2).norm(dim=2).sum(0)
    return round(float((length / (path[-1] - path[0]).flatten(1).norm(dim=1)).mean()), 3)


@torch.no_grad()
def judged(network, each: int, counts: tuple[int, ...], arc: bool = False) -> list[dict]:
    """By the number of steps: mean and spread over three seeds of what is spelt right of `each` new words, and of what is right
    in `each` pictures of two objects."""
    through, judge, rows = shipped_autoencoder(), shipped_reader(), []
    for steps in counts:
        found = {"letters": [], "spelt": [], "binding": [], "all": []}
        for seed in SEEDS:
            said, spelling = spelling_asked(each, new=True, seed=seed)
            spelt = words.agreement(words.read(through.decode(walked(network, said, 3.0, steps, seed, arc)[-1].x)), spelling)
            said, scene = asked(each, "train", seed)
            right = scenes.agreement(judge.read(through.decode(walked(network, said, 3.0, steps, seed, arc)[-1].x)), scene)
            for name, values in found.items():
                values.append((spelt if name in ("letters", "spelt") else right)[name])
        stats = {name: [round(float(f(torch.tensor(v))), 4) for f in (torch.mean, torch.std)] for name, v in found.items()}
        rows.append({"steps": steps, **stats})
    return rows


def row_of(name: str, ms: dict[str, float]) -> dict:
    """One row: the shipped network along the straight path or the arc, or one of the two that are trained here, judged."""
    if name in ("shipped", "ddim"):
        network, arc = models.load("sd3"), name == "ddim"
        said = spelling_asked(16, new=True)[0] + asked(16, "train")[0]
        bend = {f"w = {w:g}": straightness(network, said, w, arc) for w in (1.0, 3.0)}
        return {"rows": judged(network, 50, STEPS, arc), "path over straight way": bend}
    network, cycle = sd3_network(joint=name == "joint"), inspect.signature(train_sd3).parameters["steps"].default // 2
    *_, end = train_sd3(network, steps=round(cycle * ms["joint"] / ms[name]), cycles=1)
    network.net.eval()
    size = sum(p.numel() for p in network.net.parameters())
    return {"steps": end.step, "parameters": size, "loss": round(end.loss, 4), "rows": judged(network, 100, STEPS[-1:])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "judge"))
    parser.add_argument("name", nargs="?", choices=RUNS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    read = lambda: json.loads(OUT.read_text()) if OUT.is_file() else {"command": "python tests/benchmarks/sd3.py", "runs": {}}
    found = read()
    if args.what == "cost":
        made = cost()
        found = read()
        found["milliseconds of a training step, one thread"] = made
    elif args.name not in found["runs"]:
        row = row_of(args.name, found["milliseconds of a training step, one thread"])
        found = read()  # another may have finished meanwhile
        found["runs"][args.name] = row
    partial = OUT.with_suffix(f".{args.name}.partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(partial, OUT)


if __name__ == "__main__":
    main()
