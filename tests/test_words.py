"""Pictures of words: what is drawn is what is read, and what is held out stays out."""

import pytest
import torch

from course_lib.datasets import captions, words
from course_lib.datasets.scenes import NONE
from course_lib.datasets.words import DOTS, LETTERS, agreement, draw, held_out, read, sample, spelling, spelt, tell, tokens
from course_lib.process import seeded


@pytest.mark.parametrize("new", [False, True])
def test_what_is_drawn_is_read_also_in_noise(new):
    wanted = sample(400, seeded(0), new)
    x = draw(wanted, seeded(1))
    assert x.shape == (400, 3, 32, 32) and x.min() == -1 and x.max() <= 1
    assert agreement(read(x), wanted) == {"letters": 1.0, "spelt": 1.0, "colour": 1.0, "all": 1.0}
    noisy = x + 0.4 * torch.randn(x.shape, generator=seeded(2))
    assert agreement(read(noisy), wanted)["all"] > 0.99


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_words_begin_on_every_place_of_their_grid_and_on_no_other(grid):
    # By dots; an H has ink in its first row and in its first column.
    lit = draw(spelling("HUH", "white", 2000), seeded(0), grid)[:, 0, ::2, ::2] > 0
    top, left = lit.any(2).int().argmax(1), lit.any(1).int().argmax(1)
    assert set(top.tolist()) == set(range(0, 12, grid)) and set(left.tolist()) == set(range(0, 6, grid))


def test_one_dot_too_few_is_read_over_and_another_letter_is_not():
    star = spelling("STAR", "red")
    x = draw(star, seeded(0))
    assert spelt(read(x)) == ["STAR"]
    (y,), (left,) = (x[0, 0] > 0).any(1).nonzero()[0], (x[0, 0] > 0).any(0).nonzero()[0]
    x[0, :, y : y + 2, left : left + 4] = -1  # the S loses a dot
    assert spelt(read(x)) == ["STAR"]
    assert spelt(read(draw(spelling("STAY", "red"), seeded(0)))) == ["STAY"]


def test_black_is_no_word():
    nothing = read(torch.full((2, 3, 32, 32), -1.0))
    assert (nothing.letters == NONE).all() and (nothing.colour == NONE).all()
    assert agreement(nothing, sample(2, seeded(0)))["spelt"] == 0


def test_letters_differ_by_two_dots():
    apart = torch.cdist(DOTS.flatten(1), DOTS.flatten(1), p=1) + 99 * torch.eye(len(LETTERS))
    assert apart.min() >= 2


def test_words_that_are_held_out_are_never_sampled_and_are_one_in_eight():
    assert not held_out(sample(5000, seeded(0)).letters).any() and held_out(sample(500, seeded(0), new=True).letters).all()
    everything = torch.cartesian_prod(*[torch.arange(len(LETTERS))] * 4)
    assert held_out(everything).double().mean() == pytest.approx(1 / 8, abs=0.01)
    lengths = (sample(5000, seeded(0)).letters != NONE).sum(1)
    assert set(lengths.tolist()) == {3, 4} and (lengths == 3).double().mean() == pytest.approx(0.5, abs=0.05)


def test_prompts_are_captions_with_words_in_capitals_spelt_out():
    assert tell(spelling("STAR", "pink")) == ["STAR in pink"]
    row = tokens("STAR in pink")[0]
    assert [words.VOCABULARY[i] for i in row[:7]] == ["<start>", "S", "T", "A", "R", "in", "pink"] and (row[7:] == 1).all()
    prompts = ["a red circle left of a blue square", "", "three pink stars"]
    assert torch.equal(tokens(prompts), captions.tokens(prompts))


@pytest.mark.parametrize(
    "prompt, word",
    [("STAR BIG in red", "'B' in 'BIG'"), ("a rde circle", "did you mean red"), ("a " * 20, "at most 19")],
)
def test_prompts_that_cannot_be_said_are_refused(prompt, word):
    with pytest.raises(ValueError, match=word):
        tokens(prompt)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="grid must be"):
        draw(spelling("STAR", "red"), grid=0)
    with pytest.raises(ValueError, match="word must be 3 or 4 of the letters .*got 'GO'"):
        spelling("GO", "red")
    with pytest.raises(ValueError, match="colour must be one of"):
        spelling("STAR", "mauve")
    with pytest.raises(ValueError, match=r"x must be \(B, 3, 32, 32\)"):
        read(torch.zeros(2, 1, 32, 32))
    with pytest.raises(ValueError, match="seen and wanted must be as many"):
        agreement(sample(2, seeded(0)), sample(3, seeded(0)))
