"""CLIP guidance over w, by a CLIP that knows noise and by one that does not: which attributes of a caption come out right.

    python tests/benchmarks/clip_guidance.py [--n 60] [--seeds 0 1 2] [--out data/figures/clip_guidance.json]

The shipped text2shape, given no caption, steered by the shipped CLIPs, 50 DDPM steps, captions of one and of two objects,
judged by the shipped reader; and what the clean CLIP makes of the pictures, the mean cosine between picture and caption.
Lesson 10 shows the results. Rows that are in the file already are not made again, so that it may be stopped at any time.
"""

import argparse
import json
import os
from pathlib import Path

import torch

from course_lib import models
from course_lib.clip_guidance import ClipGuided
from course_lib.datasets import captions, scenes
from course_lib.denoisers import NULL
from course_lib.samplers import ddpm, result

OUT = Path(__file__).parents[2] / "data/figures/clip_guidance.json"
WS, KINDS, CLIPS = (0.0, 1.0, 3.0, 10.0, 30.0), ("one", "pair"), {"noisy_clip": True, "clip": False}


@torch.no_grad()
def measured(n: int, seed: int, kind: str, name: str, w: float) -> dict:
    """One row: n captions of one kind of scene, steered by one CLIP."""
    network, guide, clean = models.load("text2shape"), models.load(name), models.load("clip")
    rng = torch.Generator().manual_seed(seed)
    said, scene = captions.tell(scenes.sample(n, rng, (kind,)), rng)
    guided = ClipGuided(network.given(NULL), guide, said, w, knows_noise=CLIPS[name])
    x = result(ddpm(guided, torch.randn(n, 3, 32, 32, generator=rng), network.process.times(50), rng)).clamp(-1, 1)
    right = scenes.agreement(models.load("reader").read(x), scene)
    right = {part: round(right[part], 4) for part in ("count", "shape", "colour", "binding", "all")}
    cosine = float((clean.picture(x) * clean.caption(captions.tokens(said))).sum(1).mean())
    return {"seed": seed, "kind": kind, "clip": name, "w": w, "right": right, "cosine": round(cosine, 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    found = {"command": f"python tests/benchmarks/clip_guidance.py --n {args.n}", "n": args.n}
    found |= {"torch": torch.__version__.split("+")[0], "runs": []}
    if args.out.is_file():
        found = json.loads(args.out.read_text())
        if found["n"] != args.n:
            parser.error(f"--n must be {found['n']}, as in {args.out}, got {args.n}; or give another --out")
    have = {(run["seed"], run["kind"], run["clip"], run["w"]) for run in found["runs"]}
    for row in [(seed, kind, name, w) for seed in args.seeds for kind in KINDS for name in CLIPS for w in WS]:
        if row not in have:
            found["runs"].append(measured(args.n, *row))
            args.out.parent.mkdir(parents=True, exist_ok=True)
            partial = args.out.with_suffix(".partial")
            partial.write_text(json.dumps(found, indent=1) + "\n")
            os.replace(partial, args.out)
            print(json.dumps(found["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
