# %% [markdown]
# # 05 GAN, VAE, diffusion: three ways to draw
#
# **You will be able to** write what a VAE and a GAN minimise, train both beside a diffusion model in the same seconds, and say
# from measurements which is sharpest, which forgets the least, and which is fastest.
#
# **Time** 55 minutes. **Needs** lessons 00 to 02. **Papers** Diederik Kingma, Max Welling: *Auto-Encoding Variational Bayes*
# (2014); Ian Goodfellow et al.: *Generative Adversarial Nets* (2014); Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising
# Diffusion Probabilistic Models* (2020).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("05")

# %% [markdown]
# ## One problem, three teachers
#
# All three turn noise into pictures, and none is ever told what to draw. What differs is **who corrects the drawing**:
#
# | | draws from | is corrected by | passes |
# |---|---|---|---|
# | **VAE** | a short vector $z$ | the picture that $z$ was read from | 1 |
# | **GAN** | a short vector $z$ | a second network, which learns to tell it from real ones | 1 |
# | **diffusion** | noise of the picture's size | the noise that was added | many |
#
# ## The VAE: a bound on the likelihood
#
# Say that a picture arises in two steps: draw $z \sim \mathcal N(0, \mathbf I)$, then draw $x$ around a mean that a network,
# the **decoder**, makes of $z$: $p(x \mid z) = \mathcal N(\mu_\theta(z), \sigma^2 \mathbf I)$. How likely is a real picture?
# That is an integral over all $z$, nearly all of which have nothing to do with it. So a second network, the **encoder**,
# guesses which $z$ may have drawn it: $q(z \mid x) = \mathcal N(m, \operatorname{diag} s^2)$. For every $q$ (Kingma and
# Welling, eq. 2 and 3)
#
# $$\log p(x) \;\ge\; \underbrace{\mathbb E_{q(z \mid x)} \log p(x \mid z)}_{\text{draw it again}} \;-\;
# \underbrace{\mathrm{KL}\big(q(z \mid x)\,\|\,\mathcal N(0, \mathbf I)\big)}_{\text{be no more particular than need be}},$$
#
# and what is missing is how far $q$ is from the true posterior. Raise the right side, the **ELBO**, and both networks learn.
# Two tricks make it a loss. The draw becomes $z = m + s\,\epsilon$ with $\epsilon \sim \mathcal N(0, \mathbf I)$, so that
# slopes pass through it; and the divergence has a closed form (their appendix B): $\mathrm{KL} = \tfrac12 \sum_j \big(m_j^2 +
# s_j^2 - 1 - \log s_j^2\big)$.
#
# ### Exercise 1: `elbo` (difficulty 3, 12 minutes)
#
# `vae.encode(x)` gives $m$ and $\log s^2$, `vae.decode(z)` the mean, `vae.std` is $\sigma$ (`vae.log_std` its logarithm). A
# Gaussian's log density is $-\tfrac12 ((x - \mu)/\sigma)^2 - \log\sigma - \tfrac12 \log 2\pi$ for **each** pixel.


# %%
import torch
from torch import nn

from course_lib.teaching import checks as check


def my_elbo(vae, x, eps):
    """The bound for each x (B, ...), in nats (B,), with one eps (B, latent)."""
    ...  # write it here


check.elbo(my_elbo)

# %%
check.solution("elbo")

# %% [markdown]
# ### A bound that can be checked
#
# On 25 Gaussians the true $\log p(x)$ is known. No VAE can pass it; how near does one come in six seconds?

# %% tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

from course_lib import metrics, plots
from course_lib.datasets import digits, points
from course_lib.methods.gan_vae import adversarial_value, elbo, non_saturating_loss, sample_generator
from course_lib.nets.generators import GAN, layers
from course_lib.teaching.claims import claim
from course_lib.training import show_progress, train
from course_lib.zoo import figures, models, recipes

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
grid = points.grid()
dots = {"VAE": recipes.points_vae(seed=0)}
show_progress(recipes.train_vae(dots["VAE"], seconds=6, data=recipes.some_points), "VAE of points")

# %%
from course_lib.process import seeded

x, _ = grid.sample(20_000, seeded(1))
with torch.no_grad():
    bound = elbo(dots["VAE"], x, torch.randn(len(x), 2, generator=seeded(2))).mean()
log_likelihood = grid.log_prob(x.double()).mean()
claim(
    "vae-elbo-is-a-bound",
    "The ELBO of a trained VAE stays below the true log-likelihood.",
    measured=f"true {log_likelihood:.1f} nats a point, the bound is more than one nat below it",
    holds=bool(bound < log_likelihood - 1),
)

# %% [markdown]
# The gap is more than one nat: what a Gaussian $q$ cannot say, and what one $\sigma$ cannot draw.
#
# ## The GAN: a judge that learns
#
# No likelihood at all. A **discriminator** $D$ gives the probability that a picture is real; the **generator** $G$ makes
# pictures of noise. They play one game over one value (Goodfellow et al., eq. 1):
#
# $$\min_G \max_D V(D, G) = \mathbb E_{x \sim \text{data}} \log D(x) + \mathbb E_{z} \log\big(1 - D(G(z))\big).$$
#
# Our network gives the **logits** $o = \log \frac{D}{1 - D}$, so that $\log D = \texttt{logsigmoid}(o)$ and $\log(1 - D) =
# \texttt{logsigmoid}(-o)$, which never round to $\log 0$.
#
# ### Exercise 2: `adversarial_value` (difficulty 1, 6 minutes)
#
# `gan.logits(x)` gives $o$ (B,). The generator's pictures come in as `fake`.


# %%
def my_adversarial_value(gan, x, fake):
    """V(D, G) of real x (B, ...) and drawn fake (B, ...): one number."""
    ...  # write it here


check.adversarial_value(my_adversarial_value)

# %%
check.solution("adversarial_value")

# %% [markdown]
# ### What the best judge would say
#
# If the generator stands still, with density $p_G$, the best $D$ is known: $D^*(x) = \frac{p(x)}{p(x) + p_G(x)}$ (their
# proposition 1). Here the data are two Gaussians on a line, and the "generator" is one broad one. 500 steps up $V$:

# %%
pair = points.pair()
torch.manual_seed(0)
gan, rng = GAN(nn.Identity(), layers(1, 64, 64, 1), latent=1), seeded(0)


def minus_value():
    return -adversarial_value(gan, pair.sample(512, rng)[0], torch.randn(512, 1, generator=rng))


for _ in train(minus_value, gan.discriminator, steps=500, lr=5e-3):
    pass
line = torch.linspace(-2.5, 2.5, 201)[:, None]
real, generated = pair.log_prob(line.double()).exp(), torch.distributions.Normal(0, 1).log_prob(line[:, 0]).exp()
best, learned = real / (real + generated), gan.logits(line).sigmoid().detach()

fig, ax = plt.subplots(figsize=(10, 4))
ax.fill_between(line[:, 0], real, alpha=0.25, color=GREEN, label="data")
ax.fill_between(line[:, 0], generated, alpha=0.25, color=ORANGE, label="drawn")
ax.plot(line, best, color="black", label="best judge")
ax.plot(line, learned, "--", color=RED, label="learned judge")
ax.set(title="How real it looks", xlabel="x", ylabel="D(x), and densities", ylim=(0, 1.6))
ax.legend(ncols=4, loc="upper center", fontsize=13)
plots.show(fig, alt="Two narrow peaks of data and a broad bump of drawn points; the learned D follows the best one.")

# %%
weight = (real + generated) / (real + generated).sum()
error = float(((learned - best).abs() * weight).sum())
claim(
    "gan-best-discriminator",
    "A discriminator that is trained against a fixed generator tends to p / (p + p_G).",
    measured=f"mean distance from it below 0.05: {'yes' if error < 0.05 else 'no'}",
    holds=error < 0.05,
)

# %% [markdown]
# ### A slope for the one who is bad at it
#
# The generator may go **down** $V$: lower $\log(1 - D(G(z)))$. But when it draws badly, $D$ is sure, and that term is flat:
# no slope, no learning. Goodfellow et al. (section 3) therefore let it raise $\log D(G(z))$ instead. The aim is the same, the
# slope is steepest where it is most needed.
#
# ### Exercise 3: `non_saturating_loss` (difficulty 1, 4 minutes)


# %%
def my_non_saturating_loss(gan, fake):
    """What the generator lowers, given what it drew, fake (B, ...): one number."""
    ...  # write it here


check.non_saturating_loss(my_non_saturating_loss)

# %%
check.solution("non_saturating_loss")

# %%
logits = torch.linspace(-8, 4, 200, requires_grad=True)
flat = torch.autograd.grad(torch.nn.functional.logsigmoid(-logits).sum(), logits)[0]
steep = torch.autograd.grad(-torch.nn.functional.logsigmoid(logits).sum(), logits)[0]
fig, ax = plt.subplots(figsize=(10, 3.8))
ax.plot(logits.detach(), -flat, "--", color=RED, label="minimax: log(1 − D)")
ax.plot(logits.detach(), -steep, color=BLUE, label="non-saturating: −log D")
ax.set(
    title="How hard the generator is pushed",
    xlabel="logits of what it drew: left, seen through; right, taken in",
    ylabel="push",
)
ax.legend(loc="center left")
plots.show(
    fig, alt="The minimax push is 0 where the discriminator sees through the drawing, the non-saturating one is 1 there."
)

# %% [markdown]
# ## Three loops, side by side
#
# These are the course's own recipes, as they run below. Read them one under the other. One network and one loss; two networks
# and one loss; two networks and **two** losses, which take turns, and neither of which falls when all goes well.

# %%
import inspect

for training in (recipes.train_diffusion, recipes.train_vae, recipes.train_gan):
    print(inspect.getsource(training))

# %% [markdown]
# The running average of weights is the same for all three. The GAN's Adam has no momentum, $\beta_1 = 0$ (Karras et al.
# 2018): with the 0.5 that was usual before, our GAN of digits was more than three times as far from them after as many steps.
# Old pushes are bad advice in a game whose other player has moved. That, and a smaller batch for all three, is what made it a
# fair rival.
#
# ## 25 Gaussians: who finds them all?
#
# Six seconds for each. Networks of two inputs, some 60,000 numbers each.

# %% tags=["nbval-ignore-output"]
dots |= {"GAN": recipes.points_gan(seed=0), "diffusion": recipes.points_diffusion(seed=0)}
show_progress(recipes.train_gan(dots["GAN"], seconds=6, data=recipes.some_points), "GAN of points")
show_progress(recipes.train_diffusion(dots["diffusion"], seconds=6, data=recipes.some_points), "diffusion of points")

fig, axes = plt.subplots(1, 4, figsize=(11.8, 4), sharey=True)
shown = {"data": x[:2000]} | {name: sample_generator(model, 2000, seeded(3)) for name, model in dots.items()}
for ax, (name, made) in zip(axes, shown.items()):
    plots.points(made, title=name, ax=ax, size=4, reach=1.4)
    ax.set(xticks=[-1, 0, 1], ylabel="")
plots.show(fig, alt="The 25 Gaussians, and what each of the three models draws after six seconds.")

# %% [markdown]
# A mode is **covered** if it gets a fifth of its due; a sample is **out** if it is more than four standard deviations from
# every mode. 10 s each of one core, three seeds: `python tests/benchmarks/three_generators.py`.

# %%
runs = figures.load("three_generators")
on_points, on_digits = (figures.where(runs, data=data) for data in ("points", "digits"))
MODELS = ("GAN", "GAN with momentum", "VAE", "diffusion")
MODES, OUT = "modes covered, of 25", "share out of any mode"
print(f"{'10 s, mean of 3 seeds':24}{'modes':>7}{'fewest':>8}{'out':>8}")
for model in MODELS:
    modes, out = (figures.values(on_points, figure, model=model) for figure in (MODES, OUT))
    print(f"{model:24}{modes.mean():7.1f}{modes.min():8.0f}{100 * out.mean():6.1f} %")

# %%
FAIR, USUAL, *OTHERS = figures.values(on_points, MODES, model=MODELS)
claim(
    "gan-loses-modes",
    "A GAN loses some of 25 modes in the time in which VAE and diffusion cover them all.",
    measured=f"modes covered, three seeds: GAN {', '.join(f'{m:.0f}' for m in sorted(FAIR))}; with momentum "
    f"{', '.join(f'{m:.0f}' for m in sorted(USUAL))}; VAE and diffusion 25 each",
    holds=bool((FAIR < 25).all() and all((modes == 25).all() for modes in OTHERS)),
    expected=False,
)

# %% [markdown]
# It does not hold for a GAN that is trained with care, on points of which there are always fresh ones. (With half the rate,
# two thirds of the steps and the momentum it lost five to nine.) The danger is real all the same: nothing in $V(D, G)$ asks
# the generator to be everywhere. A mode that it never draws costs it nothing, as long as what it does draw looks real. A
# likelihood, in contrast, charges dearly for every real point that is thought impossible, and the denoising loss is a bound
# on one (lesson 02). The failure museum shows how a GAN loses 24 of 25.
#
# ## The digits, live
#
# Ten seconds for each, about 415,000 numbers each, no classes. How far they get depends on your machine (the line under each
# says how many steps it was); diffusion, whose step is the dearest, needs the time most. A whole minute follows below.

# %% tags=["nbval-ignore-output"]
names = {"GAN": "gan", "VAE": "vae", "diffusion": "diffusion"}
trained = {name: getattr(recipes, kind)(seed=0) for name, kind in names.items()}
for name, kind in names.items():
    show_progress(getattr(recipes, f"train_{kind}")(trained[name], seconds=10), name)

fig, axes = plt.subplots(1, 4, figsize=(11.8, 3.7))
forty = {name: sample_generator(model, 36, seeded(5)) for name, model in trained.items()}
for ax, (name, made) in zip(axes, ({"real": digits.load("held_out")[0][:36]} | forty).items()):
    plots.pictures(made, columns=6, title=name, ax=ax)
plots.show(fig, alt="36 real digits, and 36 by each of GAN, VAE and diffusion, after ten seconds of training each.")

# %% tags=["nbval-ignore-output"]
table = {name: recipes.generator_figures(model, n=500) for name, model in trained.items()}
print(f"{'10 s each':30}" + "".join(f"{name:>12}" for name in table))
for figure in table["GAN"]:
    print(f"{figure:30}" + "".join(f"{figures[figure]:12.3g}" for figures in table.values()))

# %% [markdown]
# ## The digits, measured
#
# 60 s each of one core, three seeds, 1,000 samples beside 1,000 held-out digits; the same command as above.
# Diffusion draws in 25 DDIM steps.

# %%
FIGURES = ("Frechet distance", "precision", "recall", "samples a second")
print(f"{'60 s, mean of 3 seeds':30}" + "".join(f"{name:>12}" for name in names))
for figure in FIGURES:
    print(f"{figure:30}" + "".join(f"{seeds.mean():12.3g}" for seeds in figures.values(on_digits, figure, model=list(names))))

fig, axes = plt.subplots(1, 4, figsize=(11.8, 4.2))
titles = ("Frechet distance\n(low is good)", "precision:\nlooks real", "recall:\nis covered", "samples\na second")
for ax, figure, title in zip(axes, FIGURES, titles):
    seeds = figures.values(on_digits, figure, model=list(names))  # (models, seeds)
    ax.bar(list(names), seeds.mean(1), yerr=seeds.std(1, ddof=1), capsize=6, color=(ORANGE, GREEN, BLUE))
    ax.plot(range(len(names)), seeds, "o", color="black", ms=5)
    ax.set_title(title, fontsize=15)
    ax.tick_params(axis="x", labelsize=12)
axes[0].axhline(figures.values(on_digits, "the same, real against real", model="GAN").mean(), color="black", ls=":")
axes[1].set(ylim=(0, 1))
axes[2].set(ylim=(0, 1))
axes[3].set(yscale="log")
plots.show(fig, alt="Four bar charts of GAN, VAE and diffusion: Frechet distance, precision, recall, samples a second.")

# %%
FRECHET, PRECISION, RECALL, SPEED = (
    {name: figures.values(on_digits, figure, model=name) for name in names} for figure in FIGURES
)
claim(
    "three-fidelity",
    "In the same minute, diffusion draws the digits that look most real.",
    measured="precision, mean of three seeds: " + ", ".join(f"{name} {PRECISION[name].mean():.2f}" for name in names),
    holds=bool((PRECISION["diffusion"] > PRECISION["GAN"]).all()),
    expected=False,
)

# %%
claim(
    "three-coverage",
    "Diffusion covers more of the real digits than the GAN does, with every seed.",
    measured="recall, mean of three seeds: " + ", ".join(f"{name} {RECALL[name].mean():.2f}" for name in names),
    holds=bool((RECALL["diffusion"] > RECALL["GAN"]).all()),
)

# %%
claim(
    "three-speed",
    "A GAN and a VAE draw more than thirty times as fast as 25 steps of diffusion.",
    measured="samples a second: " + ", ".join(f"{name} {float(f'{SPEED[name].mean():.1g}'):,.0f}" for name in names),
    holds=bool(min(SPEED["GAN"].min(), SPEED["VAE"].min()) > 30 * SPEED["diffusion"].max()),
)

# %% [markdown]
# **What does not hold in a minute.** The GAN wins on fidelity, and not by luck: in 60 s of one core its short net takes some
# 2,200 steps for each player, the U-Net 1,500 of one, and a generator that answers to one judge is soon good at *something*.
# Its recall is the lowest of the three. The VAE covers much and draws it softly. And diffusion has not arrived: the same
# U-Net, told the class and trained for eighteen minutes, is the digit model of the other lessons. Its figures, from its record:

# %%
record = models.records()["digits"]["figures"]
for figure in ("Frechet distance", "precision", "recall"):
    print(f"{figure:18} {record[f'{figure}, plain (w = 1)']:.2f}")

# %%
later = record["Frechet distance, plain (w = 1)"]
claim(
    "diffusion-keeps-learning",
    "With eighteen times the time the U-Net is nearer to the digits than any of the three after a minute.",
    measured=f"Frechet distance {later:.2f}, after a minute {min(r.mean() for r in FRECHET.values()):.1f} at best",
    holds=later < min(r.min() for r in FRECHET.values()),
)

# %% [markdown]
# (What a GAN would do with eighteen minutes we have not measured; its two losses do not say when to stop.)
#
# ## Between two drawings
#
# Each model draws from Gaussian noise, so in each one can walk along the arc from one noise to another (`slerp`; lesson 14 says
# why an arc). Nine walks in each, with the models of seed 0 from the table above. Drag the slider: it is one for all three.

# %% tags=["nbval-ignore-output"]
from course_lib.methods.interpolation import slerp
from course_lib.samplers import Step, sample
from course_lib.widgets.player import play

shipped = {name: models.load(kind) for name, kind in names.items()}
denoiser, rng = shipped["diffusion"], seeded(4)
ends = {name: torch.randn(2, 9, shipped[name].latent, generator=rng) for name in ("GAN", "VAE")}
ends["diffusion"] = torch.randn(2, 9, 1, 16, 16, generator=rng)


@torch.no_grad()
def sample_between(name, share):
    noise = slerp(*ends[name], share)
    if name == "diffusion":
        return sample(denoiser, noise, 20)
    return shipped[name].draw(noise)


walk = [Step(share, torch.zeros(9, 1, 16, 16)) for share in torch.linspace(0, 1, 25).tolist()]
play(walk, draw=lambda step: {name: sample_between(name, step.t) for name in names})

# %% [markdown]
# A GAN and a VAE fold *all* pictures into 32 or 16 numbers: half way there is always *something*, in the VAE something smooth
# and often no digit. Diffusion's noise has as many numbers as the picture; its digits change by leaps, from one to the next.
#
# ## Failure museum
#
# **Mode collapse, and a flat slope.** A discriminator that learned alone for 200 steps, then 400 steps for both, on the 25
# Gaussians: as in our recipe; with the momentum that Adam has by default; and with the minimax loss.

# %%
from course_lib.training import alternate


def duel(generator_loss, momentum, lr):
    """The points that a GAN draws, after a head start of its discriminator (2000, 2)."""
    gan, rng, betas = recipes.points_gan(seed=0), seeded(0), (momentum, 0.99)
    discriminator_loss = lambda: -adversarial_value(gan, recipes.some_points(rng), gan.sample(256, rng).detach())
    fooling_loss = lambda: generator_loss(gan, gan.sample(256, rng))
    for _ in train(discriminator_loss, gan.discriminator, 200, lr, betas=betas):
        pass
    both = (discriminator_loss, gan.discriminator), (fooling_loss, gan.generator)
    for _ in alternate(*(train(loss, player, 400, lr, betas=betas) for loss, player in both)):
        pass
    with torch.no_grad():
        return gan.sample(2000, rng)


minimax = lambda gan, fake: torch.nn.functional.logsigmoid(-gan.logits(fake)).mean()
duels = {
    "no momentum": (duel(non_saturating_loss, 0.0, 2e-3), 1.6),
    "momentum 0.9": (duel(non_saturating_loss, 0.9, 1e-3), 1.6),
    "minimax loss": (duel(minimax, 0.0, 2e-3), 30),
}
fig, axes = plt.subplots(1, 3, figsize=(11.8, 4.3))
for ax, (name, (made, reach)) in zip(axes, duels.items()):
    plots.points(made, title=name, ax=ax, size=6, reach=reach)
plots.show(fig, alt="Without momentum all 25 modes; with it all points in one mode; with the minimax loss, points far away.")

# %%
many, few, none = (metrics.modes(made, grid)[0] for made, _ in duels.values())
claim(
    "gan-mode-collapse",
    "The same GAN, trained with Adam's default momentum against a discriminator with a head start, collapses onto few modes.",
    measured=f"modes covered, of 25: with momentum {'fewer than 10' if few < 10 else few}, "
    f"without {'over 20' if many > 20 else many}",
    holds=few < 10 and many > 20,
)

# %% [markdown]
# In the middle: **mode collapse**. The generator found a place that the judge took for real, and sent everything there.
# Nothing in its loss says that it should not. Right, mind the axes: where the judge is sure there is no slope, and Adam,
# whose steps are equally long however small the slope, walks off.

# %%
print("log(1 - D) for the generator:", check.non_saturating_loss(minimax).diagnosis)

# %% [markdown]
# **The blur.** A VAE's picture is a *mean*: of all pictures that $z$ may stand for. The model itself says more: around that
# mean lies noise, $\sigma$ for every pixel. A true draw of $p(x \mid z)$ has it, and is all grain. Blur or grain: that is
# what a Gaussian in each pixel can do.

# %%
vae = shipped["VAE"]
real, _ = digits.load("held_out")
with torch.no_grad():
    reconstructed = vae.decode(vae.encode(real[:16])[0])
    fresh = vae.sample(16, seeded(6))
noisy = fresh + vae.std * torch.randn(fresh.shape, generator=seeded(7)).to(fresh.device)
fig, axes = plt.subplots(1, 4, figsize=(11.8, 4.0))
titles = ("real", "drawn again", "new: the mean", "new: a true draw")
for ax, made, name in zip(axes, (real[:16], reconstructed, fresh, noisy), titles):
    plots.pictures(made, columns=4, title=name, ax=ax)
plots.show(fig, alt="Sixteen digits: real; drawn again by the VAE, softer; new ones, blurred; new ones under grain.")


# %%
def sharpness(x):
    """How much a picture differs from its own 3 x 3 means: the mean over all pixels."""
    return float((x - torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)).abs().mean())


rng = seeded(8)
edges = {"real": sharpness(real)} | {name: sharpness(sample_generator(model, 500, rng)) for name, model in shipped.items()}
print("  ".join(f"{name} {value:.2f}" for name, value in edges.items()))
claim(
    "vae-blur",
    "A VAE's pictures are the softest of the three.",
    measured=f"difference from the 3 × 3 mean, as a share of that of real digits: VAE {edges['VAE'] / edges['real']:.1f}, "
    f"GAN {edges['GAN'] / edges['real']:.1f}, diffusion {edges['diffusion'] / edges['real']:.1f}",
    holds=edges["VAE"] < 0.95 * min(edges["GAN"], edges["diffusion"], edges["real"]),
)

# %% [markdown]
# ## What you saw
#
# - A VAE raises a bound on the likelihood; a GAN plays a game against a judge that learns; diffusion says which noise is
#   there. The loops differ in a line or two.
# - In one minute of one core the GAN's digits look most real (precision 0.74; diffusion 0.56, VAE 0.53), and the GAN covers
#   least (recall 0.83; the others 0.93). A minute is little for diffusion: it goes on, slowly, and ends far ahead.
# - A GAN and a VAE draw some hundred times as fast. That is why lessons 17 and 18 teach diffusion to draw in one step.
# - On 25 Gaussians a GAN trained with care keeps every mode. Trained without it can lose 24.
#
# **At full size** the order of the table held for some years in another way. GANs were sharp and hard to train; Dhariwal and
# Nichol (2021) report that diffusion beats them on ImageNet (FID 2.97 at 128 × 128), matches BigGAN-deep with 25 passes of
# the network, and covers more of the data. Today's systems use all three: Stable Diffusion's pictures live in the latents of
# an autoencoder that is trained with a VAE's divergence **and** a discriminator, and diffusion draws the latents (lesson 12).
#
# **Think about it**
#
# 1. The generator never sees a real picture. How does it learn what one looks like?
# 2. Give the VAE a divergence of no weight at all. What becomes of the pictures that it draws *again*, and of its *new* ones?
#
# **Next:** lesson 06 draws large pictures in two stages, each of them a diffusion model.
