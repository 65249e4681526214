# %% [markdown]
# # 28 Guidance, search and reward
#
# **You will be able to** limit guidance to a range of noise levels; guide a model by a worse version of itself; search with a
# reward while sampling, and say which density this approaches; train on preferences and on the reward itself; and test whether
# a reward is exploited.
#
# **Time** 60 minutes. **Needs** lesson 08 (classifier-free guidance, the residual of its identity), lesson 02 (DDPM), lesson 14
# (DDIM). **Papers** Tuomas Kynkäänniemi et al.: *Applying Guidance in a Limited Interval Improves Sample and Distribution
# Quality in Diffusion Models* (2024); Tero Karras et al.: *Guiding a Diffusion Model with a Bad Version of Itself* (2024);
# Raghav Singhal et al.: *A General Framework for Inference-time Scaling and Steering of Diffusion Models* (2025); Bram Wallace
# et al.: *Diffusion Model Alignment Using Direct Preference Optimization* (2023); Kevin Black et al.: *Training Diffusion
# Models with Reinforcement Learning* (2023).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("28")

# %% [markdown]
# ## At which noise levels should a model be guided?
#
# Classifier-free guidance (CFG, lesson 08) adds $w - 1$ times the difference of two scores to the conditional score. Lesson 08
# tested this difference on digits by an identity of Bayes' rule. At small $t$ most of it was error, if the classifier of lesson
# 07 is right: the true difference is nearly 0 there. At large $t$ there is another concern. $x_t$ is nearly noise, and a large
# $w$ decides early which of the possible pictures remain.
#
# Kynkäänniemi et al. guide only in a **guidance interval**. With the noise level $\sigma = b_t / a_t$ of $x_t = a_t x_0 + b_t
# \epsilon$, the predicted picture is
#
# $$\hat x_0 = \begin{cases} \hat x_0^{\text{guide}} + w\,(\hat x_0^{\text{main}} - \hat x_0^{\text{guide}}) & \text{if }
#   \sigma_{\text{low}} < \sigma \le \sigma_{\text{high}}, \\ \hat x_0^{\text{main}} & \text{otherwise.} \end{cases}$$
#
# *Main* is the conditional model. In CFG the *guide* is the model without a class. Outside of the interval a step takes one
# evaluation of the network instead of two. Their finding on ImageNet: guidance is harmful at high noise levels, and largely
# unnecessary at low ones.
#
# **Another guide.** Karras et al. keep the class in both models, and take as guide a smaller or less trained version of the
# main model. This is **autoguidance**. Their reason: the worse model makes similar errors, but larger ones. So the step from it
# to the main model points away from the errors that both make.
#
# ### Exercise 1: `interval_guidance` (difficulty 1, 4 minutes)
#
# `main(x, t)` and `guide(x, t)` return predicted pictures (B, ...). `sigma`, `w`, `low` and `high` are numbers. Return the
# prediction (B, ...). Outside of the interval, do not evaluate the guide.

# %%
import math
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from course_lib import plots
from course_lib.datasets.points import pair
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.methods import rewards
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randn, randn_like, seeded
from course_lib.samplers import ddpm, sample
from course_lib.schedules import cosine_beta
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.dial import Chart, dial
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import figures, models


def my_interval_guidance(main, guide, x, t, sigma, w, low, high):
    """The predicted x_0 (B, ...): guided where low < sigma <= high."""
    ...  # write it here


verdict = check.interval_guidance(my_interval_guidance)
my_interval_guidance = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("interval_guidance")

# %% [markdown]
# Your function draws digits with the model that ships, in 25 steps of DDIM. The interval was chosen with other noises: the best
# of six by the measure that follows, and the narrowest.

# %% tags=["nbval-ignore-output"]
plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
measured = figures.raw("guidance_and_reward")
LOW, HIGH = (measured["interval of digits"][end] for end in ("low", "high"))
model, process = models.load("digits"), models.load("digits").process
ten = torch.arange(10)
as_x0 = lambda denoiser: lambda x, t: denoiser(x, t).x0


@torch.no_grad()
def draw(main, guide, x, w, low, high, steps=25):
    """DDIM with your function."""
    for t, s in pairwise(process.times(steps).tolist()):
        a, b = float(process.signal(t)), float(process.noise(t))
        x0 = my_interval_guidance(main, guide, x, t, b / a, w, low, high)
        x = process.add_noise(x0, s, (x - a * x0) / b)
    return x


noise = model.draw_noise(10, seeded(5))
main, null = as_x0(model.given(ten)), as_x0(model.given(NULL))
rows = {
    "w = 1": draw(main, null, noise, 1.0, 0, math.inf),
    "w = 3, all noise levels": draw(main, null, noise, 3.0, 0, math.inf),
    f"w = 3, noise level {LOW:g} to {HIGH:g}": draw(main, null, noise, 3.0, LOW, HIGH),
}
fig, axes = plt.subplots(3, 1, figsize=(11.5, 5.1))
for ax, (title, x) in zip(axes, rows.items()):
    plots.pictures(x, columns=10, ax=ax, title=title)
levels = [process.noise(t) / process.signal(t) for t in process.times(25)[:-1]]
print(f"{sum(LOW < s <= HIGH for s in levels)} of 25 steps are guided in the interval")
plots.show(
    fig,
    alt="Three rows of ten generated digits, 0 to 9 in order, from the same noises: w = 1, w = 3 "
    "at all noise levels, w = 3 in the interval. Those of w = 3 at all "
    "levels have bolder, rounder strokes. Those in the interval keep the shapes of w = 1.",
)

# %% [markdown]
# ## Distance at equal accuracy
#
# Guidance raises the share of digits of the class that was asked for (class accuracy), and costs diversity. So two ways to
# guide cannot be compared at the same $w$. We compare the Frechet distance at equal class accuracy: each at the $w$ at which 99
# % are right, by straight lines between the measured $w$. Where one of two does not reach 99 %, both are read at the highest
# accuracy that it reaches. 500 digits, our classifier as evaluator. This was fixed before the measurement, except for $w = 1.1$
# and $1.25$ of CFG: a straight line from $w = 1$ to $1.5$ makes its distance at 99 % too high. The plots show three sets of
# noise, the claims have twelve others. There $w$ ends at 2, for CFG at 1.25. So in seven sets both arms are read at 98.4 to
# 98.8 %. In the other five alone they cannot be told apart.
#
# The arms: CFG at all noise levels; CFG in the interval; CFG without the small levels alone, and without the large ones alone;
# autoguidance; and CFG rescaled. The worse models of autoguidance have the shipped recipe, and 1,000 steps of
# training instead of 24,000.

# %% tags=["nbval-ignore-output"]
cfg_then = np.mean(measured["equal"]["again, interval"], 0)[1]
predict(
    "interval-digits.interval",
    f"Frechet distance at equal accuracy: CFG at all noise levels has {cfg_then:.2f}, real "
    f"digits {measured['real']['Frechet distance']:.2f}. And CFG in the interval?",
    low=0.0,
    high=0.3,
)

# %%
runs = measured["digits"]
FLOOR = dict(color="0.4", lw=1.5, ls=(0, (1, 1)))
LOOKS = {
    "CFG": (BLUE, "o-"),
    "interval": (GREEN, "s--"),
    "not at small noise": (ORANGE, "^:"),
    "not at large noise": (RED, "v:"),
    "autoguidance": (plots.COLOURS[4], "D-."),
    "rescaled": ("black", "P:"),
}


def mean_of(arm, figure):
    """The mean over the three noises at each w, and the ws."""
    rows = [r for r in runs if r["arm"] == arm]
    return np.mean([r[figure] for r in rows], 0), rows[0]["w"]


fig, axes = plt.subplots(1, 2, figsize=(12, 5))
for arm, (colour, line) in LOOKS.items():
    (accuracy, ws), (distance, _) = mean_of(arm, "accuracy"), mean_of(arm, "distance")
    start = 1 if arm == "rescaled" else 0
    style = dict(color=colour, ms=8, label=arm)
    axes[0].plot(ws[start:], distance[start:], line, **style)
    axes[1].plot(100 * accuracy[start:], distance[start:], line, **style)
for ax in axes:
    ax.axhline(measured["real"]["Frechet distance"], **FLOOR, label="real digits")
axes[0].set(title="Over w", xlabel="w", ylabel="Frechet distance", ylim=(0, None))
axes[1].set(title="Over class accuracy", xlabel="class accuracy, %", ylim=(0, None))
axes[1].axvline(99, color="0.7", lw=1.5)
axes[0].legend(fontsize=12, loc="upper right", bbox_to_anchor=(1, 0.9))
plots.show(
    fig,
    alt="Left: Frechet distance over w. CFG and the arm without small noise rise from 0.09 to "
    "about 0.3 at w = 3. Interval, no large noise and autoguidance stay near 0.09 up to w = 2. "
    "Rescaled: 0.23 at w = 3. Real digits: 0.06. Right: the same over class accuracy. At 99 % "
    "CFG is at 0.097, the interval at 0.084; autoguidance reaches 98.4 % at w = 2 and goes "
    "back to 98.0 %.",
)


# %%
def at_equal(arm, part="digits"):
    """The distances at equal accuracy: an arm beside CFG, with the same noises."""
    mine, cfg = zip(*measured["equal"][f"{part}, {arm}"])
    return compare(mine, cfg, "sets of noise")


cfg = [cfg for _, cfg in measured["equal"]["again, interval"]]
halves = compare(cfg[:6], cfg[6:], "sets of noise", paired=False)
claim(
    "interval-digits",
    "On digits, at equal class accuracy, the Frechet distance is lower with CFG in the tuned "
    "interval than with CFG at all noise levels.",
    figures=dict(
        interval=at_equal("interval", "again"),
        small=at_equal("not at small noise").difference,
        large=at_equal("not at large noise").difference,
        real=measured["real"]["Frechet distance"],
    ),
    measured="Frechet distance {interval:.3f}. (Also: difference from CFG without guidance at "
    "small noise levels alone {small:+.3f}, at large alone {large:+.3f}, each three sets of "
    "noise; real digits {real:.3f})",
    holds=lambda interval: interval.lower,
    null={"CFG, six sets of noise beside six others": dict(interval=halves)},
)

# %% [markdown]
# **The interval has the lower distance**, with twelve sets of noise that chose nothing. (With the plot's three, the first test,
# the two could not be told apart.) It costs less: 5 of its 25 steps take two evaluations. Leaving out the small noise levels
# alone hardly changes the distance. Leaving out the large ones alone comes out about the same as the interval. In direction
# that agrees with the paper, but with three sets neither can be told apart from CFG.
#
# ## Is the error of the scores the reason?
#
# In the plane the exact scores are known, so the error can be set to zero. The triangle of lesson 08 has three overlapping
# classes. One arm has the exact scores, the other those of a network (three trainings). The level is again 99 %, by the exact
# classifier, and the interval was chosen for each. (The classes overlap: at $w = 1$ with exact scores 95 % are right. So at 99
# % no arm has the density of the data.) The distance is the sliced Wasserstein distance (lesson 16) to the data.

# %%
ARMS = ("interval", "not at small noise", "not at large noise")
KINDS = {"exact": "exact scores", "learned": "learned scores"}
fig, ax = plt.subplots(figsize=(11, 4.6))
for k, (kind, label) in enumerate(KINDS.items()):
    for i, arm in enumerate(ARMS):
        change = at_equal(arm, kind).difference
        at, colour = i + 0.36 * k - 0.18, (BLUE, ORANGE)[k]
        style = dict(width=0.34, color=colour, hatch=("", "//")[k], edgecolor="white")
        ax.bar(at, change.mean, label=label if i == 0 else None, **style)
        ax.errorbar(at, change.mean, change.margin, color="black", capsize=6, lw=2)
ax.axhline(0, color="black", lw=1)
ax.set_xticks(range(3), ARMS)
ax.set(title="Distance at equal accuracy, less that of CFG", ylabel="difference")
ax.legend()
plots.show(
    fig,
    alt="Bars of the difference from CFG, for exact and learned scores. Interval: -0.017 and "
    "-0.005. Not at small noise: both above 0, with margins across 0. Not at large noise: "
    "-0.019 and -0.012. Interval with exact scores and both bars of not at large noise lie "
    "below 0 by more than their margins.",
)

# %% [markdown]
# **In the plane the interval helps with exact scores.** So its gain needs no error of the scores. The gain comes from the large
# noise levels: without guidance there alone it is as large. Without guidance at small noise alone the distance cannot be told
# apart from CFG's, with either kind of scores. With learned scores the interval cannot, either; leaving out the large noise
# levels alone lies below by little more than its margin.
#
# What remains is guidance itself, which does not sample the density that one may expect (lesson 08), and the error of 25 steps.
# The two were not separated.
#
# ## Autoguidance on digits
#
# Each of the three worse models has four of the twelve sets of noise:

# %%
alone = measured["worse"]
grouped = (np.reshape(row, (4, 3)).T for row in zip(*measured["equal"]["again, autoguidance"]))
claim(
    "autoguidance-digits",
    "On digits, at equal class accuracy, the Frechet distance is lower with autoguidance than "
    "with CFG.",
    figures=dict(
        auto=compare(*grouped),
        worse=estimate([r["Frechet distance"] for r in alone]),
        right=estimate([r["class accuracy"] for r in alone]),
    ),
    measured="Frechet distance {auto:.3f}. (Also: the worse models alone {worse:.2f}, class "
    "accuracy {right:.1%})",
    holds=lambda auto: auto.lower,
    null={"CFG, six sets of noise beside six others": dict(auto=halves)},
    expected=None,
)

# %% [markdown]
# The worse models are far worse alone, yet do not spoil the main one. But both models have the class, and the accuracy rises by
# less than one percentage point, seldom to 99 %. In the three sets of the plot autoguidance was below CFG by 0.011, in these
# twelve by less than a third of that. The recall of real digits (lesson 00) is about the same, too: 0.84 with autoguidance at
# $w = 2$, 0.83 with CFG at $w = 1.1$, where the accuracies are closest.
#
# **CFG rescale** (Lin et al. 2023) is against over-exposure at large $w$. The guided prediction gets the standard deviation of
# the conditional one, and is mixed with the unscaled one, $\phi = 0.7$ to $0.3$. `rescaled` in the plots, at $w = 3$, is about
# where CFG is at $w = 2$.
#
# Drag **w**. Above is the Frechet distance, below the class accuracy in %, means of three sets; the digits are of one noise.

# %% tags=["nbval-ignore-output"]
import base64


def stored(w):
    """Ten digits by autoguidance, of the measurement."""
    pixels = base64.b64decode(measured["autoguidance pictures"][f"{w:g}"])
    return torch.tensor(list(pixels)).view(10, 1, 16, 16) / 127.5 - 1


WS = [1, 1.5, 2, 3]
drawn = lambda low, high: [draw(main, null, noise, w, low, high).clamp(-1, 1) for w in WS]


def curves(figure, factor=1, unit=""):
    """The mean over the noises at each of WS, times the factor, in this unit, by arm."""
    found = {arm: dict(zip(*reversed(mean_of(arm, figure)))) for arm in PANELS}
    return {
        f"{figure}{unit}, {arm}": [factor * float(at[w]) for w in WS]
        for arm, at in found.items()
    }


PANELS = {
    "CFG": drawn(0, math.inf),
    "interval": drawn(LOW, HIGH),
    "autoguidance": list(map(stored, WS)),
}
charts = [Chart(curves("distance"), 0, 0.3), Chart(curves("accuracy", 100, " in %"), 97, 100)]
dial("w", WS, PANELS, charts)

# %% [markdown]
# ## The optimum for a reward
#
# Guidance asks for a class. A **reward** $r(x)$ may be anything that can be computed from a sample: a classifier's $\log P$, a
# score of people's preference. Which density should a model $p$ be changed to? High reward alone would put all samples on one
# picture. So the distance from $p$ is penalised:
#
# $$\max_q \; \mathbb E_q[r] - \beta\, \mathrm{KL}(q \,\|\, p) \qquad\Rightarrow\qquad q^*(x) = \frac{1}{Z}\, p(x)\,
#   e^{r(x)/\beta} .$$
#
# To see this, write $r = \beta \log (q^* Z / p)$. Then $\mathbb E_q[r] - \beta\,\mathrm{KL}(q\|p) = \beta \log Z -
# \beta\,\mathrm{KL}(q\|q^*)$, which is largest for $q = q^*$. As $\beta$ falls, $q^*$ traces a curve of reward over KL. No
# density lies above it.
#
# For a Gaussian mixture and a linear reward $q^*$ is a Gaussian mixture too: `rewards.tilted`. Our $p$ has two spots on a line,
# 0.3 of it near $-1$ and 0.7 near $1$. The reward $r(x) = -x$ is higher at the rarer one.
#
# **Best-of-n**: draw $n$ samples, keep the one with the highest reward. Its KL from $p$ is at most $\log n - (n - 1)/n$
# (Beirami et al. 2024), with equality where no two rewards are equal, as here.
#
# ## Search while sampling: particles
#
# Best-of-n finds nothing that $n$ samples do not contain. Singhal et al. (*Feynman-Kac steering*) decide earlier. $K$
# **particles** are sampled side by side by DDPM. Before each move each particle gets a weight, and $K$ new ones are drawn with
# replacement, in proportion to the weights. A particle with a promising $\hat x_0$
# continues several times, others end:
#
# $$W = \exp\!\left( \frac{r(\hat x_0) - r'}{\beta} \right) .$$
#
# Here $r'$ is the reward of its ancestor's $\hat x_0$ one step before, 0 at first. At the end the sample's own reward is used.
# Along the line of ancestors the weights multiply to $\exp(r(x_0)/\beta)$: all rewards in between cancel. So for many particles
# the samples follow $q^*$, however poor the early rewards are. Here $p$ is the density of the sampler without a reward: in few
# steps not quite the data's.
#
# ### Exercise 2: `particle_sampler` (difficulty 3, 10 minutes)
#
# Write the whole sampler. `denoiser(x, t)` returns predicted $x_0$ (B, ...), `reward(x)` returns (B,). `times` is a falling
# list, 0 last. `resample(weights)` takes positive weights (B,), which need not sum to 1, and returns the indices (B,) of the
# particles that are drawn. `move(x, x0, t, s)` draws $x_s$ given $x_t$ and $\hat x_0$ (lesson 01's posterior). Draw before each
# move, and once more at the end, by the reward of $x$ itself. A drawn particle takes along its $x$, its $\hat x_0$ and its
# reward.


# %%
def my_particle_sampler(denoiser, x, times, reward, beta, move, resample):
    """The samples (B, ...) of B particles that start from noise x (B, ...)."""
    ...  # write it here


verdict = check.particle_sampler(my_particle_sampler)
my_particle_sampler = verdict.function
verdict

# %%
check.solution("particle_sampler")

# %% [markdown]
# 4,000 particles by your sampler, with the exact denoiser of the line, beside the model's samples and the optimum:

# %% tags=["nbval-ignore-output"]
line, chain, BETA = pair(), DDPM(cosine_beta(1000)), 0.5
reward = lambda x: -x[:, 0]
best = rewards.tilted(line, torch.tensor([-1.0]), BETA)


rng = seeded(1)


def move(x, x0, t, s):
    """A sample of q(x_s | x_t, x_0)."""
    at, bt, as_, bs = (float(v) for u in (t, s) for v in (chain.signal(u), chain.noise(u)))
    sigma = bs / bt * math.sqrt(max(0.0, 1 - (at / as_) ** 2))
    eps = (x - at * x0) / bt
    return as_ * x0 + math.sqrt(max(0.0, bs**2 - sigma**2)) * eps + sigma * randn_like(x, rng)


def draw_indices(weights):
    """Indices (B,), drawn in proportion to the weights."""
    return rewards.resample(weights.log(), len(weights), rng)


exact, times = ExactDenoiser(line, chain), chain.times(50).tolist()
start = randn(4000, 1, rng=seeded(3))
steered = my_particle_sampler(as_x0(exact), start, times, reward, BETA, move, draw_indices)
plain = sample(exact, start, 50, ddpm, batch=4000, rng=seeded(4))
fig, ax = plt.subplots(figsize=(11, 4.4))
x = torch.linspace(-2, 2, 400)[:, None]
bins = np.linspace(-2, 2, 81)
for made, density, name, colour in (
    (plain, line, "the model p", BLUE),
    (steered, best, "particles", ORANGE),
):
    ax.hist(made[:, 0].numpy(), bins, density=True, alpha=0.45, color=colour, label=name)
    label = "optimum" if density is best else None
    ax.plot(x, density.log_prob(x).exp(), color=colour, lw=3, label=label)
ax.set(title=f"Reward -x, β = {BETA:g}", xlabel="x", ylabel="density")
ax.legend()
plots.show(
    fig,
    alt="Two histograms with curves. The model: a low peak at -1, a high peak at 1. The "
    "particles: one high peak a little left of -1 and nearly nothing at 1, close "
    "to the curve of the optimum, but a little to its right.",
)

# %% [markdown]
# ### How many particles are enough?
#
# Each kept sample costs $K$ trajectories of 50 steps. Four ways to use them, from the same number: particles; the same weights
# $\exp(r/\beta)$, used once, at the end; best-of-n, which has no $\beta$; and, as the null model, particles whose rewards are
# permuted among them. 2,000 kept samples, three noises. The distance is the Wasserstein distance on the line from the optimum
# of the exact $p$. In 50 steps of DDPM the spots come out narrower: a part remains for any number of particles.

# %% tags=["nbval-ignore-output"]
found = {(r["beta"], r["K"], r["seed"]): r for r in measured["particles"]}
of_arm = lambda beta, K, arm, what: [found[beta, K, s][arm][what] for s in range(3)]
late = np.mean(of_arm(0.25, 16, "at the end", "distance"))
predict(
    "particles-optimum.steered",
    f"β = 0.25, K = 16: weights at the end give a distance of {late:.2f} from the optimum. And "
    "particles?",
    low=0.0,
    high=0.3,
)

# %%
SIZES, NAMES = (2, 4, 8, 16), ("resampled", "at the end", "best", "permuted")
fig, axes = plt.subplots(1, 2, figsize=(12, 4.6), sharey=True)
titles = {"resampled": "particles", "best": "best-of-n", "permuted": "permuted rewards"}
for ax, beta in zip(axes, (0.5, 0.25)):
    for arm, line_style, colour in zip(
        NAMES, ("o-", "s--", "^:", "v:"), (ORANGE, BLUE, GREEN, "0.5")
    ):
        each = [estimate(of_arm(beta, K, arm, "distance")) for K in SIZES]
        style = dict(fmt=line_style, color=colour, ms=8, capsize=5, label=titles.get(arm, arm))
        ax.errorbar(SIZES, [e.mean for e in each], [e.margin for e in each], **style)
    ax.axhline(measured["floor"][f"{beta:g}"], **FLOOR, label="samples of optimum")
    ax.set(title=f"β = {beta:g}", xlabel="samples drawn for each one kept", xscale="log")
    ax.set_xticks(SIZES, SIZES)
    ax.minorticks_off()
axes[0].set_ylabel("distance from the optimum")
axes[0].legend(fontsize=12)
plots.show(
    fig,
    alt="Two line plots of the distance over 2, 4, 8 and 16 samples for each one kept. "
    "Permuted rewards stay above 1.5. The others fall. At β = 0.25 particles are lowest at "
    "each number. At β = 0.5 best-of-n is lowest at 8 and rises again to 0.36 at 16.",
)

# %%
at_16 = lambda arm, other="at the end": compare(
    of_arm(0.25, 16, arm, "distance"), of_arm(0.25, 16, other, "distance"), "sets of noise"
)
claim(
    "particles-optimum",
    "On the line, with 16 samples for each one kept and β = 0.25, particles are nearer to the "
    "optimum than the same weights used once, at the end.",
    figures=dict(
        steered=at_16("resampled"),
        best=at_16("best").a,
        floor=measured["floor"]["0.25"],
    ),
    measured="distance {steered:.3f}. (Also: best-of-16 {best:.3f}; samples of the optimum "
    "itself {floor:.3f})",
    holds=lambda steered: steered.lower,
    null={"particles with permuted rewards": dict(steered=at_16("permuted"))},
)

# %% [markdown]
# All four spend the same number of evaluations of the denoiser. (Particles evaluate the reward at each step as well.) Best-of-n
# has no $\beta$: with each $n$ it comes near to another optimum, so its $n$ must be chosen. (At 16 and $\beta = 0.5$ particles
# and weights at the end cannot be told apart.)
#
# ## Training on preferences: DPO
#
# Search costs $K$ times as much for each sample. Training changes the model once. **Direct preference optimisation** (DPO)
# needs no reward as a number, only pairs: $x^w$ was preferred to $x^l$. The **Bradley-Terry model** says how reward and
# preference are related: $P(x^w \succ x^l) = \operatorname{sigmoid}(r(x^w) - r(x^l))$. By the optimum above, $r = \beta \log
# (q^*/p) + \beta \log Z$, and $Z$ cancels in the difference. So a model $q$ can be fitted to the preferences directly:
#
# $$L = -\,\mathbb E \log \operatorname{sigmoid}\!\left( \beta \log \frac{q(x^w)}{p(x^w)} - \beta \log \frac{q(x^l)}{p(x^l)}
#   \right).$$
#
# A diffusion model has no simple $\log q$. Wallace et al. replace it by its bound (lesson 02), one random time of it for each
# pair. There $\log q - \log p$ becomes minus the change of the squared error of the noise, times a weight:
#
# $$L = -\,\mathbb E \log \operatorname{sigmoid}\big( -c\,[\, g(x^w) - g(x^l) \,] \big), \qquad g(x) = \lVert
#   \epsilon_\theta(x_t, t) - \epsilon \rVert^2 - \lVert \epsilon_{\text{ref}}(x_t, t) - \epsilon \rVert^2 .$$
#
# Here $c = \beta\, T\, \omega$. In their code it is one constant for all $t$, and $t$ and $\epsilon$ are the same for both of a
# pair. $\epsilon_{\text{ref}}$ is the model before the training.
#
# ### Exercise 3: `dpo_loss` (difficulty 2, 8 minutes)
#
# `model(x_t, t)` and `reference(x_t, t)` return the predicted noise (B, ...). `winner`, `loser` and `eps` are (B, ...), `t` is
# (B,), `add_noise(x0, t, eps)` returns $x_t$. Sum the squared errors over a member's numbers. The reference gets no gradient.
# `torch.nn.functional.logsigmoid` does not underflow.

# %%
from torch.nn.functional import logsigmoid  # noqa: F401  for your loss


def my_dpo_loss(model, reference, winner, loser, t, eps, add_noise, c):
    """The loss ()."""
    ...  # write it here


verdict = check.dpo_loss(my_dpo_loss)
my_dpo_loss = verdict.function
verdict

# %%
check.solution("dpo_loss")

# %% [markdown]
# Your loss trains a small network of the line: first as a model of the data (the reference), then 500 steps on preferences by
# the reward $-x$. $\beta = 0.5$, $T \omega = 8$.

# %% tags=["nbval-ignore-output"]
import copy

from course_lib.training import denoising_loss, train


def preferred(rng):
    """256 pairs of points of the data, the preferred one first: Bradley-Terry, reward -x."""
    a, b = line.sample(256, rng)[0], line.sample(256, rng)[0]
    first = torch.rand(256, 1, generator=rng) < torch.sigmoid(b - a)
    return torch.where(first, a, b), torch.where(first, b, a)


torch.manual_seed(0)
rng, reference = seeded(0), Network(MLP(dim=1, width=48, depth=2), chain, "v")
for _ in train(
    lambda: denoising_loss(reference, line.sample(256, rng)[0], rng),
    reference.net,
    800,
    lr=4e-3,
):
    pass
reference.net.eval().requires_grad_(False)
tuned = Network(copy.deepcopy(reference.net).requires_grad_(), chain, "v")
adam, eps_of = (
    torch.optim.Adam(tuned.net.parameters(), lr=1e-3),
    lambda d: lambda x, t: d(x, t).eps,
)
for _ in range(500):
    winner, loser = preferred(rng)
    t, eps = chain.sample_t(256, rng), randn(256, 1, rng=rng)
    loss = my_dpo_loss(
        eps_of(tuned), eps_of(reference), winner, loser, t, eps, chain.add_noise, BETA * 8
    )
    adam.zero_grad()
    loss.backward()
    adam.step()
for name, network in (("reference", reference), ("tuned", tuned)):
    made = sample(network, randn(4000, 1, rng=seeded(6)), 50, ddpm, batch=4000, rng=seeded(7))
    print(f"{name:10} mean reward {reward(made).mean():+.2f}")

# %% [markdown]
# ### Reward over KL
#
# Three trainings were measured, each 100 steps (`weight` is $T\omega$). Beside them best-of-n, and the curve of the optimum:

# %%
grid = torch.linspace(-4, 4, 4001, dtype=torch.float64)[:, None]
log_p = line.log_prob(grid)
p = log_p.softmax(0)
below = p.cumsum(0)  # P(X <= x); the reward falls with x


def of_density(q):
    """KL from p and mean reward of a density on the grid."""
    kl = (q * (q.clamp(min=1e-300).log() - p.clamp(min=1e-300).log())).sum()
    return float(kl), float((q * reward(grid)).sum())


betas = torch.logspace(1, -1.2, 60, dtype=torch.float64)
optimum = [of_density((log_p + reward(grid) / b).softmax(0)) for b in betas]
at_least = 1 - below + p  # P(X >= x)
of_n = {
    n: of_density(at_least**n - (at_least - p).clamp(min=0) ** n) for n in (2, 4, 8, 16, 64)
}
tuning = [r for r in measured["dpo"] if r["arm"] == "weight 8"]
fig, ax = plt.subplots(figsize=(11, 5))
ax.plot(*zip(*optimum), color="black", lw=3, label="optimum, over β")
ax.plot(*zip(*of_n.values()), "^", color=GREEN, ms=11, label="best-of-n, n = 2 to 64")
kl, value = (np.mean([r[key] for r in tuning], 0) for key in ("KL", "reward"))
ax.plot(kl, value, "o-", color=BLUE, ms=8, label="DPO, weight 8, each 100 steps")
ax.set(title="Reward over KL", ylabel="mean reward", xlim=(0, 3.2))
ax.set_xlabel("KL divergence from the data's density p, nats")
ax.set_ylim(-0.6, 1.6)
ax.legend(fontsize=12, loc="lower right")
plots.show(
    fig,
    alt="Mean reward over KL. The optimum's curve rises from -0.3 steeply, then slowly to 1.4 "
    "at a KL of 3.2. Best-of-n lies below it, clearly so at n = 2 and 4. DPO starts under the "
    "curve at a reward of -0.4, comes nearer to it up to step 400, at a KL of 0.31, and turns "
    "back to 0.25 at step 500.",
)

# %%
end_of = lambda arm, what, at=-1: [r[what][at] for r in measured["dpo"] if r["arm"] == arm]
change = lambda arm: compare(end_of(arm, "distance"), end_of(arm, "distance", 0))
claim(
    "dpo-optimum",
    "On the line, 500 steps of DPO with weight 8 bring the samples nearer to the optimum for "
    "the loss's β than those of the reference.",
    figures=dict(
        dpo=change("weight 8"),
        reward=estimate(end_of("weight 8", "reward")),
        wanted=-float(best.weights @ best.means[:, 0]),
        far=estimate(end_of("weight 2", "outside")),
    ),
    measured="distance {dpo:.2f}. (Also: mean reward {reward:.2f}, of the optimum {wanted:.2f}; "
    "with weight 2, {far:.0%} of the samples are outside of the data)",
    holds=lambda dpo: dpo.lower,
    null={"random preferences": dict(dpo=change("random preferences"))},
)

# %% [markdown]
# The samples are nearer to the optimum, but not near, and from step 400 to 500 the KL falls clearly in one of the three
# trainings. (The KL of all is from the data's density, so the path of DPO starts at the reference's own error.) With weight 2
# the same loss leaves the data: nearly all samples lie outside, and their reward is far above the optimum's. (8 and 2 were
# chosen before, by single trials.) The bound has the weight $\pi / \sin(\pi t / T)$ for the cosine schedule, at least $\pi$, so
# 2 is too small at every $t$. Whether this is the reason was not tested.
#
# ## Training on the reward itself: DDPO
#
# Black et al. (2023) treat the moves of DDPM as decisions. A move from $x_t$ to $x_s$ is drawn from a Gaussian, so its density
# $p_\theta(x_s \mid x_t)$ is known. (Only the last move adds no noise. It is left out.) **Policy gradient**: raise the density
# of moves that ended with a high reward,
#
# $$\nabla_\theta\, \mathbb E[r] \propto \mathbb E \Big[ \sum_t A\; \nabla_\theta \log p_\theta(x_s \mid x_t) \Big], \qquad
#   A = \frac{r(x_0) - \text{mean}}{\text{standard deviation}} .$$
#
# After one step of training the moves are those of an older model. So the following steps weight them by importance sampling
# (lesson 02), with the ratio $\rho = p_\theta(x_s \mid x_t) / p_{\text{old}}(x_s \mid x_t)$. It is clipped, so that no move
# gains by going far:
#
# $$L = -\,\mathbb E\, \min\big( \rho A,\; \operatorname{clip}(\rho, 1 - \kappa, 1 + \kappa)\, A \big) .$$
#
# Nothing in $L$ keeps the model near $p$, so $p\,e^{r/\beta}/Z$ is not its optimum. Fan et al. (2023, DPOK) add the KL
# divergence of each move from the reference's. `rewards.rollout` puts it into the return: $r$ less $\beta$ times the sum of
# $\log p_\theta / p_{\text{ref}}$ over this move and all later ones. This penalises the KL divergence of whole trajectories.
# Its optimum has the density $p\,e^{r/\beta}/Z$ at $t = 0$ if $x_0$ does not depend on $x_T$ (Domingo-Enrich et al. 2024). DDPM
# of many steps has this property: it reverses the forward process, whose $x_T$ keeps nothing of $x_0$. DDIM does not: its $x_0$
# is a function of $x_T$.
#
# **A reward that is not linear.** The data are the ring's eight spots, $r(x, y) = -y^2$. Here too samples of the optimum are
# exact, by **rejection sampling**: no reward is above 0, so keep each point of the data with probability $e^{r/\beta}$. With
# $\beta = 0.25$ a third of the points is kept. A round of DDPO draws 256 samples in 25 steps, and takes four steps of Adam,
# each on a quarter of the moves, with $\kappa = 0.2$.

# %%
floor, searched = measured["ring floor"], measured["ring search"]
trained = {(r["arm"], r["seed"]): r for r in measured["ring"]}
kept = searched[0]["points"]
clouds = {"reference": kept["reference"], "optimum": floor["points"], **kept}
clouds |= {arm: trained[arm, 0]["points"] for arm in ("DPO", "DDPO", "DDPO with KL")}
fig, axes = plt.subplots(2, 3, figsize=(11, 7.4), sharex=True, sharey=True)
for ax, (title, points) in zip(axes.flat, clouds.items()):
    ax.scatter(*zip(*points), s=9, color=ORANGE if title == "optimum" else BLUE, alpha=0.6)
    ax.axhline(0, color="0.6", lw=1)
    ax.set(title=title, xlabel="x", ylabel="y", aspect="equal")
    ax.label_outer()
plots.show(
    fig,
    alt="Six scatter plots of points in the plane. Reference: a ring without gaps. Optimum: two dense "
    "spots at x = -1 and x = 1 on the axis, four sparse ones beside them, a few points above and "
    "below. Best of 16: the two spots alone. DPO: like the reference. DDPO: one small spot near "
    "(0.8, 0.2). DDPO with KL: both sides of the ring dense, above and below few points.",
)


# %%
def on_ring(arm, what, at=-1):
    """Of three trainings of an arm: at the end, or before (0)."""
    return [trained[arm, seed][what][at] for seed in range(3)]


def against(arm):
    """An arm's distance beside the reference's, and beside that of DDPO."""
    end = on_ring(arm, "distance")
    before = compare(end, on_ring(arm, "distance", 0))
    return dict(kl=before, plain=compare(end, on_ring("DDPO", "distance")))


of_search = lambda arm: estimate([r[arm]["distance"] for r in searched])
claim(
    "ddpo-optimum",
    "On the ring, 40 rounds of DDPO with a KL term bring the samples nearer to the optimum than "
    "those of the reference, and than 40 rounds without the term.",
    figures=dict(
        **against("DDPO with KL"),
        dpo=estimate(on_ring("DPO", "distance")),
        best=of_search("best of 4"),
        particles=of_search("particles"),
        floor=floor["distance"],
        reward=estimate(on_ring("DDPO with KL", "reward")),
        wanted=floor["reward"],
    ),
    measured="distance after and before {kl:.2f}, with and without the term {plain:.2f}. (Also: "
    "DPO {dpo:.2f}, best-of-4 {best:.2f}, particles {particles:.2f}, samples of the optimum "
    "{floor:.2f}; mean reward with the term {reward:.2f}, of the optimum {wanted:.2f})",
    holds=lambda kl, plain: all_of(kl.lower, plain.lower),
    null={"permuted rewards": against("permuted rewards")},
)

# %% [markdown]
# DDPO alone ends in one small spot (the first of three trainings), with a reward near 0, its maximum: nothing else counts. With
# the KL term both sides of the ring are kept, as in the optimum. After 20 rounds each of the three distances was lower than
# after 40, but not told apart. With the KL term the optimum is that of the reference, a small network whose eight spots run
# into one another. Particles approach the same optimum, and come nearer, at 16 samples for each kept. So does best-of-4, the
# nearest of four $n$; best-of-16 is at 0.27. DPO has the same $\beta$ and the line's weight, and moves little in 500 steps. The
# arms differ in cost: this is no ranking.
#
# ## When the reward is exploited
#
# A learned reward is right on data like its own. Search finds whatever it scores highly, errors included: **reward
# hacking**. Our reward is a small classifier's $\log P(c \mid x)$, trained on 500 digits (three trainings). The judge is
# another network, the course's classifier, trained on 4,000. The samples come from the model *without* a class, so that $n$
# samples often contain no digit of the class $c$.

# %% tags=["nbval-ignore-output"]
predict(
    "reward-hacked.judge",
    "Best of 64: what share of the digits that the reward chose is right by the judge?",
    low=0,
    high=100,
    unit="%",
)

# %%
NS = (1, 2, 4, 8, 16, 32, 64)
kept = lambda n, what, name="best": [r[f"{name} of {n}"][what] for r in measured["hacking"]]
fig, ax = plt.subplots(figsize=(11, 4.8))
for what, name, fmt, colour, label in (
    ("reward right", "best", "o-", ORANGE, "best of n, by the reward"),
    ("judge right", "best", "s--", BLUE, "best of n, by the judge"),
    ("judge right", "random", "v:", "0.5", "one of n at random, by the judge"),
):
    each = [estimate(kept(n, what, name)) for n in NS]
    style = dict(fmt=fmt, color=colour, ms=8, capsize=5, label=label)
    ax.errorbar(NS, [100 * e.mean for e in each], [100 * e.margin for e in each], **style)
ax.set(
    title="Digits of the class asked for", xlabel="n", ylabel="%", xscale="log", ylim=(0, 105)
)
ax.set_xticks(NS, NS)
ax.minorticks_off()
ax.legend(loc="center right")
plots.show(
    fig,
    alt="Shares right over n from 1 to 64. By the reward and by the judge the best of n rises "
    "from 10 to nearly 100 %, the judge's line a little below. One at random stays at 10 %.",
)


# %%
def gap(n, name="best"):
    """The share right by the reward less that by the judge, of each training."""
    return np.subtract(kept(n, "reward right", name), kept(n, "judge right", name))


claim(
    "reward-hacked",
    "On digits, from n = 1 to 64 the share that the reward finds right rises more than the "
    "share that the judge finds right.",
    figures=dict(
        gap=compare(gap(64), gap(1)),
        own=estimate(kept(64, "reward right")),
        judge=estimate(kept(64, "judge right")),
        held=estimate([r["held-out accuracy"] for r in measured["hacking"]]),
    ),
    measured="gap {gap:.1%}. (Also: at n = 64 right by the reward {own:.1%}, by the judge "
    "{judge:.1%}; the reward's accuracy on held-out digits {held:.1%})",
    holds=lambda gap: gap.higher,
    null={"one of n at random": dict(gap=compare(gap(64, "random"), gap(1, "random")))},
    expected=None,
)

# %% [markdown]
# **It cannot be told apart.** At $n = 64$ nearly every pool holds clear digits of the class, and the reward ranks one of them
# first. At $n = 16$ the reward's share is 3 to 4 percentage points above the judge's in all three trainings (plot; no claim was
# planned there).
#
# **A stronger search.** Take 100 digits drawn without a class, and move each along the gradient of the reward, by a length of
# 0.5 a step. Reward: lesson 07's noise-aware classifier at $t = 1$, not the one above. The judge is the same. A control takes
# steps of the same length in random directions from step 15 on. Three sets.

# %% tags=["nbval-ignore-output"]
from course_lib.guidance import grad_log_p

noisy, judge = models.load("noisy_classifier"), models.load("classifier")
wanted, each = torch.arange(100) % 10, torch.arange(100)
log_reward = lambda x: noisy(x, 1).log_softmax(1)[each, wanted]


dice = seeded(23)
by_slope, at_random = lambda x: grad_log_p(log_reward, x), lambda x: randn_like(x, dice)


def walk(x, direction, states):
    """The shares right by reward and judge in each state (2, states), and the last pictures."""
    shares = []
    for step in range(states):
        if step > 0:
            slope = direction(x)
            length = slope.flatten(1).norm(dim=1).clamp(min=1e-9)[:, None, None, None]
            x = (x + 0.5 * slope / length).clamp(-1, 1)
        with torch.no_grad():
            read = [f(x).argmax(1) == wanted for f in (lambda x: noisy(x, 1), judge)]
        shares.append([float(hits.float().mean()) for hits in read])
    return 100 * torch.tensor(shares).T, x


up, astray, rows = [], [], []
for seed in (20, 21, 22):
    x = sample(model.given(NULL), model.draw_noise(100, seeded(seed)), 25).clamp(-1, 1)
    first, x = walk(x, by_slope, 16)  # steps 0 to 15
    for found, direction in ((up, by_slope), (astray, at_random)):
        onward, end = walk(x, direction, 26)  # steps 15 to 40
        found.append(torch.cat([first, onward[:, 1:]], 1))
        rows.append(end[:10])
up, astray = torch.stack(up), torch.stack(astray)  # each (sets, 2, 41)
fig, axes = plt.subplots(1, 2, figsize=(12, 5.6), width_ratios=(1.5, 1))
for of, k, first, fmt, colour, label in (
    (up, 0, 0, "o-", ORANGE, "climb, by the reward"),
    (up, 1, 0, "s--", BLUE, "climb, by the judge"),
    (astray, 0, 15, "^:", RED, "random steps, by the reward"),
    (astray, 1, 15, "v:", "0.5", "random steps, by the judge"),
):
    steps = range(first, 41, 5)
    at = [estimate(of[:, k, step], "sets") for step in steps]
    style = dict(fmt=fmt, color=colour, ms=8, capsize=5, label=label)
    axes[0].errorbar(steps, [e.mean for e in at], [e.margin for e in at], **style)
axes[0].set(title="Climbing the reward", xlabel="step", ylabel="%", ylim=(0, 105))
axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=2)
both = torch.cat(rows[:2])
plots.pictures(both, columns=5, ax=axes[1], title="after climbing, after random steps")
plots.show(
    fig,
    alt="Left: share right over 40 steps. Climbing: by the reward it rises to 100 % and stays; by "
    "the judge it rises to 81 % at step 15, and falls to 46 % at step 40. With random steps from "
    "step 15 it stays at 92 % by the reward and falls to 21 % by the judge. Right: two rows of "
    "digits after climbing, two after random steps, all with grey specks around the strokes.",
)

# %% [markdown]
# The share right by the reward rises to 100 % and stays. The judge's first rises with it, and then falls. This looks as if the
# reward were exploited. The control does not bear that out: random steps follow no reward, and the judge's share falls
# further. Specks are enough. The reward was trained on noisy digits and the judge was not: under random steps one stays at 92
# %, the other falls to 21 %. Neither test of this section shows that a reward was exploited.
#
# A judge must be right where the search leads. Gao, Schulman and Hilton (2023) measured a fall of this shape for language
# models, with a "gold" reward in the place of the truth.
#
# ## Failure museum: rewards that are counted twice
#
# The same particles, with weights $\exp(r(\hat x_0)/\beta)$ at each step, without subtracting the ancestor's reward:

# %%


def counted_again(denoiser, x, times, reward, beta, move, resample):
    """Exercise 2, wrong: the weights are exp(r / beta) at each step."""
    for t, s in pairwise(times):
        x0 = denoiser(x, t)
        i = resample((reward(x0) / beta).exp())
        x = move(x[i], x0[i], t, s)
    return x[resample((reward(x) / beta).exp())]


wrong = counted_again(as_x0(exact), start, times, reward, BETA, move, draw_indices)
known = best.sample(100_000, seeded(8))[0]
for name, x in (("right", steered), ("counted again", wrong), ("the optimum", known)):
    print(f"{name:14} mean reward {reward(x).mean():.2f}, standard deviation {x.std():.3f}")
print(check.particle_sampler(counted_again).diagnosis)

# %% [markdown]
# The reward is higher than the optimum's, and that is the mistake: along a line of ancestors the weights multiply to the
# exponential of all rewards on the way. A reward alone does not show it. The standard deviation and the check do.
#
# ## What you saw
#
# - On digits at equal accuracy the Frechet distance is {{interval-digits.interval.a}} in the interval, and
#   {{interval-digits.interval.b}} with guidance at all noise levels.
# - Autoguidance: {{autoguidance-digits.auto.a}}, CFG {{autoguidance-digits.auto.b}}: not told apart.
# - With 16 samples for each one kept, particles end {{particles-optimum.steered.a}} from the optimum, weights at the end
#   {{particles-optimum.steered.b}}.
# - DPO on the line: distance {{dpo-optimum.dpo.a}} after, {{dpo-optimum.dpo.b}} before.
# - DDPO on the ring: {{ddpo-optimum.plain.a}} with a KL term, {{ddpo-optimum.plain.b}} without, {{ddpo-optimum.kl.b}} before.
#
# ## At full size
#
# On ImageNet at 512 × 512 the interval improved the FID of EDM2 with CFG from 1.81 to 1.40, and autoguidance reached 1.25.

# %% tags=["nbval-ignore-output"]
guesses(
    "interval-digits.interval",
    "particles-optimum.steered",
    "reward-hacked.judge",
)

# %% [markdown]
# ## Think about it
#
# 1. Best-of-n needs no $\beta$. Which optimum is nearest to best-of-4, and why is it not the same density?
#
# <details><summary>Answer</summary>
#
# With $\mathrm{KL}(q_n \| q^*)$ as the measure, the one with the same mean reward. Here $\beta$ is about
# 0.9. Best-of-n has the density $n\,F^{n-1} p$, where $F$ is the share of samples with a lower reward: it
# depends on the rank of the reward alone. The optimum depends on its size.
#
# </details>
#
# 2. Autoguidance with the model itself as the guide: what does $w$ change?
#
# <details><summary>Answer</summary>
#
# Nothing: the difference is 0. The guide must be worse.
#
# </details>
#
# ## Words
#
# - **guidance interval**: the noise levels at which a sampler is guided.
# - **autoguidance**: guidance by a worse version of the same conditional model.
# - **CFG rescale**: giving the guided prediction the standard deviation of the conditional one.
# - **reward**: a function of a sample that is to be high.
# - **best-of-n**: keeping the sample with the highest reward of n.
# - **particles**: samples drawn side by side, of which some are copied and others dropped by their weights.
# - **Bradley-Terry model**: a preference's probability as the sigmoid of a difference of rewards.
# - **direct preference optimisation**: fitting the ratio of a model to its reference to preferences; DPO.
# - **policy gradient**: raising the probability of decisions by how good their outcome was (DDPO).
# - **rejection sampling**: keeping each sample with a probability that turns one density into another.
# - **reward hacking**: a reward that rises while what it stands for does not.
#
# Used again: classifier-free guidance (lesson 08), Frechet distance (lesson 00), sliced Wasserstein distance (lesson
# 16), Kullback-Leibler divergence (lesson 01).
#
# ## In practice
#
# diffusers (0.42.1) has guiders. An interval is given in shares of the steps:
#
# ```python
# import torch
# from diffusers.guiders import ClassifierFreeGuidance
#
# guider = ClassifierFreeGuidance(guidance_scale=3.0, start=0.2, stop=0.6)
# cond, uncond = torch.randn(2, 4, 1, 16, 16)
# guided = []
# for step in range(10):
#     guider.set_state(step=step, num_inference_steps=10, timestep=torch.tensor(999 - 100 * step))
#     pred = guider.forward(cond, uncond).pred
#     guided.append(not torch.equal(pred, cond))
# assert guided == [2 <= step < 6 for step in range(10)]
# ```
#
# {{names}}
#
# | our name | diffusers' |
# |---|---|
# | `Interval(ClassifierFree(...), cond, low, high)` | `ClassifierFreeGuidance(start=, stop=)`, in steps, not noise levels |
# | `AutoGuidance(model, worse, w)` | `AutoGuidance`, whose worse model is the same one with layers skipped or dropout |
# | `dpo_loss` | none; `train.py` of SalesforceAIResearch/DiffusionDPO |
# | `rollout`, `ddpo_loss` | none; `scripts/train.py` of kvablack/ddpo-pytorch |
#
# ## Next
#
# [29, Diffusers and real checkpoints](29_diffusers.ipynb): what the parts of this course are called in other programs.
