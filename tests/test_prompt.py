"""The prompt box without a browser: its samples, and its message for unknown words."""

import re

import pytest
import torch

from course_lib.datasets import captions
from course_lib.denoisers import Network
from course_lib.nets.detector import SceneDetector
from course_lib.nets.text import TextUNet
from course_lib.nets.unet import UNet
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta
from course_lib.widgets.prompt import MANY, PromptControls, PromptModel, prompt_box

PROCESS = DDPM(cosine_beta(1000))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = TextUNet(widths=(32, 32), dim=32, words=16).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return Network(net, PROCESS, "v")


@pytest.fixture(scope="module")
def evaluator():
    torch.manual_seed(0)
    return SceneDetector().eval()


def box(network, evaluator):
    return prompt_box(network, evaluator, prompts=("a red circle", "two blue stars"), steps=2)


def test_the_same_state_gives_the_same_pictures_and_each_part_of_it_counts(network, evaluator):
    studio = PromptModel(network, evaluator, 2)
    assert studio.render(PromptControls()) == studio.render(PromptControls())
    assert (
        len(
            {
                studio.render(s)
                for s in (PromptControls(), PromptControls("a white star"), PromptControls(w=1.0), PromptControls(seed=1))
            }
        )
        == 4
    )
    assert (
        studio.sample(PromptControls()).shape == (MANY, 3, 32, 32)
        and studio.render(PromptControls()).count("<img alt=") == MANY
    )


def test_writing_and_moving_draws_anew(network, evaluator):
    made = box(network, evaluator)
    seen = [made.screen.value]
    for control, value in ((made.caption, "a green star above a pink box"), (made.w, 1.0), (made.seed, 5)):
        control.value = value
        seen.append(made.screen.value)
    assert len(set(seen)) == 4 and "w = 1.0, seed 5, 2 steps" in seen[-1]


def test_reset_puts_all_back(network, evaluator):
    made = box(network, evaluator)
    first = made.screen.value
    made.caption.value, made.w.value, made.seed.value = "a white star", 1.0, 5
    assert made.screen.value != first
    made.reset.click()
    assert made.screen.value == first and made.caption.value == "a red circle"


def test_unknown_words_are_said_with_the_nearest_known_ones_and_go_when_corrected(network, evaluator):
    made = box(network, evaluator)
    made.caption.value = "a <rde> circle"
    assert 'role="alert">captions must be made of known words, got &#x27;&lt;rde&gt;&#x27;; did you mean' in made.screen.value
    made.caption.value = "a crcle"
    assert "did you mean circle" in made.screen.value and "<img" not in made.screen.value
    made.caption.value = "a circle"
    assert "<img" in made.screen.value and "alert" not in made.screen.value


def test_the_page_for_those_without_a_kernel(network, evaluator):
    made = box(network, evaluator)
    html = made._repr_mimebundle_()[0]["text/html"]
    assert all(f"live-{made.key}" in where for where in (html, made.box._dom_classes))
    assert f"Its words: {', '.join(captions.WORDS[2:])}." in made.box.children[-1].value
    assert '<small class="unrun">Run this cell to move it.</small>' in html
    assert html == box(network, evaluator)._repr_mimebundle_()[0]["text/html"] and len(html) < 1e6
    assert "<h4>a red circle</h4>" in html and "<h4>two blue stars</h4>" in html and html.count("<img alt=") == 2 * MANY
    assert not re.search(r"(?:src|href)=\"https?:", html)
    assert "PromptBox(Network(TextUNet" in made._repr_mimebundle_()[0]["text/plain"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"prompts": ()}, "prompts must hold at least one value, got none"),
        ({"prompts": ("a zebra",)}, "captions must be made of known words, got 'zebra'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_raises_at_once(network, evaluator, options, words):
    with pytest.raises(ValueError, match=words):
        prompt_box(network, evaluator, **{"steps": 2} | options)


def test_a_network_without_a_condition_is_refused(evaluator):
    with pytest.raises(TypeError, match="takes no condition"):
        prompt_box(Network(UNet(size=32, channels=3, classes=0), PROCESS, "v"), evaluator, steps=2)
