"""Gaussian mixtures: data whose noisy density, score and optimal denoiser have closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from course_lib import validate


@dataclass(frozen=True, eq=False, repr=False)
class GaussianMixture:
    """A mixture of K isotropic Gaussians in D dimensions.

    weights (K,), positive, are normalised to sum to 1; means (K, D); stds (K,), positive; labels (K,), the class of each
    component (several may share a class; by default each has its own). Results have the dtype of x.
    Raises TypeError or ValueError, with the name of the tensor that is not so.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor
    labels: Tensor = None  # type: ignore[assignment]  # __post_init__ makes a tensor of None

    def __post_init__(self):
        means = validate.batch("means", _numbers("means", self.means), "D")
        K = len(means)
        weights, stds = (_positive(name, getattr(self, name), K) for name in ("weights", "stds"))
        labels = range(K) if self.labels is None else self.labels
        labels = validate.tensor("labels", labels)
        if len(validate.indices("labels", labels)) != K:
            raise ValueError(f"labels must be ({K},), one for each of means, got {tuple(labels.shape)}")
        for name, value in dict(weights=weights / weights.sum(), means=means, stds=stds, labels=labels.cpu()).items():
            object.__setattr__(self, name, value)

    def __repr__(self):
        return f"GaussianMixture({len(self.means)} components in {self.dim} dimensions)"

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    def given(self, label: int) -> GaussianMixture:
        """The mixture of the components of one class. Raises ValueError if there is no such class."""
        keep = self.labels == validate.choice("label", label, self.labels.unique().tolist())
        return GaussianMixture(self.weights[keep], self.means[keep], self.stds[keep], self.labels[keep])

    def sample(self, n: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n random points (n, D), float32, and the class of each (n,)."""
        validate.at_least("n", n, 1)
        validate.generator("rng", rng)
        k = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        eps = torch.randn(n, self.dim, generator=rng, device="cpu", dtype=torch.float64)
        return (self.means[k] + self.stds[k, None] * eps).float(), self.labels[k]

    def noised(self, a: float | Tensor, b: float | Tensor) -> GaussianMixture:
        """The mixture that a x_0 + b eps is distributed as. a and b are numbers."""
        a, b = _number("a", a), _number("b", b)
        return GaussianMixture(self.weights, a * self.means, (a**2 * self.stds**2 + b**2).sqrt(), self.labels)

    def _log_joint(self, x: Tensor, a: float | Tensor, b: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p(k, x_t) (B, K), the differences x_t - a mean_k (B, K, D) and the variances (B or 1, K) at (a, b)."""
        weights, means, stds = (v.to(x.dtype).to(x.device) for v in (self.weights, self.means, self.stds))
        a, b = _like(x, "a", a), _like(x, "b", b)
        var = a**2 * stds**2 + b**2
        difference = x[:, None] - a[..., None] * means
        log_density = -(difference**2).sum(-1) / (2 * var) - self.dim / 2 * torch.log(2 * math.pi * var)
        return weights.log() + log_density, difference, var

    def _check(self, x: Tensor) -> Tensor:
        return validate.batch("x", x, self.dim)

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
        gain = (_like(x, "a", a) * stds**2 / var).expand_as(log_joint)
        return (log_joint.softmax(1)[..., None] * (means + gain[..., None] * difference)).sum(1)

    def class_log_probabilities(self, x: Tensor, a=1.0, b=0.0) -> Tensor:
        """log P(c | x_t = x) (B, C), classes in ascending order; a and b are numbers or (B, 1)."""
        log_joint = self._log_joint(self._check(x), a, b)[0]
        of_class = (self.labels == c for c in self.labels.unique())
        return torch.stack([log_joint[:, members.to(x.device)].logsumexp(1) for members in of_class], 1).log_softmax(1)

    def class_probabilities(self, x: Tensor, a=1.0, b=0.0) -> Tensor:
        """P(c | x_t = x) (B, C), classes in ascending order: the optimal classifier of noisy points."""
        return self.class_log_probabilities(x, a, b).exp()


def _like(x: Tensor, name: str, value: float | Tensor) -> Tensor:
    """A number, or a tensor with one for all of x or for each, in x's dtype, on x's device."""
    if not isinstance(value, Tensor):
        value = torch.tensor(validate.finite(name, value), device="cpu", dtype=torch.float64)
    elif value.ndim and len(value) not in (1, len(x)):
        raise ValueError(f"{name} must be one number or one for each of the batch of {len(x)}, got {len(value)}")
    return value.to(x.dtype).to(x.device)


def _numbers(name: str, value: Any) -> Tensor:
    """Numbers, or nested lists of them, as a float64 tensor on the CPU. Raises TypeError or ValueError unless finite."""
    numbers = validate.tensor(name, value, dtype=torch.float64).cpu().double()
    if not numbers.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return numbers


def _number(name: str, value: float | Tensor) -> Tensor:
    """One number as a float64 tensor () on the CPU. Raises TypeError or ValueError for anything else."""
    one = isinstance(value, Tensor) and value.numel() == 1
    return _numbers(name, value if one else validate.finite(name, cast(float, value))).view(())


def _positive(name: str, value: Any, K: int) -> Tensor:
    """The positive numbers (K,) of one number or K. Raises TypeError or ValueError for others."""
    numbers = _numbers(name, value)
    if numbers.shape not in ((), (K,)) or not (numbers > 0).all():
        raise ValueError(f"{name} must be positive, one number or {K}, got {numbers.tolist()}")
    return numbers.expand(K)
