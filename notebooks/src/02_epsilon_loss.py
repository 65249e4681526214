# %% [markdown]
# # 02 The epsilon loss: how a diffusion model is trained and sampled
#
# **You will be able to** write the whole training loop and the whole sampling loop of a diffusion model, measure how far a
# network is from the best prediction, convert between the five things that such a network may predict, and say what the loss
# leaves out of the likelihood.
#
# **Time** 60 minutes. **Needs** lesson 01 ($\bar\alpha_t$, `add_noise`, the posterior). **Papers** Jonathan Ho, Ajay Jain,
# Pieter Abbeel: *Denoising Diffusion Probabilistic Models* (2020); Tim Salimans, Jonathan Ho: *Progressive Distillation for
# Fast Sampling of Diffusion Models* (2022), for $v$.

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("02")

# %% [markdown]
# ## The data: a ring with known density
#
# Eight small Gaussians lie on a circle. For such data the best prediction has a closed form, and `ExactDenoiser` computes it.
# So a network can be measured against it.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from course_lib import metrics, plots
from course_lib.datasets.points import circle, ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.mixtures import GaussianMixture
from course_lib.prediction import FROM_X0_EPS, VIEWS, Prediction
from course_lib.process import DDPM, randn_like, seeded
from course_lib.schedules import linear_beta
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
data, process = ring(), DDPM(linear_beta(1000))
T, exact = process.T, ExactDenoiser(data, process)

rng = seeded(0)
x0, component = data.sample(1500, rng)
fig, axes = plt.subplots(1, 4, figsize=(11.5, 3.5), sharey=True)
for ax, t in zip(axes, (0, 50, 200, 1000)):
    plots.points(
        process.add_noise(x0, t, randn_like(x0, rng)),
        component % 2,
        f"t = {t}",
        ax,
        reach=2.4,
        size=12,
    )
plots.show(
    fig,
    alt="Four scatter plots, at t = 0, 50, 200 and 1000, two colours in turn: eight spots, blurred spots, a blurred ring, "
    "one round cloud.",
)

# %% [markdown]
# ## Algorithm 1: training
#
# Take pictures, times and noise, and mix them. The network predicts the noise. Its mean squared error is the **epsilon loss**,
# also called the *simple loss*.
#
# > **Algorithm 1** (Ho et al. 2020)
# > 1. repeat
# > 2. $\quad x_0 \sim q(x_0)$
# > 3. $\quad t \sim \mathrm{Uniform}\{1, \dots, T\}$
# > 4. $\quad \epsilon \sim \mathcal{N}(0, \mathbf{I})$
# > 5. $\quad$ take a gradient step on
# >    $\;\nabla_\theta \left\| \epsilon - \epsilon_\theta\big(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\,
# >    \epsilon,\; t\big) \right\|^2$
# > 6. until converged
#
# The loss compares two **noises**: the one that was added and the one that the network predicts.
#
# ### Exercise 1: the training loop (difficulty 2, 10 minutes)
#
# Write all of Algorithm 1. You are given:
#
# - `draw(rng)`, a new batch $x_0$ of shape `(B, ...)`;
# - `network.process`, with `sample_t(len(x0), rng)`, one $t$ for each of the batch, and `add_noise(x0, t, eps)`;
# - `randn_like(x0, rng)`, standard normal noise of the shape of `x0` (`torch.randn_like` takes no `generator`);
# - `network(x_t, t).eps`, the prediction $\epsilon_\theta(x_t, t)$;
# - `optimizer`, with `zero_grad()` and `step()`; `loss.backward()` computes the gradient.
#
# Draw everything random from `rng`. Take the **mean** square over batch and pixels, so that losses of pictures of any size can
# be compared. Return the loss of each step: keep `loss.item()`.


# %%
def my_training_loop(network, draw, optimizer, steps, rng):
    """The loss at each of the steps, a tensor or a list (steps,). The weights of the network have moved."""
    ...  # write it here


verdict = check.training_loop(my_training_loop)
my_training_loop = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("training_loop")

# %% [markdown]
# Your loop now trains a small network on the ring. A hook keeps an **exponential moving average** (EMA) of the weights: after
# each step it moves by 1 % towards the new ones. Samples are drawn with it.

# %% tags=["nbval-ignore-output"]
from course_lib.nets.mlp import MLP
from course_lib.training import EMA

torch.manual_seed(0)
net = MLP(dim=2, width=48, depth=2)
optimizer, average = torch.optim.AdamW(net.parameters(), lr=4e-3, fused=True), EMA(net, 0.99)
optimizer.register_step_post_hook(lambda *_: average.update())
losses = my_training_loop(
    Network(net, process), lambda rng: data.sample(512, rng)[0], optimizer, 1200, seeded(0)
)
mine = Network(average.net, process)

fig, ax = plt.subplots(figsize=(9.5, 4))
ax.plot(losses, color=BLUE, linewidth=1)
ax.set(
    xlabel="training step",
    ylabel="loss",
    title="The loss of your training loop",
    ylim=(0, 1.1),
)
plots.show(
    fig,
    alt="A line plot of the loss over 1,200 steps: it falls from 0.8 to about 0.2 in 50 steps and stays there.",
)

# %% [markdown]
# The loss stops far above zero. Is that bad? That depends on how low it *can* go.
#
# ## How low can the loss go?
#
# Many pairs $(x_0, \epsilon)$ lead to the same $x_t$, and the network is given $x_t$ and $t$ alone. The minimiser of a squared
# error is the conditional mean:
#
# $$\epsilon^*(x_t, t) = \mathbb{E}[\epsilon \mid x_t].$$
#
# The rest, $\epsilon - \epsilon^*$, has mean 0 given $x_t$, and $\epsilon^* - \epsilon_\theta$ depends on $x_t$ alone. So the
# mean of their product is 0, and the squares add:
#
# $$\underbrace{\mathbb{E}\|\epsilon - \epsilon_\theta\|^2}_{\text{loss}} \;=\;
#   \underbrace{\mathbb{E}\|\epsilon - \epsilon^*\|^2}_{\text{floor}} \;+\;
#   \underbrace{\mathbb{E}\|\epsilon^* - \epsilon_\theta\|^2}_{\text{error of the network}}.$$
#
# The **floor of the loss** is what the best prediction reaches. We measure all three at every noise level, for the shipped
# network `models.load("ring")`. It has 75,000 parameters and was trained longer than yours.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-loss-floor.floor",
    "The noise has variance 1. How low can the loss on the ring get, on average over t?",
    low=0,
    high=1,
)

# %%
network = models.load("ring")
linear = ExactDenoiser(
    GaussianMixture([1.0], torch.zeros(1, 2), [0.51**0.5]), process
)  # the ring's variance is 1/2 + 0.1²
times = torch.unique(
    torch.logspace(0, 3, 40).round().long()
)  # 1 .. T, denser where t is small
every_t = np.arange(1, T + 1)


@torch.no_grad()
def squares(denoisers, t, n=2000, seed=0):
    """Floor, size of the exact noise, and for each denoiser its loss and its error: mean squares on n points at time t."""
    rng = seeded(1000 * seed + int(t))
    x0, _ = data.sample(n, rng)
    eps = randn_like(x0, rng)
    eps = (
        eps / eps.square().mean().sqrt()
    )  # its mean square is 1, exactly: that lowers the standard errors below
    x_t = process.add_noise(x0, int(t), eps)
    best, learned = (
        exact(x_t, int(t)).eps,
        [denoiser(x_t, int(t)).eps for denoiser in denoisers],
    )
    both = [v for eps_theta in learned for v in (eps_theta - eps, eps_theta - best)]
    return [float(v.square().mean()) for v in (best - eps, best, *both)]


def at_every_t(rows):
    """Figures at `times`, a row each, as columns over t = 1 .. T."""
    return [torch.from_numpy(np.interp(every_t, times, column)) for column in np.array(rows).T]


curves = [
    at_every_t([squares((network, linear, mine), t, seed=seed) for t in times])
    for seed in range(3)
]
floor, size, loss, left = curves[0][:4]

fig, (a, b) = plt.subplots(1, 2, figsize=(11.5, 4.8))
a.plot(
    every_t, floor, color=BLUE, linewidth=7, alpha=0.45, label="floor, by the exact denoiser"
)
a.plot(every_t, loss, "--", color=RED, label="loss of the network")
a.plot(every_t, left, ":", color=GREEN, label="error of the network")
a.set(
    xscale="log",
    xlabel="time t",
    ylabel="mean square per coordinate",
    title="The loss lies on its floor",
    ylim=(-0.03, 1.05),
)
a.legend(loc="center left", bbox_to_anchor=(0, 0.3))
b.plot(every_t, 100 * (left / size).sqrt(), color=RED)
b.set(
    xscale="log",
    xlabel="time t",
    ylabel=r"$|\epsilon_\theta - \epsilon^*|\ /\ |\epsilon^*|$, in %",
    title="Relative error of the network",
    ylim=(0, None),
)
plots.show(
    fig,
    alt="Two line plots over time t, logarithmic. Left: loss and floor fall together from 1 to 0, with a bump around t = 120; "
    "the error stays near 0. Right: the relative error falls from 80 per cent at t = 1 to 1 per cent after t = 300.",
)

# %% [markdown]
# **Left:** at small $t$ the noise is small beside the spots' own width and cannot be told from it. The floor is near 1. At
# large $t$ almost all of $x_t$ is noise, and the floor is near 0. The bump is where the spots begin to overlap.
#
# **Right:** at $t = 1$ the relative error is 80 %. There $\epsilon^*$ itself is small, 0.10 (root mean square), and the error
# is 0.08. Towards $t = T$ the size of $\epsilon^*$ grows to 1. The claim below gives one figure for all $t$: the mean squared
# error divided by the mean square of $\epsilon^*$, and the root of that. Large $t$ dominate it.
#
# Is the error small? The null model of the next claim lacks the spots: it is the best denoiser of a single Gaussian with the
# ring's variance, which is linear in $x_t$.


# %%
def measured(i):
    """Of the i-th denoiser, with three noises: its loss, the floor, by how much the loss is above, and its relative error."""
    runs = [[float(run[k].mean()) for k in (0, 1, 2 + 2 * i, 3 + 2 * i)] for run in curves]
    floor, size, loss, left = torch.tensor(runs).T
    noises = lambda values: estimate(values, runs="noises")
    return dict(
        loss=noises(loss),
        floor=noises(floor),
        above=noises(loss / floor - 1),
        error=noises((left / size).sqrt()),
        trained="no training" if i == 1 else "one training",
    )


claim(
    "eps-loss-floor",
    "The loss does not go to 0: it goes to the floor E|ε − E[ε | x_t]|², which is known here, and comes within 1 % of it.",
    figures=measured(0),
    measured="loss {loss:.3f}, floor {floor:.3f}, {above:.1%} above; relative error of the predicted noise {error:.1%} "
    "({trained})",
    holds=lambda above: above.below(0.01),
    null={"the best linear denoiser, which lacks the spots": measured(1)},
)

# %% [markdown]
# Here and in all lessons "±" is one standard error. In this lesson a bar in a plot is the margin that a verdict needs: about
# two standard errors, more where there are few runs.
#
# ## Five views of one prediction
#
# Given $x_t = a\,x_0 + b\,\epsilon$, with signal $a = \sqrt{\bar\alpha_t}$ and noise $b = \sqrt{1 - \bar\alpha_t}$, one
# unknown decides the other. So a predicted noise is also a predicted picture, and more. The field uses five
# **parameterisations**:
#
# | parameterisation | target | $\hat x_0$ from it | $\hat\epsilon$ from it |
# |---|---|---|---|
# | **eps-prediction**: the noise | $\epsilon$ | $(x_t - b\,\hat\epsilon) / a$ | $\hat\epsilon$ |
# | **x0-prediction**: the clean picture | $x_0$ | $\hat x_0$ | $(x_t - a\,\hat x_0) / b$ |
# | **v-prediction** | $v = a\,\epsilon - b\,x_0$ | $a\,x_t - b\,\hat v$ | $b\,x_t + a\,\hat v$ |
# | **score**: the gradient of the log density | $-\epsilon / b$ | $(x_t + b^2 \hat s) / a$ | $-b\,\hat s$ |
# | **velocity** of the straight path | $\epsilon - x_0$ | $(x_t - b\,\hat u) / (a + b)$ | $(x_t + a\,\hat u) / (a + b)$ |
#
# The row of $v$ uses $a^2 + b^2 = 1$. In the library a `Prediction` is all five: `.eps`, `.x0`, `.v`, `.score`, `.flow` (the
# velocity, lesson 16).
#
# **Why $v$?** An error in $\hat\epsilon$ is multiplied by $b/a$ in $\hat x_0$, which explodes as $t \to T$. An error in $\hat
# x_0$ is multiplied by $a/b$ in $\hat\epsilon$, which explodes as $t \to 0$. An error in $\hat v$ is multiplied by $b$ and by
# $a$: never more than 1 (Salimans and Ho 2022, section 4). Lesson 00's network predicts $v$.
#
# ### Exercise 2: from v to x0 and eps (difficulty 1, 4 minutes)
#
# Solve $x_t = a\,x_0 + b\,\epsilon$ and $v = a\,\epsilon - b\,x_0$ for both unknowns. `a` and `b` have a shape that multiplies
# `x_t`.


# %%
def my_from_v(x_t, v, a, b):
    """The pair x0, eps: each of the shape of x_t."""
    ...  # write it here


verdict = check.from_v(my_from_v)
my_from_v = verdict.function
verdict

# %%
check.solution("from_v")

# %% [markdown]
# ### The target and the best prediction have different sizes
#
# Two things are easily confused. The **target** belongs to one pair $(x_0, \epsilon)$: it comes from the conditional $q(x_t
# \mid x_0)$. The **best prediction** is its mean over all pairs that lead to $x_t$: it belongs to the marginal $q(x_t)$. Here
# are the sizes of both (root mean squares, on the ring).


# %%
def sizes_at(t, n=4000):
    """The root mean square of each view's target and of its best prediction, on n points at time t: (views, 2)."""
    rng = seeded(t)
    x0, _ = data.sample(n, rng)
    eps = randn_like(x0, rng)
    x_t = process.add_noise(x0, t, eps)
    a, b = process.coefficients(t, x_t)
    best = exact(x_t, t)
    both = [(FROM_X0_EPS[view](a, b, x0, eps), best.as_view(view)) for view in VIEWS]
    return torch.tensor(
        [[float(value.square().mean().sqrt()) for value in pair] for pair in both]
    )


sizes = torch.stack([sizes_at(t) for t in times.tolist()])  # (times, views, 2)

for t in (1, 20, 200, 1000):
    at_t = dict(zip(VIEWS, sizes_at(t).tolist()))
    print(
        f"t = {t:4d}",
        *(
            "   {}: target {:.2f}, best prediction {:.2f}".format(v, *at_t[v])
            for v in ("eps", "score")
        ),
    )
fig, axes = plt.subplots(1, 2, figsize=(11.5, 5.2), sharey=True)
NAMES = {"x0": "$x_0$", "eps": "$\\epsilon$", "v": "$v$", "flow": "velocity", "score": "score"}
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
for ax, i, title in zip(axes, (0, 1), ("Target, given $x_0$", "Best prediction, given $x_t$")):
    for view, colour, dash in zip(VIEWS, plots.COLOURS, DASHES):
        ax.plot(
            times,
            sizes[:, VIEWS.index(view), i].clamp(min=0.005),
            ls=dash,
            lw=3,
            color=colour,
            label=NAMES[view],
        )
    ax.set(xscale="log", yscale="log", xlabel="time t", title=title)
axes[0].set_ylabel("root mean square")
axes[0].legend(loc="upper right", ncols=2)
plots.show(
    fig,
    alt="Two log-log line plots over time of the sizes of five quantities. Left, the targets: the noise stays at 1, the score "
    "falls from 100 to 1. Right, the best predictions: the noise rises from 0.1 to 1, the score falls from 10 to 1, x0 and v "
    "fall to 0 at the noisy end.",
)
# %% [markdown]
# Given $x_0$, the noise has size 1 at all times, and the score $-\epsilon / b$ grows without bound as $t \to 0$. That is the
# **conditional**. The **marginal** of the ring is smooth: its score stops growing, and the best prediction of the noise
# shrinks with $b$. A network is trained towards the best prediction, hence towards the
# marginal score.
#
# The best predicted noise and the marginal score differ by one factor alone:
#
# $$\epsilon^*(x_t, t) = -\sqrt{1 - \bar\alpha_t}\;\nabla_{x_t} \log q(x_t).$$
#
# Lesson 03 proves this and measures it.
#
# ## Algorithm 2: sampling
#
# Start from noise and go back one step at a time. Each step removes a little of the predicted noise and adds a little new
# noise, because $q(x_{t-1} \mid x_t)$ has some width (lesson 01). This is **ancestral sampling**: each $x_{t-1}$ is drawn
# given $x_t$.
#
# > **Algorithm 2** (Ho et al. 2020)
# > 1. $x_T \sim \mathcal{N}(0, \mathbf{I})$
# > 2. for $t = T, \dots, 1$ do
# > 3. $\quad z \sim \mathcal{N}(0, \mathbf{I})$ if $t > 1$, else $z = 0$
# > 4. $\quad x_{t-1} = \frac{1}{\sqrt{\alpha_t}} \left( x_t -
# >    \frac{1 - \alpha_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon_\theta(x_t, t) \right) + \sigma_t z$
# > 5. end for
# > 6. return $x_0$
#
# ### Exercise 3: the sampling loop (difficulty 2, 10 minutes)
#
# Write lines 2 to 6. Take $\sigma_t^2 = \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t$, the variance
# of lesson 01's posterior. `process = denoiser.process` has `T`, `alpha(t)`, `beta(t)` and `alpha_bar(t)`, and $\bar\alpha_0 =
# 1$. What is $\sigma_1$, and what does that make of line 3? Draw $z$ by `randn_like(x, rng)`.


# %%
def my_sampling_loop(denoiser, x, rng):
    """x_0 (B, ...), from the noise x = x_T."""
    ...  # write it here


verdict = check.sampling_loop(my_sampling_loop)
my_sampling_loop = verdict.function
verdict

# %%
check.solution("sampling_loop")

# %% [markdown]
# The library's `ddpm` is the same loop over any falling row of times. It yields each step, so that the chain can be watched:
# here 300 points in 100 steps. **Left** $x_t$, **middle** the predicted $x_0$, **right** minus the predicted noise, as
# arrows. Play it, or drag the slider. At first every arrow points to the middle of the ring: at $t = T$ the mean of all
# possible $x_0$ *is* the middle. Then the field splits into eight. (At first the network's predicted $x_0$ are scattered: its
# small error is multiplied by the ratio of noise to signal, which is large there.)

# %% tags=["nbval-ignore-output"]
from course_lib.samplers import ddpm
from course_lib.widgets.player import play

rng = seeded(2)
steps = list(ddpm(network, torch.randn(300, 2, generator=rng), process.times(100), rng))
play(steps, field=network, max_mb=0.35)

# %% [markdown]
# ## Are the samples right?
#
# Now your own loop, over all 1,000 times, for both networks. The null model for samples is a circle of the right radius and
# width, without spots.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-samples-in-modes.outside",
    "A fresh point of the ring lies farther than three standard deviations from its spot in 1 of 100 cases. And a sample?",
    low=0,
    high=20,
    unit="%",
)

# %% tags=["nbval-ignore-output"]
n, rng = 2000, seeded(3)
made = my_sampling_loop(network, torch.randn(n, 2, generator=rng), rng)
yours = my_sampling_loop(mine, torch.randn(750, 2, generator=rng), rng)
real, around = data.sample(n, seeded(10))[0], circle(n, rng=seeded(11))


def in_spots(x, trained="no training"):
    """How many of the eight spots points x (n, 2) cover, and the share farther than three standard deviations from all."""
    outside = estimate(
        [metrics.modes(part, data, within=3)[1] for part in x.split(250)],
        runs="sets of 250 points",
    )
    return dict(covered=metrics.modes(x, data, within=3)[0], outside=outside, trained=trained)


fig, axes = plt.subplots(1, 4, figsize=(11.5, 4.0), sharey=True)
shown = {
    "Real": real,
    "Your network": yours,
    "Shipped network": made,
    "Null: a circle": around,
}
for ax, (name, x) in zip(axes, shown.items()):
    plots.points(
        x, None, f"{name}\n{in_spots(x)['outside'].mean:.0%} outside", ax, size=7, reach=1.6
    )
for name, i, x in (("yours", 2, yours), ("shipped", 0, made)):
    print(
        f"{name}: loss {100 * measured(i)['above'].mean:.1f} % above its floor,"
        f" {in_spots(x)['outside']:.1%} of the samples outside"
    )
plots.show(
    fig,
    alt="Four scatter plots. Real: eight round spots on a circle. Shipped network: the same, with a few points between them. "
    "Your network: eight spots joined by many points between them. The null model: a circle of even density, without spots.",
)

# %%
claim(
    "eps-samples-in-modes",
    "Algorithm 2 with the learned noise samples the data: all eight spots, with fewer than 5 % of the points outside them.",
    figures=in_spots(made, "one training"),
    measured="{covered} of 8 spots, {outside:.1%} of the points farther than three standard deviations from all of them "
    "({trained})",
    holds=lambda covered, outside: all_of(covered == 8, outside.below(0.05)),
    null={
        "a circle without spots": in_spots(around),
        "one spot missing": in_spots(real[real[:, 0] < 0.85]),
    },
)

# %% [markdown]
# For real points the second figure is 1.1 % (it is $e^{-9/2}$). The circle covers all eight spots too. So both figures are
# needed: the spots that are covered, and what lies outside.
#
# **A small excess of the loss can be a large error of the samples.** Your network's loss is only a few per cent above the
# floor. Yet the share of its samples that lies outside is about half of the circle's, and the circle has no spots at all. The
# floor is the larger part of the loss, and it says nothing about the network. Therefore measure samples too.
#
# ## Where the loss comes from: the variational bound
#
# The model goes back step by step, $p_\theta(x_{t-1} \mid x_t) = \mathcal{N}(\mu_\theta(x_t, t), \sigma_t^2 \mathbf{I})$. Its
# likelihood has no closed form, but a bound: the negative **evidence lower bound** (ELBO; Ho et al., eq. 5),
#
# $$-\log p_\theta(x_0) \;\le\; \mathbb{E}_q\Big[
#   \underbrace{D_{\mathrm{KL}}(q(x_T \mid x_0) \,\|\, p(x_T))}_{L_T}
#   + \sum_{t > 1} \underbrace{D_{\mathrm{KL}}(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t))}_{L_{t-1}}
#   \underbrace{- \log p_\theta(x_0 \mid x_1)}_{L_0} \Big].$$
#
# $L_T$ has nothing to learn. Each $L_{t-1}$ compares two Gaussians of fixed variance, so it is a weighted squared distance of
# their means, plus a constant (eq. 8). Written with noises (eq. 12):
#
# $$L_{t-1} = \mathbb{E}\left[ w_t\, \|\epsilon - \epsilon_\theta(x_t, t)\|^2 \right] + \text{const}, \qquad
#   w_t = \frac{\beta_t^2}{2 \sigma_t^2\, \alpha_t\, (1 - \bar\alpha_t)}.$$
#
# Algorithm 1 leaves $w_t$ out: that is $L_\text{simple}$ (eq. 14). The figure takes $\sigma_t^2 = \beta_t$, the other choice
# of the paper, for which $w_t$ is finite at $t = 1$ too.


# %%
def bound_weight(process, t, sigma2):
    """What the bound multiplies |eps - eps_theta|^2 by, at each t."""
    return process.beta(t) ** 2 / (2 * sigma2 * process.alpha(t) * (1 - process.alpha_bar(t)))


t = torch.arange(1, T + 1)
weight = bound_weight(process, t, sigma2=process.beta(t))

fig, (a, b) = plt.subplots(1, 2, figsize=(11.5, 4.8))
a.plot(t, weight / weight.mean(), color=BLUE, label="the bound's $w_t$, over its mean")
a.axhline(1, color=RED, linestyle="--", label="the simple loss: 1")
a.set(
    xscale="log",
    yscale="log",
    xlabel="time t",
    ylabel="weight",
    title="Weight of a squared error",
)
a.legend()
for part, label, style in (
    (weight * loss, "$w_t$ × loss", dict(color=BLUE)),
    (weight * left, "$w_t$ × error", dict(color=GREEN, ls=":")),
    (loss, "loss", dict(color=RED, ls="--")),
):
    up_to = part.cumsum(0) / part.sum()
    b.plot(t, up_to, label=label, **style)
    print(f"half of {label.replace('$', '')}: up to t = {int((up_to < 0.5).sum()) + 1}")
b.set(
    xscale="log",
    xlabel="time t",
    ylabel="share up to t",
    title="Share of the sum up to time t",
    ylim=(0, 1.02),
)
b.legend()
plots.show(
    fig,
    alt="Two line plots over time. Left: the bound's weights fall from 50 times their mean at t = 1 to once at t = 100 and "
    "half at t = 350; the simple loss weighs all alike. Right: half of the weighted loss lies at t up to 14, half of the "
    "weighted error up to 16, half of the plain loss up to 154.",
)

# %% [markdown]
# Half of the weighted loss lies at small $t$, where the noise is smaller than the spots' own width. Most of that is floor,
# whose gradient is 0 on average, but not in a batch. Of the network's own error, weighted, half lies there too. The simple
# loss gives more weight to larger $t$, where denoising is more difficult (Ho et al., section 3.4). Does that cost likelihood,
# and does it gain samples?
#
# Small networks, alike in all but the loss, were trained for 600 and 3,000 steps, eight trainings (seeds) each, with gradients
# clipped at norm 1. `tests/benchmarks/loss_weights.py` trains them.
#
# - **simple**: $t$ uniform, weight 1. Algorithm 1.
# - **bound**: $t$ uniform, weight $w_t$. The bound itself.
# - **bound, by t**: $t$ drawn in proportion to $w_t$, weight 1. That is **importance sampling**: drawing from another
#   distribution $p$ and dividing each term by $p$. Here $w_t / p_t$ is constant: the same expected loss as *bound*, up to a
#   factor, with less variance. (Nichol and Dhariwal 2021, section 3.3, draw $t$ in proportion to
#   $\sqrt{\mathbb{E}[L_t^2]}$ and divide by $p_t$.)
#
# Two things are measured. The **samples**: the share of points outside the spots. The **bound**: by how many nats per
# coordinate it lies above that of the exact denoiser. (The likelihood itself is not measured.) Training $i$ of each arm begins
# with the same weights, and the verdicts are of the paired differences. The null model is the simple loss beside itself: eight
# more trainings with other seeds.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-simple-samples.verdict",
    "Does the simple loss give better samples than the bound with t drawn uniformly, after the same 3,000 steps?",
    choices=("yes", "no", "cannot be told apart"),
)

# %%
runs = figures.load("loss_weights")
WAYS, BUDGETS = ("simple", "bound", "bound, by t"), (600, 3000)
of = lambda figure, way, steps=3000: figures.values(runs, figure, way=way, steps=steps)

fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.8))
names = {
    "outside the spots": "Share of samples outside the spots",
    "nats above": "Bound: nats above the optimum",
}
for ax, (figure, name) in zip(axes, names.items()):
    for way, colour, marker in zip(WAYS, (RED, BLUE, GREEN), plots.MARKERS):
        each = [estimate(of(figure, way, steps)) for steps in BUDGETS]
        ax.errorbar(
            BUDGETS,
            [e.mean for e in each],
            [e.margin for e in each],
            marker=marker,
            ms=9,
            capsize=6,
            color=colour,
            label=way,
        )
    ax.set(
        xlabel="training steps", title=name, ylim=(0, None), xlim=(300, 3300), xticks=BUDGETS
    )
axes[0].axhline(in_spots(around)["outside"].mean, color="black", linestyle="--")
axes[0].text(
    3250, in_spots(around)["outside"].mean + 0.005, "null: a circle", ha="right", va="bottom"
)
axes[1].legend()
plots.show(
    fig,
    alt="Two line plots over training steps for three losses, with error bars. Left: the share of samples outside falls; bound "
    "with t uniform has the most. At 600 steps no loss lies clearly below the dashed line of the null circle, at 3,000 all do. "
    "Right: nats above the optimum; t by weight has the fewest, t uniform the most.",
)

# %% [markdown]
# After 600 steps no arm is clearly better than the circle without spots, so the comparison is that of 3,000 steps.

# %%
arms = lambda figure, way, other: compare(of(figure, way), of(figure, other))
alone = {
    figure: arms(figure, "simple, again", "simple") for figure in names
}  # what chance alone makes of a comparison
print(
    "3,000 steps".ljust(20),
    "outside".rjust(16),
    "nats above".rjust(18),
    "   beside simple: outside, nats",
)
for way in (*WAYS, "simple, again"):
    beside = [arms(figure, way, "simple") for figure in names]
    says = [
        {True: "fewer", False: "more", None: "cannot be told apart"}[x.lower] for x in beside
    ]
    print(
        way.ljust(20),
        f"{beside[0].a:.1%}".rjust(16),
        f"{beside[1].a:.3f}".rjust(18),
        "  ",
        ", ".join(says) * (way != "simple"),
    )

# %%
claim(
    "eps-simple-samples",
    "Training on the simple loss gives better samples than training on the bound with t drawn uniformly, at equal steps.",
    figures=dict(
        outside=arms("outside the spots", "simple", "bound"), arms="simple beside bound"
    ),
    measured="{outside:.1%} of the samples outside the spots, {arms}, 3,000 steps",
    holds=lambda outside: outside.lower,
    null={
        "the simple loss beside itself": dict(
            outside=alone["outside the spots"], arms="simple again beside simple"
        )
    },
)

# %%
claim(
    "eps-variance-alone",
    "The variance of the loss harms the samples: with t drawn by weight the bound gives better ones than with t uniform.",
    figures=dict(
        outside=arms("outside the spots", "bound, by t", "bound"),
        arms="t by weight beside t uniform",
    ),
    measured="{outside:.1%} of the samples outside the spots, {arms}, 3,000 steps",
    holds=lambda outside: outside.lower,
    null={
        "the simple loss beside itself": dict(
            outside=alone["outside the spots"], arms="simple again beside simple"
        )
    },
)

# %%
claim(
    "eps-bound-tighter",
    "Training on the bound, with t drawn in proportion to its weights, gives a tighter bound than the simple loss.",
    figures=dict(
        nats=arms("nats above", "bound, by t", "simple"), arms="bound, by t, beside simple"
    ),
    measured="{nats:.3f} nats per coordinate above the optimum, {arms}, 3,000 steps",
    holds=lambda nats: nats.lower,
    null={
        "the simple loss beside itself": dict(
            nats=alone["nats above"], arms="simple again beside simple"
        )
    },
)

# %% [markdown]
# So the bound as a loss gives the tighter bound, if $t$ is drawn by weight. Its samples cannot be told apart from those of
# the simple loss (last column but one of the table). With uniform $t$ it is worst in both. These two arms have the same
# expected loss, and differ in how $t$ is drawn: {{eps-variance-alone.outside}} of the samples lie outside. The difference is
# the variance of the gradient, and what clipping makes of it; the two are not separated here. Whether the weights themselves
# harm the samples, these trainings do not decide. On CIFAR10 Ho et al. report a Frechet distance (lesson 00) of 3.17 for the
# simple loss and 13.51 for the bound. The codes have 3.75 and 3.70 bits per dimension (Tables 1 and 2).
#
# > **Two refinements that large models use**
# >
# > **Min-SNR weighting** (Hang et al. 2023, section 3.4) weights an error of $\hat x_0$ by $\min(\mathrm{SNR}, 5)$. For an
# > error of $\hat v$ that is $\min(\mathrm{SNR}, 5) / (\mathrm{SNR} + 1)$: less weight where nearly nothing or nearly all is
# > noise. As above, the weight can be a probability instead: `min_snr_times` draws $t$ by it, and lesson 00's recipe uses
# > that. Its worth on digits is printed below.
# >
# > **Learned variance** (Nichol and Dhariwal 2021, section 3.1): the network also outputs a fraction $\nu$ per pixel. The
# > variance is $\exp(\nu \log \beta_t + (1 - \nu) \log \tilde\beta_t)$, between the paper's two choices. It is trained on
# > $L_\text{simple} + 0.001\, L_\text{vlb}$, the bound. With it, fewer sampling steps are enough.

# %%
search = figures.load("digits_search")
distance = lambda name: figures.values(search, "Frechet distance", name=name)
print("Frechet distance of digits after a minute of training, three trainings each")
for name, says in {
    "uniform times": "t uniform",
    "uniform times, weighted": "t uniform, min-SNR weight",
    "the recipe": "t drawn by min-SNR weight",
}.items():
    beside = compare(distance("the recipe"), distance(name))
    verdict = {
        True: "the last is better",
        False: "the last is worse",
        None: "cannot be told from the last",
    }[beside.lower]
    print(
        f"{says:>26}: {estimate(distance(name)):.3f}   {verdict if name != 'the recipe' else ''}"
    )

# %% [markdown]
# ## The predicted clean picture: a progressive decoder
#
# Send someone $x_T$, then what is needed to go to $x_{T-1}$, and so on. At any time they can stop and look at $\hat x_0$. That
# is *progressive compression*. Here are held-out digits and lesson 00's network. It predicts $v$; your `my_from_v` turns
# that into $\hat x_0$.

# %%
from course_lib.datasets import digits
from course_lib.denoisers import NULL

model = models.load("digits").given(NULL)  # NULL: without a class
chain = model.process
pictures, labels = digits.load("held_out")
shown, rng = torch.stack([pictures[labels == c][0] for c in (2, 5, 8)]), seeded(0)
moments = [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100]
noise = randn_like(shown, rng)
with torch.no_grad():
    noisy = [chain.add_noise(shown, t, noise) for t in moments]
    clean = [
        my_from_v(x_t, model(x_t, t).v, *chain.coefficients(t, x_t))[0]
        for x_t, t in zip(noisy, moments)
    ]
rows = [torch.stack([step[i] for step in steps]) for i in range(3) for steps in (noisy, clean)]
fig = plots.pictures(
    torch.cat(rows),
    columns=len(moments),
    title="$x_t$ and, below it, the prediction $\\hat x_0$, from t = 1000 to t = 100",
    scale=0.07,
)
plots.show(
    fig,
    alt="A grid of three digits, each in two rows from t = 1000 to t = 100. Above, noise that thins out from left to right; "
    "below, a grey blur that becomes the digit.",
)

# %% [markdown]
# The *rate* is the number of bits sent so far: the sum of the terms $L_{t-1}$. The *distortion* is the root mean squared
# error of $\hat x_0$. The last term, $L_0$, is the cost of the rest, in 256 grey levels (eq. 13). It belongs to the whole
# code. Our digits are averages of 2 × 2 pixels, so they are first rounded to these levels.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-imperceptible-bits.unseen",
    "Which share of all bits describes differences of less than one grey level of 255?",
    low=0,
    high=100,
    unit="%",
)

# %%
train_pictures, pictures = (
    digits.load("train")[0],
    (pictures[:100] * 127.5 + 127.5).round() / 127.5 - 1,
)  # 0 .. 255
at = torch.unique(torch.logspace(0, 3, 20).round().long())
normal = torch.distributions.Normal(0.0, 1.0)


@torch.no_grad()
def code(model, seed):
    """The code of the pictures: bits per pixel sent before each of the times `at`, the error by then, and the bits of L_0."""
    rng, errors, distortion = seeded(seed), [], []
    for t in at.tolist():
        eps = randn_like(pictures, rng)
        pred = model(chain.add_noise(pictures, t, eps), t)
        errors.append(float((pred.eps - eps).square().mean()))
        distortion.append(
            float((pred.x0.clamp(-1, 1) - pictures).square().mean().sqrt()) * 127.5
        )  # of 255 grey levels
        if t == 1:  # the mean of p(x_0 | x_1) is the predicted x_0, its variance beta_1
            off, sigma = pictures - pred.x0, float(chain.beta(1)) ** 0.5
            above = torch.where(pictures == 1, 1.0, normal.cdf((off + 1 / 255) / sigma))
            below = torch.where(pictures == -1, 0.0, normal.cdf((off - 1 / 255) / sigma))
            last = float(-(above - below).clamp(min=1e-12).log2().mean())
    t = torch.arange(2, chain.T + 1)
    sigma2 = (1 - chain.alpha_bar(t - 1)) / (1 - chain.alpha_bar(t)) * chain.beta(t)
    bits = (
        bound_weight(chain, t, sigma2)
        * torch.from_numpy(np.interp(t, at, errors))
        / math.log(2)
    )
    sent = np.append(
        bits.flip(0).cumsum(0).flip(0).numpy(), 0
    )  # before t: the terms that send x_t, .. x_(T-1)
    return sent[at - 1], np.array(distortion), last


def unseen(codes, limit=0.95):
    """Of several codes: all bits, those of L_0, and the share in % sent after the error has fallen to `limit` grey levels."""
    total, last = [rate.max() + last for rate, _, last in codes], [last for *_, last in codes]
    seen = [np.interp(-limit, -distortion[::-1], rate[::-1]) for rate, distortion, _ in codes]
    noises = lambda values: estimate(values, runs="noises")
    return dict(
        unseen=noises([1 - a / b for a, b in zip(seen, total)]),
        bits=noises(total),
        last=noises(last),
    )


mean_pixel, variance = train_pictures.mean(0), train_pictures.var(0).clamp(min=1e-6)


def independent(x_t, t):
    """The prediction of a model without shapes: each pixel is a Gaussian of its own mean and variance."""
    a, b = chain.coefficients(t, x_t)
    return Prediction(
        x_t,
        a,
        b,
        "x0",
        mean_pixel + a * variance / (a**2 * variance + b**2) * (x_t - a * mean_pixel),
    )


codes = [code(model, seed) for seed in range(3)]
rate, distortion, _ = codes[0]

fig, ax = plt.subplots(figsize=(9.5, 4.6))
ax.plot(rate, distortion, "o-", color=BLUE)
for t in (1000, 300, 100):
    i = int((at - t).abs().argmin())
    ax.annotate(
        f"t = {at[i]}", (rate[i], distortion[i]), textcoords="offset points", xytext=(12, 4)
    )
ax.axhline(0.95, color=RED, linestyle="--")
ax.text(rate.max(), 1.5, "0.95 grey levels", color=RED, ha="right", va="bottom")
ax.set(
    xlabel="bits per pixel, sent so far",
    ylabel="error, in grey levels of 255",
    title="Distortion over rate",
    ylim=(0, None),
)
plots.show(
    fig,
    alt="A line plot of the error of the predicted picture over the bits sent: it falls steeply from 50 grey levels at "
    "t = 1000, and then slowly to 0.",
)

# %%
claim(
    "eps-imperceptible-bits",
    "More than half of the bits of the whole code, L_0 among them, are sent after the error has fallen to 0.95 grey levels.",
    figures=unseen(codes),
    measured="{unseen:.1%} of {bits:.2f} bits per pixel, of which L_0 has {last:.2f}, on 100 held-out digits",
    holds=lambda unseen: unseen.above(0.5),
    null={
        "a model of independent pixels": unseen([code(independent, seed) for seed in range(3)])
    },
)

# %% [markdown]
# Ho et al. measured this on CIFAR10 (section 4.3). Their $L_1 + \dots + L_T$ is 1.78 bits per dimension, and the error is 0.95
# by then; $L_0$ is 1.97 bits. So 53 % of their code describes what they call imperceptible. The threshold of 0.95 is theirs.
# Now watch sixteen predictions become sharp, in the middle panel.

# %% tags=["nbval-ignore-output"]
rng = seeded(5)
wanted = models.load("digits").given(torch.arange(16) % 10)
play(
    list(ddpm(wanted, torch.randn(16, 1, 16, 16, generator=rng), chain.times(50), rng)),
    max_mb=0.3,
)

# %% [markdown]
# ## Failure museum
#
# Two mistakes of a few characters in the sampling loop, each beside the right loop with the same number of steps and the same
# noise. The denoiser is exact.


# %%
from functools import partial


def wrong_loop(denoiser, x, rng, noise_at_the_last=False, lost_bar=False):
    """Exercise 3, with or without two mistakes."""
    process = denoiser.process
    for t in range(process.T, 0, -1):
        alpha, alpha_bar, before = (
            process.alpha(t),
            process.alpha_bar(t),
            process.alpha_bar(t - 1),
        )
        sigma2 = (1 - alpha) * (
            1 if noise_at_the_last and t == 1 else (1 - before) / (1 - alpha_bar)
        )  # beta_1 at t = 1
        variance = 1 - (alpha if lost_bar else alpha_bar)
        x = (
            x - (1 - alpha) / variance.sqrt() * denoiser(x, t).eps
        ) / alpha.sqrt() + sigma2.sqrt() * randn_like(x, rng)
    return x


museum = (
    ("right", 25, wrong_loop),
    ("noise at the last", 25, partial(wrong_loop, noise_at_the_last=True)),
    ("right", 1000, wrong_loop),
    ("a lost bar", 1000, partial(wrong_loop, lost_bar=True)),
)


def spread(x):
    """The standard deviation of points around the nearest of the eight means: 0.10 on the ring itself."""
    return float(
        (torch.cdist(x.double(), data.means).min(1).values.square().mean() / 2).sqrt()
    )


fig, axes = plt.subplots(1, 4, figsize=(11.5, 4.2), sharey=True)
for ax, (name, T_used, loop) in zip(axes, museum):
    rng, denoiser = seeded(6), ExactDenoiser(data, DDPM(linear_beta(T_used)))
    x = loop(denoiser, torch.randn(1500, 2, generator=rng), rng)
    plots.points(x, None, f"{name}\nT = {T_used:,}: {spread(x):.3f}", ax, size=9, reach=1.5)
    if loop is not wrong_loop:
        print(f"{name}: {check.sampling_loop(loop).diagnosis}")
plots.show(
    fig,
    alt="Four scatter plots of eight spots on a ring, with their spread. In 25 steps: right 0.10, with noise at the last step "
    "0.12, wider. In 1,000 steps: right 0.10, with a lost bar 0.04, spots less than half as wide.",
)

# %% [markdown]
# The figure under each name is the spread of the spots; on the ring it is 0.100.
#
# **Noise at the last step** adds a variance of $\beta_1$ to every spot: pictures are grainy. At $T = 25$ that is a standard
# deviation of 0.06. With $T = 1000$ it is 0.01, and nobody notices. **The lost bar** removes too much noise at each step. The
# samples look cleaner than the data, but their variety is too small. The eye misses that; the check does not.
#
# Why is the right loop not at 0.100 either? With 1,000 steps it is a little too narrow: $\tilde\beta_t$ is the variance of
# $x_{t-1}$ for a *known* $x_0$, and $q(x_{t-1} \mid x_t)$ is wider. With 25 steps points left between the spots probably
# outweigh that.
#
# ## What you saw
#
# - The epsilon loss has a floor, $\mathbb{E}\|\epsilon - \mathbb{E}[\epsilon \mid x_t]\|^2$: on the ring
#   {{eps-loss-floor.floor.mean}}. The network's loss is {{eps-loss-floor.above.mean}} above it, and the relative error of its
#   noise {{eps-loss-floor.error.mean}}.
# - Noise, clean picture, $v$, score and velocity are five views of one prediction. The target's size and the best prediction's
#   size differ.
# - A small excess of the loss can be a large error of the samples: measure both.
# - Algorithm 2 with that network samples all {{eps-samples-in-modes.covered}} spots, with
#   {{eps-samples-in-modes.outside}} of the points outside them.
# - The loss is a variational bound without its weights. Beside the bound with uniform $t$, the simple loss gives better
#   samples: {{eps-simple-samples.outside}} outside the spots. With $t$ drawn by weight, training on the bound gives the tighter
#   bound: {{eps-bound-tighter.nats}} nats above the optimum.
# - {{eps-imperceptible-bits.unseen}} of the bits of a digit's code are sent after the error is below one grey level.
#
# ## At full size
#
# The two loops stay as you wrote them. Ho et al. trained 35.7 million parameters for 800,000 steps of 128 pictures on CIFAR10,
# in 10.6 hours on a TPU v3-8. For 256 × 256 pixels they trained 114 million. Samples used an average of the weights with decay
# 0.9999. $T$ is 1,000 and $\beta_t$ runs from $10^{-4}$ to 0.02, as here.

# %% tags=["nbval-ignore-output"]
guesses(
    "eps-loss-floor.floor",
    "eps-samples-in-modes.outside",
    "eps-simple-samples.verdict",
    "eps-imperceptible-bits.unseen",
)

# %% [markdown]
# ## Think about it
#
# 1. Nobody knows the floor of the loss on real pictures. How can you tell whether a loss is good?
#
# <details><summary>Answer</summary>
#
# From the loss alone you cannot. Compare it with the loss of another network on the same held-out pictures, times and noises:
# the floor is the same for both and cancels in the difference. And measure samples.
#
# </details>
#
# 2. At $t = T$ the best prediction of $x_0$ is the mean of all data, a grey blur. Why does the chain not end in that blur?
#
# <details><summary>Answer</summary>
#
# A step goes only a small part of the way to the prediction and adds new noise, which breaks the tie between the possible
# pictures. So the next prediction differs, and moves from the mean of all data to one picture.
#
# </details>
#
# ## Words
#
# - **epsilon loss**: the mean squared error of the predicted noise, over uniform times (Ho et al.: the simple loss).
# - **exponential moving average**: an average of a network's weights in which older ones count less and less (EMA).
# - **floor of the loss**: the loss of the best prediction, $\mathbb{E}\|\epsilon - \mathbb{E}[\epsilon \mid x_t]\|^2$.
# - **parameterisation**: what a network predicts of $x_0$ and $\epsilon$: one of five views that can be converted into each
#   other.
# - **eps-prediction**: the network predicts the noise.
# - **x0-prediction**: the network predicts the clean picture.
# - **v-prediction**: the network predicts $v = a\,\epsilon - b\,x_0$.
# - **score**: the gradient of the log density, $\nabla_{x_t} \log q(x_t)$.
# - **velocity**: $\epsilon - x_0$, the direction of the straight path from picture to noise.
# - **ancestral sampling**: drawing $x_{t-1}$ given $x_t$, step by step from $T$ to 1 (Algorithm 2).
# - **evidence lower bound**: a lower bound on the log-likelihood of a model with hidden variables (ELBO).
# - **importance sampling**: drawing from another distribution $p$ and dividing each term by $p$.
# - **min-SNR weighting**: weights for times that are capped where there is little noise.
# - **learned variance**: a network that predicts the variance of the step back too.
#
# Used again: signal-to-noise ratio (lesson 01), posterior (lesson 01), Frechet distance (lesson 00).
#
# ## In practice
#
# The same two algorithms in diffusers. Its times run from 0 to 999, ours from 1 to 1,000.
#
# ```python
# import torch
# from diffusers import DDPMScheduler, UNet2DModel
#
# blocks = dict(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2, block_out_channels=[16, 16])
# unet = UNet2DModel(16, in_channels=1, out_channels=1, norm_num_groups=4, **blocks)
# scheduler = DDPMScheduler(num_train_timesteps=1000, prediction_type="epsilon", clip_sample=False)
# x0, noise, t = torch.rand(4, 1, 16, 16), torch.randn(4, 1, 16, 16), torch.randint(1000, (4,))
# loss = (unet(scheduler.add_noise(x0, noise, t), t).sample - noise).square().mean()  # Algorithm 1, line 5
# loss.backward()
# before = scheduler.step(unet(noise, 999).sample, 999, noise).prev_sample  # Algorithm 2, line 4
# assert before.shape == x0.shape
# ```
#
# | our name | diffusers' |
# |---|---|
# | `process.add_noise(x0, t, eps)` | `scheduler.add_noise(x0, noise, t - 1)` |
# | `view="eps"`, `"x0"`, `"v"` | `prediction_type="epsilon"`, `"sample"`, `"v_prediction"` |
# | $\sigma_t^2 = \tilde\beta_t$, $\beta_t$, learned | `variance_type="fixed_small"`, `"fixed_large"`, `"learned_range"` |
# | `my_sampling_loop` | `DDPMPipeline`, or `scheduler.step` in a loop |
#
# ## Next
#
# [Lesson 03](03_score_and_langevin.ipynb) reads the same network as a score, and samples with it by Langevin dynamics.
