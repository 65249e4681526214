"""Consistency models: one jump in the plane, few jumps of digits, a guided student beside its teacher, jumps in latents.

    python tests/benchmarks/consistency.py plane      # trains; three trainings of each of four recipes
    python tests/benchmarks/consistency.py digits     # shipped students of digits and their teacher, w = 1
    python tests/benchmarks/consistency.py guided     # the student with w as an input beside its teacher's samples at that w
    python tests/benchmarks/consistency.py along      # one jump of that student from its teacher's own path
    python tests/benchmarks/consistency.py latents    # a second jump of the latent student, by its time and its input

Protocol, written before the runs.

plane: the ring, whose eight spots have standard deviation 0.1. Four recipes, seeds 3 to 5, differ in two things: the start
(random weights, or those of a denoiser, trained for as long from the same seed) and what leads from x_t to x_s (the exact
denoiser, or the true x_0 and noise). All else is one. The loop is the answer to lesson 18's exercise, with MLP(2, 64, 3), a
grid of 16, 3,000 steps, batches of 256, mu = 0.9 and AdamW, whose rate rises to 3e-3 and falls to 0. One jump from 4,000
noises: the share within 3 standard deviations of a spot, and the share of each spot. "One jump draws eight spots" is about
random weights with a teacher. It holds where the first share is above 0.85, half way between the ring itself (0.99) and a
circle without spots (0.71), and each spot has at least half of its eighth. Seed 0 was for trying. "A denoiser's weights are
worth more than a teacher" holds where a denoiser's weights without a teacher give a larger share than random weights with one.
Added later: 16 steps of DDIM with a learned teacher, the network `ring` that ships, and with the exact denoiser on its
schedule, from the same noises. They are the best that a student could copy. A learned teacher costs something where its share
is lower.

digits: 1,000 digits from five fresh noises, seeds 10 to 14, against as many held-out ones. Statements: the distilled
student's Frechet distance is lower in 2 jumps than in 1, and lower in 2 than that of its teacher in 4 steps of DDIM.

guided: 500 digits, seeds 10 to 12, against 500 samples of the teacher at several w (25 guided steps of DDIM, seed 100): Frechet
distance, precision and recall to these, and precision and recall to held-out digits. The same of the teacher itself from seeds
10 to 12 is the floor. A student uses w where its samples at w are nearer to the teacher's at that w than its samples at w = 1
are. It is less precise and more diverse than its teacher where its precision to real digits is below the teacher's at that w
and its recall is above. The student's rows at w = 3 were added when the others had been seen: is it nearer to the teacher's
samples at w = 2 than at its own w = 2? Added later: the teacher in 12 steps at w = 2, and "teacher, jumping": what a student
without error does. Its jump is the teacher's DDIM in steps of 40 times (25 from T, 13 from 500); then new noise, as of the
student, and the teacher again. One such jump is the teacher itself. New noise is a cause of the lower precision and the higher
recall where these are lower and higher in 2 such jumps than in 1, at w = 2 and at w = 4.

along: why one jump, which has no new noise, is not at the teacher's either. The student's one jump at w = 2 from points of its
teacher's own path, t = 1,000 (the noise itself) to 200, seeds 10 to 12, each beside the teacher's samples of w = 2; the
floor is the path's end. The length of the jump is a cause where the distance from t = 200 is lower than from 1,000.

latents: 200 captions of two objects, w = 3, seeds 0 to 2 as in distillation.py. The first jump, or the true latent of the
caption, is noised to a time t with the same noise. From there the student jumps once more, or the teacher takes 10 steps of
DDIM (added later: from the true latents too). Measured: the share in which the detector finds everything right; of pictures
that were wrong after the first jump, the share that is right then; of those that were right, the share that is wrong then. The
statement, on distillation.py's rows: in 4 jumps the student shows more captions right than in 1. Its null, and the control for
"a new draw": first jumps from seeds 3 to 5 in the place of those of seeds 0 to 2.
"""

from copy import deepcopy
from functools import cache
from itertools import pairwise

import torch
from rows import Benchmark, Part, measure
from scores import detector, digit_scores, rounded

from course_lib import metrics
from course_lib.datasets import points, scenes, shapes
from course_lib.denoisers import Denoiser, ExactDenoiser, Network
from course_lib.guidance import classifier_free
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randn_like, seeded
from course_lib.samplers import consistency, ddim, result, sample
from course_lib.schedules import cosine_beta
from course_lib.teaching import checks
from course_lib.training import denoising_loss, one_cycle
from course_lib.zoo import models
from course_lib.zoo.recipes.shapes import pair_prompts

# plane
PROCESS, RING, STEPS, GRID = DDPM(cosine_beta(1000)), points.ring(), 3000, 16
STARTS, GUIDES = ("denoiser", "random"), ("teacher", "data")


def falling(net: torch.nn.Module, steps: int = STEPS) -> torch.optim.Optimizer:
    """AdamW, whose rate rises to 3e-3 and falls to 0 over so many of its steps."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / steps))
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    return optimizer


@cache
def denoiser(seed: int) -> Network:
    """A denoiser of the ring, in view v."""
    torch.manual_seed(seed)
    network, rng = Network(MLP(2, 64, 3), PROCESS, "v"), seeded(seed)
    optimizer = falling(network.net)
    for _ in range(STEPS):
        loss = denoising_loss(network, RING.sample(256, rng)[0], rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def student(seed: int, start: str, guide: str) -> Network:
    """A consistency model of the ring."""
    torch.manual_seed(seed)
    net = deepcopy(denoiser(seed).net) if start == "denoiser" else MLP(2, 64, 3)
    network, target = Network(net, PROCESS, "v"), Network(deepcopy(net), PROCESS, "v")
    teacher = ExactDenoiser(RING, PROCESS) if guide == "teacher" else None
    draw = lambda rng: RING.sample(256, rng)[0]
    train = checks.consistency_distillation.reference
    train(network, target, teacher, draw, falling(net), STEPS, PROCESS.times(GRID), 0.9, seeded(seed))
    return network


def spots(x: torch.Tensor) -> dict:
    """The share of points (N, 2) within 3 standard deviations of a spot, and of each spot."""
    distance, nearest = (torch.cdist(x.double(), RING.means) / RING.stds).min(1)
    inside = distance <= 3
    each = torch.bincount(nearest[inside], minlength=8) / len(x)
    return {"within 3 sd": round(float(inside.double().mean()), 4), "of each": [round(v, 4) for v in each.tolist()]}


def plane_row(n: int, seed: int, start: str, guide: str) -> dict:
    """One jump of a training, from 4,000 noises."""
    z = torch.randn(4000, 2, generator=seeded(100 + seed))
    return {"figures": spots(student(seed, start, guide)(z, PROCESS.T).x0.detach())}


# digits
FEW = (1, 2, 4)
DIGITS = [
    *((name, k) for name in ("consistency", "consistency_trained", "digits") for k in FEW),
    *((f"progressive{k}", k) for k in FEW),
]


def digits_row(n: int, seed: int, model: str, steps: int) -> dict:
    """The scores of 1,000 digits, w = 1."""
    network, label, rng = models.load(model), torch.arange(2 * n) % 10, seeded(seed)
    noise = network.draw_noise(2 * n, rng)
    options = {"sampler": consistency, "rng": rng} if model.startswith("consistency") else {}
    return {"figures": digit_scores(sample(network.given(label), noise, steps, batch=2 * n, **options), label)}


# guided
OF_TEACHER, WS, ALONG = (1.0, 1.5, 2.0, 3.0, 4.0), (2.0, 4.0), (1000, 800, 600, 400, 200)
GUIDED = [
    *(("guided", k, w) for w in (1.0, *WS) for k in FEW),
    *(("digits", 25, w) for w in WS),
    *(("guided", k, 3.0) for k in (1, 2)),
    ("digits", 12, 2.0),
    *(("teacher, jumping", 2, w) for w in WS),
]


def guided_digits(n: int, seed: int, model: str, steps: int, w: float) -> torch.Tensor:
    """Digits (n, 1, 16, 16) of the student, or of its teacher by DDIM, at guidance w."""
    network = models.load({"teacher, jumping": "digits"}.get(model, model))
    label, rng = torch.arange(n) % 10, seeded(seed)
    noise, guided = network.draw_noise(n, rng), classifier_free(network, label, w)
    if model == "teacher, jumping":
        return jumping(guided, noise, network.process.times(steps).tolist(), rng)
    options = {} if model == "digits" else {"sampler": consistency, "rng": rng}
    return sample(guided, noise, steps, batch=n, **options)


@torch.no_grad()
def jumping(teacher: Denoiser, x: torch.Tensor, times: list[int], rng: torch.Generator) -> torch.Tensor:
    """Multistep consistency sampling (B, ...) in which a jump is the end of the teacher's DDIM, in steps of about 40 times."""
    for t, s in pairwise(times):
        steps = round(t / 40 + 0.01)
        x0 = result(ddim(teacher, x, torch.linspace(t, 0, steps + 1).round().long()))
        x = teacher.process.add_noise(x0, s, randn_like(x, rng))
    return x


@cache
def reference(n: int, w: float) -> torch.Tensor:
    """The features of the teacher's samples at w, from a noise of their own."""
    return models.load("classifier").features(guided_digits(n, 100, "digits", 25, w))


@cache
@torch.no_grad()
def path(n: int, seed: int) -> dict[int, torch.Tensor]:
    """The points (n, 1, 16, 16) of the teacher's 25 steps of DDIM at w = 2, by their time."""
    network = models.load("digits")
    noise = network.draw_noise(n, seeded(seed))
    return {
        int(step.t): step.x
        for step in ddim(classifier_free(network, torch.arange(n) % 10, 2.0), noise, network.process.times(25))
    }


@torch.no_grad()
def along_row(n: int, seed: int, t: int) -> dict:
    """One jump of the student from the teacher's path: scores to real digits, and the distance to the teacher's samples."""
    label = torch.arange(n) % 10
    x = classifier_free(models.load("guided"), label, 2.0)(path(n, seed)[t], t).x0
    to = metrics.frechet_distance(models.load("classifier").features(x), reference(n, 2.0))
    return {"figures": digit_scores(x, label) | rounded({"distance to 2": to})}


@torch.no_grad()
def guided_row(n: int, seed: int, model: str, steps: int, w: float) -> dict:
    """Scores against real digits, and against the teacher's samples at several w."""
    x, label = guided_digits(n, seed, model, steps, w), torch.arange(n) % 10
    features = models.load("classifier").features(x)
    to = {f"{v:g}": metrics.frechet_distance(features, reference(n, v)) for v in OF_TEACHER}
    beside = {}
    for v in WS:
        precision, recall = metrics.precision_recall(reference(n, v), features)
        beside |= {f"precision to {v:g}": precision, f"recall to {v:g}": recall}
    return {"figures": digit_scores(x, label) | {"distance to": rounded(to)} | rounded(beside)}


# latents
TIMES, FEWER = (120, 240, 360, 480, 600, 720, 840, 960), (240, 480, 720, 960)
LATENTS = [
    *((source, "student", t) for source in ("first jump", "true latent") for t in TIMES),
    *((source, "teacher", t) for source in ("first jump", "true latent") for t in FEWER),
]


@cache
def latents(seed: int) -> dict:
    """The latents of the first jump and of the true pictures, and in which pictures of the first jump all is right."""
    network, autoencoder, rng = models.load("latent_student"), models.load("autoencoder"), seeded(seed)
    prompts, scene = pair_prompts(200, "train")
    first = sample(classifier_free(network, prompts, 3.0), network.draw_noise(200, rng), 1, consistency, batch=200, rng=rng)
    true = autoencoder.encode(shapes.draw(scenes.complete(scene, seeded(seed)), seeded(seed)), seeded(seed))
    return {"prompts": prompts, "scene": scene, "first jump": first, "true latent": true, "right": all_right(first, scene)}


@torch.no_grad()
def all_right(z: torch.Tensor, scene: scenes.Scene) -> torch.Tensor:
    """Whether the detector finds everything right in each decoded latent (n,)."""
    right, _ = scenes.matches(detector().detect(models.load("autoencoder").decode(z)), scene)["all"]
    return right


@torch.no_grad()
def latents_row(n: int, seed: int, source: str, by: str, t: int) -> dict:
    """What a second prediction from time t makes of the first jump, or of the true latent."""
    of = latents(seed)
    network = models.load("latent_student" if by == "student" else "latent2shape")
    guided = classifier_free(network, of["prompts"], 3.0)
    x_t = network.process.add_noise(of[source], t, randn_like(of[source], seeded(1000 + seed)))
    if by == "student":
        z = guided(x_t, t).x0
    else:
        z = result(ddim(guided, x_t, torch.linspace(t, 0, 11).round().long()))
    right, was = all_right(z, of["scene"]), of["right"]
    figures = {"all": right.double().mean(), "first": was.double().mean()}
    if source == "first jump":
        figures |= {"repaired": right[~was].double().mean(), "broken": (~right[was]).double().mean()}
    return {"figures": rounded(figures)}


def another(n: int) -> list[dict]:
    """What first jumps from seeds 3 to 5 show, and what they repair and break beside those from seeds 0 to 2."""
    rows = []
    for seed in range(3):
        was, right = latents(seed)["right"], latents(seed + 3)["right"]
        share = {"all": right, "repaired": right[~was], "broken": ~right[was]}
        rows.append(rounded({name: hits.double().mean() for name, hits in share.items()}))
    return rows


def decoded(n: int) -> list[float]:
    """In which share of the true latents, decoded, the detector finds everything right: the ceiling of the shares above."""
    return [
        round(float(all_right(latents(seed)["true latent"], latents(seed)["scene"]).double().mean()), 4) for seed in range(3)
    ]


def jobs_of(kinds, *keys, seeds):
    return lambda _: [{"seed": seed} | dict(zip(keys, kind)) for seed in seeds for kind in kinds]


def once(n: int) -> dict:
    """The same shares of the ring itself, of a circle without spots and of steps of the exact denoiser, three noises each."""
    exact, z = ExactDenoiser(RING, PROCESS), lambda seed: torch.randn(4000, 2, generator=seeded(seed))
    kinds = {
        "ring": lambda seed: RING.sample(4000, seeded(seed))[0],
        "circle": lambda seed: points.circle(4000, rng=seeded(seed)),
        "one exact step": lambda seed: exact(z(seed), PROCESS.T).x0,
        "16 exact steps": lambda seed: result(ddim(exact, z(seed), PROCESS.times(GRID))),
    }
    return {name: [spots(draw(seed)) for seed in (103, 104, 105)] for name, draw in kinds.items()}


def learned(n: int) -> dict:
    """The same shares of 16 steps of DDIM with a learned denoiser of the ring, and with the exact one on its schedule."""
    network, z = models.load("ring"), lambda seed: torch.randn(4000, 2, generator=seeded(seed))
    kinds = {"learned": network, "exact": ExactDenoiser(RING, network.process)}
    steps = lambda teacher, seed: result(ddim(teacher, z(seed), teacher.process.times(GRID)))
    return {name: [spots(steps(teacher, seed)) for seed in (103, 104, 105)] for name, teacher in kinds.items()}


def table(found: dict) -> str:
    """A row for each recipe of the plane, and the second jump by its time."""
    mean = lambda rows, figure: sum(row["figures"][figure] for row in rows) / max(1, len(rows))
    of = lambda part, **keys: [row for row in found.get(part, []) if keys.items() <= row.items()]
    plane = [f"{mean(of('plane', start=start, guide=guide), 'within 3 sd'):.3f}" for start in STARTS for guide in GUIDES]
    lines = ["| start, x_s by | denoiser, teacher | denoiser, data | random, teacher | random, data |", "|---|---|---|---|---|"]
    lines += [f"| within 3 sd of a spot, one jump | {' | '.join(plane)} |", ""]
    lines += ["| second jump at t | " + " | ".join(map(str, TIMES)) + " |", "|" + "---|" * (len(TIMES) + 1)]
    for source in ("first jump", "true latent"):
        rows = [of("latents", source=source, by="student", t=t) for t in TIMES]
        lines.append(f"| from the {source}, all right | " + " | ".join(f"{mean(row, 'all'):.3f}" for row in rows) + " |")
    return "\n".join(lines)


BENCH = Benchmark(
    "consistency",
    [
        Part(
            "plane",
            jobs_of([(a, b) for a in STARTS for b in GUIDES], "start", "guide", seeds=(3, 4, 5)),
            plane_row,
            into="plane",
            once={"spots": once, "16 learned steps": learned},
        ),
        Part("digits", jobs_of(DIGITS, "model", "steps", seeds=range(10, 15)), digits_row, into="digits"),
        Part("guided", jobs_of(GUIDED, "model", "steps", "w", seeds=(10, 11, 12)), guided_row, into="guided"),
        Part("along", jobs_of([(t,) for t in ALONG], "t", seeds=(10, 11, 12)), along_row, into="along"),
        Part(
            "latents",
            jobs_of(LATENTS, "source", "by", "t", seeds=(0, 1, 2)),
            latents_row,
            into="latents",
            once={"true latents, decoded": decoded, "another first jump": another},
        ),
    ],
    amounts={"n": 500},
    seeds=(),
    table=table,
    indent=None,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
