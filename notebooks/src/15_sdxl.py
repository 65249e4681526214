# %% [markdown]
# # 15 SDXL: tell the network how its pictures came about
#
# **You will be able to** train on pictures that are too small or badly cut without drawing such pictures, give a network two
# text encoders, hand the last steps to a second network, and measure what each of these is worth, one at a time.
#
# **Time** 45 minutes. **Needs** lessons 08 (guidance), 09 (text) and 12 (latents). **Paper** Dustin Podell, Zion English et
# al.: *SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis* (2023).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("15")

# %% [markdown]
# ## Pictures as they are found
#
# So far all of our pictures were made for us: each as large as the rest, each object whole. Pictures that are **found** are
# not. Many are too small. Many show half of a thing, since pictures of all shapes were cut to fit. One can throw away what
# is not good enough: SDXL's authors would have lost 39 % of theirs by asking for 256 pixels. Or one keeps it, enlarged, and
# then the network learns blur and cut-off heads as well as all else, and draws them.
#
# Here is such a collection: 4,000 captioned pictures. Half were small, 8 or 16 pixels wide, and have been enlarged; of half, up
# to 12 pixels are missing at the top and at the left. A quarter is as it should be.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from course_lib import plots
from course_lib.guidance import classifier_free
from course_lib.methods.sdxl import ExpertSwitch
from course_lib.nets.sdxl import WHOLE
from course_lib.process import seeded
from course_lib.samplers import ddim, sample
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.widgets.player import play
from course_lib.zoo import figures, models
from course_lib.zoo.recipes.sdxl import collection

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
runs = figures.load("sdxl")
x, tokens, micro = collection(4000)
whole = (micro == torch.tensor(WHOLE)).all(1)
fig, ax = plt.subplots(figsize=(11.5, 3.6))
plots.pictures(
    x[:36],
    columns=12,
    ax=ax,
    title=f"as they are found: {100 * float(whole.float().mean()):.0f} % are large and whole",
)
plots.show(
    fig,
    alt="36 captioned pictures of shapes, many of them made of coarse blocks, or with objects cut off at top and left.",
)

# %% [markdown]
# (Enlarged means here: each pixel becomes a block. Usual software would blur instead. But we work in the latents of lesson 12,
# and that autoencoder never saw a blur: it *sharpens* one, into the wrong shape and colour. Blocks come back as blocks.)
#
# How good could a picture be? The same 200 scenes, painted as they should be; encoded and decoded; and small before that.
# What the reader finds right, the **detail**, which is what a picture holds that blocks of 2 × 2 pixels could not (a root
# mean square), and the Frechet distance of the crowd from 2,000 other real pictures, in the reader's features. The first two
# lines are the floor of that distance for so few pictures.


# %%
def seeds(kind, figure, what="drawing"):
    """One figure of a kind, by seed."""
    return figures.values(runs, figure, what=what, kind=kind)


def real(kind, figure):
    return seeds(kind, figure, "real pictures")[0]


for kind in ("large and whole", "decoded", "side 16", "side 8"):
    print(
        f"{kind:16} all right {100 * real(kind, 'all'):5.0f} %   detail {real(kind, 'detail'):.3f}   ",
        end="",
    )
    print(f"Frechet distance {real(kind, 'Frechet distance'):.2f}")

# %% [markdown]
# ## Micro-conditioning
#
# The remedy is a sentence long: **tell the network**. Each picture comes with what is known of its making: the side that it had
# before it was enlarged, and how many pixels were cut off at its top and at its left. The network then need not explain a
# coarse picture by the world; it has been told. In sampling one asks for what one wants: $(32, 0, 0)$, a large picture of
# which nothing is missing.
#
# Each of the numbers is embedded as time is (lesson 04), by sines and cosines. The embeddings stand **side by side**, go
# through a small network, and are added to the embedding of time (Podell et al., section 2.2; their size has two numbers,
# height and width, ours are squares).
#
# ### Exercise 1: `micro_embedding` (difficulty 1, 6 minutes)
#
# `sinusoidal(numbers, dim)`, from lesson 04, makes (B, dim) of (B,).

# %%
from course_lib.nets.embeddings import sinusoidal


def my_micro_embedding(micro, dim):
    """micro (B, 3), whole numbers: side, top, left. All three embedded, side by side (B, 3 dim)."""
    ...  # write it here


check.micro_embedding(my_micro_embedding)

# %%
check.solution("micro_embedding")

# %% [markdown]
# The network that ships was told. The same noise and the same captions, and only what it is told of the picture's making
# changes:

# %%
base, autoencoder, detector = (models.load(name) for name in ("sdxl", "autoencoder", "reader"))
prompts = [
    "a red circle left of a blue square",
    "a small yellow star above a big green circle",
    "a large white triangle in the top left corner",
    "three pink stars",
    "a white square above a red triangle",
    "a big blue star in the middle",
]
making = {
    "32, whole": WHOLE,
    "side 16": (16, 0, 0),
    "side 8": (8, 0, 0),
    "cut 8, 8": (32, 8, 8),
    "cut 0, 12": (32, 0, 12),
}
z_T = base.draw_noise(6, seeded(3))
guided = lambda micro: classifier_free(base, (prompts, micro), 3.0)
rows = autoencoder.decode(
    torch.cat([sample(guided(micro), z_T, 20) for micro in making.values()])
)
fig, ax = plt.subplots(figsize=(10, 7))
plots.pictures(
    rows,
    columns=6,
    ax=ax,
    title="the same noise, told another story of its making",
    rows=list(making),
)
plots.show(
    fig,
    alt="Six captions drawn as large and whole, as once 16 or 8 pixels wide, and as cut at the top and left.",
)

# %% [markdown]
# Scrub: on the left what is asked for is large and whole, in the middle the same noise as if it had been 8 pixels wide, on the
# right as if the top and the left were missing. All three begin alike. When do they part?

# %%
films = {
    name: list(ddim(guided(making[name]), z_T, base.process.times(20)))
    for name in ("32, whole", "side 8", "cut 8, 8")
}
play(
    films["32, whole"],
    draw=lambda step: {
        name: autoencoder.decode(next(other.x0 for other in film if other.t == step.t))
        for name, film in films.items()
    },
)

# %% [markdown]
# ### Measured: thrown away, kept, told
#
# Large models are trained in stages, each from the weights of the one before. All of ours begin as lesson 12's network, which
# has seen good pictures only, and go on for 600 steps of 48 latents. They differ in what they are shown:
#
# - **large only**: all that was small or cut is thrown away, three quarters of the collection;
# - **all, not told**: everything is kept, and nothing is said;
# - **told**: everything is kept, and its making is told.
#
# Each draws 80 captions of two objects from three seeds, $w = 3$. The reader says whether all that was asked is right. Two
# plain measures say the rest: in how many pictures something **touches the border**, and the **detail**, as a share of what
# real pictures hold after the autoencoder. Made by `python tests/benchmarks/sdxl.py`.

# %%
COLUMNS = {
    "all": "right",
    "shape": "shapes",
    "colour": "colours",
    "touch the border": "border",
    "detail": "detail",
}


def share(kind, figure):
    """A figure by seed; the detail as a share of real pictures'."""
    return seeds(kind, figure) / (real("decoded", "detail") if figure == "detail" else 1)


def table(kinds):
    print(
        f"{'':22}" + "".join(f"{name:>10}" for name in COLUMNS.values()) + f"{'distance':>10}"
    )
    for kind in kinds:
        percent = "".join(f"{100 * share(kind, figure).mean():9.0f}%" for figure in COLUMNS)
        print(f"{kind:22}{percent}{seeds(kind, 'Frechet distance').mean():10.2f}")


FOUR = ("before", "large only", "all, not told", "told")
fig, axes = plt.subplots(1, 3, figsize=(12, 4.2))
for ax, figure in zip(axes, ("all", "touch the border", "detail")):
    percent = 100 * np.array([share(kind, figure) for kind in FOUR])
    ax.bar(
        range(4),
        percent.mean(1),
        yerr=percent.std(1, ddof=1),
        capsize=6,
        color=("0.6", ORANGE, RED, BLUE),
    )
    ax.set(title={"all": "right"}.get(figure, figure), xticks=range(4), ylabel="%")
    ax.set_xticklabels(("before", "large\nonly", "not\ntold", "told"), fontsize=12)
    ax.set_ylim(0, 115 if figure == "detail" else 100)
plots.show(
    fig,
    alt="Four networks: share of right pictures, of pictures that touch the border, and their detail.",
)

# %%
table(FOUR)

# %%
without, with_micro = (
    seeds("all, not told", "touch the border"),
    seeds("told", "touch the border"),
)
coarse, fine = share("all, not told", "detail"), share("told", "detail")
claim(
    "sdxl-micro-conditioning",
    "A network that is told of size and crop draws whole objects in full detail, though most of its pictures had neither.",
    measured=f"touch the border {100 * with_micro.mean():.0f} % against {100 * without.mean():.0f} % untold; "
    f"detail {100 * fine.mean():.0f} % of real pictures' against {100 * coarse.mean():.0f} %",
    holds=bool((with_micro < without).all() and (fine > coarse).all()),
)

# %%
kept, thrown = seeds("told", "all"), seeds("large only", "all")
claim(
    "sdxl-keep-small-pictures",
    "To keep small and cut pictures, and tell, is better than to throw them away.",
    measured=f"all right in {100 * kept.mean():.0f} % against {100 * thrown.mean():.0f} % with a quarter of the pictures",
    holds=bool((kept > thrown).all()),
    expected=False,
)

# %% [markdown]
# It is not better here, and one sees why. Lesson 12's network had seen 166,400 good pictures before it met the collection. A
# thousand more keep what it knew; what was small or cut has nothing to teach that it does not know yet; and who keeps it spends
# three quarters of all steps on pictures that nobody will ask for. Podell et al. were short of pictures, and we are not. What
# the miniature does measure is the price: keeping poor pictures costs a third of what is right where nothing is told, and next
# to nothing where it is.
#
# And the network that was told has not forgotten how to draw poorly. It does so when asked, and only then:

# %%
table(("told", "told, asked for side 8", "told, asked for cut"))

# %% [markdown]
# ## Two text encoders
#
# SDXL listens to two text encoders at once, both frozen, both CLIP's (Radford et al.'s and a larger one): a word's vector is
# the two vectors, one after the other. Ours are lesson 12's, which began as one that rewrites captions and never saw a picture,
# and that of lesson 10's CLIP, which learned from pictures what words look like. All stay as they are.
#
# ## A larger U-Net
#
# SDXL's U-Net has 2.6 billion numbers, three times as many as its predecessors'. Most of the growth is attention, and none of
# that is at the finest maps, where it would cost most: the paper has 2 and 10 transformer blocks at the two coarser levels,
# where its predecessors had one at each. Ours gets three more pairs of self- and cross-attention at each block of its
# coarsest maps, 4 × 4.
#
# Both additions begin **silent**, with weights of 0, so that the network draws at first what lesson 12's draws, and both can
# start from it.

# %%
print(f"{'':16}{'U-Net':>12}{'text':>10}{'loss':>8}")
for _, row in figures.where(runs, what="training").iterrows():
    print(
        f"{row['kind']:16}{row['U-Net parameters']:12,.0f}{row['text parameters']:10,.0f}{row['loss']:8.3f}"
    )

# %% [markdown]
# ## A refiner for the last steps
#
# In much noise a network decides what lies where; in little noise it only perfects. SDXL trains a second network for the
# second task alone: on the best pictures only, and only at times up to 200 of 1,000. In sampling the base hands over at
# $t = 200$. In the library that is a denoiser made of two, `ExpertSwitch(base, refiner)`, and no sampler knows of it.
#
# ### Exercise 2: `refiner_loss` (difficulty 2, 8 minutes)
#
# The loss of lesson 02, in the network's own view (`denoiser.target(x0, t, eps)`), with one change: $t$ is uniform on
# 1..`last`.


# %%
def my_refiner_loss(denoiser, x0, last, rng):
    """The denoising loss of x0 (B, C, H, W) at times 1..last: one number."""
    ...  # write it here


check.refiner_loss(my_refiner_loss)

# %%
check.solution("refiner_loss")

# %% [markdown]
# The refiner that was measured does not ship. But you own another network that saw large whole pictures only: lesson 12's. It
# works on the same latents, with the same process. Here the base is asked for what was 8 pixels wide, and lesson 12's network
# takes over, at $t = 200$ and sooner:

# %%
network = models.load("latent2shape")
coarse_model, fine_model = guided((8, 0, 0)), classifier_free(network, prompts, 3.0)
ends = {"never": 0, "at 200": 200, "at 400": 400, "at 600": 600}
made = [sample(ExpertSwitch(coarse_model, fine_model, t), z_T, 20) for t in ends.values()]
fig, ax = plt.subplots(figsize=(9, 5.8))
plots.pictures(
    autoencoder.decode(torch.cat(made)),
    columns=6,
    ax=ax,
    title="who knows fine pictures takes over from who draws coarse ones",
    rows=list(ends),
)
plots.show(
    fig,
    alt="Four rows of six pictures: coarse blocks, and ever finer shapes the sooner the second network takes over.",
)

# %% [markdown]
# ## What each is worth
#
# One at a time, against the network that is told, from the same noise. (The refiner is tried with the network that is not told,
# too: it has most to mend there.)

# %%
EACH = (
    "told",
    "two encoders",
    "larger U-Net",
    "told, refined",
    "all, not told",
    "all, not told, refined",
)
table(EACH)

# %%
fig, ax = plt.subplots(figsize=(12, 4.6))
shown = EACH[:4]
for i, figure in enumerate(("all", "colour", "detail")):
    percent = 100 * np.array([share(kind, figure) for kind in shown])
    at = np.arange(len(shown)) + 0.27 * (i - 1)
    ax.bar(
        at,
        percent.mean(1),
        0.25,
        yerr=percent.std(1, ddof=1),
        capsize=5,
        color=plots.COLOURS[i],
        label=COLUMNS[figure],
    )
ax.set(
    xticks=range(len(shown)),
    ylabel="%",
    ylim=(0, 130),
    title="each addition alone, three seeds",
)
ax.set_xticklabels(("told", "+ second encoder", "+ larger U-Net", "+ refiner"))
ax.legend(ncols=3, loc="upper center")
plots.show(
    fig,
    alt="Right pictures, right colours and detail of the told network and with each addition alone.",
)

# %%
plain = seeds("told", "all")
gains = {kind: 100 * (seeds(kind, "all") - plain) for kind in EACH[1:4]}
for kind, gain in gains.items():
    print(
        f"{kind:16} {gain.mean():+5.1f} points, seed by seed {', '.join(f'{g:+.1f}' for g in gain)}"
    )

# %%
claim(
    "sdxl-two-encoders",
    "A second text encoder, CLIP's, makes more pictures right.",
    measured=f"all right in {100 * seeds('two encoders', 'all').mean():.0f} % against {100 * plain.mean():.0f} %",
    holds=bool((gains["two encoders"] > 0).all()),
    expected=False,
)

# %%
claim(
    "sdxl-larger-unet",
    "A larger U-Net makes more pictures right.",
    measured=f"all right in {100 * seeds('larger U-Net', 'all').mean():.0f} % against {100 * plain.mean():.0f} %",
    holds=bool((gains["larger U-Net"] > 0).all()),
    expected=False,
)

# %% [markdown]
# Neither helps, and the table says why. What is wrong where something is wrong is the *shape*: the colours, which stand or fall
# with the understanding of the caption, are right already. A second encoder has nothing to add to what the first one hears.
# More attention on maps of 4 × 4 places decides better what lies where, and that was not the trouble either: an outline is
# drawn on the finer maps, and in the last steps. (Captions of full size are another matter: there one encoder misses much.)

# %%
refined = {
    kind: 100 * (seeds(f"{kind}, refined", "all") - seeds(kind, "all"))
    for kind in ("told", "all, not told")
}
claim(
    "sdxl-refiner",
    "A refiner over the last steps makes more pictures right.",
    measured="; ".join(
        f"{kind}: {100 * seeds(kind, 'all').mean():.0f} %, refined {100 * seeds(f'{kind}, refined', 'all').mean():.0f} %"
        for kind in refined
    ),
    holds=bool(all((gain > 0).all() for gain in refined.values())),
)

# %% [markdown]
# ## Failure museum
#
# **Told nothing, which is not nothing.** Whoever forgets to say how large the picture should be, and passes zeros, has said
# something: a picture of side 0, which is nearer to 8 than to 32. And who asks for more than there is, a side of 64, which no
# picture had, gets less: to the network it is a number like any other, that it never met.

# %%
wrong = {"32, whole": WHOLE, "0, forgotten": (0, 0, 0), "64, unheard of": (64, 0, 0)}
rows = autoencoder.decode(
    torch.cat([sample(guided(micro), z_T, 20) for micro in wrong.values()])
)
fig, ax = plt.subplots(figsize=(10.5, 4.6))
plots.pictures(
    rows, columns=6, ax=ax, title="numbers that the network never met", rows=list(wrong)
)
plots.show(
    fig,
    alt="Three rows of six pictures: asked for as large and whole, fine; with side 0, and with side 64, coarse blocks.",
)

# %% [markdown]
# **An embedding that adds its three numbers** cannot tell a picture cut at the top from one cut at the left:

# %%
mistaken = {
    "added, not side by side": lambda micro, dim: sum(
        sinusoidal(number.float(), dim) for number in micro.unbind(1)
    ),
    "the bare numbers": lambda micro, dim: micro.float(),
    "only the side": lambda micro, dim: sinusoidal(micro[:, 0].float(), dim),
}
for name, fn in mistaken.items():
    print(f"{name}: {check.micro_embedding(fn).diagnosis}")

# %% [markdown]
# ## What you saw
#
# - A network that is told how each picture came about can learn from three poor pictures in four and draw none of them: what it
#   is told it need not explain by the world, and in sampling one asks for what one wants.
# - Not told, the same pictures spoil it: it draws blocks and cut-off things, and a third of its pictures are wrong.
# - Where good pictures are plenty, throwing the poor ones away is as good. That claim of the paper needs a shortage.
# - A second text encoder and a larger U-Net are worth nothing here: captions are short, and understood already.
# - A refiner, trained for 150 steps on the best pictures and the last steps alone, mends most of what is left.
#
# **At full size** SDXL draws at 1,024 × 1,024, in latents of 128 × 128, with a U-Net of 2.6 billion numbers and text encoders
# of 817 million; it is told the height and width that each picture had, the crop's place, and the size that is asked for. On
# ImageNet at 512 × 512, Podell et al. report an FID of 43.8 where small pictures are thrown away, 39.8 where they are kept and
# not told, and 36.5 where they are told (their table 2). Their autoencoder is lesson 12's, trained anew on larger batches.
#
# **Think about it**
#
# 1. The network is told the side also where its caption is dropped. What would guidance do to the side if it were not?
# 2. Captions could be wrong for some pictures as well. What would you tell the network, and what would you ask for?
#
# **Next:** lesson 16, Stable Diffusion 3, leaves the U-Net behind: words and picture become one sequence.
