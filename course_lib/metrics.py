"""How far one crowd of samples is from another. Each figure means little without its floor: real against real.

Points (N, D) and features (N, D) are compared alike; for pictures, use the classifier's `features`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import validate
from course_lib.mixtures import GaussianMixture


def _two(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both crowds in float64, checked: (N, D) and (M, D) with the same D."""
    validate.batch("x", x)
    validate.batch("y", y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must be (N, D) and (M, D), got shapes {tuple(x.shape)} and {tuple(y.shape)}")
    return x.detach().double(), y.detach().double()


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """The squared Frechet distance between the Gaussians fitted to x (N, D) and y (M, D). Heusel et al. 2017, eq. 6.

    |mean_x - mean_y|^2 + trace(C_x + C_y - 2 (C_x C_y)^(1/2)). It is biased upwards for few samples: compare only figures with
    the same N and M. Raises ValueError for fewer than two samples.
    """
    x, y = _two(x, y)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"x and y must hold two samples or more, got {len(x)} and {len(y)}")
    cov_x, cov_y = torch.cov(x.T).reshape(x.shape[1], -1), torch.cov(y.T).reshape(x.shape[1], -1)
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # trace (C_x C_y)^(1/2) is that of the symmetric (C_x^(1/2) C_y C_x^(1/2))^(1/2), whose eigenvalues are real
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross)


def precision_recall(real: Tensor, made: Tensor, k: int = 3) -> tuple[float, float]:
    """The share of `made` (M, D) that lies among `real` (N, D), and of `real` among `made`. Kynkaanniemi et al. 2019, eq. 1.

    'Among' is: nearer to some point than that point's own k-th neighbour is. Raises ValueError for k or fewer samples.
    """
    real, made = _two(real, made)
    if min(len(real), len(made)) <= k:
        raise ValueError(f"real and made must hold more than k = {k} samples, got {len(real)} and {len(made)}")

    def among(inner: Tensor, outer: Tensor) -> float:
        radius = torch.cdist(outer, outer).kthvalue(k + 1, dim=1).values  # the nearest of all is the point itself
        return float((torch.cdist(inner, outer) <= radius).any(1).double().mean())

    return among(made, real), among(real, made)


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 200, seed: int = 0) -> float:
    """The 2-Wasserstein distance between x (N, D) and y (M, D), root mean square over random lines. Bonneel et al. 2015.

    On a line it pairs the sorted samples; where N and M differ, their quantiles. In the units of x.
    """
    x, y = _two(x, y)
    rng = torch.Generator().manual_seed(seed)
    line = torch.randn(x.shape[1], validate.at_least("directions", directions, 1), generator=rng, dtype=torch.float64).to(
        x.device
    )
    line = line / line.norm(dim=0)
    x, y = (x @ line).sort(0).values, (y @ line).sort(0).values
    n = max(len(x), len(y))
    at = (torch.arange(n, dtype=torch.float64, device=x.device) + 0.5) / n
    x, y = (v[(at * len(v)).long()] for v in (x, y))
    return float((x - y).square().mean().sqrt())


def mmd(x: Tensor, y: Tensor, width: float | None = None) -> float:
    """The squared maximum mean discrepancy, unbiased, of x (N, D) and y (M, D). Gretton et al. 2012, eq. 3.

    The kernel is exp(-|x - y|^2 / (2 width^2)); `width` is the median distance in y unless given. Its mean is 0 where both
    crowds have one law, so that it may be a little below.
    """
    x, y = _two(x, y)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"x and y must hold two samples or more, got {len(x)} and {len(y)}")
    width = width or float(torch.pdist(y[:2000]).median())
    kernel = lambda u, v: torch.exp(-torch.cdist(u, v).square() / (2 * width**2))
    within = lambda u: (kernel(u, u).sum() - len(u)) / (len(u) * (len(u) - 1))
    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def accuracy(log_odds: Tensor, label: Tensor) -> float:
    """The share of a classifier's answers (N, C) that are right, given labels (N,)."""
    validate.batch("log_odds", log_odds)
    if label.shape != log_odds.shape[:1]:
        raise ValueError(f"label must be (N,) for log_odds (N, C), got shapes {tuple(label.shape)}, {tuple(log_odds.shape)}")
    return float((log_odds.argmax(1) == label).double().mean())


def floor(metric: Callable[[Tensor, Tensor], float], real: Tensor, n: int, repeats: int = 5, seed: int = 0) -> float:
    """What `metric` gives for real against real: its mean over `repeats` random pairs of n samples each out of `real` (N, D).

    No model can be expected to do better with n samples. Raises ValueError where there are fewer than 2 n.
    """
    if not 2 <= n <= len(real) // 2:
        raise ValueError(f"n must lie in 2..{len(real) // 2}, half of what is there, got {n}")
    rng = torch.Generator().manual_seed(seed)
    halves = (real[torch.randperm(len(real), generator=rng)[: 2 * n].to(real.device)] for _ in range(repeats))
    return sum(metric(both[:n], both[n:]) for both in halves) / repeats


def modes(x: Tensor, mixture: GaussianMixture, within: float = 4.0, share: float = 0.2) -> tuple[int, float]:
    """How many of a mixture's components points x (N, D) cover, and the share of x that lies in none: in 0..K, in 0..1.

    A point lies in its nearest component if it is within so many standard deviations of its mean (as in Srivastava et al.
    2017, with 3). A component is covered if it holds at least `share` of the points that it should hold by its weight.
    """
    if validate.batch("x", x).shape[1:] != mixture.means.shape[1:]:
        raise ValueError(f"x must be points (N, {mixture.dim}), got shape {tuple(x.shape)}")
    distance, nearest = (torch.cdist(x.detach().double().cpu(), mixture.means) / mixture.stds).min(1)
    inside = distance <= within
    held = torch.bincount(nearest[inside], minlength=len(mixture.means)) / len(x)
    return int((held >= share * mixture.weights).sum()), float((~inside).double().mean())


def memorisation(x: Tensor, known: Tensor, n: int = 50) -> tuple[Tensor, Tensor]:
    """How much nearer each of x (B, ...) is to one of `known` (N, ...) than to the others, and which one: (B,) and (B,).

    The distance to the nearest over the mean distance to the n nearest, in 0..1: near 1 for what is merely alike, near 0 for
    a copy. Carlini et al. 2023, section 5.1, without their factor. `known` holds each picture once, however often a model was
    shown it. Raises ValueError where there are fewer than n.
    """
    if validate.at_least("n", n, 2) > len(known):
        raise ValueError(f"n must be at most the {len(known)} that are known, got {n}")
    x, known = _two(x.flatten(1), known.flatten(1))
    distance, which = torch.cdist(x, known).topk(n, dim=1, largest=False)
    return distance[:, 0] / distance.mean(1).clamp(min=1e-12), which[:, 0]
