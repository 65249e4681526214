"""Flow matching: the loss splits into floor and distance, couplings are optimal, reflow keeps each noise with its sample."""

from itertools import permutations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from course_lib.datasets.points import pair, ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.methods.flow_matching import flow_matching_loss, optimal_transport, reflow
from course_lib.mixtures import GaussianMixture
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, RectifiedFlow, randn, seeded
from course_lib.schedules import cosine_beta

FLOW = RectifiedFlow()


def squares(x0, eps):
    return float((x0 - eps).square().flatten(1).sum(1).mean())


def network(dim=2):
    torch.manual_seed(0)
    return Network(MLP(dim=dim, width=16, depth=1), FLOW, "flow")


def test_the_loss_is_that_of_diffusers_noising_and_target():
    denoiser, x0, eps = network(), randn(64, 2, rng=seeded(1)), randn(64, 2, rng=seeded(2))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    t = FLOW.sample_t(64, seeded(3)).float()
    scheduler.timesteps, scheduler.sigmas = 1000 * t, t
    x_t = scheduler.scale_noise(x0, 1000 * t, eps)
    want = (denoiser.net(x_t, t) - (eps - x0)).square().mean()
    assert torch.isclose(flow_matching_loss(denoiser, x0, eps, seeded(3)), want, atol=1e-6)


def test_the_loss_is_its_floor_plus_the_distance_from_the_exact_velocity():
    data, denoiser, n = ring(), network(), 200_000
    x0, eps = data.sample(n, seeded(1))[0], randn(n, 2, rng=seeded(2))
    exact = ExactDenoiser(data, FLOW)
    t = FLOW.sample_t(n, seeded(3))
    x_t = FLOW.add_noise(x0, t, eps)
    with torch.no_grad():
        loss, floor = (float(flow_matching_loss(d, x0, eps, seeded(3))) for d in (denoiser, exact))
        excess = float((denoiser(x_t, t).flow - exact(x_t, t).flow).square().mean())
    assert abs(loss - floor - excess) < 0.01 * loss and excess > 0.1


def test_the_loss_trains_the_network():
    denoiser, x0 = network(), randn(8, 2, rng=seeded(1))
    flow_matching_loss(denoiser, x0, x0.flip(0), seeded(2)).backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in denoiser.net.parameters())


@pytest.mark.parametrize("shape", [(5, 2), (5, 1, 2, 3)])
def test_no_order_of_five_is_shorter(shape):
    x0, eps = randn(*shape, rng=seeded(1)), randn(*shape, rng=seeded(2))
    least = min(squares(x0, eps[list(order)]) for order in permutations(range(5)))
    assert abs(squares(x0, optimal_transport(x0, eps)) - least) < 1e-5


def test_on_a_line_equals_in_rank_are_coupled():
    x0, eps = pair().sample(200, seeded(1))[0], randn(200, 1, rng=seeded(2))
    order = x0[:, 0].argsort()
    assert torch.equal(optimal_transport(x0, eps)[order], eps.sort(0).values)


def test_no_two_points_meet_on_their_way():
    """Where two meet at the same t, (x_0 - x_0') (eps - eps') is negative, and exchanging the noises shortens the lines."""
    x0, eps = ring().sample(60, seeded(1))[0].double(), randn(60, 2, rng=seeded(2)).double()
    products = lambda ends: ((x0[:, None] - x0) * (ends[:, None] - ends)).sum(2)
    assert products(optimal_transport(x0, eps)).min() > -1e-9 and products(eps).min() < -1


def test_groups_keep_their_noises():
    x0, eps = randn(23, 2, rng=seeded(1)), randn(23, 2, rng=seeded(2))
    coupled = optimal_transport(x0, eps, 5)
    for part in range(0, 23, 5):
        group = slice(part, part + 5)
        assert torch.equal(coupled[group], optimal_transport(x0[group], eps[group]))
        assert torch.equal(coupled[group].sort(0).values, eps[group].sort(0).values)
    assert torch.equal(optimal_transport(x0, eps, 1), eps)


def test_large_groups_come_near_the_optimal_transport_of_gaussians():
    """Between N(0, 1) and N(m, s^2) it costs m^2 + (1 - s)^2; independent pairs cost m^2 + 1 + s^2."""
    x0, eps = 0.5 + 0.2 * randn(20_000, 1, rng=seeded(1)), randn(20_000, 1, rng=seeded(2))
    assert abs(squares(x0, eps) - 1.29) < 0.03
    assert abs(squares(x0, optimal_transport(x0, eps, 500)) - 0.89) < 0.03


def test_reflow_trains_on_the_flows_own_pairs_in_each_round():
    """From N(0, 1) to N(0, s^2) the exact flow takes eps to s eps."""
    data = GaussianMixture(1.0, torch.zeros(1, 1), 0.3)
    denoiser, eps, seen = ExactDenoiser(data, FLOW), randn(50, 1, rng=seeded(1)), []

    def fit(flow, x0, noise):
        seen.append((flow, x0, noise))
        return network(1)

    flows = reflow(denoiser, fit, eps, 200, rounds=2)
    assert [flow for flow, *_ in seen] == flows[:2] and flows[0] is denoiser and len(flows) == 3
    assert torch.allclose(seen[0][1], 0.3 * eps, atol=0.02) and all(noise is eps for *_, noise in seen)
    assert not torch.allclose(seen[1][1], seen[0][1], atol=0.1) and not seen[1][1].requires_grad


def test_bad_input_is_one_line():
    x = randn(4, 2, rng=seeded(0))
    with pytest.raises(ValueError, match=r"eps must have the shape of x0, \(4, 2\), got \(3, 2\)"):
        optimal_transport(x, x[:3])
    with pytest.raises(TypeError, match="denoiser must be one of a RectifiedFlow process, got one of DDPM"):
        flow_matching_loss(ExactDenoiser(ring(), DDPM(cosine_beta(20))), x, x)
