"""The attention player: what is in the page is the network's attention."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.denoisers import Network
from course_lib.nets.hooks import cross_attention_maps
from course_lib.nets.text import TextUNet
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim
from course_lib.schedules import cosine_beta
from course_lib.widgets.attention import attention_player
from course_lib.widgets.pixels import LEVELS

PROCESS, CAPTION = DDPM(cosine_beta(1000)), "a red circle above a star"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = TextUNet(widths=(32, 32), dim=32, words=16).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return Network(net, PROCESS, "v")


@pytest.fixture(scope="module")
def steps(network):
    x = torch.randn(2, 3, 32, 32, generator=seeded(1))
    return list(ddim(network.given(CAPTION), x, PROCESS.times(3)))


def test_each_word_shows_its_weights_at_each_step(network, steps):
    html = attention_player(network, CAPTION, steps).html
    data = json.loads(re.search(r"^const data = (.*);$", html, re.M)[1])
    assert data["words"] == CAPTION.split() and data["t"] == [1000, 667, 333]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["weights"]["png"]))))
    across = data["weights"]["columns"]
    weights = torch.cat([cross_attention_maps(network.given(CAPTION), step.x[:1], step.t) for step in steps[:3]])
    for step, k in ((0, 0), (1, 2), (2, 5)):
        i = 6 * step + k
        shown = sheet[i // across * 32 :, i % across * 32 :][:32, :32]
        truth = weights[step, k + 1] / weights[:, k + 1].max()  # the start token comes first
        truth = truth.repeat_interleave(2, 0).repeat_interleave(2, 1)
        assert np.abs(shown - truth.numpy() * (LEVELS - 1)).max() <= 0.51
    assert html == attention_player(network, CAPTION, steps).html and len(html) < 1e6
    assert re.findall(r'<img [^>]*alt="([^"]*)"', html) == [
        "predicted x̂₀, half way", "attention to “red”", "attention to “circle”", "attention to “star”"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "of, error, words",
    [
        (lambda n, s: attention_player(n, CAPTION, []), ValueError, "steps must hold at least one Step"),
        (lambda n, s: attention_player(n, CAPTION, s[-1:]), ValueError, "steps must hold a prediction of pictures"),
        (lambda n, s: attention_player(n, "", s), ValueError, "caption must have at least one word"),
        (lambda n, s: attention_player(n, "a rad circle", s), ValueError, "did you mean red"),
        (lambda n, s: attention_player(n, CAPTION, s, side=4), ValueError, "side must be that of maps with cross-attention"),
        (lambda n, s: attention_player(Network(UNet(classes=0), PROCESS), CAPTION, s), TypeError, "takes no condition"),
    ],
)
def test_what_cannot_be_shown_is_said(network, steps, of, error, words):
    with pytest.raises(error, match=words):
        of(network, steps)
