"""The text encoder, cross-attention, the U-Net that listens, CLIP and the reader: each input has its say, and padding none."""

import pytest
import torch
from torch import nn

from course_lib import models
from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import NONE, Scene
from course_lib.denoisers import NULL, Network
from course_lib.nets.attention import CrossAttention, cross_attention
from course_lib.nets.clip import CLIP, contrastive_loss
from course_lib.nets.hooks import looks_at_words, watching
from course_lib.nets.reader import Reader
from course_lib.nets.text import TextEncoder, TextUNet
from course_lib.process import DDPM
from course_lib.recipes import shapes as recipe
from course_lib.recipes import unclip
from course_lib.recipes.shapes import BLUR, NOISE, worn
from course_lib.schedules import cosine_beta

SAID = ["a red circle left of a blue square", "a blue circle left of a red square", "a red circle", ""]


@pytest.fixture
def net():
    """A U-Net that listens, all weights stirred, since some start at 0."""
    torch.manual_seed(0)
    net = TextUNet(size=32, widths=(32, 32), dim=32, words=16).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    return net


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(1)
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
    words, there = encoder(tokens)
    assert torch.equal(there.sum(1), torch.tensor([9, 9, 4, 1])) and words.shape == (4, captions.LENGTH, 16)
    with torch.no_grad():
        encoder.word.weight[captions.PAD] += 100
        assert torch.allclose(encoder(tokens)[0][there], words[there], atol=1e-5)
    attention = CrossAttention(32, 16, heads=2, side=4)
    nn.init.normal_(attention.out.weight)
    h = torch.randn(4, 32, 4, 4)
    loud = torch.where(there[..., None], words, 100.0)
    assert torch.allclose(attention(h, words, there), attention(h, loud, there), atol=1e-4)


def test_weights_are_those_that_forward_uses():
    torch.manual_seed(0)
    attention = CrossAttention(32, 16, heads=2, side=4)
    h, words, there = torch.randn(2, 32, 4, 4), torch.randn(2, 7, 16), torch.arange(7) < torch.tensor([[7], [4]])
    q, k, v = attention.queries_keys_values(h, words)
    weights = attention.weights(h, words, there)
    assert (
        weights.shape == (2, 2, 16, 7)
        and torch.allclose(weights.sum(-1), torch.ones(2, 2, 16))
        and not weights[1, ..., 4:].any()
    )
    assert torch.allclose(weights @ v, cross_attention(q, k, v, there), atol=1e-5)
    assert torch.equal(attention(h, words, there), h), "it starts as nothing"


def test_looks_at_words_are_shares(net, batch):
    network = Network(net, DDPM(cosine_beta(1000)), "v").given(SAID)
    looks = looks_at_words(network, batch[0], 500)
    assert looks.shape == (4, captions.LENGTH, 16, 16) and torch.allclose(looks.sum(1), torch.ones(4, 16, 16), atol=1e-5)
    assert torch.allclose(looks[3, 0], torch.ones(16, 16)), "the empty caption has its start token only"
    with watching(net, (CrossAttention,)) as seen:
        network(batch[0], 500)
    assert set(seen) == {f"cross.{side}_{at}x{at}_block0" for side in ("encoder", "decoder") for at in (16, 8)}
    with pytest.raises(ValueError, match="side must be that of maps with cross-attention, got 32"):
        looks_at_words(network, batch[0], 500, side=32)


def test_given_takes_captions_and_tokens_and_null_is_the_empty_caption(net, batch):
    network, x = Network(net, DDPM(cosine_beta(1000)), "v"), batch[0]
    by_text, by_tokens = (network.given(c)(x, 300).value for c in (SAID, captions.tokens(SAID)))
    assert torch.equal(by_text, by_tokens)
    assert torch.equal(network.given(NULL)(x, 300).value, network.given("")(x, 300).value)
    dropped = network.given(SAID).dropped(1.0)
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


@pytest.mark.parametrize(("module", "painter"), [(recipe, recipe.TEXT2SHAPE), (unclip, unclip.DECODER)])
def test_painters_listen_first_and_shape_after_a_quarter_of_their_steps(monkeypatch, module, painter):
    told, kinds = [], []
    loss, sample = module.denoising_loss, scenes.sample
    monkeypatch.setattr(module, "denoising_loss", lambda net, x0, rng, t: told.append(t) or loss(net, x0, rng, t))
    monkeypatch.setattr(recipe, "LISTENING", 2)
    monkeypatch.setattr(scenes, "sample", lambda n, rng, of: kinds.append(of) or sample(n, rng, of))
    assert [now.step for now in painter.train(painter.build(0), steps=16)] == list(range(1, 17))
    listening, looking, shaping = torch.cat(told[:2]), torch.cat(told[2:4]), torch.cat(told[4:])
    assert listening.min() >= 700 and looking.min() < 250
    for t in (shaping, looking):
        assert ((t[::2] >= 250) & (t[::2] <= 750)).all() == (t is shaping)
    assert shaping[1::2].min() < 100 and shaping[1::2].max() > 900
    assert {of.count("pair") / len(of) for of in kinds} == {3 / 5}


# CLIP


def test_the_contrastive_loss_by_hand():
    """Radford et al. 2021, figure 3, one row and one column at a time; 0 where all is found, log N where nothing is."""
    rng = torch.Generator().manual_seed(0)
    a, b = torch.nn.functional.normalize(torch.randn(2, 5, 3, generator=rng), dim=2)
    rows = sum(torch.logsumexp(4 * a[i] @ b.T, 0) - 4 * a[i] @ b[i] for i in range(5)) / 5
    columns = sum(torch.logsumexp(4 * a @ b[i], 0) - 4 * a[i] @ b[i] for i in range(5)) / 5
    assert torch.allclose(contrastive_loss(a, b, 4.0), (rows + columns) / 2, atol=1e-6)
    assert contrastive_loss(torch.eye(4), torch.eye(4), 100.0) < 1e-6
    assert torch.allclose(contrastive_loss(torch.ones(4, 1), torch.ones(4, 1), 3.0), torch.tensor(4.0).log())


def test_clip_gives_vectors_of_length_one_and_hears_noise_and_words():
    torch.manual_seed(0)
    clip = CLIP().eval()
    for block in clip.blocks:
        nn.init.normal_(block.conv2.weight, std=0.1)
        nn.init.normal_(block.modulate.weight, std=0.1)
    x = torch.randn(3, 3, 32, 32)
    seen, said = clip.picture(x), clip.caption(captions.tokens(SAID[:3]))
    assert seen.shape == said.shape == (3, 64)
    assert torch.allclose(torch.cat([seen, said]).norm(dim=1), torch.ones(6), atol=1e-5)
    assert torch.equal(seen, clip.picture(x, torch.zeros(3))) and not torch.allclose(seen, clip.picture(x, torch.ones(3)))
    assert not torch.allclose(said[0], said[1], atol=1e-4) and torch.allclose(clip.scale, torch.tensor(1 / 0.07))


# The reader


@pytest.mark.parametrize("split, kinds", [("train", scenes.KINDS), ("new pairs", ("pair",)), ("new objects", scenes.KINDS)])
def test_the_reader_reads_everything(split, kinds):
    rng = torch.Generator().manual_seed(11)
    scene = scenes.sample(1500, rng, kinds, split)
    where = shapes.layout(scene, rng)
    judge, x = models.load("reader"), shapes.paint(scene, where)
    seen, at = judge.locate(x)
    assert scenes.agreement(seen, scene)["all"] >= 0.995
    pair = (scene.relation >= 0) & (seen.object == scene.object).all(1)
    true = torch.stack([where.x, where.y], 2)[pair, :2]
    assert (at[pair, :2] - true).abs().mean() < 0.6, "centres, in pixels"
    for noise, blur in ((NOISE, 0.0), (0.0, BLUR)):
        assert scenes.agreement(judge.read(worn(x, noise, blur, rng)), scene)["all"] >= 0.995


def test_the_reader_finds_nothing_where_nothing_is_and_notices_what_is_broken():
    judge = models.load("reader")
    assert captions.describe(judge.read(torch.full((1, 3, 32, 32), -1.0))) == ["nothing"]
    rng = torch.Generator().manual_seed(0)
    scene = scenes.sample(200, rng, ("pair",))
    x = shapes.draw(scene, rng)
    turned = scenes.agreement(judge.read(x.transpose(2, 3)), scene)  # left becomes above
    assert turned["relation"] == 0 and turned["all"] == 0
    other = scenes.agreement(judge.read(x.flip(1)), scene)  # red and blue change places: colours are wrong where they are in it
    assert other["count"] > 0.98 and other["colour"] < 0.3
    there = torch.arange(4) < 1
    alone = Scene(*(torch.where(there, v, NONE) for v in (scene.shape, scene.colour, scene.size)), scene.place, scene.relation)
    lost = scenes.agreement(judge.read(shapes.draw(alone, rng)), scene)  # the second object is not there
    assert lost["count"] == lost["all"] == 0


def test_the_reader_refuses_what_is_no_picture_of_its_size():
    with pytest.raises(ValueError, match=r"x must be pictures \(B, 3, 32, 32\), got shape \(2, 3, 16, 16\)"):
        Reader().read(torch.zeros(2, 3, 16, 16))
