# %% [markdown]
# # 29 Diffusers and real checkpoints
#
# **You will be able to** say what each part of this course is called in diffusers, ComfyUI and A1111, write a text-to-image
# pipeline by hand from its five parts, run the course's samplers on pipelines of seven classes of diffusers, and its widgets on
# those that take a prompt, export a model of the course, and choose the spacing of the timesteps and the precision of the
# weights by measurement.
#
# **Time** 60 minutes. In a class leave exercise 2, "The real thing" (unless a checkpoint and a GPU are at hand) and all after
# "What you saw" for home; of the dictionary take "Times" and "Four meanings of sigma". **Needs** lesson 08 (guidance), lesson
# 12 (latents), lesson 14 (DDIM), lesson 16 (rectified flow). **Papers** Robin Rombach et al.: *High-Resolution Image Synthesis
# with Latent Diffusion Models* (2022); Shanchuan Lin et al.: *Common Diffusion Noise Schedules and Sample Steps are Flawed*
# (2024); Tero Karras et al.: *Elucidating the Design Space of Diffusion-Based Generative Models* (2022).
#
# This lesson needs the optional packages diffusers and transformers: `pip install "diffusion-course[real]"`. Nothing is
# downloaded unless you ask for it.

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("29")

# %% [markdown]
# ## A dictionary whose rows are run
#
# You know the ideas. People who work with them use other names, and the same letter often stands for different things. So here
# is a dictionary. Each row holds two expressions: ours, and the same quantity in diffusers. A cell evaluates both and prints
# the largest difference, relative to the largest value where that is above 1. A row that is wrong stops the notebook.
#
# The rows run on tiny pipelines of diffusers' own classes with random weights. They draw nothing, but their arithmetic is that
# of Stable Diffusion: same classes, same noise schedule, same loops. In the tables `draw(...)` is a sampler of ours in five
# steps, and `run(...)` is a pipeline's own loop from the same noise. A scheduler's name stands for that class with the betas of
# the pipeline, after `set_timesteps(5)`. Unless a row says otherwise, its times are *trailing* (explained below the first
# table) and nothing is clipped. So `DDIMScheduler().timesteps` without this preparation is another list. ComfyUI's words stand
# in code font, A1111's in plain text. Below a table stand the names that are only in its rows.
#
# The next cell stops with one line if a package is missing.

# %% tags=["nbval-ignore-output"]
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.denoisers import takes_guidance
from course_lib.guidance import classifier_free
from course_lib.methods.editing import sdedit
from course_lib.methods.solvers import dpm_solver
from course_lib.prediction import Prediction
from course_lib.process import DDPM, randn, seeded
from course_lib.samplers import consistency, ddim, ddpm, rectified_flow, result
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.dictionary import compare as rows
from course_lib.teaching.dictionary_names import names
from course_lib.teaching.evidence import all_of, estimate, ratio
from course_lib.training import pick_device
from course_lib.widgets.attention import attention_player
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided_models import by_classifier_free, by_student
from course_lib.widgets.player import play
from course_lib.zoo import figures, models
from course_lib.zoo.diffusers import from_diffusers, pretrained, process_of, scheduler_times
from course_lib.zoo.tiny_pipelines import tiny

plots.style()
known = names()  # the tiny pipelines and all that the rows are about

# %%
import diffusers

diffusers.logging.set_verbosity_error()  # without its warnings and progress bars
diffusers.logging.disable_progress_bar()

# %% [markdown]
# ### Times
#
# Our time 0 is the picture. Their timestep $k$ is the index of a table that has no entry for the picture, so $k = t - 1$.

# %% tags=["nbval-ignore-output"]
rows("time", known)

# %% [markdown]
# Three traps. First, α has three meanings: $1 - \beta_t$ in DDPM, $\bar\alpha_t$ in DDIM's paper, and the signal
# $\sqrt{\bar\alpha_t}$ in DPM-Solver and Rombach et al. Second, the **timestep spacing** says how a scheduler spreads few steps
# over 1,000 timesteps. *Trailing* times begin at the last time $T$, as do *linspace* times. *Leading* times begin before it.
# Third, some schedulers end at $t = 1$ instead of the picture (`set_alpha_to_one=False`, `final_sigmas_type="sigma_min"`).
# Stable Diffusion 1.5 ships with leading times, one later (`steps_offset=1`), and with this end.
#
# ### Four meanings of sigma

# %% tags=["nbval-ignore-output"]
rows("sigma", known)

# %% [markdown]
# The first four rows are all called σ in some paper or scheduler. Euler's and Heun's schedulers keep latents in another scale,
# $x_0 + \sigma\,\epsilon$. The network was trained on $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$. So
# a pipeline calls `scale_model_input` before the network, and multiplies the first noise by `init_noise_sigma`. For DDIM both
# are 1. (With *trailing* times, `init_noise_sigma` is $\sigma_T$ and not $\sqrt{1 + \sigma_T^2}$. For Stable Diffusion that is
# 14.61 in place of 14.65. The rows compensate for it, so that both sides start from the same noise.)
#
# ### Exercise 1: `euler_scale` (difficulty 1, 6 minutes)
#
# Given `x` (B, ...) $= x_0 + \sigma\,\epsilon$ and its noise level `sigma`, a number, return two values: our $x_t$, and our
# time $t$. The level stands in their table, `alphas_cumprod` (T,), which holds $\bar\alpha$ for $t = 1 \dots T$; take the
# nearest. With `back=True` the input `x` is $x_t$, and the first value is $x_0 + \sigma\,\epsilon$.


# %%
def my_euler_scale(x, sigma, alphas_cumprod, back=False):
    """The scaled x (B, ...) and the time t."""
    ...  # write it here


verdict = check.euler_scale(my_euler_scale)
my_euler_scale = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("euler_scale")

# %% [markdown]
# Your function on the noise levels of Euler's scheduler:

# %%
euler, pipe = known["EulerDiscreteScheduler"](), known["pipe"]
alphas = pipe.scheduler.alphas_cumprod
for sigma, k in zip(euler.sigmas.tolist(), euler.timesteps.tolist()):
    _, t = my_euler_scale(known["x"], sigma, alphas)
    print(f"sigma {sigma:7.3f}: their timestep {k:5.0f}, our time {int(t):4}")

# %% [markdown]
# ### The network's output, and the autoencoder

# %% tags=["nbval-ignore-output"]
rows("output", known)

# %% [markdown]
# `prediction_type` names our view. A wrong one raises no error. `scaling_factor` is lesson 12's latent scale: latents are
# multiplied by it for the network and divided by it before decoding. SD3 also subtracts a shift.
#
# ### Exercise 2: `unet_denoiser` (difficulty 2, 6 minutes)
#
# Make their network a denoiser of ours. `unet(x, k, encoder_hidden_states=text).sample` is the predicted noise (B, 4, h, w) at
# their timestep `k`. `t` is our time, a whole number. Return `Prediction(x, a, b, view, value)`, where `a` and `b` are signal
# and noise at `t`, from `alphas_cumprod` (T,).


# %%
def my_unet_denoiser(unet, alphas_cumprod, x, t, text):
    """The Prediction at x (B, 4, h, w) and time t."""
    ...  # write it here


verdict = check.unet_denoiser(my_unet_denoiser)
my_unet_denoiser = verdict.function
verdict

# %%
check.solution("unet_denoiser")

# %% [markdown]
# Ten lines around your function make it a denoiser for every sampler of this course. Beside it, the pipeline's own loop:


# %% tags=["nbval-ignore-output"]
class MyDenoiser:
    """A pipeline's U-Net, given the numbers of a prompt, as a denoiser."""

    def __init__(self, pipe, text):
        self.pipe, self.text = pipe, text
        self.process, _ = process_of(pipe.scheduler)

    def __call__(self, x, t) -> Prediction:
        table = self.pipe.scheduler.alphas_cumprod
        return my_unet_denoiser(self.pipe.unet, table, x, t, self.text)


mine = MyDenoiser(pipe, known["text"])
times = scheduler_times(pipe.scheduler, 5)
for scheduler, sampler in (
    ("DDIMScheduler", ddim),
    ("DPMSolverMultistepScheduler", dpm_solver),
):
    with torch.no_grad():
        gap = result(sampler(mine, known["x"], times)) - known["run"](known[scheduler]())
    print(f"{scheduler}: largest difference {gap.abs().max():.0e}")

# %% [markdown]
# `from_diffusers(pipeline)` does this for pipelines of seven classes. It also brings the prompts, the autoencoder and the
# attention maps. With guidance it makes one call of the network a step, with both prompts in one batch, as their own loops do.
# On random networks of 59 to 213 MB a step of ours costs at most 3% more than one of the pipeline's own loop (six classes, one
# thread, `tests/benchmarks/bridge.py`). On tiny networks, with 4 to 14 ms a step, it costs at most 12% more.
#
# ### Text and guidance

# %% tags=["nbval-ignore-output"]
rows("text", known)

# %% [markdown]
# - `guidance_scale` is this course's $w$. In Ho and Salimans the weight is $w - 1$.
# - `guidance_scale=0` is *not* $w = 0$. These pipelines guide only where it is above 1. Below that, the network gets the prompt
#   alone, which is $w = 1$. So distilled models that ask for `guidance_scale=0.0` mean no guidance. (The exception is a latent
#   consistency model, which has the weight as an input.)
# - A **negative prompt** takes the place of the empty prompt: $s_{neg} + w\,(s - s_{neg})$ with the two scores.
# - Layers are counted differently: `clip_skip=1` of diffusers is "Clip skip" 2 in A1111 and layer −2 in ComfyUI. The row
#   computes what the argument stands for. (With diffusers 0.42.1 and transformers 5.24 the argument itself raises an error.)
#
# ### Samplers by name
#
# The scheduler of diffusers does two jobs that ComfyUI keeps apart: `sampler_name` is the algorithm, `scheduler` the times.

# %% tags=["nbval-ignore-output"]
rows("samplers", known)

# %% [markdown]
# So Euler's method *is* DDIM with $\eta = 0$, in another scale of $x$. The ancestral sampler is DDPM. Both hold at the same
# times. The steps of an edit are counted differently: with strength $s$ and $n$ steps, diffusers makes $s\,n$ of them. ComfyUI
# with denoise $s$ makes all $n$, on the last part of a finer grid.
#
# ## A pipeline by hand
#
# Five parts make a text-to-image pipeline. The tokenizer turns texts into numbers. The text encoder turns these into vectors.
# The U-Net predicts noise, the scheduler makes the steps, and the autoencoder decodes.
#
# ### Exercise 3: `pipeline_by_hand` (difficulty 3, 18 minutes)
#
# Write all of it, with guidance, for any scheduler of diffusers. `prompts` is a list of B texts, `w` the weight of the
# guidance, `n` the steps, and `noise` (B, 4, h, w) is standard normal. Return the decoded pictures (B, 3, H, W), as the
# autoencoder gives them. No gradients. What the parts offer:
#
# - `tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids`
# - `text_encoder(ids)[0]`, the vectors (B, L, D); no prompt is the text `""`
# - `scheduler.set_timesteps(n)`, then `.timesteps`, `.init_noise_sigma`, `.scale_model_input(x, k)`, and `.step(eps, k,
#   x).prev_sample`
# - `unet(x, k, encoder_hidden_states=text).sample`
# - `vae.decode(z).sample`, and `vae.config.scaling_factor`


# %%
def my_pipeline_by_hand(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    """The pictures (B, 3, H, W) for the prompts."""
    ...  # write it here


verdict = check.pipeline_by_hand(my_pipeline_by_hand)
my_pipeline_by_hand = verdict.function
verdict

# %%
check.solution("pipeline_by_hand")

# %% [markdown]
# The check ran it on tiny pipelines. Now on one with fresh random weights, beside that pipeline's own `__call__`:

# %% tags=["nbval-ignore-output"]
fresh, prompts = tiny("StableDiffusionPipeline", seed=29), ["a red house", "two cats, at sea"]
parts = lambda pipe: (pipe.tokenizer, pipe.text_encoder, pipe.unet, pipe.scheduler, pipe.vae)
noise = randn(2, 4, 8, 8, rng=seeded(29))
for name in ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"):
    fresh.scheduler = known[name]()
    by_hand = my_pipeline_by_hand(*parts(fresh), prompts, 7.5, 10, noise)
    options = dict(num_inference_steps=10, guidance_scale=7.5, output_type="pt")
    theirs = fresh(prompts, latents=noise.clone(), **options).images
    gap = (by_hand / 2 + 0.5).clamp(0, 1) - theirs
    print(f"{name}: largest difference of a pixel {gap.abs().max():.0e}")

# %% [markdown]
# (A pipeline returns pictures from 0 to 1, ours are from −1 to 1.)
#
# **Failure museum.** The mistakes that the check names raise no error: all shapes fit. On random weights no eye would find
# them. The check names one by what it computes:


# %%
def forgetful(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    """A pipeline that gives the network x in the scheduler's scale."""
    ids = lambda texts: (
        tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    )
    with torch.no_grad():
        null, text = (text_encoder(ids(of))[0] for of in ([""] * len(prompts), prompts))
        scheduler.set_timesteps(n)
        x = noise * scheduler.init_noise_sigma
        for k in scheduler.timesteps:
            without = unet(x, k, encoder_hidden_states=null).sample
            out = unet(x, k, encoder_hidden_states=text).sample
            x = scheduler.step(without + w * (out - without), k, x).prev_sample
        return vae.decode(x / vae.config.scaling_factor).sample


print(check.pipeline_by_hand(forgetful).diagnosis)

# %% [markdown]
# ## Our digits through diffusers
#
# The bridge has a second direction. `to_diffusers` (or `course export digits --to diffusers DIR`) writes a shipped model as a
# folder that `DiffusionPipeline.from_pretrained` loads. The scheduler's config is made from our process: its betas, its view,
# *trailing* times. Four of diffusers' schedulers draw from the same noise as four samplers of ours:

# %% tags=["nbval-ignore-output"]
from course_lib.zoo.export import to_diffusers

folder = to_diffusers("digits", Path(tempfile.mkdtemp()) / "digits")
exported = diffusers.DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
exported.set_progress_bar_config(disable=True)
digits, classes = models.load("digits", device="cpu"), [0, 3, 5, 7, 8, 9]
start, guided = digits.draw_noise(6, seeded(4)), classifier_free(digits, classes, 2.0)
four = {
    "DDIMScheduler": (ddim, {}),
    "DPMSolverMultistepScheduler": (dpm_solver, {}),
    "EulerDiscreteScheduler": (ddim, {}),
    "DDPMScheduler": (ddpm, {"rng": seeded(5)}),
}
drawn = {}
for name, (sampler, options) in four.items():
    config = exported.scheduler.config
    exported.scheduler = getattr(diffusers, name).from_config(config)
    exported.scheduler.set_timesteps(20)
    scale = 1.0
    if "Euler" in name:  # its first noise is sigma eps, ours has variance sigma^2 + 1 there
        scale = (1 + float(exported.scheduler.sigmas[0]) ** -2) ** 0.5
    begin = dict(latents=scale * start, generator=seeded(5), output_type="latent")
    theirs = exported(classes, 20, 2.0, **begin).images
    ours = result(sampler(guided, start, digits.process.times(20), **options))
    drawn[name] = (theirs, ours)
    print(f"{name:28} largest difference of a pixel {(theirs - ours).abs().max():.0e}")

# %%
fig, axes = plt.subplots(2, 4, figsize=(12, 4.4), layout="constrained")
titles = ("DDIM", "DPM++ 2M", "Euler", "DDPM")
for column, title, pair in zip(axes.T, titles, drawn.values()):
    for ax, who, x in zip(column, ("diffusers", "this course"), pair):
        plots.pictures(x, columns=3, ax=ax, title=f"{title}, {who}")
plots.show(
    fig,
    alt="Eight sheets of six digits each, in two rows: drawn by diffusers, and by this "
    "course. In each of the four columns the two sheets look the same. DDIM, DPM++ 2M and Euler "
    "drew nearly the same digits; DDPM, which adds fresh noise, drew others of the same classes.",
)

# %% [markdown]
# These are identities, up to rounding. The tests of the bridge hold them for six pipeline classes and five schedulers, with and
# without guidance (`tests/test_diffusers_bridge.py`, `tests/test_diffusers_export.py`). Two rounding errors show. At $t = T$
# the digits' schedule has $\bar\alpha_T$ near $10^{-9}$. Euler's scale multiplies the noise by about 20,000 there. Our DDPM's
# first move, to $t = 950$, divides a difference by $\sqrt{\bar\alpha_{1000} / \bar\alpha_{950}} = 0.0006$. Both come from
# float32: with their Euler loop in float64, or our DDPM loop, the differences shrink (both are tests of the latter file).
#
# ## Which spacing of the timesteps?
#
# With *leading* times, sampling begins before $T$, where the network expects a part of the picture in $x_t$. But it is given
# noise alone. Lin et al. recommend *trailing*. They report that Stable Diffusion, which also ends its schedule above
# $\bar\alpha_T = 0$, hardly draws very bright or very dark pictures.
#
# On our digits the schedule ends in noise, so the spacing alone is varied. The shipped network draws 500 digits by DDIM, from
# the same five noises for each spacing (`tests/benchmarks/bridge.py`, protocol before the runs). For 5 steps, *leading* begins
# at $t = 801$, where the signal is 0.31; for 10 steps at $t = 901$, with 0.15.

# %% tags=["nbval-ignore-output"]
predict(
    "real-spacing.five",
    "5 steps: Frechet distance with trailing times, as a share of that with leading times?",
    low=0,
    high=1.5,
)
# %% tags=["nbval-ignore-output"]
predict(
    "real-spacing.ten",
    "And in 10 steps?",
    low=0,
    high=1.5,
)

# %%
measured = figures.raw("bridge")
SPACINGS = {row["spacing"]: row for row in measured["spacing"]}
spaced = lambda spacing, steps, name="Frechet distance": [
    row["figures"][name]
    for row in measured["spacing"]
    if (row["spacing"], row["steps"]) == (spacing, steps)
]
print(f"{'':28}{'Frechet distance':>34}{'mean pixel':>24}")
print(f"{'':28}{'5 steps':>17}{'10 steps':>17}{'5 steps':>12}{'10 steps':>12}")
for spacing in SPACINGS:
    distances = [f"{estimate(spaced(spacing, k), 'noises'):.3f}" for k in (5, 10)]
    means = [estimate(spaced(spacing, k, "brightness")).mean for k in (5, 10)]
    print(f"{spacing:28}{distances[0]:>17}{distances[1]:>17}{means[0]:12.3f}{means[1]:12.3f}")
real = measured["the same, real against real"], measured["brightness of real digits"]
print(f"{'real digits':28}{real[0]:>17.3f}{real[0]:>17.3f}{real[1]:12.3f}{real[1]:12.3f}\n")
for spacing in ("leading", "trailing"):
    means = {
        name: estimate(spaced(spacing, 5, name), "noises")
        for name in ("class accuracy", "precision", "recall")
    }
    print(f"{spacing}, 5 steps:", ", ".join(f"{name} {e:.2f}" for name, e in means.items()))


# %%
def beside_leading(spacing):
    """The claim's figures: the distances of a spacing, as a share of those of leading."""
    share = lambda k: ratio(spaced(spacing, k), spaced("leading", k), "noises")
    return dict(five=share(5), ten=share(10))


claim(
    "real-spacing",
    "On digits, trailing times give a Frechet distance below 0.9 times that of leading "
    "times, in 5 and in 10 steps of DDIM.",
    figures=beside_leading("trailing"),
    measured="5 steps {five:.2f}, 10 steps {ten:.2f}",
    holds=lambda five, ten: all_of(five.below(0.9), ten.below(0.9)),
    null={"leading times, all one later": beside_leading("leading, one later")},
    expected=None,
)

# %% [markdown]
# In 5 steps trailing has clearly the smaller Frechet distance. It is not better in all: precision and class accuracy rise, and
# recall falls from 0.92 to 0.80. In 10 steps, where leading begins nearer to $T$, five noises do not decide. So the statement
# about both cannot be told apart from its opposite. The mean pixel is nearer to the middle, 0, with leading times than in real
# digits, which is the direction that Lin et al. report.
#
# **Is it the start?** Leading times that start from *digits* with the noise of $t = 801$ do at least as well as trailing ones.
# So the grid of leading times can do as well. But those starts also hold information from real digits, so this does not show
# that the grid alone is good enough. The other control moves the first time alone to $T$. In the table above this closes half
# of the gap or more. But this was seen, not asked beforehand. So it was measured again, on five new noises:


# %%
def again(spacing, name="Frechet distance"):
    """A figure of the five new noises of a spacing, 5 steps."""
    return [r["figures"][name] for r in measured["start"] if r["spacing"] == spacing]


for spacing in ("leading", "leading, first at T"):
    found = (
        f"{name} {estimate(again(spacing, name), 'noises'):.2f}"
        for name in ("class accuracy", "recall")
    )
    print(f"{spacing}: {', '.join(found)}")
beside = lambda spacing: dict(five=ratio(again(spacing), again("leading"), "noises"))
claim(
    "real-start",
    "On digits, in 5 steps of DDIM, leading times with the first alone moved to T give a "
    "Frechet distance below 0.9 times that of leading times.",
    figures=beside("leading, first at T"),
    measured="{five:.2f}",
    holds=lambda five: five.below(0.9),
    null={"leading times, all one later": beside("leading, one later")},
    expected=None,
)

# %% [markdown]
# The new noises do not decide it. Something does change, in each of the ten noises: more digits have the class that was asked
# for, and recall falls. Trailing times make the same exchange. The distance mixes the two. By the distance trailing times are
# better in 5 steps, and how much of that comes from the start remains open here.
#
# ## Is half precision enough?
#
# **Half precision** stores each weight in 16 bits. The weights take half the memory. float16 keeps 10 binary digits after the
# leading one, with a small range. bfloat16 keeps 7, with the range of float32. `from_diffusers` keeps $x$ in float32 between
# the steps, whatever the network has. Diffusers' own loop keeps it in the network's type.

# %% tags=["nbval-ignore-output"]
predict(
    "real-half-precision.half",
    "10 steps: Frechet distance with the network in bfloat16, relative to float32?",
    low=0.5,
    high=3,
)

# %%
halves = lambda precision, name: [
    row["figures"][name] for row in measured["precision"] if row["arm"] == precision
]
full = spaced("trailing", 10)
kept = (7, 5, 3, 2, 1)
fig, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for ax, name, label, title in zip(
    axes,
    ("error", "Frechet distance"),
    ("error per pixel", "Frechet distance"),
    ("Distance from float32", "Distance from real digits"),
):
    each = [estimate(halves(f"weights of {k} digits", name), "noises") for k in kept]
    ax.errorbar(
        kept, [e.mean for e in each], [e.margin for e in each], fmt="o-", ms=8, capsize=5
    )
    for arm, marker, colour in (
        ("bfloat16", "s", plots.COLOURS[1]),
        ("bfloat16, x too", "^", plots.COLOURS[2]),
    ):
        found = estimate(halves(arm, name), "noises")
        shown = "network in bfloat16" if arm == "bfloat16" else "network and x in bfloat16"
        ax.plot([7], [found.mean], marker, color=colour, ms=16, mfc="none", mew=2, label=shown)
    ax.set(
        xlabel="binary digits kept of each weight", ylabel=label, title=title, xlim=(7.5, 0.5)
    )
axes[0].set_yscale("log")
axes[1].axhline(estimate(full).mean, color="black", lw=1, label="float32")
axes[1].set_ylim(bottom=0)
axes[1].legend(fontsize=12)
plots.show(
    fig,
    alt="Two line plots over the binary digits kept of each weight, from 7 down to 1, with "
    "hollow markers for two networks in bfloat16. The "
    "error per pixel rises from 0.002 to 0.1 on a logarithmic axis; a network in bfloat16 has 0.003, "
    "with x in bfloat16 0.005. The Frechet distance stays near the line of float32 "
    "down to 3 digits and is nearly three times as large with 1 digit.",
)


# %%
def beside_float32(precision):
    """The claim's figures: the distance of a precision, relative to float32."""
    return dict(half=ratio(halves(precision, "Frechet distance"), full, "noises"))


claim(
    "real-half-precision",
    "On digits, in 10 steps of DDIM, the Frechet distance of the network in bfloat16 lies "
    "between 0.9 and 1.1 times that in float32.",
    figures=beside_float32("bfloat16"),
    measured="{half:.2f}",
    holds=lambda half: all_of(half.above(0.9), half.below(1.1)),
    null={"weights of one binary digit": beside_float32("weights of 1 digits")},
)

# %% [markdown]
# The pictures change by about 0.003 per pixel, of a range of 2. The distance is {{real-half-precision.half.mean}} times as
# large. Five noises even tell this from 1, but it is far within the tenth that the condition allows. Rounding the weights alone
# (7 digits, arithmetic in float32) makes about two thirds of the error per pixel. With $x$ in bfloat16, too, the error is
# larger, and the distance is not. All this is one small network. For a large one the same arms can be run.
#
# ## The real thing
#
# `pretrained(name)` reads a checkpoint that is on this machine. It downloads nothing unless you write `download=True`. Sizes
# are those of the files in half precision: so much must fit into memory, and some room for activations.
#
# | checkpoint | size | licence |
# |---|---|---|
# | `stable-diffusion-v1-5/stable-diffusion-v1-5` | U-Net 1.7 GB | CreativeML OpenRAIL-M |
# | `SimianLuo/LCM_Dreamshaper_v7` | U-Net 3.4 GB, in float32 | MIT |
# | `stabilityai/sdxl-turbo` | 6.9 GB in all | Stability AI, non-commercial |
# | `stabilityai/stable-diffusion-3-medium-diffusers` | 6.0 GB; 15.8 GB with T5 (in one file) | Stability AI Community |
#
# The last one has to be accepted on its page first. Read a licence before you use a model; some restrict what may be made with
# it. The cells below use the checkpoint where there is a GPU and the files are in the cache. Where not, as on the machine that
# stored these outputs, a tiny pipeline of the same class with **random weights** takes its place. Then all pictures below are
# noise. What they show is that the cells run.

# %% tags=["nbval-ignore-output"]
CHECKPOINT = "stable-diffusion-v1-5/stable-diffusion-v1-5"
PROMPT, W, STEPS = "a red house", 7.5, 12
KIND = "StableDiffusionPipeline"  # the class of the stand-in
try:
    if pick_device("auto").type == "cpu":
        raise FileNotFoundError("no GPU here")
    real = pretrained(CHECKPOINT)  # download=True fetches it
    which = CHECKPOINT
except FileNotFoundError as reason:
    real, which = tiny(KIND), "random weights"
    print(
        f"{str(reason).split(':')[0]}: a tiny {KIND} with random weights, whose pictures are noise"
    )
network = from_diffusers(real)
side = 16 if network.net.shape[1] >= 16 else 4  # of the attention maps
weights = [
    w
    for part in real.components.values()
    if hasattr(part, "parameters")
    for w in part.parameters()
]
size = sum(w.numel() * w.element_size() for w in weights)
print(f"{which}: {sum(w.numel() for w in weights):,} parameters, {size / 1e6:,.1f} MB")

# %% [markdown]
# From here on nothing is special: the same denoiser, samplers and widgets as in every lesson. Drag the slider through the steps
# of a guided sample.

# %% tags=["nbval-ignore-output"]
begun = time.perf_counter()
prompted = classifier_free(network, [PROMPT], W)
sampler = ddim if isinstance(network.process, DDPM) else rectified_flow
sampler = consistency if takes_guidance(network.net) else sampler  # a latent consistency model
steps = list(sampler(prompted, network.draw_noise(1, seeded(0)), network.process.times(STEPS)))
print(f"{which}: {(time.perf_counter() - begun) / STEPS:.2f} s a step")
play(steps, draw=lambda step: {f"predicted picture, {which}": network.net.decode(step.x0)})

# %% [markdown]
# Move the sliders for guidance, steps and seed. (They need a running kernel. With a real checkpoint the table of
# stills takes a while.)

# %% tags=["nbval-ignore-output"]
by = by_student if takes_guidance(network.net) else by_classifier_free
explorer = guidance_explorer(
    {which: by(network, network.net.decode)},
    network.net.shape,
    [PROMPT, "a blue boat"],
    steps=4,
)
explorer

# %% [markdown]
# Click a token to see how much attention the picture gives to it (lesson 09). The tiny tokenizer cuts a prompt into letters.

# %% tags=["nbval-ignore-output"]
if hasattr(real, "unet"):  # SD3 has joint attention instead
    weighted = network.at(W) if takes_guidance(network.net) else network
    shown = attention_player(weighted, PROMPT, steps, side, network.net.decode)
else:
    shown = "no cross-attention in this model"
shown

# %% [markdown]
# Editing from a noisy picture (SDEdit, lesson 19), from three starting times, with another prompt:

# %% tags=["nbval-ignore-output"]
picture = network.net.decode(steps[-1].x)
edited = {"original": picture}
if isinstance(network.process, DDPM):
    z = network.net.encode(picture, seeded(1))
    other = classifier_free(network, ["a blue house"], W)
    for t in (300, 500, 700):
        few = torch.linspace(t, 0, 7).round().long()
        edited[f"from t = {t}"] = network.net.decode(result(sdedit(other, z, few, seeded(2))))
fig, axes = plt.subplots(
    1, len(edited), figsize=(11, 3.3), layout="constrained", squeeze=False
)
for ax, (title, x) in zip(axes[0], edited.items()):
    plots.pictures(x, ax=ax, title=title)
fig.suptitle(f"SDEdit, {which}")
plots.show(
    fig,
    alt="Four small colour pictures in a row, the original and edits from t = 300, 500 and "
    "700. With random weights all are textures of coloured noise.",
)

# %% [markdown]
# To run another checkpoint, change `CHECKPOINT` (and `KIND`). SDXL-turbo is made for one to four steps without guidance: also
# set `W = 1` and `STEPS = 4`.
#
# ## What you saw
#
# - Every row of the dictionary was evaluated: ours and diffusers' value agree up to rounding. $k = t - 1$; σ has four meanings;
#   `guidance_scale` is $w$; Euler is DDIM, and ancestral sampling is DDPM.
# - A pipeline is a loop of a dozen lines over five parts. Its typical mistakes raise no error.
# - Trailing times have {{real-spacing.five.mean}} times the Frechet distance of leading ones in 5 steps, and
#   {{real-spacing.ten.mean}} times in 10 (five noises of 500 digits). The second is not decided, nor is how much of the first
#   comes from the start. In 5 steps recall is lower with trailing times.
# - A network in bfloat16 has {{real-half-precision.half.mean}} times the distance of float32 (10 steps, five noises).
#
# ## At full size
#
# The U-Net of Stable Diffusion 1.5 takes 3.4 GB in float32 and 1.7 GB in half precision: about 860 M parameters. SDXL-turbo was
# distilled for one to four steps. In SD3 the third text encoder, T5, alone is 9.8 GB of 15.8 GB (in one file). The pipeline
# also runs without it. The tiny one here has all three.

# %% tags=["nbval-ignore-output"]
guesses("real-spacing.five", "real-spacing.ten", "real-half-precision.half")

# %% [markdown]
# ## Think about it
#
# 1. A pipeline with Euler's scheduler draws fine. You replace the scheduler by DDIM and remove `scale_model_input`, since DDIM
#    does not need it. Later someone sets Euler's again. What goes wrong, and would an error say so?
#
# <details><summary>Answer</summary>
#
# The network gets $x_0 + \sigma\,\epsilon$, up to 14.6 times too large at the start. All shapes and types are right, so no
# error is raised; the scheduler only logs a warning. The loop should call `scale_model_input` for every scheduler. For DDIM it
# returns its input.
#
# </details>
#
# 2. Why does moving the first of five leading times to $T$ not give trailing times?
#
# <details><summary>Answer</summary>
#
# The other four times stay where they are: 601, 401, 201 and 1. The first move, from 1000 to 601, is twice as long as the
# others. The evaluation at $t = 1$ changes almost nothing, since hardly any noise is left there. Trailing times spread five
# moves evenly. (Which of these matters was not tested.)
#
# </details>
#
# ## Words
#
# - **timestep spacing**: the rule by which a scheduler spreads few steps over all timesteps: leading, trailing or linspace.
# - **negative prompt**: a text that takes the place of the empty prompt in classifier-free guidance.
# - **half precision**: weights or arithmetic in 16 bits, as float16 or bfloat16.
#
# Used again: classifier-free guidance (lesson 08), latent scale (lesson 12), SDEdit (lesson 19), rectified flow (lesson 16),
# latent consistency model (lesson 18).
#
# ## In practice
#
# A shipped model of this course that draws under guidance, in diffusers. A chain takes any scheduler for chains:
#
# ```python
# from course_lib.zoo.export import pipeline_of
# from diffusers import DPMSolverMultistepScheduler
#
# pipe = pipeline_of("digits")
# pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
# pictures = pipe([3, 7], num_inference_steps=10, guidance_scale=2.0).images
# assert pictures[0].size == (16, 16)
# ```
#
# | our name | diffusers' |
# |---|---|
# | `models.load("digits")` | `pipeline_of("digits")`, or a folder of `course export` |
# | `from_diffusers(pipe)` | the way back: a pipeline as a denoiser of this course |
#
# ## Next
#
# [All claims](CLAIMS.md) of the course, with their null models, are in one table.
