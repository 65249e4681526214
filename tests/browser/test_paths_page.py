"""Dragging x_T as a reader does, from disk with the network off; and that the page's own mathematics is the library's."""

import pytest
import torch

from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.samplers import ddim, result
from course_lib.widgets.paths import REACH, langevin_rule, paths
from course_lib.zoo import models

ROOT = ".course-paths"
LEVELS = torch.tensor([1000, 500, 200, 80, 20, 0])


@pytest.fixture(scope="module")
def network():
    return models.load("ring")


@pytest.fixture(scope="module")
def exact(network):
    return ExactDenoiser(ring(), network.process)


@pytest.fixture(scope="module")
def fragment(exact, network):
    return paths(exact, network, LEVELS)


@pytest.fixture
def opened(open_page, fragment, tmp_path, request):
    page = open_page(fragment.save(tmp_path / "paths.html"), **getattr(request, "param", {}))
    page.wait_for_selector(f"{ROOT}[data-share]")
    return page


def pictures(page):
    return page.evaluate(f"[...document.querySelectorAll('{ROOT} .panels canvas')].map((canvas) => canvas.toDataURL())")


def settled(page, name, value):
    page.wait_for_function(f"([name, value]) => document.querySelector('{ROOT}').dataset[name] === value", arg=[name, value])


@pytest.mark.parametrize(
    "opened", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 2000}}], indirect=True, ids=str
)
def test_x_T_is_dragged_in_one_panel_and_moves_in_all(opened):
    page = opened
    before = pictures(page)
    box = page.locator(f"{ROOT} .panels canvas").nth(1).bounding_box()
    at = lambda x, y: (box["x"] + (1 + x / REACH) / 2 * box["width"], box["y"] + (1 - y / REACH) / 2 * box["height"])
    page.mouse.move(*at(1.0, 1.0))
    page.mouse.down()
    page.mouse.move(*at(-1.1, 0.55), steps=6)
    page.mouse.up()
    page.mouse.move(*at(0, 0))  # no longer dragged
    page.wait_for_function(f"Math.abs(document.querySelector('{ROOT}').dataset.x - -1.1) < 0.02")
    assert all(a != b for a, b in zip(before, pictures(page)))
    x = float(page.locator(ROOT).get_attribute("data-x"))
    page.keyboard.press("ArrowRight")  # the panel that was clicked has the keys
    settled(page, "x", f"{x + 0.05:.3f}")

    seen = [pictures(page)]
    for act in (
        lambda: page.get_by_label("How far along the path").press("Home"),
        lambda: page.get_by_label("arrows", exact=True).click(),
        lambda: page.get_by_label("learned network").click(),
    ):
        act()
        page.wait_for_function(
            f"before => document.querySelector('{ROOT} .panels canvas').toDataURL() !== before", arg=seen[-1][0]
        )
        seen.append(pictures(page))
    page.get_by_role("button", name="Play").click()
    settled(page, "share", "1.00")
    assert not page.errors and page.evaluate("document.documentElement.scrollWidth <= innerWidth")


PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("opened", [PHONE], indirect=True, ids=["phone"])
def test_a_finger_on_the_ring_drags_it_and_anywhere_else_it_scrolls(opened):
    page = opened
    cdp = page.context.new_cdp_session(page)
    first = lambda: page.locator(f"{ROOT} .panels canvas").first.bounding_box()
    where = lambda: [float(page.locator(ROOT).get_attribute(f"data-{axis}")) for axis in "xy"]

    def swipe(x, y, dx, dy):
        touch = lambda kind, *at: cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [*at]})
        touch("touchStart", {"x": x, "y": y})
        for i in range(1, 9):
            touch("touchMove", {"x": x + dx * i / 8, "y": y + dy * i / 8})
        touch("touchEnd")

    box, (x, y) = first(), where()
    on = lambda x, y: (box["x"] + (1 + x / REACH) / 2 * box["width"], box["y"] + (1 - y / REACH) / 2 * box["height"])
    swipe(*on(x, y), -40, 80)
    page.wait_for_function(f"x => document.querySelector('{ROOT}').dataset.x < x - 0.2", arg=x)
    moved = where()
    assert moved[1] < y - 0.5 and page.evaluate("scrollY") == 0
    swipe(*on(-1.8, -1.8), 0, -200)
    page.wait_for_function("scrollY > 100")
    assert where() == moved and not page.errors


def test_ddim_ends_near_one_place_and_ddpm_everywhere(opened):
    captions = opened.locator(f"{ROOT} figcaption span").all_inner_texts()
    modes = [int(words.split("ends in ")[1].split()[0]) for words in captions]
    assert modes[0] == 8 and modes[1] <= 2 and modes[2] == 8


def test_the_page_computes_what_the_library_computes(opened, exact, network):
    """DDIM and Langevin from the page's own start and noise, for all points, and the network's path for the first."""
    code = f"""() => {{
        const {{ samplers, trajectories }} = document.querySelector('{ROOT}').paths;
        const learned = (s) => trajectories(s, s.net, s.x.slice(0, 2), s.noise.map(() => 0));
        return samplers.map((s) => ({{ x: [...s.x], noise: [...s.noise], learned: [...learned(s)] }}));
    }}"""
    _, smooth, shaken = opened.evaluate(code)
    x = torch.tensor(smooth["x"], dtype=torch.float64).view(31, -1, 2)
    ours = torch.stack([step.x for step in ddim(exact, x[0], exact.process.times(30))])
    assert (x - ours).abs().max() < 1e-5  # the page keeps 32-bit floats

    rule = langevin_rule(exact.process, LEVELS, 4, 1e-3)
    x, noise = (torch.tensor(shaken[key], dtype=torch.float64).view(-1, x.shape[1], 2) for key in ("x", "noise"))
    for i, (t, keep, eps, z) in enumerate(zip(*(rule[key].tolist() for key in ("t", "keep", "eps", "z")))):
        assert (x[i + 1] - (keep * x[i] + eps * exact(x[i], t).eps + z * noise[i])).abs().max() < 1e-5
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02 and len(noise.unique()) > 0.99 * noise.numel()

    half = models.load("ring")
    half.net.half().float()  # the page's weights have 16 bits
    learned = torch.tensor(smooth["learned"]).view(31, 2)
    assert (learned[-1] - result(ddim(half, learned[:1], exact.process.times(30)))).abs().max() < 1e-4
