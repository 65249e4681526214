"""Estimates, comparisons and their verdicts: against NumPy, against chance, and at the edges."""

import math

import numpy as np
import pytest
import torch

from course_lib.teaching.evidence import FEWEST, Estimate, all_of, compare, count, estimate, ratio, share


def test_the_error_is_that_of_the_mean_of_independent_runs():
    made = estimate([0.1, 0.2, 0.6])
    assert made.mean == pytest.approx(0.3) and made.error == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1) / 3**0.5)
    assert f"{made:.2f}" == "0.30 ± 0.15" and f"{made:.0%}" == "30 ± 15 %" and made.counted == "three trainings"


def test_repetitions_of_a_run_are_not_runs():
    of_three = estimate([[0.0, 0.2], [0.1, 0.3], [0.5, 0.7]], runs="trainings")
    assert of_three == estimate([0.1, 0.2, 0.6]) and of_three.n == 3


def test_one_run_has_no_error_and_decides_nothing():
    alone = estimate([0.5])
    assert alone.error is None and f"{alone:.2f}" == "0.50" and alone.counted == "one training"
    assert alone.above(0) is None and alone.below(9) is None and alone.within(0, 9) is None
    assert compare([0.1], [0.9]).lower is None


@pytest.mark.parametrize("n, verdict", [(FEWEST - 1, None), (FEWEST, True)])
def test_two_runs_decide_nothing_however_far_apart(n, verdict):
    assert Estimate(5.0, 0.1, n).above(0) is verdict


@pytest.mark.parametrize("n, errors", [(3, 4.303), (5, 2.776), (31, 2.042), (32, 2.0), (5000, 2.0)])
def test_a_verdict_needs_two_standard_errors_and_more_of_few_runs(n, errors):
    near, far = Estimate(1.0, 1.001 / errors, n), Estimate(1.0, 0.999 / errors, n)
    assert (near.above(0), near.below(0), far.above(0), far.below(0)) == (None, None, True, False)


def test_a_tie_decides_nothing():
    assert Estimate(1.0, 0.5, 5000).above(0) is None
    assert Estimate(0.0, 0.0, 5).above(0) is None and Estimate(1e-9, 0.0, 5).above(0) is True


@pytest.mark.parametrize("mean, verdict", [(0.5, True), (0.95, None), (1.05, None), (1.3, False), (-0.3, False), (0.05, None)])
def test_equal_within_a_margin_needs_both_ends_of_the_interval(mean, verdict):
    assert Estimate(mean, 0.1, 5000).within(0, 1) is verdict


def test_an_error_that_rounds_to_nothing_is_not_nothing():
    assert f"{Estimate(0.1772, 0.0002, 3):.3f}" == "0.177 ± <0.001" and f"{Estimate(0.026, 0.0001, 3):.1%}" == "2.6 ± <0.1 %"
    assert f"{Estimate(3.0, 0.2, 3):.0f}" == "3 ± <1" and f"{Estimate(1.0, 0.0, 3):.2f}" == "1.00 ± 0.00"


@pytest.mark.parametrize("mean, error", [(math.nan, 0.1), (math.inf, 0.1), (0.5, math.nan), (0.5, -0.1)])
def test_an_estimate_is_finite(mean, error):
    with pytest.raises(ValueError, match="must be finite|must be 0 or more"):
        Estimate(mean, error, 5)


@pytest.mark.parametrize("p, n", [(0.05, 57), (0.0141, 200), (0.5, 100)])
def test_a_share_passes_chance_in_few_of_a_hundred_cases_near_0_too(p, n):
    hits = np.random.default_rng(0).random((3000, n)) < p
    below = np.mean([share(row).below(p) is True for row in hits])
    above = np.mean([share(row).above(p) is True for row in hits])
    assert below < 0.04 and above < 0.04


def test_verdicts_together():
    with pytest.raises(TypeError, match="verdicts must be of type bool"):
        all_of(True, compare([1.0], [2.0]))
    assert [all_of(True, True), all_of(True, None), all_of(None, False), all_of()] == [True, None, False, True]


def test_paired_runs_share_their_chance():
    seeds = np.array([0.0, 1.0, 2.0, 3.0])
    a, b = seeds + np.array([0.1, 0.11, 0.09, 0.1]), seeds
    paired, apart = compare(a, b), compare(a, b, paired=False)
    assert paired.higher is True and paired.lower is False and apart.higher is None and apart.lower is None
    assert apart.difference.error == pytest.approx(math.hypot(apart.a.error, apart.b.error))
    assert f"{paired:.1f}" == "1.6 ± 0.6 beside 1.5 ± 0.6" and paired.counted == "four trainings"
    assert str(paired).endswith("difference 0.1 ± 0.0041, four trainings")


def test_independent_arms_may_differ_in_number():
    made = compare([1.0, 1.1, 0.9], [2.0, 2.1, 1.9, 2.0], paired=False, runs="noises")
    assert made.lower is True and made.counted == "three noises beside four noises" and made.difference.n == 3
    assert 2 < made.difference.freedom < 5  # of 3 - 1 and 4 - 1


def test_a_share_of_all_still_has_an_error():
    assert share(torch.ones(500, dtype=torch.bool)).error > 0.002 and share([True] * 500).mean == 1
    assert share([True] * 500).above(0.98) is True and share([True] * 50).above(0.98) is None
    half = share([True, False] * 5000)
    assert half.error == pytest.approx(0.005, rel=1e-3) and half.counted == "10,000 points"
    assert half.above(0.48) is True and half.above(0.495) is None


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_equal_arms_are_told_apart_in_five_of_a_hundred_comparisons(n, paired):
    a, b = np.random.default_rng(n).normal(size=(2, 4000, n))
    told = [compare(x, y, paired=paired).higher is not None for x, y in zip(a, b)]
    assert 0.015 < np.mean(told) < 0.06  # of unpaired arms a little less: their degrees of freedom are rounded down


def test_two_standard_errors_alone_would_pass_chance_too_often():
    a, b = np.random.default_rng(0).normal(size=(2, 40_000, 3))
    d = a - b
    assert np.mean(abs(d.mean(1)) > 2 * d.std(1, ddof=1) / 3**0.5) == pytest.approx(0.18, abs=0.01)


def test_a_ratio_is_that_of_geometric_means_with_an_interval_that_excludes_one_where_it_decides():
    made = ratio([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    assert made.mean == pytest.approx(4) and made.low * made.high == pytest.approx(16) and made.counted == "three trainings"
    error = np.std(np.log([2, 8, 4]), ddof=1) / 3**0.5
    assert math.log(made.high / made.mean) == pytest.approx(4.303 * error)
    assert made.above(1) is None and made.below(1) is None and made.low < 1 < made.high
    assert ratio([2.0, 2.2, 2.1], [1.0, 1.0, 1.0]).above(1) is True and ratio([1, 1, 1], [2.0, 2.2, 2.1]).above(1) is False
    assert f"{made:.1f}" == f"4.0 times ({made.low:.1f} to {made.high:.1f})" and f"{ratio([2.0], [1.0]):.1f}" == "2.0"


def test_a_ratio_does_not_depend_on_the_scale_of_its_runs():
    """Pairs that scatter by factors hide a factor of two in their difference, and not in their ratio."""
    b = np.array([1.0, 10.0, 100.0, 1000.0])
    a = b * [2.0, 2.1, 1.9, 2.0]
    assert compare(a, b).higher is None and ratio(a, b).above(1) is True


@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0], [-1.0, 1.0, 2.0]])
def test_a_ratio_is_of_positive_figures(values):
    with pytest.raises(ValueError, match="a must be positive, got"):
        ratio(values, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="threshold must be positive"):
        ratio([1.0, 1.0, 2.0], [1.0, 1.0, 1.0]).above(0)


def test_numbers_in_words():
    assert [count(n, "trainings") for n in (1, 2, 10, 11)] == ["one training", "two trainings", "ten trainings", "11 trainings"]
