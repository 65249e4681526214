"""GAN and VAE: their networks, their losses against what is known exactly, and that they learn."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_lib import metrics
from course_lib.datasets import points
from course_lib.methods.gan_vae import adversarial_value, elbo, gradient_penalty, non_saturating_loss, sample_generator
from course_lib.methods.interpolation import slerp
from course_lib.mixtures import GaussianMixture
from course_lib.nets.generators import GAN, VAE, ConvDecoder, ConvEncoder, FourierFeatures, layers
from course_lib.process import seeded
from course_lib.training import TrainingState, alternate, train
from course_lib.zoo import figures, recipes
from course_lib.zoo.recipes.gan_vae import STEPS


def size(model):
    return sum(p.numel() for p in getattr(model, "net", model).parameters())


def test_shapes_and_that_members_of_a_batch_do_not_mix():
    torch.manual_seed(0)
    drawer, detector = ConvDecoder(8, (16, 8, 8)), ConvEncoder(3, (8, 8, 16))
    x = drawer(torch.randn(4, 8, generator=seeded(0)))
    assert x.shape == (4, 1, 16, 16) and x.abs().max() <= 1 and detector(x).shape == (4, 3)
    z = torch.randn(4, 8, generator=seeded(0))
    assert torch.allclose(drawer(z)[1:2], drawer(z[1:2]), atol=1e-5)
    assert torch.allclose(detector(x)[1:2], detector(x[1:2]), atol=1e-5)


def test_the_three_are_of_like_size():
    for trio in ((recipes.gan, recipes.vae, recipes.diffusion),):
        sizes = [size(build(0)) for build in trio]
        assert max(sizes) < 1.05 * min(sizes)
    sizes = [size(build(0)) for build in (recipes.points_gan, recipes.points_vae, recipes.points_diffusion)]
    assert max(sizes) < 1.2 * min(sizes)


class Line(nn.Module):
    """x = 2 z + noise / 2, with the exact posterior, or another q."""

    latent, std, log_std = 1, torch.tensor(0.5), torch.tensor(math.log(0.5))

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def encode(self, x):
        return 2 * x / 4.25 + self.shift, torch.full_like(x, math.log(0.25 / 4.25))

    def decode(self, z):
        return 2 * z


def test_the_bound_is_the_likelihood_where_q_is_exact_and_below_it_elsewhere():
    x = torch.linspace(-4, 4, 9)[:, None]
    exact = torch.distributions.Normal(0, 4.25**0.5).log_prob(x[:, 0])
    many, eps = x.repeat(20_000, 1), torch.randn(180_000, 1, generator=seeded(0))
    mean = lambda vae: elbo(vae, many, eps).view(-1, 9).mean(0)
    assert torch.allclose(mean(Line()), exact, atol=0.03)
    gap = 0.3**2 / (2 * 0.25 / 4.25)  # KL of two Gaussians of one width
    assert torch.allclose(exact - mean(Line(0.3)), torch.full((9,), gap), atol=0.06)


def test_the_value_and_its_best_discriminator():
    flat = GAN(nn.Identity(), nn.Linear(1, 1), 1)
    nn.init.zeros_(flat.discriminator.weight), nn.init.zeros_(flat.discriminator.bias)
    x = torch.randn(50, 1, generator=seeded(0))
    assert adversarial_value(flat, x, x).item() == pytest.approx(-math.log(4))
    assert non_saturating_loss(flat, x).item() == pytest.approx(math.log(2))

    best = GAN(nn.Identity(), nn.Linear(1, 1), 1)  # N(1, 1) against N(-1, 1): the best logits are 2 x
    best.discriminator.weight.data, best.discriminator.bias.data = torch.tensor([[2.0]]), torch.zeros(1)
    x = torch.randn(20_000, 1, generator=seeded(0))
    value = lambda: adversarial_value(best, x + 1, x - 1).item()
    top = value()
    for weight in (1.5, 2.5):
        best.discriminator.weight.data.fill_(weight)
        assert value() < top


@pytest.mark.parametrize("kept, value", [(25, -1.386), (24, -1.358), (1, -0.170)])
def test_a_missing_mode_costs_little_where_the_discriminator_is_the_best(kept, value):
    """V(D*, G) = 2 JSD - log 4: Goodfellow et al. 2014, Theorem 1, for a generator that is perfect on some of 25 modes."""
    grid = points.grid()
    some = GaussianMixture(torch.ones(kept), grid.means[:kept], grid.stds[:kept])
    best = SimpleNamespace(logits=lambda x: grid.log_prob(x) - some.log_prob(x))
    x, fake = (mixture.sample(40_000, seeded(0))[0].double() for mixture in (grid, some))
    assert adversarial_value(best, x, fake).item() == pytest.approx(value, abs=0.005)
    exact = kept / 25 * math.log(kept / (kept + 25)) + math.log(25 / (kept + 25))
    assert exact == pytest.approx(value, abs=0.0005)


def test_the_gradient_penalty_is_that_of_the_logits():
    linear = GAN(nn.Identity(), nn.Linear(3, 1), 3)
    penalty = gradient_penalty(linear, torch.randn(5, 3, generator=seeded(0)))
    weight = linear.discriminator.weight
    assert torch.allclose(penalty, weight.square().sum())
    penalty.backward()
    assert torch.allclose(weight.grad, 2 * weight)


def test_fourier_features_keep_the_points_and_add_sines_and_cosines():
    x = torch.randn(4, 2, generator=seeded(0))
    features = FourierFeatures(n=5)(x)
    assert features.shape == (4, 12) and torch.equal(features[:, :2], x)
    assert torch.allclose(features[:, 2:7].square() + features[:, 7:].square(), torch.ones(4, 5))


def test_the_recipes_train_as_long_as_the_benchmark_that_compares_them():
    rows = figures.where(figures.load("three_generators"), data="digits", seconds=60)
    assert {row.model: row.steps for row in rows.itertuples()} == STEPS


def test_in_turn_takes_a_step_each_and_ends_with_the_first_that_does():
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    order = []

    def loss(net, name):
        order.append(name)
        return net.weight.square().sum()

    first, second = (
        train(lambda net=net, name=name: loss(net, name), net, steps) for net, name, steps in ((a, "a", 3), (b, "b", 9))
    )
    history = list(alternate(first, second))
    assert order == list("ababab") and len(history) == 3
    assert history[-1].done == 1 and history[0].done == pytest.approx(1 / 3) and isinstance(history[0], TrainingState)


def test_a_step_of_one_player_leaves_the_other_as_it_is():
    game, rng = recipes.points_gan(0), seeded(0)
    before = [p.clone() for p in game.discriminator.parameters()]
    loss = lambda: non_saturating_loss(game, game.sample(8, rng))
    list(train(loss, game.generator, 2))
    assert all(torch.equal(p, q) for p, q in zip(before, game.discriminator.parameters()))


@pytest.mark.parametrize("build, training", [(recipes.points_gan, recipes.train_gan), (recipes.points_vae, recipes.train_vae)])
def test_recipes_learn_and_repeat(build, training):
    def made():
        model = build(0)
        history = list(training(model, None, steps=60, data=recipes.some_points))
        assert len(history) == 60
        return model.sample(500, seeded(1)).detach()

    x, real = made(), recipes.some_points(seeded(2))
    untrained = build(0).sample(500, seeded(1)).detach()
    assert torch.equal(x, made())
    assert metrics.sliced_wasserstein(x, real) < 0.6 * metrics.sliced_wasserstein(untrained, real)


@pytest.mark.parametrize("build", [recipes.gan, recipes.vae, recipes.diffusion, recipes.points_diffusion])
def test_one_function_samples_all_generators(build):
    model = build(0)
    draw = lambda seed: sample_generator(model, 3, seeded(seed))
    assert draw(1).shape == ((3, 2) if build is recipes.points_diffusion else (3, 1, 16, 16))
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_modes():
    grid = points.grid()
    x, label = grid.sample(5000, seeded(0))
    covered, outside = metrics.modes(x, grid)
    assert covered == 25 and outside < 0.002
    assert metrics.modes(x[label < 20], grid) == (20, pytest.approx(0, abs=0.002))
    assert metrics.modes(torch.zeros(100, 2) + 0.25, grid) == (0, 1.0)
    few = torch.cat([x[label != 3], x[label == 3][:30]])  # a sixth of its due
    assert metrics.modes(few, grid)[0] == 24 and metrics.modes(few, grid, share=0.1)[0] == 25
    with pytest.raises(ValueError, match=r"x must be \(B, 2\)"):
        metrics.modes(torch.zeros(5, 3), grid)


def test_slerp_keeps_the_length_and_meets_its_ends():
    a, b = torch.randn(2, 5, 1, 16, 16, generator=seeded(0))
    assert torch.allclose(slerp(a, b, 0.0), a, atol=1e-5) and torch.allclose(slerp(a, b, 1.0), b, atol=1e-5)
    middle = slerp(a, b, 0.5).flatten(1).norm(dim=1)
    assert torch.allclose(middle, (a.flatten(1).norm(dim=1) + b.flatten(1).norm(dim=1)) / 2, rtol=0.05)
    angle = lambda x, y: torch.arccos(torch.cosine_similarity(x.flatten(1), y.flatten(1)))
    unit = lambda x: x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(angle(slerp(unit(a), unit(b), 0.25), a), angle(a, b) / 4, atol=1e-3)
    assert torch.allclose(slerp(a, a, 0.3), a, atol=1e-4)
    with pytest.raises(ValueError, match="b must have the shape of a"):
        slerp(a, b[:2], 0.5)


def test_sampling_needs_no_steps_and_keeps_to_its_seed():
    vae = VAE(layers(2, 4), layers(2, 4, 2), 2)
    assert torch.equal(vae.sample(3, seeded(4)), vae.draw(vae.latents(3, seeded(4))))
    assert vae.latents(10_000, seeded(0)).std().item() == pytest.approx(1, abs=0.02)
