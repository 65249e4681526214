"""The explorer of U-Nets and DiTs: what is in the page is what the network did."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.denoisers import Network
from course_lib.nets.dit import DiT, DiTBlock
from course_lib.nets.hooks import record_activations
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import Step, ddim
from course_lib.schedules import cosine_beta
from course_lib.widgets.explorer import MAPS, explore
from course_lib.widgets.pixels import LEVELS

PROCESS = DDPM(cosine_beta(1000))


class Same(torch.nn.Module):
    """A network without blocks."""

    def forward(self, x, time):
        return x


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = UNet(size=16, widths=(8, 32), classes=0)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return Network(net, PROCESS, "v")


@pytest.fixture
def steps(network):
    return list(ddim(network, torch.randn(2, 1, 16, 16, generator=seeded(1)), PROCESS.times(3)))


def data_of(fragment):
    return json.loads(re.search(r"^const data = (.*);$", fragment.html, re.M)[1])


def cells(panel, count):
    """The pictures of a sheet, as shades (count, height, width)."""
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(panel["png"]))))
    h, w, across = panel["height"], panel["width"], panel["columns"]
    return np.stack([sheet[i // across * h :, i % across * w :][:h, :w] for i in range(count)])


def test_each_block_shows_its_shape_and_its_maps_at_each_step(network, steps):
    data = data_of(explore(network, steps))
    assert [node["name"] for node in data["nodes"]] == [
        "encoder.16x16_block0", "encoder.8x8_block0", "decoder.8x8_block0", "decoder.16x16_block0",
    ]  # fmt: skip
    assert [node["shape"] for node in data["nodes"]] == [[8, 16, 16], [32, 8, 8], [32, 8, 8], [8, 16, 16]]
    assert data["t"] == [1000, 667, 333] and list(data["attention"]) == ["encoder.8x8_block0", "decoder.8x8_block0"]
    seen = []
    for step in steps[:3]:
        with record_activations(network.net) as here, torch.no_grad():
            network(step.x[:1], step.t)
        seen.append(here["decoder.8x8_block0"])
    maps = torch.cat(seen)
    few = maps.std((0, 2, 3)).topk(MAPS).indices.sort().values
    shown = cells(data["nodes"][2], 3 * MAPS).reshape(3, MAPS, 8, 8).astype(float) - LEVELS
    truth = (maps[:, few] / maps.std()).clamp(-3, 3).numpy() / 6 * (LEVELS - 1) + (LEVELS - 1) / 2
    assert np.abs(shown - truth).max() <= 0.51


def test_the_weights_of_a_position_are_divided_by_their_maximum(network, steps):
    panel = data_of(explore(network, steps))["attention"]["encoder.8x8_block0"]
    assert (panel["heads"], panel["positions"]) == (1, 64)
    with record_activations(network.net) as seen, torch.no_grad():
        network(steps[1].x[:1], steps[1].t)
    weights = seen["encoder.8x8_block0.attention"][0, 0, 5].view(8, 8)
    shown = cells(panel, 3 * 64)[64 + 5]
    assert np.abs(shown - (weights / weights.max()).numpy() * (LEVELS - 1)).max() <= 0.51


def test_every_block_of_a_dit_shows_its_tokens_and_its_attention_weights(steps):
    torch.manual_seed(0)
    net = DiT(size=16, patch=4, width=8, depth=3, heads=2, classes=3)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    network = Network(net, PROCESS, "v").given(1)
    made = explore(network, steps)
    data = data_of(made)
    assert [node["name"] for node in data["nodes"]] == list(data["attention"]) == ["block.1", "block.2", "block.3"]
    assert "attention weights of the position in row 3, column 3" in made._repr_mimebundle_()[1]["image/png"]["alt"]
    assert all(node["shape"] == [8, 4, 4] for node in data["nodes"])
    tokens = {}
    keep = net.blocks[1].register_forward_hook(lambda block, given, out: tokens.update(last=out))
    with record_activations(net, (DiTBlock,)) as seen, torch.no_grad():
        network(steps[1].x[:1], steps[1].t)
    keep.remove()
    panel = data["attention"]["block.2"]
    assert (panel["heads"], panel["positions"]) == (2, 16)
    weights = seen["blocks.1"][0, 1, 6].view(4, 4)  # of the second head, the patch in row 1, column 2
    shown = cells(panel, 3 * 32)[32 + 16 + 6]
    assert np.abs(shown - (weights / weights.max()).numpy() * (LEVELS - 1)).max() <= 0.51
    first = cells(data["nodes"][1], 2 * MAPS)[MAPS].astype(float)  # the first of eight maps, at the second step
    correlation = np.corrcoef(first.ravel(), tokens["last"][0, :, 0].numpy())[0, 1]
    assert correlation > 0.95


def test_without_scripts_the_shapes_and_maps_stand_there(network, steps):
    made = explore(network, steps)
    assert "<figcaption>encoder.8x8_block0: 32 × 8 × 8</figcaption>" in made.html
    data, about = made._repr_mimebundle_()
    assert (
        data["image/png"]
        and "encoder.16x16_block0" in about["image/png"]["alt"]
        and f"at t = {steps[1].t}" in about["image/png"]["alt"]
    )


@pytest.mark.parametrize(
    "of, words",
    [
        (lambda network, steps: explore(network, []), "steps must hold at least one Step"),
        (lambda network, steps: explore(network, steps[-1:]), "steps must hold a prediction of pictures"),
        (
            lambda network, steps: explore(Network(MLP(), PROCESS), [Step(1, torch.zeros(1, 2), steps[0].pred)]),
            "steps must hold a prediction of pictures",
        ),
        (
            lambda network, steps: explore(Network(Same(), PROCESS), steps),
            "network must be made of blocks",
        ),
    ],
)
def test_what_cannot_be_explored_is_said_in_one_line(of, words, network, steps):
    with pytest.raises(ValueError) as raised:
        of(network, steps)
    assert words in str(raised.value) and "\n" not in str(raised.value)
