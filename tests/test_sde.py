"""Continuous time: closed forms of Gaussians and mixtures for the SDE, the probability flow and log p along it."""

import math
from dataclasses import replace

import pytest
import torch

from course_lib.datasets.points import pair, ring
from course_lib.denoisers import ExactDenoiser
from course_lib.methods.sde import (
    Continuous,
    bits_per_dimension,
    dequantize,
    divergence,
    drift_diffusion,
    euler_move,
    forward_sde,
    heun_move,
    log_likelihood,
    reverse_sde,
)
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, RectifiedFlow, VarianceExploding, randn_like, seeded
from course_lib.samplers import ddpm, probability_flow, result
from course_lib.schedules import cosine_beta, geometric_sigma, linear_beta
from course_lib.zoo import models

chain, levels = DDPM(linear_beta()), VarianceExploding(geometric_sigma(1000, 0.01, 5.0))
vp, ve, flow = Continuous(chain), Continuous(levels), RectifiedFlow()
one = GaussianMixture([1.0], torch.tensor([[0.7, -0.3]]), [0.5])
LAST = {vp: 1.0, ve: 1.0, flow: 0.01}


def start(n=6):
    return torch.randn(n, 2, generator=seeded(9), dtype=torch.float64)


def in_ratios(process, n, last=None):
    """n + 1 times from T down to the last one, in equal ratios."""
    times = torch.logspace(math.log10(process.T), math.log10(last or LAST[process]), n + 1, dtype=torch.float64)
    times[0], times[-1] = process.T, last or LAST[process]
    return times


@pytest.mark.parametrize("process", [chain, levels], ids=["ddpm", "exploding"])
def test_the_continuous_process_is_the_chain_at_whole_times_and_lies_between_its_neighbours_elsewhere(process):
    whole, continuous = torch.arange(process.T + 1), Continuous(process)
    for part in ("signal", "noise"):
        at, of = getattr(continuous, part), getattr(process, part)(whole)
        torch.testing.assert_close(at(whole.double()), of)
        between = at(torch.arange(process.T) + 0.3)
        assert ((between - of[:-1]) * (between - of[1:]) <= 1e-12).all()
    assert float(continuous.signal(3)) == pytest.approx(float(process.signal(3)))


@pytest.mark.parametrize("process, t", [(vp, 300.4), (vp, 999.5), (ve, 200.7), (flow, 0.3), (flow, 0.9)])
def test_drift_and_diffusion_are_the_rates_of_signal_and_variance(process, t):
    h = 1e-4 * process.T / 100
    rate = lambda value: (value(t + h) - value(t - h)) / (2 * h)
    f, g2 = drift_diffusion(process, t)
    slope = rate(lambda t: process.signal(t).log())
    assert float(f) == pytest.approx(float(slope), rel=1e-5, abs=1e-9)
    assert float(g2) == pytest.approx(
        float(rate(lambda t: process.noise(t) ** 2) - 2 * slope * process.noise(t) ** 2), rel=1e-5
    )


def test_the_rates_of_a_chain_are_its_own_and_for_small_steps_those_of_the_vp_sde():
    f, g2 = drift_diffusion(chain, torch.tensor([1, 500, 1000]))
    beta = chain.beta(torch.tensor([1, 500, 1000]))
    torch.testing.assert_close(g2, -torch.log1p(-beta))
    torch.testing.assert_close(g2, beta, rtol=0.02, atol=0)
    torch.testing.assert_close(f, -g2 / 2)


def test_the_sde_leads_exactly_from_one_step_of_the_chain_to_the_next():
    """An Ornstein-Uhlenbeck process with constant f and g over one unit of time has the chain's mean and variance."""
    f, g2 = (float(v) for v in drift_diffusion(chain, 700))
    assert math.exp(f) == pytest.approx(math.sqrt(1 - float(chain.beta(700))))
    assert g2 * math.expm1(2 * f) / (2 * f) == pytest.approx(float(chain.beta(700)))


@pytest.mark.parametrize("process", [vp, ve], ids=["vp", "ve"])
def test_forward_steps_give_the_marginals_of_the_process(process):
    x0 = one.sample(20_000, seeded(0))[0].double()
    steps = list(forward_sde(process, x0, process.times(500), seeded(1)))
    assert [step.t for step in steps[:2]] == [0, process.T / 500] and steps[-1].t == process.T
    for step in (steps[100], steps[-1]):
        want = one.noised(process.signal(step.t), process.noise(step.t))
        assert (step.x.mean(0) - want.means[0]).abs().max() < 0.04 * float(want.stds[0]) + 0.01
        assert (step.x.std(0) / want.stds[0] - 1).abs().max() < 0.03


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("process", [vp, ve, flow], ids=["vp", "ve", "flow"])
def test_reverse_steps_give_the_marginals_whatever_lam(process, lam):
    times = process.times(400)[:-1] if process is ve else in_ratios(process, 400)
    times = times[1:] if process is flow else times  # g is infinite at t = 1
    begin = one.noised(process.signal(times[0]), process.noise(times[0])).sample(20_000, seeded(0))[0].double()
    steps = list(reverse_sde(ExactDenoiser(one, process), begin, times, lam, seeded(1)))
    for step in (steps[200], steps[-1]):
        want = one.noised(process.signal(step.t), process.noise(step.t))
        assert (step.x.mean(0) - want.means[0]).abs().max() < 0.05 * max(1, float(want.stds[0]))
        assert (step.x.std(0) / want.stds[0] - 1).abs().max() < 0.05


def test_the_steps_are_those_of_the_equation():
    exact, x = ExactDenoiser(ring(), chain), start()
    first, second, _ = reverse_sde(exact, x, torch.tensor([500, 400, 300]), 0.5, seeded(2))
    f, g2 = (float(v) for v in drift_diffusion(chain, 500))
    z = randn_like(x, seeded(2))
    want = x - 100 * (f * x - 0.625 * g2 * first.pred.score) + 0.5 * math.sqrt(100 * g2) * z
    torch.testing.assert_close(second.x, want)


def test_on_a_variance_exploding_chain_the_steps_are_those_of_diffusers():
    scheduler = pytest.importorskip("diffusers").ScoreSdeVeScheduler(sigma_min=0.05, sigma_max=5.0)
    scheduler.set_timesteps(20)
    scheduler.set_sigmas(20)
    process = VarianceExploding(scheduler.discrete_sigmas.double())
    exact, x, rng = ExactDenoiser(ring(), process), 5 * start(), seeded(3)
    mine = result(reverse_sde(exact, x, process.times(20), 1.0, seeded(3)))
    for k, t in zip(range(20, 0, -1), scheduler.timesteps):
        x = scheduler.step_pred(exact(x, k).score, t, x, generator=rng).prev_sample
    torch.testing.assert_close(mine, x, atol=1e-5, rtol=1e-5)


def test_ddpm_tends_to_the_reverse_sde_and_the_probability_flow_of_the_paper_to_lam_0():
    exact, x = ExactDenoiser(ring(), chain), start(200)

    def apart(n):
        times = chain.times(n)[:-1]
        by_ddpm, by_sde = result(ddpm(exact, x, times, seeded(3))), result(reverse_sde(exact, x, times, 1.0, seeded(3)))
        by_rule, by_ode = result(probability_flow(exact, x, times)), result(reverse_sde(exact, x, times, 0.0))
        return (by_ddpm - by_sde).norm(dim=1).median(), (by_rule - by_ode).norm(dim=1).median()

    (sde_100, ode_100), (sde_200, ode_200) = apart(100), apart(200)
    assert 1.5 < sde_100 / sde_200 < 2.6 and 1.5 < ode_100 / ode_200 < 2.6


def test_divergence_is_the_trace_of_the_jacobian():
    A = torch.randn(4, 4, generator=seeded(1), dtype=torch.float64)
    x = torch.randn(5, 1, 2, 2, generator=seeded(2), dtype=torch.float64)
    field = lambda x: ((x.flatten(1) @ A.T) * x.flatten(1).sum(1, keepdim=True)).view_as(x)
    value, trace = divergence(field, x)
    flat = x.flatten(1)
    want = A.trace() * flat.sum(1) + (flat @ A.T).sum(1)
    torch.testing.assert_close(trace, want)
    torch.testing.assert_close(value, field(x))
    signs = (torch.rand(4000, *x.shape, generator=seeded(3), dtype=torch.float64) < 0.5).double() * 2 - 1
    _, estimated = divergence(field, x, signs)
    assert (estimated - want).abs().max() < 0.25
    assert not value.requires_grad and not x.requires_grad


def test_rademacher_probes_are_exact_where_the_jacobian_is_diagonal():
    x = start()
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).expand(1, 6, 2)
    torch.testing.assert_close(divergence(torch.sin, x, signs)[1], x.cos().sum(1))


@pytest.mark.parametrize("process", [vp, flow], ids=["vp", "flow"])
@pytest.mark.parametrize("solver, order", [(euler_move, 1), (heun_move, 2)], ids=["euler", "heun"])
def test_log_p_is_the_closed_form_with_the_order_of_the_solver(process, solver, order):
    mixture, last = ring(), LAST[process]
    x0 = mixture.sample(60, seeded(0))[0].double()
    x = process.add_noise(x0, last, randn_like(x0, seeded(1)))
    want = mixture.log_prob(x, process.signal(last), process.noise(last))
    exact = ExactDenoiser(mixture, process)
    errors = [float((log_likelihood(exact, x, in_ratios(process, n), solver=solver)[0] - want).abs().mean()) for n in (80, 160)]
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.3 and errors[1] < (0.06 if order == 1 else 0.001)


def test_log_p_of_one_gaussian_and_its_noise_are_the_closed_form():
    x = start()
    a, b = float(vp.signal(1.0)), float(vp.noise(1.0))
    log_p, x_T = log_likelihood(ExactDenoiser(one, vp), x, in_ratios(vp, 200))
    torch.testing.assert_close(log_p, one.log_prob(x, a, b), atol=0.03, rtol=0)  # q(x_T) is nearly N(0, I)
    at_T = one.noised(vp.signal(1000), vp.noise(1000))
    before = one.noised(a, b)
    torch.testing.assert_close(x_T, at_T.means + at_T.stds * (x - before.means) / before.stds, atol=2e-3, rtol=0)


def test_hutchinsons_estimate_of_log_p_is_right_in_the_mean():
    exact, x, times = ExactDenoiser(pair(), vp), torch.tensor([[0.9], [-0.8]], dtype=torch.float64), in_ratios(vp, 20)
    torch.testing.assert_close(  # in one dimension a sign has the square 1, so that it is exact
        log_likelihood(exact, x, times, 1, seeded(0))[0], log_likelihood(exact, x, times)[0]
    )
    exact, x = ExactDenoiser(ring(), vp), ring().sample(3, seeded(4))[0].double()
    want = log_likelihood(exact, x, times)[0]
    many = log_likelihood(exact, x, times, 400, seeded(0))[0]
    assert (many - want).abs().max() < 0.1


def test_a_density_integrates_to_one():
    line = torch.linspace(-3, 3, 241, dtype=torch.float64)[:, None]
    log_p, _ = log_likelihood(ExactDenoiser(pair(), vp), line, in_ratios(vp, 100))
    assert float(log_p.exp().sum() * 6 / 240) == pytest.approx(1, abs=2e-3)


def test_the_digits_network_takes_real_times_and_prefers_digits_to_noise():
    network = models.load("digits", device="cpu")
    network = replace(network, process=Continuous(network.process)).given(3)
    x = network.draw_noise(2, seeded(0)).clamp(-1, 1)
    log_p, x_T = log_likelihood(network, x, in_ratios(network.process, 3, 1.0), 1, seeded(0))
    assert log_p.shape == (2,) and x_T.shape == x.shape and log_p.dtype == torch.float32
    assert log_p.isfinite().all()


def test_the_cosine_chain_has_rates_that_are_finite_everywhere():
    f, g2 = drift_diffusion(DDPM(cosine_beta(1000)), torch.arange(1001))
    assert f.isfinite().all() and (g2 > 0).all()


def test_bits_of_uniform_noise_are_the_bits_of_a_level():
    width, x = 2 / 255, torch.ones(4, 1, 3, 3)
    y = dequantize(x, width, seeded(0))
    assert (y - x).abs().max() <= width / 2 and abs(float((y - x).mean())) < width / 10
    uniform = torch.full((4,), -9 * math.log(256 * width))  # the density that is even over 256 levels
    torch.testing.assert_close(bits_per_dimension(uniform, 9, width), torch.full((4,), 8.0))
