"""SDXL in miniature: what each of its additions is worth, one at a time. Lesson 15 shows the results.

    python tests/benchmarks/sdxl.py train "large only"     # one of KINDS; the one that is told is `course train sdxl`
    python tests/benchmarks/sdxl.py [--n 80] [--seeds 0 1 2] [--out data/figures/sdxl.json]

All begin as lesson 12's network and are trained once, in as many steps, on the same collection of 4,000 pictures, three
quarters of which were small or are cut off; the refiner starts from the one that is told. What is trained is kept in
build/sdxl, in 8 bits, as is what ships. The seeds are those of sampling: n captions of two objects, w = 3, 20 DDIM steps,
asked for as large and whole unless the row says otherwise. Rows that are in the file already are not made again, so that it
may be stopped at any time.
"""

import sys
import time
from functools import lru_cache
from pathlib import Path

import torch
from rows import measure

from course_lib import checkpoints, metrics, models
from course_lib.datasets import scenes, shapes
from course_lib.denoisers import Network
from course_lib.nets.sdxl import WHOLE
from course_lib.recipes import latents, sdxl
from course_lib.recipes.shapes import asked, shipped_reader
from course_lib.sdxl import border, detail, once_small
from course_lib.training import show_progress

KEPT = Path(__file__).parents[2] / "build/sdxl"
KINDS = {
    "before": ({}, {}),
    "told": ({}, {}),
    "large only": ({}, {"large": True, "told": False}),
    "all, not told": ({}, {"told": False}),
    "two encoders": ({"two": True}, {}),
    "larger U-Net": ({"more": 3}, {}),
    "refiner": ({}, {}),
}
"""Of each, how it is built, and how it is trained; 'before' is lesson 12's network, and is not."""
DRAWINGS = {kind: (kind, WHOLE, None) for kind in KINDS if kind != "refiner"}
DRAWINGS |= {f"{kind}, refined": (kind, WHOLE, "refiner") for kind in ("told", "all, not told")}
DRAWINGS |= {"told, asked for side 8": ("told", (8, 0, 0), None), "told, asked for cut": ("told", (32, 8, 8), None)}
"""Of each row that draws, who draws, what is asked for, and who draws the last steps."""


def path(kind: str) -> Path:
    name = kind.replace(", ", "-").replace(" ", "-").lower()
    return checkpoints.shipped("sdxl") if kind == "told" else KEPT / f"{name}.safetensors"


def built(kind: str) -> Network:
    options = dict(KINDS[kind][0])
    text = sdxl.two_encoders() if options.pop("two", False) else None
    return sdxl.sdxl_network(0, text, **options)


def train(kind: str) -> None:
    network, begun = built(kind), time.process_time()
    training = sdxl.train_refiner(network, models.load("sdxl")) if kind == "refiner" else None
    end = show_progress(training or sdxl.train_sdxl(network, **KINDS[kind][1]), kind)
    record = {"steps": end.step, "loss": round(end.loss, 4), "seconds": round(time.process_time() - begun, 1)}
    checkpoints.write(path(kind), network.net, record, bits=8)


@lru_cache(maxsize=2)
def trained(kind: str) -> tuple[Network, dict]:
    network = built(kind)
    if kind == "before":
        sdxl.schooled(network.net)
        network.net.eval().requires_grad_(False)
        return network, {}
    record = checkpoints.load_into(network.net, path(kind))
    network.net.eval().requires_grad_(False)
    return network, {name: record[name] for name in ("steps", "loss", "seconds")}


@lru_cache
def judge():
    """The reader, and what it makes of many real pictures of pairs."""
    reader, rng = shipped_reader(), torch.Generator().manual_seed(2)
    return reader, reader.features(shapes.draw(scenes.sample(2000, rng, ("pair",)), rng))


def figures(x, scene) -> dict[str, float]:
    reader, real = judge()
    right = scenes.agreement(reader.read(x), scene)
    found = {name: right[name] for name in ("all", "binding", "shape", "colour", "count")}
    found |= {"touch the border": float(border(x).double().mean()), "detail": float(detail(x).mean())}
    found["Frechet distance"] = metrics.frechet_distance(reader.features(x.clamp(-1, 1)), real)
    return {name: round(value, 4) for name, value in found.items()}


def jobs(seeds):
    have = [kind for kind in KINDS if kind == "before" or path(kind).is_file()]
    drawings = [name for name, (kind, _, last) in DRAWINGS.items() if kind in have and (last is None or last in have)]
    real = [{"what": "real pictures", "kind": kind, "seed": 0} for kind in ("large and whole", "decoded", "side 8", "side 16")]
    trainings = [{"what": "training", "kind": kind, "seed": 0} for kind in have if kind != "before"]
    return real + trainings + [{"what": "drawing", "kind": name, "seed": seed} for name in drawings for seed in seeds]


@torch.no_grad()
def row(n: int, what: str, kind: str, seed: int) -> dict:
    if what == "training":
        network, record = trained(kind)
        numbers, words = (sum(p.numel() for p in net.parameters()) for net in (network.net, network.net.text))
        return record | {"U-Net parameters": numbers - words, "text parameters": words}
    said, scene = asked(n, "train")
    if what == "real pictures":
        return figures(real_pictures(scene, kind), scene)
    name, micro, last = DRAWINGS[kind]
    refiner = last and trained(last)[0]
    return figures(sdxl.sdxl_drawn(trained(name)[0], said, 3.0, micro, refiner, seed=seed), scene)


def real_pictures(scene, kind: str):
    """Pictures of the scenes themselves; once through the autoencoder unless they are left as they are."""
    rng = torch.Generator().manual_seed(3)
    x = shapes.draw(scene, rng)
    if kind == "large and whole":
        return x
    if kind != "decoded":
        x = once_small(x, int(kind.split()[1]))
    through = latents.shipped_autoencoder()
    return through.decode(through.encode(x, rng))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["train"]:
        if sys.argv[2:] not in [[kind] for kind in KINDS if kind not in ("before", "told")]:
            sys.exit(f"train needs one of {', '.join(list(KINDS)[2:])}; the one that is told is `course train sdxl`")
        train(sys.argv[2])
    else:
        measure(__doc__, "sdxl", 80, jobs, row)
