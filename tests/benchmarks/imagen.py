"""Imagen in miniature: the text encoder's size against the U-Net's, where a shape is lost, what keeps pictures in range, and
what the efficient U-Net saves.

    python tests/benchmarks/imagen.py sizes [--only large-small] [--seeds 0 1 2]    # trains bases, and measures them over w
    python tests/benchmarks/imagen.py finished [--seeds 0 1 2]                      # from real pictures with noise in them
    python tests/benchmarks/imagen.py thresholds [--seeds 0 1 2]                    # of the base that ships
    python tests/benchmarks/imagen.py cost                                          # of the efficient U-Net, on a quiet core

The four bases, text-unet, are trained once each, as the one that ships and for as many steps, but at all times alike: what they
leave to be learned shows what a size is worth. They are kept in build/imagen. The seeds are those of sampling: all draw the
same captions of two objects, and the reader that ships judges the small pictures. Rows that are in data/figures/imagen.json
already are not made again.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rows import kept

from course_lib import checkpoints, metrics, models
from course_lib.cascades import upsampler_loss
from course_lib.datasets import scenes, shapes
from course_lib.denoisers import Network
from course_lib.guidance import DynamicThreshold, StaticThreshold
from course_lib.nets.efficient import EfficientUNet
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, randn_like
from course_lib.recipes import imagen
from course_lib.recipes.shapes import asked, shipped_reader
from course_lib.samplers import ddim, result
from course_lib.schedules import linear_beta

ROOT = Path(__file__).parents[2]
OUT, KEPT = ROOT / "data/figures/imagen.json", ROOT / "build/imagen"
SIZES = ("small", "large")
TEXT = {"small": (imagen.SMALL_TEXT, "paraphraser_small"), "large": (imagen.LARGE_TEXT, "paraphraser")}
UNET = {"small": imagen.SMALL_UNET, "large": imagen.LARGE_UNET}
FOUR = [f"{text}-{unet}" for text in SIZES for unet in SIZES]
FINISHED, TIMES = ("large-large", "ships"), (50, 100, 200, 300, 500, 700, 1000)
W = {"sizes": (1.0, 1.5, 2.0, 3.0, 5.0, 8.0), "thresholds": (1.0, 3.0, 5.0, 7.0, 10.0, 15.0)}
WITHIN = {"none": lambda denoiser: denoiser, "static": StaticThreshold, "dynamic": DynamicThreshold}
N = 100


def trained(name: str) -> tuple[Network, dict]:
    """The base of these sizes, and the record of its training: the one that ships, out of KEPT, or trained now."""
    if name == "ships":
        return models.load("imagen"), models.records()["imagen"]
    text, unet = name.split("-")
    network = imagen.imagen_network(0, TEXT[text][0], UNET[unet])
    training = imagen.train_imagen(network, text=TEXT[text][1], outlining=False)
    return network, kept(KEPT / f"{name}.safetensors", network.net, training, imagen.IMAGEN.bits)


class Judge:
    """What the reader says of small pictures (N, 3, 16, 16) of N captions, and how far their crowd is from real ones."""

    def __init__(self):
        self.reader, (self.said, self.scene) = shipped_reader(), asked(N, "train")
        rng = torch.Generator().manual_seed(2)
        self.real = self.features(shapes.draw(scenes.sample(500, rng, ("pair",)), rng, imagen.SIDE))

    def features(self, x):
        with torch.no_grad():
            return torch.cat([self.reader.features(part) for part in imagen.smooth(x.clamp(-1, 1)).split(100)])

    def figures(self, x) -> dict[str, float]:
        seen = imagen.small_read(self.reader, x)
        right = scenes.agreement(seen, self.scene)
        found = {"all": right["all"], "colours in place": float(imagen.placed(seen, self.scene).double().mean())}
        found |= {name: right[name] for name in ("binding", "shape", "colour", "count", "relation")}
        found["Frechet distance"] = metrics.frechet_distance(self.features(x), self.real)
        return {name: round(value, 4) for name, value in found.items()}


def opened() -> dict:
    return json.loads(OUT.read_text()) if OUT.is_file() else {}


def written(found: dict) -> None:
    found |= {"command": "python tests/benchmarks/imagen.py sizes (or finished, thresholds, cost)", "captions": N}
    checkpoints.write_atomically(OUT, (json.dumps(found, indent=1) + "\n").encode())


def missing(kind: str, key: dict) -> bool:
    """Whether the file has no such row yet."""
    return not any(key.items() <= row.items() for row in opened().get(kind, []))


def add(kind: str, row: dict) -> None:
    found = opened()  # read again for each row: another process may have written since
    written(found | {kind: [*found.get(kind, []), row]})
    print(json.dumps(row), flush=True)


def sizes(names: list[str], seeds: list[int]) -> None:
    """Of each base, trained: what it hears of captions, and the reader's figures over w."""
    judge = Judge()
    for name in names:
        network, record = trained(name)
        if missing("trainings", {"base": name}):
            total, words = (sum(p.numel() for p in net.parameters()) for net in (network.net, network.net.text))
            row = {"base": name, "steps": record["steps"], "text parameters": words, "U-Net parameters": total - words}
            add("trainings", row | {k: round(v, 4) for k, v in imagen.heard(network, 1000).items()})
        swept("sizes", {"base": name}, network, StaticThreshold, judge, seeds)


@torch.no_grad()
def finished(seeds: list[int]) -> None:
    """What is still right in real pictures of which each base, w = 2, was shown as much as the noise of time t leaves."""
    judge = Judge()
    x0 = shapes.draw(judge.scene, torch.Generator().manual_seed(3), imagen.SIDE)
    networks = {name: trained(name)[0] for name in FINISHED}
    for (name, network), seed, t in itertools.product(networks.items(), seeds, TIMES):
        key = {"base": name, "t": t, "seed": seed}
        if missing("finished", key):
            asked_for = StaticThreshold(models.guided(network, judge.said, 2.0))
            start = network.process.add_noise(x0, t, randn_like(x0, torch.Generator().manual_seed(seed)))
            times = network.process.times(20)
            add("finished", key | judge.figures(result(ddim(asked_for, start, times[times <= t]))))


def thresholds(seeds: list[int]) -> None:
    """The reader's figures over w, of the base that ships, under each kind of thresholding."""
    judge, network = Judge(), models.load("imagen")
    for name, within in WITHIN.items():
        swept("thresholds", {"within": name}, network, within, judge, seeds)
    x = shapes.draw(judge.scene, torch.Generator().manual_seed(3), imagen.SIDE)
    written(opened() | {"real pictures": judge.figures(x)})


def swept(kind: str, key: dict, network: Network, within: Callable, judge: Judge, seeds: list[int]) -> None:
    for seed, w in itertools.product(seeds, W[kind]):
        row = key | {"w": w, "seed": seed}
        if missing(kind, row):
            add(kind, row | judge.figures(imagen.small_drawn(network, judge.said, w, within, seed=seed)))


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
    parser.add_argument("what", choices=("sizes", "finished", "thresholds", "cost"))
    parser.add_argument("--only", nargs="+", default=FOUR, choices=FOUR)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "sizes":
        sizes(args.only, args.seeds)
    elif args.what == "finished":
        finished(args.seeds)
    elif args.what == "thresholds":
        thresholds(args.seeds)
    else:
        cost()


if __name__ == "__main__":
    main()
