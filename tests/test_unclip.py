"""unCLIP's parts: the caption and the vector reach the networks, the loss is the paper's, the method draws in two steps."""

import pytest
import torch

from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import NULL
from course_lib.methods.unclip import UnCLIP, image_embedding
from course_lib.nets.clip import CLIP
from course_lib.nets.text import Paraphraser
from course_lib.nets.unclip import EmbeddingTokens, Prior
from course_lib.process import seeded
from course_lib.samplers import ddim, result
from course_lib.training import denoising_loss
from course_lib.zoo.recipes.shapes import text2shape_network
from course_lib.zoo.recipes.unclip import decoder_network, prior_network

SAID = ["a red circle left of a blue square", "two white stars"]


def shaken(net):
    """The net with all weights moved a little: what starts at zero would say nothing."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return net.eval()


@pytest.fixture(scope="module")
def method():
    prior, decoder = prior_network(), decoder_network()
    shaken(prior.net), shaken(decoder.net)
    return UnCLIP(shaken(CLIP()).requires_grad_(False), prior, decoder)


def test_vectors_are_as_long_as_a_process_expects(method):
    x = shapes.draw(scenes.sample(5, seeded(0)), seeded(1))
    for z in (method.embed_images(x), image_embedding(method.clip, x), method.embed_captions(SAID)):
        assert torch.allclose(z.square().mean(1), torch.ones(len(z)), atol=1e-5)


def test_the_prior_depends_on_the_caption_the_time_and_the_vector(method):
    z, t = torch.randn(2, 64, generator=seeded(2)), torch.tensor([300, 700])
    prior = method.prior
    with torch.no_grad():
        prompts = prior.given(SAID)(z, t).x0
        assert prompts.shape == z.shape
        assert (prompts - prior.given(SAID[::-1])(z, t).x0).abs().min(1).values.max() > 1e-5
        assert not torch.allclose(prompts, prior.given(NULL)(z, t).x0, atol=1e-4)
        assert not torch.allclose(prompts, prior.given(SAID)(z, t.flip(0)).x0, atol=1e-4)
        assert not torch.allclose(prompts, prior.given(SAID)(z.flip(0), t).x0, atol=1e-4)
        alone = prior.given(SAID[1])(z[1:], t[1:]).x0
    assert torch.allclose(prompts[1:], alone, atol=1e-5)  # members of a batch do not mix, padding has no effect


def test_the_priors_loss_is_its_papers(method):
    """Ramesh et al. 2022, eq. 2, but for the mean over components."""
    z = torch.randn(4, 64, generator=seeded(3))
    prior = method.prior.given(SAID + SAID)
    with torch.no_grad():
        loss = denoising_loss(prior, z, seeded(4))
        rng = seeded(4)
        t = prior.process.sample_t(4, rng)
        z_t = prior.process.add_noise(z, t, torch.randn(z.shape, generator=rng))
        want = (prior.net(z_t, t / prior.process.T, prior.cond) - z).square().sum(1).mean() / 64
    assert torch.allclose(loss, want, rtol=1e-5)


def test_the_decoder_draws_from_the_vector_and_null_is_zero(method):
    x, z = torch.randn(2, 3, 32, 32), method.embed_captions(SAID)
    with torch.no_grad():
        drawn = method.decoder.given(z)(x, 500).x0
        assert drawn.shape == x.shape
        assert not torch.allclose(drawn, method.decoder.given(z.flip(0))(x, 500).x0, atol=1e-4)
        null = method.decoder.given(NULL)(x, 500).x0
    assert torch.equal(null, method.decoder.given(torch.zeros(1, 64))(x, 500).x0)


def test_the_decoder_starts_from_all_of_text2shape_but_its_text_encoder():
    """What `train_decoder` starts from: the same names and shapes, but for what reads the condition."""
    network, decoder = text2shape_network().net.state_dict(), decoder_network().net.state_dict()
    for name, w in network.items():
        assert name.startswith("text.") or decoder[name].shape == w.shape
    assert all(name in network or name.startswith("text.") for name in decoder)


def test_of_two_imagined_vectors_the_one_that_clip_finds_more_alike_is_kept(method):
    prompts = method.embed_captions(SAID)
    kept = method.sample_prior(SAID, steps=3, rng=seeded(5))
    start = torch.randn(2, *prompts.shape, generator=seeded(5))
    both = torch.stack([result(ddim(method.prior.given(SAID), z, method.prior.process.times(3))) for z in start])
    best = (both * prompts).sum(2).max(0).values
    assert torch.allclose((kept * prompts).sum(1), best, atol=1e-3)


def test_a_picture_of_each_vector_from_one_seed(method):
    z = method.embed_captions(SAID)
    x, again = (method.sample(z, steps=2, rng=seeded(6)) for _ in range(2))
    assert x.shape == (2, 3, 32, 32) and torch.equal(x, again) and x.abs().max() <= 1


def test_a_paraphraser_answers_every_place():
    net = Paraphraser()
    assert net(captions.tokens(SAID)).shape == (2, captions.LENGTH, len(captions.WORDS))


@pytest.mark.parametrize("cond", [3, "a red circle", torch.zeros(64), torch.zeros(2, 63), torch.zeros(2, 64, dtype=torch.long)])
def test_what_is_no_vector_is_refused(cond):
    with pytest.raises(TypeError, match=r"z must be CLIP's vectors \(B, 64\), got"):
        EmbeddingTokens().as_condition(cond)


def test_a_prior_is_small():
    assert sum(p.numel() for p in Prior().parameters()) < 600_000
