"""Checks of arguments: what counts as a number, and what is returned."""

import math
import re

import numpy as np
import pytest
import torch

from course_lib import validate
from course_lib.datasets import points, scenes
from course_lib.denoisers import ExactDenoiser
from course_lib.guidance import ClassifierFree
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim, sample
from course_lib.schedules import cosine_beta

WHOLE = [3, np.int64(3), np.int32(3), np.uint8(3)]
REAL = [0.5, np.float64(0.5), np.float32(0.5), *WHOLE]


@pytest.mark.parametrize("value", REAL, ids=repr)
def test_numbers_are_those_of_python_and_of_numpy(value):
    assert validate.finite("w", value) is value and validate.positive("w", value) is value
    if value == 3:
        assert validate.at_least("n", value, 3) is value and validate.choice("n", value, (1, 3)) is value
    else:
        with pytest.raises(TypeError, match=f"n must be a whole number, got {re.escape(repr(value))}"):
            validate.at_least("n", value, 0)


@pytest.mark.parametrize("value", [True, np.True_, None, "3", torch.tensor(3), torch.tensor(0.5), [3], 3j])
def test_all_else_is_not_a_number_a_tensor_of_one_number_neither(value):
    """A tensor has a device and may have a gradient, which a number that is kept, such as w, must not bring along."""
    for check in (lambda: validate.finite("n", value), lambda: validate.at_least("n", value, 0)):
        with pytest.raises(TypeError, match="^n must be a (whole )?number, got "):
            check()
    with pytest.raises(ValueError, match="^n must be one of 1, 3, got "):
        validate.choice("n", value, (1, 3))


def test_bounds():
    assert validate.finite("w", 0, 0, 1) == 0 and validate.finite("w", 1, 0, 1) == 1 and validate.at_least("n", 4, 1, 4) == 4
    for call, words in (
        (lambda: validate.finite("w", 1.1, 0, 1), "w must lie in [0, 1], got 1.1"),
        (lambda: validate.finite("w", -0.1, 0), "w must be 0 or more, got -0.1"),
        (lambda: validate.finite("w", math.nan), "w must be finite, got nan"),
        (lambda: validate.positive("w", 0), "w must be positive, got 0"),
        (lambda: validate.at_least("n", 5, 1, 4), "n must be at most 4, got 5"),
        (lambda: validate.multiple("n", 12, 8), "n must be a multiple of 8, got 12"),
        (lambda: validate.divides("n", 3, "width", 8), "n must divide width 8, got 3"),
        (lambda: validate.sizes(depth=1, width=0), "width must be at least 1, got 0"),
        (lambda: validate.filled("names", ()), "names must hold at least one value, got none"),
    ):
        with pytest.raises(ValueError) as raised:
            call()
        assert str(raised.value) == words


def test_shapes_of_tensors():
    x = torch.zeros(2, 3, 8, 4)
    assert validate.shape("x", x, 3, "H", "W") is x and validate.batch("x", x, 3, 8, 4) is x and validate.sides("x", x, 4) is x
    for call, words in (
        (lambda: validate.shape("x", x, 1, "H", "W"), "x must be (B, 1, H, W), got shape (2, 3, 8, 4)"),
        (lambda: validate.shape("x", x), "x must be (B,), got shape (2, 3, 8, 4)"),
        (lambda: validate.sides("x", x, 8), "x must have sides that are multiples of 8, got shape (2, 3, 8, 4)"),
        (lambda: validate.batch("x", x, "D"), "x must be (B, D), got shape (2, 3, 8, 4)"),
        (lambda: validate.like("x", x, "y", x[:1]), "x must have the shape of y, (1, 3, 8, 4), got (2, 3, 8, 4)"),
    ):
        with pytest.raises(ValueError) as raised:
            call()
        assert str(raised.value) == words


def test_the_library_takes_numpys_numbers():
    chain, mixture = DDPM(cosine_beta(np.int64(20))), points.ring(np.int64(4), np.float32(1.0), np.float64(0.1))
    exact, x = ExactDenoiser(mixture, chain), torch.randn(np.int64(3), 2, generator=seeded(0))
    guided = ClassifierFree(exact.given(np.int64(1)), exact, np.float64(2.0))
    assert torch.equal(sample(guided, x, np.int64(4)), sample(ClassifierFree(exact.given(1), exact, 2.0), x, 4))
    assert len(list(ddim(exact, x, chain.times(np.int32(4)), np.float64(0.5), seeded(0)))) == 5
    assert UNet(np.int64(8), np.int64(1), (np.int64(8), 16), classes=np.int64(3)).as_condition(np.int64(2)).tolist() == [2]
    assert len(scenes.sample(np.int64(5), seeded(0))) == 5
