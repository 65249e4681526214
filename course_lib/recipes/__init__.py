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
from course_lib.recipes.distillation import (
    CONSISTENCY,
    CONSISTENCY_TRAINED,
    GUIDED,
    PROGRESSIVE,
    guided_network,
    train_distilled,
    train_guided,
    train_progressive,
    train_trained,
)
from course_lib.recipes.points import RING, ring_figures, ring_network, train_ring
from course_lib.recipes.recipe import Recipe

__all__ = [
    "RECIPES",
    "Recipe",
    "classifier",
    "classifier_figures",
    "digits_figures",
    "digits_network",
    "guided_network",
    "ring_figures",
    "ring_network",
    "train_classifier",
    "train_digits",
    "train_distilled",
    "train_guided",
    "train_progressive",
    "train_ring",
    "train_trained",
]

RECIPES = {
    "ring": RING,
    "classifier": CLASSIFIER,
    "digits": DIGITS,
    **PROGRESSIVE,
    "consistency": CONSISTENCY,
    "consistency_trained": CONSISTENCY_TRAINED,
    "guided": GUIDED,
}
"""Every model that ships, in the order in which they can be made: the digits are measured by the classifier."""
