# %% [markdown]
# # 12 Latent diffusion: draw small, decode once
#
# **You will be able to** say what an autoencoder takes off diffusion's hands, write the two lines that make its latents fit
# for diffusion, sample in them with the code you have, and say what it saves and what it costs.
#
# **Time** 50 minutes. **Needs** lessons 08 and 09. **Paper** Robin Rombach, Andreas Blattmann, Dominik Lorenz, Patrick Esser,
# Björn Ommer: *High-Resolution Image Synthesis with Latent Diffusion Models* (2022).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("12")

# %% [markdown]
# ## Most of a picture is not worth a thought
#
# Our pictures of shapes are 32 × 32 × 3: 3,072 numbers. What one of them *shows* is a handful of words. In between lies what
# every picture has: smooth edges, flat colours, black. A diffusion model spends most of its time, at every one of its
# steps, on drawing *that* again, pixel by pixel.
#
# Rombach et al. part the work. First, once and for all, an **autoencoder** learns to write a picture as a small map of
# numbers, the **latent** $z$, and to read it back. Then diffusion works on $z$ alone, and the **decoder** paints the pixels,
# once, at the end.
#
#     picture 32 x 32 x 3  --encode-->  z 8 x 8 x 4  --noise, denoise-->  z  --decode-->  picture
#
# How much smaller the map is, in each direction, is the **factor** $f$. Here $f = 4$: 3,072 numbers become 256.

# %%
import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.datasets import captions, scenes, shapes
from course_lib.guidance import classifier_free
from course_lib.methods.cascades import enlarged
from course_lib.methods.latents import psnr
from course_lib.process import seeded
from course_lib.samplers import ddim, sample
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.widgets.player import play
from course_lib.zoo import figures, models
from course_lib.zoo.recipes.shapes import pair_prompts

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
autoencoder, detector = models.load("autoencoder"), models.load("reader")
rng = seeded(12)
scene = scenes.sample(500, rng)
pictures = shapes.draw(scene, rng)
latent = autoencoder.encode(pictures, rng)
reconstructed = autoencoder.decode(latent)
print(
    f"pictures {tuple(pictures.shape[1:])}, latents {tuple(latent.shape[1:])}: {pictures[0].numel() // latent[0].numel()} to 1"
)

# %%
fig, axes = plt.subplots(3, 1, figsize=(9.5, 8.2), height_ratios=(1, 4, 1))
plots.pictures(pictures[:8], columns=8, ax=axes[0], title="eight pictures")
maps = (latent[:8].transpose(0, 1) / 3).flatten(0, 1)[
    :, None
]  # channel by channel, from black, -3, to white, 3
plots.pictures(
    enlarged(maps, 32), columns=8, ax=axes[1], title="their latents: four channels, a row each"
)
plots.pictures(
    reconstructed[:8], columns=8, ax=axes[2], title="what the decoder makes of the latents"
)
plots.show(
    fig,
    alt="Eight pictures of shapes; below them four rows of 8 by 8 grey maps, in which the shapes can be found again as "
    "blots; below those the same eight pictures, decoded, hardly to be told from the first.",
)

# %% [markdown]
# The latent is still a *picture* of sorts. Each number speaks for its own corner of the sheet, so that everything that we know
# of pictures (convolutions, U-Nets, attention over places) works on it. How good is the way there and back? In decibels
# (PSNR), and by the only judge that matters here, the reader of lesson 09:

# %%
decibels = psnr(reconstructed, pictures)
read = scenes.agreement(detector.detect(reconstructed), scene)["all"]
claim(
    "latent-autoencoder",
    "At f = 4 the autoencoder returns fresh pictures at 30 dB or more, and the reader reads in them what it should.",
    measured=f"PSNR {decibels:.0f} dB, everything read right in {read:.0%}, 500 fresh pictures",
    holds=decibels >= 30 and read > 0.97,
)

# %% [markdown]
# ## An autoencoder is not a generator
#
# It looks like the VAE of lesson 05, and its loss is made of the same two parts: what comes back should be like the picture,
# and what the encoder says of $z$, a Gaussian $\mathcal N(\mu, \sigma^2)$ for each number, should not stray far from
# $\mathcal N(0, 1)$:
#
# $$L = |\,\text{decode}(z) - x\,| + \lambda\,\mathrm{KL}\big(\mathcal N(\mu, \sigma^2)\,\|\,\mathcal N(0, 1)\big), \qquad
# \mathrm{KL} = \tfrac12\big(\mu^2 + \sigma^2 - 1 - \log \sigma^2\big) .$$
#
# But $\lambda$ is tiny: here 0.0005 to each number, Rombach et al. take about a millionth. A VAE's $\lambda$ is large enough
# that noise can be decoded into pictures, which blurs them. Here nobody wants to decode mere noise: diffusion will make the
# $z$. The small KL term only keeps the latents from growing without bound, and a little noise in them, so that near latents
# mean like pictures.
#
# ### Exercise 1: `kl_term` (difficulty 1, 7 minutes)
#
# The encoder gives `mean` and `log_variance`, $\log \sigma^2$, both (B, ...). Return the mean over all of their numbers.


# %%
def my_kl_term(mean, log_variance):
    """KL(N(mean, variance) || N(0, 1)) in nats, its mean over all numbers of the latents."""
    ...  # write it here


check.kl_term(my_kl_term)

# %%
check.solution("kl_term")

# %%
from course_lib.methods.latents import kl_term

mean, log_variance = autoencoder.gaussian(pictures)
nats, spread = float(kl_term(mean, log_variance)), float((log_variance / 2).exp().mean())
print(f"KL: {nats:.1f} nats for each of 256 numbers; sigma, on average, {spread:.2f}")
noise = torch.randn(8, 4, 8, 8, generator=rng)
fig, ax = plt.subplots(figsize=(11.5, 2.2))
plots.pictures(
    autoencoder.decode(noise),
    columns=8,
    ax=ax,
    title="pure noise, decoded: the autoencoder alone cannot draw",
)
plots.show(
    fig,
    alt="Eight pictures of coloured smears without any shape: what the decoder makes of random latents.",
)

# %% [markdown]
# ## Unit variance
#
# Every process of this course mixes a picture with noise of variance 1, and its schedule was made for pictures whose numbers
# lie in $[-1, 1]$. Latents may have any size. If they are twice as large, then at every $t$ they stand out twice as well from
# the same noise: another schedule, unasked. So they are all multiplied by one number, $1/\hat\sigma$, with
# $\hat\sigma$ the standard deviation over a large batch. The famous 0.18215 of Stable Diffusion is that number.
#
# ### Exercise 2: `latent_scale` (difficulty 1, 5 minutes)
#
# From a batch of latents (B, C, h, w), the one number to multiply by.


# %%
def my_latent_scale(z):
    """What latents z (B, C, h, w) must be multiplied by to have unit variance."""
    ...  # write it here


check.latent_scale(my_latent_scale)

# %%
check.solution("latent_scale")

# %% [markdown]
# What if it is forgotten? Nothing in the loss cares: make every latent 5.5 times larger, let the decoder divide by 5.5, and the
# same pictures come back (5.5 is what Stable Diffusion's autoencoder came out at; ours, held by a larger $\lambda$, came out
# near 1). But to diffusion it is another world. Add the noise of time $t$, divide by the signal, decode, and ask the reader:
# at which
# $t$ is a picture no longer to be read?

# %%
from course_lib.process import DDPM
from course_lib.schedules import linear_beta

process = DDPM(linear_beta(1000))
some, eps = latent[:150], torch.randn(150, 4, 8, 8, generator=rng)
ts = (1, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)


def readable(size):
    """The share of pictures that can still be read at each time, from latents `size` times as large."""
    shares = []
    for t in ts:
        noisy = process.add_noise(size * some, t, eps) / process.signal(t).float() / size
        shares.append(
            scenes.agreement(detector.detect(autoencoder.decode(noisy)), scene[:150])["all"]
        )
    return shares


readable_share = {1.0: readable(1.0), 5.5: readable(5.5)}
fig, ax = plt.subplots(figsize=(9.5, 4.4))
ax.plot(ts, readable_share[1.0], "o-", color=BLUE, ms=8, label="latents of unit variance")
ax.plot(ts, readable_share[5.5], "s--", color=RED, ms=8, label="5.5 times as large")
ax.set(
    title="Noisy latents that can still be read",
    xlabel="t",
    ylabel="share read right",
    ylim=(-0.03, 1.05),
)
ax.legend(loc="upper right")
plots.show(
    fig,
    alt="Two falling curves over t: larger latents can be read until much later than those of unit variance.",
)

# %%
half = {
    size: next(t for t, share in zip(ts, shares) if share < 0.5)
    for size, shares in readable_share.items()
}
before = (latent / float(autoencoder.scale)).std()
print(
    f"standard deviation of our latents before scaling {before:.1f}, after {latent.std():.1f}"
)
claim(
    "latent-scaling",
    "Latents that are not scaled meet the schedule at another place: noise that should hide them does not.",
    measured=f"fewer than half can be read from t = {half[1.0]} on at unit variance, from t = {half[5.5]} on at 5.5 times that",
    holds=half[5.5] >= 2 * half[1.0],
)

# %% [markdown]
# ## Diffusion, unchanged
#
# And now there is nothing left to write. The process is lesson 01's, the network is lesson 09's U-Net for maps of 8 × 8 × 4,
# the loss is lesson 02's, guidance lesson 08's, the sampler lesson 14's. Only the drawing differs: `decode` before you look.
#
# Scrub. Left the noisy latent as it would look if it were decoded, then the *guess* decoded, then the latent itself (its first
# three channels as red, green and blue). The network only ever saw the last one.

# %%
network = models.load("latent2shape")
prompts = [
    "a red circle left of a blue square",
    "a small yellow star above a big green circle",
    "a large white triangle in the top left corner",
    "three pink stars",
]
z_T = network.draw_noise(8, seeded(3))
pairs_of_prompts = [caption for caption in prompts for _ in range(2)]
guided = classifier_free(network, pairs_of_prompts, 3.0)
steps = list(ddim(guided, z_T, network.process.times(25)))
play(
    steps,
    draw=lambda step: {
        "xₜ, decoded": autoencoder.decode(step.x),
        "x̂₀, decoded": autoencoder.decode(step.x0),
        "x̂₀ as it is": (step.x0[:, :3] / 3).clamp(-1, 1),
    },
)

# %% tags=["nbval-ignore-output"]
for caption, read in zip(
    pairs_of_prompts, captions.describe(detector.detect(autoencoder.decode(steps[-1].x)))
):
    print(f"asked: {caption:48} read: {read}")

# %% tags=["nbval-ignore-output"]
sentences, described = pair_prompts(100, "train", seed=5)
right = {}
for w in (1.0, 3.0):
    latents = sample(
        classifier_free(network, sentences, w), network.draw_noise(100, seeded(5)), 20
    )
    right[w] = scenes.agreement(detector.detect(autoencoder.decode(latents)), described)
    print(
        f"w = {w:g}: "
        + ", ".join(
            f"{name} {right[w][name]:.0%}" for name in ("shape", "colour", "binding", "all")
        )
    )

# %%
claim(
    "latent-follows-captions",
    "A model that only ever saw latents draws what a caption says, objects, colours and how they lie.",
    measured=f"guided (w = 3), everything right in {int(20 * right[3.0]['all']) * 5} % or more of 100 captions of two objects",
    holds=right[3.0]["all"] > 0.8,
)

# %% [markdown]
# ## What it saves
#
# First, what a step costs: pixels ($f = 1$), latents of 16 × 16 ($f = 2$) and of 8 × 8 ($f = 4$), each with lesson 09's kind of
# U-Net, measured in turns on one core (`python tests/benchmarks/latents.py`). The pixel model of lesson 09 folds 2 × 2 pixels
# into channels before it begins: a factor 2 for free. Without that fold it would cost what the first line says.

# %%
found = figures.raw("latents")
cost = found["milliseconds for 64 pictures, one thread"]
print("for 64 pictures, in ms    training step   evaluation   decoding")
for f, row in cost.items():
    name = f"f = {f}" if f.isdigit() else f
    print(
        f"{name:22} {row['a training step']:16.0f} {row['an evaluation']:12.0f} {row['decoding']:10.0f}"
    )

# %%
step = {f: row["a training step"] for f, row in cost.items()}
claim(
    "latent-cost",
    "A step in latents at f = 4 costs a fraction of one in pixels.",
    measured=f"training, in units of f = 4 (encoding included): f = 2 {step['2'] / step['4']:.1f}, f = 1 folded "
    f"{step['1'] / step['4']:.1f}, plain pixels {step['plain pixels'] / step['4']:.1f}",
    holds=step["1"] > 1.5 * step["4"] and step["plain pixels"] > 4 * step["4"],
)

# %% [markdown]
# At $f = 2$ nothing is won over the fold: the map is as large, and the encoder comes on top. The bargain begins at $f = 4$,
# where the whole finest level of the U-Net is gone. (Decoding is paid once a picture, an evaluation at every step, twice with
# guidance.)
#
# Second, what is drawn after **as much training**. Each network starts from nothing and is trained by this lesson's recipe,
# for as many steps as fit into the time that our latent model took, by the table above; the autoencoder, trained once and
# before, is not counted. The pixel model predicts $x_0$, as lesson 09's does, the others $v$. The same reader, 200 captions
# each, $w = 3$; made by `python tests/benchmarks/latents.py quality`. Beside them stands lesson 09's own pixel model, which had
# more time.

# %%
records = models.records()
names = {"1": "f = 1, pixels", "2": "f = 2, latents", "4": "f = 4, latents"}
marks = ("binding, train", "all, train", "all, new pairs", "all, new objects")
rows = {names[f]: row for f, row in found["after as much training"].items()} | {
    "lesson 09's pixels": records["text2shape"]["figures"]
}
fig, ax = plt.subplots(figsize=(11.5, 4.8))
for i, (name, row) in enumerate(rows.items()):
    values = [100 * row[f"{mark} (w = 3)"] for mark in marks]
    ax.bar(
        [j + 0.2 * (i - 1.5) for j in range(4)],
        values,
        0.19,
        color=(RED, ORANGE, BLUE, "0.6")[i],
        label=name,
    )
ax.set(
    xticks=range(4),
    ylim=(0, 135),
    yticks=range(0, 101, 20),
    ylabel="%",
    title="right, of 200 captions, w = 3",
)
ax.set_xticklabels(
    ["binding", "everything", "everything,\nnew pairs", "everything,\nnew objects"]
)
ax.legend(loc="upper center", ncols=2, fontsize=14)
plots.show(
    fig,
    alt="How much of 200 captions is right after equal training at f = 1, 2 and 4, and in lesson 09's pixel model.",
)

# %%
right_all = {name: 100 * row["all, train (w = 3)"] for name, row in rows.items()}
claim(
    "latent-equal-time",
    "After equal training time, latents at f = 4 show more of a caption than latents at f = 2, and than pixels.",
    measured="everything right in "
    + ", ".join(f"{right_all[name]:.0f} % ({name})" for name in names.values()),
    holds=right_all[names["4"]] > max(right_all[names["1"]], right_all[names["2"]]) + 5,
)

# %% [markdown]
# In these eight minutes pixels and $f = 2$ have hardly begun: two blots lie about where they should, their colours run
# together, and outlines they have none. Pixels get there, as lesson 09's model shows. But each step costs several times as
# much, and it takes several times as many.

# %%
batch, per = (
    {"text2shape": 32, "latent2shape": 64},
    {"text2shape": step["1"] / 64, "latent2shape": step["4"] / 64},
)
spent = {
    name: records[name]["steps"] * batch[name] * per[name] / 60_000 for name in batch
}  # minutes
pixels, latents = right_all["lesson 09's pixels"], right_all[names["4"]]
claim(
    "latent-less-time",
    "Latents at f = 4 follow captions nearly as well as pixels do, in a fraction of the training time.",
    measured=f"everything right at w = 3: pixels {pixels:.1f} % after {spent['text2shape']:.0f} minutes, "
    f"latents {latents:.1f} % after {spent['latent2shape']:.0f}, steps times their cost in the table",
    holds=latents > pixels - 5 and spent["latent2shape"] < 0.4 * spent["text2shape"],
    expected=False,
)

# %% [markdown]
# It holds for the time, and not quite for the captions: "nearly" was to mean less than five in a hundred apart. Trained for six
# times as long, the pixels of lesson 09 leave nothing to be wished for.

# %% [markdown]
# ## Failure museum
#
# The scale is a number that must be used **twice**: multiply after encoding, divide before decoding. A checkpoint that lost it
# gives no error, only pictures like these. Here is what the player's last latents look like when the decoder forgets a
# factor of 5.5, in either direction.

# %%
z_0 = steps[-1].x
fig, axes = plt.subplots(3, 1, figsize=(11.5, 5.4))
for ax, (name, factor) in zip(
    axes, (("right", 1), ("scale not undone", 1 / 5.5), ("scale undone twice", 5.5))
):
    plots.pictures(autoencoder.decode(factor * z_0), columns=8, ax=ax, title=name)
plots.show(
    fig,
    alt="Three rows of eight pictures: clear shapes; dark remnants of them; shapes burnt out to blots.",
)

# %%
for name, mistaken in {
    "its inverse": lambda z: z.std(),
    "by channel": lambda z: 1 / z.std(dim=(0, 2, 3)),
}.items():
    print(f"{name}: {check.latent_scale(mistaken).diagnosis}")

# %% [markdown]
# ## What you saw
#
# - An autoencoder at $f = 4$ writes 3,072 numbers as 256 and loses nothing that the reader would miss.
# - It cannot draw. Diffusion in its latents can, with no new line of sampler, loss or guidance.
# - A step costs a fraction, and what that buys stands in the figure.
# - Two small things make it work: a KL term that is nearly nothing, and one number for the size of the latents.
#
# **At full size** Stable Diffusion (2022) writes 512 × 512 × 3 as 64 × 64 × 4, $f = 8$, 48 times fewer numbers, and its U-Net
# has 860 million weights. Its autoencoder has two more losses than ours: a perceptual one, and a discriminator as in lesson 05,
# without which fine texture would be blurred away at such factors. Rombach et al. find $f = 4$ and $f = 8$ the best bargain:
# smaller factors leave diffusion too much to do, larger ones lose detail that nothing can bring back.
#
# **Think about it**
#
# 1. The autoencoder is trained first, and then frozen. What would go wrong if diffusion's loss were allowed to train the
#    encoder as well? (What is the easiest latent to denoise?)
# 2. Small type, faces in the distance: what can a latent model *not* draw, however good its diffusion is?
#
# **Next:** lesson 13 keeps the pixels and takes another road to large pictures, a cascade. Lesson 16, Stable Diffusion 3, stays
# in the latents, with a transformer.
