"""The effect of guidance on a minority: networks conditioned on mixed classes. Lesson 20 shows the results.

    python tests/benchmarks/bias.py [--n 300] [--seeds 0 1 2]      # five minutes on one core

Protocol, written before the runs. The digits' network, trained by their recipe for STEPS steps of 64 pictures (half a minute
of one core each), is conditioned only on which of four kinds a digit is of. Two kinds mix two digits, 6 with 9 and 8 with 0;
the other two kinds are what the second digit may be confused with. The arms differ in one thing: in a mixed kind of 400
pictures the second digit has 40 ("tenth") or 200 ("half"). The seed decides which pictures, the initial weights, the batches
and the noises; an arm of three trainings has seeds 0 to 2, and the arms are paired by seed. n samples of each mixed kind are
drawn at w = 1 and, from the same noises, at w = 2; the shipped classifier reads them. The figure is the factor of the odds,
second digit to first, from w = 1 to 2: of shares, a factor would fall with the share even where guidance does the same. Half
a count is added to each count of the odds, since a count may be 0 (written when one row at w = 1 was there).

Condition of "guidance costs a group more where it is a minority": over three trainings the factor is lower in "tenth" than in
"half", for nines and for zeros. Null model: "half, again", the same networks from other noises, in the place of "tenth". An
error is that of three trainings. Beside it stands what the shipped noise-aware classifier, which was not trained on these
kinds, gives beforehand: log P(kind | x_t) of held-out digits, the second digit's mean over TIMES less that of the first. The
higher, the higher the factor should be.

Before, there was one training of "tenth" alone (3,000 steps): zeros lost, against the classifier's prediction (+0.12), and
nothing could say whether their number was the cause. "half" is the control for that.
"""

from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from torch import Tensor

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randn_like, seeded
from course_lib.samplers import sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, denoising_loss, train
from course_lib.zoo import models
from course_lib.zoo.recipes.recipe import learner_of

KINDS, MIXED = ((6, 9), (4, 7), (8, 0), (3, 5)), (0, 2)
"""The digits of each kind, and the kinds whose second digit may be a minority."""
ARMS = {"tenth": (40, 0), "half": (200, 0), "half, again": (200, 10)}
"""How many of a mixed kind's 400 pictures are of its second digit, and what is added to the seed of the noises."""
STEPS, WEIGHTS, TIMES = 400, (1.0, 2.0), (200, 300, 400, 500, 600, 700)


def numbers(arm: str) -> list[dict[int, int]]:
    """How many pictures there are of each digit of each kind."""
    few = [ARMS[arm][0] if kind in MIXED else 200 for kind in range(len(KINDS))]
    return [{first: 400 - n, second: n} for n, (first, second) in zip(few, KINDS, strict=True)]


def mixed(arm: str, seed: int) -> tuple[Tensor, Tensor]:
    """The training pictures (1600, 1, 16, 16) and the kind of each (1600,)."""
    x, label = digits.load("train")
    order = torch.randperm(len(x), generator=seeded(1000 + seed))
    x, label = x[order], label[order]
    parts = [(x[label == d][:n], kind) for kind, of in enumerate(numbers(arm)) for d, n in of.items()]
    return torch.cat([part for part, _ in parts]), torch.cat([torch.full((len(part),), kind) for part, kind in parts])


@cache
def trained(arm: str, seed: int) -> Network:
    """The digits' network with four kinds in place of ten classes, trained."""
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=len(KINDS)).to(memory_format=torch.channels_last)
    model, rng, (x, kind) = Network(net, DDPM(cosine_beta(1000)), "v"), seeded(seed), mixed(arm, seed)
    learner = learner_of(model)

    def loss() -> Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        return denoising_loss(learner.given(kind[i]).drop_condition(0.1, rng), x[i], rng)

    training = lambda: train(loss, learner.net, STEPS, lr=3e-3, ema=EMA(learner.net, 0.995, into=model.net))
    load_or_train(BUILD / f"bias/{arm.split(',')[0]}_{seed}.safetensors", model.net, training)
    return model


@torch.no_grad()
def gap(n: int, arm: str, kind: int) -> dict[str, float]:
    """The mean of log P(kind | x_t) over held-out digits and TIMES, of the second digit less that of the first.

    P(kind) is computed from the shipped classifier's ten probabilities, each digit weighted as it is in its kind.
    """
    guide, (x, label) = models.load("noisy_classifier"), digits.load("held_out")
    means = []
    for digit in KINDS[kind]:
        rng, x0, log_p = seeded(0), x[label == digit], []
        for t in TIMES:
            p = guide(guide.process.add_noise(x0, t, randn_like(x0, rng)), t).softmax(1)
            of_kind = torch.stack([sum(m / 400 * p[:, d] for d, m in of.items()) for of in numbers(arm)], 1)
            log_p.append((of_kind / of_kind.sum(1, keepdim=True))[:, kind].log().mean())
        means.append(torch.stack(log_p).mean())
    return {"gap": round(float(means[1] - means[0]), 3)}


@torch.no_grad()
def row(n: int, arm: str, kind: int, w: float, seed: int) -> dict:
    """As which digits n samples of a kind are classified, the share that is of the kind, and the odds, second to first."""
    model, (first, second) = trained(arm, seed), KINDS[kind]
    x = sample(classifier_free(model, kind, w), model.draw_noise(n, seeded(seed + ARMS[arm][1])), 25, batch=200)
    read = torch.bincount(models.load("classifier")(x.clamp(-1, 1)).argmax(1), minlength=10).tolist()
    odds = (read[second] + 0.5) / (read[first] + 0.5)
    return {"read": read, "of the kind": round((read[first] + read[second]) / n, 4), "odds": round(odds, 5)}


def jobs(seeds):
    return [
        {"arm": arm, "kind": kind, "w": w, "seed": seed} for arm in ARMS for seed in seeds for kind in MIXED for w in WEIGHTS
    ]


BENCH = Benchmark(
    "bias",
    [
        Part(
            into="gaps", jobs=lambda seeds: [{"arm": arm, "kind": kind} for arm in ("tenth", "half") for kind in MIXED], row=gap
        ),
        Part(jobs=jobs, row=row),
    ],
    amounts={"n": 300},
    header={"kinds": KINDS, "steps": STEPS},
    indent=None,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
