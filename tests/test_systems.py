"""The systems in miniature: what each yields, and that the same seed draws the same."""

import pytest
import torch

from course_lib.datasets import captions, scenes
from course_lib.recipes.shapes import shipped_reader
from course_lib.systems import STEPS, SYSTEMS

SAID = ["a large red circle left of a small blue square", "a small yellow star above a large green triangle"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_shows_what_it_believes_at_every_step(name):
    film = SYSTEMS[name]()
    frames = list(film(SAID, 0))
    assert len(frames) == STEPS + 1
    assert all(x.shape == (2, 3, 32, 32) and x.abs().max() <= 1 for x in frames)
    *_, again = film(SAID, 0)
    *_, other = film(SAID, 1)
    assert torch.equal(frames[-1], again) and not torch.equal(again, other)
    assert (frames[0] - frames[-1]).abs().mean() > (frames[-2] - frames[-1]).abs().mean()


def test_the_latent_system_draws_what_was_asked():
    said, scene = captions.tell(
        scenes.sample(20, torch.Generator().manual_seed(3), ("pair",)), torch.Generator().manual_seed(3)
    )
    *_, pictures = SYSTEMS["latent diffusion"]()(said, 0)
    assert scenes.agreement(shipped_reader().read(pictures), scene)["all"] >= 0.7
