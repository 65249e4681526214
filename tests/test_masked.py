"""Masked diffusion of words: the bound of an exact denoiser is -log p, and decoders write what enumeration says they do."""

import itertools
import math

import pytest
import torch
from diffusers import AmusedScheduler

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.markov import MarkovLanguage, random_language
from course_lib.methods.masked import (
    ancestral_words,
    guided_words,
    log_probabilities,
    mask_tokens,
    masked_diffusion_loss,
    parallel_decoding,
)
from course_lib.methods.masked_exact import Enumerated
from course_lib.nets.language import MASK, Captioner
from course_lib.process import seeded

LANGUAGE = random_language(seeded(1), 3, 4)  # 3^4 = 81 sentences
EXACT = Enumerated(LANGUAGE, 3, 4)
P = LANGUAGE.log_prob(EXACT.x).exp()


def law(z):
    """The shares of the sentences of EXACT among z (B, 4)."""
    return torch.bincount((z * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double() / len(z)


def distance(p, q):
    return float((p - q).abs().sum() / 2)


def last(steps):
    *_, end = steps
    return end.z


def test_the_language_is_a_distribution_and_its_samples_follow_it():
    assert math.isclose(float(P.sum()), 1) and (P == 0).any()
    assert distance(law(LANGUAGE.sample(50_000, seeded(2))), P) < 0.02
    assert torch.allclose(LANGUAGE.independent().sum(1), torch.ones(4).double())


def test_the_posterior_is_that_of_enumeration():
    for z in ([3, 3, 3, 3], [0, 3, 3, 1], [3, 2, 3, 3], [3, 3, 0, 3]):
        z = torch.tensor(z)
        fits = ((EXACT.x == z) | (z == 3)).all(1)
        if P[fits].sum() == 0:
            continue
        want = torch.stack([(P * fits)[(EXACT.x[:, i] == v)].sum() for i in range(4) for v in range(3)]).view(4, 3)
        assert torch.allclose(LANGUAGE(z[None])[0].exp(), want / P[fits].sum(), atol=1e-9)


def test_a_word_is_masked_with_probability_t():
    z = mask_tokens(torch.zeros(2, 50_000, dtype=torch.long), torch.tensor([0.2, 0.9]), 3, seeded(1))
    assert torch.allclose((z == 3).double().mean(1), torch.tensor([0.2, 0.9]).double(), atol=0.01)


def test_the_bound_of_the_exact_denoiser_is_minus_log_p():
    assert torch.allclose(EXACT.bound()[P > 0], -P[P > 0].log(), atol=1e-9)


def test_the_bound_of_another_denoiser_is_above():
    """Of a denoiser that is the exact one of another language, the bound is a bound on that language's -log p: equal to it."""
    apart = LANGUAGE.independent().log()
    bound = Enumerated(lambda z: apart.expand(len(z), -1, -1), 3, 4).bound()
    assert (
        torch.allclose(bound, -apart[torch.arange(4), EXACT.x].sum(1), atol=1e-9)
        and (P * bound).sum() > EXACT.bound()[P > 0] @ P[P > 0]
    )


def test_the_loss_is_the_bound_on_average():
    x0 = EXACT.x[P > 0][:1].expand(40_000, -1)
    apart = LANGUAGE.independent().log()
    denoiser = lambda z: apart + 0.5 * torch.nn.functional.one_hot(z, 4)[..., :3].sum(1, keepdim=True)
    want = Enumerated(denoiser, 3, 4).bound()[P > 0][0]
    assert abs(float(masked_diffusion_loss(denoiser, x0, 3, seeded(3)) - want)) < 0.03 * float(want)


def test_logits_of_the_mask_do_not_count():
    logits = torch.randn(2, 3, 5, generator=seeded(1))
    log_p = log_probabilities(lambda z: logits, torch.zeros(2, 3, dtype=torch.long), 4)
    assert torch.allclose(log_p[..., :4], logits[..., :4].log_softmax(2)) and (log_p[..., 4] == -torch.inf).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ["random", "confidence", "position"])
def test_decoders_write_what_enumeration_says(order, n):
    z = last(parallel_decoding(LANGUAGE, torch.full((40_000, 4), 3), n, 3, order, seeded(4)))
    exact = EXACT.decode(n, order)
    assert math.isclose(float(exact.sum()), 1) and distance(law(z), exact) < 0.025


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ancestral_sampling_writes_what_enumeration_says(eta):
    z = last(ancestral_words(LANGUAGE, torch.full((40_000, 4), 3), 3, 3, eta, seeded(5)))
    assert distance(law(z), EXACT.ancestral(3, eta)) < 0.025
    assert distance(EXACT.ancestral(200, eta), P) < 0.05 < distance(EXACT.ancestral(2, eta), P)


def test_one_word_at_a_time_is_exact_in_an_order_that_does_not_look_at_the_drawn_word():
    for order in ("random", "position"):
        assert distance(EXACT.decode(4, order), P) < 1e-9
    assert distance(EXACT.decode(4, "confidence"), P) > 0.1


def test_independent_words_are_exact_in_one_step():
    apart = LANGUAGE.independent().log()
    exact = Enumerated(lambda z: apart.expand(len(z), -1, -1), 3, 4).decode(1)
    assert torch.allclose(exact, apart.exp()[torch.arange(4), EXACT.x].prod(1))


def test_remasking_keeps_the_share_of_masked_words():
    steps = list(ancestral_words(LANGUAGE, torch.full((20_000, 4), 3), 8, 3, 0.5, seeded(6)))
    for step in steps:
        assert abs(float((step.z == 3).double().mean()) - step.t) < 0.01
    again = [((a.z != 3) & (b.z == 3)).any() for a, b in itertools.pairwise(steps)]
    assert any(again) and not again[-1]


def test_confidence_decoding_keeps_the_words_that_diffusers_keeps():
    """With words that are nearly sure, so that the draws are the same, and temperature 0."""
    miss = 1e-6 * (1 + torch.rand(3, 9, generator=seeded(1)).argsort(1).double())
    words = torch.randint(5, (3, 9), generator=seeded(2))
    logits = (math.log(4) + (1 - miss).log() - miss.log()).float()[..., None] * torch.nn.functional.one_hot(words, 5)
    scheduler = AmusedScheduler(mask_token_id=5, masking_schedule="linear")
    scheduler.set_timesteps(4, temperature=(0, 0))
    theirs = torch.full((3, 9), 5)
    steps = list(parallel_decoding(lambda z: logits, theirs, 4, 5, rng=seeded(3)))
    for t, step in zip(scheduler.timesteps, steps[1:]):
        theirs = scheduler.step(logits, t, theirs).prev_sample
        assert torch.equal(step.z, theirs)


def test_guidance_mixes_logarithms():
    a, b = torch.randn(2, 3, 4, generator=seeded(1)), torch.randn(2, 3, 4, generator=seeded(2))
    z = torch.zeros(2, 3, dtype=torch.long)
    p = guided_words(lambda z: a, lambda z: b, 2.0)(z).softmax(2)
    want = a.softmax(2) ** 2 / b.softmax(2)
    assert torch.allclose(p, want / want.sum(2, keepdim=True), atol=1e-5)
    assert torch.allclose(guided_words(lambda z: a, lambda z: b, 1.0)(z).softmax(2), a.softmax(2), atol=1e-6)


def test_every_caption_is_read_as_what_it_mentions():
    scene = scenes.sample(2000, seeded(1))
    told, mentioned = captions.tell(scene, seeded(2))
    grammatical, seen = captions.read(told)
    assert grammatical.all()
    for name in ("shape", "colour", "size", "place", "relation"):
        assert torch.equal(getattr(seen, name), getattr(mentioned, name)), name
    assert scenes.matches(scene, seen)["all"][0].all()
    other = scenes.matches(scene[torch.arange(2000).roll(1)], seen)["all"][0]
    assert other.double().mean() < 0.1


def test_what_is_no_caption_is_not_read():
    wrong = ["", "a red", "red circle", "two red circle", "a circle red", "a red circle left of", "is a red circle"]
    wrong += [
        "a big blue box left of a star",
        "left of a red box a blue disc",
        "a red circle in the middle left of a blue star",
    ]
    grammatical, seen = captions.read(wrong)
    assert not grammatical.any() and (seen.count == 0).all()


def network(causal):
    torch.manual_seed(0)
    return Captioner(16, 1, 4, causal)


@pytest.mark.parametrize("causal", [False, True])
def test_what_a_position_of_the_captioner_depends_on(causal):
    net, z = network(causal), torch.randint(2, 30, (1, 6), generator=seeded(1))
    picture = torch.rand(1, 192, generator=seeded(2))
    change = z.clone()
    change[0, 3] += 1
    moved = (net(z, picture) != net(change, picture)).any(2)[0].tolist()
    assert moved == ([False] * 4 + [True] * 2 if causal else [True] * 6)
    assert (net(z, picture) != net(z)).all(2).any() and torch.equal(net(z), net(z, torch.zeros(1, 192)))


def test_the_captioner_trains_on_pictures():
    scene = scenes.sample(4, seeded(1))
    assert shapes.draw(scene, seeded(2)).shape == (4, 3, 32, 32)
    net, x0 = network(False), captions.tokens(captions.tell(scene, seeded(3))[0])[:, 1:15]
    masked_diffusion_loss(lambda z: net(z, torch.rand(4, 192, generator=seeded(4))), x0, MASK, seeded(5)).backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in net.parameters())


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match=r"t must be 2 numbers in \[0, 1\]"):
        mask_tokens(torch.zeros(2, 3, dtype=torch.long), torch.ones(3), 4)
    with pytest.raises(ValueError, match="order must be one of"):
        list(parallel_decoding(LANGUAGE, torch.full((1, 4), 3), 2, 3, "alphabetical"))
    with pytest.raises(ValueError, match="must be probabilities that sum to 1"):
        MarkovLanguage(torch.ones(3) / 3, torch.ones(3, 3), 4)
    with pytest.raises(ValueError, match="z must have at most 19 words, got 20"):
        network(False)(torch.zeros(1, 20, dtype=torch.long))
