# %% [markdown]
# # 03 The score and Langevin dynamics
#
# **You will be able to** say what the score of a density is, read a denoiser as a score and a score as a denoiser, sample with
# annealed Langevin dynamics, and explain why the noise must begin large and end small.
#
# **Time** 60 minutes, 5 of them for an optional part. **Needs** lessons 01 and 02. **Papers** Yang Song, Stefano Ermon:
# *Generative Modeling by Estimating Gradients of the Data Distribution* (2019); Pascal Vincent: *A Connection Between Score
# Matching and Denoising Autoencoders* (2011); Bradley Efron: *Tweedie's Formula and Selection Bias* (2011).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("03")

# %% [markdown]
# ## The score: where is the density higher?
#
# The score (lesson 02) of a density $q$ is the gradient of its logarithm,
#
# $$s(x) = \nabla_x \log q(x).$$
#
# At each point it is an arrow towards higher density. The score can be computed without the constant that makes $q$ integrate
# to 1. For pictures that constant cannot be computed.
#
# For a Gaussian mixture $\log q(x_t)$ has a closed form, so its gradient can be had in two ways. Torch can differentiate it
# (**automatic differentiation**). Or we write the formula: the pull of each component, weighted by its posterior probability.

# %%
import matplotlib.pyplot as plt
import torch
from course_lib import metrics, plots
from course_lib.datasets.points import pair, ring
from course_lib.denoisers import ExactDenoiser
from course_lib.mixtures import GaussianMixture
from course_lib.process import VarianceExploding, randn_like, seeded
from course_lib.schedules import geometric_sigma
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate, share
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.paths import geometric_levels
from course_lib.zoo import figures, models

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
data, network = ring(), models.load("ring")
process = network.process  # the linear schedule, T = 1,000
exact = ExactDenoiser(data, process)


def noisy(t, n, seed=0):
    """n points (n, 2) of q(x_t), in float64."""
    rng = seeded(seed)
    x0 = data.sample(n, rng)[0].double()
    return process.add_noise(x0, t, randn_like(x0, rng))


def score_by_autograd(mixture, x, a=1.0, b=0.0):
    """The gradient of log q(x_t) at x (B, D), where x_t = a x_0 + b eps, by torch."""
    x = x.clone().requires_grad_()
    log_q = mixture.log_prob(x, a, b).sum()  # log q(x_i) has its own x_i alone in it
    return torch.autograd.grad(log_q, x)[0]


for t in (1, 20, 200, 1000):
    x, at = noisy(t, 5000), (process.signal(t), process.noise(t))
    by_hand, by_torch = data.score(x, *at), score_by_autograd(data, x, *at)
    torch.testing.assert_close(by_hand, by_torch)
    print(f"t = {t:4d}   a typical arrow is {by_hand.norm(dim=1).median():5.1f} long")
print("formula and autograd agree")

# %% [markdown]
# From $t = 200$ down to $t = 20$ the arrows grow eightfold. Below that they grow little: the spots' own width limits them. In
# the picture each arrow is multiplied by $\sqrt{1 - \bar\alpha_t}$ and cut at length 2.

# %%
line = torch.linspace(-1.9, 1.9, 15, dtype=torch.float64)
fine = torch.linspace(-2, 2, 120, dtype=torch.float64)
starts, plane = torch.cartesian_prod(line, line), torch.cartesian_prod(fine, fine)
fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.3), sharey=True)
for ax, t in zip(axes, (20, 100, 600)):
    a, b = process.signal(t), process.noise(t)
    density = data.log_prob(plane, a, b).exp().view(120, 120).T
    ax.contourf(fine, fine, density, levels=12, cmap="Blues", alpha=0.75)
    arrows = b * score_by_autograd(data, starts, a, b)
    arrows *= (2 / arrows.norm(dim=1, keepdim=True)).clamp(max=1)
    ax.quiver(*starts.T, *arrows.T, scale=26, width=0.008)
    ax.set(title=f"t = {t},  factor {b:.2f}", xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$")
plots.show(
    fig,
    alt="Three density maps of the noisy ring with arrows of its score. At t = 20 eight "
    "spots, each with arrows that lead to it; at t = 100 the spots have merged to a ring, "
    "and arrows lead to the ring; at t = 600 one round cloud, and all arrows lead to its "
    "middle.",
)

# %% [markdown]
# ## The score is a denoiser
#
# Nobody knows $q(x_t)$ of photographs. But we can add noise to a photograph, and $q(x_t \mid x_0)$ is a Gaussian. Write
# $q(x_t) = \int q(x_t \mid x_0)\, q(x_0)\, dx_0$ and differentiate, with $\nabla q = q\, \nabla \log q$ on the right. Then
# divide by $q(x_t)$, where Bayes' rule gives $q(x_t \mid x_0)\, q(x_0) / q(x_t) = q(x_0 \mid x_t)$:
#
# $$\nabla \log q(x_t) = \int \nabla \log q(x_t \mid x_0)\, \frac{q(x_t \mid x_0)\, q(x_0)}{q(x_t)}\, dx_0
#   = \int \nabla \log q(x_t \mid x_0)\; q(x_0 \mid x_t)\, dx_0.$$
#
# That is a conditional mean, and the score of a Gaussian is known:
#
# $$\nabla \log q(x_t) = \mathbb{E}\big[\nabla \log q(x_t \mid x_0) \,\big|\, x_t\big]
#   = \mathbb{E}\left[-\frac{x_t - \sqrt{\bar\alpha_t}\, x_0}{1 - \bar\alpha_t} \,\Big|\, x_t\right].$$
#
# The marginal score is the **mean** of the conditional scores, over all clean pictures that may lead to $x_t$. Solved for the
# mean of $x_0$, this is **Tweedie's formula**:
#
# $$\mathbb{E}[x_0 \mid x_t] = \frac{x_t + (1 - \bar\alpha_t)\, \nabla \log q(x_t)}{\sqrt{\bar\alpha_t}}.$$
#
# One step along the score, multiplied by the variance of the noise, and a division by $\sqrt{\bar\alpha_t}$ give the best
# prediction of the clean picture. A simulation shows it: draw 400,000 pairs $(x_0, x_t)$ on the line, sort them by $x_t$, and
# take the plain mean of $x_0$ in each of 30 groups.

# %%
two = pair()
t, rng = 250, seeded(1)
a, b = process.signal(t), process.noise(t)
x0 = two.sample(400_000, rng)[0].double()
x_t = process.add_noise(x0, t, randn_like(x0, rng))

groups = x_t.flatten().argsort().chunk(30)
middle, mean = (torch.stack([v[i].mean() for i in groups]) for v in (x_t, x0))

along = torch.linspace(-2.6, 2.6, 200, dtype=torch.float64)[:, None]
fig, ax = plt.subplots(figsize=(9.5, 5))
style = dict(s=7, alpha=0.35, color=BLUE, linewidths=0)
ax.scatter(x_t[:4000], x0[:4000], label="pairs $(x_t, x_0)$", **style)
formula = (along + b**2 * score_by_autograd(two, along, a, b)) / a
ax.plot(along, formula, color=RED, label="Tweedie's formula, from the score")
ax.plot(
    middle, mean, "o", color="black", markersize=8, label="plain mean of $x_0$ in 30 groups"
)
ax.set(title=f"The best prediction of $x_0$ at t = {t}", xlabel="$x_t$", ylabel="$x_0$")
ax.set(xlim=(-2.6, 2.6), ylim=(-1.8, 2.9))
ax.legend(loc="upper left", markerscale=1.5)
plots.show(
    fig,
    alt="A scatter plot of two bands of dots, at x0 about -1 and +1. Tweedie's curve rises "
    "from the lower band to the upper in an S, and the thirty black dots, plain means, lie "
    "on it.",
)

# %% [markdown]
# ## The noise is a score
#
# The noise in $x_t$ is $\epsilon = (x_t - \sqrt{\bar\alpha_t}\, x_0) / \sqrt{1 - \bar\alpha_t}$. Put it into the mean above:
#
# $$\boxed{\;\mathbb{E}[\epsilon \mid x_t] = -\sqrt{1 - \bar\alpha_t}\; \nabla \log q(x_t)\;}$$
#
# The left side is what the epsilon loss trains a network to predict (lesson 02). So **the best prediction is a score**, a
# trained network estimates it, and nobody had to know $q$. The minus is there because noise leads away from the data and the
# score leads to them.
#
# Learning the marginal score from the conditional one is **denoising score matching**. Its theorem (Vincent 2011) holds for any
# $s$, with a constant that does not depend on $s$:
#
# $$\mathbb{E}\left\| s(x_t) - \nabla \log q(x_t \mid x_0) \right\|^2
#   = \mathbb{E}\left\| s(x_t) - \nabla \log q(x_t) \right\|^2 + \text{const}.$$
#
# So its minimiser is the marginal score. (The proof is lesson 02's: the squares add.) With $\nabla \log q(x_t \mid x_0) =
# -\epsilon / \sqrt{1 - \bar\alpha_t}$ and $\epsilon_\theta = -\sqrt{1 - \bar\alpha_t}\; s_\theta$ the left side is a weighted
# epsilon loss:
#
# $$\mathbb{E}\left\| s_\theta(x_t, t) + \frac{\epsilon}{\sqrt{1 - \bar\alpha_t}} \right\|^2
#   = \frac{1}{1 - \bar\alpha_t}\; \mathbb{E}\left\| \epsilon_\theta(x_t, t) - \epsilon \right\|^2.$$
#
# Song and Ermon weight each level by the variance of its noise (2019, eqs. 5 and 6). With that weight it is the epsilon loss.
#
# ### Exercise 1: `score_from_eps` (difficulty 1, 5 minutes)
#
# Write the boxed formula, solved for the score. `t` may be one number, or one for each of the batch. So take
# `a, b = process.coefficients(t, eps)`: signal and noise, in a shape that multiplies `eps`.


# %%
def my_score_from_eps(process, eps, t):
    """The score (B, ...) that belongs to the noise eps (B, ...) at t, a number or (B,)."""
    ...  # write it here


verdict = check.score_from_eps(my_score_from_eps)
my_score_from_eps = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("score_from_eps")

# %% [markdown]
# **Measured.** Your function turns the network's noise into a score; torch gives the exact one, from the density alone.
# Direction is the **cosine** between the two, over 5,000 points (4,000 for the five networks below) as one long vector.
# **Scale** is the factor by which the exact score must be multiplied to fit the learned one best (least squares): 1 is right. A
# null model is the best denoiser for one single Gaussian of the ring's variance.
#
# Five more networks were trained by the first one's recipe, with other seeds and half the batch, so that each takes a minute
# of one processor: the dots below (`tests/benchmarks/ring_scores.py`). The claim is about these five. Its threshold, an error
# of 30 % of the score from $t = 10$ on, was fixed before the five were trained.

# %% tags=["nbval-ignore-output"]
predict(
    "score-eps-learned.first",
    "At t = 1 the error of the five networks is about as large as the score itself. Which "
    "cosine with the exact score do they reach there?",
    low=0,
    high=1,
)

# %%
times = [1, 2, 5, 10, 20, 50, 100, 200, 400, 700, 1000]
one_gaussian = ExactDenoiser(
    GaussianMixture([1.0], torch.zeros(1, 2), [0.51**0.5]), process
)  # variance 1/2 + 0.1²


@torch.no_grad()
def scores_of(denoiser, n=5000, seed=0):
    """Cosine with the exact score, and scale relative to it, at `times`: (2, 11)."""
    rows = []
    for t in times:
        x = noisy(t, n, seed)
        learned = my_score_from_eps(process, denoiser(x, t).eps.double(), t)
        with torch.enable_grad():
            exact_score = score_by_autograd(data, x, process.signal(t), process.noise(t))
        along, size = (learned * exact_score).sum(), exact_score.norm()
        rows.append([float(along / learned.norm() / size), float(along / size**2)])
    return torch.tensor(rows).T


runs = figures.load("ring_scores", "scores")


def trained(figure, way="trained", at=times):
    """A figure of each of the five trainings at the times `at`, (times, 5)."""
    return torch.from_numpy(figures.values(runs, figure, way=way, t=list(at)))


of_network, of_null = scores_of(network), scores_of(one_gaussian)
no_factor = process.noise(torch.tensor(times))  # -eps is the score times this
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.6))
for ax, figure, mine, null in zip(axes, ("cosine", "scale"), of_network, of_null):
    ax.plot(times, mine, color=BLUE, label="network")
    more = [estimate(values) for values in trained(figure)]
    means, margins = zip(*((e.mean, e.margin) for e in more))
    ax.errorbar(times, means, margins, fmt="o", color=BLUE, capsize=6, label="five more")
    ax.plot(times, null, "s--", color=RED, label="null: one Gaussian")
left, right = axes
right.plot(times, no_factor, "-.", color=GREEN, label="exact −ε, no factor")
right.axhline(1, color="black", linestyle=":")
left.set(title="Direction: cosine with the exact score", xlabel="time t", ylabel="cosine")
left.set(xscale="log", ylim=(0, 1.1), yticks=[0, 0.5, 1])
right.set(title="Scale relative to the exact score", xlabel="time t", ylabel="factor")
right.set(xscale="log", yscale="log", ylim=(0.008, 3))
right.legend(loc="lower right", fontsize=14)
plots.show(
    fig,
    alt="Two line plots over time t, with five trainings as dots. Left: cosine with the exact "
    "score. The networks' rises from about 0.9 at t = 1 to 1; that of one Gaussian is low "
    "until t = 100. Right: the scale. The networks' is above 1 at t = 1 and near 1 from "
    "t = 10 on; that of one Gaussian and that of the noise without factor are far below 1 at "
    "small t",
)


# %%
def of_scores(cosine, scale, runs="trainings"):
    """The largest relative error and the smallest cosine from t = 10 on; both at t = 1."""
    error = ((scale / cosine) ** 2 + 1 - 2 * scale).clamp(min=0).sqrt()  # |s - s*| / |s*|
    late = slice(times.index(10), None)
    values = dict(error=error[late].amax(0), cosine=cosine[late].amin(0))
    values |= dict(first=cosine[0], scale=scale[0])
    return {name: estimate(value, runs) for name, value in values.items()}


by_way = lambda way: of_scores(trained("cosine", way), trained("scale", way))
gaussian = torch.stack([scores_of(one_gaussian, n=1000, seed=seed) for seed in range(5)], -1)
claim(
    "score-eps-learned",
    "Networks trained on the epsilon loss alone predict the score: from t = 10 on, the error "
    "is less than 30 % of its size.",
    figures=by_way("trained"),
    measured="largest error {error:.0%}, smallest cosine {cosine:.3f}, each a mean over the runs; at t = 1 cosine "
    "{first:.2f}, scale {scale:.2f}",
    holds=lambda error: error.below(0.3),
    null={
        "the networks before training": by_way("before training"),
        "one Gaussian, which lacks the spots": of_scores(*gaussian, "sets of points"),
    },
)

# %% [markdown]
# In the plots a bar is the margin that a verdict needs: 2.8 standard errors of five trainings (lesson 02). **At $t = 1$ the
# networks are wrong:** the direction is roughly right, but the scale is {{score-eps-learned.scale.mean}} instead of 1.
#
# **The factor counts.** A sampler that steps along the score needs its size. With $-\epsilon$ in place of the score, its steps
# at $t = 1$ would be 100 times too short.
#
# Where few $x_t$ fall, the learned score is less accurate on average over $t$ (optional section below; not at every $t$). At
# large noise hardly any place is sparse: one reason to begin there. There is another. Pictures are believed to lie on or near a
# **manifold**, a surface of far fewer dimensions than they have pixels. If they lay exactly on it, $q$ would have no density in
# pixel space, and no score. With noise it has both everywhere (Song and Ermon 2019, sections 3.1 and 4).
#
# ## Langevin dynamics
#
# Follow the arrows, and all points end on the peaks: eight points, and no variety. **Langevin dynamics** adds noise to each
# step. For a small step size $\eta$ the **stationary distribution**, the one that a step leaves unchanged, is then nearly $q$
# itself. (Song and Ermon 2019, eq. 4, write $\varepsilon$ for the step size. We write $\eta$, since $\epsilon$ is the noise.)
#
# $$x \;\leftarrow\; x + \frac{\eta}{2}\, \nabla \log q(x) + \sqrt{\eta}\; z, \qquad
# z \sim \mathcal{N}(0, \mathbf{I}).$$
#
# **Why $q$?** For small steps, with sizes that add up to $\tau$, the density $p$ of the points changes as $\partial_\tau p =
# -\tfrac12 \nabla\!\cdot(p\,\nabla\log q) + \tfrac12 \nabla^2 p$ (drift and noise; the Fokker-Planck equation, lesson 21). For
# $p = q$ we have $q\,\nabla\log q = \nabla q$, so the two terms cancel: $q$ does not change.
#
# Why does the noise have a root? After $n$ small steps the way moved along the score is about $n\,\eta / 2$ times the score,
# and the noise has standard deviation $\sqrt{n\,\eta}$. Half the step size and twice the steps then change neither.
#
# **How large a step?** On one Gaussian of variance $\sigma^2$ the answer is exact. A step multiplies the distance from the
# mean by $1 - \eta / (2\sigma^2)$ and adds a variance of $\eta$. The stationary distribution has the variance
#
# $$\frac{\eta}{1 - \big(1 - \eta / (2 \sigma^2)\big)^2} = \frac{\sigma^2}{1 - \eta / (4 \sigma^2)},$$
#
# finite only for $\eta < 4 \sigma^2$. At $\eta = 0.1\, \sigma^2$ it is 3 % too large. All that counts is $\eta$ relative to
# $\sigma^2$.
#
# In the exact examples from here on the noise is only added, and the signal is not shrunk: $x = x_0 + \sigma\,\epsilon$. This
# process is called **variance-exploding**. `geometric_sigma(40, 0.1, 20.0)` gives 40 values of $\sigma$, each larger than the
# one before by the same factor. In this process $t$ is the number of a level: the smallest noise, 0.1, is at $t = 1$, the
# largest, 20, at $t = 40$.


# %%
def langevin_step(denoiser, x, t, eta, z):
    """One step of Langevin dynamics from x (B, ...) at noise level t, with normal noise z."""
    return x + eta / 2 * denoiser(x, t).score + eta**0.5 * z


sigma, start = 0.5, torch.zeros(20_000, 1, dtype=torch.float64)
level = VarianceExploding(torch.tensor([1e-6, 1.0]))  # its first level: as good as no noise
one = ExactDenoiser(GaussianMixture([1.0], torch.zeros(1, 1), [sigma]), level)
for part in (0.1, 1.0, 2.0, 3.0):
    x, rng = start, seeded(0)
    for _ in range(60):
        x = langevin_step(one, x, 1, part * sigma**2, randn_like(x, rng))
    print(
        f"eta = {part:.1f} sigma²   variance after 60 steps {float(x.var()) / sigma**2:.2f} "
        f"sigma²   by the formula {1 / (1 - part / 4):.2f} sigma²"
    )

# %% [markdown]
# ## Does Langevin dynamics find the weights?
#
# Now two spots, far apart: one point in five belongs to the lower left, four in five to the upper right. It is the example of
# Song and Ermon (2019, section 3.2.2). The walk starts anywhere in a square and takes 2,000 steps. Beside it the same walk
# runs on a second mixture, with equal weights. We call a share right if it is within 0.03: a tenth of the difference between
# 0.2 and 0.5. A spot is filled if the standard deviation about its mean is within 10 % of 1: the variance in 0.81 to 1.21.

# %% tags=["nbval-ignore-output"]
predict(
    "score-plain-langevin.light",
    "Which share of the points will plain Langevin dynamics put into the light spot, to which "
    "0.20 belong?",
    low=0,
    high=0.8,
)

# %%
modes = GaussianMixture([0.2, 0.8], torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), [1.0, 1.0])
equal = GaussianMixture([0.5, 0.5], modes.means, modes.stds)
levels = VarianceExploding(geometric_sigma(40, 0.1, 20.0))  # 0.1 .. 20, one factor apart
n = 4000
start = 16 * torch.rand(n, 2, generator=seeded(19)) - 8
in_light = lambda x: x.sum(1) < 0  # the lower left half
nearest = lambda x: torch.cdist(x.double(), modes.means).min(1).values  # distance to a spot


@torch.no_grad()
def plain_langevin(mixture, x, rng, steps=2000, eta=0.1, noise=1):
    """Where the points x (n, 2) end after plain Langevin dynamics at noise 0.1."""
    denoiser = ExactDenoiser(mixture, levels)
    for _ in range(steps):
        x = langevin_step(denoiser, x, 1, eta, noise * randn_like(x, rng))
    return x


def of_points(x, x_equal):
    """The light spot's share of both; of x the share outside and the variance in a spot."""
    light, equal, far = share(in_light(x)), share(in_light(x_equal)), nearest(x)
    variance = estimate(far.square() / 2, "points")  # per coordinate
    return dict(light=light, equal=equal, outside=share(far > 3), variance=variance)


plain, plain_equal = (
    plain_langevin(mixture, start[:1000], seeded(10)) for mixture in (modes, equal)
)
still, still_equal = (
    plain_langevin(mixture, start[:1000], seeded(10), 500, noise=0)
    for mixture in (modes, equal)
)
fresh, fresh_equal = (mixture.sample(n, seeded(12))[0] for mixture in (modes, equal))
claim(
    "score-plain-langevin",
    "In 2,000 steps with the exact score, plain Langevin dynamics fills two separated modes, "
    "but puts at least 0.03 too many points into the one of weight 0.20.",
    figures=of_points(plain, plain_equal),
    measured="a share of {light:.2f} where 0.20 is right, and of {equal:.2f} where 0.50 is "
    "right; variance {variance:.2f}, {outside:.1%} outside both modes",
    holds=lambda light, outside, variance: all_of(
        light.above(0.23), outside.below(0.05), variance.within(0.81, 1.21)
    ),
    null={
        "points of the mixture itself": of_points(fresh, fresh_equal),
        "steps without noise": of_points(still, still_equal),
        "the start": of_points(start, start),
    },
)

# %% [markdown]
# Each spot is filled, but its share is that of the start. The control is another start: we move the square towards one spot
# or the other.

# %%
for shift in (-4.0, 0.0, 4.0):
    moved = start[:500] + shift
    end = plain_langevin(modes, moved, seeded(10), 500)
    begin, end = (share(in_light(x)) for x in (moved, end))
    print(
        f"square moved by {shift:+.0f}: share {begin:.2f} at the start, {end:.2f} at the end"
    )

# %% [markdown]
# The end follows the start. **Why?** Near one spot, $q$ is a weight times one Gaussian. Then $\log q$ is a *constant* plus the
# Gaussian's logarithm, and the gradient of a constant is 0. So the score near a spot does not depend on its weight. Here is
# the score on the line from spot to spot, for the weights 0.2 and 0.8 and for equal ones.

# %%
s = torch.linspace(-10, 10, 400, dtype=torch.float64)
path = torch.stack([s, s], 1) / 2**0.5
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.6))
for ax, noise in zip(axes, (0.1, 6.0)):
    for mixture, name, style in (
        (equal, "weights 0.5, 0.5", dict(color=BLUE, linewidth=7, alpha=0.45)),
        (modes, "weights 0.2, 0.8", dict(color=RED, linestyle="--")),
    ):
        ax.plot(s, mixture.score(path, 1.0, noise).sum(1) / 2**0.5, label=name, **style)
    ax.axhline(0, color="black", linewidth=1)
    for at in (-(50**0.5), 50**0.5):
        ax.axvline(at, color="black", linewidth=1, linestyle=":")
    ax.set(title=f"Noise {noise:g}", xlabel="place (dotted: the spots)", ylabel="score")
axes[1].legend(loc="lower left")
plots.show(
    fig,
    alt="Two line plots of the score on the line through both spots. With noise 0.1 the "
    "curves for weights 0.5, 0.5 and 0.2, 0.8, a saw-tooth, agree but in the very middle. "
    "With noise 6 they differ everywhere: for equal weights the curve crosses 0 three times, "
    "for 0.2, 0.8 once, close to the heavy spot.",
)

# %% [markdown]
# **Left**, with little noise, the two curves agree at both spots. They differ only in a narrow zone in the middle: there the
# score does depend on the weights, but hardly a point is ever there. To change spots, a point would have to cross a place where
# $q$ is $e^{-25}$ of its peak. Hardly any does in 2,000 steps. This is **slow mixing**. **Right**, with noise 6, the spots
# overlap, and the two curves differ at every place, at the light spot too. (The vertical scales differ: 6 left, 0.1 right.)
#
# ## Annealed Langevin dynamics
#
# So begin where the noise is large and the score depends on the weights, and lower the noise in small steps. When the spots
# come apart, each already has its share. This is **annealed Langevin dynamics**.
#
# > **Algorithm 1** (Song and Ermon 2019)
# > 1. start anywhere
# > 2. for $i = 1, \dots, L$, from the largest noise $\sigma_1$ to the smallest $\sigma_L$
# > 3. $\quad \alpha_i = \eta\, \sigma_i^2 / \sigma_L^2$
# > 4. $\quad$ for $n$ times
# > 5. $\qquad$ draw $z \sim \mathcal{N}(0, \mathbf{I})$
# > 6. $\qquad x \leftarrow x + \frac{\alpha_i}{2}\, s_\theta(x, \sigma_i) + \sqrt{\alpha_i}\; z$
# > 7. return $x$
#
# Line 3 is the lesson of the one Gaussian: the step size must be small relative to the variance, and that is at least
# $\sigma_i^2$. (This $\alpha_i$ is a step size. It has nothing to do with $\alpha_t$.)
#
# ### Exercise 2: annealed Langevin dynamics (difficulty 2, 15 minutes)
#
# Write all of Algorithm 1. `times` falls and ends at 0, as for every sampler of the course. The levels are `times[:-1]`: at
# $t = 0$ there is no noise and nothing to do. $\sigma_i$ is `denoiser.process.noise(t)`, and the score `denoiser(x, t).score`.
# So $\sigma_L$ is the noise of `times[-2]`, not of `times[-1]`. `times` is an integer tensor: `times[:-1].tolist()` gives the
# levels as numbers. Draw the noise by `randn_like(x, rng)`. Return the last $x$.


# %%
def my_annealed_langevin(denoiser, x, times, n, eta, rng):
    """Where x (B, ...) ends after n Langevin steps at each level, from the largest down."""
    ...  # write it here


verdict = check.annealed_langevin(my_annealed_langevin)
my_annealed_langevin = verdict.function
verdict

# %%
check.solution("annealed_langevin")

# %% [markdown]
# Starts from the same square (4,000 now, the 1,000 of before among them) and the same 2,000 steps, now divided among 40 levels,
# with your function, on both mixtures. But the step *size* grows with the noise. Is it the large steps alone? The control is
# plain Langevin dynamics with larger ones.

# %%
for eta in (1.0, 3.0):
    x = plain_langevin(modes, start[:500], seeded(10), eta=eta)
    print(
        f"plain, eta = {eta:g}: share {share(in_light(x)):.2f}, "
        f"{share(nearest(x) > 3):.0%} outside"
    )

# %% [markdown]
# Larger steps hardly help: 0.45 at $\eta = 3$. The spots widen as the formula says: at $\eta = 3$ the variance is about 4
# times too large, so $e^{-9/(2 \cdot 3.9)}$ = 32 % lie outside. The other control, falling noise with small steps everywhere,
# stands in the failure museum. It does not find the weights either. But in all its noise moves a point by only
# $\sqrt{2{,}000 \cdot 0.004} = 2.8$: too short a way between the spots.

# %%
walk = lambda mixture, x: my_annealed_langevin(
    ExactDenoiser(mixture, levels), x, levels.times(40), 50, 0.004, seeded(10)
)
annealed, annealed_equal = walk(modes, start), walk(equal, start)

fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.6), sharey=True)
for ax, (name, x) in zip(axes, {"Real": fresh, "Plain": plain, "Annealed": annealed}.items()):
    plots.points(x[:1000], None, f"{name}\n{share(in_light(x)):.2f}", ax, reach=9, size=7)
plots.show(
    fig,
    alt="Three scatter plots of two round spots, with the share of the lower left one. Real: "
    "a faint spot at the lower left, a dense one at the upper right. Plain: both equally "
    "dense. Annealed: like the real one.",
)

# %%
claim(
    "score-annealed-langevin",
    "In 2,000 steps, annealed Langevin dynamics gives two separated modes the right weights "
    "in both mixtures, to within 0.03.",
    figures=of_points(annealed, annealed_equal),
    measured="a share of {light:.2f} where 0.20 is right, and of {equal:.2f} where 0.50 is "
    "right; variance {variance:.2f}, {outside:.1%} outside both modes",
    holds=lambda light, equal: all_of(light.within(0.17, 0.23), equal.within(0.47, 0.53)),
    null={
        "plain Langevin dynamics": of_points(plain, plain_equal),
        "annealed, but for equal weights": of_points(annealed_equal, annealed_equal),
    },
)

# %% [markdown]
# ## With the learned score
#
# The ring's network was trained on samples, at the levels of lesson 01's chain. We take 20 of these, from noise 1 down to
# noise 0.05, a constant factor apart. (In this chain the signal shrinks too. Algorithm 1 works all the same, since
# neighbouring levels overlap.)

# %% tags=["nbval-ignore-output"]
predict(
    "score-annealed-learned.width",
    "The real spots have a standard deviation of 0.10 per coordinate. And the sampled ones, "
    "where the last level has noise 0.05?",
    low=0.08,
    high=0.2,
)

# %%
falling = geometric_levels(process)
print("t:", *falling.tolist())

rng = seeded(3)
made = my_annealed_langevin(
    network, torch.randn(1500, 2, generator=rng), falling, 40, 5e-4, rng
)
real = data.sample(1500, seeded(4))[0]
fig, axes = plt.subplots(1, 2, figsize=(9.5, 4.9), sharey=True)
for ax, (name, x) in zip(axes, {"Real": real, "Annealed Langevin": made}.items()):
    plots.points(x, None, name, ax, size=9)
plots.show(
    fig,
    alt="Two scatter plots. Real and sampled: eight spots on a circle, the sampled ones a "
    "little wider.",
)

# %% [markdown]
# That is the shipped network, with your function. The claim is about the five other trainings, with 4,000 points each. Its
# thresholds were fixed before these were drawn. A spot's share may be off by half of 1/8. And of the points at most 8 % may
# lie outside, farther than three standard deviations from all spots. That is the middle between 2.7 %, for spots that are
# exact but for the noise of 0.05, and 13.5 %, for spots half again as wide as the real ones.

# %%
samples = figures.load("ring_scores", "samples")


def of_runs(way):
    """What annealed Langevin dynamics drew with each of five networks, or with five noises."""
    of = lambda name: figures.values(samples, name, way=way)
    off = estimate(abs(of("worst share") - 1 / 8))
    return dict(off=off, outside=estimate(of("outside")), width=estimate(of("width")))


def of_sets(mixture):
    """The same of five sets of points of a mixture."""
    off, out, width = [], [], []
    for seed in range(5):
        x = mixture.sample(4000, seeded(20 + seed))[0].double()
        distance, spot = torch.cdist(x, data.means).min(1)
        shares = torch.bincount(spot, minlength=8) / len(x)
        off.append(float((shares - 1 / 8).abs().max()))
        out.append(metrics.modes(x, data, within=3)[1])
        width.append(float((distance.square().mean() / 2).sqrt()))
    off, out, width = (estimate(values, "sets of points") for values in (off, out, width))
    return dict(off=off, outside=out, width=width)


unequal = GaussianMixture([0.04, 0.21] + 6 * [0.125], data.means, data.stds)
wide = GaussianMixture(data.weights, data.means, 1.5 * data.stds)
best = of_runs("exact")
print(f"exact score: {best['outside']:.1%} outside, spots' width {best['width']:.3f}")
claim(
    "score-annealed-learned",
    "Annealed Langevin dynamics with a learned score reaches all eight spots, each with its "
    "share to within a half of it, and fewer than 8 % of the points lie outside.",
    figures=of_runs("trained"),
    measured="the worst share is off by {off:.3f}, {outside:.1%} lie outside, the spots' "
    "width is {width:.3f}",
    holds=lambda off, outside: all_of(off.below(1 / 16), outside.below(0.08)),
    null={
        "spots of unequal shares": of_sets(unequal),
        "spots half again as wide": of_sets(wide),
    },
)

# %% [markdown]
# Of the extra width ({{score-annealed-learned.width.mean}}, real 0.100) more than half is there with the exact score too. The
# walk ends in $q(x_t)$ at its **last level**, which still has noise of 0.05: $\sqrt{0.10^2 + 0.05^2} = 0.11$. To end with less
# one needs smaller levels. But at the smallest ones these networks' scores are wrong (above), so whether more levels help here
# is not measured. Of the extra points outside ({{score-annealed-learned.outside.mean}}, real 1.1 %) less than half is there
# with the exact score. The rest is error of the networks.
#
# ## Watch it
#
# A shorter walk of the same kind, with 200 points: three steps at each level instead of 40, with twice the $\eta$. **Left** are
# the points. In the **middle** is the prediction of Tweedie's formula for each. **Right** is the learned field. Unlike in
# lesson 02 the points never settle. The steps shrink with the noise.
#
# <!-- Ask: Why do the points never settle? What would have to change? -->

# %% tags=["nbval-ignore-output"]
from course_lib.samplers import Step, annealed_langevin
from course_lib.widgets.player import play

rng = seeded(5)
x_T = torch.randn(200, 2, generator=rng)
*film, last = annealed_langevin(network, x_T, falling, n=3, eta=1e-3, rng=rng)
film += [Step(last.t, last.x, network(last.x, last.t))]  # there is still noise
play(film, field=network, max_mb=0.1)

# %% [markdown]
# ## Where does a start end?
#
# Drag the orange circle: it is the start, $x_T$, of all three walks. **DDPM** is Algorithm 2 of lesson 02. **DDIM** is a
# deterministic sampler that lesson 14 derives: it follows the same score without noise, and there the start decides.
# **Langevin** is annealed Langevin dynamics. DDPM and Langevin forget their start: 500 neighbours of one start end in all
# eight spots. Above each panel stand the number of spots in which the 500 end and the largest share in one. The page computes
# all of it from the exact score. Set *spread* to 1 and the circle to the middle for all of $\mathcal{N}(0, \mathbf{I})$.
#
# <!-- Ask: Move the start a little: which of the three samplers ends at the same spot? -->

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.paths import paths

paths(exact, network)

# %% [markdown]
# ## Failure museum
#
# Three mistakes of a few characters in exercise 2, on the two spots, with the exact score. The figure in each title is the
# share of points in the lower left: a fifth is right.


# %%
from functools import partial


@torch.no_grad()
def walk_wrongly(denoiser, x, times, n, eta, rng, scaled=True, root=True, upwards=False):
    """Algorithm 1, right or wrong."""
    sigma = denoiser.process.noise(times[:-1])
    alphas = eta * (sigma / sigma[-1]) ** 2 if scaled else eta * torch.ones_like(sigma)
    rows = list(zip(times[:-1].tolist(), alphas.tolist()))
    for t, alpha in reversed(rows) if upwards else rows:
        for _ in range(n):
            noise = (alpha**0.5 if root else alpha) * randn_like(x, rng)
            x = x + alpha / 2 * denoiser(x, t).score + noise
    return x


museum = {
    "a forgotten root": partial(walk_wrongly, root=False),
    "one step size for all": partial(walk_wrongly, scaled=False),
    "smallest noise first": partial(walk_wrongly, upwards=True),
}
exact_modes, some = ExactDenoiser(modes, levels), start[:500]
ends = {"right": annealed[:500]}
for name, wrong in museum.items():
    ends[name] = wrong(exact_modes, some, levels.times(40), 50, 0.004, seeded(10))
    print(f"{name}: {check.annealed_langevin(wrong).diagnosis}")
fig, axes = plt.subplots(1, 4, figsize=(11.5, 3.7), sharey=True)
for ax, (name, x) in zip(axes, ends.items()):
    plots.points(x, None, f"{name}\n{share(in_light(x)):.2f}", ax, reach=9, size=6)
    ax.title.set_fontsize(15)
plots.show(
    fig,
    alt="Four scatter plots. Right: two round spots, a faint one and a dense one. A "
    "forgotten root: two tiny dots. One step size for all: two round spots, equally "
    "dense. Smallest noise first: a few points all over the picture, most lie outside.",
)

# %% [markdown]
# **A forgotten root**: at the large levels the noise is far too large, at the last one ($\alpha_i = 0.004$) 16 times too small.
# So the walk ends on the peaks and variety is lost. The share is wrong too. **One step size for all** is the hardest to see.
# Its spots look almost right (they are a little too wide and too near the middle), but its share is far nearer to that of the
# start, a half, than to a fifth. **Smallest noise first** ends at the largest noise: most points lie outside the picture.

# %% [markdown]
# ## Optional: where is a learned score wrong?
#
# The expectation in the loss is over $x_t$ that come from data. Where few $x_t$ fall, the loss hardly constrains the network:
# the problem of **low data density** (Song and Ermon 2019, section 3.2.1). We compare the relative error of the score in two
# sets of points: points of $q(x_t)$, and points of the square $[-2, 2]^2$ where data are sparse. We call a point sparse if
# $q(x_t)$ there is lower than at 99.9 % of the points that are drawn from $q(x_t)$.
#
# The relative error in a set is the root mean square of the error divided by that of the exact score, over all its points.
# (The map shows the ratio at each single point.) That sparse data are the cause is their explanation. We measure the error
# alone. Most sparse points lie beyond the data, so sparse and far from all training inputs are not separated.

# %% tags=["nbval-ignore-output"]
predict(
    "score-low-density.ratio",
    "By which factor is the relative error larger where data are sparse, on average over "
    "seven t?",
    low=0,
    high=10,
)

# %%
sparse_times = (1, 2, 5, 10, 20, 50, 100)  # at t = 200 no part of the square is sparse


def errors(way):
    """The relative error at points of q(x_t), and where data are sparse: (7, 3) each."""
    names = ("relative error", "relative error, sparse")
    return [trained(name, way, sparse_times) for name in names]


t = 20
at = process.signal(t), process.noise(t)
points = noisy(t, 50_000)
threshold = data.log_prob(points, *at).quantile(0.001)
with torch.no_grad():
    score = data.score(plane, *at)
    relative = (network(plane, t).score - score).norm(dim=1) / score.norm(dim=1)
fig, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), width_ratios=(1, 1.15))
shown = left.contourf(
    fine,
    fine,
    relative.clamp(0.01, 0.999).view(120, 120).T,
    levels=[0.01, 0.03, 0.1, 0.3, 1],
    colors=("#f7fbff", "#c6dbef", "#6baed6", "#08519c"),
)
density = data.log_prob(plane, *at).view(120, 120).T
left.contour(fine, fine, density, levels=[float(threshold)], colors="black")
left.plot(*points[:300].T, ".", color=ORANGE, ms=4)
left.set(title="Relative error at t = 20", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
fig.colorbar(shown, ax=left, shrink=0.8, label="relative error")
for values, name, colour, marker in zip(
    errors("trained"), ("points of $q(x_t)$", "where data are sparse"), (BLUE, RED), "os"
):
    each = [estimate(of_t) for of_t in values]
    means, margins = zip(*((e.mean, e.margin) for e in each))
    right.errorbar(
        sparse_times, means, margins, marker=marker, color=colour, capsize=6, label=name
    )
right.set(title="Five networks", xlabel="time t", xscale="log", ylim=(0, None))
right.set(ylabel="relative error of the score")
right.set_xticks(sparse_times, [str(t) for t in sparse_times], minor=False)
right.minorticks_off()
right.legend(fontsize=14)
plots.show(
    fig,
    alt="A map and a line plot. Left: the relative error of the learned score at t = 20. Two "
    "dashed lines, an outer and an inner one, enclose a ring with the data points. Around "
    "these the error is mostly below 0.3; in the corners and in narrow wedges between the "
    "spots it is above 0.3. Right: of five networks, both errors fall from t = 1 to 5; then "
    "the error where data are sparse rises to a second peak at t = 20.",
)


# %%
def of_ratios(dense, sparse):
    """The mean over the seven t of the ratio of both errors, of each training."""
    verdicts = [compare(b, a).higher for a, b in zip(dense, sparse)]
    larger = sum(verdict is True for verdict in verdicts)
    return dict(ratio=estimate((sparse / dense).mean(0)), larger=larger)


dense, sparse = errors("trained")
claim(
    "score-low-density",
    "Where data are sparse, the relative error of the learned score is larger than where "
    "they are dense: over seven t from 1 to 100, the mean ratio of both errors is above 1.",
    figures=of_ratios(dense, sparse),
    measured="ratio {ratio:.2f}; larger at {larger} of the seven t",
    holds=lambda ratio: ratio.above(1),
    null={"the networks before training": of_ratios(*errors("before training"))},
)

# %% [markdown]
# **How to read the map.** It shows the shipped network at $t = 20$: the darker, the larger the relative error. The dots are
# points of $q(x_t)$. The ring between the two dashed lines is dense, the rest is sparse. Around the data the error is mostly
# below 0.3, in the corners and in narrow wedges between the spots above 0.3. Ignore three kinds of place, where the exact score
# is near 0 and a relative error means nothing: the middle of each spot, the points halfway between two neighbouring spots, and
# the middle of the ring. Just outside the spots the error is mostly below 0.3, though data are sparse there: density is not all
# that matters.
#
# The plot on the right has the errors of the five trainings. At $t = 5$ the two cannot be told apart.
#
# ## What you saw
#
# - The score is the gradient of $\log q$. Tweedie's formula turns it into the mean of all clean points that may lead to $x_t$.
# - A network's noise, divided by $-\sqrt{1 - \bar\alpha_t}$, estimates the score. From $t = 10$ on the smallest cosine with the
#   exact one is {{score-eps-learned.cosine}}, a mean of five trainings (the worst has 0.957). At $t = 1$ the scale is
#   {{score-eps-learned.scale}}, which is wrong.
# - Where data are sparse the relative error of the learned score is on average {{score-low-density.ratio}} times as large
#   (optional part; at $t = 5$ no difference is shown).
# - Plain Langevin dynamics puts {{score-plain-langevin.light.mean}} of its points where a fifth belongs, and
#   {{score-plain-langevin.equal.mean}} where a half belongs. Annealed Langevin dynamics puts
#   {{score-annealed-langevin.light.mean}} and {{score-annealed-langevin.equal.mean}} there.
# - With networks trained on the epsilon loss alone, annealed Langevin dynamics reaches all eight spots of the ring.
#   {{score-annealed-learned.outside}} of the points lie outside them.
#
# ## At full size
#
# Song and Ermon (2019, section 5) used ten levels from 1 to 0.01 and one network for all, on pictures of 32 × 32. Each level
# had 100 steps, with $\eta = 2 \cdot 10^{-5}$. Their second paper (2020) chooses the largest noise as large as the
# largest distance between two training pictures. Our $\sigma = 20$ for a gap of 14 is of that kind. Today the Langevin step is
# at work as the *corrector* of samplers (Yang Song et al. 2021).

# %% tags=["nbval-ignore-output"]
guesses(
    "score-eps-learned.first",
    "score-plain-langevin.light",
    "score-annealed-learned.width",
    "score-low-density.ratio",
)

# %% [markdown]
# ## Think about it
#
# 1. Lesson 02's Algorithm 2 also takes a step along the score and adds noise. What is its step size at each $t$?
#
# <details><summary>Answer</summary>
#
# With $\epsilon = -\sqrt{1 - \bar\alpha_t}\, s$ line 4 becomes $x_{t-1} = (x_t + \beta_t\, s) / \sqrt{\alpha_t} + \sigma_t z$.
# The noise has a variance of about $\beta_t$. A Langevin step with that noise, $\eta = \beta_t$, has half the drift.
# The rest moves the points from $q(x_t)$ to $q(x_{t-1})$; a Langevin step stays at one level.
#
# </details>
#
# 2. Plain Langevin dynamics that starts from real data keeps the right shares. Why is that no way to sample *new* data?
#
# <details><summary>Answer</summary>
#
# It does not cross between modes, so each point stays in the mode of its data point. On the two spots that works. On pictures
# each training picture may be nearly a mode of its own: the result is then a variant of the picture it began with.
#
# </details>
#
# ## Words
#
# - **automatic differentiation**: exact gradients of a program, computed by the chain rule.
# - **Tweedie's formula**: the mean of the clean value given a noisy one, from the score.
# - **denoising score matching**: learning the marginal score by regression on the conditional one.
# - **manifold**: a surface of few dimensions, on or near which data are believed to lie.
# - **Langevin dynamics**: steps along the score with noise of variance $\eta$; for small steps, nearly $q$ is stationary.
# - **stationary distribution**: the distribution that a step of a random walk leaves unchanged.
# - **variance-exploding**: a process that only adds noise, $x = x_0 + \sigma\,\epsilon$, and does not shrink the signal.
# - **slow mixing**: a chain that hardly ever crosses from one mode to another.
# - **annealed Langevin dynamics**: Langevin dynamics at falling noise levels.
# - **low data density**: regions where few $x_t$ fall, so that the loss hardly constrains a learned score.
#
# Used again: score (lesson 02), epsilon loss (lesson 02), null model (lesson 01), posterior (lesson 01).
#
# ## In practice
#
# Langevin steps are the *corrector* of diffusers' variance-exploding scheduler. Here the score is exact: data with variance 1.
#
# ```python
# import torch
# from diffusers import ScoreSdeVeScheduler
#
# scheduler = ScoreSdeVeScheduler(sigma_min=0.01, sigma_max=20.0, snr=0.15, correct_steps=2)
# scheduler.set_timesteps(200)
# scheduler.set_sigmas(200)
# x = scheduler.init_noise_sigma * torch.randn(1000, 1, 1, 1)
# for t, sigma in zip(scheduler.timesteps, scheduler.sigmas):
#     for _ in range(scheduler.config.correct_steps):
#         x = scheduler.step_correct(-x / (1 + sigma**2), x).prev_sample  # a Langevin step
#     x = scheduler.step_pred(-x / (1 + sigma**2), t, x).prev_sample  # to the next noise level
# assert abs(x.std() - 1) < 0.1
# ```
#
# {{names}}
#
# | our name | diffusers' |
# |---|---|
# | `langevin_step` | `scheduler.step_correct`; its step size comes from `snr` |
# | `VarianceExploding`, `geometric_sigma` | `ScoreSdeVeScheduler`, `sigma_min`, `sigma_max` |
# | `annealed_langevin` | `correct_steps` without `step_pred` |
#
# ## Next
#
# [Lesson 04](04_unet.ipynb) opens the network that predicts all this: the U-Net.
