"""SDXL in miniature: the effect of each of its additions, from nothing, where good pictures are scarce. For lesson 15.

    python tests/benchmarks/sdxl.py [digits | refiner | larger | encoders] [--n 300]

The protocol was fixed before the first of these runs. Steps, rates, w and n come from a trial of the conditioned network alone,
seed 100. A seed decides the collection, the initial weights, the batches and the noise that sampling starts from, so that arms
are compared seed by seed.

- `digits`: 400 training digits, of which about a quarter are large and whole; half were small, and half are cropped, each at
  random (`digit_collection`). All arms have 500 steps of 32 from random weights: on the large whole ones alone; on all,
  conditioned on size and crop; on all, not conditioned. n digits, w = 2, 15 DDIM steps, conditioned on a large whole picture;
  n / 3 digits on a side of 4 or on a crop of 5, 5 where the row says so. Statements: conditioning lowers the Frechet distance
  beside 'not conditioned', and beside 'large only'; asked for side 4 there is less detail, and asked for a crop more digits
  touch the border. (An arm with a larger network was left out for lack of time when 'large only' of seed 0 had run.)
- `refiner`: from the conditioned network, 150 further steps on the large whole digits, at t <= 200. It takes over at t = 200.
  Controls, with the same switch: the same 150 steps at the base's times; the network of large whole digits, without further
  steps; no switch, but noise of t = 200 added to the finished sample and removed again, by either network. Statement: a refiner
  lowers the distance beside the base, and beside the same steps at all times.

Added after the figures of these were known, before their own runs; no statement changed:

- `digits`: 'numbers of other pictures' is conditioned, but each picture has the size and crop of another one. It is the null
  model of the first statement: beside 'not conditioned', its distance must not be lower. 'own digits' trains nothing: the large
  whole training digits of the seed, repeated to n. It says what a copier of them would score.
- `refiner`: 'refiner, weighted times' differs from 'refiner' in how t <= 200 is drawn: by the weights of 'same steps, all
  times'. 'another conditioned' is the hand-over alone, to the conditioned network of the next seed.
- `refiner`: 'refiner, all digits' and 'same steps, all digits' differ from 'refiner' and 'same steps, all times' in their
  digits alone: all 400 of the seed, with their sizes and crops. They say whether further steps lower the distance beside the
  base without a choice of good digits, and whether, at equal times, the good digits lower it more: paired by seed, no claim.
- `larger`: the U-Net's size alone. The arm 'conditioned' of `digits` (0.44 M parameters) beside widths of LARGER (1.34 M, 3.0
  times as many), with the same digits, batches, rates, w and noise. 'equal steps' has the same 500 steps, 'equal time' EQUAL
  steps, since a step of it takes 2.6 times the processor time (four rounds by turns before the runs, 0.036 and 0.094 s), along
  its own cycle of rates. Three trainings each. Rates were chosen for the smaller network and are not tuned for the larger one.
  No claim: compared with 'conditioned' seed by seed, by the distance.
- `encoders`: a second frozen text encoder. From nothing, small bases as in imagen.py: 16 x 16 pixels, captions of two objects,
  ENCODED steps of 32 at high noise (t > 700), where the caption decides. Arms: the words of the shipped CLIP; of the shipped
  masked language model; both, concatenated by word; and, as the null of the same width, CLIP's twice. All arms of a seed
  have the same pictures, captions and noises, and arms of one width the same initial weights. Judged on 1,000 pictures of 'new
  pairs', which are not in the training data: the loss at t > 700 with the captions of other pictures less that with the right
  ones ("gap", above 0 where captions are used), and as `binding` the share in which the right caption has a lower error at t =
  900 than one with exchanged colours. Verdict, three trainings: 'both' less 'CLIP twice' is above 0 by its margin, or below, or
  they cannot be told apart.
"""

import time
from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import digit_scores, parameters, rounded
from torch import Tensor, nn

from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.methods.sdxl import ExpertSwitch, border, high_frequency_detail
from course_lib.nets.text import TextEncoder, TextUNet
from course_lib.process import DDPM, randn, seeded
from course_lib.samplers import ddim, result, sample
from course_lib.schedules import linear_beta
from course_lib.teaching.evidence import estimate
from course_lib.training import EMA, denoising_loss, train
from course_lib.zoo import models
from course_lib.zoo.recipes import imagen, sdxl
from course_lib.zoo.recipes.recipe import learner_of

STEPS, MOVES, AT, FURTHER = 500, 15, 200, 150
WHOLE = (16, 0, 0)
LARGER, EQUAL, ENCODED = (32, 64, 120), 192, 300
TRAININGS = ("conditioned", "not conditioned", "large only")
OTHERS = "numbers of other pictures"
COPIER = "own digits"
ASKED = {"side 4": (4, 0, 0), "cut": (16, 5, 5)}
ON_GOOD = ("refiner", "refiner, weighted times", "same steps, all times")
FURTHER_ARMS = (*ON_GOOD, "refiner, all digits", "same steps, all digits")
AGAIN = ("noised again, base", "noised again, refiner")
SWITCHES = ("base", *FURTHER_ARMS, "another conditioned", "large only", *AGAIN)


# Digits


@cache
def arm(kind: str, seed: int) -> Network:
    """A trained network of that kind."""
    x, label, micro = sdxl.digit_collection(seed=seed)
    good = (micro == torch.tensor(WHOLE)).all(1)
    if kind == "large only" or kind in ON_GOOD:
        x, label, micro = x[good], label[good], micro[good]
    if kind == "not conditioned":
        micro = torch.tensor(WHOLE).expand(len(x), 3)
    if kind == OTHERS:
        micro = micro[torch.randperm(len(micro), generator=seeded(seed))]
    network, options = sdxl.micro_network(seed), {"steps": STEPS}
    if kind in FURTHER_ARMS:
        network.net.load_state_dict(arm("conditioned", seed).net.state_dict())
        options = {"steps": FURTHER, "lr": 1e-3, "muon": 0.005}
        options |= {"last": AT if kind.startswith("refiner") else None, "weighted": kind.endswith("weighted times")}
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
        found += [{"kind": kind, "asked": "whole", "seed": seed} for kind in (*TRAININGS, COPIER, OTHERS)]
        found += [{"kind": kind, "asked": asked, "seed": seed} for kind in TRAININGS[:2] for asked in ASKED]
    return found + [{"kind": "real digits", "asked": asked, "seed": 0} for asked in ("whole", "as found")]


@torch.no_grad()
def digit_row(n: int, kind: str, asked: str, seed: int) -> dict:
    if kind == "real digits":
        x, label, _ = sdxl.digit_collection(n, 1000, *(0, 0) if asked == "whole" else (0.5, 0.5))
        return scores(x, label)
    if kind == COPIER:
        x, label, micro = sdxl.digit_collection(seed=seed)
        own = (micro == torch.tensor(WHOLE)).all(1).nonzero()[:, 0]
        i = own.repeat(n // len(own) + 1)[:n]
        return scores(x[i], label[i])
    with torch.enable_grad():
        network = arm(kind, seed)
    label, noise = begin(n if asked == "whole" else n // 3, seed)
    begun = time.process_time()
    x = sample(classifier_free(network, (label, ASKED.get(asked, WHOLE)), 2.0), noise, MOVES, batch=n)
    spent = {"parameters": parameters(network.net), "sampling seconds": round(time.process_time() - begun, 1)}
    return scores(x, label) | spent


# A larger U-Net


def larger_row(n: int, kind: str, seed: int) -> dict:
    x, label, micro = sdxl.digit_collection(seed=seed)
    network, steps = sdxl.micro_network(seed, LARGER), STEPS if kind == "equal steps" else EQUAL
    training = lambda: sdxl.train_micro(network, x, label, micro, seed=seed, steps=steps)
    record = load_or_train(BUILD / f"sdxl/larger-{kind.replace(' ', '-')}-{seed}.safetensors", network.net, training)
    label, noise = begin(n, seed)
    with torch.no_grad():
        x = sample(classifier_free(network, (label, WHOLE), 2.0), noise, MOVES, batch=n)
    return scores(x, label) | {"parameters": parameters(network.net), "steps": steps, "seconds": record["seconds"]}


def seconds_a_step(n: int) -> dict[str, float]:
    """The processor time of a training step of either network: the median of five rounds of 20 steps, by turns."""
    x, label, micro = sdxl.digit_collection()
    found = {"conditioned": [], "larger": []}
    for _ in range(5):
        for kind, widths in (("conditioned", (16, 32, 64)), ("larger", LARGER)):
            network, begun = sdxl.micro_network(0, widths), time.process_time()
            for _ in sdxl.train_micro(network, x, label, micro, steps=20):
                pass
            found[kind].append((time.process_time() - begun) / 20)
    return rounded({kind: torch.tensor(each).median() for kind, each in found.items()})


# The last steps


@torch.no_grad()
def refiner_row(n: int, kind: str, seed: int) -> dict:
    with torch.enable_grad():
        own = {name: arm(name, seed) for name in ("conditioned", *FURTHER_ARMS, "large only")}
        own["another conditioned"] = arm("conditioned", (seed + 1) % 3)
    label, noise = begin(n, seed)
    given = {name: classifier_free(network, (label, WHOLE), 2.0) for name, network in own.items()}
    base = given["conditioned"]
    if kind in given and kind != "conditioned":
        denoiser = ExpertSwitch(base, given[kind], AT)
    else:
        denoiser = base
    x = sample(denoiser, noise, MOVES, batch=n)
    if kind.startswith("noised again"):
        again = base.process.add_noise(x, AT, randn(*x.shape, rng=seeded(2000 + seed)))
        times = [t for t in base.process.times(MOVES).tolist() if t <= AT]
        x = result(ddim(given["refiner"] if kind.endswith("refiner") else base, again, times))
    return scores(x, label)


# Two text encoders


class Encoders(nn.Module):
    """Frozen text encoders, whose outputs for each word are concatenated. Podell et al. 2023 (SDXL), section 2.1."""

    def __init__(self, *each: TextEncoder):
        super().__init__()
        self.each, self.width, self.as_condition = nn.ModuleList(each), sum(one.width for one in each), each[0].as_condition

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        found = [one(tokens) for one in self.each]
        return torch.cat([words for words, _ in found], 2), found[0][1]


ENCODERS = {
    "both": ("clip", "language"),
    "CLIP twice": ("clip", "clip"),
    "CLIP": ("clip",),
    "language model": ("language",),
}


def encoder_row(n: int, kind: str, seed: int) -> dict:
    text = Encoders(*(models.load(name).text for name in ENCODERS[kind]))
    torch.manual_seed(seed)
    net = TextUNet(imagen.SIDE, (32, 48, 64), text=text, patch=2).to(memory_format=torch.channels_last)
    network = Network(net, DDPM(linear_beta(1000)), "v")
    learner, rng = learner_of(network), seeded(seed)
    learner.net.text.requires_grad_(False)

    def loss() -> Tensor:
        x0, prompts, t = told(32, rng)
        return denoising_loss(learner.given(prompts), x0, rng, t)

    training = lambda: train(loss, learner.net, ENCODED, lr=2e-3, ema=EMA(learner.net, 0.99, into=net), muon=0.02)
    record = load_or_train(BUILD / f"sdxl/encoders-{kind.replace(' ', '-')}-{seed}.safetensors", net, training)
    x0, prompts, t = told(1000, seeded(4), "new pairs")
    with torch.no_grad():
        right, other = (denoising_loss(network.given(cond), x0, seeded(5), t) for cond in (prompts, prompts[1:] + prompts[:1]))
    figures = {"loss": right, "gap": other - right, "binding": imagen.caption_sensitivity(network, 1000)["binding"]}
    return rounded(figures) | {"parameters": parameters(net) - parameters(text), "seconds": record["seconds"]}


def told(n: int, rng: torch.Generator, split: str = "train") -> tuple[Tensor, list[str], Tensor]:
    """Small pictures (n, 3, 16, 16) of two objects, their captions, and times (n,) above 700."""
    scene = scenes.sample(n, rng, ("pair",), split)
    prompts, _ = captions.tell(scene, rng)
    x0 = shapes.draw(scene, rng, imagen.SIDE).to(memory_format=torch.channels_last)
    return x0, prompts, torch.randint(701, 1001, (n,), generator=rng)


def table(found: dict) -> str:
    """Means and standard errors of three trainings, in Markdown."""
    lines = ["| digits | Frechet distance | class accuracy | recall |", "|---|---|---|---|"]
    for kind in (*TRAININGS, OTHERS, COPIER):
        rows = [row for row in found["digits"] if row["kind"] == kind and row["asked"] == "whole"]
        lines.append(_line(kind, rows))
    lines += ["", "| last steps | Frechet distance | class accuracy | recall |", "|---|---|---|---|"]
    lines += [_line(kind, [row for row in found["refiner"] if row["kind"] == kind]) for kind in SWITCHES]
    lines += ["", "| U-Net of 1.34 M parameters | Frechet distance | class accuracy | recall |", "|---|---|---|---|"]
    lines += [_line(kind, [row for row in found["larger"] if row["kind"] == kind]) for kind in ("equal steps", "equal time")]
    lines += ["", "| text encoders | gap in loss | loss | binding |", "|---|---|---|---|"]
    kinds = {kind: [row for row in found["encoders"] if row["kind"] == kind] for kind in ENCODERS}
    return "\n".join(lines + [_line(kind, rows, ("gap", "loss", "binding"), ".4f") for kind, rows in kinds.items()])


def _line(kind: str, rows: list[dict], figures=("Frechet distance", "class accuracy", "recall"), spec: str = ".2f") -> str:
    each = (estimate([row[figure] for row in rows]) for figure in figures)
    return f"| {kind} | {' | '.join(format(e, spec) for e in each)} |"


PARTS = [
    Part("digits", digit_jobs, digit_row, "digits"),
    Part("refiner", lambda seeds: [{"kind": k, "seed": s} for s in seeds for k in SWITCHES], refiner_row, "refiner"),
    Part(
        "larger",
        lambda seeds: [{"kind": f"equal {of}", "seed": s} for s in seeds for of in ("steps", "time")],
        larger_row,
        "larger",
        once={"seconds a step": seconds_a_step},
    ),
    Part("encoders", lambda seeds: [{"kind": k, "seed": s} for k in ENCODERS for s in seeds], encoder_row, "encoders"),
]
BENCH = Benchmark("sdxl", PARTS, amounts={"n": 300}, table=table, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
