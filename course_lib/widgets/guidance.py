"""The guidance explorer: the same noise, with w, the steps, the sampler and the model under sliders.

Live, it is made of core ipywidgets (7.7 and 8). While a slider moves it samples in few steps, or by a quick student, and at
rest in all steps (round_trip.py). Where no kernel is, `guidance.js` shows the samples at WS in the page itself; where no script
runs, one picture shows them all.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator, Sequence

import ipywidgets as widgets
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Network
from course_lib.samplers import Step
from course_lib.widgets import sheets
from course_lib.widgets.guided_models import FEW, PRESETS, SAMPLERS, Controls, ExplorerModel, Label, Model, by_classifier_free
from course_lib.widgets.live import Live
from course_lib.widgets.page import stylesheet
from course_lib.widgets.round_trip import RoundTrip
from course_lib.widgets.tradeoff import TradeOff

KEPT = 4  # frozen rows at most
EACH = -1  # the value of "one of each" in the choice of class: a Dropdown shows None as nothing at all
TIP = (
    "Drag w, the guidance weight: 0 is without guidance. The seed decides the noise, which stays the same while w moves; eta "
    "is the noise that DDIM adds. Freeze a row to compare with."
)
RING = " Ring: this w on the curve."
REST, TURN = 0.12, 0.08  # seconds: without a change until the full answer begins; of work before the page has its turn


class GuidanceExplorer(Live):
    """The widget. `box` is all of it, and each control is an attribute; see `guidance_explorer`."""

    def __init__(self, scene: ExplorerModel, steps: int):
        self.scene, page = scene, scene.page(steps)  # bad input raises here, not in a callback
        style, layout = {"description_width": "4.5em"}, {"width": "98%"}
        slider = lambda kind, value, name, **span: kind(value, description=name, style=style, layout=layout, **span)
        choice = lambda options, name: widgets.Dropdown(options=options, description=name, style=style)
        every = ("one of each", EACH) if len(scene.labels) > 1 else (f"only {scene.labels[0]}", EACH)
        self.w = slider(widgets.FloatSlider, 3, "w", min=0, max=8, step=0.1, readout_format=".1f")
        self.steps = slider(widgets.IntSlider, steps, "steps", min=1, max=max(100, steps))
        self.eta = slider(widgets.FloatSlider, 0, "eta", min=0, max=1, step=0.1, readout_format=".1f")
        self.seed = slider(widgets.IntSlider, 0, "seed", min=0, max=99)
        self.label = choice([every, *((f"only {label}", label) for label in scene.labels)], "class")
        self.sampler, self.model = choice(list(SAMPLERS), "sampler"), choice(list(scene.models), "model")
        self.presets = [widgets.Button(description=f"w = {w:g}", layout={"width": "auto"}) for w in PRESETS]
        words = ("freeze a row", "clear rows", "reset")
        self.freeze, self.clear, self.reset = (widgets.Button(description=word, layout={"width": "auto"}) for word in words)
        self.bar = widgets.IntProgress(layout={"width": "98%", "height": "20px", "visibility": "hidden"})
        self.screen, self.curve, self.rows = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.kept: list[str] = []
        self.job: Iterator[Step] | None = None  # the full answer that is being sampled
        self.shown: Controls | None = None  # the state that is shown in full
        self.changed_at, self.done = 0.0, 0  # seconds; steps of the job
        self.round_trip = RoundTrip(self._turn)
        css = widgets.HTML(f"<style>{stylesheet('guidance')}</style>")
        choices = [self.label, self.sampler, *[self.model] * (len(scene.models) > 1)]
        buttons = widgets.HBox([*self.presets, self.freeze, self.clear, self.reset])
        tip = widgets.HTML(f'<p class="tip">{TIP}{RING if scene.curve else ""}</p>')
        sliders = [self.w, buttons, self.steps, self.eta, self.seed, widgets.HBox(choices), tip]
        stage, self.beside = widgets.VBox([self.screen, self.bar, *sliders]), widgets.VBox([self.curve, self.rows])
        both = widgets.HBox([stage, self.beside])
        whole = widgets.VBox([css, both, self.round_trip.box])
        for name, part in {"both": both, "stage": stage, "buttons": buttons, "beside": self.beside}.items():
            part.add_class(name)
        super().__init__(whole, page)
        self._show_beside()
        self.show()
        controls = (self.w, self.seed, self.label, self.steps, self.eta, self.sampler, self.model)
        first = [control.value for control in controls]
        for control in controls:
            control.observe(self.show, "value")
        self.reset.on_click(lambda _: [setattr(control, "value", value) for control, value in zip(controls, first)])
        for button, w in zip(self.presets, PRESETS):
            button.on_click(lambda _, w=w: setattr(self.w, "value", w))
        self.freeze.on_click(self._keep)
        self.clear.on_click(self._keep)

    @property
    def state(self) -> Controls:
        """The state of the controls."""
        named = {name: getattr(self, name).value for name in ("w", "seed", "label", "steps", "eta", "sampler", "model")}
        return Controls(**named | ({"label": None} if named["label"] == EACH else {}))

    def show(self, change=None) -> None:
        """Samples for the controls: in few steps at once and in all steps at rest, or in all at once where no page answers."""
        self.job, self.changed_at = None, time.monotonic()
        self.eta.disabled = self.sampler.value != "DDIM"
        state = self.state
        if self.scene.curve:
            self.curve.value = self.scene.curve.svg(state.model, state.w)
        full = state.steps <= FEW or not self.round_trip.alive
        self._display(state, lambda: self.scene.sample(state, sketch=not full), full)
        if (
            self.shown != state or not self.round_trip.alive
        ):  # the full answer follows, or it is not yet known whether a page answers
            self.round_trip.send()

    def _turn(self) -> None:
        """One turn of work on the full answer, once no control has changed for REST seconds; then the page has its turn."""
        state, begun = self.state, time.monotonic()
        if self.shown == state:
            return
        if begun - self.changed_at < REST:
            time.sleep(0.01)  # or the round trips would take all of the processor
            return self.round_trip.send()
        try:
            if self.job is None:
                self.job, self.done = iter(self.scene.film(state)), 0
            for step in self.job:
                self.x, self.done = step.x, self.done + 1
                if time.monotonic() - begun > TURN and self.done <= state.steps:
                    self.bar.max, self.bar.value = state.steps, self.done
                    self.bar.layout.visibility = "visible" if begun - self.changed_at > 0.5 else "hidden"
                    return self.round_trip.send()
        except Exception as error:
            return self._fail(state, error)
        self._display(state, lambda: self.x, True)

    def _display(self, state: Controls, sample: Callable[[], Tensor], full: bool) -> None:
        """Shows the samples, or the error in one line: nobody would see an error in a callback."""
        try:
            self.x = sample()
            sheet = sheets.img(sheets.png(sheets.sheet(self.x)), self.scene.alt(state))
        except Exception as error:
            return self._fail(state, error)
        self.shown = state if full else None
        if full:
            self.bar.layout.visibility = "hidden"
        few = "a student's sketch of" if state.model in self.scene.quick else f"{FEW} of"
        words = f"w = {state.w:.1f}, seed {state.seed}, {'' if full else f'{few} '}{state.pace}"
        names = sheets.labels(self.scene.names(state), *self.x.shape[2:])
        self.screen.value = f'<p role="status">{words}</p><div class="panel">{sheet}{names}</div>'

    def _fail(self, state: Controls, error: Exception) -> None:
        self.job, self.shown, self.bar.layout.visibility = None, state, "hidden"
        words = html.escape(f"{type(error).__name__}: {error}".splitlines()[0])
        self.screen.value = f'<p class="error" role="alert">{words}</p>'

    def _keep(self, button) -> None:
        """Freezes the samples that are shown as a row to compare with, the newest first, or clears all rows."""
        if button is self.clear:
            self.kept = []
        else:
            s = self.state
            name = f"{s.model}, " if len(self.scene.models) > 1 else ""
            words = f"{name}w = {s.w:.1f}, seed {s.seed}, {s.sampler}, {s.pace}, eta = {s.eta:.1f}"
            row = f"<p>{html.escape(words)}</p>{sheets.img(sheets.png(sheets.frozen(self.x)), f'{self.scene.alt(s)}, {words}')}"
            self.kept = [row, *self.kept][:KEPT]
        self.rows.value = "".join(self.kept)
        self._show_beside()

    def _show_beside(self) -> None:
        """Keeps room for curve and frozen rows where there are any; an empty part would have its height."""
        curve, kept = self.scene.curve, self.kept
        for part, used in ((self.curve, curve), (self.rows, kept), (self.beside, curve or kept)):
            part.layout.display = None if used else "none"

    def __repr__(self):
        return f"GuidanceExplorer({', '.join(self.scene.models)})"


def guidance_explorer(
    models: Network | dict[str, Model],
    shape: Sequence[int] = (1, 16, 16),
    labels: Sequence[Label] = tuple(range(10)),
    steps: int = 20,
    curve: TradeOff | None = None,
    quick: dict[str, Model] | None = None,
) -> GuidanceExplorer:
    """Sliders for w (0 to 8), steps, eta and the noise's seed, choices of class, sampler and model, and the samples they make.

    `models` are Models by name (guided_models.py), or a class-conditional network that was trained with NULL, which is then
    under classifier-free guidance. `shape` is that of one picture's noise, (C, H, W); `labels` are the classes or captions to
    condition on. With a `curve` (tradeoff.py) whose guides have the models' names, fidelity against diversity is plotted beside
    the samples. `quick` are Models of the same names, which sketch in one step while a slider moves; without one, a model
    sketches in a few steps itself. Raises TypeError or ValueError where shape, labels and models do not fit.
    """
    validate.at_least("steps", steps, 1)
    if not isinstance(models, dict):
        models = {"classifier-free": by_classifier_free(validate.instance("models", models, Network))}
    shape, labels = (tuple(validate.instance(name, v, Sequence)) for name, v in (("shape", shape), ("labels", labels)))
    return GuidanceExplorer(ExplorerModel(models, shape, labels, curve, {} if quick is None else quick), steps)
