"""What lesson 29 measures of two settings of diffusers, on the course's digits: `timestep_spacing` and half precision.

    python tests/benchmarks/bridge.py [--n 500]

The protocol was written before the runs. n digits by the shipped network without guidance (w = 1), by DDIM at the times of
diffusers' DDIMScheduler, from the same noise for every arm of a seed; five noises. Scores are as in `ddim_steps`; `brightness`
is the mean pixel in [-1, 1].

- `spacing`, 5 and 10 steps: trailing (from T on), leading (from before T), linspace (T and 1 are both used); leading with
  `steps_offset` 1 (all times one later); leading with its first time moved to T, nothing else; and leading from a training
  digit of the same class with the noise of the first time, in the place of noise alone. Condition (Lin et al. 2023 recommend
  trailing): at 5 and at 10 steps the Frechet distance of trailing is below 0.9 times that of leading. Null: leading one time
  later.
- `start`, written when `spacing` had been seen, on five new noises: leading times in 5 steps, the same with the first time
  moved to T, nothing else, and all one later. Condition: the distance with the first time at T is below 0.9 times that of
  leading. Null: all one later.
- `precision`, 10 steps, trailing: the network in bfloat16 and x in float32, as `from_diffusers` has it; x in bfloat16, too, as
  diffusers' own loop has it; weights rounded to bfloat16 for arithmetic in float32; weights rounded to 5, 3, 2 and 1 binary
  digits after the leading one (bfloat16 has 7). `error` is the root mean square difference per pixel from the digits in
  float32. Condition: with the network in bfloat16 the Frechet distance lies within 0.9 and 1.1 times that of float32. Null:
  weights of one digit.
"""

import copy
from functools import cache

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores, digits_floor, rounded
from torch import Tensor

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.process import seeded
from course_lib.samplers import ddim, result
from course_lib.zoo import models
from course_lib.zoo.diffusers import scheduler_times
from course_lib.zoo.export import pipeline_of, scheduler_of

SPACINGS = ("trailing", "leading", "linspace", "leading, one later", "leading, first at T", "leading, from noisy digits")
PRECISIONS = ("bfloat16", "bfloat16, x too", "weights of 7 digits") + tuple(f"weights of {k} digits" for k in (5, 3, 2, 1))


def scored(x: Tensor) -> dict[str, float]:
    return digit_scores(x, labels(len(x))) | rounded({"brightness": x.mean()})


def labels(n: int) -> Tensor:
    return torch.arange(n) % 10


def times_of(network: Network, spacing: str, steps: int) -> Tensor:
    """The times of ours (steps + 1,) of DDIMScheduler with that spacing."""
    named, later = spacing.split(",")[0], int(spacing.endswith("one later"))
    own = scheduler_of(network.process, network.view)
    times = scheduler_times(own.from_config(own.config, timestep_spacing=named, steps_offset=later), steps)
    if spacing.endswith("first at T"):
        times[0] = network.process.T
    return times


def noisy_digits(n: int, seed: int, network: Network, t: int) -> Tensor:
    """Training digits of the classes asked for, in another order for each seed, with the noise of time t."""
    pictures, classes = digits.load()
    order = torch.randperm(len(classes), generator=seeded(500 + seed))
    rows = torch.cat([order[classes[order] == c][: n // 10] for c in range(10)]).view(10, -1).T.flatten()
    return network.process.add_noise(pictures[rows], t, network.draw_noise(n, seeded(seed)))


def spacing_row(n: int, seed: int, steps: int, spacing: str) -> dict:
    network = models.load("digits")
    times = times_of(network, spacing, steps)
    if spacing.endswith("noisy digits"):
        x = noisy_digits(n, seed, network, int(times[0]))
    else:
        x = network.draw_noise(n, seeded(seed))
    return {"times": times.tolist(), "figures": scored(result(ddim(network.given(labels(n)), x, times)))}


def with_digits(net: torch.nn.Module, kept: int) -> torch.nn.Module:
    """A copy of the net, its weights rounded to `kept` binary digits after the leading one."""
    net = copy.deepcopy(net)
    for weights in net.parameters():
        m, e = torch.frexp(weights.data)  # m in [1/2, 1)
        weights.data = torch.ldexp((m * 2 ** (kept + 1)).round() / 2 ** (kept + 1), e)
    return net


@cache
def in_float32(n: int, seed: int) -> Tensor:
    return drawn(models.load("digits"), n, seed)


def drawn(network: Network, n: int, seed: int) -> Tensor:
    return result(ddim(network.given(labels(n)), network.draw_noise(n, seeded(seed)), times_of(network, "trailing", 10)))


def precision_row(n: int, seed: int, arm: str) -> dict:
    network = models.load("digits")
    if arm == "bfloat16, x too":
        pipeline = pipeline_of("digits").to(torch.bfloat16)
        pipeline.set_progress_bar_config(disable=True)
        noise = network.draw_noise(n, seeded(seed))
        made = pipeline(labels(n), 10, 1.0, latents=noise, output_type="latent").images.float()
    else:
        kept = None if arm == "bfloat16" else int(arm.split()[2])
        net = copy.deepcopy(network.net).bfloat16() if kept is None else with_digits(network.net, kept)
        made = drawn(Network(net, network.process, network.view), n, seed)
    error = (made - in_float32(n, seed)).square().mean().sqrt()
    return {"figures": rounded({"error": error}, 5) | scored(made)}


def table(found: dict) -> str:
    """Markdown: each arm, the means over its noises."""
    names = ("Frechet distance", "class accuracy", "brightness", "error")
    lines = [f"| arm | steps | noises | {' | '.join(names)} |", "|---|---|---|" + "---|" * len(names)]
    rows = [((r["spacing"], r["steps"]), r["figures"]) for r in found.get("spacing", [])]
    rows += [((f"{r['spacing']}, new noises", 5), r["figures"]) for r in found.get("start", [])]
    rows += [((r["arm"], 10), r["figures"]) for r in found.get("precision", [])]
    for arm, steps in dict.fromkeys(key for key, _ in rows):
        of = [figures for key, figures in rows if key == (arm, steps)]
        cells = (f"{sum(r[name] for r in of) / len(of):.4f}" if name in of[0] else "" for name in names)
        lines.append(f"| {arm} | {steps} | {len(of)} | {' | '.join(cells)} |")
    return "\n".join(lines)


BENCH = Benchmark(
    "bridge",
    [
        Part(
            "spacing",
            into="spacing",
            jobs=lambda seeds: [{"seed": s, "steps": k, "spacing": name} for s in seeds for k in (5, 10) for name in SPACINGS],
            row=spacing_row,
            once={
                "the same, real against real": digits_floor,
                "brightness of real digits": lambda n: round(float(digits.load("held_out")[0][:n].mean()), 4),
            },
        ),
        Part(
            "start",
            into="start",
            jobs=lambda seeds: [
                {"seed": 5 + s, "steps": 5, "spacing": name}
                for s in seeds
                for name in ("leading", "leading, first at T", "leading, one later")
            ],
            row=spacing_row,
        ),
        Part(
            "precision",
            into="precision",
            jobs=lambda seeds: [{"seed": s, "arm": name} for s in seeds for name in PRECISIONS],
            row=precision_row,
        ),
    ],
    amounts={"n": 500},
    seeds=tuple(range(5)),
    table=table,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
