"""Copies of pictures that are duplicated in the training set. Lesson 20 shows the results.

    python tests/benchmarks/memorisation.py [--n 300] [--seeds 0 1 2]

Protocol, written before the runs. Three trainings of the digits' network by its recipe, 600 steps of 64 pictures (half a
minute of one core each), on 2,000 digits, of which 29, drawn by the training's seed, are there 10 to 300 times. 300 samples are
drawn from the labels of the training set. A sample is a copy if its score (`metrics.memorisation`) is lower than that of each
of 1,000 held-out digits. Condition of "duplicates are copied": over the trainings, copies of pictures that are there 100 or
300 times, as a share of their share of the training set, exceed those of pictures that are there once; and of "guidance draws
more copies": the share of copies at w = 3 exceeds that at w = 1. Null models: 1,000 digits that were not trained on in the
place of the samples, and w = 1 from other noises. An error is that of three trainings.

Changed after the first run, and measured again from the same networks. Ones are never duplicated, so pictures of ones are left
out of the group "once", too (the groups then differ in the count alone). Digits that were not trained on have no copies at all,
so any difference of theirs fails: a further null model has copies. It has the same samples, and the counts are permuted among
the pictures that are no ones, so that they are not those of the training. The conditions are as they were.
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
from course_lib.teaching.evidence import estimate
from course_lib.training import EMA, denoising_loss, train
from course_lib.zoo.recipes.digits import digits_network
from course_lib.zoo.recipes.recipe import learner_of

DISTINCT, COPIES = 2000, {10: 10, 30: 10, 100: 6, 300: 3}
"""How many digits there are, and how often some are in the training set: {times: pictures}. All others are there once."""
GROUPS = (1, *COPIES)
STEPS, KEPT, WEIGHTS = 600, (150, 300, 600), (0.0, 1.0, 3.0)


@cache
def duplicated(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The distinct training pictures (2000, 1, 16, 16), their labels (2000,), how often each is in the training set (2000,),
    and the training set as numbers of pictures. The seed decides which are duplicated.

    Ones are never duplicated: they are all alike.
    """
    x, label = (part[:DISTINCT] for part in digits.load("train"))
    often = torch.ones(len(x), dtype=torch.long)
    some = torch.randperm(len(x), generator=seeded(1000 + seed))
    some = iter(some[label[some] != 1].tolist())
    for copies, pictures in COPIES.items():
        for _ in range(pictures):
            often[next(some)] = copies
    return x, label, often, torch.arange(len(x)).repeat_interleave(often)


@cache
def snapshot(step: int, seed: int) -> Network:
    """The network after `step` steps of Algorithm 1 with labels, a tenth of them dropped, as the recipe `digits` has it."""
    x, label, _, shown = duplicated(seed)
    network, rng = digits_network(seed), seeded(seed)
    learner, paths = learner_of(network), {at: BUILD / f"memorisation/{seed}_{at}.safetensors" for at in KEPT}

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
    """The score of each held-out digit beside the training pictures (1000,)."""
    return metrics.memorisation(digits.load("held_out")[0], duplicated(0)[0])[0]


def counted(seed: int, permuted: bool = False) -> Tensor:
    """How often each picture is in the training set (2000,), and 0 for ones; `permuted` among those that are no ones."""
    _, label, often, _ = duplicated(seed)
    some = (label != 1).nonzero()[:, 0]
    groups = torch.zeros_like(often)
    groups[some] = often[some[torch.randperm(len(some), generator=seeded(500 + seed))] if permuted else some]
    return groups


def in_groups(x: Tensor, seed: int, permuted: bool = False) -> dict:
    """The share of pictures x that are copies, and of copies by how often the copied picture is in the training set.

    Copies of ones are among all copies, but in no group.
    """
    known, often = duplicated(seed)[0], counted(seed, permuted)
    score, nearest = metrics.memorisation(x, known)
    copy = score < float(held_out_scores().min())
    found = {"copies": rounded({str(c): float((copy & (often[nearest] == c)).sum()) / len(x) for c in GROUPS})}
    return found | {"all copies": round(float(copy.float().mean()), 4)}


@cache
def samples(n: int, step: int, w: float, seed: int, noises: int) -> Tensor:
    """n samples of a training, with labels as in its training set."""
    _, label, _, shown = duplicated(seed)
    wanted = label[shown[torch.randint(len(shown), (n,), generator=seeded(100 + seed))]]
    return generate(snapshot(step, seed), wanted, w, 10 * noises + seed)


def jobs(seeds):
    """Each training at each w, after fewer steps, and once more from other noises."""
    kinds = [(STEPS, w, 0) for w in WEIGHTS] + [(step, 1.0, 0) for step in KEPT[:-1]] + [(STEPS, 1.0, 1)]
    return [{"step": step, "w": w, "noises": noises, "seed": seed} for seed in seeds for step, w, noises in kinds]


def row(n: int, **job) -> dict:
    return in_groups(samples(n, **job), job["seed"])


def unseen(n: int, seed: int) -> dict:
    """The same of 1,000 digits that were not trained on."""
    return in_groups(digits.load("train")[0][DISTINCT : DISTINCT + 1000], seed)


def permuted(n: int, seed: int) -> dict:
    """The same of the samples at w = 1, if the counts are not those of the training."""
    return in_groups(samples(n, step=STEPS, w=1.0, noises=0, seed=seed), seed, permuted=True)


def album(n: int) -> list[dict]:
    """For two pictures of each count, those with the closest samples of training 0: the picture, and that sample."""
    x, often, made = duplicated(0)[0], counted(0), samples(n, step=STEPS, w=1.0, noises=0, seed=0)
    best: dict[int, tuple[float, Tensor]] = {}
    for drawn, score, k in zip(made, *metrics.memorisation(made, x)):
        if int(k) not in best or float(score) < best[int(k)][0]:
            best[int(k)] = float(score), drawn
    pages = []
    for copies in GROUPS:
        for k in sorted((k for k in best if often[k] == copies), key=lambda k: best[k][0])[:2]:
            score, drawn = best[k]
            page = {"copies": copies, "score": round(score, 3), "picture": as_base64(x[k]), "sample": as_base64(drawn)}
            pages.append(page)
    return pages


def film(n: int) -> list[dict]:
    """Samples of training 0 from the same noise and 16 labels after some steps, and the closest training pictures.

    The labels are drawn as the training set has them.
    """
    x, label, often, shown = duplicated(0)
    wanted = label[shown[torch.randint(len(shown), (16,), generator=seeded(7))]]
    frames = []
    for step in KEPT:
        made = generate(snapshot(step, 0), wanted, 1.0, seed=7)
        score, nearest = metrics.memorisation(made, x)
        frame = {"step": step, "drawn": as_base64(made), "nearest": as_base64(x[nearest]), "often": often[nearest].tolist()}
        frames.append(frame | {"score": [round(float(s), 3) for s in score]})
    return frames


def shares(n: int) -> dict[str, float]:
    """The share of the training set that pictures of each count are, without ones."""
    often, shown = counted(0), duplicated(0)[3]
    return rounded({str(c): float(often[often == c].sum()) / len(shown) for c in GROUPS})


def table(found: dict) -> str:
    """Copies drawn, over copies shown, and their standard error over trainings, by how often a picture is there."""
    lines = ["| after 600 steps | " + " | ".join(f"{c} times" for c in GROUPS) + " | all copies |", "|---" * 7 + "|"]
    for w in WEIGHTS:
        runs = [run for run in found["runs"] if (run["step"], run["w"], run["noises"]) == (STEPS, w, 0)]
        each = [[run["copies"][str(c)] / found["share of training"][str(c)] for run in runs] for c in GROUPS]
        cells = [f"{estimate(row):.2f}" for row in [*each, [run["all copies"] for run in runs]]]
        lines.append(f"| w = {w:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


BENCH = Benchmark(
    "memorisation",
    [
        Part(
            once={
                "pictures": lambda n: {str(c): int((counted(0) == c).sum()) for c in GROUPS},
                "share of training": shares,
                "threshold": lambda n: round(float(held_out_scores().min()), 4),
            }
        ),
        Part(into="unseen", jobs=lambda seeds: [{"seed": seed} for seed in seeds], row=unseen),
        Part(jobs=jobs, row=row),
        Part(into="permuted", jobs=lambda seeds: [{"seed": seed} for seed in seeds], row=permuted),
        Part(once={"album": album, "film": film}),
    ],
    amounts={"n": 300},
    header={"steps": STEPS},
    table=table,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
