"""Schedules and processes against the papers' formulas."""

import math

import pytest
import torch

from course_lib.denoisers import relative_time
from course_lib.process import DDPM, RectifiedFlow, VarianceExploding, randn_like, seeded, seeded_each
from course_lib.schedules import cosine_beta, geometric_sigma, linear_beta

PROCESSES = [DDPM(linear_beta(50)), DDPM(cosine_beta(1000)), VarianceExploding(geometric_sigma(20)), RectifiedFlow()]
each_process = pytest.mark.parametrize("process", PROCESSES, ids=repr)


def test_linear_beta_is_ho_et_al():
    beta = linear_beta()
    assert beta.dtype == torch.float64 and len(beta) == 1000
    assert beta[0] == 1e-4 and beta[-1] == pytest.approx(0.02) and beta.diff().std() < 1e-12


def test_cosine_beta_is_nichol_and_dhariwal():
    process, s = DDPM(cosine_beta(1000)), 0.008
    f = lambda t: math.cos((t / 1000 + s) / (1 + s) * math.pi / 2) ** 2
    for t in (1, 10, 500, 900):
        assert float(process.alpha_bar(t)) == pytest.approx(f(t) / f(0), rel=1e-9)
    assert cosine_beta(1000).max() == 0.999


def test_geometric_sigma_has_one_ratio():
    sigma = geometric_sigma(10, 0.01, 10)
    ratio = sigma[1:] / sigma[:-1]
    assert sigma[0] == pytest.approx(0.01) and sigma[-1] == pytest.approx(10) and ratio.std() < 1e-9


@each_process
def test_data_is_at_zero_and_noise_grows(process):
    times = process.times(10)
    assert times[0] == process.T and times[-1] == 0 and len(times) == 11 and (times.diff() < 0).all()
    assert process.signal(0) == 1 and process.noise(0) == 0
    assert all(process.noise(t) > process.noise(s) for t, s in zip(times[:-1].tolist(), times[1:].tolist(), strict=True))


@each_process
def test_one_time_each_or_one_for_all(process):
    x0, eps = torch.randn(2, 4, 1, 3, 3, generator=seeded(0))
    t = process.sample_t(4, seeded(1))
    together = process.add_noise(x0, t, eps)
    alone = torch.cat([process.add_noise(x0[i : i + 1], t[i].item(), eps[i : i + 1]) for i in range(4)])
    assert together.dtype == torch.float32 and torch.allclose(together, alone)


def test_many_small_steps_are_one_jump():
    """T steps of q(x_t | x_{t-1}), Ho et al. eq. 2, give the mean and the variance of q(x_t | x_0), eq. 4."""
    process, mean, variance = DDPM(linear_beta(100)), 1.0, 0.0
    for t in range(1, 101):
        beta = float(process.beta(t))
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        assert float(process.signal(t)) == pytest.approx(mean) and float(process.noise(t)) ** 2 == pytest.approx(variance)


def test_the_posterior_is_bayes_rule():
    """log q(x_t | x_{t-1}) + log q(x_{t-1} | x_0) is a parabola in x_{t-1}: its top and its bend are the posterior's."""
    process, t = DDPM(linear_beta(50)), torch.tensor([2, 20, 50])
    x_t, x0 = torch.randn(2, 3, 4, dtype=torch.float64, generator=seeded(0))
    mean, variance = process.posterior(x_t, x0, t)
    alpha, beta, a, b = (
        v.view(-1, 1) for v in (process.alpha(t), process.beta(t), process.signal(t - 1), process.noise(t - 1))
    )
    log_joint = lambda x: -((x_t - alpha.sqrt() * x) ** 2) / (2 * beta) - (x - a * x0) ** 2 / (2 * b**2)
    x = mean.clone().requires_grad_()
    (slope,) = torch.autograd.grad(log_joint(x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    assert slope.abs().max() < 1e-9 and torch.allclose(-1 / bend, variance.expand_as(bend))


def test_the_posterior_of_the_first_step_is_the_picture_and_one_time_serves_all():
    process, (x_t, x0) = DDPM(linear_beta(50)), torch.randn(2, 3, 1, 2, 2, generator=seeded(0))
    mean, variance = process.posterior(x_t, x0, 1)
    assert torch.allclose(mean, x0) and variance == 0
    assert torch.allclose(process.posterior(x_t, x0, 9)[0], process.posterior(x_t, x0, torch.full((3,), 9))[0])


def test_sample_t_is_uniform_on_one_to_T():
    t = DDPM(cosine_beta(10)).sample_t(20_000, seeded(0))
    share = t.bincount(minlength=11) / 20_000
    assert share[0] == 0 and (share[1:] - 0.1).abs().max() < 0.01


def test_a_generator_gives_the_same_noise_and_only_that():
    x = torch.zeros(3, 2, dtype=torch.float64)
    first, again = (randn_like(x, seeded(5)) for _ in range(2))
    assert torch.equal(first, again) and first.dtype == torch.float64


BAD = torch.tensor([[float("nan")]])


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda p: p.alpha_bar(51), ValueError, "t must lie in 0..50, got 51"),
        (lambda p: p.alpha_bar(-1), ValueError, "t must lie in 0..50, got -1"),
        (lambda p: p.signal(torch.tensor([3, 99])), ValueError, "got 99"),
        (lambda p: p.signal(0.5), TypeError, "t must be a whole number"),
        (lambda p: p.signal(torch.tensor([0.5])), TypeError, "t must be whole numbers"),
        (lambda p: p.times(0), ValueError, "n must be at least 1, got 0"),
        (lambda p: p.times(51), ValueError, "n must be at most T = 50"),
        (lambda p: p.add_noise(BAD, 1, BAD), ValueError, "x0 must be finite"),
        (lambda p: p.add_noise(torch.zeros(0, 2), 1, torch.zeros(0, 2)), ValueError, "x0 must be a non-empty batch"),
        (lambda p: p.add_noise(torch.zeros(3), 1, torch.zeros(3)), ValueError, "batch (B, ...)"),
        (lambda p: p.add_noise(torch.zeros(2, 2, dtype=torch.uint8), 1, torch.zeros(2, 2)), TypeError, "floating dtype"),
        (lambda p: p.add_noise([[1.0]], 1, torch.zeros(1, 1)), TypeError, "x0 must be a torch.Tensor, got list"),
        (lambda p: p.add_noise(torch.zeros(2, 3), 1, torch.zeros(2, 1)), ValueError, "eps must have the shape of x0"),
        (lambda p: p.add_noise(torch.zeros(2, 3), torch.tensor([1, 2, 3]), torch.zeros(2, 3)), ValueError, "batch of 2"),
        (lambda p: p.posterior(torch.zeros(1, 2), torch.zeros(1, 2), 0), ValueError, "t must lie in [1, 50], got 0"),
        (lambda p: p.posterior(torch.zeros(1, 2), torch.zeros(2, 2), 1), ValueError, "x0 must have the shape of x_t"),
        (lambda p: DDPM(torch.tensor([0.1, 1.0])), ValueError, "betas must lie between 0 and 1"),
        (lambda p: VarianceExploding(torch.tensor([2.0, 1.0])), ValueError, "sigmas must be positive and ascend"),
        (lambda p: RectifiedFlow().signal(1.2), ValueError, "t must lie in [0, 1], got 1.2"),
        (lambda p: RectifiedFlow().signal(float("nan")), ValueError, "t must lie in [0, 1], got nan"),
        (lambda p: linear_beta(10), ValueError, "start and end"),
        (lambda p: linear_beta(1), ValueError, "T must be at least 2"),
        (lambda p: geometric_sigma(10, 1, 0.5), ValueError, "0 < min_sigma < max_sigma"),
    ],
)
def test_bad_input_is_named_in_one_line(call, error, words):
    with pytest.raises(error) as raised:
        call(PROCESSES[0])
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_what_a_process_answers_is_a_copy_and_can_be_trained_through():
    """An in-place operator on an answer changes no later answer, and tables first read in inference mode stay trainable."""
    process, x = DDPM(linear_beta(1000)), torch.zeros(3, 2)
    for t in (123, 124):
        a, b = process.coefficients(t, x)
        want = process.signal(t).float(), process.noise(t).float()
        a.mul_(7), b.zero_()
        assert torch.equal(torch.cat(process.coefficients(t, x)).flatten(), torch.stack(want))
        alpha_bar = process.alpha_bar(t)
        alpha_bar /= process.alpha_bar(t - 1)
        assert torch.isclose(process.alpha_bar(t), want[0].double() ** 2, rtol=1e-6)
        time = relative_time(t, process, x)
        time.mul_(1000)
        assert torch.equal(relative_time(t, process, x), torch.full((3,), t / 1000, dtype=torch.float64))
    assert float(process.signal(123)) == float(DDPM(linear_beta(1000)).signal(123))
    with torch.inference_mode():
        process.coefficients(321, x), relative_time(321, process, x)
    weight = torch.ones((), requires_grad=True)
    (weight * process.coefficients(321, x)[0] * relative_time(321, process, x)).sum().backward()
    assert weight.grad > 0


def test_the_noise_of_each_member_is_its_own():
    few, many = (randn_like(torch.zeros(n, 3), seeded_each(5, n)) for n in (4, 16))
    assert torch.equal(few, many[:4]) and len(many.unique()) == 48
    assert abs(float(randn_like(torch.zeros(500, 40), seeded_each(1, 500)).std()) - 1) < 0.02
    with pytest.raises(ValueError, match="rng must be one generator or one for each of the batch of 4, got 3"):
        randn_like(torch.zeros(4, 2), seeded_each(0, 3))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "1", None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises((ValueError, TypeError), match="seed must be"):
        seeded(seed)


@pytest.mark.parametrize("betas", [linear_beta(1000), cosine_beta(50)], ids=["linear", "cosine"])
def test_single_steps_are_one_jump(betas):
    """The moments of a chain of single steps (Ho et al. 2020, eq. 2) are those of eq. 4, to rounding."""
    process, mean, variance = DDPM(betas), 1.0, 0.0
    for t in range(1, process.T + 1):
        mean, variance = mean * process.alpha(t).sqrt(), process.alpha(t) * variance + process.beta(t)
        assert abs(mean - process.signal(t)) < 1e-12 and abs(variance - process.noise(t) ** 2) < 1e-12
