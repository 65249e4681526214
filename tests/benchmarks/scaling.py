"""How the cost of the digits' U-Net grows: with the batch, the resolution, the weights, and the steps of a sampler.

    python tests/benchmarks/scaling.py [--repeats 5] [--out data/figures/scaling.json]

One of the four at a time, the others as the course has them (16 pictures of 16 x 16, widths 16, 32, 64, 25 steps of DDIM).
Milliseconds of processor time on one thread, the least of several, so that what else runs counts for little. The exponent is
the slope of log cost over log size between the two largest: 1 is in proportion. A picture goes to build/scaling.png.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rows import FIGURES, store

from course_lib import checkpoints, plots
from course_lib.denoisers import Network
from course_lib.nets.unet import UNet
from course_lib.process import DDPM
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import denoising_loss

BASE = {"batch": 16, "side": 16, "width": 16, "steps": 25}
SWEEPS = {"batch": (1, 4, 16, 64), "side": (8, 16, 32, 64), "width": (8, 16, 32, 64), "steps": (5, 10, 25, 50)}
SIZE = {"width": "parameters"}
"""What a sweep is told by, where that is not what is set."""


def least(run: Callable, repeats: int) -> float:
    """Milliseconds of processor time, the least of `repeats`, after one that does not count."""
    run()
    found = []
    for _ in range(repeats):
        begun = time.process_time()
        run()
        found.append(time.process_time() - begun)
    return 1000 * min(found)


def measured(what: str, repeats: int, batch: int, side: int, width: int, steps: int) -> dict[str, float]:
    """The parameters, and what a step of training and an evaluation cost in ms; over the steps, what a sampling does."""
    torch.manual_seed(0)
    net = UNet(side, widths=(width, 2 * width, 4 * width)).to(memory_format=torch.channels_last)
    network = Network(net, DDPM(cosine_beta(1000)), "v").given(torch.arange(batch) % 10)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    x, rng = torch.randn(batch, 1, side, side), torch.Generator().manual_seed(0)

    def training():
        optimizer.zero_grad()
        denoising_loss(network, x, rng).backward()
        optimizer.step()

    @torch.no_grad()
    def evaluation():
        network(x, 500)

    def sampling():
        result(ddim(network, x, network.process.times(steps)))

    costs = (sampling,) if what == "steps" else (training, evaluation)
    found = {f"{cost.__name__}, ms": float(f"{least(cost, repeats):.4g}") for cost in costs}
    return {"parameters": sum(p.numel() for p in net.parameters())} | found


def exponents(rows: list[dict], size: str) -> dict[str, float]:
    """The slope of each cost over `size`, in logarithms, between the two largest."""
    small, large = sorted(rows, key=lambda row: row[size])[-2:]
    grown = math.log(large[size] / small[size])
    return {cost: round(math.log(large[cost] / small[cost]) / grown, 2) for cost in large if cost.endswith("ms")}


def table(found: dict) -> str:
    """Markdown: for each sweep its sizes, and a row for each cost, with the exponent."""
    lines = ["| over | sizes | what | ms | exponent |", "|---|---|---|---|---|"]
    for what, sweep in found["sweeps"].items():
        size = SIZE.get(what, what)
        sizes = ", ".join(f"{row[size]:,}" for row in sweep["rows"])
        for cost, exponent in sweep["exponents"].items():
            spent = ", ".join(f"{row[cost]:.3g}" for row in sweep["rows"])
            lines.append(f"| {size} | {sizes} | {cost.removesuffix(', ms')} | {spent} | {exponent} |")
    return "\n".join(lines)


def picture(found: dict) -> bytes:
    """Cost over each size, both in logarithms."""
    plots.style()
    fig, axes = plots.plt.subplots(1, len(SWEEPS), figsize=(12, 3.6), sharey=True)
    for ax, (what, sweep) in zip(axes, found["sweeps"].items()):
        size = SIZE.get(what, what)
        for cost, marker in zip(sweep["exponents"], "os"):
            ax.loglog([row[size] for row in sweep["rows"]], [row[cost] for row in sweep["rows"]], marker + "-", label=cost)
        ax.set(xlabel=size, title=f"over {size}")
        ax.legend(fontsize=11)
    axes[0].set_ylabel("milliseconds")
    return plots.png(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=FIGURES / "scaling.json")
    parser.add_argument("--store", action="store_true", help="put the table into tests/benchmarks/README.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        "command": f"python tests/benchmarks/scaling.py --repeats {args.repeats}",
        "threads": 1,
        "torch": torch.__version__.split("+")[0],
    }
    found |= {"base": BASE, "sweeps": {}}
    for what, sizes in SWEEPS.items():
        rows = [{what: size} | measured(what, args.repeats, **BASE | {what: size}) for size in sizes]
        found["sweeps"][what] = {"rows": rows, "exponents": exponents(rows, SIZE.get(what, what))}
    checkpoints.write_atomically(args.out, (json.dumps(found, indent=1) + "\n").encode())
    checkpoints.write_atomically(FIGURES.parents[1] / "build/scaling.png", picture(found))
    print(table(found))
    if args.store:
        store("scaling", table(found))


if __name__ == "__main__":
    main()
