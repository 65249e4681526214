"""What lesson 14 measures of DDIM: quality over steps and eta, the same noise, inversion, interpolation.

    python tests/benchmarks/ddim_steps.py [--n 500]

All with the shipped digit model without guidance (w = 1), about ten minutes on one core beside the rows of 1,000 steps.

- `runs`, the miniature of Song et al. 2021, Table 1: n digits from the same noise for every row of a seed. Sixteen noises for
  5 and 10 steps and for 20 of DDPM, eight for 20 of DDIM and for eta = 0.2 and 0.5, three for 50 to 1,000 steps, which cost
  the most. The last eight of the sixteen were drawn once the figures of the first had been seen.
- `same noise`: of 100 noises, how many give a picture that is nearest, among the 10 pictures of its class in 1,000 steps of
  DDIM, to the one of its own noise. Chance is 1 in 10. Distances are those of the classifier's features.
- `inversion`: root mean square errors of 100 held-out digits that are turned into noise and drawn again in as many steps: the
  digits as they are, or with the noise of t = 1 added first, by the shipped network or by one with random weights; and from
  the forward process's noise instead of inversion.
- `inverted noise`: the mean square, and the correlation of horizontal neighbours, of each noise that 50 steps find.
- `interpolation`: the middle of 500 pairs of held-out digits of one class, in five sets of 100, by 50 steps.
"""

import time
from functools import cache

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores, digits_floor
from torch import Tensor

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.methods.interpolation import slerp
from course_lib.process import randn_like, seeded
from course_lib.samplers import ddim, ddpm, sample
from course_lib.zoo import models

STEPS, ETAS, SEEDS = (5, 10, 20, 50, 100, 1000), (0.0, 0.2, 0.5, 1.0), tuple(range(16))
NOISES, PICTURES, MOVES, PAIRS = 100, 100, 50, 100


def jobs(seeds):
    for steps in STEPS:
        for eta in ETAS if steps <= 10 else (0.0, 1.0):
            noises = 3 if steps > 20 else 16 if eta == 1 or (eta == 0 and steps <= 10) else 8
            yield from ({"seed": seed, "steps": steps, "eta": eta} for seed in seeds if seed < noises)


def row(n: int, seed: int, steps: int, eta: float) -> dict:
    """The scores of n samples in `steps` steps, and the seconds that sampling took."""
    network, label, rng = models.load("digits"), torch.arange(n) % 10, seeded(seed)
    noise = network.draw_noise(n, rng)
    begun = time.perf_counter()
    made = sample(network.given(label), noise, steps, batch=n, eta=eta, rng=rng)
    return {"seconds": round(time.perf_counter() - begun, 1), "figures": digit_scores(made, label)}


@cache
def features(sampler: str, steps: int) -> Tensor:
    """The classifier's features of NOISES digits in `steps` steps, from the same noises whatever the sampler, (10, 10, D)."""
    network, rng = models.load("digits"), seeded(100)
    noise = network.draw_noise(NOISES, rng)
    options = {"sampler": ddim} if sampler == "ddim" else {"sampler": ddpm, "rng": rng}
    with torch.no_grad():
        found = models.load("classifier").features(sample(network.given(torch.arange(NOISES) % 10), noise, steps, **options))
    return found.view(NOISES // 10, 10, -1)


def same_noise(n: int, sampler: str, steps: int) -> dict:
    """How many of NOISES digits are nearest, of their class in 1,000 steps of DDIM, to the one of their own noise."""
    here, there = (x.transpose(0, 1) for x in (features(sampler, steps), features("ddim", 1000)))  # (10, 10, D)
    nearest = torch.cdist(here, there).argmin(2)
    return {"found": int((nearest == torch.arange(NOISES // 10)).sum()), "of": NOISES}


def times_of(steps: int) -> list[int]:
    """Times from T to 1: the network was never trained at t = 0, so that a picture is taken for x_1."""
    return [*models.load("digits").process.times(steps).tolist()[:-1], 1]


def up(own: Network, x: Tensor, steps: int) -> Tensor:
    """The noise of pictures x by DDIM inversion, as the lesson's exercise has it."""
    with torch.no_grad():
        for s, t in zip(times_of(steps)[::-1], times_of(steps)[-2::-1]):
            pred = own(x, s)
            x = own.process.add_noise(pred.x0, t, pred.eps)
    return x


def down(own: Network, x: Tensor, steps: int) -> Tensor:
    """The pictures of noises x by DDIM, down to x_1."""
    return list(ddim(own, x, torch.tensor(times_of(steps))))[-1].x


@cache
def held_out() -> tuple[Tensor, Tensor]:
    """The last PICTURES held-out digits and their classes."""
    return tuple(part[-PICTURES:] for part in digits.load("held_out"))


def with_noise(own: Network, x: Tensor, t: int, seed: int) -> Tensor:
    """Pictures x with the noise of time t."""
    return own.process.add_noise(x, t, randn_like(x, seeded(seed)))


def inversion(n: int, by: str, steps: int) -> dict:
    """The root mean square error of each picture that comes back, by the network of that name, or from other noise."""
    pictures, classes = held_out()
    network = models.load("digits")
    if by == "random weights":  # an untrained network's last layers are 0, so that it only shortens its input
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for layer in network.net.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
    own = network.given(classes)
    if by.startswith("forward noise"):
        noise = with_noise(own, pictures, own.process.T, 104 if by.endswith("again") else 101)
    else:
        noise = up(own, with_noise(own, pictures, 1, 103) if by == "noise of t = 1 first" else pictures, steps)
    errors = (down(own, noise, steps) - pictures).square().flatten(1).mean(1).sqrt()
    return {"errors": [round(e, 5) for e in errors.tolist()]}


def inverted_noise(n: int, of: str) -> dict:
    """Mean square and correlation of neighbours of noises: inverted held-out digits, inverted samples, or drawn noise."""
    pictures, classes = held_out()
    own = models.load("digits").given(classes)
    drawn = own.draw_noise(PICTURES, seeded(102))
    noise = {
        "real digits": lambda: up(own, pictures, MOVES),
        "noise of t = 1 first": lambda: up(own, with_noise(own, pictures, 1, 103), MOVES),
        "noise of t = 1 first, again": lambda: up(own, with_noise(own, pictures, 1, 105), MOVES),
        "samples": lambda: up(own, down(own, drawn, MOVES), MOVES),
        "drawn noise": lambda: drawn,
    }[of]()
    square = noise.square().flatten(1).mean(1)
    beside = (noise[..., 1:] * noise[..., :-1]).flatten(1).mean(1) / square
    return {"square": [round(v, 4) for v in square.tolist()], "correlation": [round(v, 4) for v in beside.tolist()]}


def interpolation(n: int, set: int) -> dict:
    """The scores of the middle of PAIRS pairs of one class each, by different ways, against 1,000 training digits."""
    pictures, classes = (part.view(5, 2, PAIRS, *part.shape[1:])[set] for part in digits.load("held_out"))
    label = classes[0]
    assert torch.equal(*classes), "held-out digits come class by class in turn"
    own = models.load("digits").given(label)
    plain = [up(own, x, MOVES) for x in pictures]
    a, b = (up(own, with_noise(own, x, 1, 200 + 10 * set + i), MOVES) for i, x in enumerate(pictures))
    fresh = own.draw_noise(PAIRS, seeded(300 + set))
    noises = {"arc": slerp(a, b, 0.5), "line": (a + b) / 2, "arc, no noise first": slerp(*plain, 0.5), "new noise": fresh}
    ways = {way: down(own, noise, MOVES) for way, noise in noises.items()}
    ways |= {"mean of the pictures": pictures.mean(0), "real": pictures[0]}
    with torch.no_grad():
        real = models.load("classifier").features(digits.load("train")[0][:1000])
    square = {way: round(float(noise.square().mean()), 4) for way, noise in noises.items()}
    return {"figures": {way: digit_scores(x, label, real) for way, x in ways.items()}, "square": square}


BENCH = Benchmark(
    "ddim_steps",
    [
        Part(jobs=lambda seeds: list(jobs(seeds)), row=row, once={"the same, real against real": digits_floor}),
        Part(
            into="same noise",
            jobs=lambda seeds: [
                {"sampler": name, "steps": k} for name, many in (("ddim", STEPS[:5]), ("ddpm", (10, 100))) for k in many
            ],
            row=same_noise,
        ),
        Part(
            into="inversion",
            jobs=lambda seeds: [
                {"by": by, "steps": k}
                for by in ("inversion", "noise of t = 1 first", "random weights", "forward noise", "forward noise, again")
                for k in ((MOVES,) if by.endswith("again") else STEPS[:5])
            ],
            row=inversion,
        ),
        Part(
            into="inverted noise",
            jobs=lambda seeds: [
                {"of": of}
                for of in ("real digits", "noise of t = 1 first", "noise of t = 1 first, again", "samples", "drawn noise")
            ],
            row=inverted_noise,
        ),
        Part(into="interpolation", jobs=lambda seeds: [{"set": i} for i in range(5)], row=interpolation),
    ],
    amounts={"n": 500},
    seeds=SEEDS,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
