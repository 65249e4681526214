# %% [markdown]
# # 17 Progressive distillation: from 64 steps to one
#
# **You will be able to** derive the target of a student that takes two steps of its teacher at once, and write one whole
# halving: target, weight, times, loop. You can measure what each halving costs, and say why a network that predicts the noise
# fails at the last step.
#
# **Time** 60 minutes. **Needs** lesson 02 (the views $\epsilon$, $x_0$, $v$), lesson 14 (DDIM, its ODE in $b / a$). **Papers**
# Tim Salimans, Jonathan Ho: *Progressive Distillation for Fast Sampling of Diffusion Models* (2022); Eric Luhman, Troy Luhman:
# *Knowledge Distillation in Iterative Generative Models for Improved Sampling Speed* (2021), for distillation in one go.

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("17")

# %% [markdown]
# ## What should a student predict?
#
# DDIM at $\eta = 0$ is deterministic: the noise $x_T$ decides the picture (lesson 14). So there is a function from noise to
# picture, and a network can be trained on it. Training a network that samples in fewer steps, on the outputs of another, is
# called **step distillation**. In *progressive distillation* a student learns to do in one DDIM step what its teacher does in
# two. Then the student becomes the teacher. From 64 steps to one takes six such halvings.
#
# Let $t > m > s$ be three times. The teacher steps from $x_t$ to $x_m$ and on to $x_s$. The student makes one DDIM step, with a
# predicted $\tilde x_0$ and the noise that goes with it. With signal $a$ and noise $b$ it ends at
#
# $$a_s\, \tilde x_0 + b_s\, \frac{x_t - a_t\, \tilde x_0}{b_t} .$$
#
# Set this equal to $x_s$ and solve for $\tilde x_0$. That is the student's **target**:
#
# $$\tilde x_0 = \frac{x_s - \frac{b_s}{b_t}\, x_t}{a_s - \frac{b_s}{b_t}\, a_t} .$$
#
# Salimans and Ho derive it in their appendix G. They write $\alpha, \sigma$ for our $a, b$, and $z_t, z_{t''}$ for our $x_t,
# x_s$. Keep three things apart:
#
# - The **first** teacher's **prediction** at $x_t$ is near the mean of all $x_0$ that fit $x_t$ (lesson 02). A later teacher,
#   itself a student, predicts its own target.
# - The student's **target** is another $x_0$, and depends on the teacher's two steps. For the last student, with $s = 0$, it is
#   the teacher's picture itself.
# - The **optimum** of the student's loss is this target: it is a function of $x_t$ and $t$, so that a loss of 0 is possible. In
#   ordinary training it is not, because many $x_0$ fit one $x_t$.
#
# ### Exercise 1: the student's target (difficulty 2, 10 minutes)
#
# You are given `teacher(x, t)`, a prediction with `.x0` and `.eps`, each of the shape of `x`, (B, ...). The process,
# `teacher.process`, has two functions:
#
# - `process.add_noise(x0, t, eps)` is $a_t x_0 + b_t \epsilon$;
# - `process.coefficients(t, x)` is the pair $a_t, b_t$, in a shape that multiplies `x`.
#
# Times are whole numbers, or tensors (B,).

# %%
import copy
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.datasets import points
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.nets.mlp import MLP
from course_lib.process import randint, randn_like, seeded  # noqa: F401
from course_lib.samplers import ddim, result, sample
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.player import play
from course_lib.zoo import figures, models


def my_student_target(teacher, x_t, t, between, s):
    """The x_0 (B, ...) whose one step from t to s ends where the teacher's two steps end."""
    ...  # write it here


verdict = check.student_target(my_student_target)
my_student_target = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("student_target")

# %% [markdown]
# **A picture of it.** In lesson 14's variables $x / a$ and $b / a$ every DDIM step is a straight line. It aims at the predicted
# $x_0$, which lies at $b / a = 0$. The teacher's two steps are two lines. The student's step is the chord between their ends,
# and the target is where the chord, drawn on, meets $b / a = 0$. The data are two Gaussians on the line, the denoiser is exact.

# %%
plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
network = models.load("digits")
process = network.process
line = ExactDenoiser(points.pair(), process)
t, between, s = 700, 400, 150
x_t = torch.tensor([[0.2]])


def scaled(x, t):
    """x / a."""
    return float(x / process.signal(t))


first = line(x_t, t)
x_between = process.add_noise(first.x0, between, first.eps)
second = line(x_between, between)
x_s = process.add_noise(second.x0, s, second.eps)
target = my_student_target(line, x_t, t, between, s)
ratio = {time: float(process.noise(time) / process.signal(time)) for time in (t, between, s)}
path = list(ddim(line, x_t, torch.arange(t, -1, -1)))

fig, ax = plt.subplots(figsize=(10.5, 4.8))
ax.plot(
    [float(process.noise(step.t) / process.signal(step.t)) for step in path],
    [scaled(step.x, step.t) for step in path],
    ":",
    color="black",
    label="700 steps",
)
ends = [scaled(x, time) for x, time in ((x_t, t), (x_between, between), (x_s, s))]
for (u, v), (x, y), hit in zip(
    pairwise(ratio.values()), pairwise(ends), (first.x0, second.x0)
):
    ax.plot([u, v], [x, y], "o-", color=BLUE, ms=9)
    ax.plot([v, 0], [y, float(hit)], "--", color=BLUE, lw=2.5)
ax.plot([], [], "o-", color=BLUE, label="teacher's two steps")
ax.plot([], [], "--", color=BLUE, lw=2.5, label="where they aim")
label = "student's step, to its target"
ax.plot([ratio[t], 0], [ends[0], float(target)], "s-", color=ORANGE, ms=8, label=label)
ax.set(xlabel="b / a", ylabel="x / a", title="The target of two steps, on the line")
ax.invert_xaxis()
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print(f"the teacher's x_0: first {float(first.x0):.2f}, second {float(second.x0):.2f}")
print(f"the student's target: {float(target):.2f}; 700 steps end at {float(path[-1].x):.2f}")
plots.show(
    fig,
    alt="A line plot of x / a over b / a, which falls to 0 at the right. The teacher's two steps "
    "are two blue line pieces: the first nearly level, the second steep. An orange line from the "
    "first point passes through the end of the second piece and goes on to the target at "
    "b / a = 0.",
)

# %% [markdown]
# ## Which weight does each view give an error?
#
# A network outputs one of the views: $\epsilon$, $x_0$ or $v$. All can be turned into $x_0$, so all can have the target above.
# They differ in what a plain squared error weighs. Since $x_t = a x_0 + b \epsilon$ with $a^2 + b^2 = 1$:
#
# | squared error of | is that of $x_0$ times | at $t = T$ here |
# |---|---|---|
# | $\epsilon$ | $a^2 / b^2$, the signal-to-noise ratio (SNR, lesson 01) | 2.4 · 10⁻⁹ |
# | $x_0$ | 1 | 1 |
# | $v$ | $1 / b^2 = \text{SNR} + 1$ | 1 |
# | $\max$ of the first two | $\max(\text{SNR}, 1)$ | 1 |
#
# A weight decides between times. In a network trained on several times, the first weight gives the step from $t = T$ almost no
# share of the loss; at a signal of exactly 0, none. It is the first step of every student and the only one of the last.
# Salimans and Ho (section 4, eq. 9) therefore use the fourth, the **truncated SNR weight**, or the third. View and weight are
# two choices: this lesson trains the view $v$ with the truncated SNR weight.
#
# ### Exercise 2: the truncated SNR weight (difficulty 1, 3 minutes)
#
# `a` and `b` are tensors of one shape, such as (B, 1).


# %%
def my_truncated_snr(a, b):
    """The weight of a squared error in x_0, for signal a and noise b, of their shape."""
    ...  # write it here


verdict = check.truncated_snr(my_truncated_snr)
my_truncated_snr = verdict.function
verdict

# %%
check.solution("truncated_snr")

# %% [markdown]
# ## One halving: Algorithm 2
#
# Ordinary training draws $t$ from all times. **Algorithm 2 draws only the times at which a step of the student begins.** For a
# student of $N$ steps it draws $i$ uniformly from $1, \dots, N$ and takes
#
# $$t = \frac{i}{N}, \qquad m = t - \frac{1}{2N}, \qquad s = t - \frac{1}{N},$$
#
# as shares of $T$. For $N = 1$ only $t = T$ is left. There the signal has to be (almost) zero, because sampling begins with
# pure noise (Salimans and Ho, section 3).
#
# In our letters $N$ is $n$, and $i$ counts places in a list from $T$ down: `times = student.process.times(2 * n)`, the
# teacher's $2n + 1$ times. A step of the student begins at every second of them, $i = 0, 2, \dots, 2n - 2$, and goes over
# `times[i + 1]` to `times[i + 2]`.
#
# The rest is a training loop as in lesson 02. Three differences:
#
# - $x_t$ is noisy **data**, as before. But $x_0$ itself is not the target.
# - The teacher's two steps are a constant: no gradient may reach the teacher. This is a stop-gradient (lesson 12's "sg"). In
#   torch it is `torch.no_grad()` or `.detach()`.
# - The student begins with the teacher's weights (done outside of the loop).
#
# ### Exercise 3: one halving (difficulty 3, 13 minutes)
#
# You are given `student` and `teacher`, both called as `student(x_t, t)`, and `student.process`. It is not the notebook's
# `process`: the check brings its own. A prediction has `.x0`, and `.a` and `.b`, its signal and noise. `draw(rng)` is a batch
# of data (B, ...). `randint(0, n, B, rng=rng)` draws B whole numbers from 0 to $n - 1$, and `randn_like(x0, rng)` draws noise.
# Take the mean, over the batch and all entries, of your weight times the squared error in $x_0$.


# %%
def my_halving(student, teacher, draw, n, optimizer, steps, rng):
    """The loss of each step of training (steps,), for a student of n steps."""
    ...  # write it here


verdict = check.halving(my_halving)
my_halving = verdict.function
verdict

# %%
check.solution("halving")

# %% [markdown]
# ## From 64 steps to one, live, in the plane
#
# On lesson 02's ring the best teacher is known: the exact denoiser, here in 64 steps. Your loop halves it six times. The
# learning rate falls in a line to 0 in each halving, as in the authors' code.

# %% tags=["nbval-ignore-output"]
ring = points.ring()
exact = ExactDenoiser(ring, process)
UPDATES = {32: 1500, 16: 150, 8: 150, 4: 150, 2: 200, 1: 600}


def draw(rng):
    """256 points of the ring."""
    return ring.sample(256, rng)[0]


def annealed(net, updates, lr=3e-3):
    """Adam with a learning rate that falls to 0 in a line."""
    optimizer = torch.optim.Adam(net.parameters(), lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, updates)
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    return optimizer


def frozen(student):
    """A copy of the student that no longer changes."""
    return Network(copy.deepcopy(student.net).requires_grad_(False), process, student.view)


torch.manual_seed(7)
rng, student = seeded(7), Network(MLP(2, 64, 3), process, "v")
students = {64: exact}
for n, updates in UPDATES.items():
    losses = my_halving(
        student, students[2 * n], draw, n, annealed(student.net, updates), updates, rng
    )
    students[n] = frozen(student)
    print(f"{2 * n:>2} steps are now {n:>2}; loss at the end {losses[-20:].mean():.5f}")

# %% [markdown]
# All four clouds begin with the same 1,500 noises. Colour and mark say in which spot 64 exact steps end; opposite spots share
# them.

# %% tags=["nbval-ignore-output"]
z = torch.randn(1500, 2, generator=seeded(1))
clouds = {
    "exact, 64 steps": result(ddim(exact, z, process.times(64))),
    "exact, 4 steps": result(ddim(exact, z, process.times(4))),
    "exact, 1 step": result(ddim(exact, z, process.times(1))),
    "student, 1 step": result(ddim(students[1], z, process.times(1))),
}
spot = torch.cdist(clouds["exact, 64 steps"], ring.means.float()).argmin(1) % 4
fig, axes = plt.subplots(1, 4, figsize=(12, 3.7))
for ax, (name, x) in zip(axes, clouds.items()):
    plots.points(x, spot, title=name, ax=ax, size=12)
    ax.set(xlabel="", ylabel="", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
plots.show(
    fig,
    alt="Four scatter plots. 64 exact steps: eight round spots on a circle, neighbours in different "
    "colours. Four exact steps: a nearly closed circle, some points inside. One exact step: one "
    "dot in the middle. One step of the student: eight spots in the colours of 64 steps, smeared "
    "towards each other along the circle.",
)

# %% [markdown]
# One step of the exact denoiser gives the mean of the data, for every noise: at $t = T$ that *is* the right prediction, and no
# sample. The student's step is a map from noise to data. `tests/benchmarks/progressive.py` repeats the six halvings five times,
# each with its own seed and 4,000 noises of its own. Its conditions were written down before the runs, after a pilot with a
# further seed. The last two trainings ran when the first three were known, with nothing changed. Two metrics:
#
# - The **error** is the root mean square distance from the end of 64 exact steps *from the same noise*. The radius is 1, the
#   standard deviation of a spot 0.1.
# - The **distance** is the sliced Wasserstein distance (lesson 16) from the ring, over that of real points from real points. It
#   compares distributions, and ignores which noise led where. The floor is an estimate: 64 exact steps, too, are below 1 in the
#   figure, so that a ratio of 0.9 is no better than 1.
#
# A bar is the margin that a verdict needs: of five trainings, 2.8 standard errors. A ± is one standard error.

# %%
plane = figures.load("progressive", "plane")
RUNS = "trainings"


def of(figure, arm, steps=1):
    """A figure of the plane in each training."""
    return figures.values(plane, figure, arm=arm, steps=steps)


def plot_arms(ax, value, counts, runs):
    """Means and margins over the number of steps."""
    looks = {"DDIM": (RED, "s--"), "student": (BLUE, "o-")}
    for arm in counts:
        each = [estimate(value(arm, k), runs) for k in counts[arm]]
        colour, fmt = looks[arm]
        margins = [e.margin for e in each]
        means = [e.mean for e in each]
        ax.errorbar(
            counts[arm], means, margins, fmt=fmt, color=colour, ms=9, capsize=5, label=arm
        )
    ax.set(xscale="log", yscale="log", xlabel="steps")
    ax.set_xticks((1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8, 16, 32, 64))
    ax.minorticks_off()


COUNTS = {"DDIM": (1, 2, 4, 8, 16, 32, 64), "student": (1, 2, 4, 8, 16, 32)}
fig, axes = plt.subplots(1, 2, figsize=(12, 4.6))
below = COUNTS | {"DDIM": COUNTS["DDIM"][:-1]}
plot_arms(axes[0], lambda arm, k: of("error", arm, k), below, RUNS)
plot_arms(axes[1], lambda arm, k: of("distance", arm, k), COUNTS, RUNS)
axes[0].set(title="Error against 64 exact steps")
axes[0].set_yticks((0.01, 0.03, 0.1, 0.3, 1), ("0.01", "0.03", "0.1", "0.3", "1"))
axes[1].set(title="Distance from the ring, over its floor")
axes[1].set_yticks((1, 3, 10), (1, 3, 10))
axes[0].legend()
plots.show(
    fig,
    alt="Two log-log line plots over 1 to 64 steps. Left, error: DDIM falls from 1 to 0.01 at 32 "
    "steps; the student is at 0.07 from 1 to 4 steps and at 0.03 at 32, above DDIM from 16 steps "
    "on. Right, distance over its floor: DDIM falls from 19 to 1; the student is near 1 "
    "throughout.",
)


# %%
def one_step(arm, steps):
    """The claim's figures for this arm."""
    return dict(
        spot=estimate(of("spot", arm, steps), RUNS),
        distance=compare(of("distance", arm, steps), of("distance", "DDIM", 8), RUNS),
    )


claim(
    "distil-exact-teacher",
    "On the ring, a student of six halvings ends in one step for most noises in the spot in "
    "which 64 exact steps end, and its distance is below that of the exact denoiser in 8 steps.",
    figures=one_step("student", 1),
    measured="share within 3 standard deviations of that spot's mean {spot:.2f}; distance beside "
    "8 exact steps {distance:.2f}",
    holds=lambda spot, distance: all_of(spot.above(0.5), distance.lower),
    null={
        "the exact denoiser in 1 step": one_step("DDIM", 1),
        "the untrained network": one_step("untrained", 1),
        "64 exact steps from other noises": one_step("other noises", 64),
    },
)

# %% [markdown]
# In few steps the students lead by far. From 16 steps on DDIM has the lower error. The distance is near its floor: it cannot
# tell the one-step student from 64 exact steps. The share in the right spot can. It is 0.99 for 64 exact steps (they are the
# reference: 1 in 100 lies outside of three standard deviations), 0.89 for 8, and {{distil-exact-teacher.spot}} for the student
# of one step.
#
# The last null model shows why the same noise matters. Its distance is perfect: these *are* samples of the ring. Its share is
# that of chance.
#
# ## Does halving pay?
#
# Why not train the one-step student on the ends of 64 steps in one go, as Luhman and Luhman (2021) do? Each example then costs
# 64 evaluations of the teacher, not 2. Here the numbers of evaluations are equal. The six halvings evaluate their teachers
# 1,408,000 times (2,750 updates, 256 points, two steps). For that, direct distillation gets 22,000 pairs of noise and end. It
# trains on them for 2,750 updates too, on each pair 32 times. The halvings can share out their 2,750 updates in many ways. Our
# split came from a pilot, so three others stand beside it: equal, most in the first halving, most in the last (2,000 there, 150
# in each other; three trainings). These three were planned when the result of our split was known; the claim was then made to
# need all four.

# %% tags=["nbval-ignore-output"]
predict(
    "distil-direct.lower",
    "On the ring, equal evaluations of the teacher and equal updates: which has the lower error?",
    choices=("six halvings", "one go", "cannot be told apart"),
)

# %%
halved, direct = of("error", "student"), of("error", "direct")


def beside(go):
    """The claim's figures: one go beside the halvings, in each split of their updates."""
    error = compare(go, halved, RUNS)
    named = {True: "one go", False: "six halvings", None: "cannot be told apart"}
    others = {name: of("error", f"student, {name}") for name in ("equal", "first", "last")}
    return dict(error=error, lower=named[error.lower]) | {
        name: compare(go[: len(other)], other, RUNS) for name, other in others.items()
    }


claim(
    "distil-direct",
    "On the ring, with equal evaluations of the teacher and equal updates, a one-step student "
    "trained in one go on 22,000 pairs has a lower error than one of six halvings, in each of "
    "four splits of their updates.",
    figures=beside(direct),
    measured="error, one go beside six halvings: {error:.3f}, lower: {lower}; other splits: "
    "equal {equal.b:.3f}, most first {first.b:.3f}, most last {last.b:.3f}",
    holds=lambda error, equal, first, last: all_of(
        error.lower, equal.lower, first.lower, last.lower
    ),
    null={"each pair once, in 85 updates": beside(of("error", "direct, each pair once"))},
)

# %%
print("error of the halvings by split, in 32, 4 and 1 steps:")
for split in ("", ", equal", ", first", ", last"):
    errors = [estimate(of("error", f"student{split}", k), RUNS) for k in (32, 4, 1)]
    print(f"  {split[2:] or 'ours':<5}", *(f"  {error:.3f}" for error in errors))
few = of("error", "direct, 344 pairs, 85 updates")
print(f"error of one go, 344 pairs, 85 updates: {estimate(few, RUNS):.3f}")

# %% [markdown]
# In none of the four splits does halving pay here. Where the first halving gets few updates, 150 or 458, nearly all of the
# error is there in 32 steps already. Its student begins from random weights, which is a likely reason; a start from trained
# weights was not measured. Where it gets 1,500 or 2,000, most of the error arises in the later halvings. In Salimans and Ho the
# first student begins with its teacher's weights; the exact denoiser has none. And the two ways differ in more than halving: in
# one go all updates train the step that is judged. Nor does 64 steps show what halving is for: an example in one go costs as
# many evaluations as the teacher has steps, 64 here and 8,192 in Salimans and Ho; one in halving always 2. Digits were not
# measured.
#
# The null model uses each pair once, and so has fewer updates, too. Within 85 updates the number of pairs does not show: 344
# pairs, each used 63 times, cannot be told apart from 22,000 used once. Using pairs again gives more updates at no further
# evaluations of the teacher; what it costs in 2,750 updates was planned (344, 2,750 and 704,000 pairs) and not run.
#
# Halving also gives a student at each of 32, 16, 8, 4, 2 and 1 steps, and trains on the data set, not on the teacher's samples.
#
# ## Failure museum: one step in the view ε
#
# Lesson 02's network predicts $\epsilon$. Why do this course's digits predict $v$? The last halving once more, in three views:
# $v$, $x_0$, $\epsilon$. The teacher is the training's own student of two steps, the target an $x_0$, the
# weight $\max(\text{SNR}, 1)$. Each network begins from the same random weights, since the teacher's mean something else in
# another view.

# %% tags=["nbval-ignore-output"]
predict(
    "distil-eps-fails.larger",
    "One step from t = T. Whose output has the larger error in its own view?",
    choices=("ε", "v", "cannot be told apart"),
)

# %% tags=["nbval-ignore-output"]
last = {}
for view in ("v", "x0", "eps"):
    torch.manual_seed(7)
    student = Network(MLP(2, 64, 3), process, view)
    my_halving(student, students[2], draw, 1, annealed(student.net, 600), 600, seeded(7))
    last[view] = result(ddim(frozen(student), z, process.times(1)))

t = torch.arange(1, 1001)
a, b = process.signal(t), process.noise(t)
fig, axes = plt.subplots(1, 4, figsize=(12, 3.9), width_ratios=(1.35, 1, 1, 1))
for name, factor, colour, style in (
    ("ε", b / a, RED, "-"),
    ("v", b, BLUE, "--"),
    ("x₀", torch.ones(1000), GREEN, ":"),
):
    axes[0].plot(t, factor, style, color=colour, label=name)
axes[0].set(
    yscale="log", xlabel="time t", title="Error in x₀\nof an error of 1", xticks=(1, 500, 1000)
)
axes[0].set_yticks((0.01, 1, 100, 10_000), ("0.01", "1", "100", "10,000"))
axes[0].minorticks_off()
axes[0].legend()
for ax, (view, name) in zip(axes[1:], (("v", "v"), ("x0", "x₀"), ("eps", "ε"))):
    reach = 1.6 if view != "eps" else float(last[view].abs().quantile(0.95))
    scale = f", × {round(reach / 1.6, -2):.0f}" if view == "eps" else ""
    title = f"one step,\nview {name}{scale}"
    plots.points(last[view], spot, title=title, ax=ax, size=12, reach=reach)
    if view != "eps":
        ax.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    ax.set(xlabel="", ylabel="")
plots.show(
    fig,
    alt="Left: the error in x0 of an error of 1 over t, log scale. For eps it rises to 20,000 at "
    "t = 1000, for v to 1, for x0 it is 1. Right: three clouds of one-step students. v and x0: a "
    "circle with eight coloured parts. eps: a cloud hundreds wide, some of its points outside the "
    "picture; the colours lie in wedges.",
)


# %%
def views(where="last"):
    """The claim's figures; `where` is the time from which the step is made."""
    arms = {view: f"{where}, {view}" for view in ("v", "x0", "eps")}
    own = compare(of("own", arms["eps"]), of("own", arms["v"]), RUNS)
    named = {True: "ε", False: "v", None: "cannot be told apart"}
    return {view: estimate(of("spot", arm), RUNS) for view, arm in arms.items()} | dict(
        own=own, larger=named[own.higher], error=estimate(of("error", arms["eps"]), RUNS)
    )


claim(
    "distil-eps-fails",
    "On the ring, one step from t = T, equal target and weight: a student in the view v or x0 "
    "ends for most noises in its teacher's spot, one in the view eps does not.",
    figures=views(),
    measured="share in the teacher's spot: v {v:.2f}, x0 {x0:.2f}, eps {eps:.2f}; error in its "
    "own view, eps beside v, {own:.3f}, larger: {larger}; eps's error in x0 {error:.3g}",
    holds=lambda v, x0, eps: all_of(v.above(0.5), x0.above(0.5), eps.below(0.5)),
    null={
        "the step from t = T / 2, where noise equals signal": views("half"),
        "the exact denoiser's one step in the place of v": dict(
            v=estimate(of("spot", "DDIM"), RUNS)
        ),
    },
)

# %% [markdown]
# In its own view the output in $\epsilon$ has the smaller error: {{distil-eps-fails.own.a}}, beside {{distil-eps-fails.own.b}}
# for $v$. That says little. At $t = T$ the noise is the input but for $a_T x_0$, and a network that copies its input would have
# an error of 0.00004. All that $\epsilon$ tells of $x_0$ is in differences that small: $x_0 = (x_T - b_T\, \epsilon) / a_T$
# with $a_T = 0.00005$. The division multiplies every error by 20,291. In the view $v$ the factor is 1. At $t = T$ the view $v$
# is nearly $-x_0$: with the sign of the last layer's random weights turned, one training is the other. Their shares,
# {{distil-eps-fails.v}} and {{distil-eps-fails.x0}}, cannot be told apart.
#
# Two controls, of three trainings. The first null model trains for the step from $t = T / 2$ to 0, with the student of four
# steps as the teacher, and is judged on noisy data. There the factors are 1.0 ($\epsilon$), 0.7 ($v$) and 1 ($x_0$), and
# $\epsilon$ does not fail, but has the highest share. At each time the three differ in the view alone. The weight cannot be the
# reason here: with one time it is one constant factor, which Adam evens out. With the weight SNR the shares are the same
# (`last, eps, SNR` in `data/figures/progressive.json`).
#
# ## Digits: one noise, every student
#
# The same on digits. The teacher is the shipped network in 64 DDIM steps, $w = 1$. Six students ship with the course, from 32
# steps to 1, **one training each**. Each began from its teacher's weights. `course train progressive32` to
# `course train progressive1` make them again. Beside the teacher the player shows three of the students, from the same noises.
# Drag the slider: it shows the $x_0$ predicted last. At $t = T$ the teacher's is a blurred mean, the one-step student's is its
# picture.
#
# <!-- Ask: What does the one-step student show at t = T, and what does its teacher show there? -->

# %%
labels = torch.arange(9)
x_T = network.draw_noise(9, seeded(0))
shipped = {n: models.load(f"progressive{n}") for n in (32, 16, 8, 4, 2, 1)}
film = {64: list(ddim(network.given(labels), x_T, process.times(64)))}
film |= {
    n: list(ddim(student.given(labels), x_T, process.times(n)))
    for n, student in shipped.items()
}


def predicted(n, t):
    """What the student of n steps predicted at its last step until t; at the end, its picture."""
    return next(step.x0 for step in reversed(film[n]) if step.t >= t)


names = {64: "64 steps", 8: "8 steps", 2: "2 steps", 1: "1 step"}
play(
    film[64][::2],
    draw=lambda step: {name: predicted(n, step.t) for n, name in names.items()},
)

# %% [markdown]
# Beside them, DDIM with the first teacher, in as few steps:

# %%
shown = (8, 4, 2, 1)
fig, axes = plt.subplots(1, 2, figsize=(12, 3.7))
for ax, name in zip(axes, ("DDIM", "students")):
    rows = [film[64][-1].x]
    rows += [
        film[n][-1].x if name == "students" else sample(network.given(labels), x_T, n)
        for n in shown
    ]
    plots.pictures(torch.cat(rows), columns=9, ax=ax, title=name, rows=(64, *shown))
    ax.set_ylabel("steps")
plots.show(
    fig,
    alt="Two grids of digits, nine noises as columns, 64, 8, 4, 2 and 1 steps as rows. DDIM: at 2 "
    "steps softer strokes, at 1 step grey smears. Students: clear digits in every row, and a "
    "column keeps its handwriting.",
)

# %% [markdown]
# ## What does each halving cost?
#
# How near is a student to its first teacher's own picture, from the same noise? And how near are its pictures to real digits?
# 1,000 digits, five sets of noises, the same script. The students are one training each, so this says nothing of other
# trainings. *Nearest* is as in lesson 14: by the classifier's features, is a picture nearer to its own noise's picture in 64
# steps than to nine others of its class?

# %% tags=["nbval-ignore-output"]
predict(
    "distil-teacher-picture.nearest",
    "Ten noises of one class, drawn in 64 steps. For which share of one-step pictures is the "
    "nearest of the ten the one of the same noise?",
    low=0,
    high=1,
)

# %%
digits_runs = figures.load("progressive", "digits")
floor, SETS = digits_runs.attrs["the same, real against real"], "sets of noises"


def drawn(figure, arm, steps):
    """A figure of the digits in each set of noises."""
    return figures.values(digits_runs, figure, arm=arm, steps=steps)


fig, axes = plt.subplots(1, 2, figsize=(12, 4.6))
few = {"DDIM": (1, 2, 4, 8, 16), "student": (1, 2, 4, 8, 16, 32)}
plot_arms(axes[0], lambda arm, k: drawn("error", arm, k), few, SETS)
axes[0].set(
    title="Difference from the picture of 64 steps", ylabel="per pixel, root mean square"
)
axes[0].set_yticks((0.01, 0.03, 0.1, 0.3), ("0.01", "0.03", "0.1", "0.3"))
with_64 = few | {"DDIM": (*few["DDIM"], 64)}
plot_arms(axes[1], lambda arm, k: drawn("Frechet distance", arm, k), with_64, SETS)
axes[1].axhline(floor, color="black", ls=":", label="real digits")
axes[1].set(title="Frechet distance from real digits")
axes[1].set_yticks((0.03, 0.1, 0.3, 1, 3), ("0.03", "0.1", "0.3", "1", "3"))
axes[1].legend()
plots.show(
    fig,
    alt="Two log-log line plots. Left, difference per pixel from the picture of 64 steps: DDIM falls "
    "from 0.32 at 1 step to 0.02 at 16, the students from 0.1 at 1 step to 0.01 at 32, below DDIM "
    "throughout. Right, Frechet distance: DDIM falls from 2.4 at 1 step to 0.04; the students lie "
    "between 0.07 at 1 step and 0.04 from 16 on. Real digits: 0.034.",
)

# %%
print(" " * 25 + "".join(f"{k:>8}" for k in (1, 2, 4, 8, 16, 64)))
for figure in (
    "class accuracy",
    "nearest",
    "to the teacher",
    "Frechet distance",
    "recall",
):
    for arm in ("DDIM", "student"):
        cells = [
            f"{drawn(figure, arm, k).mean():8.3f}" if (arm, k) != ("student", 64) else ""
            for k in (1, 2, 4, 8, 16, 64)
        ]
        print(f"{figure:<17}{arm:<8}" + "".join(cells))
print(
    f"to the teacher, 64 steps from other noises: {drawn('to the teacher', 'other noises', 64).mean():.3f}"
)


# %%
def beside_ddim(figure, first="student"):
    """A figure of this arm in 1, 2 and 4 steps beside that of DDIM in 2, 4 and 8."""
    return {
        name: compare(drawn(figure, first, k), drawn(figure, "DDIM", 2 * k), SETS)
        for name, k in (("one", 1), ("two", 2), ("four", 4))
    }


claim(
    "distil-few-steps",
    "The shipped students of 1, 2 and 4 steps have a lower Frechet distance than DDIM, by their "
    "first teacher, in twice as many steps.",
    figures=beside_ddim("Frechet distance"),
    measured="student of 1 step beside DDIM's 2: {one:.3f}; of 2 beside 4: {two:.3f}; of 4 beside "
    "8: {four:.3f}",
    holds=lambda one, two, four: all_of(one.lower, two.lower, four.lower),
    null={"the first teacher in 1, 2 and 4 steps": beside_ddim("Frechet distance", "DDIM")},
)

# %%
other = drawn("error", "other noises", 64)
claim(
    "distil-teacher-picture",
    "From the same noise, the pictures of the shipped students of 1, 2 and 4 steps differ less "
    "from those of 64 steps than DDIM's in twice as many steps.",
    figures=beside_ddim("error")
    | dict(nearest=estimate(drawn("nearest", "student", 1), SETS), other=float(other.mean())),
    measured="difference per pixel, student of 1 step beside DDIM's 2: {one:.3f}; of 2 beside 4: "
    "{two:.3f}; of 4 beside 8: {four:.3f}; of other noises {other:.2f}; share of one-step "
    "pictures with their own nearest of ten {nearest:.2f}, by chance 0.10",
    holds=lambda one, two, four: all_of(one.lower, two.lower, four.lower),
    null={
        "64 steps from other noises": {
            name: compare(other, drawn("error", "DDIM", k), SETS)
            for name, k in (("one", 2), ("two", 4), ("four", 8))
        }
    },
)

# %%
teachers = drawn("Frechet distance", "DDIM", 64)


def cost(steps):
    """The Frechet distance of this student beside that of 64 steps."""
    return dict(cost=compare(drawn("Frechet distance", "student", steps), teachers, SETS))


claim(
    "distil-one-step-cost",
    "The shipped student of one step has a higher Frechet distance than its first teacher in "
    "64 steps.",
    figures=cost(1),
    measured="student beside 64 steps {cost:.3f}",
    holds=lambda cost: cost.higher,
    null={"the student of 32 steps": cost(32)},
    expected=True,
)

# %% [markdown]
# In one step DDIM's smears have a class accuracy of 1.00 and a recall of 0: nearly the same picture for all noises of a class.
# Accuracy alone would call that the best model.
#
# `nearest` and `to the teacher` compare with the teacher's pictures of the same noises. Two sets of 64-step pictures from
# *different* noises have a Frechet distance of 0.032. Students of two and more steps are nearer to their first teacher's set.
# That of one step (0.030) cannot be told apart from it. But from the same noises a perfect student would be at 0, not at 0.032:
# this does not say that one step draws its teacher's distribution, and beside real digits it is worse (above).
#
# **So what does each halving cost?** Beside 64 steps the Frechet distance is higher by 0.002, 0.004 and 0.009 for the students
# of 8, 4 and 2 steps, and by {{distil-one-step-cost.cost.difference}} for that of one; those of 32 and 16 cannot be told apart
# from it. The last halving costs 0.014, more than all before it together. (One training each; no condition was planned for
# these.)
#
# ## What does the teaching cost?
#
# Every update evaluates three networks of one size: the teacher twice, the student once, and then its gradient. Ordinary
# training evaluates one network and its gradient. Count a gradient as two evaluations: 5 for each update here, 3 there.

# %%
records = models.records()
updates = {n: records[f"progressive{n}"]["steps"] for n in shipped}
print("updates for each halving, " + ", ".join(f"to {n}: {k:,}" for n, k in updates.items()))
taught, before = 5 * sum(updates.values()), 3 * records["digits"]["steps"]
print(f"evaluations of a batch: six halvings {taught:,}, the teacher's training {before:,}")
pictures = 64 * taught / 63  # a batch has 64 pictures; a picture in one step saves 63
eight = 64 * taught / 7  # beside DDIM's 8 steps it saves 7
print("one-step pictures until the halvings have paid:")
print(f"beside 64 steps {pictures:,.0f}, beside DDIM's 8 steps {eight:,.0f}")

# %% [markdown]
# So all six halvings cost less than the teacher's training, as in the paper (abstract; its section 5.2 says so of the halvings
# down to 4 steps). They pay only if many pictures are drawn, and the count depends on what they replace. In Frechet distance
# one step cannot be told apart from DDIM in 8 (table above; no condition was planned). Beside those a picture saves 7
# evaluations, not 63. By the difference per pixel one step is no better than DDIM in 4. The later halvings were given four
# times as many updates as the first, by choice. How few would be enough was not measured, nor what as many further updates
# would give the teacher.
#
# ## Box: students that need not copy their teacher's pictures
#
# A squared error asks for the teacher's own picture. Later methods ask, wholly or in part, only for a likely picture.
#
# - **Adversarial diffusion distillation** (Sauer et al. 2023) uses the teacher's score as a training signal, together with an
#   adversarial loss (lesson 12). It is made for 1 to 4 steps.
# - **Distribution matching distillation** (Yin et al. 2024) minimises a KL divergence between a one-step generator's samples
#   and the data, approximately. Its gradient is the difference of two scores: that of the data, by one diffusion model, and
#   that of the generator's own samples, by another. A regression loss is added. They report a Frechet distance of 2.62 on
#   ImageNet, 64 × 64 pixels, in one step.
# - Yin et al. (2024, *Improved Distribution Matching Distillation*) leave the regression loss out and add an adversarial loss.
#   So the student is no longer tied to its teacher's paths. They report 1.28 on the same data, better than the teacher.
# - Lin et al. (2024, *SDXL-Lightning*) combine progressive and adversarial distillation.
#
# ## What you saw
#
# - A student's target is the $x_0$ with which one step ends where the teacher's two steps end.
# - On the ring a student of one step ends in the right spot for a share of {{distil-exact-teacher.spot}} of noises.
# - On the ring, with equal evaluations of the teacher and equal updates (each pair used 32 times), distillation in one go has
#   an error of {{distil-direct.error.a}}, six halvings {{distil-direct.error.b}}. With each pair used once it has only 85
#   updates, not 2,750, and an error of 0.172: higher than that of our split, and not told apart from the worst of the four.
# - Trained from random weights, the last step fails in the view $\epsilon$: a share of {{distil-eps-fails.eps}}, in the view
#   $v$ {{distil-eps-fails.v}}. Its output is nearly the input; $x_0$ is in the last digits, and dividing by $a_T$ multiplies
#   every error by 20,291.
# - On digits, with one training of each student (each ± is over sets of noises), one step has a Frechet distance of
#   {{distil-few-steps.one.a}}, DDIM's two steps {{distil-few-steps.one.b}}, its 8 steps {{distil-few-steps.four.b}}, 64 steps
#   {{distil-one-step-cost.cost.b}}.
# - From the same noise, a one-step picture differs from that of 64 steps by {{distil-teacher-picture.one.a}} per pixel.
#   Pictures of other noises differ by {{distil-teacher-picture.other}}.
#
# ## At full size
#
# Salimans and Ho's Frechet distances on CIFAR-10, and DDIM's (lesson 14):
#
# | steps | 1 | 2 | 4 | 8 | 10 | 20 | 50 |
# |---|---|---|---|---|---|---|---|
# | progressive distillation | 9.12 | 4.51 | 3.00 | 2.57 | | | |
# | in one go, Luhman and Luhman 2021 | 9.36 | | | | | | |
# | DDIM, Song et al. 2021 | | | | | 13.36 | 6.84 | 4.67 |
#
# The rows have different networks. The figures are in Salimans and Ho's Table 2. The authors' code has the view $x_0$ and the
# truncated SNR weight. It begins with 8,192 steps and halves 13 times, with 50,000 updates of 128 pictures each; for the
# table's 2 and 1 steps the paper has 100,000 (section 5.2). Meng et al. (2023) first distil guidance (lesson 08) into one
# network, and then halve it: as few as 4 steps.

# %% tags=["nbval-ignore-output"]
guesses(
    "distil-direct.lower",
    "distil-eps-fails.larger",
    "distil-teacher-picture.nearest",
)

# %% [markdown]
# ## Think about it
#
# 1. The target of a student of four steps is never a picture of the data set. What can it not learn, however long it is
#    trained?
#
# <details><summary>Answer</summary>
#
# What its teacher does not do. With a loss of 0 it ends exactly where the teacher's 8 steps end, with the teacher's errors: its
# discretisation error (lesson 14) and its wrong predictions. The data only decide at which $x_t$ the loss is taken. An
# adversarial loss (see the box) brings real pictures in.
#
# </details>
#
# 2. A network in the view $\epsilon$ outputs 16-bit numbers of the format bfloat16 (8 bits of precision: a relative error up to
#    0.004). Could the one-step student work if the network were perfect?
#
# <details><summary>Answer</summary>
#
# No. An output near 1 is rounded by up to 0.004. Times $b_T / a_T = 20{,}291$ that is an error of up to 80 in $x_0$, whose
# values lie in -1 to 1. In the view $v$ the factor is 1 at $t = T$, so that rounding to bfloat16 changes $x_0$ by 0.004 at
# most.
#
# </details>
#
# ## Words
#
# - **step distillation**: training a network, the student, that samples in fewer steps than its teacher, on the teacher's
#   outputs. Progressive distillation halves the steps again and again, each time with a new student.
# - **truncated SNR weight**: $\max(a^2 / b^2, 1)$, the weight of a squared error in $x_0$.
# - **adversarial diffusion distillation**: training a student by its teacher's score and an adversarial loss.
# - **distribution matching distillation**: training a one-step generator by the difference of two scores.
#
# Used again: signal-to-noise ratio (lesson 01), discretisation error (lesson 14), adversarial loss (lesson 12).
#
# ## In practice
#
# The target of exercise 1 in diffusers, with random weights:
#
# ```python
# import torch
# from diffusers import DDIMScheduler, UNet2DModel
# blocks = dict(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2)
# teacher = UNet2DModel(16, 1, 1, block_out_channels=[16, 16], norm_num_groups=4, **blocks)
# options = dict(prediction_type="v_prediction", clip_sample=False, timestep_spacing="trailing")
# scheduler, x = DDIMScheduler(1000, **options), torch.randn(4, 1, 16, 16)
# scheduler.set_timesteps(8)  # of the teacher; the student has 4
# (t, between, s), x_t = scheduler.timesteps[2:5].tolist(), x
# with torch.no_grad():
#     for now in (t, between):
#         x = scheduler.step(teacher(x, now).sample, now, x).prev_sample
# (a, b), (c, d) = ((bar**0.5, (1 - bar) ** 0.5) for bar in scheduler.alphas_cumprod[[t, s]])
# target = (x - d / b * x_t) / (c - d / b * a)
# ```
#
# {{names}}
#
# | our name | diffusers' |
# |---|---|
# | a student for each number of steps | SDXL-Lightning: checkpoints of 1, 2, 4, 8 steps; `guidance_scale=0`, times as above |
# | view `"x0"` for the last step | its checkpoint of 1 step has `prediction_type="sample"`, not `"epsilon"` |
#
# ## Next
#
# [Lesson 18](18_consistency.ipynb) trains one network that jumps to the picture from *every* time.
