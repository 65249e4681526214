"""A cascade, 16 to 32: noise augmentation of the upsampler's input, and the cascade beside one stage at equal cost.

    python tests/benchmarks/cascade.py [--seeds 0 1 2] [--n 200]

Four networks are trained once, on one thread, and kept in build/cascade: a base of 16 x 16 (with a snapshot at a quarter of its
training: stopped early), an upsampler with noise augmentation and one without, and one stage of 32 x 32 for as long as base and
upsampler together. The seeds are those of all noise in sampling. Lesson 06 shows the results.
"""

import time
from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import digit_scores
from torch import Tensor
from torch.nn.functional import avg_pool2d

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.methods.cascades import augmented, cascade
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import result, sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, denoising_loss, train
from course_lib.zoo.recipes import cascades
from course_lib.zoo.recipes.digits import digits_network, train_digits
from course_lib.zoo.recipes.recipe import learner_of

STEPS = {"base": 600, "upsampler": 1000, "single": 2250}
EARLY = STEPS["base"] // 4
LEVELS = {"with": (0, 100, 200, 400, 600), "without": (0, 200)}
TRUNCATED = (200, 400)


def single(seed: int) -> Network:
    """One stage: the upsampler's U-Net, conditioned on the class, without a small picture."""
    torch.manual_seed(seed)
    net = UNet(size=32, patch=2, widths=(16, 32, 64), classes=10).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_single(network: Network, seed: int):
    x, label = digits.load("train", 32)
    learner, rng = learner_of(network), seeded(seed)

    def loss():
        i = torch.randint(len(x), (32,), generator=rng)
        return denoising_loss(learner.given(label[i]).drop_condition(0.1, rng), x[i], rng)

    return train(loss, learner.net, STEPS["single"], lr=3e-3, ema=EMA(learner.net, 0.995, into=network.net))


def train_upsampler(network: Network, seed: int, **options):
    return cascades.train_upsampler(network, None, seed, STEPS["upsampler"], **options)


KINDS = {
    "base": (digits_network, lambda network, seed: train_digits(network, seed=seed, steps=STEPS["base"], plain=True)),
    "with": (cascades.upsampler_network, train_upsampler),
    "without": (cascades.upsampler_network, lambda network, seed: train_upsampler(network, seed, max_s=0)),
    "single": (single, train_single),
}


@cache
def trained(kind: str, seed: int = 0) -> tuple[Network, float]:
    """The network of that kind, and the seconds of processor time of its training; 'early' is the base stopped early."""
    build, training = KINDS["base" if kind == "early" else kind]
    network, path = build(seed), lambda kind: BUILD / f"cascade/{kind}-{seed}.safetensors"
    if kind == "early" and not path("early").is_file():
        load_or_train(path("base"), network.net, lambda: training(network, seed), snapshots={EARLY: path("early")})
    snapshots = {EARLY: path("early")} if kind == "base" else {}
    record = load_or_train(path(kind), network.net, lambda: training(network, seed), snapshots=snapshots)
    return network, record["seconds"]


@cache
def noises(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The noise that all rows of a seed start from: of small pictures, of large ones, and of one stage."""
    rng = seeded(100 + seed)
    return torch.randn(n, 1, 16, 16, generator=rng), *torch.randn(2, n, 1, 32, 32, generator=rng)


@cache
def small_pictures(name: str, n: int, seed: int) -> Tensor:
    """Small pictures of a base, or real digits at half the size."""
    if name == "real":
        return avg_pool2d(digits.load("held_out", 32)[0][-n:], 2)
    return sample(trained(name)[0].given(torch.arange(n) % 10), noises(n, seed)[0], 20, batch=n)


def large_pictures(n: int, seed: int, base: str, upsampler: str, s: int, truncated: bool) -> Tensor:
    """The large pictures of one row (n, 1, 32, 32)."""
    (small, large, of_one_stage), label = noises(n, seed), torch.arange(n) % 10
    if base == "single":
        return sample(trained("single")[0].given(label), of_one_stage, 20, batch=n)
    network = trained(upsampler)[0]
    if truncated:
        wanted = trained(base)[0].given(label)
        return result(cascade(wanted, network, (small, large), wanted.process.times(20), s, truncated=True))
    low = augmented(network.process, small_pictures(base, n, seed), s, seeded(200 + seed))
    return sample(network.given(low), large, 20, batch=n)


def jobs(seeds):
    kinds = [("single", "", 0, False)]
    for base in ("real", "early", "base"):
        kinds += [(base, kind, s, False) for kind in LEVELS for s in LEVELS[kind]]
        kinds += [(base, "with", s, True) for s in TRUNCATED if base != "real"]
    keys = ("seed", "base", "upsampler", "s", "truncated")
    return [dict(zip(keys, (seed, *kind))) for seed in seeds for kind in kinds]


@torch.no_grad()
def row(n: int, **job) -> dict:
    return {"figures": digit_scores(large_pictures(n, **job), torch.arange(n) % 10, classifier="judge32")}


def real_scores(n: int) -> dict[str, float]:
    """The scores of real digits against others."""
    x, label = digits.load("held_out", 32)
    held_out, of_held_out = x[-n:], label[-n:]
    return digit_scores(held_out, of_held_out, classifier="judge32")


def milliseconds_a_picture(n: int) -> dict[str, float]:
    """Milliseconds of processor time for a picture, by each network, in 20 steps."""
    cost, n = {}, 50
    for kind, size in (("base", 16), ("with", 32), ("single", 32)):
        network, noise = trained(kind)[0], torch.randn(n, 1, size, size)
        given = network.given(torch.zeros(n, 1, 16, 16) if kind == "with" else torch.arange(n) % 10)
        sample(given, noise, 20)  # once, to warm up
        begun = time.process_time()
        sample(given, noise, 20)
        cost[kind] = round(1000 * (time.process_time() - begun) / n, 2)
    return cost


ONCE = {
    "real against real": real_scores,
    "training s": lambda n: {kind: trained(kind)[1] for kind in ("base", "early", "with", "without", "single")},
    "drawing ms": milliseconds_a_picture,
}
BENCH = Benchmark("cascade", [Part(jobs=jobs, row=row, once=ONCE)], amounts={"n": 200}, header={"steps": STEPS}, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
