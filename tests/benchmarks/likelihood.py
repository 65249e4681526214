"""What lesson 21 measures of log p: bits per dimension of digits under the shipped network, by the probability-flow ODE.

    python tests/benchmarks/likelihood.py

About six minutes on one core. The network is one training. Digits are rounded to 256 levels, and get uniform noise of one
level's width (seed 0). The ODE runs from x_1, as the network was never trained at t = 0, up to x_T, by Heun's method with
times in equal ratios and one Rademacher probe (seed 1). The 20 digits that served for trials are not among those measured.

- `bits`: of the last 200 held-out digits, each with its class; of the last 200 training digits; of the same held-out digits
  with the pixels in another order; and of the held-out digits under the untrained network. 50 steps.
- `classes`: of the same 200 digits with each of the ten classes, with one noise and one probe for all classes, and of those
  with the pixels in another order. 25 steps.
- `baselines`: of the held-out digits under one Gaussian with the mean and covariance of the 4,000 training digits, and under
  independent pixels, each with its own histogram over these (0.1 is added to each count), both with the noise of t = 1; and
  under the same histograms without noise, where the levels themselves have probabilities.
- `steps`: mean bits of the first 50 of these over the number of steps.
- `probes`: bits of the first 20 of these with eight other probes, 25 steps.

Fixed before the run: the network needs fewer bits than independent pixels with the noise of t = 1, in the mean of the paired
differences over digits; and the digit's own class has the fewest bits of the ten for a share of the 200 that is above 0.9.
Both conditions must fail for the digits with the pixels in another order.
"""

import math
from dataclasses import replace
from functools import cache

import torch
from rows import Benchmark, Part, measure
from torch import Tensor

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.methods.sde import Continuous, bits_per_dimension, dequantize, log_likelihood
from course_lib.process import seeded
from course_lib.zoo import models

WIDTH = 2 / 255  # the distance between two of 256 levels
OTHER = "held out, other order"


@cache
def network(trained: bool = True) -> Network:
    """The digits' network, or the one before its training, over the chain at all real times."""
    found = models.load("digits", device="cpu") if trained else models.build("digits")
    return replace(found, process=Continuous(found.process))


def pictures(of: str, n: int) -> tuple[Tensor, Tensor]:
    """The last n digits of a split, dequantised, and their classes."""
    x, label = digits.load("train" if of == "training" else "held_out")
    x = dequantize(((x[-n:] + 1) / WIDTH).round() * WIDTH - 1, WIDTH, seeded(0))
    if of == OTHER:
        x = x.flatten(1)[:, torch.randperm(256, generator=seeded(2))].view_as(x)
    return x, label[-n:]


def bits(x: Tensor, label: Tensor, steps: int, probe: int = 1, trained: bool = True) -> list[float]:
    """The bits per dimension of each picture, given its label."""
    times = torch.logspace(math.log10(1000), 0, steps + 1, dtype=torch.float64)
    times[0] = 1000
    log_p, _ = log_likelihood(network(trained).given(label), x, times, 1, seeded(probe))
    return [round(v, 5) for v in bits_per_dimension(log_p, 256, WIDTH).tolist()]


def of_split(n: int, of: str) -> dict:
    return {"bits": bits(*pictures("held out" if of == "untrained" else of, n), 50, trained=of != "untrained")}


def of_class(n: int, of: str, label: int) -> dict:
    x, _ = pictures(of, n)
    return {"bits": bits(x, torch.full((n,), label), 25)}


def baseline(n: int, of: str) -> dict:
    """The bits of the held-out digits under a model that is no network."""
    level = lambda x: ((x + 1) / WIDTH).round().flatten(1).long()
    train, x = digits.load("train")[0], pictures("held out", n)[0].flatten(1).double()
    noise = float(network().process.noise(1))
    counts = torch.stack([torch.bincount(pixel, minlength=256) for pixel in level(train).T]).double() + 0.1
    log_share = (counts / counts.sum(1, keepdim=True)).log()  # (256 pixels, 256 levels)
    if of == "histograms":
        log_p = log_share[torch.arange(256), level(digits.load("held_out")[0][-n:])].sum(1) - 256 * math.log(WIDTH)
    elif of == "independent pixels":
        at = torch.arange(256) * WIDTH - 1
        each = [(log_share - ((picture[:, None] - at) / noise) ** 2 / 2).logsumexp(1).sum() for picture in x]
        log_p = torch.stack(each) - 256 * math.log(noise * math.sqrt(2 * math.pi))
    else:
        real = level(train).double() * WIDTH - 1
        covariance = torch.cov(real.T) + noise**2 * torch.eye(256, dtype=torch.float64)
        log_p = torch.distributions.MultivariateNormal(real.mean(0), covariance).log_prob(x)
    return {"bits": [round(v, 5) for v in bits_per_dimension(log_p, 256, WIDTH).tolist()]}


def over_steps(n: int, steps: int) -> dict:
    x, label = pictures("held out", n)
    return {"mean": sum(bits(x[:50], label[:50], steps)) / 50}


def over_probes(n: int, probe: int) -> dict:
    x, label = pictures("held out", n)
    return {"bits": bits(x[:20], label[:20], 25, probe)}


def table(found: dict) -> str:
    mean = lambda row: sum(row["bits"]) / len(row["bits"])
    lines = ["| digits | bits per dimension |", "|---|---|"]
    lines += [f"| {row['of']} | {mean(row):.3f} |" for row in found["splits"]]
    lines += [f"| held out, {row['of']} | {mean(row):.3f} |" for row in found["baselines"]]
    lines += [f"| held out, the first 50, {row['steps']} steps | {row['mean']:.3f} |" for row in found["steps"]]
    return "\n".join(lines)


BENCH = Benchmark(
    "likelihood",
    [
        Part("bits", lambda _: [{"of": of} for of in ("held out", "training", OTHER, "untrained")], of_split, "splits"),
        Part(
            "classes", lambda _: [{"of": of, "label": c} for of in ("held out", OTHER) for c in range(10)], of_class, "classes"
        ),
        Part(
            "baselines",
            lambda _: [{"of": of} for of in ("one Gaussian", "independent pixels", "histograms")],
            baseline,
            "baselines",
        ),
        Part("steps", lambda _: [{"steps": k} for k in (10, 25, 50, 100, 200)], over_steps, "steps"),
        Part("probes", lambda _: [{"probe": k} for k in range(10, 18)], over_probes, "probes"),
    ],
    amounts={"n": 200},
    seeds=(),
    table=table,
    threads=1,
    indent=None,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
