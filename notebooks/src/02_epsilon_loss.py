# %% [markdown]
# # 02 The epsilon loss: what is trained, and how a sample is drawn
#
# **You will be able to** write the training loss and the sampling step of a diffusion model, train and sample with your own
# functions, say what the optimal prediction is, measure how far your network is from it, and explain what the weights do that
# the loss leaves out.
#
# **Time** 55 minutes. **Needs** lesson 01 ($\bar\alpha_t$, `add_noise`, the posterior). **Paper** Jonathan Ho, Ajay Jain,
# Pieter Abbeel: *Denoising Diffusion Probabilistic Models* (2020).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("02")

# %% [markdown]
# ## The data: a ring, because its truth is known
#
# Eight small Gaussians on a circle. For such data the optimal prediction has a closed form, and `ExactDenoiser` gives it. So
# what a network has learned can be measured against it.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from course_lib import metrics, plots
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.mixtures import GaussianMixture
from course_lib.prediction import Prediction
from course_lib.process import DDPM, randn_like, seeded
from course_lib.schedules import linear_beta
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate, share
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
data, process = ring(), DDPM(linear_beta(1000))
T, exact = process.T, ExactDenoiser(data, process)

rng = seeded(0)
x0, component = data.sample(1500, rng)
fig, axes = plt.subplots(1, 4, figsize=(11.5, 3.5), sharey=True)
for ax, t in zip(axes, (0, 50, 200, 1000)):
    plots.points(process.add_noise(x0, t, randn_like(x0, rng)), component, f"t = {t}", ax, reach=2.4, size=10)
plots.show(
    fig, alt="The ring of eight at t = 0, 50, 200 and 1000: eight spots, blurred spots, a blurred ring, one round cloud."
)

# %% [markdown]
# ## Algorithm 1: training
#
# Take a picture, a time and some noise; mix them; let the network predict the noise; take a gradient step on its squared
# error.
#
# > **Algorithm 1** (Ho et al. 2020)
# > 1. repeat
# > 2. $\quad x_0 \sim q(x_0)$
# > 3. $\quad t \sim \mathrm{Uniform}\{1, \dots, T\}$
# > 4. $\quad \epsilon \sim \mathcal{N}(0, \mathbf{I})$
# > 5. $\quad$ take a gradient step on
# >    $\;\nabla_\theta \left\| \epsilon - \epsilon_\theta\big(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon,\;
# >    t\big) \right\|^2$
# > 6. until converged
#
# Two **noises** are compared: the one that went in and the one that the network predicts. One slide of the lecture writes
# $\mathrm{MSE}(x_t, \hat x_t)$, as if two pictures were compared. That is a slip: Algorithm 1 is the line above.
#
# ### Exercise 1: the loss (difficulty 1, 8 minutes)
#
# `denoiser.process` has `sample_t(batch, rng)`, `add_noise(x0, t, eps)` and all that lesson 01 had; `denoiser(x_t, t).eps`
# is $\epsilon_\theta(x_t, t)$. Draw all that is random from `rng`, so that a run can be repeated. Return one number, the
# mean over batch and pixels, not the sum: a mean can be compared between pictures of any size.


# %%
def my_denoising_loss(denoiser, x0, rng):
    """The simple loss of x0 (B, ...), one number."""
    ...  # write it here


verdict = check.denoising_loss(my_denoising_loss)
my_denoising_loss = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("denoising_loss")

# %% [markdown]
# ## Train it
#
# A residual network of about 75,000 parameters, trained on your loss, with fresh points in every batch. Twelve seconds are
# enough to see the loss fall. (The library's own loss, `training.denoising_loss`, also serves networks that predict something
# else than noise.)

# %% tags=["nbval-ignore-output"]
from course_lib.training import EMA, show_progress, train
from course_lib.zoo.recipes import ring_network

mine, batches = ring_network(seed=0), seeded(0)
loss = lambda: my_denoising_loss(mine, data.sample(1024, batches)[0], batches)
average = EMA(mine.net, 0.999)
show_progress(train(loss, mine.net, steps=4000, lr=3e-3, seconds=12, ema=average), "training on the ring")
mine = Network(average.net, process)

# %% [markdown]
# The bar ended with a loss far above zero. Is that bad? To answer, we need to know how low it *can* go.
#
# ## The optimal prediction, and the floor of the loss
#
# Many pairs $(x_0, \epsilon)$ lead to the same $x_t$, and the network is given $x_t$ alone. What minimises a squared error is
# the mean of all that it might have been:
#
# $$\epsilon^*(x_t, t) = \mathbb{E}[\epsilon \mid x_t].$$
#
# The rest of the noise cannot be known from $x_t$. So Pythagoras' theorem holds, with a right angle between what cannot be
# known and the network's own error:
#
# $$\underbrace{\mathbb{E}\|\epsilon - \epsilon_\theta\|^2}_{\text{loss}} \;=\;
#   \underbrace{\mathbb{E}\|\epsilon - \epsilon^*\|^2}_{\text{floor}} \;+\;
#   \underbrace{\mathbb{E}\|\epsilon^* - \epsilon_\theta\|^2}_{\text{what is left to learn}}.$$
#
# We measure all three at every noise level. `models.load("ring")` is the network that you just trained, trained for longer.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-loss-floor.floor",
    "The noise has variance 1. How low can the loss on the ring get, on average over t?",
    low=0,
    high=1,
)

# %%
network = models.load("ring")
times = torch.unique(torch.logspace(0, 3, 60).round().long())  # 1 .. T, denser where t is small


@torch.no_grad()
def squares(denoiser, t, n=4000, seed=0):
    """Loss, floor, what is left to learn, and the size of the exact noise, each a mean square, on n points at time t."""
    rng = seeded(1000 * seed + int(t))
    x0, _ = data.sample(n, rng)
    eps = randn_like(x0, rng)
    eps = eps / eps.square().mean().sqrt()  # its mean square is 1, exactly: that lowers the standard errors below
    x_t = process.add_noise(x0, int(t), eps)
    learned, best = denoiser(x_t, int(t)).eps, exact(x_t, int(t)).eps
    return [float(v.square().mean()) for v in (learned - eps, best - eps, learned - best, best)]


def at_every_t(rows):
    """Figures at `times`, a row each, as columns over t = 1 .. T."""
    return [torch.from_numpy(np.interp(np.arange(1, T + 1), times, column)) for column in np.array(rows).T]


loss, floor, left, size = at_every_t([squares(network, t) for t in times])
every_t = np.arange(1, T + 1)

fig, (a, b) = plt.subplots(1, 2, figsize=(11.5, 4.8))
a.plot(every_t, floor, color=BLUE, linewidth=7, alpha=0.45, label="floor, by the exact denoiser")
a.plot(every_t, loss, "--", color=RED, label="loss of the network")
a.plot(every_t, left, ":", color=GREEN, label="loss − floor: left to learn")
a.set(
    xscale="log", xlabel="time t", ylabel="mean square per coordinate", title="The loss lies on its floor", ylim=(-0.03, 1.05)
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
    alt="Left: over time, loss and floor fall together from 1 to 0, with a bump around t = 120, while their "
    "difference stays near 0. Right: the relative error falls from 80 per cent at t = 1, where the exact noise is"
    " nearly 0, to 1 per cent after t = 300.",
)

# %% [markdown]
# **Left:** at small $t$ the noise is small beside the spread of the data and cannot be told from it. The loss is near 1, and no
# network can do better. At large $t$ almost all of $x_t$ is noise, and the loss is near 0. The bump in between is where the
# spots begin to overlap: which of the eight did this point come from?
#
# **Right:** the error relative to the exact noise. At $t = 1$ the exact prediction is itself nearly 0, so that the ratio is
# large where the error is not. Over all $t$ it is small.
#
# How good is that? A figure needs something to compare it with. Our **null model** has not learned the spots: it is the best
# denoiser for a single Gaussian of the ring's variance, a straight line at each $t$.

# %%
linear = ExactDenoiser(GaussianMixture([1.0], torch.zeros(1, 2), [0.51**0.5]), process)  # the ring's variance is 1/2 + 0.1²


def measured(denoiser):
    """Of a denoiser, with three noises: its loss, the floor, by how much it is above, and its relative error."""
    runs = [[v.mean() for v in at_every_t([squares(denoiser, t, 2000, seed) for t in times])] for seed in range(3)]
    loss, floor, left, size = torch.tensor(runs).T
    noises = lambda values: estimate(values, runs="noises")
    return dict(
        loss=noises(loss), floor=noises(floor), above=noises(loss / floor - 1), error=noises((left / size).sqrt())
    )  # fmt: skip


of_network, of_linear = measured(network), measured(linear)
claim(
    "eps-loss-floor",
    "The loss does not go to 0: it goes to the floor E|ε − E[ε | x_t]|², which is known here, and comes within 1 % of it.",
    figures=of_network,
    measured="loss {loss:.3f}, floor {floor:.3f}, {above:.1%} above; relative error of the predicted noise {error:.1%} "
    "(one training)",
    holds=lambda above: above.below(0.01),
    null={"the best linear denoiser, which lacks the spots": of_linear},
)

# %% tags=["nbval-ignore-output"]
print(f"the network that you trained for twelve seconds: {measured(mine)['above']:.1%} above the floor")

# %% [markdown]
# ### A slip to put right: noise and score
#
# A slide says $\epsilon_\theta(x_t, t) \approx -\nabla_{x_t} \log q(x_t)$. A factor is missing there. Both point the same
# way, but
#
# $$\epsilon^*(x_t, t) = -\sqrt{1 - \bar\alpha_t}\;\nabla_{x_t} \log q(x_t).$$
#
# The noise has the same size at all times, while the score grows without end as $t \to 0$. Lesson 03 proves it; here are
# the figures.

# %%
for t in (1, 20, 200, 1000):
    x_t = process.add_noise(x0, t, randn_like(x0, rng)).double()
    score = data.noised(process.signal(t), process.noise(t)).score(x_t)
    ratio = float((exact(x_t, t).eps / -score).median())
    print(f"t = {t:4d}   noise / -score = {ratio:.3f}   sqrt(1 - alpha_bar) = {process.noise(t):.3f}")

# %% [markdown]
# ## Algorithm 2: sampling
#
# Start from noise. Go back one step at a time: remove a little of the predicted noise, and add a little fresh noise, because
# $q(x_{t-1} \mid x_t)$ is a Gaussian with some width and not a point.
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
# Mind the bars. One copy of this algorithm on the slides has $\sqrt{1 - \alpha_t}$ below the line; the bar is needed:
# $\sqrt{1 - \bar\alpha_t}$. The failure museum below shows what becomes of the ring without it.
#
# ### Exercise 2: how much noise to put back (difficulty 1, 5 minutes)
#
# One choice for $\sigma_t^2$ is the variance of $q(x_{t-1} \mid x_t, x_0)$ from lesson 01 (Ho et al., eq. 7):
#
# $$\tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t.$$
#
# `process.alpha_bar` and `process.beta` take one $t$ or a batch of them, and $\bar\alpha_0 = 1$, so that $t = 1$ needs no
# special care.


# %%
def my_posterior_variance(process, t):
    """The variance of q(x_{t-1} | x_t, x_0): one for each t."""
    ...  # write it here


verdict = check.posterior_variance(my_posterior_variance)
my_posterior_variance = verdict.function
verdict

# %%
check.solution("posterior_variance")

# %% [markdown]
# ### Exercise 3: one step back (difficulty 2, 8 minutes)
#
# Lines 3 and 4, with $\sigma_t^2 = \tilde\beta_t$. What is $\sigma_1$, and what does that make of line 3?


# %%
def my_ddpm_step(denoiser, x_t, t, z):
    """x_{t-1} (B, ...) from x_t, for one whole number t in 1..T and standard normal noise z."""
    ...  # write it here


verdict = check.ddpm_step(my_ddpm_step)
my_ddpm_step = verdict.function
verdict

# %%
check.solution("ddpm_step")

# %% [markdown]
# The library's `ddpm` is the same line in a loop. It yields a `Step` before each move, and so can be watched. It takes any
# falling row of times; `process.times(n)` gives n moves.
#
# ## Watch it
#
# 300 points, 100 moves. **Left** the points on their way, **middle** the predicted clean point of each, **right** the field
# that moves them. Play it, drag the slider, use the arrow keys. At first every arrow points to the middle of the ring: under
# that much noise, the mean of all that $x_0$ may be *is* the middle. Then the field splits into eight.

# %% tags=["nbval-ignore-output"]
from course_lib.samplers import ddpm
from course_lib.widgets.player import play

rng = seeded(2)
steps = list(ddpm(network, torch.randn(300, 2, generator=rng), process.times(100), rng))
play(steps, field=network, max_mb=0.35)

# %% [markdown]
# ## Is it the ring?
#
# Your step in a loop, all 1,000 times, on 2,000 points.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-samples-in-modes.outside",
    "A fresh point of the ring lies farther than three standard deviations from its spot in 1 of 100 cases. And a sample?",
    low=0,
    high=20,
    unit="%",
)

# %%
n, rng = 2000, seeded(3)
made = torch.randn(n, 2, generator=rng)
for t in range(T, 0, -1):
    made = my_ddpm_step(network, made, t, randn_like(made, rng))
real, _ = data.sample(10 * n, rng)

angle, radius = 2 * math.pi * torch.rand(n, generator=rng), 1 + 0.1 * torch.randn(n, generator=rng)
circle = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)  # right radius, right width, and no spots at all

fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.6), sharey=True)
for ax, (name, x) in zip(axes, {"Real": real[:n], "Sampled": made, "Null model: a circle": circle}.items()):
    plots.points(x, None, name, ax, size=9)
plots.show(
    fig,
    alt="Three scatter plots. Real and sampled look alike, eight round spots on a circle. The null model is a circle of even "
    "density, without spots.",
)

# %% [markdown]
# To say *how well* the ring is sampled we need a metric that sees spots. A common one is the sliced Wasserstein distance: how
# far points must be moved, on average over directions, to turn one set into the other. Its **noise floor** is the distance
# between two sets of real points. Does it see what the eye sees?


# %%
def over_floor(x):
    """The sliced Wasserstein distance of points x (n, 2) to the ring, in units of its noise floor."""
    n = len(x)
    distance = np.mean([metrics.sliced_wasserstein(x, part) for part in real.split(n)])
    return distance / metrics.floor(metrics.sliced_wasserstein, real, n, repeats=10)


def in_spots(x):
    """How many of the eight spots points x (n, 2) cover, and the share of points outside three standard deviations."""
    distance = (torch.cdist(x.double(), data.means) / data.stds).min(1).values
    return dict(covered=metrics.modes(x, data, within=3)[0], outside=share(distance > 3))


others = data.sample(n, seeded(10))[0]
for name, x in {"other real points": others, "samples": made, "circle": circle}.items():
    print(f"{name:>17}: distance {over_floor(x):.1f} times its floor, outside the spots {in_spots(x)['outside']:.1%}")

# %% [markdown]
# The distance hardly sees the spots: a circle without any is at less than twice the floor. So we count spots, and what lies
# outside them.

# %%
seven = data.means[torch.randint(7, (n,), generator=rng)] + 0.1 * torch.randn(n, 2, generator=rng)
claim(
    "eps-samples-in-modes",
    "Algorithm 2 with the learned noise samples the data: all eight spots, with fewer than 5 % of the points outside them.",
    figures=in_spots(made),
    measured="{covered} of 8 spots, {outside:.1%} of the points farther than three standard deviations from all of them",
    holds=lambda covered, outside: all_of(covered == 8, outside.below(0.05)),
    null={"a circle without spots": in_spots(circle), "seven of the eight spots": in_spots(seven)},
)

# %% [markdown]
# For real points the second figure is 1.1 % (it is $e^{-9/2}$): a few more of the sampled points lie between the spots.
#
# ## Where the loss comes from: the variational bound
#
# So far the loss looked like a good idea. Ho et al. derive it. For a model that goes back step by step, $p_\theta(x_{t-1} \mid
# x_t) = \mathcal{N}(\mu_\theta(x_t, t), \sigma_t^2 \mathbf{I})$, the likelihood of a picture has no closed form, but it has a
# bound (the negative **evidence lower bound**, eq. 5):
#
# $$-\log p_\theta(x_0) \;\le\; \mathbb{E}_q\Big[
#   \underbrace{D_{\mathrm{KL}}(q(x_T \mid x_0) \,\|\, p(x_T))}_{L_T}
#   + \sum_{t > 1} \underbrace{D_{\mathrm{KL}}(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t))}_{L_{t-1}}
#   \underbrace{- \log p_\theta(x_0 \mid x_1)}_{L_0} \Big].$$
#
# All are Gaussians, so each term is a squared distance of two means (eq. 8). Write both means with noises, and it becomes
# (eq. 12)
#
# $$L_{t-1} = \mathbb{E}\left[ w_t\, \|\epsilon - \epsilon_\theta(x_t, t)\|^2 \right] + \text{const}, \qquad
#   w_t = \frac{\beta_t^2}{2 \sigma_t^2\, \alpha_t\, (1 - \bar\alpha_t)}.$$
#
# Algorithm 1 leaves $w_t$ out: that is $L_\text{simple}$ (eq. 14). How much does that change? We take $\sigma_t^2 =
# \beta_t$, the other choice of the paper: the tighter one where data has some width, and it makes $L_0$ fit the same
# formula.


# %%
def bound_weight(process, t, sigma2):
    """What the bound multiplies |eps - eps_theta|^2 by, at each t."""
    return process.beta(t) ** 2 / (2 * sigma2 * process.alpha(t) * (1 - process.alpha_bar(t)))


t = torch.arange(1, T + 1)
weight = bound_weight(process, t, sigma2=process.beta(t))

fig, (a, b) = plt.subplots(1, 2, figsize=(11.5, 4.8))
a.plot(t, weight / weight.mean(), color=BLUE, label="the bound's $w_t$, over its mean")
a.axhline(1, color=RED, linestyle="--", label="the simple loss: 1")
a.set(xscale="log", yscale="log", xlabel="time t", ylabel="weight", title="What a squared error counts")
a.legend()
b.plot(t, (weight * loss).cumsum(0) / (weight * loss).sum(), color=BLUE, label="of the bound")
b.plot(t, loss.cumsum(0) / loss.sum(), "--", color=RED, label="of the simple loss")
b.set(xscale="log", xlabel="time t", ylabel="share up to t", title="Where it collects", ylim=(0, 1.02))
b.legend()
plots.show(
    fig,
    alt="Left: the bound's weights fall from 50 times their mean at t = 1 to once at t = 100 and half at t = 350; the"
    " simple loss weighs all alike. Right: half of the bound has been collected by t = 12, half of the simple "
    "loss by t = 170.",
)

# %% [markdown]
# Half of the bound is collected by $t = 12$, at noise too weak to be seen. The simple loss gives more weight to the times at
# which shapes are decided. Before we compare the two, one thing that the ring allows and no picture does: **is the bound
# tight?** The true value of $-\mathbb{E} \log q(x_0)$, the **entropy**, is known, and so is the bound of the optimal network.

# %%
width = my_posterior_variance(process, t) / process.beta(t)  # of the exact step, relative to beta_t: 0 at t = 1
gaps = 0.5 * (width - 1 - width.log())[1:].sum()  # what the KL terms hold beside the means
L_T = 0.5 * (process.alpha_bar(T) * (data.sample(10_000)[0].square().mean() - 1) - (1 - process.alpha_bar(T)).log())
constant = L_T + gaps + 0.5 * math.log(2 * math.pi * process.beta(1))


def bound(mean_square):
    """The bound on -log p(x_0), in nats per coordinate, of mean squares (T,) over t = 1 .. T."""
    return float(constant + (weight * mean_square).sum())


fresh = [-data.log_prob(data.sample(50_000, seeded(40 + k))[0]).mean() / data.dim for k in range(8)]
entropy = estimate(torch.stack(fresh), runs="sets of 50,000 points")
_, finer, _, _ = at_every_t([squares(exact, t, n=20_000) for t in times])  # the floor once more, with more points
_, _, left_by_linear, _ = at_every_t([squares(linear, t) for t in times])
of_exact, of_network, of_linear = bound(finer), bound(finer + left), bound(finer + left_by_linear)
claim(
    "eps-bound-tight",
    "The variational bound is nearly tight: that of the optimal network is at most 0.05 nats per coordinate above the entropy.",
    figures=dict(entropy=entropy, bound=of_exact),
    measured="entropy {entropy:.2f}, bound {bound:.2f} nats per coordinate",
    holds=lambda entropy, bound: entropy.above(bound - 0.05),
    null={"the best linear denoiser": dict(bound=of_linear)},
)

# %% [markdown]
# The trained network's bound is a little higher, by its own error:

# %%
print(f"bound of the network: {of_network:.2f} nats per coordinate")

# %% [markdown]
# ### Simple weights against the bound's
#
# Small networks, alike in all but the loss, trained for 600 and for 3,000 steps, eight trainings (seeds) each. They take too
# long for a notebook; `tests/benchmarks/loss_weights.py` trains them.
#
# - **simple**: $t$ uniform, weight 1. Algorithm 1.
# - **bound**: $t$ uniform, weight $w_t$ (scaled to mean 1). The bound itself.
# - **bound, by t**: weight 1, but $t$ drawn in proportion to $w_t$, which is **importance sampling** (Nichol and Dhariwal 2021
#   do so). It is a **control**: its expected loss is that of the second, with less variance. If it were the bound's weights
#   that harm, it would be as bad as the second.
#
# How much less variance? Here are both losses of the shipped network, on 300 batches.


# %%
@torch.no_grad()
def of_a_batch(by_weight, rng, n=512):
    """The bound's loss, scaled, of one batch of n: with t drawn by weight, or uniformly and multiplied by its weight."""
    x0, _ = data.sample(n, rng)
    t = 1 + torch.multinomial(weight, n, True, generator=rng) if by_weight else process.sample_t(n, rng)
    eps = randn_like(x0, rng)
    error = (network(process.add_noise(x0, t, eps), t).eps - eps).square().mean(1)
    return float((error if by_weight else weight[t - 1] / weight.mean() * error).mean())


rng = seeded(11)
for by_weight in (False, True):
    losses = torch.tensor([of_a_batch(by_weight, rng) for _ in range(300)])
    print(f"t {'by weight' if by_weight else 'uniform  '}: mean {losses.mean():.2f}, standard deviation {losses.std():.2f}")

# %% [markdown]
# Two things are measured after training: the **samples** (the share of points outside the spots), and the **likelihood** (nats
# per coordinate by which the bound lies above that of the exact denoiser). Arms are **paired** by their seed: training $i$ of
# each begins with the same weights and is sampled from the same noise. The null model is the simple loss beside itself: eight
# more trainings of it, with other seeds.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-simple-samples.verdict",
    "Does the simple loss give better samples than the bound with t drawn uniformly, after the same 3,000 steps?",
    choices=("yes", "no", "cannot be told apart"),
)

# %% tags=["nbval-ignore-output"]
predict(
    "eps-bound-likelihood.verdict",
    "And is the bound with t drawn by weight better than the simple loss at what it minimises, the bound?",
    choices=("yes", "no", "cannot be told apart"),
)

# %%
from course_lib.zoo import figures

runs = figures.load("loss_weights")
WAYS, BUDGETS = ("simple", "bound", "bound, by t"), (600, 3000)
of = lambda figure, way, steps=3000: figures.values(runs, figure, way=way, steps=steps)

fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.8))
names = {"outside the spots": "share of samples outside the spots", "nats above": "nats per coordinate above the optimum"}
for ax, (figure, name) in zip(axes, names.items()):
    for way, colour, marker in zip(WAYS, (RED, BLUE, GREEN), plots.MARKERS):
        made = [estimate(of(figure, way, steps)) for steps in BUDGETS]
        ax.errorbar(
            BUDGETS, [m.mean for m in made], [m.margin for m in made], marker=marker, ms=9, capsize=6, color=colour, label=way
        )
    ax.set(xlabel="training steps", title=name, ylim=(0, None), xlim=(300, 3300), xticks=BUDGETS)
axes[0].axhline(in_spots(circle)["outside"].mean, color="black", linestyle="--")
axes[1].legend()
plots.show(
    fig,
    alt="Two line plots over training steps, 600 and 3,000, for three losses, with error bars. Left: the share of samples "
    "outside the spots falls; bound with t uniform has the most at both, the other two are close together; a dashed line "
    "marks a circle without spots at 0.29. Right: nats above the optimum: bound with t drawn by weight has the fewest, bound "
    "with t uniform the most.",
)

# %%
arms = lambda figure, way, other: compare(of(figure, way), of(figure, other))
alone = {figure: arms(figure, "simple", "simple, again") for figure in names}  # what chance alone makes of a comparison
claim(
    "eps-simple-samples",
    "Training on the simple loss gives better samples than training on the bound with t drawn uniformly, at equal steps.",
    figures=dict(outside=arms("outside the spots", "simple", "bound")),
    measured="{outside:.1%} of the samples outside the spots, simple beside bound, 3,000 steps",
    holds=lambda outside: outside.lower,
    null={"the simple loss beside itself": dict(outside=alone["outside the spots"])},
)

# %%
claim(
    "eps-weights-alone",
    "It is the bound's weights that harm the samples: with t drawn by weight, too, they are worse than with the simple loss.",
    figures=dict(outside=arms("outside the spots", "bound, by t", "simple")),
    measured="{outside:.1%} of the samples outside the spots, bound with t drawn by weight beside simple, 3,000 steps",
    holds=lambda outside: outside.higher,
    null={"the simple loss beside itself": dict(outside=alone["outside the spots"])},
    expected=None,
)

# %%
claim(
    "eps-variance-alone",
    "The variance of the loss harms the samples: with t drawn by weight the bound gives better ones than with t uniform.",
    figures=dict(outside=arms("outside the spots", "bound, by t", "bound")),
    measured="{outside:.1%} of the samples outside the spots, t drawn by weight beside t drawn uniformly, 3,000 steps",
    holds=lambda outside: outside.lower,
    null={"the simple loss beside itself": dict(outside=alone["outside the spots"])},
)

# %%
by_weight = arms("nats above", "bound, by t", "simple")
claim(
    "eps-bound-likelihood-uniform",
    "Training on the bound, with t drawn uniformly, gives a better likelihood than training on the simple loss.",
    figures=dict(nats=arms("nats above", "bound", "simple")),
    measured="{nats:.3f} nats per coordinate above the optimum, bound beside simple, 3,000 steps",
    holds=lambda nats: nats.lower,
    null={"the simple loss beside itself": dict(nats=alone["nats above"])},
    control={"the bound with t drawn by weight": dict(nats=by_weight)},
    expected=False,
)

# %%
claim(
    "eps-bound-likelihood",
    "Training on the bound, with t drawn in proportion to its weights, gives a better likelihood than the simple loss.",
    figures=dict(nats=by_weight),
    measured="{nats:.3f} nats per coordinate above the optimum, bound with t drawn by weight beside simple, 3,000 steps",
    holds=lambda nats: nats.lower,
    null={"the simple loss beside itself": dict(nats=alone["nats above"])},
)

# %% [markdown]
# A verdict needs more than a difference. It must exceed its own standard error several times: 2.4 times for eight trainings
# (Student's t), so that equal arms are told apart in only 5 of 100 comparisons.
#
# Ho et al. report two of these (Tables 1 and 2, CIFAR10): the simple loss gives far better pictures (Frechet distance 3.17
# against 13.51), the bound a slightly shorter code (3.70 against 3.75 bits per dimension). With uniform $t$ the second does not
# hold here.
#
# **Why is the bound with uniform $t$ worse, even for the bound?** One point in a hundred carries nearly half of it, so its
# gradient has a high variance, and 3,000 steps are too few to average that out; Ho et al. trained for 800,000. The control
# supports this. The same expected loss with another draw of $t$ gives the better likelihood, and better samples
# ({{eps-variance-alone.outside}} outside the spots). Are these worse than those of the simple loss? After eight trainings:
# {{eps-weights-alone.verdict}}. So on the ring the variance harms; that the weights harm is not shown.
#
# ## The predicted clean picture: a progressive decoder
#
# A predicted noise is also a predicted clean picture: rearrange $x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t}\,
# \epsilon$ (eq. 15):
#
# $$\hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \epsilon_\theta(x_t, t)}{\sqrt{\bar\alpha_t}}.$$
#
# Send someone $x_T$, then what is needed to go to $x_{T-1}$, and so on: at any time they can stop and look at $\hat x_0$.
# That is progressive compression. Large shapes come first, details last. Here are held-out digits, and the shipped digit
# network of lesson 00.

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
    clean = [model(x_t, t).x0 for x_t, t in zip(noisy, moments)]
rows = [torch.stack([step[i] for step in steps]) for i in range(3) for steps in (noisy, clean)]
fig = plots.pictures(
    torch.cat(rows),
    columns=len(moments),
    title="$x_t$ and, below it, the prediction $\\hat x_0$, from t = 1000 to t = 100",
    scale=0.07,
)
plots.show(
    fig, alt="Three digits. Above each, noise that thins out from left to right; below, a grey blur that becomes the digit."
)

# %% [markdown]
# The **rate** of a step is its term of the bound, the bits that it costs to send. The **distortion** is the error of
# $\hat x_0$. The last term, $L_0$, is what it costs to send the rest, in 256 grey levels (eq. 13).

# %% tags=["nbval-ignore-output"]
predict(
    "eps-imperceptible-bits.unseen",
    "Which share of all bits describes differences of less than one grey level of 255?",
    low=0,
    high=100,
    unit="%",
)

# %%
train_pictures, pictures = digits.load("train")[0], pictures[:100]
at = torch.unique(torch.logspace(0, 3, 28).round().long())
normal = torch.distributions.Normal(0.0, 1.0)


@torch.no_grad()
def code(model, seed):
    """The code of the pictures: bits per pixel sent before each of the times `at`, the error by then, and the bits of L_0."""
    rng, errors, distortion = seeded(seed), [], []
    for t in at.tolist():
        eps = randn_like(pictures, rng)
        pred = model(chain.add_noise(pictures, t, eps), t)
        errors.append(float((pred.eps - eps).square().mean()))
        distortion.append(float((pred.x0.clamp(-1, 1) - pictures).square().mean().sqrt()) * 127.5)  # of 255 grey levels
        if t == 1:  # the mean of p(x_0 | x_1) is the predicted x_0, its variance beta_1
            off, sigma = pictures - pred.x0, float(chain.beta(1)) ** 0.5
            above = torch.where(pictures == 1, 1.0, normal.cdf((off + 1 / 255) / sigma))
            below = torch.where(pictures == -1, 0.0, normal.cdf((off - 1 / 255) / sigma))
            last = float(-(above - below).clamp(min=1e-12).log2().mean())
    t = torch.arange(2, chain.T + 1)
    sigma2 = my_posterior_variance(chain, t)  # the tighter choice where pixels hardly vary
    bits = bound_weight(chain, t, sigma2) * torch.from_numpy(np.interp(t, at, errors)) / math.log(2)
    return bits.flip(0).cumsum(0).flip(0)[at.clamp(min=2) - 2].numpy(), np.array(distortion), last


def unseen(codes, limit=0.95):
    """Of several codes: the share of bits, in %, sent after the error has fallen to `limit` grey levels, and all bits."""
    total = [rate.max() + last for rate, _, last in codes]
    seen = [np.interp(-limit, -distortion[::-1], rate[::-1]) for rate, distortion, _ in codes]
    return dict(
        unseen=estimate([1 - a / b for a, b in zip(seen, total)], runs="noises"), bits=estimate(total, runs="noises")
    )  # fmt: skip


mean_pixel, variance = train_pictures.mean(0), train_pictures.var(0).clamp(min=1e-6)


def independent(x_t, t):
    """The prediction of a model without shapes: each pixel is a Gaussian of its own mean and variance."""
    a, b = chain.coefficients(t, x_t)
    return Prediction(x_t, a, b, "x0", mean_pixel + a * variance / (a**2 * variance + b**2) * (x_t - a * mean_pixel))


codes = [code(model, seed) for seed in range(3)]
rate, distortion, _ = codes[0]

fig, (a, b) = plt.subplots(1, 2, figsize=(11.5, 4.6))
a.plot(at, distortion, "o-", color=BLUE)
a.set(
    xlabel="time t (sending goes from right to left)",
    ylabel="error, in grey levels of 255",
    title="Distortion over time",
)
b.plot(rate, distortion, "o-", color=BLUE)
b.axhline(0.95, color=RED, linestyle="--")
b.text(rate.max(), 1.5, "0.95 grey levels", color=RED, ha="right", va="bottom")
b.set(xlabel="bits per pixel, sent so far", ylabel="error, in grey levels of 255", title="Distortion over rate", ylim=(0, None))
plots.show(
    fig,
    alt="Left: the error of the predicted picture falls steadily from 50 grey levels at t = 1000 to 0 at t = 1. Right: over "
    "the bits sent, it falls steeply at first and then slowly to 0.",
)

# %%
claim(
    "eps-imperceptible-bits",
    "More than half of the bits of the whole code describe differences that the eye does not see: less than 0.95 grey levels.",
    figures=unseen(codes),
    measured="{unseen:.1%} of {bits:.2f} bits per pixel, on 100 held-out digits",
    holds=lambda unseen: unseen.above(0.5),
    null={"a model of independent pixels": unseen([code(independent, seed) for seed in range(3)])},
)

# %% [markdown]
# Ho et al. found the same on 32 × 32 photographs: more than half of the code describes errors of 0.95 grey levels and less
# (section 4.3; the limit is theirs). A training on the bound spends most of its gradient on these bits. The simple loss gives
# them less weight. Now watch sixteen predictions become sharp, in the middle panel.

# %% tags=["nbval-ignore-output"]
rng = seeded(5)
wanted = models.load("digits").given(torch.arange(16) % 10)
play(list(ddpm(wanted, torch.randn(16, 1, 16, 16, generator=rng), chain.times(50), rng)), max_mb=0.3)

# %% [markdown]
# ## Failure museum
#
# Two mistakes of a few characters each, in exercise 3. The denoiser is exact, so there is no other cause. Both are hard to
# see, which is how they survive in real code.


# %%
from functools import partial


def step(denoiser, x_t, t, z, noise_at_the_last=False, lost_bar=False):
    """Exercise 3, right or wrong."""
    alpha, alpha_bar, before = (denoiser.process.alpha(t), *denoiser.process.alpha_bar(torch.tensor([t, t - 1])))
    sigma2 = (1 - alpha) * (1 if noise_at_the_last else (1 - before) / (1 - alpha_bar))  # beta_t is a fine choice, for t > 1
    variance = 1 - (alpha if lost_bar else alpha_bar)
    return (x_t - (1 - alpha) / variance.sqrt() * denoiser(x_t, t).eps) / alpha.sqrt() + sigma2.sqrt() * z


museum = {
    "right": step,
    "noise at the last step": partial(step, noise_at_the_last=True),
    "a lost bar": partial(step, lost_bar=True),
}


def spread(x):
    """The standard deviation of points around the nearest of the eight means: 0.10 on the ring itself."""
    return float((torch.cdist(x.double(), data.means).min(1).values.square().mean() / 2).sqrt())


fig, axes = plt.subplots(2, 3, figsize=(11.5, 8.4), sharex=True, sharey=True)
for row, n in zip(axes, (1000, 50)):
    exact_in_n_steps = ExactDenoiser(data, DDPM(linear_beta(n)))
    for ax, name in zip(row, museum):
        rng = seeded(6)
        x = torch.randn(1500, 2, generator=rng)
        for t in range(n, 0, -1):
            x = museum[name](exact_in_n_steps, x, t, randn_like(x, rng))
        plots.points(x, None, f"{name}\nT = {n}, spread {spread(x):.2f}", ax, size=9, reach=1.5)
        ax.set(xlabel="", ylabel="")
for name, wrong in museum.items():
    print(f"{name}: {check.ddpm_step(wrong).diagnosis or 'the check finds nothing'}")
plots.show(
    fig,
    alt="Six scatter plots of eight spots on a ring, for 1,000 steps and for 50. Right: spread 0.10 and 0.09. Noise "
    "at the last step: 0.10 and 0.13, visibly wider for 50 steps. A lost bar: 0.05 and 0.07, spots too tight.",
)

# %% [markdown]
# **Noise at the last step** widens every spot by $\sqrt{\beta_1}$. With 1,000 steps that is 0.01, and nobody notices; with
# 50 it is grain on every picture. **The lost bar** takes too much noise away at each step. The samples look clean, cleaner
# than the data, and that is the trouble: half of their variety is gone. The eye likes it; the check does not.
#
# ## What was shown
#
# - A loss that compares noises has a floor, $\mathbb{E}\|\epsilon - \mathbb{E}[\epsilon \mid x_t]\|^2$: on the ring
#   {{eps-loss-floor.floor.mean}}. The network's loss is {{eps-loss-floor.above.mean}} above it, and the relative error of its
#   noise {{eps-loss-floor.error.mean}}.
# - Algorithm 2 with that network samples all {{eps-samples-in-modes.covered}} spots, with
#   {{eps-samples-in-modes.outside}} of the points outside them. A distance that a circle without spots nearly passes does not
#   show this.
# - The loss is a variational bound without its weights. With the right variance that bound is tight: entropy
#   {{eps-bound-tight.entropy.mean}}, bound {{eps-bound-tight.bound}} nats per coordinate.
# - Training on the bound with uniform $t$ gives worse samples after the same steps ({{eps-simple-samples.outside}} outside the
#   spots, simple beside bound), and a worse bound. With $t$ drawn by weight it gives the better bound; whether its samples are
#   worse: {{eps-weights-alone.verdict}}.
# - {{eps-imperceptible-bits.unseen}} of the bits of a digit's code describe less than one grey level.

# %% tags=["nbval-ignore-output"]
guesses(
    "eps-loss-floor.floor",
    "eps-samples-in-modes.outside",
    "eps-simple-samples.verdict",
    "eps-bound-likelihood.verdict",
    "eps-imperceptible-bits.unseen",
)

# %% [markdown]
# **At full size** the two algorithms stay as you wrote them. Ho et al. trained 36 million parameters for 800,000 steps of 128
# pictures on CIFAR10, and 114 million on 256 × 256 pictures; samples are made with a running average of the weights (rate
# 0.9999). $T$ is 1,000 and $\beta_t$ runs from $10^{-4}$ to 0.02, as here.
#
# **Think about it**
#
# 1. Without looking at the data, how could you tell whether such a loss is good? What would you measure on real
#    pictures, whose floor nobody knows?
# 2. At $t = T$ the optimal prediction of $x_0$ is the mean of all data, a grey blur. Why does the chain not end in that blur?
#
# **Next:** lesson 03 reads the same network as a *score*, the slope of $\log q(x_t)$, and samples with it by walking
# uphill.
