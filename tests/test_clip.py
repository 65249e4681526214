"""What a CLIP is measured by, on CLIPs of which the answer is known: a bag of words, and one that knows the words' places."""

import torch
from torch import nn
from torch.nn.functional import normalize, one_hot

from course_lib import models
from course_lib.datasets import captions, scenes
from course_lib.recipes.clip import MOSTLY_PAIRS, retrieval, told_apart, train_clip, zero_shot


class Reads(nn.Module):
    """Reads a picture's plain caption with the shipped reader, and makes vectors of words: with their places, or without."""

    def __init__(self, places: bool):
        super().__init__()
        self.places, self.reader = places, models.load("reader")

    def caption(self, tokens):
        words = one_hot(tokens, len(captions.WORDS)).float() * (tokens != captions.PAD)[..., None]
        return normalize(words.flatten(1) if self.places else words.sum(1), dim=1)

    def picture(self, x, time=None):
        return self.caption(captions.tokens(captions.describe(self.reader.read(x))))


def test_a_bag_of_words_sees_another_colour_and_not_who_has_it():
    told, example = told_apart(Reads(places=False), n=60)
    assert told == {"another colour": 1.0, "colours swapped": 0.0, "relation turned": 0.0}
    words = {name: sorted(text.split()) for name, text in example.items()}
    assert words["nothing"] == words["colours swapped"] == words["relation turned"] != words["another colour"]
    assert len(set(example.values())) == 4


def test_one_that_knows_places_tells_all_apart():
    assert set(told_apart(Reads(places=True), n=60)[0].values()) == {1.0}


def test_a_bag_of_words_is_enough_for_the_classes_of_one_object():
    assert zero_shot(Reads(places=False), n=60) == zero_shot(Reads(places=False), "new objects", n=60) == 1.0


def test_luck_finds_one_in_n():
    class Blind(Reads):
        def picture(self, x, time=None):
            return normalize(torch.randn(len(x), len(captions.WORDS), generator=torch.Generator().manual_seed(0)), dim=1)

    assert max(retrieval(Blind(places=False), n=16, batches=20)) < 0.25
    assert zero_shot(Blind(places=False), n=240) < 0.15


def test_a_batch_is_made_of_the_kinds_that_it_is_told(monkeypatch):
    asked, real = [], scenes.sample
    monkeypatch.setattr(scenes, "sample", lambda n, rng, kinds: asked.append((n, kinds)) or real(n, rng, kinds))
    for options in ({}, {"batch": 8, "kinds": ("one",)}):
        next(train_clip(models.load("clip"), steps=1, **({"batch": 16} | options)))
    assert asked == [(16, MOSTLY_PAIRS), (8, ("one",))] and MOSTLY_PAIRS.count("pair") == 5 and len(MOSTLY_PAIRS) == 7


def test_the_shipped_one_knows_who_is_who():
    told, _ = told_apart(models.load("clip"))
    assert min(told.values()) > 0.9, told
