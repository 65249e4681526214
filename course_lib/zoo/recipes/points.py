"""Recipes for points in the plane, where the optimal denoiser is known in closed form."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser, Network, device_of
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randn, randn_like, seeded
from course_lib.samplers import ddpm, sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, TrainingState, denoising_loss, train
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of


def ring_network(seed: int = 0) -> Network:
    """An untrained denoiser for points (B, 2): a residual MLP that predicts eps, over the linear schedule."""
    torch.manual_seed(seed)
    return Network(MLP(dim=2, width=64, depth=4), DDPM(linear_beta(1000)), "eps")


def train_ring(network: Network, seconds: float | None = None, seed: int = 0, steps: int = 4000) -> Iterator[TrainingState]:
    """Trains on the ring of eight Gaussians, fresh points in each batch of 1,024. Ho et al. 2020, Algorithm 1."""
    learner, rng, data = learner_of(network), seeded(seed), ring()

    def loss() -> Tensor:
        x0, _ = data.sample(1024, rng)
        return denoising_loss(learner, x0.to(device_of(learner)), rng)

    return train(loss, learner.net, steps, lr=3e-3, seconds=seconds, ema=EMA(learner.net, 0.999, into=network.net))


def ring_figures(network: Network, n: int = 4000) -> dict[str, Figure]:
    """The distance of the network to the exact denoiser, and of n of its samples to n points of the ring."""
    data, rng = ring(), seeded(1)
    x0, _ = data.sample(20_000, rng)
    t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
    x_t = network.process.add_noise(x0, t, eps)
    with torch.no_grad():
        exact = ExactDenoiser(data, network.process)(x_t, t).eps
        learned = network(x_t.to(device_of(network)), t).eps.cpu()
    noise = randn(n, 2, rng=rng).to(device_of(network))
    made = sample(network, noise, network.process.T, ddpm, batch=n, rng=rng).cpu()
    real, _ = data.sample(5 * n, rng)
    return {
        "relative error of eps": Figure.error((learned - exact).norm() / exact.norm()),
        "loss over its floor": Figure.error((learned - eps).square().mean() / (exact - eps).square().mean()),
        "sliced Wasserstein distance": Figure.error(sum(metrics.sliced_wasserstein(made, part) for part in real.split(n)) / 5),
        "the same, real against real": Figure.error(metrics.floor(metrics.sliced_wasserstein, real, n)),
    }


RING = Recipe("points on the ring of eight Gaussians", ring_network, train_ring, ring_figures, (2,))
