"""Fitted solvers: their weights reproduce the solvers that they are read off, and a fit comes nearer to the ODE's end."""

import pytest
import torch

from course_lib.denoisers import ExactDenoiser
from course_lib.methods.bespoke import KnownStart, bespoke, bespoke_loss, mean_at_start, weights_of
from course_lib.methods.solvers import deis, dpm_solver, unipc
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, RectifiedFlow, seeded
from course_lib.samplers import ddim, ddpm, heun, rectified_flow, result, sample
from course_lib.schedules import linear_beta

THREE = GaussianMixture([0.2, 0.3, 0.5], torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, -1.0]]), [0.1, 0.15, 0.2])
CHAIN = DDPM(linear_beta(1000))
DENOISER = ExactDenoiser(THREE, CHAIN)


def noise(n, seed=9):
    return torch.randn(n, 2, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("solver", [ddim, dpm_solver, deis, unipc])
def test_the_weights_of_a_solver_draw_what_it_draws(solver):
    times = CHAIN.times(6)
    weights = weights_of(solver, CHAIN, times)
    assert weights.shape == (6, 7) and not weights.triu(2).any()
    got, want = (list(steps) for steps in (bespoke(DENOISER, noise(5), times, weights), solver(DENOISER, noise(5), times)))
    assert [step.t for step in got] == [step.t for step in want]
    for a, b in zip(got[:-1], want[:-1]):
        assert (a.pred.x0 - b.pred.x0).abs().max() < 1e-9
    assert (got[-1].x - want[-1].x).abs().max() < 1e-9


def test_also_on_a_flow():
    flow = RectifiedFlow()
    times, exact = flow.times(4), ExactDenoiser(THREE, flow)
    weights = weights_of(rectified_flow, flow, times)
    want = result(rectified_flow(exact, noise(5), times))
    assert (result(bespoke(exact, noise(5), times, weights)) - want).abs().max() < 1e-9


def test_a_fit_comes_nearer_to_the_end_of_the_ode_on_other_noise():
    times = CHAIN.times(4)
    weights = weights_of(dpm_solver, CHAIN, times).requires_grad_()
    ends = {seed: result(heun(DENOISER, noise(256, seed), CHAIN.times(200))) for seed in (1, 2)}
    off = lambda weights: float((result(bespoke(DENOISER, noise(256, 2), times, weights)) - ends[2]).square().mean())
    before, optimizer = off(weights), torch.optim.Adam([weights], 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        bespoke_loss(DENOISER, noise(256, 1), ends[1], times, weights).backward()
        optimizer.step()
    assert off(weights) < 0.5 * before
    assert not weights.detach().triu(2).any()


def test_the_loss_is_the_log_of_the_squared_error_and_its_gradient_is_a_difference():
    times = CHAIN.times(3)
    weights, x = weights_of(ddim, CHAIN, times).requires_grad_(), noise(4)
    target = noise(4, 3)
    loss = lambda: bespoke_loss(DENOISER, x, target, times, weights)
    off = (result(ddim(DENOISER, x, times)) - target).square().mean(1)
    assert float(loss().detach()) == pytest.approx(float(off.log().mean()), abs=1e-9)
    loss().backward()
    with torch.no_grad():
        for at in ((0, 0), (1, 2), (2, 1)):
            weights[at] += 1e-5
            above = float(loss())
            weights[at] -= 2e-5
            assert (above - float(loss())) / 2e-5 == pytest.approx(float(weights.grad[at]), abs=1e-5)
            weights[at] += 1e-5


class Counted:
    """A denoiser that counts the members whose x_0 it predicts."""

    process, count = CHAIN, 0

    def __call__(self, x_t, t):
        self.count += len(x_t)
        return DENOISER(x_t, t)


def test_a_known_start_saves_the_first_evaluation_and_draws_nearly_the_same():
    counted = Counted()
    mean = mean_at_start(counted, noise(1000, 4))
    assert mean.shape == (1, 2) and counted.count == 1000
    expected = sum(w * m for w, m in zip(THREE.weights, THREE.means))
    assert (mean[0] - expected).abs().max() < 0.02
    counted.count = 0
    made = result(dpm_solver(KnownStart(counted, mean), noise(8), CHAIN.times(5)))
    assert counted.count == 4 * 8
    assert (made - result(dpm_solver(DENOISER, noise(8), CHAIN.times(5)))).abs().max() < 0.1


def test_a_known_start_for_each_member_is_cut_with_the_batch():
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]).repeat(5, 1)
    known = KnownStart(DENOISER, means)
    made = sample(known, noise(10), 4, ddim, batch=4)
    whole = sample(known, noise(10), 4, ddim, batch=10)
    assert torch.equal(known.part(slice(4, 6)).mean, means[4:6]) and (made - whole).abs().max() < 1e-9
    other = sample(KnownStart(DENOISER, means.flip(0)), noise(10), 4, ddim, batch=10)
    assert (whole - other).abs().max() > 0.01


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: weights_of(heun, CHAIN, CHAIN.times(3)), "solver must be one of one evaluation a move"),
        (lambda: weights_of(lambda *args: ddpm(*args, rng=seeded(1)), CHAIN, CHAIN.times(3)), "solver must be deterministic"),
        (lambda: weights_of("ddim", CHAIN, CHAIN.times(3)), "solver must be a function"),
        (lambda: result(bespoke(DENOISER, noise(2), CHAIN.times(3), torch.ones(3, 3))), r"weights must be \(3, 4\)"),
        (lambda: KnownStart(None, torch.zeros(1, 2)), "denoiser must be"),
        (lambda: KnownStart(DENOISER, 0.0), "mean must"),
        (lambda: bespoke_loss(DENOISER, noise(2), noise(3), CHAIN.times(3), torch.ones(3, 4)), "target must"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call()
