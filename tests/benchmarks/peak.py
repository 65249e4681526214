"""The share of a machine's peak that a training step reaches, the cost of kernel launches, and the gain of compilation.

    python tests/benchmarks/peak.py [--device auto] [--batches 1 16 64] [--repeats 20] [--store]

The digits' network and text2shape: forward, backward and AdamW. The peak is measured: a product of two large matrices of the
same number format. Operations are counted by torch's FlopCounterMode. A step costs kernel launches, which do not depend on the
batch, and arithmetic in proportion to it. Where a batch takes about as long as one picture, the time is that of launches.
Compiled means `torch.compile`, on CUDA also with CUDA graphs; both take a minute or two at first and need a C++ compiler.
Median wall-clock times, on all threads, on a machine without other work.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from rows import store
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from course_lib.datasets import captions, scenes
from course_lib.denoisers import Network
from course_lib.process import seeded
from course_lib.training import denoising_loss, pick_device
from course_lib.zoo.recipes.digits import digits_network
from course_lib.zoo.recipes.shapes import text2shape_network

NETWORKS = {"digits": digits_network, "text2shape": text2shape_network}


def conditions(name: str, n: int) -> Tensor:
    """n conditions for a network: classes, or the tokens of captions."""
    if name == "digits":
        return torch.arange(n) % 10
    rng = seeded(0)
    return captions.tokens(captions.tell(scenes.sample(n, rng), rng)[0])


def milliseconds(run: Callable, device: torch.device, repeats: int, limit: float = math.inf) -> float:
    """The median of `repeats`, after three that do not count. After `limit` seconds it is of fewer, or that of the last.

    The first call, which loads kernels, is never the one.
    """
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.type, lambda: None)
    spent, started = [], time.perf_counter()
    while len(spent) < 3 + repeats and (len(spent) < 2 or time.perf_counter() - started < limit):
        wait()
        begun = time.perf_counter()
        run()
        wait()
        spent.append(1000 * (time.perf_counter() - begun))
    return statistics.median(spent[3:] or spent[-1:])


def operations(run: Callable) -> int:
    """Operations of a call, by torch's FlopCounterMode: a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def peak(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Operations a millisecond of a product of two large matrices."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / milliseconds(lambda: a @ b, device, repeats)


def step_of(network: Network, cond: Tensor, x: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """One step of training on the pictures x."""
    optimizer = torch.optim.AdamW(network.net.parameters(), fused=True)
    rng, given = seeded(0), network.given(cond)
    kind = nullcontext() if dtype is torch.float32 else torch.autocast(x.device.type, dtype)

    def step() -> None:
        optimizer.zero_grad()
        with kind:
            loss = denoising_loss(given, x, rng)
        loss.backward()
        optimizer.step()

    return step


def row(name: str, way: str, spent: dict[int, float], shares: dict[int, float]) -> str:
    """A row of the table: of each batch n the milliseconds `spent[n]`, pictures per second, and the share of the peak in %."""
    ms = ", ".join(f"{value:.3g}" for value in spent.values())
    rate = ", ".join(f"{1000 * n / value:,.0f}" for n, value in spent.items())
    batches, percent = ", ".join(map(str, spent)), ", ".join(f"{value:.0f}" for value in shares.values())
    return f"| {name} | {way} | {batches} | {ms} | {rate} | {percent} % |"


def rows(name: str, device: torch.device, batches: list[int], repeats: int, ways: dict, peaks: dict) -> list[str]:
    """A row of the table for each way, with a figure for each batch."""
    lines, counted = [], {}
    for way, (dtype, changed) in ways.items():
        spent, shares = {}, {}
        for n in batches:
            network = NETWORKS[name]()
            network.net.to(device)
            x = torch.randn(n, *network.net.shape, device=device).contiguous(memory_format=torch.channels_last)
            if n not in counted:
                counted[n] = operations(step_of(network, conditions(name, n), x, torch.float32))
            step = step_of(replace(network, net=changed(network.net)), conditions(name, n), x, dtype)
            spent[n] = milliseconds(step, device, repeats)
            shares[n] = 100 * counted[n] / spent[n] / peaks[dtype]
        lines.append(row(name, way, spent, shares))
        print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--store", action="store_true", help="put the table into tests/benchmarks/README.md")
    args = parser.parse_args()
    device, as_it_is = pick_device(args.device), lambda net: net
    ways = {"as it is": (torch.float32, as_it_is), "bfloat16": (torch.bfloat16, as_it_is)}
    ways["compiled"] = (torch.float32, torch.compile)
    if device.type == "cuda":
        ways["CUDA graphs"] = (torch.float32, partial(torch.compile, mode="reduce-overhead"))
    peaks = {dtype: peak(device, dtype, args.repeats) for dtype in (torch.float32, torch.bfloat16)}
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads of a {device.type}"
    lines = [f"{where}; peak {', '.join(f'{str(d)[6:]} {p / 1e6:,.0f} GFLOP/s' for d, p in peaks.items())}.", ""]
    lines += [
        "| network | way | batch | ms | pictures per second | of the peak |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name in NETWORKS:
        lines += rows(name, device, args.batches, args.repeats, ways, peaks)
    if args.store:
        store("peak", "\n".join(lines))


if __name__ == "__main__":
    main()
