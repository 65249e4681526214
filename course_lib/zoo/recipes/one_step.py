"""Recipes for lesson 24: a rectified flow of digits, and its students of one step by six methods, all from its weights.

The steps of the students cost equal processor time, as measured by tests/benchmarks/one_step.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from course_lib.denoisers import Network, device_of
from course_lib.methods.distillation import consistency_loss, progressive_loss
from course_lib.methods.distribution_matching import dmd_loss, one_step
from course_lib.methods.flow_matching import flow_matching_loss
from course_lib.methods.one_step import (
    AverageVelocity,
    average_velocity_loss,
    jump_sampler,
    meanflow_target,
    meanflow_times,
    shortcut_target,
    shortcut_times,
)
from course_lib.nets.embeddings import TwoTimes
from course_lib.nets.unet import UNet
from course_lib.process import RectifiedFlow, randint, randn_like, seeded
from course_lib.samplers import consistency, heun, rectified_flow, sample
from course_lib.training import EMA, TrainingState, alternate, denoising_loss, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.digits import digits_figures
from course_lib.zoo.recipes.distillation import DROP, batches, load_teacher, older_weights, student_figures
from course_lib.zoo.recipes.recipe import Recipe, learner_of

BATCH, RATE, DECAY = 32, 2e-3, 0.998  # of all students
BatchLoss = Callable[[Network, Tensor], Tensor]


def flow_network(seed: int = 0) -> Network:
    """An untrained class-conditional velocity for digits (B, 1, 16, 16), on the rectified flow: a U-Net of two times.

    As a denoiser it is called with t alone, which is r = t. It has no self-attention, whose kernel has no forward derivative.
    """
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(24, 48), classes=10, patch=2, attn=0, dim=128)
    net.time = TwoTimes(128)
    return Network(net.to(memory_format=torch.channels_last), RectifiedFlow(), "flow")


def train_flow(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 3000) -> Iterator[TrainingState]:
    """Trains on 4,000 digits by flow matching (Lipman et al. 2023), a tenth of the labels made null."""
    learner, rng = learner_of(network), seeded(seed)
    draw = batches(device_of(network), rng)

    def loss() -> Tensor:
        x0, label = draw()
        return denoising_loss(learner.given(label).drop_condition(DROP, rng), x0, rng)

    ema = EMA(learner.net, 0.998, into=network.net)
    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=ema, muon=0.02)


# Students: each of these is given the student that is trained, its running average and its teacher, and returns the loss of a
# batch x0 (B, 1, 16, 16) of the student with the batch's labels


def _progressive(learner: Network, average: Network, teacher: Network, rng: torch.Generator, n: int) -> BatchLoss:
    """Salimans and Ho 2022, Algorithm 2."""
    return lambda student, x0: progressive_loss(student, replace(teacher, cond=student.cond), x0, n, rng)


def _consistency(learner: Network, average: Network, teacher: Network, rng: torch.Generator) -> BatchLoss:
    """Song et al. 2023, Algorithm 2, on the grid of `train_consistency`."""
    older = older_weights(learner, 0.95)
    at = lambda network, student: replace(network, cond=student.cond)
    return lambda student, x0: consistency_loss(student, at(older(), student), x0, 12, at(teacher, student), rng)


def _meanflow(learner: Network, average: Network, teacher: Network, rng: torch.Generator) -> BatchLoss:
    """Geng et al. 2025, Algorithm 1, with equal weights."""

    def loss(student: Network, x0: Tensor) -> Tensor:
        u = AverageVelocity(student.net, student.cond)
        return average_velocity_loss(u, x0, randn_like(x0, rng), *meanflow_times(len(x0), rng=rng), meanflow_target)

    return loss


def _shortcut(learner: Network, average: Network, teacher: Network, rng: torch.Generator) -> BatchLoss:
    """Frans et al. 2025. The targets are those of the running average."""

    def target(u: AverageVelocity, z: Tensor, r: Tensor, t: Tensor, v: Tensor) -> Tensor:
        return shortcut_target(AverageVelocity(average.net, u.cond), z, r, t)

    def loss(student: Network, x0: Tensor) -> Tensor:
        u = AverageVelocity(student.net, student.cond)
        return average_velocity_loss(u, x0, randn_like(x0, rng), *shortcut_times(len(x0), rng=rng), target)

    return loss


def train_student(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    *,
    method: Callable[..., BatchLoss],
    steps: int,
    teacher: str = "digits_flow",
    folder: Path = FOLDER,
) -> Iterator[TrainingState]:
    """Trains a student from its teacher's weights by `method`, on 4,000 digits, a tenth of the labels made null."""
    begun_from = load_teacher(teacher, network, flow_network, folder=folder)
    learner, rng = learner_of(network), seeded(seed)
    ema = EMA(learner.net, DECAY, into=network.net)
    draw, of_batch = batches(device_of(network), rng, BATCH), method(learner, network, begun_from, rng)

    def loss() -> Tensor:
        x0, label = draw()
        return of_batch(learner.given(label).drop_condition(DROP, rng), x0)

    return train(loss, learner.net, steps, lr=RATE, seconds=seconds, ema=ema)


def flow_pairs(teacher: Network, n: int, moves: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """n digits (n, 1, 16, 16), noises like them and labels (n,): each noise at the end of its path of the teacher."""
    label, eps = torch.arange(n, dtype=torch.long, device="cpu") % 10, teacher.draw_noise(n, rng)
    return sample(teacher.given(label), eps, moves, heun), eps, label


def train_reflow(
    network: Network, seconds: float | None = None, seed: int = 0, *, steps: int, pairs: int = 2000, folder: Path = FOLDER
) -> Iterator[TrainingState]:
    """Trains a student on pairs of noise and the teacher's digit (Heun, 8 steps). Liu et al. 2023, Algorithm 1."""
    teacher = load_teacher("digits_flow", network, flow_network, folder=folder)
    learner, rng, where = learner_of(network), seeded(seed), device_of(network)
    x0, eps, label = flow_pairs(teacher, pairs, 8, rng)

    def loss() -> Tensor:
        i = randint(0, pairs, BATCH, rng=rng)
        student = learner.given(label[i]).drop_condition(DROP, rng)
        return flow_matching_loss(student, x0[i].to(where), eps[i].to(where), rng)

    ema = EMA(learner.net, DECAY, into=network.net)
    return train(loss, learner.net, steps, lr=RATE, seconds=seconds, ema=ema)


def train_dmd(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    *,
    steps: int,
    rate: float = RATE / 10,
    folder: Path = FOLDER,
) -> Iterator[TrainingState]:
    """Trains a generator by distribution matching, without the regression term: Yin et al. 2024, Algorithm 1.

    Generator and fake denoiser begin at the teacher's weights, and are trained in turns, the generator at a tenth of the
    other's rate. At half of it trainings fail (tests/benchmarks/one_step.py).
    """
    real = load_teacher("digits_flow", network, flow_network, folder=folder)
    learner, fake, rng = learner_of(network), learner_of(network), seeded(seed)

    def draw() -> tuple[Tensor, Network, Network, Network]:
        """Noise, and generator, fake and real denoiser of the same labels."""
        generator = learner.given(randint(0, 10, BATCH, rng=rng)).drop_condition(DROP, rng)
        noise = network.draw_noise(BATCH, rng).to(device_of(network))
        return noise, generator, *(replace(each, cond=generator.cond) for each in (fake, real))

    def fake_loss() -> Tensor:
        noise, generator, of_samples, _ = draw()
        with torch.no_grad():
            x = one_step(generator, noise)
        return denoising_loss(of_samples, x, rng)

    def loss() -> Tensor:
        noise, generator, of_samples, of_digits = draw()
        return dmd_loss(generator, of_samples, of_digits, noise, rng)

    ema = EMA(learner.net, DECAY, into=network.net)
    return alternate(
        train(fake_loss, fake.net, steps, lr=RATE, seconds=seconds),
        train(loss, learner.net, steps, lr=rate, seconds=seconds, ema=ema),
    )


# Recipes

FLOW = Recipe(
    "digits by flow matching, the teacher of the models of one step",
    flow_network,
    train_flow,
    partial(digits_figures, sampler=rectified_flow),
    (1, 16, 16),
    10,
    sampler="rectified_flow",
    bits=8,
)


def _student(about: str, training: Callable, sampler: Callable, name: str, counts: tuple[int, ...] = (1, 2, 4)) -> Recipe:
    """The recipe of a student that is measured, and is sampled by default, in so many evaluations."""
    figures = partial(student_figures, steps=counts, sampler=sampler)
    return Recipe(about, flow_network, training, figures, (1, 16, 16), 10, steps=counts[0], sampler=name, bits=8)


def _halved(n: int) -> Recipe:
    """The recipe of one stage of progressive distillation, from 8 Euler steps of the flow to 4, 2 and 1."""
    teacher = "digits_flow" if n == 4 else f"flow_progressive{2 * n}"
    training = partial(train_student, method=partial(_progressive, n=n), steps=STEPS["progressive"], teacher=teacher)
    return _student(f"digits in {n} step{'s' * (n > 1)} of a flow, distilled from {2 * n}", training, rectified_flow,
                    "rectified_flow", (n,))  # fmt: skip


def _by(method: Callable, steps: int) -> Callable:
    return partial(train_student, method=method, steps=steps)


STEPS = {"progressive": 140, "consistency": 440, "reflow": 500, "meanflow": 320, "shortcut": 540, "dmd": 240}
FLOW_STUDENTS = {f"flow_progressive{n}": _halved(n) for n in (4, 2, 1)} | {
    "flow_consistency": _student(
        "digits by consistency distillation of a flow", _by(_consistency, STEPS["consistency"]), consistency, "consistency"
    ),
    "flow_reflow": _student("digits by reflow", partial(train_reflow, steps=STEPS["reflow"]), rectified_flow, "rectified_flow"),
    "flow_meanflow": _student("digits by MeanFlow", _by(_meanflow, STEPS["meanflow"]), jump_sampler, "jumps"),
    "flow_shortcut": _student("digits by a shortcut model", _by(_shortcut, STEPS["shortcut"]), jump_sampler, "jumps"),
    "flow_dmd": _student(
        "digits by distribution matching", partial(train_dmd, steps=STEPS["dmd"]), rectified_flow, "rectified_flow", (1,)
    ),
}
"""The students of lesson 24 by name: of the flow `digits_flow`, from its weights."""
