"""The prompt box: write a caption, see pictures of it, and what a detector finds in them.

Live, it is made of core ipywidgets (7.7 and 8) and samples anew. Where no kernel is, `prompt.js` offers the samples of a few
captions in the page itself, and where no script runs, all of them stand below each other.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
from torch import Tensor

from course_lib import validate
from course_lib.datasets import captions
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.nets.detector import SceneDetector
from course_lib.process import randn, seeded
from course_lib.samplers import sample
from course_lib.widgets import pixels
from course_lib.widgets.live import Live
from course_lib.widgets.page import Fragment, fragment, stylesheet

MANY = 4  # pictures of a caption
TIP = "Write a caption and press Enter; w is the guidance weight. Below each picture: what the detector finds in it."
PROMPTS = (
    "a red circle left of a blue square",
    "a small yellow star above a big green circle",
    "a large white triangle in the top left corner",
    "three pink stars",
)


@dataclass(frozen=True)
class PromptControls:
    """All that decides the pictures, except the model: the caption, w, the noise's seed."""

    caption: str = PROMPTS[0]
    w: float = 3.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class PromptModel:
    """What is sampled: a text-conditional network for pictures (3, 32, 32), a detector of what they show, DDIM steps."""

    network: Network
    evaluator: SceneDetector
    steps: int

    def __post_init__(self):
        validate.instance("network", self.network, Network)
        validate.has("evaluator", self.evaluator, "detect")
        validate.moves("steps", self.steps, self.network.process)

    def sample(self, state: PromptControls) -> Tensor:
        """Pictures (MANY, 3, 32, 32) from noise that depends on the seed alone. Raises ValueError for unknown words."""
        noise = randn(MANY, 3, 32, 32, rng=seeded(state.seed))
        return sample(classifier_free(self.network, state.caption, state.w), noise, self.steps)

    def render(self, state: PromptControls) -> str:
        """The samples as HTML, under each what the detector finds in it: the same state, the same text."""
        x = self.sample(state)
        found = captions.describe(self.evaluator.detect(x))
        return f'<div class="row">{"".join(map(_figure, x, found))}</div>'

    def page(self, prompts: Sequence[str]) -> Fragment:
        """The captions `prompts` with their pictures, to choose from without a kernel."""
        parts = [f"<section><h4>{html.escape(p)}</h4>{self.render(PromptControls(p))}</section>" for p in prompts]
        return fragment("prompt", {"prompts": list(prompts)}, "".join(parts))


class PromptBox(Live):
    """The widget. `caption`, `w` and `seed` are its controls, `box` is all of it; see `prompt_box`."""

    def __init__(self, studio: PromptModel, prompts: Sequence[str]):
        self.studio = studio
        style, layout = {"description_width": "5em"}, {"width": "98%"}
        first = PromptControls(prompts[0])
        options = {"continuous_update": False, "style": style, "layout": layout}
        self.caption = widgets.Text(first.caption, description="caption", **options)
        self.w = widgets.FloatSlider(first.w, min=0, max=8, step=0.5, description="w", **options)
        self.seed = widgets.IntSlider(first.seed, min=0, max=99, description="seed", **options)
        self.screen = widgets.HTML()
        css = widgets.HTML(f"<style>{stylesheet('prompt')}</style>")
        words = widgets.HTML(f'<p class="tip">{TIP} Its words: {", ".join(captions.WORDS[2:])}.</p>')
        self.reset = widgets.Button(description="Reset", layout={"width": "auto"})
        self.reset.add_class("reset")
        page = studio.page(prompts)  # bad input raises here, not in a callback
        super().__init__(widgets.VBox([css, self.caption, self.screen, self.w, self.seed, self.reset, words]), page)
        self.show()
        controls = {self.caption: first.caption, self.w: first.w, self.seed: first.seed}
        for control in controls:
            control.observe(self.show, "value")
        self.reset.on_click(lambda _: [setattr(control, "value", value) for control, value in controls.items()])

    def show(self, change=None) -> None:
        """Shows the samples, or the error in one line: nobody would see an error in a callback."""
        state = PromptControls(self.caption.value, self.w.value, self.seed.value)
        try:
            made = self.studio.render(state)
        except Exception as error:
            words = str(error).splitlines()[0]
            words = words if isinstance(error, ValueError) else f"{type(error).__name__}: {words}"
            self.screen.value = f'<p class="error" role="alert">{html.escape(words)}</p>'
        else:
            words = f"w = {state.w:.1f}, seed {state.seed}, {self.studio.steps} steps."
            self.screen.value = f'{made}<p role="status">{words}</p>'

    def __repr__(self):
        return f"PromptBox({self.studio.network})"


def prompt_box(network: Network, evaluator: SceneDetector, prompts: Sequence[str] = PROMPTS, steps: int = 20) -> PromptBox:
    """A box for a caption, sliders for guidance w (0 to 8) and the noise's seed, and the pictures that `network` makes of it.

    `evaluator` detects the objects of each picture, and their caption stands below. `prompts` are what a page without a kernel
    offers; the first stands in the box. `steps` are DDIM's (Song et al. 2021); guidance is that of Ho and Salimans 2022.
    Raises TypeError or ValueError where network and prompts do not fit; later, the box names unknown words.
    """
    return PromptBox(PromptModel(network, evaluator, steps), tuple(validate.filled("prompts", prompts, str)))


def _figure(x: Tensor, caption: str) -> str:
    png = pixels.png(pixels.shades(x[None], signed=False)[0])
    words = html.escape(caption, quote=True)
    return (
        f'<figure><img alt="{words}" src="data:image/png;base64,{pixels.text(png)}"><figcaption>{words}</figcaption></figure>'
    )
