"""Widgets on small screens: pictures and slider together, and a layout by the widget's own width, not the window's."""

import pytest
import torch

from course_lib.datasets import points
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import Step, ddim
from course_lib.schedules import cosine_beta
from course_lib.widgets.dial import dial
from course_lib.widgets.draw import draw
from course_lib.widgets.explorer import explore
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided import guided_plane
from course_lib.widgets.paths import paths
from course_lib.widgets.player import play

PROCESS = DDPM(cosine_beta(1000))


def film(network, n, steps=3):
    return list(ddim(network, torch.randn(n, 1, 16, 16, generator=seeded(0)), PROCESS.times(steps)))


def noise(labels, w, x, steps, sampler):
    yield Step(0, x.clamp(-1, 1))


@pytest.fixture(scope="module")
def widgets():
    torch.manual_seed(0)
    network = Network(UNet(size=16, widths=(8, 16, 32), classes=0), PROCESS, "v")
    pictures = [torch.zeros(9, 1, 8, 8)] * 3
    return {
        "player": play(film(network, 16)),
        "guidance": guidance_explorer({"it": noise}).page,
        "guided": guided_plane(points.ring(3), PROCESS, 10),
        "explorer": explore(network, film(network, 1)),
        "paths": paths(ExactDenoiser(points.ring(), PROCESS)),
        "draw": draw(),
        "dial": dial("t₀", [0, 1, 2], {"guide": pictures, "edit": pictures}, {"realism": [0.1, 0.4, 0.6]}),
    }


KINDS = ("player", "guidance", "guided", "explorer", "paths", "draw", "dial")
TOGETHER = """root => {
    const boxes = [...root.querySelectorAll("canvas, input[type=range]")].map((e) => e.getBoundingClientRect());
    return Math.max(...boxes.map((b) => b.bottom)) - Math.min(...boxes.map((b) => b.top)) }"""

SIZES = "root => [...root.querySelectorAll('canvas, input, figcaption')].map((e) => [e.clientWidth, e.clientHeight])"


@pytest.mark.parametrize("wide", [1300, 564])
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_and_slider_stand_together_on_a_small_laptop(kind, wide, widgets, open_page, tmp_path):
    """In all of its window, and in the output of a notebook's cell in a window of 700 pixels, as in a split view."""
    page = open_page(widgets[kind].save(tmp_path / "widget.html"), viewport={"width": 1366, "height": 768})
    page.add_style_tag(content=f"body {{ max-width: {wide}px; margin: 0; padding: 0 }}")
    page.wait_for_timeout(100)
    root = page.locator(f".course-{kind}")
    root.locator("input[type=range]").first.wait_for()
    assert 200 < root.evaluate(TOGETHER) <= 650
    assert page.errors == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_narrow_place_in_a_wide_window_is_as_a_narrow_window(kind, widgets, open_page, tmp_path):
    """As in a notebook's split view."""
    path, shapes = widgets[kind].save(tmp_path / "widget.html"), []
    for window in (390, 1366):
        page = open_page(path, viewport={"width": window, "height": 768})
        page.add_style_tag(content="body { width: 358px; margin: 0; padding: 0 }")
        page.locator(f".course-{kind} input[type=range]").first.wait_for()
        page.wait_for_timeout(100)
        shapes.append(page.locator(f".course-{kind}").evaluate(SIZES))
    assert shapes[0] == shapes[1]
