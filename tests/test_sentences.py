"""What the player of words packs, and what it refuses. How it behaves under a hand is in tests/browser."""

import json
import re

import pytest
import torch

from course_lib.methods.masked import WordStep
from course_lib.widgets.sentences import sentences

WORDS = ("a", "blue", "disc", "star")
STATES = [[[4, 4, 4], [4, 4, 4]], [[0, 4, 3], [4, 1, 4]], [[0, 1, 3], [0, 1, 2]]]
STEPS = [WordStep(1 - k / 2, torch.tensor(z), (torch.tensor(z) < 4) * 0.5) for k, z in enumerate(STATES)]
PICTURES = torch.linspace(-1, 1, 2 * 3 * 64).view(2, 3, 8, 8)


def data_of(fragment) -> dict:
    return json.loads(re.search(r"^const data = (.*);$", fragment.html, re.MULTILINE)[1])


def test_all_travels_in_the_page():
    data = data_of(sentences({"one": STEPS, "two": STEPS[::-1]}, WORDS, 4, PICTURES))
    said = [[[data["words"][i] for i in row] for row in step] for step in data["runs"][0]["z"]]
    assert said[2] == [["a", "blue", "star"], ["a", "blue", "disc"]] and said[0][0] == ["▢"] * 3
    assert data["runs"][1]["z"] == data["runs"][0]["z"][::-1] and data["runs"][0]["p"][1] == [[50, 0, 50], [0, 50, 0]]
    assert data["words"][data["masked"]] == "▢" and len(data["pictures"]) == 2


def test_the_same_gives_the_same_bytes_and_a_picture_stands_where_no_script_runs():
    one, two = (sentences({"one": STEPS}, WORDS, 4) for _ in range(2))
    assert one.html == two.html and 'alt="one, at the end: a blue star"' in one.html and "https://" not in one.html
    assert "image/png" in one._repr_mimebundle_()[0] and len(one.html) < 40_000


def test_padding_is_a_dot():
    assert "·" in data_of(sentences({"one": STEPS}, WORDS, 4, padding=1))["words"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"runs": {}}, "runs must hold at least one, got none"),
        ({"runs": {"one": STEPS[:1]}}, r"runs\['one'\] must be two or more WordSteps"),
        ({"runs": {"one": STEPS, "two": STEPS[:2]}}, r"runs\['two'\] must be 3 states of \(2, 3\)"),
        ({"mask": 5}, "must hold numbers of 4 words, or the mask 5"),
        ({"pictures": PICTURES[:1]}, "pictures must be 2, one for each sentence, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sentences(**{"runs": {"one": STEPS}, "words": WORDS, "mask": 4} | change)
