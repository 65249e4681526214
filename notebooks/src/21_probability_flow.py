# %% [markdown]
# # 21 SDEs and the probability flow
#
# **You will be able to** write the stochastic differential equation of a diffusion process, reverse it with any amount of new
# noise, say why an ODE has the same marginals, and compute $\log p(x)$ of a point or a picture along that ODE.
#
# **Time** 60 minutes. In a class leave all after "What you saw", and "Which class makes a digit most probable?", for home.
# **Needs** lesson 02 (Algorithm 2, the five predictions), lesson 03 (the score, Langevin dynamics), lesson 14 (DDIM, Euler's
# method), lesson 16 (rectified flow). **Papers** Yang Song, Jascha Sohl-Dickstein, Diederik Kingma, Abhishek Kumar, Stefano
# Ermon, Ben Poole: *Score-Based Generative Modeling through Stochastic Differential Equations* (2021), Song et al. below; Lucas
# Theis, Aäron van den Oord, Matthias Bethge: *A Note on the Evaluation of Generative Models* (2016).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("21")

# %% [markdown]
# ## A diffusion process in continuous time
#
# Every process of this course is $x_t = a_t\, x_0 + b_t\, \epsilon$. Until now $t$ was the number of a step. Let it be a real
# number, and ask what $x$ does in a short time $dt$. The answer is a **stochastic differential equation** (SDE):
#
# $$dx = f(t)\, x\, dt + g(t)\, dw.$$
#
# $f(t)\, x$ is the **drift of the SDE**, the part that is certain. $g(t)$ is the **diffusion coefficient**. $w$ is the
# **Wiener process** (Brownian motion): its increments over $dt$ are independent, normal, with mean 0 and variance $dt$. So
# $dw = \sqrt{dt}\, z$ with a standard normal $z$. The square root is what makes noise and drift behave differently: halve the
# step, and the drift of a step halves, but its noise shrinks only by $\sqrt 2$.
#
# Which $f$ and $g$ belong to $a$ and $b$? Take the mean and the variance of $x_t$ given $x_0$, which are $a\, x_0$ and $b^2$.
# In $dt$ the mean grows by $f a x_0\, dt$. The variance grows by $2 f b^2\, dt$ (the factor $1 + f\, dt$, squared) and by
# $g^2\, dt$ (the new noise, which is independent). Solved for $f$ and $g$:
#
# $$\boxed{\; f = \frac{d \log a}{dt}, \qquad g^2 = \frac{d\, b^2}{dt} - 2 f\, b^2 \;}$$
#
# | process | signal $a$, noise $b$ | $f$ | $g^2$ |
# |---|---|---|---|
# | DDPM, variance-preserving (VP) | $a^2 + b^2 = 1$ | $-\beta / 2$ | $\beta$ |
# | variance-exploding (VE, lesson 03) | $a = 1$, $b = \sigma$ | 0 | $d \sigma^2 / dt$ |
# | rectified flow (lesson 16) | $a = 1 - t$, $b = t$ | $-1 / (1 - t)$ | $2 t / (1 - t)$ |
#
# The first two are Song et al.'s VP and VE SDE (eqs. 11 and 9). They take the chain's limit of ever smaller steps. There is
# also an SDE that fits a chain of 1,000 steps exactly. In the time between $i - 1$ and $i$ let $\beta(t) = -\log(1 - \beta_i)$.
# Over one unit of time the mean shrinks by $e^{-\beta(t) / 2} = \sqrt{1 - \beta_i}$, and the variance of the new noise is
# $1 - e^{-\beta(t)} = \beta_i$. That is the chain's step. For small $\beta_i$ both $\beta$ are nearly equal.
# `Continuous(chain)` is this process, and `drift_diffusion(process, t)` gives $f$ and $g^2$.

# %%
import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.datasets import digits
from course_lib.datasets.points import pair, ring
from course_lib.denoisers import ExactDenoiser
from course_lib.methods.sde import Continuous, drift_diffusion, forward_sde
from course_lib.process import DDPM, RectifiedFlow, randn_like, seeded
from course_lib.samplers import Step, ddim, ddpm, heun, probability_flow, result
from course_lib.schedules import linear_beta
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate, share
from course_lib.widgets.dial import dial
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.player import play
from course_lib.zoo import figures

plots.style()
ORANGE, RED = plots.COLOURS[1], plots.COLOURS[3]
chain = DDPM(linear_beta())  # T = 1,000
process, data = Continuous(chain), pair()
exact = ExactDenoiser(data, process)
for t in (1, 250, 1000):
    f, g2 = drift_diffusion(process, t)
    print(f"t = {t:4d}   f = {f:.5f}   g² = {g2:.5f}   beta_t = {chain.beta(t):.5f}")

# %% [markdown]
# To simulate an SDE, replace $dt$ by a short step and $dw$ by $\sqrt{dt}\, z$. This is the **Euler-Maruyama method**, Euler's
# method (lesson 14) with noise. `forward_sde` does it.
#
# ## How does the density move? The Fokker-Planck equation
#
# Each path is random. The density is not. It obeys the **Fokker-Planck equation** (Kolmogorov's forward equation), here in one
# dimension:
#
# $$\frac{\partial q}{\partial t} = -\frac{\partial}{\partial x}\big(f x\, q\big)
#   + \frac{g^2}{2} \frac{\partial^2 q}{\partial x^2}.$$
#
# The first term moves the density with the drift. The second blurs it. For a Gaussian mixture $q_t$ is known, so we can test
# the equation on lesson 01's two Gaussians on the line. The cell computes the left and the right side by finite differences,
# and prints the largest difference. The map below it has the exact density at each time, and six paths from data to noise.

# %%
line = torch.linspace(-4, 4, 801, dtype=torch.float64)[:, None]
dx = float(line[1] - line[0])
q = lambda t: data.log_prob(line, process.signal(t), process.noise(t)).exp()
slope = lambda v: torch.gradient(v, spacing=dx)[0]
for t in (100.5, 300.5, 600.5):
    f, g2 = (float(v) for v in drift_diffusion(process, t))
    left = (q(t + 0.1) - q(t - 0.1)) / 0.2
    right = -slope(f * line[:, 0] * q(t)) + g2 / 2 * slope(slope(q(t)))
    gap, size = (left - right)[5:-5].abs().max(), left.abs().max()
    print(f"t = {t}: the sides differ by at most {gap / size:.1%} of the largest change")


# %%
def density_map(ax, title):
    """The exact density of x over t, as colours: dark where it is high; each time has its own scale."""
    when = torch.linspace(1, 1000, 100, dtype=torch.float64)
    height = torch.stack([q(t) / q(t).max() for t in when.tolist()], 1)
    ax.contourf(when, line[:, 0], height, levels=8, cmap="Blues", antialiased=False)
    ax.set(title=title, xlabel="time t", ylim=(-3, 3))


times = process.times(200)
times[-1] = 1  # a step above 0, where eps is undefined
x0 = data.sample(4000, seeded(0))[0].double()
forward = torch.stack([step.x for step in forward_sde(process, x0, times, seeded(1))])
forward = forward.flip(0)  # like `times`, from t = 1,000 down
fig, ax = plt.subplots(figsize=(8.5, 3.8))
density_map(ax, "Six paths of the forward SDE")
ax.plot(times[::4], forward[::4, 4:10, 0], color=RED, lw=1.5)
ax.set(ylabel="x")
plots.show(
    fig,
    alt="A map of the density over time, dark where it is high: two bands at x = -1 and 1 on the "
    "left that merge to one broad band around 0 on the right. Six ragged paths start in the two "
    "bands and wander over the broad one.",
)

# %% [markdown]
# ## Back in time: a family of reverse processes
#
# We want a process that runs from $t = T$ down to 0 and has the same density $q_t$ at every time. Use lesson 03's identity
# $\partial q / \partial x = q\, s$, where $s = \partial \log q / \partial x$ is the score. It turns blur into drift:
# $\partial^2 q / \partial x^2 = \partial (s\, q) / \partial x$. So the Fokker-Planck equation is
#
# $$\frac{\partial q}{\partial t} = -\frac{\partial}{\partial x} \Big[\Big(f x - \frac{g^2}{2}\, s\Big)\, q\Big].$$
#
# No blur is left. This is the equation of points that move with velocity $f x - \frac{1}{2} g^2 s$ and **without noise**: the
# probability-flow ODE (lesson 14), now for any process (Song et al., eq. 13). It runs in both directions.
#
# The same trick adds noise. Let time run backwards, so that $\tau = T - t$ grows. Move $\frac{1}{2}\lambda^2 g^2 s$ into the
# drift, and return the same amount as blur, for any number $\lambda$:
#
# $$\frac{\partial q}{\partial \tau} = \frac{\partial}{\partial x} \Big[\Big(f x - \frac{1 + \lambda^2}{2}\, g^2 s\Big)\,
#   q\Big] + \frac{\lambda^2 g^2}{2} \frac{\partial^2 q}{\partial x^2}.$$
#
# This is again a Fokker-Planck equation. It belongs to the process with noise $\lambda g$:
#
# $$\boxed{\; dx = \Big(f x - \frac{1 + \lambda^2}{2}\, g^2 s\Big)\, dt + \lambda\, g\, dw \;}\qquad dt < 0.$$
#
# - $\lambda = 1$ is the **reverse SDE** (Song et al., eq. 6), the forward process seen backwards: whole paths have the same
#   distribution.
# - $\lambda = 0$ is the probability-flow ODE. All its randomness is in $x_T$.
# - Any other $\lambda$ has the same marginals. The part with $\lambda$ is Langevin dynamics (lesson 03), which leaves $q_t$ as
#   it is.
#
# In more dimensions the score is a vector, and $\partial / \partial x$ is $\nabla \cdot$. Nothing else changes.
#
# ### Exercise 1: sample by any of them (difficulty 2, 10 minutes)
#
# Write the whole sampler. For each pair $t, s$ of neighbours in the falling list `times`, take $f$, $g^2$ and the score at $t$,
# and make a step of length $s - t < 0$. The noise of a step has the standard deviation $\lambda g \sqrt{t - s}$. Return the
# points at **all** times, a tensor (n + 1, B, ...). You are given:
#
# - `drift_diffusion(denoiser.process, t)`, which gives $f$ and $g^2$ as tensors; `float(f)` makes a number of one;
# - `denoiser(x, t).score`, of the shape of `x`;
# - `randn_like(x, rng)`, standard normal noise; `pairwise(times)`; `torch.stack(list)`.

# %%
from itertools import pairwise


def my_reverse_sde(denoiser, x, times, lam, rng):
    """The points (n + 1, B, ...) at all n + 1 times, from x = x_T (B, ...)."""
    ...  # write it here


verdict = check.reverse_sde(my_reverse_sde)
my_reverse_sde = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("reverse_sde")

# %% [markdown]
# Your sampler draws 4,000 points with $\lambda = 1$ and $\lambda = 0$, from the same $x_T$, with the exact score.

# %%
x_T = torch.randn(4000, 1, generator=seeded(2), dtype=torch.float64)
by_sde = my_reverse_sde(exact, x_T, times.tolist(), 1.0, seeded(3))
by_ode = my_reverse_sde(exact, x_T, times.tolist(), 0.0, None)
fig, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
pairs_of = (
    ("Reverse SDE, λ = 1", by_sde, RED),
    ("Probability-flow ODE, λ = 0", by_ode, ORANGE),
)
for ax, (name, points, colour) in zip(axes, pairs_of):
    density_map(ax, name)
    ax.plot(times[::4], points[::4, :6, 0], color=colour, lw=1.5)
axes[0].set_ylabel("x")
plots.show(
    fig,
    alt="Two maps of the same density with six paths each, from noise on the right to the two "
    "bands on the left. Left, reverse SDE: ragged paths that cross. Right, probability flow: smooth "
    "paths that never cross.",
)

# %% [markdown]
# Paths of an ODE never cross: from one point only one path leads on. Those of the SDE do.
#
# **Scrub through time.** Bars are the share of the 4,000 points in each bin. The blue curve is the exact density at that time.
# The horizontal axis is $x$ from -3 to 3. The orange marks below the axis are twelve of the points. The left panel shows the
# forward SDE, at the same $t$ as the other two.


# %% tags=["nbval-ignore-output"]
def frame(points, t):
    """A picture of points (n, 1) at t: their histogram, the exact density, and twelve of them."""
    across = torch.linspace(-3, 3, 720, dtype=torch.float64)[:, None]
    curve = data.log_prob(across, process.signal(t), process.noise(t)).exp()
    bars = torch.histc(points.float(), 60, -3, 3) / len(points) * 10  # 60 bins over 6
    return plots.sketch(curve, bars, 0, 1.25 * float(curve.max()), (points[:12, 0] + 3) / 6)


film = [Step(t, torch.full((1, 1), float(i))) for i, t in enumerate(times.tolist())][::10]
play(
    film,
    draw=lambda step: {
        name: frame(points[int(step.x)], step.t)
        for name, points in (
            ("forward SDE", forward),
            ("reverse SDE", by_sde),
            ("probability-flow ODE", by_ode),
        )
    },
)

# %% [markdown]
# ## Are the marginals the same at every t?
#
# The **total variation distance** between two distributions is half the sum of the differences of their probabilities over all
# bins: 0 for equal ones, 1 for distributions that share nothing. We take 80 bins from -4 to 4 and ten times. The exact
# probability of a bin is known. Even exact samples have a distance above 0, because 5,000 points fill 80 bins unevenly. So we
# subtract the mean distance of 5,000 exact samples. The figure is the largest excess over the ten times, for five $x_T$. Chosen
# after a trial with other noises: an excess below 0.02 counts as the same. That is coarse: beside the unevenness of 5,000
# points, a true distance of 0.04 can show an excess of only 0.01 to 0.02.
#
# Two null models change one thing in the boxed equation. One adds the noise $g\, dw$ but keeps the ODE's drift: its diffusion
# coefficient is not balanced by the drift. The other keeps the reverse SDE's drift but adds no noise.

# %% tags=["nbval-ignore-output"]
predict(
    "sde-same-marginals.null_noise",
    "The noise of the reverse SDE with the drift of the ODE: how large is the largest excess "
    "in total variation?",
    low=0,
    high=1,
)

# %%
edges = torch.linspace(-4, 4, 81, dtype=torch.float64)
every = list(range(20, 201, 20))  # ten of the 201 times


def off(x, t):
    """The total variation distance between points x (n, 1) and the exact density at t."""
    at = data.noised(process.signal(t), process.noise(t))
    below = (torch.special.ndtr((edges[:, None] - at.means.T) / at.stds) * at.weights).sum(1)
    found = torch.histc(x.flatten().clamp(-3.99, 3.99), 80, -4, 4) / len(x)
    return float((found - below.diff()).abs().sum() / 2)


def walk(x, drift_lam, noise_lam, rng):
    """The sampler with one lam in its drift and another in its noise."""
    points = [x]
    for t, s in pairwise(times.tolist()):
        f, g2 = (float(v) for v in drift_diffusion(process, t))
        drift = f * x - (1 + drift_lam**2) / 2 * g2 * exact(x, t).score
        x = x + drift * (s - t) + noise_lam * (g2 * (t - s)) ** 0.5 * randn_like(x, rng)
        points.append(x)
    return torch.stack(points)


def excess(sample):
    """For each of five x_T, the distance at ten times, less that of exact samples: (5, 10)."""
    rows = []
    for seed in range(10, 15):
        x = torch.randn(5000, 1, generator=seeded(seed), dtype=torch.float64)
        points = sample(x, seeded(100 + seed))
        rows.append([off(points[i], float(times[i])) - floor[i] for i in every])
    return torch.tensor(rows)


def exactly(t):
    """The mean distance of ten sets of 5,000 exact samples at t."""
    at = data.noised(process.signal(t), process.noise(t))
    return sum(off(at.sample(5000, seeded(k))[0].double(), t) for k in range(10)) / 10


floor = {i: exactly(float(times[i])) for i in every}
arms = {
    f"λ = {lam:g}": excess(
        lambda x, rng, lam=lam: my_reverse_sde(exact, x, times.tolist(), lam, rng)
    )
    for lam in (0.0, 0.5, 1.0)
}
wrong = {
    "noise without its drift": excess(lambda x, rng: walk(x, 0.0, 1.0, rng)),
    "drift without its noise": excess(lambda x, rng: walk(x, 1.0, 0.0, rng)),
}
fig, ax = plt.subplots(figsize=(10, 4.6))
when = [float(times[i]) for i in every]
for (name, values), style in zip((arms | wrong).items(), ("o-", "s--", "^:", "v-", "D--")):
    ax.plot(when, values.mean(0), style, ms=8, label=name)
ax.set(title="Total variation above that of exact samples", xlabel="time t", ylabel="excess")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    fig,
    alt="A line plot over time. The curves of lambda 0, 0.5 and 1 lie on 0 at all ten times. "
    "Noise without its drift rises from 0.2 to 0.5 towards t = 0; drift without its noise is "
    "between 0.4 and 0.9.",
)

# %%
worst = lambda rows: estimate(rows.amax(1), "noises")
of_arms = dict(zip(("ode", "half", "sde"), map(worst, arms.values())))
claim(
    "sde-same-marginals",
    "On two Gaussians, with the exact score and 200 steps, the probability-flow ODE, the "
    "reverse SDE and λ = 1/2 have the process's marginals at all ten times: the total "
    "variation is less than 0.02 above that of exact samples.",
    figures=of_arms | dict(null_noise=worst(wrong["noise without its drift"])),
    measured="largest excess: ODE {ode:.3f}, λ = 1/2 {half:.3f}, SDE {sde:.3f}; the noise of "
    "the SDE with the drift of the ODE {null_noise:.2f}",
    holds=lambda ode, half, sde: all_of(*(arm.below(0.02) for arm in (ode, half, sde))),
    null={name: dict(sde=worst(rows)) for name, rows in wrong.items()},
)

# %% [markdown]
# With noise but without its drift, the points spread too far. With the stronger drift but without noise, they contract too
# much. Only both together balance.
#
# ## DDPM and DDIM are discretisations
#
# Write Algorithm 2 (lesson 02) with the score, $\hat\epsilon = -\sqrt{1 - \bar\alpha_t}\, s$. For small $\beta_t$, expand
# $1 / \sqrt{1 - \beta_t} \approx 1 + \beta_t / 2$ and leave out $\beta_t^2$:
#
# $$x_{t-1} = \frac{x_t + \beta_t\, s}{\sqrt{1 - \beta_t}} + \sigma_t z \;\approx\; x_t + \Big(\frac{\beta_t}{2}\, x_t +
#   \beta_t\, s\Big) + \sqrt{\beta_t}\, z.$$
#
# The right side is an Euler-Maruyama step of the reverse SDE: $f = -\beta / 2$, $g^2 = \beta$, $s - t = -1$. So DDPM is one
# discretisation of the reverse SDE (Song et al., section 4.1, appendix E). DDIM at $\eta = 0$ is Euler's method for the
# probability-flow ODE in the variable $b / a$ (lesson 14). Your sampler at $\lambda = 0$ is Euler's method for the same ODE in
# $t$. `probability_flow` is a third rule, Song et al.'s own for the chain (appendix D.3). All must agree for many steps.
#
# On the ring, with the exact score, DDPM and your sampler at $\lambda = 1$ are given the same $x_T$ and the same $z$ in each
# step. How far apart are their ends?

# %% tags=["nbval-ignore-output"]
predict(
    "sde-ddpm-limit.factor",
    "By which factor does the distance between DDPM's end and the reverse SDE's shrink from 100 "
    "to 200 steps?",
    low=0.5,
    high=8,
)

# %%
on_ring, moves = ExactDenoiser(ring(), chain), (25, 50, 100, 200)
mean_gap = lambda a, b: float((a - b).norm(dim=1).mean())


def distances(n, seed):
    """DDPM to the reverse SDE, with the same and with other z; three rules to the ODE's solution."""
    x = torch.randn(200, 2, generator=seeded(seed), dtype=torch.float64)
    ladder = torch.linspace(1000, 10, n + 1).round().long()
    mine = lambda lam, z: my_reverse_sde(on_ring, x, ladder.tolist(), lam, seeded(z))[-1]
    by_ddpm = result(ddpm(on_ring, x, ladder, seeded(100 + seed)))
    solution = result(heun(on_ring, x, torch.arange(1000, 9, -3)))  # second order
    return {
        "same z": mean_gap(by_ddpm, mine(1.0, 100 + seed)),
        "other z": mean_gap(by_ddpm, mine(1.0, 109 + seed)),
        "DDIM": mean_gap(result(ddim(on_ring, x, ladder)), solution),
        "λ = 0": mean_gap(mine(0.0, 0), solution),
        "Song et al.'s rule": mean_gap(result(probability_flow(on_ring, x, ladder)), solution),
    }


found = {n: [distances(n, seed) for seed in range(30, 35)] for n in moves}
apart = {
    name: torch.tensor([[of_seed[name] for of_seed in found[n]] for n in moves])
    for name in found[moves[0]][0]
}  # (steps, noises) each
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.8))
for ax, names, title in (
    (axes[0], ("same z", "other z"), "DDPM to the reverse SDE"),
    (axes[1], ("DDIM", "λ = 0", "Song et al.'s rule"), "To the ODE's solution"),
):
    for name, style in zip(names, ("o-", "s--", "^:")):
        each = [estimate(row, "noises") for row in apart[name]]
        at, margins = [e.mean for e in each], [e.margin for e in each]
        ax.errorbar(moves, at, margins, fmt=style, ms=9, capsize=6, label=name)
    ax.set(title=title, xscale="log", yscale="log", xlabel="steps")
    ax.set_xticks(moves, moves)
    ax.minorticks_off()
    ax.legend(fontsize=13)
axes[0].set_ylabel("mean distance at the end")
plots.show(
    fig,
    alt="Two log-log plots over 25 to 200 steps. Left: with the same z the distance from DDPM to "
    "the reverse SDE falls along a line; with other z it stays a little above 1. Right: the "
    "distances of DDIM, lambda 0 and Song et al.'s rule to the solution of the ODE all fall "
    "along lines.",
)

# %%
ratio_of = lambda name: estimate(apart[name][2] / apart[name][3], "noises")
claim(
    "sde-ddpm-limit",
    "On the ring, with the exact score and the same noises, DDPM approaches the reverse SDE's "
    "Euler-Maruyama steps at first order: from 100 to 200 steps their distance about halves.",
    figures=dict(factor=ratio_of("same z"), distance=estimate(apart["same z"][3], "noises")),
    measured="it shrinks by a factor of {factor:.2f}, to {distance:.3f}",
    holds=lambda factor: factor.within(2**0.5, 2**1.5),
    null={"other z in one of the two": dict(factor=ratio_of("other z"))},
)

# %% [markdown]
# With other $z$ the ends differ by about the ring's size, in any number of steps. Their distributions should still be nearly
# the same, which this distance does not measure. (The claim counts factors within $\sqrt 2$ of 2, which was set after a trial
# with other noises.)
#
# ## Five views of one prediction
#
# A network predicts one of five things (lesson 02): $x_0$, $\epsilon$, the score, $v$ or the flow. Each follows from any other,
# because $x_t = a\, x_0 + b\, \epsilon$ is known. There is a reason for having several. Follow one path of the ODE: $\hat x_0$
# and $\hat\epsilon$ are the coordinates of $x$, and only $a$ and $b$ change in a short move. So for **every** process
#
# $$dx = \hat x_0\, da + \hat\epsilon\, db.$$
#
# - **VE**, $a = 1$: $dx = \hat\epsilon\, d\sigma$. The velocity is **eps**.
# - **Rectified flow**, $a = 1 - t$, $b = t$: $dx = (\hat\epsilon - \hat x_0)\, dt$. The velocity is the **flow**.
# - **VP**, $a = \cos\theta$, $b = \sin\theta$: $dx = (a\, \hat\epsilon - b\, \hat x_0)\, d\theta$. The velocity is **v**.
# - In any time $t$: $dx = (f x - \frac{1}{2} g^2 s)\, dt$. This form has the **score**.
#
# Turn the dial from data to noise. Each panel has $x_t$ on the horizontal axis, from -3 to 3, and the exact prediction for it
# on the vertical axis, from -3 to 3. Grey is the density of $x_t$. The curves below the panels are the signal $a$ and the noise
# $b$.


# %% tags=["nbval-ignore-output"]
def view_of(name, t):
    """A picture of one exact prediction over x_t, and of the density of x_t."""
    x = torch.linspace(-3, 3, 800, dtype=torch.float64)[:, None]
    density = data.log_prob(x, process.signal(t), process.noise(t)).exp()
    value = exact(x, t).as_view(name)[:, 0]
    return plots.sketch(value, 2 * density / density.max() - 3, -3, 3, size=(90, 90))


some = [1, 10, 25, 50, 100, 150, 200, 250, 300, 400, 600, 1000]
titles = dict(x0="x̂₀", eps="ε̂", score="score", v="v", flow="flow")
dial(
    "t",
    some,
    {title: [view_of(name, t) for t in some] for name, title in titles.items()},
    {
        "signal a": [float(process.signal(t)) for t in some],
        "noise b": [float(process.noise(t)) for t in some],
    },
)

# %% [markdown]
# At small $t$, $\hat x_0$ is nearly the line $\hat x_0 = x_t$, and the score is so steep that it leaves the panel. At large
# $t$, $\hat\epsilon$ is nearly the line $\hat\epsilon = x_t$, and $\hat x_0$ is flat: the mean of the data. $v$ goes from
# $\hat\epsilon$ at small $t$ to $-\hat x_0$ at large $t$.
#
# ## How probable is a point? log p along the ODE
#
# A GAN gives no $p(x)$, and a VAE only a bound (lesson 05). The ODE gives $p(x)$ itself. It moves points with a velocity $u(x,
# t)$ and creates none. Where the velocity spreads points out, the density falls. The rate is the **divergence of a velocity**,
# the trace of the Jacobian, $\nabla \cdot u = \sum_i \partial u_i / \partial x_i$. Along a path
#
# $$\frac{d}{dt} \log q_t(x(t)) = -\nabla \cdot u, \qquad\text{so}\qquad
# \log p(x(s)) = \log q_T(x(T)) + \int_s^T \nabla \cdot u(x(t), t)\, dt$$
#
# (Song et al., eq. 39; the **instantaneous change of variables**). Start at the point $x$, follow the ODE *up* to noise, and
# collect the divergence. At $T$ the density is that of standard normal noise. With a learned score, $p$ is the density of what
# this ODE draws. DDPM with the same network draws from another one.
#
# **The trace is expensive.** Automatic differentiation gives $e^\top J$ for one vector $e$ in one backward pass. The exact
# trace of a picture with 256 pixels needs 256 of them, at every step. **Hutchinson's estimator** takes a random $e$ with mean 0
# and covariance $\mathbf{I}$ instead, here random signs:
#
# $$\mathbb{E}\big[e^\top J\, e\big] = \sum_{ij} J_{ij}\, \mathbb{E}[e_i e_j] = \operatorname{tr} J.$$
#
# ### Exercise 2: Hutchinson's estimator (difficulty 2, 7 minutes)
#
# `field(x)` is of the shape of `x`, (B, ...), and the members of the batch do not affect one another. `probes` is (K, B, ...).
# Return the mean of $e^\top J e$ over the K probes, (B,), without a gradient. Use `x.detach().requires_grad_()` and
# `torch.autograd.grad(scalar, x, retain_graph=True)[0]`. It must work under `torch.no_grad()` too: open
# `with torch.enable_grad():`.


# %%
def my_divergence(field, x, probes):
    """The estimate (B,) of the divergence of `field` at x (B, ...), from probes (K, B, ...)."""
    ...  # write it here


verdict = check.divergence(my_divergence)
my_divergence = verdict.function
verdict

# %%
check.solution("divergence")

# %% [markdown]
# ### Exercise 3: log p by a second-order solver (difficulty 2, 7 minutes)
#
# `velocity(x, t)` gives two tensors: the velocity (B, ...) and its divergence (B,). `log_prior(x)` is $\log q_T$, (B,). `times`
# **rises** from data to noise. In each step from $s$ to $t$ use **Heun's method** for both, as in `samplers.heun`: take the
# velocity at the start, make an Euler step, take the velocity there at time $t$, and move by the mean of the two. $\log p$
# collects the divergence in the same way.


# %%
def my_ode_likelihood(velocity, log_prior, x, times):
    """log p(x) (B,), from x (B, ...) at times[0]."""
    ...  # write it here


verdict = check.ode_likelihood(my_ode_likelihood)
my_ode_likelihood = verdict.function
verdict

# %%
check.solution("ode_likelihood")

# %% [markdown]
# **Measured** on the ring, where $\log p$ is known. We take the rectified flow: its velocity is `pred.flow`, and $x_1$ is
# exactly normal. With two unit vectors as probes, your divergence is the exact trace over 2. Noise is 0.01 at the start, since
# $\hat\epsilon$ is undefined without noise. The times have equal ratios, because close to the data the noise changes by a
# factor, not by a difference. The error is the mean absolute difference to the closed form, over 200 points. Five sets of
# points were drawn. The conditions of the claim below were chosen after a trial with other points.

# %% tags=["nbval-ignore-output"]
predict(
    "ode-likelihood.factor",
    "By which factor does the error of log p fall from 20 to 40 steps of Heun's method?",
    low=1,
    high=10,
)

# %%
flow, world = RectifiedFlow(), ring()
along = ExactDenoiser(world, flow)
log_normal = lambda x: -(x**2).sum(1) / 2 - torch.log(torch.tensor(2 * torch.pi))


def velocity(x, t):
    """The rectified flow's velocity and its exact divergence."""
    field = lambda x: along(x, t).flow
    units = torch.eye(2, dtype=x.dtype)[:, None].expand(2, *x.shape)
    return field(x), 2 * my_divergence(field, x, units)


def by_euler(velocity, log_prior, x, times):
    """Euler's method in the place of Heun's."""
    change = 0
    for s, t in pairwise(times):
        v, div = velocity(x, s)
        x, change = x + (t - s) * v, change + (t - s) * div
    return log_prior(x) + change


steps, errors = (10, 20, 40, 80), {}
solvers = {
    "Heun's method": my_ode_likelihood,
    "Euler's method": by_euler,
    "without the divergence": lambda velocity, log_prior, x, times: my_ode_likelihood(
        lambda x, t: (velocity(x, t)[0], 0 * x[:, 0]), log_prior, x, times
    ),
}
for seed in range(70, 75):
    x = world.sample(200, seeded(seed))[0].double()
    x = flow.add_noise(x, 0.01, randn_like(x, seeded(10 + seed)))
    want = world.log_prob(x, 0.99, 0.01)
    for name, solve in solvers.items():
        for n in steps:
            rising = torch.logspace(-2, 0, n + 1, dtype=torch.float64).clamp(max=1).tolist()
            error = (solve(velocity, log_normal, x, rising) - want).abs().mean()
            errors.setdefault((name, n), []).append(float(error))

fig, ax = plt.subplots(figsize=(10, 4.6))
for name, style in zip(solvers, ("o-", "s--", "^:")):
    each = [estimate(errors[name, n], "sets of points") for n in steps]
    at, margins = [e.mean for e in each], [e.margin for e in each]
    ax.errorbar(steps, at, margins, fmt=style, ms=9, capsize=6, label=name)
ax.set(xscale="log", yscale="log", xlabel="steps", ylabel="mean error, nats")
ax.set_xticks(steps, steps)
ax.minorticks_off()
ax.set_title("Error of log p on the ring")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    fig,
    alt="A log-log plot over 10 to 80 steps. The error of Heun's method falls from 0.1 to 0.002 "
    "nats, that of Euler's method from 0.55 to 0.08. Without the divergence it stays between 1 and 10.",
)


# %%
def of_solver(name):
    """The claim's figures of a solver."""
    twenty, forty = (torch.tensor(errors[name, n]) for n in (20, 40))
    runs = "sets of points"
    return dict(error=estimate(forty, runs), factor=estimate(twenty / forty, runs))


claim(
    "ode-likelihood",
    "On the ring, with the exact denoiser, 40 steps of Heun's method along the "
    "probability-flow ODE give log p to within 0.02 nats, and the error is of second order "
    "from 20 to 40 steps.",
    figures=of_solver("Heun's method"),
    measured="error {error:.4f} nats; it falls by a factor of {factor:.2f}",
    holds=lambda error, factor: all_of(error.below(0.02), factor.within(2**1.5, 2**2.5)),
    null={name: of_solver(name) for name in list(solvers)[1:]},
)

# %% [markdown]
# Euler's method is not wrong, only of first order. Without the divergence the error does not shrink: $\log q_T$ of the noise
# alone says little about the density at the point.
#
# ## Bits per dimension of digits
#
# On pictures, likelihoods are given in bits per dimension: $-\log_2 P(x) / D$ for a picture of $D$ numbers, the length of
# the best code under the model, per pixel. But a pixel has one of 256 levels, and the ODE gives a density. On data of whole
# levels a density can be made as large as one likes: put a narrow peak on each level. **Dequantisation** prevents that. Add
# uniform noise of one level's width $\Delta$. By Jensen's inequality, the mean of
#
# $$-\frac{1}{D} \log_2 \big(p(x + u)\, \Delta^D\big), \qquad u \sim \mathrm{U}(-\Delta / 2, \Delta / 2)^D,$$
#
# is an upper bound on the bits that the model's probability of the levels needs (Theis et al., section 3.1).
#
# We measure the shipped network of digits, $16 \times 16$ pixels in 256 levels, given the class, by `sde.log_likelihood`
# (`tests/benchmarks/likelihood.py`): 200 held-out digits, 50 steps of Heun's method in equal ratios of $t$, one probe. The
# network was never trained at $t = 0$, so the density is that of $x_1$. Nor was it trained between whole $t$, where nearly all
# of these times lie: the bits are those of the network as it interpolates. The baselines are not given the class. With equal
# classes that can be worth at most $\log_2 10 / 256 = 0.013$ bits per dimension. Compare:
#
# - **one Gaussian** with the mean and covariance of the 4,000 training digits, and the noise of $t = 1$;
# - **independent pixels**: each pixel's own histogram over the training digits, and the noise of $t = 1$;
# - null models: the **untrained** network, and the trained one on digits whose **pixels have another order**.

# %% tags=["nbval-ignore-output"]
predict(
    "ode-bits.bits",
    "How many bits per dimension do held-out digits need under the network (uniform: 8)?",
    low=0,
    high=8,
)

# %%
table = {
    part: figures.load("likelihood", part).set_index("of")["bits"]
    for part in ("splits", "baselines")
}
network_bits, pixel_bits = (
    table["splits"]["held out"],
    table["baselines"]["independent pixels"],
)
for name, bits in (*table["splits"].items(), *table["baselines"].items()):
    print(f"{name:22s}{estimate(bits, 'digits'):.2f} bits per dimension")
in_steps = figures.load("likelihood", "steps")
print("steps:", *(f"{row.steps}: {row.mean:.3f} " for row in in_steps.itertuples()))
other_probes = torch.tensor(figures.load("likelihood", "probes")["bits"].tolist()).std(0)
print(f"another probe: a standard deviation of {other_probes.mean():.3f} for one digit")

# %%
claim(
    "ode-bits",
    "Held-out digits need fewer bits per dimension under this one network than under "
    "independent pixels with the same noise.",
    figures=dict(
        bits=compare(network_bits, pixel_bits, "digits"),
        training=estimate(table["splits"]["training"], "digits"),
        discrete=estimate(table["baselines"]["histograms"], "digits"),
    ),
    measured="{bits:.2f} bits per dimension; the network on training digits {training:.2f}; the "
    "pixels' histograms without noise {discrete:.2f}; uniform 8",
    holds=lambda bits: bits.lower,
    null={
        name: dict(bits=compare(table["splits"][of], pixel_bits, "digits"))
        for name, of in (
            ("the network before training", "untrained"),
            ("pixels in another order", "held out, other order"),
        )
    },
)

# %% [markdown]
# **How exact is this?** From 50 to 200 steps the mean of 50 digits changes by 0.01. Another probe changes the bits of one digit
# by the standard deviation that is printed, and the mean of 200 digits by far less. The largest cost is the noise of $t = 1$.
# Its standard deviation is 0.0064, and two levels are 0.0078 apart. Four fifths of the pixels are background, always black.
# Under a normal density of that width the best model needs 1.1 bits for each. The independent pixels have the same noise, so
# the two can be compared. The same histograms *without* noise need {{ode-bits.discrete.mean}} bits, fewer than the network with
# it. That is the cost of the noise, not a better model: bits can be compared at the same noise only.
#
# ## Which class makes a digit most probable?
#
# $\log p(x \mid c)$ for each class $c$ gives a classifier, by Bayes' rule with equal priors: the class with the fewest bits.
# All classes share the dequantisation noise and the probe, so that their errors may cancel. How far was not measured. 25 steps,
# 200 held-out digits.

# %%
clean, label = (part[-200:] for part in digits.load("held_out"))
for of, rows in figures.load("likelihood", "classes").groupby("of"):
    by_class = torch.tensor(rows.sort_values("label")["bits"].tolist())  # (10, 200)
    right = share(by_class.argmin(0) == label, "digits")
    print(f"{of}: their own class has the fewest bits for a share of {right:.2f}")
order = torch.tensor(network_bits).argsort()
fig, ax = plt.subplots(figsize=(10, 3))
few_and_many = torch.cat([clean[order[:10]], clean[order[-10:]]])
plots.pictures(few_and_many, columns=10, ax=ax, rows=["fewest bits", "most bits"])
ax.set_title("Held-out digits with the fewest and the most bits")
plots.show(
    fig,
    alt="Two rows of ten digits. Fewest bits: nearly all are thin ones, with few strokes. Most "
    "bits: large digits with many grey pixels.",
)

# %% [markdown]
# Before the run we had set 0.9 as the share to reach. It is not reached; chance is 0.1. Why was not tested. Nearly all digits
# with the fewest bits are ones: little ink, so that more of the picture is background.

# %% [markdown]
# ## What you saw
#
# - A process with signal $a$ and noise $b$ has the SDE $dx = f x\, dt + g\, dw$, with $f$ the rate of $\log a$.
# - Its density obeys the Fokker-Planck equation. Backwards in time, with $(1 + \lambda^2) / 2$ of the score in the drift, there
#   is a family of processes with the same density. Largest excess in total variation: ODE {{sde-same-marginals.ode}}, SDE
#   {{sde-same-marginals.sde}}; noise without its drift {{sde-same-marginals.null_noise}}.
# - DDPM discretises the reverse SDE: with the same noises the distance shrinks by a factor of {{sde-ddpm-limit.factor}} from
#   100 to 200 steps. DDIM discretises the ODE.
# - The velocity of the ODE is eps, flow or $v$, according to the process.
# - Along the ODE $\log p$ changes by the divergence. On the ring, 40 steps of Heun's method have an error of
#   {{ode-likelihood.error}} nats.
# - Held-out digits need {{ode-bits.bits.a}} bits per dimension under the network and {{ode-bits.bits.b}} under independent
#   pixels, training digits {{ode-bits.training}}.
#
# ## At full size
#
# Song et al. report these bits per dimension on CIFAR-10's test pictures, with uniform dequantisation, and the Frechet distance
# of samples of the ODE (Table 2). The sub-VP SDE is their third process (eq. 12); "deep" is a deeper network.
#
# | model | bits per dimension | Frechet distance |
# |---|---|---|
# | DDPM, simple loss, the bound of Ho et al. (discrete data) | at most 3.75 | |
# | DDPM, the same model by the ODE | 3.28 | 3.37 |
# | DDPM++, continuous, VP | 3.16 | 3.93 |
# | DDPM++, continuous, deep, sub-VP | 2.99 | 2.92 |
#
# Their solver is SciPy's Runge-Kutta method of order 5 with a tolerance of $10^{-5}$ (appendix D.2). Their 2.99 and our bits
# cannot be compared: our pictures are mostly black. Theis et al. show that likelihood and the quality of samples are largely
# independent when the dimension is high (abstract).
#
# Other solvers and better variables for the same ODE, such as EDM and DPM-Solver, are lesson 22's. Lesson 23 trains the
# velocity itself.

# %% tags=["nbval-ignore-output"]
guesses(
    "sde-same-marginals.null_noise",
    "sde-ddpm-limit.factor",
    "ode-likelihood.factor",
    "ode-bits.bits",
)

# %% [markdown]
# ## Think about it
#
# 1. With an exact score every $\lambda$ has the same marginals. With a *learned* score, why may they differ?
#
# <details><summary>Answer</summary>
#
# The derivation puts the true score in two places: in the drift, and in the identity that turns blur into drift. If the learned
# score is wrong, the part with $\lambda$ no longer leaves $q_t$ as it is. It pulls the points towards the density whose score
# the network has. That can repair errors that earlier steps have made, or add its own. Which of the two happens is a matter of
# measurement: lesson 14 compares DDPM and DDIM on digits.
#
# </details>
#
# 2. The ODE turns each digit into noise without loss. Why does a typical digit not get the same $\log p$ as a typical noise?
#
# <details><summary>Answer</summary>
#
# $\log p(x)$ has two parts. $\log q_T$ of the noise is nearly the same for all typical noises. The divergence along the path is
# not. Between a digit and its noise the ODE spreads points out by a huge factor, since digits fill only a small part of the
# space. That factor is the difference.
#
# </details>
#
# ## Words
#
# - **stochastic differential equation** (SDE): an equation for the change of $x$ in a short time, with a drift and random
#   increments.
# - **drift of the SDE**: the part of its change that is certain.
# - **diffusion coefficient**: the factor of the random increments, $g(t)$.
# - **Wiener process**: independent normal increments with variance $dt$; Brownian motion.
# - **Euler-Maruyama method**: Euler's method for an SDE, with noise of standard deviation $g \sqrt{dt}$ in each step.
# - **Fokker-Planck equation**: the equation by which the density of an SDE's points changes with time.
# - **reverse SDE**: the SDE that runs from noise to data with the same marginals and the same noise.
# - **total variation distance**: half the sum of the differences of two distributions' probabilities.
# - **divergence of a velocity**: the trace of its Jacobian: how fast it spreads points out.
# - **Heun's method**: a step by the mean of two velocities, at its start and at the end of an Euler step; order 2.
# - **instantaneous change of variables**: along an ODE, $\log p$ falls at the rate of the divergence.
# - **Hutchinson's estimator**: the mean of $e^\top J e$ over random $e$, an unbiased estimate of the trace of $J$.
# - **dequantisation**: adding uniform noise of a level's width, so that data of whole levels have a density.
#
# Used again: bits per dimension (lesson 01), score (lesson 02), Langevin dynamics (lesson 03), Euler's method (lesson 14),
# probability-flow ODE (lesson 14), rectified flow (lesson 16).
#
# ## In practice
#
# The reverse SDE of the variance-exploding process in diffusers, with the exact score of data with variance 1:
#
# ```python
# import torch
# from diffusers import ScoreSdeVeScheduler
#
# scheduler = ScoreSdeVeScheduler(sigma_min=0.01, sigma_max=20.0)
# scheduler.set_timesteps(500)
# scheduler.set_sigmas(500)
# x = scheduler.init_noise_sigma * torch.randn(2000, 1, 1, 1)
# for t, sigma in zip(scheduler.timesteps, scheduler.sigmas):
#     score = -x / (1 + sigma**2)
#     x = scheduler.step_pred(score, t, x).prev_sample
# assert abs(x.std() - 1) < 0.1
# ```
#
# {{names}}
#
# | our name | diffusers' |
# |---|---|
# | `my_reverse_sde(..., 1.0, rng)`, VE chain | `ScoreSdeVeScheduler`: `step_pred(score, t, x, generator=rng)` |
# | `drift_diffusion(process, t)` | inside `step_pred`: `drift` and `diffusion` |
# | `my_ode_likelihood` | none |
#
# ## Next
#
# [Lesson 22](22_fast_solvers.ipynb), EDM and fast solvers, looks for the solver of this ODE that needs the fewest evaluations.
