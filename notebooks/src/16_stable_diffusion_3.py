# %% [markdown]
# # 16 Stable Diffusion 3: straight paths, and two streams
#
# **You will be able to** write the loss of a rectified flow and the joint attention of an MM-DiT, say which times are worth
# training at, make a model write words that it has never seen, and measure how straight its paths are.
#
# **Time** 55 minutes. **Needs** lessons 09, 12 and 14. **Papers** Patrick Esser et al.: *Scaling Rectified Flow Transformers
# for High-Resolution Image Synthesis* (2024); Xingchao Liu, Chengyue Gong, Qiang Liu: *Flow Straight and Fast* (2023).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

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
import torch
from course_lib.teaching import checks as check


def my_flow_loss(net, x0, t, eps):
    """The loss of a rectified flow for pictures x0 (B, ...), times t (B,) and noise eps (B, ...)."""
    ...  # write it here


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
import matplotlib.pyplot as plt
from course_lib import plots
from course_lib.datasets import words
from course_lib.datasets.points import pair
from course_lib.denoisers import ExactDenoiser
from course_lib.guidance import classifier_free
from course_lib.process import DDPM, RectifiedFlow
from course_lib.samplers import ddim, rectified_flow, sample
from course_lib.schedules import linear_beta
from course_lib.teaching.claims import claim
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
start = torch.linspace(-2.2, 2.2, 14, dtype=torch.float64)[:, None]
flow, chain = RectifiedFlow(), DDPM(linear_beta(1000))
walks = {
    "rectified flow": list(
        rectified_flow(ExactDenoiser(pair(), flow), start, flow.times(100))
    ),
    "DDIM": list(ddim(ExactDenoiser(pair(), chain), start, chain.times(100))),
}
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.2), sharey=True)
for ax, (name, walk) in zip(axes, walks.items()):
    end = walk[0].t
    ax.plot(
        [step.t / end for step in walk],
        torch.cat([step.x.T for step in walk]),
        color=BLUE,
        lw=1.8,
    )
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
# therefore draw $t$ not uniformly but **logit-normally**: $t = \text{sigmoid}(u)$ with $u \sim \mathcal N(m, s^2)$. They find
# $m = 0, s = 1$ best, and for larger pictures move the times towards noise. Ours does so, too: $m = 0.7$. In the second half of
# its training its scenes, not its words, go back to $m = 0$: without that, colours were still lost after $t = 0.6$, where the
# noisy picture shows them already, and the more so the stronger the guidance: pink turned red, green turned blue.
#
# Below: where those times lie, and what the prompt is worth to the shipped model at each of them: its loss without a prompt
# less its loss with one.

# %%
from course_lib.denoisers import NULL
from course_lib.process import seeded
from course_lib.zoo.recipes.sd3 import prompted

network, autoencoder, detector = (
    models.load("sd3"),
    models.load("autoencoder"),
    models.load("reader"),
)
process = network.process
rng = seeded(16)
x, texts = prompted(128, rng)
z, eps = autoencoder.encode(x, rng), torch.randn(128, 4, 8, 8, generator=rng)
grid = torch.linspace(0.05, 0.95, 13)


@torch.no_grad()
def loss_at(cond, t):
    return float(
        (network.given(cond)(process.add_noise(z, t, eps), t).flow - (eps - z)).square().mean()
    )


gain = [loss_at(NULL, t) - loss_at(texts, t) for t in grid.tolist()]
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4))
axes[0].hist(process.sample_t(20_000, rng), bins=40, density=True, color=BLUE)
axes[0].axhline(1, color=RED, ls="--", label="uniform")
axes[0].set(title="logit-normal times", xlabel="t", ylabel="density")
axes[0].legend()
axes[1].plot(grid, gain, "o-", color=GREEN)
axes[1].set(
    title="what the prompt is worth",
    xlabel="t",
    ylabel="loss without it - with it",
    ylim=(0, None),
)
plots.show(
    fig,
    alt="Left a lopsided bell over t, highest near 0.75. Right what the prompt is worth over t, highest near 0.8.",
)

# %%
peak = gain.index(max(gain))
claim(
    "sd3-middle",
    "What the prompt decides is decided in the middle of the way, not at its ends.",
    measured=f"the prompt is worth most near t = {float(grid[peak]):.1f}, at t = 0.05 and at 0.95 less than half of that",
    holds=0 < peak < len(gain) - 1 and max(gain[0], gain[-1]) < max(gain) / 2,
)

# %% [markdown]
# ## Two streams, one attention
#
# In lesson 09 the picture *asked* the words, by cross-attention; the words never heard of the picture. Esser et al.'s
# **MM-DiT** treats both alike. The latent is cut into patches, here 16 of 2 × 2 places; each is a token, and so is each word
# of the prompt, or each letter of a word in capitals. Both streams have weights of their own: for queries, keys and values, for
# the MLP, and for the shift, scale and gate by which the time tells each layer how much to do. But there is **one attention
# over all of them**: places look at places and words, words look at words and places.
#
# ### Exercise 2: `joint_attention` (difficulty 2, 10 minutes)
#
# `picture` and `text` are each `(q, k, v)`, of shape (B, heads, P, d) and (B, heads, L, d). `mask` (B, L) is False for
# padding. Return what the places gather, and what the words gather.


# %%
def my_joint_attention(picture, text, mask):
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
from course_lib.widgets.player import play
from course_lib.zoo.recipes.sd3 import spelling_prompts

prompts = ["STAR in yellow", "LOAD in red", "HEAT in pink", "TIDY in green"]
prompts += [
    "a red circle left of a blue square",
    "a small yellow star above a big green circle",
]
prompts += ["a large white triangle in the top left corner", "three pink stars"]
noise = network.draw_noise(8, seeded(4))
film = list(rectified_flow(classifier_free(network, prompts, 3.0), noise, process.times(25)))
play(
    film,
    draw=lambda step: {
        "xₜ, decoded": autoencoder.decode(step.x),
        "x̂₀, decoded": autoencoder.decode(step.x0),
    },
)

# %% tags=["nbval-ignore-output"]
new_words, target = spelling_prompts(100, new=True, seed=6)
spelt, start = {}, network.draw_noise(100, seeded(6))
for w in (1.0, 3.0):
    latents = sample(classifier_free(network, new_words, w), start, 25, rectified_flow)
    spelt[w] = words.agreement(words.read(autoencoder.decode(latents)), target)
    print(
        f"w = {w:g}: letters in their place {spelt[w]['letters']:.0%}, words spelt right {spelt[w]['spelt']:.0%}"
    )
made = autoencoder.decode(latents[:24])  # at w = 3
fig, ax = plt.subplots(figsize=(11.5, 4.6))
plots.pictures(
    made, columns=8, ax=ax, title="new words: " + ", ".join(words.spelt(target)[:8]) + ", ..."
)
plots.show(
    fig, alt="Twenty-four pictures, each with a word of three or four capitals in one colour."
)

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
from course_lib.nets.hooks import record_activations
from course_lib.nets.mmdit import JointBlock

half_way = film[len(film) // 2]
with torch.no_grad(), record_activations(network.net, (JointBlock,)) as recorded:
    network.given(prompts[0])(half_way.x[:1], half_way.t)
weights = (
    torch.stack([w[0, :, :16, 17:21].mean(0) for w in recorded.values()]).mean(0).cpu()
)  # 16 patches, 4 letters
fig, axes = plt.subplots(1, 5, figsize=(11.5, 2.9))
plots.pictures(autoencoder.decode(film[-1].x[:1]), columns=1, ax=axes[0], title="at the end")
for ax, letter, of_letter in zip(axes[1:], "STAR", weights.T):
    ax.imshow(of_letter.view(4, 4), vmin=0, vmax=float(weights.max()))
    ax.set(title=letter, xticks=[], yticks=[])
plots.show(
    fig,
    alt="The picture of the word STAR, and four maps of 4 by 4 patches, one for each of its letters.",
)

# %% [markdown]
# ## How straight are the paths?
#
# For each sample, walk from noise to picture in 64 steps, and divide the length of the path by the straight distance between
# its ends: 1 is straight. What to hold it against? The **same network, walked along the arc**, by DDIM. That needs no second
# training: a point of the arc, $a\,x_0 + b\,\epsilon$, divided by $a + b$, is a point of the line at time $b / (a + b)$, with
# the same picture and the same noise in it. So whatever differs below is the road alone (`python tests/benchmarks/sd3.py`).

# %%
runs = figures.raw("sd3")["runs"]
curvature = {name: runs[name]["path over straight way"] for name in ("shipped", "ddim")}
claim(
    "sd3-straight",
    "The flow's paths are straighter than DDIM's, by the same network.",
    measured="path over straight way, flow and DDIM: "
    + ", ".join(
        f"{curvature['shipped'][w]:.2f} and {curvature['ddim'][w]:.2f} at {w}"
        for w in ("w = 1", "w = 3")
    ),
    holds=all(
        curvature["shipped"][w] - 1 < 0.7 * (curvature["ddim"][w] - 1)
        for w in ("w = 1", "w = 3")
    ),
)

# %% [markdown]
# A straight path is one that a single Euler step could walk. So the flow should need fewer steps. Both in one figure, from
# the same noises, w = 3, three seeds:

# %%


def curve(name, figure):
    """Steps, mean and spread of one figure of one model."""
    rows = runs[name]["rows"]
    return (
        [row["steps"] for row in rows],
        [row[figure][0] for row in rows],
        [row[figure][1] for row in rows],
    )


fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.6), sharey=True)
for ax, figure, title in zip(
    axes, ("spelt", "all"), ("new words spelt right", "two objects, everything right")
):
    for name, colour, line, label in (
        ("shipped", BLUE, "o-", "rectified flow"),
        ("ddim", RED, "s--", "DDIM"),
    ):
        steps, mean, std = curve(name, figure)
        ax.errorbar(steps, mean, std, fmt=line, color=colour, ms=9, capsize=5, label=label)
    ax.set(
        xscale="log",
        xticks=steps,
        xticklabels=steps,
        xlabel="steps",
        title=title,
        ylim=(0, 1.05),
    )
    ax.minorticks_off()
axes[0].legend(loc="upper left")
plots.show(
    fig,
    alt="The share of words spelt right and of pictures all right over 1 to 32 steps, for the flow and for DDIM.",
)

# %%
at = lambda name, figure, k: dict(zip(*curve(name, figure)[:2]))[k]
claim(
    "sd3-few-steps",
    "In 4 steps the flow is ahead of DDIM.",
    measured="in 4 steps, flow and DDIM: "
    + ", ".join(
        f"{title} {at('shipped', figure, 4):.0%} and {at('ddim', figure, 4):.0%}"
        for figure, title in (("spelt", "words spelt right"), ("all", "two objects right"))
    ),
    holds=all(
        at("shipped", figure, 4) > at("ddim", figure, 4) + 0.05 for figure in ("spelt", "all")
    ),
)

# %% [markdown]
# From 8 steps on the two can hardly be told apart, and in 1 or 2 steps neither draws well. (In 2 steps DDIM is even ahead with
# the objects: its second evaluation lies at 0.77 on the straight line's clock, where the prompt is worth most, the flow's at
# 0.5.) What a straight path buys is the stretch between.
#
# ## Two streams or one?
#
# What is the second stream worth? Its rival is the transformer of before (Peebles and Xie 2023, with text): one stream, in
# which places look at places, and then, by lesson 09's cross-attention, at words that stay as the encoder left them. It has
# about as many weights (two blocks more), the same pictures, prompts and times. Both stand here after as long a training,
# half of what the shipped model had, which gets nearly everything right and so leaves little to compare.

# %%
named = {"joint": "joint attention", "cross": "cross-attention"}
shown = ("letters", "spelt", "binding", "all")
fig, ax = plt.subplots(figsize=(11.5, 4.4))
for i, (name, colour) in enumerate(zip(named, (BLUE, ORANGE))):
    last = runs[name]["rows"][-1]
    mean, std = zip(*(last[figure] for figure in shown))
    ax.bar(
        [j + 0.38 * (i - 0.5) for j in range(4)],
        mean,
        0.36,
        yerr=std,
        capsize=5,
        color=colour,
        label=named[name],
    )
ax.set(
    xticks=range(4), ylim=(0, 1.3), ylabel="share right", title="w = 3, 32 steps, three seeds"
)
ax.set_xticklabels(
    [
        "letters of\nnew words",
        "new words",
        "binding of\ntwo objects",
        "two objects,\neverything",
    ]
)
ax.legend(loc="upper center", ncols=2)
plots.show(
    fig,
    alt="Letters, words, binding and everything right: joint attention beside cross-attention.",
)

# %%
final = {name: runs[name]["rows"][-1] for name in named}
claim(
    "sd3-two-streams",
    "Two streams with joint attention beat cross-attention at equal size and training time.",
    measured=", ".join(
        f"{figure}: {final['joint'][figure][0]:.0%} against {final['cross'][figure][0]:.0%}"
        for figure in shown
    ),
    holds=all(
        final["joint"][figure][0] > final["cross"][figure][0] for figure in ("spelt", "all")
    ),
    expected=False,
)

# %% [markdown]
# It does not hold here. Esser et al. measured it (figure 4) on far larger networks and on captions of photographs. What the
# second stream can do and the first cannot is to change what a *word* says in the light of the picture. Here a letter says the
# same whatever the picture shows, and our encoder has already read the sentence. So the rival loses nothing by leaving the
# words as they are, and spends its weights on two more blocks for the picture. That is our reading; the measurement says only
# who is ahead, and with one training each a few percent are no verdict.

# %% [markdown]
# ## Six systems, one table
#
# Lesson 13 scored its systems on a DrawBench in miniature: 200 captions in five categories. Here are all that the course has,
# the mean of three seeds (`python tests/benchmarks/drawbench.py`). One of the paper's categories was left to this lesson:
# **text**. No system before this one has ever seen a letter.

# %%
from course_lib.zoo import drawbench

bench = figures.raw("drawbench")
columns = (*drawbench.CATEGORIES, "all")
mean = lambda name, column: (
    sum(score[column] for score in bench["scores"][name]) / len(bench["scores"][name])
)
print(f"{'':19}" + "".join(f"{column:>10}" for column in (*columns, "text")))
for name in bench["scores"]:
    text = f"{spelt[3.0]['spelt']:10.0%}" if name == "Stable Diffusion 3" else f"{'-':>10}"
    print(f"{name:19}" + "".join(f"{mean(name, column):10.0%}" for column in columns) + text)

# %% [markdown]
# And in pairs, as the paper asked people: in how many of the pictures does the system of the row show *more* of its caption
# than that of the column? (The rest are even, mostly because both are right.)

# %%
names = list(bench["scores"])
ahead = torch.full((len(names), len(names)), torch.nan)
for names_of_two, (first, second) in bench["preferred"].items():
    i, j = (names.index(name) for name in names_of_two.split(" | "))
    ahead[i, j], ahead[j, i] = first, second
fig, ax = plt.subplots(figsize=(9.5, 6.4))
ax.imshow(ahead, cmap="cividis", vmin=0, vmax=1)
for i, j in ahead.isfinite().nonzero().tolist():
    ink = "black" if ahead[i, j] > 0.5 else "white"
    ax.text(
        j,
        i,
        f"{100 * float(ahead[i, j]):.0f}",
        ha="center",
        va="center",
        color=ink,
        fontsize=17,
    )
short = [name if len(name) < 10 else name.replace(" ", "\n", 1) for name in names]
ax.set(
    xticks=range(len(names)),
    yticks=range(len(names)),
    title="% in which the row shows more of the caption",
)
ax.set_xticklabels(short, fontsize=13)
ax.set_yticklabels(short, fontsize=13)
plots.show(
    fig,
    alt="Six systems against each other: in what share of the captions one shows more of it than the other.",
)

# %% [markdown]
# Do not read it as a ranking of *ideas*. Each was trained once, for as long as its lesson says, and SDXL's network began as
# that of latent diffusion. What carries over is where each fails.
#
# ## The gallery
#
# One prompt, four noises, every system, step by step: what each believes in while it draws. Change the prompt and run the cell.

# %% tags=["nbval-ignore-output"]
from course_lib.samplers import Step
from course_lib.zoo import systems

prompt = "a large red circle left of a small blue square"
films = {name: list(load()([prompt] * 4, 0)) for name, load in systems.SYSTEMS.items()}
moments = [
    Step(systems.STEPS - i, torch.cat(frames, 1))
    for i, frames in enumerate(zip(*films.values()))
]
play(moments, draw=lambda step: dict(zip(films, step.x.split(3, 1))))

# %% [markdown]
# ## Failure museum
#
# Three ways to walk the wrong way, with the shipped network. None raises an error.


# %%
@torch.no_grad()
def walk(sign=1, time=lambda t: t, steps=25):
    """Euler steps from noise, right or wrong."""
    x, guided = noise, classifier_free(network, prompts, 3.0)
    for t, s in zip(process.times(steps).tolist(), process.times(steps).tolist()[1:]):
        x = x + sign * (s - t) * guided(x, time(t)).flow
    return x


museum = {
    "right": walk(),
    "sign turned": walk(sign=-1),
    "told 1 - t": walk(time=lambda t: 1 - t),
    "one step": walk(steps=1),
}
fig, axes = plt.subplots(4, 1, figsize=(11.5, 7.4))
for ax, (name, z_0) in zip(axes, museum.items()):
    plots.pictures(autoencoder.decode(z_0), columns=8, ax=ax, title=name)
plots.show(
    fig,
    alt="Eight pictures four times: words and shapes; coloured noise; nearly the first again; and, in one step, blurs.",
)

# %%
mixed = lambda x0, t, eps: torch.lerp(x0, eps, t.view(-1, *[1] * (x0.ndim - 1)))
wrong = {
    "sign turned": lambda net, x0, t, eps: (
        (net(mixed(x0, t, eps), t) + eps - x0).square().mean()
    ),
    "told 1 - t": lambda net, x0, t, eps: (
        (net(mixed(x0, t, eps), 1 - t) - eps + x0).square().mean()
    ),
}
for name, loss in wrong.items():
    print(f"{name}: {check.flow_loss(loss).diagnosis}")

# %% [markdown]
# *Told 1 - t* is the quiet one. The network sees for itself how noisy its input is, and hardly listens to what it is told of
# time: the words still stand, a little the worse for it. Only the check is sure.
#
# ## What you saw
#
# - A straight line in place of the arc: one velocity, Euler steps, lesson 14's line again.
# - Paths that are walked are straighter than DDIM's, though not straight, and what that is worth is in the figure.
# - Two streams with weights of their own that meet in one attention. At this size plain cross-attention is as good or better.
# - A model that writes words it has never seen, because a prompt spells them for it.
#
# **At full size** Esser et al.'s largest MM-DiT has 8 billion weights in 38 blocks, works on latents of 16 channels, and is
# given three frozen text encoders, two of CLIP and T5. Ours has one, frozen as well, that never saw a letter; each letter is a
# token, which the model learns from nothing. Theirs read pieces of words; that it spells at all is a matter of size.
#
# **Think about it**
#
# 1. If the paths of the exact flow were perfectly straight, what would the network have to say at $t = 1$? Why can it not?
# 2. In joint attention the words can look at the noisy picture. What could they do with what they see?
#
# **Next:** lesson 17 makes students of such models, which need 4 steps, or one.
