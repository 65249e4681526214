"""SDXL in miniature: the effect of each of its additions, from nothing, where good pictures are scarce. For lesson 15.

    python tests/benchmarks/sdxl.py [digits | refiner | text] [--n 300]

The protocol was fixed before the first of these runs. Steps, rates, w and n come from a trial of the conditioned network alone,
seed 100. A seed decides the collection, the initial weights, the batches and the noise that sampling starts from, so that arms
are compared seed by seed.

- `digits`: 400 training digits, of which about a quarter are large and whole; half were small, and half are cropped, each at
  random (`digit_collection`). All arms have 500 steps of 32 from random weights: on the large
  whole ones alone; on all, not conditioned; on all, conditioned on size and crop; on all, conditioned on the numbers of other
  pictures ('shuffled', the null model); and conditioned with twice the channels at 4 x 4, for as many steps as the smaller
  network's processor time allows. n digits, w = 2, 15 DDIM steps, conditioned on a large whole picture, or on a side of 4 or a
  crop of 5, 5 where the row says so. Statements: conditioning lowers the Frechet distance beside 'not conditioned', and beside
  'large only'; asked for side 4 there is less detail, asked for a crop more digits touch the border; the larger network has a
  lower distance at equal time.
- `refiner`: from the conditioned network, 150 further steps on the large whole digits, at t <= 200. It takes over at t = 200.
  Controls, with the same switch: the same 150 steps at the base's times; the network of large whole digits, without further
  steps; no switch, but noise of t = 200 added to the finished sample and removed again, by either network; and the control
  network at all times. Statement: a refiner lowers the distance beside the base, and beside the same steps at all times.
- `text`: latents of one object, from random weights, 400 steps of 32, with frozen text encoders. The first encoder is a
  paraphraser's, trained for 400 steps on captions without the synonyms little, big, disc and box; no picture network is trained
  on these words either. Arms: this encoder; with a second one of the same kind; with lesson 10's CLIP, whose captions had all
  words. 300 captions, w = 3, 15 DDIM steps. Statement: with CLIP more sizes are right where captions say little and big, beside
  the first encoder alone and beside two of its kind.
"""

import re
import time
from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import detector, digit_scores, parameters, rounded
from torch.nn.functional import cross_entropy

from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.methods.sdxl import ExpertSwitch, border, high_frequency_detail
from course_lib.nets.sdxl import SDXLUNet, TwoEncoders
from course_lib.nets.text import Paraphraser
from course_lib.process import DDPM, rand, randint, randn, seeded
from course_lib.samplers import ddim, result, sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, denoising_loss, train
from course_lib.zoo import models
from course_lib.zoo.recipes import sdxl
from course_lib.zoo.recipes.recipe import learner_of
from course_lib.zoo.recipes.unclip import shipped_clip

STEPS, MOVES, AT, FURTHER = 500, 15, 200, 150
WHOLE = (16, 0, 0)
TRAININGS = ("conditioned", "not conditioned", "large only")
ASKED = {"side 4": (4, 0, 0), "cut": (16, 5, 5)}
SWITCHES = ("base", "refiner", "same steps, all times", "large only", "noised again, base", "noised again, refiner")
SWITCHES += ("control network alone",)
ENCODERS = ("first", "first and another", "first and CLIP")
NEW_WORDS = {"small": "little", "large": "big", "circle": "disc", "square": "box"}


def swapped(texts: list[str], words: dict[str, str]) -> list[str]:
    """The texts with some words in the place of others."""
    plural = lambda word: captions.PLURALS.get(word, f"{word}s")
    words = words | {plural(old): plural(new) for old, new in words.items()}
    return [re.sub(r"\w+", lambda match: words.get(match[0], match[0]), text) for text in texts]


# Digits


@cache
def arm(kind: str, seed: int) -> Network:
    """A trained network of that kind."""
    x, label, micro = sdxl.digit_collection(seed=seed)
    good = (micro == torch.tensor(WHOLE)).all(1)
    if kind in ("large only", "refiner", "same steps, all times"):
        x, label, micro = x[good], label[good], micro[good]
    if kind == "not conditioned":
        micro = torch.tensor(WHOLE).expand(len(x), 3)
    network, options = sdxl.micro_network(seed), {"steps": STEPS}
    if kind in ("refiner", "same steps, all times"):
        network.net.load_state_dict(arm("conditioned", seed).net.state_dict())
        options = {"steps": FURTHER, "lr": 1e-3, "muon": 0.005, "last": AT if kind == "refiner" else None}
    training = lambda: sdxl.train_micro(network, x, label, micro, seed=seed, **options)
    load_or_train(BUILD / f"sdxl/{kind.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors", network.net, training)
    return network


def begin(n: int, seed: int):
    """Labels, and the noise that all arms of a seed are sampled from."""
    return torch.arange(n) % 10, randn(n, 1, 16, 16, rng=seeded(1000 + seed))


def scores(x, label) -> dict[str, float]:
    found = {"detail": high_frequency_detail(x).mean(), "border": border(x).double().mean()}
    return digit_scores(x, label) | rounded(found)


def digit_jobs(seeds):
    found = []
    for seed in seeds:
        found += [{"kind": kind, "asked": "whole", "seed": seed} for kind in TRAININGS]
        found += [{"kind": kind, "asked": asked, "seed": seed} for kind in TRAININGS[:2] for asked in ASKED]
    return found + [{"kind": "real digits", "asked": asked, "seed": 0} for asked in ("whole", "as found")]


@torch.no_grad()
def digit_row(n: int, kind: str, asked: str, seed: int) -> dict:
    if kind == "real digits":
        x, label, _ = sdxl.digit_collection(n, 1000, *(0, 0) if asked == "whole" else (0.5, 0.5))
        return scores(x, label)
    with torch.enable_grad():
        network = arm(kind, seed)
    label, noise = begin(n if asked == "whole" else n // 3, seed)
    begun = time.process_time()
    x = sample(classifier_free(network, (label, ASKED.get(asked, WHOLE)), 2.0), noise, MOVES, batch=n)
    spent = {"parameters": parameters(network.net), "sampling seconds": round(time.process_time() - begun, 1)}
    return scores(x, label) | spent


# The last steps


@torch.no_grad()
def refiner_row(n: int, kind: str, seed: int) -> dict:
    with torch.enable_grad():
        own = {name: arm(name, seed) for name in ("conditioned", "refiner", "same steps, all times", "large only")}
    label, noise = begin(n, seed)
    given = {name: classifier_free(network, (label, WHOLE), 2.0) for name, network in own.items()}
    base = given["conditioned"]
    if kind == "control network alone":
        denoiser = given["same steps, all times"]
    elif kind in given and kind != "conditioned":
        denoiser = ExpertSwitch(base, given[kind], AT)
    else:
        denoiser = base
    x = sample(denoiser, noise, MOVES, batch=n)
    if kind.startswith("noised again"):
        again = base.process.add_noise(x, AT, randn(*x.shape, rng=seeded(2000 + seed)))
        times = [t for t in base.process.times(MOVES).tolist() if t <= AT]
        x = result(ddim(given["refiner"] if kind.endswith("refiner") else base, again, times))
    return scores(x, label)


# Text encoders


def one_object(n: int, rng, asked: bool = False):
    """Scenes of one object, their captions without synonyms, and what these mention: all where they are `asked` for."""
    scene = scenes.sample(n, rng, ("one",))
    prompts, mentioned = (captions.describe(scene), scene) if asked else captions.tell(scene, rng)
    return scene, swapped(prompts, {new: old for old, new in NEW_WORDS.items()}), mentioned


@cache
def encoder(seed: int):
    """A paraphraser's text encoder, trained without the new words."""
    torch.manual_seed(seed)
    net, rng = Paraphraser(), seeded(seed)
    learner = learner_of(net)

    def loss():
        _, prompts, mentioned = one_object(64, rng)
        plain = captions.tokens(captions.describe(mentioned))
        return cross_entropy(learner(captions.tokens(prompts)).flatten(0, 1), plain.flatten())

    training = lambda: train(loss, learner, 400, lr=2e-3, ema=EMA(learner, 0.99, into=net))
    load_or_train(BUILD / f"sdxl/encoder-{seed}.safetensors", net, training)
    return net.encoder


@cache
def latents(seed: int):
    """Latents of 1,500 pictures of one object, and their captions' tokens."""
    rng = seeded(seed)
    scene, prompts, _ = one_object(1500, rng)
    autoencoder = models.load("autoencoder")
    z = torch.cat([autoencoder.encode(part, rng) for part in shapes.draw(scene, rng).split(250)])
    return z, captions.tokens(prompts)


@cache
def by_text(kind: str, seed: int) -> Network:
    """A network of latents with the encoders of that kind."""
    text = encoder(seed)
    if kind != "first":
        text = TwoEncoders(text, shipped_clip().text if kind == "first and CLIP" else encoder(seed + 100))
    torch.manual_seed(seed)
    network = Network(SDXLUNet(8, (32, 64), 64, text=text), DDPM(linear_beta(1000)), "v")
    (z, tokens), rng, learner = latents(seed), seeded(seed), learner_of(network)
    learner.net.text.requires_grad_(False)

    def loss():
        i = randint(0, len(z), 32, rng=rng)
        prompts = torch.where(rand(32, 1, rng=rng) < 0.1, captions.tokens(""), tokens[i])
        return denoising_loss(learner.given(prompts), z[i], rng)

    training = lambda: train(loss, learner.net, 400, lr=2e-3, ema=EMA(learner.net, 0.99, into=network.net))
    load_or_train(BUILD / f"sdxl/text-{kind.replace(' ', '-').lower()}-{seed}.safetensors", network.net, training)
    return network


@torch.no_grad()
def text_row(n: int, kind: str, words: str, seed: int) -> dict:
    with torch.enable_grad():
        network = by_text(kind, seed)
    scene, prompts, _ = one_object(300, seeded(3000 + seed), asked=True)
    if words == "new words":
        prompts = swapped(prompts, NEW_WORDS)
    made = sample(classifier_free(network, prompts, 3.0), network.draw_noise(300, seeded(seed)), MOVES, batch=300)
    seen = detector().detect(models.load("autoencoder").decode(made))
    right = {name: (getattr(seen, name)[:, 0] == getattr(scene, name)[:, 0]) for name in ("size", "colour", "shape")}
    return rounded(
        {name: hits.double().mean() for name, hits in right.items()} | {"one object": (seen.count == 1).double().mean()}
    )


PARTS = [
    Part("digits", digit_jobs, digit_row, "digits"),
    Part("refiner", lambda seeds: [{"kind": k, "seed": s} for k in SWITCHES for s in seeds], refiner_row, "refiner"),
    Part(
        "text",
        lambda seeds: [
            {"kind": kind, "words": words, "seed": seed}
            for kind in ENCODERS
            for words in ("words of training", "new words")
            for seed in seeds
        ],
        text_row,
        "text",
    ),
]
BENCH = Benchmark("sdxl", PARTS, amounts={"n": 300}, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
