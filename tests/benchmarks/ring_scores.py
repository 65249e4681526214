"""The score of networks trained on the ring beside the exact one: at data, where data are sparse, and in annealed Langevin
dynamics (lesson 03).

    python tests/benchmarks/ring_scores.py [--seeds 4 5 6 7 8]

`trained` is the recipe of the shipped network with other seeds and half the batch, 512 points (a minute of one processor each).
`before training` has its first weights, and `exact` is the exact denoiser. Sparse is where q(x_t) is lower than at 99.9 % of
the points that are drawn from it, within the square.
"""

from collections.abc import Iterator

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import rounded

from course_lib import metrics
from course_lib.datasets.points import ring
from course_lib.denoisers import Denoiser, ExactDenoiser, Network
from course_lib.process import randn_like, seeded
from course_lib.samplers import annealed_langevin, result
from course_lib.training import EMA, TrainingState, denoising_loss, train
from course_lib.widgets.paths import geometric_levels
from course_lib.zoo.recipes.points import ring_network
from course_lib.zoo.recipes.recipe import learner_of

WAYS, DATA, REACH = ("trained", "before training", "exact"), ring(), 2.0
TIMES, SPARSE_TIMES = (1, 2, 5, 10, 20, 50, 100, 200, 400, 700, 1000), (1, 2, 5, 10, 20, 50, 100)  # later none are sparse


def training_of(network: Network, seed: int) -> Iterator[TrainingState]:
    learner, rng = learner_of(network), seeded(seed)
    loss = lambda: denoising_loss(learner, DATA.sample(512, rng)[0], rng)
    return train(loss, learner.net, 4000, lr=3e-3, ema=EMA(learner.net, 0.999, into=network.net))


def denoiser(way: str, seed: int) -> Denoiser:
    network = ring_network(seed)
    if way == "exact":
        return ExactDenoiser(DATA, network.process)
    if way == "trained":
        load_or_train(BUILD / f"ring_scores/{seed}.safetensors", network.net, lambda: training_of(network, seed))
    return network


@torch.no_grad()
def of_scores(n: int, seed: int, way: str, t: int) -> dict:
    """Cosine with the exact score, relative scale and relative error at n points of q(x_t); the error at sparse ones."""
    made, rng = denoiser(way, seed), seeded(100 * t + seed)
    at = made.process.signal(t), made.process.noise(t)
    points = lambda n: made.process.add_noise(x0 := DATA.sample(n, rng)[0].double(), t, randn_like(x0, rng))
    x = points(n)
    learned, exact = made(x, t).score.double(), DATA.score(x, *at)
    along, error = (learned * exact).sum(), lambda learned, exact: (learned - exact).norm() / exact.norm()
    figures = {"cosine": along / learned.norm() / exact.norm(), "scale": along / exact.square().sum()}
    figures["relative error"] = error(learned, exact)
    if t in SPARSE_TIMES:
        threshold = DATA.log_prob(points(50_000), *at).quantile(0.001)
        x = REACH * (2 * torch.rand(6 * n, 2, generator=rng, dtype=torch.float64) - 1)  # even over the square
        x = x[DATA.log_prob(x, *at) < threshold]
        figures["relative error, sparse"] = error(made(x, t).score.double(), DATA.score(x, *at))
    return {"figures": rounded(figures, 5)}


@torch.no_grad()
def of_samples(n: int, seed: int, way: str) -> dict:
    """The spots' shares, their width per coordinate, and the share outside of them, of n samples as lesson 03 draws them."""
    made, rng = denoiser(way, seed), seeded(seed)
    x = torch.randn(n, 2, generator=rng)
    x = result(annealed_langevin(made, x, geometric_levels(made.process), 40, 5e-4, rng)).double()
    distance, spot = torch.cdist(x, DATA.means).min(1)
    shares = torch.bincount(spot, minlength=8) / n
    figures = {"worst share": shares[(shares - 1 / 8).abs().argmax()], "width": (distance.square().mean() / 2).sqrt()}
    return {"figures": rounded(figures | {"outside": metrics.modes(x, DATA, within=3)[1]}, 5)}


def scored(seeds):
    return [{"seed": seed, "way": way, "t": t} for seed in seeds for way in WAYS[:2] for t in TIMES]


def sampled(seeds):
    return [{"seed": seed, "way": way} for seed in seeds for way in (WAYS[0], WAYS[2])]


BENCH = Benchmark(
    "ring_scores",
    [Part("scores", scored, of_scores, "scores"), Part("samples", sampled, of_samples, "samples")],
    amounts={"n": 4000},
    seeds=(4, 5, 6, 7, 8),
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
