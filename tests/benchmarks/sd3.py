"""Stable Diffusion 3's choices one at a time: time grid and path, two trained paths, reflow, and two ways to attend to text.

    python tests/benchmarks/sd3.py [grids | reflow | paths | attention] [--store]

grids      Two shipped networks of latents, that of lesson 16 (trained on the straight line) and that of lesson 12 (trained on
           the variance-preserving arc with the linear schedule), each sampled by the deterministic step on two grids of times
           and along both paths. A path is a change of scale; so a network sees the same picture and the same noise on both.
           Figures: of 100 captions of two objects the share that is all right, w = 3, four noises; for lesson 16's network
           also the share of 100 new words that is spelt right. Null model: the flow's grid with four other noises and sets of
           captions beside itself.
paths      One small network of points of the ring is trained on each path, three trainings of each: the same first weights,
           points, noises and batches, the same distribution of b / (a + b), the same weight of the error of x_0, as many steps
           of the same cost. They differ in the scale of the input, the time that the network is given, and the output's view.
           Of four grids the best is chosen at one noise and measured at three others. Figure: sliced Wasserstein distance of
           2,000 samples to 10,000 points in 4 steps; for the reader also in 64 even steps, and the exact optimum's in 4.
           Null model: three more trainings of the straight line, on the same batches from other first weights. Control with
           power: three trainings of the straight line with a tenth of the steps.
reflow     The three networks of the straight line are trained on, as long again: on pairs of noise and their own sample (64
           Euler steps), one round of reflow, or, the control, on independent pairs as before. Figures: mean length of the
           paths over the mean distance of their ends in 64 steps (means first: of a point that ends where it began the ratio
           is infinite; the first row had shown it), and sliced Wasserstein distance in 1, 2, 4 and 64 steps.
attention  A small MM-DiT (width 48, 3 blocks) and its rival with cross-attention (5 blocks, about as many parameters), each
           trained from nothing, three trainings of each, with the
           same pictures, prompts and rate and equal processor time: the steps follow from the measured cost of one. What
           decides is the validation loss on 1,024 pictures and prompts, at equal times. Null model: three more trainings of
           the MM-DiT, on the same batches from other first weights. Controls with power: three trainings of the MM-DiT with
           half the steps. When the first of these was far off (1.27 beside 1.04), nine tenths of the steps were added; their
           verdict is reported as it comes. To place them, without a verdict: the loss without a caption and that of the shipped
           network; of 100 new words and 100 scenes, w = 3, 16 steps, the shares that are right, beside real pictures, with
           their own captions and with those of others.

What decides, in paired runs, with the margins of evidence.py:
- grids: in 4 steps on the straight path, "all right" is higher on the flow's grid than on DDIM's, with both networks;
- paths: in 4 steps, each on its best grid, the straight line's distance is lower than the arc's;
- reflow: path over distance, and the distances in 1 and in 2 steps, are lower than after as much training without reflow;
- attention: the validation loss of joint attention is lower than that of cross-attention.
The same condition must not hold for the null models, and must hold for the controls (the full arm beside the shortened one).

All arms, numbers and conditions were fixed before the runs; of the first network, shares in 4 steps on both grids were known.
The null models and controls of `grids`, `paths` and `attention` were added after the first rows of their arms, before their
own. The parts take about 2, 2, 2 and 5 minutes of one core.
"""

import math
from functools import cache
from itertools import pairwise

import torch
from rows import Benchmark, Part, load, measure
from scores import detector, parameters, rounded
from timing import min_milliseconds

from course_lib import metrics
from course_lib.datasets import scenes, shapes, words
from course_lib.datasets.points import ring
from course_lib.denoisers import NULL, ExactDenoiser, Network, OnPath
from course_lib.guidance import classifier_free
from course_lib.nets.mlp import MLP
from course_lib.nets.mmdit import DiT
from course_lib.process import DDPM, RectifiedFlow, randn, randn_like, seeded
from course_lib.samplers import ddim, rectified_flow, result, sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, train
from course_lib.zoo import models
from course_lib.zoo.recipes.recipe import learner_of
from course_lib.zoo.recipes.sd3 import GRID, PROCESS, prompted, prompted_loss, spelling_prompts, train_sd3
from course_lib.zoo.recipes.shapes import pair_prompts

LINEAR = DDPM(linear_beta(1000))


# Grids: the shipped networks

NETWORKS, GRIDS, PATHS, NOISES = ("sd3", "latent2shape"), ("flow", "DDIM"), ("straight", "arc"), 4


def whole_times(grid: str, steps: int) -> torch.Tensor:
    """The grid (steps + 1,) in whole times of the linear schedule: even in t (DDIM's), or nearest to even in b / (a + b)."""
    if grid == "DDIM":
        return LINEAR.times(steps)
    t = torch.arange(1001)
    rho = LINEAR.noise(t) / (LINEAR.noise(t) + LINEAR.signal(t))
    return (rho[:, None] - RectifiedFlow().times(steps)).abs().argmin(0)


def straight(denoiser, x, times):
    """Euler steps on the straight path over these whole times of the linear schedule, from the arc's noise x."""
    a, b = LINEAR.signal(times), LINEAR.noise(times)
    rho, x = b / (a + b), x / float(a[0] + b[0])
    for t, s in zip(rho.tolist(), rho.tolist()[1:]):
        x = x + (s - t) * denoiser(x, t).flow
    return x


class OnLine:
    """A denoiser of the linear schedule, on the straight path at those times."""

    process = RectifiedFlow()

    def __init__(self, denoiser):
        t = torch.arange(1001)
        self.rho, self.denoiser = LINEAR.noise(t) / (LINEAR.noise(t) + LINEAR.signal(t)), denoiser

    def __call__(self, x, t):
        whole = int((self.rho - t).abs().argmin())
        a, b = float(LINEAR.signal(whole)), float(LINEAR.noise(whole))
        pred = self.denoiser((a + b) * x, whole)
        return pred.__class__(x, torch.tensor(1 - t), torch.tensor(t), "x0", pred.x0)


@torch.no_grad()
def drawn(network: str, path: str, grid: str, steps: int, prompts: list[str], noise: torch.Tensor) -> torch.Tensor:
    """Latents (n, 4, 8, 8) by the deterministic step."""
    guided, times = classifier_free(models.load(network), prompts, 3.0), whole_times(grid, steps)
    if path == "straight":
        return straight(guided if network == "sd3" else OnLine(guided), noise, times)
    return result(ddim(OnPath(guided, LINEAR) if network == "sd3" else guided, noise, times))


@torch.no_grad()
def grid_row(network: str, path: str, grid: str, steps: int, first: int = 0) -> dict:
    decode, found = models.load("autoencoder").decode, {"all": [], "binding": []}
    if network == "sd3" and path == "straight" and not first:
        found["spelt"] = []
    gap = 0.0
    for seed in range(first, first + NOISES):
        noise = models.load(network).draw_noise(100, seeded(seed))
        prompts, scene = pair_prompts(100, "train", seed)
        latents = drawn(network, path, grid, steps, prompts, noise)
        shown = scenes.agreement(detector().detect(decode(latents)), scene)
        for name in ("all", "binding"):
            found[name].append(round(float(shown[name]), 4))
        if "spelt" in found:
            prompts, spelling = spelling_prompts(100, new=True, seed=seed)
            read = words.read(decode(drawn(network, path, grid, steps, prompts, noise)))
            found["spelt"].append(round(float(words.agreement(read, spelling)["spelt"]), 4))
        elif path == "arc" and seed == 0:
            gap = max(gap, float((latents - drawn(network, "straight", grid, steps, prompts, noise)).abs().max()))
    return found | ({"largest difference of latents to the straight path": float(f"{gap:.1g}")} if path == "arc" else {})


def grid_jobs(seeds):
    return [
        {"network": network, "path": path, "grid": grid, "steps": 4} for path in PATHS for network in NETWORKS for grid in GRIDS
    ]


# Paths and reflow: points of the ring

STEPS, BATCH, RATE, DATA = 1500, 256, 3e-3, ring()
FLOW = RectifiedFlow(logit_normal=(0.0, 1.0))
ARMS = {
    "straight": (False, 0, 1.0),
    "arc": (True, 0, 1.0),
    "straight, other first weights": (False, 3, 1.0),
    "straight, a tenth of the steps": (False, 0, 0.1),
}
"""The arms of `paths`: whether on the arc, what is added to the seed of the first weights, and the part of the steps."""
OF_RHO = {
    "even in b / (a + b)": lambda u: u,
    "even in the angle": lambda u: (torch.pi / 2 * u).tan() / (1 + (torch.pi / 2 * u).tan()),
    "DDIM, linear schedule": lambda u: torch.cat([torch.ones(1), _rho_of_linear(u[1:])]),
    "quantiles of the training times": lambda u: torch.sigmoid(torch.special.ndtri(u.double())),
}
"""The grids of `paths`: b / (a + b) of a falling row u from 1 to 0."""


def _rho_of_linear(u):
    t = (1000 * u).round().long()
    return LINEAR.noise(t) / (LINEAR.noise(t) + LINEAR.signal(t))


def small_net(seed: int) -> MLP:
    torch.manual_seed(seed)
    return MLP(dim=2, width=64, depth=3)


def velocity(net, arc: bool, x, rho):
    """The network's eps - x_0 (n, 2) at the point x of the straight path, where rho = b / (a + b) is (n,) or a number."""
    rho = torch.as_tensor(rho, dtype=torch.float32).expand(len(x))
    if not arc:
        return net(x, rho)
    r = rho[:, None]
    size = ((1 - r).square() + r.square()).sqrt()  # the arc's point is x / size: a = (1 - rho) / size, b = rho / size
    v = net(x / size, torch.atan2(rho, 1 - rho) * (2 / math.pi))
    a, b = (1 - r) / size, r / size
    x0, eps = a * x / size - b * v, b * x / size + a * v
    return eps - x0


def fit(net, draw, seed: int, arc: bool = False, steps: int = STEPS) -> MLP:
    """The average of the weights after these steps on batches `draw(rng)` of x_0 and eps."""
    average, rng = EMA(net, 0.998), seeded(seed)

    def loss():
        x0, eps = draw(rng)
        rho = FLOW.sample_t(len(x0), rng).float()
        x = torch.lerp(x0, eps, rho[:, None])
        return (velocity(net, arc, x, rho) - (eps - x0)).square().mean()

    for _ in train(loss, net, steps, lr=RATE, ema=average):
        pass
    return average.net.eval().requires_grad_(False)


def independent(rng):
    x0 = DATA.sample(BATCH, rng)[0].float()
    return x0, randn_like(x0, rng)


@cache
def of_plane(arm: str, seed: int) -> MLP:
    arc, shift, part = ARMS[arm]
    return fit(small_net(seed + shift), independent, seed, arc, round(part * STEPS))


@torch.no_grad()
def walk(net, arc: bool, x, times) -> list:
    """The points (n, 2) of a walk over these falling values of b / (a + b)."""
    points = [x]
    for t, s in zip(times.tolist(), times.tolist()[1:]):
        x = x + (s - t) * velocity(net, arc, x, t)
        points.append(x)
    return points


@cache
def real() -> torch.Tensor:
    return DATA.sample(10_000, seeded(900))[0].float()


def distance(net, arc, times, seed: int) -> float:
    return metrics.sliced_wasserstein(walk(net, arc, randn(2000, 2, rng=seeded(1000 + seed)), times)[-1], real(), 60)


def path_row(arm: str, seed: int) -> dict:
    net, arc, u = of_plane(arm, seed), ARMS[arm][0], torch.linspace(1, 0, 5)
    grids = {name: of(u).float() for name, of in OF_RHO.items()}
    chosen = min(grids, key=lambda name: distance(net, arc, grids[name], 0))
    at = {name: sum(distance(net, arc, times, k) for k in (1, 2, 3)) / 3 for name, times in grids.items()}
    many = sum(distance(net, arc, torch.linspace(1, 0, 65), k) for k in (1, 2, 3)) / 3
    return {"4 steps": {"best grid": chosen, "distance": round(at[chosen], 4)} | rounded(at), "64 steps": round(many, 4)}


def exact(**_) -> dict[str, float]:
    """The distance of the exact optimum's samples in 4 steps on each grid, the mean over three noises."""
    best, found = ExactDenoiser(DATA, RectifiedFlow()), {}
    for name, of in OF_RHO.items():
        times, each = of(torch.linspace(1, 0, 5)).tolist(), []
        for k in (1, 2, 3):
            x = randn(2000, 2, rng=seeded(1000 + k))
            for t, s in pairwise(times):
                x = x + (s - t) * best(x, t).flow.float()
            each.append(metrics.sliced_wasserstein(x, real(), 60))
        found[name] = round(sum(each) / 3, 4)
    return found


def reflow_row(kind: str, seed: int) -> dict:
    net = of_plane("straight", seed)
    if kind != "once":
        learner = learner_of(net)
        draw, of = independent, seeded(500 + seed)
        if kind == "reflow":
            eps = randn(20_000, 2, rng=of)
            end = walk(net, False, eps, torch.linspace(1, 0, 65))[-1]

            def draw(rng):
                i = torch.randint(len(eps), (BATCH,), generator=rng)
                return end[i], eps[i]

        net = fit(learner, draw, 700 + seed)
    many = torch.stack(walk(net, False, randn(2000, 2, rng=seeded(999)), torch.linspace(1, 0, 65)))
    ratio = many.diff(dim=0).norm(dim=2).sum(0).mean() / (many[-1] - many[0]).norm(dim=1).mean()
    at = {
        f"{k} steps": sum(distance(net, False, torch.linspace(1, 0, k + 1), noise) for noise in (1, 2, 3)) / 3
        for k in (1, 2, 4, 64)
    }
    return rounded({"path over distance": ratio} | at)


def floor(**_) -> float:
    """The mean sliced Wasserstein distance of three sets of 2,000 real points to the 10,000."""
    sets = [DATA.sample(2000, seeded(910 + k))[0].float() for k in range(3)]
    return round(sum(metrics.sliced_wasserstein(x, real(), 60) for x in sets) / 3, 4)


# Attention: from nothing, at equal time

COST, JOINT_STEPS = "milliseconds of a training step, one thread", 500
WAYS = {
    "joint": (True, 0, 1.0),
    "cross": (False, 0, 1.0),
    "joint, other first weights": (True, 3, 1.0),
    "joint, half the steps": (True, 0, 0.5),
    "joint, nine tenths of the steps": (True, 0, 0.9),
}
"""The arms of `attention`: whether joint, what is added to the seed of the first weights, and the part of the steps."""


def small_sd3(seed: int, joint: bool) -> Network:
    """An untrained small denoiser of latents, an MM-DiT or with cross-attention."""
    torch.manual_seed(seed)
    return Network(DiT(width=48, depth=3 if joint else 5, joint=joint), PROCESS, "flow")


def cost(**_) -> dict[str, float]:
    """Milliseconds of processor time for a training step, the minimum of twenty, in turns."""

    def step_of(joint: bool):
        network, rng = learner_of(small_sd3(0, joint)), seeded(0)
        network.net.text.requires_grad_(False)
        optimizer, autoencoder = torch.optim.AdamW(network.net.parameters(), fused=True), models.load("autoencoder")

        def step():
            prompted_loss(network, autoencoder, rng).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    found = min_milliseconds({name: step_of(name == "joint") for name in ("joint", "cross")}, 20)
    return {name: round(spent, 1) for name, spent in found.items()}


@torch.no_grad()
def validation_loss(network: Network, n: int = 1024, captions: bool = True) -> dict[str, float]:
    """The loss on n pictures and prompts, first half words, at even quantiles of the logit-normal times with m = 0.

    Without `captions` the network gets the empty prompt.
    """
    rng = seeded(77)
    x, prompts = prompted(n, rng)
    z = torch.cat([models.load("autoencoder").encode(part, rng) for part in x.split(128)])
    eps, t = randn_like(z, rng), torch.sigmoid(torch.special.ndtri((torch.arange(n).double() + 0.5) / n))
    t = t[torch.randperm(n, generator=rng)]
    x_t = network.process.add_noise(z, t, eps)
    each = []
    for i in range(0, n, 128):
        part = slice(i, i + 128)
        velocity = network.given(prompts[part] if captions else NULL)(x_t[part], t[part]).flow
        each.append((velocity - (eps[part] - z[part])).square().flatten(1).mean(1))
    loss = torch.cat(each)
    return {"loss": loss.mean(), "loss, words": loss[: n // 2].mean(), "loss, scenes": loss[n // 2 :].mean()}


def agreement(z_words: torch.Tensor, z_scenes: torch.Tensor, spelling, scene) -> dict[str, float]:
    """The shares of decoded words and letters that are spelt right, and of decoded scenes that are all right."""
    decode = models.load("autoencoder").decode
    read = words.agreement(words.read(decode(z_words)), spelling)
    shown = scenes.agreement(detector().detect(decode(z_scenes)), scene)
    return {"words": float(read["spelt"]), "letters": float(read["letters"]), "scenes": float(shown["all"])}


def asked(n: int = 100):
    """The prompts of n new words and of n scenes of two objects, with the words and the scenes."""
    return *spelling_prompts(n, new=True, seed=5), *pair_prompts(n, "train", 5)


@torch.no_grad()
def drawn_shares(network: Network) -> dict[str, float]:
    """`agreement` of what the network draws from the prompts that are `asked`, w = 3, 16 steps."""
    spell, spelling, tell, scene = asked()
    draw = lambda prompts: sample(
        classifier_free(network, prompts, 3.0), network.draw_noise(len(prompts), seeded(5)), 16, rectified_flow
    )
    return agreement(draw(spell), draw(tell), spelling, scene)


@torch.no_grad()
def real_shares(**_) -> dict[str, dict[str, float]]:
    """`agreement` of real pictures through the autoencoder, with their own captions and with those of others."""
    _, spelling, _, scene = asked()
    encode, rng = models.load("autoencoder").encode, seeded(6)
    z_words, z_scenes = encode(words.draw(spelling, rng, GRID), rng), encode(shapes.draw(scenes.complete(scene, rng), rng), rng)
    own, others = (agreement(z_words.roll(k, 0), z_scenes.roll(k, 0), spelling, scene) for k in (0, 1))
    return {"their own captions": rounded(own), "captions of others": rounded(others)}


def shipped(**_) -> dict[str, float]:
    """The validation losses of lesson 16's network, which is larger and was trained longer."""
    return rounded(validation_loss(models.load("sd3")))


@torch.no_grad()
def attention_row(arm: str, seed: int) -> dict:
    (joint, shift, part), ms = WAYS[arm], load("sd3")[COST]
    network = small_sd3(seed + shift, joint)
    steps = round(part * JOINT_STEPS * ms["joint"] / ms["joint" if joint else "cross"])
    *_, end = train_sd3(network, seed=seed, steps=steps, cycles=1)
    network.net.eval()
    without = validation_loss(network, captions=False)["loss"]
    found = validation_loss(network) | {"loss, no caption": without} | (drawn_shares(network) if part == 1 else {})
    return {"steps": end.step, "parameters": parameters(network.net)} | rounded(found)


def table(found: dict) -> str:
    """Markdown: the networks on two grids in 4 steps, and each arm that was trained."""
    mean = lambda rows, name: sum(row[name] for row in rows) / len(rows)
    lines = ["| network, path, 4 steps | flow's grid | DDIM's grid |", "|---|---|---|"]
    at = {(r["network"], r["path"], r["grid"]): r["all"] for r in found.get("grids", []) if r["steps"] == 4}
    for network in NETWORKS:
        for path in PATHS:
            each = [sum(v) / len(v) for v in (at.get((network, path, grid), [float("nan")]) for grid in GRIDS)]
            lines.append(f"| {network}, {path} | {each[0]:.2f} | {each[1]:.2f} |")
    lines += ["", "| arm | trainings | figures |", "|---|---|---|"]
    for arm in ARMS:
        if rows := [r for r in found.get("paths", []) if r["arm"] == arm]:
            best, many = mean([r["4 steps"] for r in rows], "distance"), mean(rows, "64 steps")
            lines.append(f"| path: {arm} | {len(rows)} | distance, best grid: 4 steps {best:.3f}; 64 even steps {many:.3f} |")
    for kind in ("once", "longer", "reflow"):
        if rows := [r for r in found.get("reflow", []) if r["kind"] == kind]:
            cells = ", ".join(
                f"{name} {mean(rows, name):.3f}" for name in ("path over distance", "1 steps", "2 steps", "4 steps")
            )
            lines.append(f"| reflow: {kind} | {len(rows)} | {cells} |")
    for arm in WAYS:
        if rows := [r for r in found.get("attention", []) if r["arm"] == arm]:
            names = ("loss", "loss, words", "loss, scenes", "letters", "scenes")
            cells = "; ".join(f"{name} {mean(rows, name):.3f}" for name in names if all(name in row for row in rows))
            lines.append(f"| attention: {arm} | {len(rows)} | {cells} |")
    return "\n".join(lines)


PARTS = [
    Part("grids", grid_jobs, grid_row, into="grids"),
    Part("grids", lambda seeds: [{"network": network, "path": "straight", "grid": "flow", "steps": 4, "first": NOISES}
                                 for network in NETWORKS], grid_row, into="grids, other noises"),
    Part("reflow", lambda seeds: [{"kind": kind, "seed": s} for s in range(3) for kind in ("once", "longer", "reflow")],
         reflow_row, into="reflow"),
    Part("paths", lambda seeds: [{"arm": arm, "seed": s} for s in range(3) for arm in ARMS], path_row, into="paths",
         once={"the same, real against real": floor, "the exact optimum, 4 steps": exact}),
    Part("attention", lambda seeds: [{"arm": arm, "seed": s} for s in (0, 1, 2) for arm in WAYS],
         attention_row, into="attention",
         once={COST: cost, "validation losses of the shipped network": shipped, "real pictures": real_shares}),
]  # fmt: skip
BENCH = Benchmark("sd3", PARTS, seeds=(), threads=1, table=table, indent=None)

if __name__ == "__main__":
    measure(__doc__, BENCH)
