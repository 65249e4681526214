"""GAN, VAE and diffusion: of like size, on the same data, in the same seconds. Lesson 05 shows the results.

    python tests/benchmarks/three_generators.py [--seeds 0 1 2] [--rows N] [--out data/figures/three_generators.json]

On the digits 60 s each, on the 25 Gaussians 10 s each, there the GAN also with Adam's usual momentum. One thread; nothing else
should run on its core. The networks of the digits are kept in build/three_generators, those of seed 0 are the shipped ones.
Rows that are in the file already are not made again; `--rows` stops after so many.
"""

import argparse
import json
import os
import shutil
from functools import partial
from pathlib import Path

import torch

from course_lib import checkpoints, models, recipes

ROOT = Path(__file__).parents[2]
OUT, KEPT = ROOT / "data/figures/three_generators.json", ROOT / "build/three_generators"
SECONDS = {"digits": 60, "points": 10}
DIGITS = {"GAN": "gan", "VAE": "vae", "diffusion": "diffusion"}
POINTS = {
    "GAN": (recipes.gan_of_points, recipes.train_gan),
    "GAN with momentum": (recipes.gan_of_points, partial(recipes.train_gan, momentum=0.5)),
    "VAE": (recipes.vae_of_points, recipes.train_vae),
    "diffusion": (recipes.diffusion_of_points, recipes.train_diffusion),
}


def on_digits(name: str, seed: int) -> dict:
    path = KEPT / f"{DIGITS[name]}-{seed}.safetensors"
    record = models.make(DIGITS[name], seed=seed, device="cpu", seconds=SECONDS["digits"], out=path)
    if seed == 0:
        shutil.copy(path, checkpoints.FOLDER / f"{DIGITS[name]}.safetensors")
    return {key: record[key] for key in ("parameters", "steps", "figures")}


def on_points(name: str, seed: int) -> dict:
    build, training = POINTS[name]
    model = build(seed)
    *_, progress = training(model, seconds=SECONDS["points"], seed=seed, data=recipes.some_points)
    parameters = sum(p.numel() for p in getattr(model, "net", model).parameters())
    return {"parameters": parameters, "steps": progress.step, "figures": recipes.rival_points_figures(model)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    made_by = {
        "command": "python tests/benchmarks/three_generators.py",
        "seconds": SECONDS,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
    }
    found = json.loads(args.out.read_text()) if args.out.is_file() else made_by | {"runs": []}
    have = {(run["data"], run["model"], run["seed"]) for run in found["runs"]}
    todo = [("points", name, seed) for seed in args.seeds for name in POINTS]
    todo += [("digits", name, seed) for seed in args.seeds for name in DIGITS]
    for data, name, seed in [row for row in todo if row not in have][: args.rows]:
        made = (on_points if data == "points" else on_digits)(name, seed)
        found["runs"].append({"data": data, "model": name, "seed": seed} | made)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        partial_file = args.out.with_suffix(".partial")
        partial_file.write_text(json.dumps(found, indent=1) + "\n")
        os.replace(partial_file, args.out)
        print(json.dumps(found["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
