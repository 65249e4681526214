# %% [markdown]
# # 23 Flow matching: couplings and reflow
#
# **You will be able to** train a flow by regression on the velocities of pairs, say which velocity it converges to, couple data
# and noise by optimal transport, straighten a flow by rounds of reflow, and measure what each of these saves and costs.
#
# **Time** 60 minutes. **Needs** lesson 02 (velocity), lesson 14 (Euler's method, probability-flow ODE), lesson 16 (rectified
# flow, coupling, reflow). **Papers** Yaron Lipman et al.: *Flow Matching for Generative Modeling* (2023); Alexander Tong et
# al.: *Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport* (2024); Xingchao Liu, Chengyue
# Gong, Qiang Liu: *Flow Straight and Fast* (2023).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("23")

# %% [markdown]
# ## Flow matching is regression on velocities
#
# Lesson 16 trained on straight lines between a picture and a noise, each drawn on its own. Both choices, the line and the
# pairing, can be changed. **Flow matching** is the frame for that.
#
# Take a pair $(x_0, \epsilon)$ and any path $x_t = a_t\,x_0 + b_t\,\epsilon$ that begins at the data ($a_0 = 1$, $b_0 = 0$) and
# ends at the noise ($a_1 = 0$, $b_1 = 1$). Along the path of this one pair the velocity is
#
# $$u_t = \frac{d x_t}{dt} = a_t'\, x_0 + b_t'\, \epsilon .$$
#
# This is the **conditional velocity**: conditional on the pair. A sampler does not have the pair. It has the point $x_t$ alone,
# and many paths pass there. The **marginal velocity** is their mean:
#
# $$v_t^*(x) = \mathbb E[\,u_t \mid x_t = x\,].$$
#
# **Why does the marginal velocity move the right density?** For any smooth test function $f$,
#
# $$\frac{d}{dt}\, \mathbb E\, f(x_t) = \mathbb E\big[\nabla f(x_t) \cdot u_t\big] = \mathbb E\big[\nabla f(x_t) \cdot
#   v_t^*(x_t)\big].$$
#
# The second step takes the mean over all pairs that share $x_t$. So points that move with $v_t^*$ have, at each $t$, the same
# distribution as the $x_t$ of the pairs. At $t = 0$ that is the distribution of the data.
#
# **Why can it be learned without knowing it?** Write $u_t - v = (u_t - v_t^*) + (v_t^* - v)$. Given $x_t$, the first part has
# mean zero, and the second is constant. So the cross term vanishes:
#
# $$\underbrace{\mathbb E\, \lVert v(x_t, t) - u_t \rVert^2}_{\text{what is trained}} = \mathbb E\, \lVert v(x_t, t) -
#   v_t^*(x_t) \rVert^2 + \underbrace{\mathbb E\, \lVert u_t - v_t^*(x_t) \rVert^2}_{\text{a constant}} .$$
#
# The left side is the **conditional flow matching** loss. It needs pairs only. The constant is its floor: how much the
# velocities of the pairs differ where their paths cross. No network goes below it.
#
# ### Exercise 1: `velocity_loss` (difficulty 1, 5 minutes)
#
# Write the loss. `x0` and `eps` are pairs (B, ...), `t` is (B,). `path(t)` returns $a_t$, $b_t$ and their derivatives $a_t'$,
# $b_t'$, each (B,). `net(x_t, t)` returns the velocity (B, ...). Points are (B, 2), pictures (B, C, H, W): so each of the four
# needs the shape (B, 1, ...). Return the mean over all numbers, ().

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from course_lib import plots
from course_lib.datasets import digits
from course_lib.datasets.points import grid, pair, ring
from course_lib.denoisers import ExactDenoiser
from course_lib.nets.mlp import MLP
from course_lib.process import RectifiedFlow, randn, randn_like, seeded
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate
from course_lib.widgets.dial import dial
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import figures


def my_velocity_loss(net, x0, eps, t, path):
    """The loss () of pairs x0 and eps (B, ...) at times t (B,)."""
    ...  # write it here


verdict = check.velocity_loss(my_velocity_loss)
my_velocity_loss = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("velocity_loss")

# %% [markdown]
# Two paths give names that you know. On the straight path $a = 1 - t$, $b = t$, the target is $\epsilon - x_0$: lesson 16's
# rectified flow. On the arc $a = \cos(\pi t / 2)$, $b = \sin(\pi t / 2)$, it is $\frac{\pi}{2}(a\,\epsilon - b\,x_0)$: up to
# the factor, lesson 02's $v$. So v-prediction is flow matching on the arc. From here on the path is the straight one.
#
# ## Learned beside exact: the network predicts the mean velocity
#
# Your loss trains a small network for two spots on a line (lesson 16's: 0.3 of the data near $-1$, 0.7 near $1$). For this
# mixture and independent pairs the marginal velocity is known in closed form.

# %% tags=["nbval-ignore-output"]
plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
flow, two = RectifiedFlow(), pair()
line = lambda t: (1 - t, t, -torch.ones_like(t), torch.ones_like(t))


def train_on(net, draw, steps, seed=0, rate=4e-3):
    """Trains `net` by your loss on pairs `draw(rng)`; the rate falls to 0 along a cosine."""
    optimizer, rng = torch.optim.Adam(net.parameters(), lr=rate), seeded(seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x0, eps = draw(rng)
        loss = my_velocity_loss(net, x0, eps, torch.rand(len(x0), generator=rng), line)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


def independent(data, n=256):
    """A function rng -> n points of the data and n noises, independent of each other."""
    return lambda rng: (data.sample(n, rng)[0], randn(n, data.dim, rng=rng))


torch.manual_seed(0)
learned = train_on(MLP(dim=1, width=32, depth=2), independent(two), 700)
exact = ExactDenoiser(two, flow)
fig, axes = plt.subplots(1, 3, figsize=(11, 3.9), sharey=True)
x0, eps = independent(two, 500)(seeded(1))
for ax, t in zip(axes, (0.9, 0.5, 0.2)):
    x_t = (1 - t) * x0 + t * eps
    ax.scatter(x_t, eps - x0, s=4, alpha=0.35, color=ORANGE, label="velocity of a pair")
    x = torch.linspace(*x_t.flatten().quantile(torch.tensor([0.005, 0.995])).tolist(), 100)
    x = x[:, None]
    ax.plot(x, exact(x, t).flow, color="black", lw=5, alpha=0.45, label="exact mean")
    ax.plot(x, learned(x, torch.full((100,), t)), "--", color=BLUE, lw=2.5, label="learned")
    ax.set(title=f"t = {t}", xlabel="$x_t$")
axes[0].set_ylabel("velocity")
axes[0].legend(fontsize=12)
plots.show(
    fig,
    alt="Three scatter plots of velocity over x_t, at t = 0.9, 0.5 and 0.2. The pairs "
    "form two rising bands, one for each spot. The exact mean lies between them at t = "
    "0.9. At t = 0.2 it follows one band, falls steeply at 0, and follows the other. The "
    "learned curve lies on it, a little off at the ends and at the steep part.",
)

# %% [markdown]
# The loss and its two parts, on 20,000 new pairs:

# %% tags=["nbval-ignore-output"]
x0, eps = independent(two, 20_000)(seeded(2))
t = torch.rand(20_000, generator=seeded(3))
x_t = flow.add_noise(x0, t, eps)
best, u = exact(x_t, t).flow, eps - x0
floor_of_loss, excess = (u - best).square().mean(), (learned(x_t, t) - best).square().mean()
print(f"loss {my_velocity_loss(learned, x0, eps, t, line):.3f}")
print(f"floor {floor_of_loss:.3f} + distance from the exact velocity {excess:.3f}")

# %% [markdown]
# Nearly all of the loss is the floor. So a loss near 1 does not say that the flow is bad, and losses of different couplings
# cannot be compared: each has a floor of its own.
#
# ## Coupling: which noise belongs to which data?
#
# Nothing above needs $x_0$ and $\epsilon$ to be independent. A coupling may be any joint distribution, as long as its $x_0$ are
# distributed as the data and its $\epsilon$ are standard normal. The paths between them, and so the floor, depend on it.
#
# **Optimal transport** is the coupling with the least mean squared distance $\mathbb E \lVert x_0 - \epsilon \rVert^2$. On its
# lines no two points meet at the same $t$ with $0 < t < 1$. For where two meet, $(1 - t)(x_0 - x_0') = -t\,(\epsilon -
# \epsilon')$, so the product $(x_0 - x_0') \cdot (\epsilon - \epsilon')$ is negative. Exchanging the two noises changes the sum
# of squares by twice that product: it becomes smaller. So the mean at $x_t$ is the velocity of one pair, and the paths are
# straight.
#
# For whole distributions optimal transport is hard to compute. So Tong et al. (and Pooladian et al. 2023, *Multisample Flow
# Matching*) compute it in each batch: **minibatch optimal transport**. There it is an **assignment problem**: a matrix of
# squared distances, one column for each row, the least sum. `linear_sum_assignment` of SciPy solves it exactly. Between batches
# points still meet.
#
# Reordering the noises of a batch changes neither the data nor the noises. Averaged over batches, both keep their
# distributions. So the flow still ends at the data.
#
# ### Exercise 2: `coupling` (difficulty 2, 8 minutes)
#
# Return the rows of `eps` (B, ...) in the order in which they are coupled with `x0` (B, ...), in groups of `size` neighbouring
# rows. The last group may be smaller. Pictures must be flattened for the distances. For a NumPy matrix `cost`, `rows, columns =
# linear_sum_assignment(cost)` gives the least sum of `cost[rows, columns]`, with `rows` = 0, 1, 2, ...


# %%
def my_coupling(x0, eps, size):
    """eps (B, ...) in the order of the coupling."""
    ...  # write it here


verdict = check.coupling(my_coupling)
my_coupling = verdict.function
verdict

# %%
check.solution("coupling")

# %% [markdown]
# The same 30 points of the ring and the same 30 noises, coupled by your function in groups of 1, 4 and 30. Each title gives the
# mean squared length. (Lines on this map of the plane may cross. What they do not do, in one group, is meet at the same $t$.)

# %%
x0, eps = independent(ring(), 30)(seeded(4))
fig, axes = plt.subplots(1, 3, figsize=(11, 4.1), sharex=True, sharey=True)
for ax, size in zip(axes, (1, 4, 30)):
    mine = my_coupling(x0, eps, size)
    ax.plot(*torch.stack([x0, mine]).permute(2, 0, 1), color=BLUE, lw=1, alpha=0.7)
    ax.scatter(*eps.T, s=12, color="black", label="noise")
    ax.scatter(*x0.T, s=16, color=ORANGE, label="data")
    length = float((x0 - mine).square().sum(1).mean())
    ax.set_title(f"groups of {size}: {length:.2f}")
    ax.set(xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$")
axes[0].legend(fontsize=12, loc="lower left")
plots.show(
    fig,
    alt="Three drawings of 30 lines from noises to points of a ring. In groups of 1 the lines cross "
    "the middle in all directions, mean square 3.91. In groups of 4 fewer do, 2.14. In one group of "
    "30 each noise goes to a point near it, 0.71, and the middle is nearly free of lines.",
)

# %% [markdown]
# ## How much does a coupling shorten the lines?
#
# In the plane a batch of 256 covers the data well. Pictures have more dimensions: the digits of this course have 16 × 16 = 256.
# How much shorter are the lines there?

# %% tags=["nbval-ignore-output"]
predict(
    "flow-dimension.digits",
    "Groups of 256 digits and noises: the mean squared length of the lines, as a share "
    "of that of independent pairs?",
    low=0,
    high=1,
)

# %%
sizes = (1, 4, 16, 64, 256)
pictures = digits.load()[0]
batches = {
    "ring": lambda i: ring().sample(768, seeded(20 + i))[0],
    "25 Gaussians": lambda i: grid().sample(768, seeded(30 + i))[0],
    "digits": lambda i: pictures[768 * i : 768 * (i + 1)],
}
length_of = lambda x0, eps: float((x0 - eps).square().flatten(1).sum(1).mean())
shorter = {name: {} for name in batches}
for name, batch in batches.items():
    for size in (*sizes, "permuted"):
        parts = []
        for i in range(5):
            x0 = batch(i)
            eps = randn_like(x0, seeded(40 + i))
            permuted = eps[torch.randperm(768, generator=seeded(50 + i))]
            mine = permuted if size == "permuted" else my_coupling(x0, eps, size)
            parts.append(length_of(x0, mine) / length_of(x0, eps))
        shorter[name][size] = estimate(parts, "sets")

fig, ax = plt.subplots(figsize=(9.5, 4.6))
looks = zip(shorter.items(), ("o-", "^:", "s--"), (BLUE, GREEN, RED))
for (name, found), fmt, colour in looks:
    each = [found[size] for size in sizes]
    means, margins = [e.mean for e in each], [e.margin for e in each]
    ax.errorbar(sizes, means, margins, fmt=fmt, color=colour, ms=9, capsize=5, label=name)
ax.set(xscale="log", xlabel="pairs coupled at once", ylabel="mean squared length, relative")
ax.set(ylim=(0, 1.08), title="Length of the lines, relative to independent pairs")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend()
plots.show(
    fig,
    alt="Line plot of the relative mean squared length over 1, 4, 16, 64 and 256 pairs. "
    "Ring and 25 Gaussians fall together, to 0.27 at 16 pairs, then to 0.14 and 0.11. "
    "Digits fall slowly, to 0.94.",
)

# %%
claim(
    "flow-dimension",
    "Optimal transport in groups of 256 makes the mean squared length of the lines less "
    "than half on the ring, and takes less than a tenth of it on digits.",
    figures=dict(
        ring=shorter["ring"][256],
        grid=shorter["25 Gaussians"][256],
        digits=shorter["digits"][256],
    ),
    measured="relative to independent pairs: ring {ring:.3f}, 25 Gaussians {grid:.3f}, "
    "digits {digits:.3f}",
    holds=lambda ring, digits: all_of(ring.below(0.5), digits.above(0.9)),
    null={
        "a random permutation": dict(
            ring=shorter["ring"]["permuted"],
            grid=shorter["25 Gaussians"]["permuted"],
            digits=shorter["digits"]["permuted"],
        )
    },
)

# %% [markdown]
# Why so little on digits? In $\lVert x_0 - \epsilon \rVert^2$ a reordering changes only the product $(x_0 - m) \cdot \epsilon$,
# with the mean digit $m$: all else has the same sum in every order. Over independent noises this product is normal with
# standard deviation $\lVert x_0 - m \rVert$, for these digits 6.4 (root mean square). The largest of 256 normal numbers lies
# 2.8 standard deviations out, on average. So at most about $2 \cdot 6.4 \cdot 2.8 = 36$ can be gained, of $228 + 256 = 484$,
# the mean square of a digit and of a noise: 7 %. On the ring the same estimate is $2 \cdot 1 \cdot 2.8$ of 3: no limit at all.
# This is about the lines. Whether training on digits still gains was not tested here.
#
# ## Scrub the coupling: exact flows in one dimension
#
# In one dimension all of this has a closed form, for every size $k$ of the group. There, optimal transport in a group sorts the
# $k$ data and the $k$ noises and couples equals in rank. The rank $i$ of $k$ uniform numbers has a Beta distribution. So the
# joint density of the two ranks $p, q \in [0, 1]$ of a pair is
#
# $$c_k(p, q) = k \sum_{i=0}^{k-1} B_i(p)\, B_i(q), \qquad B_i(p) = \binom{k-1}{i}\, p^i (1 - p)^{k-1-i} .$$
#
# For $k = 1$ it is 1: independent. For large $k$ it becomes a ridge along $p = q$. With it, $\mathbb E[\epsilon - x_0 \mid
# x_t]$ is an integral over a line, which the cell below computes by quadrature. No network is trained.

# %%
weight, mean, std = two.weights, two.means[:, 0], two.stds
standard = lambda x: (x[..., None] - mean) / std
cdf = lambda x: (weight * torch.special.ndtr(standard(x))).sum(-1)
density = lambda x: (weight / std * torch.exp(-standard(x).square() / 2)).sum(-1)
ranks = (torch.arange(240, dtype=torch.float64) + 0.5) / 240
wide = torch.linspace(-2.5, 2.5, 5001, dtype=torch.float64)
of_rank = lambda p: wide[torch.searchsorted(cdf(wide), p)]  # the data's quantiles


def coupled_density(p, q, k):
    """c_k of the ranks p and q (n, m): (n, m)."""
    i = torch.arange(k, dtype=torch.float64)
    ways = math.lgamma(k) - torch.lgamma(i + 1) - torch.lgamma(k - i)
    log = lambda p: p.clamp(1e-12)[..., None].log()
    terms = (ways + i * log(p) + (k - 1 - i) * log(1 - p) for p in (p, q))
    return k * sum(terms, start=torch.zeros(())).exp().sum(-1)


def exact_velocity(x, t, k):
    """E[eps - x_0 | x_t = x] (n,) for groups of k, at points x (n,)."""
    # quadrature over x_0, each of equal weight, with the density of the noise that leads to x;
    # near the data over the noise, with the density of the data
    if t > 0.5:
        x0 = of_rank(ranks).expand(len(x), -1)
        eps = (x[:, None] - (1 - t) * x0) / t
        mass = torch.exp(-eps.square() / 2)
    else:
        eps = torch.special.ndtri(ranks).expand(len(x), -1)
        x0 = (x[:, None] - t * eps) / (1 - t)
        mass = density(x0)
    mass = mass * coupled_density(cdf(x0), torch.special.ndtr(eps), k)
    return (mass * (eps - x0)).sum(1) / mass.sum(1)


def follow(start, steps, k):
    """The points (steps + 1, n) of Euler's method from the noises start (n,)."""
    points = [start]
    for t in torch.linspace(1, 0, steps + 1)[:-1].tolist():
        points.append(points[-1] - exact_velocity(points[-1], t, k) / steps)
    return torch.stack(points)


x, t = 0.6 * torch.linspace(-2, 2, 9, dtype=torch.float64), 0.6
gap = (exact_velocity(x, t, 1) - exact(x[:, None], t).flow[:, 0]).abs().max()
print(
    f"groups of 1, beside the closed form of independent pairs: largest difference {gap:.4f}"
)

# %% [markdown]
# Drag the slider over the size of the group. Left: 24 pairs, as lines. Right: where the exact flow of this coupling takes the
# same noises, from $t = 1$ (left edge) to the data (right edge). Below: the mean squared length of the lines, and the error of
# one and of two Euler steps (root mean square, from the end of the exact flow). All three are relative to groups of 1; lower is
# better.


# %% tags=["nbval-ignore-output"]
def drawing(times, points):
    """Curves points (n, m) over time as a picture (1, 1, H, W) in [-1, 1]."""
    fig, ax = plt.subplots(figsize=(2.3, 1.9), dpi=100, layout="constrained")
    ax.plot(times, points, color="black", lw=1)
    ax.set(xlim=(1, 0), ylim=(-2.4, 2.4), xticks=[1, 0], yticks=[-1, 1])
    ax.tick_params(labelsize=11)
    fig.canvas.draw()
    shown = torch.from_numpy(np.array(fig.canvas.buffer_rgba())[..., 0])
    plt.close(fig)
    return shown[None, None].float() / 127.5 - 1


groups = (1, 2, 4, 16, 64, 256)
start = torch.special.ndtri((torch.arange(24, dtype=torch.float64) + 0.5) / 24)
ends = of_rank(torch.special.ndtr(start))  # of the exact flow
data, noise = independent(two, 256)(seeded(6))
rows, lines, curves = [], [], []
for k in groups:
    near, column = my_coupling(data, noise, k), ranks[:, None].expand(-1, 240)
    joint = coupled_density(column, column.T, k)
    apart = (of_rank(ranks)[:, None] - torch.special.ndtri(ranks)).square()
    rows.append([float((joint * apart).sum() / joint.sum())])
    rows[-1] += [
        float((follow(start, n, k)[-1] - ends).square().mean().sqrt()) for n in (1, 2)
    ]
    lines.append(drawing([0, 1], torch.stack([data, near])[:, :24, 0]))
    curves.append(drawing(torch.linspace(1, 0, 25), follow(start, 24, k)))
exact_1d = torch.tensor(rows).T
names = ("length of the lines", "error of 1 step", "error of 2 steps")
dial(
    "pairs coupled at once",
    groups,
    {"lines of 24 pairs": lines, "paths of the exact flow": curves},
    {name: (row / row[0]).tolist() for name, row in zip(names, exact_1d)},
)

# %% [markdown]
# The ends do not move: in one dimension paths cannot cross, so *every* coupling has the same map from noise to data, the one
# that keeps the rank. Only the way there changes. With large groups the paths are nearly straight, and one step is nearly
# enough for all noises but those beside the gap between the spots. These few make most of the error that is left. Of the 24
# noises two lie there. Two steps look worse for 256 than for 64; of 400 noises they are about equal. In the plane the map may
# change.

# %%
for k, (length, one, both) in zip(groups, exact_1d.T):
    print(
        f"groups of {k:3}: mean square {length:.2f}, error of 1 step {one:.2f}, of 2 {both:.2f}"
    )

# %% [markdown]
# ## How many steps does a coupling save?
#
# With trained networks, on the ring and on 25 Gaussians in a square (`tests/benchmarks/flow_matching.py`): the same network,
# first weights, points, noises and times, and three trainings for each coupling. Only the coupling differs: in groups of 1, 16,
# 64 or 256 of the 256 pairs of a batch. The null model is a random permutation of the noises of each batch. The distance is
# lesson 16's sliced Wasserstein distance, of 2,000 samples to 4,000 points.

# %% tags=["nbval-ignore-output"]
predict(
    "flow-coupled-steps.ring_one",
    "Ring, 1 Euler step, independent pairs: distance 0.65. With groups of 256?",
    low=0,
    high=0.7,
)

# %%
measured = figures.raw("flow_matching")
found = {(r["data"], r["coupling"], r["seed"]): r for r in measured["couplings"]}
of_coupling = lambda data, coupling, name: [found[data, coupling, s][name] for s in range(3)]
shown = (1, 2, 3, 4, 6, 8, 16, 64)
fig, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
for ax, data in zip(axes, ("ring", "25 Gaussians")):
    looks = zip((1, 16, 64, 256), ("o-", "^:", "D-.", "s--"), (RED, GREEN, ORANGE, BLUE))
    for size, fmt, colour in looks:
        each = [estimate(of_coupling(data, size, f"{n} steps")) for n in shown]
        means, margins = [e.mean for e in each], [e.margin for e in each]
        ax.errorbar(
            shown, means, margins, fmt=fmt, color=colour, ms=7, label=f"groups of {size}"
        )
    exact_flow = measured["the exact flow of independent pairs"][data]
    values = [exact_flow[f"{n} steps"] for n in shown]
    ax.plot(shown, values, "x", color="black", ms=9, label="exact flow, groups of 1")
    floor = measured["the same, real against real"][data]
    ax.axhline(floor, color="black", lw=1, label="real against real")
    ax.set(xscale="log", yscale="log", xlabel="Euler steps", title=data)
    ax.set_xticks((1, 2, 4, 8, 16, 64), (1, 2, 4, 8, 16, 64))
    ax.set_yticks((0.03, 0.06, 0.12, 0.25, 0.5), (0.03, 0.06, 0.12, 0.25, 0.5))
    ax.minorticks_off()
axes[0].set_ylabel("distance to the data")
axes[1].legend(fontsize=11)
plots.show(
    fig,
    alt="Two log-log line plots of distance over 1 to 64 Euler steps, for the ring and "
    "25 Gaussians. Groups of 1 fall from 0.65 to 0.06, and lie near the crosses of the "
    "exact flow for few steps. Groups of 16 begin at 0.15, of 64 and 256 below 0.1, and "
    "these three are level from 4 steps on. At 64 steps the cross is clearly lower on the ring, and "
    "just lower on 25 Gaussians.",
)


# %%
def coupled_beside(other):
    """The claim's figures: distances of another coupling beside independent pairs."""
    both = lambda data, n: compare(
        of_coupling(data, other, f"{n} steps"), of_coupling(data, 1, f"{n} steps")
    )
    return dict(
        ring_one=both("ring", 1),
        ring_two=both("ring", 2),
        grid_one=both("25 Gaussians", 1),
        grid_two=both("25 Gaussians", 2),
    )


claim(
    "flow-coupled-steps",
    "On the ring and on 25 Gaussians, networks trained on pairs that were coupled 256 at "
    "once end nearer to the data in 1 and in 2 steps than networks trained on "
    "independent pairs.",
    figures=coupled_beside(256),
    measured="distance, ring: 1 step {ring_one:.3f}, 2 steps {ring_two:.3f}; 25 "
    "Gaussians: 1 step {grid_one:.3f}, 2 steps {grid_two:.3f}",
    holds=lambda ring_one, ring_two, grid_one, grid_two: all_of(
        ring_one.lower, ring_two.lower, grid_one.lower, grid_two.lower
    ),
    null={"a random permutation of the noises": coupled_beside("permuted")},
)


# %%
def needed(other):
    """The claim's figures: how many steps another coupling needs beside independent pairs."""
    both = lambda data: compare(
        of_coupling(data, other, "needed"), of_coupling(data, 1, "needed")
    )
    return dict(ring=both("ring"), grid=both("25 Gaussians"))


def table(arms, columns):
    """Prints means over three trainings. Each arm is a function of a figure's name."""
    print(f"{'':22}" + "".join(f"{title:>8}" for title in columns.values()))
    for arm, values in arms.items():
        means = (estimate(values(name)).mean for name in columns)
        print(f"{arm:22}" + "".join(f"{mean:8.3f}" for mean in means))


columns = {"map": "path²", "bend": "bend", "1 steps": "1 step", "2 steps": "2", "4 steps": "4"}
columns |= {"64 steps": "64"}
wider = {"line": "lines²", **columns, "needed": "needed", "velocity": "v error"}
by_size = {
    f"{data}, {size}": lambda name, of=(data, size): of_coupling(*of, name)
    for data in ("ring", "25 Gaussians")
    for size in (1, 16, 64, 256)
}
table(by_size, wider)
claim(
    "flow-steps-needed",
    "For a distance of 0.12, networks trained on pairs that were coupled 256 at once "
    "need fewer Euler steps than networks trained on independent pairs, on the ring and "
    "on 25 Gaussians.",
    figures=needed(256),
    measured="steps on the ring {ring:.1f}, on 25 Gaussians {grid:.1f}",
    holds=lambda ring, grid: all_of(ring.lower, grid.lower),
    null={"a random permutation of the noises": needed("permuted")},
)

# %% [markdown]
# A row is a mixture and the size of the group. *1 step*, *2*, *4* and *64* are the distances in so many steps. *Lines²* is the
# mean squared length of the pairs' lines, and *path²* that from a noise to its sample. *Bend* is the mean squared difference
# between the velocity along a path and the straight way from its start to its end: 0 where all paths are straight and of
# constant speed. *Needed* are the steps for a distance of 0.12, a limit set by the exact flow, after first rows of a plan with
# a lower limit. *V error* is the mean squared difference from the exact velocity of independent pairs, relative to its mean
# square: large groups learn another one, that of their own pairs.
#
# Groups of 16 already save half of the steps on the ring, and most of them on 25 Gaussians. On the ring, with groups of 256,
# one step (distance {{flow-coupled-steps.ring_one.a}}) is nearly as good as 64. The crosses are the exact flow of independent
# pairs, which has no error of training. In few steps the networks of independent pairs lie near it. So it is the bent paths of
# their flow that cost steps, not a lack of training. On the ring, in 64 steps, the exact flow is nearer than the networks of
# any coupling: these have an error of their own. Twice the training hardly changes it (*256, longer*, below), and its cause was
# not tested.
#
# ## Failure museum: the nearest point
#
# If short lines are good, why not give each noise the *nearest* of the batch's data? No assignment is needed, and the lines are
# shorter than those of optimal transport. But a point may now serve many noises, and another none. Then the pairs' $x_0$ are no
# longer distributed as the data. No training can mend that. Below: how often each of the 25 Gaussians occurs among the pairs.


# %%
def nearest(x0, eps):
    """For each noise the nearest of x0, which may serve several."""
    return x0[torch.cdist(eps, x0).argmin(1)]


counts = torch.zeros(2, 25)
for seed in range(40):
    x0, eps = independent(grid())(seeded(60 + seed))
    for row, used in zip(counts, (x0, nearest(x0, eps))):
        row += torch.bincount(torch.cdist(used.double(), grid().means).argmin(1), minlength=25)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
for ax, row, title in zip(axes, counts, ("optimal transport", "nearest point")):
    share = 100 * (row / row.sum()).view(5, 5).T
    image = ax.imshow(share, origin="lower", cmap="cividis", vmin=2, vmax=6)
    for i in range(25):
        colour = "black" if share[i // 5, i % 5] > 4.2 else "white"
        text = f"{share[i // 5, i % 5]:.1f}"
        ax.text(i % 5, i // 5, text, ha="center", va="center", color=colour, fontsize=14)
    ax.set(title=title, xticks=[], yticks=[], xlabel="place of the Gaussian")
fig.colorbar(image, ax=axes, label="share of the pairs, %")
axes[0].set_ylabel("place of the Gaussian")
heavy = lambda points: float((points > 0).double().mean())
x0, eps = independent(two, 10_000)(seeded(5))
used = torch.cat([nearest(*batch) for batch in zip(x0.split(250), eps.split(250))])
print(f"share of the upper of two spots: {heavy(x0):.2f}, nearest points {heavy(used):.2f}")


def nearest_noise(x0, eps, size):
    """Exercise 2, wrong: each of x0 takes its nearest noise."""
    choose = lambda a, b: b[torch.cdist(a.flatten(1), b.flatten(1)).argmin(1)]
    return torch.cat([choose(a, b) for a, b in zip(x0.split(size), eps.split(size))])


print(check.coupling(nearest_noise).diagnosis)
plots.show(
    fig,
    alt="Two 5 by 5 heat maps of the share of pairs in per cent. Optimal transport: 3.6 "
    "to 4.4 everywhere. Nearest point: about 5 at the corners, 2.8 to 3.5 in the ring of "
    "eight around the centre, 4.4 in the centre.",
)

# %%
NEAREST = "25 Gaussians", "nearest"


def beside_transport(other):
    """The claim's figures: another coupling beside optimal transport in groups of 256."""
    both = lambda name: compare(
        of_coupling("25 Gaussians", other, name), of_coupling("25 Gaussians", 256, name)
    )
    return dict(line=both("line"), many=both("64 steps"))


arms = {"nearest point": lambda name: of_coupling(*NEAREST, name)}
arms |= {f"groups of {size}": by_size[f"25 Gaussians, {size}"] for size in (1, 256)}
table(arms, {"line": "lines²"} | columns)
claim(
    "flow-nearest",
    "On 25 Gaussians, pairing each noise with the nearest point of the batch makes "
    "shorter lines than optimal transport in groups of 256, and the trained flow ends "
    "farther from the data in 64 steps.",
    figures=beside_transport("nearest"),
    measured="mean squared length {line:.3f}; distance in 64 steps {many:.3f}",
    holds=lambda line, many: all_of(line.lower, many.higher),
    null={"a random permutation of the noises": beside_transport("permuted")},
)

# %% [markdown]
# (The lengths are of the same 10,000 pairs in each training, so they have no error here.) The lines are shorter, and 1 step
# looks as good as with optimal transport. But more steps do not bring the samples nearer. Independent pairs have bent paths and
# the right data, and end nearer in 64 steps. So what is wrong is where the lines lead, not their shape.
#
# A related mistake concerns conditions. If a batch of all classes is coupled without regard to the class, then within one class
# the noises are no longer standard normal. But at sampling they are standard normal. Cheng and Schwing (2025, *The Curse of
# Conditions*) show this, and put the condition into the cost.
#
# ## Reflow: the flow's own coupling
#
# Lesson 16 showed one round of reflow: a trained flow takes many noises to its samples, and the next flow is trained on these
# pairs. It is a third way to choose the coupling. It needs no assignment, and each noise has one sample, at the end of a
# path that meets no other. But its data are samples of the last flow, with their errors.
#
# ### Exercise 3: `reflow` (difficulty 3, 12 minutes)
#
# `flow(x, t)` returns velocities (B, ...) for x (B, ...) and t (B,). In each of `rounds` rounds, take the noises `eps` (B, ...)
# to samples with the *last* flow, in `steps` even Euler steps from $t = 1$ to $0$, without gradients. Then `fit(flow, x0, eps)`
# returns a flow that is trained on from `flow` on these pairs. Return a list of all flows, the given one first.


# %%
def my_reflow(flow, fit, eps, steps, rounds):
    """The flows after 0, 1, .. rounds, a list of rounds + 1."""
    ...  # write it here


verdict = check.reflow(my_reflow)
my_reflow = verdict.function
verdict

# %%
check.solution("reflow")

# %% [markdown]
# Your function makes two rounds on the ring, with a small network and short trainings. The paths of 30 noises:

# %% tags=["nbval-ignore-output"]
import copy


def fit_pairs(net, x0, eps):
    """A copy of the network, trained on from its weights on these pairs."""

    def draw(rng):
        i = torch.randint(len(x0), (256,), generator=rng)
        return x0[i], eps[i]

    return train_on(copy.deepcopy(net).train().requires_grad_(), draw, 300, seed=7)


torch.manual_seed(1)
first = train_on(MLP(dim=2, width=48, depth=2), independent(ring()), 700)
flows = my_reflow(first, fit_pairs, randn(8000, 2, rng=seeded(8)), 24, 2)
fig, axes = plt.subplots(
    1, 3, figsize=(11, 4.2), sharex=True, sharey=True, layout="constrained"
)
for ax, net, title in zip(axes, flows, ("independent pairs", "1 round", "2 rounds")):
    points = [randn(30, 2, rng=seeded(9))]
    for t in torch.linspace(1, 0, 25)[:-1]:
        points.append(points[-1] - net(points[-1], t.expand(30)) / 24)
    ax.plot(*torch.stack(points).permute(2, 0, 1), color=BLUE, lw=1)
    ax.scatter(*points[0].T, s=10, color="black", label="noise")
    ax.scatter(*points[-1].T, s=16, color=ORANGE, label="sample")
    ax.set(title=title, xlabel="$x_1$", aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
axes[0].set_ylabel("$x_2$")
axes[0].legend(fontsize=12, loc="lower left")
plots.show(
    fig,
    alt="Three drawings of 30 paths from noises to samples on a ring. Independent pairs: "
    "many paths first go towards the middle and turn back. After one and after two "
    "rounds the paths are straight and look alike.",
)

# %% [markdown]
# Three trainings, measured as before. The steps of training in all are 500 in the first two rows, 1,000 in the next two, and
# 1,500 in the last two. The evaluations that make the pairs are not counted.

# %% tags=["nbval-ignore-output"]
predict(
    "flow-second-round.verdict",
    "“A second round of reflow bends the paths less, and ends nearer in 1 step, than one "
    "round trained as long.” Which verdict?",
    choices=("yes", "no", "cannot be told apart"),
)

# %%
rounds = {(r["kind"], r["seed"]): r for r in measured["reflow"]}
of_kind = lambda kind, name: [rounds[kind, s][name] for s in range(3)]
arms = {
    "independent": lambda name: of_coupling("ring", 1, name),
    "groups of 256": lambda name: of_coupling("ring", 256, name),
    "groups of 256, longer": lambda name: of_kind("256, longer", name),
    "1 round": lambda name: of_kind("reflow 1", name),
    "1 round, longer": lambda name: of_kind("reflow 1, longer", name),
    "2 rounds": lambda name: of_kind("reflow 2", name),
}
table(arms, columns)


# %%
def beside_coupled(values):
    """The claim's figures: another arm beside groups of 256, trained as long."""
    both = lambda name: compare(values(name), of_kind("256, longer", name))
    return dict(one=both("1 steps"), many=both("64 steps"))


claim(
    "flow-two-ways",
    "On the ring, after equally many steps of training, one round of reflow ends nearer "
    "to the data than groups of 256 in 1 step, and farther from them in 64 steps.",
    figures=beside_coupled(arms["1 round"]),
    measured="distance, 1 step {one:.3f}, 64 steps {many:.3f}",
    holds=lambda one, many: all_of(one.lower, many.higher),
    null={"groups of 256, half of the training": beside_coupled(arms["groups of 256"])},
    expected=None,
)


# %%
def round_beside(values, other="1 round, longer"):
    """The claim's figures: one arm beside another."""
    both = lambda name: compare(values(name), arms[other](name))
    return dict(bend=both("bend"), one=both("1 steps"))


again = [rounds["reflow 1, longer", s]["again"] for s in range(3)]
claim(
    "flow-second-round",
    "On the ring, a second round of reflow bends the paths less, and ends nearer to the "
    "data in 1 step, than one round that was trained as long.",
    figures=round_beside(arms["2 rounds"]),
    measured="bend {bend:.4f}; distance in 1 step {one:.3f}",
    holds=lambda bend, one: all_of(bend.lower, one.lower),
    null={"one round, at other noises": round_beside(lambda name: [r[name] for r in again])},
    control={"the first round beside none": round_beside(arms["1 round"], "independent")},
    expected=None,
)

# %% [markdown]
# One round takes the bend from 0.64 to 0.002 (the control, which has 500 more steps; in lesson 16 more steps alone did not help
# in few steps), and the distance in 1 step nearly to that in 64. After that there is little left to gain: on the ring, a second
# round cannot be told apart from a longer first one (both bends are about 0.0002, the last digit that was kept). Reflow and
# groups of 256 cannot be told apart either, in 1 step or in 64. Three trainings would have seen a difference of about 0.01.
# Both ways lead to nearly straight paths here, one by sampling and one by assignment.
#
# *path²* is about 0.36 in every arm, although independent pairs lie 3.01 apart. (The exact flow of independent pairs has 0.40:
# part of the agreement is an error that all the networks share.) For a perfect flow, its own pairs are on average never longer
# than those that it was trained on (Liu et al., Theorem 3.5); trained networks can miss this a little. In these arms the
# coupling hardly changes how far a point goes. It changes how straight it goes.
#
# ## What does the assignment cost?
#
# The assignment of $n$ pairs takes time that grows about like $n^3$ for large $n$ (for few pairs the call itself costs more), a
# training step at most like $n$. Processor time on one core, and as a part of one training step of 256 points, or of 256
# digits:

# %% tags=["nbval-ignore-output"]
ms = measured["milliseconds"]
for n in (16, 64, 256, 1024):
    spent, step = ms[f"assignment of {n}"], ms["step, 256 points"]
    print(f"{n:5} points: {spent:7.2f} ms, {spent / step:6.2f} steps of 256 points")
spent, step = ms["assignment of 256 digits"], ms["step, 256 digits"]
print(f"  256 digits: {spent:7.2f} ms, {spent / step:6.2f} steps of 256 digits")

# %% [markdown]
# In the plane the assignment of 256 costs more than the training step itself; of 1,024 it costs a hundred times as much as a
# step of 256 points. (A step of 1,024 was not timed.) For digits it is about a twentieth of a step. So with pictures the
# coupling is nearly free, and, as seen above, changes the lines little.
#
# ## What you saw
#
# - The loss is a regression on the velocities of pairs; its optimum is their mean at each point, and that mean moves the right
#   density. With independent pairs nearly all of the loss is a floor. Each coupling has a floor of its own.
# - Optimal transport in groups of 256 leaves {{flow-dimension.ring}} of the mean squared length of the lines on the ring, and
#   {{flow-dimension.digits}} on digits (five sets of 768).
# - On the ring, in 1 step, the distance is {{flow-coupled-steps.ring_one.a}} with groups of 256, and
#   {{flow-coupled-steps.ring_one.b}} with independent pairs; on 25 Gaussians {{flow-coupled-steps.grid_one.a}} and
#   {{flow-coupled-steps.grid_one.b}}.
# - The nearest point makes the shortest lines, {{flow-nearest.line.a}}, and a wrong distribution: distance
#   {{flow-nearest.many.a}} in 64 steps, with optimal transport {{flow-nearest.many.b}}.
# - One round of reflow: 1 step at {{flow-two-ways.one.a}}, groups of 256 at {{flow-two-ways.one.b}}; 64 steps at
#   {{flow-two-ways.many.a}} and {{flow-two-ways.many.b}}.
#
# ## At full size
#
# Tong et al.'s code trains on CIFAR-10 in batches of 128 for 400,000 steps, with the coupling of each batch, and reports an FID
# of 3.5. Pooladian et al. report, on downsampled ImageNet, lower variance of the gradient and better samples at few
# evaluations. Common batches of the assignment are about 256. A later study (*On Fitting Flow Models with Large Sinkhorn
# Couplings*, 2025) couples thousands of times as many at once, by an approximate solver, and finds that pictures gain from it,
# too. That fits the plot of the digits: a group of 256 is small in many dimensions. For reflow on CIFAR-10, Liu et al.'s code
# suggests at least a million pairs. Ours had 10,000.
#
# **Where it goes deeper.** A coupling changes which pairs are trained on. Lesson 22 changes the solver instead.

# %% tags=["nbval-ignore-output"]
guesses(
    "flow-dimension.digits",
    "flow-coupled-steps.ring_one",
    "flow-second-round.verdict",
)

# %% [markdown]
# ## Think about it
#
# 1. In one dimension, how straight are the paths after one round of reflow, with a perfect first flow and a perfect training?
#
# <details><summary>Answer</summary>
#
# Perfectly straight. Paths of an ODE on a line cannot cross, so the first flow keeps the order of its points. Its pairs are
# coupled by rank, which is optimal transport. Lines between equals in rank do not cross, so each point $x_t$ belongs to one
# pair, and the marginal velocity is that pair's own. In the plane the flow's pairs need not be optimal, and their lines can
# cross. A study of 2024 (*On the Convergence and Straightness of Rectified Flow*) gives conditions under which one round is
# enough there, too.
#
# </details>
#
# 2. Two flows that were trained with different couplings have losses of 0.98 and 0.2. Which flow is better?
#
# <details><summary>Answer</summary>
#
# That cannot be said. Each loss is the distance from the arm's own marginal velocity plus a floor, and the floors differ. With
# the nearest point the loss is low and the distribution is wrong.
#
# </details>
#
# ## Words
#
# - **flow matching**: training a flow by regression on the velocities of paths between data and noise.
# - **conditional velocity**: the velocity of $x_t$ along the path of one pair.
# - **marginal velocity**: the mean of the conditional velocities of all pairs whose path passes $x_t$ at t.
# - **conditional flow matching**: the loss whose target is the conditional velocity; its optimum is the marginal one.
# - **optimal transport**: the coupling with the least mean squared distance.
# - **minibatch optimal transport**: optimal transport within each batch of data and noises.
# - **assignment problem**: one column for each row of a matrix, so that the sum is least.
#
# Used again: rectified flow (lesson 16), coupling (lesson 16), reflow (lesson 16), sliced Wasserstein distance (lesson 16),
# Euler's method (lesson 14), v-prediction (lesson 02).
#
# ## In practice
#
# One step of training in diffusers (0.42.1), with the coupling of the batch:
#
# ```python
# import torch
# from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
# from scipy.optimize import linear_sum_assignment
#
# blocks = dict(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2)
# unet = UNet2DModel(16, 1, 1, block_out_channels=[16, 16], norm_num_groups=4, **blocks)
# scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
# x0, eps = torch.rand(8, 1, 16, 16) * 2 - 1, torch.randn(8, 1, 16, 16)
# cost = torch.cdist(x0.flatten(1), eps.flatten(1)).square()
# eps = eps[linear_sum_assignment(cost)[1]]
# t = scheduler.timesteps[torch.randint(1000, (8,))]
# x_t = scheduler.scale_noise(x0, t, eps)
# assert torch.allclose(x_t, torch.lerp(x0, eps, (t / 1000).view(-1, 1, 1, 1)), atol=1e-5)
# loss = (unet(x_t, t).sample - (eps - x0)).square().mean()
# ```
#
# {{names}}
#
# | our name | diffusers' |
# |---|---|
# | $(1 - t)\,x_0 + t\,\epsilon$ | `FlowMatchEulerDiscreteScheduler.scale_noise(x0, t, eps)` |
# | `my_velocity_loss` | the loss in its training scripts; the library has no function for it |
# | `my_coupling` | none; the package torchcfm has `OTPlanSampler` |
#
# ## Next
#
# [24, One step, six ways](24_one_step.ipynb): networks that are trained to draw in one evaluation.
