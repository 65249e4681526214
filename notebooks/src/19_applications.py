# %% [markdown]
# # 19 Applications: one denoiser, many uses
#
# **You will be able to** turn a rough drawing into a picture, fill a hole in a picture, and undo a blur or a shrinking, all
# with a denoiser that was trained for none of it; and say, in figures, what each use can and cannot give.
#
# **Time** 50 minutes. **Needs** lessons 02 and 14. **Papers** Chenlin Meng et al.: *SDEdit: Guided Image Synthesis and
# Editing with Stochastic Differential Equations* (2022); Andreas Lugmayr et al.: *RePaint: Inpainting using Denoising
# Diffusion Probabilistic Models* (2022); Yinhuai Wang, Jiwen Yu, Jian Zhang: *Zero-Shot Image Restoration Using Denoising
# Diffusion Null-Space Model* (2023).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("19")

# %% [markdown]
# ## Editing: noise it, then draw from there
#
# A sampler walks from noise to a picture. Nobody says that it must begin at the start. Take a *guide*, anything that has
# roughly the right shape; noise it to a time $t_0$; and let the sampler do the rest of the way:
#
# $$x_{t_0} = \sqrt{\bar\alpha_{t_0}}\; x_\text{guide} + \sqrt{1 - \bar\alpha_{t_0}}\; \epsilon, \qquad
# \text{then sample from } t_0 \text{ down to } 0 .$$
#
# That is all of SDEdit. The noise drowns what is fine and wrong, a ragged edge, and leaves what is coarse and right. How
# much it drowns is up to $t_0$. Our guides are held-out digits as someone might draw them on 8 × 8 squares, black or white.
# The painter is *not* told which digit it is (`NULL`); all that it hears of it is the guide.
#
# **Turn the dial.** All was made beforehand; the page computes nothing. Left, the guide as the sampler finds it at $t_0$;
# right, where it ends. The curves were measured on 500 guides: which share is *read as the guide was meant*, which share
# looks *real* (precision, lesson 07), and how much of the guide is left, as a share of how far a free sample lies from it.

# %% tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from course_lib import plots
from course_lib.datasets import digits
from course_lib.denoisers import NULL
from course_lib.guidance import classifier_free
from course_lib.methods.editing import Consistent, blurred, repaint, sdedit, shrunk
from course_lib.process import randn_like, seeded
from course_lib.samplers import ddpm, result, sample
from course_lib.teaching.claims import claim
from course_lib.widgets.dial import dial
from course_lib.zoo import figures, models
from torch.nn.functional import avg_pool2d, interpolate

plots.style()
BLUE, ORANGE, GREEN, RED, PINK = plots.COLOURS[:5]
network, evaluator = models.load("digits"), models.load("classifier")
model, process = network.given(NULL), network.process
pictures, label = digits.load("held_out")
guides = interpolate((avg_pool2d(pictures[:500], 2) > -0.2).float() * 2 - 1, scale_factor=2)

runs = figures.load("applications")


def measured(what, figure, at):
    """(values of `at`, seeds)."""
    return figures.values(runs, figure, what=what, at=at)


starts = list(range(0, 1001, 100))
moved, read, real, far = (
    measured("edit", f, starts)
    for f in ("moved", "class accuracy", "precision", "Frechet distance")
)
left = 1 - moved.mean(1) / moved.mean(1)[-1]
few, dials = [20, 11, 2, 3, 14, 5, 16, 27, 8], list(range(0, 1001, 50))
grid, noisy, ends = process.times(40), [], []
for t0 in dials:
    rng = seeded(0)
    noisy.append(process.add_noise(guides[few], t0, randn_like(guides[few], rng)))
    falling = grid[grid <= t0]
    rng = seeded(0)
    ends.append(result(sdedit(model, guides[few], falling, rng)) if t0 else guides[few])
between = lambda values: np.interp(dials, starts, values).round(3).tolist()
dial(
    "t₀",
    dials,
    {"the guide, noised to t₀": noisy, "drawn from there": ends},
    {
        "read as meant": between(read.mean(1)),
        "looks real": between(real.mean(1)),
        "left of the guide": between(left),
    },
)

# %% [markdown]
# At $t_0 = 0$ nothing happens. At $t_0 = 1000$ the guide is forgotten, and any digit comes. Between the two lies a trade:

# %%
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.6))
ax = axes[0]
ax.plot(moved.mean(1), far.mean(1), "o-", color=BLUE, ms=9)
for i, error in ((0, (10, 8)), (2, (10, 8)), (4, (8, 10)), (10, (-60, 16))):
    ax.annotate(
        f"$t_0$ = {starts[i]}",
        (moved.mean(1)[i], far.mean(1)[i]),
        error,
        textcoords="offset points",
        fontsize=14,
    )
ax.set(
    xlabel="moved away from the guide (root mean square)",
    title="Frechet distance",
    ylim=(0, None),
    xlim=(-0.02, 0.78),
)
for values, colour, line, name in (
    (read, RED, "s-", "read as meant"),
    (real, BLUE, "o--", "looks real (precision)"),
):
    axes[1].errorbar(
        starts,
        values.mean(1),
        values.std(1, ddof=1),
        fmt=line,
        color=colour,
        ms=8,
        capsize=5,
        label=name,
    )
axes[1].set(xlabel="$t_0$", title="share of 500 edits", ylim=(0, 1))
axes[1].legend()
plots.show(
    fig,
    alt="Left: Frechet distance against how far the edit moved: it falls steeply, then slowly. Right: the share that looks "
    "real rises with t0; the share read as meant rises to t0 = 300 and then falls.",
)

# %%
for t0, m, f, p, r in zip(starts, moved.mean(1), far.mean(1), real.mean(1), read.mean(1)):
    print(
        f"t0 = {t0:<5} moved {m:.2f}  Frechet distance {f:.1f}  looks real {p:.2f}  read as meant {r:.2f}"
    )

# %%
ladder = [starts.index(t) for t in (0, 200, 400, 1000)]
claim(
    "edit-faithful-or-real",
    "The later an edit starts, the more real is what comes out, and the less faithful to the guide.",
    measured="from t0 = 0 over 200 and 400 to 1,000: Frechet distance "
    + ", ".join(f"{v:.1f}" for v in far.mean(1)[ladder])
    + "; moved "
    + ", ".join(f"{v:.2f}" for v in moved.mean(1)[ladder])
    + "; 500 guides, three seeds",
    holds=bool(
        (np.diff(far[ladder], axis=0) < 0).all() and (np.diff(moved[ladder], axis=0) > 0).all()
    ),
)

# %%
best = starts[int(read.mean(1).argmax())]
claim(
    "edit-better-than-guide",
    "An edit from the right start is read as meant more often than the guide itself.",
    measured=f"the guides {read[0].mean():.2f}, their edits from t0 = {best} {read.max(0).mean():.2f}",
    holds=bool((read[starts.index(best)] > read[0] + 0.05).all()),
)

# %% [markdown]
# That is worth a second look: nobody told the painter what was meant. It knows what digits look like, and a rough drawing
# that is *nearly* an 8 is pulled to the 8.
#
# ### Say what to change
#
# An instruction is a condition. Start from a **real** digit, noise it to $t_0$, and draw on with guidance towards *another*
# class, $w = 3$ (lesson 08). Each digit is asked to become its successor. How late must the start be before the painter
# obeys, and how much of the handwriting does that cost?

# %%
starts_measured = [300, 400, 500, 600, 700, 800, 900]
followed, cost = (
    measured("instruct", "class accuracy", starts_measured),
    measured("instruct", "moved", starts_measured),
)
sources = pictures[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]
labels, times = (torch.arange(10) + 1) % 10, process.times(25)
rows = [sources]
for t0 in (400, 600, 800):
    guided = classifier_free(network, labels, 3.0)
    rows.append(result(sdedit(guided, sources, times[times <= t0], seeded(1))))
fig, axes = plt.subplots(1, 2, figsize=(11.5, 3.6), width_ratios=(1.6, 1))
plots.pictures(
    torch.cat(rows),
    columns=10,
    ax=axes[0],
    title="“be the next digit”, from $t_0$ =",
    rows=["real", "400", "600", "800"],
)
for values, colour, line, name in (
    (followed, RED, "s-", "read as asked"),
    (cost, BLUE, "o--", "moved (rms)"),
):
    axes[1].errorbar(
        starts_measured,
        values.mean(1),
        values.std(1, ddof=1),
        fmt=line,
        color=colour,
        ms=8,
        capsize=5,
        label=name,
    )
axes[1].set(xlabel="$t_0$", ylim=(0, 1.05), xticks=[300, 500, 700, 900])
axes[1].legend(loc="lower right", bbox_to_anchor=(1, 0.03))
plots.show(
    fig,
    alt="Ten digits; from 400 some become the next, from 600 nearly all, from 800 all. The share read as asked rises "
    "with t0, and so does the distance moved.",
)

# %%
claim(
    "edit-instruction",
    "An instruction is obeyed only from a late start: from an early one the picture outvotes it.",
    measured=f"read as asked from t0 = 300: {followed[0].mean():.2f}, from 600: {followed[3].mean():.2f}, from 900: "
    f"{followed[-1].mean():.2f}; moved {cost[0].mean():.2f}, {cost[3].mean():.2f}, {cost[-1].mean():.2f}",
    holds=bool(
        (followed[0] < 0.4).all() and (followed[-1] > 0.9).all() and (cost[-1] > cost[0]).all()
    ),
)

# %% [markdown]
# ## Inpainting: some of it is known
#
# A hole in a picture. We know all pixels but those. The sampler holds $x_s$, all noise and guess; but for the known pixels we
# know what $x_s$ should be: the known picture, *as noisy as $s$ wants it*. So put it there, at every step:
#
# $$x_s \leftarrow m \odot \underbrace{\left(\sqrt{\bar\alpha_s}\, x_\text{known} +
# \sqrt{1 - \bar\alpha_s}\,\epsilon\right)}_{\text{known}}
#  + (1 - m) \odot \underbrace{x_s}_{\text{as sampled}}, \qquad m = 1 \text{ where the picture is known.}$$
#
# ### Exercise 1: `inpaint_step` (difficulty 1, 5 minutes)
#
# `process.add_noise(x0, s, eps)` is lesson 01's jump.


# %%
def my_inpaint_step(process, x_s, known, keep, s, eps):
    """x_s (B, ...) with the known picture, noised to s by eps, wherever keep is 1."""
    ...  # write it here


from course_lib.teaching import checks as check

check.inpaint_step(my_inpaint_step)

# %%
check.solution("inpaint_step")

# %% [markdown]
# It works, and yet something is off. In each step the new part is drawn by a network that saw the known part only *once*, at
# this noise; by the next step the known part has fresh noise, and the new part cannot go back on its word. Lugmayr et al.
# let it: after a step from $t$ to $s$, go **back up** from $s$ to $t$ by the forward chain, and take the step again. $U$
# times in all.
#
# ### Exercise 2: `noised_further` (difficulty 2, 8 minutes)
#
# From $x_s$ up to $x_t$. All single steps of the chain in between make one jump, with $\alpha = \bar\alpha_t / \bar\alpha_s$;
# `process.alpha_bar(t)` gives $\bar\alpha_t$. Mind that $x_s$ is noisy already.


# %%
def my_noised_further(process, x_s, s, t, eps):
    """From x_s (B, ...) at time s up to a later time t, with fresh noise eps."""
    ...  # write it here


check.noised_further(my_noised_further)

# %%
check.solution("noised_further")

# %% [markdown]
# ### Truth beside it: what is behind the hole?
#
# In the plane, "known" is one coordinate. The data are eight spots on a ring, the one at 45° three times as heavy as the
# others. We know $x_1 = 0.55$. Then what may $x_2$ be? Bayes' rule answers exactly: each spot counts by its weight, times
# how well it explains 0.55. An inpainter should draw $x_2$ from *that*.

# %%
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.mixtures import GaussianMixture

weights, known_x1, n = torch.tensor([1.0, 3, 1, 1, 1, 1, 1, 1]), 0.55, 1500
spots = GaussianMixture(weights, ring().means, torch.full((8,), 0.15))
log_posterior = spots.weights.log() - (known_x1 - spots.means[:, 0]) ** 2 / (2 * spots.stds**2)
exact_share = log_posterior.softmax(0)
denoiser = ExactDenoiser(spots, process)
z = torch.randn(n, 2, dtype=torch.float64, generator=seeded(0))
at = torch.tensor([[known_x1, 0.0]], dtype=torch.float64).expand(n, 2)
filled, share = {}, {}
for U in (1, 4, 16):
    rng = seeded(2)
    filled[U] = result(
        repaint(denoiser, at, torch.tensor([[1.0, 0.0]]), z, process.times(80), U, rng)
    )
    share[U] = torch.bincount(torch.cdist(filled[U], spots.means).argmin(1), minlength=8) / n
tv = {U: float((s - exact_share).abs().sum() / 2) for U, s in share.items()}

fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.8), width_ratios=(1, 1.35))
plots.points(
    spots.sample(1500, seeded(1))[0], title="the data; $x_1$ = 0.55 is known", ax=axes[0]
)
axes[0].axvline(known_x1, color=RED, lw=3)
names = ["below, −45°", "right, 0°", "above, 45°", "elsewhere"]
some = lambda s: [float(s[7]), float(s[0]), float(s[1]), float(s[2:7].sum())]
bars = [
    ("exact", exact_share, "black"),
    *((f"U = {U}", s, c) for (U, s), c in zip(share.items(), (ORANGE, PINK, BLUE))),
]
for k, (name, s, colour) in enumerate(bars):
    axes[1].bar(np.arange(4) + 0.2 * k, some(s), 0.18, color=colour, label=name)
axes[1].set_xticks(np.arange(4) + 0.3, names)
axes[1].set(title="where $x_2$ is drawn", ylabel="share")
axes[1].legend()
plots.show(
    fig,
    alt="A ring of eight spots, cut by a line at 0.55. Bars: exactly three quarters lie in the heavy spot above, a quarter "
    "below, almost none at the right; plain inpainting has too many below and at the right, resampling comes nearer.",
)

# %%
claim(
    "inpaint-resampling-exact",
    "Resampling brings inpainting nearer to what is really behind the hole.",
    measured=f"share of points in a wrong spot (total variation): {100 * tv[1]:.0f} % for U = 1, {100 * tv[4]:.0f} % for "
    f"4, {100 * tv[16]:.0f} % for 16",
    holds=tv[16] < tv[4] < tv[1] - 0.03,
)

# %% [markdown]
# Nearer, not there: even exact scores do not make this sampler exact. The known part tells the new one where it may be; how
# *often* it should be there, it learns only through many rounds.
#
# ### Digits with holes
#
# Half of it, or the middle, is gone. Nobody says which digit it is.

# %%
half, box = torch.ones(2, 1, 16, 16)
half[:, 8:], box[:, 4:12, 4:12] = 0, 0
whole, noise = pictures[40:50], network.draw_noise(10, seeded(4))
fig, axes = plt.subplots(1, 2, figsize=(11.5, 2.9))
unchanged = True
for ax, keep, title in zip(axes, (half, box), ("the lower half", "the middle")):
    rows = [whole, torch.where(keep.bool(), whole, -0.3)]
    for U in (1, 10):
        rows.append(
            result(repaint(model, whole, keep, noise, process.times(25), U, seeded(5)))
        )
        unchanged = unchanged and torch.equal(rows[-1] * keep, whole * keep)
    plots.pictures(
        torch.cat(rows),
        columns=10,
        ax=ax,
        title=f"without {title}",
        rows=["whole", "known", "U = 1", "U = 10"],
    )
plots.show(
    fig,
    alt="Ten digits, whole, with a hole, and filled twice. With U = 1 some strokes break off at the edge of the hole.",
)

# %%
kept = runs["kept"].dropna()
changed = float(kept.max())
claim(
    "inpaint-kept-exactly",
    "What is kept is the original, to the last bit.",
    measured=f"largest change of a kept pixel over {200 * len(kept):,} pictures: {changed:g}",
    holds=unchanged and changed == 0,
)

# %%
rounds = [1, 2, 5, 10]
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.3))
for ax, figure in zip(axes, ("class accuracy", "Frechet distance")):
    for hole, colour, line in (("lower half", BLUE, "o-"), ("middle", RED, "s--")):
        values = measured(hole, figure, rounds)
        ax.errorbar(
            rounds,
            values.mean(1),
            values.std(1, ddof=1),
            fmt=line,
            color=colour,
            ms=9,
            capsize=5,
            label=f"no {hole}",
        )
    ax.set(xlabel="U, times each step is taken", title=figure, ylim=(0, None), xticks=rounds)
axes[1].axhline(
    runs.attrs["real"]["Frechet distance"], color=GREEN, ls=":", label="real digits"
)
axes[0].axhline(
    runs.attrs["left black"]["lower half"]["class accuracy"], color=BLUE, ls=":", lw=2
)
axes[0].axhline(runs.attrs["left black"]["middle"]["class accuracy"], color=RED, ls=":", lw=2)
axes[1].legend()
plots.show(
    fig,
    alt="Class accuracy rises and Frechet distance falls from U = 1 to 5, and stays there. Dotted: the hole left black.",
)

# %%
fit = {hole: measured(hole, "class accuracy", rounds) for hole in ("lower half", "middle")}
gap = {hole: measured(hole, "Frechet distance", rounds) for hole in fit}
left_black = runs.attrs["left black"]
claim(
    "inpaint-resampling-digits",
    "With resampling the new part fits the known one better.",
    measured="; ".join(
        f"no {hole}: read as it was {fit[hole][0].mean():.2f} with U = 1, {fit[hole][2].mean():.2f} with 5 (hole left black "
        f"{left_black[hole]['class accuracy']:.2f}), Frechet distance {gap[hole][0].mean():.1f} and "
        f"{gap[hole][2].mean():.1f}"
        for hole in fit
    ),
    holds=all((fit[h][2] > fit[h][0]).all() and (gap[h][2] < gap[h][0]).all() for h in fit),
)

# %% [markdown]
# **Read as it was** is a hard judge: with its middle gone, many a digit could be two or three, and a fill that makes another
# *honest* digit of it is no mistake. That is why the Frechet distance stands beside it.
#
# ### And with words
#
# The text model of lesson 09 paints shapes from captions; it, too, was never trained to fill holes. Of each picture we keep the
# left half, with the first of two objects. The caption says what stands to the right of it, and is guided by, $w = 3$. The
# course's reader of shapes checks whether the picture then shows all that the caption says.
# (`python tests/benchmarks/applications.py`.)

# %%
import base64

album = {
    row["at"]: row
    for _, row in figures.where(runs, what="shapes").dropna(subset="pictures").iterrows()
}
colour = {
    at: torch.frombuffer(bytearray(base64.b64decode(row["pictures"])), dtype=torch.uint8).view(
        -1, 3, 32, 32
    )
    / 127.5
    - 1
    for at, row in album.items()
}
hidden = colour["whole"].clone()
hidden[..., 16:] = -0.3
fig, ax = plt.subplots(figsize=(8, 5.6))
plots.pictures(
    torch.cat([colour["whole"], hidden, colour[1], colour[4]]),
    columns=5,
    ax=ax,
    rows=["whole", "known", "U = 1", "U = 4"],
)
for caption in album["whole"]["said"]:
    print(caption)
plots.show(
    fig,
    alt="Five pictures of two shapes, whole, without the right half, and with that half painted as a caption says.",
)

# %%
with_words = {U: measured("shapes", "all read right", [U])[0] for U in (1, 4)}
exact = measured("shapes", "kept", [1, 4]).max()
claim(
    "inpaint-shapes",
    "With a caption the hole is filled with what was said, and the rest is left as it was.",
    measured=f"all that the caption says is read in {with_words[1].mean():.0%} of pictures with U = 1, in "
    f"{with_words[4].mean():.0%} with U = 4, 25 pictures, three seeds; largest change of a kept pixel {exact:g}",
    holds=bool(with_words[4].mean() > 0.6 and exact == 0),
)

# %% [markdown]
# Here resampling makes no difference that 75 pictures could show: the caption says what is missing, so that the new half need
# not learn it from the old one.
#
# ## Undoing a measurement
#
# A small picture, a blurred one, one with a hole: each is $y = A x_0$, where $A$ is a matrix that loses something. To
# **invert** it is to find an $x_0$ that is a digit *and* measures $y$. Split every picture in two:
#
# $$x_0 = \underbrace{A^+ A\, x_0}_{\text{what } A \text{ sees}} +
# \underbrace{(I - A^+ A)\, x_0}_{\text{what } A \text{ is blind to}} .$$
#
# $A^+$ is the pseudo-inverse: for shrinking, each pixel becomes a square; for a blur, each frequency is made as strong as it
# was, unless it is lost. The first part we *have*: it is $A^+ y$. The second only the painter can know. So correct every
# predicted picture (Wang et al. 2023, eq. 11):
#
# $$\hat x_0 \leftarrow A^+ y + (I - A^+ A)\, \hat x_0 .$$
#
# ### Exercise 3: `consistent` (difficulty 2, 5 minutes)


# %%
def my_consistent(x0, y, A, back):
    """x0 (B, ...), corrected so that A(x0) is y; back is the pseudo-inverse, A^+."""
    ...  # write it here


check.consistent(my_consistent)

# %%
check.solution("consistent")

# %% [markdown]
# `Consistent(model, measurement, y)` is a denoiser that does so at each step; any sampler takes it. One line is all that
# differs between super-resolution and deblurring:

# %%
whole = pictures[60:68]
rows, names = {}, ["whole", "measured", "bicubic or A⁺", "one sample", "another", "mean of 8"]
cases = {
    "a quarter as large": shrunk(4),
    "half as large": shrunk(2),
    "blurred by 2 pixels": blurred(2.0),
}
for name, measurement in cases.items():
    y = measurement.A(whole)
    shown_y = interpolate(y, scale_factor=16 // y.shape[-1], mode="nearest")
    small = y.shape != whole.shape
    simple = (
        interpolate(y, size=(16, 16), mode="bicubic", align_corners=False)
        if small
        else measurement.back(y)
    )
    made = []
    for seed in range(8):
        rng = seeded(seed)
        made.append(
            sample(
                Consistent(model, measurement, y), randn_like(whole, rng), 30, ddpm, rng=rng
            )
        )
    rows[name] = [whole, shown_y, simple, made[0], made[1], torch.stack(made).mean(0)]

fig, axes = plt.subplots(1, 3, figsize=(11.5, 3.5))
for ax, (name, shown) in zip(axes, rows.items()):
    plots.pictures(
        torch.cat(shown), columns=8, ax=ax, title=name, rows=names if ax is axes[0] else ()
    )
    ax.title.set_size(15)
plots.show(
    fig,
    alt="Eight digits shrunk to 4 x 4, to 8 x 8, and blurred. Bicubic enlargement is soft; samples are crisp digits, of 4 x 4 "
    "often another digit; the mean of eight samples is soft again.",
)

# %% [markdown]
# From 4 × 4 pixels the two samples are often two different digits. Both measure $y$ exactly: the measurement cannot tell. A
# single answer would hide that.

# %%
kinds = figures.where(runs, what="DDNM")["at"].unique().tolist()
print(f"{'':20}{'':16}{'PSNR':>6}{'read right':>12}{'Frechet':>9}{'misses y by':>13}")
table = {}
for kind in kinds:
    for what in ("bicubic", "pseudo-inverse", "DDNM", "mean of 8"):
        rows = figures.where(runs, what=what, at=kind)
        if len(rows):
            measures = ("PSNR", "class accuracy", "Frechet distance", "off")
            mean = {
                f: np.mean(figures.values(rows, f)) for f in measures if rows[f].notna().all()
            }
            table[kind, what] = mean
            error = f"{mean['off']:.3f}" if "off" in mean else ""
            print(
                f"{kind:20}{what:16}{mean['PSNR']:6.1f}{mean['class accuracy']:12.2f}{mean['Frechet distance']:9.1f}{error:>13}"
            )

# %%
small = ["half as large", "a quarter as large"]
claim(
    "inverse-consistent",
    "A sample measures y, and bicubic enlargement does not.",
    measured="root mean square of A x - y: samples under 0.0001, bicubic "
    + " and ".join(f"{table[k, 'bicubic']['off']:.2f}" for k in small),
    holds=all(table[k, "DDNM"]["off"] < 1e-4 for k in kinds)
    and all(table[k, "bicubic"]["off"] > 0.02 for k in small),
)

# %%
without = lambda kind, figure: table[kind, "bicubic" if kind in small else "pseudo-inverse"][
    figure
]
claim(
    "inverse-real",
    "What the denoiser adds makes pictures more real than the same measurement undone without one.",
    measured="Frechet distance, without and with: "
    + ", ".join(
        f"{k} {without(k, 'Frechet distance'):.1f} and {table[k, 'DDNM']['Frechet distance']:.1f}"
        for k in kinds
    ),
    holds=all(
        table[k, "DDNM"]["Frechet distance"] < without(k, "Frechet distance") for k in kinds
    ),
)

# %%
claim(
    "inverse-psnr",
    "And nearer to the truth, pixel by pixel, whatever was lost: a sample's PSNR is the higher.",
    measured="PSNR without and with, in dB: "
    + ", ".join(
        f"{k} {without(k, 'PSNR'):.1f} and {table[k, 'DDNM']['PSNR']:.1f}" for k in kinds
    )
    + "; mean of 8: "
    + ", ".join(f"{table[k, 'mean of 8']['PSNR']:.1f}" for k in kinds),
    holds=all(table[k, "DDNM"]["PSNR"] > without(k, "PSNR") for k in kinds),
    expected=False,
)

# %% [markdown]
# **Not where $y$ tells little.** From 4 × 4 pixels bicubic enlargement has the higher PSNR, and shows no digit at all. PSNR
# rewards whoever hedges: best of all is the mean of everything that fits $y$. A sample commits itself to one picture, and
# where much fits, mostly to the wrong one. So the *mean* of eight samples is ahead in decibels everywhere; where $y$ tells
# much, it looks good as well, and from 4 × 4 pixels it is a blur, with a Frechet distance four times a sample's. One cannot
# have both (Blau and Michaeli 2018, *The Perception-Distortion Tradeoff*).
#
# ## Failure museum
#
# Inpainting gone wrong, or so it should be, three ways; each runs without an error.


# %%
@torch.no_grad()
def fill(step, known, keep, noise, U=1, seed=6):
    """Inpainting with a step of one's own."""
    rng, x = seeded(seed), noise
    for t, s in zip(process.times(25)[:-1].tolist(), process.times(25)[1:].tolist()):
        _, after = ddpm(model, x, torch.tensor([t, s]), rng)
        x = step(process, after.x, known, keep, s, torch.randn(x.shape, generator=rng))
    return x


def right(process, x_s, known, keep, s, eps):
    return keep * process.add_noise(known, s, eps) + (1 - keep) * x_s


museum = {
    "right": right,
    "known, but clean": lambda process, x_s, known, keep, s, eps: (
        keep * known + (1 - keep) * x_s
    ),
    "mask turned": lambda process, x_s, known, keep, s, eps: right(
        process, x_s, known, 1 - keep, s, eps
    ),
    "only at the end": lambda process, x_s, known, keep, s, eps: (
        right(process, x_s, known, keep, s, eps) if s == 0 else x_s
    ),
}
known, noise = pictures[80:96], network.draw_noise(16, seeded(8))
fig, axes = plt.subplots(1, 4, figsize=(11.5, 3.5))
for ax, (name, step) in zip(axes, museum.items()):
    plots.pictures(fill(step, known, half, noise), columns=4, ax=ax, title=name)
    ax.title.set_size(15)
plots.show(
    fig,
    alt="Sixteen digits with a new lower half, four times: fitting, mostly; as good or better; with other upper halves; torn.",
)

# %%
for name, step in museum.items():
    verdict = check.inpaint_step(step)
    print(f"{name}: {verdict.diagnosis or verdict.headline}")

# %%
put_in_clean = {
    hole: measured(f"{hole}, put in clean", "class accuracy", [1])[0] for hole in fit
}
claim(
    "inpaint-known-noisy",
    "What is known must go in as noisy as the rest.",
    measured="read as it was, put in noisy and clean: "
    + "; ".join(
        f"no {hole} {fit[hole][0].mean():.2f} and {put_in_clean[hole].mean():.2f}"
        for hole in fit
    ),
    holds=all(put_in_clean[hole].mean() < fit[hole][0].mean() for hole in fit),
    expected=False,
)

# %% [markdown]
# **The mask turned** keeps what should go. **Only at the end**, the new half never heard of the old one, and the digit is torn
# in two. But **known, but clean** is no failure here, whatever theory says: it is read as well as after five rounds of
# resampling (its Frechet distance lies between that and one round's). The network was never shown a picture that is half clean
# and half noise; ours bears it, and makes use of the clearer half. Lugmayr et al.'s step is the one whose $x_s$ has the right
# law. That it is the better one, we cannot show in miniature.

# %% [markdown]
# ## What you saw
#
# - Noise drowns what is fine first. So a rough guide, noised and drawn anew, becomes a digit; how much of it survives is one
#   number, $t_0$, and the best start lies in between.
# - An instruction is a condition, and it competes with the picture: early starts keep the picture, late ones obey.
# - Inpainting keeps the known to the last bit; going back up and down again makes the new part fit.
# - An inverse problem is a correction of $\hat x_0$, one line, for any $A$. What $A$ is blind to is invented, plausibly.
# - None of these samplers draws from the exact posterior, even with exact scores. They are good guesses, not measurements.
#
# **At full size** the same three ideas run behind the "image to image" and "fill" buttons of latent diffusion models: the
# guide, the mask and the noise live in the latent space (lesson 12). Models for editing are often trained for it as well: an
# inpainting model is *told* the mask, InstructPix2Pix (Brooks, Holynski and Efros 2023) is trained on pairs of pictures with
# an instruction. For measurements that are noisy or not linear, the gradient of $\|y - A \hat x_0\|^2$ takes the place of
# our correction (Chung et al. 2023, *Diffusion Posterior Sampling*).
#
# **Think about it**
#
# 1. A sharp licence plate comes out of a blurred one by this lesson's method. What would you tell a court?
# 2. Inpainting with the mask all 0, and with all 1: what does the sampler do?
#
# **Next:** lesson 20 asks what all of this may be used for, and what can be measured of that.
