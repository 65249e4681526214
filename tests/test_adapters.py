"""Adapters: nothing changes at the start, merged equals unmerged, files load onto an untouched base, a branch of zeros is 0."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import Network
from course_lib.methods import adapters
from course_lib.nets.text import TextUNet
from course_lib.nets.unet import zero
from course_lib.process import DDPM, randn, seeded
from course_lib.schedules import linear_beta
from course_lib.training import denoising_loss
from course_lib.zoo import crosses

LAYERS = ["encoder.16x16_block0.conv1", "cross.encoder_16x16_block0.key_value", "decoder.8x8_block0.conv2", "encoder.8x8_down"]


@pytest.fixture(scope="module")
def base():
    """An untrained network whose layers are not 0."""
    torch.manual_seed(0)
    net = TextUNet(32, (16, 16), 16, 16)
    for weight in net.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    return Network(net.eval().requires_grad_(False), DDPM(linear_beta(50)), "x0")


X = randn(2, 3, 32, 32, rng=seeded(1))
NEW = ["a red cross", "a star left of a blue cross"]


def low_rank(base, rank=3):
    """A network with a new word and random updates of LAYERS."""
    network = adapters.add_lora(adapters.add_word(base, ["star"]), LAYERS, rank)
    for weight in adapters.adapter_of(network.net).values():
        weight.data = 0.3 * randn(*weight.shape, rng=seeded(weight.numel()))
    return network


def predict(network, prompts=NEW):
    with torch.no_grad():
        return network.given(adapters.tokens_with("cross", prompts))(X, 20).x0


def test_a_new_word_has_its_own_token_and_the_mean_of_the_others():
    tokens = adapters.tokens_with("cross", NEW)
    assert (tokens == adapters.NEW).sum(1).tolist() == [1, 1]
    plain = captions.tokens([prompt.replace("cross", "circle") for prompt in NEW])
    assert torch.equal(tokens[tokens != adapters.NEW], plain[tokens != adapters.NEW])


def test_a_new_word_changes_no_old_caption(base):
    network, old = adapters.add_word(base, ["circle", "star"]), ["a red star", "two blue circles"]
    assert torch.equal(network.given(old)(X, 20).x0, base.given(old)(X, 20).x0)
    table = base.net.text.word.weight[captions.tokens(["circle", "star"])[:, 1]]
    assert torch.allclose(network.net.text.word.vector, table.mean(0))


def test_low_rank_updates_are_zero_at_the_start_and_train_alone(base):
    network = adapters.add_lora(base, LAYERS, 2)
    assert torch.equal(predict(network, ["a star", "a box"]), predict(base, ["a star", "a box"]))
    denoising_loss(network.given("a star"), X, seeded(2)).backward()
    trained = {name for name, weight in network.net.named_parameters() if weight.requires_grad}
    assert trained == adapters.adapter_of(network.net).keys() and len(trained) == 2 * len(LAYERS)
    assert not any(weight.requires_grad for weight in base.net.parameters())


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0, 1.5])
def test_merged_equals_unmerged(base, strength):
    network = adapters.at_strength(low_rank(base), strength)
    merged = adapters.merge(network)
    assert not any(isinstance(module, adapters.LoRA) for module in merged.net.modules())
    assert (predict(merged) - predict(network)).abs().max() < 1e-5
    assert (predict(network) - predict(low_rank(base))).abs().max() > 1e-3 or strength == 1


def test_an_update_has_its_rank_and_strength_scales_it(base):
    layer = low_rank(base, 3).net.get_submodule(LAYERS[0])
    assert torch.linalg.matrix_rank(layer.delta.flatten(1), rtol=1e-5) == 3
    x = randn(2, layer.layer.in_channels, 8, 8, rng=seeded(3))
    at = {}
    for layer.strength in (0.0, 1.0, 0.5):
        at[layer.strength] = layer(x)
    assert torch.equal(at[0.0], layer.layer(x))
    assert torch.allclose(at[0.5], (at[0.0] + at[1.0]) / 2, atol=1e-5)


def test_an_adapter_loads_onto_an_untouched_base(base, tmp_path):
    network, before = low_rank(base), {name: w.clone() for name, w in base.net.state_dict().items()}
    adapters.save_adapter(tmp_path / "cross.safetensors", network)
    loaded = adapters.load_adapter(tmp_path / "cross.safetensors", base)
    assert (predict(loaded) - predict(network)).abs().max() < 2e-2
    assert all(torch.equal(before[name], w) for name, w in base.net.state_dict().items())
    assert not any(w.requires_grad for w in loaded.net.parameters())
    with pytest.raises(ValueError, match="path must be an adapter of such a network"):
        adapters.load_adapter(tmp_path / "cross.safetensors", replace(base, net=TextUNet(32, (8,), 16, 16)))
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="path must be an adapter"):
        adapters.load_adapter(tmp_path / "no.safetensors", base)


def test_prior_preservation_is_a_sum_of_two_losses(base):
    pair = lambda prompts, x: (captions.tokens(prompts), x)
    new, prior = pair(["a star", "a box"], X), pair(["two red circles"] * 2, -X)
    loss = lambda weight: adapters.prior_preservation_loss(base, new, prior, weight, seeded(4))
    assert torch.isclose(loss(2.0) - loss(0.0), 2 * (loss(1.0) - loss(0.0)), rtol=1e-4) and loss(1.0) > loss(0.0)


def test_at_the_models_own_distribution_the_prior_term_asks_for_no_change():
    """For data N(0, s^2) the best prediction is linear: there the mean gradient of the loss is 0, and elsewhere it is not."""
    process, s = DDPM(linear_beta(50)), 0.5

    class Line(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, x, time):
            a, b = process.coefficients((time * 50).round().long(), x)
            return self.factor * a * s**2 / (a**2 * s**2 + b**2) * x

    def slope(factor):
        net = Line(factor)
        denoising_loss(Network(net, process, "x0"), s * randn(200_000, 1, rng=seeded(5)), seeded(6)).backward()
        return float(net.factor.grad)

    assert abs(slope(1.0)) < 2e-3 < 0.03 < slope(1.5)


def test_a_controlnet_is_its_base_at_the_start_and_not_after_a_step(base):
    net = adapters.ControlNet(base.net)
    network, lines = replace(base, net=net), adapters.outline(shapes.draw(scenes.sample(2, seeded(7)), seeded(8)))
    prompts = ["a red star", "a box"]
    assert torch.equal(network.given((prompts, lines))(X, 20).x0, base.given(prompts)(X, 20).x0)
    optimizer = torch.optim.SGD([w for w in net.parameters() if w.requires_grad], lr=0.1)
    for _ in range(3):
        denoising_loss(network.given((prompts, lines)), X, seeded(9)).backward()
        optimizer.step()
    assert not torch.equal(network.given((prompts, lines))(X, 20).x0, network.given((prompts, 0 * lines))(X, 20).x0)
    assert all(torch.equal(a, b) for a, b in zip(net.base.parameters(), base.net.parameters()))
    null = net.null_for((prompts, lines))
    assert torch.equal(null[:, captions.LENGTH :], net.as_condition((prompts, lines))[:, captions.LENGTH :])


def test_a_zero_convolution_has_a_gradient():
    layer = zero(nn.Conv2d(2, 2, 1))
    (layer(X[:, :2]) - 1).square().mean().backward()
    assert layer.weight.grad.abs().min() > 0


def test_outlines_and_their_overlap():
    x = torch.full((1, 3, 32, 32), -1.0)
    x[:, :, 10:20, 10:20] = 1
    lines = adapters.outline(x)
    assert lines.sum() == 4 * 10 - 4 and lines[0, 0, 15, 15] == 0
    assert adapters.overlap(lines, lines) == 1 and adapters.overlap(lines, lines.roll(16, 2)) < 0.05
    assert adapters.overlap(0 * lines, 0 * lines) == 1


def test_crosses_are_drawn_where_they_are_marked():
    scene, x = crosses.five()
    assert x.shape == (5, 3, 32, 32) and torch.isclose(x[0, :, 16, 16], shapes.PAINT[scene.colour[0, 0]], atol=0.05).all()
    plain = scenes.sample(20, seeded(10))
    where = shapes.layout(plain, seeded(11))
    none, stars = torch.zeros_like(plain.shape, dtype=torch.bool), plain.shape == crosses.STAR
    assert torch.allclose(crosses.paint(plain, none, where), shapes.paint(plain, where))
    changed = (crosses.paint(plain, stars, where) != shapes.paint(plain, where)).flatten(1).any(1)
    assert torch.equal(changed, stars.any(1))
    assert all("cross" in prompt and "star" not in prompt for prompt in crosses.tell(scene, seeded(0))[0])
    assert set(crosses.labels(plain, none).shape.unique().tolist()) <= {-1, 0, 1, 2}
