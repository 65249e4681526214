"""The attention player as a reader meets it: a page from disk, the network off."""

import pytest
import torch

from course_lib.denoisers import Network
from course_lib.nets.text import TextUNet
from course_lib.process import DDPM
from course_lib.samplers import ddim
from course_lib.schedules import cosine_beta
from course_lib.widgets.attention import attention_player

ROOT, CAPTION = ".course-attention", "a red circle to the left of a small blue star"


@pytest.fixture(scope="module")
def fragment():
    torch.manual_seed(0)
    net = TextUNet(widths=(32, 32), dim=32, words=16).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    network = Network(net, DDPM(cosine_beta(1000)), "v")
    return attention_player(network, CAPTION, ddim(network.given(CAPTION), torch.randn(1, 3, 32, 32), network.process.times(5)))


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 400, "height": 800}}])
def test_words_and_steps_are_chosen_by_mouse_and_by_keyboard(open_page, fragment, tmp_path, options):
    page = open_page(fragment.save(tmp_path / "words.html"), **options)
    page.wait_for_selector(f"{ROOT}[data-frame]")
    root, large = page.locator(ROOT), page.locator(f"{ROOT} .panels canvas").nth(2)
    seen = []

    def changed(attribute, value):
        page.wait_for_function(
            f"([name, value]) => document.querySelector('{ROOT}').dataset[name] === value", arg=[attribute, value]
        )
        seen.append(large.evaluate("canvas => canvas.toDataURL()"))

    changed("word", "10")
    page.get_by_role("button", name="red", exact=True).click()
    changed("word", "1")
    assert page.locator(f"{ROOT} .panels figcaption").nth(2).inner_text() == "attention to “red”"
    page.get_by_role("button", name="blue", exact=True).press("Enter")
    changed("word", "9")
    page.keyboard.press("ArrowRight")
    changed("frame", "3")
    page.locator(f"{ROOT} input").focus()
    page.keyboard.press("Home")
    changed("frame", "0")
    assert len(set(seen)) == len(seen) and not page.errors
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and root.get_attribute("role") == "group"
    assert page.locator(f"{ROOT} .words button").all_inner_texts() == CAPTION.split()
