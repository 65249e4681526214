"""What guidance does to text: which attributes of a caption are right, over w, on captions seen and unseen.

    python tests/benchmarks/text_guidance.py [--n 100] [--seeds 0 1 2] [--out data/figures/text_guidance.json]

The shipped text2shape, 20 DDIM steps, pairs of objects, judged by the shipped reader. Lesson 09 shows the results. Rows that
are in the file already are not made again, so that it may be stopped at any time.
"""

import argparse
import json
import os
from pathlib import Path

import torch

from course_lib import models
from course_lib.datasets import scenes
from course_lib.recipes.shapes import asked, drawn

OUT = Path(__file__).parents[2] / "data/figures/text_guidance.json"
WS = (0.0, 1.0, 2.0, 3.0, 5.0)


def measured(n: int, seed: int, split: str, w: float) -> dict:
    """One row: n captions of a split, the share of pictures in which each attribute is right."""
    said, scene = asked(n, split, seed)
    x = drawn(models.load("text2shape"), said, w, steps=20, seed=seed)
    right = scenes.agreement(models.load("reader").read(x), scene)
    right.pop("place")  # which a pair has not
    return {"seed": seed, "split": split, "w": w, "right": {name: round(share, 4) for name, share in right.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    found = {"command": f"python tests/benchmarks/text_guidance.py --n {args.n}", "n": args.n}
    found |= {"torch": torch.__version__.split("+")[0], "runs": []}
    if args.out.is_file():
        found = json.loads(args.out.read_text())
        if found["n"] != args.n:
            parser.error(f"--n must be {found['n']}, as in {args.out}, got {args.n}; or give another --out")
    have = {(run["seed"], run["split"], run["w"]) for run in found["runs"]}
    for seed in args.seeds:
        for split in scenes.SPLITS:
            for w in WS:
                if (seed, split, w) not in have:
                    found["runs"].append(measured(args.n, seed, split, w))
                    args.out.parent.mkdir(parents=True, exist_ok=True)
                    partial = args.out.with_suffix(".partial")
                    partial.write_text(json.dumps(found, indent=1) + "\n")
                    os.replace(partial, args.out)
                    print(json.dumps(found["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
