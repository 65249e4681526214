"""What guidance is often said to sample, p(x) p(c | x)^w, and what it does sample: two densities, both exact, in the plane.

Guided sampling with eta = 0 is a map from noise z to points x. Of a Gaussian mixture all is known in closed form, the map's
slope too: so the density of the points where they land is N(z) / |det dx/dz|, with no histogram and no luck in it.
`widgets/guided.js` computes the same in a page.
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
from course_lib.samplers import ddim, moves


@dataclass(frozen=True, eq=False)
class Plane:
    """A grid over the plane to do sums on: `side`^2 places, from -reach to reach both ways."""

    reach: float
    side: int

    @property
    def line(self) -> Tensor:
        return torch.linspace(-self.reach, self.reach, self.side, dtype=torch.float64)

    @property
    def places(self) -> Tensor:
        """(side^2, 2), the first coordinate slowest, in float64."""
        return torch.cartesian_prod(self.line, self.line)

    @property
    def area(self) -> float:
        """What each place stands for."""
        return (2 * self.reach / (self.side - 1)) ** 2


NOISE, DATA = Plane(4.5, 61), Plane(3.5, 121)


def tilted_log_density(mixture: GaussianMixture, label: int, w: float, x: Tensor, over: Plane = DATA) -> Tensor:
    """log of p(x) p(label | x)^w, made to sum to 1 over the plane, at points x (B, 2): (B,).

    `label` counts the mixture's classes in ascending order.
    """
    log_f = lambda x: mixture.log_prob(x) + w * mixture.class_log_probabilities(x)[:, label]
    return log_f(x) - log_f(over.places).logsumexp(0) - math.log(over.area)


def guided_points(
    mixture: GaussianMixture, label: int, w: float, process: Process, times: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    """Where DDIM, guided by w with exact scores, takes each noise z (B, 2): points x (B, 2), and log |det dx/dz| (B,).

    One move from (a, b) to (a', b') is x' = (a' / a) x + (a' b^2 / a - b' b) score (`ddim`, written in the score), so that its
    slope is known where the score's is.
    """
    validate.finite("w", w)
    process_at = lambda t: (float(process.signal(t)), float(process.noise(t)))
    guided = ClassifierFree(ExactDenoiser(mixture.given(label), process), ExactDenoiser(mixture, process), w)
    log_det, film = torch.zeros(len(z), dtype=z.dtype), ddim(guided, z, times)
    for (t, s), step in zip(moves(z, times), film):
        (a, b), (after, left) = process_at(t), process_at(s)
        slope = mixture.score_slope(step.x, a, b)
        slope = slope + w * (mixture.given(label).score_slope(step.x, a, b) - slope)
        of_x, of_score = after / a, after * b**2 / a - left * b
        log_det = log_det + torch.linalg.det(of_x * torch.eye(2, dtype=z.dtype) + of_score * slope).abs().log()
    return next(film).x, log_det


def distance(
    mixture: GaussianMixture, label: int, w: float, process: Process, times: Tensor, noise: Plane = NOISE, data: Plane = DATA
) -> float:
    """The total variation distance between guided samples and p(x) p(label | x)^w: the share of points that would have to move.

    In 0..1. The sum over the noise grid of N(z) (1 - tilted / guided)_+, both densities taken where z lands.
    """
    z = noise.places
    x, log_det = guided_points(mixture, label, w, process, times, z)
    log_noise = -(z**2).sum(1) / 2 - math.log(2 * math.pi)
    ratio = (tilted_log_density(mixture, label, w, x, data) - log_noise + log_det).exp()
    return float((log_noise.exp() * noise.area * (1 - ratio).clamp(min=0)).sum())
