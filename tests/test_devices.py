"""Every operation of the library on a pretended device, under the rules of CUDA and of Apple's MPS (see pretend.py)."""

import inspect
import itertools

import pytest
import torch
from few import cut
from pretend import DEVICE, KINDS, REAL, rules

from course_lib import metrics, plots
from course_lib.datasets import captions
from course_lib.datasets.points import pair, ring, triangle
from course_lib.denoisers import NULL, ExactDenoiser, Network, OnPath
from course_lib.guidance import (
    AutoGuidance,
    ClassifierFree,
    ClassifierGuided,
    DynamicThreshold,
    ExactClassifier,
    Interval,
    NoisyClassifier,
    Rescaled,
    StaticThreshold,
    classifier_free,
)
from course_lib.methods import (
    adapters,
    cascades,
    distillation,
    distribution_matching,
    editing,
    flow_matching,
    gan_vae,
    interpolation,
    latents,
    one_step,
    rewards,
    sde,
    sdxl,
    watermark,
)
from course_lib.methods.bespoke import KnownStart, bespoke
from course_lib.methods.clip_guidance import ClipGuided
from course_lib.methods.edm import EDM, Preconditioned, churn, edm_loss
from course_lib.methods.masked import ancestral_words, guided_words, masked_diffusion_loss, parallel_decoding
from course_lib.methods.solvers import deis, dpm_solver, plms, unipc
from course_lib.nets.autoencoder import Autoencoder
from course_lib.nets.classifier import TimedClassifier
from course_lib.nets.clip import CLIP, contrastive_loss
from course_lib.nets.detector import SceneDetector
from course_lib.nets.dit import DiT
from course_lib.nets.embeddings import TwoTimes
from course_lib.nets.language import MASK, Captioner, mask_words
from course_lib.nets.mlp import MLP
from course_lib.nets.text import TextUNet
from course_lib.nets.unet import UNet
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, RectifiedFlow, VarianceExploding, randn_like, seeded
from course_lib.samplers import (
    annealed_langevin,
    consistency,
    ddim,
    ddpm,
    heun,
    invert,
    langevin,
    probability_flow,
    rectified_flow,
    result,
    sample,
)
from course_lib.schedules import cosine_beta, geometric_sigma
from course_lib.teaching.environment import environment
from course_lib.training import EMA, classifier_loss, denoising_loss, pick_device, train
from course_lib.widgets import sheets
from course_lib.widgets.attention import attention_player
from course_lib.widgets.dial import dial
from course_lib.widgets.explorer import explore
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided_models import by_classifier, by_classifier_free, by_student
from course_lib.widgets.paths import paths
from course_lib.widgets.player import play
from course_lib.widgets.prompt import prompt_box
from course_lib.widgets.student import student
from course_lib.zoo import models, recipes, systems
from course_lib.zoo.systems import SYSTEMS

CHAIN, FLOW, SIGMAS = DDPM(cosine_beta(20)), RectifiedFlow(), VarianceExploding(geometric_sigma(5))
X = torch.randn(4, 1, 8, 8, generator=seeded(0))
POINTS = torch.randn(12, 2, generator=seeded(1))
LABEL = torch.tensor([0, 1, 2, 1])


@pytest.fixture(params=KINDS, autouse=True)
def device(request):
    """Both sets of rules, and every generator on the CPU."""
    with rules(request.param):
        yield DEVICE


def unet(process, view="v", **options):
    torch.manual_seed(0)
    return Network(UNet(8, 1, (8, 16), classes=3, dim=16, **options).to(DEVICE), process, view)


def mlp(process, view="eps"):
    torch.manual_seed(0)
    return Network(MLP(dim=2, width=16, depth=1).to(DEVICE), process, view)


def there(x, where=DEVICE):
    assert x.device.type == torch.device(where).type, f"the result is on {x.device}"
    assert torch.isfinite(x.cpu()).all()


HERE_AND_THERE = pytest.mark.parametrize("where", ["cpu", DEVICE], ids=["from the CPU", "from the device"])
"""Where the noise or the data are; the network is on the device."""


# Processes and predictions


@pytest.mark.parametrize("process", [CHAIN, FLOW, SIGMAS], ids=str)
def test_processes(process):
    x = X.to(DEVICE)
    t = 0.5 if process is FLOW else 3
    for time in (
        t,
        torch.full((4,), t),
        torch.full((4,), t, dtype=torch.float32 if process is FLOW else torch.long).to(DEVICE),
    ):
        a, b = process.coefficients(time, x)
        there(a.reshape(-1, 1, 1, 1)[:1] * x)
        there(torch.stack([a, b]).sum() * x)
        there(process.add_noise(x, time, randn_like(x, seeded(0))))
    there(process.add_noise(x, process.sample_t(4, seeded(0)), randn_like(x, seeded(0))))
    if process is CHAIN:
        there(process.posterior(x, x, 3)[0])
        there(process.posterior(x, x, torch.tensor([1, 2, 3, 4]))[0])


@pytest.mark.parametrize("view", ["x0", "eps", "score", "v", "flow"])
def test_views(view):
    network = unet(CHAIN, view).given(LABEL)
    pred = network(X.to(DEVICE), 5)
    for other in ("x0", "eps", "score", "v", "flow"):
        there(pred.as_view(other))
    there(pred.lerp(network(X.to(DEVICE), torch.tensor([5, 5, 6, 7])), 0.3).x0)


# Samplers


SAMPLERS = {
    "ddpm": lambda d, x: ddpm(d, x, d.process.times(4), seeded(0)),
    "ddim": lambda d, x: ddim(d, x, d.process.times(4)),
    "ddim, eta": lambda d, x: ddim(d, x, d.process.times(4), 0.5, seeded(0)),
    "heun": lambda d, x: heun(d, x, d.process.times(4)),
    "dpm solver": lambda d, x: dpm_solver(d, x, d.process.times(4), 3),
    "dpm solver, singlestep": lambda d, x: dpm_solver(d, x, d.process.times(4), singlestep=True),
    "deis": lambda d, x: deis(d, x, d.process.times(4)),
    "unipc": lambda d, x: unipc(d, x, d.process.times(4), 3),
    "plms": lambda d, x: plms(d, x, d.process.times(4)),
    "bespoke": lambda d, x: bespoke(KnownStart(d, x[:1].cpu()), x, d.process.times(2), torch.ones(2, 3)),
    "consistency": lambda d, x: consistency(d, x, d.process.times(4), seeded(0)),
    "probability flow": lambda d, x: probability_flow(d, x, d.process.times(4)),
    "reverse SDE": lambda d, x: sde.reverse_sde(d, x, d.process.times(4), 1.0, seeded(0)),
    "langevin": lambda d, x: langevin(d, x, 5, 3, 0.01, seeded(0)),
    "annealed langevin": lambda d, x: annealed_langevin(d, x, d.process.times(4), 2, 1e-4, seeded(0)),
    "invert": lambda d, x: invert(d, x, d.process.times(4)),
    "sdedit": lambda d, x: editing.sdedit(d, x, d.process.times(4), seeded(0)),
    "repaint": lambda d, x: editing.repaint(d, x, torch.ones_like(x[:1]).cpu(), x, d.process.times(4), 2, seeded(0), 2),
    "posterior sampling": lambda d, x: editing.dps(d, lambda v: v[:1] + v, x, x, d.process.times(4), 0.1, seeded(0)),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["network", "exact"])
@HERE_AND_THERE
def test_samplers(name, kind, where):
    denoiser = mlp(CHAIN) if kind == "network" else ExactDenoiser(ring(), CHAIN)
    there(result(SAMPLERS[name](denoiser, POINTS.to(where))), where)


@pytest.mark.parametrize("kind", ["network", "exact"])
def test_flow_samplers(kind):
    denoiser = mlp(FLOW, "flow") if kind == "network" else ExactDenoiser(ring(), FLOW)
    for sampler in (rectified_flow, heun, dpm_solver, unipc):
        there(result(sampler(denoiser, POINTS.to(DEVICE), FLOW.times(4))))
    there(OnPath(denoiser, CHAIN)(POINTS.to(DEVICE), 5).x0)
    there(OnPath(denoiser, CHAIN)(POINTS.to(DEVICE), torch.full((12,), 5)).x0)


@HERE_AND_THERE
def test_preconditioning_and_churn(where):
    denoiser = Preconditioned(MLP(width=16).to(DEVICE), EDM())
    there(result(churn(denoiser, POINTS.to(where), denoiser.process.times(3), rng=seeded(0))), where)
    there(denoiser(POINTS.to(where), denoiser.process.sample_t(12, seeded(0))).x0, where)
    assert torch.isfinite(edm_loss(denoiser, POINTS.to(where), seeded(0)).cpu())


def test_sampling_in_batches_comes_back_to_the_noise():
    made = sample(classifier_free(unet(CHAIN), LABEL, 2.0), X, 3, batch=2)
    assert made.device.type == "cpu" and made.shape == X.shape


# Guidance


def guided(kind):
    network = unet(CHAIN)
    torch.manual_seed(1)
    noisy = NoisyClassifier(TimedClassifier().to(DEVICE), CHAIN) if kind == "classifier" else None
    free = ClassifierFree(network.given(LABEL), network.given(NULL), 2.0)
    return {
        "classifier-free": lambda: free,
        "interval": lambda: Interval(free, network.given(LABEL), 0.5, 2.0),
        "autoguidance": lambda: AutoGuidance(network.given(LABEL), network.given(0), 2.0),
        "rescaled": lambda: Rescaled(network.given(LABEL), network.given(NULL), 2.0),
        "static": lambda: StaticThreshold(free),
        "dynamic": lambda: DynamicThreshold(free),
        "classifier": lambda: ClassifierGuided(
            Network(UNet(16, 1, (8,), classes=3, dim=16).to(DEVICE), CHAIN, "v").given(NULL), noisy, LABEL, 2.0
        ),
        "expert switch": lambda: sdxl.ExpertSwitch(free, network.given(0), 9),
        "measured": lambda: editing.Consistent(free, editing.shrunk(2), editing.shrunk(2).A(X.to(DEVICE))),
        "blurred": lambda: editing.Consistent(free, editing.blurred(0.5), editing.blurred(0.5).A(X.to(DEVICE))),
        "kept": lambda: editing.Consistent(
            free, editing.kept((X > 0).float()), (X.clamp(min=0)).to(DEVICE) * (X > 0).float().to(DEVICE)
        ),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "classifier-free",
        "interval",
        "autoguidance",
        "rescaled",
        "static",
        "dynamic",
        "classifier",
        "expert switch",
        "measured",
        "blurred",
        "kept",
    ],
)
@HERE_AND_THERE
def test_guided_samplers(kind, where):
    x = (torch.randn(4, 1, 16, 16, generator=seeded(0)) if kind == "classifier" else X).to(where)
    for name in ("ddpm", "ddim", "heun", "consistency", "langevin"):
        there(result(SAMPLERS[name](guided(kind), x)), where)


@pytest.mark.parametrize("name", SAMPLERS)
def test_exact_classifier_guides(name):
    data = triangle()
    there(
        result(
            SAMPLERS[name](
                ClassifierGuided(ExactDenoiser(data, CHAIN), ExactClassifier(data, CHAIN), 1, 2.0), POINTS.to(DEVICE)
            )
        )
    )


@pytest.mark.parametrize("knows_noise", [True, False])
@HERE_AND_THERE
def test_clip_guides(knows_noise, where):
    torch.manual_seed(0)
    clip = CLIP(dim=16, width=8, words=16).to(DEVICE)
    network = Network(UNet(32, 3, (8, 16), classes=0, dim=16).to(DEVICE), CHAIN, "x0")
    guided = ClipGuided(network, clip, "a red circle", 2.0, knows_noise)
    x = torch.randn(2, 3, 32, 32, generator=seeded(0)).to(where)
    for name in ("ddpm", "ddim", "heun"):
        there(result(SAMPLERS[name](guided, x)), where)


# Mixtures


@pytest.mark.parametrize("t", [5, torch.full((12,), 5)], ids=["one time", "a time each"])
def test_mixtures(t):
    for data, x in ((ring(), POINTS.to(DEVICE)), (pair(), POINTS[:, :1].to(DEVICE))):
        a, b = CHAIN.coefficients(t, x)
        for value in (data.log_prob(x), data.score(x, a, b), data.posterior_mean(x, a, b), data.class_probabilities(x, a, b)):
            there(value)


# Losses and training


def last_words(captioner, tokens):
    """The words that two decoders write, and their probabilities, as a number on the device."""
    z = torch.full_like(tokens, MASK)
    guided = guided_words(captioner, lambda z: captioner(z, torch.ones(len(z), 192)), 2.0)
    decoders = parallel_decoding(guided, z, 2, MASK, rng=seeded(0)), ancestral_words(captioner, z, 2, MASK, 0.5, seeded(0))
    ends = [list(steps)[-1] for steps in decoders]
    return sum((end.z.float() * end.probability.float()).mean() for end in ends)


def losses(where):
    x, big = X.to(where), torch.rand(2, 3, 32, 32, generator=seeded(0)).to(where)
    network, teacher, student = unet(CHAIN), unet(CHAIN), unet(CHAIN, guided=True)
    yield "denoising", lambda: denoising_loss(network.given(LABEL).drop_condition(0.5, seeded(0)), x, seeded(1))
    yield "denoising, t", lambda: denoising_loss(network.given(LABEL), x, seeded(1), torch.tensor([1, 5, 9, 20]))
    yield "flow", lambda: denoising_loss(unet(FLOW, "flow").given(LABEL), x, seeded(1))
    transformer = lambda: Network(DiT(8, 1, 2, 8, 1, 2, 3).to(DEVICE), FLOW, "flow")
    yield "transformer", lambda: denoising_loss(transformer().given(LABEL).drop_condition(0.5, seeded(0)), x, seeded(1))
    coupled = lambda: flow_matching.optimal_transport(x, x.flip(0), 2)
    yield "coupled", lambda: flow_matching.flow_matching_loss(unet(FLOW, "flow").given(LABEL), x, coupled(), seeded(1))
    yield "DPO", lambda: rewards.dpo_loss(network.given(LABEL), unet(CHAIN).given(LABEL), x, x.flip(0), 5, x.flip(2), 0.5)
    mean = lambda x: x.flatten(1).mean(1)
    rolled = lambda: rewards.rollout(network.given(LABEL), unet(CHAIN).given(LABEL), x, CHAIN.times(2), mean, 0.5, seeded(3))
    yield "DDPO", lambda: rewards.ddpo_loss(network.given(LABEL), rolled())
    two_times = UNet(8, 1, (8, 16), classes=3, dim=16)
    two_times.time = TwoTimes(16)
    u = one_step.AverageVelocity(two_times.to(DEVICE)).given(LABEL)
    r, t = one_step.shortcut_times(4, 0.5, rng=seeded(2))  # torch's jvp ends the process on a pretended device
    of_halves = lambda u, z, r, t, v: one_step.shortcut_target(u, z, r, t)
    yield "shortcut", lambda: one_step.average_velocity_loss(u, x, x.flip(0), r, t, of_halves)
    matching = unet(FLOW, "flow").given(LABEL)
    yield "distribution matching", lambda: distribution_matching.dmd_loss(matching, matching, matching, x, seeded(1))
    worded = adapters.add_lora(adapters.add_word(text_unet(), ["star"]), ["encoder.16x16_block0.conv1"], 2)
    both = adapters.tokens_with("cross", ["a cross", "a red star"]), big
    yield "prior preservation", lambda: adapters.prior_preservation_loss(worded, both, both, rng=seeded(1))
    control = Network(adapters.ControlNet(text_unet().net).to(DEVICE), CHAIN, "v")
    lines = adapters.outline(big)
    yield "control", lambda: denoising_loss(control.given((["a star", "a box"], lines)), big, seeded(1))
    noisy = NoisyClassifier(TimedClassifier().to(DEVICE), CHAIN)
    yield (
        "classifier",
        lambda: classifier_loss(noisy, torch.randn(4, 1, 16, 16, generator=seeded(0)).to(where), LABEL, seeded(0)),
    )
    yield "progressive", lambda: distillation.progressive_loss(network.given(LABEL), teacher.given(LABEL), x, 4, seeded(0))
    yield (
        "consistency",
        lambda: distillation.consistency_loss(
            network.given(LABEL), teacher.given(LABEL), x, 4, teacher.given(LABEL), seeded(0)
        ),
    )
    yield (
        "consistency, untaught",
        lambda: distillation.consistency_loss(network.given(LABEL), teacher.given(LABEL), x, 4, None, seeded(0)),
    )
    yield "guided", lambda: distillation.guided_consistency_loss(student, student, teacher, x, LABEL, 4, rng=seeded(0))
    sr = Network(Upsampler(8, 2, 1, (8, 16), 1, 16).to(DEVICE), CHAIN, "v")
    yield "upsampler", lambda: cascades.upsampler_loss(sr, x, seeded(0), 10)
    yield "refiner", lambda: sdxl.refiner_loss(network.given(LABEL), x, 10, seeded(0))
    clip = CLIP(dim=16, width=8, words=16).to(DEVICE)
    tokens = captions.tokens(["a red circle", "two blue stars"]).to(where)
    yield "contrastive", lambda: contrastive_loss(clip.encode_image(big), clip.encode_text(tokens), clip.scale)
    vae, gan = recipes.vae().to(DEVICE), recipes.gan().to(DEVICE)
    digits = torch.rand(4, 1, 16, 16, generator=seeded(0)).to(where)
    yield "elbo", lambda: gan_vae.elbo(vae, digits, torch.randn(4, vae.latent, generator=seeded(0)).to(where)).mean()
    yield "adversarial", lambda: gan_vae.adversarial_value(gan, digits, gan.sample(4, seeded(0)))
    yield "non-saturating", lambda: gan_vae.non_saturating_loss(gan, gan.sample(4, seeded(0)))
    autoencoder = Autoencoder(4, 4, 16).to(DEVICE)
    yield "autoencoder", lambda: latents.autoencoder_loss(autoencoder, big, 0.1, seeded(0))
    yield "masked words", lambda: mask_words(tokens, seeded(0))[0].float().mean()
    captioner = Captioner(16, 1).to(DEVICE)
    yield "masked diffusion", lambda: masked_diffusion_loss(captioner, tokens[:, 1:].to(where), MASK, seeded(0))
    yield "decoding", lambda: last_words(captioner, tokens[:, 1:].to(where))


@HERE_AND_THERE
def test_losses(where):
    for name, loss in losses(where):
        value = loss()
        assert value.device.type in (DEVICE.type, torch.device(where).type) and torch.isfinite(value.cpu()), name


def test_training_and_average():
    network = unet(CHAIN)
    ema, rng = EMA(network.net, 0.9), seeded(0)
    loss = lambda: denoising_loss(network.given(LABEL), X.to(DEVICE), rng)
    (*_, end) = train(loss, network.net, 3, ema=ema)
    assert end.step == 3
    there(next(ema.net.parameters()).detach())


# Metrics and methods


def test_metrics():
    x, y = (torch.randn(60, 2, generator=seeded(i)).to(DEVICE) for i in (0, 1))
    values = [
        metrics.frechet_distance(x, y),
        *metrics.precision_recall(x, y),
        metrics.sliced_wasserstein(x, y),
        metrics.accuracy(x, torch.zeros(60, dtype=torch.long)),
        metrics.accuracy(x, torch.zeros(60, dtype=torch.long).to(DEVICE)),
        metrics.floor(metrics.sliced_wasserstein, x, 20),
        *metrics.modes(x, ring()),
        latents.psnr(X.to(DEVICE), 0.9 * X.to(DEVICE)),
        float(latents.unit_scale(X.to(DEVICE))),
    ]
    assert all(torch.isfinite(torch.tensor(float(v))) for v in values)
    there(interpolation.slerp(X.to(DEVICE), X.flip(0).to(DEVICE), 0.3))


@pytest.mark.parametrize("kind", ["network", "exact"])
@HERE_AND_THERE
def test_likelihood(kind, where):
    denoiser = mlp(CHAIN) if kind == "network" else ExactDenoiser(ring(), CHAIN)
    x, times = POINTS.to(where), torch.tensor([20, 8, 1])
    for probes in (0, 1):
        for found in sde.log_likelihood(denoiser, x, times, probes, seeded(0)):
            there(found, where)
    there(result(sde.forward_sde(CHAIN, x, times, seeded(0))), where)
    there(sde.bits_per_dimension(sde.log_likelihood(denoiser, sde.dequantize(x, 0.1, seeded(0)), times)[0], 2, 0.1), where)


def test_watermarks():
    key, noise = watermark.draw_key(16), torch.randn(4, 1, 16, 16, generator=seeded(0)).to(DEVICE)
    there(watermark.match(watermark.add_mark(noise, key), key))


def test_cascades():
    sr = Network(Upsampler(16, 2, 1, (8, 16), 1, 16).to(DEVICE), CHAIN, "v")
    noises = (X.to(DEVICE), torch.randn(4, 1, 16, 16, generator=seeded(0)).to(DEVICE))
    for truncated in (False, True):
        steps = cascades.cascade(unet(CHAIN).given(LABEL), sr, noises, CHAIN.times(5), 4, truncated, seeded(0))
        there(cascades.film(steps, CHAIN.T)[-1].x)


def test_plots():
    plots.grid(X.to(DEVICE))
    plots.plt.close(plots.pictures(X.to(DEVICE)))
    plots.plt.close(plots.points(POINTS.to(DEVICE), torch.arange(12).to(DEVICE) % 2))


# Recipes and models


@pytest.fixture
def loading(monkeypatch):
    """`models.load` then puts a model on DEVICE, as it does on a GPU."""
    monkeypatch.setenv("COURSE_DEVICE", str(DEVICE))


@pytest.mark.parametrize("device", KINDS[-1:], indirect=True)
@pytest.mark.parametrize("name", [name for name, recipe in models.RECIPES.items() if recipe.shape])
def test_models_sample(name, device, loading):
    captions = ("a red circle", "two blue stars") if models.RECIPES[name].captions else ()
    x, label = models.sample(name, n=2, steps=2, captions=captions)
    assert x.device.type == "cpu" and len(x) == 2 and x.isfinite().all()


@pytest.mark.parametrize("device", KINDS[-1:], indirect=True)
@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_draw(name, device, loading, monkeypatch):
    monkeypatch.setattr(systems, "STEPS", 4)
    for pictures in SYSTEMS[name]()(["a red circle left of a blue square"], 0):
        assert pictures.shape == (1, 3, 32, 32) and pictures.isfinite().all()


def test_samples_are_written_from_anywhere(tmp_path):
    for end in (".npz", ".png"):
        models.write_samples(tmp_path / f"x{end}", X.to(DEVICE), LABEL.to(DEVICE))
        models.write_samples(tmp_path / f"points{end}", POINTS.to(DEVICE), None)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_device_of_the_environment_is_picked(loading):
    assert pick_device().type == DEVICE.type and DEVICE.type in str(environment())


@pytest.mark.parametrize("device", KINDS[-1:], indirect=True)
@pytest.mark.parametrize("name", [name for name in models.RECIPES if REAL or name != "flow_meanflow"])  # it has a jvp
def test_recipes_train(name, device, loading):
    for _ in itertools.islice(models.RECIPES[name].train(models.load(name), seed=0, steps=2), 2):
        pass


@pytest.mark.thorough
@pytest.mark.parametrize("device", KINDS[-1:], indirect=True)
@pytest.mark.parametrize("name", models.RECIPES)
def test_recipes_are_measured(name, device, loading, monkeypatch):
    cut(monkeypatch)
    recipe = models.RECIPES[name]
    few = {"n": 8} if "n" in inspect.signature(recipe.figures).parameters else {}
    assert all(isinstance(float(value), float) for value in recipe.figures(models.load(name), **few).values())


# Widgets


def no_alert(*parts):
    """A widget shows an error in a callback as text."""
    for part in parts:
        assert part.value and 'role="alert"' not in part.value, part.value


@HERE_AND_THERE
def test_players(where):
    steps = list(ddim(unet(CHAIN).given(LABEL), X.to(where), CHAIN.times(2)))
    assert play(steps).html and play(steps, draw=lambda step: step.x0).html
    network = mlp(CHAIN)
    steps = list(ddim(network, POINTS.to(where), CHAIN.times(2)))
    assert play(steps).html and play(steps, field=network).html and play(steps, field=ExactDenoiser(ring(), CHAIN)).html
    assert play(list(ddim(ExactDenoiser(pair(), CHAIN), POINTS[:, :1].to(where), CHAIN.times(2)))).html
    assert play(list(rectified_flow(mlp(FLOW, "flow"), POINTS.to(where), FLOW.times(2)))).html


@HERE_AND_THERE
def test_explorers(where):
    network = unet(CHAIN).given(LABEL[:1])
    assert explore(network, list(ddim(network, X[:1].to(where), CHAIN.times(2)))).html
    transformer = Network(DiT(8, 1, 2, 8, 1, 2, 3).to(DEVICE), FLOW, "flow").given(LABEL[:1])
    assert explore(transformer, list(rectified_flow(transformer, X[:1].to(where), FLOW.times(2)))).html
    words, caption = text_unet(), "a red circle"
    x = torch.randn(1, 3, 32, 32, generator=seeded(0)).to(where)
    assert attention_player(words, caption, list(ddim(words.given(caption), x, CHAIN.times(2)))).html


def text_unet():
    torch.manual_seed(0)
    return Network(TextUNet(widths=(32, 32), dim=32, words=16).to(DEVICE), CHAIN, "v")


def test_guidance_explorer():
    network = unet(CHAIN)
    torch.manual_seed(1)
    noisy = NoisyClassifier(TimedClassifier().to(DEVICE), CHAIN)
    larger = Network(UNet(16, 1, (8,), classes=3, dim=16).to(DEVICE), CHAIN, "v")
    student = unet(CHAIN, guided=True)
    choices = {"free": by_classifier_free(network), "student": by_student(student)}
    made = guidance_explorer(choices, (1, 8, 8), (0, 1, 2), 3, quick={"free": by_student(student)})
    for control, value in ((made.w, 1.0), (made.sampler, "DDPM"), (made.sampler, "Heun"), (made.model, "student")):
        control.value = value
        no_alert(made.screen)
    made.freeze.click()
    no_alert(made.rows)
    by_noisy = guidance_explorer({"classifier": by_classifier(larger, noisy)}, (1, 16, 16), (0, 1, 2), 2)
    no_alert(by_noisy.screen)


def test_prompt_box():
    torch.manual_seed(0)
    made = prompt_box(text_unet(), SceneDetector().to(DEVICE).eval(), ("a red circle",), steps=2)
    no_alert(made.screen)
    made.caption.value = "a blue star"
    no_alert(made.screen)


def test_student():
    torch.manual_seed(0)
    net = UNet(8, 1, (8, 16), classes=10, dim=16, guided=True).to(DEVICE)
    assert student(Network(net, CHAIN, "v"), 2.0).html


def test_paths():
    torch.manual_seed(0)
    assert paths(ExactDenoiser(ring(), CHAIN), mlp(CHAIN), CHAIN.times(4), steps=4, n=1).html


@HERE_AND_THERE
def test_dial_and_sheets(where):
    shown = [X.to(where), -X.to(where)]
    assert dial("t", [1, 2], {"edit": shown}, {"kept": [0.5, float((X.to(where) > 0).float().mean())]}).html
    assert sheets.panel(X.to(where), list("abcd"), "four").width and sheets.frozen(X.to(where)).width
