"""Average velocities and distribution matching: identities with the exact flow, gradients with autograd, times, bad input."""

import pytest
import torch

from course_lib.datasets.points import ring
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import classifier_free
from course_lib.methods.distribution_matching import dmd_gradient, dmd_loss, middle_times, one_step
from course_lib.methods.one_step import (
    AverageVelocity,
    average_velocity_loss,
    jump_sampler,
    jumps,
    meanflow_target,
    meanflow_times,
    shortcut_target,
    shortcut_times,
)
from course_lib.mixtures import GaussianMixture
from course_lib.nets.embeddings import TwoTimes
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, RectifiedFlow, expand_like, randn, seeded
from course_lib.samplers import heun, rectified_flow, result
from course_lib.schedules import cosine_beta
from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import RECIPES
from course_lib.zoo.recipes.one_step import flow_network, flow_pairs

FLOW = RectifiedFlow()
S = 0.3  # of the data N(0, S^2), whose flow scales a point by the standard deviation of x_t


def spread(t):
    return ((1 - t) ** 2 * S**2 + t**2).sqrt()


def exact_u(z, r, t):
    """The average velocity of the flow from N(0, S^2) to N(0, 1), where r < t."""
    return z * expand_like(z, (1 - spread(r) / spread(t)) / (t - r))


def exact_v(z, t):
    return z * expand_like(z, (t - (1 - t) * S**2) / spread(t) ** 2)


def pairs(n=64):
    r = 0.8 * torch.rand(n, generator=seeded(2), dtype=torch.float64)
    t = r + (1 - r) * (0.1 + 0.9 * torch.rand(n, generator=seeded(3), dtype=torch.float64))
    return randn(n, 2, rng=seeded(1), dtype=torch.float64), r, t


def network(classes=0):
    torch.manual_seed(0)
    net = MLP(dim=2, width=16, depth=1, classes=classes)
    net.time = TwoTimes(16)
    return AverageVelocity(net)


def test_the_exact_average_velocity_is_a_fixed_point_of_both_targets():
    z, r, t = pairs()
    u = exact_u(z, r, t)
    assert torch.allclose(meanflow_target(exact_u, z, r, t, exact_v(z, t)), u, atol=1e-10)
    assert torch.allclose(shortcut_target(exact_u, z, r, t, finest=1e-9), u, atol=1e-10)


def test_the_derivative_is_that_of_finite_differences():
    u, (z, r, t) = network(), pairs(16)
    u.net.double()
    v, h = randn(16, 2, rng=seeded(5), dtype=torch.float64), 1e-5
    with torch.no_grad():
        slope = (u(z + h * v, r, t + h) - u(z - h * v, r, t - h)) / (2 * h)
    assert torch.allclose(meanflow_target(u, z, r, t, v), v - (t - r)[:, None] * slope, atol=1e-6)


def test_the_mean_over_pairs_of_the_target_is_the_target_of_the_mean_velocity():
    """It is linear in v, so that the velocities of pairs serve in the place of the flow's own."""
    u, (z, r, t) = network(), pairs(8)
    v, w = randn(8, 2, rng=seeded(5)), randn(8, 2, rng=seeded(6))
    z, r, t = z.float(), r.float(), t.float()
    both = (meanflow_target(u, z, r, t, v) + meanflow_target(u, z, r, t, w)) / 2
    assert torch.allclose(both, meanflow_target(u, z, r, t, (v + w) / 2), atol=1e-5)


def test_half_steps_of_the_finest_size_are_the_velocity():
    seen = []

    def u(z, r, t):
        seen.append((r, t))
        return z

    z, r, t = torch.ones(2, 1), torch.tensor([0.5, 0.0]), torch.tensor([0.5 + 1 / 64, 1.0])
    got = shortcut_target(u, z, r, t)
    assert [(a.tolist(), b.tolist()) for a, b in seen] == [
        ([0.515625, 0.5], [0.515625, 1.0]),
        ([0.5078125, 0.0], [0.5078125, 0.5]),
    ]
    assert torch.allclose(got, torch.tensor([[1 - 1 / 256], [0.75]]))


def test_jumps_of_the_exact_average_velocity_agree_for_any_number():
    z = randn(50, 2, rng=seeded(1), dtype=torch.float64)
    for n in (1, 2, 5):
        assert torch.allclose(result(jumps(exact_u, z, FLOW.times(n))), S * z, atol=1e-12)


def test_where_r_is_t_the_loss_is_flow_matching():
    u, x0, eps = network(), randn(9, 2, rng=seeded(1)), randn(9, 2, rng=seeded(2))
    t = torch.linspace(0, 1, 9)
    never = lambda *_: pytest.fail("no target is needed where r = t")
    want = (u(FLOW.add_noise(x0, t, eps), t, t) - (eps - x0)).square().mean()
    assert torch.isclose(average_velocity_loss(u, x0, eps, t, t, never), want)


@pytest.mark.parametrize("given", [False, True])
def test_the_target_is_used_where_r_is_below_t_and_carries_no_gradient(given):
    u = network(10 if given else 0)
    u = u.given(torch.arange(8)) if given else u
    x0, eps, (r, t) = randn(8, 2, rng=seeded(1)), randn(8, 2, rng=seeded(2)), meanflow_times(8, 0.5, seeded(3))
    z, v = FLOW.add_noise(x0, t, eps), eps - x0
    goal = torch.where((r < t)[:, None], meanflow_target(u, z, r, t, v), v)
    assert not goal.requires_grad
    loss = average_velocity_loss(u, x0, eps, r, t, meanflow_target)
    assert torch.isclose(loss, (u(z, r, t) - goal).square().mean(), atol=1e-6)
    loss.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in u.net.parameters())


def test_a_unet_of_two_times_has_a_derivative():
    torch.manual_seed(0)
    net = UNet(size=8, widths=(8, 16), classes=3, dim=16)
    net.time = TwoTimes(16)
    for w in net.parameters():
        torch.nn.init.normal_(w, std=0.1)
    u, x = AverageVelocity(net).given(torch.tensor([0, 1, 2])), randn(3, 1, 8, 8, rng=seeded(1))
    r, t = meanflow_times(3, 1.0, seeded(2))
    assert meanflow_target(u, x, r, t, x).isfinite().all()


def test_times():
    r, t = meanflow_times(1000, 0.25, seeded(0))
    assert (r < t).sum() == 250 and (r <= t).all() and t.max() <= 1 and r.min() >= 0
    r, t = shortcut_times(1000, 0.5, 1 / 16, seeded(0))
    d = (t - r)[:500]
    assert set(d.tolist()) == {1.0, 0.5, 0.25, 0.125} and torch.equal((t[:500] / d).round() * d, t[:500])
    assert torch.equal(r[500:], t[500:])
    t = middle_times(FLOW, 1000, seeded(0))
    assert 0.02 <= t.min() and t.max() <= 0.98
    assert middle_times(DDPM(cosine_beta(100)), 1000, seeded(0)).unique().tolist() == list(range(2, 99))
    assert middle_times(FLOW, 1000, seeded(0), 0.25).max() <= 0.25


def test_the_gradient_is_that_of_the_divergence_up_to_its_weight():
    """With exact scores: a weight times the gradient of log(q_fake / q_real) at the noisy samples."""
    real, fake = ring(), GaussianMixture(1.0, torch.tensor([[0.5, 0.2]]), 0.4)
    x, eps, t = randn(32, 2, rng=seeded(1)).double(), randn(32, 2, rng=seeded(2)).double(), 0.4
    x_t = FLOW.add_noise(x, t, eps).requires_grad_()
    a, b = FLOW.coefficients(t, x)
    (slope,) = torch.autograd.grad((fake.log_prob(x_t, a, b) - real.log_prob(x_t, a, b)).sum(), x_t)
    size = (x - ExactDenoiser(real, FLOW)(x_t.detach(), t).x0).abs().mean(1, keepdim=True)
    want = b**2 / a * slope / size
    got = dmd_gradient(x, x_t.detach(), t, ExactDenoiser(real, FLOW), ExactDenoiser(fake, FLOW))
    assert torch.allclose(got, want, atol=1e-9)


def test_equal_distributions_have_no_gradient():
    x = randn(8, 2, rng=seeded(1))
    exact = ExactDenoiser(ring(), FLOW)
    assert dmd_gradient(x, x, 0.5, exact, exact).abs().max() == 0


def test_the_loss_passes_the_gradient_on_to_the_generator():
    torch.manual_seed(0)
    net = MLP(dim=2, width=16, depth=1)
    generator, z = Network(net, FLOW, "flow"), randn(16, 2, rng=seeded(1))
    real, fake = ExactDenoiser(ring(), FLOW), ExactDenoiser(ring(3), FLOW)
    dmd_loss(generator, fake, real, z, seeded(4)).backward()
    mine = net.inward.weight.grad.clone()
    net.zero_grad()
    x, rng = one_step(generator, z), seeded(4)
    t = middle_times(FLOW, 16, rng)
    x_t = FLOW.add_noise(x.detach(), t, randn(16, 2, rng=rng))
    x.backward(dmd_gradient(x.detach(), x_t, t, real, fake) / x.numel())
    assert torch.allclose(mine, net.inward.weight.grad, atol=1e-7) and mine.abs().max() > 0


def test_a_generator_is_one_evaluation_at_the_largest_time():
    z = randn(5, 2, rng=seeded(1))
    assert torch.allclose(one_step(ExactDenoiser(ring(), FLOW), z), torch.zeros(5, 2), atol=1e-6)  # the mean of the ring


def test_a_network_of_one_time_is_the_velocity():
    u, (z, _, t) = network(), pairs(8)
    z, t = z.float(), t.float()
    assert torch.allclose(Network(u.net, FLOW, "flow")(z, t).flow, u(z, t, t), atol=1e-6)


def test_jumps_as_a_sampler_are_those_of_the_network_and_of_guidance():
    u, z, label = network(10), randn(4, 2, rng=seeded(1)), torch.arange(4)
    denoiser, times = Network(u.net, FLOW, "flow"), FLOW.times(2)
    assert torch.equal(result(jump_sampler(denoiser.given(label), z, times)), result(jumps(u.given(label), z, times)))
    w = lambda z, r, t: u.given(NULL)(z, r, t) + 3 * (u.given(label)(z, r, t) - u.given(NULL)(z, r, t))
    guided = result(jump_sampler(classifier_free(denoiser, label, 3.0), z, times))
    assert torch.allclose(guided, result(jumps(w, z, times)), atol=1e-5)
    assert not torch.allclose(guided, result(rectified_flow(classifier_free(denoiser, label, 3.0), z, times)), atol=1e-3)
    with pytest.raises(TypeError, match="denoiser must be of type Network"):
        jump_sampler(ExactDenoiser(ring(), FLOW), z, times)


@pytest.fixture
def folder(tmp_path):
    """A folder with a teacher of random weights."""
    network = flow_network()
    for w in network.net.parameters():
        torch.nn.init.normal_(w, std=0.05)
    for name in ("digits_flow", "flow_progressive4", "flow_progressive2"):
        checkpoints.write(checkpoints.shipped(name, tmp_path), network.net, {})
    return tmp_path


STUDENTS = [name for name in RECIPES if name.startswith("flow_")]


@pytest.mark.parametrize("name", STUDENTS)
def test_students_of_digits_begin_at_the_teachers_weights_and_train(name, folder):
    student, few = models.build(name, 1), {"pairs": 64} if name == "flow_reflow" else {}
    training = iter(RECIPES[name].train(student, steps=3, folder=folder, **few))
    teacher = models.load("digits_flow", folder, "cpu")
    started = [w.clone() for w in teacher.net.parameters()]
    assert all(torch.equal(w, v) for w, v in zip(student.net.parameters(), started))
    states = list(training)
    assert len(states) == 3 and all(torch.tensor(state.loss).isfinite() for state in states)
    assert any(not torch.equal(w, v) for w, v in zip(student.net.parameters(), started))
    assert all(torch.equal(w, v) for w, v in zip(models.load("digits_flow", folder, "cpu").net.parameters(), started))


def test_pairs_of_the_flow_are_its_map(folder):
    teacher = models.load("digits_flow", folder, "cpu")
    x0, eps, label = flow_pairs(teacher, 12, 4, seeded(3))
    assert label.tolist() == [*range(10), 0, 1]
    assert torch.allclose(x0, result(heun(teacher.given(label), eps, FLOW.times(4))), atol=1e-5)


def test_bad_input_is_one_line():
    z = randn(4, 2, rng=seeded(0))
    late, early = torch.full((4,), 0.9), torch.full((4,), 0.2)
    with pytest.raises(ValueError, match="r must be at most t"):
        meanflow_target(exact_u, z, late, early, z)
    with pytest.raises(ValueError, match=r"r must be one time for each of z, \(4,\), got shape \(3,\)"):
        shortcut_target(exact_u, z, early[:3], late)
    with pytest.raises(ValueError, match=r"v must have the shape of z"):
        meanflow_target(exact_u, z, early, late, z[:3])
    with pytest.raises(TypeError, match="MLP takes no condition"):
        network().given(3)
