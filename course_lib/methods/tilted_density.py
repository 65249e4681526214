"""The tilted density p(x) p(c | x)^w, which guidance is often said to sample, and the density that it does sample.

Guided sampling with eta = 0 is a deterministic map from noise z to points x. For a Gaussian mixture in the plane the map's
Jacobian has a closed form, and the density at x is N(z) / |det dx/dz|, without any estimate. `widgets/guided.js` computes the
same in a page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import ExactDenoiser
from course_lib.guidance import ClassifierFree
from course_lib.mixtures import GaussianMixture
from course_lib.process import Process
from course_lib.samplers import ddim, time_pairs


@dataclass(frozen=True, eq=False)
class Plane:
    """A grid for sums over the plane: `side`^2 points, from -reach to reach in both coordinates."""

    reach: float
    side: int

    def __post_init__(self):
        validate.positive("reach", self.reach)
        validate.at_least("side", self.side, 2)

    @property
    def line(self) -> Tensor:
        """The coordinates along one axis (side,), in float64."""
        return torch.linspace(-self.reach, self.reach, self.side, device="cpu", dtype=torch.float64)

    @property
    def places(self) -> Tensor:
        """The points (side^2, 2) in float64; the first coordinate changes slowest."""
        return torch.cartesian_prod(self.line, self.line)

    @property
    def area(self) -> float:
        """The area of one cell of the grid."""
        return (2 * self.reach / (self.side - 1)) ** 2


NOISE, DATA = Plane(4.5, 61), Plane(3.5, 121)


def _class_of(mixture: GaussianMixture, label: int) -> int:
    """The index of the label among the classes of a mixture in the plane; raises TypeError or ValueError if there is none."""
    if validate.instance("mixture", mixture, GaussianMixture).dim != 2:
        raise ValueError(f"mixture must be of points in the plane (B, 2), got {mixture}")
    classes = mixture.labels.unique().tolist()
    return classes.index(validate.choice("label", label, classes))


def tilted_log_density(mixture: GaussianMixture, label: int, w: float, x: Tensor, over: Plane = DATA) -> Tensor:
    """The logarithm of p(x) p(label | x)^w, normalised over the plane, at points x (B, 2): (B,).

    Raises ValueError for a label that the mixture does not have.
    """
    column = _class_of(mixture, label)
    validate.finite("w", w)
    validate.instance("over", over, Plane)
    log_f = lambda x: mixture.log_prob(x) + w * mixture.class_log_probabilities(x)[:, column]
    return log_f(x) - log_f(over.places).logsumexp(0) - math.log(over.area)


def guided_points(
    mixture: GaussianMixture, label: int, w: float, process: Process, times: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    """The results x (B, 2) of DDIM from noise z (B, 2), guided by w with exact scores, and log |det dx/dz| (B,).

    One move from (a, b) to (a', b') is x' = (a' / a) x + (a' b^2 / a - b' b) score (`ddim`, in terms of the score), so that
    its Jacobian follows from that of the score.
    """
    _class_of(mixture, label)
    validate.finite("w", w)
    validate.instance("process", process, Process)
    validate.batch("z", z, 2)
    at = lambda t: (process.signal(t), process.noise(t))  # tensors in float64
    guided = ClassifierFree(ExactDenoiser(mixture.given(label), process), ExactDenoiser(mixture, process), w)
    log_det, steps = z.new_zeros(len(z)), ddim(guided, z, times)
    for (t, s), step in zip(time_pairs(z, times), steps):
        (a, b), (a_s, b_s) = at(t), at(s)
        slope = mixture.score_slope(step.x, a, b)
        slope = slope + w * (mixture.given(label).score_slope(step.x, a, b) - slope)
        of_x, of_score = a_s / a, a_s * b**2 / a - b_s * b
        log_det = log_det + torch.linalg.det(of_x * torch.eye(2, device=z.device, dtype=z.dtype) + of_score * slope).abs().log()
    return next(steps).x, log_det


def distance(
    mixture: GaussianMixture, label: int, w: float, process: Process, times: Tensor, noise: Plane = NOISE, data: Plane = DATA
) -> float:
    """The total variation distance, in 0..1, between the density of guided samples and p(x) p(label | x)^w.

    It is the sum over the noise grid of N(z) (1 - tilted / guided)_+, with both densities at the point x that z is mapped to.
    """
    validate.instance("data", data, Plane)
    z = validate.instance("noise", noise, Plane).places
    x, log_det = guided_points(mixture, label, w, process, times, z)
    log_noise = -(z**2).sum(1) / 2 - math.log(2 * math.pi)
    ratio = (tilted_log_density(mixture, label, w, x, data) - log_noise + log_det).exp()
    return float((log_noise.exp() * noise.area * (1 - ratio).clamp(min=0)).sum())
