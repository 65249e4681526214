"""The effect of guidance on a minority: networks conditioned on a mixed class, at growing w. Lesson 20 shows the results.

    python tests/benchmarks/bias.py [--n 150] [--seeds 0 1 2]

Protocol, written before the runs. The digits' network by its recipe, 400 steps of 64 pictures (20 s of one core), is
conditioned only on which of four kinds a digit is of: 6 with 9, 4 with 7, 8 with 0, 3 with 5. In two mixed kinds nine tenths
are one digit: 9 is the minority among 6, and 0 among 8. Three trainings. n samples of each mixed kind at w = 1 and 2 are
classified by the shipped classifier.

The prediction is made beforehand by the shipped noise-aware classifier, which was not trained on these kinds: guidance ascends
log P(kind | x_t). Its mean over TIMES is lower by 0.85 for 9 than for 6: guidance should shrink the share of 9. For 0 it is
higher by 0.12 than for 8: there is nearly no such cause. The figure is the minority's share at w = 2 over that at w = 1, of
each training. Condition: it is lower for 9 among 6 than for 0 among 8, paired by training. Null model: w = 1 from other noises
over w = 1.
"""

from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure

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

KINDS = ({6: 360, 9: 40}, {4: 200, 7: 200}, {8: 360, 0: 40}, {3: 200, 5: 200})
"""Of each kind, its digits, and how many of each are trained on: the majority first."""
MIXED = (0, 2)
"""The kinds with a majority and a minority."""
STEPS, WEIGHTS, TIMES = 400, (1.0, 2.0), (200, 300, 400, 500, 600, 700)


def skewed() -> tuple[torch.Tensor, torch.Tensor]:
    """The training pictures (1600, 1, 16, 16) and the kind of each (1600,)."""
    x, label = digits.load("train")
    parts = [(x[label == d][:n], kind) for kind, of in enumerate(KINDS) for d, n in of.items()]
    return torch.cat([part for part, _ in parts]), torch.cat([torch.full((len(part),), kind) for part, kind in parts])


@cache
def trained(seed: int) -> Network:
    """The digits' network with four kinds in place of ten classes, trained."""
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=4).to(memory_format=torch.channels_last)
    model, rng, (x, kind) = Network(net, DDPM(cosine_beta(1000)), "v"), seeded(seed), skewed()
    learner = learner_of(model)

    def loss() -> torch.Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        return denoising_loss(learner.given(kind[i]).drop_condition(0.1, rng), x[i], rng)

    training = lambda: train(loss, learner.net, STEPS, lr=3e-3, ema=EMA(learner.net, 0.995, into=model.net))
    load_or_train(BUILD / f"bias/{seed}.safetensors", model.net, training)
    return model


@torch.no_grad()
def mean_log_p(n: int) -> list[dict]:
    """The mean of log P(kind | x_t) over held-out digits of each mixed kind, majority and minority, at TIMES.

    P(kind) is computed from the shipped classifier's ten probabilities, each digit weighted as it is in its kind.
    """
    guide, (x, label) = models.load("noisy_classifier"), digits.load("held_out")
    found = []
    for kind in MIXED:
        for digit in KINDS[kind]:
            rng, log_p = seeded(0), []
            for t in TIMES:
                x0 = x[label == digit]
                p = guide(guide.process.add_noise(x0, t, randn_like(x0, rng)), t).softmax(1)
                of_kind = torch.stack([sum(n / 400 * p[:, d] for d, n in of.items()) for of in KINDS], 1)
                log_p.append(round(float((of_kind / of_kind.sum(1, keepdim=True))[:, kind].log().mean()), 3))
            found.append({"kind": kind, "digit": digit, "log P": log_p})
    return found


def jobs(seeds):
    """Each training at each w, and at w = 1 once more from other noises."""
    kinds = [(w, 0) for w in WEIGHTS] + [(1.0, 1)]
    return [{"kind": kind, "w": w, "noises": noises, "seed": seed} for seed in seeds for kind in MIXED for w, noises in kinds]


@torch.no_grad()
def row(n: int, kind: int, w: float, noises: int, seed: int) -> dict:
    """The share of n samples that are classified as of their kind, and the minority's share of these."""
    model, (majority, minority) = trained(seed), KINDS[kind]
    x = sample(classifier_free(model, kind, w), model.draw_noise(n, seeded(10 * noises + seed)), 25, batch=200)
    read = torch.bincount(models.load("classifier")(x.clamp(-1, 1)).argmax(1), minlength=10).tolist()
    own = read[majority] + read[minority]
    return {"of the kind": round(own / n, 4), "minority": round(read[minority] / max(own, 1), 4)}


BENCH = Benchmark(
    "bias",
    [Part(jobs=jobs, row=row, once={"log P": mean_log_p})],
    amounts={"n": 150},
    header={"steps": STEPS, "times": TIMES},
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
