"""Fidelity and diversity over w, for classifier and classifier-free guidance; the miniature of two papers' trade-off curves.

    python tests/benchmarks/guidance_sweep.py [w|steps] [--n 500] [--seeds 0 1 2]

The shipped network throughout; for classifier guidance, with the null condition, as the unconditional model. A seed is the
noise that samples start from, and a pair of classifiers: a noise-aware one and one of the same network that was trained on
clean digits only, for 600 steps, after which it no longer improves. Seed 0 has the shipped noise-aware one. So error bars
cover noise and three trainings of the classifiers, but not the network's own training. DDIM, eta = 0, 25 steps. The shipped
classifier, which guides none of them, evaluates all.

Trained networks are kept in build/guidance. Lessons 07 and 08 show the results. All of it takes about an hour on one
core.
"""

import copy
import time
from dataclasses import replace
from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import digit_scores
from torch.nn.functional import cross_entropy

from course_lib.datasets import digits
from course_lib.denoisers import NULL, Denoiser
from course_lib.guidance import ClassifierGuided, classifier_free
from course_lib.nets.classifier import jitter
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.training import EMA, train
from course_lib.zoo import models
from course_lib.zoo.recipes import noisy_classifier as recipe

GUIDES = ("classifier-free", "classifier", "clean classifier")
WS, STEPS = (0, 0.5, 1, 1.5, 2, 3, 5, 8), (25, 250)
FEWER = 200  # samples, where the steps are compared


@cache
def noisy_classifier(seed: int):
    """The noise-aware classifier of that seed, trained by the recipe."""
    if seed == 0:
        return models.load("noisy_classifier")
    path, model = BUILD / f"guidance/noisy_classifier_{seed}.safetensors", recipe.noisy_classifier()
    if not path.is_file():
        models.make("noisy_classifier", seed, device="cpu", out=path, every=1e9)
    load_or_train(path, model.net, tuple)
    return model


@cache
def clean_classifier(seed: int, steps: int = 600):
    """A classifier with the noise-aware one's network, trained on the same digits without noise."""
    model, (x, label), rng = recipe.noisy_classifier(seed), digits.load("train"), seeded(seed)
    learner = replace(model, net=copy.deepcopy(model.net).train())

    def loss():
        i = torch.randint(len(x), (128,), generator=rng)
        return cross_entropy(learner(jitter(x[i], rng), 0), label[i])

    ema = EMA(learner.net, 0.998, into=model.net)
    training = lambda: train(loss, learner.net, steps, lr=3e-3, ema=ema, weight_decay=0.05)
    load_or_train(BUILD / f"guidance/clean_classifier_{seed}.safetensors", model.net, training)
    return model


def guided(guide: str, seed: int, w: float, label: torch.Tensor) -> Denoiser:
    """The denoiser of one row."""
    network = models.load("digits")
    if guide == "classifier-free":
        return classifier_free(network, label, w)
    classifier = (noisy_classifier if guide == "classifier" else clean_classifier)(seed)
    return ClassifierGuided(network.given(NULL), classifier, label, w)


@cache
def row(n: int, guide: str, seed: int, w: float, steps: int) -> dict:
    """The scores of n samples, and the seconds that sampling took."""
    if w == 0 and guide != "classifier-free":  # without guidance it is the same for all
        return row(n, "classifier-free", seed, w, steps)
    label = torch.arange(n) % 10
    denoiser, noise = guided(guide, seed, w, label), models.load("digits").draw_noise(n, seeded(100 + seed))
    begun = time.perf_counter()
    made = sample(denoiser, noise, steps, batch=n)
    return {"seconds": round(time.perf_counter() - begun, 1), "figures": figures(made, label)}


def row_of_n(n: int, **job) -> dict:
    return {"n": n} | row(n, **job)


def figures(made: torch.Tensor, label: torch.Tensor) -> dict:
    """The scores of samples. Those that are not finite count as wrong, and have no distance."""
    if not made.isfinite().all():
        return {"class accuracy": 0.0, "precision": 0.0, "recall": 0.0, "Frechet distance": None}
    return digit_scores(made.clamp(-1, 1), label)


def real(n: int) -> dict:
    """The scores of n digits of the training set."""
    return figures(digits.load("train")[0][:n], digits.load("train")[1][:n])


def jobs_of(guides=("classifier-free",), ws=(2,), steps=(25,), **fixed):
    """The jobs for all combinations."""
    return lambda seeds: [
        {"guide": guide, "seed": seed, "w": w, "steps": k} | fixed
        for guide in guides
        for seed in seeds
        for w in ws
        for k in steps
    ]


BENCH = Benchmark(
    "guidance_sweep",
    [
        Part("w", jobs_of(GUIDES, WS), row_of_n, once={"real": real}),
        Part("steps", jobs_of(("classifier",), steps=STEPS, n=FEWER), row_of_n),
    ],
    amounts={"n": 500},
    header={"seeds": 3},
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
