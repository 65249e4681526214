# %% [markdown]
# # 05 GAN, VAE, diffusion: three generative models
#
# **You will be able to** write what a VAE and a GAN minimise, train both with your own functions, say what one change to a
# GAN's training does, and compare three models at equal cost, with errors.
#
# **Time** 60 minutes, and 4 for the optional part. In a class of 50 minutes leave exercise 2 and the failure museum for home:
# you then miss the aim about one change. **Needs** lessons 00 to 04. **Papers** Diederik Kingma, Max Welling: *Auto-Encoding
# Variational Bayes* (2014); Ian Goodfellow et al.: *Generative Adversarial Nets* (2014); Lars Mescheder, Andreas Geiger,
# Sebastian Nowozin: *Which Training Methods for GANs do actually Converge?* (2018); Jonathan Ho, Ajay Jain, Pieter Abbeel:
# *Denoising Diffusion Probabilistic Models* (2020).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("05")

# %% [markdown]
# ## Three ways to train a generative model
#
# All three turn noise into samples:
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
# First $z$ is drawn from a **prior** $p(z) = \mathcal N(0, \mathbf I)$, the distribution of $z$ before anything is observed.
# Then $x$ is drawn from $p_\theta(x \mid z) = \mathcal N(\mu_\theta(z), \sigma^2 \mathbf I)$. The network $\mu_\theta$ is the
# decoder. The model's likelihood of $x$ is $p_\theta(x) = \int p_\theta(x \mid z)\, p(z)\, dz$. For most $z$, $p_\theta(x \mid
# z)$ is nearly 0, so random $z$ estimate this integral badly. A second network, the encoder, approximates the posterior
# $p_\theta(z \mid x)$ by $q(z \mid x) = \mathcal N(m, \operatorname{diag} s^2)$:
#
# ```text
# x → encoder → (m, s) → z = m + s ε → decoder → μ
# ```
#
# By Bayes, $p_\theta(x) = p_\theta(x \mid z)\, p(z) / p_\theta(z \mid x)$ for every $z$. Take logarithms, add and subtract
# $\log q(z \mid x)$, and average over $q$:
# $\log p_\theta(x) = \mathbb E_q \log p_\theta(x \mid z) - \mathrm{KL}(q\,\|\,p(z)) + \mathrm{KL}(q\,\|\,p_\theta(z \mid x))$.
# The last term is at least 0. So for every $q$ (Kingma and Welling, eq. 2 and 3)
#
# $$\log p_\theta(x) \;\ge\; \underbrace{\mathbb E_{q(z \mid x)} \log p_\theta(x \mid z)}_{\text{reconstruction}} \;-\;
# \underbrace{\mathrm{KL}\big(q(z \mid x)\,\|\,\mathcal N(0, \mathbf I)\big)}_{\text{distance from the prior}}.$$
#
# The right side is the evidence lower bound (ELBO, lesson 02). Raising it trains both networks, with two devices:
#
# - reparameterisation: $z = m + s\,\epsilon$ with $\epsilon \sim \mathcal N(0, \mathbf I)$, so that gradients reach the encoder
#   through the sample (their section 2.4);
# - a closed form of the Kullback-Leibler divergence: $\mathrm{KL} = \tfrac12 \sum_j \big(m_j^2 + s_j^2 - 1 - \log s_j^2\big)$
#   (their appendix B).
#
# ### Exercise 1: `elbo` (difficulty 3, 10 minutes)
#
# `vae.encode(x)` gives $m$ and $\log s^2$, `vae.decode(z)` the mean, `vae.std` is $\sigma$ (`vae.log_std` its logarithm). A
# Gaussian's log density is $-\tfrac12 ((x - \mu)/\sigma)^2 - \log\sigma - \tfrac12 \log 2\pi$ for **each** pixel. $\sigma$ is
# learned, one number for all pixels. For a 2-D point, "pixels" are its two coordinates. Sum over pixels and over $j$. Return
# reconstruction − KL, with $\epsilon$ the argument `eps`.


# %%
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import torch
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
from torch import nn


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
# The data are 25 Gaussians on a square grid. Their true $\log p(x)$ is known. Your bound trains a VAE of 67,591 parameters.

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
# On average it lies below $\log p$ of the data's density $p$. That is a theorem: $\mathbb E \log p - \mathbb E\,\mathrm{ELBO}
# = \mathrm{KL}(p\,\|\,p_\theta) + \mathbb E\,\mathrm{KL}(q(z \mid x)\,\|\,p_\theta(z \mid x)) \ge 0$. The gap is the sum of
# both parts: how far the model is from the mixture, and how far $q$ is from the posterior. We measure only the sum. Three
# references: the best single Gaussian, {{vae-elbo-gap.gaussian}} nats below; the uniform density on the square $[-1.2,
# 1.2]^2$, which has no spots, {{vae-elbo-gap.uniform}} (0.0025 % of $p$ lies outside it, but none of our 20,000 points; with
# one the gap would be infinite); and a VAE that is not trained.

# %% tags=["nbval-ignore-output"]
predict(
    "vae-elbo-gap.gap",
    "The best single Gaussian is 2.1 nats below the true log-likelihood, the uniform density "
    "1.7. And the ELBO of a VAE trained for 30 s?",
    low=0,
    high=3,
    unit="nats",
)

# %%
runs = figures.load("three_generators")
on_points, on_digits = (figures.where(runs, data=data) for data in ("points", "digits"))
single = GaussianMixture([1.0], torch.zeros(1, 2), [float(x.std())])
of_vae = figures.values(on_points, "log-likelihood", model="VAE") - figures.values(
    on_points, "ELBO", model="VAE"
)
claim(
    "vae-elbo-gap",
    "The ELBO of a trained VAE is nearer to the true log-likelihood of 25 Gaussians than the "
    "best single Gaussian and the uniform density.",
    figures=dict(
        gap=estimate(of_vae),
        gaussian=float(log_p - single.log_prob(x.double()).mean()),
        uniform=float(log_p + np.log(2.4**2)),
    ),
    measured="{gap:.2f} nats per point below it, the single Gaussian {gaussian:.2f}, the "
    "uniform density {uniform:.2f}",
    holds=lambda gap, gaussian, uniform: all_of(gap.below(gaussian), gap.below(uniform)),
    null={
        "a VAE that is not trained": dict(
            gap=estimate([gap(recipes.points_vae(seed)) for seed in range(3)])
        )
    },
)

# %% [markdown]
# ## GAN: a discriminator as the training signal
#
# A **generative adversarial network** (GAN) needs no likelihood. A **discriminator** $D$ outputs the probability that its
# input is real. A **generator** $G$ makes samples of noise $z$. $D$ maximises a value $V$, and $G$ minimises it (Goodfellow
# et al., eq. 1):
#
# ```text
# z → generator G → sample ─┐
#                           ├→ discriminator D → logit
#                    data x ┘
# ```
#
# $$\min_G \max_D V(D, G) = \mathbb E_{x \sim \text{data}} \log D(x) + \mathbb E_{z} \log\big(1 - D(G(z))\big).$$
#
# Our network outputs logits $o = \log \frac{D}{1 - D}$. Then $\log D = \texttt{logsigmoid}(o)$ and $\log(1 - D) =
# \texttt{logsigmoid}(-o)$. `logsigmoid` stays finite where $D$ rounds to 0 or 1.
#
# ### Exercise 2: `adversarial_value` (difficulty 1, 4 minutes)
#
# `gan.logits(x)` gives $o$ (B,). The generator's samples are given as `fake`. $\mathbb E$ is the mean over the batch.


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
# At each $x$, $V$ contributes $p \log D + p_G \log(1 - D)$. Its derivative $p/D - p_G/(1 - D)$ is 0 at $D = p/(p + p_G)$.
# Here the data are two Gaussians on a line, and the "generator" is one broad Gaussian. We maximise your $V$ for 300 steps.

# %%
pair, line = points.pair(), torch.linspace(-2.5, 2.5, 201)[:, None]
real, generated = (
    pair.log_prob(line.double()).exp(),
    torch.distributions.Normal(0, 1).log_prob(line[:, 0]).exp(),
)
best, weight = real / (real + generated), (real + generated) / (real + generated).sum()


def discriminator(seed, steps):
    """D at `line`, after so many steps up V."""
    torch.manual_seed(seed)
    gan, rng = GAN(nn.Identity(), layers(1, 64, 64, 1), latent=1), seeded(seed)
    loss = lambda: (
        -my_adversarial_value(
            gan, pair.sample(512, rng)[0], torch.randn(512, 1, generator=rng)
        )
    )
    for _ in train(loss, gan.discriminator, steps, lr=5e-3) if steps else ():
        pass
    return gan.logits(line).sigmoid().detach()


learned, untrained = ([discriminator(seed, steps) for seed in range(3)] for steps in (300, 0))
fig, ax = plt.subplots(figsize=(10, 4.2))
ax.fill_between(line[:, 0], real, alpha=0.25, color=GREEN, label="data, $p$")
ax.fill_between(line[:, 0], generated, alpha=0.25, color=ORANGE, label="generated, $p_G$")
ax.plot(line, best, color="black", label="best $D^*$")
ax.plot(line, learned[0], "--", color=RED, label="trained $D$")
ax.set(
    title="A trained discriminator approaches $p / (p + p_G)$",
    xlabel="x",
    ylabel="D(x), and densities",
    ylim=(0, 1.7),
)
ax.legend(ncols=4, loc="upper center", fontsize=14)
plots.show(
    fig,
    alt="Two narrow peaks of data at -1 and 1, a broad bump of generated points. The best D "
    "is 0.72 and 0.85 on the peaks and near 0 between and outside them; the trained D "
    "lies on it where there are points.",
)

# %%
error = lambda D: float(((D - best).abs() * weight).sum())
for name, found in {
    "trained": learned,
    "not trained": untrained,
    "the constant 1/2": [torch.full_like(best, 0.5)],
}.items():
    print(f"{name:17} mean distance from D*: {estimate([error(D) for D in found]):.3f}")

# %% [markdown]
# Three initialisations each; ± is one standard error everywhere in this lesson. The mean is weighted by the density of all
# points, real and generated.
#
# ### Guess: how many modes will the GAN cover?
#
# The 25 Gaussians are 25 modes: separate peaks of the density. A mode is **covered** if it has at least a fifth of the
# samples that its weight, 1/25, expects. A sample is **outside** if it is more than four standard deviations from every mode.

# %% tags=["nbval-ignore-output"]
predict(
    "diffusion-covers-modes.modes",
    "How many of the 25 modes does a GAN with random Fourier features (lesson 04) cover "
    "after 30 s of training?",
    low=0,
    high=25,
    unit="modes",
)

# %% [markdown]
# ### What does a missing mode cost?
#
# Put $D^*$ into $V$: $\mathbb E_p \log \frac{p}{p + p_G} = \mathrm{KL}(p\,\|\,\frac{p + p_G}{2}) - \log 2$, and the same for
# $p_G$. So the generator minimises (their theorem 1)
#
# $$V(D^*, G) = 2\,\mathrm{JSD}(p\,\|\,p_G) - \log 4,$$
#
# where the **Jensen-Shannon divergence** $\mathrm{JSD} = \tfrac12 \mathrm{KL}(p \,\|\, \tfrac{p + p_G}{2}) + \tfrac12
# \mathrm{KL}(p_G \,\|\, \tfrac{p + p_G}{2})$ lies between 0 and $\log 2$. Its only minimum is $p_G = p$. So a GAN's aim does
# contain every mode. But compare the costs. Let $p$ be 25 separate modes of weight $1/25$ each, and let $p_G$ consist of $k$
# of them, each with weight $1/k$. On a mode that both have, $D^* = k/(k + 25)$; on one that only the data have, $D^* = 1$.
# Then $V(D^*, G) = \frac{k}{25} \log \frac{k}{k + 25} + \log \frac{25}{k + 25}$.
#
# In practice the generator minimises another loss, the **non-saturating loss** $-\log D(G(z))$; the next section says why.
# With $D = D^*$ held fixed while one differentiates, its gradient is that of $\mathrm{KL}(p_G\,\|\,p) - 2\,\mathrm{JSD}$
# (Arjovsky and Bottou 2017, theorem 2.5). This difference equals $2\,\mathrm{KL}(\tfrac{p + p_G}{2}\,\|\,p)$. So it is at
# least 0, and 0 only where $p_G = p$. The dashed curve shows it: 0.01 nats for one missing mode, 2.0 for 24. For samples
# outside the data it grows without bound.

# %%
k = np.arange(1, 26)
V = k / 25 * np.log(k / (k + 25)) + np.log(25 / (k + 25))
fig, ax = plt.subplots(figsize=(10, 4.2))
ax.plot(k, V + np.log(4), color=BLUE, label="minimax game: 2 JSD")
ax.plot(
    k,
    np.log(25 / k) - V - np.log(4),
    "--",
    color=RED,
    label="non-saturating: KL($p_G$ ‖ $p$) − 2 JSD",
)
ax.axhline(np.log(4), color="black", linestyle=":", label="the most that 2 JSD can be: log 4")
ax.set(
    title="What missing modes cost",
    xlabel="modes that the generator has, of 25",
    ylabel="nats",
    ylim=(0, 2.2),
)
ax.legend()
plots.show(
    fig,
    alt="Two curves over the number of modes. 2 JSD falls from 1.22 at one mode to 0.03 at "
    "24 and 0 at 25, below a dotted line at 1.39. The non-saturating cost falls from 2.0 "
    "to 0.01 and 0.",
)

# %% [markdown]
# In the minimax game one missing mode costs 0.03 nats, 24 missing ones 1.22. The negative log-likelihood has no such bound:
# $-\log p_G(x)$ of a real point in a missing mode grows without bound as $p_G(x)$ goes to 0. The ELBO is a lower bound on
# $\log p_\theta(x)$. The denoising loss has the same terms with other weights, so it is not that bound (lesson 02).
# Both penalise every real point that the model cannot explain. Whether this is why VAE and diffusion cover all modes below is
# not tested.
#
# The GAN's cost reaches $G$ only through the slope of $D$ at $G$'s **own samples**. There $D^*$ is a constant, $k / (25 +
# k)$, with slope 0: no gradient says that a mode is missing. A smooth $D$ can slope towards an empty mode: a hypothesis, with
# which the GAN without Fourier features, below, agrees.
#
# - **Mode dropping**: some modes of the data get no samples.
# - **Mode collapse**: the samples fall onto a few points or modes, whatever $z$ is.
#
# ### The minimax loss has a flat slope
#
# Early on, $D$ can reject nearly all samples with confidence. There $\log(1 - D(G(z)))$, the **minimax loss** of the generator,
# is flat: its gradient with respect to the logit has size $D$, near 0. That of the non-saturating loss has size $1 - D$, near
# 1. So Goodfellow et al. (section 3) minimise the latter. The fixed point of the game stays the same.
#
# ### Exercise 3: `train_gan` (difficulty 3, 12 minutes)
#
# Algorithm 1 of Goodfellow et al., with one step of each network in turn, and the non-saturating loss. In each of `steps`
# steps:
#
# 1. draw `x = data(rng)` and `fake = gan.sample(len(x), rng).detach()`; take one optimizer step of the discriminator on the
#    loss $-V$;
# 2. draw `len(x)` new samples, not detached; take one optimizer step of the generator on the loss $-\log D(G(z))$, the mean
#    over the batch. (Many tutorials use the samples of step 1 again; the check accepts both.)
#
# Both optimizers are `torch.optim.Adam(..., lr, betas=(momentum, 0.99))`, one with `gan.discriminator.parameters()`, the
# other with `gan.generator.parameters()`. Here `momentum` is Adam's first beta: 0, as in Karras et al. 2018, means none. Set
# gradients to zero before each `backward`: the generator's loss leaves some in $D$. Return `gan`.


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
# is given each point with random Fourier features (lesson 04; Tancik et al. 2020), so that it resolves modes of width 0.05.

# %% tags=["nbval-ignore-output"]
trained = {
    m: my_train_gan(recipes.points_gan(seed=0), recipes.some_points, 500, 2e-3, m, seeded(0))
    for m in (0.0, 0.9)
}
fig, axes = plt.subplots(1, 4, figsize=(11.8, 4.3), sharey=True)
with torch.no_grad():
    shown = {"data": x, "your VAE": vae.sample(2000, seeded(3))}
    shown |= {f"GAN, momentum {m}": gan.sample(2000, seeded(3)) for m, gan in trained.items()}
for ax, (name, made) in zip(axes, shown.items()):
    covered, outside = metrics.modes(made, grid)
    plots.points(
        made[:2000],
        title=f"{name}\n{covered} modes\n{outside:.0%} outside",
        ax=ax,
        size=5,
        reach=1.4,
    )
    ax.set(xticks=[-1, 0, 1], ylabel="")
plots.show(
    fig,
    alt="Four scatter plots. Data: 25 round spots. VAE: a square cloud without spots. GAN "
    "without momentum: a cloud with two dense edges, over the middle of the grid. GAN "
    "with momentum 0.9: a narrow line.",
)

# %% [markdown]
# After 500 steps all three are far from the data. Both counts are needed, modes
# and what lies outside: uniform noise on the square $[-1.1, 1.1]^2$ covers all 25 modes.
#
# ## 25 Gaussians at equal cost
#
# Each training has as many steps as cost 30 s of one core: `python tests/benchmarks/three_generators.py points`. Three
# trainings per arm. GAN, VAE and diffusion have 58,000 to 72,000 parameters. Each network that reads points (discriminator,
# encoder, denoiser) is trained with Fourier features of them and without.
#
# One recipe each, **not equally tuned**. With another seed, one short training each, we tried Fourier features for all
# three, R1 with two weights for the GAN, min-SNR times (lesson 02) for diffusion, and the optimizer Muon (Jordan et al.
# 2024), which orthogonalises the update of each weight matrix, for diffusion and VAE. Diffusion alone keeps Muon. Samples
# come from averaged weights (EMA, lesson 02). Diffusion samples in 50 steps of DDIM, a deterministic sampler that lesson 14
# derives. The VAE's samples are decoder means, without the noise $\sigma$.
#
# **R1** is a **gradient penalty** (Mescheder et al. 2018, eq. 9): the discriminator also minimises $\frac{\gamma}{2}\, \mathbb
# E_{x \sim \text{data}} |\nabla_x o(x)|^2$, here with $\gamma = 0.01$. That keeps it from being steep at real points. They
# prove, under assumptions, that gradient descent with R1 converges to an equilibrium if it starts close enough (theorem 4.1).
# Without a penalty it need not: it can circle around it. Our Adam is outside the theorem.

# %%
MODES, OUT = "modes covered, of 25", "share out of any mode"
FEATURES, NONE = " with Fourier features", " without Fourier features"
ARMS = {  # the arm's name here: its name in the file
    "GAN" + FEATURES: "GAN",
    "VAE" + FEATURES: "VAE" + FEATURES,
    "diffusion" + FEATURES: "diffusion",
    "GAN with features and R1": "GAN with R1",
    "GAN" + NONE: "GAN" + NONE,
    "VAE" + NONE: "VAE",
    "diffusion" + NONE: "diffusion" + NONE,
}


@cache
def of_points(figure, arm):
    """A figure of each training of an arm on the 25 Gaussians."""
    return figures.values(on_points, figure, model=ARMS[arm])


noise = figures.raw("three_generators")["nulls of points"]["uniform noise"]
print(f"{'':36}{'steps':>6}   modes covered     outside")
for arm, model in ARMS.items():
    row = figures.where(on_points, model=model).iloc[0]
    covered, outside = (estimate(of_points(figure, arm)) for figure in (MODES, OUT))
    print(f"{arm:36}{row.steps:6,}{f'{covered:.1f}':>16}{f'{outside:.1%}':>14}")
print(f"{'uniform noise':42}{noise[MODES]:>16}{noise[OUT]:>13.1%}")
print(f"{'the data':42}{25:>16}{np.exp(-8):>14.2%}")  # beyond 4 sigma in 2-D

# %%
samples = {
    row.model: torch.tensor(row.samples)
    for row in figures.where(on_points, seed=0).itertuples()
}
fig, axes = plt.subplots(2, 4, figsize=(11.8, 6.6), sharex=True, sharey=True)
for ax, arm in zip(axes.flat, ARMS):
    plots.points(samples[ARMS[arm]], ax=ax, size=6, reach=1.4)
    title = arm.replace(" with", "\nwith", 1).replace("Fourier features", "features")
    ax.set(title=title, xticks=[-1, 0, 1])
plots.points(x[:600], title="data", ax=axes[1, 3], size=6, reach=1.4)
for ax in axes.flat:
    ax.label_outer()
plots.show(
    fig,
    alt="Eight scatter plots. With Fourier features the GAN has two dense spots and lines "
    "from them, diffusion 25 separate spots. The five others have points along lines of "
    "the grid and between them. Last, the data: 25 round spots.",
)

# %%
between = lambda figure, a, b: compare(
    of_points(figure, a), of_points(figure, b), paired=False
)
OTHERS = dict(
    r1="GAN with features and R1",
    raw_gan="GAN" + NONE,
    vae="VAE" + FEATURES,
    raw_vae="VAE" + NONE,
    raw="diffusion" + NONE,
)
covers = lambda arm, rest="": dict(
    modes=between(MODES, "GAN" + FEATURES, arm),
    fewest=float(of_points(MODES, arm).min()),
    who=arm,
    rest=rest,
    **{name: between(OUT, arm, other) for name, other in OTHERS.items()},
)
rest = "; ".join(f"{arm} {estimate(of_points(OUT, arm)):.1%}" for arm in OTHERS.values())
claim(
    "diffusion-covers-modes",
    "With Fourier features the GAN drops modes. Diffusion has all 25, and fewer samples "
    "outside than each arm without them, the VAE with them, and the GAN with R1.",
    figures=covers("diffusion" + FEATURES, f". Outside, the other arms: {rest}"),
    measured="{modes:.1f} of 25 modes, GAN beside {who}; outside {raw.a:.1%}{rest}",
    holds=lambda modes, fewest, r1, raw_gan, vae, raw_vae, raw: all_of(
        modes.lower, fewest == 25, r1.lower, raw_gan.lower, vae.lower, raw_vae.lower, raw.lower
    ),
    null={
        "uniform noise": dict(
            {
                name: compare([noise[OUT]] * 3, of_points(OUT, other), paired=False)
                for name, other in OTHERS.items()
            },
            who="noise",
            rest="",
        ),
        "the GAN itself": covers("GAN" + FEATURES),
        "diffusion without Fourier features": covers("diffusion" + NONE),
    },
)

# %% [markdown]
# With the features both diffusion and the GAN have far fewer samples outside: diffusion {{diffusion-covers-modes.raw.a.mean}},
# and several times as many without; the GAN with them few, too. But diffusion keeps all modes, and the GAN drops many (its
# three trainings keep 7, 8 and 14); without features it has nearly all, with more outside. The VAE hardly
# changes. So the discriminator's features make the difference here, directly or by a faster training (failure museum: half the
# rate).
#
# These arms differ in more than the method: diffusion alone was trained with Muon. How much of its lead comes from the
# optimizer was not measured. Arms of one method differ in the features (with a wider first layer) or R1 alone, and, at equal
# cost, in steps.
#
# Even the best arm is far from the data (0.03 % outside). The GANs with R1, and without features, have samples along lines of
# the grid.
#
# ## Failure museum: what changes the modes of this GAN?
#
# One difference at a time, 600 steps, three trainings each: the part `collapse` of the same script. The recipe is the GAN
# with Fourier features: momentum 0, the non-saturating loss, no R1. The null model is the recipe with other seeds.

# %%
collapse = figures.load("three_generators", "collapse")
RECIPE, AGAIN, RAW = "the recipe", "the recipe again", "no Fourier features"
CHANGES = [AGAIN, "momentum 0.9", "half the rate", "minimax loss", "R1", RAW]


def changed(figure, change):
    """A figure of the GAN with one change beside the recipe, paired where possible."""
    a, b = (figures.values(collapse, figure, change=name) for name in (change, RECIPE))
    return compare(a, b, paired=change not in (AGAIN, RAW))


fig, axes = plt.subplots(1, 2, figsize=(11.8, 4.8), sharey=True)
for ax, figure, unit in zip(axes, (MODES, OUT), (1, 0.01)):
    for y, change in enumerate(CHANGES):
        found = changed(figure, change)
        colour, marker = {True: ("black", "^"), False: ("black", "v"), None: (BLUE, "o")}[
            found.higher
        ]
        mean, margin = found.difference.mean / unit, found.difference.margin / unit
        ax.errorbar(mean, y, xerr=margin, fmt=marker, color=colour, ms=11, capsize=6, lw=2.5)
    ax.axvline(0, color="black", lw=1.2)
    recipe = found.b.mean
    of_noise = (noise[figure] - recipe) / unit
    ax.axvline(of_noise, color="black", ls=":")
    ax.text(of_noise + 1, 4.3 if unit < 1 else 0.6, "uniform\nnoise")
    ax.set_title(figure.replace("share out of any mode", "samples outside"))
    ax.set_xlabel(
        f"difference from {recipe:.1f}"
        if unit == 1
        else f"percentage points from {recipe:.0%}"
    )
fig.suptitle("▲ higher     ▼ lower     ● not told apart")
axes[0].set_yticks(range(len(CHANGES)), CHANGES)
axes[0].invert_yaxis()
plots.show(
    fig,
    alt="Mean differences from the recipe with margins, a row for each of six changes. "
    "Modes: momentum 0.9 is lower; minimax loss, R1 and no Fourier features are higher; "
    "the recipe again and half the rate cannot be told apart. Samples outside: minimax, "
    "R1 and no features are higher, the others cannot be told apart. Dotted, uniform "
    "noise: 15 modes and 25 percentage points more.",
)

# %% [markdown]
# Symbols: mean differences from the recipe. Bars: the **margin** that a verdict needs, more than four standard errors of three
# paired trainings. Two rows are not paired (other seeds; another discriminator); their margin is Welch's. The twelve verdicts
# are each at the level of 5 %, not corrected for their number.
#
# A slower training may lose its modes later. So the claim also compares the GANs with R1 and without features after 30 s with
# the recipe after 30 s: other trainings, of more than three times as many steps.

# %%
again, early = changed(MODES, AGAIN), figures.values(collapse, MODES, change=RECIPE)
R1, LONG_RAW = "GAN with features and R1", "GAN" + NONE
recipe = of_points(MODES, "GAN" + FEATURES)  # after 30 s
longer = lambda arm: compare(of_points(MODES, arm), recipe, paired=False)
outside = [changed(OUT, change).a for change in ("R1", RAW)]
outside += [estimate(of_points(OUT, arm)) for arm in (R1, LONG_RAW)]
found = dict(
    momentum=changed(MODES, "momentum 0.9"),
    r1=changed(MODES, "R1"),
    raw=changed(MODES, RAW),
    long_r1=longer(R1),
    long_raw=longer(LONG_RAW),
    most=max(outside, key=lambda arm: arm.mean + arm.margin),
)
rest = (
    "; R1 {r1.a:.1f}, after 30 s {long_r1:.1f}; no features {raw.a:.1f}, after 30 s "
    "{long_raw.a:.1f}; outside, of these four, at most {most:.1%}"
)
all_modes = {
    arm: compare([25] * 3, beside, paired=False)
    for arm, beside in dict(r1=early, raw=early, long_r1=recipe, long_raw=recipe).items()
}
claim(
    "gan-one-change",
    "One change to the GAN's training changes how many modes it covers: fewer with momentum "
    "0.9; more with R1 and more without Fourier features, beside the recipe after 600 steps "
    "and after 30 s; these four with fewer samples outside than uniform noise.",
    figures=found | dict(who="momentum 0.9", rest=rest.format(**found)),
    measured="modes: {momentum:.1f}, {who} beside the recipe{rest}",
    holds=lambda momentum, r1, raw, long_r1, long_raw, most: all_of(
        momentum.lower,
        *(arm.higher for arm in (r1, raw, long_r1, long_raw)),
        most.below(noise[OUT]),
    ),
    null={
        "other seeds": dict(momentum=again, r1=again, raw=again, who="the recipe", rest=""),
        "the recipe after 30 s": dict(
            long_r1=longer("GAN" + FEATURES),
            long_raw=longer("GAN" + FEATURES),
            rest="; the recipe after 30 s {:.1f}".format(longer("GAN" + FEATURES)),
        ),
        "uniform noise for these four": dict(
            all_modes,
            most=estimate([noise[OUT]] * 3),
            rest=f"; uniform noise {all_modes['raw'].a:.0f}, outside {noise[OUT]:.1%}",
        ),
    },
)

# %% [markdown]
# - At this learning rate **momentum** 0.9 costs modes: {{gan-one-change.momentum}}.
# - **R1**, and a discriminator **without Fourier features**, cover nearly all modes, with more samples outside.
# - **Half the rate** cannot be told apart from the recipe, but its mean is higher. A slower training may be part of why R1
#   and the smoother discriminator keep modes.
# - With the **minimax loss** about as many samples are outside as of uniform noise (dotted), which covers all modes. So its
#   modes say nothing.

# %% [markdown]
# ## Digits at equal cost
#
# The same comparison on 16 × 16 digits, without classes: about 415,000 parameters each (GAN and VAE: both networks together),
# as many steps as cost 60 s of one core (GAN 1,445, VAE 2,600, diffusion 557), three trainings, 1,000 samples beside 1,000
# held-out digits (Frechet distance, precision and recall: lesson 00). Diffusion samples in 25 steps of DDIM. Two references:
# 1,000 real training digits, and 1,000 pictures of two digits at once (of two training digits, the larger value of each pixel).
#
# One recipe each, **not equally tuned**; see `HISTORY.md`. For diffusion's recipe (lesson 00) more than thirty
# settings were tried, with classes. It alone has Muon, min-SNR times and batches of 64, not 32. With classes, Muon and these
# times together more than halve its distance. For the GAN and the VAE fewer settings were tried, the last with one training of
# 30 s each. Twice the rate lowered the GAN's distance of 1.67 by 0.44; Muon raised it by 0.49. R1 and, for the VAE, Muon
# changed it by less than trainings of one recipe differ. None is used here.
#
# So the figures rank three recipes after one minute, not three methods. The order after longer times may be another.
# (Of a run of 180 s, given up: GAN 1.09 and 1.06, VAE 3.76 and 3.74, one training of diffusion 0.56.) Lesson 00's network is
# given the class, so its figures are not comparable.

# %% tags=["nbval-ignore-output"]
predict(
    "three-fidelity.verdict",
    "After the same minute, does diffusion have a smaller Frechet distance and a higher "
    "precision than the GAN?",
    choices=("yes", "no", "cannot be told apart"),
)

# %%
FIGURES, NAMES = ("Frechet distance", "precision", "recall"), ("GAN", "VAE", "diffusion")
extra = figures.raw("three_generators")
floor, pairs = (extra["references"][name] for name in ("real digits", "two digits at once"))
of_digits = lambda figure, model: figures.values(on_digits, figure, model=model, seconds=60)
fig, axes = plt.subplots(1, 3, figsize=(11.8, 4.6))
for ax, figure in zip(axes, FIGURES):
    for i, (model, colour, marker) in enumerate(zip(NAMES, (RED, GREEN, BLUE), "sDo")):
        each = of_digits(figure, model)
        mean = estimate(each)
        ax.errorbar(i, mean.mean, mean.margin, fmt=marker, color=colour, ms=11, capsize=6)
        ax.plot([i] * len(each), each, "k_", ms=16, mew=1.5)
    ax.axhline(floor[figure], color="black", lw=1.5, ls="-.", label="real digits")
    ax.axhline(pairs[figure], color="black", lw=1.5, ls=":", label="two digits at once")
    ax.set(title=figure, xticks=range(3), xticklabels=NAMES, xlim=(-0.5, 2.5))
    ax.set_ylim(
        {"Frechet distance": (0, 7.5), "precision": (0.3, 1), "recall": (0.75, 1)}[figure]
    )
axes[0].legend(loc="upper left")
plots.show(
    fig,
    alt="Three panels, a mean with its margin for each model. Frechet distance: GAN and "
    "diffusion near 1.2, VAE 3.3, two digits at once 5.1, real digits near 0. Precision: "
    "GAN 0.67, diffusion 0.64, VAE 0.51, two digits at once 0.45, real digits 0.90. "
    "Recall: GAN 0.84, VAE and diffusion 0.93, two digits at once 0.92, real digits "
    "0.87.",
)

# %% [markdown]
# Black strokes: trainings; symbols: their means; bars: the margin of that mean (4.30 standard errors). Overlapping bars decide
# nothing: a verdict compares the difference with its own margin, which is smaller than the sum of both bars. A seed pairs
# nothing between networks of different kinds, so their trainings are compared as independent ones.

# %% tags=["nbval-ignore-output"]
from course_lib.methods.gan_vae import sample_generator

shipped = {name: models.load(name.lower()) for name in NAMES}
held_out, _ = digits.load("held_out")
made = [sample_generator(shipped[name], 10, seeded(5)) for name in NAMES]
plots.show(
    plots.pictures(
        torch.cat([held_out[:10], *made]),
        columns=10,
        rows=("real", *NAMES),
        title="Ten digits of each",
    ),
    alt="Four rows of ten digits. Real ones; those of the GAN and of diffusion, some "
    "malformed; those of the VAE softer, and most of them malformed.",
)

# %%
versus = lambda figure, a, b: compare(of_digits(figure, a), of_digits(figure, b), paired=False)
SAID = {True: "higher", False: "lower", None: "not told apart"}
for a, b in (("diffusion", "GAN"), ("VAE", "GAN"), ("VAE", "diffusion")):
    said = (f"{figure} {SAID[versus(figure, a, b).higher]}" for figure in FIGURES)
    print(f"{a} beside {b}:", *said, sep="  ")

# %%
beside = lambda a, b: dict(
    distance=versus("Frechet distance", a, b),
    precision=versus("precision", a, b),
    recall=versus("recall", a, b),
    who=f"{a} beside {b}",
)
once = lambda figure: compare([pairs[figure]] * 3, of_digits(figure, "GAN"), paired=False)
claim(
    "three-fidelity",
    "After the same minute of computing, diffusion has a smaller Frechet distance and a "
    "higher precision than the GAN.",
    figures=beside("diffusion", "GAN") | dict(real=floor["recall"], spread=pairs["recall"]),
    measured="distance {distance:.2f}, precision {precision:.2f}, recall {recall:.2f}, {who}; "
    "recall of real digits {real:.2f}, of two digits at once {spread:.2f}",
    holds=lambda distance, precision: all_of(distance.lower, precision.higher),
    null={
        "the VAE": beside("VAE", "GAN"),
        "two digits at once": dict(
            distance=once("Frechet distance"),
            precision=once("precision"),
            recall=once("recall"),
            who="two digits at once beside GAN",
        ),
    },
    expected=None,
)

# %% [markdown]
# After a minute of one core, GAN and diffusion in distance and precision: {{three-fidelity.verdict}}. With three trainings a
# difference below about 0.5 in distance or 0.06 in precision does not show.
#
# A high recall can mislead. Pictures of two digits at once have {{three-fidelity.spread}}: samples that are spread widely reach
# many real pictures without looking like them. Real digits have {{three-fidelity.real}}. So recall counts only together with
# precision: here diffusion's recall is higher than the GAN's.

# %%
ms = {
    name: [round[name] for round in extra["milliseconds a sample"]]
    for name in (*NAMES, "one pass of the U-Net")
}
claim(
    "three-speed",
    "A GAN and a VAE take less time per sample than 25 steps of diffusion.",
    figures=dict(
        gan=compare(ms["GAN"], ms["diffusion"], "rounds"),
        vae=compare(ms["VAE"], ms["diffusion"], "rounds"),
        once=estimate(ms["one pass of the U-Net"], "rounds"),
        who="GAN",
    ),
    measured="{who} {gan.a:.2f} ms per sample of one core, VAE {vae.a:.2f}, diffusion "
    "{gan.b:.2f}; one U-Net pass {once:.2f}",
    holds=lambda gan, vae: all_of(gan.lower, vae.lower),
    null={
        "diffusion beside itself": dict(
            gan=compare(ms["diffusion"], ms["diffusion"], "rounds"), who="diffusion"
        )
    },
)

# %% [markdown]
# These are times per sample in batches of 100. Of the ratio, a factor of 25 is the number of steps. Most of a step is the
# U-Net, {{three-speed.once.mean}} ms. Lessons 17 and 18 make diffusion sample in one step.
#
# ## Between two noises
#
# Each model maps Gaussian noise to pictures: GAN and VAE 32 and 16 numbers, diffusion 256. Nine paths go along the arc from
# one noise to another (`slerp`, lesson 14). The number $t$ below the pictures is here the share of the way, not a noise
# level. Follow one picture in each panel: where does one digit become another, and does the path pass through something that
# is no digit? (One set of noises: a look, not a measurement.)
#
# <!-- Ask: Which of the three paths passes through something that is no digit? -->

# %% tags=["nbval-ignore-output"]
from course_lib.methods.interpolation import slerp
from course_lib.samplers import Step, sample
from course_lib.widgets.player import play

rng = seeded(4)
ends = {
    name: torch.randn(2, 9, shipped[name].latent, generator=rng) for name in ("GAN", "VAE")
}
ends["diffusion"] = torch.randn(2, 9, 1, 16, 16, generator=rng)


@torch.no_grad()
def sample_between(name, share):
    noise = slerp(*ends[name], share)
    return (
        sample(shipped[name], noise, 20) if name == "diffusion" else shipped[name].draw(noise)
    )


walk = [Step(share, torch.zeros(9, 1, 16, 16)) for share in torch.linspace(0, 1, 21).tolist()]
play(walk, draw=lambda step: {name: sample_between(name, step.t) for name in NAMES})

# %% [markdown]
# ## Optional, 4 minutes: what a Gaussian per pixel can do
#
# The VAE's sample is usually shown as the decoder's *mean*. A sample of $p(x \mid z)$ also has independent noise of
# standard deviation $\sigma$ in every pixel.

# %%
vae, real = shipped["VAE"], held_out[:1000]
with torch.no_grad():
    reconstructed, fresh = vae.decode(vae.encode(real[:16])[0]), vae.sample(1000, seeded(6))
noisy = fresh + vae.std * torch.randn(fresh.shape, generator=seeded(7)).to(fresh.device)
fig, axes = plt.subplots(1, 4, figsize=(11.8, 3.4))
titles = (
    "real",
    "reconstruction",
    "new: the mean",
    f"new: p(x | z), σ = {float(vae.std):.2f}",
)
for ax, made, name in zip(axes, (real, reconstructed, fresh, noisy), titles):
    plots.pictures(made[:16], columns=4, title=name, ax=ax)
plots.show(
    fig,
    alt="Sixteen digits: real; reconstructed, nearly the same; new ones, softer, some of "
    "them no digit; the same new ones under faint grain.",
)

# %% [markdown]
# Fine detail is here the share of a picture's variance that a 3 × 3 mean removes. It counts grain as detail: independent
# noise of the model's own $\sigma$ raises it too (first line).

# %%
residual = lambda x: x - nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
fine_detail = lambda x: float(
    residual(x).square().sum() / (x - x.mean((2, 3), keepdim=True)).square().sum()
)
DETAIL, of_real = "fine detail", fine_detail(real)
print(f"1,000 new means {fine_detail(fresh):.1%}, with noise {fine_detail(noisy):.1%}")
detail = lambda a: dict(
    gan=versus(DETAIL, a, "GAN"),
    diffusion=versus(DETAIL, a, "diffusion"),
    who=f"{a} beside GAN",
)
others = [fine_detail(one) for one in digits.load("train")[0][:3000].split(1000)]
new, again = (of_digits(figure, "VAE") for figure in (DETAIL, f"{DETAIL} of reconstructions"))
claim(
    "vae-blur",
    "The VAE's means have less fine detail: new ones than samples of the GAN and of "
    "diffusion, reconstructions than the digits themselves.",
    figures=detail("VAE")
    | dict(again=compare(new, again), real=of_real)
    | dict(what="reconstructions of held-out digits"),
    measured="{gan:.1%} of the variance, {who}; {what} {again.b:.1%}, held-out digits "
    "{real:.1%}",
    holds=lambda gan, diffusion, again, real: all_of(
        gan.lower, diffusion.lower, again.b.below(real)
    ),
    null={
        "diffusion": detail("diffusion"),
        "three sets of other real digits, not reconstructed": dict(
            again=compare(new, others, paired=False), what="other digits"
        ),
    },
)

# %% [markdown]
# ## What you saw
#
# - The ELBO of a VAE is {{vae-elbo-gap.gap}} nats below the true log-likelihood of 25 Gaussians, the best single Gaussian
#   {{vae-elbo-gap.gaussian}}, a uniform density {{vae-elbo-gap.uniform}}.
# - With the best discriminator one missing mode of 25 costs little, 0.03 nats in the minimax game and 0.01 with the
#   non-saturating loss, and this cost reaches the generator only through its own samples. At equal cost our GAN with Fourier
#   features covers {{diffusion-covers-modes.modes.a.mean}} of 25 modes (without them nearly all, with 23 % outside), diffusion
#   with them (alone trained with Muon) {{diffusion-covers-modes.modes.b.mean}}.
# - (Failure museum) With R1, or without features, this GAN keeps nearly all modes, with more samples outside. With features,
#   momentum 0.9 loses modes at this learning rate.
# - On digits, after a minute of one core each, GAN and diffusion cannot be told apart in distance and precision. The recall is
#   {{three-fidelity.recall}}, diffusion beside GAN; pictures of two digits at once have {{three-fidelity.spread}}. The VAE is
#   behind in distance and precision. These recipes are not equally tuned: diffusion alone has Muon and min-SNR times. A GAN
#   takes {{three-speed.gan.a.mean}} ms per sample, diffusion {{three-speed.gan.b.mean}}.

# %% [markdown]
# ## At full size
#
# - BigGAN (Brock et al. 2019) was trained on 128 to 512 TPU cores. Dhariwal and Nichol (2021) report that diffusion with
#   classifier guidance (lesson 07) is better on ImageNet: FID 2.97 at 128 × 128. With guidance and 25 passes of the network it
#   matches BigGAN-deep, with better coverage of the data. Their network for 512 × 512 has 559 million parameters.
# - Latent diffusion (Rombach et al. 2022, lesson 12) uses all three. Its autoencoder is trained with a small Kullback-Leibler
#   term and a discriminator; diffusion models its latent variables.

# %% tags=["nbval-ignore-output"]
guesses("vae-elbo-gap.gap", "diffusion-covers-modes.modes", "three-fidelity.verdict")

# %% [markdown]
# ## Think about it
#
# 1. Uniform noise covers all 25 modes, and the GAN with R1 nearly all. Which second figure tells them apart? Which generator is
#    good in that figure and bad in modes?
#
# <details><summary>Answer</summary>
#
# The share outside, which is nearly twice as high for the noise. A generator that puts all samples into one mode has none
# outside, and covers 1 mode.
#
# </details>
#
# 2. Give the VAE's Kullback-Leibler term a weight of 0. What becomes of its *reconstructions*, and of its *new* pictures?
#
# <details><summary>Answer</summary>
#
# One expects sharper reconstructions and worse new pictures (an argument, not a measurement). Nothing keeps the encoder's $z$
# near the prior, so $z \sim \mathcal N(0, \mathbf I)$ falls where the decoder was never trained.
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
# divergence (lesson 01), Frechet distance (lesson 00), precision (lesson 00), recall (lesson 00), exponential moving average
# (lesson 02), random Fourier features (lesson 04).
#
# ## In practice
#
# The autoencoder of Stable Diffusion is a VAE. In diffusers, its encoder returns the distribution $q(z \mid x)$:
#
# ```python
# import torch
# from diffusers import AutoencoderKL
#
# vae = AutoencoderKL(in_channels=1, out_channels=1, latent_channels=4,
#                     block_out_channels=(32,), norm_num_groups=8)
# x = torch.randn(2, 1, 16, 16)
# q = vae.encode(x).latent_dist
# z = q.sample(torch.Generator().manual_seed(0))  # mean + std * eps: reparameterised
# eps = torch.randn(q.mean.shape, generator=torch.Generator().manual_seed(0))
# assert torch.allclose(z, q.mean + q.std * eps)
# kl = (q.mean**2 + q.var - 1 - q.logvar).sum((1, 2, 3)) / 2
# assert torch.allclose(q.kl(), kl, rtol=1e-4)
# ```
#
# {{names}}
#
# | ours | diffusers |
# |---|---|
# | `vae.encode(x)`: mean and $\log s^2$ | `vae.encode(x).latent_dist.mean`, `.logvar` |
# | `vae.decode(z)` | `vae.decode(z).sample` |
#
# ## Next
#
# [Lesson 06](06_cascades.ipynb): large pictures in two stages, each of them a diffusion model.
