"""Whether the pace of a machine (course_lib/teaching/minute/machine.py) predicts how long a training takes on another machine.

    python tests/benchmarks/minute_pace.py [--seconds 5] [--seeds 0 1 2 3 4 5 6 7] [--store]

About 17 minutes of one core, on a machine that does nothing else. The protocol was written before the runs. Known were the
pace, 1.6 as AVX2 and 1.4 as is; that MKL's matrix products are as fast in both; two rounds with a second a training at most,
on a machine with other work, whose `ratio` was 0.87 to 1.05.

These are the figures of a second run. In the first the workload was the convolutional network alone, and eight rounds refuted
it: as AVX2 the ratio was 0.851 ± 0.013 for the MLP, 0.898 ± 0.015 for the DiT and 0.926 ± 0.020 for the GAN; with memory shared
it was 0.99, 0.99 and 0.99, which could not be told. Then the workload got its second half, matrix products. Their share was
chosen by the recipe of the digits (`train_digits`), which takes 1.09 times as long as AVX2: convolutions 1.17, products 1.02.
The three trainings here, whose first figures were known, had no part in the choice.

`course bench` gives an entry 60 seconds times the pace, so that the same training fits into it on each machine. That holds if
the seconds of a training are in proportion to the pace, for other trainings than the workload of which the pace is
taken. There is one machine, of which two others are made:

- `AVX2`: a processor without AVX-512. PyTorch, oneDNN and MKL are told so by the process's environment. On this processor,
  which is not Intel's, MKL is as fast either way.
- `memory`: a second process, on another core, copies an array of 256 MB again and again. Caches and memory are shared with it.

Three trainings, none of them one from which the workload was chosen, with AdamW and digits of the training set:

- `MLP`: denoises flattened digits in batches of 512: three hidden layers of 512, no convolution.
- `DiT`: a diffusion transformer with patches of 2 x 2, width 96, depth 3, batches of 32: 64 tokens, attention, layer norms.
- `wide GAN`: the steps of entries/gan.py with networks twice as wide: transposed convolutions, a second derivative.

A round is a process for each machine, in turns, in the reverse order in odd rounds: as is, AVX2, memory. Each process is pinned
to one core, has one thread, and measures the pace, a fixed number of steps of each training (about `seconds` each, after two
steps that do not count, in an order that is moved on by one each round), and the pace again. Times are processor seconds. The
pace of the process is the mean of both. A row has, for one training and one changed machine,

- `time`: the seconds of the changed machine over those as is, in the same round. It is the null: 1 would be a minute that needs
  no pace.
- `pace`: the same of the paces.
- `ratio`: time / pace, which is 1 if the pace predicts exactly.
- `share`: the least share of a core of both trainings, processor seconds over seconds on the clock. `drift`: the largest change
  of the pace in both processes. The table counts rows beyond the limits of `course bench`; none is left out.

Eight rounds: the mean and its standard error. "Within 5 %" is `yes` if the mean with its margin (evidence.py: 2.4 standard
errors of eight rounds) lies wholly in 0.95 to 1.05, `no` if it lies wholly outside, else `cannot be told apart`. That paces
make machines comparable within 5 % is shown if `ratio` is `yes` in all six rows; one `no` refutes it. The null must be `no` in
one row of AVX2 at least: else no training was slower, and there was nothing to predict. A machine's three rows share its paces.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from statistics import mean

import torch
from rows import Benchmark, Part, measure
from torch import Tensor, nn
from torch.nn.functional import one_hot

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.methods.gan_vae import adversarial_value, gradient_penalty, non_saturating_loss
from course_lib.nets.dit import DiT
from course_lib.nets.generators import ConvDecoder, ConvEncoder
from course_lib.process import RectifiedFlow, randint, randn, seeded
from course_lib.teaching.evidence import Estimate, estimate
from course_lib.teaching.minute import machine
from course_lib.teaching.minute.command import DRIFT
from course_lib.training import denoising_loss

ROUNDS = tuple(range(8))
AS_IS, BOUNDS = "as is", (0.95, 1.05)
WITHOUT_AVX512 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
MACHINES: dict[str, dict[str, str]] = {AS_IS: {}, "AVX2": WITHOUT_AVX512, "memory": {}}
"""The environment of each machine's processes."""
CHANGED = ("AVX2", "memory")
WARM = 2
COPIES = """
import numpy, os
a, b, asks = numpy.ones(32 << 20), numpy.ones(32 << 20), os.getppid()
print("copying", flush=True)
while os.getppid() == asks:
    b[:] = a
"""
"""A process that copies 256 MB again and again, until the one that started it has ended."""


# The trainings: each is a function that gives a function of one step.


def adamw(net: nn.Module, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99)) -> Callable[[Tensor], None]:
    """A step of AdamW on net's weights, given a loss."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, betas=betas, fused=True)

    def step(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def mlp(x: Tensor, label: Tensor) -> Callable[[], None]:
    sizes = (256, 512, 512, 512)
    net = nn.Sequential(*(layer for pair in zip(sizes, sizes[1:]) for layer in (nn.Linear(*pair), nn.SiLU())))
    net.append(nn.Linear(512, 256))
    step, rng, pixels = adamw(net), seeded(0), x.flatten(1)

    def once() -> None:
        clean = pixels[randint(0, len(x), 512, rng=rng)]
        step((net(clean + 0.5 * randn(*clean.shape, rng=rng)) - clean).square().mean())

    return once


def dit(x: Tensor, label: Tensor) -> Callable[[], None]:
    network, rng = Network(DiT(patch=2, width=96, depth=3), RectifiedFlow(), "flow"), seeded(0)
    step = adamw(network.net)

    def once() -> None:
        i = randint(0, len(x), 32, rng=rng)
        step(denoising_loss(network.given(label[i]), x[i], rng))

    return once


class Critic(nn.Module):
    """The logit of a picture is that of its label, one of ten."""

    def __init__(self):
        super().__init__()
        self.net, self.label = ConvEncoder(10, (32, 64, 256), 128), torch.empty(0)

    def logits(self, x: Tensor) -> Tensor:
        return self.net(x).gather(1, self.label[:, None])


def wide_gan(x: Tensor, label: Tensor) -> Callable[[], None]:
    G, D, rng = ConvDecoder(42, (256, 64, 32), 128), Critic(), seeded(0)
    of_g, of_d = (adamw(net, 2e-3, (0.0, 0.99)) for net in (G, D))

    def once() -> None:
        i = randint(0, len(x), 32, rng=rng)
        D.label = label[i]
        made = lambda: G(torch.cat([randn(32, 32, rng=rng), one_hot(label[i], 10).float()], 1))
        of_d(gradient_penalty(D, x[i]) / 2 - adversarial_value(D, x[i], made().detach()))
        of_g(non_saturating_loss(D, made()))

    return once


TRAININGS = {"MLP": (mlp, 25), "DiT": (dit, 8), "wide GAN": (wide_gan, 7)}
"""Each with the steps that took about a second, as is."""


# The measurement


def in_this_process(seconds: float, turn: int) -> None:
    """Prints what one process measures: the pace before and after, and of each training the seconds and the share of a core."""
    torch.set_num_threads(1)
    data, steps, found = digits.load("train"), {}, {}
    for name, (make, _) in TRAININGS.items():
        torch.manual_seed(0)
        steps[name] = make(*data)
    before = machine.pace()
    names = list(TRAININGS)
    for name in names[turn % len(names) :] + names[: turn % len(names)]:
        for _ in range(WARM):
            steps[name]()
        processor, clock = time.process_time(), time.monotonic()
        for _ in range(max(1, round(seconds * TRAININGS[name][1]))):
            steps[name]()
        after = time.process_time(), time.monotonic()
        found[name] = {"seconds": after[0] - processor, "share": machine.share((processor, clock), after)}
    print(json.dumps({"paces": [before, machine.pace()], "trainings": found}))


@contextmanager
def copying(core: int) -> Iterator[None]:
    """Another process copies memory on this core."""
    command = [sys.executable, "-c", COPIES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, {core})) as process:
        try:
            process.stdout.readline()
            yield
        finally:
            process.kill()


def measured_on(name: str, seconds: float, turn: int) -> dict:
    """What `in_this_process` prints in a fresh process on this machine. Raises RuntimeError where there is a single core."""
    if len(cores := sorted(os.sched_getaffinity(0))) < 2:
        raise RuntimeError("two cores are needed: one for the trainings, one for what copies memory")
    call = f"import minute_pace; minute_pace.in_this_process({seconds!r}, {turn})"
    there = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    run = lambda: subprocess.run(
        [sys.executable, "-c", call],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | there | MACHINES[name],
        preexec_fn=lambda: os.sched_setaffinity(0, cores[:1]),
    )
    if name != "memory":
        return json.loads(run().stdout)
    with copying(cores[-1]):
        return json.loads(run().stdout)


@cache
def measured(seconds: float, turn: int) -> dict[str, dict]:
    """What is measured on each machine in one round."""
    order = list(MACHINES)[:: -1 if turn % 2 else 1]
    return {name: measured_on(name, seconds, turn) for name in order}


def jobs(seeds) -> list[dict]:
    return [{"seed": seed, "machine": name, "training": each} for seed in seeds for name in CHANGED for each in TRAININGS]


def row(seconds: float, seed: int, **job) -> dict:
    """The figures of one training on one changed machine in one round, whose number is the seed."""
    return compared(*(measured(seconds, seed)[name] for name in (job["machine"], AS_IS)), job["training"])


def compared(changed: dict, as_is: dict, training: str) -> dict:
    """The ratios of time and pace, and the ratio of these, from what was measured on both machines."""
    of = [each["trainings"][training] for each in (changed, as_is)]
    time_, pace = of[0]["seconds"] / of[1]["seconds"], mean(changed["paces"]) / mean(as_is["paces"])
    drift = max((each["paces"][1] / each["paces"][0] - 1 for each in (changed, as_is)), key=abs)
    figures = {"time": time_, "pace": pace, "ratio": time_ / pace, "drift": drift}
    return {key: round(value, 4) for key, value in figures.items()} | {"share": round(min(each["share"] for each in of), 2)}


def verdict(ratios: Estimate) -> str:
    return {True: "yes", False: "no", None: "cannot be told apart"}[ratios.within(*BOUNDS)]


def table(found: dict) -> str:
    """Markdown: a row for each changed machine and training, the ratios with verdicts, and how many rounds are marked."""
    lines = ["| machine | training | pace | time | within 5 % without the pace | time / pace | within 5 % | marked rounds |"]
    lines.append("|" + "---|" * 8)
    for name in CHANGED:
        for training in TRAININGS:
            rows = [row for row in found["runs"] if (row["machine"], row["training"]) == (name, training)]
            if not rows:
                continue
            pace, time_, ratio = (estimate([row[key] for row in rows], "rounds") for key in ("pace", "time", "ratio"))
            marked = sum(abs(row["drift"]) > DRIFT or row["share"] < machine.OWN_CORE for row in rows)
            cells = f"{pace:.3f} | {time_:.3f} | {verdict(time_)} | {ratio:.3f} | {verdict(ratio)} | {marked} of {len(rows)}"
            lines.append(f"| {name} | {training} | {cells} |")
    return "\n".join(lines)


BENCH = Benchmark(
    "minute_pace",
    [Part(jobs=jobs, row=row)],
    amounts={"seconds": 5.0},
    seeds=ROUNDS,
    header={"bounds": BOUNDS, "own core": machine.OWN_CORE, "drift": DRIFT},
    table=table,
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
