# %% [markdown]
# # 16 Stable Diffusion 3: straight paths, and two streams
#
# **You will be able to** write the loss of a rectified flow and the joint attention of an MM-DiT, say which times are worth
# training at, make a model write words that it has never seen, and measure how straight its paths are.
#
# **Time** 55 minutes. **Needs** lessons 09, 12 and 14. **Papers** Patrick Esser et al.: *Scaling Rectified Flow Transformers
# for High-Resolution Image Synthesis* (2024); Xingchao Liu, Chengyue Gong, Qiang Liu: *Flow Straight and Fast* (2023).

# %% tags=["nbval-ignore-output"]
from course_lib.course_map import course_map

course_map("16")

# %% [markdown]
# ## A straight line from noise to picture
#
# So far the way between picture and noise was an arc: $x_t = a\,x_0 + b\,\epsilon$ with $a^2 + b^2 = 1$. The arc came from a
# chain of small steps, which nobody needs any more. What is the simplest way from $x_0$ to $\epsilon$? A straight line:
#
# $$x_t = (1 - t)\, x_0 + t\, \epsilon, \qquad 0 \le t \le 1 .$$
#
# Who walks it moves with the **velocity** $\frac{d x_t}{dt} = \epsilon - x_0$, the same at every $t$. So a network is trained
# to say this velocity, $L = \lVert v_\theta(x_t, t) - (\epsilon - x_0) \rVert^2$, and sampling is to walk it backwards, from
# noise at
# $t = 1$, in plain Euler steps: $x_s = x_t + (s - t)\, v_\theta$. (Liu et al. call it a *rectified flow*; their time runs the
# other way.)
#
# ### Exercise 1: `flow_loss` (difficulty 1, 8 minutes)
#
# `net(x_t, t)` gives a velocity (B, ...); `t` is (B,). Return the mean square of what it is off.


# %%
def my_flow_loss(net, x0, t, eps):
    """The loss of a rectified flow for pictures x0 (B, ...), times t (B,) and noise eps (B, ...)."""
    ...  # write it here


from course_lib import checks as check

check.flow_loss(my_flow_loss)

# %%
check.solution("flow_loss")

# %% [markdown]
# You have seen it before: it is the loss of lesson 02 in another *view* of the same belief, `pred.flow`, over another process.
# And the Euler step is DDIM's line of lesson 14, $x_s = (1 - s)\,\hat x_0 + s\,\hat\epsilon$. What is new is the path.
#
# The lines that are *trained on* are straight, but they cross: at a crossing the network can only say the mean of all
# velocities that pass there, and so the paths that are *walked* bend. Here are those of the exact denoiser of two
# spots on a line, with no network in between.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import course_lib
from course_lib import models, plots
from course_lib.claims import claim
from course_lib.datasets import words
from course_lib.datasets.points import pair
from course_lib.denoisers import ExactDenoiser
from course_lib.process import DDPM, RectifiedFlow
from course_lib.samplers import ddim, rectified_flow
from course_lib.schedules import linear_beta

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
start = torch.linspace(-2.2, 2.2, 14, dtype=torch.float64)[:, None]
flow, chain = RectifiedFlow(), DDPM(linear_beta(1000))
walks = {
    "rectified flow": list(rectified_flow(ExactDenoiser(pair(), flow), start, flow.times(100))),
    "DDIM": list(ddim(ExactDenoiser(pair(), chain), start, chain.times(100))),
}
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.2), sharey=True)
for ax, (name, walk) in zip(axes, walks.items()):
    end = walk[0].t
    ax.plot([step.t / end for step in walk], torch.cat([step.x.T for step in walk]), color=BLUE, lw=1.8)
    ax.set(title=name, xlabel="t, as a share of T", xlim=(1, 0))
axes[0].set_ylabel("$x_t$")
plots.show(
    fig,
    alt="Fourteen paths from noise to two spots, straighter on the flow than under DDIM.",
)

# %% [markdown]
# ## Which times are worth the training?
#
# At $t = 0$ the picture lies open and the best velocity is $-x_0$ plus unknowable noise; at $t = 1$ nothing is known and the
# best is $\epsilon$ less the mean picture. Both ends are easy. What to draw where is decided in the middle. Esser et al.
# therefore draw $t$ not uniformly but **logit-normally**: $t = \text{sigmoid}(u)$ with $u \sim \mathcal N(0, 1)$.
#
# Below: where those times lie, and how much the shipped model can still be improved at each time by being told the prompt (its
# loss without a prompt less its loss with one). That is where the prompt is *used*.

# %%
from course_lib.denoisers import NULL
from course_lib.recipes.sd3 import prompted

painter, coder, reader = models.load("sd3"), models.load("autoencoder"), models.load("reader")
process = painter.process
rng = torch.Generator().manual_seed(16)
x, said = prompted(128, rng)
z, eps = coder.encode(x, rng), torch.randn(128, 4, 8, 8, generator=rng)
grid = torch.linspace(0.05, 0.95, 13)


@torch.no_grad()
def loss_at(cond, t):
    return float((painter.given(cond)(process.add_noise(z, t, eps), t).flow - (eps - z)).square().mean())


worth = [loss_at(NULL, t) - loss_at(said, t) for t in grid.tolist()]
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4))
axes[0].hist(process.sample_t(20_000, rng), bins=40, density=True, color=BLUE)
axes[0].axhline(1, color=RED, ls="--", label="uniform")
axes[0].set(title="logit-normal times", xlabel="t", ylabel="density")
axes[0].legend()
axes[1].plot(grid, worth, "o-", color=GREEN)
axes[1].set(title="what the prompt is worth", xlabel="t", ylabel="loss without it - with it", ylim=(0, None))
plots.show(
    fig,
    alt="Left a bell over t, highest at a half. Right what the prompt is worth over t.",
)

# %% [markdown]
# ## Two streams, one attention
#
# In lesson 09 the picture *asked* the words, by cross-attention; the words never heard of the picture. Esser et al.'s
# **MM-DiT** treats both alike. The latent is cut into patches, here 16 of 2 × 2 places; each is a token, and so is each word
# of the prompt. Both streams have weights of their own: for queries, keys and values, for the MLP, and for the three numbers
# (shift, scale, gate) by which the time tells each layer how much to do. But there is **one attention over all of them**:
# places look at places and words, words look at words and places.
#
# ### Exercise 2: `joint_attention` (difficulty 2, 10 minutes)
#
# `picture` and `text` are each `(q, k, v)`, of shape (B, heads, P, d) and (B, heads, L, d). `there` (B, L) is False for
# padding. Return what the places gather, and what the words gather.


# %%
def my_joint_attention(picture, text, there):
    """What the picture's tokens (B, heads, P, d) and the text's (B, heads, L, d) gather from all tokens."""
    ...  # write it here


check.joint_attention(my_joint_attention)

# %%
check.solution("joint_attention")

# %% [markdown]
# ## It can write
#
# Stable Diffusion 3 was noted for one thing above all: words in its pictures are spelt right. Ours learned from pictures of
# shapes, with lesson 09's captions, and from pictures of words: three or four of sixteen capitals in one colour. A prompt
# spells a word letter by letter. One string of letters in eight was held out of training: the words that are *measured* below
# are of those, never shown before. An exact reader compares what was written with every word there could be.

# %%
from course_lib.recipes.sd3 import latents_of, prompt_guided, spelling_asked
from course_lib.widgets.player import play

prompts = ["STAR in yellow", "LOAD in red", "HEAT in pink", "TIDY in green"]
prompts += ["a red circle left of a blue square", "a small yellow star above a big green circle"]
prompts += ["a large white triangle in the top left corner", "three pink stars"]
noise = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(4))
film = list(rectified_flow(prompt_guided(painter, prompts, 3.0), noise, process.times(25)))
play(film, draw=lambda step: {"xₜ, decoded": coder.decode(step.x), "x̂₀, decoded": coder.decode(step.x0)})

# %% tags=["nbval-ignore-output"]
asked_for, truth = spelling_asked(100, new=True, seed=6)
spelt = {}
for w in (1.0, 3.0):
    seen = words.read(coder.decode(latents_of(painter, asked_for, w, seed=6)))
    spelt[w] = words.agreement(seen, truth)
    print(f"w = {w:g}: letters in their place {spelt[w]['letters']:.0%}, words spelt right {spelt[w]['spelt']:.0%}")
made = coder.decode(latents_of(painter, asked_for[:24], 3.0, seed=6))
fig, ax = plt.subplots(figsize=(11.5, 4.6))
plots.pictures(made, columns=8, ax=ax, title="new words: " + ", ".join(words.spelt(truth)[:8]) + ", ...")
plots.show(fig, alt="Twenty-four pictures, each with a word of three or four capitals in one colour.")

# %%
claim(
    "sd3-spelling",
    "It spells: words that it was never shown come out right, letter by letter.",
    measured=f"of 100 new words, guided (w = 3), {int(20 * spelt[3.0]['spelt']) * 5} % or more are spelt right, "
    f"and {int(20 * spelt[3.0]['letters']) * 5} % or more of all letters",
    holds=spelt[3.0]["spelt"] > 0.5 and spelt[3.0]["letters"] > 0.8,
)

# %% [markdown]
# Where does a place get its letter from? Half way through the walk of `STAR`, how much each of the 4 × 4 patches looks at
# each of the four letters, the mean over all blocks and heads, beside what it becomes:

# %%
from course_lib.nets.hooks import watching
from course_lib.nets.mmdit import JointBlock

half_way = film[len(film) // 2]
with torch.no_grad(), watching(painter.net, (JointBlock,)) as seen:
    painter.given(prompts[0])(half_way.x[:1], half_way.t)
looks = torch.stack([weights[0, :, :16, 17:21].mean(0) for weights in seen.values()]).mean(0)  # 16 patches, 4 letters
fig, axes = plt.subplots(1, 5, figsize=(11.5, 2.9))
plots.pictures(coder.decode(film[-1].x[:1]), columns=1, ax=axes[0], title="at the end")
for ax, letter, look in zip(axes[1:], "STAR", looks.T):
    ax.imshow(look.view(4, 4), vmin=0, vmax=float(looks.max()))
    ax.set(title=letter, xticks=[], yticks=[])
plots.show(fig, alt="The picture of the word STAR, and four maps of 4 by 4 patches, one for each of its letters.")

# %% [markdown]
# ## How straight are the paths?
#
# For each sample, walk from noise to picture in 64 steps, and divide the length of the path by the straight distance between
# its ends: 1 is straight. What to hold it against? The **same network, walked along the arc**, by DDIM. That needs no second
# training: a point of the arc, $a\,x_0 + b\,\epsilon$, divided by $a + b$, is a point of the line at time $b / (a + b)$, with
# the same picture and the same noise in it. So whatever differs below is the road alone (`python tests/benchmarks/sd3.py`).

# %%
found = json.loads((Path(course_lib.__file__).parents[1] / "data/figures/sd3.json").read_text())
runs = found["runs"]
bend = {name: runs[name]["path over straight way"] for name in runs}
for name, title in (("shipped", "flow"), ("ddim", "DDIM")):
    print(f"{title}: path over straight way " + ", ".join(f"{value:.2f} at {w}" for w, value in bend[name].items()))

# %%
flow_bend, ddim_bend = bend["shipped"]["w = 1"], bend["ddim"]["w = 1"]
claim(
    "sd3-straight",
    "The flow's paths are straighter than DDIM's, by the same network.",
    measured=f"at w = 1 the path is {flow_bend:.2f} times the straight way on the flow, {ddim_bend:.2f} times under DDIM",
    holds=flow_bend < ddim_bend - 0.05,
)

# %% [markdown]
# A straight path is one that a single Euler step could walk. So the flow should need fewer steps. Both in one figure, from
# the same noises, w = 3, three seeds:

# %%


def curve(name, figure):
    """Steps, mean and spread of one figure of one model."""
    rows = runs[name]["rows"]
    return [row["steps"] for row in rows], [row[figure][0] for row in rows], [row[figure][1] for row in rows]


fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.6), sharey=True)
for ax, figure, title in zip(axes, ("spelt", "all"), ("new words spelt right", "two objects, everything right")):
    for name, colour, line, label in (("shipped", BLUE, "o-", "rectified flow"), ("ddim", RED, "s--", "DDIM")):
        steps, mean, std = curve(name, figure)
        ax.errorbar(steps, mean, std, fmt=line, color=colour, ms=9, capsize=5, label=label)
    ax.set(xscale="log", xticks=steps, xticklabels=steps, xlabel="steps", title=title, ylim=(0, 1.05))
    ax.minorticks_off()
axes[0].legend(loc="upper left")
plots.show(fig, alt="The share of words spelt right and of pictures all right over 1 to 32 steps, for the flow and for DDIM.")

# %%
at = lambda name, figure, k: dict(zip(*curve(name, figure)[:2]))[k]
claim(
    "sd3-few-steps",
    "In few steps the flow is ahead of DDIM.",
    measured="words spelt right, flow and DDIM: "
    + ", ".join(f"{at('shipped', 'spelt', k):.0%} and {at('ddim', 'spelt', k):.0%} in {k} steps" for k in (4, 8)),
    holds=at("shipped", "spelt", 4) > at("ddim", "spelt", 4) and at("shipped", "spelt", 8) > at("ddim", "spelt", 8),
)

# %% [markdown]
# ## Failure museum
#
# Three ways to walk the wrong way, with the shipped network and 25 steps. None raises an error.


# %%
@torch.no_grad()
def walk(sign=1, told=lambda t: t, steps=25):
    """Euler steps from noise, right or wrong."""
    x, asked = noise, prompt_guided(painter, prompts, 3.0)
    for t, s in zip(process.times(steps).tolist(), process.times(steps).tolist()[1:]):
        x = x + sign * (s - t) * asked(x, told(t)).flow
    return x


museum = {"right": walk(), "sign turned": walk(sign=-1), "told 1 - t": walk(told=lambda t: 1 - t), "one step": walk(steps=1)}
fig, axes = plt.subplots(2, 2, figsize=(11.5, 4))
for ax, (name, z_0) in zip(axes.flat, museum.items()):
    plots.pictures(coder.decode(z_0), columns=8, ax=ax, title=name)
plots.show(fig, alt="Eight pictures four times: words and shapes; coloured noise; smears; and, in one step, blurs.")

# %%
mixed = lambda x0, t, eps: torch.lerp(x0, eps, t.view(-1, *[1] * (x0.ndim - 1)))
wrong = {
    "sign turned": lambda net, x0, t, eps: (net(mixed(x0, t, eps), t) + eps - x0).square().mean(),
    "told 1 - t": lambda net, x0, t, eps: (net(mixed(x0, t, eps), 1 - t) - eps + x0).square().mean(),
}
for name, loss in wrong.items():
    print(f"{name}: {check.flow_loss(loss).diagnosis}")

# %% [markdown]
# ## What you saw
#
# - A straight line in place of the arc: one velocity, Euler steps, lesson 14's line again.
# - Paths that are walked are straighter than DDIM's, though not straight, and what that is worth is in the figure.
# - Two streams with weights of their own that meet in one attention, and a model that writes words it has never seen.
#
# **At full size** Esser et al.'s largest MM-DiT has 8 billion weights in 38 blocks, works on latents of 16 channels, and is
# given three frozen text encoders, two of CLIP and T5, where ours learns its letters from nothing. Their text encoder never
# sees letters, only pieces of words; that it spells is a matter of size.
#
# **Think about it**
#
# 1. If the paths of the exact flow were perfectly straight, what would the network have to say at $t = 1$? Why can it not?
# 2. In joint attention the words can look at the noisy picture. What could they do with what they see?
#
# **Next:** lesson 17 makes students of such models, which need 4 steps, or one.
