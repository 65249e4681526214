"""Recipes for the students: digits in few steps, learned from a network that takes more, or beginning as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.distillation import consistency_loss, guided_consistency_loss, progressive_loss
from course_lib.nets.classifier import Classifier
from course_lib.nets.unet import UNet
from course_lib.process import DDPM
from course_lib.recipes.digits import digits_network
from course_lib.recipes.recipe import Recipe, device_of, learner_of, shipped_net
from course_lib.samplers import consistency, ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, Progress, train

DROP = 0.1  # of labels, as for the teacher: the students, too, know what a digit in general looks like


def taught_by(name: str, student: Network, build: Callable[[], Network] = digits_network, begun: bool = True) -> Network:
    """The shipped model of that name on the student's device, its weights given to the student to begin with, if `begun`."""
    teacher = build()
    shipped_net(teacher.net, name).to(device_of(student))
    if begun:
        student.net.load_state_dict(teacher.net.state_dict(), strict=False)  # a guided student has its guidance to learn
    return teacher


def batches(device: torch.device, rng: torch.Generator, size: int = 64) -> Callable[[], tuple[Tensor, Tensor]]:
    """A function that draws pictures (size, 1, 16, 16), on the device, and their labels (size,)."""
    x, label = digits.load("train")

    def draw() -> tuple[Tensor, Tensor]:
        i = torch.randint(len(x), (size,), generator=rng)
        return x[i].to(device), label[i]

    return draw


# Progressive distillation


def train_progressive(
    network: Network, n: int, steps: int, seconds: float | None = None, seed: int = 0, teacher: str = ""
) -> Iterator[Progress]:
    """A student of n steps, from its teacher of 2 n, whose weights it begins with. Salimans and Ho 2022, Algorithm 2."""
    teacher = taught_by(teacher, network)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    draw = batches(device_of(network), rng)

    def loss() -> Tensor:
        x0, label = draw()
        asked = learner.given(label).dropped(DROP, rng)
        return progressive_loss(asked, replace(teacher, cond=asked.cond), x0, n, rng)

    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


# Consistency


def older_weights(learner: Network, decay: float) -> Callable[[], Network]:
    """A function that takes in the learner's present weights and gives their average: the target of a consistency loss."""
    ema = EMA(learner.net, decay)

    def older() -> Network:
        ema.update()
        return replace(learner, net=ema.net)

    return older


def train_consistency(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 3600, taught: bool = True, begun: bool = True
) -> Iterator[Progress]:
    """Consistency distillation from the digits' network, or, where the student is not `taught`, training without a teacher:
    Song et al. 2023, Algorithms 2 and 3. It begins with that network's weights, or, not `begun`, with its own.

    Taught, on a grid of 12 steps: on a finer one errors add up over a longer chain. Without a teacher only short steps are
    true: from 8 the grid doubles to 128, as in Song and Dhariwal 2023, section 3.4. That such training, too, goes well from a
    denoiser's weights is Geng et al. 2024. The target's decay, the first paper's mu, is 0.95; what ships is a longer average.
    tests/benchmarks/README.md has what was tried."""
    teacher = taught_by("digits", network, begun=begun)
    learner, rng, done = learner_of(network), torch.Generator().manual_seed(seed), 0.0
    draw, older = batches(device_of(network), rng), older_weights(learner, 0.95)

    def loss() -> Tensor:
        x0, label = draw()
        asked = learner.given(label).dropped(DROP, rng)
        target = replace(older(), cond=asked.cond)
        if taught:
            return consistency_loss(asked, target, x0, 12, replace(teacher, cond=asked.cond), rng)
        return consistency_loss(asked, target, x0, 8 * 2 ** min(int(5 * done), 4), None, rng)

    for now in train(loss, learner.net, steps, lr=1.5e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net)):
        done = now.done
        yield now


def guided_network(seed: int = 0) -> Network:
    """The digits' network with guidance w as one more input."""
    torch.manual_seed(seed)
    return Network(UNet(guided=True).to(memory_format=torch.channels_last), DDPM(cosine_beta(1000)), "v")


def train_guided(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 4000) -> Iterator[Progress]:
    """Distils the digits' network at every guidance w of 0..8, skipping k = 20 steps. Luo et al. 2023, Algorithm 1."""
    teacher = taught_by("digits", network)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)
    draw, older = batches(device_of(network), rng), older_weights(learner, 0.95)
    loss = lambda: guided_consistency_loss(learner, older(), teacher, *draw(), n=50, rng=rng)
    return train(loss, learner.net, steps, lr=1e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


# Figures


def student_figures(network: Network, n: int, steps: tuple[int, ...], sampler: Callable, ws: tuple[float, ...] = ()) -> dict:
    """What the shipped classifier says of n samples of so many steps, as in `digits_figures`, at each w that it can be told."""
    judge, label = shipped_net(Classifier(), "classifier"), torch.arange(n) % 10
    held_out = judge.features(digits.load("held_out")[0][:n])
    found = {}
    for k in steps:
        for w in ws or (1.0,):
            rng = torch.Generator().manual_seed(1)
            noise = torch.randn(n, 1, 16, 16, generator=rng).to(device_of(network))
            asked = network.given(label).at(w) if ws else network.given(label)
            options = {"rng": rng} if sampler is consistency else {}
            made = result(sampler(asked, noise, network.process.times(k), **options)).cpu()
            at = f"{k} step{'s' * (k > 1)}" + (f", w = {w:g}" if ws else "")
            found[f"Frechet distance, {at}"] = metrics.frechet_distance(judge.features(made), held_out)
            found[f"class accuracy, {at}"] = metrics.accuracy(judge(made), label)
    return found


def _progressive(n: int, steps: int) -> Recipe:
    """The recipe of one stage: a student of n steps, trained for so many steps, from the stage before it."""
    teacher = "digits" if n == 32 else f"progressive{2 * n}"
    training = partial(train_progressive, n=n, steps=steps, teacher=teacher)
    figures = lambda network, n_samples=1000: student_figures(network, n_samples, (n,), ddim)
    about = f"digits in {n} step{'s' * (n > 1)}, distilled from {2 * n}"
    return Recipe(about, digits_network, training, figures, (1, 16, 16), 10, steps=n, bits=8 if n >= 8 else 16)


PROGRESSIVE = {
    f"progressive{n}": _progressive(n, steps) for n, steps in {32: 600, 16: 600, 8: 800, 4: 2400, 2: 2400, 1: 2400}.items()
}
"""From 64 steps, the digits' network, to 1. Later stages have more to learn, and the paper, too, gives them more steps."""


def _consistent(about: str, build: Callable, training: Callable, ws: tuple[float, ...] = ()) -> Recipe:
    figures = lambda network, n=1000: student_figures(network, n, (1, 2, 4), consistency, ws)
    return Recipe(about, build, training, figures, (1, 16, 16), 10, steps=2, sampler="consistency", bits=16)


CONSISTENCY = _consistent("digits by consistency distillation", digits_network, train_consistency)
CONSISTENCY_TRAINED = _consistent(
    "digits by consistency training, without a teacher", digits_network, partial(train_consistency, taught=False)
)
GUIDED = _consistent("digits by guided consistency distillation, w as an input", guided_network, train_guided, (1.0, 2.0, 4.0))
