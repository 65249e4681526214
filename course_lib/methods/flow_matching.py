"""Flow matching: the loss of a rectified flow for any coupling of data and noise, couplings by optimal transport, and reflow.

A coupling says which noise belongs to which data. Here it is a batch of pairs: row i of x0 (B, ...) and row i of eps (B, ...).
Independent draws of both are the independent coupling.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.process import RectifiedFlow
from course_lib.samplers import rectified_flow, sample


def flow_matching_loss(denoiser: Denoiser, x0: Tensor, eps: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """The conditional flow matching loss of pairs x0 and eps, each (B, ...): the mean squared error of the velocity, ().

    Lipman et al. 2023, eq. 20 and 21 with sigma_min = 0; for any coupling Tong et al. 2024, eq. 14 and 15 with sigma = 0.
    In both, time runs from noise to data. The times come from `process.sample_t`. Raises TypeError unless the process is a
    rectified flow, ValueError where x0 and eps differ in shape.
    """
    process = validate.instance("denoiser", denoiser, Denoiser).process
    if not isinstance(process, RectifiedFlow):
        raise TypeError(f"denoiser must be one of a RectifiedFlow process, got one of {process!r}")
    validate.like("eps", eps, "x0", validate.batch("x0", x0))
    t = process.sample_t(len(x0), rng)
    return (denoiser(process.add_noise(x0, t, eps), t).flow - (eps - x0)).square().mean()


def optimal_transport(x0: Tensor, eps: Tensor, size: int = 256) -> Tensor:
    """The rows of eps (B, ...) in the order in which they are coupled with x0 (B, ...): minibatch optimal transport.

    In each group of `size` neighbouring rows the order is the one with the smallest mean squared distance of the pairs
    (Tong et al. 2024, eq. 17; Pooladian et al. 2023), found exactly, by scipy's linear_sum_assignment. A last group may be
    smaller. With size = 1 the coupling stays as it is. Raises ValueError where x0 and eps differ in shape.
    """
    from scipy.optimize import linear_sum_assignment  # only here: no other function of the library needs scipy

    validate.like("eps", eps, "x0", validate.batch("x0", x0))
    validate.at_least("size", size, 1)
    order = []
    for start in range(0, len(x0), size):
        a, b = (v[start : start + size].detach().cpu().double().flatten(1) for v in (x0, eps))
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
        order.append(start + torch.from_numpy(linear_sum_assignment(squares.numpy())[1]))
    return eps[torch.cat(order).to(eps.device)]


def reflow(
    denoiser: Denoiser, fit: Callable[[Denoiser, Tensor, Tensor], Denoiser], eps: Tensor, n: int = 64, rounds: int = 1
) -> list[Denoiser]:
    """The denoisers after 0, 1, .. rounds of reflow, a list of rounds + 1. Liu et al. 2023, Algorithm 1.

    In a round the last flow takes the noises eps (B, ...) to its samples x0 (B, ...) in n Euler steps, and
    `fit(denoiser, x0, eps)` returns a denoiser that is trained on these pairs. Raises TypeError unless the process is a
    rectified flow.
    """
    validate.instance("denoiser", denoiser, Denoiser)
    validate.function("fit", fit)
    validate.batch("eps", eps)
    flows = [denoiser]
    for _ in range(validate.at_least("rounds", rounds, 1)):
        flows.append(fit(flows[-1], sample(flows[-1], eps, n, rectified_flow, batch=1000), eps))
    return flows
