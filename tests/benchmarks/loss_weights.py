"""The simple loss beside the weights of the bound, on the ring, at equal steps: samples and likelihood (lesson 02).

    python tests/benchmarks/loss_weights.py [--seeds 20 21 22 23 24 25 26 27]

Small networks, alike in all but the loss: `simple` (Ho et al. 2020, eq. 14); `bound` (eq. 12), with t drawn uniformly; and the
bound with t drawn in proportion to its weights, an unbiased estimate of the same loss. `simple, again` is the simple loss with
other seeds, the null model of the comparison. Each is trained without gradient clipping and with it, at norm 1: a clipped
gradient is biased where it is long, so only without clipping are `bound` and `bound, by t` two estimates of one gradient.
The steps were fixed by an earlier measurement with seeds 0 to 7, and the seeds here are new.
"""

import torch
from rows import Benchmark, Part, measure

from course_lib import metrics
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randn_like, seeded
from course_lib.samplers import ddpm, sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, denoising_loss, one_cycle

WAYS, STEPS = ("simple", "bound", "bound, by t", "simple, again"), 3000
DATA, PROCESS = ring(), DDPM(linear_beta(1000))
T = torch.arange(1, PROCESS.T + 1)
WEIGHTS = PROCESS.beta(T) / (2 * PROCESS.alpha(T) * (1 - PROCESS.alpha_bar(T)))  # w_t with sigma_t^2 = beta_t
BATCH, RATE = 512, 3e-3


def trained(way: str, clipped: bool, seed: int) -> tuple[Network, float]:
    """The averaged network, and the share of steps at which the gradient's norm was above 1."""
    torch.manual_seed(seed)
    net, rng = MLP(dim=2, width=32, depth=2), seeded(seed)
    learner, ema = Network(net, PROCESS), EMA(net, 0.995)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    relative, long = (WEIGHTS / WEIGHTS.mean()).float(), 0
    for step in range(STEPS):
        x0, _ = DATA.sample(BATCH, rng)
        if way == "bound":
            t, eps = PROCESS.sample_t(BATCH, rng), randn_like(x0, rng)
            error = learner(PROCESS.add_noise(x0, t, eps), t).eps - eps
            loss = (relative[t - 1] * error.square().mean(1)).mean()
        else:
            by_weight = 1 + torch.multinomial(WEIGHTS, BATCH, True, generator=rng) if way == "bound, by t" else None
            loss = denoising_loss(learner, x0, rng, by_weight)
        optimizer.param_groups[0]["lr"] = RATE * one_cycle(step / STEPS)
        optimizer.zero_grad()
        loss.backward()
        long += float(torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0 if clipped else float("inf"))) > 1
        optimizer.step()
        ema.update()
    return Network(ema.net, PROCESS), long / STEPS


@torch.no_grad()
def excess(network: Network, n: int) -> float:
    """By how much the network's bound on -log p(x_0) lies above the exact denoiser's, in nats per coordinate."""
    exact, rng, above = ExactDenoiser(DATA, PROCESS), seeded(100), 0.0
    for part in T.split(100):  # every t once, with n // 10 points each
        t = part.repeat_interleave(n // 10)
        x0, _ = DATA.sample(len(t), rng)
        x_t = PROCESS.add_noise(x0, t, randn_like(x0, rng))
        left = (network(x_t, t).eps - exact(x_t, t).eps).square().mean(1)
        above += float((WEIGHTS[t - 1] * left).sum()) / (n // 10)
    return above


def row(n: int, seed: int, way: str, clipped: bool) -> dict:
    network, long = trained(way.removesuffix(", again"), clipped, seed + 1000 * way.endswith("again"))
    rng = seeded(seed)
    made = sample(network, torch.randn(n, 2, generator=rng), 200, ddpm, batch=n, rng=rng)
    covered, outside = metrics.modes(made, DATA, within=3)
    figures = {"spots covered": covered, "outside the spots": outside, "nats above": excess(network, n)}
    return {"figures": figures | {"steps with a gradient above 1": long}}


def jobs(seeds):
    return [{"seed": seed, "way": way, "clipped": clipped} for seed in seeds for clipped in (False, True) for way in WAYS]


BENCH = Benchmark(
    "loss_weights",
    [Part(jobs=jobs, row=row)],
    amounts={"n": 2000},
    seeds=tuple(range(20, 28)),
    header={"steps": STEPS},
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
