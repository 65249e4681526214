"""Classifier guidance of digits: two models over w, three kinds of guides, and few steps. Lesson 07 shows the results.

    python tests/benchmarks/classifier_guidance.py [models|guides|steps] [--seeds 10 11 12 13 14] [--n 100]

All samples are drawn by the shipped digit model; a seed is the noise that they start from. The shipped classifier of clean
digits evaluates them and guides none. No part takes more than about four minutes of one core.

- `models`: the shipped noise-aware classifier guides the model without a condition (weight w) and with the class (weight w - 1,
  so that w = 1 is the plain conditional model). "exchanged" is the null model: each gradient is given to the next picture of
  the batch, a push of the right size that says nothing of its picture. Errors cover noise, not the training of a network.
- `guides`: for each of three seeds a noise-aware and a clean classifier of a smaller network (SMALL) are trained for STEPS, on
  the same batches; the clean one on digits without noise, at t = 0. As guides of the model without a condition: "noise-aware";
  "clean", which is given x_t and t = 0, the only time that it was trained at; and "prediction", the clean one, which is given
  the predicted clean picture (Bansal et al. 2023, forward guidance). All logits are multiplied by the signal a(t), as in
  `NoisyClassifier`. `reading` is how well both classify held-out digits with noise. "again" is the null model of equal arms:
  noise-aware classifiers from three further seeds.
- `steps`: 1 to 10 and 250 steps for the model without a condition, at w = 8, with three noises. (At w = 2 samples are poor
  at any number of steps: in a first trial 3 steps had the Frechet distance of 250.) "shipped again" is its null model: 25 steps
  from three further noises.

What the lesson compares was fixed before the first run: w = 1 (Bayes' rule) with 0 and with 8, the largest here; guides at 2
and at 8, a small and a large weight.
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
from course_lib.nets.classifier import TimedClassifier, jitter
from course_lib.prediction import Prediction
from course_lib.process import DDPM, Process, randn_like, seeded
from course_lib.samplers import sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, train
from course_lib.zoo import models

SMALL, STEPS = (8, 16, 32), 300
THREE = 3
"""Seeds of the small classifiers, and of the other numbers of steps."""
TIMES = tuple(range(50, 1000, 100))
"""At which classifiers are tried: their mean stands for uniform times."""
WS, MOVES = (2, 8), 25


@cache
def classifier(kind: str, seed: int) -> NoisyClassifier:
    """The small noise-aware or clean classifier of that seed."""
    torch.manual_seed(seed)
    model = NoisyClassifier(TimedClassifier(widths=SMALL), DDPM(cosine_beta(1000)))
    (x, label), rng, noises = digits.load("train"), seeded(seed), seeded(1000 + seed)
    learner = replace(model, net=copy.deepcopy(model.net).train())

    def loss() -> Tensor:
        i = torch.randint(len(x), (128,), generator=rng)
        x_t, t = jitter(x[i], rng), 0
        if kind == "noise-aware":
            t = model.process.sample_t(len(i), noises)
            x_t = model.process.add_noise(x_t, t, randn_like(x_t, noises))
        return cross_entropy(learner(x_t, t), label[i])

    ema = EMA(learner.net, 0.98, into=model.net)
    training = lambda: train(loss, learner.net, STEPS, lr=3e-3, ema=ema, weight_decay=0.05)
    load_or_train(BUILD / f"classifier_guidance/{kind}-{seed}.safetensors", model.net, training)
    return model


def logits(kind: str, seed: int, x_t: Tensor, t: int) -> Tensor:
    """The logits (B, 10) of that classifier for x_t, times the signal. The clean one is given t = 0."""
    if kind == "clean":
        model = classifier("clean", seed)
        return float(model.process.signal(t)) * model(x_t, 0)
    return classifier("noise-aware", seed)(x_t, t)


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
    if guide in ("shipped", "shipped again", "exchanged"):
        made = ClassifierGuided(denoiser, models.load("noisy_classifier", device="cpu"), label, weight)
        return Exchanged(made) if guide == "exchanged" else made
    of = {
        "noise-aware": lambda x_t, t: logits("noise-aware", seed, x_t, t),
        "again": lambda x_t, t: logits("noise-aware", seed, x_t, t),
        "clean": lambda x_t, t: logits("clean", seed, x_t, t),
        "prediction": lambda x_t, t: float(network.process.signal(t)) * classifier("clean", seed)(denoiser(x_t, t).x0, 0),
    }
    return ClassifierGuided(denoiser, of[guide], label, weight)


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
    x_t = DDPM(cosine_beta(1000)).add_noise(x0, t, randn_like(x0, seeded(t)))
    found = logits(kind, seed, x_t, t)
    return {"figures": rounded({"accuracy": metrics.accuracy(found, label), "-log P": cross_entropy(found, label)})}


def real(n: int) -> dict:
    """The scores of n digits of the training set."""
    return digit_scores(digits.load("train")[0][:n], digits.load("train")[1][:n])


def jobs_of(arms: list[tuple], most: int | None = None):
    """The jobs of these arms (guide, model, w, steps), for the first `most` of the default seeds."""
    keys = ("seed", "guide", "model", "w", "steps")
    kept = lambda seeds: [seed for seed in seeds if most is None or seed < BENCH.seeds[0] + most]
    return lambda seeds: [dict(zip(keys, (seed, *arm))) for seed in kept(seeds) for arm in arms]


MODELS = [("none", "unconditional", 0, MOVES), ("none", "conditional", 1, MOVES)]
MODELS += [("shipped", "unconditional", w, MOVES) for w in (1, *WS)] + [("shipped", "conditional", w, MOVES) for w in WS]
MODELS += [("exchanged", "unconditional", w, MOVES) for w in (1, *WS)] + [("exchanged", "conditional", 8, MOVES)]
GUIDES = [(guide, "unconditional", w, MOVES) for guide in ("noise-aware", "clean", "prediction") for w in WS]
AGAIN = [("again", "unconditional", w, MOVES) for w in WS]
OTHER_NOISES = [("shipped again", "unconditional", 8, MOVES)]
OTHER_STEPS = [("shipped", "unconditional", 8, steps) for steps in (1, 2, 3, 5, 10, 250)]


def reading_jobs(seeds) -> list[dict]:
    kept = [seed for seed in seeds if seed < BENCH.seeds[0] + THREE]
    kinds = {"noise-aware": 0, "clean": 0, "again": THREE}
    return [{"seed": seed + n, "kind": kind, "t": t} for seed in kept for kind, n in kinds.items() for t in TIMES]


def further(jobs):
    """The same jobs with three further seeds."""
    return lambda seeds: [job | {"seed": job["seed"] + THREE} for job in jobs(seeds)]


BENCH = Benchmark(
    "classifier_guidance",
    [
        Part("models", jobs_of(MODELS), row, once={"real": real}),
        Part("guides", reading_jobs, reading, into="reading"),
        Part("guides", jobs_of(GUIDES, THREE), row),
        Part("guides", further(jobs_of(AGAIN, THREE)), row),
        Part("steps", jobs_of(OTHER_STEPS, THREE), row),
        Part("steps", further(jobs_of(OTHER_NOISES, THREE)), row),
    ],
    amounts={"n": 100},
    seeds=(10, 11, 12, 13, 14),
    header={"training steps": STEPS},
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
