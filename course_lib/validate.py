"""Checks of arguments. Each error names the argument, its value and the values that are allowed."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TypeVar

from torch import Tensor

Choice = TypeVar("Choice", str, int)


def batch(name: str, x: Tensor) -> Tensor:
    """`x` if it is a non-empty, finite batch of floats (B, ...); raises TypeError or ValueError otherwise."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must have a floating dtype such as torch.float32, got {x.dtype}")
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"{name} must be a non-empty batch (B, ...), got shape {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return x


def same_shape(name: str, x: Tensor, other_name: str, other: Tensor) -> Tensor:
    """`x` if it has the shape of `other`; raises ValueError otherwise."""
    if x.shape != other.shape:
        raise ValueError(f"{name} must have the shape of {other_name}, {tuple(other.shape)}, got {tuple(x.shape)}")
    return x


def finite(name: str, value: float) -> float:
    """`value` if it is a finite number; raises TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return value


def at_least(name: str, value: int, minimum: int) -> int:
    """`value` if it is a whole number no smaller than `minimum`; raises TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return value


def choice(name: str, value: Choice, choices: Collection[Choice]) -> Choice:
    """`value` if it is one of `choices`; raises ValueError that lists them otherwise."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
    return value
