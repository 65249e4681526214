"""Training: losses are functions; a training is a generator that yields after each step."""

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
from course_lib.guidance import NoisyClassifier
from course_lib.process import randn_like


def pick_device(device: str = "auto") -> torch.device:
    """The device of that name; 'auto' is CUDA, else Apple's MPS, else the CPU. Under torchrun each process gets its own GPU."""
    if device == "auto" and parallel.size() > 1 and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def denoising_loss(denoiser: Network, x0: Tensor, rng: torch.Generator | None = None, t: Tensor | None = None) -> Tensor:
    """The simple loss of pictures x0 (B, ...), (): Ho et al. 2020, Algorithm 1 and eq. 14, in the network's own view.

    With conditions: `denoising_loss(network.given(labels).drop_condition(0.1, rng), x0, rng)`. The times t (B,) come from
    `process.sample_t` unless given.
    """
    t = denoiser.process.sample_t(len(x0), rng) if t is None else t
    eps = randn_like(x0, rng)
    if parallel.size() > 1:
        denoiser, (x0, t, eps) = denoiser.part(parallel.members()), parallel.share(x0, t, eps)
    x_t = denoiser.process.add_noise(x0, t, eps)
    return (denoiser(x_t, t).value - denoiser.target(x0, t, eps)).square().mean()


def classifier_loss(classifier: NoisyClassifier, x0: Tensor, label: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """The cross-entropy () of clean pictures x0 (B, ...) with noise of random times, and their labels (B,).

    Dhariwal and Nichol 2021, section 4: a classifier for guidance is trained on the noise levels that it is used at.
    """
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label.to(x0.device))


class EMA:
    """An exponential moving average of a network's weights, in `ema.net`.

    The decay at step n is min(decay, (1 + n) / (10 + n)), so that the initial weights count little in a short training. The
    average is stored in `into`, a network like `net`, or in a copy of `net`.
    """

    def __init__(self, net: nn.Module, decay: float = 0.999, into: nn.Module | None = None):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.source, self.decay, self.n = net, decay, 0
        self.net = (copy.deepcopy(net) if into is None else into).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """Adds the source's present weights to the average."""
        self.n += 1
        rate = min(self.decay, (1 + self.n) / (10 + self.n))
        torch._foreach_lerp_(list(self.net.parameters()), list(self.source.parameters()), 1 - rate)
        for average, present in zip(self.net.buffers(), self.source.buffers(), strict=True):
            average.copy_(present)


@dataclass(frozen=True)
class TrainingState:
    """The state of a training after a step: the step's number, the smoothed loss, the fraction done, the seconds elapsed."""

    step: int
    loss: float
    done: float
    elapsed: float

    @property
    def left(self) -> float:
        """The estimated seconds until the end."""
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
) -> Iterator[TrainingState]:
    """Yields the state after each step of AdamW on `loss()`, a function that draws its own batch.

    It ends after `steps` steps, or after `seconds` if they pass first. The learning rate rises to `lr` and falls to 0 along
    one cosine cycle (Smith and Topin 2018), over the budget that is nearer to its end. A slow machine too therefore ends with
    a rate of 0. Raises ValueError if the loss is not finite.
    """
    validate.at_least("steps", steps, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
    smooth: float | None = None
    done, start = 0.0, time.perf_counter()
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
        now, elapsed = parallel.mean(float(value.detach()), time.perf_counter() - start, device=value.device)
        if not math.isfinite(now):
            raise ValueError(f"loss must be finite, got {now} at step {step}: try a smaller lr than {lr}")
        smooth = now if smooth is None else 0.98 * smooth + 0.02 * now
        done = min(1.0, max(step / steps, elapsed / seconds if seconds else 0))
        yield TrainingState(step, smooth, done, elapsed)
        if done == 1:
            return


def alternate(*trainings: Iterator[TrainingState]) -> Iterator[TrainingState]:
    """Yields the states of trainings that alternate, a step each, as for a GAN's two networks. The loss is the last one's."""
    for states in zip(*trainings):
        yield replace(states[-1], done=max(state.done for state in states))


def warm_restarts(cycle: Callable[[int], Iterator[TrainingState]], n: int) -> Iterator[TrainingState]:
    """Yields the states of `cycle(k)` for k = 0 ... n - 1 as one training: warm restarts (Loshchilov and Hutter 2017).

    Each cycle counts as an equal fraction of the whole.
    """
    step, elapsed = 0, 0.0
    for k in range(n):
        for now in cycle(k):
            last = replace(now, step=step + now.step, done=(k + now.done) / n, elapsed=elapsed + now.elapsed)
            yield last
        step, elapsed = last.step, last.elapsed


def one_cycle(done: float, warm_up: float = 0.15) -> float:
    """The learning rate as a fraction of its maximum, when the fraction `done` of a training is over.

    It rises along a cosine until `warm_up`, and then falls to 0 along another.
    """
    if done < warm_up:
        return 0.5 - 0.5 * math.cos(math.pi * (0.04 + 0.96 * done / warm_up))
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1 - warm_up))


def show_progress(training: Iterable[TrainingState], name: str = "training") -> TrainingState:
    """The last state of a training, which is run here with a progress bar (loss, time left).

    An interrupt (Ctrl-C, or the stop button of a notebook) ends the training early, and the weights are kept.
    """
    last, stopped, silent = None, False, parallel.rank() > 0
    with tqdm(
        total=100, desc=name, bar_format="{desc} {percentage:3.0f}% |{bar:24}| {postfix}", leave=False, disable=silent
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
    if not silent:
        print(f"{name}: {how} after {last.step:,} steps in {last.elapsed:.0f} s, loss {last.loss:.3f}")
    return last
