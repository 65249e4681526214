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
# picture (is it a 3 or an 8?) and every pixel (where does the stroke end?). The **U-Net** serves both. Ronneberger et al.
# (2015) made it for segmentation, which gives each pixel a class. Its **encoder** halves the picture step by step: each
# position of a small map depends on a large part of the input. Its **decoder** doubles the size again. At every size a
# **skip connection** carries the encoder's map across to the decoder, because that map still holds the exact positions.
#
# Most layers are **convolutions**: each output is a weighted sum of the inputs around its position, with the same weights at
# every position. A layer outputs several **channels**, each with weights of its own. A **feature map** is what one channel
# outputs: one number for each position.

# %%
from copy import deepcopy

import matplotlib.pyplot as plt
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
from matplotlib.colors import LogNorm

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
network = models.load("digits")
x0, label = digits.load("held_out")

fig, ax = plt.subplots(figsize=(11.5, 4.6))
ax.set(
    xlim=(-0.9, 7.9),
    ylim=(-1, 2.8),
    title="The U-Net of the digits: blocks as channels × height × width",
)
ax.axis("off")
arrow = lambda start, end, colour: ax.annotate(
    "", end, start, arrowprops=dict(arrowstyle="-|>", lw=2.5, color=colour)
)
for level, shape in enumerate(("16 × 16 × 16", "32 × 8 × 8", "64 × 4 × 4")):
    left, right, y = level, 7 - level, 2 - level
    for x in (left, right):
        ax.text(
            x,
            y,
            shape,
            ha="center",
            va="center",
            bbox=dict(boxstyle="round", fc="white", ec=BLUE, lw=2.5),
        )
    arrow((left + 0.75, y), (right - 0.75, y), RED)
    ax.text(3.5, y + 0.1, "skip connection", ha="center", color=RED)
    if level:
        arrow((left - 1, y + 0.8), (left - 0.2, y + 0.2), "black")
        arrow((right + 0.2, y + 0.2), (right + 1, y + 0.8), "black")
ax.text(0, 2.45, "noisy picture $x_t$", ha="center")
ax.text(7, 2.45, "prediction of $v$", ha="center")
ax.text(3.5, -0.85, "time t and class: an embedding, given to every block", ha="center")
arrow((3, -0.6), (2.3, -0.2), GREEN)
arrow((4, -0.6), (4.7, -0.2), GREEN)
plots.show(
    fig,
    alt="A diagram in the shape of a U. Three blocks go down on the left: 16 channels of "
    "16 × 16, 32 of 8 × 8, 64 of 4 × 4. Three of the same sizes go up on the right. A skip "
    "connection leads from each left block to the right one of its size. Below, arrows from "
    "the embedding of time and class point to the blocks.",
)

# %% [markdown]
# This is the digit model that ships with the course. It predicts $v$ (lesson 02). A hook, a function that PyTorch calls after
# a layer, records the output of every block.

# %%
with record_activations(network.net) as recorded, torch.no_grad():
    network.given(NULL)(x0[:1], 500)
for name, out in recorded.items():
    what = "attention weights" if name.endswith("attention") else "feature maps"
    print(f"{name:30} {' × '.join(map(str, out.shape[1:])):>12}  {what}")

# %% [markdown]
# A line with channels × height × width is a block's feature maps; heads × positions × positions are explained below.
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
# An alternative is **random Fourier features**: the frequencies are drawn once at random and kept. Tancik et al. (2020) made
# them for networks that take coordinates: without them such a network fails to learn high frequencies. Song et al. (2021) use
# them for the time, with a scale of 16. Here $f_i \sim \mathcal N(0, 16^2)$ and $t$ lies in $[0, 1]$: $[\sin 2\pi f_i t,\ \cos
# 2\pi f_i t]$.

# %%
from course_lib.nets.embeddings import fourier

t = torch.arange(1001.0)
frequency = 16 * torch.randn(64, generator=seeded(0))
embedded = {
    "sinusoidal": my_sinusoidal(t, 128),
    "random Fourier": fourier(t / 1000, frequency),
}

fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.4))
for ax, (name, rows) in zip(axes, embedded.items()):
    shown = ax.imshow(
        rows.T, aspect="auto", extent=(0, 1000, 127, 0), cmap="cividis", vmin=-1, vmax=1
    )
    ax.set(title=name, xlabel="time t", ylabel="entry of the vector", xticks=[0, 500, 1000])
fig.colorbar(
    shown, ax=axes[:2], orientation="horizontal", shrink=0.5, ticks=[-1, 0, 1], label="value"
)
embedded["t / T, sinusoidal"] = my_sinusoidal(t / 1000, 128)
for (name, rows), colour, line in zip(
    embedded.items(), (BLUE, RED, "black"), ("-", "--", ":")
):
    axes[2].plot(t, torch.cosine_similarity(rows[[500]], rows), line, color=colour, label=name)
axes[2].set(
    title="similarity to t = 500",
    xlabel="time t",
    ylabel="cosine similarity",
    ylim=(-0.4, 1.9),
    yticks=[0, 0.5, 1],
)
axes[2].legend(loc="upper left")
plots.show(
    fig,
    alt="Two heat maps of 128 entries over time. Sinusoidal: the entries go from fast to slow "
    "waves in order, sines, then cosines. Random Fourier: fast and slow waves in no order. A "
    "line plot of the cosine similarity to t = 500: both have a sharp peak of 1 at 500. Away "
    "from it the sinusoidal curve falls slowly to 0.3, the Fourier one at once to about 0. "
    "The sinusoidal embedding of t / T stays near 1 at all times.",
)

# %% [markdown]
# Two small linear layers follow, and the vector of the class is added. The result, the embedding $e$, goes to every block.
#
# ## The residual block
#
# A **residual block** adds a correction to its input: two convolutions in parallel with a path that skips them. Before each
# convolution stand a **group normalisation** and an **activation**. The first gives the channels of a group mean 0 and
# variance 1, over all positions of one picture. The second is the nonlinear function between two layers, here
# $\mathrm{silu}(h) = h\,\mathrm{sigmoid}(h)$. The embedding enters in between. Ho et al. add it before the second norm,
# $\mathrm{norm}_2(h + e)$. In the **adaptive group normalisation** (AdaGN) of Dhariwal and Nichol (2021, section 3.1) it comes
# after that norm, and sets each channel's scale and shift directly:
#
# $$h = \mathrm{conv}_1(\mathrm{silu}(\mathrm{norm}_1(x))), \qquad
# \mathrm{AdaGN}(h, e) = (1 + e_{\text{scale}})\,\mathrm{norm}_2(h) + e_{\text{shift}},$$
# $$\mathrm{block}(x, e) = \mathrm{skip}(x) + \mathrm{conv}_2(\mathrm{silu}(\mathrm{AdaGN}(h, e))).$$
#
# ### Exercise 2: `residual_block` (difficulty 2, 6 minutes)
#
# The layers are there: `block.norm1`, `block.conv1`, `block.norm2`, `block.conv2`, `block.skip`, and `block.modulate`, a linear
# layer of the embedding. Its output's `chunk(2, 1)` gives first shift, then scale. `[:, :, None, None]` makes them fit all
# positions. `silu` is `torch.nn.functional.silu`.


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
# position is large where its key is similar to the query. The mean is taken of the values (Vaswani et al. 2017, eq. 1):
#
# $$\mathrm{attention}(q, k, v) = \mathrm{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v.$$
#
# The softmax makes each row of weights sum to 1: these are the **attention weights**. Without $\sqrt d$ the products would
# grow with the length $d$ of the vectors, and one position would get almost all the weight. Several **heads** do this side by
# side, each with its own part of the channels. The cost grows with the square of the number of positions, so self-attention
# stands where the maps are small. It follows the residual block's sum $h$, as $h + \mathrm{out}(\mathrm{attention}(
# \mathrm{norm}(h)))$, where "out" is a linear layer.
#
# ### Exercise 3: `self_attention` (difficulty 2, 4 minutes)
#
# `q`, `k` and `v` are (B, heads, positions, d). `k.mT` exchanges the last two axes. The softmax runs over the last axis, the
# keys.


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
# Now the whole network. Going down, a convolution of stride 2 (at every second position) halves the size. Going up, a
# transposed convolution makes 2 × 2 positions of each. On the way down each block's output is also put on a stack. On the way
# up each block takes the last map off the stack, and gets its own input and that map side by side, as more channels (so did
# Ronneberger et al.). The last map in is the first one out: the sizes then agree. Only outputs of blocks are stacked. So the
# deepest map of the encoder is both the input of the first decoder block and its skip.
#
# ### Exercise 4: `unet_forward` (difficulty 3, 11 minutes)
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
# The trained weights stay; all four parts are now your functions. The library's networks are given $t / T$, so `1000 * time`
# makes steps of it. The sampler is 25 steps of DDIM, a deterministic sampler that lesson 14 derives.

# %%
net = deepcopy(network.net)
net.run = lambda x, emb: my_unet_forward(net, x, emb)
net.time.forward = lambda time: net.time.mlp(my_sinusoidal(1000 * time, net.time.dim))
for block in (layer for layer in net.modules() if isinstance(layer, Block)):
    block.forward = lambda x, emb, block=block: block.attention(
        my_residual_block(block, x, emb)
    )
    if heads := getattr(block.attention, "heads", 0):
        attend = lambda h, a: (
            my_self_attention(*a.queries_keys_values(h)).transpose(-1, -2).reshape(h.shape)
        )
        block.attention.forward = lambda h, a=block.attention, attend=attend: (
            h + a.out(attend(h, a))
        )

noise = network.draw_noise(10, seeded(1))
yours = sample(Network(net, network.process, "v").given(torch.arange(10)), noise, 25)
theirs = sample(network.given(torch.arange(10)), noise, 25)
print(
    "the library's network draws the same pictures:", torch.allclose(yours, theirs, atol=1e-3)
)
figure = plots.pictures(yours, columns=10, title="Digits by your U-Net, from 0 to 9")
plots.show(
    figure,
    alt="Ten generated digits, 0 to 9. Most are easy to read; the 5 is broken in two.",
)

# %% [markdown]
# ## Look inside
#
# The network draws a five in 25 steps. Click a block to see its feature maps large; move the slider to see them change with
# $t$. Blocks with ◉ have self-attention: choose one, then click a position in the large picture to see that position's
# attention weights. They say how much of each value enters the mean. They do not say how much the output depends on a
# position: an optional section below measures that.

# %%
from course_lib.widgets.explorer import explore

five = network.given(5)
explore(five, ddim(five, network.draw_noise(1, seeded(3)), network.process.times(25)))

# %% [markdown]
# ## What does each part contribute?
#
# An **ablation** removes or exchanges one part, trains again, and compares. The recipe is that of lesson 00, cut to 240
# steps. Each arm has five trainings, the transformer three. Training $i$ has the same batches and noise in all arms, and is
# compared with training $i$ of the full U-Net. It takes over half an hour of one core. It was done once, by `python
# tests/benchmarks/unet_ablation.py`, and ships as `data/figures/unet_ablation.json`. The arms:
#
# - **No skip connections**: zeros in place of the encoder's maps. Work and parameters stay the same.
# - **No residual paths**: a block outputs what its convolutions output. A block's last convolution otherwise starts at 0.
#   Without the path no gradient would then arrive, so here it starts at random.
# - **Residual paths, random start**: the full U-Net, but these convolutions start at random. The arm without residual paths
#   is compared with this one.
# - **Constant time**: the network is always given the embedding of $t = 500$. Work and parameters stay the same.
# - **Time as a fraction**: the sinusoidal embedding of $t / T$, not of $t$. **Random Fourier time**: the other embedding.
# - **Addition, not adaptive norm**: the embedding is added, as by Ho et al.
# - **No self-attention**: without the attention layers.
# - **A transformer**: another network, described in the next section.
#
# Self-attention makes a step more expensive. So two arms also have a version at **equal processor time**: as many steps as
# cost the same as 240 of the full U-Net. Costs were measured in turns in one run. Two figures are compared: the Frechet
# distance (lesson 00) of 500 samples, and the loss of $v$ on held-out digits. The loss varies less between trainings, but it
# does not say how the samples look.
#
# The null model is compared like an arm: five trainings of the full U-Net with new seeds, for start, batches and noise.

# %% tags=["nbval-ignore-output"]
predict(
    "unet-parts-that-count.skips",
    "Zeros in place of the skip connections: "
    "how many times the full U-Net's Frechet distance?",
    low=1,
    high=30,
    unit="times",
)

# %% tags=["nbval-ignore-output"]
predict(
    "unet-smaller-changes.verdict",
    "Random start, random Fourier time, addition, no self-attention: "
    "are both figures worse in each?",
    choices=["yes", "no", "cannot be told apart"],
)

# %%
FULL, STARTED = "the full U-Net", "residual paths, random start"
AGAIN = "the full U-Net, new seeds"
ARMS = [
    AGAIN,
    "no skip connections",
    "no residual paths",
    STARTED,
    "constant time",
    "time as a fraction",
    "random Fourier time",
    "addition, not adaptive norm",
    "no self-attention",
    "no self-attention, equal time",
    "a transformer",
    "a transformer, equal time",
]
FIGURES = {"Frechet distance": (1, ".2f"), "held-out loss": (1000, ".1f")}  # in thousandths
TICKS = (-0.5, 0, 0.5, 1, 2, 5, 10, 20), (-5, 0, 5, 10, 20, 50, 100)
LOOKS = {True: (RED, "s", "worse"), False: (GREEN, "D", "better"), None: (BLUE, "o", "≈")}
SMALL = dict(ha="right", va="center", fontsize=12, bbox=dict(fc="white", ec="none", pad=1))
runs = figures.load("unet_ablation").sort_values("seed")


def trainings(arm):
    """The trainings of an arm."""
    part, _, equal = arm.partition(", equal ")
    return figures.where(runs, part=part, equal=equal or "steps")


def pair(arm, figure):
    """A figure of an arm's trainings, and of those that they are compared with."""
    arms = arm, STARTED if arm == "no residual paths" else FULL
    a, b = (FIGURES[figure][0] * trainings(of)[figure].to_numpy() for of in arms)
    return a, b[: len(a)]


against = {arm: {figure: compare(*pair(arm, figure)) for figure in FIGURES} for arm in ARMS}
fig, axes = plt.subplots(1, 2, figsize=(11.8, 11), sharey=True)
for ax, ticks, (figure, (_, spec)) in zip(axes, TICKS, FIGURES.items()):
    for y, arm in enumerate(ARMS):
        gap, (a, b) = against[arm][figure].difference, pair(arm, figure)
        colour, marker, verdict = LOOKS[against[arm][figure].higher]
        ax.errorbar(gap.mean, y, xerr=gap.margin, fmt=marker, color=colour, ms=10, capsize=6)
        ax.plot(a - b, [y] * len(a), "k|", ms=14, mew=1.5)
        text = f"{gap:+{spec}} (margin {gap.margin:{spec}}) {verdict}"
        ax.annotate(text, (1, y - 0.3), xycoords=ax.get_yaxis_transform(), **SMALL)
    ax.axvline(0, color="black", lw=1.2, ls=":")
    ax.set_xscale("symlog", linthresh=ticks[3])
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel(f"difference (logarithmic beyond {ticks[3]})")
    ax.set_title(figure + ", in thousandths" * (figure != "Frechet distance"))
labels = []
for arm in ARMS:
    rows, beside = trainings(arm), " (beside the next)" * (arm == "no residual paths")
    steps, parameters = rows.iloc[0][["steps", "parameters"]]
    labels.append(f"{arm}{beside}\n{steps} steps, {parameters:,}, n = {len(rows)}")
axes[0].set_yticks(range(len(ARMS)), labels)
axes[0].invert_yaxis()
full = [f"{estimate(pair(FULL, figure)[0]):{spec}}" for figure, (_, spec) in FIGURES.items()]
title = "Differences from the full U-Net (distance {}, loss {})".format(*full)
fig.suptitle(title, fontsize=18)
plots.show(
    fig,
    alt="Two panels of differences with margins, a row for each arm: Frechet distance and "
    "held-out loss. By far the largest: no skip connections and the transformer. Above 0 in "
    "both: no residual paths, constant time, time as a fraction. The others lie near 0, as "
    "does the null model. One is below: the loss without self-attention at equal time.",
)

# %% [markdown]
# A row is an arm: below its name its steps, its parameters and its number of trainings $n$. **Black strokes** are the
# differences of its trainings, the **symbol** their mean, which the number repeats with ± one standard error. **Bars** are
# the margin that a verdict needs: 2.8 standard errors of five paired differences, 4.3 of three. Orange squares: worse. Green
# diamonds: better. Blue circles (≈): cannot be told apart. "No residual paths" is compared with the arm below it.
#
# Eleven arms and two figures give 22 verdicts at the level of 5 %: one is expected by chance.
# The claims therefore ask whether *both* figures are worse, in each of their arms. What decides is the smallest difference,
# in margins. The first claim is about what a path or an input carries.


# %%
def figures_of(arms):
    """Each arm's ratio of distances (name: arm), and the differences that decide."""
    of = lambda figure: [against[arm][figure] for arm in arms.values()]
    distances, losses = map(of, FIGURES)
    in_margins = lambda found: found.difference.mean / found.difference.margin
    ratios = {name: found.a.mean / found.b.mean for name, found in zip(arms, distances)}
    return ratios | dict(
        distance=min(distances, key=in_margins), loss=min(losses, key=in_margins)
    )


def worse(id, statement, expected=True, **arms):
    """The claim that in each of these arms samples and loss are both worse."""
    return claim(
        id,
        statement,
        figures=figures_of(arms),
        measured="Frechet distance times "
        + ", ".join(f"{{{name}:.1f}}" for name in arms)
        + "; smallest in margins: distance {distance.difference:+.2f}, "
        "loss {loss.difference:+.1f} thousandths",
        holds=lambda distance, loss: all_of(distance.higher, loss.higher),
        null={AGAIN: figures_of(dict.fromkeys(arms, AGAIN))},
        expected=expected,
    )


worse(
    "unet-parts-that-count",
    "Without skip connections, without residual paths, and at a constant time, "
    "samples and loss are both worse.",
    skips="no skip connections",
    paths="no residual paths",
    time="constant time",
)

# %% [markdown]
# The second is about smaller changes:

# %%
worse(
    "unet-smaller-changes",
    "With a random start, with random Fourier features, with addition, and without "
    "self-attention, samples and loss are both worse.",
    start=STARTED,
    fourier="random Fourier time",
    added="addition, not adaptive norm",
    unattended="no self-attention",
    expected=None,
)

# %% [markdown]
# - **Random Fourier time, addition, no self-attention**, after equally many steps: neither figure can be told apart.
# - **Random start**: the loss is higher; the distances cannot be told apart.
# - **No self-attention, equal time**: the loss is lower; the distances cannot be told apart. This may be chance.
#
# Three arms have fewer parameters (see the plot). With addition, without self-attention and with random Fourier features the
# random start differs too.
#
# Dhariwal and Nichol (2021, table 3) give an FID of 13.06 with AdaGN and of 15.08 with addition, on ImageNet at 128 × 128
# after 700,000 iterations. These are single figures; the table states no error. Our 240 steps on digits do not show what
# happens later in a training, or on other data.
#
# ## A transformer beside the U-Net
#
# Does it have to be a U-Net? A **diffusion transformer** (Peebles and Xie 2023) has one size only, no convolutions and no
# skip connections across. It cuts the picture into patches, here of 2 × 2 pixels. Each of the 64 patches becomes a vector,
# and a positional encoding is added. Then come blocks of self-attention and a small network for each position. Time and class
# enter by an adaptive norm, as above. The last layer turns each vector into a patch again. Ours has 4 blocks and about as
# many parameters as the U-Net; its source is `Transformer` in `tests/benchmarks/unet_ablation.py`, 25 lines. Lesson 25 (to
# come) builds one.
#
# It was trained with the same batches, noise, optimisers and rates, which were chosen for the U-Net. Its steps cost more:
# at equal processor time it has 104 of them, the U-Net 240.

# %%
worse(
    "unet-transformer",
    "With a transformer, after equally many steps and at equal processor time, "
    "samples and loss are both worse.",
    steps="a transformer",
    time="a transformer, equal time",
)

# %% [markdown]
# ## How can a network do without the time?
#
# At a constant time the samples are worse, but far better than without skip connections. The picture shows the noise level.
# The outermost pixels of these digits are all black, so that in $x_t$ they hold noise of known mean and unknown standard
# deviation. The most likely $t$ can be computed from these 60 pixels alone.

# %% tags=["nbval-ignore-output"]
predict(
    "unet-noise-level-visible.error",
    "The guess t = 500 has a mean error of 250 steps. And the most likely t, "
    "given the 60 pixels?",
    low=0,
    high=250,
    unit="steps",
)

# %%
edge = torch.ones(16, 16, dtype=torch.bool)
edge[1:-1, 1:-1] = False
every_t = torch.arange(1, network.process.T + 1)
a, b = network.process.signal(every_t), network.process.noise(every_t)
true_t = torch.randint(1, network.process.T + 1, (1000,), generator=seeded(0))
x_t = network.process.add_noise(x0, true_t, torch.randn(x0.shape, generator=seeded(1)))
pixels = x_t[:, 0, edge].double()  # (1000, 60)
squares = (
    pixels.square().sum(1, True) + 2 * a * pixels.sum(1, True) + 60 * a**2
)  # of x_t + a, at every t
log_p = -squares / (2 * b**2) - 60 * b.log()
likely_t = every_t[log_p.argmax(1)]


def beside_constant(guess):
    """The error of guesses of the time, in steps, beside that of t = 500."""
    off = lambda t: (t - true_t).abs()
    found = compare(off(guess), off(torch.tensor(500)), runs="digits")
    return dict(gap=found, error=found.a, constant=found.b)


claim(
    "unet-noise-level-visible",
    "A noisy digit shows its time: from the outermost pixels alone, "
    "t is found with a smaller error than without the picture.",
    figures=beside_constant(likely_t),
    measured="a mean error of {error:.0f} steps; always t = 500: {constant:.0f}; "
    "difference {gap.difference:+.0f}",
    holds=lambda gap: gap.lower,
    null={"the most likely t of another digit": beside_constant(likely_t.roll(1))},
)

# %% [markdown]
# So the information is there. (Whether the network uses it in this way was not measured.) Sun et al. (2025) trained many
# models without the noise level; most became only a little worse, and some better.
#
# ## Failure museum: the wrong unit of time
#
# The embedding is made for $t$ in steps, 0 to 1,000. Many programs keep time as a fraction, and pass $t / T$. Nothing
# crashes. But all times then get nearly the same vector: the dotted line in the figure below exercise 1. Trained so, the
# network is worse than with $t$ in steps:

# %%
worse(
    "unet-time-as-fraction",
    "With t / T, samples and loss are both worse than with t in steps.",
    fraction="time as a fraction",
)

# %% [markdown]
# The checks name this mistake, and a softmax over the wrong axis:

# %%
columns_first = lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v
fractions = check.sinusoidal(lambda time, dim: my_sinusoidal(time / 1000, dim))
print("time as a fraction:", fractions.diagnosis)
print("softmax over the wrong axis:", check.self_attention(columns_first).diagnosis)

# %% [markdown]
# ## Optional: which input pixels does the output depend on?
#
# The **receptive field** of an output pixel is the set of input pixels that can influence it. In this network it is the whole
# picture: group normalisation alone mixes all positions. The **effective receptive field** (Luo et al. 2016) weights the input
# pixels by $|\partial v_{8,8} / \partial x_t|$, the derivative of one output pixel, here near the middle. Luo et al. found it
# to be only a fraction of the receptive field.
#
# We leave out the middle input pixel. By lesson 02 the best prediction is $v = (a\,x_t - E[x_0 \mid x_t]) / b$. So $v_{8,8}$
# contains its own pixel of $x_t$ with the weight $a / b$, which falls from 5.9 at $t = 100$ to 0.3 at $t = 800$. That is a
# **confound**: a second cause, which changes together with the one in question.
#
# We take the mean radius: the mean distance of the other pixels from the middle, weighted by the derivative. If all 255 counted
# equally, it would be {{unet-erf-widens.equal}} pixels.

# %%
rows, columns = torch.meshgrid(torch.arange(16.0) - 8, torch.arange(16.0) - 8, indexing="ij")
distance = (rows**2 + columns**2).sqrt()
others = distance > 0  # all pixels but the middle one
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
    """The sizes of the derivatives of the middle pixel of v by x_t (B, 16, 16)."""
    x_t = network.process.add_noise(
        pictures, t, torch.randn(pictures.shape, generator=seeded(t))
    ).requires_grad_()
    denoiser.given(NULL)(x_t, t).v[:, 0, 8, 8].sum().backward()
    return x_t.grad[:, 0].abs()


fig, axes = plt.subplots(1, 6, figsize=(11.5, 3.6))
for ax, t in zip(axes, (1, 25, 100, 200, 500, 800)):
    weights = slopes(network, t, x0[:100]) * others
    weights = (weights / weights.sum((1, 2), keepdim=True)).mean(0)
    weights[8, 8] = torch.nan
    shown = ax.imshow(weights / weights[others].max(), cmap="cividis", norm=LogNorm(0.001, 1))
    ax.set(title=f"t = {t}", xticks=[], yticks=[])
fig.colorbar(
    shown, ax=axes, orientation="horizontal", shrink=0.5, label="share of the largest shown"
)
fig.suptitle("Effective receptive field of the output's middle pixel", fontsize=17)
plots.show(
    fig,
    alt="Six heat maps on a logarithmic scale, the middle pixel white. At t = 1 and 25 a "
    "small bright spot on an even background. From t = 100 to t = 800 the rim fades, and a "
    "patch of about the size of a digit brightens around the spot.",
)

# %% [markdown]
# (100 digits.) From $t = 200$ to $t = 800$ the field widens a little. We chose these two times on the digits of this
# picture; the claim is about 200 others. With the middle pixel the field would seem to widen much more, because the middle
# pixel's own share of the sum falls.


# %%
def widening(denoiser):
    late, early = (slopes(denoiser, t, x0[100:300]) for t in (800, 200))
    growth = compare(radius(late * others), radius(early * others), runs="digits")
    naive = compare(radius(late), radius(early), runs="digits").difference
    return dict(growth=growth, early=growth.b, late=growth.a, naive=naive)


claim(
    "unet-erf-widens",
    "Without the middle pixel, the effective receptive field of the trained network "
    "is wider at t = 800 than at t = 200.",
    figures=dict(widening(network), equal=float(distance[others].mean())),
    measured="mean radius {early:.2f} pixels at t = 200, {late:.2f} at t = 800 (one network); "
    "equal weights: {equal:.1f}; growth with the middle pixel: {naive:.2f}",
    holds=lambda growth: growth.higher,
    null={"random weights": widening(random)},
)

# %% [markdown]
# ## What you saw
#
# - Four functions make a U-Net. Yours draw the digits that the library's draws.
# - Zeros in place of the skip connections' maps multiply the Frechet distance by {{unet-parts-that-count.skips}} after 240
#   steps. Without residual paths it is {{unet-parts-that-count.paths}} times that with them, at a random start. A constant
#   time multiplies it by {{unet-parts-that-count.time}}.
# - A time as a fraction, where steps are expected, raises both figures too. Even so a noisy digit shows its time, with a mean
#   error of {{unet-noise-level-visible.error}} steps.
# - Of a random start, random Fourier features, addition and no self-attention we cannot say that each makes both figures
#   worse. That is no proof that they change nothing.
# - A transformer with about as many parameters is far behind: {{unet-transformer.steps}} times the Frechet distance
#   after 240 steps, {{unet-transformer.time}} times at equal processor time. 240 steps do not show whether this lasts.
# - The effective receptive field of the trained network, without the middle pixel, widens a little from $t = 200$ (mean
#   radius {{unet-erf-widens.early}} pixels) to $t = 800$ ({{unet-erf-widens.late}}). With random weights it narrows.
#
# ## At full size
#
# Ho et al.'s network for CIFAR-10 has 35.7 million parameters, four sizes from 32 × 32 to 4 × 4, two residual blocks at each,
# and self-attention at 16 × 16. It trained for 10.6 hours on a TPU v3-8. Dhariwal and Nichol put self-attention at 32 × 32,
# 16 × 16 and 8 × 8, and improved the FID on ImageNet at 128 × 128 by 0.7. Peebles and Xie's largest transformer, DiT-XL/2,
# works on latents (lesson 12). It reaches an FID of 2.27 on ImageNet at 256 × 256, with guidance (lesson 08), after 7 million
# steps. One evaluation costs 118.6 Gflops. Ours has 0.41 million parameters.

# %% tags=["nbval-ignore-output"]
guesses(
    "unet-parts-that-count.skips",
    "unet-smaller-changes.verdict",
    "unet-noise-level-visible.error",
)

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
# maps may be enough. At small $t$ it is nearly $x_t$ itself, and the argument is the same as for $\epsilon$. (An argument,
# not a measurement.)
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
# - **convolution**: a layer whose outputs are weighted sums of the inputs around them, with the same weights at every position.
# - **channel**: one of the maps that a layer outputs, with weights of its own.
# - **random Fourier features**: sines and cosines of a number at frequencies drawn at random once.
# - **residual block**: layers whose output is added to their input.
# - **group normalisation**: shifts and scales each group of channels to mean 0 and variance 1, over all positions of a picture.
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
# Used again: Frechet distance (lesson 00), null model (lesson 01), v-prediction (lesson 02).
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
