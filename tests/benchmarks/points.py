"""The ring of eight Gaussians in a given time: the error of eps_theta, and the distance of its samples to the ring.

    python tests/benchmarks/points.py [--seconds 30] [--seeds 0 1 2]

In the same run: the exact denoiser, which is the optimum, and the loop of most tutorials (a plain network that is given t as a
number, Adam at a fixed rate, no average of weights).
"""

import argparse
import statistics

import torch
from timing import means, train_plainly
from torch import nn

from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.process import DDPM, seeded
from course_lib.schedules import linear_beta
from course_lib.training import denoising_loss, show_progress
from course_lib.zoo.recipes.points import ring_figures, ring_network, train_ring


class Plain(nn.Module):
    """Four linear layers of 128, which are given (x, t)."""

    def __init__(self):
        super().__init__()
        sizes = [3, 128, 128, 128, 2]
        layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x, time):
        return self.layers(torch.cat([x, time[:, None]], 1))


def train_plain(network: Network, seconds: float, seed: int):
    rng, data = seeded(seed), ring()
    optimizer = torch.optim.Adam(network.net.parameters(), lr=1e-3)
    return train_plainly(network.net, lambda: denoising_loss(network, data.sample(512, rng)[0], rng), optimizer, seconds)


class Exact(nn.Module):
    """The exact denoiser as a network, so that it is measured as one."""

    def __init__(self):
        super().__init__()
        self.exact, self.any = ExactDenoiser(ring(), DDPM(linear_beta(1000))), nn.Parameter(torch.zeros(()))

    def forward(self, x, time):
        return self.exact(x, (1000 * time).round().long()).eps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    process, found = DDPM(linear_beta(1000)), {}
    for seed in args.seeds:
        ours = ring_network(seed)
        end = show_progress(train_ring(ours, args.seconds, seed, steps=10**6), f"ours, seed {seed}")
        found.setdefault("ours", []).append({"steps": end.step, **ring_figures(ours)})
        torch.manual_seed(seed)
        plain = Network(Plain(), process, "eps")
        end = show_progress(train_plain(plain, args.seconds, seed), f"plain, seed {seed}")
        found.setdefault("plain", []).append({"steps": end.step, **ring_figures(plain)})
    found["exact"] = [{"steps": 0, **ring_figures(Network(Exact(), process, "eps"))}]
    print(f"\n{means(found, args.seconds, args.seeds)}")
    ratio = lambda run: run["sliced Wasserstein distance"] / run["the same, real against real"]
    print("| distance over its floor |", " | ".join(f"{statistics.mean(map(ratio, runs)):.3g}" for runs in found.values()), "|")


if __name__ == "__main__":
    main()
