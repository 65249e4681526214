"""The networks: shapes, names, and that each input has its say while members of a batch do not mix."""

import pytest
import torch
from torch import nn

from course_lib.denoisers import NULL
from course_lib.nets.autoencoder import Autoencoder
from course_lib.nets.classifier import Classifier, TimedClassifier, jitter
from course_lib.nets.dit import DiT
from course_lib.nets.embeddings import LabelEmbedding, TimeEmbedding, fourier, sinusoidal
from course_lib.nets.hooks import record_activations
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import Attention, UNet, heads_of
from course_lib.process import seeded

NETS = {
    "mlp": (lambda: MLP(dim=2, width=16, depth=2, classes=3), (2,)),
    "unet": (lambda: UNet(size=16, widths=(8, 16, 32), classes=3), (1, 16, 16)),
    "unet-fourier-add": (lambda: UNet(widths=(8, 16), classes=3, time="fourier", modulation="add"), (1, 16, 16)),
    "dit": (lambda: DiT(width=16, depth=2, heads=2, classes=3), (1, 16, 16)),
    "unet-colour": (lambda: UNet(size=32, channels=3, widths=(8, 16), depth=2, patch=2, classes=3), (3, 32, 32)),
}


@pytest.fixture(params=NETS)
def case(request):
    """A network whose weights are all stirred, since some start at 0, and a batch of four for it."""
    torch.manual_seed(0)
    build, shape = NETS[request.param]
    net = build().eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    return net, torch.randn(4, *shape), torch.rand(4), torch.tensor([0, 1, 2, 3])


def test_the_output_has_the_shape_of_the_input(case):
    net, x, time, cond = case
    assert net(x, time, cond).shape == x.shape


def test_members_of_a_batch_do_not_mix(case):
    net, x, time, cond = case
    together = net(x, time, cond)
    alone = torch.cat([net(x[i : i + 1], time[i : i + 1], cond[i : i + 1]) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-4 * float(together.detach().abs().max()))


def test_picture_time_and_condition_have_their_say(case):
    net, x, time, cond = case
    before = net(x, time, cond)
    for changed in (net(x + 0.1, time, cond), net(x, time + 0.1, cond), net(x, time, cond.flip(0))):
        assert ((changed - before).flatten(1).abs().amax(1) > 1e-4).all()


def test_every_weight_is_used(case):
    net, x, time, cond = case
    net(x, time, cond).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_network_without_classes_takes_no_condition():
    for net, x in ((MLP(), torch.randn(2, 2)), (UNet(classes=0), torch.randn(2, 1, 16, 16))):
        assert not hasattr(net, "as_condition") and net(x, torch.rand(2)).shape == x.shape


def test_the_unet_begins_by_saying_nothing():
    x = torch.randn(2, 1, 16, 16)
    assert not UNet()(x, torch.rand(2), torch.tensor([1, 2])).any()


def test_unet_blocks_are_named_by_resolution():
    net, seen = UNet(size=16, widths=(8, 16, 32), depth=2), {}
    assert list(net.encoder) == [
        "16x16_block0", "16x16_block1", "8x8_down", "8x8_block0", "8x8_block1", "4x4_down", "4x4_block0", "4x4_block1",
    ]  # fmt: skip
    for name, layer in net.named_modules():
        layer.register_forward_hook(lambda module, args, out, name=name: seen.update({name: tuple(out.shape[-2:])}))
    net(torch.randn(1, 1, 16, 16), torch.rand(1), torch.tensor([0]))
    for part in (net.encoder, net.decoder):
        blocks = [name for name in part if "up" not in name]
        where = "encoder" if part is net.encoder else "decoder"
        assert [f"{name.split('_')[0]}" for name in blocks] == ["{}x{}".format(*seen[f"{where}.{name}"]) for name in blocks]


def test_attention_gathers_from_every_place():
    attention = Attention(8, heads=2)
    nn.init.normal_(attention.out.weight)
    h = torch.randn(1, 8, 4, 4, requires_grad=True)
    (attention(h) - h)[0, :, 0, 0].sum().backward()
    assert (h.grad[0].abs().sum(0) > 0).all()


def test_attention_is_torchs_own():
    torch.manual_seed(0)
    ours, theirs = Attention(8, heads=2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight[..., 0, 0])
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        nn.init.normal_(ours.out.weight)
        theirs.out_proj.weight.copy_(ours.out.weight[..., 0, 0])
    h = torch.randn(3, 8, 4, 5)
    places = ours.norm(h).flatten(2).transpose(1, 2)
    want = theirs(places, places, places)[0].transpose(1, 2).reshape(h.shape)
    assert torch.allclose(ours(h) - h, want, atol=1e-5)


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: UNet(size=18), "size must be a multiple of 4, got 18"),
        (lambda: UNet(size=16, patch=3), "size must be a multiple of 12, got 16"),
        (lambda: UNet(widths=()), "widths must hold at least one value, got none"),
        (lambda: UNet(widths=(16, 20)), "widths must be a multiple of 8, got 20"),
        (lambda: UNet()(torch.randn(2, 1, 28, 28), torch.rand(2), torch.tensor([0, 0])), "x must be (B, 1, 16, 16), got shape"),
        (lambda: sinusoidal(torch.rand(3), 7), "dim must be a multiple of 2, got 7"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(build, words):
    with pytest.raises(ValueError) as raised:
        build()
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_narrow_networks_have_the_attention_that_they_are_asked_for():
    heads = lambda net: [m.heads for m in net.modules() if isinstance(m, Attention)]
    assert heads(UNet(widths=(8, 16))) == [1, 1] and heads(UNet(widths=(8, 16), attn=2)) == [1, 1, 1, 1]
    assert heads(UNet(widths=(8, 16), attn=0)) == [] and heads(UNet()) == [2, 2]
    assert heads(TimedClassifier(widths=(8, 8))) == [1] and heads(TimedClassifier()) == [2]  # the coarsest resolution alone
    assert [heads_of(channels) for channels in (8, 32, 48, 64, 96, 104, 128)] == [
        1,
        1,
        1,
        2,
        3,
        2,
        4,
    ]  # 104 / 3 is no whole number
    x, time, cond = torch.randn(2, 1, 16, 16), torch.rand(2), torch.tensor([0, 1])
    assert UNet(widths=(8, 104))(x, time, cond).shape == x.shape


@pytest.mark.parametrize("factor, side", [(2, 31), (4, 30)])
def test_an_autoencoder_refuses_sides_that_it_cannot_halve(factor, side):
    net = Autoencoder(factor, 2, 8)
    good = net.encode(torch.zeros(1, 3, 32, 28))
    assert net.decode(good).shape == (1, 3, 32, 28)
    for shape in ((1, 3, side, 32), (1, 3, 32, side)):
        with pytest.raises(ValueError, match=f"x must have sides that are multiples of {factor}, got shape"):
            net.encode(torch.zeros(shape))


def test_sinusoidal_embeddings_tell_times_apart():
    near = sinusoidal(torch.arange(1001.0), 64)
    apart = torch.cdist(near, near) + 10 * torch.eye(1001)
    assert near.abs().max() <= 1 and apart.min() > 0.1


def test_labels_and_the_null_condition():
    label = LabelEmbedding(10, 4)
    assert label.as_condition(NULL).tolist() == [10] and label.as_condition(3).tolist() == [3]
    assert label.as_condition([1, 2]).tolist() == [1, 2]
    for bad in (10, -1, [0, 11], torch.empty(0, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"label must lie in 0..9 \(or be NULL\), got"):
            label.as_condition(bad)
    for bad in (1.5, True, "three", None):
        with pytest.raises(TypeError, match="label must be a whole number or a row of them, got"):
            label.as_condition(bad)


def test_the_classifier_answers_by_way_of_its_features():
    net, x = Classifier().eval(), torch.randn(3, 1, 16, 16)
    assert net.features(x).shape == (3, 64) and torch.equal(net.head(net.features(x)), net(x))


def test_jitter_keeps_the_background_and_moves_the_ink():
    x = torch.full((64, 1, 16, 16), -1.0)
    x[:, :, 6:10, 6:10] = 1.0
    moved = jitter(x, seeded(0))
    assert (moved[:, :, 0] < -0.99).all() and moved.min() >= -1 and moved.max() <= 1
    assert len({tuple(picture.flatten().tolist()) for picture in moved}) == 64
    assert (moved + 1).sum((1, 2, 3)).std() > 0  # the ink itself grows and shrinks


def test_fourier_features_are_sines_and_cosines_of_kept_frequencies():
    time, frequency = torch.tensor([0.0, 0.25]), torch.tensor([1.0, 2.0])
    assert torch.allclose(fourier(time, frequency), torch.tensor([[0.0, 0, 1, 1], [1, 0, 0, -1]]), atol=1e-6)
    embedding = TimeEmbedding(64, "fourier")
    assert "frequency" in embedding.state_dict() and "frequency" not in dict(embedding.named_parameters())
    assert 10 < embedding.frequency.std() < 24 and "frequency" not in TimeEmbedding(64).state_dict()


def test_hooks_record_every_block_and_attention_weights_and_then_nothing_more():
    torch.manual_seed(0)
    net = UNet(size=16, widths=(8, 16, 32))
    args = torch.randn(2, 1, 16, 16), torch.rand(2), torch.tensor([0, 1])
    with record_activations(net) as seen:
        net(*args)
    assert tuple(seen["encoder.8x8_block0"].shape) == (2, 16, 8, 8) and len(seen) == 8
    weights = seen["encoder.4x4_block0.attention"]
    assert tuple(weights.shape) == (2, 1, 16, 16) and torch.allclose(weights.sum(-1), torch.ones(2, 1, 16), atol=1e-5)
    seen.clear()
    net(*args)
    assert not seen


def test_the_weights_are_those_that_attention_gathers_with():
    torch.manual_seed(0)
    layer, h = Attention(32, 2), torch.randn(3, 32, 4, 4)
    nn.init.eye_(layer.out.weight[:, :, 0, 0].data)
    v = layer.queries_keys_values(h)[2]
    attended = (layer.weights(h) @ v).transpose(-1, -2).reshape(h.shape)
    assert torch.allclose(layer(h), h + attended, atol=1e-5)


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: UNet(time="cosines"), "time must be one of sinusoidal, fourier, got"),
        (lambda: UNet(modulation="multiply"), "modulation must be"),
    ],
)
def test_an_unknown_part_is_named(build, words):
    with pytest.raises(ValueError, match=words):
        build()
