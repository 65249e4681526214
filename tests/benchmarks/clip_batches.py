"""What CLIP learns from its batches: trainings that differ in what stands together in a batch, or in the noise, alone.

    python tests/benchmarks/clip_batches.py [--n 600] [--seeds 20 21 22 23 24 25 26 27 28 29]

A small CLIP of clean pictures, 0.29 M parameters, for pictures of two objects and their plain captions. All arms have STEPS
steps, one learning rate, and the same distribution of pictures: two colours, and the scene with the two colours exchanged is in
the training data, too. Scores: whether a picture is closer to its caption than to one with a single error (n pictures), and
the share of 1,280 captions that find their picture among 64, noised to time t. Lesson 10 shows the results.

Composition: batches of 64, and as many pictures with each one's partner, in which the colours are exchanged, in the same batch
(so half as many independent scenes). Protocol, set before these trainings: ten seeds that no earlier run had, 20 to 29, the
same for both arms; a seed gives both the same initial weights. The claim: with partners the right caption is preferred to the
one with exchanged colours more often, by the mean of the ten paired differences. The null model: the first arm beside itself,
six other seeds (6 to 11, measured before). An earlier run of three seeds (6 to 8) could not tell the arms apart, with 52 to
95 %; its rows with partners are not used.

Noise: batches of 128, clean or three of four noisy, five seeds (6 to 10). In an earlier run (HISTORY.md) three were too few to
tell noisy pictures from clean ones at t = 400.
"""

from dataclasses import replace

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import rounded
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import Scene
from course_lib.nets.clip import CLIP, contrastive_loss
from course_lib.process import randn_like, seeded
from course_lib.training import EMA, train
from course_lib.zoo.recipes import clip as recipe
from course_lib.zoo.recipes.recipe import learner_of
from course_lib.zoo.recipes.shapes import load_text_encoder

STEPS = 100
ARMS = {
    "64": {},
    "64, with partners": {"partners": True},
    "128": {"batch": 128},
    "128, noisy": {"batch": 128, "noisy": True},
}
TIMES = (0, 100, 200, 300, 400, 500, 600, 700)


def exchanged(scene: Scene) -> Scene:
    """The scenes of two objects with their colours exchanged."""
    colour = scene.colour.clone()
    colour[:, :2] = scene.colour[:, :2].flip(1)
    return replace(scene, colour=colour)


def draw(n: int, rng: torch.Generator) -> Scene:
    """n scenes of two objects of two colours that, with their colours exchanged, are in the training data, too."""
    scene = scenes.sample(6 * n, rng, ("pair",))
    partner = exchanged(scene)
    keep = (scene.colour[:, 0] != scene.colour[:, 1]) & ~scenes.new_objects(partner) & ~scenes.new_pairs(partner)
    return scene[keep][:n]


def training_of(net: CLIP, seed: int, batch: int = 64, partners: bool = False, noisy: bool = False):
    """A training of `net` on fresh pairs of pictures and captions. A quarter of `noisy` pictures stay clean."""
    load_text_encoder(net.text)
    learner, rng = learner_of(net), seeded(seed)

    def loss() -> Tensor:
        scene = draw(batch // 2 if partners else batch, rng)
        scene = scenes.join([scene, exchanged(scene)]) if partners else scene
        x, t = shapes.draw(scene, rng), torch.zeros(batch, device="cpu", dtype=torch.long)
        if noisy:
            t[batch // 4 :] = recipe.PROCESS.sample_t(batch - batch // 4, rng)
            x = recipe.PROCESS.add_noise(x, t, randn_like(x, rng))
        pictures = learner.encode_image(x, t / recipe.PROCESS.T)
        return contrastive_loss(pictures, learner.encode_text(captions.tokens(captions.describe(scene))), learner.scale)

    return train(loss, learner, STEPS, lr=2e-3, ema=EMA(learner, 0.98, into=net), weight_decay=0.01, muon=0.02)


@torch.no_grad()
def found(net: CLIP, t: int, described: int, batches: int = 20) -> float:
    """The share of plain captions that find their picture, or one with the same caption, among 64 noised to time t."""
    rng, hits = seeded(1), 0.0
    for _ in range(batches):
        scene = draw(64, rng)
        x, prompts = shapes.draw(scene, rng), captions.describe(scene)
        x = recipe.PROCESS.add_noise(x, t, randn_like(x, rng))
        time = x.new_full((64,), described / recipe.PROCESS.T)
        best = (net.encode_image(x, time) @ net.encode_text(captions.tokens(prompts)).T).argmax(0).tolist()
        hits += sum(prompts[i] == prompt for i, prompt in zip(best, prompts))
    return round(hits / (64 * batches), 4)


def jobs(seeds):
    of = {"64": [*range(6, 12), *seeds], "64, with partners": seeds, "128": range(6, 11), "128, noisy": range(6, 11)}
    return [{"seed": seed, "arm": arm} for arm, each in of.items() for seed in each]


def row(n: int, seed: int, arm: str) -> dict:
    torch.manual_seed(seed)
    net = CLIP(dim=64, width=16, words=64)
    record = load_or_train(BUILD / f"clip/{arm} {seed}.safetensors", net, lambda: training_of(net, seed, **ARMS[arm]))
    times = TIMES if arm.startswith("128") else (0,)
    figures = {
        "right caption preferred": rounded(recipe.hard_negatives(net, n)[0]),
        "found at t": {str(t): found(net, t, t if ARMS[arm].get("noisy") else 0) for t in times},
    }
    return {"steps": record["steps"], "seconds": record["seconds"], "figures": figures}


PARTS = [Part(jobs=jobs, row=row)]
BENCH = Benchmark("clip_batches", PARTS, amounts={"n": 600}, seeds=range(20, 30), header={"steps": STEPS}, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
