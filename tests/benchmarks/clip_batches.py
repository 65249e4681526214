"""What CLIP learns from its batches: trainings that differ in the size, the number or the composition of the batches alone.

    python tests/benchmarks/clip_batches.py [short | long] [--n 600] [--seeds 6 7 8]

A small CLIP of clean pictures, 0.29 M parameters, for pictures of two objects and their plain captions. All arms have the same
distribution of pictures: two colours, and the scene with the two colours exchanged is in the training data, too. The arms:
batches of 64 for STEPS steps; the same number of pictures with each one's partner, in which the colours are exchanged, in the
same batch (so half as many independent scenes); 64 for twice the steps; 128 for STEPS, which are as many pictures; and the last
with noisy pictures. All have the same learning rate. STEPS was set so that all of it costs about five minutes of one core.
Scores: whether a picture is closer to its caption than to one with a single error (n pictures), and the share of 1,280 captions
that find their picture among 64, noised to time t. Lesson 10 shows the results; its null model are the trainings of the first
arm from other seeds. In an earlier run (HISTORY.md) three trainings were too few to tell noisy pictures from clean ones at
t = 400, so those two arms have five.

`long` trains CLIPs of the shipped size, one each, for 2,000 steps on captions in many words. Batches of 128 or 256; a share
`pairs` of the pictures shows two objects. It takes six minutes of a core for each 128 pictures. The weights are kept in
build/clip. The stored rows are older than the filter of `hard_negatives`; they lack the captions with swapped colours, of which
43 % named an object that was never in training.
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
    "64, twice the steps": {"steps": 2 * STEPS},
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


def training_of(net: CLIP, seed: int, batch: int = 64, steps: int = STEPS, partners: bool = False, noisy: bool = False):
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

    return train(loss, learner, steps, lr=2e-3, ema=EMA(learner, 0.98, into=net), weight_decay=0.01, muon=0.02)


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
    each = [{"seed": seed, "arm": arm} for seed in seeds for arm in ARMS]
    again = [{"seed": seed + 3, "arm": "64"} for seed in seeds]
    return each + again + [{"seed": seed + 3, "arm": arm} for seed in seeds[:2] for arm in ("128", "128, noisy")]


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


KINDS = {"1/2": ("one", "pair", "pair", "alike"), "5/7": recipe.MOSTLY_PAIRS}


def long_jobs(seeds):
    return [{"seed": 0, "batch": batch, "pairs": pairs} for pairs in KINDS for batch in (128, 256)]


def long_row(n: int, seed: int, batch: int, pairs: str) -> dict:
    net = recipe.clip(seed)
    training = lambda: recipe.train_clip(net, seed=seed, noisy=False, batch=batch, kinds=KINDS[pairs])
    path = BUILD / f"clip/{batch} {pairs.replace('/', ' of ')} {seed}.safetensors"
    load_or_train(path, net, training, recipe.CLIP_CLEAN.bits)
    both = recipe.retrieval(net, batches=200)
    figures = rounded(dict(zip(("caption finds picture", "picture finds caption"), both)))
    figures["right caption preferred"] = rounded(recipe.hard_negatives(net, n)[0])
    figures["classified"] = {split: round(recipe.zero_shot(net, split), 4) for split in ("train", "new objects")}
    return {"figures": figures}


PARTS = [Part("short", jobs, row), Part("long", long_jobs, long_row, into="long")]
BENCH = Benchmark("clip_batches", PARTS, amounts={"n": 600}, seeds=(6, 7, 8), header={"steps": STEPS}, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
