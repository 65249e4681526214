# %% [markdown]
# # 06 Cascades: draw small, then draw it large
#
# **You will be able to** write the loss of an upsampler that forgives its input, sample a cascade of two models, say from
# measurements how much noise its second stage should be shown, and what the cascade gains over one stage at the same cost.
#
# **Time** 45 minutes. **Needs** lessons 02 and 14 (or the sentence that DDIM takes few steps). **Papers** Jonathan Ho, Chitwan
# Saharia et al.: *Cascaded Diffusion Models for High Fidelity Image Generation* (2022); Chitwan Saharia et al.: *Image
# Super-Resolution via Iterative Refinement* (2022).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("06")

# %% [markdown]
# ## Two easy problems for one hard one
#
# A network that draws large pictures must get everything right at once: where the strokes go, and how every edge looks. A
# **cascade** splits the work. A **base** model draws a small picture: it decides *what* is there. An **upsampler**, a second
# diffusion model, draws the large one, *given* the small: it adds the detail that the small one cannot hold. Each is trained
# by itself, with the loss of lesson 02. Imagen and DALL-E 2 (lessons 13 and 11) are cascades of three.
#
# Here the base draws digits of 16 × 16, as in all lessons, and the upsampler makes 32 × 32 of them.

# %%
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import plots
from course_lib.datasets import digits
from course_lib.methods.cascades import augmented, cascade, enlarged, film
from course_lib.samplers import sample
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.widgets.player import play
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
large, label = digits.load("held_out", 32)
small = avg_pool2d(large, 2)
fig, axes = plt.subplots(1, 3, figsize=(11.5, 2.1))
blurred = interpolate(small, scale_factor=2, mode="bilinear")
shown = {"32 × 32": large, "halved: 16 × 16": small, "and enlarged again": blurred}
for ax, (name, x) in zip(axes, shown.items()):
    plots.pictures(x[:10], columns=5, title=name, ax=ax)
plots.show(fig, alt="Ten digits at 32 by 32, halved, and enlarged again, which leaves them blurred.")

# %% [markdown]
# What the third picture lacks is what the upsampler has to add.
#
# ## What the upsampler is shown
#
# It is a U-Net like any other, with two more inputs. The small picture, enlarged, is laid **beside** $x_t$ as a further
# channel, so that every convolution sees both. And there is a number, of which in a moment. In the library it is a denoiser
# like any other once its condition is fixed: `upsampler.given(small)`. No sampler needs to know.

# %%
upsampler, digits_model = models.load("upsampler"), models.load("digits")
process = upsampler.process
upsampler

# %% [markdown]
# ## The gap between training and sampling
#
# In training the upsampler sees **real** pictures, halved. In sampling it sees what the **base** drew, with whatever is wrong
# with it: a bit of grain, a gap in a stroke. It has learned to trust its input in everything, so it makes every error large
# and sharp.
#
# The remedy of Ho et al. is **conditioning augmentation**: add noise to the small picture, in training as in sampling, so
# that the upsampler *cannot* trust its details, and learns to draw them itself. The noise is that of the process, at a time
# $s$ of its own:
#
# $$c_s = \sqrt{\bar\alpha_s}\; c + \sqrt{1 - \bar\alpha_s}\; \epsilon', \qquad s \text{ uniform on } 0..S,$$
#
# and the network is **told** $s$. One network then serves every amount of noise, and how much is best for a given base can be
# found afterwards, by trying.
#
# ### Exercise 1: `augmented` (difficulty 1, 6 minutes)
#
# From large pictures to what the upsampler is given: the mean of each 2 × 2, with noise `eps` of time `s`, and the level that
# it is told, $s / T$ (networks see times as fractions). `process.add_noise` takes one $s$ for each picture.


# %%
def my_augmented(process, x0, s, eps):
    """x0 (B, C, H, W), s (B,), eps (B, C, H/2, W/2): the pair (small noisy pictures, s / T)."""
    ...  # write it here


check.augmented(my_augmented)

# %%
check.solution("augmented")

# %%
from course_lib.process import seeded

levels = (0, 100, 200, 300, 400, 600)
rng = seeded(0)
rows = torch.cat([augmented(process, small[:8], s, rng)[0] for s in levels])
fig, ax = plt.subplots(figsize=(7, 5.2))
plots.pictures(rows, columns=8, ax=ax, title="What the upsampler may be shown", rows=[f"s = {s}" for s in levels])
plots.show(fig, alt="Eight small digits under more and more noise, from s = 0, clean, to s = 600, where little can be told.")

# %% [markdown]
# ### Exercise 2: `upsampler_loss` (difficulty 2, 10 minutes)
#
# The whole loss. Halve the pictures; draw $s$ uniformly from 0 to `max_s`, one for each; give the network the pair that
# `augmented` makes (`course_lib.methods.cascades.augmented(process, low, s, rng)` draws the noise itself); and take the
# `denoising_loss` of lesson 02 for the large pictures. Two times, $t$ for the large picture and $s$ for the small, which have
# nothing to do with each other.

# %%
from course_lib.training import denoising_loss


def my_upsampler_loss(network, x0, rng, max_s):
    """The denoising loss of x0 (B, C, H, W), given their noisy halves: one number."""
    ...  # write it here


check.upsampler_loss(my_upsampler_loss)

# %%
check.solution("upsampler_loss")

# %% [markdown]
# ## Both stages, in one film
#
# The time runs from 2,000 to 1,000 while the base draws, and from 1,000 to 0 while the upsampler does. Stop where they meet:
# the large picture begins as pure noise, and yet its first guess is already the right digit. It has been told.

# %% tags=["nbval-ignore-output"]
labels = torch.arange(16) % 10
rng = seeded(1)
noises = digits_model.draw_noise(16, rng), upsampler.draw_noise(16, rng)
times = process.times(20)
steps = list(cascade(digits_model.given(labels), upsampler, noises, times, s=100, rng=rng))
play(
    film(steps, process.T),
    draw=lambda step: {"xₜ": step.x, "x̂₀: predicted": enlarged(step.x0, 32)},
)

# %% [markdown]
# ## Does it forgive a bad base?
#
# A base whose training was **stopped early**, on purpose, after a quarter of its steps, ships as the model `base`. Its digits
# are full of gaps. Above: what it draws. Below: what the upsampler makes of it, with no noise in its input, and with some.

# %%
rough = models.load("base")
labels = torch.arange(12) % 10
noise, large_noise = rough.draw_noise(12, seeded(2)), upsampler.draw_noise(12, seeded(3))
low = sample(rough.given(labels), noise, 20)
rows = {"base": enlarged(low, 32)}
for s in (0, 200, 400):
    given = augmented(process, low, s, seeded(4))
    rows[f"s = {s}"] = sample(upsampler.given(given), large_noise, 20)
fig, ax = plt.subplots(figsize=(11.5, 3.3))
plots.pictures(torch.cat(list(rows.values())), columns=12, ax=ax, rows=list(rows))
plots.show(fig, alt="Twelve rough small digits; enlarged with s = 0 their faults are sharp, with more noise they are mended.")

# %% [markdown]
# ### The sweep
#
# Two upsamplers: one trained **with** augmentation ($S = 600$), one **without** ($S = 0$). Three kinds of small pictures:
# **real** ones, those of a base at the end of its training (600 steps), and those of the same base stopped early (150). 200
# pictures each, three seeds of all noise (each network was trained once: the bars cover sampling alone). The Frechet distance
# is that of a classifier of 32 × 32, which is not fooled: real digits that were halved and enlarged have a distance of 5.
# Made by `python tests/benchmarks/cascade.py`.

# %%
runs = figures.load("cascade")


def distances(base, upsampler, s, truncated=False):
    """Frechet distances, by seed."""
    return figures.values(runs, "Frechet distance", base=base, upsampler=upsampler, s=s, truncated=truncated)


def levels_of(base, upsampler, truncated=False):
    return sorted(figures.where(runs, base=base, upsampler=upsampler, truncated=truncated)["s"].unique().tolist())


fig, axes = plt.subplots(1, 3, figsize=(11.8, 4.6), sharey=True)
bases = {"real": "real halves", "base": "base, trained to its end", "early": "base, stopped early"}
for ax, (base, name) in zip(axes, bases.items()):
    for kind, colour, line in (("with", BLUE, "o-"), ("without", RED, "s--")):
        at = levels_of(base, kind)
        seeds = distances(base, kind, at)  # (levels, seeds)
        ax.errorbar(at, seeds.mean(1), seeds.std(1, ddof=1), fmt=line, color=colour, ms=9, capsize=5, label=f"trained {kind}")
    ax.set(title=name, xlabel="noise shown, s", yscale="log")
    ax.minorticks_off()
axes[0].set(ylabel="Frechet distance", yticks=[0.3, 1, 3, 10, 30], yticklabels=["0.3", "1", "3", "10", "30"])
axes[2].legend(loc="lower left")
plots.show(fig, alt="Frechet distance over s for three kinds of small pictures, with and without augmentation in training.")

# %%
print("s                            " + "".join(f"{s:>8}" for s in levels_of("early", "with")))
for base, name in bases.items():
    print(f"{name:29}" + "".join(f"{distances(base, 'with', s).mean():8.2f}" for s in levels_of(base, "with")))

# %%
BEST = {base: min(levels_of(base, "with"), key=lambda s: distances(base, "with", s).mean()) for base in bases}
plain, best = distances("early", "with", 0), distances("early", "with", BEST["early"])
claim(
    "cascade-noise-for-a-rough-base",
    "For a base that was stopped early, the best amount of noise is not zero.",
    measured=f"best s = {BEST['early']}: Frechet distance {best.mean():.1f}, with s = 0 {plain.mean():.1f}, three seeds",
    holds=BEST["early"] > 0 and bool((best < plain).all()),
)

# %%
clean, noisy = distances("real", "with", 0), distances("real", "with", 200)
claim(
    "cascade-no-noise-for-real-halves",
    "For real halves, of which nothing is wrong, noise only harms.",
    measured=f"best s = {BEST['real']}: Frechet distance {clean.mean():.2f} with s = 0, {noisy.mean():.2f} with s = 200",
    holds=BEST["real"] == 0 and bool((clean < noisy).all()),
)

# %%
without, trained_with = distances("early", "without", 0), distances("early", "with", 0)
finished = distances("base", "without", 0), distances("base", "with", 0)
claim(
    "cascade-noise-in-training",
    "Noise in training helps, even where none is shown in sampling.",
    measured=f"s = 0, trained with noise and without: rough base {trained_with.mean():.0f} and {without.mean():.0f}, "
    f"finished base {finished[1].mean():.1f} and {finished[0].mean():.1f}",
    holds=bool((trained_with < without).all() and (finished[1] < finished[0]).all()),
)

# %% [markdown]
# So there are two effects. **In training** noise teaches the upsampler to doubt its input; that helps any base (red against
# blue at $s = 0$), and costs next to nothing on real halves. **In sampling** noise takes away what the base got wrong,
# together with what it got right. A rough base has more of the first, and its best $s$ is 400. A base that has learned its
# digits has more of the second: its best is 0. An upsampler that never met noise is lost in it (red, $s = 200$).
#
# ### Or stop the base before it is done
#
# There is a cheaper way to a noisy small picture: do not finish it. **Truncated** augmentation (Ho et al., section 4.1) stops
# the base at time $s$ and hands over $x_s$ as it stands, noise and all. **Non-truncated** (4.2), as above, finishes the
# picture and adds fresh noise. They found both about equally good, and preferred the second, since the small picture can then
# be drawn once for all $s$.

# %%
for base in ("base", "early"):
    for s in levels_of(base, "with", truncated=True):
        both = distances(base, "with", s, truncated=True).mean(), distances(base, "with", s).mean()
        print(f"{bases[base]:27} s = {s}: truncated {both[0]:.2f}, not truncated {both[1]:.2f}")

# %% [markdown]
# ## Is it worth it? The cascade beside one stage
#
# One stage: the same U-Net at 32 × 32, told the class, with no small picture, trained for as long as base and upsampler
# **together**. Each part has about 0.4 million numbers.

# %%
FIGURES = ("Frechet distance", "precision", "recall", "class accuracy")
cost, drawing = runs.attrs["training s"], runs.attrs["drawing ms"]
at_best = dict(base="base", upsampler="with", s=BEST["base"], truncated=False)
stages = {"cascade": at_best, "one stage": dict(base="single")}
print(f"{'the cascade at its best s':30}" + "".join(f"{name:>12}" for name in stages))
for figure in FIGURES:
    print(f"{figure:30}" + "".join(f"{figures.values(runs, figure, **row).mean():12.2f}" for row in stages.values()))
ratio = (cost["base"] + cost["with"]) / cost["single"]
print(f"training time, cascade / one stage: {ratio:.1f}")
print(f"drawing time, cascade / one stage:  {(drawing['base'] + drawing['with']) / drawing['single']:.1f}")

# %%
two, one = distances("base", "with", BEST["base"]), distances("single", "", 0)
claim(
    "cascade-at-equal-cost",
    "At equal training time the cascade is better than one stage.",
    measured=f"Frechet distance {two.mean():.1f} against {one.mean():.1f}, three seeds of the noise",
    holds=bool((two < one).all()),
    expected=False,
)

# %% [markdown]
# It does not hold in miniature: they are equally good, and the cascade takes nearly twice as long to draw. Our one stage has
# an easy life. Its U-Net folds 2 × 2 pixels into channels at its door, so that a step at 32 × 32 costs it no more than one at
# 16 × 16, and 32 × 32 black-and-white strokes are not yet so many pixels that one network could not mind them all. At 256 ×
# 256 a stage has 64 times the pixels of its 32 × 32 base, and there the split pays.
#
# ## Failure museum
#
# **An upsampler that is not told.** Below, the same noisy pictures twice: once with their level, and once as if they were
# clean. Then the network takes every speck for a stroke, just as the upsampler does that never met noise (red, above).

# %%
mistaken = {
    "every second pixel": lambda process, x0, s, eps: (process.add_noise(x0[..., ::2, ::2], s, eps), s / process.T),
    "the level in steps": lambda process, x0, s, eps: (process.add_noise(avg_pool2d(x0, 2), s, eps), s.float()),
}
for name, fn in mistaken.items():
    print(f"{name}: {check.augmented(fn).diagnosis}")


def without_level(network, x0, rng, max_s):
    s = torch.randint(max_s + 1, (len(x0),), generator=rng)
    return denoising_loss(network.given(augmented(network.process, avg_pool2d(x0, 2), s, rng)[0]), x0, rng)


print(f"the level is kept secret: {check.upsampler_loss(without_level).diagnosis}")

# %%
given = {"told": augmented(process, small[:10], 400, seeded(5))}
given["not told"] = given["told"][0]  # the same noisy pictures, said to be clean
noise = upsampler.draw_noise(10, seeded(6))
rows = {"shown": enlarged(given["not told"], 32)}
rows |= {name: sample(upsampler.given(cond), noise, 20) for name, cond in given.items()}
fig, ax = plt.subplots(figsize=(11.5, 3.1))
plots.pictures(torch.cat(list(rows.values())), columns=10, ax=ax, rows=list(rows))
plots.show(fig, alt="Ten noisy small digits; upsampled with the level told they are clean, with it not told full of specks.")

# %% [markdown]
# ## What you saw
#
# - A cascade is two diffusion models, and `upsampler.given(small)` is a denoiser like any other.
# - Noise in the small picture, told to the network, is what lets the second stage forgive the first: with a base stopped early
#   the distance falls from 3.8 to 2.7 at $s = 400$; an upsampler that never learned with noise is at 11.
# - With a base that was trained four times as long the best noise in sampling is none; that it was there in *training* still
#   halves the distance.
# - One stage does as well at the same cost here, where pictures are small.
#
# **At full size** Ho et al. draw ImageNet at 256 × 256 by three stages, 32, 64 and then 256, and report an FID of 4.88,
# better than BigGAN-deep, without a classifier's guidance. For large pictures they blur the small one instead of adding
# noise. Imagen (lesson 13) goes from 64 to 256 to 1024, with Gaussian noise, whose level it tells its upsamplers as we do.
#
# **Think about it**
#
# 1. The upsampler could be trained on what the *base* draws, beside the real large picture. Why can it not?
# 2. With $s = T$ the small picture is all noise. What is the upsampler then, and what would it draw?
#
# **Next:** lesson 07 steers: a classifier tells the sampler which digit to draw.
