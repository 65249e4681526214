# %% [markdown]
# # 06 Cascades: sample a small picture, then upsample it
#
# **You will be able to** write the loss of an upsampler with conditioning augmentation, sample a cascade with your own loop,
# say from measurements when noise in the small picture helps, and compare a cascade with one stage at equal cost.
#
# **Time** 60 minutes. **Needs** lessons 02 (the loss, the sampler, v-prediction) and 04 (the U-Net). **Papers** Jonathan Ho,
# Chitwan Saharia and others: *Cascaded Diffusion Models for High Fidelity Image Generation* (2022); Chitwan Saharia and others:
# *Image Super-Resolution via Iterative Refinement* (2022).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("06")

# %% [markdown]
# ## Why two stages?
#
# A network that generates large pictures has two tasks: where the strokes go, and how every edge looks. A **cascade** gives
# them to two diffusion models. The **base model** generates a small picture. The **upsampler**, or super-resolution model,
# generates a large picture conditioned on the small one: it adds the detail. Each is trained separately with the loss of
# lesson 02. DALL-E 2 and Imagen (lessons 11 and 13) are cascades of three models.
#
# Here the base generates digits of 16 × 16, and the upsampler makes digits of 32 × 32 from them.

# %%
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import avg_pool2d, interpolate

from course_lib import plots
from course_lib.datasets import digits
from course_lib.methods.cascades import augmented, cascade, enlarged, film
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.player import play
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
large, label = digits.load("held_out", 32)
small = avg_pool2d(large, 2)
interpolated = interpolate(small, scale_factor=2, mode="bilinear")
shown = {"32 × 32": large, "mean of 2 × 2": enlarged(small, 32), "interpolated": interpolated}
fig = plots.pictures(
    torch.cat([x[:10] for x in shown.values()]), columns=10, title="What halving loses", rows=shown.keys(), scale=0.033
)
plots.show(
    fig, alt="Ten digits in three rows: at 32 by 32, as means of 2 by 2 pixels, and interpolated from these means, blurred."
)

# %% [markdown]
# The upsampler has to add what the interpolated picture lacks.
#
# ## What is the upsampler conditioned on?
#
# It is the U-Net of lesson 04 with three more inputs. The small picture is enlarged and concatenated to $x_t$ as a further
# channel, so that every convolution has both (Saharia et al. 2022). The class is an embedding that is added to that of the
# time, as in the base. The third input, a noise level, follows below. A condition that is fixed makes a denoiser of it:
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
# ### Exercise 1: `augmented` (difficulty 1, 6 minutes)
#
# From large pictures `x0` (B, C, H, W), times `s` (B,) and noise `eps` (B, C, H/2, W/2), make the pair that the upsampler is
# given: the mean of each 2 × 2 pixels, with noise of time $s$; and the level $s / T$ (B,), since networks take times as
# fractions of $T$. `process.add_noise(x, s, eps)` takes one $s$ for each picture; `avg_pool2d(x, 2)` is the mean.


# %%
def my_augmented(process, x0, s, eps):
    """x0 (B, C, H, W), s (B,), eps (B, C, H/2, W/2): the pair (small noisy pictures, s / T)."""
    ...  # write it here


verdict = check.augmented(my_augmented)
my_augmented = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("augmented")

# %%
levels, rng = (0, 100, 200, 400, 600), seeded(0)
eps = torch.randn(10, 1, 16, 16, generator=rng)
rows = [my_augmented(process, large[:10], torch.full((10,), s), eps)[0] for s in levels]
fig = plots.pictures(torch.cat(rows), 10, "Small pictures with noise of time s", rows=[f"s = {s}" for s in levels])
plots.show(fig, alt="Ten small digits in five rows, with more noise from row to row: s = 0, without noise, to s = 600.")

# %% [markdown]
# ### Exercise 2: `upsampler_loss` (difficulty 2, 10 minutes)
#
# The whole loss of a batch `x0` (B, C, H, W) with classes `label` (B,). Draw $s$ from $0, \dots,$ `max_s`, uniformly, one for
# each picture, and noise of the size of the small pictures, both from `rng`. Give the network (small noisy pictures, level,
# label) as one tuple. Then take lesson 02's loss of the large pictures: `denoising_loss(denoiser, x0, rng)` draws $t$ and
# $\epsilon$ and compares in the network's own view.

# %%
from course_lib.training import denoising_loss


def my_upsampler_loss(network, x0, label, rng, max_s):
    """The denoising loss of x0 (B, C, H, W), given their noisy halves and classes (B,): one number."""
    ...  # write it here


verdict = check.upsampler_loss(my_upsampler_loss)
my_upsampler_loss = verdict.function
verdict

# %%
check.solution("upsampler_loss")

# %% [markdown]
# Your loss now trains an upsampler for 100 steps, a seventh of the training of the shipped one. (A tenth of the labels is left
# out there, so that the shipped network also works without a class: lesson 08.)

# %% tags=["nbval-ignore-output"]
from course_lib.training import EMA, show_progress, train
from course_lib.zoo.recipes.cascades import upsampler_network

mine, (pictures, labels), rng = upsampler_network(seed=0), digits.load("train", 32), seeded(0)


def loss():
    i = torch.randint(len(pictures), (32,), generator=rng)
    return my_upsampler_loss(mine, pictures[i], labels[i], rng, max_s=600)


average = EMA(mine.net, 0.98)
show_progress(train(loss, mine.net, steps=100, lr=3e-3, ema=average, muon=0.02), "training an upsampler")
noise = upsampler.draw_noise(10, seeded(1))
given = small[:10], 0.0, label[:10]
short = type(mine)(average.net, process, "v")
rows = {"interpolated": interpolated[:10]}
rows |= {name: sample(network.given(given), noise, 20) for name, network in (("100 steps", short), ("shipped", upsampler))}
rows["real"] = large[:10]
fig = plots.pictures(torch.cat(list(rows.values())), 10, "Real halves, upsampled", rows=rows.keys(), scale=0.033)
plots.show(
    fig,
    alt="Ten digits in four rows: interpolated, blurred; upsampled after 100 training steps, with noise around them; by the "
    "shipped upsampler, nearly as sharp as the real ones in the last row.",
)

# %% [markdown]
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
# `denoiser(x, t)` returns a prediction with `.x0` and `.eps`. `noises` is a pair: the initial noise of the small pictures
# (B, C, h, w) and of the large ones. `times` is a falling row of times with 0 at the end; `times.tolist()` gives numbers. `s`
# is one number. Noise for the small pictures has their shape and comes from `rng`. Return the large pictures.


# %%
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
# Drag the slider, or press play. The time runs from 2,000 to 1,000 in the base, then from 1,000 to 0 in the upsampler. Stop
# where they meet: the large picture starts from pure noise, and its first prediction already shows the right digit. It is
# conditioned on the small one.

# %% tags=["nbval-ignore-output"]
labels = torch.arange(16) % 10
rng, times = seeded(1), process.times(20)
noises = digits_model.draw_noise(16, rng), upsampler.draw_noise(16, rng)
steps = list(cascade(digits_model.given(labels), upsampler, noises, times, s=100, rng=rng, label=labels))
play(
    film(steps, process.T),
    draw=lambda step: {"xₜ": step.x, "x̂₀: predicted": enlarged(step.x0, 32)},
)

# %% [markdown]
# ## A base with errors
#
# The shipped model `base` was **stopped early**, after 100 of 400 training steps. Its digits have gaps and noise. Your cascade
# upsamples them, without noise and with noise.

# %%
rough = models.load("base")
labels = torch.arange(10)
noises = rough.draw_noise(10, seeded(2)), upsampler.draw_noise(10, seeded(3))
rows = {"base": enlarged(sample(rough.given(labels), noises[0], 20), 32)}
for s in (0, 200, 400):
    rows[f"s = {s}"] = my_cascade(rough, upsampler, labels, noises, times, s, seeded(4))
fig = plots.pictures(torch.cat(list(rows.values())), 10, "A base with errors, upsampled", rows=rows.keys(), scale=0.033)
plots.show(
    fig,
    alt="Ten small digits with gaps, and below each the upsampled picture for s = 0, 200 and 400: strokes become sharp, and "
    "with more noise they differ more from the small picture.",
)

# %% [markdown]
# ## When does the noise help?
#
# Three kinds of small pictures: halves of **real** digits, samples of a base after its whole training (**400 steps**), and
# samples of the same base **stopped early** (100 steps). Two upsamplers: one trained **with** augmentation ($S = 600$), one
# **without** ($S = 0$). Base and upsamplers were trained three times, each sampled with noise of its own: 200 pictures per
# training.
#
# Two figures are measured by a classifier of 32 × 32 digits. The Frechet distance (lesson 00) is small where the pictures are
# distributed as real ones. The class accuracy is the share of pictures that it assigns to the class that was asked for. The
# dashed lines are real digits against other real digits: no model can be expected to do better. (The script is
# `tests/benchmarks/cascade.py`.)

# %%
runs = figures.load("cascade")
BASES = {"real": "real halves", "base": "base, 400 steps", "early": "base, stopped early"}
FIGURES = {"Frechet distance": "lower is better", "class accuracy": "higher is better"}
floor = figures.raw("cascade")["real against real"]


def of(figure, base, upsampler="with", s=0, given="class", truncated=False, **more):
    """A figure of the three trainings (3,)."""
    keys = dict(base=base, upsampler=upsampler, s=s, given=given, truncated=truncated)
    return figures.values(runs, figure, **keys | more)


def levels_of(base, upsampler):
    chosen = figures.where(runs, base=base, upsampler=upsampler, truncated=False, given="class")
    return sorted(chosen["s"].unique().tolist())


fig, axes = plt.subplots(2, 3, figsize=(11.8, 7.6), sharex=True, sharey="row")
for column, (base, name) in zip(axes.T, BASES.items()):
    for ax, figure in zip(column, FIGURES):
        for kind, colour, line in (("with", BLUE, "o-"), ("without", RED, "s--")):
            at = levels_of(base, kind)
            made = [estimate(of(figure, base, kind, s)) for s in at]
            mean, error = [e.mean for e in made], [e.error for e in made]
            ax.errorbar(at, mean, error, fmt=line, color=colour, ms=9, capsize=5, label=f"trained {kind} noise")
        ax.axhline(floor[figure], color="black", linestyle=":", label="real against real")
    column[0].set(title=name, yscale="log")
    column[0].minorticks_off()
    column[1].set(xlabel="noise in sampling, s", ylim=(0, 1.05))
axes[0, 0].set(ylabel="Frechet distance", yticks=[0.3, 1, 3, 10, 30], yticklabels=["0.3", "1", "3", "10", "30"])
axes[1, 0].set(ylabel="class accuracy")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plots.show(
    fig,
    alt="Six line plots over the noise in sampling, s = 0 to 600: Frechet distance above, class accuracy below, for real "
    "halves, a base of 400 steps and a base stopped early. Trained with noise, the distance rises with s for the first two; "
    "for the base stopped early it is nearly level until s = 200. Trained without noise it is far higher at s = 200.",
)

# %%
for figure, better in FIGURES.items():
    print(f"{figure} ({better}), trained with noise; real against real {floor[figure]:.2f}")
    print(" " * 21 + "".join(f"{f's = {s}':>15}" for s in levels_of("real", "with")))
    for base, name in BASES.items():
        cells = [f"{estimate(of(figure, base, s=s)):.2f}" for s in levels_of(base, "with")]
        print(f"{name:21}" + "".join(f"{cell:>15}" for cell in cells))

# %% [markdown]
# Noise in sampling is compared at $s = 200$, which was named before the measurement; the curve is no basis for a choice that is
# then judged on the same pictures. What does it do for the base that was stopped early?

# %% tags=["nbval-ignore-output"]
predict(
    "cascade-noise-for-a-rough-base.verdict",
    "A base stopped early: does noise of time s = 200 in its pictures lower the Frechet distance after upsampling?",
    choices=("yes", "no", "cannot be told apart"),
)


# %%
def noise_in_sampling(base, upsampler="with"):
    """Both figures at s = 200 beside s = 0."""
    distance, accuracy = (compare(of(f, base, upsampler, 200), of(f, base, upsampler, 0)) for f in FIGURES)
    return dict(distance=distance, accuracy=accuracy)


claim(
    "cascade-noise-for-a-rough-base",
    "For a base that was stopped early, noise in sampling lowers the Frechet distance.",
    figures=noise_in_sampling("early"),
    measured="s = 200 beside s = 0: Frechet distance {distance:.2f}, class accuracy {accuracy:.2f}",
    holds=lambda distance: distance.lower,
    null={
        "real halves, which have no errors": noise_in_sampling("real"),
        "an upsampler trained without noise": noise_in_sampling("early", "without"),
    },
    expected=None,
)

# %%
claim(
    "cascade-noise-and-accuracy",
    "For a base that was stopped early, noise in sampling raises the class accuracy.",
    figures=dict(accuracy=noise_in_sampling("early")["accuracy"]),
    measured="s = 200 beside s = 0: class accuracy {accuracy:.2f}",
    holds=lambda accuracy: accuracy.higher,
    null={"an upsampler trained without noise": dict(accuracy=noise_in_sampling("early", "without")["accuracy"])},
)

# %%
claim(
    "cascade-noise-harms-real-halves",
    "For real halves, which have no errors, noise in sampling raises the Frechet distance.",
    figures=noise_in_sampling("real"),
    measured="s = 200 beside s = 0: Frechet distance {distance:.2f}, class accuracy {accuracy:.2f}",
    holds=lambda distance: distance.higher,
    null={"the base that was stopped early": noise_in_sampling("early")},
)

# %% tags=["nbval-ignore-output"]
predict(
    "cascade-noise-in-training.rough",
    "Stopped early, s = 0 in sampling: how large is the distance with noise in training, as a share of that without?",
    low=0,
    high=100,
    unit="%",
)


# %%
def noise_in_training(base):
    """The Frechet distance at s = 0, trained with noise: as a share of that without, which differs much between trainings."""
    return estimate(of("Frechet distance", base) / of("Frechet distance", base, "without"))


before, after = (estimate(of("Frechet distance", "early", kind)) for kind in ("without", "with"))
shares = {name: noise_in_training(base) for name, base in {"rough": "early", "finished": "base", "real": "real"}.items()}
claim(
    "cascade-noise-in-training",
    "Noise in training lowers the Frechet distance of both bases, even without noise in sampling.",
    figures=shares | dict(before=before, after=after),
    measured="s = 0, the distance with noise in training as a share of that without: {rough:.0%} for the base stopped early "
    "({after:.1f} beside {before:.1f}), {finished:.0%} after 400 steps, {real:.0%} for real halves",
    holds=lambda rough, finished: all_of(rough.below(1), finished.below(1)),
    null={"real halves": dict(rough=shares["real"], finished=shares["real"])},
)

# %% [markdown]
# So noise has two effects. **In training** it makes the upsampler rely less on the details of its input. Both bases gain much,
# at $s = 0$ too; for real halves the distance is {{cascade-noise-in-training.real}} of that without. **In sampling** it
# hides details of the small picture, wrong and right ones. Real halves lose. For the base that was stopped early the class
# accuracy rises, but no gain in the distance is shown ({{cascade-noise-for-a-rough-base.verdict}}). An upsampler that was
# trained without noise fails on noisy input (red, $s = 200$).
#
# ### Does the upsampler need the class?
#
# With noise in it, a small picture no longer shows its class clearly. Here the same upsampler is given the class, or none
# (the null class, on which it was trained in a tenth of its steps).


# %%
def with_class(base, s):
    """The class accuracy, given the class beside given none."""
    return dict(accuracy=compare(of("class accuracy", base, s=s), of("class accuracy", base, s=s, given="nothing")))


claim(
    "cascade-class-of-the-upsampler",
    "For the base that was stopped early, at s = 200, the class as an input of the upsampler raises the class accuracy.",
    figures=with_class("early", 200),
    measured="class accuracy {accuracy:.2f}, given the class beside given none",
    holds=lambda accuracy: accuracy.higher,
    null={"real halves without noise, which show their class": with_class("real", 0)},
)

# %% [markdown]
# ### Stop the base before its end
#
# A noisy small picture can be had at less cost. In **truncated conditioning augmentation** (Ho et al., section 3.2) the base
# stops at time $s$, and $x_s$ itself is the noisy small picture. Above, the base finishes and fresh noise is added
# (**non-truncated**, section 3.3). Then the base's samples can be stored once and serve every $s$.


# %%
def truncated(base):
    """The Frechet distance at s = 200, truncated beside non-truncated."""
    return compare(*(of("Frechet distance", base, s=200, truncated=cut) for cut in (True, False)))


def claim_truncated(id, base, name, **more):
    """The claim about one base. Its null model is the non-truncated way beside itself."""
    same = compare(*2 * (of("Frechet distance", base, s=200),))
    return claim(
        id,
        f"With s = 200 truncated augmentation gives a higher Frechet distance than non-truncated, for {name}.",
        figures=dict(distance=truncated(base)),
        measured="Frechet distance {distance:.2f}, truncated beside non-truncated",
        holds=lambda distance: distance.higher,
        null={"non-truncated beside itself": dict(distance=same)},
        **more,
    )


claim_truncated("cascade-truncated-rough", "early", "the base that was stopped early")

# %%
claim_truncated("cascade-truncated-finished", "base", "the base of 400 steps", expected=None)

# %% [markdown]
# ## A cascade beside one stage, at equal cost
#
# One stage: the same kind of U-Net at 32 × 32, conditioned on the class, without a small picture. Its 1,290 training steps take
# as much processor time, to about 5 %, as the 400 of the base and the 700 of the upsampler together. The time of a step was
# measured for all three in turns, in one run. The cascade evaluates two networks in 20 steps each. So one stage is sampled in
# 20 steps, and in 40, which take as long as the cascade.
#
# Which $s$ should the cascade have? For each training, the one that is best in the other two trainings.

# %% tags=["nbval-ignore-output"]
predict(
    "cascade-at-equal-cost.verdict",
    "At equal training time, is the Frechet distance of the cascade lower than that of one stage?",
    choices=("yes", "no", "cannot be told apart"),
)

# %%
levels = levels_of("base", "with")
distances = of("Frechet distance", "base", s=levels)  # (levels, trainings)
others = [[j for j in range(3) if j != i] for i in range(3)]
chosen = [int(distances[:, other].mean(1).argmin()) for other in others]


def stages(figure):
    """The figure of the cascade and of one stage in 20 and in 40 steps, each (3,)."""
    cascaded = of(figure, "base", s=levels)[chosen, range(3)]
    return {"cascade": cascaded} | {f"one stage, {n} steps": of(figure, "single", "", moves=n) for n in (20, 40)}


times_of = runs.attrs["sampling ms a picture"]
milliseconds = {"cascade": times_of["base"] + times_of["with"], "20": times_of["single"], "40": 2 * times_of["single"]}
print(f"{'':26}" + "".join(f"{name:>22}" for name in stages("recall")))
for figure in ("Frechet distance", "class accuracy", "precision", "recall"):
    print(f"{figure:26}" + "".join(f"{f'{estimate(values):.2f}':>22}" for values in stages(figure).values()))
print(f"{'sampling, ms per picture':26}" + "".join(f"{ms:>22.1f}" for ms in milliseconds.values()))
print(f"levels s chosen for the three trainings: {[levels[i] for i in chosen]}")


# %%
ARMS = {"cascades": "cascade", "stages": "one stage, 20 steps"}


def beside_one_stage(arm):
    """An arm's figures beside those of one stage in 20 steps; trainings of different networks are not paired."""
    distance, accuracy = (compare(arm(f), stages(f)["one stage, 20 steps"], paired=False) for f in FIGURES)
    return dict(distance=distance, accuracy=accuracy)


claim(
    "cascade-at-equal-cost",
    "At equal training time the cascade has a lower Frechet distance than one stage.",
    figures=beside_one_stage(lambda figure: stages(figure)["cascade"])
    | {name: ", ".join(f"{v:.2f}" for v in stages("Frechet distance")[arm]) for name, arm in ARMS.items()},
    measured="cascade beside one stage: Frechet distance {distance:.2f}, class accuracy {accuracy:.2f}; the distance of each "
    "training: {cascades} beside {stages}",
    holds=lambda distance: distance.lower,
    expected=None,
    null={
        "the base's pictures, interpolated": beside_one_stage(
            lambda figure: of(figure, "base", "interpolation", given="nothing")
        )
    },
)

# %% [markdown]
# Three trainings are too few for a verdict here, since those of one stage vary much. Every cascade has a smaller distance than
# every network of one stage: {{cascade-at-equal-cost.cascades}} beside {{cascade-at-equal-cost.stages}}. Twice the sampling
# steps do not change one stage. The cascade takes about twice as long to sample as one stage in 20 steps.
#
# An earlier measurement used AdamW alone, uniform times, 1.4 to 1.7 times as many steps and an upsampler without a class. There
# both had the same distance, 0.75 and 0.74 (one training each).
#
# ## Failure museum: the level is not given
#
# Below, the same noisy small pictures twice: with their level, and with level 0. In the second case the noise of the small
# picture becomes a part of the large one.

# %%
given = {"given s": (*augmented(process, small[:10], 400, seeded(5)), label[:10])}
given["s not given"] = (given["given s"][0], 0.0, label[:10])
noise = upsampler.draw_noise(10, seeded(6))
rows = {"small": enlarged(given["given s"][0], 32)}
rows |= {name: sample(upsampler.given(cond), noise, 20) for name, cond in given.items()}
fig = plots.pictures(torch.cat(list(rows.values())), 10, "Small pictures with noise, s = 400", rows=rows.keys(), scale=0.033)
plots.show(
    fig,
    alt="Ten small digits under noise, and two rows of upsampled ones: with their level, clean digits; without it, digits with "
    "specks and pieces of extra strokes.",
)


# %%
def without_level(network, x0, label, rng, max_s):
    s = torch.randint(max_s + 1, (len(x0),), generator=rng)
    noisy, _ = augmented(network.process, avg_pool2d(x0, 2), s, rng)
    return denoising_loss(network.given((noisy, 0.0, label)), x0, rng)


check.upsampler_loss(without_level)

# %% [markdown]
# ## What you saw
#
# - A cascade is two diffusion models. `upsampler.given((small, level, label))` is a denoiser like any other.
# - Conditioning augmentation in training lowers the distance of a base with errors: {{cascade-noise-in-training.rough}} of that
#   without for the base that was stopped early. Real against real is 0.22.
# - Noise in sampling, $s = 200$ beside 0, raises the distance of real halves, {{cascade-noise-harms-real-halves.distance}}. For
#   the base that was stopped early the distance is {{cascade-noise-for-a-rough-base.distance}}
#   ({{cascade-noise-for-a-rough-base.verdict}}), and the class accuracy rises, {{cascade-noise-and-accuracy.accuracy}}.
# - The class as an input of the upsampler raises the accuracy of that base, {{cascade-class-of-the-upsampler.accuracy}}.
# - At equal training time the cascade has the distance {{cascade-at-equal-cost.distance.a}}, one stage
#   {{cascade-at-equal-cost.distance.b}}: {{cascade-at-equal-cost.verdict}} after three trainings.
#
# ## At full size
#
# Ho et al. name two reasons for a cascade: most of the capacity can be used at low resolution, which matters most for sample
# quality, and low resolutions cost least (section 1). They generate ImageNet pictures of 256 × 256 by three stages, 32, 64 and
# 256, with an FID of 4.88 and no classifier. At 64 × 64 Gaussian noise was the better augmentation. For 128 × 128 and
# 256 × 256 it was not; there they blur the small picture, in half of the training examples and not in sampling (sections 3.1
# and 4.4). Imagen (lesson 13) goes from 64 to 256 and 1,024, adds Gaussian noise, and gives its level to the upsampler.

# %% tags=["nbval-ignore-output"]
guesses(
    "cascade-noise-for-a-rough-base.verdict",
    "cascade-noise-in-training.rough",
    "cascade-at-equal-cost.verdict",
)

# %% [markdown]
# ## Think about it
#
# 1. Train-test mismatch would vanish if the upsampler were trained on the base's *samples*. Why is it trained on halves of real
#    pictures?
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
