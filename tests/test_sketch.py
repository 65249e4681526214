"""The sketch without a browser: what is drawn, what is refused, and the picture where no script runs."""

import pytest
import torch

from course_lib.process import seeded
from course_lib.widgets.sketch import sketch
from course_lib.zoo import crosses

BAR = "... ### ..."


def test_the_drawing_is_what_the_text_says():
    pad = sketch(BAR)
    assert pad.drawing.tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    pad.text.value = "#.. .#. ..#"
    assert torch.equal(pad.drawing, torch.eye(3))


@pytest.mark.parametrize("rows", ["", "...", "## #", ".. ..", "ab cd"])
def test_what_is_no_drawing_is_refused_in_one_line(rows):
    with pytest.raises(ValueError, match="rows must be a square"):
        sketch(rows)
    pad = sketch(BAR)
    pad.text.value = rows
    with pytest.raises(ValueError, match="rows must be a square"):
        _ = pad.drawing


def test_the_page_has_a_still_and_stays_beside_the_text_box():
    data, _ = sketch(crosses.HEART)._repr_mimebundle_()
    assert "image/png" in data and 'class="strip"' in data["text/html"] and "display: none" not in data["text/html"]


def test_five_pictures_of_a_drawing_have_the_colours_and_places_of_the_crosses():
    heart = crosses.drawing(crosses.HEART)
    scene, x = crosses.five(drawn=heart)
    _, of_crosses = crosses.five()
    assert x.shape == of_crosses.shape and all("heart" in words for words in crosses.tell(scene, seeded(0), "heart")[0])
    for mine, theirs in zip(x, of_crosses):
        here, there = ((v.amax(0) > 0).nonzero().float().mean(0) for v in (mine, theirs))
        assert (here - there).norm() < 2
        assert torch.allclose(mine.flatten(1).amax(1), theirs.flatten(1).amax(1), atol=0.05)


def test_likeness_is_one_for_the_drawing_itself_high_for_its_shape_at_any_size_and_low_for_others():
    heart = crosses.drawing(crosses.HEART)
    mine, others = (crosses.likeness(crosses.five(drawn=v)[1], heart) for v in (heart, None))
    assert mine.mean() > 0.65 and mine.min() > 0.5 > others.max()
    wide = heart.repeat_interleave(2, 1)
    assert crosses.likeness(2 * wide.expand(1, 3, -1, -1) - 1, heart) == 1
    assert crosses.likeness(-torch.ones(1, 3, 32, 32), heart) < 0.1  # nothing is drawn
