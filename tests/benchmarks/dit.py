"""Diffusion transformers: their gates, beside the U-Net, over sizes, aligned, and over patches (lesson 25).

    python tests/benchmarks/dit.py [cost | rates | gates | times | sizes | aligned | patches] [--store]

All networks are class-conditional, trained on 4,000 digits, on a rectified flow with logit-normal times in [0.05, 0.95], in
batches of 32, a tenth of the labels dropped, by AdamW at a constant rate after 50 steps of warm-up, averaged weights; three
trainings an arm (seeds 0 to 2), in which equal seeds have equal batches, noises and times. A constant rate makes each point of
a training comparable, as in Peebles and Xie 2023, section 4. 400 samples of 16 Euler steps, without guidance (w = 1), are
compared with the 1,000 held-out digits by the shipped classifier: `Frechet distance`. `loss` is that of the averaged weights on
500 held-out digits. The noises and times of both are the same for all networks; in `times` and `sizes` each seed has others.
`curve` is the loss at each quarter of the training.

cost       Milliseconds of processor time of a step of each network, the least of several rounds in turns; multiply-adds of one
           forward pass of one picture, by torch.utils.flop_counter. A step counts as three forward passes of 32 pictures.
rates      The rate of each kind of network, 1e-3, 3e-3 or 6e-3 (added when 3e-3 was the better of two): the lowest loss after
           110 steps of a DiT (patch 2, width 64) and 220 of a U-Net (M), seed 7.
gates      DiT M, 400 steps. `zero`: adaLN-Zero. `one`: the same, but all gates start at 1, so that a block starts as one of
           plain adaLN; nothing else differs. `none`: the gates stay at 1, which is the plain adaLN of the paper; it differs
           from `zero` in two things, so it has no verdict. Null model: `one` with seeds 3 to 5.
times      The course's U-Net and a DiT of patches of 4 x 4, with 4 blocks and width 128 (L), trained for as many steps as cost
           45 s by `cost`: equal time. The U-Net is also measured after as many operations as L has had at its end, which are
           fewer: equal operations. Null models: L at other noises, which are another draw for each seed; L with seeds 3 to 5.
sizes      The same with widths 32 (S) and 64 (M), for the 840 steps of L: equal steps. Null model: M with seeds 3 to 5.
aligned    `aligned`: `zero` of `gates` with a second term of weight 0.5, minus the cosine similarity of the tokens after the
           second block, mapped by three layers, and the classifier's features of the clean picture at the same 4 x 4 places
           (its sixth layer): Yu et al. 2025, with our own classifier. `misaligned`, its null model: the features of another
           picture of the batch. The Frechet distance is by that classifier's features, so it must not decide; the loss does.
patches    Digits of 32 x 32, a DiT of width 64 with 4 blocks, 800 steps. With patches of 16 x 16 (256 pixels, four times the
           width): predictions of x_0, of the velocity and, in one training, of the noise. With patches of 8 x 8 (64 pixels,
           the width): of x_0 and of the velocity. The loss is that of the velocity in all arms, as in Li and He 2025; so they
           differ in the prediction alone. Sampling starts at t = 0.98, since a prediction of the noise has no velocity at
           t = 1. Distances by the classifier of 32 x 32 digits. Null model: the velocity with patches of 16 x 16 at other
           noises.

What decides, in paired runs, with the margins of evidence.py, on Frechet distances unless said otherwise:
- zero: that of `zero` is lower than that of `one`. (Peebles and Xie 2023, section 5, figure 5: adaLN-Zero has a lower FID than
  adaLN.)
- unet: the U-Net's is lower than that of DiT L, at equal time and at equal operations. (Dosovitskiy et al. 2021, section 4.3:
  on small data convolutions help. Peebles and Xie, section 5.1, figure 2: at full size the DiT is ahead.)
- size: after as many steps, the loss of M is lower than that of S, and that of L lower than that of M. (Peebles and Xie,
  section 5, figure 6.)
- aligned: the loss of `aligned` is lower than that of `zero`. (Yu et al. 2025, section 4, of FID and the time of training.)
- patches: with patches of 16 x 16, x_0 is lower than the velocity; and the logarithm of velocity over x_0 is higher than with
  patches of 8 x 8: two claims. (Li and He 2025, section 4.)
The same must not hold: of `one`, seeds 3 to 5, in the place of `zero`; of DiT L at other noises, and of DiT L, seeds 3 to 5,
in the place of the U-Net; of M, seeds 3 to 5, in the place of L; of `misaligned` in the place of `aligned`; of the velocity at
other noises in the place of x_0.

All but the rows with patches of 16 x 16 is a second protocol, fixed before its trainings. Known before, from the first: the
U-Net (2.7) beside L (9.2) after 15 s, S, M and L after 280 steps (loss 0.31, 0.27, 0.26), no gain by `aligned` after 150
steps, and after 100 steps with patches of 8 x 8 distances of 26 (x_0) and 140 (velocity). These are measured anew. The first
null models of `times` and `sizes`, with other noises at evaluation, passed, since these were the same for the three trainings,
so that their shift was common. When `times` was fixed, most trainings of `gates` were known; when `sizes` was, the U-Net; when
`patches` was, all of `times`; when seeds 3 to 5 of L were added, all but `patches`. The parts were measured in the order
gates, times, sizes, aligned, seeds 3 to 5 of L, patches.
"""

from functools import cache, partial

import torch
from rows import Benchmark, Part, measure
from scores import as_base64, digit_scores, parameters, rounded
from timing import min_milliseconds
from torch import nn
from torch.nn.functional import cosine_similarity
from torch.utils.flop_counter import FlopCounterMode

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.nets.dit import DiT, ModulationLayer
from course_lib.nets.unet import UNet
from course_lib.process import RectifiedFlow, randint, randn, randn_like, seeded
from course_lib.samplers import rectified_flow, result
from course_lib.training import EMA
from course_lib.zoo import models
from course_lib.zoo.recipes.recipe import learner_of

FLOW, BATCH, DECAY = RectifiedFlow((0.0, 1.0)), 32, 0.99
NETS = {
    "DiT S": partial(DiT, patch=4, width=32),
    "DiT M": partial(DiT, patch=4, width=64),
    "DiT L": partial(DiT, patch=4, width=128),
    "U-Net": UNet,
}
STEPS = {"U-Net": 1344, "DiT L": 840}
EQUAL = 1035
"""After how many steps the U-Net has had the operations of the whole training of DiT L."""
RATE, PART_STEPS = 6e-3, 400
PATCHES = {16: ("x0", "flow", "eps"), 8: ("x0", "flow")}


def network_of(name: str, seed: int) -> Network:
    torch.manual_seed(seed)
    net = NETS[name]()
    return Network(net.to(memory_format=torch.channels_last) if isinstance(net, UNet) else net, FLOW, "flow")


def velocity_loss(network: Network, x0, rng, t=None):
    """The mean squared error of the velocity, whatever the network predicts."""
    t = FLOW.sample_t(len(x0), rng).clamp(0.05, 0.95) if t is None else t
    eps = randn_like(x0, rng)
    return (network(FLOW.add_noise(x0, t, eps), t).flow - (eps - x0)).square().mean()


def fit(network: Network, steps: int, rate: float, seed: int, size: int = 16, align=None):
    """Yields (step, averaged network) after each step. `align(tokens, i)` of the tokens after block 2 is added to the loss."""
    x, label = digits.load("train", size)
    learner, rng, tokens = learner_of(network), seeded(seed), []
    average = EMA(learner.net, DECAY)
    weights = list(learner.net.parameters())
    if align is not None:
        learner.net.blocks[1].register_forward_hook(lambda block, given, h: tokens.append(h))
        weights += align.parameters()
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(1, steps + 1):
        i = randint(0, len(x), BATCH, rng=rng)
        loss = velocity_loss(learner.given(label[i]).drop_condition(0.1, rng), x[i], rng)
        if align is not None:
            loss = loss + align(tokens.pop(), i)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, step / 50)
        optimizer.step()
        average.update()
        yield step, Network(average.net, FLOW, network.view)


@torch.no_grad()
def validation(network: Network, size: int = 16, noises: int = 0) -> float:
    x, label = (v[:500] for v in digits.load("held_out", size))
    rng = seeded(800 + noises)
    t = 0.05 + 0.9 * (torch.randperm(len(x), generator=rng) + 0.5).double() / len(x)
    return float(velocity_loss(network.given(label), x, rng, t))


@cache
def real(classifier: str, size: int):
    with torch.no_grad():
        return models.load(classifier).features(digits.load("held_out", size)[0])


@torch.no_grad()
def drawn(network: Network, size: int = 16, noises: int = 0):
    label = torch.arange(400) % 10
    times = torch.linspace(0.98, 0, 17, dtype=torch.float64)
    noise = randn(400, 1, size, size, rng=seeded(900 + noises))
    return result(rectified_flow(network.given(label), noise, times)), label


def scored(network: Network, size: int = 16, noises: int = 0, again: int | None = None) -> dict:
    """All figures of a network at some noises; `again` is the distance at those other noises."""
    classifier = "classifier" if size == 16 else "judge32"
    x, label = drawn(network, size, noises)
    found = digit_scores(x, label, real(classifier, size), classifier) | {"loss": validation(network, size, noises)}
    more = {} if again is None else {"again": frechet(drawn(network, size, again)[0], classifier, size)}
    return rounded(found | more)


@torch.no_grad()
def frechet(x, classifier: str, size: int) -> float:
    return metrics.frechet_distance(models.load(classifier).features(x), real(classifier, size))


def floor(**_) -> dict:
    """400 real digits of the training set beside the 1,000 held-out ones."""
    each = {16: "classifier", 32: "judge32"}
    found = {f"{size} x {size}": frechet(digits.load("train", size)[0][:400], each[size], size) for size in each}
    return rounded(found)


def cost(**_) -> dict:
    calls, found = {}, {}
    x, label = (v[:BATCH] for v in digits.load())
    for name in NETS:
        network = network_of(name, 0)
        with FlopCounterMode(display=False) as counter:
            network.given(label[:1])(x[:1], 0.5)
        found[name] = {"parameters": parameters(network.net), "multiply-adds": counter.get_total_flops() // 2}
        steps = fit(network, 10**6, 1e-3, 0)
        calls[name] = lambda steps=steps: next(steps)
    ms = min_milliseconds(calls, 5)
    return {name: found[name] | {"milliseconds": round(ms[name], 1)} for name in NETS}


def rate_row(net: str, rate: float, seed: int) -> dict:
    torch.manual_seed(seed)
    made, steps = {"U-Net M": (UNet().to(memory_format=torch.channels_last), 220), "DiT M": (DiT(width=64), 113)}[net]
    *_, (_, network) = fit(Network(made, FLOW, "flow"), steps, rate, seed)
    return rounded({"loss": validation(network)})


def start_gates(net: DiT, gates: str) -> None:
    """`one`: all gates are 1 at the start, `none`: always. `zero` is how a DiT is made."""
    for layer in net.modules():
        if isinstance(layer, ModulationLayer) and gates == "one":
            with torch.no_grad():
                layer.bias.view(6, -1)[[2, 5]] = 1
        elif isinstance(layer, ModulationLayer) and gates == "none":
            layer.register_forward_hook(lambda layer, given, out: tuple(m._replace(gate=torch.ones_like(m.gate)) for m in out))


def gates_row(gates: str, seed: int) -> dict:
    network = network_of("DiT M", seed)
    start_gates(network.net, gates)
    curve, average = watched(fit(network, PART_STEPS, RATE, seed), PART_STEPS)
    return scored(average) | {"curve": curve}


def watched(training, steps: int, noises: int = 0):
    """The losses at the quarters of a training of so many steps, and its averaged network."""
    curve = {}
    for step, average in training:
        if step % (steps // 4) == 0:
            curve[step] = round(validation(average, noises=noises), 4)
    return curve, average


def time_row(net: str, seed: int) -> dict:
    found = {}

    def training():
        for step, average in fit(network_of(net, seed), STEPS[net], RATE, seed):
            if (net, step) == ("U-Net", EQUAL):
                found["equal operations"] = scored(average, noises=seed % 3)
            yield step, average

    curve, average = watched(training(), STEPS[net], seed % 3)
    found |= scored(average, noises=seed % 3, again=seed % 3 + 3 if net == "DiT L" else None)
    return found | {"curve": curve}


def size_row(net: str, seed: int) -> dict:
    curve, average = watched(fit(network_of(net, seed), STEPS["DiT L"], RATE, seed), STEPS["DiT L"], seed % 3)
    return rounded({"loss": validation(average, noises=seed % 3)}) | {"curve": curve}


class Alignment(nn.Module):
    """The second term: -0.5 times the cosine similarity of projected tokens (B, 16, 64) and the features of pictures i (B,)."""

    def __init__(self, roll: int):
        super().__init__()
        self.roll = roll
        self.project = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64))

    def forward(self, tokens, i):
        return -0.5 * cosine_similarity(self.project(tokens), features()[i.roll(self.roll)], dim=2).mean()


@cache
@torch.no_grad()
def features():
    """The classifier's features of all training digits at 4 x 4 places, (4000, 16, 64)."""
    return models.load("classifier").body[:6](digits.load()[0]).flatten(2).transpose(1, 2)


def aligned_row(features: str, seed: int) -> dict:
    align = Alignment(0 if features == "aligned" else 1)
    curve, average = watched(fit(network_of("DiT M", seed), PART_STEPS, RATE, seed, align=align), PART_STEPS)
    return rounded({"loss": validation(average)}) | {"curve": curve}


def patch_row(patch: int, view: str, seed: int) -> dict:
    torch.manual_seed(seed)
    network = Network(DiT(size=32, patch=patch, width=64), FLOW, view)
    *_, (_, average) = fit(network, 800, RATE, seed, size=32)
    pictures = {"pictures": as_base64(drawn(average, 32)[0][:8])} if seed == 0 else {}
    return scored(average, 32, again=1 if (patch, view) == (16, "flow") else None) | pictures


def table(found: dict) -> str:
    """Markdown: each arm, the means over its trainings."""
    names = ("loss", "Frechet distance", "class accuracy", "precision", "recall")
    null = lambda row: ", null model" if row["seed"] > 2 else ""
    rows = [(f"gates: {r['gates']}{null(r)}", r) for r in found.get("gates", [])]
    rows += [(f"{r['net']}, 45 s{null(r)}", r) for r in found.get("times", [])]
    equal = [r for r in found.get("times", []) if "equal operations" in r]
    rows += [(f"{r['net']}, equal operations", r["equal operations"]) for r in equal]
    rows += [(f"{r['net']}, equal steps{null(r)}", r) for r in found.get("sizes", [])]
    rows += [(r["features"], r) for r in found.get("aligned", [])]
    rows += [(f"patches of {r['patch']}, {r['view']}", r) for r in found.get("patches", [])]
    lines = [f"| arm | trainings | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for arm in dict.fromkeys(row[0] for row in rows):
        of = [row[1] for row in rows if row[0] == arm]
        cells = (f"{sum(r[name] for r in of) / len(of):.3f}" if name in of[0] else "" for name in names)
        lines.append(f"| {arm} | {len(of)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def gates_jobs(seeds) -> list[dict]:
    jobs = [{"gates": gates, "seed": seed} for seed in seeds for gates in ("zero", "one", "none")]
    return jobs + [{"gates": "one", "seed": seed + 3} for seed in seeds]


def time_jobs(seeds) -> list[dict]:
    jobs = [{"net": net, "seed": seed} for net in STEPS for seed in seeds]
    return jobs + [{"net": "DiT L", "seed": seed + 3} for seed in seeds]


def size_jobs(seeds) -> list[dict]:
    jobs = [{"net": net, "seed": seed} for net in ("DiT M", "DiT S") for seed in seeds]
    return jobs + [{"net": "DiT M", "seed": seed + 3} for seed in seeds]


VIEWS = [(patch, view) for patch, views in PATCHES.items() for view in views]
RATES = [(net, rate) for net in ("U-Net M", "DiT M") for rate in (1e-3, 3e-3, 6e-3)]
ALIGNED = ("aligned", "misaligned")
PARTS = [
    Part("cost", once={"cost": cost, "the same, real against real": floor}),
    Part("rates", lambda seeds: [{"net": net, "rate": rate, "seed": 7} for net, rate in RATES], rate_row, into="rates"),
    Part("gates", gates_jobs, gates_row, into="gates"),
    Part("times", time_jobs, time_row, into="times"),
    Part("sizes", size_jobs, size_row, into="sizes"),
    Part(
        "aligned", lambda seeds: [{"features": arm, "seed": s} for s in seeds for arm in ALIGNED], aligned_row, into="aligned"
    ),
    Part(
        "patches",
        lambda seeds: [
            {"patch": patch, "view": view, "seed": seed}
            for patch, view in VIEWS
            for seed in seeds
            if view != "eps" or seed == 0
        ],
        patch_row,
        into="patches",
    ),
]
BENCH = Benchmark("dit", PARTS, threads=1, table=table, indent=None)

if __name__ == "__main__":
    measure(__doc__, BENCH)
