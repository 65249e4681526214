"""A pretended device: real numbers on the CPU under another device's name, with the rules of CUDA or of Apple's MPS enforced.

    with pretend.rules("cuda"):
        network.net.to(pretend.DEVICE)
        ...                                   # what a GPU would refuse raises here

Tensors of DEVICE are a subclass that holds a CPU tensor. Every operator on them goes through `__torch_dispatch__`, which
refuses what a GPU refuses: tensors of two devices in one operator (a CPU tensor without dimensions may join, CPU indices may
index), a CPU generator for a device's random numbers, and, under the rules of MPS, float64. `.numpy()` fails as on a GPU.

With the variable COURSE_TEST_DEVICE=cuda (or mps) DEVICE is the real one, which has its own rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

REAL = os.environ.get("COURSE_TEST_DEVICE", "")
if not REAL:
    _setup_privateuseone_for_python_backend("pretend")
DEVICE = torch.device(REAL or "pretend", None if REAL == "cpu" else 0)
KINDS = [DEVICE.type] if REAL else ["cuda", "mps"]
"""The sets of rules to run under; the last includes the others."""
aten = torch.ops.aten
_COPIES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
_INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._unsafe_index.Tensor}
_current: list[str] = []


class Pretended(Tensor):
    """A tensor that says that it is on DEVICE; `held` is where its numbers are, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE, requires_grad=False
        )
        made.held = held
        return made

    def __repr__(self):
        return f"Pretended({self.held!r})"

    def tolist(self):
        return self.held.tolist()

    def __tensor_flatten__(self):
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner, meta, size, stride):
        return Pretended(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Sees what has no tensor among its arguments, such as torch.zeros(3, device=DEVICE)."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if Pretended in types or (kwargs and kwargs.get("device") is not None):
            return run(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))  # most are of the CPU alone


def each(change, value):
    """`value`, a tensor or lists of them, with each tensor changed. Like tree_map, and ten times as fast."""
    if isinstance(value, Tensor):
        return change(value)
    return type(value)(each(change, v) for v in value) if type(value) in (list, tuple) else value


def run(func, args, kwargs):
    """The result of the operator on the held tensors; raises what a GPU would raise."""
    tensors, target = [], kwargs.get("device")
    each(tensors.append, [*args, *kwargs.values()])
    pretended = [t for t in tensors if isinstance(t, Pretended)]
    on_device = bool(pretended) if target is None else torch.device(target).type == DEVICE.type
    if func is aten.copy_.default:
        on_device = isinstance(args[0], Pretended)
    if len(pretended) < len(tensors) and pretended and func not in _COPIES:
        indices = [id(t) for t in args[1]] if func in _INDEXED else []
        for t in tensors:
            if not isinstance(t, Pretended) and t.ndim and (id(t) not in indices or not isinstance(args[0], Pretended)):
                raise RuntimeError(f"Expected all tensors to be on the same device, but found {DEVICE} and cpu in {func}")
    generator = kwargs.get("generator")
    if generator is not None and on_device:
        raise RuntimeError(f"Expected a 'pretend' device type for generator but found '{generator.device}' in {func}")
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    held = {}

    def bare(t):
        if isinstance(t, Pretended):
            held[id(t.held)] = t
            return t.held
        return t

    def there(t):
        if _current[-1:] == ["mps"] and t.dtype in (torch.float64, torch.complex128):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return held[id(t)] if id(t) in held else Pretended(t)  # an operator in place returns the tensor that it was given

    out = func(*each(bare, args), **{name: each(bare, v) for name, v in kwargs.items()})
    return each(there, out) if on_device else out


@contextmanager
def rules(kind: str) -> Iterator[None]:
    """For as long as the block lasts, DEVICE behaves as 'cuda' or 'mps' would."""
    if REAL:
        yield
        return
    _current.append(kind)
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # a list is made a tensor on the CPU, then moved by an operator that is seen here
    try:
        with _Factories():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
        _current.pop()
