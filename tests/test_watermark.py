"""Marks in the noise, and the score that finds copies: against what they promise."""

import pytest
import torch

from course_lib import metrics
from course_lib.datasets.points import ring
from course_lib.methods.watermark import add_mark, draw_key, match
from course_lib.process import seeded

NOISE = torch.randn(200, 1, 16, 16, generator=seeded(100))


def frequencies(x):
    return torch.fft.fft2(x, norm="ortho")


# The key


def test_a_random_key_is_a_part_of_another_noise():
    key = draw_key(16, 3, 5, seed=3, pattern="rand")
    other = torch.randn(16, 16, generator=seeded(3))
    at = (torch.fft.fftfreq(16) * 16).square()
    inside = ((at[:, None] + at) >= 9) & ((at[:, None] + at) <= 25)
    assert key.mask.equal(inside) and torch.allclose(key.value[inside], frequencies(other)[inside])
    assert 0.6 < float(key.value[inside].abs().square().mean()) < 1.5


def test_rings_have_one_size_each_and_survive_mirrors_and_quarter_turns():
    key = draw_key(16, 1, 5, seed=3)
    at = (torch.fft.fftfreq(16) * 16).square()
    radius = (at[:, None] + at).sqrt()
    for number in range(1, 6):
        value = key.value[key.mask & (radius.round() == number)]
        assert torch.allclose(value.abs(), value.abs()[0].expand(len(value)), atol=1e-5)
    x = add_mark(NOISE, key)
    for moved in (x.flip(-1), x.flip(-2), x.rot90(1, (-2, -1)), x.rot90(2, (-2, -1))):
        assert torch.allclose(match(moved, key), torch.ones(200), atol=1e-4)
    rand = draw_key(16, 1, 5, seed=3, pattern="rand")
    assert float(match(add_mark(NOISE, rand).rot90(1, (-2, -1)), rand).abs().max()) < 0.5
    with pytest.raises(ValueError, match="pattern must be one of rings, rand"):
        draw_key(16, pattern="zeros")


def test_a_seed_is_a_key():
    assert torch.equal(draw_key(16, seed=1).value, draw_key(16, seed=1).value)
    assert any(not torch.equal(draw_key(16).value, draw_key(16, seed=seed).value) for seed in range(1, 5))


@pytest.mark.parametrize("inner, outer", [(0, 5), (6, 6), (7, 5), (12, 15)])
def test_a_ring_that_does_not_fit_is_refused(inner, outer):
    with pytest.raises(ValueError, match="inner and outer must hold frequencies from 1 to 11.3"):
        draw_key(16, inner, outer)


# The mark


def test_marked_noise_carries_the_key_and_nothing_else_is_changed():
    key = draw_key(16)
    x = add_mark(NOISE, key)
    assert torch.allclose(frequencies(x)[..., key.mask], key.value[key.mask], atol=1e-5)
    assert torch.allclose(frequencies(x)[..., ~key.mask], frequencies(NOISE)[..., ~key.mask], atol=1e-5)
    assert abs(float(x.var()) - 1) < 0.3 and x.dtype == NOISE.dtype


def test_match_is_1_for_the_key_0_for_noise_and_does_not_mind_strength():
    key = draw_key(16)
    assert torch.allclose(match(add_mark(NOISE, key), key), torch.ones(200), atol=1e-4)
    assert torch.allclose(match(0.1 * add_mark(NOISE, key), key), torch.ones(200), atol=1e-4)
    plain = match(NOISE, key)
    assert abs(float(plain.mean())) < 0.02 and float(plain.abs().max()) < 0.5
    assert torch.allclose(match(-add_mark(NOISE, key), key), -torch.ones(200), atol=1e-4)


def test_another_key_does_not_match():
    x = add_mark(NOISE, draw_key(16))
    assert float(match(x, draw_key(16, seed=1)).abs().max()) < 0.3


def test_a_mark_leaves_no_pixel_that_stands_out():
    """Waves that all begin alike would meet in one corner."""
    for seed in range(5):
        x = add_mark(NOISE, draw_key(16, seed=seed))
        assert float(x.mean(0).abs().max()) < 3.5 and float(x.abs().max()) < 6


def test_each_channel_carries_it():
    x = torch.randn(4, 3, 16, 16, generator=seeded(1))
    key = draw_key(16, 2, 4)
    assert torch.allclose(match(add_mark(x, key), key), torch.ones(4), atol=1e-4)


# Copies


def test_a_copy_scores_low_and_what_is_new_does_not():
    known = ring().sample(500, seeded(0))[0]
    new = ring().sample(200, seeded(1))[0]
    score, which = metrics.memorisation(torch.cat([known[:20] + 1e-6, new]), known, n=20)
    assert score[:20].max() < 1e-3 < score[20:].median() and torch.equal(which[:20], torch.arange(20))
    assert (score >= 0).all() and (score <= 1).all()


def test_the_score_is_relative_to_the_neighbourhood():
    known = torch.randn(300, 1, 4, 4, generator=seeded(2))
    x = torch.randn(10, 1, 4, 4, generator=seeded(3))
    assert torch.allclose(metrics.memorisation(x, known)[0], metrics.memorisation(7 * x, 7 * known)[0])


def test_more_neighbours_than_there_are_is_refused():
    with pytest.raises(ValueError, match="n must be at most the 10 that are known, got 50"):
        metrics.memorisation(torch.randn(3, 2), torch.randn(10, 2))
