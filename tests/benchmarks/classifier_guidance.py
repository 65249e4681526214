"""Classifier guidance of the digits: three guides, the unconditional and the conditional model, over w and over steps.

    python tests/benchmarks/classifier_guidance.py [reading|guides|steps] [--seeds 10 11 12 13 14] [--n 200]

For each seed two classifiers of the shipped one's network are trained for STEPS, on the same batches: a noise-aware one, and a
clean one whose digits have no noise and whose time is 0. They are kept in build/classifier_guidance. The logits of every guide
are multiplied by the signal a(t), as in `NoisyClassifier`. The guides differ in one thing each:

- "noise-aware": log P(c | x_t) by the noise-aware classifier.
- "clean": the clean classifier reads x_t, and is given t = 0, the only time that it was trained at.
- "prediction": the clean classifier reads the predicted clean picture (Bansal et al. 2024, forward guidance).
- "exchanged": the gradients of "noise-aware", each given to the next picture of the batch: a push of the right size that says
  nothing of its picture. The null model.

They guide the shipped digit model, without a condition (weight w) or with the class (weight w - 1, so that w = 1 is the plain
conditional model). A seed is also the noise that samples start from. So errors cover noise and classifiers, not the digit
model's own training. 25 steps of DDIM. The shipped classifier, which guides none of them, evaluates all.

What lesson 07 compares was fixed before the first run: w = 1 (Bayes' rule) with 8, the largest here; the guides at w = 2 and at
8, a small and a large weight; for steps, w = 8, where each step moves the picture most, and as tolerance the distance between
two sets of real digits, which so few pictures cannot resolve.
"""

import copy
from dataclasses import dataclass, replace
from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import digit_scores, rounded
from torch import Tensor
from torch.nn.functional import cross_entropy

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import NULL, Denoiser
from course_lib.guidance import ClassifierGuided, NoisyClassifier, grad_log_p, shift_score
from course_lib.nets.classifier import jitter
from course_lib.prediction import Prediction
from course_lib.process import Process, randn_like, seeded
from course_lib.samplers import sample
from course_lib.training import EMA, train
from course_lib.zoo import models
from course_lib.zoo.recipes import noisy_classifier as recipe

STEPS = 600
"""Of each classifier's training, a fifth of the shipped one's."""
TIMES = tuple(range(50, 1000, 100))
"""At which classifiers are read: their mean stands for uniform times."""
WS, MOVES = (1, 2, 4, 8), 25
FEW_WS = (2, 8)
"""Where guides are compared."""


@cache
def classifier(kind: str, seed: int) -> NoisyClassifier:
    """The noise-aware or the clean classifier of that seed."""
    model, (x, label), rng, noises = recipe.noisy_classifier(seed), digits.load("train"), seeded(seed), seeded(1000 + seed)
    learner = replace(model, net=copy.deepcopy(model.net).train())

    def loss() -> Tensor:
        i = torch.randint(len(x), (128,), generator=rng)
        x_t, t = jitter(x[i], rng), 0
        if kind == "noise-aware":
            t = model.process.sample_t(len(i), noises)
            x_t = model.process.add_noise(x_t, t, randn_like(x_t, noises))
        return cross_entropy(learner(x_t, t), label[i])

    ema = EMA(learner.net, 0.998, into=model.net)
    training = lambda: train(loss, learner.net, STEPS, lr=3e-3, ema=ema, weight_decay=0.05)
    load_or_train(BUILD / f"classifier_guidance/{kind}-{seed}.safetensors", model.net, training)
    return model


def logits(kind: str, seed: int, x_t: Tensor, t: int) -> Tensor:
    """The logits (B, 10) of that classifier for x_t, times the signal. The clean one is given t = 0."""
    model = classifier(kind, seed)
    return model(x_t, t) if kind == "noise-aware" else float(model.process.signal(t)) * model(x_t, 0)


@dataclass(frozen=True, eq=False)
class Exchanged:
    """A denoiser guided by gradients, each of which was computed for the picture before in the batch."""

    guided: ClassifierGuided

    @property
    def process(self) -> Process:
        return self.guided.process

    def __call__(self, x_t: Tensor, t: int) -> Prediction:
        gradient = grad_log_p(lambda x: self.guided.log_likelihood(x, t), x_t)
        return shift_score(self.guided.denoiser(x_t, t), self.guided.w * gradient.roll(1, 0))


def guided(guide: str, model: str, seed: int, w: float, label: Tensor) -> Denoiser:
    """The denoiser of one row."""
    network = models.load("digits", device="cpu")
    denoiser, weight = (network.given(label), w - 1) if model == "conditional" else (network.given(NULL), w)
    if guide == "none":
        return denoiser
    read = {
        "clean": lambda x_t, t: logits("clean", seed, x_t, t),
        "prediction": lambda x_t, t: float(network.process.signal(t)) * classifier("clean", seed)(denoiser(x_t, t).x0, 0),
    }.get(guide, lambda x_t, t: logits("noise-aware", seed, x_t, t))
    made = ClassifierGuided(denoiser, read, label, weight)
    return Exchanged(made) if guide == "exchanged" else made


def row(n: int, guide: str, model: str, seed: int, w: float, steps: int) -> dict:
    """The scores of n samples. Those that are not finite count as wrong, and have no distance."""
    label, noise = torch.arange(n) % 10, models.load("digits", device="cpu").draw_noise(n, seeded(100 + seed))
    made = sample(guided(guide, model, seed, w, label), noise, steps, batch=n)
    if not made.isfinite().all():
        return {"figures": {"class accuracy": 0.0, "precision": 0.0, "recall": 0.0, "Frechet distance": None}}
    return {"figures": digit_scores(made.clamp(-1, 1), label)}


@torch.no_grad()
def reading(n: int, kind: str, seed: int, t: int) -> dict:
    """Accuracy and mean of -log P(label) of a classifier on the 1,000 held-out digits, with noise of time t."""
    x0, label = digits.load("held_out")
    x_t = classifier(kind, seed).process.add_noise(x0, t, randn_like(x0, seeded(t)))
    found = logits(kind, seed, x_t, t)
    return {"figures": rounded({"accuracy": metrics.accuracy(found, label), "-log P": cross_entropy(found, label)})}


def real(n: int) -> dict:
    """The scores of n digits of the training set."""
    return digit_scores(digits.load("train")[0][:n], digits.load("train")[1][:n])


def jobs(seeds) -> list[dict]:
    arms = [("none", "unconditional", 0), ("none", "conditional", 1)]
    arms += [("noise-aware", "unconditional", w) for w in WS]
    arms += [("noise-aware", "conditional", w) for w in WS if w > 1]
    arms += [(guide, "unconditional", w) for guide in ("clean", "prediction") for w in FEW_WS]
    arms += [("exchanged", "unconditional", 8)]
    keys = ("seed", "guide", "model", "w", "steps")
    return [dict(zip(keys, (seed, *arm, MOVES))) for seed in seeds for arm in arms]


def steps_jobs(seeds) -> list[dict]:
    keys = {"guide": "noise-aware", "model": "unconditional", "w": 8}
    return [{"seed": seed} | keys | {"steps": steps} for seed in seeds for steps in (3, 5, 10, 250)]


BENCH = Benchmark(
    "classifier_guidance",
    [
        Part(
            "reading",
            lambda seeds: [
                {"seed": s, "kind": kind, "t": t} for s in seeds for kind in ("noise-aware", "clean") for t in TIMES
            ],
            reading,
            into="reading",
        ),
        Part("guides", jobs, row, once={"real": real}),
        Part("steps", steps_jobs, row),
    ],
    amounts={"n": 200},
    seeds=(10, 11, 12, 13, 14),
    header={"training steps": STEPS},
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
