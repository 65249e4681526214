# %% [markdown]
# # 00 Start here: noise to digits in a minute
#
# **You will be able to** say what a diffusion model does, train one on real handwritten digits, watch it turn noise
# into digits step by step, steer it with a slider, and read the figures that say how good it is.
#
# **Time** 15 minutes. **Needs** Python, the normal distribution, and what it means to train a neural network. **Papers**
# Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models* (2020); Martin Heusel et al.: *GANs
# Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium* (2017); Tuomas Kynkäänniemi et al.: *Improved
# Precision and Recall Metric for Assessing Generative Models* (2019).
#
# <!-- notebook -->Press **Run → Run All Cells** (in Colab **Runtime → Run all**) and read meanwhile. Change what you like
# and run it again.<!-- /notebook -->

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map
from course_lib.teaching.environment import environment

environment()

# %% tags=["nbval-ignore-output"]
course_map("00")

# %% [markdown]
# ## The idea
#
# Take a picture, shrink its values slightly and add a little noise, a thousand times, until nothing of the picture can be seen.
# Train a network on such noisy pictures: given one of them and its time $t$, the number of these steps, it predicts the noise
# in it. Such a network can **denoise**: subtract the predicted noise, rescale, and the result is a prediction of the clean
# picture. To draw a new picture, start from pure noise and remove a part of the predicted noise, again and again. A model that
# is trained and sampled like this is a **diffusion model**; each picture that it makes is a **sample**.
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\; \epsilon, \qquad \epsilon \sim \mathcal{N}(0, \mathbf{I})$$
#
# Here $x_0$ is the picture and $\epsilon$ is the noise: one number from the normal distribution for each pixel.
# $\bar\alpha_t$ falls from 1 to almost 0 as the time $t$ goes from 0 to $T = 1000$. Lesson 01 derives this line.
#
# ## Real handwritten digits

# %%
from course_lib import plots
from course_lib.datasets import digits

plots.style()
x0, label = digits.load("train")
title = f"Forty of the {len(x0):,} training digits, 16 × 16 pixels each"
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
figure = plots.pictures(
    x_t, columns=[f"t = {time}" for time in t.tolist()], title="From a digit to noise"
)
plots.show(figure, alt="Three digits, each fading into noise from left to right.")

# %% [markdown]
# ## One minute of training
#
# The network below starts from random weights. In each step it gets a batch of digits with fresh noise, each at a random time.
# Its **loss** is the mean squared error of its prediction, and each step changes the weights so that the loss falls. The
# network also gets the **label** of each digit, its class from 0 to 9. One label in ten is left out, so that
# the network learns to predict without a label too.
#
# Why does the summary below say that it predicts $v$? Given $x_t$, the noise $\epsilon$ and the clean picture $x_0$ follow from
# each other by the formula above. Predicting $v = \sqrt{\bar\alpha_t}\, \epsilon - \sqrt{1 - \bar\alpha_t}\, x_0$ gives both.
# Lesson 02 says why that trains well at every $t$.
#
# `attn=0` leaves out a kind of layer that lesson 04 explains. Such layers take a tenth of the time. In three trainings of a
# minute no gain by them was seen.
#
# Training takes 50 seconds on any machine; a faster one makes more steps in them. You may stop it early (■): the weights
# reached are kept. On a slow machine a line below says how few steps it made, and what to do.

# %% tags=["nbval-ignore-output"]
from course_lib.training import pick_device, show_progress
from course_lib.zoo import models, recipes

device = pick_device()  # a GPU where there is one
network = recipes.digits_network(seed=0, attn=0)
network.net.to(device)
training = recipes.train_digits(network, seconds=50)
shipped = 'network = models.load("digits")'
progress = show_progress(training, "training the digit model", usual=1_000, instead=shipped)
network

# %% [markdown]
# ## From noise to digits
#
# Sixteen pictures of noise, and 25 steps back, by DDIM, a deterministic sampler that lesson 14 derives. Drag the slider or a
# panel, press play, or use the arrow keys. Each noise is given a label, 0 to 9 in turn. (`w=1.0` is the plain prediction with
# the label; the next section changes it.) **Left** is the present picture $x_t$. In the **middle** is the clean picture
# $\hat x_0$ that the network predicts from it: when does it first show which digit it will be? **Right** is the predicted
# noise; its two colours are positive and negative. The curve is $\bar\alpha$ at the present time.
#
# <!-- Ask: At which step can you tell which digit each picture becomes? Stop at 0, 6, 13 and 19 of 25. -->

# %% tags=["nbval-ignore-output"]
from course_lib.guidance import classifier_free
from course_lib.samplers import ddim
from course_lib.widgets.player import play

labels = torch.arange(16) % 10
noise = network.draw_noise(16, seeded(3)).to(device)
with_labels = classifier_free(network, labels, w=1.0)
play(list(ddim(with_labels, noise, process.times(25))))

# %% [markdown]
# ## Steer it
#
# The network can predict the noise with the label or without it. **Guidance** moves from the prediction without the label
# towards the one with the label, and beyond it:
#
# $$\epsilon = \epsilon_{\text{without}} + w\,(\epsilon_{\text{with}} - \epsilon_{\text{without}})$$
#
# At $w = 0$ the label has no effect, and $w = 1$ is the prediction with the label, as in the player. Drag $w$: the noise stays
# the same, so that guidance alone changes the picture. Compare two digits of one class at $w = 1$ and at $w = 8$.
#
# <!-- Ask: What do you lose from w = 1 to w = 8? Look at two digits of one class. -->

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.guidance import guidance_explorer

guidance_explorer(network)

# %% [markdown]
# ## How good are the samples?
#
# A small classifier evaluates the samples. It was trained on real digits. Its last hidden layer gives 64 numbers for a
# picture, the **features**, in which similar digits are close.
#
# - **Class accuracy** is the share of samples that the classifier reads as the digit that was asked for.
# - The **Frechet distance** compares the features of all samples with those of held-out real digits. It is 0 if their means
#   and covariances are equal. With features of the Inception network it is called FID.
# - **Precision** is the share of samples that lie close to a real digit: in features, not farther from it than its third
#   nearest real neighbour. **Recall** is the same with the roles exchanged: the share of real digits close to a sample. A
#   model that draws one perfect digit over and over has precision 1 and recall near 0.
# - The **noise floor** of a metric is its value with *real* digits in the place of samples. A perfect model would reach it.
#
# The floor of the Frechet distance is not 0. Does it depend on the number of pictures? Guess before you read on: the
# measured figure then appears beside your guess.

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.guess import guesses, predict

predict(
    "frechet-floor-falls.few",
    "Two sets of 500 real digits have a Frechet distance of about 0.07. And two sets of 100?",
    low=0,
    high=1,
)

# %%
from course_lib import metrics
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import compare, estimate

evaluator = models.load("classifier", device="cpu")
features = evaluator.features(x0).detach()


def floors(n):
    """The Frechet distance of each pair of disjoint sets of n training digits."""
    sets = features.split(n)
    return [metrics.frechet_distance(a, b) for a, b in zip(sets[::2], sets[1::2])]


few, many = floors(100), floors(500)


def of(a, b, n_a=100, n_b=500):
    """The floors a of sets of n_a beside the floors b of sets of n_b."""
    difference = compare(a, b, "pairs of sets", paired=False)
    few, many = (estimate(each, "pairs of sets") for each in (a, b))
    return dict(few=few, many=many, difference=difference, n_a=n_a, n_b=n_b)


claim(
    "frechet-floor-falls",
    "With fewer pictures the Frechet distance is larger, though all of them are real digits.",
    figures=of(few, many),
    measured="{few:.2f} between sets of {n_a}, {many:.2f} between sets of {n_b}",
    holds=lambda difference: difference.higher,
    null={"equal sizes": of(few[:10], few[10:], n_b=100)},
)

# %% [markdown]
# In all lessons "±" is one standard error. The box is a claim: a statement that its measurement can contradict. Its null
# model (lesson 01) lacks what is claimed, here the smaller number, and must fail the same test. So compare Frechet distances
# of equal $n$ only, and each with its noise floor.
#
# Now your samples, at $w = 1$ and at $w = 2$. They are compared with half of the held-out digits, on which the
# classifier was not trained. The column "real" is the noise floor: the other half, compared with the same ones.

# %% tags=["nbval-ignore-output", "summary"]
from course_lib.samplers import sample
from course_lib.teaching.evidence import share

n = 500
held_out, held_out_label = digits.load("held_out")
real = evaluator.features(held_out[:n]).detach()
asked = torch.arange(n) % 10
noise = network.draw_noise(n, seeded(1)).to(device)
sets = {"real": (held_out[n:], held_out_label[n:])}
for w in (1.0, 2.0):
    made = sample(classifier_free(network, asked, w), noise, 25, batch=n).cpu()
    sets[f"w = {w:g}"] = (made, asked)

columns = {}
for name, (x, wanted) in sets.items():
    made = evaluator.features(x).detach()
    precision, recall = metrics.precision_recall(real, made)
    columns[name] = {
        "class accuracy": f"{share(evaluator(x).argmax(1) == wanted):.3f}",
        "Frechet distance": f"{metrics.frechet_distance(made, real):.3f}",
        "precision": f"{precision:.3f}",
        "recall": f"{recall:.3f}",
    }
print(f"{n} pictures each:   ", *(f"{name:16}" for name in columns))
for metric in columns["real"]:
    print(f"{metric + ':':20}", *(f"{column[metric]:16}" for column in columns.values()))

# %% [markdown]
# Read each line against its noise floor. Higher is not always better: a recall above that of real digits may only mean
# samples that are spread too far.
#
# <details><summary>How the Frechet distance is computed, and its limits</summary>
#
# Fit a Gaussian to the features of each set, with means $\mu, \mu'$ and covariances $C, C'$. The distance is (Heusel et al.
# 2017, equation 6)
#
# $$d^2 = \lVert \mu - \mu' \rVert^2 + \operatorname{tr}\big(C + C' - 2\,(C C')^{1/2}\big).$$
#
# - It depends on the network that makes the features. FID takes Inception, trained on ImageNet; ours is a classifier of
#   digits. Distances from different networks cannot be compared.
# - It is biased: fewer samples give a larger distance, as you have just measured. (These were digits on which the classifier
#   was trained.)
# - It sees means and covariances alone, and it does not notice copies of training pictures (lesson 20).
#
# </details>

# %% [markdown]
# ## What you saw
#
# - A network of 0.4 M parameters was trained for a minute, and draws digits. Lesson 20 measures whether such digits are copies.
# - It was trained for one task: predict the noise in a noisy picture, here in the form $v$. A sample is that prediction,
#   applied 25 times.
# - Under the slider, guidance makes digits more alike. Your table has one training alone. Lessons 07 and 08 measure what
#   guidance does to accuracy, precision and recall.
# - Even real digits have a Frechet distance from real digits: {{frechet-floor-falls.few}} between sets of
#   {{frechet-floor-falls.n_a}}, {{frechet-floor-falls.many}} between sets of {{frechet-floor-falls.n_b}}.
#
# ## At full size
#
# The idea is the same, the networks are larger. Ho et al. trained networks of 36 M parameters on 32 × 32 pixels (10.6 hours
# on eight TPU cores), and of 114 M and 256 M on 256 × 256. They drew each sample in 1,000 steps. Stable Diffusion runs the
# same loop on pictures compressed by an autoencoder (lesson 12), with a sentence in place of the label (lesson 09).

# %% tags=["nbval-ignore-output"]
guesses("frechet-floor-falls.few")

# %% [markdown]
# ## Think about it
#
# 1. In the middle of the player, find the first step at which you can tell which digit it will be. Why is it so early?
#
# <details><summary>Answer</summary>
#
# It is the first step: the network is given the label. From pure noise, which says nothing of the picture, the best prediction
# of a clean picture is the mean of all digits of that class. The starting noise fixes which digit of the class it becomes, and
# the later steps show it. <!-- notebook -->Change `w=1.0` to `w=0.0` in the player's cell and run it again:
# <!-- /notebook -->With `w=0.0` the first prediction is the mean of all digits.
#
# </details>
#
# 2. At $w = 8$ the digits get bolder and more alike. Where does the variety go?
#
# <details><summary>Answer</summary>
#
# Guidance moves each picture towards what distinguishes its class from all digits, and away from what other classes share.
# So less of a class remains. Lesson 08 draws the recall over $w$. Lesson 20 measures which rare pictures go.
#
# </details>
#
# ## Words
#
# - **diffusion model**: a model that draws by removing predicted noise step by step.
# - **sample**: a picture that a model draws.
# - **denoise**: predict the clean picture from a noisy one.
# - **loss**: the number that training lowers; here a mean squared error.
# - **label**: the class of a digit, 0 to 9, given to the network as a condition.
# - **guidance**: the prediction moved from the one without a condition towards, and beyond, the one with it.
# - **features**: the numbers in the last hidden layer of a classifier, in which pictures are compared.
# - **class accuracy**: the share of samples that a classifier reads as what was asked for.
# - **Frechet distance**: the distance of two Gaussians fitted to the features of two sets of pictures.
# - **precision**: the share of samples that lie among real pictures.
# - **recall**: the share of real pictures that lie among the samples.
# - **noise floor**: the value of a metric between two sets of real pictures.
#
# ## In practice
#
# The same loop in the library diffusers, at $w = 1$, with a network that is not trained:
#
# ```python
# import torch
# from diffusers import DDIMScheduler, UNet2DModel
#
# net = UNet2DModel(sample_size=16, in_channels=1, out_channels=1, num_class_embeds=10,
#                   block_out_channels=(32, 32, 64, 64))
# scheduler = DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2", clip_sample=False,
#                           prediction_type="v_prediction", timestep_spacing="trailing")
# scheduler.set_timesteps(25)
# x, label = torch.randn(4, 1, 16, 16), torch.arange(4)
# with torch.no_grad():
#     for t in scheduler.timesteps:
#         x = scheduler.step(net(x, t, label).sample, t, x).prev_sample
# ```
#
# | here | in diffusers |
# |---|---|
# | `DDPM(cosine_beta(1000))` | `DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2")` |
# | the network's view `"v"` | `prediction_type="v_prediction"` |
# | `process.times(25)` | `scheduler.set_timesteps(25)` |
# | `ddim(denoiser, x, times)` | the loop over `scheduler.step` |
# | $w$ of guidance | `guidance_scale` of its pipelines, the same convention |
#
# ## Next
#
# [Lesson 01](01_forward_process.ipynb) explains the first half: how a picture becomes noise, and why the reverse can be
# learned. There you write your first functions, and the lesson checks them.
