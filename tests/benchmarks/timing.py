"""Times of trainings and of functions, measured in turns, so that other work of the machine affects all of them alike."""

import statistics
import time
from collections.abc import Callable, Hashable, Iterator

import torch
from torch import Tensor, nn

from course_lib.training import TrainingState


def min_milliseconds(
    runs: dict[Hashable, Callable], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[Hashable, float]:
    """Milliseconds of each of `runs`, the minimum over `repeats` rounds in which all take turns; by default processor time."""
    found = {}
    for _ in range(repeats):
        for name, run in runs.items():
            begun = clock()
            run()
            found[name] = min(1000 * (clock() - begun), found.get(name, float("inf")))
    return found


def train_plainly(
    net: nn.Module, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, seconds: float, clip: float | None = None
) -> Iterator[TrainingState]:
    """The training loop of most tutorials, for `seconds`: a fixed rate, no average of weights, gradients clipped or
    not."""
    begun, step, done = time.perf_counter(), 0, 0.0
    while done < 1:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        step, elapsed = step + 1, time.perf_counter() - begun
        done = min(1.0, elapsed / seconds)
        yield TrainingState(step, value.item(), done, elapsed)


def means(found: dict[str, list[dict]], seconds: float, seeds: list[int]) -> str:
    """A table in Markdown: a row for each figure, a column for each contestant, each the mean of its runs."""
    lines = [f"{seconds:g} s, {torch.get_num_threads()} threads, torch {torch.__version__}, mean of seeds {seeds}", ""]
    lines += [f"| figure | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
    for key in next(iter(found.values()))[0]:
        cells = [f"{statistics.mean(run[key] for run in runs):,.4g}" for runs in found.values()]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return "\n".join(lines)
