"""Distances between two sets of samples. Compare each with its noise floor, the same metric between two sets of real samples.

Samples are points or features (N, D); for pictures, use the classifier's `features`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import validate
from course_lib.mixtures import GaussianMixture
from course_lib.process import seeded


def _two(x: Tensor, y: Tensor, first: str = "x", second: str = "y") -> tuple[Tensor, Tensor]:
    """Both sets in float64 on the CPU, (N, D) and (M, D). Raises TypeError or ValueError, with their names, otherwise."""
    validate.batch(first, x)
    validate.batch(second, y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"{first} and {second} must be (N, D) and (M, D), got shapes {shapes}")
    return x.detach().cpu().double(), y.detach().cpu().double()


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """The squared Frechet distance between Gaussians fitted to x (N, D) and y (M, D). Heusel et al. 2017, eq. 6.

    |mean_x - mean_y|^2 + trace(C_x + C_y - 2 (C_x C_y)^(1/2)). It is biased upwards for few samples, so that only figures with
    the same N and M are comparable. Raises ValueError for fewer than two samples.
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
    """The fraction of `made` (M, D) in the manifold of `real` (N, D), and the reverse. Kynkaanniemi et al. 2019, eq. 1.

    The manifold is the union of balls around the points, each with the distance to its k-th neighbour as radius. Raises
    ValueError for k or fewer samples.
    """
    real, made = _two(real, made, "real", "made")
    if min(len(real), len(made)) <= validate.at_least("k", k, 1):
        raise ValueError(f"real and made must hold more than k = {k} samples, got {len(real)} and {len(made)}")

    def fraction_in(x: Tensor, support: Tensor) -> float:
        radius = torch.cdist(support, support).kthvalue(k + 1, dim=1).values  # the nearest point is the point itself
        return float((torch.cdist(x, support) <= radius).any(1).double().mean())

    return fraction_in(made, real), fraction_in(real, made)


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 200, seed: int = 0) -> float:
    """The sliced 2-Wasserstein distance between x (N, D) and y (M, D), in the units of x. Bonneel et al. 2015.

    It is the root mean square over random directions. In each, sorted projections are paired, or quantiles if N and M differ.
    """
    x, y = _two(x, y)
    shape = x.shape[1], validate.at_least("directions", directions, 1)
    direction = torch.randn(shape, generator=seeded(seed), device="cpu", dtype=torch.float64)
    direction = direction / direction.norm(dim=0)
    x, y = (x @ direction).sort(0).values, (y @ direction).sort(0).values
    n = max(len(x), len(y))
    at = (torch.arange(n, device="cpu", dtype=torch.float64) + 0.5) / n
    x, y = (v[(at * len(v)).long()] for v in (x, y))
    return float((x - y).square().mean().sqrt())


def accuracy(logits: Tensor, label: Tensor) -> float:
    """The fraction of logits (N, C) whose largest is that of the label (N,)."""
    validate.batch("logits", logits, "C")
    if validate.indices("label", label).shape != logits.shape[:1]:
        raise ValueError(f"label must be (N,) for logits (N, C), got shapes {tuple(label.shape)}, {tuple(logits.shape)}")
    return float((logits.argmax(1).cpu() == label.cpu()).double().mean())


def floor(metric: Callable[[Tensor, Tensor], float], real: Tensor, n: int, repeats: int = 5, seed: int = 0) -> float:
    """The noise floor of `metric`: its mean over `repeats` random pairs of disjoint sets of n samples from `real` (N, D).

    No model can be expected to score better with n samples. Raises ValueError if there are fewer than 2 n.
    """
    if validate.at_least("n", n, 2) > len(validate.batch("real", real)) // 2:
        raise ValueError(f"n must lie in 2..{len(real) // 2}, half of what is there, got {n}")
    validate.function("metric", metric)
    validate.sizes(repeats=repeats)
    rng, order = seeded(seed), lambda: torch.randperm(len(real), generator=rng, device="cpu")
    halves = (real[order()[: 2 * n].to(real.device)] for _ in range(repeats))
    return sum(metric(both[:n], both[n:]) for both in halves) / repeats


def modes(x: Tensor, mixture: GaussianMixture, within: float = 4.0, share: float = 0.2) -> tuple[int, float]:
    """The number of a mixture's components that points x (N, D) cover, in 0..K, and the fraction of x outside all of them.

    A point is in its nearest component if it is at most `within` standard deviations from its mean (3 in Srivastava et al.
    2017). A component is covered if it has at least `share` of the points expected from its weight.
    """
    validate.batch("x", x, validate.instance("mixture", mixture, GaussianMixture).dim)
    validate.positive("within", within)
    validate.finite("share", validate.positive("share", share), 0, 1)
    distance, nearest = (torch.cdist(x.detach().cpu().double(), mixture.means) / mixture.stds).min(1)
    inside = distance <= within
    fraction = torch.bincount(nearest[inside], minlength=len(mixture.means)).double() / len(x)
    return int((fraction >= share * mixture.weights).sum()), float((~inside).double().mean())


def memorisation(x: Tensor, known: Tensor, n: int = 50) -> tuple[Tensor, Tensor]:
    """The distance of each of x (B, ...) to the nearest of `known` (N, ...), relative, and the index of that one: (B,), (B,).

    It is divided by the mean distance to the n nearest: near 0 for a copy, near 1 for a picture that is only similar. Carlini
    et al. 2023, section 5.1, without their factor. `known` has each training picture once, even if it was duplicated in
    training. Raises ValueError if there are fewer than n.
    """
    if validate.at_least("n", n, 2) > len(validate.batch("known", known)):
        raise ValueError(f"n must be at most the {len(known)} that are known, got {n}")
    x, known = _two(validate.batch("x", x).flatten(1), known.flatten(1), "x", "known")
    distance, index = torch.cdist(x, known).topk(n, dim=1, largest=False)
    return distance[:, 0] / distance.mean(1).clamp(min=1e-12), index[:, 0]
