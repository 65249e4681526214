"""A mark in the initial noise, detected after edits of the pictures. Lesson 20 shows the results.

    python tests/benchmarks/provenance.py      # two minutes on one core

The shipped digit model samples from marked noise (w = 2, 25 DDIM steps, 8 bits a pixel). The detection of the mark is not
given the class: it inverts with NULL. At the threshold ('limit' in the file) one in a hundred unmarked, unedited pictures
passes, real or generated.
"""

import io
from collections.abc import Callable
from functools import cache

import torch
from PIL import Image
from rows import Benchmark, Part, measure
from scores import rounded
from torch import Tensor
from torch.nn.functional import interpolate, pad

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import NULL
from course_lib.guidance import classifier_free
from course_lib.methods.editing import blurred, sdedit
from course_lib.methods.watermark import add_mark, draw_key, match
from course_lib.process import seeded
from course_lib.samplers import ddim, invert, result, sample
from course_lib.zoo import models

KEYS, FALSE_ALARM, UNMARKED = (0, 1, 2), 0.01, 1000
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
    """Without a border of `pixels`, enlarged to the old size."""
    inner = slice(pixels, -pixels)
    return lambda x, rng: interpolate(x[..., inner, inner], size=x.shape[-2:], mode="bilinear", align_corners=False)


def shifted(pixels: int) -> Callable:
    """Moved to the right; the left border becomes black."""
    return lambda x, rng: pad(x, (pixels, -pixels, 0, 0), value=-1.0)


def noisy(std: float) -> Callable:
    return lambda x, rng: x + std * torch.randn(x.shape, generator=rng)


def regenerated(model, t0: int) -> Callable:
    """Noised to t0 and denoised from there, without knowledge of the mark: lesson 19's editing."""
    times = model.process.times(50)
    return lambda x, rng: result(sdedit(model, x, times[times <= t0], rng))


def edits(model) -> dict[str, Callable]:
    return {
        "nothing": lambda x, rng: x,
        **{f"JPEG {q}": jpeg(q) for q in (90, 75, 50, 25, 10)},
        "mirror": lambda x, rng: x.flip(-1),
        "turn by 90°": lambda x, rng: x.rot90(1, (-2, -1)),
        **{f"blur {std:g}": lambda x, rng, std=std: blurred(std, 0).A(x) for std in (0.5, 1.0)},
        **{f"noise {std:g}": noisy(std) for std in (0.1, 0.2, 0.4)},
        **{f"shift {n}": shifted(n) for n in (1, 2)},
        **{f"crop {n}": cropped(n) for n in (1, 2)},
        **{f"regenerate {t}": regenerated(model, t) for t in (100, 200, 300, 400, 600)},
    }


@cache
def model():
    return models.load("digits").given(NULL)


def inverted(x: Tensor) -> Tensor:
    """The noise that 25 steps of DDIM, backwards and without the class, find for pictures."""
    return torch.cat([result(invert(model(), part, model().process.times(25))) for part in x.split(200)])


def generate(noise: Tensor) -> Tensor:
    """Pictures of the ten digits from that noise, w = 2, as a file keeps them."""
    label = torch.arange(len(noise)) % 10
    return eight_bits(sample(classifier_free(models.load("digits"), label, 2.0), noise, 25, batch=len(noise)))


@cache
def unmarked(n: int) -> tuple[Tensor, Tensor]:
    """Noise without a mark, and its pictures."""
    noise = model().draw_noise(n, seeded(10))
    return noise, generate(noise)


@cache
def unmarked_noise(n: int) -> Tensor:
    """The noise found for UNMARKED pictures without a mark, generated and real."""
    return inverted(torch.cat([unmarked(n)[1], eight_bits(digits.load("held_out")[0][: UNMARKED - n])]))


@cache
def edited(n: int, edit: str) -> Tensor:
    """The noise found for the pictures without a mark after an edit."""
    return inverted(eight_bits(edits(model())[edit](unmarked(n)[1], seeded(0))))


@cache
def marked(n: int, mark: str, key: int):
    """A key, the threshold of its match, and pictures with its mark."""
    key = draw_key(16, *MARKS[mark], key)
    threshold = float(match(unmarked_noise(n), key).quantile(1 - FALSE_ALARM))
    return key, threshold, generate(add_mark(unmarked(n)[0], key))


@torch.no_grad()
def quality(x: Tensor) -> dict:
    """The classifier's scores, and how much pictures of one class differ: the mean variance of a pixel."""
    evaluator, label = models.load("classifier"), torch.arange(len(x)) % 10
    real = evaluator.features(digits.load("held_out")[0])
    spread = torch.stack([x[label == c].var(0).mean() for c in range(10)]).mean()
    figures = {
        "class accuracy": metrics.accuracy(evaluator(x), label),
        "Frechet distance": metrics.frechet_distance(evaluator.features(x), real),
        "variance within a class": float(spread),
    }
    return rounded(figures)


def passed(noise: Tensor, key, threshold: float) -> float:
    """The share of noises in which the mark is detected."""
    return round(float((match(noise, key) > threshold).float().mean()), 4)


def row(n: int, mark: str, key: int, edit: str) -> dict:
    """The share of marked and of unmarked pictures in which the mark is detected after an edit."""
    secret, threshold, x = marked(n, mark, key)
    noise = inverted(eight_bits(edits(model())[edit](x, seeded(0))))
    found = {"limit": round(threshold, 4), "detected": passed(noise, secret, threshold)}
    return found | {"false alarms": passed(edited(n, edit), secret, threshold)}


@torch.no_grad()
def forged(n: int, mark: str, key: int) -> dict:
    """A forgery: the mark is added to the noise found for real pictures, and the pictures are generated again from it."""
    (secret, threshold, _), (real, label) = marked(n, mark, key), digits.load("held_out")
    photo, label, times = real[-n:], label[-n:], model().process.times(50)
    own = models.load("digits").given(label)
    again = eight_bits(result(ddim(own, add_mark(result(invert(own, photo, times)), secret), times)))
    alike = metrics.accuracy(models.load("classifier")(again), label)
    found = {"detected": passed(inverted(again), secret, threshold), "still read as it was": round(alike, 4)}
    return found | {"moved": round(float((again - photo).square().mean().sqrt()), 4)}


def qualities(n: int) -> dict[str, list[dict]]:
    """The quality of pictures without a mark, and with that of each key."""
    marks = {name: [quality(marked(n, name, key)[2]) for key in KEYS] for name in MARKS}
    return {"plain": [quality(unmarked(n)[1])], **marks}


def pairs(seeds) -> list[dict]:
    return [{"mark": mark, "key": key} for mark in MARKS for key in KEYS]


def jobs(seeds) -> list[dict]:
    return [pair | {"edit": name} for pair in pairs(seeds) for name in edits(model())]


ONCE = {
    "marks": lambda n: {name: [*band, int(draw_key(16, *band).mask.sum())] for name, band in MARKS.items()},
    "quality": qualities,
}
BENCH = Benchmark(
    "provenance",
    [Part(jobs=jobs, row=row, once=ONCE), Part(jobs=pairs, row=forged, into="forged")],
    amounts={"n": 100},
    seeds=(),
    header={"false alarm": FALSE_ALARM, "innocent": UNMARKED},
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
