"""Imagen in miniature: the text encoder's size against the U-Net's, what keeps pictures in range, and the efficient U-Net.

    python tests/benchmarks/imagen.py train small large        # the base with that text encoder and that U-Net
    python tests/benchmarks/imagen.py sizes [--seeds 0 1 2]    # the four, over w
    python tests/benchmarks/imagen.py thresholds [--seeds 0 1 2]
    python tests/benchmarks/imagen.py cost                     # of the efficient U-Net, on a quiet core

There are four bases, each trained once for as many steps as the others. That with the large text encoder and the small U-Net
ships (`course train imagen`), the others are kept in build/imagen. The seeds are those of sampling. All draw the same 100
captions of two objects, which the reader that ships judges at 32 x 32, after the upsampler that ships. Rows that are in
data/figures/imagen.json already are not made again.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from course_lib import checkpoints, metrics, models
from course_lib.cascades import upsampler_loss
from course_lib.datasets import scenes, shapes
from course_lib.denoisers import Network
from course_lib.guidance import DynamicThreshold, StaticThreshold
from course_lib.nets.efficient import EfficientUNet
from course_lib.nets.upsampler import Upsampler
from course_lib.recipes import imagen
from course_lib.recipes.shapes import asked, shipped_reader
from course_lib.training import show_progress

ROOT = Path(__file__).parents[2]
OUT, KEPT = ROOT / "data/figures/imagen.json", ROOT / "build/imagen"
SIZES = ("small", "large")
TEXT = {"small": (imagen.SMALL_TEXT, "language_small"), "large": (imagen.LARGE_TEXT, "language")}
UNET = {"small": imagen.SMALL_UNET, "large": imagen.LARGE_UNET}
W = {"sizes": (1.0, 2.0, 3.0, 5.0, 8.0), "thresholds": (1.0, 3.0, 5.0, 7.0, 10.0, 15.0)}
WITHIN = {"none": lambda denoiser: denoiser, "static": StaticThreshold, "dynamic": DynamicThreshold}
N = 100


def base(text: str, unet: str) -> Network:
    return imagen.imagen_network(0, TEXT[text][0], UNET[unet])


def trained(text: str, unet: str) -> tuple[Network, dict]:
    """The base of these sizes, as it is kept, or as it ships, and the record of its training."""
    network, shipped = base(text, unet), (text, unet) == ("large", "small")
    path = checkpoints.FOLDER / "imagen.safetensors" if shipped else KEPT / f"{text}-{unet}.safetensors"
    record = checkpoints.load_into(network.net, path)
    record = {name: record[name] for name in ("steps", "loss", "seconds")}
    network.net.eval().requires_grad_(False)
    return network, record


def train(text: str, unet: str) -> None:
    network, begun = base(text, unet), time.process_time()
    end = show_progress(imagen.train_imagen(network, language=TEXT[text][1]), f"{text} text, {unet} U-Net")
    record = {"steps": end.step, "loss": round(end.loss, 4), "seconds": round(time.process_time() - begun, 1)}
    checkpoints.write(KEPT / f"{text}-{unet}.safetensors", network.net, record)


class Judge:
    """What the reader says of pictures (N, 3, 32, 32) of N captions, and how far their crowd is from real ones of the same."""

    def __init__(self):
        self.reader, (self.said, self.scene) = shipped_reader(), asked(N, "train")
        rng = torch.Generator().manual_seed(2)
        self.real = self.features(shapes.draw(scenes.sample(2000, rng, ("pair",)), rng))

    def features(self, x):
        with torch.no_grad():
            return torch.cat([self.reader.features(part) for part in x.clamp(-1, 1).split(100)])

    def figures(self, x) -> dict[str, float]:
        right = scenes.agreement(self.reader.read(x), self.scene)
        found = {name: right[name] for name in ("all", "binding", "relation", "count")}
        found["Frechet distance"] = metrics.frechet_distance(self.features(x), self.real)
        found["beyond [-1, 1]"] = float((x.abs() > 1.05).double().mean())
        return {name: round(value, 4) for name, value in found.items()}


def opened() -> dict:
    return json.loads(OUT.read_text()) if OUT.is_file() else {"command": "see tests/benchmarks/imagen.py", "n": N}


def written(found: dict) -> None:
    OUT.parent.mkdir(parents=True, exist_ok=True)
    partial = OUT.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(partial, OUT)


def measure(kind: str, seeds: list[int]) -> None:
    judge, upsampler, found = Judge(), models.load("shapes_upsampler"), opened()
    rows = found.setdefault(kind, [])
    if kind == "sizes":
        cases = [{"text": text, "unet": unet} for text in SIZES for unet in SIZES]
    else:
        cases = [{"within": within} for within in WITHIN]
    for case in cases:
        network, record = trained(case["text"], case["unet"]) if kind == "sizes" else (models.load("imagen"), None)
        within = WITHIN[case.get("within", "dynamic")]
        if record:
            size = sum(p.numel() for p in network.net.parameters())
            words = sum(p.numel() for p in network.net.text.parameters())
            row = case | record | {"text parameters": words, "U-Net parameters": size - words}
            found["trainings"] = [r for r in found.get("trainings", []) if (r["text"], r["unet"]) != tuple(case.values())] + [
                row
            ]
        for seed in seeds:
            for w in W[kind]:
                key = case | {"w": w, "seed": seed}
                if any(all(row[k] == v for k, v in key.items()) for row in rows):
                    continue
                x = imagen.imagen_drawn(network, upsampler, judge.said, w, within, seed=seed)
                rows.append(key | {"figures": judge.figures(x)})
                print(json.dumps(rows[-1]), flush=True)
                written(found)
    found["real pictures"] = judge.figures(shapes.draw(judge.scene, torch.Generator().manual_seed(3)))
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
        nets[name] = Network(net, imagen.shapes_upsampler().process, "v")
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
    parser.add_argument("what", choices=("train", "sizes", "thresholds", "cost"))
    parser.add_argument("size", nargs="*", choices=SIZES, help="of the text encoder and of the U-Net, to train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "train":
        if len(args.size) != 2:
            parser.error(f"train needs two sizes, of the text encoder and of the U-Net, got {args.size}")
        train(*args.size)
    elif args.what == "cost":
        cost()
    else:
        measure(args.what, args.seeds)


if __name__ == "__main__":
    main()
