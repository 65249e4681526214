"""torch's default type and device neither break nor change anything: each tensor is made of a named type, on a named device."""

import ast
import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from course_lib import metrics, plots
from course_lib.datasets import captions, digits, markov, points, scenes, shapes, words
from course_lib.denoisers import NULL, ExactDenoiser, Network
from course_lib.files import ROOT
from course_lib.guidance import AutoGuidance, ClassifierGuided, ExactClassifier, Interval, NoisyClassifier, Rescaled
from course_lib.methods import (
    adapters,
    cascades,
    distillation,
    distribution_matching,
    editing,
    edm,
    flow_matching,
    gan_vae,
    latents,
    masked,
    masked_exact,
    one_step,
    rewards,
    sde,
    sdxl,
    solvers,
    tilted_density,
    unclip,
    watermark,
)
from course_lib.mixtures import GaussianMixture
from course_lib.nets import (
    attention,
    autoencoder,
    classifier,
    clip,
    detector,
    dit,
    embeddings,
    hooks,
    language,
    mlp,
    mmdit,
    text,
    unet,
    upsampler,
)
from course_lib.nets import sdxl as sdxl_nets
from course_lib.nets import unclip as unclip_nets
from course_lib.process import DDPM, RectifiedFlow, seeded
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta, geometric_sigma, linear_beta
from course_lib.teaching import checks as check
from course_lib.widgets import guided, guided_models, paths
from course_lib.zoo import drawbench
from course_lib.zoo.recipes import clip as clip_recipe
from course_lib.zoo.recipes import imagen, points_gan, some_points
from course_lib.zoo.recipes import shapes as shapes_recipe
from course_lib.zoo.recipes.distillation import batches

# In the source

WHOLE = {"randint", "randperm", "Generator"}  # of whole numbers, or of none
FACTORIES = WHOLE | {"rand", "randn", "normal", "zeros", "ones", "full", "empty", "eye", "arange", "linspace", "logspace"}
FACTORIES |= {"tensor", "as_tensor", "asarray", "fftfreq", "rfftfreq"}
CHECKS = "teaching/checks"
"""The exercises' references are what a student would write, and are called under torch's own defaults (`own_defaults`)."""


def unnamed(source: str) -> list[str]:
    """The calls of torch's factories that leave type or device to torch's defaults, outside of constructors of networks."""
    found = []

    def look(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("torch."):
            name, given = ast.unparse(node.func).rpartition(".")[2], {keyword.arg for keyword in node.keywords}
            wanted = {"device"} if name in WHOLE else {"device", "dtype"}
            if name in FACTORIES and None not in given and not wanted <= given:  # None is that of **options
                found.append(f"line {node.lineno}: {ast.unparse(node)} names no {' and no '.join(sorted(wanted - given))}")
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(source))
    return found


FILES = {path.relative_to(ROOT / "course_lib").as_posix(): path for path in sorted((ROOT / "course_lib").rglob("*.py"))}


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith(CHECKS)])
def test_every_factory_names_type_and_device(name):
    assert unnamed(FILES[name].read_text(encoding="utf-8")) == []


def test_an_unnamed_factory_is_found():
    assert unnamed("def f(n):\n    return torch.arange(n, device='cpu') + 0.5") == [
        "line 2: torch.arange(n, device='cpu') names no dtype"
    ]
    assert unnamed("torch.randperm(5, generator=rng)") and unnamed("torch.fft.fftfreq(5, dtype=torch.float64)")
    assert not unnamed("torch.zeros(3, **FLOAT), torch.randint(3, (4,), device='cpu'), torch.stack([x])")
    assert not unnamed("class Net:\n    def __init__(self):\n        self.w = torch.randn(3)")


# At work


@contextmanager
def defaults(dtype: torch.dtype = torch.float32, device: str | None = None) -> Iterator[None]:
    """torch's default type and device, for as long as the block lasts."""
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def parts(value) -> Iterator:
    """All tensors, numbers and texts in it."""
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from parts(part)
    elif isinstance(value, Tensor | float | int | str):
        yield value
    else:
        yield from parts(vars(value))


def alike(a, b) -> bool:
    """Bit for bit, and of one type."""
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    return a == b


CHAIN, MIX = DDPM(cosine_beta(20)), points.triangle()
EXACT, KEY, PLANE = ExactDenoiser(MIX, CHAIN), watermark.draw_key(8, 1, 3), tilted_density.Plane(3.0, 9)
FIRST = lambda x: x[:, 0]
GUIDED = ClassifierGuided(EXACT, ExactClassifier(MIX, CHAIN), 1, 2.0)
P, X = torch.randn(6, 2, generator=seeded(0)), torch.randn(4, 1, 8, 8, generator=seeded(1))
RGB, Z = torch.rand(2, 3, 32, 32, generator=seeded(2)) * 2 - 1, torch.randn(2, 16, generator=seeded(3))
LATENT, TIME, LABEL = (
    torch.randn(2, 4, 8, 8, generator=seeded(4)),
    torch.tensor([0.1, 0.25, 0.6, 1.0]),
    torch.tensor([0, 1, 2, 1]),
)
SCENE, SPELLING = scenes.sample(4, seeded(0)), words.sample(4, seeded(0))
TOKENS = captions.tokens(["a red circle", "two blue stars"])
SPOKEN, MASKS = markov.random_language(seeded(0), 3, 4), torch.full((2, 4), 3)
torch.manual_seed(0)


TWO_TIMES = mlp.MLP(2, 16, 1)
TWO_TIMES.time = embeddings.TwoTimes(16)

NETS = {
    "unet": unet.UNet(8, 1, (8, 16), classes=3, dim=16),
    "fourier": unet.UNet(8, 1, (8,), classes=0, dim=16, time="fourier"),
    "student": unet.UNet(8, 1, (8,), classes=3, dim=16, guided=True),
    "upsampler": upsampler.Upsampler(16, 2, 1, (8,), 2, 16),
    "classifier": classifier.TimedClassifier(1, (8, 8), 3, 16),
    "text": text.TextUNet(32, (32,), 16, 16),
    "sdxl": sdxl_nets.SDXLUNet(8, (8,), 16, text.TextEncoder(8, 1, 2)),
    "dit": dit.DiT(8, 1, 2, 8, 1, 2, 3),
    "mmdit": mmdit.DiT(8, 4, 2, 8, 1, 2),
    "mlp": mlp.MLP(2, 16, 1),
    "prior": unclip_nets.Prior(16, 16, 1, 2, 16),
    "decoder": text.TextUNet(32, (32,), 16, text=unclip_nets.EmbeddingTokens(16, 2, 16)),
    "clip": clip.CLIP(16, 8, 16),
    "detector": detector.SceneDetector(8),
    "autoencoder": autoencoder.Autoencoder(2, 4, 8),
    "language": language.LanguageModel(8, 1, 2),
    "captioner": language.Captioner(8, 1, 2, causal=True),
}
for made in NETS.values():
    made.eval().requires_grad_(False)
    for parameter in made.parameters():  # some begin at 0, and would hide what goes in
        torch.nn.init.normal_(parameter, std=0.1)
DENOISERS = {name: Network(made, CHAIN, "v") for name, made in NETS.items()}
GAN, LABELS = points_gan(), embeddings.LabelEmbedding(3, 4)
METHOD = unclip.UnCLIP(NETS["clip"], DENOISERS["prior"], DENOISERS["decoder"])
NOISY = NoisyClassifier(NETS["classifier"], CHAIN)
EXPLORER = guided_models.ExplorerModel({"": guided_models.by_classifier_free(DENOISERS["unet"])}, (1, 8, 8), (0, 1, 2))

LAYOUT = shapes.layout(SCENE[:2], seeded(0))

# fmt: off
FORWARD = {
    "unet": lambda net, to: net(to(X), TIME, LABEL),
    "fourier": lambda net, to: net(to(X), TIME),
    "student": lambda net, to: net(to(X), TIME, LABEL, 3 * TIME),
    "upsampler": lambda net, to: net(to(RGB[:, :1, :16, :16]), TIME[:2], net.as_condition((LATENT[:, :1], 0.3))),
    "classifier": lambda net, to: net(to(X), TIME),
    "text": lambda net, to: net(to(RGB), TIME[:2], TOKENS),
    "sdxl": lambda net, to: net(to(LATENT), TIME[:2], net.with_micro((["a star", ""], (8, 0, 0)))),
    "dit": lambda net, to: net(to(X), TIME, LABEL),
    "mmdit": lambda net, to: net(to(LATENT), TIME[:2], net.as_condition(["STAR in red", "a red circle"])),
    "mlp": lambda net, to: net(to(P), TIME[[0, 1, 2, 3, 0, 1]]),
    "prior": lambda net, to: net(to(Z), TIME[:2], TOKENS),
    "decoder": lambda net, to: net(to(RGB), TIME[:2], Z),
    "clip": lambda net, to: (net.encode_image(to(RGB)), net.encode_image(to(RGB), TIME[:2]), net.encode_text(TOKENS)),
    "detector": lambda net, to: (net(to(RGB)), net.features(to(RGB))),
    "autoencoder": lambda net, to: (net.gaussian(to(RGB)), net.decode(to(LATENT[..., :4, :4]))),
    "language": lambda net, to: net(TOKENS),
    "captioner": lambda net, to: net(TOKENS[:, 1:]),
}
CALLS = {
    "schedules": lambda: (linear_beta(30), cosine_beta(5), geometric_sigma(5)),
    "points": lambda: (points.ring(), points.grid(), points.pair(), points.triangle(), points.pair().sample(5, seeded(0))),
    "mixtures": lambda: (MIX.log_prob(P, 0.3, 0.7), MIX.posterior_mean(P, 0.3, 0.7), MIX.noised(0.3, 0.7), MIX.given(1)),
    "classes": lambda: (MIX.class_probabilities(P), MIX.score_slope(P.double(), 0.3, 0.7)),
    "digits": lambda: digits.load("held_out", 32),
    "scenes": lambda: (scenes.sample(9, seeded(3)), scenes.sample(9, seeded(1), split="new objects")),
    "agreement": lambda: (scenes.agreement(SCENE, SCENE), drawbench.score(scenes.sample(200, seeded(0)))),
    "shapes": lambda: (shapes.draw(SCENE, seeded(0), 16), sdxl.crop_and_shrink(SCENE, seeded(0))),
    "captions": lambda: (captions.tell(SCENE, seeded(0)), captions.tokens(captions.describe(SCENE))),
    "words": lambda: (words.draw(SPELLING, seeded(0)), words.read(words.draw(SPELLING, seeded(0))), words.sample(5, seeded(1))),
    "prompts": lambda: (words.tokens("STAR in red"), words.spelling("STAR", "red", 2)),
    "distances": lambda: (
        metrics.frechet_distance(P, P + 1), metrics.precision_recall(P, P + 0.1), metrics.sliced_wasserstein(P, P + 1),
        metrics.floor(metrics.sliced_wasserstein, P, 2), metrics.modes(P, MIX), metrics.memorisation(P, P + 0.1, 3),
    ),
    "embeddings": lambda: (embeddings.sinusoidal(TIME, 8), attention.sincos_2d(8, 4), LABELS.as_condition([0, 2])),
    "null conditions": lambda: [
        DENOISERS[name].given(NULL).cond for name in ("unet", "sdxl", "dit", "mmdit", "prior", "decoder")
    ],
    "a contrast": lambda: clip.contrastive_loss(P, P, 2.0),
    "detection": lambda: (NETS["detector"].locate(RGB), detector.detection_loss(NETS["detector"](RGB), SCENE[:2], LAYOUT)),
    "losses": lambda: latents.autoencoder_loss(NETS["autoencoder"], RGB, 0.1, seeded(0)),
    "masked words": lambda: language.mask_words(TOKENS, seeded(0)),
    "augmentation": lambda: (classifier.jitter(X, seeded(0)), shapes_recipe.degrade(RGB, 0.1, 0.6, seeded(0))),
    "attention maps": lambda: hooks.cross_attention_maps(DENOISERS["text"].given("a red circle"), RGB, 3),
    "guidance": lambda: (result(ddim(GUIDED, P, CHAIN.times(3))), NOISY(X, 3)),
    "cascades": lambda: (
        cascades.augmented(CHAIN, X, 3, seeded(0)),
        cascades.upsampler_loss(DENOISERS["upsampler"], RGB[:, :1, :16, :16], seeded(0), 9),
    ),
    "distillation": lambda: (
        distillation.progressive_loss(*[DENOISERS["unet"].given(LABEL)] * 2, X, 3, seeded(0)),
        distillation.guided_consistency_loss(*[DENOISERS["student"]] * 2, DENOISERS["unet"], X, LABEL, 4, rng=seeded(0)),
    ),
    "fast solvers": lambda: [
        result(solver(EXACT, P, CHAIN.times(4))) for solver in (solvers.dpm_solver, solvers.unipc, solvers.deis, solvers.plms)
    ],
    "EDM": lambda: (
        result(edm.churn(ExactDenoiser(MIX, edm.EDM()), P, edm.EDM().times(3), rng=seeded(0))),
        edm.edm_loss(edm.Preconditioned(NETS["mlp"], edm.EDM()), P, seeded(0)),
        edm.nearest_times(CHAIN, edm.karras_sigmas(4, 0.1, 10.0)),
    ),
    "flow matching": lambda: (
        flow_matching.flow_matching_loss(ExactDenoiser(MIX, RectifiedFlow()), P, P.flip(0), seeded(0)),
        flow_matching.optimal_transport(P, P.flip(0), 2),
        flow_matching.reflow(ExactDenoiser(MIX, RectifiedFlow()), lambda flow, x0, eps: flow, P, 2)[1](P, 0.5).x0,
    ),
    "rewards": lambda: (
        rewards.tilted(MIX, P[0], 0.5), rewards.best_of(P, FIRST, 2),
        result(rewards.particles(EXACT, P, CHAIN.times(3), FIRST, 0.5, 3, seeded(0))),
        rewards.dpo_loss(EXACT.given(0), EXACT, P, P.flip(0), 5, P.flip(1), 0.5),
        rewards.ddpo_loss(EXACT, rewards.rollout(EXACT, EXACT.given(0), P, CHAIN.times(3), FIRST, 0.5, seeded(0))),
        rewards.accepted(P, lambda x: -x[:, 0].square(), 0.5, rng=seeded(0)),
    ),
    "guidance after CFG": lambda: [
        guided(P, 10).x0
        for guided in (
            Interval(AutoGuidance(EXACT.given(0), EXACT), EXACT.given(0), 0.5, 2.0), Rescaled(EXACT.given(0), EXACT, 3.0),
        )
    ],
    "one step": lambda: (
        one_step.average_velocity_loss(
            lambda z, r, t: z * t[:, None],
            P,
            P.flip(0),
            *one_step.meanflow_times(len(P), 0.5, seeded(0)),
            one_step.meanflow_target,
        ),
        one_step.shortcut_target(lambda z, r, t: z, P, *one_step.shortcut_times(len(P), rng=seeded(0))),
        result(one_step.jumps(one_step.AverageVelocity(TWO_TIMES), P, RectifiedFlow().times(2))),
        result(one_step.jump_sampler(Network(TWO_TIMES, RectifiedFlow(), "flow"), P, RectifiedFlow().times(2))),
        distribution_matching.dmd_loss(*[ExactDenoiser(MIX, RectifiedFlow())] * 3, P, seeded(0)),
    ),
    "masked diffusion": lambda: (
        [step.z for step in masked.ancestral_words(SPOKEN, MASKS, 3, 3, 0.5, seeded(0))],
        [step.probability for step in masked.parallel_decoding(SPOKEN, MASKS, 2, 3, "confidence", seeded(0))],
        masked.masked_diffusion_loss(SPOKEN, SPOKEN.sample(2, seeded(1)), 3, seeded(0)),
        masked_exact.Enumerated(SPOKEN, 3, 4).bound(), masked_exact.Enumerated(SPOKEN, 3, 4).decode(2, "confidence"),
        masked_exact.Enumerated(SPOKEN, 3, 4).ancestral(2, 0.5), captions.read("a red circle")[1].shape,
    ),
    "adapters": lambda: (
        adapters.merge(adapters.add_lora(DENOISERS["text"], ["encoder.16x16_block0.conv1"], 2)).given("a star")(RGB, 5).x0,
        adapters.add_word(DENOISERS["text"], ["star"]).given(adapters.tokens_with("cross", ["a cross"]))(RGB, 5).x0,
        adapters.ControlNet(DENOISERS["text"].net).as_condition((["a star"] * len(RGB), adapters.outline(RGB))),
    ),
    "editing": lambda: (
        result(editing.repaint(EXACT, P, P[:, :1] > 0, P.flip(0), CHAIN.times(3), 2, seeded(0))), editing.blurred(0.5).back(X),
    ),
    "a refiner": lambda: sdxl.refiner_loss(DENOISERS["unet"].given(LABEL), X, 5, seeded(0)),
    "generators": lambda: (GAN.sample(4, seeded(0)), gan_vae.sample_generator(GAN, 3, seeded(0))),
    "points of a denoiser": lambda: gan_vae.sample_generator(Network(NETS["mlp"], DDPM(cosine_beta(60)), "v"), 3, seeded(0)),
    "an SDE": lambda: (
        result(sde.forward_sde(CHAIN, P, CHAIN.times(3), seeded(0))),
        result(sde.reverse_sde(EXACT, P, CHAIN.times(3), 1.0, seeded(0))),
        sde.log_likelihood(EXACT, P, CHAIN.times(3)[:-1], 1, seeded(0)), sde.dequantize(X, 0.1, seeded(0)),
        sde.drift_diffusion(sde.Continuous(CHAIN), 2.5), plots.sketch(P[:, 0], P[:, 1].abs(), -2, 2, P[:, 0]),
    ),
    "tilted density": lambda: tilted_density.distance(MIX, 1, 2.0, CHAIN, CHAIN.times(4), PLANE, PLANE),
    "unCLIP": lambda: (METHOD.sample_prior(["a star"], steps=2, rng=seeded(0)), METHOD.sample(Z, steps=2, rng=seeded(0))),
    "watermarks": lambda: (watermark.match(watermark.add_mark(X, KEY), KEY), watermark.draw_key(8)),
    "retrieval": lambda: clip_recipe.retrieval(NETS["clip"], n=4, batches=1),
    "a probe": lambda: imagen.read_from_nouns(NETS["language"].text, 20),
    "training data": lambda: (some_points(seeded(0)), batches(torch.device("cpu"), seeded(0))()),
    "rules of paths": lambda: (paths.geometric_levels(CHAIN, 4, 0.3), paths.ddim_rule(CHAIN, CHAIN.times(3))),
    "the explorer": lambda: EXPLORER.sample(guided_models.Controls(steps=1)),
    "the guided plane": lambda: guided.guided_plane(MIX, CHAIN, 3).html,
}
# fmt: on
CALLS |= {f"the network {name}": lambda name=name: FORWARD[name](NETS[name], lambda x: x) for name in NETS}
OTHERS = {"float64": {"dtype": torch.float64, "device": "cpu"}, "meta": {"device": "meta"}}
"""Other defaults. A tensor on "meta" has no numbers: whatever is made of one fails, or is not what it was."""


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("other", OTHERS)
def test_the_result_is_the_same_bit_for_bit(name, other):
    with defaults(device="cpu"):  # torch takes other ways through its transformers where a default device is set
        want = list(parts(CALLS[name]()))
    with defaults(**OTHERS[other]):
        got = list(parts(CALLS[name]()))
    assert want and len(got) == len(want) and all(map(alike, got, want))


def test_a_difference_is_seen():
    with defaults(torch.float64):
        assert not alike(torch.zeros(2), torch.zeros(2, dtype=torch.float32))
    assert not alike(torch.zeros(2), torch.ones(2)) and not alike(1.0, 2.0) and alike(torch.ones(2), torch.ones(2))


def test_numbers_are_taken_in_float64():
    """As 0.3 in float32 is 0.30000001, of which points in float64 would take notice."""
    x, a, b = P.double(), torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    assert torch.equal(MIX.log_prob(x, 0.3, 0.7), MIX.log_prob(x, a, b))
    assert alike(*(list(parts(MIX.noised(*given)))[2] for given in ((0.3, 0.7), (a, b))))
    assert GaussianMixture([1.0, 3.0], [[0.1], [0.2]], 0.3).means.tolist() == [[0.1], [0.2]]


def test_new_networks_follow_the_defaults():
    with defaults(torch.float64):
        for net in (unet.UNet(), dit.DiT(), text.TextUNet(), mmdit.DiT(), mlp.MLP()):
            assert {p.dtype for p in net.parameters()} == {torch.float64}
    with defaults(device="meta"):
        for net in (unet.UNet(), dit.DiT(), text.TextUNet(), mmdit.DiT(), mlp.MLP()):
            assert {p.device.type for p in net.parameters()} == {"meta"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_networks_work_in_other_types(name, dtype):
    """Time, tokens and conditions are as they always are; pictures are in the network's type."""
    net = copy.deepcopy(NETS[name]).to(dtype)
    want, got = (list(parts(FORWARD[name](*given))) for given in ((NETS[name], lambda x: x), (net, lambda x: x.to(dtype))))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype or name == "clip"  # its captions stay in float32, as those of pictures of float32
        assert (a - b).abs().max() <= (0.2 if dtype is torch.bfloat16 else 1e-4) * b.abs().max()


@pytest.mark.parametrize("how", [{"dtype": torch.float64}, {"device": "meta"}])
def test_checks_judge_as_ever(how):
    def add_noise(x0, t, eps, alpha_bar):
        return alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps

    verdicts = [str(check.add_noise(add_noise)), str(check.sinusoidal(lambda time, dim: time)), str(check.slerp(torch.lerp))]
    with defaults(**how):
        assert verdicts == [
            str(check.add_noise(add_noise)),
            str(check.sinusoidal(lambda time, dim: time)),
            str(check.slerp(torch.lerp)),
        ]
