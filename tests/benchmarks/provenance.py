"""A mark in the initial noise, detected after edits of the pictures. Lesson 20 shows the results.

    python tests/benchmarks/provenance.py [--n 40]      # four minutes on one core

Protocol, written before the runs. The shipped digits' network samples n pictures from marked noise (w = 2, 25 DDIM steps, 8
bits a pixel). The detector is not given the class: it inverts with NULL. At the threshold one in a hundred of 600 unmarked,
unedited pictures passes, 300 generated and 300 real. Two patterns of key at the same frequencies, 1 to 5 waves a picture:
"rand" and "rings". Ten keys of each; key i has noises of its own, the same for both patterns, so that arms are paired. Five
keys were planned; the last five were drawn once the detection rates of the first had been seen, with all conditions kept.

Conditions. "Rings survive mirrors and quarter turns": the detection rate of rings is higher than that of rand after a mirror
and after a turn by 90 degrees; null model, rand keys of further seeds. "Marked pictures are more alike": the variance
of a pixel within a class is lower for rings than without a mark; null model, other noises without a mark. "The holder of the
key can forge": of real digits to whose inverted noise the mark is added, more pass than of the same digits drawn again without
it; null model, the same digits with the mark of another key. This null model passed: 0.33 beside 0.02, since two ring keys may
be alike. So the lesson compares the mark with that of another key, and its null model has no mark.
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
from course_lib.teaching.evidence import estimate
from course_lib.zoo import models

KEYS, FALSE_ALARM, UNMARKED = range(10), 0.01, 600
PATTERNS = {"rings": ("rings", 0), "rand": ("rand", 0), "rand, again": ("rand", 100)}
"""The pattern of each kind of key, and what is added to its seed."""


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
        "mirror": lambda x, rng: x.flip(-1),
        "turn by 90°": lambda x, rng: x.rot90(1, (-2, -1)),
        "JPEG 75": jpeg(75),
        "blur 0.5": lambda x, rng: blurred(0.5, 1e-3).A(x),
        "noise 0.1": noisy(0.1),
        "shift 1": shifted(1),
        "crop 1": cropped(1),
        "regenerate 200": regenerated(model, 200),
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
    return eight_bits(sample(classifier_free(models.load("digits"), label, 2.0), noise, 25, batch=250))


def noise_of(n: int, key: int) -> Tensor:
    """The noises of this key's pictures, without the mark."""
    return model().draw_noise(n, seeded(10 + key))


@cache
def unmarked_noise() -> Tensor:
    """The noise found for UNMARKED pictures without a mark, half of them generated, half real."""
    half = UNMARKED // 2
    made = generate(model().draw_noise(half, seeded(1)))
    return inverted(torch.cat([made, eight_bits(digits.load("held_out")[0][:half])]))


@cache
def plain(n: int, edit: str) -> Tensor:
    """The noise found for pictures without a mark after an edit."""
    return inverted(eight_bits(edits(model())[edit](generate(noise_of(n, 50)), seeded(0))))


@cache
def marked(n: int, pattern: str, key: int):
    """A key, the threshold of its match, and pictures with its mark."""
    kind, more = PATTERNS[pattern]
    secret = draw_key(16, 1, 5, key + more, kind)
    threshold = float(match(unmarked_noise(), secret).quantile(1 - FALSE_ALARM))
    return secret, threshold, generate(add_mark(noise_of(n, key), secret))


def passed(noise: Tensor, key, threshold: float) -> float:
    """The share of noises in which the mark is detected."""
    return round(float((match(noise, key) > threshold).float().mean()), 4)


def row(n: int, pattern: str, key: int, edit: str) -> dict:
    """The share of marked and of unmarked pictures in which the mark is detected after an edit."""
    secret, threshold, x = marked(n, pattern, key)
    noise = inverted(eight_bits(edits(model())[edit](x, seeded(0))))
    return {"detected": passed(noise, secret, threshold), "false alarms": passed(plain(n, edit), secret, threshold)}


@torch.no_grad()
def quality(n: int, of: str, key: int) -> dict:
    """The class accuracy, and how much pictures of one class differ: the mean variance of a pixel."""
    x = marked(n, of, key)[2] if of in PATTERNS else generate(noise_of(n, key + 100 * (of == "plain, again")))
    label = torch.arange(len(x)) % 10
    spread = torch.stack([x[label == c].var(0).mean() for c in range(10)]).mean()
    accuracy = metrics.accuracy(models.load("classifier")(x), label)
    return rounded({"class accuracy": accuracy, "variance within a class": float(spread)})


@torch.no_grad()
def forged(n: int, arm: str, key: int) -> dict:
    """A forgery: the mark is added to the noise found for real pictures, and the pictures are generated again from it."""
    secret, threshold, _ = marked(n, "rings", key)
    photo, label = (part[500:][50 * key : 50 * key + n] for part in digits.load("held_out"))
    times, own = model().process.times(50), models.load("digits").given(label)
    noise = result(invert(own, photo, times))
    if arm != "no mark":
        noise = add_mark(noise, secret if arm == "mark" else marked(n, "rings", (key + 1) % len(KEYS))[0])
    again = eight_bits(result(ddim(own, noise, times)))
    alike = metrics.accuracy(models.load("classifier")(again), label)
    found = {"detected": passed(inverted(again), secret, threshold), "still read as it was": round(alike, 4)}
    return found | {"moved": round(float((again - photo).square().mean().sqrt()), 4)}


def of_each(name: str, kinds) -> list[dict]:
    return [{name: kind, "key": key} for kind in kinds for key in KEYS]


def jobs(seeds) -> list[dict]:
    wanted = {"rand, again": ("mirror", "turn by 90°")}
    pairs = of_each("pattern", PATTERNS)
    return [pair | {"edit": edit} for pair in pairs for edit in wanted.get(pair["pattern"], edits(model()))]


def table(found: dict) -> str:
    """The share detected after each edit, with its standard error over keys."""
    lines = ["| after | rings | rand | unmarked, ring keys |", "|---|---|---|---|"]
    for edit in dict.fromkeys(run["edit"] for run in found["runs"]):
        of = lambda pattern, figure: [
            run[figure]
            for run in found["runs"]
            if (run["pattern"], run["edit"]) == (pattern, edit)  # noqa: B023
        ]
        each = of("rings", "detected"), of("rand", "detected"), of("rings", "false alarms")
        lines.append(f"| {edit} | " + " | ".join(f"{estimate(row, 'keys'):.2f}" for row in each) + " |")
    return "\n".join(lines)


BENCH = Benchmark(
    "provenance",
    [
        Part(jobs=jobs, row=row),
        Part(into="quality", jobs=lambda seeds: of_each("of", ("plain", "plain, again", "rings", "rand")), row=quality),
        Part(into="forged", jobs=lambda seeds: of_each("arm", ("mark", "no mark", "another key")), row=forged),
    ],
    amounts={"n": 40},
    seeds=(),
    header={"false alarm": FALSE_ALARM, "unmarked": UNMARKED},
    table=table,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
