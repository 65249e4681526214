"""Fast solvers: against diffusers' schedulers, and their orders of convergence on exact flows."""

import pytest
import torch

from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.methods.edm import EDM, Preconditioned, churn, edm_loss, karras_sigmas, nearest_times
from course_lib.methods.solvers import deis, dpm_solver, plms, unipc
from course_lib.mixtures import GaussianMixture
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, RectifiedFlow, seeded
from course_lib.samplers import ddim, heun, result
from course_lib.schedules import cosine_beta, linear_beta

three = GaussianMixture([0.2, 0.3, 0.5], torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, -1.0]]), [0.1, 0.15, 0.2])
chain = DDPM(linear_beta(1000))
denoiser = ExactDenoiser(three, chain)


def start(n=6):
    return torch.randn(n, 2, generator=seeded(9), dtype=torch.float64)


def scheduler(name, times, process=chain, **options):
    """diffusers' scheduler of that name, with our times in float64."""
    diffusers = pytest.importorskip("diffusers")
    made = getattr(diffusers, name)(**options)
    made.set_timesteps(len(times) - 1)
    sigmas = process.noise(times) / process.signal(times)
    if name == "HeunDiscreteScheduler":
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    made.sigmas = sigmas
    return made


def by_scheduler(made, x, times, moves):
    """Its trajectory's end after `moves` moves, with the exact noise."""
    for t, at in list(zip(times.tolist(), made.timesteps))[:moves]:
        x = made.step(denoiser(x, t).eps, at, x).prev_sample
    return x


@pytest.mark.parametrize("n", [5, 10, 14])
@pytest.mark.parametrize("order", [1, 2])
def test_dpm_solver_is_equal_to_diffusers(n, order):
    times = chain.times(n)
    made = scheduler("DPMSolverMultistepScheduler", times, solver_order=order)
    assert (result(dpm_solver(denoiser, start(), times, order)) - by_scheduler(made, start(), times, n)).abs().max() < 1e-5


@pytest.mark.parametrize("n", [5, 6, 10, 12])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_singlestep_dpm_solver_is_equal_to_diffusers(n, order):
    times, kind = chain.times(n), "heun" if order == 3 else "midpoint"
    made = scheduler("DPMSolverSinglestepScheduler", times, solver_order=order, solver_type=kind)
    mine = result(dpm_solver(denoiser, start(), times, order, singlestep=True))
    assert (mine - by_scheduler(made, start(), times, n)).abs().max() < 1e-5


@pytest.mark.parametrize("doubled", [True, False])
def test_third_order_multistep_dpm_solver_is_diffusers_with_its_last_term_doubled(doubled, monkeypatch):
    """theirs takes half of the parabola's x^2 term: in it D2 is the second divided difference, not the second derivative."""
    times, n = chain.times(10), 10
    made = scheduler("DPMSolverMultistepScheduler", times, solver_order=3, solver_type="heun")
    if doubled:
        update = made.multistep_dpm_solver_third_order_update
        made.multistep_dpm_solver_third_order_update = lambda outputs, sample, noise: (
            update(outputs, sample=sample) + extra(made, outputs)
        )
    off = (result(dpm_solver(denoiser, start(), times, 3)) - by_scheduler(made, start(), times, n)).abs().max()
    assert off < 1e-5 if doubled else off > 1e-3


def extra(made, outputs):
    """The x^2 term of diffusers' third-order update, once more."""
    i = made.step_index
    sigma = made.sigmas[i - 2 : i + 2]
    lambdas, alpha = -sigma.log(), 1 / (1 + sigma[-1] ** 2).sqrt()
    h1, h0, h = lambdas.diff()
    r0, r1 = h0 / h, h1 / h
    m2, m1, m0 = outputs
    d2 = ((m0 - m1) / r0 - (m1 - m2) / r1) / (r0 + r1)
    return -alpha * ((torch.exp(-h) - 1 + h) / h**2 - 0.5) * d2


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_is_equal_to_diffusers(n, order):
    times = chain.times(n)
    made = scheduler("UniPCMultistepScheduler", times, solver_order=order)
    assert (result(unipc(denoiser, start(), times, order)) - by_scheduler(made, start(), times, n)).abs().max() < 1e-5


@pytest.mark.parametrize("n", [5, 10, 14])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_is_equal_to_diffusers(n, order):
    times = chain.times(n)
    made = scheduler("DEISMultistepScheduler", times, solver_order=order)
    mine = list(deis(denoiser, start(), times, order))[-2].x  # theirs has no move to a noise of 0
    assert (mine - by_scheduler(made, start(), times, n - 1)).abs().max() < 1e-5


@pytest.mark.parametrize("n", [5, 10, 50])
def test_plms_is_equal_to_diffusers(n):
    diffusers = pytest.importorskip("diffusers")
    made = diffusers.PNDMScheduler(skip_prk_steps=True, timestep_spacing="leading", set_alpha_to_one=True)
    made.alphas_cumprod, made.final_alpha_cumprod = chain.alpha_bar(torch.arange(1, 1001)), torch.tensor(1.0).double()
    made.set_timesteps(n)
    x = start()
    for t in made.timesteps:
        x = made.step(denoiser(x, int(t) + 1).eps, int(t), x).prev_sample
    times = torch.cat([made.timesteps.unique().flip(0) + 1, torch.tensor([0])])
    assert (result(plms(denoiser, start(), times)) - x).abs().max() < 1e-5


edm = EDM()
of_edm = ExactDenoiser(three, edm)


def test_karras_times_are_equal_to_diffusers():
    made = scheduler("EDMEulerScheduler", edm.times(10), edm)
    theirs = made._compute_karras_sigmas(torch.linspace(0, 1, 10, dtype=torch.float64))
    assert torch.allclose(edm.times(10)[:-1], theirs) and edm.times(10)[-1] == 0 and len(edm.times(10)) == 11
    assert torch.equal(karras_sigmas(10), edm.times(10))


def test_the_nearest_times_have_the_noise_levels_that_are_asked_for():
    sigmas = karras_sigmas(10, 0.1, 10.0)
    times = nearest_times(chain, sigmas)
    assert times[0] == 1000 and times[-1] == 0 and len(times) == 11 and (times.diff() < 0).all()
    levels = chain.noise(times) / chain.signal(times)
    assert (levels[1:-1] / sigmas[1:-1]).log().abs().max() < 0.05
    assert nearest_times(chain, torch.tensor([5.0, 1e-9, 1e-10, 0])).tolist() == [1000, 1, 0]


def test_dpm_solver_on_karras_times_is_equal_to_diffusers():
    times, x = edm.times(12), 80 * start()
    made = scheduler("EDMDPMSolverMultistepScheduler", times, edm, solver_order=2)
    made.convert_model_output = lambda output, sample: output
    theirs = x
    for t, at in zip(times.tolist(), made.timesteps):
        theirs = made.step(of_edm(theirs, t).x0, at, theirs).prev_sample
    assert (result(dpm_solver(of_edm, x, times)) - theirs).abs().max() < 1e-5


def test_churn_is_equal_to_diffusers():
    """theirs adds the noise inside of its step, after the network was called: it is given what ours predicts with the noise."""
    times, x, gamma = edm.times(12), 80 * start(), 2**0.5 - 1
    made = scheduler("EDMEulerScheduler", times, edm)
    made.is_scale_input_called = True
    options = {"s_churn": 6.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003, "generator": seeded(3)}
    theirs, same = x, seeded(3)
    for t, at in zip(times.tolist(), made.timesteps):
        hat = t * (1 + gamma) if 0.05 <= t <= 50 else t
        noisy = theirs
        if hat > t:
            noisy = theirs + (hat**2 - t**2) ** 0.5 * 1.003 * torch.randn(6, 2, generator=same, dtype=torch.float64)
        pred = of_edm(noisy, hat).x0
        theirs = made.step(pred, at, theirs, **options, pred_original_sample=pred).prev_sample
    mine = result(churn(of_edm, x, times, 6.0, order=1, rng=seeded(3)))
    assert (mine - theirs).abs().max() < 1e-5


def test_without_new_noise_churn_is_heun():
    args = of_edm, 80 * start(), edm.times(9)
    assert torch.allclose(result(churn(*args, amount=0)), result(heun(*args)), atol=1e-12)


def test_heun_is_equal_to_diffusers():
    times, x = edm.times(12), 80 * start()
    made = scheduler("HeunDiscreteScheduler", times, edm)
    theirs, at = x, [times[0], *times[1:-1].repeat_interleave(2)]
    for t, step in zip(at, made.timesteps):
        theirs = made.step(of_edm(theirs, float(t)).eps, step, theirs).prev_sample
    assert (result(heun(of_edm, x, times)) - theirs).abs().max() < 1e-5


def errors(sampler, moves, end, mixture=three, **options):
    """The mean distance from the flow's solution after each number of equal moves of a rectified flow, from 0.9 to `end`."""
    flow = RectifiedFlow()
    own = ExactDenoiser(mixture, flow)
    x = flow.add_noise(mixture.sample(100, seeded(0))[0].double(), 0.9, torch.randn(100, 2, generator=seeded(1)).double())
    times = lambda n: torch.linspace(0.9, end, n + 1, dtype=torch.float64)
    truth = result(unipc(own, x, times(2000), 3))
    return [float((result(sampler(own, x, times(n), **options)) - truth).norm(dim=1).mean()) for n in moves]


wide = GaussianMixture([0.4, 0.6], torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), [0.4, 0.3])


@pytest.mark.parametrize(
    "order, sampler, options",
    [
        (1, dpm_solver, {"order": 1}),
        (2, dpm_solver, {"order": 2}),
        (2, dpm_solver, {"order": 2, "singlestep": True}),
        (3, dpm_solver, {"order": 3, "singlestep": True}),
        (2, heun, {}),
        (2, unipc, {"order": 1}),
        (3, unipc, {"order": 2}),
        (4, unipc, {"order": 3}),
        (2, dpm_solver, {"order": 3}),  # its first move has order 1
    ],
)
def test_orders_of_convergence_away_from_t_0(order, sampler, options):
    before, after = errors(sampler, (96, 192), 0.3, wide, **options)
    assert float(torch.tensor(before / after).log2()) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(
    "order, sampler, options",
    [(1, deis, {"order": 1}), (2, deis, {"order": 2}), (2, plms, {})],
    ids=["deis-1", "deis-2", "plms"],
)
def test_orders_of_convergence_of_the_solvers_of_a_chain(order, sampler, options):
    """A chain of 40,000 steps, so that 96 moves of it are equal. In t: PLMS would need them equal in b / a to have more."""
    fine = DDPM(linear_beta(40_000))
    own, times = ExactDenoiser(wide, fine), lambda n: torch.linspace(30_000, 6_000, n + 1).long()
    x = fine.add_noise(wide.sample(100, seeded(0))[0].double(), 30_000, torch.randn(100, 2, generator=seeded(1)).double())
    truth = result(unipc(own, x, times(1000), 3))
    before, after = [float((result(sampler(own, x, times(n), **options)) - truth).norm(dim=1).mean()) for n in (48, 96)]
    assert float(torch.tensor(before / after).log2()) == pytest.approx(order, abs=0.1)


def test_two_evaluations_a_move_are_counted_where_they_are_made():
    calls = []
    counting = type("Counting", (), {"process": chain, "__call__": lambda self, x, t: calls.append(t) or denoiser(x, t)})()
    for sampler, evaluations in ((dpm_solver, 10), (unipc, 10), (deis, 10), (plms, 11), (heun, 19)):
        calls.clear()
        result(sampler(counting, start(), chain.times(10)))
        assert len(calls) == evaluations, sampler.__name__


def test_order_1_is_ddim_and_a_flow_may_start_from_noise_alone():
    ours = result(dpm_solver(denoiser, start(), chain.times(10), 1))
    assert torch.allclose(ours, result(ddim(denoiser, start(), chain.times(10))))
    flow = ExactDenoiser(three, RectifiedFlow())
    for sampler in (dpm_solver, unipc):
        assert result(sampler(flow, start(), RectifiedFlow().times(8), 3)).isfinite().all()


def test_data_at_one_point_is_reached_in_one_move():
    point = GaussianMixture([1.0], torch.tensor([[0.7, -0.3]]), [1e-6])
    for sampler in (dpm_solver, unipc, deis, plms):
        x = result(sampler(ExactDenoiser(point, chain), start(), chain.times(1)))
        assert torch.allclose(x, point.means.expand_as(x), atol=1e-4)


def test_preconditioning_at_unit_data_on_a_variance_preserving_chain_is_the_v_parameterisation():
    chain = DDPM(cosine_beta(1000))
    net = lambda x, time: torch.sin(3 * x)
    x, t = start(), 400
    pred = Preconditioned(net, chain, sigma_data=1.0)(x, t)
    assert torch.allclose(pred.v, -torch.sin(3 * x), atol=1e-9)


@pytest.mark.parametrize("sigma", [0.002, 0.3, 5.0, 80.0])
def test_inputs_and_targets_of_the_net_have_unit_variance_at_every_sigma(sigma):
    d, n = 0.7, 200_000
    network = Preconditioned(lambda x, time: x, edm, sigma_data=d)
    x0 = d * torch.randn(n, generator=seeded(0), dtype=torch.float64)
    x = x0 + sigma * torch.randn(n, generator=seeded(1), dtype=torch.float64)
    c_skip, c_out, c_in, _ = network.factors(torch.tensor(sigma, dtype=torch.float64))
    assert float((c_in * x).std()) == pytest.approx(1, abs=0.01)
    assert float(((x0 - c_skip * x) / c_out).std()) == pytest.approx(1, abs=0.01)
    assert float(network.weight(torch.tensor(sigma)) * c_out**2) == pytest.approx(1)


def test_a_net_that_puts_out_zero_has_a_loss_of_one():
    zero = Preconditioned(lambda x, time: 0 * x, edm, sigma_data=0.7)
    x0 = 0.7 * torch.randn(50_000, 2, generator=seeded(0))
    assert float(edm_loss(zero, x0, seeded(1))) == pytest.approx(1, abs=0.02)


def test_training_times_are_log_normal():
    t = edm.sample_t(100_000, seeded(0)).log()
    assert float(t.mean()) == pytest.approx(-1.2, abs=0.02) and float(t.std()) == pytest.approx(1.2, abs=0.02)
    assert edm.signal(0.3) == 1 and edm.noise(0.3) == pytest.approx(0.3) and edm.T == 80


def test_churn_with_much_noise_still_recovers_the_mixture():
    noise = 80 * torch.randn(4000, 2, generator=seeded(4), dtype=torch.float64)
    x = result(churn(of_edm, noise, edm.times(40), 20.0, scale=1.0, rng=seeded(5)))
    nearest = torch.cdist(x, three.means).argmin(1)
    shares = torch.bincount(nearest, minlength=3) / len(x)
    assert (shares - three.weights).abs().max() < 0.03


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: list(dpm_solver(denoiser, start(), chain.times(3), 4)), "order must be one of 1, 2, 3, got 4"),
        (lambda: list(unipc(denoiser, start(), chain.times(3), 0)), "order must be one of 1, 2, 3, got 0"),
        (lambda: list(deis(denoiser, start(), chain.times(3), 2.5)), "order must be one of 1, 2, 3, got 2.5"),
        (lambda: list(churn(of_edm, start(), edm.times(3), order=3)), "order must be one of 1, 2, got 3"),
        (lambda: karras_sigmas(10, 1.0, 0.5), "low and high must satisfy 0 < low < high, got 1.0 and 0.5"),
        (lambda: Preconditioned(MLP(), edm, sigma_data=0.0), "sigma_data must be positive, got 0.0"),
        (
            lambda: nearest_times(chain, torch.tensor([1.0, 2.0, 0.0])),
            "sigmas must be two or more that fall to 0, got [1.0, 2.0",
        ),
        (lambda: edm.noise(81), "t must lie in [0, 80], got 81"),
    ],
)
def test_bad_input_is_named_in_one_line(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("sampler", [plms, deis, churn])
def test_a_process_that_a_sampler_is_not_made_for_is_named(sampler):
    with pytest.raises(TypeError, match=f"for {sampler.__name__}, got one of RectifiedFlow"):
        list(sampler(ExactDenoiser(three, RectifiedFlow()), start(), RectifiedFlow().times(3)))


def test_churn_keeps_the_dtype():
    x = result(churn(ExactDenoiser(ring(), edm), 80 * start().float(), edm.times(10), rng=seeded(0)))
    assert x.dtype == torch.float32 and x.isfinite().all()
