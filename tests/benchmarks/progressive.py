"""What lesson 17 measures of progressive distillation: in the plane, where the truth is known, and on digits.

    python tests/benchmarks/progressive.py [plane|splits|digits] [--n 1000] [--store]

`plane`: five trainings (seeds 0 to 4), each judged on 4,000 noises of its own, x_T. A pilot with seed 100, which is not among
them, fixed what is below before they ran. Five were planned; 0 to 2 ran first, 3 and 4 when the results of these were known,
with nothing changed. For lack of time, 3 and 4 are without the controls `half` and `last, eps, SNR`. All that ran count. The
teacher is the exact denoiser of the ring in 64 DDIM steps. Every network is the MLP of width 64 and depth 3; every training
has batches of 256 and Adam with a rate from 3e-3 down to 0, in a line.

- `student`: six halvings, 32 steps to 1, of 1,500, 150, 150, 150, 200 and 600 updates. Each begins with the weights of the
  one before; the view is v, the weight max(SNR, 1). `DDIM` is the exact denoiser in as many steps from the same noises.
- `direct`: one step from t = T, from nothing, on 22,000 pairs of x_T and the end of 64 exact steps, 2,750 updates. These are
  as many evaluations of the teacher, 1,408,000, and as many updates as in the halvings. `direct, each pair once` has the same
  pairs in 85 updates.
- `last, VIEW`: the last halving alone, from nothing, in the views v, x0 and eps, 600 updates. The teacher is the training's
  own student of 2 steps. The target (an x_0) and the weight of its squared error, max(SNR, 1), are the same for all. In `last,
  eps, SNR` the weight is SNR, so that the loss is the squared error in eps.
- `half, VIEW`: the same from t = T / 2 to 0, where noise and signal are equal; the teacher is the student of 4 steps.

`splits`: three trainings (seeds 0 to 2), written down when the results of `plane` for these seeds were known.

- `student, SPLIT`: the six halvings, with the same 2,750 updates shared out otherwise, 32 steps first: `equal` 458 (459 in the
  last two), `first` 2,000 and then 150 each, `last` 150 each and then 2,000. Nothing else differs from `student`.
- `direct, 344 pairs, 85 updates` uses pairs again, within as many updates as `direct, each pair once`. Planned, and not run for
  lack of time: `direct` with 2,750 updates on 344, 2,750 and 704,000 pairs, the last of which would use each pair once.

`error` is the root mean square distance from the end of 64 exact steps; for `last` and `half`, from the teacher's end. `spot`
is the share of ends within three standard deviations of the mean of the spot that is nearest to that end. `distance` is the
sliced Wasserstein distance from the ring, over that of real points from real points. `own` is the root mean square error of
the network's output, in its own view.

`digits`: the shipped students, one training each, and DDIM with their first teacher, on five noises (seeds 0 to 4) of n
digits. `error` is the root mean square per pixel from the picture of 64 steps of the same noise, `nearest` the share of
pictures whose own picture of 64 steps is the nearest of ten of its class by the classifier's features, and `to the teacher`
the Frechet distance from all n pictures of 64 steps. The other figures are against held-out digits.

The conditions of the lesson's claims, written before the runs; each comparison is paired, over trainings or noises:

- `student` in 1 step: a spot of more than 1/2, and a distance below that of `DDIM` in 8.
- `direct`: an error below that of `student` in 1 step. With `splits`: and below that of each `student, SPLIT` in 1 step, over
  their three seeds. If one of the four is not told apart, so is the claim. Its null model is `direct, each pair once` in the
  place of `direct`, beside `student`. The re-used pairs are reported without a condition.
- `last`: a spot of more than 1/2 in v and in x0, of less than 1/2 in eps. `half` is the control: eps, too, has more.
- digits, 1, 2 and 4 steps: a Frechet distance of `student` below that of `DDIM` in twice the steps; the same of the error.
- digits: a Frechet distance of `student` in 1 step above that of `DDIM` in 64. Its null model is `student` in 32.
"""

import copy
from collections.abc import Callable
from functools import cache

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores, digits_floor, rounded
from torch import Tensor, nn

from course_lib import metrics
from course_lib.datasets import points
from course_lib.denoisers import Denoiser, ExactDenoiser, Network
from course_lib.methods.distillation import truncated_snr, two_steps
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randint, randn_like, seeded
from course_lib.samplers import ddim, result, sample
from course_lib.schedules import cosine_beta
from course_lib.zoo import models

PROCESS, RING = DDPM(cosine_beta(1000)), points.ring()
EXACT = ExactDenoiser(RING, PROCESS)
UPDATES = {32: 1500, 16: 150, 8: 150, 4: 150, 2: 200, 1: 600}
ALL, PAIRS, BATCH = sum(UPDATES.values()), 22_000, 256
SPLITS = {
    "": tuple(UPDATES.values()),
    "equal": (458,) * 4 + (459,) * 2,
    "first": (2000,) + (150,) * 5,
    "last": (150,) * 5 + (2000,),
}
assert {sum(split) for split in SPLITS.values()} == {ALL}
STEPS, VIEWS = (64, 32, 16, 8, 4, 2, 1), ("v", "x0", "eps")
assert 2 * BATCH * ALL == 64 * PAIRS


@torch.enable_grad()
def minimise(loss: Callable[[], Tensor], net: nn.Module, updates: int) -> None:
    """Adam with a rate that falls from 3e-3 to 0 in a line."""
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, updates)
    for _ in range(updates):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()


def halve(student: Network, teacher: Denoiser, times: Tensor, updates: int, rng, weight: Callable = truncated_snr) -> None:
    """Trains a student for the steps along `times`, of which the teacher takes two each. Salimans and Ho 2022, Algorithm 2."""

    def loss() -> Tensor:
        x0 = RING.sample(BATCH, rng)[0]
        i = 2 * randint(0, len(times) // 2, BATCH, rng=rng)
        x_t = PROCESS.add_noise(x0, times[i], randn_like(x0, rng))
        with torch.no_grad():
            target = two_steps(teacher, x_t, times[i], times[i + 1], times[i + 2])
        pred = student(x_t, times[i])
        return (weight(pred.a, pred.b) * (pred.x0 - target).square()).mean()

    minimise(loss, student.net, updates)


def fresh(seed: int, view: str = "v") -> Network:
    torch.manual_seed(seed)
    return Network(MLP(2, 64, 3), PROCESS, view)


def frozen(student: Network) -> Network:
    return Network(copy.deepcopy(student.net).requires_grad_(False), PROCESS, student.view)


@cache
def ladder(seed: int, split: str) -> dict[int, Denoiser]:
    """The exact teacher, and its students by their number of steps."""
    students, student, rng = {64: EXACT}, fresh(seed), seeded(seed)
    for n, updates in zip(UPDATES, SPLITS[split]):
        halve(student, students[2 * n], PROCESS.times(2 * n), updates, rng)
        students[n] = frozen(student)
    return students


def trained_directly(seed: int, updates: int = ALL, pairs: int = PAIRS) -> Network:
    rng, student = seeded(seed), fresh(seed)
    x = torch.randn(pairs, 2, generator=rng)
    end, done = result(ddim(EXACT, x, PROCESS.times(64))), iter(())

    def loss() -> Tensor:
        nonlocal done
        i = next(done, None)
        if i is None or len(i) < BATCH:
            done = iter(torch.randperm(pairs, generator=rng).split(BATCH))
            i = next(done)
        return (student(x[i], PROCESS.T).x0 - end[i]).square().mean()

    minimise(loss, student.net, updates)
    return frozen(student)


@cache
def noises(seed: int) -> tuple[Tensor, Tensor]:
    """4,000 noises for a training, and where 64 exact steps end."""
    z = torch.randn(4000, 2, generator=seeded(1000 + seed))
    return z, result(ddim(EXACT, z, PROCESS.times(64)))


@cache
def real() -> tuple[Tensor, float]:
    """20,000 points of the ring, and the distance between two sets of 4,000 of them."""
    x = RING.sample(20_000, seeded(2))[0]
    return x, metrics.floor(metrics.sliced_wasserstein, x, 4000)


def scored(x: Tensor, end: Tensor) -> dict[str, float]:
    points_, floor = real()
    means = RING.means.float()
    spot = means[torch.cdist(end, means).argmin(1)]
    return {
        "error": (x - end).square().sum(1).mean().sqrt(),
        "spot": ((x - spot).norm(dim=1) < 3 * float(RING.stds[0])).float().mean(),
        "distance": sum(metrics.sliced_wasserstein(x, part) for part in points_.split(4000)) / 5 / floor,
    }


@torch.no_grad()
def of_view(seed: int, where: str, view: str, weight: Callable = truncated_snr) -> dict[str, float]:
    """A student of one step in this view, from T or from half of it, and its error in its own view."""
    t, teacher = (PROCESS.T, ladder(seed, "")[2]) if where == "last" else (PROCESS.T // 2, ladder(seed, "")[4])
    times = torch.tensor([t, t // 2, 0])
    student = fresh(seed, view)
    with torch.enable_grad():
        halve(student, teacher, times, UPDATES[1], seeded(seed), weight)
    z, _ = noises(seed)
    x = z if where == "last" else PROCESS.add_noise(RING.sample(4000, seeded(2000 + seed))[0], t, z)
    end, pred = two_steps(teacher, x, *times.tolist()), student(x, t)
    own = (pred.x0 - end).square().mean().sqrt() * {"x0": 1, "v": 1 / pred.b, "eps": pred.a / pred.b}[view]
    return scored(pred.x0, end) | {"own": own}


def plane(n: int, seed: int, arm: str, steps: int) -> dict:
    z, end = noises(seed)
    where, _, view = arm.partition(", ")
    if where in ("last", "half"):
        weight = (lambda a, b: (a / b).square()) if view.endswith("SNR") else truncated_snr
        return {"figures": rounded(of_view(seed, where, view.partition(",")[0], weight), 6)}
    if arm == "other noises":
        return {"figures": rounded(scored(end.roll(1, 0), end), 6)}
    if where == "direct":
        few = {"updates": PAIRS // BATCH}
        options = {"": {}, "each pair once": few, "344 pairs, 85 updates": few | {"pairs": 344}}
        denoiser = trained_directly(seed, **options[view])
    else:
        denoiser = EXACT if arm == "DDIM" else fresh(seed) if arm == "untrained" else ladder(seed, view)[steps]
    with torch.no_grad():
        return {"figures": rounded(scored(result(ddim(denoiser, z, PROCESS.times(steps))), end), 6)}


ARMS = (
    *(("DDIM", k) for k in STEPS),
    *(("student", k) for k in STEPS[1:]),
    ("untrained", 1),
    ("other noises", 64),
    ("direct", 1),
    ("direct, each pair once", 1),
    *((f"last, {view}", 1) for view in VIEWS),
)
CONTROLS = (*((f"half, {view}", 1) for view in VIEWS), ("last, eps, SNR", 1))
SPLIT_ARMS = (
    *((f"student, {split}", k) for split in list(SPLITS)[1:] for k in (32, 4, 1)),
    ("direct, 344 pairs, 85 updates", 1),
)


@cache
def of_teacher(n: int, seed: int) -> Tensor:
    """The pictures (n, 1, 16, 16) of 64 steps."""
    network = models.load("digits")
    return sample(network.given(torch.arange(n) % 10), network.draw_noise(n, seeded(seed)), 64, batch=n)


@torch.no_grad()
def digits(n: int, seed: int, arm: str, steps: int) -> dict:
    network, label, end = models.load("digits"), torch.arange(n) % 10, of_teacher(n, seed)
    if arm == "other noises":
        x = of_teacher(n, (1, 2, 0, 4, 3)[seed])
    else:
        student = models.load(f"progressive{steps}") if arm == "student" else network
        x = sample(student.given(label), network.draw_noise(n, seeded(seed)), steps, batch=n)
    evaluator = models.load("classifier")
    of_x, of_end = evaluator.features(x), evaluator.features(end)
    tens = [f.view(-1, 10, 10, f.shape[-1]).transpose(1, 2) for f in (of_x, of_end)]  # ten of a class together
    nearest = (torch.cdist(*tens).argmin(-1) == torch.arange(10)).float().mean()
    figures = {"error": (x - end).square().flatten(1).mean(1).sqrt().mean(), "nearest": nearest}
    figures["to the teacher"] = metrics.frechet_distance(of_x, of_end)
    return {"figures": rounded(figures) | digit_scores(x, label)}


DIGIT_ARMS = (*(("DDIM", k) for k in STEPS if k != 32), *(("student", k) for k in STEPS[1:]), ("other noises", 64))


def table(found: dict) -> str:
    """The means over the trainings, or the sets of noises."""

    def row(rows: list[dict], arm: str, steps: int, names: tuple[str, ...]) -> str:
        mine = [r["figures"] for r in rows if r["arm"] == arm and r["steps"] == steps]
        mean = lambda name: f"{sum(f[name] for f in mine) / len(mine):.3g}" if mine and name in mine[0] else ""
        return f"| {arm} | {steps} | " + " | ".join(map(mean, names)) + " |"

    lines = []
    for into, arms, names in (
        ("plane", (*ARMS, *CONTROLS, *SPLIT_ARMS), ("error", "spot", "distance", "own")),
        ("digits", DIGIT_ARMS, ("error", "nearest", "to the teacher", "Frechet distance", "recall")),
    ):
        lines += ["", f"| {into} | steps | " + " | ".join(names) + " |", "|---" * (2 + len(names)) + "|"]
        lines += [row(found.get(into, []), arm, steps, names) for arm, steps in arms]
    return "\n".join(lines[1:])


def jobs(arms, most):
    return lambda seeds: [{"seed": s, "arm": arm, "steps": steps} for s in seeds if s < most for arm, steps in arms]


BENCH = Benchmark(
    "progressive",
    [
        Part("plane", jobs(ARMS, 5), plane, into="plane"),
        Part("plane", jobs(CONTROLS, 3), plane, into="plane"),
        Part("splits", jobs(SPLIT_ARMS, 3), plane, into="plane"),
        Part("digits", jobs(DIGIT_ARMS, 5), digits, into="digits", once={"the same, real against real": digits_floor}),
    ],
    amounts={"n": 1000},
    seeds=(0, 1, 2, 3, 4),
    table=table,
    threads=1,
    indent=None,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
