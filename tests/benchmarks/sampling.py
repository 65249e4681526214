"""What a digit costs at equal Frechet distance: this course beside diffusers, on one thread, in batches of 64.

    python tests/benchmarks/sampling.py [--n 500] [--rounds 6] [--store]

The protocol was written before the runs. Known were the distances of lesson 22 (`solvers.py`, other noises), those of 17 and 18
(`distillation.py`), what one evaluation costs, and from a run that was broken off for lack of time, DPM-Solver++(2M) at 6
evaluations: 0.008 to 0.010 above DDIM at 25.

- `distances`: n digits by the shipped network, conditional (w = 1) and guided (w = 2), three noises. Solvers of the course at
  even times, and diffusers' schedulers with their default settings on the same network, as `zoo/export.py` makes them. With
  trailing times theirs draw the same pictures as ours (tests/test_diffusers_export.py). A way reaches the distance of DDIM at
  25 evaluations if its paired difference from it is below 0.01, the margin of lesson 22, by more than its own margin: 4.3
  standard errors of three noises. Null: DDIM at 5. At w = 1 there are 7 evaluations, the fewest for which the figures of lesson
  22 fulfil this rule; at w = 2 there are 8 of UniPC, for which nothing was known. A guided evaluation is one of both
  conditions. Then the course's distilled students by the same rule: `progressive` at w = 1, `guided`, which takes w as an
  input, at w = 2. Their further training is not counted, and diffusers has none for digits.
- `cost`: processor seconds of whole samplings, each side with its own network: the course's, and diffusers' UNet2DModel of
  `like_networks.py`, untrained, since what it costs does not depend on its weights. Each side has its first solver that reaches
  the distance. All take turns; the ratio is the mean over the rounds, with its standard error. Condition and null condition are
  in one batch on both sides. Diffusers' network has the faster of its two memory formats. Nothing is compiled.
- `tries`: one evaluation in several ways, in turns, the minimum of the rounds: what pays and what does not. The peak is that of
  a product of two matrices of 2,048 x 2,048 in the same turns; torch's FlopCounterMode counts operations.

Required: four times as many pictures a second, and more than half of the peak.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DModel, UniPCMultistepScheduler
from like_networks import Diffusers
from rows import Benchmark, Part, load, measure
from scores import digit_scores, parameters
from timing import min_milliseconds
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.guidance import classifier_free
from course_lib.methods.solvers import dpm_solver, unipc
from course_lib.prediction import Prediction
from course_lib.process import Process, seeded
from course_lib.samplers import consistency, ddim, result, sample
from course_lib.teaching.evidence import Estimate, estimate
from course_lib.zoo import models
from course_lib.zoo.export import scheduler_of

BATCH, MARGIN, WEIGHTS = 64, 0.01, (1.0, 2.0)
OURS = {"UniPC-2": unipc, "DPM-Solver++(2M)": dpm_solver}
THEIRS = {"diffusers: UniPC": UniPCMultistepScheduler, "diffusers: DPM-Solver++(2M)": DPMSolverMultistepScheduler}
STUDENTS = {1.0: {f"progressive{k}": k for k in (1, 2, 4)}, 2.0: {f"guided, {k}": k for k in (1, 2)}}
"""For each w the distilled networks that it is drawn with, and in how many evaluations."""
REFERENCE, NULL_WAY = ("DDIM", 25), ("DDIM", 5)
EVALUATIONS = {1.0: dict.fromkeys((*OURS, *THEIRS), 7), 2.0: {"UniPC-2": 8, "diffusers: UniPC": 8}}
"""For each w the solvers, and their evaluations."""


@cache
def network_of_the_course() -> Network:
    return models.load("digits", device="cpu")


def both_in_one_batch(network: Network, cond: Tensor, w: float) -> Callable[[Tensor, float], Tensor]:
    """(x, t) to the guided output for x (B, C, H, W), by one evaluation of 2 B pictures; at w = 1 of B."""
    null = network.given(NULL).cond.expand(len(cond))
    at = network.given(cond) if w == 1 else replace(network, cond=torch.cat([null, cond]))

    def output(x: Tensor, t: float) -> Tensor:
        value = at(x if w == 1 else torch.cat([x, x]), t).value
        return value if w == 1 else torch.lerp(*value.chunk(2), w)

    return output


class InOneBatch:
    """The same as a denoiser of ours."""

    def __init__(self, network: Network, cond: Tensor, w: float):
        self.process: Process = network.process
        self.view, self.output = network.view, both_in_one_batch(network, cond, w)

    def __call__(self, x: Tensor, t: float) -> Prediction:
        return Prediction(x, *self.process.coefficients(t, x), self.view, self.output(x, t))


def by_scheduler(way: str, output: Callable[[Tensor, Tensor], Tensor], x: Tensor, evaluations: int) -> Tensor:
    """Pictures from the noise x, by diffusers' loop, with one of its schedulers on the course's process and view."""
    network = network_of_the_course()
    config = dict(scheduler_of(network.process, network.view).config)
    del config["timestep_spacing"]  # theirs is measured with its own
    scheduler = THEIRS[way].from_config(config)
    scheduler.set_timesteps(evaluations)
    for k in scheduler.timesteps:
        x = scheduler.step(output(scheduler.scale_model_input(x, k), k), k, x, return_dict=False)[0]
    return x


def student(name: str, label: Tensor, w: float) -> Denoiser:
    """A distilled network given the labels; the one of w = 2 takes w as an input."""
    return classifier_free(models.load(name.split(",")[0], device="cpu"), label, w)


def student_sampler(w: float, rng: torch.Generator | None = None) -> Callable:
    """The sampler that the students of this w were distilled for: DDIM, or consistency sampling, with its fresh noise."""
    return ddim if w == 1 else partial(consistency, rng=rng)


@torch.no_grad()
def distance(n: int, rounds: int, seed: int, solver: str, evaluations: int, w: float) -> dict:
    """The scores of n digits of one noise."""
    network, label = network_of_the_course(), torch.arange(n) % 10
    noise = network.draw_noise(n, seeded(seed))
    if solver in THEIRS:
        made = []
        for x, cond in zip(noise.split(BATCH), label.split(BATCH)):
            output = both_in_one_batch(network, cond, w)
            made.append(by_scheduler(solver, lambda x, k, output=output: output(x, int(k) + 1), x, evaluations))
        made = torch.cat(made)
    elif solver in STUDENTS[w]:
        made = sample(student(solver, label, w), noise, evaluations, student_sampler(w, seeded(seed)), batch=BATCH)
    else:
        made = sample(classifier_free(network, label, w), noise, evaluations, OURS.get(solver, ddim), batch=BATCH)
    return {"figures": digit_scores(made, label)}


def distance_jobs(seeds) -> list[dict]:
    cells = {w: [REFERENCE, NULL_WAY, *STUDENTS[w].items(), *EVALUATIONS[w].items()] for w in WEIGHTS}
    return [
        {"seed": seed, "solver": solver, "evaluations": k, "w": w} for w in WEIGHTS for solver, k in cells[w] for seed in seeds
    ]


def excess(found: dict, solver: str, evaluations: int, w: float) -> Estimate:
    """By how much its Frechet distance is above that of DDIM at 25 evaluations, paired by the noise."""

    def distances(solver: str, evaluations: int) -> dict[int, float]:
        named = lambda row: (row["solver"], row["evaluations"], row["w"]) == (solver, evaluations, w)
        return {row["seed"]: row["figures"]["Frechet distance"] for row in found["distances"] if named(row)}

    mine, reference = distances(solver, evaluations), distances(*REFERENCE)
    return estimate([mine[seed] - reference[seed] for seed in sorted(mine)], "noises")


def is_equal(difference: Estimate) -> bool:
    """Whether a distance is that of DDIM at 25 evaluations, by the margin."""
    return difference.below(MARGIN) is True


def best(found: dict, solvers, w: float) -> tuple[str, int]:
    """The first of the solvers that reaches the distance, and its evaluations; the first of all if none does."""
    counted = [(solver, EVALUATIONS[w][solver]) for solver in solvers if solver in EVALUATIONS[w]]
    return next((way for way in counted if is_equal(excess(found, *way, w))), counted[0])


def best_student(found: dict, w: float) -> str | None:
    """The distilled network with the fewest evaluations that reaches the distance; None if none does."""
    return next((name for name, k in STUDENTS[w].items() if is_equal(excess(found, name, k, w))), None)


def network_of_diffusers(memory: torch.memory_format) -> UNet2DModel:
    torch.manual_seed(0)
    return Diffusers().unet.eval().requires_grad_(False).to(memory_format=memory)


def their_output(unet: nn.Module, cond: Tensor, w: float) -> Callable[[Tensor, Tensor], Tensor]:
    """As in diffusers' pipelines: null condition and condition in one batch, then the weighted sum."""
    both = cond if w == 1 else torch.cat([torch.full_like(cond, 10), cond])

    def output(x: Tensor, k: Tensor) -> Tensor:
        if w == 1:
            return unet(x, k, class_labels=both, return_dict=False)[0]
        null, given = unet(torch.cat([x, x]), k, class_labels=both, return_dict=False)[0].chunk(2)
        return null + w * (given - null)

    return output


def one_evaluation(n: int = BATCH) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(n, 1, 16, 16, generator=seeded(0)), torch.arange(n) % 10, torch.tensor(500)


def operations(run: Callable) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def product() -> Callable:
    a = torch.randn(2048, 2048, generator=seeded(0))
    return lambda: a @ a


PRODUCT = 2 * 2048**3
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@torch.no_grad()
def tries(n: int, rounds: int) -> dict:
    """Milliseconds a picture of one evaluation, in several ways, and the share of the peak."""
    network, (x, cond, k) = network_of_the_course(), one_evaluation()
    contiguous = models.load("digits", device="cpu").given(cond)
    contiguous.net.to(memory_format=torch.contiguous_format)
    ours = network.given(cond)

    def inference() -> None:
        with torch.inference_mode():
            ours(x, 500)

    def bfloat16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            ours(x, 500)

    last = x.contiguous(memory_format=torch.channels_last)
    runs: dict[str, Callable] = {"product": product(), "the course": lambda: ours(x, 500)}
    runs |= {"weights contiguous": lambda: contiguous(x, 500), "pictures channels_last": lambda: ours(last, 500)}
    runs |= {"inference_mode": inference, "bfloat16": bfloat16}
    unets = {f"diffusers, {name}": network_of_diffusers(memory) for name, memory in FORMATS.items()}
    runs |= {name: lambda unet=unet: unet(x, k, class_labels=cond) for name, unet in unets.items()}
    counted = {"the course": operations(runs["the course"]), "diffusers": operations(runs["diffusers, contiguous"])}
    sizes = dict.fromkeys(runs, BATCH)
    for size in (1, 4, 16, BATCH):
        start, label, _ = one_evaluation(size)
        for name, denoiser in {"two": classifier_free(network, label, 2.0), "one": InOneBatch(network, label, 2.0)}.items():
            runs[f"guided, {size} in {name}"] = lambda denoiser=denoiser, start=start: denoiser(start, 500)
            sizes[f"guided, {size} in {name}"] = size
    for run in runs.values():
        run()
    spent = min_milliseconds(runs, rounds)
    peak = PRODUCT / spent.pop("product")
    share = {"the course": counted["the course"] / spent["the course"] / peak}
    share["diffusers"] = counted["diffusers"] / min(spent[f"diffusers, {name}"] for name in FORMATS) / peak
    return {
        "parameters": {"the course": parameters(network.net), "diffusers": parameters(unets["diffusers, contiguous"])},
        "MFLOP a picture": {name: round(count / BATCH / 1e6, 2) for name, count in counted.items()},
        "ms a picture": {name: float(f"{ms / sizes[name]:.4g}") for name, ms in spent.items()},
        "share of the peak": {name: round(value, 3) for name, value in share.items()},
    }


@torch.no_grad()
def cost(n: int, rounds: int) -> dict:
    """Processor milliseconds a picture of whole samplings in turns, and how many times as many a second the course draws."""
    found, (x, cond, _) = load("sampling"), one_evaluation()
    spent, network = found["tries"]["ms a picture"], network_of_the_course()
    memory = FORMATS[min(FORMATS, key=lambda name: spent[f"diffusers, {name}"])]
    theirs, runs = network_of_diffusers(memory), {}
    for w in WEIGHTS:
        (solver, k), (way, n_theirs), name = best(found, OURS, w), best(found, THEIRS, w), best_student(found, w)
        runs["the course", w, ""] = partial(ours_drawn, OURS[solver], InOneBatch(network, cond, w), x, k)
        runs["diffusers", w, ""] = partial(by_scheduler, way, their_output(theirs, cond, w), x, n_theirs)
        if name:
            sampler = student_sampler(w, seeded(0))
            runs["the course", w, ", distilled"] = partial(ours_drawn, sampler, student(name, cond, w), x, STUDENTS[w][name])
    rows: dict = {key: [] for key in runs}
    for turn in range(rounds + 1):  # the first does not count
        for key, run in runs.items():
            begun = time.process_time()
            run()
            if turn:
                rows[key].append(1000 * (time.process_time() - begun) / BATCH)
    return {f"w = {w:g}{kind}": _beside(rows, w, kind) for side, w, kind in runs if side == "the course"}


def ours_drawn(sampler: Callable, denoiser: Denoiser, x: Tensor, evaluations: int) -> Tensor:
    """Pictures from the noise x by a solver of the course."""
    return result(sampler(denoiser, x, denoiser.process.times(evaluations)))


def _beside(rows: dict, w: float, kind: str) -> dict:
    """Both sides' costs, the minimum of the rounds, and their ratio, the mean of the rounds with its standard error."""
    ours, theirs = rows["the course", w, kind], rows["diffusers", w, ""]
    ratios = [b / a for a, b in zip(ours, theirs)]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    made = {"the course, ms": round(min(ours), 3), "diffusers, ms": round(min(theirs), 3)}
    return made | {"ratio": round(statistics.mean(ratios), 2), "error": round(error, 2)}


def table(found: dict) -> str:
    """Markdown: the excess of each way, then ratios of pictures a second, then what was tried."""
    lines = ["| way | w | evaluations | excess | reaches the distance |", "|---|---|---|---|---|"]
    for w in WEIGHTS:
        for solver, k in (NULL_WAY, *STUDENTS[w].items(), *EVALUATIONS[w].items()):
            difference = excess(found, solver, k, w)
            verdict = {True: "yes", False: "no", None: "cannot be told apart"}[difference.below(MARGIN)]
            cells = f"{w:g} | {k} | {difference.mean:.4f} ± {difference.error:.4f} | {verdict}"
            lines.append(f"| {solver.split(',')[0]} | {cells} |")
    lines += ["", "| | the course | diffusers | pictures per second, times |", "|---|---|---|---|"]
    for name, its in found["cost"].items():
        w = float(name.split(" = ")[1].split(",")[0])
        mine = best_student(found, w) if "distilled" in name else None
        pairs = ((mine.split(",")[0], STUDENTS[w][mine]) if mine else best(found, OURS, w)), best(found, THEIRS, w)
        ways = [f"{solver.removeprefix('diffusers: ')}, {k}" for solver, k in pairs]
        lines.append(f"| {name} | {' | '.join(ways)} | {its['ratio']:.2f} ± {its['error']:.2f} |")
    spent, shares = found["tries"]["ms a picture"], found["tries"]["share of the peak"]
    lines += ["", "| one evaluation | time, relative to the course's |", "|---|---|"]
    lines += [f"| {name} | {ms / spent['the course']:.2f} |" for name, ms in spent.items() if not name.startswith("guided")]
    for size in (1, 4, 16, BATCH):
        gain = spent[f"guided, {size} in one"] / spent[f"guided, {size} in two"]
        lines.append(f"| guided, batch {size}: one evaluation of both, relative to two | {gain:.2f} |")
    lines += [
        "",
        "| share of the peak | % |",
        "|---|---|",
        *(f"| {name} | {100 * share:.0f} |" for name, share in shares.items()),
    ]
    return "\n".join(lines)


BENCH = Benchmark(
    "sampling",
    [
        Part(jobs=distance_jobs, row=distance, into="distances"),
        Part(once={"tries": tries}),
        Part(once={"cost": cost}),
    ],
    amounts={"n": 500, "rounds": 6},
    seeds=(10, 11, 12),
    header={"batch": BATCH, "margin": MARGIN},
    table=table,
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
