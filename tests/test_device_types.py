"""Networks of float64 and bfloat16, compiled networks, and everything within torch.inference_mode()."""

import copy
import inspect
import re
from dataclasses import replace

import pytest
import torch
from few import cut

from course_lib import metrics, plots
from course_lib.datasets.points import ring
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.guidance import ClassifierGuided, DynamicThreshold, NoisyClassifier, StaticThreshold, classifier_free
from course_lib.methods.clip_guidance import ClipGuided
from course_lib.nets.classifier import TimedClassifier
from course_lib.nets.clip import CLIP, contrastive_loss
from course_lib.nets.detector import SceneDetector
from course_lib.nets.mlp import MLP
from course_lib.nets.text import TextUNet
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, RectifiedFlow, seeded
from course_lib.samplers import ddim, ddpm, heun, rectified_flow, result, sample
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, classifier_loss, denoising_loss, train
from course_lib.widgets import sheets
from course_lib.widgets.attention import attention_player
from course_lib.widgets.explorer import explore
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.paths import paths
from course_lib.widgets.player import play
from course_lib.widgets.prompt import prompt_box
from course_lib.widgets.student import student
from course_lib.zoo import models

pytestmark = pytest.mark.slow
CHAIN = DDPM(cosine_beta(20))
X = torch.randn(4, 1, 16, 16, generator=seeded(0))
COLOURED = torch.randn(2, 3, 32, 32, generator=seeded(0))
LABEL = torch.tensor([0, 1, 2, 1])
CAPTIONS = ["a red circle", "two blue stars"]
ERROR = {torch.float64: 1e-4, torch.bfloat16: 0.1}
"""How far samples of a network of another type lie from those of float32."""


def made(net: torch.nn.Module) -> torch.nn.Module:
    """The net with other weights than those that it begins with, many of which are 0."""
    for i, p in enumerate(net.parameters()):
        torch.nn.init.normal_(p, std=0.1, generator=seeded(i))
    return net.eval()


def unet(**options) -> Network:
    return Network(made(UNet(16, 1, (8, 16), classes=3, dim=16, **options)), CHAIN, "v")


def words() -> Network:
    return Network(made(TextUNet(widths=(16, 16), dim=16, words=16)), CHAIN, "v")


def points() -> Network:
    return Network(made(MLP(2, 16, 1)), CHAIN, "eps")


def noisy_classifier() -> NoisyClassifier:
    return NoisyClassifier(made(TimedClassifier()), CHAIN)


GUIDED = {
    "classifier-free": lambda change: (classifier_free(change(unet()), LABEL, 2.0), X),
    "static": lambda change: (StaticThreshold(classifier_free(change(unet()), LABEL, 2.0)), X),
    "dynamic": lambda change: (DynamicThreshold(classifier_free(change(unet()), LABEL, 2.0)), X),
    "w as an input": lambda change: (classifier_free(change(unet(guided=True)), LABEL, 2.0), X),
    "classifier": lambda change: (ClassifierGuided(change(unet()).given(NULL), change(noisy_classifier()), LABEL, 2.0), X),
    "captions": lambda change: (classifier_free(change(words()), CAPTIONS, 2.0), COLOURED),
    "CLIP": lambda change: (
        ClipGuided(change(words()).given(NULL), change(made(CLIP(16, 8, 16))), CAPTIONS, 2.0),
        COLOURED,
    ),
    "points": lambda change: (change(points()), torch.randn(9, 2, generator=seeded(1))),
}
"""Guided denoisers of networks that `change` changes, and their noise."""
EACH = pytest.mark.parametrize("name", GUIDED)
IN_TYPES = pytest.mark.parametrize("dtype", ERROR, ids=str)


def of(net_changed):
    """A change of a network, of what wraps one, or of a bare module."""
    return lambda model: replace(model, net=net_changed(model.net)) if hasattr(model, "net") else net_changed(model)


same = of(lambda net: net)


# Number types


@IN_TYPES
@EACH
def test_a_network_of_another_type_draws_the_same(name, dtype):
    (want, x), (other, _) = GUIDED[name](same), GUIDED[name](of(lambda net: net.to(dtype)))
    for noise in (x, x.to(dtype)):
        drawn, wanted = sample(other, noise, 3), sample(want, x, 3)
        assert drawn.dtype == noise.dtype
        assert (drawn.double() - wanted.double()).abs().mean() < ERROR[dtype] * wanted.abs().mean()


@IN_TYPES
def test_pictures_of_another_type_are_shown_and_measured(dtype):
    network = of(lambda net: net.to(dtype))(unet())
    steps = list(ddim(network.given(LABEL), X.to(dtype), CHAIN.times(2)))
    x = steps[-1].x
    assert x.dtype == dtype and plots.grid(x).shape[2] == 3 and sheets.frozen(x).width
    plots.plt.close(plots.pictures(x))
    assert play(steps).html and explore(network.given(0), steps).html
    one, other = (torch.randn(60, 2, generator=seeded(i)).to(dtype) for i in (0, 1))
    plots.plt.close(plots.points(one))
    assert metrics.frechet_distance(one, other) < 1 and min(metrics.precision_recall(one, other)) > 0.5
    assert 0 < metrics.sliced_wasserstein(one, other) < 1 and metrics.accuracy(one, torch.zeros(60, dtype=torch.long)) > 0.2
    light = Network(made(UNet(8, 1, (8,), classes=10, dim=16, guided=True)), CHAIN, "v")
    bytes_of = lambda network: len(re.search(r'"weights":{.*?}', student(network).html)[0])
    assert bytes_of(light) == bytes_of(of(lambda net: net.to(dtype))(light)) > 1000
    moved = of(lambda net: net.to(dtype))(points())
    assert play(list(ddim(moved, one, CHAIN.times(2))), field=moved).html
    assert paths(ExactDenoiser(ring(), CHAIN), moved, CHAIN.times(4), steps=4, n=1).html


@IN_TYPES
def test_a_network_of_another_type_learns(dtype):
    network = of(lambda net: net.to(dtype))(unet())
    ema, rng, before = EMA(network.net), seeded(0), copy.deepcopy(network.net.state_dict())
    (*_, end) = train(lambda: denoising_loss(network.given(LABEL), X, rng), network.net, 3, ema=ema)
    assert end.loss > 0 and any(not torch.equal(before[name], w) for name, w in network.net.state_dict().items())
    assert all(w.dtype == dtype for w in ema.net.parameters())


@pytest.mark.thorough
@IN_TYPES
@pytest.mark.parametrize("name", models.RECIPES)
def test_every_model_of_another_type_is_measured(name, dtype, monkeypatch):
    cut(monkeypatch)
    recipe, model = models.RECIPES[name], models.load(name)
    getattr(model, "net", model).to(dtype)
    few = {"n": 4} if "n" in inspect.signature(recipe.figures).parameters else {}
    assert all(isinstance(float(value), float) for value in recipe.figures(model, **few).values())


# Compiled networks: `eager` compiles nothing to machine code, and takes all the rest of the way


compiled = of(lambda net: torch.compile(net, backend="eager"))


@pytest.mark.parametrize(
    "name", ["classifier-free", "w as an input", "classifier", pytest.param("captions", marks=pytest.mark.thorough)]
)
def test_a_compiled_network_draws_the_same(name):
    (want, x), (other, _) = GUIDED[name](same), GUIDED[name](compiled)
    assert torch.allclose(sample(other, x, 2), sample(want, x, 2), atol=1e-4)


def test_a_compiled_network_learns_as_the_plain_one():
    losses = []
    for change in (same, compiled):
        network, rng = change(unet()), seeded(0)
        ema = EMA(network.net)
        loss = lambda network=network, rng=rng: denoising_loss(network.given(LABEL).drop_condition(0.5, rng), X, rng)
        losses.append([state.loss for state in train(loss, network.net, 3, ema=ema)])
        averaged = sample(replace(network, net=ema.net).given(LABEL), X, 2)
        assert averaged.isfinite().all()
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_compiled_network_is_shown():
    network = compiled(unet())
    assert play(list(ddim(network.given(LABEL), network.draw_noise(4, seeded(0)), CHAIN.times(2)))).html
    shown = guidance_explorer(network, (1, 16, 16), (0, 1, 2), 2)
    assert 'role="alert"' not in shown.screen.value


# Inference mode


@EACH
def test_within_inference_mode_all_is_drawn_and_guided(name):
    denoiser, x = GUIDED[name](same)
    outside = [sample(denoiser, x, 2, sampler) for sampler in (ddim, heun)]
    with torch.inference_mode():
        noise = x.clone()
        inside = [sample(denoiser, noise, 2, sampler) for sampler in (ddim, heun)]
    assert all(map(torch.equal, inside, outside))
    assert torch.equal(sample(denoiser, noise, 2), outside[0]), "what was made inside works outside"


def test_within_inference_mode_networks_learn():
    network, classifier, clip, rng = unet(), noisy_classifier(), made(CLIP(16, 8, 16)), seeded(0)
    with torch.inference_mode():
        ema = EMA(network.net)
        clip_loss = lambda: contrastive_loss(
            clip.encode_image(COLOURED.clone()), clip.encode_text(clip.as_condition(CAPTIONS)), clip.scale
        )
        for loss, net, average in (
            (lambda: denoising_loss(network.given(LABEL), X.clone(), rng), network.net, ema),
            (lambda: classifier_loss(classifier, X.clone(), LABEL, rng), classifier.net, None),
            (clip_loss, clip, None),
        ):
            (*_, end) = train(loss, net, 2, ema=average)
            assert end.step == 2 and end.loss > 0
        (*_, end) = models.RECIPES["ring"].train(models.load("ring", device="cpu"), steps=2)
        assert end.step == 2


def test_what_was_loaded_within_inference_mode_guides_and_learns_outside():
    with torch.inference_mode():
        network, classifier = models.load("digits", device="cpu"), models.load("noisy_classifier", device="cpu")
        x, label = models.sample("digits", n=2, steps=2)
    guided = ClassifierGuided(network.given(NULL), classifier, 3, 2.0)
    assert sample(guided, torch.randn(2, 1, 16, 16, generator=seeded(0)), 2).isfinite().all() and x.isfinite().all()
    network.net.requires_grad_()
    (*_, end) = train(lambda: denoising_loss(network.given(label), x, seeded(0)), network.net, 2)
    assert end.step == 2


def test_within_inference_mode_widgets_are_drawn():
    with torch.inference_mode():
        network, text = unet(), words()
        steps = list(ddim(network.given(LABEL), X, CHAIN.times(2)))
        assert play(steps).html and explore(network.given(0), steps).html
        written = list(ddpm(text.given("a red circle"), COLOURED[:1], CHAIN.times(2), seeded(0)))
        assert attention_player(text, "a red circle", written).html
        assert student(Network(made(UNet(8, 1, (8,), classes=10, dim=16, guided=True)), CHAIN, "v")).html
        assert paths(ExactDenoiser(ring(), CHAIN), points(), CHAIN.times(4), steps=4, n=1).html
        flow = replace(points(), process=RectifiedFlow(), view="flow")
        assert play(list(rectified_flow(flow, torch.randn(9, 2, generator=seeded(0)), flow.process.times(2)))).html
        shown = [
            guidance_explorer(network, (1, 16, 16), (0, 1, 2), 2),
            prompt_box(text, SceneDetector().eval(), ("a red circle",), steps=2),
        ]
        for widget in shown:
            widget.w.value = 1.0
            assert 'role="alert"' not in widget.screen.value
    shown[0].w.value = 2.0
    assert 'role="alert"' not in shown[0].screen.value
    assert result(ddim(network.given(LABEL), X, CHAIN.times(2))).isfinite().all()


def test_pages_hold_the_weights_of_a_compiled_net():
    for page, network in (
        (student, models.load("guided")),
        (lambda net: paths(ExactDenoiser(ring(), net.process), net), models.load("ring")),
    ):
        compiled = replace(network, net=torch.compile(network.net, backend="eager"))
        assert page(compiled).html == page(network).html
