"""Pixels and latents of f = 2 and f = 4: what a step costs, and what is drawn after as much training.

    python tests/benchmarks/latents.py cost       # a training step, one evaluation, decoding: on a quiet core
    python tests/benchmarks/latents.py quality    # half an hour of one core

Lesson 09's U-Net for all, with the levels that reach from the map's side down to 4 x 4. f = 1 is lesson 09's pixel model, which
folds 2 x 2 pixels into channels and predicts x_0; 'plain pixels' does not fold. For the cost all take turns, so that what else
the machine does falls on each alike, and the least of eight turns counts. For the quality each is trained by lesson 12's
recipe, from nothing, for as many steps as fit into the time of the shipped model's, by these costs; f = 4 is the shipped model.
The autoencoder's own training is not counted. Networks are kept in build/latents, results in data/figures/latents.json; lesson
12 shows them.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from rows import kept
from torch import nn

from course_lib import checkpoints, latents, models
from course_lib.datasets import captions, scenes, shapes
from course_lib.nets.autoencoder import Autoencoder
from course_lib.recipes.latents import latent2shape_network, some_pictures, train_autoencoder, train_latent2shape
from course_lib.recipes.shapes import drawn, pair_figures
from course_lib.training import denoising_loss

ROOT = Path(__file__).parents[2]
OUT, KEPT = ROOT / "data/figures/latents.json", ROOT / "build/latents"
COST, QUALITY = "milliseconds for 64 pictures, one thread", "after as much training"
NETWORKS = {
    "plain pixels": {"size": 32, "widths": (32, 64, 128), "channels": 3, "patch": 1},
    "1": {"size": 32, "widths": (32, 64, 128), "channels": 3, "patch": 2},
    "2": {"size": 16, "widths": (32, 64, 128)},
    "4": {"size": 8, "widths": (48, 96)},  # what ships
}


def cost(turns: int = 8, batch: int = 64) -> dict[str, dict[str, float]]:
    """Milliseconds of a training step of a batch, encoding included, of one evaluation of it, and of decoding it."""
    rng, rivals, found = torch.Generator().manual_seed(0), {}, {f: {} for f in NETWORKS}
    scene = scenes.sample(batch, rng)
    x, tokens = shapes.draw(scene, rng).to(memory_format=torch.channels_last), captions.tokens(captions.tell(scene, rng)[0])
    for f, options in NETWORKS.items():
        network = latent2shape_network(**options)
        coder = Autoencoder(int(f)).to(memory_format=torch.channels_last) if f in "24" else None
        rivals[f] = network, coder, torch.optim.AdamW(network.net.parameters(), fused=True)
    for _ in range(turns):
        for f, (network, coder, optimizer) in rivals.items():
            begun = time.perf_counter()
            z = coder.encode(x, rng) if coder else x
            denoising_loss(network.given(tokens), z, rng).backward()
            optimizer.step()
            optimizer.zero_grad()
            trained = time.perf_counter()
            with torch.no_grad():
                network.given(tokens)(z, 500)
            evaluated = time.perf_counter()
            if coder:
                coder.decode(z)
            took = {"a training step": trained - begun, "an evaluation": evaluated - trained}
            took["decoding"] = time.perf_counter() - evaluated
            for name, seconds in took.items():
                found[f][name] = round(min(1000 * seconds, found[f].get(name, 1e9)), 1)
    return found


class Pixels(nn.Module):
    """What stands for an autoencoder where there is none."""

    def encode(self, x, rng=None):
        return x

    def decode(self, z):
        return z.clamp(-1, 1)


def drawer(f: str, steps: int):
    """`draw(captions, w)`, pictures of the network of that f after so many steps, and how well its autoencoder gives back."""
    if f == "4":
        network, coder = models.load("latent2shape"), models.load("autoencoder")
    else:
        torch.manual_seed(0)
        coder, network = Pixels(), latent2shape_network(**NETWORKS[f])
        if f == "1":
            network = replace(network, view="x0")  # lesson 09 has the reason
        else:
            coder = Autoencoder(int(f)).to(memory_format=torch.channels_last)
            kept(KEPT / f"autoencoder {f}.safetensors", coder, train_autoencoder(coder))
        kept(KEPT / f"f = {f}.safetensors", network.net, train_latent2shape(network, steps=steps, through=coder))
    rng = torch.Generator().manual_seed(1)
    x = some_pictures(1000, rng)
    back = None if f == "1" else round(latents.psnr(coder.decode(coder.encode(x, rng)), x), 1)
    return lambda said, w: coder.decode(drawn(network, said, w)), back


def quality(cost: dict, n: int = 200) -> dict[str, dict]:
    """What the reader finds, at each f, after as many steps as fit into the time of the shipped latent model's."""
    found, shipped = {}, models.records()["latent2shape"]["steps"]
    for f in "124":
        steps = round(shipped * cost["4"]["a training step"] / cost[f]["a training step"])
        draw, back = drawer(f, steps)
        found[f] = {"steps": steps, "PSNR of the autoencoder, dB": back}
        found[f] |= {name: round(value, 4) for name, value in pair_figures(draw, n).items()}
        print(f, json.dumps(found[f]), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "quality"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(OUT.read_text()) if OUT.is_file() else {}
    found |= {"command": "python tests/benchmarks/latents.py cost (or quality)", "torch": torch.__version__.split("+")[0]}
    found[COST if args.what == "cost" else QUALITY] = cost() if args.what == "cost" else quality(found[COST])
    checkpoints.write_atomically(OUT, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
