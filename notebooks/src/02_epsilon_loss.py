# %% [markdown]
# # 02 The epsilon loss: how a diffusion model is trained and sampled
#
# **You will be able to** write the whole training loop and the whole sampling loop of a diffusion model. You can measure how
# far a network is from the best prediction, and convert between the five things that it may predict.
#
# **Time** 60 minutes, 12 of them for an optional second part. **Needs** lesson 01 ($\bar\alpha_t$, `add_noise`, the
# posterior). **Papers** Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models* (2020); Tim Salimans,
# Jonathan Ho: *Progressive Distillation for Fast Sampling of Diffusion Models* (2022), for $v$.

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("02")

# %% [markdown]
# ## The data: a ring with known density
#
# Eight small Gaussians lie on a circle. For such data the best prediction of the noise has a closed form, and `ExactDenoiser`
# computes it. So a network can be measured against it.

# %%
import matplotlib.pyplot as plt
import torch
from course_lib import metrics, plots
from course_lib.datasets.points import circle, ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.mixtures import GaussianMixture
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
    x_t = process.add_noise(x0, t, randn_like(x0, rng))
    plots.points(x_t, component % 2, f"t = {t}", ax, reach=2.4, size=12)
plots.show(
    fig,
    alt="Four scatter plots, at t = 0, 50, 200 and 1000, two colours in turn: eight spots, "
    "blurred spots, one cloud, a larger round cloud.",
)

# %% [markdown]
# ## Algorithm 1: training
#
# Draw data, times and noise, and mix data and noise. The network predicts the noise. Its mean squared error is the **epsilon
# loss**, also called the *simple loss*.
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
    """The loss at each of the steps, (steps,); the weights of the network have moved."""
    ...  # write it here


verdict = check.training_loop(my_training_loop)
my_training_loop = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("training_loop")

# %% [markdown]
# Your loop now trains a small network on the ring. A network that always outputs 0 would have a loss of 1, the variance of the
# noise.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-loss-floor.floor",
    "How low can the loss on the ring get, on average over t?",
    low=0,
    high=1,
)

# %% [markdown]
# A hook keeps an **exponential moving average** (EMA) of the weights. After each step it moves towards the new ones: far at
# first, so that the random start soon counts little, and by 1 % from about step 890 on. Samples are drawn with it.

# %% tags=["nbval-ignore-output"]
from course_lib.nets.mlp import MLP
from course_lib.training import EMA

torch.manual_seed(0)
net = MLP(dim=2, width=48, depth=2)
optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, fused=True)
average = EMA(net, 0.99)
optimizer.register_step_post_hook(lambda *_: average.update())
draw = lambda rng: data.sample(512, rng)[0]
losses = my_training_loop(Network(net, process), draw, optimizer, 1200, seeded(0))
mine = Network(average.net, process)

fig, ax = plt.subplots(figsize=(9.5, 4))
ax.plot(losses, color=BLUE, linewidth=1)
ax.set(xlabel="training step", ylabel="loss", ylim=(0, 1.1))
ax.set_title("The loss of your training loop")
plots.show(
    fig,
    alt="A line plot of the loss over 1,200 steps: it falls from 0.8 to about 0.2 in 50 steps "
    "and stays there.",
)

# %% [markdown]
# The loss stays far above zero. Is that bad?
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
# (All these mean squares are per coordinate: divided by the number of coordinates, here 2.)
#
# The **floor of the loss** is what the best prediction reaches. We measure all three at every noise level, for the shipped
# network `models.load("ring")`. It has 75,000 parameters and was trained longer than yours.

# %%
network = models.load("ring")
# The best linear denoiser: that of one Gaussian with the ring's variance, 1/2 + 0.1².
linear = ExactDenoiser(GaussianMixture([1.0], torch.zeros(1, 2), [0.51**0.5]), process)
every_t = torch.arange(1, T + 1)
points = (5000 // every_t).clamp(min=100)  # at each t: few times share a bin at small t


@torch.no_grad()
def squares(denoisers, seed):
    """Mean squares at each t: of the floor, of ε*, then each denoiser's loss and error."""
    rng, t = seeded(seed), every_t.repeat_interleave(points)
    x0, _ = data.sample(len(t), rng)
    eps = randn_like(x0, rng)
    x_t = process.add_noise(x0, t, eps)
    best = exact(x_t, t).eps
    found = [best - eps, best]
    for denoiser in denoisers:
        eps_theta = denoiser(x_t, t).eps
        found += [eps_theta - eps, eps_theta - best]
    sums = [torch.bincount(t - 1, v.square().mean(1)) for v in found]
    return torch.stack(sums) / points  # (figures, T)


curves = torch.stack([squares((network, linear, mine), seed) for seed in range(3)])
bins = (16 * every_t.log10()).long()  # a point of a plot is a mean over times within 15 %
binned = lambda y: torch.stack([y[..., bins == k].mean(-1) for k in bins.unique()], -1)
times = binned(every_t.double())
floor, size, loss, error = binned(curves.mean(0)[:4])

fig, (a, b) = plt.subplots(1, 2, figsize=(11.5, 4.8))
a.plot(times, floor, color=BLUE, lw=7, alpha=0.45, label="floor, by the exact denoiser")
a.plot(times, loss, "--", color=RED, label="loss of the network")
a.plot(times, error, ":", color=GREEN, label="error of the network")
a.set(xscale="log", xlabel="time t", ylabel="mean square per coordinate")
a.set(title="The loss lies on its floor", ylim=(-0.03, 1.05))
a.legend(loc="center left", bbox_to_anchor=(0, 0.3))
b.plot(times, 100 * (error / size).sqrt(), color=RED)
b.set(
    xscale="log",
    xlabel="time t",
    ylabel=r"$|\epsilon_\theta - \epsilon^*|\ /\ |\epsilon^*|$, in %",
)
b.set(title="Relative error of the network", ylim=(0, None))
print(f"t = 1, root mean squares: ε* {size[0] ** 0.5:.2f}, error {error[0] ** 0.5:.2f}")
plots.show(
    fig,
    alt="Two line plots over time t, logarithmic. Left: loss and floor fall together from 1 "
    "to 0, with a bump around t = 120; the error stays near 0. Right: the relative error "
    "falls from about 80 per cent at t = 1 to 1 per cent after t = 300.",
)

# %% [markdown]
# **Left:** at small $t$ the noise is small beside the spots' own width and cannot be told from it. The floor is near 1. At
# large $t$ almost all of $x_t$ is noise, and the floor is near 0. The bump is where the spots begin to overlap. (The small
# zigzags are chance.)
#
# **Right:** at $t = 1$ the relative error is about 80 %, but $\epsilon^*$ and the error are both small there. The claim below
# gives one figure for all $t$: the mean squared error over the mean square of $\epsilon^*$, and the root of that.


# %%
def measured(i):
    """The claim's figures for the i-th denoiser, with three noises."""
    floor, size, loss, error = curves.mean(2)[:, [0, 1, 2 + 2 * i, 3 + 2 * i]].T
    found = dict(floor=floor, loss=loss, above=loss / floor - 1, error=(error / size).sqrt())
    trained = "no training" if i == 1 else "one training"
    return {k: estimate(v, "noises") for k, v in found.items()} | dict(trained=trained)


claim(
    "eps-loss-floor",
    "On the eight spots the loss of the shipped network ends within 1 % of the floor "
    "E|ε − E[ε | x_t]|², which is known here and is not 0.",
    figures=measured(0),
    measured="loss {loss:.3f}, floor {floor:.3f}, {above:.1%} above; "
    "relative error of the predicted noise {error:.1%} ({trained})",
    holds=lambda above: above.below(0.01),
    null={"the best linear denoiser, which lacks the spots": measured(1)},
)

# %% [markdown]
# Here and in all lessons "±" is one standard error. A verdict ("holds") needs a larger margin, so that a true difference of 0
# is taken for a real one in only 5 % of cases. The margin is the standard error times the 97.5 % quantile of Student's t:
# about 2 for many runs, 2.8 for five, 4.3 for three. A bar in a plot is that margin.
#
# ## Five views of one prediction
#
# Given $x_t = a\,x_0 + b\,\epsilon$, with signal $a = \sqrt{\bar\alpha_t}$ and noise $b = \sqrt{1 - \bar\alpha_t}$, one
# unknown decides the other. So a predicted noise is also a predicted picture, and more. Five **parameterisations** are in use:
#
# | parameterisation | target | $\hat x_0$ from it | $\hat\epsilon$ from it |
# |---|---|---|---|
# | **eps-prediction**: the noise | $\epsilon$ | $(x_t - b\,\hat\epsilon) / a$ | $\hat\epsilon$ |
# | **x0-prediction**: the clean picture | $x_0$ | $\hat x_0$ | $(x_t - a\,\hat x_0) / b$ |
# | **v-prediction** | $v = a\,\epsilon - b\,x_0$ | exercise 2 | exercise 2 |
# | **score**: the gradient of the log density | $-\epsilon / b$ | $(x_t + b^2 \hat s) / a$ | $-b\,\hat s$ |
# | **velocity** of the straight path | $\epsilon - x_0$ | $(x_t - b\,\hat u) / (a + b)$ | $(x_t + a\,\hat u) / (a + b)$ |
#
# $\hat s$ and $\hat u$ are the predicted score and velocity. The target of the score is the score of $q(x_t \mid x_0)$. For $v$
# use $a^2 + b^2 = 1$. In the library a `Prediction` is all five: `.eps`, `.x0`, `.v`, `.score`, `.flow` (the velocity, lesson
# 16).
#
# **Why $v$?** An error in $\hat\epsilon$ is multiplied by $b/a$ in $\hat x_0$, which explodes as $t \to T$. An error in $\hat
# x_0$ is multiplied by $a/b$ in $\hat\epsilon$, which explodes as $t \to 0$. An error in $\hat v$ is multiplied by $b$ or by
# $a$: never by more than 1 (Salimans and Ho 2022, section 4).
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
# Lesson 00's network predicts $v$. Your function now makes pictures of that, for three held-out digits with more and less
# noise.

# %%
from course_lib.datasets import digits
from course_lib.denoisers import NULL

model = models.load("digits").given(NULL)  # NULL: without a class
pictures, labels = digits.load("held_out")
shown, rng = torch.stack([pictures[labels == c][2] for c in (2, 5, 8)]), seeded(0)
moments = [1000, 800, 600, 500, 400, 300, 200, 100]
noise, steps = randn_like(shown, rng), []
with torch.no_grad():
    for t in moments:
        x_t = model.process.add_noise(shown, t, noise)
        predicted, _ = my_from_v(x_t, model(x_t, t).v, *model.process.coefficients(t, x_t))
        steps.append(torch.stack([x_t, predicted], 1))
fig = plots.pictures(
    torch.stack(steps, 2).flatten(0, 2),
    columns=[f"t = {t}" for t in moments],
    rows=["$x_t$", "$\\hat x_0$"] * 3,
    scale=0.075,
)
plots.show(
    fig,
    alt="A grid of three digits, each in two rows from t = 1000 to t = 100. Above, noise that "
    "thins out from left to right; below, a grey blur that becomes the digit.",
)

# %% [markdown]
# The best prediction of $x_0$ is the mean of all pictures that may have led to $x_t$, each weighted by its probability. That
# is a blur at $t = T$, and one digit at the end.
#
# ### The target and the best prediction have different sizes
#
# The **target** belongs to one pair $(x_0, \epsilon)$: it comes from the conditional $q(x_t \mid x_0)$. The **best prediction**
# is its mean over all pairs that lead to $x_t$: it belongs to the marginal $q(x_t)$. Their sizes on the ring:
# (The last point is one time with few points: its dip below 1 is chance.)

# %%
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.6))
for ax, name, scale in zip(axes, ("noise", "score"), (1, binned(1 / process.noise(every_t)))):
    ax.plot(
        times, scale * torch.ones(len(times)), "--", color=RED, label="target, given $x_0$"
    )
    ax.plot(times, scale * size.sqrt(), color=BLUE, label="best prediction, given $x_t$")
    ax.set(xscale="log", yscale="log", xlabel="time t", title=f"Size of the {name}")
axes[0].set_ylabel("root mean square")
axes[1].legend()
plots.show(
    fig,
    alt="Two log-log line plots over time. Left, the noise: the target stays at 1, the best "
    "prediction rises from 0.1 to 0.7 at t = 45, dips at t = 120, and reaches 1. Right, the "
    "score: the target falls from 100 to 1, the best prediction from 10 to 1.",
)

# %% [markdown]
# Given $x_0$, the noise has size 1 at all times, and the score $-\epsilon / b$ grows without bound as $t \to 0$. That is the
# **conditional**. The **marginal** of the ring is smooth: its score stops growing, and the best prediction of the noise
# shrinks with $b$. A network is trained towards the best prediction. For the noise that is the marginal score times a factor:
#
# $$\epsilon^*(x_t, t) = -\sqrt{1 - \bar\alpha_t}\;\nabla_{x_t} \log q(x_t).$$
#
# Lesson 03 proves this.
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
# Line 4 without $\sigma_t z$ is the mean of lesson 01's posterior, with the predicted $\hat x_0$ in place of $x_0$ (eq. 11).
#
# ### Exercise 3: the sampling loop (difficulty 2, 10 minutes)
#
# Write lines 2 to 6. Take $\sigma_t^2 = \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t$, the variance
# of lesson 01's posterior. `process = denoiser.process` has `T`, `alpha(t)`, `beta(t)` and `alpha_bar(t)`, and $\bar\alpha_0 =
# 1$. The predicted noise is `denoiser(x, t).eps`, with $t$ an integer. What is $\sigma_1$, and what does that make of line 3?
# Draw $z$ by `randn_like(x, rng)`.


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
# <details><summary>Answer</summary>
#
# $\bar\alpha_0 = 1$, so $\sigma_1 = 0$: the last $z$ is multiplied by 0, and line 3 needs no `if`.
#
# </details>
#
# ## Are the samples right?
#
# Your loop now samples with both networks, over all 1,000 times.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-samples-in-modes.outside",
    "Of fresh points of the ring 1 in 100 lies farther than three standard deviations from "
    "all spots. And of the shipped network's samples?",
    low=0,
    high=20,
    unit="%",
)

# %% [markdown]
# Three things can be wrong: points outside the spots, the spots' width (the standard deviation around the nearest mean), and
# their shares. The claim allows 5 % outside. The width may be wrong by a fifth: of a spot a fifth too wide 4.4 % lie outside.
# A share may be wrong by a half: of 2,000 points a spot gets 250 ± 15, so a larger error is not chance.

# %% tags=["nbval-ignore-output"]
n, rng = 2000, seeded(3)
made = my_sampling_loop(network, torch.randn(n, 2, generator=rng), rng)
yours = my_sampling_loop(mine, torch.randn(750, 2, generator=rng), rng)
best = my_sampling_loop(exact, torch.randn(n, 2, generator=rng), rng)
(real, spot), around = data.sample(n, seeded(10)), circle(n, rng=seeded(11))
crowded = GaussianMixture([0.82] + [0.18 / 7] * 7, data.means, data.stds).sample(n, seeded(12))


def spread(x):
    """The standard deviation of points around the nearest of the eight means."""
    nearest = torch.cdist(x.double(), data.means).min(1).values
    return float((nearest.square().mean() / 2).sqrt())


def in_spots(x, trained="no training"):
    """Of points x (n, 2): the share outside the spots, the width, the extreme shares of spots."""
    nearest = torch.cdist(x.double(), data.means).argmin(1)
    shares = 8 * torch.bincount(nearest, minlength=8) / len(x)
    outside = [metrics.modes(part, data, within=3)[1] for part in x.split(250)]
    return dict(
        outside=estimate(outside, "sets of 250 points"),
        width=estimate([spread(part) for part in x.split(250)], "sets of 250 points"),
        least=float(shares.min()),
        most=float(shares.max()),
        trained=trained,
    )


shown = {
    "Real": real,
    "Your network": yours,
    "Shipped network": made,
    "Null: a circle": around,
}
fig, axes = plt.subplots(1, 4, figsize=(11.5, 4.0), sharey=True)
for ax, (name, x) in zip(axes, shown.items()):
    title = f"{name}\n{in_spots(x)['outside'].mean:.0%} outside"
    plots.points(x[:750], None, title, ax, size=7, reach=1.6)
for name, i, x in (("yours", 2, yours), ("shipped", 0, made)):
    above, outside = measured(i)["above"].mean, in_spots(x)["outside"]
    print(
        f"{name}: loss {100 * above:.1f} % above its floor, {outside:.1%} of samples outside"
    )
print(f"the exact denoiser, by the same loop: {in_spots(best)['outside']:.1%} outside")
plots.show(
    fig,
    alt="Four scatter plots. Real: eight round spots on a circle. Your network: eight spots "
    "joined by many points between them. Shipped network: eight spots, with a few points "
    "between them. The null model: a circle of even density, without spots.",
)

# %%
claim(
    "eps-samples-in-modes",
    "Algorithm 2 with the shipped network reaches all eight spots: fewer than 5 % of the "
    "points lie outside, the width is right to within a fifth, each share to within a half.",
    figures=in_spots(made, "one training"),
    measured="{outside:.1%} of the points farther than three standard deviations from all spots; "
    "width {width:.3f}; shares {least:.2f} to {most:.2f} times the expected ({trained})",
    holds=lambda outside, width, least, most: all_of(
        outside.below(0.05), width.within(0.08, 0.12), least > 0.5, most < 1.5
    ),
    null={
        "a circle without spots": in_spots(around),
        "82 % in one spot": in_spots(crowded[0]),
        "spots half as wide": in_spots((real + data.means[spot]) / 2),
    },
)

# %% [markdown]
# For real points the share outside is 1.1 % (it is $e^{-9/2}$). The second null model fails by its shares alone, the third by
# its width.
#
# **A small excess over the floor can go with a visible error of the samples.** Your network's loss is only a few per cent
# above the floor. Yet the share of its samples that lies outside is about half of the circle's. With the exact denoiser the
# same loop leaves no more outside than among real points. So the points outside are the network's error, not the loop's. (The
# loop has an error of its own: with the exact denoiser the spots end too narrow, see the failure museum. The network's error
# widens them, and the two partly cancel in the width.) The floor is the larger part of the loss, and it says nothing about the
# network.
#
# ### Watch the loop
#
# The library's `ddpm` is your loop over any falling row of times, and yields each step. Here are 300 points in 100 steps. Play
# it, or drag the slider.
#
# - **Left**: the points $x_t$, and in grey their paths. Six points and their paths have colours.
# - **Middle**: the predicted $x_0$. A coloured line joins each of the six points to its own predicted $x_0$.
# - **Right**: the points, and as arrows minus the predicted noise, on a grid.
# - **Below**: $\bar\alpha_t$ at each step. The orange mark is the step shown.
#
# At first every arrow points to the middle of the ring: at $t = T$ the mean of all possible $x_0$ *is* the middle. Then they
# split towards the eight spots. (At first the predicted $x_0$ are scattered: the network's small error is multiplied by the
# ratio of noise to signal, which is large there.)
#
# <!-- Ask: Where do the arrows point at t = T, and why there? -->

# %% tags=["nbval-ignore-output"]
from course_lib.samplers import ddpm
from course_lib.widgets.player import play

rng = seeded(2)
steps = list(ddpm(network, torch.randn(300, 2, generator=rng), process.times(100), rng))
play(steps, field=network, max_mb=0.35)

# %% [markdown]
# ## Failure museum
#
# Two mistakes of a few characters in the sampling loop, each beside the right loop with the same steps and the same noise. The
# denoiser is exact. Under each name stands the width of the spots, of three noises. On the ring itself it is 0.100.


# %%
def loop(denoiser, x, rng, noise_at_the_last=False, lost_bar=False):
    """Exercise 3, with or without one of two mistakes."""
    process = denoiser.process
    for t in range(process.T, 0, -1):
        alpha, bar, before = process.alpha(t), process.alpha_bar(t), process.alpha_bar(t - 1)
        sigma2 = (1 - alpha) * (1 - before) / (1 - bar)
        if noise_at_the_last and t == 1:
            sigma2 = 1 - alpha  # beta_1, where 0 belongs
        scale = (1 - (alpha if lost_bar else bar)).sqrt()
        x = (x - (1 - alpha) / scale * denoiser(x, t).eps) / alpha.sqrt()
        x = x + sigma2.sqrt() * randn_like(x, rng)
    return x


museum = (
    ("right", 25, {}),
    ("noise at the last step", 25, {"noise_at_the_last": True}),
    ("right", 1000, {}),
    ("a lost bar", 1000, {"lost_bar": True}),
)
fig, axes = plt.subplots(1, 4, figsize=(11.5, 4.2), sharey=True)
for ax, (name, steps, mistake) in zip(axes, museum):
    rng, denoiser = seeded(6), ExactDenoiser(data, DDPM(linear_beta(steps)))
    x = loop(denoiser, torch.randn(3 * 600, 2, generator=rng), rng, **mistake)
    each = estimate([spread(part) for part in x.split(600)], "noises")
    plots.points(x, None, f"{name}\nT = {steps:,}\n{each:.3f}", ax, size=9, reach=1.5)
    if mistake:
        verdict = check.sampling_loop(lambda *given, mistake=mistake: loop(*given, **mistake))
        print(f"{name}: {verdict.diagnosis}")
plots.show(
    fig,
    alt="Four scatter plots of eight spots on a ring, with their spread. In 25 steps: right "
    "0.103, with noise at the last step 0.119. In 1,000 steps: right 0.094, with a lost bar "
    "0.044, spots less than half as wide.",
)

# %% [markdown]
# **Noise at the last step** adds a variance of $\beta_1$ to every spot. At $T = 25$ that is a standard deviation of 0.06, at
# $T = 1000$ of 0.01. **The lost bar** makes the factor of the predicted noise too large at every step but $t = 1$. The spots
# become too narrow: the samples look cleaner than the data, and have too little variety. The right loop is not at 0.100
# either, though the denoiser is exact: $\tilde\beta_t$ is the variance of a step if $x_0$ is known (lesson 01). With it a
# single Gaussian of width 0.100 ends at 0.060 for $T = 25$ and at 0.096 for $T = 1000$. (With the exact variance of $x_{t-1}$
# given $x_t$ it ends at 0.100.) At $T = 25$ the ring has two errors: along the radius the spots are too narrow, and points lie
# between them. In the width, 0.103, they nearly cancel.
#
# ## If you have another 12 minutes: where the loss comes from
#
# Without this second part, go on with [What you saw](#What-you-saw).
#
# The model goes back step by step, $p_\theta(x_{t-1} \mid x_t) = \mathcal{N}(\mu_\theta(x_t, t), \sigma_t^2 \mathbf{I})$. Its
# likelihood has no closed form, but a bound: the negative **evidence lower bound** (ELBO; Ho et al., eq. 5),
#
# $$-\log p_\theta(x_0) \;\le\; \mathbb{E}_q\Big[
#   \underbrace{D_{\mathrm{KL}}(q(x_T \mid x_0) \,\|\, p(x_T))}_{L_T}
#   + \sum_{t > 1} \underbrace{D_{\mathrm{KL}}(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t))}_{L_{t-1}}
#   \underbrace{- \log p_\theta(x_0 \mid x_1)}_{L_0} \Big].$$
#
# $L_T$ does not depend on $\theta$. Each $L_{t-1}$ compares two Gaussians of fixed variance, so it is a weighted squared
# distance of their means, plus a constant (eq. 8). By Algorithm 2, line 4, the two means are the same function of the true and
# of the predicted noise. So their difference is
# $\frac{\beta_t}{\sqrt{\alpha_t}\sqrt{1-\bar\alpha_t}}(\epsilon_\theta-\epsilon)$; its square over $2\sigma_t^2$ gives $w_t$.
# Written with noises, for $t > 1$ (eq. 12):
#
# $$L_{t-1} = \mathbb{E}\left[ w_t\, \|\epsilon - \epsilon_\theta(x_t, t)\|^2 \right] + \text{const}, \qquad
#   w_t = \frac{\beta_t^2}{2 \sigma_t^2\, \alpha_t\, (1 - \bar\alpha_t)}.$$
#
# With a Gaussian $p_\theta(x_0 \mid x_1)$ of variance $\beta_1$, $L_0$ has the same form with $w_1$, up to a constant. (Ho et
# al. use a discretised $L_0$.) Algorithm 1 leaves $w_t$ out: that is $L_\text{simple}$ (eq. 14). The experiment takes
# $\sigma_t^2 = \beta_t$, the other choice of the paper, for which $w_t$ is finite at $t = 1$ too. Small networks on the ring,
# alike in all but the loss, were trained for 3,000 steps without gradient clipping. Each arm has eight trainings
# (`tests/benchmarks/loss_weights.py`):
#
# - **simple**: $t$ uniform, weight 1. Algorithm 1.
# - **bound**: $t$ uniform, weight $w_t$.
# - **bound, by t**: $t$ drawn with probability $p_t \propto w_t$. That is **importance sampling**: drawing from another
#   distribution $p$ and dividing each term by its probability. Here $w_t / p_t$ is constant, so every term has the same weight.
#   The expected gradient is that of *bound*; the scatter of the gradient is not.
#
# Two figures are measured. For the samples: the share outside the spots. For the bound: its difference from the bound of the
# exact denoiser, in nats per coordinate. Samples are drawn in 200 steps, with a smaller network than the shipped one. So
# compare these shares with each other, not with those above. (The likelihood itself is not measured.) Training $i$ of these
# arms begins with the same weights, so verdicts are of paired differences. The null model, **simple, again**, has other seeds.

# %% tags=["nbval-ignore-output"]
predict(
    "eps-simple-samples.worst",
    "Which loss leaves the most samples outside the spots, after the same 3,000 steps?",
    choices=("simple", "bound", "bound, by t"),
)

# %%
runs = figures.load("loss_weights")
OUTSIDE, NATS = "outside the spots", "nats above"
of = lambda figure, arm, clipped: figures.values(runs, figure, way=arm, clipped=clipped)
beside = lambda figure, a, b, clip=False: compare(of(figure, a, clip), of(figure, b, clip))
weight = process.beta(every_t) / process.alpha(every_t) / (1 - process.alpha_bar(every_t))

fig, axes = plt.subplots(1, 3, figsize=(12, 4.8))
axes[0].plot(every_t, weight / weight.mean(), color=BLUE)
axes[0].axhline(1, color=RED, linestyle="--")
axes[0].text(1, 0.85, "simple: 1", color=RED, va="top")
axes[0].set(xscale="log", yscale="log", xlabel="time t", ylabel="weight")
axes[0].set_title("Weight $w_t$\nover its mean")
arms = "bound", "bound, by t", "simple, again"
labels = "share of samples", "nats per coordinate"
for ax, figure, label, title in zip(
    axes[1:], (OUTSIDE, NATS), labels, ("Share outside", "Bound above the exact")
):
    for clip, name, shift, marker in (
        (False, "not clipped", -0.1, "o"),
        (True, "clipped", 0.1, "s"),
    ):
        minus = [beside(figure, arm, "simple", clip).difference for arm in arms]
        at, margins = torch.arange(3) + shift, [x.margin for x in minus]
        ax.errorbar(at, [x.mean for x in minus], margins, fmt=marker, capsize=6, label=name)
    ax.axhline(0, color="black", lw=1)
    ax.set(title=f"{title},\nminus that of simple", ylabel=label, xlim=(-0.5, 2.5))
    ax.set_xticks(range(3), arms, rotation=25, ha="right")
axes[2].set_ylim(top=0.32)
axes[2].legend(loc="upper right")
plots.show(
    fig,
    alt="Three plots. Left: the bound's weights fall from 50 times their mean at t = 1 to once "
    "at t = 100 and half at t = 350. Middle, right: differences from simple with margins. "
    "Bound lies above 0 in both. The bound by t lies below 0, simple again about 0.",
)

# %% [markdown]
# **Left:** the bound weights small $t$ most. The simple loss gives more weight to larger $t$, where denoising is more
# difficult (Ho et al., section 3.4). **Middle and right:** each arm's figure minus that of *simple*. A bar that does not
# reach 0 is a verdict. Orange: the same with gradients clipped at norm 1.

# %%
again = beside(OUTSIDE, "simple, again", "simple")
claim(
    "eps-simple-samples",
    "At equal steps the bound with t drawn uniformly gives worse samples than the simple loss, "
    "and than the same bound with t drawn by weight.",
    figures=dict(
        simple=beside(OUTSIDE, "simple", "bound"),
        by_t=beside(OUTSIDE, "bound, by t", "bound"),
        worst=max(
            ("simple", "bound", "bound, by t"), key=lambda arm: of(OUTSIDE, arm, False).mean()
        ),
    ),
    measured="outside the spots: simple beside bound {simple:.1%}; bound, by t, beside bound "
    "{by_t:.1%}; most: {worst}",
    holds=lambda simple, by_t: all_of(simple.lower, by_t.lower),
    null={"the simple loss beside itself": dict(simple=again, by_t=again, worst="neither")},
)

# %% [markdown]
# *Bound* and *bound, by t* have the same expected gradient, and here nothing is clipped. They differ in the scatter of the
# gradient alone. On this ring, with AdamW at this rate, that scatter harms the samples. (How it harms is not separated. AdamW
# divides by the root mean square of the gradients, so scatter also makes its steps shorter.) Whether the weights alone help
# or harm is not separated here: *simple* and *bound, by t* differ in both. Beside *simple*, *bound, by t* leaves fewer
# samples outside and has the tighter bound, clipped or not. Without clipping both differences are little more than their
# margins.
#
# On CIFAR10 Ho et al. report a Frechet distance (lesson 00) of 3.17 for the simple loss and 13.51 for the bound. The bound is
# also the length of a lossless code for the picture: 3.75 (simple) and 3.70 (bound) bits per dimension (Tables 1 and 2). The
# last term, $L_0$, takes 1.97 of the 3.75. Without it the root mean squared error is 0.95 grey levels of 255 (section 4.3).
#
# > **Two refinements that large models use**
# >
# > **Min-SNR weighting** (Hang et al. 2023, section 3.4) weights an error of $\hat x_0$ by $\min(\mathrm{SNR}, 5)$. For an
# > error of $\hat v$ that is $\min(\mathrm{SNR}, 5) / (\mathrm{SNR} + 1)$: less weight where nearly nothing or nearly all is
# > noise. As above, the weight can be a probability instead: `min_snr_times` draws $t$ by it, and lesson 00's recipe uses that.
# >
# > **Learned variance** (Nichol and Dhariwal 2021, section 3.1): the network also outputs a fraction $\nu$ per pixel. The
# > variance is $\exp(\nu \log \beta_t + (1 - \nu) \log \tilde\beta_t)$, between the paper's two choices. It is trained on
# > $L_\text{simple} + 0.001\, L_\text{vlb}$, the bound. With it, fewer sampling steps are enough.
#
# ## What you saw
#
# - The epsilon loss has a floor, $\mathbb{E}\|\epsilon - \mathbb{E}[\epsilon \mid x_t]\|^2$: on the ring
#   {{eps-loss-floor.floor.mean}}. The shipped network's loss is {{eps-loss-floor.above.mean}} above it, and the relative error
#   of its predicted noise {{eps-loss-floor.error.mean}}.
# - Noise, clean picture, $v$, score and velocity are five views of one prediction. The target's size and the best prediction's
#   size differ.
# - A small excess over the floor can go with a visible error of the samples: measure both.
# - Algorithm 2 with that network reaches all eight spots. Of the points {{eps-samples-in-modes.outside}} lie outside, and the
#   width is {{eps-samples-in-modes.width}} (real 0.100).
# - Second part: the simple loss is a variational bound without its weights. The bound with uniform $t$ leaves the most samples
#   outside the spots, {{eps-simple-samples.by_t.b}}. With $t$ drawn by weight it is {{eps-simple-samples.by_t.a}}.
#
# ## At full size
#
# The two loops stay as you wrote them, and $T$ and $\beta_t$ too. Ho et al. trained 35.7 million parameters for 800,000 steps
# of 128 pictures on CIFAR10, in 10.6 hours on a TPU v3-8, and 114 million for 256 × 256 pixels. Samples used an average of
# the weights with decay 0.9999.

# %% tags=["nbval-ignore-output"]
guesses("eps-loss-floor.floor", "eps-samples-in-modes.outside", "eps-simple-samples.worst")

# %% [markdown]
# ## Think about it
#
# 1. Nobody knows the floor of the loss on real pictures. How can you tell whether a loss is good?
#
# <details><summary>Answer</summary>
#
# From the loss alone you cannot. Compare it with the loss of another network on the same held-out pictures, times and noises.
# The floor is the same for both and cancels in the difference. And measure samples.
#
# </details>
#
# 2. At $t = T$ the best prediction of $x_0$ is the mean of all data, a grey blur. Why does the chain not end in that blur?
#
# <details><summary>Answer</summary>
#
# A step goes only a small part of the way to the prediction, so most of $x_t$ stays. At the next, smaller noise fewer clean
# pictures could have led to $x_{t-1}$, and their mean is less blurred. Which picture it becomes is decided in Algorithm 2
# almost wholly by the new noise (lesson 03 shows it). A sampler without new noise (DDIM, lesson 14) does not end in the blur
# either: there $x_T$ alone decides.
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
# - **importance sampling**: drawing from another distribution $p$ and dividing each term by its probability.
# - **min-SNR weighting**: weights for the times, capped where there is little noise.
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
# blocks = dict(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2)
# unet = UNet2DModel(16, 1, 1, block_out_channels=[16, 16], norm_num_groups=4, **blocks)
# scheduler = DDPMScheduler(num_train_timesteps=1000, prediction_type="epsilon", clip_sample=False)
# x0, noise = torch.rand(4, 1, 16, 16), torch.randn(4, 1, 16, 16)
# t = torch.randint(1000, (4,))
# loss = (unet(scheduler.add_noise(x0, noise, t), t).sample - noise).square().mean()
# loss.backward()  # Algorithm 1, line 5; below, Algorithm 2, line 4
# before = scheduler.step(unet(noise, 999).sample, 999, noise).prev_sample
# assert before.shape == x0.shape
# ```
#
# {{names}}
#
# | our name | diffusers' |
# |---|---|
# | $\sigma_t^2 = \tilde\beta_t$, $\beta_t$, learned | `variance_type="fixed_small"`, `"fixed_large"`, `"learned_range"` |
# | `my_sampling_loop` | `DDPMPipeline`, or `scheduler.step` in a loop |
#
# ## Next
#
# [Lesson 03](03_score_and_langevin.ipynb) reads the same network as a score, and samples with it by Langevin dynamics.
