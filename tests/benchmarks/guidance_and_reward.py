"""Guidance in an interval, autoguidance, CFG rescale, best-of-n and particles: distance, accuracy, reward (lesson 28).

    python tests/benchmarks/guidance_and_reward.py [tune | digits | again | plane | particles | dpo | ring | hacking] [--store]

Noise levels are noise / signal. All samples are of 25 DDIM steps (eta = 0) unless something else is said. `distance` is the
Frechet distance in the shipped classifier's features to 500 held-out digits; in the plane, the sliced Wasserstein distance to
4,000 points. `accuracy` is the share of the class that was asked for, by the same classifier; in the plane, by the exact one.

tune       The interval is chosen here, once for digits, once for each kind of score in the plane, with noises that nothing else
           uses: of LOWS x HIGHS the pair with the lowest distance at accuracy 0.99 over w in 1, 1.5, 2, 3, 5.
digits     The shipped network, 500 digits, three noises, w in DIGITS_WS. Arms: CFG, which is that of the sweep of lesson 08, at
           the same noises; interval, CFG in the tuned interval (low, high] and the conditional model elsewhere; not at small
           noise, CFG in (low, inf); not at large noise, CFG in (0, high]; autoguidance by a worse network, of the same recipe
           as the shipped one but 1,000 steps in the place of 24,000, another training for each noise; rescaled, phi = 0.7. The
           null model is CFG with three other noises.
again      CFG, the interval and autoguidance once more, with twelve noises that nothing else uses, at the ws of AGAIN_WS and
           w = 1. Noise k goes with the worse network k % 3: no network is trained. The null model is CFG with six of these
           noises beside CFG with the six others.
plane      The triangle of three overlapping classes. Arms as above, without the last two. `exact` scores, and `learned` ones of
           a network trained with label dropout (MLP, width 64, 3 blocks, 400 steps of 256, in v), three trainings; 3,000
           points, three noises, of the learned scores one for each training.
particles  Two spots on a line (0.3 of the points near -1, 0.7 near 1, lesson 16), exact scores, 50 DDPM steps, reward -x. The
           optimum p exp(r / beta) is known for BETAS. 2,000 kept samples, each from a group of K: `resampled`, particles
           resampled at each step and one of the group kept at random; `at the end`, the same weights exp(r / beta) at the end
           alone; `best`, the one with the highest reward; `permuted`, particles whose rewards are permuted within the group.
           Three noises. Figures: mean reward, Wasserstein distance on the line to 2,000,000 samples of the optimum.
dpo        The line again. A reference network (MLP, width 48, 2 blocks, v, 800 steps of 256) is trained on by Diffusion-DPO,
           beta = 0.5: 500 steps of Adam at 1e-3, each of 256 pairs of points of the data, of which one is preferred by the
           Bradley-Terry model of the reward -x. Arms: `weight 8` and `weight 2`, T omega of the loss, constant as in the
           paper's code; `random preferences`, weight 8. Three trainings of the reference and of each arm. Figures of 10,000
           samples in 50 DDPM steps, each 100 steps of training: mean reward, KL from the data's density, distance to the
           optimum, and `outside`, the share farther than 5 standard deviations from both spots.
ring       The ring of 8 (lesson 02) and the reward -y^2 of a point (x, y), which is not linear. Samples of the optimum with
           beta = 0.25 are exact, by rejection of samples of the data. A reference network (MLP, width 64, 3 blocks, v, 1,500
           steps of 256) is trained on. `DDPO`: 40 rounds, each 256 samples in 25 DDPM steps and 4 steps of Adam at 1e-3 on a
           quarter of their moves each, clip 0.2, beta = 0, as in the paper. `DDPO with KL`: the same, with beta = 0.25.
           `permuted rewards`: as `DDPO with KL`, the rewards of a round permuted among its samples. `DPO`: as in `dpo`,
           weight 8, beta = 0.25, pairs of points of the data, preferred by the Bradley-Terry model of the reward. Three
           trainings of the reference and of each arm. No training: `best of n` of the reference's samples for n in GROUPS,
           and `particles`, groups of 16 of the reference's, beta = 0.25, one of each group kept at random: 2,000 kept.
           Figures of 4,000 samples in 25 DDPM steps, before, half way and after: mean reward, sliced Wasserstein distance to
           the optimum's samples.
hacking    Reward: the mean logarithm of P(label | x) by a classifier like the shipped one, trained for 300 steps on 500 digits,
           three trainings. Judge: the shipped classifier (4,000 digits, 1,500 steps). A pool of 1,600 digits is drawn without a
           class (w = 0), another for each training. For each label and n in NS the best of n by the reward is kept. Figures:
           share right and mean log P by the reward and by the judge; the same for one chosen at random of n.

`At equal accuracy`: accuracy over w is made rising by its running maximum, and both curves are linear between the ws. The
level is 0.99, or the highest accuracy that the poorer of the two arms reaches, if that is less. The distance is that at the
first w with this accuracy.

What decides, with the margins of evidence.py:
- digits, three noises: at equal accuracy the distance is lower with the interval than with CFG;
- digits, three noises: the same of `not at small noise` beside CFG;
- digits, three trainings of the worse network: the same of autoguidance beside CFG;
- line, three noises, beta = 0.25, K = 16: the distance to the optimum is lower for `resampled` than for `at the end`;
- line, three trainings: after DPO with weight 8 the distance to the optimum is lower than that of the reference;
- digits, three trainings of the reward: from n = 1 to 64 the share right by the reward rises more than that by the judge.
- ring, three trainings: after `DDPO with KL` the distance to the optimum is lower than that of the reference, and lower than
  after `DDPO`, both;
The same must not hold: of CFG with other noises in the place of the first three arms; of `permuted` in the place of
`resampled`; of random preferences in the place of the model's; of
`permuted rewards` in the place of `DDPO with KL`; of a random choice in the place of the best.
All arms, numbers and conditions were fixed before any of these runs. Known before: the sweep of lesson 08 (CFG, 25 steps), and
from trials of the code, with other noises: CFG at w = 1 and 1.5 on digits, CFG with exact scores in the plane, 200 kept samples
at beta = 0.25 with K = 4 and 16, and single trainings of DPO with weights from 2 to 30, by which 8 and 2 were chosen. After the
tuning, and before any row of digits or of the plane, most ws and beta = 1 were left out, and CFG was taken from lesson 08, for
their time.

Added after the results of digits had been seen: w = 1.1 and 1.25 of CFG, of CFG with other noises and of `not at small noise`,
at the noises of the other ws, with which the arms are paired. Until then these arms had no w between 1 and 1.5, where they pass
0.99. In the plane, without w = 1.25, the straight line over this gap reads 0.03 to 0.05 more at 0.99. No condition was
changed. What was known: by the line CFG had 0.125 at equal accuracy beside the interval's 0.085, and 0.110 beside
autoguidance's 0.080.

`ring` was added later, and fixed before its runs. Known from trials of one other seed, in 50 DDPM steps: with KL the distance
falls from 0.28 to about 0.1 in 40 rounds, without it rises to 1.2. 25 steps were taken for their time.

`again` was added, and fixed before any of its runs, since three noises left three claims on digits undecided. What was known:
all figures of `digits`. At equal accuracy the interval is below CFG by 0.015, 0.006 and 0.015. CFG passes 0.99 between w = 1.1
and 1.25, the interval between 1.5 and 2: hence AGAIN_WS. The interval stays that of `tune`. What decides, with twelve noises
of the shipped network: at equal accuracy the distance is lower with the interval than with CFG. The same must not hold of CFG
with six noises beside CFG with six others. After the rows of the first noise (CFG 0.105 at its highest accuracy, the interval
0.079), autoguidance, `not at small noise` and a null model with noises of its own were left out for their time. Autoguidance
was put back when the rows of the interval were known (0.013 below CFG at equal accuracy) and none of its own had been read: it
decides with three trainings of the worse network, each the mean of four noises. The claim on `not at small noise` alone gives
its place to one on DDPO, since a lesson has six claims, and it is the control of the interval's claim, whose text prints its
difference from CFG.
"""

from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load, load_or_train, measure
from scores import as_base64, digit_scores, rounded
from torch.nn.functional import cross_entropy

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.datasets.points import pair, ring, triangle
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import AutoGuidance, ClassifierFree, ExactClassifier, Interval, Rescaled
from course_lib.methods.rewards import accepted, best_of, ddpo_loss, dpo_loss, particles, rollout, tilted
from course_lib.mixtures import GaussianMixture
from course_lib.nets.classifier import jitter
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randn, randn_like, seeded
from course_lib.samplers import ddpm, sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, denoising_loss, train
from course_lib.zoo import models
from course_lib.zoo.recipes.digits import classifier, digits_network, train_digits
from course_lib.zoo.recipes.recipe import learner_of

WS, TUNED_WS, N, STEPS = (1, 1.25, 1.5, 2, 3), (1, 1.5, 2, 3, 5), 500, 25
LOWS, HIGHS = (0.25, 0.5), (1, 2, 4)
ARMS = ("CFG", "interval", "not at small noise", "not at large noise", "autoguidance", "rescaled")
BETWEEN = (1.1, 1.25)  # added after the first results, see above
DIGITS_WS = {"interval": (1.5, 2, 3, 5), "autoguidance": (1.5, 2, 3), "not at small noise": (*BETWEEN, 1.5, 3)}
DIGITS_WS |= {"not at large noise": (1.5, 3), "rescaled": (3,), "CFG with other noises": (1, *BETWEEN, 1.5)}
AGAIN_WS = {"CFG": BETWEEN, "interval": (1.5, 2), "autoguidance": (1.5, 2)}
LEVEL = 0.99
DATA, PROCESS = triangle(), DDPM(cosine_beta(1000))
BETAS, GROUPS, KEPT, NS = (0.5, 0.25), (2, 4, 8, 16), 2000, (1, 2, 4, 8, 16, 32, 64)


def at_level(curve: dict, level: float) -> float:
    """The distance at the first w with that accuracy. `curve` has w, accuracy and distance, lists of equal length."""
    best = -1.0
    points = []
    for accuracy, distance in zip(curve["accuracy"], curve["distance"]):
        best = max(best, accuracy)
        points.append((best, distance))
    if points[0][0] >= level:
        return points[0][1]
    for (a, d), (a_next, d_next) in zip(points, points[1:]):
        if a_next >= level:
            return d + (level - a) / (a_next - a) * (d_next - d)
    raise ValueError(f"level must be reached, got {level} for accuracies up to {best}")


def at_equal(arm: dict, other: dict, level: float) -> tuple[float, float]:
    """The distances of two curves at equal accuracy."""
    level = min(level, max(arm["accuracy"]), max(other["accuracy"]))
    return at_level(arm, level), at_level(other, level)


# Digits


@cache
def worse(seed: int) -> Network:
    """The shipped recipe, 1,000 steps in the place of 24,000."""
    network = digits_network(1000 + seed)
    path = BUILD / f"guidance_and_reward/worse_{seed}.safetensors"
    training = lambda: train_digits(network, seed=1000 + seed, steps=1000, plain=True)
    load_or_train(path, network.net, training)
    return network


def arm_of(arm: str, cond, uncond, w: float, low: float, high: float, bad=None):
    """The denoiser of an arm."""
    cfg = ClassifierFree(cond, uncond, w)
    if arm == "autoguidance":
        return AutoGuidance(cond, bad, w)
    if arm == "rescaled":
        return Rescaled(cond, uncond, w)
    if arm == "CFG":
        return cfg
    return Interval(cfg, cond, 0 if arm == "not at large noise" else low, float("inf") if arm == "not at small noise" else high)


@cache
def drawn(arm: str, noise: int, w: float, low: float, high: float) -> dict:
    """Accuracy and distance of 500 digits."""
    network, label = models.load("digits", device="cpu"), torch.arange(N) % 10
    bad = worse(noise % 3).given(label) if arm == "autoguidance" else None
    if w == 1:
        arm = "CFG"  # the conditional model alone
    denoiser = arm_of(arm, network.given(label), network.given(NULL), w, low, high, bad)
    made = sample(denoiser, network.draw_noise(N, seeded(100 + noise)), STEPS, batch=N).clamp(-1, 1)
    found = digit_scores(made, label)
    return {"w": w, "accuracy": found["class accuracy"], "distance": found["Frechet distance"], "recall": found["recall"]}


def curve(arm: str, noise: int, low: float, high: float, ws=WS) -> dict:
    """The figures over w, each a list."""
    rows = [drawn(arm, noise, w, low, high) for w in ws]
    return {key: [row[key] for row in rows] for key in rows[0]}


def tuned(score, level: float) -> dict:
    """The pair of LOWS x HIGHS with the lowest distance at the level; all distances, None where it is not reached."""
    found = {}
    for low in LOWS:
        for high in HIGHS:
            try:
                found[f"{low:g}, {high:g}"] = round(at_level(score(low, high), level), 4)
            except ValueError:
                found[f"{low:g}, {high:g}"] = None
    best = min((value, key) for key, value in found.items() if value is not None)[1]
    return {"low": float(best.split(", ")[0]), "high": float(best.split(", ")[1]), "distances": found}


@cache
def interval(of: str) -> tuple[float, float]:
    """The ends that the part `tune` has stored."""
    found = load("guidance_and_reward")[f"interval of {of}"]
    return found["low"], found["high"]


@cache
def tune_digits(**_) -> dict:
    return tuned(lambda low, high: curve("interval", 3600, low, high, TUNED_WS), LEVEL)


@cache
def tune_plane(kind: str) -> dict:
    return tuned(lambda low, high: plane_curve(kind, "interval", 900, low, high, TUNED_WS), LEVEL)


def swept(seed: int) -> dict:
    """CFG, from the sweep of lesson 08: the same network, digits, steps and noises."""
    rows = [
        r for r in load("guidance_sweep")["runs"] if r["guide"] == "classifier-free" and r["n"] == N and r["steps"] == STEPS
    ]
    rows = sorted((r for r in rows if r["seed"] == seed and r["w"] >= 1), key=lambda r: r["w"])
    scores = {"accuracy": "class accuracy", "distance": "Frechet distance", "recall": "recall"}
    return {"w": [r["w"] for r in rows]} | {key: [r["figures"][name] for r in rows] for key, name in scores.items()}


def digits_row(arm: str, seed: int) -> dict:
    if arm == "CFG":
        stored, added = swept(seed), curve("CFG", seed, 0, 1, BETWEEN)
        order = sorted(range(len(stored["w"] + added["w"])), key=(stored["w"] + added["w"]).__getitem__)
        return {key: [(stored[key] + added[key])[i] for i in order] for key in stored}
    if arm == "CFG with other noises":
        return curve("CFG", 2700 + seed, 0, 1, DIGITS_WS[arm])
    alone = {key: value[:1] for key, value in swept(seed).items()}  # w = 1 is the same for all
    found = curve(arm, seed, *interval("digits"), DIGITS_WS[arm])
    return {key: alone[key] + found[key] for key in alone}


def again_row(arm: str, seed: int) -> dict:
    alone = drawn("CFG", 4800 + seed, 1, 0, 1)  # w = 1 is the same for both
    found = curve(arm, 4800 + seed, *interval("digits"), AGAIN_WS[arm])
    return {key: [alone[key], *found[key]] for key in alone}


def pictures(**_) -> dict:
    """Ten digits by autoguidance at each w, from one noise: bytes in base64."""
    network, label = models.load("digits", device="cpu"), torch.arange(10)
    noise = network.draw_noise(10, seeded(5))
    drawn = lambda w: sample(AutoGuidance(network.given(label), worse(0).given(label), w), noise, STEPS)
    return {f"{w:g}": as_base64(drawn(w)) for w in WS}


def real(**_) -> dict:
    x, label = (part[:N] for part in digits.load("train"))
    return digit_scores(x, label)


def of_worse(**_) -> list:
    """Accuracy and distance of the worse networks alone, w = 1."""
    label = torch.arange(N) % 10
    make = lambda k: sample(worse(k).given(label), worse(k).draw_noise(N, seeded(2800 + k)), STEPS, batch=N).clamp(-1, 1)
    return [digit_scores(make(k), label) for k in range(3)]


# The plane


@cache
def learned(seed: int) -> Network:
    torch.manual_seed(seed)
    network = Network(MLP(dim=2, width=64, depth=3, classes=3), PROCESS, "v")
    learner, rng = learner_of(network), seeded(seed)
    average = EMA(learner.net, 0.99, into=network.net)

    def loss():
        x, label = DATA.sample(256, rng)
        return denoising_loss(learner.given(label).drop_condition(0.1, rng), x, rng)

    for _ in train(loss, learner.net, 400, lr=3e-3, ema=average):
        pass
    return network


@torch.no_grad()
def plane_curve(kind: str, arm: str, noise: int, low: float, high: float, ws=WS) -> dict:
    """Accuracy and distance of 3,000 points, 1,000 of each class."""
    model = ExactDenoiser(DATA, PROCESS) if kind == "exact" else learned(noise)
    bayes, z = ExactClassifier(DATA, PROCESS), randn(3000, 2, rng=seeded(2900 + noise)).double()
    z = z if kind == "exact" else z.float()
    far = DATA.sample(4000, seeded(950))[0]
    found = {"w": list(ws), "accuracy": [], "distance": []}
    for w in ws:
        made = []
        for c in range(3):
            denoiser = arm_of(arm, model.given(c), model.given(NULL), w, low, high)
            made.append(sample(denoiser, z[1000 * c : 1000 * (c + 1)], STEPS, batch=1000))
        x, label = torch.cat(made), torch.arange(3000) // 1000
        found["accuracy"].append(round(metrics.accuracy(bayes(x, 0), label), 4))
        found["distance"].append(round(metrics.sliced_wasserstein(x, far, 60), 4))
    return found


def plane_row(kind: str, arm: str, seed: int) -> dict:
    return plane_curve(kind, arm, seed, *interval(kind))


# Particles on a line


def distance_on_line(x: torch.Tensor, y: torch.Tensor) -> float:
    return metrics.sliced_wasserstein(x, y, 1)


@cache
def optimum(beta: float) -> torch.Tensor:
    return tilted(pair(), torch.tensor([-1.0]), beta).sample(2_000_000, seeded(960))[0]


def particles_row(beta: float, K: int, seed: int) -> dict:
    data, reward = ExactDenoiser(pair(), PROCESS), lambda x: -x[:, 0]
    noise, times = randn(KEPT * K, 1, rng=seeded(3000 + seed)), PROCESS.times(50)
    one = torch.randint(K, (KEPT,), generator=seeded(3100 + seed)) + K * torch.arange(KEPT)
    order = torch.rand(KEPT, K, generator=seeded(3300 + seed)).argsort(1).add(K * torch.arange(KEPT)[:, None]).flatten()
    run = lambda r: list(particles(data, noise, times, r, beta, K, seeded(3200 + seed)))[-1].x[one]
    plain = list(ddpm(data, noise, times, seeded(3200 + seed)))[-1].x
    value = reward(plain).view(KEPT, K)
    chosen = torch.multinomial((value / beta).softmax(1), 1, generator=seeded(3400 + seed))[:, 0] + K * torch.arange(KEPT)
    arms = {
        "resampled": run(reward),
        "at the end": plain[chosen],
        "best": best_of(plain, reward, K),
        "permuted": run(lambda x: reward(x)[order]),
    }
    figures = {}
    for name, x in arms.items():
        figures[name] = rounded({"reward": reward(x).mean(), "distance": distance_on_line(x, optimum(beta))})
    return figures


def floor(**_) -> dict:
    """The mean distance of three sets of 2,000 samples of the optimum to the 2,000,000."""
    sets = lambda beta: [tilted(pair(), torch.tensor([-1.0]), beta).sample(KEPT, seeded(970 + k))[0] for k in range(3)]
    far = lambda beta: sum(distance_on_line(x, optimum(beta)) for x in sets(beta)) / 3
    return rounded({f"{beta:g}": far(beta) for beta in BETAS})


# Diffusion-DPO on the line

LINE = pair()
OUTSIDE, BINS = 5.0, torch.linspace(-8, 8, 321, dtype=torch.float64)


def kl_from_data(x: torch.Tensor) -> float:
    """The KL divergence of samples x (B, 1) from the data's density, by histograms of width 0.05."""
    share = torch.histogram(x[:, 0].double(), BINS)[0] / len(x)
    middle = (BINS[:-1] + BINS[1:]) / 2
    log_p = LINE.log_prob(middle[:, None]) + (BINS[1] - BINS[0]).log()
    return float((share * (share.clamp(min=1e-30).log() - log_p)).sum())


def trained(net: MLP, data: GaussianMixture, steps: int, seed: int) -> Network:
    """A denoiser of samples of a mixture: the model that rewards change."""
    network, rng = Network(net, PROCESS, "v"), seeded(seed)
    learner = learner_of(network)
    average = EMA(learner.net, 0.99, into=network.net)
    for _ in train(lambda: denoising_loss(learner, data.sample(256, rng)[0], rng), learner.net, steps, lr=4e-3, ema=average):
        pass
    return network


@cache
def reference(seed: int) -> Network:
    torch.manual_seed(seed)
    return trained(MLP(dim=1, width=48, depth=2), LINE, 800, seed)


def preferred(rng: torch.Generator, fair: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """256 pairs of points, the preferred one first; with `fair` a coin decides."""
    a, b = LINE.sample(256, rng)[0], LINE.sample(256, rng)[0]
    first = torch.rand(256, 1, generator=rng) < (0.5 if fair else torch.sigmoid(b - a))  # the reward is -x
    return torch.where(first, a, b), torch.where(first, b, a)


def of_samples(network: Network, seed: int) -> dict:
    x = sample(network, randn(10_000, 1, rng=seeded(3700 + seed)), 50, ddpm, batch=10_000, rng=seeded(3800 + seed))
    far = ((x.double() - LINE.means.T).abs().amin(1) > OUTSIDE * LINE.stds[0]).double().mean()
    found = {"reward": -x.mean(), "KL": kl_from_data(x), "distance": distance_on_line(x, optimum(0.5)), "outside": far}
    return rounded(found)


def dpo_row(arm: str, seed: int) -> dict:
    before, rng = reference(seed), seeded(3900 + seed)
    network, weight = learner_of(before), 2.0 if arm == "weight 2" else 8.0
    adam, found = torch.optim.Adam(network.net.parameters(), lr=1e-3), [of_samples(before, seed)]
    for step in range(1, 501):
        winner, loser = preferred(rng, arm == "random preferences")
        t, eps = PROCESS.sample_t(256, rng), randn_like(winner, rng)
        loss = dpo_loss(network, before, winner, loser, t, eps, 0.5, weight)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 100 == 0:
            found.append(of_samples(network, seed))
    return {key: [row[key] for row in found] for key in found[0]}


# Training on a reward that is not linear, on the ring

RING, RING_BETA, RING_TIMES = ring(), 0.25, PROCESS.times(25)
TRAINED = ("DDPO", "DDPO with KL", "permuted rewards", "DPO")


def on_axis(x: torch.Tensor) -> torch.Tensor:
    """The reward (B,): minus the square of the second coordinate."""
    return -x[:, 1].square()


@cache
def ring_optimum() -> torch.Tensor:
    return accepted(RING.sample(400_000, seeded(4000))[0], on_axis, RING_BETA, rng=seeded(4001))


@cache
def ring_reference(seed: int) -> Network:
    torch.manual_seed(seed)
    return trained(MLP(dim=2, width=64, depth=3), RING, 1500, seed)


def ring_scores(x: torch.Tensor) -> dict:
    return rounded({"reward": on_axis(x).mean(), "distance": metrics.sliced_wasserstein(x, ring_optimum(), 60)})


def ring_samples(network: Network, seed: int, n: int = 4000) -> torch.Tensor:
    return sample(network, randn(n, 2, rng=seeded(4100 + seed)), 25, ddpm, batch=n, rng=seeded(4200 + seed))


def ddpo_steps(network: Network, before: Network, arm: str, rng: torch.Generator):
    """Trains by DDPO, and yields after each round."""
    adam = torch.optim.Adam(network.net.parameters(), lr=1e-3)
    shuffled = lambda x: on_axis(x)[torch.randperm(len(x), generator=rng)]
    reward, beta = (shuffled if arm == "permuted rewards" else on_axis), (0.0 if arm == "DDPO" else RING_BETA)
    for _ in range(40):
        moves = rollout(network, before, randn(256, 2, rng=rng), RING_TIMES, reward, beta, rng)
        for index in torch.randperm(len(moves.t), generator=rng).chunk(4):
            loss = ddpo_loss(network, moves.part(index))
            adam.zero_grad()
            loss.backward()
            adam.step()
        yield


def dpo_steps(network: Network, before: Network, rng: torch.Generator):
    """Trains by DPO, and yields after each step."""
    adam = torch.optim.Adam(network.net.parameters(), lr=1e-3)
    for _ in range(500):
        a, b = RING.sample(256, rng)[0], RING.sample(256, rng)[0]
        first = torch.rand(256, generator=rng) < torch.sigmoid(on_axis(a) - on_axis(b))
        winner, loser = torch.where(first[:, None], a, b), torch.where(first[:, None], b, a)
        t, eps = PROCESS.sample_t(256, rng), randn_like(winner, rng)
        loss = dpo_loss(network, before, winner, loser, t, eps, RING_BETA, 8.0)
        adam.zero_grad()
        loss.backward()
        adam.step()
        yield


def ring_row(arm: str, seed: int) -> dict:
    before, rng = ring_reference(seed), seeded(4300 + seed)
    network = learner_of(before)
    steps = dpo_steps(network, before, rng) if arm == "DPO" else ddpo_steps(network, before, arm, rng)
    found, half = [ring_scores(ring_samples(before, seed))], 250 if arm == "DPO" else 20
    for k, _ in enumerate(steps, 1):
        if k % half == 0:
            found.append(ring_scores(ring_samples(network, seed)))
    row = {key: [each[key] for each in found] for key in found[0]}
    return row | ({"points": points(ring_samples(network, seed, 400))} if seed == 0 else {})


def points(x: torch.Tensor) -> list:
    """Coordinates to two decimals, for a plot."""
    return [[round(float(v), 2) for v in point] for point in x]


def ring_search(seed: int) -> dict:
    """Best-of-n and particles, from the reference's samples."""
    before, K = ring_reference(seed), max(GROUPS)
    noise = randn(KEPT * K, 2, rng=seeded(4400 + seed))
    pool = sample(before, noise, 25, ddpm, batch=len(noise), rng=seeded(4500 + seed))
    found = {f"best of {n}": ring_scores(best_of(pool[: KEPT * n], on_axis, n)) for n in GROUPS}
    one = torch.randint(K, (KEPT,), generator=seeded(4600 + seed)) + K * torch.arange(KEPT)
    steered = list(particles(before, noise, RING_TIMES, on_axis, RING_BETA, K, seeded(4700 + seed)))[-1].x[one]
    found["particles"] = ring_scores(steered)
    if seed == 0:
        found |= {"points": {"reference": points(pool[:400]), "best of 16": points(best_of(pool[:6400], on_axis, K))}}
    return found


def ring_floor(**_) -> dict:
    """Of 4,000 samples of the optimum itself; the share of the data's samples that rejection keeps."""
    x = accepted(RING.sample(20_000, seeded(4002))[0], on_axis, RING_BETA, rng=seeded(4003))[:4000]
    return ring_scores(x) | {"kept": round(len(ring_optimum()) / 400_000, 4), "points": points(ring_optimum()[:400])}


# The reward hacked


@cache
def reward_classifier(seed: int):
    """A classifier like the shipped one, trained for 300 steps on 500 digits."""
    net, (x, label), rng = classifier(2000 + seed), (part[:500] for part in digits.load("train")), seeded(2000 + seed)
    learner = learner_of(net)

    def loss():
        i = torch.randint(len(x), (128,), generator=rng)
        return cross_entropy(learner(jitter(x[i], rng)), label[i], label_smoothing=0.05)

    ema = EMA(learner, 0.99, into=net)
    path = BUILD / f"guidance_and_reward/reward_{seed}.safetensors"
    load_or_train(path, net, lambda: train(loss, learner, 300, lr=3e-3, ema=ema, weight_decay=0.05))
    return net


@torch.no_grad()
def hacking_row(seed: int) -> dict:
    network, judge, own = models.load("digits", device="cpu"), models.load("classifier", device="cpu"), reward_classifier(seed)
    pool = sample(network.given(NULL), network.draw_noise(1600, seeded(3500 + seed)), STEPS, batch=400).clamp(-1, 1)
    held, label = digits.load("held_out")
    log_p = {"reward": own(pool).log_softmax(1), "judge": judge(pool).log_softmax(1)}
    figures = {"held-out accuracy": round(metrics.accuracy(own(held), label), 4)}
    rng = seeded(3600 + seed)
    for n in NS:
        groups = torch.arange(1600).view(-1, n)
        for name in ("best", "random"):
            found = {f"{who} {what}": [] for who in log_p for what in ("right", "log P")}
            for c in range(10):
                score = log_p["reward"][groups, c] if name == "best" else torch.rand(groups.shape, generator=rng)
                kept = groups.gather(1, score.argmax(1, keepdim=True))[:, 0]
                for who, values in log_p.items():
                    found[f"{who} right"].append((values[kept].argmax(1) == c).double().mean())
                    found[f"{who} log P"].append(values[kept, c].double().mean())
            figures[f"{name} of {n}"] = rounded({key: torch.stack(value).mean() for key, value in found.items()})
    return figures


def equal(found: dict) -> dict:
    """At equal accuracy: the distances of each arm and of CFG, [arm's, CFG's] of each noise, from 0 on."""

    def beside(rows: list, other: str, noises: int = 3) -> list:
        at = {(r["arm"], r["seed"]): r for r in rows}
        pairs = [(at.get((other, seed)), at.get(("CFG", seed))) for seed in range(noises)]
        both = [[round(value, 4) for value in at_equal(a, b, LEVEL)] for a, b in pairs if a and b]
        return both if len(both) == noises else []

    digits_rows = found.get("digits", [])
    arms = {f"digits, {arm}": beside(digits_rows, arm) for arm in DIGITS_WS if arm != "rescaled"}  # which has one w
    for kind in ("exact", "learned"):
        rows = [r for r in found.get("plane", []) if r["kind"] == kind]
        arms |= {f"{kind}, {arm}": beside(rows, arm) for arm in ARMS[1:4]}
    arms |= {f"again, {arm}": beside(found.get("again", []), arm, 12) for arm in AGAIN_WS if arm != "CFG"}
    return {"equal": {arm: pairs for arm, pairs in arms.items() if pairs}}


def _mean(values) -> float:
    return sum(each := list(values)) / len(each)


def table(found: dict) -> str:
    """Markdown: the arms over w, the particles, the reward."""
    lines = ["| setting | arm | w: accuracy, distance |", "|---|---|---|"]
    rows = [("digits", r) for r in found.get("digits", [])] + [("again", r) for r in found.get("again", [])]
    rows += [(f"plane, {r['kind']}", r) for r in found.get("plane", [])]
    for setting, arm in dict.fromkeys((s, r["arm"]) for s, r in rows):
        of = [r for s, r in rows if (s, r["arm"]) == (setting, arm)]
        figures = [[_mean(r[key][i] for r in of) for key in ("accuracy", "distance")] for i in range(len(of[0]["w"]))]
        cells = (f"{w:g}: {accuracy:.3f}, {distance:.3f}" for w, (accuracy, distance) in zip(of[0]["w"], figures))
        lines.append(f"| {setting} | {arm} | {'; '.join(cells)} |")
    lines += ["", "| beta | K | arm | reward | distance to the optimum |", "|---|---|---|---|---|"]
    for beta, K in dict.fromkeys((r["beta"], r["K"]) for r in found.get("particles", [])):
        of = [r for r in found["particles"] if (r["beta"], r["K"]) == (beta, K)]
        for arm in ("resampled", "at the end", "best", "permuted"):
            reward, distance = (_mean(r[arm][key] for r in of) for key in ("reward", "distance"))
            lines.append(f"| {beta:g} | {K} | {arm} | {reward:.3f} | {distance:.3f} |")
    lines += ["", "| DPO | reward | KL | distance to the optimum | outside |", "|---|---|---|---|---|"]
    for arm in dict.fromkeys(r["arm"] for r in found.get("dpo", [])):
        of = [r for r in found["dpo"] if r["arm"] == arm]
        cells = (f"{_mean(r[key][-1] for r in of):.3f}" for key in ("reward", "KL", "distance", "outside"))
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    lines += ["", "| ring | reward | distance to the optimum |", "|---|---|---|"]
    for arm in dict.fromkeys(r["arm"] for r in found.get("ring", [])):
        of = [r for r in found["ring"] if r["arm"] == arm]
        lines.append(f"| {arm} | {_mean(r['reward'][-1] for r in of):.3f} | {_mean(r['distance'][-1] for r in of):.3f} |")
    for arm in (*(f"best of {n}" for n in GROUPS), "particles") if found.get("ring search") else ():
        reward, distance = (_mean(r[arm][key] for r in found["ring search"]) for key in ("reward", "distance"))
        lines.append(f"| {arm} | {reward:.3f} | {distance:.3f} |")
    lines += ["", "| best of | right by the reward | right by the judge |", "|---|---|---|"]
    for n in NS if found.get("hacking") else ():
        own, judge = (_mean(r[f"best of {n}"][key] for r in found["hacking"]) for key in ("reward right", "judge right"))
        lines.append(f"| {n} | {own:.3f} | {judge:.3f} |")
    return "\n".join(lines)


def digits_jobs(seeds):
    return [{"arm": arm, "seed": seed} for arm in ("CFG", *DIGITS_WS) for seed in seeds]


PARTS = [
    Part("tune", once={"interval of digits": tune_digits, "interval of exact": lambda **_: tune_plane("exact"),
                       "interval of learned": lambda **_: tune_plane("learned")}),
    Part("digits", digits_jobs, digits_row, into="digits",
         once={"real": real, "worse": of_worse, "autoguidance pictures": pictures}),
    Part("again", lambda seeds: [{"arm": arm, "seed": seed} for seed in range(12) for arm in AGAIN_WS],
         again_row, into="again"),
    Part("plane", lambda seeds: [{"kind": kind, "arm": arm, "seed": seed} for kind in ("exact", "learned")
                                 for arm in ARMS[:4] for seed in seeds], plane_row, into="plane"),
    Part("particles", lambda seeds: [{"beta": beta, "K": K, "seed": seed} for beta in BETAS for K in GROUPS
                                     for seed in seeds], particles_row, into="particles", once={"floor": floor}),
    Part("dpo", lambda seeds: [{"arm": arm, "seed": seed} for arm in ("weight 8", "weight 2", "random preferences")
                               for seed in seeds], dpo_row, into="dpo"),
    Part("ring", lambda seeds: [{"arm": arm, "seed": seed} for arm in TRAINED for seed in seeds], ring_row, into="ring",
         once={"ring floor": ring_floor}),
    Part("ring", lambda seeds: [{"seed": seed} for seed in seeds], ring_search, into="ring search"),
    Part("hacking", lambda seeds: [{"seed": seed} for seed in seeds], hacking_row, into="hacking"),
]  # fmt: skip
BENCH = Benchmark("guidance_and_reward", PARTS, threads=1, summary=equal, table=table, indent=None)

if __name__ == "__main__":
    measure(__doc__, BENCH)
