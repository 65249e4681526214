"""Samplers against the truth, against each other, and against an independent implementation."""

import pytest
import torch

from course_lib.datasets import points
from course_lib.denoisers import ExactDenoiser
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, RectifiedFlow, VarianceExploding, seeded, seeded_each
from course_lib.samplers import Step, ddim, ddpm, probability_flow, rectified_flow, result, sample, time_pairs
from course_lib.schedules import cosine_beta, geometric_sigma, linear_beta

process = DDPM(cosine_beta(1000))
three = GaussianMixture([0.2, 0.3, 0.5], torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, -1.0]]), [0.1, 0.15, 0.2])


def start(n=6, dtype=torch.float64):
    return torch.randn(n, 2, generator=seeded(9), dtype=dtype)


@pytest.mark.parametrize("sampler", [ddpm, ddim])
def test_n_moves_yield_n_plus_one_steps(sampler):
    steps = list(sampler(ExactDenoiser(three, process), start(), process.times(7)))
    assert [s.t for s in steps] == process.times(7).tolist() and len(steps) == 8
    assert steps[-1].pred is None and torch.equal(steps[-1].x0, steps[-1].x) and steps[0].pred.eps.shape == (6, 2)


@pytest.mark.parametrize("sampler", [ddpm, ddim])
def test_it_recovers_a_mixture(sampler):
    x = result(sampler(ExactDenoiser(three, process), start(20_000, torch.float32), process.times(250)))
    nearest = (x[:, None] - three.means.float()).norm(dim=2).argmin(1)
    for k in range(3):
        mine = x[nearest == k]
        assert abs(len(mine) / len(x) - three.weights[k]) < 0.02
        assert (mine.mean(0) - three.means[k]).norm() < 0.05 and (mine.std(0) - three.stds[k]).abs().max() < 0.06


def test_ddim_at_eta_one_is_ddpm():
    args = ExactDenoiser(three, process), start(), process.times(1000)
    one = result(ddim(*args, eta=1.0, rng=seeded(0)))
    assert torch.allclose(one, result(ddpm(*args, rng=seeded(0))), atol=1e-9)


def test_a_ddpm_step_draws_from_the_posterior_at_the_predicted_picture():
    first, second = list(ddpm(ExactDenoiser(three, process), start(), process.times(1000), rng=seeded(0)))[:2]
    mean, variance = process.posterior(first.x, first.x0, first.t)
    assert torch.allclose(second.x, mean + variance.sqrt() * torch.randn(mean.shape, generator=seeded(0), dtype=mean.dtype))


def test_ddim_needs_no_noise_and_ddpm_does():
    args = ExactDenoiser(three, process), start(), process.times(20)
    assert torch.equal(result(ddim(*args)), result(ddim(*args)))
    assert not torch.allclose(result(ddpm(*args, rng=seeded(1))), result(ddpm(*args, rng=seeded(2))))


def test_the_start_decides_where_ddim_ends_and_not_where_ddpm_does():
    one = torch.tensor([[0.9, 0.55]], dtype=torch.float64).expand(800, 2)
    chain = DDPM(linear_beta(1000))
    args = ExactDenoiser(points.ring(), chain), one, chain.times(50)
    shares = lambda x: torch.bincount(torch.cdist(x, points.ring().means).argmin(1), minlength=8) / len(x)
    assert shares(result(ddim(*args))).max() == 1
    assert (shares(result(ddpm(*args, seeded(0)))) - 1 / 8).abs().max() < 4 * (7 / 64 / 800) ** 0.5


def test_ddim_tends_to_the_closed_form_flow_of_one_gaussian():
    """For N(m, s^2) the probability flow is linear: x_0 = m + s x_T / sqrt(a^2 s^2 + b^2) about its mean a m."""
    one = GaussianMixture([1.0], torch.tensor([[0.7, -0.3]]), [0.5])
    process = DDPM(linear_beta(4000))
    x = start()
    a, b = process.coefficients(4000, x)
    exact = one.means + 0.5 * (x - a * one.means) / (a**2 * 0.25 + b**2).sqrt()
    errors = [float((result(ddim(ExactDenoiser(one, process), x, process.times(n))) - exact).norm()) for n in (40, 4000)]
    assert errors[1] < 2e-3 and errors[1] < errors[0] / 30


@pytest.mark.parametrize(("steps", "width"), [(25, 0.060), (1000, 0.096)])
def test_the_posterior_variance_makes_a_gaussian_narrower_as_lesson_02_says(steps, width, std=0.1):
    process = DDPM(linear_beta(steps))
    denoiser = ExactDenoiser(GaussianMixture([1.0], torch.zeros(1, 2), [std]), process)
    found = {"posterior": 1.0, "exact": 1.0}
    for t in range(steps, 0, -1):
        alpha, bar, before = (float(x) for x in (process.alpha(t), process.alpha_bar(t), process.alpha_bar(t - 1)))
        eps = float(denoiser(torch.ones(1, 2, dtype=torch.float64), t).eps[0, 0])  # linear in x
        factor = (1 - (1 - alpha) / (1 - bar) ** 0.5 * eps) / alpha**0.5
        posterior = (1 - before) / (1 - bar) * (1 - alpha)
        of_x0 = std**2 * (1 - bar) / (bar * std**2 + 1 - bar)  # the variance of x_0 given x_t
        exact = posterior + before * ((1 - alpha) / (1 - bar)) ** 2 * of_x0
        found = {k: factor**2 * found[k] + v for k, v in (("posterior", posterior), ("exact", exact))}
    assert found["posterior"] ** 0.5 == pytest.approx(width, abs=5e-4)
    assert found["exact"] ** 0.5 == pytest.approx(std, abs=1e-5)
    x = result(ddpm(denoiser, start(4000), process.times(steps), seeded(0)))
    assert float(x.std()) == pytest.approx(width, rel=0.04)


def test_the_caller_keeps_its_gradients_between_steps():
    for _ in ddim(ExactDenoiser(three, process), start(), process.times(2)):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("betas", [linear_beta(1000), cosine_beta(1000)], ids=["linear", "cosine"])
@pytest.mark.parametrize("n", [10, 50, 1000])
def test_equal_to_diffusers(betas, n):
    """The same trajectory as diffusers' schedulers, to 1e-5 in float64, under the same noise."""
    diffusers = pytest.importorskip("diffusers")
    process = DDPM(betas)
    denoiser = ExactDenoiser(three, process)
    for theirs, ours, options in (
        (diffusers.DDPMScheduler, ddpm, {}),
        (diffusers.DDIMScheduler, ddim, {"eta": 0.0}),
        (diffusers.DDIMScheduler, ddim, {"eta": 0.7}),
    ):
        scheduler = theirs(trained_betas=betas.tolist(), clip_sample=False, timestep_spacing="leading")
        scheduler.betas, scheduler.alphas = betas, 1 - betas  # their tables are float32 by default
        scheduler.alphas_cumprod = (1 - betas).cumprod(0)
        scheduler.one = scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
        scheduler.set_timesteps(n)
        times = torch.cat([scheduler.timesteps + 1, torch.tensor([0])])
        x, rng = start(), seeded(3)
        for t in scheduler.timesteps:
            x = scheduler.step(denoiser(x, int(t) + 1).eps, t, x, generator=rng, **options).prev_sample
        mine = result(ours(denoiser, start(), times, **options, rng=seeded(3)))
        assert (mine - x).abs().max() < 1e-5, (theirs.__name__, options)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: time_pairs(torch.zeros(2, 2), torch.tensor([1, 2])), "times must be one falling row"),
        (lambda: time_pairs(torch.zeros(2, 2), torch.tensor([1])), "times must be one falling row"),
        (lambda: time_pairs(torch.full((2, 2), float("nan")), process.times(3)), "x must be finite"),
        (lambda: time_pairs(torch.zeros(0, 2), process.times(3)), "x must be a non-empty batch"),
        (lambda: list(ddim(None, torch.zeros(2, 2), process.times(3), eta=-1)), "eta must be 0 or more, got -1"),
        (lambda: list(ddim(None, torch.zeros(2, 2), process.times(3), eta=float("nan"))), "eta must be finite"),
        (lambda: result([]), "steps must hold at least one Step"),
    ],
)
def test_bad_input_is_named_in_one_line(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_step_prints_and_result_is_the_last():
    assert result(Step(t, torch.tensor([[float(t)]])) for t in (2, 1, 0)).item() == 0
    assert points.ring().dim == 2


@pytest.mark.parametrize(
    "sampler, process, words",
    [
        (ddim, RectifiedFlow(), "denoiser must be one of a DDPM process for ddim, got one of RectifiedFlow"),
        (ddpm, RectifiedFlow(), "denoiser must be one of a DDPM process for ddpm, got one of RectifiedFlow"),
        (
            ddpm,
            VarianceExploding(geometric_sigma(5)),
            "denoiser must be one of a DDPM process for ddpm, got one of VarianceExp",
        ),
        (
            probability_flow,
            RectifiedFlow(),
            "denoiser must be one of a DDPM process for probability_flow, got one of Rectified",
        ),
        (
            rectified_flow,
            DDPM(linear_beta(100)),
            "denoiser must be one of a RectifiedFlow process for rectified_flow, got one of DDPM",
        ),
    ],
)
def test_a_sampler_on_a_process_that_it_is_not_made_for_names_both(sampler, process, words):
    denoiser = ExactDenoiser(points.ring(), process)
    with pytest.raises(TypeError, match=words):
        result(sampler(denoiser, torch.randn(4, 2), process.times(3)))


def test_noise_of_each_member_is_split_with_the_batch():
    denoiser = ExactDenoiser(points.ring(), DDPM(linear_beta(100)))
    noise = torch.randn(7, 2, generator=seeded(0))
    whole, parts = (sample(denoiser, noise, 5, ddpm, batch, rng=seeded_each(3, 7)) for batch in (7, 3))
    assert torch.allclose(whole, parts, atol=1e-5) and torch.allclose(
        whole[:2], sample(denoiser, noise[:2], 5, ddpm, rng=seeded_each(3, 2)), atol=1e-5
    )
