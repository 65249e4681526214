"""Guidance against what is exactly known of Gaussian mixtures, and against the papers' own ways to write it."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import (
    AutoGuidance,
    ClassifierFree,
    ClassifierGuided,
    DynamicThreshold,
    ExactClassifier,
    Interval,
    NoisyClassifier,
    Rescaled,
    grad_log_p,
)
from course_lib.methods import tilted_density
from course_lib.mixtures import GaussianMixture
from course_lib.nets.classifier import TimedClassifier
from course_lib.prediction import VIEWS, Prediction
from course_lib.process import DDPM, Process, RectifiedFlow, VarianceExploding, seeded
from course_lib.samplers import ddim, ddpm, rectified_flow, result
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.training import classifier_loss
from course_lib.zoo import models

MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -0.8]])
MIX = GaussianMixture([0.3, 0.2, 0.3, 0.2], MEANS, [0.3, 0.25, 0.35, 0.3], torch.tensor([0, 1, 2, 0]))
COSINE, LINEAR = DDPM(cosine_beta(1000)), DDPM(linear_beta(1000))
CHAINS = [COSINE, LINEAR, VarianceExploding(torch.linspace(0.1, 9, 40))]


def points(n=200, seed=0, dtype=torch.float64):
    return 1.5 * torch.randn(n, 2, generator=seeded(seed), dtype=dtype)


def by_classifier(process, label, w):
    return ClassifierGuided(ExactDenoiser(MIX, process), ExactClassifier(MIX, process), label, w)


def by_itself(process, label, w):
    exact = ExactDenoiser(MIX, process)
    return ClassifierFree(exact.given(label), exact, w)


# Exact


@pytest.mark.parametrize("process", CHAINS, ids=str)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_classifier_at_w_1_gives_the_conditional_score(process, share, label):
    t, x = max(1, round(share * process.T)), points()
    guided, exact = by_classifier(process, label, 1.0)(x, t), ExactDenoiser(MIX, process).given(label)(x, t)
    for view in VIEWS:
        want = exact.as_view(view)
        assert (guided.as_view(view) - want).abs().max() <= 1e-6 * max(1, want.abs().max())


@pytest.mark.parametrize("w", [0, 0.5, 2.0, 8.0])
def test_both_kinds_of_guidance_are_one_where_all_is_exact(w):
    x = points()
    for process in CHAINS:
        t = process.T // 2
        assert torch.allclose(by_classifier(process, 0, w)(x, t).score, by_itself(process, 0, w)(x, t).score, atol=1e-9)


def test_guided_samples_have_the_class_shares_of_the_mixture():
    n, times = 6000, COSINE.times(100)
    z = torch.randn(n, 2, generator=seeded(0), dtype=torch.float64)
    nearest = lambda x: torch.bincount(torch.cdist(x.double(), MEANS.double()).argmin(1), minlength=4) / len(x)
    real = lambda mixture: nearest(mixture.sample(200_000, seeded(1))[0])
    plain = result(ddim(by_classifier(COSINE, 0, 0), z, times))
    assert (nearest(plain) - real(MIX)).abs().max() < 0.03  # all of the data
    label = torch.arange(n) % 3
    made = result(ddim(by_classifier(COSINE, label, 1.0), z, times))
    for c in range(3):  # class 0 has two components, 3 to 2
        assert (nearest(made[label == c]) - real(MIX.given(c))).abs().max() < 0.03


def test_the_exact_classifier_is_bayes_rule():
    x, a, b = points(), COSINE.signal(400), COSINE.noise(400)
    each = torch.stack([MIX.given(c).log_prob(x, a, b) for c in range(3)], 1)
    by_bayes = (each + torch.tensor([0.5, 0.2, 0.3]).log()).softmax(1)
    assert torch.allclose(ExactClassifier(MIX, COSINE)(x, 400).exp(), by_bayes, atol=1e-12)
    far = torch.tensor([[40.0, 40.0]], dtype=torch.float64)
    assert ExactClassifier(MIX, COSINE)(far, 1).isfinite().all()


def test_a_class_far_away_is_still_felt():
    """P(c | x_t) may be too small for a number, while its logarithm is none the less steep."""
    sharp = GaussianMixture(torch.ones(2), torch.tensor([[-3.0], [3.0]]), [0.05, 0.05])
    x = torch.tensor([[3.0]], dtype=torch.float64)
    pulled = ClassifierGuided(ExactDenoiser(sharp, COSINE), ExactClassifier(sharp, COSINE), 0, 1.0)(x, 20)
    assert torch.allclose(pulled.x0, ExactDenoiser(sharp, COSINE).given(0)(x, 20).x0, atol=1e-6)


# The conventions: each guide is written as its paper writes it


@dataclass(frozen=True)
class AsWritten:
    """eps guided by `formula`, of the two eps and, for Dhariwal and Nichol, the classifier's gradient."""

    process: Process
    label: int
    formula: Any

    def __call__(self, x, t):
        exact, noise = ExactDenoiser(MIX, self.process), self.process.noise(t)
        uncond, cond = exact(x, t), exact.given(self.label)(x, t)
        gradient = grad_log_p(lambda x: ExactClassifier(MIX, self.process)(x, t)[:, self.label], x)
        return uncond.replace(eps=self.formula(uncond.eps, cond.eps, noise, gradient))


CONVENTIONS = {  # the paper's formula with the paper's number, and that number for our w
    "the lecture's: uncond + w (cond - uncond)": (
        lambda w: lambda uncond, cond, b, g: uncond + w * (cond - uncond),
        lambda w: w,
    ),
    "Ho and Salimans 2022, eq. 6: (1 + w) cond - w uncond": (
        lambda v: lambda uncond, cond, b, g: (1 + v) * cond - v * uncond,
        lambda w: w - 1,
    ),
    "Imagen, eq. 2: w cond + (1 - w) uncond": (lambda v: lambda uncond, cond, b, g: v * cond + (1 - v) * uncond, lambda w: w),
    "Dhariwal and Nichol 2021, Algorithm 2: eps - s b grad log p": (
        lambda s: lambda uncond, cond, b, g: uncond - s * b * g,
        lambda w: w,
    ),
    "Ho and Salimans' remark: Dhariwal and Nichol on a conditional model, s = w - 1": (
        lambda s: lambda uncond, cond, b, g: cond - s * b * g,
        lambda w: w - 1,
    ),
}


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("w", [0.0, 1.0, 3.0])
def test_each_convention_maps_to_the_same_samples(name, w):
    formula, theirs = CONVENTIONS[name]
    z, times = points(300) / 1.5, LINEAR.times(50)
    ours = result(ddim(by_itself(LINEAR, 0, w), z, times))
    assert torch.allclose(result(ddim(AsWritten(LINEAR, 0, formula(theirs(w))), z, times)), ours, atol=1e-6)
    other = result(ddim(AsWritten(LINEAR, 0, formula(theirs(w + 0.5))), z, times))
    assert (other - ours).abs().max() > 1e-2  # and another number does not


def test_algorithm_1_is_algorithm_2_in_small_steps():
    """The mean of a DDPM step, moved by s sigma^2 grad log p, against the step with the guided eps."""
    x, w, off = points(), 2.0, []
    for T in (100, 1000, 10_000):
        process = DDPM(linear_beta(T))
        t = T // 2
        without, guided = (list(ddpm(d, x, torch.tensor([t, t - 1]), seeded(0)))[-1].x
                           for d in (ExactDenoiser(MIX, process), by_classifier(process, 0, w)))  # fmt: skip
        gradient = grad_log_p(lambda x, process=process, t=t: ExactClassifier(MIX, process)(x, t)[:, 0], x)
        variance = process.posterior(x, x, t)[1]
        moved = w * variance * gradient
        off.append(float((guided - without - moved).norm() / moved.norm()))
    assert off[0] > 5 * off[1] > 25 * off[2] and off[2] < 2e-3


# The tilted density


TRIANGLE = GaussianMixture(torch.ones(3), torch.tensor([[0.0, 0.9], [-0.8, -0.45], [0.8, -0.45]]), [0.45] * 3)


def test_the_slope_of_the_score_is_its_derivative():
    x, a, b = points(20), 0.8, 0.6
    by_autograd = torch.stack([torch.autograd.functional.jacobian(lambda p: MIX.score(p[None], a, b)[0], p) for p in x])
    assert torch.allclose(MIX.score_slope(x, a, b), by_autograd, atol=1e-10)


def test_guided_points_are_those_of_ddim_and_their_density_sums_to_what_a_histogram_counts():
    z, times = tilted_density.NOISE.places, COSINE.times(50)
    x, log_det = tilted_density.guided_points(TRIANGLE, 0, 3.0, COSINE, times, z)
    exact = ExactDenoiser(TRIANGLE, COSINE)
    assert torch.equal(x, result(ddim(ClassifierFree(exact.given(0), exact, 3.0), z, times)))
    nudge = 1e-5 * torch.eye(2, dtype=torch.float64)
    at = z[1000:1010]
    ends = [tilted_density.guided_points(TRIANGLE, 0, 3.0, COSINE, times, at + d)[0] for d in (*nudge, *-nudge)]
    slope = torch.stack([(ends[0] - ends[2]) / 2e-5, (ends[1] - ends[3]) / 2e-5], 2)
    assert torch.allclose(torch.linalg.det(slope).abs().log(), log_det[1000:1010], atol=1e-5)


def test_the_distance_is_that_of_a_histogram():
    """Many samples in coarse cells, against the tilted density's share of each."""
    z = torch.randn(200_000, 2, generator=seeded(0), dtype=torch.float64)
    x, _ = tilted_density.guided_points(TRIANGLE, 0, 2.0, COSINE, COSINE.times(50), z)
    side, reach, fine = 24, 3.0, 240
    cell = lambda x: ((x + reach) / (2 * reach) * side).floor().clamp(0, side - 1).long()
    counted = torch.zeros(side, side, dtype=torch.float64).index_put((*cell(x).T,), torch.tensor(1 / len(z)).double(), True)
    middle = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine * 2 * reach - reach
    density = tilted_density.tilted_log_density(TRIANGLE, 0, 2.0, torch.cartesian_prod(middle, middle)).exp().view(fine, fine)
    want = density.view(side, fine // side, side, fine // side).sum((1, 3)) * (2 * reach / fine) ** 2
    assert (
        abs(float((counted - want).abs().sum() / 2) - tilted_density.distance(TRIANGLE, 0, 2.0, COSINE, COSINE.times(50)))
        < 0.02
    )


def test_guidance_samples_the_tilted_density_at_w_0_and_1_alone():
    far = {w: tilted_density.distance(TRIANGLE, 0, w, COSINE, COSINE.times(200)) for w in (0, 0.5, 1, 2, 3)}
    assert max(far[0], far[1]) < 0.01 and far[0.5] > 0.1 and 0.3 < far[2] < far[3]
    for w in (0.5, 2, 3):  # it is not the number of steps
        assert abs(tilted_density.distance(TRIANGLE, 0, w, COSINE, COSINE.times(100)) - far[w]) < 0.005
    finer = tilted_density.distance(
        TRIANGLE, 0, 3.0, COSINE, COSINE.times(200), tilted_density.Plane(4.5, 121), tilted_density.Plane(4, 241)
    )
    assert abs(finer - far[3]) < 1e-3


# Classifiers that are networks


def network(seed=0, view="v"):
    torch.manual_seed(seed)
    conv = torch.nn.Conv2d(1, 1, 3, padding=1)
    return Network(lambda x, time: conv(x), COSINE, view)


def noise_aware(process=COSINE):
    torch.manual_seed(0)
    return NoisyClassifier(TimedClassifier(widths=(8, 16), dim=16).eval(), process)


PICTURES = torch.randn(4, 1, 16, 16, generator=seeded(3))


@pytest.mark.parametrize("view", VIEWS)
def test_a_network_is_steered_along_the_gradient_in_every_view(view):
    guided = ClassifierGuided(network(view=view), noise_aware(), [0, 1, 2, 3], 2.5)
    with torch.no_grad():
        plain, made = guided.denoiser(PICTURES, 500), guided(PICTURES, 500)
    x = PICTURES.clone().requires_grad_()
    log_p = guided.classifier(x, 500).log_softmax(1)[torch.arange(4), torch.arange(4)].sum()
    (gradient,) = torch.autograd.grad(log_p, x)
    assert made.view == view and torch.allclose(made.score - plain.score, 2.5 * gradient, atol=2e-5)
    assert torch.allclose(made.a * made.x0 + made.b * made.eps, PICTURES, atol=1e-5)


def test_it_works_where_gradients_are_off_and_leaves_them_off():
    guided = ClassifierGuided(network(), noise_aware(), 3, 2.0)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            pred = guided(PICTURES, 500)
            assert not torch.is_grad_enabled() and not pred.x0.requires_grad
    assert not PICTURES.requires_grad
    steps = list(ddpm(guided, PICTURES, COSINE.times(3), seeded(0)))
    assert not any(step.x.requires_grad for step in steps) and steps[-1].x.isfinite().all()


def test_the_batchs_members_do_not_mix_and_each_has_its_label():
    guided = ClassifierGuided(network(), noise_aware(), [0, 1, 2, 3], 2.0)
    together = guided(PICTURES, 500).x0
    alone = torch.cat([replace(guided, label=c)(PICTURES[c : c + 1], 500).x0 for c in range(4)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together, replace(guided, label=3)(PICTURES, 500).x0)


def test_where_there_is_no_signal_nothing_bursts():
    flow = RectifiedFlow()
    exact = ClassifierGuided(ExactDenoiser(MIX, flow), ExactClassifier(MIX, flow), 0, 2.0)
    assert result(rectified_flow(exact, points(), flow.times(20))).isfinite().all()
    guided = ClassifierGuided(replace(network(), process=COSINE), noise_aware(), 3, 8.0)
    assert (guided(PICTURES, 1000).x0 - guided.denoiser(PICTURES, 1000).x0).abs().max() < 10  # a is 5e-5 there


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_it_works_on_a_gpu():
    net = torch.nn.Conv2d(1, 1, 3, padding=1).cuda()
    classifier = NoisyClassifier(noise_aware().net.cuda(), COSINE)
    guided = DynamicThreshold(ClassifierGuided(Network(lambda x, time: net(x), COSINE, "v"), classifier, [0, 1, 2, 3], 2.0))
    assert result(ddim(guided, PICTURES.cuda(), COSINE.times(3))).device.type == "cuda"


def test_the_loss_is_the_cross_entropy_of_noisy_pictures():
    classifier, rng = noise_aware(), seeded(5)
    label = torch.arange(4)
    got = classifier_loss(classifier, PICTURES, label, rng)
    rng = seeded(5)
    t = COSINE.sample_t(4, rng)
    x_t = COSINE.add_noise(PICTURES, t, torch.randn(PICTURES.shape, generator=rng))
    log_p = torch.stack([classifier(x_t[i : i + 1], int(t[i])).log_softmax(1)[0, i] for i in range(4)])
    assert torch.allclose(got, -log_p.mean(), atol=1e-6) and got.requires_grad
    assert torch.allclose(classifier(PICTURES, 1000).softmax(1), torch.full((4, 10), 0.1), atol=1e-3)  # noise tells nothing


def test_the_shipped_classifier_guides_the_shipped_network():
    model, guide, evaluator = models.load("digits"), models.load("noisy_classifier"), models.load("classifier")
    label, x = torch.arange(40) % 10, torch.randn(40, 1, 16, 16, generator=seeded(0))
    made = {}
    for w in (0.0, 8.0):
        guided = ClassifierGuided(model.given(NULL), guide, label, w)
        made[w] = float((evaluator(result(ddim(guided, x, model.process.times(20)))).argmax(1) == label).double().mean())
    assert made[0.0] < 0.35 and made[8.0] > 0.75


# Dynamic thresholding


@dataclass(frozen=True)
class Fixed:
    """Believes in one x_0, whatever it sees."""

    x0: torch.Tensor
    process: Process = COSINE

    def __call__(self, x, t):
        return Prediction(x, *self.process.coefficients(t, x), "x0", self.x0)


def test_dynamic_threshold_leaves_what_is_in_range_and_scales_what_is_not():
    x0 = torch.stack([0.9 * torch.linspace(-1, 1, 256), 3 * torch.linspace(-1, 1, 256)]).view(2, 1, 16, 16)
    x = torch.randn(2, 1, 16, 16)
    pred = DynamicThreshold(Fixed(x0), 0.9)(x, 500)
    s = x0[1].abs().quantile(0.9)
    assert torch.equal(pred.x0[0], x0[0])
    assert torch.allclose(pred.x0[1], (x0[1] / s).clamp(-1, 1)) and s > 2.5
    assert torch.allclose(pred.a * pred.x0 + pred.b * pred.eps, x, atol=1e-6)  # the same point, another estimate
    assert float((pred.x0[1].abs() == 1).double().mean()) == pytest.approx(0.1, abs=0.02)
    assert torch.allclose(DynamicThreshold(Fixed(x0), 1.0)(x, 500).x0[1], x0[1] / 3)


# What does not fit


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: ClassifierGuided(network(), noise_aware(), 3, math.inf), ValueError, "w must be finite, got inf"),
        (lambda: ClassifierGuided(network(), noise_aware(), 3, "2"), TypeError, "w must be a number, got str"),
        (lambda: ClassifierGuided(network(), noise_aware(), 3.5), TypeError, "label must be a whole number or a row of them"),
        (lambda: ClassifierGuided(network(), noise_aware(), 12)(PICTURES, 5), ValueError, r"label must lie in 0..9, got 12"),
        (
            lambda: ClassifierGuided(network(), noise_aware(), [1, 2])(PICTURES, 5),
            ValueError,
            "for each of the batch of 4, got 2",
        ),
        (lambda: DynamicThreshold(network(), 0), ValueError, r"percentile must lie in \(0, 1\], got 0"),
        (lambda: DynamicThreshold(network(), 1.5), ValueError, r"percentile must lie in \(0, 1\], got 1.5"),
    ],
)
def test_what_does_not_fit_is_said(make, error, words):
    with pytest.raises(error, match=words):
        make()


# After classifier-free guidance


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser):
        self.denoiser, self.process, self.n = denoiser, denoiser.process, 0

    def __call__(self, x, t):
        self.n += 1
        return self.denoiser(x, t)


def test_an_interval_is_guided_inside_and_plain_outside():
    x, guided, plain = points(), by_itself(COSINE, 0, 3.0), ExactDenoiser(MIX, COSINE).given(0)
    level = lambda t: float(COSINE.noise(t) / COSINE.signal(t))
    for t in (50, 300, 500, 900):
        inside = 0.5 < level(t) <= 2
        want = (guided if inside else plain)(x, t)
        assert torch.equal(Interval(guided, plain, 0.5, 2)(x, t).x0, want.x0)
    edges = Interval(guided, plain, level(300), level(500))
    assert torch.equal(edges(x, 500).x0, guided(x, 500).x0) and torch.equal(edges(x, 300).x0, plain(x, 300).x0)
    assert torch.equal(Interval(guided, plain)(x, 1000).x0, guided(x, 1000).x0)


def test_an_interval_evaluates_what_it_uses_alone():
    guided, plain = Counted(by_itself(COSINE, 0, 3.0)), Counted(ExactDenoiser(MIX, COSINE).given(0))
    result(ddim(Interval(guided, plain, 0.5, 1.0), points(), COSINE.times(25)))
    levels = [float(COSINE.noise(t) / COSINE.signal(t)) for t in COSINE.times(25).tolist()[:-1]]
    inside = sum(0.5 < level <= 1 for level in levels)
    assert (guided.n, plain.n) == (inside, 25 - inside) and 0 < inside < 25


def test_an_interval_takes_a_batch_of_times():
    x, t = points(4), torch.tensor([50, 450, 500, 950])
    guided, plain = by_itself(COSINE, 0, 3.0), ExactDenoiser(MIX, COSINE).given(0)
    each = torch.cat([Interval(guided, plain, 0.5, 2)(x[i : i + 1], int(t[i])).x0 for i in range(4)])
    assert torch.allclose(Interval(guided, plain, 0.5, 2)(x, t).x0, each, atol=1e-9)


def test_autoguidance_is_the_papers_sum():
    """Karras et al. 2024: D_w = w D_1 + (1 - w) D_0."""
    x, main, worse = points(), ExactDenoiser(MIX, COSINE).given(0), ExactDenoiser(MIX.noised(1.0, 0.5), COSINE)
    for w in (0.5, 1.0, 2.5):
        pred = AutoGuidance(main, worse, w)(x, 400)
        assert torch.allclose(pred.x0, w * main(x, 400).x0 + (1 - w) * worse(x, 400).x0, atol=1e-9)
    assert torch.allclose(AutoGuidance(main, main, 4.0)(x, 400).x0, main(x, 400).x0, atol=1e-9)


def test_rescaled_has_the_standard_deviation_of_the_conditional_prediction():
    def rescale_noise_cfg(noise_cfg, noise_pred_text, guidance_rescale):
        """What diffusers' function of this name does."""
        std_text, std_cfg = (v.std(dim=(1, 2, 3), keepdim=True) for v in (noise_pred_text, noise_cfg))
        return guidance_rescale * noise_cfg * (std_text / std_cfg) + (1 - guidance_rescale) * noise_cfg

    x = torch.randn(5, 1, 6, 6, generator=seeded(0))
    cond, uncond = (Network(lambda x, t, k=k: k * x.roll(1, -1) + k**2, LINEAR, "v") for k in (0.7, -0.4))
    plain = ClassifierFree(cond, uncond, 5.0)(x, 600)
    for phi in (0.0, 0.7, 1.0):
        pred = Rescaled(cond, uncond, 5.0, phi)(x, 600)
        want = rescale_noise_cfg(plain.value, cond(x, 600).value, phi)
        assert torch.allclose(pred.value, want, atol=1e-5)
    assert torch.allclose(pred.value.flatten(1).std(1), cond(x, 600).value.flatten(1).std(1), atol=1e-5)


def test_parts_of_a_batch_are_guided_alike():
    network = models.build("digits")
    label, x = torch.arange(6), torch.randn(6, 1, 16, 16, generator=seeded(0))
    cond, null = network.given(label), network.given(NULL)
    cfg = ClassifierFree(cond, null, 3.0)
    for guided in (Interval(cfg, cond, 0.5, 1.0), AutoGuidance(cond, cond, 2.0), Rescaled(cond, null, 3.0)):
        with torch.no_grad():
            assert torch.allclose(guided.part(slice(2, 4))(x[2:4], 480).x0, guided(x, 480).x0[2:4], atol=1e-4)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda d: Interval(d, d, 1.0, 0.5), "high must be more than low = 1, got 0.5"),
        (lambda d: Interval(d, d, -1.0), "low must be 0 or more|low must lie|low must be at least"),
        (lambda d: Rescaled(d, d, 2.0, 1.5), "phi must"),
        (lambda d: AutoGuidance(d, d, math.nan), "w must be finite, got nan"),
    ],
)
def test_bad_guidance_is_named(make, says):
    with pytest.raises(ValueError, match=says):
        make(ExactDenoiser(MIX, COSINE))
