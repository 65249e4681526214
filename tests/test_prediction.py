"""All five views say the same, and guidance mixes them alike."""

import copy
import importlib
import pickle

import pytest
import torch

from course_lib import denoisers
from course_lib.datasets import points
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.mlp import MLP
from course_lib.prediction import VIEWS, Prediction
from course_lib.process import DDPM, RectifiedFlow, seeded
from course_lib.schedules import cosine_beta, linear_beta

rng = seeded(0)
x0, eps = torch.randn(2, 6, 2, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("process, t", [(DDPM(linear_beta(100)), 40), (RectifiedFlow(), 0.3)], ids=["ddpm", "flow"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_round_trips_to_every_other(process, t, view):
    a, b = process.coefficients(t, x0)
    x = a * x0 + b * eps
    truth = {"x0": x0, "eps": eps, "score": -eps / b, "v": a * eps - b * x0, "flow": eps - x0}
    pred = Prediction(x, a, b, view, truth[view])
    for other in VIEWS:
        assert torch.allclose(getattr(pred, other), truth[other], atol=1e-12), other
        assert torch.allclose(pred.replace(**{other: truth[other]}).as_view(view), truth[view], atol=1e-12), other


def test_x0_and_eps_never_disagree():
    a, b = torch.tensor(0.6), torch.tensor(0.8)
    x = torch.randn(4, 2)
    pred = Prediction(x, a, b, "v", torch.randn(4, 2)).replace(x0=torch.zeros(4, 2))
    assert torch.allclose(a * pred.x0 + b * pred.eps, x)


def test_exact_score_is_the_gradient_of_the_log_density():
    process, mixture = DDPM(cosine_beta(100)), points.ring()
    denoiser = ExactDenoiser(mixture, process)
    x = torch.randn(50, 2, generator=rng, dtype=torch.float64, requires_grad=True)
    for t in (1, 30, 70, 99):
        a, b = process.coefficients(t, x)
        (gradient,) = torch.autograd.grad(mixture.log_prob(x, a, b).sum(), x)
        assert torch.allclose(denoiser(x, t).score, gradient, rtol=1e-6, atol=1e-6)
        assert torch.allclose(mixture.score(x, a, b), gradient, rtol=1e-9, atol=1e-9)


def test_posterior_mean_is_the_best_guess():
    """E[x_0 | x_t] by counting: among many draws near one x_t, the mean of their x_0 is the exact denoiser's."""
    process, mixture = DDPM(linear_beta(100)), points.pair()
    x0, _ = mixture.sample(2_000_000, seeded(1))
    x_t = process.add_noise(x0, 45, torch.randn(x0.shape, generator=rng))
    for at in (-1.0, 0.0, 0.7):
        near = (x_t - at).abs().squeeze(1) < 0.02
        exact = ExactDenoiser(mixture, process)(torch.tensor([[at]]), 45).x0.item()
        assert x0[near].mean().item() == pytest.approx(exact, abs=4 * float(x0[near].std() / near.sum() ** 0.5) + 0.003)


def test_mixture_samples_match_its_density_and_classes():
    mixture = points.ring()
    x, label = mixture.sample(40_000, seeded(2))
    assert (label.bincount() / 40_000 - 1 / 8).abs().max() < 0.01
    p = mixture.class_probabilities(x)
    assert torch.allclose(p.sum(1), torch.ones(len(x))) and (p.argmax(1) == label).float().mean() > 0.98
    noised = mixture.noised(0.6, 0.8)
    assert torch.allclose(noised.log_prob(x.double()), mixture.log_prob(x.double(), 0.6, 0.8))


def test_log_prob_integrates_to_one():
    line = torch.linspace(-4, 4, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    assert (points.ring().log_prob(grid, 0.7, 0.5).exp().sum() * 0.01**2).item() == pytest.approx(1, abs=1e-6)


def test_guidance_at_zero_one_and_beyond():
    mixture, process = points.ring(), DDPM(cosine_beta(100))
    exact, x = ExactDenoiser(mixture, process), torch.randn(5, 2, generator=rng)
    cond, uncond = exact.given(3), exact.given(NULL)
    eps_c, eps_u = cond(x, 60).eps, uncond(x, 60).eps
    for w in (0, 0.5, 1, 3):
        assert torch.allclose(ClassifierFree(cond, uncond, w)(x, 60).eps, eps_u + w * (eps_c - eps_u), atol=1e-5), w


def test_implicit_classifier_is_bayes():
    """score(x|c) - score(x) = grad log P(c|x): guidance at w is Bayes' rule with the classifier to the power w."""
    mixture, process = points.ring(), DDPM(linear_beta(100))
    exact = ExactDenoiser(mixture, process)
    x = torch.randn(5, 2, generator=rng, dtype=torch.float64, requires_grad=True)
    a, b = process.coefficients(50, x)
    (gradient,) = torch.autograd.grad(mixture.class_probabilities(x, a, b)[:, 2].log().sum(), x)
    guided = ClassifierFree(exact.given(2), exact, w=2.5)(x, 50).score
    assert torch.allclose(guided, exact(x, 50).score + 2.5 * gradient, atol=1e-6)


def test_guided_flow_stands_at_the_end_of_time():
    """At t = 1 a flow has no signal left; mixing in eps would divide by it."""
    net = Network(MLP(2, 16, 1, classes=3), RectifiedFlow(), "flow")
    pred = ClassifierFree(net.given(1), net.given(NULL), 4.0)(torch.randn(3, 2), 1.0)
    assert pred.x0.isfinite().all() and pred.value.isfinite().all()


def test_network_reads_its_condition():
    net = Network(MLP(2, 16, 1, classes=3), DDPM(linear_beta(100)), "v")
    x = torch.randn(3, 2)
    with torch.no_grad():
        for one in net.net.blocks:  # a fresh network barely depends on its condition; make it
            one.modulate.weight.normal_()
        zero, two, null = (net.given(c)(x, 10).value for c in (0, 2, NULL))
        each = net.given([0, 2, 2])(x, 10).value
    assert not torch.allclose(zero, two) and not torch.allclose(zero, null)
    assert torch.allclose(each[0], zero[0], atol=1e-6) and torch.allclose(each[1], two[1], atol=1e-6)


plain, labelled = Network(MLP(2, 8, 1), RectifiedFlow()), Network(MLP(2, 8, 1, classes=3), RectifiedFlow())


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: labelled.given(3), ValueError, "label must lie in 0..2 (or be NULL), got 3"),
        (lambda: labelled.given(-1), ValueError, "got -1"),
        (lambda: labelled.given([0, 7]), ValueError, "label must lie in 0..2"),
        (lambda: labelled.given([]), (TypeError, ValueError), "label must"),
        (lambda: labelled.given(1.5), TypeError, "whole number"),
        (lambda: labelled.given("cat"), TypeError, "whole number"),
        (lambda: labelled(torch.zeros(1, 2), 0.5), ValueError, "needs a condition"),
        (
            lambda: labelled.given([0, 1])(torch.zeros(3, 2), 0.5),
            ValueError,
            "each of the batch of 3, got 2",
        ),
        (lambda: plain.given(1), TypeError, "takes no condition"),
        (lambda: ClassifierFree(plain, plain, float("nan")), ValueError, "w must be finite, got nan"),
        (lambda: ClassifierFree(plain, plain, float("inf")), ValueError, "w must be finite, got inf"),
        (lambda: ClassifierFree(plain, plain, "3"), TypeError, "w must be a number, got str"),
        (lambda: Network(MLP(2, 8, 1), RectifiedFlow(), "noise"), ValueError, "view must be one of x0, eps"),
        (lambda: points.ring().given(9), ValueError, "label must be one of 0, 1"),
        (lambda: points.ring().score(torch.zeros(2, 3)), ValueError, "x must be (B, 2), got shape (2, 3)"),
        (
            lambda: Prediction(x0, torch.ones(1), torch.ones(1), "eps", eps[:2]),
            ValueError,
            "the network's output must have the shape",
        ),
        (lambda: Prediction(x0, torch.ones(1), torch.ones(1), "eps", eps).replace(), TypeError, "exactly one view"),
    ],
)
def test_bad_input_is_named_in_one_line(call, error, words):
    with pytest.raises(error) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_the_null_condition_is_one_object():
    for other in (
        copy.copy(NULL),
        copy.deepcopy(NULL),
        pickle.loads(pickle.dumps(NULL)),
        copy.deepcopy({"cond": NULL})["cond"],
    ):
        assert other is NULL
    before = dict(vars(denoisers))
    try:
        assert importlib.reload(denoisers).NULL is NULL
    finally:
        vars(denoisers).update(before)  # its classes are new ones, which other tests must not meet


@pytest.mark.parametrize("view", ["eps", "score"])
def test_a_view_that_divides_by_the_signal_is_refused_where_there_is_none(view):
    network = Network(MLP(), RectifiedFlow(), view)
    assert network(torch.zeros(2, 2), 0.5).x0.isfinite().all()
    for t in (1.0, torch.tensor([0.5, 1.0])):
        with pytest.raises(ValueError, match=f"view must be x0, v or flow to predict where no signal is left, got {view}"):
            _ = network(torch.zeros(2, 2), t).x0
