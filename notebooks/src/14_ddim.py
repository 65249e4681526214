# %% [markdown]
# # 14 DDIM: few steps, and a way back
#
# **You will be able to** write the DDIM step, say why the same network can take 20 steps instead of 1,000, measure what that
# costs, turn a picture back into the noise it came from, and walk from one picture to another.
#
# **Time** 50 minutes. **Needs** lessons 01 and 02. **Paper** Jiaming Song, Chenlin Meng, Stefano Ermon: *Denoising Diffusion
# Implicit Models* (2021).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("14")

# %% [markdown]
# ## Predict the picture, then step
#
# The loss of lesson 02 never used the chain. It only used $q(x_t \mid x_0)$: one jump, from the picture to $x_t$. So *any*
# process with the same jumps may go with the same network. Song et al. take a whole family of them. To get from $x_t$ to an
# earlier time $s$, not only $t - 1$:
#
# 1. **Predict** the picture, $\hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\,\epsilon_\theta) / \sqrt{\bar\alpha_t}$.
# 2. **Step**: make $x_s$ of it as if it were right, with the same noise $\epsilon_\theta$, or with some fresh noise $z$ instead
#    (their eq. 12, where their $\alpha$ is our $\bar\alpha$):
#
# $$x_s = \sqrt{\bar\alpha_s}\; \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\; \epsilon_\theta + \sigma z, \qquad
# \sigma = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}} .$$
#
# The two noises share the variance $1 - \bar\alpha_s$ between them. With $\eta = 1$ and $s = t - 1$ this **is** the step of
# Ho et al. With $\eta = 0$ nothing is left to chance but $x_T$: that is DDIM.
#
# ### Exercise 1: `ddim_step` (difficulty 2, 10 minutes)
#
# `denoiser(x_t, t)` gives `.x0` and `.eps`; `denoiser.process.alpha_bar(t)` gives $\bar\alpha_t$.


# %%
import torch
from course_lib.teaching import checks as check


def my_ddim_step(denoiser, x_t, t, s, eta, z):
    """From x_t (B, ...) at time t down to time s, with the noise z (B, ...)."""
    ...  # write it here


check.ddim_step(my_ddim_step)

# %%
check.solution("ddim_step")

# %% [markdown]
# ## Side by side, from one noise
#
# Both start from the same 16 pictures of noise and take 50 steps. Left of each pair stands $x_t$, right the predicted
# picture. DDIM glides; DDPM shakes, and ends elsewhere.

# %%
import matplotlib.pyplot as plt
from course_lib import plots
from course_lib.datasets import digits
from course_lib.process import seeded
from course_lib.samplers import Step, ddim, ddpm, invert, result, sample
from course_lib.teaching.claims import claim
from course_lib.widgets.player import play
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
network, evaluator = models.load("digits"), models.load("classifier")
process = network.process
labels = torch.arange(16) % 10
x_T = network.draw_noise(16, seeded(0))
times = process.times(50)
by_ddim = list(ddim(network.given(labels), x_T, times))
by_ddpm = {step.t: step for step in ddpm(network.given(labels), x_T, times, seeded(1))}
play(
    by_ddim[::2],
    draw=lambda step: {
        "DDIM: xₜ": step.x,
        "DDIM: x̂₀": step.x0,
        "DDPM: xₜ": by_ddpm[step.t].x,
        "DDPM: x̂₀": by_ddpm[step.t].x0,
    },
)

# %% [markdown]
# ## One noise, by the hand
#
# In the plane we can ask what becomes of *one* $x_T$, with the exact denoiser of lesson 02's ring. Drag it. Under DDIM
# neighbours stay neighbours, and you can find the border where two spots part. Under DDPM and Langevin (lesson 03) the start is
# forgotten. Tick *learned network* to see its path beside the exact one.

# %% tags=["nbval-ignore-output"]
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.widgets.paths import paths

points = models.load("ring")
exact = ExactDenoiser(ring(), points.process)
paths(exact, points)

# %%
one = torch.tensor([[0.9, 0.55]], dtype=torch.float64).expand(2000, 2)


def shares(x):
    """How many of the points end at each of the eight spots."""
    return torch.bincount(torch.cdist(x, ring().means).argmin(1), minlength=8) / len(x)


hundred = points.process.times(100)
of_ddpm = shares(result(ddpm(exact, one, hundred, seeded(0))))
of_ddim = shares(result(ddim(exact, one, hundred)))
claim(
    "ddim-start-decides",
    "Under DDIM the noise decides where it ends; DDPM forgets its start.",
    measured=f"2,000 runs from one x_T, 100 steps: DDIM has {of_ddim.max():.0%} of them in one spot of eight, "
    f"DDPM {of_ddpm.min():.0%} to {of_ddpm.max():.0%} in each",
    holds=float(of_ddim.max()) == 1 and float((of_ddpm - 1 / 8).abs().max()) < 0.04,
)

# %% [markdown]
# ## The same noise, the same picture
#
# With $\eta = 0$ the steps follow one curve, the probability flow of lesson 03, whatever their number. So fewer steps should
# give *the same* picture, only more roughly. Eight noises, from 5 steps to 100:

# %%
n = 40
label = torch.arange(n) % 10
start = network.draw_noise(n, seeded(2))
counts = (5, 10, 20, 50, 100, 1000)
conditioned = network.given(label)
by_steps = {k: sample(conditioned, start, k) for k in counts}
noisy = {k: sample(conditioned, start, k, ddpm, rng=seeded(k)) for k in counts[:-1]}

fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.6))
for ax, name, made in zip(axes, ("DDIM", "DDPM"), (by_steps, noisy)):
    shown = list(made)[:5]
    plots.pictures(torch.cat([made[k][2:10] for k in shown]), columns=8, ax=ax, rows=shown)
    ax.set_ylabel("steps")
    ax.set_title(f"{name}: a noise in each column")
plots.show(
    fig,
    alt="Eight noises, 5 to 100 steps. Under DDIM each column is one digit; under DDPM each row has other digits.",
)

# %% [markdown]
# How alike are two pictures? By the cosine of their features in the classifier, less the mean over all real digits of that
# class: what is left is the *handwriting*. Beside it: another noise, the same class.


# %%
pictures, classes = digits.load("train")
with torch.no_grad():
    real = evaluator.features(pictures)
usual = torch.stack([real[classes == c].mean(0) for c in range(10)])[label]


@torch.no_grad()
def alike(x, y):
    return float(
        torch.cosine_similarity(
            evaluator.features(x) - usual, evaluator.features(y) - usual
        ).mean()
    )


unrelated = alike(by_steps[1000], by_steps[1000].roll(10, 0))
same = {k: alike(by_steps[k], by_steps[1000]) for k in counts[:-1]}
other = {k: alike(noisy[k], by_steps[1000]) for k in counts[:-1]}
print("steps          " + "".join(f"{k:>7}" for k in same))
print("DDIM           " + "".join(f"{v:7.2f}" for v in same.values()))
print("DDPM           " + "".join(f"{v:7.2f}" for v in other.values()))
print(f"another noise  {unrelated:7.2f}")

# %%
claim(
    "ddim-same-noise",
    "The same noise gives the same picture from 10 steps to 1,000.",
    measured=f"likeness to 1,000 steps: {same[10]:.2f} at 10 steps, {same[100]:.2f} at 100; "
    f"DDPM {other[100]:.2f}, another noise {unrelated:.2f}",
    holds=same[10] > 0.8 and same[100] > 0.95 and max(other.values()) < 0.6,
)

# %% [markdown]
# ## What do few steps cost?
#
# The miniature of Song et al.'s Table 1: 500 samples, six numbers of steps, $\eta = 0$ and $\eta = 1$, three seeds. It takes
# ten minutes, so it was made once, by `python tests/benchmarks/ddim_steps.py`, and ships as data.

# %%
runs = figures.load("ddim_steps")
real = runs.attrs["the same, real against real"]

fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.8))
for ax, figure in zip(axes, ("Frechet distance", "class accuracy")):
    for eta, colour, line, name in (
        (0.0, BLUE, "o-", "DDIM, η = 0"),
        (1.0, RED, "s--", "DDPM, η = 1"),
    ):
        seeds = figures.values(runs, figure, steps=counts, eta=eta)  # (step counts, seeds)
        ax.errorbar(
            counts,
            seeds.mean(1),
            seeds.std(1, ddof=1),
            fmt=line,
            color=colour,
            ms=9,
            capsize=5,
            label=name,
        )
    ax.set(xscale="log", xlabel="steps", title=figure)
axes[0].axhline(real, color=GREEN, ls=":", label="real against real")
axes[0].set(ylim=(0, None))
axes[0].legend()
plots.show(
    fig,
    alt="Frechet distance and accuracy over steps. DDIM's distance is the smaller throughout, most so at few.",
)

# %%
FAST, SLOW = (
    figures.values(runs, "Frechet distance", steps=counts, eta=eta) for eta in (0, 1)
)
for k, zero, one in zip(counts, FAST.mean(1), SLOW.mean(1)):
    print(f"{k:>5} steps: eta = 0 {zero:.3f}, eta = 1 {one:.3f}")

# %%
gap = lambda k: (SLOW - FAST)[counts.index(k)]
claim(
    "ddim-few-steps",
    "In few steps DDIM is the better sampler: at 5 and 10 steps its distance is the smaller in every seed.",
    measured=f"DDPM's less DDIM's at 5 steps {gap(5).mean():+.3f}, at 10 {gap(10).mean():+.3f}, three seeds",
    holds=bool((gap(5) > 0).all() and (gap(10) > 0).all()),
)

# %%
claim(
    "ddim-many-steps",
    "At 1,000 steps, too, DDIM is at least as good as DDPM.",
    measured=f"DDPM's less DDIM's at 1,000 steps {gap(1000).mean():+.3f}, three seeds",
    holds=gap(1000).mean() >= 0,
)

# %% [markdown]
# **What differs in miniature.** In the paper's Table 1 (CIFAR10, FID) $\eta = 0$ goes 13.4, 6.8, 4.7, 4.2, 4.0 over 10, 20, 50,
# 100 and 1,000 steps, and $\eta = 1$ goes 41.1, 18.4, 8.0, 5.8, 4.7: DDIM leads throughout, and both fall. Here, too, DDIM
# leads throughout, but at 10 steps it is as good as at 1,000, so simple are our pictures. The network counts as well: our first
# one, trained for a third as long, drew worse in 1,000 steps of DDIM (0.115) than in 5 (0.088), and from 50 steps on DDPM was
# the better; perhaps fresh noise washes out errors that the curve carries along. (Their table has such a case, too: DDPM with
# the larger $\sigma_t^2 = \beta_t$ wins at 1,000, with 3.2.)
#
# ## When does the outline stand?
#
# The predicted picture changes less and less. Here the network is *not* told which digit to draw, and takes 50 steps. How like
# is each guess to the picture at the end: in how many does the classifier already read the digit of the end, and how well do
# their pixels correlate?

# %%
from course_lib.denoisers import NULL

film = list(ddim(network.given(NULL), start, process.times(50)))
end = film[-1].x
with torch.no_grad():
    read = [
        float((evaluator(step.x0).argmax(1) == evaluator(end).argmax(1)).float().mean())
        for step in film
    ]
centred = lambda x: x.flatten(1) - x.flatten(1).mean(1, keepdim=True)
pixels = [
    float(torch.cosine_similarity(centred(step.x0), centred(end)).mean()) for step in film
]

fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.2), width_ratios=(1, 1.1))
moments = [0, 5, 10, 20, 30, 50]
plots.pictures(
    torch.cat([torch.stack([film[i].x0[j] for i in moments]) for j in (12, 13, 15, 18)]),
    columns=6,
    ax=axes[0],
)
axes[0].set_title("the guess after " + ", ".join(map(str, moments)) + " steps", fontsize=15)
axes[1].plot(read, "-", color=BLUE, label="read as at the end")
axes[1].plot(pixels, "--", color=RED, label="correlation of pixels")
axes[1].axvline(10, color=GREEN, ls=":", lw=2)
axes[1].set(xlabel="steps made, of 50", title="How much of the picture stands", ylim=(0, 1.03))
axes[1].legend(loc="lower right")
plots.show(
    fig,
    alt="Four guesses, from a blur to a digit. The correlation of pixels is high at once; the share that is "
    "read as at the end rises from 0.05 to 0.8 in 20 steps.",
)

# %%
when = next(i for i, share in enumerate(read) if share >= 0.9)
claim(
    "ddim-outline-after-10",
    "The outline stands after 10 of 50 steps: nine digits in ten can be read as what they become.",
    measured=f"after 10 steps {100 * read[10]:.0f} % are read as at the end, correlation of pixels {pixels[10]:.2f}; "
    f"nine in ten after {when} steps",
    holds=read[10] >= 0.9,
    expected=False,
)

# %% [markdown]
# It does not. After 10 of 50 steps the blot has its place and its size, which is most of the pixels' correlation, but *which*
# digit it is to be is settled later. What does hold is the lecture's own sentence: 10 steps **in all** make the outline of
# the picture that 1,000 make (likeness 0.92, above). That DDPM needs hundreds for that does not hold for pictures as simple as
# ours: its 10 steps make other digits than its 1,000, but fair ones.
#
# ## The way back
#
# A curve can be walked in both directions. Start at a real picture, ask for the noise, and take the same step *up*: so DDIM
# finds the noise that would have drawn this very picture (Song et al., section 4.3). DDPM could never do that.
#
# ### Exercise 2: `inversion_step` (difficulty 2, 7 minutes)


# %%
def my_inversion_step(denoiser, x_s, s, t):
    """From x_s (B, ...) at time s up to a later time t, with the noise believed at s."""
    ...  # write it here


check.inversion_step(my_inversion_step)

# %%
check.solution("inversion_step")

# %%
pictures, classes = (part[:50] for part in digits.load("held_out"))
own = network.given(classes)


def invert_and_reconstruct(k):
    noise = result(invert(own, pictures, process.times(k)))
    return noise, sample(own, noise, k)


def psnr(x):
    """Peak signal-to-noise ratio in decibels, of pictures in [-1, 1]."""
    return float(10 * torch.log10(4 / (x - pictures).square().mean()))


back = {k: invert_and_reconstruct(k) for k in (10, 20, 50, 200)}
quality = {k: psnr(x) for k, (_, x) in back.items()}
for k, decibels in quality.items():
    print(f"{k:>4} steps up and {k:>4} down: {decibels:.0f} dB")

rows = [pictures[:10], back[200][0][:10], *(back[k][1][:10] for k in (10, 50, 200))]
fig, ax = plt.subplots(figsize=(9.5, 5))
plots.pictures(
    torch.cat(rows),
    columns=10,
    ax=ax,
    rows=["picture", "its noise", "back, 10 steps", "back, 50 steps", "back, 200 steps"],
)
plots.show(
    fig,
    alt="Ten digits, their noises, and what comes back: another stroke here and there at 10 steps, the same at 200.",
)

# %%
claim(
    "ddim-inversion",
    "Inversion returns the picture, the better the more steps.",
    measured=f"PSNR {quality[10]:.0f} dB at 10 steps, {quality[50]:.0f} at 50, {quality[200]:.0f} at 200, 50 held-out digits",
    holds=quality[10] < quality[50] < quality[200] and quality[200] > 25,
)

# %% [markdown]
# Look at the second row. Where a picture is plain black, the noise that is found is weak: it is not quite the noise that DDIM
# was meant to start from, though it leads back to the picture.
#
# ## Between two pictures
#
# Two noises, and what lies between. A straight line between two Gaussian noises runs through noises that are too short; on
# the **arc** (slerp, Shoemake 1985) each keeps the right length. Drag: left the digits that DDIM draws from the arc, right the
# mere fade of the two ends.

# %%
from course_lib.methods.interpolation import slerp

nine = torch.tensor([0, 2, 3, 4, 5, 6, 7, 8, 9])
rng = seeded(7)
a, b = torch.randn(2, 9, 1, 16, 16, generator=rng)
walk = []
for share in torch.linspace(0, 1, 25).tolist():
    walk.append(Step(share, sample(network.given(nine), slerp(a, b, share), 20)))
first, last = walk[0].x, walk[-1].x
play(
    walk,
    draw=lambda step: {
        "DDIM from the arc": step.x,
        "a mere fade": (1 - step.t) * first + step.t * last,
    },
)

# %% [markdown]
# Is what lies half way as real as the ends? 300 pairs of noises, each pair with one class: the Frechet distance from
# held-out digits, and the share of pictures that lie among them.

# %%
from course_lib import metrics

many = torch.arange(300) % 10
a, b = torch.randn(2, 300, 1, 16, 16, generator=seeded(8))
draw = lambda x: result(ddim(network.given(many), x, process.times(20)))
ends, arc, line = draw(a), draw(slerp(a, b, 0.5)), draw((a + b) / 2)
between = {
    "the ends": ends,
    "the arc's middle": arc,
    "the line's middle": line,
    "half faded": (ends + draw(b)) / 2,
}
far = {}
with torch.no_grad():
    real_features = evaluator.features(digits.load("held_out")[0])
    for name, x in between.items():
        features = evaluator.features(x)
        far[name] = metrics.frechet_distance(features, real_features)
        precision, recall = metrics.precision_recall(real_features, features)
        print(
            f"{name:18} distance {far[name]:.2f}, precision {precision:.2f}, recall {recall:.2f}"
        )

# %%
middle = "the arc's middle"
claim(
    "ddim-interpolation",
    "Half way between two noises, along the arc, lie digits as real as at its ends; half-faded pictures are not.",
    measured=f"Frechet distance {far['the ends']:.2f} at the ends, {far[middle]:.2f} in the middle of the arc, "
    f"{far['half faded']:.2f} half faded",
    holds=far[middle] < 1.3 * far["the ends"] and far["half faded"] > 3 * far["the ends"],
)

# %% [markdown]
# Look at the **line's** middle, too. Its noise is too short, by $\sqrt 2$; what comes out is clean and alike: precision up,
# recall down. Short noise does what guidance will do in lesson 08, for nothing, and pays with variety just the same.
#
# ## Failure museum
#
# Three ways to get exercise 1 wrong, each with 20 steps from the same noises. All three run without an error.


# %%
def step(denoiser, x_t, t, s, eta, z, old_noise=False, no_room=False, lost_bar=False):
    """Exercise 1, right or wrong."""
    bar = (lambda t: denoiser.process.alpha(t)) if lost_bar else denoiser.process.alpha_bar
    pred, sigma = (
        denoiser(x_t, t),
        eta * ((1 - bar(s)) / (1 - bar(t)) * (1 - bar(t) / bar(s))).clamp(min=0).sqrt(),
    )
    direction = (
        (1 - bar(t if old_noise else s) - (0 if no_room or old_noise else sigma**2))
        .clamp(min=0)
        .sqrt()
    )
    return bar(s).sqrt() * pred.x0 + direction * pred.eps + sigma * z


museum = {
    "right": {},
    "old size of noise": {"old_noise": True},
    "no room for z, η = 1": {"no_room": True},
    "a lost bar": {"lost_bar": True},
}
fig, axes = plt.subplots(1, 4, figsize=(11.5, 3.5))
ladder = process.times(20).tolist()
for ax, (name, wrong) in zip(axes, museum.items()):
    rng, x = seeded(4), start[:16]
    with torch.no_grad():
        for t, s in zip(ladder, ladder[1:]):
            z = torch.randn(x.shape, generator=rng)
            x = step(network.given(label[:16]), x, t, s, float("no_room" in wrong), z, **wrong)
    plots.pictures(x, columns=4, ax=ax, title=name)
    ax.title.set_size(15)
plots.show(
    fig,
    alt="Sixteen digits four times: clean; buried in grain; buried in grain; clean, but thin and plain.",
)

# %%
for name, wrong in museum.items():
    verdict = check.ddim_step(lambda *args, wrong=wrong: step(*args, **wrong))
    print(f"{name}: {verdict.diagnosis or verdict.headline}")

# %% [markdown]
# ## What you saw
#
# - The network that was trained for 1,000 steps draws in 10, because the loss never knew the chain: predict $\hat x_0$, step.
# - With $\eta = 0$ the noise decides the picture, at any number of steps.
# - So there is a way back, from a picture to its noise, and a walk from one picture to another, along the arc.
# - In few steps DDIM wins; in many, here, DDPM does.
#
# **At full size** Song et al. draw CIFAR10 with 50 to 100 steps at the quality of 1,000, ten to twenty times faster. Latent
# diffusion (Rombach et al. 2022) draws with it, and inversion is one way in which real photographs are edited.
#
# **Think about it**
#
# 1. $\eta = 0$ has no noise to correct itself with. Where would an error of the network at $t = 800$ show, under DDIM and under
#    DDPM?
# 2. Inversion needs the class, too. What happens if you invert a 3 as an 8, and then draw it as an 8?
#
# **Next:** lesson 15 draws the last steps with another network, a refiner. Lesson 17 makes a student that needs one step only.
