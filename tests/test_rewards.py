"""Rewards: tilted mixtures, best-of-n, particles and Diffusion-DPO against closed forms."""

import math

import pytest
import torch

from course_lib.datasets.points import pair, ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.methods.rewards import best_of, best_of_kl, dpo_loss, particles, resample, tilted
from course_lib.metrics import sliced_wasserstein
from course_lib.mixtures import GaussianMixture
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, randn, seeded
from course_lib.samplers import ddim, ddpm, result
from course_lib.schedules import cosine_beta

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


def test_bad_input_is_one_line():
    x = randn(6, 2, rng=seeded(0))
    with pytest.raises(ValueError, match="n must divide the batch 6, got 4"):
        best_of(x, lambda x: x[:, 0], 4)
    with pytest.raises(ValueError, match=r"reward must return one number for each of the batch of 6, got shape \(6, 2\)"):
        best_of(x, lambda x: x, 2)
    with pytest.raises(ValueError, match=r"slope must be \(2,\), got shape \(1,\)"):
        tilted(ring(), torch.tensor([1.0]), 1.0)
    with pytest.raises(ValueError, match="beta must be positive, got 0"):
        next(iter(particles(ExactDenoiser(ring(), CHAIN), x, CHAIN.times(5), lambda x: x[:, 0], 0)))
    assert result(ddim(ExactDenoiser(ring(), CHAIN), x, CHAIN.times(5))).shape == (6, 2)
