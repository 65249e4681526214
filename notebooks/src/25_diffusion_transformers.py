# %% [markdown]
# # 25 Diffusion transformers
#
# **You will be able to** cut pictures into patches and back, write the block of a DiT with adaLN-Zero, count the operations of
# any network, compare a transformer with a U-Net at equal time and at equal operations, and compute what a narrow last layer
# loses of the velocity and of the clean picture.
#
# **Time** 60 minutes. **Needs** lesson 04 (U-Net, self-attention, adaptive norm), lesson 16 (rectified flow). **Papers**
# William Peebles, Saining Xie: *Scalable Diffusion Models with Transformers* (2023); Tianhong Li, Kaiming He: *Back to Basics:
# Let Denoising Generative Models Denoise* (2025); Sihyun Yu et al.: *Representation Alignment for Generation* (2025).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("25")

# %% [markdown]
# ## A picture as a row of tokens
#
# Lesson 04 compared the U-Net with a diffusion transformer, the DiT, as a finished thing. Here you build it. It has three
# parts: the picture becomes a row of tokens, a stack of equal blocks changes the tokens, and the tokens become a picture again.
#
# The first part is **patchify**. A picture of $C \times H \times W$ numbers is cut into squares of $p \times p$ pixels. Each
# square, written as one vector, is a token:
#
# $$N = \frac{H}{p} \cdot \frac{W}{p} \ \text{tokens of}\ \ p^2\,C \ \text{numbers each}.$$
#
# A linear layer maps each token to $w$ numbers, the width of the network. Halving $p$ gives four times as many tokens. Nearly
# all work is done once a token, so it costs about four times as much. The number of parameters hardly changes.
#
# ### Exercise 1: `patchify` (difficulty 1, 6 minutes)
#
# `x` is (B, C, H, W), and `patch` divides both sides. Return the tokens (B, N, p² C): patches row by row, in each patch the
# pixels row by row, of each pixel its channels. `reshape` splits a side into two, and joins two into one. Between the two
# stands one `permute`.

# %%
import base64
import math
from functools import partial

import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.datasets import digits
from course_lib.guidance import classifier_free
from course_lib.nets import dit, unet
from course_lib.nets.dit import DiT, DiTBlock
from course_lib.nets.hooks import record_activations
from course_lib.process import randn, seeded
from course_lib.samplers import rectified_flow
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.explorer import explore
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import figures, models
from torch import nn


def my_patchify(x, patch):
    """The tokens (B, N, patch^2 C) of pictures x (B, C, H, W)."""
    ...  # write it here


verdict = check.patchify(my_patchify)
my_patchify = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("patchify")

# %% [markdown]
# Your function cuts a digit of 16 × 16 pixels. Each row of the second picture is one token.

# %%
plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
pictures, labels = digits.load()
fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
tokens = my_patchify(pictures[3:4], 4)[0]
axes[0].imshow(pictures[3, 0], cmap="gray")
axes[0].set_xticks(torch.arange(-0.5, 16, 4), [])
axes[0].set_yticks(torch.arange(-0.5, 16, 4), [])
axes[0].grid(color=ORANGE, lw=2)
axes[0].set_title("a digit, patches of 4 × 4")
axes[1].imshow(tokens, cmap="gray")
axes[1].grid(False)
axes[1].set_xticks([0, 4, 8, 12])
axes[1].set_yticks([0, 4, 8, 12])
axes[1].set(title="its 16 tokens", xlabel="number in the token", ylabel="token")
plots.show(
    fig,
    alt="A 3 under a grid of 4 by 4 squares, and a matrix of 16 rows, its tokens, each of 16 numbers. "
    "Rows 0, 3, 4, 7, 8, 11, 12 and 15, the patches at the left and right edge, are black or "
    "nearly so.",
)

# %% [markdown]
# **Where is a token?** Self-attention and the layers for single tokens treat all tokens alike. If the tokens come in another
# order, the outputs come in that other order, and nothing else changes. So without help, a DiT could not distinguish the corner
# from the centre. A positional encoding is added to each token: sines and cosines of its row and of its column (the 2-D form of
# lesson 04's encoding of time). It is fixed, as in the paper. A test of both statements:

# %%
torch.manual_seed(0)
net = DiT(width=32, depth=2)
for weights in net.parameters():  # some are 0 at first
    nn.init.normal_(weights, std=0.3)
h, emb, order = (
    randn(1, 64, 32, rng=seeded(0)),
    randn(1, 32, rng=seeded(1)),
    torch.randperm(64),
)
with torch.no_grad():
    for name, place in (("without", 0), ("with", net.position)):
        changed = (
            net.blocks[0](h[:, order] + place, emb) - net.blocks[0](h + place, emb)[:, order]
        )
        print(f"{name} positions: other order, largest difference {changed.abs().max():.1e}")

# %% [markdown]
# ## adaLN-Zero: how time and class enter
#
# Each block has two parts: attention, where tokens exchange information, and an MLP, two linear layers with an activation
# between them, for each token alone. Both stand on a skip connection. Time and class are embedded and added, as in the U-Net. A
# linear layer in each block turns this vector into six, three for each part: shift $\beta$, scale $\gamma$ and gate
# $\alpha$.
#
# $$h \leftarrow h + \alpha_1\, \mathrm{Attention}\big((1 + \gamma_1)\, \mathrm{LN}(h) + \beta_1\big), \qquad
# h \leftarrow h + \alpha_2\, \mathrm{MLP}\big((1 + \gamma_2)\, \mathrm{LN}(h) + \beta_2\big)$$
#
# LN is the **layer norm**: mean 0 and variance 1 over the numbers of each token. With shift and scale from a condition it is
# called adaLN, the adaptive layer norm. Lesson 04's adaptive group norm did the same to maps. The gate is new. In
# **adaLN-Zero** the linear layer that makes the six vectors starts at zero. Then $\alpha = 0$, and each block returns its
# input.
#
# ### Exercise 2: `dit_block` (difficulty 2, 9 minutes)
#
# `h` is (B, N, width). `attn` and `mlp` are records with `shift`, `scale` and `gate`, each (B, width). `attention` and
# `feedforward` are functions from (B, N, width) to (B, N, width). `torch.nn.functional.layer_norm(h, h.shape[-1:])` is LN.
# Return the new h.


# %%
def my_dit_block(h, attn, mlp, attention, feedforward):
    """A block with adaLN-Zero, (B, N, width)."""
    ...  # write it here


verdict = check.dit_block(my_dit_block)
my_dit_block = verdict.function
verdict

# %%
check.solution("dit_block")

# %% [markdown]
# A trained DiT ships with the course: patches of 4 × 4, four blocks of width 64, 0.32 million parameters, 600 steps of 32
# digits. Unlike the paper's, it normalises queries and keys. From here on it cuts pictures with your function, and its blocks
# run your code:


# %%
def forward(self, h, emb):
    """What a DiTBlock of the library does, by your function."""
    return my_dit_block(h, *self.modulation(emb), self.attention, self.mlp)


dit.patchify, DiTBlock.forward = my_patchify, forward
network = models.load("dit")
classes = torch.arange(10)
noise = randn(10, 1, 16, 16, rng=seeded(3))
steps = list(
    rectified_flow(classifier_free(network, classes, 2.0), noise, network.process.times(25))
)
fig, axes = plt.subplots(2, 1, figsize=(9.5, 2.9), layout="constrained")
for ax, step, name in zip(axes, (steps[8], steps[-1]), ("x̂₀ after 8 of 25 steps", "samples")):
    plots.pictures(step.x0, 10, name, ax=ax)
plots.show(
    fig,
    alt="Two rows of ten digits, 0 to 9: paler predictions after 8 of 25 steps, and the samples at the "
    "end. Most can be read, with ragged edges; the 5 cannot.",
)

# %% [markdown]
# **What do the gates do at the start?** At the first step all of them are 0, and so are the weights of the last layer. So the
# network returns 0. In the first step only the last layer has a gradient. In the second, the gates, the first linear layer and
# the last norm's shift and scale have one, too; from the third on, all layers. In the trained network the gates are not 0:

# %%
fresh, trained = DiT(patch=4), models.load("dit", device="cpu").net
x_t, t, c = steps[10].x, torch.full((10,), steps[10].t), classes
with torch.no_grad():
    for name, net in (("untrained", fresh), ("trained", trained)):
        emb = nn.functional.silu(net.time(t) + net.label(c))
        sizes = [[m.gate.abs().mean() for m in block.modulation(emb)] for block in net.blocks]
        text = ", ".join(f"{float(a):.2f} and {float(b):.2f}" for a, b in sizes)
        print(f"{name}: mean size of the gates of attention and MLP, by block: {text}")

# %% [markdown]
# ## Does the zero start of adaLN-Zero matter?
#
# Peebles and Xie found that adaLN-Zero has a lower FID than adaLN (section 5, figure 5). The two differ in two things: adaLN
# has no gates, and it has no zero start. So there are three arms here, each a DiT of the size above (M), three trainings of 400
# steps. In the first the gates start at 0. In the second they start at 1, and nothing else differs. In the third they stay at
# 1: this is adaLN.

# %%
measured = figures.raw("dit")
gates = {(r["gates"], r["seed"]): r | r["curve"] for r in measured["gates"]}


def of_gates(start, name, seeds=(0, 1, 2)):
    """A figure of the trainings whose gates start so."""
    return [gates[start, seed][name] for seed in seeds]


def table(arms, columns):
    """Prints means over three trainings with their standard errors."""
    print(f"{'':24}" + "".join(f"{name:>19}" for name in columns))
    for arm, values in arms.items():
        cells = (f"{estimate(values(name)):.3f}" for name in columns)
        print(f"{arm:24}" + "".join(f"{cell:>19}" for cell in cells))


print("loss on held-out digits after 100, 200 and 400 steps, and distance of 400 samples")
starts = {"zero": "gates from 0", "one": "gates from 1", "none": "gates fixed at 1"}
table(
    {name: partial(of_gates, start) for start, name in starts.items()},
    ("100", "200", "400", "Frechet distance"),
)
from_one = of_gates("one", "Frechet distance")


def beside_one(distances):
    """The claim's figures: Frechet distances beside those with gates from 1."""
    return dict(distance=compare(distances, from_one))


claim(
    "dit-zero",
    "After 400 steps on 4,000 digits, a DiT whose gates start at 0 draws samples nearer to "
    "real digits than the same DiT whose gates start at 1.",
    figures=beside_one(of_gates("zero", "Frechet distance")),
    measured="Frechet distance, gates from 0 against gates from 1 {distance:.2f}",
    holds=lambda distance: distance.lower,
    null={
        "gates from 1, three other trainings": beside_one(
            of_gates("one", "Frechet distance", (3, 4, 5))
        )
    },
)

# %% [markdown]
# In the loss, too, gates from 0 are ahead at all three points, most of all after 100 steps. Gates fixed at 1 have the largest
# distance; no verdict on them was planned, since two things differ. The rate was chosen for networks with the zero start, and
# 400 steps are few: whether the lead lasts in a long training was not measured.
#
# ## What does each block attend to?
#
# In the course's U-Net only the coarsest maps have attention. In a DiT all blocks have it, and all at one resolution. So there
# is a map for each block, head and patch: how much the token of this patch attends to each of the 16 patches.
#
# Click a block, then a patch in the large picture. The largest weight is white. A click on the same patch shows the next head.
# The slider moves through the steps. The still shows 16 feature maps of each block (blue below 0, orange above) and, below, the
# weights of one patch in each of four heads.

# %%
zero = network.given(0)
explore(zero, rectified_flow(zero, noise[:1], network.process.times(25)))

# %% [markdown]
# How far away are the patches that a block attends to? The table has the mean distance between a patch and the patches that it
# attends to, weighted by attention, over all patches of three digits. The last row has the value of even weights. This is one
# network, so it says nothing about others.

# %%
chosen = torch.tensor([0, 3, 7])
guided = classifier_free(network, chosen, 2.0)
film = list(rectified_flow(guided, noise[chosen], network.process.times(25)))


@torch.no_grad()
def weights_of(step):
    """The attention weights (3, heads, 16, 16) of each block."""
    with record_activations(network.net, (DiTBlock,)) as seen:
        network.given(chosen)(step.x, step.t)
    return [weights.cpu() for weights in seen.values()]


at = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
far = torch.cdist(at, at)
moments = (film[2], film[12], film[22])
print("attention distance in patches, mean over heads (lowest to highest head)")
print(" " * 14 + "".join(f"{f't = {s.t:.2f}':>22}" for s in moments))
for block in range(4):
    reach = [(weights_of(s)[block] * far).sum(3).mean((0, 2)) for s in moments]  # (heads,)
    text = (f"{d.mean():.2f} ({d.min():.2f} to {d.max():.2f})" for d in reach)
    print(f"{f'block {block + 1}':14}" + "".join(f"{cell:>22}" for cell in text))
near = (far < 1.5).float()
local = (far * near).sum(1) / near.sum(1)
print(f"even weights {far.mean():.2f}, on a neighbourhood of 3 x 3 only {local.mean():.2f}")
inner = torch.zeros(16)
inner[[5, 6, 9, 10]] = 1
share = [(weights @ inner).mean((1, 2)) for weights in weights_of(film[12])]  # (3 digits) each
print(f"weight on the four inner patches at t = {film[12].t:.2f}, by block (even: 0.25)")
for i, digit in enumerate(chosen):
    print(f"  digit {digit}: " + ", ".join(f"{float(each[i]):.2f}" for each in share))

# %% [markdown]
# On the mean over patches, all blocks and heads lie near the value of even weights, far above that of a neighbourhood, which a
# convolution has. But single maps are far from even: in the still most heads give more than half of their weight to three
# patches. Heads differ, and the mean hides it: for these three digits at t = 0.52, blocks 2 and 3 have 0.30 to 0.41 of the
# weight on the four inner patches, blocks 1 and 4 0.26 to 0.32.
#
# ## How many operations does a network cost?
#
# Peebles and Xie compare networks by the operations of one forward pass, not by parameters. A parameter of a linear layer works
# once for each token, so the same parameters cost 16 times as much with patches a quarter as wide. An operation here is a
# **multiply-add**: one product, added to a sum. (Papers that count products and sums apart, as *flops*, have twice the number;
# many write flops and mean multiply-adds.)
#
# | layer | multiply-adds |
# |---|---|
# | linear, from $a$ to $b$ numbers | $a\,b$ for each vector |
# | convolution, kernel $k \times k$, from $a$ to $b$ channels | $k^2 a\,b$ for each place of the *output* |
# | transposed convolution | $k^2 a\,b$ for each place of the *input* |
# | attention among $N$ tokens of width $w$ | $N^2 w$ for queries with keys, $N^2 w$ for weights with values |
#
# ### Exercise 3: `count_operations` (difficulty 3, 13 minutes)
#
# Count the multiply-adds of `net(*inputs)`, all members of the batch together. Put a forward hook on each module: `handle =
# layer.register_forward_hook(count)`. PyTorch then calls `count(layer, given, out)` after each use of the layer; `given` is the
# tuple of its inputs. Add up for `nn.Linear`, `nn.Conv2d`, `nn.ConvTranspose2d`, and for the products of attention in
# `DiTBlock` (its first input is (B, N, width)) and `unet.Attention` (lesson 04's, its input is (B, C, H, W)). For a `Linear`
# use the input's size: one of ours returns records. A convolution may have groups: `layer.weight[0].numel()` is the kernel
# times the channels that one place really uses. Call the net, and remove the hooks (`handle.remove()`).


# %%
def my_count_operations(net, *inputs):
    """The multiply-adds of net(*inputs), a whole number."""
    ...  # write it here


verdict = check.count_operations(my_count_operations)
my_count_operations = verdict.function
verdict

# %%
check.solution("count_operations")

# %% [markdown]
# Your function counts the networks of the next section, for one digit, beside PyTorch's own counter (which counts flops, so
# half of it). The times are the processor time of one training step of 32 digits on one core, from the benchmark.

# %% tags=["nbval-ignore-output"]
from torch.utils.flop_counter import FlopCounterMode

nets = {f"DiT {s}": DiT(patch=4, width=w) for s, w in (("S", 32), ("M", 64), ("L", 128))}
nets |= {"U-Net": unet.UNet(), "DiT M, patch 2": DiT(width=64)}
given = randn(1, 1, 16, 16), torch.tensor([0.5]), torch.tensor([3])
operations = {}
for name, net in nets.items():
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(*given)
    operations[name] = int(my_count_operations(net, *given))
    assert operations[name] == counter.get_total_flops() // 2
    ms = measured["cost"].get(name, {}).get("milliseconds")
    speed = (
        "" if ms is None else f", {ms:5.1f} ms, {96 * operations[name] / ms / 1e6:5.1f} per ns"
    )
    size = sum(p.numel() for p in net.parameters())
    print(
        f"{name:15} {size / 1e6:.2f} M parameters, {operations[name] / 1e6:6.2f} M operations"
        + speed
    )

# %% [markdown]
# (A training step counts as three forward passes of 32 digits: the backward pass has about twice the products.) The last column
# is what matters in practice: the multiply-adds that this processor does in a nanosecond. It differs from network to network.
# So **equal operations is not equal time**, and a comparison must say which it means.
#
# ## Is a DiT better than a U-Net?
#
# At full size the DiT was ahead of U-Nets with as many operations (Peebles and Xie, section 5.1). But Dosovitskiy et al. (2021,
# the vision transformer, section 4.3) found: with little data convolutions are ahead, with much data they are not. Here are
# 4,000 digits. Unlike in lesson 04, both have the same optimiser (AdamW), and each has the best of three rates in one short
# trial (for the DiT, of size M with patches of 2 × 2). It was the largest, 0.006, for both. From 0.003 to 0.006 the loss of the
# U-Net fell by 0.001, that of the DiT by 0.025. So a still larger rate might help the DiT more. L, twice as wide as the DiT of
# the trial, had no trial of its own.
#
# DiT L has about as many multiply-adds as the U-Net; S and M have fewer. U-Net and L are trained for 45 s of processor time, S
# and M for as many steps as L. All have three trainings, a constant rate and averaged weights. The bars in the plot are the
# margins of a verdict, 4.3 standard errors.

# %% tags=["nbval-ignore-output"]
predict(
    "dit-unet.verdict",
    "“The U-Net is nearer to real digits than DiT L, at equal time and at equal operations.” "
    "Which verdict?",
    choices=("yes", "no", "cannot be told apart"),
)

# %%
sizes = {(r["net"], r["seed"]): r for r in measured["sizes"]}
timed = {(r["net"], r["seed"]): r for r in measured["times"]}
floors = measured["the same, real against real"]
of_net = lambda net, name, seeds=range(3): [timed[net, s][name] for s in seeds]
equal = [timed["U-Net", s]["equal operations"] for s in range(3)]

fig, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
looks = zip(measured["cost"], ("o-", "s-", "^-", "D--"), (BLUE, GREEN, ORANGE, RED))
for net, fmt, colour in looks:
    curves = [(sizes | timed)[net, s]["curve"] for s in range(3)]
    steps_of = [int(step) for step in curves[0]]
    cost = measured["cost"][net]
    means = [estimate([curve[str(step)] for curve in curves]) for step in steps_of]
    y, margin = [e.mean for e in means], [e.margin for e in means]
    for ax, unit in zip(axes, (cost["milliseconds"] / 1e3, 96 * cost["multiply-adds"] / 1e12)):
        x = [unit * step for step in steps_of]
        ax.errorbar(x, y, margin, fmt=fmt, color=colour, ms=8, capsize=4, label=net)
axes[0].set(xlabel="processor time of the training, s", ylabel="loss on held-out digits")
axes[1].set(xlabel="10¹² multiply-adds of the training", xscale="log")
axes[0].set_title("over time")
axes[1].set_title("over operations")
axes[0].legend()
plots.show(
    fig,
    alt="Two line plots of the loss, over seconds and over operations on a log scale. The U-Net falls "
    "from 0.20 to 0.18 in 45 s and lies below all DiTs in both. L falls from 0.28 to 0.22 in 45 s, "
    "M from 0.29 to 0.23 in 21 s, S from 0.33 to 0.25 in 13 s. Over time S and M lie near each "
    "other, below L. Over operations S lies leftmost, L rightmost of the DiTs.",
)

# %%
table(
    {
        "DiT L": lambda name: of_net("DiT L", name),
        "U-Net": lambda name: of_net("U-Net", name),
        "U-Net, equal operations": lambda name: [row[name] for row in equal],
    },
    ("Frechet distance", "loss", "class accuracy"),
)
print(f"real digits beside real digits: {floors['16 x 16']:.3f}")


def beside_dit(time, work):
    """The claim's figures: Frechet distances beside those of DiT L."""
    other = of_net("DiT L", "Frechet distance")
    return dict(time=compare(time, other), work=compare(work, other))


noises = of_net("DiT L", "again")
others = of_net("DiT L", "Frechet distance", (3, 4, 5))
claim(
    "dit-unet",
    "After 45 s of training on 4,000 digits, and after as many operations, the course's "
    "U-Net draws samples nearer to real digits than a DiT of about as many operations.",
    figures=beside_dit(
        of_net("U-Net", "Frechet distance"), [row["Frechet distance"] for row in equal]
    ),
    measured="Frechet distance, U-Net against DiT L, equal time {time:.2f}, equal operations "
    "{work:.2f}",
    holds=lambda time, work: all_of(time.lower, work.lower),
    null={
        "DiT L, at other noises": beside_dit(noises, noises),
        "DiT L, three other trainings": beside_dit(others, others),
    },
)

# %% [markdown]
# The two networks differ in everything: convolutions, resolutions, skip connections. So this does not say which part of the
# U-Net makes the difference, nor what a longer training or more data would give. The paper's statement about sizes needs no
# U-Net: of two DiTs that have seen equally many pictures, the one with more operations is better. Here the width makes the
# difference, and with it the parameters grow as much as the operations. The paper also changes the patch, at about equal
# parameters; that was not done here.


# %%
def loss_of(net, seeds=(0, 1, 2)):
    """The losses of a DiT at its end."""
    return [(sizes | timed)[net, seed]["loss"] for seed in seeds]


def by_size(larger):
    """The claim's figures: losses after equally many steps."""
    small, middle = loss_of("DiT S"), loss_of("DiT M")
    return dict(first=compare(middle, small), second=compare(larger, middle))


claim(
    "dit-size",
    "After equally many steps a wider DiT has a lower loss on held-out digits: M than S, "
    "and L than M.",
    figures=by_size(loss_of("DiT L")),
    measured="loss after 840 steps, M against S {first:.4f}, L against M {second:.4f}",
    holds=lambda first, second: all_of(first.lower, second.lower),
    null={"M, three other trainings": by_size(loss_of("DiT M", (3, 4, 5)))},
    expected=None,
)

# %% [markdown]
# M is clearly below S. L is below M in all three pairs, but three trainings cannot tell this difference from none. L was
# trained at the rate that was chosen for M; another one was not tried.
#
# Equal steps are not equal cost: a step of L costs more than twice a step of M. In the plot over time S and M lie below L as
# far as they go, 13 and 21 s; no verdict on this was planned. Peebles and Xie report that larger DiTs use much compute better
# (section 5, figure 9).

# %% [markdown]
# ## Should a network with large patches predict the clean picture?
#
# The velocity $v = \epsilon - x_0$, the noise and the clean picture can be computed from each other (lesson 02). Up to here the
# network predicted the velocity. Li and He (2025) put this in question for pixels without an autoencoder, where patches must be
# large: at 256 × 256 pixels, patches of 16 × 16 make 256 tokens of 768 numbers each. Their statement: clean pictures lie near a
# set of few dimensions, noise fills all of them. A network of limited width can pass on the first, not the second.
#
# For our last layer this is a theorem. A token of width $w$ becomes a patch of $D$ numbers by a linear layer: $\hat v = W z +
# b$, with $z \in \mathbb R^w$. So all predictions of all patches lie in one set of $w$ dimensions, whatever comes before. If
# $w < D$, what lies outside of it is lost. The best such set for a target with covariance $\Sigma$ is spanned by the
# eigenvectors of the $w$ largest eigenvalues $\lambda_i$. So per pixel
#
# $$\mathbb E\, \tfrac1D \lVert \hat v - v \rVert^2 \;\ge\; \tfrac1D \sum_{i > w} \lambda_i(v), \qquad
# \lambda_i(v) = \lambda_i(x_0) + 1 .$$
#
# The 1 is the noise, which has variance 1 in every direction and is independent of $x_0$. For a prediction of $x_0$ the same
# sum has only the $\lambda_i(x_0)$. The digits are now 32 × 32 pixels, in patches of 16 × 16, and the network has width 64.

# %%
large = digits.load("train", 32)[0]
patches = my_patchify(large, 16).flatten(0, 1).double()  # (16000, 256)
spectrum = torch.linalg.eigvalsh(torch.cov(patches.T)).flip(0).clamp(min=1e-6)
fig, ax = plt.subplots(figsize=(9.5, 4.3))
number = torch.arange(1, 257)
ax.plot(number, spectrum, color=BLUE, lw=3, label="$x_0$")
ax.plot(number, spectrum + 1, color=RED, lw=3, ls="--", label="velocity, $x_0$ and noise")
ax.axvline(64, color="black", lw=1.5, ls=":", label="width 64")
ax.set(yscale="log", xlabel="direction", ylabel="variance", ylim=(1e-3, 100))
ax.set_title("Variance of patches of 16 × 16 by direction")
ax.legend()
least = {
    "x0": float(spectrum[64:].sum() / 256),
    "flow": float((spectrum[64:] + 1).sum() / 256),
}
print(
    f"lost with 64 of 256 directions, per pixel: x0 {least['x0']:.3f}, v {least['flow']:.3f}"
)
times = 0.05 + 0.9 * (torch.arange(500) + 0.5) / 500  # of the held-out loss
held_out = float(times.pow(-2).mean())
trained = network.process.sample_t(100_000, seeded(0)).clamp(0.05, 0.95).pow(-2).mean()
print(f"mean of 1 / t²: {trained:.1f} in training, {held_out:.1f} in the held-out loss")
print(f"floor of x0, as an error of v in the held-out loss: {held_out * least['x0']:.2f}")
plots.show(
    fig,
    alt="Line plot of variances over 256 directions, on a log scale. Of x0 they fall from 14 to below "
    "0.01, of the velocity from 15 to 1, where they stay from about 60 on. A line marks 64.",
)

# %% [markdown]
# The loss of a network that predicts the velocity can never be below the second number. (An error of $\hat x_0$, written as one
# of the velocity, has the weight $1 / t^2$. Its mean is about 11 at the times of training and 21 at those of the held-out loss.
# So in the unit of the table below, the floor of $x_0$ is 21 × 0.020 = 0.42, beside 0.770.)
#
# **The experiment.** The same DiT, width 64, predicts $x_0$ or the velocity (and, in one training, the noise). The loss is that
# of the velocity for all, as in the paper. So they differ in the prediction alone. Beside it, the same with patches of 8 × 8:
# 64 numbers, as many as the width, so there the theorem gives no floor. (Still not all of the noise can pass: the layer norm
# before the last layer leaves 62 of 64 numbers free.) Each arm has three trainings of 800 steps, at the rate that was chosen
# for the velocity.

# %% tags=["nbval-ignore-output"]
predict(
    "dit-prediction.ratio_large",
    "Patches of 16 × 16: the Frechet distance of the velocity, over that of x₀?",
    low=0.5,
    high=30,
)

# %%
by_view = {(r["patch"], r["view"], r["seed"]): r for r in measured["patches"]}
of_view = lambda patch, view, name="Frechet distance": [
    by_view[patch, view, s][name] for s in range(3)
]
names = {"x0": "x0", "flow": "velocity", "eps": "noise"}
table(
    {
        f"{names[view]}, patches of {patch}": lambda name, of=(patch, view): of_view(*of, name)
        for patch, view in ((16, "x0"), (16, "flow"), (8, "x0"), (8, "flow"))
    },
    ("Frechet distance", "loss", "class accuracy"),
)
print(f"noise, patches of 16, one training: {by_view[16, 'eps', 0]['Frechet distance']:.0f}")
print(f"real digits beside real digits: {floors['32 x 32']:.3f}")


def log_ratios(patch, clean):
    """The logarithms of the velocity's distance over that of `clean`, by training."""
    return [math.log(v / x) for v, x in zip(of_view(patch, "flow"), clean)]


def beside_velocity(clean):
    """The claim's figures, with large patches."""
    ratio = math.exp(sum(log_ratios(16, clean)) / 3)
    return dict(velocity=compare(clean, of_view(16, "flow")), ratio_large=ratio)


claim(
    "dit-prediction",
    "With patches of 16 × 16 pixels and width 64, a DiT that predicts x0 draws samples "
    "nearer to real digits than one that predicts the velocity.",
    figures=beside_velocity(of_view(16, "x0")),
    measured="Frechet distance, x0 against velocity {velocity:.1f}; velocity over x0 "
    "{ratio_large:.1f}",
    holds=lambda velocity: velocity.lower,
    null={"the velocity, at other noises": beside_velocity(of_view(16, "flow", "again"))},
)


# %%
def by_patch(clean):
    """The claim's figures: large patches beside small ones."""
    return dict(gap=compare(log_ratios(16, clean), log_ratios(8, of_view(8, "x0"))))


claim(
    "dit-patch-size",
    "The ratio of the velocity's distance to that of x0 is higher with patches of 16 × 16, "
    "four times the width, than with patches of 8 × 8.",
    figures=by_patch(of_view(16, "x0")),
    measured="logarithm of the ratio, patches of 16 × 16 against 8 × 8 {gap:.2f}",
    holds=lambda gap: gap.higher,
    null={"the velocity, at other noises": by_patch(of_view(16, "flow", "again"))},
    expected=None,
)


# %%
def stored(row, size):
    """The pictures of a row, (n, 1, size, size) in [-1, 1]."""
    raw = torch.tensor([*base64.b64decode(row["pictures"])], dtype=torch.float32)
    return raw.reshape(-1, 1, size, size) / 127.5 - 1


fig, axes = plt.subplots(2, 2, figsize=(11, 2.9), layout="constrained")
for line, patch in zip(axes, (16, 8)):
    for ax, view in zip(line, ("x0", "flow")):
        title = f"{names[view]}, patches of {patch} × {patch}"
        plots.pictures(stored(by_view[patch, view, 0], 32), 8, title, ax=ax)
plots.show(
    fig,
    alt="Two rows of two groups of eight. x0 with both patches: digits, about half of them faint or "
    "broken. The velocity with large patches: noise in which pale digits can be seen. The velocity "
    "with small patches: ragged digits in weaker noise.",
)

# %% [markdown]
# The second claim cannot be told apart: with patches as large as the width $x_0$ is ahead as well, by about the same factor. So
# the size of the patch is not shown to be the cause. Li and He report that predictions of noised quantities can fail with large
# patches at full size. Their JiT-B/16 has width 768 and patches of 768 numbers: our patches of 8 × 8 are nearer to that case.
#
# The theorem is about the loss, and the table agrees with it. With large patches the loss of the velocity stays above its floor
# of 0.770; with small patches it is far below that number.  Losses do not tell the distances of samples: with small patches
# they are 0.31 and 0.33, the distances 4 and 51.
#
# ## Alignment with the features of a classifier
#
# Yu et al. (2025, *REPA*) found that the inner tokens of a DiT carry, after long training, features like those of networks
# that were trained to recognise pictures. Their idea: give these features from the start. **Representation alignment** adds a
# term to the loss. The tokens $h$ after an early block, mapped by a small network $P$, should point in the direction of the
# features $f$ of the *clean* picture at the same place:
#
# $$L = L_\text{velocity} - \lambda \, \mathbb E\, \frac{1}{N} \sum_n \cos\big(P(h_n),\, f_n(x_0)\big) .$$
#
# They use features of a large network that was trained on pictures without labels (DINOv2). After training $P$ is thrown away.
# Our features come from the classifier of digits that this course uses as evaluator, from its map of 4 × 4 places. As code:

# %%
classifier = models.load("classifier", device="cpu")
project = nn.Sequential(
    nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64)
)


def alignment(tokens, x0, strength=0.5):
    """The second term (), for tokens (B, 16, 64) and clean digits x0 (B, 1, 16, 16)."""
    features = classifier.body[:6](x0).flatten(2).mT  # (B, 16 places, 64)
    return -strength * torch.cosine_similarity(project(tokens), features, dim=2).mean()


with torch.no_grad():
    print(f"{alignment(randn(8, 16, 64, rng=seeded(0)), pictures[:8]):.3f} for random tokens")

# %% [markdown]
# **Does it help here?** Yu et al. measure FID and the time of training. Here a Frechet distance uses the features of the same
# classifier, so it would favour samples from a network that was trained to match them. So the loss of the velocity on held-out
# digits decides, without the second term, after 400 steps of DiT M. The two arms differ in the term alone. A third has the same
# term with the features of *another* picture of the batch.

# %% tags=["nbval-ignore-output"]
predict(
    "dit-aligned.verdict",
    "“After 400 steps the loss of the velocity is lower with alignment.” Which verdict?",
    choices=("yes", "no", "cannot be told apart"),
)

# %%
aligned = {(r["features"], r["seed"]): r["loss"] for r in measured["aligned"]}
losses = {"plain": of_gates("zero", "loss")}
losses |= {arm: [aligned[arm, s] for s in range(3)] for arm in ("aligned", "misaligned")}
for arm, values in losses.items():
    print(f"{arm:12} {estimate(values):.4f}")


def beside_plain(arm):
    """The claim's figures: losses beside those without the term."""
    return dict(loss=compare(losses[arm], losses["plain"]))


claim(
    "dit-aligned",
    "After 400 steps, a DiT that was aligned with the classifier's features has a lower loss "
    "of the velocity on held-out digits than the same DiT without.",
    figures=beside_plain("aligned"),
    measured="loss, aligned against plain {loss:.4f}",
    holds=lambda loss: loss.lower,
    null={"aligned with another picture": beside_plain("misaligned")},
    expected=None,
)

# %% [markdown]
# No gain was seen: the mean loss is a little higher with the term, and three trainings cannot tell it from none. This does not
# contradict the paper. Its features come from a far larger network and far more pictures, its measure is the distance of
# samples, and its trainings are long.
#
# ## What you saw
#
# - A DiT is patchify, equal blocks and unpatchify. Positions come from an added encoding alone; time and class from shift,
#   scale and gate.
# - With gates that start at 0 the Frechet distance after 400 steps is {{dit-zero.distance.a}}, at 1 {{dit-zero.distance.b}}.
# - After 45 s on 4,000 digits the U-Net is at {{dit-unet.time.a}}, DiT L at {{dit-unet.time.b}}.
# - With patches four times as large as the width, a prediction of $x_0$ is at {{dit-prediction.velocity.a}}, of the velocity at
#   {{dit-prediction.velocity.b}}. With patches as large as the width $x_0$ is ahead, too (4 beside 51): the size of the patch
#   is not shown to be the cause. A theorem about the last layer gives a floor of each loss.
# - Alignment: loss {{dit-aligned.loss.a}} after 400 steps, without it {{dit-aligned.loss.b}}.
#
# ## At full size
#
# DiT-XL/2 has 28 blocks of width 1,152 with 16 heads, on latents of 32 × 32 × 4 in patches of 2 × 2. One evaluation costs 118.6
# Gflops, which are multiply-adds. It reached, with guidance, an FID of 2.27 on ImageNet 256 × 256 after 7 million steps. JiT,
# with patches of 16 × 16 on pixels and without an autoencoder, reports 1.82 for its largest network. With alignment, Yu et al.
# reach the FID of SiT-XL (a DiT on a flow) after 7 million steps, without guidance, in fewer than 400,000. With guidance it is
# 1.42 at the end.
#
#

# %% tags=["nbval-ignore-output"]
guesses("dit-unet.verdict", "dit-prediction.ratio_large", "dit-aligned.verdict")

# %% [markdown]
# ## Think about it
#
# 1. All gates are 0 at the start, so no block does anything. Why does training not stay there?
#
# <details><summary>Answer</summary>
#
# The output is $h + \alpha\,F(h)$. Its derivative with respect to $\alpha$ is $F(h)$, which is not 0: the layers inside the
# block have ordinary random weights. So the gates move at once (after the last layer, which is also 0 at first). Only the
# derivatives of the weights inside of $F$, of shift and of scale carry the factor $\alpha$, and wait for it. If $F$ were 0,
# too, both would stay at 0.
#
# </details>
#
# 2. A patch has 256 numbers, the width is 64. Would a second linear layer, from 64 to 1,024 to 256 with an activation between,
#    remove the floor?
#
# <details><summary>Answer</summary>
#
# The theorem would no longer apply, since the outputs would fill a curved set, not a plane of 64 dimensions. But still 64
# numbers would have to say which noise of 256 independent numbers is in the patch. Each patch of noise is new, so this code
# would have to store four numbers in one. For patches of digits 64 numbers are enough, as the spectrum shows.
#
# </details>
#
# ## Words
#
# - **patchify**: to cut a picture into squares and write each as one vector, a token.
# - **layer norm**: normalisation to mean 0 and variance 1 over the numbers of each token.
# - **adaLN-Zero**: adaptive layer norm with a gate (the factor of a block's output), where the layer that makes shift, scale
#   and gate starts at zero.
# - **multiply-add**: one product added to a sum, the unit in which operations are counted.
# - **representation alignment**: a term of the loss by which inner tokens approach the features of another network; REPA.
#
# Used again: diffusion transformer (lesson 04), self-attention (lesson 04), token (lesson 09), rectified flow (lesson 16),
# velocity (lesson 02).
#
# ## In practice
#
# A small DiT in diffusers (0.42.1):
#
# ```python
# import torch
# from diffusers import DiTTransformer2DModel
# from torch.utils.flop_counter import FlopCounterMode
#
# sizes = dict(num_attention_heads=4, attention_head_dim=16, num_layers=4, patch_size=2, sample_size=16)
# net = DiTTransformer2DModel(in_channels=1, norm_num_groups=1, num_embeds_ada_norm=10, **sizes).eval()
# x_t, t, label = torch.randn(2, 1, 16, 16), torch.tensor([500, 500]), torch.tensor([3, 7])
# with torch.no_grad(), FlopCounterMode(display=False) as counter:
#     v = net(x_t, timestep=t, class_labels=label).sample
# assert v.shape == x_t.shape and counter.get_total_flops() > 0
# ```
#
# {{names}}
#
# | our name | diffusers' |
# |---|---|
# | `DiT` | `DiTTransformer2DModel` |
# | `ModulationLayer`, the records | `AdaLayerNormZero` |
# | `DiTBlock` | `BasicTransformerBlock` with `norm_type="ada_norm_zero"` |
#
# ## Next
#
# [26, Words by diffusion](26_masked_diffusion.ipynb): noise that hides words, and a network that fills them in.
