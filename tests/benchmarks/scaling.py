"""How the cost of a network grows: with batch, resolution, weights, steps, classes, the length of captions, and processes.

    python tests/benchmarks/scaling.py [--repeats 5] [--store]

- `sweeps`: one size at a time, the others as the course has them: the digits' U-Net for 16 pictures of 16 x 16, widths 16, 32,
  64, 10 classes, 25 steps of DDIM; over tokens, text2shape's network for 16 pictures. Milliseconds of processor time on one
  thread, the least of several, so that what else runs counts for little. The exponent is the slope of log cost over log size
  between the two largest: 1 is in proportion. Batch, side, width and steps were measured in another run than the rest.
- `processes`: a step of `train_digits`, a batch of 64 shared by `course_lib/parallel.py` over gloo on this machine's cores. The
  least processor milliseconds of a process; bytes reduced (the gradients), gathered (the outputs); messages. Wall-clock times
  were left out after the run: the machine did so much other work that they were 14 times the processor's.
- `on paper`: gradients averaged by a ring of up to 64 GPUs. In a ring of p each process sends 2 (p - 1) times 1 / p of the
  gradients, all in one piece or, as parallel.py does it, tensor by tensor. The arithmetic is done here, of assumed numbers, not
  of measured ones: bandwidth, latency of a message, operations a second that a GPU reaches. Communication and computation do
  not overlap. The break-even batch is the number of pictures a GPU for which both take as long, with gradients in one piece.

A picture of the sweeps goes to build/scaling.png.
"""

import json
import math
import os
import socket
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from peak import conditions
from rows import BUILD, Benchmark, Part, load, measure
from scores import parameters
from timing import min_milliseconds
from torch import Tensor, distributed, multiprocessing, nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib import parallel, plots
from course_lib.denoisers import Network
from course_lib.files import write_atomically
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import denoising_loss
from course_lib.zoo.recipes.digits import digits_network, train_digits
from course_lib.zoo.recipes.shapes import text2shape_network

BASE = {"batch": 16, "side": 16, "width": 16, "steps": 25, "classes": 10}
SWEEPS = {
    "batch": (1, 4, 16, 64),
    "side": (8, 16, 32, 64),
    "width": (8, 16, 32, 64),
    "steps": (5, 10, 25, 50),
    "classes": (10, 100, 1000),
    "tokens": (10, 20, 40, 80),
}
SIZE = {"width": "parameters"}
"""The size that a sweep is plotted over, where that is not what is set."""


BANDWIDTH, LATENCY, RATE = 50e9, 5e-6, 100e12
"""Assumed of each GPU: bytes a second that it sends, seconds that a message takes besides, operations a second reached."""
ON_PAPER = {"16 x 16, width 16": (16, 1, 16), "16 x 16, width 64": (16, 1, 64), "64 x 64, width 320": (64, 4, 320)}
"""Unconditional U-Nets: side, channels and first width."""
GPUS = (2, 8, 64)


def measured(what: str, repeats: int, batch: int, side: int, width: int, steps: int, classes: int) -> dict[str, float]:
    """The parameters, and what a step of training and an evaluation cost in ms; over the steps, what sampling costs."""
    torch.manual_seed(0)
    net = UNet(side, widths=(width, 2 * width, 4 * width), classes=classes).to(memory_format=torch.channels_last)
    network = Network(net, DDPM(cosine_beta(1000)), "v").given(torch.arange(batch) % classes)
    x = torch.randn(batch, 1, side, side)
    if what != "steps":
        return costs(network, x, repeats)
    return milliseconds(net, {"sampling": lambda: result(ddim(network, x, network.process.times(steps)))}, repeats)


def of_captions(tokens: int, repeats: int) -> dict[str, float]:
    """The same for text2shape's network, with captions cut off or repeated to so many tokens."""
    network = text2shape_network()
    text = network.net.text
    text.position = nn.Parameter(0.1 * torch.randn(tokens, text.width))
    rows = conditions("text2shape", BASE["batch"])
    cond = rows[:, torch.arange(tokens) % rows.shape[1]]
    return costs(replace(network, cond=cond), torch.randn(BASE["batch"], *network.net.shape), repeats)


def costs(network: Network, x: Tensor, repeats: int) -> dict[str, float]:
    """The parameters, and what a step of training and an evaluation cost in ms."""
    optimizer, rng = torch.optim.AdamW(network.net.parameters(), fused=True), seeded(0)

    def training() -> None:
        optimizer.zero_grad()
        denoising_loss(network, x, rng).backward()
        optimizer.step()

    @torch.no_grad()
    def evaluation() -> None:
        network(x, 500)

    return milliseconds(network.net, {"training": training, "evaluation": evaluation}, repeats)


def milliseconds(net: nn.Module, runs: dict, repeats: int) -> dict[str, float]:
    """The parameters of a net, and the least ms of each run."""
    for run in runs.values():
        run()  # once, to warm up
    spent = min_milliseconds(runs, repeats)
    return {"parameters": parameters(net)} | {f"{name}, ms": rounded(ms) for name, ms in spent.items()}


def shared(repeats: int, processes: int) -> dict[str, float]:
    """What a step of training costs one of several processes, and what is communicated in it."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        out = Path(folder) / "figures.json"
        multiprocessing.spawn(worker, (processes, port, 2 * repeats, str(out)), processes)
        return json.loads(out.read_text())


def worker(rank: int, processes: int, port: int, steps: int, out: str) -> None:
    """One of the processes: trains, and counts what it communicates. The first one writes the figures."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ.update(place)
    torch.set_num_threads(1)
    sent = counted()
    with parallel.process_group(torch.device("cpu")):
        training = train_digits(digits_network(0), steps=steps + 3)
        for _ in range(3):
            next(training)
        sent.clear()
        spent = min_milliseconds({"step": lambda: next(training)}, steps)
    made = {"processor, ms": round(spent["step"], 1)}
    made |= {name: round(sent[name] / steps) for name in ("bytes reduced", "bytes gathered", "messages")}
    if rank == 0:
        Path(out).write_text(json.dumps(made))


def counted() -> Counter:
    """Counts of what this process passes to torch.distributed from now on."""
    sent: Counter = Counter()
    reduce, gather = distributed.all_reduce, distributed.all_gather

    def all_reduce(tensor: Tensor, **more) -> None:
        sent.update({"bytes reduced": tensor.nbytes, "messages": 1})
        reduce(tensor, **more)

    def all_gather(parts: list[Tensor], tensor: Tensor, **more) -> None:
        sent.update({"bytes gathered": sum(part.nbytes for part in parts), "messages": 1})
        gather(parts, tensor, **more)

    distributed.all_reduce, distributed.all_gather = all_reduce, all_gather
    return sent


def ring_seconds(payload: float, processes: int, pieces: int = 1) -> float:
    """The time in which a ring averages `payload` bytes in so many pieces: of each 2 (p - 1) messages of 1 / p of it."""
    messages = 2 * (processes - 1)
    return messages * (payload / processes / BANDWIDTH + pieces * LATENCY)


def training_operations(side: int, channels: int, width: int) -> tuple[nn.Module, int]:
    """A U-Net without numbers, and the operations of its forward and backward pass for one picture."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = UNet(side, channels, widths=(width, 2 * width, 4 * width), classes=0)
        net(torch.empty(1, channels, side, side), torch.empty(1)).square().mean().backward()
    return net, counter.get_total_flops()


def on_paper(repeats: int) -> list[dict]:
    """Of each U-Net the bytes of its gradients, and for each number of GPUs the ring's times and the break-even batch."""
    rows = []
    for name, size in ON_PAPER.items():
        net, operations = training_operations(*size)
        payload, tensors = 4 * parameters(net), len(list(net.parameters()))
        row = {"network": name, "parameters": parameters(net), "gradient bytes": payload, "tensors": tensors}
        row["microseconds a picture"] = rounded(1e6 * operations / RATE)
        for gpus in GPUS:
            whole, by_tensor = ring_seconds(payload, gpus), ring_seconds(payload, gpus, tensors)
            row[f"{gpus} GPUs"] = {
                "ring, ms": rounded(1000 * whole),
                "tensor by tensor, ms": rounded(1000 * by_tensor),
                "break-even batch": math.ceil(whole * RATE / operations),
            }
        rows.append(row)
    return rows


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


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
    keys = list(found["processes"][0])
    lines += ["", f"| {' | '.join(keys)} |", "|---" * len(keys) + "|"]
    lines += [
        f"| {' | '.join(f'{row[key]:,}' for key in keys)} |" for row in sorted(found["processes"], key=lambda r: r["processes"])
    ]
    columns = "network, on paper", "parameters", "gradients, MB", "a picture, microseconds", "GPUs", "ring, ms"
    lines += ["", f"| {' | '.join((*columns, 'tensor by tensor, ms', 'break-even batch'))} |", "|---" * 8 + "|"]
    for row in found["on paper"]:
        first = f"{row['network']} | {row['parameters']:,} | {row['gradient bytes'] / 1e6:.3g}"
        for gpus in GPUS:
            ring, by_tensor, batch = row[f"{gpus} GPUs"].values()
            cells = f"{row['microseconds a picture']:,.4g} | {gpus} | {ring:.3g} | {by_tensor:.3g} | {batch:,}"
            lines.append(f"| {first} | {cells} |")
    return "\n".join(lines)


def picture(found: dict) -> bytes:
    """Cost over each size, both in logarithms."""
    plots.style()
    fig, axes = plots.plt.subplots(1, len(SWEEPS), figsize=(3 * len(SWEEPS), 3.6), sharey=True)
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
    cost = lambda size: of_captions(size, repeats) if what == "tokens" else measured(what, repeats, **BASE | {what: size})
    rows = [{what: size} | cost(size) for size in SWEEPS[what]]
    return {"rows": rows, "exponents": exponents(rows, SIZE.get(what, what))}


PARTS = [
    Part(jobs=lambda seeds: [{"what": what} for what in SWEEPS], row=row, into="sweeps", by="what"),
    Part(jobs=lambda seeds: [{"processes": n} for n in (1, 2)], row=shared, into="processes", once={"on paper": on_paper}),
]
ASSUMED = {"bandwidth, bytes a second": BANDWIDTH, "latency, seconds": LATENCY, "operations a second": RATE}
BENCH = Benchmark(
    "scaling", PARTS, amounts={"repeats": 5}, seeds=(), header={"base": BASE, "assumed": ASSUMED}, table=table, threads=1
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
    write_atomically(BUILD / "scaling.png", picture(load("scaling")))
