# %% [markdown]
# # 01 The forward process: how a picture becomes noise
#
# **You will be able to** write the forward process in one line, choose a noise schedule and say what it does, and explain
# why Gaussian steps can undo it.
#
# **Time** 60 minutes. **Needs** lesson 00, and what a Gaussian is. **Papers** Jascha Sohl-Dickstein and others: *Deep
# Unsupervised Learning using Nonequilibrium Thermodynamics* (2015); Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising
# Diffusion Probabilistic Models* (2020); Alex Nichol, Prafulla Dhariwal: *Improved Denoising Diffusion Probabilistic
# Models* (2021).
#
# There are four **exercises**. Once your function is right, the lesson goes on with it; until then it uses the library's.
# A blank exercise stops nothing. Before some measurements you **guess**; the measured figure then appears beside your guess.

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("01")

# %% [markdown]
# ## A single step
#
# The **forward process** $q$ turns a picture $x_0$ into noise, in $T$ steps. Nothing in it is learned. Pixels run from -1
# (black) to 1 (white). Each step shrinks the picture a little and adds a little fresh Gaussian noise $z_t$:
#
# $$x_t = \sqrt{1 - \beta_t}\; x_{t-1} + \sqrt{\beta_t}\; z_t, \qquad
# z_t \sim \mathcal{N}(0, \mathbf{I}), \quad t = 1, \dots, T$$
#
# The **noise schedule** $\beta_1, \dots, \beta_T$ is the variance of the noise that each step adds. Why shrink at all? The
# variance then stays the same. Where $x_{t-1}$ has variance 1, so has $x_t$: $(1 - \beta_t) \cdot 1 + \beta_t = 1$. Such a
# process is called **variance-preserving**.

# %%
import math

import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.datasets import digits, points
from course_lib.process import DDPM
from course_lib.schedules import linear_beta
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.widgets.guess import guesses, predict

plots.style()
linear = DDPM(linear_beta(1000))  # Ho et al. 2020: from 0.0001 to 0.02
linear


# %%
from course_lib.process import seeded


def walk(process, x0, rng):
    """The chain, one single step at a time: x_0, x_1, .., x_T, stacked (T + 1, B, ...)."""
    x = [x0]
    for t in range(1, process.T + 1):
        beta, z = process.beta(t), torch.randn(x0.shape, generator=rng)
        x.append((1 - beta).sqrt() * x[-1] + beta.sqrt() * z)
    return torch.stack(x)


x0, label = digits.load("train")
film = walk(linear, x0[[12, 15, 18]], seeded(0))
t = [0, 20, 60, 120, 200, 300, 400, 600, 800, 1000]
figure = plots.pictures(
    film[t].transpose(0, 1).flatten(0, 1),
    columns=[f"t = {time}" for time in t],
    title="Single steps",
)
plots.show(
    figure,
    alt="Three digits, each fading into noise over ten columns, from t = 0 to t = 1000.",
)

# %% [markdown]
# ## All the steps at once
#
# A thousand steps to make one training picture would be slow. Two of them show the rule. Write $\alpha_t = 1 - \beta_t$:
#
# $$x_2 = \sqrt{\alpha_2 \alpha_1}\; x_0
# + \underbrace{\sqrt{\alpha_2 (1 - \alpha_1)}\; z_1 + \sqrt{1 - \alpha_2}\; z_2}_{\text{Gaussian}},
# \qquad \text{variance } \alpha_2 (1 - \alpha_1) + (1 - \alpha_2) = 1 - \alpha_1 \alpha_2$$
#
# The sum of two independent Gaussians is a Gaussian, and their variances add. And so on: if $x_{t-1}$ has noise of variance
# $1 - \bar\alpha_{t-1}$, then $x_t$ has $\alpha_t (1 - \bar\alpha_{t-1}) + 1 - \alpha_t = 1 - \bar\alpha_t$. With the product
# $\bar\alpha_t = \alpha_1 \alpha_2 \cdots \alpha_t$ (read *alpha bar*),
#
# $$\boxed{x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \epsilon,
# \qquad \epsilon \sim \mathcal{N}(0, \mathbf{I})}$$
#
# So $q(x_t \mid x_0)$ is a Gaussian, and one formula replaces $t$ steps. The formula is a **reparameterisation**: $x_t$ is a
# deterministic function of $x_0$, $t$ and a noise $\epsilon$ whose distribution depends on neither. Kingma and Welling (2014)
# introduced the name for the VAE (lesson 05), where gradients pass through such a function. Here it makes a training picture
# in one line, and $\epsilon$ becomes something that a network can predict (lesson 02).
#
# ### Exercise 1: `add_noise` (difficulty 1, 5 minutes)
#
# Write the boxed line. `x0` and `eps` are pictures `(B, C, H, W)`; `t` is one number for all, or one for each picture `(B,)`.
# `process.alpha_bar(t)` has the shape of `t`. A factor `(B,)` needs the shape `(B, 1, 1, 1)` to multiply pictures. The
# schedule is float64 and pictures are float32: `.to(x0)` converts a factor.


# %%
def my_add_noise(process, x0, t, eps):
    """x_t (B, C, H, W), given x_0 and the noise eps."""
    ...  # write it here


verdict = check.add_noise(my_add_noise)
my_add_noise = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("add_noise")

# %% [markdown]
# ### Do the steps and the formula agree?
#
# 20,000 walkers start at a white pixel ($x_0 = 1$) and take all single steps. Beside them stand the mean
# $\sqrt{\bar\alpha_t}$ and the variance $1 - \bar\alpha_t$ of the formula. The two agree by the proof above, so this is not a
# claim that could fail. It shows that formula and code agree.

# %%
walkers = walk(linear, torch.ones(20_000, 1), seeded(1))[..., 0]
times = torch.arange(linear.T + 1)
mean, variance = linear.signal(times), linear.noise(times) ** 2

figure, ax = plt.subplots(figsize=(9, 4.2))
some = times[::50]
ax.plot(times, mean, label="mean, formula")
ax.plot(times, variance, "--", label="variance, formula")
ax.plot(some, walkers[some].mean(1), "ko", ms=8, label="mean, single steps")
ax.plot(some, walkers[some].var(1), "ks", ms=8, label="variance, single steps")
ax.set(xlabel="time t", ylabel="mean, variance", title="Single steps beside the formula")
ax.legend()
plots.show(
    figure,
    alt="Line plot over time: the simulated means and variances lie on the curves of the "
    "formula. The mean falls from 1 to 0, the variance rises from 0 to 1.",
)

# %% [markdown]
# ## Schedules
#
# What a schedule does is best read from $\bar\alpha_t$, the squared factor of the picture in $x_t$. For data of variance 1 it
# is the picture's share of the variance. The **signal-to-noise ratio** is $\mathrm{SNR}(t) = \bar\alpha_t / (1 -
# \bar\alpha_t)$. It falls from a large value to nearly zero.
#
# - **Linear** (Ho et al. 2020): $\beta_t$ rises evenly from 0.0001 to 0.02.
# - **Cosine** (Nichol and Dhariwal 2021, eq. 17): choose $\bar\alpha_t$ first, and let the $\beta_t$ follow:
#
# $$\bar\alpha_t = \frac{f(t)}{f(0)}, \qquad f(t) = \cos^2\left(\frac{t/T + s}{1 + s} \cdot \frac{\pi}{2}\right), \qquad
# \beta_t = \min\left(1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}},\; 0.999\right), \qquad s = 0.008$$
#
# The offset $s$ prevents $\beta_t$ from being too small near $t = 0$. The limit 0.999 keeps the last $\beta_t$ below 1.
#
# ### Exercise 2: `cosine_beta` (difficulty 2, 8 minutes)
#
# Return $\beta_1, \dots, \beta_T$, a tensor `(T,)`. $T$ ratios need $T + 1$ values of $f$.


# %%
def my_cosine_beta(T=1000):
    """beta_1 .. beta_T, a tensor (T,)."""
    ...  # write it here


verdict = check.cosine_beta(my_cosine_beta)
my_cosine_beta = verdict.function
verdict

# %%
check.solution("cosine_beta")

# %% [markdown]
# How many steps does each schedule spend where hardly anything of the picture is left? A **claim** is a statement with a
# measurement that can contradict it. Each claim of the course is tested on a **null model** too. It lacks what is claimed, and
# has to fail the test. Here it is the other schedule.

# %% tags=["nbval-ignore-output"]
predict(
    "linear-schedule-idle-steps.linear",
    "In how many of the linear schedule's 1,000 steps is ᾱₜ, the squared factor of the "
    "picture, below 1 %?",
    low=0,
    high=1000,
    unit="steps",
)

# %%
cosine = DDPM(my_cosine_beta(1000))
schedules = {"linear": linear, "cosine": cosine}
LINES = {"linear": "-", "cosine": "--"}

figure, axes = plt.subplots(1, 2, figsize=(9.5, 4))
for name, process in schedules.items():
    alpha_bar = process.alpha_bar(times[1:])
    axes[0].plot(times[1:], alpha_bar, LINES[name], label=name)
    axes[1].plot(times[1:], (alpha_bar / (1 - alpha_bar)).log10(), LINES[name])
axes[0].set(xlabel="time t", ylabel=r"$\bar\alpha_t$", title="Squared factor of the picture")
axes[1].set(xlabel="time t", ylabel=r"$\log_{10}$ SNR$(t)$", title="Signal-to-noise ratio")
axes[1].set_ylim(-6, 4.5)
axes[0].legend()
plots.show(
    figure,
    alt="Two line plots over time, of alpha bar and of the logarithm of the SNR. The linear "
    "schedule falls early, the cosine one evenly.",
)

# %%
eps = torch.randn(1, 1, 16, 16, generator=seeded(2)).expand(10, -1, -1, -1)
threes = x0[13].expand(10, -1, -1, -1)


def strips(t, rows, title, alt):
    """Rows of the digit 3 at the times t, each noised by one of the functions `rows` of t."""
    pictures = torch.cat([noised(t) for noised in rows.values()])
    columns = [f"t = {time}" for time in t.tolist()]
    figure = plots.pictures(pictures, columns, title, scale=0.065, rows=rows.keys())
    return plots.show(figure, alt=alt)


strips(
    torch.linspace(0, 900, 10).long(),
    {
        "linear": lambda t: my_add_noise(linear, threes, t, eps),
        "cosine": lambda t: my_add_noise(cosine, threes, t, eps),
    },
    "The same digit and noise, two schedules",
    "Two rows of the digit 3 with more and more noise. Linear: it cannot be seen from t = "
    "600 on. Cosine: it can still be seen at t = 700.",
)

# %%
idle = {
    name: int((process.alpha_bar(times) < 0.01).sum()) for name, process in schedules.items()
}
claim(
    "linear-schedule-idle-steps",
    "The linear schedule spends more than a fifth of its steps where the squared factor of "
    "the picture is below 1 %.",
    figures=dict(linear=idle["linear"]),
    measured="{linear} of 1,000 steps",
    holds=lambda linear: linear > 200,
    null={"the cosine schedule": dict(linear=idle["cosine"])},
)

# %% [markdown]
# A model takes these steps too, and they change hardly anything. Nichol and Dhariwal (2021, Figure 4) skipped up to a fifth of
# the reverse steps of a model with the linear schedule, and lost little quality. With their cosine schedule $\bar\alpha_t$
# falls below 1 % only near the end.
#
# ## Watch it
#
# Drag the slider, or press play. **Left** is $x_t$, made in single steps. It is the sum of the other two. In the **middle** is
# what is left of the picture, $\sqrt{\bar\alpha_t}\, x_0$; on the **right** is all the noise so far. At which time could you no
# longer name the digit, if you saw the left panel alone?
#
# <!-- Ask: At which time could you no longer name the digit? Hands up while the slider moves. -->

# %% tags=["nbval-ignore-output"]
from course_lib.prediction import Prediction
from course_lib.samplers import Step
from course_lib.widgets.player import play

start = x0[10:22]
film = walk(cosine, start, seeded(3))
moments = torch.linspace(0, 1000, 41).long().tolist()
steps = [
    Step(t, film[t], Prediction(film[t], *cosine.coefficients(t, start), "x0", start))
    for t in moments
]
play(
    steps,
    draw=lambda step: {
        "xₜ": step.x,
        "√ᾱₜ x₀: what is left of the picture": step.pred.a * step.x0,
        "√(1 − ᾱₜ) ε: all the noise so far": step.x - step.pred.a * step.x0,
    },
)

# %% [markdown]
# ## A density that is known exactly
#
# The density of digits is unknown. A mixture of two Gaussians on the line is known exactly. Noise turns each part into another
# Gaussian, with mean $\sqrt{\bar\alpha_t}\,\mu$ and variance $\bar\alpha_t \sigma^2 + 1 - \bar\alpha_t$. So the curves below
# are $q(x_t)$ itself, without sampling. The dashed curve is the standard normal.

# %%
pair = points.pair()  # 30 % around -1 and 70 % around 1, each of standard deviation 0.2
x = torch.linspace(-3.2, 3.2, 401, dtype=torch.float64)


def density(process, t, x):
    """q(x_t) of the pair at points x (N,): exact."""
    return pair.noised(process.signal(t), process.noise(t)).log_prob(x[:, None]).exp()


normal = torch.distributions.Normal(0.0, torch.ones((), dtype=torch.float64))
figure, axes = plt.subplots(1, 5, figsize=(9.5, 2.8), sharey=True)
for ax, t in zip(axes, (0, 200, 400, 600, 1000)):
    ax.fill_between(x, density(cosine, t, x), alpha=0.35)
    ax.plot(x, density(cosine, t, x))
    ax.plot(x, normal.log_prob(x).exp(), "--", color=plots.COLOURS[3], lw=2)
    ax.set(title=f"t = {t}", xlabel="$x_t$", xticks=[-2, 0, 2])
axes[0].set_ylabel("density")
plots.show(
    figure,
    alt="Five density plots, t = 0 to 1000: two peaks become wider and merge into one, which "
    "at t = 1000 lies on the dashed curve of the standard normal.",
)

# %% [markdown]
# Each column of the heat map is the exact density at that $t$. The lines are eight walkers, each from its own $x_0$. Towards
# the end they move in large steps: there the cosine schedule has its largest $\beta_t$.

# %%
every_tenth = times[::10]
densities = torch.stack([density(cosine, int(t), x) for t in every_tenth], 1)
start, _ = pair.sample(8, seeded(4))
paths = walk(cosine, start, seeded(5))[every_tenth, :, 0]

figure, ax = plt.subplots(figsize=(9.5, 4.8))
shown = ax.contourf(
    every_tenth, x, densities, levels=torch.linspace(0, 1, 26), cmap="viridis", extend="max"
)
ax.plot(every_tenth, paths, color="white", lw=1.8)
ax.set(xlabel="time t", ylabel="$x_t$", title="The exact density of $x_t$, and eight walkers")
figure.colorbar(shown, label="density", ticks=[0, 0.5, 1])
plots.show(
    figure,
    alt="Heat map: two bright bands at -1 and 1 widen and merge into one around 0; white "
    "paths wander along.",
)

# %% [markdown]
# ## Does everything end in the same noise?
#
# The way back starts from $\mathcal{N}(0, \mathbf{I})$. That is right only if $x_T$ contains nothing of its $x_0$. The
# **Kullback-Leibler divergence** $\mathrm{KL}(q\,\|\,p) = \mathbb{E}_q[\log q - \log p]$ measures how far one distribution is
# from another. It is 0 where they are equal. Given $x_0$, both are Gaussians here. For one pixel $\mathrm{KL}(\mathcal{N}(m,
# s^2)\,\|\,\mathcal{N}(0, 1)) = \frac12 (m^2 + s^2 - 1 - \ln s^2)$, in nats. Put in $m^2 = \bar\alpha_t x_0^2$ and $s^2 = 1 -
# \bar\alpha_t$; the bar is the mean over pixels, and $1 / \ln 2$ turns nats into bits:
#
# $$\mathrm{KL}\left(q(x_t \mid x_0)\,\|\,\mathcal{N}(0, \mathbf{I})\right) =
# \frac{1}{2 \ln 2}\left(\bar\alpha_t\, \overline{x_0^2} - \bar\alpha_t - \ln(1 - \bar\alpha_t)\right)$$
#
# At $t = T$ its mean over the data is $L_T$, a term of the loss's bound in lesson 02. It is never less than the divergence of
# $q(x_T)$ itself.


# %%
def kl_of_digits(process, t):
    """KL(q(x_t | x_0) || N(0, I)), mean over all digits, in bits per dimension; t (N,)."""
    alpha_bar = process.alpha_bar(t)
    return (alpha_bar * x0.square().mean() - alpha_bar - torch.log1p(-alpha_bar)) / (
        2 * math.log(2)
    )


some = torch.arange(20, 1001, 20)
figure, ax = plt.subplots(figsize=(9.5, 4.6))
for name, process in schedules.items():
    ax.semilogy(some, kl_of_digits(process, some), LINES[name], label=name)
ax.set(
    xlabel="time t",
    ylabel="bits per dimension",
    ylim=(1e-10, 10),
    title="How far $x_t$ is from pure noise",
)
ax.legend()
plots.show(
    figure,
    alt="Divergence over time, logarithmic. Linear: it falls evenly, by about five orders of "
    "magnitude. Cosine: it lies above the linear curve until about t = 980, then drops by "
    "about six orders of magnitude.",
)

# %%
stable = DDPM(
    torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
)  # Stable Diffusion's schedule


def at_the_end(process):
    """Of the digits at t = T: bits per dimension from N(0, I), and the factor of x_0 in x_T."""
    bits = float(kl_of_digits(process, torch.tensor(1000)))
    return dict(digits=bits, factor=float(process.signal(1000)))


claim(
    "x-t-is-gaussian-at-the-end",
    "At t = T the digits are gone: x_T is Gaussian noise, to less than 0.0001 bits per "
    "dimension, under the linear schedule.",
    figures=at_the_end(linear),
    measured="{digits:.1e} bits per dimension, with a factor of {factor:.4f} before x_0",
    holds=lambda digits: digits < 1e-4,
    null={"Stable Diffusion's schedule, which ends earlier": at_the_end(stable)},
)

# %% [markdown]
# Ho et al. report about $10^{-5}$ **bits per dimension** for the linear schedule on photographs (section 4). Our limit
# is ten times that. The divergence of a whole picture is the sum over its dimensions, 256 for a digit. The cosine schedule
# stays farther from pure noise than the linear one almost to the end.
#
# This null model is in use: the schedule of Stable Diffusion does not end in pure noise. What survives noise best is what all
# pixels share: the average brightness. The model is trained to predict it from $x_T$. In sampling $x_T$ is pure noise, whose
# average is always about 0. So it generates pictures of medium brightness (Lin et al. 2024, *Common Diffusion Noise Schedules
# and Sample Steps Are Flawed*).
#
# ## One step back, if x₀ is known
#
# Where was $x_{t-1}$, given $x_t$? If $x_0$ is known as well, Bayes' rule multiplies two Gaussians,
# and a product of Gaussians is a Gaussian:
#
# $$q(x_{t-1} \mid x_t, x_0) \;\propto\; \underbrace{q(x_t \mid x_{t-1})}_{\text{one step}}\;
# \underbrace{q(x_{t-1} \mid x_0)}_{\text{the formula}}$$
#
# It is called the **posterior** of $x_{t-1}$: its distribution after $x_t$ was observed. The first factor does not contain
# $x_0$: in a **Markov chain** $x_t$ depends on $x_{t-1}$ alone. As a function of $x_{t-1}$ it is a Gaussian with mean
# $x_t / \sqrt{\alpha_t}$ and variance $\beta_t / \alpha_t$. The second has mean $\sqrt{\bar\alpha_{t-1}}\, x_0$ and variance
# $1 - \bar\alpha_{t-1}$. The product's precision (one over its variance) is the sum of both: $1/\tilde\beta_t =
# \alpha_t/\beta_t + 1/(1 - \bar\alpha_{t-1})$. Its mean is the average of both means, weighted by their precisions. The result
# is Ho et al., eq. 7:
#
# $$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\, x_0
# + \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t, \qquad
# \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t$$
#
# ### Exercise 3: `posterior` (difficulty 2, 10 minutes)
#
# Return mean and variance. `x_t` and `x0` are pictures `(B, C, H, W)`. As in exercise 1, `t` is one number for all, or one for
# each picture `(B,)`: then a factor `(B,)` needs the shape `(B, 1, 1, 1)` to multiply pictures. The mean is `(B, C, H, W)`; the
# variance is one number, or `(B, 1, 1, 1)`. `process` gives `alpha(t)`, `beta(t)` and `alpha_bar(t)`, each of the shape of `t`
# (one number gives a tensor `()`), with `alpha_bar(0) = 1`, so that $t = 1$ is no special case.


# %%
def my_posterior(process, x_t, x0, t):
    """Mean (B, C, H, W) and variance, () or (B, 1, 1, 1), of q(x_{t-1} | x_t, x_0)."""
    ...  # write it here


verdict = check.posterior(my_posterior)
my_posterior = verdict.function
verdict

# %%
check.solution("posterior")

# %% [markdown]
# ### Exercise 4: `reverse_chain` (difficulty 2, 9 minutes)
#
# With the posterior the process runs backwards. Start from pure noise $x_T$. For $t = T, \dots, 1$ draw $x_{t-1}$ from the
# posterior, given $x_t$ and `x0` `(B, C, H, W)`: its mean, plus its standard deviation times fresh noise. Draw all noise from
# `rng`. Return all of them, $x_T$ first and $x_0$ last: `(T + 1, B, C, H, W)`. Lesson 02 replaces `x0` here by a prediction.
#
# The last step, to $t = 0$, gives $x_0$ by construction. At $t = 20$ the picture should still differ from
# $\sqrt{\bar\alpha_{20}}\, x_0$ by noise of standard deviation $\sqrt{1 - \bar\alpha_{20}}$.


# %%
def my_reverse_chain(process, x0, rng):
    """x_T, x_{T-1}, .., x_0, a tensor (T + 1, B, C, H, W)."""
    ...  # write it here


verdict = check.reverse_chain(my_reverse_chain)
my_reverse_chain = verdict.function
verdict

# %%
check.solution("reverse_chain")

# %%
goal = x0[[12, 15, 18]]
back = my_reverse_chain(linear, goal, seeded(8)).flip(0)  # by t, from 0 to T
noise = back[20] - linear.signal(20) * goal
found, error = float(noise.std()), float(noise.std()) / math.sqrt(2 * noise.numel())
print(
    f"t = 20: noise of standard deviation {found:.3f} ± {error:.3f} ({noise.numel()} pixels), "
    f"expected {float(linear.noise(20)):.3f}"
)
shown = [900, 700, 500, 400, 300, 200, 120, 60, 20, 0]
figure = plots.pictures(
    back[shown].transpose(0, 1).flatten(0, 1),
    columns=[f"t = {t}" for t in shown],
    title="Backwards, to a given $x_0$",
)
plots.show(
    figure,
    alt="Three rows from t = 900 to t = 0: noise in which three digits appear, clearly "
    "visible from t = 200 on.",
)

# %% [markdown]
# ## One step back, if x₀ is not known
#
# When a new picture is sampled, $x_0$ is not known. What is needed is $q(x_{t-1} \mid x_t)$. It is a mixture of the Gaussians
# above, one for each $x_0$ that could have led here, weighted by its probability. Such a mixture is in general not a
# Gaussian. It may have two peaks.
#
# Sohl-Dickstein et al. (2015, section 2.2, after Feller 1949) use that for small increments of $t$ the step back is Gaussian,
# as the step forward is. There are two distributions to tell apart. The *model* $p_\theta(x_{t-1} \mid x_t)$ is Gaussian
# because we choose it so. With small increments the *true* distribution $q(x_{t-1} \mid x_t)$ is nearly Gaussian too, so that
# the model can be right. On the pair it is known: $q(x_{t-1} \mid x_t) \propto q(x_{t-1})\, q(x_t \mid x_{t-1})$, on a grid.
#
# The same cosine is cut into $T$ = 4, 8, .. 1024 steps, and we take the step back from $t = T/4$, where $\bar\alpha_t$ is 0.85
# in all of them. Only the size of the step differs. We take an $x_t$ between the two parts: it came from either with equal
# probability.
#
# The distance from a Gaussian is the **total variation**: half the area between two densities. It is 0 where they are equal
# and 1 where they do not overlap.

# %% tags=["nbval-ignore-output"]
predict(
    "reverse-step-tends-to-gaussian.two_peaks",
    "Up to which number of steps T does the exact step back have two peaks at this x_t?",
    choices=("T = 4", "T = 8", "T = 16", "T = 32", "T = 64", "T = 128"),
)

# %%
GRID = torch.linspace(-5, 5, 5001, dtype=torch.float64)


def step_back(process, x_t, t, stride=1):
    """q(x_{t-stride} | x_t) of the pair, exact, and the Gaussian of its mean and variance.

    x_t is (B,); both are densities on GRID, (B, N).
    """
    s = t - stride
    shrink = process.signal(t) / process.signal(s)  # for a stride of 1: sqrt(alpha_t)
    spread = (process.noise(t) ** 2 - shrink**2 * process.noise(s) ** 2).sqrt()
    before = pair.noised(process.signal(s), process.noise(s)).log_prob(GRID[:, None])
    exact = (
        before + torch.distributions.Normal(shrink * GRID, spread).log_prob(x_t[:, None])
    ).softmax(1) / (GRID[1] - GRID[0])
    mean = torch.trapezoid(exact * GRID, GRID)
    std = torch.trapezoid(exact * (GRID - mean[:, None]) ** 2, GRID).sqrt()
    return exact, torch.distributions.Normal(mean[:, None], std[:, None]).log_prob(GRID).exp()


def total_variation(p, q):
    """Half the area between two densities on GRID."""
    return torch.trapezoid((p - q).abs(), GRID) / 2


def peaks(p):
    """Where on GRID a density p (N,) has its peaks: indices."""
    return 1 + ((p[1:-1] > p[:-2]) & (p[1:-1] > p[2:])).nonzero()[:, 0]


chains = {2**k: DDPM(my_cosine_beta(2**k)) for k in range(2, 11)}
parts = pair.noised(chains[4].signal(1), chains[4].noise(1))
log_odds = (parts.weights[0] / parts.weights[1]).log()  # left over right, in the middle
undecided = log_odds * parts.stds[0] ** 2 / (2 * parts.means[1])  # here the log-odds are 0

figure, axes = plt.subplots(1, 4, figsize=(9.5, 3.9))
for ax, (T, floor) in zip(axes, {4: 0, 16: 0, 32: 0.95, 256: 0}.items()):
    exact, gauss = (density[0] for density in step_back(chains[T], undecided, T // 4))
    tops, height = peaks(exact), float(exact.max())
    ax.fill_between(GRID, exact, alpha=0.35)
    ax.plot(GRID, exact, label="exact")
    ax.plot(GRID, gauss, "--", color=plots.COLOURS[3], label="Gaussian")
    ax.plot(GRID[tops], exact[tops], "kv", ms=10, label="peak")
    shown = GRID[(exact if floor else gauss) > max(floor, 0.003) * height]
    ax.set(xlim=(shown[0], shown[-1]), yticks=[])
    ax.set_ylim(floor * height, 1.01 * height if floor else None)
    ax.set(xlabel="$x_{t-1}$", title=f"T = {T}" + "\n(the top alone)" * (floor > 0))
    ax.locator_params(axis="x", nbins=2)
axes[0].set_ylabel("density")
handles = axes[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=3)
plots.show(
    figure,
    alt="Four density plots, exact beside its Gaussian, with a mark on each peak. T = 4: two "
    "separate peaks. T = 16: two peaks with a dip. T = 32, of which only the top is shown: "
    "two peaks with hardly a dip. T = 256: one peak, on the Gaussian.",
)

# %% [markdown]
# With few steps the exact distribution has two peaks, and the Gaussian of the same mean and variance has its maximum
# *between* them, where at $T = 4$ there is little probability. A model whose steps are Gaussian cannot match this,
# however large its network. At $T = 32$ the dip is very shallow, and with 256 steps the two curves look the same.
#
# That is one $x_t$. Next is the mean over all $x_t$, weighted by $q(x_t)$, at three times.

# %% tags=["nbval-ignore-output"]
predict(
    "reverse-step-tends-to-gaussian.factor",
    "With four times as many steps, by which factor does the mean distance from a Gaussian "
    "fall where T is large?",
    choices=("2 times", "4 times", "8 times", "16 times", "64 times"),
)

# %%
at = torch.linspace(-3.5, 3.5, 141, dtype=torch.float64)


def distances(part, shrinking=True):
    """Mean total variation of the step back at t = T / part from its Gaussian, by T.

    `shrinking=False` keeps the size of the step: an eighth of the chain, whatever T is.
    """
    mean = {}
    for T, chain in chains.items():
        t, stride = T // part, 1 if shrinking else T // 8
        if t >= stride > 0:
            distance, share = (
                total_variation(*step_back(chain, at, t, stride)),
                density(chain, t, at),
            )
            mean[T] = float((share * distance).sum() / share.sum())
    return mean


means = {part: distances(part) for part in (2, 4, 8)}
figure, ax = plt.subplots(figsize=(9.5, 4.8))
for (part, mean), colour, marker in zip(means.items(), plots.COLOURS, plots.MARKERS):
    ax.loglog(
        mean.keys(), mean.values(), marker + "-", color=colour, ms=8, label=f"at t = T/{part}"
    )
line = [means[4][64], means[4][64] * 16**-1.5]
ax.loglog([64, 1024], line, "k:", lw=4, label=r"$\propto T^{-3/2}$")
ax.set(xlabel="number of steps T", ylabel="mean total variation")
ax.set_title("How far the step back is from a Gaussian")
ax.set_xticks([4, 16, 64, 256, 1024], ["4", "16", "64", "256", "1024"], minor=False)
ax.minorticks_off()
ax.legend(loc="lower left")
plots.show(
    figure,
    alt="Log-log plot of the mean total variation over the number of steps T, at three "
    "times: all lines fall, at large T parallel to a dotted line of slope -3/2.",
)


# %%
def of_steps_back(means, stride):
    """The claim's figures, of mean distances by place and T; steps are of size `stride(T)`."""
    order = min(math.log2(mean[256] / mean[1024]) / 2 for mean in means.values())
    exact = lambda T: step_back(chains[T], undecided, T // 4, stride(T))[0][0]
    two = [T for T in chains if stride(T) and len(peaks(exact(T))) > 1]
    return dict(
        order=order,
        factor=f"{4**order:.0f} times",
        few=means[4][8],
        many=means[4][256],
        two_peaks=f"T = {max(two)}",
    )


fixed = {part: distances(part, shrinking=False) for part in (2, 4, 8)}
claim(
    "reverse-step-tends-to-gaussian",
    "The exact step back, q(x_{t-1} | x_t), tends to a Gaussian as the increments shrink, "
    "faster than in proportion to 1/T.",
    figures=of_steps_back(means, lambda T: 1),
    measured="mean total variation {few:.2g} at T = 8, {many:.2g} at T = 256; four times as "
    "many steps leave it {factor} smaller (order {order:.1f}, the lowest of three times); "
    "two peaks between the parts up to {two_peaks}",
    holds=lambda order: order > 1,
    null={
        "steps back of an eighth of the chain at any T": of_steps_back(fixed, lambda T: T // 8)
    },
)

# %% [markdown]
# Why does the claim ask for more than $1/T$? A chain has $T$ steps, and total variations at most add up. If the distance of a
# step falls faster than $1/T$ at every time, the sum over the chain goes to 0.
#
# The order of convergence is {{reverse-step-tends-to-gaussian.order}}. Why? A step back of size $\beta \propto 1/T$ depends
# on the density $q(x_{t-1})$ in a window of width $\sqrt\beta$. In that window $\log q$ is nearly a parabola, which gives a
# Gaussian. The first term that does not fit contains the third derivative of $\log q$; its size is $\beta^{3/2}$. (Between the
# parts that derivative is nearly 0, and the distance falls faster.) The three times differ in $\beta_t$ too, so they are not
# compared with each other.
#
# ## Failure museum: the lost bar
#
# $\alpha_t$ or $\bar\alpha_t$? With $\alpha_t$ in the place of $\bar\alpha_t$ our formula gives no error message:


# %%
def lost_bar(process, x0, t, eps):
    alpha = torch.as_tensor(process.alpha(t)).view(-1, 1, 1, 1)  # should be alpha_bar(t)
    return (alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps).float()


strips(
    torch.linspace(100, 1000, 10).long(),
    {
        "right": lambda t: my_add_noise(linear, threes, t, eps),
        "bar lost": lambda t: lost_bar(linear, threes, t, eps),
    },
    "The formula, right and wrong",
    "Two rows of the digit 3. Right: it fades to noise. Bar lost: it stays almost clean up "
    "to t = 1000.",
)

# %%
check.add_noise(lost_bar)

# %% [markdown]
# A network trained on the lower row never gets strong noise as input, and sampling starts from pure noise.

# %% [markdown]
# ## What you saw
#
# - A thousand single steps and one formula give the same distribution: that is proved, and the simulation agrees.
# - At $t = T$ digits are {{x-t-is-gaussian-at-the-end.digits}} bits per dimension from pure noise under the linear schedule.
#   It spends {{linear-schedule-idle-steps.linear}} of its 1,000 steps where the squared factor of the picture is below 1 %.
# - Given $x_0$, the step back is a Gaussian in closed form. Without $x_0$ it is not: where steps are large it may have two
#   peaks, here up to {{reverse-step-tends-to-gaussian.two_peaks}}. At the three times measured, for this pair, it tends to a
#   Gaussian faster than $1/T$. That is why sampling with Gaussian steps (lesson 02) takes many of them. A deterministic
#   sampler does not rely on it (lesson 14).
#
# ## At full size
#
# The formula is the same, and the schedule is adapted. Ho et al. use $T = 1000$ and this linear schedule for pictures of 32 ×
# 32 to 256 × 256; Nichol and Dhariwal use $T = 4000$ and the cosine schedule. Larger pictures need *more* noise for the same
# effect, because neighbouring pixels are alike and their average has less noise. So schedules are shifted with size (Stable
# Diffusion 3, lesson 16).

# %% tags=["nbval-ignore-output"]
guesses(
    "linear-schedule-idle-steps.linear",
    "reverse-step-tends-to-gaussian.two_peaks",
    "reverse-step-tends-to-gaussian.factor",
)

# %% [markdown]
# ## Think about it
#
# 1. Double the contrast of all pictures, so that they lie in $[-2, 2]$. Which schedule has the same effect as before?
#
# <details><summary>Answer</summary>
#
# One with a quarter of the signal-to-noise ratio at each $t$: $\bar\alpha_t / (1 - \bar\alpha_t)$ divided by 4. Twice the
# contrast is four times the variance of the picture. The noisy pictures are then the same up to a factor.
#
# </details>
#
# 2. $q(x_{t-1} \mid x_t)$ has two peaks where $x_t$ came from either part with similar probability. With four steps, for which
#    $x_t$ of the pair is a Gaussian good even so?
#
# <details><summary>Answer</summary>
#
# For those far from the middle on either side. They came almost certainly from one part. A single Gaussian $q(x_0)$ makes
# $q(x_{t-1} \mid x_t)$ exactly Gaussian, for any size of the step.
#
# </details>
#
# ## Words
#
# - **bits per dimension**: the negative base-2 logarithm of a probability, or a divergence in bits, over the number of values.
# - **forward process**: the chain $q(x_t \mid x_{t-1})$ that turns data into noise; it has no parameters to learn.
# - **noise schedule**: the variances $\beta_1, \dots, \beta_T$ of the noise that the steps add.
# - **variance-preserving**: a process that keeps data of variance 1 at variance 1.
# - **reparameterisation**: a random variable written as a deterministic function of its parameters and of a noise whose
#   distribution does not depend on them.
# - **Markov chain**: a sequence in which each $x_t$ depends on $x_{t-1}$ alone, not on those before.
# - **null model**: a model that lacks what is claimed, and has to fail the claim's test.
# - **signal-to-noise ratio**: $\bar\alpha_t / (1 - \bar\alpha_t)$; for data of variance 1 the variance of the signal over that
#   of the noise.
# - **Kullback-Leibler divergence**: $\mathbb{E}_q[\log q - \log p]$, 0 where two distributions are equal, else positive.
# - **posterior**: the distribution of a variable after another one was observed, by Bayes' rule.
# - **total variation**: half the area between two densities, from 0 to 1.
#
# ## In practice
#
# ```python
# import torch
# from diffusers import DDPMScheduler
#
# scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")  # the cosine schedule
# x0, eps = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
# t = torch.tensor([0, 100, 500, 999])  # counted from 0: their t is our t - 1
# x_t = scheduler.add_noise(x0, eps, t)
# alpha_bar = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
# assert torch.allclose(x_t, alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps, atol=1e-6)
# ```
#
# {{names}}
#
# | our name | diffusers' name |
# |---|---|
# | `DDPM(linear_beta(1000))` | `DDPMScheduler(1000, beta_schedule="linear")` |
# | `cosine_beta` | `beta_schedule="squaredcos_cap_v2"` |
#
# ## Next
#
# [Lesson 02](02_epsilon_loss.ipynb) trains a network to predict $\epsilon$: the loss, its floor, and the sampler.
