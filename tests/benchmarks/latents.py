"""What a step costs in pixels and in latents of f = 2 and f = 4: training, one evaluation, decoding.

    python tests/benchmarks/latents.py [--out data/figures/latents.json]

Lesson 09's U-Net for all, with the levels that reach from the map's side down to 4 x 4. f = 1 is lesson 09's pixel model, which
folds 2 x 2 pixels into channels; 'plain pixels' does not. All take turns, so that what else the machine does falls on each
alike, and the least of eight turns counts. Lesson 12 shows the results.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from course_lib.checkpoints import write_atomically
from course_lib.datasets import captions, scenes, shapes
from course_lib.nets.autoencoder import Autoencoder
from course_lib.recipes.latents import latent2shape_network
from course_lib.training import denoising_loss

OUT = Path(__file__).parents[2] / "data/figures/latents.json"
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {"command": "python tests/benchmarks/latents.py", "torch": torch.__version__.split("+")[0]}
    found["milliseconds for 64 pictures, one thread"] = cost()
    write_atomically(args.out, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
