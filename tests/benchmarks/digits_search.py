"""What each part of the digits' recipe is worth in a minute: one difference at a time, at equal processor time.

    python tests/benchmarks/digits_search.py [cost | minute]

`cost` measures the processor time of a step of each way of training, on one thread, in turns: the minimum of many. `minute`
trains each from nothing for as many steps as cost 60 s by it, so that other work of the machine, and a machine that is now
faster and now slower, change nothing. 1,000 plain and 1,000 guided samples of 25 steps are judged by the shipped classifier.
"The recipe before" had uniform times and AdamW alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import mean, stdev

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores, parameters, rounded
from timing import min_milliseconds
from torch import Tensor, nn

from course_lib import metrics, samplers
from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, Process, RectifiedFlow, randint, randn, randn_like, seeded
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, TrainingState, denoising_loss, min_snr_times, train
from course_lib.zoo import models


@dataclass(frozen=True)
class Way:
    """All that decides a training; the defaults are the recipe's (course_lib/zoo/recipes/digits.py)."""

    steps: int = 798
    net: Callable[[], nn.Module] = UNet
    process: Process = field(default_factory=lambda: DDPM(cosine_beta(1000)))
    view: str = "v"
    loss: Callable[[Network, Tensor, torch.Generator], Tensor] = lambda network, x0, rng: denoising_loss(
        network, x0, rng, min_snr_times(network.process, len(x0), rng)
    )
    muon: float = 0.02
    lr: float = 3e-3
    ema: float = 0.995
    sampler: Callable = samplers.ddim


class Hinted(nn.Module):
    """A U-Net that is told what the exact denoiser of a rough Gaussian mixture believes, and learns what that one lacks.

    The mixture has `k` centres a class, found by k-means, and one covariance: that of the digits around their centres. Its
    E[x_0 | x_t, class], times b^4, is a second channel of the input; b^4 (a x_t - that) / b is added to the output, v.
    """

    def __init__(self, k: int = 16):
        super().__init__()
        self.unet, self.process = UNet(), DDPM(cosine_beta(1000))
        self.unet.shape, self.unet.inward = (2, 16, 16), nn.Conv2d(2, 16, 3, padding=1)
        self.shape, self.as_condition = (1, 16, 16), self.unet.as_condition
        x, label = digits.load("train")
        centres, rest = zip(*(k_means(x[label == c].flatten(1), k) for c in range(10)))
        around = torch.cat(rest)
        values, vectors = torch.linalg.eigh(around.T @ around / len(around))
        self.register_buffer("values", values.clamp(min=1e-5))
        self.register_buffer("vectors", vectors)
        self.register_buffer("centres", torch.cat(centres) @ vectors)
        self.register_buffer("classes", torch.arange(10).repeat_interleave(k))

    def mean(self, x_t: Tensor, a: Tensor, b: Tensor, cond: Tensor) -> Tensor:
        """E[x_0 | x_t, class] under the mixture, of equal weights, in the axes of its covariance; a and b are (B, 1)."""
        y, variance = x_t.flatten(1) @ self.vectors, a**2 * self.values + b**2
        log_p = a * (y / variance) @ self.centres.T - a**2 / 2 * (1 / variance) @ self.centres.square().T
        other = (cond < 10)[:, None] & (cond[:, None] != self.classes)
        centre = log_p.masked_fill(other, -torch.inf).softmax(1) @ self.centres
        return ((centre + a * self.values / variance * (y - a * centre)) @ self.vectors.T).view_as(x_t)

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        t = (time * 1000).round().long()
        a, b = (v.to(x.dtype)[:, None] for v in (self.process.signal(t), self.process.noise(t)))
        hint, gate = self.mean(x, a, b, cond), (b**4)[:, :, None, None]
        known = (a[:, :, None, None] * x - hint) / b.clamp(min=0.02)[:, :, None, None]
        return self.unet(torch.cat([x, gate * hint], 1), time, cond) + gate * known


def k_means(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """k centres (k, D) of x (N, D), and x less the nearest centre (N, D): twenty rounds of Lloyd's algorithm."""
    centres = x[torch.randperm(len(x), generator=seeded(0))[:k]]
    for _ in range(20):
        nearest = torch.cdist(x, centres).argmin(1)
        centres = torch.stack([x[nearest == i].mean(0) if (nearest == i).any() else centres[i] for i in range(k)])
    return centres, x - centres[torch.cdist(x, centres).argmin(1)]


def weighted(network: Network, x0: Tensor, rng: torch.Generator) -> Tensor:
    """The loss of uniform times with min-SNR weights, as Hang et al. 2023 have it."""
    t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
    snr = (network.process.signal(t) / network.process.noise(t)).square().float()
    error = network(network.process.add_noise(x0, t, eps), t).value - network.target(x0, t, eps)
    return (error.square().mean((1, 2, 3)) * snr.clamp(max=5) / (snr + 1)).mean()


FLOW = {
    "steps": 809,
    "process": RectifiedFlow((0.0, 1.0)),
    "view": "flow",
    "loss": denoising_loss,
    "sampler": samplers.rectified_flow,
}
CHANGES = {
    "the recipe": {},
    "uniform times": {"steps": 803, "loss": denoising_loss},
    "uniform times, weighted": {"steps": 798, "loss": weighted},
    "AdamW alone": {"steps": 880, "muon": 0.0},
    "the recipe before": {"steps": 878, "loss": denoising_loss, "muon": 0.0},
    "a flow": FLOW,
    "no attention": {"steps": 906, "net": partial(UNet, attn=0)},
    "a hint": {"steps": 795, "net": Hinted},
}
"""Each with the steps that cost as much as the recipe's, by `cost`."""


@torch.no_grad()
def figures_of(network: Network, sampler: Callable, n: int = 1000) -> dict[str, float]:
    """`digits_figures`, and how near the samples are to the training digits: their mean distance over held-out digits'."""
    label, noise = torch.arange(n) % 10, randn(n, 1, 16, 16, rng=seeded(1))
    plain, guided = (samplers.sample(classifier_free(network, label, w), noise, 25, sampler, batch=n) for w in (1.0, 2.0))
    known, held_out = digits.load("train")[0].flatten(1), digits.load("held_out")[0].flatten(1)
    nearest = [torch.cdist(x.flatten(1), known).min(1).values.mean() for x in (plain, held_out)]
    figures = digit_scores(plain, label) | {"nearest": nearest[0] / nearest[1]}
    return rounded(figures | {"guided accuracy": metrics.accuracy(models.load("classifier")(guided), label)})


def training_of(name: str, seed: int = 0) -> tuple[Network, Iterator[TrainingState]]:
    """The averaged network of a way, and its training."""
    way = Way(**CHANGES[name])
    torch.manual_seed(seed)
    network = Network(way.net().to(memory_format=torch.channels_last), way.process, way.view)
    (x, label), rng, ema = digits.load("train"), seeded(seed), EMA(network.net, way.ema)

    def loss() -> Tensor:
        i = randint(0, len(x), 64, rng=rng)
        return way.loss(network.given(label[i]).drop_condition(0.1, rng), x[i], rng)

    training = train(loss, network.net, way.steps, lr=way.lr, ema=ema, muon=way.muon)
    return replace(network, net=ema.net), training


def costs(**_) -> dict[str, float]:
    """The milliseconds of a step of each way."""
    steps = {name: partial(next, training_of(name)[1]) for name in CHANGES}
    return {name: round(ms, 1) for name, ms in min_milliseconds(steps, repeats=60).items()}


def row(name: str, seed: int) -> dict:
    """The figures of one training."""
    way, (network, steps) = Way(**CHANGES[name]), training_of(name, seed)
    *_, end = steps
    return {"steps": end.step, "parameters": parameters(network.net)} | figures_of(network, way.sampler)


def table(found: dict) -> str:
    """Markdown: a row a way, each figure the mean over its seeds with the standard error of that mean."""
    keys = ["steps", "Frechet distance", "class accuracy", "guided accuracy", "precision", "recall", "nearest"]
    lines = ["| one difference | " + " | ".join(keys) + " |", "|---" * (1 + len(keys)) + "|"]
    for name in CHANGES:
        runs = [run for run in found.get("runs", []) if run["name"] == name]
        if len(runs) > 1:
            of = {key: [run[key] for run in runs] for key in keys}
            cells = [f"{mean(v):,.0f}" if key == "steps" else _cell(v) for key, v in of.items()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values) / len(values) ** 0.5:.3f}"


BENCH = Benchmark(
    "digits_search",
    [
        Part("cost", once={"milliseconds a step": costs}),
        Part("minute", lambda seeds: [{"name": name, "seed": seed} for seed in seeds for name in CHANGES], row),
    ],
    seeds=(3, 4, 5),  # not 0, 1 and 2, on which the rates and steps of Muon were chosen
    table=table,
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
