"""The samplers of the score's and the flow's papers: their order, what they recover, and whom they equal."""

import math

import pytest
import torch

from course_lib.denoisers import ExactDenoiser
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, RectifiedFlow, VarianceExploding, seeded
from course_lib.samplers import annealed_langevin, ddim, ddpm, heun, invert, langevin, probability_flow, rectified_flow, result
from course_lib.schedules import cosine_beta, linear_beta

one = GaussianMixture([1.0], torch.tensor([[0.7, -0.3]]), [0.5])
three = GaussianMixture([0.2, 0.3, 0.5], torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, -1.0]]), [0.1, 0.15, 0.2])
apart = GaussianMixture([0.2, 0.8], torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), [1.0, 1.0])  # Song and Ermon 2019, section 3.2.2
levels = VarianceExploding(torch.logspace(math.log10(0.05), math.log10(4.0), 60, dtype=torch.float64))


def start(n=6):
    return torch.randn(n, 2, generator=seeded(9), dtype=torch.float64)


def slope(sampler, process, counts):
    """The order of a sampler, from its error against the closed-form flow of one Gaussian, about whose mean it only scales."""
    x = start(50)
    a, b = process.coefficients(process.T, x)
    exact = one.means + 0.5 * (x - a * one.means) / (a**2 * 0.25 + b**2).sqrt()
    denoiser = ExactDenoiser(one, process)
    errors = [float((result(sampler(denoiser, x, process.times(n))) - exact).norm()) for n in counts]
    return math.log(errors[0] / errors[-1]) / math.log(counts[-1] / counts[0])


@pytest.mark.parametrize(
    "sampler, process, order",
    [
        (rectified_flow, RectifiedFlow(), 1),
        (heun, RectifiedFlow(), 2),
        (ddim, DDPM(linear_beta(2**14)), 1),
        (probability_flow, DDPM(linear_beta(2**14)), 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_order_of_convergence(sampler, process, order):
    assert abs(slope(sampler, process, (256, 1024)) - order) < 0.1


def shares_and_means(x, mixture):
    nearest = (x[:, None] - mixture.means.to(x)).norm(dim=2).argmin(1)
    mine = [x[nearest == k] for k in range(len(mixture.weights))]
    return torch.tensor([len(m) / len(x) for m in mine]), torch.stack([m.mean(0) for m in mine])


def on_chain(sampler, betas=cosine_beta, n=250, **options):
    process = DDPM(betas(1000))
    x = torch.randn(20_000, 2, generator=seeded(9))
    return result(sampler(ExactDenoiser(three, process), x, process.times(n), **options))


def on_flow(sampler):
    process = RectifiedFlow()
    x = torch.randn(20_000, 2, generator=seeded(9))
    return result(sampler(ExactDenoiser(three, process), x, process.times(250)))


def annealed(mixture, n, eta, x):
    return result(annealed_langevin(ExactDenoiser(mixture, levels), x, levels.times(levels.T), n, eta, seeded(0)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: on_chain(ddpm, rng=seeded(0)),
        lambda: on_chain(ddim),
        lambda: on_chain(ddim, eta=0.5, rng=seeded(0)),
        lambda: on_chain(heun),
        lambda: on_chain(probability_flow, linear_beta, 1000),
        lambda: on_flow(rectified_flow),
        lambda: on_flow(heun),
        lambda: annealed(three, 20, 2e-4, 4 * torch.randn(20_000, 2, generator=seeded(9))),
    ],
    ids=["ddpm", "ddim", "ddim, eta 0.5", "heun", "probability flow", "rectified flow", "heun on a flow", "annealed langevin"],
)
def test_it_recovers_the_weights_and_the_means_of_three_modes(draw):
    share, mean = shares_and_means(draw(), three)
    assert (share - three.weights).abs().max() < 0.02 and (mean - three.means).norm(dim=1).max() < 0.05


def test_plain_langevin_gets_the_weights_of_separated_modes_wrong_and_annealed_does_not():
    process = VarianceExploding(torch.logspace(-1, 1.3, 40, dtype=torch.float64))
    exact, x = ExactDenoiser(apart, process), 16 * torch.rand(4_000, 2, generator=seeded(9)) - 8
    plain = result(langevin(exact, x, 1, n=1000, eta=0.1, rng=seeded(0)))
    annealed = result(annealed_langevin(exact, x, process.times(40), n=50, eta=0.004, rng=seeded(0)))
    assert abs(shares_and_means(plain, apart)[0][0] - 0.5) < 0.05
    assert abs(shares_and_means(annealed, apart)[0][0] - 0.2) < 0.02


def test_langevin_stays_where_it_should_and_its_steps_are_equation_4():
    exact = ExactDenoiser(one, levels)
    first, second = list(langevin(exact, start(), 1, n=1, eta=0.01, rng=seeded(0)))
    z = torch.randn(first.x.shape, generator=seeded(0), dtype=torch.float64)
    assert torch.allclose(second.x, first.x + 0.005 * first.pred.score + 0.1 * z)
    a, b = levels.coefficients(1, first.x)
    x = a * one.sample(20_000, seeded(0))[0].double() + b * torch.randn(20_000, 2, generator=seeded(1), dtype=torch.float64)
    mask = result(langevin(exact, x, 1, n=200, eta=0.01, rng=seeded(0)))
    assert (mask.mean(0) - x.mean(0)).norm() < 0.02 and (mask.std(0) - x.std(0)).abs().max() < 0.02


def test_annealed_langevin_takes_n_steps_a_level_with_the_step_size_of_algorithm_1():
    process = VarianceExploding(torch.tensor([0.1, 0.2, 0.4]))
    steps = list(annealed_langevin(ExactDenoiser(one, process), start(), process.times(3), n=2, eta=0.001, rng=seeded(0)))
    assert [s.t for s in steps] == [3, 3, 2, 2, 1, 1, 1] and steps[-1].pred is None
    rng, alpha = seeded(0), [0.016, 0.016, 0.004, 0.004, 0.001, 0.001]
    for now, then, size in zip(steps, steps[1:], alpha):
        z = torch.randn(now.x.shape, generator=rng, dtype=torch.float64)
        assert torch.allclose(then.x, now.x + size / 2 * now.pred.score + size**0.5 * z)


def test_on_a_rectified_flow_euler_is_ddim_and_heun_is_heuns_rule_for_the_velocity():
    process = RectifiedFlow()
    denoiser, x, times = ExactDenoiser(three, process), start(), process.times(10)
    v = lambda x, t: denoiser(x, t).flow
    euler, trapezoid = x, x
    for t, s in zip(times[:-1].tolist(), times[1:].tolist()):
        pred = denoiser(euler, t)
        euler = process.add_noise(pred.x0, s, pred.eps)
        guess = trapezoid + (s - t) * v(trapezoid, t)
        trapezoid = trapezoid + (s - t) * (v(trapezoid, t) + v(guess, s)) / 2 if s else guess
    assert torch.allclose(result(rectified_flow(denoiser, x, times)), euler)
    assert torch.allclose(result(heun(denoiser, x, times)), trapezoid)


def test_inversion_walks_ddims_way_back():
    process = DDPM(cosine_beta(1000))
    denoiser = ExactDenoiser(three, process)
    x = three.sample(200, seeded(0))[0].double()
    apart = []
    for n in (10, 100, 1000):
        steps = list(invert(denoiser, x, process.times(n)))
        assert steps[0].t == 0 and torch.equal(steps[0].x, x) and steps[-1].t == 1000 and len(steps) == n + 1
        apart.append(float((result(ddim(denoiser, steps[-1].x, process.times(n))) - x).square().mean().sqrt()))
    assert apart[0] > 2 * apart[1] > 4 * apart[2] and apart[2] < 0.02
    # and the noise is noise: standard, and no longer telling of its picture
    assert (steps[-1].x.std(0) - 1).abs().max() < 0.15


SIGMAS = torch.logspace(math.log10(0.02), math.log10(50), 20, dtype=torch.float64)


def test_equal_to_diffusers_euler_and_heun():
    """The same trajectory as diffusers' Euler and Heun schedulers on the same noise levels, to 1e-5 in float64."""
    diffusers = pytest.importorskip("diffusers")
    process = VarianceExploding(SIGMAS)
    denoiser, x = ExactDenoiser(three, process), 50 * start()
    sigma = torch.cat([SIGMAS.flip(0), torch.zeros(1, dtype=torch.float64)])
    for scheduler, evaluations in ((diffusers.EulerDiscreteScheduler(), 20), (diffusers.HeunDiscreteScheduler(), 39)):
        scheduler.set_timesteps(20)
        double = evaluations > 20
        scheduler.sigmas = torch.cat([sigma[:1], sigma[1:-1].repeat_interleave(2), sigma[-1:]]) if double else sigma
        scheduler.timesteps = torch.arange(evaluations, dtype=torch.float64)  # names for the evaluations
        theirs = x
        for i in range(evaluations):
            level = 20 - (i + 1) // 2 if double else 20 - i
            theirs = scheduler.step(denoiser(theirs, level).eps, scheduler.timesteps[i], theirs).prev_sample
        mine = result(heun(denoiser, x, process.times(20))) if double else euler(denoiser, x, process.times(20))
        assert (mine - theirs).abs().max() < 1e-5 * x.abs().max(), scheduler


def euler(denoiser, x, times):
    """DDIM's move at eta = 0, add_noise(x0, s, eps), on any process."""
    for t, s in zip(times[:-1].tolist(), times[1:].tolist()):
        pred = denoiser(x, t)
        x = denoiser.process.add_noise(pred.x0, s, pred.eps)
    return x


def test_equal_to_diffusers_rectified_flow():
    diffusers = pytest.importorskip("diffusers")
    process = RectifiedFlow()
    denoiser, x = ExactDenoiser(three, process), start()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=process.times(25)[:-1].tolist())
    scheduler.sigmas = process.times(25)
    theirs = x
    for i, t in enumerate(scheduler.timesteps):
        theirs = scheduler.step(denoiser(theirs, float(scheduler.sigmas[i])).flow, t, theirs).prev_sample
    assert (result(rectified_flow(denoiser, x, process.times(25))) - theirs).abs().max() < 1e-5


def test_equal_to_diffusers_heun_on_a_rectified_flow():
    diffusers = pytest.importorskip("diffusers")
    process = RectifiedFlow()
    denoiser, x, sigma = ExactDenoiser(three, process), start(), process.times(20)
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(20)
    scheduler.sigmas = torch.cat([sigma[:1], sigma[1:-1].repeat_interleave(2), sigma[-1:]])
    scheduler.timesteps = 1000 * torch.cat([sigma[:1], sigma[1:-1].repeat_interleave(2)])
    theirs = x
    for t in scheduler.timesteps:
        theirs = scheduler.step(denoiser(theirs, float(t) / 1000).flow, t, theirs).prev_sample
    assert (result(heun(denoiser, x, sigma)) - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("n", [10, 50, 1000])
def test_equal_to_diffusers_inversion(n):
    diffusers = pytest.importorskip("diffusers")
    betas = cosine_beta(1000)
    process = DDPM(betas)
    denoiser, x = ExactDenoiser(three, process), three.sample(20, seeded(0))[0].double()
    scheduler = diffusers.DDIMInverseScheduler(trained_betas=betas.tolist(), clip_sample=False)
    scheduler.alphas_cumprod = (1 - betas).cumprod(0)
    scheduler.initial_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(n)
    theirs, gap, eps = x, 1000 // n, None
    for t in scheduler.timesteps.tolist():  # they move from t - gap to t, and t = -1 is our 0
        before = t - gap + 1
        eps = denoiser(theirs, before if before > 0 else t + 1).eps
        theirs = scheduler.step(eps, t, theirs).prev_sample
    times = torch.cat([scheduler.timesteps.flip(0) + 1, torch.zeros(1, dtype=torch.long)])
    assert (result(invert(denoiser, x, times)) - theirs).abs().max() < 1e-5


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: list(langevin(ExactDenoiser(one, levels), start(), 1, n=0, eta=0.1)), "n must be at least 1, got 0"),
        (lambda: list(langevin(ExactDenoiser(one, levels), start(), 1, n=3, eta=0.0)), "eta must be positive, got 0.0"),
        (lambda: list(langevin(ExactDenoiser(one, levels), start(), 1, n=3, eta=float("inf"))), "eta must be finite"),
        (
            lambda: list(annealed_langevin(ExactDenoiser(one, levels), start(), torch.tensor([1, 2]))),
            "times must be one falling row",
        ),
        (lambda: list(invert(ExactDenoiser(one, levels), torch.zeros(0, 2), levels.times(3))), "x must be a non-empty batch"),
    ],
)
def test_bad_input_is_named_in_one_line(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)
