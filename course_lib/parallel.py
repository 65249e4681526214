"""Training on several processes, as torchrun starts them: each takes its share of every batch, and gradients are averaged.

    torchrun --nproc-per-node 4 -m course_lib train digits

All draw the same batches from the same seed, and go on with every size-th member of them. So the loss curve is that of one
process with the whole batch, but for rounding. In a single process nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from course_lib.denoisers import Network


def rank() -> int:
    """Which of the processes this is, 0 for the first and for one alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def joined() -> Iterator[None]:
    """Joins the processes that torchrun started, by NCCL on GPUs and by Gloo on CPUs, for as long as the block lasts."""
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def share(*whole: Tensor | Network) -> list[Tensor | Network]:
    """This process's members of each batch (B, ...), or of a network's condition (B, ...).

    Raises ValueError where a batch of tensors cannot be shared evenly: the mean of unequal shares would not be the batch's.
    """
    n = size()
    if n == 1:
        return list(whole)
    found = []
    for each in whole:
        if isinstance(each, Network):
            found.append(each.part(rank(), n))
        elif len(each) % n:
            raise ValueError(f"a batch must be a multiple of the {n} processes, got {len(each)}")
        else:
            found.append(each[rank() :: n])
    return found


def average(tensors: Iterable[Tensor | None]) -> None:
    """Puts into each tensor its mean over all processes."""
    if size() > 1:
        for tensor in tensors:
            if tensor is not None:
                distributed.all_reduce(tensor)
                tensor /= size()


def mean(*numbers: float, device: torch.device | str = "cpu") -> tuple[float, ...]:
    """Each number's mean over all processes, so that all of them decide alike."""
    if size() == 1:
        return numbers
    row = torch.tensor(numbers, dtype=torch.float32, device=device)
    average([row])
    return tuple(row.tolist())


def wait() -> None:
    """Waits until every process has come so far."""
    if size() > 1:
        distributed.barrier()
