# %% [markdown]
# # 17 Progressive distillation: from 64 steps to one
#
# **You will be able to** write the target of a student that takes two steps of its teacher at once, halve a sampler until one
# step is left, measure what each halving costs, and say why a student that predicts the noise cannot take the last one.
#
# **Time** 50 minutes. **Needs** lesson 14. **Paper** Tim Salimans, Jonathan Ho: *Progressive Distillation for Fast Sampling of
# Diffusion Models* (2022).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("17")

# %% [markdown]
# ## A student that skips
#
# DDIM at $\eta = 0$ is a curve: the noise $x_T$ decides the picture. So there *is* a function from noise to picture, and a
# network may learn it. Learning it in one go is hard. Salimans and Ho learn it by halves: a **student** learns to do in one
# step what its **teacher** does in two. The student then becomes the teacher. From 64 steps, six students make it one.
#
# What should the student say? From $x_t$ the teacher takes two DDIM steps, by way of a time between, to $x_s$. One step of the
# student, which believes in $\tilde x_0$, lands at
#
# $$a_s\, \tilde x_0 + b_s\, \frac{x_t - a_t\, \tilde x_0}{b_t}, $$
#
# with signal $a$ and noise $b$: the belief $\tilde x_0$, and the noise that goes with it. Set that equal to $x_s$, and solve:
#
# $$\tilde x_0 = \frac{x_s - \frac{b_s}{b_t} x_t}{a_s - \frac{b_s}{b_t} a_t} .$$
#
# Their Algorithm 2 writes $\alpha, \sigma$ for our $a, b$, and $z_t, z_{t''}$ for our $x_t, x_s$. Mind that $\tilde x_0$ is
# *not* what the teacher believes. At $x_t$ a teacher hedges, between all pictures that may be behind the noise. The target
# leads on along the curve, and for the last student it is the curve's end, *one* picture: each is taught to make up its mind a
# little sooner.
#
# ### Exercise 1: `student_target` (difficulty 2, 12 minutes)
#
# `teacher.process.add_noise(x0, t, eps)` makes $a_t x_0 + b_t \epsilon$; `teacher.process.coefficients(t, x)` gives $a_t$ and
# $b_t$.


# %%
import torch
from course_lib.teaching import checks as check


def my_student_target(teacher, x_t, t, between, s):
    """The x_0 (B, ...) whose one step from t to s lands where the teacher's two do."""
    ...  # write it here


check.student_target(my_student_target)

# %%
check.solution("student_target")

# %% [markdown]
# ## What an error weighs
#
# The student descends on $w(t)\,\lVert \tilde x_0 - \hat x_0 \rVert^2$. Which weight? A squared error in the noise $\epsilon$
# is one in $x_0$ times the signal-to-noise ratio $a^2 / b^2$. Where no signal is left, at $t = T$, that is **zero**: the very
# step that a one-step student takes would count for nothing. So the paper cuts the ratio off from below, at 1.
#
# ### Exercise 2: `truncated_snr` (difficulty 1, 4 minutes)


# %%
def my_truncated_snr(a, b):
    """The weight of an error in x_0, for signal a and noise b, tensors that multiply a batch."""
    ...  # write it here


check.truncated_snr(my_truncated_snr)

# %%
check.solution("truncated_snr")

# %% [markdown]
# ## From 64 to 1, live, beside the truth
#
# In the plane the best teacher of all is known. Its 64 steps are taught to a small network, and that network's 32 to its copy,
# and so on: six halvings, in half a minute. Only the first student sees the truth.

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
from course_lib import metrics, plots
from course_lib.datasets import points
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.methods.distillation import progressive_loss
from course_lib.nets.mlp import MLP
from course_lib.samplers import ddim, result, sample
from course_lib.teaching.claims import claim
from course_lib.training import EMA, train
from course_lib.widgets.player import play
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
network = models.load("digits")
process = network.process
ring = points.ring()
exact = ExactDenoiser(ring, process)


def distil(teacher, net, n, steps, rng, view="v"):
    """A student of n steps, from a teacher of 2 n: Salimans and Ho 2022, Algorithm 2."""
    ema, student = EMA(net, 0.99), Network(net, process, view)
    for _ in train(
        lambda: progressive_loss(student, teacher, ring.sample(256, rng)[0], n, rng),
        net,
        steps,
        3e-3,
        ema=ema,
    ):
        pass
    return Network(ema.net, process, view)


# %% tags=["nbval-ignore-output"]
from course_lib.process import seeded

torch.manual_seed(0)
rng = seeded(0)
students, teacher, net = {}, exact, MLP(2, 64, 3)
for n, steps in {32: 1500, 16: 100, 8: 100, 4: 100, 2: 100, 1: 500}.items():
    students[n] = teacher = distil(teacher, net, n, steps, rng)
    net = copy.deepcopy(teacher.net).requires_grad_()
    print(f"{2 * n} steps are now {n}")

# %%
z = torch.randn(4000, 2, generator=seeded(1))
real = ring.sample(20_000, seeded(2))[0]
floor = metrics.floor(metrics.sliced_wasserstein, real, 4000)


def over_floor(x):
    """The distance from the ring, over real against real."""
    return sum(metrics.sliced_wasserstein(x, part) for part in real.split(4000)) / 5 / floor


samples = {
    "exact, 64 steps": result(ddim(exact, z, process.times(64))),
    "exact, 1 step": result(ddim(exact, z, process.times(1))),
}
samples["student, 1 step"] = result(ddim(students[1], z, process.times(1)))
fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.3))
for ax, (name, x) in zip(axes, samples.items()):
    plots.points(x[:800], title=name, ax=ax, size=10)
plots.show(
    fig,
    alt="The ring from 64 exact steps; one blot in its middle from one exact step; the ring again from the student's one.",
)

# %%
error = float(
    (samples["student, 1 step"] - samples["exact, 64 steps"]).square().sum(1).mean().sqrt()
)
claim(
    "distil-exact-teacher",
    "An exact teacher's student draws the mixture in one step, and from each noise the point that 64 exact steps draw.",
    measured=f"distance over its floor: student {over_floor(samples['student, 1 step']):.0f}, "
    f"one exact step {over_floor(samples['exact, 1 step']):.0f}; student to teacher, point by point, {error:.1f}",
    holds=over_floor(samples["student, 1 step"]) < 1.5
    and over_floor(samples["exact, 1 step"]) > 10
    and error < 0.15,
)

# %% [markdown]
# One step of the exact denoiser is no picture at all: at $t = T$ the best guess is the mean of the data. The student's one
# step is a map from noise to data.
#
# ## Failure museum: the noise, at one step
#
# Lesson 02's network predicts $\epsilon$. Why does this course's digit model predict $v$? Look at what an error of 1 in each
# view does to $x_0$. It is $b / a$ for $\epsilon$, $b$ for $v$, and 1 for $x_0$ itself. After many steps it is washed out. At
# one step, from $t = T$, where $a$ is next to nothing, there is no second chance.

# %%
t = torch.arange(1, 1001)
a, b = process.signal(t), process.noise(t)
torch.manual_seed(0)
last = {
    view: distil(exact, MLP(2, 64, 3), 1, 300, seeded(0), view) for view in ("x0", "v", "eps")
}
one_step = {view: result(ddim(student, z, process.times(1))) for view, student in last.items()}

fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.3), width_ratios=(1.3, 1, 1))
for view, factor, colour, line in (
    ("ε", b / a, RED, "-"),
    ("v", b, BLUE, "--"),
    ("x₀", torch.ones(1000), GREEN, ":"),
):
    axes[0].plot(t, factor, line, color=colour, label=view)
axes[0].set(yscale="log", xlabel="time t", title="Error in x₀ of 1 in a view")
axes[0].legend()
plots.points(one_step["v"][:800], title="v, one step", ax=axes[1], size=10)
plots.points(
    one_step["eps"][:800],
    title="ε, one step",
    ax=axes[2],
    size=10,
    reach=float(one_step["eps"].abs().quantile(0.98)),
)
axes[2].set(xlabel="$x_1$: mind the scale")
plots.show(
    fig,
    alt="The factor rises to 20,000 for the noise. One step of v draws a small disc; of the noise, a cloud hundreds wide.",
)

# %%
amplified = float(b[-1] / a[-1])
distances = {view: over_floor(x) for view, x in one_step.items()}
claim(
    "distil-eps-fails",
    "At one step a student that predicts the noise fails; one that predicts v or x0 does not.",
    measured=f"an error in eps is {amplified / 1000:.0f},000 times as large in x0 at t = T; distance over its floor: "
    f"v {distances['v']:.0f}, x0 {distances['x0']:.0f}, eps more than 1,000",
    holds=amplified > 1e4
    and distances["eps"] > 1000
    and max(distances["v"], distances["x0"]) < 20,
)

# %% [markdown]
# (These three students skipped the halving: they learned two exact steps at once, whose picture is this small disc. That the
# two views which work are equal, and the third is not, is the point.)
#
# ## Digits: one noise, every student
#
# The same halving, on digits: the teacher is the shipped network, at 64 DDIM steps and $w = 1$. Six students, from 32 steps to
# 1, each begun from its teacher's weights, ship with the course; `course train progressive32` ... `course train progressive1`
# remake them. Below, all draw from one noise. Scrub: the shorter a student's ladder, the longer it stands on a rung, and the
# more of the picture each must bring.

# %%
labels = torch.arange(16) % 10
x_T = network.draw_noise(16, seeded(0))
students = {n: models.load(f"progressive{n}") for n in (32, 16, 8, 4, 2, 1)}
film = {64: list(ddim(network.given(labels), x_T, process.times(64)))}
film |= {
    n: list(ddim(student.given(labels), x_T, process.times(n)))
    for n, student in students.items()
}


def guess(n, t):
    """What the student of n steps believed at its last step until t; at the end, its picture."""
    return next(step.x0 for step in reversed(film[n]) if step.t >= t)


names = {64: "64 steps", 16: "16 steps", 8: "8 steps", 4: "4 steps", 2: "2 steps", 1: "1 step"}
play(film[64][::2], draw=lambda step: {name: guess(n, step.t) for n, name in names.items()})

# %% [markdown]
# All but the fewest end in the same sixteen digits. Beside them, DDIM without a student, at the same number of steps:

# %%
shown = (8, 4, 2, 1)
fig, axes = plt.subplots(1, 2, figsize=(11.5, 3.6))
for ax, name in zip(axes, ("DDIM", "students")):
    rows = [film[64][-1].x[:10]]
    rows += [
        film[n][-1].x[:10]
        if name == "students"
        else sample(network.given(labels), x_T, n)[:10]
        for n in shown
    ]
    plots.pictures(
        torch.cat(rows),
        columns=10,
        ax=ax,
        title=f"{name}: a noise in each column",
        rows=(64, *shown),
    )
    ax.set_ylabel("steps")
plots.show(
    fig,
    alt="Ten noises at 64, 8, 4, 2 and 1 steps. DDIM blurs at 2 steps and smears at 1; the students stay digits.",
)

# %% [markdown]
# ## What does each halving cost?
#
# 1,000 samples each, beside 1,000 held-out digits, as always. The bars are the spread over three seeds of *sampling*: another
# noise, the same students, since each was trained once. Made by `python tests/benchmarks/distillation.py`.

# %%
runs = figures.where(figures.load("distillation"), w=1)
floor = runs.attrs["the same, real against real"]


def seeds(model, steps, figure="Frechet distance"):
    """The figure in each of the three seeds."""
    return figures.values(runs, figure, model=model, steps=steps)


counts = (1, 2, 4, 8, 16, 32)
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.8))
for ax, figure in zip(axes, ("Frechet distance", "class accuracy")):
    for name, model, steps, colour, line in (
        ("DDIM", "digits", (*counts, 64), RED, "s--"),
        ("students", "progressive", counts, BLUE, "o-"),
    ):
        rows = np.array(
            [seeds(model if model == "digits" else f"{model}{k}", k, figure) for k in steps]
        )
        ax.errorbar(
            steps,
            rows.mean(1),
            rows.std(1, ddof=1),
            fmt=line,
            color=colour,
            ms=9,
            capsize=5,
            label=name,
        )
    ax.set(
        xscale="log",
        xlabel="steps",
        title=figure,
        xticks=(*counts, 64),
        xticklabels=(*counts, 64),
    )
axes[0].axhline(floor, color=GREEN, ls=":", label="real against real")
axes[0].set(yscale="log")
axes[0].legend()
plots.show(
    fig,
    alt="Distance and accuracy over steps. DDIM soars below 4 steps; the students rise only a little, down to one step.",
)

# %% [markdown]
# (Read both. The class of a smear is easily told, so that accuracy alone would crown DDIM at one step.)

# %%
print("steps     " + "".join(f"{k:>8}" for k in (*counts, 64)))
print("DDIM      " + "".join(f"{seeds('digits', k).mean():8.3f}" for k in (*counts, 64)))
print("students  " + "".join(f"{seeds(f'progressive{k}', k).mean():8.3f}" for k in counts))

# %%
teachers = seeds("digits", 64)
four = seeds("progressive4", 4)
claim(
    "distil-four-steps",
    "At 4 steps the student's distance is at most 1.3 times that of its teacher's 64.",
    measured=f"{four.mean():.3f} beside {teachers.mean():.3f}, {four.mean() / teachers.mean():.2f} times, mean of three seeds",
    holds=four.mean() <= 1.3 * teachers.mean(),
)

# %%
ddim_at, student_at = (
    {k: seeds(m.format(k), k).mean() for k in counts} for m in ("digits", "progressive{}")
)
claim(
    "distil-beats-twice-the-steps",
    "At 1, 2 and 4 steps the student beats DDIM with twice the steps.",
    measured="; ".join(
        f"{k} step{'s' * (k > 1)} {student_at[k]:.3f}, DDIM's {2 * k} {ddim_at[2 * k]:.3f}"
        for k in (1, 2, 4)
    ),
    holds=all(student_at[k] < ddim_at[2 * k] for k in (1, 2, 4)),
)

# %% [markdown]
# **What differs in miniature.** DDIM is harder to beat than at full size: on pictures as simple as ours its 8 steps are not far
# behind its 64, where on CIFAR10 its distance at 10 steps is nearly three times that at 50 (lesson 14). And the student is a
# copy: it cannot be better than its teacher. Our first teacher, taught for 8,000 steps instead of 24,000, drew no better in 64
# steps (0.063) than in 8 (0.055). Its student of 4 steps, at 0.077, was a fair copy, and lost all the same.

# %% [markdown]
# ## What the teaching cost
#
# Each student's record tells how long it was taught, on one core of a busy machine. Every step of it costs three evaluations:
# two of the teacher, one of the student, and the way back through it.

# %%
records = models.records()
print("student      steps of training   seconds")
for n in students:
    record = records[f"progressive{n}"]
    print(f"{n:>2} steps {record['steps']:>21,} {record['seconds']:>9.0f}")

# %% [markdown]
# ## What you saw
#
# - DDIM's curve is a function from noise to picture. A student learns it by halves: its target is the $\tilde x_0$ whose one
#   step lands where the teacher's two do.
# - In the plane an exact teacher's student draws the mixture in one step, point for point where 64 steps lead.
# - On digits the same noise makes the same digit from 64 steps to a few, and one step still makes a digit, where DDIM makes a
#   smear.
# - At one step everything hangs on $t = T$: a network that predicts the noise divides its error by a signal of 0.00005.
#
# **At full size** Salimans and Ho start from samplers of up to 8,192 steps, on pictures of CIFAR10, ImageNet (64 × 64) and
# LSUN, and reach 4 steps without losing much, with an FID of 3.0 on CIFAR10. All the halving together takes them no longer
# than training the teacher did. Meng et al. (2023) distil guided teachers in the same way.
#
# **Think about it**
#
# 1. The student of 4 steps never saw a real picture as its target, only the teacher's. What can it not learn, however long it
#    is taught?
# 2. Why not teach the student of one step all 64 at once? What would a step of that training cost, and what would it have to
#    learn from its first step on?
#
# **Next:** lesson 18 asks for one network that jumps from anywhere on the curve, without a ladder of students.
