"""What lesson 22 measures of fast solvers and of EDM's preconditioning.

    python tests/benchmarks/solvers.py [--n 500]

The protocol was written before the runs.

- `runs`: n digits by the shipped network without guidance (w = 1), from the same noise for every solver of a seed, at equal
  steps in t. Three noises; five for the cells of a claim, DDIM at 5, 10 and 25 evaluations and DPM-Solver++(2M) at 5 and 10.
  `error` is the root mean square difference per pixel from the network's own solution, by Heun's method in 100 moves (199
  evaluations), and the scores are as in `ddim_steps`. `evaluations` are those asked for; `spent`, those made: Heun's method
  takes two a move but one in the last, PLMS one more than moves. Conditions: at 10 evaluations the error of DPM-Solver++(2M) is
  below that of DDIM at 25 (null: DDIM at 10), and its Frechet distance is above that of DDIM at 25 by less than 0.01 (null:
  DDIM at 5).
- `levels`, added when the first noise of `runs` had been seen: the same digits in 10 evaluations at Karras' noise levels with
  rho = 7, from 10 down to 0.1, by the nearest whole times. The range was chosen with 60 digits of another noise. Three noises.
- `preconditioning`: five trainings of a residual MLP on the ring (2,000 steps of 256 points, no average of weights) for each
  way to make x_0 from the net: EDM's; without c_in; the net predicts x_0, or eps, both with c_in; and x_0 without c_in. All
  have the same c_noise, times and loss of x_0. `excess` is the mean weighted square of the difference from the exact x_0 per
  coordinate, at 20,000 noisy points, and `by sigma` the same at seven noise levels. `distance` is the sliced Wasserstein
  distance of 4,000 points by Heun's method on Karras' times in 18 moves from 4,000 points of the ring. Condition: EDM's excess
  is below that of x_0 without c_in (null: the same trainings in another order).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores, digits_floor, rounded
from torch import Tensor

from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.methods.edm import EDM, Preconditioned, edm_loss, karras_sigmas, nearest_times
from course_lib.methods.solvers import deis, dpm_solver, plms, unipc
from course_lib.metrics import sliced_wasserstein
from course_lib.nets.mlp import MLP
from course_lib.process import randn_like, seeded
from course_lib.samplers import ddim, heun, result, sample
from course_lib.training import train
from course_lib.zoo import models

SOLVERS = {
    "DDIM": (ddim, {}),
    "Heun": (heun, {}),
    "DPM-Solver++(2M)": (dpm_solver, {"order": 2}),
    "DPM-Solver++(3S)": (dpm_solver, {"order": 3, "singlestep": True}),
    "UniPC-2": (unipc, {"order": 2}),
    "DEIS-3": (deis, {"order": 3}),
    "PLMS": (plms, {}),
}
EVALUATIONS, MANY = (5, 7, 10, 15, 25), {"DDIM": (5, 10, 25), "DPM-Solver++(2M)": (5, 10)}


def moves(solver: str, evaluations: int) -> tuple[int, int]:
    """The moves that a solver makes with so many evaluations, and the evaluations that these take."""
    if solver == "Heun":
        return (evaluations + 1) // 2, 2 * ((evaluations + 1) // 2) - 1
    return (evaluations - 1, evaluations) if solver == "PLMS" else (evaluations, evaluations)


@cache
def start(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """The noise of a seed, and the digits that the network's own ODE takes it to."""
    network, label = models.load("digits"), torch.arange(n) % 10
    noise = network.draw_noise(n, seeded(seed))
    return noise, sample(network.given(label), noise, 100, heun, batch=n)


def digits_row(n: int, seed: int, solver: str, evaluations: int) -> dict:
    steps, spent = moves(solver, evaluations)
    return {"spent": spent} | scored(n, seed, solver, models.load("digits").process.times(steps))


def levels_row(n: int, seed: int, solver: str) -> dict:
    return scored(n, seed, solver, nearest_times(models.load("digits").process, karras_sigmas(10, 0.1, 10.0)))


def scored(n: int, seed: int, solver: str, times: Tensor) -> dict:
    """The scores of a solver's digits at these times, and their difference from the network's own solution."""
    noise, truth = start(n, seed)
    label, (sampler, options) = torch.arange(n) % 10, SOLVERS[solver]
    made = result(sampler(models.load("digits").given(label), noise, times, **options))
    error = float((made - truth).square().mean().sqrt())
    return {"figures": {"error": round(error, 5)} | digit_scores(made, label)}


def digits_jobs(seeds) -> list[dict]:
    return [
        {"seed": seed, "solver": solver, "evaluations": k}
        for seed in seeds
        for solver in SOLVERS
        for k in EVALUATIONS
        if seed < 3 or k in MANY.get(solver, ())
    ]


@dataclass(frozen=True, eq=False)
class Other(Preconditioned):
    """A part of EDM's preconditioning left out, or another target of the net."""

    way: str = "EDM"

    def factors(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c_skip, c_out, c_in, c_noise = super().factors(sigma)
        one = torch.ones_like(sigma)
        if self.way.startswith("x0"):
            c_skip, c_out = 0 * one, one
        if self.way.startswith("eps"):
            c_skip, c_out = one, -sigma
        return c_skip, c_out, one if self.way.endswith("without c_in") else c_in, c_noise


WAYS = ("EDM", "EDM, without c_in", "x0", "eps", "x0, without c_in")
LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
DATA, SIGMA_DATA = ring(), 0.51**0.5  # radius 1 and width 0.1: a variance of 1 / 2 + 0.01 per coordinate


def trained(seed: int, way: str) -> Other:
    """The network of that way after its training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Other(MLP(width=64), EDM(), sigma_data=SIGMA_DATA, way=way)
    rng = seeded(1000 + seed)

    def training() -> Iterator:
        return train(lambda: edm_loss(network, DATA.sample(256, rng)[0], rng), network.net, 2000, lr=2e-3)

    for _ in training():
        pass
    return network


@torch.no_grad()
def preconditioning(n: int, seed: int, way: str) -> dict:
    """The excess of a trained network's loss over the exact denoiser's, and the distance of its samples."""
    network, exact, rng = trained(seed, way), ExactDenoiser(DATA, EDM()), seeded(7)

    def excess(t: Tensor) -> float:
        x0 = DATA.sample(len(t), rng)[0]
        x = network.process.add_noise(x0, t, randn_like(x0, rng))
        square = (network(x, t).x0.double() - exact(x.double(), t).x0).square().mean(1)
        return float((network.weight(t) * square).mean())

    figures = {"excess": excess(network.process.sample_t(20_000, rng))}
    by_sigma = {f"{level:g}": round(excess(torch.full((4000,), level).double()), 6) for level in LEVELS}
    x = result(heun(network, 80 * torch.randn(4000, 2, generator=seeded(8)), network.process.times(18)))
    figures["distance"] = sliced_wasserstein(x, DATA.sample(4000, seeded(9))[0])
    return {"figures": rounded(figures, 6), "by sigma": by_sigma}


BENCH = Benchmark(
    "solvers",
    [
        Part(
            "preconditioning",
            into="preconditioning",
            jobs=lambda seeds: [{"seed": seed, "way": way} for seed in seeds for way in WAYS],
            row=preconditioning,
        ),
        Part("digits", jobs=digits_jobs, row=digits_row, once={"the same, real against real": digits_floor}),
        Part(
            "levels",
            into="levels",
            jobs=lambda seeds: [
                {"seed": seed, "solver": solver}
                for seed in seeds
                if seed < 3
                for solver in ("DDIM", "DPM-Solver++(2M)", "UniPC-2")
            ],
            row=levels_row,
        ),
    ],
    amounts={"n": 500},
    seeds=tuple(range(5)),
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
