"""The prompt box as a reader without a kernel meets it: a page from disk, the network off."""

import pytest
import torch

from course_lib.denoisers import Network
from course_lib.nets.detector import SceneDetector
from course_lib.nets.text import TextUNet
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta
from course_lib.widgets.prompt import PROMPTS, PromptModel

ROOT = ".course-prompt"


@pytest.fixture(scope="module")
def fragment():
    torch.manual_seed(0)
    network = Network(TextUNet(widths=(32, 32), dim=32, words=16).eval(), DDPM(cosine_beta(1000)), "v")
    return PromptModel(network, SceneDetector().eval(), 1).page(PROMPTS)


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 400, "height": 800}}])
def test_each_caption_shows_its_own_pictures(open_page, fragment, tmp_path, options):
    page = open_page(fragment.save(tmp_path / "prompt.html"), **options)
    page.wait_for_selector(f"{ROOT}[data-shown]")
    visible = lambda: [img.get_attribute("src") for img in page.locator(f"{ROOT} img").all() if img.is_visible()]
    seen = [visible()]
    select = page.get_by_label("Caption")
    select.select_option(PROMPTS[2])
    seen.append(visible())
    select.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function(f"document.querySelector('{ROOT}').dataset.shown === {PROMPTS[3]!r}")
    seen.append(visible())
    page.get_by_role("button", name="Reset").click()
    assert visible() == seen[0] and [len(images) for images in seen] == [4, 4, 4] and not page.errors
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_scripts_all_captions_stand_below_each_other(open_page, fragment, tmp_path):
    page = open_page(fragment.save(tmp_path / "prompt.html"), java_script_enabled=False)
    assert page.locator(f"{ROOT} h4").all_inner_texts() == list(PROMPTS) and page.locator(f"{ROOT} img").count() == 16
