"""Checks of arguments. Each error is one line that names the argument, what it must be and what it was."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")
Choice = TypeVar("Choice", str, int)


def _got(value: Any) -> str:
    """A number or None as it is, anything else by its type."""
    return repr(value) if value is None or isinstance(value, numbers.Number) else type(value).__name__


def instance(name: str, value: Value, *kinds: type) -> Value:
    """`value` if it is of one of these types or protocols; raises TypeError otherwise."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be of type {' or '.join(kind.__name__ for kind in kinds)}, got {_got(value)}")
    return value


def has(name: str, value: Value, *methods: str) -> Value:
    """`value` if it has these methods; raises TypeError otherwise."""
    if not all(callable(getattr(value, method, None)) for method in methods):
        raise TypeError(f"{name} must have {' and '.join(methods)}, got {_got(value)}")
    return value


def function(name: str, value: Value) -> Value:
    """`value` if it can be called; raises TypeError otherwise."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {_got(value)}")
    return value


def generator(name: str, value: torch.Generator | None) -> torch.Generator | None:
    """`value` if it is a random generator or None; raises TypeError otherwise."""
    if value is not None and not isinstance(value, torch.Generator):
        raise TypeError(f"{name} must be a torch.Generator, such as seeded(0), or None, got {_got(value)}")
    return value


# Numbers. NumPy's are numbers; a bool and a tensor are none.


def finite(name: str, value: float, least: float = -math.inf, most: float = math.inf) -> float:
    """`value` if it is a finite number in least..most; raises TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {_got(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    if not least <= value <= most:
        allowed = f"lie in [{least:g}, {most:g}]" if math.isfinite(most) else f"be {least:g} or more"
        raise ValueError(f"{name} must {allowed}, got {value}")
    return value


def positive(name: str, value: float) -> float:
    """`value` if it is a finite number above 0; raises TypeError or ValueError otherwise."""
    if finite(name, value) <= 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return value


def at_least(name: str, value: int, minimum: int, maximum: int | None = None) -> int:
    """`value` if it is a whole number in minimum..maximum; raises TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, got {_got(value)}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {value}")
    return value


def moves(name: str, n: int, process: Any) -> int:
    """`n` if a sampler can make so many moves over the process's times; raises TypeError or ValueError otherwise."""
    return at_least(name, n, 1, process.T if isinstance(process.T, int) else None)


def time(name: str, t: float | Tensor, first: float, last: float) -> float | Tensor:
    """`t` if it is a number in first..last, or a tensor of such numbers; raises TypeError or ValueError otherwise."""
    ends: tuple[Any, ...] = (t.min().item(), t.max().item()) if isinstance(t, Tensor) and t.numel() else (t,)
    for end in ends:
        finite(name, end, first, last)
    return t


def sizes(**values: int) -> None:
    """Raises TypeError or ValueError unless each of the named values is a whole number of 1 or more."""
    for name, value in values.items():
        at_least(name, value, 1)


def divides(name: str, value: int, whole_name: str, whole: int) -> int:
    """`value` if it is a whole number that divides `whole`; raises TypeError or ValueError otherwise."""
    if whole % at_least(name, value, 1):
        raise ValueError(f"{name} must divide {whole_name} {whole}, got {value}")
    return value


def multiple(name: str, value: int, of: int) -> int:
    """`value` if it is a whole number of 1 or more, and a multiple of `of`; raises TypeError or ValueError otherwise."""
    if at_least(name, value, 1) % of:
        raise ValueError(f"{name} must be a multiple of {of}, got {value}")
    return value


def choice(name: str, value: Choice, choices: Collection[Choice]) -> Choice:
    """`value` if it is one of `choices`; raises ValueError that lists them otherwise."""
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
    return value


def filled(name: str, values: Sequence[Value], kind: type = object) -> Sequence[Value]:
    """`values` if they are a list or tuple of one or more values of this type; raises TypeError or ValueError otherwise."""
    if not instance(name, values, list, tuple):
        raise ValueError(f"{name} must hold at least one value, got none")
    for i, value in enumerate(values):
        instance(f"{name}[{i}]", value, kind)
    return values


# Tensors. A shape is written without the batch: 3, "H", "W" stands for (B, 3, H, W), with any H and W.


def tensor(name: str, value: Any, what: str = "numbers", dtype: torch.dtype | None = None) -> Tensor:
    """`value` if it is a tensor, else its lists of numbers as one on the CPU; raises TypeError with `what` it must be."""
    try:
        return value if isinstance(value, Tensor) else torch.tensor(value, device="cpu", dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be {what}, got {_got(value)}") from None


def shape(name: str, x: Tensor, *want: int | str) -> Tensor:
    """`x` if it is a tensor (B, *want); raises TypeError or ValueError otherwise. It costs a network's forward pass no time."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {_got(x)}")
    if x.ndim != 1 + len(want) or any(n != m for n, m in zip(want, x.shape[1:]) if not isinstance(n, str)):
        raise ValueError(f"{name} must be ({', '.join(map(str, ('B', *want)))}{',' * (not want)}), got shape {tuple(x.shape)}")
    return x


def floating(name: str, x: Tensor) -> Tensor:
    """`x` if it is a tensor of floats, of any shape; raises TypeError otherwise."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {_got(x)}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must have a floating dtype such as torch.float32, got {x.dtype}")
    return x


def row(name: str, values: Tensor) -> Tensor:
    """`values` if they are a row (N,) of one or more finite numbers; raises TypeError or ValueError otherwise."""
    if shape(name, values).numel() == 0:
        raise ValueError(f"{name} must hold at least one number, got none")
    if not values.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return values


def floats(name: str, x: Tensor, *want: int | str) -> Tensor:
    """`x` if it is a non-empty batch of floats, (B, *want), by default (B, ...); raises TypeError or ValueError otherwise.

    For what a network puts out in training: NaN is left to `train`, which says at which step it came.
    """
    if floating(name, x).ndim < 2 or x.numel() == 0:
        raise ValueError(f"{name} must be a non-empty batch (B, ...), got shape {tuple(x.shape)}")
    return shape(name, x, *want) if want else x


def batch(name: str, x: Tensor, *want: int | str) -> Tensor:
    """`x` if it is a batch of floats, as `floats` has it, and all are finite; raises TypeError or ValueError otherwise."""
    if not floats(name, x, *want).isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return x


def sides(name: str, x: Tensor, of: int) -> Tensor:
    """`x` if it is pictures (B, C, H, W) with sides that are multiples of `of`; raises TypeError or ValueError otherwise."""
    if any(side % of for side in shape(name, x, "C", "H", "W").shape[2:]):
        raise ValueError(f"{name} must have sides that are multiples of {of}, got shape {tuple(x.shape)}")
    return x


def indices(name: str, x: Tensor, *want: int | str) -> Tensor:
    """`x` if it is a tensor (B, *want) of whole numbers; raises TypeError or ValueError otherwise."""
    if isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool):
        raise TypeError(f"{name} must be whole numbers, got {x.dtype}")
    return shape(name, x, *want)


def one_each(name: str, x: Tensor, other_name: str, other: Tensor) -> Tensor:
    """`x` if it is whole numbers (B,), one for each of `other` (B, ...); raises TypeError or ValueError otherwise."""
    if len(indices(name, x)) != len(other):
        raise ValueError(f"{name} must be ({len(other)},), one for each of {other_name}, got shape {tuple(x.shape)}")
    return x


def same_shape(name: str, x: Tensor, other_name: str, other: Tensor) -> Tensor:
    """`x` if it has the shape of `other`; raises TypeError or ValueError otherwise."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {_got(x)}")
    if x.shape != other.shape:
        raise ValueError(f"{name} must have the shape of {other_name}, {tuple(other.shape)}, got {tuple(x.shape)}")
    return x


def like(name: str, x: Tensor, other_name: str, other: Tensor) -> Tensor:
    """`x` if it is a batch as `batch` has it, in the shape of `other`; raises TypeError or ValueError otherwise."""
    return same_shape(name, batch(name, x), other_name, other)
