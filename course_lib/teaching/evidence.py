"""Figures with their standard errors, and the verdicts that follow from them: yes, no, or cannot be told apart.

A verdict needs three runs and two standard errors; of few runs more of them, since their error is itself uncertain (Student
1908: 4.3 of three runs, 2.8 of five). Equal arms are then told apart in 5 of 100 comparisons. With two standard errors for
any number of runs it would be 18 of 100 comparisons of three trainings: chance would pass too often.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from course_lib import validate

FEWEST = 3
"""How many runs a verdict needs."""
MANY = 2.0
"""How many standard errors a verdict needs where there are many runs."""
# fmt: off
OF_FEW = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on
"""The same for 1, 2, .. 30 degrees of freedom: Student's t, 95 %, two-sided."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Estimate:
    """A mean over n independent runs and its standard error. `runs` is what one run is; `format(x, ".2f")` shows both.

    `error` is None for a single run, whose error nobody knows. `freedom` are the error's degrees of freedom, n - 1 by default.
    `centre` is where the margin lies around, the mean by default. Raises ValueError where one of the numbers is not finite.
    """

    mean: float
    error: float | None
    n: int
    runs: str = "trainings"
    freedom: float | None = None
    centre: float | None = None

    def __post_init__(self):
        validate.finite("mean", self.mean)
        validate.finite("error", 0.0 if self.error is None else self.error, 0)

    @property
    def margin(self) -> float:
        """How far the mean must be from a threshold for a verdict: two standard errors, more of few runs; else infinite."""
        if self.error is None or self.n < FEWEST:
            return math.inf
        freedom = int(self.n - 1 if self.freedom is None else self.freedom)
        return self.error * (OF_FEW[freedom - 1] if freedom <= len(OF_FEW) else MANY)

    def above(self, threshold: float) -> bool | None:
        """True where the mean lies above by more than its margin, False where it lies so below, None where neither holds."""
        return self._beyond(self._centre - validate.finite("threshold", threshold))

    def below(self, threshold: float) -> bool | None:
        """True where the mean lies below by more than its margin, False where it lies so above, None where neither holds."""
        return self._beyond(validate.finite("threshold", threshold) - self._centre)

    def within(self, low: float, high: float) -> bool | None:
        """True where the margin about the mean lies in low .. high, False where it lies outside, None otherwise."""
        if validate.finite("low", low) >= validate.finite("high", high):
            raise ValueError(f"low must be smaller than high, got {low:g} and {high:g}")
        sides = self.above(low), self.below(high)
        return all_of(*sides)

    @property
    def _centre(self) -> float:
        return self.mean if self.centre is None else self.centre

    def _beyond(self, difference: float) -> bool | None:
        return None if abs(difference) <= self.margin else difference > 0

    def __format__(self, spec: str) -> str:
        if self.error is None:
            return format(self.mean, spec)
        mean, error = format(self.mean, spec), format(self.error, spec).lstrip("+")
        unit = " %" if mean.endswith("%") else ""
        if self.error and not re.search("[1-9]", error):  # it rounds to 0
            error = "<" + re.sub(r"0(?=%?$)", "1", error)
        return f"{mean.removesuffix('%')} ± {error.removesuffix('%')}{unit}"

    def __str__(self):
        return f"{self:.3g}, {self.counted}"

    @property
    def counted(self) -> str:
        """The number of runs in words: "three trainings", "5,000 points"."""
        return count(self.n, self.runs)


@dataclass(frozen=True)
class Comparison:
    """Two arms of runs, `a` and `b`, that differ in one thing, and `difference`, a less b, with its own standard error."""

    a: Estimate
    b: Estimate
    difference: Estimate

    @property
    def lower(self) -> bool | None:
        """Whether a lies below b: True, False, or None where they cannot be told apart."""
        return self.difference.below(0)

    @property
    def higher(self) -> bool | None:
        """Whether a lies above b: True, False, or None where they cannot be told apart."""
        return self.difference.above(0)

    @property
    def counted(self) -> str:
        """The number of runs of an arm in words; of both, where they differ."""
        same = self.a.counted == self.b.counted
        return self.a.counted if same else f"{self.a.counted} beside {self.b.counted}"

    def __format__(self, spec: str) -> str:
        return f"{self.a:{spec}} beside {self.b:{spec}}"

    def __str__(self):
        return f"{self:.3g}, difference {self.difference:.2g}, {self.counted}"


@dataclass(frozen=True)
class Ratio:
    """How many times as large one arm of runs is as another; `log` is the logarithm of that, with its standard error.

    For figures that scatter by factors: of their logarithms the differences are alike, whatever their size. The interval from
    `low` to `high` excludes a value where a verdict is possible. `format(x, ".1f")` shows the ratio and its interval.
    """

    log: Estimate

    @property
    def mean(self) -> float:
        """The ratio of the geometric means."""
        return math.exp(self.log.mean)

    @property
    def margin(self) -> float:
        """Of the logarithm."""
        return self.log.margin

    @property
    def low(self) -> float:
        return math.exp(self.log.mean - self.margin)

    @property
    def high(self) -> float:
        return math.exp(self.log.mean + self.margin)

    def above(self, threshold: float) -> bool | None:
        """True where the whole interval lies above a positive threshold, False where it lies below, else None."""
        return self.log.above(math.log(validate.positive("threshold", threshold)))

    def below(self, threshold: float) -> bool | None:
        """True where the whole interval lies below a positive threshold, False where it lies above, else None."""
        return self.log.below(math.log(validate.positive("threshold", threshold)))

    @property
    def counted(self) -> str:
        """The number of runs of an arm in words."""
        return self.log.counted

    def __format__(self, spec: str) -> str:
        if self.margin == math.inf:
            return format(self.mean, spec)
        return f"{self.mean:{spec}} times ({self.low:{spec}} to {self.high:{spec}})"

    def __str__(self):
        return f"{self:.3g}, {self.counted}"


def estimate(values: Any, runs: str = "trainings") -> Estimate:
    """The mean of a figure over independent runs (n,), with its standard error.

    Of (n, k) values, k repetitions of each run (such as noises of a training), the runs' own means are the independent ones.
    Raises TypeError or ValueError unless the values are one finite number or more.
    """
    means = _each_run("values", values)
    return _estimate(means, validate.instance("runs", runs, str))


def share(hits: Any, runs: str = "points") -> Estimate:
    """The share of true ones among `hits` (n,), with its standard error.

    The interval is that of Agresti and Coull (1998): two hits and two misses are added, so that it is not empty where all are
    hits. The mean is that of the hits themselves.
    """
    hits = _numbers("hits", hits)
    if hits.ndim != 1 or not np.isin(hits, (0, 1)).all():
        raise ValueError(f"hits must be (n,), each True or False, got shape {hits.shape} from {hits.min():g} to {hits.max():g}")
    n, p = len(hits), (hits.sum() + 2) / (len(hits) + 4)
    error = math.sqrt(p * (1 - p) / (n + 4))
    return Estimate(float(hits.mean()), error, n, validate.instance("runs", runs, str), centre=float(p))


def compare(a: Any, b: Any, runs: str = "trainings", paired: bool = True) -> Comparison:
    """Two arms of runs, each (n,) or (n, k) as for `estimate`: their means, and the difference with its standard error.

    Arms are paired where run i of both has the same seed, data and noise; with `paired=False` they are independent, and may
    have different numbers of runs. Raises ValueError where paired arms do not have the same shape.
    """
    arms = [_each_run(name, values) for name, values in (("a", a), ("b", b))]
    first, second = (_estimate(arm, validate.instance("runs", runs, str)) for arm in arms)
    if paired:
        if len(arms[0]) != len(arms[1]):
            raise ValueError(f"a and b must hold the same runs where they are paired, got {len(arms[0])} and {len(arms[1])}")
        return Comparison(first, second, _estimate(arms[0] - arms[1], runs))
    return Comparison(first, second, _unpaired(first, second))


def ratio(a: Any, b: Any, runs: str = "trainings") -> Ratio:
    """How many times as large a is as b, each (n,) or (n, k) as for `estimate`, all positive; run i of both is one pair.

    Raises ValueError where a figure is not positive, or the arms have different shapes.
    """
    logs = []
    for name, values in (("a", a), ("b", b)):
        if (values := _numbers(name, values)).min() <= 0:
            raise ValueError(f"{name} must be positive, got {values.min():g}")
        logs.append(np.log(values))
    return Ratio(compare(*logs, runs).difference)


def _unpaired(a: Estimate, b: Estimate) -> Estimate:
    """a less b, which are independent. Its degrees of freedom: Welch 1947."""
    difference, n = a.mean - b.mean, min(a.n, b.n)
    if a.error is None or b.error is None:
        return Estimate(difference, None, n, a.runs)
    error, parts = math.hypot(a.error, b.error), sum(e.error**4 / (e.n - 1) for e in (a, b) if e.error)
    return Estimate(difference, error, n, a.runs, error**4 / parts if parts else None)


def count(n: int, runs: str) -> str:
    """A number of runs in words: "three trainings", "one training", "5,000 points"."""
    number = NUMBERS[n] if n < len(NUMBERS) else f"{n:,}"
    return f"{number} {runs.removesuffix('s') if n == 1 else runs}"


def _estimate(means: np.ndarray, runs: str) -> Estimate:
    n = len(means)
    return Estimate(float(means.mean()), float(means.std(ddof=1) / math.sqrt(n)) if n > 1 else None, n, runs)


def _each_run(name: str, values: Any) -> np.ndarray:
    """The mean of each run (n,)."""
    numbers = _numbers(name, values)
    if numbers.ndim not in (1, 2):
        raise ValueError(f"{name} must be (runs,) or (runs, repetitions), got shape {numbers.shape}")
    return numbers.mean(1) if numbers.ndim == 2 else numbers


def _numbers(name: str, values: Any) -> np.ndarray:
    """One finite number or more, in float64."""
    values = values.detach().cpu() if isinstance(values, Tensor) else validate.instance(name, values, Sequence, np.ndarray)
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be numbers, got {values!r}"[:200]) from None
    if not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be one finite number or more, got {'none' if not numbers.size else 'NaN or infinity'}")
    return numbers


def all_of(*verdicts: bool | None) -> bool | None:
    """False where one of the verdicts is False, else None where one is None, else True.

    Raises TypeError for what is no verdict, such as an estimate.
    """
    for verdict in verdicts:
        if verdict is not None:
            validate.instance("verdicts", verdict, bool, np.bool_)
    return False if False in verdicts else None if None in verdicts else True
