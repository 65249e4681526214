"""Training: a loss is a function, training is a generator that yields after each step."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from course_lib import parallel, validate
from course_lib.denoisers import Network
from course_lib.guidance import NoiseAware
from course_lib.process import randn_like


def pick_device(device: str = "auto") -> torch.device:
    """The device of that name; 'auto' is CUDA, else Apple's MPS, else the CPU. Of several GPUs each process takes its own."""
    if device == "auto" and parallel.size() > 1 and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def denoising_loss(denoiser: Network, x0: Tensor, rng: torch.Generator | None = None, t: Tensor | None = None) -> Tensor:
    """The simple loss for pictures x0 (B, ...): Ho et al. 2020, Algorithm 1 and eq. 14, in the network's own view.

    With conditions: `denoising_loss(network.given(labels).dropped(0.1, rng), x0, rng)`. The times t (B,) are by default
    drawn as the process's paper draws them.
    """
    t = denoiser.process.sample_t(len(x0), rng) if t is None else t
    eps = randn_like(x0, rng)
    denoiser, x0, t, eps = parallel.share(denoiser, x0, t, eps)
    x_t = denoiser.process.add_noise(x0, t, eps)
    return (denoiser(x_t, t).value - denoiser.truth(x0, t, eps)).square().mean()


def classifier_loss(classifier: NoiseAware, x0: Tensor, label: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Cross-entropy on noisy pictures: clean ones x0 (B, ...) and their labels (B,), each noised to a time of its own.

    Dhariwal and Nichol 2021, section 4: a classifier that guides must know pictures as noisy as those it will be shown.
    """
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label.to(x0.device))


class EMA:
    """A running average of a network's weights, `ema.net`, which samples better than the weights of any one step.

    The average at step n has rate min(decay, (1 + n) / (10 + n)), so that it forgets the start of a short training. It is
    kept in `into`, a network like `net`, or else in a copy of its own.
    """

    def __init__(self, net: nn.Module, decay: float = 0.999, into: nn.Module | None = None):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.source, self.decay, self.n = net, decay, 0
        self.net = (copy.deepcopy(net) if into is None else into).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the source's present weights."""
        self.n += 1
        rate = min(self.decay, (1 + self.n) / (10 + self.n))
        torch._foreach_lerp_(list(self.net.parameters()), list(self.source.parameters()), 1 - rate)
        for mine, theirs in zip(self.net.buffers(), self.source.buffers(), strict=True):
            mine.copy_(theirs)


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step: its number, the loss (smoothed), the share done, seconds used and left."""

    step: int
    loss: float
    done: float
    elapsed: float

    @property
    def left(self) -> float:
        return self.elapsed * (1 / self.done - 1)


def train(
    loss: Callable[[], Tensor],
    net: nn.Module,
    steps: int,
    lr: float = 2e-3,
    seconds: float | None = None,
    ema: EMA | None = None,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.99),
) -> Iterator[Progress]:
    """Adam on `loss()`, a function that draws its own batch, for `steps` steps, or fewer where `seconds` run out first.

    The rate rises to `lr` and falls to 0 along one cosine cycle (Smith and Topin 2018) over whichever of the two budgets is
    the nearer to its end, so that a slow machine too ends with a rate of 0. Yields after each step; the network is
    usable at every yield. Raises ValueError where the loss is not finite.
    """
    validate.at_least("steps", steps, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
    smooth, done, begun = None, 0.0, time.perf_counter()
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = lr * one_cycle(done)
        value = loss()
        optimizer.zero_grad()
        value.backward()
        parallel.average(p.grad for p in net.parameters())
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if ema is not None:
            ema.update()
        now, elapsed = parallel.mean(float(value.detach()), time.perf_counter() - begun, device=value.device)
        if not math.isfinite(now):
            raise ValueError(f"loss must be finite, got {now} at step {step}: try a smaller lr than {lr}")
        smooth = now if smooth is None else 0.98 * smooth + 0.02 * now
        done = min(1.0, max(step / steps, elapsed / seconds if seconds else 0))
        yield Progress(step, smooth, done, elapsed)
        if done == 1:
            return


def in_turn(*trainings: Iterator[Progress]) -> Iterator[Progress]:
    """Trainings that take turns, a step each, as one: how a GAN's two players learn. The loss it tells is the last one's."""
    for round in zip(*trainings):
        yield replace(round[-1], done=max(progress.done for progress in round))


def in_cycles(cycle: Callable[[int], Iterator[Progress]], n: int) -> Iterator[Progress]:
    """Trainings one after another, `cycle(k)` for k = 0 ... n - 1, as one: warm restarts (Loshchilov and Hutter 2017).

    Each is taken to be an equal share of the whole.
    """
    step, elapsed = 0, 0.0
    for k in range(n):
        for now in cycle(k):
            last = replace(now, step=step + now.step, done=(k + now.done) / n, elapsed=elapsed + now.elapsed)
            yield last
        step, elapsed = last.step, last.elapsed


def one_cycle(done: float, warm_up: float = 0.15) -> float:
    """The share of the full rate when `done` of a training is over: up in `warm_up`, then down to 0, along cosines."""
    if done < warm_up:
        return 0.5 - 0.5 * math.cos(math.pi * (0.04 + 0.96 * done / warm_up))
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1 - warm_up))


def show_progress(training: Iterable[Progress], name: str = "training") -> Progress:
    """Runs a training with a bar (loss, time left) and returns its last Progress.

    An interrupt (Ctrl-C, or the stop button of a notebook) ends it early, says so, and keeps what was learned.
    """
    last, stopped, hushed = None, False, parallel.rank() > 0
    with tqdm(
        total=100, desc=name, bar_format="{desc} {percentage:3.0f}% |{bar:24}| {postfix}", leave=False, disable=hushed
    ) as bar:
        try:
            for last in training:
                if int(100 * last.done) > bar.n:
                    bar.set_postfix_str(f"loss {last.loss:.3f}, {last.left:.0f} s left", refresh=False)
                    bar.update(int(100 * last.done) - bar.n)
        except KeyboardInterrupt:
            stopped = True
    if last is None:
        raise KeyboardInterrupt("stopped before the first step: nothing was learned yet")
    how = "stopped by hand; what it learned is kept" if stopped else "done"
    if not hushed:
        print(f"{name}: {how} after {last.step:,} steps in {last.elapsed:.0f} s, loss {last.loss:.3f}")
    return last
