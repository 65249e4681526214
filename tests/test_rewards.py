"""Rewards: tilted mixtures, rejection, best-of-n, particles, Diffusion-DPO and DDPO against closed forms."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from course_lib.datasets.points import pair, ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.methods.rewards import (
    accepted,
    best_of,
    best_of_kl,
    ddpo_loss,
    dpo_loss,
    log_density_of_moves,
    particles,
    resample,
    rollout,
    tilted,
)
from course_lib.metrics import sliced_wasserstein
from course_lib.mixtures import GaussianMixture
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randn, seeded
from course_lib.samplers import ddim, ddpm, result, sample
from course_lib.schedules import cosine_beta
from course_lib.training import denoising_loss, train

CHAIN = DDPM(cosine_beta(1000))


@pytest.mark.parametrize("mixture", [pair(), ring(), GaussianMixture([1, 2], [[0.0, 1], [1, -1]], [0.3, 0.6], [0, 0])], ids=str)
@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_the_tilted_mixture_is_p_exp_of_the_reward_up_to_a_constant(mixture, beta):
    slope = torch.linspace(-1, 0.5, mixture.dim, dtype=torch.float64)
    x = randn(50, mixture.dim, rng=seeded(0), dtype=torch.float64)
    constant = tilted(mixture, slope, beta).log_prob(x) - mixture.log_prob(x) - x @ slope / beta
    assert constant.std() < 1e-9
    assert tilted(mixture, slope, beta).labels.equal(mixture.labels)


def test_the_tilted_mixture_maximises_reward_less_kl():
    """The mean reward less beta KL is beta log Z for the optimum, and less for another mixture."""
    beta, slope, p = 0.5, torch.tensor([-1.0]), pair()

    def value(q):
        x = q.sample(400_000, seeded(1))[0].double()
        return float((x @ slope.double() - beta * (q.log_prob(x) - p.log_prob(x))).mean())

    x = p.sample(400_000, seeded(2))[0].double()
    log_z = float((x @ slope.double() / beta).logsumexp(0) - math.log(len(x)))
    best = value(tilted(p, slope, beta))
    assert abs(best - beta * log_z) < 0.01
    assert all(value(other) < best - 0.02 for other in (p, tilted(p, slope, 2 * beta), tilted(p, slope, beta / 2)))


def test_rejection_samples_the_optimum():
    """Of a linear reward it is the tilted mixture; of -x^2, a Gaussian times a Gaussian."""
    x = pair().sample(200_000, seeded(0))[0]
    linear = accepted(x, lambda x: -x[:, 0], 0.5, float(-x.min()), seeded(1))
    assert sliced_wasserstein(linear, tilted(pair(), torch.tensor([-1.0]), 0.5).sample(20_000, seeded(2))[0], 1) < 0.1
    spot = GaussianMixture(1.0, [[0.5]], 0.4).sample(200_000, seeded(3))[0]
    kept = accepted(spot, lambda x: -x[:, 0].square(), 0.25, rng=seeded(4)).double()
    precision = 1 / 0.4**2 + 2 / 0.25
    assert abs(kept.mean() - 0.5 / 0.4**2 / precision) < 0.005 and abs(kept.std() - precision**-0.5) < 0.005


def test_best_of_n_is_the_largest_of_each_group():
    x = randn(24, 1, rng=seeded(0))
    best = best_of(x, lambda x: x[:, 0], 4)
    assert torch.equal(best[:, 0], x.view(6, 4).amax(1)) and torch.equal(best_of(x, lambda x: x[:, 0], 1), x)


@pytest.mark.parametrize("n", [2, 8])
def test_the_kl_of_best_of_n_is_that_of_the_formula(n):
    """Of uniform numbers the largest of n has density n u^(n - 1): the KL divergence is the mean of its logarithm."""
    u = torch.rand(400_000, 1, generator=seeded(0), dtype=torch.float64)
    best = best_of(u, lambda x: x[:, 0], n)[:, 0]
    assert abs(float((n * best ** (n - 1)).log().mean()) - best_of_kl(n)) < 0.01
    assert best_of_kl(1) == 0


def test_each_particle_is_drawn_as_often_as_its_weight_says():
    log_weight = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    counts = torch.bincount(resample(log_weight.repeat(10_000), 4, seeded(0)) % 4, minlength=4) / 40_000
    assert torch.allclose(counts, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.01)
    for seed in range(5):  # systematic: n W, rounded up or down
        counts = torch.bincount(resample(log_weight.repeat_interleave(5) + 3, 20, seeded(seed)) // 5, minlength=4)
        assert ((counts - torch.tensor([2, 4, 6, 8])).abs() <= 1).all()
    equal = resample(torch.zeros(12), 4, seeded(0))
    assert torch.equal(equal, torch.arange(12))
    assert torch.equal(resample(torch.tensor([0.0, -800.0, -800.0, 0.0]), 2, seeded(0)), torch.tensor([0, 0, 3, 3]))


def test_many_particles_sample_the_optimum():
    data, reward = ExactDenoiser(pair(), CHAIN), lambda x: -x[:, 0]
    noise, times = randn(20_000, 1, rng=seeded(0)), CHAIN.times(100)
    for beta in (1.0, 0.4):
        want = tilted(pair(), torch.tensor([-1.0]), beta).sample(20_000, seeded(1))[0]
        made = result(particles(data, noise, times, reward, beta, rng=seeded(2)))
        plain = result(ddpm(data, noise, times, seeded(2)))
        assert sliced_wasserstein(made, want, 1) < 0.08 < 0.5 < sliced_wasserstein(plain, want, 1)


def test_without_a_reward_particles_are_ddpm():
    data, noise, times = ExactDenoiser(ring(), CHAIN), randn(30, 2, rng=seeded(0)), CHAIN.times(20)
    none = lambda x: x.new_zeros(len(x))
    made = list(particles(data, noise, times, none, 1.0, 1, seeded(3)))
    rng = seeded(3)  # the same random numbers: one for each group, then the noise
    x = noise
    for (t, s), step in zip(zip(times[:-1].tolist(), times[1:].tolist()), made):
        assert torch.allclose(step.x, x, atol=2e-3)  # the same formula, written otherwise
        torch.rand(30, generator=rng)
        x = list(ddpm(data, x, torch.tensor([t, s]), rng))[-1].x
    assert len(made) == 21 and made[-1].pred is None


def test_groups_do_not_mix():
    data, noise, times = ExactDenoiser(pair(), CHAIN), randn(8, 1, rng=seeded(0)), CHAIN.times(10)
    wanted = torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1])
    made = result(particles(data, noise, times, lambda x: wanted * x[:, 0], 0.01, 4, seeded(1)))
    assert (made[:4] > 0).all() and (made[4:] < 0).all()


def test_the_loss_of_dpo_is_that_of_the_papers_code():
    """Wallace et al.'s train.py: -logsigmoid(-0.5 beta_dpo (model_diff - ref_diff)), with means over pixels."""
    torch.manual_seed(0)
    model, reference = (Network(MLP(dim=2, width=8, depth=1), CHAIN, "eps") for _ in range(2))
    winner, loser, eps = (randn(6, 2, rng=seeded(k)) for k in range(3))
    t = torch.tensor([1, 100, 300, 500, 700, 990])
    found = dpo_loss(model, reference, winner, loser, t, eps, 0.5, 8.0)
    both, noise, times = torch.cat([winner, loser]), eps.repeat(2, 1), t.repeat(2)
    x_t = CHAIN.add_noise(both, times, noise)
    losses = [(net(x_t, times).eps - noise).pow(2).mean(1).chunk(2) for net in (model, reference)]
    model_diff, ref_diff = (won - lost for won, lost in losses)
    beta_dpo = 2 * 0.5 * 8.0 * 2  # ours sums over the two coordinates
    want = -torch.nn.functional.logsigmoid(-0.5 * beta_dpo * (model_diff - ref_diff)).mean()
    assert torch.isclose(found, want, atol=1e-6)
    found.backward()
    assert all(w.grad is not None for w in model.net.parameters()) and all(w.grad is None for w in reference.net.parameters())
    assert torch.isclose(dpo_loss(reference, reference, winner, loser, t, eps, 0.5), torch.tensor(math.log(2)))


def test_a_model_that_knows_the_winner_has_the_lower_loss():
    spot = lambda m: ExactDenoiser(GaussianMixture(1.0, [[m]], 0.2), CHAIN)
    winner, loser, eps = torch.full((50, 1), -1.0), torch.full((50, 1), 1.0), randn(50, 1, rng=seeded(0))
    both = ExactDenoiser(pair(), CHAIN)
    better, worse = (float(dpo_loss(spot(m), both, winner, loser, 400, eps, 1.0)) for m in (-1.0, 1.0))
    assert better < math.log(2) < worse


def test_the_density_of_a_move_is_that_of_ddpm():
    data, x = ExactDenoiser(ring(), CHAIN), randn(5, 2, rng=seeded(0))
    moved = torch.stack([list(ddpm(data, x, torch.tensor([600, 400]), seeded(k)))[-1].x for k in range(2000)])
    of = torch.distributions.Normal(moved.mean(0), moved.std(0))
    found = log_density_of_moves(data, x, torch.full((5,), 600), moved[0], torch.full((5,), 400))
    assert torch.allclose(found, of.log_prob(moved[0]).sum(1), atol=0.3)
    assert torch.allclose(found, log_density_of_moves(data, x, 600, moved[0], 400), atol=1e-5)


def test_at_the_optimum_all_returns_of_a_trajectory_are_equal():
    """r - beta log p* / p is beta log Z for every trajectory: nothing is left to gain."""
    beta, data, reward = 0.5, ExactDenoiser(pair(), CHAIN), lambda x: -x[:, 0]
    best = ExactDenoiser(tilted(pair(), torch.tensor([-1.0]), beta), CHAIN)
    noise, times = randn(500, 1, rng=seeded(0)).double(), CHAIN.times(500)

    def spread(model):
        """The standard deviation of the returns of whole trajectories, over that of the rewards."""
        moves = rollout(model, data, noise, times, reward, beta, seeded(1))
        change = moves.log_prob - log_density_of_moves(data, moves.x, moves.t, moves.to, moves.s)
        samples = list(ddpm(model, noise, times, seeded(1)))[-1].x
        return float((reward(samples) - beta * change.view(499, 500).sum(0)).std() / reward(samples).std())

    assert spread(best) < 0.15 < 0.9 < spread(data)


def test_the_advantage_of_a_move_is_its_return_normalised():
    data, other = ExactDenoiser(ring(), CHAIN), ExactDenoiser(ring(std=0.2), CHAIN)
    noise, times, reward = randn(40, 2, rng=seeded(0)), CHAIN.times(6), lambda x: -x[:, 1].square()
    made = list(ddpm(data, noise, times, seeded(1)))[-1].x
    plain = rollout(data, other, noise, times, reward, rng=seeded(1))
    value = reward(made) - reward(made).mean()
    each = plain.advantage.view(5, 40)  # six moves, of which the last has no noise
    assert torch.allclose(each, each[:1].expand(5, -1)) and torch.allclose(each[0] * (value / each[0])[0], value, atol=1e-5)
    moves = rollout(data, other, noise, times, reward, 0.3, seeded(1))
    change = (moves.log_prob - log_density_of_moves(other, moves.x, moves.t, moves.to, moves.s)).view(5, 40)
    returns = torch.stack([reward(made) - 0.3 * change[k:].sum(0) for k in range(5)])
    want = (returns - returns.mean(1, keepdim=True)) / returns.std()
    assert torch.allclose(moves.advantage.view(5, 40), want, atol=1e-4)


def _moves(**changed):
    torch.manual_seed(0)
    network = Network(MLP(dim=2, width=8, depth=1), CHAIN, "v")
    moves = rollout(network, network, randn(20, 2, rng=seeded(0)), CHAIN.times(5), lambda x: -x[:, 1].square(), rng=seeded(1))
    return network, replace(moves, **{key: change(getattr(moves, key)) for key, change in changed.items()})


def _gradient(network, loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.net.parameters()), allow_unused=False)])


def test_before_the_first_step_the_loss_has_the_gradient_of_the_score_function():
    network, moves = _moves()
    log_prob = log_density_of_moves(network, moves.x, moves.t, moves.to, moves.s)
    want = _gradient(network, -(moves.advantage * log_prob).mean())
    assert torch.allclose(_gradient(network, ddpo_loss(network, moves)), want, atol=1e-5) and want.norm() > 0.01


@pytest.mark.parametrize("shift, sign, moving", [(-1, 1, False), (-1, -1, True), (1, -1, False), (1, 1, True)])
def test_a_ratio_beyond_the_clip_has_no_gradient_where_it_gains(shift, sign, moving):
    """The old log-density is 1 lower or higher than the new: the ratio is e or 1 / e."""
    network, moves = _moves(log_prob=lambda v: v + shift, advantage=lambda a: sign * torch.ones_like(a))
    assert (float(_gradient(network, ddpo_loss(network, moves)).norm()) > 1e-3) is moving


def test_ddpo_with_kl_moves_a_model_towards_the_optimum():
    """From the reference itself: a few rounds, on the line."""
    torch.manual_seed(0)
    rng, reference = seeded(0), Network(MLP(dim=1, width=32, depth=2), CHAIN, "v")
    for _ in train(lambda: denoising_loss(reference, pair().sample(256, rng)[0], rng), reference.net, 300, lr=4e-3):
        pass
    want = tilted(pair(), torch.tensor([-1.0]), 0.5).sample(4000, rng)[0]
    far = lambda net: sliced_wasserstein(
        sample(net, randn(2000, 1, rng=seeded(1)), 20, ddpm, batch=2000, rng=seeded(2)), want, 1
    )
    before, network = far(reference), Network(copy.deepcopy(reference.net), CHAIN, "v")
    adam = torch.optim.Adam(network.net.parameters(), lr=2e-3)
    for _ in range(15):
        moves = rollout(network, reference, randn(200, 1, rng=rng), CHAIN.times(20), lambda x: -x[:, 0], 0.5, rng)
        for index in torch.randperm(len(moves.t), generator=rng).chunk(4):
            adam.zero_grad()
            ddpo_loss(network, moves.part(index)).backward()
            adam.step()
    assert far(network) < 0.5 * before


def test_bad_input_is_one_line():
    x = randn(6, 2, rng=seeded(0))
    with pytest.raises(ValueError, match="n must divide the batch 6, got 4"):
        best_of(x, lambda x: x[:, 0], 4)
    with pytest.raises(ValueError, match=r"reward must return one number for each of the batch of 6, got shape \(6, 2\)"):
        best_of(x, lambda x: x, 2)
    with pytest.raises(ValueError, match=r"slope must be \(2,\), got shape \(1,\)"):
        tilted(ring(), torch.tensor([1.0]), 1.0)
    with pytest.raises(ValueError, match="most must be the largest reward or more, got 0 beside a reward of 1"):
        accepted(x, lambda x: x.new_ones(len(x)), 1.0)
    with pytest.raises(ValueError, match="the number of moves must be at least 2, got 1"):
        rollout(ExactDenoiser(ring(), CHAIN), ExactDenoiser(ring(), CHAIN), x, CHAIN.times(1), lambda x: x[:, 0])
    with pytest.raises(ValueError, match="beta must be positive, got 0"):
        next(iter(particles(ExactDenoiser(ring(), CHAIN), x, CHAIN.times(5), lambda x: x[:, 0], 0)))
    assert result(ddim(ExactDenoiser(ring(), CHAIN), x, CHAIN.times(5))).shape == (6, 2)
