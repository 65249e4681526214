"""Recipes for the students: digits in few steps, distilled from a network of more steps, or trained from its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import Network, device_of
from course_lib.methods.distillation import consistency_loss, guided_consistency_loss, progressive_loss
from course_lib.nets.classifier import Classifier
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randint, seeded
from course_lib.samplers import consistency, ddim, sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, TrainingState, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.digits import digits_network
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net

DROP = 0.1  # the share of labels made null, as for the teacher: the students need the null condition, too


def load_teacher(
    name: str,
    student: Network,
    build: Callable[[], Network] = digits_network,
    warm_start: bool = True,
    folder: Path = FOLDER,
) -> Network:
    """The model of that name on the student's device; with `warm_start` the student starts from its weights."""
    teacher = build()
    shipped_net(teacher.net, name, folder).to(device_of(student))
    if warm_start:
        student.net.load_state_dict(teacher.net.state_dict(), strict=False)  # the teacher has no input for guidance
    return teacher


def batches(device: torch.device, rng: torch.Generator, size: int = 64) -> Callable[[], tuple[Tensor, Tensor]]:
    """A function that draws pictures (size, 1, 16, 16), on the device, and their labels (size,)."""
    x, label = digits.load("train")

    def draw() -> tuple[Tensor, Tensor]:
        i = randint(0, len(x), size, rng=rng)
        return x[i].to(device), label[i]

    return draw


# Progressive distillation


def train_progressive(
    network: Network,
    n: int,
    steps: int,
    seconds: float | None = None,
    seed: int = 0,
    teacher: str = "digits",
    folder: Path = FOLDER,
) -> Iterator[TrainingState]:
    """Trains a student of n steps from the weights of its teacher of 2 n. Salimans and Ho 2022, Algorithm 2."""
    teacher = load_teacher(teacher, network, folder=folder)
    learner, rng = learner_of(network), seeded(seed)
    draw = batches(device_of(network), rng)

    def loss() -> Tensor:
        x0, label = draw()
        conditioned = learner.given(label).drop_condition(DROP, rng)
        return progressive_loss(conditioned, replace(teacher, cond=conditioned.cond), x0, n, rng)

    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


# Consistency


def older_weights(learner: Network, decay: float) -> Callable[[], Network]:
    """A function that returns the average of the learner's weights up to now: the target of a consistency loss."""
    ema = EMA(learner.net, decay)

    def older() -> Network:
        ema.update()
        return replace(learner, net=ema.net)

    return older


def train_consistency(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 3600,
    distil: bool = True,
    warm_start: bool = True,
    folder: Path = FOLDER,
) -> Iterator[TrainingState]:
    """Consistency distillation from the digits' network, or, without `distil`, consistency training without a teacher.

    Song et al. 2023, Algorithms 2 and 3. With `warm_start` the student starts from that network's weights (Geng et al. 2024).
    Distillation has a grid of 12 steps: on a finer one errors add up over a longer chain. Without a teacher only short steps
    are accurate, so that the grid doubles from 8 to 128 (Song and Dhariwal 2023, section 3.4). The target's decay, the first
    paper's mu, is 0.95; what ships is a longer average. tests/benchmarks/HISTORY.md compares other choices.
    """
    teacher = load_teacher("digits", network, warm_start=warm_start, folder=folder)
    learner, rng, done = learner_of(network), seeded(seed), 0.0
    draw, older = batches(device_of(network), rng), older_weights(learner, 0.95)

    def loss() -> Tensor:
        x0, label = draw()
        conditioned = learner.given(label).drop_condition(DROP, rng)
        target = replace(older(), cond=conditioned.cond)
        if distil:
            return consistency_loss(conditioned, target, x0, 12, replace(teacher, cond=conditioned.cond), rng)
        return consistency_loss(conditioned, target, x0, 8 * 2 ** min(int(5 * done), 4), None, rng)

    for now in train(loss, learner.net, steps, lr=1.5e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net)):
        done = now.done
        yield now


def guided_student_network(seed: int = 0) -> Network:
    """The digits' network with guidance w as one more input."""
    torch.manual_seed(seed)
    return Network(UNet(guided=True).to(memory_format=torch.channels_last), DDPM(cosine_beta(1000)), "v")


def train_guided(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 4000, folder: Path = FOLDER
) -> Iterator[TrainingState]:
    """Distils the digits' network at every guidance w in 0..8, skipping k = 20 steps. Luo et al. 2023, Algorithm 1."""
    teacher = load_teacher("digits", network, folder=folder)
    learner, rng = learner_of(network), seeded(seed)
    draw, older = batches(device_of(network), rng), older_weights(learner, 0.95)
    loss = lambda: guided_consistency_loss(learner, older(), teacher, *draw(), n=50, rng=rng)
    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


# Figures


def student_figures(
    network: Network,
    n: int = 1000,
    *,
    steps: tuple[int, ...],
    sampler: Callable,
    ws: tuple[float, ...] = (),
    folder: Path = FOLDER,
) -> dict[str, Figure]:
    """The Frechet distance and class accuracy of n samples, in each number of steps and at each w that is an input."""
    evaluator = shipped_net(Classifier(), "classifier", folder)
    label = torch.arange(n, device="cpu", dtype=torch.long) % 10
    held_out = evaluator.features(digits.load("held_out")[0][:n])
    figures = {}
    for k in steps:
        for w in ws or (1.0,):
            rng = seeded(1)
            noise = network.draw_noise(n, rng).to(device_of(network))
            options = {"rng": rng} if sampler is consistency else {}
            conditioned = network.given(label).at(w) if ws else network.given(label)
            made = sample(conditioned, noise, k, sampler, batch=n, **options).cpu()
            at = f"{k} step{'s' * (k > 1)}" + (f", w = {w:g}" if ws else "")
            figures[f"Frechet distance, {at}"] = Figure.error(metrics.frechet_distance(evaluator.features(made), held_out))
            figures[f"class accuracy, {at}"] = Figure.share(metrics.accuracy(evaluator(made), label))
    return figures


def _progressive(n: int, steps: int) -> Recipe:
    """The recipe of one stage: a student of n steps, distilled from the stage before it in so many training steps."""
    teacher = "digits" if n == 32 else f"progressive{2 * n}"
    training = partial(train_progressive, n=n, steps=steps, teacher=teacher)
    figures = partial(student_figures, steps=(n,), sampler=ddim)
    about = f"digits in {n} step{'s' * (n > 1)}, distilled from {2 * n}"
    return Recipe(about, digits_network, training, figures, (1, 16, 16), 10, steps=n, bits=8 if n >= 8 else 16)


PROGRESSIVE = {
    f"progressive{n}": _progressive(n, steps) for n, steps in {32: 600, 16: 600, 8: 800, 4: 2400, 2: 2400, 1: 2400}.items()
}
"""From 64 steps, the digits' network, to 1. Later stages are harder: they train for longer, as in the paper."""


def _consistent(about: str, build: Callable, training: Callable, ws: tuple[float, ...] = ()) -> Recipe:
    figures = partial(student_figures, steps=(1, 2, 4), sampler=consistency, ws=ws)
    return Recipe(about, build, training, figures, (1, 16, 16), 10, steps=2, sampler="consistency", bits=16)


CONSISTENCY = _consistent("digits by consistency distillation", digits_network, train_consistency)
CONSISTENCY_TRAINED = _consistent(
    "digits by consistency training, without a teacher", digits_network, partial(train_consistency, distil=False)
)
GUIDED = _consistent(
    "digits by guided consistency distillation, w as an input", guided_student_network, train_guided, (1.0, 2.0, 4.0)
)
