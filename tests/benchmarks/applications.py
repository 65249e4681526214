"""Editing, inpainting and inverse problems with the shipped digit model. Lesson 19 shows the results.

    python tests/benchmarks/applications.py [--shapes] [--out data/figures/applications.json]

About five minutes on one core; `--shapes` adds inpainting of shapes by text, two minutes more. The painter of digits is told
nothing (NULL) but in "instruct". Rows that are in the file already are not made again, so that it may be stopped at any time.
"""

import argparse
import json
import os
from itertools import chain, pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import metrics, models
from course_lib.datasets import captions, digits, scenes, shapes
from course_lib.denoisers import NULL
from course_lib.editing import Consistent, Linear, blurred, repaint, sdedit, shrunk
from course_lib.guidance import ClassifierFree
from course_lib.samplers import ddpm, result

OUT = Path(__file__).parents[2] / "data/figures/applications.json"
STARTS, AGREED = tuple(range(0, 1001, 100)), (300, 400, 500, 600, 700, 800, 900)
RESAMPLED = (1, 2, 5, 10)
MEASUREMENTS = {"half as large": shrunk(2), "a quarter as large": shrunk(4), "blur 1.5": blurred(1.5), "blur 2": blurred(2.0)}
N, FEW, SEEDS, MANY = 500, 200, (0, 1, 2), tuple(range(8))


def rough(x: Tensor) -> Tensor:
    """Digits (B, 1, 16, 16) as someone might draw them on 8 x 8 squares, black or white."""
    return interpolate((avg_pool2d(x, 2) > -0.2).float() * 2 - 1, scale_factor=2)


def holes() -> dict[str, Tensor]:
    """What is kept of a picture, (1, 16, 16): 1, and 0 in the hole."""
    half, box = torch.ones(2, 1, 16, 16)
    half[:, 8:], box[:, 4:12, 4:12] = 0, 0
    return {"lower half": half, "middle": box}


def psnr(x: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels, of pictures in [-1, 1]."""
    return float(10 * torch.log10(4 / (x.clamp(-1, 1) - truth).square().mean()))


class Bench:
    """The painter, the judge, and the held-out digits that both never saw."""

    def __init__(self):
        self.network, self.judge = models.load("digits"), models.load("classifier")
        self.painter, self.process = self.network.given(NULL), self.network.process
        self.x, self.label = digits.load("held_out")
        with torch.no_grad():
            self.real = self.judge.features(self.x)

    @torch.no_grad()
    def judged(self, made: Tensor, label: Tensor) -> dict[str, float]:
        """Class accuracy, and distance and precision beside those held-out digits that none of these came from."""
        features, real = self.judge.features(made.clamp(-1, 1)), self.real[len(made) :]
        return {
            "class accuracy": metrics.accuracy(self.judge(made.clamp(-1, 1)), label),
            "Frechet distance": metrics.frechet_distance(features, real),
            "precision": metrics.precision_recall(real, features)[0],
        }

    def edited(self, seed: int, t0: int) -> dict[str, float]:
        """Rough drawings of N held-out digits, edited from t0; how far they moved is a root mean square."""
        guide, times = rough(self.x[:N]), self.process.times(50)
        rng = torch.Generator().manual_seed(seed)
        made = result(sdedit(self.painter, guide, times[times <= t0], rng)) if t0 else guide
        moved = (made.clamp(-1, 1) - guide).square().mean().sqrt()
        return self.judged(made, self.label[:N]) | {"moved": float(moved)}

    def instructed(self, seed: int, t0: int) -> dict[str, float]:
        """Real digits, edited from t0 with the next class asked for, w = 3: how many are read as asked, how far they moved."""
        x, asked, times = self.x[:FEW], (self.label[:FEW] + 1) % 10, self.process.times(25)
        guided = ClassifierFree(self.network.given(asked), self.painter, 3.0)
        made = result(sdedit(guided, x, times[times <= t0], torch.Generator().manual_seed(seed)))
        return self.judged(made, asked) | {"moved": float((made.clamp(-1, 1) - x).square().mean().sqrt())}

    def filled(self, seed: int, hole: str, resample: int) -> dict[str, float]:
        """Holes in FEW held-out digits, filled; `kept` is the largest change of what was kept."""
        x, keep = self.x[:FEW], holes()[hole]
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(x.shape, generator=rng)
        made = result(repaint(self.painter, x, keep, noise, self.process.times(25), resample, rng))
        return self.judged(made, self.label[:FEW]) | {"kept": float(((made - x) * keep).abs().max())}

    @torch.no_grad()
    def careless(self, seed: int, hole: str) -> dict[str, float]:
        """As `filled`, once a move, but what is known is put in clean, not as noisy as the rest."""
        x, keep, rng = self.x[:FEW], holes()[hole].bool(), torch.Generator().manual_seed(seed)
        made = torch.randn(x.shape, generator=rng)
        for t, s in pairwise(self.process.times(25).tolist()):
            _, after = ddpm(self.painter, made, torch.tensor([t, s]), rng)
            made = torch.where(keep, x, after.x)
        return self.judged(made, self.label[:FEW])

    def undone(self, seed: int, measurement: Linear) -> tuple[dict[str, float], Tensor]:
        """FEW held-out digits from their measurements; how far each measures from y is a root mean square."""
        x = self.x[:FEW]
        y, rng = measurement.A(x), torch.Generator().manual_seed(seed)
        noise = torch.randn(x.shape, generator=rng)
        made = result(ddpm(Consistent(self.painter, measurement, y), noise, self.process.times(50), rng))
        off = float((measurement.A(made) - y).square().mean().sqrt())
        return self.judged(made, self.label[:FEW]) | {"PSNR": psnr(made, x), "off": off}, made

    def simple(self, measurement: Linear) -> dict[str, dict[str, float]]:
        """What is got without a model: the pseudo-inverse, and for small pictures bicubic enlargement."""
        x, label = self.x[:FEW], self.label[:FEW]
        y = measurement.A(x)
        ways = {"pseudo-inverse": measurement.back(y)}
        if y.shape != x.shape:
            ways["bicubic"] = interpolate(y, size=(16, 16), mode="bicubic", align_corners=False)
        off = lambda made: float((measurement.A(made) - y).square().mean().sqrt())
        return {way: self.judged(made, label) | {"PSNR": psnr(made, x), "off": off(made)} for way, made in ways.items()}


def halves(n: int, seed: int) -> tuple[Tensor, list[str], scenes.Scene, Tensor]:
    """n pictures (n, 3, 32, 32) of pairs side by side, what is said of them, what of that must be seen, and what is kept: the
    left half, with the first of each pair."""
    rng = torch.Generator().manual_seed(seed)
    scene = scenes.sample(4 * n, rng, ("pair",))
    scene = scene[(scene.relation == scenes.RELATIONS.index("left of")).nonzero().flatten()[:n]]
    said, told = captions.tell(scene, rng)
    keep = torch.ones(1, 32, 32)
    keep[..., 16:] = 0
    return shapes.draw(scene, rng), said, told, keep


def shapes_filled(seed: int, resample: int, n: int = 40) -> dict[str, float]:
    """The right halves of n pictures of shapes, painted anew as the caption says, w = 3, and read by the reader."""
    network, reader, (x, said, told, keep) = models.load("text2shape"), models.load("reader"), halves(n, seed)
    guided = ClassifierFree(network.given(said), network.given(NULL), 3.0)
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=rng)
    made = result(repaint(guided, x, keep, noise, network.process.times(20), resample, rng))
    right = scenes.agreement(reader.read(made), told)
    return {"all read right": right["all"], "kept": float(((made - x) * keep).abs().max())}


def rounded(figures: dict) -> dict:
    return {name: round(v, 4) for name, v in figures.items()}


def rows(bench: Bench, have: set):
    """Every row that is not there yet."""
    for seed in SEEDS:
        for t0 in STARTS:
            if ("edit", t0, seed) not in have:
                yield {"what": "edit", "at": t0, "seed": seed, "figures": bench.edited(seed, t0)}
        for t0 in AGREED:
            if ("instruct", t0, seed) not in have:
                yield {"what": "instruct", "at": t0, "seed": seed, "figures": bench.instructed(seed, t0)}
        for hole in holes():
            if (f"{hole}, put in clean", 1, seed) not in have:
                yield {"what": f"{hole}, put in clean", "at": 1, "seed": seed, "figures": bench.careless(seed, hole)}
            for resample in RESAMPLED:
                if (hole, resample, seed) not in have:
                    yield {"what": hole, "at": resample, "seed": seed, "figures": bench.filled(seed, hole, resample)}
    for name, measurement in MEASUREMENTS.items():
        if ("mean of 8", name, 0) in have:
            continue
        made = []
        for seed in MANY:
            figures, x = bench.undone(seed, measurement)
            made.append(x.clamp(-1, 1))
            yield {"what": "DDNM", "at": name, "seed": seed, "figures": figures}
        for way, figures in bench.simple(measurement).items():
            yield {"what": way, "at": name, "seed": 0, "figures": figures}
        mean = torch.stack(made).mean(0)
        figures = bench.judged(mean, bench.label[:FEW]) | {"PSNR": psnr(mean, bench.x[:FEW])}
        yield {"what": "mean of 8", "at": name, "seed": 0, "figures": figures}


def shapes_rows(have: set):
    """The rows of shapes that are not there yet."""
    for seed in SEEDS:
        for resample in (1, 4):
            if ("shapes", resample, seed) not in have:
                yield {"what": "shapes", "at": resample, "seed": seed, "figures": shapes_filled(seed, resample)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--shapes", action="store_true")
    args = parser.parse_args()
    bench = Bench()
    if args.out.is_file():
        found = json.loads(args.out.read_text())
    else:
        found = {"command": "python tests/benchmarks/applications.py", "torch": torch.__version__.split("+")[0]}
        few = {hole: bench.judged(torch.where(k.bool(), bench.x[:FEW], -1.0), bench.label[:FEW]) for hole, k in holes().items()}
        real = bench.judged(digits.load("train")[0][:FEW], digits.load("train")[1][:FEW])
        found |= {"n": N, "few": FEW, "real": rounded(real), "left black": {h: rounded(v) for h, v in few.items()}, "runs": []}
    have = {(run["what"], run["at"], run["seed"]) for run in found["runs"]}
    for row in chain(rows(bench, have), shapes_rows(have) if args.shapes else ()):
        found["runs"].append(row | {"figures": rounded(row["figures"])})
        partial = args.out.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=1) + "\n")
        os.replace(partial, args.out)
        print(json.dumps(found["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
