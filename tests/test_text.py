"""The text encoder, cross-attention, the conditioned U-Net, CLIP and the detector: inputs have an effect, padding has none."""

import pytest
import torch
from torch import nn

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import NONE, Scene
from course_lib.denoisers import NULL, Network
from course_lib.nets.attention import CrossAttention, cross_attention
from course_lib.nets.clip import CLIP, contrastive_loss
from course_lib.nets.detector import SceneDetector
from course_lib.nets.hooks import cross_attention_maps, record_activations
from course_lib.nets.text import TextEncoder, TextUNet
from course_lib.process import DDPM, seeded
from course_lib.schedules import cosine_beta
from course_lib.zoo import models
from course_lib.zoo.recipes import shapes as recipe
from course_lib.zoo.recipes import unclip
from course_lib.zoo.recipes.shapes import BLUR, NOISE, degrade

SAID = ["a red circle left of a blue square", "a blue circle left of a red square", "a red circle", ""]


@pytest.fixture
def net():
    """A text-conditional U-Net, all weights stirred, since some start at 0."""
    torch.manual_seed(0)
    net = TextUNet(size=32, widths=(32, 32), dim=32, words=16).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    return net


@pytest.fixture
def batch():
    rng = seeded(1)
    return torch.randn(4, 3, 32, 32, generator=rng), torch.rand(4, generator=rng), captions.tokens(SAID)


def test_each_input_has_its_say_and_members_do_not_mix(net, batch):
    x, time, tokens = batch
    before = net(x, time, tokens)
    assert before.shape == x.shape
    alone = torch.cat([net(x[i : i + 1], time[i : i + 1], tokens[i : i + 1]) for i in range(4)])
    assert torch.allclose(before, alone, atol=1e-4 * float(before.detach().abs().max()))
    for changed in (net(x + 0.1, time, tokens), net(x, time + 0.1, tokens), net(x, time, tokens.roll(1, 0))):
        assert ((changed - before).flatten(1).abs().amax(1) > 1e-4).all()
    before.square().sum().backward()
    unused = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_the_order_of_words_has_its_say(net, batch):
    """The first two captions hold the same words: only their order tells them apart."""
    x, time, tokens = (part[:1] for part in batch)
    assert sorted(SAID[0].split()) == sorted(SAID[1].split())
    one, other = net(x, time, captions.tokens(SAID[0])), net(x, time, captions.tokens(SAID[1]))
    assert (one - other).abs().max() > 1e-4


def test_padding_has_no_say():
    torch.manual_seed(0)
    encoder = TextEncoder(16).eval()
    tokens = captions.tokens(SAID)
    words, mask = encoder(tokens)
    assert torch.equal(mask.sum(1), torch.tensor([9, 9, 4, 1])) and words.shape == (4, captions.LENGTH, 16)
    with torch.no_grad():
        encoder.word.weight[captions.PAD] += 100
        assert torch.allclose(encoder(tokens)[0][mask], words[mask], atol=1e-5)
    attention = CrossAttention(32, 16, heads=2, side=4)
    nn.init.normal_(attention.out.weight)
    h = torch.randn(4, 32, 4, 4)
    loud = torch.where(mask[..., None], words, 100.0)
    assert torch.allclose(attention(h, words, mask), attention(h, loud, mask), atol=1e-4)


def test_weights_are_those_that_forward_uses():
    torch.manual_seed(0)
    attention = CrossAttention(32, 16, heads=2, side=4)
    h, words, mask = torch.randn(2, 32, 4, 4), torch.randn(2, 7, 16), torch.arange(7) < torch.tensor([[7], [4]])
    q, k, v = attention.queries_keys_values(h, words)
    weights = attention.weights(h, words, mask)
    assert (
        weights.shape == (2, 2, 16, 7)
        and torch.allclose(weights.sum(-1), torch.ones(2, 2, 16))
        and not weights[1, ..., 4:].any()
    )
    assert torch.allclose(weights @ v, cross_attention(q, k, v, mask), atol=1e-5)
    assert torch.equal(attention(h, words, mask), h), "it starts as nothing"


def test_cross_attention_maps_are_shares(net, batch):
    network = Network(net, DDPM(cosine_beta(1000)), "v").given(SAID)
    maps = cross_attention_maps(network, batch[0], 500)
    assert maps.shape == (4, captions.LENGTH, 16, 16) and torch.allclose(maps.sum(1), torch.ones(4, 16, 16), atol=1e-5)
    assert torch.allclose(maps[3, 0], torch.ones(16, 16)), "the empty caption has its start token only"
    with record_activations(net, (CrossAttention,)) as seen:
        network(batch[0], 500)
    assert set(seen) == {f"cross.{side}_{at}x{at}_block0" for side in ("encoder", "decoder") for at in (16, 8)}
    with pytest.raises(ValueError, match="side must be that of maps with cross-attention, got 32"):
        cross_attention_maps(network, batch[0], 500, side=32)


def test_given_takes_captions_and_tokens_and_null_is_the_empty_caption(net, batch):
    network, x = Network(net, DDPM(cosine_beta(1000)), "v"), batch[0]
    by_text, by_tokens = (network.given(c)(x, 300).value for c in (SAID, captions.tokens(SAID)))
    assert torch.equal(by_text, by_tokens)
    assert torch.equal(network.given(NULL)(x, 300).value, network.given("")(x, 300).value)
    dropped = network.given(SAID).drop_condition(1.0)
    assert torch.equal(dropped(x, 300).value, network.given(NULL)(x, 300).value)


@pytest.mark.parametrize(
    "cond, error, words",
    [
        ("a rde circle", ValueError, "got 'rde'; did you mean red"),
        (3, TypeError, "captions must be text, a list of texts or tokens (B, 20), got int, 3"),
        ([], TypeError, "got list, []"),
        (torch.zeros(3, 5, dtype=torch.long), TypeError, "got Tensor of shape (3, 5)"),
        (torch.zeros(3, 20), TypeError, "got Tensor of shape (3, 20)"),
    ],
)
def test_what_is_no_caption_is_said_in_one_line(net, cond, error, words):
    with pytest.raises(error) as raised:
        Network(net, DDPM(cosine_beta(1000)), "v").given(cond)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("module", "model"), [(recipe, recipe.TEXT2SHAPE), (unclip, unclip.DECODER)])
def test_generators_have_high_noise_first_and_middle_times_after_a_quarter_of_their_steps(monkeypatch, module, model):
    drawn, kinds = [], []
    loss, sample = module.denoising_loss, scenes.sample
    monkeypatch.setattr(module, "denoising_loss", lambda net, x0, rng, t: drawn.append(t) or loss(net, x0, rng, t))
    monkeypatch.setattr(module, "HIGH_NOISE_STEPS", 2)
    monkeypatch.setattr(scenes, "sample", lambda n, rng, of: kinds.append(of) or sample(n, rng, of))
    assert [now.step for now in model.train(model.build(0), steps=16)] == list(range(1, 17))
    high, everywhere, middle = torch.cat(drawn[:2]), torch.cat(drawn[2:4]), torch.cat(drawn[4:])
    assert high.min() >= 700 and everywhere.min() < 250
    for t in (middle, everywhere):
        assert ((t[::2] >= 250) & (t[::2] <= 750)).all() == (t is middle)
    assert middle[1::2].min() < 100 and middle[1::2].max() > 900
    assert {of.count("pair") / len(of) for of in kinds} == {3 / 5}


# CLIP


def test_the_contrastive_loss_by_hand():
    """Radford et al. 2021, figure 3, one row and one column at a time; 0 where all is found, log N where nothing is."""
    rng = seeded(0)
    a, b = torch.nn.functional.normalize(torch.randn(2, 5, 3, generator=rng), dim=2)
    rows = sum(torch.logsumexp(4 * a[i] @ b.T, 0) - 4 * a[i] @ b[i] for i in range(5)) / 5
    columns = sum(torch.logsumexp(4 * a @ b[i], 0) - 4 * a[i] @ b[i] for i in range(5)) / 5
    assert torch.allclose(contrastive_loss(a, b, 4.0), (rows + columns) / 2, atol=1e-6)
    assert contrastive_loss(torch.eye(4), torch.eye(4), 100.0) < 1e-6
    assert torch.allclose(contrastive_loss(torch.ones(4, 1), torch.ones(4, 1), 3.0), torch.tensor(4.0).log())


def test_clip_gives_vectors_of_length_one_that_depend_on_noise_and_words():
    torch.manual_seed(0)
    clip = CLIP().eval()
    for block in clip.blocks:
        nn.init.normal_(block.conv2.weight, std=0.1)
        nn.init.normal_(block.modulate.weight, std=0.1)
    x = torch.randn(3, 3, 32, 32)
    seen, prompts = clip.encode_image(x), clip.encode_text(captions.tokens(SAID[:3]))
    assert seen.shape == prompts.shape == (3, 64)
    assert torch.allclose(torch.cat([seen, prompts]).norm(dim=1), torch.ones(6), atol=1e-5)
    assert torch.equal(seen, clip.encode_image(x, torch.zeros(3))) and not torch.allclose(
        seen, clip.encode_image(x, torch.ones(3))
    )
    assert not torch.allclose(prompts[0], prompts[1], atol=1e-4) and torch.allclose(clip.scale, torch.tensor(1 / 0.07))


# The detector


@pytest.mark.parametrize("split, kinds", [("train", scenes.KINDS), ("new pairs", ("pair",)), ("new objects", scenes.KINDS)])
def test_the_detector_finds_everything(split, kinds):
    rng = seeded(11)
    scene = scenes.sample(1500, rng, kinds, split)
    where = shapes.layout(scene, rng)
    evaluator, x = models.load("reader"), shapes.paint(scene, where)
    seen, at = evaluator.locate(x)
    assert scenes.agreement(seen, scene)["all"] >= 0.995
    pair = (scene.relation >= 0) & (seen.object == scene.object).all(1)
    true = torch.stack([where.x, where.y], 2)[pair, :2]
    assert (at[pair, :2] - true).abs().mean() < 0.6, "centres, in pixels"
    for noise, blur in ((NOISE, 0.0), (0.0, BLUR)):
        assert scenes.agreement(evaluator.detect(degrade(x, noise, blur, rng)), scene)["all"] >= 0.995


def test_the_detector_finds_nothing_in_an_empty_picture_and_less_in_a_broken_one():
    evaluator = models.load("reader")
    assert captions.describe(evaluator.detect(torch.full((1, 3, 32, 32), -1.0))) == ["nothing"]
    rng = seeded(0)
    scene = scenes.sample(200, rng, ("pair",))
    x = shapes.draw(scene, rng)
    turned = scenes.agreement(evaluator.detect(x.transpose(2, 3)), scene)  # left becomes above
    assert turned["relation"] == 0 and turned["all"] == 0
    other = scenes.agreement(
        evaluator.detect(x.flip(1)), scene
    )  # red and blue change places: colours are wrong where they are in it
    assert other["count"] > 0.98 and other["colour"] < 0.3
    mask = torch.arange(4) < 1
    alone = Scene(*(torch.where(mask, v, NONE) for v in (scene.shape, scene.colour, scene.size)), scene.place, scene.relation)
    lost = scenes.agreement(evaluator.detect(shapes.draw(alone, rng)), scene)  # the second object is not there
    assert lost["count"] == lost["all"] == 0


def test_the_detector_refuses_what_is_no_picture_of_its_size():
    with pytest.raises(ValueError, match=r"x must be \(B, 3, 32, 32\), got shape \(2, 3, 16, 16\)"):
        SceneDetector().detect(torch.zeros(2, 3, 16, 16))
