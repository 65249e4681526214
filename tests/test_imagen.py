"""Imagen: a language model that saw no picture, an encoder that stays frozen, the efficient U-Net, thresholds, DrawBench."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import NONE
from course_lib.denoisers import Network
from course_lib.guidance import StaticThreshold
from course_lib.methods.cascades import augmented, upsampler_loss
from course_lib.methods.latents import psnr
from course_lib.nets.efficient_unet import EfficientUNet
from course_lib.nets.language import MASK, LanguageModel, mask_words, masked_loss
from course_lib.nets.text import TextEncoder, TextUNet
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, seeded
from course_lib.samplers import sample
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.training import train
from course_lib.zoo import drawbench, models
from course_lib.zoo.recipes import imagen

PROCESS = DDPM(linear_beta(1000))


def tokens(n, seed=0):
    rng = seeded(seed)
    return captions.tokens(captions.tell(scenes.sample(n, rng), rng)[0])


# The language model


def test_a_share_of_the_words_is_chosen_and_of_these_four_fifths_are_hidden():
    prompts = tokens(4000)
    shown, chosen = mask_words(prompts, seeded(1))
    words = prompts > captions.PAD
    assert not (chosen & ~words).any() and torch.equal(shown[~chosen], prompts[~chosen])
    assert float(chosen[words].float().mean()) == pytest.approx(0.15, abs=0.01)
    assert float((shown[chosen] == MASK).float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float((shown[chosen] == prompts[chosen]).float().mean()) == pytest.approx(
        0.1, abs=0.02
    )  # and some swap to themselves
    assert (shown > MASK).any() and not (shown[chosen] == captions.PAD).any()


def test_a_language_model_learns_to_guess_words_from_their_sentence():
    model, rng = LanguageModel(32, 1, 2), seeded(0)
    torch.manual_seed(0)
    prompts = tokens(64)

    def loss():
        shown, chosen = mask_words(prompts, rng)
        return masked_loss(model(shown), prompts, chosen)

    before, after = float(loss().detach()), [p.loss for p in train(loss, model, 250, lr=5e-3)][-1]
    assert before > 3.5 and after < 2.6
    model.eval()
    row = captions.tokens("three red circles")
    row[0, 3] = MASK
    assert captions.WORDS[int(model(row)[0, 3].argmax())].endswith("s")  # a plural


def test_the_probe_reads_what_is_in_the_vectors_and_no_more():
    """An encoder whose vectors hold the word before them tells the colour; one that holds only the word itself does not."""

    class Table(nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.table, self.shift = nn.Embedding(len(captions.WORDS), 64), shift

        def forward(self, tokens):
            h = self.table(tokens)
            return torch.cat([h, h.roll(1, 1)] if self.shift else [h, 0 * h], 2), tokens != captions.PAD

    torch.manual_seed(0)
    alone, both = (list(imagen.read_from_nouns(Table(shift), 400).values()) for shift in (False, True))
    assert alone[0] < 0.3 and both[0] > 0.8
    assert alone[1] < 0.65 and both[1] < 0.65  # which of the two it is, is said by no word beside it


def test_a_paraphraser_encodes_which_of_two_a_noun_is_and_a_masked_language_model_does_not():
    gaps, paraphrases = (
        imagen.read_from_nouns(text, 500)["which of two read from its noun"]
        for text in (models.load("language").text, models.load("paraphraser").encoder)
    )
    assert gaps < 0.7 and paraphrases > 0.9


# A frozen encoder


def test_a_given_encoder_stays_as_it_is_and_the_rest_learns(monkeypatch):
    encoder = imagen.imagen_network(3).net.text
    monkeypatch.setattr(imagen, "load_text_encoder", lambda text, *_: text.load_state_dict(encoder.state_dict()))
    network = imagen.imagen_network(0, widths=(16, 16))
    before = {name: p.clone() for name, p in network.net.state_dict().items()}
    *_, last = imagen.train_imagen(network, steps=3)
    assert last.step == 3
    for name, p in network.net.state_dict().items():
        if name.startswith("text."):
            assert torch.equal(p, encoder.state_dict()[name.removeprefix("text.")])
        elif name.endswith("weight") and "cross" in name:
            assert not torch.equal(p, before[name])


def test_a_base_that_ignores_the_caption_prefers_the_right_one_in_a_half(monkeypatch):
    given = Network.given
    monkeypatch.setattr(Network, "given", lambda network, prompts: given(network, [""] * len(prompts)))
    network = imagen.imagen_network(0, widths=(16, 16))
    assert imagen.caption_sensitivity(network, 20) == {"error saved by the caption": 0, "binding": 0.5}


def test_text_unet_takes_an_encoder_of_any_width():
    torch.manual_seed(0)
    net = TextUNet(16, (16, 32), dim=32, text=TextEncoder(8, 1, 2)).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    x, time = torch.randn(2, 3, 16, 16), torch.tensor([0.3, 0.6])
    one, other = (net(x, time, net.as_condition(prompts)) for prompts in (["a red star", "two red stars"], ["a red star", ""]))
    assert one.shape == x.shape and torch.equal(one[0], other[0]) and (one[1] - other[1]).abs().max() > 1e-4


@pytest.mark.parametrize("low_noise_half", [True, False])
def test_a_base_is_trained_at_high_noise_first_and_then_on_outlines(monkeypatch, low_noise_half):
    """In the first fifth of the steps all times are 0.7 T or more. After it half of each batch lies at 0.3 T and less, with
    `low_noise_half`, and the rest anywhere."""
    seen = []

    def loss(denoiser, x0, rng, t):
        seen.append(t / denoiser.process.T)
        return sum(p.sum() for p in denoiser.net.parameters())

    monkeypatch.setattr(imagen, "denoising_loss", loss)
    list(imagen.train_imagen(imagen.imagen_network(0, widths=(16, 16)), steps=10, low_noise_half=low_noise_half))
    high, later = torch.stack(seen[:2]), torch.stack(seen[2:])
    assert (high >= 0.7).all() and (later.amin(1) < 0.7).all() and later.min() > 0
    assert later[:, 1::2].min() < 0.2 and later[:, 1::2].max() > 0.8
    assert bool((later[:, ::2] <= 0.3).all()) == low_noise_half


# The efficient U-Net


@pytest.mark.parametrize("early", [True, False])
def test_efficient_unet_uses_all_that_it_is_given(early):
    torch.manual_seed(0)
    net = EfficientUNet(16, 6, 16, (1, 2), dim=32, early=early)
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    x, time, level = torch.randn(3, 6, 16, 16), torch.rand(3), torch.rand(3)
    before = net(x, time, level)
    assert before.shape == x.shape
    for changed in (net(x + 0.1, time, level), net(x, time + 0.1, level), net(x, time, level + 0.1)):
        assert ((changed - before).flatten(1).abs().amax(1) > 1e-4).all()
    assert torch.allclose(net(x[1:2], time[1:2], level[1:2]), before[1:2], atol=1e-3 * float(before.detach().abs().max()))
    before.square().sum().backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_order_changes_the_cost_and_not_the_numbers():
    """The same weights fit both; every block works on a quarter of the pixels where the map is halved first."""
    early, late = EfficientUNet(16, 6, 16, (1, 2), 32), EfficientUNet(16, 6, 16, (1, 2), 32, early=False)
    late.load_state_dict(early.state_dict())
    pixels = {}
    for name, net in (("early", early), ("late", late)):
        seen = pixels[name] = []
        for block in [block for blocks in (*net.encoder, *net.decoder) for block in blocks]:
            block.register_forward_hook(lambda block, inputs, output, seen=seen: seen.append(output[0, 0].numel()))
        net(torch.zeros(1, 6, 16, 16), torch.zeros(1), torch.zeros(1))
    assert [4 * n for n in pixels["early"]] == pixels["late"] == [256, 64, 64, 64, 64, 256]


def test_an_efficient_upsampler_learns():
    network = Network(Upsampler(channels=3, unet=EfficientUNet(32, 6, 16, (1, 1), 32)), PROCESS, "v")
    x, rng = (
        shapes.draw(scenes.sample(16, seeded(0)), seeded(0)),
        torch.Generator(),
    )
    losses = [p.loss for p in train(lambda: upsampler_loss(network, x, rng.manual_seed(0), 400), network.net, 30, lr=3e-3)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"width": 20}, "width must be a multiple of 8, got 20"),
        ({"size": 20}, "size must be a multiple of 8, got 20"),
    ],
)
def test_efficient_unet_refuses_what_does_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        EfficientUNet(**options)


def test_efficient_unet_refuses_pictures_of_another_size():
    with pytest.raises(ValueError, match=r"x must be \(B, 6, 32, 32\), got shape"):
        EfficientUNet()(torch.zeros(1, 6, 16, 16), torch.zeros(1), torch.zeros(1))


# The upsampler


def test_the_shipped_upsampler_sharpens_what_interpolation_blurs_and_keeps_what_is_shown():
    upsampler, rng = models.load("imagen_upsampler"), seeded(7)
    scene = scenes.sample(24, rng, ("pair",))
    x = shapes.draw(scene, rng)
    low = avg_pool2d(x, 2)
    draw = lambda s: sample(
        upsampler.given(augmented(PROCESS, low, s, seeded(2))), upsampler.draw_noise(len(low), seeded(1)), 20
    )
    made = draw(0)
    assert psnr(made.clamp(-1, 1), x) > psnr(imagen.upsample_bilinear(low), x) + 5
    assert scenes.agreement(imagen.shipped_detector().detect(made), scene)["all"] > 0.85
    assert torch.equal(made, draw(0))
    assert (made - draw(200)).abs().mean() > 0.01  # the noise hides details, which then differ


def test_an_upsampler_learns_from_halves_alone():
    """No caption reaches it, and its training changes all of its weights."""
    network = imagen.imagen_upsampler_network()
    before = {name: p.clone() for name, p in network.net.state_dict().items()}
    *_, last = imagen.train_imagen_upsampler(network, steps=3)
    assert last.step == 3 and not [name for name, p in network.net.named_parameters() if torch.equal(p, before[name])]


# Static thresholding


def test_static_threshold_clips_the_picture_and_keeps_the_point():
    x0 = 3 * torch.linspace(-1, 1, 256).view(1, 1, 16, 16)
    x = torch.randn(1, 1, 16, 16, generator=seeded(0))
    pred = StaticThreshold(Network(lambda x, time: x0, DDPM(cosine_beta(1000)), "x0"))(x, 500)
    assert torch.equal(pred.x0, x0.clamp(-1, 1)) and torch.allclose(pred.a * pred.x0 + pred.b * pred.eps, x, atol=1e-6)


# DrawBench


def test_drawbench_has_its_captions_and_every_word_of_them_is_known():
    assert len(drawbench.captions()) == len(drawbench.wanted()) == 200 and captions.tokens(drawbench.captions()).shape[0] == 200
    for first in range(0, 200, drawbench.EACH):
        assert len(set(drawbench.captions()[first : first + drawbench.EACH])) == drawbench.EACH
    unusual = drawbench.wanted()[160:]
    assert scenes.new_objects(unusual)[:20].all() and scenes.new_pairs(unusual)[20:].all()
    assert not scenes.new_objects(drawbench.wanted()[:160]).any() and not scenes.new_pairs(drawbench.wanted()[:160]).any()


def test_what_was_asked_is_right_and_another_caption_is_not():
    assert drawbench.score(drawbench.wanted()) == {name: 1.0 for name in (*drawbench.CATEGORIES, "all")}
    order = torch.arange(200).view(5, 40).roll(1, 1).flatten()
    other = drawbench.wanted()[order]
    assert all(share < 0.5 for share in drawbench.score(other).values()) and drawbench.score(other)["all"] < 0.1
    assert (drawbench.points(drawbench.wanted()) == 1).all() and drawbench.points(other).mean() < 0.8
    assert drawbench.preferred(drawbench.wanted(), other)[0] > 0.8 and drawbench.preferred(other, drawbench.wanted())[0] == 0
    assert drawbench.preferred(other, other) == (0, 0)


def test_a_category_scores_what_it_is_called():
    """Each attribute made wrong alone: it counts in its own category, and in "unusual" and "all", which want everything."""
    wanted = drawbench.wanted()
    two, one = wanted.relation >= 0, wanted.count == 1
    turned = replace(wanted, relation=torch.where(two, 1 - wanted.relation, NONE))
    assert wrong_in(turned) == {"position": 0.5, "unusual": 1.0}
    moved = replace(wanted, place=torch.where(one, (wanted.place + 1) % 5, NONE))
    assert wrong_in(moved) == {"position": 0.5}
    more = torch.arange(4) <= wanted.count[:, None]
    again = lambda values: torch.where(more, values[:, :1], NONE)
    doubled = replace(wanted, shape=again(wanted.shape), colour=again(wanted.colour), size=again(wanted.size))
    found = wrong_in(doubled[torch.arange(200)])
    assert "colour" not in found and found["count"] > 0.6  # two objects of the right colour: the colour is right
    recoloured = replace(wanted, colour=torch.where(wanted.colour >= 0, (wanted.colour + 1) % 6, NONE))
    assert wrong_in(recoloured)["colour"] == 1 and "count" not in wrong_in(recoloured)
    pair = (wanted.count == 2)[:, None]
    swapped = replace(wanted, colour=torch.where(pair, wanted.colour[:, [1, 0, 2, 3]], wanted.colour))
    assert wrong_in(swapped)["binding"] > 0.6 and "count" not in wrong_in(swapped)
    reshaped = replace(wanted, shape=torch.stack([unasked(row) for row in wanted.shape]))
    assert wrong_in(reshaped) == {"unusual": 1.0}  # a shape that is not asked for: neither binding nor position
    turned = lambda values: torch.where(pair, values[:, [1, 0, 2, 3]], values)
    exchanged = replace(wanted, shape=turned(wanted.shape), colour=turned(wanted.colour), size=turned(wanted.size))
    assert wrong_in(exchanged) == {"position": 0.5, "unusual": 1.0}
    nothing = torch.full_like(wanted.shape, NONE)
    empty = scenes.Scene(nothing, nothing, nothing, nothing[:, 0], nothing[:, 0])
    assert wrong_in(empty) == dict.fromkeys(drawbench.CATEGORIES, 1.0)


def unasked(shapes):
    """The shapes (MAX_OBJECTS,) with that of the last object replaced by one that no object has."""
    other = next(shape for shape in range(len(scenes.SHAPES)) if shape not in shapes)
    last = int((shapes >= 0).sum()) - 1
    return torch.where(torch.arange(len(shapes)) == last, other, shapes)


def wrong_in(detected):
    """The share of wrong pictures in each category that has some."""
    score = drawbench.score(detected)
    return {name: round(1 - score[name], 6) for name in drawbench.CATEGORIES if score[name] < 1}
