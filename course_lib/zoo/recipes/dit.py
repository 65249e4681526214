"""The recipe for lesson 25: class-conditional digits by a diffusion transformer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import Network, device_of
from course_lib.guidance import classifier_free
from course_lib.nets.classifier import Classifier
from course_lib.nets.dit import DiT
from course_lib.process import RectifiedFlow, randint, randn, seeded
from course_lib.samplers import rectified_flow, sample
from course_lib.training import EMA, TrainingState, denoising_loss, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net


def dit_network(seed: int = 0) -> Network:
    """An untrained class-conditional denoiser for digits (B, 1, 16, 16): a DiT of patches of 4 x 4, on a rectified flow."""
    torch.manual_seed(seed)
    return Network(DiT(patch=4, width=64), RectifiedFlow(logit_normal=(0.0, 1.0)), "flow")


def train_dit(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 600) -> Iterator[TrainingState]:
    """Trains on 4,000 digits, a tenth of the labels made null: Ho and Salimans 2022, Algorithm 1, on a flow's velocity."""
    x, label = digits.load("train")
    learner, rng = learner_of(network), seeded(seed)

    def loss() -> Tensor:
        i = randint(0, len(x), 32, rng=rng)
        return denoising_loss(learner.given(label[i]).drop_condition(0.1, rng), x[i].to(device_of(learner)), rng)

    ema = EMA(learner.net, 0.99, into=network.net)
    return train(loss, learner.net, steps, lr=6e-3, seconds=seconds, ema=ema)


@torch.no_grad()
def dit_figures(network: Network, n: int = 200, folder: Path = FOLDER) -> dict[str, Figure]:
    """Class accuracy and Frechet distance of n samples of 25 Euler steps, guided (w = 2) and plain (w = 1)."""
    evaluator = shipped_net(Classifier(), "classifier", folder)
    label = torch.arange(n, device="cpu", dtype=torch.long) % 10
    noise = randn(n, 1, 16, 16, rng=seeded(1)).to(device_of(network))
    draw = lambda w: sample(classifier_free(network, label, w), noise, 25, rectified_flow, batch=n).cpu()
    plain, guided = draw(1.0), draw(2.0)
    distance = metrics.frechet_distance(evaluator.features(plain), evaluator.features(digits.load("held_out")[0]))
    return {
        "class accuracy, guided (w = 2)": Figure.share(metrics.accuracy(evaluator(guided), label)),
        "class accuracy, plain (w = 1)": Figure.share(metrics.accuracy(evaluator(plain), label)),
        "Frechet distance, plain (w = 1)": Figure.error(distance),
    }


DIT = Recipe(
    "class-conditional digits by a diffusion transformer",
    dit_network,
    train_dit,
    dit_figures,
    (1, 16, 16),
    10,
    sampler="rectified_flow",
    bits=16,
)
