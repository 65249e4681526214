"""Pixels and latents of f = 2 and f = 4: the cost of a step, and the quality after equal training time.

    python tests/benchmarks/latents.py cost       # a training step, an evaluation, decoding: on a core without other work
    python tests/benchmarks/latents.py quality    # half an hour of one core

Lesson 09's U-Net for all, with the levels that reach from the map's side down to 4 x 4. f = 1 is lesson 09's pixel model, which
folds 2 x 2 pixels into channels and predicts x_0; 'plain pixels' does not fold. The costs are the minimum of eight turns. For
the quality each is trained by lesson 12's recipe, from random weights, for as many steps as the shipped model's training time
allows at these costs; f = 4 is the shipped model. The autoencoder's own training is not counted. Networks are kept in
build/latents; lesson 12 shows the results.
"""

import time
from dataclasses import replace

import torch
from rows import BUILD, Benchmark, Part, load, load_or_train, measure
from scores import rounded
from timing import min_milliseconds
from torch import nn

from course_lib.datasets import captions, scenes, shapes
from course_lib.guidance import classifier_free
from course_lib.methods import latents
from course_lib.nets.autoencoder import Autoencoder
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.training import denoising_loss
from course_lib.zoo import models
from course_lib.zoo.recipes.latents import latent2shape_network, some_pictures, train_autoencoder, train_latent2shape
from course_lib.zoo.recipes.shapes import pair_figures

COST = "milliseconds for 64 pictures, one thread"
NETWORKS = {
    "plain pixels": {"size": 32, "widths": (32, 64, 128), "channels": 3, "patch": 1},
    "1": {"size": 32, "widths": (32, 64, 128), "channels": 3, "patch": 2},
    "2": {"size": 16, "widths": (32, 64, 128)},
    "4": {"size": 8, "widths": (48, 96)},  # what ships
}


class Pixels(nn.Module):
    """Pictures in place of latents, where there is no autoencoder."""

    def encode(self, x, rng=None):
        return x

    def decode(self, z):
        return z.clamp(-1, 1)


def cost(n: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a training step of a batch, encoding included, of one evaluation of it, and of decoding it."""
    rng, runs, latent = seeded(0), {}, {}
    scene = scenes.sample(64, rng)
    x, tokens = shapes.draw(scene, rng).to(memory_format=torch.channels_last), captions.tokens(captions.tell(scene, rng)[0])

    def add(f: str) -> None:
        network = latent2shape_network(**NETWORKS[f])
        coder = Autoencoder(int(f)).to(memory_format=torch.channels_last) if f in "24" else None
        optimizer = torch.optim.AdamW(network.net.parameters(), fused=True)

        def training() -> None:
            latent[f] = coder.encode(x, rng) if coder else x
            denoising_loss(network.given(tokens), latent[f], rng).backward()
            optimizer.step()
            optimizer.zero_grad()

        def evaluation() -> None:
            with torch.no_grad():
                network.given(tokens)(latent[f], 500)

        runs[f, "a training step"], runs[f, "an evaluation"] = training, evaluation
        runs[f, "decoding"] = lambda: coder.decode(latent[f]) if coder else None

    for f in NETWORKS:
        add(f)
    found = {f: {} for f in NETWORKS}
    for (f, name), spent in min_milliseconds(runs, 8, time.perf_counter).items():
        found[f][name] = round(spent, 1)
    return found


def generator(f: str, steps: int):
    """`generate(captions, w)`, pictures of the network of that f after `steps` steps, and its autoencoder's PSNR in dB."""
    if f == "4":
        network, coder = models.load("latent2shape"), models.load("autoencoder")
    else:
        torch.manual_seed(0)
        coder, network = Pixels(), latent2shape_network(**NETWORKS[f])
        if f == "1":
            network = replace(network, view="x0")  # lesson 09 has the reason
        else:
            coder = Autoencoder(int(f)).to(memory_format=torch.channels_last)
            load_or_train(BUILD / f"latents/autoencoder {f}.safetensors", coder, lambda: train_autoencoder(coder))
        training = lambda: train_latent2shape(network, steps=steps, through=coder)
        load_or_train(BUILD / f"latents/f = {f}.safetensors", network.net, training)
    rng = seeded(1)
    x = some_pictures(1000, rng)
    psnr = None if f == "1" else round(latents.psnr(coder.decode(coder.encode(x, rng)), x), 1)
    noise = lambda prompts: network.draw_noise(len(prompts), seeded(1))
    return lambda prompts, w: coder.decode(sample(classifier_free(network, prompts, w), noise(prompts), 25)), psnr


def quality(n: int, f: str) -> dict:
    """The detector's scores at f, after as many steps as fit into the shipped latent model's training time."""
    spent, shipped = load("latents")[COST], models.records()["latent2shape"]["steps"]
    steps = round(shipped * spent["4"]["a training step"] / spent[f]["a training step"])
    generate, psnr = generator(f, steps)
    return {"steps": steps, "PSNR of the autoencoder, dB": psnr} | rounded(pair_figures(generate, n))


PARTS = [
    Part("cost", once={COST: cost}),
    Part("quality", lambda seeds: [{"f": f} for f in "124"], quality, into="after as much training", by="f"),
]
BENCH = Benchmark("latents", PARTS, amounts={"n": 200}, seeds=(), threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
