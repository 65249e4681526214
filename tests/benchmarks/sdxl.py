"""SDXL in miniature: what each of its additions is worth, one at a time.

    python tests/benchmarks/sdxl.py train "large only"     # one of the bases, or the refiner; see KINDS
    python tests/benchmarks/sdxl.py measure [--seeds 0 1 2]

All are trained once, for as many steps, on the same collection of 4,000 pictures, three quarters of which were small or are cut
off. The seeds are those of sampling: 100 captions of two objects, w = 3, 20 DDIM steps, asked for as large and whole. The
networks are kept in build/sdxl, but for the one that is told, which ships (`course train sdxl`). Rows that are in
data/figures/sdxl.json already are not made again.
"""

import argparse
import json
import os
import time
from pathlib import Path

import imagen
import torch

from course_lib import checkpoints
from course_lib.datasets import shapes
from course_lib.denoisers import Network
from course_lib.nets.sdxl import WHOLE
from course_lib.recipes import sdxl as recipe
from course_lib.sdxl import border, sharpness
from course_lib.training import show_progress

ROOT = Path(__file__).parents[2]
OUT, KEPT = ROOT / "data/figures/sdxl.json", ROOT / "build/sdxl"
KINDS = {
    "large only": ({}, {"large": True, "told": False}),
    "all, not told": ({}, {"told": False}),
    "told": ({}, {}),
    "two encoders": ({"two": True}, {}),
    "larger U-Net": ({"widths": (48, 96)}, {}),
    "refiner": ({}, {"large": True, "last": 200}),
}
"""Of each, how it is built, and how it is trained."""


def built(kind: str) -> Network:
    options = dict(KINDS[kind][0])
    text = recipe.two_encoders() if options.pop("two", False) else None
    return recipe.sdxl_network(0, text, **options)


def path(kind: str) -> Path:
    if kind == "told":
        return checkpoints.FOLDER / "sdxl.safetensors"
    return KEPT / f"{kind.replace(', ', '-').replace(' ', '-')}.safetensors"


def trained(kind: str) -> tuple[Network, dict]:
    network = built(kind)
    record = checkpoints.load_into(network.net, path(kind))
    record = {name: record[name] for name in ("steps", "loss", "seconds")}
    network.net.eval().requires_grad_(False)
    return network, record


def train(kind: str) -> None:
    network, begun = built(kind), time.process_time()
    end = show_progress(recipe.train_sdxl(network, **KINDS[kind][1]), kind)
    record = {"steps": end.step, "loss": round(end.loss, 4), "seconds": round(time.process_time() - begun, 1)}
    checkpoints.write(path(kind), network.net, record)


class Judge(imagen.Judge):
    """What the reader says, and what else is wrong with the pictures."""

    def figures(self, x) -> dict[str, float]:
        found = {"touch the border": float(border(x).double().mean()), "sharpness": float(sharpness(x.clamp(-1, 1)).mean())}
        return super().figures(x) | {name: round(value, 4) for name, value in found.items()}


def measure(seeds: list[int]) -> None:
    judge = Judge()
    found = (
        json.loads(OUT.read_text()) if OUT.is_file() else {"command": "python tests/benchmarks/sdxl.py measure", "n": imagen.N}
    )
    rows, found["trainings"] = found.setdefault("runs", []), {}
    nets = {}
    for kind in KINDS:
        if path(kind).is_file():
            nets[kind], record = trained(kind)
            size = sum(p.numel() for p in nets[kind].net.parameters())
            words = sum(p.numel() for p in nets[kind].net.text.parameters())
            found["trainings"][kind] = record | {"text parameters": words, "U-Net parameters": size - words}
    cases = [(kind, kind, WHOLE, None) for kind in nets if kind != "refiner"]
    if "told" in nets:
        cases += [(f"told, asked for side {side}", "told", (side, 0, 0), None) for side in (8, 16)]
        cases += [("told, asked for cut", "told", (32, 8, 8), None)]
    if "refiner" in nets:
        cases += [(f"{kind}, refined", kind, WHOLE, "refiner") for kind in ("all, not told", "told") if kind in nets]
    for name, kind, micro, refiner in cases:
        for seed in seeds:
            if any((row["kind"], row["seed"]) == (name, seed) for row in rows):
                continue
            x = recipe.sdxl_drawn(nets[kind], judge.said, 3.0, micro, refiner and nets[refiner], seed=seed)
            rows.append({"kind": name, "seed": seed, "figures": judge.figures(x)})
            print(json.dumps(rows[-1]), flush=True)
    found["real pictures"] = judge.figures(shapes.draw(judge.scene, torch.Generator().manual_seed(3)))
    partial = OUT.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(partial, OUT)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("kind", nargs="?", choices=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "measure":
        measure(args.seeds)
    elif args.kind is None:
        parser.error(f"train needs one of {', '.join(KINDS)}")
    else:
        train(args.kind)


if __name__ == "__main__":
    main()
