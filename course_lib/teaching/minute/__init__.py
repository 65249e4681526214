"""The minute: a public benchmark of generators of digits that are trained for 60 seconds of one processor core.

The rules are in tests/benchmarks/MINUTE.md. An entry is a file with two functions:

    def train(x, label, seconds, seed): ...             # dict of tensors: the weights
    def sample(weights, label, evaluations, seed): ...  # pictures in [-1, 1], of the shape of x
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from course_lib import validate

EVALUATIONS = (1, 2, 4, 25)
"""The numbers of evaluations of a network at which pictures are compared."""

SECONDS = 60.0
"""Processor seconds of a training, on a machine of the pace 1."""


def passing(seconds: float) -> Iterator[float]:
    """Yields the share done of a training of so many processor seconds, from 0 up to 1, whose yield is the last.

    For an entry's loop: `for done in passing(seconds): ...; optimizer.step(done)`.
    """
    validate.positive("seconds", seconds)
    begun, done = time.process_time(), 0.0
    while done < 1:
        yield done
        done = (time.process_time() - begun) / seconds
    yield 1.0
