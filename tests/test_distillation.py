"""Distillation against the truth: closed forms of one Gaussian, and a student of an exact teacher."""

import copy

import pytest
import torch
from torch import nn

from course_lib import metrics
from course_lib.datasets import points
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import ClassifierFree
from course_lib.methods.distillation import (
    consistency_loss,
    guided_consistency_loss,
    progressive_loss,
    pseudo_huber,
    truncated_snr,
    two_steps,
)
from course_lib.mixtures import GaussianMixture
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import consistency, ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, train
from course_lib.zoo import models
from course_lib.zoo.recipes import distillation as recipes

process = DDPM(cosine_beta(1000))
MEAN, STD = torch.tensor([[0.7, -0.3]], dtype=torch.float64), 0.5
one = GaussianMixture([1.0], MEAN, [STD])


def start(n=6, dtype=torch.float64, seed=9):
    return torch.randn(n, 2, generator=seeded(seed), dtype=dtype)


def spread(a, b):
    """The standard deviation of x_t for the one Gaussian."""
    return (a**2 * STD**2 + b**2).sqrt()


class Exact(nn.Module):
    """A network for the one Gaussian: `f` says x_0 (B, 2) of x, a and b; it is given in v."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x, time):
        a, b = process.coefficients((time * process.T).round().long(), x)
        return (a * x - self.f(x, a, b)) / b.clamp(min=1e-12)


def flow_end(x, a, b):
    """Where the probability flow through x ends: linear, about the mean."""
    return MEAN.to(x) + STD * (x - a * MEAN.to(x)) / spread(a, b)


# Progressive distillation


def factor(t, s, x):
    """What one DDIM step with the exact denoiser multiplies x_t - a_t mean by."""
    (a, b), (c, d) = process.coefficients(t, x), process.coefficients(s, x)
    return (a * c * STD**2 + b * d) / spread(a, b) ** 2


@pytest.mark.parametrize("t, between, s", [(1000, 500, 0), (1000, 984, 969), (600, 100, 30), (2, 1, 0)])
def test_the_target_of_two_steps_is_the_closed_form(t, between, s):
    x = start()
    (a, b), (c, d) = process.coefficients(t, x), process.coefficients(s, x)
    landed = c * MEAN + factor(t, between, x) * factor(between, s, x) * (x - a * MEAN)
    target = two_steps(ExactDenoiser(one, process), x, t, between, s)
    assert torch.allclose(target, (landed - d / b * x) / (c - d / b * a), atol=1e-9)
    assert torch.allclose(c * target + d * (x - a * target) / b, landed, atol=1e-9)  # the student's one step lands there


def test_the_target_takes_a_time_for_each_of_the_batch():
    t, between, s, teacher = torch.tensor([1000, 600, 2]), torch.tensor([500, 100, 1]), torch.tensor([0, 30, 0]), None
    teacher = ExactDenoiser(points.ring(), process)
    together = two_steps(teacher, start(3), t, between, s)
    alone = [two_steps(teacher, start(3)[i : i + 1], int(t[i]), int(between[i]), int(s[i])) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-12)


def test_only_the_student_of_two_steps_has_no_loss():
    """The network that outputs the target of n = 1 in closed form; any other output has a loss."""
    x0, teacher = one.sample(500, seeded(0))[0], ExactDenoiser(one, process)
    target = lambda x, a, b: two_steps(teacher, x, 1000, 500, 0)
    loss = lambda f: float(progressive_loss(Network(Exact(f), process, "v"), teacher, x0, 1, seeded(1)))
    assert loss(target) < 1e-10
    assert loss(lambda x, a, b: teacher(x, 1000).x0) > 1e-3 and loss(flow_end) > 1e-3


def test_weights_are_those_of_the_paper():
    a, b = process.signal(torch.tensor([1, 500, 1000])), process.noise(torch.tensor([1, 500, 1000]))
    assert torch.allclose(truncated_snr(a, b), torch.maximum(a**2 / b**2, torch.ones(3)))


def test_a_student_of_an_exact_teacher_draws_the_mixture_in_one_step():
    """From 16 exact steps to 1, in four halvings. Its samples lie as near as the exact denoiser's in 8 steps or more."""
    torch.manual_seed(0)
    data, rng = points.ring(), seeded(0)
    teacher, net = ExactDenoiser(data, process), MLP(2, 64, 3)
    for n, steps in {8: 500, 4: 100, 2: 100, 1: 300}.items():
        ema = EMA(net, 0.99)
        loss = lambda: progressive_loss(Network(net, process, "v"), teacher, data.sample(256, rng)[0], n, rng)  # noqa: B023
        list(train(loss, net, steps, lr=3e-3, ema=ema))
        teacher, net = Network(ema.net, process, "v"), copy.deepcopy(ema.net).requires_grad_()
    z, real = start(4000, torch.float32), data.sample(20_000, rng)[0]
    distance = lambda x: sum(metrics.sliced_wasserstein(x, part) for part in real.split(4000)) / 5
    floor = metrics.floor(metrics.sliced_wasserstein, real, 4000)
    exact = lambda n: result(ddim(ExactDenoiser(data, process), z, process.times(n)))
    student = result(ddim(teacher, z, process.times(1)))
    assert distance(student) < 2.5 * floor < distance(exact(4)) < distance(exact(1)) / 5
    assert (student - exact(64)).square().sum(1).mean().sqrt() < 0.3  # and each noise goes where the teacher took it


# Consistency


def stirred(build):
    torch.manual_seed(0)
    net = build()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("view", ["v", "flow", "eps"])
def test_the_boundary_condition_holds_by_construction(view):
    for net, x in ((stirred(MLP), torch.randn(4, 2)), (stirred(lambda: UNet(classes=0)), torch.randn(4, 1, 16, 16))):
        f = Network(net, process, view)
        assert net(x, torch.zeros(4)).abs().max() > 0.1
        assert torch.equal(f(x, 0).x0, x) and not torch.allclose(f(x, 10).x0, x, atol=1e-3)


def test_a_network_of_x0_has_no_boundary_and_is_refused():
    student = Network(stirred(MLP), process, "x0")
    assert not torch.allclose(student(torch.zeros(2, 2), 0).x0, torch.zeros(2, 2), atol=0.1)
    with pytest.raises(ValueError, match="student.view must be one of v, flow, eps, got 'x0'"):
        consistency_loss(student, student, torch.zeros(2, 2), 10)


def test_the_v_of_a_network_is_the_papers_parametrisation():
    """c_skip(sigma) x + c_out(sigma) F of Song et al. 2023, appendix C, at sigma_data = 1 and epsilon = 0, for x = x_t / a."""
    x, t = start(3, torch.float32), torch.tensor([3, 400, 980])
    net = stirred(MLP)
    pred = Network(net, process, "v")(x, t)
    sigma = pred.b / pred.a
    F = -net(x, t.float() / 1000)
    theirs = 1 / (sigma**2 + 1) * (x / pred.a) + sigma / (sigma**2 + 1).sqrt() * F
    assert torch.allclose(pred.x0, theirs, atol=1e-4)


@pytest.mark.parametrize("distil", [True, False])
def test_the_end_of_the_flow_is_what_consistency_asks_for(distil):
    """With a finer grid the exact consistency function costs nothing; the exact denoiser's x_0 is no such function."""
    x0, teacher = one.sample(4000, seeded(0))[0], ExactDenoiser(one, process)

    def loss(f, n):
        student = Network(Exact(f), process, "v")
        return float(consistency_loss(student, student, x0, n, teacher if distil else None, seeded(1)))

    mean = lambda x, a, b: one.posterior_mean(x, a, b)
    right, wrong = [loss(flow_end, n) for n in (10, 100)], [loss(mean, n) * n for n in (10, 100)]
    if distil:
        assert right[1] < right[0] / 20  # its two ends are off each other by the teacher's error, of second order
        assert wrong[1] > 0.3  # summed over the grid, a denoiser's inconsistency does not go away
    assert right[1] < loss(mean, 100)


def test_training_and_distilling_are_one_where_the_teacher_is_exact():
    x0 = start(5, torch.float32)
    student = Network(stirred(MLP), process, "v")

    def knowing(x_t, t):
        return student(x_t, t).replace(x0=x0)

    assert torch.allclose(
        consistency_loss(student, student, x0, 8, knowing, seeded(0)),
        consistency_loss(student, student, x0, 8, rng=seeded(0)),
    )


def test_the_target_learns_nothing():
    student, target = (Network(MLP(), process, "v") for _ in range(2))
    consistency_loss(student, target, start(8, torch.float32), 8).backward()
    assert any(p.grad is not None and p.grad.any() for p in student.net.parameters())
    assert all(p.grad is None for p in target.net.parameters())


@pytest.mark.parametrize("distil, warm_start", [(True, True), (False, True), (False, False)])
def test_without_a_teacher_the_grid_grows_finer_and_the_start_is_a_denoiser(distil, warm_start, monkeypatch):
    student, wanted = recipes.digits_network(1), []
    start = copy.deepcopy((models.load("digits") if warm_start else student).net.state_dict())

    def loss(student, target, x0, n, teacher, rng):
        if not wanted:
            torch.testing.assert_close(dict(student.net.state_dict()), dict(start), rtol=0, atol=0)
        wanted.append((n, teacher is not None))
        return student(x0, 500).x0.square().mean()

    monkeypatch.setattr(recipes, "consistency_loss", loss)
    list(recipes.train_consistency(student, steps=10, distil=distil, warm_start=warm_start))
    grid = [12] * 10 if distil else [8, 8, 16, 16, 32, 32, 64, 64, 128, 128]
    assert wanted == [(n, distil) for n in grid]


def test_pseudo_huber_is_a_square_near_zero_and_a_distance_far_away():
    x, y = torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    y[0] += 1e-6
    y[1] += 3
    c = 0.00054 * 16
    near, far = pseudo_huber(x, y).tolist()
    assert near == pytest.approx(256e-12 / (2 * c), rel=1e-2) and far == pytest.approx(48 - c, rel=1e-3)


# Multistep sampling


def exactly(f):
    return Network(Exact(f), process, "v")


def test_one_move_is_one_jump_and_more_keep_the_law():
    z = start(20_000)
    jump = result(consistency(exactly(flow_end), z, process.times(1)))
    assert torch.allclose(jump, flow_end(z, *process.coefficients(1000, z)), atol=1e-9)
    for n in (2, 4):
        x = result(consistency(exactly(flow_end), z, process.times(n), seeded(n)))
        assert (x.mean(0) - MEAN).abs().max() < 0.02 and (x.std(0) - STD).abs().max() < 0.02
    steps = list(consistency(exactly(flow_end), z, process.times(3)))
    assert [s.t for s in steps] == process.times(3).tolist() and torch.equal(steps[-1].x, steps[-2].x0)


def test_multistep_sampling_is_equal_to_diffusers():
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.LCMScheduler(
        trained_betas=cosine_beta(1000).tolist(), clip_sample=False, timestep_scaling=1e9, set_alpha_to_one=True
    )
    scheduler.alphas_cumprod = process.alpha_bar(torch.arange(1, 1001))  # their tables are float32 by default
    scheduler.set_timesteps(timesteps=[999, 599, 299])
    denoiser, x, rng = ExactDenoiser(points.ring(), process), start(), seeded(3)
    for t in scheduler.timesteps:
        x = scheduler.step(denoiser(x, int(t) + 1).eps, t, x, generator=rng).prev_sample
    mine = result(consistency(denoiser, start(), torch.tensor([1000, 600, 300, 0]), seeded(3)))
    assert (mine - x).abs().max() < 1e-5


# The guided student


def guided(**options):
    return Network(stirred(lambda: UNet(widths=(8, 16), guided=True, **options)), process, "v")


def test_guidance_has_its_say_and_members_of_a_batch_do_not_mix():
    student, x, label, w = guided(), torch.randn(4, 1, 16, 16), torch.arange(4), torch.tensor([0.0, 1.0, 3.0, 8.0])
    together = student.given(label).at(w)(x, 500).x0
    alone = torch.cat([student.given(i).at(float(w[i]))(x[i : i + 1], 500).x0 for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-4)
    other = student.given(label).at(w + 0.5)(x, 500).x0
    assert ((other - together).flatten(1).abs().amax(1) > 1e-3).all()


def test_a_guided_student_begins_as_its_teacher_whatever_w():
    torch.manual_seed(0)
    teacher, student = models.load("digits"), Network(UNet(guided=True), process, "v")
    odd = student.net.load_state_dict(teacher.net.state_dict(), strict=False)
    assert not odd.unexpected_keys and all(name.startswith("guidance.") for name in odd.missing_keys)
    x = torch.randn(3, 1, 16, 16)
    assert torch.allclose(student.given(3).at(7.0)(x, 400).x0, teacher.given(3)(x, 400).x0, atol=1e-5)


def test_the_guided_loss_asks_for_the_guided_teachers_step():
    """At w = 1 it is the plain loss of the conditional teacher; at other w another."""
    teacher, x0, label = models.load("digits"), torch.randn(8, 1, 16, 16), torch.arange(8)
    student = guided()
    torch.manual_seed(0)

    def loss(max_w, rng):
        return guided_consistency_loss(student, student, teacher, x0, label, 50, max_w, rng)

    rng = seeded(4)
    torch.rand(8, generator=rng)  # the loss draws its w first
    at_0 = consistency_loss(*[student.given(label).at(0.0)] * 2, x0, 50, teacher.given(NULL), rng)
    assert torch.allclose(loss(0.0, seeded(4)), at_0, atol=1e-6)
    assert abs(float(loss(8.0, seeded(4)) - at_0)) > 1e-4
    guided_teacher = ClassifierFree(teacher.given(label), teacher.given(NULL), 3.0)
    rng = seeded(4)
    torch.rand(8, generator=rng)
    at_3 = consistency_loss(*[student.given(label).at(3.0)] * 2, x0, 50, guided_teacher, rng)
    between = guided_consistency_loss(student, student, teacher, x0, label, 50, 3.0, seeded(4), min_w=3.0)
    assert torch.allclose(between, at_3, atol=1e-5)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: models.load("digits").at(2.0), TypeError, "UNet takes no guidance as an input, got w = 2.0"),
        (lambda: guided().at(float("nan")), ValueError, "w must be finite, got"),
        (lambda: guided().given(3)(torch.zeros(2, 1, 16, 16), 5), ValueError, "call .at"),
        (
            lambda: guided().given(3).at(torch.ones(3))(torch.zeros(2, 1, 16, 16), 5),
            ValueError,
            "w must be one or one for each",
        ),
        (lambda: UNet(classes=0, guided=True), ValueError, "guided must be False where classes is 0"),
        (lambda: progressive_loss(exactly(flow_end), None, start(), 0), ValueError, "n must be at least 1, got 0"),
        (
            lambda: progressive_loss(exactly(flow_end), None, start(), 501),
            ValueError,
            "n must be at most T = 1000 moves, got 1002",
        ),
    ],
)
def test_bad_input_is_named_in_one_line(call, error, words):
    with pytest.raises(error) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)
