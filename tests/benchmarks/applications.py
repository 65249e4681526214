"""Editing, inpainting and inverse problems with the shipped digit model. Lesson 19 shows the results.

    python tests/benchmarks/applications.py [--n 500] [--seeds 0 1 2] [--only what=shapes]

About seven minutes on one core, two of them for inpainting of shapes by text. The model of digits is not conditioned (NULL)
except in "instruct". Edits are of n held-out digits, all else of 200 (25 pictures of shapes).
"""

from functools import cache
from itertools import pairwise

import torch
from rows import Benchmark, Part, measure
from scores import as_base64, right, rounded
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import metrics
from course_lib.datasets import captions, digits, scenes, shapes
from course_lib.denoisers import NULL
from course_lib.guidance import classifier_free
from course_lib.methods.editing import Consistent, blurred, repaint, sdedit, shrunk
from course_lib.process import seeded
from course_lib.samplers import ddpm, result
from course_lib.zoo import models

STARTS, AGREED = tuple(range(0, 1001, 100)), (300, 400, 500, 600, 700, 800, 900)
RESAMPLED = (1, 2, 5, 10)
MEASUREMENTS = {"half as large": shrunk(2), "a quarter as large": shrunk(4), "blur 1.5": blurred(1.5), "blur 2": blurred(2.0)}
FEW, MANY, SHAPES = 200, tuple(range(8)), 25


def rough(x: Tensor) -> Tensor:
    """Digits (B, 1, 16, 16) as a hand might draw them on 8 x 8 squares, black or white."""
    return interpolate((avg_pool2d(x, 2) > -0.2).float() * 2 - 1, scale_factor=2)


def holes() -> dict[str, Tensor]:
    """The masks (1, 16, 16) of what is kept of a picture: 1, and 0 in the hole."""
    half, box = torch.ones(2, 1, 16, 16)
    half[:, 8:], box[:, 4:12, 4:12] = 0, 0
    return {"lower half": half, "middle": box}


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


def edited(n: int, t0: int, seed: int) -> dict[str, float]:
    """Rough drawings of n held-out digits, edited from t0; how far they moved is a root mean square."""
    (x, label, _), times = held_out(), digits_model().process.times(50)
    guide, rng = rough(x[:n]), seeded(seed)
    made = result(sdedit(digits_model(), guide, times[times <= t0], rng)) if t0 else guide
    return scored(made, label[:n]) | {"moved": rms(made.clamp(-1, 1) - guide)}


def instructed(n: int, t0: int, seed: int) -> dict[str, float]:
    """Real digits, edited from t0 with the next class as the condition, w = 3: accuracy of that class, how far they moved."""
    x, wanted, times = held_out()[0][:FEW], (held_out()[1][:FEW] + 1) % 10, digits_model().process.times(25)
    guided = classifier_free(models.load("digits"), wanted, 3.0)
    made = result(sdedit(guided, x, times[times <= t0], seeded(seed)))
    return scored(made, wanted) | {"moved": rms(made.clamp(-1, 1) - x)}


def inpainted(hole: str, resample: int, seed: int) -> dict[str, float]:
    """Holes in FEW held-out digits, filled; `kept` is the largest change of what was kept."""
    x, keep, rng = held_out()[0][:FEW], holes()[hole], seeded(seed)
    noise = torch.randn(x.shape, generator=rng)
    made = result(repaint(digits_model(), x, keep, noise, digits_model().process.times(25), resample, rng))
    return scored(made, held_out()[1][:FEW]) | {"kept": float(((made - x) * keep).abs().max())}


@torch.no_grad()
def inpainted_clean(hole: str, seed: int) -> dict[str, float]:
    """As `inpainted`, each move once, but what is known is put in clean, not as noisy as the rest."""
    x, keep, rng = held_out()[0][:FEW], holes()[hole].bool(), seeded(seed)
    made = torch.randn(x.shape, generator=rng)
    for t, s in pairwise(digits_model().process.times(25).tolist()):
        _, after = ddpm(digits_model(), made, torch.tensor([t, s]), rng)
        made = torch.where(keep, x, after.x)
    return scored(made, held_out()[1][:FEW])


@cache
def restored(name: str, seed: int) -> Tensor:
    """FEW held-out digits, from their measurements."""
    measurement, x, rng = MEASUREMENTS[name], held_out()[0][:FEW], seeded(seed)
    noise = torch.randn(x.shape, generator=rng)
    denoiser = Consistent(digits_model(), measurement, measurement.A(x))
    return result(ddpm(denoiser, noise, digits_model().process.times(50), rng))


def restoration(name: str, made: Tensor) -> dict[str, float]:
    """The scores of restored digits, and how far their measurements are from y, a root mean square."""
    x, label, _ = (v[:FEW] for v in held_out())
    A = MEASUREMENTS[name].A
    return scored(made, label) | {"PSNR": psnr(made, x), "off": rms(A(made) - A(x))}


def simple(way: str, name: str) -> dict[str, float]:
    """The scores without a model: the pseudo-inverse, or bicubic enlargement of small pictures."""
    y = MEASUREMENTS[name].A(held_out()[0][:FEW])
    if way == "bicubic":
        return restoration(name, interpolate(y, size=(16, 16), mode="bicubic", align_corners=False))
    return restoration(name, MEASUREMENTS[name].back(y))


def mean_of_8(name: str) -> dict[str, float]:
    """The scores of the mean of eight restorations."""
    mean = torch.stack([restored(name, seed).clamp(-1, 1) for seed in MANY]).mean(0)
    return scored(mean, held_out()[1][:FEW]) | {"PSNR": psnr(mean, held_out()[0][:FEW])}


def halves(n: int, seed: int) -> tuple[Tensor, list[str], scenes.Scene, Tensor]:
    """n pictures (n, 3, 32, 32) of pairs side by side, their captions, the scenes that these describe, and what is kept: the
    left half, with the first of each pair."""
    rng = seeded(seed)
    scene = scenes.sample(4 * n, rng, ("pair",))
    scene = scene[(scene.relation == scenes.RELATIONS.index("left of")).nonzero().flatten()[:n]]
    prompts, described = captions.tell(scene, rng)
    keep = torch.ones(1, 32, 32)
    keep[..., 16:] = 0
    return shapes.draw(scene, rng), prompts, described, keep


def shapes_filled(at: int | str, seed: int) -> dict:
    """The share in which everything is right after the right halves of pictures were inpainted as the caption says, w = 3, each
    move `at` times; or of the 'whole' pictures themselves."""
    x, prompts, described, keep = halves(SHAPES, seed)
    if at == "whole":
        figures = {"all read right": right(x, described)["all"]}
        return {"figures": figures, "said": prompts[:5], "pictures": as_base64(x[:5])}
    network, rng = models.load("text2shape"), seeded(seed)
    guided, noise = classifier_free(network, prompts, 3.0), torch.randn(x.shape, generator=rng)
    made = result(repaint(guided, x, keep, noise, network.process.times(20), at, rng))
    figures = {"all read right": right(made, described)["all"], "kept": float(((made - x) * keep).abs().max())}
    return {"figures": rounded(figures)} | ({"pictures": as_base64(made[:5])} if seed == 0 else {})


def jobs(seeds) -> list[dict]:
    small = [name for name, measurement in MEASUREMENTS.items() if measurement.A(torch.zeros(1, 1, 16, 16)).shape[-1] < 16]
    of_seeds = [("edit", t0) for t0 in STARTS] + [("instruct", t0) for t0 in AGREED]
    of_seeds += [(f"{hole}, put in clean", 1) for hole in holes()]
    of_seeds += [(hole, resample) for hole in holes() for resample in RESAMPLED] + [("shapes", at) for at in (1, 4)]
    found = [(what, at, seed) for seed in seeds for what, at in of_seeds] + [("shapes", "whole", 0)]
    found += [("DDNM", name, seed) for name in MEASUREMENTS for seed in MANY]
    found += [(way, name, 0) for way in ("pseudo-inverse", "mean of 8") for name in MEASUREMENTS]
    found += [("bicubic", name, 0) for name in small]
    return [dict(zip(("what", "at", "seed"), job)) for job in found]


def row(n: int, what: str, at: int | str, seed: int) -> dict:
    """The figures of one row: `at` is the time that an edit starts from, how often a move is made, or a measurement."""
    if what == "shapes":
        return shapes_filled(at, seed)
    if what in ("edit", "instruct"):
        figures = (edited if what == "edit" else instructed)(n, at, seed)
    elif what == "DDNM":
        figures = restoration(at, restored(at, seed))
    elif what == "mean of 8":
        figures = mean_of_8(at)
    elif what in ("pseudo-inverse", "bicubic"):
        figures = simple(what, at)
    elif what in holes():
        figures = inpainted(what, at, seed)
    else:
        figures = inpainted_clean(what.removesuffix(", put in clean"), seed)
    return {"figures": rounded(figures)}


def real(n: int) -> dict[str, float]:
    """The scores of real digits."""
    x, label = digits.load("train")
    return rounded(scored(x[:FEW], label[:FEW]))


def left_black(n: int) -> dict[str, dict[str, float]]:
    """The scores of digits with the holes left black."""
    x, label, _ = (v[:FEW] for v in held_out())
    return {hole: rounded(scored(torch.where(keep.bool(), x, -1.0), label)) for hole, keep in holes().items()}


BENCH = Benchmark(
    "applications",
    [Part(jobs=jobs, row=row, once={"real": real, "left black": left_black})],
    amounts={"n": 500},
    header={"few": FEW},
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
