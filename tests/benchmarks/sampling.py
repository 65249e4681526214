"""What a digit costs at equal Frechet distance: this course beside diffusers, on one thread, in batches of 64.

    python tests/benchmarks/sampling.py [--n 500] [--rounds 8] [--store]

The protocol was written before the runs, after trials with other noises (10 to 12). They chose the times of the fitted
solvers, and could not decide at w = 1 by three noises, so that there are six here. Solvers of 3 and 4 evaluations were added
after the first rows: at w = 2 diffusers' UniPC reached the distance in 5, then the fewest. `Conditions apart` came last, when
3.8 times was known for w = 2. Its times, steps and rate were chosen by the noises 10 to 12, among seven tries: three
predictions under the condition and one without it had an excess of 0.012 to 0.017, three and two 0.006 and 0.004, two and two
0.004, and 0.003 by 1,000 steps at twice the rate. `Fitted` of two evaluations at w = 2 was then fitted anew in as many steps,
as its control.

- `fitted`: for each w the weights of a bespoke solver (Shaul et al. 2024; `course_lib/methods/bespoke.py`), of 2 and of 3
  evaluations. The first prediction is known: the mean prediction at t = T for each class. The weights begin as those of
  DPM-Solver++(2M) and are fitted by Adam, in 400 steps where FITS says nothing else, to the ends of the network's own ODE, by
  50 moves of Heun's method, from 1,280 noises of another seed than those of `distances`. Their fitting is not counted in
  `cost`; its processor seconds are stated. `fitted, conditions apart`: a guided prediction is a weighted sum of the one under
  the condition and the one without it, so that each can have a weight of its own in every move, in place of w alone.
- `distances`: n digits by the shipped network, conditional (w = 1) and guided (w = 2), six noises. At w = 1 it is the distance
  to the held-out digits. At w = 2 it is that to 1,000 digits which the guided network draws itself, from other noises, by 50
  moves of Heun's method: guidance moves digits away from the data, so that the distance to the data is smaller without it, and
  any way that guides less would pass. Solvers of the course at even times, and diffusers' schedulers with their default
  settings on the same network, as `zoo/export.py` makes them. With trailing times theirs draw the same pictures as ours
  (tests/test_diffusers_export.py). A way reaches the distance of DDIM at 25 evaluations if its paired difference from it is
  below 0.01, the margin of lesson 22, by more than its own margin: 2.6 standard errors of six noises. Nulls: DDIM at 5, and at
  w = 2 also DDIM at 25 without guidance. A guided evaluation is one of both conditions. Then the course's distilled students by
  the same rule: `progressive` at w = 1, `guided`, which takes w as an input, at w = 2. Their further training is not counted,
  and diffusers has none for digits.
- `cost`: processor seconds of whole samplings, each side with its own network: the course's, and diffusers' UNet2DModel of
  `like_networks.py`, untrained, since what it costs does not depend on its weights. Each side has, of its solvers that reach
  the distance, the one of the fewest evaluations. All take turns; the ratio is the mean over the rounds, with its standard
  error. Condition and null condition are in one batch on both sides. Both sides as they are, both compiled, and both compiled
  in bfloat16; compiling itself is not counted. Diffusers' network has the faster of its two memory formats.
- `bfloat16`: whether the fitted solvers reach the distance in bfloat16, too.
- `tries`: one evaluation in several ways, in turns, the minimum of the rounds: what pays and what does not. The peak is that of
  a product of two matrices of 2,048 x 2,048 in the same turns; torch's FlopCounterMode counts operations.

Required: four times as many pictures a second, and more than half of the peak.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DModel, UniPCMultistepScheduler
from like_networks import Diffusers
from peak import operations
from rows import Benchmark, Part, load, measure
from scores import digit_scores, parameters
from timing import min_milliseconds
from torch import Tensor, nn

from course_lib.denoisers import NULL, Network
from course_lib.guidance import classifier_free
from course_lib.methods.bespoke import KnownStart, bespoke, bespoke_loss, mean_at_start, weights_of
from course_lib.methods.solvers import dpm_solver, unipc
from course_lib.prediction import Prediction
from course_lib.process import Process, randint, seeded
from course_lib.samplers import consistency, ddim, heun, result, sample
from course_lib.teaching.claims import VERDICTS
from course_lib.teaching.evidence import Estimate, estimate
from course_lib.zoo import models
from course_lib.zoo.export import scheduler_of

BATCH, MARGIN, WEIGHTS = 64, 0.01, (1.0, 2.0)
PLAIN, KNOWN, FITTED, APART = "UniPC-2", "UniPC-2, known start", "fitted", "fitted, conditions apart"
THEIRS = {"diffusers: UniPC": UniPCMultistepScheduler, "diffusers: DPM-Solver++(2M)": DPMSolverMultistepScheduler}
STUDENTS = {1.0: [("progressive1", 1), ("progressive2", 2), ("progressive4", 4)], 2.0: [("guided", 1), ("guided", 2)]}
"""For each w the distilled networks that it is drawn with, and in how many evaluations."""
REFERENCE, NULL_WAY, UNGUIDED = ("DDIM", 25), ("DDIM", 5), ("DDIM, w = 1", 25)
TRIED = {PLAIN: (3, 4, 5, 6, 7, 8), KNOWN: (3, 4, 5, 6, 7), FITTED: (2, 3), **dict.fromkeys(THEIRS, (3, 4, 5, 6, 7, 8))}
"""The solvers, and the evaluations that each is tried with, at every w; `APART` at w = 2 alone."""


@dataclass(frozen=True)
class Fit:
    """How a solver is fitted: its times, of which the prediction at T is known; the steps and the rate of Adam.

    Where `apart`, the network predicts under the condition and without it in turns, and each prediction has weights of its own.
    """

    times: tuple[int, ...]
    apart: bool = False
    steps: int = 400
    rate: float = 0.005


FITS = {
    (1.0, FITTED, 2): Fit((1000, 700, 350, 0)),
    (1.0, FITTED, 3): Fit((1000, 800, 520, 260, 0)),
    (2.0, FITTED, 2): Fit((1000, 750, 400, 0), steps=1000, rate=0.01),  # as the one below: its control
    (2.0, FITTED, 3): Fit((1000, 850, 600, 300, 0)),
    (2.0, APART, 2): Fit((1000, 750, 749, 400, 399, 0), apart=True, steps=1000, rate=0.01),
}
"""The fitted solvers, by w, name and evaluations."""
POOL = 1280


@cache
def network_of_the_course() -> Network:
    """The shipped network, which is given both conditions of guidance in one batch."""
    network = models.load("digits", device="cpu")
    network.net.in_one_batch = True
    return network


@cache
def known_start(w: float) -> Tensor:
    """The mean prediction at t = T of each class, (10, 1, 16, 16)."""
    network = network_of_the_course()
    noise = network.draw_noise(64, seeded(5))
    return torch.cat([mean_at_start(classifier_free(network, torch.full((64,), k), w), noise) for k in range(10)])


class InTurns:
    """The network under the condition and without it in turns, by the time: never guided."""

    def __init__(self, network: Network, cond: Tensor, times: Sequence[int]):
        self.process: Process = network.process
        self.at = {t: network.given((cond, NULL)[i % 2]) for i, t in enumerate(times[1:-1])}

    def __call__(self, x: Tensor, t: float) -> Prediction:
        return self.at[int(t)](x, t)


def denoiser_of(fit: Fit, network: Network, label: Tensor, w: float) -> KnownStart:
    """What a fitted solver is given: the network whose first prediction is known."""
    inner = InTurns(network, label, fit.times) if fit.apart else classifier_free(network, label, w)
    return KnownStart(inner, known_start(w)[label])


def first_weights(fit: Fit, w: float) -> Tensor:
    """The weights that a fit begins with, those of DPM-Solver++(2M): a guided prediction is w of one, 1 - w of the other."""
    process = network_of_the_course().process
    if not fit.apart:
        return weights_of(dpm_solver, process, torch.tensor(fit.times))
    weights = weights_of(dpm_solver, process, torch.tensor([*fit.times[::2], 0]))
    moves = len(weights)
    both = torch.tensor([[w, 1 - w]], dtype=weights.dtype).to(weights.device)
    spread = torch.block_diag(torch.eye(2, dtype=weights.dtype, device=weights.device), *[both] * (moves - 1))
    given = [row for row in range(moves - 1) for _ in range(2)]  # both predictions of a move have the same x
    return weights[[*given, moves - 1]] @ spread


def fitted_sampler(found: dict, key: tuple[float, str, int]) -> Callable:
    """The bespoke solver that was fitted for this w, over times of its own."""
    weights = torch.tensor(found["fitted"][name_of(key)]["weights"])
    return lambda denoiser, x: bespoke(denoiser, x, torch.tensor(FITS[key].times), weights)


def name_of(key: tuple[float, str, int]) -> str:
    return "w = {:g}, {}, {}".format(*key)


def drawn(
    found: dict, network: Network, solver: str, evaluations: int, w: float, cond: Tensor, x: Tensor, rng: torch.Generator | None
) -> Tensor:
    """Pictures from the noise x by a solver of the course, or by a distilled network, in so many evaluations."""
    even = network.process.times
    if (solver, evaluations) in STUDENTS[w]:
        denoiser = classifier_free(models.load(solver, device="cpu"), cond, w)  # the one of w = 2 takes w as an input
        return result((ddim if w == 1 else partial(consistency, rng=rng))(denoiser, x, even(evaluations)))
    denoiser = classifier_free(network, cond, 1.0 if solver == UNGUIDED[0] else w)
    if (key := (w, solver, evaluations)) in FITS:
        return result(fitted_sampler(found, key)(denoiser_of(FITS[key], network, cond, w), x))
    if solver == KNOWN:
        return result(unipc(KnownStart(denoiser, known_start(w)[cond]), x, even(evaluations + 1)))
    return result((unipc if solver == PLAIN else ddim)(denoiser, x, even(evaluations)))


def own_ends(w: float, label: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Noises, and the ends of the network's own ODE from there, by 50 moves of Heun's method."""
    network = network_of_the_course()
    noise = network.draw_noise(len(label), seeded(seed))
    return noise, sample(classifier_free(network, label, w), noise, 50, heun, batch=BATCH)


@cache
def pool(w: float) -> tuple[Tensor, Tensor, Tensor, float]:
    """Labels, noises, the ends of the ODE from there, and the processor seconds that these took."""
    label, begun = randint(0, 10, POOL, rng=seeded(77)), time.process_time()
    return label, *own_ends(w, label, seed=78), round(time.process_time() - begun, 1)


def fitted(n: int, rounds: int, fit: str) -> dict:
    """The weights of a bespoke solver, the error of a pixel before and after, and what the fit and its pictures cost."""
    key = next(key for key in FITS if name_of(key) == fit)
    w, how, network = key[0], FITS[key], network_of_the_course()
    label, noise, target, ends = pool(w)
    times, rng = torch.tensor(how.times), seeded(3)
    weights = first_weights(how, w).requires_grad_()
    optimizer = torch.optim.Adam([weights], how.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    begun, losses = time.process_time(), []
    for _ in range(how.steps):
        some = torch.randperm(POOL, generator=rng)[:BATCH]
        loss = bespoke_loss(denoiser_of(how, network, label[some], w), noise[some], target[some], times, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
        losses.append(loss.item())
    error = [round(statistics.mean(part) / 2, 3) for part in (losses[:20], losses[-20:])]
    spent = round(time.process_time() - begun, 1)
    kept = [[round(v, 6) for v in row] for row in weights.tolist()]
    return {"weights": kept, "log error, first and last": error, "processor seconds": spent, "seconds of the ends": ends}


@cache
def features_of(w: float) -> Tensor | None:
    """What digits of this w are compared with: None for the held-out digits, or the guided network's own ones."""
    if w == 1:
        return None
    return models.load("classifier").features(own_ends(w, torch.arange(1000) % 10, seed=99)[1])


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


@torch.no_grad()
def distance(n: int, rounds: int, seed: int, solver: str, evaluations: int, w: float) -> dict:
    """The scores of n digits of one noise."""
    network, label = network_of_the_course(), torch.arange(n) % 10
    noise, rng, found, made = network.draw_noise(n, seeded(seed)), seeded(seed), load("sampling"), []
    for x, cond in zip(noise.split(BATCH), label.split(BATCH)):
        if solver in THEIRS:
            denoiser = classifier_free(network, cond, w)
            made.append(by_scheduler(solver, lambda x, k, at=denoiser: at(x, int(k) + 1).value, x, evaluations))
        else:
            made.append(drawn(found, network, solver, evaluations, w, cond, x, rng))
    with torch.autocast("cpu", enabled=False):
        return {"figures": digit_scores(torch.cat(made).float(), label, features_of(w))}


def tried(*solvers: str) -> list[tuple[str, int]]:
    """These solvers, each with every number of evaluations that it is tried with."""
    return [(solver, k) for solver in solvers for k in TRIED[solver]]


def apart(w: float) -> list[tuple[str, int]]:
    """The ways whose conditions have weights of their own, with their evaluations."""
    return [key[1:] for key in FITS if key[:2] == (w, APART)]


def ways(w: float) -> list[tuple[str, int]]:
    """All ways for this w with their evaluations, first those that are no candidates."""
    nulls = [NULL_WAY, UNGUIDED] if w > 1 else [NULL_WAY]
    return [REFERENCE, *nulls, *STUDENTS[w], *tried(*TRIED), *apart(w)]


def distance_jobs(seeds) -> list[dict]:
    return [
        {"seed": seed, "solver": solver, "evaluations": k, "w": w} for w in WEIGHTS for solver, k in ways(w) for seed in seeds
    ]


def excess(found: dict, solver: str, evaluations: int, w: float, rows: str = "distances") -> Estimate:
    """By how much its Frechet distance is above that of DDIM at 25 evaluations, paired by the noise."""

    def distances(rows: str, solver: str, evaluations: int) -> dict[int, float]:
        named = lambda row: (row["solver"], row["evaluations"], row["w"]) == (solver, evaluations, w)
        return {row["seed"]: row["figures"]["Frechet distance"] for row in found[rows] if named(row)}

    mine, reference = distances(rows, solver, evaluations), distances("distances", *REFERENCE)
    return estimate([mine[seed] - reference[seed] for seed in sorted(mine)], "noises")


def is_equal(difference: Estimate) -> bool:
    """Whether a distance is that of DDIM at 25 evaluations, by the margin."""
    return difference.below(MARGIN) is True


def best(found: dict, ways: list[tuple[str, int]], w: float) -> tuple[str, int] | None:
    """Of the ways that reach the distance, the one of the fewest evaluations; None if none does."""
    reached = [(k, solver) for solver, k in ways if is_equal(excess(found, solver, k, w))]
    return min(reached)[::-1] if reached else None


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
        for name, its in {"two": models.load("digits", device="cpu"), "one": network}.items():
            denoiser = classifier_free(its, label, 2.0)
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


def way_of(net: nn.Module, way: str) -> nn.Module:
    """The network as it is, or compiled."""
    return torch.compile(net, dynamic=False) if "compiled" in way else net


HOW = ("as they are", "compiled", "compiled, bfloat16")


@torch.no_grad()
def cost(n: int, rounds: int) -> list[dict]:
    """Processor milliseconds a picture of whole samplings in turns, and how many times as many a second the course draws."""
    found, (x, cond, _) = load("sampling"), one_evaluation()
    spent, network = found["tries"]["ms a picture"], network_of_the_course()
    memory = FORMATS[min(FORMATS, key=lambda name: spent[f"diffusers, {name}"])]
    runs: dict[tuple[str, float, str, int], Callable] = {}
    for how in HOW:
        unet, its = way_of(network_of_diffusers(memory), how), replace(network, net=way_of(network.net, how))
        for w in WEIGHTS:
            way, k = best(found, tried(*THEIRS), w)
            runs[how, w, way, k] = partial(by_scheduler, way, their_output(unet, cond, w), x, k)
            distilled = STUDENTS[w] if how == HOW[0] else []
            kinds = [*(tried(solver) for solver in (PLAIN, KNOWN, FITTED)), apart(w), distilled]
            mine = [best(found, ways, w) for ways in kinds]
            for solver, k in filter(None, mine):
                runs[how, w, solver, k] = partial(drawn, found, its, solver, k, w, cond, x, seeded(0))
    rows: dict = {key: [] for key in runs}
    for turn in range(rounds + 1):  # the first, in which networks are compiled, does not count
        for key, run in runs.items():
            half = torch.autocast("cpu", torch.bfloat16) if "bfloat16" in key[0] else nullcontext()
            begun = time.process_time()
            with half:
                run()
            if turn:
                rows[key].append(1000 * (time.process_time() - begun) / BATCH)
    theirs = {key[:2]: key for key in rows if key[2] in THEIRS}
    return [_beside(rows, key, theirs[key[:2]]) for key in rows if key[2] not in THEIRS]


def _beside(rows: dict, ours: tuple, theirs: tuple) -> dict:
    """Both sides' costs, the minimum of the rounds, and their ratio, the mean of the rounds with its standard error."""
    ratios = [b / a for a, b in zip(rows[ours], rows[theirs])]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    how, w, *way = ours
    made = {"how": how, "w": w, "the course": way, "diffusers": [*theirs[2:]]}
    made |= {"the course, ms": round(min(rows[ours]), 3), "diffusers, ms": round(min(rows[theirs]), 3)}
    return made | {"ratio": round(statistics.mean(ratios), 2), "error": round(error, 2)}


def in_bfloat16(**job) -> dict:
    """The scores of the fitted solver where the network computes in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        return distance(**job)


def table(found: dict) -> str:
    """Markdown: the excess of each way, then ratios of pictures a second, then what was tried."""
    lines = ["| way | w | evaluations | excess | reaches the distance |", "|---|---|---|---|---|"]

    def verdict(solver: str, k: int, w: float, rows: str, name: str) -> str:
        difference = excess(found, solver, k, w, rows)
        return (
            f"| {name} | {w:g} | {k} | {difference.mean:.4f} ± {difference.error:.4f} | {VERDICTS[difference.below(MARGIN)]} |"
        )

    for w in WEIGHTS:
        has = lambda rows, w=w: {(row["solver"], row["evaluations"]) for row in found.get(rows, []) if row["w"] == w}
        lines += [verdict(solver, k, w, "distances", solver) for solver, k in ways(w)[1:] if (solver, k) in has("distances")]
        lines += [
            verdict(solver, k, w, "bfloat16", f"{solver}, bfloat16")
            for solver, k in in_half(w)
            if (solver, k) in has("bfloat16")
        ]
    lines += ["", "| w | the course | diffusers | both | pictures per second, times |", "|---|---|---|---|---|"]
    for row in found["cost"]:
        (solver, k), (way, n_theirs) = row["the course"], row["diffusers"]
        sides = f"{solver}, {k} | {way.removeprefix('diffusers: ')}, {n_theirs}"
        lines.append(f"| {row['w']:g} | {sides} | {row['how']} | {row['ratio']:.2f} ± {row['error']:.2f} |")
    spent, shares = found["tries"]["ms a picture"], found["tries"]["share of the peak"]
    lines += ["", "| one evaluation | time, relative to the course's |", "|---|---|"]
    lines += [f"| {name} | {ms / spent['the course']:.2f} |" for name, ms in spent.items() if not name.startswith("guided")]
    for size in (1, 4, 16, BATCH):
        gain = spent[f"guided, {size} in one"] / spent[f"guided, {size} in two"]
        lines.append(f"| guided, batch {size}: one evaluation of both, relative to two | {gain:.2f} |")
    lines += ["", "| share of the peak | % |", "|---|---|"]
    lines += [f"| {name} | {100 * share:.0f} |" for name, share in shares.items()]
    return "\n".join(lines)


def in_half(w: float) -> list[tuple[str, int]]:
    """The ways that are tried in bfloat16."""
    return [(FITTED, 3), *apart(w)]


def bfloat16_jobs(seeds) -> list[dict]:
    return [{"seed": seed, "solver": way, "evaluations": k, "w": w} for w in WEIGHTS for way, k in in_half(w) for seed in seeds]


def fit_jobs(seeds) -> list[dict]:
    return [{"fit": name_of(key)} for key in FITS]


BENCH = Benchmark(
    "sampling",
    [
        Part("fitted", jobs=fit_jobs, row=fitted, into="fitted", by="fit"),
        Part("distances", jobs=distance_jobs, row=distance, into="distances"),
        Part("distances", jobs=bfloat16_jobs, row=in_bfloat16, into="bfloat16"),
        Part("cost", once={"tries": tries}),
        Part("cost", once={"cost": cost}),
    ],
    amounts={"n": 500, "rounds": 8},
    seeds=(20, 21, 22, 23, 24, 25),
    header={"batch": BATCH, "margin": MARGIN},
    table=table,
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
