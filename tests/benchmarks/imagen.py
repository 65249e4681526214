"""Imagen in miniature: the text encoder's size against the U-Net's, what keeps pictures in range, and the efficient U-Net.

    python tests/benchmarks/imagen.py sizes [--seeds 0 1 2]       # trains four bases, and measures them
    python tests/benchmarks/imagen.py thresholds [--seeds 0 1 2]  # of the base that ships
    python tests/benchmarks/imagen.py cost                        # of the efficient U-Net, on a quiet core

The four bases, kept in build/imagen, are trained once, each for STEPS, a part of what the base that ships was trained for. The
seeds are those of sampling: all draw the same captions of two objects, and the reader that ships judges the small pictures.
Rows that are in data/figures/imagen.json already are not made again.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from course_lib import checkpoints, metrics, models
from course_lib.cascades import upsampler_loss
from course_lib.datasets import scenes, shapes
from course_lib.denoisers import Network
from course_lib.guidance import DynamicThreshold, StaticThreshold
from course_lib.nets.efficient import EfficientUNet
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM
from course_lib.recipes import imagen
from course_lib.recipes.shapes import asked, shipped_reader
from course_lib.schedules import linear_beta
from course_lib.training import show_progress

ROOT = Path(__file__).parents[2]
OUT, KEPT = ROOT / "data/figures/imagen.json", ROOT / "build/imagen"
SIZES = ("small", "large")
TEXT = {"small": (imagen.SMALL_TEXT, "language_small"), "large": (imagen.LARGE_TEXT, "language")}
UNET = {"small": imagen.SMALL_UNET, "large": imagen.LARGE_UNET}
W = {"sizes": (1.0, 2.0, 3.0, 5.0), "thresholds": (1.0, 3.0, 7.0, 15.0)}
STEPS = 800
WITHIN = {"none": lambda denoiser: denoiser, "static": StaticThreshold, "dynamic": DynamicThreshold}
N = 32


def trained(text: str, unet: str) -> tuple[Network, dict]:
    """The base of these sizes, and the record of its training: out of KEPT, or trained now."""
    network, path = imagen.imagen_network(0, TEXT[text][0], UNET[unet]), KEPT / f"{text}-{unet}-{STEPS}.safetensors"
    if not path.is_file():
        begun = time.process_time()
        training = imagen.train_imagen(network, steps=STEPS, language=TEXT[text][1])
        end = show_progress(training, f"{text} text, {unet} U-Net")
        record = {"steps": end.step, "loss": round(end.loss, 4), "seconds": round(time.process_time() - begun, 1)}
        checkpoints.write(path, network.net, record)
    record = checkpoints.load_into(network.net, path)
    network.net.eval().requires_grad_(False)
    return network, record


class Judge:
    """What the reader says of small pictures (N, 3, 16, 16) of N captions, and how far their crowd is from real ones."""

    def __init__(self):
        self.reader, (self.said, self.scene) = shipped_reader(), asked(N, "train")
        rng = torch.Generator().manual_seed(2)
        self.real = self.features(shapes.draw(scenes.sample(500, rng, ("pair",)), rng, imagen.SIDE))

    def features(self, x):
        large = interpolate(x.clamp(-1, 1), scale_factor=2, mode="bilinear", align_corners=False)
        with torch.no_grad():
            return torch.cat([self.reader.features(part) for part in large.split(100)])

    def figures(self, x) -> dict[str, float]:
        seen = imagen.small_read(self.reader, x)
        right = scenes.agreement(seen, self.scene)
        found = {"colours in place": float(imagen.placed(seen, self.scene).double().mean())}
        found |= {name: right[name] for name in ("all", "binding", "colour", "count")}
        found["Frechet distance"] = metrics.frechet_distance(self.features(x), self.real)
        return {name: round(value, 4) for name, value in found.items()}


def opened() -> dict:
    return json.loads(OUT.read_text()) if OUT.is_file() else {"command": "see tests/benchmarks/imagen.py", "n": N}


def written(found: dict) -> None:
    OUT.parent.mkdir(parents=True, exist_ok=True)
    partial = OUT.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(partial, OUT)


def sizes() -> None:
    """Trains the four, and asks each what it hears of captions."""
    found = opened()
    found["trainings"] = []
    for text in SIZES:
        for unet in SIZES:
            network, record = trained(text, unet)
            total, words = (sum(p.numel() for p in net.parameters()) for net in (network.net, network.net.text))
            row = {"text": text, "unet": unet, **record, "text parameters": words, "U-Net parameters": total - words}
            row["heard"] = {name: round(value, 4) for name, value in imagen.heard(network, 1000).items()}
            found["trainings"].append(row)
            print(json.dumps(row), flush=True)
            written(found)


def draw(kind: str, seeds: list[int]) -> None:
    """The reader's figures over w: of the four bases, or of the one that ships under each kind of thresholding."""
    judge, found = Judge(), opened()
    rows = found.setdefault(kind, [])
    four = [{"text": text, "unet": unet} for text in SIZES for unet in SIZES]
    for case in four if kind == "sizes" else [{"within": within} for within in WITHIN]:
        network = trained(**case)[0] if kind == "sizes" else models.load("imagen")
        for seed in seeds:
            for w in W[kind]:
                key = case | {"w": w, "seed": seed}
                if any(all(row[k] == v for k, v in key.items()) for row in rows):
                    continue
                x = imagen.small_drawn(network, judge.said, w, WITHIN[case.get("within", "static")], seed=seed)
                rows.append(key | {"figures": judge.figures(x)})
                print(json.dumps(rows[-1]), flush=True)
                written(found)
    found["real pictures"] = judge.figures(shapes.draw(judge.scene, torch.Generator().manual_seed(3), imagen.SIDE))
    written(found)


def cost() -> None:
    """Milliseconds of processor time for a training step of 32 pictures: the least of rounds in which all take turns."""
    kinds = {
        "usual order": {"early": False},
        "efficient order": {"early": True},
        "efficient order, no more blocks where maps are small": {"early": True, "depths": (1, 1, 1)},
    }
    x, found = torch.randn(32, 3, 32, 32).to(memory_format=torch.channels_last), {}
    nets = {}
    for name, options in kinds.items():
        net = Upsampler(channels=3, unet=EfficientUNet(**options)).to(memory_format=torch.channels_last)
        nets[name] = Network(net, DDPM(linear_beta(1000)), "v")
    for _ in range(12):
        for name, network in nets.items():
            begun = time.process_time()
            upsampler_loss(network, x, None, 400).backward()
            took = 1000 * (time.process_time() - begun)
            found[name] = min(took, found.get(name, took))
    rows = {
        name: {"ms": round(ms, 1), "parameters": sum(p.numel() for p in nets[name].net.parameters())}
        for name, ms in found.items()
    }
    print(json.dumps(rows, indent=1))
    written(opened() | {"efficient": rows})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sizes", "thresholds", "cost"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "cost":
        return cost()
    if args.what == "sizes":
        sizes()
    draw(args.what, args.seeds)


if __name__ == "__main__":
    main()
