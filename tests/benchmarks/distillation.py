"""Quality against steps of every student, beside its teacher's: Frechet distance and class accuracy.

    python tests/benchmarks/distillation.py [--n 1000] [--seeds 0 1 2] [--out data/figures/distillation.json]
    python tests/benchmarks/distillation.py --from-nothing
    python tests/benchmarks/distillation.py --latents [--seeds 0 1 2]
    python tests/benchmarks/distillation.py --latency

The seed decides the noise that sampling starts from and, for the consistency samplers, the fresh noise: three seeds tell how
much of a figure is the luck of the draw. They say nothing of other trainings, since each model ships once. Rows that are in the
file already are not made again. Lessons 17 and 18 show the results. `--from-nothing` trains the two consistency models as those
that ship, but not from the digits' weights, and measures them. `--latents` asks the reader of shapes what is right in 200
decoded pictures, of the latent student's and of its teacher's. `--latency` measures seconds alone, and wants both cores.
"""

import argparse
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from ddim_steps import floor, judged
from PIL import Image

from course_lib import models, plots
from course_lib.datasets import scenes
from course_lib.denoisers import Network
from course_lib.recipes import RECIPES
from course_lib.recipes.latents import latents_jumped
from course_lib.recipes.shapes import asked, drawn
from course_lib.samplers import consistency, ddim, result
from course_lib.training import show_progress

OUT = Path(__file__).parents[2] / "data/figures/distillation.json"
ROWS = (
    *(("digits", "ddim", k, 1.0) for k in (1, 2, 4, 8, 16, 32, 64)),
    *((f"progressive{k}", "ddim", k, 1.0) for k in (1, 2, 4, 8, 16, 32)),
    *((name, "consistency", k, 1.0) for name in ("consistency", "consistency_trained") for k in (1, 2, 4)),
    *(("guided", "consistency", k, w) for w in (1.0, 2.0, 4.0) for k in (1, 2, 4)),
    *(("digits", "ddim", 16, w) for w in (2.0, 4.0)),
)
"""Model, sampler, steps and guidance of each row."""
LATENTS = (
    *(("latent_student", k, w) for k in (1, 2, 4) for w in (1.0, 3.0, 5.0)),
    *(("latent2shape", k, 3.0) for k in (1, 2, 4, 8, 25)),
    *(("latent2shape", 25, w) for w in (1.0, 5.0)),
)
"""Model, steps and guidance of each row."""


def measured(n: int, seed: int, name: str, sampler: str, steps: int, w: float, network: Network | None = None) -> dict:
    """One row: n samples of so many steps, beside n held-out digits; of the shipped model of that name, or of `network`."""
    network, label = network or models.load(name), torch.arange(n) % 10
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 16, 16, generator=rng)
    begun = time.perf_counter()
    made = result(
        {"ddim": ddim, "consistency": consistency}[sampler](
            models.guided(network, label, w), x, network.process.times(steps), rng=rng
        )
    )
    seconds = time.perf_counter() - begun
    row = {"seed": seed, "model": name, "sampler": sampler, "steps": steps, "w": w, "seconds": round(seconds, 1)}
    return row | {"figures": judged(made, label)}


def read(seed: int, name: str, steps: int, w: float, n: int = 200) -> dict:
    """One row: what the reader finds in n pictures of pairs, drawn in latents and decoded."""
    network, through = models.load(name), models.load("autoencoder")
    said, scene = asked(n, "train")
    draw = latents_jumped if name == "latent_student" else drawn
    right = scenes.agreement(models.load("reader").read(through.decode(draw(network, said, w, steps, seed))), scene)
    figures = {key: round(right[key], 4) for key in ("colour", "shape", "relation", "binding", "all")}
    return {"seed": seed, "model": name, "steps": steps, "w": w, "figures": figures}


def png(x: torch.Tensor) -> bytes:
    """Pictures x (N, C, H, W) as an explorer sends them: a grid, pixel for pixel, which the page enlarges."""
    out = io.BytesIO()
    Image.fromarray((plots.grid(x) * 255).round().astype(np.uint8)).save(out, format="png", compress_level=1)
    return out.getvalue()


def latency() -> dict:
    """Milliseconds from noise to the PNG of one picture or 16, at the middle and at the 95th of 100, while w moves."""
    rows, through = [], models.load("autoencoder")
    for name, sampler, steps, n, repeats in (
        *(("guided", consistency, steps, n, 100) for steps in (1, 2, 4) for n in (1, 16)),
        ("digits", ddim, 20, 16, 10),
        *(("latent_student", consistency, steps, 16, 100) for steps in (1, 2, 4)),
    ):
        network, taken = models.load(name), []
        asked_for = asked(n, "train")[0] if name == "latent_student" else torch.arange(n) % 10
        x = torch.randn(n, *network.net.shape, generator=torch.Generator().manual_seed(0))
        decode = through.decode if name == "latent_student" else lambda z: z
        for i in range(10 + repeats):
            begun = time.perf_counter()
            with torch.no_grad():
                png(
                    decode(
                        result(sampler(models.guided(network, asked_for, 1.5 + i % 45 / 10), x, network.process.times(steps)))
                    )
                )
            taken.append(1000 * (time.perf_counter() - begun))
        half, most = np.quantile(taken[10:], [0.5, 0.95])
        rows.append({"model": name, "steps": steps, "pictures": n, "median, ms": round(half, 1), "p95, ms": round(most, 1)})
        print(json.dumps(rows[-1]), flush=True)
    return {"threads": torch.get_num_threads(), "load of the machine besides": round(os.getloadavg()[0] - 1, 1), "rows": rows}


def write(path: Path, found: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(partial, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--from-nothing", action="store_true", help="train both consistency models from nothing instead")
    parser.add_argument("--latents", action="store_true", help="measure the latent student instead")
    parser.add_argument("--latency", action="store_true", help="measure seconds instead")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if args.out.is_file():
        found = json.loads(args.out.read_text())
        if found["n"] != args.n:
            parser.error(f"--n must be {found['n']}, as in {args.out}, got {args.n}; or give another --out")
    else:
        found = {"command": f"python tests/benchmarks/distillation.py --n {args.n}", "n": args.n}
        found |= {"torch": torch.__version__.split("+")[0], "the same, real against real": round(floor(args.n), 4), "runs": []}
    if args.latency:
        write(args.out, found | {"latency": latency()})
        return
    if args.from_nothing:
        rows = found.setdefault("from nothing", [])
        for name in ("consistency", "consistency_trained"):
            if name not in {row["model"] for row in rows}:
                network = RECIPES[name].build(0)
                show_progress(RECIPES[name].train(network, begun=False), name)
                rows += [measured(args.n, seed, name, "consistency", k, 1.0, network) for seed in args.seeds for k in (1, 2, 4)]
                write(args.out, found)
        return
    if args.latents:
        rows = found.setdefault("latents", [])
        have = {(row["seed"], row["model"], row["steps"], row["w"]) for row in rows}
        for seed in args.seeds:
            for row in LATENTS:
                if (seed, *row) not in have:
                    rows.append(read(seed, *row))
                    write(args.out, found)
                    print(json.dumps(rows[-1]), flush=True)
        return
    have = {(run["seed"], run["model"], run["sampler"], run["steps"], run["w"]) for run in found["runs"]}
    for seed in args.seeds:
        for row in ROWS:
            if (seed, *row) not in have and models.records()[row[0]]:
                found["runs"].append(measured(args.n, seed, *row))
                write(args.out, found)
                print(json.dumps(found["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
