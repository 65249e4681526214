"""CLIP guidance: the score moves up the likeness, in proportion to w, and the noise-blind CLIP is given time 0."""

import pytest
import torch
from torch import nn

from course_lib.denoisers import Network
from course_lib.methods.clip_guidance import ClipGuided
from course_lib.nets.clip import CLIP
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.teaching.checks import clip_guided_eps

PROCESS, SAID = DDPM(cosine_beta(100)), ["a red circle", "two blue stars"]


@pytest.fixture
def clip():
    torch.manual_seed(0)
    clip = CLIP(dim=8, width=16, words=16).eval().requires_grad_(False)
    for block in clip.blocks:
        nn.init.normal_(block.conv2.weight, std=0.1)
        nn.init.normal_(block.modulate.weight, std=0.2)
    return clip


@pytest.fixture
def denoiser():
    return Network(lambda x, time: 0.5 * x, PROCESS, "v")


X = torch.randn(2, 3, 32, 32, generator=seeded(1))


def test_no_weight_no_steering_and_twice_the_weight_twice_as_far(clip, denoiser):
    at = [ClipGuided(denoiser, clip, SAID, w)(X, 40) for w in (0.0, 1.0, 2.0)]
    assert torch.equal(at[0].value, denoiser(X, 40).value)
    moved = at[1].score - at[0].score
    assert moved.abs().max() > 1e-3 and torch.allclose(at[2].score - at[0].score, 2 * moved, atol=1e-4)


def test_the_score_moves_by_the_slope_of_the_likeness(clip, denoiser):
    guided = ClipGuided(denoiser, clip, SAID, 1.0)
    moved = (guided(X, 40).score - denoiser(X, 40).score).double()
    along, small = torch.randn(X.shape, generator=seeded(2)), 1e-2
    ahead, behind = (guided.likeness(X + step * along, 40).double() for step in (small, -small))
    slope = (ahead - behind) / (2 * small)
    assert torch.allclose((moved * along).sum((1, 2, 3)), slope, rtol=0.03, atol=1e-3)
    a = float(PROCESS.signal(40))
    cosine = (clip.encode_image(X, torch.full((2,), 0.4)) * clip.encode_text(clip.as_condition(SAID))).sum(1)
    assert torch.allclose(guided.likeness(X, 40), a * cosine, rtol=1e-4)


def test_it_is_the_guidance_of_the_exercise(clip, denoiser):
    text = clip.encode_text(clip.as_condition("a red circle"))[0]
    encode = lambda x, t: clip.encode_image(x, torch.full((len(x),), t / 100))
    eps = clip_guided_eps.answer(denoiser, encode, text, X, 40, 300.0)
    assert torch.allclose(ClipGuided(denoiser, clip, "a red circle", 300.0)(X, 40).eps, eps, atol=1e-4)


def test_the_predicted_picture_moves_by_w_b2_times_the_gradient_of_the_cosine(clip, denoiser):
    for t in (40, 100):
        x = X.clone().requires_grad_()
        cosine = (clip.encode_image(x, torch.full((2,), t / 100)) * clip.encode_text(clip.as_condition(SAID))).sum()
        push = 300 * PROCESS.noise(t) ** 2 * torch.autograd.grad(cosine, x)[0]
        moved = ClipGuided(denoiser, clip, SAID, 300.0)(X, t).x0 - denoiser(X, t).x0
        assert torch.allclose(moved, push.float(), rtol=1e-3, atol=1e-3 * float(push.abs().max()))


def test_a_clip_of_clean_pictures_is_given_time_0(clip, denoiser):
    knows, blind = (ClipGuided(denoiser, clip, SAID, 1.0, knows_noise=knows) for knows in (True, False))
    assert not torch.allclose(knows.likeness(X, 40), blind.likeness(X, 40), atol=1e-3)
    assert torch.allclose(knows.likeness(X, 0), blind.likeness(X, 0))


def test_it_is_a_denoiser_like_any_other(clip, denoiser):
    x = result(ddim(ClipGuided(denoiser, clip, "a red circle", 3.0), X, PROCESS.times(4)))
    assert x.shape == X.shape and x.isfinite().all() and not x.requires_grad


def test_bad_input_is_said(clip, denoiser):
    with pytest.raises(ValueError, match="w must be finite, got nan"):
        ClipGuided(denoiser, clip, SAID, float("nan"))
    with pytest.raises(ValueError, match="did you mean circle"):
        ClipGuided(denoiser, clip, "a red circel")
