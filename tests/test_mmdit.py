"""The MM-DiT and its rival: who scores at whom, what has its say, and logit-normal times."""

import pytest
import torch
from torch import nn

from course_lib.datasets import captions, words
from course_lib.datasets.points import pair
from course_lib.denoisers import NULL, ExactDenoiser, Network, OnPath
from course_lib.guidance import classifier_free
from course_lib.nets.mmdit import DiT, JointBlock, joint_attention, modulate
from course_lib.nets.text import TextEncoder
from course_lib.process import DDPM, RectifiedFlow, seeded
from course_lib.samplers import rectified_flow, result, sample
from course_lib.schedules import linear_beta
from course_lib.training import denoising_loss
from course_lib.zoo.recipes import sd3
from course_lib.zoo.recipes.sd3 import prompted, sd3_network, spelling_prompts, train_sd3
from course_lib.zoo.recipes.shapes import load_text_encoder

both = pytest.mark.parametrize("joint", [True, False])
SAID = ["STAR in red", "a blue circle above a pink square", "three pink stars"]


def net(**options):
    """A small transformer whose weights are all stirred, since some start at 0."""
    torch.manual_seed(0)
    made = DiT(**{"width": 32, "depth": 2, "heads": 2, **options}).eval()
    for p in made.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim))
    return made


def some(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


@both
@pytest.mark.parametrize("patch", [1, 2])
def test_latent_time_and_prompt_have_their_say_and_members_do_not_mix(joint, patch):
    dit = net(joint=joint, patch=patch)
    z, time, tokens = some(3, 4, 8, 8), torch.tensor([0.1, 0.5, 0.9]), dit.as_condition(SAID)
    before = dit(z, time, tokens).detach()
    assert before.shape == z.shape
    other = dit.as_condition(["STAY in red", "a blue circle above a pink disc", "two pink stars"])
    for changed in (dit(z + 0.1, time, tokens), dit(z, time + 0.1, tokens), dit(z, time, other)):
        assert ((changed - before).flatten(1).abs().amax(1) > 1e-4).all()
    for i in range(3):  # alone, without the padding that the longest of the batch asks for
        alone = dit(z[i : i + 1], time[i : i + 1], tokens[i : i + 1])
        assert torch.allclose(before[i : i + 1], alone, atol=1e-4 * float(before.abs().max()))


@both
def test_the_order_of_letters_matters(joint):
    dit, z, time = net(joint=joint), some(1, 4, 8, 8), torch.tensor([0.5])
    output = lambda prompt: dit(z, time, dit.as_condition(prompt)).detach()
    assert (output("STAR in red") - output("RATS in red")).abs().max() > 1e-3


@both
def test_every_place_is_reached_from_every_place(joint):
    dit, z = net(joint=joint), some(1, 4, 8, 8).requires_grad_()
    dit(z, torch.tensor([0.5]), dit.as_condition("STAR in red"))[0, 0, 0, 0].backward()
    assert (z.grad.abs() > 0).all()


@both
def test_every_weight_is_used_but_what_the_last_text_would_become(joint):
    dit = net(joint=joint)
    dit(some(3, 4, 8, 8), torch.tensor([0.1, 0.5, 0.9]), dit.as_condition(SAID)).square().sum().backward()
    idle = {name for name, p in dit.named_parameters() if p.grad is None or not p.grad.any()}
    assert all(name.startswith("blocks.1.text.") for name in idle) and (joint or not idle)


def test_an_untrained_block_changes_nothing():
    block, h, c = JointBlock(32, 2), some(2, 16, 32), some(2, 5, 32, seed=1)
    mask = torch.ones(2, 5, dtype=torch.bool)
    for new, old in zip(block(h, c, some(2, 32, seed=2), mask), (h, c)):
        assert torch.equal(new, old)


def test_joint_attention_is_that_of_all_tokens_together():
    picture, text = (tuple(some(2, 2, n, 4, seed=n + i) for i in range(3)) for n in (6, 3))
    mask = torch.tensor([[True, True, False], [True, True, True]])
    q, k, v = (torch.cat([a, b], 2) for a, b in zip(picture, text))
    scores = q @ k.mT / 2
    scores[0, :, :, 8] = -torch.inf
    want = scores.softmax(-1) @ v
    got = joint_attention(picture, text, mask)
    assert got[0].shape == (2, 2, 6, 4) and torch.allclose(torch.cat(got, 2), want, atol=1e-5)


def test_weights_are_those_of_the_attention():
    torch.manual_seed(0)
    block = JointBlock(32, 2).eval()
    for p in block.parameters():
        nn.init.normal_(p, std=0.3)
    h, c, emb = some(2, 16, 32), some(2, 5, 32, seed=1), some(2, 32, seed=2)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    weights = block.weights(h, c, emb, mask)
    assert weights.shape == (2, 2, 21, 21) and torch.allclose(weights.sum(-1), torch.ones(2, 2, 21), atol=1e-5)
    assert (weights[1, :, :, 19:] == 0).all()
    heads = tuple(
        stream.queries_keys_values(x, stream.modulation(emb)[0]) for stream, x in ((block.picture, h), (block.text, c))
    )
    values = torch.cat([heads[0][2], heads[1][2]], 2)
    assert torch.allclose(torch.cat(joint_attention(*heads, mask), 2), weights @ values, atol=1e-4)


def test_modulation_is_that_of_layer_norm():
    h, shift, scale = some(2, 5, 8), some(2, 8, seed=1), some(2, 8, seed=2)
    want = nn.LayerNorm(8, elementwise_affine=False)(h) * (1 + scale[:, None]) + shift[:, None]
    assert torch.allclose(modulate(h, shift, scale), want, atol=1e-5)


def test_prompts_become_conditions():
    assert torch.equal(DiT.as_condition(SAID), words.tokens(SAID)) and torch.equal(DiT.as_condition(NULL), words.tokens(""))
    assert DiT.as_condition(words.tokens(SAID)).shape == (3, captions.LENGTH)
    with pytest.raises(TypeError, match="prompts must be text"):
        DiT.as_condition(3)
    with pytest.raises(ValueError, match="z must be"):
        net()(some(1, 3, 8, 8), torch.tensor([0.5]), words.tokens("a red star"))


def test_it_samples_with_the_sampler_that_is_there():
    network = Network(net(), RectifiedFlow((0.0, 1.0)), "flow").given("STAR in red")
    assert result(rectified_flow(network, some(2, 4, 8, 8), network.process.times(3))).shape == (2, 4, 8, 8)


def test_logit_normal_times_are_what_they_are_called():
    rng = seeded(0)
    t = RectifiedFlow((0.5, 0.8)).sample_t(20_000, rng)
    logit = torch.logit(t)
    assert t.dtype == torch.float64 and 0 < t.min() and t.max() < 1
    assert float(logit.mean()) == pytest.approx(0.5, abs=0.03) and float(logit.std()) == pytest.approx(0.8, abs=0.03)
    flat = RectifiedFlow().sample_t(20_000, rng)
    middle = lambda t: float(((t - 0.5).abs() < 0.2).double().mean())
    assert middle(flat) == pytest.approx(0.4, abs=0.02)
    assert middle(RectifiedFlow((0.0, 1.0)).sample_t(20_000, rng)) > 0.55


def test_prompts_and_pictures_belong_together_and_new_words_are_kept_out():
    x, prompts = prompted(40, seeded(0))
    assert x.shape == (40, 3, 32, 32) and len(prompts) == 40
    spelling = words.read(x[:20])
    assert words.tell(spelling) == prompts[:20] and not words.held_out(spelling.letters).any()
    assert not any(word.isupper() for caption in prompts[20:] for word in caption.split())
    wanted, new = spelling_prompts(10, new=True)
    assert words.held_out(new.letters).all() and wanted == words.tell(new)


@both
def test_each_of_the_rivals_learns_and_draws_and_leaves_the_language_as_it_was(joint):
    network, language = sd3_network(joint=joint), TextEncoder()
    load_text_encoder(language)
    before = network.net.outward.weight.clone()
    *_, end = train_sd3(network, steps=6)  # what starts at 0 hides the text from the first steps
    assert end.step == 6 and not torch.equal(before, network.net.outward.weight)
    assert all(torch.equal(w, language.state_dict()[name]) for name, w in network.net.text.state_dict().items())
    guided = classifier_free(network, ["STAR in red", "three pink stars"], 3.0)
    assert sample(guided, network.draw_noise(2), 2, rectified_flow).shape == (2, 4, 8, 8)


def test_scenes_come_to_the_middle_times_after_the_first_cycle_and_words_stay(monkeypatch):
    logits = []
    watched = lambda learner, x0, rng, t: logits.append(t.logit().mean()) or denoising_loss(learner, x0, rng, t)
    monkeypatch.setattr(sd3, "denoising_loss", watched)
    for _ in train_sd3(sd3_network(), steps=32):
        pass
    word, scene = torch.stack(logits).view(2, 16, 2).mean(1).T.tolist()  # each in its two cycles
    assert word == pytest.approx([0.7, 0.7], abs=0.2) and scene == pytest.approx([0.7, 0.0], abs=0.2)


def test_a_denoiser_on_the_flow_speaks_of_another_process_as_the_exact_one_does():
    data, chain = pair(), DDPM(linear_beta(1000))
    borrowed, exact = OnPath(ExactDenoiser(data, RectifiedFlow()), chain), ExactDenoiser(data, chain)
    x = some(50, 1).double()
    for t in (1, 200, 900, torch.arange(1, 1000, 20)):
        for view in ("x0", "eps", "v"):
            got, want = borrowed(x, t).as_view(view), exact(x, t).as_view(view)
            assert torch.allclose(got, want, atol=1e-5 * float(want.abs().max()))
