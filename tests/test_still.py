"""The still picture of a widget, for what shows neither scripts nor HTML."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from course_lib.widgets import pixels, sheets
from course_lib.widgets.page import fragment
from course_lib.widgets.still import COLUMNS, GAP, TALLEST, WIDEST, still


def picture(made):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(made.text))).convert("L"))


def strip(shades, names=("x_t", "x_0")):
    """A fallback of frames: of each, one picture of 4 x 4 pixels a name, of one shade."""
    frame = lambda shade: pixels.png(np.full((4, 4), shade, np.uint8))
    return pixels.strip({f"t = {i}": {name: frame(shade) for name in names} for i, shade in enumerate(shades)})


def test_frames_stand_side_by_side_the_first_and_the_last_among_them():
    made = still(strip([0, 10, 12, 14, 16, 31]))
    assert made.alt == "t = 0; t = 2; t = 3; t = 5; From top to bottom: x_t; x_0."
    shown = picture(made)
    assert shown.shape[1] == made.width == COLUMNS * 128 + (COLUMNS - 1) * GAP
    centres = [round(float(shown[y, 64 + i * (128 + GAP)])) for y in (64, 192 + GAP) for i in range(COLUMNS)]
    assert centres == pytest.approx([0, 99, 115, 255] * 2, abs=3)
    assert (shown[260 + GAP :] < 128).any(), "captions below"


def test_a_picture_in_no_figure_is_shown_as_large_as_it_fits():
    tall = sheets.img(pixels.png(np.zeros((3000, 1200), np.uint8)), "eight <w>")
    made = still(f'<div class="both">{tall}</div>')
    assert made.alt == "eight <w>" and picture(made).shape[0] <= TALLEST + GAP and made.width < WIDEST


def test_what_is_in_a_script_is_no_picture():
    made = fragment("player", {"panels": ['<img src="data:image/png;base64,AAAA">']}, "<p>nothing</p>")
    assert still(made.html) is None and made._repr_mimebundle_() == ({"text/plain": repr(made), "text/html": made.html}, {})


def test_a_widget_carries_its_still():
    made = fragment("player", {}, strip([3]))
    data, about = made._repr_mimebundle_()
    assert data["image/png"] == still(made.html).text and data["text/html"] == made.html
    assert about["image/png"] == {"width": 128, "alt": "t = 0; From top to bottom: x_t; x_0."}
