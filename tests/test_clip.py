"""The metrics of CLIP, on CLIPs whose result is known: a bag of words, and one with the positions of the words."""

import torch
from torch import nn
from torch.nn.functional import normalize, one_hot

from course_lib.datasets import captions, scenes
from course_lib.process import seeded
from course_lib.zoo import models
from course_lib.zoo.recipes.clip import MOSTLY_PAIRS, hard_negatives, retrieval, train_clip, zero_shot


class Reads(nn.Module):
    """Embeds the plain caption that the shipped detector finds in a picture: with the positions of the words, or without."""

    def __init__(self, places: bool):
        super().__init__()
        self.places, self.detector = places, models.load("reader")

    def encode_text(self, tokens):
        words = one_hot(tokens, len(captions.WORDS)).float() * (tokens != captions.PAD)[..., None]
        return normalize(words.flatten(1) if self.places else words.sum(1), dim=1)

    def encode_image(self, x, time=None):
        return self.encode_text(captions.tokens(captions.describe(self.detector.detect(x))))


def test_a_bag_of_words_sees_another_colour_and_not_who_has_it():
    shares, example = hard_negatives(Reads(places=False), n=60)
    assert shares == {"another colour": 1.0, "colours swapped": 0.0, "relation turned": 0.0}
    words = {name: sorted(text.split()) for name, text in example.items()}
    assert words["nothing"] == words["colours swapped"] == words["relation turned"] != words["another colour"]
    assert len(set(example.values())) == 4


def test_one_with_positions_distinguishes_all():
    assert set(hard_negatives(Reads(places=True), n=60)[0].values()) == {1.0}


def test_a_bag_of_words_is_enough_for_the_classes_of_one_object():
    assert zero_shot(Reads(places=False), n=60) == zero_shot(Reads(places=False), "new objects", n=60) == 1.0


def test_luck_finds_one_in_n():
    class Blind(Reads):
        def encode_image(self, x, time=None):
            return normalize(torch.randn(len(x), len(captions.WORDS), generator=seeded(0)), dim=1)

    assert max(retrieval(Blind(places=False), n=16, batches=20)) < 0.25
    assert zero_shot(Blind(places=False), n=240) < 0.15


def test_a_batch_is_made_of_the_kinds_that_are_given(monkeypatch):
    wanted, real = [], scenes.sample
    monkeypatch.setattr(scenes, "sample", lambda n, rng, kinds: wanted.append((n, kinds)) or real(n, rng, kinds))
    for options in ({}, {"batch": 8, "kinds": ("one",)}):
        next(train_clip(models.load("clip"), steps=1, **({"batch": 16} | options)))
    assert wanted == [(16, MOSTLY_PAIRS), (8, ("one",))] and MOSTLY_PAIRS.count("pair") == 5 and len(MOSTLY_PAIRS) == 7


def test_the_shipped_one_distinguishes_hard_negatives():
    shares, _ = hard_negatives(models.load("clip"))
    assert min(shares.values()) > 0.9, shares
