# %% [markdown]
# # 07 Classifier guidance: sampling a class by a classifier's gradient
#
# **You will be able to** derive guidance from Bayes' rule, write the whole guided sampler, train the classifier that it needs,
# and say from measurements what guidance improves, what it costs, and which classifiers fail.
#
# **Time** 60 minutes, 5 of them for two optional parts. In a class of 60 minutes leave exercise 3 and the failure museum for
# home, too. **Needs** lessons 02 (the five views) and 03 (the score). **Papers** Prafulla Dhariwal, Alex Nichol: *Diffusion
# Models Beat GANs on Image Synthesis* (2021); Arpit Bansal and others: *Universal Guidance for Diffusion Models* (2023).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("07")

# %% [markdown]
# ## Bayes' rule for scores
#
# You have a model of *all* digits and want threes. At every noise level, Bayes' rule says
#
# $$\log q(x_t \mid c) = \log q(x_t) + \log P(c \mid x_t) - \log P(c) .$$
#
# Take the gradient with respect to $x_t$. $P(c)$ does not depend on $x_t$ and drops out:
#
# $$\underbrace{\nabla \log q(x_t \mid c)}_{\text{the score that we want}} \;=\;
#   \underbrace{\nabla \log q(x_t)}_{\text{the score that we have}} \;+\;
#   \underbrace{\nabla \log P(c \mid x_t)}_{\text{a classifier's gradient}} .$$
#
# So a classifier of noisy pictures is enough. **Classifier guidance** adds its gradient to the score in every sampling step,
# multiplied by the **guidance weight** $w$:
#
# $$\nabla \log q(x_t) + w\, \nabla \log P(c \mid x_t) .$$
#
# $w = 0$ ignores the class, $w = 1$ is Bayes' rule, and $w > 1$ gives the classifier more weight. Dhariwal and Nichol (2021)
# write $s$ for $w$. They follow Sohl-Dickstein et al. (2015) and Yang Song et al. (2021).
#
# ### Where all three are known
#
# The **triangle** is a mixture of three overlapping Gaussians in the plane, each of them a class. All three functions have
# closed forms at every $t$. Each panel shows a logarithm as a map and its gradient as arrows.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from course_lib import plots
from course_lib.datasets.points import triangle
from course_lib.denoisers import NULL, ExactDenoiser
from course_lib.guidance import ExactClassifier, NoisyClassifier, grad_log_p
from course_lib.metrics import precision_recall
from course_lib.process import DDPM, randn_like, seeded
from course_lib.schedules import cosine_beta
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import figures, models
from torch import nn
from torch.nn.functional import cross_entropy

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
data, process = triangle(), DDPM(cosine_beta(1000))
unconditional, bayes = ExactDenoiser(data, process), ExactClassifier(data, process)

t = 300
a, b = float(process.signal(t)), float(process.noise(t))
grid = torch.linspace(-2.2, 2.2, 81, dtype=torch.float64)
few = torch.linspace(-1.8, 1.8, 8, dtype=torch.float64)
places, at = torch.cartesian_prod(grid, grid), torch.cartesian_prod(few, few)
log_p = lambda x: bayes(x, t)[:, 0]
score, gradient = data.score(at, a, b), grad_log_p(log_p, at)
panels = {
    "$\\log q(x_t)$": (data.log_prob(places, a, b), score),
    "$\\log P(c \\mid x_t)$": (log_p(places), gradient),
    "$\\log q(x_t \\mid c)$": (data.given(0).log_prob(places, a, b), score + gradient),
}

fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.4), sharey=True)
for ax, (name, (value, arrows)) in zip(axes, panels.items()):
    levels = np.linspace(float(value.max()) - 6, float(value.max()), 13)
    ax.contourf(grid, grid, value.view(81, 81).T, levels, cmap="Blues", extend="min")
    ax.quiver(*at.T, *arrows.T, color="black", scale=40, width=0.008)
    ax.plot(*(a * data.means).T, "+", color=RED, ms=16, mew=4)
    ax.set(title=name, xlabel="$x_1$", aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
axes[0].set_ylabel("$x_2$")
exact = data.given(0).score(at, a, b)
print(
    f"largest difference from the class's own score: {(score + gradient - exact).abs().max():.0e}"
)
plots.show(
    fig,
    alt="Three maps of the plane at t = 300 with arrows, and three crosses, the classes' means. Left: "
    "the density of all three, arrows inwards. Middle: the probability of the upper class, which rises "
    "upwards, arrows upwards and longest in the lower half. Right: the density of the upper class, "
    "arrows towards its mean.",
)

# %% [markdown]
# Darker is larger; crosses are the means of the classes, and $c$ is the upper one. The arrows on the right are the sum of those
# on the left and in the middle. They are the score of the class, to rounding.
#
# ### Exercise 1: `guided_score` (difficulty 2, 4 minutes)
#
# Write the sum. `denoiser(x_t, t).score` is the score. `classifier(x, t)` returns logits (B, C), which `.log_softmax(1)` turns
# into $\log P$. For the gradient make `x = x_t.detach().clone().requires_grad_()`. From each row take the entry of its label
# (`label` may be one int: `torch.as_tensor(label)`). Sum over the batch: a sample's gradient does not depend on the others.
# `torch.autograd.grad(total, x)` returns a tuple with one tensor. Samplers run without gradients, so put this into
# `with torch.enable_grad():`.


# %%
def my_guided_score(denoiser, classifier, x_t, t, label, w):
    """The guided score (B, ...) at x_t (B, ...); label is a class, or one for each of the batch (B,)."""
    ...  # write it here


verdict = check.guided_score(my_guided_score)
my_guided_score = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("guided_score")

# %% [markdown]
# ## The guided sampler
#
# A noisy picture is $x_t = a\,x_0 + b\,\epsilon$, with the signal $a = \sqrt{\bar\alpha_t}$ and the noise $b = \sqrt{1 -
# \bar\alpha_t}$. The score and the predicted noise are two views of one prediction: $\epsilon = -b\,\nabla \log q$ (lesson 02).
# So guidance changes the noise to
#
# $$\hat\epsilon = \epsilon_\theta(x_t) - w\, b\, \nabla \log P(c \mid x_t) ,$$
#
# and the sampler stays as it is. Dhariwal and Nichol's Algorithm 2 takes DDIM, a deterministic sampler that lesson 14 derives.
# A move from $t$ to the next time $t'$ adds $\hat\epsilon$ to the predicted clean picture ($a'$ and $b'$ are those of $t'$):
#
# $$\hat x_0 = \frac{x_t - b\, \hat\epsilon}{a}, \qquad
#   x_{t'} = a'\, \hat x_0 + b'\, \hat\epsilon .$$
#
# ### Exercise 2: `guided_sampling` (difficulty 3, 11 minutes)
#
# Write the whole algorithm, 6 to 12 lines, with your `my_guided_score`. `times` is a falling row of times with 0 at the end:
# `zip(times.tolist(), times.tolist()[1:])` gives each $t$ with its $t'$. `process = denoiser.process` has `coefficients(t, x)`,
# the pair $a$, $b$ in the shape of `x`, and `add_noise(x0, t, eps)`.


# %%
def my_guided_sampling(denoiser, classifier, x, times, label, w):
    """Samples (B, ...) from the noise x (B, ...); label is a class, or one for each of the batch (B,)."""
    ...  # write it here


verdict = check.guided_sampling(my_guided_sampling)
my_guided_sampling = verdict.function
verdict

# %%
check.solution("guided_sampling")

# %% [markdown]
# Your loop now samples the upper class of the triangle in 100 steps. Score and classifier are exact. Colours are the class
# that the exact classifier reads at $t = 0$.

# %%
z, times = torch.randn(1500, 2, generator=seeded(1), dtype=torch.float64), process.times(100)
ends = {w: my_guided_sampling(unconditional, bayes, z, times, 0, w) for w in (0.0, 1.0, 4.0)}
ends["real, class 0"] = data.given(0).sample(1500, seeded(2))[0].double()
read = lambda x: data.class_probabilities(x).argmax(1)

fig, axes = plt.subplots(1, 4, figsize=(11.8, 3.9), sharey=True)
for ax, (name, x) in zip(axes, ends.items()):
    title = name if isinstance(name, str) else f"w = {name:g}"
    plots.points(x[:600], read(x[:600]), title, ax, reach=2.6, size=14)
    ax.plot(*data.means.T, "k+", ms=16, mew=3)
    radius = float((x - x.mean(0)).square().sum(1).mean().sqrt())
    shares = torch.bincount(read(x), minlength=3) / len(x)
    says = ", ".join(f"{p:.0%}" for p in shares.tolist())
    print(f"{title:>14}: read as class 0, 1, 2: {says}; radius of the cloud {radius:.2f}")
plots.show(
    fig,
    alt="Four scatter plots. w = 0: three clouds of points at the corners of a triangle. w = 1 and real "
    "points of class 0: one round cloud at the upper corner. w = 4: a smaller cloud above that corner.",
)

# %% [markdown]
# At $w = 1$ the samples agree with real points of the class. A few are read as another class, and so are real ones: the classes
# overlap. At $w = 4$ none is, but the cloud is smaller and lies beyond the mean of its class. So $w > 1$ does not sample
# the class. (Lesson 08 computes what it samples.)
#
# ## The classifier must be trained with noise
#
# For digits no closed form is known; a network has to learn $P(c \mid x_t)$. The sampler evaluates it at every noise
# level. A **noise-aware classifier** is trained there: a time is drawn for each picture, noise of that time is added, and the
# network gets both. The loss is the **cross-entropy**, the mean of $-\log P(\text{label} \mid x_t)$.
#
# ### Exercise 3: `classifier_loss` (difficulty 2, 5 minutes)
#
# `classifier.process` has `sample_t(batch, rng)` and `add_noise(x0, t, eps)`; `classifier(x_t, t)` gives logits (B, C);
# `randn_like(x0, rng)` is noise from `rng`, and torch has `cross_entropy(logits, label)`.


# %%
def my_classifier_loss(classifier, x0, label, rng):
    """The mean cross-entropy of a classifier on noisy pictures; x0 (B, ...), label (B,)."""
    ...  # write it here


verdict = check.classifier_loss(my_classifier_loss)
my_classifier_loss = verdict.function
verdict

# %%
check.solution("classifier_loss")

# %% [markdown]
# ### Is the learned gradient right?
#
# Your loss now trains five small classifiers of the triangle. Five **clean classifiers**, equal in all else, are trained on
# points without noise, at $t = 0$. At sampling they are given $t = 0$ too, the only time that they were trained at. How far
# is each gradient from the exact one?
#
# `NoisyClassifier` multiplies the network's logits by the signal $a$, for both kinds. On this mixture the exact logits have
# that factor too; at $t = T$, where $x_t$ is pure noise, they must be 0.
#
# The error is relative: the root mean square of the difference, divided by that of the exact gradient. We take its mean over
# ten times from 50 to 950.

# %% tags=["nbval-ignore-output"]
predict(
    "guidance-gradient.clean",
    "How large is the relative error of the clean classifier's gradient? (100 % is no gradient at all.)",
    low=0,
    high=1000,
    unit="%",
)


# %%
class SmallClassifier(nn.Module):
    """Points (B, 2) and times (B,) in [0, 1] to three logits (B, 3)."""

    def __init__(self):
        super().__init__()
        layers = nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 3)
        self.layers = nn.Sequential(*layers)

    def forward(self, x, time):
        return self.layers(torch.cat([x, time[:, None].expand(len(x), 1)], 1))


def trained(loss, seed):
    """A classifier of the triangle after 250 steps of 256 points on that loss."""
    torch.manual_seed(seed)
    classifier, rng = NoisyClassifier(SmallClassifier(), process), seeded(seed)
    optimizer = torch.optim.Adam(classifier.net.parameters(), lr=1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for _ in range(250):
        optimizer.zero_grad()
        loss(classifier, *data.sample(256, rng), rng).backward()
        optimizer.step()
        rate.step()
    return classifier


clean_loss = lambda classifier, x0, label, rng: cross_entropy(classifier(x0, 0), label)
aware = [trained(my_classifier_loss, seed) for seed in range(5)]
signal = lambda t: float(process.signal(t))
without_noise = [trained(clean_loss, seed) for seed in range(5)]
clean = [lambda x, t, f=f: signal(t) * f(x, 0) for f in without_noise]
ideal = lambda x, t: signal(t) * bayes(x, 0)  # what clean classifiers learn at best
TIMES = range(50, 1000, 100)


def error_of_gradient(classifier, t, n=1000):
    """The relative error of the gradient of log P(label | x_t), on n points at time t."""
    x0, label = data.sample(n, seeded(t))
    x_t = process.add_noise(x0, t, randn_like(x0, seeded(t + 1)))
    of_label = lambda f: lambda x: f(x, t).log_softmax(1).gather(1, label[:, None])[:, 0]
    exact, learned = (grad_log_p(of_label(f), x_t) for f in (bayes, classifier))
    return float(((learned - exact).square().mean() / exact.square().mean()).sqrt())


def all_errors(classifiers):
    """The relative errors (classifiers, times)."""
    return torch.tensor([[error_of_gradient(f, t) for t in TIMES] for f in classifiers])


def draw(ax, x, runs, colour, line, name):
    """Draws for each x the mean and the margin of its runs."""
    made = [estimate(values) for values in runs]
    mean, margin = [e.mean for e in made], [e.margin for e in made]
    ax.errorbar(x, mean, margin, fmt=line, color=colour, ms=9, capsize=5, label=name)


errors = {"noise-aware": all_errors(aware), "clean": all_errors(clean)}
of_ideal = all_errors([ideal])[0]
LOOK = {"noise-aware": (BLUE, "o-"), "clean": (RED, "s--")}

fig, ax = plt.subplots(figsize=(10, 4.4))
for name, look in LOOK.items():
    draw(ax, TIMES, 100 * errors[name].T, *look, name)
ax.plot(TIMES, 100 * of_ideal, color="black", label="clean, ideal")
ax.axhline(100, color="black", ls=":", label="no gradient at all")
ax.set(xlabel="time t", ylabel="relative error, in %", ylim=(0, None))
ax.set_title("Error of a learned classifier's gradient, on the triangle")
ax.legend(loc="upper left")
print(f"the ideal clean classifier: {of_ideal.mean():.0%}, mean over ten times")
plots.show(
    fig,
    alt="A line plot over time of the relative error of the gradient, in per cent, with a dotted line at "
    "100. The noise-aware classifier stays far below the line. The clean one starts near 0 and rises "
    "until about t = 850, beyond the line from about t = 300, close to the solid line of the ideal one.",
)

# %%
torch.manual_seed(5)
untrained = [NoisyClassifier(SmallClassifier(), process) for _ in range(5)]
at_0 = [lambda x, t, f=f: signal(t) * f(x, 0) for f in untrained]
claim(
    "guidance-gradient",
    "On the triangle, the gradient of a noise-aware classifier has a smaller error than no gradient at all, that of a "
    "clean classifier a larger one.",
    figures=dict(error=estimate(errors["noise-aware"]), clean=estimate(errors["clean"])),
    measured="relative error {error:.0%} given the time, {clean:.0%} given t = 0",
    holds=lambda error, clean: all_of(error.below(1), clean.above(1)),
    null={
        "untrained networks": dict(
            error=estimate(all_errors(untrained)), clean=estimate(all_errors(at_0))
        ),
    },
)

# %% [markdown]
# Here and in all lessons "±" is one standard error. A bar in a plot is the margin of one mean: 2.8 standard errors of five
# runs, 4.3 of three. Where two arms share seeds or noises, a verdict is of their differences, pair by pair. These often vary
# less, so bars may overlap where a difference is beyond its margin.
#
# Every class has the standard deviation $\sigma$, so its noisy variance is $a^2\sigma^2 + b^2$. Up to what all classes share,
# the exact logit of class $c$ is
#
# $$\frac{a\, \mu_c \cdot x_t - a^2 |\mu_c|^2 / 2}{a^2 \sigma^2 + b^2} .$$
#
# The ideal clean classifier has $\sigma^2$ in the denominator, the variance without noise. So its logits change too fast with
# $x_t$, at $t$ near $T$ by a factor of $1 / \sigma^2 = 4.9$. It is **overconfident**: its probabilities are too near 0 and 1.
# Its gradient has a mean error of 225 %, the trained ones {{guidance-gradient.clean}}. So this reason accounts for
# the size of the error.
#
# ### On digits
#
# Two kinds of classifiers, three trainings each of 300 steps, on the same batches of 128 (of 4,000 digits, so about ten
# passes): noise-aware, and clean (again given $t = 0$, with the factor $a$). The network is a small encoder of a U-Net, with
# 50,586 parameters. Both classify 1,000 held-out digits with noise.

# %% tags=["nbval-ignore-output"]
predict(
    "guidance-noise-aware.clean",
    "The cross-entropy of the clean classifiers, mean over ten times? (Uniform guess: log 10 = 2.3.)",
    low=0,
    high=6,
)

# %%
runs = figures.load("classifier_guidance")
reading = figures.load("classifier_guidance", "reading")
PANELS = {"accuracy": 0.1, "-log P": np.log(10)}
read_at = lambda figure, kind: figures.values(reading, figure, kind=kind, t=list(TIMES))

fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.4))
for ax, (figure, uniform) in zip(axes, PANELS.items()):
    for kind, look in LOOK.items():
        draw(ax, TIMES, read_at(figure, kind), *look, kind)
    ax.axhline(uniform, color="black", ls=":", label="uniform guess")
    ax.set(xlabel="time t", ylim=(0, None))
axes[0].set_title("Accuracy on noisy digits")
axes[1].set_title("Cross-entropy on noisy digits")
axes[0].legend(loc="upper right")
plots.show(
    fig,
    alt="Two line plots over time. Accuracy: both fall to about 0.1; the clean classifier starts higher and "
    "falls sooner. Cross-entropy: the noise-aware one rises slowly to 2.3; the clean one starts lower, "
    "rises above 2.3 and comes back to it at the end.",
)

# %%
entropy = {kind: read_at("-log P", kind).T for kind in LOOK}  # (trainings, times)
again = read_at("-log P", "again").T
claim(
    "guidance-noise-aware",
    "Over all times, clean classifiers have a higher cross-entropy on noisy digits than noise-aware ones.",
    figures=dict(
        entropy=compare(entropy["clean"], entropy["noise-aware"]),
        clean=estimate(entropy["clean"]),
        who="clean classifiers",
    ),
    measured="{who} {clean:.2f}; {who} beside noise-aware ones {entropy:.2f}",
    holds=lambda entropy: entropy.higher,
    null={
        "equal arms": dict(
            entropy=compare(again, entropy["noise-aware"], paired=False),
            clean=estimate(again),
            who="noise-aware ones from three further seeds",
        )
    },
)

# %% [markdown]
# Our first question was whether clean classifiers are worse than a uniform guess over all times. Their mean is not higher than
# that of chance, 2.30 ({{guidance-noise-aware.clean}}; lower, but just not by the margin), so the comparison with noise-aware
# ones replaced it. At $t = 50$ and 150 the cross-entropy of the clean ones is lower, by more than the margin. (All of their 300
# steps were at $t = 0$; this reason was not tested.) From $t = 650$ on they are worse than a uniform guess, by more than the
# margin in each of the four points. So they give probability to wrong classes: they are overconfident, as on the triangle.
#
# ## Guide digits
#
# Your loop now samples digits with the shipped noise-aware classifier, trained for 3,000 steps. Above, the network is given no
# class (`NULL`): all information about the class comes from the classifier. Below, the network is given the class *and* guided.
# The **evaluator** is a fixed classifier of clean digits (lesson 00). It gives the class read, the class accuracy and the
# features of the Frechet distance.
#
# By Bayes' rule the conditional model has the classifier's gradient in its score already, once. Dhariwal and Nichol add it $s$
# times more, so in our convention $w = s + 1$: $w = 1$ is the plain conditional model.

# %% tags=["nbval-ignore-output"]
predict(
    "guidance-at-one.share",
    "Unconditional model, w = 1, Bayes' rule: which share of samples is read as asked for?",
    low=0,
    high=100,
    unit="%",
)

# %%
network, guide, evaluator = (
    models.load(name) for name in ("digits", "noisy_classifier", "classifier")
)
labels, moves = torch.arange(10), network.process.times(25)
noise = network.draw_noise(10, seeded(5))
rows = {}
for w in (0, 1, 4, 8):
    rows[f"no class, w = {w}"] = my_guided_sampling(
        network.given(NULL), guide, noise, moves, labels, w
    )
for w in (1, 4):
    rows[f"class, w = {w}"] = my_guided_sampling(
        network.given(labels), guide, noise, moves, labels, w - 1
    )


def show_rows(rows, title, alt, read=lambda x: evaluator(x)):
    """The pictures of each row, asked for 0 to 9, after the classes that `read` gives them."""
    for name, x in rows.items():
        with torch.no_grad():
            print(f"{name:24} read as", *read(x.clamp(-1, 1)).argmax(1).tolist())
    columns = [str(c) for c in labels.tolist()]
    fig = plots.pictures(torch.cat(list(rows.values())), columns, title, rows=rows)
    return plots.show(fig, alt)


show_rows(
    rows,
    "Asked for 0 to 9, by your sampler",
    "Ten generated digits in six rows, asked for 0 to 9. No class: at w = 0 other digits than asked "
    "for, at w = 8 those asked for. With the class: all as asked for; at w = 4 with bolder strokes.",
)

# %% [markdown]
# Drag **w**, choose one class, change the noise (**seed**), freeze a row and compare. The curve is precision over recall.
#
# <!-- Ask: Where on the curve would you stop, and what do you give up there? -->

# %% tags=["nbval-ignore-output"]
from course_lib.widgets import tradeoff
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided_models import by_classifier

guidance_explorer(
    {"classifier": by_classifier(network, guide)},
    curve=tradeoff.measured(guides=("classifier",)),
)

# %% [markdown]
# ## What guidance improves, and what it costs
#
# Dhariwal and Nichol (2021, table 4) measured this on ImageNet at 256 × 256 pixels, in 250 steps:
#
# | model | our $w$ (their $s$) | FID | precision, % | recall, % |
# |---|---|---|---|---|
# | unconditional | $0$ ($0$) | 26.21 | 61 | 63 |
# | unconditional | $1$ ($1$) | 33.03 | 56 | 65 |
# | unconditional | $10$ ($10$) | 12.00 | 76 | 44 |
# | conditional | $1$ ($0$) | 10.94 | 69 | 63 |
# | conditional | $2$ ($1$) | 4.59 | 82 | 52 |
# | conditional | $11$ ($10$) | 9.11 | 88 | 32 |
#
# Ours: the shipped models, 100 digits in 25 steps, five noises. Errors cover the noise; both networks are one training. The
# dotted line is one set of 100 training digits beside the same 100 held-out ones, and has no margin of its own. Precision, the
# share of samples close to real digits, measures fidelity. Recall, the share of real digits close to a sample, measures
# diversity. Guidance is known for a **trade-off between fidelity and diversity**. The Frechet distance (lesson 00) depends on
# both.

# %%
REAL = runs.attrs["real"]
ARMS = {
    "unconditional": (BLUE, "o-", (0, 1, 2, 8)),
    "conditional": (RED, "s--", (1, 2, 8)),
}
FIGURES = ("class accuracy", "Frechet distance", "precision", "recall")


def of(figure, model="unconditional", w=1, guide="shipped", steps=25):
    """A figure of the runs, five noises or three trainings of the guide."""
    if w == (1 if model == "conditional" else 0):  # not guided
        guide = "none"
    return figures.values(runs, figure, model=model, w=w, guide=guide, steps=steps)


fig, axes = plt.subplots(2, 2, figsize=(11.5, 7.6), sharex=True)
for ax, figure in zip(axes.flat, FIGURES):
    for model, (colour, line, ws) in ARMS.items():
        draw(ax, ws, [of(figure, model, w) for w in ws], colour, line, model)
    ax.axhline(REAL[figure], color="black", ls=":", label="real digits")
    ax.set(title=figure[0].upper() + figure[1:], xticks=[0, 1, 2, 8], ylim=(0, None))
for ax in axes[1]:
    ax.set_xlabel("guidance weight w")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
print(f"{'model':14} {'w':>2}" + "".join(f"{name:>17}" for name in FIGURES))
for model, (_, _, ws) in ARMS.items():
    for w in ws:
        cells = (f"{estimate(of(figure, model, w)):.2f}" for figure in FIGURES)
        print(f"{model:14} {w:2}" + "".join(f"{cell:>17}" for cell in cells))
plots.show(
    fig,
    alt="Four line plots over w = 0, 1, 2, 8 for both models. Unconditional: class accuracy rises from 0.1 "
    "to 0.94; the Frechet distance rises to w = 1 and then falls; precision falls to w = 1 and then "
    "rises; recall falls from w = 1. Conditional: accuracy near 1; the distance is low and rises to "
    "w = 8; precision rises above real digits, recall falls below them.",
)

# %% [markdown]
# Precision and recall change in the directions of the paper's table, and so does the unconditional model's distance. (Falls in
# recall are beyond the margin at $w = 8$; the conditional model's at $w = 2$ is not.) The conditional model's does not: in the
# paper guidance lowers its FID at both weights; here the distance cannot be told apart at $w = 2$ and is higher at $w = 8$. At
# $w = 1$ ours is already about that of real digits, so there was little to gain (not tested). At $w = 1$ guidance makes the
# unconditional model *worse* than no guidance: its precision falls and its Frechet distance rises. By both figures, only 8 of
# our weights helps.
#
# Recall above the dotted line is not more diversity than that of real digits. A real digit is close to a sample where it is
# nearer than the sample's third neighbour, and scattered samples have far neighbours. So the trade-off is measured with the
# conditional model: at $w = 1$ its precision and recall cannot be told apart from those of real digits.

# %%
# the same figures on the triangle, where the score is exact, with five noises
starts = [torch.randn(1000, 2, generator=seeded(20 + i)) for i in range(5)]
real_points = data.sample(1000, seeded(30))[0]
hits = lambda x: float((read(x) == 0).double().mean())
close = lambda x: precision_recall(real_points.double(), x)[0]


def on_triangle(classifiers):
    """The figures of the claim, a classifier for each noise."""
    ends = lambda score, denoiser, w: [
        score(my_guided_sampling(denoiser, f, x, process.times(25), 0, w).double())
        for f, x in zip(classifiers, starts)
    ]
    shares = ends(hits, unconditional, 1)
    return dict(
        share=estimate(shares, "noises"),
        accuracy=compare(shares, ends(hits, unconditional.given(0), 0), "noises"),
        precision=compare(
            ends(close, unconditional, 1), ends(close, unconditional, 0), "noises"
        ),
    )


def at_one(guide="shipped"):
    """The figures of the claim, with that guide."""
    found, free = of("class accuracy", guide=guide), of("precision", w=0)
    return dict(
        share=estimate(found, "noises"),
        accuracy=compare(found, of("class accuracy", "conditional"), "noises"),
        precision=compare(of("precision", guide=guide), free, "noises"),
    )


claim(
    "guidance-at-one",
    "At w = 1 the guided unconditional model has a lower class accuracy than the conditional model, and lower "
    "precision than without guidance.",
    figures=at_one(),
    measured="{share:.0%} are read as asked for; class accuracy, guided beside conditional, {accuracy:.2f}; precision, "
    "guided beside not guided, {precision:.2f}",
    holds=lambda accuracy, precision: all_of(accuracy.lower, precision.lower),
    null={
        "the triangle, all exact": on_triangle([bayes] * 5),
        "the triangle, exact score and learned classifiers": on_triangle(aware),
        "digits, each with another one's gradient": at_one("exchanged"),
    },
)

# %% [markdown]
# If all networks were exact, both models would sample the same at $w = 1$. On the triangle, with the exact score, they are
# equal with the exact classifier, as they must be: both scores are one function, at any number of steps. With learned
# classifiers they cannot be told apart. So Bayes' rule is not at fault, nor does a learned classifier have to fail. A learned
# score was not tried here. For digits a part of the error is there without any classifier: at $w = 0$ the unconditional model's
# distance is 1.46 ± 0.08 beside real digits' 0.35, the conditional one's, in as many steps, about 0.35. (Here both are one
# network, with and without the class.) Guidance at $w = 1$ makes it worse; how much of that is the classifier's gradient was
# not measured here. The 25 steps, not varied at $w = 1$, may add to it. They have an error on the triangle, too, but the same
# for both models, so it cannot make them differ. Lesson 08 measures one part: the length of the classifier's gradient.


# %%
def changes(guide="shipped"):
    """The conditional model's figures at w = 8, with that guide, beside those at w = 1."""
    at = lambda figure, w: of(figure, "conditional", w, guide)
    return {
        figure: compare(at(figure, 8), at(figure, 1), "noises")
        for figure in ("precision", "recall")
    }


claim(
    "guidance-tradeoff",
    "From w = 1 to 8 guidance trades diversity for fidelity in the conditional model: precision rises and recall falls.",
    figures=changes(),
    measured="w = 8 beside w = 1: precision {precision:.2f}, recall {recall:.2f}",
    holds=lambda precision, recall: all_of(precision.higher, recall.lower),
    null={"each sample with another one's gradient": changes("exchanged")},
)

# %% [markdown]
# At $w = 8$ more of the conditional model's samples lie close to real digits than other real digits do (dotted line). They
# cover fewer of them, and the Frechet distance is higher than at $w = 1$. (At $w = 1$ and 2 it cannot be told apart.)
#
# For the unconditional model precision rises and recall falls, too. But its recall starts above that of real digits, and at
# $w = 8$ the two cannot be told apart. So this fall need not be a loss of diversity: samples that are less scattered have a
# lower recall, too.
#
# ### Optional, 2 minutes: which samples fail?
#
# One hundred samples of your sampler, unconditional model, $w = 8$. These are the ones that the evaluator reads otherwise than
# asked for, up to twelve.

# %%
labels = torch.arange(100) % 10
hundred = my_guided_sampling(
    network.given(NULL), guide, network.draw_noise(100, seeded(6)), moves, labels, 8
)
with torch.no_grad():
    seen = evaluator(hundred.clamp(-1, 1)).argmax(1)
wrong = torch.nonzero(seen != labels)[:, 0]
names = [f"{labels[i]} → {seen[i]}" for i in wrong[:12].tolist()]
print(f"{len(wrong)} of 100 are read otherwise")
fig = plots.pictures(hundred[wrong[:12]], names, "Asked for → read as, at w = 8", scale=0.055)
plots.show(
    fig,
    alt="A row of generated digits that are not read as asked for, each with both classes above it: "
    "broken or ambiguous shapes, and one clear 4 where a 6 was asked for.",
)

# %% [markdown]
# One is a clear digit of another class, the 4 where a 6 was asked for: there guidance failed. The others are broken or
# ambiguous shapes, for which any reading is uncertain.
#
# ## Can a clean classifier guide?
#
# A clean classifier would be welcome: nobody has to train it with noise. Bansal et al. (2023) propose **universal guidance**.
# Its first part replaces $P(c \mid x_t)$ by $P(c \mid \hat x_0(x_t))$: the classifier reads the *predicted clean picture*. The
# gradient with respect to $x_t$ then goes through the classifier and through the denoiser. In code that is one line:
# `lambda x, t: clean(denoiser(x, t).x0)`.
#
# > **Is this Bayes' rule?** No. The exact term is a mean over all clean pictures that $x_t$ may come from, $P(c \mid x_t) =
# > \mathbb{E}\left[P(c \mid x_0) \mid x_t\right]$. Universal guidance takes $P$ of the mean picture, not the mean of $P$. At
# > high noise $\hat x_0$ is a blur, which no training digit resembles. A step costs more: the gradient goes back through the
# > denoiser, too. The paper adds backward guidance and repeated noising within a step.
#
# Here the evaluator guides, in both ways. The noise-aware classifier, given $t = 0$, reads the results, since a guide must not
# evaluate its own samples. All logits have the factor $a$. The paper has no such factor at the prediction; we keep it so that
# all guides have the same factor. (At equal $w$ their gradients need not be equally long; the length was not matched.) So this
# is a damped version of universal guidance.

# %% tags=["nbval-ignore-output"]
predict(
    "guidance-guides.clean_at_8",
    "A clean classifier that reads x_t, w = 8: which share of samples is read as asked for?",
    low=0,
    high=100,
    unit="%",
)

# %%
labels, plain = torch.arange(10), network.given(NULL)
signal_of = lambda t: float(network.process.signal(t))
at_x_t = lambda x, t: signal_of(t) * evaluator(x)
at_prediction = lambda x, t: signal_of(t) * evaluator(plain(x, t).x0)
rows = {
    f"{name}, w = {w}": my_guided_sampling(plain, classifier, noise, moves, labels, w)
    for name, classifier in {"at x_t": at_x_t, "at prediction": at_prediction}.items()
    for w in (2, 8)
}
show_rows(
    rows,
    "A clean classifier as guide, asked for 0 to 9",
    "Ten generated digits in four rows, asked for 0 to 9. At x_t, w = 2 and w = 8: some digits faint or "
    "broken, mostly other ones than asked for. At the predicted picture: more as asked for, most of them at "
    "w = 8, where the 1, the 4 and the 7 are broken.",
    read=lambda x: guide(x, 0),
)

# %% [markdown]
# Now the figures, with the small classifiers from above as guides of the unconditional model: 100 samples for each of the three
# trainings, each training with a noise of its own (the same for all guides). The weights 2 and 8, a small and a large one, were
# fixed before the measurement.

# %%
GUIDES = {
    "shipped": ("noise-aware, 3,000 steps", "black", "^"),
    "noise-aware": ("noise-aware, 300 steps", BLUE, "o"),
    "prediction": ("clean, at the prediction, 300 steps", GREEN, "D"),
    "clean": ("clean, at $x_t$, 300 steps", RED, "s"),
}
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.8))
for ax, figure in zip(axes, FIGURES[:2]):
    for i, (kind, (name, colour, marker)) in enumerate(GUIDES.items()):
        made = [of(figure, w=w, guide=kind) for w in (2, 8)]
        draw(ax, [0.1 * i - 0.15, 0.1 * i + 0.85], made, colour, marker, name)
    ax.axhline(of(figure, w=0).mean(), color="black", ls=":", label="no guidance")
    ax.set(title=figure[0].upper() + figure[1:], xlim=(-0.4, 1.4), ylim=(0, None))
    ax.set_xticks([0, 1], ["w = 2", "w = 8"])
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plots.show(
    fig,
    alt="Two panels with four symbols at w = 2 and four at w = 8. Class accuracy: highest the noise-aware "
    "classifier of 3,000 steps, then the clean one at the prediction, then the noise-aware one of 300 "
    "steps, lowest the clean one at x_t. Frechet distance: wide margins, most of which overlap. At w = 8 "
    "the noise-aware classifier of 3,000 steps lies clearly below the line of no guidance. That of 300 steps "
    "has the highest mean, with the widest margin; the clean one at x_t lies above the line.",
)


# %%
def beside(kind, other, w=8):
    """The class accuracies of two guides; trainings from further seeds ("again") have no pair."""
    runs = [of("class accuracy", w=w, guide=name)[:3] for name in (kind, other)]
    return compare(*runs, paired="again" not in (kind, other))


def of_guides(clean="clean", prediction="prediction"):
    """The figures of the claim, with these guides at x_t and at the prediction."""
    return dict(
        clean_at_8=beside(clean, "noise-aware").a,
        behind=beside(clean, "noise-aware"),
        behind_at_2=beside(clean, "noise-aware", 2),
        helped=beside(prediction, clean),
        helped_at_2=beside(prediction, clean, 2),
        ahead=beside(prediction, "noise-aware"),
    )


claim(
    "guidance-guides",
    "At w = 2 and at w = 8 a clean classifier that reads x_t gives a lower class accuracy than a noise-aware one, and a "
    "lower one than if it reads the prediction.",
    figures=of_guides() | dict(unguided=estimate(of("class accuracy", w=0), "noises")),
    measured="class accuracy at w = 8: clean {clean_at_8:.0%} (no guidance: {unguided:.0%}); clean beside noise-aware "
    "{behind:.2f} (at w = 2 {behind_at_2:.2f}), prediction beside clean {helped:.2f} (at w = 2 {helped_at_2:.2f}); "
    "prediction beside noise-aware {ahead:.2f}",
    holds=lambda behind, behind_at_2, helped, helped_at_2: all_of(
        behind.lower, behind_at_2.lower, helped.higher, helped_at_2.higher
    ),
    null={
        "noise-aware from further seeds as clean": of_guides(clean="again"),
        "the shipped classifier's gradients, each of another sample, as prediction": of_guides(
            prediction="exchanged"
        ),
    },
)

# %% [markdown]
# At $x_t$ a clean classifier guides little: {{guidance-guides.clean_at_8}} at $w = 8$, {{guidance-guides.unguided}} without
# guidance. It makes the samples worse: at $w = 8$ their distance is above that without guidance by 0.54 ± 0.08, and their
# precision is lower, too, by more than the margin. At the predicted picture the same classifier has a higher class accuracy
# than a noise-aware one after as many training steps: {{guidance-guides.ahead}}. But the evaluator is itself a clean classifier
# and may share errors with the clean guides. The Frechet distances of the three small guides cannot be told apart, by pairs, at
# either weight. At $w = 8$ the small noise-aware ones have a higher mean than no guidance from the same noises, too, 2.4 beside
# 1.4, though not by the margin. With two of the three further seeds added, those whose noise was also sampled without guidance,
# the distance is above it by 0.75 ± 0.25, just more than the margin, and precision is lower, too (five pairs, seen after the
# measurement). So being worse than no guidance is not special to clean classifiers here, and among the three small guides a
# higher class accuracy was not seen to come with a lower distance. It does come with a higher precision at the prediction, $w =
# 8$: 0.66 beside 0.46 for the small noise-aware ones, and still less for the clean ones at $x_t$ (above each by the margin,
# seen after the measurement; those two cannot be told apart).
#
# At $w = 8$ the shipped noise-aware classifier (black) has a higher class accuracy than all three, and a lower distance than
# the small noise-aware ones and the clean ones at $x_t$; from the clean ones at the prediction its distance cannot be told
# apart (the same three noises, seen after the measurement). It was trained ten times as long and is three times as large:
# 160,938 parameters. Which of the two matters was not measured.
#
# ## Optional, 3 minutes: are 25 steps enough?
#
# The lecture quotes the abstract: the guided model matches BigGAN-deep "with as few as 25 forward passes". The comparison is
# with the GAN. With 250 steps the same models have still lower FIDs (table 5, 256 × 256: 5.44 in 25 steps of DDIM with $s =
# 2.5$, 4.59 in 250 of the stochastic sampler with $s = 1$, BigGAN-deep 6.95; so these two differ in sampler and weight as
# well). Ours differ in the number alone.
#
# Our question: is the Frechet distance in 25 steps higher than in 250? The unconditional model is guided at $w = 8$, from three
# noises. The controls are the same question for 2 and 3 steps, where the answer should be yes. (At $w = 2$, tried
# first, 3 steps had the distance of 250.)

# %%
STEPS = (2, 3, 5, 10, 25, 250)
distances = {k: of("Frechet distance", w=8, steps=k)[:3] for k in STEPS}
fig, ax = plt.subplots(figsize=(10, 4.2))
draw(ax, STEPS, distances.values(), BLUE, "o-", "guided")
ax.axhline(REAL["Frechet distance"], color="black", ls=":", label="real digits")
ax.set(xscale="log", xlabel="number of steps", ylabel="Frechet distance", ylim=(0, None))
ax.set_title("Frechet distance over the number of steps, w = 8")
ax.set_xticks(STEPS, STEPS)
ax.minorticks_off()
ax.legend()
plots.show(
    fig,
    alt="A line plot of the Frechet distance over 2 to 250 steps: it falls steeply from 1.7 at 2 steps to "
    "0.8 at 3, is lowest, 0.5, at 10 and 0.6 at 25 and 250; real digits have 0.35.",
)

# %%
beside_250 = lambda k: compare(distances[k], distances[250], "noises")
others = of("Frechet distance", w=8, guide="shipped again")
claim(
    "guidance-25-steps",
    "With 25 steps the Frechet distance is higher than with 250.",
    figures=dict(distance=beside_250(25), arms="25 steps beside 250"),
    measured="{arms}: {distance:.2f}",
    holds=lambda distance: distance.higher,
    null={
        "25 steps from three other noises": dict(
            distance=compare(distances[25], others, "noises", paired=False),
            arms="25 steps beside 25",
        )
    },
    control={
        f"{k} steps": dict(distance=beside_250(k), arms=f"{k} steps beside 250")
        for k in (2, 3)
    },
    expected=None,
)

# %% [markdown]
# 25 and 250 steps cannot be told apart: the difference is {{guidance-25-steps.distance.difference}}, the margin 0.05.
# (Verdicts are of differences for each noise, which vary less than the bars.) Ten steps even have a lower distance than 250
# (-0.09 ± 0.01, seen after the measurement). 2 steps are worse than 250. 3 steps are, too, but only just: the difference,
# 0.18, is hardly above its margin.
#
# ## Failure museum
#
# Three samplers at $w = 8$, from the same noise. The second has a turned sign: your own sampler at $w = -8$. In the third
# the predicted picture is the network's own, and only the noise is guided.


# %%
def half_guided(denoiser, classifier, x, times, label, w):
    """Exercise 2, with an unguided predicted picture beside the guided noise."""
    for t, t_next in zip(times.tolist(), times.tolist()[1:]):
        _, b = denoiser.process.coefficients(t, x)
        eps = -b * my_guided_score(denoiser, classifier, x, t, label, w)
        x = denoiser.process.add_noise(denoiser(x, t).x0, t_next, eps)
    return x


rows = {
    "right": my_guided_sampling(plain, guide, noise, moves, labels, 8),
    "turned sign": my_guided_sampling(plain, guide, noise, moves, labels, -8),
    "half guided": half_guided(plain, guide, noise, moves, labels, 8),
}
show_rows(
    rows,
    "Failure museum, asked for 0 to 9, w = 8",
    "Ten generated digits in three rows, asked for 0 to 9. Right: as asked for. With a turned sign and "
    "half guided: clear digits but for one broken shape, none of them as asked for, and mostly the same ones in both rows.",
)

# %%
print(check.guided_sampling(half_guided).diagnosis)

# %% [markdown]
# **A turned sign** leads away from the class. **The half-guided sampler** does so too, though its sign is right. Guided noise
# alone moves $x_{t'}$ by $-w\, b\, b' g$, away from the class ($g$ is the gradient). In the right sampler the predicted picture
# moves too, by $+w\, (b^2 / a)\, g$, and $a' b^2 / a$ is more than $b\, b'$.
#
# ## What you saw
#
# - By Bayes' rule, the score of a class is the score of all data plus a classifier's gradient. On the triangle all three are
#   known, and it holds to rounding.
# - There, the gradient of noise-aware classifiers has a relative error of {{guidance-gradient.error}}, that of clean ones
#   {{guidance-gradient.clean}}. On noisy digits the cross-entropy is {{guidance-noise-aware.entropy}} (clean
#   beside noise-aware).
# - At $w = 1$ only {{guidance-at-one.share}} of the guided unconditional model's samples are read as asked for, and precision
#   is lower than without guidance: {{guidance-at-one.precision}}.
# - From $w = 1$ to 8 the conditional model trades diversity for fidelity ($w = 8$ beside 1): precision
#   {{guidance-tradeoff.precision}}, recall {{guidance-tradeoff.recall}}.
# - A clean classifier at $x_t$ guides little: {{guidance-guides.clean_at_8}} are read as asked for at $w = 8$. There it makes
#   samples worse than none, and so do noise-aware ones after as many steps (five pairs, just by the margin, seen after the
#   measurement). At the predicted picture (universal guidance, damped by $a$) its class accuracy is
#   {{guidance-guides.helped.a}}.
# - 25 steps and 250 cannot be told apart by the Frechet distance at $w = 8$: {{guidance-25-steps.distance}}.
#
# ## At full size
#
# Dhariwal and Nichol guide models of up to 512 × 512 pixels. At 256 × 256 the diffusion model has 554 million parameters and
# the classifier 54 million: the downsampling half of the U-Net, with attention pooling, trained on ImageNet with the
# model's own noise for 500,000 steps of 256 pictures. With 250 steps they use $s = 1$; their unconditional
# model needed $s = 10$. At $s = 1$ the classifier gave its samples a probability of about 50 %, but they did not look like the
# class (section 4.3).

# %% tags=["nbval-ignore-output"]
guesses(
    "guidance-gradient.clean",
    "guidance-noise-aware.clean",
    "guidance-at-one.share",
    "guidance-guides.clean_at_8",
)

# %% [markdown]
# ## Think about it
#
# 1. At which $t$ does guidance move the predicted clean picture most? Compute it for the triangle.
#
# <details><summary>Answer</summary>
#
# Guidance adds $w\, b^2 / a$ times the gradient $g$ to $\hat x_0$. With the exact logits from above,
# $g = a\, (\mu_c - \bar\mu) / (a^2 \sigma^2 + b^2)$, where $\bar\mu$ is the mean of all $\mu$, weighted by
# $P(\cdot \mid x_t)$. So the prediction moves by $w\,(\mu_c - \bar\mu)\, b^2 / (a^2\sigma^2 + b^2)$. The first
# factor depends on $x_t$: it is short where $P(c \mid x_t)$ is nearly 1. The last is largest at $t = T$ and goes to 0 as
# $t \to 0$. At $t = T$ the prediction is the mean of all classes plus $w$ times the
# vector from there to the mean of $c$. At $w = 4$ that is four times as far out as the class.
#
# </details>
#
# 2. Suppose that all threes of the training data were drawn with a bolder pen. What would guidance to "three" do?
#
# <details><summary>Answer</summary>
#
# $P(3 \mid x_t)$ then rises with boldness as well as with shape, and so the gradient has both. At $w = 1$ that is right: threes
# are bold in these data. At $w > 1$ guidance makes strokes bolder than those of the training threes are on average. Whatever
# tells a class from the others is exaggerated, wanted or not. (An argument, not a measurement.)
#
# </details>
#
# ## Words
#
# - **classifier guidance**: adding $w$ times a classifier's gradient $\nabla \log P(c \mid x_t)$ to the score in each step.
# - **guidance weight**: the factor $w$: 0 ignores the class, 1 is Bayes' rule, more gives the classifier more weight.
# - **triangle**: three overlapping Gaussians in the plane, each a class; the course's mixture with known classifier.
# - **noise-aware classifier**: a classifier trained on noisy pictures and given their time.
# - **clean classifier**: a classifier trained on pictures without noise.
# - **cross-entropy**: the mean of $-\log P$ of the right class; $\log C$ for a uniform guess among $C$ classes.
# - **evaluator**: a fixed classifier that scores samples; it must not have guided them.
# - **overconfident**: with probabilities nearer to 0 and 1 than the share of right answers justifies.
# - **trade-off between fidelity and diversity**: each sample more like real pictures, and all together less varied.
# - **universal guidance**: guidance by a function of the predicted clean picture; the gradient goes through the denoiser.
#
# Used again: guidance (lesson 00), precision (lesson 00), recall (lesson 00), Frechet distance (lesson 00), score (lesson 02).
#
# ## In practice
#
# Diffusers has no pipeline for classifier guidance of pictures. It is a change of the noise before `scheduler.step`:
#
# ```python
# import torch
# from diffusers import DDIMScheduler, UNet2DModel
# blocks = dict(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2, block_out_channels=[16, 16])
# unet = UNet2DModel(16, in_channels=1, out_channels=1, norm_num_groups=4, **blocks)
# classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 10))  # a real one is given t, too
# scheduler, x, label = DDIMScheduler(1000, clip_sample=False), torch.randn(4, 1, 16, 16), torch.arange(4)
# scheduler.set_timesteps(5)
# for t in scheduler.timesteps:
#     log_p = lambda x: classifier(x).log_softmax(1)[range(4), label].sum()
#     gradient, b = torch.func.grad(log_p)(x), (1 - scheduler.alphas_cumprod[t]).sqrt()
#     with torch.no_grad():
#         x = scheduler.step(unet(x, t).sample - 3.0 * b * gradient, t, x).prev_sample
# assert x.shape == (4, 1, 16, 16)
# ```
#
# {{names}}
#
# | our name | diffusers' name |
# |---|---|
# | $w$ | no name for a classifier; `guidance_scale` without one (lesson 08) |
# | `pred.eps`, moved by $-w\,b\,g$ | the first argument of `scheduler.step` |
# | `process.add_noise(x0, t_next, eps)` | `scheduler.step(eps, t, x).prev_sample` of `DDIMScheduler` |
#
# ## Next
#
# [Lesson 08](08_classifier_free.ipynb) needs no classifier: the network that is given the class already contains one.
