"""The guidance slider without a browser: what it draws, that it draws anew, what it says when it cannot."""

import base64
import io
import re

import pytest
import torch
from PIL import Image

from course_lib import models
from course_lib.denoisers import Network
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta
from course_lib.widgets.guidance import MANY, WS, Scene, State, guidance_slider


@pytest.fixture(scope="module")
def network():
    return models.load("digits")


@pytest.fixture
def scene(network):
    return Scene(network, (1, 16, 16), tuple(range(10)), 3)


def picture(slider) -> bytes:
    return base64.b64decode(re.search('base64,([^"]+)', slider.screen.value)[1])


def test_the_same_state_gives_the_same_bytes_and_each_part_of_it_counts(scene):
    assert scene.render(State()) == scene.render(State())
    assert len({scene.render(s) for s in (State(), State(w=1), State(seed=1), State(label=3))}) == 4


def test_only_guidance_changes_what_the_noise_decides(scene):
    at = [scene.sample(State(w)) for w in (0.0, 0.001, 8.0)]
    near, far = ((at[i] - at[0]).norm() for i in (1, 2))
    assert near < 0.01 * far


def test_w_0_asks_for_nothing_and_one_class_fills_the_panel(scene, network):
    each, threes = scene.sample(State(0.0, label=None)), scene.sample(State(0.0, label=3))
    assert torch.allclose(each, threes, atol=1e-5)  # the same noise, whatever is asked for
    full = Scene(network, (1, 16, 16), tuple(range(10)), 20).sample(State(3.0, label=3))
    assert len(full) == MANY and (models.load("classifier")(full).argmax(1) == 3).double().mean() >= 0.9


def test_moving_a_control_draws_anew(network):
    slider = guidance_slider(network, steps=2)
    seen = [picture(slider)]
    for control, value in ((slider.w, 5.0), (slider.seed, 7), (slider.label, 4)):
        control.value = value
        seen.append(picture(slider))
    slider.presets[0].click()
    assert slider.w.value == 0 and "w = 0.0, seed 7, 2 steps" in slider.screen.value
    seen.append(picture(slider))
    assert len(set(seen)) == len(seen) and Image.open(io.BytesIO(seen[0])).width == 880
    assert seen[0] == slider.scene.render(State())


def test_an_error_is_said_in_one_line_and_goes_when_its_cause_goes(network, monkeypatch):
    slider = guidance_slider(network, steps=2)

    def failing(self, state):
        raise RuntimeError("out of <memory>\nat line 3")

    with monkeypatch.context() as patch:
        patch.setattr(Scene, "render", failing)
        slider.w.value = 1.0
        assert slider.screen.value == '<p class="error" role="alert">RuntimeError: out of &lt;memory&gt;</p>'
    slider.w.value = 2.0
    assert "w = 2.0" in slider.screen.value and "<img" in slider.screen.value


def test_the_page_for_those_without_a_kernel(scene):
    html = scene.page().html
    assert html == scene.page().html and len(html) < 1.5e6
    alt = "Samples asked to be 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, from one noise, at w = 0, 0.5, 1, 1.5, 2, 3, 5, 8"
    assert f'alt="{alt}"' in html and not re.search(r"(?:src|href)=\"https?:", html)
    sheet = Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', html)[1])))
    assert sheet.width == 2 * 880 and sheet.height % (len(WS) // 2) == 0


def test_the_notebook_gets_the_widget_and_the_page(network):
    slider = guidance_slider(network, steps=2)
    bundle = slider._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == slider.box.model_id
    assert bundle["text/html"] == slider.page.html and "GuidanceSlider(Network(UNet" in bundle["text/plain"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"shape": (16, 16)}, r"shape must be that of a picture, \(1 or 3, H, W\), got \(16, 16\)"),
        ({"shape": (1, 8, 8)}, r"x must be \(B, 1, 16, 16\), got shape"),
        ({"labels": ()}, "labels must name at least one label, got none"),
        ({"labels": (3, 12)}, r"label must lie in 0..9"),
        ({"steps": 0}, "n must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_raises_at_once(network, options, words):
    with pytest.raises(ValueError, match=words):
        guidance_slider(network, **{"steps": 2} | options)


def test_a_network_without_classes_is_refused():
    process = DDPM(cosine_beta(100))
    for net in (MLP(), UNet(classes=0)):
        with pytest.raises(TypeError, match="takes no condition"):
            guidance_slider(Network(net, process, "v"), steps=2)
