"""Metrics against closed forms."""

import math

import pytest
import torch

from course_lib.datasets.points import circle, ring
from course_lib.metrics import accuracy, floor, frechet_distance, memorisation, modes, precision_recall, sliced_wasserstein
from course_lib.process import seeded


def normal(n, d=3, seed=0):
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


def exactly(n, mean, cov):
    """n samples whose mean and covariance are these exactly, not just about."""
    x = normal(n, len(mean), seed=n)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False).T
    return white @ torch.linalg.cholesky(cov).T + mean


def test_frechet_distance_of_two_gaussians():
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    a, b = torch.diag(torch.tensor([4.0, 9.0])).double(), torch.diag(torch.tensor([1.0, 25.0])).double()
    x, y = exactly(50, mean, a), exactly(60, mean * 0, b)
    assert frechet_distance(x, y) == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 5) ** 2)
    turn = torch.tensor([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]], dtype=torch.float64)
    assert frechet_distance(x @ turn.T, y @ turn.T) == pytest.approx(10)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_covariances_that_do_not_commute():
    a = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    b = torch.tensor([[3.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    roots = torch.linalg.eigvals(a @ b).real.sqrt().sum()  # of a product of positive matrices: real and positive
    expected = float(a.trace() + b.trace() - 2 * roots)
    assert frechet_distance(exactly(50, a[0] * 0, a), exactly(70, a[0] * 0, b)) == pytest.approx(expected)


def test_sliced_wasserstein_of_a_shift():
    """Every line sees a shift of s cos(angle): root mean square s / sqrt(D)."""
    x, shift = normal(500), torch.tensor([3.0, 0.0, 4.0])
    assert sliced_wasserstein(x, x + shift, directions=20_000) == pytest.approx(5 / math.sqrt(3), rel=0.02)
    assert sliced_wasserstein(x, x.flip(0)) == 0
    assert sliced_wasserstein(x, x.repeat(3, 1)) == pytest.approx(0, abs=1e-12)


def test_metrics_of_collapsed_samples_are_finite():
    spread, one = normal(20, 2), torch.ones(20, 2, dtype=torch.float64)
    for x, y in ((spread, one), (one, spread), (one, one), (one, 2 * one)):
        distance, index = memorisation(x, y, 5)
        values = [frechet_distance(x, y), *precision_recall(x, y), sliced_wasserstein(x, y), floor(sliced_wasserstein, x, 5)]
        values += [*modes(x, ring()), *distance.tolist(), *index.tolist()]
        assert all(math.isfinite(value) for value in values)
    assert frechet_distance(one, one) == 0 and frechet_distance(one, 2 * one) == pytest.approx(2)
    assert precision_recall(one, one) == (1, 1) and precision_recall(one, 2 * one) == (0, 0)


def test_precision_and_recall_tell_apart_what_is_false_and_what_is_missing():
    left, right = 0.1 * normal(300, 2, 1), 0.1 * normal(300, 2, 2) + 10
    both = torch.cat([left, right])
    assert precision_recall(left, right) == (0, 0) and precision_recall(both, both) == (1, 1)
    precision, recall = precision_recall(both, 0.1 * normal(300, 2, 3))
    assert precision > 0.9 and 0.4 < recall <= 0.5
    precision, recall = precision_recall(0.1 * normal(300, 2, 3), both)
    assert 0.4 < precision <= 0.5 and recall > 0.9


def test_accuracy():
    assert accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0])) == 0.75


def test_the_floor_is_real_against_real_and_falls_with_n():
    real = normal(4000)
    few, many = floor(sliced_wasserstein, real, 100), floor(sliced_wasserstein, real, 2000)
    assert 0 < many < few / 2
    assert many < sliced_wasserstein(real[:2000], real[2000:] + 0.3) / 2


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: frechet_distance(torch.zeros(5, 2), torch.zeros(5, 3)), "x and y must be (N, D) and (M, D)"),
        (lambda: frechet_distance(torch.zeros(1, 2), torch.zeros(5, 2)), "two samples or more"),
        (lambda: frechet_distance(torch.full((5, 2), math.nan), torch.zeros(5, 2)), "x must be finite"),
        (lambda: sliced_wasserstein(torch.zeros(0, 2), torch.zeros(5, 2)), "x must be a non-empty batch"),
        (lambda: precision_recall(torch.zeros(3, 2), torch.zeros(5, 2)), "more than k = 3"),
        (lambda: precision_recall(torch.zeros(5, 2), torch.zeros(5, 2), k=0), "k must be at least 1, got 0"),
        (lambda: floor(sliced_wasserstein, torch.zeros(5, 2), 3), "n must lie in 2..2"),
        (lambda: accuracy(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long)), "label must be (N,)"),
    ],
)
def test_bad_input_is_named_in_one_line(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_circle_has_the_rings_radius_and_width_and_lies_outside_its_modes():
    x = circle(20_000, radius=2.0, std=0.05, rng=seeded(0)).double()
    assert x.norm(dim=1).mean() == pytest.approx(2, abs=0.005) and x.norm(dim=1).std() == pytest.approx(0.05, rel=0.03)
    assert x.mean(0).norm() < 0.03 and (x.square().mean(0) - 2).abs().max() < 0.05  # even: no direction is preferred
    covered, outside = modes(circle(20_000, rng=seeded(1)), ring(), within=3)
    assert covered == 8 and outside == pytest.approx(0.29, abs=0.02)
