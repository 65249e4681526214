"""The guidance explorer without a browser: what it draws, when it draws all of it, its message when it cannot."""

import base64
import io
import re
import time
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from course_lib.denoisers import NULL, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import Step, consistency, ddim, result
from course_lib.schedules import cosine_beta
from course_lib.widgets import guidance, live, sheets
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided_models import (
    FEW,
    MANY,
    SAMPLERS,
    WS,
    Controls,
    ExplorerModel,
    by_classifier,
    by_classifier_free,
    by_student,
)
from course_lib.widgets.tradeoff import Curve, TradeOff, measured
from course_lib.zoo import models

CURVE = TradeOff(
    {
        "classifier-free": Curve((0, 1, 8), (0.9, 0.8, 0.2), (0.7, 0.8, 0.95)),
        "classifier": Curve((0, 1, 8), (0.9, 0.7, 0.4), (0.7, 0.75, 0.8)),
    }
)


@pytest.fixture(scope="module")
def network():
    return models.load("digits")


@pytest.fixture
def scene(network):
    guides = {
        "classifier-free": by_classifier_free(network),
        "classifier": by_classifier(network, models.load("noisy_classifier")),
    }
    return ExplorerModel(guides, (1, 16, 16), tuple(range(10)), CURVE)


def picture(explorer) -> bytes:
    return base64.b64decode(re.search('base64,([^"]+)', explorer.screen.value)[1])


def came_back(explorer):
    """What a page does in a round trip: it sends the number back."""
    explorer.round_trip.pong.value = explorer.round_trip.ping.value


def at_rest(explorer, turns=200):
    """Sends back until nothing is under way; the number of turns that it took."""
    for k in range(turns):
        if explorer.round_trip.sent is None:
            return k
        came_back(explorer)
    raise AssertionError("it never comes to rest")


# What is drawn


def test_the_same_state_gives_the_same_bytes_and_each_part_of_it_counts(scene):
    start = Controls(steps=3)
    changes = [{}, {"w": 1.0}, {"seed": 1}, {"label": 3}, {"steps": 4}, {"eta": 0.5}]
    changes += [{"sampler": name} for name in SAMPLERS if name != start.sampler]
    assert scene.render(start) == scene.render(start)
    drawn = {scene.render(replace(start, **change)) for change in [*changes, {"model": "classifier"}]}
    assert len(drawn) == len(changes) + 1


def test_it_is_the_librarys_sampler(scene, network):
    noise = torch.randn(MANY, 1, 16, 16, generator=seeded(4))
    wanted = [i % 10 for i in range(MANY)]
    guided = ClassifierFree(network.given(wanted), network.given(NULL), 2.0)
    assert torch.equal(scene.sample(Controls(2.0, 4, steps=3)), result(ddim(guided, noise, network.process.times(3))))


def test_only_guidance_changes_what_the_noise_decides(scene):
    for model in scene.models:
        at = [scene.sample(Controls(w, steps=3, model=model)) for w in (0.0, 0.001, 8.0)]
        near, far = ((at[i] - at[0]).norm() for i in (1, 2))
        assert near < 0.01 * far


def test_w_0_ignores_the_labels_and_one_class_fills_the_panel(scene):
    each, threes = scene.sample(Controls(0.0, label=None, steps=3)), scene.sample(Controls(0.0, label=3, steps=3))
    assert torch.allclose(each, threes, atol=1e-5)  # the same noise, whatever the label
    for model in scene.models:
        full = scene.sample(Controls(3.0, label=3, model=model))
        assert len(full) == MANY and (models.load("classifier")(full).argmax(1) == 3).double().mean() >= 0.85


def test_any_function_of_labels_w_noise_steps_and_sampler_is_a_model():
    calls = []

    def student(labels, w, noise, steps, sampler):
        calls.append((labels, w, steps))
        yield Step(1000, noise)
        yield Step(0, noise.clamp(-1, 1))

    explorer = guidance_explorer({"student": student}, labels=(3, 5))
    explorer.w.value = 7.0
    assert calls[-1] == ([3, 5] * 8, 7.0, 20) and "w = 7.0" in explorer.screen.value


def test_a_quick_student_sketches_what_its_slow_model_will_draw(network):
    student = by_student(models.load("guided"))
    explorer = guidance_explorer(network, quick={"classifier-free": student})
    came_back(explorer)  # from now on there is a page
    explorer.w.value = 5.0
    assert "w = 5.0, seed 0, a student's sketch of 20 steps" in explorer.screen.value
    noise = torch.randn(MANY, 1, 16, 16, generator=seeded(0))
    (*_, last) = student([i % 10 for i in range(MANY)], 5.0, noise, 1, None)
    assert torch.equal(explorer.x, last.x)
    sketch = explorer.x
    time.sleep(guidance.REST)
    at_rest(explorer)
    assert "w = 5.0, seed 0, 20 steps" in explorer.screen.value
    near = lambda x, y: float((x - y).square().mean())
    assert near(sketch, explorer.x) < 0.5 * near(sketch.roll(1, 0), explorer.x)  # of the same noise, the same pictures


def test_a_model_of_latents_shows_its_pictures_under_captions():
    def model(labels, w, noise, steps, sampler):
        assert noise.shape == (MANY, 4, 8, 8)
        yield Step(0, noise[:, :3].repeat(1, 1, 4, 4).clamp(-1, 1))

    explorer = guidance_explorer({"it": model}, (4, 8, 8), ("a star", "a very long caption, longer than its picture"))
    explorer.label.value = "a star"
    assert explorer.scene.labels_of(explorer.state) == ["a star"] * MANY and explorer.x.shape == (MANY, 3, 32, 32)


@pytest.mark.parametrize("channels, H, W", [(1, 16, 16), (3, 32, 32), (1, 4, 4), (1, 20, 28), (3, 200, 200)])
def test_each_name_stands_above_its_own_picture_and_is_no_wider(channels, H, W):
    """On the live screen, and in the picture for a page without scripts, which is the same sheet enlarged."""
    tones = range(80, 80 + 10 * MANY, 10)
    x = (torch.tensor(tones) / 127.5 - 1).reshape(-1, 1, 1, 1).expand(-1, channels, H, W)
    names = (*map(str, range(MANY - 2)), "a <b> & c", "a name that is very much longer than its picture")
    sheet, panel = sheets.sheet(x), sheets.panel(x, names, "w = 3")
    words = ElementTree.fromstring(sheets.labels(names, H, W))
    assert sheet.size == tuple(map(int, words.get("viewBox").split()[2:]))
    assert sheet.mode == panel.mode == ("L" if channels == 1 else "RGB")
    assert [text.text for text in words] == list(names)
    zoom = panel.width // sheet.width
    title = panel.height - zoom * sheet.height
    assert panel.width == sheets.WIDTH or W not in (16, 32)
    for tone, text in zip(tones, words):
        middle, length = float(text.get("x")), float(text.get("textLength"))
        top = round(float(text.get("y")) + W / 8)  # the first row of its picture
        assert length <= W + 0.01 and W / 2 <= middle <= sheet.width - W / 2
        for image, k, above in (sheet, 1, 0), (panel, zoom, title):
            column = np.asarray(image.convert("L"))[:, int(k * middle)]
            assert (column[above + k * top : above + k * (top + H)] == tone).all() and column[above + k * top - 1] != tone
    only = lambda i, name: sheets.panel(x, [name if j == i else "" for j in range(MANY)], "")
    for i, (left, top) in enumerate(sheets._layout(MANY, H, W)[1]):
        x0, y0, x1, y1 = ImageChops.difference(only(i, "mm"), only(i, "")).getbbox()
        assert zoom * left <= x0 < x1 <= zoom * (left + W) and title + zoom * (top - W / 4) <= y0 < y1 <= title + zoom * top


def test_a_student_of_latents_is_decoded():
    jumper, noise = models.load("latent_student"), torch.randn(2, 4, 8, 8, generator=seeded(0))
    walk = by_student(jumper, lambda z: z[:, :3].sign())(["a red star", "a blue square"], 3.0, noise, 2, None)
    *_, last = consistency(
        jumper.given(["a red star", "a blue square"]).at(3.0),
        noise,
        jumper.process.times(2),
        seeded(0),
    )
    shown = [step.x for step in walk]
    assert len(shown) == 3 and torch.equal(shown[-1], last.x[:, :3].sign())


def test_a_quick_model_must_have_the_name_of_a_slow_one(network):
    with pytest.raises(ValueError, match="the name of a quick model must be .*classifier-free.*got 'student'"):
        guidance_explorer(network, quick={"student": by_student(models.load("guided"))})


# When it is drawn


def test_without_a_page_that_answers_each_move_draws_all_of_it(network):
    explorer = guidance_explorer(network, steps=12)
    seen = [picture(explorer)]
    for control, value in (
        (explorer.w, 5.0),
        (explorer.seed, 7),
        (explorer.label, 4),
        (explorer.steps, 10),
        (explorer.eta, 1.0),
    ):
        control.value = value
        assert picture(explorer) == explorer.scene.render(explorer.state)
        seen.append(picture(explorer))
    explorer.presets[0].click()
    assert explorer.w.value == 0 and "w = 0.0, seed 7, 10 steps" in explorer.screen.value
    explorer.sampler.value = "DDPM"
    assert explorer.eta.disabled
    assert len(set(seen)) == len(seen)


def test_what_is_whole_at_once_asks_the_page_for_no_turn(network):
    explorer = guidance_explorer(network, steps=FEW)
    came_back(explorer)  # from now on there is a page
    sent = explorer.round_trip.ping.value
    explorer.w.value = 5.0
    assert picture(explorer) == explorer.scene.render(explorer.state) and explorer.round_trip.ping.value == sent
    explorer.steps.value = FEW + 1
    assert explorer.round_trip.ping.value == sent + 1


def test_while_it_moves_it_draws_few_steps_and_at_rest_all(network):
    explorer = guidance_explorer(network, steps=12)
    came_back(explorer)  # from now on there is a page
    for w in (4.0, 5.0, 6.0):
        explorer.w.value = w
        assert f"w = {w}, seed 0, {FEW} of 12 steps" in explorer.screen.value
        assert picture(explorer) == explorer.scene.render(replace(explorer.state, steps=FEW))
        came_back(explorer)
        assert f"{FEW} of 12" in explorer.screen.value  # too soon
    time.sleep(guidance.REST)
    assert at_rest(explorer) >= 1
    assert "w = 6.0, seed 0, 12 steps" in explorer.screen.value
    assert picture(explorer) == explorer.scene.render(explorer.state)
    for w in (7.0, 6.0):  # away, and back to where it was at rest
        explorer.w.value = w
    time.sleep(guidance.REST)
    at_rest(explorer)
    assert picture(explorer) == explorer.scene.render(explorer.state)


def test_long_work_is_done_in_turns_shows_a_bar_and_gives_way(network, monkeypatch):
    monkeypatch.setattr(guidance, "REST", 0.0)
    monkeypatch.setattr(guidance, "TURN", 0.0)  # a turn is a step
    explorer = guidance_explorer(network, steps=8)
    came_back(explorer)
    explorer.w.value = 1.0
    explorer.changed_at -= 1  # a second ago
    for _ in range(4):
        came_back(explorer)
    assert explorer.bar.layout.visibility == "visible" and (explorer.bar.value, explorer.bar.max) == (4, 8)
    explorer.w.value = 2.0  # a newer change
    assert explorer.job is None and "w = 2.0" in explorer.screen.value
    assert at_rest(explorer) >= 8
    assert picture(explorer) == explorer.scene.render(replace(explorer.state, w=2.0)) and "8 steps" in explorer.screen.value
    assert explorer.bar.layout.visibility == "hidden"


def test_a_page_that_went_away_is_noticed(network, monkeypatch):
    monkeypatch.setattr("course_lib.widgets.round_trip.LOST", 0.05)
    explorer = guidance_explorer(network, steps=8)
    came_back(explorer)
    explorer.w.value = 1.0
    assert f"{FEW} of 8" in explorer.screen.value
    time.sleep(0.06)
    explorer.w.value = 2.0
    assert "w = 2.0, seed 0, 8 steps" in explorer.screen.value


# Beside it


def test_the_mark_moves_with_w_and_with_the_model(scene, network):
    explorer = guidance_explorer(scene.models, curve=CURVE, steps=2)
    place = lambda: re.search('class="mark" cx="([^"]+)" cy="([^"]+)"', explorer.curve.value).groups()
    seen = [place()]
    for control, value in ((explorer.w, 4.5), (explorer.model, "classifier"), (explorer.w, 0.0)):
        control.value = value
        seen.append(place())
    assert len(set(seen)) == 4 and seen[1] == tuple(map(str, CURVE.mark("classifier-free", 4.5)))
    recall, precision = CURVE.curves["classifier-free"].at(4.5)
    assert (recall, precision) == pytest.approx((0.5, 0.875))
    assert CURVE.mark("a student", 1.0) is None and 'class="mark"' not in CURVE.svg("a student", 1.0)


def test_the_shipped_curve_is_what_was_measured():
    found = measured()
    assert list(found.curves) == ["classifier-free", "classifier"]
    for curve in found.curves.values():
        assert curve.w == WS and curve.at(0) == (curve.recall[0], curve.precision[0])
        assert curve.at(8)[0] < curve.at(1)[0] - 0.03 and curve.at(3)[1] > curve.at(1)[1] + 0.03  # recall falls


def test_a_frozen_row_stays_while_the_pictures_change(network):
    explorer = guidance_explorer(network, steps=2)
    explorer.freeze.click()
    first = explorer.rows.value
    explorer.w.value = 8.0
    assert explorer.rows.value == first and "w = 3.0, seed 0, DDIM, 2 steps" in first and first.count("<img") == 1
    for seed in range(1, 6):
        explorer.seed.value = seed
        explorer.freeze.click()
    assert explorer.rows.value.count("<img") == guidance.KEPT and "seed 5" in explorer.rows.value.split("<img")[0]
    explorer.clear.click()
    assert explorer.rows.value == ""


# What goes wrong


def test_an_error_is_said_in_one_line_and_goes_when_its_cause_goes(network):
    fails = False

    def model(labels, w, noise, steps, sampler):
        yield Step(1, noise)
        if fails:
            raise RuntimeError("out of <memory>\nat line 3")
        yield Step(0, noise)

    explorer = guidance_explorer({"it": model}, steps=8)
    for _ in (False, True):
        fails = True
        explorer.w.value = 1.0
        assert explorer.screen.value == '<p class="error" role="alert">RuntimeError: out of &lt;memory&gt;</p>'
        time.sleep(guidance.REST)
        at_rest(explorer)
        assert "error" in explorer.screen.value
        fails = False
        explorer.w.value = 2.0
        assert "w = 2.0" in explorer.screen.value and "<img" in explorer.screen.value


def test_what_is_not_finite_is_said(network):
    explorer = guidance_explorer(
        {"it": lambda labels, w, noise, steps, sampler: [Step(0, noise * (float("nan") if w == 5.5 else 1))]}
    )
    explorer.w.value = 5.5
    assert "x must be finite to be drawn" in explorer.screen.value


def test_the_page_for_those_without_a_kernel(scene):
    html = scene.page(2).html
    assert html == scene.page(2).html and len(html) < 1.5e6
    alt = "Samples conditioned on 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, from one noise, at w = 0, 0.5, 1, 1.5, 2, 3, 5, 8"
    assert f'alt="{alt}"' in html and not re.search(r"(?:src|href)=\"https?:", html)
    sheet = Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', html)[1])))
    assert sheet.width == 2 * sheets.WIDTH and sheet.height % (len(WS) // 2) == 0
    assert '<svg class="tradeoff"' in html and '"marks":[[' in html


def test_the_notebook_gets_the_widget_and_the_page(network, monkeypatch):
    explorer = guidance_explorer(network, steps=2)
    shown = []
    monkeypatch.setattr(live, "display", lambda data, metadata=None, raw=False: shown.append((data, metadata)))
    explorer._ipython_display_()
    (view, _), (bundle, about) = shown  # two outputs: the widget, and what is left of it when its kernel is gone
    assert list(view) == [live.VIEW] and view[live.VIEW]["model_id"] == explorer.box.model_id
    assert bundle["image/png"] and "at w = 0, 0.5" in about["image/png"]["alt"]
    assert bundle["text/html"].endswith(explorer.page.html) and bundle["text/plain"] == "GuidanceExplorer(classifier-free)"
    assert '"marks":null' in explorer.page.html and explorer.curve.value == ""
    explorer.w.value, explorer.label.value = 5, 3
    explorer.reset.click()
    assert explorer.state == Controls(steps=2, model="classifier-free")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"shape": (16, 16)}, r"shape must be that of one picture or latent, \(C, H, W\), got \(16, 16\)"),
        ({"shape": (1, 8, 8)}, r"x must be \(B, 1, 16, 16\), got shape"),
        ({"labels": ()}, "labels must hold at least one value, got none"),
        ({"labels": (3, 12)}, r"label must lie in 0..9"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"models": {}}, "models must hold at least one model, got none"),
    ],
)
def test_what_does_not_fit_raises_at_once(network, options, words):
    with pytest.raises(ValueError, match=words):
        guidance_explorer(**{"models": network, "steps": 2} | options)


def test_a_network_without_classes_is_refused():
    process = DDPM(cosine_beta(100))
    for net in (MLP(), UNet(classes=0)):
        with pytest.raises(TypeError, match="takes no condition"):
            guidance_explorer(Network(net, process, "v"), steps=2)
