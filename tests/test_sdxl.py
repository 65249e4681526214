"""SDXL: pictures as they are found, a network conditioned on size and crop, and a refiner for the last steps."""

import pytest
import torch
from torch import nn

from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import NULL, Network
from course_lib.guidance import classifier_free
from course_lib.methods.sdxl import (
    MAX_CUT,
    SIDES,
    ExpertSwitch,
    as_found,
    border,
    crop_and_shrink,
    crop_pictures,
    downscale,
    high_frequency_detail,
    refiner_loss,
)
from course_lib.nets.sdxl import WHOLE, SDXLUNet
from course_lib.nets.text import TextEncoder
from course_lib.process import DDPM, seeded
from course_lib.samplers import sample
from course_lib.schedules import linear_beta
from course_lib.training import denoising_loss
from course_lib.zoo import models
from course_lib.zoo.recipes import sdxl as recipe

PROCESS = DDPM(linear_beta(1000))


@pytest.fixture
def net():
    """A U-Net conditioned on size and crop, all weights stirred, since some start at 0."""
    torch.manual_seed(0)
    net = SDXLUNet(widths=(16, 32), dim=32, text=TextEncoder(16, 1, 2)).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    return net


def scene_of(n, seed=0):
    return scenes.sample(n, seeded(seed), ("pair",))


# Pictures as they are found


def test_micro_describes_how_pictures_came_about():
    scene = scene_of(2000)
    x, micro = crop_and_shrink(scene, seeded(1))
    side, top, left = micro.unbind(1)
    assert x.shape == (2000, 3, 32, 32) and float(x.abs().max()) <= 1
    assert set(side.tolist()) == {*SIDES, 32} and float((side == 32).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert ((top == 0) == (left == 0)).all() and float((top > 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert int(top.max()) == int(left.max()) == MAX_CUT
    whole = (micro == torch.tensor(WHOLE)).all(1)
    assert not border(x[whole]).any() and border(x[(top > 6) & (left > 6)]).float().mean() > 0.3
    assert high_frequency_detail(x[side < 32]).max() < 1e-6 < 0.05 < high_frequency_detail(x[whole]).mean()


def test_a_picture_that_was_small_is_made_of_blocks():
    x = shapes.draw(scene_of(20), seeded(1))
    for side in SIDES:
        small = downscale(x, side)
        blocks = small.unflatten(3, (side, -1)).unflatten(2, (side, -1))
        assert small.shape == x.shape and torch.equal(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))
        assert torch.equal(downscale(small, side), small)
    assert torch.equal(downscale(x, 32), x)


def test_nothing_small_and_nothing_cut_is_the_picture_itself():
    scene = scene_of(50)
    x, micro = crop_and_shrink(scene, seeded(1), small=0, cut=0)
    assert torch.equal(x, shapes.draw(scene, seeded(1))) and (micro == torch.tensor(WHOLE)).all()


def test_what_is_cut_off_is_the_top_and_the_left():
    scene = scene_of(200)
    where = shapes.layout(scene, seeded(1))
    x, micro = crop_and_shrink(scene, seeded(1), small=0, cut=1)
    full = shapes.paint(scene, where)
    for i in range(0, 200, 20):
        top, left = micro[i, 1:].tolist()
        assert torch.allclose(x[i, :, : 32 - top, : 32 - left], full[i, :, top:, left:], atol=1e-4)


def test_pictures_as_found_are_described_by_micro():
    x = torch.rand(2000, 2, 16, 16, generator=seeded(1))
    y, micro = as_found(x, seeded(2))
    side, top, left = micro.unbind(1)
    assert set(side.tolist()) == {4, 8, 16} and float((side == 16).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert int(top.max()) == int(left.max()) == 6 and ((top == 0) == (left == 0)).all()
    assert torch.equal(y[side == 4], downscale(y[side == 4], 4))
    whole = (side == 16) & (top == 0)
    assert torch.equal(y[whole], x[whole]) and float(whole.float().mean()) == pytest.approx(0.25, abs=0.04)
    cut = crop_pictures(x, top, left)
    for i in range(0, 2000, 200):
        a, b = top[i], left[i]
        assert torch.equal(cut[i, :, : 16 - a, : 16 - b], x[i, :, a:, b:]) and (cut[i, :, 16 - a :] == -1).all()
    large = side == 16
    assert torch.equal(y[large], cut[large])
    with pytest.raises(ValueError, match="top must be 4 whole numbers from 0 to 16"):
        crop_pictures(x[:4], torch.tensor([0, 1, 2, 17]), torch.zeros(4, dtype=torch.long))


# The network


def test_a_network_of_digits_takes_label_and_micro():
    network = recipe.micro_network()
    for p in network.net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    x, label = torch.randn(3, 1, 16, 16, generator=seeded(1)), torch.tensor([1, 10, 3])
    assert network.given(NULL).cond.tolist() == [[10, 16, 0, 0]]
    assert network.given((label, (4, 1, 2))).cond.tolist() == [[1, 4, 1, 2], [10, 4, 1, 2], [3, 4, 1, 2]]
    outputs = [network.given((label, m))(x, 500).value for m in ((16, 0, 0), (8, 0, 0), (16, 3, 0), (16, 0, 3))]
    assert all(not torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
    guided = classifier_free(network, (label, (4, 1, 2)), 3.0)
    assert guided.uncond.cond.tolist() == [[10, 4, 1, 2]]
    for bad in ((16, 0), (16.0, 0.0, 0.0), (16, -1, 0)):
        with pytest.raises(ValueError, match="micro must be three whole numbers"):
            network.given((label, bad))
    (*_, end) = recipe.train_micro(network, *recipe.digit_collection(50), steps=2)
    (*_, last) = recipe.train_micro(network, *recipe.digit_collection(50), steps=1, last=200)
    assert end.step == 2 and last.step == 1


def test_each_input_has_its_say_and_members_do_not_mix(net):
    rng = seeded(1)
    x, time = torch.randn(3, 4, 8, 8, generator=rng), torch.rand(3, generator=rng)
    prompts = ["a red star", "two blue squares", ""]
    micro = torch.tensor([[32, 0, 0], [8, 3, 5], [16, 5, 3]])
    before = net(x, time, net.as_condition((prompts, micro)))
    assert before.shape == x.shape
    alone = torch.cat([net(x[i : i + 1], time[i : i + 1], net.as_condition((prompts[i], micro[i]))) for i in range(3)])
    assert torch.allclose(before, alone, atol=1e-3 * float(before.detach().abs().max()))
    others = [(prompts, micro + torch.tensor(step)) for step in ((4, 0, 0), (0, 2, 0), (0, 0, 2))] + [
        (prompts[1:] + prompts[:1], micro)
    ]
    for other in others:
        assert ((net(x, time, net.as_condition(other)) - before).flatten(1).abs().amax(1) > 1e-4).all()


def test_what_is_left_out_is_a_whole_picture_and_null_is_no_caption(net):
    both = net.as_condition((["a red star"], WHOLE))
    assert torch.equal(net.as_condition(["a red star"]), both) and both.shape == (1, captions.LENGTH + 3)
    assert torch.equal(net.as_condition(NULL), net.as_condition(("", WHOLE)))
    assert torch.equal(net.as_condition((NULL, (8, 0, 0)))[:, captions.LENGTH :], torch.tensor([[8, 0, 0]]))


@pytest.mark.parametrize("micro", [(32, 0), (32.0, 0.0, 0.0), (32, -1, 0), [[32, 0, 0], [32, 0, 0]]])
def test_the_network_refuses_what_does_not_fit(net, micro):
    with pytest.raises(ValueError, match="micro must be three whole numbers for each caption"):
        net.as_condition((["a red star"], micro))


# The refiner


def test_an_expert_switch_changes_at_its_time():
    one, other = (Network(lambda x, time, value=value: 0 * x + value, PROCESS) for value in (1.0, 2.0))
    relay, x = ExpertSwitch(one, other, 200), torch.zeros(2, 3, 4, 4)
    assert relay.process is PROCESS
    assert [float(relay(x, t).eps.mean()) for t in (1000, 201, 200, 1)] == [1, 1, 2, 2]


def test_a_refiner_learns_from_little_noise_alone():
    class Told:
        process = PROCESS

        def __call__(self, x_t, t):
            self.t = t
            return type("Answer", (), {"value": 0 * x_t})

        def target(self, x0, t, eps):
            return eps

    conditioned = Told()
    loss = refiner_loss(conditioned, torch.zeros(4000, 1, 2, 2), 12, seeded(0))
    assert set(conditioned.t.tolist()) == set(range(1, 13)) and float(loss) == pytest.approx(1, abs=0.05)


def test_at_first_size_and_crop_add_nothing():
    network = recipe.sdxl_network()
    recipe.init_from_latent2shape(network.net.eval())
    x, prompts = torch.randn(2, 4, 8, 8, generator=seeded(1)), ["a red circle", "three pink stars"]
    before = models.load("latent2shape").given(prompts)(x, 500).value
    assert torch.allclose(network.given((prompts, (8, 3, 5)))(x, 500).value, before, atol=1e-5)


def test_training_and_drawing(monkeypatch):
    few = recipe.encoded(64)
    monkeypatch.setattr(recipe, "encoded", lambda folder: few)
    base, refiner = recipe.sdxl_network(), recipe.sdxl_network(seed=1)
    before = [p.clone() for p in base.net.parameters()]
    (*_, end) = recipe.train_sdxl(base, steps=2)
    assert end.step == 2 and any(not torch.equal(p, q) for p, q in zip(before, base.net.parameters()))
    prompts = ["a red circle", "two pink stars"]

    def draw(refiner=None, micro=WHOLE):
        denoiser, *last = (classifier_free(net, (prompts, micro), 3.0) for net in (base, refiner) if net)
        z = sample(ExpertSwitch(denoiser, *last) if last else denoiser, base.draw_noise(2, seeded(1)), 8)  # the last t is 125
        return models.load("autoencoder").decode(z)

    for p in (*base.net.parameters(), *refiner.net.parameters()):
        nn.init.normal_(p, std=0.1 / max(1, p.ndim - 1))
    plain = draw()
    assert plain.shape == (2, 3, 32, 32) and float(plain.abs().max()) <= 1
    assert not torch.equal(plain, draw(refiner=refiner)) and not torch.equal(plain, draw(micro=(8, 0, 0)))


@pytest.mark.parametrize("micro", [WHOLE, (8, 3, 5), torch.tensor([[8, 0, 0], [32, 3, 5]])])
def test_the_null_condition_keeps_size_and_crop(net, micro):
    network = Network(net, PROCESS, "v")
    guided = classifier_free(network, (["a red circle", "three pink stars"], micro), 3.0)
    assert (guided.uncond.cond[:, : captions.LENGTH] == captions.tokens("")).all()
    assert (guided.uncond.cond[:, captions.LENGTH :] == torch.as_tensor(micro)).all()
    plain = classifier_free(network, ["a red circle", "three pink stars"], 3.0)
    assert (plain.uncond.cond[:, captions.LENGTH :] == torch.tensor(WHOLE)).all()


def test_a_switch_of_experts_is_parted_like_its_experts(net):
    network = Network(net, PROCESS, "v")
    prompts, noise = ["a red circle", "three pink stars", "a blue square"], torch.randn(3, 4, 8, 8, generator=seeded(1))
    switch = ExpertSwitch(network.given((prompts, (8, 3, 5))), network.given(prompts), at=500)
    assert torch.allclose(sample(switch, noise, 2, batch=2), sample(switch, noise, 2), atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_times_of_a_refiner_are_up_to_last(weighted, monkeypatch):
    times = []
    record = lambda denoiser, x0, rng, t: times.append(t) or denoising_loss(denoiser, x0, rng, t)
    monkeypatch.setattr(recipe, "denoising_loss", record)
    monkeypatch.setattr("course_lib.methods.sdxl.denoising_loss", record)
    x, label, micro = recipe.digit_collection(20)
    list(recipe.train_micro(recipe.micro_network(0), x, label, micro, 4, batch=32, last=200, weighted=weighted))
    t = torch.cat(times)
    assert len(t) == 128 and 1 <= t.min() and t.max() <= 200
    assert float((t <= 66).float().mean()) == pytest.approx(0.09 if weighted else 0.33, abs=0.12)
