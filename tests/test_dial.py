"""What the dial packs, and what it refuses. How it behaves under a hand is in tests/browser."""

import json
import re

import pytest
import torch

from course_lib.widgets.dial import Chart, dial

VALUES = [0, 100, 400]
PICTURES = [torch.full((4, 1, 8, 8), v / 400) for v in VALUES]
CURVES = {"realism": [0.1, 0.5, 1.0], "faithfulness": [1.0, None, 0.25]}


def data_of(fragment) -> dict:
    return json.loads(re.search(r"^const data = (.*);$", fragment.html, re.MULTILINE)[1])


def test_all_travels_in_the_page():
    data = data_of(dial("t", VALUES, {"guide": PICTURES, "edit": PICTURES}, CURVES))
    assert data["values"] == VALUES and data["batch"] == 4 and data["name"] == "t"
    assert [panel["title"] for panel in data["panels"]] == ["guide", "edit"]
    curves = [["realism", [0.1, 0.5, 1.0]], ["faithfulness", [1.0, None, 0.25]]]
    assert data["charts"] == [{"low": 0.0, "high": 1.0, "curves": curves}]


def test_charts_stand_one_under_another_each_with_its_scale():
    charts = [Chart(CURVES), Chart({"accuracy": [96, None, 99.5]}, 95, 100)]
    assert data_of(dial("t", VALUES, {"edit": PICTURES}, charts))["charts"][1] == {
        "low": 95,
        "high": 100,
        "curves": [["accuracy", [96.0, None, 99.5]]],
    }
    with pytest.raises(ValueError, match=r"curves\['accuracy'\] must lie in \[95, 100\], got 3"):
        Chart({"accuracy": [3, 96, 97]}, 95, 100)
    with pytest.raises(ValueError, match="low must be below high, got 1 and 1"):
        Chart(CURVES, 1, 1)


def test_the_same_gives_the_same_bytes_and_a_strip_stands_where_no_script_runs():
    one, two = (dial("t", VALUES, {"edit": PICTURES}, CURVES).html for _ in range(2))
    assert one == two and 'alt="edit, at t = 400"' in one and "https://" not in one


def test_colours_are_kept():
    assert dial("t", VALUES, {"edit": [x.expand(-1, 3, -1, -1) for x in PICTURES]}, CURVES).html.count("<img") == 3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"values": [0]}, "values must be two or more that rise"),
        ({"values": [0, 400, 100]}, "values must be two or more that rise"),
        ({"panels": {}}, "panels must hold at least one, got none"),
        ({"panels": {"edit": PICTURES[:2]}}, "must hold a batch for each of 3 values, got 2"),
        ({"panels": {"edit": [*PICTURES[:2], PICTURES[0][:2]]}}, "must be 4 pictures"),
        ({"curves": {}}, "curves must be 1 to 3, got 0"),
        ({"curves": {"realism": [0, 1]}}, r"curves\['realism'\] must hold 3 figures in 0..1"),
        ({"curves": {"realism": [0, 1, 2]}}, r"curves\['realism'\] must lie in \[0, 1\], got 2"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    right = {"name": "t", "values": VALUES, "panels": {"edit": PICTURES}, "curves": CURVES}
    with pytest.raises(ValueError, match=message):
        dial(**right | change)
