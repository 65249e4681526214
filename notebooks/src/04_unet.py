# %% [markdown]
# # 04 The U-Net: the network inside
#
# **You will be able to** write the four parts of a U-Net (time embedding, residual block, self-attention, the pass down and
# up with its skip connections) and draw digits with them. You can then look inside while it denoises, and say from
# measurements what each part contributes.
#
# **Time** 60 minutes. **Needs** lessons 00 to 02. **Papers** Olaf Ronneberger, Philipp Fischer, Thomas Brox: *U-Net* (2015);
# Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models* (2020), appendix B; Prafulla Dhariwal,
# Alex Nichol: *Diffusion Models Beat GANs on Image Synthesis* (2021), section 3; Wenjie Luo and others: *Understanding the
# Effective Receptive Field* (2016).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("04")

# %% [markdown]
# ## What does the network have to do?
#
# A noisy picture $x_t$ and a time $t$ go in; a prediction of the same size comes out. A good prediction needs the whole
# picture (is it a 3 or an 8?) and every pixel (where does the stroke end?). The **U-Net** serves both. Its **encoder** halves
# the picture step by step: each position of a small map depends on a large part of the input. Its **decoder** doubles the
# size again. At every size a **skip connection** carries the encoder's map across to the decoder, because that map still
# holds the exact positions. A **feature map** is what one channel of a layer outputs: one number for each position.
#
# This is the digit model that ships with the course. It predicts $v$ (lesson 02). A hook on every block records its output.

# %%
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
import torch

from course_lib import plots
from course_lib.datasets import digits
from course_lib.denoisers import NULL, Network
from course_lib.nets.hooks import record_activations
from course_lib.process import seeded
from course_lib.samplers import ddim, sample
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
network = models.load("digits")
x0, label = digits.load("held_out")

with record_activations(network.net) as recorded, torch.no_grad():
    network.given(NULL)(x0[:1], 500)
for name, out in recorded.items():
    what = "attention weights" if name.endswith("attention") else "feature maps"
    print(f"{name:30} {' × '.join(map(str, out.shape[1:])):>12}  {what}")

# %% [markdown]
# Read it as a **U**: down from 16 × 16 to 4 × 4 with more and more channels, and up again. A line with channels × height ×
# width is a block's feature maps. A line with heads × positions × positions, where there is one, is explained below.
#
# ## How is the network given the time?
#
# At $t = 900$ the prediction is a rough outline; at $t = 10$ it is a small correction. So $t$ is an input. A single number is
# hard to use: a linear layer can only scale it. Ho et al. (2020) took the **sinusoidal embedding** of Vaswani et al. (2017,
# section 3.5): sines and cosines of $t$ at frequencies that fall geometrically from 1 towards $1 / 10{,}000$,
#
# $$\left[\sin(t f_0), \dots, \sin(t f_{d/2-1}),\ \cos(t f_0), \dots, \cos(t f_{d/2-1})\right], \qquad
# f_i = 10{,}000^{-i / (d/2)}.$$
#
# High frequencies separate neighbouring times; low ones separate early from late.
#
# ### Exercise 1: `sinusoidal` (difficulty 1, 5 minutes)
#
# Times (B,) to vectors (B, dim). `torch.arange(dim // 2)` gives the $i$.


# %%
def my_sinusoidal(time, dim):
    """Times (B,) in steps, to (B, dim): dim / 2 sines, then dim / 2 cosines."""
    ...  # write it here


verdict = check.sinusoidal(my_sinusoidal)
my_sinusoidal = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("sinusoidal")

# %% [markdown]
# The alternative are **random Fourier features**: the frequencies are drawn once at random and kept. Tancik et al. (2020)
# made them for networks that take coordinates: without them such a network fails to learn what varies rapidly. Song et al.
# (2021) use them for the noise level. Here $f_i \sim \mathcal N(0, 16^2)$ and $t$ lies in $[0, 1]$: $[\sin 2\pi f_i t,\ \cos
# 2\pi f_i t]$.

# %%
from course_lib.nets.embeddings import fourier

t = torch.arange(1001.0)
frequency = 16 * torch.randn(64, generator=seeded(0))
embedded = {"sinusoidal": my_sinusoidal(t, 128), "random Fourier": fourier(t / 1000, frequency)}

fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.4))
for ax, (name, rows) in zip(axes, embedded.items()):
    shown = ax.imshow(rows.T, aspect="auto", extent=(0, 1000, 127, 0), cmap="cividis", vmin=-1, vmax=1)
    ax.set(title=name, xlabel="time t", ylabel="entry of the vector", xticks=[0, 500, 1000])
fig.colorbar(shown, ax=axes[:2], orientation="horizontal", shrink=0.5, ticks=[-1, 0, 1], label="value")
embedded["t / T, sinusoidal"] = my_sinusoidal(t / 1000, 128)
for (name, rows), colour, line in zip(embedded.items(), (BLUE, RED, "black"), ("-", "--", ":")):
    axes[2].plot(t, torch.cosine_similarity(rows[[500]], rows), line, color=colour, label=name)
axes[2].set(title="similarity to t = 500", xlabel="time t", ylabel="cosine similarity", ylim=(-0.4, 1.9), yticks=[0, 0.5, 1])
axes[2].legend(loc="upper left")
plots.show(
    fig,
    alt="Two heat maps of 128 entries over time. Sinusoidal: the entries go from fast to slow waves in order, sines, then "
    "cosines. Random Fourier: fast and slow waves in no order. A line plot of the cosine similarity to t = 500: both have a "
    "sharp peak of 1 at 500; away from it the sinusoidal curve falls slowly to 0.3, the Fourier one at once to about 0. The "
    "sinusoidal embedding of t / T stays near 1 at all times.",
)

# %% [markdown]
# Two small linear layers follow, and the vector of the class is added. The result, the embedding $e$, goes to every block.
#
# ## The residual block
#
# A **residual block** adds a correction to its input: two convolutions beside a path that goes **around** them. Before each
# convolution stand a **group normalisation** (groups of channels get mean 0 and variance 1) and an **activation**, the
# nonlinear function between two layers, here $\mathrm{silu}(h) = h\,\mathrm{sigmoid}(h)$. The embedding enters in between. Ho
# et al. *add* it. Dhariwal and Nichol (2021, section 3.1) let it **shift and scale** the normalised maps; they call this
# **adaptive group normalisation** (AdaGN):
#
# $$h = \mathrm{conv}_1(\mathrm{silu}(\mathrm{norm}_1(x))), \qquad
# \mathrm{AdaGN}(h, e) = (1 + e_{\text{scale}})\,\mathrm{norm}_2(h) + e_{\text{shift}},$$
# $$\mathrm{block}(x, e) = \mathrm{skip}(x) + \mathrm{conv}_2(\mathrm{silu}(\mathrm{AdaGN}(h, e))).$$
#
# Addition can only shift a map. A scale of $-1$ can also switch it off at some times.
#
# ### Exercise 2: `residual_block` (difficulty 2, 7 minutes)
#
# The layers are there: `block.norm1`, `block.conv1`, `block.norm2`, `block.conv2`, `block.skip`, and `block.modulate`, which
# makes shift and scale, side by side, of the embedding. Put them together.


# %%
def my_residual_block(block, x, emb):
    """x (B, C, H, W) and the embedding (B, E), to (B, C_out, H, W)."""
    ...  # write it here


verdict = check.residual_block(my_residual_block)
my_residual_block = verdict.function
verdict

# %%
check.solution("residual_block")

# %% [markdown]
# ## Self-attention
#
# A convolution combines neighbours. In **self-attention** each position takes a weighted mean over all positions of the same
# map. A linear layer gives each position three vectors, its **query, key and value**, $q$, $k$ and $v$. The weight of another
# position is large where its key is similar to the query; the mean is taken of the values (Vaswani et al. 2017, eq. 1):
#
# $$\mathrm{attention}(q, k, v) = \mathrm{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v.$$
#
# The softmax makes each row of weights sum to 1: these are the **attention weights**. Without $\sqrt d$ the products would
# grow with the length $d$ of the vectors, and one position would get almost all the weight. Several **heads** do this side by
# side, each with its own part of the channels. The cost grows with the square of the number of positions, so self-attention
# stands where the maps are small.
#
# ### Exercise 3: `self_attention` (difficulty 2, 5 minutes)


# %%
def my_self_attention(q, k, v):
    """The attended values, like q, k and v (B, heads, positions, d)."""
    ...  # write it here


verdict = check.self_attention(my_self_attention)
my_self_attention = verdict.function
verdict

# %%
check.solution("self_attention")

# %% [markdown]
# ## Down and up: a stack of skips
#
# Now the whole network. On the way down each block's output is also put on a stack. On the way up each block takes the last
# map off the stack, and gets its own input and that map side by side, as more channels. The last map in is the first one out:
# the sizes then agree.
#
# ### Exercise 4: `unet_forward` (difficulty 3, 12 minutes)
#
# `net.inward` is the first layer, `net.outward` the last. `net.encoder.values()` and `net.decoder.values()` are the layers in
# order: those of class `Block` take `(h, emb)`, all others take `h` and change its size. `torch.cat([h, skip], 1)` puts maps
# side by side.

# %%
from course_lib.nets.unet import Block


def my_unet_forward(net, x, emb):
    """x (B, C, H, W) and the embedding (B, E), to a prediction like x."""
    ...  # write it here


verdict = check.unet_forward(my_unet_forward)
my_unet_forward = verdict.function
verdict

# %%
check.solution("unet_forward")

# %% [markdown]
# ### Your U-Net draws
#
# The trained weights stay; all four parts are now your functions. The sampler is 25 steps of DDIM, a deterministic sampler
# that lesson 14 derives.

# %%
net = deepcopy(network.net)
net.run = lambda x, emb: my_unet_forward(net, x, emb)
net.time.forward = lambda time: net.time.mlp(my_sinusoidal(1000 * time, net.time.dim))
for block in (layer for layer in net.modules() if isinstance(layer, Block)):
    block.forward = lambda x, emb, block=block: block.attention(my_residual_block(block, x, emb))
    if heads := getattr(block.attention, "heads", 0):
        attend = lambda h, a: my_self_attention(*a.queries_keys_values(h)).transpose(-1, -2).reshape(h.shape)
        block.attention.forward = lambda h, a=block.attention, attend=attend: h + a.out(attend(h, a))

noise = network.draw_noise(10, seeded(1))
yours = sample(Network(net, network.process, "v").given(torch.arange(10)), noise, 25)
theirs = sample(network.given(torch.arange(10)), noise, 25)
print("the library's network draws the same pictures:", torch.allclose(yours, theirs, atol=1e-3))
figure = plots.pictures(yours, columns=10, title="Digits by your U-Net, from 0 to 9")
plots.show(figure, alt="Ten generated digits in a row, from 0 to 9. Most are easy to read; the 5 is broken in two.")

# %% [markdown]
# ## Look inside
#
# The network draws a five in 25 steps. Click a block to see its feature maps large; move the slider to see them change with
# $t$. Blocks with ◉ have self-attention: choose one, then click a position in the large picture to see that position's
# attention weights. They say how much of each value enters the mean. They do not say how much the output depends on a
# position: that is the next section's question.

# %%
from course_lib.widgets.explorer import explore

five = network.given(5)
explore(five, ddim(five, network.draw_noise(1, seeded(3)), network.process.times(25)))

# %% [markdown]
# ## Which input pixels does the output depend on?
#
# The **receptive field** of an output pixel is the set of input pixels that can influence it. In this network it is nearly
# the whole picture. The **effective receptive field** (Luo et al. 2016) weights them by how much they do: by $|\partial
# v_{8,8} / \partial x_t|$, the derivative of one output pixel, here near the middle. Luo et al. found it to be only a
# fraction of the receptive field. We take its mean radius: the mean distance of the input pixels from the middle, weighted by
# the derivative. If all 256 pixels counted equally, it would be {{unet-erf-widens.equal}} pixels.

# %% tags=["nbval-ignore-output"]
predict(
    "unet-erf-widens.late",
    "Equal weights would give a mean radius of 6.1 pixels. And the derivatives of the trained network at t = 800?",
    low=0,
    high=6.1,
    unit="pixels",
)

# %%
rows, columns = torch.meshgrid(torch.arange(16.0) - 8, torch.arange(16.0) - 8, indexing="ij")
distance = (rows**2 + columns**2).sqrt()
centre = (distance == 0).float()
random = deepcopy(network.net)
with torch.random.fork_rng():
    torch.manual_seed(0)
    for layer in random.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
random = Network(random, network.process, "v")


def radius(weights):
    """The mean distance from the middle for each of weights (B, 16, 16)."""
    return (weights * distance).sum((1, 2)) / weights.sum((1, 2))


def slopes(denoiser, t, pictures):
    """The derivatives of the middle pixel of v by x_t (B, 16, 16), and those of the same pixel of x0 = a x_t - b v."""
    x_t = network.process.add_noise(pictures, t, torch.randn(pictures.shape, generator=seeded(t))).requires_grad_()
    denoiser.given(NULL)(x_t, t).v[:, 0, 8, 8].sum().backward()
    a, b = network.process.signal(t), network.process.noise(t)
    return x_t.grad[:, 0], a * centre - b * x_t.grad[:, 0]


times = [1, 10, 25, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 950, 1000]
nets = {"trained": network, "random weights": random}
found = {name: [slopes(denoiser, t, x0[:100]) for t in times] for name, denoiser in nets.items()}

from matplotlib.colors import LogNorm

fig, axes = plt.subplots(1, 6, figsize=(11.5, 3.6))
for ax, t in zip(axes, (1, 25, 100, 300, 500, 800)):
    weights = found["trained"][times.index(t)][0].abs().mean(0)
    shown = ax.imshow(weights / weights.max(), cmap="cividis", norm=LogNorm(0.01, 1))
    ax.set(title=f"t = {t}", xticks=[], yticks=[])
fig.colorbar(shown, ax=axes, orientation="horizontal", shrink=0.5, label="share of the largest derivative")
fig.suptitle("Effective receptive field of the middle pixel of v", fontsize=17)
plots.show(
    fig,
    alt="Six heat maps of the effective receptive field of the middle pixel of v, on a logarithmic scale. At t = 1, 25 "
    "and 100 a spot of a few pixels is above 1 % of the largest derivative; by t = 800 it has grown to most of the picture.",
)

# %%
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.8), sharey=True)
for ax, which, title in zip(axes, (0, 1), ("of the output v", "of x̂₀ = a xₜ − b v")):
    for (name, at), colour, line in zip(found.items(), (BLUE, RED), ("-o", "--s")):
        radii = torch.stack([radius(pair[which].abs()) for pair in at])  # (times, digits)
        error = 2 * radii.std(1) / radii.shape[1] ** 0.5
        ax.errorbar(times, radii.mean(1), error, fmt=line, color=colour, ms=6, capsize=3, label=name)
    ax.axhline(float(distance.mean()), color="black", ls=":", label="equal weights")
    ax.set(title=title, xlabel="time t", ylim=(0, 7))
axes[0].set_ylabel("mean radius, in pixels")
axes[1].legend(loc="lower right")
plots.show(
    fig,
    alt="Mean radius over time, two panels, with the line of equal weights at 6.1. Left, of v: random weights stay near 5; the "
    "trained network falls from 3.5 at t = 1 to 1.9 at t = 100 and rises to 3.3 at t = 800. Right, of the predicted clean "
    "picture: both curves rise with t, that of random weights more.",
)

# %% [markdown]
# **Left**, the output itself. Random weights give a wide field at every $t$. Training has made it narrow where there is
# little noise, most of all near $t = 100$. From there it widens up to about $t = 800$, to about half of what equal weights
# would give. Below $t = 50$ the mean radius is larger again. Derivatives of under 1 % of the largest, spread over the whole
# picture, cause that; the maps hardly show them, and we did not look for their reason. At $t = 1000$ the derivatives
# themselves are nearly 0, and their radius means little.
#
# **Right**, a warning. The prediction $\hat x_0 = a\,x_t - b\,v$ contains $x_t$ itself, with a weight $a$ that falls with
# $t$. So its radius grows with $t$ even for random weights. A plot of $\hat x_0$ alone has a **confound**: a second cause,
# which changes together with the one in question. So the claim is about $v$, and on other digits than those of the plot,
# which showed us which two times to compare.

# %%
fresh = x0[500:600]
radii = {name: [radius(slopes(denoiser, t, fresh)[0].abs()) for t in (800, 100)] for name, denoiser in nets.items()}
growth = {name: compare(*pair, runs="digits") for name, pair in radii.items()}
claim(
    "unet-erf-widens",
    "The effective receptive field of the trained network's output v is wider at t = 800 than at t = 100.",
    figures=dict(
        growth=growth["trained"],
        early=growth["trained"].b,
        late=growth["trained"].a,
        equal=float(distance.mean()),
    ),
    measured="mean radius {early:.2f} pixels at t = 100, {late:.2f} at t = 800; equal weights: {equal:.1f} (one network)",
    holds=lambda growth: growth.higher,
    null={
        "random weights": dict(
            growth=growth["random weights"], early=growth["random weights"].b, late=growth["random weights"].a
        )
    },
)

# %% [markdown]
# ## What does each part contribute?
#
# An **ablation** removes or exchanges one part, trains again, and compares. The recipe is that of lesson 00, cut to 240
# steps. Each arm has three trainings, and training $i$ of all arms has the same batches and noise. It takes half an hour of
# one core, so it was done once, by
#
#     python tests/benchmarks/unet_ablation.py
#
# and its results ship as `data/figures/unet_ablation.json`. Details that matter:
#
# - A skip connection is "removed" by zeros in its place: the same work and the same parameters, without the information.
# - Without the path around them, blocks cannot start at zero as they otherwise do: no gradient would arrive. So they are
#   compared with a U-Net that has the paths and the same random start.
# - Self-attention makes a step dearer. So the U-Net without it, and the transformer below, were also trained for **equal
#   processor time**: as many steps as cost the same. The costs were measured in turns in one run.
# - Two figures are compared: the Frechet distance (lesson 00) of 500 samples, and the loss of $v$ on held-out digits. The
#   loss has less chance in it, but it does not say how the samples look.

# %% tags=["nbval-ignore-output"]
predict(
    "unet-skip-connections.ratio",
    "Zeros in place of the skip connections: how many times the Frechet distance of the whole?",
    low=1,
    high=10,
    unit="times",
)

# %% tags=["nbval-ignore-output"]
predict(
    "unet-self-attention.verdict",
    "Are both figures worse without self-attention, after equally many steps?",
    choices=["yes", "no", "cannot be told apart"],
)

# %% tags=["nbval-ignore-output"]
predict(
    "unet-time-as-fraction.verdict",
    "A program gives the embedding t / T where it is made for steps. Are both figures worse then?",
    choices=["yes", "no", "cannot be told apart"],
)

# %%
runs = figures.load("unet_ablation")
cost = runs.attrs["milliseconds a step"]
WHOLE, STARTED = "the whole", "residual paths, random start"
FIGURES = {"distance": "Frechet distance", "loss": "held-out loss"}
arms = [(part, equal) for equal in ("steps", "time") for part in cost if ((runs.part == part) & (runs.equal == equal)).any()]
name_of = lambda part, equal: part + (", equal time" if equal == "time" else "")


def of(figure, part, equal="steps"):
    """A figure of the three trainings of a part."""
    return figures.values(runs, FIGURES[figure], part=part, equal=equal)


def against(part, equal="steps", other=WHOLE):
    """Distance and loss of a part beside another's after STEPS, paired by seed."""
    return {figure: compare(of(figure, part, equal), of(figure, other)) for figure in FIGURES}


def worse(id, statement, part, equal="steps", other=WHOLE, expected=True):
    """The claim that both figures are worse for a part than for the other arm."""
    arms_of = lambda *one: {figure: np.stack([of(figure, *one), of(figure, other)]) for figure in FIGURES}
    real = arms_of(part, equal)
    null = {figure: np.column_stack([pair[::-1, 0], pair[:, 1:]]) for figure, pair in real.items()}
    scored = lambda pairs: {
        "ratio": estimate(pairs["distance"][0] / pairs["distance"][1]),
        **{figure: compare(*pair) for figure, pair in pairs.items()},
    }
    return claim(
        id,
        statement,
        figures=scored(real),
        measured="Frechet distance {distance:.2f} ({ratio:.1f} times), held-out loss {loss:.4f}",
        holds=lambda distance, loss: all_of(distance.higher, loss.higher),
        null={"the same trainings, those of one seed with their arms exchanged": scored(null)},
        control={"no skip connections": scored(arms_of("no skip connections"))} if expected is False else None,
        expected=expected,
    )


print(f"{'':30}steps  ms/step  parameters  Frechet distance     held-out loss")
for part, equal in arms:
    row = figures.where(runs, part=part, equal=equal).iloc[0]
    distance_, loss = f"{estimate(of('distance', part, equal)):.2f}", f"{estimate(of('loss', part, equal)):.4f}"
    print(f"{name_of(part, equal):30}{row.steps:5}{cost[part]:9.0f}{row.parameters:12,}{distance_:>18}{loss:>18}")

# %%
shown = [arm for arm in arms if arm[0] != WHOLE]
fig, axes = plt.subplots(1, 2, figsize=(11.8, 6.6), sharey=True)
for ax, figure, unit, ticks in zip(axes, FIGURES, (1, 0.001), ((0, 0.5, 1, 2, 5, 10, 20), (0, 5, 10, 20, 50, 100))):
    for y, (part, equal) in enumerate(shown):
        other = STARTED if part == "no residual paths" else WHOLE
        found = against(part, equal, other)[figure]
        colour, marker = {True: (RED, "s"), False: (GREEN, "D"), None: (BLUE, "o")}[found.higher]
        mean, margin = found.difference.mean / unit, found.difference.margin / unit
        ax.errorbar(mean, y, xerr=margin, fmt=marker, color=colour, ms=10, capsize=5, lw=2.5)
        ax.plot((of(figure, part, equal) - of(figure, other)) / unit, [y] * 3, "k|", ms=14, mew=1.5)
    ax.axvline(0, color="black", lw=1.2, ls=":")
    ax.set_xscale("symlog", linthresh=ticks[2])
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("difference" + ", in thousandths" * (unit < 1))
    ax.set_title(f"{FIGURES[figure]}, minus the whole's", fontsize=15)
axes[0].set_yticks(range(len(shown)), [name_of(*arm).replace(", equal", ",\nequal") for arm in shown])
axes[0].invert_yaxis()
plots.show(
    fig,
    alt="Two panels of mean differences with margins, a row for each arm. Both figures: by far the largest without skip "
    "connections and for the transformer; above 0 without residual paths, with a random start, without time and with time as a "
    "fraction; 0 lies within the margin, or nearly, without self-attention, with random Fourier time and with addition. At "
    "equal time the loss is lower without self-attention.",
)

# %% [markdown]
# **Black strokes** are the three trainings, **symbols** their means with the margin that a verdict needs: 4.3 standard errors
# of three trainings. Orange squares: worse than the other arm. Green diamonds: better. Blue circles: cannot be told apart.
# The other arm is the whole, and for the residual paths the one with the random start. Each claim asks whether *both* figures
# are worse.

# %%
from IPython.display import display

for id, what, part, more in (
    ("unet-skip-connections", "Without the skip connections' maps", "no skip connections", {}),
    ("unet-residual-paths", "Without residual paths", "no residual paths", dict(other=STARTED)),
    ("unet-zero-start", "With a random start of each block's last convolution, not 0", STARTED, {}),
    ("unet-time", "Without the time", "no time", {}),
    ("unet-self-attention", "Without self-attention", "no self-attention", dict(expected=None)),
    ("unet-attention-time", "Without it, at equal processor time", "no self-attention", dict(equal="time", expected=False)),
    ("unet-random-fourier", "With random Fourier features", "random Fourier time", dict(expected=None)),
):
    display(worse(id, f"{what}, samples and loss are both worse.", part, **more))

# %% [markdown]
# ### Addition or adaptive norm?
#
# Dhariwal and Nichol (2021, table 3) give an FID of 13.06 with AdaGN and of 15.08 with addition, on ImageNet at 128 × 128
# after 700,000 iterations. These are single figures; the table states no error. Ours are three trainings of 240 steps on
# digits. They can show a difference larger than the margin in the picture above. They cannot show whether a gain lasts when
# training goes on, or holds for other data.

# %%
worse("unet-adaptive-norm", "With addition, samples and loss are both worse.", "addition, not adaptive norm", expected=None)

# %% [markdown]
# ### How can a network do without the time?
#
# The noise level can be seen in the picture. The outermost pixels of these digits are all black, so that in $x_t$ they hold
# noise of known mean and unknown standard deviation. The most likely $t$, given these 60 pixels alone:

# %%
edge = torch.ones(16, 16, dtype=torch.bool)
edge[1:-1, 1:-1] = False
every_t = torch.arange(1, network.process.T + 1)
a, b = network.process.signal(every_t), network.process.noise(every_t)
true_t = torch.randint(1, network.process.T + 1, (1000,), generator=seeded(0))
x_t = network.process.add_noise(x0, true_t, torch.randn(x0.shape, generator=seeded(1)))
pixels = x_t[:, 0, edge].double()  # (1000, 60)
squares = pixels.square().sum(1, True) + 2 * a * pixels.sum(1, True) + 60 * a**2  # of x_t + a, at every t
log_p = -squares / (2 * b**2) - 60 * b.log()
likely_t = every_t[log_p.argmax(1)]


def off(guess):
    """The mean error of guesses of the time, in steps."""
    return estimate((guess - true_t).abs(), runs="digits")


claim(
    "unet-noise-level-visible",
    "A noisy digit shows its time: from its outermost pixels alone, t is found to within 50 of 1,000 steps on average.",
    figures=dict(off=off(likely_t)),
    measured="a mean error of {off:.0f} steps",
    holds=lambda off: off.below(50),
    null={"always t = 500": dict(off=off(torch.tensor(500)))},
)

# %% [markdown]
# So the information is there. (Whether the network uses it in this way was not measured.) Sun et al. (2025) trained many
# models without the noise level; most became only a little worse, and some better.
#
# ## A transformer beside the U-Net
#
# Does it have to be a U-Net? A **diffusion transformer** (Peebles and Xie 2023) has one size only, no convolutions and no
# skip connections across. It cuts the picture into patches, here of 2 × 2 pixels. Each of the 64 patches becomes a vector,
# and a positional encoding is added. Then come blocks of self-attention and a small network for each position. Time and class
# enter by an adaptive norm, as above. The last layer turns each vector into a patch again. Ours has 4 blocks and about as
# many parameters as the U-Net; its source is `Transformer` in `tests/benchmarks/unet_ablation.py`, 25 lines. Lesson 25 (to
# come) builds one by hand.
#
# It was trained with the same batches, noise, optimiser and rates. These were chosen for the U-Net; AdamW alone gave the
# transformer about the same loss, in one short training. A step costs the transformer over twice the U-Net's time (see the
# table). So at equal processor time it has fewer than half of the steps.

# %%
display(
    worse("unet-transformer", "After equally many steps, a transformer's samples and loss are both worse.", "a transformer")
)
worse(
    "unet-transformer-time",
    "At equal processor time, a transformer's samples and loss are both worse.",
    "a transformer",
    "time",
)

# %% [markdown]
# ## Failure museum: the wrong unit of time
#
# The embedding is made for $t$ in steps, 0 to 1,000. Many programs keep time as a fraction, and pass $t / T$. Nothing
# crashes. But all times then get nearly the same vector: the dotted line of this lesson's first figure. Trained so, the
# network is worse than with $t$ in steps:

# %%
worse("unet-time-as-fraction", "With t / T, samples and loss are both worse.", "time as a fraction")

# %%
columns_first = lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v
print("time as a fraction:", check.sinusoidal(lambda time, dim: my_sinusoidal(time / 1000, dim)).diagnosis)
print("softmax over the wrong axis:", check.self_attention(columns_first).diagnosis)

# %% [markdown]
# ## What you saw
#
# - Four functions make a U-Net. Yours draw the digits that the library's draws.
# - The effective receptive field of the trained network is narrow where there is little noise (mean radius
#   {{unet-erf-widens.early}} pixels at $t = 100$) and wider where there is much ({{unet-erf-widens.late}} at $t = 800$).
#   Random weights do not do so.
# - Zeros in place of the skip connections' maps multiply the Frechet distance by {{unet-skip-connections.ratio}} after 240
#   steps.
# - Without the time it is multiplied by {{unet-time.ratio}}. A time as a fraction, where steps are expected, costs
#   {{unet-time-as-fraction.ratio}}. Even so a noisy digit shows its time, to within {{unet-noise-level-visible.off}} steps.
# - After equally many steps, self-attention cannot be told apart from none. At equal processor time the loss is lower without
#   it, {{unet-attention-time.loss}}: at 16 × 16, in a training this short, it does not pay for its cost.
# - The sinusoidal embedding cannot be told apart from random Fourier features. That is no proof that they are equal. With
#   addition the loss is higher, {{unet-adaptive-norm.loss}}; the Frechet distances cannot be told apart.
# - A transformer with about as many parameters is far behind: {{unet-transformer.ratio}} times the Frechet distance after 240
#   steps, {{unet-transformer-time.ratio}} times at equal processor time. Whether it stays so, trainings this short do not
#   say.
#
# ## At full size
#
# Ho et al.'s network for CIFAR-10 has 35.7 million parameters, four sizes from 32 × 32 to 4 × 4, two residual blocks at each,
# and self-attention at 16 × 16. It trained for 10.6 hours on a TPU v3-8. For pictures of 256 × 256 they used six sizes and
# 114 million parameters. Dhariwal and Nichol put self-attention at 32 × 32, 16 × 16 and 8 × 8, and improved the FID on
# ImageNet at 128 × 128 by 0.7. Peebles and Xie's largest transformer, DiT-XL/2, works on latents (lesson 12). It reaches an
# FID of 2.27 on ImageNet at 256 × 256, with guidance (lesson 08), after 7 million steps. One evaluation costs 118.6 Gflops.
# Ours has 0.41 million parameters and the same parts.

# %% tags=["nbval-ignore-output"]
guesses("unet-erf-widens.late", "unet-skip-connections.ratio", "unet-self-attention.verdict", "unet-time-as-fraction.verdict")

# %% [markdown]
# ## Think about it
#
# 1. The skip connection at the finest size carries a map that is close to the noisy input. Why does a network that predicts
#    $\epsilon$ or $v$ need it? Would one that predicts $x_0$ need it as much?
#
# <details><summary>Answer</summary>
#
# The noise is different in every pixel, and $\epsilon$ and $v$ contain it. So the output needs every pixel of the input,
# which only the finest map holds without loss. The prediction of $x_0$ at large $t$ is a smooth picture, for which the coarse
# maps may be enough. At small $t$ it is nearly $x_t$ itself, and the argument is the same as for $\epsilon$. (This is an
# argument, not a measurement: you could train the benchmark's arm with another view.)
#
# </details>
#
# 2. Exchange two positions of a map. What happens to the result of self-attention? How can the network still use where things
#    are?
#
# <details><summary>Answer</summary>
#
# The results of the two positions are exchanged and nothing else changes: no position enters the formula. In a U-Net the
# convolutions before it bring position in, because they see zeros beyond the border. A transformer has no convolutions. There
# a positional encoding is added to the vectors of the patches.
#
# </details>
#
# ## Words
#
# - **U-Net**: a network with an encoder that halves the size, a decoder that doubles it, and skip connections across.
# - **skip connection**: a path that carries a feature map around other layers, here from encoder to decoder.
# - **feature map**: what one channel of a layer outputs, a number for each position.
# - **sinusoidal embedding**: sines and cosines of a number at fixed frequencies, as a vector.
# - **random Fourier features**: sines and cosines of a number at frequencies drawn at random once.
# - **residual block**: layers whose output is added to their input.
# - **group normalisation**: shifts and scales groups of channels to mean 0 and variance 1.
# - **activation**: the nonlinear function between two layers, such as SiLU.
# - **adaptive group normalisation**: group normalisation whose shift and scale depend on an input, such as time and class;
#   AdaGN.
# - **self-attention**: a layer in which each position takes a weighted mean over all positions of the same map.
# - **query, key and value**: the three vectors of a position in attention; query and key give the weights, the mean is of
#   values.
# - **attention weights**: the softmax of the products of queries and keys; each query's weights sum to 1.
# - **receptive field**: the set of input pixels that can influence an output pixel.
# - **effective receptive field**: the same, weighted by the size of the derivative.
# - **confound**: a second cause that changes together with the one in question.
# - **ablation**: an experiment that removes or exchanges one part and trains again.
# - **equal processor time**: as many steps for each arm as cost the same computing time.
# - **diffusion transformer**: a denoiser of self-attention blocks over patches of the picture, without a U-Net's two paths;
#   DiT.
#
# Used again: Frechet distance (lesson 00), v-prediction (lesson 02).
#
# ## In practice
#
# In diffusers the same network is a `UNet2DModel`, here with two sizes:
#
# ```python
# import torch
# from diffusers import UNet2DModel
#
# net = UNet2DModel(
#     sample_size=16, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=8, attention_head_dim=32,
#     block_out_channels=(32, 64), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
#     up_block_types=("AttnUpBlock2D", "UpBlock2D"), resnet_time_scale_shift="scale_shift", num_class_embeds=11,
# )
# x_t, t, label = torch.randn(2, 1, 16, 16), torch.tensor([500, 20]), torch.tensor([3, 10])
# out = net(x_t, t, class_labels=label).sample
# assert out.shape == x_t.shape
# ```
#
# | our name | diffusers' name |
# |---|---|
# | `Block` | `ResnetBlock2D` |
# | `Block(modulation="norm")`, adaptive group normalisation | `resnet_time_scale_shift="scale_shift"` |
# | `Attention` | `Attention`, in an `AttnDownBlock2D` |
# | `encoder`, `decoder` | `down_blocks`, `up_blocks`; between them a `mid_block`, which ours lacks |
# | `TimeEmbedding`, of $t / T$ | `Timesteps` and `TimestepEmbedding`, of $t$ in steps |
# | `NULL`, the null condition | an eleventh class, by convention |
#
# ## Next
#
# [Lesson 05](05_gan_vae_diffusion.ipynb) compares diffusion with a GAN and a VAE on the same digits.
