"""Data-parallel training on several processes, started by torchrun: each takes its part of a batch; gradients are averaged.

    torchrun --nproc-per-node 4 -m course_lib train digits

All processes draw the same batches from the same seed, and each uses every size-th member. The loss curve is therefore that of
one process with the whole batch, up to rounding. In a single process these functions have no effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed


def rank() -> int:
    """The index of this process; 0 in a single process."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """The number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def process_group() -> Iterator[None]:
    """A context in which the processes that torchrun started communicate, by NCCL on GPUs and by Gloo on CPUs."""
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def members() -> slice:
    """The indices in a batch that belong to this process."""
    return slice(rank(), None, size())


def share(*whole: Tensor) -> list[Tensor]:
    """This process's members of each batch (B, ...).

    Raises ValueError if the processes cannot share a batch evenly: the mean over unequal parts is not that of the batch.
    """
    for batch in whole:
        if len(batch) % size():
            raise ValueError(f"a batch must be a multiple of the {size()} processes, got {len(batch)}")
    return [batch[members()] for batch in whole]


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
