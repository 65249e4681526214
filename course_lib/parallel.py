"""Data-parallel training on several processes, started by torchrun: each takes its part of a batch; gradients are averaged.

    torchrun --nproc-per-node 4 -m course_lib train digits

All processes draw the same batches from the same seed. Where a batch enters a network (`denoisers.run_on_device_of`) it is
split among them, and where it leaves it is gathered, so that every loss sees the whole batch. The loss curve is therefore that
of one process, up to rounding. In a single process these functions have no effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

_sharing = False


def rank() -> int:
    """The index of this process; 0 in a single process."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """The number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """A context in which the processes that torchrun started communicate, by NCCL if each has a GPU and else by Gloo."""
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def is_sharing() -> bool:
    """Whether networks share their batches among the processes here."""
    return _sharing


@contextmanager
def sharing(on: bool) -> Iterator[None]:
    """A context in which networks share their batches among the processes, or not."""
    global _sharing
    before, _sharing = _sharing, on and size() > 1
    try:
        yield
    finally:
        _sharing = before


class _Split(torch.autograd.Function):
    """This process's part of a batch (B, ...). Its gradient is that of all parts, from all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if len(x) % size():
            raise ValueError(f"a batch must be a multiple of the {size()} processes, got {len(x)}")
        return x.chunk(size())[rank()]

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return gather(grad[0]) / size()


class _Gather(torch.autograd.Function):
    """The batch (B, ...) whose parts all processes have. Its gradient is that of this part, times the number of processes.

    The factor makes the mean over processes, which `average` takes, the gradient of the whole loss.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(size())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return split(grad[0]) * size()


split = _Split.apply
gather = _Gather.apply


def average(tensors: Iterable[Tensor | None]) -> None:
    """Replaces each tensor, in place, by its mean over all processes."""
    if size() > 1:
        for tensor in tensors:
            if tensor is not None:
                distributed.all_reduce(tensor)
                tensor /= size()


def mean(*numbers: float, device: torch.device | str = "cpu") -> tuple[float, ...]:
    """The mean of each number over all processes, so that all processes make the same decision."""
    if size() == 1:
        return numbers
    row = torch.tensor(numbers, dtype=torch.float32, device=device)
    average([row])
    return tuple(row.tolist())


def wait() -> None:
    """Returns when every process has called it."""
    if size() > 1:
        distributed.barrier()
