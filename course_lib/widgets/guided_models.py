"""What the guidance explorer samples: guided models, the state of the controls, and the samples that belong to it."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import NULL, Denoiser, Network, device_of
from course_lib.guidance import ClassifierGuided, classifier_free
from course_lib.methods.solvers import unipc
from course_lib.process import RectifiedFlow, randn, seeded
from course_lib.samplers import Step, consistency, ddim, ddpm, heun, rectified_flow, result
from course_lib.widgets import sheets
from course_lib.widgets.page import Fragment, fragment
from course_lib.widgets.tradeoff import TradeOff

Sampler = Callable[[Denoiser, Tensor, Tensor], Iterator[Step]]
"""(denoiser, noise, times) -> steps, with eta and the source of fresh noise already set."""
Label = int | str
"""A class, or a caption."""
Model = Callable[[Sequence[Label], float, Tensor, int, Sampler], Iterable[Step]]
"""(labels, w, noise (N, C, H, W), steps, sampler) -> Steps, the last of which holds the pictures (N, 1 or 3, H, W). A model
that needs no w, steps or sampler, such as a student of one step, ignores it."""

SAMPLERS: dict[str, Callable[[float, torch.Generator], Sampler]] = {
    "DDIM": lambda eta, rng: partial(ddim, eta=eta, rng=rng),
    "DDPM": lambda eta, rng: partial(ddpm, rng=rng),
    "Heun": lambda eta, rng: heun,
    "UniPC": lambda eta, rng: unipc,
}
"""The samplers to choose from, each made of eta and a source of fresh noise, as far as it needs them."""
WS = (0, 0.5, 1, 1.5, 2, 3, 5, 8)
"""The guidance weights that a page without a kernel shows."""
PRESETS = (0, 1, 3, 8)
MANY = 16
"""Samples in a picture."""
FEW = 3
"""Steps of a sketch, while a slider moves."""


def by_classifier_free(network: Network, decode: Callable[[Tensor], Tensor] = lambda x: x) -> Model:
    """A conditional network under classifier-free guidance: Ho and Salimans 2022. `decode` decodes its latents.

    A rectified flow is sampled by Heun's method, or by Euler's where another sampler is chosen.
    """
    validate.instance("network", network, Network)
    validate.function("decode", decode)

    def draw(labels, w, noise, steps, sampler):
        guided, own = classifier_free(network, labels, w), sampler
        if isinstance(network.process, RectifiedFlow) and sampler is not heun:
            own = rectified_flow  # the others are made for chains
        return _decoded(own(guided, noise.to(device_of(network)), network.process.times(steps)), decode)

    return draw


def by_classifier(network: Network, classifier: Callable) -> Model:
    """The same network without a condition, guided by a classifier: Dhariwal and Nichol 2021."""
    validate.instance("network", network, Network)
    validate.function("classifier", classifier)

    def draw(labels, w, noise, steps, sampler):
        guided = ClassifierGuided(network.given(NULL), classifier, list(labels), w)
        return sampler(guided, noise.to(device_of(network)), network.process.times(steps))

    return draw


def by_student(network: Network, decode: Callable[[Tensor], Tensor] = lambda x: x) -> Model:
    """A student that takes w as an input, with consistency sampling: Luo et al. 2023. `decode` decodes its latents."""
    validate.instance("network", network, Network)
    validate.function("decode", decode)

    def draw(labels, w, noise, steps, sampler):
        guided, rng = classifier_free(network, labels, w), seeded(0)
        jumps = consistency(guided, noise.to(device_of(network)), network.process.times(steps), rng)
        return _decoded(jumps, decode)

    return draw


def _decoded(steps: Iterable[Step], decode: Callable[[Tensor], Tensor]) -> Iterator[Step]:
    """The steps, with the pictures of the last one in the place of its latents."""
    return (replace(step, x=decode(step.x)) if step.pred is None else step for step in steps)


@dataclass(frozen=True)
class Controls:
    """All that decides the picture: `label` None is one of each; `eta` is DDIM's; `model` is one of the explorer's."""

    w: float = 3.0
    seed: int = 0
    label: Label | None = None
    steps: int = 20
    eta: float = 0.0
    sampler: str = "DDIM"
    model: str = ""

    @property
    def pace(self) -> str:
        """Its steps in words."""
        return f"{self.steps} step{'s' * (self.steps > 1)}"

    def make_sampler(self) -> Sampler:
        """The sampler, with eta, and fresh noise that depends on the seed alone."""
        return SAMPLERS[self.sampler](self.eta, seeded(10_000 + self.seed))


@dataclass(frozen=True, eq=False)
class ExplorerModel:
    """What is sampled: models by name, the shape of one picture's noise (C, H, W), the labels, the trade-off curve beside it.

    A slow model can have a `quick` one of the same name, whose single step sketches the slow one's result.
    """

    models: dict[str, Model]
    shape: tuple[int, ...]
    labels: tuple[Label, ...]
    curve: TradeOff | None = None
    quick: dict[str, Model] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.shape) != 3:
            raise ValueError(f"shape must be that of one picture or latent, (C, H, W), got {self.shape}")
        for size in self.shape:
            validate.at_least("shape", size, 1)
        for label in validate.filled("labels", self.labels):
            validate.instance("labels", label, numbers.Integral, str)
        if not validate.instance("models", self.models, dict):
            raise ValueError("models must hold at least one model, got none")
        for name, model in [*self.models.items(), *validate.instance("quick", self.quick, dict).items()]:
            validate.function(f"models[{name!r}]", model)
        for name in self.quick:
            validate.choice("the name of a quick model", name, self.models)
        if self.curve is not None:
            validate.instance("curve", self.curve, TradeOff)

    def labels_of(self, state: Controls) -> list[Label]:
        """The label that each sample is conditioned on."""
        return [self.labels[i % len(self.labels)] if state.label is None else state.label for i in range(MANY)]

    def film(self, state: Controls, sketch: bool = False) -> Iterable[Step]:
        """The steps of MANY pictures, from noise that the seed alone decides, so that a difference between two w is due to
        guidance.

        A `sketch` is by the quick model in one step, or else by the model itself in a FEW.
        """
        validate.at_least("steps", state.steps, 1)
        noise = randn(MANY, *self.shape, rng=seeded(state.seed))
        name = validate.choice("model", state.model or next(iter(self.models)), self.models)
        model, steps = self.models[name], state.steps
        if sketch:
            model, steps = (self.quick[name], 1) if name in self.quick else (model, FEW)
        return model(self.labels_of(state), state.w, noise, steps, state.make_sampler())

    def sample(self, state: Controls, sketch: bool = False) -> Tensor:
        """The pictures (MANY, 1 or 3, H, W)."""
        return result(self.film(state, sketch))

    def names(self, state: Controls) -> tuple[str, ...]:
        """The name above each picture."""
        return tuple(map(str, self.labels_of(state)))

    def render(self, state: Controls) -> bytes:
        """The samples as a PNG: the same state gives the same bytes."""
        return sheets.png(sheets.sheet(self.sample(state)))

    def alt(self, state: Controls) -> str:
        names = ", ".join(map(str, self.labels)) if state.label is None else f"all {state.label}"
        return f"Samples conditioned on {names}"

    def page(self, steps: int = 20) -> Fragment:
        """A slider over WS that needs no kernel, for the first model; without scripts, the picture of them all."""
        start = Controls(steps=steps, model=next(iter(self.models)))
        samples = [self.sample(replace(start, w=w)) for w in WS]
        panels = [sheets.panel(x, self.names(start), f"w = {w:g}") for x, w in zip(samples, WS)]
        width, height = panels[0].size
        sheet = Image.new(panels[0].mode, (2 * width, len(WS) // 2 * height))
        for i, panel in enumerate(panels):
            sheet.paste(panel, (i % 2 * width, i // 2 * height))
        alt = self.alt(start)
        curve = self.curve and start.model in self.curve.curves and self.curve
        marks = [curve.mark(start.model, w) for w in WS] if curve else None
        data = {"ws": WS, "start": WS.index(3), "alt": alt, "presets": PRESETS, "marks": marks}
        data |= {"title": sheets.TITLE, "row": sheets.row_height(*samples[0].shape[2:])}
        data["caption"] = f"{start.model}, {start.pace}" if start.model else start.pace
        still = sheets.img(sheets.png(sheet, 9), f"{alt}, from one noise, at w = {', '.join(map(str, WS))}")
        return fragment("guidance", data, f'<div class="both">{still}{curve.svg(start.model, 3) if curve else ""}</div>')
