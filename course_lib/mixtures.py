"""Gaussian mixtures: data whose noisy density, score and optimal denoiser have closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate


@dataclass(frozen=True, eq=False, repr=False)
class GaussianMixture:
    """A mixture of K isotropic Gaussians in D dimensions.

    weights (K,), positive, are normalised to sum to 1; means (K, D); stds (K,), positive; labels (K,), the class of each
    component (several may share a class; by default each has its own). Results have the dtype of x.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor
    labels: Tensor = None  # type: ignore[assignment]  # __post_init__ makes a tensor of None

    def __post_init__(self):
        means = torch.as_tensor(self.means, dtype=torch.float64)
        K = len(means)
        weights = torch.as_tensor(self.weights, dtype=torch.float64).expand(K)
        stds = torch.as_tensor(self.stds, dtype=torch.float64).expand(K)
        labels = torch.arange(K) if self.labels is None else torch.as_tensor(self.labels)
        if means.ndim != 2 or labels.shape != (K,):
            raise ValueError(f"means must be (K, D) and labels (K,), got {tuple(means.shape)}, {tuple(labels.shape)}")
        if not (weights > 0).all() or not (stds > 0).all():
            raise ValueError("weights and stds must be positive")
        for name, value in dict(weights=weights / weights.sum(), means=means, stds=stds, labels=labels).items():
            object.__setattr__(self, name, value)

    def __repr__(self):
        return f"GaussianMixture({len(self.means)} components in {self.dim} dimensions)"

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    def given(self, label: int) -> GaussianMixture:
        """The mixture of the components of one class. Raises ValueError if there is no such class."""
        keep = self.labels == label
        if not keep.any():
            known = ", ".join(map(str, sorted(set(self.labels.tolist()))))
            raise ValueError(f"label must be one of {known}, got {label}")
        return GaussianMixture(self.weights[keep], self.means[keep], self.stds[keep], self.labels[keep])

    def sample(self, n: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n random points (n, D), float32, and the class of each (n,)."""
        validate.at_least("n", n, 1)
        k = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        eps = torch.randn(n, self.dim, generator=rng, dtype=torch.float64)
        return (self.means[k] + self.stds[k, None] * eps).float(), self.labels[k]

    def noised(self, a: float | Tensor, b: float | Tensor) -> GaussianMixture:
        """The mixture that a x_0 + b eps is distributed as. a and b are numbers."""
        a, b = torch.as_tensor(a), torch.as_tensor(b)
        return GaussianMixture(self.weights, a * self.means, (a**2 * self.stds**2 + b**2).sqrt(), self.labels)

    def _log_joint(self, x: Tensor, a: float | Tensor, b: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p(k, x_t) (B, K), the differences x_t - a mean_k (B, K, D) and the variances (B or 1, K) at (a, b)."""
        weights, means, stds = (v.to(x.dtype).to(x.device) for v in (self.weights, self.means, self.stds))
        a, b = _like(x, a), _like(x, b)
        var = a**2 * stds**2 + b**2
        difference = x[:, None] - a[..., None] * means
        log_density = -(difference**2).sum(-1) / (2 * var) - self.dim / 2 * torch.log(2 * math.pi * var)
        return weights.log() + log_density, difference, var

    def _check(self, x: Tensor) -> Tensor:
        validate.batch("x", x)
        if x.shape[1:] != (self.dim,):
            raise ValueError(f"x must be points (B, {self.dim}), got shape {tuple(x.shape)}")
        return x

    def log_prob(self, x: Tensor, a=1.0, b=0.0) -> Tensor:
        """log q(x_t) (B,) at points x (B, D), where x_t = a x_0 + b eps."""
        return self._log_joint(self._check(x), a, b)[0].logsumexp(1)

    def score(self, x: Tensor, a=1.0, b=0.0) -> Tensor:
        """The gradient of log q(x_t) at x (B, D): the components' scores, weighted by the posterior p(k | x_t)."""
        log_joint, difference, var = self._log_joint(self._check(x), a, b)
        return (log_joint.softmax(1)[..., None] * -difference / var.expand_as(log_joint)[..., None]).sum(1)

    def score_slope(self, x: Tensor, a=1.0, b=0.0) -> Tensor:
        """The Jacobian of the score at x (B, D), which is the Hessian of log q(x_t): (B, D, D)."""
        log_joint, difference, var = self._log_joint(self._check(x), a, b)
        posterior, scores = log_joint.softmax(1), -difference / var.expand_as(log_joint)[..., None]
        outer = lambda v: v[..., :, None] * v[..., None, :]
        mean_hessian = (posterior / var).sum(1)[:, None, None] * torch.eye(self.dim, dtype=x.dtype, device=x.device)
        second_moment = (posterior[..., None, None] * outer(scores)).sum(1)
        return second_moment - outer((posterior[..., None] * scores).sum(1)) - mean_hessian

    def posterior_mean(self, x: Tensor, a, b) -> Tensor:
        """E[x_0 | x_t = x] (B, D). a and b are numbers or (B, 1).

        Within component k, E[x_0] = mean_k + a std_k^2 / var_k (x - a mean_k): regression of one Gaussian on another.
        """
        log_joint, difference, var = self._log_joint(self._check(x), a, b)
        means, stds = (v.to(x.dtype).to(x.device) for v in (self.means, self.stds))
        gain = (_like(x, a) * stds**2 / var).expand_as(log_joint)
        return (log_joint.softmax(1)[..., None] * (means + gain[..., None] * difference)).sum(1)

    def class_log_probabilities(self, x: Tensor, a=1.0, b=0.0) -> Tensor:
        """log P(c | x_t = x) (B, C), classes in ascending order; a and b are numbers or (B, 1)."""
        log_joint = self._log_joint(self._check(x), a, b)[0]
        of_class = (self.labels == c for c in self.labels.unique())
        return torch.stack([log_joint[:, members.to(x.device)].logsumexp(1) for members in of_class], 1).log_softmax(1)

    def class_probabilities(self, x: Tensor, a=1.0, b=0.0) -> Tensor:
        """P(c | x_t = x) (B, C), classes in ascending order: the optimal classifier of noisy points."""
        return self.class_log_probabilities(x, a, b).exp()


def _like(x: Tensor, value: float | Tensor) -> Tensor:
    """A number or a tensor in x's dtype, on x's device."""
    return torch.as_tensor(value).to(x.dtype).to(x.device)
