"""Couplings of data and noise, and rounds of reflow: path, steps, distance (lesson 23).

    python tests/benchmarks/flow_matching.py [couplings | reflow | cost] [--store]

couplings  Points of two mixtures, the ring of 8 and 25 Gaussians. One network (MLP, width 48, 2 blocks) is trained on a
           rectified flow with uniform times, 500 steps of 256 pairs, averaged weights, three trainings an arm. The arms have
           the same first weights, points, noises and times, and differ in the coupling alone: optimal transport in groups of 1
           (independent), 16, 64 and 256 pairs; the null model, a random permutation of each 256; and the failure that the
           lesson shows, each noise with the nearest of 256 points, where a point may serve several noises (25 Gaussians only).
           Figures: `line`, the mean squared length of the lines that are trained on; `map`, the mean squared distance of a
           noise from where 64 Euler steps take it; `bend`, the mean over those steps of |v - (x_1 - x_0)|^2, 0 where all paths
           are straight and of constant speed; sliced Wasserstein distance of 2,000 samples to 4,000 points at each number of
           Euler steps in STEPS, from the same noises for all; `needed`, the first number in STEPS with a distance of LIMIT or
           less, twice the last where there is none; the loss on 10,000 new pairs; and `velocity`, the mean squared difference
           from the exact velocity of the independent coupling over the mean square of that, at its points and times.
reflow     The same networks of the ring trained on, as long again, with a new cycle of rates: the independent one on 10,000
           pairs of noise and sample (32 Euler steps), `reflow 1`; that one again on pairs of its own, `reflow 2`; the control
           for the second round, `reflow 1, longer`, on the pairs of the first; and the rival, `256, longer`, the network of the
           coupling of 256 on more pairs of the same coupling. Figures as above; `again` holds some of them at other noises.
cost       Milliseconds of processor time, the least of several: the assignment of 16, 64, 256 and 1,024 pairs of ring and
           noise, with its matrix; of 256 digits and noises; a training step of 256 pairs of the plane's network, and of 256
           digits of the digits' U-Net. One thread.

What decides, in paired runs of three trainings, with the margins of evidence.py, the first two on both mixtures:
- the distances in 1 and in 2 steps are lower with the coupling of 256 than with independent pairs;
- fewer steps are needed with the coupling of 256 than with independent pairs;
- 25 Gaussians: lines to the nearest point are shorter than those of the coupling of 256, and the distance in 64 steps is
  higher;
- ring: after as many steps of training, reflow 1 has a lower distance in 1 step than `256, longer`, and a higher one in 64
  steps;
- ring: reflow 2 has a lower `bend` and a lower distance in 1 step than `reflow 1, longer`.
The same must not hold: of the random permutation in the place of the coupling of 256 (the first two) or of the nearest point
(the third); of the coupling of 256, trained once, in the place of reflow 1; of `reflow 1, longer` at other noises in the place
of reflow 2.

All arms, numbers and conditions were fixed before the runs that are stored. Known before: the distances of the exact flow, by
which LIMIT was set, and single trainings on the ring (2,000 steps of width 64, groups of 1 and 16; 800 steps, groups of 1),
which are not among these. A first plan was given up for its time when at most three of its rows had been seen: its training
was longer, its network wider, its noises more, its limit 0.08, and reflow was on both mixtures. Its rows were deleted. The
arms and the direction of each condition stayed as they were.
"""

from functools import cache

import torch
from rows import Benchmark, Part, measure
from scores import rounded
from timing import min_milliseconds

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.datasets.points import grid, ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.methods.flow_matching import flow_matching_loss, optimal_transport, reflow
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import RectifiedFlow, randn, randn_like, seeded
from course_lib.samplers import rectified_flow
from course_lib.training import EMA, train
from course_lib.zoo.recipes.recipe import learner_of

FLOW, DATA = RectifiedFlow(), {"ring": ring(), "25 Gaussians": grid()}
TRAINING, BATCH, RATE, PAIRS = 500, 256, 3e-3, 10_000
STEPS, LIMIT = (1, 2, 3, 4, 6, 8, 16, 64), 0.12
SIZES = (1, 16, 64, 256)
KINDS = ("reflow 1", "reflow 2", "reflow 1, longer", "256, longer")


def couple(coupling: int | str, x0, eps):
    """The pairs of a batch, both (B, 2)."""
    if coupling == "nearest":
        return x0[torch.cdist(eps, x0).argmin(1)], eps
    if coupling == "permuted":
        return x0, eps[torch.randperm(len(eps), generator=seeded(int(1e6 * x0.abs().sum())))]
    return x0, optimal_transport(x0, eps, coupling)


def draw_of(data: str, coupling: int | str):
    """A function rng -> pairs of a batch."""

    def draw(rng, n=BATCH):
        x0 = DATA[data].sample(n, rng)[0]
        return couple(coupling, x0, randn_like(x0, rng))

    return draw


def fit(denoiser: Network, draw, seed: int) -> Network:
    """The denoiser trained on batches of pairs `draw(rng)`, with averaged weights."""
    learner, rng = learner_of(denoiser), seeded(seed)
    average = EMA(learner.net, 0.998)
    for _ in train(lambda: flow_matching_loss(learner, *draw(rng), rng), learner.net, TRAINING, lr=RATE, ema=average):
        pass
    return Network(average.net, FLOW, "flow")


@cache
def trained(data: str, coupling: int | str, seed: int) -> Network:
    torch.manual_seed(seed)
    return fit(Network(MLP(dim=2, width=48, depth=2), FLOW, "flow"), draw_of(data, coupling), seed)


@cache
def real(data: str) -> torch.Tensor:
    return DATA[data].sample(4000, seeded(900))[0]


def walk(denoiser, steps: int, noise: int) -> list:
    return list(rectified_flow(denoiser, randn(2000, 2, rng=seeded(1000 + noise)), FLOW.times(steps)))


def paths(denoiser, noise=1) -> dict:
    """The figures `map` and `bend`."""
    steps = walk(denoiser, 64, noise)
    way = steps[0].x - steps[-1].x
    bends = [(step.pred.flow - way).square().sum(1).mean() for step in steps[:-1]]
    return {"map": float(way.square().sum(1).mean()), "bend": float(torch.stack(bends).mean())}


def distance(denoiser, data: str, steps: int, noise=1) -> float:
    return metrics.sliced_wasserstein(walk(denoiser, steps, noise)[-1].x, real(data), 60)


def figures(denoiser, data: str) -> dict:
    at = {steps: distance(denoiser, data, steps) for steps in STEPS}
    needed = next((steps for steps in STEPS if at[steps] <= LIMIT), 2 * STEPS[-1])
    return rounded({f"{steps} steps": value for steps, value in at.items()} | paths(denoiser)) | {"needed": needed}


@torch.no_grad()
def of_velocity(denoiser, data: str, coupling: int | str) -> dict:
    """The loss of 10,000 new pairs of the coupling, and the relative error against the exact velocity of independent pairs."""
    rng = seeded(950)
    pairs = [draw_of(data, coupling)(rng) for _ in range(PAIRS // BATCH)]
    x0, eps = (torch.cat(part) for part in zip(*pairs))
    loss = float(flow_matching_loss(denoiser, x0, eps, seeded(951)))
    mix = randn(len(x0), 2, rng=seeded(952))
    t = FLOW.sample_t(len(x0), seeded(953))
    x_t = FLOW.add_noise(DATA[data].sample(len(x0), seeded(954))[0], t, mix)
    exact = ExactDenoiser(DATA[data], FLOW)(x_t, t).flow
    error = (denoiser(x_t, t).flow - exact).square().mean() / exact.square().mean()
    return rounded({"loss": loss, "line": float((x0 - eps).square().sum(1).mean()), "velocity": float(error)})


def coupling_row(data: str, coupling: int | str, seed: int) -> dict:
    denoiser = trained(data, coupling, seed)
    return figures(denoiser, data) | of_velocity(denoiser, data, coupling)


@cache
def reflowed(data: str, seed: int, rounds: int) -> tuple[Network, tuple]:
    """The network after this many rounds, and the pairs of the last round."""
    before, kept = trained(data, 1, seed) if rounds == 1 else reflowed(data, seed, rounds - 1)[0], []
    eps = randn(PAIRS, 2, rng=seeded(500 + 10 * rounds + seed))

    def on_pairs(flow, x0, eps):
        kept.append((x0, eps))
        return fit(flow, of_pairs(x0, eps), 700 + 10 * rounds + seed)

    return reflow(before, on_pairs, eps, 32)[-1], kept[0]


def of_pairs(x0, eps):
    """A function rng -> a batch of these pairs."""

    def draw(rng):
        i = torch.randint(len(eps), (BATCH,), generator=rng)
        return x0[i], eps[i]

    return draw


def reflow_row(data: str, kind: str, seed: int) -> dict:
    rounds = 2 if kind == "reflow 2" else 1
    if kind == "256, longer":
        denoiser, line = fit(trained(data, 256, seed), draw_of(data, 256), 700 + seed), {}
    else:
        denoiser, pairs = reflowed(data, seed, rounds)
        line = rounded({"line": float((pairs[0] - pairs[1]).square().sum(1).mean())})
        if kind == "reflow 1, longer":
            denoiser = fit(denoiser, of_pairs(*pairs), 720 + seed)
    again = rounded(paths(denoiser, 2) | {"1 steps": distance(denoiser, data, 1, 2)})
    return figures(denoiser, data) | line | {"again": again}


def exact(**_) -> dict:
    """The figures of the exact flow of independent pairs, and its loss, which no network of these pairs can go below."""
    found = {}
    for data, mixture in DATA.items():
        best = ExactDenoiser(mixture, FLOW)
        found[data] = figures(best, data) | {"loss": of_velocity(best, data, 1)["loss"]}
    return found


def floor(**_) -> dict:
    """The mean distance of three sets of 2,000 real points to the 4,000."""
    sets = lambda data: [DATA[data].sample(2000, seeded(910 + k))[0] for k in range(3)]
    each = {data: [metrics.sliced_wasserstein(x, real(data), 60) for x in sets(data)] for data in DATA}
    return rounded({data: sum(values) / 3 for data, values in each.items()})


def cost(**_) -> dict:
    pairs = {n: (DATA["ring"].sample(n, seeded(n))[0], randn(n, 2, rng=seeded(n + 1))) for n in (16, 64, 256, 1024)}
    pictures = digits.load()[0][:256]
    calls = {f"assignment of {n}": (lambda n=n: optimal_transport(*pairs[n], n)) for n in pairs}
    calls["assignment of 256 digits"] = lambda: optimal_transport(pictures, randn_like(pictures, seeded(5)), 256)
    for name, net, x in (
        ("step, 256 points", MLP(dim=2, width=48, depth=2), pairs[256][0]),
        ("step, 256 digits", UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=0), pictures),
    ):
        calls[name] = _step(Network(net, FLOW, "flow"), x)
    return rounded(min_milliseconds(calls, 5), 3)


def _step(denoiser, x):
    steps = train(lambda: flow_matching_loss(denoiser, x, randn_like(x)), denoiser.net, 1000)
    return lambda: next(steps)


def coupling_jobs(seeds):
    arms = [(data, coupling) for data in DATA for coupling in (*SIZES, "permuted")] + [("25 Gaussians", "nearest")]
    return [{"data": data, "coupling": coupling, "seed": seed} for data, coupling in arms for seed in seeds]


def table(found: dict) -> str:
    """Markdown: each arm, the means over its trainings."""
    names = ("line", "map", "bend", "1 steps", "2 steps", "4 steps", "64 steps", "needed", "loss", "velocity")
    lines = [f"| mixture | arm | trainings | {' | '.join(names)} |", f"|---|---|---|{'---|' * len(names)}"]
    rows = [(r["data"], str(r["coupling"]), r) for r in found.get("couplings", [])]
    rows += [(r["data"], r["kind"], r) for r in found.get("reflow", [])]
    for data, arm in dict.fromkeys(row[:2] for row in rows):
        of = [row[2] for row in rows if row[:2] == (data, arm)]
        cells = (f"{sum(r[name] for r in of) / len(of):.3f}" if name in of[0] else "" for name in names)
        lines.append(f"| {data} | {arm} | {len(of)} | {' | '.join(cells)} |")
    ms = found.get("milliseconds", {})
    return "\n".join([*lines, "", "Milliseconds: " + "; ".join(f"{name} {value:.2f}" for name, value in ms.items()) + "."])


PARTS = [
    Part("couplings", coupling_jobs, coupling_row, into="couplings",
         once={"the same, real against real": floor, "the exact flow of independent pairs": exact}),
    Part("reflow", lambda seeds: [{"data": "ring", "kind": kind, "seed": seed} for seed in seeds for kind in KINDS],
         reflow_row, into="reflow"),
    Part("cost", once={"milliseconds": cost}),
]  # fmt: skip
BENCH = Benchmark("flow_matching", PARTS, threads=1, table=table, indent=None)

if __name__ == "__main__":
    measure(__doc__, BENCH)
