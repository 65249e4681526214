"""Pixels against latents at equal training time: what a step costs, and what the reader finds in the pictures, at f = 1, 2, 4.

    python tests/benchmarks/latents.py cost                  # first, on a quiet machine: milliseconds a step, in turns
    python tests/benchmarks/latents.py train 1 [--seconds 90]  # then one f at a time: 1, 2, 4

Lesson 09's U-Net, process, captions and reader for all, with the levels that reach from the map's side down to 4 x 4. Each is
trained for as many steps of 32 pictures as fit into `seconds` at the cost that was measured, so that another job on the machine
changes nothing. f = 1 is lesson 09's pixel model, which folds 2 x 2 pixels into channels; 'plain pixels' does not, and only its
cost is measured. Results: data/figures/latents.json. Rows that are there already are kept.
"""

import argparse
import base64
import copy
import io
import json
import os
import time
from pathlib import Path

import torch
from PIL import Image

from course_lib import plots
from course_lib.datasets import captions, scenes, shapes
from course_lib.latents import autoencoder_loss, psnr, unit_scale
from course_lib.nets.autoencoder import Autoencoder
from course_lib.recipes.latents import (
    autoencoder,
    latent2shape_network,
    latents_drawn,
    shipped_autoencoder,
    some_pictures,
    train_latent2shape,
)
from course_lib.recipes.shapes import asked, shipped_reader
from course_lib.training import EMA, denoising_loss, train

OUT = Path(__file__).parents[2] / "data/figures/latents.json"
NETWORKS = {
    "plain pixels": {"size": 32, "widths": (32, 64, 128), "channels": 3, "patch": 1},
    "1": {"size": 32, "widths": (32, 64, 128), "channels": 3, "patch": 2},
    "2": {"size": 16, "widths": (32, 64, 128)},
    "4": {"size": 8, "widths": (48, 96)},  # what ships
}
BATCH, SEEDS = 32, (1, 2, 3)


class Pixels:
    """f = 1: the picture is its own latent."""

    def encode(self, x, rng=None):
        return x

    def decode(self, z):
        return z.clamp(-1, 1)

    def to(self, device):
        return self


def through(f: str, trained: bool) -> Autoencoder | Pixels:
    """The autoencoder of this f: the shipped one for 4; one that is trained here, as the shipped one was, for 2."""
    if f == "4":
        return shipped_autoencoder() if trained else autoencoder()
    if f != "2":
        return Pixels()
    torch.manual_seed(0)
    net, rng = Autoencoder(factor=2, channels=4).to(memory_format=torch.channels_last), torch.Generator().manual_seed(0)
    if trained:
        learner = copy.deepcopy(net).train()
        loss = lambda: autoencoder_loss(learner, some_pictures(32, rng), 5e-4, rng)
        for _ in train(loss, learner, 1000, lr=3e-3, ema=EMA(learner, 0.995, into=net)):
            pass
        net.scale.copy_(unit_scale(net.encode(some_pictures(2000, rng), rng)))
    return net.eval().requires_grad_(False)


def cost() -> dict[str, dict[str, float]]:
    """Milliseconds of a training step of 64 pictures, of one evaluation of them, and of decoding them, the least of eight."""
    rng, found, turns = torch.Generator().manual_seed(0), {f: {} for f in NETWORKS}, {}
    scene = scenes.sample(64, rng)
    x, tokens = shapes.draw(scene, rng).to(memory_format=torch.channels_last), captions.tokens(captions.tell(scene, rng)[0])
    for f, options in NETWORKS.items():
        network, coder = latent2shape_network(**options), through(f, trained=False)
        optimizer = torch.optim.AdamW(network.net.parameters(), fused=True)
        turns[f] = network, coder, optimizer
    for _ in range(8):
        for f, (network, coder, optimizer) in turns.items():
            begun = time.perf_counter()
            z = coder.encode(x, rng)
            denoising_loss(network.given(tokens), z, rng).backward()
            optimizer.step()
            optimizer.zero_grad()
            trained = time.perf_counter()
            with torch.no_grad():
                network.given(tokens)(z, 500)
                asked_once = time.perf_counter()
                coder.decode(z)
            took = {"a training step": trained - begun, "an evaluation": asked_once - trained}
            took["decoding"] = time.perf_counter() - asked_once
            for name, seconds in took.items():
                found[f][name] = round(min(1000 * seconds, found[f].get(name, 1e9)), 1)
    return found


@torch.no_grad()
def judged(network, coder) -> dict:
    """What the reader finds in pictures of 100 captions of pairs, w = 3, mean and spread over three seeds, and a sheet."""
    judge, rows = shipped_reader(), []
    for seed in SEEDS:
        said, scene = asked(100, "train", seed)
        made = coder.decode(latents_drawn(network, said, 3.0, steps=20, seed=seed))
        rows.append(scenes.agreement(judge.read(made), scene))
    found = {"sheet": sheet(made[:8]), "said": said[:8]}
    for name in ("shape", "colour", "binding", "all"):
        values = torch.tensor([row[name] for row in rows])
        found[name] = [round(float(values.mean()), 4), round(float(values.std()), 4)]
    return found


def sheet(x: torch.Tensor) -> str:
    """Pictures (N, 3, 32, 32) in a row, as a PNG in base64."""
    out = io.BytesIO()
    Image.fromarray((plots.grid(x, len(x)) * 255).round().astype("uint8")).save(out, format="png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def trained(f: str, seconds: float, ms: float) -> dict:
    """One row: a network trained for `seconds` at `ms` a step, and what the reader says of it."""
    coder, network = through(f, trained=True), latent2shape_network(**NETWORKS[f])
    steps = round(1000 * seconds / ms * 64 / BATCH)
    begun = time.process_time()
    *_, end = train_latent2shape(network, steps=steps, through=coder, batch=BATCH)
    row = {"steps": steps, "pictures": steps * BATCH, "loss": round(end.loss, 4)}
    row["seconds"] = round(time.process_time() - begun, 1)
    x = shapes.draw(scenes.sample(1000, rng := torch.Generator().manual_seed(1)), rng)
    row["PSNR in decibels"] = None if f == "1" else round(psnr(coder.decode(coder.encode(x, rng)), x), 2)
    network.net.eval()
    return row | judged(network, coder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "train"))
    parser.add_argument("f", nargs="?", choices=("1", "2", "4"))
    parser.add_argument("--seconds", type=float, default=90)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(OUT.read_text()) if OUT.is_file() else {"command": "python tests/benchmarks/latents.py", "runs": {}}
    if args.what == "cost":
        found["milliseconds for 64 pictures, one thread"] = cost()
    elif args.f not in found["runs"]:
        ms = found["milliseconds for 64 pictures, one thread"][args.f]["a training step"]
        row = {"seconds allowed": args.seconds} | trained(args.f, args.seconds, ms)
        found = json.loads(OUT.read_text())  # another may have finished meanwhile
        found["runs"][args.f] = row
    partial = OUT.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(partial, OUT)


if __name__ == "__main__":
    main()
