"""How much of a machine a step of training uses: its share of the peak, whether it waits for launches, what compiling gives.

    python tests/benchmarks/peak.py [--device auto] [--batches 1 16 64] [--repeats 20] [--store]

The digits' network and the one that draws captions: forward, backward and AdamW. The peak is measured, not looked up: a
product of two large matrices of the same kind of number. Operations are counted by torch's FlopCounterMode. A step costs
launches, as much for one picture as for many, and arithmetic, in proportion to the batch: where a batch takes hardly longer
than one picture, it is launches that are paid for. Compiled is `torch.compile`, on CUDA also with CUDA graphs; both take a
minute or two at first, and need a C++ compiler. Median wall-clock times, on all threads: on a machine that does nothing else.
"""

import argparse
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
from course_lib.recipes.digits import digits_network
from course_lib.recipes.shapes import text2shape_network
from course_lib.training import denoising_loss, pick_device

NETWORKS = {"digits": digits_network, "text2shape": text2shape_network}


def asked(name: str, n: int) -> Tensor:
    """n conditions for a network: classes, or the tokens of captions."""
    if name == "digits":
        return torch.arange(n) % 10
    rng = torch.Generator().manual_seed(0)
    return captions.tokens(captions.tell(scenes.sample(n, rng), rng)[0])


def milliseconds(run: Callable, device: torch.device, repeats: int) -> float:
    """The median of `repeats`, after three that do not count."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    spent = []
    for _ in range(3 + repeats):
        wait()
        begun = time.perf_counter()
        run()
        wait()
        spent.append(1000 * (time.perf_counter() - begun))
    return statistics.median(spent[3:])


def peak(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Operations a millisecond of a product of two large matrices."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / milliseconds(lambda: a @ b, device, repeats)


def step_of(network: Network, cond: Tensor, x: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """One step of training on the pictures x."""
    optimizer = torch.optim.AdamW(network.net.parameters(), fused=True)
    rng, given = torch.Generator().manual_seed(0), network.given(cond)
    kind = nullcontext() if dtype is torch.float32 else torch.autocast(x.device.type, dtype)

    def step() -> None:
        optimizer.zero_grad()
        with kind:
            loss = denoising_loss(given, x, rng)
        loss.backward()
        optimizer.step()

    return step


def rows(name: str, device: torch.device, batches: list[int], repeats: int, ways: dict, peaks: dict) -> list[str]:
    """A row of the table for each way and batch."""
    lines, operations = [], {}
    for way, (dtype, changed) in ways.items():
        alone = None
        for n in batches:
            network = NETWORKS[name]()
            network.net.to(device)
            x = torch.randn(n, *network.net.shape, device=device).contiguous(memory_format=torch.channels_last)
            if n not in operations:
                with FlopCounterMode(display=False) as counter:
                    step_of(network, asked(name, n), x, torch.float32)()
                operations[n] = counter.get_total_flops()
            spent = milliseconds(step_of(replace(network, net=changed(network.net)), asked(name, n), x, dtype), device, repeats)
            alone, share = alone or spent, operations[n] / spent / peaks[dtype]
            lines.append(
                f"| {name} | {way} | {n} | {spent:.3g} | {1000 * n / spent:,.0f} | {100 * share:.0f} % | {spent / alone:.1f} |"
            )
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
        "| network | way | batch | ms | pictures a second | of the peak | of one picture's ms |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name in NETWORKS:
        lines += rows(name, device, args.batches, args.repeats, ways, peaks)
    if args.store:
        store("peak", "\n".join(lines))


if __name__ == "__main__":
    main()
