"""Recipes: how each model of the course is built, trained and measured. `course train NAME` follows one of them.

A `train_...` works on a copy and keeps the running average of its weights in the network that it was given, which therefore is
good to use after any step. With the same seed and no limit of `seconds` it gives the same weights on the same machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from course_lib import metrics
from course_lib.checkpoints import FOLDER, load_into
from course_lib.datasets import digits
from course_lib.datasets.points import ring
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.classifier import Classifier, jitter
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randn_like
from course_lib.samplers import ddim, ddpm, result
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.training import EMA, Progress, denoising_loss, train

# The ring: points in the plane whose truth is known


def ring_network(seed: int = 0) -> Network:
    """An untrained denoiser for points (B, 2): a residual MLP that predicts eps, over the linear schedule."""
    torch.manual_seed(seed)
    return Network(MLP(dim=2, width=64, depth=4), DDPM(linear_beta(1000)), "eps")


def train_ring(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 4000) -> Iterator[Progress]:
    """Trains on the ring of eight Gaussians, fresh points in each batch of 1,024. Ho et al. 2020, Algorithm 1."""
    learner, rng, data = _learner(network), torch.Generator().manual_seed(seed), ring()

    def loss() -> Tensor:
        x0, _ = data.sample(1024, rng)
        return denoising_loss(learner, x0.to(_device(learner)), rng)

    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=EMA(learner.net, 0.999, into=network.net))


def ring_figures(network: Network, n: int = 4000) -> dict[str, float]:
    """How near the network is to the exact denoiser, and its samples to the ring, n of each."""
    data, rng = ring(), torch.Generator().manual_seed(1)
    x0, _ = data.sample(20_000, rng)
    t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
    x_t = network.process.add_noise(x0, t, eps)
    with torch.no_grad():
        exact = ExactDenoiser(data, network.process)(x_t, t).eps
        learned = network(x_t.to(_device(network)), t).eps.cpu()
    noise = torch.randn(n, 2, generator=rng).to(_device(network))
    made = result(ddpm(network, noise, network.process.times(network.process.T), rng=rng)).cpu()
    real, _ = data.sample(5 * n, rng)
    return {
        "relative error of eps": float((learned - exact).norm() / exact.norm()),
        "loss over its floor": float((learned - eps).square().mean() / (exact - eps).square().mean()),
        "sliced Wasserstein distance": sum(metrics.sliced_wasserstein(made, part) for part in real.split(n)) / 5,
        "the same, real against real": metrics.floor(metrics.sliced_wasserstein, real, n),
    }


# The classifier that judges the digits


def classifier(seed: int = 0) -> Classifier:
    """An untrained classifier of digits."""
    torch.manual_seed(seed)
    return Classifier()


def train_classifier(net: Classifier, seconds: float | None = None, seed: int = 0, steps: int = 1500) -> Iterator[Progress]:
    """Trains on 4,000 digits, each by another hand in every batch (see `jitter`), with smoothed labels."""
    x, label = digits.load("train")
    learner, rng = copy.deepcopy(net).train().requires_grad_(), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        i = torch.randint(len(x), (128,), generator=rng)
        log_odds = learner(jitter(x[i], rng).to(_device(learner)))
        return cross_entropy(log_odds, label[i].to(log_odds.device), label_smoothing=0.05)

    ema = EMA(learner, 0.998, into=net)
    return train(loss, learner, steps, lr=3e-3, seconds=seconds, ema=ema, weight_decay=0.05)


@torch.no_grad()
def classifier_figures(net: Classifier) -> dict[str, float]:
    """Its accuracy on the 1,000 digits that it never saw."""
    x, label = digits.load("held_out")
    return {"held-out accuracy": metrics.accuracy(net(x.to(_device(net))).cpu(), label)}


# The digits


def digits_network(seed: int = 0) -> Network:
    """An untrained class-conditional denoiser for digits (B, 1, 16, 16): a U-Net that predicts v, over the cosine schedule."""
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=10).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_digits(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 8000) -> Iterator[Progress]:
    """Trains on 4,000 digits, one label in ten made null. Ho and Salimans 2022, Algorithm 1, in the network's view.

    What was tried of networks, views, schedules, batches and rates is in tests/benchmarks/README.md.
    """
    x, label = digits.load("train")
    learner, rng = _learner(network), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        return denoising_loss(learner.given(label[i]).dropped(0.1, rng), x[i].to(_device(learner)), rng)

    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=EMA(learner.net, 0.995, into=network.net))


def digits_figures(network: Network, n: int = 1000, judge: Classifier | None = None) -> dict[str, float]:
    """What the shipped classifier, or another `judge`, says of n samples of 25 DDIM steps, guided (w = 2) and plain (w = 1)."""
    if judge is None:
        judge = Classifier()
        load_into(judge, FOLDER / "classifier.safetensors")
    judge.eval()
    label, rng = torch.arange(n) % 10, torch.Generator().manual_seed(1)
    noise = torch.randn(n, 1, 16, 16, generator=rng).to(_device(network))

    @torch.no_grad()
    def draw(w: float) -> Tensor:
        guided = ClassifierFree(network.given(label), network.given(NULL), w)
        return result(ddim(guided, noise, network.process.times(25))).cpu()

    with torch.no_grad():
        plain, guided = draw(1.0), draw(2.0)
        held_out, train = judge.features(digits.load("held_out")[0][:n]), judge.features(digits.load("train")[0][:n])
        made = judge.features(plain)
        precision, recall = metrics.precision_recall(held_out, made)
        return {
            "class accuracy, guided (w = 2)": metrics.accuracy(judge(guided), label),
            "class accuracy, plain (w = 1)": metrics.accuracy(judge(plain), label),
            "Frechet distance, plain (w = 1)": metrics.frechet_distance(made, held_out),
            "the same, real against real": metrics.frechet_distance(train, held_out),
            "precision, plain (w = 1)": precision,
            "recall, plain (w = 1)": recall,
        }


# The table


@dataclass(frozen=True)
class Recipe:
    """What `course train` follows: `build(seed)`, `train(model, seconds, seed)`, `figures(model)`, and what the model draws.

    `shape` is one sample's, () for a model that draws nothing; `classes` is how many it can be asked for, 0 for none.
    """

    about: str
    build: Callable[..., Any]
    train: Callable[..., Iterator[Progress]]
    figures: Callable[..., dict[str, float]]
    shape: tuple[int, ...] = ()
    classes: int = 0


RECIPES = {
    "ring": Recipe("points on the ring of eight Gaussians", ring_network, train_ring, ring_figures, (2,)),
    "classifier": Recipe("the judge of digits", classifier, train_classifier, classifier_figures),
    "digits": Recipe("class-conditional digits, 16 x 16", digits_network, train_digits, digits_figures, (1, 16, 16), 10),
}
"""Every model that ships, in the order in which they can be made: the digits are measured by the classifier."""


def _learner(network: Network) -> Network:
    """A copy to train, while `network` holds its average."""
    return Network(copy.deepcopy(network.net).train().requires_grad_(), network.process, network.view)


def _device(model: Network | nn.Module) -> torch.device:
    return next(getattr(model, "net", model).parameters()).device
