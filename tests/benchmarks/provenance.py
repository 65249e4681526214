"""A mark in the initial noise, read back after what happens to pictures. Lesson 20 shows the results.

    python tests/benchmarks/provenance.py      # two minutes on one core: data/figures/provenance.json

The shipped digit model draws with marked noise (w = 2, 25 DDIM steps, 8 bits a pixel). The reader of the mark is not told the
class: it inverts with NULL. The limit is such that one in a hundred unmarked, unharmed pictures passes it, real or drawn.
"""

import argparse
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from course_lib import metrics, models
from course_lib.datasets import digits
from course_lib.denoisers import NULL
from course_lib.editing import blurred, sdedit
from course_lib.guidance import ClassifierFree
from course_lib.provenance import draw_key, marked, match
from course_lib.samplers import ddim, invert, result

OUT = Path(__file__).parents[2] / "data/figures/provenance.json"
N, KEYS, FALSE_ALARM, INNOCENT = 100, (0, 1, 2), 0.01, 1000
MARKS = {"low": (1, 5), "high": (6, 9)}
"""The frequencies that carry the mark, in waves a picture: from, to."""


def eight_bits(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] as a file keeps them."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def jpeg(quality: int) -> Callable:
    """Through a JPEG file of this quality, in 1..95, in grey."""

    def compressed(x: Tensor, rng) -> Tensor:
        back = []
        for picture in ((x[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy():
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG", quality=quality)
            back.append(torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8).view(x.shape[1:]))
        return torch.stack(back).float() / 127.5 - 1

    return compressed


def cropped(pixels: int) -> Callable:
    """Without a border of so many pixels, enlarged to the old size."""
    inner = slice(pixels, -pixels)
    return lambda x, rng: interpolate(x[..., inner, inner], size=x.shape[-2:], mode="bilinear", align_corners=False)


def shifted(pixels: int) -> Callable:
    """Moved to the right; what comes in is black."""
    return lambda x, rng: pad(x, (pixels, -pixels, 0, 0), value=-1.0)


def noisy(std: float) -> Callable:
    return lambda x, rng: x + std * torch.randn(x.shape, generator=rng)


def regenerated(painter, t0: int) -> Callable:
    """Noised to t0 and drawn anew from there, by a model that knows nothing of the mark: lesson 19's editing."""
    times = painter.process.times(50)
    return lambda x, rng: result(sdedit(painter, x, times[times <= t0], rng))


def edits(painter) -> dict[str, Callable]:
    return {
        "nothing": lambda x, rng: x,
        **{f"JPEG {q}": jpeg(q) for q in (90, 75, 50, 25, 10)},
        "mirror": lambda x, rng: x.flip(-1),
        "turn by 90°": lambda x, rng: x.rot90(1, (-2, -1)),
        **{f"blur {std:g}": lambda x, rng, std=std: blurred(std, 0).A(x) for std in (0.5, 1.0)},
        **{f"noise {std:g}": noisy(std) for std in (0.1, 0.2, 0.4)},
        **{f"shift {n}": shifted(n) for n in (1, 2)},
        **{f"crop {n}": cropped(n) for n in (1, 2)},
        **{f"regenerate {t}": regenerated(painter, t) for t in (100, 200, 300, 400, 600)},
    }


def measure() -> dict:
    network, judge = models.load("digits"), models.load("classifier")
    painter, process, label = network.given(NULL), network.process, torch.arange(N) % 10
    guided = ClassifierFree(network.given(label), painter, 2.0)
    draw = lambda noise: eight_bits(result(ddim(guided, noise, process.times(25))))
    inverted = lambda x: torch.cat([result(invert(painter, part, process.times(25))) for part in x.split(200)])
    noise = torch.randn(N, 1, 16, 16, generator=torch.Generator().manual_seed(10))
    plain, (real, of_real) = draw(noise), digits.load("held_out")
    innocent = inverted(torch.cat([plain, eight_bits(real[: INNOCENT - N])]))

    @torch.no_grad()
    def quality(x: Tensor) -> dict:
        """What the judge says, and how much pictures of one class differ: the mean variance of a pixel."""
        features = judge.features(x)
        spread = torch.stack([x[label == c].var(0).mean() for c in range(10)]).mean()
        figures = {
            "class accuracy": metrics.accuracy(judge(x), label),
            "Frechet distance": metrics.frechet_distance(features, judge.features(real)),
            "variance within a class": float(spread),
        }
        return {name: round(value, 4) for name, value in figures.items()}

    found = {
        "command": "python tests/benchmarks/provenance.py",
        "torch": torch.__version__.split("+")[0],
        "n": N,
        "false alarm": FALSE_ALARM,
        "innocent": INNOCENT,
        "marks": {name: [*band, int(draw_key(16, *band).mask.sum())] for name, band in MARKS.items()},
        "quality": {"plain": [quality(plain)], **{name: [] for name in MARKS}},
        "runs": [],
        "forged": [],
    }
    harm, fresh = edits(painter), lambda: torch.Generator().manual_seed(0)
    harmed = {name: inverted(eight_bits(edit(plain, fresh()))) for name, edit in harm.items()}
    for mark, band in MARKS.items():
        for seed in KEYS:
            key = draw_key(16, *band, seed)
            limit = float(match(innocent, key).quantile(1 - FALSE_ALARM))
            passes = lambda noise, key=key, limit=limit: round(float((match(noise, key) > limit).float().mean()), 4)
            made = draw(marked(noise, key))
            found["quality"][mark].append(quality(made))
            for name, edit in harm.items():
                run = {"mark": mark, "key": seed, "edit": name, "limit": round(limit, 4)}
                run |= {"detected": passes(inverted(eight_bits(edit(made, fresh())))), "false alarms": passes(harmed[name])}
                found["runs"].append(run)
                print(json.dumps(run), flush=True)
            # A forgery: a real picture's own noise is given the mark, and the picture drawn again from it.
            photo, own, times = real[-N:], network.given(of_real[-N:]), process.times(50)
            again = eight_bits(result(ddim(own, marked(result(invert(own, photo, times)), key), times)))
            with torch.no_grad():
                alike = metrics.accuracy(judge(again), of_real[-N:])
            run = {"mark": mark, "key": seed, "detected": passes(inverted(again)), "still read as it was": round(alike, 4)}
            found["forged"].append(run | {"moved": round(float((again - photo).square().mean().sqrt()), 4)})
            print(json.dumps(found["forged"][-1]), flush=True)
    return found


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    partial = OUT.with_suffix(".partial")
    partial.write_text(json.dumps(measure(), indent=1) + "\n")
    os.replace(partial, OUT)


if __name__ == "__main__":
    main()
