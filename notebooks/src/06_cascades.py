# %% [markdown]
# # 06 Cascades: sample a small picture, then upsample it
#
# **You will be able to** write the loss of an upsampler with conditioning augmentation, sample a cascade with your own loop,
# judge from measurements whether noise in the small picture helps, and compare a cascade with one stage at equal training time.
#
# **Time** 60 minutes, and 4 for the optional part. In a class of 60 minutes leave exercises 1 and 2 (16 minutes) for home, to
# have time for guesses and discussion, and use the shipped upsampler. **Needs** lessons 02 (the loss, the sampler,
# v-prediction) and 04 (the U-Net). **Papers** Jonathan Ho, Chitwan Saharia and others: *Cascaded Diffusion Models for High
# Fidelity Image Generation* (2022); Chitwan Saharia and others: *Image Super-Resolution via Iterative Refinement* (2022).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("06")

# %% [markdown]
# ## Why two stages?
#
# A network that generates large pictures has two tasks: where the strokes go, and how every edge looks. A **cascade** gives
# them to two diffusion models. The **base model** generates a small picture. The **upsampler**, or super-resolution model,
# generates a large picture conditioned on the small one: it adds the detail. Each is trained separately with the loss of
# lesson 02. DALL-E 2's decoder with its two upsamplers (lesson 11) is a cascade of three models, and so is Imagen (lesson 13).
#
# For a large picture $x$ and its small picture $c$,
#
# $$p(x) = \int p(x \mid c)\; p(c)\; dc .$$
#
# All densities here are given the class, which we leave out of the formula. The base samples $c$ from $p(c)$, then the
# upsampler samples $x$ from $p(x \mid c)$. Here $c$ has 16 × 16 pixels, and $x$ has 32 × 32.

# %%
import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.datasets import digits
from course_lib.methods.cascades import augmented, cascade, enlarged, film
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate, ratio
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.player import play
from course_lib.zoo import figures, models
from torch.nn.functional import avg_pool2d, interpolate

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
large, label = digits.load("held_out", 32)
small = avg_pool2d(large, 2)
interpolated = interpolate(small, scale_factor=2, mode="bilinear")
shown = {"32 × 32": large, "mean of 2 × 2": enlarged(small, 32), "interpolated": interpolated}
fig = plots.pictures(
    torch.cat([x[:10] for x in shown.values()]),
    columns=10,
    title="What halving loses",
    rows=shown.keys(),
    scale=0.033,
)
plots.show(
    fig,
    alt="Ten digits in three rows: of 32 by 32, as means of 2 by 2 pixels, and interpolated, "
    "blurred.",
)

# %% [markdown]
# The upsampler has to add what the interpolated picture lacks.
#
# ## What is the upsampler conditioned on?
#
# It is the U-Net of lesson 04 with two more inputs. And it cuts the picture into patches of 2 × 2 pixels, each one position
# with four times the channels. So its largest maps have 16 × 16 positions, like those of lesson 04.
#
# The small picture is enlarged, here by bilinear interpolation, and concatenated to $x_t$ as a further channel, as in SR3
# (Saharia et al. 2022, who enlarge by bicubic interpolation). So the first convolution is given both at each position. (For
# display, `enlarged()` repeats the nearest pixel.) The class is an embedding that is added to that of the time, as in the
# base. The second new input, a noise level, follows below. With its conditions fixed, the upsampler is a denoiser:
# `upsampler.given((small, level, label))`. So every sampler works with it unchanged.

# %%
upsampler, digits_model = models.load("upsampler"), models.load("digits")
process = upsampler.process
upsampler

# %% [markdown]
# ## Compounding error, and a remedy
#
# In training, the small pictures are made from **real** ones. In sampling, they are **samples** of the base, with errors: noise
# in the background, gaps in strokes. The upsampler was never trained on such input, so errors of the first stage cause further
# errors in the second. This is called **compounding error**.
#
# The remedy of Ho et al. is **conditioning augmentation**: noise is added to the small picture, in training and in sampling.
# The noise hides details of the small picture, so the upsampler learns to generate them itself. It is the noise of the process
# at a time $s$, which is independent of the $t$ of the large picture:
#
# $$c_s = \sqrt{\bar\alpha_s}\; c + \sqrt{1 - \bar\alpha_s}\; \epsilon', \qquad s \text{ uniform on } 0, \dots, S.$$
#
# The network is also conditioned on $s$. So one network serves every amount of noise, and the best amount for a given base can
# be searched for after training (Ho et al., section 3).
#
# The identity above holds for the noisy small picture too: $p(x) = \int p(x \mid c_s)\, p(c_s)\, dc_s$ for each $s$. So with
# exact models and exact sampling, noise costs nothing. In practice both models have errors. The larger $s$, the closer the
# distribution of the base's $c_s$ is to that of real ones. But the upsampler must generate more, with its own errors.
#
# ### Exercise 1: `augmented` (difficulty 1, 6 minutes)
#
# From large pictures `x0` (B, C, H, W), times `s` (B,) and noise `eps` (B, C, H/2, W/2), make the pair that the upsampler is
# given: the mean of each 2 × 2 pixels, with noise of time $s$; and the level $s / T$ (B,), since networks take times as
# fractions of $T$. `process.add_noise(x, s, eps)` takes one $s$ for each picture; `avg_pool2d(x, 2)` is the mean.


# %%
def my_augmented(process, x0, s, eps):
    """x0 (B, C, H, W), s (B,), eps (B, C, H/2, W/2): (small noisy pictures, s / T)."""
    ...  # write it here


verdict = check.augmented(my_augmented)
my_augmented = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("augmented")

# %%
levels, rng = (0, 100, 200, 400, 600), seeded(0)
eps = torch.randn(10, 1, 16, 16, generator=rng)
rows = {
    f"s = {s}": my_augmented(process, large[:10], torch.full((10,), s), eps)[0] for s in levels
}
made = torch.cat(list(rows.values()))
fig = plots.pictures(made, 10, "Small pictures with noise of time s", rows=rows)
plots.show(
    fig,
    alt="Ten small digits in five rows, with more noise from row to row: s = 0, without "
    "noise, to s = 600.",
)

# %% [markdown]
# ### Exercise 2: `upsampler_loss` (difficulty 2, 10 minutes)
#
# The whole loss of a batch `x0` (B, C, H, W) with classes `label` (B,). Draw $s$ from $0, \dots,$ `max_s`, uniformly, one for
# each picture, and noise of the size of the small pictures, both from `rng`. Make the small noisy pictures by `my_augmented`,
# with the process `network.process`. `network.given((small, level, label))` is the denoiser. Then take lesson 02's loss of the
# large pictures: `denoising_loss(denoiser, x0, rng)` draws $t$ and $\epsilon$ and compares what the network predicts (here $v$,
# lesson 02).

# %%
from course_lib.training import denoising_loss


def my_upsampler_loss(network, x0, label, rng, max_s):
    """The denoising loss () of x0 (B, C, H, W), given noisy halves and classes (B,)."""
    ...  # write it here


verdict = check.upsampler_loss(my_upsampler_loss)
my_upsampler_loss = verdict.function
verdict

# %%
check.solution("upsampler_loss")

# %% [markdown]
# Your loss now trains an upsampler for 100 steps of Muon, an optimizer that orthogonalises the update of each weight matrix
# (lesson 05). The shipped one had 700, with $t$ drawn by min-SNR weight (lesson 02). In a tenth of its steps the labels were
# left out, so that it also works without a class (lesson 08).

# %% tags=["nbval-ignore-output"]
from course_lib.denoisers import Network
from course_lib.training import EMA, show_progress, train
from course_lib.zoo.recipes.cascades import upsampler_network

mine, (pictures, labels), rng = upsampler_network(seed=0), digits.load("train", 32), seeded(0)


def loss():
    i = torch.randint(len(pictures), (32,), generator=rng)
    return my_upsampler_loss(mine, pictures[i], labels[i], rng, max_s=600)


average = EMA(mine.net, 0.98)
training = train(loss, mine.net, steps=100, lr=3e-3, ema=average, muon=0.02)
show_progress(training, "training an upsampler")
noise = upsampler.draw_noise(10, seeded(1))
given = small[:10], 0.0, label[:10]
short = Network(average.net, process, "v")  # the averaged weights
rows = {
    "interpolated": interpolated[:10],
    "100 steps": sample(short.given(given), noise, 20),
    "shipped": sample(upsampler.given(given), noise, 20),
    "real": large[:10],
}
made = torch.cat(list(rows.values()))
fig = plots.pictures(made, 10, "Real halves, upsampled", rows=rows, scale=0.033)
plots.show(
    fig,
    alt="Ten digits in four rows: interpolated, blurred; upsampled after 100 training steps, "
    "with strong noise all over; by the shipped upsampler, nearly as sharp as the real ones "
    "in the last row.",
)

# %% [markdown]
# After 100 steps much noise remains: these pictures look worse than interpolated ones.
#
# ## Sampling a cascade
#
# Both stages use 20 steps of DDIM, a deterministic sampler that lesson 14 derives. One step from $t$ to the next time $t' < t$
# adds the *predicted* noise to the predicted clean picture, in the amount of time $t'$:
#
# $$x_{t'} = \sqrt{\bar\alpha_{t'}}\; \hat x_0 + \sqrt{1 - \bar\alpha_{t'}}\; \hat\epsilon .$$
#
# ### Exercise 3: `cascade` (difficulty 2, 14 minutes)
#
# Write the whole sampler, 8 to 14 lines. `base.given(label)` and `upsampler.given((small, level, label))` are denoisers:
# `denoiser(x, t)` returns a prediction `pred` with `.x0` and `.eps`. One step of DDIM, with one number as time, is
# `process.add_noise(pred.x0, t_next, pred.eps)`; the process of both stages is `base.process`. Write the loop once, as an inner
# function of a denoiser and its initial noise, and call it for both stages. `noises` is the pair of initial noises, of the
# small pictures (B, C, h, w) and of the large ones. `times` is a falling row of times with 0 at the end;
# `itertools.pairwise(times.tolist())` gives each $t$ with its $t'$. Return the large pictures.
#
# `s` is one number. Between the stages draw `eps = torch.randn(small.shape, generator=rng)` and make the noisy small pictures,
# `process.add_noise(small, s, eps)`. The upsampler's level is `s / base.process.T`, and its `small` is the noisy one.


# %%
import itertools  # noqa: F401 - for your loop


def my_cascade(base, upsampler, label, noises, times, s, rng):
    """Large pictures (B, C, H, W): the base's samples, with noise of time s, upsampled."""
    ...  # write it here


verdict = check.cascade(my_cascade)
my_cascade = verdict.function
verdict

# %%
check.solution("cascade")

# %% [markdown]
# ### Watch both stages
#
# Drag the slider, or press play. The base is the shipped digits model, none of those measured below. The time runs from 2,000
# to 1,000 in the base, then from 1,000 to 0 in the upsampler. The base's first prediction is close to the mean picture of its
# class. Stop where the stages meet. The upsampler's first prediction has the strokes of this small picture: compare the two.
#
# <!-- Ask: Stop where the stages meet. What does the upsampler start from? -->

# %% tags=["nbval-ignore-output"]
labels = torch.arange(16) % 10
rng, times = seeded(1), process.times(20)
noises = digits_model.draw_noise(16, rng), upsampler.draw_noise(16, rng)
# not my_cascade: the library's cascade yields every step, and takes a base
# that is already given its labels
steps = list(
    cascade(digits_model.given(labels), upsampler, noises, times, s=100, rng=rng, label=labels)
)
play(
    film(steps, process.T),
    draw=lambda step: {"xₜ": step.x, "x̂₀: predicted": enlarged(step.x0, 32)},
)

# %% [markdown]
# ## A base with errors
#
# The shipped model `base` is an undertrained base, which had 100 of 400 training steps. Its digits have noise, gaps and
# wrong shapes: below, only the 0, 1 and 3 are easy to recognise. Your cascade upsamples them, without noise and with noise.

# %%
undertrained = models.load("base")
labels = torch.arange(10)
noises = undertrained.draw_noise(10, seeded(2)), upsampler.draw_noise(10, seeded(3))
rows = {"base": enlarged(sample(undertrained.given(labels), noises[0], 20), 32)}
for s in (0, 200, 400):
    rows[f"s = {s}"] = my_cascade(undertrained, upsampler, labels, noises, times, s, seeded(4))
made = torch.cat(list(rows.values()))
fig = plots.pictures(made, 10, "Undertrained base, upsampled", rows=rows, scale=0.033)
plots.show(
    fig,
    alt="Ten small digits, several with a wrong shape, and below each the upsampled picture "
    "for s = 0, 200 and 400: strokes become sharp, and with more noise they differ more from "
    "the small picture.",
)

# %% [markdown]
# With $s = 0$ the upsampler sharpens the wrong shapes. With $s = 400$ it changes some strokes, not always towards the right
# digit: the last picture, a 9, looks like a 4. Ten pictures decide nothing, so we measure.
#
# ## Does the noise help?
#
# Three kinds of small pictures: halves of **real** digits, samples of a **finished base** (400 training steps), and samples
# of an **undertrained base** (the same training after 100 steps). Two upsamplers: one trained **with** augmentation
# ($S = 600$), one **without** ($S = 0$). Base and upsamplers were trained ten times, and 200 pictures sampled from each
# training.
#
# Two figures are measured by a classifier of 32 × 32 digits. The Frechet distance (lesson 00) is small where the pictures are
# distributed as real ones. The class accuracy is the share of pictures that it assigns to the class that was asked for.
#
# What is compared was fixed before these trainings, in `tests/benchmarks/cascade.py`. Noise in sampling is $s = 200$ beside
# $s = 0$. Noise in training is judged at $s = 0$, by the second five trainings alone (see below). Verdicts are paired by
# training, except beside one stage. Where a claim names two kinds of small pictures, it holds only if both differences pass.
# The six claims of this lesson take eight comparisons, each at the level of 5 %, without a correction for their number. Guess
# first:

# %% tags=["nbval-ignore-output"]
predict(
    "cascade-noise-in-training.times",
    "Undertrained base, no noise in sampling: how many times as large is the Frechet distance "
    "if the upsampler was trained without noise?",
    low=1,
    high=30,
    unit="times",
)

# %% tags=["nbval-ignore-output"]
predict(
    "cascade-noise-for-an-undertrained-base.verdict",
    "Undertrained base: does noise in sampling (s = 200) lower the Frechet distance?",
    choices=("yes", "no", "cannot be told apart"),
)

# %% [markdown]
# In the plot, blue circles belong to the upsampler trained with noise, orange squares, drawn a little to the right, to the one
# trained without. A bar is the margin that a verdict needs: of ten trainings 2.3 standard errors. (Verdicts of paired
# differences may need less.) The scale of the distance is logarithmic, so equal bars look longer below. The black dotted lines
# are real digits against other real digits: no model can be expected to do better. For real halves at $s = 0$ the orange square
# lies close to that line: the table below gives both.

# %%
runs = figures.load("cascade")
BASES = {"real": "real halves", "base": "finished base", "early": "undertrained base"}
FIGURES = {"Frechet distance": "lower is better", "class accuracy": "higher is better"}
floor = figures.raw("cascade")["real against real"]


def of(figure, base, upsampler="with", s=0, given="class", truncated=False, **more):
    """A figure of each training (10,), in the order of their seeds."""
    keys = dict(base=base, upsampler=upsampler, s=s, given=given, truncated=truncated)
    return figures.values(runs, figure, **keys | more)


LEVELS = {"with": (0, 100, 200, 400, 600), "without": (0, 200)}
fig, axes = plt.subplots(2, 3, figsize=(11.8, 7.6), sharex=True, sharey="row")
for column, (base, name) in zip(axes.T, BASES.items()):
    for ax, figure in zip(column, FIGURES):
        for kind, colour, line, shift in (
            ("with", BLUE, "o-", 0),
            ("without", RED, "s--", 12),
        ):
            made = [estimate(of(figure, base, kind, s)) for s in LEVELS[kind]]
            mean, margin = [e.mean for e in made], [e.margin for e in made]
            style = dict(color=colour, ms=9, capsize=5, label=f"trained {kind} noise")
            ax.errorbar([s + shift for s in LEVELS[kind]], mean, margin, fmt=line, **style)
        ax.axhline(floor[figure], color="black", linestyle=":", label="real against real")
    column[0].set(title=name, yscale="log", ylim=(0.05, 120))
    column[0].minorticks_off()
    column[1].set(xlabel="noise in sampling, s", ylim=(0, 1.05))
ticks = [0.1, 0.3, 1, 3, 10, 30]
axes[0, 0].set(ylabel="Frechet distance", yticks=ticks, yticklabels=[f"{y:g}" for y in ticks])
axes[1, 0].set(ylabel="class accuracy")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plots.show(
    fig,
    alt="Six line plots over the noise in sampling, s = 0 to 600: Frechet distance above, "
    "class accuracy below, for real halves, the finished and the undertrained base. Trained "
    "with noise, the distance rises with s for the first two; for the undertrained base it "
    "is nearly level until s = 200. Trained without noise it is far higher at s = 200, and at "
    "s = 0 too for the undertrained base, about 22 beside 3, and the finished one, "
    "1.9 beside 0.75; for real halves it is lower, 0.23 beside 0.33. Class accuracy falls as s "
    "grows; trained with noise it is nearly level until s = 200 for the undertrained base.",
)

# %%
for figure, better in FIGURES.items():
    for kind, levels in LEVELS.items():
        print(f"{figure} ({better}), upsampler trained {kind} noise")
        print(" " * 18 + "".join(f"{f's = {s}':>13}" for s in levels))
        for base, name in BASES.items():
            cells = [f"{estimate(of(figure, base, kind, s)):.2f}" for s in levels]
            print(f"{name:18}" + "".join(f"{cell:>13}" for cell in cells))
    print(f"{'real against real':18}{floor[figure]:>8.2f}\n")

# %% [markdown]
# **Noise in training.** Compare the first points, $s = 0$, of the blue and the orange lines. Without noise in training the
# distances of single trainings differ by factors. So what is compared is the ratio of both distances, training by training: the
# mean of its logarithm, with the interval that a verdict needs. The first five trainings had suggested this scale, so only the
# second five count. For real halves, which have no errors, noise in training should not help: they are the null model.


# %%
def without_noise(base):
    """How many times as large the distance at s = 0 is if trained without noise: (5,)."""
    arms = (of("Frechet distance", base, kind)[5:] for kind in ("without", "with"))
    return ratio(*arms)


def in_training(base):
    return dict(times=without_noise(base), who=BASES[base])


claim(
    "cascade-noise-in-training",
    "For the undertrained base an upsampler trained without noise gives a higher Frechet "
    "distance than one trained with it, even without noise in sampling.",
    figures=in_training("early"),
    measured="{who}: {times:.1f} as large without noise in training",
    holds=lambda times: times.above(1),
    null={"small pictures without errors": in_training("real")},
)

# %%
claim(
    "cascade-noise-finished-base",
    "For the finished base, too, an upsampler trained without noise gives a higher Frechet "
    "distance, without noise in sampling.",
    figures=in_training("base"),
    measured="{who}: {times:.1f} as large without noise in training",
    holds=lambda times: times.above(1),
    null={"small pictures without errors": in_training("real")},
)

# %% [markdown]
# So noise in training makes the upsampler less sensitive to the base's errors; of our two bases the one with more errors gains
# more. For real halves, which have no errors, the distance is lower without noise in training: that is its price.
#
# **Noise in sampling** hides the base's errors, and gives the upsampler more to generate. Does the undertrained base gain?


# %%
def noise_in_sampling(base, upsampler="with"):
    """The Frechet distance at s = 200 beside that at s = 0."""
    return compare(*(of("Frechet distance", base, upsampler, s) for s in (200, 0)))


distance = noise_in_sampling("early")
claim(
    "cascade-noise-for-an-undertrained-base",
    "For the undertrained base, noise in sampling lowers the Frechet distance.",
    figures=dict(distance=distance),
    measured="s = 200 beside 0: Frechet distance {distance:.2f}, difference "
    "{distance.difference:.2f}, margin {distance.difference.margin:.2f}",
    holds=lambda distance: distance.lower,
    null={
        "real halves, which have no errors": dict(distance=noise_in_sampling("real")),
        "an upsampler trained without noise": dict(
            distance=noise_in_sampling("early", "without")
        ),
    },
    expected=None,
)

# %% [markdown]
# The distance fell in six trainings of ten, in one by 1.6. In the second five alone the difference would pass its margin, with
# the same mean; in the first five single trainings vary more. An upsampler that was trained without noise fails on noisy input
# (orange squares, $s = 200$).
#
# **So far:** noise in training lowers the Frechet distance for both bases. Class accuracy is higher for the undertrained base
# (0.55 beside 0.43), not for the finished one (0.85 both). For noise in sampling no case of help is shown, at $s = 200$ and
# with ten trainings. Ho et al. found Gaussian noise the better augmentation at 64 × 64 (At full size).
#
# ### Stop the base before its end
#
# A noisy small picture costs less if the base stops early in sampling. In **truncated conditioning augmentation** (Ho et al.,
# section 3.2) the base stops at time $s$, and $x_s$ itself is the noisy small picture. Above, the base finishes and fresh noise
# is added (**non-truncated**, section 3.3). Then the base's samples can be stored once and serve every $s$.
#
# With an exact base and a sampler whose $x_s$ has the distribution $q(x_s)$, both ways give the same distribution of noisy
# small pictures. In 20 steps of DDIM, $x_s$ contains *predicted* noise, which may differ from the fresh noise of training. So
# here the truncated way may be worse. (The cause is not tested. The ways differ in two things: predicted noise in place of
# fresh noise, and no steps of the base from $s$ to 0. To separate them, stop at $s$ and add fresh noise to the predicted clean
# picture.)


# %%
def truncated(base):
    """The Frechet distance at s = 200, truncated beside non-truncated."""
    both = (of("Frechet distance", base, s=200, truncated=cut) for cut in (True, False))
    return compare(*both)


def less_noise(base):
    return compare(*(of("Frechet distance", base, s=s) for s in (100, 200)))


claim(
    "cascade-truncated",
    "Truncated augmentation gives a higher Frechet distance than non-truncated, for both "
    "bases.",
    figures=dict(
        undertrained=truncated("early"),
        finished=truncated("base"),
        arms="truncated beside non-truncated, both s = 200",
    ),
    measured="{arms}: {undertrained:.2f} for the undertrained base (difference "
    "{undertrained.difference:.2f}, margin {undertrained.difference.margin:.2f}), "
    "{finished:.2f} for the finished base (difference {finished.difference:.2f}, margin "
    "{finished.difference.margin:.2f})",
    holds=lambda undertrained, finished: all_of(undertrained.higher, finished.higher),
    null={
        "a change of s, no truncation": dict(
            undertrained=less_noise("early"),
            finished=less_noise("base"),
            arms="s = 100 beside s = 200, both non-truncated",
        )
    },
)

# %% [markdown]
# So here the base should finish. The null model takes less noise, so it could hardly pass. More noise, $s = 400$ beside 200,
# passes the same condition without truncation. So the rise may also mean that the truncated $x_s$ is noisier than the level
# that the upsampler is given. The claim is measured with DDIM at $s = 200$ alone; another sampler may differ.
#
# ## A cascade beside one stage, at equal training time
#
# One stage: the same kind of U-Net at 32 × 32, conditioned on the class, without a small picture. It has 414,000 parameters,
# the cascade's two networks 818,000 together: training time is equal, size is not. Its 1,330 training steps take as much
# processor time as the 400 of the base and the 700 of the upsampler together (the table's row "training", uncertain by about
# 5 %). The cascade evaluates two networks in 20 steps each. So one stage is sampled in 20 steps, and in 40, which take about
# as long as the cascade. The cascade has $s = 0$, the best level for the finished base in three earlier trainings.
#
# All networks have the recipe of the digits (lesson 00), with half the batch at 32 × 32. That recipe was searched at 16 × 16.
# None was tuned here for one stage of 32 × 32, nor for the upsampler. So the comparison is of these recipes: the cascade has
# twice the parameters, and its base alone has the recipe at the size it was searched for. Either may favour the cascade.

# %% tags=["nbval-ignore-output"]
predict(
    "cascade-at-equal-cost.verdict",
    "At equal training time, is the Frechet distance of the cascade lower than that of one "
    "stage?",
    choices=("yes", "no", "cannot be told apart"),
)


# %%
def stages(figure):
    """The figure of the cascade and of one stage in 20 and in 40 steps, each (10,)."""
    single = {f"one stage, {n} steps": of(figure, "single", "", moves=n) for n in (20, 40)}
    return {"cascade": of(figure, "base")} | single


steps, training = runs.attrs["steps"], runs.attrs["training ms a step"]
seconds = {kind: training[kind] * steps[kind] / 1000 for kind in training}
sampling = runs.attrs["sampling ms a picture"]
print(f"{'':24}" + "".join(f"{name:>20}" for name in stages("recall")) + f"{'real':>8}")
for figure in ("Frechet distance", "class accuracy", "precision", "recall"):
    cells = "".join(f"{f'{estimate(values):.2f}':>20}" for values in stages(figure).values())
    print(f"{figure:24}{cells}{floor[figure]:8.2f}")
cost = [sampling["base"] + sampling["with"], sampling["single"], 2 * sampling["single"]]
print(f"{'sampling, ms per picture':24}" + "".join(f"{ms:>20.1f}" for ms in cost))
cost = [seconds["base"] + seconds["with"], seconds["single"], seconds["single"]]
print(f"{'training, s':24}" + "".join(f"{s:>20.0f}" for s in cost))
size = runs.attrs["parameters"]
cost = [size["base"] + size["with"], size["single"], size["single"]]
print(f"{'parameters':24}" + "".join(f"{n:>20,}" for n in cost) + "\n")
networks = {"base": ("base", 64), "with": ("upsampler", 32), "single": ("one stage", 32)}
for kind, (name, batch) in networks.items():
    print(f"training of {name:10}: {training[kind] / batch:.1f} ms per picture")

# %% [markdown]
# The verdict is of the distance, beside one stage in 20 steps.


# %%
def beside_one_stage(values, who):
    """Distances (10,) beside those of one stage in 20 steps, not paired: other networks."""
    one = stages("Frechet distance")["one stage, 20 steps"]
    distance = compare(values, one, paired=False)
    return dict(distance=distance, who=who)


claim(
    "cascade-at-equal-cost",
    "At equal training time the cascade has a lower Frechet distance than one stage.",
    figures=beside_one_stage(of("Frechet distance", "base"), "cascade"),
    measured="{who} beside one stage: Frechet distance {distance:.2f}, difference "
    "{distance.difference:.2f}, margin {distance.difference.margin:.2f}",
    holds=lambda distance: distance.lower,
    null={
        "the finished base alone": beside_one_stage(
            of("Frechet distance", "base", "interpolation", given="nothing"),
            "its pictures, interpolated,",
        ),
        "one stage in 40 steps": beside_one_stage(
            stages("Frechet distance")["one stage, 40 steps"], "one stage in 40 steps"
        ),
    },
)

# %% [markdown]
# So for equal training time these recipes give the cascade the lower Frechet distance. In the table its class accuracy and
# precision are higher too, but its recall is lower, 0.86 beside 0.90 (real digits: 0.86). The verdict belongs to $s = 0$: at
# $s = 200$ the cascade has {{cascade-noise-harms.finished.a}}, which would not pass. Sampling is not equal: the cascade takes
# about twice as long as one stage in 20 steps. Beside 40 steps of one stage, which take as long, the difference is the same,
# and beyond its margin, too.
#
# A training picture of the base costs about three quarters of one of 32 × 32, not a quarter. The networks of 32 × 32 work on
# patches of 2 × 2 pixels, so on 16 × 16 positions too. So this comparison does not test whether low resolution saves much
# cost.
#
# ## Failure museum: the level is not given
#
# ### Mistake in sampling
#
# Below, the same noisy small pictures twice: with their level, and with level 0. In the second case some noise of the small
# picture becomes a part of the large one.

# %%
# not my_augmented: the library's `augmented` takes small pictures, and rng in place of eps
given = {"given s": (*augmented(process, small[:10], 400, seeded(5)), label[:10])}
given["s not given"] = (given["given s"][0], 0.0, label[:10])
noise = upsampler.draw_noise(10, seeded(6))
rows = {"small": enlarged(given["given s"][0], 32)}
rows |= {name: sample(upsampler.given(cond), noise, 20) for name, cond in given.items()}
made = torch.cat(list(rows.values()))
fig = plots.pictures(made, 10, "Small pictures with noise, s = 400", rows=rows, scale=0.033)
plots.show(
    fig,
    alt="Ten small digits under noise, and two rows of upsampled ones: with their level, "
    "digits without specks, a few of changed shape; without it, digits with specks and "
    "pieces of extra strokes.",
)

# %% [markdown]
# ### Mistake in training, which the check finds
#
# Here the network is always given level 0. The check counts how often the network is given level 0, and divides by how often a
# uniform $s$ would give it. The right value is about 1. With the mistake, level 0 comes every time: the ratio is 31 (the check
# draws $s$ from 0 to 30).


# %%
def without_level(network, x0, label, rng, max_s):
    s = torch.randint(max_s + 1, (len(x0),), generator=rng)
    noisy, _ = augmented(network.process, avg_pool2d(x0, 2), s, rng)
    return denoising_loss(network.given((noisy, 0.0, label)), x0, rng)


check.upsampler_loss(without_level)

# %% [markdown]
# ## Optional, 4 minutes: noise in sampling, two more kinds of small pictures
#
# Where there are few errors to hide, does noise harm?

# %%
real, finished = map(noise_in_sampling, ("real", "base"))


def no_class(base):
    """The distance at s = 0 without a class beside that with one."""
    return compare(
        *(of("Frechet distance", base, given=given) for given in ("nothing", "class"))
    )


claim(
    "cascade-noise-harms",
    "Noise in sampling raises the Frechet distance for real halves and for the finished base.",
    figures=dict(
        real=real, finished=finished, arms="s = 200 beside 0", floor=floor["Frechet distance"]
    ),
    measured="{arms}: {real:.2f} for real halves (difference {real.difference:.2f}, margin "
    "{real.difference.margin:.2f}), {finished:.2f} for the finished base (difference "
    "{finished.difference:.2f}, margin {finished.difference.margin:.2f}); real against real "
    "{floor:.2f}",
    holds=lambda real, finished: all_of(real.higher, finished.higher),
    null={
        "a change that is no noise": dict(
            real=no_class("real"), finished=no_class("base"), arms="no class beside a class"
        )
    },
)

# %% [markdown]
# Exact sampling with an exact upsampler would lose nothing (the identity above). So for real halves the rise is an error of
# this upsampler or of its 20 steps of DDIM; we do not separate the two. At $s = 600$ its class accuracy is 0.47. One stage,
# which is given no small picture, has 0.79, after 1,330 training steps, not 700 (tables above).
#
# ## What you saw
#
# - Without noise in training the Frechet distance is {{cascade-noise-in-training.times}} as large for the undertrained base,
#   and {{cascade-noise-finished-base.times}} for the finished one (no noise in sampling).
# - Noise in sampling, $s = 200$ beside 0, raises the distance for real halves, {{cascade-noise-harms.real}}, and for the
#   finished base, {{cascade-noise-harms.finished}} (optional part). Does it lower that of the undertrained base? Verdict
#   "{{cascade-noise-for-an-undertrained-base.verdict}}": {{cascade-noise-for-an-undertrained-base.distance}}, margin
#   {{cascade-noise-for-an-undertrained-base.distance.difference.margin}}.
# - Truncated augmentation has a higher distance than non-truncated, $s = 200$: {{cascade-truncated.undertrained}} for the
#   undertrained base, {{cascade-truncated.finished}} for the finished base.
# - At equal training time the cascade has the distance {{cascade-at-equal-cost.distance.a}}, one stage
#   {{cascade-at-equal-cost.distance.b}} (ten trainings each).
#
# ## At full size
#
# Ho et al. name two reasons for a cascade: most of the capacity can be used at low resolution, which matters most for sample
# quality, and low resolutions cost least (section 1). Our comparison tests neither. They generate ImageNet pictures
# of 256 × 256 by three stages, 32, 64 and 256, with an FID of 4.88 and no classifier. At 64 × 64 Gaussian noise was the better
# augmentation. For 128 × 128 and 256 × 256 it was not; there they blur the small picture, in half of the training examples and
# not in sampling (sections 3.1 and 4.4). Imagen (lesson 13) goes from 64 to 256 and 1,024, adds Gaussian noise, and gives its
# level to the upsamplers.

# %% tags=["nbval-ignore-output"]
guesses(
    "cascade-noise-in-training.times",
    "cascade-noise-for-an-undertrained-base.verdict",
    "cascade-at-equal-cost.verdict",
)

# %% [markdown]
# ## Think about it
#
# 1. In sampling the upsampler is given the base's *samples*. Why is it not trained on them, but on halves of real pictures?
#
# <details><summary>Answer</summary>
#
# A loss needs a target: the large picture that belongs to the small one. For a sample of the base there is none. A real large
# picture paired with an unrelated sample would teach the upsampler to ignore its input.
#
# </details>
#
# 2. With $s = T$ the small picture is pure noise. What is the upsampler then, and what does it sample?
#
# <details><summary>Answer</summary>
#
# A class-conditional model of 32 × 32 pictures, in one stage. It samples large pictures of the class, whatever the base
# sampled. Ours was trained only up to $s = 600$, so $s = T$ lies outside its training.
#
# </details>
#
# ## Words
#
# - **cascade**: diffusion models in a row, from small pictures to large ones, each conditioned on the result of the one before.
# - **base model**: the first model of a cascade; it generates the smallest picture.
# - **upsampler** (super-resolution model): a diffusion model of large pictures that is conditioned on a small one.
# - **compounding error**: errors of one stage cause further errors in the next, whose training input had none.
# - **conditioning augmentation**: noise (or blur) added to the small picture in training, and noise also in sampling.
# - **truncated conditioning augmentation**: the base stops at time $s$, and its $x_s$ is the noisy small picture.
#
# Used again: Frechet distance (lesson 00), forward process (lesson 01).
#
# ## In practice
#
# In diffusers the small picture is concatenated outside of the network, and the noise level takes the place of a class label.
# `IFSuperResolutionPipeline` enlarges first and adds the noise at the large size; ours adds it to the small picture.
#
# ```python
# import torch
# from diffusers import DDPMScheduler, UNet2DModel
#
# blocks = dict(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, block_out_channels=(32, 32))
# unet = UNet2DModel(32, in_channels=2, out_channels=1, norm_num_groups=8, class_embed_type="timestep", **blocks)
# low_res_scheduler = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
# x_t, low, s = torch.randn(4, 1, 32, 32), torch.randn(4, 1, 16, 16), torch.full((4,), 200)
# noisy = low_res_scheduler.add_noise(low, torch.randn(low.shape), s)
# noisy = torch.nn.functional.interpolate(noisy, scale_factor=2, mode="bilinear")
# output = unet(torch.cat([x_t, noisy], 1), timestep=500, class_labels=s).sample
# assert output.shape == x_t.shape
# ```
#
# {{names}}
#
# | our name | diffusers' name |
# |---|---|
# | `cascade(base, upsampler, ...)` | `IFPipeline`, then `IFSuperResolutionPipeline` |
# | `s` | `noise_level` of `IFSuperResolutionPipeline` and `StableDiffusionUpscalePipeline` |
# | `augmented(process, low, s)` | `image_noising_scheduler.add_noise`, `low_res_scheduler.add_noise` |
# | `upsampler.given((low, level))` | channels concatenated to $x_t$, `class_labels=noise_level` |
#
# ## Next
#
# [Lesson 07](07_classifier_guidance.ipynb) guides the sampler to a class by the gradient of a classifier.
