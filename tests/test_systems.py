"""The systems in miniature: what each yields, and that the same seed draws the same."""

import pytest
import torch

from course_lib.datasets import captions, scenes
from course_lib.process import seeded
from course_lib.zoo.recipes.shapes import shipped_detector
from course_lib.zoo.systems import STEPS, SYSTEMS

SAID = ["a large red circle left of a small blue square", "a small yellow star above a large green triangle"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_yields_its_estimate_at_every_step(name):
    film = SYSTEMS[name]()
    frames = list(film(SAID, 0))
    assert len(frames) == STEPS + 1
    assert all(x.shape == (2, 3, 32, 32) and x.abs().max() <= 1 for x in frames)
    *_, again = film(SAID, 0)
    *_, other = film(SAID, 1)
    assert torch.equal(frames[-1], again) and not torch.equal(again, other)
    assert (frames[0] - frames[-1]).abs().mean() > (frames[-2] - frames[-1]).abs().mean()


def test_the_latent_system_draws_what_was_asked():
    prompts, scene = captions.tell(scenes.sample(20, seeded(3), ("pair",)), seeded(3))
    *_, pictures = SYSTEMS["latent diffusion"]()(prompts, 0)
    assert scenes.agreement(shipped_detector().detect(pictures), scene)["all"] >= 0.7
