# %% [markdown]
# # 04 The U-Net: the network inside
#
# **You will be able to** say what every part of the network does, write the three that matter (time as waves, the residual
# block, self-attention), look inside while it denoises, and say from measurements what each part is worth.
#
# **Time** 50 minutes. **Needs** lessons 00 to 02. **Papers** Olaf Ronneberger, Philipp Fischer, Thomas Brox: *U-Net* (2015);
# Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models* (2020), appendix B; Prafulla Dhariwal, Alex
# Nichol: *Diffusion Models Beat GANs on Image Synthesis* (2021), section 3.

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("04")

# %% [markdown]
# ## A picture in, a picture out
#
# Until now the network was a black box: a noisy picture $x_t$ and a time $t$ go in, a guess of the same size comes out. To
# guess well it must see the **whole** picture (is it a 3 or an 8?) and every **pixel** of it (where does the stroke end?).
# A U-Net does both. On its way down it halves the picture again and again, and each halving doubles what one place sees. On
# its way up it doubles it again, and at every size a **skip connection** hands over the map from the way down, which still
# knows where things are.
#
# This is the digit model that ships with the course. A hook on every block tells what comes out of it.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from course_lib import plots
from course_lib.datasets import digits
from course_lib.denoisers import NULL
from course_lib.nets.hooks import record_activations
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
network = models.load("digits")
x0, label = digits.load("held_out")

with record_activations(network.net) as recorded, torch.no_grad():
    network.given(NULL)(x0[:1], 500)
for name, out in recorded.items():
    what = "looks of each place" if name.endswith("attention") else "feature maps"
    print(f"{name:30} {' × '.join(map(str, out.shape[1:])):>12}  {what}")

# %% [markdown]
# Read it as a **U**: down from 16 × 16 to 4 × 4 with ever more channels, and up again. Two of the blocks have
# self-attention; their extra line says, for each of 2 heads, how 16 places look at 16 places.
#
# ## Time, as waves
#
# The network must know $t$: at $t = 900$ it should paint a bold guess, at $t = 10$ polish. A single number is a poor thing to
# tell a network. Ho et al. took the **sinusoidal embedding** of Vaswani et al. (2017, section 3.5): sines and cosines of $t$
# at frequencies that fall geometrically from 1 down towards $1 / 10{,}000$,
#
# $$\left[\sin(t f_0), \dots, \sin(t f_{d/2-1}),\ \cos(t f_0), \dots, \cos(t f_{d/2-1})\right], \qquad
# f_i = 10{,}000^{-i / (d/2)}.$$
#
# The fast waves tell neighbours apart, the slow ones tell early from late.
#
# ### Exercise 1: `sinusoidal` (difficulty 1, 6 minutes)
#
# Times (B,) to numbers (B, dim).


# %%
def my_sinusoidal(time, dim):
    """Times (B,) in steps, to (B, dim): dim / 2 sines, then dim / 2 cosines."""
    ...  # write it here


check.sinusoidal(my_sinusoidal)

# %%
check.solution("sinusoidal")

# %%
from course_lib.nets.embeddings import fourier, sinusoidal
from course_lib.process import seeded

t = torch.arange(0, 1001.0, 5)
frequency = 16 * torch.randn(64, generator=seeded(0))
embedded = {"sinusoidal": sinusoidal(t, 128), "random Fourier": fourier(t / 1000, frequency)}

fig, axes = plt.subplots(1, 3, figsize=(11.5, 4))
for ax, (name, rows) in zip(axes, embedded.items()):
    shown = ax.imshow(rows.T, aspect="auto", extent=(0, 1000, 127, 0), cmap="cividis")
    ax.set(title=name, xlabel="time t", ylabel="number in the vector")
near = [int((t - 500).abs().argmin())]
for (name, rows), colour, line in zip(embedded.items(), (BLUE, RED), ("-", "--")):
    axes[2].plot(t, torch.cosine_similarity(rows[near], rows), line, color=colour, label=name)
axes[2].set(title="How like t = 500", xlabel="time t", ylabel="cosine similarity", ylim=(-0.4, 1.5))
axes[2].legend(loc="upper left")
plots.show(
    fig,
    alt="Two heat maps of waves over time, fast and slow in order for the sinusoidal embedding, all mixed for random Fourier "
    "features; and similarity to t = 500, a peak there for both, broad shoulders for the sinusoidal one only.",
)

# %% [markdown]
# **Random Fourier features** (Tancik et al. 2020; Song et al. 2021) draw their frequencies once at random and keep them:
# $[\sin 2\pi f_i t,\ \cos 2\pi f_i t]$ with $f_i \sim \mathcal N(0, 16^2)$ and $t$ in $[0, 1]$. Their likeness falls to
# nothing within a few steps; the sinusoidal embedding keeps a memory of what is far. Which is better? We shall measure it.
#
# ## The residual block
#
# Two convolutions, each after a norm and a bend (SiLU), and a path **around** them. The vector that holds time and class enters
# in between. Ho et al. *added* it. Dhariwal and Nichol let it **shift and scale** what the norm gives, which they call adaptive
# group normalisation (their eq. 3):
#
# $$h = \mathrm{conv}_1(\mathrm{silu}(\mathrm{norm}_1(x))), \qquad
# \mathrm{AdaGN}(h, e) = (1 + e_{\text{scale}})\,\mathrm{norm}_2(h) + e_{\text{shift}},$$
# $$\mathrm{block}(x, e) = \mathrm{skip}(x) + \mathrm{conv}_2(\mathrm{silu}(\mathrm{AdaGN}(h, e))).$$
#
# Addition says "a little more of this map". Scaling can also say "none of this map, at this time".
#
# ### Exercise 2: `residual_block` (difficulty 2, 10 minutes)
#
# The layers are there: `block.norm1`, `block.conv1`, `block.modulate` (which makes shift and scale, side by side, of the
# embedding), `block.norm2`, `block.conv2`, `block.skip`. Put them together.


# %%
def my_residual_block(block, x, emb):
    """x (B, C, H, W) and the embedding (B, E), to (B, C_out, H, W)."""
    ...  # write it here


check.residual_block(my_residual_block)

# %%
check.solution("residual_block")

# %% [markdown]
# ## Self-attention
#
# A convolution looks at neighbours. In **self-attention** every place looks at all places at once. Each place asks a *query*
# $q$, offers a *key* $k$ and says a *value* $v$; it gathers what is said, weighted by how well the keys answer its query
# (Vaswani et al. 2017, eq. 1):
#
# $$\mathrm{attention}(q, k, v) = \mathrm{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v.$$
#
# Without the $\sqrt d$ the looks would grow with the length $d$ of the vectors, and the softmax would see one place only.
# Looking costs (places)², so it stands where the maps are small.
#
# ### Exercise 3: `self_attention` (difficulty 2, 8 minutes)


# %%
def my_self_attention(q, k, v):
    """Each (B, heads, places, d); so is the answer."""
    ...  # write it here


check.self_attention(my_self_attention)

# %%
check.solution("self_attention")

# %% [markdown]
# ## Look inside
#
# A five is drawn in 25 steps. Click a block to see its feature maps large, move the slider to see them change with $t$. At
# 16 × 16 on the left you find edges and noise; at 4 × 4 nothing that an eye could read; at 16 × 16 on the right the digit
# comes together again. Blocks with ◉ have self-attention: choose one, then click a place in the large picture to see where
# that place looks.

# %%
from course_lib.samplers import ddim
from course_lib.widgets.explorer import explore

five = network.given(5)
noise = network.draw_noise(1, seeded(3))
explore(five, ddim(five, noise, network.process.times(25)))

# %% [markdown]
# ## How far does it look?
#
# The derivative of one output pixel by all input pixels says where the answer comes from. We take the guess $\hat x_0$ in
# the middle, average $|\partial \hat x_0 / \partial x_t|$ over 200 held-out digits, and do so at several times.

# %%
some = x0[:200]
wide, reach = {}, {}
rows, columns = torch.meshgrid(torch.arange(16.0) - 8, torch.arange(16.0) - 8, indexing="ij")
distance = (rows**2 + columns**2).sqrt()
for t in (20, 100, 300, 500, 700, 900):
    eps = torch.randn(some.shape, generator=seeded(t))
    x_t = network.process.add_noise(some, t, eps).requires_grad_()
    network.given(NULL)(x_t, t).x0[:, 0, 8, 8].sum().backward()
    wide[t] = x_t.grad.abs().mean((0, 1))
    reach[t] = float((wide[t] * distance).sum() / wide[t].sum())

fig, axes = plt.subplots(1, 6, figsize=(11.5, 2.9))
for ax, (t, picture) in zip(axes, wide.items()):
    ax.imshow(picture / picture.max(), cmap="cividis", vmin=0, vmax=1)
    ax.set(title=f"t = {t}", xticks=[], yticks=[], xlabel=f"{reach[t]:.1f} pixels")
plots.show(
    fig,
    alt="Six maps of where the middle pixel's answer comes from: at t = 20 the middle itself, at t = 900 the whole picture.",
)

# %%
claim(
    "unet-looks-wider-in-noise",
    "The noisier the picture, the wider the network looks.",
    measured=f"mean distance of what counts: {reach[20]:.1f} pixels at t = 20, {reach[500]:.1f} at 500, "
    f"{reach[900]:.1f} at 900",
    holds=reach[20] < reach[500] < reach[900],
)

# %% [markdown]
# Nobody told it so. In little noise the pixel itself says nearly all; in much noise only the whole picture can tell, and every
# pixel is a small vote.
#
# ## What is each part worth?
#
# The recipe of lesson 00, each time with one part taken out or exchanged, each for the same 30 seconds on two cores, with three
# seeds. That takes a quarter of an hour, so it was done once, by
#
#     python tests/benchmarks/unet_ablation.py
#
# and its results ship as `data/figures/unet_ablation.json`. (A skip connection "taken out" carries zeros: the same work, with
# nothing in it. Without residual paths, blocks give what their convolutions give.) **Bars** are means, **dots** the three
# seeds. Equal *time* is hard on what is slow, and fair: it is what you pay.

# %%
runs = figures.load("unet_ablation")
PARTS = runs["part"].unique().tolist()
ACCURACY, FRECHET = "class accuracy, plain (w = 1)", "Frechet distance, plain (w = 1)"
fig, axes = plt.subplots(1, 2, figsize=(11.5, 5), sharey=True)
for ax, figure, title in zip(axes, (FRECHET, ACCURACY), ("Frechet distance (low is good)", "Class accuracy, w = 1")):
    seeds = figures.values(runs, figure, part=PARTS)  # (parts, seeds)
    means, errors = seeds.mean(1), seeds.std(1, ddof=1)
    colours = [GREEN if part == "the whole" else BLUE for part in PARTS]
    ax.barh(PARTS, means, xerr=errors, color=colours, height=0.6, error_kw={"lw": 2.5, "capsize": 5})
    ax.plot(seeds, range(len(PARTS)), "o", color="black", ms=5)
    ax.axvline(means[0], color=GREEN, lw=1.5, ls="--")
    ax.set(title=title)
axes[0].invert_yaxis()
axes[1].set(xlim=(0.4, 1))
plots.show(
    fig,
    alt="Bars with error bars: without skip connections by far the worst, without residual paths second, without time third; "
    "without self-attention and with random Fourier time about as good as the whole.",
)


# %%
def worth(part):
    """How much the Frechet distance grows without it, and the standard error of that."""
    a, b = (figures.values(runs, FRECHET, part=name) for name in (part, "the whole"))
    return a.mean() - b.mean(), np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))


largest, next_largest = sorted((worth(part)[0] for part in PARTS[1:]), reverse=True)[:2]
gain, error = worth("no skip connections")
claim(
    "unet-skip-connections",
    "Of all parts, the skip connections are worth most.",
    measured=f"Frechet distance +{gain:.1f} ± {error:.1f} without them; the next part: +{next_largest:.1f}",
    holds=gain == largest and gain > 2 * error,
)

# %%
paths, time = worth("no residual paths"), worth("no time")
claim(
    "unet-residual-and-time",
    "Residual paths and the time embedding are each worth their place.",
    measured=f"Frechet distance +{paths[0]:.1f} ± {paths[1]:.1f} without paths, +{time[0]:.1f} ± {time[1]:.1f} without time",
    holds=paths[0] > 2 * paths[1] and time[0] > 2 * time[1],
)

# %%
attention, waves = worth("no self-attention"), worth("random Fourier time")
claim(
    "unet-attention-at-16",
    "In 30 s at 16 × 16, self-attention and the kind of waves make no difference that three seeds could tell.",
    measured=f"Frechet distance {attention[0]:+.2f} ± {attention[1]:.2f} without attention, "
    f"{waves[0]:+.2f} ± {waves[1]:.2f} with Fourier waves",
    holds=abs(attention[0]) < 3 * attention[1] and abs(waves[0]) < 3 * waves[1],
)

# %% [markdown]
# **What does not hold in miniature.** The lecture's U-Nets have self-attention, and Dhariwal and Nichol gained from more of
# it, at 32 × 32, 16 × 16 and 8 × 8. Our picture is as large as their middle maps; at 4 × 4 three convolutions see everything
# anyway, and the time that attention takes is worth as much as what it brings. Note, too, what survives without time: a
# network that is not told $t$ can see from the picture itself how noisy it is, and loses little accuracy.
#
# ## Failure museum: time told badly
#
# The embedding is made for $t$ in *steps*, 0 to 1,000. Many programs keep time as a fraction, and hand over $t / T$. Nothing
# crashes. But then 500 and 510 are nearly the same vector, and 20 and 900 not far apart:

# %%
t = torch.arange(0, 1001.0, 5)
right, wrong = sinusoidal(t, 128), sinusoidal(t / 1000, 128)
fig, ax = plt.subplots(figsize=(9.5, 4))
for rows, name, colour, line in ((right, "t in steps", BLUE, "-"), (wrong, "t as a fraction", RED, "--")):
    ax.plot(t, torch.cosine_similarity(rows[[100]], rows), line, color=colour, label=name)
ax.set(title="How like t = 500 the embedding is", xlabel="time t", ylabel="cosine similarity", ylim=(0, 1.1))
ax.legend(loc=(0.62, 0.55))
plots.show(fig, alt="With t in steps a sharp peak at 500; with t as a fraction a line near 1 throughout.")

# %%
print("time as a fraction:", check.sinusoidal(lambda time, dim: sinusoidal(time / 1000, dim)).diagnosis)
columns = lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v
print("softmax over the wrong axis:", check.self_attention(columns).diagnosis)

# %% [markdown]
# ## What you saw
#
# - The network is a U: down to see the whole, up to place each pixel, skip connections across. Without those it is by far
#   worst.
# - Time enters as waves, and shifts and scales every block's maps. The network can do without, but not as well.
# - The noisier the picture, the wider it looks; nobody told it to.
# - At this size attention brings nothing that three seeds could tell. That is a result, too, and a warning about habits.
#
# **At full size**: Ho et al.'s network for CIFAR10 has 36 million numbers, four resolutions from 32 × 32, two blocks at each,
# self-attention at 16 × 16; for 256 × 256 pictures 114 million and six resolutions. Dhariwal and Nichol's for ImageNet at
# 256 × 256 has 554 million and attention at three resolutions. Ours has 413,425. The parts are the same.
#
# **Think about it**
#
# 1. A skip connection at the finest resolution hands the noisy input almost straight to the output. Why does that help a
#    network that predicts noise, or $v$? Would it help as much if it predicted $x_0$?
# 2. Self-attention knows nothing of *where* a place is. How can the maps tell it?
#
# **Next:** lesson 05 sets diffusion beside its two rivals, the GAN and the VAE, on the same digits in the same seconds.
