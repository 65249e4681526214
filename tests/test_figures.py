"""Measured figures as tables: every file loads, and a table says what its JSON says."""

import numpy as np
import pytest

from course_lib.files import DATA
from course_lib.widgets import tradeoff
from course_lib.zoo import figures


def test_every_file_of_figures_is_named_and_read():
    assert figures.names() == sorted(path.stem for path in (DATA / "figures").glob("*.json"))
    assert all(figures.raw(name)["command"].startswith("python tests/benchmarks/") for name in figures.names())


@pytest.mark.parametrize("name", [name for name in figures.names() if isinstance(figures.raw(name).get("runs"), list)])
def test_a_row_has_the_keys_and_the_figures_of_its_run(name):
    runs, table = figures.raw(name)["runs"], figures.load(name)
    assert len(table) == len(runs) and table.columns.is_unique
    for run, (_, row) in zip(runs, table.iterrows()):
        nested = run | run.get("figures", {})
        for key, value in nested.items():
            if not isinstance(value, dict):
                np.testing.assert_equal(row[key], value)
            elif key != "figures":
                np.testing.assert_equal({inner: row[f"{key}: {inner}"] for inner in value}, value)


def test_what_is_no_row_is_in_attrs():
    found, table = figures.raw("ddim_steps"), figures.load("ddim_steps")
    assert table.attrs == {key: value for key, value in found.items() if key != "runs"}
    assert figures.where(table, steps=5).attrs == table.attrs


def test_another_list_of_a_file_is_a_table_too():
    rows = figures.raw("imagen")["bases"]
    assert figures.load("imagen", "bases")["binding"].tolist() == [row["binding"] for row in rows]


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(ValueError, match="applications, bias, .*got 'ddim'"):
        figures.load("ddim")
    with pytest.raises(ValueError, match="encoders, bases, cost, thresholds, upsampler, got 'runs'"):
        figures.load("imagen")
    with pytest.raises(ValueError, match="use raw"):
        figures.load("drawbench")


def test_values_are_those_of_each_key_in_turn_by_seed():
    runs, table = figures.raw("ddim_steps")["runs"], figures.load("ddim_steps")
    by_hand = [[r["figures"]["recall"] for r in runs if (r["steps"], r["eta"]) == (k, 1.0)] for k in (10, 5)]
    assert figures.values(table, "recall", steps=(10, 5), eta=1).tolist() == by_hand
    assert figures.values(table, "recall", steps=5, eta=1).tolist() == by_hand[1]


def test_no_row_and_ragged_rows_are_refused():
    table = figures.load("ddim_steps")
    with pytest.raises(ValueError, match="steps, eta must be those of a row, got {'steps': 6, 'eta': 1}"):
        figures.values(table, "recall", steps=6, eta=1)
    with pytest.raises(ValueError, match=r"each steps must have as many rows, got \[16, 3\] for \[5, 100\]"):
        figures.values(table, "recall", steps=[5, 100], eta=0)


def test_the_curve_beside_the_explorer_is_the_mean_over_the_seeds():
    found, curve = figures.raw("guidance_sweep"), tradeoff.measured(guides=("classifier",)).curves["classifier"]
    rows = [
        run["figures"]
        for run in found["runs"]
        if (run["guide"], run["steps"], run["n"], run["w"]) == ("classifier", 25, found["n"], 3)
    ]
    at = curve.w.index(3)
    assert curve.w == (0, 0.5, 1, 1.5, 2, 3, 5, 8) and len(rows) == found["seeds"]
    assert curve.recall[at] == pytest.approx(np.mean([row["recall"] for row in rows]))
    assert curve.precision[at] == pytest.approx(np.mean([row["precision"] for row in rows]))
