"""The effect of guidance on a minority: a network conditioned on a mixed class, at growing w. Lesson 20 shows the results.

    python tests/benchmarks/bias.py [--n 400] [--seeds 0 1 2]

The network is the digits' network, trained by their recipe, but conditioned only on which of four kinds a digit is of. Two
kinds have a majority and a minority, nine to one; the other two are what the minority may be confused with. It is one training,
and an error is that of three noises. Training takes five minutes of one core, and the network is kept in build/bias; then n
samples at each w are classified by the shipped classifier.

The prediction was made before the training by the shipped noise-aware classifier, which was not trained on these kinds:
guidance ascends log P(kind | x_t). Its mean over TIMES is lower by 0.85 for 9 than for 6, so that the share of 9 should fall,
and higher by 0.12 for 0 than for 8, so that the share of 0 should rise a little (it falls). That the share of 9 falls more than
that of 0, from w = 1 to 2, was noticed in these figures, so the lesson makes no claim of it.
"""

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
"""Of each kind, its digits, and how many of each are trained on."""
MIXED = {0: (6, 9), 2: (8, 0)}
"""The kinds with a majority and a minority."""
STEPS, WEIGHTS, TIMES = 3000, (0.0, 1.0, 2.0, 4.0, 8.0), (200, 300, 400, 500, 600, 700)


def skewed() -> tuple[torch.Tensor, torch.Tensor]:
    """The training pictures (1600, 1, 16, 16) and the kind of each (1600,)."""
    x, label = digits.load("train")
    parts = [(x[label == d][:n], kind) for kind, of in enumerate(KINDS) for d, n in of.items()]
    return torch.cat([part for part, _ in parts]), torch.cat([torch.full((len(part),), kind) for part, kind in parts])


def trained(seed: int = 0) -> Network:
    """The digits' network with four kinds in place of ten classes, trained."""
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=len(KINDS)).to(memory_format=torch.channels_last)
    model, rng, (x, kind) = Network(net, DDPM(cosine_beta(1000)), "v"), seeded(seed), skewed()
    learner = learner_of(model)

    def loss() -> torch.Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        return denoising_loss(learner.given(kind[i]).drop_condition(0.1, rng), x[i], rng)

    training = lambda: train(loss, learner.net, STEPS, lr=3e-3, ema=EMA(learner.net, 0.995, into=model.net))
    load_or_train(BUILD / "bias/network.safetensors", model.net, training)
    return model


@torch.no_grad()
def mean_log_p(n: int) -> list[dict]:
    """The mean of log P(kind | x_t) over held-out digits of each mixed kind, majority and minority, at TIMES.

    P(kind) is computed from the shipped classifier's ten probabilities, each digit weighted as it is in its kind.
    """
    guide, (x, label) = models.load("noisy_classifier"), digits.load("held_out")
    found = []
    for kind, pair in MIXED.items():
        for digit in pair:
            rng, log_p = seeded(0), []
            for t in TIMES:
                x0 = x[label == digit]
                p = guide(guide.process.add_noise(x0, t, randn_like(x0, rng)), t).softmax(1)
                of_kind = torch.stack([sum(n / 400 * p[:, d] for d, n in of.items()) for of in KINDS], 1)
                log_p.append(round(float((of_kind / of_kind.sum(1, keepdim=True))[:, kind].log().mean()), 3))
            found.append({"kind": kind, "digit": digit, "log P": log_p})
    return found


def jobs(seeds):
    return [{"kind": kind, "w": w, "seed": seed} for kind in MIXED for w in WEIGHTS for seed in seeds]


@torch.no_grad()
def row(n: int, kind: int, w: float, seed: int) -> dict:
    """As which digits n samples of a kind are classified, and the minority's share of those that are of the kind."""
    model, (majority, minority) = trained(), MIXED[kind]
    x = sample(classifier_free(model, kind, w), model.draw_noise(n, seeded(seed)), 25, batch=200)
    read = torch.bincount(models.load("classifier")(x.clamp(-1, 1)).argmax(1), minlength=10).tolist()
    own = read[majority] + read[minority]
    return {"read": read, "of the kind": round(own / n, 4), "minority": round(read[minority] / max(own, 1), 4)}


BENCH = Benchmark(
    "bias",
    [Part(jobs=jobs, row=row, once={"surety": mean_log_p})],
    amounts={"n": 400},
    header={"kinds": [{str(d): n for d, n in of.items()} for of in KINDS], "steps": STEPS, "times": TIMES},
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
