"""One bad argument at a time, over the public functions and constructors of the library: each is refused, and by its name.

A row of TABLE is a call with good arguments, each of a Kind, which also gives the bad values that take its place: "3", None,
NaN and -1 for a number, for example. The error must be a TypeError or ValueError of one line, "NAME must ..., got ...". A
result (the bad input is silent) or any other error, such as torch's own (it is unclear), fails the test.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import denoisers, guidance, metrics, mixtures, muon, plots, prediction, process, samplers, schedules, training
from course_lib.datasets import captions, digits, markov, points, scenes, shapes, words
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.files import ROOT
from course_lib.methods import (
    adapters,
    bespoke,
    cascades,
    clip_guidance,
    distillation,
    distribution_matching,
    editing,
    edm,
    flow_matching,
    gan_vae,
    interpolation,
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
from course_lib.nets import (
    attention,
    autoencoder,
    classifier,
    clip,
    detector,
    dit,
    efficient_unet,
    embeddings,
    generators,
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
from course_lib.schedules import cosine_beta
from course_lib.teaching import answer, checks, claims, course_map, dictionary, evidence, progress
from course_lib.teaching.publish import address, build, claim_table, quiz_page
from course_lib.teaching.quiz import Question, quiz
from course_lib.widgets import attention as attention_widget
from course_lib.widgets import (
    dial,
    explorer,
    guess,
    guided,
    guided_models,
    paths,
    player,
    prompt,
    sentences,
    sketch,
    student,
    tradeoff,
)
from course_lib.widgets import guidance as guidance_widget
from course_lib.zoo import checkpoints, drawbench, figures, models, remake
from course_lib.zoo.diffusers import from_diffusers, process_of, scheduler_times
from course_lib.zoo.recipes import (
    digits_network,
    points_gan,
    points_vae,
    ring_network,
    some_points,
    train_gan,
    train_ring,
    train_vae,
)
from course_lib.zoo.recipes.cascades import train_base
from course_lib.zoo.tiny_pipelines import tiny

# Kinds of arguments


@dataclass
class Kind:
    """A good value, and bad ones by what they are called. An error may call the argument by `name` instead of its own."""

    good: object
    bad: dict[str, object]
    name: str = ""

    def but(self, *without: str, **more) -> "Kind":
        """The same kind without some of its bad values, and with others."""
        return replace(self, bad={label: v for label, v in self.bad.items() if label not in without} | more)

    def called(self, name: str) -> "Kind":
        """The same kind, whose errors may call it by this name, a regular expression."""
        return replace(self, name=name)


def a(good, **more) -> Kind:
    """Something of a type of the library."""
    return Kind(good, {"None": None, "text": "x", "3": 3, "a list": [good]} | more)


def optional(kind: Kind) -> Kind:
    return kind.but("None")


def number(good, least=None, above=None, most=None, below=None) -> Kind:
    bad = {"text": "3", "None": None, "True": True, "a list": [2], "complex": 2j, "two numbers": torch.ones(2)}
    bad |= {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    bad |= {} if least is None else {"too small": least - 0.5}
    bad |= {} if above is None else {"at its bound": above, "below its bound": above - 1}
    bad |= {} if most is None else {"too large": most + 0.5}
    bad |= {} if below is None else {"at its upper bound": below, "above its bound": below + 1}
    return Kind(good, bad)


def whole(good, least=1, most=None, **more) -> Kind:
    bad = {"text": "3", "None": None, "True": True, "a list": [2], "a fraction": 2.5, "nan": math.nan, "inf": math.inf}
    bad |= {} if least is None else {"too small": least - 1, "negative": least - 7}
    return Kind(good, bad | more | ({} if most is None else {"too large": most + 1}))


def word(good, *bad) -> Kind:
    return Kind(good, {repr(v): v for v in (*bad, "nonsense", "", None, 3, [good])})


def batch(good, *shapes) -> Kind:
    """Floats (B, ...)."""
    bad = {"None": None, "text": "x", "a list": good.tolist(), "NumPy": good.numpy(), "whole": good.long()}
    bad |= {"empty": good[:0], "nan": good * math.nan, "inf": good + math.inf, "one row": good.flatten()}
    return Kind(good, bad | {f"shape {shape}": torch.ones(shape) for shape in shapes})


def output(good, *shapes) -> Kind:
    """Floats (B, ...) that a network may put out: NaN is left to the training, which says at which step it came."""
    return batch(good, *shapes).but("nan", "inf")


def into(good, *shapes) -> Kind:
    """The input of a network's forward pass, where numbers are not looked at."""
    bad = {"None": None, "text": "x", "a list": good.tolist(), "NumPy": good.numpy()}
    return Kind(good, bad | {f"shape {shape}": torch.ones(shape) for shape in shapes})


def row(good, *shapes) -> Kind:
    """Whole numbers, such as one label for each member of a batch."""
    bad = {"None": None, "text": "x", "floats": good.float(), "bools": good.bool(), "NumPy": good.numpy()}
    return Kind(good, bad | {f"shape {shape}": torch.zeros(shape, dtype=torch.long) for shape in shapes})


def index(good, n) -> Kind:
    """Indices below n, or -1."""
    bad = {"None": None, "text": "x", "floats": good.float(), "few": good[:1]}
    return Kind(good, bad | {"too large": good * 0 + n, "negative": good * 0 - 2})


def numbers(good, **more) -> Kind:
    """Positive numbers, one for each component of a mixture."""
    bad = {"None": None, "text": "x", "nan": good * math.nan, "more": torch.ones(7), "empty": good[:0]}
    return Kind(good, bad | {"negative": -good, "zero": good * 0, "inf": good / 0} | more)


def time_of(good, T) -> Kind:
    """A time, a number or one for each of the batch; the process calls it t."""
    bad = {"None": None, "text": "x", "a list": [good], "negative": -1, "too large": T + 1, "nan": math.nan}
    return Kind(good, bad | {"two": torch.zeros(2, dtype=torch.long)}, "t")


def times(good, **more) -> Kind:
    bad = {"None": None, "text": "x", "a number": 3, "rising": good.flip(0), "one": good[:1], "nested": good[None]}
    bad |= {"too large": good * 100, "nan": good * math.nan, "equal": good * 0}
    return Kind(good, bad | more, "t")


def widths(good=(8,)) -> Kind:
    bad = {"None": None, "text": "x", "3": 3, "empty": (), "zero": (0,), "odd": (9,), "fraction": (8.5,), "negative": (-8,)}
    return Kind(good, bad)


def rng() -> Kind:
    return Kind(None, {"a seed": 0, "text": "x", "NumPy": np.random.default_rng(0)})


def denoiser(good, **more) -> Kind:
    return Kind(good, {"None": None, "text": "x", "an nn.Module": nn.Linear(2, 2), "a function": lambda x, t: x} | more)


def module(good) -> Kind:
    return Kind(good, {"None": None, "text": "x", "a function": lambda x: x})


def function(good) -> Kind:
    return Kind(good, {"None": None, "text": "x", "3": 3})


def caption(good="a red circle", **more) -> Kind:
    bad = {"None": None, "3": 3, "unknown": "a red dragon", "none": [], "long": "a " * 30}
    return Kind(good, bad | more, "captions?|prompts?")


# What is given to the library

CHAIN, FLOW = DDPM(cosine_beta(20)), RectifiedFlow()
TIMES, MIX = CHAIN.times(3), points.triangle()
EXACT, EXACT_FLOW = ExactDenoiser(MIX, CHAIN), ExactDenoiser(MIX, FLOW)
P, X = torch.randn(6, 2, generator=seeded(0)), torch.randn(4, 1, 8, 8, generator=seeded(1))
RGB = torch.rand(2, 3, 32, 32, generator=seeded(2)) * 2 - 1
LABEL, TIME, KEEP = torch.tensor([0, 1, 2, 1]), torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 0.0])
SCENE, SPELLING = scenes.sample(2, seeded(0)), words.sample(2, seeded(0))
LAYOUT, TOKENS = shapes.layout(SCENE, seeded(0)), captions.tokens(["a red circle", "two blue stars"])
NET = Network(unet.UNet(8, 1, (8, 16), classes=3, dim=16), CHAIN, "v")
GIVEN, BASE = NET.given(0), Network(unet.UNet(4, 1, (8,), classes=0, dim=16), CHAIN, "v")
STUDENT = Network(unet.UNet(8, 1, (8,), classes=3, dim=16, guided=True), CHAIN, "v")
GUIDED = Network(unet.UNet(8, 1, (8,), classes=10, dim=16, guided=True), CHAIN, "v")
NOISY = guidance.NoisyClassifier(classifier.TimedClassifier(1, (8, 8), 3, 16), CHAIN)
UP, UP_CLASSES = (Network(upsampler.Upsampler(8, 2, 1, (8,), 1, 16, classes=n), CHAIN, "v") for n in (0, 3))
TEXT = Network(text.TextUNet(32, (32,), 16, 16), CHAIN, "x0")
CLIP, EYE, AUTO = clip.CLIP(16, 8, 16), detector.SceneDetector(8), autoencoder.Autoencoder(2, 2, 8)
GAN = generators.GAN(generators.layers(2, 8, 2), generators.layers(2, 8, 1), 2)
VAE = generators.VAE(generators.layers(2, 8, 4), generators.layers(2, 8, 2), 2)
PRIOR = Network(unclip_nets.Prior(16, 16, 1, 2, 16), CHAIN, "x0")
DECODER = Network(text.TextUNet(32, (32,), 16, text=unclip_nets.EmbeddingTokens(16, 2, 16)), CHAIN, "x0")
METHOD = unclip.UnCLIP(CLIP, PRIOR, DECODER)
UNUSED = ROOT / "build/bad_input.safetensors"
KEY, PLANE = watermark.draw_key(8, 1, 3), tilted_density.Plane(3.0, 9)
PRED = prediction.Prediction(P, torch.tensor(0.6), torch.tensor(0.8), "eps", P)
FILM, SHOWN = list(samplers.ddim(EXACT, P, TIMES)), list(samplers.ddim(GIVEN, X, TIMES))


def net(good) -> Kind:
    """A Network."""
    return Kind(good, {"None": None, "text": "x", "an nn.Module": good.net})


def make(**given) -> None:
    """`models.make` of a recipe that is stopped where it would begin to train."""
    recipe, models.RECIPES["ring"] = models.RECIPES["ring"], replace(models.RECIPES["ring"], train=lambda *_, **__: iter(()))
    try:
        models.make(**{"out": UNUSED} | given)
    except KeyboardInterrupt:
        pass  # that of a training without a step
    finally:
        models.RECIPES["ring"] = recipe


# The table

TABLE: dict[str, tuple[Callable, dict[str, Kind]]] = {}


def api(call: Callable, name: str = "", /, **arguments: Kind) -> None:
    """Adds a row, under this name or that of the call."""
    name = name or f"{call.__module__.removeprefix('course_lib.')}.{call.__qualname__}"
    assert name not in TABLE, name
    TABLE[name] = call, arguments


# fmt: off
# The core

api(schedules.linear_beta, T=whole(20, 2), start=number(1e-4, above=0), end=number(0.01, above=0, below=0.02))
api(schedules.cosine_beta, T=whole(20, 2), s=number(0.008, least=0), max_beta=number(0.999, least=0, most=1))
api(schedules.geometric_sigma, T=whole(5, 2), min_sigma=number(0.01, above=0), max_sigma=number(10.0, above=0))

BETAS = cosine_beta(4)
table = numbers(BETAS, nested=BETAS[None], whole=torch.tensor([1, 2])).but("more")
api(process.DDPM, betas=table.but(large=BETAS + 1))
api(process.VarianceExploding, sigmas=replace(table, good=BETAS.cumsum(0)).but("whole", falling=BETAS.cumsum(0).flip(0)))
logit_normal = {"text": "x", "3": 3, "one": (0.0,), "nan": (0.0, math.nan), "negative": (0.0, -1.0), "texts": ("0", "1")}
api(process.RectifiedFlow, logit_normal=Kind((0.0, 1.0), logit_normal))
api(process.seeded, seed=whole(0, None))
api(process.randn_like, x=Kind(X, {"None": None, "text": "x", "whole": LABEL}), rng=rng())
for made, t in ((CHAIN, 3), (FLOW, 0.5)):
    which, fraction = type(made).__name__, {"a fraction": 2.5} if made is CHAIN else {}
    at = time_of(t, 20).but(**fraction)
    api(made.add_noise, f"{which}.add_noise", x0=batch(X), t=at, eps=output(X, (4, 1, 8, 7)))
    api(made.signal, f"{which}.signal", t=at.but("two"))
    api(made.noise, f"{which}.noise", t=at.but("two"))
    api(made.times, f"{which}.times", n=whole(3, 1, 20 if made is CHAIN else None))
    api(made.sample_t, f"{which}.sample_t", batch=whole(3), rng=rng())
api(CHAIN.posterior, "DDPM.posterior", x_t=batch(X), x0=output(X, (4, 1, 8, 7)), t=time_of(3, 20).but(zero=0, fraction=2.5))

shaped = a(P, shape=P[:2])
api(prediction.Prediction, x=a(P).called("input"), a=a(PRED.a), b=a(PRED.b), view=word("eps"), value=shaped.called("output"))
api(PRED.as_view, "Prediction.as_view", view=word("v"))
api(PRED.lerp, "Prediction.lerp", other=a(PRED), w=number(0.5).but("two numbers"))
api(lambda x0: PRED.replace(x0=x0), "Prediction.replace", x0=shaped.called("output"))

api(denoisers.Network, net=module(NET.net).but("a function"), process=a(CHAIN), view=word("v"))
labels = {"text": "x", "a fraction": 1.5, "too large": 3, "negative": -1, "None": None, "empty": []}
labels |= {"True": True, "nested": [[0]]}
api(NET.given, "Network.given", cond=Kind(0, labels, "label"))
api(STUDENT.given(0).at, "Network.at", w=number(2.0).but("a list", "two numbers"))
api(NET.draw_noise, "Network.draw_noise", n=whole(2), rng=rng())
api(GIVEN.drop_condition, "Network.drop_condition", p=number(0.1, least=0, most=1), rng=rng())
api(GIVEN, "Network()", x_t=batch(X, (4, 1, 7, 8), (4, 3, 8, 8)).but("empty", "nan", "inf").called("x"), t=time_of(3, 20))
api(denoisers.OnPath, denoiser=denoiser(EXACT_FLOW), process=a(CHAIN))
api(denoisers.ExactDenoiser, mixture=a(MIX), process=a(CHAIN))
api(EXACT, "ExactDenoiser()", x_t=batch(P, (6, 3)).called("x"), t=time_of(3, 20))

start = batch(P, (6, 3))
on_chains = denoiser(EXACT, **{"of a flow": EXACT_FLOW})
api(samplers.ddpm, denoiser=on_chains, x=start, times=times(TIMES), rng=rng())
api(samplers.ddim, denoiser=on_chains, x=start, times=times(TIMES), eta=number(0.5, least=0), rng=rng())
api(samplers.probability_flow, denoiser=on_chains, x=start, times=times(TIMES))
api(samplers.consistency, denoiser=denoiser(EXACT), x=start, times=times(TIMES), rng=rng())
api(samplers.heun, denoiser=denoiser(EXACT), x=start, times=times(TIMES))
on_flows = denoiser(EXACT_FLOW, **{"of a chain": EXACT})
api(samplers.rectified_flow, denoiser=on_flows, x=start, times=times(FLOW.times(3)))
api(samplers.invert, denoiser=denoiser(EXACT), x0=start.called("x"), times=times(TIMES))
dynamics = dict(denoiser=denoiser(EXACT), x=start, n=whole(2), eta=number(0.1, above=0), rng=rng())
api(samplers.langevin, **dynamics, t=time_of(3, 20))
api(samplers.annealed_langevin, **dynamics, times=times(TIMES))
api(
    samplers.sample, denoiser=denoiser(EXACT), noise=start.called("x"), n=whole(2, 1, 20), batch=whole(2),
    sampler=optional(function(samplers.ddim)),
)
api(samplers.time_pairs, x=batch(P), times=times(TIMES).but("too large"))
api(samplers.result, steps=Kind(FILM, {"None": None, "3": 3, "none": [], "no steps": [1, 2]}))

pair = {"None": None, "one": (0.9,), "large": (0.9, 1.5), "text": "x", "nan": (math.nan, 0.9)}
api(
    training.train, loss=function(lambda: NET.net.inward.weight.square().sum()), net=module(NET.net), steps=whole(1),
    lr=number(1e-3, above=0), seconds=optional(number(5.0, above=0)), ema=Kind(None, {"text": "x", "3": 3}),
    weight_decay=number(0.0, least=0), betas=Kind((0.9, 0.99), pair), muon=number(0.0, least=0),
)
api(
    training.OneCycle, net=module(NET.net), steps=whole(1), lr=number(1e-3, above=0), muon=number(0.0, least=0),
    ema=Kind(None, {"text": "x", "3": 3}), weight_decay=number(0.0, least=0), betas=Kind((0.9, 0.99), pair),
)
api(training.OneCycle(NET.net, 2).step, "OneCycle.step", done=optional(number(0.5, least=0, most=1)))
into_net = Kind(None, {"text": "x", "another": nn.Linear(2, 2)})
api(training.EMA, net=module(NET.net), decay=number(0.9, least=0, below=1), into=into_net)
some_times = Kind(None, {"text": "x", "too large": LABEL + 30, "few": LABEL[:2]})
sized = batch(X, (4, 1, 7, 8)).called("x")
api(training.denoising_loss, denoiser=net(GIVEN), x0=sized, rng=rng(), t=some_times)
api(training.classifier_loss, classifier=a(NOISY), x0=batch(X), label=row(LABEL, (3,), (4, 1)), rng=rng())
api(training.min_snr_times, process=a(CHAIN), batch=whole(4), rng=rng(), gamma=number(5.0, above=0))
api(muon.orthogonal, matrix=batch(P, (6, 2, 2)), steps=whole(5))
api(muon.hidden, net=module(NET.net))
api(training.pick_device, device=word("cpu"))
api(training.one_cycle, done=number(0.5, least=0, most=1), warm_up=number(0.15, above=0, below=1))
ended = training.TrainingState(1, 0.1, 1.0, 0.1)
api(training.warm_restarts, cycle=function(lambda k: iter([ended])), n=whole(1))

api(guidance.ClassifierFree, cond=denoiser(GIVEN), uncond=denoiser(GIVEN), w=number(2.0))
api(guidance.classifier_free, network=net(NET), cond=Kind(0, labels, "label"), w=number(2.0))
label = {"text": "x", "None": None, "a fraction": 1.5, "True": True, "nested": [[1]], "negative": -1}
api(
    guidance.ClassifierGuided, denoiser=denoiser(EXACT), classifier=function(guidance.ExactClassifier(MIX, CHAIN)),
    label=Kind(0, label), w=number(2.0),
)
api(guidance.AutoGuidance, denoiser=denoiser(GIVEN), worse=denoiser(GIVEN), w=number(2.0))
interval = dict(low=number(0.5, least=0).called("low and high"), high=number(2.0, above=0.5).but("inf"))
api(guidance.Interval, guided=denoiser(GIVEN), plain=denoiser(GIVEN), **interval)
api(guidance.Rescaled, cond=denoiser(GIVEN), uncond=denoiser(GIVEN), w=number(2.0), phi=number(0.7, least=0, most=1))
api(guidance.StaticThreshold, denoiser=denoiser(EXACT))
api(guidance.DynamicThreshold, denoiser=denoiser(EXACT), percentile=number(0.9, above=0, most=1))
api(guidance.NoisyClassifier, net=module(NOISY.net).but("a function"), process=a(CHAIN))
api(guidance.ExactClassifier, mixture=a(MIX), process=a(CHAIN))
api(guidance.grad_log_p, log_p=function(lambda x: x.sum(1)), x_t=a(P))
api(guidance.shift_score, pred=a(PRED), by=shaped)

means = {"None": None, "text": "x", "3": 3, "one row": MIX.means[0], "nan": MIX.means * math.nan, "empty": MIX.means[:0]}
class_of = Kind(MIX.labels, {"text": "x", "floats": MIX.labels / 2, "few": MIX.labels[:2]})
spread = numbers(MIX.stds)
api(mixtures.GaussianMixture, weights=numbers(MIX.weights), stds=spread, means=Kind(MIX.means, means), labels=class_of)
api(MIX.given, "GaussianMixture.given", label=word(0, -1, 1.5, True))
api(MIX.sample, "GaussianMixture.sample", n=whole(3), rng=rng())
api(MIX.noised, "GaussianMixture.noised", a=number(0.5), b=number(0.5))
coefficient = number(0.5).but("two numbers", few=torch.ones(2, 1))
for of in ("log_prob", "score", "score_slope", "posterior_mean", "class_log_probabilities", "class_probabilities"):
    api(getattr(MIX, of), f"GaussianMixture.{of}", x=batch(P, (6, 3)), a=coefficient, b=coefficient)

api(metrics.frechet_distance, x=batch(P, (6, 3), (1, 2), (6, 2, 2)), y=batch(P, (6, 3), (1, 2)))
two = batch(P, (6, 3), (3, 2))
api(metrics.precision_recall, real=two, made=two, k=whole(3, 1, 5).called("real and made"))
api(metrics.sliced_wasserstein, x=batch(P, (6, 3)), y=batch(P, (6, 3)), directions=whole(5), seed=whole(0, None))
api(metrics.accuracy, logits=batch(P, (6, 2, 2)), label=row(torch.zeros(6, dtype=torch.long), (5,), (6, 1)))
by = function(metrics.sliced_wasserstein)
api(metrics.floor, metric=by, real=batch(P), n=whole(2, 2, 3), repeats=whole(2), seed=whole(0, None))
api(metrics.modes, x=batch(P, (6, 3)), mixture=a(MIX), within=number(4.0, above=0), share=number(0.2, above=0, most=1))
api(metrics.memorisation, x=batch(P, (6, 3)), known=batch(P, (6, 3)), n=whole(3, 2, 6))

picture = batch(X, (4, 2, 8, 8), (4, 8, 8))
api(plots.grid, x=picture, columns=optional(whole(2)), gap=whole(1, 0))
api(
    plots.tile, columns=optional(whole(2)), gap=whole(0, 0).but("a list"),
    pictures=Kind(X.numpy(), {"None": None, "text": "x", "empty": X.numpy()[:0], "flat": X.numpy()[0, 0, 0]}),
)
names = Kind((), {"few": ["a"], "3": 3, "None": None})
api(plots.pictures, x=picture, columns=optional(whole(2)).but("a list"), scale=number(0.06, above=0), rows=names)
few_labels = Kind(None, {"text": "x", "few": LABEL[:2]})
api(plots.points, x=batch(P, (6, 3)), label=few_labels, reach=number(1.6, above=0), size=number(14, above=0))
heights = numbers(TIME).but("negative", "zero", "more")
api(plots.sketch, curve=heights, bars=heights, low=number(0.0), high=number(1.0), marks=optional(heights))
api(plots.show, fig=a(plots.plt.figure(figsize=(2, 2))), alt=Kind("words", {"None": None, "3": 3, "empty": "", "blank": "  "}))

# Methods

api(cascades.augmented, process=a(CHAIN), low=batch(X), s=time_of(3, 20), rng=rng())
api(cascades.upsampler_loss, network=net(UP), x0=batch(X, (4, 1, 7, 8)), rng=rng(), max_s=whole(3, 0, 20))
its = Kind(LABEL, {"text": "x", "floats": LABEL.float(), "few": LABEL[:2], "large": 3, "negative": -1})
api(lambda label: cascades.upsampler_loss(UP_CLASSES, X, max_s=3, label=label), "upsampler_loss", label=its)
noises = {"None": None, "one": X, "alone": (X,), "text": "x", "sizes": (X, X)}
api(
    cascades.cascade, base=denoiser(BASE), upsampler=net(UP), times=times(TIMES), s=whole(3, 0, 20), rng=rng(),
    noises=Kind((X[..., :4, :4], X), noises, "x"),
)
film = Kind(SHOWN, {"None": None, "none": [], "one": SHOWN[0], "no steps": [1, 2], "text": "x"})
api(cascades.film, steps=film, T=number(20, above=0))
api(cascades.enlarged, x=batch(X), size=whole(16))
api(clip_guidance.ClipGuided, denoiser=denoiser(TEXT.given("")), clip=module(CLIP), w=number(2.0), caption=caption())
at = time_of
api(distillation.two_steps, teacher=denoiser(EXACT), x_t=batch(P), t=at(9, 20), between=at(6, 20), s=at(3, 20))
api(distillation.truncated_snr, a=a(PRED.a), b=a(PRED.b))
other = denoiser(GIVEN, other=EXACT_FLOW)
api(
    distillation.progressive_loss, student=net(GIVEN), teacher=other, x0=sized, n=whole(3, 1, 10), rng=rng(),
    weight=function(distillation.truncated_snr),
)
api(distillation.pseudo_huber, x=output(X, (4, 1, 7, 8)), y=output(X, (4, 1, 7, 8)))
api(
    distillation.consistency_loss, student=net(GIVEN).but(view=Network(NET.net, CHAIN, "x0").given(0)), target=other, x0=sized,
    n=whole(3, 1, 20), teacher=Kind(None, {"text": "x", "3": 3, "other": EXACT_FLOW}), rng=rng(),
)
several = Kind(LABEL, {"text": "x", "few": LABEL[:2], "too large": LABEL + 5, "None": None}, "cond")
api(
    distillation.guided_consistency_loss, student=net(STUDENT), target=net(STUDENT), teacher=net(NET), x0=sized, label=several,
    n=whole(3, 1, 20), max_w=number(8.0), rng=rng(), min_w=number(0.0, most=8),
)
worded = net(TEXT)
low_rank = net(adapters.add_lora(adapters.add_word(TEXT, ["star"]), ["encoder.16x16_block0.conv1"], 2))
layer_names = Kind(["encoder.16x16_block0.conv1"], {"None": None, "empty": [], "3": 3, "numbers": [3]})
nouns = Kind(["star"], {"None": None, "empty": [], "3": 3, "unknown": ["dragon"]}, "like|captions?")
api(adapters.add_word, network=worded, like=nouns)
api(adapters.add_lora, network=worded, layers=layer_names, rank=whole(2), seed=whole(0, 0))
api(adapters.at_strength, network=low_rank, strength=number(0.5))
api(adapters.merge, network=low_rank)
api(adapters.save_adapter, path=Kind(UNUSED, {}), network=low_rank.but(untouched=TEXT))
pictures_of = lambda name: Kind((TOKENS, RGB), {"floats": (TOKENS, RGB.long()), "one row": (TOKENS, RGB.flatten())}, name)
api(
    adapters.prior_preservation_loss, network=worded, new=pictures_of("new"), prior=pictures_of("prior"),
    weight=number(1.0, least=0), rng=rng(),
)
api(adapters.outline, x=batch(RGB, (2, 1, 32, 32)))
api(adapters.overlap, a=batch(RGB[:, :1]), b=into(RGB[:, :1], (2, 1, 8, 8)))
api(adapters.ControlNet, "ControlNet", base=module(TEXT.net), hidden=whole(4))
api(flow_matching.flow_matching_loss, denoiser=on_flows, x0=batch(P), eps=batch(P, (5, 2)), rng=rng())
api(flow_matching.optimal_transport, x0=batch(P), eps=batch(P, (5, 2)), size=whole(2))
api(
    flow_matching.reflow, denoiser=on_flows, fit=function(lambda flow, x0, eps: flow), eps=batch(P), n=whole(2),
    rounds=whole(1),
)
first = function(lambda x: x[:, 0])
slopes = Kind(torch.tensor([1.0, 0.0]), {"None": None, "text": "x", "one": torch.ones(1), "nan": torch.ones(2) * math.nan})
api(rewards.tilted, mixture=a(MIX), slope=slopes, beta=number(1.0, above=0))
api(rewards.best_of, x=batch(P), reward=first, n=whole(1))
below = function(lambda x: -x[:, 0].square())
api(rewards.accepted, x=batch(P), reward=below, beta=number(1.0, above=0), most=number(0.0), rng=rng())
api(rewards.best_of_kl, n=whole(4))
api(
    rewards.particles, denoiser=on_chains, x=batch(P), times=times(TIMES), reward=first, beta=number(1.0, above=0),
    size=optional(whole(1)), rng=rng(),
)
api(rewards.resample, log_weight=numbers(TIME).but("negative", "zero", "more"), size=whole(2), rng=rng())
api(
    rewards.dpo_loss, denoiser=denoiser(EXACT), reference=denoiser(EXACT), winner=batch(P), loser=batch(P, (5, 2)),
    t=time_of(3, 20), eps=batch(P, (5, 2)), beta=number(1.0, above=0), weight=number(1.0, above=0),
)
chain = {"denoiser": on_chains, "reference": denoiser(EXACT), "x": batch(P), "times": times(TIMES), "reward": first}
api(rewards.rollout, **chain, beta=number(0.5, least=0), rng=rng())
step = {"x": batch(P), "t": time_of(10, 20), "to": batch(P, (5, 2)), "s": time_of(5, 20)}
api(rewards.log_density_of_moves, denoiser=denoiser(EXACT), **step)
rolled = rewards.rollout(EXACT, EXACT, P, TIMES, lambda x: x[:, 0], rng=seeded(0))
api(rewards.ddpo_loss, denoiser=denoiser(EXACT), moves=a(rolled), clip=number(0.2, above=0))
early, late = torch.full((6,), 0.2), torch.full((6,), 0.7)
moment = lambda good: Kind(good, {"None": None, "text": "x", "a number": 0.5, "few": good[:2], "late": good + 2}, "r|t")
mean_velocity, at_net = function(lambda z, r, t: z), function(lambda u, z, r, t, v: v)
jump = {"u": mean_velocity, "z": batch(P), "r": moment(early).but("late", later=late + 0.2), "t": moment(late)}
api(one_step.AverageVelocity, net=module(NET.net).but("a function"))
api(one_step.AverageVelocity(NET.net).given, "AverageVelocity.given", cond=Kind(0, labels, "label"))
api(one_step.meanflow_target, **jump, v=output(P, (5, 2)))
api(one_step.shortcut_target, **jump, finest=number(0.01, above=0))
api(
    one_step.average_velocity_loss, u=mean_velocity, x0=batch(P), eps=output(P, (5, 2)), r=jump["r"], t=jump["t"],
    target=at_net,
)
share, finest = number(0.25, least=0, most=1), number(1 / 128, above=0, most=0.5)
api(one_step.meanflow_times, batch=whole(4), share=share, rng=rng())
api(one_step.shortcut_times, batch=whole(4), share=share, finest=finest, rng=rng())
api(one_step.jumps, u=mean_velocity, x=batch(P), times=times(FLOW.times(3)))
two_times = mlp.MLP(2, 16, 1)
two_times.time = embeddings.TwoTimes(16)
api(
    one_step.jump_sampler, denoiser=net(Network(two_times, FLOW, "flow")), x=batch(P), times=times(FLOW.times(3)),
)
high = number(0.98, least=0.02, most=1)
api(distribution_matching.middle_times, process=a(FLOW), batch=whole(4), rng=rng(), high=high)
api(
    distribution_matching.dmd_gradient, x=batch(P), x_t=output(P, (5, 2)), t=time_of(0.5, 1), real=denoiser(EXACT_FLOW),
    fake=denoiser(EXACT_FLOW),
)
api(distribution_matching.one_step, generator=denoiser(EXACT_FLOW), z=batch(P))
api(
    distribution_matching.dmd_loss, generator=denoiser(EXACT_FLOW), fake=denoiser(EXACT_FLOW), real=denoiser(EXACT_FLOW),
    z=batch(P), rng=rng(), high=high,
)
SPOKEN = markov.random_language(seeded(0), 3, 4)
SENTENCES = torch.tensor([[0, 3, 1, 3], [3, 3, 3, 3]])
decoder = dict(denoiser=function(SPOKEN), z=row(SENTENCES, (3,)), n=whole(2))
shares = {"None": None, "text": "x", "few": KEEP[:1], "large": KEEP * 2, "nan": KEEP * math.nan}
api(masked.mask_tokens, x0=row(SENTENCES, (3,)), t=Kind(KEEP, shares), mask=whole(3, 0), rng=rng())
spoken = dict(denoiser=function(SPOKEN), x0=row(SPOKEN.sample(2, seeded(1)), (3,)), mask=whole(3, 0), rng=rng())
api(masked.masked_diffusion_loss, **spoken)
api(masked.log_probabilities, denoiser=function(SPOKEN), z=row(SENTENCES, (3,)), mask=whole(3, 0))
api(masked.guided_words, cond=function(SPOKEN), uncond=function(SPOKEN), w=number(2.0))
api(masked.ancestral_words, **decoder, mask=whole(3, 0), eta=number(0.0, least=0, most=1), rng=rng())
api(masked.parallel_decoding, **decoder, mask=whole(3, 0), order=word("random"), rng=rng())
api(masked_exact.Enumerated, denoiser=function(SPOKEN), words=whole(3, 1), length=whole(4, 1))
api(masked_exact.Enumerated(SPOKEN, 3, 4).decode, n=whole(2), order=word("random"))
api(masked_exact.Enumerated(SPOKEN, 3, 4).ancestral, n=whole(2), eta=number(0.0, least=0, most=1))
api(editing.sdedit, denoiser=on_chains, guide=batch(P), times=times(TIMES), rng=rng())
keep = {"None": None, "text": "x", "half": KEEP / 2, "nan": KEEP * math.nan}
api(
    editing.repaint, denoiser=on_chains, known=batch(P, (5, 2)), x=batch(P, (5, 2)), times=times(TIMES), resample=whole(1),
    rng=rng(), keep=Kind(KEEP, keep | {"shape": torch.ones(3)}), jump=whole(1),
)
api(
    editing.dps, denoiser=on_chains, A=function(abs), y=a(P), x=batch(P), times=times(TIMES), zeta=number(1.0, least=0),
    rng=rng(),
)
api(editing.noised_further, process=a(CHAIN, flow=FLOW), x=batch(P), s=whole(3, 0, 5), t=whole(6, 1, 20), eps=batch(P, (5, 2)))
api(editing.Measurement, A=function(abs), back=function(abs))
api(editing.shrunk, k=whole(2))
api(editing.blurred, std=number(1.0, least=0), min_gain=number(0.03, above=0, most=1))
api(editing.kept, keep=Kind(KEEP, keep))
api(editing.Consistent, denoiser=denoiser(EXACT), measurement=a(editing.shrunk(2)), y=a(X))
levels = dict(low=number(0.1, above=0, below=10).called("low and high"), high=number(10.0, above=0.1).called("low and high"))
api(edm.karras_sigmas, n=whole(3, 2), **levels, rho=number(7.0, above=0))
edm_of = dict(mean=number(-1.2), std=number(1.2, above=0))
api(edm.EDM, **levels, rho=number(7.0, above=0), **edm_of)
api(edm.EDM().noise, "EDM.noise", t=time_of(0.5, 80).but("two", "a list"))
api(edm.EDM().times, "EDM.times", n=whole(3, 2))
api(edm.EDM().sample_t, "EDM.sample_t", batch=whole(3), rng=rng())
falling = {"None": None, "text": "x", "rising": torch.tensor([0.0, 1.0]), "nan": P[0] * math.nan, "to 1": torch.tensor([2.0])}
api(edm.nearest_times, process=a(CHAIN, flow=FLOW), sigmas=Kind(torch.tensor([5.0, 1.0, 0.0]), falling))
api(
    edm.Preconditioned, net=module(NET.net).but("a function"), process=a(CHAIN), view=word("eps"),
    sigma_data=number(0.5, above=0),
)
SCALED = edm.Preconditioned(mlp.MLP(2, 8), edm.EDM())
api(edm.edm_loss, denoiser=net(SCALED), x0=batch(P, (6, 3)).called("x0|x"), rng=rng())
EXACT_EDM = ExactDenoiser(MIX, edm.EDM())
api(
    edm.churn, denoiser=denoiser(EXACT_EDM, **{"of a chain": EXACT}), x=batch(P, (6, 3)), times=times(edm.EDM().times(3)),
    amount=number(2.0, least=0), scale=number(1.0, least=0), order=word(1, 3, 0, True), rng=rng(),
    between=Kind((0.1, 5.0), {"None": None, "one": (0.1,), "text": "ab", "nan": (math.nan, 1.0), "3": 3}),
)
orders = word(2, 4, 0, True, 2.5).but("3")
api(solvers.dpm_solver, denoiser=denoiser(EXACT), x=start, times=times(TIMES), order=orders)
api(solvers.unipc, denoiser=denoiser(EXACT), x=start, times=times(TIMES), order=orders)
api(solvers.deis, denoiser=on_chains, x=start, times=times(TIMES), order=orders)
api(solvers.plms, denoiser=on_chains, x=start, times=times(TIMES))
ROWS = bespoke.weights_of(samplers.ddim, CHAIN, TIMES).float()
fitted = Kind(ROWS, {"None": None, "text": "x", "a list": ROWS.tolist(), "whole": ROWS.long(), "few": ROWS[:, 1:], "3": 3})
api(bespoke.KnownStart, denoiser=denoiser(EXACT), mean=batch(P))
api(bespoke.mean_at_start, denoiser=denoiser(EXACT), noise=batch(P))
api(bespoke.weights_of, solver=function(samplers.ddim).but(two=samplers.heun), process=a(CHAIN), times=times(TIMES))
api(bespoke.bespoke, denoiser=denoiser(EXACT), x=start, times=times(TIMES), weights=fitted)
api(
    bespoke.bespoke_loss, denoiser=denoiser(EXACT), noise=batch(P), target=output(P, (5, 2)), times=times(TIMES), weights=fitted
)
api(gan_vae.adversarial_value, gan=a(GAN), x=batch(P), fake=output(P, (6, 3)))
api(gan_vae.non_saturating_loss, gan=a(GAN), fake=output(P))
api(gan_vae.gradient_penalty, gan=a(GAN), x=batch(P))
api(gan_vae.elbo, vae=a(VAE), x=batch(P), eps=batch(P, (5, 2)))
api(gan_vae.sample_generator, model=a(GAN), n=whole(3), rng=rng())
api(interpolation.slerp, a=batch(X, (4, 1, 7, 8)), b=batch(X, (4, 1, 7, 8)).but(opposite=-X), share=number(0.5))
api(latents.kl_term, mean=output(X, (4, 1, 7, 8)), log_variance=output(X, (4, 1, 7, 8)))
api(latents.autoencoder_loss, net=a(AUTO), x=batch(RGB, (2, 3, 31, 32)), weight=number(0.1, least=0), rng=rng())
api(latents.quantize, z=output(X, (4, 1, 8)), codebook=output(torch.randn(5, 1), (5, 2)))
api(latents.unit_scale, z=batch(X, (4, 1, 8, 8)))
api(sde.Continuous, chain=a(CHAIN, flow=FLOW))
api(sde.Continuous(CHAIN).signal, "Continuous.signal", t=time_of(2.5, 20).but("two", "a list"))
api(sde.Continuous(CHAIN).times, "Continuous.times", n=whole(3))
api(sde.Continuous(CHAIN).sample_t, "Continuous.sample_t", batch=whole(3), rng=rng())
api(sde.drift_diffusion, process=a(CHAIN), t=time_of(3, 20).but("two", "a list"))
api(sde.forward_sde, process=a(CHAIN), x=batch(P), times=times(TIMES), rng=rng())
api(sde.reverse_sde, denoiser=denoiser(EXACT), x=start, times=times(TIMES), lam=number(0.5, least=0), rng=rng())
api(sde.divergence, field=function(torch.sin), x=batch(P), probes=optional(batch(P[None].sign(), (2, 5, 2))).but("one row"))
api(
    sde.log_likelihood, denoiser=denoiser(EXACT), x=start, times=times(TIMES[:-1], noiseless=TIMES), probes=whole(1, 0),
    rng=rng(), solver=function(sde.heun_move),
)
api(sde.dequantize, x=batch(X), width=number(0.1, above=0), rng=rng())
api(sde.bits_per_dimension, log_p=heights, dim=whole(4), width=number(0.1, above=0))
api(latents.psnr, x=batch(X, (4, 1, 7, 8)), y=batch(X, (4, 1, 7, 8)))
share = number(0.5, least=0, most=1)
api(sdxl.crop_and_shrink, scene=a(SCENE), rng=rng(), small=share, cut=share)
api(sdxl.as_found, x=batch(X, (4, 1, 7, 8), (4, 1, 7, 7)), rng=rng(), small=share, cut=share)
api(sdxl.downscale, x=into(X, (4, 8, 8)), side=whole(4))
api(sdxl.ExpertSwitch, first=denoiser(EXACT), last=denoiser(EXACT, other=EXACT_FLOW), at=number(9))
api(sdxl.refiner_loss, denoiser=net(GIVEN), x0=sized, last=whole(5, 1, 20), rng=rng())
api(sdxl.border, x=batch(RGB, (2, 32, 32)))
api(sdxl.high_frequency_detail, x=batch(RGB, (2, 3, 31, 32)))
api(tilted_density.Plane, reach=number(2.0, above=0), side=whole(5, 2))
tilted = dict(mixture=a(MIX, line=points.pair()), label=word(0, -1, True), w=number(2.0))
api(tilted_density.tilted_log_density, **tilted, x=batch(P.double(), (6, 3)), over=a(PLANE))
api(tilted_density.guided_points, **tilted, process=a(CHAIN), times=times(TIMES), z=batch(P.double(), (6, 3)))
api(tilted_density.distance, **tilted, process=a(CHAIN), times=times(TIMES), noise=a(PLANE), data=a(PLANE))
pictures = batch(RGB, (2, 3, 31, 32), (2, 1, 32, 32))
api(unclip.image_embedding, clip=module(CLIP), x=pictures)
api(unclip.UnCLIP, clip=module(CLIP), prior=net(PRIOR), decoder=net(DECODER))
api(METHOD.embed_images, "UnCLIP.embed_images", x=pictures)
api(METHOD.embed_captions, "UnCLIP.embed_captions", captions=caption())
few = dict(w=number(1.0), steps=whole(1, 1, 20))
api(METHOD.sample_prior, "UnCLIP.sample_prior", **few, captions=caption(), rng=rng())
api(METHOD.sample, "UnCLIP.sample", **few, z=batch(torch.ones(1, 16), (1, 15)), rng=rng())
api(METHOD.film, "UnCLIP.film", **few, z=batch(torch.ones(1, 16), (1, 15)), x_T=batch(RGB, (2, 1, 32, 32)))
band = dict(inner=number(1, least=1), outer=number(3, least=1))
api(watermark.draw_key, size=whole(8, 2), **band, seed=whole(0, None), pattern=word("rings", "zeros"))
api(watermark.Key, value=into(KEY.value))
api(watermark.add_mark, noise=batch(X, (4, 1, 7, 8)), key=a(KEY))
api(watermark.match, noise=batch(X, (4, 1, 7, 8)), key=a(KEY))

# Networks

api(
    unet.UNet, size=whole(8), channels=whole(1), widths=widths(), depth=whole(1), classes=whole(3, 0), patch=whole(1),
    attn=whole(1, 0), dim=whole(16, 2, three=3), time=word("fourier"), modulation=word("add"),
)
api(unet.Block, inward=whole(8), outward=whole(8), emb=whole(8), heads=whole(1, 0, three=3), modulation=word("add"))
api(unet.Attention, channels=whole(8), heads=whole(2, three=3))
api(unet.norm, channels=whole(8, odd=28))
clock = Kind(TIME, {"None": None, "a number": 0.5, "nested": TIME[:, None], "text": "x"})
api(NET.net, "UNet()", x=into(X, (4, 1, 7, 8)), time=clock, cond=row(LABEL, (4, 1)))
api(attention.sincos_2d, channels=whole(8, 4, six=6), side=whole(4))
api(attention.CrossAttention, channels=whole(8), dim=whole(8), heads=whole(2, three=3), side=whole(4))
api(autoencoder.Autoencoder, factor=word(2, 3, 0, 2.5), channels=whole(2), width=whole(8))
api(AUTO.gaussian, "Autoencoder.gaussian", x=into(RGB, (2, 1, 32, 32), (2, 3, 31, 32)))
api(AUTO.encode, "Autoencoder.encode", x=into(RGB, (2, 1, 32, 32), (2, 3, 32, 31)), rng=rng())
DEEP = autoencoder.Autoencoder(4, 2, 8)
api(DEEP.encode, "Autoencoder.encode, f = 4", x=into(RGB, (2, 3, 30, 32)))
api(AUTO.decode, "Autoencoder.decode", z=into(torch.ones(2, 2, 4, 4), (2, 3, 4, 4)))
api(classifier.Classifier, width=whole(8), features=whole(8), classes=whole(3))
api(classifier.Classifier(8, 8).eval(), "Classifier()", x=into(X, (4, 3, 8, 8), (1, 8, 8)))
api(classifier.TimedClassifier, channels=whole(1), widths=widths(), classes=whole(3), dim=whole(16, 2, three=3))
api(NOISY.net, "TimedClassifier()", x=into(X, (4, 3, 8, 8), (1, 8, 8)), time=clock)
api(classifier.jitter, x=batch(X, (4, 8, 8)), rng=rng())
api(clip.CLIP, dim=whole(8), width=whole(8, odd=9), words=whole(8, three=3))
similar = output(P, (5, 2), (6, 3))
api(clip.contrastive_loss, pictures=similar, texts=similar, scale=number(1.0, above=0).but("two numbers"))
api(lambda tokens: CLIP.encode_text(tokens), "CLIP.encode_text", tokens=row(TOKENS, (2,), (2, 30)))
alone = Kind(None, {"a number": 0.5, "text": "x", "nested": TIME[:2, None]})
api(lambda x, time: CLIP.encode_image(x, time), "CLIP.encode_image", x=into(RGB, (2, 3, 32, 30), (2, 1, 32, 32)), time=alone)
api(detector.SceneDetector, width=whole(8, 2, odd=9))
api(EYE, "SceneDetector()", x=into(RGB, (2, 3, 30, 32)))
api(EYE.detect, "SceneDetector.detect", x=batch(RGB, (2, 3, 30, 32)))
api(EYE.features, "SceneDetector.features", x=into(RGB, (2, 3, 30, 32), (2, 1, 32, 32)))
api(detector.detection_loss, maps=output(EYE(RGB).detach(), (2, 12, 16, 16)), scene=a(SCENE), where=a(LAYOUT))
depths = Kind((1,), {"None": None, "empty": (), "zero": (0,), "3": 3, "fraction": (1.5,), "text": "x"})
even = whole(16, 2, three=3)
api(efficient_unet.EfficientUNet, size=whole(8), channels=whole(2), width=whole(8, odd=9), depths=depths, dim=even)
api(embeddings.sinusoidal, time=clock, dim=whole(8, 2, three=3), longest=number(1e4, above=0))
api(embeddings.fourier, time=clock, frequency=into(TIME, (2, 2)))
api(embeddings.TimeEmbedding, dim=whole(8, 2, three=3), kind=word("fourier"))
api(embeddings.TwoTimes, dim=whole(8, 2, three=3), scale=number(0.02, above=0))
api(embeddings.LabelEmbedding, classes=whole(3), dim=whole(8))
api(embeddings.LabelEmbedding(3, 8).as_condition, "LabelEmbedding.as_condition", cond=Kind(0, labels, "label"))
three = widths((8, 8, 8)).but("odd", few=(8, 8))
api(generators.ConvDecoder, latent=whole(2), widths=three, hidden=whole(8))
api(generators.ConvEncoder, out=whole(2), widths=three, hidden=whole(8))
api(generators.FourierFeatures, dim=whole(2), n=whole(5), scale=number(6.0, above=0))
sizes = {"one": (2,), "none": (), "zero": (2, 0), "texts": ("2", "8"), "fraction": (2.5, 8)}
api(lambda sizes: generators.layers(*sizes), "generators.layers", sizes=Kind((2, 8), sizes))
api(generators.GAN, generator=module(nn.Linear(2, 2)), discriminator=module(nn.Linear(2, 1)), latent=whole(2))
api(generators.VAE, encoder=module(nn.Linear(2, 4)), decoder=module(nn.Linear(2, 2)), latent=whole(2))
api(GAN.sample, "GAN.sample", n=whole(2), rng=rng())
api(VAE.latents, "VAE.latents", n=whole(2), rng=rng())
classes = Kind((unet.Block,), {"text": "x", "3": 3, "names": ("Block",), "none": (), "tensors": (torch.Tensor,)})
api(hooks.record_activations, net=module(NET.net), kinds=classes)
given = TEXT.given("a red circle")
one_time = time_of(3, 20).but("two")
api(hooks.cross_attention_maps, network=net(given), x_t=pictures.called("x"), t=one_time, side=whole(16, 1, 16))
api(language.LanguageModel, width=whole(8), depth=whole(1), heads=whole(2, three=3))
api(language.Captioner, width=whole(8), depth=whole(1), heads=whole(2, three=3), channels=whole(48))
reads = dict(z=row(TOKENS[:, 1:], (3,), (2, 20)), picture=optional(into(torch.rand(2, 192), (2, 191))))
api(language.Captioner(8, 1, 2).forward, "Captioner.forward", **reads)
api(language.mask_words, tokens=row(TOKENS, (3,)), rng=rng(), share=number(0.15, least=0, most=1))
LOGITS = torch.randn(2, 20, len(captions.WORDS), generator=seeded(0))
chosen = {"None": None, "whole": TOKENS, "none": TOKENS < 0, "shape": TOKENS[:1] > 1}
api(language.masked_loss, logits=output(LOGITS, (2, 19, 5)), tokens=row(TOKENS, (3,)), chosen=Kind(TOKENS > 1, chosen))
api(mlp.MLP, dim=whole(2), width=whole(8, 2, odd=9), depth=whole(1), classes=whole(0, 0))
api(mlp.Block, width=whole(8))
api(mlp.MLP(2, 8, 1, 3), "MLP()", x=into(P[:4], (4, 3)), time=clock, cond=row(LABEL))
api(dit.patchify, x=into(X, (4, 1, 9, 8)), patch=whole(2))
api(dit.unpatchify, tokens=into(torch.randn(2, 16, 12), (2, 16)), patch=whole(2), rows=whole(4, three=3))
api(
    dit.DiT, size=whole(8), channels=whole(2), patch=whole(2, three=3), width=whole(8, 4, six=6), depth=whole(1),
    heads=whole(2, three=3), classes=whole(3),
)
api(dit.DiT(8, 1, 2, 8, 1, 2, 3), "DiT()", x=into(X, (4, 1, 7, 8)), time=clock, cond=row(LABEL))
api(
    mmdit.DiT, size=whole(8), channels=whole(2), patch=whole(2, three=3), width=whole(8, 4, six=6), depth=whole(1),
    heads=whole(2, three=3),
)
for of in (dit.Stream, dit.DiTBlock, mmdit.JointBlock, mmdit.CrossBlock):
    api(of, width=whole(8), heads=whole(2, three=3))
api(dit.ModulationLayer, width=whole(8))
api(mmdit.DiT.as_condition, "DiT.as_condition", cond=caption(letters="BAR QUIZ", spelt="STAR " * 6))
api(text.TextEncoder, width=whole(8), depth=whole(1), heads=whole(2, three=3))
api(text.TextEncoder.as_condition, "TextEncoder.as_condition", cond=caption())
api(text.Paraphraser, width=whole(8), depth=whole(1), heads=whole(2, three=3))
encoder = Kind(None, {"a word": "x", "3": 3, "another": nn.Linear(2, 2)})
api(
    text.TextUNet, size=whole(8), widths=widths((32,)), dim=whole(16, 2, three=3), words=whole(8, three=3), text=encoder,
    channels=whole(1), patch=whole(1),
)
api(sdxl_nets.SDXLUNet, size=whole(8), widths=widths(), dim=whole(16, 2, three=3), text=encoder)
micro = {"two": (1, 2), "negative": (1, 2, -3), "floats": (1.0, 2, 3), "words": ["a", "b", "c"], "number": 3}
micro = {label: ("a star", value) for label, value in micro.items()}
SD = sdxl_nets.SDXLUNet(8, (8,), 16, text.TextEncoder(8, 1, 2))
api(SD.with_micro, "SDXLUNet.with_micro", cond=Kind(("a star", (32, 0, 0)), {"None": None, "3": 3} | micro, "micro|captions"))
api(sdxl_nets.micro_embedding, micro=into(torch.tensor([[32, 0, 0]]), (3,), (1, 2)), dim=whole(8, 2, three=3))
api(unclip_nets.Prior, dim=whole(8), width=whole(8, 2), depth=whole(1), heads=whole(2, three=3), words=whole(8, three=3))
api(unclip_nets.EmbeddingTokens, dim=whole(8), count=whole(2, 0), width=whole(8))
api(unclip_nets.EmbeddingTokens(2).as_condition, "EmbeddingTokens.as_condition", cond=batch(P, (2, 7)).called("z"))
up = dict(size=whole(8), factor=whole(2, three=3), channels=whole(1), widths=widths(), patch=whole(1), dim=even)
api(upsampler.Upsampler, **up, unet=Kind(None, {"text": "x", "3": 3}), classes=whole(0, 0))
LOW = X[..., :4, :4]
level = {"large": 2.0, "negative": -0.1, "words": "x", "few": torch.ones(3), "nan": math.nan, "None": None}
level = {f"level {label}": (LOW, value) for label, value in level.items()}
api(UP.net.as_condition, "Upsampler.as_condition", cond=batch(LOW, (4, 1, 8, 8)).but(**level).called("level"))

# Data

std = number(0.1, above=0)
api(points.ring, k=whole(8), radius=number(1.0, least=0), std=std)
api(points.circle, n=whole(5), radius=number(1.0, least=0), std=std)
api(points.grid, k=whole(5), side=number(2.0, least=0), std=std)
weights = {"None": None, "text": "x", "one": (1.0,), "negative": (-1.0, 2.0), "nan": (math.nan, 1.0), "texts": ("1", "2")}
api(points.pair, apart=number(2.0), std=std, weights=Kind((0.3, 0.7), weights))
api(points.triangle, std=std)
size = word(16, 15, "16", 16.5)
api(digits.load, split=word("train"), size=size)
api(lambda **bad: digits.whole(**{"name": "?"} | bad), "digits.whole, name", name=Kind(..., word("MNIST").bad))
api(lambda **bad: digits.whole(**bad), "digits.whole", split=Kind(..., word("train").bad))
api(lambda **bad: digits.whole(**bad), "digits.whole, size", size=Kind(..., size.bad))
BYTES = torch.zeros(2, 28, 28, dtype=torch.uint8)
api(digits.resize, picture=into(BYTES, (2, 1, 28, 28), (2, 28, 28)), size=size)
kinds = {"None": None, "empty": (), "unknown": ("two",), "a word": "one", "3": 3}
api(scenes.sample, n=whole(2), rng=rng(), kinds=Kind(("one",), kinds), split=word("train"))
new_pairs = lambda kinds: scenes.sample(2, None, kinds, "new pairs")
api(new_pairs, "scenes.sample, new pairs", kinds=Kind(("pair",), {"no pair": ("one", "alike")}))
some = scenes.Scene(*(getattr(SCENE, name) for name in ("shape", "colour", "size", "place", "relation")))
api(
    scenes.Scene, shape=index(some.shape, 4), colour=index(some.colour, 6), size=index(some.size, 2),
    place=index(some.place, 5), relation=index(some.relation, 2),
)
api(scenes.join, scenes=Kind([SCENE], {"None": None, "none": [], "other": [1], "text": "x"}))
api(scenes.complete, scene=a(SCENE), rng=rng())
api(scenes.new_objects, scene=a(SCENE))
api(scenes.new_pairs, scene=a(SCENE))
fewer = a(SCENE, few=SCENE[:1])
api(scenes.matches, seen=fewer, wanted=fewer)
api(scenes.agreement, seen=fewer, wanted=fewer)
api(shapes.layout, scene=a(SCENE), rng=rng())
api(shapes.draw, scene=a(SCENE), rng=rng(), side=whole(32))
api(shapes.paint, scene=a(SCENE), where=a(LAYOUT), side=whole(32))
api(shapes.masks, scene=a(SCENE), where=a(LAYOUT), side=whole(32))
centres = a(LAYOUT.y, shape=torch.ones(2, 3), few=LAYOUT.y[:1])
api(shapes.Layout, x=centres, y=centres, radius=centres)
api(captions.tell, scene=a(SCENE), rng=rng())
api(captions.describe, scene=a(SCENE))
pair = scenes.sample(2, seeded(0), ("pair",))
api(captions.in_form, scene=a(pair, one=scenes.sample(2, seeded(0), ("one",))), form=word("inverted"))
api(captions.tokens, captions=caption(numbers=[1, 2]))
api(captions.words, row=row(TOKENS[0], (2, 20)))
api(captions.read, captions=caption(numbers=[1, 2]).but("unknown", "long"))
uneven = {"None": None, "text": "x", "nan": torch.ones(3) * math.nan, "uneven": torch.ones(3), "a row": torch.ones(3, 1)}
api(
    markov.MarkovLanguage, first=Kind(torch.ones(3) / 3, uneven), follow=batch(torch.ones(3, 3) / 3, (3, 2), (2, 3), (3, 3)),
    length=whole(4),
)
api(markov.MarkovLanguage.__call__, self=Kind(SPOKEN, {}), z=row(SENTENCES, (2, 3)).but(large=SENTENCES + 9, low=SENTENCES - 1))
api(SPOKEN.log_prob, x=row(SENTENCES % 3, (2, 3)).but(large=SENTENCES + 9))
api(SPOKEN.sample, n=whole(2), rng=rng())
api(markov.random_language, rng=rng(), words=whole(3, 3), length=whole(4))
api(words.sample, n=whole(2), rng=rng())
api(words.spelling, word=word("STAR", "star", "LONGER", "QI", "AB"), colour=word("red", "grey"), n=whole(1))
api(words.Spelling, letters=index(SPELLING.letters, 16), colour=index(SPELLING.colour, 6))
api(words.spelt, words=a(SPELLING))
api(words.tell, words=a(SPELLING))
api(words.draw, words=a(SPELLING), rng=rng(), grid=whole(1))
api(words.read, x=batch(RGB, (2, 3, 30, 32)))
fewer = a(SPELLING, few=SPELLING[:1])
api(words.agreement, seen=fewer, wanted=fewer)
api(words.held_out, letters=row(SPELLING.letters, (2, 3)))
api(words.tokens, prompts=caption("STAR in red", numbers=[1, 2], letters="BAR", spelt="STAR " * 6))

# The zoo

api(models.load, name=word("ring"))
api(
    models.sample, name=word("ring", "classifier"), n=whole(1), w=number(2.0), steps=optional(whole(1, 1, 1000)),
    sampler=optional(word("ddim")), seed=whole(0, None),
)
api(lambda label: models.sample("digits", label, 1, steps=1), "models.sample, digits", label=optional(whole(0, 0, 9)))
api(lambda label: models.sample("ring", label, 1, steps=1), "models.sample, points", label=Kind(None, {"a class": 3}))
limit = optional(number(1.0, above=0))
api(make, "models.make", name=word("ring"), seed=whole(0, None), device=word("cpu"), seconds=limit, every=number(10.0, least=0))
api(checkpoints.quantize, weights=a({"w": torch.ones(2, 2)}), bits=word(8, 7, "8"))
RING = checkpoints.shipped("ring")
api(checkpoints.read, path=Kind(RING, {"missing": "nowhere.safetensors", "no checkpoint": __file__, "None": None, "3": 3}))
other_file = Kind(RING, {"another": checkpoints.shipped("classifier"), "None": None})
api(checkpoints.load_into, net=module(models.load("ring").net), path=other_file)
one_net = NET.net.inward
record = {"None": None, "text": "x", "a tensor": {"a": X}, "nan": {"loss": math.nan}, "a set": {"a": {1}}}
record = Kind({"recipe": "none"}, record)
api(lambda **given: checkpoints.write(UNUSED, one_net, **given), "checkpoints.write", record=record, bits=word(32, 7, "8"))
png = {"None": None, "3": 3, "another ending": UNUSED.with_suffix(".jpg"), "no ending": UNUSED.with_suffix("")}
png = Kind(UNUSED.with_suffix(".png"), png)
api(models.write_samples, path=png, x=batch(X, (4, 2, 8, 8), (4, 3)), label=Kind(None, {"text": "x", "few": LABEL[:2]}))
remade = {"None": None, "3": 3, "shipped": checkpoints.FOLDER}
api(remake.remake, folder=Kind(..., remade, "out"))
api(figures.raw, name=word("guidance_sweep"))
api(figures.load, name=word("guidance_sweep"), table=word("runs"))
RUNS = figures.load("guidance_sweep")
api(figures.where, table=a(RUNS))
api(lambda key: figures.where(RUNS, **{key: 1}), "figures.where, key", key=Kind("w", {"unknown": "nonsense"}))
api(figures.values, table=a(RUNS), figure=word("recall"))
api(lambda w: figures.values(RUNS, "recall", w=w), "figures.values, key", w=Kind(2, {"unknown": -7, "none": [], "text": "x"}))
answers = a(scenes.sample(200, seeded(0)), few=SCENE)
for of in (drawbench.right, drawbench.right_in_category, drawbench.score, drawbench.points):
    api(of, detected=answers)
api(drawbench.preferred, first=answers, second=answers)
RING_NET, DIGITS_NET, GAN_NET, VAE_NET = ring_network(), digits_network(), points_gan(), points_vae()
api(lambda steps: train_ring(RING_NET, None, 0, steps), "train_ring, steps", steps=whole(1))
for of, trained, data in (
    (train_ring, RING_NET, {}), (train_gan, GAN_NET, {"data": some_points}), (train_vae, VAE_NET, {"data": some_points}),
    (train_base, DIGITS_NET, {}),
):
    call = lambda seconds, of=of, trained=trained, data=data: of(trained, seconds, steps=1, **data)
    api(call, of.__name__, seconds=limit)
api(points_gan, latent=whole(2))
api(points_vae, latent=whole(2))

# Widgets

drawn = Kind(None, {"text": "x", "points": lambda step: P, "words": lambda step: "x"}, "draw returns")
api(player.play, steps=film, field=Kind(None, {"text": "x", "3": 3}), draw=drawn, max_mb=number(1.5, above=0))
api(explorer.explore, network=net(GIVEN), steps=film)
written = replace(film, good=list(samplers.ddim(given, RGB, CHAIN.times(2))))
api(attention_widget.attention_player, network=net(TEXT), caption=caption(empty=""), steps=written, side=whole(16, 1, 16))
values = {"None": None, "one": [1], "falling": [2, 1], "nan": [1, math.nan], "text": "ab", "words": ["a", "b"]}
panels = {"few": [X], "nan": [X, X * math.nan], "shape": [X, X[:2]], "text": "xy"}
panels = {"None": None, "none": {}, "a list": [X, X]} | {label: {"a": value} for label, value in panels.items()}
curves = {"few": [0.1], "large": [0.1, 2], "nan": [0.1, math.nan], "text": "xy"}
curves = {label: {"b": value} for label, value in curves.items()}
curves |= {"None": None, "none": {}, "four": dict.fromkeys("bcde", [0, 1])}
api(
    dial.dial, name=Kind("t", {"None": None, "3": 3}), values=Kind([1, 2], values), panels=Kind({"a": [X, X]}, panels),
    curves=Kind({"b": [0.1, 0.2]}, curves),
)
rows = {"None": None, "3": 3, "empty": "", "no square": "#. .", "none drawn": ".. ..", "letters": "ab cd"}
api(sketch.sketch, start=Kind("#. ..", rows, "rows"))
film_of = [masked.WordStep(t, z, (z < 3) * 0.5) for t, z in ((1.0, SENTENCES), (0.0, SENTENCES % 3))]
runs = {"None": None, "none": {}, "a list": film_of, "one": {"a": film_of[:1]}, "numbers": {"a": [1, 2]}}
some_words = Kind(("a", "b", "c"), {"None": None, "none": (), "numbers": (1, 2, 3)})
api(
    sentences.sentences, runs=Kind({"a": film_of}, runs, "runs.*"), words=some_words, mask=whole(3, 0),
    pictures=optional(batch(RGB, (3, 3, 8, 8))), padding=whole(1, -1),
)
plane = dict(mixture=a(MIX, line=points.pair()), process=a(CHAIN), steps=whole(2, 1, 20), w=number(3.0))
api(guided.guided_plane, **plane, label=optional(word(0, 9)))
api(paths.geometric_levels, process=a(CHAIN, flow=FLOW), count=whole(3, 2), min_noise=number(0.3, above=0, below=1))
levels = {"rising": CHAIN.times(2).flip(0), "one": CHAIN.times(2)[:1], "text": "x", "too large": CHAIN.times(2) * 2}
x_T = {"None": None, "one": (0.5,), "nan": (0.5, math.nan), "text": "ab", "3": 3}
api(
    paths.paths, exact=a(EXACT, flow=EXACT_FLOW), network=Kind(None, {"text": "x", "another": GIVEN}), steps=whole(2, 1, 20),
    n=whole(1), eta=number(1e-3, above=0), levels=Kind(CHAIN.times(2), levels), x_T=Kind((0.5, 0.5), x_T),
)
api(student.student, network=net(GUIDED).but(other=GIVEN), w=number(2.0, least=0, most=8), seed=whole(0, None))
prompts = {"None": None, "none": (), "unknown": ("a dragon",), "numbers": (1,), "a word": "a star"}
box = dict(network=net(TEXT), evaluator=a(EYE), steps=whole(1, 1, 20))
api(prompt.PromptModel, **box)
api(prompt.prompt_box, **box, prompts=Kind(("a red circle",), prompts, "captions"))
noise_of = {"None": None, "two": (8, 8), "zero": (1, 0, 8), "text": "abc", "other": (1, 7, 8)}
api(
    guidance_widget.guidance_explorer, models=Kind(NET, {"None": None, "none": {}, "text": "x", "numbers": {"a": 1}}),
    shape=Kind((1, 8, 8), noise_of, "x"), labels=Kind((0, 1), {"None": None, "none": (), "unknown": (7,), "3": 3}, "label"),
    steps=whole(1, 1, 20).called("n"), curve=Kind(None, {"text": "x"}), quick=Kind(None, {"unknown": {"z": abs}, "text": "x"}),
)
api(guided_models.by_classifier_free, network=net(NET))
api(guided_models.by_classifier, network=net(NET), classifier=function(NOISY))
api(guided_models.by_student, network=net(STUDENT), decode=function(lambda x: x))
api(tradeoff.measured, guides=Kind(("classifier",), {"None": None, "unknown": ("nonsense",), "none": (), "text": "x"}))
triple = lambda good, **more: Kind(good, {"None": None, "few": good[:1], "nan": (math.nan, 1.0), "text": "ab", "3": 3} | more)
CURVE = tradeoff.Curve((0.0, 1.0), (0.3, 0.2), (0.3, 0.5))
measured = triple((0.3, 0.2), large=(0.3, 2.0))
api(tradeoff.Curve, w=triple((0.0, 1.0), falling=(1.0, 0.0)), recall=measured, precision=measured)
api(tradeoff.TradeOff, curves=Kind({"a": CURVE}, {"None": None, "none": {}, "numbers": {"a": 1}, "a list": [1]}))

# Pipelines of diffusers, without the package: what is refused before it is needed

pipelines = {"None": None, "3": 3, "text": "x", "a network": NET}
api(from_diffusers, pipeline=Kind(..., pipelines))
api(process_of, scheduler=Kind(..., pipelines))
api(lambda scheduler: scheduler_times(scheduler, 5), "scheduler_times", scheduler=Kind(..., pipelines))
api(tiny, name=Kind(..., word("DDPMPipeline", "FluxPipeline").bad))
api(lambda seed: tiny("DDPMPipeline", seed), "tiny, seed", seed=Kind(..., whole(0, 0).bad))

# Teaching

api(dictionary.in_lesson, number=word("07", "99", "29", "7"))
api(lambda group: dictionary.compare(group, {}), "dictionary.compare", group=Kind(..., word("time").bad))
ids = {"None": None, "3": 3, "empty": "", "spaces": "a b", "capitals": "A", "line": "a\n"}
sentence = Kind("A sentence.", {"None": None, "3": 3, "empty": ""})
api(
    claims.claim, id=Kind("a-b", ids), statement=sentence, measured=sentence,
    holds=Kind(lambda n: n == 1, {"None": None, "text": "no", "True": True}),
    figures=Kind({"n": 1}, {"None": None, "text": "n"}), null=Kind("exact", {"None": None, "3": 3, "empty": ""}),
)
runs = {"None": None, "3": 3, "text": "x", "none": [], "nan": [1.0, math.nan], "texts": ["a"], "a cube": [[[1.0]]]}
runs["ragged"] = [[1], [1, 2]]
values, unit = Kind([0.1, 0.2, 0.3], runs), Kind("noises", {"None": None, "3": 3})
api(evidence.estimate, values=values, runs=unit)
api(evidence.share, hits=Kind([True, False, True], runs | {"a half": [0.5], "a table": [[1, 0]]}), runs=unit)
api(evidence.compare, a=values.called("a|a and b"), b=values.called("b|a and b").but(two=[0.1, 0.2]), runs=unit)
api(evidence.Estimate, mean=number(0.5), error=number(0.1, least=0).but("None"), n=Kind(5, {}))
threshold = number(0.2)
api(evidence.estimate([0.1, 0.2, 0.4]).above, "Estimate.above", threshold=threshold)
api(evidence.estimate([0.1, 0.2, 0.4]).below, "Estimate.below", threshold=threshold)
low, high = number(0.0, below=1.0), number(1.0, above=0.0).called("high|low")
api(evidence.estimate([0.1, 0.2, 0.4]).within, "Estimate.within", low=low, high=high)
figure_names = {"a": 1, "None": None, "a list": ["b"], "text": "b", "its name": {"verdict": "b"}, "a dot": {"b.c": "1"}}
figure_names |= {"empty": {"b": ""}, "nan": {"b": ("1", math.nan)}, "two texts": {"b": ("1", "1")}, "three": {"b": ("1", 1, 2)}}
api(
    answer.answer, claim=Kind("a-b", ids), figures=Kind({"b": "1", "c d": ("1 ± 2", 1.0)}, figure_names),
    verdict=word("cannot be told apart", "Yes", "holds"),
)
question = Kind("a-b.share", ids | {"no figure": "a-b", "no claim": ".b", "two dots": "a.b.c", "a list": ["a.b"]})
api(
    guess.predict, id=question, question=sentence, low=number(0.0, most=1).called("high"), high=number(1.0, above=0),
    unit=Kind("s", {"None": None, "3": 3}),
)
few = {"one": ["a"], "seven": list("abcdefg"), "equal": ["a", "a"], "blank": ["a", " "], "numbers": [1, 2], "text": "ab"}
few |= {"None": None}
choose = lambda choices, id="a.b", **slider: guess.predict(id, "?", choices=choices, **slider)
api(choose, "guess.predict, choices", choices=Kind(["a", "b"], few), low=Kind(None, {"0": 0}), high=Kind(None, {"1": 1}))
of_verdicts = lambda choices: choose(choices, "a.verdict")
api(of_verdicts, "guess.predict, verdict", choices=Kind(["yes", "no"], {"others": ["a", "b"], "one other": ["yes", "maybe"]}))
api(lambda id: guess.guesses(id), "guess.guesses", id=question.called("ids"))
notebooks = {"None": None, "text": "x", "missing": ["nowhere.ipynb"], "no notebook": [__file__], "3": 3}
api(claim_table.gather, notebooks=Kind([], notebooks, "path"))
api(course_map.course_map, here=word("07", "99", "7"))
api(lambda number: progress.start(number), "progress.start", number=Kind(..., word("07", "99").bad))
api(build.sources, numbers=Kind(("07",), {"unknown": ("99",), "None": None, "3": 3, "numbers": (7,)}))
repository = word("a/b", "ada", "ada/course.git", "ada/", "/course", "a b/c", "ada/co/urse")
publish = lambda owner_repo: address.publish(owner_repo, ROOT / "build/nowhere")
api(publish, "address.publish", owner_repo=Kind(..., repository.bad))
api(checks.solution, name=word("slerp"))
api(quiz, lesson=word("07", "99", "98", "7"), seed=whole(0, 0), n=optional(whole(2, 1, 99)))
verdict = Question("verdict", "It is so.", "", ("holds", "does not"), 0, "It does.", "a-b")
questions = Kind([verdict], {"None": None, "none": [], "text": "x", "numbers": [1]})
api(quiz_page.text, questions=questions)
for write in (quiz_page.page, quiz_page.pdf):
    api(
        lambda questions, write=write: write(questions, "A title"), f"quiz_page.{write.__name__}",
        questions=questions.but(many=50 * questions.good),
    )
# fmt: on


# The tests


def run(call: Callable, given: dict) -> None:
    """Calls it, and runs generators to their end."""
    made = call(**given)
    if isinstance(made, Iterator):
        for _ in made:
            pass
    if isinstance(made, AbstractContextManager):
        with made:
            pass


def taken(call: Callable, argument: str, given: dict, name: str) -> str:
    """How a bad argument is taken: '' where it is refused by its name, else 'silent', or 'unclear' and what was said."""
    try:
        run(call, given)
    except Exception as error:
        said, its = str(error), rf"\b({'|'.join(filter(None, (argument, name)))})\b"
        clear = re.search(rf"{its}.* must .*(got|found) |must have the shape of {its}.*got ", f" {said}")
        if isinstance(error, (TypeError, ValueError, FileNotFoundError)) and clear and "\n" not in said and len(said) < 1000:
            return ""
        return f"unclear: {type(error).__name__}: {' '.join(said.split())[:150]}"
    return "silent"


def faults(row: str) -> list[str]:
    """The bad values of a row, "call(argument)", that are silent or unclear."""
    name, _, argument = row[:-1].rpartition("(")
    call, arguments = TABLE[name]
    good, kind = {other: kind.good for other, kind in arguments.items()}, arguments[argument]
    found = {label: taken(call, argument, good | {argument: value}, kind.name) for label, value in kind.bad.items()}
    return [f"{argument} = {label}: {how}" for label, how in found.items() if how]


ROWS = [f"{name}({argument})" for name, (_, arguments) in TABLE.items() for argument in arguments]


@pytest.mark.parametrize("name", [name for name, (_, kinds) in TABLE.items() if all(k.good is not ... for k in kinds.values())])
def test_good_arguments_are_taken(name):
    call, arguments = TABLE[name]
    run(call, {argument: kind.good for argument, kind in arguments.items()})


@pytest.mark.parametrize("row", ROWS)
def test_bad_arguments_are_refused_by_their_names(row):
    if found := faults(row):
        pytest.fail("\n".join([row, *found]), pytrace=False)


def test_a_fault_is_found(monkeypatch):
    monkeypatch.setitem(TABLE, "half", (lambda n: torch.ones(n)[: n // 2], {"n": whole(4)}))
    found = faults("half(n)")
    assert "n = too small: silent" in found
    assert any(fault.startswith("n = text: unclear: TypeError: ones()") for fault in found)
