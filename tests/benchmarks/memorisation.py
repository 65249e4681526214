"""Memorisation of pictures that are duplicated in the training set. Lesson 20 shows the results.

    python tests/benchmarks/memorisation.py [--n 1000] [--seeds 0 1 2]

One training of the digits' network by its recipe on 4,000 digits, of which a few are there 10 to 1,000 times: six minutes of
one core, snapshots in build/memorisation. Its samples are compared with every distinct training picture by
`metrics.memorisation`. A sample counts as a copy if it is closer to one picture than any of 1,000 held-out digits is.
"""

from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import as_base64, rounded
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.training import EMA, denoising_loss, train
from course_lib.zoo.recipes.digits import digits_network
from course_lib.zoo.recipes.recipe import learner_of

COPIES = {10: 10, 30: 10, 100: 6, 300: 3, 1000: 2}
"""How often a picture is in the training set, and how many such pictures there are. All others are there once."""
GROUPS = (1, *COPIES)
STEPS, KEPT, WEIGHTS = 4000, (250, 500, 1000, 2000, 4000), (0.0, 1.0, 3.0)


@cache
def duplicated() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The distinct training pictures (4000, 1, 16, 16), their labels (4000,), how often each is in the training set (4000,),
    and the training set as numbers of pictures.

    Ones are never duplicated: they are all alike.
    """
    x, label = digits.load("train")
    often = torch.ones(len(x), dtype=torch.long)
    some = torch.randperm(len(x), generator=seeded(0))
    some = iter(some[label[some] != 1].tolist())
    for copies, pictures in COPIES.items():
        for _ in range(pictures):
            often[next(some)] = copies
    return x, label, often, torch.arange(len(x)).repeat_interleave(often)


def snapshot(step: int, seed: int = 0) -> Network:
    """The network after `step` steps of Algorithm 1 with labels, a tenth of them dropped, as the recipe `digits` has it."""
    x, label, _, shown = duplicated()
    network, rng = digits_network(seed), seeded(seed)
    learner, paths = learner_of(network), {step: BUILD / f"memorisation/{step}.safetensors" for step in KEPT}

    def loss() -> Tensor:
        i = shown[torch.randint(len(shown), (64,), generator=rng)]
        return denoising_loss(learner.given(label[i]).drop_condition(0.1, rng), x[i], rng)

    training = lambda: train(loss, learner.net, STEPS, lr=3e-3, ema=EMA(learner.net, 0.995, into=network.net))
    load_or_train(paths[STEPS], network.net, training, snapshots=paths)
    load_or_train(paths[step], network.net, training)
    return network


def generate(network: Network, label: Tensor, w: float, seed: int) -> Tensor:
    """A picture for each label, 25 DDIM steps at guidance w."""
    noise = network.draw_noise(len(label), seeded(seed))
    return sample(classifier_free(network, label, w), noise, 25, batch=250).clamp(-1, 1)


@cache
def held_out_scores() -> Tensor:
    """How close each held-out digit is to one training picture, relative to the next ones (1000,)."""
    return metrics.memorisation(digits.load("held_out")[0], duplicated()[0])[0]


@cache
def samples(n: int, step: int, w: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """n samples with labels as in the training set, the score of each, and which training picture it is closest to."""
    x, label, _, shown = duplicated()
    wanted = label[shown[torch.randint(len(shown), (n,), generator=seeded(100 + seed))]]
    made = generate(snapshot(step), wanted, w, seed)
    return made, *metrics.memorisation(made, x)


def jobs(seeds):
    weights = lambda step: WEIGHTS if step == STEPS else (1.0,)
    return [{"step": step, "w": w, "seed": seed} for step in KEPT for w in weights(step) for seed in seeds]


def row(n: int, step: int, w: float, seed: int) -> dict:
    """The share of samples that are copies, by how often the copied picture was shown; distances to known and new pictures."""
    x, _, often, _ = duplicated()
    made, score, nearest = samples(n, step, w, seed)
    closest = lambda pictures: float(torch.cdist(made.flatten(1), pictures.flatten(1)).min(1).values.median())
    copy = score < float(held_out_scores().min())
    figures = {"copies": rounded({str(c): float((copy & (often[nearest] == c)).sum()) / n for c in GROUPS})}
    figures["all copies"] = round(float(copy.float().mean()), 4)
    distances = {"training": closest(x), "held out": closest(digits.load("held_out")[0])}
    return figures | rounded({f"median distance, {name}": value for name, value in distances.items()}, 3)


def album(n: int) -> list[dict]:
    """For two pictures of each count, those with the closest samples: the picture, and the sample that is closest to it."""
    x, _, often, _ = duplicated()
    best: dict[int, tuple[float, Tensor]] = {}
    for seed in BENCH.seeds:
        for made, score, k in zip(*samples(n, STEPS, 1.0, seed)):
            if int(k) not in best or float(score) < best[int(k)][0]:
                best[int(k)] = float(score), made
    pages = []
    for copies in GROUPS:
        for k in sorted((k for k in best if often[k] == copies), key=lambda k: best[k][0])[:2]:
            score, made = best[k]
            page = {"copies": copies, "score": round(score, 3), "picture": as_base64(x[k]), "sample": as_base64(made)}
            pages.append(page)
    return pages


def film(n: int) -> list[dict]:
    """Samples from the same noise and 16 labels at several stages of training, and the closest training pictures.

    The labels are drawn as the training set has them, so that about half are those of duplicated pictures.
    """
    x, label, often, shown = duplicated()
    wanted = label[shown[torch.randint(len(shown), (16,), generator=seeded(7))]]
    frames = []
    for step in KEPT:
        made = generate(snapshot(step), wanted, 1.0, seed=7)
        score, nearest = metrics.memorisation(made, x)
        frame = {"step": step, "drawn": as_base64(made), "nearest": as_base64(x[nearest]), "often": often[nearest].tolist()}
        frames.append(frame | {"score": [round(float(s), 3) for s in score]})
    return frames


def shares(n: int) -> dict[str, float]:
    """The share of the training set that pictures of each count are."""
    _, _, often, shown = duplicated()
    return rounded({str(c): float(often[often == c].sum()) / len(shown) for c in GROUPS})


BENCH = Benchmark(
    "memorisation",
    [
        Part(
            once={
                "pictures": lambda n: {str(c): int((duplicated()[2] == c).sum()) for c in GROUPS},
                "share of training": shares,
                "limit": lambda n: round(float(held_out_scores().min()), 4),
                "held-out scores": lambda n: {
                    str(q): round(float(held_out_scores().quantile(q)), 3) for q in (0.01, 0.1, 0.5, 0.9)
                },
            }
        ),
        Part(jobs=jobs, row=row),
        Part(once={"album": album, "film": film}),
    ],
    amounts={"n": 1000},
    header={"steps": STEPS},
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
