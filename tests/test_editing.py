"""Editing, inpainting and inverse problems, held against what they promise and against exact posteriors."""

import math

import pytest
import torch

from course_lib import metrics
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.methods.editing import (
    Consistent,
    Measurement,
    blurred,
    ddpm_move,
    dps,
    kept,
    noised_further,
    repaint,
    sdedit,
    shrunk,
)
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim, ddpm, result
from course_lib.schedules import cosine_beta

PROCESS = DDPM(cosine_beta(1000))
MIX = ring(8, 1.0, 0.15)
EXACT = ExactDenoiser(MIX, PROCESS)
PICTURES = torch.randn(5, 1, 8, 8, generator=seeded(0))


def noise(n=1000, seed=1):
    return torch.randn(n, 2, generator=seeded(seed), dtype=torch.float64)


# Editing


def test_an_edit_is_the_samplers_own_end_after_the_guide_is_noised():
    times, guide = PROCESS.times(50), noise(20)
    steps = list(sdedit(EXACT, guide, times[times <= 400], seeded(3)))
    assert steps[0].t == 400 and steps[-1].t == 0
    fresh = seeded(3)
    x = PROCESS.add_noise(guide, 400, torch.randn(guide.shape, generator=fresh, dtype=guide.dtype))
    assert torch.equal(steps[0].x, x)
    assert torch.equal(steps[-1].x, result(ddpm(EXACT, x, times[times <= 400], fresh)))


def test_the_noisier_the_start_the_less_is_left_of_the_guide_and_the_more_real_is_the_end():
    guide, real = torch.tensor([[0.2, 0.3]], dtype=torch.float64).expand(2000, 2), MIX.sample(2000, seeded(5))[0]
    times = PROCESS.times(100)
    ends = [result(sdedit(EXACT, guide, times[times <= t0], seeded(2))) for t0 in (100, 400, 700, 1000)]
    moved = [float((x - guide).norm(dim=1).mean()) for x in ends]
    apart = [metrics.sliced_wasserstein(x, real) for x in ends]
    assert moved == sorted(moved) and apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.05 and moved[0] < 0.5 * moved[-1]


# Inpainting


@pytest.mark.parametrize("resample", [1, 3])
def test_what_is_kept_is_kept_to_the_last_bit(resample):
    known, keep = noise(50, 4), torch.tensor([[1.0, 0.0]])
    end = result(repaint(EXACT, known, keep, noise(50), PROCESS.times(25), resample, seeded(0)))
    assert torch.equal(end[:, 0], known[:, 0]) and (end[:, 1] != known[:, 1]).all()


def test_the_hole_in_the_known_picture_is_never_looked_at():
    known, keep = noise(50, 4), torch.tensor([[1.0, 0.0]])
    other = torch.where(keep.bool(), known, 99.0)
    paint = lambda known: result(repaint(EXACT, known, keep, noise(50), PROCESS.times(20), 2, seeded(0)))
    assert torch.equal(paint(known), paint(other))


def test_with_nothing_kept_it_is_ddpm():
    x, times = noise(30), PROCESS.times(20)
    free = result(repaint(EXACT, 0 * x, torch.zeros(1, 2), x, times, 1, seeded(0)))
    # the same law: its noise is drawn once more at each step, for a known part that nobody sees
    assert metrics.sliced_wasserstein(free, result(ddpm(EXACT, x, times, seeded(0)))) < 0.6
    assert torch.cdist(free, MIX.means).min(1).values.max() < 0.75


def test_each_round_of_a_step_begins_as_noisy_as_the_first():
    """With nothing known every x_t, however often it is come to, has the law of q(x_t)."""
    times = PROCESS.times(20)
    steps = list(repaint(EXACT, noise(3000), torch.zeros(1, 2), noise(3000), times, 3, seeded(0)))
    *before, last = times[:-1].tolist()
    assert [step.t for step in steps[:-1]] == [t for t in before for _ in range(3)] + [last]  # Algorithm 1: only for t > 1
    for step in steps[:-1]:
        a, b = PROCESS.signal(step.t), PROCESS.noise(step.t)
        want = float((a**2 * (0.5 + 0.15**2) + b**2).sqrt())  # of one coordinate of the ring
        assert float(step.x.std()) == pytest.approx(want, rel=0.06), step.t


def test_a_jump_goes_back_up_over_a_group_of_moves_and_the_last_group_is_made_once():
    """With nothing known every x_t has the law of q(x_t), whatever the jump length."""
    times = PROCESS.times(20)
    steps = list(repaint(EXACT, noise(3000), torch.zeros(1, 2), noise(3000), times, 3, seeded(0), jump=2))
    assert [step.t for step in steps[:8]] == [1000, 950] * 3 + [900, 850]
    assert [step.t for step in steps[-5:]] == [200, 150, 100, 50, 0]
    for step in steps[:-1]:
        a, b = PROCESS.signal(step.t), PROCESS.noise(step.t)
        want = float((a**2 * (0.5 + 0.15**2) + b**2).sqrt())  # of one coordinate of the ring
        assert float(step.x.std()) == pytest.approx(want, rel=0.06), step.t


def test_resampling_removes_what_does_not_fit_what_is_known():
    """The first coordinate is known to be 1, as it is at (1, 0), and two standard deviations from two other spots."""
    known = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(1500, 2)
    share = {}
    for resample in (1, 10):
        end = result(repaint(EXACT, known, torch.tensor([[1.0, 0.0]]), noise(1500), PROCESS.times(50), resample, seeded(0)))
        share[resample] = float((end[:, 1].abs() < 0.5).double().mean())
    exact = 1 / (1 + 2 * math.exp(-((1 - 0.5**0.5) ** 2) / (2 * 0.15**2)))
    assert share[1] + 0.1 < share[10] < exact + 0.03


def test_noise_further_is_the_chain():
    x, eps = noise(4000, 6), noise(4000, 7)
    assert torch.allclose(noised_further(PROCESS, x, 0, 300, eps), PROCESS.add_noise(x, 300, eps))
    on = noised_further(PROCESS, PROCESS.add_noise(x, 300, eps), 300, 600, noise(4000, 8))
    left = on - PROCESS.signal(600) * x
    assert abs(float(left.std()) - float(PROCESS.noise(600))) < 0.02


@pytest.mark.parametrize("keep, message", [(torch.full((1, 2), 0.5), "keep must be 1"), (torch.ones(3, 2), "keep must spread")])
def test_a_mask_that_is_none_is_refused(keep, message):
    with pytest.raises(ValueError, match=message):
        next(repaint(EXACT, noise(5), keep, noise(5), PROCESS.times(5)))
    with pytest.raises(ValueError, match="resample must be at least 1"):
        next(repaint(EXACT, noise(5), torch.ones(1, 2), noise(5), PROCESS.times(5), 0))


# Measurements


@pytest.mark.parametrize(
    "measurement",
    [shrunk(2), shrunk(4), blurred(1.0), blurred(2.0), kept((PICTURES[:1] > 0).float())],
    ids="2 4 soft softer kept".split(),
)
def test_back_is_the_pseudo_inverse(measurement):
    """Moore and Penrose's four conditions."""
    A, back, x = measurement.A, measurement.back, PICTURES.double()
    y = torch.randn(A(x).shape, generator=seeded(1), dtype=torch.float64)
    dot = lambda u, v: float((u * v).sum())
    assert torch.allclose(A(back(A(x))), A(x)) and torch.allclose(back(A(back(y))), back(y))
    other, other_y = x.flip(0), y.flip(0)
    assert dot(back(A(x)), other) == pytest.approx(dot(x, back(A(other))))
    assert dot(A(back(y)), other_y) == pytest.approx(dot(y, A(back(other_y))))


def test_a_blur_keeps_the_mean_and_spreads_a_dot():
    dot = torch.zeros(1, 1, 16, 16)
    dot[..., 8, 8] = 1
    soft = blurred(1.0, 1e-9).A(dot)
    assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
    at = torch.arange(16.0) - 8
    assert float((soft[0, 0].sum(0) * at**2).sum()) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("sampler", [ddim, ddpm])
def test_a_consistent_sample_measures_y(sampler):
    u = torch.tensor([0.6, 0.8], dtype=torch.float64)
    along = Measurement(lambda x: (x * u).sum(1, keepdim=True), lambda y: y * u)
    y = torch.full((500, 1), 0.4, dtype=torch.float64)
    x = result(sampler(Consistent(EXACT, along, y), noise(500), PROCESS.times(40)))
    assert torch.allclose(along.A(x), y)
    assert float((torch.cdist(x, MIX.means).min(1).values < 0.6).double().mean()) > 0.9


def test_where_the_data_are_one_gaussian_the_part_that_is_not_seen_has_its_law():
    """Seen and unseen are independent in a round Gaussian, so that nothing is left to guess."""
    lone = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -0.5]]), torch.tensor([0.4]))
    first = Measurement(lambda x: x[:, :1], lambda y: torch.cat([y, 0 * y], 1))
    y = torch.full((4000, 1), 1.0, dtype=torch.float64)
    x = result(ddpm(Consistent(ExactDenoiser(lone, PROCESS), first, y), noise(4000), PROCESS.times(200), seeded(0)))
    assert torch.allclose(x[:, :1], y)
    assert float(x[:, 1].mean()) == pytest.approx(-0.5, abs=0.03) and float(x[:, 1].std()) == pytest.approx(0.4, abs=0.03)


def test_a_measurement_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="y must have the shape of A x_0"):
        Consistent(ExactDenoiser(MIX, PROCESS), Measurement(lambda x: x[:, :1], lambda y: y), noise(5))(noise(5), 500)


def test_a_move_from_a_prediction_is_that_of_ddpm():
    x, z = noise(50), torch.randn(50, 2, generator=seeded(3), dtype=torch.float64)
    _, after = ddpm(EXACT, x, torch.tensor([600, 300]), seeded(3))
    assert torch.allclose(ddpm_move(PROCESS, EXACT(x, 600), 600, 300, z), after.x)
    assert torch.allclose(ddpm_move(PROCESS, EXACT(x, 20), 20, 0, z), EXACT(x, 20).x0)


def test_posterior_sampling_without_a_step_is_ddpm():
    y, times = torch.zeros(50, 1, dtype=torch.float64), PROCESS.times(20)
    free = result(dps(EXACT, lambda x: x[:, :1], y, noise(50), times, 0.0, seeded(3)))
    assert torch.allclose(free, result(ddpm(EXACT, noise(50), times, seeded(3))))


def test_posterior_sampling_of_one_gaussian_comes_near_to_y():
    """Along what is measured the sample moves to y; across it, it keeps the law of the data."""
    lone = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -0.5]]), torch.tensor([0.4]))
    y = torch.full((2000, 1), 1.0, dtype=torch.float64)
    x = result(dps(ExactDenoiser(lone, PROCESS), lambda x: x[:, :1], y, noise(2000), PROCESS.times(200), 0.05, seeded(0)))
    assert not x.requires_grad
    assert float((x[:, 0] - 1).abs().mean()) < 0.1
    assert float(x[:, 1].mean()) == pytest.approx(-0.5, abs=0.03) and float(x[:, 1].std()) == pytest.approx(0.4, abs=0.03)


def test_a_measurement_of_another_shape_than_y_is_refused_by_posterior_sampling():
    with pytest.raises(ValueError, match="y must have the shape of A x_0"):
        next(dps(EXACT, lambda x: x[:, :1], noise(5), noise(5), PROCESS.times(4)))
