"""Muon, an optimizer for weights that are matrices: each step is orthogonal, whatever the gradient's scale."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from course_lib import validate

QUINTIC = 3.4445, -4.775, 2.0315
"""The coefficients of one step of the Newton-Schulz iteration. Jordan et al. 2024 chose them for a steep slope at 0."""


def orthogonal(matrix: Tensor, steps: int = 3) -> Tensor:
    """About the nearest matrix to `matrix` (M, N) whose singular values are all equal to 1: they come near 1, up to 1.3.

    Each of the Newton-Schulz `steps` maps a singular value s to a s + b s^3 + c s^5, so that no decomposition is needed. Jordan
    et al. take five. With three the smallest lag behind and a step costs less; on the digits the two cannot be told apart.

    Raises ValueError unless all numbers are finite.
    """
    validate.batch("matrix", matrix, "N")
    (a, b, c), tall = QUINTIC, matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)  # no singular value is larger than this norm
    for _ in range(validate.at_least("steps", steps, 1)):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # a x + (b gram + c gram^2) x
    return x.T if tall else x


def hidden(net: nn.Module) -> list[Tensor]:
    """The weights of net that Muon is for: its convolutions, or where it has none its linear layers, but the first and last."""
    validate.instance("net", net, nn.Module)
    kinds: list[tuple[type[nn.Module], ...]] = [(nn.Conv2d, nn.ConvTranspose2d), (nn.Linear,)]
    found = ([cast(Tensor, m.weight) for m in net.modules() if isinstance(m, kind)] for kind in kinds)
    return next(filter(None, found), [])[1:-1]


class Muon(torch.optim.Optimizer):
    """Muon: w falls by lr sqrt(max(1, M / N)) O, with O the `orthogonal` matrix of the gradient's Nesterov momentum.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". A weight (M, ...) counts as a matrix (M, N);
    a convolution's therefore is (channels out, the rest). Meant for the layers between the first and the last. torch's own
    `torch.optim.Muon` takes matrices only, and its bfloat16 is slow on a CPU.

    Raises ValueError for a weight of one dimension, an lr that is not positive, or a momentum outside [0, 1).
    """

    def __init__(self, weights: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95):
        weights = list(weights)
        validate.positive("lr", lr)
        if not 0 <= validate.finite("momentum", momentum) < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        for w in weights:
            if validate.instance("weights", w, Tensor).ndim < 2:
                raise ValueError(f"weights must have two dimensions or more, got shape {tuple(w.shape)}")
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Changes each weight that has a gradient."""
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                average = self.state[w].setdefault("average", torch.zeros_like(w))
                average.lerp_(w.grad, 1 - group["momentum"])
                change = orthogonal(w.grad.lerp(average, group["momentum"]).flatten(1))
                rows, columns = change.shape
                w.sub_(group["lr"] * max(1, rows / columns) ** 0.5 * change.view_as(w))
