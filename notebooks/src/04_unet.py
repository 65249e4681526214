# %% [markdown]
# # 04 The U-Net: the network inside
#
# **You will be able to** write the four parts of a U-Net (time embedding, residual block, self-attention, the pass down and
# up with its skip connections) and draw digits with them. You can then look inside while it denoises, and say from
# measurements what each part contributes.
#
# **Time** 60 minutes, and 5 for an optional last section. A class of 60 minutes also needs time to talk: leave exercises 1 and
# 2 (11 minutes) and the section on the transformer for home. **Needs** lessons 00 to 02. **Papers** Olaf Ronneberger, Philipp
# Fischer, Thomas Brox: *U-Net* (2015); Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models*
# (2020), appendix B; Prafulla Dhariwal, Alex Nichol: *Diffusion Models Beat GANs on Image Synthesis* (2021), section 3; Wenjie
# Luo and others: *Understanding the Effective Receptive Field* (2016).

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
    ylim=(-1, 3),
    title="The U-Net of the digits: blocks as channels × height × width",
)
ax.axis("off")
arrow = lambda start, end, colour: ax.annotate(
    "", end, start, arrowprops=dict(arrowstyle="-|>", lw=2.5, color=colour)
)
for level, shape in enumerate(("16 × 16 × 16", "32 × 8 × 8", "64 × 4 × 4")):
    left, right, y = level, 7 - level, 2 - level
    for x, side in ((left, -0.45), (right, 0.45)):
        box = dict(boxstyle="round", fc="white", ec=BLUE, lw=2.5)
        ax.text(x, y, shape, ha="center", va="center", bbox=box)
        arrow((x + side, y - 0.62), (x + side, y - 0.15), GREEN)
        ax.text(x + side * 1.3, y - 0.55, "$e$", ha="center", color=GREEN)
    arrow((left + 0.75, y), (right - 0.75, y), RED)
    ax.text(3.5, y + 0.1, "skip connection", ha="center", color=RED)
    if level:
        arrow((left - 1, y + 0.8), (left - 0.2, y + 0.2), "black")
        arrow((right + 0.2, y + 0.2), (right + 1, y + 0.8), "black")
ax.text(0, 2.7, "noisy picture $x_t$", ha="center")
arrow((0, 2.65), (0, 2.15), "black")
ax.text(7, 2.7, "prediction of $v$", ha="center")
arrow((7, 2.15), (7, 2.65), "black")
ax.text(3.5, -0.85, "$e$: the embedding of time $t$ and class", ha="center", color=GREEN)
plots.show(
    fig,
    alt="A diagram in the shape of a U. Three blocks go down on the left: 16 channels of "
    "16 × 16, 32 of 8 × 8, 64 of 4 × 4. Three of the same sizes go up on the right. A skip "
    "connection leads from each left block to the right one of its size. The noisy picture "
    "enters at the top left, the prediction leaves at the top right. A green arrow brings the "
    "embedding e of time and class to each of the six blocks.",
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
# At $t = 900$ the predicted clean picture is a rough outline; at $t = 10$ it is $x_t$ with a small correction. So $t$ is an
# input. A single number is hard to use: a linear layer can only scale it. Ho et al. (2020) took the **sinusoidal embedding**
# of Vaswani et al. (2017, section 3.5): sines and cosines of $t$ at frequencies that fall geometrically from 1 towards $1 /
# 10{,}000$,
#
# $$\left[\sin(t f_0), \dots, \sin(t f_{d/2-1}),\ \cos(t f_0), \dots, \cos(t f_{d/2-1})\right], \qquad
# f_i = 10{,}000^{-i / (d/2)}.$$
#
# High frequencies separate neighbouring times; low ones separate early from late.
#
# ### Exercise 1: `sinusoidal` (difficulty 1, 5 minutes)
#
# Write a function that turns times of shape (B,) into vectors of shape (B, dim); `dim` is even. `torch.arange(dim // 2)` gives
# the $i$.


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
# An alternative is **random Fourier features**: the frequencies are drawn once at random and kept. Rahimi and Recht (2007) made
# them for kernel methods. Tancik et al. (2020) give them to networks of coordinates: without them such a network fails to learn
# high frequencies. Yang Song et al. (2021) use them for the time, with a scale of 16. Here $f_i \sim \mathcal N(0, 16^2)$ and
# $t$ lies in $[0, 1]$: $[\sin 2\pi f_i t,\ \cos 2\pi f_i t]$.

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
# Two small linear layers with a SiLU (below) between them follow, and the vector of the class is added. The result, the
# embedding $e$, goes to every block.
#
# ## The residual block
#
# A **residual block** adds a correction to its input. Two convolutions, one after the other, compute the correction. A second
# path leads the input around them, and both are added. Before each convolution stand a **group normalisation** and an
# **activation**. The first gives the channels of a group mean 0 and variance 1, over all positions of one picture. The second
# is the nonlinear function between two layers, here $\mathrm{silu}(h) = h\,\mathrm{sigmoid}(h)$. The embedding enters in
# between. Ho et al. add it before the second norm, $\mathrm{norm}_2(h + e)$. In the **adaptive group normalisation** (AdaGN)
# of Dhariwal and Nichol (2021, section 3.1) it comes after that norm, and sets each channel's scale and shift directly:
#
# $$h = \mathrm{conv}_1(\mathrm{silu}(\mathrm{norm}_1(x))), \qquad
# \mathrm{AdaGN}(h, e) = (1 + e_{\text{scale}})\,\mathrm{norm}_2(h) + e_{\text{shift}},$$
# $$\mathrm{block}(x, e) = \mathrm{skip}(x) + \mathrm{conv}_2(\mathrm{silu}(\mathrm{AdaGN}(h, e))).$$
#
# A linear layer turns $e$ into the shift and scale of each channel. $\mathrm{skip}$ is the identity, or a 1 × 1 convolution
# where the number of channels changes. (Dhariwal and Nichol write $y_s$ for our $1 + e_{\text{scale}}$. With the 1, an output
# of 0 leaves $\mathrm{norm}_2(h)$ as it is.)
#
# ### Exercise 2: `residual_block` (difficulty 2, 6 minutes)
#
# The layers are there: `block.norm1`, `block.conv1`, `block.norm2`, `block.conv2`, `block.skip`, and `block.modulate`.
# `block.modulate(emb)` is (B, 2 C_out). Its first half is the shift, its second the scale: `chunk(2, 1)`. Then
# `[:, :, None, None]` gives each the shape (B, C_out, 1, 1). `silu` is `torch.nn.functional.silu`.


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
# (Here $q$, $k$ and $v$ are the letters of that paper. They have nothing to do with the density $q$ of lesson 01 and the target
# $v$ of lesson 02.) The softmax makes each row of weights sum to 1: these are the **attention weights**. For independent
# entries of mean 0 and variance 1, the products have a standard deviation of $\sqrt d$. Without the division one position can
# get almost all the weight. Several **heads** do this side by side, each with its own part of the channels. The cost grows with
# the square of the number of positions, so self-attention stands where the maps are small. It follows the residual block's sum
# $h$, as $h + \mathrm{out}(\mathrm{attention}(\mathrm{norm}(h)))$, where "out" is a linear layer.
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
# order: those of class `Block` take `(h, emb)`, all others take `h` and change its size. A `Block` applies its own
# self-attention where it has one, so do not call it. Before a block of the decoder, concatenate its input and the map from
# the stack, in this order: `torch.cat([h, skip], 1)`.

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
# The trained weights stay. Each of the four parts is your function where it passed its check, and the library's elsewhere.
# The library's networks are given $t / T$, so `1000 * time` makes steps of it. The sampler is 25 steps of DDIM, a
# deterministic sampler that lesson 14 derives.

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
# position. (An optional section below measures how much it depends on each *input pixel*.)
#
# <!-- Ask: At which step do the maps begin to show the digit, and in which block first? -->

# %%
from course_lib.widgets.explorer import explore

five = network.given(5)
explore(five, ddim(five, network.draw_noise(1, seeded(3)), network.process.times(25)))

# %% [markdown]
# ## What does each part contribute?
#
# An **ablation** removes or exchanges one part, trains again, and compares. The recipe is that of lesson 00, cut to 240
# steps. Each arm has five trainings, the transformer three. Training $i$ has the same batches and noise in all arms, and is
# compared with training $i$ of the full U-Net. All trainings together take over half an hour of one core. They were done
# once, by `python tests/benchmarks/unet_ablation.py`, and ship as `data/figures/unet_ablation.json`.
#
# | arm | what changes | parameters |
# |---|---|---|
# | no skip connections | zeros in place of the encoder's maps | 413,425 |
# | random start | a block's last convolution starts at random, not at 0 | 413,425 |
# | no residual paths | what the convolutions output (attention keeps its path); beside *random start* | 402,561 |
# | constant time | the network is always given the embedding of $t = 500$ | 413,425 |
# | time as a fraction | the sinusoidal embedding of $t / T$, not of $t$ | 413,425 |
# | random Fourier time | the other embedding | 413,425 |
# | addition | the embedding is added, as by Ho et al. | 384,977 |
# | no self-attention | no attention layers | 379,889 |
# | transformer | another network, described below | 404,932 |
#
# At 4 × 4 the skip connection repeats the decoder's input. So only those at 16 × 16 and 8 × 8 carry something of their own.
# Without residual paths, blocks whose last convolutions start at 0 would pass on no gradient: hence the random start. Where
# an arm has fewer parameters, the part and its parameters are not separated. That holds for the zeros too: the decoder's
# weights that read them add nothing that depends on the picture, so this arm has fewer useful parameters than the table says.
# From random Fourier time on, the random initial weights differ too.
#
# Self-attention makes a step more expensive. So *no self-attention* and *transformer* also have a version at **equal
# processor time**: as many steps as cost the same as 240 of the full U-Net. Costs were measured in turns in one run. Two
# figures are compared: the Frechet distance (lesson 00), and the loss of $v$ on held-out digits. The distance is that of 500
# samples by 15 steps of DDIM with classes, from the same noises for all trainings. So the distances of this section compare
# with each other only. The loss varies less between trainings, but it does not say how the samples look.
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

# %%
FULL, STARTED = "the full U-Net", "residual paths, random start"
AGAIN = "the full U-Net, new seeds"
NAMES = {  # of arms in the plots, where they differ from those in the file
    AGAIN: "null model: full U-Net,\nnew seeds",
    STARTED: "random start",
    "no residual paths": "no residual paths\n(beside random start)",
    "addition, not adaptive norm": "addition",
    "no self-attention, equal time": "no self-attention,\nequal time",
    "a transformer": "transformer",
    "a transformer, equal time": "transformer,\nequal time",
}
FIGURES = {"Frechet distance": (1, ".2f"), "held-out loss": (1000, ".1f")}  # in thousandths
LOOKS = {True: (RED, "s", "worse"), False: (GREEN, "D", "better"), None: (BLUE, "o", "?")}
runs = figures.load("unet_ablation").sort_values("seed")


def pair(arm, figure):
    """A figure of an arm's trainings, and of those that they are compared with."""
    found = []
    for of in (arm, STARTED if arm == "no residual paths" else FULL):
        part, _, equal = of.partition(", equal ")
        rows = figures.where(runs, part=part, equal=equal or "steps")
        found.append(FIGURES[figure][0] * rows[figure].to_numpy())
    return found[0], found[1][: len(found[0])]


def against(arm, figure):
    """The comparison of an arm."""
    return compare(*pair(arm, figure))


def differences(arms, alt):
    """A plot of how far arms lie from the networks that they are compared with."""
    fig, axes = plt.subplots(1, 2, figsize=(11.8, 2 + 0.85 * len(arms)), sharey=True)
    for ax, (figure, (_, spec)) in zip(axes, FIGURES.items()):
        for y, arm in enumerate(arms):
            found, (a, b) = against(arm, figure), pair(arm, figure)
            gap, (colour, marker, verdict) = found.difference, LOOKS[found.higher]
            ax.errorbar(
                gap.mean, y, xerr=gap.margin, fmt=marker, color=colour, ms=11, capsize=7
            )
            ax.plot(a - b, [y] * len(a), "k|", ms=15, mew=1.5)
            place = dict(xycoords=ax.get_yaxis_transform(), ha="right", va="center", size=15)
            ax.annotate(f"{gap:+{spec}} {verdict}", (0.99, y - 0.37), **place)
        ax.axvline(0, color="black", lw=1.2, ls=":")
        ax.set(xlabel="difference", title=figure + ", × 1,000" * (spec == ".1f"))
    axes[0].set_yticks(range(len(arms)), [NAMES.get(arm, arm) for arm in arms], fontsize=15)
    axes[0].set_ylim(len(arms) - 0.6, -0.7)
    full = [f"{against(FULL, figure).a:{spec}}" for figure, (_, spec) in FIGURES.items()]
    fig.suptitle(
        "Differences from the full U-Net (its five trainings: distance {}, loss {})".format(
            *full
        ),
        size=18,
    )
    return plots.show(fig, alt=alt)


differences(
    [AGAIN, "no skip connections", "no residual paths", "constant time", "time as a fraction"],
    "Two panels of differences with margins, a row for each arm: Frechet distance and "
    "held-out loss. By far the largest in both: no skip connections. Above 0 in both, by more "
    "than their margins: no residual paths, constant time, time as a fraction. The null "
    "model's margins include 0.",
)

# %% [markdown]
# **Black strokes** are the differences of an arm's trainings. The **symbol** is their mean, which the number repeats with ± one
# standard error. **Bars** are the margin that a verdict needs: 2.8 standard errors of five paired differences, 4.3 of three.
# Orange squares: worse. Green diamonds: better. Blue circles (?): cannot be told apart.
#
# All arms but one are compared with the same trainings of the full U-Net, so chance errors are not independent. If these
# trainings are better than usual by chance, every row moves to the right. (The null model lies at +0.15 and +0.5.) Eleven arms,
# two of them at equal time, and two figures give 22 verdicts at the level of 5 %: one is expected by chance. Two claims below
# therefore ask whether *both* figures are worse in each of their arms. Such a claim holds if every one of its differences is
# larger than its margin. The box prints the difference that is smallest relative to its margin.


# %%
def figures_of(arms):
    """Each arm's ratio of distances (name: arm), and the differences that decide."""
    of = lambda figure: [against(arm, figure) for arm in arms.values()]
    distances, losses = map(of, FIGURES)
    in_margins = lambda found: found.difference.mean / found.difference.margin
    ratios = {name: found.a.mean / found.b.mean for name, found in zip(arms, distances)}
    return ratios | dict(
        distance=min(distances, key=in_margins), loss=min(losses, key=in_margins)
    )


def worse(id, statement, **arms):
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
# ### Smaller changes

# %% tags=["nbval-ignore-output"]
predict(
    "unet-attention.verdict",
    "Without self-attention, after equally many steps: is the Frechet distance higher?",
    choices=["yes", "no", "cannot be told apart"],
)

# %%
differences(
    [
        AGAIN,
        STARTED,
        "random Fourier time",
        "addition, not adaptive norm",
        "no self-attention",
        "no self-attention, equal time",
    ],
    "Two panels of differences with margins: Frechet distance and held-out loss of the null "
    "model and five arms. All margins of the distance include 0. Of the loss two do not: it "
    "is higher with a random start, lower without self-attention at equal time.",
)

# %%
of = lambda arm: dict(distance=against(arm, "Frechet distance"))
claim(
    "unet-attention",
    "After 240 steps each, the U-Net without self-attention has a higher Frechet distance.",
    figures=of("no self-attention"),
    measured="Frechet distance {distance:.2f}, difference {distance.difference:+.2f}",
    holds=lambda distance: distance.higher,
    null={AGAIN: of(AGAIN)},
    expected=None,
)

# %% [markdown]
# The margins of the distance are 0.3 to 0.5 here, about a quarter to a third of the full U-Net's
# {{unet-attention.distance.b.mean}}. A smaller change would not be seen. Here self-attention stands at 4 × 4 alone, among 16
# positions. This says nothing about self-attention on larger maps. Two of the five arms' ten differences are verdicts. With a
# random start the loss is higher. Without self-attention at equal time, 264 steps, it is lower. With 22 verdicts either may
# be chance.
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
# many parameters as the U-Net; its source is `Transformer` in `tests/benchmarks/unet_ablation.py`, 25 lines. Lesson 25
# builds one.
#
# It was trained with the same batches and noise, and by the same rule for two optimizers and their rates, chosen for the U-Net:
# AdamW, and Muon (Jordan et al. 2024), which orthogonalises the update of each weight matrix. But the rule divides the weights
# differently: in the U-Net Muon trains the inner convolutions and AdamW the rest, with the layers of time and class; in the
# transformer Muon trains all linear layers but the first and the last, those of time included. So the arms differ in the
# optimiser of these layers too. Its steps cost more: at equal processor time it has 104 of them, the U-Net 240. Its three
# trainings are compared with the first three of the full U-Net, whose distance is 1.13 (the figure's title gives the mean of
# all five).

# %%
differences(
    [AGAIN, "a transformer", "a transformer, equal time"],
    "Two panels of differences with margins: Frechet distance and held-out loss. Both rows of "
    "the transformer lie far above 0 and the null model near 0, in both panels.",
)

# %%
worse(
    "unet-transformer",
    "With a transformer, after equally many steps and at equal processor time, "
    "samples and loss are both worse.",
    steps="a transformer",
    time="a transformer, equal time",
)

# %% [markdown]
# ## Does a noisy picture show its time?
#
# At a constant time the samples are worse, but far better than without skip connections. The picture shows the noise level.
# The outermost pixels of these digits are all black, $-1$. In $x_t$ they are $-a + b\,\epsilon$. Mean and standard deviation
# both depend on $t$, and on nothing else. So the most likely $t$ can be computed from these 60 pixels alone.

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
true_t = torch.randint(1, network.process.T + 1, (1000,), generator=seeded(60))
x_t = network.process.add_noise(x0, true_t, torch.randn(x0.shape, generator=seeded(61)))
pixels = x_t[:, 0, edge].double()  # (1000, 60)


def mean_error(log_p):
    """The error of the most likely time, of log p (1000, T), in steps."""
    return dict(error=estimate((every_t[log_p.argmax(1)] - true_t).abs().double(), "digits"))


log_of_mean = -60 * (pixels.mean(1, True) + a) ** 2 / (2 * b**2) - b.log()
log_p = (
    log_of_mean - 60 * pixels.var(1, correction=0, keepdim=True) / (2 * b**2) - 59 * b.log()
)
constant = estimate((500 - true_t).abs().double(), "digits")

claim(
    "unet-noise-level-visible",
    "A noisy digit shows its time: from its outermost pixels alone, "
    "t is found to within 50 of 1,000 steps on average.",
    figures=mean_error(log_p),
    measured="a mean error of {error:.0f} steps",
    holds=lambda error: error.below(50),
    null={
        "only the mean of these pixels": mean_error(log_of_mean),
        "always t = 500": dict(error=constant),
    },
)

# %% [markdown]
# (50 is a fifth of the constant guess's error. It was set after a first measurement; this one has fresh times and noise.) So
# the information is in the picture. Whether the network uses it was not measured. Sun et al. (2025) trained many models
# without the noise level; most became only a little worse, and some better.
#
# ## Failure museum: the wrong unit of time
#
# The embedding is made for $t$ in steps, 0 to 1,000. Many programs keep time as a fraction, and pass $t / T$. Nothing
# crashes. But all times then get nearly the same vector: the dotted line in the figure below exercise 1.

# %%
both = lambda arm: dict(
    loss=against(arm, "held-out loss"), distance=against(arm, "Frechet distance")
)
claim(
    "unet-time-as-fraction",
    "With t / T, the held-out loss is worse than with t in steps.",
    figures=both("time as a fraction"),
    measured="loss {loss.difference:+.1f} thousandths; Frechet distance "
    "{distance.difference:+.2f}",
    holds=lambda loss: loss.higher,
    null={AGAIN: both(AGAIN)},
)

# %% [markdown]
# The loss decides clearly, also beside the trainings with new seeds as independent ones. The distance is not claimed: it is
# just beyond its margin, and only in pairs of equal seeds: as independent trainings this arm (1.60) cannot be told apart from
# the full U-Net ({{unet-attention.distance.b.mean}}), nor from that with new seeds (1.42). With 22 verdicts this one may be
# chance.
#
# The checks name this mistake, and a softmax over the wrong axis:

# %%
columns_first = lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v
fractions = check.sinusoidal(lambda time, dim: my_sinusoidal(time / 1000, dim))
print("time as a fraction:", fractions.diagnosis)
print("softmax over the wrong axis:", check.self_attention(columns_first).diagnosis)

# %% [markdown]
# The lesson itself ends here. Without the optional part, go on with [What you saw](#What-you-saw).
#
# ## Optional: which input pixels does the output depend on?
#
# The **receptive field** of an output pixel is the set of input pixels that can influence it. In this network it is the whole
# picture: group normalisation alone mixes all positions. The **effective receptive field** (Luo et al. 2016) weights the input
# pixels by $|\partial v_{8,8} / \partial x_t|$, the derivative of one output pixel, here near the middle. Luo et al. found it
# to be only a fraction of the receptive field.
#
# We leave out the middle input pixel. By lesson 02 the best prediction is $v = (a\,x_t - E[x_0 \mid x_t]) / b$. One term of
# $v_{8,8}$ is its own pixel of $x_t$ times $a / b$, which falls from 5.9 at $t = 100$ to 0.3 at $t = 800$. ($E[x_0 \mid x_t]$
# depends on that pixel too and cancels a part.) This comes from the formula of $v$, not from how far the network reaches. It is
# a **confound**: a second cause, which changes together with the one in question.
#
# We take the mean radius: the mean distance of the other pixels from the middle, weighted by the derivative. If all 255 counted
# equally, it would be {{unet-erf-widens.equal}} pixels.

# %%
rows, columns = torch.meshgrid(torch.arange(16.0) - 8, torch.arange(16.0) - 8, indexing="ij")
distance = (rows**2 + columns**2).sqrt()
others = distance > 0  # all pixels but the middle one
random = deepcopy(network.net).cpu()  # on the CPU: the same weights on every machine
with torch.random.fork_rng(devices=[]):
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

# %%
times = 1, 25, 100, 200, 300, 400, 500, 600, 700, 800, 900, 950, 1000
fig, ax = plt.subplots(figsize=(11.5, 4.4))
for denoiser, style, name in ((network, "o-", "trained"), (random, "s--", "random weights")):
    found = [estimate(radius(slopes(denoiser, t, x0[:100]) * others), "digits") for t in times]
    means, margins = zip(*((radii.mean, radii.margin) for radii in found))
    ax.errorbar(times, means, margins, fmt=style, capsize=5, label=name)
ax.set(title="Mean radius, without the middle pixel", xlabel="time t", ylabel="pixels")
ax.legend()
plots.show(
    fig,
    alt="A line plot of the mean radius over time, with margins. Trained: it falls from 4.5 "
    "pixels at t = 1 to 3.3 at t = 200, rises slowly to 3.6 at t = 800, and is 4.0 at "
    "t = 1000. Random weights: it falls slowly from 5.1 to 4.7.",
)

# %% [markdown]
# (100 digits.) The mean radius falls from 4.5 pixels at $t = 1$ to 3.3 at $t = 200$. Then it rises a little, to 3.6 at $t =
# 800$, falls to 3.5 at $t = 950$, and is 4.0 at $t = 1000$. So "wider with more noise" is not the rule at all times. The
# claim is about the rise from 200 to 800 alone: two times chosen on these digits, tested on 200 others. With the middle pixel
# the rise would seem much larger, because the middle pixel's own share of the sum falls.


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
#   steps. Removing the residual paths multiplies it by {{unet-parts-that-count.paths}} (both networks with a random start), a
#   constant time by {{unet-parts-that-count.time}}.
# - A time as a fraction, where steps are expected, raises the loss. The distance rises by little more than its margin, which
#   may be chance.
# - A noisy digit shows its time, with a mean error of {{unet-noise-level-visible.error}} steps.
# - Without self-attention, after equally many steps, the distance cannot be told apart. That is no proof that it changes
#   nothing.
# - A transformer with about as many parameters is far behind: {{unet-transformer.steps}} times the Frechet distance after 240
#   steps, {{unet-transformer.time}} times at equal processor time. 240 steps do not show whether this lasts. Optimisers and
#   rates were chosen for the U-Net, divide the weights differently, and were not searched for the transformer, so this ranks
#   two recipes.
# - (Optional part, one network) The mean radius of the effective receptive field, without the middle pixel, falls up to about
#   $t = 200$, where it is {{unet-erf-widens.early}} pixels. Then it rises a little, to {{unet-erf-widens.late}} at $t = 800$.
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
    "unet-attention.verdict",
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
# The noise is different in every pixel, and $\epsilon$ and $v$ contain it. So the output needs every pixel of the input. The
# finest map has it at its place. The coarse maps have numbers enough (64 × 4 × 4 = 1,024 for 256 pixels), but the layers would
# have to learn to pack each pixel's noise into channels and unpack it again. The prediction of $x_0$ at large $t$ is a smooth
# picture, for which the coarse maps may be enough without that. At small $t$ it is nearly $x_t$ itself, and the argument is the
# same as for $\epsilon$. (An argument, not a measurement.)
#
# </details>
#
# 2. Exchange two positions of a map. What happens to the result of self-attention? How can the network still use where things
#    are?
#
# <details><summary>Answer</summary>
#
# The results of the two positions are exchanged and nothing else changes: no position enters the formula. In a U-Net the
# convolutions before it bring position in, because their input is padded with zeros beyond the border. A transformer has no
# convolutions. There a positional encoding is added to the vectors of the patches.
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
# {{names}}
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
