"""Recipes: how each model of the course is built, trained and measured. `course train NAME` follows one of them.

A `train_...` works on a copy and keeps the running average of its weights in the network that it was given, which therefore is
good to use after any step. With the same seed and no limit of `seconds` it gives the same weights on the same machine.
"""

from course_lib.recipes.digits import (
    CLASSIFIER,
    DIGITS,
    classifier,
    classifier_figures,
    digits_figures,
    digits_network,
    train_classifier,
    train_digits,
)
from course_lib.recipes.guides import (
    NOISY_CLASSIFIER,
    noisy_classifier,
    noisy_classifier_figures,
    train_noisy_classifier,
)
from course_lib.recipes.points import RING, ring_figures, ring_network, train_ring
from course_lib.recipes.recipe import Recipe
from course_lib.recipes.shapes import READER

__all__ = [
    "RECIPES",
    "Recipe",
    "classifier",
    "classifier_figures",
    "digits_figures",
    "digits_network",
    "noisy_classifier",
    "noisy_classifier_figures",
    "ring_figures",
    "ring_network",
    "train_classifier",
    "train_digits",
    "train_noisy_classifier",
    "train_ring",
]

RECIPES = {
    "ring": RING,
    "classifier": CLASSIFIER,
    "digits": DIGITS,
    "noisy_classifier": NOISY_CLASSIFIER,
    "reader": READER,
}
"""Every model that ships, in the order in which they can be made: the digits are measured by the classifier."""
