"""The guidance explorer: the same noise, and w, the steps, the sampler and the model under your hand.

Live, it is made of core ipywidgets (7.7 and 8): while a slider moves it draws in few steps, or lets a quick student draw, and
at rest in all of them (bounce.py). Where no kernel is, `guidance.js` shows the samples at WS in the page itself; where no
script runs, a picture shows them all.
"""

from __future__ import annotations

import html
import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

import ipywidgets as widgets
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.guidance import ClassifierFree, ClassifierGuided
from course_lib.recipes.recipe import device_of
from course_lib.samplers import Step, consistency, ddim, ddpm, heun, result
from course_lib.widgets import pixels
from course_lib.widgets.bounce import Bounce
from course_lib.widgets.page import HERE, Fragment, fragment
from course_lib.widgets.tradeoff import TradeOff

Sampler = Callable[[Denoiser, Tensor, Tensor], Iterator[Step]]
"""(denoiser, noise, times) -> steps, with eta and its own noise settled."""
Label = int | str
"""A class, or a caption."""
Model = Callable[[Sequence[Label], float, Tensor, int, Sampler], Iterable[Step]]
"""(labels, w, noise (N, C, H, W), steps, sampler) -> Steps, the last of which holds the pictures (N, 1 or 3, H, W). One that
has no use for w, for steps or for the sampler, such as a student of one step, leaves it alone."""

WS = (0, 0.5, 1, 1.5, 2, 3, 5, 8)  # what a page without a kernel can show
PRESETS = (0, 1, 3, 8)
MANY, COLUMNS, KEPT = 16, 4, 4  # samples, in so many columns; rows that are kept at most
EACH = -1  # what the choice of class says for one of each: a Dropdown shows None as nothing at all
FEW = 3  # steps, while a slider moves
REST, TURN = 0.12, 0.08  # seconds: without a move, until a hand is at rest; of work before the page has its turn
WIDTH, TITLE = 600, 44  # pixels: how wide a panel is, and how high its title's band
PAPER, INK = "#262626", "white"  # a dark panel holds its own on a dark page and on a light one


def classifier_free(network: Network) -> Model:
    """A class-conditional network, guided by itself: Ho and Salimans 2022."""

    def draw(labels, w, noise, steps, sampler):
        guided = ClassifierFree(network.given(labels), network.given(NULL), w)
        return sampler(guided, noise.to(device_of(network)), network.process.times(steps))

    return draw


def by_classifier(network: Network, classifier: Callable) -> Model:
    """The same network without a condition, guided by a classifier: Dhariwal and Nichol 2021."""

    def draw(labels, w, noise, steps, sampler):
        guided = ClassifierGuided(network.given(NULL), classifier, list(labels), w)
        return sampler(guided, noise.to(device_of(network)), network.process.times(steps))

    return draw


def by_student(network: Network, decode: Callable[[Tensor], Tensor] = lambda x: x) -> Model:
    """A student that is told w, and has a sampler of its own: Luo et al. 2023. `decode` makes pictures of its last latents."""

    def draw(labels, w, noise, steps, sampler):
        asked, rng = network.given(labels).at(w), torch.Generator().manual_seed(0)
        jumps = consistency(asked, noise.to(device_of(network)), network.process.times(steps), rng)
        return (replace(step, x=decode(step.x)) if step.pred is None else step for step in jumps)

    return draw


@dataclass(frozen=True)
class State:
    """All that decides the picture: `label` None is one of each; `eta` counts for DDIM alone; `model` is one of the scene's."""

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

    def settled(self) -> Sampler:
        """The sampler, with eta, and noise of its own that depends on the seed alone."""
        rng = torch.Generator().manual_seed(10_000 + self.seed)
        return {
            "DDIM": lambda denoiser, x, times: ddim(denoiser, x, times, self.eta, rng),
            "DDPM": lambda denoiser, x, times: ddpm(denoiser, x, times, rng),
            "Heun": heun,
        }[self.sampler]


SAMPLERS = ("DDIM", "DDPM", "Heun")


@dataclass(frozen=True, eq=False)
class Scene:
    """What is sampled: models by name, the shape of one's noise (C, H, W), the labels to ask for, the curve beside it.

    A model that is slow may have a `quick` one of the same name, which sketches in one step what it will draw.
    """

    models: dict[str, Model]
    shape: tuple[int, ...]
    labels: tuple[Label, ...]
    curve: TradeOff | None = None
    quick: dict[str, Model] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.shape) != 3:
            raise ValueError(f"shape must be that of one picture or latent, (C, H, W), got {self.shape}")
        if not self.labels:
            raise ValueError("labels must name at least one label, got none")
        if not self.models:
            raise ValueError("models must hold at least one model, got none")
        for name in self.quick:
            validate.choice("the name of a quick model", name, self.models)

    def wanted(self, state: State) -> list[Label]:
        """The label that each sample is asked to be."""
        return [self.labels[i % len(self.labels)] if state.label is None else state.label for i in range(MANY)]

    def film(self, state: State, sketch: bool = False) -> Iterable[Step]:
        """The steps of MANY pictures, from noise that the seed alone decides: what differs at another w is guidance's doing.

        A `sketch` is by the quick model in one step, or else by the model itself in a FEW.
        """
        validate.at_least("steps", state.steps, 1)
        noise = torch.randn(MANY, *self.shape, generator=torch.Generator().manual_seed(state.seed))
        name = validate.choice("model", state.model or next(iter(self.models)), self.models)
        model, steps = self.models[name], state.steps
        if sketch:
            model, steps = (self.quick[name], 1) if name in self.quick else (model, FEW)
        return model(self.wanted(state), state.w, noise, steps, state.settled())

    def sample(self, state: State, sketch: bool = False) -> Tensor:
        return result(self.film(state, sketch))

    def names(self, state: State) -> tuple[str, ...]:
        """What stands above each picture."""
        return tuple(map(str, self.wanted(state)))

    def render(self, state: State) -> bytes:
        """The samples as a PNG: the same state, the same bytes."""
        return _png(_sheet(self.sample(state)))

    def alt(self, state: State) -> str:
        names = ", ".join(map(str, self.labels)) if state.label is None else f"all {state.label}"
        return f"Samples asked to be {names}"

    def page(self, steps: int = 20) -> Fragment:
        """A slider over WS that needs no kernel, for the first model; without scripts, the picture of them all."""
        start = State(steps=steps, model=next(iter(self.models)))
        panels = [_panel(self.sample(replace(start, w=w)), self.names(start), f"w = {w:g}") for w in WS]
        width, height = panels[0].size
        sheet = Image.new(panels[0].mode, (2 * width, len(WS) // 2 * height))
        for i, panel in enumerate(panels):
            sheet.paste(panel, (i % 2 * width, i // 2 * height))
        alt = self.alt(start)
        curve = self.curve and start.model in self.curve.curves and self.curve
        marks = [curve.mark(start.model, w) for w in WS] if curve else None
        data = {"ws": WS, "start": WS.index(3), "alt": alt, "presets": PRESETS, "marks": marks}
        data["caption"] = f"{start.model}, {start.pace}" if start.model else start.pace
        still = _img(_png(sheet, 9), f"{alt}, from one noise, at w = {', '.join(map(str, WS))}")
        return fragment("guidance", data, f'<div class="both">{still}{curve.svg(start.model, 3) if curve else ""}</div>')


class GuidanceExplorer:
    """The widget. `box` is all of it, and each control is an attribute; see `guidance_explorer`."""

    def __init__(self, scene: Scene, steps: int):
        self.scene, self.page = scene, scene.page(steps)  # bad input raises here, not in a callback
        style, layout = {"description_width": "4.5em"}, {"width": "98%"}
        slider = lambda kind, value, name, **span: kind(value, description=name, style=style, layout=layout, **span)
        choice = lambda options, name: widgets.Dropdown(options=options, description=name, style=style)
        every = ("one of each", EACH) if len(scene.labels) > 1 else (f"only {scene.labels[0]}", EACH)
        self.w = slider(widgets.FloatSlider, 3, "w", min=0, max=8, step=0.1, readout_format=".1f")
        self.steps = slider(widgets.IntSlider, steps, "steps", min=1, max=max(100, steps))
        self.eta = slider(widgets.FloatSlider, 0, "eta", min=0, max=1, step=0.1, readout_format=".1f")
        self.seed = slider(widgets.IntSlider, 0, "seed", min=0, max=99)
        self.label = choice([every, *((f"only {label}", label) for label in scene.labels)], "class")
        self.sampler, self.model = choice(SAMPLERS, "sampler"), choice(list(scene.models), "model")
        self.presets = [widgets.Button(description=f"w = {w:g}") for w in PRESETS]
        self.freeze, self.clear = (widgets.Button(description=words) for words in ("freeze a row", "clear rows"))
        self.bar = widgets.IntProgress(layout={"width": "98%", "visibility": "hidden"})
        self.screen, self.curve, self.rows = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.kept: list[str] = []
        self.job: Iterator[Step] | None = None  # the full answer that is being made
        self.shown, self.asked, self.made = None, 0.0, 0
        self.bounce = Bounce(self._turn)
        css = widgets.HTML(f"<style>{(HERE / 'guidance.css').read_text(encoding='utf-8')}</style>")
        both, choices = widgets.HBox([self.screen, self.curve]), [self.label, self.sampler]
        both.add_class("both")
        self.screen.add_class("screen")
        if len(scene.models) > 1:
            choices.append(self.model)
        buttons = widgets.HBox([*self.presets, self.freeze, self.clear])
        parts = [css, both, self.bar, self.w, buttons, self.steps, self.eta, self.seed, widgets.HBox(choices)]
        self.box = widgets.VBox([*parts, self.rows, self.bounce.box])
        self.box.add_class("course-widget")
        self.box.add_class("course-guidance")
        self.show()
        for control in (self.w, self.seed, self.label, self.steps, self.eta, self.sampler, self.model):
            control.observe(self.show, "value")
        for button, w in zip(self.presets, PRESETS):
            button.on_click(lambda _, w=w: setattr(self.w, "value", w))
        self.freeze.on_click(self._keep)
        self.clear.on_click(self._keep)

    @property
    def state(self) -> State:
        """What the controls say."""
        named = {name: getattr(self, name).value for name in ("w", "seed", "label", "steps", "eta", "sampler", "model")}
        return State(**named | ({"label": None} if named["label"] == EACH else {}))

    def show(self, change=None) -> None:
        """Answers the controls: at once in few steps, in all of them when the hand rests, or at once where no page answers."""
        self.job, self.asked = None, time.monotonic()
        self.eta.disabled = self.sampler.value != "DDIM"
        state = self.state
        if self.scene.curve:
            self.curve.value = self.scene.curve.svg(state.model, state.w)
        whole = state.steps <= FEW or not self.bounce.alive
        self._say(state, lambda: self.scene.sample(state, sketch=not whole), whole)
        if self.shown != state or not self.bounce.alive:  # more is to come, or it is yet to be seen whether a page answers
            self.bounce.send()

    def _turn(self) -> None:
        """A turn of work on the full answer, once the hand has rested, until the page has its own."""
        state, begun = self.state, time.monotonic()
        if self.shown == state:
            return
        if begun - self.asked < REST:
            time.sleep(0.01)  # or bounces would take all of the processor
            return self.bounce.send()
        try:
            if self.job is None:
                self.job, self.made = iter(self.scene.film(state)), 0
            for step in self.job:
                self.x, self.made = step.x, self.made + 1
                if time.monotonic() - begun > TURN and self.made <= state.steps:
                    self.bar.max, self.bar.value = state.steps, self.made
                    self.bar.layout.visibility = "visible" if begun - self.asked > 0.5 else "hidden"
                    return self.bounce.send()
        except Exception as error:
            return self._fail(state, error)
        self._say(state, lambda: self.x, True)

    def _say(self, state: State, sample: Callable[[], Tensor], whole: bool) -> None:
        """Draws pictures, or says in one line why it cannot: an error in a callback would be seen by nobody."""
        try:
            self.x = sample()
            sheet = _img(_png(_sheet(self.x)), self.scene.alt(state))
        except Exception as error:
            return self._fail(state, error)
        self.shown = state if whole else None
        if whole:
            self.bar.layout.visibility = "hidden"
        few = "a student's sketch of" if state.model in self.scene.quick else f"{FEW} of"
        words = f"w = {state.w:.1f}, seed {state.seed}, {'' if whole else f'{few} '}{state.pace}"
        names = _words(self.scene.names(state), *self.x.shape[2:])
        self.screen.value = f'<p role="status">{words}</p><div class="panel">{sheet}{names}</div>'

    def _fail(self, state: State, error: Exception) -> None:
        self.job, self.shown, self.bar.layout.visibility = None, state, "hidden"
        words = html.escape(f"{type(error).__name__}: {error}".splitlines()[0])
        self.screen.value = f'<p class="error" role="alert">{words}</p>'

    def _keep(self, button) -> None:
        """Keeps the pictures that are shown as a row to compare with, the newest first, or clears all rows."""
        if button is self.clear:
            self.kept = []
        else:
            s = self.state
            name = f"{s.model}, " if len(self.scene.models) > 1 else ""
            words = f"{name}w = {s.w:.1f}, seed {s.seed}, {s.sampler}, {s.pace}, eta = {s.eta:.1f}"
            row = f"<p>{html.escape(words)}</p>{_img(_png(_row(self.x)), f'{self.scene.alt(s)}, {words}')}"
            self.kept = [row, *self.kept][:KEPT]
        self.rows.value = "".join(self.kept)

    def __repr__(self):
        return f"GuidanceExplorer({', '.join(self.scene.models)})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return {"text/plain": repr(self), "text/html": self.page.html, "application/vnd.jupyter.widget-view+json": view}


def guidance_explorer(
    models: Network | dict[str, Model],
    shape: Sequence[int] = (1, 16, 16),
    labels: Sequence[Label] = tuple(range(10)),
    steps: int = 20,
    curve: TradeOff | None = None,
    quick: dict[str, Model] | None = None,
) -> GuidanceExplorer:
    """Sliders for w (0 to 8), steps, eta and the noise's seed, choices of class, sampler and model, and the samples they make.

    `models` are Models by name (see there), or a class-conditional network, which must know NULL, and is then guided by itself.
    `shape` is that of one picture's noise, (C, H, W); `labels` are the classes or captions to be asked for. With a `curve`
    (tradeoff.py) whose guides have the models' names, fidelity against diversity stands beside the samples. `quick` are Models
    of the same names, which sketch in one step while a slider moves; without one, a model sketches in a few steps itself.
    Raises TypeError or ValueError where shape, labels and models do not fit.
    """
    models = models if isinstance(models, dict) else {"classifier-free": classifier_free(models)}
    return GuidanceExplorer(Scene(models, tuple(shape), tuple(labels), curve, quick or {}), steps)


@cache
def _places(n: int, H: int, W: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The size of a sheet of n pictures H x W, and their corners: COLUMNS in a row, a name's band of W / 4 above each."""
    gap, band = _gap(W), max(1, W // 4)
    width = max(WIDTH // _zoom(W), COLUMNS * (W + gap) + gap)
    left = (width - COLUMNS * (W + gap) + gap) // 2
    corners = [(left + i % COLUMNS * (W + gap), band + i // COLUMNS * (band + H)) for i in range(n)]
    return (width, -(-n // COLUMNS) * (band + H) + gap), corners


def _zoom(W: int) -> int:
    """How many pixels of a panel a pixel of a sheet is wide."""
    return max(1, WIDTH // (COLUMNS * (W + _gap(W))))


def _gap(W: int) -> int:
    """Pixels of a sheet between two pictures."""
    return max(1, W // 16)


def _sheet(x: Tensor) -> Image.Image:
    """Pictures x (N, C, H, W) in [-1, 1], pixel for pixel, without their names: what moves while a slider does."""
    N, C, H, W = x.shape
    size, corners = _places(N, H, W)
    sheet = Image.new("RGB", size, PAPER)
    for picture, corner in zip(_pixels(x), corners):
        sheet.paste(picture, corner)
    return sheet.convert("L") if C == 1 else sheet


def _panel(x: Tensor, names: Sequence[str], title: str) -> Image.Image:
    """The sheet of x, enlarged, with the name above each picture and all under the title."""
    H, W = x.shape[2:]
    sheet, zoom = _sheet(x), _zoom(W)
    panel = Image.new(sheet.mode, (zoom * sheet.width, TITLE + zoom * sheet.height), PAPER)
    panel.paste(sheet.resize((zoom * sheet.width, zoom * sheet.height), Image.Resampling.NEAREST), (0, TITLE))
    pen = ImageDraw.Draw(panel)
    pen.text((panel.width // 2, TITLE // 2 + 4), title, INK, _font(36), "mm")
    size = _letters(names, W)
    for name, (left, below) in zip(names, _places(len(names), H, W)[1]):
        pen.text((zoom * (left + W / 2), TITLE + zoom * (below - W / 8)), name, INK, _font(int(zoom * size)), "mm")
    return panel


@lru_cache(2)
def _words(names: tuple[str, ...], H: int, W: int) -> str:
    """The names as text that lies over a sheet of pictures H x W, however large it is shown."""
    (width, height), corners = _places(len(names), H, W)
    size = _letters(names, W)
    texts = (
        f'<text x="{left + W / 2:g}" y="{below - W / 8:g}" textLength="{size * _length(name):.2f}">{html.escape(name)}</text>'
        for name, (left, below) in zip(names, corners)
    )
    return f'<svg viewBox="0 0 {width} {height}" font-size="{size:.2f}" aria-hidden="true">{"".join(texts)}</svg>'


def _letters(names: Iterable[str], W: int) -> float:
    """The size of letters at which the longest name is no wider than its picture, and none higher than its band."""
    return min(0.2 * W, W / max(1, *map(_length, names)))


def _length(name: str) -> float:
    """How long the name is, in letters as wide as their size."""
    return _font(100).getlength(name) / 100


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _row(x: Tensor, zoom: int = 3) -> Image.Image:
    """Pictures x (N, C, H, W) in [-1, 1] side by side."""
    N, _, H, W = x.shape
    row = Image.new("RGB", (N * (W * zoom + 4) - 4, H * zoom), PAPER)
    for i, picture in enumerate(_pixels(x)):
        row.paste(picture.resize((W * zoom, H * zoom), Image.Resampling.NEAREST), (i * (W * zoom + 4), 0))
    return row


def _pixels(x: Tensor) -> Iterator[Image.Image]:
    """Each of x (N, 1 or 3, H, W) in [-1, 1] as a picture in colour. Raises ValueError where there is NaN in it."""
    if x.isnan().any():
        raise ValueError("x must be finite to be drawn, got NaN in it: a smaller w or more steps may help")
    levels = ((x.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    return (Image.fromarray(picture) for picture in levels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy())


def _png(image: Image.Image, effort: int = 1) -> bytes:
    """The picture as a PNG; 9 is the most `effort` to make it small, for what is stored."""
    out = io.BytesIO()
    image.save(out, "png", compress_level=effort)
    return out.getvalue()


def _img(png: bytes, alt: str) -> str:
    """The picture as HTML; decoded at once, or it would blink as a slider moves."""
    return f'<img decoding="sync" alt="{html.escape(alt)}" src="data:image/png;base64,{pixels.text(png)}">'
