"""Other choices for the digits in a minute: one change at a time to the recipe, at equal training time, in one run.

    python tests/benchmarks/digits_search.py [--seconds 60] [--only NAME ...]

HISTORY.md has its table.
"""

import argparse
import contextlib
from unittest import mock

import torch

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randn_like, seeded
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.training import EMA, denoising_loss, show_progress, train
from course_lib.zoo.recipes.digits import digits_figures

ADAMW = torch.optim.AdamW
RECIPE = {
    "net": {"widths": (16, 32, 64), "depth": 1},
    "process": lambda: DDPM(cosine_beta(1000)),
    "view": "v",
    "weighting": "simple",
    "batch": 64,
    "lr": 3e-3,
    "optimiser": ADAMW,  # with beta_2 = 0.99
    "ema": 0.995,
    "dropped": 0.1,
    "memory": torch.channels_last,
    "bfloat16": False,
}
CHANGES = {
    "the recipe": {},
    "the recipe, another seed": {"seed": 1},
    "widths 24, 48, 96": {"net": {"widths": (24, 48, 96), "depth": 1}},
    "widths 16, 32, 96": {"net": {"widths": (16, 32, 96), "depth": 1}},
    "two blocks at each width": {"net": {"widths": (16, 32, 64), "depth": 2}},
    "no attention": {"net": {"widths": (16, 32, 64), "depth": 1, "attn": 0}},
    "patches of 2 x 2, widths 64, 128": {"net": {"widths": (64, 128), "depth": 1, "patch": 2}},
    "view eps": {"view": "eps"},
    "view x0": {"view": "x0"},
    "linear schedule": {"process": lambda: DDPM(linear_beta(1000))},
    "min-SNR weights (Hang et al. 2023)": {"weighting": "min-SNR"},
    "stratified times": {"weighting": "stratified"},
    "batch 32, lr 2e-3": {"batch": 32, "lr": 2e-3},
    "batch 128": {"batch": 128},
    "lr 1e-3": {"lr": 1e-3},
    "lr 5e-3": {"lr": 5e-3},
    "Adam's beta_2 = 0.999": {"optimiser": lambda p, lr, **_: ADAMW(p, lr, betas=(0.9, 0.999), fused=True)},
    "RAdam": {"optimiser": lambda p, lr, betas, **_: torch.optim.RAdam(p, lr, betas=betas)},
    "no average of weights": {"ema": 0.0},
    "EMA 0.999": {"ema": 0.999},
    "label dropped 1 in 20": {"dropped": 0.05},
    "channels first": {"memory": torch.contiguous_format},
    "bfloat16": {"bfloat16": True},
}


def loss_of(network: Network, x0: torch.Tensor, weighting: str, rng: torch.Generator) -> torch.Tensor:
    if weighting == "simple":
        return denoising_loss(network, x0, rng)
    process, n = network.process, len(x0)
    t, eps = process.sample_t(n, rng), randn_like(x0, rng)
    if weighting == "stratified":
        t = ((torch.arange(n) + torch.rand(n, generator=rng)) / n * process.T).long() + 1
    error = (network(process.add_noise(x0, t, eps), t).value - network.target(x0, t, eps)).square().mean((1, 2, 3))
    if weighting == "min-SNR":
        snr = (process.signal(t) / process.noise(t)).square().float()
        error = error * snr.clamp(max=5) / (snr + 1)
    return error.mean()


def figures_of(name: str, seconds: float) -> dict[str, float]:
    """The figures of the recipe with that change, trained for `seconds`."""
    way = RECIPE | CHANGES[name]
    seed = way.get("seed", 0)
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, classes=10, **way["net"]).to(memory_format=way["memory"])
    network = Network(net, way["process"](), way["view"])
    (x, label), rng, ema = digits.load("train"), seeded(seed), EMA(net, way["ema"])

    def loss() -> torch.Tensor:
        i = torch.randint(len(x), (way["batch"],), generator=rng)
        low = torch.autocast("cpu", torch.bfloat16) if way["bfloat16"] else contextlib.nullcontext()
        with low:
            return loss_of(network.given(label[i]).drop_condition(way["dropped"], rng), x[i], way["weighting"], rng)

    with mock.patch.object(torch.optim, "AdamW", way["optimiser"]):
        end = show_progress(train(loss, net, 10**6, lr=way["lr"], seconds=seconds, ema=ema), name)
    return {"steps": end.step, **digits_figures(Network(ema.net, network.process, network.view))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="NAME")
    args = parser.parse_args()
    lines = []
    for name in args.only:
        found = figures_of(name, args.seconds)
        del found["the same, real against real"]
        lines = lines or [f"| one change | {' | '.join(found)} |", "|---" * (1 + len(found)) + "|"]
        lines.append(f"| {name} | " + " | ".join(f"{value:,.4g}" for value in found.values()) + " |")
        print(lines[-1], flush=True)
    print(f"\n{args.seconds:g} s, {torch.get_num_threads()} threads, torch {torch.__version__}\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
