# %% [markdown]
# # 05 GAN, VAE, diffusion: three generative models
#
# **You will be able to** write what a VAE and a GAN minimise, train both with your own functions, say what a missing mode costs
# and what makes a GAN lose modes, and compare three models at equal cost, with errors.
#
# **Time** 60 minutes. **Needs** lessons 00 to 02. **Papers** Diederik Kingma, Max Welling: *Auto-Encoding Variational Bayes*
# (2014); Ian Goodfellow et al.: *Generative Adversarial Nets* (2014); Lars Mescheder, Andreas Geiger, Sebastian Nowozin:
# *Which Training Methods for GANs do actually Converge?* (2018); Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion
# Probabilistic Models* (2020).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("05")

# %% [markdown]
# ## Three ways to train a generative model
#
# All three turn noise into samples. They differ in the training signal:
#
# | | input | training signal | passes of the network per sample |
# |---|---|---|---|
# | **VAE** | a short vector $z$ | a bound on the likelihood of each training picture | 1 |
# | **GAN** | a short vector $z$ | a second network, trained to tell samples from data | 1 |
# | **diffusion** | noise of the picture's size | the noise that was added (lesson 02) | many |
#
# ## VAE: a lower bound on the likelihood
#
# A **variational autoencoder** (VAE) explains a picture $x$ by a **latent variable** $z$, a short vector that nobody observes.
# First $z$ is drawn from a **prior**, $\mathcal N(0, \mathbf I)$, the distribution of $z$ before anything is observed. Then $x$
# is drawn from $p(x \mid z) = \mathcal N(\mu_\theta(z), \sigma^2 \mathbf I)$. The network $\mu_\theta$ is the decoder. The
# likelihood of $x$ is an integral over all $z$, and nearly all $z$ have nothing to do with $x$. So a second network, the
# encoder, approximates the posterior $p(z \mid x)$ by $q(z \mid x) = \mathcal N(m, \operatorname{diag} s^2)$. For every $q$
# (Kingma and Welling, eq. 2 and 3)
#
# $$\log p(x) \;\ge\; \underbrace{\mathbb E_{q(z \mid x)} \log p(x \mid z)}_{\text{reconstruction}} \;-\;
# \underbrace{\mathrm{KL}\big(q(z \mid x)\,\|\,\mathcal N(0, \mathbf I)\big)}_{\text{distance from the prior}}.$$
#
# The right side is the evidence lower bound (ELBO, lesson 02). The gap is $\mathrm{KL}(q(z \mid x)\,\|\,p(z \mid x))$, never
# negative. Raising the ELBO trains both networks, with two devices:
#
# - reparameterisation: $z = m + s\,\epsilon$ with $\epsilon \sim \mathcal N(0, \mathbf I)$, so that gradients reach the encoder
#   through the sample (their section 2.4);
# - a closed form of the Kullback-Leibler divergence: $\mathrm{KL} = \tfrac12 \sum_j \big(m_j^2 + s_j^2 - 1 - \log s_j^2\big)$
#   (their appendix B).
#
# ### Exercise 1: `elbo` (difficulty 3, 12 minutes)
#
# `vae.encode(x)` gives $m$ and $\log s^2$, `vae.decode(z)` the mean, `vae.std` is $\sigma$ (`vae.log_std` its logarithm). A
# Gaussian's log density is $-\tfrac12 ((x - \mu)/\sigma)^2 - \log\sigma - \tfrac12 \log 2\pi$ for **each** pixel.


# %%
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from course_lib import metrics, plots
from course_lib.datasets import digits, points
from course_lib.mixtures import GaussianMixture
from course_lib.nets.generators import GAN, layers
from course_lib.process import randn, seeded
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.training import show_progress, train
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import figures, models, recipes


def my_elbo(vae, x, eps):
    """The bound for each x (B, ...), in nats (B,), with one eps (B, latent)."""
    ...  # write it here


verdict = check.elbo(my_elbo)
my_elbo = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("elbo")

# %% [markdown]
# ### How far below the likelihood is it?
#
# The data are 25 Gaussians on a square grid. Their true $\log p(x)$ is known. Your bound trains a VAE of 68,000 parameters for
# a few seconds.

# %% tags=["nbval-ignore-output"]
plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
grid, x = points.grid(), points.grid().sample(20_000, seeded(1))[0]
log_p = grid.log_prob(x.double()).mean()
vae, rng = recipes.points_vae(seed=0), seeded(0)


def minus_elbo():
    batch = recipes.some_points(rng)
    return -my_elbo(vae, batch, vae.latents(len(batch), rng)).mean()


show_progress(train(minus_elbo, vae, steps=600), "a VAE of 25 Gaussians")


@torch.no_grad()
def gap(model):
    """The true mean log-likelihood less the mean ELBO, in nats per point."""
    return float(log_p - my_elbo(model, x, randn(len(x), 2, rng=seeded(2))).mean())


print(f"after 600 steps the bound is {gap(vae):.1f} nats below the true log-likelihood")

# %% [markdown]
# That it lies below is a theorem, and tested as such. By *how much* is a measurement. Two references: the best single Gaussian,
# which has no modes at all, and a VAE that is not trained.

# %% tags=["nbval-ignore-output"]
predict(
    "vae-elbo-gap.gap",
    "The best single Gaussian is 2.1 nats below the true log-likelihood. And the ELBO of a VAE trained for half a minute?",
    low=0,
    high=3,
    unit="nats",
)

# %%
runs = figures.load("three_generators")
on_points, on_digits = (figures.where(runs, data=data) for data in ("points", "digits"))
single = GaussianMixture([1.0], torch.zeros(1, 2), [float(x.std())])
of_vae = figures.values(on_points, "log-likelihood", model="VAE") - figures.values(on_points, "ELBO", model="VAE")
claim(
    "vae-elbo-gap",
    "The ELBO of a trained VAE is nearer to the true log-likelihood of 25 Gaussians than the best single Gaussian.",
    figures=dict(gap=estimate(of_vae), gaussian=float(log_p - single.log_prob(x.double()).mean())),
    measured="{gap:.2f} nats per point below it, the single Gaussian {gaussian:.2f}",
    holds=lambda gap, gaussian: gap.below(gaussian),
    null={"a VAE that is not trained": dict(gap=estimate([gap(recipes.points_vae(seed)) for seed in range(3)]))},
)

# %% [markdown]
# What remains has two parts: the Gaussian $q$ is not the posterior, and the model is not the mixture.
#
# ## GAN: a discriminator as the training signal
#
# A **generative adversarial network** (GAN) needs no likelihood. A **discriminator** $D$ outputs the probability that its input
# is real. A **generator** $G$ makes samples of noise $z$. One of them maximises a value that the other minimises (Goodfellow et
# al., eq. 1):
#
# $$\min_G \max_D V(D, G) = \mathbb E_{x \sim \text{data}} \log D(x) + \mathbb E_{z} \log\big(1 - D(G(z))\big).$$
#
# Our network outputs logits $o = \log \frac{D}{1 - D}$. Then $\log D = \texttt{logsigmoid}(o)$ and $\log(1 - D) =
# \texttt{logsigmoid}(-o)$, which never round to $\log 0$.
#
# ### Exercise 2: `adversarial_value` (difficulty 1, 4 minutes)
#
# `gan.logits(x)` gives $o$ (B,). The generator's samples are given as `fake`.


# %%
def my_adversarial_value(gan, x, fake):
    """V(D, G) of real x (B, ...) and generated fake (B, ...): one number."""
    ...  # write it here


verdict = check.adversarial_value(my_adversarial_value)
my_adversarial_value = verdict.function
verdict

# %%
check.solution("adversarial_value")

# %% [markdown]
# ### The best discriminator
#
# For a fixed generator of density $p_G$ the best discriminator is $D^*(x) = \frac{p(x)}{p(x) + p_G(x)}$ (their proposition 1).
# Here the data are two Gaussians on a line, and the "generator" is one broad Gaussian. We maximise your $V$ for 300 steps, from
# three initialisations.

# %%
pair, line = points.pair(), torch.linspace(-2.5, 2.5, 201)[:, None]
real, generated = pair.log_prob(line.double()).exp(), torch.distributions.Normal(0, 1).log_prob(line[:, 0]).exp()
best, weight = real / (real + generated), (real + generated) / (real + generated).sum()


def discriminator(seed, steps):
    """D at `line`, after so many steps up V."""
    torch.manual_seed(seed)
    gan, rng = GAN(nn.Identity(), layers(1, 64, 64, 1), latent=1), seeded(seed)
    loss = lambda: -my_adversarial_value(gan, pair.sample(512, rng)[0], torch.randn(512, 1, generator=rng))
    for _ in train(loss, gan.discriminator, steps, lr=5e-3) if steps else ():
        pass
    return gan.logits(line).sigmoid().detach()


learned, untrained = ([discriminator(seed, steps) for seed in range(3)] for steps in (300, 0))
fig, ax = plt.subplots(figsize=(10, 4.2))
ax.fill_between(line[:, 0], real, alpha=0.25, color=GREEN, label="data, $p$")
ax.fill_between(line[:, 0], generated, alpha=0.25, color=ORANGE, label="generated, $p_G$")
ax.plot(line, best, color="black", label="best $D^*$")
ax.plot(line, learned[0], "--", color=RED, label="trained $D$")
ax.set(title="A trained discriminator approaches $p / (p + p_G)$", xlabel="x", ylabel="D(x), and densities", ylim=(0, 1.7))
ax.legend(ncols=4, loc="upper center", fontsize=14)
plots.show(
    fig,
    alt="Two narrow peaks of data at -1 and 1, a broad bump of generated points. The best D is near 1 on the peaks and near 0 "
    "between and outside them; the trained D lies on it where there are points.",
)

# %%
error = lambda D: float(((D - best).abs() * weight).sum())
claim(
    "gan-best-discriminator",
    "A discriminator trained against a fixed generator approaches p / (p + p_G): it is nearer to it than the constant 1/2.",
    figures=dict(error=estimate([error(D) for D in learned]), constant=error(torch.full_like(best, 0.5))),
    measured="mean distance {error:.3f}, of the constant {constant:.2f}",
    holds=lambda error, constant: error.below(constant),
    null={"a discriminator that is not trained": dict(error=estimate([error(D) for D in untrained]))},
)

# %% [markdown]
# ### What does a missing mode cost?
#
# Put $D^*$ into $V$, and the generator minimises (their theorem 1)
#
# $$V(D^*, G) = 2\,\mathrm{JSD}(p\,\|\,p_G) - \log 4,$$
#
# where the **Jensen-Shannon divergence** $\mathrm{JSD} = \tfrac12 \mathrm{KL}(p \,\|\, \tfrac{p + p_G}{2}) + \tfrac12
# \mathrm{KL}(p_G \,\|\, \tfrac{p + p_G}{2})$ lies between 0 and $\log 2$. Its only minimum is $p_G = p$. So a GAN's aim does
# contain every mode. But compare the prices. Let $p$ be 25 separate modes, and $p_G$ perfect on $k$ of them. Then $V(D^*, G) =
# \frac{k}{25} \log \frac{k}{k + 25} + \log \frac{25}{k + 25}$.


# %%
def value_of_best(k):
    """V of the exact D* for a generator of k of the 25 modes, by your function, on samples."""
    some = GaussianMixture([1.0] * k, grid.means[:k], grid.stds[:k])
    best = SimpleNamespace(logits=lambda x: grid.log_prob(x) - some.log_prob(x))
    return float(my_adversarial_value(best, x.double(), some.sample(20_000, seeded(0))[0].double()))


k = np.arange(1, 26)
V = k / 25 * np.log(k / (k + 25)) + np.log(25 / (k + 25))
for n in (25, 24, 12, 1):
    print(f"{n:2} of 25 modes: V = {V[n - 1]:.3f} by the formula, {value_of_best(n):.2f} on samples")

fig, ax = plt.subplots(figsize=(10, 4.2))
ax.plot(k, V + np.log(4), color=BLUE, label="minimax game: 2 JSD")
ax.plot(k, np.log(25 / k) - V - np.log(4), "--", color=RED, label="non-saturating: KL($p_G$, $p$) − 2 JSD")
ax.axhline(np.log(4), color="black", linestyle=":", label="the most that 2 JSD can be: log 4")
ax.set(title="The cost of missing modes is bounded", xlabel="modes that the generator has, of 25", ylabel="nats", ylim=(0, 2.2))
ax.legend()
plots.show(
    fig,
    alt="Two curves over the number of modes. 2 JSD falls from 1.22 at one mode to 0.03 at 24 and 0 at 25, below a dotted line "
    "at 1.39. The non-saturating cost falls from 2.0 to 0.01 and 0.",
)

# %% [markdown]
# One missing mode costs 0.03 nats, 24 missing ones 1.22. A likelihood charges *without bound*: $-\log p_G(x)$ of a real point
# in a missing mode is infinite, in the limit. The ELBO and the denoising loss (lesson 02) bound a likelihood. And the price
# reaches $G$ only through the slope of $D$ at $G$'s **own samples**. Where $G$ has no sample, no gradient says that one is
# missing.
#
# - **Mode dropping**: some modes of the data get no samples.
# - **Mode collapse**: the samples fall onto a few points or modes, whatever $z$ is.
#
# ### The minimax loss has a flat slope
#
# Early on, $D$ rejects all samples with certainty. There $\log(1 - D(G(z)))$, the **minimax loss** of the generator, is flat.
# So Goodfellow et al. (section 3) minimise $-\log D(G(z))$, the **non-saturating loss**. The fixed point of the game stays the
# same. What changes is the weight of each sample's gradient:

# %%
logits = torch.linspace(-8, 4, 200, requires_grad=True)
flat = torch.autograd.grad(nn.functional.logsigmoid(-logits).sum(), logits)[0]
steep = torch.autograd.grad(-nn.functional.logsigmoid(logits).sum(), logits)[0]
fig, ax = plt.subplots(figsize=(10, 4))
ax.plot(logits.detach(), -flat, "--", color=RED, label="minimax: log(1 − D)")
ax.plot(logits.detach(), -steep, color=BLUE, label="non-saturating: −log D")
ax.set(
    title="Gradient of the generator's loss",
    xlabel="logits of a sample (left: rejected, right: accepted)",
    ylabel="size of the gradient",
)
ax.legend(loc="center left")
plots.show(
    fig,
    alt="Two curves over the logits. The minimax gradient rises from 0 at -8 to 1 at 4; the other falls from 1 to 0.",
)

# %% [markdown] With $D = D^*$ its gradient is that of $\mathrm{KL}(p_G\,\|\,p) - 2\,\mathrm{JSD}$ (Arjovsky and Bottou 2017,
# theorem 2.5): the dashed curve above. The first term is the *reverse* divergence, which is large for samples outside the
# data, and small for missing modes.
#
# ### Exercise 3: `train_gan` (difficulty 3, 12 minutes)
#
# Algorithm 1 of Goodfellow et al., with one step of each network in turn, and the non-saturating loss. In each of `steps`
# steps:
#
# 1. draw `x = data(rng)` and as many samples, `gan.sample(len(x), rng)`; take a step of the discriminator up $V$. These samples
#    are data for it, so `detach` them;
# 2. draw new samples; take a step of the generator down $-\log D(G(z))$.
#
# Both optimizers are `torch.optim.Adam(..., lr, betas=(momentum, 0.99))`, one with `gan.discriminator.parameters()`, the other
# with `gan.generator.parameters()`. Set gradients to zero before each `backward`: the generator's loss leaves some in $D$.


# %%
def my_train_gan(gan, data, steps, lr, momentum, rng):
    """The same GAN, after `steps` steps of both networks."""
    ...  # write it here


verdict = check.train_gan(my_train_gan)
my_train_gan = verdict.function
verdict

# %%
check.solution("train_gan")

# %% [markdown]
# Your loop trains a GAN of 25 Gaussians for 500 steps, twice: without momentum, and with Adam's default, 0.9. Its discriminator
# is given each point with its Fourier features, sines and cosines at random frequencies (Tancik et al. 2020). So it can resolve
# modes of width 0.05.

# %% tags=["nbval-ignore-output"]
trained = {m: my_train_gan(recipes.points_gan(seed=0), recipes.some_points, 500, 2e-3, m, seeded(0)) for m in (0.0, 0.9)}
fig, axes = plt.subplots(1, 4, figsize=(11.8, 3.9), sharey=True)
with torch.no_grad():
    shown = {"data": x, "your VAE": vae.sample(2000, seeded(3))}
    shown |= {f"your GAN,\nmomentum {m}": gan.sample(2000, seeded(3)) for m, gan in trained.items()}
for ax, (name, made) in zip(axes, shown.items()):
    covered, outside = metrics.modes(made, grid)
    plots.points(made[:2000], title=f"{name}\n{covered} of 25, {outside:.0%} outside", ax=ax, size=5, reach=1.4)
    ax.set(xticks=[-1, 0, 1], ylabel="")
plots.show(
    fig,
    alt="Four scatter plots. Data: 25 round spots. VAE: a square cloud without spots. GAN without momentum: a cloud with two "
    "dense edges, over the middle of the grid. GAN with momentum 0.9: a narrow line.",
)

# %% [markdown] After 500 steps all three are far from the data, and momentum has sent every sample to one line. A mode is
# **covered** if it has a fifth of its due; a sample is **outside** if it is more than four standard deviations from every
# mode. Both counts are needed. Uniform noise on the same square covers all 25 modes.
#
# ## 25 Gaussians at equal cost
#
# 30 s of one core each, as a fixed number of steps (equal processor time), three trainings. Networks of about 68,000
# parameters, the best recipe that we found for each: `python tests/benchmarks/three_generators.py points`. **R1** is a
# **gradient penalty** (Mescheder et al. 2018, eq. 9): the discriminator also minimises $\frac{\gamma}{2}\, \mathbb E_{x \sim
# \text{data}} |\nabla_x o(x)|^2$, so that it may not be steep at real points. They prove that with it the game converges near
# its solution, where without it it may circle for ever.

# %% tags=["nbval-ignore-output"]
predict("gan-drops-modes.modes", "How many of the 25 modes does the GAN without R1 cover?", low=0, high=25, unit="modes")

# %%
MODES, OUT = "modes covered, of 25", "share out of any mode"
ARMS = ("GAN", "GAN with R1", "VAE", "diffusion")
nulls = figures.raw("three_generators")["nulls of points"]
for name in ("the mixture itself", "uniform noise", "untrained GAN"):
    print(f"{name:22}{nulls[name][MODES]:3} of 25 modes, {nulls[name][OUT]:5.1%} outside")
of_points = {arm: {figure: figures.values(on_points, figure, model=arm) for figure in (MODES, OUT)} for arm in ARMS}
for arm, found in of_points.items():
    print(f"{arm:22}{estimate(found[MODES]):.1f} of 25 modes, {estimate(found[OUT]):.1%} outside")

samples = {row.model: torch.tensor(row.samples) for row in on_points.itertuples() if row.seed == 0}
fig, axes = plt.subplots(1, 4, figsize=(11.8, 3.6), sharey=True)
for ax, arm in zip(axes, ARMS):
    plots.points(samples[arm], title=arm, ax=ax, size=8, reach=1.4)
    ax.set(xticks=[-1, 0, 1], ylabel="")
plots.show(
    fig,
    alt="Four scatter plots. GAN: two dense spots at the top, and lines. GAN with R1: points along lines of the grid and "
    "between them. VAE: 25 blurred spots with bridges. Diffusion: 25 separate spots.",
)

# %%
arms = lambda figure, a, b: compare(of_points[a][figure], of_points[b][figure])
noise = nulls["uniform noise"]
claim(
    "diffusion-covers-modes",
    "At equal cost the diffusion model alone has both: all 25 modes, and fewer samples outside than a VAE or a GAN with R1.",
    figures=dict(
        fewest=float(of_points["diffusion"][MODES].min()),
        covered=estimate(of_points["diffusion"][MODES]),
        vae=arms(OUT, "diffusion", "VAE"),
        r1=arms(OUT, "diffusion", "GAN with R1"),
    ),
    measured="{covered:.1f} of 25 modes, {vae:.1%} outside, diffusion beside VAE; GAN with R1 {r1.b:.1%}",
    holds=lambda fewest, vae, r1: all_of(fewest == 25, vae.lower, r1.lower),
    null={
        "uniform noise": dict(vae=compare([noise[OUT]] * 3, of_points["VAE"][OUT])),
        "the GAN without R1": dict(
            fewest=float(of_points["GAN"][MODES].min()),
            covered=estimate(of_points["GAN"][MODES]),
            vae=arms(OUT, "GAN", "VAE"),
        ),
    },
)

# %%
claim(
    "gan-drops-modes",
    "A GAN whose discriminator resolves the modes drops some of them; diffusion at the same cost drops fewer.",
    figures=dict(modes=arms(MODES, "GAN", "diffusion")),
    measured="{modes:.1f} of 25 modes, GAN beside diffusion",
    holds=lambda modes: modes.lower,
    null={"the VAE beside diffusion": dict(modes=arms(MODES, "VAE", "diffusion"))},
)

# %%
claim(
    "gan-r1-keeps-modes",
    "R1 keeps the modes, at the price of samples between them.",
    figures=dict(modes=arms(MODES, "GAN with R1", "GAN"), outside=arms(OUT, "GAN with R1", "GAN")),
    measured="{modes:.1f} of 25 modes and {outside:.1%} outside, with R1 beside without",
    holds=lambda modes, outside: all_of(modes.higher, outside.higher),
    null={
        "diffusion beside the GAN without R1": dict(
            modes=arms(MODES, "diffusion", "GAN"), outside=arms(OUT, "diffusion", "GAN")
        )
    },
)

# %% [markdown]
# ## Failure museum: what makes this GAN lose modes?
#
# One difference at a time, 600 steps, three trainings each: the part `collapse` of the same script. The null model is the
# recipe again, with other seeds: what chance alone makes.

# %%
collapse = figures.load("three_generators", "collapse")
CHANGES = {
    "the recipe": "the recipe",
    "the recipe again": "other seeds",
    "momentum 0.9": "momentum 0.9",
    "half the rate": "half the rate",
    "minimax loss": "minimax loss",
    "no Fourier features": "no Fourier\nfeatures",
    "R1": "R1",
}
fig, axes = plt.subplots(2, 1, figsize=(11.8, 6.4), sharex=True)
for ax, figure, title in zip(axes, (MODES, OUT), ("Modes covered, of 25", "Share of samples outside all modes")):
    of = figures.values(collapse, figure, change=list(CHANGES))  # (changes, seeds)
    ax.bar(range(len(of)), of.mean(1), color=[GREEN, GREEN, *[BLUE] * 5])
    ax.plot(range(len(of)), of, "o", color="black", ms=6)
    ax.set(title=title, xticks=range(len(of)), xticklabels=CHANGES.values(), ylim=(0, 26 if figure == MODES else 1.05))
axes[1].tick_params(axis="x", labelsize=13)
plots.show(
    fig,
    alt="Two bar charts over seven ways of training. Modes: the recipe about 10, other seeds 14, momentum 0.9 about 4, half "
    "the rate 18, minimax loss 20, no Fourier features and R1 25. Outside: the recipe 0.19, the least; minimax 0.46, the most.",
)

# %%
changed = lambda figure, change: compare(
    figures.values(collapse, figure, change=change), figures.values(collapse, figure, change="the recipe")
)
claim(
    "gan-momentum-collapse",
    "With Adam's default momentum, 0.9, the same GAN covers fewer modes than without momentum.",
    figures=dict(modes=changed(MODES, "momentum 0.9")),
    measured="{modes:.1f} of 25 modes, momentum 0.9 beside 0, after 600 steps",
    holds=lambda modes: modes.lower,
    null={"the recipe with other seeds": dict(modes=changed(MODES, "the recipe again"))},
)

# %%
claim(
    "gan-sharp-discriminator",
    "Without Fourier features in its discriminator the same GAN keeps more modes, with more of its samples outside them.",
    figures=dict(modes=changed(MODES, "no Fourier features"), outside=changed(OUT, "no Fourier features")),
    measured="{modes:.1f} of 25 modes and {outside:.1%} outside, without Fourier features beside with them",
    holds=lambda modes, outside: all_of(modes.higher, outside.higher),
    null={
        "the recipe with other seeds": dict(modes=changed(MODES, "the recipe again"), outside=changed(OUT, "the recipe again"))
    },
)

# %%
claim(
    "gan-minimax-loss",
    "With the minimax loss the same GAN has more samples outside the modes after as many steps.",
    figures=dict(outside=changed(OUT, "minimax loss"), modes=changed(MODES, "minimax loss")),
    measured="{outside:.1%} outside and {modes:.1f} of 25 modes, minimax beside non-saturating loss",
    holds=lambda outside: outside.higher,
    null={"the recipe with other seeds": dict(outside=changed(OUT, "the recipe again"))},
)

# %% [markdown]
# - **Momentum** costs modes: {{gan-momentum-collapse.modes}}, with 0.9 beside 0.
# - **A discriminator that resolves the modes** costs modes too. Without Fourier features the GAN has
#   {{gan-sharp-discriminator.modes.a.mean}} modes instead of {{gan-sharp-discriminator.modes.b.mean}}, and
#   {{gan-sharp-discriminator.outside.a.mean}} outside instead of {{gan-sharp-discriminator.outside.b.mean}}. R1 and half the
#   rate do the same, as the bars show. Modes covered and samples outside are traded against each other; so both must be
#   counted.
# - **The minimax loss** does not lose modes here. It learns slowly: {{gan-minimax-loss.outside.a.mean}} outside.
#
# How would you notice? The check of exercise 3 compares the networks after four steps. Here is a loop that ignores its
# `momentum`:

# %%
ignoring_momentum = lambda gan, data, steps, lr, momentum, rng: my_train_gan(gan, data, steps, lr, 0.9, rng)
print(check.train_gan(ignoring_momentum).diagnosis)

# %% [markdown]
# ## Digits at equal cost
#
# The same comparison on 16 × 16 digits, without classes for any of the three: about 415,000 parameters each, fixed steps that
# cost 60 s of one core, three trainings, 1,000 samples beside 1,000 held-out digits. Diffusion samples in 25 steps of DDIM, a
# deterministic sampler that lesson 14 derives. Each is trained by the best recipe that the course has for it. Diffusion has
# min-SNR times (lesson 02) and the optimizer Muon, as in lesson 00. For GAN and VAE, Muon, R1 and twice the rate were tried in
# one training each, and left out; `tests/benchmarks/HISTORY.md` has the figures.

# %% tags=["nbval-ignore-output"]
predict(
    "three-distance.verdict",
    "After the same minute of computing, does diffusion have a smaller Frechet distance than the GAN?",
    choices=("yes", "no", "cannot be told apart"),
)

# %%
FIGURES = ("Frechet distance", "precision", "recall")
NAMES = ("GAN", "VAE", "diffusion")
extra = figures.raw("three_generators")
floor = extra["references"]
of_digits = lambda figure, model, seconds=60: figures.values(on_digits, figure, model=model, seconds=seconds)
print(f"{'':12}{'steps':>7}" + "".join(f"{figure:>20}" for figure in FIGURES))
for name in NAMES:
    steps = int(of_digits("steps", name)[0])
    print(f"{name:12}{steps:7,}" + "".join(f"{estimate(of_digits(figure, name)):20.2f}" for figure in FIGURES))
for name, found in floor.items():
    print(f"{name:19}" + "".join(f"{found[figure]:20.2f}" for figure in FIGURES))

fig, axes = plt.subplots(1, 3, figsize=(11.8, 4.2))
for ax, figure in zip(axes, FIGURES):
    of = np.stack([of_digits(figure, name) for name in NAMES])  # (models, seeds)
    ax.bar(NAMES, of.mean(1), color=(ORANGE, GREEN, BLUE))
    ax.plot(range(3), of, "o", color="black", ms=6)
    ax.axhline(floor["real digits"][figure], color="black", linestyle=":")
    ax.set(title=figure, ylim=(0, 1.02) if figure != "Frechet distance" else (0, None))
plots.show(
    fig,
    alt="Three bar charts. Frechet distance: GAN and diffusion near 1.2, VAE 3.3, real digits near 0. Precision: GAN 0.67, VAE "
    "0.51, diffusion 0.64, real digits 0.9. Recall: GAN 0.84, VAE and diffusion 0.93, real digits 0.87.",
)

# %%
versus = lambda figure, a, b: compare(of_digits(figure, a), of_digits(figure, b))
claim(
    "three-fidelity",
    "After the same minute of computing, the samples of diffusion are more precise than those of the GAN.",
    figures=dict(precision=versus("precision", "diffusion", "GAN")),
    measured="precision {precision:.2f}, diffusion beside GAN",
    holds=lambda precision: precision.higher,
    null={"the VAE beside the GAN": dict(precision=versus("precision", "VAE", "GAN"))},
    expected=None,
)

# %%
claim(
    "three-distance",
    "After the same minute of computing, diffusion has the smaller Frechet distance of the two.",
    figures=dict(distance=versus("Frechet distance", "diffusion", "GAN")),
    measured="Frechet distance {distance:.2f}, diffusion beside GAN",
    holds=lambda distance: distance.lower,
    null={"the VAE beside the GAN": dict(distance=versus("Frechet distance", "VAE", "GAN"))},
    expected=None,
)

# %%
claim(
    "three-vae",
    "The VAE's samples are the farthest from real digits, and the least precise.",
    figures=dict(
        distance=versus("Frechet distance", "VAE", "GAN"),
        precision=versus("precision", "VAE", "GAN"),
        diffusion=versus("precision", "VAE", "diffusion"),
        farther=versus("Frechet distance", "VAE", "diffusion"),
    ),
    measured="distance {distance:.2f}, precision {precision:.2f}, VAE beside GAN",
    holds=lambda distance, farther, precision, diffusion: all_of(
        distance.higher, farther.higher, precision.lower, diffusion.lower
    ),
    null={"diffusion in place of the VAE": dict(distance=versus("Frechet distance", "diffusion", "GAN"))},
)

# %%
pairs = floor["two digits at once"]
of_pairs = dict(recall=compare([pairs["recall"]] * 3, of_digits("recall", "GAN")), precision=estimate([pairs["precision"]] * 3))
claim(
    "three-coverage",
    "Diffusion has a higher recall than the GAN, at a precision above that of pictures of two digits at once.",
    figures=dict(
        recall=versus("recall", "diffusion", "GAN"),
        precision=estimate(of_digits("precision", "diffusion")),
        pairs=pairs["precision"],
        spread=pairs["recall"],
        real=floor["real digits"]["recall"],
    ),
    measured="recall {recall:.2f}, diffusion beside GAN; two digits at once {spread:.2f}, real digits {real:.2f}; "
    "precision {precision:.2f} and {pairs:.2f}",
    holds=lambda recall, precision, pairs: all_of(recall.higher, precision.above(pairs)),
    null={"two digits at once": of_pairs},
)

# %% [markdown]
# **Who is better at what, after a minute of one core?**
#
# - Distance and precision of GAN and diffusion: {{three-distance.verdict}}, after three trainings.
# - The VAE is behind in both: its distance is {{three-vae.distance.a.mean}}, its precision {{three-vae.precision.a.mean}}.
# - Recall: diffusion {{three-coverage.recall.a.mean}}, GAN {{three-coverage.recall.b.mean}}. Mind what recall can do. Pictures
#   of two digits at once have {{three-coverage.spread}}, real digits only {{three-coverage.real}}: samples that are spread
#   widely reach many real pictures without looking like them. So a recall counts only together with a precision.
# - All three are far from the dotted line, the same figures of real digits. A minute is short.

# %%
ms = {name: [round[name] for round in extra["milliseconds a sample"]] for name in (*NAMES, "one pass of the U-Net")}
claim(
    "three-speed",
    "A GAN and a VAE take less time per sample than 25 steps of diffusion.",
    figures=dict(
        gan=compare(ms["GAN"], ms["diffusion"], "rounds"),
        vae=compare(ms["VAE"], ms["diffusion"], "rounds"),
        once=estimate(ms["one pass of the U-Net"], "rounds"),
    ),
    measured="GAN {gan:.2f} ms of one core, VAE {vae:.2f}; one pass of the U-Net takes {once:.2f}",
    holds=lambda gan, vae: all_of(gan.lower, vae.lower),
    null={"diffusion beside itself": dict(gan=compare(ms["diffusion"], ms["diffusion"], "rounds"))},
)

# %% [markdown]
# Of that ratio, a factor of 25 is the number of steps. The rest is the U-Net, whose one pass takes longer than the generator's.
# Lessons 17 and 18 make diffusion sample in one step.
#
# ## Between two noises
#
# Each model maps Gaussian noise to pictures. So in each one can go along the arc from one noise to another (`slerp`; lesson 14
# says why an arc). Nine paths in each model. Drag the slider, or press play: the number above it is the share of the way.

# %% tags=["nbval-ignore-output"]
from course_lib.methods.interpolation import slerp
from course_lib.samplers import Step, sample
from course_lib.widgets.player import play

shipped = {name: models.load(kind) for name, kind in {"GAN": "gan", "VAE": "vae", "diffusion": "diffusion"}.items()}
rng = seeded(4)
ends = {name: torch.randn(2, 9, shipped[name].latent, generator=rng) for name in ("GAN", "VAE")}
ends["diffusion"] = torch.randn(2, 9, 1, 16, 16, generator=rng)


@torch.no_grad()
def sample_between(name, share):
    noise = slerp(*ends[name], share)
    return sample(shipped[name], noise, 20) if name == "diffusion" else shipped[name].draw(noise)


walk = [Step(share, torch.zeros(9, 1, 16, 16)) for share in torch.linspace(0, 1, 21).tolist()]
play(walk, draw=lambda step: {name: sample_between(name, step.t) for name in NAMES})

# %% [markdown] GAN and VAE map 32 and 16 numbers to a picture: half way there is a picture between the two, often no digit.
# Diffusion's noise has as many numbers as the picture has pixels, 256, and its digits change from one to the next within a few
# steps of the slider.
#
# ## What a Gaussian per pixel can do
#
# The VAE's sample is usually shown as the decoder's *mean*. The model says more: around the mean lies independent noise of
# standard deviation $\sigma$ in every pixel. A sample of $p(x \mid z)$ has it.

# %%
vae, (real, _) = shipped["VAE"], digits.load("held_out")
with torch.no_grad():
    reconstructed, fresh = vae.decode(vae.encode(real[:16])[0]), vae.sample(16, seeded(6))
noisy = fresh + vae.std * torch.randn(fresh.shape, generator=seeded(7)).to(fresh.device)
fig, axes = plt.subplots(1, 4, figsize=(11.8, 4.0))
titles = ("real", "reconstruction", "new: the mean", "new: a sample of p(x | z)")
for ax, made, name in zip(axes, (real[:16], reconstructed, fresh, noisy), titles):
    plots.pictures(made, columns=4, title=name, ax=ax)
print(f"sigma = {float(vae.std):.2f}, where black is -1 and white is 1")
plots.show(
    fig,
    alt="Sixteen digits: real; reconstructed, nearly the same; new ones, softer, some of them no digit; the same new ones "
    "under faint grain.",
)

# %%
DETAIL = "fine detail"
claim(
    "vae-blur",
    "A VAE's means have less fine detail than the samples of a GAN and of diffusion, whatever their contrast.",
    figures=dict(
        detail=versus(DETAIL, "VAE", "GAN"),
        diffusion=versus(DETAIL, "VAE", "diffusion"),
        real=floor["real digits"][DETAIL],
    ),
    measured="a 3 × 3 mean removes {detail:.1%} of a picture's variance, VAE beside GAN; of real digits' {real:.1%}",
    holds=lambda detail, diffusion: all_of(detail.lower, diffusion.lower),
    null={
        "real digits": dict(detail=compare([floor["real digits"][DETAIL]] * 3, of_digits(DETAIL, "GAN"))),
        "diffusion": dict(diffusion=versus(DETAIL, "diffusion", "diffusion")),
    },
)

# %% [markdown] The reconstructions are close to the real digits. The new means are softer, and some are no digit: these $z$
# are likely under the prior, but the encoder rarely uses them. A mean over all pictures that $z$ may stand for is smooth.
# Noise that is independent in each pixel does not give the missing detail back, it adds grain.
#
# ## What you saw
#
# - The ELBO of a VAE is {{vae-elbo-gap.gap}} nats below the true log-likelihood of 25 Gaussians. A discriminator trained
#   against a fixed generator comes within {{gan-best-discriminator.error.mean}} of $p / (p + p_G)$.
# - With the best discriminator a missing mode costs a bounded 0.03 nats, and its price reaches the generator only through its
#   own samples. At equal cost our GAN has {{gan-drops-modes.modes.a.mean}} of 25 modes, the diffusion model
#   {{gan-drops-modes.modes.b.mean}}. R1 keeps {{gan-r1-keeps-modes.modes.a.mean}}, with {{gan-r1-keeps-modes.outside.a.mean}}
#   of its samples outside.
# - On digits, after a minute of one core each, GAN and diffusion cannot be told apart in distance and precision; diffusion has
#   the higher recall, and the VAE is behind. A GAN takes {{three-speed.gan.a.mean}} ms per sample, diffusion
#   {{three-speed.gan.b.mean}}.

# %% [markdown]
# ## At full size
#
# - GANs were the best image models for some years. BigGAN (Brock et al. 2019) was trained on 128 to 512 TPU cores. Dhariwal and
#   Nichol (2021) report that diffusion is better on ImageNet (FID 2.97 at 128 × 128), and matches BigGAN-deep with 25 passes of
#   the network, with better coverage of the data. Their network for 512 × 512 has 559 million parameters.
# - Adam without momentum comes from progressive GANs (Karras et al. 2018, appendix A.1), which also average the generator's
#   weights.
# - Latent diffusion (Rombach et al. 2022, lesson 12) uses all three. Its autoencoder is trained with a small Kullback-Leibler
#   term and a discriminator; diffusion models its latent variables.

# %% tags=["nbval-ignore-output"]
guesses("vae-elbo-gap.gap", "gan-drops-modes.modes", "three-distance.verdict")

# %% [markdown]
# ## Think about it
#
# 1. The generator is never given a real picture. How does it learn what one looks like?
#
# <details><summary>Answer</summary>
#
# Through the discriminator, which is trained on real pictures. The gradient of its logits at a generated picture says how to
# change that picture so that it looks more real. The generator's weights follow this gradient.
#
# </details>
#
# 2. Give the VAE's Kullback-Leibler term a weight of 0. What becomes of its *reconstructions*, and of its *new* pictures?
#
# <details><summary>Answer</summary>
#
# Reconstructions become sharper: the encoder may now use $z$ as it likes. New pictures become worse. Nothing keeps the
# encoder's $z$ near the prior, so $z \sim \mathcal N(0, \mathbf I)$ falls where the decoder was never trained.
#
# </details>
#
# ## Words
#
# - **variational autoencoder**: a model with a latent variable, trained on the evidence lower bound with an encoder (VAE).
# - **latent variable**: a variable of the model that is never observed, here $z$.
# - **prior**: the distribution of a variable before anything is observed.
# - **generative adversarial network**: a generator and a discriminator that are trained against each other (GAN).
# - **generator**: the network that maps noise to samples.
# - **discriminator**: the network that outputs the probability that its input is real.
# - **Jensen-Shannon divergence**: the mean KL divergence of two distributions from their average; at most log 2.
# - **minimax loss**: the generator's $\log(1 - D(G(z)))$, flat where its samples are rejected.
# - **non-saturating loss**: the generator's $-\log D(G(z))$, steep there.
# - **mode dropping**: some modes of the data get no samples.
# - **mode collapse**: the samples fall onto a few points or modes, whatever the noise is.
# - **gradient penalty**: a term that keeps the slope of the discriminator small; R1 does so at real data.
#
# Used again: evidence lower bound (lesson 02), reparameterisation (lesson 01), posterior (lesson 01), Kullback-Leibler
# divergence (lesson 01), Frechet distance (lesson 00), random Fourier features (lesson 04).
#
# ## In practice
#
# The autoencoder of Stable Diffusion is a VAE. In diffusers, its encoder returns the distribution $q(z \mid x)$:
#
# ```python
# import torch
# from diffusers import AutoencoderKL
#
# vae = AutoencoderKL(in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(32,), norm_num_groups=8)
# x = torch.randn(2, 1, 16, 16)
# q = vae.encode(x).latent_dist
# z = q.sample(torch.Generator().manual_seed(0))  # mean + std * eps: reparameterised
# eps = torch.randn(q.mean.shape, generator=torch.Generator().manual_seed(0))
# assert torch.allclose(z, q.mean + q.std * eps)
# kl = (q.mean**2 + q.var - 1 - q.logvar).sum((1, 2, 3)) / 2
# assert torch.allclose(q.kl(), kl, rtol=1e-4)
# ```
#
# | ours | diffusers |
# |---|---|
# | `vae.encode(x)`: mean and $\log s^2$ | `vae.encode(x).latent_dist.mean`, `.logvar` |
# | `vae.decode(z)` | `vae.decode(z).sample` |
# | the divergence in `elbo` | `latent_dist.kl()` |
#
# ## Next
#
# [Lesson 06](06_cascades.ipynb): large pictures in two stages, each of them a diffusion model.
