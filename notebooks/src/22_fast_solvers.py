# %% [markdown]
# # 22 EDM and fast solvers
#
# **You will be able to** derive EDM's preconditioning, choose the noise levels that a sampler visits, and write DPM-Solver++, a
# solver of second order that takes one evaluation of the network per move. You can measure the order of a solver, and say why
# the last moves spoil it.
#
# **Time** 60 minutes; in a class leave the optional part, "Failure museum" and all after "What you saw" for home. **Needs**
# lesson 02 (the views $x_0$, $\epsilon$, $v$), lesson 14 (DDIM, the probability-flow ODE), lesson 16 (rectified flow).
# **Papers** Tero Karras, Miika Aittala, Timo Aila, Samuli Laine: *Elucidating the Design Space of Diffusion-Based Generative
# Models* (2022), called EDM; Cheng Lu et al.: *DPM-Solver* and *DPM-Solver++* (2022); Wenliang Zhao et al.: *UniPC* (2023);
# Luping Liu et al.: *Pseudo Numerical Methods for Diffusion Models on Manifolds* (2022), called PNDM; Qinsheng Zhang, Yongxin
# Chen: *Fast Sampling of Diffusion Models with Exponential Integrator* (2023), called DEIS.

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("22")

# %% [markdown]
# ## How is a network preconditioned?
#
# Divide $x_t = a\,x_0 + b\,\epsilon$ by the signal $a$. Then $x = x_0 + \sigma\,\epsilon$, with $\sigma = b / a$. Every process
# of this course is this one, with another scale and another clock (lesson 14 used the same variables). EDM takes $\sigma$
# itself as the time, from 80 down to 0.
#
# A plain network has a hard task in these variables. Its input has a standard deviation from 0.5 to 80. The two targets that we
# know have opposite defects:
#
# - The network predicts $x_0$. Where $\sigma$ is small, $x_0$ is almost the input. The network must copy it, and each error of
#   the copy stays.
# - The network predicts $\epsilon$. Then $\hat x_0 = x - \sigma\,\hat\epsilon$ multiplies each error of the network by
#   $\sigma$: by 80 at the start.
#
# **Preconditioning** means to scale what a network is given and what it puts out, so that both have unit size at every noise
# level. EDM writes the prediction of $x_0$ around a network $F$ (Karras et al., eq. 7):
#
# $$\hat x_0 = c_\text{skip}(\sigma)\,x + c_\text{out}(\sigma)\,F\big(c_\text{in}(\sigma)\,x,\; c_\text{noise}(\sigma)\big) .$$
#
# Let the data have mean 0 and standard deviation $\sigma_d$ per coordinate. Three demands fix three factors:
#
# 1. *The input has unit variance.* The variance of $x$ is $\sigma^2 + \sigma_d^2$, so $c_\text{in} = 1 / \sqrt{\sigma^2 +
#    \sigma_d^2}$.
# 2. *The target has unit variance.* The target of $F$ is $(x_0 - c_\text{skip}\,x) / c_\text{out}$, and $x_0 - c_\text{skip}\,x
#    = (1 - c_\text{skip})\,x_0 - c_\text{skip}\,\sigma\,\epsilon$. So
#
# $$c_\text{out}^2 = (1 - c_\text{skip})^2\,\sigma_d^2 + c_\text{skip}^2\,\sigma^2 .$$
#
# 3. *The errors of $F$ are multiplied as little as possible.* Choose the $c_\text{skip}$ for which $c_\text{out}$ is smallest.
#    The derivative is 0 where $(1 - c_\text{skip})\,\sigma_d^2 = c_\text{skip}\,\sigma^2$. Hence
#
# $$c_\text{skip} = \frac{\sigma_d^2}{\sigma^2 + \sigma_d^2}, \qquad
# c_\text{out} = \frac{\sigma\,\sigma_d}{\sqrt{\sigma^2 + \sigma_d^2}}, \qquad
# c_\text{in} = \frac{1}{\sqrt{\sigma^2 + \sigma_d^2}}, \qquad c_\text{noise} = \tfrac14 \ln \sigma .$$
#
# The last one has no derivation. It only has to tell the noise levels apart. With little noise $F$ predicts minus the noise,
# with much noise it predicts the data. You know a special case. For $\sigma_d = 1$ and $a^2 + b^2 = 1$, the first two factors
# give $\hat x_0 = a\,x_t + b\,F$, and lesson 02 has $\hat x_0 = a\,x_t - b\,\hat v$: so $F = -\hat v$. **The $v$ of lesson 02
# is EDM's preconditioning for data of unit variance.**
#
# ### Exercise 1: preconditioning (difficulty 2, 7 minutes)
#
# You are given points `x` (B, D) with noise of standard deviation `sigma` (B, 1), one for each point, and the number
# `sigma_data`. `net(x, time)` takes points (B, D) and a row of times (B,), and gives (B, D).

# %%
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.methods.edm import EDM, churn
from course_lib.methods.solvers import deis, dpm_solver, plms, unipc
from course_lib.process import DDPM, RectifiedFlow, seeded
from course_lib.samplers import ddim, heun, rectified_flow, result
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.player import play
from course_lib.zoo import figures, models


def my_precondition(net, x, sigma, sigma_data):
    """The predicted x_0 (B, D)."""
    ...  # write it here


verdict = check.precondition(my_precondition)
my_precondition = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("precondition")

# %% [markdown]
# A probe shows what your function does. A net that puts out 1 at $x = 0$ gives $c_\text{out}$: the factor by which an error of
# the network reaches $\hat x_0$. The data are lesson 02's ring, with $\sigma_d = 0.71$.

# %%
plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
SIGMA_DATA = 0.51**0.5  # radius 1 and width 0.1: variance 1 / 2 + 0.01 per coordinate
levels = torch.logspace(-2.7, 1.9, 60)[:, None]
c_out = my_precondition(lambda x, time: torch.ones_like(x), 0 * levels, levels, SIGMA_DATA)

fig, ax = plt.subplots(figsize=(8.5, 4))
ax.plot(levels, torch.ones_like(levels), ":", color=RED, lw=3, label="the net predicts $x_0$")
ax.plot(levels, levels, "--", color=ORANGE, lw=3, label="the net predicts ε")
ax.plot(levels, c_out, color=BLUE, lw=3, label="EDM, by your function")
ax.set(xscale="log", yscale="log", xlabel="noise level σ", ylabel="factor of the net's error")
ax.set_title("By how much is an error of the net multiplied?")
ax.legend(loc="upper left")
plots.show(
    fig,
    alt="A log-log plot over noise levels from 0.002 to 80. The factor of x0-prediction is 1 "
    "everywhere. That of eps-prediction is sigma, from 0.002 to 80. EDM's follows sigma up to "
    "about 0.5, and then stays at 0.71.",
)

# %% [markdown]
# EDM's loss is the squared error of $\hat x_0$ with the weight $1 / c_\text{out}^2$. Then the error of $F$ has weight 1 at
# every noise level, and a net that puts out 0 has a loss of 1 everywhere. Training times are drawn with $\ln \sigma \sim
# \mathcal{N}(-1.2, 1.2^2)$ (Table 1), mostly in the middle.
#
# **Which part matters?** `tests/benchmarks/solvers.py` trains a small network on the ring, five trainings for each of five
# ways: EDM; EDM without $c_\text{in}$; the net predicts $x_0$, or $\epsilon$, both with $c_\text{in}$; and $x_0$ without
# $c_\text{in}$, that is, no preconditioning. All have the same times, the same loss of $\hat x_0$ and the same
# $c_\text{noise}$. On the ring the best prediction is known. The **excess** is the weighted squared distance from it: what the
# loss has above its floor.

# %% tags=["nbval-ignore-output"]
predict(
    "edm-preconditioning.worst",
    "Five ways, the same loss of x₀: which has the largest excess?",
    choices=("EDM", "EDM, without c_in", "x0", "eps", "x0, without c_in"),
)

# %%
trained = figures.load("solvers", "preconditioning")
WAYS = ("EDM", "EDM, without c_in", "x0", "eps", "x0, without c_in")
excess = {way: figures.values(trained, "excess", way=way) for way in WAYS}
sigmas = (0.01, 0.03, 0.1, 0.3, 1, 3, 10)
names = dict(
    zip(WAYS, ("EDM", "EDM, without $c_{in}$", "$x_0$", "ε", "$x_0$, without $c_{in}$"))
)

samples = {way: figures.values(trained, "distance", way=way) for way in WAYS}
fig, axes = plt.subplots(1, 3, figsize=(11, 4.2), width_ratios=(1, 1, 1.3))
looks = list(zip(WAYS, ("o-", "s--", "^:", "v-.", "D--"), plots.COLOURS))
for ax, values in zip(axes, (excess, samples)):
    for row, (way, line, colour) in enumerate(looks):
        each = estimate(values[way])
        style = dict(fmt=line[0], color=colour, ms=9, capsize=6)
        ax.errorbar(each.mean, row, xerr=each.margin, **style)
    ax.set(ylim=(4.5, -0.5), xlim=(0, None))
axes[0].set_yticks(range(5), names.values())
axes[1].set_yticks(range(5), [])
axes[0].set_title("Excess,\nall noise levels")
axes[1].set_title("Samples: distance\nfrom the ring")
for way, line, colour in looks:
    at = [figures.values(trained, f"by sigma: {s:g}", way=way).mean() for s in sigmas]
    axes[2].plot(sigmas, at, line, color=colour, ms=8)
axes[2].set(xscale="log", yscale="log", xlabel="noise level σ")
axes[2].set_title("Excess,\nby noise level")
for way in WAYS:
    print(f"{way:17} excess {estimate(excess[way]):.3f}  samples {estimate(samples[way]):.3f}")
plots.show(
    fig,
    alt="Three plots for five ways to make x0. Excess with margins: EDM 0.04, without c_in 0.02, "
    "x0 0.07, eps 0.01, x0 without c_in 0.075. Distance of samples: eps 0.5, all others below "
    "0.1. Right: all curves have a peak at sigma = 0.1 and are lowest at 1 or 3; at 10 EDM has "
    "0.002, eps and x0 more than 0.04, x0 without c_in 0.5.",
)


# %%
def preconditioning(way, other="x0, without c_in"):
    """The claim's figures of a way to make x_0, beside another."""
    return dict(
        excess=compare(excess[way], excess[other]),
        samples=compare(samples[way], samples[other]),
        worst=max(WAYS, key=lambda name: excess[name].mean()),
    )


claim(
    "edm-preconditioning",
    "On the ring, a small network with EDM's preconditioning ends nearer to the exact x_0 "
    "than the same network that predicts x_0 from the bare input.",
    figures=preconditioning("EDM"),
    measured="EDM beside no preconditioning, excess {excess:.3f}, distance of samples "
    "{samples:.3f}; largest excess: {worst}",
    holds=lambda excess: excess.lower,
    null={
        "no preconditioning, the trainings in another order": dict(
            excess=compare(
                excess["x0, without c_in"].take([1, 2, 3, 4, 0]), excess["x0, without c_in"]
            )
        )
    },
)

# %% [markdown]
# **In the mean the target matters, and the input hardly does.** EDM without $c_\text{in}$ cannot be told apart from EDM. With
# $x_0$ as the target, $c_\text{in}$ lowers the excess by a twentieth. But this net has a LayerNorm in each block, which scales
# a bare input by itself; another may need $c_\text{in}$ more. And the right plot shows more than the mean: at $\sigma = 10$
# $c_\text{in}$ lowers the excess of $x_0$ to about a sixth, and at $\sigma = 1$ EDM's to about three tenths (at 10 the
# difference of EDM's two is within its margin). The target counts from $\sigma = 0.3$ down. Most of the difference of the means
# is made between 0.03 and 0.3. Below 0.03, where the net has to copy its input, lie fewer than 3 in 100 training times. Why
# both nets for $x_0$ do badly at 0.1 was not tested. At 10 EDM's target is nearly $x_0$ too. There the two also differ in the
# weight that the loss gives to the net's error, and this plot does not separate the causes.
#
# **Look at $\epsilon$.** It has the smallest excess of all, and by far the worst samples. The excess is a mean over training
# times, and only 2 in 1,000 of them lie above $\sigma = 10$. There the errors of $\epsilon$ are multiplied by more than 10, and
# sampling starts at 80. This is the likely reason; the right plot ends at 10, so that it is not measured. EDM's factor
# $c_\text{out}$ never exceeds 0.71. (Distances are sliced Wasserstein distances of 4,000 points, in 18 moves of the next
# section's sampler.)
#
# ## Which noise levels should a sampler visit?
#
# In $x$ and $\sigma$ the probability-flow ODE of lesson 14 is
#
# $$\frac{dx}{d\sigma} = \frac{x - \hat x_0(x, \sigma)}{\sigma} = \hat\epsilon .$$
#
# Heun's method, EDM's sampler, makes an Euler step, evaluates the slope at its end, and repeats the step with the mean of
# the two slopes (their Algorithm 1). A move takes two evaluations. The last move takes one, since there is no slope at $\sigma
# = 0$.
#
# How long should the steps be? Eighteen equal levels from 80 to 0.002 are 4.7 apart. The ring is 2 wide: the last
# steps do all the work. **Karras' noise levels** are equal steps in $\sigma^{1/\rho}$ (eq. 5). There are $n$ levels
# $\sigma_0, \dots, \sigma_{n-1}$, and then 0:
#
# $$\sigma_i = \Big(\sigma_\text{max}^{1/\rho} + \frac{i}{n - 1}\big(\sigma_\text{min}^{1/\rho} -
# \sigma_\text{max}^{1/\rho}\big)\Big)^{\rho} .$$
#
# With $\rho = 1$ the steps are equal. For $\rho \to \infty$ they are equal in $\ln \sigma$. EDM takes $\rho = 7$,
# $\sigma_\text{max} = 80$ and $\sigma_\text{min} = 0.002$.
#
# ### Exercise 2: Karras' noise levels (difficulty 1, 3 minutes)
#
# Return the $n + 1$ numbers, the largest first, the 0 last, as a tensor in `torch.float64`.


# %%
def my_karras_times(n, low, high, rho):
    """n + 1 noise levels (n + 1,)."""
    ...  # write it here


verdict = check.karras_times(my_karras_times)
my_karras_times = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("karras_times")

# %% tags=["nbval-ignore-output"]
predict(
    "karras-levels.equal",
    "Exact ring, Heun's method, 18 moves of equal length in σ: how far from the solution of "
    "the ODE do points end, on average? (The ring has radius 1.)",
    low=0,
    high=5,
)

# %% [markdown]
# Five sets of 100 starting points, the exact denoiser, and your noise levels. The solution is Heun's method in 400 moves.

# %%
SETS, EACH, RHOS = 5, 100, (1, 2, 3, 5, 7, 10, 20)
edm_ring = ExactDenoiser(ring(), EDM())


def draw(seed):
    """The noises of all sets (SETS * EACH, 2)."""
    return torch.randn(SETS * EACH, 2, generator=seeded(seed), dtype=torch.float64)


def distances(x, truth):
    """The mean distance from the solution in each set (SETS,)."""
    return (x - truth).norm(dim=1).view(SETS, EACH).mean(1)


def on_levels(sampler, n, rho):
    """The distances of a sampler on n of your noise levels."""
    times = my_karras_times(n, 0.002, 80.0, rho).clamp(max=80.0)  # 80 may be rounded up
    return distances(result(sampler(edm_ring, start, times)), truth)


start = 80 * draw(70)
truth = result(heun(edm_ring, start, EDM().times(400)))
by_rho = {rho: (on_levels(heun, 18, rho), on_levels(dpm_solver, 35, rho)) for rho in RHOS}

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6))
for rho, colour, mark in ((1, RED, "s"), (3, ORANGE, "^"), (7, BLUE, "o")):
    at = my_karras_times(18, 0.002, 80.0, rho)[:-1]
    left.plot(at, [f"ρ = {rho}"] * 18, mark, color=colour, ms=9)
left.set(xscale="log", xlabel="noise level σ", title="18 levels", ylim=(-0.5, 2.5))
for i, (name, line, colour) in enumerate(
    (("Heun, 18 moves", "o-", BLUE), ("2M, 35 moves", "s--", ORANGE))
):
    each = [estimate(by_rho[rho][i], "sets of noises") for rho in RHOS]
    at = [e.mean for e in each], [e.margin for e in each]
    right.errorbar(RHOS, *at, fmt=line, color=colour, ms=8, capsize=5, label=name)
right.set(xscale="log", yscale="log", xlabel="ρ", ylabel="distance at the end")
right.set(title="35 evaluations, by ρ")
right.set_xticks(RHOS, RHOS)
right.minorticks_off()
right.legend()
plots.show(
    fig,
    alt="Two plots. Left: 18 noise levels in three rows on a log axis. With rho = 7 they spread from "
    "80 to 0.002; with rho = 3 most lie above 1; with rho = 1 all but the lowest lie above 4. "
    "Right: distance at the end over rho from 1 to 20, log-log. Heun falls from 2.5 to 0.02 "
    "and is level from rho = 5 on; 2M falls from 0.3 to 0.004.",
)


# %%
def levels_figures(rho):
    """The claim's figures for Heun's method with this rho, beside rho = 1."""
    return dict(
        error=compare(by_rho[rho][0], by_rho[1][0].roll(int(rho == 1)), "sets of noises"),
        equal=estimate(by_rho[1][0], "sets of noises"),
    )


claim(
    "karras-levels",
    "On the ring, exact denoiser, Heun's method in 18 moves ends nearer to the solution with "
    "rho = 7 than with equal steps in sigma.",
    figures=levels_figures(7),
    measured="mean distance with rho = 7 beside rho = 1 {error:.3f}; rho = 1: {equal:.2f}",
    holds=lambda error: error.lower,
    null={"rho = 1, beside the same in another order": levels_figures(1)},
)

# %% [markdown]
# Between 5 and 20 the exponent hardly matters for Heun's method. The second curve is the solver of the next section, with the
# same 35 evaluations. Its error falls further. One reason may be its variable, $\ln \sigma$: for large $\rho$ its steps are
# equal in it.
#
# **Optional, 3 minutes: new noise on the way.** EDM's second sampler (Algorithm 2) adds noise before each move. It raises
# $\sigma$ to $\hat\sigma = (1 + \gamma)\,\sigma$, and takes Heun's step from $\hat\sigma$. This is called **churn**. With an
# exact denoiser the marginals stay right, and new noise gains nothing. With a trained network it can correct errors of earlier
# moves. Karras et al. use it for ImageNet at 64 × 64 (256 moves, $S_\text{churn} = 40$), and none for CIFAR-10. The cell draws
# 120 ends from *one* start, for three amounts.

# %%
one = (80 * torch.tensor([[0.7, -0.4]], dtype=torch.float64)).expand(120, 2)
fig, axes = plt.subplots(1, 3, figsize=(9.5, 3.5), sharey=True)
for ax, amount in zip(axes, (0.0, 2.0, 40.0)):
    ends = result(churn(edm_ring, one, EDM().times(18), amount, scale=1.0, rng=seeded(71)))
    plots.points(ends, ax=ax, title=f"amount {amount:g}")
plots.show(
    fig,
    alt="Three scatter plots. Amount 0: one point. Amounts 2 and 40: points at all eight spots of "
    "the ring.",
)

# %% [markdown]
# ## How can one evaluation a move give second order?
#
# Heun's method pays two evaluations for one move. Two ideas save one of them.
#
# **First idea: solve exactly what is known.** Take $\lambda = \ln (a / b)$, half of the logarithm of the signal-to-noise ratio.
# It rises from noise to data. In EDM's variables $x = x_t / a$ and $\sigma = e^{-\lambda}$ the ODE above reads $dx / d\lambda =
# \hat x_0 - x$. The term with $x$ is linear and known. Only $\hat x_0$ is unknown. Multiply by $e^\lambda$:
#
# $$\frac{d}{d\lambda}\big(e^{\lambda} x\big) = e^{\lambda}\,\hat x_0, \qquad e^{\lambda} x = \frac{x_t}{b_t} .$$
#
# Integrate from time $t$ to $s$ (Lu et al., DPM-Solver++, give this formula):
#
# $$x_s = \frac{b_s}{b_t}\,x_t + b_s \int_{\lambda_t}^{\lambda_s} e^{\lambda}\,\hat x_0(\lambda)\,d\lambda .$$
#
# This is exact. A solver that starts from such a formula is an **exponential integrator**. Take $\hat x_0$ as constant along
# the move, with $h = \lambda_s - \lambda_t$:
#
# $$x_s = \frac{b_s}{b_t}\,x_t - a_s\,(e^{-h} - 1)\,\hat x_0 .$$
#
# Put in $e^{-h} = a_t b_s / (b_t a_s)$, and this is DDIM. So **DDIM is the exponential integrator of first order.**
#
# **Second idea: use the past.** The last prediction $\hat x_0^{\text{before}}$ is already paid for. A **multistep method** puts
# a line through the last two predictions, as a function of $\lambda$. A **singlestep method**, such as Heun's, starts anew in
# each move. DPM-Solver++(2M) takes the line's value at the middle of the move, half a step ahead of $t$:
#
# $$D = \hat x_0 + \frac{h}{2\,h_\text{before}}\,\big(\hat x_0 - \hat x_0^{\text{before}}\big), \qquad
# x_s = \frac{b_s}{b_t}\,x_t - a_s\,(e^{-h} - 1)\,D .$$
#
# The first move has no past: $D = \hat x_0$. In a last move to $b_s = 0$, $h$ is infinite, and again $D = \hat x_0$.
#
# ### Exercise 3: DPM-Solver++(2M) (difficulty 3, 15 minutes)
#
# Write the whole sampler (Lu et al., Algorithm 2). You are given:
#
# - `denoiser(x, t)`, a prediction with `.x0`;
# - `denoiser.process.signal(t)` and `denoiser.process.noise(t)`, $a_t$ and $b_t$, tensors of one number;
# - `pairwise(times)`, the pairs of neighbours $t, s$ in `times`, a falling list that may end with 0.
#
# `torch.expm1(-h)` is $e^{-h} - 1$, also for an infinite $h$. Call the denoiser once a move.


# %%
def my_dpm_multistep(denoiser, x, times):
    """x (B, ...) at the last of the times."""
    ...  # write it here


verdict = check.dpm_multistep(my_dpm_multistep)
my_dpm_multistep = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("dpm_multistep")

# %% [markdown]
# The other fast solvers are relatives of the one that you wrote:
#
# | solver | what is new | evaluations a move |
# |---|---|---|
# | DPM-Solver++ of order 3 | a parabola through three predictions | 1 |
# | DEIS | the same with $\hat\epsilon$ in the place of $\hat x_0$, in $\ln (b / a)$ | 1 |
# | UniPC | a **predictor-corrector method**: the new prediction first corrects the move that led to it | 1 |
# | PLMS (of PNDM) | DDIM with the mean of four $\hat\epsilon$, by the **Adams-Bashforth** weights for equal steps | 1 |
# | Heun (of EDM) | the mean of the slopes at both ends | 2 |
#
# In our library each is one generator in `course_lib/methods/solvers.py`. Each gives the same points as diffusers' scheduler to
# $10^{-5}$ (`tests/test_solvers.py`), with one exception that the next section names. (Of DEIS all
# moves but the last: diffusers has none to noise 0.)
#
# ## What order does a solver have?
#
# The **order of a solver** is $k$ if the error falls by $2^k$ for twice as many moves, in the limit of many. It is the slope
# in a log-log plot. Take the ring with the exact denoiser on a rectified flow, from $t = 0.9$ down to $t = 0.3$, in equal
# steps. The right plot goes down to $t = 0$. Bars would be smaller than the marks (five sets of 100 points).

# %% tags=["nbval-ignore-output"]
predict(
    "solvers-last-move.three",
    "A solver has order 3 down to t = 0.3. Which order has it down to t = 0?",
    low=0,
    high=4,
)

# %%
flow = RectifiedFlow()
exact = ExactDenoiser(ring(), flow)
MOVES = (12, 24, 48, 96, 192)
begin = flow.add_noise(ring().sample(SETS * EACH, seeded(72))[0].double(), 0.9, draw(73))


def solution(x, t, end, n=400):
    """Nearly the solution of the ODE: UniPC of order 3 with equal steps in lambda."""
    at = lambda time: torch.log(torch.tensor((1 - time) / time, dtype=torch.float64))
    times = torch.sigmoid(-torch.linspace(at(t), at(max(end, 1e-6)), n, dtype=torch.float64))
    return result(
        unipc(exact, x, torch.cat([times, torch.zeros(1)]) if end == 0 else times, 3)
    )


def equal_steps(n, end):
    """n + 1 equally spaced times."""
    return torch.linspace(0.9, end, n + 1, dtype=torch.float64)


SOLVERS = {
    "DDIM": lambda x, times: result(rectified_flow(exact, x, times)),
    "2M, yours": lambda x, times: my_dpm_multistep(exact, x, times.tolist()),
    "3M": lambda x, times: result(dpm_solver(exact, x, times, 3)),
    "3S": lambda x, times: result(dpm_solver(exact, x, times, 3, singlestep=True)),
    "UniPC-2": lambda x, times: result(unipc(exact, x, times)),
    "Heun": lambda x, times: result(heun(exact, x, times)),
}
errors = {}
for end in (0.3, 0.0):
    truth_there = solution(begin, 0.9, end)
    for name, solve in SOLVERS.items():
        ends = [solve(begin, equal_steps(n, end)) for n in MOVES]
        errors[name, end] = torch.stack([distances(x, truth_there) for x in ends])


def order(name, end):
    """The order from 96 to 192 moves, over the sets."""
    return estimate((errors[name, end][-2] / errors[name, end][-1]).log2(), "sets of noises")


fig, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
looks = zip(SOLVERS, ("o-", "s-", "^--", "D-", "v-.", "x:"), plots.COLOURS)
for name, line, colour in looks:
    for ax, end in zip(axes, (0.3, 0.0)):
        spent = [2 * n - (end == 0) for n in MOVES] if name == "Heun" else MOVES
        ax.plot(spent, errors[name, end].mean(1), line, color=colour, ms=8, label=name)
for ax, end in zip(axes, (0.3, 0.0)):
    ax.set(xscale="log", yscale="log", xlabel="evaluations", title=f"Down to t = {end:g}")
    ax.set_xticks((12, 24, 48, 96, 192, 384), (12, 24, 48, 96, 192, 384))
    ax.minorticks_off()
axes[0].set_ylabel("distance from the solution")
axes[1].legend(fontsize=13, loc="center left", bbox_to_anchor=(1, 0.5))
print("order from 96 to 192 moves")
for name in SOLVERS:
    print(f"{name:10} down to 0.3: {order(name, 0.3):.2f}   down to 0: {order(name, 0.0):.2f}")
plots.show(
    fig,
    alt="Two log-log plots of the distance from the solution over evaluations, six solvers. Down to "
    "t = 0.3 all are straight lines: DDIM from 0.03 to 0.002, 2M and Heun steeper, 3M steeper "
    "at first, UniPC-2 and 3S steepest, to 2e-7. Down to t = 0 all lie near DDIM up to 24 "
    "evaluations, and are bent and less steep after that.",
)

# %%
ORDERS = dict(one="DDIM", two="2M, yours", three="3S")
claim(
    "solvers-orders",
    "On the ring, exact denoiser, away from t = 0, DDIM, DPM-Solver++(2M) and "
    "DPM-Solver++(3S) have the orders 1, 2 and 3, to within 0.1.",
    figures={figure: order(name, 0.3) for figure, name in ORDERS.items()},
    measured="from 96 to 192 moves DDIM {one:.2f}, 2M {two:.2f}, 3S {three:.2f}",
    holds=lambda one, two, three: all_of(
        one.within(0.9, 1.1), two.within(1.9, 2.1), three.within(2.9, 3.1)
    ),
    null={"DDIM in the place of each": {figure: order("DDIM", 0.3) for figure in ORDERS}},
)

# %% [markdown]
# Two rows of the list look wrong.
#
# - **3M has order 2, not 3.** It uses three predictions, but its first move has only one. That move is DDIM's, with an error of
#   $h^2$, and nothing takes it back. A multistep method is only as good as its start. 3S, the singlestep form, starts each
#   block of three moves anew.
# - **UniPC of "order 2" has order 3.** Its corrector uses one prediction more than its predictor, and it corrects the first
#   move too. That is the gain, without an evaluation.
#
# *A note for those who use diffusers (0.42.1).* Its `DPMSolverMultistepScheduler` with `solver_order=3` takes half of the
# parabola's quadratic term. Twice that term gives our 3M to $10^{-5}$, and a test shows it. Its default, order 2, is the one
# that you wrote.
#
# ## Why do the last moves spoil the order?
#
# On the way to $t = 0$, $\lambda$ goes to infinity. Equal steps in $t$ are then not small in $\lambda$, however many there are:
# the step from $2\Delta$ to $\Delta$ is about $\ln 2$ long, and the last one is infinite. In the last move $D = \hat x_0$, and
# its error falls as $1 / n^2$. So does the error of each move just before it, since its length in $\lambda$ does not shrink. In
# the limit no solver of the right plot has an order above 2. The control is printed below: with the exact solution in the place
# of the last move alone, 3S keeps an order near 2. (The other numbers down to 0, such as 2M's, are slopes of lines that still
# bend, and no orders yet.)
#
# The plot below shows where the error is made. Follow a solver for some of its 24 moves, and then go on with the exact
# solution. How far off is the end?

# %%
N = 24
few, to_end = begin[:EACH], solution(begin[:EACH], 0.9, 0.0)
followed = {
    "DDIM": rectified_flow(exact, few, equal_steps(N, 0.0)),
    "2M": dpm_solver(exact, few, equal_steps(N, 0.0)),
    "3S": dpm_solver(exact, few, equal_steps(N, 0.0), 3, singlestep=True),
}
fig, ax = plt.subplots(figsize=(9.5, 4.4))
for (name, steps), line, colour in zip(
    followed.items(), ("o-", "s--", "D-."), (BLUE, ORANGE, RED)
):
    rest = [
        (step.t, solution(step.x, step.t, 0.0, 100) if step.t > 0 else step.x)
        for step in list(steps)[1:]
    ]
    off = [float((x - to_end).norm(dim=1).mean()) for _, x in rest]
    ax.plot([t for t, _ in rest], off, line, color=colour, ms=8, label=name)
ax.set(yscale="log", xlabel="t at which the exact solution takes over", xlim=(0.9, -0.03))
ax.set(ylabel="distance at the end", title="Where is the error made? 24 moves")
ax.legend()
exact_end, cut = solution(begin, 0.9, 0.0), []
for n in MOVES[-2:]:
    *_, last, _ = dpm_solver(exact, begin, equal_steps(n, 0.0), 3, singlestep=True)
    cut.append(distances(solution(last.x, last.t, 0.0, 150), exact_end))
by_cut = estimate((cut[0] / cut[1]).log2(), "sets of noises")
print(f"3S, order from 96 to 192 moves with the last move exact: {by_cut:.2f}")
steps_in_lambda = torch.log((1 - equal_steps(N, 0.0)) / equal_steps(N, 0.0)).diff()
print("the last five steps in lambda:", *(f"{h:.2f}" for h in steps_in_lambda[-5:].tolist()))
plots.show(
    fig,
    alt="A plot of the distance at the end over the time at which the exact solution takes over, "
    "falling from 0.86 to 0. DDIM rises all the way to 0.018 at t = 0.08, and ends at 0.016. "
    "2M stays below 0.001 until t = 0.2, and rises to 0.012 at the end. 3S zigzags from 5e-5 up "
    "to 0.009.",
)

# %%
claim(
    "solvers-last-move",
    "On the ring, exact denoiser, DPM-Solver++(3S) in equal steps down to t = 0 has an order "
    "below 2.5.",
    figures=dict(three=order("3S", 0.0), away=order("3S", 0.3)),
    measured="from 96 to 192 moves {three:.2f}; down to t = 0.3 {away:.2f}",
    holds=lambda three: three.below(2.5),
    null={"the same solver, down to t = 0.3": dict(three=order("3S", 0.3))},
)

# %% [markdown]
# DDIM makes its error all along the way: a quarter in the first half of the moves, and about four fifths before $t = 0.2$. The
# two others make most of theirs after $t = 0.2$. (3S zigzags, because inside a block its points are of lower order.) So in few
# equal steps in $t$ a high order gains little here: at 12 evaluations the five with a point there are close together, and at 24
# (Heun: 23) all six are within a factor of 3.
#
# The remedy is not a higher order. It is the noise levels: steps that become shorter towards the data. On Karras' levels the
# last move starts from $\sigma = 0.002$, where one step of first order does no harm. There the second curve of the plot over
# $\rho$ ends lower than Heun's.
#
# ## What do ten evaluations give on digits?
#
# Now a trained network, the shipped digits, $w = 1$, equal steps in $t$. **Move the slider**: DDIM and DPM-Solver++(2M) in 7
# moves from the same noise, and, on the right, the end of 60 moves of Heun's method.

# %%
network = models.load("digits")
process, labels = network.process, torch.arange(16) % 10
digit, x_T = network.given(labels), network.draw_noise(16, seeded(3))
solved = result(heun(digit, x_T, process.times(60)))
seven = process.times(7)
nine = network.given(labels[:9])
by_dpm = {step.t: step for step in dpm_solver(nine, x_T[:9], seven)}
play(
    list(ddim(nine, x_T[:9], seven)),
    draw=lambda step: {
        "DDIM: x̂₀": step.x0,
        "2M: x̂₀": by_dpm[step.t].x0,
        "the ODE's solution": solved[:9],
    },
)

# %% [markdown]
# Your sampler draws the first row of each grid in 5 evaluations, and the second in 10.

# %%
eight = network.given(torch.arange(2, 10))
noise = network.draw_noise(8, seeded(4))
samplers = {
    "DDIM": lambda n: result(ddim(eight, noise, process.times(n))),
    "2M, yours": lambda n: my_dpm_multistep(eight, noise, process.times(n).tolist()),
}
fig, axes = plt.subplots(1, 2, figsize=(11, 3.1))
best = result(heun(eight, noise, process.times(60)))
for ax, (name, draw_in) in zip(axes, samplers.items()):
    made = torch.cat([draw_in(5), draw_in(10), best])
    plots.pictures(made, columns=8, ax=ax, rows=("5", "10", "ODE"), title=name)
    ax.set_ylabel("evaluations")
plots.show(
    fig,
    alt="Two grids of digits, eight noises as columns, with rows for 5 and 10 evaluations and the "
    "solution of the ODE. The digits of a column look alike in all rows of both grids.",
)

# %% tags=["nbval-ignore-output"]
predict(
    "solvers-digits-error.ten",
    "DPM-Solver++(2M), 10 evaluations: root mean square distance per pixel from the "
    "network's own ODE solution? (Pixels go from -1 to 1; DDIM in 5 evaluations: 0.094.)",
    low=0,
    high=0.15,
)

# %% [markdown]
# The benchmark draws 500 digits from the same noises by seven solvers, three sets of noises (five for the cells of the claims).
# **Left:** the distance from the network's own solution (Heun's method, 199 evaluations). It sees the solver alone. **Right:**
# the Frechet distance to real digits. It sees the network's errors too.

# %%
runs, levels = figures.load("solvers"), figures.load("solvers", "levels")
floor = runs.attrs["the same, real against real"]
DISTANCE = "Frechet distance"
of = lambda figure, solver, k: figures.values(runs, figure, solver=solver, evaluations=k)
shown = ("DDIM", "Heun", "DPM-Solver++(2M)", "DPM-Solver++(3S)", "UniPC-2", "DEIS-3")
fig, axes = plt.subplots(1, 2, figsize=(11, 4.6))
looks = zip(shown, ("o-", "x:", "s-", "D--", "v-.", "^--"), plots.COLOURS)
for solver, line, colour in looks:
    spent = [
        figures.values(runs, "spent", solver=solver, evaluations=k)[0]
        for k in (5, 7, 10, 15, 25)
    ]
    for ax, figure in zip(axes, ("error", DISTANCE)):
        at = [of(figure, solver, k)[:3].mean() for k in (5, 7, 10, 15, 25)]
        ax.plot(spent, at, line, color=colour, ms=8, label=solver)
for solver, colour in (("DDIM", plots.COLOURS[0]), ("DPM-Solver++(2M)", plots.COLOURS[2])):
    for ax, figure in zip(axes, ("error", DISTANCE)):
        at = figures.values(levels, figure, solver=solver).mean()
        short = solver.removeprefix("DPM-Solver++(").rstrip(")")
        ax.plot(10, at, "*", color=colour, ms=17, label=f"{short}, Karras' levels")
axes[1].axhline(floor, color="black", ls=":", label="real digits")
axes[0].set(title="Distance from the ODE's solution", yscale="log", ylabel="per pixel")
axes[1].set(title="Frechet distance", ylim=(0.05, None))
for ax in axes:
    ax.set(xscale="log", xlabel="evaluations")
    ax.set_xticks((5, 7, 10, 15, 25), (5, 7, 10, 15, 25))
    ax.minorticks_off()
axes[1].legend(fontsize=13, loc="center left", bbox_to_anchor=(1, 0.5))
print("10 evaluations (Heun: 9)     per pixel from the solution   Frechet distance")
both = lambda table, keys: [
    estimate(figures.values(table, figure, **keys)[:3], "sets")
    for figure in ("error", DISTANCE)
]
for solver in (*shown, "PLMS"):
    off, distance = both(runs, dict(solver=solver, evaluations=10))
    print(f"{solver:28} {off:.4f}               {distance:.3f}")
for solver in ("DDIM", "DPM-Solver++(2M)", "UniPC-2"):
    off, distance = both(levels, dict(solver=solver))
    print(f"{solver + ', Karras':28} {off:.4f}               {distance:.3f}")
plots.show(
    fig,
    alt="Two plots over 5 to 25 evaluations. Distance from the solution, log-log: six falling lines; "
    "DDIM highest, from 0.094 to 0.026, UniPC-2 lowest, from 0.057 to 0.0075; stars at 10: DDIM "
    "0.054, 2M 0.025. Frechet distance: 0.079 to 0.094 at 5, 0.074 to 0.078 at 10, and level "
    "after that; real digits 0.061.",
)


# %%
def beside_ddim(figure, solver, k, other=25):
    """A figure of a solver in k evaluations, beside DDIM's in 25."""
    return compare(of(figure, solver, k), of(figure, "DDIM", other), "sets of noises")


def beside_first(solver, k):
    """The error of a solver of which there are three sets, beside DDIM's in 25 evaluations."""
    return compare(of("error", solver, k)[:3], of("error", "DDIM", 25)[:3], "sets of noises")


claim(
    "solvers-digits-error",
    "With the digits' network and equal steps in t, 10 evaluations of DPM-Solver++(2M) end "
    "nearer to the network's own ODE solution than 25 of DDIM.",
    figures=dict(ten=beside_ddim("error", "DPM-Solver++(2M)", 10)),
    measured="root mean square distance per pixel {ten:.4f}",
    holds=lambda ten: ten.lower,
    null={"10 evaluations of DDIM": dict(ten=beside_ddim("error", "DDIM", 10))},
    control={
        "25 evaluations of both": dict(ten=beside_first("DPM-Solver++(2M)", 25)),
        "10 evaluations of UniPC-2 at Karras' levels": dict(
            ten=compare(
                figures.values(levels, "error", solver="UniPC-2"),
                of("error", "DDIM", 25)[:3],
                "sets of noises",
            )
        ),
    },
    expected=False,
)

# %%
claim(
    "solvers-digits-distance",
    "With the digits' network, 10 evaluations of DPM-Solver++(2M) have a Frechet distance that "
    "is less than 0.01 above that of 25 of DDIM.",
    figures=dict(ten=beside_ddim(DISTANCE, "DPM-Solver++(2M)", 10)),
    measured="10 evaluations of DPM-Solver++(2M) beside 25 of DDIM {ten:.4f}",
    holds=lambda ten: ten.difference.below(0.01),
    null={"5 evaluations of DDIM": dict(ten=beside_ddim(DISTANCE, "DDIM", 5))},
)

# %% [markdown]
# **In ten evaluations.** The first statement is what one expects of second order, and in this measure it does not hold here. At
# 25 evaluations of both it does (the first control). It fits what the ring showed: in few equal steps in $t$ a high order gains
# little, and here the last move goes from $t = 100$ to 0. The best of the seven is UniPC-2.
#
# **Other noise levels.** The stars are Karras' levels with $\rho = 7$ from 10 to 0.1, at the nearest whole times
# (`nearest_times`; the range was chosen with other noises). With them 2M's error in 10 evaluations falls by 0.010 ± <0.001
# (three sets). It cannot be told apart from that of 25 evaluations of DDIM, and UniPC-2's is below it (the second control).
# DDIM itself gains nothing: its error rises by 0.001 ± <0.001. So these levels help 2M and UniPC-2, and not DDIM. Whether other
# levels would help DDIM was not measured. (The guidance explorer of lesson 08 has UniPC-2 among its samplers.)
#
# **The Frechet distance** no longer sees these differences. In 10 evaluations all solvers but PLMS have the same one to within
# 0.005, though their distances from the solution differ by a factor of two. Of it, 0.061 is the distance of real digits from
# real digits, and the rest is mostly the network's error. So the second statement holds. Ten evaluations of DDIM pass the same
# condition: lesson 14 found that 10 steps of DDIM cannot be told apart from 1,000 here. In 5 evaluations the solver does count:
# 2M's distance is below DDIM's by 0.013 ± 0.001 (five sets, seen after the measurement). And nearer to the solution is not
# nearer to real digits: in 25 evaluations 2M's distance is *above* DDIM's, by 0.005 ± 0.001 (three sets). A better solver finds
# the network's own solution sooner, and no more than that.
#
# **PLMS is not in the plot.** In 10 evaluations it ends 12.6 ± 0.2 per pixel away. Is it the schedule, the mean of several
# $\hat\epsilon$, or the first move? The cell draws points of the ring with PLMS, with DDIM, with DEIS, and with PLMS after one
# move of DDIM, from the same noises, once with this cosine schedule and once with the linear one.

# %%
for name, betas in (("cosine", cosine_beta()), ("linear", linear_beta())):
    ring_chain = ExactDenoiser(ring(), DDPM(betas))
    first, ten = draw(74), ring_chain.process.times(10)
    goal = result(heun(ring_chain, first, ring_chain.process.times(300)))
    largest = float(ring_chain.process.noise(1000) / ring_chain.process.signal(1000))
    one = list(ddim(ring_chain, first, ten))[1].x
    ends = {solver.__name__: solver(ring_chain, first, ten) for solver in (plms, ddim, deis)}
    ends["one move of ddim, then plms,"] = plms(ring_chain, one, ten[1:])
    for solver, steps in ends.items():
        each = estimate(distances(result(steps), goal), "sets")
        print(f"{name}: b / a is {largest:,.0f} at T; {solver} ends {each:.2f} away")

# %% [markdown]
# It is the first move, on this schedule. A mean of two $\hat\epsilon$ is almost right there, and $\hat x_0 = (x -
# b\,\hat\epsilon) / a$ multiplies the small difference by $b / a$. A mean of two $\hat x_0$ has no such factor. DEIS takes
# means of $\hat\epsilon$, too, but starts with DDIM's move, and is not hit.
#
# ## Failure museum
#
# Three mistakes of exercise 3, 10 evaluations each, from the same noises. None gives an error message.


# %%
def two_m(denoiser, x, times, wrong=""):
    """Exercise 3, right or wrong."""
    a, b = denoiser.process.signal, denoiser.process.noise
    before = None
    for t, s in pairwise(times):
        x0 = denoiser(x, t).x0
        h = (a(s) / b(s)).log() - (a(t) / b(t)).log()
        D = x0
        if before is not None and b(s) > 0:
            slope = {"no half": 1 / before[1], "backwards": -0.5 / before[1]}
            D = x0 + slope.get(wrong, 0.5 / before[1]) * h * (x0 - before[0])
        factor = a(s) / a(t) if wrong == "factor of eps" else b(s) / b(t)
        x = factor * x - a(s) * torch.expm1(-h) * D
        before = x0, h
    return x


fig, axes = plt.subplots(1, 4, figsize=(10.5, 3.6))
museum = {"": "right", "no half": "no half\nin the slope"}
museum |= {
    "backwards": "slope with the\nwrong sign",
    "factor of eps": "factor of the\nformula in ε",
}
for ax, (wrong, title) in zip(axes, museum.items()):
    made = two_m(digit, x_T, process.times(10).tolist(), wrong)
    plots.pictures(made, columns=4, ax=ax, title=title)
    off = float((made - solved).square().mean().sqrt())
    if wrong:
        verdict = check.dpm_multistep(lambda *given, wrong=wrong: two_m(*given, wrong=wrong))
        print(f"{wrong}: {off:.3f} per pixel from the solution. {verdict.diagnosis}")
    else:
        print(f"right: {off:.3f} per pixel from the solution")
plots.show(
    fig,
    alt="Sixteen digits four times. Right, no half in the slope, and slope with the wrong sign "
    "look alike. With the factor of the formula in eps there are black and white pixels only.",
)

# %% [markdown]
# The first two mistakes are of the kind that nobody sees: the digits look right. Only the distance from the solution, or the
# order, shows them. **No half** looks a whole step ahead instead of half a step. **The wrong sign** follows the line backwards.
# Both have order 1, like DDIM. **The factor of the formula in ε** belongs to the integral of $\hat\epsilon$: it makes $x$ grow
# without bound.
#
# ## What you saw
#
# - Preconditioning scales a network's input and target to unit variance. On the ring its excess is
#   {{edm-preconditioning.excess.a}} beside {{edm-preconditioning.excess.b}} for a network without it (five trainings). A net
#   that predicts $\epsilon$ has a smaller excess still, and much worse samples. $v$ is the same for data of unit variance.
# - With equal steps in $\sigma$ Heun's method ends {{karras-levels.equal}} from the solution, with Karras' levels
#   {{karras-levels.error.a}}.
# - DDIM is an exponential integrator of first order. A line through two predictions makes it one of second order for the same
#   price: {{solvers-orders.one}}, {{solvers-orders.two}} and, with a parabola, {{solvers-orders.three}}.
# - Down to $t = 0$ the order of the last is {{solvers-last-move.three}}.
# - On digits, 10 evaluations of DPM-Solver++(2M) are {{solvers-digits-error.ten.a}} per pixel from the network's solution, 25
#   of DDIM {{solvers-digits-error.ten.b}}. The Frechet distances are {{solvers-digits-distance.ten.a}} and
#   {{solvers-digits-distance.ten.b}}. Karras' levels, in the one range measured, help 2M and UniPC-2, and not DDIM.
#
# ## At full size
#
# Frechet distances on CIFAR-10 in 10 evaluations, each from its own paper's abstract, DDIM from its Table 1. The networks
# differ, so that this is no ranking:
#
# | | DDIM | DPM-Solver | DEIS | UniPC |
# |---|---|---|---|---|
# | 10 evaluations | 13.36 | 4.70 | 4.17 | 3.87 |
#
# In 20 evaluations DPM-Solver has 2.87 and DEIS 2.86. EDM, with training and sampler changed together, has 1.97 without classes
# and 1.79 with them, in 35 evaluations: 18 moves of Heun's method. Its CIFAR-10 networks were trained for about two days on 8
# V100 GPUs, that of ImageNet at 64 × 64 for about 13 days on 32 A100. There the sampler alone lowers an older network's
# distance from 2.07 to 1.55, and training with preconditioning leads to 1.36.
#
# DPM-Solver++ was made for guidance. Its authors find that earlier solvers of high order become unstable, and slower than DDIM,
# when the guidance weight is large. With data prediction and the multistep form 15 to 20 evaluations are enough. DDIM
# needs 100 to 250 of them (abstract).

# %% tags=["nbval-ignore-output"]
guesses(
    "edm-preconditioning.worst",
    "karras-levels.equal",
    "solvers-last-move.three",
    "solvers-digits-error.ten",
)

# %% [markdown]
# ## Think about it
#
# 1. All data are one point $c$. How many moves does DPM-Solver++ need, and how many does Euler's method in $t$ need?
#
# <details><summary>Answer</summary>
#
# One. $\hat x_0 = c$ is constant, so that the integral is exact for every order and every step. Euler's method in $t$ for a
# curved process treats the linear part as constant too, and errs. On a rectified flow, one step of Euler's method in $t$ is
# enough as well: there it is DDIM.
#
# </details>
#
# 2. Why not take order 10?
#
# <details><summary>Answer</summary>
#
# The order says how fast the error falls once steps are short. In few moves the steps are long. A polynomial of high degree
# through distant points then swings, and its weights grow: errors of the network are multiplied by them. And the last move and
# the start limit the order anyway.
#
# </details>
#
# ## Words
#
# - **preconditioning**: scaling a network's input and output, so that both have unit size at every noise level.
# - **Karras' noise levels**: levels with equal steps in $\sigma^{1/\rho}$.
# - **churn**: new noise before each move of an ODE solver.
# - **exponential integrator**: a solver that treats the linear part of an ODE exactly.
# - **multistep method**: a solver that uses the evaluations of earlier moves.
# - **singlestep method**: a solver that starts anew in each move.
# - **predictor-corrector method**: a solver that predicts a point, and corrects it with the evaluation made there.
# - **Adams-Bashforth**: the multistep method for equal steps: a weighted mean of the last slopes.
# - **order of a solver**: $k$, if the error falls by $2^k$ for twice as many moves.
#
# Used again: Euler's method (lesson 14), probability-flow ODE (lesson 14), Heun's method (lesson 21), Frechet distance (lesson
# 00).
#
# ## In practice
#
# In diffusers a solver is a scheduler, and any pipeline takes another with `from_config(pipe.scheduler.config)`. With random
# weights:
#
# ```python
# import torch
# from diffusers import DPMSolverMultistepScheduler, UNet2DModel
#
# blocks = dict(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2)
# unet = UNet2DModel(16, 1, 1, block_out_channels=[16, 16], norm_num_groups=4, **blocks)
# scheduler = DPMSolverMultistepScheduler(solver_order=2, timestep_spacing="trailing")
# scheduler.set_timesteps(10)
# x = torch.randn(4, 1, 16, 16)
# for t in scheduler.timesteps:
#     with torch.no_grad():
#         x = scheduler.step(unet(x, t).sample, t, x).prev_sample
# assert x.isfinite().all()
# ```
#
# {{names}}
#
# | our name | diffusers' |
# |---|---|
# | `dpm_solver(..., 3, singlestep=True)` | `DPMSolverSinglestepScheduler(solver_order=3, solver_type="heun")` |
# | `deis`, `plms` | `DEISMultistepScheduler`, `PNDMScheduler(skip_prk_steps=True)` |
# | `churn(..., order=1)` on `EDM` | `EDMEulerScheduler` |
# | `EDM().times(n)`, `dpm_solver` on it | `EDMDPMSolverMultistepScheduler` |
#
# On the command line: `course sample digits --sampler dpm_solver --steps 10 --out digits.png`.
#
# ## Next
#
# [Lesson 23](23_flow_matching.ipynb) trains a network on straight paths, and makes them straighter, so that few moves are
# enough.
