"""The guidance slider: the same noise, the same network, and w under your hand.

Live, it is made of core ipywidgets (7.7 and 8) and samples anew at each move. Where no kernel is, `guidance.js` shows the
samples at WS in the page itself, and where no script runs, a picture shows them all.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib.denoisers import NULL, Network
from course_lib.guidance import ClassifierFree
from course_lib.samplers import ddim, result
from course_lib.widgets.page import HERE, Fragment, fragment

WS = (0, 0.5, 1, 1.5, 2, 3, 5, 8)  # what a page without a kernel can show
PRESETS = (0, 1, 3, 8)
MANY = 10  # samples, where one class is chosen
WIDTH, BAND, GAP = 880, 44, 12  # pixels: of a panel, of the words above a picture, between pictures
PAPER, INK = "#262626", "white"  # a dark panel holds its own on a dark page and on a light one


@dataclass(frozen=True)
class State:
    """All that decides the picture, but for the model: w, the noise's seed, the label (None: one of each)."""

    w: float = 3.0
    seed: int = 0
    label: int | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """What is sampled: a class-conditional network, one picture's shape (1 or 3, H, W), the labels to ask for, DDIM steps."""

    network: Network
    shape: tuple[int, ...]
    labels: tuple[int, ...]
    steps: int

    def __post_init__(self):
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            raise ValueError(f"shape must be that of a picture, (1 or 3, H, W), got {self.shape}")
        if not self.labels:
            raise ValueError("labels must name at least one label, got none")

    def wanted(self, state: State) -> list[int]:
        """The label that each sample is asked to be."""
        return list(self.labels) if state.label is None else [state.label] * MANY

    def sample(self, state: State) -> Tensor:
        """Pictures (N, *shape) from noise that depends on the seed alone: what differs at another w is guidance's doing."""
        wanted = self.wanted(state)
        rng = torch.Generator().manual_seed(state.seed)
        noise = torch.randn(max(MANY, len(self.labels)), *self.shape, generator=rng)[: len(wanted)]
        guided = ClassifierFree(self.network.given(wanted), self.network.given(NULL), state.w)
        device = next(self.network.net.parameters()).device
        return result(ddim(guided, noise.to(device), self.network.process.times(self.steps)))

    def panel(self, state: State, title: str = "") -> Image.Image:
        return _panel(self.sample(state), [str(label) for label in self.wanted(state)], title)

    def render(self, state: State) -> bytes:
        """The samples as a PNG: the same state, the same bytes."""
        return _png(self.panel(state))

    def alt(self, state: State) -> str:
        names = ", ".join(map(str, self.labels)) if state.label is None else f"all {state.label}"
        return f"Samples asked to be {names}"

    def page(self) -> Fragment:
        """A slider over WS that needs no kernel; without scripts, the picture of them all, two panels a row."""
        panels = [self.panel(State(w), f"w = {w:g}") for w in WS]
        width, height = panels[0].size
        sheet = Image.new(panels[0].mode, (2 * width, len(WS) // 2 * height))
        for i, panel in enumerate(panels):
            sheet.paste(panel, (i % 2 * width, i // 2 * height))
        alt = self.alt(State())
        data = {"ws": WS, "start": WS.index(3), "alt": alt, "caption": f"seed 0, {self.steps} steps"}
        return fragment("guidance", data, _img(_png(sheet), f"{alt}, from one noise, at w = {', '.join(map(str, WS))}"))


class GuidanceSlider:
    """The widget. `w`, `seed` and `label` are its controls, `box` is all of it; see `guidance_slider`."""

    def __init__(self, scene: Scene):
        self.scene = scene
        style, layout = {"description_width": "4em"}, {"width": "98%"}
        every = ("one of each", None) if len(scene.labels) > 1 else (f"only {scene.labels[0]}", None)
        self.w = widgets.FloatSlider(3, min=0, max=8, step=0.1, description="w", style=style, layout=layout)
        self.seed = widgets.IntSlider(0, min=0, max=99, description="seed", style=style, layout=layout)
        classes = [every, *((f"only {label}", label) for label in scene.labels)]
        self.label = widgets.Dropdown(options=classes, description="class", style=style)
        self.presets = [widgets.Button(description=f"w = {w:g}") for w in PRESETS]
        self.screen = widgets.HTML()
        css = widgets.HTML(f"<style>{(HERE / 'guidance.css').read_text(encoding='utf-8')}</style>")
        self.box = widgets.VBox([css, self.screen, self.w, self.seed, widgets.HBox([self.label, *self.presets])])
        self.box.add_class("course-widget")
        self.box.add_class("course-guidance")
        self.page = scene.page()  # bad input raises here, not in a callback
        self.show()
        for control in (self.w, self.seed, self.label):
            control.observe(self.show, "value")
        for button, w in zip(self.presets, PRESETS):
            button.on_click(lambda _, w=w: setattr(self.w, "value", w))

    def show(self, change=None) -> None:
        """Draws what the controls say, or says in one line why it cannot: an error in a callback would be seen by nobody."""
        state = State(self.w.value, self.seed.value, self.label.value)
        try:
            png = self.scene.render(state)
        except Exception as error:
            words = html.escape(f"{type(error).__name__}: {error}".splitlines()[0])
            self.screen.value = f'<p class="error" role="alert">{words}</p>'
        else:
            words = f"w = {state.w:.1f}, seed {state.seed}, {self.scene.steps} steps"
            self.screen.value = f'<p role="status">{words}</p>{_img(png, self.scene.alt(state))}'

    def __repr__(self):
        return f"GuidanceSlider({self.scene.network})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return {"text/plain": repr(self), "text/html": self.page.html, "application/vnd.jupyter.widget-view+json": view}


def guidance_slider(
    network: Network, shape: Sequence[int] = (1, 16, 16), labels: Sequence[int] = tuple(range(10)), steps: int = 20
) -> GuidanceSlider:
    """Sliders for guidance w (0 to 8) and the noise's seed, and the samples that a class-conditional network makes of them.

    `shape` is one picture's, (1 or 3, H, W), in [-1, 1]; `labels` are the classes that can be asked for, which `network.given`
    must know, as it must know NULL; `steps` are DDIM's (Song et al. 2021). Guidance is that of Ho and Salimans 2022.
    Raises TypeError or ValueError where shape, labels and network do not fit.
    """
    return GuidanceSlider(Scene(network, tuple(shape), tuple(labels), steps))


def _panel(x: Tensor, names: list[str], title: str = "") -> Image.Image:
    """Pictures x (N, C, H, W) in [-1, 1] in two rows, each under its name, all under the title."""
    N, C, H, W = x.shape
    columns = -(-N // 2)
    zoom = max(1, ((WIDTH - GAP) // columns - GAP) // W)
    wide, high, top = W * zoom + GAP, H * zoom + BAND, BAND + GAP if title else 0
    left = (WIDTH - columns * wide + GAP) // 2
    panel = Image.new("RGB", (WIDTH, top + -(-N // columns) * high + GAP), PAPER)
    pen = ImageDraw.Draw(panel)
    pen.text((WIDTH // 2, top // 2 + 4), title, INK, ImageFont.load_default(46), "mm")
    pixels = ((x.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    for i, picture in enumerate(pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()):
        at, y = left + i % columns * wide, top + i // columns * high
        pen.text((at + W * zoom // 2, y + BAND // 2), names[i], INK, ImageFont.load_default(34), "mm")
        panel.paste(Image.fromarray(picture).resize((W * zoom, H * zoom), Image.Resampling.NEAREST), (at, y + BAND))
    return panel.convert("L") if C == 1 else panel


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "png", compress_level=1)
    return out.getvalue()


def _img(png: bytes, alt: str) -> str:
    """The picture as HTML; decoded at once, or it would blink as a slider moves."""
    data = base64.b64encode(png).decode()
    return f'<img decoding="sync" alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
