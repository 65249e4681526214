"""What lesson 29 measures: two settings of diffusers on digits, and the cost of a pipeline's step under our samplers.

    python tests/benchmarks/bridge.py [digits | cost] [--n 500]

The protocol was written before the runs. On digits: `timestep_spacing` and half precision. n digits by the shipped network
without guidance (w = 1), by DDIM at the times of diffusers' DDIMScheduler, from the same noise for every arm of a seed; five
noises. Scores are as in `ddim_steps`; `brightness` is the mean pixel in [-1, 1].

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

`cost` has random weights, so that nothing is downloaded: each class of zoo/tiny_pipelines.py, tiny and larger (LARGER: for
Stable Diffusion's U-Net the channels of its config divided by four), guidance of 4 where there is any, latents out. A whole
call, prompts included, divided by its steps; ours and the pipeline's own take turns, on one thread. `ours` and `theirs`: the
fewest processor milliseconds a step of all turns; `ratio`: of these two; `error`: the standard error of the mean ratio of a
turn. `apart`: the largest difference of what both end with, as a share of the largest value. `weights` and `peak`: megabytes of
the weights, and the most that a call allocates beside them. Required of the larger networks: a ratio of at most 1.05. Trials
came first. With two calls of the network a guided step, tiny pipelines had ratios from 1.2 to 1.7. So guidance makes one call
of twice the batch there, as the pipelines do. Then ratios were 1.0 to 1.15, since a prompt was encoded once too often: so NULL
is encoded once, but for SDXL. What is left are a few tenths of a millisecond a step. A tiny network's step takes 4, which is
why nothing is required of the tiny ones. What is stored was measured after that, but for DDPM, LCM and SDXL, which the last
change does not concern; larger SDXL again, since its pipeline had kept the tiny network's size among the inputs.
"""

import copy
import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores, digits_floor, rounded
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.process import RectifiedFlow, seeded
from course_lib.samplers import consistency, ddim, ddpm, rectified_flow, result
from course_lib.zoo import models
from course_lib.zoo.diffusers import from_diffusers, scheduler_times
from course_lib.zoo.export import pipeline_of, scheduler_of
from course_lib.zoo.tiny_pipelines import PIPELINES, tiny

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


UNET = {
    "sample_size": 32,
    "block_out_channels": (80, 160, 320, 320),
    "layers_per_block": 2,
    "norm_num_groups": 16,
    "attention_head_dim": 8,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
LARGER = {
    "DDPMPipeline": {
        "sample_size": 32,
        "block_out_channels": (64, 128, 256),
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    },
    "StableDiffusion3Pipeline": {
        "sample_size": 32,
        "num_layers": 8,
        "num_attention_heads": 8,
        "attention_head_dim": 32,
        "caption_projection_dim": 256,
    },
}
"""What the larger network of a class has in the place of the tiny one's config; UNET for the others."""
PROMPTS = ["a red house", "two cats, at sea", "rain", "a fox"]


def pipeline_for(name: str, size: str) -> Any:
    """The tiny pipeline of a class, or the same with a larger network of random weights."""
    pipeline = tiny(name)
    if size == "larger":
        part = "unet" if hasattr(pipeline, "unet") else "transformer"
        net = getattr(pipeline, part)
        changed = {k: v for k, v in net.config.items() if not k.startswith("_")} | LARGER.get(name, UNET)
        pipeline.register_modules(**{part: type(net).from_config(changed).eval()})
        pipeline.default_sample_size = changed["sample_size"]  # SDXL gives its network the size
    return pipeline


def loops(name: str, pipeline: Any, steps: int, batch: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Our sampler and the pipeline's own loop, from the same noise at the same times, in that many steps."""
    network = from_diffusers(pipeline)
    x, prompts = network.draw_noise(batch, seeded(1)), PROMPTS[:batch]
    times, options = scheduler_times(pipeline.scheduler, steps), {"num_inference_steps": steps, "generator": seeded(7)}
    if name == "DDPMPipeline":
        drawn = lambda: pipeline(batch, output_type="np", **options | {"generator": seeded(1)}).images
        in_unit = lambda x: (x / 2 + 0.5).clamp(0, 1)
        start = lambda rng: result(ddpm(network, torch.randn(x.shape, generator=rng), times, rng))
        return lambda: in_unit(start(seeded(1))), lambda: torch.from_numpy(drawn()).permute(0, 3, 1, 2)
    options |= {"prompt": prompts, "guidance_scale": 4.0, "output_type": "latent"}
    if name == "StableDiffusionXLImg2ImgPipeline":  # a refiner: the last fifth of five times as many steps
        times = scheduler_times(pipeline.scheduler, 5 * steps)
        times = times[times <= 201]
        options |= {"image": x.clone(), "num_inference_steps": 5 * steps, "denoising_start": 0.8}
        x = x * network.process.signal(times[0]).float()
    else:
        options["latents"] = x

    def ours() -> Tensor:
        guided = classifier_free(network, prompts, 4.0)
        if name == "LatentConsistencyModelPipeline":
            return result(consistency(guided, x, times, seeded(7)))
        return result((rectified_flow if isinstance(network.process, RectifiedFlow) else ddim)(guided, x, times))

    return ours, lambda: pipeline(**options | {"generator": seeded(7)}).images


def megabytes_allocated(run: Callable[[], Any]) -> float:
    """The most megabytes that a call holds at once, beside what is there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    held = peak = 0
    for event in sorted(found.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 1e6


def cost_row(n: int, pipeline: str, size: str, batch: int) -> dict:
    torch.set_num_threads(1)
    steps, rounds = (20, 15) if size == "tiny" else (4, 5)
    made = pipeline_for(pipeline, size)
    ours, theirs = loops(pipeline, made, steps, batch)
    want = theirs()
    apart, spent = (ours() - want).abs().max() / want.abs().max(), {ours: [], theirs: []}
    for _ in range(rounds):
        for run, times in spent.items():
            begun = time.process_time()
            run()
            times.append(1000 * (time.process_time() - begun) / steps)
    each = [a / b for a, b in zip(*spent.values())]
    figures = {"ours": min(spent[ours]), "theirs": min(spent[theirs]), "ratio": min(spent[ours]) / min(spent[theirs])}
    figures |= {"error": statistics.stdev(each) / rounds**0.5, "apart": apart}
    net = getattr(made, "unet", None) or made.transformer
    memory = {"weights": sum(w.numel() * w.element_size() for w in net.parameters()) / 1e6}
    memory |= {f"peak, {who}": megabytes_allocated(run) for who, run in (("ours", ours), ("theirs", theirs))}
    return {"steps": steps, "figures": rounded(figures | memory, 8)}


def cost_table(found: dict) -> str:
    """Markdown: milliseconds and memory of each class, ours beside the pipeline's own."""
    names = ("ms a step, ours", "theirs", "ratio", "difference", "weights, MB", "call, MB, ours", "theirs")
    lines = [f"| pipeline | size | batch | {' | '.join(names)} |", "|---|---|---|" + "---|" * len(names)]
    for row in found.get("cost", []):
        f = row["figures"]
        cells = [f"{f['ours']:.1f}", f"{f['theirs']:.1f}", f"{f['ratio']:.2f} ± {f['error']:.2f}", f"{f['apart']:.0e}"]
        cells += [f"{f[key]:.1f}" for key in ("weights", "peak, ours", "peak, theirs")]
        lines.append(f"| {row['pipeline']} | {row['size']} | {row['batch']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(found: dict) -> str:
    """Markdown: each arm, the means over its noises; and the costs."""
    names = ("Frechet distance", "class accuracy", "brightness", "error")
    lines = [f"| arm | steps | noises | {' | '.join(names)} |", "|---|---|---|" + "---|" * len(names)]
    rows = [((r["spacing"], r["steps"]), r["figures"]) for r in found.get("spacing", [])]
    rows += [((f"{r['spacing']}, new noises", 5), r["figures"]) for r in found.get("start", [])]
    rows += [((r["arm"], 10), r["figures"]) for r in found.get("precision", [])]
    for arm, steps in dict.fromkeys(key for key, _ in rows):
        of = [figures for key, figures in rows if key == (arm, steps)]
        cells = (f"{sum(r[name] for r in of) / len(of):.4f}" if name in of[0] else "" for name in names)
        lines.append(f"| {arm} | {steps} | {len(of)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", cost_table(found)])


BENCH = Benchmark(
    "bridge",
    [
        Part(
            "digits",
            into="spacing",
            jobs=lambda seeds: [{"seed": s, "steps": k, "spacing": name} for s in seeds for k in (5, 10) for name in SPACINGS],
            row=spacing_row,
            once={
                "the same, real against real": digits_floor,
                "brightness of real digits": lambda n: round(float(digits.load("held_out")[0][:n].mean()), 4),
            },
        ),
        Part(
            "digits",
            into="start",
            jobs=lambda seeds: [
                {"seed": 5 + s, "steps": 5, "spacing": name}
                for s in seeds
                for name in ("leading", "leading, first at T", "leading, one later")
            ],
            row=spacing_row,
        ),
        Part(
            "digits",
            into="precision",
            jobs=lambda seeds: [{"seed": s, "arm": name} for s in seeds for name in PRECISIONS],
            row=precision_row,
        ),
        Part(
            "cost",
            into="cost",
            jobs=lambda seeds: [
                {"pipeline": name, "size": size, "batch": batch}
                for name in PIPELINES
                for size, batch in (("tiny", 1), ("tiny", 4), ("larger", 1))
            ],
            row=cost_row,
        ),
    ],
    amounts={"n": 500},
    seeds=tuple(range(5)),
    table=table,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
