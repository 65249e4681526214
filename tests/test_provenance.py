"""Marks in the noise, and the score that finds copies: against what they promise."""

import pytest
import torch

from course_lib import metrics
from course_lib.datasets.points import ring
from course_lib.provenance import marked, match, rings

NOISE = torch.randn(200, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def frequencies(x):
    return torch.fft.fft2(x, norm="ortho")


# The key


def test_rings_are_whole_and_as_strong_as_noise():
    key = rings(16, 5, seed=3)
    assert set(key.value.unique().tolist()) <= {-1.0, 0.0, 1.0} and not key.mask[0, 0]
    at = (torch.fft.fftfreq(16) * 16).square()
    radius = (at[:, None] + at).sqrt().round()
    assert all(len(key.value[radius == r].unique()) == 1 for r in range(1, 9))
    assert key.mask.equal((radius >= 1) & (radius <= 5))


def test_a_seed_is_a_key():
    assert torch.equal(rings(16, 7, 1).value, rings(16, 7, 1).value)
    assert any(not torch.equal(rings(16, 7, 0).value, rings(16, 7, seed).value) for seed in range(1, 5))


@pytest.mark.parametrize("radius", [0, 8, -1])
def test_a_ring_that_does_not_fit_is_refused(radius):
    with pytest.raises(ValueError, match="radius must"):
        rings(16, radius)


# The mark


def test_marked_noise_carries_the_key_and_nothing_else_is_changed():
    key = rings(16, 6)
    x = marked(NOISE, key)
    assert torch.allclose(frequencies(x)[..., key.mask], key.value[key.mask].to(torch.complex64), atol=1e-5)
    assert torch.allclose(frequencies(x)[..., ~key.mask], frequencies(NOISE)[..., ~key.mask], atol=1e-5)
    assert abs(float(x.var()) - 1) < 0.02 and x.dtype == NOISE.dtype


def test_match_is_1_for_the_key_0_for_noise_and_does_not_mind_strength():
    key = rings(16, 6)
    assert torch.allclose(match(marked(NOISE, key), key), torch.ones(200), atol=1e-4)
    assert torch.allclose(match(0.1 * marked(NOISE, key), key), torch.ones(200), atol=1e-4)
    plain = match(NOISE, key)
    assert abs(float(plain.mean())) < 0.02 and float(plain.abs().max()) < 0.4
    assert torch.allclose(match(-marked(NOISE, key), key), -torch.ones(200), atol=1e-4)


def test_a_mirrored_noise_still_matches_and_another_key_does_not():
    key, other = rings(16, 6, 0), rings(16, 6, 1)
    x = marked(NOISE, key)
    assert float(match(x.flip(-1).roll(1, -1), key).min()) > 0.99  # mirrored about pixel 0
    overlap = float((key.value * other.value).sum() / key.mask.sum())
    assert torch.allclose(match(x, other), torch.full((200,), overlap), atol=1e-4)


def test_each_channel_carries_it():
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    key = rings(16, 4)
    assert torch.allclose(match(marked(x, key), key), torch.ones(4), atol=1e-4)


# Copies


def test_a_copy_scores_low_and_what_is_new_does_not():
    known = ring().sample(500, torch.Generator().manual_seed(0))[0]
    new = ring().sample(200, torch.Generator().manual_seed(1))[0]
    score, which = metrics.memorisation(torch.cat([known[:20] + 1e-6, new]), known, n=20)
    assert score[:20].max() < 1e-3 < score[20:].median() and torch.equal(which[:20], torch.arange(20))
    assert (score >= 0).all() and (score <= 1).all()


def test_the_score_is_relative_to_the_neighbourhood():
    known = torch.randn(300, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    x = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(metrics.memorisation(x, known)[0], metrics.memorisation(7 * x, 7 * known)[0])


def test_more_neighbours_than_there_are_is_refused():
    with pytest.raises(ValueError, match="n must be at most the 10 that are known, got 50"):
        metrics.memorisation(torch.randn(3, 2), torch.randn(10, 2))
