# %% [markdown]
# # 15 SDXL: tell the network how its pictures came about
#
# **You will be able to** train on pictures that are too small or badly cut without drawing such pictures, give a network two
# text encoders, hand the last steps to a second network, and measure what each of these is worth, one at a time.
#
# **Time** 45 minutes. **Needs** lessons 08 (guidance), 09 (text) and 13 (a frozen text encoder). **Paper** Dustin Podell, Zion
# English et al.: *SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis* (2023).

# %% tags=["nbval-ignore-output"]
from course_lib.course_map import course_map

course_map("15")

# %% [markdown]
# ## Pictures as they are found
#
# So far all of our pictures were made for us: each as large as the rest, each object whole. Pictures that are **found** are
# not. Many are too small. Many show half of a thing, since pictures of all shapes were cut to fit. One can throw away what
# is not good enough: SDXL's authors would have lost 39 % of theirs by asking for 256 pixels. Or one keeps it, enlarged, and
# then the network learns blur and cut-off heads as well as all else, and draws them.
#
# Here is such a collection: 4,000 captioned pictures. Half were small (8, 12 or 16 pixels), and have been enlarged; of half, up
# to 12 pixels are missing at the top and at the left. A quarter is as it should be.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import course_lib
from course_lib import checks as check
from course_lib import models, plots
from course_lib.claims import claim
from course_lib.datasets import captions
from course_lib.denoisers import NULL
from course_lib.guidance import ClassifierFree, DynamicThreshold
from course_lib.nets.sdxl import WHOLE
from course_lib.recipes.sdxl import collection, sdxl_drawn
from course_lib.samplers import ddim
from course_lib.sdxl import Relay
from course_lib.widgets.player import play

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
found = json.loads((Path(course_lib.__file__).parents[1] / "data/figures/sdxl.json").read_text())
x, tokens, micro = collection(400)
whole = (micro == torch.tensor(WHOLE)).all(1)
fig, ax = plt.subplots(figsize=(11.5, 3.6))
plots.pictures(
    x[:36], columns=12, ax=ax, title=f"as they are found: {100 * float(whole.float().mean()):.0f} % are large and whole"
)
plots.show(fig, alt="36 captioned pictures of shapes, many of them blurred, or with objects cut off at the top and left.")

# %% [markdown]
# ## Micro-conditioning
#
# The remedy is a sentence long: **tell the network**. Each picture comes with what is known of its making: the side that it had
# before it was enlarged, and how many pixels were cut off at its top and at its left. The network then need not explain a
# blurred picture by the world; it has been told. In sampling one asks for what one wants: $(32, 0, 0)$, a large picture of
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
base, reader = models.load("sdxl"), models.load("reader")
said = [
    "a red circle left of a blue square",
    "a small yellow star above a big green circle",
    "a large white triangle in the top left corner",
    "three pink stars",
    "a white square above a red triangle",
    "a big blue star in the middle",
]
asks = {"32, whole": (32, 0, 0), "side 16": (16, 0, 0), "side 8": (8, 0, 0), "cut 6, 6": (32, 6, 6), "cut 0, 12": (32, 0, 12)}
rows = torch.cat([sdxl_drawn(base, said, micro=ask, seed=3) for ask in asks.values()])
fig, ax = plt.subplots(figsize=(9, 7))
plots.pictures(rows, columns=6, ax=ax, title="the same noise, told another story of its making")
ax.axis("on")
ax.set(xticks=[], yticks=[16 + 33 * i for i in range(len(asks))], yticklabels=list(asks))
plots.show(fig, alt="Six captions drawn as large and whole, as once 16 or 8 pixels wide, and as cut at the top and left.")

# %% [markdown]
# ### Measured: thrown away, kept, told
#
# Three networks, the same in all but what they were shown, trained for 2,000 steps of 64 pictures each:
#
# - **large only**: all that was small or cut is thrown away, three quarters of the collection;
# - **all, not told**: everything is kept, and nothing is said;
# - **told**: everything is kept, and its making is told.
#
# Each draws 100 captions of two objects from three seeds, $w = 3$. The reader says whether all that was asked is right. Two
# plain measures say the rest: in how many pictures something **touches the border**, and how **sharp** they are, which is
# what a picture loses when it is halved and enlarged again, as a share of what real pictures lose. Made by `python
# tests/benchmarks/sdxl.py measure`.

# %%
REAL = found["real pictures"]


def of(kind, figure):
    """One figure of all seeds; sharpness as a share of real pictures'."""
    runs = np.array([row["figures"][figure] for row in found["runs"] if row["kind"] == kind])
    return runs / REAL["sharpness"] if figure == "sharpness" else runs


def table(kinds):
    print(f"{'':28}{'right':>8}{'binding':>9}{'border':>8}{'sharp':>8}{'distance':>10}")
    for kind in kinds:
        right, binding, edge, sharp = (100 * of(kind, f).mean() for f in ("all", "binding", "touch the border", "sharpness"))
        print(f"{kind:28}{right:7.0f}%{binding:8.0f}%{edge:7.0f}%{sharp:7.0f}%{of(kind, 'Frechet distance').mean():10.2f}")


THREE = ("large only", "all, not told", "told")
fig, axes = plt.subplots(1, 3, figsize=(12, 4.2))
for ax, (figure, title) in zip(
    axes, {"all": "right", "touch the border": "touch the border", "sharpness": "sharpness"}.items()
):
    runs = 100 * np.array([of(kind, figure) for kind in THREE])
    ax.bar(range(3), runs.mean(1), yerr=runs.std(1, ddof=1), capsize=6, color=(ORANGE, RED, BLUE))
    ax.set(title=title, xticks=range(3), xticklabels=("large\nonly", "all, not\ntold", "told"), ylabel="%")
    ax.set_ylim(0, 110 if figure == "sharpness" else 100)
plots.show(fig, alt="Three networks: share of right pictures, of pictures that touch the border, and sharpness.")

# %%
table(THREE)

# %%
untold, told = of("all, not told", "touch the border"), of("told", "touch the border")
soft, sharp = of("all, not told", "sharpness"), of("told", "sharpness")
claim(
    "sdxl-micro-conditioning",
    "A network that is told of size and crop draws whole objects and sharp edges, though most of its pictures had neither.",
    measured=f"touch the border {100 * told.mean():.0f} % against {100 * untold.mean():.0f} % untold; "
    f"sharpness {100 * sharp.mean():.0f} % of real pictures' against {100 * soft.mean():.0f} %",
    holds=bool((told < untold).all() and (sharp > soft).all()),
)

# %%
kept, thrown = of("told", "all"), of("large only", "all")
claim(
    "sdxl-keep-small-pictures",
    "To keep small and cut pictures, and tell, is better than to throw them away.",
    measured=f"all right in {100 * kept.mean():.0f} % against {100 * thrown.mean():.0f} %",
    holds=kept.mean() > thrown.mean(),
)

# %% [markdown]
# ## Two text encoders
#
# SDXL listens to two text encoders at once, both frozen, both CLIP's (Radford et al.'s and a larger one): a word's vector
# is the two vectors, one after the other. Ours are the language model of lesson 13, which never saw a picture, and the text
# half of lesson 10's CLIP, which learned from pictures what words look like.
#
# ## A larger U-Net
#
# SDXL's U-Net has 2.6 billion numbers, three times as many as its predecessors'. Ours goes from widths (32, 64) to (48,
# 96), which doubles its numbers.

# %%
for kind, row in found["trainings"].items():
    print(f"{kind:16} U-Net {row['U-Net parameters']:>8,} numbers, text {row['text parameters']:>8,}, loss {row['loss']:.3f}")

# %% [markdown]
# ## A refiner for the last steps
#
# In much noise a network decides what lies where; in little noise it only sharpens. SDXL trains a second network for the
# second task alone: on the best pictures only, and only at times up to 200 of 1,000. In sampling the base hands over at
# $t = 200$. In the library that is a denoiser made of two, `Relay(base, refiner)`, and no sampler knows of it.
#
# ### Exercise 2: `refiner_loss` (difficulty 2, 8 minutes)
#
# The loss of lesson 02, in the network's own view (`denoiser.truth(x0, t, eps)`), with one change: $t$ is uniform on 1..`last`.

# %%
from course_lib.process import randn_like


def my_refiner_loss(denoiser, x0, last, rng):
    """The denoising loss of x0 (B, C, H, W) at times 1..last: one number."""
    ...  # write it here


check.refiner_loss(my_refiner_loss)

# %%
check.solution("refiner_loss")

# %% [markdown]
# ## What each is worth
#
# One at a time, against the network that is told, from the same noise. (The refiner is tried with the network that is not told,
# too: it has most to mend there.)

# %%
EACH = ("told", "two encoders", "larger U-Net", "told, refined", "all, not told", "all, not told, refined")
table(EACH)

# %%
fig, ax = plt.subplots(figsize=(12, 4.6))
shown = EACH[:4]
for i, (figure, name) in enumerate({"all": "right", "binding": "binding", "sharpness": "sharpness"}.items()):
    runs = 100 * np.array([of(kind, figure) for kind in shown])
    at = np.arange(len(shown)) + 0.27 * (i - 1)
    ax.bar(at, runs.mean(1), 0.25, yerr=runs.std(1, ddof=1), capsize=5, color=plots.COLOURS[i], label=name)
ax.set(
    xticks=range(len(shown)), xticklabels=("told", "+ second encoder", "+ larger U-Net", "+ refiner"), ylabel="%", ylim=(0, 130)
)
ax.set_title("each addition alone, three seeds")
ax.legend(ncols=3, loc="upper center")
plots.show(fig, alt="Right pictures, binding and sharpness of the told network and with each addition alone.")

# %%
plain = of("told", "all")
for id, kind, statement in (
    ("sdxl-two-encoders", "two encoders", "A second text encoder, CLIP's, makes more pictures right."),
    ("sdxl-larger-unet", "larger U-Net", "A larger U-Net makes more pictures right."),
):
    gain = of(kind, "all") - plain
    print(f"{kind}: {100 * gain.mean():+.0f} points, seeds {', '.join(f'{100 * g:+.0f}' for g in gain)}")

# %% [markdown]
# ## Failure museum
#
# **Told the wrong story.** The network believes what it is told, also where it is nonsense: a picture that was 8 pixels wide
# *and* sharp does not exist, and to ask for it is to ask for blur. And an embedding that adds its three numbers cannot tell a
# picture cut at the top from one cut at the left.

# %%
mistaken = {
    "added, not side by side": lambda micro, dim: sum(sinusoidal(number.float(), dim) for number in micro.unbind(1)),
    "the bare numbers": lambda micro, dim: micro.float(),
    "only the side": lambda micro, dim: sinusoidal(micro[:, 0].float(), dim),
}
for name, fn in mistaken.items():
    print(f"{name}: {check.micro_embedding(fn).diagnosis}")

# %% [markdown]
# ## What you saw
#
# TODO
#
# **At full size** SDXL works in the latent space of lesson 12, at 1,024 × 1,024, with a U-Net of 2.6 billion numbers and
# text encoders of 817 million; and it is told the height and width that each picture had, the crop's place, and the size
# that is asked for. On ImageNet at 512 × 512, Podell et al. report an FID of 43.8 where small pictures are thrown away,
# 39.8 where they are kept and not told, and 36.5 where they are told (their table 2).
#
# **Think about it**
#
# 1. Ask for a side of 64, which no picture had. What could the network do, and what would it have to have learned?
# 2. Captions could be wrong for some pictures as well. What would you tell the network, and what would you ask for?
#
# **Next:** lesson 16, Stable Diffusion 3, leaves the U-Net behind: words and picture become one sequence.
