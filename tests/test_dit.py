"""The DiT: patches and back, positions, the zero start, attention weights, and multiply-adds against PyTorch's counter."""

import pytest
import torch
from torch import nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from torch.utils.flop_counter import FlopCounterMode

from course_lib.denoisers import NULL, Network
from course_lib.nets.dit import DiT, DiTBlock, Modulation, ModulationLayer, modulate, patchify, unpatchify
from course_lib.nets.hooks import record_activations
from course_lib.nets.unet import UNet
from course_lib.process import RectifiedFlow, seeded
from course_lib.teaching import checks as check
from course_lib.zoo import models


def some(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


def stirred(net):
    """The network with random weights everywhere, since some start at 0."""
    for i, p in enumerate(net.parameters()):
        with torch.no_grad():
            p.copy_(0.3 * some(*p.shape, seed=i))
    return net.eval()


def small(**options):
    return stirred(DiT(**{"size": 8, "width": 16, "depth": 2, "heads": 2, "classes": 3, **options}))


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_patches_are_cut_and_joined(patch):
    x = some(2, 3, 6, 12)
    tokens = patchify(x, patch)
    assert tokens.shape == (2, 72 // patch**2, 3 * patch**2)
    assert torch.equal(unpatchify(tokens, patch, 6 // patch), x)
    first = x[:, :, :patch, patch : 2 * patch] if patch < 12 else x  # the second patch of the first row
    assert torch.equal(tokens[:, 1], first.permute(0, 2, 3, 1).flatten(1))


def test_patches_of_one_channel_are_those_of_pixel_unshuffle():
    x = some(2, 1, 6, 4)
    assert torch.equal(patchify(x, 2), pixel_unshuffle(x, 2).flatten(2).mT)
    assert torch.equal(unpatchify(patchify(x, 2), 2, 3), pixel_shuffle(pixel_unshuffle(x, 2), 2))


def test_a_new_block_is_the_identity_and_a_new_network_returns_0():
    block, h, emb = DiTBlock(8, 2), some(2, 5, 8), some(2, 8, seed=1)
    assert torch.equal(block(h, emb), h)
    assert (DiT()(some(2, 1, 16, 16), torch.tensor([0.1, 0.9]), torch.tensor([0, 9])) == 0).all()


def test_a_block_is_that_of_the_equation():
    block, h, emb = stirred(DiTBlock(8, 2)), some(2, 5, 8), some(2, 8, seed=1)
    attn, mlp = block.modulation(emb)
    assert isinstance(attn, Modulation) and all(v.shape == (2, 8) for v in (*attn, *mlp))
    norm = nn.LayerNorm(8, elementwise_affine=False)
    assert torch.allclose(modulate(h, *attn[:2]), norm(h) * (1 + attn.scale[:, None]) + attn.shift[:, None], atol=1e-6)
    _, _, v = block.queries_keys_values(h, attn)
    attended = block.weights(h, emb) @ v
    half = h + attn.gate[:, None] * block.out(attended.transpose(1, 2).flatten(2))
    want = half + mlp.gate[:, None] * block.mlp(modulate(half, *mlp[:2]))
    assert torch.allclose(block(h, emb), want, atol=1e-5)
    assert torch.allclose(block.weights(h, emb).sum(-1), torch.ones(2, 2, 5))


def test_blocks_do_not_see_the_order_of_tokens_and_the_network_does():
    net, emb, order = small(), some(1, 16, seed=1), torch.randperm(16, generator=seeded(2))
    h = some(1, 16, 16)
    assert torch.allclose(net.blocks[0](h[:, order], emb), net.blocks[0](h, emb)[:, order], atol=1e-5)
    x = some(1, 1, 8, 8)
    shuffled = unpatchify(patchify(x, 2)[:, order], 2, 4)
    t, c = torch.tensor([0.5]), torch.tensor([1])
    assert not torch.allclose(patchify(net(shuffled, t, c), 2), patchify(net(x, t, c), 2)[:, order], atol=1e-2)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_picture_time_and_class_have_an_effect_and_members_do_not_mix(patch):
    net, x = small(patch=patch, channels=2), some(2, 2, 8, 8)
    t, c = torch.tensor([0.2, 0.7]), torch.tensor([0, 2])
    out = net(x, t, c)
    assert out.shape == x.shape
    assert torch.allclose(net(x[1:], t[1:], c[1:]), out[1:], atol=1e-5)
    for other in ((x + 0.1, t, c), (x, t + 0.1, c), (x, t, torch.tensor([1, 1]))):
        assert not torch.allclose(net(*other), out, atol=1e-3)


def test_positions_are_fixed_and_not_stored():
    net = small()
    assert "position" not in net.state_dict() and not net.position.requires_grad
    assert net.position.shape == (16, 16) and len(net.position.unique(dim=0)) == 16


def test_run_maps_the_output_of_each_block():
    net, x, emb, seen = small(), some(1, 1, 8, 8), some(1, 16, seed=1), []
    plain = net.run(x, emb)
    assert torch.equal(net.run(x, emb, lambda block, h: (seen.append((block, h.shape)), h)[1]), plain)
    assert seen == [(0, (1, 16, 16)), (1, (1, 16, 16))]
    assert not torch.allclose(net.run(x, emb, lambda block, h: 0 * h if block else h), plain)


def test_attention_of_every_block_is_recorded():
    net = small()
    with record_activations(net, (DiTBlock,)) as seen:
        net(some(2, 1, 8, 8), torch.tensor([0.5, 0.5]), torch.tensor([0, 1]))
    assert list(seen) == ["blocks.0", "blocks.1"]
    assert all(weights.shape == (2, 2, 16, 16) for weights in seen.values())


@pytest.mark.parametrize("net", [DiT(), DiT(patch=4, width=32), UNet(), UNet(widths=(8, 16), attn=2)], ids=str)
def test_multiply_adds_are_those_of_pytorch(net):
    inputs = some(2, 1, 16, 16), torch.tensor([0.5, 0.2]), torch.tensor([3, 4])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(*inputs)
    assert check.count_operations.reference(net, *inputs) == counter.get_total_flops() // 2


def test_a_step_of_training_opens_the_gates():
    """At first only the last layer has a gradient; after it moved, the gates have one, and after them the layers inside."""
    net, target = DiT(width=16, depth=1, heads=2), some(4, 1, 16, 16, seed=3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    gate = lambda: [p.grad for m in net.modules() if isinstance(m, ModulationLayer) for p in [m.weight]][0]
    sizes = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = (net(some(4, 1, 16, 16), torch.full((4,), 0.5), torch.arange(4)) - target).square().mean()
        loss.backward()
        sizes.append((float(gate().abs().sum()), float(net.blocks[0].qkv.weight.grad.abs().sum())))
        optimizer.step()
    assert sizes[0] == (0, 0) and sizes[1][0] > 0 and sizes[1][1] == 0 and min(sizes[2]) > 0


def test_the_shipped_network_draws_digits_of_its_class():
    network = models.load("dit", device="cpu")
    assert isinstance(network, Network) and isinstance(network.process, RectifiedFlow) and network.view == "flow"
    x, label = models.sample("dit", n=40, seed=1, device="cpu")
    classifier = models.load("classifier", device="cpu")
    with torch.no_grad():
        assert (classifier(x).argmax(1) == label).double().mean() > 0.8
    assert torch.equal(network.net.as_condition(NULL), torch.tensor([10]))
