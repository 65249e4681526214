# %% [markdown]
# # 00 Start here: noise to digits in a minute
#
# **You will be able to** say what a diffusion model does, train one on real handwritten digits, watch it turn noise
# into digits step by step, and steer it with a slider.
#
# **Time** 15 minutes, one of them for training. **Needs** nothing before it. **Paper** Jonathan Ho, Ajay Jain, Pieter
# Abbeel: *Denoising Diffusion Probabilistic Models* (2020).
#
# Press **Run → Run All Cells** and read while it works. Nothing here can break: change what you like and run it again.

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map
from course_lib.teaching.environment import environment

environment()

# %% tags=["nbval-ignore-output"]
course_map("00")

# %% [markdown]
# ## The idea in three sentences
#
# Take a picture and add a little noise, a thousand times over, until nothing is left of it. Train a network to look at
# any of those noisy pictures and say **which noise is in it**. Then start from pure noise and let the network take the
# noise out again, a little at a time: a picture appears that nobody ever drew.
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\; \epsilon, \qquad \epsilon \sim \mathcal{N}(0, \mathbf{I})$$
#
# Here $x_0$ is the picture, $\epsilon$ is the noise, and $\bar\alpha_t$ falls from 1 to 0 as the time $t$ goes from 0
# to $T = 1000$. Lesson 01 derives this line; now let us see it.
#
# ## Real handwritten digits

# %%
from course_lib import plots
from course_lib.datasets import digits

plots.style()
x0, label = digits.load("train")
title = f"Forty of {len(x0):,} digits to learn from, 16 × 16 pixels each"
figure = plots.pictures(x0[:40], columns=10, title=title)
plots.show(figure, alt="Four rows of handwritten digits, each row from 0 to 9.")

# %% [markdown]
# ## A digit turning to noise
#
# `process.add_noise` is the formula above. Each column is one time $t$; the last one is noise and nothing else.

# %%
import torch

from course_lib.process import DDPM, seeded
from course_lib.schedules import cosine_beta

process = DDPM(cosine_beta(1000))
rng = seeded(0)
t = torch.linspace(0, 1000, 10).long()
each = x0[[2, 5, 8]].repeat_interleave(10, 0)  # three digits, ten times each
x_t = process.add_noise(each, t.repeat(3), torch.randn(each.shape, generator=rng))
figure = plots.pictures(x_t, columns=[f"t = {time}" for time in t.tolist()], title="From a digit to noise")
plots.show(figure, alt="Three digits, each fading into noise from left to right.")

# %% [markdown]
# ## One minute of training
#
# The network below knows nothing yet. In each step it gets a batch of digits with fresh noise at random times, and is
# corrected by how far its guess was off. It is told each digit's class as well, except now and then, so that it learns to
# work without (that makes the slider further down possible). You see the loss, and the time that is left. It takes 50
# seconds on any machine; a faster one makes more steps in them. You may stop it early: what it learned is kept.

# %% tags=["nbval-ignore-output"]
from course_lib.training import pick_device, show_progress
from course_lib.zoo import recipes

device = pick_device()  # a GPU where there is one
network = recipes.digits_network(seed=0)
network.net.to(device)
training = recipes.train_digits(network, seconds=50)
progress = show_progress(training, "training the digit model")
network

# %% [markdown]
# ## From noise to digits
#
# Sixteen pictures of noise, and 25 steps back. Drag the slider or a panel, press play, or use the arrow keys.
# **Left** is where the picture stands, $x_t$. In the **middle** is what the network believes the clean picture to be: a
# blur at first, then a sketch, then a digit. **Right** is the noise that it sees.

# %% tags=["nbval-ignore-output"]
from course_lib.guidance import classifier_free
from course_lib.samplers import ddim
from course_lib.widgets.player import play

labels = torch.arange(16) % 10
noise = network.draw_noise(16, seeded(3)).to(device)
guided = classifier_free(network, labels, w=2.0)
play(list(ddim(guided, noise, process.times(25))))

# %% [markdown]
# ## Steer it
#
# The network can guess the noise with the class in mind or without. **Guidance** goes from the second guess towards the
# first, and past it: $\epsilon = \epsilon_{\text{none}} + w\,(\epsilon_{\text{class}} - \epsilon_{\text{none}})$. At $w = 0$
# the class is ignored, at $w = 1$ it is taken at its word, and the more you add, the more each digit insists on being a
# *typical* one. The noise stays the same while you move the slider: only guidance changes the picture.

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.guidance import guidance_explorer

guidance_explorer(network)

# %% [markdown]
# ## Is it any good? Measure it
#
# All figures come from a small classifier that was trained on real digits and ships with the course. **Accuracy**: the
# share of samples that it reads as the digit that was asked for. **Frechet distance**: how far the samples as a crowd are
# from held-out real digits (0 is the same crowd); below it stands the same distance between two crowds of *real* digits,
# which is the best that one can ask for. **Precision** is the share of samples that lie among real digits, **recall** the
# share of real digits that lie among the samples: what is right, and what is covered.

# %% tags=["nbval-ignore-output", "summary"]
figures = recipes.digits_figures(network, n=500)
for name, value in figures.items():
    print(f"{name}: {value:.3g}")

# %% [markdown]
# ## What you saw
#
# - A network of 413,425 numbers learned in a minute to draw digits that nobody wrote.
# - It learned one thing only: to say which noise is in a picture. Drawing is that answer, applied 25 times.
# - Guidance trades variety for certainty. Lessons 07 and 08 measure that trade.
#
# **At full size** nothing changes but the numbers. Ho et al. trained networks of 36 to 256 million parameters for days, on
# 32 × 32 to 256 × 256 pixels, and took 1,000 steps a sample. Stable Diffusion runs the same loop on compressed pictures, with
# a sentence where we have a class.
#
# **Think about it**
#
# 1. In the player, find the first step at which you can tell which digit it will be. Is it the same step for all sixteen?
# 2. At $w = 8$ the digits get bolder and more alike. Where does the variety go?
#
# **Next:** lesson 01 takes the first half apart: how a picture becomes noise, and why the way back can be learned at all.
