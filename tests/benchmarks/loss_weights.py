"""The simple loss beside the weights of the bound, on the ring, at equal steps: samples and likelihood (lesson 02).

    python tests/benchmarks/loss_weights.py [--seeds 0 1 2 3 4 5 6 7]

Small networks, alike in all but the loss: `simple` (Ho et al. 2020, eq. 14); `bound` (eq. 12), with t drawn uniformly; and the
bound with t drawn in proportion to its weights (Nichol and Dhariwal 2021, section 3.3), which has the same expectation and less
variance. `simple, again` is the simple loss with other seeds, the null model of the comparison.
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
from course_lib.training import EMA, denoising_loss, train

WAYS, STEPS = ("simple", "bound", "bound, by t", "simple, again"), (600, 3000)
DATA, PROCESS = ring(), DDPM(linear_beta(1000))
T = torch.arange(1, PROCESS.T + 1)
WEIGHTS = PROCESS.beta(T) / (2 * PROCESS.alpha(T) * (1 - PROCESS.alpha_bar(T)))  # w_t with sigma_t^2 = beta_t
BATCH = 512


def trained(way: str, steps: int, seed: int) -> Network:
    torch.manual_seed(seed)
    net, rng = MLP(dim=2, width=32, depth=2), seeded(seed)
    learner, ema = Network(net, PROCESS), EMA(net, 0.995)
    relative = (WEIGHTS / WEIGHTS.mean()).float()

    def loss():
        x0, _ = DATA.sample(BATCH, rng)
        if way != "bound":
            by_weight = 1 + torch.multinomial(WEIGHTS, BATCH, True, generator=rng) if way == "bound, by t" else None
            return denoising_loss(learner, x0, rng, by_weight)
        t, eps = PROCESS.sample_t(BATCH, rng), randn_like(x0, rng)
        error = learner(PROCESS.add_noise(x0, t, eps), t).eps - eps
        return (relative[t - 1] * error.square().mean(1)).mean()

    for _ in train(loss, net, steps=steps, lr=3e-3, ema=ema):
        pass
    return Network(ema.net, PROCESS)


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


def row(n: int, seed: int, way: str, steps: int) -> dict:
    network = trained(way.removesuffix(", again"), steps, seed + 1000 * way.endswith("again"))
    rng = seeded(seed)
    made = sample(network, torch.randn(n, 2, generator=rng), 200, ddpm, batch=n, rng=rng)
    covered, outside = metrics.modes(made, DATA, within=3)
    return {"figures": {"spots covered": covered, "outside the spots": outside, "nats above": excess(network, n)}}


def jobs(seeds):
    return [{"seed": seed, "way": way, "steps": steps} for steps in STEPS for seed in seeds for way in WAYS]


BENCH = Benchmark("loss_weights", [Part(jobs=jobs, row=row)], amounts={"n": 2000}, seeds=tuple(range(8)), threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
