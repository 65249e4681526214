"""The numbers that make each sampler one line, against the samplers themselves; what the widget refuses."""

import pytest
import torch

from course_lib.datasets.points import pair, ring
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, seeded
from course_lib.samplers import annealed_langevin, ddim, ddpm, probability_flow
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.widgets.paths import ddim_rule, ddpm_rule, follow, geometric_levels, langevin_rule, paths, probability_flow_rule
from course_lib.zoo import models

process = DDPM(linear_beta(1000))
exact = ExactDenoiser(ring(), process)
levels = torch.tensor([1000, 500, 200, 80, 20, 0])


def generator():
    return seeded(3)


@pytest.mark.parametrize(
    "rule, steps",
    [
        (lambda t: ddpm_rule(process, t), lambda x, t: ddpm(exact, x, t, generator())),
        (lambda t: ddim_rule(process, t), lambda x, t: ddim(exact, x, t)),
        (lambda t: probability_flow_rule(process, t), lambda x, t: probability_flow(exact, x, t)),
        (lambda t: langevin_rule(process, t, 3, 1e-3), lambda x, t: annealed_langevin(exact, x, t, 3, 1e-3, generator())),
    ],
    ids=["ddpm", "ddim", "ode", "langevin"],
)
def test_three_numbers_a_move_are_the_whole_sampler(rule, steps):
    x = torch.randn(20, 2, generator=generator(), dtype=torch.float64)
    trajectory = follow(exact, rule(levels), x, generator())
    assert torch.allclose(trajectory, torch.stack([step.x for step in steps(x, levels)]), atol=1e-9)


def test_levels_are_a_factor_apart():
    noise = process.noise(geometric_levels(process)[:-1])
    assert len(noise) == 20 and noise[0] == process.noise(1000) and 0.05 <= noise[-1] < 0.06
    assert (noise[1:] / noise[:-1]).std() < 0.02


def test_the_page_carries_what_it_needs_and_a_picture_for_those_without_scripts():
    made = paths(exact, steps=5, n=2)
    assert (
        '"name":"Langevin"' in made.html
        and '<img alt="From one x_T' in made.html
        and made.html == paths(exact, None, None, 5, 2).html
    )
    assert len(paths(exact, models.load("ring"), steps=5).html) < 5e5


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: paths(ExactDenoiser(pair(), process)), "exact must be the denoiser of a mixture in the plane"),
        (lambda: paths(exact, levels=levels.flip(0)), "levels must be two or more falling times"),
        (lambda: paths(exact, Network(MLP(classes=3), process)), "network must be an MLP without classes"),
        (lambda: paths(exact, Network(MLP(), process, "v")), "network must be an MLP without classes"),
        (lambda: paths(exact, Network(MLP(), DDPM(cosine_beta(1000)))), "network must be over the process"),
        (lambda: paths(exact, n=0), "n must be at least 1, got 0"),
    ],
)
def test_bad_input_is_named_in_one_line(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)
