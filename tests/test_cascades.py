"""Cascades: what the upsampler is given, and how the two stages join."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from course_lib.denoisers import NULL, Network
from course_lib.methods.cascades import augmented, cascade, film, upsampler_loss
from course_lib.nets.unet import UNet
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim
from course_lib.schedules import cosine_beta
from course_lib.training import denoising_loss, train
from course_lib.widgets.player import play

process = DDPM(cosine_beta(1000))


def network(**options):
    """An upsampler whose weights are all stirred, since some start at 0."""
    torch.manual_seed(0)
    net = Upsampler(**{"size": 16, "widths": (8, 16), "dim": 16, **options}).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    return Network(net, process, "v")


def base():
    torch.manual_seed(1)
    net = UNet(size=8, widths=(8, 16), classes=0, dim=16).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.2 / max(1, p.ndim - 1))
    return Network(net, process, "v")


@pytest.mark.parametrize("options", [{}, {"patch": 1}, {"channels": 3}, {"factor": 4}])
def test_picture_time_small_picture_and_level_have_their_say_and_members_do_not_mix(options):
    sr = network(**options)
    channels, factor = options.get("channels", 1), options.get("factor", 2)
    x, low = torch.randn(3, channels, 16, 16), torch.randn(3, channels, 16 // factor, 16 // factor)
    level, time = torch.tensor([0.0, 0.2, 0.5]), torch.tensor([0.1, 0.5, 0.9])
    output = lambda x, time, low, level: sr.net(x, time, sr.net.as_condition((low, level)))
    before = output(x, time, low, level).detach()
    assert before.shape == x.shape
    for changed in (output(x + 0.1, time, low, level), output(x, time + 0.1, low, level), output(x, time, low + 0.1, level)):
        assert ((changed - before).flatten(1).abs().amax(1) > 1e-4).all()
    assert ((output(x, time, low, level + 0.1) - before).flatten(1).abs().amax(1) > 1e-4).all()
    assert torch.allclose(before[1:2], output(x[1:2], time[1:2], low[1:2], level[1:2]), atol=1e-4 * float(before.abs().max()))


@pytest.mark.parametrize("options, label", [({}, ()), ({"classes": 3}, (2,))])
def test_every_weight_is_used(options, label):
    sr = network(**options)
    sr.given((torch.randn(2, 1, 8, 8), 0.3, *label))(torch.randn(2, 1, 16, 16), 500).value.square().sum().backward()
    assert [name for name, p in sr.net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_class_changes_the_output_and_none_is_the_null_class():
    sr, x, low, label = network(classes=3), torch.randn(3, 1, 16, 16), torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 2])
    value = lambda *cond: sr.given(cond if len(cond) > 1 else low)(x, 500).value.detach()
    each = [value(low, 0.0, c) for c in range(3)]
    assert torch.equal(value(low), value(low, 0.0)) and torch.equal(value(low), value(low, 0.0, NULL))
    for one, other in pairwise([value(low), *each]):
        assert ((one - other).flatten(1).abs().amax(1) > 1e-4).all()
    assert torch.allclose(value(low, 0.0, label), torch.stack([made[i] for i, made in enumerate(each)]), atol=1e-4)
    with pytest.raises(ValueError, match="label must be one or one for each of 3 pictures"):
        sr.given((low, 0.0, label[:2]))
    with pytest.raises(ValueError, match="label must lie in 0..2"):
        sr.given((low, 0.0, 3))
    with pytest.raises(TypeError, match="cond must have no label, since this upsampler has no classes, got 1"):
        network().given((low, 0.0, 1))


def test_the_label_reaches_the_upsampler_from_the_loss_and_from_the_cascade():
    sr, label = network(classes=3), torch.tensor([2, 0])
    x0, noises, times = torch.randn(2, 1, 16, 16), (torch.randn(2, 1, 8, 8), torch.randn(2, 1, 16, 16)), process.times(3)
    losses = [float(upsampler_loss(sr, x0, seeded(0), 0, label)) for label in (None, label)]
    low = avg_pool2d(x0, 2)
    rng = seeded(0)
    torch.randint(0, 1, (2,), generator=rng), torch.randn(low.shape, generator=rng)  # what upsampler_loss draws before
    assert losses[1] == float(denoising_loss(sr.given((low, 0.0, label)), x0, rng)) != losses[0]
    *_, last = cascade(base(), sr, noises, times, label=label)
    small = list(ddim(base(), noises[0], times))[-1].x
    assert torch.equal(last.x, list(ddim(sr.given((small, 0.0, label)), noises[1], times))[-1].x)


def test_augmented_is_the_process_and_tells_its_time():
    low = torch.full((20_000, 1, 1, 1), 0.5)
    noisy, level = augmented(process, low, 300, seeded(0))
    assert level.shape == (20_000,) and level.unique().tolist() == pytest.approx([0.3])
    assert noisy.mean().item() == pytest.approx(0.5 * float(process.signal(300)), abs=0.01)
    assert noisy.std().item() == pytest.approx(float(process.noise(300)), abs=0.01)
    clean, level = augmented(process, low, 0)
    assert torch.equal(clean, low) and not level.any()


def test_the_loss_falls_and_uses_the_small_picture():
    """Pictures of one shade: the small picture gives the shade, so that no guess without it reaches the same loss."""
    torch.manual_seed(0)
    sr, rng = Network(Upsampler(size=8, widths=(8,), dim=16, patch=1), process, "x0"), seeded(0)

    def loss():
        x0 = (2 * torch.randint(2, (64, 1, 1, 1), generator=rng) - 1.0).expand(-1, 1, 8, 8)
        return upsampler_loss(sr, x0, rng, max_s=0)

    history = list(train(loss, sr.net, 60, lr=1e-2))
    assert history[0].loss > 0.9 and loss().item() < 0.1


def test_most_bounds_the_levels_that_are_seen():
    seen = []

    class Watcher(nn.Module):
        as_condition, low, label = Upsampler.as_condition, (1, 4, 4), None

        def forward(self, x, time, cond):
            seen.append(cond[:, -1, 0, 0])
            return x

    upsampler_loss(Network(Watcher(), process), torch.randn(2000, 1, 8, 8), seeded(0), max_s=600)
    assert 0 <= seen[0].min() < 0.01 and 0.59 < seen[0].max() <= 0.6 and seen[0].mean().item() == pytest.approx(0.3, abs=0.01)


def test_a_cascade_is_the_base_and_then_the_upsampler_given_what_it_drew():
    noises, times = (torch.randn(2, 1, 8, 8), torch.randn(2, 1, 16, 16)), process.times(4)
    steps = list(cascade(base(), network(), noises, times))
    first = list(ddim(base(), noises[0], times))
    second = list(ddim(network().given(first[-1].x), noises[1], times))
    assert [step.t for step in steps] == [step.t for step in first + second]
    assert all(torch.equal(a.x, b.x) for a, b in zip(steps, first + second, strict=True))


def test_truncated_stops_the_base_at_s_and_hands_over_its_noise():
    noises, times = (torch.randn(2, 1, 8, 8), torch.randn(2, 1, 16, 16)), process.times(4)
    steps = list(cascade(base(), network(), noises, times, s=300, truncated=True))
    assert [step.t for step in steps] == [1000, 750, 500, 300, 1000, 750, 500, 250, 0]
    given = network().given((steps[3].x, 0.3))
    assert torch.equal(steps[-1].x, list(ddim(given, noises[1], times))[-1].x)
    whole = [list(cascade(base(), network(), noises, times, truncated=cut))[-1].x for cut in (True, False)]
    assert torch.equal(*whole)


def test_a_film_is_of_one_size_with_falling_times_and_plays():
    steps = list(cascade(base(), network(), (torch.randn(2, 1, 8, 8), torch.randn(2, 1, 16, 16)), process.times(4)))
    frames = film(steps, process.T)
    assert [frame.t for frame in frames] == [2000, 1750, 1500, 1250, 1000, 750, 500, 250, 0]
    assert {tuple(frame.x.shape) for frame in frames} == {(2, 1, 16, 16)}
    assert torch.equal(avg_pool2d(frames[1].x, 2), steps[1].x)
    assert "course-player" in play(frames, draw=lambda frame: {"x": frame.x}).html


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: network().given(torch.zeros(2, 1, 16, 16)), r"cond must be \(B, 1, 8, 8\), got shape \(2, 1, 16, 16\)"),
        (lambda: network().given((torch.zeros(2, 1, 8, 8), 300.0)), r"level must lie in \[0, 1\], got 300"),
        (lambda: network()(torch.zeros(2, 1, 16, 16), 5), "this network needs a condition"),
        (lambda: Upsampler(size=16, factor=3), "factor must divide size 16, got 3"),
        (lambda: network().given((torch.full((1, 1, 8, 8), float("nan")), 0.1)), "cond must be finite"),
    ],
)
def test_bad_input_is_named_in_one_line(call, words):
    with pytest.raises(ValueError, match=words):
        call()
