"""Quality against the number of steps, DDIM and DDPM: the miniature of Song et al. 2021, Table 1.

    python tests/benchmarks/ddim_steps.py [--n 500] [--seeds 0 1 2] [--out data/figures/ddim_steps.json]

The shipped digit model, plain (w = 1), from the same noise for every row of a seed. Lesson 14 shows the results. Rows that are
in the file already are not made again, so that it may be stopped at any time.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from course_lib import metrics, models
from course_lib.datasets import digits
from course_lib.samplers import ddim, result

OUT = Path(__file__).parents[2] / "data/figures/ddim_steps.json"
STEPS, ETAS = (5, 10, 20, 50, 100, 1000), (0.0, 1.0)


@torch.no_grad()
def judged(made: torch.Tensor, label: torch.Tensor) -> dict:
    """What the shipped classifier says of samples made (n, 1, 16, 16) for labels (n,), beside n held-out digits."""
    judge = models.load("classifier")
    features, real = judge.features(made), judge.features(digits.load("held_out")[0][: len(made)])
    precision, recall = metrics.precision_recall(real, features)
    figures = {
        "Frechet distance": metrics.frechet_distance(features, real),
        "class accuracy": metrics.accuracy(judge(made), label),
        "precision": precision,
        "recall": recall,
    }
    return {name: round(value, 4) for name, value in figures.items()}


def measured(n: int, seed: int, steps: int, eta: float) -> dict:
    """One row: n samples of so many steps, beside n held-out digits."""
    network, label = models.load("digits"), torch.arange(n) % 10
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 16, 16, generator=rng)
    begun = time.perf_counter()
    made = result(ddim(network.given(label), x, network.process.times(steps), eta, rng))
    seconds = time.perf_counter() - begun
    return {"seed": seed, "steps": steps, "eta": eta, "seconds": round(seconds, 1), "figures": judged(made, label)}


def floor(n: int) -> float:
    """The Frechet distance of n real digits from n held-out ones."""
    judge = models.load("classifier")
    with torch.no_grad():
        train, held_out = (judge.features(digits.load(split)[0][:n]) for split in ("train", "held_out"))
    return metrics.frechet_distance(train, held_out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    command = f"python tests/benchmarks/ddim_steps.py --n {args.n}"
    if args.out.is_file():
        found = json.loads(args.out.read_text())
        if found["n"] != args.n:
            parser.error(f"--n must be {found['n']}, as in {args.out}, got {args.n}; or give another --out")
    else:
        found = {"command": command, "n": args.n, "torch": torch.__version__.split("+")[0]}
        found |= {"the same, real against real": round(floor(args.n), 4), "runs": []}
    have = {(run["seed"], run["steps"], run["eta"]) for run in found["runs"]}
    for seed in args.seeds:
        for steps in STEPS:
            for eta in ETAS:
                if (seed, steps, eta) not in have:
                    found["runs"].append(measured(args.n, seed, steps, eta))
                    args.out.parent.mkdir(parents=True, exist_ok=True)
                    partial = args.out.with_suffix(".partial")
                    partial.write_text(json.dumps(found, indent=1) + "\n")
                    os.replace(partial, args.out)
                    print(json.dumps(found["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
