"""The checks on data drawn anew, so that an answer which only knows the numbers of the shipped checks fails."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from course_lib import process, validate
from course_lib.teaching import checks
from course_lib.teaching.checks.check import Check

KEPT = {f"{checks.__name__}.{name}" for name in ("check", "outcome")}
"""The checks' modules without data; their classes are the same for all draws."""


def fresh(seed: int) -> dict[str, Check]:
    """The checks by name, all of whose random numbers have other seeds: the shipped ones plus `seed`, which is 0 for the same.

    They are new modules: those that are imported stay as they are. Raises TypeError or ValueError for a negative seed.
    """
    validate.at_least("seed", seed, 0)
    with _moved(seed), _imported_again():
        again = importlib.import_module(checks.__name__)
    return {check.name: check for check in vars(again).values() if isinstance(check, Check)}


@contextmanager
def _moved(seed: int) -> Iterator[None]:
    """What is imported inside takes a `seeded` that adds `seed`."""
    known = process.seeded
    process.seeded = lambda given: known(given + seed)
    try:
        yield
    finally:
        process.seeded = known


@contextmanager
def _imported_again() -> Iterator[None]:
    """Inside, the checks' modules with data are imported anew; outside, the old ones are back in their places."""
    old = {name: m for name, m in sys.modules.items() if (name + ".").startswith(f"{checks.__name__}.") and name not in KEPT}
    for name in old:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(old)
        sys.modules[checks.__package__.rpartition(".")[0]].checks = checks
