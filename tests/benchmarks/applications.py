"""Editing, inpainting and inverse problems with the shipped digit model. Lesson 19 shows the results.

    python tests/benchmarks/applications.py [--n 500] [--seeds 0 1 2] [--only what=instruct]

About eight minutes on one core. The model of digits, one training, is not conditioned (NULL) except in "instruct". Edits are
of n held-out digits, all else of FEW. Three noises (seeds) each, paired between arms. Frechet distance
and precision are against other held-out digits. What the lesson claims was written down here before the rows of its null
models, those of equal evaluations, and all of "inverse" and "average" were measured; "edit" and "instruct" are older.

- `edit`: rough drawings, edited from t0. Claim: from t0 = 1,000 the Frechet distance is lower than from 200, and the
  distance from the guide ("moved") is larger. Null model: the edit of another digit's guide, its distance from the own one.
  Control: from 200 in as many moves as from 1,000, 50.
- `instruct`: a digit is asked to become the next class. Claim: the gain in class accuracy over "no instruction" is larger
  from t0 = 900 than from 300. Null model: no instruction, other noises, in the place of the instruction. Control: from 300 in
  as many moves as from 900, 45, with and without the instruction. Reported: 1,000, where the picture is not used. (Written
  down so, but first measured on process.times(25), which has no move from 900 or 300. All rows were then measured again.)
- "lower half": inpainting. ARMS are (moves, U). Claim: U = 5 has a higher class accuracy and a lower Frechet distance than
  as many evaluations without resampling. Null model: 25 moves without resampling. Reported: each arm with the known part put
  in clean. Of 121 evaluations these are compared: U = 5 with 121 clean moves; U = 5 clean with U = 5, and with 121 clean moves.
- `inverse`: 50 evaluations each. "DPS" has the constant step of CONSTANTS with the highest PSNR on TUNING training digits.
  Claim: from the blurred y with noise DPS has a lower Frechet distance and a higher class accuracy than DDNM. Null model:
  DPS with step 0, which does not use y; all else is as in DPS. Without noise in y both are reported; so is DDNM on the
  blurred y without noise, the control for the cause.
- `average`: a quarter as large, DDNM, 25 evaluations a sample. Claim: the mean of four samples has a higher PSNR and a
  larger Frechet distance than one sample. Null model: another sample.
"""

import re
from functools import cache
from itertools import pairwise

import torch
from rows import Benchmark, Part, measure
from scores import rounded
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import NULL
from course_lib.guidance import classifier_free
from course_lib.methods.editing import Consistent, blurred, dps, noised_further, repaint, sdedit, shrunk
from course_lib.process import randn_like, seeded
from course_lib.samplers import ddpm, result
from course_lib.zoo import models

STARTS, AGREED = tuple(range(0, 1001, 100)), (300, 400, 500, 600, 700, 800, 900, 1000)
LADDER, ENDS = (200, 1000), (300, 900)
ARMS = {"25 moves": (25, 1), "121 moves": (121, 1), "U = 5": (25, 5)}
MEASUREMENTS = {"a quarter as large": (shrunk(4), 0.0), "blurred, noise 0.05": (blurred(1.5), 0.05)}
MEASUREMENTS["blurred"] = blurred(1.5), 0.0  # the control: DDNM without noise
TUNED = ("a quarter as large", "blurred, noise 0.05")
CONSTANTS, TUNING, EVALUATIONS = (1.0, 3.0, 10.0, 30.0), 50, 50
FEW, MANY, HOLE = 200, 4, "lower half"


def rough(x: Tensor) -> Tensor:
    """Digits (B, 1, 16, 16) as a hand might draw them on 8 x 8 squares, black or white."""
    return interpolate((avg_pool2d(x, 2) > -0.2).float() * 2 - 1, scale_factor=2)


def hole() -> Tensor:
    """The mask (1, 16, 16) of what is kept of a picture: 1, and 0 in the lower half."""
    keep = torch.ones(1, 16, 16)
    keep[:, 8:] = 0
    return keep


def psnr(x: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels, of pictures in [-1, 1]."""
    return float(10 * torch.log10(4 / (x.clamp(-1, 1) - truth).square().mean()))


@cache
def digits_model():
    """The model of digits, without a condition."""
    return models.load("digits").given(NULL)


@cache
def held_out() -> tuple[Tensor, Tensor, Tensor]:
    """The held-out digits, on which neither model nor classifier was trained, their labels, and their features."""
    x, label = digits.load("held_out")
    with torch.no_grad():
        return x, label, models.load("classifier").features(x)


@torch.no_grad()
def scored(made: Tensor, label: Tensor) -> dict[str, float]:
    """Class accuracy, and distance and precision against held-out digits that none of these were made from."""
    evaluator, real = models.load("classifier"), held_out()[2][len(made) :]
    features = evaluator.features(made.clamp(-1, 1))
    return {
        "class accuracy": metrics.accuracy(evaluator(made.clamp(-1, 1)), label),
        "Frechet distance": metrics.frechet_distance(features, real),
        "precision": metrics.precision_recall(real, features)[0],
    }


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def edit(denoiser, begin: Tensor, t0: int, seed: int, moves: int = 0) -> Tensor:
    """Pictures edited from t0, by this many moves; by default, by those of 50 moves from 1,000 that start there or later."""
    times = digits_model().process.times(50)
    assert t0 in times.tolist(), f"no move starts at t0 = {t0}"
    times = torch.linspace(t0, 0, moves + 1).round().long() if moves else times[times <= t0]
    return result(sdedit(denoiser, begin, times, seeded(seed)))


def edited(n: int, t0: int, seed: int, other: bool = False, moves: int = 0) -> dict[str, float]:
    """Rough drawings of n held-out digits, or of the `other` one next to each, edited from t0.

    How far they moved from the own drawing is a root mean square.
    """
    x, label, _ = held_out()
    guide = rough(x[:n])
    begin = guide.roll(1, 0) if other else guide
    made = edit(digits_model(), begin, t0, seed, moves) if t0 else begin
    return scored(made, label[:n]) | {"moved": rms(made.clamp(-1, 1) - guide)}


def instructed(t0: int, seed: int, instruction: bool = True, moves: int = 0) -> dict[str, float]:
    """Real digits, edited from t0 with the next class as the condition, w = 3, or without condition.

    Accuracy of the next class, and how far they moved.
    """
    x, wanted = held_out()[0][:FEW], (held_out()[1][:FEW] + 1) % 10
    guided = classifier_free(models.load("digits"), wanted, 3.0) if instruction else digits_model()
    made = edit(guided, x, t0, seed, moves)
    return scored(made, wanted) | {"moved": rms(made.clamp(-1, 1) - x)}


def inpainted(arm: str, seed: int) -> dict[str, float]:
    """The lower half of FEW held-out digits, filled; `kept`: the largest change of a kept pixel."""
    x, keep, rng = held_out()[0][:FEW], hole(), seeded(seed)
    (n, resample), noise = ARMS[arm], torch.randn(x.shape, generator=rng)
    *before, last = repaint(digits_model(), x, keep, noise, digits_model().process.times(n), resample, rng)
    kept = float(((last.x - x) * keep).abs().max())
    return scored(last.x, held_out()[1][:FEW]) | {"kept": kept, "evaluations": len(before)}


@torch.no_grad()
def inpainted_clean(arm: str, seed: int) -> dict[str, float]:
    """As `inpainted`, but what is known is put in clean, not as noisy as the rest."""
    x, keep, rng = held_out()[0][:FEW], hole().bool(), seeded(seed)
    (n, resample), made = ARMS[arm], torch.randn(x.shape, generator=rng)
    for t, s in pairwise(digits_model().process.times(n).tolist()):
        for u in range(rounds := resample if s else 1):
            _, after = ddpm(digits_model(), made, torch.tensor([t, s]), rng)
            made = torch.where(keep, x, after.x)
            if u < rounds - 1:
                made = noised_further(digits_model().process, made, s, t, randn_like(made, rng))
    return scored(made, held_out()[1][:FEW])


def measured(name: str, x: Tensor, rng: torch.Generator) -> Tensor:
    """The measurement y of digits x, with its noise."""
    measurement, std = MEASUREMENTS[name]
    y = measurement.A(x)
    return y + std * torch.randn(y.shape, generator=rng)


def by_dps(name: str, x: Tensor, seed: int, zeta: float) -> Tensor:
    """Digits from their measurements, by diffusion posterior sampling."""
    rng = seeded(seed)
    y, noise = measured(name, x, rng), torch.randn(x.shape, generator=rng)
    A = MEASUREMENTS[name][0].A
    return result(dps(digits_model(), A, y, noise, digits_model().process.times(EVALUATIONS), zeta, rng))


def by_ddnm(name: str, x: Tensor, seed: int, n: int = EVALUATIONS) -> Tensor:
    """The same from the same noises, by samples that measure y exactly."""
    rng = seeded(seed)
    y, noise = measured(name, x, rng), torch.randn(x.shape, generator=rng)
    denoiser = Consistent(digits_model(), MEASUREMENTS[name][0], y)
    return result(ddpm(denoiser, noise, digits_model().process.times(n), rng))


@cache
def tuning() -> dict[str, dict[str, float]]:
    """PSNR in dB on training digits of each measurement, over the constant of DPS."""
    x = digits.load("train")[0][:TUNING]
    return {name: {f"{zeta:g}": round(psnr(by_dps(name, x, 100, zeta), x), 2) for zeta in CONSTANTS} for name in TUNED}


def inverse(name: str, way: str, seed: int) -> dict[str, float]:
    """The scores of FEW restored digits: accuracy, distance, precision, PSNR in dB, and the rms of A x - y."""
    x, label, _ = (v[:FEW] for v in held_out())
    step = lambda: float(max(tuning()[name], key=tuning()[name].get))
    made = {
        "DDNM": lambda: by_ddnm(name, x, seed),
        "DPS": lambda: by_dps(name, x, seed, step()),
        "DPS, step 0": lambda: by_dps(name, x, seed, 0.0),
        "without a model": lambda: MEASUREMENTS[name][0].back(measured(name, x, seeded(seed))),
        "the digits themselves": lambda: x,
    }[way]()
    residual = MEASUREMENTS[name][0].A(made) - measured(name, x, seeded(seed))
    psnr_too = {} if made is x else {"PSNR": psnr(made, x)}
    return scored(made, label) | psnr_too | {"residual": rms(residual)}


def average(seed: int) -> dict[str, dict[str, float]]:
    """PSNR and distance of one sample, of another, and of the mean of MANY; and of bicubic enlargement."""
    name, (x, label, _) = "a quarter as large", (v[:FEW] for v in held_out())
    made = torch.stack([by_ddnm(name, x, 1000 + MANY * seed + k, 25).clamp(-1, 1) for k in range(MANY)])
    large = interpolate(MEASUREMENTS[name][0].A(x), size=(16, 16), mode="bicubic", align_corners=False)
    ways = {"one sample": made[0], "another sample": made[1], "mean of 4": made.mean(0), "bicubic": large}
    return {way: rounded(scored(v, label) | {"PSNR": psnr(v, x)}) for way, v in ways.items()}


def jobs(seeds) -> list[dict]:
    of_seeds = [("edit", t0) for t0 in STARTS] + [("instruct", t0) for t0 in AGREED]
    of_seeds += [(what, t0) for what in ("no instruction", "no instruction, again") for t0 in ENDS]
    of_seeds += [(HOLE, arm) for arm in ARMS]
    of_seeds += [(f"{HOLE}, put in clean", arm) for arm in ARMS]
    of_seeds += [("edit, other guide", t0) for t0 in LADDER] + [("edit, 50 moves", 200)]
    of_seeds += [("instruct, 45 moves", 300), ("no instruction, 45 moves", 300)]
    found = [(what, at, seed) for seed in seeds for what, at in of_seeds]
    return [dict(zip(("what", "at", "seed"), job)) for job in found]


def row(n: int, what: str, at: int | str, seed: int) -> dict:
    """The figures of one row: `at` is the time that an edit starts from, or an arm of ARMS."""
    moves = int(found[1]) if (found := re.search(r"(\d+) moves$", what)) else 0
    if what.startswith("edit"):
        figures = edited(n, at, seed, "other" in what, moves)
    elif "instruct" in what:
        figures = instructed(at, seed + 10 * ("again" in what), what.startswith("instruct"), moves)
    else:
        figures = inpainted(at, seed) if what == HOLE else inpainted_clean(at, seed)
    return {"figures": rounded(figures)}


WAYS = ("DDNM", "DPS", "DPS, step 0", "without a model", "the digits themselves")


def real(n: int) -> dict[str, float]:
    """The scores of real digits."""
    x, label = digits.load("train")
    return rounded(scored(x[:FEW], label[:FEW]))


def left_black(n: int) -> dict[str, float]:
    """The scores of digits with the hole left black."""
    x, label, _ = (v[:FEW] for v in held_out())
    return rounded(scored(torch.where(hole().bool(), x, -1.0), label))


ASKED = [(name, way) for way in WAYS for name in TUNED if way != "DPS, step 0" or MEASUREMENTS[name][1]]
ASKED += [("blurred", way) for way in ("DDNM", "without a model")]


def table(found: dict) -> str:
    """The means over seeds, a line for each way."""
    show = lambda rows, *names: " | ".join(
        f"{sum(row['figures'][name] for row in rows) / len(rows):.2f}" if rows else "" for name in names
    )
    runs = lambda what, at: [row for row in found["runs"] if (row["what"], row["at"]) == (what, at)]
    lines = ["| what | class accuracy | Frechet distance | precision |", "|---|---|---|---|"]
    asked = [("edit", t0, f"edit of a rough digit from t0 = {t0}") for t0 in (0, 200, 300, 1000)]
    asked += [("instruct", t0, f"instruction, from t0 = {t0}") for t0 in ENDS]
    asked += [(HOLE + how, arm, f"lower half filled{how}, {arm}") for how in ("", ", put in clean") for arm in ARMS]
    lines += [f"| {name} | {show(runs(what, at), *SCORES)} |" for what, at, name in asked]
    for name, way in ASKED:
        rows = [row for row in found["inverse"] if (row["name"], row["way"]) == (name, way)]
        lines.append(f"| {name}: {way} | {show(rows, *SCORES)} |")
    return "\n".join(lines)


SCORES = ("class accuracy", "Frechet distance", "precision")
BENCH = Benchmark(
    "applications",
    [
        Part(jobs=jobs, row=row, once={"real": real, "left black": left_black, "tuning": lambda n: tuning()}),
        Part(
            into="inverse",
            jobs=lambda seeds: [{"name": name, "way": way, "seed": seed} for name, way in ASKED for seed in seeds],
            row=lambda n, name, way, seed: {"figures": rounded(inverse(name, way, seed))},
        ),
        Part(into="average", jobs=lambda seeds: [{"seed": seed} for seed in seeds], row=lambda n, seed: average(seed)),
    ],
    amounts={"n": 500},
    header={"few": FEW},
    table=table,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
