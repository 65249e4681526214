"""A cascade, 16 to 32: noise augmentation of the upsampler's input, and the cascade beside one stage at equal cost.

    python tests/benchmarks/cascade.py [--seeds 10 11 ...] [--n 200]

Four networks for each seed are trained on one thread and kept in build/cascade: a base of 16 x 16 (with a snapshot after a
quarter of its steps: the undertrained base), an upsampler with noise augmentation and one without, and one stage of 32 x 32.
All have the digits' recipe: times by `min_snr_times`, Muon, a tenth of the labels dropped. Each training is sampled from noise
of its own seed. Lesson 06 shows the results.

There are ten trainings, in two sets of five, seeds 10 to 14 and 20 to 24. What is compared was fixed before the first set, by
an earlier measurement of seeds 0 to 2, which is not used again; but for noise in training, which was fixed before the second.

- Scale: in the first set, with an upsampler trained without noise, the distances scattered by factors (0.7 to 6 for the
  finished base). So noise in training is compared by the logarithm of the distance: its claims are of a ratio, and use the
  second set alone. All others are of the difference of two Frechet distances, in all ten trainings. Differences are paired by
  training, except beside one stage, which is another network.
- Noise in sampling: s = 200 beside s = 0. One claim that it harms (real halves and the finished base), one that it helps
  (the undertrained base).
- Class: the accuracy with and without the class is shown, and no claim is made of it.
- Noise in training: at s = 0, one claim for each base, since the undertrained one gives the upsampler other inputs than it has
  seen, and the finished one hardly does.
- Truncated beside non-truncated: both bases in one claim, since what is said must hold for each, at s = 200. DDIM's x_s holds
  predicted noise, and the upsampler was trained with fresh noise, so the truncated way is expected to have the higher distance.
- Beside one stage: s = 0, the best of the five levels for the finished base in seeds 0 to 2. The steps of one stage cost as
  much processor time as those of base and upsampler together: 1,259 to 1,372 steps by three measurements, their mean here.
"""

from collections.abc import Iterator
from functools import cache, partial

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import digit_scores, parameters
from timing import min_milliseconds
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib.datasets import digits
from course_lib.denoisers import NULL, Network
from course_lib.methods.cascades import augmented, cascade
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import result, sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, TrainingState, denoising_loss, min_snr_times, train
from course_lib.zoo.recipes import cascades
from course_lib.zoo.recipes.digits import digits_network, train_digits
from course_lib.zoo.recipes.recipe import learner_of

STEPS = {"base": 400, "with": 700, "without": 700, "single": 1330}
"""Of one stage as many as cost what base and upsampler cost together, by `milliseconds_a_step`."""
EARLY = STEPS["base"] // cascades.EARLY
LEVELS = {"with": (0, 100, 200, 400, 600), "without": (0, 200)}
SOME = (0, 200)
"""The levels at which the upsampler is also given no class."""
MOVES = 20
"""DDIM steps of each stage. One stage is also sampled in twice as many, which cost what the cascade's two stages cost."""


def single(seed: int) -> Network:
    """One stage: the upsampler's U-Net, conditioned on the class, without a small picture."""
    torch.manual_seed(seed)
    net = UNet(size=32, patch=2, widths=(16, 32, 64), classes=10).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_single(network: Network, seconds: None, seed: int, steps: int) -> Iterator[TrainingState]:
    x, label = digits.load("train", 32)
    learner, rng = learner_of(network), seeded(seed)

    def loss() -> Tensor:
        i = torch.randint(len(x), (32,), generator=rng)
        denoiser = learner.given(label[i]).drop_condition(0.1, rng)
        return denoising_loss(denoiser, x[i], rng, min_snr_times(network.process, len(i), rng))

    return train(loss, learner.net, steps, lr=3e-3, ema=EMA(learner.net, 0.995, into=network.net), muon=0.02)


KINDS = {
    "base": (digits_network, train_digits),
    "with": (cascades.upsampler_network, cascades.train_upsampler),
    "without": (cascades.upsampler_network, partial(cascades.train_upsampler, max_s=0)),
    "single": (single, train_single),
}


@cache
def trained(kind: str, seed: int) -> Network:
    """The network of that kind; 'early' is the undertrained base."""
    of = "base" if kind == "early" else kind
    (build, training), path = KINDS[of], lambda kind: BUILD / f"cascade/{kind}-{seed}.safetensors"
    network, snapshots = build(seed), {EARLY: path("early")} if of == "base" else {}
    if kind == "early" and not path("early").is_file():
        trained("base", seed)
    load_or_train(path(kind), network.net, lambda: training(network, None, seed, STEPS[of]), snapshots=snapshots)
    return network


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
    return sample(trained(name, seed).given(labels(name, n)), noises(n, seed)[0], MOVES, batch=n)


def labels(base: str, n: int) -> Tensor:
    """The class of each picture (n,)."""
    return digits.load("held_out", 32)[1][-n:] if base == "real" else torch.arange(n) % 10


def large_pictures(n: int, seed: int, base: str, upsampler: str, s: int, truncated: bool, given: str, moves: int) -> Tensor:
    """The large pictures of one row (n, 1, 32, 32)."""
    (small, large, of_one_stage), label = noises(n, seed), labels(base, n)
    if base == "single":
        return sample(trained("single", seed).given(label), of_one_stage, moves, batch=n)
    if upsampler == "interpolation":
        return interpolate(small_pictures(base, n, seed), scale_factor=2, mode="bilinear", align_corners=False)
    network, cond = trained(upsampler, seed), label if given == "class" else NULL
    if truncated:
        wanted = trained(base, seed).given(label)
        times = wanted.process.times(moves)
        return result(cascade(wanted, network, (small, large), times, s, truncated=True, label=cond))
    low = augmented(network.process, small_pictures(base, n, seed), s, seeded(200 + seed))
    return sample(network.given((*low, cond)), large, moves, batch=n)


def jobs(seeds):
    kinds = [("single", "", 0, False, "class", MOVES), ("single", "", 0, False, "class", 2 * MOVES)]
    for base in ("real", "early", "base"):
        kinds += [(base, kind, s, False, "class", MOVES) for kind in LEVELS for s in LEVELS[kind]]
        kinds += [(base, "with", s, False, "nothing", MOVES) for s in SOME]
        kinds += [(base, "with", 200, True, "class", MOVES)] if base != "real" else []
    kinds += [("base", "interpolation", 0, False, "nothing", 0)]
    keys = ("seed", "base", "upsampler", "s", "truncated", "given", "moves")
    return [dict(zip(keys, (seed, *kind))) for seed in seeds for kind in kinds]


@torch.no_grad()
def row(n: int, **job) -> dict:
    label = labels(job["base"], n)
    return {"figures": digit_scores(large_pictures(n, **job), label, classifier="judge32")}


def real_scores(n: int) -> dict[str, float]:
    """The scores of real digits against others."""
    x, label = digits.load("held_out", 32)
    return digit_scores(x[-n:], label[-n:], classifier="judge32")


def milliseconds_a_step(n: int) -> dict[str, float]:
    """Milliseconds of processor time of a training step of each network: the minimum of many rounds, in turns."""
    steps = {}
    for kind in ("base", "with", "single"):
        build, training = KINDS[kind]
        steps[kind] = partial(next, training(build(0), None, 0, STEPS[kind]))
    return {kind: round(ms, 1) for kind, ms in min_milliseconds(steps, repeats=60).items()}


def milliseconds_a_picture(n: int) -> dict[str, float]:
    """Milliseconds of processor time for a picture of each network in MOVES steps, likewise."""
    runs, label, n = {}, torch.arange(50) % 10, 50
    for kind in ("base", "with", "single"):
        network = KINDS[kind][0](0)
        given = network.given((torch.zeros(n, 1, 16, 16), 0.2, label) if kind == "with" else label)
        runs[kind] = partial(sample, given, network.draw_noise(n, seeded(0)), MOVES)
    return {kind: round(ms / n, 2) for kind, ms in min_milliseconds(runs, repeats=10).items()}


ONCE = {
    "parameters": lambda n: {kind: parameters(KINDS[kind][0](0).net) for kind in ("base", "with", "single")},
    "training ms a step": milliseconds_a_step,
    "sampling ms a picture": milliseconds_a_picture,
    "real against real": real_scores,
}
BENCH = Benchmark(
    "cascade",
    [Part(jobs=jobs, row=row, once=ONCE)],
    amounts={"n": 200},
    seeds=(*range(10, 15), *range(20, 25)),
    header={"steps": STEPS, "early": EARLY, "moves": MOVES},
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
