"""How the cost of the digits' U-Net grows: with the batch, the resolution, the weights, and the steps of a sampler.

    python tests/benchmarks/scaling.py [--repeats 5] [--store]

One of the four at a time, the others as the course has them (16 pictures of 16 x 16, widths 16, 32, 64, 25 steps of DDIM).
Milliseconds of processor time on one thread, the least of several, so that what else runs counts for little. The exponent is
the slope of log cost over log size between the two largest: 1 is in proportion. A picture goes to build/scaling.png.
"""

import math

import torch
from rows import BUILD, Benchmark, Part, load, measure
from scores import parameters
from timing import min_milliseconds

from course_lib import plots
from course_lib.denoisers import Network
from course_lib.files import write_atomically
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import denoising_loss

BASE = {"batch": 16, "side": 16, "width": 16, "steps": 25}
SWEEPS = {"batch": (1, 4, 16, 64), "side": (8, 16, 32, 64), "width": (8, 16, 32, 64), "steps": (5, 10, 25, 50)}
SIZE = {"width": "parameters"}
"""The size that a sweep is plotted over, where that is not what is set."""


def measured(what: str, repeats: int, batch: int, side: int, width: int, steps: int) -> dict[str, float]:
    """The parameters, and what a step of training and an evaluation cost in ms; over the steps, what sampling costs."""
    torch.manual_seed(0)
    net = UNet(side, widths=(width, 2 * width, 4 * width)).to(memory_format=torch.channels_last)
    network = Network(net, DDPM(cosine_beta(1000)), "v").given(torch.arange(batch) % 10)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    x, rng = torch.randn(batch, 1, side, side), seeded(0)

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
    for cost in costs:
        cost()  # once, to warm up
    spent = min_milliseconds({cost.__name__: cost for cost in costs}, repeats)
    return {"parameters": parameters(net)} | {f"{name}, ms": float(f"{ms:.4g}") for name, ms in spent.items()}


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


def row(repeats: int, what: str) -> dict:
    """The costs over one size, and their exponents."""
    rows = [{what: size} | measured(what, repeats, **BASE | {what: size}) for size in SWEEPS[what]]
    return {"rows": rows, "exponents": exponents(rows, SIZE.get(what, what))}


PART = Part(jobs=lambda seeds: [{"what": what} for what in SWEEPS], row=row, into="sweeps", by="what")
BENCH = Benchmark("scaling", [PART], amounts={"repeats": 5}, seeds=(), header={"base": BASE}, table=table, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
    write_atomically(BUILD / "scaling.png", picture(load("scaling")))
