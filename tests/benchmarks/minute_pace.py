"""Whether the pace of a machine (course_lib/teaching/minute/machine.py) predicts how long a training takes on another machine.

    python tests/benchmarks/minute_pace.py [--store]

About fifteen minutes of one core, on a machine that does nothing else. `course bench` gives an entry 60 seconds times the pace,
so that the same training fits into it on each machine. That holds if the seconds of a training are in proportion to the pace,
for other trainings than the workload of which the pace is taken. There is one machine, of which two others are made:

- `AVX2`: a processor without AVX-512. PyTorch, oneDNN and MKL are told so by the process's environment. On this processor,
  which is not Intel's, MKL is as fast either way.
- `memory`: a second process, on another core, copies an array of 256 MB again and again. Caches and memory are shared with it.

Three trainings, none of them one from which the workload was chosen, with AdamW and digits of the training set:

- `MLP`: denoises flattened digits in batches of 512: three hidden layers of 512, no convolution.
- `DiT`: a diffusion transformer with patches of 2 x 2, width 96, depth 3, batches of 32: 64 tokens, attention, layer norms.
- `wide GAN`: the steps of entries/gan.py with networks twice as wide: transposed convolutions, a second derivative.

In a round a process as is and one of the changed machine are started on the same core, with one thread each. Each training,
and each half of the workload, has 32 slices of about 0.05 processor seconds, in the order as is, changed, changed, as is, so
that a slow change of the machine meets both alike. A row has, for one training and one changed machine,

- `time`: the seconds of the changed machine over those as is, in the same round. It is the null: 1 would be a minute that
  needs no pace.
- `convolutions`, `products`: the same of both halves of the workload; the pace is their mean.
- `ratio`: time / pace, which is 1 if the pace predicts exactly.
- `share`: of both processes, processor seconds over seconds on the clock.

Twenty rounds: the mean and its standard error. "Within 5 %" is `yes` if the mean with its margin (evidence.py: 2.1 standard
errors of twenty rounds) lies wholly in 0.95 to 1.05, `no` if it lies wholly outside, else `cannot be told apart`. A machine is
uneven if its pace is more than 5 % away from those of both halves, relative to the machine as is; `course bench` marks its
rows as not like those of other machines (`machine.UNEVEN`). What `course bench` promises is shown if all three trainings are
`yes` on each changed machine that is not uneven; one `no` there refutes it. The mark is needed if there is a `no` on an uneven
one. The null must be `no` in one row at least: else no training was slower, and there was nothing to predict. The rows of a
machine share its workload.

The protocol was written before these runs, after three others. The first, eight rounds of whole processes one after the other,
had a workload of convolutions alone, and refuted it: as AVX2 the ratio was 0.851 ± 0.013 for the MLP and 0.898 ± 0.015 for the
DiT. Then the workload got its second half. The second, again of eight rounds, could not decide: 0.959 ± 0.016 (MLP), 0.984 ±
0.035 (DiT), 1.059 ± 0.036 (wide GAN). For the third the mark and slices of 0.4 seconds were new, and its two processes were
the same in all rounds: 0.927 ± 0.015, 0.945 ± 0.016 and 1.055 ± 0.016 on the marked AVX2, 0.986 ± 0.013, 1.011 ± 0.019 and
0.998 ± 0.012 with memory shared, where one was not decided. Two processes as is then differed by 2 % in all rounds, and short
slices had half of the scatter: hence short slices, and new processes each round.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import cache
from pathlib import Path

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
from course_lib.teaching.claims import VERDICTS
from course_lib.teaching.evidence import Estimate, estimate
from course_lib.teaching.minute import machine
from course_lib.training import denoising_loss

ROUNDS = tuple(range(20))
BOUNDS = (0.95, 1.05)
CHANGED: dict[str, dict[str, str]] = {
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "memory": {},
}
"""The environment of each changed machine's process."""
SLICE = 0.05
ORDER = (0, 1, 1, 0) * 8
"""Which process has the next slice: 0 is as is, 1 is changed."""
WARM = 3
COPIES = """
import numpy, os, select
a, b = numpy.ones(32 << 20), numpy.ones(32 << 20)
os.write(1, b"ready")
while os.read(0, 1):
    while not select.select([0], [], [], 0)[0]:
        b[:] = a
    os.read(0, 1)
"""
"""A program that copies 256 MB again and again, from one byte that it is given to the next."""


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


def half(name: str) -> Callable[[Tensor, Tensor], Callable[[], None]]:
    """The training of one of the workload's networks."""

    def make(x: Tensor, label: Tensor) -> Callable[[], None]:
        net, given = machine.networks()[name]
        step = adamw(net)
        return lambda: step(net(given).square().mean())

    return make


TRAININGS = {"MLP": mlp, "DiT": dit, "wide GAN": wide_gan}
HALVES = {name: half(name) for name in machine.REFERENCE}


# The measurement


def stand_ready() -> None:
    """Answers each line, a training and a number of steps, by a line: processor seconds, and seconds on the clock."""
    torch.set_num_threads(1)
    data = digits.load("train")
    steps: dict[str, Callable] = {}
    for name, make in (TRAININGS | HALVES).items():
        torch.manual_seed(0)
        steps[name] = make(*data)
    for line in sys.stdin:
        name, count = json.loads(line)
        processor, clock = time.process_time(), time.monotonic()
        for _ in range(count):
            steps[name]()
        print(json.dumps([time.process_time() - processor, time.monotonic() - clock]), flush=True)


class Machine:
    """A process that stands ready on the first core, with this environment; RuntimeError where there is a single core."""

    def __init__(self, env: dict[str, str]):
        if len(cores := sorted(os.sched_getaffinity(0))) < 2:
            raise RuntimeError("two cores are needed: one for the trainings, one for what copies memory")
        there = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import minute_pace; minute_pace.stand_ready()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | there | env,
            preexec_fn=lambda: os.sched_setaffinity(0, cores[:1]),
        )

    def seconds(self, name: str, count: int) -> tuple[float, float]:
        """Processor seconds, and seconds on the clock, of so many steps of a training."""
        print(json.dumps([name, count]), file=self.process.stdin, flush=True)
        return tuple(json.loads(self.process.stdout.readline()))

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()  # which ends its input, and so the process


@cache
def copier() -> subprocess.Popen:
    """A process on the last core that stands ready to copy memory; it ends with this process."""
    last = max(os.sched_getaffinity(0))
    process = subprocess.Popen(
        [sys.executable, "-c", COPIES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        preexec_fn=lambda: os.sched_setaffinity(0, {last}),
    )
    process.stdout.read(5)
    return process


@contextmanager
def copying() -> Iterator[None]:
    """Another process copies memory."""
    copier().stdin.write(b"+")
    try:
        yield
    finally:
        copier().stdin.write(b"-")


@cache
def slices(changed: str, turn: int) -> dict[str, tuple[float, float]]:
    """Of each training: the ratio of the processor seconds, changed over as is, and the share of a core, in one round."""
    names = [*TRAININGS, *HALVES]
    with Machine({}) as as_is, Machine(CHANGED[changed]) as other:
        return {
            name: _slices((as_is, other), name, changed) for name in names[turn % len(names) :] + names[: turn % len(names)]
        }


def _slices(pair: tuple[Machine, Machine], name: str, changed: str) -> tuple[float, float]:
    warm = [each.seconds(name, WARM) for each in pair]  # does not count
    count = max(1, round(SLICE * WARM / warm[0][0]))
    spent = [[0.0, 0.0], [0.0, 0.0]]
    for which in ORDER:
        with copying() if changed == "memory" and which else nullcontext():
            processor, clock = pair[which].seconds(name, count)
        spent[which][0] += processor
        spent[which][1] += clock
    (as_is, _), (other, _) = spent
    return other / as_is, (as_is + other) / sum(clock for _, clock in spent)


def jobs(seeds) -> list[dict]:
    return [{"seed": seed, "machine": name, "training": each} for name in CHANGED for seed in seeds for each in TRAININGS]


def row(seed: int, **job) -> dict:
    """The figures of one training on one changed machine in one round, whose number is the seed."""
    found = slices(job["machine"], seed)
    time_, share = found[job["training"]]
    return compared(time_, machine.Pace(**{name: found[name][0] for name in HALVES})) | {"share": round(share, 2)}


def compared(time_: float, pace: machine.Pace) -> dict:
    """The figures of a row, rounded."""
    figures = {"time": time_, **asdict(pace), "ratio": time_ / pace.mean}
    return {key: round(value, 4) for key, value in figures.items()}


def verdict(ratios: Estimate) -> str:
    return VERDICTS[ratios.within(*BOUNDS)]


def over_rounds(found: dict, name: str, training: str, key: str) -> Estimate:
    """A figure of a training on a changed machine: the mean of its rounds."""
    return estimate([row[key] for row in found["runs"] if (row["machine"], row["training"]) == (name, training)], "rounds")


def table(found: dict) -> str:
    """Markdown: a row for each changed machine and training, the ratios with verdicts."""
    head = "| machine | training | convolutions | products | uneven | time | without the pace | time / pace | within 5 % |"
    lines = [head, "|" + "---|" * 9]
    for name in CHANGED:
        for training in TRAININGS:
            of = {key: over_rounds(found, name, training, key) for key in (*HALVES, "time", "ratio")}
            uneven = machine.Pace(**{half: of[half].mean for half in HALVES}).uneven
            marked = f"{100 * uneven:.1f} %" + (", marked" if uneven > machine.UNEVEN else "")
            paces = " | ".join(f"{of[half]:.3f}" for half in HALVES)
            verdicts = f"{of['time']:.3f} | {verdict(of['time'])} | {of['ratio']:.3f} | {verdict(of['ratio'])}"
            lines.append(f"| {name} | {training} | {paces} | {marked} | {verdicts} |")
    return "\n".join(lines)


BENCH = Benchmark(
    "minute_pace",
    [Part(jobs=jobs, row=row)],
    seeds=ROUNDS,
    header={"bounds": BOUNDS, "slice": SLICE, "uneven": machine.UNEVEN},
    table=table,
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
