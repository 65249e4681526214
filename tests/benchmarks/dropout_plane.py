"""The error of guided samples in the plane over w, for three rates of label dropout.

    python tests/benchmarks/dropout_plane.py [--seeds 0 1 2 3 4 5 6 7]

The three classes of lesson 08, where the exact scores are known, and its network, with v-prediction: an error of eps would be
divided by a(t), which is nearly 0 at the first step. The rates are those of Ho and Salimans 2022, section 4.2. From the same
noise, 25 steps of DDIM with the learned scores and with the exact ones end at two points. The figure is the mean distance
between them, over 1,000 noises for each class. A seed fixes the first weights, the batches and the noise, so that the rates
are compared in pairs. Five trainings a rate; 0.1 has three more: beside its first five they are the null model, a difference
of seeds alone. It takes about two minutes of one core.
"""

from functools import cache

import torch
from rows import Benchmark, Part, measure
from scores import rounded

from course_lib.datasets.points import triangle
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, denoising_loss, train

STEPS, BATCH = 400, 256
RATES, WS = (0.1, 0.2, 0.5), (1, 1.5, 2, 3, 5)
DATA, PROCESS = triangle(), DDPM(cosine_beta(1000))


@cache
def trained(rate: float, seed: int) -> Network:
    """A network of points, trained with that share of labels dropped."""
    torch.manual_seed(seed)
    network, rng = Network(MLP(dim=2, width=64, depth=3, classes=3), PROCESS, "v"), seeded(seed)
    average = EMA(network.net, 0.99)

    def loss():
        x0, label = DATA.sample(BATCH, rng)
        return denoising_loss(network.given(label).drop_condition(rate, rng), x0, rng)

    for _ in train(loss, network.net, STEPS, lr=3e-3, ema=average):
        pass
    return Network(average.net, PROCESS, "v")


@cache
def ends(seed: int, w: float, rate: float | None = None) -> torch.Tensor:
    """Where samples end (3, 1000, 2), for each class; with the exact scores, or those of the network of that rate."""
    denoiser = ExactDenoiser(DATA, PROCESS) if rate is None else trained(rate, seed)
    noise = torch.randn(1000, 2, generator=seeded(100 + seed))
    guided = [ClassifierFree(denoiser.given(c), denoiser.given(NULL), w) for c in range(3)]
    return torch.stack([result(ddim(one, noise, PROCESS.times(25))) for one in guided])


def error(rate: float, seed: int, w: float) -> dict:
    """The mean distance between the ends of learned and exact scores."""
    return {"figures": rounded({"error": (ends(seed, w, rate) - ends(seed, w)).norm(dim=-1).mean()})}


def jobs(seeds):
    return [
        {"rate": rate, "seed": seed, "w": w} for seed in seeds for rate in RATES if seed < 5 or rate == RATES[0] for w in WS
    ]


BENCH = Benchmark("dropout_plane", [Part(jobs=jobs, row=error)], seeds=range(8), header={"training steps": STEPS})

if __name__ == "__main__":
    measure(__doc__, BENCH)
