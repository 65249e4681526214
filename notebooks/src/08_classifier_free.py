# %% [markdown]
# # 08 Classifier-free guidance: the classifier within
#
# **You will be able to** train one network that draws with and without a class; find the classifier that hides in it; steer
# with it; read any paper's guidance weight; and say what guidance samples, and what it does not.
#
# **Time** 55 minutes. **Needs** lesson 07. **Paper** Jonathan Ho, Tim Salimans: *Classifier-Free Diffusion Guidance* (2022).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("08")

# %% [markdown]
# ## No classifier at all
#
# Lesson 07 needed a second network. But read Bayes' rule the other way round, $P(c \mid x_t) \propto q(x_t \mid c) / q(x_t)$,
# and take slopes:
#
# $$\nabla \log P(c \mid x_t) = \nabla \log q(x_t \mid c) - \nabla \log q(x_t) .$$
#
# Whoever has both scores has a classifier's gradient: an **implicit classifier**. Put it into guidance,
#
# $$\nabla \log q(x_t) + w\,\big(\nabla \log q(x_t \mid c) - \nabla \log q(x_t)\big) ,$$
#
# and no classifier is left in it. Both scores come from *one* network: now and then, while it trains, its label is taken away
# and a **null** label put in its place. So it learns to draw with a class, and without (Ho and Salimans, Algorithm 1).
#
# ### Exercise 1: `label_dropout` (difficulty 1, 6 minutes)
#
# Each label on its own, with chance $p$. Draw the chances from `rng`: `torch.rand(n, generator=rng)`.


# %%
import torch
from course_lib.teaching import checks as check


def my_label_dropout(label, null, p, rng):
    """The labels (B,), each made `null` with probability p; the ones that were given stay as they are."""
    ...  # write it here


check.label_dropout(my_label_dropout)

# %%
check.solution("label_dropout")

# %% [markdown]
# ## Train one, and look for its classifier
#
# The three classes of lesson 07, a small network, one label in ten dropped. It takes ten to twenty seconds.

# %% tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt
import numpy as np
from course_lib import metrics, plots
from course_lib.datasets import digits
from course_lib.datasets.points import triangle
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import ClassifierFree, ExactClassifier
from course_lib.methods import tilted_density
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randn_like, seeded
from course_lib.samplers import ddim, result, sample
from course_lib.schedules import cosine_beta
from course_lib.teaching.claims import claim
from course_lib.training import EMA, denoising_loss, show_progress, train
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
data, process, rng = triangle(), DDPM(cosine_beta(1000)), seeded(0)
torch.manual_seed(0)
learner = Network(MLP(dim=2, width=64, depth=3, classes=3), process, "v")
average = EMA(learner.net, 0.99)


def loss():
    x0, label = data.sample(512, rng)
    return denoising_loss(learner.given(label).drop_condition(0.1, rng), x0, rng)


progress = show_progress(
    train(loss, learner.net, steps=1200, lr=3e-3, ema=average), "three classes and null"
)
network, exact = Network(average.net, process, "v"), ExactDenoiser(data, process)

# %% [markdown]
# Its implicit classifier gives only slopes. To get $P$ itself, walk along them: from the middle of the triangle, where by
# symmetry each class has one third, add up slope times step on the straight way to $x$. The learned scores alone are in it.


# %%
@torch.no_grad()
def implicit(x, t, steps=24):
    """P(c | x_t = x) (B, 3) of the network: its slopes of log P, added up from the origin to x (B, 2)."""
    along = (torch.arange(steps) + 0.5) / steps
    path = (x[:, None] * along[None, :, None]).reshape(-1, 2)
    uncond = network.given(NULL)(path, t).score
    log_p = []
    for c in range(3):
        slope = (network.given(c)(path, t).score - uncond).view(len(x), steps, 2)
        log_p.append((slope * x[:, None]).sum(-1).mean(1))
    return torch.stack(log_p, 1).softmax(1)


t = 300
plane = tilted_density.Plane(2.2, 61)
places = plane.places.float()
exact_p = ExactClassifier(data, process)(places, t).exp()
learned_p = implicit(places, t)
colours = torch.tensor(
    [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in (BLUE, ORANGE, GREEN)]
)
mixed = lambda p: (p @ colours).clamp(0, 1).view(61, 61, 3).transpose(0, 1).numpy()

fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.3), width_ratios=(1, 1, 1.1))
for ax, p, name in ((axes[0], exact_p, "exact"), (axes[1], learned_p, "in the network")):
    ax.imshow(mixed(p), origin="lower", extent=[-2.2, 2.2] * 2)
    ax.plot(*(process.signal(t) * data.means).T, "k+", ms=16, mew=3)
    ax.set(title=f"P(c | x), {name}", xlabel="$x_1$")
axes[0].set_ylabel("$x_2$")
axes[2].scatter(exact_p[::7], learned_p[::7], s=14, alpha=0.5, color=BLUE, linewidths=0)
axes[2].plot([0, 1], [0, 1], "k:", lw=1.5)
axes[2].set(
    title="one against the other", xlabel="exact", ylabel="in the network", aspect="equal"
)
plots.show(
    fig,
    alt="Two maps of the plane in three colours that meet in the middle, alike; and a scatter of one against the other, on the "
    "diagonal.",
)

# %%
gaps, agree = [], []
for t in (100, 300, 600):
    x0, label = data.sample(4000, seeded(t))
    x = process.add_noise(x0, t, randn_like(x0, seeded(t + 1)))
    p, q = implicit(x, t), ExactClassifier(data, process)(x, t).exp()
    gaps.append(float((p - q).abs().sum(1).mean() / 2))
    agree.append(float((p.argmax(1) == q.argmax(1)).float().mean()))
claim(
    "cfg-implicit-classifier",
    "A network that was trained with label dropout holds a classifier, and it is the right one.",
    measured="P is off by less than 0.03 on average (total variation), and at least 98 % of 4,000 points are read as the exact "
    "classifier reads them, at t = 100, 300, 600",
    holds=max(gaps) < 0.03 and min(agree) > 0.98,
)

# %% [markdown]
# ## The guided mix
#
# All views are linear in each other at one $x_t$, so the mix is the same in noises as in scores.
#
# ### Exercise 2: `guided_mix` (difficulty 1, 4 minutes)
#
# `cond(x_t, t).eps` and `uncond(x_t, t).eps` are the two noises.


# %%
def my_guided_mix(cond, uncond, x_t, t, w):
    """The guided noise (B, ...): w = 0 ignores the class, w = 1 is the class alone."""
    ...  # write it here


check.guided_mix(my_guided_mix)

# %%
check.solution("guided_mix")

# %% [markdown]
# ## One weight, many names
#
# Every paper writes it in its own way. "Guidance 7.5" means nothing until you know whose.
#
# | paper | writes | plain conditional | our $w$ |
# |---|---|---|---|
# | here, and the lecture | $\epsilon + w\,(\epsilon_c - \epsilon)$ | $w = 1$ | $w$ |
# | Ho and Salimans 2022, eq. 6 | $(1 + w)\,\epsilon_c - w\,\epsilon$ | $w = 0$ | their $w + 1$ |
# | Imagen 2022, eq. 2; Stable Diffusion | $w\,\epsilon_c + (1 - w)\,\epsilon$ | $w = 1$ | their $w$ |
# | Dhariwal and Nichol 2021, Algorithm 2 | $\epsilon - s\, b\, g$ | $s = 1$ | their $s$ |
# | the same, on a model that is conditional itself | $\epsilon_c - s\, b\, g$ | $s = 0$ | their $s + 1$ |
#
# Here $\epsilon_c$ is the noise with the class, $\epsilon$ the one without, $b = \sqrt{1 - \bar\alpha_t}$ and
# $g = \nabla \log P(c \mid x_t)$. Each line as its paper writes it, with its number for our $w = 3$, on the exact mixture, from
# the same noises:

# %%
from course_lib.guidance import grad_log_p


class AsWritten:
    """A denoiser whose noise is `formula` of the two noises and of sqrt(1 - alpha_bar_t) times the classifier's slope."""

    def __init__(self, formula):
        self.process, self.formula = process, formula

    def __call__(self, x, t):
        uncond, cond = exact(x, t), exact.given(0)(x, t)
        slope = process.noise(t) * grad_log_p(
            lambda x: ExactClassifier(data, process)(x, t)[:, 0], x
        )
        return uncond.replace(eps=self.formula(uncond.eps, cond.eps, slope))


w = 3.0
conventions = {
    "here": lambda uncond, cond, slope: uncond + w * (cond - uncond),
    "Ho and Salimans, their w = 2": lambda uncond, cond, slope: (
        (1 + (w - 1)) * cond - (w - 1) * uncond
    ),
    "Imagen, their w = 3": lambda uncond, cond, slope: w * cond + (1 - w) * uncond,
    "Dhariwal and Nichol, s = 3": lambda uncond, cond, slope: uncond - w * slope,
    "the same on a conditional model, s = 2": lambda uncond, cond, slope: (
        cond - (w - 1) * slope
    ),
}
z, times = torch.randn(2000, 2, generator=seeded(1), dtype=torch.float64), process.times(50)
samples = {
    name: result(ddim(AsWritten(formula), z, times)) for name, formula in conventions.items()
}
ours = result(ddim(ClassifierFree(exact.given(0), exact, w), z, times))
for name, x in samples.items():
    print(
        f"{name:40} {'the same points' if (x - ours).abs().max() < 1e-6 else 'OTHER points'}"
    )

# %%
claim(
    "cfg-conventions",
    "The papers' guidance weights are one weight: each maps to ours, and draws the same samples.",
    measured="five formulas, 2,000 points: no point differs by more than 1e-6",
    holds=all(float((x - ours).abs().max()) < 1e-6 for x in samples.values()),
)

# %% [markdown]
# ## What does guidance sample?
#
# The slide says: steer along $\nabla [\log q(x_t) + w \log P(c \mid x_t)]$. It is tempting to conclude that one then samples
# the **tilted density** $p(x)\, P(c \mid x)^w$. At the last moment, with no noise left, that is the density whose slope is
# followed. But on the way? Noise the tilted density, and its slope at $t$ is *not*
# $\nabla \log q(x_t) + w \nabla \log P(c \mid x_t)$: noising and raising to a power do not commute. Only for $w = 0$ and
# $w = 1$ do they.
#
# In the plane all of it can be computed: each noise's path, how the map stretches the plane on the way, and so the density
# where points land, with no histogram in it. Move **w**. The **distance** is the share of points that would have to move (total
# variation). It is near 0 at 0 and 1 (what is left is DDIM's 60 steps), and nowhere else.

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.guided import guided_plane

guided_plane(data, process)

# %%
tv = {
    w: tilted_density.distance(data, 0, w, process, process.times(100))
    for w in (0.0, 0.5, 1.0, 2.0, 3.0, 8.0)
}
for w, share in tv.items():
    print(f"w = {w:<4}  distance {share:.2f}")

# %%
claim(
    "cfg-not-tilted",
    "Guided diffusion samples the tilted density p(x) P(c | x)^w, for any w.",
    measured=f"distance (total variation, exact) {tv[1.0]:.2f} at w = 1, {tv[0.5]:.2f} at 0.5, {tv[2.0]:.2f} at 2, "
    f"{tv[3.0]:.2f} at 3, {tv[8.0]:.2f} at 8",
    holds=max(tv.values()) < 0.05,
    expected=False,
)

# %% [markdown]
# **It does not hold**, and the sampler is not to blame: more steps change the second decimal. Look where the points go: much
# farther from the other classes than the tilted density lies. While there is much noise, all classes are mixed up, the
# difference of the two scores is the same everywhere, and $w$ times it throws the whole cloud that way; later, the class's own
# score pulls only part of it back. Guidance is a good *knob*. It is not a sampler of anything that one could have written down
# first.
#
# ## On digits
#
# The same noise, two guides: the network's own difference, and lesson 07's classifier. Choose the **model**, freeze a row of
# each. While you drag $w$, a student of the first sketches in one step what it will draw in 20; lesson 18 teaches such a one.

# %% tags=["nbval-ignore-output"]
from course_lib.widgets import tradeoff
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided_models import by_classifier, by_classifier_free, by_student

model, guide, evaluator = (
    models.load(name) for name in ("digits", "noisy_classifier", "classifier")
)
guides = {
    "classifier-free": by_classifier_free(model),
    "classifier": by_classifier(model, guide),
}
guidance_explorer(
    guides,
    curve=tradeoff.measured(),
    quick={"classifier-free": by_student(models.load("guided"))},
)

# %% [markdown]
# ## Against lesson 07's curve
#
# 500 samples, 25 steps, three seeds: noise, and for the classifier three trainings.

# %%
runs = figures.where(figures.load("guidance_sweep"), steps=25, n=500)
ws = [0, 0.5, 1, 1.5, 2, 3, 5, 8]


def over_w(figure, guide):
    """Of one guide: (values of w, seeds)."""
    return figures.values(runs, figure, guide=guide, dropped=None, w=ws)


both = (("classifier-free", BLUE, "o-"), ("classifier", RED, "s--"))
fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.4), sharey=True)
for ax, figure in zip(axes, ("class accuracy", "precision", "recall")):
    for kind, colour, line in both:
        seeds = over_w(figure, kind)
        ax.errorbar(
            ws,
            seeds.mean(1),
            seeds.std(1, ddof=1),
            fmt=line,
            color=colour,
            ms=8,
            capsize=5,
            label=kind,
        )
    if figure != "class accuracy":
        ax.axhline(runs.attrs["real"][figure], color=GREEN, ls=":", label="real digits")
    ax.set(xlabel="w", title=figure, ylim=(0, 1.02))
axes[0].legend(loc="lower right")
plots.show(
    fig,
    alt="Over w: the classifier-free guide's accuracy is near 1 from w = 1 on, its precision peaks at w = 3, its recall falls "
    "from 0.9 to 0.45. The classifier's accuracy rises slowly to 0.9, its precision dips and rises, its recall stays high.",
)

# %%
for i, w in enumerate(ws):
    row = (
        f"{over_w(f, kind)[i].mean():.2f}"
        for f in ("class accuracy", "precision", "recall")
        for kind, *_ in both
    )
    print(
        "w = {:<3}  accuracy {} and {}   precision {} and {}   recall {} and {}".format(
            w, *row
        )
    )

# %%
accuracy, precision, recall = (
    over_w(f, "classifier-free") for f in ("class accuracy", "precision", "recall")
)
at = ws.index
claim(
    "cfg-tradeoff",
    "w trades diversity for fidelity without any classifier, too.",
    measured=f"from w = 1 to 3: precision {precision[at(1)].mean():.2f} to {precision[at(3)].mean():.2f}, recall "
    f"{recall[at(1)].mean():.2f} to {recall[at(3)].mean():.2f}, accuracy {accuracy[at(1)].mean():.2f} to "
    f"{accuracy[at(3)].mean():.2f}, in every seed",
    holds=bool(
        (precision[at(3)] > precision[at(1)]).all() and (recall[at(3)] < recall[at(1)]).all()
    ),
)

# %%
other = over_w("class accuracy", "classifier")
claim(
    "cfg-against-classifier",
    "At the same w, the network's own difference steers better than the classifier.",
    measured=f"accuracy {accuracy[at(1)].mean():.2f} against {other[at(1)].mean():.2f} at w = 1, "
    f"{accuracy[at(3)].mean():.2f} against {other[at(3)].mean():.2f} at w = 3, three seeds",
    holds=bool((accuracy[[at(1), at(2), at(3)]] > other[[at(1), at(2), at(3)]]).all()),
)

# %% [markdown]
# The trade has an end. Beyond $w = 3$ precision falls *as well*: the digits become bolder than any real one, and at the rim of
# what can be drawn. And $w = 1$, the plain conditional model, is nearest to the data by the Frechet distance: guidance makes
# digits that look better one by one, not a crowd that is more like the real one.
#
# ## Why is the classifier the worse guide?
#
# In the exact world its slope *is* the difference of the two scores. So hold one against the other: 200 held-out digits, noised
# to seven times; the angle between the two arrows, as a cosine, and their lengths.

# %%
x0, label = (part[:200] for part in digits.load("held_out"))
everyone, moments, cosines, lengths = (
    torch.arange(200),
    [50, 150, 300, 450, 600, 750, 900],
    [],
    [],
)
for t in moments:
    x = model.process.add_noise(x0, t, randn_like(x0, seeded(t)))
    slope = grad_log_p(lambda x, t=t: guide(x, t).log_softmax(1)[everyone, label], x)
    with torch.no_grad():
        score_difference = model.given(label)(x, t).score - model.given(NULL)(x, t).score
    cosines.append(
        float(torch.cosine_similarity(slope.flatten(1), score_difference.flatten(1)).mean())
    )
    lengths.append([float(v.flatten(1).norm(dim=1).mean()) for v in (score_difference, slope)])
own, theirs = np.array(lengths).T

fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.2))
axes[0].plot(moments, cosines, "o-", color=GREEN)
axes[0].set(title="cosine of the two arrows", xlabel="time t", ylim=(0, 1))
axes[1].plot(moments, own, "o-", color=BLUE, label="the network's own difference")
axes[1].plot(moments, theirs, "s--", color=RED, label="the classifier's slope")
axes[1].set(title="their lengths", xlabel="time t", yscale="log")
axes[1].set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
axes[1].minorticks_off()
axes[1].legend()
plots.show(
    fig,
    alt="The cosine rises from 0.1 at t = 50 to 0.65 at t = 900. The classifier's slope is shorter at all times, and far "
    "shorter at small t.",
)

# %%
claim(
    "cfg-classifier-slope",
    "A good classifier of noisy digits has about the slope that the network's own two scores have.",
    measured=f"cosine {cosines[0]:.1f} at t = 50, {cosines[4]:.1f} at 600, {cosines[-1]:.1f} at 900; the classifier's is "
    f"{own[3] / theirs[3]:.0f} times too short at 450, about {round(own[1] / theirs[1], -1):.0f} times at 150",
    holds=min(cosines) > 0.8,
    expected=False,
)

# %% [markdown]
# It has not. In much noise both see the same blot, and agree half-way. In little noise the classifier is sure of its answer,
# its $\log P$ is flat, and what slope is left runs along odd edges; the network, which was taught to *draw*, knows what a
# better three would look like. A right answer is not a right slope.
#
# ## How often to drop the label?
#
# Ho and Salimans tried 1 in 10, 2 in 10 and 5 in 10, and found the first two alike and the last worse: only a small part of the
# network need be spent on drawing without a class. Ours: four rates, two trainings each, all of 1,500 steps, 500 samples.

# %%
rates = [0.02, 0.1, 0.2, 0.5]
at_2 = figures.where(runs, guide="classifier-free", w=2)
distance, fidelity = (
    figures.values(at_2, figure, dropped=rates) for figure in ("Frechet distance", "precision")
)
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.2))
for ax, trainings, name in (
    (axes[0], distance, "Frechet distance"),
    (axes[1], fidelity, "precision"),
):
    ax.plot(rates, trainings, "o", color=BLUE, ms=9)
    ax.plot(rates, trainings.mean(1), "-", color=BLUE)
    ax.set(
        xscale="log",
        xlabel="share of labels dropped",
        title=f"{name} at w = 2",
        ylim=(0, None),
    )
    ax.set_xticks(rates, rates)
    ax.minorticks_off()
plots.show(
    fig,
    alt="Frechet distance and precision at w = 2 over the dropout rate; a dot for each training.",
)

# %%
for r, far, near in zip(rates, distance, fidelity):
    print(
        f"dropped {r:<4}  Frechet distance {far[0]:.2f}, {far[1]:.2f}   precision {near[0]:.2f}, {near[1]:.2f}"
    )
claim(
    "cfg-dropout-rate",
    "Dropping half of the labels is worse for guided samples than dropping one in ten.",
    measured=f"Frechet distance at w = 2: {distance[1].mean():.2f} at 0.1, {distance[2].mean():.2f} at 0.2, "
    f"{distance[3].mean():.2f} at 0.5, two trainings each",
    holds=distance[3].min() > distance[1].max(),
    expected=False,
)

# %% [markdown]
# **Not here**, at this $w$: the more labels are dropped, the smaller the distance; only precision falls a little at 0.5. A
# network that trains more often without a label knows better what a digit is when nobody says which, its two scores differ by
# less, and the same $w$ pushes more gently: more recall, less precision. Ten classes are easily learned from half of the
# labels; Ho and Salimans had a thousand, and judged each network at the $w$ that suited it best.

# %% [markdown]
# ## The digit network as a classifier
#
# It was never asked to read. But $P(c \mid x) \propto q(x \mid c)$, and how well the network *denoises* a picture as a $c$ says
# how likely it is as a $c$ (Li et al. 2023). So: noise a held-out digit, ask with each of the ten labels, take the label that
# misses the least. The first 100 held-out digits, eight amounts of noise each.


# %%
@torch.no_grad()
def denoising_error(x0, c, seed=0):
    """How badly the network denoises x0 (B, 1, 16, 16) as a c: the mean square over eight noises, (B,)."""
    rng, total = seeded(seed), 0
    for t in (150, 225, 300, 375, 450, 525, 600, 675):
        eps = randn_like(x0, rng)
        total = total + (
            model.given(c)(process.add_noise(x0, t, eps), t).eps - eps
        ).square().flatten(1).mean(1)
    return total


x0, label = (part[:100] for part in digits.load("held_out"))
reads = metrics.accuracy(-torch.stack([denoising_error(x0, c) for c in range(10)], 1), label)
claim(
    "cfg-reads-digits",
    "A network that was only ever taught to denoise can read.",
    measured="it reads more than 90 of 100 held-out digits right; a guess would be right in 10",
    holds=reads > 0.9,
)

# %% [markdown]
# ## Failure museum
#
# Four mixes at $w = 5$, from the same noises; asked for are 0, 1, .. 9, 0, ..

# %%
label, null = torch.arange(16) % 10, model.given(NULL)
noise = model.draw_noise(16, seeded(5))
museum = {
    "right": ClassifierFree(model.given(label), null, 5.0),
    "cond, uncond swapped": ClassifierFree(null, model.given(label), 5.0),
    "class 0 for null": ClassifierFree(model.given(label), model.given(0), 5.0),
    "w far too large: 40": ClassifierFree(model.given(label), null, 40.0),
}
fig, axes = plt.subplots(1, 4, figsize=(11.5, 3.5))
for ax, (name, denoiser) in zip(axes, museum.items()):
    x = sample(denoiser, noise, 25)
    plots.pictures(x, columns=4, ax=ax, title=name)
    ax.title.set_size(14)
    with torch.no_grad():
        hits = int((evaluator(x.clamp(-1, 1)).argmax(1) == label).sum())
    print(f"{name}: the judge reads {hits} of 16 as asked")
plots.show(
    fig,
    alt="Sixteen digits four times: as asked; anything but as asked; distorted where a 0 is asked; burnt out.",
)

# %%
for name, mix in {
    "swapped": lambda cond, uncond, x_t, t, w: (
        cond(x_t, t).eps + w * (uncond(x_t, t).eps - cond(x_t, t).eps)
    ),
    "their w for ours": lambda cond, uncond, x_t, t, w: (
        (1 + w) * cond(x_t, t).eps - w * uncond(x_t, t).eps
    ),
}.items():
    print(f"{name}: {check.guided_mix(mix).diagnosis}")

# %% [markdown]
# **Swapped** draws anything but what was asked for. **Class 0 for null** (a null label that is a class, too) works, but for the
# 0s: all others are pushed away from zeros alone, and a 0 is not pushed at all. **A far too large w** throws the predicted
# picture out of $[-1, 1]$; what Imagen does about that, dynamic thresholding, is in lesson 13.
#
# ## What you saw
#
# - One network, one label in ten dropped, holds both scores; their difference is a classifier's slope, and the right one.
# - Every paper's weight is the same weight under another name.
# - Guidance does not sample $p(x) P(c \mid x)^w$, but for $w = 0$ and 1; it goes farther.
# - More $w$, up to about 3: more precision, less recall. At the same $w$ the network's own guide beats the classifier, whose
#   answers are right and whose slope is not.
#
# **At full size** classifier-free guidance is in nearly every system of this course: DALL-E 2, Imagen and Stable Diffusion all
# have it, with a text in the place of the label. It costs two evaluations a step, unless a student learns the mix (lesson 18).
#
# **Think about it**
#
# 1. The null label is learned from one picture in ten, the class labels from nine. Which of the two scores is the worse one,
#    and what does $w > 1$ do with its errors?
# 2. For $w$ between 0 and 1, too, the distance to the tilted density is not 0. On which side of it do guided points lie?
#
# **Next:** lesson 09 asks with words.
