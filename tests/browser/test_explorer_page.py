"""The U-Net explorer as a reader meets it: a page from disk, the network off."""

import pytest
import torch

from course_lib.denoisers import Network
from course_lib.nets.unet import UNet
from course_lib.process import DDPM
from course_lib.samplers import ddim
from course_lib.schedules import cosine_beta
from course_lib.widgets.explorer import explore

ROOT = ".course-explorer"


@pytest.fixture(scope="module")
def fragment():
    torch.manual_seed(0)
    net = UNet(size=16, widths=(8, 64), classes=0)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    network = Network(net, DDPM(cosine_beta(1000)), "v")
    return explore(network, ddim(network, torch.randn(1, 1, 16, 16), network.process.times(5)))


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 400, "height": 800}}])
def test_blocks_steps_and_looks_are_chosen_by_mouse_and_by_keyboard(open_page, fragment, tmp_path, options):
    page = open_page(fragment.save(tmp_path / "explorer.html"), **options)
    page.wait_for_selector(f"{ROOT}[data-frame]")
    root, large = page.locator(ROOT), page.locator(f"{ROOT} .detail canvas")
    seen = []

    def changed(attribute, value):
        page.wait_for_function(
            f"([name, value]) => document.querySelector('{ROOT}').dataset[name] === value", arg=[attribute, value]
        )
        seen.append(large.evaluate("canvas => canvas.toDataURL()"))

    changed("node", "decoder.16x16_block0")
    page.get_by_role("button", name="encoder 8x8_block0").click()
    changed("node", "encoder.8x8_block0")
    assert page.locator(f"{ROOT} .title").inner_text() == "encoder 8x8_block0: 64 × 8 × 8"
    box = large.bounding_box()
    large.click(position={"x": 0.3 * box["width"], "y": 0.6 * box["height"]})  # column 2, row 4
    changed("query", "0,34")
    assert "Head 1 of 2" in page.locator(f"{ROOT} .detail [role=status]").inner_text()
    large.click(position={"x": 0.3 * box["width"], "y": 0.6 * box["height"]})
    changed("query", "1,34")
    page.locator(f"{ROOT} input").focus()
    page.keyboard.press("Home")
    changed("frame", "0")
    page.keyboard.press("Escape")
    changed("query", "")
    for key, query in (("Enter", "0,0"), ("ArrowRight", "0,1"), ("ArrowDown", "0,9"), ("Enter", "1,9")):
        large.press(key)
        page.wait_for_selector(f"{ROOT}[data-query='{query}']")
    large.press("Escape")
    page.get_by_role("button", name="decoder 8x8_block0").press("Enter")
    changed("node", "decoder.8x8_block0")
    page.keyboard.press("ArrowRight")
    changed("frame", "1")
    assert len(set(seen)) == len(seen) and not page.errors
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and root.get_attribute("role") == "group"
